/* golden_test.c: the whole model against transformers and PyTorch: logits, losses, the gradient of
 * every parameter, ten AdamW updates, a greedy answer; for three small models (see
 * tests/golden/README.md). */
#include "base/mem.h"
#include "base/test.h"
#include "infer/stepper.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>

static const char *const cases[] = {"tied", "untied", "window"};

typedef struct {
    Model *model;
    Safetensors *golden;
} Case;

static void case_open(Case *c, const char *name)
{
    Error err;
    char path[1024];
    const char *source = getenv("BASTIDE_SOURCE");
    snprintf(path, sizeof path, "%s/tests/golden/llama/%s", source ? source : ".", name);
    assert_ok(model_load(&c->model, path, &err));
    strncat(path, "/golden.safetensors", sizeof path - strlen(path) - 1);
    assert_ok(safetensors_open(&c->golden, path, &err));
}

static void case_close(Case *c)
{
    model_free(c->model);
    safetensors_close(c->golden);
}

static const StTensor *tensor(const Case *c, const char *name)
{
    const StTensor *t = safetensors_find(c->golden, name);
    if (!t)
        fail_test("golden tensor %s is missing", name);
    return t;
}

static int32_t *integers(const Case *c, const char *name, uint32_t *count)
{
    const StTensor *t = tensor(c, name);
    int32_t *copy = mem_alloc(t->bytes / 4, 4);
    memcpy(copy, t->data, t->bytes);
    *count = (uint32_t)(t->bytes / 4);
    return copy;
}

static float *floats(const Case *c, const char *name, uint64_t *count)
{
    Error err;
    const StTensor *t = tensor(c, name);
    *count = t->bytes / st_dtype_info[t->dtype].bytes;
    float *copy = mem_alloc(*count, sizeof *copy);
    assert_ok(safetensors_to_f32(t, copy, *count, &err));
    return copy;
}

static double scalar(const Case *c, const char *name)
{
    uint64_t count;
    auto_free float *value = floats(c, name, &count);
    return (double)value[0];
}

static void compare(const char *what, const float *got, const float *want, uint64_t count,
                    double tolerance)
{
    for (uint64_t i = 0; i < count; i++) {
        if (!(fabs((double)got[i] - (double)want[i]) <= tolerance * (1 + fabs((double)want[i]))))
            fail_test("%s[%llu]: got %.8g, want %.8g", what, (unsigned long long)i, (double)got[i],
                      (double)want[i]);
    }
}

/* ---- inference: prefill in one step, in pieces, and greedy decoding ---- */

static Stepper *stepper_for(const Case *c)
{
    Error err;
    Stepper *s;
    StepperOptions options = {.threads = 2, .context = 64, .sequences = 2, .batch_tokens = 32,
                              .rows = 16};
    assert_ok(stepper_new(&s, c->model, &options, &err));
    return s;
}

static void logits_match(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < 3; k++) {
        Error err;
        Case c;
        uint32_t count;
        uint64_t elements;
        case_open(&c, cases[k]);
        Stepper *s = stepper_for(&c);
        auto_free int32_t *ids = integers(&c, "single.ids", &count);
        auto_free float *want = floats(&c, "single.logits", &elements);
        StepEntry entries[64];
        const float *logits;
        for (uint32_t i = 0; i < count; i++)
            entries[i] = (StepEntry){1, (int32_t)i, ids[i], true};
        assert_ok(stepper_run(s, entries, count, &logits, &err));
        compare(cases[k], logits, want, elements, 1e-4);
        auto_free float *whole = mem_alloc(elements, sizeof *whole);
        memcpy(whole, logits, elements * sizeof *whole);
        for (uint32_t i = 0; i < count; i++) { /* the same bits one at a time */
            entries[i].sequence = 0;
            assert_ok(stepper_run(s, entries + i, 1, &logits, &err));
            uint64_t vocab = elements / count;
            assert_memory_equal(logits, whole + i * vocab, vocab * sizeof *logits);
        }
        stepper_free(s);
        case_close(&c);
    }
}

