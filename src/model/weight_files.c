/* weight_files.c: see weight_files.h.
 *
 * Invariants: every shard is named in the index by a plain file name; a tensor's name is in one
 * shard only. */
#include "model/weight_files.h"

#include "base/mem.h"
#include "format/json.h"
#include "format/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SHARDS_MAX = 512, INDEX_BYTES_MAX = 64 << 20, NAME_MAX_BYTES = 192 };

static const char single_file[] = "model.safetensors";
static const char index_file[] = "model.safetensors.index.json";

struct WeightFiles {
    Safetensors *shards[SHARDS_MAX];
    char names[SHARDS_MAX][64];
    uint32_t count;
    uint64_t bytes;
};

/* ---- opening ---- */

static bool is_plain_name(const char *name)
{
    size_t length = strlen(name), suffix = strlen(".safetensors");
    return length > suffix && length < 64 && name[0] != '.' && !strchr(name, '/') &&
           strcmp(name + length - suffix, ".safetensors") == 0;
}

static bool open_shard(WeightFiles *files, const char *folder, const char *name, Error *err)
{
    char path[1024];
    if (!fs_join(path, sizeof path, folder, name, err) ||
        !safetensors_open(&files->shards[files->count], path, err))
        return false;
    const Safetensors *st = files->shards[files->count];
    snprintf(files->names[files->count], sizeof files->names[0], "%s", name);
    files->count++;
    for (uint32_t i = 0; i < safetensors_count(st); i++) {
        const StTensor *tensor = safetensors_at(st, i);
        files->bytes += tensor->bytes;
        for (uint32_t k = 0; k + 1 < files->count; k++) {
            if (safetensors_find(files->shards[k], tensor->name))
                return fail(err, ERR_FORMAT, "%s: tensor '%s' is also in %s", name, tensor->name,
                            files->names[k]);
        }
    }
    return true;
}

static bool is_open(const WeightFiles *files, const char *name)
{
    for (uint32_t i = 0; i < files->count; i++) {
        if (strcmp(files->names[i], name) == 0)
            return true;
    }
    return false;
}

static bool open_index(WeightFiles *files, const char *folder, const char *path, Error *err)
{
    auto_json json_t *object = NULL;
    if (!json_read(&object, path, INDEX_BYTES_MAX, err))
        return false;
    json_t *map = json_object_get(object, "weight_map"), *value;
    const char *tensor;
    if (!json_is_object(map) || json_object_size(map) == 0)
        return fail(err, ERR_FORMAT, "%s: weight_map must name a file per tensor", index_file);
    json_object_foreach(map, tensor, value) {
        const char *name = json_string_value(value);
        if (!name || !is_plain_name(name))
            return fail(err, ERR_FORMAT, "%s: '%.80s' is not in a file NAME.safetensors of the "
                                         "folder",
                        index_file, tensor);
        if (is_open(files, name))
            continue;
        if (files->count == SHARDS_MAX)
            return fail(err, ERR_LIMIT, "%s: more than %d files", index_file, SHARDS_MAX);
        if (!open_shard(files, folder, name, err))
            return false;
    }
    return true;
}

static bool open_all(WeightFiles *files, const char *folder, Error *err)
{
    char single[1024], path[1024];
    if (!fs_join(single, sizeof single, folder, single_file, err) ||
        !fs_join(path, sizeof path, folder, index_file, err))
        return false;
    if (fs_exists(single) || !fs_exists(path)) {
        if (!fs_exists(single))
            return fail(err, ERR_NOT_FOUND, "'%s' has no %s", folder, single_file);
        return open_shard(files, folder, single_file, err);
    }
    return open_index(files, folder, path, err);
}

bool weight_files_open(WeightFiles **out, const char *folder, Error *err)
{
    WeightFiles *files = mem_alloc(1, sizeof *files);
    if (!files)
        return fail(err, ERR_MEMORY, "no memory to open weights");
    if (!open_all(files, folder, err)) {
        weight_files_close(files);
        return false;
    }
    *out = files;
    return true;
}

void weight_files_close(WeightFiles *files)
{
    if (!files)
        return;
    for (uint32_t i = 0; i < files->count; i++)
        safetensors_close(files->shards[i]);
    mem_free(files);
}

