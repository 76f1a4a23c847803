/* gemm.c: see gemm.h; the part that all instruction sets share.
 *
 * A product runs in two loops of the pool. The first packs op(B) into a slab that all threads
 * share, in the very layout of packed weights (gemm_packed.c), so that the second is gemm_packed:
 * C is cut into a grid of tiles, one task each, and a task packs what it needs of op(A) into
 * memory of its worker. An op(B) too large for the slab comes in pieces: fewer columns at a time,
 * and few K blocks at a time, which costs nothing, since C passes through memory between K blocks
 * anyway. A small op(B) is packed by each thread for itself: cheaper than a second loop of the
 * pool and than fetching it from another processor's cache.
 *
 *     task:  for each K block                      (`depth` long)
 *              for each block of rows of the tile  (block_rows: op(A) packed, stays in L2)
 *                for each panel of columns         (streams in from L3, prefetched one ahead)
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
    SLAB_FLOATS = 3 << 20,      /* 12 MiB of op(B), shared: stays in L3 */
    SLAB_COLUMNS = 2048,        /* of op(B) at once: packing op(A) again for more costs 1 % */
    A_ROOM = 288 << 10,         /* floats of packed op(A): 1.1 MiB, more than half of L2 */
    DIRECT_ROWS = 16,           /* so few rows of op(A) are read where they lie */
    SMALL_WORK = 1 << 17,       /* multiply-adds: below, a second thread does not pay */
    OWN_FLOATS = 1 << 18,       /* of op(B): up to so many each thread packs for itself */
    COPY_COLUMNS = 1024,        /* of a task that copies op(B), COPY_ROWS high */
    COPY_ROWS = 64,
    /* A worker's floats: packed op(A), and a small op(B) or one panel of unpacked Q8_0. */
    A_FLOATS = A_ROOM + GEMM_PACK_SLACK,
    B_FLOATS = OWN_FLOATS + GEMM_PACK_SLACK,
    WORKER_FLOATS = A_FLOATS + B_FLOATS,
};

/* The grid of C. */
typedef struct {
    const GemmProduct *product;
    const GemmIsa *isa;
    float *workers;
    uint32_t tile_rows, tile_columns, grid_rows, grid_columns;
    bool has_b[POOL_THREADS_MAX]; /* by worker: its own op(B) is packed */
} Plan;

/* One task's piece of the product. */
typedef struct {
    const GemmProduct *product;
    const GemmIsa *isa;
    const void *packed; /* op(B) */
    float *a_panels, *b_panel;
    uint32_t row, row_end, column, column_end; /* of C */
    uint32_t k, depth;                         /* the K block at work */
} Tile;

/* ---- instruction sets ---- */

