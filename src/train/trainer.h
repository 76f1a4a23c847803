/* trainer.h: one optimiser step at a time on a model in memory.
 *
 * A trainer records the model's graph for rows of T packed tokens, appends the gradient, plans all
 * memory, and then steps: for each row of a batch forward and backward, gradients summed; the norm
 * clipped; AdamW. The loss is the sum over trained targets divided by their number in the whole
 * batch, so a batch of 8 rows equals two of 4 accumulated. Nothing allocates in a step.
 * Bits depend on weights, batches and rates alone: not on threads.
 * The model must outlive the trainer, which updates model->weights in place (or, with LoRA, its
 * own adapter). Threads: one drives a trainer.
 */
#pragma once
#include "format/safetensors.h"
#include "model/model.h"

/* Of matrix products; see backend/cpu/gemm.h. "high" is faster on processors with a bf16 matrix
 * unit (an error of 4.6e-5 a product at the worst) and means "full" on all others. */
typedef enum { PRECISION_FULL, PRECISION_HIGH } Precision;
extern const char *const precision_names[]; /* by Precision, NULL-terminated */
extern const char *const recompute_names[]; /* by Recompute, likewise */

typedef struct {
    uint32_t row_tokens;          /* T: tokens of one row */
    uint32_t threads;             /* 0: all */
    const char *backend;          /* NULL: "cpu" */
    Precision precision;          /* HIGH holds for the whole process from trainer_new on */
    Recompute recompute;          /* AUTO: the first that keeps activations within 768 MiB */
    uint32_t lora_rank;           /* 0: train every weight */
    float lora_alpha;
    const char *lora_targets;     /* e.g. "q_proj,v_proj" */
    float beta1, beta2, eps, decay; /* AdamW; decay on matrices only */
    float clip;                   /* largest norm of the gradient; 0: no clipping */
    uint64_t seed;                /* of adapter weights */
} TrainerOptions;

/* R rows of T tokens, packed by packing.h: [R*T] each. */
typedef struct {
    uint32_t rows, row_tokens;
    const int32_t *ids, *pos, *start, *target;
    uint64_t targets; /* entries of target that are >= 0 */
} TrainBatch;

typedef struct {
    double loss;  /* mean over trained targets, before the update */
    double norm;  /* of the gradient, before clipping */
} TrainStep;

typedef struct {
    uint64_t weights, gradients, optimiser, activations, total; /* bytes */
    uint64_t trainable;    /* parameters */
    Recompute recompute;   /* what AUTO has become */
    double flops_token, flops_target; /* both passes: the matrices per token, the head per target */
} TrainerMemory;

typedef struct Trainer Trainer;

/* What a trainer would need, without allocating it. */
bool trainer_plan(const Family *family, const ModelConfig *config, const TrainerOptions *options,
                  TrainerMemory *out, Error *err) MUST_CHECK;

bool trainer_new(Trainer **out, Model *model, const TrainerOptions *options, Error *err) MUST_CHECK;
void trainer_free(Trainer *trainer); /* NULL is a no-op */
const TrainerMemory *trainer_memory(const Trainer *trainer);

/* One update. Errors: ERR_DIVERGED when loss or norm is not finite (weights untouched). */
bool trainer_step(Trainer *trainer, const TrainBatch *batch, double rate, TrainStep *out,
                  Error *err) MUST_CHECK;

/* Sum of the losses of all trained targets, no update. */
bool trainer_loss(Trainer *trainer, const TrainBatch *batch, double *sum, Error *err) MUST_CHECK;

/* The state a checkpoint holds, as named runs of f32 in the trainer's own memory: for every
 * trainable parameter its weights ("w:NAME"), and "adam.m", "adam.v". tensors[i].data may be
 * written to when restoring. steps counts updates done; set it when restoring. */
uint32_t trainer_blobs(Trainer *trainer, StTensor *tensors, uint32_t room);
uint64_t trainer_steps(const Trainer *trainer);
void trainer_set_steps(Trainer *trainer, uint64_t steps);

/* LoRA: adds the adapter into the model's weights (W += alpha / rank * B A) and clears it. */
void trainer_merge(Trainer *trainer);

/* The gradient of a parameter after the last trainer_gradients call; tests only. */
bool trainer_gradients(Trainer *trainer, const TrainBatch *batch, double *sum,
                       Error *err) MUST_CHECK;
const float *trainer_gradient(const Trainer *trainer, const char *name);
