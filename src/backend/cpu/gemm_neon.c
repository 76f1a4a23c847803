/* gemm_neon.c: the row of gemm's table for arm64: tiles of 8 x 8.
 *
 * 16 of the 32 registers hold C, enough chains for four multiply-add ports with a latency of four
 * cycles; two hold a row of the panel of B, the rest elements of A on their way.
 */
#include "backend/cpu/gemm_kernel.h"

#include <arm_neon.h>

enum { ROWS = 8, COLUMNS = 8, LANES = 4 };

#define INLINE static inline __attribute__((always_inline))

static bool neon_supported(void)
{
    return true; /* part of every arm64 */
}

INLINE void store_tile(uint32_t rows, float32x4_t acc[ROWS][2], float *c, size_t ldc, bool add)
{
#pragma GCC unroll 8
    for (uint32_t i = 0; i < rows; i++) {
        float *row = c + i * ldc;
        if (add) {
            acc[i][0] = vaddq_f32(vld1q_f32(row), acc[i][0]);
            acc[i][1] = vaddq_f32(vld1q_f32(row + LANES), acc[i][1]);
        }
        vst1q_f32(row, acc[i][0]);
        vst1q_f32(row + LANES, acc[i][1]);
    }
}

/* rows is a constant in every use. a_row == 1: A is packed or transposed; else a_step == 1. */
INLINE void tile_rows(uint32_t rows, uint32_t depth, const float *a, size_t a_row, size_t a_step,
                      const float *b, const float *next, float *c, size_t ldc, bool add)
{
    float32x4_t acc[ROWS][2];
#pragma GCC unroll 8
    for (uint32_t i = 0; i < rows; i++)
        acc[i][0] = acc[i][1] = vdupq_n_f32(0);
    for (uint32_t k = 0; k < depth; k++) {
        __builtin_prefetch(next);
        next += GEMM_NEXT_STEP;
        float32x4_t b0 = vld1q_f32(b), b1 = vld1q_f32(b + LANES);
#pragma GCC unroll 8
        for (uint32_t i = 0; i < rows; i++) {
            float x = a[i * a_row];
            acc[i][0] = vfmaq_n_f32(acc[i][0], b0, x);
            acc[i][1] = vfmaq_n_f32(acc[i][1], b1, x);
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

static void neon_tile(uint32_t rows, uint32_t depth, const float *a, size_t a_row, size_t a_step,
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
    default: tile_either(8, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    }
}

/* Eight weights of one k. */
INLINE void weights(const uint8_t *q, const float32x4_t scale[2], float32x4_t w[2])
{
    int16x8_t wide = vmovl_s8(vreinterpret_s8_u8(vld1_u8(q)));
    w[0] = vmulq_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))), scale[0]);
    w[1] = vmulq_f32(vcvtq_f32_s32(vmovl_s16(vget_high_s16(wide))), scale[1]);
}

INLINE void scales(const uint8_t *b, float32x4_t scale[2])
{
    float16x8_t half = vreinterpretq_f16_u8(vld1q_u8(b));
    scale[0] = vcvt_f32_f16(vget_low_f16(half));
    scale[1] = vcvt_f32_f16(vget_high_f16(half));
}

INLINE void tile_q8_rows(uint32_t rows, uint32_t depth, const float *a, size_t a_row,
                         const uint8_t *b, float *c, size_t ldc, bool add)
{
    float32x4_t acc[ROWS][2], scale[2], w[2];
#pragma GCC unroll 4
    for (uint32_t i = 0; i < rows; i++)
        acc[i][0] = acc[i][1] = vdupq_n_f32(0);
    for (uint32_t group = 0; group < depth; group += GEMM_Q8_GROUP) {
        scales(b, scale);
        b += 2 * COLUMNS;
        for (uint32_t k = group; k < group + GEMM_Q8_GROUP; k++, b += COLUMNS) {
            weights(b, scale, w);
#pragma GCC unroll 4
            for (uint32_t i = 0; i < rows; i++) {
                float x = a[i * a_row + k];
                acc[i][0] = vfmaq_n_f32(acc[i][0], w[0], x);
                acc[i][1] = vfmaq_n_f32(acc[i][1], w[1], x);
            }
        }
    }
    store_tile(rows, acc, c, ldc, add);
}

