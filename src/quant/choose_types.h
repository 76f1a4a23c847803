/* choose_types.h: which tensor is stored in which type: one type for all, or the best mixture for a size.
 *
 *     choice_new      lists the tensors of a model, with what calibration says of their columns
 *     choice_uniform  one type for every matrix, with the exceptions below
 *     choice_measure  quantises every matrix in every candidate type and sums the errors
 *     choice_fit      the mixture of least error within so many bytes (choose_budget.h)
 *     choice_round    the weights as they come back from the types chosen, for evaluation
 *
 * The error of a tensor in a type is, with calibration, the predicted divergence of calibrate.h in
 * nats per token: comparable between tensors, so a budget goes where it helps. Without, it is the
 * squared error over the squares of the weights: every matrix is taken to matter alike whatever its
 * size, but for the head, which counts four times.
 *
 * Exceptions of a uniform type: vectors stay f32; a matrix whose rows are not whole blocks takes
 * the next larger type with blocks of 32, or f16; the head (and an embedding that is one) is at
 * least q6_k, since its errors reach the answer undamped.
 *
 * Deterministic: the same input gives the same choice, whatever the threads. Errors: ERR_INPUT
 * (a weight that is not finite or that no candidate can hold; a budget too small), ERR_MEMORY.
 */
#pragma once
#include "quant/calibrate.h"
#include "tensor/block.h"

typedef struct {
    const ParamInfo *param; /* the model's */
    const CalibrationMatrix *calibration; /* NULL: not known */
    float *importance;      /* [columns]; NULL: all alike */
    bool head;              /* gives logits */
    DType type;             /* chosen */
    double error[DT_COUNT]; /* measured; infinite: not measured, or not possible */
} ChoiceTensor;

typedef struct {
    const Model *model;
    ChoiceTensor *tensors; /* in the model's order */
    uint32_t count;
    bool calibrated;
    double error, bound; /* of the fit: predicted, and the least that could be */
    bool exact;
} Choice;

/* model and calibration (NULL: none) must outlive the choice. Every type is f32 at first. */
bool choice_new(Choice **out, const Model *model, const Calibration *calibration,
                Error *err) MUST_CHECK;
void choice_free(Choice *choice); /* NULL is a no-op */
const ChoiceTensor *choice_find(const Choice *choice, const char *name); /* NULL: absent */

bool choice_possible(const ChoiceTensor *tensor, DType type); /* whole blocks, or a vector as f32 */
void choice_uniform(Choice *choice, DType type);

/* Bytes of the tensors in the types chosen, each padded as in a GGUF file. */
uint64_t choice_bytes(const Choice *choice);

/* Fills error[] of the candidates. `exactly` false: of large matrices every fourth row is taken.
 * `every` false: types with blocks of 32 and up to 6 bits are left out where those of 256, which are
 * better at the same size, are possible. */
typedef struct {
    uint32_t threads; /* 0: all */
    bool exactly, every;
    void (*progress)(void *user, uint32_t done, uint32_t tensors); /* NULL: none */
    void *user;
} ChoiceMeasure;
bool choice_measure(Choice *choice, const ChoiceMeasure *options, Error *err) MUST_CHECK;

/* After choice_measure. `budget`: choice_bytes at most. */
bool choice_fit(Choice *choice, uint64_t budget, Error *err) MUST_CHECK;

/* to->slab[...]: what the model's weights become. `to` has the model's layout and may not be it. */
bool choice_round(const Choice *choice, uint32_t threads, Weights *to, Error *err) MUST_CHECK;
