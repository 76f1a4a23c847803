/* divergence.h: how far a changed model's predictions are from the original's, on held-out text.
 *
 * The text is cut into windows of `window` tokens that are read from nothing, so windows are nearly
 * independent; at every position but the last both models predict the next token, and of the two
 * distributions p (original) and q are taken
 *
 *     KL          sum of p log(p / q), in nats: 0 when nothing changed
 *     perplexity  exp of the mean of -log of the probability given to the token that came
 *     agreement   share of positions at which both find the same token most probable
 *
 * Intervals are of 95 %, by normal theory over windows: mean of the windows' means, plus and minus
 * Student's t times their standard error. Neighbouring windows of one document are not wholly
 * independent, so of a text with few documents the intervals are a little too narrow. The change
 * of log perplexity is taken window by window, which leaves out what both models find hard.
 *
 * Both models stand in memory as f32. Deterministic. Errors: ERR_INPUT (fewer than two windows, an
 * id beyond the vocabulary, another vocabulary), ERR_MEMORY. Threads: one.
 */
#pragma once
#include "model/model.h"

typedef struct {
    double mean, low, high;
} Estimate;

typedef struct {
    uint64_t tokens; /* predicted */
    uint32_t windows;
    Estimate perplexity_before, perplexity_after;
    Estimate change;    /* of log perplexity, after less before */
    Estimate kl, agreement;
    double kl_99, kl_most; /* of single positions: the 99th percentile, and the largest */
} Divergence;

typedef struct {
    uint32_t threads;    /* 0: all */
    uint32_t window;     /* 0: 256, or the model's context if shorter */
    uint64_t tokens_max; /* 0: all of the text */
    void (*progress)(void *user, uint64_t done, uint64_t tokens); /* NULL: none */
    void *user;
} DivergenceOptions;

/* An original and its text, to be compared with any number of others. */
typedef struct DivergenceBase DivergenceBase;
/* ids is copied; of the model nothing is needed afterwards. */
bool divergence_open(DivergenceBase **out, const Model *model, const int32_t *ids, uint64_t count,
                     const DivergenceOptions *options, Error *err) MUST_CHECK;
void divergence_close(DivergenceBase *base); /* NULL is a no-op */
bool divergence_measure(DivergenceBase *base, const Model *other, Divergence *out,
                        Error *err) MUST_CHECK;

/* Mean and interval of value[count], count >= 2; the windows' part of the above. */
Estimate divergence_estimate(const double *value, uint32_t count);

/* The figures as an object; NULL: no memory. The caller owns it. */
json_t *divergence_json(const Divergence *d);
