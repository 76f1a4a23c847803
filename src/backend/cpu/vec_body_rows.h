/* vec_body_rows.h: rows and flat runs, over the primitives of one instruction set.
 * An element's bits do not depend on where it lies: the last, partial vector of a run goes through
 * the same operations as the whole ones. Sums over a row use four running vectors, then a tree. */

/* e^x to about 1 ulp: x = n ln 2 + r, polynomial of degree 6 in r. 0 below -86.6, so that no result
 * is subnormal. */
static inline V v_exp(V x)
{
    V y = v_min(v_set1(89.0f), x);
    V n = v_round(v_mul(y, v_set1(1.44269504f)));
    V r = v_nfma(n, v_set1(0.693145752f), y); /* ln 2 in two parts; the first has zeros to spare */
    r = v_nfma(n, v_set1(1.42860677e-6f), r);
    V p = v_fma(r, v_set1(1.392618171e-3f), v_set1(8.363178000e-3f));
    p = v_fma(r, p, v_set1(4.166655615e-2f));
    p = v_fma(r, p, v_set1(1.666657627e-1f));
    p = v_fma(r, p, v_set1(0.5f));
    p = v_fma(v_mul(r, r), p, r);
    return v_exp_scale(v_add(p, v_set1(1.0f)), n, x, -86.6f);
}

/* 2^x to about 1 ulp for x <= 127; 0 below -125. */
static inline V v_exp2(V x)
{
    V n = v_round(x), r = v_sub(x, n);
    V p = v_fma(r, v_set1(1.545316336e-4f), v_set1(1.339086331e-3f));
    p = v_fma(r, p, v_set1(9.618083015e-3f));
    p = v_fma(r, p, v_set1(5.550356954e-2f));
    p = v_fma(r, p, v_set1(2.402265072e-1f));
    p = v_fma(r, p, v_set1(6.931471825e-1f));
    return v_exp_scale(v_fma(r, p, v_set1(1.0f)), n, x, -125.0f);
}

/* ---- flat runs ---- */

static void flat_add(float *y, const float *a, const float *b, size_t n)
{
    size_t i = 0;
    for (; i + VW <= n; i += VW)
        v_store(y + i, v_add(v_load(a + i), v_load(b + i)));
    unsigned rest = (unsigned)(n - i);
    if (rest)
        v_store_part(y + i, v_add(v_load_part(a + i, rest), v_load_part(b + i, rest)), rest);
}

static void flat_mul(float *y, const float *a, const float *b, size_t n)
{
    size_t i = 0;
    for (; i + VW <= n; i += VW)
        v_store(y + i, v_mul(v_load(a + i), v_load(b + i)));
    unsigned rest = (unsigned)(n - i);
    if (rest)
        v_store_part(y + i, v_mul(v_load_part(a + i, rest), v_load_part(b + i, rest)), rest);
}

static void flat_scale(float *y, const float *x, float factor, size_t n)
{
    size_t i = 0;
    for (; i + VW <= n; i += VW)
        v_store(y + i, v_mul(v_load(x + i), v_set1(factor)));
    unsigned rest = (unsigned)(n - i);
    if (rest)
        v_store_part(y + i, v_mul(v_load_part(x + i, rest), v_set1(factor)), rest);
}

/* 1 / (1 + e^-g) */
static inline V v_sigmoid(V g)
{
    V one = v_set1(1.0f);
    return v_div(one, v_add(one, v_exp(v_sub(v_zero(), g))));
}

static void flat_swiglu(float *y, const float *g, const float *u, size_t n)
{
    size_t i = 0;
    for (; i + VW <= n; i += VW) {
        V x = v_load(g + i);
        v_store(y + i, v_mul(v_mul(x, v_sigmoid(x)), v_load(u + i)));
    }
    unsigned rest = (unsigned)(n - i);
    if (rest) {
        V x = v_load_part(g + i, rest);
        v_store_part(y + i, v_mul(v_mul(x, v_sigmoid(x)), v_load_part(u + i, rest)), rest);
    }
}

