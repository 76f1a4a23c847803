/* vec_attention.c: how attention over a packed row and its gradient are cut into tasks; the
 * arithmetic is in vec_body_attention.h and vec_body_back.h.
 *
 * Forward: a task is one kv head with (up to TILE of) its query heads and a block of tokens; the
 * heads share the packed tiles of keys and values.
 * Backward: documents do not touch each other, so a task is a document and either
 *   - all query heads of a kv head in turn, summed in the worker's own memory, for documents up to
 *     SHORT tokens (neighbours are put together up to that length), or
 *   - one query head, its dk and dv kept apart and summed over heads afterwards. That costs memory
 *     traffic, which long documents outweigh, and lets few heads use many threads.
 * Which of the two depends on the document's length alone.
 */
#include "backend/cpu/vec_kernels.h"

#include <assert.h>
#include <string.h>

enum { SHORT = 384, BLOCK = 2 * TILE }; /* BLOCK: rows of a task that packs or sums */

static void check_shape(uint32_t t, uint32_t heads, uint32_t kv_heads, uint32_t e)
{
    assert(e > 0 && e <= VEC_E_MAX);
    assert(kv_heads > 0 && heads % kv_heads == 0);
    assert(t <= VEC_POSITION_MAX);
    (void)t, (void)heads, (void)kv_heads, (void)e;
}

size_t vec_attention_scratch(uint32_t threads, uint32_t e)
{
    VecLaneScratch unused;
    return threads * vec_lane_carve(&unused, NULL, e);
}

typedef struct {
    const VecKernels *kernels;
    VecAttention a;
    char *scratch;
    size_t scratch_each;
    uint32_t parts, blocks, tokens; /* parts: of the query heads of a kv head */
} Forward;

static void forward_task(void *ctx, uint32_t task, uint32_t worker)
{
    const Forward *f = ctx;
    uint32_t group = f->a.heads / f->a.kv_heads, each = vec_lane_heads(group);
    /* Late blocks have the most keys: they go first. */
    uint32_t block = f->blocks - 1 - task / (f->a.kv_heads * f->parts);
    uint32_t kv_head = task / f->parts % f->a.kv_heads, part = task % f->parts;
    uint32_t first = block * f->tokens;
    VecLanes lanes = {
        .kv_head = kv_head,
        .head = kv_head * group + part * each,
        .heads = group - part * each < each ? group - part * each : each,
        .first = first,
        .end = f->a.t - first < f->tokens ? f->a.t : first + f->tokens,
    };
    f->kernels->attention(&f->a, lanes, f->scratch + worker * f->scratch_each);
}

void vec_attention(Pool *pool, void *scratch, float *y, float *lse, const float *q, const float *k,
                   const float *v, const int32_t *start, float scale, uint32_t t, uint32_t heads,
                   uint32_t kv_heads, uint32_t e)
{
    check_shape(t, heads, kv_heads, e);
    uint32_t group = heads / kv_heads, each = vec_lane_heads(group);
    Forward f = {
        .kernels = vec_kernels(),
        .a = {.q = q, .k = k, .v = v, .y = y, .lse = lse, .start = start, .scale = scale, .t = t,
              .heads = heads, .kv_heads = kv_heads, .e = e},
        .scratch = scratch,
        .scratch_each = vec_attention_scratch(1, e),
        .parts = (group + each - 1) / each,
        .tokens = vec_lane_tokens(group),
    };
    f.blocks = (t + f.tokens - 1) / f.tokens;
    pool_for(pool, f.blocks * kv_heads * f.parts, forward_task, &f);
}

/* ---- backward ---- */

/* Whole documents next to each other: several short ones, or one long one. */
typedef struct {
    uint32_t begin, end;
    uint32_t row; /* long: where its dk and dv lie in a head's part of the scratch */
} Segment;

/* Two neighbours always exceed SHORT together, or they would be one. */
static size_t segments_max(uint32_t t)
{
    return 2 * ((size_t)t / SHORT) + 2;
}
static size_t long_rows_max(uint32_t t)
{
    return t + PADDING * ((size_t)t / SHORT + 1);
}
static size_t whole_lines(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}
static size_t short_floats(uint32_t e)
{
    return (SHORT + PADDING) * vec_padded(e);
}
static size_t back_worker_bytes(uint32_t e)
{
    VecBackScratch unused;
    return vec_back_carve(&unused, NULL, e) + 4 * short_floats(e) * sizeof(float);
}

size_t vec_attention_back_scratch(uint32_t threads, uint32_t t, uint32_t heads, uint32_t e)
{
    return threads * back_worker_bytes(e) + whole_lines(segments_max(t) * sizeof(Segment)) +
           4 * heads * long_rows_max(t) * vec_padded(e) * sizeof(float);
}

