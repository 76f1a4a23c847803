/* sampler.h: from a row of logits to a token.
 *
 * A pure function of the logits, the options, the sequence's own tokens and a counter: the same seed
 * and position give the same token alone or in a batch. In this order:
 *
 *   grammar     ids that the hook does not allow are masked
 *   bias        x += bias
 *   penalties   of tokens that stand in the sequence: repetition, then frequency and presence, DRY
 *   greedy      at temperature 0: the largest, the lowest id of equals; nothing below applies
 *   temperature p = softmax(x / temperature)
 *   top_k, typical_p, top_p, min_p   cuts, each of what the one before left, renormalised
 *   draw        one of what is left by a counter-based number
 *
 * docs/sampling.md has the definitions; sampler_options.h the table of names and ranges.
 * NaN counts as -infinity: never taken. +infinity counts as FLT_MAX. When nothing is left to take,
 * the row is refused (ERR_INPUT).
 * Reported log-probabilities are of the model's own distribution, before everything above.
 * Cost: masks, bias and penalties touch blocks of 128 logits around the ids they name; a cut by
 * top_k or min_p looks at the best blocks alone; only top_p or typical_p without top_k, a plain draw
 * and log-probabilities need exponentials of the whole row.
 * Threads: one at a time per Sampler. Nothing allocates after sampler_new.
 */
#pragma once
#include "base/error.h"
#include "base/rng.h"

#include <stdint.h>

enum {
    SAMPLER_TOP_MAX = 20,
    SAMPLER_BIAS_MAX = 1024,
    SAMPLER_BREAKERS_MAX = 16,
    SAMPLER_BREAKER_BYTES_MAX = 64,
};

typedef struct {
    int32_t id;
    float bias;
} SamplerBias;

/* Which ids may come next; for constrained answers. allowed[(V+63)/64] arrives as zeros; the hook
 * sets the bits of what is allowed. False: everything is, and the bits are not read.
 * answer[count]: the ids of the answer so far. */
typedef struct {
    bool (*allow)(void *user, const int32_t *answer, uint32_t count, uint64_t *allowed);
    void *user;
} SamplerHook;

/* Zero (NULL) of any field: not used, and temperature 0 is greedy. The names are the API's. */
typedef struct {
    float temperature, top_p, min_p, typical_p;
    int32_t top_k; /* 0 or below: all */
    float repetition_penalty, presence_penalty, frequency_penalty;
    int32_t repeat_last_n; /* tokens the three look back over; below 0: all; 0: none */
    float dry_multiplier, dry_base;
    int32_t dry_allowed_length, dry_penalty_last_n; /* the latter as repeat_last_n */
    uint64_t seed;
    uint32_t bias_count, breaker_count;
    const SamplerBias *bias;      /* [bias_count] */
    const char *const *breakers;  /* [breaker_count]; none: sampler_breakers_default */
    SamplerHook hook;
} SamplerOptions;

/* What one token is picked for. */
typedef struct {
    const int32_t *ids; /* [count]: the prompt, then the answer so far; ids in [0, V) */
    uint32_t count, prompt_count;
    const uint8_t *breaks; /* [count]: a sequence breaker ends in this token; NULL: none does */
    uint32_t alternatives; /* most probable tokens to report, <= SAMPLER_TOP_MAX */
    bool ids_only;         /* no log-probabilities: saves a pass; top_count is 0 */
} SamplerTurn;

typedef struct {
    int32_t id;
    float logprob; /* of the model's own distribution; 0 with ids_only */
} SamplerToken;

typedef struct {
    SamplerToken token, top[SAMPLER_TOP_MAX]; /* top: best first */
    uint32_t top_count;
} SamplerPick;

typedef struct Sampler Sampler;

/* Scratch for rows of `vocab` logits and sequences of at most `context` tokens. */
bool sampler_new(Sampler **out, uint32_t vocab, uint32_t context, Error *err) MUST_CHECK;
void sampler_free(Sampler *sampler); /* NULL is a no-op */

bool sampler_pick(Sampler *sampler, const float *logits, const SamplerOptions *options,
                  const SamplerTurn *turn, SamplerPick *out, Error *err) MUST_CHECK;
