/* dtype.c: see dtype.h. */
#include "tensor/dtype.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include <strings.h>

enum { Q8_ELEMS = 32, Q8_BYTES = 34 };
#define F16_MOST 65504.0f /* the largest finite half */

const DTypeInfo dtype_info[DT_COUNT] = {
    [DT_F32] = {"f32", 1, 4, true},
    [DT_I32] = {"i32", 1, 4, false},
    [DT_BF16] = {"bf16", 1, 2, false},
    [DT_Q8_0] = {"q8_0", Q8_ELEMS, Q8_BYTES, false},
    [DT_F16] = {"f16", 1, 2, false},
    [DT_Q4_0] = {"q4_0", 32, 18, false},
    [DT_Q4_1] = {"q4_1", 32, 20, false},
    [DT_Q5_0] = {"q5_0", 32, 22, false},
    [DT_Q5_1] = {"q5_1", 32, 24, false},
    [DT_Q2_K] = {"q2_k", 256, 84, false},
    [DT_Q3_K] = {"q3_k", 256, 110, false},
    [DT_Q4_K] = {"q4_k", 256, 144, false},
    [DT_Q5_K] = {"q5_k", 256, 176, false},
    [DT_Q6_K] = {"q6_k", 256, 210, false},
    [DT_IQ4_NL] = {"iq4_nl", 32, 18, false},
    [DT_IQ4_XS] = {"iq4_xs", 256, 136, false},
};

bool dtype_named(const char *name, DType *out)
{
    for (unsigned i = 0; i < DT_COUNT; i++) {
        if (strcasecmp(dtype_info[i].name, name) == 0) {
            *out = (DType)i;
            return true;
        }
    }
    return false;
}

uint64_t dtype_bytes(DType dtype, uint64_t count)
{
    const DTypeInfo *info = &dtype_info[dtype];
    assert(count % info->block_elems == 0);
    return count / info->block_elems * info->block_bytes;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

uint16_t dtype_f16_of_f32(float x)
{
    uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u); /* not a number */
    if (magnitude >= 0x47800000u)
        return (uint16_t)(sign | 0x7c00u); /* 65536 and over */
    if (magnitude < 0x38800000u) {         /* subnormal: let float addition do the rounding */
        float shifted = float_of(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of(shifted) - 0x3f000000u));
    }
    uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

float dtype_f32_of_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, magnitude = h & 0x7fffu;
    if (magnitude >= 0x7c00u)
        return float_of(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    if (magnitude < 0x400u)
        return float_of(sign | bits_of((float)magnitude * 0x1p-24f));
    return float_of(sign | ((magnitude << 13) + 0x38000000u));
}

uint16_t dtype_bf16_of_f32(float x)
{
    uint32_t bits = bits_of(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

float dtype_f32_of_bf16(uint16_t h)
{
    return float_of((uint32_t)h << 16);
}

void dtype_quantise_q8_0(const float *x, void *blocks, uint64_t count)
{
    assert(count % Q8_ELEMS == 0);
    uint8_t *out = blocks;
    for (uint64_t b = 0; b < count / Q8_ELEMS; b++, x += Q8_ELEMS, out += Q8_BYTES) {
        float most = 0;
        for (int i = 0; i < Q8_ELEMS; i++)
            most = fmaxf(most, fabsf(x[i]));
        uint16_t scale = dtype_f16_of_f32(fminf(most / 127.0f, F16_MOST)); /* never infinite */
        float used = dtype_f32_of_f16(scale), inverse = used > 0 ? 1.0f / used : 0;
        memcpy(out, &scale, 2);
        for (int i = 0; i < Q8_ELEMS; i++) {
            float q = roundf(x[i] * inverse);
            q = q > 127 ? 127 : q >= -127 ? q : q < 0 ? -127 : 0; /* not a number: 0 */
            out[2 + i] = (uint8_t)(int8_t)q;
        }
    }
}

void dtype_dequantise_q8_0(const void *blocks, float *x, uint64_t count)
{
    assert(count % Q8_ELEMS == 0);
    const uint8_t *in = blocks;
    for (uint64_t b = 0; b < count / Q8_ELEMS; b++, x += Q8_ELEMS, in += Q8_BYTES) {
        uint16_t half;
        memcpy(&half, in, 2);
        float scale = dtype_f32_of_f16(half);
        for (int i = 0; i < Q8_ELEMS; i++)
            x[i] = (float)(int8_t)in[2 + i] * scale;
    }
}
