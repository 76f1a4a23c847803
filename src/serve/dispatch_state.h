/* dispatch_state.h: what dispatch.c (the thread and the workers) and job.c (the jobs) share.
 *
 * Invariants, all under `lock`: 1. slots[id % JOBS_MAX] is the job with that id or NULL; ids never
 * repeat, so a late frame finds nobody. 2. A job in JOB_SENT has its worker alive. 3. A job in
 * JOB_ENDED is never touched by the thread again, save by id. 4. `asleep` jobs get exactly one
 * wake.
 */
#pragma once
#include "serve/dispatch.h"

#include <pthread.h>

enum { JOBS_MAX = 4096 };

typedef enum { JOB_WAITING, JOB_SENT, JOB_ENDED } JobState;

struct Job {
    Dispatch *dispatch;
    uint64_t id;
    uint32_t link;
    JobState state;
    JobOptions options;
    Transcript *transcript;
    Buf frame; /* the SUBMIT, until it is handed over */
    bool stream, asleep;
    Fault fault;
    char text[248];
    double begun, first_token, deadline;
};

/* One model and its worker. */
typedef struct {
    DispatchModel model;
    Supervisor *supervisor;
    WireReader in;
    Buf out;
    size_t sent;
    bool ready, writing; /* writing: epoll waits for room */
    double closed_at;    /* its socket ended before it did; 0: no */
    WireReady info;
    WireBeat beat;
    char last_words[200]; /* the worker's own error, when it gave one */
    uint32_t jobs;
    uint64_t requests, prompt_tokens, answer_tokens, tokens_before, steps_before;
    double first_token_seconds, answer_seconds;
} Link;

struct Dispatch {
    pthread_mutex_t lock;
    pthread_t thread;
    DispatchOptions options;
    Arena texts; /* names and paths of the models, the workers' words */
    Link *links;
    uint32_t link_count, job_count;
    int epoll, wake_fd;
    bool draining, closing;
    uint64_t serial;
    Job *slots[JOBS_MAX];
};

/* What an epoll event is about: the kind in the top byte, a link's index or a job's id below. */
enum { EVENT_WAKE, EVENT_SOCKET, EVENT_DEATH, EVENT_CLIENT };
#define EVENT(kind, value) ((uint64_t)(kind) << 56 | (value))

void dispatch_nudge(Dispatch *d); /* makes the thread look at its out buffers */

/* ---- job.c, lock held ---- */
Job *job_by_id(Dispatch *d, uint64_t id);
void job_send(Job *job);                                     /* WAITING -> SENT */
void job_fail(Job *job, Fault fault, const char *sentence);  /* -> ENDED, cancels at the worker */
bool job_event(Job *job, const WireFrame *frame, Error *err) MUST_CHECK; /* false: worker lies */
