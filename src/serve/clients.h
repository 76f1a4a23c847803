/* clients.h: the open connections, and how long each may take for what it is doing.
 *
 * The HTTP library ends a connection that is silent; it does not end one that sends a byte now and
 * then for ever. So every connection has a phase with a limit, and a sweep once a second shuts
 * down the overdue. Threads: any.
 */
#pragma once
#include "base/error.h"

#include <pthread.h>

typedef enum {
    CLIENT_IDLE,    /* between requests, or before the first */
    CLIENT_HEADERS, /* the request line has come */
    CLIENT_BODY,    /* the headers have come */
    CLIENT_ANSWER,  /* the request has come: no limit here */
    CLIENT_PHASES
} ClientPhase;

typedef struct Client Client;

typedef struct {
    pthread_mutex_t lock;
    Client *first;
} Clients;

void clients_init(Clients *clients);
void clients_done(Clients *clients); /* all must be closed */

/* NULL: no memory (the connection then has the library's limits only). */
Client *clients_open(Clients *clients, int fd) MUST_CHECK;
void clients_close(Clients *clients, Client *client); /* before fd is closed; NULL is a no-op */
void clients_phase(Clients *clients, Client *client, ClientPhase phase); /* NULL is a no-op */

/* Shuts down those whose phase has lasted too long at `now` (clock_seconds). */
void clients_sweep(Clients *clients, double now);
