/* vec_simd_portable.h: the vector primitives in plain C (compiler vectors of four floats); the
 * vec_simd_*.h of the other instruction sets offer exactly the same names. A kernel body
 * (vec_body_*.h) is written over these and nothing else.
 *
 *   V, VW        a vector of floats and its width; TILE of vec_kernels.h is a multiple of VW
 *   NVS, NVE     vectors a micro-kernel keeps per row over lanes of queries, over head width:
 *                6 * NV accumulators, NV operands and one broadcast fit the registers
 *   v_fma        a * b + c (one rounding where the hardware has it), v_nfma c - a * b
 *   v_max, v_min of which the second operand is returned when it is not a number
 *   v_load_part  the first n < VW floats, zeros after them; v_store_part writes n < VW floats
 *   v_sum        sum of the lanes in a fixed order
 *   v_exp_scale  p * 2^n for integral n in [-125, 128], and 0 in lanes where x < low, whatever p
 *                and n are there
 *   v_inside     lane by lane: lo <= k <= hi ? x : other
 *   v_rows4      lanes 4i .. 4i+3 = the four floats at row[4i] + at
 *   v_transpose4 a 4 x 4 transpose in each group of four lanes of four vectors
 *   W, WW        a vector of doubles, VW / 2 wide
 */
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef float V __attribute__((vector_size(16)));
typedef int32_t VBits __attribute__((vector_size(16)));
typedef double W __attribute__((vector_size(16)));
enum { VW = 4, WW = 2, NVS = 2, NVE = 2 };

#define VEC_ISA_NAME "portable"
#define VEC_KERNELS vec_kernels_portable

static inline V v_set1(float x) { return (V){x, x, x, x}; }
static inline V v_zero(void) { return v_set1(0); }
static inline V v_load(const float *p) { V x; memcpy(&x, p, sizeof x); return x; }
static inline void v_store(float *p, V x) { memcpy(p, &x, sizeof x); }
static inline V v_load_part(const float *p, unsigned n)
{
    V x = v_zero();
    for (unsigned i = 0; i < n; i++)
        x[i] = p[i];
    return x;
}
static inline void v_store_part(float *p, V x, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        p[i] = x[i];
}
static inline V v_choose(VBits mask, V yes, V no)
{
    return (V)(((VBits)yes & mask) | ((VBits)no & ~mask));
}

static inline V v_add(V a, V b) { return a + b; }
static inline V v_sub(V a, V b) { return a - b; }
static inline V v_mul(V a, V b) { return a * b; }
static inline V v_div(V a, V b) { return a / b; }
static inline V v_sqrt(V a) { return (V){sqrtf(a[0]), sqrtf(a[1]), sqrtf(a[2]), sqrtf(a[3])}; }
static inline V v_max(V a, V b) { return v_choose(a > b, a, b); }
static inline V v_min(V a, V b) { return v_choose(a < b, a, b); }
static inline V v_fma(V a, V b, V c) { return a * b + c; }
static inline V v_nfma(V a, V b, V c) { return c - a * b; }
static inline float v_sum(V a) { return (a[0] + a[2]) + (a[1] + a[3]); }
static inline float v_largest(V a)
{
    float x = a[0] > a[1] ? a[0] : a[1], y = a[2] > a[3] ? a[2] : a[3];
    return x > y ? x : y;
}

/* Nearest integer for |x| < 2^22: adding 1.5 * 2^23 leaves no bits for a fraction. */
static inline V v_round(V x) { return (x + 12582912.0f) - 12582912.0f; }
static inline V v_exp_scale(V p, V n, V x, float low)
{
    /* n - 1 keeps the exponent field of 2^(n-1) legal for n = 128. */
    n = v_max(n, v_set1(-126.0f));
    VBits power = (__builtin_convertvector(n, VBits) + 126) << 23;
    return v_choose(x < low, v_zero(), p * (V)power * 2.0f);
}
static inline V v_inside(V x, V lo, V k, V hi, V other)
{
    return v_choose((lo <= k) & (k <= hi), x, other);
}

static inline V v_rows4(const float *const *row, size_t at) { return v_load(row[0] + at); }
static inline void v_transpose4(V r[4])
{
    V a = {r[0][0], r[1][0], r[2][0], r[3][0]}, b = {r[0][1], r[1][1], r[2][1], r[3][1]};
    V c = {r[0][2], r[1][2], r[2][2], r[3][2]}, d = {r[0][3], r[1][3], r[2][3], r[3][3]};
    r[0] = a, r[1] = b, r[2] = c, r[3] = d;
}

static inline W w_zero(void) { return (W){0, 0}; }
static inline W w_load(const float *p) { return (W){p[0], p[1]}; }
static inline W w_add(W a, W b) { return a + b; }
static inline W w_fma(W a, W b, W c) { return a * b + c; }
static inline double w_sum(W a) { return a[0] + a[1]; }
