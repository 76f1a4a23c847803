/* vec_body_back.h: the gradient of attention for one query head of one document.
 *
 * With p = e^(score - lse), dp = dy . v, delta = dy . y:  ds = p (dp - delta) scale,
 *     dq = sum over keys ds k,   dk = sum over queries ds q,   dv = sum over queries p dy.
 * Five products per tile; queries outside, keys inside. Elements of dq sum over keys ascending,
 * elements of dk and dv over queries ascending, each one chain whatever the tiles.
 */

/* Packs TILE queries (tokens t .. t + n) of a head every way the products want them. */
static void back_queries(const VecAttention *a, VecBackScratch *s, Bounds *bounds, uint32_t head,
                         uint32_t document, uint32_t t, uint32_t n)
{
    const float *q_row[TILE], *dy_row[TILE];
    size_t ld = (size_t)a->heads * a->e, offset = t * ld + (size_t)head * a->e;
    bounds->lanes = n;
    for (uint32_t i = 0; i < TILE; i++) {
        uint32_t from = i < n ? i : n - 1;
        q_row[i] = a->q + offset + from * ld;
        dy_row[i] = a->dy + offset + from * ld;
        s->lse[i] = a->lse[(size_t)(t + from) * a->heads + head] * LOG2_E;
        if (i < n) {
            bounds->lo[i] = a->start[t + i] - (int32_t)document;
            bounds->hi[i] = (int32_t)(t + i - document);
            s->delta[i] = row_dot(dy_row[i], a->y + offset + i * ld, NULL, a->e);
        } else {
            s->delta[i] = s->delta[n - 1];
        }
    }
    bounds_pad(bounds);
    pack_lanes(s->queries_t, q_row, bounds->vectors, a->e, a->scale * LOG2_E);
    pack_lanes(s->dy_t, dy_row, bounds->vectors, a->e, 1.0f);
    pack_rows(s->queries, a->q + offset, ld, n, a->e);
    pack_rows(s->dy, a->dy + offset, ld, n, a->e);
    memset(s->dq, 0, TILE * vec_padded(a->e) * sizeof(float));
}

/* Scores become weights, products dy . v become ds, down one vector of lanes. */
static void back_vector(VecBackScratch *s, const Bounds *bounds, uint32_t vector, float scale,
                        int32_t first, uint32_t n)
{
    float *weights = s->weights + vector * VW, *dscores = s->dscores + vector * VW;
    Range rows = keys_computed(bounds, vector, first, n);
    clear_outside(dscores, rows, n);
    bool all = all_seen(bounds, vector, first, rows);
    V lo = v_load(bounds->lo_f + vector * VW), hi = v_load(bounds->hi_f + vector * VW);
    V lse = v_load(s->lse + vector * VW), delta = v_load(s->delta + vector * VW);
    V factor = v_set1(scale);
    for (uint32_t row = rows.begin; row < rows.end; row++) {
        size_t at = (size_t)row * TILE;
        V p = v_exp2(v_sub(v_load(weights + at), lse));
        if (!all)
            p = v_inside(p, lo, v_set1((float)(first + (int32_t)row)), hi, v_zero());
        v_store(weights + at, p);
        v_store(dscores + at, v_mul(v_mul(p, factor), v_sub(v_load(dscores + at), delta)));
    }
}

/* One tile of queries against keys [first, first + n) of the document. */
static void back_tile(const VecAttention *a, VecBackScratch *s, const Bounds *bounds,
                      const VecDocument *document, int32_t first, uint32_t n)
{
    size_t ep = vec_padded(a->e), offset = (uint32_t)first * ep;
    uint32_t vectors = vectors_of(a->e);
    float *dk = document->dk + offset, *dv = document->dv + offset;
    const float *keys = document->keys + offset;
    tile_scores(s->weights, keys, s->queries_t, bounds, first, n, a->e);
    tile_scores(s->dscores, document->values + offset, s->dy_t, bounds, first, n, a->e);
    for (uint32_t v = 0; v < bounds->vectors; v++)
        back_vector(s, bounds, v, a->scale, first, n);
    uint32_t begin = 0, end = 0; /* lanes that see some key of the strip */
    for (uint32_t row = 0; row < n; row += STRIP) {
        int32_t key = first + (int32_t)row;
        int32_t last = first + (int32_t)(row + STRIP < n ? row + STRIP : n) - 1;
        while (begin < bounds->lanes && bounds->hi[begin] < key)
            begin++;
        while (end < bounds->lanes && bounds->lo[end] <= last)
            end++;
        if (begin >= end)
            continue;
        size_t at = (size_t)row * TILE + begin;
        collect_strip(dv + row * ep, s->weights + at, s->dy + begin * ep, ep, end - begin, vectors);
        collect_strip(dk + row * ep, s->dscores + at, s->queries + begin * ep, ep, end - begin,
                      vectors);
    }
    for (uint32_t lane = 0; lane < bounds->lanes; lane += STRIP) {
        Range rows = keys_seen(bounds, lane, lane + STRIP - 1, first, n);
        if (rows.begin < rows.end)
            weigh_strip(s->dq + lane * ep, s->dscores + (size_t)rows.begin * TILE + lane,
                        keys + rows.begin * ep, ep, rows.end - rows.begin, vectors, NULL);
    }
}

static void tile_attention_back(const VecAttention *a, uint32_t head, VecDocument document,
                                void *scratch)
{
    VecBackScratch s;
    Bounds bounds;
    vec_back_carve(&s, scratch, a->e);
    size_t ep = vec_padded(a->e);
    for (uint32_t t = document.first; t < document.end; t += TILE) {
        uint32_t queries = document.end - t < TILE ? document.end - t : TILE;
        back_queries(a, &s, &bounds, head, document.first, t, queries);
        uint32_t length = t + queries - document.first;
        for (uint32_t at = (uint32_t)bounds.lo[0] / TILE * TILE; at < length; at += TILE)
            back_tile(a, &s, &bounds, &document, (int32_t)at,
                      length - at < TILE ? length - at : TILE);
        for (uint32_t i = 0; i < queries; i++)
            unpack_row(a->dq + ((size_t)(t + i) * a->heads + head) * a->e, s.dq + i * ep, a->e,
                       1.0f);
    }
}
