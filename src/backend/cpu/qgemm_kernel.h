/* qgemm_kernel.h: what an instruction set brings to qgemm.c. Private to qgemm*.c.
 *
 * Packed weights: panels of 16 columns (outputs), one after the other; a panel holds its k in groups.
 * A quad is four weights of one column, k ascending; a line of 64 bytes is the same quad of all 16
 * columns, or two quads (four) with their low and high bits apart. f16 stands for 16 halves, one a
 * column. What a group holds, in lines unless said otherwise:
 *
 *   q8_0  64 k:   f16 d of two blocks | 8 + 8 lines of a quad each, weights + 128
 *   q4_0  64 k:   f16 d of two blocks | 4 + 4 lines: quad i of the block in low nibbles, i + 4 in high
 *   q4_k  256 k:  f16 d, f16 e | 2 lines of low scale nibbles | 1 of high pairs | 8 x 4 lines as q4_0
 *   q5_k  256 k:  as q4_k, but each 32 k have a line before their 4: bit i is the fifth of quad i
 *   q6_k  256 k:  f16 d, 32 bytes of nothing | 4 lines of int8 scales [16 parts][16 columns] |
 *                 8 x 6 lines: 4 as q4_0, 2 of high pairs: bits 2i of line h are those of quad 4h + i
 *
 * The 6-bit scales and minima of q4_k and q5_k: number them s[part][column], and the minima
 * m[part / 2][column][part % 2], so that a pair of minima lies side by side. Byte i < 128 of the low
 * nibbles holds those of s[i] and, above, of m[i]; byte i < 64 of the high pairs holds, from bit 0
 * on, those of s[i], m[i], s[i + 64], m[i + 64].
 * The second half of a last group of 64 that K does not reach is zero and never read.
 *
 * Quantised A: strips of at most 16 rows, see QgemmStrip.
 */
#pragma once
#include "backend/cpu/qgemm.h"

enum {
    QGEMM_COLUMNS = 16,
    QGEMM_STRIP = 16,    /* most rows of a strip */
    QGEMM_LINE = 64,
    QGEMM_QUADS = 8,     /* of 32 k */
    QGEMM_PARTS = 8,     /* of 32 k in a block of 256 */
    QGEMM_ROWS_MAX = 8,  /* of a pass of any instruction set */
    QGEMM_OFFSETS = 64,  /* bytes of offsets for a block of 256 */
    QGEMM_SCALES_AT = 64, /* in a group of q4_k or q5_k: low nibbles, then pairs, then quads */
    QGEMM_PAIRS_AT = QGEMM_SCALES_AT + 2 * QGEMM_LINE,
    QGEMM_K_QUADS_AT = QGEMM_PAIRS_AT + QGEMM_LINE,
    QGEMM_SIX_QUADS_AT = QGEMM_SCALES_AT + 4 * QGEMM_LINE, /* of q6_k */
};

/* What product of bits a type is: the row of a kernel in the tables of instruction sets. */
typedef enum { QGEMM_Q8_0, QGEMM_Q4_0, QGEMM_Q4_K, QGEMM_Q5_K, QGEMM_Q6_K, QGEMM_KINDS } QgemmKind;

typedef struct {
    DType type;
    uint16_t block;       /* k that share a scale of A */
    uint16_t group;       /* k of a panel's group */
    uint16_t group_bytes;
    uint16_t part_bytes;  /* from 32 k to the next in a group */
    uint8_t bits, zero;   /* a weight is code - zero; zero of q4_k and q5_k is their minimum */
    /* One row of W into its column of a panel. */
    void (*pack)(uint8_t *panel, uint32_t column, const uint8_t *blocks, uint32_t k);
} QgemmForm;
extern const QgemmForm qgemm_forms[QGEMM_KINDS];
const QgemmForm *qgemm_form_of(DType type); /* NULL: not one of them */

static inline uint32_t qgemm_panels(uint32_t n)
{
    return n / QGEMM_COLUMNS + (n % QGEMM_COLUMNS != 0);
}

static inline size_t qgemm_panel_bytes(const QgemmForm *form, uint32_t k)
{
    return (size_t)(k / form->group + (k % form->group != 0)) * form->group_bytes;
}

/* Rows of A, quantised. Byte k of row i: q[k / 64 * 64 * height + 64 i + k % 64], so that 64 k of all
 * rows are a tile, and rows lie a constant apart. scale[block][height].
 * offset, of blocks of 32: int32 [block][height]: -zero times the sum of q.
 * Of 256: [block][height] of 64 bytes: for q6_k 16 int32, -32 times the sum of each 16 q; else 8
 * int16, the sum of each 32. */
typedef struct {
    int8_t *q;
    float *scale;
    uint8_t *offset;
    uint32_t height;
} QgemmStrip;

typedef struct QgemmIsa {
    const char *name;
    bool (*supported)(void);
    uint32_t rows;      /* of a pass at most */
    const struct QgemmIsa *few; /* the set that quantises and makes passes; NULL: this one */

    /* One row of K values into row i of a strip. */
    void (*quantise)(const QgemmForm *form, const QgemmStrip *strip, uint32_t row, const float *x,
                     uint32_t k);

    /* The chains of `rows` rows from the strip's first on: chain[rows][16]. */
    void (*pass[QGEMM_KINDS])(uint32_t rows, uint32_t k, const QgemmStrip *strip,
                              const uint8_t *panel, float *chain);

    /* Where many rows pay for a matrix unit; tile_rows 0: none. Strips of tile_rows or more go
     * through `tile`, tile_strips (1 or 2) of them at a time or fewer, which adds some k to
     * chain[strips][16][16] (rows beyond the height hold anything), with the panel as `unpack`
     * leaves it: codes_bytes for each 32 k. enter and leave go around the tiles of a task; all strips
     * have this height. A tile may read, not use, what lies up to 16 rows behind a strip. */
    uint32_t tile_rows;
    uint16_t codes_bytes[QGEMM_KINDS];
    uint8_t tile_strips[QGEMM_KINDS];
    void (*enter)(QgemmKind kind, uint32_t height);
    void (*leave)(void);
    void (*unpack[QGEMM_KINDS])(const uint8_t *panel, uint32_t k, uint8_t *codes);
    void (*tile[QGEMM_KINDS])(uint32_t strips, uint32_t k, const QgemmStrip *strip,
                              const uint8_t *panel, const uint8_t *codes, float *chain);
} QgemmIsa;

extern const QgemmIsa qgemm_isa_amx, qgemm_isa_avx512, qgemm_isa_avxvnni, qgemm_isa_avx2,
    qgemm_isa_neon, qgemm_isa_portable;

/* The same strip without its first rows. */
static inline QgemmStrip qgemm_strip_from(const QgemmForm *form, const QgemmStrip *strip,
                                          uint32_t row)
{
    size_t offset = form->block == 32 ? sizeof(int32_t) : QGEMM_OFFSETS;
    return (QgemmStrip){strip->q + (size_t)row * QGEMM_LINE, strip->scale + row,
                        strip->offset + row * offset, strip->height};
}

/* The same strip without its first k, which are whole groups. */
static inline QgemmStrip qgemm_strip_behind(const QgemmForm *form, const QgemmStrip *strip,
                                            uint32_t k)
{
    size_t bytes = (size_t)k * strip->height, blocks = (size_t)(k / form->block) * strip->height;
    size_t offset = form->block == 32 ? sizeof(int32_t) : QGEMM_OFFSETS;
    return (QgemmStrip){strip->q + bytes, strip->scale + blocks, strip->offset + blocks * offset,
                        strip->height};
}
