/* A whole run, in small: packed rows feed "weights", with events, evaluations and checkpoints. It
 * is stopped at every system call in every way, and started again until it ends: its weights must
 * then be those of a run never stopped, to the bit, and its log the same but for times. */
#include "base/test.h"
#include "base/test_crash.h"
#include "train/checkpoint.h"
#include "train/events.h"
#include "train/packing.h"
#include "train/schedule.h"

#include <errno.h>
#include <stdio.h>

enum { STEPS = 6, T = 32, ITEMS = 64, CALLS_MAX = 300 };

static char run[64];
static SampleSet samples;

typedef struct {
    double weights[ITEMS];
    Packer *packer;
    Events events;
    uint64_t step;
} Run;

static void init_weights(Run *r)
{
    for (int i = 0; i < ITEMS; i++)
        r->weights[i] = i;
}

/* One update: depends on the rows, the rate and all that came before. */
static bool train_step(Run *r, Error *err)
{
    static int32_t ids[T], targets[T], positions[T], starts[T];
    const PackRows rows = {ids, targets, positions, starts};
    const Schedule schedule = {schedule_named("cosine"), 0.1, STEPS, 2, 0.1, 0};
    PackCounts counts;
    packing_next(r->packer, 1, &rows, &counts);
    double rate = schedule_rate(&schedule, r->step), loss = 0;
    for (int t = 0; t < T; t++) {
        double *w = &r->weights[(ids[t] + 7 * targets[t] + T) % ITEMS];
        *w = *w * (1 - rate) + rate * targets[t] / 3.0;
        loss += *w;
    }
    r->step++;
    const EventNumber numbers[] = {{"loss", loss}, {"lr", rate}};
    if (!events_add(&r->events, EVENT_STEP, r->step, numbers, 2, NULL, err))
        return false;
    if (r->step % 2)
        return true;
    PackCursor c = packing_cursor(r->packer);
    CheckpointBlob blob = {"weights", ST_F64, r->weights, ITEMS};
    auto_json json_t *state =
        json_pack("{s:I, s:I, s:I}", "epoch", (json_int_t)c.epoch, "index", (json_int_t)c.index,
                  "placed", (json_int_t)c.placed);
    if (!state)
        return fail(err, ERR_MEMORY, "no memory");
    return events_add(&r->events, EVENT_EVAL, r->step, numbers, 1, NULL, err) &&
           events_add(&r->events, EVENT_CHECKPOINT, r->step, NULL, 0, NULL, err) &&
           checkpoint_save(run, r->step, state, &blob, 1, 2, err);
}

static uint64_t number_of(const json_t *state, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(state, key));
}

/* Goes on from the newest checkpoint, or begins. */
static bool resume(Run *r, Error *err)
{
    auto_json json_t *state = NULL;
    init_weights(r);
    if (!checkpoint_latest(run, &r->step, &state, NULL, err))
        return err->code == ERR_NOT_FOUND && events_resume(run, -1, err);
    const PackCursor cursor = {number_of(state, "epoch"), number_of(state, "index"),
                               number_of(state, "placed")};
    CheckpointBlob blob = {"weights", ST_F64, r->weights, ITEMS};
    return checkpoint_load(run, r->step, &blob, 1, err) &&
           packing_seek(r->packer, cursor, err) && events_resume(run, (int64_t)r->step, err);
}

static bool train(Run *r, Error *err)
{
    *r = (Run){.events.log.fd = -1};
    const PackOptions options = {.row_tokens = T, .too_long = PACK_SPLIT, .seed = 1};
    bool ok = packing_new(&r->packer, &samples, &options, err) && resume(r, err) &&
              events_open(&r->events, run, err);
    while (ok && r->step < STEPS)
        ok = train_step(r, err);
    ok = ok && events_add(&r->events, EVENT_END, r->step, NULL, 0, NULL, err);
    events_close(&r->events);
    packing_free(r->packer);
    return ok;
}

