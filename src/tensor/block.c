/* block.c: the table of codecs, and the two formulas by which blocks become values; see block.h.
 * Layouts are in block_pack.c, the search for scales in block_fit.c. */
#include "tensor/block.h"

#include "tensor/block_form.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define F16_MOST 65504.0f
#define F32_MOST 3.4028234663852886e38f
#define BF16_MOST 3.3895313892515355e38f

/* ---- whole numbers and scales ---- */

/* The products are taken in this order because ggml takes them so, and rounding shows it. */
static void value_ladder(const BlockForm *f, const BlockParts *p, float *y)
{
    float d = dtype_f32_of_f16(p->d);
    for (uint32_t part = 0; part * f->part < f->elems; part++) {
        float scale = d * (float)p->scale[part];
        const uint8_t *code = p->code + part * f->part;
        for (uint32_t i = 0; i < f->part; i++)
            *y++ = scale * (float)(f->book ? f->book[code[i]] : f->low + code[i]);
    }
}

static void value_affine(const BlockForm *f, const BlockParts *p, float *y)
{
    float d = dtype_f32_of_f16(p->d), e = dtype_f32_of_f16(p->e);
    for (uint32_t part = 0; part * f->part < f->elems; part++) {
        float scale = d * (float)p->scale[part], min = e * (float)p->min[part];
        const uint8_t *code = p->code + part * f->part;
        for (uint32_t i = 0; i < f->part; i++)
            *y++ = scale * (float)code[i] - min;
    }
}

static void dequantise_form(DType type, const void *blocks, float *x, uint64_t count)
{
    const BlockForm *f = &block_forms[type];
    const uint8_t *block = blocks;
    for (uint64_t at = 0; at < count; at += f->elems, block += dtype_info[type].block_bytes) {
        BlockParts parts;
        f->unpack(block, &parts);
        if (f->affine)
            value_affine(f, &parts, x + at);
        else
            value_ladder(f, &parts, x + at);
    }
}

/* Values in range, and weights over their largest. The floor keeps a column that calibration never
 * saw from being worth nothing at all. */
static void take_block(const float *x, const float *importance, uint32_t count, float most,
                       float *values, float *weights)
{
    float top = 0;
    for (uint32_t i = 0; i < count; i++) {
        float v = x[i] > most ? most : x[i] < -most ? -most : x[i];
        values[i] = v == v ? v : 0;
        float w = importance ? importance[i] : 1;
        weights[i] = w > 0 && w <= F32_MOST ? w : 0;
        top = weights[i] > top ? weights[i] : top;
    }
    for (uint32_t i = 0; i < count; i++)
        weights[i] = top > 0 ? weights[i] / top + 1e-5f : 1;
}

static void quantise_form(DType type, const float *x, const float *importance, void *blocks,
                          uint64_t count)
{
    const BlockForm *f = &block_forms[type];
    uint8_t *block = blocks;
    for (uint64_t at = 0; at < count; at += f->elems, block += dtype_info[type].block_bytes) {
        float values[BLOCK_ELEMS_MAX], weights[BLOCK_ELEMS_MAX];
        BlockParts parts;
        take_block(x + at, importance ? importance + at : NULL, f->elems, block_codecs[type].most,
                   values, weights);
        if (f->affine)
            block_fit_affine(f, values, weights, &parts);
        else
            block_fit_ladder(f, values, weights, &parts);
        f->pack(&parts, block);
    }
}

/* ---- plain types ---- */

static void quantise_f32(DType type, const float *x, const float *importance, void *blocks,
                         uint64_t count)
{
    (void)type, (void)importance;
    memcpy(blocks, x, count * sizeof *x);
}

static void dequantise_f32(DType type, const void *blocks, float *x, uint64_t count)
{
    (void)type;
    memcpy(x, blocks, count * sizeof *x);
}

static void quantise_half(DType type, const float *x, const float *importance, void *blocks,
                          uint64_t count)
{
    (void)importance;
    float most = block_codecs[type].most;
    uint8_t *out = blocks;
    for (uint64_t i = 0; i < count; i++) {
        float v = x[i] > most ? most : x[i] < -most ? -most : x[i] == x[i] ? x[i] : 0;
        uint16_t half = type == DT_F16 ? dtype_f16_of_f32(v) : dtype_bf16_of_f32(v);
        memcpy(out + 2 * i, &half, 2);
    }
}

static void dequantise_half(DType type, const void *blocks, float *x, uint64_t count)
{
    const uint8_t *in = blocks;
    for (uint64_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, in + 2 * i, 2);
        x[i] = type == DT_F16 ? dtype_f32_of_f16(half) : dtype_f32_of_bf16(half);
    }
}

static void quantise_eight(DType type, const float *x, const float *importance, void *blocks,
                           uint64_t count)
{
    (void)type, (void)importance;
    dtype_quantise_q8_0(x, blocks, count);
}

static void dequantise_eight(DType type, const void *blocks, float *x, uint64_t count)
{
    (void)type;
    dtype_dequantise_q8_0(blocks, x, count);
}

/* ---- the table ---- */

#define FORM quantise_form, dequantise_form
const BlockCodec block_codecs[DT_COUNT] = {
    [DT_F32] = {0, 0, F32_MOST, quantise_f32, dequantise_f32},
    [DT_F16] = {1, 1, F16_MOST, quantise_half, dequantise_half},
    [DT_BF16] = {30, 32, BF16_MOST, quantise_half, dequantise_half},
    [DT_Q8_0] = {8, 7, F16_MOST * 127, quantise_eight, dequantise_eight},
    [DT_Q4_0] = {2, 2, F16_MOST * 7, FORM},
    [DT_Q4_1] = {3, 3, F16_MOST, FORM},
    [DT_Q5_0] = {6, 8, F16_MOST * 15, FORM},
    [DT_Q5_1] = {7, 9, F16_MOST, FORM},
    [DT_Q2_K] = {10, 10, F16_MOST * 15, FORM},
    [DT_Q3_K] = {11, 12, F16_MOST * 31 * 3, FORM},
    [DT_Q4_K] = {12, 15, F16_MOST * 63, FORM},
    [DT_Q5_K] = {13, 17, F16_MOST * 63, FORM},
    [DT_Q6_K] = {14, 18, F16_MOST * 127 * 31, FORM},
    [DT_IQ4_NL] = {20, 25, F16_MOST * 113, FORM},
    [DT_IQ4_XS] = {23, 30, F16_MOST * 31 * 113, FORM},
};

void block_quantise(DType type, const float *x, const float *importance, void *blocks,
                    uint64_t count)
{
    assert(count % dtype_info[type].block_elems == 0);
    block_codecs[type].quantise(type, x, importance, blocks, count);
}

void block_dequantise(DType type, const void *blocks, float *x, uint64_t count)
{
    assert(count % dtype_info[type].block_elems == 0);
    block_codecs[type].dequantise(type, blocks, x, count);
}

bool block_of_ggml(uint32_t ggml, DType *out)
{
    for (unsigned i = 0; i < DT_COUNT; i++) {
        if (block_codecs[i].quantise && block_codecs[i].ggml == ggml) {
            *out = (DType)i;
            return true;
        }
    }
    return false;
}

uint64_t block_misfit(DType type, const float *x, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if (!(fabsf(x[i]) <= block_codecs[type].most))
            return i;
    }
    return count;
}

double block_error(const float *x, const float *y, const float *importance, uint64_t count)
{
    double sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        double miss = (double)x[i] - (double)y[i];
        sum += (importance ? (double)importance[i] : 1) * miss * miss;
    }
    return sum;
}
