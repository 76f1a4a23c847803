/* gguf_export.c: see gguf_export.h. Keys and tensors first, then the data, a row at a time. */
#include "quant/gguf_export.h"

#include "base/mem.h"
#include "format/gguf.h"
#include "quant/gguf_vocab.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define F16_MOST 65504.0f

const GgufExportType gguf_export_types[] = {
    {"f32", GGML_F32, 0}, {"f16", GGML_F16, 1}, {"bf16", GGML_BF16, 32}, {"q8_0", GGML_Q8_0, 7},
    {0},
};

const GgufExportType *gguf_export_type_named(const char *name)
{
    for (const GgufExportType *t = gguf_export_types; t->name; t++) {
        if (strcmp(t->name, name) == 0)
            return t;
    }
    return NULL;
}

/* ---- names ---- */

enum { OUTER_NAMES = 3 }; /* rows of `names` that stand outside of layers */

static const struct {
    const char *ours, *theirs; /* between "model.layers.N." and ".weight", "blk.N." and ".weight" */
} names[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
    {"input_layernorm", "attn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"post_attention_layernorm", "ffn_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
};

typedef struct {
    const ParamInfo *param;
    char name[64];
    uint32_t type;
    uint32_t head_width; /* rows are to be reordered within heads of so many; 0: not */
} Tensor;

static bool is_part(const char *name, const char *part)
{
    size_t size = strlen(part);
    return strncmp(name, part, size) == 0 && strcmp(name + size, ".weight") == 0;
}

static bool name_tensor(Tensor *t, uint32_t head_width, Error *err)
{
    unsigned layer;
    int inner = 0;
    const char *name = t->param->name;
    sscanf(name, "model.layers.%u.%n", &layer, &inner);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if ((i < OUTER_NAMES) == (inner != 0) || !is_part(name + inner, names[i].ours))
            continue;
        const char *theirs = names[i].theirs;
        if (inner)
            snprintf(t->name, sizeof t->name, "blk.%u.%s.weight", layer, theirs);
        else
            snprintf(t->name, sizeof t->name, "%s.weight", theirs);
        if (strcmp(theirs, "attn_q") == 0 || strcmp(theirs, "attn_k") == 0)
            t->head_width = head_width;
        return true;
    }
    return fail(err, ERR_INTERNAL, "gguf: no name is known for tensor '%s'", name);
}

/* ---- data ---- */

uint32_t gguf_export_row(uint32_t row, uint32_t head_width)
{
    uint32_t head = row / head_width, in_head = row % head_width, half = head_width / 2;
    return head * head_width + in_head % half * 2 + in_head / half;
}

/* The folder's row that stands in row `row` of the file: the inverse of the above. */
static uint32_t source_row(uint32_t row, uint32_t head_width)
{
    if (!head_width)
        return row;
    uint32_t head = row / head_width, in_head = row % head_width;
    return head * head_width + in_head % 2 * (head_width / 2) + in_head / 2;
}

/* count values at x in the type's form at out, which holds a row of f32. */
static void convert(uint32_t type, const float *x, uint32_t count, void *out)
{
    uint16_t *half = out;
    if (type == GGML_Q8_0)
        dtype_quantise_q8_0(x, out, count);
    else if (type == GGML_F32)
        memcpy(out, x, count * sizeof *x);
    for (uint32_t i = 0; type == GGML_F16 && i < count; i++)
        half[i] = dtype_f16_of_f32(x[i]);
    for (uint32_t i = 0; type == GGML_BF16 && i < count; i++)
        half[i] = dtype_bf16_of_f32(x[i]);
}

/* What the type cannot hold would come back as infinity: say so instead. */
static bool check_row(const Tensor *t, const float *x, uint32_t count, Error *err)
{
    float most = t->type == GGML_F16 ? F16_MOST : t->type == GGML_Q8_0 ? 127 * F16_MOST : INFINITY;
    for (uint32_t i = 0; i < count; i++) {
        if (!isfinite(x[i]))
            return fail(err, ERR_INPUT, "tensor '%s' holds a value that is not a number",
                        t->param->name);
        if (fabsf(x[i]) > most)
            return fail(err, ERR_INPUT, "tensor '%s' holds %g, which %s cannot: export as bf16 or "
                                        "f32",
                        t->param->name, (double)x[i], ggml_type_info[t->type].name);
    }
    return true;
}