/* silu'(g) = s (1 + g (1 - s)) with s = sigmoid(g) */
static inline void swiglu_back_vector(V *dg, V *du, V g, V u, V dy)
{
    V one = v_set1(1.0f), s = v_sigmoid(g);
    V slope = v_mul(s, v_fma(g, v_sub(one, s), one));
    *du = v_mul(dy, v_mul(g, s));
    *dg = v_mul(v_mul(dy, u), slope);
}

static void flat_swiglu_back(float *dg, float *du, const float *g, const float *u, const float *dy,
                             size_t n)
{
    V a, b;
    size_t i = 0;
    for (; i + VW <= n; i += VW) {
        swiglu_back_vector(&a, &b, v_load(g + i), v_load(u + i), v_load(dy + i));
        v_store(dg + i, a);
        v_store(du + i, b);
    }
    unsigned rest = (unsigned)(n - i);
    if (rest) {
        swiglu_back_vector(&a, &b, v_load_part(g + i, rest), v_load_part(u + i, rest),
                           v_load_part(dy + i, rest));
        v_store_part(dg + i, a, rest);
        v_store_part(du + i, b, rest);
    }
}

static double flat_sum_squares(const float *x, size_t n)
{
    W sum[4] = {w_zero(), w_zero(), w_zero(), w_zero()};
    size_t i = 0;
    for (; i + 4 * WW <= n; i += 4 * WW)
        for (unsigned j = 0; j < 4; j++) {
            W a = w_load(x + i + j * WW);
            sum[j] = w_fma(a, a, sum[j]);
        }
    double total = w_sum(w_add(w_add(sum[0], sum[1]), w_add(sum[2], sum[3])));
    for (; i < n; i++)
        total += (double)x[i] * x[i];
    return total;
}

/* One vector of AdamW; see vec.h for the formula. */
static inline void adamw_vector(V *p, V g, V *m, V *v, const VecAdamStep *step)
{
    g = v_mul(g, v_set1(step->gradient_scale));
    *m = v_fma(v_set1(step->beta1), *m, v_mul(v_set1(step->rest1), g));
    *v = v_fma(v_set1(step->beta2), *v, v_mul(v_set1(step->rest2), v_mul(g, g)));
    V root = v_sqrt(v_mul(*v, v_set1(step->unbias2)));
    V move = v_div(v_mul(*m, v_set1(step->unbias1)), v_add(root, v_set1(step->eps)));
    *p = v_nfma(v_set1(step->rate), v_fma(v_set1(step->decay), *p, move), *p);
}

static void flat_adamw(float *p, float *g, float *m, float *v, const VecAdamStep *step, size_t n)
{
    size_t i = 0;
    for (; i + VW <= n; i += VW) {
        V a = v_load(p + i), b = v_load(m + i), c = v_load(v + i);
        adamw_vector(&a, v_load(g + i), &b, &c, step);
        v_store(p + i, a);
        v_store(m + i, b);
        v_store(v + i, c);
        if (step->clear)
            v_store(g + i, v_zero());
    }
    unsigned rest = (unsigned)(n - i);
    if (rest) {
        V a = v_load_part(p + i, rest), b = v_load_part(m + i, rest), c = v_load_part(v + i, rest);
        adamw_vector(&a, v_load_part(g + i, rest), &b, &c, step);
        v_store_part(p + i, a, rest);
        v_store_part(m + i, b, rest);
        v_store_part(v + i, c, rest);
        if (step->clear)
            v_store_part(g + i, v_zero(), rest);
    }
}

/* ---- root mean square norm ---- */

/* Sum over a row of a[i] * b[i] * c[i] (c NULL: of a[i] * b[i]). */
ALWAYS float row_dot(const float *a, const float *b, const float *c, uint32_t n)
{
    V sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    uint32_t i = 0;
    for (; i + 4 * VW <= n; i += 4 * VW)
        for (unsigned j = 0; j < 4; j++) {
            V x = v_load(a + i + j * VW);
            x = c ? v_mul(x, v_load(c + i + j * VW)) : x;
            sum[j] = v_fma(x, v_load(b + i + j * VW), sum[j]);
        }
    for (unsigned j = 0; i < n; i += VW, j++) {
        unsigned part = n - i < VW ? n - i : VW;
        V x = part == VW ? v_load(a + i) : v_load_part(a + i, part);
        if (c)
            x = v_mul(x, part == VW ? v_load(c + i) : v_load_part(c + i, part));
        V y = part == VW ? v_load(b + i) : v_load_part(b + i, part);
        sum[j] = v_fma(x, y, sum[j]);
    }
    return v_sum(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));
}

