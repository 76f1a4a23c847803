/* qgemm_body.h: the passes of an instruction set's row of qgemm's table, over its own primitives.
 * Included once by each qgemm_<set>.c, which defines before it:
 *
 *   QGEMM_LANES     int32 in a vector; QGEMM_PASS: most rows of a pass
 *   Bytes, Ints, Floats     vectors of 4 LANES bytes, LANES int32, LANES f32
 *   bytes_load/and/or/left/right/store       shifts may carry into a neighbour: masked after
 *   ints_zero/splat/add/mul/of_bytes/of_signed_bytes/float
 *   ints_pairs(sum, u8 pairs, two int16)     sum + pair[0] two[0] + pair[1] two[1], a pair a lane
 *   floats_zero/splat/mul/fma/fms/of_halves/store
 *   dots(sum, rows, w, q, quads, bits)      to the sum of each row, of LANES columns, adds that over
 *                   quads of w q, w below 1 << bits; rows of q are a line apart. With
 *                   QGEMM_SIGNED_EIGHTS it takes w - 128 when bits == 8, else sums begin at the offset
 *   magnitude32(x)  largest bits of |x[32]|
 *   round32(q, x, by, sum)  q[32] = x by, to the nearest whole number, ties to even; sum of each 16
 *
 * Weights are loaded and taken apart once for all rows of a pass. Loops over rows have constant
 * bounds, so that a row's sums stay in registers.
 */
#pragma once
#include "backend/cpu/qgemm_weights.h"

#include <math.h>
#include <string.h>

enum {
    AHEAD = 64 * QGEMM_LINE,       /* prefetch distance: what memory's latency asks for */
};

/* ---- A ---- */

#ifdef QGEMM_SIGNED_EIGHTS
enum { SIGNED_EIGHTS = true };
#else
enum { SIGNED_EIGHTS = false };
#endif

#define LEAST 0x1p-119f /* of a block; below, 127 / x is not finite */

/* From the largest bits of a block: what to multiply by before rounding; *scale: of the block. */
INLINE float block_inverse(uint32_t most, float *scale)
{
    float top;
    memcpy(&top, &most, sizeof top);
    if (top >= LEAST && most < 0x7f800000) {
        *scale = top / 127;
        return 127 / top;
    }
    *scale = most < 0x7f800000 ? 0 : NAN;
    return 0;
}

/* 32 numbers that have their inverse. Zero times what is infinite is not a number: left out. */
INLINE void round_part(int8_t *q, const float *x, float inverse, int32_t sum[2])
{
    if (inverse > 0) {
        round32(q, x, inverse, sum);
        return;
    }
    memset(q, 0, 32);
    sum[0] = sum[1] = 0;
}

INLINE void quantise_small(const QgemmForm *form, const QgemmStrip *strip, uint32_t row,
                           const float *x, uint32_t k)
{
    size_t step = (size_t)strip->height * QGEMM_LINE;
    int32_t *offset = (int32_t *)(void *)strip->offset + row, zero = form->zero;
    float *scale = strip->scale + row;
    for (uint32_t b = 0; b < k / 32; b++) {
        int8_t *q = strip->q + b / 2 * step + row * QGEMM_LINE + b % 2 * 32;
        float inverse = block_inverse(magnitude32(x + b * 32), &scale[b * strip->height]);
        int32_t sum[2];
        round_part(q, x + b * 32, inverse, sum);
        offset[b * strip->height] = -zero * (sum[0] + sum[1]);
    }
}

