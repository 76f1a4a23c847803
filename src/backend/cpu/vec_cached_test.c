/* vec_cached_test.c: attention over paged keys against plain loops in double, and the promise that
 * a token's bits do not depend on who shares its call. */
#include "backend/cpu/vec_reference.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>

/* A cache of `sequences` contexts of `length` positions, pages dealt out at random; rows that no
 * position has are NaN. */
typedef struct {
    uint32_t sequences, length, heads, kv_heads, e, page, window;
} Case;

static const Case cases[] = {
    {1, 1, 1, 1, 2, 16, 0},     {3, 70, 4, 2, 16, 16, 0},  {2, 250, 9, 3, 64, 32, 0},
    {2, 400, 4, 4, 40, 7, 0},   {1, 900, 6, 1, 8, 64, 0},  {2, 500, 2, 1, 33, 16, 100},
    {1, 3300, 3, 1, 12, 64, 0}, {1, 7000, 2, 1, 4, 16, 0}, {1, 300, 50, 1, 8, 16, 1},
    {1, 3500, 2, 2, 6, 48, 700},
};
enum { CASES = sizeof cases / sizeof *cases, CASES_SHORT = 6 };

/* An emulated processor takes minutes for the long cases. */
static uint32_t case_count(void)
{
    return getenv("BASTIDE_EMULATED") ? CASES_SHORT : CASES;
}

typedef struct {
    Case c;
    uint32_t pages_max, rows;
    int32_t *pages;      /* [sequences, pages_max] */
    size_t width, wide;  /* K*E, H*E */
    float *k, *v;        /* [sequences, length, K*E], in order */
    float *kcache, *vcache;
    float *q, *y;        /* [sequences, length, H*E] */
    float scale;
} Work;

static Work work_new(Case c)
{
    Work w = {.c = c, .pages_max = (c.length + c.page - 1) / c.page + 1,
              .width = (size_t)c.kv_heads * c.e, .wide = (size_t)c.heads * c.e,
              .scale = (float)(1 / sqrt(c.e))};
    uint32_t pages = w.pages_max * c.sequences;
    size_t tokens = (size_t)c.sequences * c.length;
    w.pages = bytes_poisoned(pages * sizeof *w.pages);
    rng_permutation(rng_key(3, "pages"), (uint32_t *)w.pages, pages);
    w.k = floats_random(1, tokens * w.width, 1.5);
    w.v = floats_random(2, tokens * w.width, 1);
    w.q = floats_random(3, tokens * w.wide, 1.5);
    w.y = floats_poisoned(tokens * w.wide);
    w.kcache = floats_poisoned((size_t)pages * c.page * w.width);
    w.vcache = floats_poisoned((size_t)pages * c.page * w.width);
    for (uint32_t s = 0; s < c.sequences; s++)
        for (uint32_t p = 0; p < c.length; p++) {
            size_t page = (size_t)w.pages[s * w.pages_max + p / c.page];
            size_t to = (page * c.page + p % c.page) * w.width;
            size_t from = ((size_t)s * c.length + p) * w.width;
            memcpy(w.kcache + to, w.k + from, w.width * sizeof(float));
            memcpy(w.vcache + to, w.v + from, w.width * sizeof(float));
        }
    return w;
}

static void work_free(Work *w)
{
    void *blocks[] = {w->pages, w->k, w->v, w->kcache, w->vcache, w->q, w->y};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        mem_free(blocks[i]);
}

/* One call for tokens given as (sequence, position); y rows in call order. */
static void call(Pool *pool, const Work *w, uint32_t t, const int32_t *seq, const int32_t *pos,
                 float *y)
{
    auto_free float *q = floats_poisoned(t * w->wide);
    auto_free void *scratch = bytes_poisoned(
        vec_attention_cached_scratch(pool_threads(pool), t, w->c.heads, w->c.e));
    for (uint32_t i = 0; i < t; i++)
        memcpy(q + i * w->wide, w->q + ((size_t)seq[i] * w->c.length + pos[i]) * w->wide,
               w->wide * sizeof *q);
    VecPaging paging = {.seq = seq, .pos = pos, .pages = w->pages, .pages_max = w->pages_max,
                        .page = w->c.page, .window = w->c.window};
    vec_attention_cached(pool, scratch, y, q, w->kcache, w->vcache, paging, w->scale, t,
                         w->c.heads, w->c.kv_heads, w->c.e);
}

static const float *row_of(const Work *w, int32_t seq, int32_t pos)
{
    return w->y + ((size_t)seq * w->c.length + pos) * w->wide;
}

/* Prefill of every sequence in chunks of `step`: w->y. */
static void prefill(Pool *pool, Work *w, uint32_t step)
{
    auto_free int32_t *seq = bytes_poisoned(step * sizeof *seq);
    auto_free int32_t *pos = bytes_poisoned(step * sizeof *pos);
    for (uint32_t s = 0; s < w->c.sequences; s++)
        for (uint32_t at = 0; at < w->c.length; at += step) {
            uint32_t n = w->c.length - at < step ? w->c.length - at : step;
            for (uint32_t i = 0; i < n; i++) {
                seq[i] = (int32_t)s;
                pos[i] = (int32_t)(at + i);
            }
            call(pool, w, n, seq, pos, (float *)row_of(w, (int32_t)s, (int32_t)at));
        }
}

