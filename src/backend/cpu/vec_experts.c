/* vec_experts.c: which experts a token goes to, and the weighted sum of what they say. A few numbers
 * per token: plain loops, the same for every instruction set. */
#include "backend/cpu/vec.h"

#include <math.h>
#include <string.h>

enum { GRAIN = 16384 /* elements of one task */ };

typedef struct {
    VecRoute route;
    float *weight, *dlogits;
    int32_t *choice;
    const float *logits, *given, *dweight; /* given: the weights of the forward pass */
    const int32_t *chosen;
    uint32_t rows;
} Route;

static bool is_taken(const int32_t *choice, uint32_t count, uint32_t expert)
{
    for (uint32_t c = 0; c < count; c++) {
        if (choice[c] == (int32_t)expert)
            return true;
    }
    return false;
}

static void choose(int32_t *choice, const float *logit, uint32_t experts, uint32_t count)
{
    for (uint32_t c = 0; c < count; c++) {
        uint32_t best = experts;
        for (uint32_t e = 0; e < experts; e++) {
            if (!is_taken(choice, c, e) && (best == experts || logit[e] > logit[best]))
                best = e;
        }
        choice[c] = (int32_t)best;
    }
}

static double total_of(const float *logit, const int32_t *choice, VecRoute route)
{
    double top = (double)logit[choice[0]], sum = 0;
    if (!route.renormalise) {
        for (uint32_t e = 0; e < route.experts; e++)
            sum += exp((double)logit[e] - top);
        return sum;
    }
    for (uint32_t c = 0; c < route.chosen; c++)
        sum += exp((double)logit[choice[c]] - top);
    return sum;
}

static void route_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Route *r = ctx;
    VecRoute route = r->route;
    uint32_t end = (task + 1) * r->rows < route.t ? (task + 1) * r->rows : route.t;
    for (uint32_t t = task * r->rows; t < end; t++) {
        const float *logit = r->logits + (size_t)t * route.experts;
        int32_t *choice = r->choice + (size_t)t * route.chosen;
        choose(choice, logit, route.experts, route.chosen);
        double total = total_of(logit, choice, route), top = (double)logit[choice[0]];
        for (uint32_t c = 0; c < route.chosen; c++)
            r->weight[(size_t)t * route.chosen + c] =
                (float)(exp((double)logit[choice[c]] - top) / total);
    }
}

static void route_back_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Route *r = ctx;
    VecRoute route = r->route;
    uint32_t end = (task + 1) * r->rows < route.t ? (task + 1) * r->rows : route.t;
    for (uint32_t t = task * r->rows; t < end; t++) {
        size_t pair = (size_t)t * route.chosen;
        const float *logit = r->logits + (size_t)t * route.experts;
        const int32_t *choice = r->chosen + pair;
        const float *weight = r->given + pair, *dweight = r->dweight + pair;
        float *dlogit = r->dlogits + (size_t)t * route.experts;
        double total = total_of(logit, choice, route), top = (double)logit[choice[0]], mean = 0;
        for (uint32_t c = 0; c < route.chosen; c++)
            mean += (double)weight[c] * (double)dweight[c];
        for (uint32_t e = 0; e < route.experts; e++)
            dlogit[e] = route.renormalise
                            ? 0.0f
                            : (float)(-mean * exp((double)logit[e] - top) / total);
        for (uint32_t c = 0; c < route.chosen; c++)
            dlogit[choice[c]] = (float)((double)weight[c] * ((double)dweight[c] - mean));
    }
}

static void route_run(Pool *pool, PoolTask fn, Route run)
{
    run.rows = run.route.experts >= GRAIN ? 1 : GRAIN / run.route.experts;
    pool_for(pool, (run.route.t + run.rows - 1) / run.rows, fn, &run);
}

void vec_route(Pool *pool, float *weight, int32_t *choice, const float *logits, VecRoute route)
{
    route_run(pool, route_task,
              (Route){.route = route, .weight = weight, .choice = choice, .logits = logits});
}

void vec_route_back(Pool *pool, float *dlogits, const float *logits, const float *weight,
                    const int32_t *choice, const float *dweight, VecRoute route)
{
    route_run(pool, route_back_task,
              (Route){.route = route, .dlogits = dlogits, .logits = logits, .given = weight,
                      .chosen = choice, .dweight = dweight});
}

/* ---- the sum ---- */

typedef struct {
    float *y, *dz, *dweight;
    const float *weight, *z, *sum, *dy;
    uint32_t t, chosen, d, rows;
} Sum;

static void sum_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Sum *s = ctx;
    uint32_t end = (task + 1) * s->rows < s->t ? (task + 1) * s->rows : s->t;
    for (uint32_t t = task * s->rows; t < end; t++) {
        float *y = s->y + (size_t)t * s->d;
        if (!s->sum)
            memset(y, 0, s->d * sizeof *y);
        else if (s->sum != s->y)
            memcpy(y, s->sum + (size_t)t * s->d, s->d * sizeof *y);
        for (uint32_t c = 0; c < s->chosen; c++) {
            size_t pair = (size_t)t * s->chosen + c;
            float weight = s->weight[pair];
            const float *z = s->z + pair * s->d;
            for (uint32_t i = 0; i < s->d; i++)
                y[i] += weight * z[i];
        }
    }
}

static void sum_back_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Sum *s = ctx;
    uint32_t end = (task + 1) * s->rows < s->t ? (task + 1) * s->rows : s->t;
    for (uint32_t t = task * s->rows; t < end; t++) {
        const float *dy = s->dy + (size_t)t * s->d;
        for (uint32_t c = 0; c < s->chosen; c++) {
            size_t pair = (size_t)t * s->chosen + c;
            double dot = 0;
            for (uint32_t i = 0; i < s->d; i++) {
                dot += (double)(s->z[pair * s->d + i] * dy[i]);
                s->dz[pair * s->d + i] = s->weight[pair] * dy[i];
            }
            s->dweight[pair] = (float)dot;
        }
    }
}

static void sum_run(Pool *pool, PoolTask fn, Sum run)
{
    uint32_t each = run.d * run.chosen;
    run.rows = each >= GRAIN ? 1 : GRAIN / each;
    pool_for(pool, (run.t + run.rows - 1) / run.rows, fn, &run);
}

void vec_expert_sum(Pool *pool, float *y, const float *weight, const float *z, const float *sum,
                    uint32_t t, uint32_t chosen, uint32_t d)
{
    sum_run(pool, sum_task,
            (Sum){.y = y, .weight = weight, .z = z, .sum = sum, .t = t, .chosen = chosen, .d = d});
}

void vec_expert_sum_back(Pool *pool, float *dz, float *dweight, const float *weight, const float *z,
                         const float *dy, uint32_t t, uint32_t chosen, uint32_t d)
{
    sum_run(pool, sum_back_task, (Sum){.dz = dz, .dweight = dweight, .weight = weight, .z = z,
                                       .dy = dy, .t = t, .chosen = chosen, .d = d});
}
