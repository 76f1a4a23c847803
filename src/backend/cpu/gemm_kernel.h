/* gemm_kernel.h: what an instruction set brings to gemm.c and gemm_packed.c. Private to gemm*.c.
 *
 * The product is cut as Goto and van de Geijn describe ("Anatomy of high-performance matrix
 * multiplication", 2008): op(B) is repacked into panels of `columns` columns, each panel holding
 * its k rows one after the other; op(A) into panels of `rows` rows. A tile kernel multiplies one
 * panel of each into a rows x columns piece of C that lives in registers. Both transposes vanish
 * in the packing.
 *
 * The order of additions, for every kernel of every instruction set: k ascending, one multiply-add
 * chain that begins at +0 per K block (gemm_depth), then C = chain or C = C + chain. With fused
 * multiply-add ("avx512", "avx2", "neon") each step rounds once; "portable" rounds twice.
 */
#pragma once
#include "backend/cpu/gemm.h"

enum {
    GEMM_KC = 512,         /* longest K block; a multiple of 32 */
    GEMM_ROWS_MAX = 14,    /* of any instruction set: bounds of local tiles */
    GEMM_COLUMNS_MAX = 32,
    GEMM_Q8_GROUP = 32,    /* weights that share a scale */
    GEMM_Q8_ROWS_MAX = 8,  /* q8_rows of any instruction set */
    GEMM_NEXT_STEP = 4,    /* floats of `next` that a tile asks the cache for in one step of k */
    GEMM_PACK_SLACK = 16,  /* floats that a packer may overwrite behind its panel */
};

typedef struct {
    const char *name;
    bool (*supported)(void);
    uint32_t rows, columns; /* of the register tile */
    uint32_t q8_rows;       /* that tile_q8 takes at most */
    uint32_t block_rows;    /* rows of op(A) packed at once: block_rows x GEMM_KC stays in L2 */

    /* C[rows, columns] = sum over k < depth of A x B, added to C when add. Element (i, k) of A is
     * a[i * a_row + k * a_step] with a_row == 1 or a_step == 1; b is a panel. 1 <= rows.
     * next: memory that will be read soon, GEMM_NEXT_STEP * depth floats of it to be prefetched;
     * it may point anywhere. */
    void (*tile)(uint32_t rows, uint32_t depth, const float *a, size_t a_row, size_t a_step,
                 const float *b, const float *next, float *c, size_t ldc, bool add);

    /* The same on a Q8_0 panel (see gemm_q8_panel_bytes); 1 <= rows <= q8_rows, a_step == 1,
     * depth a multiple of GEMM_Q8_GROUP. */
    void (*tile_q8)(uint32_t rows, uint32_t depth, const float *a, size_t a_row, const uint8_t *b,
                    float *c, size_t ldc, bool add);

    /* panel[k * width + i] = x[i * ld + k], or x[k * ld + i] (copy), for i < lines, k < depth;
     * zero for lines <= i < width. width is rows or columns. Up to GEMM_PACK_SLACK floats behind
     * a panel of width `rows` may be overwritten; behind one of `columns`, none: threads pack
     * neighbours at once. */
    void (*pack_transpose)(float *panel, uint32_t width, const float *x, size_t ld, uint32_t lines,
                           uint32_t depth);
    void (*pack_copy)(float *panel, uint32_t width, const float *x, size_t ld, uint32_t lines,
                      uint32_t depth);

    /* The f32 panel of a Q8_0 panel: each weight (float)q * scale, which f32 holds exactly. */
    void (*unpack_q8)(float *panel, const uint8_t *q8, uint32_t depth);
} GemmIsa;

extern const GemmIsa gemm_isa_avx512, gemm_isa_avx2, gemm_isa_neon, gemm_isa_portable;

const GemmIsa *gemm_isa(void); /* the one in use */

/* Length of all K blocks but the last: K cut into the fewest equal parts of at most GEMM_KC, each
 * a multiple of GEMM_Q8_GROUP. A function of K alone, so that every path cuts alike. */
uint32_t gemm_depth(uint32_t k);

/* A Q8_0 panel: for each 32 of k: `columns` f16 scales, then 32 rows of `columns` int8. */
static inline size_t gemm_q8_panel_bytes(uint32_t columns, uint32_t k)
{
    return (size_t)(k / GEMM_Q8_GROUP) * columns * (2 + GEMM_Q8_GROUP);
}

/* C = A x the panels in `packed`, of `type`; flags.transpose_b is of no matter. m, n, k > 0. */
typedef struct {
    GemmFlags flags;
    GemmType type;
    uint32_t m, n, k;
    uint32_t depth; /* of a K block: gemm_depth of the whole product's K */
    const float *a;
    const void *packed;
    float *c;
    size_t lda, ldc;
} GemmProduct;

/* C = part, or C + part when add: how a tile that was computed aside is brought to C. */
static inline void gemm_merge(float *c, size_t ldc, const float *part, uint32_t width,
                              uint32_t rows, uint32_t columns, bool add)
{
    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t j = 0; j < columns; j++) {
            float chain = part[i * width + j];
            c[i * ldc + j] = add ? c[i * ldc + j] + chain : chain;
        }
}

void gemm_run(Pool *pool, void *scratch, const GemmProduct *product);
