/* vec_body.h: the kernels of one instruction set and their table; included once by each
 * vec_<set>.c after its primitives. */
#include <assert.h>
#include <string.h>

#include "backend/cpu/vec_body_tile.h"

#include "backend/cpu/vec_body_rows.h"

#include "backend/cpu/vec_body_attention.h"
#include "backend/cpu/vec_body_back.h"

const VecKernels VEC_KERNELS = {
    .name = VEC_ISA_NAME,
    .add = flat_add,
    .mul = flat_mul,
    .scale = flat_scale,
    .swiglu = flat_swiglu,
    .swiglu_back = flat_swiglu_back,
    .rms_norm = rows_rms_norm,
    .rms_norm_back = rows_rms_norm_back,
    .rope = rows_rope,
    .xent = row_xent,
    .sum_squares = flat_sum_squares,
    .adamw = flat_adamw,
    .attention = tile_attention,
    .attention_back = tile_attention_back,
    .pack_rows = pack_rows,
    .cached = tile_cached,
    .merge = partial_merge,
    .finish = partial_finish,
};