static bool write_tensor(GgufWriter *w, const Model *model, const Tensor *t, void *row,
                         Error *err)
{
    const Shape *shape = &t->param->shape;
    uint32_t rows = shape->rank == 2 ? shape->dim[0] : 1, width = shape->dim[shape->rank - 1];
    uint64_t bytes, ggml_shape[1] = {width};
    if (!gguf_tensor_bytes(t->type, 1, ggml_shape, &bytes))
        return fail(err, ERR_INTERNAL, "gguf: '%s' has rows that are not whole blocks", t->name);
    for (uint32_t r = 0; r < rows; r++) {
        const float *x = model->weights.slab + t->param->offset +
                         (uint64_t)source_row(r, t->head_width) * width;
        if (!check_row(t, x, width, err))
            return false;
        convert(t->type, x, width, row);
        if (!gguf_add_data(w, row, bytes, err))
            return false;
    }
    return true;
}

/* ---- the file ---- */

static uint32_t tensor_type(const ParamInfo *param, const GgufExportType *type)
{
    if (param->shape.rank == 1)
        return GGML_F32;
    uint32_t block = ggml_type_info[type->ggml].block;
    return param->shape.dim[1] % block ? GGML_F16 : type->ggml;
}

static void add_shape(GgufWriter *w, const Model *model, const GgufExportType *type)
{
    const ModelConfig *c = &model->config;
    uint32_t context = c->window && c->window < c->context ? c->window : c->context;
    gguf_add_text(w, "general.architecture", "llama");
    gguf_add_text(w, "general.name", model->name);
    gguf_add_u32(w, "general.file_type", type->file_type);
    if (type->ggml == GGML_Q8_0)
        gguf_add_u32(w, "general.quantization_version", 2);
    gguf_add_u32(w, "llama.vocab_size", c->vocab);
    gguf_add_u32(w, "llama.context_length", context);
    gguf_add_u32(w, "llama.embedding_length", c->width);
    gguf_add_u32(w, "llama.block_count", c->layers);
    gguf_add_u32(w, "llama.feed_forward_length", c->ff_width);
    gguf_add_u32(w, "llama.attention.head_count", c->heads);
    gguf_add_u32(w, "llama.attention.head_count_kv", c->kv_heads);
    gguf_add_u32(w, "llama.attention.key_length", c->head_width);
    gguf_add_u32(w, "llama.attention.value_length", c->head_width);
    gguf_add_f32(w, "llama.attention.layer_norm_rms_epsilon", c->eps);
    gguf_add_u32(w, "llama.rope.dimension_count", c->head_width);
    gguf_add_f32(w, "llama.rope.freq_base", c->theta);
}

/* Fills tensors[count] and tells the writer; *widest: values of the longest row. */
static bool add_tensors(GgufWriter *w, const Model *model, const GgufExportType *type,
                        Tensor *tensors, uint32_t *widest, Error *err)
{
    const Weights *weights = &model->weights;
    for (uint32_t i = 0; i < weights->count; i++) {
        Tensor *t = &tensors[i];
        t->param = &weights->params[i];
        if (!name_tensor(t, model->config.head_width, err))
            return false;
        const Shape *shape = &t->param->shape;
        uint64_t reversed[2];
        for (uint32_t d = 0; d < shape->rank; d++)
            reversed[d] = shape->dim[shape->rank - 1 - d];
        t->type = tensor_type(t->param, type);
        gguf_add_tensor(w, t->name, t->type, shape->rank, reversed);
        *widest = reversed[0] > *widest ? (uint32_t)reversed[0] : *widest;
    }
    return true;
}

static bool write_file(GgufWriter *w, const Model *model, const GgufExportType *type,
                       const char *path, Error *err)
{
    const Weights *weights = &model->weights;
    auto_free Tensor *tensors = mem_alloc(weights->count, sizeof *tensors);
    uint32_t widest = 0;
    if (!tensors)
        return fail(err, ERR_MEMORY, "no memory to export %u tensors", weights->count);
    add_shape(w, model, type);
    if (!gguf_vocab_add(w, model, err) || !add_tensors(w, model, type, tensors, &widest, err))
        return false;
    auto_free float *row = mem_alloc(widest, sizeof *row); /* no type is wider than f32 */
    if (!row)
        return fail(err, ERR_MEMORY, "no memory for a row of %u values", widest);
    if (!gguf_begin(w, path, err))
        return false;
    for (uint32_t i = 0; i < weights->count; i++) {
        if (!write_tensor(w, model, &tensors[i], row, err))
            return false;
    }
    return gguf_commit(w, err);
}

bool gguf_export(const Model *model, const GgufExportType *type, const char *path, Error *err)
{
    GgufWriter *w;
    if (!gguf_writer_new(&w, err))
        return false;
    bool ok = write_file(w, model, type, path, err);
    gguf_writer_free(w);
    return ok;
}
