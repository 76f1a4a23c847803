/* vec_attention_test.c: attention over a packed row and its gradient, on every instruction set of
 * this machine, against plain loops in double. */
#include "backend/cpu/vec_reference.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>

typedef struct {
    uint32_t t, heads, kv_heads, e;
    uint32_t document; /* longest document (lengths vary); 0: one */
    uint32_t window;   /* 0: none */
} Case;

static const Case cases[] = {
    {1, 1, 1, 2, 0, 0},     {5, 2, 1, 4, 0, 0},     {47, 3, 3, 16, 0, 0},  {48, 4, 2, 32, 0, 0},
    {49, 4, 2, 64, 0, 0},   {97, 3, 1, 64, 20, 0},  {200, 9, 3, 64, 0, 0}, {211, 4, 2, 64, 60, 0},
    {130, 2, 2, 128, 0, 0}, {99, 6, 2, 40, 50, 17}, {150, 2, 1, 33, 0, 1}, {260, 4, 1, 32, 0, 100},
    {180, 5, 1, 6, 3, 0},   {70, 50, 1, 8, 40, 0},  {64, 98, 2, 20, 0, 9}, {450, 4, 2, 16, 0, 0},
    {900, 2, 1, 24, 430, 0}, {1000, 3, 1, 12, 0, 130},
};
enum { CASES = sizeof cases / sizeof *cases };

typedef struct {
    Case c;
    size_t queries, keys; /* floats of q, of k */
    float scale;
    int32_t *start;
    float *q, *k, *v, *dy;       /* inputs */
    float *y, *lse, *dq, *dk, *dv; /* outputs */
} Work;

static void make_starts(const Case *c, int32_t *start)
{
    RngKey key = rng_key(7, "documents");
    uint32_t begin = 0, end = 0;
    for (uint32_t t = 0, i = 0; t < c->t; t++) {
        if (t == end) {
            begin = t;
            end = c->document ? t + 1 + (uint32_t)rng_below(key, i++, c->document) : c->t;
        }
        uint32_t edge = c->window && t + 1 > c->window ? t + 1 - c->window : 0;
        start[t] = (int32_t)(edge > begin ? edge : begin);
    }
}

static Work work_new(Case c, uint64_t seed)
{
    Work w = {.c = c, .queries = (size_t)c.t * c.heads * c.e,
              .keys = (size_t)c.t * c.kv_heads * c.e,
              .scale = (float)(1 / sqrt(c.e)), .start = bytes_poisoned(c.t * sizeof(int32_t))};
    make_starts(&c, w.start);
    w.q = floats_random(seed, w.queries, 1.5);
    w.k = floats_random(seed + 1, w.keys, 1.5);
    w.v = floats_random(seed + 2, w.keys, 1);
    w.dy = floats_random(seed + 3, w.queries, 1);
    w.y = floats_poisoned(w.queries);
    w.lse = floats_poisoned((size_t)c.t * c.heads);
    w.dq = floats_poisoned(w.queries);
    w.dk = floats_poisoned(w.keys);
    w.dv = floats_poisoned(w.keys);
    return w;
}

static void work_free(Work *w)
{
    void *blocks[] = {w->start, w->q, w->k, w->v, w->dy, w->y, w->lse, w->dq, w->dk, w->dv};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        mem_free(blocks[i]);
}

/* Both passes with fresh poisoned scratch. */
static void work_run(Work *w, Pool *pool)
{
    const Case *c = &w->c;
    auto_free void *forward = bytes_poisoned(vec_attention_scratch(pool_threads(pool), c->e));
    auto_free void *back =
        bytes_poisoned(vec_attention_back_scratch(pool_threads(pool), c->t, c->heads, c->e));
    vec_attention(pool, forward, w->y, w->lse, w->q, w->k, w->v, w->start, w->scale, c->t, c->heads,
                  c->kv_heads, c->e);
    vec_attention_back(pool, back, w->dq, w->dk, w->dv, w->q, w->k, w->v, w->y, w->lse, w->dy,
                       w->start, w->scale, c->t, c->heads, c->kv_heads, c->e);
}

