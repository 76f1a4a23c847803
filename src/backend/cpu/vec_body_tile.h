/* vec_body_tile.h: what the tiles of attention are computed with, forward, backward and cached.
 *
 * A tile is TILE queries ("lanes": they lie side by side in vectors) by TILE keys. Scores are kept
 * with keys as rows and lanes as columns: softmax then works down columns and needs no sums across
 * a vector. Three micro-kernels, all C[6 rows, vectors] += A x B with B read in whole vectors and
 * A broadcast:
 *     scores   C[key, lane]   += sum over e      K[key, e]  * Qt[e, lane]
 *     weigh    C[lane, e]     += sum over keys   P[key, lane] * V[key, e]
 *     collect  C[key, e]      += sum over lanes  P[key, lane] * dY[lane, e]
 * Each element of C is one chain of fused additions in ascending order, continued from memory, so
 * its bits do not depend on how the work is cut; a weight of exactly 0 changes nothing.
 */

#define ALWAYS static inline __attribute__((always_inline))

typedef enum { FROM_ZERO, FROM_C, FROM_SCALED_C } Begin;

/* A(row, i) is a[row * a_row + i * a_step]; rows and nv are constants at every call. */
ALWAYS void product(const unsigned rows, const unsigned nv, const Begin begin, float *c, size_t ldc,
                    const float *a, size_t a_row, size_t a_step, const float *b, size_t ldb,
                    uint32_t n, const float *factor)
{
    V sum[2 * STRIP][4];
#pragma GCC unroll 12
    for (unsigned r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (unsigned j = 0; j < nv; j++) {
            sum[r][j] = begin == FROM_ZERO ? v_zero() : v_load(c + r * ldc + j * VW);
            if (begin == FROM_SCALED_C)
                sum[r][j] = v_mul(sum[r][j], v_set1(factor[r]));
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        V row[4];
#pragma GCC unroll 4
        for (unsigned j = 0; j < nv; j++)
            row[j] = v_load(b + j * VW);
#pragma GCC unroll 12
        for (unsigned r = 0; r < rows; r++) {
            V x = v_set1(a[r * a_row]);
#pragma GCC unroll 4
            for (unsigned j = 0; j < nv; j++)
                sum[r][j] = v_fma(x, row[j], sum[r][j]);
        }
        a += a_step;
        b += ldb;
    }
#pragma GCC unroll 12
    for (unsigned r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (unsigned j = 0; j < nv; j++)
            v_store(c + r * ldc + j * VW, sum[r][j]);
}

/* STRIP keys by `vectors` vectors of lanes. */
static void scores_strip(float *c, const float *keys, size_t ep, const float *lanes, uint32_t e,
                         uint32_t vectors)
{
    for (; vectors >= NVS; vectors -= NVS, c += NVS * VW, lanes += NVS * VW)
        product(STRIP, NVS, FROM_ZERO, c, TILE, keys, ep, 1, lanes, TILE, e, NULL);
    if (vectors == 1)
        product(STRIP, 1, FROM_ZERO, c, TILE, keys, ep, 1, lanes, TILE, e, NULL);
    else if (vectors == 2)
        product(STRIP, 2, FROM_ZERO, c, TILE, keys, ep, 1, lanes, TILE, e, NULL);
}

/* STRIP lanes by the head width; factor scales what was there (NULL: as it is). */
static void weigh_strip(float *c, const float *weights, const float *rows, size_t ep, uint32_t n,
                        uint32_t vectors, const float *factor)
{
    for (; vectors >= NVE; vectors -= NVE, c += NVE * VW, rows += NVE * VW) {
        if (factor)
            product(STRIP, NVE, FROM_SCALED_C, c, ep, weights, 1, TILE, rows, ep, n, factor);
        else
            product(STRIP, NVE, FROM_C, c, ep, weights, 1, TILE, rows, ep, n, NULL);
    }
    const float ones[STRIP] = {1, 1, 1, 1, 1, 1};
    factor = factor ? factor : ones;
    if (vectors == 1)
        product(STRIP, 1, FROM_SCALED_C, c, ep, weights, 1, TILE, rows, ep, n, factor);
    else if (vectors == 2)
        product(STRIP, 2, FROM_SCALED_C, c, ep, weights, 1, TILE, rows, ep, n, factor);
    else if (vectors == 3)
        product(STRIP, 3, FROM_SCALED_C, c, ep, weights, 1, TILE, rows, ep, n, factor);
}

/* STRIP keys by the head width, summed over n lanes. */
static void collect_strip(float *c, const float *weights, const float *rows, size_t ep, uint32_t n,
                          uint32_t vectors)
{
    for (; vectors >= NVE; vectors -= NVE, c += NVE * VW, rows += NVE * VW)
        product(STRIP, NVE, FROM_C, c, ep, weights, TILE, 1, rows, ep, n, NULL);
    if (vectors == 1)
        product(STRIP, 1, FROM_C, c, ep, weights, TILE, 1, rows, ep, n, NULL);
    else if (vectors == 2)
        product(STRIP, 2, FROM_C, c, ep, weights, TILE, 1, rows, ep, n, NULL);
    else if (vectors == 3)
        product(STRIP, 3, FROM_C, c, ep, weights, TILE, 1, rows, ep, n, NULL);
}

static uint32_t vectors_of(uint32_t n)
{
    return (n + VW - 1) / VW;
}
static uint32_t strips_up(uint32_t n)
{
    return (n + STRIP - 1) / STRIP * STRIP;
}

/* ---- which keys the lanes of a tile see ---- */

/* Lane i attends to keys [lo[i], hi[i]]; both never fall from one lane to the next. Lanes after the
 * last repeat it. */
typedef struct {
    uint32_t lanes, vectors;
    int32_t lo[TILE], hi[TILE];
    float lo_f[TILE], hi_f[TILE];
} Bounds;

static void bounds_pad(Bounds *bounds)
{
    assert(bounds->lanes > 0 && bounds->lanes <= TILE);
    bounds->vectors = vectors_of(bounds->lanes);
    for (uint32_t i = 0; i < TILE; i++) {
        uint32_t from = i < bounds->lanes ? i : bounds->lanes - 1;
        bounds->lo[i] = bounds->lo[from];
        bounds->hi[i] = bounds->hi[from];
        bounds->lo_f[i] = (float)bounds->lo[i];
        bounds->hi_f[i] = (float)bounds->hi[i];
    }
}

static bool bounds_touch(const Bounds *bounds, int32_t first, uint32_t n)
{
    return bounds->lo[0] < first + (int32_t)n && bounds->hi[TILE - 1] >= first;
}

typedef struct {
    uint32_t begin, end;
} Range;

/* Rows of the tile of keys [first, first + n) that lanes [from, to] need, all of them together. */
static Range keys_seen(const Bounds *bounds, uint32_t from, uint32_t to, int32_t first, uint32_t n)
{
    int32_t lo = bounds->lo[from] - first, hi = bounds->hi[to] + 1 - first;
    lo = lo < 0 ? 0 : lo;
    hi = hi > (int32_t)n ? (int32_t)n : hi;
    return lo < hi ? (Range){(uint32_t)lo, (uint32_t)hi} : (Range){0, 0};
}

/* As keys_seen for one vector of lanes, widened to whole strips: the rows that get computed. */
static Range keys_computed(const Bounds *bounds, uint32_t vector, int32_t first, uint32_t n)
{
    Range range = keys_seen(bounds, vector * VW, vector * VW + VW - 1, first, n);
    return (Range){range.begin / STRIP * STRIP, strips_up(range.end)};
}

/* Whether every lane of the vector sees every key of the rows. */
static bool all_seen(const Bounds *bounds, uint32_t vector, int32_t first, Range rows)
{
    return bounds->lo[vector * VW + VW - 1] <= first + (int32_t)rows.begin &&
           bounds->hi[vector * VW] >= first + (int32_t)rows.end - 1;
}

/* Scores of the strips and vectors where some lane sees some key, and perhaps of others. */
static void tile_scores(float *scores, const float *keys, const float *lanes, const Bounds *bounds,
                        int32_t first, uint32_t n, uint32_t e)
{
    size_t ep = vec_padded(e);
    uint32_t row = 0;
    if (bounds->vectors == 1) /* decoding: one strip alone would wait for its own sums */
        for (; row + 2 * STRIP <= strips_up(n); row += 2 * STRIP)
            product(2 * STRIP, 1, FROM_ZERO, scores + (size_t)row * TILE, TILE, keys + row * ep, ep,
                    1, lanes, TILE, e, NULL);
    for (; row < n; row += STRIP) {
        int32_t key = first + (int32_t)row;
        int32_t last = first + (int32_t)(row + STRIP < n ? row + STRIP : n) - 1;
        uint32_t v0 = 0, v1 = bounds->vectors;
        while (v0 < v1 && bounds->hi[v0 * VW + VW - 1] < key)
            v0++;
        while (v1 > v0 && bounds->lo[(v1 - 1) * VW] > last)
            v1--;
        if (v0 < v1)
            scores_strip(scores + (size_t)row * TILE + v0 * VW, keys + row * ep, ep,
                         lanes + v0 * VW, e, v1 - v0);
    }
}

/* Zeros in the column of a vector outside the computed rows. */
static void clear_outside(float *column, Range rows, uint32_t n)
{
    for (uint32_t row = 0; row < rows.begin; row++)
        v_store(column + (size_t)row * TILE, v_zero());
    for (uint32_t row = rows.end; row < n; row++)
        v_store(column + (size_t)row * TILE, v_zero());
}

/* ---- packing ---- */

/* out[e, lane] = row[lane][e] * scale. row has an entry for every lane of the last vector. */
static void pack_lanes(float *out, const float *const *row, uint32_t vectors, uint32_t e,
                       float scale)
{
    V factor = v_set1(scale);
    for (uint32_t v = 0; v < vectors; v++, row += VW, out += VW) {
        uint32_t i = 0;
        for (; i + 4 <= e; i += 4) {
            V x[4] = {v_rows4(row, i), v_rows4(row + 1, i), v_rows4(row + 2, i),
                      v_rows4(row + 3, i)};
            v_transpose4(x);
            for (unsigned j = 0; j < 4; j++)
                v_store(out + (size_t)(i + j) * TILE, v_mul(x[j], factor));
        }
        for (; i < e; i++)
            for (unsigned lane = 0; lane < VW; lane++)
                out[(size_t)i * TILE + lane] = row[lane][i] * scale;
    }
}

/* One row of e floats into padded e floats, zeros at the end. */
ALWAYS void pack_row(float *out, const float *x, uint32_t e, size_t ep)
{
    uint32_t i = 0;
    for (; i + VW <= e; i += VW)
        v_store(out + i, v_load(x + i));
    if (i < e) {
        v_store(out + i, v_load_part(x + i, e - i));
        i += VW;
    }
    for (; i < ep; i += VW)
        v_store(out + i, v_zero());
}

/* n rows that lie ld apart; zero rows up to a whole strip. */
static void pack_rows(float *out, const float *x, size_t ld, uint32_t n, uint32_t e)
{
    size_t ep = vec_padded(e);
    for (uint32_t row = 0; row < n; row++)
        pack_row(out + row * ep, x + row * ld, e, ep);
    memset(out + n * ep, 0, (strips_up(n) - n) * ep * sizeof *out);
}

static void unpack_row(float *y, const float *x, uint32_t e, float factor)
{
    uint32_t i = 0;
    for (; i + VW <= e; i += VW)
        v_store(y + i, v_mul(v_load(x + i), v_set1(factor)));
    if (i < e)
        v_store_part(y + i, v_mul(v_load_part(x + i, e - i), v_set1(factor)), e - i);
}
