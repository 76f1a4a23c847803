/* vec_bench.c: speed of the kernels of vec.h on training and decoding shapes, beside what this
 * machine can do: FMA GFLOP/s of all threads (measured here), and GB/s of a plain copy-like pass.
 * Usage: vec_bench [isa [threads]]. Attention counts only the pairs that a query really sees:
 * 4 E flops forward, 10 E backward. Medians of several runs; the multiply-add rate is measured
 * again before each line. With one thread, seconds are of processor time, so that a busy machine
 * spoils little.
 */
#include "backend/cpu/vec.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { RUNS = 9, DIGEST = 10000 };

static Pool *pool;
static double peak_gflops, peak_gbs;

static float *floats_new(size_t count, uint64_t seed, double size)
{
    float *x = mem_alloc_aligned(count * sizeof *x + 64, 64);
    if (!x)
        exit(1);
    RngKey key = rng_key(seed, "bench");
    for (size_t i = 0; i < count; i++)
        x[i] = (float)((rng_uniform(key, i % DIGEST) - 0.5) * size);
    return x;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double seconds_now(void)
{
    if (pool_threads(pool) > 1)
        return clock_seconds();
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Median seconds of one call of fn(ctx). */
static double seconds_of(void (*fn)(void *), void *ctx)
{
    double runs[RUNS];
    fn(ctx);
    for (int i = 0; i < RUNS; i++) {
        double begin = seconds_now();
        fn(ctx);
        runs[i] = seconds_now() - begin;
    }
    qsort(runs, RUNS, sizeof *runs, compare);
    return runs[RUNS / 2];
}

/* ---- the machine ---- */

enum { PEAK_STEPS = 200000, CHAINS = 12 };

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static float peak_avx512(void)
{
    __m512 sum[CHAINS], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm512_set1_ps((float)i);
    for (int step = 0; step < PEAK_STEPS; step++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            sum[i] = _mm512_fmadd_ps(sum[i], x, y);
    for (int i = 1; i < CHAINS; i++)
        sum[0] = _mm512_add_ps(sum[0], sum[i]);
    return _mm512_cvtss_f32(sum[0]);
}
__attribute__((target("avx2,fma"))) static float peak_avx2(void)
{
    __m256 sum[CHAINS], x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm256_set1_ps((float)i);
    for (int step = 0; step < PEAK_STEPS; step++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            sum[i] = _mm256_fmadd_ps(sum[i], x, y);
    for (int i = 1; i < CHAINS; i++)
        sum[0] = _mm256_add_ps(sum[0], sum[i]);
    return _mm256_cvtss_f32(sum[0]);
}
#elif defined(__aarch64__)
static float peak_neon(void)
{
    float32x4_t sum[CHAINS], x = vdupq_n_f32(0.999f), y = vdupq_n_f32(0.001f);
    for (int i = 0; i < CHAINS; i++)
        sum[i] = vdupq_n_f32((float)i);
    for (int step = 0; step < PEAK_STEPS; step++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            sum[i] = vfmaq_f32(y, sum[i], x);
    for (int i = 1; i < CHAINS; i++)
        sum[0] = vaddq_f32(sum[0], sum[i]);
    return vaddvq_f32(sum[0]);
}
#endif

/* The widest multiply-add of the instruction set in use; portable code is held against none. */
static float (*peak_loop)(void);
static double peak_lanes;

static void peak_choose(void)
{
#if defined(__x86_64__)
    if (!strcmp(vec_isa_name(), "avx512"))
        peak_loop = peak_avx512, peak_lanes = 16;
    else if (!strcmp(vec_isa_name(), "avx2"))
        peak_loop = peak_avx2, peak_lanes = 8;
#elif defined(__aarch64__)
    if (!strcmp(vec_isa_name(), "neon"))
        peak_loop = peak_neon, peak_lanes = 4;
#endif
}

static void peak_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)task, (void)worker;
    *(volatile float *)ctx = peak_loop();
}

static void peak_run(void *ctx)
{
    pool_for(pool, pool_threads(pool), peak_task, ctx);
}

static void peak_measure(void)
{
    float sink = 0;
    if (peak_loop)
        peak_gflops = 2e-9 * CHAINS * peak_lanes * PEAK_STEPS * pool_threads(pool) /
                      seconds_of(peak_run, &sink);
}

static void machine(void)
{
    peak_choose();
    peak_measure();
    printf("%s, %u threads: %.0f GFLOP/s of multiply-add\n", vec_isa_name(), pool_threads(pool),
           peak_gflops);
}

/* ---- attention ---- */

typedef struct {
    uint32_t t, heads, kv_heads, e, document;
    int32_t *start;
    float *q, *k, *v, *y, *lse, *dy, *dq, *dk, *dv, scale;
    void *scratch, *back_scratch;
} Attention;

static void attention_run(void *ctx)
{
    Attention *a = ctx;
    vec_attention(pool, a->scratch, a->y, a->lse, a->q, a->k, a->v, a->start, a->scale, a->t,
                  a->heads, a->kv_heads, a->e);
}

static void attention_back_run(void *ctx)
{
    Attention *a = ctx;
    vec_attention_back(pool, a->back_scratch, a->dq, a->dk, a->dv, a->q, a->k, a->v, a->y, a->lse,
                       a->dy, a->start, a->scale, a->t, a->heads, a->kv_heads, a->e);
}

static void attention_case(uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t e,
                           uint32_t document)
{
    size_t queries = (size_t)t * heads * e, keys = (size_t)t * kv_heads * e;
    uint32_t threads = pool_threads(pool);
    Attention a = {.t = t, .heads = heads, .kv_heads = kv_heads, .e = e, .document = document,
                   .start = mem_alloc(t, sizeof(int32_t)), .scale = 1 / sqrtf((float)e),
                   .q = floats_new(queries, 1, 2), .k = floats_new(keys, 2, 2),
                   .v = floats_new(keys, 3, 2), .y = floats_new(queries, 4, 0),
                   .lse = floats_new((size_t)t * heads, 4, 0), .dy = floats_new(queries, 5, 2),
                   .dq = floats_new(queries, 4, 0), .dk = floats_new(keys, 4, 0),
                   .dv = floats_new(keys, 4, 0),
                   .scratch = mem_alloc_aligned(vec_attention_scratch(threads, e), 64),
                   .back_scratch =
                       mem_alloc_aligned(vec_attention_back_scratch(threads, t, heads, e), 64)};
    if (!a.start || !a.scratch || !a.back_scratch)
        exit(1);
    double pairs = 0;
    /* Lengths between half and one and a half of `document`. */
    for (uint32_t i = 0, begin = 0, end = 0, n = 0; i < t; i++) {
        if (i == end) {
            begin = i;
            end = i + document / 2 + (uint32_t)rng_below(rng_key(1, "length"), n++, document + 1);
            end = document >= t ? t : end;
        }
        a.start[i] = (int32_t)begin;
        pairs += i - begin + 1;
    }
    peak_measure();
    double forward = seconds_of(attention_run, &a), back = seconds_of(attention_back_run, &a);
    double gf = 4e-9 * pairs * e * heads, gb = 10e-9 * pairs * e * heads;
    printf("attention T %4u H %2u K %u E %3u documents ~%4u: forward %6.2f ms %5.0f GFLOP/s %3.0f%%"
           "   back %6.2f ms %5.0f GFLOP/s %3.0f%%\n",
           t, heads, kv_heads, e, document, forward * 1e3, gf / forward,
           100 * gf / forward / peak_gflops, back * 1e3, gb / back, 100 * gb / back / peak_gflops);
    void *blocks[] = {a.start, a.q, a.k, a.v, a.y, a.lse, a.dy, a.dq, a.dk, a.dv, a.scratch,
                      a.back_scratch};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        mem_free(blocks[i]);
}

/* ---- cached ---- */

typedef struct {
    uint32_t t, heads, kv_heads, e;
    int32_t *seq, *pos, *pages;
    uint32_t pages_max, page;
    float *q, *k, *v, *y;
    void *scratch;
} Cached;

static void cached_run(void *ctx)
{
    Cached *c = ctx;
    VecPaging paging = {.seq = c->seq, .pos = c->pos, .pages = c->pages,
                        .pages_max = c->pages_max, .page = c->page};
    vec_attention_cached(pool, c->scratch, c->y, c->q, c->k, c->v, paging, 0.1f, c->t, c->heads,
                         c->kv_heads, c->e);
}

/* t tokens: of one sequence after `context` positions (chunk), or of t sequences (decode). */
static void cached_case(bool chunk, uint32_t t, uint32_t context, uint32_t heads, uint32_t kv_heads,
                        uint32_t e)
{
    uint32_t sequences = chunk ? 1 : t, length = context + (chunk ? t : 1);
    Cached c = {.t = t, .heads = heads, .kv_heads = kv_heads, .e = e, .page = 64};
    c.pages_max = (length + c.page - 1) / c.page;
    size_t rows = (size_t)c.pages_max * c.page * sequences;
    c.seq = mem_alloc(t, sizeof *c.seq);
    c.pos = mem_alloc(t, sizeof *c.pos);
    c.pages = mem_alloc(c.pages_max * sequences, sizeof *c.pages);
    c.q = floats_new((size_t)t * heads * e, 1, 2);
    c.y = floats_new((size_t)t * heads * e, 1, 2);
    c.k = floats_new(rows * kv_heads * e, 2, 2);
    c.v = floats_new(rows * kv_heads * e, 3, 2);
    c.scratch =
        mem_alloc_aligned(vec_attention_cached_scratch(pool_threads(pool), t, heads, e), 64);
    if (!c.seq || !c.pos || !c.pages || !c.scratch)
        exit(1);
    double pairs = 0;
    for (uint32_t i = 0; i < t; i++) {
        c.seq[i] = chunk ? 0 : (int32_t)i;
        c.pos[i] = (int32_t)(context + (chunk ? i : 0));
        pairs += c.pos[i] + 1;
    }
    for (uint32_t i = 0; i < c.pages_max * sequences; i++)
        c.pages[i] = (int32_t)i;
    peak_measure();
    double seconds = seconds_of(cached_run, &c);
    double bytes = 8e-9 * length * sequences * kv_heads * e;
    double gf = 4e-9 * pairs * e * heads;
    printf("cached %s T %3u context %5u H %2u K %u E %3u: %7.3f ms %5.0f GFLOP/s %3.0f%%"
           "  %5.1f GB/s %3.0f%%\n",
           chunk ? "chunk " : "decode", t, context, heads, kv_heads, e, seconds * 1e3, gf / seconds,
           100 * gf / seconds / peak_gflops, bytes / seconds, 100 * bytes / seconds / peak_gbs);
    void *blocks[] = {c.seq, c.pos, c.pages, c.q, c.k, c.v, c.y, c.scratch};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        mem_free(blocks[i]);
}

/* ---- rows ---- */

enum { T = 3072, D = 576, F = 1536, H = 9, E = 64, V = 49152, R = 64, PARAMETERS = 16 << 20 };

typedef struct {
    float *a, *b, *c, *d; /* PARAMETERS each, in [-1, 1) or so */
    int32_t *id;
    double *loss;
    void *scratch;
} Rows;

static void run_add(void *ctx) { Rows *r = ctx; vec_add(pool, r->c, r->a, r->b, PARAMETERS); }
static void run_adamw(void *ctx)
{
    Rows *r = ctx;
    VecAdam options = {.rate = 1e-3f, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .decay = 0.1f,
                       .gradient_scale = 1, .step = 10, .clear = true};
    vec_adamw(pool, r->a, r->b, r->c, r->d, options, PARAMETERS);
}
static void run_squares(void *ctx)
{
    Rows *r = ctx;
    r->loss[0] = vec_sum_squares(pool, r->a, PARAMETERS);
}
static void run_norm(void *ctx)
{
    Rows *r = ctx;
    vec_rms_norm(pool, r->b, r->a, r->c, 1e-5f, T, D);
}
static void run_norm_back(void *ctx)
{
    Rows *r = ctx;
    vec_rms_norm_back(pool, r->scratch, r->b, r->d, r->a, r->c, r->c, 1e-5f, T, D);
}
static void run_rope(void *ctx)
{
    Rows *r = ctx;
    vec_rope(pool, r->a, r->id, 1e5f, false, T, H, E);
}
static void run_swiglu(void *ctx)
{
    Rows *r = ctx;
    vec_swiglu(pool, r->c, r->a, r->b, (size_t)T * F);
}
static void run_swiglu_back(void *ctx)
{
    Rows *r = ctx;
    vec_swiglu_back(pool, r->c, r->d, r->a, r->b, r->c, (size_t)T * F);
}
static void run_xent(void *ctx)
{
    Rows *r = ctx;
    vec_xent_rows(pool, r->a, V, r->id, r->loss, true, 1, R, V);
}
static void run_embed(void *ctx) { Rows *r = ctx; vec_embed(pool, r->b, r->a, r->id, T, D); }
static void run_embed_back(void *ctx)
{
    Rows *r = ctx;
    vec_embed_back(pool, r->a, r->b, r->id, T, D, T);
}

/* bytes: read and written once, as the algorithm needs them. */
static const struct {
    const char *name;
    void (*run)(void *);
    double bytes;
} row_kernels[] = {
    {"add 16M (the roof)", run_add, 12.0 * PARAMETERS},
    {"adamw 16M, clearing", run_adamw, 32.0 * PARAMETERS},
    {"sum_squares 16M", run_squares, 4.0 * PARAMETERS},
    {"rms_norm 3072x576", run_norm, 8.0 * T *D},
    {"rms_norm_back 3072x576", run_norm_back, 12.0 * T *D},
    {"rope 3072x9x64", run_rope, 8.0 * T *H *E},
    {"swiglu 3072x1536", run_swiglu, 12.0 * T *F},
    {"swiglu_back 3072x1536", run_swiglu_back, 20.0 * T *F},
    {"xent 64x49152", run_xent, 16.0 * R *V},
    {"embed 3072x576", run_embed, 8.0 * T *D},
    {"embed_back 3072x576", run_embed_back, 12.0 * T *D},
};

static void rows_cases(void)
{
    Rows r = {floats_new(PARAMETERS, 1, 2), floats_new(PARAMETERS, 2, 2),
              floats_new(PARAMETERS, 3, 2), floats_new(PARAMETERS, 4, 2),
              mem_alloc(T, sizeof(int32_t)), mem_alloc(T, sizeof(double)),
              mem_alloc_aligned(vec_rms_norm_back_scratch(T, D), 64)};
    if (!r.id || !r.loss || !r.scratch)
        exit(1);
    for (int i = 0; i < PARAMETERS; i++)
        r.d[i] = fabsf(r.d[i]); /* second moments */
    for (int i = 0; i < T; i++)
        r.id[i] = i * 7 % T;
    for (size_t i = 0; i < sizeof row_kernels / sizeof *row_kernels; i++) {
        double gbs = 1e-9 * row_kernels[i].bytes / seconds_of(row_kernels[i].run, &r);
        peak_gbs = i == 0 ? gbs : peak_gbs;
        printf("%-24s %7.2f ms %6.1f GB/s %4.0f%%\n", row_kernels[i].name,
               1e-6 * row_kernels[i].bytes / gbs, gbs, 100 * gbs / peak_gbs);
    }
    void *blocks[] = {r.a, r.b, r.c, r.d, r.id, r.loss, r.scratch};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        mem_free(blocks[i]);
}

int main(int argc, char **argv)
{
    Error err;
    if ((argc > 1 && !vec_isa_use(argv[1])) ||
        !pool_new(&pool, argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0, &err)) {
        fprintf(stderr, "usage: vec_bench [avx512|avx2|neon|portable [threads]]\n");
        return 2;
    }
    machine();
    static const uint32_t shapes[][5] = {
        {768, 9, 3, 64, 256},  {3072, 9, 3, 64, 64}, {3072, 9, 3, 64, 128}, {3072, 9, 3, 64, 256},
        {3072, 9, 3, 64, 512}, {1024, 9, 3, 64, 1024}, {2048, 4, 2, 32, 256}, {2048, 4, 4, 64, 256},
        {2048, 12, 4, 128, 512}, {768, 4, 2, 64, 768},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        attention_case(shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3], shapes[i][4]);
    rows_cases();
    cached_case(false, 1, 1000, 9, 3, 64);
    cached_case(false, 1, 8000, 9, 3, 64);
    cached_case(false, 16, 1000, 9, 3, 64);
    cached_case(true, 256, 0, 9, 3, 64);
    cached_case(true, 256, 4000, 9, 3, 64);
    cached_case(true, 16, 1000, 9, 3, 64);
    pool_free(pool);
    return 0;
}
