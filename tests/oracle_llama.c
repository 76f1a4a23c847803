/* oracle_llama.c: see oracle_llama.h.
 *
 * Each operation stands as a pair, forward then backward; a backward function adds to the gradients
 * it gives. Matrices are row-major; a weight W[N,M] takes x[M] to y[N]. */
#include "oracle_llama.h"

#include "base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- parameters ---- */

enum { PER_LAYER = 9 };
typedef enum { NORM_1, WQ, WK, WV, WO, NORM_2, GATE, UP, DOWN } LayerPart;

static const char *const layer_names[PER_LAYER] = {
    "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
    "self_attn.o_proj", "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj",
    "mlp.down_proj"};

static uint64_t layer_count(const ModelConfig *c, LayerPart part)
{
    uint64_t d = c->width, q = (uint64_t)c->heads * c->head_width;
    uint64_t kv = (uint64_t)c->kv_heads * c->head_width, f = c->ff_width;
    const uint64_t counts[PER_LAYER] = {d, q * d, kv * d, kv * d, d * q, d, f * d, f * d, d * f};
    return counts[part];
}

bool oracle_part(const ModelConfig *c, uint32_t index, OraclePart *out)
{
    uint64_t offset = 0, embedding = (uint64_t)c->vocab * c->width;
    uint32_t last = 1 + c->layers * PER_LAYER + (c->tied ? 0 : 1);
    for (uint32_t i = 0; i <= index && i <= last; i++) {
        uint32_t layer = (i - 1) / PER_LAYER, part = (i - 1) % PER_LAYER;
        *out = (OraclePart){.offset = offset, .count = embedding};
        if (i == 0) {
            snprintf(out->name, sizeof out->name, "model.embed_tokens.weight");
        } else if (layer < c->layers) {
            out->count = layer_count(c, part);
            snprintf(out->name, sizeof out->name, "model.layers.%u.%s.weight", layer,
                     layer_names[part]);
        } else if (i == 1 + c->layers * PER_LAYER) {
            out->count = c->width;
            snprintf(out->name, sizeof out->name, "model.norm.weight");
        } else {
            snprintf(out->name, sizeof out->name, "lm_head.weight");
        }
        offset += out->count;
    }
    return index <= last;
}

static uint64_t offset_of(const ModelConfig *c, uint32_t index)
{
    OraclePart part;
    bool found = oracle_part(c, index, &part);
    assert(found);
    (void)found;
    return part.offset;
}

/* ---- linear: y[T,N] += x[T,M] W[N,M]^T ---- */

static void linear(double *y, const double *x, const double *w, uint32_t t, uint32_t n, uint32_t m)
{
    for (uint32_t r = 0; r < t; r++) {
        for (uint32_t i = 0; i < n; i++) {
            for (uint32_t j = 0; j < m; j++)
                y[r * n + i] += x[r * m + j] * w[i * m + j];
        }
    }
}

static void linear_back(double *dx, double *dw, const double *dy, const double *x, const double *w,
                        uint32_t t, uint32_t n, uint32_t m)
{
    for (uint32_t r = 0; r < t; r++) {
        for (uint32_t i = 0; i < n; i++) {
            for (uint32_t j = 0; j < m; j++) {
                dx[r * m + j] += dy[r * n + i] * w[i * m + j];
                dw[i * m + j] += dy[r * n + i] * x[r * m + j];
            }
        }
    }
}

/* ---- RMSNorm: y = x / sqrt(mean x^2 + eps) * w ---- */

static double inverse_rms(const double *x, uint32_t d, double eps)
{
    double sum = 0;
    for (uint32_t i = 0; i < d; i++)
        sum += x[i] * x[i];
    return 1 / sqrt(sum / d + eps);
}

static void norm(double *y, const double *x, const double *w, uint32_t t, uint32_t d, double eps)
{
    for (uint32_t r = 0; r < t; r++) {
        double s = inverse_rms(x + r * d, d, eps);
        for (uint32_t i = 0; i < d; i++)
            y[r * d + i] = x[r * d + i] * s * w[i];
    }
}

