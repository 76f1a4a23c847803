/* route_generate.c: POST /v1/chat/completions and POST /v1/completions. They differ in the fields
 * of request.c's table and in the shapes of transcript.c alone. */
#include "serve/gateway.h"

#include <sodium.h>

static void generate(Exchange *x)
{
    GenerateRequest request;
    RequestFault fault;
    Error err;
    const Buf *body = exchange_body(x);
    if (!request_parse(exchange_route(x)->shape, body->size ? body->data : "", body->size,
                       exchange_arena(x), &request, &fault, &err)) {
        exchange_refuse(x, fault.fault, fault.param, "%s", err.text);
        return;
    }
    if (!request.seeded)
        randombytes_buf(&request.submit.sampling.seed, sizeof request.submit.sampling.seed);
    exchange_generate(x, &request);
}

void route_chat(Exchange *x)
{
    generate(x);
}

void route_completions(Exchange *x)
{
    generate(x);
}
