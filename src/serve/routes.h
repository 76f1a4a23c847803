/* routes.h: the one table of everything the server answers. Routing, authentication, 405s, metrics
 * and the OpenAPI page all read it.
 *
 * How to add a route: a row in routes.c, a handler in the file of its resource (route_*.c).
 */
#pragma once
#include "serve/request.h"

typedef struct Exchange Exchange;

typedef struct {
    const char *method;
    const char *path;    /* exact, or ending in "/{name}": the rest, which may hold '/' */
    bool open;           /* no key needed */
    RequestShape shape;  /* of the JSON body; 0: none */
    const char *summary;
    /* Called once, when the whole request is there. Leaves a reply, a refusal or a job. */
    void (*handle)(Exchange *x);
} Route;

enum { ROUTES_MAX = 32 };
extern const Route routes[];
extern const uint32_t routes_count; /* <= ROUTES_MAX */

/* The route of a request. NULL: no such path (*allow empty), or none with this method (*allow lists
 * those there are). *rest: what stands for {name}, "" otherwise. HEAD is answered as GET. */
const Route *routes_find(const char *method, const char *path, const char **rest, char allow[64]);

void route_chat(Exchange *x);
void route_completions(Exchange *x);
void route_models(Exchange *x);
void route_model(Exchange *x);
void route_live(Exchange *x);
void route_ready(Exchange *x);
void route_metrics(Exchange *x);
void route_openapi(Exchange *x);