/* With s = 1 / rms: dx = s w dy - x s^3 / D sum(w dy x). */
static void norm_back(double *dx, double *dw, const double *dy, const double *x, const double *w,
                      uint32_t t, uint32_t d, double eps)
{
    for (uint32_t r = 0; r < t; r++) {
        const double *in = x + r * d, *g = dy + r * d;
        double s = inverse_rms(in, d, eps), dot = 0;
        for (uint32_t i = 0; i < d; i++) {
            dw[i] += g[i] * in[i] * s;
            dot += g[i] * w[i] * in[i];
        }
        for (uint32_t i = 0; i < d; i++)
            dx[r * d + i] += s * w[i] * g[i] - in[i] * s * s * s / d * dot;
    }
}

/* ---- rotary positions: pairs (i, i + E/2) turned by pos * theta^(-2 i / E); in place ---- */

/* The inverse turn is its backward pass. */
static void rotate(double *x, const int32_t *pos, uint32_t t, uint32_t heads, uint32_t e,
                   double theta, double sign)
{
    for (uint32_t r = 0; r < t * heads; r++) {
        double *head = x + r * e;
        for (uint32_t i = 0; i < e / 2; i++) {
            double angle = pos[r / heads] * pow(theta, -2.0 * i / e), a = head[i];
            double b = head[i + e / 2], cosine = cos(angle), sine = sign * sin(angle);
            head[i] = a * cosine - b * sine;
            head[i + e / 2] = a * sine + b * cosine;
        }
    }
}

/* ---- attention: the probabilities p[T,H,T] are kept for the backward pass ---- */

static bool sees(const ModelConfig *c, const int32_t *start, uint32_t t, uint32_t j)
{
    return j <= t && (int32_t)j >= start[t] && (c->window == 0 || t - j < c->window);
}

/* k and v rows of query head h */
static uint32_t kv_at(const ModelConfig *c, uint32_t j, uint32_t h)
{
    return (j * c->kv_heads + h / (c->heads / c->kv_heads)) * c->head_width;
}

static void attend(double *y, double *p, const double *q, const double *k, const double *v,
                   const OracleRow *row, const ModelConfig *c)
{
    uint32_t n = row->tokens, e = c->head_width;
    for (uint32_t t = 0; t < n; t++) {
        for (uint32_t h = 0; h < c->heads; h++) {
            const double *query = q + (t * c->heads + h) * e;
            double *share = p + (t * c->heads + h) * n, sum = 0;
            for (uint32_t j = 0; j < n; j++) {
                double dot = 0;
                for (uint32_t i = 0; i < e; i++)
                    dot += query[i] * k[kv_at(c, j, h) + i];
                share[j] = sees(c, row->start, t, j) ? exp(dot / sqrt(e)) : 0;
                sum += share[j];
            }
            for (uint32_t j = 0; j < n; j++) {
                share[j] /= sum;
                for (uint32_t i = 0; i < e; i++)
                    y[(t * c->heads + h) * e + i] += share[j] * v[kv_at(c, j, h) + i];
            }
        }
    }
}

/* Through the softmax: ds_j = p_j (dp_j - sum_k p_k dp_k), with dp_j = dy . v_j. */
static void attend_back(double *dq, double *dk, double *dv, const double *dy, const double *p,
                        const double *q, const double *k, const double *v, const OracleRow *row,
                        const ModelConfig *c)
{
    uint32_t n = row->tokens, e = c->head_width;
    for (uint32_t th = 0; th < n * c->heads; th++) {
        uint32_t h = th % c->heads;
        const double *share = p + th * n, *g = dy + th * e;
        double mean = 0;
        for (uint32_t pass = 0; pass < 2; pass++) {
            for (uint32_t j = 0; j < n; j++) {
                uint32_t at = kv_at(c, j, h);
                double dp = 0;
                for (uint32_t i = 0; i < e; i++)
                    dp += g[i] * v[at + i];
                if (pass == 0) {
                    mean += share[j] * dp;
                    continue;
                }
                double ds = share[j] * (dp - mean) / sqrt(e);
                for (uint32_t i = 0; i < e; i++) {
                    dv[at + i] += share[j] * g[i];
                    dq[th * e + i] += ds * k[at + i];
                    dk[at + i] += ds * q[th * e + i];
                }
            }
        }
    }
}

/* ---- SwiGLU: y = a / (1 + exp(-a)) * b ---- */

static void swiglu(double *y, const double *a, const double *b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        y[i] = a[i] / (1 + exp(-a[i])) * b[i];
}

