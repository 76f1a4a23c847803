/* vec_avx512.c: the kernels of vec_kernels.h over AVX-512. */
#include "backend/cpu/vec_kernels.h"

#include "backend/cpu/vec_simd_avx512.h"

#include "backend/cpu/vec_body.h"
