/* run.h: a training run from start to end: a folder that can be killed at any moment.
 *
 *   RUN/run.json                what was asked: options as resolved, digest of data, model shape
 *       events.jsonl            append-only log (events.h)
 *       checkpoints/            (checkpoint.h)
 *       lock                    held while the run goes on
 *
 * The bits of the result are a function of the model's weights at the start, the samples and the
 * options: not of threads, nor of how often the run was stopped and resumed. A checkpoint holds
 * everything a later step depends on: weights, moments, number of updates, packing cursor, and the
 * smoothed losses by which a run that explodes is recognised.
 * Threads: one drives a run; `stop` may be set from a signal handler.
 */
#pragma once
#include "train/events.h"
#include "train/packing.h"
#include "train/progress.h"
#include "train/schedule.h"
#include "train/trainer.h"

#include <signal.h>

typedef struct {
    const char *folder;
    const char *phase;            /* "pretrain", "finetune": for people */
    const char *data_digest;      /* hexadecimal; a resumed run must have the same */
    TrainerOptions trainer;       /* row_tokens included */
    PackLong too_long;
    uint32_t windows;             /* 0: packed samples; else the set as one text, in windows of so
                                   * many tokens at random places, row_tokens / windows in a row */
    uint32_t rows;                /* per update */
    uint64_t steps;               /* updates */
    const char *schedule;         /* a row of schedule_rows */
    double rate, warmup_share, floor_share, decay_share;
    uint64_t checkpoint_every;    /* updates; 0: at the end only */
    uint32_t checkpoints_kept;    /* 0: 2 */
    uint64_t evaluate_every;      /* updates; 0: at the end only */
    uint64_t memory_limit;        /* bytes; 0: what the machine has */
    uint64_t seed;
    bool resume;                  /* go on from the newest checkpoint, if there is one */
} RunOptions;

typedef struct {
    void (*progress)(void *user, const ProgressView *view); /* after each update; may be NULL */
    void *user;
    double peak_flops;                   /* of the machine, for the share; 0: unknown */
    const volatile sig_atomic_t *stop;   /* non-zero: save a checkpoint and end; may be NULL */
} RunWatch;

typedef struct {
    uint64_t steps, tokens, trained; /* tokens: positions that held one, of this process */
    double loss, valid_loss;         /* last smoothed; of the whole validation set, NaN without */
    double seconds, tokens_per_second;
} RunResult;

typedef struct {
    TrainerMemory memory;
    PackStats packing;
    uint64_t tokens; /* of the whole run, about */
    double epochs;
    double flops;    /* of the whole run */
} RunPlan;

/* What a run would take, nothing written. ERR_LIMIT, naming the setting that would fit, when the
 * planned memory is over memory_limit. */
bool run_plan(const Model *model, const SampleSet *train, const RunOptions *options, RunPlan *out,
              Error *err) MUST_CHECK;

/* Trains model in place. valid may be NULL. Errors: ERR_CONFLICT (folder in use, or holds another
 * run), ERR_DIVERGED (the last good checkpoint stays), ERR_CANCELLED (stopped on request, a
 * checkpoint is saved), ERR_LIMIT, ERR_IO. */
bool run_train(Model *model, const SampleSet *train, const SampleSet *valid,
               const RunOptions *options, const RunWatch *watch, RunResult *out,
               Error *err) MUST_CHECK;
