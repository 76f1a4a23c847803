/* source_model.c: see source_model.h. The store is an open source and a reader of its rows. */
#include "quant/source_model.h"

#include "backend/cpu/qgemm.h"
#include "quant/source.h"
#include "tensor/block.h"

#include <stdio.h>
#include <string.h>

enum { CONFIG_TEXT_MAX = 64 << 20 };

typedef struct {
    Source *source;
    SourceReader reader;
    bool asked;  /* for `want`, whatever is stored */
    DType want;
} Store;

static void store_close(void *user)
{
    Store *s = user;
    reader_free(&s->reader);
    source_close(s->source);
    mem_free(s);
}

/* The name of one tensor: of expert `expert` where the graph's name stands for a stack. */
static void name_one(const char *name, uint32_t expert, char out[NAME_ROOM])
{
    const char *star = strchr(name, '*');
    if (star)
        snprintf(out, NAME_ROOM, "%.*s%u%s", (int)(star - name), name, expert, star + 1);
    else
        snprintf(out, NAME_ROOM, "%s", name);
}

/* The tensor by the graph's name, in a model of text alone or inside of a larger one. */
static const SourceTensor *find(const Source *source, const char *name, uint32_t expert)
{
    char one[NAME_ROOM], alone[NAME_ROOM];
    name_one(name, expert, one);
    const SourceTensor *t = source_find(source, one);
    for (uint32_t i = 0; !t && source->outline.wrapped && i < source->count; i++) {
        if (name_unwrap(source->tensors[i].name, alone) && strcmp(alone, one) == 0)
            t = &source->tensors[i];
    }
    return t;
}

static DType store_type(void *user, const char *name, Shape shape)
{
    const Store *s = user;
    DType type = s->want;
    uint32_t columns = shape.dim[shape.rank - 1];
    const SourceTensor *t = find(s->source, name, 0);
    if (!s->asked && (!t || t->type->block == 1 || t->type->ggml < 0))
        return DT_F32;
    if (!s->asked && !block_of_ggml((uint32_t)t->type->ggml, &type))
        return DT_F32;
    if (shape.rank == 2 && qgemm_takes(type) && columns % dtype_info[type].block_elems == 0)
        return type;
    return type != DT_F32 && columns % dtype_info[DT_Q8_0].block_elems == 0 ? DT_Q8_0 : DT_F32;
}

static bool read_tensor(Store *s, const SourceTensor *t, DType type, uint8_t *out, Error *err)
{
    const StoredType *as = stored_of_ggml(block_codecs[type].ggml);
    uint64_t step = reader_rows(&s->reader, t), row_bytes = stored_bytes(as, t->columns);
    for (uint64_t row = 0; row < t->rows; row += step) {
        uint64_t count = t->rows - row < step ? t->rows - row : step;
        if (!reader_read(&s->reader, t, row, count, as, false, out + row * row_bytes, err))
            return false;
    }
    return true;
}

static bool store_read(void *user, const char *name, Shape shape, DType type, void *out,
                       Error *err)
{
    Store *s = user;
    uint32_t stack = shape.rank == 3 ? shape.dim[0] : 1;
    uint64_t count = shape_count(shape) / stack;
    for (uint32_t i = 0; i < stack; i++) {
        const SourceTensor *t = find(s->source, name, i);
        if (!t)
            return fail(err, ERR_FORMAT, "%s: tensor '%.80s' is missing", s->source->path, name);
        if (tensor_elements(t) != count ||
            (shape.rank > 1 && t->columns != shape.dim[shape.rank - 1]))
            return fail(err, ERR_FORMAT, "%s: tensor '%.80s' has %llu values, the model needs %llu",
                        s->source->path, t->name, (unsigned long long)tensor_elements(t),
                        (unsigned long long)count);
        if (!read_tensor(s, t, type, (uint8_t *)out + i * dtype_bytes(type, count), err))
            return false;
    }
    return true;
}

/* ---- the words around the weights ---- */

/* The template of tokenizer_config.json or chat_template.jinja, which a GGUF file's keys become. */
static bool load_chat(Model *model, const Source *source, Error *err)
{
    auto_buf Buf jinja, text;
    auto_json json_t *config = NULL;
    const SourceFile *template = source_extra(source, "chat_template.jinja");
    const SourceFile *file = source_extra(source, "tokenizer_config.json");
    buf_init(&jinja, CONFIG_TEXT_MAX);
    buf_init(&text, CONFIG_TEXT_MAX);
    if (!template && !file)
        return true;
    if (template && !source_read_extra(template, &jinja, err))
        return false;
    if (file && (!source_read_extra(file, &text, err) ||
                 !json_parse(&config, text.data, text.size, file->name, err)))
        return false;
    return chat_template_find(&model->chat, jinja.data, jinja.size, config, model->tokenizer, err);
}

static bool load_words(Model *model, const Source *source, const char *path, Error *err)
{
    if (strcmp(source->layout, "llama2.c") == 0)
        return fail(err, ERR_INPUT, "'%.160s' is of llama2.c: make a folder of it first, with "
                                    "bastide model import", path);
    if (!tokenizer_open(&model->tokenizer, path, err))
        return err->code == ERR_NOT_FOUND;
    if (tokenizer_vocab(model->tokenizer) > model->config.vocab)
        return fail(err, ERR_FORMAT, "%s: the model has only %u tokens",
                    tokenizer_source(model->tokenizer), model->config.vocab);
    return load_chat(model, source, err);
}

static bool want_type(const char *weights, Store *s, Error *err)
{
    s->want = DT_F32;
    s->asked = weights != NULL;
    if (!weights || (dtype_named(weights, &s->want) &&
                     (s->want == DT_F32 || qgemm_takes(s->want))))
        return true;
    return fail(err, ERR_INPUT, "weights '%.40s' cannot be served; choose f32, q8_0, q6_k, q5_k, q4_k "
                                "or q4_0", weights);
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static bool open_store(Store *s, const char *path, const char *weights, Error *err)
{
    return want_type(weights, s, err) && source_open(&s->source, path, err) &&
           reader_new(&s->reader, s->source, err);
}

bool source_model_load(Model **out, const char *path, const char *weights, Error *err)
{
    Model *model = NULL;
    if (fs_is_dir(path) && (!weights || strcmp(weights, "f32") == 0))
        return model_load(out, path, err);
    if (!fs_exists(path))
        return fail(err, ERR_NOT_FOUND, "there is no model '%.200s'", path);
    Store *s = mem_alloc(1, sizeof *s);
    if (!s)
        return fail(err, ERR_MEMORY, "no memory to open '%.160s'", path);
    bool ok = open_store(s, path, weights, err);
    WeightStore store = {s, store_type, store_read, store_close,
                         ok ? source_parameters(s->source) : 0};
    ok = ok && model_of_store(&model, s->source->config, "config.json", last_part(path), &store,
                              err);
    if (!ok) {
        store_close(s);
        return false;
    }
    if (!load_words(model, s->source, path, err)) {
        model_free(model);
        return false;
    }
    *out = model;
    return true;
}
