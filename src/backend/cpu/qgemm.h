/* qgemm.h: products with weights that stay in the few bits of their file: int8 arithmetic.
 *
 *     C[M,N] = A[M,K] x W^T (+ C when accumulate)
 *
 * A and C are f32, row-major, rows lda and ldc apart. W has N rows of K weights in ggml's blocks
 * (tensor/block.h): q8_0, q4_0 (K a multiple of 32), q4_k, q5_k, q6_k (of 256). It is repacked once
 * at load; the packed form has as many bytes (q6_k 1 % more; N up to a multiple of 16, K of 64) and
 * is the same on every machine.
 *
 * The contract on bits. C[i,j] is this formula of row i of A, row j of W and the old C[i,j], and of
 * nothing else: not of M, N, the threads, the neighbours, nor of the instruction set. Decoding one
 * token gives the bits of prefill, and one machine those of another.
 *
 *   1. Row i is cut into blocks of 32 (q8_0, q4_0) or 256 (the others). For a block with the largest
 *      magnitude x:    a = x / 127,    q[k] = A[i,k] * (127 / x) to the nearest whole number, ties to
 *      even; in f32. x < 2^-119 counts as 0: a = 0, q = 0. When x is infinite or not a number, a is
 *      not a number and q = 0.
 *   2. Blocks in ascending order, chain begun at +0, d and e the block's scales as f32:
 *        q8_0, q4_0:   chain = fma((float)S * d, a, chain)
 *        q6_k:         chain = fma((float)S * d, a, chain)
 *        q4_k, q5_k:   chain = fma(fma((float)S, d, -((float)T * e)), a, chain)
 *      with whole numbers, exact in 32 bits:
 *        S = sum of s v q over the block, s the whole scale of k's part (1 for blocks of 32), v the
 *            weight's whole number (code - 8 for q4_0, code - 32 for q6_k)
 *        T = sum of m q, m the whole minimum of k's part
 *   3. C = chain, or C = C + chain when accumulating.
 *
 * Hence a row of A that holds something infinite or undefined gives not-a-number in all of its row
 * of C, and so does a weight block with such a scale in its column, unless f32 arithmetic leaves it
 * infinite. All bytes are legal weights. Not-a-numbers are equal up to sign and payload.
 * The error against the product with dequantised weights is that of step 1: at most a / 2 for each
 * element of A, and f32 rounding.
 *
 * K = 0 sets C to zero, or leaves it when accumulating. C is never read unless accumulating.
 * Nothing here allocates. `scratch` is the caller's, qgemm_scratch_bytes, 64-byte aligned, its content
 * of no matter. C may not overlap A or the packed weights.
 * Threads: calls on different pools, with different scratch, may run at once.
 */
#pragma once
#include "base/pool.h"
#include "tensor/dtype.h"

bool qgemm_takes(DType type);

/* `packed` is best 64-byte aligned, in huge pages (mem_alloc_aligned). */
size_t qgemm_packed_bytes(DType type, uint32_t n, uint32_t k);
/* rows: N rows of K weights in blocks. pool NULL: on the calling thread. */
void qgemm_pack(Pool *pool, DType type, void *packed, const void *rows, uint32_t n, uint32_t k);

/* Enough for every call with at most so many threads, rows of A, and K. */
size_t qgemm_scratch_bytes(uint32_t threads, uint32_t m_max, uint32_t k_max);
void qgemm(Pool *pool, void *scratch, DType type, bool accumulate, uint32_t m, uint32_t n, uint32_t k,
           const float *a, size_t lda, const void *packed, float *c, size_t ldc);

/* ---- instruction sets: "amx", "avx512", "avxvnni", "avx2", "neon", "portable", best first ---- */

const char *qgemm_isa_name(void);           /* the one in use; at first the best */
const char *qgemm_isa_at(uint32_t index);   /* those this processor runs, best first; then NULL */
bool qgemm_isa_use(const char *name);       /* false: this processor lacks it */
