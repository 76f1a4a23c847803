#include "base/mem.h"
#include "base/test.h"
#include "train/samples.h"

static void samples_stand_one_after_the_other(void **state)
{
    (void)state;
    Error err;
    auto_samples SampleSet set;
    sample_set_init(&set, 1 << 16);
    uint64_t used = 0;
    for (int32_t s = 0; s < 300; s++) {
        int32_t ids[300], marks[300];
        for (int32_t i = 0; i < s; i++) {
            ids[i] = s * 1000 + i;
            marks[i] = i % 3 == 0;
        }
        assert_ok(sample_set_add(&set, ids, s % 2 ? marks : NULL, (uint64_t)s, &err));
        used += (uint64_t)s;
    }
    assert_int_equal(set.count, 300);
    assert_int_equal(set.used, used);
    for (uint32_t s = 0; s < 300; s++) {
        assert_int_equal(set.starts[s + 1] - set.starts[s], s);
        for (uint32_t i = 0; i < s; i++) {
            uint32_t mark = s % 2 == 0 || i % 3 == 0 ? SAMPLE_TRAINED : 0;
            assert_int_equal(set.tokens[set.starts[s] + i], (s * 1000 + i) | mark);
        }
    }
}

/* A refused sample leaves the set as it was. */
static void bad_samples_are_refused(void **state)
{
    (void)state;
    Error err;
    auto_samples SampleSet set;
    sample_set_init(&set, 5);
    const int32_t good[] = {1, 2, 3}, negative[] = {3, -1}, large[] = {1 << 30};
    assert_ok(sample_set_add(&set, good, NULL, 3, &err));
    assert_fails(sample_set_add(&set, negative, NULL, 2, &err), ERR_INPUT, "token 1 has id -1");
    assert_fails(sample_set_add(&set, large, NULL, 1, &err), ERR_INPUT, "sample 2: token 0");
    assert_fails(sample_set_add(&set, good, NULL, 3, &err), ERR_LIMIT, "beyond 5 tokens");
    assert_int_equal(set.count, 1);
    assert_int_equal(set.used, 3);
    assert_ok(sample_set_add(&set, good, NULL, 2, &err));
    assert_int_equal(set.starts[2], 5);
}

static void failing_allocations(void **state)
{
    (void)state;
    Error err;
    const int32_t ids[] = {1, 2, 3};
    bool done = false;
    for (int n = 0; !done; n++) {
        auto_samples SampleSet set;
        sample_set_init(&set, 100);
        mem_fail_after(n);
        done = sample_set_add(&set, ids, NULL, 3, &err);
        mem_fail_after(-1);
        assert_int_equal(set.count, done);
        assert_true(done || err.code == ERR_MEMORY);
        assert_in_range(n, 0, 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_stand_one_after_the_other),
        cmocka_unit_test(bad_samples_are_refused),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
