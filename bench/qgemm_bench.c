/* qgemm_bench.c: how near qgemm comes to the machine's limits: reading memory with few rows, int8
 * multiply-adds with many.
 *
 *     qgemm_bench [--threads N] [--rounds N] [--isa NAME] [--only TEXT] [--json FILE]
 *
 * Weights lie in some 640 MB that are gone through in turn, matrix after matrix, so that caches do
 * not help. Each round measures plain reading of the same memory, the peak of int8 multiply-adds
 * from registers, and then the product: medians over the rounds, and the best round. --only takes
 * part of a row's name ("q4_k", "decode", "q8_0 prefill").
 */
#include "backend/cpu/qgemm.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { ROUNDS_MAX = 99, WEIGHTS_BYTES = 640 << 20, SAMPLE_BYTES = 160 << 20, CHAINS = 12 };
static const double SAMPLE_SECONDS = 0.02;

static const DType types[] = {DT_Q8_0, DT_Q4_0, DT_Q4_K, DT_Q5_K, DT_Q6_K};
enum { TYPES = sizeof types / sizeof *types };

typedef struct {
    const char *name;
    uint32_t m, n, k;
} Shape;
static const Shape shapes[] = {
    {"decode", 1, 4096, 4096},    {"decode wide", 1, 11008, 4096}, {"decode deep", 1, 4096, 11008},
    {"batch", 2, 4096, 4096},     {"batch", 4, 4096, 4096},        {"batch", 8, 4096, 4096},
    {"batch", 16, 4096, 4096},    {"batch", 32, 4096, 4096},       {"prefill", 128, 4096, 4096},
    {"prefill", 512, 4096, 4096}, {"prefill wide", 512, 11008, 4096},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* ---- the machine ---- */

static volatile uint64_t sink;

typedef struct {
    const uint8_t *memory;
    size_t task_bytes;
} Stream;

/* The fastest of the plain ways: wide loads with the next pages asked for ahead. */
static void stream_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Stream *stream = ctx;
    typedef uint64_t Line __attribute__((vector_size(64), aligned(64)));
    const Line *x = (const Line *)(const void *)(stream->memory + task * stream->task_bytes);
    Line sum[4] = {{0}};
    for (size_t i = 0; i < stream->task_bytes / sizeof *x; i += 4) {
        for (size_t j = 0; j < 4; j++) {
            __builtin_prefetch(x + i + j + 64);
            sum[j] ^= x[i + j];
        }
    }
    sum[0] ^= sum[1] ^ sum[2] ^ sum[3];
    sink = sum[0][0] ^ sum[0][7];
}

static double stream_rate(Pool *pool, const uint8_t *memory)
{
    enum { TASK = 256 << 10 };
    Stream stream = {memory, TASK};
    double start = clock_seconds();
    pool_for(pool, SAMPLE_BYTES / TASK, stream_task, &stream);
    return SAMPLE_BYTES / (clock_seconds() - start) * 1e-9;
}

typedef struct {
    const char *isa;
    void (*loop)(uint32_t steps);
    double operations; /* of a step: a multiply-add is two */
} Peak;

#if defined(__x86_64__)
__attribute__((target("amx-tile,amx-int8"))) static void peak_amx(uint32_t steps)
{
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t line_bytes[16];
        uint8_t lines[16];
    } config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.line_bytes[i] = 64;
        config.lines[i] = 16;
    }
    __asm__ volatile("" : : "r"(&config) : "memory");
    _tile_loadconfig(&config);
    for (uint32_t i = 0; i < steps; i++) {
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    _tile_release();
}

/* From nothing but registers, which the compiler must believe to change. */
#define PEAK_LOOP(name, features, Type, instruction)                                               \
    __attribute__((target(features))) static void name(uint32_t steps)                             \
    {                                                                                              \
        Type acc[CHAINS] = {{0}}, x = {1}, y = {2};                                                \
        for (uint32_t i = 0; i < steps; i++) {                                                     \
            _Pragma("GCC unroll 12") for (int j = 0; j < CHAINS; j++)                              \
                __asm__ volatile(instruction : "+v"(acc[j]) : "v"(x), "v"(y));                     \
        }                                                                                          \
        sink = (uint64_t)acc[0][0];                                                                \
    }
PEAK_LOOP(peak_avx512, "avx512f,avx512vnni", __m512i, "vpdpbusd %2, %1, %0")
PEAK_LOOP(peak_avxvnni, "avx2,avxvnni", __m256i, "%{vex%} vpdpbusd %2, %1, %0")

