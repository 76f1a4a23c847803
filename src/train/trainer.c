/* trainer.c: see trainer.h.
 *
 * Memory: weights stand in the model's slab (adapters in the trainer's own); gradients and Adam's
 * two moments are three slabs with the same layout, one run per trainable parameter. Two programs,
 * training and loss only, share one arena.
 */
#include "train/trainer.h"

#include "backend/cpu/gemm.h"
#include "backend/cpu/vec.h"
#include "backend/plan.h"
#include "base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *const precision_names[] = {"full", "high", NULL};
const char *const recompute_names[] = {"auto", "none", "cheap", "wide", "layers", NULL};

/* Activations that are kept without a thought; beyond, a few hundredths of the time are spent. */
#define EASY_BYTES (768ull << 20)

typedef struct {
    const char *name; /* in the graph */
    float *weights;
    uint64_t count, offset; /* elements; offset into gradients, m, v */
    bool decays;
    Shape shape;
} Learned;

typedef struct {
    Graph *graph;
    ModelPorts ports;
    Program *program;
} Pass;

struct Trainer {
    Model *model;
    TrainerOptions options;
    Device *device;
    Pass train, loss;
    Weights adapter;  /* parameters the model does not have */
    Learned *learned;
    uint32_t learned_count;
    uint64_t elements; /* of the three slabs */
    float *gradients, *m, *v;
    void *arena;
    int32_t *ids, *pos, *start, *target; /* bound inputs, [T] */
    float *loss_scale;
    uint64_t steps;
    TrainerMemory memory;
};

/* ---- recording ---- */

static bool record(Pass *pass, const Family *family, const ModelConfig *config,
                   const TrainerOptions *o, bool gradient, Error *err)
{
    BuildSpec spec = {.mode = BUILD_TRAIN, .tokens = o->row_tokens};
    if (!graph_new(&pass->graph, err))
        return false;
    Graph *g = pass->graph;
    return model_build(g, family, config, &spec, &pass->ports, err) &&
           (!o->lora_rank ||
            graph_attach_lora(g, o->lora_targets, o->lora_rank, o->lora_alpha, err)) &&
           (!gradient || graph_grad(g, pass->ports.loss, err)) &&
           (!gradient || graph_recompute(g, o->recompute, 1, err)) &&
           graph_finish(g, err);
}

static uint64_t round_run(uint64_t count)
{
    return (count + 15) / 16 * 16;
}

static bool is_learned(const Graph *g, ValueId id)
{
    const Value *value = graph_value(g, id);
    return value->role == ROLE_PARAM && value->grad != 0;
}

/* Multiplications and additions that a token, and a target, cannot do without: those of the
 * matrices, forward once and backward twice. Attention comes on top and depends on the documents' lengths. */
static void count_flops(const Graph *g, uint32_t tokens, TrainerMemory *out)
{
    for (uint32_t i = 0; i < graph_nodes(g); i++) {
        const Node *node = graph_node(g, i);
        double each = 3.0 * (double)op_flops(g, node);
        if (node->op == OP_MATMUL || node->op == OP_EXPERT_MATMUL)
            out->flops_token += each / tokens;
        else if (node->op == OP_XENT)
            out->flops_target += each / tokens;
    }
}

static void measure(const Graph *g, const Graph *forward, uint32_t tokens, const Program *train,
                    const Program *loss, TrainerMemory *out)
{
    *out = (TrainerMemory){0};
    count_flops(forward, tokens, out);
    for (ValueId id = 1; id <= graph_values(g); id++) {
        const Value *value = graph_value(g, id);
        uint64_t count = shape_count(value->shape);
        if (value->role != ROLE_PARAM)
            continue;
        out->weights += round_run(count) * sizeof(float);
        if (!is_learned(g, id))
            continue;
        out->trainable += count;
        out->gradients += round_run(count) * sizeof(float);
        out->optimiser += 2 * round_run(count) * sizeof(float);
    }
    uint64_t a = program_arena_bytes(train), b = program_arena_bytes(loss);
    out->activations = a > b ? a : b;
    out->total = out->weights + out->gradients + out->optimiser + out->activations;
}

static bool open_device(Device **out, const TrainerOptions *o, Error *err)
{
    const char *name = o->backend ? o->backend : "cpu";
    const Backend *backend = backend_named(name);
    if (!backend || backend != &backend_cpu)
        return fail(err, ERR_INPUT, "backend '%s' cannot train; use cpu", name);
    return backend->open(out, (DeviceOptions){o->threads}, err);
}

