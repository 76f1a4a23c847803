#include "base/rng.h"
#include "base/test.h"

/* Philox4x32-10 known answer of the paper's reference program: counter 0, key 0. */
static void matches_the_known_answer(void **state)
{
    (void)state;
    RngKey zero = {{0, 0}};
    assert_int_equal(rng_u64(zero, 0), 0xe169c58d6627e8d5ull);
}

static void moments_are_right(void **state)
{
    (void)state;
    RngKey key = rng_key(42, "moments");
    double sum = 0, square = 0, uniform = 0;
    enum { N = 100000 };
    for (uint32_t i = 0; i < N; i++) {
        double x = rng_normal(key, i);
        sum += x;
        square += x * x;
        uniform += rng_uniform(key, i);
    }
    assert_near(sum / N, 0, 0.02);
    assert_near(square / N, 1, 0.02);
    assert_near(uniform / N, 0.5, 0.01);
}

static void permutation_is_one(void **state)
{
    (void)state;
    uint32_t p[1000], seen[1000] = {0};
    rng_permutation(rng_key(1, "shuffle"), p, 1000);
    uint32_t moved = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        seen[p[i]]++;
        moved += p[i] != i;
    }
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(seen[i], 1);
    assert_true(moved > 950);
    uint32_t q[1000];
    rng_permutation(rng_key(2, "shuffle"), q, 1000);
    assert_memory_not_equal(p, q, sizeof p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_known_answer),
        cmocka_unit_test(moments_are_right),
        cmocka_unit_test(permutation_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