static const GemmIsa *const isas[] = {
#if defined(__x86_64__)
    &gemm_isa_amx,
    &gemm_isa_avx512,
    &gemm_isa_avx2,
    &gemm_isa_amx_high,
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

const GemmIsa *gemm_isa_for(GemmType type)
{
    const GemmIsa *isa = gemm_isa();
    return type == GEMM_Q8_0 && isa->q8 ? isa->q8 : isa;
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

double gemm_isa_error(const char *name)
{
    for (uint32_t i = 0; i < ISAS; i++) {
        if (strcmp(isas[i]->name, name) == 0)
            return isas[i]->error;
    }
    return 0;
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

uint32_t gemm_depth(const GemmIsa *isa, uint32_t k)
{
    if (k <= isa->depth)
        return k;
    uint32_t even = parts(k, parts(k, isa->depth_many));
    return parts(even, GEMM_Q8_GROUP) * GEMM_Q8_GROUP;
}

/* ---- op(B) into panels ---- */

typedef struct GemmPack {
    const GemmIsa *isa;
    float *slab;
    const float *b; /* the piece's first element */
    size_t ldb;
    bool transpose;
    uint32_t n, k;             /* of the piece */
    size_t whole;              /* k in whole units */
    uint32_t columns, depth;   /* of a task */
    uint32_t step;             /* of k, before the next panel's turn */
    uint32_t grid_k;
} GemmPack;

static void pack_piece(const GemmPack *pack, uint32_t from, uint32_t to, uint32_t k, uint32_t k_end)
{
    uint32_t width = pack->isa->columns;
    for (; k < k_end; k += pack->step) {
        uint32_t some = min_u32(pack->step, k_end - k);
        for (uint32_t j = from; j < to; j += width) {
            float *panel = pack->slab + j * pack->whole + gemm_span(pack->isa, k) * width;
            uint32_t lines = min_u32(to - j, width);
            if (pack->transpose)
                pack->isa->columns_transpose(panel, width, pack->b + j * pack->ldb + k, pack->ldb,
                                             lines, some);
            else
                pack->isa->columns_copy(panel, width, pack->b + k * pack->ldb + j, pack->ldb,
                                        lines, some);
        }
    }
}

static void pack_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const GemmPack *pack = ctx;
    uint32_t from = task / pack->grid_k * pack->columns;
    uint32_t k = task % pack->grid_k * pack->depth;
    pack_piece(pack, from, min_u32(from + pack->columns, pack->n), k,
               min_u32(k + pack->depth, pack->k));
}

/* The panel of op(B) for the columns from j on; *next: what will be read after it. */
static const float *find_panel(const Tile *t, uint32_t j, const float **next)
{
    const GemmProduct *p = t->product;
    uint32_t width = t->isa->columns;
    if (p->type == GEMM_F32) {
        size_t whole = gemm_span(t->isa, p->k);
        const float *panel = (const float *)t->packed + j * whole +
                             gemm_span(t->isa, t->k) * width;
        *next = panel + width * whole;
        return panel;
    }
    const uint8_t *q8 = (const uint8_t *)t->packed +
                        gemm_q8_panel_bytes(width, p->k) * (j / width) +
                        gemm_q8_panel_bytes(width, t->k);
    t->isa->unpack_q8(t->b_panel, q8, t->depth);
    *next = (const float *)(const void *)(q8 + gemm_q8_panel_bytes(width, p->k));
    return t->b_panel;
}

/* Packs a block of rows. A transposed A is copied a few of its rows at a time over all panels:
 * runs as long as the block is wide set the hardware's prefetch off, a panel's would not. */
static void pack_a(const Tile *t, uint32_t row, uint32_t rows)
{
    const GemmProduct *p = t->product;
    uint32_t width = t->isa->rows, step = p->flags.transpose_a ? t->isa->copy_step : t->depth;
    size_t whole = gemm_span(t->isa, t->depth);
    for (uint32_t k = 0; k < t->depth; k += step) {
        uint32_t some = min_u32(step, t->depth - k), from = t->k + k;
        for (uint32_t i = 0; i < rows; i += width) {
            float *panel = t->a_panels + i * whole + gemm_span(t->isa, k) * width;
            uint32_t lines = min_u32(rows - i, width);
            if (p->flags.transpose_a)
                t->isa->rows_copy(panel, width, p->a + from * p->lda + row + i, p->lda, lines,
                                  some);
            else
                t->isa->rows_transpose(panel, width, p->a + (row + i) * p->lda + from, p->lda,
                                       lines, some);
        }
    }
}

/* What a tile kernel needs to know of op(A) for a block of rows. */
typedef struct {
    const float *at;
    size_t row, step, panel; /* strides: of a row, of k, of a panel */
    uint32_t rows;           /* of a panel */
} Walk;

/* A few rows are not worth packing. More are, even for a narrow op(B): rows of A far apart in
 * memory collide in the cache. */
static bool reads_directly(const GemmIsa *isa, const GemmProduct *p)
{
    return p->m <= DIRECT_ROWS && !p->flags.transpose_a && !isa->packs_always;
}

static Walk walk_a(const Tile *t, uint32_t row, uint32_t rows)
{
    const GemmProduct *p = t->product;
    uint32_t width = t->isa->rows;
    if (!reads_directly(t->isa, p)) {
        pack_a(t, row, rows);
        return (Walk){t->a_panels, 1, width, width * gemm_span(t->isa, t->depth), width};
    }
    /* A few rows are split evenly: a last panel of one or two would wait on its own chains. */
    uint32_t even = parts(rows, parts(rows, width));
    return (Walk){p->a + row * p->lda + t->k, p->lda, 1, even * p->lda, even};
}

/* A panel of columns that C does not fill: computed in a whole tile aside. */
static void tile_at_edge(const GemmIsa *isa, uint32_t rows, uint32_t depth, Walk a, const float *b,
                         float *c, size_t ldc, bool add, uint32_t columns)
{
    float edge[GEMM_ROWS_MAX * GEMM_COLUMNS_MAX];
    uint32_t width = isa->columns;
    for (uint32_t i = 0; i < rows && add; i++) {
        memcpy(edge + i * width, c + i * ldc, columns * sizeof *c);
        memset(edge + i * width + columns, 0, (width - columns) * sizeof *c);
    }
    isa->tile(rows, depth, a.at, a.row, a.step, b, b, edge, width, add);
    for (uint32_t i = 0; i < rows; i++)
        memcpy(c + i * ldc, edge + i * width, columns * sizeof *c);
}

static void run_panel(const Tile *t, Walk a, uint32_t row, uint32_t rows, uint32_t column)
{
    const GemmIsa *isa = t->isa;
    const float *next, *b = find_panel(t, column, &next);
    size_t ldc = t->product->ldc;
    float *c = t->product->c + row * ldc + column;
    uint32_t columns = t->column_end - column;
    bool add = t->product->flags.accumulate || t->k > 0;
    for (uint32_t i = 0; i < rows; i += a.rows) {
        uint32_t some = min_u32(rows - i, a.rows);
        if (columns >= isa->columns)
            isa->tile(some, t->depth, a.at, a.row, a.step, b, next, c, ldc, add);
        else
            tile_at_edge(isa, some, t->depth, a, b, c, ldc, add, columns);
        a.at += a.panel;
        c += a.rows * ldc;
        next += GEMM_NEXT_STEP * (size_t)t->depth;
    }
}

static void run_block(const Tile *t, uint32_t row, uint32_t rows)
{
    Walk a = walk_a(t, row, rows);
    for (uint32_t j = t->column; j < t->column_end; j += t->isa->columns)
        run_panel(t, a, row, rows, j);
}

/* Rows of op(A) packed at once when K blocks are that long: whole panels. */
static uint32_t block_rows(const GemmIsa *isa, uint32_t depth)
{
    uint32_t room = (uint32_t)(A_ROOM / gemm_span(isa, depth)) / isa->rows * isa->rows;
    return min_u32(room, isa->block_rows);
}

static void run_task(void *ctx, uint32_t task, uint32_t worker)
{
    Plan *plan = ctx;
    const GemmProduct *p = plan->product;
    float *mine = plan->workers + (size_t)worker * WORKER_FLOATS;
    Tile t = {.product = p, .isa = plan->isa, .packed = p->packed, .a_panels = mine,
              .b_panel = mine + A_FLOATS};
    if (p->own) {
        GemmPack pack = *p->own;
        t.packed = pack.slab = t.b_panel;
        if (!plan->has_b[worker])
            pack_piece(&pack, 0, pack.n, 0, pack.k);
        plan->has_b[worker] = true;
    }
    t.row = task % plan->grid_rows * plan->tile_rows;
    t.row_end = min_u32(t.row + plan->tile_rows, p->m);
    t.column = task / plan->grid_rows * plan->tile_columns;
    t.column_end = min_u32(t.column + plan->tile_columns, p->n);

    uint32_t width = plan->isa->rows;
    uint32_t panels = parts(t.row_end - t.row, width);
    uint32_t blocks = parts(panels * width, block_rows(plan->isa, min_u32(p->depth, p->k)));
    uint32_t block = parts(panels, blocks) * width; /* rows, evened out */
    if (plan->isa->enter)
        plan->isa->enter();
    while (t.k < p->k) {
        t.depth = min_u32(p->k - t.k, p->depth);
        for (uint32_t row = t.row; row < t.row_end; row += block)
            run_block(&t, row, min_u32(block, t.row_end - row));
        t.k += t.depth;
    }
    if (plan->isa->leave)
        plan->isa->leave();
}

/* ---- the grid ---- */

/* Chooses the grid: the least time of the busiest thread, in multiply-adds, where packing an
 * element of op(A) costs as much as pack_work of them (it is bound by memory). */
static void cut(Plan *plan, uint32_t threads)
{
    enum { CHOICES = 8, ROUNDS = 8 };
    const GemmProduct *p = plan->product;
    uint32_t pack = reads_directly(plan->isa, p) ? 0 : plan->isa->pack_work;
    uint32_t panels_m = parts(p->m, plan->isa->rows), panels_n = parts(p->n, plan->isa->columns);
    double best = 0;
    for (uint32_t choice = 0; choice < CHOICES; choice++) {
        uint32_t wide = parts(panels_n, min_u32(1u << choice, panels_n));
        uint32_t across = parts(panels_n, wide);
        for (uint32_t round = 1; round <= ROUNDS; round++) {
            uint32_t down = min_u32(parts(round * threads, across), panels_m);
            uint32_t high = parts(panels_m, down);
            down = parts(panels_m, high);
            double rows = (double)high * plan->isa->rows, columns = wide * plan->isa->columns;
            double tile = rows * (columns + pack);
            /* A part of a tile more: the wait for a thread that was disturbed. */
            double time = (parts(across * down, threads) + 0.2) * tile;
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

/* C when there is nothing to add up. */
static void clear(const GemmProduct *p)
{
    for (uint32_t i = 0; i < p->m && !p->flags.accumulate; i++)
        memset(p->c + i * p->ldc, 0, p->n * sizeof *p->c);
}

void gemm_run(Pool *pool, void *scratch, const GemmProduct *product)
{
    if (product->m == 0 || product->n == 0 || product->k == 0) {
        clear(product);
        return;
    }
    Plan plan = {.product = product, .isa = gemm_isa_for(product->type),
                 .workers = (float *)scratch + SLAB_FLOATS};
    assert(block_rows(plan.isa, min_u32(product->depth, product->k)) > 0);
    double work = (double)product->m * product->n * product->k;
    cut(&plan, work < SMALL_WORK ? 1 : pool_threads(pool));
    pool_for(pool, plan.grid_rows * plan.grid_columns, run_task, &plan);
}

/* Tasks follow the rows of B in memory: along k when transposed, else along the columns, with
 * copy_step rows at a time (see pack_a). */
static void pack_b(Pool *pool, GemmPack *pack)
{
    uint32_t width = pack->isa->columns;
    pack->depth = pack->transpose ? GEMM_KC : COPY_ROWS;
    pack->columns = pack->transpose ? width : COPY_COLUMNS;
    pack->grid_k = parts(pack->k, pack->depth);
    pool_for(pool, pack->grid_k * parts(pack->n, pack->columns), pack_task, pack);
}

size_t gemm_scratch_bytes(uint32_t threads)
{
    return (SLAB_FLOATS + GEMM_PACK_SLACK + (size_t)threads * WORKER_FLOATS) * sizeof(float);
}

void gemm(Pool *pool, void *scratch, GemmFlags flags, uint32_t m, uint32_t n, uint32_t k,
          const float *a, size_t lda, const float *b, size_t ldb, float *c, size_t ldc)
{
    const GemmIsa *isa = gemm_isa();
    GemmProduct p = {.flags = flags, .m = m, .n = n, .k = k, .depth = gemm_depth(isa, k),
                     .a = a, .lda = lda, .c = c, .ldc = ldc, .packed = scratch};
    if (m == 0 || n == 0 || k == 0) {
        gemm_run(pool, scratch, &p);
        return;
    }
    GemmPack pack = {.isa = isa, .slab = scratch, .ldb = ldb, .transpose = flags.transpose_b,
                     .step = flags.transpose_b ? GEMM_KC : isa->copy_step};
    for (uint32_t column = 0; column < n; column += SLAB_COLUMNS) {
        pack.n = p.n = min_u32(n - column, SLAB_COLUMNS);
        size_t wide = (size_t)parts(p.n, isa->columns) * isa->columns;
        uint32_t most = (uint32_t)(SLAB_FLOATS / wide / gemm_span(isa, p.depth)) * p.depth;
        p.c = c + column;
        for (uint32_t from = 0; from < k; from += most) {
            pack.k = p.k = min_u32(k - from, most);
            pack.b = flags.transpose_b ? b + column * ldb + from : b + from * ldb + column;
            p.a = flags.transpose_a ? a + from * lda : a + from;
            p.flags.accumulate = flags.accumulate || from > 0;
            pack.whole = gemm_span(isa, pack.k);
            p.own = wide * pack.whole <= OWN_FLOATS ? &pack : NULL;
            if (!p.own)
                pack_b(pool, &pack);
            gemm_run(pool, scratch, &p);
        }
    }
}