static void swiglu_back(double *da, double *db, const double *dy, const double *a, const double *b,
                        uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        double s = 1 / (1 + exp(-a[i]));
        da[i] += dy[i] * b[i] * (s + a[i] * s * (1 - s));
        db[i] += dy[i] * a[i] * s;
    }
}

/* ---- cross-entropy: logits become d(loss)/d(logits) ---- */

static double cross_entropy(double *logits, const int32_t *target, uint32_t t, uint32_t v)
{
    double loss = 0;
    for (uint32_t r = 0; r < t; r++) {
        double *l = logits + r * v, sum = 0;
        if (target[r] < 0) {
            memset(l, 0, v * sizeof *l);
            continue;
        }
        for (uint32_t i = 0; i < v; i++)
            sum += exp(l[i]);
        loss += log(sum) - l[target[r]];
        for (uint32_t i = 0; i < v; i++)
            l[i] = exp(l[i]) / sum - (i == (uint32_t)target[r]);
    }
    return loss;
}

/* ---- one layer ---- */

/* What a layer keeps, [T] rows of each; the same names hold the gradients on the way back. */
typedef struct {
    double *x, *h1, *q, *k, *v, *p, *y, *mid, *h2, *a, *b, *s, *out;
} Kept;

typedef struct {
    const ModelConfig *c;
    const OracleRow *row;
    const double *w;
    double *g;
    uint32_t t, d, qw, kw, f;
} Oracle;

static double *take(double **at, uint64_t count)
{
    double *piece = *at;
    *at += count;
    return piece;
}

static uint64_t kept_count(const Oracle *o)
{
    uint64_t row = 5ull * o->d + 2ull * o->qw + 2ull * o->kw + 3ull * o->f;
    return o->t * (row + (uint64_t)o->c->heads * o->t);
}

static Kept lay_out(const Oracle *o, double *at)
{
    uint64_t t = o->t;
    return (Kept){.x = take(&at, t * o->d), .h1 = take(&at, t * o->d), .q = take(&at, t * o->qw),
                  .k = take(&at, t * o->kw), .v = take(&at, t * o->kw),
                  .p = take(&at, t * o->c->heads * t), .y = take(&at, t * o->qw),
                  .mid = take(&at, t * o->d), .h2 = take(&at, t * o->d), .a = take(&at, t * o->f),
                  .b = take(&at, t * o->f), .s = take(&at, t * o->f), .out = take(&at, t * o->d)};
}

static uint64_t weight_at(const Oracle *o, uint32_t layer, LayerPart part)
{
    return offset_of(o->c, 1 + layer * PER_LAYER + part);
}

static void forward(const Oracle *o, uint32_t layer, const Kept *m)
{
    const ModelConfig *c = o->c;
    const double *w[PER_LAYER];
    for (uint32_t i = 0; i < PER_LAYER; i++)
        w[i] = o->w + weight_at(o, layer, i);
    norm(m->h1, m->x, w[NORM_1], o->t, o->d, c->eps);
    linear(m->q, m->h1, w[WQ], o->t, o->qw, o->d);
    linear(m->k, m->h1, w[WK], o->t, o->kw, o->d);
    linear(m->v, m->h1, w[WV], o->t, o->kw, o->d);
    rotate(m->q, o->row->pos, o->t, c->heads, c->head_width, c->theta, 1);
    rotate(m->k, o->row->pos, o->t, c->kv_heads, c->head_width, c->theta, 1);
    attend(m->y, m->p, m->q, m->k, m->v, o->row, c);
    memcpy(m->mid, m->x, (size_t)o->t * o->d * sizeof *m->mid);
    linear(m->mid, m->y, w[WO], o->t, o->d, o->qw);
    norm(m->h2, m->mid, w[NORM_2], o->t, o->d, c->eps);
    linear(m->a, m->h2, w[GATE], o->t, o->f, o->d);
    linear(m->b, m->h2, w[UP], o->t, o->f, o->d);
    swiglu(m->s, m->a, m->b, o->t * o->f);
    memcpy(m->out, m->mid, (size_t)o->t * o->d * sizeof *m->out);
    linear(m->out, m->s, w[DOWN], o->t, o->d, o->f);
}

