/* calibrate_file.c: calibrations as GGUF files of llama.cpp's form; see calibrate.h. */
#include "quant/calibrate.h"

#include "base/mem.h"
#include "format/gguf.h"
#include "quant/names.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FILE_NAME = 96 };

/* What a file may say of a use, by the end of the tensor's name. */
typedef enum { PART_SUMS, PART_COUNT, PART_OUT, PART_EMBED_ROWS, PART_EMBED_COLUMNS, PARTS } Part;
static const char *const endings[PARTS] = {"in_sum2", "counts", "out_mean2", "embed_rows",
                                           "embed_columns"};

static bool name_part(const char *name, Part part, char out[FILE_NAME])
{
    Name parsed;
    char theirs[NAME_ROOM];
    return name_parse(NAMES_HF, name, MIX_ANY, &parsed) &&
           name_write(NAMES_GGUF, &parsed, theirs) &&
           snprintf(out, FILE_NAME, "%s.%s", theirs, endings[part]) < FILE_NAME;
}

/* ---- writing ---- */

typedef struct {
    GgufWriter *writer;
    const Calibration *calibration;
    bool data; /* false: names and shapes are told; true: the data, in the same order */
    Error *err;
} Saver;

static bool put(Saver *s, const char *name, Part part, const float *values, uint32_t count,
                double factor)
{
    char full[FILE_NAME];
    uint64_t shape[2] = {count, 1};
    if (!values)
        return true;
    if (!name_part(name, part, full))
        return fail(s->err, ERR_INTERNAL, "calibration: no name is known for '%s'", name);
    if (!s->data) {
        gguf_add_tensor(s->writer, full, GGML_F32, 2, shape);
        return true;
    }
    for (uint32_t i = 0; i < count; i++) {
        float value = (float)((double)values[i] * factor);
        if (!gguf_add_data(s->writer, &value, sizeof value, s->err))
            return false;
    }
    return true;
}

static bool put_matrix(Saver *s, const CalibrationMatrix *m)
{
    for (uint32_t u = 0; u < m->uses; u++) {
        const CalibrationUse *use = &m->use[u];
        float one = 1;
        double tokens = (double)s->calibration->tokens;
        bool ok = use->kind == USE_EMBED
                      ? put(s, m->name, PART_EMBED_ROWS, use->row, m->rows, 1) &&
                            put(s, m->name, PART_EMBED_COLUMNS, use->column, m->columns, 1)
                      : put(s, m->name, PART_SUMS, use->column, m->columns, tokens) &&
                            put(s, m->name, PART_COUNT, &one, 1, tokens) &&
                            put(s, m->name, PART_OUT, use->row, m->rows, 1);
        if (!ok)
            return false;
    }
    return true;
}

static bool put_all(Saver *s)
{
    for (uint32_t i = 0; i < s->calibration->count; i++) {
        if (!put_matrix(s, &s->calibration->matrices[i]))
            return false;
    }
    return true;
}

bool calibration_save(const Calibration *c, const char *path, const char *dataset, Error *err)
{
    GgufWriter *w;
    if (!gguf_writer_new(&w, err))
        return false;
    Saver s = {.writer = w, .calibration = c, .err = err};
    GgufText name = {dataset, strlen(dataset)};
    gguf_add_text(w, "general.type", "imatrix");
    gguf_add_texts(w, "imatrix.datasets", &name, 1);
    gguf_add_u32(w, "imatrix.chunk_count", (uint32_t)(c->tokens / c->row_tokens));
    gguf_add_u32(w, "imatrix.chunk_size", c->row_tokens);
    bool ok = put_all(&s) && gguf_begin(w, path, err);
    s.data = true;
    ok = ok && put_all(&s) && gguf_commit(w, err);
    gguf_writer_free(w);
    return ok;
}

/* ---- reading ---- */

