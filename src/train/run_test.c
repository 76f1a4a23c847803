/* A run stopped and resumed, in every way there is, ends in the bits of one never stopped. */
#include "train/run.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/test.h"
#include "base/test_crash.h"
#include "train/checkpoint.h"

#include <math.h>

enum { T = 16, VOCAB = 23, STEPS = 12 };

static const ModelConfig config = {.layers = 1, .width = 8, .heads = 2, .kv_heads = 1,
                                   .head_width = 4, .ff_width = 16, .vocab = VOCAB, .context = 16,
                                   .eps = 1e-5f, .theta = 10000, .tied = true};

static char root[64]; /* a folder in memory where there is one */
static SampleSet train_set, valid_set;

static void fill_set(SampleSet *set, uint32_t count, uint64_t seed)
{
    Error err;
    int32_t ids[2 * T];
    RngKey key = rng_key(seed, "set");
    sample_set_init(set, 1 << 20);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t length = 2 + (uint32_t)rng_below(key, 1000 + i, 2 * T - 2);
        for (uint32_t k = 0; k < length; k++)
            ids[k] = (int32_t)((rng_below(key, i, VOCAB) + (uint64_t)k * (i % 3 + 1)) % VOCAB);
        assert_ok(sample_set_add(set, ids, NULL, length, &err));
    }
}

static RunOptions options_in(const char *folder)
{
    return (RunOptions){
        .folder = folder, .phase = "pretrain", .data_digest = "00ff", .too_long = PACK_SPLIT,
        .trainer = {.row_tokens = T, .threads = 1, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f,
                    .decay = 0.1f, .clip = 1},
        .rows = 2, .steps = STEPS, .schedule = "cosine", .rate = 1e-2, .warmup_share = 0.1,
        .floor_share = 0.1, .checkpoint_every = 3, .checkpoints_kept = 2, .evaluate_every = 4,
        .seed = 5, .resume = true};
}

static char *folder_named(const char *name, char out[128])
{
    Error err;
    snprintf(out, 128, "%s/%s", root, name);
    assert_ok(fs_remove_tree(out, &err));
    return out;
}

static Model *make(void)
{
    Error err;
    Model *model;
    assert_ok(model_new(&model, family_named("llama"), &config, NULL, NULL, "test", 7, &err));
    return model;
}

/* The newest checkpoint's file: weights, moments, counters. */
static void read_state(const char *folder, Buf *out)
{
    Error err;
    char path[256];
    uint64_t step;
    json_t *state;
    assert_ok(checkpoint_latest(folder, &step, &state, NULL, &err));
    json_decref(state);
    assert_int_equal(step, STEPS);
    snprintf(path, sizeof path, "%s/checkpoints/step-%08d/state.safetensors", folder, STEPS);
    buf_init(out, 1 << 20);
    assert_ok(fs_read(path, out, &err));
}

/* Two runs are the same: final state and every logged loss, of updates and evaluations. */
static void same_runs(const char *a, const char *b)
{
    Error err;
    auto_buf Buf x, y;
    static const char *const names[] = {"loss", "lr"};
    read_state(a, &x);
    read_state(b, &y);
    assert_int_equal(x.size, y.size);
    assert_memory_equal(x.data, y.data, x.size);
    for (EventKind kind = EVENT_STEP; kind <= EVENT_EVAL; kind++) {
        auto_curve Curve p = {0}, q = {0};
        uint32_t columns = kind == EVENT_STEP ? 2 : 1;
        assert_ok(events_read(&p, a, kind, names, columns, &err));
        assert_ok(events_read(&q, b, kind, names, columns, &err));
        assert_int_equal(p.count, q.count);
        assert_true(p.count == (kind == EVENT_STEP ? STEPS : STEPS / 4));
        assert_memory_equal(p.values, q.values, p.count * columns * sizeof *p.values);
        assert_memory_equal(p.steps, q.steps, p.count * sizeof *p.steps);
    }
}

