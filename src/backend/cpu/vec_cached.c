/* vec_cached.c: how attention over cached keys is cut into tasks; the arithmetic is in
 * vec_body_attention.h.
 *
 * A token's context is cut into at most VEC_CHUNKS chunks from position 0, of a length that its own
 * position decides; each chunk gives a partial result, and partials are merged in ascending order.
 * Calls with few tokens (decoding) make a task of every chunk, so that one token with a long
 * context uses all threads; calls with many make a task of a block of tokens and walk the chunks
 * in it. Both do the same arithmetic. Tokens that follow each other in one sequence and have
 * chunks of one length ("runs") are computed together.
 */
#include "backend/cpu/vec_kernels.h"

#include <assert.h>
#include <string.h>

enum {
    CHUNK_MIN = 4 * TILE, /* positions in the shortest chunk */
    FEW = 16              /* most tokens of a call that is cut by chunks */
};

static uint32_t chunk_length(int32_t pos)
{
    uint32_t length = CHUNK_MIN;
    while ((uint64_t)length * VEC_CHUNKS <= (uint64_t)pos)
        length *= 2;
    return length;
}

/* The first token after `first` and before `limit` that cannot be computed along with it. */
static uint32_t run_end(const VecPaging *paging, uint32_t first, uint32_t limit)
{
    uint32_t t = first + 1, length = chunk_length(paging->pos[first]);
    while (t < limit && paging->seq[t] == paging->seq[first] &&
           paging->pos[t] == paging->pos[t - 1] + 1 && chunk_length(paging->pos[t]) == length)
        t++;
    return t;
}

static size_t worker_bytes(uint32_t e)
{
    VecLaneScratch unused;
    return vec_lane_carve(&unused, NULL, e) + 2 * LANES * vec_partial(e) * sizeof(float);
}

size_t vec_attention_cached_scratch(uint32_t threads, uint32_t t, uint32_t heads, uint32_t e)
{
    size_t few = t < FEW ? t : FEW;
    return threads * worker_bytes(e) + few * heads * VEC_CHUNKS * vec_partial(e) * sizeof(float);
}

typedef struct {
    const VecKernels *kernels;
    VecCached c;
    char *workers;
    float *partials;                 /* [FEW tokens][H][VEC_CHUNKS][vec_partial(e)] */
    uint32_t parts, tokens;          /* parts of a kv head's query heads; tokens with a part */
    uint32_t runs_count, runs[FEW + 1]; /* few tokens: first token of each run, then the end */
} Cached;

static VecLanes lanes_of(const Cached *x, uint32_t head_task, uint32_t first, uint32_t end)
{
    uint32_t group = x->c.heads / x->c.kv_heads, each = vec_lane_heads(group);
    uint32_t kv_head = head_task / x->parts, part = head_task % x->parts;
    return (VecLanes){
        .kv_head = kv_head,
        .head = kv_head * group + part * each,
        .heads = group - part * each < each ? group - part * each : each,
        .first = first,
        .end = end,
    };
}

static float *token_head(const Cached *x, const VecLanes *lanes, uint32_t lane)
{
    size_t token = lanes->first + lane / lanes->heads, head = lanes->head + lane % lanes->heads;
    return x->c.y + (token * x->c.heads + head) * x->c.e;
}

/* ---- few tokens: a task is (run, heads, chunk) ---- */

static float *partial_of(const Cached *x, size_t token, size_t head, uint32_t chunk)
{
    return x->partials + ((token * x->c.heads + head) * VEC_CHUNKS + chunk) * vec_partial(x->c.e);
}

static void chunk_task(void *ctx, uint32_t task, uint32_t worker)
{
    const Cached *x = ctx;
    uint32_t chunk = task % VEC_CHUNKS, heads = x->c.kv_heads * x->parts;
    uint32_t run = task / VEC_CHUNKS / heads;
    VecLanes lanes = lanes_of(x, task / VEC_CHUNKS % heads, x->runs[run], x->runs[run + 1]);
    uint32_t length = chunk_length(x->c.paging.pos[lanes.first]), begin = chunk * length;
    if ((int64_t)begin > x->c.paging.pos[lanes.end - 1])
        return;
    char *scratch = x->workers + worker * worker_bytes(x->c.e);
    VecLaneScratch unused;
    float *out = (float *)(void *)(scratch + vec_lane_carve(&unused, NULL, x->c.e));
    x->kernels->cached(&x->c, lanes, begin, begin + length, out, scratch);
    size_t each = vec_partial(x->c.e);
    for (uint32_t lane = 0; lane < (lanes.end - lanes.first) * lanes.heads; lane++)
        memcpy(partial_of(x, lanes.first + lane / lanes.heads, lanes.head + lane % lanes.heads,
                          chunk),
               out + lane * each, each * sizeof *out);
}

