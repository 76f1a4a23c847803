/* gemm_bench.c: how near gemm comes to the machine, and to the libraries others use.
 *
 *     gemm_bench [--threads N] [--rounds N] [--isa NAME] [--only TEXT] [--json FILE]
 *
 * First the machine: multiply-adds per second of each instruction set from registers alone, on one
 * thread and on all, and the bandwidth of reading memory. Then each shape: GFLOP/s and share of
 * the peak measured, or GB/s of weights for the shapes with few rows. OpenBLAS and oneDNN are
 * measured in the same run when the dynamic linker finds them (BASTIDE_OPENBLAS and BASTIDE_DNNL
 * name other files): one sample of each in turn, medians over the rounds.
 */
#include "backend/cpu/gemm.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { ROUNDS_MAX = 99, CHAINS = 12, STREAM_BYTES = 256 << 20, REST_MS = 60 };
static const double SAMPLE_SECONDS = 0.02;

typedef enum { WITH_GEMM, WITH_PACKED_F32, WITH_PACKED_Q8 } Way;

typedef struct {
    const char *name;
    uint32_t m, n, k;
    GemmFlags flags;
    Way way;
} Shape;

#define FORWARD {.transpose_b = true}
#define BACK {0}
#define WEIGHT {.transpose_a = true, .accumulate = true}

static const Shape shapes[] = {
    {"square", 2048, 2048, 2048, {0}, WITH_GEMM},
    {"square packed", 2048, 2048, 2048, {0}, WITH_PACKED_F32},
    {"square q8", 2048, 2048, 2048, {0}, WITH_PACKED_Q8},
    {"768 qkv", 2048, 768, 768, FORWARD, WITH_GEMM},
    {"768 qkv dx", 2048, 768, 768, BACK, WITH_GEMM},
    {"768 qkv dw", 768, 768, 2048, WEIGHT, WITH_GEMM},
    {"768 up", 2048, 2048, 768, FORWARD, WITH_GEMM},
    {"768 down", 2048, 768, 2048, FORWARD, WITH_GEMM},
    {"768 up dw", 2048, 768, 2048, WEIGHT, WITH_GEMM},
    {"768 head", 512, 32000, 768, FORWARD, WITH_GEMM},
    {"768 head dx", 512, 768, 32000, BACK, WITH_GEMM},
    {"768 head dw", 32000, 768, 512, WEIGHT, WITH_GEMM},
    {"384 qkv", 2048, 384, 384, FORWARD, WITH_GEMM},
    {"384 qkv dx", 2048, 384, 384, BACK, WITH_GEMM},
    {"384 qkv dw", 384, 384, 2048, WEIGHT, WITH_GEMM},
    {"384 up", 2048, 1024, 384, FORWARD, WITH_GEMM},
    {"384 down", 2048, 384, 1024, FORWARD, WITH_GEMM},
    {"128 qkv", 2048, 128, 128, FORWARD, WITH_GEMM},
    {"128 qkv dx", 2048, 128, 128, BACK, WITH_GEMM},
    {"128 qkv dw", 128, 128, 2048, WEIGHT, WITH_GEMM},
    {"128 qkv short", 768, 128, 128, FORWARD, WITH_GEMM},
    {"128 up", 2048, 384, 128, FORWARD, WITH_GEMM},
    {"128 down", 2048, 128, 384, FORWARD, WITH_GEMM},
    {"128 up dw", 384, 128, 2048, WEIGHT, WITH_GEMM},
    {"decode 1 f32", 1, 32000, 768, FORWARD, WITH_PACKED_F32},
    {"decode 4 f32", 4, 32000, 768, FORWARD, WITH_PACKED_F32},
    {"decode 8 f32", 8, 32000, 768, FORWARD, WITH_PACKED_F32},
    {"decode 16 f32", 16, 32000, 768, FORWARD, WITH_PACKED_F32},
    {"decode 1 q8", 1, 32000, 768, FORWARD, WITH_PACKED_Q8},
    {"decode 4 q8", 4, 32000, 768, FORWARD, WITH_PACKED_Q8},
    {"decode 8 q8", 8, 32000, 768, FORWARD, WITH_PACKED_Q8},
    {"decode 16 q8", 16, 32000, 768, FORWARD, WITH_PACKED_Q8},
    {"decode 1 f32 warm", 1, 768, 768, FORWARD, WITH_PACKED_F32},
    {"decode 1 q8 warm", 1, 768, 768, FORWARD, WITH_PACKED_Q8},
    {"decode 1 f32 tiny", 1, 128, 128, FORWARD, WITH_PACKED_F32},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* ---- the machine ---- */

typedef float (*PeakLoop)(uint64_t steps);

typedef struct {
    const char *isa;
    PeakLoop loop;
    uint32_t flops; /* of one step */
} Peak;

/* Chains live in named locals of a fixed array that the compiler keeps in registers. */
#define PEAK_LOOP(name, attribute, Type, set, fma, first)                                          \
    attribute static float name(uint64_t steps)                                                    \
    {                                                                                              \
        Type acc[CHAINS], x = set(0.999f), y = set(0.001f);                                        \
        for (int i = 0; i < CHAINS; i++)                                                           \
            acc[i] = set((float)i);                                                                \
        for (uint64_t s = 0; s < steps; s++) {                                                     \
            _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) acc[i] = fma(acc[i], x, y);  \
        }                                                                                          \
        float sum = 0;                                                                             \
        for (int i = 0; i < CHAINS; i++)                                                           \
            sum += first(acc[i]);                                                                  \
        return sum;                                                                                \
    }

