/* cpu_ops.c: one adapter per op from a graph node to its kernel, and the table of them. */
#include "backend/cpu/cpu.h"

#include "backend/cpu/gemm.h"
#include "backend/cpu/vec.h"

#include <string.h>

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static void cpu_embed(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->out[0]);
    vec_embed(x->device->pool, exec_out(x, node, 0), exec_in(x, node, 0), exec_in(x, node, 1),
              shape.dim[0], shape.dim[1]);
}

static void cpu_embed_back(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->in[1]);
    vec_embed_back(x->device->pool, exec_in(x, node, 0), exec_in(x, node, 1), exec_in(x, node, 2),
                   shape.dim[0], shape.dim[1], exec_shape(x, node->in[0]).dim[0]);
}

static uint64_t matmul_scratch(const CpuDevice *cpu, const Graph *g, const Node *node)
{
    (void)g;
    (void)node;
    return gemm_scratch_bytes(cpu->threads);
}

static void cpu_matmul(const Exec *x, const Node *node)
{
    MatmulArgs args = node->args.matmul;
    Shape a = exec_shape(x, node->in[0]), c = exec_shape(x, node->out[0]);
    const Value *weight = graph_value(x->graph, node->in[1]);
    uint32_t m = c.dim[0], n = c.dim[1], k = a.dim[!args.transpose_a];
    float *out = exec_out(x, node, 0);
    const float *sum = exec_in(x, node, 2);
    if (sum && sum != out)
        memcpy(out, sum, (size_t)m * n * sizeof *out);
    CpuDevice *cpu = cpu_of(x);
    if (weight->packed) {
        gemm_packed(cpu->device.pool, x->scratch, weight->dtype == DT_Q8_0 ? GEMM_Q8_0 : GEMM_F32,
                    sum != NULL, m, n, k, exec_in(x, node, 0), k, exec_in(x, node, 1), out, n);
        return;
    }
    GemmFlags flags = {args.transpose_a, args.transpose_b, sum != NULL};
    gemm(cpu->device.pool, x->scratch, flags, m, n, k, exec_in(x, node, 0), a.dim[1], exec_in(x, node, 1),
         weight->shape.dim[1], out, n);
}

static void cpu_add(const Exec *x, const Node *node)
{
    vec_add(x->device->pool, exec_out(x, node, 0), exec_in(x, node, 0), exec_in(x, node, 1),
            shape_count(exec_shape(x, node->out[0])));
}

static void cpu_mul(const Exec *x, const Node *node)
{
    vec_mul(x->device->pool, exec_out(x, node, 0), exec_in(x, node, 0), exec_in(x, node, 1),
            shape_count(exec_shape(x, node->out[0])));
}

static void cpu_scale(const Exec *x, const Node *node)
{
    vec_scale(x->device->pool, exec_out(x, node, 0), exec_in(x, node, 0), node->args.factor,
              shape_count(exec_shape(x, node->out[0])));
}

static void cpu_rms_norm(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->in[0]);
    uint32_t d = exec_shape(x, node->in[1]).dim[0]; /* a row, or a head of it */
    vec_rms_norm(x->device->pool, exec_out(x, node, 0), exec_in(x, node, 0), exec_in(x, node, 1),
                 node->args.eps, (uint32_t)(shape_count(shape) / d), d);
}

static uint64_t rms_norm_back_scratch(const CpuDevice *cpu, const Graph *g, const Node *node)
{
    (void)cpu;
    uint32_t d = graph_value(g, node->in[1])->shape.dim[0];
    uint32_t rows = (uint32_t)(shape_count(graph_value(g, node->in[0])->shape) / d);
    return round_up(vec_rms_norm_back_scratch(rows, d)) + round_up(d * sizeof(float));
}

static void cpu_rms_norm_back(const Exec *x, const Node *node)
{
    uint32_t d = exec_shape(x, node->in[1]).dim[0];
    uint32_t rows = (uint32_t)(shape_count(exec_shape(x, node->in[0])) / d);
    float *dw = exec_in(x, node, 3);
    if (!dw) { /* a frozen weight: its gradient goes to scratch and is forgotten */
        dw = (float *)((char *)x->scratch + round_up(vec_rms_norm_back_scratch(rows, d)));
        memset(dw, 0, d * sizeof *dw);
    }
    vec_rms_norm_back(x->device->pool, x->scratch, exec_out(x, node, 0), dw, exec_in(x, node, 0),
                      exec_in(x, node, 1), exec_in(x, node, 2), node->args.eps, rows, d);
}

