/* dtype_test.c: conversions for every half there is, rounding at ties, and Q8_0 at its edges. */
#include "tensor/dtype.h"

#include "base/rng.h"
#include "base/test.h"

#include <math.h>

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/* The value of a half by its definition, in double. */
static double half_value(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double size = exponent == 0    ? ldexp(fraction, -24)
                  : exponent == 31 ? (fraction ? NAN : INFINITY)
                                   : ldexp(1024 + fraction, exponent - 25);
    return h & 0x8000 ? -size : size;
}

static void every_half_goes_to_f32_and_back(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 1u << 16; h++) {
        float x = dtype_f32_of_f16((uint16_t)h);
        double want = half_value((uint16_t)h);
        uint16_t back = dtype_f16_of_f32(x);
        if (isnan(want)) {
            assert_true(isnan(x));
            assert_true((back & 0x7fff) > 0x7c00);
            assert_int_equal(back & 0x8000, h & 0x8000);
            continue;
        }
        if ((double)x != want || !signbit(x) != !signbit(want))
            fail_test("half %04x gives %g, expected %g", h, (double)x, want);
        if (back != h)
            fail_test("half %04x comes back as %04x", h, back);
    }
}

/* Between each pair of neighbours: the middle goes to the even one, a bit less or more to its own. */
static void f16_rounds_to_the_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7bff; h++) {
        double low = half_value((uint16_t)h), high = half_value((uint16_t)(h + 1));
        float middle = (float)((low + high) / 2); /* exact: a half has 11 bits */
        uint32_t even = h & 1 ? h + 1 : h;
        assert_int_equal(dtype_f16_of_f32(middle), even);
        assert_int_equal(dtype_f16_of_f32(-middle), even | 0x8000);
        assert_int_equal(dtype_f16_of_f32(nextafterf(middle, 0)), h);
        assert_int_equal(dtype_f16_of_f32(nextafterf(middle, INFINITY)), h + 1);
    }
    assert_int_equal(dtype_f16_of_f32(65519.0f), 0x7bff);
    assert_int_equal(dtype_f16_of_f32(65520.0f), 0x7c00);
    assert_int_equal(dtype_f16_of_f32(1e30f), 0x7c00);
    assert_int_equal(dtype_f16_of_f32(-INFINITY), 0xfc00);
    assert_int_equal(dtype_f16_of_f32(1e-30f), 0);
    assert_int_equal(dtype_f16_of_f32(-1e-30f), 0x8000);
}

static void every_bf16_goes_to_f32_and_back(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 1u << 16; h++) {
        float x = dtype_f32_of_bf16((uint16_t)h);
        uint16_t back = dtype_bf16_of_f32(x);
        if (isnan(x)) {
            assert_true((back & 0x7fff) > 0x7f80);
            continue;
        }
        assert_int_equal(back, h);
        if ((h & 0x7fff) >= 0x7f80)
            continue;
        uint32_t even = h & 1 ? h + 1 : h;
        assert_int_equal(dtype_bf16_of_f32(float_of(h << 16 | 0x8000)), even);
        assert_int_equal(dtype_bf16_of_f32(float_of(h << 16 | 0x7fff)), h);
        assert_int_equal(dtype_bf16_of_f32(float_of(h << 16 | 0x8001)), h + 1);
    }
    /* a quiet NaN stays one even when all that says so is below the cut */
    assert_true(isnan(dtype_f32_of_bf16(dtype_bf16_of_f32(float_of(0x7f800001)))));
}

static void q8_0_is_within_half_a_step(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        float x[64], y[64], most[2] = {0, 0};
        uint8_t blocks[68], again[68];
        RngKey key = rng_key(seed, "q8");
        for (uint64_t i = 0; i < 64; i++) {
            x[i] = (float)(rng_normal(key, i) * pow(10, (double)seed / 20 - 5));
            most[i / 32] = fmaxf(most[i / 32], fabsf(x[i]));
        }
        dtype_quantise_q8_0(x, blocks, 64);
        dtype_dequantise_q8_0(blocks, y, 64);
        for (int i = 0; i < 64; i++) /* half a step, and the rounding of the scale at the end */
            assert_near((double)y[i], (double)x[i],
                        (double)most[i / 32] * (0.5 / 127 + 1.0 / 2048) + 127 * 0x1p-25);
        dtype_quantise_q8_0(y, again, 64);
        for (int i = 0; i < 64; i++) {
            float z[64];
            dtype_dequantise_q8_0(again, z, 64);
            assert_near((double)z[i], (double)y[i],
                        (double)most[i / 32] * (0.5 / 127 + 1.0 / 2048) + 127 * 0x1p-25);
        }
    }
}

static void q8_0_of_zeros_is_zeros(void **state)
{
    (void)state;
    float x[32] = {0}, y[32];
    uint8_t block[34], zero[34] = {0};
    dtype_quantise_q8_0(x, block, 32);
    assert_memory_equal(block, zero, 34);
    for (int i = 0; i < 32; i++)
        x[i] = i % 2 ? 1e-30f : -1e-30f; /* below the smallest scale */
    dtype_quantise_q8_0(x, block, 32);
    dtype_dequantise_q8_0(block, y, 32);
    for (int i = 0; i < 32; i++)
        assert_near((double)y[i], 0, 0);
}

/* What cannot be stored is stored as the nearest that can, never as infinity or not a number. */
static void q8_0_of_infinities_is_bounded(void **state)
{
    (void)state;
    static const float wild[] = {INFINITY, -INFINITY, NAN, 1e38f, -1e30f, 65504.0f * 127};
    for (size_t w = 0; w < sizeof wild / sizeof *wild; w++) {
        float x[32], y[32];
        uint8_t block[34];
        for (int i = 0; i < 32; i++)
            x[i] = (float)i;
        x[7] = wild[w];
        dtype_quantise_q8_0(x, block, 32);
        dtype_dequantise_q8_0(block, y, 32);
        for (int i = 0; i < 32; i++)
            assert_true(isfinite(y[i]) && fabsf(y[i]) <= 65504.0f * 127);
        if (!isnan(wild[w]))
            assert_true(y[7] * wild[w] > 0);
    }
}

static void types_have_names_and_sizes(void **state)
{
    (void)state;
    for (int i = 0; i < DT_COUNT; i++) {
        DType found;
        assert_true(dtype_named(dtype_info[i].name, &found));
        assert_int_equal(found, i);
    }
    DType untouched = DT_BF16;
    assert_false(dtype_named("f64", &untouched));
    assert_int_equal(untouched, DT_BF16);
    assert_int_equal(dtype_bytes(DT_F32, 3), 12);
    assert_int_equal(dtype_bytes(DT_BF16, 3), 6);
    assert_int_equal(dtype_bytes(DT_Q8_0, 96), 102);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_goes_to_f32_and_back),
        cmocka_unit_test(f16_rounds_to_the_nearest_even),
        cmocka_unit_test(every_bf16_goes_to_f32_and_back),
        cmocka_unit_test(q8_0_is_within_half_a_step),
        cmocka_unit_test(q8_0_of_zeros_is_zeros),
        cmocka_unit_test(q8_0_of_infinities_is_bounded),
        cmocka_unit_test(types_have_names_and_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
