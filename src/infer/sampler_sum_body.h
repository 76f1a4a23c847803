/* sampler_sum_body.h: the kernels of sampler_row.h as plain loops that
 * the compiler makes vectors of, included once by each sampler_sum_<set>.c. The same lanes on every
 * set and no fused multiply-add: equal bits. */
#pragma once
#include "infer/sampler_row.h"

#include <float.h>
#include <math.h>
#include <string.h>

static void kernel_maxima(const float *x, uint32_t count, float *maxima)
{
    for (uint32_t at = 0; at < count; at += ROW_BLOCK) {
        float lanes[16];
        uint32_t size = count - at < ROW_BLOCK ? count - at : ROW_BLOCK, i = 0;
        for (int l = 0; l < 16; l++)
            lanes[l] = -INFINITY;
        for (; i + 16 <= size; i += 16) {
            for (int l = 0; l < 16; l++)
                lanes[l] = x[at + i + (uint32_t)l] > lanes[l] ? x[at + i + (uint32_t)l] : lanes[l];
        }
        for (; i < size; i++)
            lanes[i % 16] = x[at + i] > lanes[i % 16] ? x[at + i] : lanes[i % 16];
        for (int l = 0; l < 8; l++)
            lanes[l] = lanes[l + 8] > lanes[l] ? lanes[l + 8] : lanes[l];
        for (int l = 0; l < 4; l++)
            lanes[l] = lanes[l + 4] > lanes[l] ? lanes[l + 4] : lanes[l];
        float left = lanes[2] > lanes[0] ? lanes[2] : lanes[0];
        float right = lanes[3] > lanes[1] ? lanes[3] : lanes[1];
        maxima[at / ROW_BLOCK] = left > right ? left : right;
    }
}

/* 1/12!, ..., 1/1!, 1/0!: with |r| <= ln 2 / 2 the series ends below 2^-52. */
static const double series[] = {
    2.08767569878681e-09,   2.5052108385441719e-08, 2.7557319223985893e-07, 2.7557319223985892e-06,
    2.4801587301587302e-05, 1.9841269841269841e-04, 1.3888888888888889e-03, 8.3333333333333332e-03,
    4.1666666666666664e-02, 1.6666666666666666e-01, 0.5, 1, 1};

/* exp(y) = 2^k exp(r), k = round(y / ln 2) read off the bits of y / ln 2 + 1.5 * 2^52.
 * y in [-708, 0]. */
static double exponential(double y)
{
    double shifted = y * 0x1.71547652b82fep+0 + 0x1.8p52, k = shifted - 0x1.8p52, factor;
    double r = (y - k * 0x1.62e42feep-1) - k * 0x1.a39ef35793c76p-33, e = series[0];
    uint64_t bits;
    for (int t = 1; t < 13; t++)
        e = e * r + series[t];
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1023) << 52;
    memcpy(&factor, &bits, sizeof factor);
    return e * factor;
}

/* First all exponentials of a block, which the compiler makes vectors of, then their sums. */
static void kernel_sums(const float *x, uint32_t count, double most, double scale,
                        double lanes[ROW_LANES], double moments[ROW_LANES])
{
    double y[ROW_BLOCK], e[ROW_BLOCK];
    for (uint32_t i = 0; i < count; i++) {
        float value = x[i] > FLT_MAX ? FLT_MAX : x[i]; /* NaN stays, and is caught below */
        double scaled = ((double)value - most) * scale;
        y[i] = scaled > -708.0 ? scaled : -708.0;
    }
    for (uint32_t i = 0; i < count; i++)
        e[i] = exponential(y[i]);
    uint32_t i = 0;
    for (; i + ROW_LANES <= count; i += ROW_LANES)
        for (uint32_t l = 0; l < ROW_LANES; l++)
            lanes[l] += e[i + l];
    for (; i < count; i++)
        lanes[i % ROW_LANES] += e[i];
    for (i = 0; moments && i < count; i++)
        moments[i % ROW_LANES] += e[i] * y[i];
}
