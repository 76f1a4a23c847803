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
 * multiply-add ("avx512", "avx2", "neon") each step rounds once; "portable" rounds twice. "amx" has
 * an order of its own, see gemm_amx.c.
 *
 * What the bytes of a panel mean is the affair of the set's packers and tile kernel alone; gemm.c
 * knows how many there are (gemm_span).
 */
#pragma once
#include "backend/cpu/gemm.h"

enum {
    GEMM_KC = 1024,        /* longest K block of any instruction set; a multiple of 32 */
    GEMM_ROWS_MAX = 32,    /* of any instruction set: bounds of local tiles */
    GEMM_COLUMNS_MAX = 32,
    GEMM_Q8_GROUP = 32,    /* weights that share a scale */
    GEMM_Q8_ROWS_MAX = 8,  /* q8_rows of any instruction set */
    GEMM_NEXT_STEP = 4,    /* floats of `next` that a tile asks the cache for in one step of k */
    GEMM_PACK_SLACK = 16,  /* floats that a packer may overwrite behind its panel */
};

/* Packs `lines` rows or columns into a panel of `width`: see GemmIsa. */
typedef void GemmPacker(float *panel, uint32_t width, const float *x, size_t ld, uint32_t lines,
                        uint32_t depth);

typedef struct GemmIsa {
    const char *name;
    bool (*supported)(void);
    double error;           /* most error of one product, over |a| |b| */
    uint32_t rows, columns; /* of the register tile */
    uint32_t q8_rows;       /* that tile_q8 takes at most */
    uint32_t depth;         /* longest K that is one block: at most GEMM_KC */
    uint32_t depth_many;    /* longest block where there are several: a multiple of 32 */
    uint32_t block_rows;    /* rows of op(A) packed at once, at most: they stay in L2 */
    uint32_t unit;          /* a panel holds its k in whole units, zeros behind: 1 or 32 */
    uint32_t halves;        /* 16-bit words of a panel for each element */
    uint32_t copy_step;     /* rows copied to one panel before the next panel's turn; whole units */
    uint32_t pack_work;     /* packing an element of op(A) costs as many multiply-adds */
    bool packs_always;      /* tile reads panels only, never A where it lies */
    const struct GemmIsa *q8; /* the set that multiplies Q8_0 weights; NULL: this one */

    /* Around the tiles of one task, on its thread; NULL: nothing to do. */
    void (*enter)(void);
    void (*leave)(void);

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

    /* Element (i, k) of the panel is x[i * ld + k], or x[k * ld + i] (copy), for i < lines,
     * k < depth; zero up to whole units of k, and in columns for lines <= i < width (rows beyond
     * lines are never stored to C). Fused and portable sets keep it at panel[k * width + i].
     * Up to GEMM_PACK_SLACK floats behind a panel of rows may be overwritten; behind one of
     * columns, none: threads pack neighbours at once. */
    GemmPacker *rows_transpose, *rows_copy, *columns_transpose, *columns_copy;

    /* The f32 panel of a Q8_0 panel: each weight (float)q * scale, which f32 holds exactly. */
    void (*unpack_q8)(float *panel, const uint8_t *q8, uint32_t depth);
} GemmIsa;

extern const GemmIsa gemm_isa_amx, gemm_isa_amx_high, gemm_isa_avx512, gemm_isa_avx2,
    gemm_isa_neon, gemm_isa_portable;

const GemmIsa *gemm_isa(void);                  /* the one in use */
const GemmIsa *gemm_isa_for(GemmType type);     /* the one in use for weights of this type */

/* Floats of a panel for each of its rows or columns when it is k long, or up to k when that is
 * whole units. */
static inline size_t gemm_span(const GemmIsa *isa, uint32_t k)
{
    return (size_t)(k + isa->unit - 1) / isa->unit * isa->unit * isa->halves / 2;
}

/* Length of all K blocks but the last: all of K up to isa->depth, else K cut into the fewest equal parts
 * of at most isa->depth_many, each a multiple of GEMM_Q8_GROUP. A function of K alone, so that
 * every path cuts alike. */
uint32_t gemm_depth(const GemmIsa *isa, uint32_t k);

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
    const struct GemmPack *own; /* not NULL: not packed yet, each worker does it for itself */
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
