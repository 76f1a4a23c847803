/* sampler_bench.c: microseconds a token of the sampler on one core, over a vocabulary of 131,072.
 * Usage: sampler_bench [portable|avx2|avx512]. Rows are normal with a few likely tokens, as a
 * model's are, eight of them in turn so that caches stay honest; medians of processor time. The
 * first line is a plain pass over the row, which is as fast as greedy could be.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "infer/sampler.h"
#include "infer/sampler_row.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { VOCAB = 131072, ROWS = 8, RUNS = 201, HISTORY = 8192 };

static float *rows;
static float maxima[VOCAB / ROW_BLOCK];
static int32_t history[HISTORY];

typedef struct {
    const char *name;
    SamplerOptions options;
    bool logprobs;
    uint32_t count;
} Line;

static const Line lines[] = {
    {"greedy", {0}, false, 0},
    {"greedy, logprob", {0}, true, 0},
    {"top_k 40, top_p 0.9, min_p 0.05",
     {.temperature = 0.8f, .top_k = 40, .top_p = 0.9f, .min_p = 0.05f}, false, 0},
    {"the same, logprob", {.temperature = 0.8f, .top_k = 40, .top_p = 0.9f, .min_p = 0.05f}, true, 0},
    {"the same, penalties over 1024", {.temperature = 0.8f, .top_k = 40, .top_p = 0.9f, .min_p = 0.05f,
     .repetition_penalty = 1.1f, .presence_penalty = 0.1f, .repeat_last_n = 1024}, false, HISTORY},
    {"the same, penalties over 8192", {.temperature = 0.8f, .top_k = 40, .top_p = 0.9f, .min_p = 0.05f,
     .repetition_penalty = 1.1f, .presence_penalty = 0.1f, .repeat_last_n = -1}, false, HISTORY},
    {"the same, DRY over 8192", {.temperature = 0.8f, .top_k = 40, .top_p = 0.9f, .min_p = 0.05f,
     .dry_multiplier = 0.8f, .dry_base = 1.75f, .dry_allowed_length = 2, .dry_penalty_last_n = -1},
     false, HISTORY},
    {"min_p 0.05", {.temperature = 0.8f, .min_p = 0.05f}, false, 0},
    {"top_p 0.9", {.temperature = 0.8f, .top_p = 0.9f}, false, 0},
    {"typical_p 0.9", {.temperature = 0.8f, .typical_p = 0.9f}, false, 0},
    {"temperature 1", {.temperature = 1}, false, 0},
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print(const char *name, double *times)
{
    qsort(times, RUNS, sizeof *times, compare);
    printf("%-34s %8.1f us (fastest %.1f)\n", name, times[RUNS / 2], times[0]);
}

int main(int argc, char **argv)
{
    Error err;
    Sampler *sampler;
    double times[RUNS], sink = 0;
    if (argc > 1 && !row_kernels_use(argv[1]))
        return 1;
    rows = mem_alloc((size_t)ROWS * VOCAB, sizeof *rows);
    if (!rows || !sampler_new(&sampler, VOCAB, HISTORY, &err))
        return 1;
    for (uint64_t i = 0; i < (uint64_t)ROWS * VOCAB; i++)
        rows[i] = (float)(2 * rng_normal(rng_key(1, "rows"), i) + (i % 1009 == 5 ? 8 : 0));
    for (uint64_t i = 0; i < HISTORY; i++)
        history[i] = (int32_t)rng_below(rng_key(2, "history"), i % 3000, VOCAB);
    printf("kernels: %s\n", row_kernels()->name);
    for (uint32_t r = 0; r < RUNS; r++) {
        double begin = now();
        row_kernels()->maxima(rows + (size_t)(r % ROWS) * VOCAB, VOCAB, maxima);
        sink += (double)maxima[r];
        times[r] = now() - begin;
    }
    print("one pass (maxima of blocks)", times);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        for (uint32_t r = 0; r < RUNS; r++) {
            SamplerOptions options = lines[i].options;
            SamplerTurn turn = {.ids = history, .count = lines[i].count, .prompt_count = 0,
                                .ids_only = !lines[i].logprobs};
            SamplerPick pick;
            options.seed = r;
            double begin = now();
            if (!sampler_pick(sampler, rows + (size_t)(r % ROWS) * VOCAB, &options, &turn, &pick, &err))
                return 1;
            times[r] = now() - begin;
            sink += pick.token.id;
        }
        print(lines[i].name, times);
    }
    sampler_free(sampler);
    mem_free(rows);
    return sink == 0;
}
