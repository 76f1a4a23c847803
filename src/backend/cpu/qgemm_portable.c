/* qgemm_portable.c: the row of qgemm's table for every machine, and the plainest account of the
 * formula: what the vector units compute in other orders, since whole numbers allow it. */
#include "backend/cpu/qgemm_kernel.h"

#include <math.h>
#include <string.h>

enum { ROWS = 8 };

static bool portable_supported(void)
{
    return true;
}

/* ---- A ---- */

#define ROUNDER 12582912.0f /* 1.5 * 2^23: adding and taking it away rounds to a whole number */
#define LEAST 0x1p-119f     /* of a block; below, 127 / x is not finite */

/* A block of x: its scale; q, 64 at a time, `step` apart. */
static float quantise_block(const float *x, uint32_t count, int8_t *q, size_t step)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float top;
    memcpy(&top, &most, sizeof top);
    bool zero = !(top >= LEAST && top < INFINITY);
    for (uint32_t i = 0; i < count; i++) {
        float t = zero ? 0 : x[i] * (127 / top);
        q[i / 64 * step + i % 64] = (int8_t)((t + ROUNDER) - ROUNDER);
    }
    return top < LEAST ? 0 : zero ? NAN : top / 127;
}

static int32_t sum_of(const int8_t *q, uint32_t count)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += q[i];
    return sum;
}

static void portable_quantise(const QgemmForm *form, const QgemmStrip *strip, uint32_t row,
                              const float *x, uint32_t k)
{
    size_t step = (size_t)strip->height * QGEMM_LINE;
    for (uint32_t b = 0; b < k / form->block; b++) {
        uint32_t at = b * form->block;
        int8_t *q = strip->q + at / 64 * step + row * QGEMM_LINE + at % 64;
        strip->scale[b * strip->height + row] = quantise_block(x + at, form->block, q, step);
        if (form->block == 32) {
            int32_t offset = -form->zero * sum_of(q, 32);
            memcpy(strip->offset + (b * strip->height + row) * sizeof offset, &offset, sizeof offset);
            continue;
        }
        uint8_t *to = strip->offset + ((size_t)b * strip->height + row) * QGEMM_OFFSETS;
        for (uint32_t i = 0; i < 16; i++) {
            const int8_t *part = q + i / 4 * step + i % 4 * 16;
            int32_t offset = -form->zero * sum_of(part, 16);
            int16_t sum = (int16_t)sum_of(part, 32 - i % 2 * 16);
            if (form->zero)
                memcpy(to + i * sizeof offset, &offset, sizeof offset);
            else if (i % 2 == 0)
                memcpy(to + i / 2 * sizeof sum, &sum, sizeof sum);
        }
    }
}

/* ---- products ---- */

/* Codes of 32 k of one column from lines that hold nibbles. */
static void get_nibbles(const uint8_t *lines, uint32_t column, uint8_t code[32])
{
    for (uint32_t i = 0; i < 16; i++) {
        uint8_t byte = lines[i / 4 * QGEMM_LINE + 4 * column + i % 4];
        code[i] = byte & 15;
        code[i + 16] = byte >> 4;
    }
}

/* Codes of part `part` of a group. */
static void get_codes(QgemmKind kind, const uint8_t *group, uint32_t part, uint32_t column,
                      uint8_t code[32])
{
    const uint8_t *lines = group + part * qgemm_forms[kind].part_bytes, *at = lines + 4 * column;
    switch (kind) {
    case QGEMM_Q8_0:
        for (uint32_t i = 0; i < 32; i++)
            code[i] = at[QGEMM_LINE + i / 4 * QGEMM_LINE + i % 4];
        break;
    case QGEMM_Q4_0:
        get_nibbles(lines + QGEMM_LINE, column, code);
        break;
    case QGEMM_Q4_K:
        get_nibbles(lines + QGEMM_K_QUADS_AT, column, code);
        break;
    case QGEMM_Q5_K:
        get_nibbles(lines + QGEMM_K_QUADS_AT + QGEMM_LINE, column, code);
        for (uint32_t i = 0; i < 32; i++)
            code[i] |= (uint8_t)((at[QGEMM_K_QUADS_AT + i % 4] >> i / 4 & 1) << 4);
        break;
    default:
        get_nibbles(lines + QGEMM_SIX_QUADS_AT, column, code);
        at += QGEMM_SIX_QUADS_AT + 4 * QGEMM_LINE;
        for (uint32_t i = 0; i < 32; i++)
            code[i] |= (uint8_t)((at[i / 16 * QGEMM_LINE + i % 4] >> i % 16 / 4 * 2 & 3) << 4);
    }
}

