/* vec.h: the other kernels of the cpu backend, as plain functions over row-major f32.
 *
 * Shapes: T tokens, D model width, H heads, K kv heads, E head width, F feed-forward width,
 * V vocabulary. Every function divides its work into tasks that depend on shapes alone, so bits do
 * not depend on the thread count; a token's result does not depend on its neighbours. Reductions
 * over tokens (gradients of shared vectors) use a fixed tree. Nothing allocates: where scratch is
 * taken, the matching *_scratch function says how many bytes (64-byte aligned).
 * y may be the same memory as x only where a contract says "in place".
 * Limits (asserted, callers check them first): E up to 1024, even for vec_rope; up to 2^24 - 1
 * tokens in a row or positions in a cache. Exponentials below 2^-125 count as 0.
 */
#pragma once
#include "base/pool.h"

/* y[t,:] = table[id[t],:]. table[V,D], id[T] in [0,V). */
void vec_embed(Pool *pool, float *y, const float *table, const int32_t *id, uint32_t t, uint32_t d);
/* dtable[id[t],:] += dy[t,:]; order of additions for one row is t ascending. scratch: none. */
void vec_embed_back(Pool *pool, float *dtable, const float *dy, const int32_t *id, uint32_t t,
                    uint32_t d, uint32_t v);

/* y[t,d] = x[t,d] * w[d] / sqrt(mean_d x[t,d]^2 + eps) */
void vec_rms_norm(Pool *pool, float *y, const float *x, const float *w, float eps, uint32_t t,
                  uint32_t d);
/* dx[t,d] (overwritten; in place over dy allowed), dw[d] += ... */
size_t vec_rms_norm_back_scratch(uint32_t t, uint32_t d);
void vec_rms_norm_back(Pool *pool, void *scratch, float *dx, float *dw, const float *x,
                       const float *w, const float *dy, float eps, uint32_t t, uint32_t d);

/* Rotary embedding, half-split layout (Hugging Face's rotate_half), in place over x[T, heads*E]:
 * pairs (i, i + E/2) turn by pos[t] * theta^(-2i/E). inverse turns back (the gradient). */
void vec_rope(Pool *pool, float *x, const int32_t *pos, float theta, bool inverse, uint32_t t,
              uint32_t heads, uint32_t e);

/* The same with frequencies of the pairs, turn[E/2]: pair i turns by the f32 product pos[t] turn[i]. */
void vec_rope_table(Pool *pool, float *x, const int32_t *pos, const float *turn, bool inverse,
                    uint32_t t, uint32_t heads, uint32_t e);
/* y[t,:] = x[t,:] (1 + beta log(1 + floor(pos[t] / original))); y may be x. */
void vec_position_scale(Pool *pool, float *y, const float *x, const int32_t *pos, float beta,
                        uint32_t original, uint32_t t, uint32_t d);

/* y[t,d] = x[t,d] + b[d]; y may be x. */
void vec_bias(Pool *pool, float *y, const float *x, const float *b, uint32_t t, uint32_t d);
/* db[d] += sum over t of dy[t,d]: blocks of 32 rows, then blocks in order. */
void vec_bias_back(Pool *pool, float *db, const float *dy, uint32_t t, uint32_t d);

/* The C largest of logits[T,N], largest first, the lower number first among equals: choice[T,C];
 * their shares of the softmax over the C, or over all N, weight[T,C]. */
typedef struct {
    uint32_t t, experts, chosen;
    bool renormalise;
} VecRoute;
void vec_route(Pool *pool, float *weight, int32_t *choice, const float *logits, VecRoute route);
void vec_route_back(Pool *pool, float *dlogits, const float *logits, const float *weight,
                    const int32_t *choice, const float *dweight, VecRoute route);
/* y[t,:] = sum[t,:] (NULL: 0) + sum over c, ascending, of weight[t,c] z[t C + c,:]; y may be sum. */
void vec_expert_sum(Pool *pool, float *y, const float *weight, const float *z, const float *sum,
                    uint32_t t, uint32_t chosen, uint32_t d);
void vec_expert_sum_back(Pool *pool, float *dz, float *dweight, const float *weight, const float *z,
                         const float *dy, uint32_t t, uint32_t chosen, uint32_t d);

