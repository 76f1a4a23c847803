/* gemm.c: see gemm.h; the part that all instruction sets share.
 *
 * C is cut into a grid of tiles, one pool task each. A task packs what it needs of op(A) and op(B)
 * into memory of its worker and never waits for another, so a call has a single barrier; the price
 * is that a panel is packed once per tile that reads it, which `cut` weighs against balance.
 *
 *     task:  for each K block                         (gemm_depth(k) long)
 *              for each block of rows of the tile     (block_rows: op(A) packed, stays in L2)
 *                for each panel of columns            (op(B) packed on its first use)
 *                  for each panel of rows: isa->tile
 *
 * Bits do not depend on the grid: a C element is always the work of isa->tile on whole K blocks in
 * ascending order, whatever rows and columns surround it.
 */
#include "backend/cpu/gemm_kernel.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

enum {
    TILE_COLUMNS = 768,    /* most columns of a tile: bounds the worker's panels of op(B) */
    BLOCK_ROWS_MAX = 192,  /* of any instruction set */
    DIRECT_COLUMNS = 0,  /* tiles this narrow read op(A) where it lies: packing would not pay */
    SMALL_WORK = 1 << 17,  /* multiply-adds: below, a second thread costs more than it brings */
    A_FLOATS = BLOCK_ROWS_MAX * GEMM_KC + GEMM_PACK_SLACK,
    B_FLOATS = TILE_COLUMNS * GEMM_KC + GEMM_PACK_SLACK,
    WORKER_BYTES = 2 << 20, /* one huge page: scratch in small pages costs a tenth of the speed */
    WORKERS_LEAST = 2,      /* so much memory that mem_alloc_aligned asks for huge pages */
};
static_assert((A_FLOATS + B_FLOATS) * sizeof(float) <= WORKER_BYTES, "a worker's panels fit");

typedef struct {
    const GemmProduct *product;
    const GemmIsa *isa;
    float *scratch;
    uint32_t tile_rows, tile_columns, grid_rows, grid_columns;
} Plan;

/* One task's piece of the product. */
typedef struct {
    const GemmProduct *product;
    const GemmIsa *isa;
    float *a_panels, *b_panels;
    uint32_t row, row_end, column, column_end; /* of C */
    uint32_t k, depth;                         /* the K block at work */
} Tile;

/* ---- instruction sets ---- */

static const GemmIsa *const isas[] = {
#if defined(__x86_64__)
    &gemm_isa_avx512,
    &gemm_isa_avx2,
#elif defined(__aarch64__)
    &gemm_isa_neon,
#endif
    &gemm_isa_portable,
};
enum { ISAS = sizeof isas / sizeof *isas };

static _Atomic(const GemmIsa *) isa_in_use;

const GemmIsa *gemm_isa(void)
{
    const GemmIsa *isa = atomic_load_explicit(&isa_in_use, memory_order_relaxed);
    if (isa)
        return isa;
    uint32_t i = 0;
    while (!isas[i]->supported())
        i++; /* ends: portable is always supported */
    atomic_store_explicit(&isa_in_use, isas[i], memory_order_relaxed);
    return isas[i];
}

const char *gemm_isa_at(uint32_t index)
{
    for (uint32_t i = 0; i < ISAS; i++)
        if (isas[i]->supported() && index-- == 0)
            return isas[i]->name;
    return NULL;
}

const char *gemm_isa_name(void)
{
    return gemm_isa()->name;
}

bool gemm_isa_use(const char *name)
{
    for (uint32_t i = 0; i < ISAS; i++) {
        if (strcmp(isas[i]->name, name) == 0 && isas[i]->supported()) {
            atomic_store_explicit(&isa_in_use, isas[i], memory_order_relaxed);
            return true;
        }
    }
    return false;
}

/* ---- one task ---- */

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t parts(uint32_t count, uint32_t size)
{
    return count / size + (count % size != 0);
}

uint32_t gemm_depth(uint32_t k)
{
    if (k <= GEMM_KC)
        return k;
    uint32_t even = parts(k, parts(k, GEMM_KC));
    return parts(even, GEMM_Q8_GROUP) * GEMM_Q8_GROUP;
}

/* The panel of op(B) for the columns from j on, in f32: found in packed weights, or made in
 * `slot` when `make`. */
