/* source_hf.c: a folder in Hugging Face's layout; see source.h.
 *
 * FP8 weights have a scale beside them: `X.weight_scale_inv` or `X.weight_scale`, by which they are
 * multiplied, one for the tensor or one for each row. Those, and the scales of activations, are no
 * tensors of the source any more. */
#include "quant/source_parts.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { CONFIG_BYTES_MAX = 4 << 20, INDEX_BYTES_MAX = 32 << 20 };

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

/* What is in files and means nothing: tables that old versions saved, and what goes with FP8. */
static bool is_passed_over(const char *name)
{
    return ends_with(name, ".rotary_emb.inv_freq") || ends_with(name, ".weight_scale_inv") ||
           ends_with(name, ".weight_scale") || ends_with(name, ".activation_scale") ||
           ends_with(name, ".input_scale");
}

static bool find_scale(SourceTensor *t, const Safetensors *st, Error *err)
{
    static const char *const ends[] = {"_scale_inv", "_scale"};
    if (t->type->st != ST_F8_E4M3 && t->type->st != ST_F8_E5M2)
        return true;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char name[NAME_ROOM + 16];
        snprintf(name, sizeof name, "%s%s", t->name, ends[i]);
        const StTensor *scale = safetensors_find(st, name);
        if (!scale)
            continue;
        const StoredType *type = stored_of_st(scale->dtype);
        uint64_t count = type->bytes ? scale->bytes / type->bytes : 0;
        if (!type->of_f32 || (count != 1 && count != t->rows))
            return fail(err, ERR_FORMAT, "tensor '%.80s': must be one floating-point number, or "
                                         "one for each of %" PRIu64 " rows", name, t->rows);
        t->scale = (SourceScale){type, t->file, scale->offset,
                                 count == 1 ? UINT64_MAX : t->columns};
        return true;
    }
    return fail(err, ERR_FORMAT, "tensor '%.80s' is FP8 and has no scale beside it", t->name);
}

/* Only the tensors that `index` says are in this file (NULL: all are). */
static bool add_tensors(Source *s, uint32_t file, const json_t *index, const char *file_name,
                        Error *err)
{
    Safetensors *st;
    if (!safetensors_open_header(&st, &s->files[file], err))
        return false;
    bool ok = true;
    for (uint32_t i = 0; ok && i < safetensors_count(st); i++) {
        const StTensor *from = safetensors_at(st, i);
        const char *where = json_string_value(json_object_get(index, from->name));
        if (index && (!where || strcmp(where, file_name) != 0)) {
            ok = fail(err, ERR_FORMAT, "%s: tensor '%.80s' is not in the index", file_name,
                      from->name);
            break;
        }
        if (is_passed_over(from->name))
            continue;
        SourceTensor *t = source_add_tensor(s, from->name, err);
        ok = t != NULL;
        if (!ok)
            break;
        t->type = stored_of_st(from->dtype);
        t->rank = from->rank;
        memcpy(t->shape, from->shape, sizeof t->shape);
        t->file = file;
        t->offset = from->offset;
        ok = tensor_measure(t, err) && find_scale(t, st, err);
    }
    safetensors_close(st);
    return ok;
}

static bool open_part(Source *s, const char *name, const json_t *index, Error *err)
{
    char path[1024];
    uint32_t file;
    return fs_join(path, sizeof path, s->path, name, err) && source_add_file(s, path, &file, err) &&
           add_tensors(s, file, index, name, err);
}

/* A shard is a plain name beside the index: no folder, no way out of this one. */
static bool is_plain_name(const char *name)
{
    return *name && *name != '.' && !strchr(name, '/') && ends_with(name, ".safetensors");
}

/* Every file of the index once, in the order of its name, which is the order of layers. */
static bool open_shards(Source *s, const char *path, Error *err)
{
    auto_json json_t *index = NULL, *files = json_object();
    const char *key;
    json_t *value;
    if (!files)
        return source_fail_memory(s, err);
    if (!json_read(&index, path, INDEX_BYTES_MAX, err))
        return false;
    json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map))
        return fail(err, ERR_FORMAT, "%.120s: key 'weight_map' must be an object", path);
    json_object_foreach(map, key, value) {
        const char *file = json_string_value(value);
        if (!file || !is_plain_name(file))
            return fail(err, ERR_FORMAT, "%.100s: tensor '%.80s' lies in no plain file name", path,
                        key);
        if (json_object_set_new(files, file, json_true()) != 0)
            return source_fail_memory(s, err);
        if (json_object_size(files) > SOURCE_FILES_MAX)
            return fail(err, ERR_LIMIT, "%.120s: names over %d files", path, SOURCE_FILES_MAX);
    }
    json_object_foreach(files, key, value) {
        if (!open_part(s, key, map, err))
            return false;
    }
    for (uint32_t i = 0; i < s->count; i++)
        json_object_del(map, s->tensors[i].name);
    json_object_foreach(map, key, value) {
        if (!is_passed_over(key))
            return fail(err, ERR_FORMAT, "%s: tensor '%.80s' is missing, the index has it",
                        json_string_value(value), key);
    }
    return true;
}

/* README.md of a model begins with YAML between two lines of "---"; `license: x` is one of them. */
static bool find_licence(Source *s, Error *err)
{
    const SourceFile *readme = source_extra(s, "README.md");
    auto_buf Buf text;
    buf_init(&text, 1 << 20);
    s->licence = json_string_value(json_object_get(s->config, "license"));
    if (s->licence || !readme || !fs_read(readme->path, &text, err))
        return true; /* a page that cannot be read says nothing; err is not reported */
    const char *at = text.size > 4 && strncmp(text.data, "---\n", 4) == 0 ? text.data + 4 : "";
    const char *end = strstr(at, "\n---"), *found = strstr(at, "license:");
    if (!end || !found || found > end || (found > at && found[-1] != '\n'))
        return true;
    found += strlen("license:");
    found += strspn(found, " \t");
    s->licence = arena_copy_text(&s->arena, found, strcspn(found, "\r\n"));
    return s->licence || source_fail_memory(s, err);
}

bool source_open_hf(Source *s, Error *err)
{
    char path[1024];
    if (!fs_join(path, sizeof path, s->path, "config.json", err) ||
        !json_read(&s->config, path, CONFIG_BYTES_MAX, err) ||
        !fs_join(path, sizeof path, s->path, "model.safetensors.index.json", err))
        return false;
    bool ok = fs_exists(path) ? open_shards(s, path, err)
                              : open_part(s, "model.safetensors", NULL, err);
    return ok && source_finish(s, false, err) && source_add_beside(s, s->path, err) &&
           find_licence(s, err);
}
