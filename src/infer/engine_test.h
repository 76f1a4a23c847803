/* engine_test.h: what the tests of the engine share. */
#pragma once
#include "base/mem.h"
#include "base/test.h"
#include "infer/engine_parts.h"

#include <stdio.h>
#include <stdlib.h>

enum { FIXTURE_VOCAB = 300, FIXTURE_CONTEXT = 150 };

static char fixture_folder[64];

static inline void fixture_text(void *user, size_t i, const char **text, size_t *size)
{
    static const char *const texts[] = {"the cat sat on the mat and the bat sang to the rat\n",
                                        "network net web admin administration kernel libs\n"};
    (void)user;
    *text = texts[i];
    *size = strlen(texts[i]);
}

/* Weights are made wilder than at the start of training, so that logits differ. */
static inline int fixture_make(void **state)
{
    (void)state;
    Error err;
    Tokenizer *tokenizer;
    Model *model;
    const ChatTemplate *chat = chat_template_default();
    TokenizerTraining training = {.vocab = FIXTURE_VOCAB, .special = chat->specials, .threads = 1};
    while (chat->specials[training.special_count])
        training.special_count++;
    ModelConfig config = {.layers = 2, .width = 32, .heads = 4, .kv_heads = 2, .head_width = 8,
                          .ff_width = 64, .context = FIXTURE_CONTEXT, .eps = 1e-5f,
                          .theta = 10000, .tied = true};
    snprintf(fixture_folder, sizeof fixture_folder, "/tmp/bastide-engine-XXXXXX");
    if (!mkdtemp(fixture_folder) || !tokenizer_train(&tokenizer, &training, 2, fixture_text, NULL, &err))
        return -1;
    config.vocab = tokenizer_vocab(tokenizer);
    if (!model_new(&model, family_named("llama"), &config, tokenizer, chat, "tiny", 7, &err))
        return -1;
    for (uint32_t i = 0; i < model->weights.count; i++) {
        const ParamInfo *param = &model->weights.params[i];
        float *w = model->weights.slab + param->offset;
        for (uint64_t k = 0; k < shape_count(param->shape) && param->shape.rank == 2; k++)
            w[k] *= 15;
    }
    bool ok = model_save(model, fixture_folder, &err);
    model_free(model);
    return ok ? 0 : -1;
}

static inline int fixture_drop(void **state)
{
    (void)state;
    Error err;
    return fs_remove_tree(fixture_folder, &err) ? 0 : -1;
}

static inline Engine *fixture_open(EngineOptions options, EngineEvents events)
{
    Error err;
    Engine *engine;
    options.model = fixture_folder;
    if (!options.threads)
        options.threads = 1;
    assert_ok(engine_open(&engine, &options, events, &err));
    return engine;
}

/* A prompt of plain tokens that depends on its number alone. */
static inline uint32_t fixture_prompt(uint32_t number, int32_t *ids)
{
    RngKey key = rng_key(number, "prompt");
    uint32_t count = 1 + (uint32_t)rng_below(key, 0, 60);
    for (uint32_t i = 0; i < count; i++)
        ids[i] = 10 + (int32_t)rng_below(key, i + 1, 250);
    return count;
}