uint64_t weight_files_bytes(const WeightFiles *files)
{
    return files->bytes;
}

const char *weight_files_name(const WeightFiles *files)
{
    return files->count == 1 ? files->names[0] : index_file;
}

/* ---- finding ---- */

typedef struct {
    const StTensor *tensor;
    const char *file;
} Found;

static bool find(const WeightFiles *files, const char *name, Found *out)
{
    for (uint32_t i = 0; i < files->count; i++) {
        const StTensor *tensor = safetensors_find(files->shards[i], name);
        if (tensor) {
            *out = (Found){tensor, files->names[i]};
            return true;
        }
    }
    return false;
}

/* How a text model's tensors are called inside a model of text and images. */
static const struct {
    const char *from, *to; /* a prefix, and what stands in its place */
} wrappings[] = {
    {"", ""}, {"", "language_model."}, {"model.", "model.language_model."},
};

/* `suffix` is put behind the name: "" or that of a scale. */
static bool find_param(const WeightFiles *files, const char *name, const char *suffix, Found *out)
{
    char full[NAME_MAX_BYTES];
    for (size_t i = 0; i < sizeof wrappings / sizeof *wrappings; i++) {
        size_t cut = strlen(wrappings[i].from);
        if (strncmp(name, wrappings[i].from, cut) != 0)
            continue;
        snprintf(full, sizeof full, "%s%s%s", wrappings[i].to, name + cut, suffix);
        if (find(files, full, out))
            return true;
    }
    return false;
}

bool weight_files_has(const WeightFiles *files, const char *param)
{
    Found found;
    return find_param(files, param, "", &found);
}

/* ---- f8 ---- */

/* e4m3: sign, 4 bits of exponent (bias 7), 3 of mantissa; no infinities, 0x7f is not a number. */
static float f32_of_e4m3(uint8_t bits)
{
    int exponent = bits >> 3 & 15, mantissa = bits & 7;
    float size = exponent ? ldexpf(1 + (float)mantissa / 8, exponent - 7)
                          : ldexpf((float)mantissa, -9);
    if (exponent == 15 && mantissa == 7)
        size = NAN;
    return bits & 0x80 ? -size : size;
}

/* Multiplies the rows by their scales: one for all, or one each. */
static bool scale_rows(const Found *scale, uint64_t rows, uint64_t columns, float *to, Error *err)
{
    uint64_t count = 1;
    for (uint32_t d = 0; d < scale->tensor->rank; d++)
        count *= scale->tensor->shape[d];
    if (count != 1 && count != rows)
        return fail(err, ERR_FORMAT, "%s: '%s' has %llu scales, a tensor of %llu rows needs 1 or one "
                                     "each",
                    scale->file, scale->tensor->name, (unsigned long long)count,
                    (unsigned long long)rows);
    auto_free float *scales = mem_alloc(count, sizeof *scales);
    if (!scales)
        return fail(err, ERR_MEMORY, "no memory for %llu scales", (unsigned long long)count);
    if (!safetensors_to_f32(scale->tensor, scales, count, err))
        return false;
    for (uint64_t r = 0; r < rows; r++) {
        float factor = scales[count == 1 ? 0 : r];
        for (uint64_t i = 0; i < columns; i++)
            to[r * columns + i] *= factor;
    }
    return true;
}

static bool load_f8(const WeightFiles *files, const char *name, const Found *found, float *to,
                    Error *err)
{
    static const char *const suffixes[] = {"_scale", "_scale_inv"};
    const StTensor *t = found->tensor;
    float values[256];
    Found scale = {0};
    for (uint32_t i = 0; i < 2 && !scale.tensor; i++)
        (void)find_param(files, name, suffixes[i], &scale);
    if (!scale.tensor)
        return fail(err, ERR_FORMAT, "%s: f8 tensor '%s' has no scale beside it", found->file,
                    t->name);
    for (uint32_t i = 0; i < 256; i++)
        values[i] = f32_of_e4m3((uint8_t)i);
    for (uint64_t i = 0; i < t->bytes; i++)
        to[i] = values[t->data[i]];
    uint64_t rows = t->rank ? t->shape[0] : 1;
    return scale_rows(&scale, rows, rows ? t->bytes / rows : 0, to, err);
}

