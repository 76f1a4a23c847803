/* sampler_breaks.h: at which tokens of a growing sequence a text of a list ends; the sequence
 * breakers of DRY. An occurrence may begin in earlier tokens. Private to infer/.
 * Threads: one at a time per object. Nothing allocates.
 */
#pragma once
#include "infer/sampler.h"

#include <stddef.h>

typedef struct {
    char text[SAMPLER_BREAKERS_MAX][SAMPLER_BREAKER_BYTES_MAX];
    uint32_t size[SAMPLER_BREAKERS_MAX], count;
    char tail[SAMPLER_BREAKER_BYTES_MAX - 1]; /* the last bytes of the sequence */
    uint32_t tail_size;
} SamplerBreaks;

/* texts[count] are copied; ERR_INPUT: too many, empty or too long. */
bool breaks_init(SamplerBreaks *b, const char *const *texts, uint32_t count, Error *err) MUST_CHECK;
/* Adds a token's bytes. True: an occurrence ends in them. */
bool breaks_add(SamplerBreaks *b, const char *bytes, size_t size);