static void drop_programs(Trainer *t)
{
    program_free(t->train.program);
    program_free(t->loss.program);
    graph_free(t->train.graph);
    graph_free(t->loss.graph);
    t->train = t->loss = (Pass){0};
}

static bool plan_as_told(Trainer *t, const Family *family, const ModelConfig *config, Error *err)
{
    drop_programs(t);
    if (!record(&t->train, family, config, &t->options, true, err) ||
        !record(&t->loss, family, config, &t->options, false, err) ||
        !program_plan(&t->train.program, t->train.graph, t->device, err) ||
        !program_plan(&t->loss.program, t->loss.graph, t->device, err))
        return false;
    measure(t->train.graph, t->loss.graph, t->options.row_tokens, t->train.program,
            t->loss.program, &t->memory);
    t->memory.recompute = t->options.recompute;
    return true;
}

/* Both programs and what they need; AUTO becomes the first choice that is easy on memory. */
static bool plan(Trainer *t, const Family *family, const ModelConfig *config, Error *err)
{
    if (t->options.recompute != RECOMPUTE_AUTO)
        return plan_as_told(t, family, config, err);
    for (uint32_t what = RECOMPUTE_NONE; what <= RECOMPUTE_WIDE; what++) {
        t->options.recompute = (Recompute)what;
        if (!plan_as_told(t, family, config, err))
            return false;
        if (t->memory.activations <= EASY_BYTES)
            break;
    }
    return true;
}

bool trainer_plan(const Family *family, const ModelConfig *config, const TrainerOptions *options,
                  TrainerMemory *out, Error *err)
{
    Trainer t = {.options = *options};
    bool ok = open_device(&t.device, options, err) && plan(&t, family, config, err);
    if (ok)
        *out = t.memory;
    drop_programs(&t);
    backend_cpu.close(t.device);
    return ok;
}

/* ---- memory ---- */

/* Parameters of the graph that the model has not: adapters, laid out and initialised. */
static bool make_adapter(Trainer *t, Error *err)
{
    if (!t->options.lora_rank)
        return true;
    if (!weights_new(&t->adapter, t->train.graph, &t->model->weights, err))
        return false;
    weights_init(&t->adapter, t->model->config.layers, t->options.seed);
    return true;
}

static float *weights_of(Trainer *t, const char *name)
{
    const ParamInfo *param = weights_find(&t->model->weights, name);
    if (param)
        return t->model->weights.slab + param->offset;
    param = weights_find(&t->adapter, name);
    assert(param);
    return t->adapter.slab + param->offset;
}

static bool list_learned(Trainer *t, Error *err)
{
    const Graph *g = t->train.graph;
    t->learned = mem_alloc(graph_values(g), sizeof *t->learned);
    if (!t->learned)
        return fail(err, ERR_MEMORY, "no memory for the list of trained parameters");
    for (ValueId id = 1; id <= graph_values(g); id++) {
        if (!is_learned(g, id))
            continue;
        Shape shape = graph_value(g, id)->shape;
        Learned *l = &t->learned[t->learned_count++];
        *l = (Learned){.name = graph_name(g, id), .weights = weights_of(t, graph_name(g, id)),
                       .count = shape_count(shape), .offset = t->elements,
                       .decays = shape.rank > 1, .shape = shape};
        t->elements += round_run(l->count);
    }
    return true;
}

static bool allocate(Trainer *t, Error *err)
{
    const Backend *backend = t->device->backend;
    uint32_t tokens = t->options.row_tokens;
    t->gradients = backend->alloc(t->device, t->elements * sizeof(float));
    t->m = backend->alloc(t->device, t->elements * sizeof(float));
    t->v = backend->alloc(t->device, t->elements * sizeof(float));
    t->arena = backend->alloc(t->device, t->memory.activations + 1);
    t->ids = backend->alloc(t->device, tokens * 4 * sizeof(int32_t));
    t->loss_scale = backend->alloc(t->device, sizeof(float));
    if (!t->gradients || !t->m || !t->v || !t->arena || !t->ids || !t->loss_scale)
        return fail(err, ERR_MEMORY, "no memory to train: %llu MiB are needed in all",
                    (unsigned long long)t->memory.total >> 20);
    t->pos = t->ids + tokens;
    t->start = t->pos + tokens;
    t->target = t->start + tokens;
    return true;
}

