/* train_bench.c: training speed of the three shapes that the documents quote.
 * Usage: train_bench [--json] [--threads N] [--steps N] [--high] [SHAPE ...]   SHAPE: a b c
 * --high: matrix products in precision "high" (see train/trainer.h).
 * Prints tokens/s (median step), GFLOP/s by 6 N T plus attention, planned and peak memory. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "train/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;
    ModelConfig config;
    uint32_t context, batch;
} TrainShape;

static const TrainShape shapes[] = {
    {"a", {6, 384, 6, 6, 64, 1024, 65, 0, 256, 1e-5f, 10000, true}, 256, 12},
    {"b", {12, 768, 12, 12, 64, 2048, 32000, 0, 512, 1e-5f, 10000, true}, 512, 4},
    {"c", {4, 128, 4, 4, 32, 344, 65, 0, 64, 1e-5f, 10000, true}, 64, 12},
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool run_shape(const TrainShape *shape, uint32_t threads, uint32_t steps, bool json,
                      Precision precision, Error *err)
{
    Model *model;
    Trainer *trainer;
    uint32_t tokens = shape->context * shape->batch;
    TrainerOptions options = {.row_tokens = tokens, .threads = threads, .beta1 = 0.9f,
                              .beta2 = 0.95f, .eps = 1e-8f, .decay = 0.1f, .clip = 1,
                              .precision = precision};
    if (!model_new(&model, family_named("llama"), &shape->config, NULL, NULL, "bench", 1, err) ||
        !trainer_new(&trainer, model, &options, err))
        return false;
    auto_free int32_t *rows = mem_alloc(4 * (size_t)tokens, sizeof *rows);
    auto_free double *times = mem_alloc(steps, sizeof *times);
    int32_t *ids = rows, *pos = rows + tokens, *start = pos + tokens, *target = start + tokens;
    for (uint32_t i = 0; i < tokens; i++) {
        ids[i] = (int32_t)rng_below(rng_key(1, "ids"), i, shape->config.vocab);
        target[i] = (int32_t)rng_below(rng_key(1, "target"), i, shape->config.vocab);
        pos[i] = (int32_t)(i % shape->context);
        start[i] = (int32_t)(i / shape->context * shape->context);
    }
    TrainBatch batch = {1, tokens, ids, pos, start, target, tokens};
    for (uint32_t i = 0; i <= steps; i++) {
        TrainStep step;
        double begin = clock_seconds();
        if (!trainer_step(trainer, &batch, 1e-4, &step, err))
            return false;
        if (i)
            times[i - 1] = clock_seconds() - begin;
    }
    qsort(times, steps, sizeof *times, by_value);
    const TrainerMemory *m = trainer_memory(trainer);
    double median = times[steps / 2], n = (double)model_parameters(model);
    double attention = 12.0 * shape->config.layers * shape->config.width * shape->context;
    double flops = (6 * n + attention) * tokens;
    printf(json ? "{\"shape\":\"%s\",\"tokens_per_second\":%.1f,\"gflops\":%.1f,"
                  "\"planned_mib\":%.1f,\"peak_rss_mib\":%.1f,\"parameters\":%.0f}\n"
                : "shape %s: %.1f tokens/s, %.1f GFLOP/s, %.1f MiB planned, %.1f MiB peak, %.0f "
                  "parameters\n",
           shape->name, tokens / median, flops / median * 1e-9, (double)m->total / 1048576,
           (double)clock_peak_bytes() / 1048576, n);
    fflush(stdout);
    trainer_free(trainer);
    model_free(model);
    return true;
}

int main(int argc, char **argv)
{
    uint32_t threads = 0, steps = 5;
    bool json = false, any = false;
    Precision precision = PRECISION_FULL;
    Error err;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (strcmp(argv[i], "--high") == 0)
            precision = PRECISION_HIGH;
        else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
            threads = (uint32_t)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--steps") == 0 && i + 1 < argc)
            steps = (uint32_t)strtoul(argv[++i], NULL, 10);
    }
    for (int pass = 0; pass < 2 && !any; pass++) {
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            bool named = false;
            for (int i = 1; i < argc; i++)
                named = named || strcmp(argv[i], shapes[s].name) == 0;
            if (!named && pass == 0)
                continue;
            any = true;
            if (!run_shape(&shapes[s], threads, steps ? steps : 1, json, precision, &err)) {
                fprintf(stderr, "shape %s: %s\n", shapes[s].name, err.text);
                return error_info(err.code)->exit_status;
            }
        }
    }
    return 0;
}