static void cpu_rope(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->in[0]);
    RopeArgs args = node->args.rope;
    float *out = exec_out(x, node, 0);
    const float *in = exec_in(x, node, 0);
    if (in != out)
        memcpy(out, in, shape_count(shape) * sizeof *out);
    uint32_t count;
    if (args.table)
        vec_rope_table(x->device->pool, out, exec_in(x, node, 1),
                       graph_table_at(x->graph, args.table, &count), args.inverse, shape.dim[0],
                       args.heads, args.width);
    else
        vec_rope(x->device->pool, out, exec_in(x, node, 1), args.theta, args.inverse, shape.dim[0],
                 args.heads, args.width);
}

static void cpu_position_scale(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->in[0]);
    PositionArgs args = node->args.position;
    vec_position_scale(x->device->pool, exec_out(x, node, 0), exec_in(x, node, 0),
                       exec_in(x, node, 1), args.beta, args.original, shape.dim[0], shape.dim[1]);
}

static void cpu_bias(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->in[0]);
    vec_bias(x->device->pool, exec_out(x, node, 0), exec_in(x, node, 0), exec_in(x, node, 1),
             shape.dim[0], shape.dim[1]);
}

static void cpu_bias_back(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->in[1]);
    vec_bias_back(x->device->pool, exec_in(x, node, 0), exec_in(x, node, 1), shape.dim[0],
                  shape.dim[1]);
}

/* ---- experts; their products stand in cpu_experts.c ---- */

static VecRoute route_of(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->in[0]);
    RouteArgs args = node->args.route;
    return (VecRoute){shape.dim[0], shape.dim[1], args.chosen, args.renormalise};
}

static void cpu_route(const Exec *x, const Node *node)
{
    vec_route(x->device->pool, exec_out(x, node, 0), exec_out(x, node, 1), exec_in(x, node, 0),
              route_of(x, node));
}

static void cpu_route_back(const Exec *x, const Node *node)
{
    vec_route_back(x->device->pool, exec_out(x, node, 0), exec_in(x, node, 0), exec_in(x, node, 1),
                   exec_in(x, node, 2), exec_in(x, node, 3), route_of(x, node));
}

static void cpu_expert_sum(const Exec *x, const Node *node)
{
    Shape weight = exec_shape(x, node->in[0]), z = exec_shape(x, node->in[1]);
    vec_expert_sum(x->device->pool, exec_out(x, node, 0), exec_in(x, node, 0), exec_in(x, node, 1),
                   exec_in(x, node, 2), weight.dim[0], weight.dim[1], z.dim[1]);
}

static void cpu_expert_sum_back(const Exec *x, const Node *node)
{
    Shape weight = exec_shape(x, node->in[0]), z = exec_shape(x, node->in[1]);
    vec_expert_sum_back(x->device->pool, exec_out(x, node, 0), exec_out(x, node, 1),
                        exec_in(x, node, 0), exec_in(x, node, 1), exec_in(x, node, 2),
                        weight.dim[0], weight.dim[1], z.dim[1]);
}

static void cpu_swiglu(const Exec *x, const Node *node)
{
    vec_swiglu(x->device->pool, exec_out(x, node, 0), exec_in(x, node, 0), exec_in(x, node, 1),
               shape_count(exec_shape(x, node->out[0])));
}

static void cpu_swiglu_back(const Exec *x, const Node *node)
{
    vec_swiglu_back(x->device->pool, exec_out(x, node, 0), exec_out(x, node, 1),
                    exec_in(x, node, 0), exec_in(x, node, 1), exec_in(x, node, 2),
                    shape_count(exec_shape(x, node->out[0])));
}

/* ---- attention ---- */

static size_t starts_bytes(const Node *node, uint32_t tokens)
{
    return node->args.attention.window ? round_up(tokens * sizeof(int32_t)) : 0;
}

/* The starts with the sliding window applied: in front of the scratch when there is one. */
static const int32_t *starts_of(const Exec *x, const Node *node, uint32_t input, uint32_t tokens)
{
    const int32_t *start = exec_in(x, node, input);
    int32_t window = (int32_t)node->args.attention.window, *edge = x->scratch;
    if (!window)
        return start;
    for (int32_t t = 0; t < (int32_t)tokens; t++)
        edge[t] = t + 1 - window > start[t] ? t + 1 - window : start[t];
    return edge;
}

static uint64_t attention_scratch(const CpuDevice *cpu, const Graph *g, const Node *node)
{
    return starts_bytes(node, graph_value(g, node->in[0])->shape.dim[0]) +
           vec_attention_scratch(cpu->threads, node->args.attention.width);
}

static void cpu_attention(const Exec *x, const Node *node)
{
    AttentionArgs a = node->args.attention;
    uint32_t t = exec_shape(x, node->in[0]).dim[0];
    vec_attention(x->device->pool, (char *)x->scratch + starts_bytes(node, t),
                  exec_out(x, node, 0), exec_out(x, node, 1), exec_in(x, node, 0),
                  exec_in(x, node, 1), exec_in(x, node, 2), starts_of(x, node, 3, t), a.scale, t,
                  a.heads, a.kv_heads, a.width);
}

