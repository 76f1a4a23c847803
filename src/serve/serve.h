/* serve.h: the platform's server from start to end: what `bastide up` calls.
 *
 * serve_run locks the workspace, starts one worker process per model, listens, and returns when a
 * SIGTERM or SIGINT has been obeyed: it takes no new connections, answers new requests on old ones
 * with 503, lets running answers end for drain_seconds (a second signal cuts this short), ends the
 * rest with an error of their own, and stops the workers. Call it from the only thread of the
 * process, shortly before its end: the two signals stay blocked, so that a late one does not turn
 * a clean end into a failure. It writes to stderr: one line when it listens, one for each event of
 * a worker, and with access_log one for each request (id, method, path, status, milliseconds, key
 * id); never a prompt, an answer or a key.
 */
#pragma once
#include "infer/engine.h"

typedef struct {
    const char *name;   /* what clients call it */
    const char *folder; /* NULL: the path that the workspace has for this name */
    const char *digest; /* becomes system_fingerprint; NULL: the workspace's, or none */
} ServeModel;

typedef struct {
    const char *workspace;         /* its folder */
    const ServeModel *models;      /* count 0: every model of the workspace */
    uint32_t model_count;
    EngineOptions engine;          /* for every worker; .model is ignored */

    const char *host;              /* IPv4 or IPv6 address; NULL: "127.0.0.1" */
    uint16_t port;                 /* used when port_set */
    bool port_set;                 /* false: 8080. true with port 0: any free one */
    const char *certificate_file;  /* PEM; both or none */
    const char *key_file;
    bool plain_allowed;            /* an address beyond this machine without TLS: only behind a
                                      proxy that adds it */

    const char *program;           /* the executable of the workers; NULL: this one */
    const char *worker_command;    /* its hidden command; NULL: "worker" */
    const char *const *worker_environment; /* "NAME=value", NULL-terminated; NULL: empty */

    size_t body_bytes_max;         /* 0: 1 MiB */
    uint32_t connections_max;      /* 0: 512 */
    uint32_t jobs_max;             /* requests per model, waiting included; 0: 256 */
    double wait_seconds;           /* for a worker that is starting; 0: 30 */
    double progress_seconds;       /* watchdog; 0: 120 */
    double drain_seconds;          /* 0: 30 */
    bool access_log;
} ServeOptions;

bool serve_run(const ServeOptions *options, Error *err) MUST_CHECK;
