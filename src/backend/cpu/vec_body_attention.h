/* vec_body_attention.h: softmax attention over tiles (forward, cached) and its gradient.
 *
 * Scores are kept in units of ln 2 (the factor goes into the packed queries), so that a weight is a
 * power of 2. Forward keeps for each lane the largest score so far, the sum of the weights
 * 2^(score - largest) and the weighted sum of values; a tile of keys that raises the largest score
 * shrinks both sums.
 * Tiles of keys lie at multiples of TILE from the start of the document (from position 0 of the
 * cache), so a token's bits depend on its own keys alone. A tile, strip or vector that a lane does
 * not see leaves its state exactly as it was, whether it is skipped or computed for its neighbours.
 */

#define LOWEST -1e30f /* below every score; finite, so that differences are numbers */
#define LOG2_E 1.44269504f
#define LN_2 0.693147181f

/* The lanes of one task: tile i holds lanes [i * TILE, ...). Key positions count from `base`. */
typedef struct {
    VecLaneScratch s;
    Bounds bounds[LANE_TILES];
    uint32_t tiles, e;
    size_t ep;
} Lanes;

/* Scores of keys that a lane does not see become -inf, so that their weights are 0. */
static void hide_unseen(float *column, const Bounds *bounds, uint32_t vector, int32_t first,
                        Range rows)
{
    V lo = v_load(bounds->lo_f + vector * VW), hi = v_load(bounds->hi_f + vector * VW);
    for (uint32_t row = rows.begin; row < rows.end; row++) {
        float *at = column + (size_t)row * TILE;
        V key = v_set1((float)(first + (int32_t)row));
        v_store(at, v_inside(v_load(at), lo, key, hi, v_set1(-INFINITY)));
    }
}

/* Down one vector of lanes: new largest scores, weights in place of scores, sums. */
static void softmax_vector(Lanes *l, uint32_t tile, uint32_t vector, int32_t first, uint32_t n)
{
    const Bounds *bounds = &l->bounds[tile];
    float *column = l->s.scores + vector * VW, *top_at = l->s.top + tile * TILE + vector * VW;
    float *weight_at = l->s.weight + tile * TILE + vector * VW;
    Range rows = keys_computed(bounds, vector, first, n);
    clear_outside(column, rows, n);
    if (rows.begin == rows.end) {
        v_store(l->s.shrink + vector * VW, v_set1(1.0f));
        return;
    }
    V old = v_load(top_at), top = old, other_top = old; /* two chains hide latencies */
    if (!all_seen(bounds, vector, first, rows))
        hide_unseen(column, bounds, vector, first, rows);
    for (uint32_t row = rows.begin; row < rows.end; row += 2) {
        top = v_max(top, v_load(column + (size_t)row * TILE));
        other_top = v_max(other_top, v_load(column + (size_t)(row + 1) * TILE));
    }
    top = v_max(top, other_top);
    V shrink = v_exp2(v_sub(old, top)), even = v_zero(), odd = v_zero();
    for (uint32_t row = rows.begin; row < rows.end; row += 2) {
        float *at = column + (size_t)row * TILE;
        V p = v_exp2(v_sub(v_load(at), top)), next = v_exp2(v_sub(v_load(at + TILE), top));
        v_store(at, p);
        v_store(at + TILE, next);
        even = v_add(even, p);
        odd = v_add(odd, next);
    }
    v_store(top_at, top);
    v_store(weight_at, v_fma(v_load(weight_at), shrink, v_add(even, odd)));
    v_store(l->s.shrink + vector * VW, shrink);
}

/* One tile of lanes against the packed keys [first, first + n). */
static void attend_tile(Lanes *l, uint32_t tile, int32_t first, uint32_t n)
{
    const Bounds *bounds = &l->bounds[tile];
    if (!bounds_touch(bounds, first, n))
        return;
    tile_scores(l->s.scores, l->s.keys, l->s.queries + (size_t)tile * l->e * TILE, bounds, first, n,
                l->e);
    for (uint32_t v = 0; v < bounds->vectors; v++)
        softmax_vector(l, tile, v, first, n);
    for (uint32_t lane = 0; lane < bounds->lanes; lane += STRIP) {
        Range rows = keys_seen(bounds, lane, lane + STRIP - 1, first, n);
        if (rows.begin < rows.end)
            weigh_strip(l->s.sums + (tile * TILE + lane) * l->ep,
                        l->s.scores + (size_t)rows.begin * TILE + lane,
                        l->s.values + rows.begin * l->ep, l->ep, rows.end - rows.begin,
                        vectors_of(l->e), l->s.shrink + lane);
    }
}