typedef float Lanes __attribute__((vector_size(16)));
#define LANES_SET(v) ((Lanes){v, v, v, v})
#define LANES_FMA(a, x, y) ((a) * (x) + (y))
#define LANES_FIRST(a) ((a)[0])
PEAK_LOOP(peak_portable, , Lanes, LANES_SET, LANES_FMA, LANES_FIRST)
#if defined(__x86_64__)
PEAK_LOOP(peak_avx512, __attribute__((target("avx512f"))), __m512, _mm512_set1_ps, _mm512_fmadd_ps,
          _mm512_cvtss_f32)
PEAK_LOOP(peak_avx2, __attribute__((target("avx2,fma"))), __m256, _mm256_set1_ps, _mm256_fmadd_ps,
          _mm256_cvtss_f32)
#elif defined(__aarch64__)
#define NEON_FMA(a, x, y) vfmaq_f32(y, a, x)
#define NEON_FIRST(a) vgetq_lane_f32(a, 0)
PEAK_LOOP(peak_neon, , float32x4_t, vdupq_n_f32, NEON_FMA, NEON_FIRST)
#endif

static const Peak peaks[] = {
#if defined(__x86_64__)
    {"avx512", peak_avx512, CHAINS * 16 * 2},
    {"avx2", peak_avx2, CHAINS * 8 * 2},
#elif defined(__aarch64__)
    {"neon", peak_neon, CHAINS * 4 * 2},
#endif
    {"portable", peak_portable, CHAINS * 4 * 2},
};

static volatile float sink;

typedef struct {
    const Peak *peak;
    uint64_t steps;
    const uint64_t *memory;
} MachineTask;

static void peak_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)task;
    (void)worker;
    const MachineTask *t = ctx;
    sink = t->peak->loop(t->steps);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, uint32_t count)
{
    qsort(values, count, sizeof *values, compare_doubles);
    return values[count / 2];
}

enum { PEAK_STEPS = 20000, PEAK_TASKS = 16 }; /* a task: some 50 us */

static void run_peak(Pool *pool, const Peak *peak)
{
    MachineTask task = {.peak = peak, .steps = PEAK_STEPS};
    pool_for(pool, PEAK_TASKS, peak_task, &task);
}

static double peak_flops(const Peak *peak)
{
    return (double)PEAK_STEPS * PEAK_TASKS * peak->flops;
}

