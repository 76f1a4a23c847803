/* adapter.c: see adapter.h. The matrices of one module are in memory at a time: rows of a tensor are
 * read in one go, so each is loaded once. */
#include "quant/adapter.h"

#include "base/mem.h"
#include "quant/adapter_config.h"
#include "quant/source_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PART_VALUES_MAX = 1 << 28, PARTS_MAX = 1 << 17 };

struct AdapterPart {
    Adapter *adapter;
    char *module;                  /* "model.layers.0.self_attn.q_proj" */
    const StTensor *a, *b;         /* a NULL: replaced whole by b */
    const StTensor *magnitude;     /* NULL: no DoRA */
    bool embedding;
    uint32_t rank;
    double scale;
};

struct Adapter {
    FsFile file;
    Safetensors *tensors;
    AdapterConfig config;
    AdapterPart *parts;
    uint32_t count;
    Arena names;
    const AdapterPart *loaded;     /* whose matrices are in `values` */
    float *values;                 /* a, b, magnitude, and a row for the sum */
};

uint32_t adapter_parts(const Adapter *adapter)
{
    return adapter->count;
}

/* ---- opening ---- */

static const char prefix[] = "base_model.model.";

/* Splits "base_model.model.M.lora_A.weight"; false: it has not this ending. An adapter's name may
 * stand before ".weight", as files of old versions have it. */
static bool split(const char *name, const char *part, char module[NAME_ROOM])
{
    const char *start = name + strlen(prefix), *at = strstr(start, part);
    if (!at)
        return false;
    const char *rest = at + strlen(part);
    if (*rest && strcmp(rest, ".weight") != 0 && strcmp(rest, ".default.weight") != 0 &&
        strcmp(rest, ".default") != 0)
        return false;
    size_t size = (size_t)(at - start);
    if (size == 0 || size >= NAME_ROOM)
        return false;
    memcpy(module, start, size);
    module[size] = 0;
    return true;
}

static AdapterPart *part_of(Adapter *a, const char *module, Error *err)
{
    for (uint32_t i = 0; i < a->count; i++) {
        if (strcmp(a->parts[i].module, module) == 0)
            return &a->parts[i];
    }
    AdapterPart *part = &a->parts[a->count]; /* there are as many as tensors */
    part->adapter = a;
    part->module = arena_copy_text(&a->names, module, strlen(module));
    if (!part->module) {
        fail(err, ERR_MEMORY, "no memory for the parts of an adapter");
        return NULL;
    }
    a->count++;
    return part;
}

/* Puts one tensor of the file into the part it belongs to. */
static bool take_tensor(Adapter *a, const StTensor *t, Error *err)
{
    static const struct {
        const char *text;
        size_t field;
        bool embedding;
    } kinds[] = {
        {".lora_A", offsetof(AdapterPart, a), false},
        {".lora_B", offsetof(AdapterPart, b), false},
        {".lora_embedding_A", offsetof(AdapterPart, a), true},
        {".lora_embedding_B", offsetof(AdapterPart, b), true},
        {".lora_magnitude_vector", offsetof(AdapterPart, magnitude), false},
    };
    char module[NAME_ROOM];
    if (strncmp(t->name, prefix, strlen(prefix)) != 0 || !stored_of_st(t->dtype)->of_f32)
        return fail(err, ERR_FORMAT, "%.100s: tensor '%.100s' is not of an adapter", a->file.path,
                    t->name);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!split(t->name, kinds[i].text, module))
            continue;
        AdapterPart *part = part_of(a, module, err);
        if (!part)
            return false;
        part->embedding = part->embedding || kinds[i].embedding;
        memcpy((char *)part + kinds[i].field, &t, sizeof t);
        return true;
    }
    if (strstr(t->name, ".base_layer.weight"))
        return true; /* the model's own embedding, saved for its size */
    if (strstr(t->name, ".lora_"))
        return fail(err, ERR_FORMAT, "%.100s: tensor '%.100s' is of a kind that is not known",
                    a->file.path, t->name);
    snprintf(module, sizeof module, "%s", t->name + strlen(prefix)); /* trained whole */
    size_t size = strlen(module);
    if (size > 7 && strcmp(module + size - 7, ".weight") == 0)
        module[size - 7] = 0;
    AdapterPart *part = part_of(a, module, err);
    if (!part)
        return false;
    if (part->a || part->b)
        return fail(err, ERR_FORMAT, "%.100s: module '%.80s' is there twice", a->file.path, module);
    part->b = t;
    return true;
}

