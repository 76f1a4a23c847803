/* logits.h: what a model says after some tokens, as numbers: the measure by which two forms of one
 * model are compared. Threads: one call at a time per model. */
#pragma once
#include "model/model.h"

/* Logits after the last of ids[count], into out[vocab]. Errors: ERR_INPUT for an id outside of the
 * vocabulary, ERR_LIMIT for more than the context. */
bool model_logits(const Model *model, const int32_t *ids, uint32_t count, uint32_t threads,
                  float *out, Error *err) MUST_CHECK;
