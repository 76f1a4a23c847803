/* vec_simd_avx2.h: the vector primitives over AVX2 and FMA; see vec_simd_portable.h. */
#pragma once
#include <immintrin.h>
#include <math.h>
#include <stdint.h>

typedef __m256 V;
typedef __m256d W;
enum { VW = 8, WW = 4, NVS = 2, NVE = 2 };

#define VEC_ISA_NAME "avx2"
#define VEC_KERNELS vec_kernels_avx2

static const int32_t v_part_table[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

static inline __m256i v_part(unsigned n)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)(v_part_table + 8 - n));
}
static inline V v_set1(float x) { return _mm256_set1_ps(x); }
static inline V v_zero(void) { return _mm256_setzero_ps(); }
static inline V v_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void v_store(float *p, V x) { _mm256_storeu_ps(p, x); }
static inline V v_load_part(const float *p, unsigned n) { return _mm256_maskload_ps(p, v_part(n)); }
static inline void v_store_part(float *p, V x, unsigned n)
{
    _mm256_maskstore_ps(p, v_part(n), x);
}

static inline V v_add(V a, V b) { return _mm256_add_ps(a, b); }
static inline V v_sub(V a, V b) { return _mm256_sub_ps(a, b); }
static inline V v_mul(V a, V b) { return _mm256_mul_ps(a, b); }
static inline V v_div(V a, V b) { return _mm256_div_ps(a, b); }
static inline V v_sqrt(V a) { return _mm256_sqrt_ps(a); }
static inline V v_max(V a, V b) { return _mm256_max_ps(a, b); }
static inline V v_min(V a, V b) { return _mm256_min_ps(a, b); }
static inline V v_fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
static inline V v_nfma(V a, V b, V c) { return _mm256_fnmadd_ps(a, b, c); }
static inline float v_sum(V a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
static inline float v_largest(V a)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

static inline V v_round(V x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline V v_exp_scale(V p, V n, V x, float low)
{
    /* n - 1 keeps the exponent field of 2^(n-1) legal for n = 128. */
    __m256i field = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(126));
    V power = _mm256_castsi256_ps(_mm256_slli_epi32(field, 23));
    V under = _mm256_cmp_ps(x, _mm256_set1_ps(low), _CMP_LT_OQ);
    V half = _mm256_mul_ps(p, power);
    return _mm256_andnot_ps(under, _mm256_add_ps(half, half));
}
static inline V v_inside(V x, V lo, V k, V hi, V other)
{
    V in = _mm256_and_ps(_mm256_cmp_ps(lo, k, _CMP_LE_OQ), _mm256_cmp_ps(k, hi, _CMP_LE_OQ));
    return _mm256_blendv_ps(other, x, in);
}

static inline V v_rows4(const float *const *row, size_t at)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[0] + at)),
                                _mm_loadu_ps(row[4] + at), 1);
}
static inline void v_transpose4(V r[4])
{
    V a = _mm256_unpacklo_ps(r[0], r[1]), b = _mm256_unpackhi_ps(r[0], r[1]);
    V c = _mm256_unpacklo_ps(r[2], r[3]), d = _mm256_unpackhi_ps(r[2], r[3]);
    r[0] = _mm256_shuffle_ps(a, c, 0x44), r[1] = _mm256_shuffle_ps(a, c, 0xee);
    r[2] = _mm256_shuffle_ps(b, d, 0x44), r[3] = _mm256_shuffle_ps(b, d, 0xee);
}

static inline W w_zero(void) { return _mm256_setzero_pd(); }
static inline W w_load(const float *p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
static inline W w_add(W a, W b) { return _mm256_add_pd(a, b); }
static inline W w_fma(W a, W b, W c) { return _mm256_fmadd_pd(a, b, c); }
static inline double w_sum(W a)
{
    __m128d s = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}
