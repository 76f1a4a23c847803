/* vec_simd_neon.h: the vector primitives over AArch64 Advanced SIMD; see vec_simd_portable.h. */
#pragma once
#include <arm_neon.h>
#include <math.h>
#include <stdint.h>

typedef float32x4_t V;
typedef float64x2_t W;
enum { VW = 4, WW = 2, NVS = 3, NVE = 4 };

#define VEC_ISA_NAME "neon"
#define VEC_KERNELS vec_kernels_neon

static inline V v_set1(float x) { return vdupq_n_f32(x); }
static inline V v_zero(void) { return vdupq_n_f32(0); }
static inline V v_load(const float *p) { return vld1q_f32(p); }
static inline void v_store(float *p, V x) { vst1q_f32(p, x); }
static inline V v_load_part(const float *p, unsigned n)
{
    float x[4] = {0};
    for (unsigned i = 0; i < n; i++)
        x[i] = p[i];
    return vld1q_f32(x);
}
static inline void v_store_part(float *p, V v, unsigned n)
{
    float x[4];
    vst1q_f32(x, v);
    for (unsigned i = 0; i < n; i++)
        p[i] = x[i];
}

static inline V v_add(V a, V b) { return vaddq_f32(a, b); }
static inline V v_sub(V a, V b) { return vsubq_f32(a, b); }
static inline V v_mul(V a, V b) { return vmulq_f32(a, b); }
static inline V v_div(V a, V b) { return vdivq_f32(a, b); }
static inline V v_sqrt(V a) { return vsqrtq_f32(a); }
static inline V v_max(V a, V b) { return vmaxq_f32(a, b); }
static inline V v_min(V a, V b) { return vminq_f32(a, b); }
static inline V v_fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
static inline V v_nfma(V a, V b, V c) { return vfmsq_f32(c, a, b); }
static inline float v_sum(V a)
{
    float32x2_t s = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(s, 0) + vget_lane_f32(s, 1);
}
static inline float v_largest(V a) { return vmaxvq_f32(a); }

static inline V v_round(V x) { return vrndnq_f32(x); }
static inline V v_exp_scale(V p, V n, V x, float low)
{
    /* n - 1 keeps the exponent field of 2^(n-1) legal for n = 128. */
    int32x4_t field = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(126));
    V half = vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(field, 23)));
    uint32x4_t under = vcltq_f32(x, vdupq_n_f32(low));
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(vaddq_f32(half, half)), under));
}
static inline V v_inside(V x, V lo, V k, V hi, V other)
{
    return vbslq_f32(vandq_u32(vcleq_f32(lo, k), vcleq_f32(k, hi)), x, other);
}

static inline V v_rows4(const float *const *row, size_t at) { return v_load(row[0] + at); }
static inline void v_transpose4(V r[4])
{
    V a = vzip1q_f32(r[0], r[2]), b = vzip2q_f32(r[0], r[2]);
    V c = vzip1q_f32(r[1], r[3]), d = vzip2q_f32(r[1], r[3]);
    r[0] = vzip1q_f32(a, c), r[1] = vzip2q_f32(a, c);
    r[2] = vzip1q_f32(b, d), r[3] = vzip2q_f32(b, d);
}

static inline W w_zero(void) { return vdupq_n_f64(0); }
static inline W w_load(const float *p) { return vcvt_f64_f32(vld1_f32(p)); }
static inline W w_add(W a, W b) { return vaddq_f64(a, b); }
static inline W w_fma(W a, W b, W c) { return vfmaq_f64(c, a, b); }
static inline double w_sum(W a) { return vgetq_lane_f64(a, 0) + vgetq_lane_f64(a, 1); }
