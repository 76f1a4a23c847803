/* block.h: rows of f32 into blocks of few bits, and back: one row of a table per type.
 *
 * The layouts are ggml's, byte for byte, and what comes back from them is what ggml's own C gives,
 * bit for bit. How a row goes in is ours: a type leaves open which scale a block gets, and here it
 * is searched for the least sum of w (x - y)^2, where w is the importance of the column, and then
 * enlarged until the sum of w x y is that of w x^2 (block_fit.c says why):
 *
 *     f32                              as it is
 *     f16, bf16                        2 bytes each, rounded to the nearest even
 *     q8_0, q4_0, q5_0, iq4_nl         y = d v                    blocks of 32, f16 d
 *     q4_1, q5_1                       y = d v + m                blocks of 32, f16 d and m
 *     q3_k, q6_k, iq4_xs               y = d s v                  256 in parts, a whole s for each
 *     q2_k, q4_k, q5_k                 y = d s v - e m            256 in parts, whole s and m
 *
 * v is a whole number of 2 to 8 bits, for the iq4 types one of 16 uneven steps.
 *
 * Deterministic on every machine (no fused multiply-adds, sums in a fixed order), nothing is
 * allocated, rows are independent. Threads: any.
 */
#pragma once
#include "tensor/dtype.h"

typedef struct {
    uint32_t ggml;      /* number of the type in GGUF files */
    uint32_t file_type; /* general.file_type of a file whose matrices are mostly of it */
    float most;         /* largest magnitude that every block can hold, of either sign */
    /* count values, whole blocks. importance[count] >= 0, or NULL: all alike; its scale does not
     * matter, and what is not a number counts as 0. Values out of range go in as the nearest that
     * fits, not-a-number as 0: what comes back is always finite (but f32 keeps what it is given). */
    void (*quantise)(DType type, const float *x, const float *importance, void *blocks,
                     uint64_t count);
    /* Any bytes are legal; an infinite or undefined scale comes back as such. */
    void (*dequantise)(DType type, const void *blocks, float *x, uint64_t count);
} BlockCodec;
extern const BlockCodec block_codecs[DT_COUNT]; /* quantise NULL: not a type of weights (i32) */

void block_quantise(DType type, const float *x, const float *importance, void *blocks,
                    uint64_t count);
void block_dequantise(DType type, const void *blocks, float *x, uint64_t count);

/* The type with this number in GGUF files; false: not one of the table. */
bool block_of_ggml(uint32_t ggml, DType *out);

/* Index of the first value that the type cannot hold (not a number, infinite, beyond `most`); count
 * when all fit. Callers refuse such a tensor by name before they quantise it. */
uint64_t block_misfit(DType type, const float *x, uint64_t count);

/* Sum of w (x - y)^2 over a row, in double; importance NULL: w = 1. */
double block_error(const float *x, const float *y, const float *importance, uint64_t count);

/* ---- NF4 of bitsandbytes: read only, since its scales stand in tensors of their own ----
 *
 * x = map[code] most[i / block]: codes[count / 2] hold two values each, the first in the high
 * nibble; most[count / block] the largest magnitude of each block; map[16], NULL: the quantiles of
 * the normal distribution that the type is named after. count even, block > 0; a last block may be
 * short. */
void block_dequantise_nf4(const uint8_t *codes, const float *most, const float *map,
                          uint32_t block, uint64_t count, float *x);
/* Scales that were quantised themselves: most[i] = map[codes[i]] outer[i / block] + offset. */
void block_dequantise_nf4_scales(const uint8_t *codes, const float map[256], const float *outer,
                                 float offset, uint32_t block, uint64_t count, float *most);