/* The run never stopped, kept for all tests: packed, or in windows. */
static char *reference(bool windows, char out[128])
{
    Error err;
    RunResult result;
    folder_named(windows ? "whole-windows" : "whole", out);
    RunOptions o = options_in(out);
    o.windows = windows ? T / 2 : 0;
    Model *model = make();
    assert_ok(run_train(model, &train_set, &valid_set, &o, NULL, &result, &err));
    assert_int_equal(result.steps, STEPS);
    assert_true(isfinite(result.valid_loss) && result.loss < log(VOCAB));
    model_free(model);
    return out;
}

typedef struct {
    volatile sig_atomic_t stop;
    uint64_t at; /* the update after which to stop; 0: never */
} Stopper;

static void on_progress(void *user, const ProgressView *view)
{
    Stopper *s = user;
    s->stop = s->at && view->step % s->at == 0;
}

/* Stopped after every k-th update until it is done, threads alternating. */
static void test_stopped_runs_go_on(void **state)
{
    (void)state;
    char whole[128], folder[128];
    for (int windows = 0; windows < 2; windows++) {
        reference(windows, whole);
        for (uint64_t k = 1; k <= 5; k++) {
            RunOptions o = options_in(folder_named("stopped", folder));
            o.windows = windows ? T / 2 : 0;
            bool done = false;
            for (int session = 0; !done && session <= STEPS; session++) {
                Error err = {0};
                RunResult result;
                Stopper stopper = {.at = k};
                RunWatch watch = {.progress = on_progress, .user = &stopper,
                                  .stop = &stopper.stop};
                Model *model = make();
                o.trainer.threads = 1 + (uint32_t)session % 2;
                done = run_train(model, &train_set, &valid_set, &o, &watch, &result, &err);
                if (!done && err.code != ERR_CANCELLED)
                    fail_test("k %d: %s", (int)k, err.text);
                model_free(model);
            }
            assert_true(done);
            same_runs(whole, folder);
        }
    }
}

static void work(void *context)
{
    Error err;
    RunResult result;
    RunOptions o = options_in(context);
    Model *model = make();
    if (!run_train(model, &train_set, &valid_set, &o, NULL, &result, &err)) {
        fprintf(stderr, "%s\n", err.text);
        _exit(3);
    }
    model_free(model);
}

/* Killed, or power lost, at system calls all through the run, and again while resuming. */
static void test_crashed_runs_go_on(void **state)
{
    (void)state;
    char whole[128], folder[128];
    reference(false, whole);
    for (int64_t calls = 1; calls < 400; calls += 1 + calls / 7) {
        for (FsCrash how = FS_CRASH_KILL; how <= FS_CRASH_ALL; how++) {
            folder_named("crashed", folder);
            int status = crash_during(work, folder, calls, how, false);
            assert_true(status == CRASH_STATUS || status == 0);
            status = crash_during(work, folder, calls / 2 + 9, FS_CRASH_ALL, false);
            assert_true(status == CRASH_STATUS || status == 0);
            status = crash_during(work, folder, -1, FS_CRASH_KILL, false);
            assert_int_equal(status, 0);
            same_runs(whole, folder);
        }
    }
}

static void test_explosion_keeps_the_last_checkpoint(void **state)
{
    (void)state;
    Error err;
    char folder[128];
    RunResult result;
    RunOptions o = options_in(folder_named("explodes", folder));
    o.steps = 200;
    o.rate = 10;
    o.trainer.clip = 0;
    o.schedule = "constant";
    o.checkpoint_every = 1;
    Model *model = make();
    assert_fails(run_train(model, &train_set, NULL, &o, NULL, &result, &err), ERR_DIVERGED,
                 "lower the rate");
    model_free(model);
    uint64_t step;
    json_t *found;
    assert_ok(checkpoint_latest(folder, &step, &found, NULL, &err));
    json_decref(found);
    assert_true(step >= 1 && step < 200);
    auto_curve Curve warnings = {0};
    assert_ok(events_read(&warnings, folder, EVENT_WARNING, NULL, 0, &err));
    assert_int_equal(warnings.count, 1);
}

