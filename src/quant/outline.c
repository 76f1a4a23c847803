/* outline.c: see outline.h. */
#include "quant/outline.h"

#include "text/tokenizer.h"

#include <inttypes.h>
#include <string.h>

enum { LAYERS_MAX = 512, WIDTH_MAX = 1 << 16, HEADS_MAX = 1024, HEAD_MAX = 1024, FF_MAX = 1 << 18,
       CONTEXT_MAX = 1 << 26, EXPERTS_MAX = 4096 };

/* Mixtures have several names for one number: the first that is there counts. */
static bool get_either(const json_t *text, const char *const *keys, uint32_t high, uint32_t *out,
                       const char *name, Error *err)
{
    *out = 0;
    for (; *keys; keys++) {
        const json_t *value = json_object_get(text, *keys);
        if (value && !json_is_null(value))
            return json_need_u32(text, *keys, 0, high, out, name, err);
    }
    return true;
}

static bool read_experts(Outline *o, const char *name, Error *err)
{
    static const char *const count[] = {"num_local_experts", "num_experts", NULL};
    static const char *const used[] = {"num_experts_per_tok", NULL};
    static const char *const width[] = {"moe_intermediate_size", NULL};
    if (!get_either(o->text, count, EXPERTS_MAX, &o->experts, name, err) || !o->experts)
        return o->experts == 0;
    if (!get_either(o->text, used, o->experts, &o->experts_used, name, err) ||
        !get_either(o->text, width, FF_MAX, &o->expert_ff_width, name, err))
        return false;
    if (!o->expert_ff_width)
        o->expert_ff_width = o->ff_width;
    return o->experts_used || fail(err, ERR_FORMAT, "%s: key 'num_experts_per_tok' must be from 1 "
                                                    "to %" PRIu32, name, o->experts);
}

static bool read_heads(Outline *o, const char *name, Error *err)
{
    const json_t *given = json_object_get(o->text, "head_dim");
    if (!json_need_u32(o->text, "num_attention_heads", 1, HEADS_MAX, &o->heads, name, err) ||
        !json_get_u32(o->text, "num_key_value_heads", 1, HEADS_MAX, o->heads, &o->kv_heads, name,
                      err))
        return false;
    o->head_width = o->width / o->heads;
    if (given && !json_is_null(given) &&
        !json_need_u32(o->text, "head_dim", 2, HEAD_MAX, &o->head_width, name, err))
        return false;
    if (o->heads % o->kv_heads)
        return fail(err, ERR_FORMAT, "%s: %" PRIu32 " heads are not a multiple of %" PRIu32 " for "
                                     "keys", name, o->heads, o->kv_heads);
    if (o->head_width < 2 || o->head_width % 2)
        return fail(err, ERR_FORMAT, "%s: the head width, %" PRIu32 ", must be even", name,
                    o->head_width);
    return true;
}

static bool read_window(Outline *o, const char *name, Error *err)
{
    const json_t *given = json_object_get(o->text, "sliding_window");
    bool used;
    if (!json_get_bool(o->text, "use_sliding_window", true, &used, name, err))
        return false;
    return !given || json_is_null(given) || !used ||
           json_need_u32(o->text, "sliding_window", 0, CONTEXT_MAX, &o->window, name, err);
}

bool outline_read(Outline *out, const json_t *config, const char *name, Error *err)
{
    Outline o = {.text = config};
    const json_t *inner = json_object_get(config, "text_config");
    bool outer_tied;
    if (inner && json_is_object(inner)) {
        o.text = inner;
        o.wrapped = true;
    }
    if (!json_get_text(o.text, "model_type", "", &o.family, name, err) ||
        !json_need_u32(o.text, "hidden_size", 1, WIDTH_MAX, &o.width, name, err) ||
        !json_need_u32(o.text, "intermediate_size", 1, FF_MAX, &o.ff_width, name, err) ||
        !json_need_u32(o.text, "num_hidden_layers", 1, LAYERS_MAX, &o.layers, name, err) ||
        !json_need_u32(o.text, "vocab_size", 1, TOKENIZER_VOCAB_MAX, &o.vocab, name, err) ||
        !json_get_u32(o.text, "max_position_embeddings", 1, CONTEXT_MAX, 2048, &o.context, name,
                      err) ||
        !read_heads(&o, name, err) || !read_window(&o, name, err) ||
        !json_get_bool(config, "tie_word_embeddings", false, &outer_tied, name, err) ||
        !json_get_bool(o.text, "tie_word_embeddings", outer_tied, &o.tied, name, err) ||
        !read_experts(&o, name, err))
        return false;
    *out = o;
    return true;
}

uint32_t outline_dim(const Outline *o, NameDim dim)
{
    const uint32_t dims[] = {[DIM_NONE] = 0, [DIM_WIDTH] = o->width,
                             [DIM_Q] = o->heads * o->head_width,
                             [DIM_KV] = o->kv_heads * o->head_width, [DIM_HEAD] = o->head_width,
                             [DIM_FF] = o->ff_width, [DIM_EXPERT_FF] = o->expert_ff_width,
                             [DIM_EXPERTS] = o->experts, [DIM_VOCAB] = o->vocab};
    return dims[dim];
}

NameMix outline_mix(const Outline *o)
{
    return o->experts == 0 ? MIX_ANY : strcmp(o->family, "mixtral") == 0 ? MIX_MIXTRAL : MIX_QWEN;
}

bool outline_check(const Outline *o, const Name *name, uint32_t rank, const uint64_t *shape,
                   const char *tensor, Error *err)
{
    const NameRow *row = name->row;
    uint32_t rows = outline_dim(o, row->rows), columns = outline_dim(o, row->columns);
    uint32_t want = columns ? 2 : 1;
    if (strstr(row->name[NAMES_HF], "%l") && name->layer >= o->layers)
        return fail(err, ERR_FORMAT, "tensor '%.80s': the model has only %" PRIu32 " layers",
                    tensor, o->layers);
    if (name_has_experts(row) && name->expert >= o->experts)
        return fail(err, ERR_FORMAT, "tensor '%.80s': the model has only %" PRIu32 " experts",
                    tensor, o->experts);
    if (rank != want || shape[0] != rows || (columns && shape[1] != columns))
        return fail(err, ERR_FORMAT, "tensor '%.80s': has another shape than the configuration "
                                     "gives it, [%" PRIu32 "%s%.0" PRIu32 "]", tensor, rows,
                    columns ? ", " : "", columns);
    return true;
}
