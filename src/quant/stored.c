/* stored.c: see stored.h. Loads are by memcpy: data stands at any address. */
#include "quant/stored.h"

#include "tensor/block.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static void f32_to_f32(const StoredType *type, const uint8_t *from, float *to, uint64_t count)
{
    (void)type;
    memcpy(to, from, count * sizeof *to);
}

static void f32_of_f32(const StoredType *type, const float *from, uint8_t *to, uint64_t count)
{
    (void)type;
    memcpy(to, from, count * sizeof *from);
}

static void f64_to_f32(const StoredType *type, const uint8_t *from, float *to, uint64_t count)
{
    (void)type;
    for (uint64_t i = 0; i < count; i++) {
        double value;
        memcpy(&value, from + 8 * i, sizeof value);
        to[i] = (float)value;
    }
}

static void f16_to_f32(const StoredType *type, const uint8_t *from, float *to, uint64_t count)
{
    (void)type;
    for (uint64_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, from + 2 * i, sizeof half);
        to[i] = dtype_f32_of_f16(half);
    }
}

static void f16_of_f32(const StoredType *type, const float *from, uint8_t *to, uint64_t count)
{
    (void)type;
    for (uint64_t i = 0; i < count; i++) {
        uint16_t half = dtype_f16_of_f32(from[i]);
        memcpy(to + 2 * i, &half, sizeof half);
    }
}

static void bf16_to_f32(const StoredType *type, const uint8_t *from, float *to, uint64_t count)
{
    (void)type;
    for (uint64_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, from + 2 * i, sizeof half);
        uint32_t bits = (uint32_t)half << 16;
        memcpy(&to[i], &bits, sizeof bits);
    }
}

static void bf16_of_f32(const StoredType *type, const float *from, uint8_t *to, uint64_t count)
{
    (void)type;
    for (uint64_t i = 0; i < count; i++) {
        uint16_t half = dtype_bf16_of_f32(from[i]);
        memcpy(to + 2 * i, &half, sizeof half);
    }
}

/* 8 bits of sign, exponent, fraction. E4M3 (the "fn" form) has no infinity, and one NaN of each
 * sign; E5M2 is the upper half of an f16. */
static float f8_e4m3(uint8_t byte)
{
    uint32_t exponent = byte >> 3 & 15, fraction = byte & 7;
    if (exponent == 15 && fraction == 7)
        return NAN;
    float value = exponent ? ldexpf((float)(8 + fraction), (int)exponent - 10)
                           : ldexpf((float)fraction, -9);
    return byte & 128 ? -value : value;
}

static void f8_e4m3_to_f32(const StoredType *type, const uint8_t *from, float *to, uint64_t count)
{
    float table[256];
    (void)type;
    for (uint32_t i = 0; i < 256; i++)
        table[i] = f8_e4m3((uint8_t)i);
    for (uint64_t i = 0; i < count; i++)
        to[i] = table[from[i]];
}

static void f8_e5m2_to_f32(const StoredType *type, const uint8_t *from, float *to, uint64_t count)
{
    (void)type;
    for (uint64_t i = 0; i < count; i++)
        to[i] = dtype_f32_of_f16((uint16_t)(from[i] << 8));
}

/* i8 with scales beside it (llama2.c): the whole numbers; the reader multiplies. */
static void i8_to_f32(const StoredType *type, const uint8_t *from, float *to, uint64_t count)
{
    (void)type;
    for (uint64_t i = 0; i < count; i++)
        to[i] = (float)(int8_t)from[i];
}

/* The block types of tensor/block.h, found by ggml's number. */
static DType block_type(const StoredType *type)
{
    DType dtype = DT_F32;
    bool known = block_of_ggml((uint32_t)type->ggml, &dtype);
    assert(known);
    (void)known;
    return dtype;
}

static void blocks_to_f32(const StoredType *type, const uint8_t *from, float *to, uint64_t count)
{
    block_dequantise(block_type(type), from, to, count);
}

static void blocks_of_f32(const StoredType *type, const float *from, uint8_t *to, uint64_t count)
{
    block_quantise(block_type(type), from, NULL, to, count);
}

#define F16_MOST 65504.0f

#define BLOCKS(name, ggml, block, bytes, file_type)                                                \
    {name, -1, ggml, block, bytes, file_type, 0, blocks_to_f32, blocks_of_f32}

const StoredType stored_types[] = {
    {"f32", ST_F32, 0, 1, 4, 0, 0, f32_to_f32, f32_of_f32},
    {"f16", ST_F16, 1, 1, 2, 1, F16_MOST, f16_to_f32, f16_of_f32},
    {"bf16", ST_BF16, 30, 1, 2, 32, 0x1.fep127f, bf16_to_f32, bf16_of_f32},
    BLOCKS("q8_0", 8, 32, 34, 7),
    BLOCKS("q4_0", 2, 32, 18, 2),
    BLOCKS("q4_1", 3, 32, 20, 3),
    BLOCKS("q5_0", 6, 32, 22, 8),
    BLOCKS("q5_1", 7, 32, 24, 9),
    BLOCKS("q2_k", 10, 256, 84, 10),
    BLOCKS("q3_k", 11, 256, 110, 12),
    BLOCKS("q4_k", 12, 256, 144, 15),
    BLOCKS("q5_k", 13, 256, 176, 17),
    BLOCKS("q6_k", 14, 256, 210, 18),
    BLOCKS("iq4_nl", 20, 32, 18, 25),
    BLOCKS("iq4_xs", 23, 256, 136, 30),
    {"f64", ST_F64, 28, 1, 8, 0, 0, f64_to_f32, NULL},
    {"f8_e4m3", ST_F8_E4M3, -1, 1, 1, 0, 0, f8_e4m3_to_f32, NULL},
    {"f8_e5m2", ST_F8_E5M2, -1, 1, 1, 0, 0, f8_e5m2_to_f32, NULL},
    {"i8", ST_I8, 24, 1, 1, 0, 0, i8_to_f32, NULL},
    {"i64", ST_I64, 27, 1, 8, 0, 0, NULL, NULL},
    {"i32", ST_I32, 26, 1, 4, 0, 0, NULL, NULL},
    {"i16", ST_I16, 25, 1, 2, 0, 0, NULL, NULL},
    {"u8", ST_U8, -1, 1, 1, 0, 0, NULL, NULL},
    {"bool", ST_BOOL, -1, 1, 1, 0, 0, NULL, NULL},
    {0},
};

const StoredType *stored_of_st(StDtype dtype)
{
    const StoredType *type = stored_types;
    while (type->name && type->st != (int32_t)dtype)
        type++;
    assert(type->name); /* the table has every dtype of safetensors.h */
    return type;
}

const StoredType *stored_of_ggml(uint32_t ggml)
{
    for (const StoredType *type = stored_types; type->name; type++) {
        if (type->ggml >= 0 && (uint32_t)type->ggml == ggml)
            return type;
    }
    return NULL;
}

const StoredType *stored_named(const char *name)
{
    for (const StoredType *type = stored_types; type->name; type++) {
        if (strcmp(type->name, name) == 0)
            return type;
    }
    return NULL;
}

uint64_t stored_bytes(const StoredType *type, uint64_t count)
{
    assert(count % type->block == 0);
    return count / type->block * type->bytes;
}

uint64_t stored_misfit(const StoredType *type, const float *values, uint64_t count)
{
    if (type->block > 1)
        return block_misfit(block_type(type), values, count);
    float most = type->most ? type->most : 0x1.fffffep127f;
    for (uint64_t i = 0; i < count; i++) {
        if (!(fabsf(values[i]) <= most))
            return i;
    }
    return count;
}
