/* qgemm_pack.c: ggml's blocks into panels; the layouts are in qgemm_kernel.h.
 *
 * Each row of W fills its own column of a panel. Bits are moved, never changed.
 */
#include "backend/cpu/qgemm_kernel.h"

#include <assert.h>
#include <string.h>

enum { Q4_0_BYTES = 18, Q8_0_BYTES = 34, Q4_K_BYTES = 144, Q5_K_BYTES = 176, Q6_K_BYTES = 210 };

/* Where quad `quad` of this column stands in lines from `lines` on. */
static uint8_t *quad_at(uint8_t *lines, uint32_t quad, uint32_t column)
{
    return lines + (size_t)quad * QGEMM_LINE + 4 * column;
}

static void pack_q8_0(uint8_t *panel, uint32_t column, const uint8_t *blocks, uint32_t k)
{
    const QgemmForm *form = &qgemm_forms[QGEMM_Q8_0];
    for (uint32_t b = 0; b < k / 32; b++, blocks += Q8_0_BYTES) {
        uint8_t *group = panel + (size_t)(b / 2) * form->group_bytes;
        uint8_t *lines = group + QGEMM_LINE + b % 2 * form->part_bytes;
        memcpy(group + b % 2 * 32 + 2 * column, blocks, 2);
        for (uint32_t i = 0; i < 32; i++)
            quad_at(lines, i / 4, column)[i % 4] = blocks[2 + i] ^ 0x80;
    }
}

static void pack_q4_0(uint8_t *panel, uint32_t column, const uint8_t *blocks, uint32_t k)
{
    const QgemmForm *form = &qgemm_forms[QGEMM_Q4_0];
    for (uint32_t b = 0; b < k / 32; b++, blocks += Q4_0_BYTES) {
        uint8_t *group = panel + (size_t)(b / 2) * form->group_bytes;
        uint8_t *lines = group + QGEMM_LINE + b % 2 * form->part_bytes;
        memcpy(group + b % 2 * 32 + 2 * column, blocks, 2);
        for (uint32_t quad = 0; quad < 4; quad++)
            memcpy(quad_at(lines, quad, column), blocks + 2 + 4 * quad, 4);
    }
}

/* Codes of 32 k, as nibbles like q4_0's. */
static void put_nibbles(uint8_t *lines, uint32_t column, const uint8_t *code)
{
    for (uint32_t i = 0; i < 16; i++)
        quad_at(lines, i / 4, column)[i % 4] = (uint8_t)((code[i] & 15) | (code[i + 16] & 15) << 4);
}

/* ---- q4_k, q5_k ---- */

/* ggml's 12 bytes: those of parts 0 to 3 whole in 8 bytes, whose top pairs hold the high bits of
 * parts 4 to 7; their low nibbles share the last 4. */
static void get_sixes(const uint8_t *from, uint8_t scale[QGEMM_PARTS], uint8_t min[QGEMM_PARTS])
{
    for (uint32_t i = 0; i < 4; i++) {
        scale[i] = from[i] & 63;
        min[i] = from[i + 4] & 63;
        scale[i + 4] = (uint8_t)((from[i + 8] & 15) | from[i] >> 6 << 4);
        min[i + 4] = (uint8_t)(from[i + 8] >> 4 | from[i + 4] >> 6 << 4);
    }
}

/* Puts six bits as scale (shift 0) or minimum (shift 1) number i of its group. */
static void put_six(uint8_t *group, uint32_t i, uint32_t shift, uint8_t six)
{
    uint8_t *low = group + QGEMM_SCALES_AT + i, *high = group + QGEMM_PAIRS_AT + i % 64;
    uint32_t at = i / 64 * 4 + 2 * shift;
    *low = (uint8_t)((*low & ~(15u << 4 * shift)) | (six & 15u) << 4 * shift);
    *high = (uint8_t)((*high & ~(3u << at)) | (uint32_t)(six >> 4) << at);
}

static void put_sixes(uint8_t *group, uint32_t column, const uint8_t *from)
{
    uint8_t scale[QGEMM_PARTS], min[QGEMM_PARTS];
    get_sixes(from, scale, min);
    for (uint32_t part = 0; part < QGEMM_PARTS; part++) {
        put_six(group, part * QGEMM_COLUMNS + column, 0, scale[part]);
        put_six(group, part / 2 * 32 + 2 * column + part % 2, 1, min[part]);
    }
}

static void pack_q4_k(uint8_t *panel, uint32_t column, const uint8_t *blocks, uint32_t k)
{
    const QgemmForm *form = &qgemm_forms[QGEMM_Q4_K];
    for (uint32_t b = 0; b < k / 256; b++, blocks += Q4_K_BYTES, panel += form->group_bytes) {
        memcpy(panel + 2 * column, blocks, 2);
        memcpy(panel + 32 + 2 * column, blocks + 2, 2);
        put_sixes(panel, column, blocks + 4);
        for (uint32_t part = 0; part < QGEMM_PARTS; part++) {
            uint8_t code[32];
            const uint8_t *from = blocks + 16 + part / 2 * 32;
            for (uint32_t i = 0; i < 32; i++)
                code[i] = part % 2 ? from[i] >> 4 : from[i] & 15;
            put_nibbles(panel + QGEMM_K_QUADS_AT + part * form->part_bytes, column, code);
        }
    }
}

