/* sampler_sum_avx512.c: the kernels of sampler_row.h, see sampler_sum_body.h. */
#include "infer/sampler_sum_body.h"

const RowKernels row_kernels_avx512 = {"avx512", kernel_maxima, kernel_sums};