static const Peak peaks[] = {{"amx", peak_amx, 4 * 16 * 16 * 64 * 2},
                             {"avx512", peak_avx512, CHAINS * 64 * 2},
                             {"avxvnni", peak_avxvnni, CHAINS * 32 * 2},
                             {NULL, NULL, 0}};
#else
static const Peak peaks[] = {{NULL, NULL, 0}};
#endif

enum { PEAK_STEPS = 4000, PEAK_TASKS = 16 };

static void peak_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)task;
    (void)worker;
    ((const Peak *)ctx)->loop(PEAK_STEPS);
}

static double peak_rate(Pool *pool, const Peak *peak)
{
    if (!peak)
        return 0;
    Peak copy = *peak;
    double start = clock_seconds();
    pool_for(pool, PEAK_TASKS, peak_task, &copy);
    return PEAK_STEPS * (double)PEAK_TASKS * peak->operations / (clock_seconds() - start) * 1e-9;
}

static const Peak *peak_of_isa(void)
{
    for (const Peak *peak = peaks; peak->isa; peak++) {
        if (strcmp(peak->isa, qgemm_isa_name()) == 0)
            return peak;
    }
    return NULL;
}

/* ---- products ---- */

typedef struct {
    Pool *pool;
    uint8_t *scratch, *weights; /* weights: WEIGHTS_BYTES of packed matrices */
    float *a, *c;
    const Peak *peak;
} Bench;

/* Some matrix, packed, and copies of it behind each other. The speed does not depend on content. */
static uint32_t fill_weights(Bench *bench, DType type, const Shape *s)
{
    size_t packed = qgemm_packed_bytes(type, s->n, s->k), bytes = dtype_bytes(type, s->k) * s->n;
    uint32_t count = (uint32_t)(WEIGHTS_BYTES / packed);
    uint8_t *rows = mem_alloc(bytes, 1);
    for (size_t i = 0; rows && i < bytes; i++)
        rows[i] = (uint8_t)((i * 2654435761u >> 13) & 0x3b); /* halves stay finite */
    if (!rows)
        return 0;
    qgemm_pack(bench->pool, type, bench->weights, rows, s->n, s->k);
    mem_free(rows);
    for (uint32_t i = 1; i < count; i++)
        memcpy(bench->weights + i * packed, bench->weights, packed);
    return count;
}

