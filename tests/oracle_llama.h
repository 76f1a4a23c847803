/* oracle_llama.h: the Llama block written out once more, forward and backward, in double, by hand.
 *
 * It shares nothing with the graph, its gradients or its kernels, so that both being wrong in the
 * same way is unlikely: tests/oracle_test.c holds the trainer to it, and it to finite differences.
 * Weights are one run of doubles; oracle_part says where each of Hugging Face's names lies.
 * T tokens, D width, H heads, K kv heads, E head width, F feed-forward width, V vocabulary.
 */
#pragma once
#include "model/model.h"

typedef struct {
    uint32_t tokens;
    const int32_t *ids, *pos, *start, *target; /* [T] as in trainer.h's TrainBatch */
} OracleRow;

typedef struct {
    char name[96];
    uint64_t offset, count;
} OraclePart;

/* Part `index`, or false behind the last. The parts follow each other from offset 0. */
bool oracle_part(const ModelConfig *config, uint32_t index, OraclePart *out);

/* Sum of the losses of the row's targets; its gradient is added to `gradients` unless NULL. */
double oracle_llama(const ModelConfig *config, const OracleRow *row, const double *weights,
                    double *gradients);
