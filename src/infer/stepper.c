/* stepper.c: see stepper.h.
 *
 * Entries are padded up to the next bucket with tokens of a spare sequence that owns one spare
 * page; they cost time, never bits. Since a token's bits do not depend on its neighbours (see
 * gemm.h, vec.h), the bucket does not show in the result.
 */
#include "infer/stepper.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

enum { PAGE = 64, BUCKETS_MAX = 24 };

static const uint32_t bucket_sizes[] = {1,  2,  3,   4,   6,   8,   12,  16,  24,  32,
                                        48, 64, 96, 128, 192, 256, 384, 512, 768, 1024};

typedef struct {
    Graph *graph;
    ModelPorts ports;
    Program *program;
    uint32_t tokens, rows;
} Bucket;

struct Stepper {
    StepperOptions options;
    Device *device;
    Bucket buckets[BUCKETS_MAX];
    uint32_t bucket_count;
    void **params;      /* [values + 1] of bucket 0's graph: weights by value id */
    void **caches;      /* the same for states */
    uint32_t values;
    void *arena;
    int32_t *ids, *pos, *seq, *row, *pages, *pick;
    uint32_t pages_per_sequence;
    uint64_t bytes;
};

static bool record(Stepper *s, const Model *model, Bucket *b, Error *err)
{
    const StepperOptions *o = &s->options;
    BuildSpec spec = {.mode = BUILD_STEP, .tokens = b->tokens, .rows = b->rows,
                      .sequences = o->sequences + 1, .pages = s->pages_per_sequence, .page = PAGE,
                      .cache_rows = (o->sequences * s->pages_per_sequence + 1) * PAGE,
                      .weights = o->weights, .store = model->store.read ? &model->store : NULL};
    if (!graph_new(&b->graph, err))
        return false;
    return model_build(b->graph, model->family, &model->config, &spec, &b->ports, err) &&
           graph_finish(b->graph, err) && program_plan(&b->program, b->graph, s->device, err);
}

static bool record_buckets(Stepper *s, const Model *model, Error *err)
{
    for (uint32_t i = 0; i < sizeof bucket_sizes / sizeof *bucket_sizes; i++) {
        bool last = bucket_sizes[i] >= s->options.batch_tokens;
        Bucket *b = &s->buckets[s->bucket_count++];
        b->tokens = last ? s->options.batch_tokens : bucket_sizes[i];
        b->rows = b->tokens < s->options.rows ? b->tokens : s->options.rows;
        if (!record(s, model, b, err))
            return false;
        if (last)
            return true;
    }
    return fail(err, ERR_LIMIT, "batch_tokens %u is over %u", s->options.batch_tokens,
                bucket_sizes[sizeof bucket_sizes / sizeof *bucket_sizes - 1]);
}

/* Straight from where the weights are kept, by way of memory for one of them. */
static bool write_stored(Stepper *s, const WeightStore *store, const char *name, ValueId id,
                         Error *err)
{
    const Value *value = graph_value(s->buckets[0].graph, id);
    auto_free void *host = mem_alloc_aligned(dtype_bytes(value->dtype, shape_count(value->shape)),
                                             64);
    if (!host)
        return fail(err, ERR_MEMORY, "no memory to read '%s'", name);
    if (!store->read(store->user, name, value->shape, value->dtype, host, err))
        return false;
    s->device->backend->write(s->device, value, s->params[id], host);
    return true;
}

/* Host rows of a parameter in the type its value has. */
static bool write_param(Stepper *s, const Model *model, ValueId id, Error *err)
{
    const Graph *g = s->buckets[0].graph;
    const Value *value = graph_value(g, id);
    const char *name = graph_name(g, id);
    if (model->config.tied && strcmp(name, "lm_head.weight") == 0)
        name = "model.embed_tokens.weight";
    const Backend *backend = s->device->backend;
    uint64_t bytes = backend->value_bytes(s->device, value);
    s->params[id] = backend->alloc(s->device, bytes);
    s->bytes += bytes;
    if (!s->params[id])
        return fail(err, ERR_MEMORY, "no memory for weight '%s'", name);
    if (model->store.read)
        return write_stored(s, &model->store, name, id, err);
    const ParamInfo *param = weights_find(&model->weights, name);
    if (!param)
        return fail(err, ERR_INTERNAL, "the model has no weight '%s'", name);
    uint64_t count = shape_count(value->shape);
    const float *host = model->weights.slab + param->offset;
    if (value->dtype != DT_Q8_0) {
        backend->write(s->device, value, s->params[id], host);
        return true;
    }
    if (value->shape.dim[1] % 32)
        return fail(err, ERR_INPUT, "weight '%s' has rows of %u, q8_0 needs a multiple of 32", name,
                    value->shape.dim[1]);
    auto_free void *blocks = mem_alloc(dtype_bytes(DT_Q8_0, count), 1);
    if (!blocks)
        return fail(err, ERR_MEMORY, "no memory to quantise '%s'", name);
    dtype_quantise_q8_0(host, blocks, count);
    backend->write(s->device, value, s->params[id], blocks);
    return true;
}

static bool make_leaves(Stepper *s, const Model *model, Error *err)
{
    const Graph *g = s->buckets[0].graph;
    s->values = graph_values(g);
    s->params = mem_alloc(s->values + 1, sizeof *s->params);
    s->caches = mem_alloc(s->values + 1, sizeof *s->caches);
    if (!s->params || !s->caches)
        return fail(err, ERR_MEMORY, "no memory for the lists of weights");
    for (ValueId id = 1; id <= s->values; id++) {
        const Value *value = graph_value(g, id);
        if (value->role == ROLE_PARAM && !write_param(s, model, id, err))
            return false;
        if (value->role != ROLE_STATE || value->alias)
            continue;
        uint64_t bytes = s->device->backend->value_bytes(s->device, value);
        s->caches[id] = s->device->backend->alloc(s->device, bytes);
        s->bytes += bytes;
        if (!s->caches[id])
            return fail(err, ERR_MEMORY, "no memory for a cache of %llu MiB: lower the context or "
                                         "the number of sequences",
                        (unsigned long long)bytes >> 20);
    }
    return true;
}

