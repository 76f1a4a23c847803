/* supervisor.h: keeps one child process alive: starts it, notices that it died or hangs, starts it
 * again with growing pauses.
 *
 * The child is a program of ours at the other end of a Unix stream socket, its descriptor
 * SUPERVISOR_CHILD_FD. It inherits nothing else: stdin is empty, stdout goes to stderr, every
 * other descriptor is closed, the environment is what the options say, signals have their default
 * meaning. It is killed when its parent dies. Secrets reach it through the socket or not at all.
 *
 * A Supervisor is a state machine without a thread: its owner's loop polls supervisor_socket and
 * supervisor_death_fd, and calls supervisor_tick when one speaks or supervisor_wait is over. Time
 * is an argument (clock_seconds), so tests need not wait.
 *
 *     LOADING --ready--> READY --death--> RESTARTING --ready--> READY
 *     RESTARTING --failures_max lives in a row that did not last--> FAILED --ready--> READY
 *
 * FAILED is still tried again, at the longest pause: an operator who repairs the cause need not
 * restart the service. Threads: one at a time; the thread that ticks must outlive the child.
 */
#pragma once
#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

enum { SUPERVISOR_CHILD_FD = 3 };

typedef enum {
    SUPERVISOR_LOADING,
    SUPERVISOR_READY,
    SUPERVISOR_RESTARTING,
    SUPERVISOR_FAILED,
    SUPERVISOR_STATES
} SupervisorState;
extern const char *const supervisor_state_names[SUPERVISOR_STATES]; /* "loading", ... */

typedef struct {
    const char *program;            /* path of the executable */
    const char *const *arguments;   /* argv, NULL-terminated, argv[0] included; at most 63 */
    const char *const *environment; /* "NAME=value", NULL-terminated; NULL: empty */
    double load_seconds_max;        /* start to ready; 0: 600 */
    double progress_seconds_max;    /* longest stillness while work is expected; 0: 120 */
    double lasting_seconds;         /* a ready life this long clears the failures; 0: 60 */
    double pause_seconds_first;     /* before the first restart; doubles from there; 0: 0.25 */
    double pause_seconds_max;       /* 0: 30 */
    uint32_t failures_max;          /* 0: 5 */
} SupervisorOptions;

typedef struct Supervisor Supervisor;

/* Copies the options, starts nothing: the first tick does. ERR_INPUT, ERR_MEMORY. */
bool supervisor_new(Supervisor **out, const SupervisorOptions *options, Error *err) MUST_CHECK;

/* Closes the socket (the child's sign to leave), waits two seconds, kills, reaps. NULL: no-op. */
void supervisor_free(Supervisor *s);

typedef enum {
    SUPERVISOR_SAME,
    SUPERVISOR_STARTED, /* a new child, a new socket */
    SUPERVISOR_ENDED    /* the child is gone, its socket closed; *why says how */
} SupervisorChange;

/* Does what is due at `now`; at most one change per call. A start that fails is an end too. */
SupervisorChange supervisor_tick(Supervisor *s, double now, Error *why);
double supervisor_wait(const Supervisor *s, double now); /* seconds until the next tick is due */

int supervisor_socket(const Supervisor *s);   /* our end, non-blocking; -1: no child */
int supervisor_death_fd(const Supervisor *s); /* readable when the child has died; -1: no child */
pid_t supervisor_pid(const Supervisor *s);    /* -1: no child */

/* What the owner has heard from the child. */
void supervisor_mark_ready(Supervisor *s, double now);
void supervisor_mark_progress(Supervisor *s, uint64_t counter, double now); /* moved: it lives */
void supervisor_expect(Supervisor *s, bool work_pending, double now);
void supervisor_kill(Supervisor *s, const char *why); /* e.g. it broke the protocol; tick reports */

SupervisorState supervisor_state(const Supervisor *s);
const char *supervisor_reason(const Supervisor *s); /* of the last end; "" when there was none */
uint32_t supervisor_restarts(const Supervisor *s);  /* ends so far */
