/* sampler_penalty.h: what a sequence's own tokens do to its next logits. Private to infer/.
 *
 * Time is proportional to the window looked back over (and 128 for each distinct id in it), never to
 * the vocabulary. Threads: one. Nothing allocates after penalty_init.
 */
#pragma once
#include "infer/sampler.h"
#include "infer/sampler_row.h"

typedef struct {
    uint32_t context;
    uint32_t *seen;    /* [vocab], zeros between calls */
    uint32_t *repeats; /* [context] */
} SamplerPenalty;

bool penalty_init(SamplerPenalty *p, uint32_t vocab, uint32_t context); /* false: no memory */
void penalty_done(SamplerPenalty *p);

/* Repetition, of tokens of the prompt and the answer: x > 0 ? x / r : x * r. Then frequency and
 * presence, of tokens of the answer: x -= frequency * times + presence. */
void penalty_repetition(SamplerPenalty *p, SamplerRow *row, const SamplerOptions *options,
                        const SamplerTurn *turn);
/* DRY: a token that would make the end of the sequence longer as a copy of an earlier part, which is
 * n >= dry_allowed_length tokens long already, loses
 * dry_multiplier * dry_base^(n - dry_allowed_length), for its largest n. Copies do not reach over a
 * break, and a token is not penalised for a place where it ended a break. */
void penalty_dry(SamplerPenalty *p, SamplerRow *row, const SamplerOptions *options,
                 const SamplerTurn *turn);
