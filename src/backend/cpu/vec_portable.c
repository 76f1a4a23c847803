/* vec_portable.c: the kernels of vec_kernels.h over plain C. */
#include "backend/cpu/vec_kernels.h"

#include "backend/cpu/vec_simd_portable.h"

#include "backend/cpu/vec_body.h"
