/* What is saved comes back, damage is seen and passed over, and what does not match is refused.
 * Crashes and failing calls: tests/fault/checkpoint_fault_test.c. */
#include "base/test.h"
#include "train/checkpoint.h"

#include <stdio.h>

static char run[64];

typedef struct {
    float weights[1000];
    double moments[77];
    uint8_t flags[3];
} State;

static void blobs_of(State *s, CheckpointBlob blobs[3])
{
    blobs[0] = (CheckpointBlob){"weights", ST_F32, s->weights, 1000};
    blobs[1] = (CheckpointBlob){"flags", ST_U8, s->flags, 3};
    blobs[2] = (CheckpointBlob){"adam.m", ST_F64, s->moments, 77};
}

static void fill(State *s, uint32_t seed)
{
    memset(s, 0, sizeof *s);
    for (int i = 0; i < 1000; i++)
        s->weights[i] = (float)(seed * 31u + (uint32_t)i) / 7.0f;
    for (int i = 0; i < 77; i++)
        s->moments[i] = seed + i / 3.0;
    memcpy(s->flags, &(uint32_t){seed}, 3);
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(run, sizeof run, "/tmp/bastide-run-XXXXXX");
    return mkdtemp(run) ? 0 : -1;
}

static int drop_folder(void **state)
{
    (void)state;
    Error err;
    return fs_remove_tree(run, &err) ? 0 : -1;
}

static void save(uint64_t step, uint32_t seed, uint32_t keep)
{
    Error err;
    State s;
    CheckpointBlob blobs[3];
    fill(&s, seed);
    blobs_of(&s, blobs);
    auto_json json_t *state = json_pack("{s:i, s:f}", "cursor", (int)seed, "best", 0.1);
    assert_ok(checkpoint_save(run, step, state, blobs, 3, keep, &err));
}

/* The newest is of this step and holds exactly what `seed` gave. */
static void expect(uint64_t want_step, uint32_t seed, uint32_t want_damaged)
{
    Error err;
    uint64_t step = 0;
    uint32_t damaged = 99;
    json_t *state = NULL;
    assert_ok(checkpoint_latest(run, &step, &state, &damaged, &err));
    assert_int_equal(step, want_step);
    assert_int_equal(damaged, want_damaged);
    assert_int_equal(json_integer_value(json_object_get(state, "cursor")), seed);
    assert_true(json_real_value(json_object_get(state, "best")) == 0.1);
    json_decref(state);
    State got, want;
    CheckpointBlob blobs[3];
    memset(&got, 0, sizeof got);
    fill(&want, seed);
    blobs_of(&got, blobs);
    assert_ok(checkpoint_load(run, step, blobs, 3, &err));
    assert_memory_equal(&got, &want, sizeof got);
}

static bool has(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/checkpoints/%s", run, name);
    return fs_exists(path);
}

static void flip(const char *name, size_t at)
{
    Error err;
    char path[256];
    snprintf(path, sizeof path, "%s/checkpoints/%s", run, name);
    auto_buf Buf buf;
    buf_init(&buf, 1 << 20);
    assert_ok(fs_read(path, &buf, &err));
    buf.data[at < buf.size ? at : buf.size - 1] ^= 1;
    assert_ok(fs_write(path, buf.data, buf.size, &err));
}

static void saved_comes_back_and_older_go(void **state)
{
    (void)state;
    Error err;
    uint64_t step;
    json_t *value;
    assert_fails(checkpoint_latest(run, &step, &value, NULL, &err), ERR_NOT_FOUND, "no valid");
    for (uint32_t i = 1; i <= 5; i++) {
        save(100 * i, i, 2);
        expect(100 * i, i, 0);
    }
    assert_true(has("step-00000500/state.json"));
    assert_true(has("step-00000400/state.json"));
    assert_false(has("step-00000300"));
    save(123456789012, 6, 0);
    expect(123456789012, 6, 0);
    assert_true(has("step-00000400"));
}

