/* vec_rows.c: how rows and flat runs are cut into tasks; the arithmetic is in vec_body_rows.h.
 * A task is some GRAIN elements, whatever the number of threads. */
#include "backend/cpu/vec_kernels.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    GRAIN = 16384,        /* elements of one task: 64 KiB, some microseconds */
    COLUMNS = 128,        /* of a task that walks down columns */
    NORM_ROWS = 32,       /* rows whose gradients of w are added up before the tree */
    SQUARES_AT_ONCE = 2048
};

static uint32_t tasks_of(size_t count, size_t each)
{
    return (uint32_t)((count + each - 1) / each);
}

typedef struct {
    const VecKernels *kernels;
    float *y, *z;
    const float *a, *b, *c;
    float factor;
    size_t count;
} Flat;

static size_t flat_length(const Flat *flat, uint32_t task)
{
    size_t left = flat->count - (size_t)task * GRAIN;
    return left < GRAIN ? left : GRAIN;
}

static void flat_run(Pool *pool, PoolTask fn, Flat flat)
{
    flat.kernels = vec_kernels();
    pool_for(pool, tasks_of(flat.count, GRAIN), fn, &flat);
}

static void add_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Flat *f = ctx;
    size_t at = (size_t)task * GRAIN;
    f->kernels->add(f->y + at, f->a + at, f->b + at, flat_length(f, task));
}

void vec_add(Pool *pool, float *y, const float *a, const float *b, size_t count)
{
    flat_run(pool, add_task, (Flat){.y = y, .a = a, .b = b, .count = count});
}

static void mul_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Flat *f = ctx;
    size_t at = (size_t)task * GRAIN;
    f->kernels->mul(f->y + at, f->a + at, f->b + at, flat_length(f, task));
}

void vec_mul(Pool *pool, float *y, const float *a, const float *b, size_t count)
{
    flat_run(pool, mul_task, (Flat){.y = y, .a = a, .b = b, .count = count});
}

static void scale_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Flat *f = ctx;
    size_t at = (size_t)task * GRAIN;
    f->kernels->scale(f->y + at, f->a + at, f->factor, flat_length(f, task));
}

void vec_scale(Pool *pool, float *y, const float *x, float factor, size_t count)
{
    flat_run(pool, scale_task, (Flat){.y = y, .a = x, .factor = factor, .count = count});
}

static void swiglu_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Flat *f = ctx;
    size_t at = (size_t)task * GRAIN;
    f->kernels->swiglu(f->y + at, f->a + at, f->b + at, flat_length(f, task));
}

void vec_swiglu(Pool *pool, float *y, const float *g, const float *u, size_t count)
{
    flat_run(pool, swiglu_task, (Flat){.y = y, .a = g, .b = u, .count = count});
}

static void swiglu_back_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Flat *f = ctx;
    size_t at = (size_t)task * GRAIN;
    f->kernels->swiglu_back(f->y + at, f->z + at, f->a + at, f->b + at, f->c + at,
                            flat_length(f, task));
}

void vec_swiglu_back(Pool *pool, float *dg, float *du, const float *g, const float *u,
                     const float *dy, size_t count)
{
    flat_run(pool, swiglu_back_task,
             (Flat){.y = dg, .z = du, .a = g, .b = u, .c = dy, .count = count});
}

/* ---- embedding ---- */

typedef struct {
    float *y;
    const float *x;
    const int32_t *id;
    uint32_t t, d, rows; /* rows of one task */
} Embed;

static uint32_t rows_per_task(uint32_t d)
{
    return d >= GRAIN ? 1 : GRAIN / (d ? d : 1);
}

static void embed_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Embed *m = ctx;
    uint32_t first = task * m->rows, end = m->t - first < m->rows ? m->t : first + m->rows;
    for (uint32_t t = first; t < end; t++)
        memcpy(m->y + (size_t)t * m->d, m->x + (size_t)m->id[t] * m->d, m->d * sizeof(float));
}

void vec_embed(Pool *pool, float *y, const float *table, const int32_t *id, uint32_t t, uint32_t d)
{
    Embed embed = {.y = y, .x = table, .id = id, .t = t, .d = d, .rows = rows_per_task(d)};
    pool_for(pool, tasks_of(t, embed.rows), embed_task, &embed);
}