static bool bind(Trainer *t, Pass *pass, Error *err)
{
    const Graph *g = pass->graph;
    if (!program_use_arena(pass->program, t->arena, err))
        return false;
    for (ValueId id = 1; id <= graph_values(g); id++) {
        if (graph_value(g, id)->role == ROLE_PARAM && !graph_value(g, id)->alias)
            program_bind(pass->program, id, weights_of(t, graph_name(g, id)));
    }
    program_bind(pass->program, pass->ports.ids, t->ids);
    program_bind(pass->program, pass->ports.pos, t->pos);
    program_bind(pass->program, pass->ports.start, t->start);
    program_bind(pass->program, pass->ports.target, t->target);
    return true;
}

static void bind_gradients(Trainer *t)
{
    Graph *g = t->train.graph;
    for (uint32_t i = 0; i < t->learned_count; i++) {
        ValueId param = graph_find(g, t->learned[i].name);
        program_bind(t->train.program, graph_value(g, param)->grad,
                     t->gradients + t->learned[i].offset);
    }
    program_bind(t->train.program, graph_find(g, "loss_scale"), t->loss_scale);
}

static bool set_up(Trainer *t, Error *err)
{
    const Family *family = t->model->family;
    const ModelConfig *config = &t->model->config;
    if (!open_device(&t->device, &t->options, err) || !plan(t, family, config, err))
        return false;
    if (!make_adapter(t, err) || !list_learned(t, err) || !allocate(t, err) ||
        !bind(t, &t->train, err) || !bind(t, &t->loss, err))
        return false;
    bind_gradients(t);
    return true;
}

bool trainer_new(Trainer **out, Model *model, const TrainerOptions *options, Error *err)
{
    if (options->row_tokens == 0)
        return fail(err, ERR_INPUT, "a row must hold at least 1 token");
    Trainer *t = mem_alloc(1, sizeof *t);
    if (!t)
        return fail(err, ERR_MEMORY, "no memory for a trainer");
    t->model = model;
    t->options = *options;
    if (options->precision == PRECISION_HIGH)
        (void)gemm_isa_use("amx_high"); /* refused where the processor has no such unit */
    if (!set_up(t, err)) {
        trainer_free(t);
        return false;
    }
    *out = t;
    return true;
}

void trainer_free(Trainer *t)
{
    if (!t)
        return;
    drop_programs(t);
    weights_free(&t->adapter);
    mem_free(t->learned);
    mem_free(t->gradients);
    mem_free(t->m);
    mem_free(t->v);
    mem_free(t->arena);
    mem_free(t->ids);
    mem_free(t->loss_scale);
    backend_cpu.close(t->device);
    mem_free(t);
}

const TrainerMemory *trainer_memory(const Trainer *t)
{
    return &t->memory;
}

/* ---- stepping ---- */

static void load_row(Trainer *t, const TrainBatch *batch, uint32_t row)
{
    size_t bytes = t->options.row_tokens * sizeof(int32_t), at = (size_t)row * batch->row_tokens;
    memcpy(t->ids, batch->ids + at, bytes);
    memcpy(t->pos, batch->pos + at, bytes);
    memcpy(t->start, batch->start + at, bytes);
    memcpy(t->target, batch->target + at, bytes);
}

static bool run_rows(Trainer *t, Pass *pass, const TrainBatch *batch, double *sum, Error *err)
{
    assert(batch->row_tokens == t->options.row_tokens);
    double total = 0;
    for (uint32_t row = 0; row < batch->rows; row++) {
        load_row(t, batch, row);
        if (!program_run(pass->program, err))
            return false;
        total += (double)*(float *)program_data(pass->program, pass->ports.loss);
    }
    *sum = total;
    return true;
}

bool trainer_loss(Trainer *t, const TrainBatch *batch, double *sum, Error *err)
{
    return run_rows(t, &t->loss, batch, sum, err);
}

bool trainer_gradients(Trainer *t, const TrainBatch *batch, double *sum, Error *err)
{
    memset(t->gradients, 0, t->elements * sizeof(float));
    *t->loss_scale = batch->targets ? 1.0f / (float)batch->targets : 0;
    return run_rows(t, &t->train, batch, sum, err);
}

