/* ref_xent.c: softmax cross-entropy over a head, in double, one row of logits at a time. */
#include "backend/ref/ref.h"

#include <math.h>
#include <string.h>

/* Fills logit[V] and returns log sum exp. */
static double logits_of(const double *h, const double *w, uint32_t v, uint32_t d, double *logit)
{
    double most = -INFINITY, sum = 0;
    for (uint32_t j = 0; j < v; j++) {
        logit[j] = 0;
        for (uint32_t i = 0; i < d; i++)
            logit[j] += h[i] * w[(size_t)j * d + i];
        most = fmax(most, logit[j]);
    }
    for (uint32_t j = 0; j < v; j++)
        sum += exp(logit[j] - most);
    return most + log(sum);
}

static void run(const Exec *x, const Node *node, double *dh, double *dw, double scale)
{
    Shape sh = exec_shape(x, node->in[0]);
    uint32_t d = sh.dim[1], v = exec_shape(x, node->in[1]).dim[0];
    const double *h = exec_in(x, node, 0), *w = exec_in(x, node, 1);
    const int32_t *target = exec_in(x, node, 2);
    double *loss = exec_out(x, node, 0), *logit = x->scratch;
    *loss = 0;
    if (dh)
        memset(dh, 0, (size_t)sh.dim[0] * d * sizeof *dh);
    for (uint32_t t = 0; t < sh.dim[0]; t++) {
        if (target[t] < 0)
            continue;
        double lse = logits_of(h + (size_t)t * d, w, v, d, logit);
        *loss += lse - logit[target[t]];
        for (uint32_t j = 0; j < v && dh; j++) {
            double g = scale * (exp(logit[j] - lse) - (j == (uint32_t)target[t]));
            for (uint32_t i = 0; i < d; i++) {
                dh[(size_t)t * d + i] += g * w[(size_t)j * d + i];
                if (dw)
                    dw[(size_t)j * d + i] += g * h[(size_t)t * d + i];
            }
        }
    }
}

void ref_xent(const Exec *x, const Node *node)
{
    run(x, node, NULL, NULL, 0);
}

void ref_xent_grad(const Exec *x, const Node *node)
{
    const double *scale = exec_in(x, node, 3);
    run(x, node, exec_out(x, node, 1), exec_in(x, node, 4), *scale);
}
