/* samples.h: the tokens to train on, of all samples, in one arena.
 *
 * A token is stored as its id with the mark "trained" in a bit of its own: 4 bytes a token in all.
 * A mark says that the model is to predict this token from those before it; the first token of a
 * sample is never predicted, whatever its mark.
 * Threads: one while adding; any afterwards.
 */
#pragma once
#include "base/error.h"

#include <stdint.h>

#define SAMPLE_TRAINED 0x40000000u /* ids are below this */

typedef struct {
    uint32_t *tokens; /* id | SAMPLE_TRAINED, sample after sample */
    uint64_t *starts; /* sample i is tokens[starts[i] .. starts[i + 1]); NULL while count is 0 */
    uint64_t used, room, limit; /* tokens */
    uint32_t count, starts_room;
} SampleSet;

void sample_set_init(SampleSet *set, uint64_t token_limit);
void sample_set_done(SampleSet *set); /* also the cleanup of auto_samples */
#define auto_samples __attribute__((cleanup(sample_set_done)))

/* Adds one sample. trained: as many 0/1 marks as chat_render gives, or NULL: all are trained, as in
 * plain text. ERR_INPUT for an id below 0 or from 2^30 on, ERR_LIMIT, ERR_MEMORY. */
bool sample_set_add(SampleSet *set, const int32_t *ids, const int32_t *trained, uint64_t count,
                    Error *err) MUST_CHECK;
