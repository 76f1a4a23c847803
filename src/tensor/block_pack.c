/* block_pack.c: where the bits of each layout lie (ggml's), both ways.
 *
 * Types of 256 cut codes into low and high bits. Element e of a run of 128 has its two bits in
 * byte e % 32 at bit 2 (e / 32), and so on: the strides suit vector units, not the eye.
 */
#include "tensor/block_form.h"

#include <string.h>

static const int8_t book_iq4[BLOCK_BOOK] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                            1,    13,   25,  38,  53,  69,  89,  113};

static void put_half(uint8_t *to, uint16_t half)
{
    to[0] = (uint8_t)half;
    to[1] = (uint8_t)(half >> 8);
}

static uint16_t get_half(const uint8_t *from)
{
    return (uint16_t)(from[0] | from[1] << 8);
}

/* Codes [0, half) in the low nibbles, [half, 2 half) in the high ones. */
static void put_nibbles(const uint8_t *code, uint32_t half, uint8_t *to)
{
    for (uint32_t i = 0; i < half; i++)
        to[i] = (uint8_t)((code[i] & 15) | (code[i + half] & 15) << 4);
}

static void get_nibbles(const uint8_t *from, uint32_t half, uint8_t *code)
{
    for (uint32_t i = 0; i < half; i++) {
        code[i] = from[i] & 15;
        code[i + half] = from[i] >> 4;
    }
}

static void one_part(BlockParts *p)
{
    p->scale[0] = 1;
    p->min[0] = 1;
}

/* ---- blocks of 32 ---- */

static void pack_q4_0(const BlockParts *p, uint8_t *block)
{
    put_half(block, p->d);
    put_nibbles(p->code, 16, block + 2);
}

static void unpack_q4_0(const uint8_t *block, BlockParts *p)
{
    one_part(p);
    p->d = get_half(block);
    get_nibbles(block + 2, 16, p->code);
}

/* The sign of the file's minimum is the other one: y = d v + m here is y = d v - e. */
static void pack_q4_1(const BlockParts *p, uint8_t *block)
{
    put_half(block, p->d);
    put_half(block + 2, p->e ^ 0x8000u);
    put_nibbles(p->code, 16, block + 4);
}

static void unpack_q4_1(const uint8_t *block, BlockParts *p)
{
    one_part(p);
    p->d = get_half(block);
    p->e = get_half(block + 2) ^ 0x8000u;
    get_nibbles(block + 4, 16, p->code);
}

/* Fifth bits of 32 codes: bit i of a little-endian word. */
static void put_fifths(const uint8_t *code, uint8_t *to)
{
    memset(to, 0, 4);
    for (uint32_t i = 0; i < 32; i++)
        to[i / 8] |= (uint8_t)((code[i] >> 4 & 1) << i % 8);
}

static void get_fifths(const uint8_t *from, uint8_t *code)
{
    for (uint32_t i = 0; i < 32; i++)
        code[i] |= (uint8_t)((from[i / 8] >> i % 8 & 1) << 4);
}

static void pack_q5_0(const BlockParts *p, uint8_t *block)
{
    put_half(block, p->d);
    put_fifths(p->code, block + 2);
    put_nibbles(p->code, 16, block + 6);
}

static void unpack_q5_0(const uint8_t *block, BlockParts *p)
{
    one_part(p);
    p->d = get_half(block);
    get_nibbles(block + 6, 16, p->code);
    get_fifths(block + 2, p->code);
}

static void pack_q5_1(const BlockParts *p, uint8_t *block)
{
    put_half(block, p->d);
    put_half(block + 2, p->e ^ 0x8000u);
    put_fifths(p->code, block + 4);
    put_nibbles(p->code, 16, block + 8);
}

static void unpack_q5_1(const uint8_t *block, BlockParts *p)
{
    one_part(p);
    p->d = get_half(block);
    p->e = get_half(block + 2) ^ 0x8000u;
    get_nibbles(block + 8, 16, p->code);
    get_fifths(block + 4, p->code);
}

/* ---- blocks of 256 ---- */

/* Two bits of each code from bit `shift` of it: element e in byte 32 (e / 128) + e % 32. */
static void put_pairs(const uint8_t *code, uint32_t shift, uint8_t *to)
{
    for (uint32_t run = 0; run < 2; run++, code += 128, to += 32) {
        for (uint32_t i = 0; i < 32; i++)
            to[i] = (uint8_t)((code[i] >> shift & 3) | (code[i + 32] >> shift & 3) << 2 |
                              (code[i + 64] >> shift & 3) << 4 | (code[i + 96] >> shift & 3) << 6);
    }
}

