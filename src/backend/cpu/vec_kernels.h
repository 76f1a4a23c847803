/* vec_kernels.h: what the pool side of vec.h (vec_rows.c, vec_attention.c, vec_cached.c) asks of
 * an instruction set. Each set compiles the same bodies (vec_body*.h) over its own vector
 * primitives (vec_simd_*.h) and exports one VecKernels. Internal to the cpu backend.
 *
 * All functions are serial and work on the part of a call that one task owns; which part that is
 * depends on shapes alone. Sizes of scratch do not depend on the instruction set.
 */
#pragma once
#include "backend/cpu/vec.h"

enum {
    TILE = 48,  /* lanes (queries) and keys of one tile of attention: a multiple of STRIP and VW */
    STRIP = 6,  /* rows a micro-kernel holds in registers */
    PADDING = STRIP - 1, /* rows after the last that it may touch */
    LANES = 96, /* most lanes a forward task computes against one packed tile of keys */
    LANE_TILES = LANES / TILE,
    VEC_WIDTH_MAX = 16,  /* floats in the widest vector of all sets */
    VEC_E_MAX = 1024,    /* largest head width */
    VEC_SQUARES = 4096,  /* block of vec_sum_squares */
    VEC_CHUNKS = 16      /* most pieces that attention_cached cuts a context into */
};
#define VEC_POSITION_MAX 16777215 /* positions are compared as floats */

/* Rows of attention tiles are padded to whole vectors of every set. */
static inline size_t vec_padded(uint32_t e)
{
    return ((size_t)e + VEC_WIDTH_MAX - 1) / VEC_WIDTH_MAX * VEC_WIDTH_MAX;
}

/* Rotary embedding of some tokens; turns[i] = theta^(-2i/E) / (2 pi). */
typedef struct {
    float *x;
    const int32_t *pos;
    const double *turns;
    uint32_t heads, e;
    bool inverse;
} VecRope;

/* AdamW's options with what depends on the step worked out. */
typedef struct {
    float beta1, beta2, rest1, rest2; /* rest: 1 - beta */
    float unbias1, unbias2;           /* 1 / (1 - beta^step) */
    float rate, eps, decay, gradient_scale;
    bool clear;
} VecAdamStep;

/* One call of vec_attention or vec_attention_back. */
typedef struct {
    const float *q, *k, *v, *dy;
    float *y, *lse, *dq;
    const int32_t *start;
    float scale;
    uint32_t t, heads, kv_heads, e;
} VecAttention;

/* One call of vec_attention_cached. */
typedef struct {
    const float *q, *kcache, *vcache;
    float *y;
    VecPaging paging;
    float scale;
    uint32_t t, heads, kv_heads, e;
} VecCached;

/* Some query heads of one kv head, and tokens [first, end) of a call: what a task computes. Lanes
 * are (token, head) pairs, the heads of a token side by side; there are at most LANES. */
typedef struct {
    uint32_t kv_head, head, heads; /* query heads [head, head + heads) */
    uint32_t first, end;
} VecLanes;

/* Tokens [first, end) of a row that attend to each other, and what belongs to one of their kv
 * heads: rows of padded E, end - first of them and PADDING more, first the first token's. */
typedef struct {
    uint32_t first, end;
    const float *keys, *values;
    float *dk, *dv;
} VecDocument;

typedef struct {
    const char *name;
    void (*add)(float *y, const float *a, const float *b, size_t n);
    void (*mul)(float *y, const float *a, const float *b, size_t n);
    void (*scale)(float *y, const float *x, float factor, size_t n);
    void (*swiglu)(float *y, const float *g, const float *u, size_t n);
    void (*swiglu_back)(float *dg, float *du, const float *g, const float *u, const float *dy,
                        size_t n);
    void (*rms_norm)(float *y, const float *x, const float *w, float eps, uint32_t rows,
                     uint32_t d);
    /* dw[d] gets the sum over these rows (overwritten) */
    void (*rms_norm_back)(float *dx, float *dw, const float *x, const float *w, const float *dy,
                          float eps, uint32_t rows, uint32_t d);
    void (*rope)(const VecRope *rope, uint32_t first, uint32_t end); /* tokens [first, end) */
    double (*xent)(float *logits, uint32_t v, int32_t target, bool gradient, float factor);
    double (*sum_squares)(const float *x, size_t n);
    void (*adamw)(float *p, float *g, float *m, float *v, const VecAdamStep *step, size_t n);
    /* One task of the forward pass: a block of tokens [first, end) of the row, cut at documents. */
    void (*attention)(const VecAttention *a, VecLanes lanes, void *scratch);
    /* One query head of one document: dq is written, dk and dv are added to. */
    void (*attention_back)(const VecAttention *a, uint32_t head, VecDocument document,
                           void *scratch);
    /* n rows that lie ld apart to rows of padded E; zero rows up to a whole strip. */
    void (*pack_rows)(float *out, const float *x, size_t ld, uint32_t n, uint32_t e);
    /* Lanes of one sequence at consecutive positions, over positions [begin, end) of its cache
     * (begin is a multiple of TILE): partial results [lanes][vec_partial(e)]. */
    void (*cached)(const VecCached *c, VecLanes lanes, uint32_t begin, uint32_t end,
                   float *partial, void *scratch);
    /* Adds partial `from` to partial `into`; order matters to the bits. */
    void (*merge)(float *into, const float *from, uint32_t e);
    /* y[E] = the weighted mean a partial stands for. */
    void (*finish)(float *y, const float *partial, uint32_t e);
} VecKernels;

/* A partial result of softmax-weighted sums: padded E sums, then largest score, sum of weights. */
static inline size_t vec_partial(uint32_t e)
{
    return vec_padded(e) + VEC_WIDTH_MAX;
}

/* Most query heads in one task, and tokens to go with so many heads. */
static inline uint32_t vec_lane_heads(uint32_t group)
{
    return group < TILE ? group : TILE;
}
static inline uint32_t vec_lane_tokens(uint32_t group)
{
    return LANES / vec_lane_heads(group);
}

/* Scratch of one worker for attention and cached. Lane tiles come one after the other. Carving a
 * NULL block only counts: the result is the bytes of a block, a multiple of 64. */
typedef struct {
    float *queries;      /* [LANE_TILES][E][TILE], scaled, lanes last */
    float *sums;         /* [LANE_TILES][TILE][padded E] weighted values so far */
    float *top, *weight; /* [LANES] largest score, sum of weights so far */
    float *keys, *values;/* [TILE][padded E] */
    float *scores;       /* [TILE keys][TILE lanes], then weights */
    float *shrink;       /* [TILE] what the last tile of keys did to a lane's sums */
} VecLaneScratch;
size_t vec_lane_carve(VecLaneScratch *out, void *block, uint32_t e);

/* Likewise for attention_back. */
typedef struct {
    float *queries_t, *dy_t;         /* [E][TILE] */
    float *queries, *dy, *dq;        /* [TILE][padded E] */
    float *weights, *dscores;        /* [TILE keys][TILE lanes] */
    float *lse, *delta;              /* [TILE] */
} VecBackScratch;
size_t vec_back_carve(VecBackScratch *out, void *block, uint32_t e);

const VecKernels *vec_kernels(void); /* of the instruction set in use */

extern const VecKernels vec_kernels_avx512, vec_kernels_avx2, vec_kernels_neon,
    vec_kernels_portable;