INLINE void quantise_large(const QgemmForm *form, const QgemmStrip *strip, uint32_t row,
                           const float *x, uint32_t k)
{
    size_t step = (size_t)strip->height * QGEMM_LINE;
    int8_t *q = strip->q + row * QGEMM_LINE;
    for (uint32_t b = 0; b < k / 256; b++, x += 256, q += 4 * step) {
        uint32_t most = 0;
        for (uint32_t i = 0; i < 256; i += 32) {
            uint32_t bits = magnitude32(x + i);
            most = bits > most ? bits : most;
        }
        size_t at = (size_t)b * strip->height + row;
        float inverse = block_inverse(most, &strip->scale[at]);
        int32_t *offset = (int32_t *)(void *)(strip->offset + at * QGEMM_OFFSETS);
        int16_t *sum = (int16_t *)(void *)offset;
        for (uint32_t part = 0; part < QGEMM_PARTS; part++) {
            int8_t *to = q + part / 2 * step + part % 2 * 32;
            int32_t sums[2];
            round_part(to, x + part * 32, inverse, sums);
            if (form->zero) {
                offset[2 * part] = -form->zero * sums[0];
                offset[2 * part + 1] = -form->zero * sums[1];
            } else {
                sum[part] = (int16_t)(sums[0] + sums[1]);
            }
        }
    }
}

static void quantise(const QgemmForm *form, const QgemmStrip *strip, uint32_t row, const float *x,
                     uint32_t k)
{
    if (form->block == 32)
        quantise_small(form, strip, row, x, k);
    else
        quantise_large(form, strip, row, x, k);
}

/* ---- what comes soon ---- */

INLINE void prefetch_lines(const uint8_t *at, uint32_t bytes)
{
#pragma GCC unroll 9
    for (uint32_t i = 0; i < bytes; i += QGEMM_LINE)
        __builtin_prefetch(at + AHEAD + i);
}

INLINE void clear_chains(uint32_t rows, Floats acc[QGEMM_PASS][VECTORS])
{
#pragma GCC unroll 8
    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t v = 0; v < VECTORS; v++)
            acc[i][v] = floats_zero();
}

INLINE void store_chains(uint32_t rows, Floats acc[QGEMM_PASS][VECTORS], float *chain)
{
#pragma GCC unroll 8
    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t v = 0; v < VECTORS; v++)
            floats_store(chain + i * QGEMM_COLUMNS + v * QGEMM_LANES, acc[i][v]);
}

/* ---- blocks of 32 ---- */

/* One block of some rows, the first or second of its group. */
INLINE void block_small(QgemmKind kind, uint32_t rows, uint32_t half, const uint8_t *group,
                        const int8_t *q, const int32_t *offset, const float *scale,
                        Floats acc[QGEMM_PASS][VECTORS])
{
    const uint32_t part_bytes = kind == QGEMM_Q8_0 ? 8 * QGEMM_LINE : 4 * QGEMM_LINE;
    const uint32_t bits = kind == QGEMM_Q8_0 ? 8 : 4;
    const uint8_t *lines = group + QGEMM_LINE + half * part_bytes;
    prefetch_lines(lines, half ? part_bytes + QGEMM_LINE : part_bytes);
#pragma GCC unroll 4
    for (uint32_t v = 0; v < VECTORS; v++) {
        Bytes w[QGEMM_QUADS];
        Ints sum[QGEMM_PASS];
        load_part(kind, lines + v * WIDTH, w);
#pragma GCC unroll 8
        for (uint32_t i = 0; i < rows; i++)
            sum[i] = SIGNED_EIGHTS && bits == 8 ? ints_zero() : ints_splat(offset + i);
        dots(sum, rows, w, q + half * 32, QGEMM_QUADS, bits);
        Floats d = floats_of_halves(group + half * 32 + v * 2 * QGEMM_LANES);
#pragma GCC unroll 8
        for (uint32_t i = 0; i < rows; i++)
            acc[i][v] = floats_fma(floats_mul(ints_float(sum[i]), d), floats_splat(scale + i),
                                   acc[i][v]);
    }
}

