/* qgemm_weights.h: weights of a panel into vectors of codes, over the primitives that
 * qgemm_body.h lists. Included by qgemm_body.h and qgemm_amx.c alone. */
#pragma once
#include "backend/cpu/qgemm_kernel.h"

enum {
    VECTORS = QGEMM_COLUMNS / QGEMM_LANES,
    WIDTH = 4 * QGEMM_LANES,       /* bytes of a line that a vector takes */
};

/* The quads of 32 k, of the columns that `lines` begins with. */
INLINE void load_part(QgemmKind kind, const uint8_t *lines, Bytes w[QGEMM_QUADS])
{
    if (kind == QGEMM_Q8_0) {
#pragma GCC unroll 8
        for (uint32_t i = 0; i < QGEMM_QUADS; i++)
            w[i] = bytes_load(lines + i * QGEMM_LINE);
        return;
    }
    const uint8_t *nibbles = lines + (kind == QGEMM_Q5_K ? QGEMM_LINE : 0);
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; i++) {
        Bytes both = bytes_load(nibbles + i * QGEMM_LINE);
        w[i] = bytes_and(both, 15);
        w[i + 4] = bytes_and(bytes_right(both, 4), 15);
    }
    if (kind == QGEMM_Q5_K) {
        Bytes high = bytes_load(lines);
#pragma GCC unroll 8
        for (uint32_t i = 0; i < QGEMM_QUADS; i++) {
            Bytes bit = i < 4 ? bytes_left(high, 4 - i) : bytes_right(high, i - 4);
            w[i] = bytes_or(w[i], bytes_and(bit, 16));
        }
    }
    if (kind == QGEMM_Q6_K) {
#pragma GCC unroll 2
        for (uint32_t half = 0; half < 2; half++) {
            Bytes high = bytes_load(lines + (4 + half) * QGEMM_LINE);
#pragma GCC unroll 4
            for (uint32_t i = 0; i < 4; i++) {
                Bytes pair = i < 2 ? bytes_left(high, 4 - 2 * i) : bytes_right(high, 2 * i - 4);
                w[4 * half + i] = bytes_or(w[4 * half + i], bytes_and(pair, 0x30));
            }
        }
    }
}

/* The 6-bit scales and minima of a group: scale[part][16], min[part / 2][16][2]. */
INLINE void load_sixes(const uint8_t *group, uint8_t scale[128], uint8_t min[128])
{
    const uint8_t *low = group + QGEMM_SCALES_AT, *pairs = group + QGEMM_PAIRS_AT;
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 64; i += WIDTH) {
        Bytes high = bytes_load(pairs + i), first = bytes_load(low + i);
        Bytes last = bytes_load(low + 64 + i);
        bytes_store(scale + i, bytes_or(bytes_and(first, 15), bytes_and(bytes_left(high, 4), 0x30)));
        bytes_store(min + i, bytes_or(bytes_and(bytes_right(first, 4), 15),
                                      bytes_and(bytes_left(high, 2), 0x30)));
        bytes_store(scale + 64 + i, bytes_or(bytes_and(last, 15), bytes_and(high, 0x30)));
        bytes_store(min + 64 + i, bytes_or(bytes_and(bytes_right(last, 4), 15),
                                           bytes_and(bytes_right(high, 2), 0x30)));
    }
}
