/* sampler_sum_portable.c: the kernels of sampler_row.h, see sampler_sum_body.h. */
#include "infer/sampler_sum_body.h"

const RowKernels row_kernels_portable = {"portable", kernel_maxima, kernel_sums};