typedef struct {
    const VecKernels *kernels;
    VecAttention a;
    float *dk, *dv;
    char *workers;
    Segment *segments; /* longest first */
    float *sums;       /* [H][2: dk, dv][long_rows_max][padded E] */
    float *packed;     /* [K][2: keys, values][long_rows_max][padded E] */
    size_t rows;       /* long_rows_max */
    uint32_t segments_count, long_count;
} Backward;

static uint32_t segment_length(Segment segment)
{
    return segment.end - segment.begin;
}

static void segment_insert(Backward *b, Segment segment)
{
    assert(b->segments_count < segments_max(b->a.t));
    uint32_t i = b->segments_count++;
    for (; i > 0 && segment_length(b->segments[i - 1]) < segment_length(segment); i--)
        b->segments[i] = b->segments[i - 1];
    b->segments[i] = segment;
}

/* Cuts the row at documents (a token that starts with itself: later ones never look before it). */
static void find_segments(Backward *b)
{
    Segment open = {0, 0, 0};
    for (uint32_t t = 0; t < b->a.t;) {
        uint32_t end = t + 1;
        while (end < b->a.t && b->a.start[end] != (int32_t)end)
            end++;
        if (segment_length(open) && end - open.begin > SHORT) {
            segment_insert(b, open);
            open.begin = t;
        }
        open.end = t = end;
    }
    if (segment_length(open))
        segment_insert(b, open);
    size_t row = 0;
    while (b->long_count < b->segments_count &&
           segment_length(b->segments[b->long_count]) > SHORT) {
        Segment *segment = &b->segments[b->long_count++];
        segment->row = (uint32_t)row;
        row += segment_length(*segment) + PADDING;
    }
    assert(row <= b->rows);
}

/* dk (which 0) or dv (1) of a query head; keys or values of a kv head: the first row of a long
 * segment. */
static float *long_sums(const Backward *b, uint32_t head, uint32_t which, const Segment *segment)
{
    return b->sums + ((2 * (size_t)head + which) * b->rows + segment->row) * vec_padded(b->a.e);
}
static float *long_packed(const Backward *b, uint32_t kv_head, uint32_t which,
                          const Segment *segment)
{
    return b->packed + ((2 * (size_t)kv_head + which) * b->rows + segment->row) *
                           vec_padded(b->a.e);
}

static void clear_sums(const Backward *b, const VecDocument *document)
{
    size_t bytes = (document->end - document->first + PADDING) * vec_padded(b->a.e) * sizeof(float);
    memset(document->dk, 0, bytes);
    memset(document->dv, 0, bytes);
}

static void back_long(const Backward *b, const Segment *segment, uint32_t head, void *scratch)
{
    uint32_t kv_head = head / (b->a.heads / b->a.kv_heads);
    VecDocument document = {
        .first = segment->begin,
        .end = segment->end,
        .keys = long_packed(b, kv_head, 0, segment),
        .values = long_packed(b, kv_head, 1, segment),
        .dk = long_sums(b, head, 0, segment),
        .dv = long_sums(b, head, 1, segment),
    };
    clear_sums(b, &document);
    b->kernels->attention_back(&b->a, head, document, scratch);
}

/* memory: 4 * short_floats. */
static void back_short(const Backward *b, const Segment *segment, uint32_t kv_head, void *scratch,
                       float *memory)
{
    size_t ep = vec_padded(b->a.e), ld = (size_t)b->a.kv_heads * b->a.e;
    size_t each = short_floats(b->a.e);
    uint32_t group = b->a.heads / b->a.kv_heads, e = b->a.e;
    for (uint32_t t = segment->begin, end; t < segment->end; t = end) {
        for (end = t + 1; end < segment->end && b->a.start[end] != (int32_t)end;)
            end++;
        size_t at = t * ld + (size_t)kv_head * e;
        b->kernels->pack_rows(memory, b->a.k + at, ld, end - t, e);
        b->kernels->pack_rows(memory + each, b->a.v + at, ld, end - t, e);
        VecDocument document = {.first = t, .end = end, .keys = memory, .values = memory + each,
                                .dk = memory + 2 * each, .dv = memory + 3 * each};
        clear_sums(b, &document);
        for (uint32_t i = 0; i < group; i++)
            b->kernels->attention_back(&b->a, kv_head * group + i, document, scratch);
        for (uint32_t i = 0; i < end - t; i++) {
            memcpy(b->dk + at + i * ld, document.dk + i * ep, e * sizeof(float));
            memcpy(b->dv + at + i * ld, document.dv + i * ep, e * sizeof(float));
        }
    }
}

