/* request.h: the JSON body of POST /v1/chat/completions and /v1/completions, checked and turned
 * into what a worker understands.
 *
 * One table lists every field that OpenAI documents for the two routes, another the options of the
 * sampler, with the names of vLLM, llama.cpp and Mistral. A field outside them is refused by name; a
 * documented one that would change the answer and is not offered here is refused with a sentence; a
 * harmless one is accepted and changes nothing. null is the same as absent.
 * Threads: any, distinct objects.
 */
#pragma once
#include "serve/reply.h"
#include "serve/wire.h"

typedef enum { SHAPE_CHAT = 1, SHAPE_TEXT = 2 } RequestShape;

enum { REQUEST_N_MAX = 8, REQUEST_PARAM_ROOM = 96 };

typedef struct {
    const char *model;
    bool stream, include_usage;
    bool seeded; /* the client chose submit.sampling.seed */
    WireSubmit submit;
} GenerateRequest;

typedef struct {
    Fault fault;
    char param[REQUEST_PARAM_ROOM]; /* "messages[2].content"; "" when it is no single field */
} RequestFault;

/* Everything in *out lives in arena (or is constant). On false, *fault says which refusal. */
bool request_parse(RequestShape shape, const char *body, size_t size, Arena *arena,
                   GenerateRequest *out, RequestFault *fault, Error *err) MUST_CHECK;

/* The schema of such a body, for the OpenAPI page. */
void request_add_schema(Buf *out, RequestShape shape);
