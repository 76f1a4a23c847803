/* mainjob.h: the main job, from records to a model that can be served and a report about it.
 *
 *   data -> tokenizer -> pretraining -> fine-tuning -> model folder -> evaluation beside baselines
 *        -> quantised twin -> report -> signed manifest -> entry in the workspace
 *
 * All under one workspace: runs/NAME/ (the two runs, the report), models/NAME/. Killed anywhere, the
 * same call goes on: runs resume from their checkpoints, the rest is done again.
 * Threads: one.
 */
#pragma once
#include "data/dataset.h"
#include "model/model.h"
#include "train/run.h"

typedef struct {
    const char *name; /* of the model: "default", "full" */
    uint32_t vocab, layers, width, heads, kv_heads, ff_width, context;
    uint32_t row_tokens;
    double pretrain_rate, pretrain_epochs; /* of the training split's text */
    double finetune_rate, finetune_epochs; /* of all dialogues */
    uint32_t every_text;                   /* lessons.h */
    double omit;
    double decay;
    uint32_t tokens_most;                  /* most pretraining tokens; 0: no bound */
} MainJobSize;
extern const MainJobSize mainjob_default, mainjob_full;

typedef struct {
    const char *workspace; /* folder; made when absent */
    const char *name;      /* of the model */
    const Dataset *dataset;
    const char *records_noun, *label_noun; /* "packages", "section"; for the report */
    const char *command;                   /* that makes it all again; for the report */
    const MainJobSize *size;
    uint32_t threads;      /* 0: all */
    uint64_t seed;
    double peak_flops;     /* of the machine; 0: unknown */
    const volatile sig_atomic_t *stop;
    void (*phase)(void *user, const char *sentence);          /* a step begins */
    void (*progress)(void *user, const ProgressView *view);   /* within it */
    void *user;
} MainJob;

typedef struct {
    char model_folder[1024], report_folder[1024];
    double accuracy, baseline, majority; /* shares; 0 without labels */
    double bits_per_byte;                /* without labels */
    double seconds, tokens_per_second;
} MainJobResult;

bool mainjob_run(const MainJob *job, MainJobResult *out, Error *err) MUST_CHECK;