static void get_pairs(const uint8_t *from, uint32_t shift, uint8_t *code)
{
    for (uint32_t run = 0; run < 2; run++, code += 128, from += 32) {
        for (uint32_t k = 0; k < 4; k++) {
            for (uint32_t i = 0; i < 32; i++)
                code[32 * k + i] |= (uint8_t)((from[i] >> 2 * k & 3) << shift);
        }
    }
}

/* Bit `bit` of each code: element e at bit e / 32 of byte e % 32. */
static void put_bits(const uint8_t *code, uint32_t bit, uint8_t *to)
{
    memset(to, 0, 32);
    for (uint32_t e = 0; e < 256; e++)
        to[e % 32] |= (uint8_t)((code[e] >> bit & 1) << e / 32);
}

static void get_bits(const uint8_t *from, uint32_t bit, uint8_t *code)
{
    for (uint32_t e = 0; e < 256; e++)
        code[e] |= (uint8_t)((from[e % 32] >> e / 32 & 1) << bit);
}

static void pack_q2_k(const BlockParts *p, uint8_t *block)
{
    for (uint32_t i = 0; i < 16; i++)
        block[i] = (uint8_t)(p->scale[i] | p->min[i] << 4);
    put_pairs(p->code, 0, block + 16);
    put_half(block + 80, p->d);
    put_half(block + 82, p->e);
}

static void unpack_q2_k(const uint8_t *block, BlockParts *p)
{
    for (uint32_t i = 0; i < 16; i++) {
        p->scale[i] = block[i] & 15;
        p->min[i] = block[i] >> 4;
    }
    memset(p->code, 0, sizeof p->code);
    get_pairs(block + 16, 0, p->code);
    p->d = get_half(block + 80);
    p->e = get_half(block + 82);
}

/* 16 scales of 6 bits, kept with 32 added: low nibbles in 8 bytes, high pairs in 4. */
static void pack_q3_k(const BlockParts *p, uint8_t *block)
{
    uint8_t *low = block + 96, *high = block + 104;
    put_bits(p->code, 2, block);
    put_pairs(p->code, 0, block + 32);
    memset(low, 0, 12);
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t scale = (uint32_t)(p->scale[i] + 32);
        low[i % 8] |= (uint8_t)((scale & 15) << i / 8 * 4);
        high[i % 4] |= (uint8_t)(scale >> 4 << i / 4 * 2);
    }
    put_half(block + 108, p->d);
}

static void unpack_q3_k(const uint8_t *block, BlockParts *p)
{
    const uint8_t *low = block + 96, *high = block + 104;
    memset(p->code, 0, sizeof p->code);
    get_pairs(block + 32, 0, p->code);
    get_bits(block, 2, p->code);
    for (uint32_t i = 0; i < 16; i++)
        p->scale[i] =
            ((low[i % 8] >> i / 8 * 4 & 15) | (high[i % 4] >> i / 4 * 2 & 3) << 4) - 32;
    p->d = get_half(block + 108);
}

/* 8 scales and 8 minima of 6 bits in 12 bytes: those of parts 0 to 3 whole in 8 bytes, whose top
 * pairs hold the high bits of parts 4 to 7; their low nibbles share the last 4. */
static void put_sixes(const BlockParts *p, uint8_t *to)
{
    for (uint32_t i = 0; i < 4; i++) {
        to[i] = (uint8_t)(p->scale[i] | p->scale[i + 4] >> 4 << 6);
        to[i + 4] = (uint8_t)(p->min[i] | p->min[i + 4] >> 4 << 6);
        to[i + 8] = (uint8_t)((p->scale[i + 4] & 15) | (p->min[i + 4] & 15) << 4);
    }
}

static void get_sixes(const uint8_t *from, BlockParts *p)
{
    for (uint32_t i = 0; i < 4; i++) {
        p->scale[i] = from[i] & 63;
        p->min[i] = from[i + 4] & 63;
        p->scale[i + 4] = (from[i + 8] & 15) | from[i] >> 6 << 4;
        p->min[i + 4] = from[i + 8] >> 4 | from[i + 4] >> 6 << 4;
    }
}

static void pack_q4_k(const BlockParts *p, uint8_t *block)
{
    put_half(block, p->d);
    put_half(block + 2, p->e);
    put_sixes(p, block + 4);
    for (uint32_t run = 0; run < 4; run++)
        put_nibbles(p->code + 64 * run, 32, block + 16 + 32 * run);
}