static void damage_is_passed_over(void **state)
{
    (void)state;
    save(1, 1, 0);
    save(2, 2, 0);
    save(3, 3, 0);
    save(4, 4, 0);
    flip("step-00000004/state.safetensors", 3000);
    expect(3, 3, 1);
    Error err;
    char path[256];
    snprintf(path, sizeof path, "%s/checkpoints/step-00000003/state.json", run);
    auto_buf Buf buf;
    buf_init(&buf, 1 << 20);
    assert_ok(fs_read(path, &buf, &err));
    char *cursor = strstr(buf.data, "\"cursor\": 3");
    assert_non_null(cursor);
    cursor[10] = '7'; /* valid JSON, another state */
    assert_ok(fs_write(path, buf.data, buf.size, &err));
    expect(2, 2, 2);
    snprintf(path, sizeof path, "%s/checkpoints/step-00000002/state.safetensors", run);
    assert_ok(fs_remove(path, &err));
    expect(1, 1, 3);
    save(3, 33, 0); /* a damaged one is replaced */
    expect(3, 33, 1);
    save(5, 5, 2); /* keeps itself and 4, which looks whole; the damaged 2 goes with the rest */
    assert_false(has("step-00000003"));
    expect(5, 5, 0);
}

static void same_step_is_replaced(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 4; seed++) {
        save(7, seed, 1);
        expect(7, seed, 0);
        assert_int_equal(has("step-00000007/state.safetensors"), seed % 2);
        assert_int_equal(has("step-00000007/state-1.safetensors"), (seed + 1) % 2);
    }
}

static void mismatches_leave_memory_alone(void **state)
{
    (void)state;
    Error err;
    save(1, 1, 0);
    State got, zero;
    memset(&got, 0, sizeof got);
    memset(&zero, 0, sizeof zero);
    CheckpointBlob blobs[3];
    blobs_of(&got, blobs);
    assert_fails(checkpoint_load(run, 2, blobs, 3, &err), ERR_NOT_FOUND, "step-00000002");
    assert_fails(checkpoint_load(run, 1, blobs, 2, &err), ERR_FORMAT, "3 blobs, this run has 2");
    blobs[2].count = 76;
    assert_fails(checkpoint_load(run, 1, blobs, 3, &err), ERR_FORMAT, "has 77 of F64");
    blobs[2].count = 77;
    blobs[2].name = "adam.v";
    assert_fails(checkpoint_load(run, 1, blobs, 3, &err), ERR_FORMAT, "no blob 'adam.v'");
    blobs[2] = blobs[1];
    assert_fails(checkpoint_load(run, 1, blobs, 3, &err), ERR_INTERNAL, "twice");
    blobs_of(&got, blobs);
    blobs[0].dtype = ST_I32;
    assert_fails(checkpoint_load(run, 1, blobs, 3, &err), ERR_FORMAT, "1000 of I32");
    assert_memory_equal(&got, &zero, sizeof got);
}

static void no_room_is_said_before_anything_moves(void **state)
{
    (void)state;
    Error err;
    save(1, 1, 0);
    CheckpointBlob huge = {"weights", ST_F32, NULL, (uint64_t)1 << 50};
    assert_fails(checkpoint_save(run, 2, NULL, &huge, 1, 1, &err), ERR_LIMIT, "MiB free");
    huge.count = UINT64_MAX / 2;
    assert_fails(checkpoint_save(run, 2, NULL, &huge, 1, 1, &err), ERR_LIMIT, "too large");
    assert_false(has("step-00000002"));
    expect(1, 1, 0);
}

static void strangers_in_the_folder_are_left(void **state)
{
    (void)state;
    Error err;
    static const char *const names[] = {"step-5", "step-00000009x", "notes", "step--0000001",
                                        "step-99999999999999999999999"};
    for (int i = 0; i < 5; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/checkpoints/%s", run, names[i]);
        assert_ok(fs_make_dirs(path, &err));
    }
    save(3, 3, 1);
    expect(3, 3, 0);
    for (int i = 0; i < 5; i++)
        assert_true(has(names[i]));
}

int main(void)
{
#define RUN_TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, drop_folder)
    const struct CMUnitTest tests[] = {
        RUN_TEST(saved_comes_back_and_older_go),
        RUN_TEST(damage_is_passed_over),
        RUN_TEST(same_step_is_replaced),
        RUN_TEST(mismatches_leave_memory_alone),
        RUN_TEST(no_room_is_said_before_anything_moves),
        RUN_TEST(strangers_in_the_folder_are_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
