/* reply.h: what an answer to a client is made of: refusals, one row each, and JSON written straight
 * into a Buf. Threads: any, distinct objects.
 */
#pragma once
#include "base/buf.h"

#include <stdint.h>

/* Every way to say no. Rows in reply.c give status, OpenAI's type and code, and the pause that a
 * client should make before it tries again. */
typedef enum {
    FAULT_NONE,
    FAULT_JSON,       /* the body is no JSON */
    FAULT_UNKNOWN,    /* a field nobody knows */
    FAULT_UNSUPPORTED,/* a field that is known, with a value that is not offered here */
    FAULT_VALUE,      /* wrong type or range */
    FAULT_MISSING,    /* a required field is absent */
    FAULT_CONTEXT,    /* prompt longer than the context */
    FAULT_KEY,        /* no key, or a wrong one */
    FAULT_MODEL,      /* no such model */
    FAULT_PATH,       /* no such route */
    FAULT_METHOD,     /* the route has another method */
    FAULT_TOO_LARGE,  /* body over the limit */
    FAULT_MEDIA,      /* not application/json */
    FAULT_BUSY,       /* queue full */
    FAULT_WORKER,     /* the model's process failed while answering */
    FAULT_STARTING,   /* the model's process is not ready */
    FAULT_DRAINING,   /* the server is going down */
    FAULT_SLOW,       /* the client reads its stream too slowly */
    FAULT_GONE,       /* the client left */
    FAULT_SERVER,     /* out of memory, or our bug */
    FAULT_COUNT
} Fault;

typedef struct {
    int status;
    const char *type, *code;
    unsigned retry_seconds; /* 0: no Retry-After */
} FaultRow;
const FaultRow *fault_row(Fault fault);

/* {"error":{"message","type","param","code"}}; param "" is null. */
void reply_add_error(Buf *out, Fault fault, const char *param, const char *message);

/* A JSON string, quotes included. Bytes that are no UTF-8 become U+FFFD. */
void reply_add_text(Buf *out, const char *text, size_t size);
bool reply_is_text(const char *text, size_t size); /* it is UTF-8 */
/* A JSON number; one that JSON cannot say becomes -9999 (as OpenAI writes "impossible"). */
void reply_add_number(Buf *out, double value);
