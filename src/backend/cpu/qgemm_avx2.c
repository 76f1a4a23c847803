/* qgemm_avx2.c: the row "avx2" of qgemm's table; see qgemm_simd_avx2.h. */
#include "backend/cpu/qgemm_simd_avx2.h"

#include "backend/cpu/qgemm_body.h"

static bool avx2_supported(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); /* so F16C too */
}

const QgemmIsa qgemm_isa_avx2 = {
    .name = "avx2",
    .supported = avx2_supported,
    .rows = QGEMM_PASS,
    .quantise = quantise,
    .pass = PASSES,
};
