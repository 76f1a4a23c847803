/* ref_experts.c: which experts a token goes to, their products, and the sum of what they say, in
 * double. Row t C + c of a list of pairs is token t with its c-th expert. */
#include "backend/ref/ref.h"

#include <math.h>
#include <string.h>

static bool is_taken(const int32_t *choice, uint32_t count, uint32_t expert)
{
    for (uint32_t c = 0; c < count; c++) {
        if (choice[c] == (int32_t)expert)
            return true;
    }
    return false;
}

/* The most likely expert that is not among the first `count` chosen; the lower number of equals. */
static uint32_t next_best(const double *logit, uint32_t n, const int32_t *choice, uint32_t count)
{
    uint32_t best = n;
    for (uint32_t e = 0; e < n; e++) {
        if (!is_taken(choice, count, e) && (best == n || logit[e] > logit[best]))
            best = e;
    }
    return best;
}

/* Sum of e^(logit - top) over the experts that share the weight. */
static double total_of(const double *logit, uint32_t n, const int32_t *choice, RouteArgs args)
{
    double sum = 0;
    for (uint32_t e = 0; e < n; e++) {
        if (!args.renormalise || is_taken(choice, args.chosen, e))
            sum += exp(logit[e] - logit[choice[0]]);
    }
    return sum;
}

void ref_route(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->in[0]);
    RouteArgs args = node->args.route;
    for (uint32_t t = 0; t < shape.dim[0]; t++) {
        const double *logit = (const double *)exec_in(x, node, 0) + (size_t)t * shape.dim[1];
        double *weight = (double *)exec_out(x, node, 0) + (size_t)t * args.chosen;
        int32_t *choice = (int32_t *)exec_out(x, node, 1) + (size_t)t * args.chosen;
        for (uint32_t c = 0; c < args.chosen; c++)
            choice[c] = (int32_t)next_best(logit, shape.dim[1], choice, c);
        double total = total_of(logit, shape.dim[1], choice, args);
        for (uint32_t c = 0; c < args.chosen; c++)
            weight[c] = exp(logit[choice[c]] - logit[choice[0]]) / total;
    }
}

/* With shares p of the softmax: dlogit[e] = p[e] (dweight of e, or 0 - sum_c weight[c] dweight[c]). */
void ref_route_back(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->in[0]);
    RouteArgs args = node->args.route;
    uint32_t n = shape.dim[1];
    for (uint32_t t = 0; t < shape.dim[0]; t++) {
        const double *logit = (const double *)exec_in(x, node, 0) + (size_t)t * n;
        const double *weight = (const double *)exec_in(x, node, 1) + (size_t)t * args.chosen;
        const int32_t *choice = (const int32_t *)exec_in(x, node, 2) + (size_t)t * args.chosen;
        const double *dweight = (const double *)exec_in(x, node, 3) + (size_t)t * args.chosen;
        double *dlogit = (double *)exec_out(x, node, 0) + (size_t)t * n, mean = 0;
        double total = total_of(logit, n, choice, args);
        for (uint32_t c = 0; c < args.chosen; c++)
            mean += weight[c] * dweight[c];
        for (uint32_t e = 0; e < n; e++) {
            bool shares = !args.renormalise || is_taken(choice, args.chosen, e);
            dlogit[e] = shares ? -mean * exp(logit[e] - logit[choice[0]]) / total : 0;
        }
        for (uint32_t c = 0; c < args.chosen; c++)
            dlogit[choice[c]] += weight[c] * dweight[c];
    }
}

typedef struct {
    const double *x, *w;
    const int32_t *choice;
    uint32_t pairs, per_row, m, k; /* pairs to a row of x: C, or 1 when every pair has its own */
} Experts;

static Experts experts_of(const Exec *x, const Node *node)
{
    Shape in = exec_shape(x, node->in[0]), w = exec_shape(x, node->in[1]);
    uint32_t pairs = (uint32_t)shape_count(exec_shape(x, node->in[2]));
    return (Experts){exec_in(x, node, 0), exec_in(x, node, 1), exec_in(x, node, 2),
                     pairs, pairs / in.dim[0], w.dim[1], w.dim[2]};
}

void ref_expert_matmul(const Exec *x, const Node *node)
{
    Experts e = experts_of(x, node);
    double *y = exec_out(x, node, 0);
    for (uint32_t p = 0; p < e.pairs; p++) {
        const double *row = e.x + (size_t)(p / e.per_row) * e.k;
        const double *w = e.w + (size_t)e.choice[p] * e.m * e.k;
        for (uint32_t i = 0; i < e.m; i++) {
            double sum = 0;
            for (uint32_t j = 0; j < e.k; j++)
                sum += row[j] * w[(size_t)i * e.k + j];
            y[(size_t)p * e.m + i] = sum;
        }
    }
}

void ref_expert_matmul_back(const Exec *x, const Node *node)
{
    Experts e = experts_of(x, node);
    const double *dy = exec_in(x, node, 3);
    double *dx = exec_out(x, node, 0), *dw = exec_in(x, node, 4);
    memset(dx, 0, shape_count(exec_shape(x, node->in[0])) * sizeof *dx);
    for (uint32_t p = 0; p < e.pairs; p++) {
        size_t row = (size_t)(p / e.per_row) * e.k, expert = (size_t)e.choice[p] * e.m * e.k;
        for (uint32_t i = 0; i < e.m; i++) {
            double g = dy[(size_t)p * e.m + i];
            for (uint32_t j = 0; j < e.k; j++) {
                dx[row + j] += g * e.w[expert + (size_t)i * e.k + j];
                if (dw)
                    dw[expert + (size_t)i * e.k + j] += g * e.x[row + j];
            }
        }
    }
}

void ref_expert_sum(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->out[0]);
    const double *weight = exec_in(x, node, 0), *z = exec_in(x, node, 1), *sum = exec_in(x, node, 2);
    double *y = exec_out(x, node, 0);
    uint32_t chosen = exec_shape(x, node->in[0]).dim[1], d = shape.dim[1];
    for (uint32_t t = 0; t < shape.dim[0]; t++) {
        for (uint32_t i = 0; i < d; i++) {
            double total = sum ? sum[(size_t)t * d + i] : 0;
            for (uint32_t c = 0; c < chosen; c++) {
                size_t p = (size_t)t * chosen + c;
                total += weight[p] * z[p * d + i];
            }
            y[(size_t)t * d + i] = total;
        }
    }
}

void ref_expert_sum_back(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->in[1]);
    const double *weight = exec_in(x, node, 0), *z = exec_in(x, node, 1), *dy = exec_in(x, node, 2);
    double *dz = exec_out(x, node, 0), *dweight = exec_out(x, node, 1);
    uint32_t chosen = exec_shape(x, node->in[0]).dim[1], d = shape.dim[1];
    for (uint32_t p = 0; p < shape.dim[0]; p++) {
        const double *g = dy + (size_t)(p / chosen) * d;
        dweight[p] = 0;
        for (uint32_t i = 0; i < d; i++) {
            dz[(size_t)p * d + i] = weight[p] * g[i];
            dweight[p] += z[(size_t)p * d + i] * g[i];
        }
    }
}
