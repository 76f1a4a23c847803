/* engine_parts.h: what engine.c and choose.c share. Private to infer/. */
#pragma once
#include "infer/answer.h"
#include "infer/engine.h"
#include "infer/sampler_breaks.h"
#include "infer/stepper.h"

enum { ENGINE_LOGPROBS_MAX = SAMPLER_TOP_MAX };

typedef struct Request Request;
struct Request {
    Request *next; /* in the queue */
    uint64_t handle;
    int32_t *ids; /* [context]: prompt, then the answer */
    uint32_t prompt_count, total, fed; /* ids known; ids whose keys are in the cache */
    uint32_t tokens_max, logprobs;
    bool ids_only;
    SamplerOptions sampling; /* its lists: bias below; breakers live in breaker */
    SamplerBias *bias;
    SamplerBreaks breaker;
    uint8_t *breaks; /* [room for ids]: a breaker ends in that token; NULL without DRY */
    Answer answer;
    void *user;
};

struct Engine {
    EngineOptions options;
    EngineEvents events;
    Model *model; /* weights released after packing */
    Stepper *stepper;
    EngineInfo info;
    Request **running; /* [sequences_max]; NULL: free */
    Request *queue, **queue_end;
    uint32_t queued, running_count;
    uint64_t next_handle;
    StepEntry *entries; /* [batch_tokens] */
    Sampler *sampler;
    uint32_t turn;      /* sequence that is served first in this step */
};
