/* sink_hf.c: a folder in Hugging Face's layout; see convert.h. */
#include "quant/convert_parts.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SHARD_BYTES 5000000000ull /* as transformers has it; one tensor may be larger */

typedef struct {
    const Source *source;
    ConvertItem *items;
    StTensor *tensors;   /* the same, as the file's header has them */
    uint32_t *shards;    /* of each tensor, from 0 */
    uint32_t count, shard_count;
    uint64_t bytes;
} Plan;

static bool plan_new(Plan *p, const Source *s, const ConvertOptions *options,
                     ConvertResult *result, Error *err)
{
    uint64_t fill = 0, most = options->shard_bytes ? options->shard_bytes : SHARD_BYTES;
    *p = (Plan){.source = s, .count = s->count, .shard_count = 1};
    p->items = mem_alloc(s->count, sizeof *p->items);
    p->tensors = mem_alloc(s->count, sizeof *p->tensors);
    p->shards = mem_alloc(s->count, sizeof *p->shards);
    if (!p->items || !p->tensors || !p->shards)
        return fail(err, ERR_MEMORY, "no memory to plan %" PRIu32 " tensors", s->count);
    for (uint32_t i = 0; i < s->count; i++) {
        const SourceTensor *t = &s->tensors[i];
        const StoredType *as = type_in_safetensors(t, options->type);
        if (as->st < 0)
            return fail(err, ERR_INPUT, "safetensors cannot hold %s: choose f32, f16 or bf16",
                        as->name);
        StTensor *to = &p->tensors[i];
        p->items[i] = (ConvertItem){t, as, false};
        *to = (StTensor){.name = t->name, .dtype = (StDtype)as->st, .rank = t->rank,
                         .bytes = stored_bytes(as, tensor_elements(t))};
        memcpy(to->shape, t->shape, sizeof to->shape);
        if (fill && fill + to->bytes > most) {
            p->shard_count++;
            fill = 0;
        }
        fill += to->bytes;
        p->shards[i] = p->shard_count - 1;
        p->bytes += to->bytes;
        result->exact = result->exact && type_is_exact(t, as);
    }
    result->bytes = p->bytes;
    result->tensors = p->count;
    result->files = p->shard_count;
    return true;
}

static void plan_free(Plan *p)
{
    mem_free(p->items);
    mem_free(p->tensors);
    mem_free(p->shards);
}

static void shard_name(const Plan *p, uint32_t shard, char name[64])
{
    if (p->shard_count == 1)
        snprintf(name, 64, "model.safetensors");
    else
        snprintf(name, 64, "model-%05" PRIu32 "-of-%05" PRIu32 ".safetensors", shard + 1,
                 p->shard_count);
}

static bool put(void *user, const void *bytes, uint64_t size, Error *err)
{
    return safetensors_writer_add(user, bytes, size, err);
}

static bool write_shard(ConvertRun *run, const Plan *p, const char *folder, uint32_t shard,
                        Error *err)
{
    char name[64], path[1200];
    StWriter *w;
    uint32_t first = 0, count = 0;
    while (p->shards[first] != shard)
        first++;
    while (first + count < p->count && p->shards[first + count] == shard)
        count++;
    shard_name(p, shard, name);
    if (!fs_join(path, sizeof path, folder, name, err) ||
        !safetensors_writer_new(&w, path, p->tensors + first, count, err))
        return false;
    bool ok = true;
    for (uint32_t i = 0; ok && i < count; i++) {
        const StTensor *to = safetensors_writer_at(w, i);
        ok = run_copy(run, &p->items[to - p->tensors], put, w, err);
    }
    ok = ok && safetensors_writer_commit(w, err);
    safetensors_writer_free(w);
    return ok;
}

static bool write_index(const Plan *p, const char *folder, Error *err)
{
    char name[64], path[1200];
    json_t *map = json_object();
    auto_json json_t *index = json_pack("{s:{s:I}, s:o}", "metadata", "total_size",
                                        (json_int_t)p->bytes, "weight_map", map);
    bool ok = index != NULL;
    for (uint32_t i = 0; ok && i < p->count; i++) {
        shard_name(p, p->shards[i], name);
        ok = json_object_set_new(map, p->tensors[i].name, json_string(name)) == 0;
    }
    if (!ok)
        return fail(err, ERR_MEMORY, "no memory for an index of %" PRIu32 " tensors", p->count);
    return fs_join(path, sizeof path, folder, "model.safetensors.index.json", err) &&
           json_write(index, path, err);
}

/* The type that most bytes have, in transformers' words. */
static const char *main_type(const Plan *p)
{
    uint64_t bytes[ST_DTYPE_COUNT] = {0};
    StDtype most = ST_F32;
    for (uint32_t i = 0; i < p->count; i++)
        bytes[p->tensors[i].dtype] += p->tensors[i].bytes;
    for (int d = 0; d < ST_DTYPE_COUNT; d++)
        most = bytes[d] > bytes[most] ? (StDtype)d : most;
    return most == ST_BF16 ? "bfloat16" : most == ST_F16 ? "float16" : "float32";
}

static bool any_scaled(const Source *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->tensors[i].scale.type)
            return true;
    }
    return false;
}

static bool write_config(const Plan *p, const char *folder, Error *err)
{
    char path[1200];
    auto_json json_t *config = json_deep_copy(p->source->config);
    bool newer = json_object_get(config, "dtype") != NULL;
    /* a copy that ran out of memory is shorter, and jansson does not say so */
    if (!config || !json_equal(config, p->source->config) ||
        json_object_set_new(config, newer ? "dtype" : "torch_dtype",
                            json_string(main_type(p))) != 0)
        return fail(err, ERR_MEMORY, "no memory for a configuration");
    if (any_scaled(p->source)) /* what is written is no longer FP8 */
        json_object_del(config, "quantization_config");
    return fs_join(path, sizeof path, folder, "config.json", err) && json_write(config, path, err);
}

static bool write_folder(const Plan *p, const char *folder, const ConvertOptions *options,
                         Error *err)
{
    ConvertRun run;
    if (!run_begin(&run, p->source, options, p->bytes, err))
        return false;
    bool ok = write_config(p, folder, err) && folder_add_extras(p->source, folder, err) &&
              (p->shard_count == 1 || write_index(p, folder, err));
    for (uint32_t shard = 0; ok && shard < p->shard_count; shard++)
        ok = write_shard(&run, p, folder, shard, err);
    run_end(&run);
    return ok;
}

bool sink_hf(const Source *s, const char *path, const ConvertOptions *options,
             ConvertResult *result, Error *err)
{
    Plan plan;
    char temporary[1100];
    bool ok = plan_new(&plan, s, options, result, err);
    if (ok && !options->dry_run) {
        ok = folder_begin(path, temporary, err) &&
             folder_end(temporary, path, write_folder(&plan, temporary, options, err), err);
    }
    plan_free(&plan);
    return ok;
}