/* Best of many, since the peak is a bound and not an average. */
static double measure_peak(Pool *pool, const Peak *peak)
{
    double best = 0;
    for (uint32_t i = 0; i < 100; i++) {
        double start = clock_seconds();
        run_peak(pool, peak);
        double rate = peak_flops(peak) / (clock_seconds() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

enum { STREAM_TASKS = 64 };

static void stream_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const MachineTask *t = ctx;
    size_t count = STREAM_BYTES / STREAM_TASKS / 8;
    const uint64_t *x = t->memory + task * count;
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < count; i += 8)
        for (size_t j = 0; j < 8; j++)
            sum[j] ^= x[i + j];
    for (size_t j = 1; j < 8; j++)
        sum[0] ^= sum[j];
    sink = (float)sum[0];
}

static double measure_stream(Pool *pool)
{
    uint64_t *memory = mem_alloc_aligned(STREAM_BYTES, 64);
    if (!memory)
        return 0;
    memset(memory, 1, STREAM_BYTES);
    MachineTask task = {.memory = memory};
    double best = 0;
    for (uint32_t i = 0; i < 7; i++) {
        double start = clock_seconds();
        pool_for(pool, STREAM_TASKS, stream_task, &task);
        double rate = STREAM_BYTES / (clock_seconds() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    mem_free(memory);
    return best;
}

/* ---- contestants ---- */

typedef void (*CblasSgemm)(int order, int ta, int tb, int m, int n, int k, float alpha,
                           const float *a, int lda, const float *b, int ldb, float beta, float *c,
                           int ldc);
typedef int (*DnnlSgemm)(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha,
                         const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                         float *c, int64_t ldc);

/* The peak runs in every round as well: the machine's speed changes with what else runs on it. */
typedef enum { PEAK, OURS, OPENBLAS, ONEDNN, CONTESTANTS } Contestant;
static const char *const contestant_names[CONTESTANTS] = {"peak", "bastide", "openblas", "onednn"};

typedef struct {
    Pool *pool;
    void *scratch;
    const Peak *peak; /* of the instruction set in use */
    CblasSgemm openblas;
    DnnlSgemm onednn;
    float *a, *b, *c;
    void *packed;
} Bench;

static void *find_function(const char *variable, const char *const files[],
                           const char *const names[], void **library)
{
    const char *file = getenv(variable);
    *library = file ? dlopen(file, RTLD_NOW | RTLD_GLOBAL) : NULL;
    for (uint32_t i = 0; !*library && !file && files[i]; i++)
        *library = dlopen(files[i], RTLD_NOW | RTLD_GLOBAL);
    void *function = NULL;
    for (uint32_t i = 0; *library && !function && names[i]; i++)
        function = dlsym(*library, names[i]);
    return function;
}

static void set_threads(void *library, const char *name, uint32_t threads)
{
    void *function = dlsym(library ? library : RTLD_DEFAULT, name);
    void (*set)(int);
    memcpy(&set, &function, sizeof set);
    if (set)
        set((int)threads);
}

static void find_peers(Bench *bench, uint32_t threads)
{
    static const char *const blas_files[] = {"libopenblas.so.0", "libopenblas.so", NULL};
    static const char *const blas_names[] = {"cblas_sgemm", "scipy_cblas_sgemm", NULL};
    static const char *const dnnl_files[] = {"libdnnl.so.3", "libdnnl.so.2", "libdnnl.so", NULL};
    static const char *const dnnl_names[] = {"dnnl_sgemm", NULL};
    void *library, *function;
    function = find_function("BASTIDE_OPENBLAS", blas_files, blas_names, &library);
    memcpy(&bench->openblas, &function, sizeof function);
    if (library) {
        set_threads(library, "openblas_set_num_threads", threads);
        set_threads(library, "scipy_openblas_set_num_threads", threads);
    }
    function = find_function("BASTIDE_DNNL", dnnl_files, dnnl_names, &library);
    memcpy(&bench->onednn, &function, sizeof function);
    set_threads(NULL, "omp_set_num_threads", threads);
}

static void run_once(const Bench *t, const Shape *s, Contestant who)
{
    GemmFlags f = s->flags;
    int m = (int)s->m, n = (int)s->n, k = (int)s->k;
    int lda = f.transpose_a ? m : k, ldb = f.transpose_b ? k : n;
    float beta = f.accumulate ? 1 : 0;
    if (who == PEAK)
        run_peak(t->pool, t->peak);
    else if (who == OPENBLAS)
        t->openblas(101, f.transpose_a ? 112 : 111, f.transpose_b ? 112 : 111, m, n, k, 1, t->a,
                    lda, t->b, ldb, beta, t->c, n);
    else if (who == ONEDNN)
        t->onednn(f.transpose_a ? 'T' : 'N', f.transpose_b ? 'T' : 'N', m, n, k, 1, t->a, lda,
                  t->b, ldb, beta, t->c, n);
    else if (s->way == WITH_GEMM)
        gemm(t->pool, t->scratch, f, s->m, s->n, s->k, t->a, (size_t)lda, t->b, (size_t)ldb, t->c,
             s->n);
    else
        gemm_packed(t->pool, t->scratch, s->way == WITH_PACKED_Q8 ? GEMM_Q8_0 : GEMM_F32,
                    f.accumulate, s->m, s->n, s->k, t->a, s->k, t->packed, t->c, s->n);
}

static bool takes_part(const Bench *t, const Shape *s, Contestant who)
{
    if (who == OPENBLAS || who == ONEDNN)
        return (who == OPENBLAS ? t->openblas != NULL : t->onednn != NULL) &&
               s->way != WITH_PACKED_Q8;
    return who == OURS || t->peak;
}

/* Seconds of one product: a sample runs for SAMPLE_SECONDS at least, after one product to warm
 * up. The rest before it lets the threads of the contestant before stop spinning. */
static double sample(const Bench *t, const Shape *s, Contestant who)
{
    struct timespec rest = {.tv_nsec = REST_MS * 1000000L};
    nanosleep(&rest, NULL);
    run_once(t, s, who);
    run_once(t, s, who);
    uint64_t count = 0;
    double start = clock_seconds(), seconds;
    do {
        run_once(t, s, who);
        count++;
        seconds = clock_seconds() - start;
    } while (seconds < SAMPLE_SECONDS);
    return seconds / (double)count;
}

static float *random_floats(size_t count, const char *purpose)
{
    float *x = mem_alloc_aligned(count * sizeof *x, 64);
    RngKey key = rng_key(1, purpose);
    for (size_t i = 0; x && i < count; i += 64) {
        float value = (float)rng_uniform(key, i) - 0.5f;
        for (size_t j = i; j < count && j < i + 64; j++)
            x[j] = value + (float)(j - i) * 0.001f;
    }
    return x;
}

/* Q8_0 blocks of some content: the speed does not depend on it. */
static void pack_q8(void *packed, uint32_t n, uint32_t k)
{
    size_t blocks = (size_t)n * (k / 32);
    uint8_t *w = mem_alloc(blocks, 34);
    for (size_t i = 0; w && i < blocks; i++) {
        w[i * 34] = 0x00;
        w[i * 34 + 1] = 0x20; /* 2^-7 */
        for (size_t j = 2; j < 34; j++)
            w[i * 34 + j] = (uint8_t)(i * 7 + j * 13);
    }
    if (w)
        gemm_pack_q8_0(packed, w, n, k);
    mem_free(w);
}

static bool prepare(Bench *t, const Shape *s)
{
    t->a = random_floats((size_t)s->m * s->k, "a");
    t->b = random_floats((size_t)s->n * s->k, "b");
    t->c = random_floats((size_t)s->m * s->n, "c");
    GemmType type = s->way == WITH_PACKED_Q8 ? GEMM_Q8_0 : GEMM_F32;
    t->packed = mem_alloc_aligned(gemm_packed_bytes(type, s->n, s->k), 64);
    if (!t->a || !t->b || !t->c || !t->packed)
        return false;
    if (s->way == WITH_PACKED_F32)
        gemm_pack_f32(t->packed, t->b, s->n, s->k);
    if (s->way == WITH_PACKED_Q8)
        pack_q8(t->packed, s->n, s->k);
    return true;
}

static void release(Bench *t)
{
    mem_free(t->a);
    mem_free(t->b);
    mem_free(t->c);
    mem_free(t->packed);
}

/* ---- report ---- */

static double rate(const Bench *t, const Shape *s, const double seconds[CONTESTANTS],
                   Contestant who)
{
    double flops = who == PEAK ? peak_flops(t->peak) : 2.0 * s->m * s->n * s->k;
    return flops / seconds[who] * 1e-9;
}

static void report(const Bench *t, const Shape *s, const double seconds[CONTESTANTS], FILE *json)
{
    double share = seconds[PEAK] > 0 ? rate(t, s, seconds, OURS) / rate(t, s, seconds, PEAK) : 0;
    double bytes = (double)s->n * s->k * (s->way == WITH_PACKED_Q8 ? 34.0 / 32 : 4);
    printf("%-18s %5u %5u %5u %9.1f us", s->name, s->m, s->n, s->k, seconds[OURS] * 1e6);
    for (uint32_t who = 0; who < CONTESTANTS; who++)
        if (seconds[who] > 0)
            printf(" %8.1f", rate(t, s, seconds, who));
        else
            printf(" %8s", "-");
    printf(" %6.1f%%", 100 * share);
    if (s->m <= 16)
        printf(" %7.1f GB/s", bytes / seconds[OURS] * 1e-9);
    printf("\n");
    fflush(stdout);
    if (!json)
        return;
    fprintf(json, ",\n  {\"shape\": \"%s\", \"m\": %u, \"n\": %u, \"k\": %u", s->name, s->m, s->n,
            s->k);
    for (uint32_t who = 0; who < CONTESTANTS; who++)
        if (seconds[who] > 0)
            fprintf(json, ", \"%s_gflops\": %.2f", contestant_names[who],
                    rate(t, s, seconds, who));
    fprintf(json, ", \"share_of_peak\": %.4f, \"weights_gb_per_s\": %.2f}",
            share, bytes / seconds[OURS] * 1e-9);
}

static bool bench_shape(Bench *t, const Shape *s, uint32_t rounds, FILE *json)
{
    double seconds[CONTESTANTS] = {0}, samples[CONTESTANTS][ROUNDS_MAX];
    bool ready = prepare(t, s);
    for (uint32_t round = 0; ready && round < rounds; round++)
        for (uint32_t who = 0; who < CONTESTANTS; who++)
            if (takes_part(t, s, who))
                samples[who][round] = sample(t, s, who);
    for (uint32_t who = 0; ready && who < CONTESTANTS; who++)
        if (takes_part(t, s, who))
            seconds[who] = median(samples[who], rounds);
    if (ready)
        report(t, s, seconds, json);
    release(t);
    return ready;
}

typedef struct {
    uint32_t threads, rounds;
    const char *isa, *only, *json;
} Options;

/* Prints the machine; returns the peak of the instruction set in use. */
static const Peak *bench_machine(Pool *one, Pool *all, FILE *json)
{
    const Peak *used = NULL;
    const char *isa;
    for (uint32_t i = 0; i < sizeof peaks / sizeof *peaks; i++) {
        bool have = false;
        for (uint32_t row = 0; (isa = gemm_isa_at(row)); row++)
            have = have || strcmp(isa, peaks[i].isa) == 0;
        if (!have)
            continue;
        double single = measure_peak(one, &peaks[i]), many = measure_peak(all, &peaks[i]);
        printf("peak %-9s %8.1f GFLOP/s on 1 thread, %8.1f on %u\n", peaks[i].isa, single, many,
               pool_threads(all));
        if (json)
            fprintf(json, "  {\"peak\": \"%s\", \"gflops_1\": %.1f, \"gflops\": %.1f},\n",
                    peaks[i].isa, single, many);
        if (strcmp(peaks[i].isa, gemm_isa_name()) == 0)
            used = &peaks[i];
    }
    double stream_one = measure_stream(one), stream_all = measure_stream(all);
    printf("read memory %.1f GB/s on 1 thread, %.1f on %u; gemm uses %s\n", stream_one, stream_all,
           pool_threads(all), gemm_isa_name());
    if (json)
        fprintf(json, "  {\"read_gb_per_s_1\": %.1f, \"read_gb_per_s\": %.1f}", stream_one,
                stream_all);
    return used;
}

static bool bench_all(const Options *options, FILE *json, Error *err)
{
    Bench bench = {0};
    Pool *one = NULL;
    bool done = pool_new(&one, 1, err) && pool_new(&bench.pool, options->threads, err);
    uint32_t threads = done ? pool_threads(bench.pool) : 0;
    bench.scratch = mem_alloc_aligned(gemm_scratch_bytes(threads), 64);
    if (done && !bench.scratch)
        done = fail(err, ERR_MEMORY, "no memory for scratch");
    if (done) {
        find_peers(&bench, threads);
        if (json)
            fprintf(json, "[\n");
        bench.peak = bench_machine(one, bench.pool, json);
        printf("%-18s %5s %5s %5s %12s", "GFLOP/s", "M", "N", "K", "time");
        for (uint32_t who = 0; who < CONTESTANTS; who++)
            printf(" %8s", contestant_names[who]);
        printf(" %7s\n", "of peak");
        for (uint32_t i = 0; done && i < SHAPES; i++)
            if (!options->only || strstr(shapes[i].name, options->only))
                done = bench_shape(&bench, &shapes[i], options->rounds, json) ||
                       fail(err, ERR_MEMORY, "no memory for shape \"%s\"", shapes[i].name);
        if (json)
            fprintf(json, "\n]\n");
    }
    mem_free(bench.scratch);
    pool_free(bench.pool);
    pool_free(one);
    return done;
}

static bool parse(int count, char **words, Options *options, Error *err)
{
    for (int i = 1; i < count; i += 2) {
        const char *word = words[i], *value = i + 1 < count ? words[i + 1] : NULL;
        if (!value)
            return fail(err, ERR_INPUT, "%s needs a value", word);
        if (strcmp(word, "--threads") == 0)
            options->threads = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(word, "--rounds") == 0)
            options->rounds = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(word, "--isa") == 0)
            options->isa = value;
        else if (strcmp(word, "--only") == 0)
            options->only = value;
        else if (strcmp(word, "--json") == 0)
            options->json = value;
        else
            return fail(err, ERR_INPUT, "unknown option %s", word);
    }
    if (options->rounds < 1 || options->rounds > ROUNDS_MAX)
        return fail(err, ERR_INPUT, "--rounds is 1 to %d", ROUNDS_MAX);
    if (options->isa && !gemm_isa_use(options->isa))
        return fail(err, ERR_INPUT, "this processor does not run %s", options->isa);
    return true;
}

int main(int count, char **words)
{
    Options options = {.rounds = 5};
    Error err = {0};
    bool done = parse(count, words, &options, &err);
    FILE *json = NULL;
    if (done && options.json && !(json = fopen(options.json, "w")))
        done = fail(&err, ERR_IO, "cannot write %s", options.json);
    done = done && bench_all(&options, json, &err);
    if (json && fclose(json) != 0 && done)
        done = fail(&err, ERR_IO, "cannot write %s", options.json);
    if (!done)
        fprintf(stderr, "gemm_bench: %s\n", err.text);
    return done ? 0 : error_info(err.code)->exit_status;
}
