/* sampler_row_test.c: the kernels of every instruction set against plain loops and each other's
 * bits; changed blocks. */
#include "infer/sampler_row.h"

#include "base/rng.h"
#include "base/test.h"

#include <float.h>
#include <math.h>

enum { VOCAB = 1000 };

static const char *const names[] = {"portable", "avx2", "avx512"};

static void make(float *x, uint64_t seed, double spread)
{
    for (uint64_t i = 0; i < VOCAB; i++)
        x[i] = (float)(spread * rng_normal(rng_key(seed, "row"), i));
}

static void sums_are_those_of_the_library(void **state)
{
    (void)state;
    float x[VOCAB];
    for (uint64_t seed = 0; seed < 20; seed++) {
        RowSums first = {0};
        double scale = 0.25 + (double)seed, sum = 0, moment = 0;
        SamplerRow row;
        make(x, seed, 5);
        x[3] = NAN;
        x[700] = -INFINITY;
        x[5] = seed == 7 ? INFINITY : x[5];
        assert_true(row_init(&row, VOCAB - (uint32_t)seed));
        for (size_t n = 0; n < 3; n++) {
            if (!row_kernels_use(names[n]))
                continue;
            row_begin(&row, x);
            RowSums sums = row_sums(&row, scale, true), plain = row_sums(&row, scale, false);
            first = n ? first : sums;
            assert_true(sums.log_sum == first.log_sum && sums.entropy == first.entropy);
            assert_true(plain.log_sum == first.log_sum);
        }
        for (uint32_t i = 0; i < row.vocab; i++) {
            double y = (fmin((double)x[i], (double)FLT_MAX) - (double)row_most(&row)) * scale;
            double e = isnan(x[i]) ? 0 : exp(y);
            sum += e;
            moment += e > 0 ? e * y : 0;
        }
        assert_near(first.log_sum, log(sum), 2e-15 * fmax(1, log(sum)));
        assert_near(first.entropy, log(sum) - moment / sum, 1e-13);
        row_done(&row);
    }
}

static void maxima_pass_over_what_is_no_number(void **state)
{
    (void)state;
    float x[VOCAB];
    for (size_t n = 0; n < 3; n++) {
        if (!row_kernels_use(names[n]))
            continue;
        for (uint32_t vocab = 1; vocab < VOCAB; vocab += 37) {
            SamplerRow row;
            make(x, vocab, 2);
            for (uint32_t i = 0; i < vocab; i++)
                x[i] = i % 3 == 1 || i / ROW_BLOCK == 2 ? NAN : x[i];
            assert_true(row_init(&row, vocab));
            row_begin(&row, x);
            uint32_t best = 0;
            for (uint32_t b = 0; b < row.blocks; b++) {
                float most = -INFINITY;
                for (uint32_t i = b * ROW_BLOCK; i < b * ROW_BLOCK + row_size(&row, b); i++)
                    most = x[i] > most ? x[i] : most;
                assert_true(row.maxima[b] == most);
            }
            for (uint32_t i = 1; i < vocab; i++)
                best = x[i] > x[best] ? i : best;
            assert_int_equal(row_best(&row), best);
            row_done(&row);
        }
    }
}

static void changes_do_not_reach_the_model(void **state)
{
    (void)state;
    float x[VOCAB], before[VOCAB];
    uint64_t allowed[(VOCAB + 63) / 64] = {0};
    SamplerRow row;
    make(x, 1, 1);
    memcpy(before, x, sizeof x);
    assert_true(row_init(&row, VOCAB));
    row_begin(&row, x);
    row_set(&row, 999, 50);
    row_set(&row, 300, INFINITY);
    row_settle(&row);
    assert_int_equal(row.changed_count, 2);
    assert_true(row_get(&row, 300) == FLT_MAX && row_most(&row) == FLT_MAX);
    assert_int_equal(row_best(&row), 300);
    allowed[998 / 64] |= 1ull << (998 % 64);
    row_restrict(&row, allowed);
    row_settle(&row);
    assert_int_equal(row_best(&row), 998);
    assert_true(row_get(&row, 998) == x[998] && row_get(&row, 0) == -INFINITY);
    row_begin(&row, x); /* all as it was */
    for (uint32_t i = 0; i < VOCAB; i++)
        assert_true(row_get(&row, i) == before[i] && x[i] == before[i]);
    row_done(&row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_the_library),
        cmocka_unit_test(maxima_pass_over_what_is_no_number),
        cmocka_unit_test(changes_do_not_reach_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
