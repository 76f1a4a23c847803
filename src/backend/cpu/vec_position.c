/* vec_position.c: what depends on a token's position by a table or a formula, and vectors shared by
 * all tokens. The arithmetic on rows is that of vec_kernels.h; a task is some rows or columns,
 * whatever the number of threads. */
#include "backend/cpu/vec_kernels.h"

#include <assert.h>
#include <math.h>

enum {
    GRAIN = 16384,  /* elements of one task */
    COLUMNS = 128,  /* of a task that walks down columns */
    SUM_ROWS = 32   /* rows added up before the blocks are */
};

typedef struct {
    const VecKernels *kernels;
    float *y;
    const float *x, *vector; /* frequencies, or the bias */
    const int32_t *pos;
    float beta;
    uint32_t original, t, d, heads, rows; /* rows of one task */
    bool inverse;
} Rows;

static void rows_run(Pool *pool, PoolTask fn, Rows run)
{
    run.kernels = vec_kernels();
    run.rows = run.d >= GRAIN ? 1 : GRAIN / run.d;
    pool_for(pool, (run.t + run.rows - 1) / run.rows, fn, &run);
}

static uint32_t rows_end(const Rows *r, uint32_t task)
{
    uint32_t first = task * r->rows;
    return r->t - first < r->rows ? r->t : first + r->rows;
}

/* The kernel turns by pos * turns[i] in double; with pos 1 the f32 angle passes as it is. */
static void rope_table_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Rows *r = ctx;
    static const int32_t one = 1;
    double turns[VEC_E_MAX / 2];
    uint32_t e = r->d / r->heads;
    for (uint32_t t = task * r->rows; t < rows_end(r, task); t++) {
        for (uint32_t i = 0; i < e / 2; i++) {
            float angle = (float)r->pos[t] * r->vector[i];
            turns[i] = (double)angle * (1 / 6.283185307179586477);
        }
        VecRope rope = {.x = r->y + (size_t)t * r->d, .pos = &one, .turns = turns,
                        .heads = r->heads, .e = e, .inverse = r->inverse};
        r->kernels->rope(&rope, 0, 1);
    }
}

void vec_rope_table(Pool *pool, float *x, const int32_t *pos, const float *turn, bool inverse,
                    uint32_t t, uint32_t heads, uint32_t e)
{
    assert(e % 2 == 0 && e <= VEC_E_MAX);
    rows_run(pool, rope_table_task, (Rows){.y = x, .vector = turn, .pos = pos, .inverse = inverse,
                                           .t = t, .d = heads * e, .heads = heads});
}

static void position_scale_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Rows *r = ctx;
    for (uint32_t t = task * r->rows; t < rows_end(r, task); t++) {
        double steps = floor((double)r->pos[t] / r->original);
        float factor = (float)(1 + (double)r->beta * log(1 + steps));
        r->kernels->scale(r->y + (size_t)t * r->d, r->x + (size_t)t * r->d, factor, r->d);
    }
}

void vec_position_scale(Pool *pool, float *y, const float *x, const int32_t *pos, float beta,
                        uint32_t original, uint32_t t, uint32_t d)
{
    rows_run(pool, position_scale_task, (Rows){.y = y, .x = x, .pos = pos, .beta = beta,
                                               .original = original, .t = t, .d = d});
}

static void bias_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Rows *r = ctx;
    for (uint32_t t = task * r->rows; t < rows_end(r, task); t++)
        r->kernels->add(r->y + (size_t)t * r->d, r->x + (size_t)t * r->d, r->vector, r->d);
}

void vec_bias(Pool *pool, float *y, const float *x, const float *b, uint32_t t, uint32_t d)
{
    rows_run(pool, bias_task, (Rows){.y = y, .x = x, .vector = b, .t = t, .d = d});
}

/* Tasks own columns, so that no two of them add to one element. */
static void bias_back_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Rows *r = ctx;
    uint32_t column = task * COLUMNS, n = r->d - column < COLUMNS ? r->d - column : COLUMNS;
    float total[COLUMNS] = {0};
    for (uint32_t first = 0; first < r->t; first += SUM_ROWS) {
        float sum[COLUMNS] = {0};
        for (uint32_t t = first; t < r->t && t < first + SUM_ROWS; t++)
            r->kernels->add(sum, sum, r->x + (size_t)t * r->d + column, n);
        r->kernels->add(total, total, sum, n);
    }
    r->kernels->add(r->y + column, r->y + column, total, n);
}

void vec_bias_back(Pool *pool, float *db, const float *dy, uint32_t t, uint32_t d)
{
    Rows run = {.kernels = vec_kernels(), .y = db, .x = dy, .t = t, .d = d};
    pool_for(pool, (d + COLUMNS - 1) / COLUMNS, bias_back_task, &run);
}
