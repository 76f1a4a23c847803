/* qgemm.c: see qgemm.h; the part that all instruction sets share.
 *
 * First A is quantised into strips of rows (all as high as the others, so that none is nearly empty),
 * then C is cut into tasks: some panels of columns by some strips. Within a task the panels stay in
 * the second-level cache while strip after strip meets them. A strip goes through a panel in passes
 * of a few rows in registers, or as one tile on a matrix unit where the rows are enough of them.
 *
 * Bits do not depend on any of this: every element is a chain of its own over K.
 */
#include "backend/cpu/qgemm_kernel.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

enum {
    ROWS_ONCE = 512,         /* of A quantised at once: bounds scratch */
    TASK_BYTES = 128 << 10,  /* of packed weights read once: some microseconds */
    KEEP_BYTES = 512 << 10,  /* of panels that stay in cache for several strips */
    TASKS_A_THREAD = 4,      /* at least, where the shape allows: threads are disturbed */
    SHARED_WORK = 1 << 15,   /* elements of A: below, one thread quantises them */
    TILE_PANELS = 16,        /* most of a task on a matrix unit */
    TILE_K = 1024,           /* two strips of so many k fit in the first-level cache */
    CODES_A_GROUP = 1024,    /* most codes_bytes of any instruction set, for each 32 k */
};

/* ---- instruction sets ---- */

static const QgemmIsa *const isas[] = {
#if defined(__x86_64__)
    &qgemm_isa_amx,
    &qgemm_isa_avx512,
    &qgemm_isa_avxvnni,
    &qgemm_isa_avx2,
#elif defined(__aarch64__)
    &qgemm_isa_neon,
#endif
    &qgemm_isa_portable,
};
enum { ISAS = sizeof isas / sizeof *isas };

static _Atomic(const QgemmIsa *) isa_in_use;

static const QgemmIsa *isa_now(void)
{
    const QgemmIsa *isa = atomic_load_explicit(&isa_in_use, memory_order_relaxed);
    for (uint32_t i = 0; !isa; i++) { /* ends: portable is always supported */
        if (isas[i]->supported()) {
            isa = isas[i];
            atomic_store_explicit(&isa_in_use, isa, memory_order_relaxed);
        }
    }
    return isa;
}

const char *qgemm_isa_name(void)
{
    return isa_now()->name;
}

const char *qgemm_isa_at(uint32_t index)
{
    for (uint32_t i = 0; i < ISAS; i++) {
        if (isas[i]->supported() && index-- == 0)
            return isas[i]->name;
    }
    return NULL;
}

bool qgemm_isa_use(const char *name)
{
    for (uint32_t i = 0; i < ISAS; i++) {
        if (strcmp(isas[i]->name, name) == 0 && isas[i]->supported()) {
            atomic_store_explicit(&isa_in_use, isas[i], memory_order_relaxed);
            return true;
        }
    }
    return false;
}

/* ---- scratch: the strips, then each worker's unpacked panels ---- */

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t parts(uint32_t count, uint32_t size)
{
    return count / size + (count % size != 0);
}

static size_t lines(size_t bytes)
{
    return (bytes + QGEMM_LINE - 1) / QGEMM_LINE * QGEMM_LINE;
}

/* Bytes of a strip's pieces. */
typedef struct {
    size_t q, scale, offset;
} StripBytes;

static StripBytes strip_bytes(const QgemmForm *form, uint32_t height, uint32_t k)
{
    size_t blocks = (size_t)height * (k / form->block);
    size_t offset = form->block == 32 ? sizeof(int32_t) : QGEMM_OFFSETS;
    return (StripBytes){height * lines(k), lines(blocks * sizeof(float)), lines(blocks * offset)};
}

static size_t strips_bytes_max(uint32_t m, uint32_t k)
{
    size_t most = 0, strips = parts(min_u32(m, ROWS_ONCE), QGEMM_STRIP);
    for (uint32_t i = 0; i < QGEMM_KINDS; i++) {
        StripBytes bytes = strip_bytes(&qgemm_forms[i], QGEMM_STRIP, k);
        size_t all = bytes.q + bytes.scale + bytes.offset;
        most = all > most ? all : most;
    }
    return strips * most;
}

static size_t worker_bytes(uint32_t k)
{
    size_t panel = (size_t)parts(k, 32) * CODES_A_GROUP;
    return panel > KEEP_BYTES ? panel : KEEP_BYTES;
}

size_t qgemm_scratch_bytes(uint32_t threads, uint32_t m_max, uint32_t k_max)
{
    return strips_bytes_max(m_max, k_max) + threads * worker_bytes(k_max);
}

/* ---- one call ---- */

