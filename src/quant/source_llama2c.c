/* source_llama2c.c: a checkpoint of llama2.c; see source.h and format/llama2c.h. */
#include "quant/source_parts.h"

#include "format/llama2c.h"
#include "format/pieces.h"

#include <stdio.h>
#include <string.h>

static const char *const part_names[LLAMA2C_PART_COUNT] = {
    [LLAMA2C_EMBEDDING] = "model.embed_tokens.weight",
    [LLAMA2C_ATTENTION_NORM] = "input_layernorm.weight",
    [LLAMA2C_WQ] = "self_attn.q_proj.weight",
    [LLAMA2C_WK] = "self_attn.k_proj.weight",
    [LLAMA2C_WV] = "self_attn.v_proj.weight",
    [LLAMA2C_WO] = "self_attn.o_proj.weight",
    [LLAMA2C_FF_NORM] = "post_attention_layernorm.weight",
    [LLAMA2C_W1] = "mlp.gate_proj.weight",
    [LLAMA2C_W2] = "mlp.down_proj.weight",
    [LLAMA2C_W3] = "mlp.up_proj.weight",
    [LLAMA2C_FINAL_NORM] = "model.norm.weight",
    [LLAMA2C_HEAD] = "lm_head.weight",
};

static bool add_tensor(Source *s, const Llama2c *f, Llama2cPart part, uint32_t layer, Error *err)
{
    char name[NAME_ROOM];
    Llama2cTensor from = llama2c_tensor(f, part, layer);
    if (llama2c_is_layered(part))
        snprintf(name, sizeof name, "model.layers.%u.%s", layer, part_names[part]);
    else
        snprintf(name, sizeof name, "%s", part_names[part]);
    SourceTensor *t = source_add_tensor(s, name, err);
    if (!t)
        return false;
    t->type = stored_of_st(from.scales ? ST_I8 : ST_F32);
    t->rank = from.rows ? 2 : 1;
    t->shape[0] = from.rows ? from.rows : from.columns;
    t->shape[1] = from.columns;
    t->offset = from.offset;
    if (from.scales)
        t->scale = (SourceScale){stored_of_st(ST_F32), 0, from.scales, f->group};
    return tensor_measure(t, err);
}

/* These models end a text with the begin token of the next, so both ids are ends. */
static bool make_config(Source *s, const Llama2c *f, Error *err)
{
    s->config = json_pack(
        "{s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:n, s:s, s:b, s:b, s:b, "
        "s:s, s:i, s:[i, i]}", "architectures", "LlamaForCausalLM", "model_type", "llama",
        "hidden_size", (int)f->width, "intermediate_size", (int)f->ff_width, "num_hidden_layers",
        (int)f->layers, "num_attention_heads", (int)f->heads, "num_key_value_heads",
        (int)f->kv_heads, "head_dim", (int)f->head_width, "vocab_size", (int)f->vocab,
        "max_position_embeddings", (int)f->context, "rms_norm_eps", 1e-5, "rope_theta", 10000.0,
        "rope_scaling", "hidden_act", "silu", "attention_bias", 0, "mlp_bias", 0,
        "tie_word_embeddings", (int)f->tied, "torch_dtype", "float32", "bos_token_id", 1,
        "eos_token_id", 2, 1);
    return s->config || source_fail_memory(s, err);
}

typedef struct {
    char name[128]; /* of the best tokenizer so far */
} Beside;

/* "tokenizer.bin", or "tok512.bin": the vocabulary in its name. */
static bool note_tokenizer(void *user, const char *name, Error *err)
{
    Beside *found = user;
    size_t size = strlen(name);
    (void)err;
    bool fits = size > 7 && size < sizeof found->name && strncmp(name, "tok", 3) == 0 &&
                strcmp(name + size - 4, ".bin") == 0;
    if (fits && (!*found->name || strcmp(name, "tokenizer.bin") == 0))
        snprintf(found->name, sizeof found->name, "%s", name);
    return true;
}

/* A tokenizer beside the model becomes tokenizer.model; one of another size is not this model's. */
static bool add_tokenizer(Source *s, const char *folder, uint32_t vocab, Error *err)
{
    Beside found = {""};
    Pieces pieces;
    char path[1024];
    auto_buf Buf bytes, model;
    buf_init(&bytes, PIECES_BYTES_MAX);
    buf_init(&model, 2 * PIECES_BYTES_MAX);
    if (!fs_list(folder, note_tokenizer, &found, err))
        return false;
    if (!*found.name)
        return true;
    if (!fs_join(path, sizeof path, folder, found.name, err) || !fs_read(path, &bytes, err) ||
        !pieces_parse_llama2c(&pieces, (const uint8_t *)bytes.data, bytes.size, found.name, err))
        return false;
    bool fits = pieces.count == vocab;
    if (fits)
        pieces_write_model(&pieces, &model);
    pieces_done(&pieces);
    if (!fits)
        return fail(err, ERR_FORMAT, "'%.100s' has another number of tokens than the model's %u",
                    path, vocab);
    return buf_ok(&model, "tokenizer.model", err) &&
           source_add_made(s, "tokenizer.model", model.data, model.size, err);
}

bool source_open_llama2c(Source *s, Error *err)
{
    Llama2c f;
    char folder[1024];
    if (!llama2c_open(&f, &s->files[0], err))
        return fail_within(err, "not GGUF, read as llama2.c");
    if (!make_config(s, &f, err))
        return false;
    for (uint32_t layer = 0; layer < f.layers; layer++) {
        for (int part = 0; part < LLAMA2C_PART_COUNT; part++) {
            bool here = llama2c_is_layered((Llama2cPart)part) ||
                        (layer == 0 && !(part == LLAMA2C_HEAD && f.tied));
            if (here && !add_tensor(s, &f, (Llama2cPart)part, layer, err))
                return false;
        }
    }
    snprintf(folder, sizeof folder, "%s", s->path);
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = 0;
    return source_finish(s, true, err) &&
           add_tokenizer(s, !slash ? "." : *folder ? folder : "/", f.vocab, err);
}
