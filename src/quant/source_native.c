/* source_native.c: a folder in Mistral's own layout: params.json and consolidated*.safetensors; see
 * source.h. FP8 weights have `X.qscale_weight` beside them, by which they are multiplied. */
#include "quant/source_parts.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

enum { PARAMS_BYTES_MAX = 1 << 20 };

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

/* The picture part: its tensors are not converted. */
static bool is_of_pictures(const char *name)
{
    static const char *const starts[] = {"vision_encoder.", "vision_language_adapter.",
                                         "patch_merger.", "pre_mm_projector_norm."};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        if (strncmp(name, starts[i], strlen(starts[i])) == 0)
            return true;
    }
    return false;
}

static bool is_scale(const char *name)
{
    return ends_with(name, ".qscale_weight") || ends_with(name, ".qscale_act");
}

/* "layers.0.attention.wq.weight" has its scale in "layers.0.attention.wq.qscale_weight". */
static bool find_scale(SourceTensor *t, const char *native, const Safetensors *st, Error *err)
{
    char name[NAME_ROOM + 16];
    if (t->type->st != ST_F8_E4M3 && t->type->st != ST_F8_E5M2)
        return true;
    snprintf(name, sizeof name, "%.*s.qscale_weight",
             (int)(strlen(native) - strlen(".weight")), native);
    const StTensor *scale = safetensors_find(st, name);
    if (!scale)
        return fail(err, ERR_FORMAT, "tensor '%.80s' is FP8 and '%.80s' is missing", native, name);
    const StoredType *type = stored_of_st(scale->dtype);
    if (!type->of_f32 || scale->bytes != type->bytes)
        return fail(err, ERR_FORMAT, "tensor '%.80s': must be one floating-point number", name);
    t->scale = (SourceScale){type, t->file, scale->offset, UINT64_MAX};
    return true;
}

static bool add_tensor(Source *s, uint32_t file, const Safetensors *st, const StTensor *from,
                       Error *err)
{
    Name name;
    char text[NAME_ROOM];
    if (is_scale(from->name))
        return true;
    if (is_of_pictures(from->name)) {
        s->left_out++;
        return true;
    }
    if (!name_parse(NAMES_NATIVE, from->name, MIX_ANY, &name) ||
        !name_write(NAMES_HF, &name, text))
        return fail(err, ERR_FORMAT, "'%.100s': tensor '%.80s' is not known in this layout",
                    s->files[file].path, from->name);
    SourceTensor *t = source_add_tensor(s, text, err);
    if (!t)
        return false;
    t->type = stored_of_st(from->dtype);
    t->rank = from->rank;
    memcpy(t->shape, from->shape, sizeof t->shape);
    t->file = file;
    t->offset = from->offset;
    return tensor_measure(t, err) && find_scale(t, from->name, st, err);
}

static bool open_part(void *user, const char *name, Error *err)
{
    Source *s = user;
    char path[1024];
    uint32_t file;
    Safetensors *st;
    if (strncmp(name, "consolidated", strlen("consolidated")) != 0 ||
        !ends_with(name, ".safetensors"))
        return true;
    if (!fs_join(path, sizeof path, s->path, name, err) || !source_add_file(s, path, &file, err) ||
        !safetensors_open_header(&st, &s->files[file], err))
        return false;
    bool ok = true;
    for (uint32_t i = 0; ok && i < safetensors_count(st); i++)
        ok = add_tensor(s, file, st, safetensors_at(st, i), err);
    safetensors_close(st);
    return ok;
}

bool source_open_native(Source *s, Error *err)
{
    char path[1024];
    auto_json json_t *params = NULL;
    bool pictures;
    if (!fs_join(path, sizeof path, s->path, "params.json", err) ||
        !json_read(&params, path, PARAMS_BYTES_MAX, err) ||
        !native_to_config(params, &s->config, &pictures, err) ||
        !fs_list(s->path, open_part, s, err))
        return false;
    if (s->file_count == 0)
        return fail(err, ERR_NOT_FOUND, "'%.120s' has no consolidated.safetensors", s->path);
    return source_finish(s, true, err) && source_add_beside(s, s->path, err);
}
