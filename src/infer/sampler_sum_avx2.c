/* sampler_sum_avx2.c: the kernels of sampler_row.h, see sampler_sum_body.h. */
#include "infer/sampler_sum_body.h"

const RowKernels row_kernels_avx2 = {"avx2", kernel_maxima, kernel_sums};