static void rows_rms_norm(float *y, const float *x, const float *w, float eps, uint32_t rows,
                          uint32_t d)
{
    for (uint32_t row = 0; row < rows; row++, x += d, y += d) {
        V r = v_set1(1.0f / sqrtf(row_dot(x, x, NULL, d) / (float)d + eps));
        uint32_t i = 0;
        for (; i + VW <= d; i += VW)
            v_store(y + i, v_mul(v_mul(v_load(x + i), r), v_load(w + i)));
        unsigned rest = d - i;
        if (rest)
            v_store_part(y + i, v_mul(v_mul(v_load_part(x + i, rest), r), v_load_part(w + i, rest)),
                         rest);
    }
}

/* With r = 1 / sqrt(mean x^2 + eps): y = x r w, so dw = dy x r and
 * dx = r w dy - x r^3 / D * sum(w dy x). */
static void rows_rms_norm_back(float *dx, float *dw, const float *x, const float *w,
                               const float *dy, float eps, uint32_t rows, uint32_t d)
{
    memset(dw, 0, d * sizeof *dw);
    for (uint32_t row = 0; row < rows; row++, x += d, dy += d, dx += d) {
        float scale = 1.0f / sqrtf(row_dot(x, x, NULL, d) / (float)d + eps);
        float along = row_dot(dy, x, w, d) * scale * scale * scale / (float)d;
        V r = v_set1(scale), back = v_set1(along);
        uint32_t i = 0;
        for (; i + VW <= d; i += VW) {
            V a = v_load(x + i), g = v_mul(v_load(dy + i), r);
            v_store(dw + i, v_fma(g, a, v_load(dw + i)));
            v_store(dx + i, v_nfma(a, back, v_mul(g, v_load(w + i))));
        }
        unsigned rest = d - i;
        if (rest) {
            V a = v_load_part(x + i, rest), g = v_mul(v_load_part(dy + i, rest), r);
            v_store_part(dw + i, v_fma(g, a, v_load_part(dw + i, rest)), rest);
            v_store_part(dx + i, v_nfma(a, back, v_mul(g, v_load_part(w + i, rest))), rest);
        }
    }
}

/* ---- rotary embedding ---- */

/* Sine and cosine of `turn` turns, |turn| <= 1/2, to about 1e-7: the half turn is taken off first,
 * polynomials over a quarter turn either side. */
static inline void v_turn(V turn, V *sine, V *cosine)
{
    V half = v_round(v_add(turn, turn)); /* -1, 0 or 1 */
    V r = v_nfma(half, v_set1(0.5f), turn), z = v_mul(r, r);
    V sign = v_nfma(v_add(half, half), half, v_set1(1.0f));
    V s = v_fma(z, v_set1(-1.439396667e+1f), v_set1(4.200978088e+1f));
    s = v_fma(z, s, v_set1(-7.670427704e+1f));
    s = v_fma(z, s, v_set1(8.160522461e+1f));
    s = v_fma(z, s, v_set1(-4.134170151e+1f));
    s = v_fma(z, s, v_set1(6.283185482f));
    V c = v_fma(z, v_set1(7.588209629f), v_set1(-2.640422440e+1f));
    c = v_fma(z, c, v_set1(6.024393082e+1f));
    c = v_fma(z, c, v_set1(-8.545681000e+1f));
    c = v_fma(z, c, v_set1(6.493939209e+1f));
    c = v_fma(z, c, v_set1(-1.973920822e+1f));
    *sine = v_mul(sign, v_mul(r, s));
    *cosine = v_mul(sign, v_fma(z, c, v_set1(1.0f)));
}

/* Sines and cosines of one position for every pair; half = E/2. The angle is reduced in double, so
 * that large positions keep all digits. */