static void test_other_folders_are_refused(void **state)
{
    (void)state;
    Error err;
    char whole[128];
    RunResult result;
    Model *model = make();
    RunOptions o = options_in(reference(false, whole));
    o.resume = false;
    assert_fails(run_train(model, &train_set, &valid_set, &o, NULL, &result, &err), ERR_CONFLICT,
                 "say resume");
    o.resume = true;
    o.rate = 2e-2;
    assert_fails(run_train(model, &train_set, &valid_set, &o, NULL, &result, &err), ERR_CONFLICT,
                 "holds another run");
    o = options_in(whole);
    o.data_digest = "11";
    assert_fails(run_train(model, &train_set, &valid_set, &o, NULL, &result, &err), ERR_CONFLICT,
                 "holds another run");
    FsLock lock;
    char path[160];
    snprintf(path, sizeof path, "%s/lock", whole);
    assert_ok(fs_lock(path, &lock, &err));
    o = options_in(whole);
    assert_fails(run_train(model, &train_set, &valid_set, &o, NULL, &result, &err), ERR_CONFLICT,
                 "lock");
    fs_unlock(&lock);
    model_free(model);
}

/* The hint names a setting, and that setting does fit. */
static void test_memory_limit_names_what_fits(void **state)
{
    (void)state;
    Error err;
    char folder[128];
    RunPlan plan;
    Model *model = make();
    RunOptions o = options_in(folder_named("limit", folder));
    o.trainer.row_tokens = 128;
    o.trainer.recompute = RECOMPUTE_LAYERS;
    assert_ok(run_plan(model, &train_set, &o, &plan, &err));
    o.memory_limit = plan.memory.total;
    o.trainer.row_tokens = 512;
    o.trainer.recompute = RECOMPUTE_AUTO;
    assert_fails(run_plan(model, &train_set, &o, &plan, &err), ERR_LIMIT,
                 "train.recompute layers with train.row_tokens 128 would fit");
    o.trainer.row_tokens = 128;
    o.trainer.recompute = RECOMPUTE_LAYERS;
    assert_ok(run_plan(model, &train_set, &o, &plan, &err));
    o.memory_limit = plan.memory.weights;
    assert_fails(run_plan(model, &train_set, &o, &plan, &err), ERR_LIMIT, "a smaller model");
    assert_false(fs_exists(folder));
    model_free(model);
}

static void test_wrong_options_are_refused(void **state)
{
    (void)state;
    Error err;
    char folder[128];
    RunResult result;
    Model *model = make();
    RunOptions o = options_in(folder_named("wrong", folder));
    o.windows = 5;
    assert_fails(run_train(model, &train_set, NULL, &o, NULL, &result, &err), ERR_INPUT,
                 "windows of 5");
    o = options_in(folder);
    o.schedule = "cubic";
    assert_fails(run_train(model, &train_set, NULL, &o, NULL, &result, &err), ERR_INPUT, "cubic");
    o = options_in(folder);
    o.steps = 0;
    assert_fails(run_train(model, &train_set, NULL, &o, NULL, &result, &err), ERR_INPUT,
                 "at least 1 row");
    model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stopped_runs_go_on),
        cmocka_unit_test(test_crashed_runs_go_on),
        cmocka_unit_test(test_explosion_keeps_the_last_checkpoint),
        cmocka_unit_test(test_other_folders_are_refused),
        cmocka_unit_test(test_memory_limit_names_what_fits),
        cmocka_unit_test(test_wrong_options_are_refused),
    };
    if (!crash_folder(root))
        return 1;
    fill_set(&train_set, 40, 1);
    fill_set(&valid_set, 7, 2);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    Error err;
    sample_set_done(&train_set);
    sample_set_done(&valid_set);
    return !fs_remove_tree(root, &err) || failed;
}
