/* vec_reference.h: the kernels of vec.h once more, in plain double loops, and helpers of their
 * tests. Tests only. Gradients here are themselves checked against finite differences.
 */
#pragma once
#include "backend/cpu/vec.h"
#include "base/test.h"

/* Every instruction set of this machine: `for (i = 0; (name = isa_at(i)); i++)`; isa_at puts the
 * set in use. */
const char *isa_at(uint32_t i);

/* Memory for count floats that is 64-byte aligned and full of NaN; release with mem_free. */
float *floats_poisoned(size_t count);
/* Normal numbers times `size`, a function of seed. */
float *floats_random(uint64_t seed, size_t count, double size);
/* Scratch full of NaN. */
void *bytes_poisoned(size_t bytes);
float *floats_copy(const float *x, size_t count);
double *doubles_of(const float *x, size_t count);
Pool *pool_of(uint32_t threads);

/* Fails unless |got - want| <= bound * max(1, |want|) everywhere. */
void check_close(const char *what, const float *got, const double *want, size_t count,
                 double bound);
void check_same(const char *what, const float *a, const float *b, size_t count); /* bits */

typedef struct {
    uint32_t t, heads, kv_heads, e;
    double scale;
    const int32_t *start;
} RefShape;

/* y[T,H*E] and lse[T,H] (may be NULL). */
void ref_attention(RefShape shape, double *y, double *lse, const double *q, const double *k,
                   const double *v);
void ref_attention_back(RefShape shape, double *dq, double *dk, double *dv, const double *q,
                        const double *k, const double *v, const double *dy);
