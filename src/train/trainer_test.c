/* The trainer against itself: the same documents in other batches, with other memory, other
 * threads, must give the same gradients. Against an independent model: tests/oracle_test.c. */
#include "train/trainer.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/test.h"

#include <math.h>

enum { T = 24, ROWS = 2, VOCAB = 29 };

static const ModelConfig config = {.layers = 3, .width = 16, .heads = 4, .kv_heads = 2,
                                   .head_width = 4, .ff_width = 24, .vocab = VOCAB, .context = 64,
                                   .eps = 1e-5f, .theta = 10000, .tied = true};

typedef struct {
    int32_t ids[ROWS * T], pos[ROWS * T], start[ROWS * T], target[ROWS * T];
    uint64_t targets;
} Rows;

static Model *make(const ModelConfig *c)
{
    Error err;
    Model *model;
    assert_ok(model_new(&model, family_named("llama"), c, NULL, NULL, "test", 7, &err));
    return model;
}

static Trainer *open_trainer(Model *model, TrainerOptions o)
{
    Error err;
    Trainer *trainer;
    o.beta1 = 0.9f;
    o.beta2 = 0.95f;
    o.eps = 1e-8f;
    assert_ok(trainer_new(&trainer, model, &o, &err));
    return trainer;
}

/* Document `seed` of `length` positions at `at`; the first third is not trained. */
static void put(Rows *r, uint32_t at, uint32_t length, uint64_t seed)
{
    RngKey key = rng_key(seed, "document");
    uint32_t start = at % T;
    for (uint32_t i = 0; i < length; i++) {
        r->ids[at + i] = (int32_t)rng_below(key, i, VOCAB);
        r->target[at + i] = i < length / 3 ? -1 : (int32_t)rng_below(key, i + 1, VOCAB);
        r->pos[at + i] = (int32_t)i;
        r->start[at + i] = (int32_t)start;
        r->targets += r->target[at + i] >= 0;
    }
}

/* `token` in the unused tail must not matter. */
static void pad(Rows *r, uint32_t at, uint32_t end, int32_t token)
{
    for (; at < end; at++) {
        r->ids[at] = token;
        r->target[at] = -1;
        r->pos[at] = 0;
        r->start[at] = (int32_t)(at % T);
    }
}

static TrainBatch batch_of(const Rows *r, uint32_t rows)
{
    return (TrainBatch){rows, T, r->ids, r->pos, r->start, r->target, r->targets};
}

static double compare(const Model *model, const Trainer *a, const Trainer *b)
{
    double worst = 0;
    for (uint32_t i = 0; i < model->weights.count; i++) {
        const ParamInfo *p = &model->weights.params[i];
        const float *x = trainer_gradient(a, p->name), *y = trainer_gradient(b, p->name);
        for (uint64_t k = 0; k < shape_count(p->shape); k++)
            worst = fmax(worst, fabs((double)x[k] - (double)y[k]));
    }
    return worst;
}

/* Two documents of unequal length: in two rows, in one row, and with garbage behind them. */
static void test_batches_are_sums(void **state)
{
    (void)state;
    Error err;
    static Rows two, one, dirty;
    put(&two, 0, 13, 1), pad(&two, 13, T, 0);
    put(&two, T, 8, 2), pad(&two, T + 8, 2 * T, 0);
    put(&dirty, 0, 13, 1), pad(&dirty, 13, T, 5);
    put(&dirty, T, 8, 2), pad(&dirty, T + 8, 2 * T, 6);
    put(&one, 0, 13, 1), put(&one, 13, 8, 2), pad(&one, 21, T, 0);
    Model *model = make(&config);
    Trainer *a = open_trainer(model, (TrainerOptions){.row_tokens = T, .threads = 1});
    Trainer *b = open_trainer(model, (TrainerOptions){.row_tokens = T, .threads = 2});
    double sum_two, sum_one, sum_dirty, sum_loss;
    TrainBatch batch_two = batch_of(&two, 2), batch_one = batch_of(&one, 1);
    TrainBatch batch_dirty = batch_of(&dirty, 2);
    assert_ok(trainer_gradients(a, &batch_two, &sum_two, &err));
    assert_ok(trainer_gradients(b, &batch_one, &sum_one, &err));
    assert_near(sum_one, sum_two, 1e-4);
    assert_near(compare(model, a, b), 0, 1e-6);
    assert_ok(trainer_gradients(b, &batch_dirty, &sum_dirty, &err));
    assert_true(sum_dirty == sum_two);
    assert_true(compare(model, a, b) == 0); /* other garbage, other threads: the same bits */
    assert_ok(trainer_loss(a, &batch_two, &sum_loss, &err));
    assert_near(sum_loss, sum_two, 1e-4);
    trainer_free(a);
    trainer_free(b);
    model_free(model);
}

