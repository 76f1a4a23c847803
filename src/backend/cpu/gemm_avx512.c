/* gemm_avx512.c: the AVX-512 row of gemm's table: tiles of 14 x 32.
 *
 * 28 of the 32 registers hold C, two a row of the panel of B, one a broadcast element of A: per k
 * 28 fused multiply-adds (14 cycles on two ports) and 16 loads (8 cycles), so that the multiply
 * ports stay the bound even when a panel comes from the second-level cache.
 */
#include "backend/cpu/gemm_kernel.h"

#include <immintrin.h>

enum {
    ROWS = 14,
    COLUMNS = 32,
    LANES = 16,
    Q8_ROWS = 8,
    AHEAD = 48, /* k: prefetch distance within the panel, 6 KiB: what memory's latency asks for */
};

#define INLINE static inline __attribute__((always_inline))

static bool avx512_supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
}

/* A broadcast that the compiler may not fold into its two users: folded, each of them would load
 * it again, and loads would become the bound. */
INLINE __m512 broadcast(const float *x)
{
    __m512 lanes = _mm512_set1_ps(*x);
    __asm__("" : "+v"(lanes));
    return lanes;
}

INLINE void store_tile(uint32_t rows, __m512 acc[ROWS][2], float *c, size_t ldc, bool add)
{
#pragma GCC unroll 14
    for (uint32_t i = 0; i < rows; i++) {
        float *row = c + i * ldc;
        if (add) {
            acc[i][0] = _mm512_add_ps(_mm512_loadu_ps(row), acc[i][0]);
            acc[i][1] = _mm512_add_ps(_mm512_loadu_ps(row + LANES), acc[i][1]);
        }
        _mm512_storeu_ps(row, acc[i][0]);
        _mm512_storeu_ps(row + LANES, acc[i][1]);
    }
}

/* rows is a constant in every use. a_row == 1: A is packed or transposed; else a_step == 1. */
INLINE void tile_rows(uint32_t rows, uint32_t depth, const float *a, size_t a_row, size_t a_step,
                      const float *b, const float *next, float *c, size_t ldc, bool add)
{
    __m512 acc[ROWS][2];
#pragma GCC unroll 14
    for (uint32_t i = 0; i < rows; i++) {
        acc[i][0] = acc[i][1] = _mm512_setzero_ps();
        _mm_prefetch(c + i * ldc, _MM_HINT_T0);
        _mm_prefetch(c + i * ldc + LANES, _MM_HINT_T0);
    }
    for (uint32_t k = 0; k < depth; k++) {
        __m512 b0 = _mm512_loadu_ps(b), b1 = _mm512_loadu_ps(b + LANES);
        _mm_prefetch(b + AHEAD * COLUMNS, _MM_HINT_T0);
        _mm_prefetch(b + AHEAD * COLUMNS + LANES, _MM_HINT_T0);
        _mm_prefetch(next, _MM_HINT_T1);
        next += GEMM_NEXT_STEP;
#pragma GCC unroll 14
        for (uint32_t i = 0; i < rows; i++) {
            __m512 x = broadcast(a + i * a_row);
            acc[i][0] = _mm512_fmadd_ps(x, b0, acc[i][0]);
            acc[i][1] = _mm512_fmadd_ps(x, b1, acc[i][1]);
        }
        a += a_step;
        b += COLUMNS;
    }
    store_tile(rows, acc, c, ldc, add);
}

/* The number of rows and the two ways to walk A become constants here. */
INLINE void tile_either(uint32_t rows, uint32_t depth, const float *a, size_t a_row, size_t a_step,
                        const float *b, const float *next, float *c, size_t ldc, bool add)
{
    if (a_row == 1)
        tile_rows(rows, depth, a, 1, a_step, b, next, c, ldc, add);
    else
        tile_rows(rows, depth, a, a_row, 1, b, next, c, ldc, add);
}

