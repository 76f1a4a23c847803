/* logits.c: see logits.h. */
#include "quant/logits.h"

#include "base/mem.h"
#include "infer/stepper.h"

#include <inttypes.h>
#include <string.h>

static bool step(Stepper *stepper, const int32_t *ids, uint32_t from, uint32_t to, uint32_t count,
                 const float **logits, Error *err)
{
    auto_free StepEntry *entries = mem_alloc(to - from, sizeof *entries);
    if (!entries)
        return fail(err, ERR_MEMORY, "no memory for %" PRIu32 " tokens", count);
    for (uint32_t i = from; i < to; i++)
        entries[i - from] = (StepEntry){0, (int32_t)i, ids[i], i + 1 == count};
    return stepper_run(stepper, entries, to - from, logits, err);
}

bool model_logits(const Model *model, const int32_t *ids, uint32_t count, uint32_t threads,
                  float *out, Error *err)
{
    enum { BATCH = 256 };
    const ModelConfig *c = &model->config;
    if (count == 0 || count > c->context)
        return fail(err, ERR_LIMIT, "%" PRIu32 " tokens given, 1 to %" PRIu32 " are possible", count,
                    c->context);
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= c->vocab)
            return fail(err, ERR_INPUT, "token %" PRId32 " is outside of the vocabulary of %" PRIu32,
                        ids[i], c->vocab);
    }
    Stepper *stepper;
    StepperOptions options = {.threads = threads, .context = count, .sequences = 1,
                              .batch_tokens = BATCH, .rows = 1, .weights = DT_F32};
    if (!stepper_new(&stepper, model, &options, err))
        return false;
    const float *logits = NULL;
    bool ok = true;
    for (uint32_t from = 0; ok && from < count; from += BATCH) {
        uint32_t to = count - from < BATCH ? count : from + BATCH;
        ok = step(stepper, ids, from, to, count, &logits, err);
    }
    if (ok)
        memcpy(out, logits, c->vocab * sizeof *out);
    stepper_free(stepper);
    return ok;
}