/* ---- loading ---- */

typedef struct {
    const WeightFiles *files;
    WeightRules rules;
    WeightCounts *counts;
} Loader;

/* Shape of one tensor of a parameter: without its first dimension for a stack. */
static bool shape_fits(const StTensor *tensor, Shape shape, bool stack)
{
    uint32_t skip = stack ? 1 : 0;
    bool same = tensor->rank == shape.rank - skip;
    for (uint32_t d = 0; same && d < tensor->rank; d++)
        same = tensor->shape[d] == shape.dim[d + skip];
    return same;
}

static bool load_tensor(Loader *l, const char *name, Shape shape, bool stack, float *to, Error *err)
{
    Found found;
    if (!find_param(l->files, name, "", &found))
        return fail(err, ERR_FORMAT, "%s: tensor '%s' is missing", weight_files_name(l->files),
                    name);
    if (!shape_fits(found.tensor, shape, stack))
        return fail(err, ERR_FORMAT, "%s: '%s' has another shape than config.json gives it",
                    found.file, found.tensor->name);
    if (found.tensor->dtype == ST_F8_E4M3 && l->rules.f8) {
        l->counts->f8++;
        return load_f8(l->files, name, &found, to, err);
    }
    return safetensors_to_f32(found.tensor, to, shape_count(shape) / (stack ? shape.dim[0] : 1),
                              err);
}

/* Puts the number in the place of '*'. */
static void member_name(char out[NAME_MAX_BYTES], const char *name, uint32_t index)
{
    const char *star = strchr(name, '*');
    snprintf(out, NAME_MAX_BYTES, "%.*s%u%s", (int)(star - name), name, index, star + 1);
}

static bool load_param(Loader *l, const ParamInfo *param, float *to, Error *err)
{
    if (!strchr(param->name, '*'))
        return load_tensor(l, param->name, param->shape, false, to, err);
    uint64_t each = shape_count(param->shape) / param->shape.dim[0];
    for (uint32_t i = 0; i < param->shape.dim[0]; i++) {
        char name[NAME_MAX_BYTES];
        member_name(name, param->name, i);
        if (!load_tensor(l, name, param->shape, true, to + i * each, err))
            return false;
    }
    return true;
}

/* ---- what belongs to no parameter ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

/* Does a name of a file, its number of an expert aside, belong to the parameter? */
static bool is_member(const char *name, const ParamInfo *param)
{
    const char *star = strchr(param->name, '*');
    if (!star)
        return strcmp(name, param->name) == 0;
    size_t before = (size_t)(star - param->name);
    if (strncmp(name, param->name, before) != 0)
        return false;
    size_t digits = strspn(name + before, "0123456789");
    return digits > 0 && digits < 6 && strcmp(name + before + digits, star + 1) == 0 &&
           strtoul(name + before, NULL, 10) < param->shape.dim[0];
}

static bool belongs(const Weights *weights, const char *name)
{
    for (uint32_t i = 0; i < weights->count; i++) {
        if (is_member(name, &weights->params[i]))
            return true;
    }
    return false;
}

/* Scales of f8 weights and of the activations they were to meet. */
static bool is_scale(const char *name)
{
    return ends_with(name, ".weight_scale") || ends_with(name, ".weight_scale_inv") ||
           ends_with(name, ".activation_scale") || ends_with(name, ".input_scale") ||
           ends_with(name, ".k_scale") || ends_with(name, ".v_scale");
}

/* Rotary frequencies that old files carry: they follow from the configuration. */
static bool is_needless(const WeightRules *rules, const char *name)
{
    return ends_with(name, ".rotary_emb.inv_freq") || (rules->f8 && is_scale(name)) ||
           (rules->tied && ends_with(name, "lm_head.weight"));
}

/* A tensor's name as a text model has it, which may have been cut out of a wrapper with its prefix;
 * NULL: it belongs to another part of one. */