typedef struct {
    const QgemmIsa *isa, *few; /* for tiles, and for all else */
    const QgemmForm *form;
    QgemmKind kind;
    bool accumulate, tiles;
    uint32_t m, n, k;            /* m at most ROWS_ONCE */
    uint32_t height, strips;     /* rows of each strip but the last, number of strips */
    uint32_t task_panels, task_strips, grid_panels;
    const float *a;
    const uint8_t *packed;
    float *c;
    size_t lda, ldc, panel_bytes, codes_bytes;
    uint8_t *scratch, *codes;
} Call;

static QgemmStrip strip_at(const Call *call, uint32_t index)
{
    StripBytes bytes = strip_bytes(call->form, call->height, call->k);
    uint8_t *at = call->scratch + index * (bytes.q + bytes.scale + bytes.offset);
    return (QgemmStrip){(int8_t *)at, (float *)(void *)(at + bytes.q), at + bytes.q + bytes.scale,
                        call->height};
}

static uint32_t strip_rows(const Call *call, uint32_t index)
{
    return min_u32(call->height, call->m - index * call->height);
}

static void quantise_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Call *call = ctx;
    QgemmStrip strip = strip_at(call, task);
    uint32_t rows = strip_rows(call, task);
    for (uint32_t i = 0; i < rows; i++)
        call->few->quantise(call->form, &strip, i,
                            call->a + ((size_t)task * call->height + i) * call->lda, call->k);
    /* A tile takes the whole height; what it makes of these rows is not stored. */
    for (uint32_t b = 0; b < call->k / call->form->block; b++) {
        for (uint32_t i = rows; i < strip.height; i++)
            strip.scale[b * strip.height + i] = 0;
    }
}

static void merge(const Call *call, uint32_t row, uint32_t rows, uint32_t panel, const float *chain)
{
    uint32_t column = panel * QGEMM_COLUMNS, columns = min_u32(QGEMM_COLUMNS, call->n - column);
    for (uint32_t i = 0; i < rows; i++) {
        float *c = call->c + (row + i) * call->ldc + column;
        const float *from = chain + i * QGEMM_COLUMNS;
        for (uint32_t j = 0; j < columns; j++)
            c[j] = call->accumulate ? c[j] + from[j] : from[j];
    }
}

/* One strip on one panel, some rows at a time. */
static void run_passes(const Call *call, uint32_t index, uint32_t panel)
{
    float chain[QGEMM_ROWS_MAX * QGEMM_COLUMNS];
    QgemmStrip strip = strip_at(call, index);
    uint32_t rows = strip_rows(call, index);
    uint32_t some = parts(rows, parts(rows, call->few->rows)); /* evenly split */
    for (uint32_t i = 0; i < rows; i += some) {
        QgemmStrip rest = qgemm_strip_from(call->form, &strip, i);
        uint32_t now = min_u32(some, rows - i);
        call->few->pass[call->kind](now, call->k, &rest, call->packed + panel * call->panel_bytes,
                                    chain);
        merge(call, index * call->height + i, now, panel, chain);
    }
}

/* What one task has of C. */
typedef struct {
    uint32_t panel, panel_end, strip, strip_end;
} Piece;

/* Some k of one or two strips on one panel, added to the chains; codes: of the panel, unpacked. */
static void run_tile(const Call *call, Piece p, uint32_t k, uint32_t panel, const uint8_t *codes,
                     float *chain)
{
    const QgemmForm *form = call->form;
    QgemmStrip strip[2];
    uint32_t strips = p.strip_end - p.strip;
    for (uint32_t i = 0; i < strips; i++) {
        QgemmStrip whole = strip_at(call, p.strip + i);
        strip[i] = qgemm_strip_behind(form, &whole, k);
    }
    const uint8_t *weights = call->packed + panel * call->panel_bytes;
    call->isa->tile[call->kind](strips, min_u32(TILE_K, call->k - k), strip,
                                weights + (size_t)(k / form->group) * form->group_bytes,
                                codes + (size_t)(k / 32) * call->isa->codes_bytes[call->kind],
                                chain);
}

/* A few k of two strips stay in the first-level cache while they meet all panels of the task. */
static void run_strips(const Call *call, Piece p, const uint8_t *codes)
{
    enum { CHAINS = QGEMM_STRIP * QGEMM_COLUMNS };
    float chain[TILE_PANELS][2 * CHAINS];
    memset(chain, 0, (p.panel_end - p.panel) * sizeof *chain);
    for (uint32_t k = 0; k < call->k; k += TILE_K) {
        for (uint32_t i = p.panel; i < p.panel_end; i++)
            run_tile(call, p, k, i, codes + (i - p.panel) * call->codes_bytes, chain[i - p.panel]);
    }
    for (uint32_t i = p.panel; i < p.panel_end; i++) {
        for (uint32_t at = p.strip; at < p.strip_end; at++)
            merge(call, at * call->height, strip_rows(call, at), i,
                  chain[i - p.panel] + (at - p.strip) * CHAINS);
    }
}