static uint64_t attention_back_scratch(const CpuDevice *cpu, const Graph *g, const Node *node)
{
    AttentionArgs a = node->args.attention;
    uint32_t t = graph_value(g, node->in[0])->shape.dim[0];
    return starts_bytes(node, t) + vec_attention_back_scratch(cpu->threads, t, a.heads, a.width);
}

static void cpu_attention_back(const Exec *x, const Node *node)
{
    AttentionArgs a = node->args.attention;
    uint32_t t = exec_shape(x, node->in[0]).dim[0];
    vec_attention_back(x->device->pool, (char *)x->scratch + starts_bytes(node, t),
                       exec_out(x, node, 0), exec_out(x, node, 1), exec_out(x, node, 2),
                       exec_in(x, node, 0), exec_in(x, node, 1), exec_in(x, node, 2),
                       exec_in(x, node, 3), exec_in(x, node, 4), exec_in(x, node, 5),
                       starts_of(x, node, 6, t), a.scale, t, a.heads, a.kv_heads, a.width);
}

static void cpu_cache_write(const Exec *x, const Node *node)
{
    Shape shape = exec_shape(x, node->in[1]);
    float *cache = exec_in(x, node, 0);
    const float *rows = exec_in(x, node, 1);
    const int32_t *row = exec_in(x, node, 2);
    uint32_t d = shape.dim[1];
    for (uint32_t t = 0; t < shape.dim[0]; t++)
        memcpy(cache + (size_t)row[t] * d, rows + (size_t)t * d, d * sizeof *cache);
}

static uint64_t attention_cached_scratch(const CpuDevice *cpu, const Graph *g, const Node *node)
{
    AttentionArgs a = node->args.attention;
    return vec_attention_cached_scratch(cpu->threads, graph_value(g, node->in[0])->shape.dim[0],
                                        a.heads, a.width);
}

static void cpu_attention_cached(const Exec *x, const Node *node)
{
    AttentionArgs a = node->args.attention;
    VecPaging paging = {.seq = exec_in(x, node, 3),
                        .pos = exec_in(x, node, 4),
                        .pages = exec_in(x, node, 5),
                        .pages_max = exec_shape(x, node->in[5]).dim[1],
                        .page = a.page,
                        .window = a.window};
    vec_attention_cached(x->device->pool, x->scratch, exec_out(x, node, 0), exec_in(x, node, 0),
                         exec_in(x, node, 1), exec_in(x, node, 2), paging, a.scale,
                         exec_shape(x, node->in[0]).dim[0], a.heads, a.kv_heads, a.width);
}

const CpuKernel cpu_kernels[OP_COUNT] = {
    [OP_EMBED] = {cpu_embed, NULL},
    [OP_MATMUL] = {cpu_matmul, matmul_scratch},
    [OP_ADD] = {cpu_add, NULL},
    [OP_MUL] = {cpu_mul, NULL},
    [OP_SCALE] = {cpu_scale, NULL},
    [OP_RMS_NORM] = {cpu_rms_norm, NULL},
    [OP_ROPE] = {cpu_rope, NULL},
    [OP_SWIGLU] = {cpu_swiglu, NULL},
    [OP_ATTENTION] = {cpu_attention, attention_scratch},
    [OP_CACHE_WRITE] = {cpu_cache_write, NULL},
    [OP_ATTENTION_CACHED] = {cpu_attention_cached, attention_cached_scratch},
    [OP_XENT] = {cpu_xent, cpu_xent_scratch},
    [OP_EMBED_BACK] = {cpu_embed_back, NULL},
    [OP_RMS_NORM_BACK] = {cpu_rms_norm_back, rms_norm_back_scratch},
    [OP_SWIGLU_BACK] = {cpu_swiglu_back, NULL},
    [OP_ATTENTION_BACK] = {cpu_attention_back, attention_back_scratch},
    [OP_XENT_GRAD] = {cpu_xent_grad, cpu_xent_scratch},
    [OP_BIAS] = {cpu_bias, NULL},
    [OP_POSITION_SCALE] = {cpu_position_scale, NULL},
    [OP_ROUTE] = {cpu_route, NULL},
    [OP_EXPERT_MATMUL] = {cpu_expert_matmul, cpu_experts_scratch},
    [OP_EXPERT_SUM] = {cpu_expert_sum, NULL},
    [OP_BIAS_BACK] = {cpu_bias_back, NULL},
    [OP_ROUTE_BACK] = {cpu_route_back, NULL},
    [OP_EXPERT_MATMUL_BACK] = {cpu_expert_matmul_back, cpu_experts_scratch},
    [OP_EXPERT_SUM_BACK] = {cpu_expert_sum_back, NULL},
};
