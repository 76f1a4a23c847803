/* engine.h: a loaded model that answers many requests at once. The facade: serve/, eval/ and cli/
 * are written against this page and never see a tensor.
 *
 * Life: engine_open loads a model folder and plans all memory. engine_submit copies and queues a
 * request (its only allocations); engine_step runs one batch (prefill chunks
 * and single decode tokens of all running requests together) and reports through on_token /
 * on_end; repeat while engine_busy. Requests beyond `sequences_max` wait in order, up to
 * `queue_max`; then engine_submit answers ERR_LIMIT.
 * Bits: a request's tokens depend on its own prompt, options and seed alone; not on neighbours,
 * chunking or thread count.
 * Threads: one thread drives an Engine. engine_cancel and engine_submit are called from that
 * thread too (between steps).
 */
#pragma once
#include "infer/sampler.h"
#include "text/chat.h"

typedef struct Engine Engine;

struct Model;
typedef bool EngineLoad(struct Model **out, const char *path, const char *weights, Error *err);

typedef struct {
    const char *model;          /* folder in Hugging Face layout */
    uint32_t threads;           /* 0: all */
    uint32_t context;           /* 0: the model's own maximum */
    uint32_t sequences_max;     /* 0: 8 */
    uint32_t queue_max;         /* 0: 256 */
    uint32_t batch_tokens;      /* 0: 256; most tokens per step */
    const char *weights;        /* NULL or "f32": as stored; "q8_0": quantised while loading */
    /* How a model is opened; NULL: model_load, then `weights` f32 or q8_0. Any other says which
     * `weights` it knows, and may leave them in a store. */
    EngineLoad *load;
} EngineOptions;

typedef struct {
    const char *name;           /* from the folder's config, or its last path part */
    uint32_t context, vocab;
    uint64_t parameters, bytes_planned;
} EngineInfo;

typedef struct {
    const int32_t *prompt;      /* copied by submit; 1..context-1 ids */
    uint32_t prompt_count;
    uint32_t tokens_max;        /* 0: up to the context */
    SamplerOptions sampling;    /* zeros: greedy; lists are copied, the hook must outlive the answer */
    uint32_t logprobs;          /* 0..20 alternatives reported per token; chosen one always */
    bool ids_only;              /* no log-probabilities, which are reported as 0: saves time */
    const char *const *stop;    /* texts that end the answer, not included in it; copied */
    uint32_t stop_count;        /* <= 4, each <= 256 bytes */
    void *user;
} EngineRequest;

typedef struct {
    int32_t id;
    float logprob;
} EngineAlternative;

typedef enum { ENGINE_STOP, ENGINE_LENGTH, ENGINE_CANCELLED, ENGINE_FAILED } EngineEnd;

typedef struct {
    /* text: whole UTF-8 characters that are safe to show (held back while a stop text may be
     * beginning), possibly empty. */
    void (*on_token)(void *user, int32_t id, const char *text, size_t size, float logprob,
                     const EngineAlternative *alternatives, uint32_t count);
    /* text: what was still held back. Once per accepted request; engine_close, and a step that
     * fails, send none for those still open. */
    void (*on_end)(void *user, EngineEnd end, const char *text, size_t size,
                   uint32_t prompt_tokens, uint32_t answer_tokens);
} EngineEvents;

bool engine_open(Engine **out, const EngineOptions *options, EngineEvents events,
                 Error *err) MUST_CHECK;
void engine_close(Engine *engine); /* NULL is a no-op */
EngineInfo engine_info(const Engine *engine);
const Tokenizer *engine_tokenizer(const Engine *engine);
const ChatTemplate *engine_template(const Engine *engine); /* NULL: the model carries none we know */

/* A token that cannot be picked (every logit masked, or not a number) ends its answer as
 * ENGINE_FAILED.
 * Errors: ERR_LIMIT with the numbers when prompt + 1 exceeds the context ("prompt has 5,000
 * tokens, the model's context is 4,096"), or the queue is full; ERR_INPUT for options. */
bool engine_submit(Engine *engine, const EngineRequest *request, uint64_t *handle,
                   Error *err) MUST_CHECK;
void engine_cancel(Engine *engine, uint64_t handle); /* on_end(ENGINE_CANCELLED) follows at once */
bool engine_busy(const Engine *engine);
bool engine_step(Engine *engine, Error *err) MUST_CHECK;

/* Chooses one of a set of answers instead of sampling freely.
 * A ChoiceSet holds the ids of every candidate (each ends with the template's end marker) as a
 * tree; a candidate's probability is the product, along its path, of the model's probabilities
 * renormalised over the branches that exist. They sum to 1 over the set. */
typedef struct ChoiceSet ChoiceSet;
/* texts are encoded with the engine's tokenizer; two candidates with equal ids: ERR_INPUT. */
bool choices_new(ChoiceSet **out, const Engine *engine, const char *const *texts, uint32_t count,
                 Error *err) MUST_CHECK;
void choices_free(ChoiceSet *set); /* NULL is a no-op */
uint32_t choices_tokens_max(const ChoiceSet *set); /* of the longest candidate */

/* probability[i*count + c] of candidate c after prompt i, for many prompts at once (batched).
 * prompts are concatenated in ids with lengths[prompts]. Not while requests run: ERR_CONFLICT. */
bool engine_choose(Engine *engine, const ChoiceSet *set, const int32_t *ids,
                   const uint32_t *lengths, uint32_t prompts, double *probability,
                   Error *err) MUST_CHECK;
