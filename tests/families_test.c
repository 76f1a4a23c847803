/* families_test.c: every model family against transformers: logits, also far out, frequencies, a
 * greedy answer of 64 tokens, the gradient of every tensor; equal bits for threads and neighbours;
 * folders in and out. Weights follow from names by a recipe (tests/golden/golden_families.py). */
#include "backend/plan.h"
#include "base/mem.h"
#include "base/test.h"
#include "format/safetensors.h"
#include "infer/stepper.h"
#include "model/family.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { PROBES = 6, GRADIENT_COLUMNS = PROBES + 2, TENSORS_MAX = 256, NAME_BYTES = 192 };

static const char *const cases[] = {"llama3",         "llama_bias",    "nemo",    "ministral",
                                    "ministral3",     "ministral3_far", "mistral_small", "mixtral",
                                    "qwen2",          "qwen3",         "qwen3_moe"};
enum { CASES = sizeof cases / sizeof *cases };

/* ---- the recipe ---- */

static uint64_t hash_of(const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 0x100000001b3u;
    return h;
}

/* 0 to 255: splitmix64 of the name's FNV-1a. */
static uint32_t recipe_integer(uint64_t hash, uint64_t index)
{
    uint64_t z = hash + (index + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 56);
}

/* The tensors of a file, in the order of their names: where they lie in the slab. */
typedef struct {
    char name[NAME_BYTES];
    uint64_t offset, count;
    uint32_t rank;
    uint64_t shape[2];
    const char *param; /* in the graph, and which part of it */
    uint64_t part;
} Tensor;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const Tensor *)a)->name, ((const Tensor *)b)->name);
}

static uint32_t list_tensors(const Weights *w, Tensor *out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        const ParamInfo *p = &w->params[i];
        const char *star = strchr(p->name, '*');
        uint32_t members = star ? p->shape.dim[0] : 1, skip = star ? 1 : 0;
        for (uint32_t e = 0; e < members; e++) {
            assert_true(count < TENSORS_MAX);
            Tensor *t = &out[count++];
            *t = (Tensor){.count = shape_count(p->shape) / members, .param = p->name,
                          .rank = p->shape.rank - skip};
            if (star)
                snprintf(t->name, sizeof t->name, "%.*s%u%s", (int)(star - p->name), p->name, e,
                         star + 1);
            else
                snprintf(t->name, sizeof t->name, "%s", p->name);
            t->part = e * t->count;
            t->offset = p->offset + t->part;
            for (uint32_t d = 0; d < t->rank; d++)
                t->shape[d] = p->shape.dim[d + skip];
        }
    }
    qsort(out, count, sizeof *out, by_name);
    return count;
}

static void fill_by_recipe(Weights *w)
{
    static Tensor tensors[TENSORS_MAX];
    uint32_t count = list_tensors(w, tensors);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t hash = hash_of(tensors[i].name);
        bool norm = strstr(tensors[i].name, "norm.weight") != NULL;
        for (uint64_t k = 0; k < tensors[i].count; k++) {
            float value = (float)((int)recipe_integer(hash, k) - 128);
            w->slab[tensors[i].offset + k] = norm ? 1 + value / 1024 : 3 * value / 1024;
        }
    }
}

/* ---- cases ---- */

typedef struct {
    Model *model;
    Safetensors *golden;
} Case;

static const char *case_path(const char *name, const char *file)
{
    static char path[1024];
    const char *source = getenv("BASTIDE_SOURCE");
    snprintf(path, sizeof path, "%s/tests/golden/families/%s/%s", source ? source : ".", name,
             file);
    return path;
}

static void case_open(Case *c, const char *name)
{
    Error err;
    ConfigFile config;
    auto_json json_t *object = NULL;
    assert_ok(json_read(&object, case_path(name, "config.json"), 1 << 20, &err));
    assert_ok(config_read(object, "config.json", &config, &err));
    assert_ok(model_new(&c->model, config.family, &config.config, NULL, NULL, name, 1, &err));
    fill_by_recipe(&c->model->weights);
    assert_ok(safetensors_open(&c->golden, case_path(name, "golden.safetensors"), &err));
}

static void case_close(Case *c)
{
    model_free(c->model);
    safetensors_close(c->golden);
}