static void neon_tile_q8(uint32_t rows, uint32_t depth, const float *a, size_t a_row,
                         const uint8_t *b, float *c, size_t ldc, bool add)
{
    switch (rows) {
    case 1: tile_q8_rows(1, depth, a, a_row, b, c, ldc, add); break;
    case 2: tile_q8_rows(2, depth, a, a_row, b, c, ldc, add); break;
    case 3: tile_q8_rows(3, depth, a, a_row, b, c, ldc, add); break;
    default: tile_q8_rows(4, depth, a, a_row, b, c, ldc, add); break;
    }
}

static void neon_unpack_q8(float *panel, const uint8_t *q8, uint32_t depth)
{
    float32x4_t scale[2], w[2];
    for (uint32_t group = 0; group < depth; group += GEMM_Q8_GROUP) {
        scales(q8, scale);
        q8 += 2 * COLUMNS;
        for (uint32_t k = 0; k < GEMM_Q8_GROUP; k++, q8 += COLUMNS, panel += COLUMNS) {
            weights(q8, scale, w);
            vst1q_f32(panel, w[0]);
            vst1q_f32(panel + LANES, w[1]);
        }
    }
}

INLINE void transpose4(float32x4_t r[LANES])
{
    float32x4x2_t low = vtrnq_f32(r[0], r[1]), high = vtrnq_f32(r[2], r[3]);
    r[0] = vcombine_f32(vget_low_f32(low.val[0]), vget_low_f32(high.val[0]));
    r[1] = vcombine_f32(vget_low_f32(low.val[1]), vget_low_f32(high.val[1]));
    r[2] = vcombine_f32(vget_high_f32(low.val[0]), vget_high_f32(high.val[0]));
    r[3] = vcombine_f32(vget_high_f32(low.val[1]), vget_high_f32(high.val[1]));
}

/* rows and columns are both eight: width is always 8. */
static void neon_pack_transpose(float *panel, uint32_t width, const float *x, size_t ld,
                                uint32_t lines, uint32_t depth)
{
    uint32_t whole = depth / LANES * LANES;
    for (uint32_t k = 0; k < whole; k += LANES) {
        for (uint32_t line = 0; line < width; line += LANES) {
            float32x4_t r[LANES];
            for (uint32_t i = 0; i < LANES; i++)
                r[i] = line + i < lines ? vld1q_f32(x + (line + i) * ld + k) : vdupq_n_f32(0);
            transpose4(r);
            for (uint32_t i = 0; i < LANES; i++)
                vst1q_f32(panel + (size_t)(k + i) * width + line, r[i]);
        }
    }
    for (uint32_t k = whole; k < depth; k++)
        for (uint32_t i = 0; i < width; i++)
            panel[(size_t)k * width + i] = i < lines ? x[i * ld + k] : 0;
}

static void neon_pack_copy(float *panel, uint32_t width, const float *x, size_t ld, uint32_t lines,
                           uint32_t depth)
{
    if (lines == COLUMNS) {
        for (uint32_t k = 0; k < depth; k++, panel += COLUMNS, x += ld) {
            vst1q_f32(panel, vld1q_f32(x));
            vst1q_f32(panel + LANES, vld1q_f32(x + LANES));
        }
        return;
    }
    for (uint32_t k = 0; k < depth; k++)
        for (uint32_t i = 0; i < width; i++)
            panel[(size_t)k * width + i] = i < lines ? x[k * ld + i] : 0;
}

const GemmIsa gemm_isa_neon = {
    .name = "neon",
    .supported = neon_supported,
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
    .tile = neon_tile,
    .tile_q8 = neon_tile_q8,
    .rows_transpose = neon_pack_transpose,
    .rows_copy = neon_pack_copy,
    .columns_transpose = neon_pack_transpose,
    .columns_copy = neon_pack_copy,
    .unpack_q8 = neon_unpack_q8,
};