static void test_loss_begins_at_chance(void **state)
{
    (void)state;
    Error err;
    static Rows rows;
    double sum;
    ModelConfig untied = config;
    untied.tied = false;
    put(&rows, 0, T, 3);
    TrainBatch batch = batch_of(&rows, 1);
    Model *model = make(&untied);
    Trainer *trainer = open_trainer(model, (TrainerOptions){.row_tokens = T, .threads = 1});
    assert_ok(trainer_loss(trainer, &batch, &sum, &err));
    assert_near(sum / (double)rows.targets, log(VOCAB), 0.02);
    trainer_free(trainer);
    model_free(model);
}

static void test_steps_learn_and_allocate_nothing(void **state)
{
    (void)state;
    Error err;
    static Rows rows;
    TrainStep first, step;
    put(&rows, 0, T, 4);
    TrainBatch batch = batch_of(&rows, 1);
    Model *model = make(&config);
    Trainer *t = open_trainer(model, (TrainerOptions){.row_tokens = T, .threads = 2, .clip = 1});
    assert_ok(trainer_step(t, &batch, 1e-2, &first, &err));
    uint64_t before = mem_count();
    for (int i = 0; i < 60; i++)
        assert_ok(trainer_step(t, &batch, 1e-2, &step, &err));
    assert_int_equal(mem_count(), before);
    assert_int_equal(trainer_steps(t), 61);
    assert_true(step.loss < first.loss / 2);
    trainer_free(t);
    model_free(model);
}

static void test_no_number_is_no_update(void **state)
{
    (void)state;
    Error err;
    static Rows rows;
    TrainStep step;
    put(&rows, 0, T, 5);
    TrainBatch batch = batch_of(&rows, 1);
    Model *model = make(&config);
    Trainer *t = open_trainer(model, (TrainerOptions){.row_tokens = T, .threads = 1});
    size_t bytes = model->weights.elements * sizeof(float);
    model->weights.slab[0] = NAN; /* of the tied embedding: in every logit */
    auto_free float *copy = mem_alloc(1, bytes);
    memcpy(copy, model->weights.slab, bytes);
    assert_fails(trainer_step(t, &batch, 1e-2, &step, &err), ERR_DIVERGED, "lower the rate");
    assert_memory_equal(copy, model->weights.slab, bytes);
    assert_int_equal(trainer_steps(t), 0);
    model->weights.slab[0] = 0.01f; /* healed: nothing of the failed step is left */
    assert_ok(trainer_step(t, &batch, 1e-2, &step, &err));
    assert_true(isfinite(step.norm));
    rows.targets = 0;
    batch = batch_of(&rows, 1);
    assert_fails(trainer_step(t, &batch, 1e-2, &step, &err), ERR_INPUT, "no token to learn from");
    trainer_free(t);
    model_free(model);
}

static void test_recompute_saves_memory_not_bits(void **state)
{
    (void)state;
    Error err;
    static Rows rows;
    double x, y;
    put(&rows, 0, T, 6);
    TrainBatch batch = batch_of(&rows, 1);
    ModelConfig deep = config;
    deep.layers = 8;
    Model *model = make(&deep);
    Trainer *a = open_trainer(model, (TrainerOptions){.row_tokens = T, .threads = 1});
    assert_ok(trainer_gradients(a, &batch, &x, &err));
    uint64_t before = trainer_memory(a)->activations;
    assert_int_equal(trainer_memory(a)->recompute, RECOMPUTE_NONE); /* little: none is needed */
    for (uint32_t what = RECOMPUTE_CHEAP; what <= RECOMPUTE_LAYERS; what++) {
        Trainer *b = open_trainer(model, (TrainerOptions){.row_tokens = T, .threads = 1,
                                                          .recompute = (Recompute)what});
        if (trainer_memory(b)->activations >= before)
            fail_test("%s: %llu bytes, not below %llu", recompute_names[what],
                      (unsigned long long)trainer_memory(b)->activations,
                      (unsigned long long)before);
        before = trainer_memory(b)->activations;
        assert_ok(trainer_gradients(b, &batch, &y, &err));
        assert_true(x == y);
        assert_true(compare(model, a, b) == 0);
        trainer_free(b);
    }
    trainer_free(a);
    model_free(model);
}

