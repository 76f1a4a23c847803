/* quant_test.h: a small model and text that it wrote itself, for the tests of calibration, choice
 * and divergence. Text of the model's own makes the gradient on it the true one (calibrate.h). */
#pragma once
#include "base/mem.h"
#include "base/rng.h"
#include "base/test.h"
#include "infer/stepper.h"

#include <math.h>

enum { TEXT_WINDOW = 32, TEXT_WINDOWS = 64, TEXT_TOKENS = TEXT_WINDOW * TEXT_WINDOWS,
       TEXT_VOCAB = 64 };

/* Rows of 256 (down_proj, and everything read from the residual stream) fit every type. */
static inline Model *quant_model(bool tied, uint64_t seed)
{
    Error err = {0};
    Model *model = NULL;
    ModelConfig config = {.layers = 2, .width = 256, .heads = 4, .kv_heads = 2, .head_width = 16,
                          .ff_width = 256, .vocab = TEXT_VOCAB, .context = TEXT_WINDOW,
                          .eps = 1e-5f, .theta = 10000, .tied = tied};
    assert_ok(model_new(&model, family_named("llama"), &config, NULL, NULL, "small", seed, &err));
    for (uint32_t i = 0; i < model->weights.count; i++) {
        const ParamInfo *param = &model->weights.params[i];
        float *w = model->weights.slab + param->offset;
        for (uint64_t k = 0; k < shape_count(param->shape) && param->shape.rank == 2; k++)
            w[k] *= 4;
    }
    return model;
}

static inline int32_t quant_sample(const float *logits, double at)
{
    double sum = 0, most = (double)logits[0];
    for (int i = 1; i < TEXT_VOCAB; i++)
        most = (double)logits[i] > most ? (double)logits[i] : most;
    for (int i = 0; i < TEXT_VOCAB; i++)
        sum += exp((double)logits[i] - most);
    for (int i = 0; i < TEXT_VOCAB; i++) {
        at -= exp((double)logits[i] - most) / sum;
        if (at < 0)
            return i;
    }
    return TEXT_VOCAB - 1;
}

/* ids[TEXT_TOKENS], window by window from a random first token. */
static inline void quant_text(const Model *model, int32_t *ids)
{
    Error err = {0};
    Stepper *stepper = NULL;
    StepperOptions options = {.threads = 1, .context = TEXT_WINDOW, .sequences = 1,
                              .batch_tokens = 1, .rows = 1, .weights = DT_F32};
    RngKey key = rng_key(9, "text");
    assert_ok(stepper_new(&stepper, model, &options, &err));
    for (int32_t i = 0; i < TEXT_TOKENS; i++) {
        if (i % TEXT_WINDOW == 0)
            ids[i] = (int32_t)rng_below(key, 2 * (uint64_t)i, TEXT_VOCAB);
        StepEntry entry = {.position = i % TEXT_WINDOW, .id = ids[i], .wants_logits = true};
        const float *logits;
        assert_ok(stepper_run(stepper, &entry, 1, &logits, &err));
        if ((i + 1) % TEXT_WINDOW)
            ids[i + 1] = quant_sample(logits, rng_uniform(key, 2 * (uint64_t)i + 1));
    }
    stepper_free(stepper);
}

/* The same model with a slab of its own, equal at first. */
static inline Model quant_copy(const Model *model)
{
    Model copy = *model;
    size_t bytes = model->weights.elements * sizeof(float);
    copy.weights.slab = mem_alloc_aligned(bytes, 64);
    assert_non_null(copy.weights.slab);
    memcpy(copy.weights.slab, model->weights.slab, bytes);
    return copy;
}
