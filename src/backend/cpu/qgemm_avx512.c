/* qgemm_avx512.c: the AVX-512 row of qgemm's table. Per 32 k and row 8 VPDPBUSD and 3 operations in
 * f32; 8 rows share the loads of the weights and their taking apart. */
#include "backend/cpu/qgemm_simd_avx512.h"

#include "backend/cpu/qgemm_body.h"

static bool avx512_supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

const QgemmIsa qgemm_isa_avx512 = {
    .name = "avx512",
    .supported = avx512_supported,
    .rows = QGEMM_PASS,
    .quantise = quantise,
    .pass = PASSES,
};
