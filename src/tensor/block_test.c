/* block_test.c: properties of every codec of the table, at ordinary and at wild values. That the
 * layouts are ggml's is tests/block_golden_test.c. */
#include "tensor/block.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/test.h"

#include <math.h>

enum { COUNT = 1024, BYTES_MAX = COUNT * 4 };

typedef struct {
    DType type;
    double rms; /* most error for normal values, as a share of their deviation */
} Row;
static const Row rows[] = {
    {DT_F32, 0},         {DT_F16, 0.0004},    {DT_BF16, 0.003},    {DT_Q8_0, 0.008},
    {DT_Q4_0, 0.105},    {DT_Q4_1, 0.09},     {DT_Q5_0, 0.055},    {DT_Q5_1, 0.045},
    {DT_Q2_K, 0.31},     {DT_Q3_K, 0.175},    {DT_Q4_K, 0.085},    {DT_Q5_K, 0.045},
    {DT_Q6_K, 0.025},    {DT_IQ4_NL, 0.095},  {DT_IQ4_XS, 0.095},
};
enum { ROWS = sizeof rows / sizeof *rows };

static void normal_row(float *x, uint64_t seed, double deviation)
{
    RngKey key = rng_key(seed, "block");
    for (uint64_t i = 0; i < COUNT; i++)
        x[i] = (float)(deviation * rng_normal(key, i));
}

static void weights_row(float *w, uint64_t seed)
{
    RngKey key = rng_key(seed, "importance");
    for (uint64_t i = 0; i < COUNT; i++)
        w[i] = (float)exp(1.5 * rng_normal(key, i));
}

static double round_trip(DType type, const float *x, const float *w, float *y)
{
    uint8_t blocks[BYTES_MAX];
    block_quantise(type, x, w, blocks, COUNT);
    block_dequantise(type, blocks, y, COUNT);
    return block_error(x, y, w, COUNT);
}

static void every_weight_type_has_a_codec(void **state)
{
    (void)state;
    uint32_t codecs = 0;
    for (int i = 0; i < DT_COUNT; i++) {
        DType found;
        if (!block_codecs[i].quantise)
            continue;
        codecs++;
        assert_true(block_codecs[i].dequantise != NULL);
        assert_true(block_of_ggml(block_codecs[i].ggml, &found));
        assert_int_equal(found, i);
    }
    assert_int_equal(codecs, ROWS);
    assert_true(block_codecs[DT_I32].quantise == NULL);
    DType untouched = DT_Q2_K;
    assert_false(block_of_ggml(999, &untouched));
    assert_int_equal(untouched, DT_Q2_K);
}

/* At any size that halves can scale, the error is the type's share of the deviation. */
static void normal_values_come_back_near(void **state)
{
    (void)state;
    static const double deviations[] = {1e-3, 0.02, 1, 500};
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t d = 0; d < 4; d++) {
            float x[COUNT], y[COUNT];
            normal_row(x, 10 * r + d, deviations[d]);
            double rms = sqrt(round_trip(rows[r].type, x, NULL, y) / COUNT) / deviations[d];
            if (!(rms <= rows[r].rms))
                fail_test("%s at deviation %g: error %g of it, expected %g at most",
                          dtype_info[rows[r].type].name, deviations[d], rms, rows[r].rms);
        }
    }
}

/* What the weights favour comes back nearer, by the measure of the weights. */
static void importance_lowers_the_weighted_error(void **state)
{
    (void)state;
    for (size_t r = 4; r < ROWS; r++) { /* the plain types do not look at it */
        double with = 0, without = 0;
        for (uint64_t seed = 0; seed < 4; seed++) {
            float x[COUNT], w[COUNT], y[COUNT];
            normal_row(x, seed, 0.02);
            weights_row(w, seed);
            with += round_trip(rows[r].type, x, w, y);
            round_trip(rows[r].type, x, NULL, y);
            without += block_error(x, y, w, COUNT);
        }
        if (!(with < 0.95 * without))
            fail_test("%s: weighted error %g with weights, %g without",
                      dtype_info[rows[r].type].name, with, without);
    }
}