static void greedy_answer_matches(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < 3; k++) {
        Error err;
        Case c;
        uint32_t prompt_count, count;
        case_open(&c, cases[k]);
        Stepper *s = stepper_for(&c);
        auto_free int32_t *prompt = integers(&c, "greedy.prompt", &prompt_count);
        auto_free int32_t *want = integers(&c, "greedy.answer", &count);
        const float *logits = NULL;
        for (uint32_t i = 0, last = prompt_count + count - 1; i < last; i++) {
            int32_t id = i < prompt_count ? prompt[i] : want[i - prompt_count];
            StepEntry entry = {0, (int32_t)i, id, true};
            assert_ok(stepper_run(s, &entry, 1, &logits, &err));
            if (i + 1 < prompt_count)
                continue;
            int32_t best = 0;
            for (int32_t v = 1; v < (int32_t)c.model->config.vocab; v++)
                best = logits[v] > logits[best] ? v : best;
            assert_int_equal(best, want[i + 1 - prompt_count]);
        }
        stepper_free(s);
        case_close(&c);
    }
}

/* ---- training ---- */

typedef struct {
    int32_t *ids, *pos, *start, *target;
    TrainBatch batch;
} Packed;

static void packed_open(Packed *p, const Case *c)
{
    uint32_t count;
    p->ids = integers(c, "packed.ids", &count);
    p->pos = integers(c, "packed.positions", &count);
    p->start = integers(c, "packed.start", &count);
    p->target = integers(c, "packed.targets", &count);
    p->batch = (TrainBatch){1, count, p->ids, p->pos, p->start, p->target, 0};
    for (uint32_t i = 0; i < count; i++) {
        p->target[i] = p->target[i] < 0 ? -1 : p->target[i];
        p->batch.targets += p->target[i] >= 0;
    }
}

static void packed_close(Packed *p)
{
    mem_free(p->ids);
    mem_free(p->pos);
    mem_free(p->start);
    mem_free(p->target);
}

static TrainerOptions training(const Packed *p, uint32_t threads, Recompute recompute)
{
    return (TrainerOptions){.row_tokens = p->batch.row_tokens, .threads = threads,
                            .recompute = recompute, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f,
                            .decay = 0.1f, .clip = 1};
}

static uint32_t compare_gradients(const Case *c, const Trainer *t)
{
    uint32_t compared = 0;
    for (uint32_t i = 0; i < safetensors_count(c->golden); i++) {
        const StTensor *want = safetensors_at(c->golden, i);
        if (strncmp(want->name, "gradient.", 9) != 0)
            continue;
        uint64_t count;
        auto_free float *values = floats(c, want->name, &count);
        const float *got = trainer_gradient(t, want->name + 9);
        if (!got)
            fail_test("no gradient for %s", want->name + 9);
        compare(want->name, got, values, count, 1e-5);
        compared++;
    }
    return compared;
}

static void gradients_match(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < 3; k++) {
        Error err;
        Case c;
        Packed p;
        case_open(&c, cases[k]);
        packed_open(&p, &c);
        for (uint32_t recompute = RECOMPUTE_NONE; recompute <= RECOMPUTE_LAYERS; recompute++) {
            Trainer *t;
            TrainerOptions options = training(&p, 2, (Recompute)recompute);
            double sum;
            assert_ok(trainer_new(&t, c.model, &options, &err));
            assert_ok(trainer_gradients(t, &p.batch, &sum, &err));
            assert_near(sum / (double)p.batch.targets, scalar(&c, "packed.loss"), 1e-5);
            assert_true(compare_gradients(&c, t) >= 8);
            trainer_free(t);
        }
        packed_close(&p);
        case_close(&c);
    }
}

static void ten_updates_match(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < 3; k++) {
        Error err;
        Case c;
        Packed p;
        uint64_t count;
        case_open(&c, cases[k]);
        packed_open(&p, &c);
        auto_free float *losses = floats(&c, "adamw.losses", &count);
        auto_free float *norms = floats(&c, "adamw.norms", &count);
        Trainer *t;
        TrainerOptions options = training(&p, 2, RECOMPUTE_NONE);
        assert_ok(trainer_new(&t, c.model, &options, &err));
        for (uint32_t i = 0; i < 10; i++) {
            TrainStep step;
            assert_ok(trainer_step(t, &p.batch, 3e-3, &step, &err));
            assert_near(step.loss, (double)losses[i], 1e-4);
            assert_near(step.norm, (double)norms[i], 1e-3 * (1 + (double)norms[i]));
        }
        double sum;
        assert_ok(trainer_loss(t, &p.batch, &sum, &err));
        assert_near(sum / (double)p.batch.targets, (double)losses[10], 1e-4);
        trainer_free(t);
        packed_close(&p);
        case_close(&c);
    }
}

