/* qgemm_simd_avx512.h: the primitives of qgemm_body.h in 512 bits: one VPDPBUSD multiplies a quad of
 * 16 columns. Weights are its unsigned side, a quad of A, broadcast by the load, its signed side.
 * Included by qgemm_avx512.c and qgemm_amx.c alone.
 */
#pragma once
#include <immintrin.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))
#define QGEMM_LANES 16
#define QGEMM_PASS 8

typedef __m512i Bytes, Ints;
typedef __m512 Floats;

INLINE Bytes bytes_load(const uint8_t *from) { return _mm512_loadu_si512(from); }
INLINE void bytes_store(uint8_t *to, Bytes x) { _mm512_storeu_si512(to, x); }
INLINE Bytes bytes_and(Bytes x, uint8_t mask)
{
    return _mm512_and_si512(x, _mm512_set1_epi8((char)mask));
}
INLINE Bytes bytes_or(Bytes x, Bytes y) { return _mm512_or_si512(x, y); }
INLINE Bytes bytes_left(Bytes x, uint32_t by) { return _mm512_slli_epi16(x, by); }
INLINE Bytes bytes_right(Bytes x, uint32_t by) { return _mm512_srli_epi16(x, by); }

INLINE Ints ints_zero(void) { return _mm512_setzero_si512(); }
INLINE Ints ints_splat(const int32_t *x) { return _mm512_set1_epi32(*x); }
INLINE Ints ints_add(Ints x, Ints y) { return _mm512_add_epi32(x, y); }
INLINE Ints ints_mul(Ints x, Ints y) { return _mm512_mullo_epi32(x, y); }
INLINE __m128i load16(const uint8_t *from)
{
    return _mm_loadu_si128((const __m128i *)(const void *)from);
}
INLINE __m256i load32(const uint8_t *from)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)from);
}
INLINE Ints ints_of_bytes(const uint8_t *x) { return _mm512_cvtepu8_epi32(load16(x)); }
INLINE Ints ints_of_signed_bytes(const uint8_t *x) { return _mm512_cvtepi8_epi32(load16(x)); }
INLINE Ints ints_pairs(Ints sum, const uint8_t *pairs, const int32_t *two)
{
    return _mm512_dpwssd_epi32(sum, _mm512_cvtepu8_epi16(load32(pairs)), _mm512_set1_epi32(*two));
}

INLINE Floats ints_float(Ints x) { return _mm512_cvtepi32_ps(x); }
INLINE Floats floats_zero(void) { return _mm512_setzero_ps(); }
INLINE Floats floats_splat(const float *x) { return _mm512_set1_ps(*x); }
INLINE Floats floats_mul(Floats x, Floats y) { return _mm512_mul_ps(x, y); }
INLINE Floats floats_fma(Floats x, Floats y, Floats z) { return _mm512_fmadd_ps(x, y, z); }
INLINE Floats floats_fms(Floats x, Floats y, Floats z) { return _mm512_fmsub_ps(x, y, z); }
INLINE Floats floats_of_halves(const uint8_t *x) { return _mm512_cvtph_ps(load32(x)); }
INLINE void floats_store(float *to, Floats x) { _mm512_storeu_ps(to, x); }

/* Row by row of a quad, so that the chains of as many rows hide each other's latency. */
INLINE void dots(Ints *sum, uint32_t rows, const Bytes *w, const int8_t *q, uint32_t quads,
                 uint32_t bits)
{
    (void)bits;
#pragma GCC unroll 8
    for (uint32_t i = 0; i < quads; i++) {
#pragma GCC unroll 8
        for (uint32_t row = 0; row < rows; row++) {
            int32_t quad;
            __builtin_memcpy(&quad, q + row * 64 + 4 * i, sizeof quad);
            sum[row] = _mm512_dpbusd_epi32(sum[row], w[i], _mm512_set1_epi32(quad));
        }
    }
}

INLINE uint32_t magnitude32(const float *x)
{
    __m512i low = _mm512_loadu_si512(x), high = _mm512_loadu_si512(x + 16);
    __m512i mask = _mm512_set1_epi32(0x7fffffff);
    return (uint32_t)_mm512_reduce_max_epi32(
        _mm512_max_epi32(_mm512_and_si512(low, mask), _mm512_and_si512(high, mask)));
}

INLINE void round32(int8_t *q, const float *x, float by, int32_t sum[2])
{
    __m512 factor = _mm512_set1_ps(by);
#pragma GCC unroll 2
    for (uint32_t i = 0; i < 32; i += 16) {
        __m512i whole = _mm512_cvt_roundps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), factor),
                                                 _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        sum[i / 16] = _mm512_reduce_add_epi32(whole);
        _mm_storeu_si128((__m128i *)(void *)(q + i), _mm512_cvtepi32_epi8(whole));
    }
}