static bool has_shape(const StTensor *t, uint64_t rows, uint64_t columns)
{
    return t->rank == 2 && t->shape[0] == rows && t->shape[1] == columns;
}

/* A part alone: both matrices, of the rank that the configuration gives. */
static bool check_part(const Adapter *a, AdapterPart *p, Error *err)
{
    if (p->b && !p->a && !p->magnitude)
        return true;
    if (!p->a || !p->b)
        return fail(err, ERR_FORMAT, "%.100s: module '%.80s' has not both of its matrices",
                    a->file.path, p->module);
    if (!adapter_config_scale(&a->config, p->module, &p->rank, &p->scale, err))
        return false;
    if (p->a->rank != 2 || p->b->rank != 2 || p->a->shape[0] != p->rank ||
        p->b->shape[1] != p->rank || p->a->shape[1] == 0 || p->b->shape[0] == 0 ||
        p->a->shape[1] > PART_VALUES_MAX / p->rank || p->b->shape[0] > PART_VALUES_MAX / p->rank)
        return fail(err, ERR_FORMAT, "%.100s: module '%.80s': its matrices are not of rank %" PRIu32,
                    a->file.path, p->module, p->rank);
    if (a->config.dora != (p->magnitude != NULL) || (p->magnitude && p->embedding) ||
        (p->magnitude && (p->magnitude->rank != 1 || p->magnitude->shape[0] != p->b->shape[0])))
        return fail(err, ERR_FORMAT, "%.100s: module '%.80s': its magnitudes are missing, too many, "
                                     "or no vector of its rows", a->file.path, p->module);
    return true;
}

static bool open_parts(Adapter *a, Error *err)
{
    uint32_t count = safetensors_count(a->tensors);
    if (count == 0 || count > PARTS_MAX)
        return fail(err, ERR_FORMAT, "%.120s: holds %" PRIu32 " tensors", a->file.path, count);
    a->parts = mem_alloc(count, sizeof *a->parts);
    if (!a->parts)
        return fail(err, ERR_MEMORY, "no memory for the parts of an adapter");
    for (uint32_t i = 0; i < count; i++) {
        if (!take_tensor(a, safetensors_at(a->tensors, i), err))
            return false;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        if (!check_part(a, &a->parts[i], err))
            return false;
    }
    return true;
}

bool adapter_open(Adapter **out, const char *folder, Error *err)
{
    char path[1024], weights[1024];
    if (!fs_join(path, sizeof path, folder, "adapter_config.json", err) ||
        !fs_join(weights, sizeof weights, folder, "adapter_model.safetensors", err))
        return false;
    if (fs_exists(path) && !fs_exists(weights))
        return fail(err, ERR_NOT_FOUND, "'%.120s' has no adapter_model.safetensors (a pickle, .bin, "
                                        "is never read)", folder);
    Adapter *a = mem_alloc(1, sizeof *a);
    if (!a)
        return fail(err, ERR_MEMORY, "no memory to open '%.120s'", folder);
    a->file.fd = -1;
    arena_init(&a->names, 64 << 20);
    if (!adapter_config_read(&a->config, path, err) || !fs_file_open(&a->file, weights, err) ||
        !safetensors_open_header(&a->tensors, &a->file, err) || !open_parts(a, err)) {
        adapter_close(a);
        return false;
    }
    *out = a;
    return true;
}

void adapter_close(Adapter *a)
{
    if (!a)
        return;
    safetensors_close(a->tensors);
    fs_file_close(&a->file);
    adapter_config_done(&a->config);
    arena_done(&a->names);
    mem_free(a->parts);
    mem_free(a->values);
    mem_free(a);
}

/* ---- attaching ---- */

static SourceTensor *find_target(Source *s, const AdapterPart *p)
{
    char name[NAME_ROOM + 8];
    snprintf(name, sizeof name, "%s.weight", p->module);
    const SourceTensor *t = source_find(s, name);
    if (!t && !p->a) /* trained whole: a bias, say */
        t = source_find(s, p->module);
    return t ? &s->tensors[t - s->tensors] : NULL;
}

static bool check_target(const AdapterPart *p, const SourceTensor *t, Error *err)
{
    bool fits;
    if (!t)
        return fail(err, ERR_INPUT, "the adapter's module '%.100s' is no part of this model",
                    p->module);
    if (!p->a) {
        fits = p->b->rank == t->rank && memcmp(p->b->shape, t->shape,
                                               t->rank * sizeof *t->shape) == 0;
    } else if (p->embedding) {
        fits = t->rank == 2 && has_shape(p->a, p->rank, t->rows) &&
               has_shape(p->b, t->columns, p->rank);
    } else {
        fits = t->rank == 2 && has_shape(p->a, p->rank, t->columns) &&
               has_shape(p->b, t->rows, p->rank);
    }
    return fits || fail(err, ERR_INPUT, "the adapter's module '%.100s' has another shape than this "
                                        "model's", p->module);
}