static int32_t *integers(const Case *c, const char *name, uint32_t *count)
{
    const StTensor *t = safetensors_find(c->golden, name);
    assert_non_null(t);
    int32_t *copy = mem_alloc(t->bytes / 4, 4);
    memcpy(copy, t->data, t->bytes);
    *count = (uint32_t)(t->bytes / 4);
    return copy;
}

static float *floats(const Case *c, const char *name)
{
    Error err;
    const StTensor *t = safetensors_find(c->golden, name);
    assert_non_null(t);
    float *copy = mem_alloc(t->bytes / 4, sizeof *copy);
    assert_ok(safetensors_to_f32(t, copy, t->bytes / 4, &err));
    return copy;
}

/* Rows whose every element is that near. */
static uint32_t rows_within(const float *got, const float *want, uint32_t rows, uint32_t columns,
                            double tolerance)
{
    uint32_t near = 0;
    for (uint32_t r = 0; r < rows; r++) {
        double worst = 0;
        for (uint32_t c = r * columns; c < (r + 1) * columns; c++)
            worst = fmax(worst, fabs((double)got[c] - (double)want[c]));
        near += worst <= tolerance;
    }
    return near;
}

static double compare(const char *name, const char *what, const float *got, const float *want,
                      uint64_t count, double tolerance)
{
    double worst = 0;
    for (uint64_t i = 0; i < count; i++) {
        double gap = fabs((double)got[i] - (double)want[i]);
        worst = fmax(worst, gap);
        if (!(gap <= tolerance))
            fail_test("%s: %s[%llu]: got %.8g, want %.8g", name, what, (unsigned long long)i,
                      (double)got[i], (double)want[i]);
    }
    return worst;
}

/* ---- logits of the training graph, at any positions, on any backend ---- */

typedef struct {
    Graph *g;
    Device *device;
    Program *program;
    void **memory; /* per value */
} Run;

static void bind_value(Run *r, ValueId id, const void *host)
{
    const Backend *backend = r->device->backend;
    const Value *value = graph_value(r->g, id);
    r->memory[id] = backend->alloc(r->device, backend->value_bytes(r->device, value));
    backend->write(r->device, value, r->memory[id], host);
    program_bind(r->program, id, r->memory[id]);
}

static void run_close(Run *r)
{
    for (ValueId id = 1; id <= graph_values(r->g); id++)
        r->device->backend->free(r->device, r->memory[id]);
    mem_free(r->memory);
    program_free(r->program);
    r->device->backend->close(r->device);
    graph_free(r->g);
}

/* hidden[T,D]: what stands before the head. */
static void hidden_of(const Model *model, const Backend *backend, const int32_t *ids,
                      const int32_t *pos, uint32_t count, float *hidden)
{
    Error err;
    Run r;
    ModelPorts ports;
    BuildSpec spec = {.mode = BUILD_TRAIN, .tokens = count};
    assert_ok(graph_new(&r.g, &err));
    assert_ok(model_build(r.g, model->family, &model->config, &spec, &ports, &err));
    ValueId h = graph_node(r.g, graph_nodes(r.g) - 1)->in[0];
    graph_keep(r.g, h);
    assert_ok(graph_finish(r.g, &err));
    assert_ok(backend->open(&r.device, (DeviceOptions){2}, &err));
    assert_ok(program_plan(&r.program, r.g, r.device, &err));
    assert_ok(program_use_arena(r.program, NULL, &err));
    r.memory = mem_alloc(graph_values(r.g) + 1, sizeof *r.memory);
    for (ValueId id = 1; id <= graph_values(r.g); id++) {
        if (graph_value(r.g, id)->role != ROLE_PARAM)
            continue;
        const ParamInfo *p = weights_find(&model->weights, graph_name(r.g, id));
        bind_value(&r, id, model->weights.slab + p->offset);
    }
    auto_free int32_t *zeros = mem_alloc(count, sizeof *zeros);
    bind_value(&r, ports.ids, ids);
    bind_value(&r, ports.pos, pos);
    bind_value(&r, ports.start, zeros);
    bind_value(&r, ports.target, zeros);
    assert_ok(program_run(r.program, &err));
    backend->read(r.device, graph_value(r.g, h), hidden, program_data(r.program, h));
    run_close(&r);
}

