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
    ok = ok && fs_make_dirs(folder, err) && write_config(f, folder, err) &&
         fs_join(path, sizeof path, folder, "adapter_model.safetensors", err) &&
         safetensors_write(path, tensors, 2 * f->count, err);
    arena_done(&names);
    return ok;
}