static void scale_of_importance_does_not_matter(void **state)
{
    (void)state;
    float x[COUNT], w[COUNT], wide[COUNT];
    normal_row(x, 3, 0.02);
    weights_row(w, 3);
    for (int i = 0; i < COUNT; i++)
        wide[i] = w[i] * 0x1p40f;
    for (size_t r = 0; r < ROWS; r++) {
        uint8_t a[BYTES_MAX], b[BYTES_MAX];
        uint64_t bytes = dtype_bytes(rows[r].type, COUNT);
        block_quantise(rows[r].type, x, w, a, COUNT);
        block_quantise(rows[r].type, x, wide, b, COUNT);
        assert_memory_equal(a, b, bytes);
    }
}

/* Weights of zero, of infinity or of nothing at all are no reason to lose the block. */
static void wild_importance_is_survived(void **state)
{
    (void)state;
    static const float wild[] = {0, -1, INFINITY, NAN, 1e38f, 1e-38f};
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t k = 0; k < sizeof wild / sizeof *wild; k++) {
            float x[COUNT], w[COUNT], y[COUNT];
            normal_row(x, r, 0.02);
            for (int i = 0; i < COUNT; i++)
                w[i] = wild[k];
            double plain = round_trip(rows[r].type, x, NULL, y);
            round_trip(rows[r].type, x, w, y);
            assert_near(block_error(x, y, NULL, COUNT), plain, 1e-3 * plain);
        }
    }
}

/* What comes back is a fixed point: it goes in again with no more than a trace of an error. */
static void own_output_goes_in_again(void **state)
{
    (void)state;
    for (size_t r = 0; r < ROWS; r++) {
        float x[COUNT], y[COUNT], z[COUNT];
        normal_row(x, r + 50, 0.02);
        double first = round_trip(rows[r].type, x, NULL, y);
        double again = round_trip(rows[r].type, y, NULL, z);
        if (!(again <= 0.02 * first))
            fail_test("%s: error %g, then %g", dtype_info[rows[r].type].name, first, again);
    }
}

static void rows_do_not_see_each_other(void **state)
{
    (void)state;
    for (size_t r = 0; r < ROWS; r++) {
        float x[COUNT];
        uint8_t whole[BYTES_MAX], part[BYTES_MAX];
        uint64_t bytes = dtype_bytes(rows[r].type, 256);
        normal_row(x, r, 1);
        block_quantise(rows[r].type, x, NULL, whole, COUNT);
        for (int k = 0; k < 4; k++)
            block_quantise(rows[r].type, x + 256 * k, NULL, part + bytes * (uint64_t)k, 256);
        assert_memory_equal(whole, part, 4 * bytes);
    }
}

static void zeros_come_back_as_zeros(void **state)
{
    (void)state;
    for (size_t r = 0; r < ROWS; r++) {
        float x[COUNT] = {0}, y[COUNT];
        assert_near(round_trip(rows[r].type, x, NULL, y), 0, 0);
    }
}

/* A constant is said to within the type's own grain, whatever its sign. */
static void constants_come_back(void **state)
{
    (void)state;
    static const float values[] = {1, -1, 0.037f, -250};
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t k = 0; k < 4; k++) {
            float x[COUNT], y[COUNT];
            for (int i = 0; i < COUNT; i++)
                x[i] = values[k];
            round_trip(rows[r].type, x, NULL, y);
            for (int i = 0; i < COUNT; i++)
                assert_near((double)y[i], (double)x[i], 0.005 * fabs((double)x[i]));
        }
    }
}