static float *logits_of(const Model *model, const Backend *backend, const int32_t *ids,
                        const int32_t *pos, uint32_t count)
{
    const ModelConfig *c = &model->config;
    const char *head = c->tied ? "model.embed_tokens.weight" : "lm_head.weight";
    const float *w = model->weights.slab + weights_find(&model->weights, head)->offset;
    auto_free float *hidden = mem_alloc((size_t)count * c->width, sizeof *hidden);
    float *logits = mem_alloc((size_t)count * c->vocab, sizeof *logits);
    hidden_of(model, backend, ids, pos, count, hidden);
    for (uint32_t t = 0; t < count; t++) {
        for (uint32_t v = 0; v < c->vocab; v++) {
            double sum = 0;
            for (uint32_t i = 0; i < c->width; i++)
                sum += (double)hidden[t * c->width + i] * (double)w[v * c->width + i];
            logits[t * c->vocab + v] = (float)sum;
        }
    }
    return logits;
}

static void training_logits_match(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < CASES; k++) {
        Case c;
        uint32_t count;
        case_open(&c, cases[k]);
        auto_free int32_t *ids = integers(&c, "ids", &count);
        auto_free float *want = floats(&c, "logits");
        int32_t pos[64];
        for (uint32_t i = 0; i < count; i++)
            pos[i] = (int32_t)i;
        for (uint32_t b = 0; backends[b]; b++) {
            auto_free float *got = logits_of(c.model, backends[b], ids, pos, count);
            double worst = compare(cases[k], backends[b]->name, got, want,
                                   (uint64_t)count * c.model->config.vocab, 1e-4);
            print_message("%s on %s: largest difference %.1e\n", cases[k], backends[b]->name,
                          worst);
        }
        case_close(&c);
    }
}

/* Positions from 16380 on: what grows with the position shows only here. */
static void logits_match_far_out(void **state)
{
    (void)state;
    uint32_t checked = 0;
    for (uint32_t k = 0; k < CASES; k++) {
        Case c;
        uint32_t count;
        case_open(&c, cases[k]);
        if (safetensors_find(c.golden, "far.ids")) {
            auto_free int32_t *ids = integers(&c, "far.ids", &count);
            auto_free int32_t *pos = integers(&c, "far.positions", &count);
            auto_free float *want = floats(&c, "far.logits");
            for (uint32_t b = 0; backends[b]; b++) {
                auto_free float *got = logits_of(c.model, backends[b], ids, pos, count);
                double worst = compare(cases[k], "far out", got, want,
                                       (uint64_t)count * c.model->config.vocab, 1e-4);
                print_message("%s on %s: largest difference %.1e\n", cases[k], backends[b]->name,
                              worst);
            }
            checked++;
        }
        case_close(&c);
    }
    assert_int_equal(checked, 4);
}

/* Without the scale of queries the same logits stand near, and others far out. */
static void the_query_scale_shows_only_far_out(void **state)
{
    (void)state;
    Case c;
    uint32_t count;
    case_open(&c, "ministral3_far");
    auto_free int32_t *ids = integers(&c, "far.ids", &count);
    auto_free int32_t *pos = integers(&c, "far.positions", &count);
    int32_t near[64];
    for (uint32_t i = 0; i < count; i++)
        near[i] = (int32_t)i;
    auto_free float *far_with = logits_of(c.model, &backend_cpu, ids, pos, count);
    auto_free float *near_with = logits_of(c.model, &backend_cpu, ids, near, count);
    c.model->config.query_original = 0;
    auto_free float *far_without = logits_of(c.model, &backend_cpu, ids, pos, count);
    auto_free float *near_without = logits_of(c.model, &backend_cpu, ids, near, count);
    uint64_t elements = (uint64_t)count * c.model->config.vocab;
    double worst = 0;
    for (uint64_t i = 0; i < elements; i++)
        worst = fmax(worst, fabs((double)far_with[i] - (double)far_without[i]));
    assert_memory_equal(near_with, near_without, elements * sizeof(float));
    assert_true(worst > 1e-3);
    case_close(&c);
}