/* A part as floats over `divisor`; *out NULL when the file does not have it. */
static bool get(const Gguf *file, const char *name, Part part, uint32_t count, double divisor,
                float **out, Error *err)
{
    char full[FILE_NAME];
    *out = NULL;
    const GgufTensor *t = name_part(name, part, full) ? gguf_find_tensor(file, full) : NULL;
    if (!t)
        return true;
    if (t->type != GGML_F32 || t->shape[0] != count || t->bytes != count * sizeof(float))
        return fail(err, ERR_FORMAT, "%s: '%s' must be %u values of f32", gguf_name(file), full,
                    count);
    float *values = mem_alloc(count, sizeof *values);
    if (!values)
        return fail(err, ERR_MEMORY, "no memory for '%s'", full);
    for (uint32_t i = 0; i < count; i++) {
        float value;
        memcpy(&value, t->data + i * sizeof value, sizeof value);
        values[i] = (float)((double)value / divisor);
        if (!(values[i] >= 0) || !isfinite(values[i])) {
            mem_free(values);
            return fail(err, ERR_FORMAT, "%s: '%s' holds %g", gguf_name(file), full,
                        (double)value);
        }
    }
    *out = values;
    return true;
}

static bool get_linear(const Gguf *file, CalibrationMatrix *m, Calibration *c, Error *err)
{
    CalibrationUse *use = &m->use[m->uses];
    float *count;
    if (!get(file, m->name, PART_COUNT, 1, 1, &count, err))
        return false;
    double tokens = count ? (double)*count : 0;
    mem_free(count);
    if (!(tokens > 0)) /* absent, or a matrix that no token reached */
        return true;
    m->uses++;
    use->kind = USE_LINEAR;
    c->tokens = tokens > (double)c->tokens ? (uint64_t)tokens : c->tokens;
    return get(file, m->name, PART_SUMS, m->columns, tokens, &use->column, err) &&
           get(file, m->name, PART_OUT, m->rows, 1, &use->row, err);
}

static bool get_embed(const Gguf *file, CalibrationMatrix *m, Error *err)
{
    CalibrationUse *use = &m->use[m->uses];
    char full[FILE_NAME];
    if (!name_part(m->name, PART_EMBED_ROWS, full) || !gguf_find_tensor(file, full))
        return true;
    m->uses++;
    use->kind = USE_EMBED;
    return get(file, m->name, PART_EMBED_ROWS, m->rows, 1, &use->row, err) &&
           get(file, m->name, PART_EMBED_COLUMNS, m->columns, 1, &use->column, err);
}

/* Rows are known when they are of every matrix: only then are errors comparable. */
static bool get_all(const Gguf *file, const Model *model, Calibration *c, Error *err)
{
    c->gradients = true;
    for (uint32_t i = 0; i < model->weights.count; i++) {
        const ParamInfo *param = &model->weights.params[i];
        if (param->shape.rank != 2)
            continue;
        CalibrationMatrix *m = &c->matrices[c->count];
        snprintf(m->name, sizeof m->name, "%s", param->name);
        m->rows = param->shape.dim[0];
        m->columns = param->shape.dim[1];
        c->count++;
        if (!get_linear(file, m, c, err) || !get_embed(file, m, err))
            return false;
        bool known = m->uses > 0;
        for (uint32_t u = 0; u < m->uses; u++)
            known = known && m->use[u].row && m->use[u].column;
        c->gradients = c->gradients && known;
        if (!m->uses)
            c->count--;
    }
    if (!c->count)
        return fail(err, ERR_INPUT, "%s: says nothing of any matrix of this model",
                    gguf_name(file));
    return true;
}

static bool read_file(const Gguf *file, const Model *model, Calibration *c, Error *err)
{
    const char *type;
    if (!gguf_get_text(file, "general.type", "", &type, err) ||
        !gguf_get_u32(file, "imatrix.chunk_size", 0, 1u << 30, 0, &c->row_tokens, err))
        return false;
    if (strcmp(type, "imatrix") != 0)
        return fail(err, ERR_INPUT, "%s: is no importance matrix", gguf_name(file));
    c->matrices = mem_alloc(model->weights.count, sizeof *c->matrices);
    if (!c->matrices)
        return fail(err, ERR_MEMORY, "no memory for a calibration");
    return get_all(file, model, c, err);
}

bool calibration_load(Calibration **out, const Model *model, const char *path, Error *err)
{
    Gguf *file;
    if (!gguf_open(&file, path, err))
        return false;
    Calibration *c = mem_alloc(1, sizeof *c);
    bool ok = c ? read_file(file, model, c, err)
                : fail(err, ERR_MEMORY, "no memory for a calibration");
    gguf_close(file);
    if (ok)
        *out = c;
    else
        calibration_free(c);
    return ok;
}