static void train_in_child(void *unused)
{
    (void)unused;
    Run r;
    Error err;
    if (!train(&r, &err))
        _exit(99);
}

/* True: crashed; false: ended. Nothing else may have happened. */
static bool did_crash(int status)
{
    if (status != 0 && status != CRASH_STATUS)
        fail_test("the child exited with %d", status);
    return status == CRASH_STATUS;
}

/* The log with every "t" blanked. */
static void read_log(Buf *out)
{
    Error err;
    char path[128];
    snprintf(path, sizeof path, "%s/events.jsonl", run);
    buf_init(out, 1 << 20);
    assert_ok(fs_read(path, out, &err));
    for (char *at = out->data; (at = strstr(at, "{\"t\":")) != NULL;) {
        for (at += 5; *at >= '0' && *at <= '9'; at++)
            *at = '0';
    }
}

static void empty_run(void)
{
    Error err;
    assert_ok(fs_remove_tree(run, &err));
    assert_ok(fs_make_dirs(run, &err));
}

static double golden_weights[ITEMS];
static Buf golden_log;

static void run_never_stopped(void **state)
{
    (void)state;
    Error err;
    Run r;
    empty_run();
    assert_ok(train(&r, &err));
    memcpy(golden_weights, r.weights, sizeof golden_weights);
    read_log(&golden_log);
}

static void ends_like_golden(void)
{
    Error err;
    Run r;
    assert_ok(train(&r, &err));
    assert_memory_equal(r.weights, golden_weights, sizeof golden_weights);
    auto_buf Buf log;
    read_log(&log);
    assert_string_equal(log.data, golden_log.data);
}

static void stopped_anywhere(void **state)
{
    (void)state;
    for (int how = FS_CRASH_KILL; how <= FS_CRASH_ALL; how++) {
        int n = 0;
        for (bool crashed = true; crashed; n++) {
            empty_run();
            crashed = did_crash(crash_during(train_in_child, NULL, n, (FsCrash)how, false));
            ends_like_golden();
            assert_in_range(n, 0, CALLS_MAX);
        }
        print_message("kind %d: stopped at each of %d calls\n", how, n - 1);
    }
}

/* Power that fails again and again, each time a little further on. */
static void stopped_over_and_over(void **state)
{
    (void)state;
    empty_run();
    int crashes = 0;
    for (int n = 5; did_crash(crash_during(train_in_child, NULL, n, FS_CRASH_ALL, false)); n += 3)
        crashes++;
    assert_in_range(crashes, 5, 100);
    ends_like_golden();
}

static void calls_fail_anywhere(void **state)
{
    (void)state;
    static const int numbers[] = {ENOSPC, EIO};
    for (int k = 0; k < 2; k++) {
        bool done = false;
        for (int n = 0; !done; n++) {
            Run r;
            Error err;
            empty_run();
            uint64_t before = fs_call_count();
            fs_fail_after(n, numbers[k]);
            bool ended = train(&r, &err);
            fs_fail_after(-1, 0);
            done = fs_call_count() - before <= (uint64_t)n;
            assert_true(ended || !done);
            ends_like_golden();
            assert_in_range(n, 0, CALLS_MAX);
        }
    }
}

static int setup(void **state)
{
    (void)state;
    Error err;
    sample_set_init(&samples, 10000);
    for (int s = 0; s < 12; s++) {
        int32_t ids[40];
        for (int i = 0; i < 40; i++)
            ids[i] = (s * 37 + i * i) % 50;
        if (!sample_set_add(&samples, ids, NULL, 5 + 3 * (uint64_t)s, &err))
            return -1;
    }
    return crash_folder(run) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    Error err;
    sample_set_done(&samples);
    buf_done(&golden_log);
    return fs_remove_tree(run, &err) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_never_stopped),
        cmocka_unit_test(stopped_anywhere),
        cmocka_unit_test(stopped_over_and_over),
        cmocka_unit_test(calls_fail_anywhere),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