/* Weights after three updates are the same bits for 1 and 2 threads, and with recompute. */
static void bits_do_not_depend_on_threads(void **state)
{
    (void)state;
    float *first = NULL;
    for (uint32_t variant = 0; variant < 5; variant++) {
        Error err;
        Case c;
        Packed p;
        case_open(&c, "tied");
        packed_open(&p, &c);
        Trainer *t;
        TrainerOptions options = training(&p, variant == 1 ? 2 : 1,
                                          variant < 2 ? RECOMPUTE_NONE : (Recompute)variant);
        assert_ok(trainer_new(&t, c.model, &options, &err));
        TrainStep step;
        for (uint32_t i = 0; i < 3; i++)
            assert_ok(trainer_step(t, &p.batch, 3e-3, &step, &err));
        uint64_t bytes = c.model->weights.elements * sizeof(float);
        if (!first) {
            first = mem_alloc(bytes, 1);
            memcpy(first, c.model->weights.slab, bytes);
        }
        assert_memory_equal(first, c.model->weights.slab, bytes);
        trainer_free(t);
        packed_close(&p);
        case_close(&c);
    }
    mem_free(first);
}

/* An adapter starts as nothing, learns while the base stays, and merges into what it computed. */
static void lora_learns_and_merges(void **state)
{
    (void)state;
    Error err;
    Case c;
    Packed p;
    case_open(&c, "tied");
    packed_open(&p, &c);
    TrainerOptions options = training(&p, 2, RECOMPUTE_NONE);
    options.lora_rank = 4;
    options.lora_alpha = 8;
    options.lora_targets = "q_proj,v_proj,mlp.up_proj";
    Trainer *t;
    assert_ok(trainer_new(&t, c.model, &options, &err));
    uint64_t bytes = c.model->weights.elements * sizeof(float);
    auto_free float *base = mem_alloc(bytes, 1);
    memcpy(base, c.model->weights.slab, bytes);
    double before, after, merged;
    assert_ok(trainer_loss(t, &p.batch, &before, &err));
    assert_near(before / (double)p.batch.targets, scalar(&c, "packed.loss"), 1e-5);
    TrainStep step;
    for (uint32_t i = 0; i < 20; i++)
        assert_ok(trainer_step(t, &p.batch, 1e-2, &step, &err));
    assert_memory_equal(base, c.model->weights.slab, bytes);
    assert_ok(trainer_loss(t, &p.batch, &after, &err));
    assert_true(after < 0.8 * before);
    trainer_merge(t);
    assert_ok(trainer_loss(t, &p.batch, &merged, &err));
    assert_near(merged, after, 1e-3);
    assert_memory_not_equal(base, c.model->weights.slab, bytes);
    trainer_free(t);
    packed_close(&p);
    case_close(&c);
}

static void a_saved_folder_loads_back_equal(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < 3; k++) {
        Error err;
        Case c;
        Model *again;
        char folder[] = "/tmp/bastide-model-XXXXXX";
        case_open(&c, cases[k]);
        assert_non_null(mkdtemp(folder));
        assert_ok(model_save(c.model, folder, &err));
        assert_ok(model_load(&again, folder, &err));
        assert_memory_equal(&again->config, &c.model->config, sizeof again->config);
        assert_ptr_equal(again->family, c.model->family);
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
        cmocka_unit_test(logits_match),
        cmocka_unit_test(greedy_answer_matches),
        cmocka_unit_test(gradients_match),
        cmocka_unit_test(ten_updates_match),
        cmocka_unit_test(bits_do_not_depend_on_threads),
        cmocka_unit_test(lora_learns_and_merges),
        cmocka_unit_test(a_saved_folder_loads_back_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
