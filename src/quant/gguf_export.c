/* gguf_export.c: see gguf_export.h. Keys and tensors first, then the data, some rows at a time. */
#include "quant/gguf_export.h"

#include "base/mem.h"
#include "format/gguf.h"
#include "quant/gguf_vocab.h"
#include "tensor/block.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BAND_ROWS = 64 };

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
    DType type;
    const float *importance; /* [columns]; NULL: all alike */
    uint32_t head_width;     /* rows are to be reordered within heads of so many; 0: not */
} Tensor;

static bool is_part(const char *name, const char *part)
{
    size_t size = strlen(part);
    return strncmp(name, part, size) == 0 && strcmp(name + size, ".weight") == 0;
}

bool gguf_export_name(const char *ours, char theirs[64])
{
    unsigned layer;
    int inner = 0;
    sscanf(ours, "model.layers.%u.%n", &layer, &inner);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if ((i < OUTER_NAMES) == (inner != 0) || !is_part(ours + inner, names[i].ours))
            continue;
        if (inner)
            snprintf(theirs, 64, "blk.%u.%s.weight", layer, names[i].theirs);
        else
            snprintf(theirs, 64, "%s.weight", names[i].theirs);
        return true;
    }
    return false;
}

static bool name_tensor(Tensor *t, uint32_t head_width, Error *err)
{
    if (!gguf_export_name(t->param->name, t->name))
        return fail(err, ERR_INTERNAL, "gguf: no name is known for tensor '%s'", t->param->name);
    if (strstr(t->name, ".attn_q.") || strstr(t->name, ".attn_k."))
        t->head_width = head_width;
    return true;
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

/* What the type cannot hold would come back as infinity: say so instead. */
static bool check_row(const Tensor *t, const float *x, uint32_t count, Error *err)
{
    uint64_t bad = block_misfit(t->type, x, count);
    if (bad == count)
        return true;
    if (!isfinite(x[bad]))
        return fail(err, ERR_INPUT, "tensor '%s' holds a value that is not a number",
                    t->param->name);
    return fail(err, ERR_INPUT, "tensor '%s' holds %g, which %s cannot: export as bf16 or f32",
                t->param->name, (double)x[bad], ggml_type_info[block_codecs[t->type].ggml].name);
}

/* Rows of the file [first, first + count), quantised side by side. */
typedef struct {
    const Model *model;
    const Tensor *tensor;
    uint32_t first, width;
    uint8_t *out;
    uint64_t row_bytes;
} Band;

static const float *file_row(const Band *b, uint32_t row)
{
    return b->model->weights.slab + b->tensor->param->offset +
           (uint64_t)source_row(row, b->tensor->head_width) * b->width;
}

static void put_row(void *ctx, uint32_t task, uint32_t worker)
{
    const Band *b = ctx;
    (void)worker;
    block_quantise(b->tensor->type, file_row(b, b->first + task), b->tensor->importance,
                   b->out + task * b->row_bytes, b->width);
}

static bool write_tensor(GgufWriter *w, Pool *pool, const Model *model, const Tensor *t,
                         uint8_t *out, Error *err)
{
    const Shape *shape = &t->param->shape;
    uint32_t rows = shape->rank == 2 ? shape->dim[0] : 1, width = shape->dim[shape->rank - 1];
    Band band = {.model = model, .tensor = t, .width = width, .out = out,
                 .row_bytes = dtype_bytes(t->type, width)};
    for (; band.first < rows; band.first += BAND_ROWS) {
        uint32_t count = rows - band.first < BAND_ROWS ? rows - band.first : BAND_ROWS;
        for (uint32_t r = 0; r < count; r++) {
            if (!check_row(t, file_row(&band, band.first + r), width, err))
                return false;
        }
        pool_for(pool, count, put_row, &band);
        if (!gguf_add_data(w, out, count * band.row_bytes, err))
            return false;
    }
    return true;
}

/* ---- the file ---- */

/* One type for all matrices, f16 where rows are not whole blocks. */
static DType choose_uniform(void *user, const ParamInfo *param, const float **importance)
{
    DType type = DT_F32;
    const GgufExportType *row = user;
    *importance = NULL;
    block_of_ggml(row->ggml, &type);
    return param->shape.dim[1] % dtype_info[type].block_elems ? DT_F16 : type;
}

static bool has_blocks(const Tensor *tensors, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (dtype_info[tensors[i].type].block_elems > 1)
            return true;
    }
    return false;
}

static void add_shape(GgufWriter *w, const Model *model)
{
    const ModelConfig *c = &model->config;
    uint32_t context = c->window && c->window < c->context ? c->window : c->context;
    gguf_add_text(w, "general.architecture", "llama");
    gguf_add_text(w, "general.name", model->name);
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
static bool add_tensors(GgufWriter *w, const Model *model, const GgufMixture *mixture,
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
        t->type = DT_F32;
        if (shape->rank == 2)
            t->type = mixture->choose(mixture->user, t->param, &t->importance);
        if (reversed[0] % dtype_info[t->type].block_elems)
            return fail(err, ERR_INTERNAL, "gguf: '%s' has rows that are not whole blocks", t->name);
        gguf_add_tensor(w, t->name, block_codecs[t->type].ggml, shape->rank, reversed);
        *widest = reversed[0] > *widest ? (uint32_t)reversed[0] : *widest;
    }
    return true;
}

static bool write_file(GgufWriter *w, Pool *pool, const Model *model, const GgufMixture *mixture,
                       const char *path, Error *err)
{
    const Weights *weights = &model->weights;
    auto_free Tensor *tensors = mem_alloc(weights->count, sizeof *tensors);
    uint32_t widest = 0;
    if (!tensors)
        return fail(err, ERR_MEMORY, "no memory to export %u tensors", weights->count);
    add_shape(w, model);
    gguf_add_u32(w, "general.file_type", mixture->file_type);
    if (!gguf_vocab_add(w, model, err) || !add_tensors(w, model, mixture, tensors, &widest, err))
        return false;
    if (has_blocks(tensors, weights->count))
        gguf_add_u32(w, "general.quantization_version", 2);
    auto_free uint8_t *rows = mem_alloc((size_t)widest * BAND_ROWS, sizeof(float));
    if (!rows)
        return fail(err, ERR_MEMORY, "no memory for rows of %u values", widest);
    if (!gguf_begin(w, path, err))
        return false;
    for (uint32_t i = 0; i < weights->count; i++) {
        if (!write_tensor(w, pool, model, &tensors[i], rows, err))
            return false;
    }
    return gguf_commit(w, err);
}

bool gguf_export_mixture(const Model *model, const GgufMixture *mixture, const char *path,
                         Error *err)
{
    GgufWriter *w;
    Pool *pool;
    if (!pool_new(&pool, mixture->threads, err))
        return false;
    bool ok = gguf_writer_new(&w, err);
    if (ok) {
        ok = write_file(w, pool, model, mixture, path, err);
        gguf_writer_free(w);
    }
    pool_free(pool);
    return ok;
}

bool gguf_export(const Model *model, const GgufExportType *type, const char *path, Error *err)
{
    GgufExportType row = *type;
    GgufMixture mixture = {.file_type = type->file_type, .user = &row, .choose = choose_uniform,
                           .threads = 1};
    return gguf_export_mixture(model, &mixture, path, err);
}