static const float *b_panel(const Tile *t, uint32_t j, float *slot, bool make)
{
    const GemmProduct *p = t->product;
    uint32_t width = t->isa->columns;
    if (p->packed && p->type == GEMM_F32)
        return (const float *)p->packed + (size_t)j * p->k + (size_t)t->k * width;
    if (!make)
        return slot;
    if (p->packed) {
        const uint8_t *q8 = (const uint8_t *)p->packed +
                            gemm_q8_panel_bytes(width, p->k) * (j / width) +
                            gemm_q8_panel_bytes(width, t->k);
        t->isa->unpack_q8(slot, q8, t->depth);
        return slot;
    }
    uint32_t lines = min_u32(t->column_end - j, width);
    if (p->flags.transpose_b)
        t->isa->pack_transpose(slot, width, p->b + j * p->ldb + t->k, p->ldb, lines, t->depth);
    else
        t->isa->pack_copy(slot, width, p->b + t->k * p->ldb + j, p->ldb, lines, t->depth);
    return slot;
}

static void pack_a(const Tile *t, uint32_t row, uint32_t rows)
{
    const GemmProduct *p = t->product;
    uint32_t width = t->isa->rows;
    for (uint32_t i = 0; i < rows; i += width) {
        float *panel = t->a_panels + (size_t)i * t->depth;
        uint32_t lines = min_u32(rows - i, width);
        if (p->flags.transpose_a)
            t->isa->pack_copy(panel, width, p->a + t->k * p->lda + row + i, p->lda, lines,
                              t->depth);
        else
            t->isa->pack_transpose(panel, width, p->a + (row + i) * p->lda + t->k, p->lda, lines,
                                   t->depth);
    }
}

/* What a tile kernel needs to know of op(A) for a block of rows. */
typedef struct {
    const float *at;
    size_t row, step, panel; /* strides: of a row, of k, of a panel */
} Walk;

static Walk walk_a(const Tile *t, uint32_t row, uint32_t rows)
{
    const GemmProduct *p = t->product;
    uint32_t width = t->isa->rows;
    if (t->column_end - t->column > DIRECT_COLUMNS) {
        pack_a(t, row, rows);
        return (Walk){t->a_panels, 1, width, (size_t)width * t->depth};
    }
    if (p->flags.transpose_a)
        return (Walk){p->a + t->k * p->lda + row, 1, p->lda, width};
    return (Walk){p->a + row * p->lda + t->k, p->lda, 1, width * p->lda};
}

/* A panel of columns that C does not fill: computed aside, then merged with the same additions. */
static void tile_at_edge(const GemmIsa *isa, uint32_t rows, uint32_t depth, Walk a, const float *b,
                         float *c, size_t ldc, bool add, uint32_t columns)
{
    float edge[GEMM_ROWS_MAX * GEMM_COLUMNS_MAX];
    isa->tile(rows, depth, a.at, a.row, a.step, b, b, edge, isa->columns, false);
    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t j = 0; j < columns; j++) {
            float chain = edge[i * isa->columns + j];
            c[i * ldc + j] = add ? c[i * ldc + j] + chain : chain;
        }
}

static void run_panel(const Tile *t, Walk a, uint32_t row, uint32_t rows, const float *b,
                      const float *next, uint32_t column, bool add)
{
    const GemmIsa *isa = t->isa;
    size_t ldc = t->product->ldc;
    float *c = t->product->c + row * ldc + column;
    size_t step = next == b ? 0 : GEMM_NEXT_STEP * (size_t)t->depth;
    uint32_t columns = t->column_end - column;
    for (uint32_t i = 0; i < rows; i += isa->rows) {
        uint32_t some = min_u32(rows - i, isa->rows);
        if (columns >= isa->columns)
            isa->tile(some, t->depth, a.at, a.row, a.step, b, next, c, ldc, add);
        else
            tile_at_edge(isa, some, t->depth, a, b, c, ldc, add, columns);
        a.at += a.panel;
        next += step;
        c += isa->rows * ldc;
    }
}

static void run_block(const Tile *t, uint32_t row, uint32_t rows)
{
    Walk a = walk_a(t, row, rows);
    bool add = t->product->flags.accumulate || t->k > 0;
    bool first = row == t->row, only = first && row + rows == t->row_end;
    for (uint32_t j = t->column; j < t->column_end; j += t->isa->columns) {
        /* With one block of rows a panel is used once: one slot, which stays in the cache. */
        float *slot = t->b_panels + (only ? 0 : (size_t)(j - t->column) * t->depth);
        const float *b = b_panel(t, j, slot, first);
        bool ready = t->product->packed && t->product->type == GEMM_F32;
        const float *next = ready ? b + (size_t)t->isa->columns * t->product->k
                            : first ? b : b + (size_t)t->isa->columns * t->depth;
        run_panel(t, a, row, rows, b, next, j, add);
    }
}

