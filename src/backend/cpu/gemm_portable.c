/* gemm_portable.c: the row of gemm's table for any processor: tiles of 4 x 8 in plain C.
 *
 * GCC's vectors of four floats compile to whatever the target's base set has (SSE2, NEON, or four
 * scalars). Multiply and add round apart here: a fused multiply-add in software would be a call
 * for each element.
 */
#include "backend/cpu/gemm_kernel.h"

#include <string.h>

enum { ROWS = 4, COLUMNS = 8, LANES = 4 };

typedef float Lanes __attribute__((vector_size(16)));

static bool portable_supported(void)
{
    return true;
}

static inline Lanes load(const float *x)
{
    Lanes lanes;
    memcpy(&lanes, x, sizeof lanes);
    return lanes;
}

static inline void store(float *x, Lanes lanes)
{
    memcpy(x, &lanes, sizeof lanes);
}

/* rows is a constant in every use. */
static inline __attribute__((always_inline)) void
tile_rows(uint32_t rows, uint32_t depth, const float *a, size_t a_row, size_t a_step,
          const float *b, const float *next, float *c, size_t ldc, bool add)
{
    (void)next;
    Lanes acc[ROWS][2] = {{{0}}};
    for (uint32_t k = 0; k < depth; k++) {
        Lanes b0 = load(b), b1 = load(b + LANES);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < rows; i++) {
            float x = a[i * a_row];
            acc[i][0] += x * b0;
            acc[i][1] += x * b1;
        }
        a += a_step;
        b += COLUMNS;
    }
#pragma GCC unroll 4
    for (uint32_t i = 0; i < rows; i++) {
        float *row = c + i * ldc;
        store(row, add ? load(row) + acc[i][0] : acc[i][0]);
        store(row + LANES, add ? load(row + LANES) + acc[i][1] : acc[i][1]);
    }
}

static void portable_tile(uint32_t rows, uint32_t depth, const float *a, size_t a_row,
                          size_t a_step, const float *b, const float *next, float *c, size_t ldc,
                          bool add)
{
    switch (rows) {
    case 1: tile_rows(1, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    case 2: tile_rows(2, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    case 3: tile_rows(3, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    default: tile_rows(4, depth, a, a_row, a_step, b, next, c, ldc, add); break;
    }
}

/* IEEE half precision: moved to f32's place, the exponent's bias repaired by a multiplication,
 * which is exact and also turns subnormals into normal numbers. */
static float half_to_float(const uint8_t *x)
{
    uint32_t half = (uint32_t)x[0] | (uint32_t)x[1] << 8;
    uint32_t bits = (half & 0x7fff) << 13;
    float value;
    memcpy(&value, &bits, sizeof value);
    value *= 0x1p112f;
    memcpy(&bits, &value, sizeof value);
    if ((half & 0x7c00) == 0x7c00) /* infinities and NaNs keep the largest exponent */
        bits |= 0x7f800000;
    bits |= (half & 0x8000) << 16;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void unpack_group(float *panel, const uint8_t *q8)
{
    float scale[COLUMNS];
    for (uint32_t j = 0; j < COLUMNS; j++)
        scale[j] = half_to_float(q8 + 2 * j);
    const int8_t *q = (const int8_t *)(q8 + 2 * COLUMNS);
    for (uint32_t k = 0; k < GEMM_Q8_GROUP; k++)
        for (uint32_t j = 0; j < COLUMNS; j++)
            panel[k * COLUMNS + j] = (float)q[k * COLUMNS + j] * scale[j];
}

static void portable_unpack_q8(float *panel, const uint8_t *q8, uint32_t depth)
{
    for (uint32_t group = 0; group < depth; group += GEMM_Q8_GROUP) {
        unpack_group(panel, q8);
        panel += GEMM_Q8_GROUP * COLUMNS;
        q8 += gemm_q8_panel_bytes(COLUMNS, GEMM_Q8_GROUP);
    }
}

/* The chain runs on over the groups, so a group cannot go through portable_tile, which begins at
 * zero; the weights of a whole block are unpacked instead. */
static void portable_tile_q8(uint32_t rows, uint32_t depth, const float *a, size_t a_row,
                             const uint8_t *b, float *c, size_t ldc, bool add)
{
    float panel[GEMM_KC * COLUMNS];
    portable_unpack_q8(panel, b, depth);
    portable_tile(rows, depth, a, a_row, 1, panel, panel, c, ldc, add);
}

static void portable_pack_transpose(float *panel, uint32_t width, const float *x, size_t ld,
                                    uint32_t lines, uint32_t depth)
{
    for (uint32_t i = 0; i < width; i++)
        for (uint32_t k = 0; k < depth; k++)
            panel[(size_t)k * width + i] = i < lines ? x[i * ld + k] : 0;
}

static void portable_pack_copy(float *panel, uint32_t width, const float *x, size_t ld,
                               uint32_t lines, uint32_t depth)
{
    for (uint32_t k = 0; k < depth; k++)
        for (uint32_t i = 0; i < width; i++)
            panel[(size_t)k * width + i] = i < lines ? x[k * ld + i] : 0;
}

const GemmIsa gemm_isa_portable = {
    .name = "portable",
    .supported = portable_supported,
    .error = 0x1p-24,
    .rows = ROWS,
    .columns = COLUMNS,
    .q8_rows = 4,
    .depth = 512,
    .depth_many = 512,
    .block_rows = 32 * ROWS,
    .unit = 1,
    .halves = 2,
    .copy_step = 8,
    .pack_work = 24,
    .tile = portable_tile,
    .tile_q8 = portable_tile_q8,
    .rows_transpose = portable_pack_transpose,
    .rows_copy = portable_pack_copy,
    .columns_transpose = portable_pack_transpose,
    .columns_copy = portable_pack_copy,
    .unpack_q8 = portable_unpack_q8,
};
