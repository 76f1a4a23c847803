/* stepper.h: the model as a machine that takes tokens of many sequences and gives logits.
 *
 * Owns packed weights, paged key and value caches, and one program per token-count bucket; all
 * memory is planned at creation. A step takes up to batch_tokens (sequence, position, id) entries,
 * writes their keys and values, and gives logits of the entries asked for. Positions of a sequence
 * are given in ascending order; stepping back is allowed (later rows are simply written again).
 * Every sequence has pages for the whole context: a step cannot run out of cache.
 * Threads: one. Private to infer/; others use engine.h.
 */
#pragma once
#include "backend/plan.h"
#include "model/model.h"

typedef struct {
    uint32_t threads, context, sequences, batch_tokens, rows; /* rows: most logits of one step */
    DType weights;
} StepperOptions;

typedef struct Stepper Stepper;

/* The model's slab may be freed after this; its configuration is copied. */
bool stepper_new(Stepper **out, const Model *model, const StepperOptions *options,
                 Error *err) MUST_CHECK;
void stepper_free(Stepper *stepper); /* NULL is a no-op */
uint64_t stepper_bytes(const Stepper *stepper); /* weights, caches and arena */

typedef struct {
    int32_t sequence, position, id;
    bool wants_logits;
} StepEntry;

/* logits[k,V] of the k-th entry that wants them; valid until the next step. */
bool stepper_run(Stepper *stepper, const StepEntry *entries, uint32_t count, const float **logits,
                 Error *err) MUST_CHECK;
