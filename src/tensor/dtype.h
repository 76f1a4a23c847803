/* dtype.h: element types of values. A block type stores block_elems elements in block_bytes; what
 * its bytes mean, and how rows are put into them, is block.h. */
#pragma once
#include "base/error.h"

#include <stdint.h>

typedef enum {
    DT_F32, DT_I32, DT_BF16, DT_Q8_0, DT_F16,
    DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1,             /* blocks of 32 */
    DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K,    /* blocks of 256 */
    DT_IQ4_NL, DT_IQ4_XS,                           /* 4 bits on an uneven ladder: 32, 256 */
    DT_COUNT
} DType;

typedef struct {
    const char *name; /* "f32": as recipes and reports write it */
    uint16_t block_elems, block_bytes;
    bool trainable; /* a parameter of this type may receive gradients */
} DTypeInfo;
extern const DTypeInfo dtype_info[DT_COUNT];

bool dtype_named(const char *name, DType *out); /* false: unknown; case of ASCII is ignored */

/* Bytes of `count` elements stored in the host's row-major form; count % block_elems == 0. */
uint64_t dtype_bytes(DType dtype, uint64_t count);

/* Rows of f32 to Q8_0 blocks { f16 scale; int8 q[32] } and back: scale = max|x| / 127 rounded to
 * f16 (65504 at most), q = round(x / scale). count % 32 == 0. (ggml's Q8_0 layout.) What comes back
 * is always finite: a value out of range gives the nearest in it, not-a-number 0. */
void dtype_quantise_q8_0(const float *x, void *blocks, uint64_t count);
void dtype_dequantise_q8_0(const void *blocks, float *x, uint64_t count);

uint16_t dtype_f16_of_f32(float x); /* round to nearest even; overflow to infinity */
float dtype_f32_of_f16(uint16_t h);
uint16_t dtype_bf16_of_f32(float x);
float dtype_f32_of_bf16(uint16_t h);
