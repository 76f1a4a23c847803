/* gemm.h: dense f32 (and Q8_0-weight) matrix products of the cpu backend.
 *
 *     C[M,N] = op(A)[M,K] x op(B)[K,N] (+ C when accumulate)
 *
 * All matrices are row-major; ld* is the distance between rows in elements. op(A) is A[M,K], or the
 * transpose of A[K,M] when transpose_a; op(B) is B[K,N], or the transpose of B[N,K].
 *
 * The contract on bits (everything else leans on it):
 *   - C[i,j] depends only on row i of op(A), column j of op(B), the old C[i,j] when accumulating,
 *     K, and the instruction set in use. It does not depend on M, N, the number of threads, the
 *     position of the row, the transposes, nor on which entry point below computed it (gemm,
 *     gemm_packed with any M, including M = 1).
 *   - The order of additions: K is cut into the fewest equal blocks of at most 512 (each but the
 *     last a multiple of 32; a function of K alone). s_b is the chain of multiply-adds over block
 *     b, k ascending, begun at +0. Then C = s_0 (or C + s_0 when accumulating), C = C + s_1, ...
 *     "avx512", "avx2" and "neon" fuse each multiply-add, and so agree with each other bit by bit;
 *     "portable" rounds the product first. "amx" adds up bf16 parts of the numbers on a matrix
 *     unit, as exactly as f32 does (2^-22 |a| |b| a product at the worst) and 1.8 times as fast as
 *     "avx512", in an order of its own; "amx_high" is less exact (4.6e-5, typically a tenth) and
 *     three times as fast. See gemm_amx.c. With both, Q8_0 weights are multiplied by "avx512".
 *   - K = 0 sets C to zero, or leaves it when accumulating. C is never read unless accumulating.
 * How the work is cut into pool tasks depends on shape and thread count; bits do not.
 * Nothing here allocates: `scratch` is the caller's, of gemm_scratch_bytes(threads) bytes, 64-byte
 * aligned, its content of no matter. C may not overlap A, B or packed weights.
 * Threads: calls on different pools, with different scratch, may run at once.
 */
#pragma once
#include "base/pool.h"

typedef struct {
    bool transpose_a, transpose_b, accumulate;
} GemmFlags;

/* Bytes of scratch that any gemm call needs with this many threads (a fixed, shape-free number). */
size_t gemm_scratch_bytes(uint32_t threads);

void gemm(Pool *pool, void *scratch, GemmFlags flags, uint32_t m, uint32_t n, uint32_t k,
          const float *a, size_t lda, const float *b, size_t ldb, float *c, size_t ldc);

/* Weights repacked once at load, for inference: B^T = w[N,K] (one output per row). The packed form
 * is opaque, specific to the instruction set in use, streamable (a product with few rows reads it
 * front to back once). `packed` holds gemm_packed_bytes and is best 64-byte aligned. */
typedef enum { GEMM_F32, GEMM_Q8_0 } GemmType;
size_t gemm_packed_bytes(GemmType type, uint32_t n, uint32_t k);
void gemm_pack_f32(void *packed, const float *w, uint32_t n, uint32_t k);
/* w: N rows of K/32 blocks of { f16 scale, int8 q[32] } = 34 bytes (ggml's Q8_0); K % 32 == 0. */
void gemm_pack_q8_0(void *packed, const void *w, uint32_t n, uint32_t k);

/* C[M,N] = A[M,K] x W^T (+ C). For GEMM_Q8_0 each weight is used as (float)q * scale in f32. */
void gemm_packed(Pool *pool, void *scratch, GemmType type, bool accumulate, uint32_t m, uint32_t n,
                 uint32_t k, const float *a, size_t lda, const void *packed, float *c, size_t ldc);

/* ---- instruction sets ---- */

/* One row per instruction set: "amx", "avx512", "avx2", "amx_high", "neon", "portable", best first.
 * Tests and benches walk all. */
const char *gemm_isa_name(void);            /* the one in use; at first the best */
const char *gemm_isa_at(uint32_t index);    /* those this processor runs, best first; then NULL */
/* Before the first product of a process, or in tests; false: this processor lacks it. Packed
 * weights belong to the set in use when they were packed. */
bool gemm_isa_use(const char *name);
double gemm_isa_error(const char *name);    /* most error of a product over |a| |b|, sums aside */