/* Packs the queries of the lanes and clears their sums. lo and hi are set by the caller. */
static void lanes_begin(Lanes *l, const float *q, size_t heads_all, VecLanes lanes, float scale)
{
    uint32_t count = (lanes.end - lanes.first) * lanes.heads;
    l->tiles = (count + TILE - 1) / TILE;
    for (uint32_t tile = 0; tile < l->tiles; tile++) {
        const float *row[TILE];
        Bounds *bounds = &l->bounds[tile];
        bounds->lanes = count - tile * TILE < TILE ? count - tile * TILE : TILE;
        bounds_pad(bounds);
        for (uint32_t i = 0; i < TILE; i++) {
            uint32_t lane = tile * TILE + (i < bounds->lanes ? i : bounds->lanes - 1);
            size_t token = lanes.first + lane / lanes.heads, head = lanes.head + lane % lanes.heads;
            row[i] = q + (token * heads_all + head) * l->e;
        }
        pack_lanes(l->s.queries + (size_t)tile * l->e * TILE, row, bounds->vectors, l->e,
                   scale * LOG2_E);
    }
    memset(l->s.sums, 0, l->tiles * TILE * l->ep * sizeof(float));
    memset(l->s.weight, 0, l->tiles * TILE * sizeof(float));
    for (uint32_t i = 0; i < l->tiles * TILE; i++)
        l->s.top[i] = LOWEST;
}

/* Tokens [first, end) of one document that starts at token `document`. */
static void attention_lanes(const VecAttention *a, Lanes *l, VecLanes lanes, uint32_t document)
{
    uint32_t count = (lanes.end - lanes.first) * lanes.heads;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t t = lanes.first + i / lanes.heads;
        l->bounds[i / TILE].lo[i % TILE] = a->start[t] - (int32_t)document;
        l->bounds[i / TILE].hi[i % TILE] = (int32_t)(t - document);
    }
    lanes_begin(l, a->q, a->heads, lanes, a->scale);
    size_t ld = (size_t)a->kv_heads * a->e;
    uint32_t length = lanes.end - document;
    for (uint32_t at = (uint32_t)l->bounds[0].lo[0] / TILE * TILE; at < length; at += TILE) {
        uint32_t n = length - at < TILE ? length - at : TILE;
        size_t offset = (document + at) * ld + (size_t)lanes.kv_head * a->e;
        pack_rows(l->s.keys, a->k + offset, ld, n, a->e);
        pack_rows(l->s.values, a->v + offset, ld, n, a->e);
        for (uint32_t tile = 0; tile < l->tiles; tile++)
            attend_tile(l, tile, (int32_t)at, n);
    }
    for (uint32_t i = 0; i < count; i++) {
        size_t row = (size_t)(lanes.first + i / lanes.heads) * a->heads + lanes.head +
                     i % lanes.heads;
        unpack_row(a->y + row * a->e, l->s.sums + i * l->ep, a->e, 1.0f / l->s.weight[i]);
        a->lse[row] = l->s.top[i] * LN_2 + logf(l->s.weight[i]);
    }
}

/* The start of the document that holds token t: start[] repeated comes to rest there. */
static uint32_t document_of(const int32_t *start, uint32_t t)
{
    while (start[t] != (int32_t)t)
        t = (uint32_t)start[t];
    return t;
}

/* A document is cut into pieces of vec_lane_tokens from its own start; this task owns the pieces
 * that begin in its block of the row (a piece may reach into the next block). */
