/* qgemm_simd_avx2.h: the primitives of qgemm_body.h in 256 bits: "avxvnni" has VPDPBUSD, "avx2" makes
 * it of three instructions. Included by their files alone.
 *
 * VPMADDUBSW adds two products in 16 bits, where it saturates at 32767. Weights below 2^bits leave
 * room for several such sums: 127 (2^bits - 1) 2 is 3810 for 4 bits, so 8 quads fit; 7874 for 5: 4;
 * 16002 for 6: 2. Eight bits go as |w| times q with the sign of w, w = byte - 128: 128 127 2 = 32512
 * fits once. q = -128 does not occur, so no sign is lost.
 */
#pragma once
#include <immintrin.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))
#define QGEMM_LANES 8
#define QGEMM_PASS 4

typedef __m256i Bytes, Ints;
typedef __m256 Floats;

INLINE Bytes bytes_load(const uint8_t *from)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)from);
}
INLINE void bytes_store(uint8_t *to, Bytes x) { _mm256_storeu_si256((__m256i *)(void *)to, x); }
INLINE Bytes bytes_and(Bytes x, uint8_t mask)
{
    return _mm256_and_si256(x, _mm256_set1_epi8((char)mask));
}
INLINE Bytes bytes_or(Bytes x, Bytes y) { return _mm256_or_si256(x, y); }
INLINE Bytes bytes_left(Bytes x, uint32_t by) { return _mm256_slli_epi16(x, (int)by); }
INLINE Bytes bytes_right(Bytes x, uint32_t by) { return _mm256_srli_epi16(x, (int)by); }

INLINE Ints ints_zero(void) { return _mm256_setzero_si256(); }
INLINE Ints ints_splat(const int32_t *x) { return _mm256_set1_epi32(*x); }
INLINE Ints ints_add(Ints x, Ints y) { return _mm256_add_epi32(x, y); }
INLINE Ints ints_mul(Ints x, Ints y) { return _mm256_mullo_epi32(x, y); }
INLINE __m128i load16(const uint8_t *from)
{
    return _mm_loadu_si128((const __m128i *)(const void *)from);
}
INLINE __m128i load8(const uint8_t *from)
{
    return _mm_loadl_epi64((const __m128i *)(const void *)from);
}
INLINE Ints ints_of_bytes(const uint8_t *x) { return _mm256_cvtepu8_epi32(load8(x)); }
INLINE Ints ints_of_signed_bytes(const uint8_t *x) { return _mm256_cvtepi8_epi32(load8(x)); }
INLINE Ints ints_pairs(Ints sum, const uint8_t *pairs, const int32_t *two)
{
    return _mm256_add_epi32(
        sum, _mm256_madd_epi16(_mm256_cvtepu8_epi16(load16(pairs)), _mm256_set1_epi32(*two)));
}

INLINE Floats ints_float(Ints x) { return _mm256_cvtepi32_ps(x); }
INLINE Floats floats_zero(void) { return _mm256_setzero_ps(); }
INLINE Floats floats_splat(const float *x) { return _mm256_set1_ps(*x); }
INLINE Floats floats_mul(Floats x, Floats y) { return _mm256_mul_ps(x, y); }
INLINE Floats floats_fma(Floats x, Floats y, Floats z) { return _mm256_fmadd_ps(x, y, z); }
INLINE Floats floats_fms(Floats x, Floats y, Floats z) { return _mm256_fmsub_ps(x, y, z); }
INLINE Floats floats_of_halves(const uint8_t *x) { return _mm256_cvtph_ps(load16(x)); }
INLINE void floats_store(float *to, Floats x) { _mm256_storeu_ps(to, x); }

INLINE Bytes quad_at(const int8_t *q)
{
    int32_t quad;
    __builtin_memcpy(&quad, q, sizeof quad);
    return _mm256_set1_epi32(quad);
}

#ifdef __AVXVNNI__
INLINE void dots(Ints *sum, uint32_t rows, const Bytes *w, const int8_t *q, uint32_t quads,
                 uint32_t bits)
{
    (void)bits;
#pragma GCC unroll 8
    for (uint32_t i = 0; i < quads; i++)
#pragma GCC unroll 4
        for (uint32_t row = 0; row < rows; row++)
            sum[row] = _mm256_dpbusd_avx_epi32(sum[row], w[i], quad_at(q + row * 64 + 4 * i));
}
#else
#define QGEMM_SIGNED_EIGHTS /* dots of 8 bits takes 128 off itself */

INLINE Ints products(Bytes w, Bytes quad, uint32_t bits)
{
    if (bits < 8)
        return _mm256_maddubs_epi16(w, quad);
    Bytes weight = _mm256_xor_si256(w, _mm256_set1_epi8((char)0x80));
    return _mm256_maddubs_epi16(_mm256_abs_epi8(weight), _mm256_sign_epi8(quad, weight));
}

INLINE void dots(Ints *sum, uint32_t rows, const Bytes *w, const int8_t *q, uint32_t quads,
                 uint32_t bits)
{
    const uint32_t run = bits == 4 ? 8 : bits == 5 ? 4 : bits == 6 ? 2 : 1;
    const Ints ones = _mm256_set1_epi16(1);
#pragma GCC unroll 4
    for (uint32_t row = 0; row < rows; row++) {
        Ints pairs = ints_zero();
#pragma GCC unroll 8
        for (uint32_t i = 0; i < quads; i++) {
            Ints now = products(w[i], quad_at(q + row * 64 + 4 * i), bits);
            pairs = i % run ? _mm256_add_epi16(pairs, now) : now;
            if (i % run == run - 1 || i + 1 == quads)
                sum[row] = ints_add(sum[row], _mm256_madd_epi16(pairs, ones));
        }
    }
}
#endif

INLINE uint32_t magnitude32(const float *x)
{
    const __m256i mask = _mm256_set1_epi32(0x7fffffff);
    __m256i most = _mm256_setzero_si256();
    for (uint32_t i = 0; i < 32; i += 8)
        most = _mm256_max_epi32(
            most, _mm256_and_si256(mask, bytes_load((const uint8_t *)(const void *)(x + i))));
    __m128i half = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(half);
}

INLINE __m256i whole8(const float *x, __m256 by)
{
    return _mm256_cvtps_epi32(_mm256_round_ps(_mm256_mul_ps(_mm256_loadu_ps(x), by),
                                              _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

INLINE int32_t sum_of_both(__m256i x, __m256i y)
{
    x = _mm256_add_epi32(x, y);
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
}

INLINE void round32(int8_t *q, const float *x, float by, int32_t sum[2])
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256 factor = _mm256_set1_ps(by);
    __m256i a = whole8(x, factor), b = whole8(x + 8, factor);
    __m256i c = whole8(x + 16, factor), d = whole8(x + 24, factor);
    sum[0] = sum_of_both(a, b);
    sum[1] = sum_of_both(c, d);
    __m256i all = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    _mm256_storeu_si256((__m256i *)(void *)q, _mm256_permutevar8x32_epi32(all, order));
}