/* Frequencies are the reference's, to the last bit but one. */
static void frequencies_match(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < CASES; k++) {
        Case c;
        case_open(&c, cases[k]);
        if (safetensors_find(c.golden, "frequencies")) {
            float got[MODEL_HEAD_WIDTH_MAX / 2];
            auto_free float *want = floats(&c, "frequencies");
            rope_frequencies(&c.model->config, got);
            uint32_t equal = 0, half = c.model->config.head_width / 2;
            for (uint32_t i = 0; i < half; i++) {
                equal += memcmp(&got[i], &want[i], sizeof got[i]) == 0;
                assert_near((double)got[i], (double)want[i], 1.2e-7 * (double)want[i]);
            }
            print_message("%s: %u of %u frequencies equal\n", cases[k], equal, half);
        }
        case_close(&c);
    }
}

/* ---- inference ---- */

static Stepper *stepper_for(const Model *model, uint32_t threads)
{
    Error err;
    Stepper *s;
    StepperOptions options = {.threads = threads, .context = 128, .sequences = 2,
                              .batch_tokens = 32, .rows = 16};
    assert_ok(stepper_new(&s, model, &options, &err));
    return s;
}

/* A sequence in one step, beside another sequence, one token at a time, and with other threads:
 * the reference's logits, and one set of bits. */
static void steps_match_and_agree(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < CASES; k++) {
        Error err;
        Case c;
        uint32_t count;
        case_open(&c, cases[k]);
        Stepper *s = stepper_for(c.model, 2), *one = stepper_for(c.model, 1);
        auto_free int32_t *ids = integers(&c, "ids", &count);
        auto_free float *want = floats(&c, "logits");
        uint64_t vocab = c.model->config.vocab, bytes = count * vocab * sizeof(float);
        StepEntry entries[64];
        const float *logits;
        auto_free float *whole = mem_alloc(bytes, 1);
        for (uint32_t i = 0; i < count; i++)
            entries[i] = (StepEntry){1, (int32_t)i, ids[i], true};
        assert_ok(stepper_run(s, entries, count, &logits, &err));
        compare(cases[k], "step", logits, want, count * vocab, 1e-4);
        memcpy(whole, logits, bytes);
        assert_ok(stepper_run(one, entries, count, &logits, &err));
        assert_memory_equal(logits, whole, bytes);
        for (uint32_t i = 0; i < count; i++) {
            StepEntry pair[2] = {{1, (int32_t)(count + i), ids[count - 1 - i], false},
                                 {0, (int32_t)i, ids[i], true}};
            assert_ok(stepper_run(s, pair, 2, &logits, &err));
            assert_memory_equal(logits, whole + i * vocab, vocab * sizeof *logits);
        }
        stepper_free(s);
        stepper_free(one);
        case_close(&c);
    }
}

/* The matrices that a step quantises, as the values their blocks stand for. */
static void round_to_q8(Weights *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        const ParamInfo *p = &w->params[i];
        if (p->shape.rank == 1 || strstr(p->name, "embed_tokens") || strstr(p->name, "moe.gate"))
            continue;
        uint64_t count = shape_count(p->shape);
        auto_free void *blocks = mem_alloc(dtype_bytes(DT_Q8_0, count), 1);
        dtype_quantise_q8_0(w->slab + p->offset, blocks, count);
        dtype_dequantise_q8_0(blocks, w->slab + p->offset, count);
    }
}

/* Stacks of experts are packed and quantised expert by expert: the logits of the rounded weights in
 * f32, and the same bits alone as in company. A width that is no whole number of blocks is a
 * sentence. */
static void experts_are_quantised(void **state)
{
    (void)state;
    Error err;
    Model *model;
    Stepper *f32, *q8;
    const float *logits;
    enum { COUNT = 8 };
    float want[COUNT][53];
    ModelConfig config = {.layers = 2, .width = 32, .heads = 4, .kv_heads = 2, .head_width = 8,
                          .ff_width = 64, .expert_width = 64, .vocab = 53, .context = 64,
                          .eps = 1e-5f, .theta = 10000, .experts = 4, .chosen = 2,
                          .renormalise = true};
    StepperOptions options = {.threads = 2, .context = 64, .sequences = 2, .batch_tokens = 16,
                              .rows = COUNT, .weights = DT_Q8_0};
    assert_ok(model_new(&model, family_named("mixtral"), &config, NULL, NULL, "m", 1, &err));
    fill_by_recipe(&model->weights);
    assert_ok(stepper_new(&q8, model, &options, &err));
    round_to_q8(&model->weights);
    f32 = stepper_for(model, 2);
    StepEntry entries[COUNT];
    for (int32_t i = 0; i < COUNT; i++)
        entries[i] = (StepEntry){0, i, i * 7 % 53, true};
    assert_ok(stepper_run(q8, entries, COUNT, &logits, &err));
    memcpy(want, logits, sizeof want);
    assert_ok(stepper_run(f32, entries, COUNT, &logits, &err));
    /* Dense matrices in q8_0 round their inputs to 8 bits, which the f32 model does not; where that
     * turns a choice of experts, a token's logits are others. */
    assert_true(rows_within(logits, want[0], COUNT, 53, 0.15) >= COUNT - 2);
    for (int32_t i = 0; i < COUNT; i++) {
        entries[i].sequence = 1;
        assert_ok(stepper_run(q8, entries + i, 1, &logits, &err));
        assert_memory_equal(logits, want[i], sizeof want[i]);
    }
    stepper_free(f32);
    stepper_free(q8);
    model_free(model);
    config.expert_width = config.ff_width = 40;
    assert_ok(model_new(&model, family_named("mixtral"), &config, NULL, NULL, "m", 1, &err));
    assert_fails(stepper_new(&q8, model, &options, &err), ERR_INPUT, "blocks of its type");
    model_free(model);
}