static void test_plan_is_what_is_taken(void **state)
{
    (void)state;
    Error err;
    TrainerMemory plan, longer, adapted;
    const Family *family = family_named("llama");
    TrainerOptions o = {.row_tokens = T, .threads = 1};
    Model *model = make(&config);
    Trainer *t = open_trainer(model, o);
    assert_ok(trainer_plan(family, &config, &o, &plan, &err));
    assert_memory_equal(&plan, trainer_memory(t), sizeof plan);
    assert_int_equal(plan.total, plan.weights + plan.gradients + plan.optimiser + plan.activations);
    assert_int_equal(plan.trainable, model_parameters(model));
    o.row_tokens = 2 * T;
    assert_ok(trainer_plan(family, &config, &o, &longer, &err));
    assert_true(longer.activations > plan.activations && longer.weights == plan.weights);
    o = (TrainerOptions){.row_tokens = T, .threads = 1, .lora_rank = 2, .lora_alpha = 4,
                         .lora_targets = "q_proj"};
    assert_ok(trainer_plan(family, &config, &o, &adapted, &err));
    assert_true(adapted.optimiser < plan.optimiser && adapted.weights > plan.weights);
    trainer_free(t);
    model_free(model);
}

/* After a merge the plain model has the loss that the adapted one had. */
static void test_adapters_merge(void **state)
{
    (void)state;
    Error err;
    static Rows rows;
    TrainStep first, step;
    double adapted, merged;
    put(&rows, 0, T, 8);
    TrainBatch batch = batch_of(&rows, 1);
    Model *model = make(&config);
    Trainer *t = open_trainer(model, (TrainerOptions){.row_tokens = T, .threads = 1,
                                                      .lora_rank = 2, .lora_alpha = 4,
                                                      .lora_targets = "q_proj,up_proj"});
    assert_ok(trainer_step(t, &batch, 1e-2, &first, &err));
    for (int i = 0; i < 40; i++)
        assert_ok(trainer_step(t, &batch, 1e-2, &step, &err));
    assert_true(step.loss < first.loss);
    assert_ok(trainer_loss(t, &batch, &adapted, &err));
    trainer_merge(t);
    assert_ok(trainer_loss(t, &batch, &merged, &err));
    assert_near(merged, adapted, 1e-3);
    trainer_free(t);
    t = open_trainer(model, (TrainerOptions){.row_tokens = T, .threads = 1});
    assert_ok(trainer_loss(t, &batch, &merged, &err));
    assert_near(merged, adapted, 1e-3);
    trainer_free(t);
    model_free(model);
}

/* Every allocation of opening fails once; nothing leaks (under the sanitizer) and each says why. */
static void test_no_memory_is_an_error(void **state)
{
    (void)state;
    Model *model = make(&config);
    bool ok = false;
    for (int64_t n = 0; !ok && n < 2000; n++) {
        Error err = {0};
        Trainer *t = NULL;
        TrainerOptions o = {.row_tokens = T, .threads = 1, .lora_rank = 2, .lora_alpha = 4,
                            .lora_targets = "q_proj"};
        mem_fail_after(n);
        ok = trainer_new(&t, model, &o, &err);
        mem_fail_after(-1);
        if (!ok && err.code != ERR_MEMORY)
            fail_test("allocation %d: code %d, \"%s\"", (int)n, (int)err.code, err.text);
        trainer_free(t);
    }
    assert_true(ok);
    model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches_are_sums),
        cmocka_unit_test(test_loss_begins_at_chance),
        cmocka_unit_test(test_steps_learn_and_allocate_nothing),
        cmocka_unit_test(test_no_number_is_no_update),
        cmocka_unit_test(test_recompute_saves_memory_not_bits),
        cmocka_unit_test(test_plan_is_what_is_taken),
        cmocka_unit_test(test_adapters_merge),
        cmocka_unit_test(test_no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
