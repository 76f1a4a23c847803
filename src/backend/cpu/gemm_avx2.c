/* gemm_avx2.c: the AVX2 + FMA row of gemm's table: tiles of 6 x 16.
 *
 * 12 of the 16 registers hold C, two a row of the panel of B, one or two a broadcast element of A:
 * per k 12 fused multiply-adds (6 cycles on two ports) and 8 loads (4 cycles).
 */
#include "backend/cpu/gemm_kernel.h"

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

enum {
    ROWS = 6,
    COLUMNS = 16,
    LANES = 8,
    AHEAD = 96, /* k: prefetch distance within the panel, 6 KiB: what memory's latency asks for */
};

#define INLINE static inline __attribute__((always_inline))

/* Half precision is asked of cpuid itself: compilers differ in knowing its name. */
static bool avx2_supported(void)
{
    unsigned a, b, c, d;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

INLINE void store_tile(uint32_t rows, __m256 acc[ROWS][2], float *c, size_t ldc, bool add)
{
#pragma GCC unroll 6
    for (uint32_t i = 0; i < rows; i++) {
        float *row = c + i * ldc;
        if (add) {
            acc[i][0] = _mm256_add_ps(_mm256_loadu_ps(row), acc[i][0]);
            acc[i][1] = _mm256_add_ps(_mm256_loadu_ps(row + LANES), acc[i][1]);
        }
        _mm256_storeu_ps(row, acc[i][0]);
        _mm256_storeu_ps(row + LANES, acc[i][1]);
    }
}

/* rows is a constant in every use. a_row == 1: A is packed or transposed; else a_step == 1. */
INLINE void tile_rows(uint32_t rows, uint32_t depth, const float *a, size_t a_row, size_t a_step,
                      const float *b, const float *next, float *c, size_t ldc, bool add)
{
    __m256 acc[ROWS][2];
#pragma GCC unroll 6
    for (uint32_t i = 0; i < rows; i++) {
        acc[i][0] = acc[i][1] = _mm256_setzero_ps();
        _mm_prefetch((const char *)(c + i * ldc), _MM_HINT_T0);
    }
    for (uint32_t k = 0; k < depth; k++) {
        __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + LANES);
        _mm_prefetch((const char *)(b + AHEAD * COLUMNS), _MM_HINT_T0);
        _mm_prefetch((const char *)next, _MM_HINT_T1);
        next += GEMM_NEXT_STEP;
#pragma GCC unroll 6
        for (uint32_t i = 0; i < rows; i++) {
            __m256 x = _mm256_broadcast_ss(a + i * a_row);
            acc[i][0] = _mm256_fmadd_ps(x, b0, acc[i][0]);
            acc[i][1] = _mm256_fmadd_ps(x, b1, acc[i][1]);
        }
        a += a_step;
        b += COLUMNS;
    }
    store_tile(rows, acc, c, ldc, add);
}

/* The two ways to walk A become constants here. */
INLINE void tile_either(uint32_t rows, uint32_t depth, const float *a, size_t a_row, size_t a_step,
                        const float *b, const float *next, float *c, size_t ldc, bool add)
{
    if (a_row == 1)
        tile_rows(rows, depth, a, 1, a_step, b, next, c, ldc, add);
    else
        tile_rows(rows, depth, a, a_row, 1, b, next, c, ldc, add);
}

static void avx2_tile(uint32_t rows, uint32_t depth, const float *a, size_t a_row, size_t a_step,
                      const float *b, const float *next, float *c, size_t ldc, bool add)
{
    switch (rows) {
    case 1: tile_either(1, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    case 2: tile_either(2, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    case 3: tile_either(3, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    case 4: tile_either(4, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    case 5: tile_either(5, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    default: tile_either(6, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    }
}

INLINE __m256 weight(const uint8_t *q, __m256 scale)
{
    __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)q);
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)), scale);
}

INLINE __m256 scales(const uint8_t *b)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)b));
}

INLINE void tile_q8_rows(uint32_t rows, uint32_t depth, const float *a, size_t a_row,
                         const uint8_t *b, float *c, size_t ldc, bool add)
{
    __m256 acc[ROWS][2];
#pragma GCC unroll 4
    for (uint32_t i = 0; i < rows; i++)
        acc[i][0] = acc[i][1] = _mm256_setzero_ps();
    for (uint32_t group = 0; group < depth; group += GEMM_Q8_GROUP) {
        __m256 scale0 = scales(b), scale1 = scales(b + 2 * LANES);
        b += 2 * COLUMNS;
        for (uint32_t k = group; k < group + GEMM_Q8_GROUP; k++, b += COLUMNS) {
            __m256 b0 = weight(b, scale0), b1 = weight(b + LANES, scale1);
#pragma GCC unroll 4
            for (uint32_t i = 0; i < rows; i++) {
                __m256 x = _mm256_broadcast_ss(a + i * a_row + k);
                acc[i][0] = _mm256_fmadd_ps(x, b0, acc[i][0]);
                acc[i][1] = _mm256_fmadd_ps(x, b1, acc[i][1]);
            }
        }
    }
    store_tile(rows, acc, c, ldc, add);
}