static RefShape shape_of(const Work *w)
{
    return (RefShape){w->c.t, w->c.heads, w->c.kv_heads, w->c.e, w->scale, w->start};
}

/* Bounds: sums of up to 1000 f32 products and weights; observed errors are some 5 times smaller. */
static void test_against_reference(void **state)
{
    (void)state;
    Pool *pool = pool_of(2);
    for (uint32_t i = 0; i < CASES; i++) {
        Work w = work_new(cases[i], 100 + i);
        auto_free double *q = doubles_of(w.q, w.queries), *k = doubles_of(w.k, w.keys);
        auto_free double *v = doubles_of(w.v, w.keys), *dy = doubles_of(w.dy, w.queries);
        auto_free double *y = doubles_of(NULL, w.queries), *dq = doubles_of(NULL, w.queries);
        auto_free double *dk = doubles_of(NULL, w.keys), *dv = doubles_of(NULL, w.keys);
        auto_free double *lse = doubles_of(NULL, (size_t)w.c.t * w.c.heads);
        ref_attention(shape_of(&w), y, lse, q, k, v);
        ref_attention_back(shape_of(&w), dq, dk, dv, q, k, v, dy);
        for (uint32_t isa = 0; isa_at(isa); isa++) {
            char what[64];
            work_run(&w, pool);
            snprintf(what, sizeof what, "case %u", i);
            check_close(what, w.y, y, w.queries, 1e-5);
            check_close(what, w.lse, lse, (size_t)w.c.t * w.c.heads, 2e-6);
            check_close(what, w.dq, dq, w.queries, 2e-5);
            check_close(what, w.dk, dk, w.keys, 2e-5);
            check_close(what, w.dv, dv, w.keys, 2e-5);
        }
        work_free(&w);
    }
    pool_free(pool);
}

/* The reference's own gradient: d(sum dy y)/dx by central differences, for every element. */
static void test_reference_gradient(void **state)
{
    (void)state;
    const Case tries[] = {{9, 4, 2, 3, 0, 0}, {11, 2, 2, 4, 4, 0}, {10, 3, 1, 2, 0, 4}};
    for (size_t n = 0; n < sizeof tries / sizeof *tries; n++) {
        Work w = work_new(tries[n], 40 + n);
        auto_free double *dy = doubles_of(w.dy, w.queries), *y = doubles_of(NULL, w.queries);
        auto_free double *q = doubles_of(w.q, w.queries), *k = doubles_of(w.k, w.keys);
        auto_free double *v = doubles_of(w.v, w.keys), *dq = doubles_of(NULL, w.queries);
        auto_free double *dk = doubles_of(NULL, w.keys), *dv = doubles_of(NULL, w.keys);
        ref_attention_back(shape_of(&w), dq, dk, dv, q, k, v, dy);
        double *const inputs[] = {q, k, v}, *const slopes[] = {dq, dk, dv};
        for (uint32_t which = 0; which < 3; which++)
            for (size_t i = 0; i < (which ? w.keys : w.queries); i++) {
                double *x = inputs[which] + i, kept = *x, sum[2] = {0, 0};
                const double step = 1e-5;
                for (uint32_t side = 0; side < 2; side++) {
                    *x = kept + (side ? step : -step);
                    ref_attention(shape_of(&w), y, NULL, q, k, v);
                    for (size_t j = 0; j < w.queries; j++)
                        sum[side] += dy[j] * y[j];
                }
                *x = kept;
                assert_near(slopes[which][i], (sum[1] - sum[0]) / (2 * step), 1e-7);
            }
        work_free(&w);
    }
}

static void check_work_same(const char *what, const Work *a, const Work *b)
{
    check_same(what, a->y, b->y, a->queries);
    check_same(what, a->lse, b->lse, (size_t)a->c.t * a->c.heads);
    check_same(what, a->dq, b->dq, a->queries);
    check_same(what, a->dk, b->dk, a->keys);
    check_same(what, a->dv, b->dv, a->keys);
}

