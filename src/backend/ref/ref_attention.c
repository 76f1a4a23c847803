/* ref_attention.c: softmax attention, its gradient, and its cached form, in double. */
#include "backend/ref/ref.h"

#include <math.h>
#include <string.h>

static double dot(const double *a, const double *b, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* First token that t attends to: its document's start, or the edge of the window. */
static uint32_t first_of(const int32_t *start, uint32_t t, uint32_t window)
{
    uint32_t first = (uint32_t)start[t];
    return window && t + 1 > first + window ? t + 1 - window : first;
}

void ref_attention(const Exec *x, const Node *node)
{
    AttentionArgs a = node->args.attention;
    uint32_t tokens = exec_shape(x, node->in[0]).dim[0], e = a.width, group = a.heads / a.kv_heads;
    const double *q = exec_in(x, node, 0), *k = exec_in(x, node, 1), *v = exec_in(x, node, 2);
    const int32_t *start = exec_in(x, node, 3);
    double *y = exec_out(x, node, 0), *lse = exec_out(x, node, 1), *score = x->scratch;
    for (uint32_t t = 0; t < tokens; t++) {
        for (uint32_t h = 0; h < a.heads; h++) {
            const double *query = q + ((size_t)t * a.heads + h) * e;
            uint32_t first = first_of(start, t, a.window), kv = h / group;
            double most = -INFINITY, sum = 0;
            for (uint32_t j = first; j <= t; j++) {
                score[j] = a.scale * dot(query, k + ((size_t)j * a.kv_heads + kv) * e, e);
                most = fmax(most, score[j]);
            }
            for (uint32_t j = first; j <= t; j++)
                sum += exp(score[j] - most);
            double *out = y + ((size_t)t * a.heads + h) * e;
            memset(out, 0, e * sizeof *out);
            for (uint32_t j = first; j <= t; j++) {
                double p = exp(score[j] - most) / sum;
                for (uint32_t i = 0; i < e; i++)
                    out[i] += p * v[((size_t)j * a.kv_heads + kv) * e + i];
            }
            lse[(size_t)t * a.heads + h] = most + log(sum);
        }
    }
}

/* With p = exp(score - lse): dv += p dy; ds = p (dy.v - dy.y); dq += scale ds k; dk += scale ds q. */
void ref_attention_back(const Exec *x, const Node *node)
{
    AttentionArgs a = node->args.attention;
    uint32_t tokens = exec_shape(x, node->in[0]).dim[0], e = a.width, group = a.heads / a.kv_heads;
    const double *q = exec_in(x, node, 0), *k = exec_in(x, node, 1), *v = exec_in(x, node, 2);
    const double *y = exec_in(x, node, 3), *lse = exec_in(x, node, 4), *dy = exec_in(x, node, 5);
    const int32_t *start = exec_in(x, node, 6);
    double *dq = exec_out(x, node, 0), *dk = exec_out(x, node, 1), *dv = exec_out(x, node, 2);
    memset(dq, 0, (size_t)tokens * a.heads * e * sizeof *dq);
    memset(dk, 0, (size_t)tokens * a.kv_heads * e * sizeof *dk);
    memset(dv, 0, (size_t)tokens * a.kv_heads * e * sizeof *dv);
    for (uint32_t t = 0; t < tokens; t++) {
        for (uint32_t h = 0; h < a.heads; h++) {
            size_t at = ((size_t)t * a.heads + h) * e;
            double own = dot(dy + at, y + at, e);
            for (uint32_t j = first_of(start, t, a.window); j <= t; j++) {
                size_t kv = ((size_t)j * a.kv_heads + h / group) * e;
                double p = exp(a.scale * dot(q + at, k + kv, e) - lse[(size_t)t * a.heads + h]);
                double ds = a.scale * p * (dot(dy + at, v + kv, e) - own);
                for (uint32_t i = 0; i < e; i++) {
                    dv[kv + i] += p * dy[at + i];
                    dq[at + i] += ds * k[kv + i];
                    dk[kv + i] += ds * q[at + i];
                }
            }
        }
    }
}

void ref_attention_cached(const Exec *x, const Node *node)
{
    AttentionArgs a = node->args.attention;
    uint32_t tokens = exec_shape(x, node->in[0]).dim[0], e = a.width, group = a.heads / a.kv_heads;
    const double *q = exec_in(x, node, 0), *k = exec_in(x, node, 1), *v = exec_in(x, node, 2);
    const int32_t *seq = exec_in(x, node, 3), *pos = exec_in(x, node, 4);
    const int32_t *pages = exec_in(x, node, 5);
    uint32_t pages_max = exec_shape(x, node->in[5]).dim[1];
    double *y = exec_out(x, node, 0), *score = x->scratch;
    for (uint32_t t = 0; t < tokens; t++) {
        for (uint32_t h = 0; h < a.heads; h++) {
            const double *query = q + ((size_t)t * a.heads + h) * e;
            uint32_t last = (uint32_t)pos[t];
            uint32_t first = a.window && last + 1 > a.window ? last + 1 - a.window : 0;
            const int32_t *page = pages + (size_t)seq[t] * pages_max;
            double most = -INFINITY, sum = 0;
            for (uint32_t j = first; j <= last; j++) {
                size_t row = (size_t)page[j / a.page] * a.page + j % a.page;
                score[j] = a.scale * dot(query, k + (row * a.kv_heads + h / group) * e, e);
                most = fmax(most, score[j]);
            }
            for (uint32_t j = first; j <= last; j++)
                sum += exp(score[j] - most);
            double *out = y + ((size_t)t * a.heads + h) * e;
            memset(out, 0, e * sizeof *out);
            for (uint32_t j = first; j <= last; j++) {
                size_t row = (size_t)page[j / a.page] * a.page + j % a.page;
                double p = exp(score[j] - most) / sum;
                for (uint32_t i = 0; i < e; i++)
                    out[i] += p * v[(row * a.kv_heads + h / group) * e + i];
            }
        }
    }
}
