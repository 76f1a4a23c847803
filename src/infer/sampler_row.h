/* sampler_row.h: a row of logits in blocks of 128, some of them changed. Private to infer/.
 *
 * The model's row is only read: a block in which a value changes is copied first. Each block's
 * maximum is kept, so that the best values are found without looking at most blocks. Sums have the
 * same bits on every instruction set. Threads: one.
 */
#pragma once
#include "base/error.h"

#include <stdint.h>

enum { ROW_BLOCK = 128, ROW_LANES = 8 };

/* What each instruction set has its own copy of (sampler_sum_*.c). */
typedef struct {
    const char *name;
    /* Of each 128 values in turn the largest; NaN is passed over, -infinity if there is none. */
    void (*maxima)(const float *x, uint32_t count, float *maxima);
    /* With y = (x - most) * scale: lanes[i % 8] += exp(y); moments likewise exp(y) * y when not
     * NULL. NaN and y below -708 count as -708. */
    void (*sums)(const float *x, uint32_t count, double most, double scale,
                 double lanes[ROW_LANES], double moments[ROW_LANES]); /* count <= ROW_BLOCK */
} RowKernels;
extern const RowKernels row_kernels_portable, row_kernels_avx2, row_kernels_avx512;
const RowKernels *row_kernels(void);     /* the best that runs here */
bool row_kernels_use(const char *name); /* tests; false: not here */

typedef struct {
    uint32_t vocab, blocks, changed_count;
    const float **block; /* [blocks]: where its values are now */
    float *maxima;       /* [blocks] */
    float *copy;         /* [vocab]: changed blocks */
    uint32_t *changed;   /* [blocks]: their numbers, in order of change */
    bool *is_changed;    /* [blocks] */
} SamplerRow;

bool row_init(SamplerRow *row, uint32_t vocab); /* false: no memory; row_done all the same */
void row_done(SamplerRow *row);

void row_begin(SamplerRow *row, const float *logits); /* [vocab]; kept until the next begin */
float row_get(const SamplerRow *row, uint32_t id);
void row_set(SamplerRow *row, uint32_t id, float value);
void row_restrict(SamplerRow *row, const uint64_t *allowed); /* others become -infinity */
void row_settle(SamplerRow *row); /* after changes: maxima of the changed blocks */

/* As the sampler sees a value: +infinity is FLT_MAX, -0 is 0. NaN stays and compares false. */
float row_seen(float value);
uint32_t row_size(const SamplerRow *row, uint32_t block); /* values in a block */
float row_most(const SamplerRow *row);                    /* -infinity: nothing can be taken */
uint32_t row_best(const SamplerRow *row);                 /* lowest id of the largest */

typedef struct {
    double log_sum; /* log of sum of exp((x - most) * scale), most being row_most */
    double entropy; /* of the softmax of x * scale, when asked for */
} RowSums;
RowSums row_sums(const SamplerRow *row, double scale, bool entropy);
