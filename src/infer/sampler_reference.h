/* sampler_reference.h: what sampler.h says, done plainly in double over the whole vocabulary: full
 * sorts, quadratic searches, no shared code. Tests only. */
#pragma once
#include "infer/sampler.h"

enum { REFERENCE_VOCAB_MAX = 5000 };

/* p[vocab] of what may be drawn (a 1 at temperature 0), and order[vocab], the most probable first. */
void reference_probabilities(const float *logits, uint32_t vocab, const SamplerOptions *options,
                             const SamplerTurn *turn, double *p, uint32_t *order);
/* The id that a uniform number takes: the walk of the sampler before it had any option but
 * temperature and top_p. */
uint32_t reference_draw(const double *p, const uint32_t *order, uint32_t vocab, double share);
