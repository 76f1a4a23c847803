/* gemm_packed.c: weights repacked once, and the products that read them; see gemm.h.
 *
 * A packed matrix is the panels that gemm.c would make of W^T: panel after panel of isa->columns
 * outputs, each with its whole k, so that a K block of a panel is one run of memory and a product
 * with few rows streams front to back. Columns beyond n are zero.
 */
#include "backend/cpu/gemm_kernel.h"

#include <assert.h>
#include <string.h>

enum { Q8_BLOCK = 2 + GEMM_Q8_GROUP }; /* bytes of a block of W: f16 scale, 32 int8 */

static size_t panels_of(const GemmIsa *isa, uint32_t n)
{
    return n / isa->columns + (n % isa->columns != 0);
}

size_t gemm_packed_bytes(GemmType type, uint32_t n, uint32_t k)
{
    const GemmIsa *isa = gemm_isa_for(type);
    size_t panel = type == GEMM_F32 ? gemm_span(isa, k) * isa->columns * sizeof(float)
                                    : gemm_q8_panel_bytes(isa->columns, k);
    /* The slack lets packers store whole registers at the end. */
    return panels_of(isa, n) * panel + GEMM_PACK_SLACK * sizeof(float);
}

void gemm_pack_f32(void *packed, const float *w, uint32_t n, uint32_t k)
{
    const GemmIsa *isa = gemm_isa_for(GEMM_F32);
    size_t whole = gemm_span(isa, k);
    for (uint32_t j = 0; j < n; j += isa->columns) {
        uint32_t lines = n - j < isa->columns ? n - j : isa->columns;
        isa->columns_transpose((float *)packed + j * whole, isa->columns, w + (size_t)j * k, k,
                               lines, k);
    }
}

/* One group of 32 k of one panel: scales, then the weights transposed. */
static void pack_q8_group(uint8_t *out, const uint8_t *blocks, size_t row_bytes, uint32_t lines,
                          uint32_t columns)
{
    memset(out, 0, gemm_q8_panel_bytes(columns, GEMM_Q8_GROUP));
    for (uint32_t j = 0; j < lines; j++) {
        const uint8_t *block = blocks + j * row_bytes;
        memcpy(out + 2 * j, block, 2);
        for (uint32_t k = 0; k < GEMM_Q8_GROUP; k++)
            out[2 * columns + k * columns + j] = block[2 + k];
    }
}

void gemm_pack_q8_0(void *packed, const void *w, uint32_t n, uint32_t k)
{
    assert(k % GEMM_Q8_GROUP == 0);
    uint32_t columns = gemm_isa_for(GEMM_Q8_0)->columns, groups = k / GEMM_Q8_GROUP;
    size_t row_bytes = (size_t)groups * Q8_BLOCK;
    uint8_t *out = packed;
    for (uint32_t j = 0; j < n; j += columns) {
        const uint8_t *rows = (const uint8_t *)w + j * row_bytes;
        uint32_t lines = n - j < columns ? n - j : columns;
        for (uint32_t group = 0; group < groups; group++) {
            pack_q8_group(out, rows + (size_t)group * Q8_BLOCK, row_bytes, lines, columns);
            out += gemm_q8_panel_bytes(columns, GEMM_Q8_GROUP);
        }
    }
}

/* ---- a few rows on Q8_0 weights: used in registers as they come, never unpacked to memory ---- */

enum {
    TASK_WEIGHTS = 1 << 16, /* of one task, about: a few microseconds */
    Q8_GROUPS_MAX = 2,      /* of rows: with more, unpacking once is cheaper */
};

typedef struct {
    const GemmProduct *product;
    const GemmIsa *isa;
    uint32_t rows;   /* of a group: the rows of A, split evenly */
    uint32_t panels; /* of one task */
} Few;

/* The tile of some rows, `columns` wide, aside when C does not fill the panel. */
static void few_tile(const Few *few, uint32_t rows, uint32_t depth, const float *a,
                     const uint8_t *b, float *c, bool add, uint32_t columns)
{
    const GemmProduct *p = few->product;
    uint32_t width = few->isa->columns;
    if (columns == width) {
        few->isa->tile_q8(rows, depth, a, p->lda, b, c, p->ldc, add);
        return;
    }
    float edge[GEMM_Q8_ROWS_MAX * GEMM_COLUMNS_MAX];
    few->isa->tile_q8(rows, depth, a, p->lda, b, edge, width, false);
    gemm_merge(c, p->ldc, edge, width, rows, columns, add);
}

static void few_panel(const Few *few, uint32_t panel)
{
    const GemmProduct *p = few->product;
    uint32_t width = few->isa->columns, column = panel * width;
    uint32_t columns = p->n - column < width ? p->n - column : width;
    const uint8_t *b = (const uint8_t *)p->packed + panel * gemm_q8_panel_bytes(width, p->k);
    for (uint32_t k = 0; k < p->k; k += p->depth) {
        uint32_t depth = p->k - k < p->depth ? p->k - k : p->depth;
        bool add = p->flags.accumulate || k > 0;
        for (uint32_t i = 0; i < p->m; i += few->rows) {
            uint32_t rows = p->m - i < few->rows ? p->m - i : few->rows;
            few_tile(few, rows, depth, p->a + i * p->lda + k, b, p->c + i * p->ldc + column, add,
                     columns);
        }
        b += gemm_q8_panel_bytes(width, depth);
    }
}

static void few_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Few *few = ctx;
    uint32_t width = few->isa->columns, from = task * few->panels;
    for (uint32_t i = from; i < from + few->panels && i * width < few->product->n; i++)
        few_panel(few, i);
}

static void few_rows(Pool *pool, const GemmProduct *product)
{
    Few few = {.product = product, .isa = gemm_isa_for(GEMM_Q8_0)};
    uint32_t groups = (product->m + few.isa->q8_rows - 1) / few.isa->q8_rows;
    few.rows = (product->m + groups - 1) / groups;
    uint32_t panels = (uint32_t)panels_of(few.isa, product->n);
    few.panels = TASK_WEIGHTS / (few.isa->columns * product->k) + 1;
    pool_for(pool, (panels + few.panels - 1) / few.panels, few_task, &few);
}

void gemm_packed(Pool *pool, void *scratch, GemmType type, bool accumulate, uint32_t m, uint32_t n,
                 uint32_t k, const float *a, size_t lda, const void *packed, float *c, size_t ldc)
{
    GemmProduct product = {.flags = {.accumulate = accumulate}, .type = type, .m = m, .n = n,
                           .k = k, .depth = gemm_depth(gemm_isa_for(type), k), .a = a,
                           .lda = lda, .packed = packed, .c = c, .ldc = ldc};
    if (type == GEMM_Q8_0 && m > 0 && m <= Q8_GROUPS_MAX * gemm_isa_for(type)->q8_rows && k > 0)
        few_rows(pool, &product);
    else
        gemm_run(pool, scratch, &product);
}
