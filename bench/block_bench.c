/* block_bench.c: how fast rows go into blocks and out again, on one thread.
 *
 *     block_bench [ROUNDS]
 *
 * MB/s are of f32. A model of 1.1 billion weights is 4400 MB. */
#include "base/clock.h"
#include "base/rng.h"
#include "tensor/block.h"

#include <stdio.h>
#include <stdlib.h>

enum { COUNT = 1 << 17, ROUNDS_MAX = 99 };

static float values[COUNT], weights[COUNT], back[COUNT];
static uint8_t blocks[COUNT * 4];

static int ascending(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static double median(double *seconds, int count)
{
    qsort(seconds, (size_t)count, sizeof *seconds, ascending);
    return seconds[count / 2];
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 5;
    rounds = rounds < 1 ? 1 : rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds;
    RngKey key = rng_key(1, "bench");
    for (uint64_t i = 0; i < COUNT; i++) {
        values[i] = (float)(0.02 * rng_normal(key, i));
        weights[i] = (float)(0.1 + rng_uniform(key, COUNT + i));
    }
    printf("type     bits   in MB/s  out MB/s\n");
    for (int t = 0; t < DT_COUNT; t++) {
        double in[ROUNDS_MAX], out[ROUNDS_MAX], mega = COUNT * 4e-6;
        if (!block_codecs[t].quantise)
            continue;
        for (int r = 0; r < rounds; r++) {
            double start = clock_seconds();
            block_quantise((DType)t, values, weights, blocks, COUNT);
            double middle = clock_seconds();
            block_dequantise((DType)t, blocks, back, COUNT);
            in[r] = middle - start;
            out[r] = clock_seconds() - middle;
        }
        printf("%-7s %5.2f %9.1f %9.1f\n", dtype_info[t].name,
               8.0 * dtype_info[t].block_bytes / dtype_info[t].block_elems,
               mega / median(in, rounds), mega / median(out, rounds));
    }
    return 0;
}