static void rope_table(float *sine, float *cosine, int32_t pos, const double *turns, uint32_t half,
                       bool inverse)
{
    const double shift = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to an integer */
    for (uint32_t i = 0; i < half; i++) {
        double turn = pos * turns[i];
        double whole = (turn + shift) - shift;
        sine[i] = (float)(turn - whole);
    }
    for (uint32_t i = 0; i < half; i += VW) {
        V s, c;
        v_turn(v_load(sine + i), &s, &c);
        v_store(sine + i, inverse ? v_sub(v_zero(), s) : s);
        v_store(cosine + i, c);
    }
}

static void rows_rope(const VecRope *rope, uint32_t first, uint32_t end)
{
    float sine[VEC_E_MAX / 2 + VW] = {0}, cosine[VEC_E_MAX / 2 + VW];
    uint32_t half = rope->e / 2;
    for (uint32_t t = first; t < end; t++) {
        float *x = rope->x + (size_t)t * rope->heads * rope->e;
        rope_table(sine, cosine, rope->pos[t], rope->turns, half, rope->inverse);
        for (uint32_t head = 0; head < rope->heads; head++, x += rope->e) {
            uint32_t i = 0;
            for (; i + VW <= half; i += VW) {
                V a = v_load(x + i), b = v_load(x + half + i);
                V s = v_load(sine + i), c = v_load(cosine + i);
                v_store(x + i, v_nfma(b, s, v_mul(a, c)));
                v_store(x + half + i, v_fma(a, s, v_mul(b, c)));
            }
            unsigned rest = half - i;
            if (rest) {
                V a = v_load_part(x + i, rest), b = v_load_part(x + half + i, rest);
                V s = v_load_part(sine + i, rest), c = v_load_part(cosine + i, rest);
                v_store_part(x + i, v_nfma(b, s, v_mul(a, c)), rest);
                v_store_part(x + half + i, v_fma(a, s, v_mul(b, c)), rest);
            }
        }
    }
}

/* ---- softmax cross-entropy ---- */

static float row_largest(const float *x, uint32_t n)
{
    V top[4] = {v_set1(-INFINITY), v_set1(-INFINITY), v_set1(-INFINITY), v_set1(-INFINITY)};
    uint32_t i = 0;
    for (; i + 4 * VW <= n; i += 4 * VW)
        for (unsigned j = 0; j < 4; j++)
            top[j] = v_max(top[j], v_load(x + i + j * VW));
    float most = v_largest(v_max(v_max(top[0], top[1]), v_max(top[2], top[3])));
    for (; i < n; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

/* Sum of e^(x - most); when `keep`, x becomes those terms. Blocks are summed in double. */
ALWAYS double row_exp(float *x, float most, uint32_t n, const bool keep)
{
    double total = 0;
    V top = v_set1(most);
    for (uint32_t i = 0; i < n;) {
        uint32_t stop = n - i < 4096 ? n : i + 4096;
        V sum[2] = {v_zero(), v_zero()};
        for (; i + 2 * VW <= stop; i += 2 * VW)
            for (unsigned j = 0; j < 2; j++) {
                V p = v_exp(v_sub(v_load(x + i + j * VW), top));
                sum[j] = v_add(sum[j], p);
                if (keep)
                    v_store(x + i + j * VW, p);
            }
        total += v_sum(v_add(sum[0], sum[1]));
        while (i < stop) {
            unsigned part = stop - i < VW ? stop - i : VW;
            float lanes[VW];
            v_store(lanes, v_exp(v_sub(v_load_part(x + i, part), top)));
            for (unsigned j = 0; j < part; j++, i++) {
                total += lanes[j];
                if (keep)
                    x[i] = lanes[j];
            }
        }
    }
    return total;
}

static double row_xent(float *x, uint32_t v, int32_t target, bool gradient, float factor)
{
    float most = row_largest(x, v);
    double wanted = (double)x[target] - most;
    double total = gradient ? row_exp(x, most, v, true) : row_exp(x, most, v, false);
    if (gradient) {
        flat_scale(x, x, (float)(factor / total), v);
        x[target] -= factor;
    }
    return log(total) - wanted;
}