static void test_thread_counts(void **state)
{
    (void)state;
    for (uint32_t isa = 0; isa_at(isa); isa++)
        for (uint32_t i = 0; i < CASES; i++) {
            Work one = work_new(cases[i], 300 + i), more = work_new(cases[i], 300 + i);
            for (uint32_t threads = 1; threads <= 3; threads++) {
                Pool *pool = pool_of(threads);
                work_run(threads == 1 ? &one : &more, pool);
                pool_free(pool);
                if (threads > 1)
                    check_work_same("threads", &one, &more);
            }
            work_free(&one);
            work_free(&more);
        }
}

/* A document's bits are the same alone, and behind or before others: `at` tokens of another
 * document before it, `after` behind it. */
static void test_documents_do_not_touch(void **state)
{
    (void)state;
    const uint32_t places[][2] = {{1, 0}, {17, 5}, {48, 100}, {131, 400}, {500, 1}};
    Pool *pool = pool_of(2);
    for (uint32_t isa = 0; isa_at(isa); isa++)
        for (uint32_t length = 30; length <= 530; length += 250)
            for (size_t n = 0; n < sizeof places / sizeof *places; n++) {
                uint32_t before = places[n][0], total = before + length + places[n][1];
                Work alone = work_new((Case){length, 4, 2, 20, 0, 0}, 9);
                Work among = work_new((Case){total, 4, 2, 20, 0, 0}, 10);
                size_t q_at = (size_t)before * 80, k_at = (size_t)before * 40;
                memcpy(among.q + q_at, alone.q, alone.queries * sizeof(float));
                memcpy(among.dy + q_at, alone.dy, alone.queries * sizeof(float));
                memcpy(among.k + k_at, alone.k, alone.keys * sizeof(float));
                memcpy(among.v + k_at, alone.v, alone.keys * sizeof(float));
                for (uint32_t t = before; t < total; t++)
                    among.start[t] = (int32_t)(t < before + length ? before : before + length);
                work_run(&alone, pool);
                work_run(&among, pool);
                check_same("y", alone.y, among.y + q_at, alone.queries);
                check_same("lse", alone.lse, among.lse + (size_t)before * 4, (size_t)length * 4);
                check_same("dq", alone.dq, among.dq + q_at, alone.queries);
                check_same("dk", alone.dk, among.dk + k_at, alone.keys);
                check_same("dv", alone.dv, among.dv + k_at, alone.keys);
                work_free(&alone);
                work_free(&among);
            }
    pool_free(pool);
}

/* Scores of +-3000 neither overflow nor lose the largest. */
static void test_large_scores(void **state)
{
    (void)state;
    Pool *pool = pool_of(1);
    for (uint32_t isa = 0; isa_at(isa); isa++) {
        Work w = work_new((Case){120, 2, 1, 16, 0, 0}, 77);
        for (size_t i = 0; i < w.queries; i++)
            w.q[i] *= 60;
        for (size_t i = 0; i < w.keys; i++)
            w.k[i] *= 60;
        auto_free double *q = doubles_of(w.q, w.queries), *k = doubles_of(w.k, w.keys);
        auto_free double *v = doubles_of(w.v, w.keys), *y = doubles_of(NULL, w.queries);
        ref_attention(shape_of(&w), y, NULL, q, k, v);
        work_run(&w, pool);
        check_close("large", w.y, y, w.queries, 2e-2); /* a score's rounding is 1e-3 or so here */
        for (size_t i = 0; i < w.queries; i++)
            assert_true(isfinite(w.dq[i]));
        work_free(&w);
    }
    pool_free(pool);
}

static void test_nothing_allocates(void **state)
{
    (void)state;
    Pool *pool = pool_of(2);
    Work w = work_new(cases[6], 1);
    work_run(&w, pool);
    uint64_t before = mem_count();
    work_run(&w, pool);
    assert_int_equal(mem_count() - before, 2); /* the two scratch blocks of work_run itself */
    work_free(&w);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_reference),
        cmocka_unit_test(test_reference_gradient),
        cmocka_unit_test(test_thread_counts),
        cmocka_unit_test(test_documents_do_not_touch),
        cmocka_unit_test(test_large_scores),
        cmocka_unit_test(test_nothing_allocates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