/* Seconds of one product: through all matrices of some of the memory, or as long as a sample. */
static double product_seconds(const Bench *bench, DType type, const Shape *s, uint32_t matrices,
                              uint32_t *next)
{
    size_t packed = qgemm_packed_bytes(type, s->n, s->k);
    uint32_t done = 0;
    double start = clock_seconds(), seconds = 0;
    while (seconds < SAMPLE_SECONDS) {
        qgemm(bench->pool, bench->scratch, type, false, s->m, s->n, s->k, bench->a, s->k,
              bench->weights + *next * packed, bench->c, s->n);
        *next = (*next + 1) % matrices;
        done++;
        seconds = clock_seconds() - start;
    }
    return seconds / done;
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

static double largest(const double *values, uint32_t count)
{
    double most = 0;
    for (uint32_t i = 0; i < count; i++)
        most = values[i] > most ? values[i] : most;
    return most;
}

typedef struct {
    double seconds[ROUNDS_MAX], rate[ROUNDS_MAX], stream[ROUNDS_MAX], peak[ROUNDS_MAX];
} Samples;

static void report(const Bench *bench, const char *name, const Shape *s, double bytes,
                   Samples *samples, uint32_t rounds, FILE *json)
{
    double best_rate = largest(samples->rate, rounds), best_stream = largest(samples->stream, rounds);
    double rate = median(samples->rate, rounds), stream = median(samples->stream, rounds);
    double seconds = median(samples->seconds, rounds), peak = median(samples->peak, rounds);
    double operations = 2.0 * s->m * s->n * s->k / seconds * 1e-9;
    double best = 2.0 * s->m * s->n * s->k * best_rate / bytes;
    double best_peak = largest(samples->peak, rounds);
    printf("%-18s %4u %5u %5u %9.1f us %6.1f GB/s %5.1f%% %6.1f GB/s %5.1f%% %8.1f GOP/s %5.1f%%\n",
           name, s->m, s->n, s->k, seconds * 1e6, rate, 100 * rate / stream, best_rate,
           100 * best_rate / best_stream, best, bench->peak ? 100 * best / best_peak : 0);
    fflush(stdout);
    if (json)
        fprintf(json,
                ",\n  {\"shape\": \"%s\", \"m\": %u, \"n\": %u, \"k\": %u, \"us\": %.2f, "
                "\"gb_per_s\": %.2f, \"read_gb_per_s\": %.2f, \"best_gb_per_s\": %.2f, "
                "\"best_read_gb_per_s\": %.2f, \"gops\": %.1f, \"peak_gops\": %.1f, "
                "\"best_gops\": %.1f, \"best_peak_gops\": %.1f}",
                name, s->m, s->n, s->k, seconds * 1e6, rate, stream, best_rate, best_stream,
                operations, peak, best, best_peak);
}

static bool bench_shape(Bench *bench, DType type, const Shape *s, uint32_t rounds, const char *only,
                        FILE *json)
{
    char name[64];
    snprintf(name, sizeof name, "%s %s", dtype_info[type].name, s->name);
    if (only && !strstr(name, only))
        return true;
    double bytes = (double)dtype_bytes(type, s->k) * s->n;
    uint32_t matrices = fill_weights(bench, type, s), next = 0;
    if (!matrices)
        return false;
    Samples samples;
    for (uint32_t i = 0; i < rounds; i++) {
        samples.stream[i] = stream_rate(bench->pool, bench->weights + i % 4 * SAMPLE_BYTES);
        samples.peak[i] = peak_rate(bench->pool, bench->peak);
        samples.seconds[i] = product_seconds(bench, type, s, matrices, &next);
        samples.rate[i] = bytes / samples.seconds[i] * 1e-9;
    }
    report(bench, name, s, bytes, &samples, rounds, json);
    return true;
}

typedef struct {
    uint32_t threads, rounds;
    const char *isa, *only, *json;
} Options;

static bool prepare(Bench *bench, uint32_t threads, Error *err)
{
    enum { M = 512, K = 11008, N = 11008 };
    if (!pool_new(&bench->pool, threads, err))
        return false;
    bench->scratch = mem_alloc_aligned(qgemm_scratch_bytes(pool_threads(bench->pool), M, K), 64);
    bench->weights = mem_alloc_aligned(WEIGHTS_BYTES, 64);
    bench->a = mem_alloc_aligned((size_t)M * K * sizeof(float), 64);
    bench->c = mem_alloc_aligned((size_t)M * N * sizeof(float), 64);
    bench->peak = peak_of_isa();
    if (!bench->scratch || !bench->weights || !bench->a || !bench->c)
        return fail(err, ERR_MEMORY, "no memory for weights");
    memset(bench->weights, 1, WEIGHTS_BYTES);
    RngKey key = rng_key(1, "a");
    for (size_t i = 0; i < (size_t)M * K; i++)
        bench->a[i] = i < 4096 ? (float)rng_normal(key, i) : bench->a[i % 4096];
    return true;
}

static bool bench_all(const Options *options, FILE *json, Error *err)
{
    Bench bench = {0};
    bool done = prepare(&bench, options->threads, err);
    if (done) {
        printf("%u threads, %s; median and best: GB/s of weights and its share of reading memory; "
               "best GOP/s and its share of the peak\n",
               pool_threads(bench.pool), qgemm_isa_name());
        if (json)
            fprintf(json, "[\n  {\"isa\": \"%s\", \"threads\": %u}", qgemm_isa_name(),
                    pool_threads(bench.pool));
    }
    for (uint32_t i = 0; i < TYPES && done; i++)
        for (uint32_t s = 0; s < SHAPES && done; s++)
            done = bench_shape(&bench, types[i], &shapes[s], options->rounds, options->only, json) ||
                   fail(err, ERR_MEMORY, "no memory for rows of weights");
    if (json)
        fprintf(json, "\n]\n");
    mem_free(bench.scratch);
    mem_free(bench.weights);
    mem_free(bench.a);
    mem_free(bench.c);
    pool_free(bench.pool);
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
    if (options->isa && !qgemm_isa_use(options->isa))
        return fail(err, ERR_INPUT, "this processor does not run %s", options->isa);
    return true;
}

int main(int count, char **words)
{
    Options options = {.rounds = 9};
    Error err = {0};
    bool done = parse(count, words, &options, &err);
    FILE *json = NULL;
    if (done && options.json && !(json = fopen(options.json, "w")))
        done = fail(&err, ERR_IO, "cannot write %s", options.json);
    done = done && bench_all(&options, json, &err);
    if (json && fclose(json) != 0 && done)
        done = fail(&err, ERR_IO, "cannot write %s", options.json);
    if (!done)
        fprintf(stderr, "qgemm_bench: %s\n", err.text);
    return done ? 0 : error_info(err.code)->exit_status;
}