const float *trainer_gradient(const Trainer *t, const char *name)
{
    for (uint32_t i = 0; i < t->learned_count; i++) {
        if (strcmp(t->learned[i].name, name) == 0)
            return t->gradients + t->learned[i].offset;
    }
    return NULL;
}

/* With clipping by the norm of all gradients; gradients are cleared on the way. */
static void update(Trainer *t, double rate, double norm)
{
    const TrainerOptions *o = &t->options;
    double clip = o->clip > 0 && norm > (double)o->clip ? (double)o->clip / norm : 1;
    VecAdam adam = {.rate = (float)rate, .beta1 = o->beta1, .beta2 = o->beta2, .eps = o->eps,
                    .gradient_scale = (float)clip, .step = ++t->steps, .clear = true};
    for (uint32_t i = 0; i < t->learned_count; i++) {
        Learned *l = &t->learned[i];
        adam.decay = l->decays ? o->decay : 0;
        vec_adamw(t->device->pool, l->weights, t->gradients + l->offset, t->m + l->offset,
                  t->v + l->offset, adam, l->count);
    }
}

bool trainer_step(Trainer *t, const TrainBatch *batch, double rate, TrainStep *out, Error *err)
{
    double sum;
    if (batch->targets == 0)
        return fail(err, ERR_INPUT, "a batch has no token to learn from");
    *t->loss_scale = 1.0f / (float)batch->targets;
    if (!run_rows(t, &t->train, batch, &sum, err))
        return false;
    double loss = sum / (double)batch->targets;
    double norm = sqrt(vec_sum_squares(t->device->pool, t->gradients, t->elements));
    if (!isfinite(loss) || !isfinite(norm)) {
        memset(t->gradients, 0, t->elements * sizeof(float));
        return fail(err, ERR_DIVERGED, "update %llu: loss %g, gradient norm %g: lower the rate",
                    (unsigned long long)t->steps + 1, loss, norm);
    }
    update(t, rate, norm);
    *out = (TrainStep){loss, norm};
    return true;
}

/* ---- state ---- */

static StTensor blob(const char *name, float *data, uint64_t count)
{
    return (StTensor){.name = name, .dtype = ST_F32, .rank = 1, .shape = {count},
                      .data = (const uint8_t *)data, .bytes = count * sizeof(float)};
}

uint32_t trainer_blobs(Trainer *t, StTensor *tensors, uint32_t room)
{
    if (room < t->learned_count + 2)
        return t->learned_count + 2;
    for (uint32_t i = 0; i < t->learned_count; i++)
        tensors[i] = blob(t->learned[i].name, t->learned[i].weights, t->learned[i].count);
    tensors[t->learned_count] = blob("adam.m", t->m, t->elements);
    tensors[t->learned_count + 1] = blob("adam.v", t->v, t->elements);
    return t->learned_count + 2;
}

uint64_t trainer_steps(const Trainer *t)
{
    return t->steps;
}

void trainer_set_steps(Trainer *t, uint64_t steps)
{
    t->steps = steps;
}

/* W[n,k] += factor * sum_r B[n,r] A[r,k] */
static void merge_one(float *w, const float *a, const float *b, uint32_t n, uint32_t k, uint32_t r,
                      double factor)
{
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j < k; j++) {
            double sum = 0;
            for (uint32_t p = 0; p < r; p++)
                sum += (double)b[(size_t)i * r + p] * (double)a[(size_t)p * k + j];
            w[(size_t)i * k + j] += (float)(factor * sum);
        }
    }
}

void trainer_merge(Trainer *t)
{
    for (uint32_t i = 0; i < t->model->weights.count && t->options.lora_rank; i++) {
        const ParamInfo *param = &t->model->weights.params[i];
        char name[140];
        snprintf(name, sizeof name, "%s.lora_A", param->name);
        const ParamInfo *a = weights_find(&t->adapter, name);
        snprintf(name, sizeof name, "%s.lora_B", param->name);
        const ParamInfo *b = weights_find(&t->adapter, name);
        if (!a || !b)
            continue;
        float *low = t->adapter.slab + b->offset;
        merge_one(t->model->weights.slab + param->offset, t->adapter.slab + a->offset, low,
                  param->shape.dim[0], param->shape.dim[1], t->options.lora_rank,
                  (double)t->options.lora_alpha / t->options.lora_rank);
        memset(low, 0, shape_count(b->shape) * sizeof *low);
    }
}