static bool make_inputs(Stepper *s, Error *err)
{
    const StepperOptions *o = &s->options;
    uint32_t table = (o->sequences + 1) * s->pages_per_sequence;
    uint64_t arena = 0;
    for (uint32_t i = 0; i < s->bucket_count; i++) {
        uint64_t bytes = program_arena_bytes(s->buckets[i].program);
        arena = bytes > arena ? bytes : arena;
    }
    s->bytes += arena;
    s->arena = s->device->backend->alloc(s->device, arena + 1);
    s->ids = mem_alloc(5 * (size_t)o->batch_tokens + table, sizeof(int32_t));
    if (!s->arena || !s->ids)
        return fail(err, ERR_MEMORY, "no memory for %llu MiB of activations",
                    (unsigned long long)arena >> 20);
    s->pos = s->ids + o->batch_tokens;
    s->seq = s->pos + o->batch_tokens;
    s->row = s->seq + o->batch_tokens;
    s->pick = s->row + o->batch_tokens;
    s->pages = s->pick + o->batch_tokens;
    uint32_t owned = o->sequences * s->pages_per_sequence;
    for (uint32_t i = 0; i < table; i++)
        s->pages[i] = (int32_t)(i < owned ? i : owned); /* the spare sequence shares one page */
    return true;
}

/* All graphs are recorded alike, so a leaf is found by name in each. */
static bool bind(Stepper *s, Bucket *b, Error *err)
{
    const Graph *first = s->buckets[0].graph;
    if (!program_use_arena(b->program, s->arena, err))
        return false;
    for (ValueId id = 1; id <= s->values; id++) {
        void *memory = s->params[id] ? s->params[id] : s->caches[id];
        if (memory)
            program_bind(b->program, graph_find(b->graph, graph_name(first, id)), memory);
    }
    program_bind(b->program, b->ports.ids, s->ids);
    program_bind(b->program, b->ports.pos, s->pos);
    program_bind(b->program, b->ports.seq, s->seq);
    program_bind(b->program, b->ports.row, s->row);
    program_bind(b->program, b->ports.pages, s->pages);
    program_bind(b->program, b->ports.pick, s->pick);
    return true;
}

static bool set_up(Stepper *s, const Model *model, Error *err)
{
    if (!backend_cpu.open(&s->device, (DeviceOptions){s->options.threads}, err) ||
        !record_buckets(s, model, err) || !make_leaves(s, model, err) || !make_inputs(s, err))
        return false;
    for (uint32_t i = 0; i < s->bucket_count; i++) {
        if (!bind(s, &s->buckets[i], err))
            return false;
    }
    return true;
}

bool stepper_new(Stepper **out, const Model *model, const StepperOptions *options, Error *err)
{
    Stepper *s = mem_alloc(1, sizeof *s);
    if (!s)
        return fail(err, ERR_MEMORY, "no memory for an engine");
    s->options = *options;
    s->pages_per_sequence = (options->context + PAGE - 1) / PAGE;
    if (!set_up(s, model, err)) {
        stepper_free(s);
        return false;
    }
    *out = s;
    return true;
}

void stepper_free(Stepper *s)
{
    if (!s)
        return;
    for (ValueId id = 1; id <= s->values; id++) {
        if (s->params)
            mem_free(s->params[id]);
        if (s->caches)
            mem_free(s->caches[id]);
    }
    for (uint32_t i = 0; i < s->bucket_count; i++) {
        program_free(s->buckets[i].program);
        graph_free(s->buckets[i].graph);
    }
    mem_free(s->params);
    mem_free(s->caches);
    mem_free(s->arena);
    mem_free(s->ids);
    backend_cpu.close(s->device);
    mem_free(s);
}

uint64_t stepper_bytes(const Stepper *s)
{
    return s->bytes;
}

bool stepper_run(Stepper *s, const StepEntry *entries, uint32_t count, const float **logits,
                 Error *err)
{
    assert(count > 0 && count <= s->options.batch_tokens);
    uint32_t index = 0, rows = 0;
    for (uint32_t i = 0; i < count; i++)
        rows += entries[i].wants_logits;
    while (s->buckets[index].tokens < count || s->buckets[index].rows < rows)
        index++;
    Bucket *b = &s->buckets[index];
    uint32_t picked = 0;
    for (uint32_t i = 0; i < b->tokens; i++) {
        bool real = i < count;
        uint32_t sequence = real ? (uint32_t)entries[i].sequence : s->options.sequences;
        uint32_t position = real ? (uint32_t)entries[i].position : 0;
        assert(position < s->pages_per_sequence * PAGE);
        s->ids[i] = real ? entries[i].id : 0;
        s->seq[i] = (int32_t)sequence;
        s->pos[i] = (int32_t)position;
        s->row[i] = s->pages[sequence * s->pages_per_sequence + position / PAGE] * PAGE +
                    (int32_t)(position % PAGE);
        if (real && entries[i].wants_logits)
            s->pick[picked++] = (int32_t)i;
    }
    for (uint32_t i = picked; i < b->rows; i++)
        s->pick[i] = 0;
    if (!program_run(b->program, err))
        return false;
    *logits = program_data(b->program, b->ports.logits);
    return true;
}
