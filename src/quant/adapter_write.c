/* adapter_write.c: an adapter of ours as a folder that PEFT loads; see adapter.h. */
#include "quant/adapter.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* The last part of a module's name, once each: what PEFT attaches to. */
static json_t *target_modules(const AdapterFile *f)
{
    json_t *names = json_object(), *list = json_array(), *value;
    const char *key;
    bool ok = names && list;
    for (uint32_t i = 0; ok && i < f->count; i++) {
        const char *dot = strrchr(f->matrices[i].module, '.');
        ok = json_object_set_new(names, dot ? dot + 1 : f->matrices[i].module, json_true()) == 0;
    }
    json_object_foreach(names, key, value) {
        ok = ok && json_array_append_new(list, json_string(key)) == 0;
    }
    json_decref(names);
    if (ok)
        return list;
    json_decref(list);
    return NULL;
}

static bool write_config(const AdapterFile *f, const char *folder, Error *err)
{
    char path[1024];
    auto_json json_t *targets = target_modules(f);
    auto_json json_t *config = targets
        ? json_pack("{s:s, s:s, s:s, s:I, s:f, s:f, s:s, s:b, s:b, s:b, s:b, s:{}, s:{}, s:n, s:O}",
                    "peft_type", "LORA", "task_type", "CAUSAL_LM", "base_model_name_or_path",
                    f->base, "r", (json_int_t)f->rank, "lora_alpha", f->alpha, "lora_dropout", 0.0,
                    "bias", "none", "fan_in_fan_out", 0, "inference_mode", 1, "use_rslora", 0,
                    "use_dora", 0, "rank_pattern", "alpha_pattern", "modules_to_save",
                    "target_modules", targets)
        : NULL;
    if (!config)
        return fail(err, ERR_MEMORY, "no memory for an adapter's configuration");
    return fs_join(path, sizeof path, folder, "adapter_config.json", err) &&
           json_write(config, path, err);
}

static bool add(StTensor *t, Arena *names, const AdapterMatrix *m, const char *part,
                uint64_t rows, uint64_t columns, const float *values)
{
    *t = (StTensor){.dtype = ST_F32, .rank = 2, .shape = {rows, columns},
                    .data = (const uint8_t *)values, .bytes = rows * columns * sizeof *values};
    t->name = arena_format(names, "base_model.model.%s.%s.weight", m->module, part);
    return t->name != NULL;
}

bool adapter_write(const AdapterFile *f, const char *folder, Error *err)
{
    char path[1024];
    Arena names;
    auto_free StTensor *tensors = mem_alloc(2 * (size_t)f->count, sizeof *tensors);
    arena_init(&names, 64 << 20);
    bool ok = tensors != NULL;
    for (uint32_t i = 0; ok && i < f->count; i++) {
        const AdapterMatrix *m = &f->matrices[i];
        ok = add(&tensors[2 * i], &names, m, "lora_A", f->rank, m->columns, m->a) &&
             add(&tensors[2 * i + 1], &names, m, "lora_B", m->rows, f->rank, m->b);
    }
    if (!ok)
        fail(err, ERR_MEMORY, "no memory to write an adapter");
    if (ok && fs_exists(folder))
        ok = fail(err, ERR_CONFLICT, "'%.160s' exists: choose another name, or remove it", folder);
    ok = ok && fs_make_dirs(folder, err) && write_config(f, folder, err) &&
         fs_join(path, sizeof path, folder, "adapter_model.safetensors", err) &&
         safetensors_write(path, tensors, 2 * f->count, err);
    arena_done(&names);
    return ok;
}

/* ---- from a training run ---- */

typedef struct {
    const Source *base;
    const Safetensors *state;
    AdapterFile file;
    AdapterMatrix *matrices;
    Arena arena; /* names and values */
} FromState;

static const float *state_values(FromState *f, const StTensor *t, Error *err)
{
    uint64_t count = t->bytes / sizeof(float);
    float *values = t->dtype == ST_F32 ? arena_alloc(&f->arena, count, sizeof *values) : NULL;
    if (!values) {
        fail(err, t->dtype == ST_F32 ? ERR_MEMORY : ERR_FORMAT, "tensor '%.80s' is no F32, or there "
                                                                "is no memory for it", t->name);
        return NULL;
    }
    return safetensors_to_f32(t, values, count, err) ? values : NULL;
}

/* The adapter of one tensor of the model, if the state has one. */
static bool take_matrix(FromState *f, const SourceTensor *t, Error *err)
{
    char name[NAME_ROOM + 16];
    size_t size = strlen(t->name);
    snprintf(name, sizeof name, "%s.lora_A", t->name);
    const StTensor *a = safetensors_find(f->state, name);
    snprintf(name, sizeof name, "%s.lora_B", t->name);
    const StTensor *b = safetensors_find(f->state, name);
    if (!a || !b || t->rank != 2 || size < 8)
        return true;
    uint64_t rank = a->bytes / sizeof(float) / t->columns;
    uint32_t first = f->file.count ? f->file.rank : (uint32_t)rank;
    if (rank == 0 || rank != first || a->bytes != rank * t->columns * sizeof(float) ||
        b->bytes != rank * t->rows * sizeof(float))
        return fail(err, ERR_FORMAT, "the adapter of '%.80s' is not of the model's shape, or of "
                                     "another rank than the others", t->name);
    AdapterMatrix *m = &f->matrices[f->file.count++];
    f->file.rank = first;
    *m = (AdapterMatrix){.module = arena_copy_text(&f->arena, t->name, size - strlen(".weight")),
                         .rows = (uint32_t)t->rows, .columns = (uint32_t)t->columns,
                         .a = state_values(f, a, err), .b = state_values(f, b, err)};
    if (!m->module)
        return fail(err, ERR_MEMORY, "no memory for names of an adapter");
    return m->a && m->b;
}

bool adapter_write_state(const Source *base, const char *state, double alpha, const char *folder,
                         uint32_t *matrices, Error *err)
{
    Safetensors *st;
    if (!safetensors_open(&st, state, err))
        return false;
    auto_free AdapterMatrix *room = mem_alloc(base->count, sizeof *room);
    FromState f = {base, st, {.alpha = alpha, .base = base->path, .matrices = room}, room, {0}};
    arena_init(&f.arena, (size_t)4 << 30);
    bool ok = room || fail(err, ERR_MEMORY, "no memory for the parts of an adapter");
    for (uint32_t i = 0; ok && i < base->count; i++)
        ok = take_matrix(&f, &base->tensors[i], err);
    if (ok && f.file.count == 0)
        ok = fail(err, ERR_INPUT, "'%.120s' holds no adapter of this model", state);
    ok = ok && adapter_write(&f.file, folder, err);
    if (ok)
        *matrices = f.file.count;
    arena_done(&f.arena);
    safetensors_close(st);
    return ok;
}
