/* judge.h: a saved model put to the test: what it answers, and how well it predicts text.
 * The engine is the one that serves, loaded from the folder that is served. */
#pragma once
#include "data/dataset.h"
#include "infer/engine.h"

/* The labelled records of one split, in dataset order. */
typedef struct {
    size_t count;
    size_t *record;      /* [count] position in dataset->records */
    uint32_t *actual;    /* [count] label index */
    uint32_t *predicted; /* [count] the most probable label */
    float *probability;  /* [count][labels] */
    double seconds;
} Judged;
void judged_done(Judged *judged);

/* weights: as EngineOptions.weights. */
bool judge_labels(Judged *out, const Dataset *dataset, Split split, const char *model_folder,
                  const char *weights, uint32_t threads, Error *err) MUST_CHECK;

/* Answers the first user message of up to `count` test records greedily; texts live in `arena`. */
typedef struct {
    const char *prompt, *output, *reference;
} JudgedAnswer;
bool judge_answers(JudgedAnswer *out, uint32_t *count, Arena *arena, const Dataset *dataset,
                   const char *model_folder, uint32_t threads, Error *err) MUST_CHECK;