INLINE void pass_small(QgemmKind kind, uint32_t rows, uint32_t k, const QgemmStrip *strip,
                       const uint8_t *panel, float *chain)
{
    const uint32_t group_bytes = kind == QGEMM_Q8_0 ? 17 * QGEMM_LINE : 9 * QGEMM_LINE;
    const uint32_t height = strip->height;
    const int32_t *offset = (const int32_t *)(const void *)strip->offset;
    const float *scale = strip->scale;
    const int8_t *q = strip->q;
    Floats acc[QGEMM_PASS][VECTORS];
    clear_chains(rows, acc);
    for (uint32_t b = 0; b < k / 64; b++) {
        block_small(kind, rows, 0, panel, q, offset, scale, acc);
        block_small(kind, rows, 1, panel, q, offset + height, scale + height, acc);
        offset += 2 * height;
        scale += 2 * height;
        q += height * QGEMM_LINE;
        panel += group_bytes;
    }
    if (k % 64)
        block_small(kind, rows, 0, panel, q, offset, scale, acc);
    store_chains(rows, acc, chain);
}

/* ---- blocks of 256 ---- */

/* Adds 32 k of the rows to their whole sums; scales: of this part (of q6_k: of its two parts). */
INLINE void add_part(QgemmKind kind, uint32_t rows, const Bytes w[QGEMM_QUADS], const int8_t *q,
                     const int32_t *offset, const uint8_t *scales, Ints sum[QGEMM_PASS])
{
    const uint32_t bits = kind == QGEMM_Q4_K ? 4 : kind == QGEMM_Q5_K ? 5 : 6;
    const uint32_t runs = kind == QGEMM_Q6_K ? 2 : 1, quads = QGEMM_QUADS / runs;
#pragma GCC unroll 2
    for (uint32_t run = 0; run < runs; run++) {
        const uint8_t *at = scales + run * QGEMM_COLUMNS;
        Ints part[QGEMM_PASS];
#pragma GCC unroll 8
        for (uint32_t i = 0; i < rows; i++)
            part[i] = kind == QGEMM_Q6_K ? ints_splat(offset + i * (QGEMM_OFFSETS / 4) + run)
                                         : ints_zero();
        dots(part, rows, w + run * quads, q + run * 4 * quads, quads, bits);
        Ints scale = kind == QGEMM_Q6_K ? ints_of_signed_bytes(at) : ints_of_bytes(at);
#pragma GCC unroll 8
        for (uint32_t i = 0; i < rows; i++)
            sum[i] = ints_add(sum[i], ints_mul(part[i], scale));
    }
}

/* Adds a block of one row and LANES columns to the chain. */
INLINE Floats end_block(QgemmKind kind, Ints sum, const int32_t *offset, const uint8_t *min, Floats d,
                        Floats e, const float *scale, Floats chain)
{
    Floats term;
    if (kind == QGEMM_Q6_K) {
        term = floats_mul(ints_float(sum), d);
    } else {
        Ints t = ints_zero();
#pragma GCC unroll 4
        for (uint32_t p = 0; p < QGEMM_PARTS / 2; p++)
            t = ints_pairs(t, min + p * 2 * QGEMM_COLUMNS, offset + p);
        term = floats_fms(ints_float(sum), d, floats_mul(ints_float(t), e));
    }
    return floats_fma(term, floats_splat(scale), chain);
}