/* Scale (shift 0) or minimum (shift 1) number i of a group of q4_k or q5_k. */
static int32_t get_six(const uint8_t *group, uint32_t i, uint32_t shift)
{
    return (group[QGEMM_SCALES_AT + i] >> 4 * shift & 15) |
           (group[QGEMM_PAIRS_AT + i % 64] >> (i / 64 * 4 + 2 * shift) & 3) << 4;
}

static float half_at(const uint8_t *at)
{
    uint16_t half;
    memcpy(&half, at, sizeof half);
    return dtype_f32_of_f16(half);
}

static int32_t dot(const uint8_t *code, const int8_t *q, uint32_t count, int32_t zero)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += (code[i] - zero) * q[i];
    return sum;
}

/* One block of a row and a column: what goes into the chain, over the scale of A. q: its first 64. */
static float block_term(QgemmKind kind, const uint8_t *group, uint32_t b, uint32_t column,
                        const int8_t *q, size_t step)
{
    const QgemmForm *form = &qgemm_forms[kind];
    uint8_t code[32];
    if (form->block == 32) {
        get_codes(kind, group, b % 2, column, code);
        return (float)dot(code, q, 32, form->zero) * half_at(group + b % 2 * 32 + 2 * column);
    }
    int32_t s = 0, t = 0;
    for (uint32_t part = 0; part < QGEMM_PARTS; part++) {
        const int8_t *of_part = q + part / 2 * step + part % 2 * 32;
        get_codes(kind, group, part, column, code);
        if (kind == QGEMM_Q6_K) {
            const int8_t *scale = (const int8_t *)group + QGEMM_SCALES_AT + part * 32 + column;
            s += scale[0] * dot(code, of_part, 16, form->zero);
            s += scale[QGEMM_COLUMNS] * dot(code + 16, of_part + 16, 16, form->zero);
        } else {
            s += get_six(group, part * QGEMM_COLUMNS + column, 0) * dot(code, of_part, 32, 0);
            t += get_six(group, part / 2 * 32 + 2 * column + part % 2, 1) * sum_of(of_part, 32);
        }
    }
    float d = half_at(group + 2 * column), e = half_at(group + 32 + 2 * column);
    return kind == QGEMM_Q6_K ? (float)s * d : fmaf((float)s, d, -((float)t * e));
}

static void pass(QgemmKind kind, uint32_t rows, uint32_t k, const QgemmStrip *strip,
                 const uint8_t *panel, float *chain)
{
    const QgemmForm *form = &qgemm_forms[kind];
    size_t step = (size_t)strip->height * QGEMM_LINE;
    memset(chain, 0, rows * QGEMM_COLUMNS * sizeof *chain);
    for (uint32_t b = 0; b < k / form->block; b++) {
        uint32_t at = b * form->block;
        const uint8_t *group = panel + (size_t)(at / form->group) * form->group_bytes;
        for (uint32_t i = 0; i < rows; i++) {
            const int8_t *q = strip->q + at / 64 * step + i * QGEMM_LINE + at % 64;
            float a = strip->scale[b * strip->height + i];
            float *to = chain + i * QGEMM_COLUMNS;
            for (uint32_t j = 0; j < QGEMM_COLUMNS; j++)
                to[j] = fmaf(block_term(kind, group, b, j, q, step), a, to[j]);
        }
    }
}

#define PASS(name, kind)                                                                           \
    static void name(uint32_t rows, uint32_t k, const QgemmStrip *strip, const uint8_t *panel,     \
                     float *chain)                                                                 \
    {                                                                                              \
        pass(kind, rows, k, strip, panel, chain);                                                  \
    }
PASS(pass_q8_0, QGEMM_Q8_0)
PASS(pass_q4_0, QGEMM_Q4_0)
PASS(pass_q4_k, QGEMM_Q4_K)
PASS(pass_q5_k, QGEMM_Q5_K)
PASS(pass_q6_k, QGEMM_Q6_K)

const QgemmIsa qgemm_isa_portable = {
    .name = "portable",
    .supported = portable_supported,
    .rows = ROWS,
    .quantise = portable_quantise,
    .pass = {pass_q8_0, pass_q4_0, pass_q4_k, pass_q5_k, pass_q6_k},
};
