/* vec_avx2.c: the kernels of vec_kernels.h over AVX2 and FMA. */
#include "backend/cpu/vec_kernels.h"

#include "backend/cpu/vec_simd_avx2.h"

#include "backend/cpu/vec_body.h"
