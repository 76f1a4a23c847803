/* ref_linear.c: tables, products and elementwise sums, in double. */
#include "backend/ref/ref.h"

#include <string.h>

void ref_embed(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->out[0]);
    const double *table = exec_in(x, node, 0);
    const int32_t *ids = exec_in(x, node, 1);
    double *y = exec_out(x, node, 0);
    uint32_t d = shape.dim[1];
    for (uint32_t t = 0; t < shape.dim[0]; t++)
        memcpy(y + (size_t)t * d, table + (size_t)ids[t] * d, d * sizeof *y);
}

void ref_embed_back(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->in[1]);
    double *table = exec_in(x, node, 0);
    const double *dy = exec_in(x, node, 1);
    const int32_t *ids = exec_in(x, node, 2);
    for (uint32_t t = 0; t < shape.dim[0]; t++) {
        for (uint32_t d = 0; d < shape.dim[1]; d++)
            table[(size_t)ids[t] * shape.dim[1] + d] += dy[(size_t)t * shape.dim[1] + d];
    }
}

void ref_matmul(const Exec *x, const Node *node)
{
    MatmulArgs args = node->args.matmul;
    Shape sa = exec_shape(x, node->in[0]), sb = exec_shape(x, node->in[1]);
    const double *a = exec_in(x, node, 0), *b = exec_in(x, node, 1), *sum = exec_in(x, node, 2);
    double *c = exec_out(x, node, 0);
    uint32_t m = sa.dim[args.transpose_a], k = sa.dim[!args.transpose_a];
    uint32_t n = sb.dim[!args.transpose_b];
    for (uint32_t i = 0; i < m; i++) {
        for (uint32_t j = 0; j < n; j++) {
            double total = sum ? sum[(size_t)i * n + j] : 0;
            for (uint32_t p = 0; p < k; p++) {
                double left = args.transpose_a ? a[(size_t)p * m + i] : a[(size_t)i * k + p];
                double right = args.transpose_b ? b[(size_t)j * k + p] : b[(size_t)p * n + j];
                total += left * right;
            }
            c[(size_t)i * n + j] = total;
        }
    }
}

static uint64_t count_out(const Exec *x, const Node *node)
{
    return shape_count(exec_shape(x, node->out[0]));
}

void ref_add(const Exec *x, const Node *node)
{
    const double *a = exec_in(x, node, 0), *b = exec_in(x, node, 1);
    double *y = exec_out(x, node, 0);
    for (uint64_t i = 0, n = count_out(x, node); i < n; i++)
        y[i] = a[i] + b[i];
}

void ref_mul(const Exec *x, const Node *node)
{
    const double *a = exec_in(x, node, 0), *b = exec_in(x, node, 1);
    double *y = exec_out(x, node, 0);
    for (uint64_t i = 0, n = count_out(x, node); i < n; i++)
        y[i] = a[i] * b[i];
}

void ref_scale(const Exec *x, const Node *node)
{
    const double *a = exec_in(x, node, 0);
    double *y = exec_out(x, node, 0);
    for (uint64_t i = 0, n = count_out(x, node); i < n; i++)
        y[i] = (double)node->args.factor * a[i];
}

void ref_cache_write(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->in[1]);
    double *cache = exec_in(x, node, 0);
    const double *rows = exec_in(x, node, 1);
    const int32_t *row = exec_in(x, node, 2);
    uint32_t d = shape.dim[1];
    for (uint32_t t = 0; t < shape.dim[0]; t++)
        memcpy(cache + (size_t)row[t] * d, rows + (size_t)t * d, d * sizeof *cache);
}

void ref_bias(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->in[0]);
    const double *in = exec_in(x, node, 0), *b = exec_in(x, node, 1);
    double *y = exec_out(x, node, 0);
    for (uint64_t i = 0, n = shape_count(shape); i < n; i++)
        y[i] = in[i] + b[i % shape.dim[1]];
}

void ref_bias_back(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->in[1]);
    double *db = exec_in(x, node, 0);
    const double *dy = exec_in(x, node, 1);
    for (uint64_t i = 0, n = shape_count(shape); i < n; i++)
        db[i % shape.dim[1]] += dy[i];
}