/* d->out is given; d->x comes out. All else in d is zero before. */
static void backward(const Oracle *o, uint32_t layer, const Kept *m, const Kept *d)
{
    const ModelConfig *c = o->c;
    const double *w[PER_LAYER];
    double *g[PER_LAYER];
    for (uint32_t i = 0; i < PER_LAYER; i++) {
        w[i] = o->w + weight_at(o, layer, i);
        g[i] = o->g + weight_at(o, layer, i);
    }
    memcpy(d->mid, d->out, (size_t)o->t * o->d * sizeof *d->mid);
    linear_back(d->s, g[DOWN], d->out, m->s, w[DOWN], o->t, o->d, o->f);
    swiglu_back(d->a, d->b, d->s, m->a, m->b, o->t * o->f);
    linear_back(d->h2, g[GATE], d->a, m->h2, w[GATE], o->t, o->f, o->d);
    linear_back(d->h2, g[UP], d->b, m->h2, w[UP], o->t, o->f, o->d);
    norm_back(d->mid, g[NORM_2], d->h2, m->mid, w[NORM_2], o->t, o->d, c->eps);
    memcpy(d->x, d->mid, (size_t)o->t * o->d * sizeof *d->x);
    linear_back(d->y, g[WO], d->mid, m->y, w[WO], o->t, o->d, o->qw);
    attend_back(d->q, d->k, d->v, d->y, m->p, m->q, m->k, m->v, o->row, c);
    rotate(d->q, o->row->pos, o->t, c->heads, c->head_width, c->theta, -1);
    rotate(d->k, o->row->pos, o->t, c->kv_heads, c->head_width, c->theta, -1);
    linear_back(d->h1, g[WQ], d->q, m->h1, w[WQ], o->t, o->qw, o->d);
    linear_back(d->h1, g[WK], d->k, m->h1, w[WK], o->t, o->kw, o->d);
    linear_back(d->h1, g[WV], d->v, m->h1, w[WV], o->t, o->kw, o->d);
    norm_back(d->x, g[NORM_1], d->h1, m->x, w[NORM_1], o->t, o->d, c->eps);
}

/* ---- the whole ---- */

double oracle_llama(const ModelConfig *c, const OracleRow *row, const double *weights,
                    double *gradients)
{
    Oracle o = {c, row, weights, gradients, row->tokens, c->width, c->heads * c->head_width,
                c->kv_heads * c->head_width, c->ff_width};
    uint32_t final = 1 + c->layers * PER_LAYER;
    uint64_t norm_at = offset_of(c, final), head_at = c->tied ? 0 : offset_of(c, final + 1);
    uint64_t each = kept_count(&o), xs = (uint64_t)o.t * o.d;
    auto_free double *slab = mem_alloc((c->layers + 1) * each, sizeof *slab);
    auto_free double *tail = mem_alloc(2 * xs + (uint64_t)o.t * c->vocab, sizeof *tail);
    assert(slab && tail);
    double *h = tail, *dh = tail + xs, *logits = tail + 2 * xs, *x = slab;
    for (uint32_t r = 0; r < o.t; r++)
        memcpy(x + r * o.d, weights + (uint64_t)row->ids[r] * o.d, o.d * sizeof *x);
    for (uint32_t layer = 0; layer < c->layers; layer++) {
        Kept m = lay_out(&o, slab + layer * each);
        memcpy(m.x, x, xs * sizeof *x);
        forward(&o, layer, &m);
        x = m.out;
    }
    norm(h, x, weights + norm_at, o.t, o.d, c->eps);
    linear(logits, h, weights + head_at, o.t, c->vocab, o.d);
    double loss = cross_entropy(logits, row->target, o.t, c->vocab);
    if (!gradients)
        return loss;
    Kept d = lay_out(&o, slab + c->layers * each);
    linear_back(dh, gradients + head_at, logits, h, weights + head_at, o.t, c->vocab, o.d);
    norm_back(d.out, gradients + norm_at, dh, x, weights + norm_at, o.t, o.d, c->eps);
    for (uint32_t layer = c->layers; layer-- > 0;) {
        Kept m = lay_out(&o, slab + layer * each);
        backward(&o, layer, &m, &d);
        memcpy(dh, d.x, xs * sizeof *dh);
        memset(slab + c->layers * each, 0, each * sizeof *slab);
        memcpy(d.out, dh, xs * sizeof *dh);
    }
    for (uint64_t i = 0; i < xs; i++)
        gradients[(uint64_t)row->ids[i / o.d] * o.d + i % o.d] += d.out[i];
    return loss;
}
