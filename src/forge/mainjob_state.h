/* mainjob_state.h: what the steps of the main job share. Private to forge/. */
#pragma once
#include "eval/bayes.h"
#include "eval/energy.h"
#include "eval/report.h"
#include "forge/judge.h"
#include "forge/lessons.h"
#include "forge/mainjob.h"

enum { PHASES_MAX = 12, FACTS_MAX = 24, ANSWERS = 6 };

typedef struct {
    const MainJob *job;
    Arena arena; /* texts of the report */
    char data_digest[65], model_folder[1024], run_folder[1024];
    Pool *pool;
    Tokenizer *tokenizer; /* NULL once the model owns it */
    const ChatTemplate *chat;
    Model *model;
    bool labelled;
    BayesRun bayes_text, bayes_all;
    RunResult pretrain, finetune;
    Judged judged, quantised;
    double bits_per_byte, baseline_bits[2]; /* bytes alone; after NGRAM_CONTEXT bytes */
    uint64_t test_bytes;
    JudgedAnswer answers[ANSWERS];
    uint32_t answer_count;
    EvalPhase phases[PHASES_MAX];
    uint32_t phase_count;
    double phase_started, started;
    Energy energy;
} State;

/* A step begins; its predecessor's seconds are kept for the report. sentence NULL: none begins. */
void mainjob_phase(State *s, const char *name, const char *sentence);

bool mainjob_measure_text(State *s, Error *err);  /* mainjob_text.c: bits per byte, test split */
bool mainjob_write_report(State *s, Error *err);  /* mainjob_report.c */
bool mainjob_publish(State *s, Error *err);       /* mainjob_publish.c: sign, register */