/* y = silu(g) * u, elementwise over T*F; silu(g) = g / (1 + exp(-g)). y may be g or u in place. */
void vec_swiglu(Pool *pool, float *y, const float *g, const float *u, size_t count);
/* dg, du from dy; dg may be dy in place, du must be other memory (dg may also be g's memory). */
void vec_swiglu_back(Pool *pool, float *dg, float *du, const float *g, const float *u,
                     const float *dy, size_t count);

/* In place is fine for these three. */
void vec_add(Pool *pool, float *y, const float *a, const float *b, size_t count);
void vec_mul(Pool *pool, float *y, const float *a, const float *b, size_t count);
void vec_scale(Pool *pool, float *y, const float *x, float factor, size_t count);

/* Causal, block-diagonal, grouped attention over one packed row of T tokens.
 *   q[T,H*E], k[T,K*E], v[T,K*E]; head h reads kv head h / (H/K); token t attends to tokens
 *   [start[t], t]; scores are q.k * scale; start[t] <= t is non-decreasing (start of the token's
 *   document, or the edge of a sliding window).
 *   y[T,H*E]; lse[T,H] = log sum exp of the scores (kept for the backward pass).
 * Flash style: no T x T memory; tiles of keys outside every [start, t] of a tile of queries are
 * skipped. A document's bits (y, lse and gradients) do not depend on where in the row it lies nor
 * on the other documents, as long as all inputs are finite. */
size_t vec_attention_scratch(uint32_t threads, uint32_t e);
void vec_attention(Pool *pool, void *scratch, float *y, float *lse, const float *q, const float *k,
                   const float *v, const int32_t *start, float scale, uint32_t t, uint32_t heads,
                   uint32_t kv_heads, uint32_t e);
/* dq, dk, dv (overwritten). A kv head's gradient sums its query heads in ascending order. */
size_t vec_attention_back_scratch(uint32_t threads, uint32_t t, uint32_t heads, uint32_t e);
void vec_attention_back(Pool *pool, void *scratch, float *dq, float *dk, float *dv, const float *q,
                        const float *k, const float *v, const float *y, const float *lse,
                        const float *dy, const int32_t *start, float scale, uint32_t t,
                        uint32_t heads, uint32_t kv_heads, uint32_t e);

/* Attention of new tokens over cached keys and values, for prefill and decode alike.
 * kcache, vcache [rows, K*E]: row of position p of sequence s is pages[s*pages_max + p/page]*page +
 * p%page. Token t belongs to sequence seq[t] at position pos[t] and attends to positions
 * [max(0, pos[t]-window+1), pos[t]] (window 0: all); its own key and value are in the cache
 * already. A token's bits do not depend on the other tokens of the call; cached rows after the last
 * position asked of a sequence are not read. */
typedef struct {
    const int32_t *seq, *pos, *pages;
    uint32_t pages_max, page, window;
} VecPaging;
size_t vec_attention_cached_scratch(uint32_t threads, uint32_t t, uint32_t heads, uint32_t e);
void vec_attention_cached(Pool *pool, void *scratch, float *y, const float *q, const float *kcache,
                          const float *vcache, VecPaging paging, float scale, uint32_t t,
                          uint32_t heads, uint32_t kv_heads, uint32_t e);

/* Softmax cross-entropy on rows of logits, in place.
 * logits[R,V] with row stride ld; target[R] in [0,V). loss[r] = lse - logit[target] (double);
 * when `gradient`, logits become (softmax - onehot(target)) * factor. */
void vec_xent_rows(Pool *pool, float *logits, size_t ld, const int32_t *target, double *loss,
                   bool gradient, float factor, uint32_t rows, uint32_t v);

/* Sum of squares of x in double, by a fixed tree (blocks of 4096, then blocks in order). */
double vec_sum_squares(Pool *pool, const float *x, size_t count);

/* AdamW (Loshchilov & Hutter, decoupled weight decay) over a flat run of parameters:
 *   g = gradient * gradient_scale; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
 *   p -= rate * ( m / (1-b1^step) / (sqrt(v / (1-b2^step)) + eps) + decay p );  gradient is zeroed
 * after use when `clear`. */
typedef struct {
    float rate, beta1, beta2, eps, decay, gradient_scale;
    uint64_t step; /* 1 for the first update */
    bool clear;
} VecAdam;
void vec_adamw(Pool *pool, float *p, float *g, float *m, float *v, VecAdam options, size_t count);

/* Name of the instruction set in use, and a switch for tests, as in gemm.h. */
const char *vec_isa_name(void);
bool vec_isa_use(const char *name);