static void merge_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Cached *x = ctx;
    int32_t pos = x->c.paging.pos[task];
    uint32_t chunks = (uint32_t)pos / chunk_length(pos) + 1;
    for (uint32_t head = 0; head < x->c.heads; head++) {
        float *sum = partial_of(x, task, head, 0);
        for (uint32_t chunk = 1; chunk < chunks; chunk++)
            x->kernels->merge(sum, partial_of(x, task, head, chunk), x->c.e);
        x->kernels->finish(x->c.y + ((size_t)task * x->c.heads + head) * x->c.e, sum, x->c.e);
    }
}

/* ---- many tokens: a task is (block of tokens, heads) ---- */

static void run_all_chunks(const Cached *x, VecLanes lanes, char *scratch)
{
    VecLaneScratch unused;
    size_t each = vec_partial(x->c.e);
    float *sum = (float *)(void *)(scratch + vec_lane_carve(&unused, NULL, x->c.e));
    float *next = sum + LANES * each;
    int32_t last = x->c.paging.pos[lanes.end - 1];
    uint32_t count = (lanes.end - lanes.first) * lanes.heads, length = chunk_length(last);
    x->kernels->cached(&x->c, lanes, 0, length, sum, scratch);
    for (uint32_t begin = length; (int64_t)begin <= last; begin += length) {
        x->kernels->cached(&x->c, lanes, begin, begin + length, next, scratch);
        for (uint32_t lane = 0; lane < count; lane++)
            x->kernels->merge(sum + lane * each, next + lane * each, x->c.e);
    }
    for (uint32_t lane = 0; lane < count; lane++)
        x->kernels->finish(token_head(x, &lanes, lane), sum + lane * each, x->c.e);
}

static void block_task(void *ctx, uint32_t task, uint32_t worker)
{
    const Cached *x = ctx;
    uint32_t heads = x->c.kv_heads * x->parts, first = task / heads * x->tokens;
    uint32_t limit = x->c.t - first < x->tokens ? x->c.t : first + x->tokens;
    for (uint32_t end; first < limit; first = end) {
        end = run_end(&x->c.paging, first, limit);
        run_all_chunks(x, lanes_of(x, task % heads, first, end),
                       x->workers + worker * worker_bytes(x->c.e));
    }
}

void vec_attention_cached(Pool *pool, void *scratch, float *y, const float *q, const float *kcache,
                          const float *vcache, VecPaging paging, float scale, uint32_t t,
                          uint32_t heads, uint32_t kv_heads, uint32_t e)
{
    assert(e > 0 && e <= VEC_E_MAX && paging.page > 0);
    assert(kv_heads > 0 && heads % kv_heads == 0);
    uint32_t group = heads / kv_heads, each = vec_lane_heads(group);
    Cached x = {
        .kernels = vec_kernels(),
        .c = {.q = q, .kcache = kcache, .vcache = vcache, .y = y, .paging = paging, .scale = scale,
              .t = t, .heads = heads, .kv_heads = kv_heads, .e = e},
        .workers = scratch,
        .partials = (float *)(void *)((char *)scratch + pool_threads(pool) * worker_bytes(e)),
        .parts = (group + each - 1) / each,
        .tokens = vec_lane_tokens(group),
    };
    uint32_t tasks = kv_heads * x.parts;
    if (t > FEW) {
        pool_for(pool, (t + x.tokens - 1) / x.tokens * tasks, block_task, &x);
        return;
    }
    for (uint32_t first = 0; first < t; first = x.runs[x.runs_count]) {
        uint32_t limit = t - first < x.tokens ? t : first + x.tokens;
        x.runs[++x.runs_count] = run_end(&paging, first, limit);
    }
    pool_for(pool, x.runs_count * tasks * VEC_CHUNKS, chunk_task, &x);
    pool_for(pool, t, merge_task, &x);
}