static void greedy_answers_match(void **state)
{
    (void)state;
    enum { PROMPT = 5, ANSWER = 64 };
    for (uint32_t k = 0; k < CASES; k++) {
        Error err;
        Case c;
        uint32_t count;
        case_open(&c, cases[k]);
        Stepper *s = stepper_for(c.model, 2);
        auto_free int32_t *ids = integers(&c, "greedy", &count);
        assert_int_equal(count, PROMPT + ANSWER);
        for (uint32_t i = 0; i + 1 < count; i++) {
            const float *logits;
            StepEntry entry = {0, (int32_t)i, ids[i], true};
            assert_ok(stepper_run(s, &entry, 1, &logits, &err));
            int32_t best = 0;
            for (int32_t v = 1; v < (int32_t)c.model->config.vocab; v++)
                best = logits[v] > logits[best] ? v : best;
            if (i + 1 >= PROMPT && best != ids[i + 1])
                fail_test("%s: token %u of the answer is %d, not %d", cases[k], i + 1 - PROMPT,
                          best, ids[i + 1]);
        }
        stepper_free(s);
        case_close(&c);
    }
}

/* ---- training ---- */

/* Norm, product with a probe, and some elements of a gradient, against a row of the golden table. */
static void compare_gradient(const char *name, const Tensor *t, const float *mean, double targets,
                             const float *want)
{
    char probe[NAME_BYTES + 8];
    snprintf(probe, sizeof probe, "probe.%s", t->name);
    uint64_t hash = hash_of(probe);
    double squares = 0, dot = 0, bound = 1e-4 * (double)want[0] + 1e-6;
    for (uint64_t i = 0; i < t->count; i++) {
        double own = targets * (double)mean[i];
        squares += own * own;
        dot += own * ((int)recipe_integer(hash, i) - 128) / 128;
    }
    if (!(fabs(sqrt(squares) - (double)want[0]) <= bound) ||
        !(fabs(dot - (double)want[1]) <= bound))
        fail_test("%s: gradient of %s: norm %.8g, want %.8g; probe %.8g, want %.8g", name, t->name,
                  sqrt(squares), (double)want[0], dot, (double)want[1]);
    for (uint64_t i = 0; i < PROBES; i++) {
        double own = targets * (double)mean[i * t->count / PROBES];
        if (!(fabs(own - (double)want[2 + i]) <= bound))
            fail_test("%s: gradient of %s: element %.8g, want %.8g", name, t->name, own,
                      (double)want[2 + i]);
    }
}

/* One document: every token but the last predicts the next. */
typedef struct {
    int32_t *ids, pos[64], start[64], target[64];
    TrainBatch batch;
} Lesson;

static void lesson_open(Lesson *l, const Case *c)
{
    uint32_t count;
    *l = (Lesson){.ids = integers(c, "ids", &count)};
    for (uint32_t i = 0; i < count; i++) {
        l->pos[i] = (int32_t)i;
        l->target[i] = i + 1 < count ? l->ids[i + 1] : -1;
    }
    l->batch = (TrainBatch){1, count, l->ids, l->pos, l->start, l->target, count - 1};
}

