/* events.h: the log of a run, RUN/events.jsonl, one JSON object per line:
 *
 *   {"t":1767225600,"step":120,"kind":"step","loss":2.5312,"lr":0.0003,"tokens_per_second":81234}
 *
 * t is Unix seconds; all but t and what is measured is the same whenever the run is repeated. A
 * number that is not finite is written as null. Every kind but "step" is durable on return, and all
 * lines before it with it. So a run logs what belongs to step S, its "checkpoint" event last, and
 * then saves the checkpoint of S: after a crash events_resume drops what came later, and the log is
 * that of a run never stopped.
 * Adding a step allocates nothing. Threads: one at a time per Events.
 */
#pragma once
#include "base/fs.h"

typedef enum { EVENT_STEP, EVENT_EVAL, EVENT_CHECKPOINT, EVENT_WARNING, EVENT_END,
               EVENT_KIND_COUNT } EventKind;
extern const char *const event_kind_names[EVENT_KIND_COUNT]; /* "step", ... */

enum { EVENT_LINE_MAX = 4096, EVENTS_BYTES_MAX = 2047 << 20 };

typedef struct {
    const char *name; /* a plain word: "loss"; not "t", "step", "kind", "text" */
    double value;
} EventNumber;

typedef struct {
    FsLog log;
    Buf line;
    bool torn; /* the last write failed, part of a line may stand there */
} Events;

/* Drops from the log what a run that goes on from the checkpoint of `step` will write again: every
 * line of a later step, every "end", and lines that are damaged or torn. step -1: there is no
 * checkpoint, all is dropped. Without a log: nothing to do. Atomic. Before events_open. */
bool events_resume(const char *run_folder, int64_t step, Error *err) MUST_CHECK;

/* Opens the log for appending, creating it. */
bool events_open(Events *events, const char *run_folder, Error *err) MUST_CHECK;
void events_close(Events *events);

/* text: a sentence for people, UTF-8, or NULL. After a failure the next line is whole again. */
bool events_add(Events *events, EventKind kind, uint64_t step, const EventNumber *numbers,
                uint32_t count, const char *text, Error *err) MUST_CHECK;

/* Points of a log: steps[i] and values[i * columns + c]; NaN where a line lacks the number. */
typedef struct {
    uint64_t *steps;
    double *values;
    size_t count, room;
    uint32_t columns;
    uint64_t damaged; /* lines passed over: torn, not JSON, without step or kind */
} Curve;

/* All lines of a kind, with these numbers ("loss", "lr", "t", ...), in the order of the log. Works
 * on the log of a run in progress. ERR_NOT_FOUND without a log. */
bool events_read(Curve *out, const char *run_folder, EventKind kind, const char *const *names,
                 uint32_t columns, Error *err) MUST_CHECK;
void curve_done(Curve *curve); /* also the cleanup of auto_curve */
#define auto_curve __attribute__((cleanup(curve_done)))