static const char *text_name(const WeightRules *rules, const char *name, char out[NAME_MAX_BYTES])
{
    for (size_t i = sizeof wrappings / sizeof *wrappings; i > 1; i--) {
        size_t cut = strlen(wrappings[i - 1].to);
        if (strncmp(name, wrappings[i - 1].to, cut) != 0)
            continue;
        snprintf(out, NAME_MAX_BYTES, "%s%s", wrappings[i - 1].from, name + cut);
        return out;
    }
    bool own = !rules->wrapped || strncmp(name, "model.layers.", 13) == 0;
    return own ? name : NULL;
}

/* What no parameter took must be needless, or of another part than text. */
static bool check_rest(Loader *l, const Weights *weights, Error *err)
{
    char text[NAME_MAX_BYTES];
    for (uint32_t s = 0; s < l->files->count; s++) {
        for (uint32_t i = 0; i < safetensors_count(l->files->shards[s]); i++) {
            const char *name = safetensors_at(l->files->shards[s], i)->name;
            const char *own = text_name(&l->rules, name, text);
            if (!own && !is_needless(&l->rules, name))
                l->counts->left_out += strcmp(name, "lm_head.weight") != 0;
            else if (own && !is_needless(&l->rules, own) && !belongs(weights, own))
                return fail(err, ERR_FORMAT, "%s: tensor '%.100s' belongs to no part of a %s model",
                            l->files->names[s], name, l->rules.family);
        }
    }
    return true;
}

bool weight_files_load(const WeightFiles *files, Weights *weights, WeightRules rules,
                       WeightCounts *counts, Error *err)
{
    *counts = (WeightCounts){0};
    Loader l = {.files = files, .rules = rules, .counts = counts};
    for (uint32_t i = 0; i < weights->count; i++) {
        const ParamInfo *param = &weights->params[i];
        if (!load_param(&l, param, weights->slab + param->offset, err))
            return false;
    }
    return check_rest(&l, weights, err);
}

/* ---- saving ---- */

static uint32_t tensors_of(const ParamInfo *param)
{
    return strchr(param->name, '*') ? param->shape.dim[0] : 1;
}

/* Describes a parameter's tensors; names of a stack are written to `names`. */
static void describe(const Weights *w, const ParamInfo *param, StTensor *out,
                     char (*names)[NAME_MAX_BYTES])
{
    uint32_t count = tensors_of(param);
    bool stack = strchr(param->name, '*') != NULL;
    uint64_t each = shape_count(param->shape) / count;
    for (uint32_t i = 0; i < count; i++) {
        StTensor *tensor = &out[i];
        if (stack)
            member_name(names[i], param->name, i);
        tensor->name = stack ? names[i] : param->name;
        tensor->dtype = ST_F32;
        tensor->rank = param->shape.rank - (stack ? 1 : 0);
        for (uint32_t d = 0; d < tensor->rank; d++)
            tensor->shape[d] = param->shape.dim[d + (stack ? 1 : 0)];
        tensor->data = (const uint8_t *)(w->slab + param->offset + i * each);
        tensor->bytes = each * sizeof(float);
    }
}

bool weight_files_save(const Weights *w, const char *folder, Error *err)
{
    char path[1024], index[1024];
    uint32_t count = 0, stacked = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        count += tensors_of(&w->params[i]);
        stacked += strchr(w->params[i].name, '*') ? tensors_of(&w->params[i]) : 0;
    }
    auto_free StTensor *tensors = mem_alloc(count, sizeof *tensors);
    auto_free char(*names)[NAME_MAX_BYTES] = mem_alloc(stacked + 1, sizeof *names);
    if (!tensors || !names)
        return fail(err, ERR_MEMORY, "no memory to save %u tensors", count);
    for (uint32_t i = 0, at = 0, name = 0; i < w->count; i++) {
        describe(w, &w->params[i], tensors + at, names + name);
        at += tensors_of(&w->params[i]);
        name += strchr(w->params[i].name, '*') ? tensors_of(&w->params[i]) : 0;
    }
    if (!fs_join(path, sizeof path, folder, single_file, err) ||
        !fs_join(index, sizeof index, folder, index_file, err) ||
        !safetensors_write(path, tensors, count, err))
        return false;
    return !fs_exists(index) || fs_remove(index, err);
}
