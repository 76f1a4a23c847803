/* dispatch.h: the gateway's switchboard: workers on one side, jobs (HTTP requests that generate) on
 * the other, and one thread between them.
 *
 * The thread starts and restarts the workers (fleet/supervisor.h), carries frames (wire.h), feeds
 * each job's Transcript, and watches each job's client socket, so that a client that leaves is
 * noticed at once and its work cancelled before the engine's next step. A half-closed connection
 * counts as left. A worker's death fails the jobs it had; jobs not yet handed over wait for the
 * next worker, at most wait_seconds.
 * Threads: job_* of one job from one thread; everything else from any.
 */
#pragma once
#include "fleet/supervisor.h"
#include "infer/engine.h"
#include "serve/transcript.h"

typedef struct Dispatch Dispatch;
typedef struct Job Job;

typedef struct {
    const char *name;        /* what clients call it */
    const char *fingerprint; /* system_fingerprint: a digest of the model */
    int64_t created;
    EngineOptions engine;
} DispatchModel;

typedef struct {
    const DispatchModel *models; /* copied; texts too */
    uint32_t model_count;
    const char *program;                    /* run as: program command --model ... */
    const char *command;
    const char *const *environment;         /* of the workers, NULL-terminated; NULL: empty */
    double wait_seconds;                    /* for a worker to become ready; 0: 30 */
    double progress_seconds;                /* watchdog; 0: 120 */
    uint32_t jobs_max;                      /* per model; 0: 256 */
    void (*note)(void *user, const char *line); /* one line for the operator; must not call back */
    void (*every_second)(void *user);       /* on the thread, free to call back */
    void *user;
} DispatchOptions;

bool dispatch_open(Dispatch **out, const DispatchOptions *options, Error *err) MUST_CHECK;
void dispatch_drain(Dispatch *d);      /* no new jobs from now on */
void dispatch_fail_all(Dispatch *d);   /* ends every job with FAULT_DRAINING */
uint32_t dispatch_jobs(Dispatch *d);   /* not yet ended */
void dispatch_close(Dispatch *d);      /* no job may be left; NULL is a no-op */

typedef struct {
    const char *name, *fingerprint;
    int64_t created;
    SupervisorState state;
    char reason[200]; /* of the last end of its worker; "" */
    uint32_t restarts, jobs, choices;
    WireReady info; /* of the last ready worker; zeros before */
    uint64_t requests, prompt_tokens, answer_tokens, steps;
    double first_token_seconds, answer_seconds; /* sums over `requests` answers completed */
} DispatchStatus;
uint32_t dispatch_count(const Dispatch *d);
void dispatch_status(Dispatch *d, uint32_t index, DispatchStatus *out); /* index < count */

typedef struct {
    RequestShape shape;
    const GenerateRequest *request; /* needed during job_begin only */
    const char *id;
    int client_fd;
    /* Called under the dispatch lock: sleep from within job_ready and job_read when there is
     * nothing, wake later, once, from the thread. */
    void (*sleep)(void *user);
    void (*wake)(void *user);
    void *user;
} JobOptions;

bool job_begin(Dispatch *d, const JobOptions *options, Job **out, Fault *fault,
               Error *err) MUST_CHECK;
/* A stream is ready when it has begun or failed, a whole answer when it is complete or failed.
 * False: sleep was called. */
bool job_ready(Job *job);
/* Of a ready job: FAULT_NONE, or why nothing was answered, with a sentence of at most 248 bytes. */
Fault job_fault(const Job *job, char text[248]);
/* The whole answer of a ready, faultless job; it lives until job_end. */
void job_answer(const Job *job, const char **bytes, size_t *size);
/* The next bytes of a stream: > 0; 0: sleep was called; -1: it is complete. */
int64_t job_read(Job *job, char *out, size_t room);
void job_end(Job *job); /* cancels what still runs and releases; NULL is a no-op */