static void avx512_tile(uint32_t rows, uint32_t depth, const float *a, size_t a_row, size_t a_step,
                        const float *b, const float *next, float *c, size_t ldc, bool add)
{
    switch (rows) {
    case 1: tile_either(1, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    case 2: tile_either(2, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    case 3: tile_either(3, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    case 4: tile_either(4, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    case 5: tile_either(5, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    case 6: tile_either(6, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    case 7: tile_either(7, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    case 8: tile_either(8, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    case 9: tile_either(9, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    case 10: tile_either(10, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    case 11: tile_either(11, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    case 12: tile_either(12, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    case 13: tile_either(13, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    default: tile_either(14, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    }
}

INLINE __m512 weight(const uint8_t *q, __m512 scale)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)q);
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)), scale);
}

INLINE __m512 scales(const uint8_t *b)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)b));
}

INLINE void tile_q8_rows(uint32_t rows, uint32_t depth, const float *a, size_t a_row,
                         const uint8_t *b, float *c, size_t ldc, bool add)
{
    __m512 acc[ROWS][2];
#pragma GCC unroll 8
    for (uint32_t i = 0; i < rows; i++)
        acc[i][0] = acc[i][1] = _mm512_setzero_ps();
    for (uint32_t group = 0; group < depth; group += GEMM_Q8_GROUP) {
        __m512 scale0 = scales(b), scale1 = scales(b + 2 * LANES);
        b += 2 * COLUMNS;
        for (uint32_t k = group; k < group + GEMM_Q8_GROUP; k++, b += COLUMNS) {
            __m512 b0 = weight(b, scale0), b1 = weight(b + LANES, scale1);
            _mm_prefetch(b + 2048, _MM_HINT_T0);
#pragma GCC unroll 8
            for (uint32_t i = 0; i < rows; i++) {
                __m512 x = broadcast(a + i * a_row + k);
                acc[i][0] = _mm512_fmadd_ps(x, b0, acc[i][0]);
                acc[i][1] = _mm512_fmadd_ps(x, b1, acc[i][1]);
            }
        }
    }
    store_tile(rows, acc, c, ldc, add);
}

static void avx512_tile_q8(uint32_t rows, uint32_t depth, const float *a, size_t a_row,
                           const uint8_t *b, float *c, size_t ldc, bool add)
{
    switch (rows) {
    case 1: tile_q8_rows(1, depth, a, a_row, b, c, ldc, add); break;
    case 2: tile_q8_rows(2, depth, a, a_row, b, c, ldc, add); break;
    case 3: tile_q8_rows(3, depth, a, a_row, b, c, ldc, add); break;
    case 4: tile_q8_rows(4, depth, a, a_row, b, c, ldc, add); break;
    case 5: tile_q8_rows(5, depth, a, a_row, b, c, ldc, add); break;
    case 6: tile_q8_rows(6, depth, a, a_row, b, c, ldc, add); break;
    case 7: tile_q8_rows(7, depth, a, a_row, b, c, ldc, add); break;
    default: tile_q8_rows(8, depth, a, a_row, b, c, ldc, add); break;
    }
}

static void avx512_unpack_q8(float *panel, const uint8_t *q8, uint32_t depth)
{
    for (uint32_t group = 0; group < depth; group += GEMM_Q8_GROUP) {
        __m512 scale0 = scales(q8), scale1 = scales(q8 + 2 * LANES);
        q8 += 2 * COLUMNS;
        for (uint32_t k = 0; k < GEMM_Q8_GROUP; k++, q8 += COLUMNS, panel += COLUMNS) {
            _mm_prefetch(q8 + 2048, _MM_HINT_T0);
            _mm512_storeu_ps(panel, weight(q8, scale0));
            _mm512_storeu_ps(panel + LANES, weight(q8 + LANES, scale1));
        }
    }
}

/* 16 x 16 in registers, in four rounds: pairs of floats, pairs of doubles, then quarters twice. */
INLINE void transpose16(__m512 r[LANES])
{
    __m512 t[LANES];
#pragma GCC unroll 8
    for (uint32_t i = 0; i < LANES; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (uint32_t i = 0; i < LANES; i += 4) {
        for (uint32_t half = 0; half < 2; half++) {
            __m512d low = _mm512_castps_pd(t[i + half]), high = _mm512_castps_pd(t[i + 2 + half]);
            r[i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            r[i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    }
    /* r[4g + c] now holds, in its quarter q, rows 4g..4g+3 of column 4q + c. */
#pragma GCC unroll 4
    for (uint32_t column = 0; column < 4; column++) {
        __m512 a = _mm512_shuffle_f32x4(r[column], r[4 + column], 0x88);
        __m512 b = _mm512_shuffle_f32x4(r[column], r[4 + column], 0xdd);
        __m512 c = _mm512_shuffle_f32x4(r[8 + column], r[12 + column], 0x88);
        __m512 d = _mm512_shuffle_f32x4(r[8 + column], r[12 + column], 0xdd);
        t[column] = _mm512_shuffle_f32x4(a, c, 0x88);
        t[8 + column] = _mm512_shuffle_f32x4(a, c, 0xdd);
        t[4 + column] = _mm512_shuffle_f32x4(b, d, 0x88);
        t[12 + column] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
#pragma GCC unroll 16
    for (uint32_t i = 0; i < LANES; i++)
        r[i] = t[i];
}

static void avx512_pack_transpose(float *panel, uint32_t width, const float *x, size_t ld,
                                  uint32_t lines, uint32_t depth)
{
    for (uint32_t line = 0; line < width; line += LANES) {
        uint32_t wide = width - line < LANES ? width - line : LANES;
        uint32_t have = line >= lines ? 0 : lines - line < wide ? lines - line : wide;
        __mmask16 keep = (__mmask16)((1u << wide) - 1);
        for (uint32_t k = 0; k < depth; k += LANES) {
            uint32_t steps = depth - k < LANES ? depth - k : LANES;
            __mmask16 load = (__mmask16)((1u << steps) - 1);
            __m512 r[LANES];
#pragma GCC unroll 16
            for (uint32_t i = 0; i < LANES; i++)
                r[i] = i < have ? _mm512_maskz_loadu_ps(load, x + (line + i) * ld + k)
                                : _mm512_setzero_ps();
            transpose16(r);
            float *out = panel + (size_t)k * width + line;
            if (steps == LANES) {
#pragma GCC unroll 16
                for (uint32_t i = 0; i < LANES; i++)
                    _mm512_mask_storeu_ps(out + i * width, keep, r[i]);
            } else {
                for (uint32_t i = 0; i < steps; i++)
                    _mm512_mask_storeu_ps(out + i * width, keep, r[i]);
            }
        }
    }
}

/* Whole registers are stored, over the place of the next k, which comes later; only the last k
 * minds its neighbour behind. */
static void avx512_pack_copy(float *panel, uint32_t width, const float *x, size_t ld,
                             uint32_t lines, uint32_t depth)
{
    uint32_t low = lines < LANES ? lines : LANES, high = lines - low;
    __mmask16 load0 = (__mmask16)((1u << low) - 1), load1 = (__mmask16)((1u << high) - 1);
    if (width > LANES) { /* COLUMNS: two registers */
        for (uint32_t k = 0; k < depth; k++, panel += width, x += ld) {
            _mm512_storeu_ps(panel, _mm512_maskz_loadu_ps(load0, x));
            _mm512_storeu_ps(panel + LANES, _mm512_maskz_loadu_ps(load1, x + low));
        }
        return;
    }
    for (uint32_t k = 0; k + 1 < depth; k++, panel += width, x += ld)
        _mm512_storeu_ps(panel, _mm512_maskz_loadu_ps(load0, x));
    if (depth)
        _mm512_mask_storeu_ps(panel, (__mmask16)((1u << width) - 1),
                              _mm512_maskz_loadu_ps(load0, x));
}

const GemmIsa gemm_isa_avx512 = {
    .name = "avx512",
    .supported = avx512_supported,
    .error = 0x1p-24,
    .rows = ROWS,
    .columns = COLUMNS,
    .q8_rows = Q8_ROWS,
    .depth = 512,
    .depth_many = 512,
    .block_rows = 12 * ROWS,
    .unit = 1,
    .halves = 2,
    .copy_step = 8,
    .pack_work = 24,
    .tile = avx512_tile,
    .tile_q8 = avx512_tile_q8,
    .rows_transpose = avx512_pack_transpose,
    .rows_copy = avx512_pack_copy,
    .columns_transpose = avx512_pack_transpose,
    .columns_copy = avx512_pack_copy,
    .unpack_q8 = avx512_unpack_q8,
};
