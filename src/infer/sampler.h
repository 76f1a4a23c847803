/* sampler.h: from a row of logits to a token. Pure functions of the logits, options and counter.
 * Greedy at temperature 0 (lowest id wins ties). Otherwise softmax(logits / temperature), cut to
 * the smallest set of most probable tokens whose mass reaches top_p, one drawn by a counter-based
 * number: the same seed and position give the same token, alone or in a batch.
 */
#pragma once
#include "base/rng.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    float temperature, top_p; /* temperature 0: greedy; top_p in (0, 1] */
    uint64_t seed, position;  /* position: index of the token in the answer */
} SamplerOptions;

typedef struct {
    int32_t id;
    float logprob; /* of the model's own distribution, before temperature and cut */
} SamplerToken;

/* order[V] is scratch. top[count]: the most probable tokens, best first (count may be 0). */
SamplerToken sampler_pick(const float *logits, uint32_t vocab, SamplerOptions options,
                          uint32_t *order, SamplerToken *top, uint32_t count);
