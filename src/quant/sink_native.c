/* sink_native.c: a folder in Mistral's own layout; see convert.h. */
#include "quant/convert_parts.h"
#include "quant/source_parts.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    ConvertItem *items;
    StTensor *tensors;
    uint32_t count;
    uint64_t bytes;
    Arena names;
} Plan;

static bool plan_tensor(Plan *p, const Source *s, const SourceTensor *t, const StoredType *asked,
                        ConvertResult *result, Error *err)
{
    Name name;
    char alone[NAME_ROOM], text[NAME_ROOM];
    bool inner = s->outline.wrapped && name_unwrap(t->name, alone);
    const StoredType *as = type_in_safetensors(t, asked);
    if (!name_parse(NAMES_HF, inner ? alone : t->name, MIX_ANY, &name) ||
        !name_write(NAMES_NATIVE, &name, text)) {
        if (!s->outline.wrapped)
            return fail(err, ERR_INPUT, "tensor '%.80s' has no name in Mistral's own layout",
                        t->name);
        result->left_out++;
        return true;
    }
    if (s->outline.tied && strcmp(text, "output.weight") == 0) {
        result->left_out++;
        return true;
    }
    if (as->st < 0)
        return fail(err, ERR_INPUT, "safetensors cannot hold %s: choose f32, f16 or bf16", as->name);
    StTensor *to = &p->tensors[p->count];
    *to = (StTensor){.name = arena_copy_text(&p->names, text, strlen(text)),
                     .dtype = (StDtype)as->st, .rank = t->rank,
                     .bytes = stored_bytes(as, tensor_elements(t))};
    if (!to->name)
        return fail(err, ERR_MEMORY, "no memory for names of tensors");
    memcpy(to->shape, t->shape, sizeof to->shape);
    p->items[p->count++] = (ConvertItem){t, as, true};
    p->bytes += to->bytes;
    result->exact = result->exact && type_is_exact(t, as);
    return true;
}

static bool plan_new(Plan *p, const Source *s, const StoredType *asked, ConvertResult *result,
                     Error *err)
{
    *p = (Plan){0};
    arena_init(&p->names, 64 << 20);
    p->items = mem_alloc(s->count, sizeof *p->items);
    p->tensors = mem_alloc(s->count, sizeof *p->tensors);
    if (!p->items || !p->tensors)
        return fail(err, ERR_MEMORY, "no memory to plan %" PRIu32 " tensors", s->count);
    for (uint32_t i = 0; i < s->count; i++) {
        if (!plan_tensor(p, s, &s->tensors[i], asked, result, err))
            return false;
    }
    result->bytes = p->bytes;
    result->tensors = p->count;
    result->files = 1;
    return true;
}

static void plan_free(Plan *p)
{
    mem_free(p->items);
    mem_free(p->tensors);
    arena_done(&p->names);
}

static bool put(void *user, const void *bytes, uint64_t size, Error *err)
{
    return safetensors_writer_add(user, bytes, size, err);
}

static bool write_weights(const Plan *p, const Source *s, const char *folder,
                          const ConvertOptions *options, Error *err)
{
    ConvertRun run;
    StWriter *w;
    char path[1200];
    if (!fs_join(path, sizeof path, folder, "consolidated.safetensors", err) ||
        !run_begin(&run, s, options, p->bytes, err))
        return false;
    bool ok = safetensors_writer_new(&w, path, p->tensors, p->count, err);
    if (ok) {
        for (uint32_t i = 0; ok && i < p->count; i++) {
            const StTensor *to = safetensors_writer_at(w, i);
            ok = run_copy(&run, &p->items[to - p->tensors], put, w, err);
        }
        ok = ok && safetensors_writer_commit(w, err);
        safetensors_writer_free(w);
    }
    run_end(&run);
    return ok;
}

static bool write_folder(const Plan *p, const Source *s, const json_t *params, const char *folder,
                         const ConvertOptions *options, Error *err)
{
    char path[1200];
    return fs_join(path, sizeof path, folder, "params.json", err) &&
           json_write(params, path, err) && folder_add_extras(s, folder, err) &&
           write_weights(p, s, folder, options, err);
}

bool sink_native(const Source *s, const char *path, const ConvertOptions *options,
                 ConvertResult *result, Error *err)
{
    Plan plan;
    char temporary[1100];
    auto_json json_t *params = NULL;
    if (!native_of_config(s, &params, err))
        return false;
    bool ok = plan_new(&plan, s, options->type, result, err);
    if (ok && !options->dry_run) {
        ok = folder_begin(path, temporary, err) &&
             folder_end(temporary, path,
                        write_folder(&plan, s, params, temporary, options, err), err);
    }
    plan_free(&plan);
    return ok;
}