static void tile_attention(const VecAttention *a, VecLanes block, void *scratch)
{
    Lanes l = {.e = a->e, .ep = vec_padded(a->e)};
    vec_lane_carve(&l.s, scratch, a->e);
    uint32_t tokens = vec_lane_tokens(a->heads / a->kv_heads);
    uint32_t document = document_of(a->start, block.first);
    for (uint32_t t = block.first; t < block.end;) {
        if (a->start[t] == (int32_t)t)
            document = t;
        if ((t - document) % tokens) {
            t++;
            continue;
        }
        VecLanes lanes = block;
        lanes.first = t;
        for (t++; t < a->t && t < lanes.first + tokens && a->start[t] != (int32_t)t;)
            t++;
        lanes.end = t;
        attention_lanes(a, &l, lanes, document);
    }
}

/* ---- cached ---- */

static void pack_pages(float *keys, float *values, const VecCached *c, uint32_t kv_head,
                       const int32_t *pages, uint32_t at, uint32_t n)
{
    size_t ep = vec_padded(c->e);
    for (uint32_t row = 0; row < n; row++) {
        uint32_t p = at + row, page = c->paging.page;
        size_t cache_row = (size_t)pages[p / page] * page + p % page;
        size_t offset = (cache_row * c->kv_heads + kv_head) * c->e;
        pack_row(keys + row * ep, c->kcache + offset, c->e, ep);
        pack_row(values + row * ep, c->vcache + offset, c->e, ep);
    }
    size_t padding = (strips_up(n) - n) * ep * sizeof(float);
    memset(keys + n * ep, 0, padding);
    memset(values + n * ep, 0, padding);
}

static void tile_cached(const VecCached *c, VecLanes lanes, uint32_t begin, uint32_t end,
                        float *partial, void *scratch)
{
    Lanes l = {.e = c->e, .ep = vec_padded(c->e)};
    vec_lane_carve(&l.s, scratch, c->e);
    uint32_t count = (lanes.end - lanes.first) * lanes.heads;
    int32_t window = (int32_t)c->paging.window;
    for (uint32_t i = 0; i < count; i++) {
        int32_t pos = c->paging.pos[lanes.first + i / lanes.heads];
        l.bounds[i / TILE].lo[i % TILE] = window && pos >= window ? pos - window + 1 : 0;
        l.bounds[i / TILE].hi[i % TILE] = pos;
    }
    lanes_begin(&l, c->q, c->heads, lanes, c->scale);
    uint32_t lowest = (uint32_t)l.bounds[0].lo[0] / TILE * TILE;
    uint32_t last = (uint32_t)c->paging.pos[lanes.end - 1] + 1;
    const int32_t *pages =
        c->paging.pages + (size_t)c->paging.seq[lanes.first] * c->paging.pages_max;
    end = end < last ? end : last;
    for (uint32_t at = begin > lowest ? begin : lowest; at < end; at += TILE) {
        uint32_t n = end - at < TILE ? end - at : TILE;
        pack_pages(l.s.keys, l.s.values, c, lanes.kv_head, pages, at, n);
        for (uint32_t tile = 0; tile < l.tiles; tile++)
            attend_tile(&l, tile, (int32_t)at, n);
    }
    for (uint32_t i = 0; i < count; i++) {
        float *out = partial + i * vec_partial(c->e);
        memcpy(out, l.s.sums + i * l.ep, l.ep * sizeof *out);
        out[l.ep] = l.s.top[i];
        out[l.ep + 1] = l.s.weight[i];
    }
}

static inline float exp2_one(float x)
{
    float lanes[VW];
    v_store(lanes, v_exp2(v_set1(x)));
    return lanes[0];
}

static void partial_merge(float *into, const float *from, uint32_t e)
{
    size_t ep = vec_padded(e);
    float top = into[ep] > from[ep] ? into[ep] : from[ep];
    float shrink = exp2_one(into[ep] - top), other = exp2_one(from[ep] - top);
    V a = v_set1(shrink), b = v_set1(other);
    for (size_t i = 0; i < ep; i += VW)
        v_store(into + i, v_fma(v_load(from + i), b, v_mul(v_load(into + i), a)));
    into[ep] = top;
    into[ep + 1] = into[ep + 1] * shrink + from[ep + 1] * other;
}

static void partial_finish(float *y, const float *partial, uint32_t e)
{
    unpack_row(y, partial, e, 1.0f / partial[vec_padded(e) + 1]);
}