static void pack_q5_k(uint8_t *panel, uint32_t column, const uint8_t *blocks, uint32_t k)
{
    const QgemmForm *form = &qgemm_forms[QGEMM_Q5_K];
    for (uint32_t b = 0; b < k / 256; b++, blocks += Q5_K_BYTES, panel += form->group_bytes) {
        memcpy(panel + 2 * column, blocks, 2);
        memcpy(panel + 32 + 2 * column, blocks + 2, 2);
        put_sixes(panel, column, blocks + 4);
        for (uint32_t part = 0; part < QGEMM_PARTS; part++) {
            uint8_t code[32], *lines = panel + QGEMM_K_QUADS_AT + part * form->part_bytes;
            uint8_t *fifths = quad_at(lines, 0, column);
            const uint8_t *from = blocks + 48 + part / 2 * 32;
            memset(fifths, 0, 4);
            for (uint32_t i = 0; i < 32; i++) {
                code[i] = part % 2 ? from[i] >> 4 : from[i] & 15;
                fifths[i % 4] |= (uint8_t)((blocks[16 + i] >> part & 1) << i / 4);
            }
            put_nibbles(lines + QGEMM_LINE, column, code);
        }
    }
}

/* ---- q6_k ---- */

static void pack_q6_k(uint8_t *panel, uint32_t column, const uint8_t *blocks, uint32_t k)
{
    const QgemmForm *form = &qgemm_forms[QGEMM_Q6_K];
    for (uint32_t b = 0; b < k / 256; b++, blocks += Q6_K_BYTES, panel += form->group_bytes) {
        memcpy(panel + 2 * column, blocks + 208, 2);
        memset(panel + 32 + 2 * column, 0, 2);
        for (uint32_t i = 0; i < 16; i++)
            panel[QGEMM_SCALES_AT + i * QGEMM_COLUMNS + column] = blocks[192 + i];
        for (uint32_t part = 0; part < QGEMM_PARTS; part++) {
            uint8_t code[32], *lines = panel + QGEMM_SIX_QUADS_AT + part * form->part_bytes;
            /* ggml: runs of 128; part p of a run has its nibbles in bytes 32 (p % 2) on, low for the
             * first two, and its pairs in 32 bytes at bit 2p. */
            uint32_t run = part / 4, p = part % 4;
            const uint8_t *low = blocks + 64 * run + p % 2 * 32, *high = blocks + 128 + 32 * run;
            memset(quad_at(lines, 4, column), 0, 4);
            memset(quad_at(lines, 5, column), 0, 4);
            for (uint32_t i = 0; i < 32; i++) {
                code[i] = p < 2 ? low[i] & 15 : low[i] >> 4;
                uint32_t pair = high[i] >> 2 * p & 3;
                quad_at(lines, 4 + i / 16, column)[i % 4] |= (uint8_t)(pair << i % 16 / 4 * 2);
            }
            put_nibbles(lines, column, code);
        }
    }
}

const QgemmForm qgemm_forms[QGEMM_KINDS] = {
    [QGEMM_Q8_0] = {DT_Q8_0, 32, 64, 17 * QGEMM_LINE, 8 * QGEMM_LINE, 8, 128, pack_q8_0},
    [QGEMM_Q4_0] = {DT_Q4_0, 32, 64, 9 * QGEMM_LINE, 4 * QGEMM_LINE, 4, 8, pack_q4_0},
    [QGEMM_Q4_K] = {DT_Q4_K, 256, 256, 36 * QGEMM_LINE, 4 * QGEMM_LINE, 4, 0, pack_q4_k},
    [QGEMM_Q5_K] = {DT_Q5_K, 256, 256, 44 * QGEMM_LINE, 5 * QGEMM_LINE, 5, 0, pack_q5_k},
    [QGEMM_Q6_K] = {DT_Q6_K, 256, 256, 53 * QGEMM_LINE, 6 * QGEMM_LINE, 6, 32, pack_q6_k},
};

/* ---- all rows ---- */

typedef struct {
    const QgemmForm *form;
    uint8_t *packed;
    const uint8_t *rows;
    size_t row_bytes, panel_bytes;
    uint32_t n, k;
} Pack;

static void pack_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Pack *pack = ctx;
    uint8_t *panel = pack->packed + task * pack->panel_bytes;
    uint32_t first = task * QGEMM_COLUMNS;
    memset(panel, 0, pack->panel_bytes);
    for (uint32_t j = 0; j < QGEMM_COLUMNS && first + j < pack->n; j++)
        pack->form->pack(panel, j, pack->rows + (first + j) * pack->row_bytes, pack->k);
}

const QgemmForm *qgemm_form_of(DType type)
{
    for (uint32_t i = 0; i < QGEMM_KINDS; i++) {
        if (qgemm_forms[i].type == type)
            return &qgemm_forms[i];
    }
    return NULL;
}

bool qgemm_takes(DType type)
{
    return qgemm_form_of(type) != NULL;
}

size_t qgemm_packed_bytes(DType type, uint32_t n, uint32_t k)
{
    const QgemmForm *form = qgemm_form_of(type);
    assert(form && k % form->block == 0);
    return qgemm_panels(n) * qgemm_panel_bytes(form, k);
}

void qgemm_pack(Pool *pool, DType type, void *packed, const void *rows, uint32_t n, uint32_t k)
{
    const QgemmForm *form = qgemm_form_of(type);
    assert(form && k % form->block == 0);
    Pack pack = {form, packed, rows, dtype_bytes(type, k), qgemm_panel_bytes(form, k), n, k};
    if (pool) {
        pool_for(pool, qgemm_panels(n), pack_task, &pack);
        return;
    }
    for (uint32_t i = 0; i < qgemm_panels(n); i++)
        pack_task(&pack, i, 0);
}
