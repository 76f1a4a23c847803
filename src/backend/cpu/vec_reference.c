/* vec_reference.c: see vec_reference.h. */
#include "backend/cpu/vec_reference.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>

const char *isa_at(uint32_t i)
{
    static const char *const names[] = {"avx512", "avx2", "neon", "portable"};
    for (uint32_t n = 0; n < sizeof names / sizeof *names; n++)
        if (vec_isa_use(names[n]) && i-- == 0)
            return names[n];
    return NULL;
}

void *bytes_poisoned(size_t bytes)
{
    void *block = mem_alloc_aligned(bytes ? bytes : 64, 64);
    assert_non_null(block);
    memset(block, 0xff, bytes); /* all ones is a NaN as float and as double */
    return block;
}

float *floats_poisoned(size_t count)
{
    return bytes_poisoned(count * sizeof(float));
}

float *floats_random(uint64_t seed, size_t count, double size)
{
    float *x = floats_poisoned(count);
    RngKey key = rng_key(seed, "vec test");
    for (size_t i = 0; i < count; i++)
        x[i] = (float)(rng_normal(key, i) * size);
    return x;
}

float *floats_copy(const float *x, size_t count)
{
    float *y = floats_poisoned(count);
    memcpy(y, x, count * sizeof *y);
    return y;
}

double *doubles_of(const float *x, size_t count)
{
    double *y = bytes_poisoned(count * sizeof *y);
    for (size_t i = 0; x && i < count; i++)
        y[i] = x[i];
    return y;
}

Pool *pool_of(uint32_t threads)
{
    Error err;
    Pool *pool = NULL;
    assert_ok(pool_new(&pool, threads, &err));
    return pool;
}

void check_close(const char *what, const float *got, const double *want, size_t count,
                 double bound)
{
    for (size_t i = 0; i < count; i++) {
        double size = fabs(want[i]) > 1 ? fabs(want[i]) : 1;
        if (!(fabs(got[i] - want[i]) <= bound * size))
            fail_test("%s (%s): element %zu is %.9g, expected %.9g within %.2g", what,
                      vec_isa_name(), i, (double)got[i], want[i], bound * size);
    }
}

void check_same(const char *what, const float *a, const float *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(a + i, b + i, sizeof *a))
            fail_test("%s (%s): element %zu is %.9g, then %.9g", what, vec_isa_name(), i,
                      (double)a[i], (double)b[i]);
}

static double dot(const double *a, const double *b, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Pointers to the rows of token t (query side) and key p for query head h. */
static size_t query_row(RefShape s, uint32_t t, uint32_t h)
{
    return ((size_t)t * s.heads + h) * s.e;
}
static size_t key_row(RefShape s, uint32_t p, uint32_t h)
{
    return ((size_t)p * s.kv_heads + h / (s.heads / s.kv_heads)) * s.e;
}

static double log_sum_exp(RefShape s, const double *q, const double *k, uint32_t t, uint32_t h)
{
    double top = -INFINITY, sum = 0;
    for (uint32_t p = (uint32_t)s.start[t]; p <= t; p++)
        top = fmax(top, s.scale * dot(q + query_row(s, t, h), k + key_row(s, p, h), s.e));
    for (uint32_t p = (uint32_t)s.start[t]; p <= t; p++)
        sum += exp(s.scale * dot(q + query_row(s, t, h), k + key_row(s, p, h), s.e) - top);
    return top + log(sum);
}

void ref_attention(RefShape s, double *y, double *lse, const double *q, const double *k,
                   const double *v)
{
    for (uint32_t t = 0; t < s.t; t++)
        for (uint32_t h = 0; h < s.heads; h++) {
            double norm = log_sum_exp(s, q, k, t, h), *out = y + query_row(s, t, h);
            if (lse)
                lse[(size_t)t * s.heads + h] = norm;
            memset(out, 0, s.e * sizeof *out);
            for (uint32_t p = (uint32_t)s.start[t]; p <= t; p++) {
                const double *key = k + key_row(s, p, h), *value = v + key_row(s, p, h);
                double weight = exp(s.scale * dot(q + query_row(s, t, h), key, s.e) - norm);
                for (uint32_t i = 0; i < s.e; i++)
                    out[i] += weight * value[i];
            }
        }
}

/* One query row: its dq, and what it adds to dk and dv. */
static void row_back(RefShape s, uint32_t t, uint32_t h, double *dq, double *dk, double *dv,
                     const double *q, const double *k, const double *v, const double *dy)
{
    const double *query = q + query_row(s, t, h), *slope = dy + query_row(s, t, h);
    double norm = log_sum_exp(s, q, k, t, h), delta = 0;
    for (uint32_t p = (uint32_t)s.start[t]; p <= t; p++)
        delta += exp(s.scale * dot(query, k + key_row(s, p, h), s.e) - norm) *
                 dot(slope, v + key_row(s, p, h), s.e);
    for (uint32_t p = (uint32_t)s.start[t]; p <= t; p++) {
        size_t at = key_row(s, p, h);
        double weight = exp(s.scale * dot(query, k + at, s.e) - norm);
        double ds = weight * (dot(slope, v + at, s.e) - delta) * s.scale;
        for (uint32_t i = 0; i < s.e; i++) {
            dq[query_row(s, t, h) + i] += ds * k[at + i];
            dk[at + i] += ds * query[i];
            dv[at + i] += weight * slope[i];
        }
    }
}

void ref_attention_back(RefShape s, double *dq, double *dk, double *dv, const double *q,
                        const double *k, const double *v, const double *dy)
{
    size_t queries = (size_t)s.t * s.heads * s.e, keys = (size_t)s.t * s.kv_heads * s.e;
    memset(dq, 0, queries * sizeof *dq);
    memset(dk, 0, keys * sizeof *dk);
    memset(dv, 0, keys * sizeof *dv);
    for (uint32_t t = 0; t < s.t; t++)
        for (uint32_t h = 0; h < s.heads; h++)
            row_back(s, t, h, dq, dk, dv, q, k, v, dy);
}
