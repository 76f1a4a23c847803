/* qgemm_avxvnni.c: the row "avxvnni" of qgemm's table; see qgemm_simd_avx2.h. */
#include "backend/cpu/qgemm_simd_avx2.h"

#include "backend/cpu/qgemm_body.h"

#include <cpuid.h>

static bool avxvnni_supported(void)
{
    unsigned a, b, c, d;
    return qgemm_isa_avx2.supported() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}

const QgemmIsa qgemm_isa_avxvnni = {
    .name = "avxvnni",
    .supported = avxvnni_supported,
    .rows = QGEMM_PASS,
    .quantise = quantise,
    .pass = PASSES,
};