static void unpack_q4_k(const uint8_t *block, BlockParts *p)
{
    p->d = get_half(block);
    p->e = get_half(block + 2);
    get_sixes(block + 4, p);
    for (uint32_t run = 0; run < 4; run++)
        get_nibbles(block + 16 + 32 * run, 32, p->code + 64 * run);
}

static void pack_q5_k(const BlockParts *p, uint8_t *block)
{
    put_half(block, p->d);
    put_half(block + 2, p->e);
    put_sixes(p, block + 4);
    put_bits(p->code, 4, block + 16);
    for (uint32_t run = 0; run < 4; run++)
        put_nibbles(p->code + 64 * run, 32, block + 48 + 32 * run);
}

static void unpack_q5_k(const uint8_t *block, BlockParts *p)
{
    p->d = get_half(block);
    p->e = get_half(block + 2);
    get_sixes(block + 4, p);
    for (uint32_t run = 0; run < 4; run++)
        get_nibbles(block + 48 + 32 * run, 32, p->code + 64 * run);
    get_bits(block + 16, 4, p->code);
}

static void pack_q6_k(const BlockParts *p, uint8_t *block)
{
    put_nibbles(p->code, 64, block);
    put_nibbles(p->code + 128, 64, block + 64);
    put_pairs(p->code, 4, block + 128);
    for (uint32_t i = 0; i < 16; i++)
        block[192 + i] = (uint8_t)(int8_t)p->scale[i];
    put_half(block + 208, p->d);
}

static void unpack_q6_k(const uint8_t *block, BlockParts *p)
{
    get_nibbles(block, 64, p->code);
    get_nibbles(block + 64, 64, p->code + 128);
    get_pairs(block + 128, 4, p->code);
    for (uint32_t i = 0; i < 16; i++)
        p->scale[i] = (int8_t)block[192 + i];
    p->d = get_half(block + 208);
}

/* 8 scales of 6 bits, kept with 32 added: high pairs in a word, low nibbles in 4 bytes. */
static void pack_iq4_xs(const BlockParts *p, uint8_t *block)
{
    uint32_t high = 0;
    memset(block + 4, 0, 4);
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t scale = (uint32_t)(p->scale[i] + 32);
        high |= scale >> 4 << 2 * i;
        block[4 + i / 2] |= (uint8_t)((scale & 15) << i % 2 * 4);
        put_nibbles(p->code + 32 * i, 16, block + 8 + 16 * i);
    }
    put_half(block, p->d);
    put_half(block + 2, (uint16_t)high);
}

static void unpack_iq4_xs(const uint8_t *block, BlockParts *p)
{
    uint32_t high = get_half(block + 2);
    p->d = get_half(block);
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t low = block[4 + i / 2] >> i % 2 * 4 & 15;
        p->scale[i] = (int)(low | (high >> 2 * i & 3) << 4) - 32;
        get_nibbles(block + 8 + 16 * i, 16, p->code + 32 * i);
    }
}

const BlockForm block_forms[DT_COUNT] = {
    [DT_Q4_0] = {32, 32, 16, -8, NULL, 1, 1, false, false, pack_q4_0, unpack_q4_0},
    [DT_Q4_1] = {32, 32, 16, 0, NULL, 1, 1, true, true, pack_q4_1, unpack_q4_1},
    [DT_Q5_0] = {32, 32, 32, -16, NULL, 1, 1, false, false, pack_q5_0, unpack_q5_0},
    [DT_Q5_1] = {32, 32, 32, 0, NULL, 1, 1, true, true, pack_q5_1, unpack_q5_1},
    [DT_Q2_K] = {256, 16, 4, 0, NULL, 0, 15, true, false, pack_q2_k, unpack_q2_k},
    [DT_Q3_K] = {256, 16, 8, -4, NULL, -32, 31, false, false, pack_q3_k, unpack_q3_k},
    [DT_Q4_K] = {256, 32, 16, 0, NULL, 0, 63, true, false, pack_q4_k, unpack_q4_k},
    [DT_Q5_K] = {256, 32, 32, 0, NULL, 0, 63, true, false, pack_q5_k, unpack_q5_k},
    [DT_Q6_K] = {256, 16, 64, -32, NULL, -128, 127, false, false, pack_q6_k, unpack_q6_k},
    [DT_IQ4_NL] = {32, 32, 16, 0, book_iq4, 1, 1, false, false, pack_q4_0, unpack_q4_0},
    [DT_IQ4_XS] = {256, 32, 16, 0, book_iq4, -32, 31, false, false, pack_iq4_xs, unpack_iq4_xs},
};
