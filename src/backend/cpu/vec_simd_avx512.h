/* vec_simd_avx512.h: the vector primitives over AVX-512 F, DQ, VL; see vec_simd_portable.h. */
#pragma once
#include <immintrin.h>
#include <math.h>
#include <stdint.h>

typedef __m512 V;
typedef __m512d W;
enum { VW = 16, WW = 8, NVS = 3, NVE = 4 };

#define VEC_ISA_NAME "avx512"
#define VEC_KERNELS vec_kernels_avx512

static inline __mmask16 v_part(unsigned n) { return (__mmask16)((1u << n) - 1); }
static inline V v_set1(float x) { return _mm512_set1_ps(x); }
static inline V v_zero(void) { return _mm512_setzero_ps(); }
static inline V v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void v_store(float *p, V x) { _mm512_storeu_ps(p, x); }
static inline V v_load_part(const float *p, unsigned n)
{
    return _mm512_maskz_loadu_ps(v_part(n), p);
}
static inline void v_store_part(float *p, V x, unsigned n)
{
    _mm512_mask_storeu_ps(p, v_part(n), x);
}

static inline V v_add(V a, V b) { return _mm512_add_ps(a, b); }
static inline V v_sub(V a, V b) { return _mm512_sub_ps(a, b); }
static inline V v_mul(V a, V b) { return _mm512_mul_ps(a, b); }
static inline V v_div(V a, V b) { return _mm512_div_ps(a, b); }
static inline V v_sqrt(V a) { return _mm512_sqrt_ps(a); }
static inline V v_max(V a, V b) { return _mm512_max_ps(a, b); }
static inline V v_min(V a, V b) { return _mm512_min_ps(a, b); }
static inline V v_fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
static inline V v_nfma(V a, V b, V c) { return _mm512_fnmadd_ps(a, b, c); }
static inline float v_sum(V a)
{
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
static inline float v_largest(V a)
{
    __m256 h = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

static inline V v_round(V x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline V v_exp_scale(V p, V n, V x, float low)
{
    __mmask16 kept = _mm512_cmp_ps_mask(x, _mm512_set1_ps(low), _CMP_NLT_UQ);
    return _mm512_maskz_scalef_ps(kept, p, n);
}
static inline V v_inside(V x, V lo, V k, V hi, V other)
{
    __mmask16 in = _mm512_cmp_ps_mask(lo, k, _CMP_LE_OQ);
    in = _mm512_mask_cmp_ps_mask(in, k, hi, _CMP_LE_OQ);
    return _mm512_mask_mov_ps(other, in, x);
}

static inline V v_rows4(const float *const *row, size_t at)
{
    V x = _mm512_castps128_ps512(_mm_loadu_ps(row[0] + at));
    x = _mm512_insertf32x4(x, _mm_loadu_ps(row[4] + at), 1);
    x = _mm512_insertf32x4(x, _mm_loadu_ps(row[8] + at), 2);
    return _mm512_insertf32x4(x, _mm_loadu_ps(row[12] + at), 3);
}
static inline void v_transpose4(V r[4])
{
    V a = _mm512_unpacklo_ps(r[0], r[1]), b = _mm512_unpackhi_ps(r[0], r[1]);
    V c = _mm512_unpacklo_ps(r[2], r[3]), d = _mm512_unpackhi_ps(r[2], r[3]);
    r[0] = _mm512_shuffle_ps(a, c, 0x44), r[1] = _mm512_shuffle_ps(a, c, 0xee);
    r[2] = _mm512_shuffle_ps(b, d, 0x44), r[3] = _mm512_shuffle_ps(b, d, 0xee);
}

static inline W w_zero(void) { return _mm512_setzero_pd(); }
static inline W w_load(const float *p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
static inline W w_add(W a, W b) { return _mm512_add_pd(a, b); }
static inline W w_fma(W a, W b, W c) { return _mm512_fmadd_pd(a, b, c); }
static inline double w_sum(W a)
{
    __m256d h = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
    __m128d s = _mm_add_pd(_mm256_castpd256_pd128(h), _mm256_extractf128_pd(h, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}
