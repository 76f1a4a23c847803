/* vec_neon.c: the kernels of vec_kernels.h over AArch64 Advanced SIMD. */
#include "backend/cpu/vec_kernels.h"

#include "backend/cpu/vec_simd_neon.h"

#include "backend/cpu/vec_body.h"
