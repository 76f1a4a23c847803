/* gateway.h: HTTP in front of the dispatch: connections, limits, keys, routes, replies.
 *
 * Order of every request: credentials (from one place, before the path is looked at), route, body
 * limit and type, body, handler. A refused request's small body is read and dropped, so that the
 * client sees the refusal; one announced over the limit is refused at once and its connection
 * closed. Nothing of prompts, answers or keys is ever logged.
 * Threads: gateway_* from the thread that opened it; exchange_* from within a handler.
 */
#pragma once
#include "serve/clients.h"
#include "serve/dispatch.h"
#include "serve/keyring.h"
#include "serve/metrics.h"
#include "serve/routes.h"

typedef struct Gateway Gateway;

typedef struct {
    Dispatch *dispatch;
    Keyring *keys;
    Metrics *metrics;
    int listen_fd;              /* taken over */
    const char *certificate;    /* PEM texts; both or none: plain HTTP */
    const char *private_key;
    size_t body_bytes_max;      /* 0: 1 MiB */
    uint32_t connections_max;   /* 0: 512 */
    void (*log)(void *user, const char *line); /* one line per request; NULL: none */
    void *user;
} GatewayOptions;

bool gateway_open(Gateway **out, const GatewayOptions *options, Error *err) MUST_CHECK;
void gateway_sweep(Gateway *g);   /* once a second: ends overdue connections; any thread */
void gateway_quiesce(Gateway *g); /* takes no new connections; /readyz says 503 */
void gateway_close(Gateway *g);   /* ends all connections; NULL is a no-op */

/* ---- for handlers (route_*.c) ---- */

/* The request's parts and services. */
Dispatch *exchange_dispatch(const Exchange *x);
Metrics *exchange_metrics(const Exchange *x);
bool exchange_draining(const Exchange *x);
const Route *exchange_route(const Exchange *x);
const char *exchange_rest(const Exchange *x);
const Buf *exchange_body(const Exchange *x);
Arena *exchange_arena(Exchange *x);

/* The reply: fill the Buf, then say what it is. Without a call it is an empty 200. */
Buf *exchange_reply(Exchange *x);
void exchange_status(Exchange *x, int status, const char *content_type);
void exchange_refuse(Exchange *x, Fault fault, const char *param, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Hands the request to a model; the reply comes from there. */
void exchange_generate(Exchange *x, const GenerateRequest *request);
