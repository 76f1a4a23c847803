/* A run is stopped at every system call of a save, in every way a machine can stop it, and must
 * find the checkpoint before or the new one, bit-exact, and be able to go on. */
#include "base/mem.h"
#include "base/test.h"
#include "base/test_crash.h"
#include "train/checkpoint.h"

#include <errno.h>
#include <stdio.h>

enum { ITEMS = 40000 }; /* 160 kB: more than the writer's buffer */

static char run[64];
static float weights[ITEMS], moments[ITEMS];
static const CheckpointBlob blobs[] = {{"weights", ST_F32, weights, ITEMS},
                                       {"moments", ST_F32, moments, ITEMS}};

typedef struct {
    uint64_t step;
    uint32_t seed;
} Save;

static float value_of(uint32_t seed, int i)
{
    return (float)((uint32_t)i * 2654435761u + seed) * 0x1p-30f;
}

static void fill(uint32_t seed)
{
    for (int i = 0; i < ITEMS; i++) {
        weights[i] = value_of(seed, i);
        moments[i] = value_of(seed + 1000, i);
    }
}

static bool save(const Save *what, Error *err)
{
    fill(what->seed);
    auto_json json_t *state = json_pack("{s:i}", "seed", (int)what->seed);
    return state ? checkpoint_save(run, what->step, state, blobs, 2, 1, err)
                 : fail(err, ERR_MEMORY, "no memory");
}

static void save_in_child(void *what)
{
    Error err;
    if (!save(what, &err))
        _exit(99);
}

/* True: crashed; false: ended. Nothing else may have happened. */
static bool did_crash(int status)
{
    if (status != 0 && status != CRASH_STATUS)
        fail_test("the child exited with %d", status);
    return status == CRASH_STATUS;
}

/* An empty run folder with one checkpoint. */
static void start_over(const Save *first)
{
    Error err;
    assert_ok(fs_remove_tree(run, &err));
    assert_ok(fs_make_dirs(run, &err));
    assert_ok(save(first, &err));
}

/* The newest checkpoint, checked bit by bit; returns its seed. */
static uint32_t newest(const Save *a, const Save *b)
{
    Error err;
    uint64_t step = 0;
    json_t *state = NULL;
    assert_ok(checkpoint_latest(run, &step, &state, NULL, &err));
    uint32_t seed = (uint32_t)json_integer_value(json_object_get(state, "seed"));
    json_decref(state);
    if (!(step == a->step && seed == a->seed) && !(step == b->step && seed == b->seed))
        fail_test("step %d with seed %u is neither", (int)step, seed);
    memset(weights, 0xff, sizeof weights);
    memset(moments, 0xff, sizeof moments);
    assert_ok(checkpoint_load(run, step, blobs, 2, &err));
    for (int i = 0; i < ITEMS; i++) {
        if (weights[i] != value_of(seed, i) || moments[i] != value_of(seed + 1000, i))
            fail_test("item %d of seed %u differs", i, seed);
    }
    return seed;
}

static bool count_entry(void *user, const char *name, Error *err)
{
    (void)name;
    (void)err;
    ++*(int *)user;
    return true;
}

/* A stopped run goes on: the next save works and sweeps up what the stop left. */
static void goes_on(void)
{
    Error err;
    const Save third = {30, 333};
    char folder[128];
    int entries = 0;
    assert_ok(save(&third, &err));
    assert_int_equal(newest(&third, &third), 333);
    snprintf(folder, sizeof folder, "%s/checkpoints", run);
    assert_ok(fs_list(folder, count_entry, &entries, &err));
    assert_int_equal(entries, 1);
    entries = 0;
    snprintf(folder, sizeof folder, "%s/checkpoints/step-00000030", run);
    assert_ok(fs_list(folder, count_entry, &entries, &err));
    assert_int_equal(entries, 2);
}