/* Tasks own columns, so that no two of them add to one element. */
static void embed_back_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Embed *m = ctx;
    const VecKernels *kernels = vec_kernels();
    uint32_t column = task * COLUMNS;
    uint32_t n = m->d - column < COLUMNS ? m->d - column : COLUMNS;
    for (uint32_t t = 0; t < m->t; t++) {
        float *row = m->y + (size_t)m->id[t] * m->d + column;
        kernels->add(row, row, m->x + (size_t)t * m->d + column, n);
    }
}

void vec_embed_back(Pool *pool, float *dtable, const float *dy, const int32_t *id, uint32_t t,
                    uint32_t d, uint32_t v)
{
    for (uint32_t i = 0; i < t; i++)
        assert(id[i] >= 0 && (uint32_t)id[i] < v);
    (void)v;
    Embed embed = {.y = dtable, .x = dy, .id = id, .t = t, .d = d};
    pool_for(pool, tasks_of(d, COLUMNS), embed_back_task, &embed);
}

/* ---- norm ---- */

typedef struct {
    const VecKernels *kernels;
    float *y, *dw, *sums; /* sums[blocks, D]: gradients of w of each block of rows */
    const float *x, *w, *dy;
    float eps;
    uint32_t t, d, rows;
} Norm;

static void rms_norm_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Norm *n = ctx;
    uint32_t first = task * n->rows, rows = n->t - first < n->rows ? n->t - first : n->rows;
    size_t at = (size_t)first * n->d;
    n->kernels->rms_norm(n->y + at, n->x + at, n->w, n->eps, rows, n->d);
}

void vec_rms_norm(Pool *pool, float *y, const float *x, const float *w, float eps, uint32_t t,
                  uint32_t d)
{
    Norm norm = {.kernels = vec_kernels(), .y = y, .x = x, .w = w, .eps = eps, .t = t, .d = d,
                 .rows = rows_per_task(d)};
    pool_for(pool, tasks_of(t, norm.rows), rms_norm_task, &norm);
}

size_t vec_rms_norm_back_scratch(uint32_t t, uint32_t d)
{
    size_t bytes = (size_t)tasks_of(t, NORM_ROWS) * d * sizeof(float);
    return (bytes + 63) / 64 * 64;
}

static void rms_norm_back_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Norm *n = ctx;
    uint32_t first = task * NORM_ROWS, rows = n->t - first < NORM_ROWS ? n->t - first : NORM_ROWS;
    size_t at = (size_t)first * n->d;
    n->kernels->rms_norm_back(n->y + at, n->sums + (size_t)task * n->d, n->x + at, n->w, n->dy + at,
                              n->eps, rows, n->d);
}

/* Blocks in ascending order for some columns. */
static void norm_sum_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Norm *n = ctx;
    uint32_t column = task * COLUMNS, columns = n->d - column < COLUMNS ? n->d - column : COLUMNS;
    float sum[COLUMNS] = {0};
    for (uint32_t block = 0; block < tasks_of(n->t, NORM_ROWS); block++)
        n->kernels->add(sum, sum, n->sums + (size_t)block * n->d + column, columns);
    n->kernels->add(n->dw + column, n->dw + column, sum, columns);
}

void vec_rms_norm_back(Pool *pool, void *scratch, float *dx, float *dw, const float *x,
                       const float *w, const float *dy, float eps, uint32_t t, uint32_t d)
{
    Norm norm = {.kernels = vec_kernels(), .y = dx, .dw = dw, .sums = scratch, .x = x, .w = w,
                 .dy = dy, .eps = eps, .t = t, .d = d};
    pool_for(pool, tasks_of(t, NORM_ROWS), rms_norm_back_task, &norm);
    pool_for(pool, tasks_of(d, COLUMNS), norm_sum_task, &norm);
}

/* ---- rotary embedding ---- */

typedef struct {
    const VecKernels *kernels;
    VecRope rope;
    uint32_t t, rows;
} RopeRun;

static void rope_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const RopeRun *run = ctx;
    uint32_t first = task * run->rows;
    run->kernels->rope(&run->rope, first, run->t - first < run->rows ? run->t : first + run->rows);
}