/* The largest and smallest that a type names fit; every output is finite, whatever came in. */
static void extremes_stay_finite(void **state)
{
    (void)state;
    static const float sizes[] = {1e-45f, 1e-38f, 1e-30f, 6e-8f, 1e-5f, 6e4f, 1e6f, 1e30f, 3e38f};
    for (size_t r = 1; r < ROWS; r++) { /* f32 keeps what it is given */
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            float x[COUNT], y[COUNT];
            RngKey key = rng_key(k, "extreme");
            for (uint64_t i = 0; i < COUNT; i++)
                x[i] = (float)(2 * rng_uniform(key, i) - 1) * sizes[k];
            if (k % 2)
                x[5] = NAN, x[300] = INFINITY, x[301] = -INFINITY;
            round_trip(rows[r].type, x, NULL, y);
            for (int i = 0; i < COUNT; i++) {
                if (!isfinite(y[i]))
                    fail_test("%s: %g came back as %g", dtype_info[rows[r].type].name,
                              (double)x[i], (double)y[i]);
            }
        }
    }
}

static void most_is_what_every_block_holds(void **state)
{
    (void)state;
    for (size_t r = 0; r < ROWS; r++) {
        DType type = rows[r].type;
        float most = block_codecs[type].most, x[COUNT] = {0}, y[COUNT];
        x[0] = most;
        x[700] = -most;
        assert_int_equal(block_misfit(type, x, COUNT), COUNT);
        round_trip(type, x, NULL, y);
        assert_near((double)y[0] / (double)most, 1, 0.002);
        assert_near((double)y[700] / (double)most, -1, 0.002);
        x[700] = INFINITY;
        assert_int_equal(block_misfit(type, x, COUNT), 700);
        x[700] = NAN;
        assert_int_equal(block_misfit(type, x, COUNT), 700);
        x[4] = nextafterf(most, INFINITY);
        if (type != DT_F32)
            assert_int_equal(block_misfit(type, x, COUNT), 4);
    }
}

static void nothing_is_allocated(void **state)
{
    (void)state;
    float x[COUNT], y[COUNT];
    normal_row(x, 1, 1);
    uint64_t before = mem_count();
    for (size_t r = 0; r < ROWS; r++)
        round_trip(rows[r].type, x, x, y);
    assert_int_equal(mem_count(), before);
}

/* By hand: codes high nibble first, blocks of 4, the last one short. */
static void nf4_is_read(void **state)
{
    (void)state;
    static const uint8_t codes[] = {0x0f, 0x7e, 0xf0};
    static const float most[] = {2, -3};
    static const double want[] = {-2, 2, 0, 2 * 0.7229568362236023, -3, 3};
    float x[6], map[16], scales[3], table[256];
    block_dequantise_nf4(codes, most, NULL, 4, 6, x);
    for (int i = 0; i < 6; i++)
        assert_near((double)x[i], want[i], 1e-6);
    for (int i = 0; i < 16; i++)
        map[i] = (float)i;
    block_dequantise_nf4(codes, most, map, 4, 6, x);
    assert_near((double)x[3], 28, 0);
    for (int i = 0; i < 256; i++)
        table[i] = (float)i / 256;
    block_dequantise_nf4_scales(codes, table, most, 0.5f, 2, 3, scales);
    assert_near((double)scales[0], 15.0 / 256 * 2 + 0.5, 1e-7);
    assert_near((double)scales[2], 240.0 / 256 * -3 + 0.5, 1e-7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_weight_type_has_a_codec),
        cmocka_unit_test(normal_values_come_back_near),
        cmocka_unit_test(importance_lowers_the_weighted_error),
        cmocka_unit_test(scale_of_importance_does_not_matter),
        cmocka_unit_test(wild_importance_is_survived),
        cmocka_unit_test(own_output_goes_in_again),
        cmocka_unit_test(rows_do_not_see_each_other),
        cmocka_unit_test(zeros_come_back_as_zeros),
        cmocka_unit_test(constants_come_back),
        cmocka_unit_test(extremes_stay_finite),
        cmocka_unit_test(most_is_what_every_block_holds),
        cmocka_unit_test(nf4_is_read),
        cmocka_unit_test(nothing_is_allocated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