static void run_task(void *ctx, uint32_t task, uint32_t worker)
{
    const Plan *plan = ctx;
    const GemmProduct *p = plan->product;
    float *mine = plan->scratch + (size_t)worker * (WORKER_BYTES / sizeof(float));
    Tile t = {.product = p, .isa = plan->isa, .a_panels = mine, .b_panels = mine + A_FLOATS};
    t.row = task % plan->grid_rows * plan->tile_rows;
    t.row_end = min_u32(t.row + plan->tile_rows, p->m);
    t.column = task / plan->grid_rows * plan->tile_columns;
    t.column_end = min_u32(t.column + plan->tile_columns, p->n);

    uint32_t width = plan->isa->rows, depth = gemm_depth(p->k);
    uint32_t panels = parts(t.row_end - t.row, width);
    uint32_t blocks = parts(panels * width, plan->isa->block_rows);
    uint32_t block = parts(panels, blocks) * width; /* rows, evened out */
    do { /* once even when k is 0: C is set */
        t.depth = min_u32(p->k - t.k, depth);
        for (uint32_t row = t.row; row < t.row_end; row += block)
            run_block(&t, row, min_u32(block, t.row_end - row));
        t.k += t.depth;
    } while (t.k < p->k);
}

/* ---- the grid ---- */

/* Chooses the grid: the least time of the busiest thread, in cycles of a multiply-add of one
 * register row, when packing an element of op(A) or op(B) costs PACK multiply-adds. */
static void cut(Plan *plan, uint32_t threads)
{
    enum { PACK = 8, CHOICES = 8, ROUNDS = 5 };
    const GemmProduct *p = plan->product;
    uint32_t panels_m = parts(p->m, plan->isa->rows), panels_n = parts(p->n, plan->isa->columns);
    uint32_t columns_max = TILE_COLUMNS / plan->isa->columns;
    uint32_t least = parts(panels_n, columns_max);
    double best = 0;
    for (uint32_t choice = 0; choice < CHOICES; choice++) {
        uint32_t wide = parts(panels_n, min_u32(least << choice, panels_n));
        uint32_t across = parts(panels_n, wide);
        for (uint32_t round = 1; round <= ROUNDS; round++) {
            uint32_t down = min_u32(parts(round * threads, across), panels_m);
            uint32_t high = parts(panels_m, down);
            down = parts(panels_m, high);
            double rows = (double)high * plan->isa->rows, columns = wide * plan->isa->columns;
            double packing = (columns > DIRECT_COLUMNS ? rows : 0) + (p->packed ? 0 : columns);
            double tile = rows * columns + PACK * packing;
            /* A fifth of a tile more: the wait for a thread that was disturbed. */
            double time = (parts(across * down, threads) + 0.0) * tile;
            if (best == 0 || time < best) {
                best = time;
                plan->tile_rows = high * plan->isa->rows;
                plan->tile_columns = wide * plan->isa->columns;
                plan->grid_rows = down;
                plan->grid_columns = across;
            }
        }
    }
}

size_t gemm_scratch_bytes(uint32_t threads)
{
    return (size_t)(threads < WORKERS_LEAST ? WORKERS_LEAST : threads) * WORKER_BYTES;
}

void gemm_run(Pool *pool, void *scratch, const GemmProduct *product)
{
    if (product->m == 0 || product->n == 0)
        return;
    Plan plan = {.product = product, .isa = gemm_isa(), .scratch = scratch};
    assert(plan.isa->block_rows <= BLOCK_ROWS_MAX);
    double work = (double)product->m * product->n * product->k;
    cut(&plan, work < SMALL_WORK ? 1 : pool_threads(pool));
    pool_for(pool, plan.grid_rows * plan.grid_columns, run_task, &plan);
}

void gemm(Pool *pool, void *scratch, GemmFlags flags, uint32_t m, uint32_t n, uint32_t k,
          const float *a, size_t lda, const float *b, size_t ldb, float *c, size_t ldc)
{
    GemmProduct product = {.flags = flags, .m = m, .n = n, .k = k, .a = a, .lda = lda,
                           .b = b, .ldb = ldb, .c = c, .ldc = ldc};
    gemm_run(pool, scratch, &product);
}