static void crash_everywhere(const Save *first, const Save *second)
{
    void *work = (void *)(uintptr_t)second; /* only read */
    for (int how = FS_CRASH_KILL; how <= FS_CRASH_ALL; how++) {
        int olds = 0, n = 0;
        for (bool crashed = true; crashed; n++) {
            start_over(first);
            crashed = did_crash(crash_during(save_in_child, work, n, (FsCrash)how, false));
            uint32_t seed = newest(first, second);
            assert_true(crashed || seed == second->seed);
            olds += seed == first->seed;
            goes_on();
            assert_in_range(n, 0, 200);
        }
        print_message("kind %d: %d calls, old after %d of them\n", how, n - 1, olds);
        assert_in_range(olds, 10, n - 1); /* both outcomes were seen */
        start_over(first);
        assert_true(did_crash(crash_during(save_in_child, work, 1000, (FsCrash)how, true)));
        assert_int_equal(newest(first, second), second->seed);
    }
}

static void fail_everywhere(const Save *first, const Save *second)
{
    static const int numbers[] = {ENOSPC, EIO};
    Error err;
    for (int k = 0; k < 2; k++) {
        bool reached = false;
        for (int n = 0; !reached; n++) {
            start_over(first);
            uint64_t before = fs_call_count();
            fs_fail_after(n, numbers[k]);
            bool saved = save(second, &err);
            fs_fail_after(-1, 0);
            reached = fs_call_count() - before <= (uint64_t)n; /* nothing was left to fail */
            uint32_t seed = newest(first, second);
            assert_true(!saved || seed == second->seed);
            goes_on();
            assert_in_range(n, 0, 200);
        }
    }
}

static const Save first = {10, 1}, second = {20, 2}, again = {10, 3};

static void crashes(void **state)
{
    (void)state;
    crash_everywhere(&first, &second);
}

static void crashes_replacing_a_step(void **state)
{
    (void)state;
    crash_everywhere(&first, &again);
}

static void failing_calls(void **state)
{
    (void)state;
    fail_everywhere(&first, &second);
    fail_everywhere(&first, &again);
}

static void failing_allocations_of_save(void **state)
{
    (void)state;
    Error err;
    for (int k = 0; k < 2; k++) {
        const Save *next = k ? &again : &second;
        bool reached = false;
        for (int n = 0; !reached; n++) {
            start_over(&first);
            uint64_t before = mem_count();
            mem_fail_after(n);
            bool saved = save(next, &err);
            mem_fail_after(-1);
            reached = mem_count() - before <= (uint64_t)n;
            uint32_t seed = newest(&first, next);
            assert_true(!saved || seed == next->seed);
            assert_in_range(n, 0, 1000);
        }
    }
}

/* Without memory: an error that says so, or a valid checkpoint. (The JSON parser reports some
 * failed allocations as a wrong format; then the older one is given, and counted.) */
static void failing_allocations_of_latest_and_load(void **state)
{
    (void)state;
    Error err;
    start_over(&first);
    assert_true(checkpoint_save(run, 20, NULL, blobs, 2, 0, &err));
    bool done = false;
    for (int n = 0; !done; n++) {
        uint64_t step = 0, before = mem_count();
        json_t *value = NULL;
        uint32_t damaged = 9;
        mem_fail_after(n);
        bool found = checkpoint_latest(run, &step, &value, &damaged, &err);
        mem_fail_after(-1);
        done = mem_count() - before <= (uint64_t)n;
        if (found)
            assert_int_equal(step, damaged ? 10 : 20);
        else
            assert_true(err.code == ERR_MEMORY || err.code == ERR_LIMIT);
        assert_true(!done || (found && damaged == 0));
        json_decref(value);
    }
    done = false;
    for (int n = 0; !done; n++) {
        weights[0] = -77;
        mem_fail_after(n);
        done = checkpoint_load(run, 20, blobs, 2, &err);
        mem_fail_after(-1);
        assert_true(done == (weights[0] != -77));
    }
    done = false;
    for (int n = 0; !done; n++) {
        weights[0] = -77;
        fs_fail_after(n, EIO);
        done = checkpoint_load(run, 20, blobs, 2, &err);
        fs_fail_after(-1, 0);
        assert_true(done == (weights[0] != -77));
    }
}

static int make_folder(void **state)
{
    (void)state;
    return crash_folder(run) ? 0 : -1;
}

static int drop_folder(void **state)
{
    (void)state;
    Error err;
    return fs_remove_tree(run, &err) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crashes),
        cmocka_unit_test(crashes_replacing_a_step),
        cmocka_unit_test(failing_calls),
        cmocka_unit_test(failing_allocations_of_save),
        cmocka_unit_test(failing_allocations_of_latest_and_load),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
