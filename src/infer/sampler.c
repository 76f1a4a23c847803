/* sampler.c: see sampler.h. */
#include "infer/sampler.h"

#include <math.h>

/* Log of the sum of exponentials, in double, in order of ids. */
static double log_sum(const float *logits, uint32_t vocab, double scale)
{
    double most = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < vocab; i++)
        most = (double)logits[i] > most ? (double)logits[i] : most;
    for (uint32_t i = 0; i < vocab; i++)
        sum += exp(((double)logits[i] - most) * scale);
    return most * scale + log(sum);
}

static bool better(const float *logits, uint32_t a, uint32_t b)
{
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

/* A heap of ids with the best on top. */
static void sift(const float *logits, uint32_t *heap, uint32_t count, uint32_t at)
{
    for (;;) {
        uint32_t best = at, left = 2 * at + 1, right = left + 1;
        if (left < count && better(logits, heap[left], heap[best]))
            best = left;
        if (right < count && better(logits, heap[right], heap[best]))
            best = right;
        if (best == at)
            return;
        uint32_t keep = heap[at];
        heap[at] = heap[best];
        heap[best] = keep;
        at = best;
    }
}

static void heap_make(const float *logits, uint32_t *heap, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        heap[i] = i;
    for (uint32_t i = count / 2; i > 0; i--)
        sift(logits, heap, count, i - 1);
}

static uint32_t heap_take(const float *logits, uint32_t *heap, uint32_t *count)
{
    uint32_t best = heap[0];
    heap[0] = heap[--*count];
    sift(logits, heap, *count, 0);
    return best;
}

static uint32_t greedy(const float *logits, uint32_t vocab)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocab; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

/* Walks tokens from the most probable down until the drawn share of the kept mass is passed. */
static uint32_t draw(const float *logits, uint32_t vocab, SamplerOptions o, uint32_t *heap)
{
    double scale = 1.0 / (double)o.temperature, total = log_sum(logits, vocab, scale), mass = 1;
    double share = rng_uniform(rng_key(o.seed, "sample"), o.position);
    uint32_t count = vocab, last = 0;
    if (o.top_p < 1) {
        mass = 0;
        heap_make(logits, heap, vocab);
        while (count && mass < (double)o.top_p)
            mass += exp((double)logits[heap_take(logits, heap, &count)] * scale - total);
        count = vocab;
    }
    heap_make(logits, heap, vocab);
    for (double seen = 0; count;) {
        last = heap_take(logits, heap, &count);
        seen += exp((double)logits[last] * scale - total);
        if (seen > share * mass)
            return last;
    }
    return last;
}

SamplerToken sampler_pick(const float *logits, uint32_t vocab, SamplerOptions options,
                          uint32_t *order, SamplerToken *top, uint32_t count)
{
    double total = log_sum(logits, vocab, 1);
    uint32_t id = options.temperature > 0 ? draw(logits, vocab, options, order)
                                          : greedy(logits, vocab);
    if (count) {
        uint32_t left = vocab;
        heap_make(logits, order, vocab);
        for (uint32_t i = 0; i < count && left; i++) {
            uint32_t best = heap_take(logits, order, &left);
            top[i] = (SamplerToken){(int32_t)best, (float)((double)logits[best] - total)};
        }
    }
    return (SamplerToken){(int32_t)id, (float)((double)logits[id] - total)};
}