bool adapter_attach(Adapter *a, Source *s, Error *err)
{
    uint32_t file;
    for (uint32_t i = 0; i < a->count; i++) {
        if (!check_target(&a->parts[i], find_target(s, &a->parts[i]), err))
            return false;
    }
    if (!source_add_file(s, a->file.path, &file, err))
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        const AdapterPart *p = &a->parts[i];
        SourceTensor *t = find_target(s, p);
        if (p->a) {
            t->adapter = p;
            continue;
        }
        t->file = file; /* replaced whole; in Hugging Face's order of rows */
        t->offset = p->b->offset;
        t->type = stored_of_st(p->b->dtype);
        t->bytes = p->b->bytes;
        t->scale = (SourceScale){0};
        t->neighbours = 0;
    }
    return true;
}

/* ---- applying ---- */

static bool load_matrix(const Adapter *a, const StTensor *t, float *out, Error *err)
{
    const StoredType *type = stored_of_st(t->dtype);
    uint64_t count = t->bytes / type->bytes;
    auto_free uint8_t *raw = mem_alloc(t->bytes, 1);
    if (!raw)
        return fail(err, ERR_MEMORY, "no memory for '%.80s'", t->name);
    if (!fs_file_read(&a->file, t->offset, raw, t->bytes, err))
        return false;
    type->to_f32(type, raw, out, count);
    if (stored_misfit(stored_of_st(ST_F32), out, count) < count)
        return fail(err, ERR_FORMAT, "%.100s: tensor '%.80s' holds a value that is not a number",
                    a->file.path, t->name);
    return true;
}

static uint64_t elements(const StTensor *t)
{
    return t ? t->bytes / stored_of_st(t->dtype)->bytes : 0;
}

static bool load(const AdapterPart *p, uint64_t columns, Error *err)
{
    Adapter *a = p->adapter;
    uint64_t need = elements(p->a) + elements(p->b) + elements(p->magnitude) + columns;
    if (a->loaded == p)
        return true;
    a->loaded = NULL;
    float *values = mem_resize(a->values, need, sizeof *values);
    if (!values)
        return fail(err, ERR_MEMORY, "no memory for the adapter of '%.80s'", p->module);
    a->values = values;
    if (!load_matrix(a, p->a, values, err) ||
        !load_matrix(a, p->b, values + elements(p->a), err) ||
        (p->magnitude &&
         !load_matrix(a, p->magnitude, values + elements(p->a) + elements(p->b), err)))
        return false;
    a->loaded = p;
    return true;
}

/* sum[columns] = row `row` of B A; of an embedding, column `row` of A with the rows of B. */
static void sum_row(const AdapterPart *p, uint64_t row, uint64_t columns, const float *a,
                    const float *b, float *sum)
{
    memset(sum, 0, columns * sizeof *sum);
    for (uint32_t k = 0; k < p->rank; k++) {
        if (p->embedding) {
            float factor = a[k * p->a->shape[1] + row];
            for (uint64_t c = 0; c < columns; c++)
                sum[c] += factor * b[c * p->rank + k];
        } else {
            float factor = b[row * p->rank + k];
            for (uint64_t c = 0; c < columns; c++)
                sum[c] += factor * a[k * columns + c];
        }
    }
}

bool adapter_apply(const AdapterPart *p, uint64_t first, uint64_t count, uint64_t columns,
                   float *values, Error *err)
{
    if (!load(p, columns, err))
        return false;
    const float *a = p->adapter->values, *b = a + elements(p->a), *m = b + elements(p->b);
    float *sum = p->adapter->values + elements(p->a) + elements(p->b) + elements(p->magnitude);
    for (uint64_t r = 0; r < count; r++) {
        float *row = values + r * columns;
        double squares = 0;
        sum_row(p, first + r, columns, a, b, sum);
        for (uint64_t c = 0; c < columns; c++) {
            row[c] += (float)p->scale * sum[c];
            squares += (double)row[c] * (double)row[c];
        }
        if (!p->magnitude)
            continue;
        if (!(squares > 0))
            return fail(err, ERR_FORMAT, "row %" PRIu64 " is zero: DoRA has no direction",
                        first + r);
        float factor = m[first + r] / (float)sqrt(squares);
        for (uint64_t c = 0; c < columns; c++)
            row[c] *= factor;
    }
    return true;
}