static void run_matrix_unit(const Call *call, Piece p, uint8_t *codes)
{
    call->isa->enter(call->kind, call->height);
    for (uint32_t i = p.panel; i < p.panel_end; i++)
        call->isa->unpack[call->kind](call->packed + i * call->panel_bytes, call->k,
                                      codes + (i - p.panel) * call->codes_bytes);
    Piece some = p;
    for (; some.strip < p.strip_end; some.strip = some.strip_end) {
        some.strip_end = min_u32(p.strip_end, some.strip + call->isa->tile_strips[call->kind]);
        run_strips(call, some, codes);
    }
    call->isa->leave();
}

static void product_task(void *ctx, uint32_t task, uint32_t worker)
{
    const Call *call = ctx;
    Piece p = {.panel = task % call->grid_panels * call->task_panels,
               .strip = task / call->grid_panels * call->task_strips};
    p.panel_end = min_u32(p.panel + call->task_panels, qgemm_panels(call->n));
    p.strip_end = min_u32(p.strip + call->task_strips, call->strips);
    if (call->tiles) {
        run_matrix_unit(call, p, call->codes + worker * worker_bytes(call->k));
        return;
    }
    for (; p.strip < p.strip_end; p.strip++) {
        for (uint32_t i = p.panel; i < p.panel_end; i++)
            run_passes(call, p.strip, i);
    }
}

/* How many panels and strips a task has. */
static void cut(Call *call, uint32_t threads)
{
    uint32_t panels = qgemm_panels(call->n), wanted = threads * TASKS_A_THREAD;
    size_t bytes = call->panel_bytes > call->codes_bytes ? call->panel_bytes : call->codes_bytes;
    size_t fit = (call->strips > 1 ? KEEP_BYTES : TASK_BYTES) / bytes;
    uint32_t even = panels / wanted;
    call->task_panels = fit < even ? (uint32_t)fit : even;
    call->task_panels += call->task_panels == 0;
    if (call->tiles)
        call->task_panels = min_u32(call->task_panels, TILE_PANELS);
    call->grid_panels = parts(panels, call->task_panels);
    uint32_t down = min_u32(parts(wanted, call->grid_panels), call->strips);
    call->task_strips = parts(call->strips, down);
}

/* At most ROWS_ONCE rows, n and k at least 1. */
static void run_rows(Pool *pool, Call *call)
{
    call->strips = parts(call->m, QGEMM_STRIP);
    call->height = parts(call->m, call->strips);
    call->strips = parts(call->m, call->height);
    call->tiles = call->isa->tile_rows && call->height >= call->isa->tile_rows;
    call->codes_bytes =
        call->tiles ? (size_t)parts(call->k, 32) * call->isa->codes_bytes[call->kind] : 0;
    if (call->strips > 1 && (size_t)call->m * call->k >= SHARED_WORK) {
        pool_for(pool, call->strips, quantise_task, call);
    } else {
        for (uint32_t i = 0; i < call->strips; i++)
            quantise_task(call, i, 0);
    }
    cut(call, pool_threads(pool));
    pool_for(pool, call->grid_panels * parts(call->strips, call->task_strips), product_task, call);
}

void qgemm(Pool *pool, void *scratch, DType type, bool accumulate, uint32_t m, uint32_t n, uint32_t k,
           const float *a, size_t lda, const void *packed, float *c, size_t ldc)
{
    const QgemmForm *form = qgemm_form_of(type);
    assert(form && k % form->block == 0);
    if (n == 0 || k == 0) {
        for (uint32_t i = 0; i < m && !accumulate; i++)
            memset(c + i * ldc, 0, n * sizeof *c);
        return;
    }
    for (uint32_t row = 0; row < m; row += ROWS_ONCE) {
        Call call = {.isa = isa_now(), .form = form, .kind = (QgemmKind)(form - qgemm_forms),
                     .accumulate = accumulate, .m = min_u32(ROWS_ONCE, m - row), .n = n, .k = k,
                     .a = a + row * lda, .packed = packed, .c = c + row * ldc, .lda = lda,
                     .ldc = ldc, .panel_bytes = qgemm_panel_bytes(form, k), .scratch = scratch};
        call.few = call.isa->few ? call.isa->few : call.isa;
        call.codes = call.scratch + strips_bytes_max(call.m, k);
        run_rows(pool, &call);
    }
}
