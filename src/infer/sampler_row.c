/* sampler_row.c: see sampler_row.h. */
#include "infer/sampler_row.h"

#include "base/mem.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

/* ---- instruction sets ---- */

typedef struct {
    const RowKernels *kernels;
    bool (*runs_here)(void);
} KernelSet;

static bool always(void)
{
    return true;
}

#if defined(__x86_64__)
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}
#endif

/* Best first. */
static const KernelSet sets[] = {
#if defined(__x86_64__)
    {&row_kernels_avx512, has_avx512},
    {&row_kernels_avx2, has_avx2},
#endif
    {&row_kernels_portable, always},
};

static _Atomic(const RowKernels *) in_use;

const RowKernels *row_kernels(void)
{
    const RowKernels *kernels = atomic_load_explicit(&in_use, memory_order_acquire);
    for (size_t i = 0; !kernels; i++) {
        if (sets[i].runs_here()) {
            kernels = sets[i].kernels;
            atomic_store_explicit(&in_use, kernels, memory_order_release);
        }
    }
    return kernels;
}

bool row_kernels_use(const char *name)
{
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (strcmp(sets[i].kernels->name, name) == 0 && sets[i].runs_here()) {
            atomic_store_explicit(&in_use, sets[i].kernels, memory_order_release);
            return true;
        }
    }
    return false;
}

/* ---- the row ---- */

bool row_init(SamplerRow *row, uint32_t vocab)
{
    *row = (SamplerRow){.vocab = vocab, .blocks = (vocab + ROW_BLOCK - 1) / ROW_BLOCK};
    row->block = mem_alloc(row->blocks, sizeof *row->block);
    row->maxima = mem_alloc(row->blocks, sizeof *row->maxima);
    row->copy = mem_alloc(vocab, sizeof *row->copy);
    row->changed = mem_alloc(row->blocks, sizeof *row->changed);
    row->is_changed = mem_alloc(row->blocks, sizeof *row->is_changed);
    return row->block && row->maxima && row->copy && row->changed && row->is_changed;
}

void row_done(SamplerRow *row)
{
    mem_free(row->block);
    mem_free(row->maxima);
    mem_free(row->copy);
    mem_free(row->changed);
    mem_free(row->is_changed);
}

uint32_t row_size(const SamplerRow *row, uint32_t block)
{
    uint32_t left = row->vocab - block * ROW_BLOCK;
    return left < ROW_BLOCK ? left : ROW_BLOCK;
}

float row_seen(float value)
{
    return (value > FLT_MAX ? FLT_MAX : value) + 0.0f;
}

void row_begin(SamplerRow *row, const float *logits)
{
    for (uint32_t i = 0; i < row->changed_count; i++)
        row->is_changed[row->changed[i]] = false;
    row->changed_count = 0;
    for (uint32_t b = 0; b < row->blocks; b++)
        row->block[b] = logits + (size_t)b * ROW_BLOCK;
    row_kernels()->maxima(logits, row->vocab, row->maxima);
}

float row_get(const SamplerRow *row, uint32_t id)
{
    return row_seen(row->block[id / ROW_BLOCK][id % ROW_BLOCK]);
}

static float *own(SamplerRow *row, uint32_t b)
{
    float *copy = row->copy + (size_t)b * ROW_BLOCK;
    if (!row->is_changed[b]) {
        memcpy(copy, row->block[b], row_size(row, b) * sizeof *copy);
        row->block[b] = copy;
        row->is_changed[b] = true;
        row->changed[row->changed_count++] = b;
    }
    return copy;
}

void row_set(SamplerRow *row, uint32_t id, float value)
{
    own(row, id / ROW_BLOCK)[id % ROW_BLOCK] = value;
}

void row_restrict(SamplerRow *row, const uint64_t *allowed)
{
    for (uint32_t b = 0; b < row->blocks; b++) {
        uint32_t size = row_size(row, b);
        float *values = own(row, b);
        for (uint32_t i = 0; i < size; i++) {
            uint32_t id = b * ROW_BLOCK + i;
            values[i] = allowed[id / 64] >> (id % 64) & 1 ? values[i] : -INFINITY;
        }
    }
}

void row_settle(SamplerRow *row)
{
    for (uint32_t i = 0; i < row->changed_count; i++) {
        uint32_t b = row->changed[i];
        row_kernels()->maxima(row->block[b], row_size(row, b), &row->maxima[b]);
    }
}

float row_most(const SamplerRow *row)
{
    float most = -INFINITY;
    for (uint32_t b = 0; b < row->blocks; b++)
        most = row->maxima[b] > most ? row->maxima[b] : most;
    return row_seen(most);
}

uint32_t row_best(const SamplerRow *row)
{
    float most = row_most(row);
    uint32_t b = 0, i = 0;
    while (b + 1 < row->blocks && !(row_seen(row->maxima[b]) >= most))
        b++;
    while (i + 1 < row_size(row, b) && !(row_seen(row->block[b][i]) >= most))
        i++;
    return b * ROW_BLOCK + i;
}

/* With y = (x - most) * scale and s = sum of exp(y): log p = y - log s, so the entropy is
 * log s - sum of exp(y) y / s. */
RowSums row_sums(const SamplerRow *row, double scale, bool entropy)
{
    const RowKernels *kernels = row_kernels();
    double lanes[ROW_LANES] = {0}, moments[ROW_LANES] = {0}, sum = 0, moment = 0;
    double most = (double)row_most(row);
    for (uint32_t b = 0; b < row->blocks; b++)
        kernels->sums(row->block[b], row_size(row, b), most, scale, lanes,
                      entropy ? moments : NULL);
    for (int l = 0; l < ROW_LANES; l++) {
        sum += lanes[l];
        moment += moments[l];
    }
    return (RowSums){log(sum), log(sum) - moment / sum};
}