static void check_gradients(const Case *c, const char *name, uint32_t threads, uint32_t recompute)
{
    Error err;
    Trainer *t;
    Lesson lesson;
    static Tensor tensors[TENSORS_MAX];
    lesson_open(&lesson, c);
    uint32_t count = lesson.batch.row_tokens;
    auto_free float *want = floats(c, "gradients"), *loss = floats(c, "loss");
    TrainerOptions options = {.row_tokens = count, .threads = threads, .recompute = recompute,
                              .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f};
    double sum;
    assert_ok(trainer_new(&t, c->model, &options, &err));
    assert_ok(trainer_gradients(t, &lesson.batch, &sum, &err));
    assert_near(sum, (double)loss[0], 1e-4 * (double)loss[0]);
    uint32_t total = list_tensors(&c->model->weights, tensors);
    for (uint32_t i = 0; i < total; i++) {
        const float *got = trainer_gradient(t, tensors[i].param);
        if (!got)
            fail_test("%s: no gradient for %s", name, tensors[i].param);
        compare_gradient(name, &tensors[i], got + tensors[i].part, count - 1,
                         want + i * GRADIENT_COLUMNS);
    }
    trainer_free(t);
    mem_free(lesson.ids);
}

static void gradients_match(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < CASES; k++) {
        Case c;
        case_open(&c, cases[k]);
        check_gradients(&c, cases[k], 2, 0);
        check_gradients(&c, cases[k], 1, 1);
        case_close(&c);
    }
}

/* An adapter learns on every family while the base stays, and merges into what it computed. */
static void adapters_learn_and_merge(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < CASES; k++) {
        Error err;
        Case c;
        Trainer *t;
        Lesson lesson;
        TrainStep step;
        double before, after, merged;
        case_open(&c, cases[k]);
        lesson_open(&lesson, &c);
        TrainerOptions options = {.row_tokens = lesson.batch.row_tokens, .threads = 2, .clip = 1,
                                  .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .lora_rank = 3,
                                  .lora_alpha = 6, .lora_targets = "q_proj,v_proj,o_proj"};
        assert_ok(trainer_new(&t, c.model, &options, &err));
        uint64_t bytes = c.model->weights.elements * sizeof(float);
        auto_free float *base = mem_alloc(bytes, 1);
        memcpy(base, c.model->weights.slab, bytes);
        assert_ok(trainer_loss(t, &lesson.batch, &before, &err));
        for (uint32_t i = 0; i < 20; i++)
            assert_ok(trainer_step(t, &lesson.batch, 1e-2, &step, &err));
        assert_memory_equal(base, c.model->weights.slab, bytes);
        assert_ok(trainer_loss(t, &lesson.batch, &after, &err));
        trainer_merge(t);
        assert_ok(trainer_loss(t, &lesson.batch, &merged, &err));
        if (!(after < 0.9 * before) || !(fabs(merged - after) < 1e-3))
            fail_test("%s: loss %.4f, %.4f with the adapter, %.4f merged", cases[k], before, after,
                      merged);
        trainer_free(t);
        mem_free(lesson.ids);
        case_close(&c);
    }
}

/* ---- folders ---- */

static void folders_come_back_equal(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < CASES; k++) {
        Error err;
        Case c;
        Model *again;
        char folder[] = "/tmp/bastide-family-XXXXXX";
        case_open(&c, cases[k]);
        assert_non_null(mkdtemp(folder));
        assert_ok(model_save(c.model, folder, &err));
        assert_ok(model_load(&again, folder, &err));
        assert_memory_equal(&again->config, &c.model->config, sizeof again->config);
        assert_ptr_equal(again->family, c.model->family);
        assert_string_equal(again->note, "");
        assert_memory_equal(again->weights.slab, c.model->weights.slab,
                            c.model->weights.elements * sizeof(float));
        model_free(again);
        assert_ok(fs_remove_tree(folder, &err));
        case_close(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frequencies_match),
        cmocka_unit_test(training_logits_match),
        cmocka_unit_test(logits_match_far_out),
        cmocka_unit_test(the_query_scale_shows_only_far_out),
        cmocka_unit_test(steps_match_and_agree),
        cmocka_unit_test(experts_are_quantised),
        cmocka_unit_test(greedy_answers_match),
        cmocka_unit_test(gradients_match),
        cmocka_unit_test(adapters_learn_and_merge),
        cmocka_unit_test(folders_come_back_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