static void back_task(void *ctx, uint32_t task, uint32_t worker)
{
    const Backward *b = ctx;
    uint32_t longs = b->long_count * b->a.heads;
    char *scratch = b->workers + worker * back_worker_bytes(b->a.e);
    VecBackScratch unused;
    if (task < longs) {
        back_long(b, &b->segments[task / b->a.heads], task % b->a.heads, scratch);
        return;
    }
    task -= longs;
    float *memory = (float *)(void *)(scratch + vec_back_carve(&unused, NULL, b->a.e));
    back_short(b, &b->segments[b->long_count + task / b->a.kv_heads], task % b->a.kv_heads, scratch,
               memory);
}

/* Tasks over BLOCK rows of a long segment and one kv head. */
typedef struct {
    const Segment *segment;
    uint32_t kv_head, first, end; /* rows of the segment */
} LongBlock;

static uint32_t blocks_of(const Segment *segment)
{
    return (segment_length(*segment) + BLOCK - 1) / BLOCK;
}

static LongBlock long_block(const Backward *b, uint32_t task)
{
    uint32_t block = task / b->a.kv_heads;
    const Segment *segment = b->segments;
    for (; block >= blocks_of(segment); segment++)
        block -= blocks_of(segment);
    uint32_t first = block * BLOCK, left = segment_length(*segment) - first;
    return (LongBlock){segment, task % b->a.kv_heads, first, first + (left < BLOCK ? left : BLOCK)};
}

static void pack_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Backward *b = ctx;
    LongBlock x = long_block(b, task);
    size_t ld = (size_t)b->a.kv_heads * b->a.e, ep = vec_padded(b->a.e);
    size_t from = (x.segment->begin + x.first) * ld + (size_t)x.kv_head * b->a.e;
    for (uint32_t which = 0; which < 2; which++)
        b->kernels->pack_rows(long_packed(b, x.kv_head, which, x.segment) + x.first * ep,
                              (which ? b->a.v : b->a.k) + from, ld, x.end - x.first, b->a.e);
}

/* Query heads in ascending order. */
static void sum_task(void *ctx, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Backward *b = ctx;
    LongBlock x = long_block(b, task);
    uint32_t group = b->a.heads / b->a.kv_heads, e = b->a.e;
    size_t ep = vec_padded(e), head_floats = 2 * b->rows * ep;
    for (uint32_t which = 0; which < 2; which++)
        for (uint32_t row = x.first; row < x.end; row++) {
            size_t token = x.segment->begin + row;
            float *to = (which ? b->dv : b->dk) + (token * b->a.kv_heads + x.kv_head) * e;
            const float *from = long_sums(b, x.kv_head * group, which, x.segment) + row * ep;
            memcpy(to, from, e * sizeof *to);
            for (uint32_t head = 1; head < group; head++)
                b->kernels->add(to, to, from + head * head_floats, e);
        }
}

void vec_attention_back(Pool *pool, void *scratch, float *dq, float *dk, float *dv, const float *q,
                        const float *k, const float *v, const float *y, const float *lse,
                        const float *dy, const int32_t *start, float scale, uint32_t t,
                        uint32_t heads, uint32_t kv_heads, uint32_t e)
{
    check_shape(t, heads, kv_heads, e);
    char *segments = (char *)scratch + pool_threads(pool) * back_worker_bytes(e);
    char *sums = segments + whole_lines(segments_max(t) * sizeof(Segment));
    Backward b = {
        .kernels = vec_kernels(),
        .a = {.q = q, .k = k, .v = v, .dy = dy, .y = (float *)y, .lse = (float *)lse, .dq = dq,
              .start = start, .scale = scale, .t = t, .heads = heads, .kv_heads = kv_heads, .e = e},
        .dk = dk,
        .dv = dv,
        .workers = scratch,
        .segments = (Segment *)(void *)segments,
        .sums = (float *)(void *)sums,
        .rows = long_rows_max(t),
    };
    b.packed = b.sums + 2 * heads * b.rows * vec_padded(e);
    find_segments(&b);
    uint32_t shorts = b.segments_count - b.long_count, blocks = 0;
    for (uint32_t i = 0; i < b.long_count; i++)
        blocks += blocks_of(&b.segments[i]);
    pool_for(pool, blocks * kv_heads, pack_task, &b);
    pool_for(pool, b.long_count * heads + shorts * kv_heads, back_task, &b);
    pool_for(pool, blocks * kv_heads, sum_task, &b);
}