INLINE void pass_large(QgemmKind kind, uint32_t rows, uint32_t k, const QgemmStrip *strip,
                       const uint8_t *panel, float *chain)
{
    const QgemmForm *form = &qgemm_forms[kind];
    const uint32_t quads_at = kind == QGEMM_Q6_K ? QGEMM_SIX_QUADS_AT : QGEMM_K_QUADS_AT;
    const uint32_t part_bytes =
        QGEMM_LINE * (kind == QGEMM_Q4_K ? 4 : kind == QGEMM_Q5_K ? 5 : 6);
    const uint32_t scales_step = QGEMM_COLUMNS * (kind == QGEMM_Q6_K ? 2 : 1);
    const size_t step = (size_t)strip->height * QGEMM_LINE;
    const int32_t *offset = (const int32_t *)(const void *)strip->offset;
    const float *scale = strip->scale;
    const int8_t *q = strip->q;
    Floats acc[QGEMM_PASS][VECTORS];
    clear_chains(rows, acc);
    for (uint32_t b = 0; b < k / 256; b++, panel += form->group_bytes, q += 4 * step) {
        uint8_t sixes[128], min[128];
        const uint8_t *scales = kind == QGEMM_Q6_K ? panel + QGEMM_SCALES_AT : sixes;
        prefetch_lines(panel, quads_at);
        if (kind != QGEMM_Q6_K)
            load_sixes(panel, sixes, min);
#pragma GCC unroll 4
        for (uint32_t v = 0; v < VECTORS; v++) {
            Ints sum[QGEMM_PASS];
#pragma GCC unroll 8
            for (uint32_t i = 0; i < rows; i++)
                sum[i] = ints_zero();
            for (uint32_t part = 0; part < QGEMM_PARTS; part++) {
                Bytes w[QGEMM_QUADS];
                const uint8_t *lines = panel + quads_at + part * part_bytes;
                if (v == 0)
                    prefetch_lines(lines, part_bytes);
                load_part(kind, lines + v * WIDTH, w);
                add_part(kind, rows, w, q + part / 2 * step + part % 2 * 32, offset + 2 * part,
                         scales + part * scales_step + v * QGEMM_LANES, sum);
            }
            Floats d = floats_of_halves(panel + v * 2 * QGEMM_LANES);
            Floats e = floats_of_halves(panel + 32 + v * 2 * QGEMM_LANES);
#pragma GCC unroll 8
            for (uint32_t i = 0; i < rows; i++)
                acc[i][v] = end_block(kind, sum[i], offset + i * (QGEMM_OFFSETS / 4),
                                      min + v * 2 * QGEMM_LANES, d, e, scale + i, acc[i][v]);
        }
        offset += strip->height * (QGEMM_OFFSETS / 4);
        scale += strip->height;
    }
    store_chains(rows, acc, chain);
}

/* ---- the number of rows and the kind become constants ---- */

INLINE void pass_either(QgemmKind kind, uint32_t rows, uint32_t k, const QgemmStrip *strip,
                        const uint8_t *panel, float *chain)
{
    if (kind == QGEMM_Q8_0 || kind == QGEMM_Q4_0)
        pass_small(kind, rows, k, strip, panel, chain);
    else
        pass_large(kind, rows, k, strip, panel, chain);
}

INLINE void pass_rows(QgemmKind kind, uint32_t rows, uint32_t k, const QgemmStrip *strip,
                      const uint8_t *panel, float *chain)
{
    switch (rows) {
    case 1: pass_either(kind, 1, k, strip, panel, chain); break;
    case 2: pass_either(kind, 2, k, strip, panel, chain); break;
    case 3: pass_either(kind, 3, k, strip, panel, chain); break;
#if QGEMM_PASS == 8
    case 4: pass_either(kind, 4, k, strip, panel, chain); break;
    case 5: pass_either(kind, 5, k, strip, panel, chain); break;
    case 6: pass_either(kind, 6, k, strip, panel, chain); break;
    case 7: pass_either(kind, 7, k, strip, panel, chain); break;
#endif
    default: pass_either(kind, QGEMM_PASS, k, strip, panel, chain); break;
    }
}

#define PASS(name, kind)                                                                           \
    static void name(uint32_t rows, uint32_t k, const QgemmStrip *strip, const uint8_t *panel,     \
                     float *chain)                                                                 \
    {                                                                                              \
        pass_rows(kind, rows, k, strip, panel, chain);                                             \
    }
PASS(pass_q8_0, QGEMM_Q8_0)
PASS(pass_q4_0, QGEMM_Q4_0)
PASS(pass_q4_k, QGEMM_Q4_K)
PASS(pass_q5_k, QGEMM_Q5_K)
PASS(pass_q6_k, QGEMM_Q6_K)
#define PASSES {pass_q8_0, pass_q4_0, pass_q4_k, pass_q5_k, pass_q6_k}