static void test_against_reference(void **state)
{
    (void)state;
    Pool *pool = pool_of(2);
    for (uint32_t i = 0; i < case_count(); i++) {
        Work w = work_new(cases[i]);
        const Case *c = &w.c;
        auto_free int32_t *start = bytes_poisoned(c->length * sizeof *start);
        for (uint32_t t = 0; t < c->length; t++)
            start[t] = c->window && t + 1 > c->window ? (int32_t)(t + 1 - c->window) : 0;
        RefShape shape = {c->length, c->heads, c->kv_heads, c->e, w.scale, start};
        size_t tokens = (size_t)c->sequences * c->length;
        auto_free double *q = doubles_of(w.q, tokens * w.wide);
        auto_free double *k = doubles_of(w.k, tokens * w.width);
        auto_free double *v = doubles_of(w.v, tokens * w.width);
        auto_free double *y = doubles_of(NULL, tokens * w.wide);
        for (uint32_t s = 0; s < c->sequences; s++) {
            size_t wide = s * c->length * w.wide, width = s * c->length * w.width;
            ref_attention(shape, y + wide, NULL, q + wide, k + width, v + width);
        }
        for (uint32_t isa = 0; isa_at(isa); isa++) {
            char what[64];
            snprintf(what, sizeof what, "case %u", i);
            prefill(pool, &w, 256);
            check_close(what, w.y, y, tokens * w.wide, 1e-5);
        }
        work_free(&w);
    }
    pool_free(pool);
}

/* Every way of cutting a prompt gives the bits of one token per call. */
static void test_chunking(void **state)
{
    (void)state;
    const uint32_t steps[] = {1, 256, 2, 5, 16, 17, 100};
    for (uint32_t isa = 0; isa_at(isa); isa++)
        for (uint32_t i = 0; i < case_count(); i++) {
            Work w = work_new(cases[i]);
            size_t count = (size_t)w.c.sequences * w.c.length * w.wide;
            auto_free float *alone = NULL;
            for (uint32_t n = 0; n < sizeof steps / sizeof *steps; n++) {
                Pool *pool = pool_of(1 + n % 3);
                if (steps[n] == 1 || w.c.length < 3000 || steps[n] > 16)
                    prefill(pool, &w, steps[n]);
                pool_free(pool);
                if (n)
                    check_same("chunked", alone, w.y, count);
                else
                    alone = floats_copy(w.y, count);
            }
            work_free(&w);
        }
}

/* Tokens of many sequences at random positions, in calls of every size, repeated and in any
 * order. */
static void test_neighbours(void **state)
{
    (void)state;
    enum { MOST = 40 };
    for (uint32_t isa = 0; isa_at(isa); isa++)
        for (uint32_t i = 1; i < 6; i++) {
            Work w = work_new(cases[i]);
            Pool *pool = pool_of(3);
            prefill(pool, &w, 256);
            auto_free float *y = floats_poisoned(MOST * w.wide);
            RngKey key = rng_key(i, "neighbours");
            for (uint32_t t = 1; t <= MOST; t += 3) {
                int32_t seq[MOST], pos[MOST];
                for (uint32_t n = 0; n < t; n++) {
                    seq[n] = (int32_t)rng_below(key, t * 2000 + n, w.c.sequences);
                    pos[n] = (int32_t)rng_below(key, t * 3000 + n, w.c.length);
                    /* often the token after the one before */
                    if (n && rng_below(key, t * 1000 + n, 3) &&
                        pos[n - 1] + 1 < (int32_t)w.c.length) {
                        seq[n] = seq[n - 1];
                        pos[n] = pos[n - 1] + 1;
                    }
                }
                call(pool, &w, t, seq, pos, y);
                for (uint32_t n = 0; n < t; n++)
                    check_same("token", row_of(&w, seq[n], pos[n]), y + n * w.wide, w.wide);
            }
            pool_free(pool);
            work_free(&w);
        }
}

/* What lies in the cache behind a token's position is never read. */
static void test_later_rows_are_not_read(void **state)
{
    (void)state;
    Pool *pool = pool_of(1);
    for (uint32_t isa = 0; isa_at(isa); isa++) {
        Work w = work_new((Case){1, 100, 4, 2, 16, 16, 0});
        auto_free float *y = floats_poisoned(w.wide);
        prefill(pool, &w, 100);
        for (int32_t p = 99; p >= 0; p--) {
            int32_t seq = 0;
            call(pool, &w, 1, &seq, &p, y);
            check_same("token", row_of(&w, 0, p), y, w.wide);
            size_t row = (size_t)w.pages[p / 16] * 16 + (size_t)p % 16;
            memset(w.kcache + row * w.width, 0xff, w.width * sizeof(float));
            memset(w.vcache + row * w.width, 0xff, w.width * sizeof(float));
        }
        work_free(&w);
    }
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_reference),
        cmocka_unit_test(test_chunking),
        cmocka_unit_test(test_neighbours),
        cmocka_unit_test(test_later_rows_are_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
