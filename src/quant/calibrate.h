/* calibrate.h: what a model's matrices see on real text, and how much their outputs matter.
 *
 * A change D of the weights W[rows, columns] moves the model's predictions by about
 *
 *     KL per token = 1/2 sum over i, j of row[i] column[j] D[i,j]^2
 *
 * where column[j] is the mean of x_j^2 over the inputs, and row[i] the mean of the squared gradient
 * of the loss by output i: the diagonal of the Fisher information, split as in K-FAC (Martens and
 * Grosse 2015). column alone is the importance matrix of llama.cpp. A matrix may be used twice (an
 * embedding that is the head too); its uses add up:
 *
 *     LINEAR  y = x W^T       column: x^2;                      row: squared gradient of y
 *     HEAD    logits = h W^T  column: h^2;                      row: mean of p (1 - p)
 *     EMBED   y = W[id]       column: squared gradient of y;    row: how often the id occurs
 *
 * Nothing in the model or the backends knows of this: the training graph is recorded as it is, the
 * inputs and gradients of its matrices are marked to be kept, and read after each run. The
 * gradient is that of the text as it stands; weights are frozen, so a pass costs twice a forward.
 *
 * Deterministic: the same model, ids and options give the same numbers, whatever the threads.
 * Errors: ERR_INPUT (too little text, an id beyond the vocabulary, gradients of a loss that is not
 * a number), ERR_MEMORY, those of base/fs.h and format/gguf.h. Threads: one per call.
 */
#pragma once
#include "model/model.h"

typedef enum { USE_LINEAR, USE_HEAD, USE_EMBED, USE_KINDS } CalibrationKind;

typedef struct {
    CalibrationKind kind;
    float *row;    /* [rows]; NULL: not known, all alike */
    float *column; /* [columns]; NULL: not known, all alike */
} CalibrationUse;

enum { CALIBRATION_USES_MAX = 2 };

typedef struct {
    char name[120]; /* the parameter's */
    uint32_t rows, columns, uses;
    CalibrationUse use[CALIBRATION_USES_MAX];
} CalibrationMatrix;

typedef struct {
    CalibrationMatrix *matrices; /* in order of first use */
    uint32_t count, row_tokens;
    uint64_t tokens; /* seen */
    bool gradients;  /* rows are known */
} Calibration;

typedef struct {
    uint32_t threads;    /* 0: all */
    uint32_t row_tokens; /* 0: 256, or the model's context if shorter; tokens read in one row */
    uint64_t tokens_max; /* 0: all of the text */
    bool gradients;      /* compute rows too: about twice the time */
    void (*progress)(void *user, uint64_t done, uint64_t tokens); /* NULL: none */
    void *user;
} CalibrateOptions;

/* Runs the model over ids[count], cut into rows of row_tokens; a remainder is left out. */
bool calibrate(Calibration **out, const Model *model, const int32_t *ids, uint64_t count,
               const CalibrateOptions *options, Error *err) MUST_CHECK;
void calibration_free(Calibration *calibration); /* NULL is a no-op */
const CalibrationMatrix *calibration_find(const Calibration *calibration, const char *name);

/* What the columns of a matrix weigh when its rows are quantised: the sum over its uses of column
 * times the mean of row. out[columns]; false: nothing is known, out is untouched. */
bool calibration_importance(const CalibrationMatrix *matrix, float *out);

/* ---- files: llama.cpp's form of importance matrices (GGUF, general.type "imatrix") ----
 *
 * For each matrix with a linear or head use, under its name in GGUF files ("blk.0.attn_q.weight"):
 * NAME.in_sum2 [1, columns] sums of squares and NAME.counts [1] the number of tokens. What
 * llama.cpp does not know, and passes over: NAME.out_mean2 [rows], and NAME.embed_rows,
 * NAME.embed_columns for an embedding. The file's names are turned by names.h. */
bool calibration_save(const Calibration *calibration, const char *path, const char *dataset,
                      Error *err) MUST_CHECK;
/* For this model: shapes must agree, matrices of which the file says nothing are left out. Reads
 * files of llama.cpp too. Values that are negative or not finite: ERR_FORMAT. */
bool calibration_load(Calibration **out, const Model *model, const char *path,
                      Error *err) MUST_CHECK;
