/* ref_norm.c: normalisation, rotation and gating, in double. */
#include "backend/ref/ref.h"

#include <math.h>

static double inverse_rms(const double *x, uint32_t d, double eps)
{
    double sum = 0;
    for (uint32_t i = 0; i < d; i++)
        sum += x[i] * x[i];
    return 1.0 / sqrt(sum / d + eps);
}

void ref_rms_norm(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->in[0]);
    const double *in = exec_in(x, node, 0), *w = exec_in(x, node, 1);
    double *y = exec_out(x, node, 0);
    uint32_t d = exec_shape(x, node->in[1]).dim[0], rows = (uint32_t)(shape_count(shape) / d);
    for (uint32_t t = 0; t < rows; t++) {
        const double *row = in + (size_t)t * d;
        double r = inverse_rms(row, d, node->args.eps);
        for (uint32_t i = 0; i < d; i++)
            y[(size_t)t * d + i] = row[i] * r * w[i];
    }
}

/* With r = 1 / sqrt(mean x^2 + eps): dx = r (w dy) - x r^3 mean(x w dy); dw = sum_t x r dy. */
void ref_rms_norm_back(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->in[0]);
    const double *in = exec_in(x, node, 0), *w = exec_in(x, node, 1), *dy = exec_in(x, node, 2);
    double *dx = exec_out(x, node, 0), *dw = exec_in(x, node, 3);
    uint32_t d = exec_shape(x, node->in[1]).dim[0], rows = (uint32_t)(shape_count(shape) / d);
    for (uint32_t t = 0; t < rows; t++) {
        size_t at = (size_t)t * d;
        double r = inverse_rms(in + at, d, node->args.eps), dot = 0;
        for (uint32_t i = 0; i < d; i++)
            dot += in[at + i] * w[i] * dy[at + i];
        for (uint32_t i = 0; i < d; i++) {
            double g = dy[at + i];
            dx[at + i] = r * w[i] * g - in[at + i] * r * r * r * dot / d;
            if (dw)
                dw[i] += in[at + i] * r * g;
        }
    }
}

/* The angle of pair i at a position. With a table it is rounded to f32, as the models that have one
 * were trained: far out the rounding is part of what they learnt. */
static double turn_of(const Graph *g, RopeArgs args, int32_t pos, uint32_t i)
{
    uint32_t count;
    if (!args.table)
        return pos * pow(args.theta, -2.0 * i / args.width);
    return (float)pos * graph_table_at(g, args.table, &count)[i];
}

void ref_rope(const Exec *x, const Node *node)
{
    RopeArgs args = node->args.rope;
    Shape shape = exec_shape(x, node->in[0]);
    const double *in = exec_in(x, node, 0);
    const int32_t *pos = exec_in(x, node, 1);
    double *y = exec_out(x, node, 0);
    uint32_t half = args.width / 2;
    for (uint32_t t = 0; t < shape.dim[0]; t++) {
        for (uint32_t h = 0; h < args.heads; h++) {
            size_t at = (size_t)t * shape.dim[1] + (size_t)h * args.width;
            for (uint32_t i = 0; i < half; i++) {
                double angle = turn_of(x->graph, args, pos[t], i);
                double c = cos(angle), s = args.inverse ? -sin(angle) : sin(angle);
                double a = in[at + i], b = in[at + half + i];
                y[at + i] = a * c - b * s;
                y[at + half + i] = b * c + a * s;
            }
        }
    }
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

void ref_swiglu(const Exec *x, const Node *node)
{
    const double *g = exec_in(x, node, 0), *u = exec_in(x, node, 1);
    double *y = exec_out(x, node, 0);
    for (uint64_t i = 0, n = shape_count(exec_shape(x, node->out[0])); i < n; i++)
        y[i] = g[i] * sigmoid(g[i]) * u[i];
}

void ref_swiglu_back(const Exec *x, const Node *node)
{
    const double *g = exec_in(x, node, 0), *u = exec_in(x, node, 1), *dy = exec_in(x, node, 2);
    double *dg = exec_out(x, node, 0), *du = exec_out(x, node, 1);
    for (uint64_t i = 0, n = shape_count(exec_shape(x, node->out[0])); i < n; i++) {
        double s = sigmoid(g[i]), grad = dy[i];
        du[i] = grad * g[i] * s;
        dg[i] = grad * u[i] * s * (1 + g[i] * (1 - s));
    }
}

void ref_position_scale(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->in[0]);
    PositionArgs args = node->args.position;
    const double *in = exec_in(x, node, 0);
    const int32_t *pos = exec_in(x, node, 1);
    double *y = exec_out(x, node, 0);
    for (uint32_t t = 0; t < shape.dim[0]; t++) {
        double factor = 1 + args.beta * log(1 + floor((double)pos[t] / args.original));
        for (uint32_t i = 0; i < shape.dim[1]; i++)
            y[(size_t)t * shape.dim[1] + i] = in[(size_t)t * shape.dim[1] + i] * factor;
    }
}