void vec_rope(Pool *pool, float *x, const int32_t *pos, float theta, bool inverse, uint32_t t,
              uint32_t heads, uint32_t e)
{
    assert(e % 2 == 0 && e <= VEC_E_MAX);
    double turns[VEC_E_MAX / 2];
    double step = pow(theta, -2.0 / e), turn = 1 / 6.283185307179586477;
    for (uint32_t i = 0; i < e / 2; i++, turn *= step)
        turns[i] = turn;
    RopeRun run = {.kernels = vec_kernels(),
                   .rope = {.x = x, .pos = pos, .turns = turns, .heads = heads, .e = e,
                            .inverse = inverse},
                   .t = t, .rows = rows_per_task(heads * e)};
    pool_for(pool, tasks_of(t, run.rows), rope_task, &run);
}

/* ---- losses, norms of gradients, optimiser ---- */

typedef struct {
    const VecKernels *kernels;
    float *logits;
    size_t ld;
    const int32_t *target;
    double *loss;
    bool gradient;
    float factor;
    uint32_t v;
} Xent;

static void xent_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Xent *x = ctx;
    assert(x->target[task] >= 0 && (uint32_t)x->target[task] < x->v);
    x->loss[task] = x->kernels->xent(x->logits + task * x->ld, x->v, x->target[task], x->gradient,
                                     x->factor);
}

void vec_xent_rows(Pool *pool, float *logits, size_t ld, const int32_t *target, double *loss,
                   bool gradient, float factor, uint32_t rows, uint32_t v)
{
    Xent xent = {.kernels = vec_kernels(), .logits = logits, .ld = ld, .target = target,
                 .loss = loss, .gradient = gradient, .factor = factor, .v = v};
    pool_for(pool, rows, xent_task, &xent);
}

typedef struct {
    const VecKernels *kernels;
    const float *x;
    size_t count;
    double *sums;
} Squares;

static void squares_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Squares *s = ctx;
    size_t at = (size_t)task * VEC_SQUARES, left = s->count - at;
    s->sums[task] = s->kernels->sum_squares(s->x + at, left < VEC_SQUARES ? left : VEC_SQUARES);
}

double vec_sum_squares(Pool *pool, const float *x, size_t count)
{
    double sums[SQUARES_AT_ONCE], total = 0;
    const size_t most = (size_t)SQUARES_AT_ONCE * VEC_SQUARES;
    for (size_t at = 0; at < count; at += most) {
        Squares squares = {.kernels = vec_kernels(), .x = x + at, .sums = sums,
                           .count = count - at < most ? count - at : most};
        uint32_t blocks = tasks_of(squares.count, VEC_SQUARES);
        pool_for(pool, blocks, squares_task, &squares);
        for (uint32_t i = 0; i < blocks; i++)
            total += sums[i];
    }
    return total;
}

typedef struct {
    const VecKernels *kernels;
    float *p, *g, *m, *v;
    VecAdamStep step;
    size_t count;
} Adam;

static void adamw_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Adam *a = ctx;
    size_t at = (size_t)task * GRAIN, left = a->count - at;
    a->kernels->adamw(a->p + at, a->g + at, a->m + at, a->v + at, &a->step,
                      left < GRAIN ? left : GRAIN);
}

void vec_adamw(Pool *pool, float *p, float *g, float *m, float *v, VecAdam options, size_t count)
{
    assert(options.step >= 1);
    double power = (double)options.step;
    Adam adam = {
        .kernels = vec_kernels(), .p = p, .g = g, .m = m, .v = v, .count = count,
        .step = {.beta1 = options.beta1, .beta2 = options.beta2,
                 .rest1 = 1.0f - options.beta1, .rest2 = 1.0f - options.beta2,
                 .unbias1 = (float)(1 / (1 - pow(options.beta1, power))),
                 .unbias2 = (float)(1 / (1 - pow(options.beta2, power))),
                 .rate = options.rate, .eps = options.eps, .decay = options.decay,
                 .gradient_scale = options.gradient_scale, .clear = options.clear},
    };
    pool_for(pool, tasks_of(count, GRAIN), adamw_task, &adam);
}