static void avx2_tile_q8(uint32_t rows, uint32_t depth, const float *a, size_t a_row,
                         const uint8_t *b, float *c, size_t ldc, bool add)
{
    switch (rows) {
    case 1: tile_q8_rows(1, depth, a, a_row, b, c, ldc, add); break;
    case 2: tile_q8_rows(2, depth, a, a_row, b, c, ldc, add); break;
    case 3: tile_q8_rows(3, depth, a, a_row, b, c, ldc, add); break;
    default: tile_q8_rows(4, depth, a, a_row, b, c, ldc, add); break;
    }
}

static void avx2_unpack_q8(float *panel, const uint8_t *q8, uint32_t depth)
{
    for (uint32_t group = 0; group < depth; group += GEMM_Q8_GROUP) {
        __m256 scale0 = scales(q8), scale1 = scales(q8 + 2 * LANES);
        q8 += 2 * COLUMNS;
        for (uint32_t k = 0; k < GEMM_Q8_GROUP; k++, q8 += COLUMNS, panel += COLUMNS) {
            _mm256_storeu_ps(panel, weight(q8, scale0));
            _mm256_storeu_ps(panel + LANES, weight(q8 + LANES, scale1));
        }
    }
}

/* 8 x 8 in registers, in three rounds: pairs of floats, quads of floats, halves. */
INLINE void transpose8(__m256 r[LANES])
{
    __m256 t[LANES], u[LANES];
#pragma GCC unroll 4
    for (uint32_t i = 0; i < LANES; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (uint32_t i = 0; i < LANES; i += 4) {
        u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
    }
}

/* The last k that do not fill a block of eight, and their zeros. */
static void transpose_rest(float *panel, uint32_t width, const float *x, size_t ld, uint32_t lines,
                           uint32_t from, uint32_t depth)
{
    for (uint32_t k = from; k < depth; k++)
        for (uint32_t i = 0; i < width; i++)
            panel[(size_t)k * width + i] = i < lines ? x[i * ld + k] : 0;
}

/* Stores are eight wide even where the panel is six wide: what spills over lies where the next k
 * is stored later, or in the slack behind the panel. */
static void avx2_pack_transpose(float *panel, uint32_t width, const float *x, size_t ld,
                                uint32_t lines, uint32_t depth)
{
    uint32_t whole = depth / LANES * LANES;
    for (uint32_t k = 0; k < whole; k += LANES) {
        for (uint32_t line = 0; line < width; line += LANES) {
            __m256 r[LANES];
#pragma GCC unroll 8
            for (uint32_t i = 0; i < LANES; i++)
                r[i] = line + i < lines ? _mm256_loadu_ps(x + (line + i) * ld + k)
                                        : _mm256_setzero_ps();
            transpose8(r);
            float *out = panel + (size_t)k * width + line;
#pragma GCC unroll 8
            for (uint32_t i = 0; i < LANES; i++)
                _mm256_storeu_ps(out + i * width, r[i]);
        }
    }
    transpose_rest(panel, width, x, ld, lines, whole, depth);
}

static void avx2_pack_copy(float *panel, uint32_t width, const float *x, size_t ld, uint32_t lines,
                           uint32_t depth)
{
    if (lines == COLUMNS && width == COLUMNS) {
        for (uint32_t k = 0; k < depth; k++, panel += COLUMNS, x += ld) {
            _mm256_storeu_ps(panel, _mm256_loadu_ps(x));
            _mm256_storeu_ps(panel + LANES, _mm256_loadu_ps(x + LANES));
        }
    } else if (lines == ROWS && width == ROWS) {
        for (uint32_t k = 0; k < depth; k++, panel += ROWS, x += ld)
            memcpy(panel, x, ROWS * sizeof *x);
    } else {
        for (uint32_t k = 0; k < depth; k++)
            for (uint32_t i = 0; i < width; i++)
                panel[(size_t)k * width + i] = i < lines ? x[k * ld + i] : 0;
    }
}

const GemmIsa gemm_isa_avx2 = {
    .name = "avx2",
    .supported = avx2_supported,
    .error = 0x1p-24,
    .rows = ROWS,
    .columns = COLUMNS,
    .q8_rows = 4,
    .depth = 512,
    .depth_many = 512,
    .block_rows = 16 * ROWS,
    .unit = 1,
    .halves = 2,
    .copy_step = 8,
    .pack_work = 24,
    .tile = avx2_tile,
    .tile_q8 = avx2_tile_q8,
    .rows_transpose = avx2_pack_transpose,
    .rows_copy = avx2_pack_copy,
    .columns_transpose = avx2_pack_transpose,
    .columns_copy = avx2_pack_copy,
    .unpack_q8 = avx2_unpack_q8,
};
