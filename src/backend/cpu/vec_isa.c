/* vec_isa.c: which instruction set the kernels of vec.h use, and how their scratch is laid out. */
#include "backend/cpu/vec_kernels.h"

#include <stdatomic.h>
#include <string.h>

typedef struct {
    const VecKernels *kernels;
    bool (*runs_here)(void);
} Isa;

static bool always(void) { return true; }

#if defined(__x86_64__)
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
}
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

/* Best first. */
static const Isa isas[] = {
#if defined(__x86_64__)
    {&vec_kernels_avx512, has_avx512},
    {&vec_kernels_avx2, has_avx2},
#elif defined(__aarch64__)
    {&vec_kernels_neon, always}, /* Advanced SIMD is part of AArch64 */
#endif
    {&vec_kernels_portable, always},
};

static _Atomic(const VecKernels *) in_use;

const VecKernels *vec_kernels(void)
{
    const VecKernels *kernels = atomic_load_explicit(&in_use, memory_order_acquire);
    for (size_t i = 0; !kernels; i++)
        if (isas[i].runs_here()) {
            kernels = isas[i].kernels;
            atomic_store_explicit(&in_use, kernels, memory_order_release);
        }
    return kernels;
}

const char *vec_isa_name(void)
{
    return vec_kernels()->name;
}

bool vec_isa_use(const char *name)
{
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
        if (!strcmp(isas[i].kernels->name, name) && isas[i].runs_here()) {
            atomic_store_explicit(&in_use, isas[i].kernels, memory_order_release);
            return true;
        }
    return false;
}

/* ---- scratch ---- */

typedef struct {
    char *block; /* NULL: only count */
    size_t used;
} Carver;

static float *carve(Carver *carver, size_t floats)
{
    float *piece = carver->block ? (float *)(void *)(carver->block + carver->used) : NULL;
    carver->used += (floats * sizeof(float) + 63) / 64 * 64;
    return piece;
}

size_t vec_lane_carve(VecLaneScratch *out, void *block, uint32_t e)
{
    size_t ep = vec_padded(e);
    Carver c = {block, 0};
    *out = (VecLaneScratch){
        .queries = carve(&c, (size_t)LANES * e),
        .sums = carve(&c, LANES * ep),
        .top = carve(&c, LANES),
        .weight = carve(&c, LANES),
        .keys = carve(&c, TILE * ep),
        .values = carve(&c, TILE * ep),
        .scores = carve(&c, TILE * TILE),
        .shrink = carve(&c, TILE),
    };
    return c.used;
}

size_t vec_back_carve(VecBackScratch *out, void *block, uint32_t e)
{
    size_t ep = vec_padded(e);
    Carver c = {block, 0};
    *out = (VecBackScratch){
        .queries_t = carve(&c, (size_t)TILE * e),
        .dy_t = carve(&c, (size_t)TILE * e),
        .queries = carve(&c, TILE * ep),
        .dy = carve(&c, TILE * ep),
        .dq = carve(&c, TILE * ep),
        .weights = carve(&c, TILE * TILE),
        .dscores = carve(&c, TILE * TILE),
        .lse = carve(&c, TILE),
        .delta = carve(&c, TILE),
    };
    return c.used;
}
