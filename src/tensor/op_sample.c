/* op_sample.c: random legal instances of every op, for the tests and benches that walk the table.
 *
 * Sizes come from the seed and are odd on purpose. Floating-point leaves are called "x0", "x1", ...
 * and may hold any values; integer leaves have names that tell op_sample_integers what is legal.
 */
#include "tensor/ops.h"

#include "base/rng.h"
#include "tensor/op_rows.h"

#include <stdio.h>
#include <string.h>

static uint32_t size_of(uint64_t seed, uint32_t which, uint32_t low, uint32_t high)
{
    return low + (uint32_t)rng_below(rng_key(seed, "sample"), which, high - low + 1);
}

static ValueId leaf(Graph *g, uint32_t which, Shape shape)
{
    return graph_param(g, DT_F32, shape, "x%u", which);
}

static ValueId list(Graph *g, const char *name, uint32_t count)
{
    return graph_input(g, DT_I32, shape1(count), name);
}

static ValueId slot(Graph *g, Shape shape)
{
    ValueId param = graph_param(g, DT_F32, shape, "unused");
    return grad_slot(g, param);
}

void sample_embed(Graph *g, uint64_t seed)
{
    uint32_t t = size_of(seed, 0, 1, 40), d = size_of(seed, 1, 1, 70);
    ValueId table = leaf(g, 0, shape2(size_of(seed, 2, 1, 30), d));
    graph_keep(g, op_embed(g, table, list(g, "ids", t)));
}

void sample_matmul(Graph *g, uint64_t seed)
{
    uint32_t m = size_of(seed, 0, 1, 70), n = size_of(seed, 1, 1, 90), k = size_of(seed, 2, 1, 130);
    MatmulArgs args = {.transpose_a = seed % 4 == 3, .transpose_b = seed & 1};
    ValueId a = leaf(g, 0, args.transpose_a ? shape2(k, m) : shape2(m, k));
    ValueId b = leaf(g, 1, args.transpose_b ? shape2(n, k) : shape2(k, n));
    ValueId sum = seed % 3 == 0 ? leaf(g, 2, shape2(m, n)) : 0;
    graph_keep(g, op_matmul(g, a, b, args, sum));
}

static void sample_two(Graph *g, uint64_t seed, ValueId (*op)(Graph *, ValueId, ValueId))
{
    Shape shape = shape2(size_of(seed, 0, 1, 50), size_of(seed, 1, 1, 70));
    graph_keep(g, op(g, leaf(g, 0, shape), leaf(g, 1, shape)));
}

void sample_pair(Graph *g, uint64_t seed)
{
    sample_two(g, seed, op_add);
}

void sample_pair_mul(Graph *g, uint64_t seed)
{
    sample_two(g, seed, op_mul);
}

void sample_pair_swiglu(Graph *g, uint64_t seed)
{
    sample_two(g, seed, op_swiglu);
}

void sample_scale(Graph *g, uint64_t seed)
{
    Shape shape = shape2(size_of(seed, 0, 1, 50), size_of(seed, 1, 1, 70));
    graph_keep(g, op_scale(g, leaf(g, 0, shape), 0.37f));
}

void sample_rms_norm(Graph *g, uint64_t seed)
{
    uint32_t t = size_of(seed, 0, 1, 40), d = size_of(seed, 1, 1, 130);
    uint32_t heads = seed % 3 == 1 ? 3 : 1;
    graph_keep(g, op_rms_norm(g, leaf(g, 0, shape2(t, heads * d)), leaf(g, 1, shape1(d)), 1e-5f));
}

void sample_rope(Graph *g, uint64_t seed)
{
    RopeArgs args = {.theta = 10000, .heads = size_of(seed, 0, 1, 4),
                     .width = 2 * size_of(seed, 1, 1, 20), .inverse = seed & 1};
    uint32_t t = size_of(seed, 2, 1, 30);
    float table[20];
    for (uint32_t i = 0; i < args.width / 2; i++)
        table[i] = 1.0f / (float)(1 + i * i);
    if (seed % 3 == 2)
        args.table = graph_table(g, table, args.width / 2);
    ValueId x = leaf(g, 0, shape2(t, args.heads * args.width));
    graph_keep(g, op_rope(g, x, list(g, "pos", t), args));
}

static AttentionArgs sample_heads(uint64_t seed)
{
    AttentionArgs args = {.kv_heads = size_of(seed, 0, 1, 2), .width = 8 * size_of(seed, 1, 1, 5)};
    args.heads = args.kv_heads * size_of(seed, 2, 1, 3);
    args.scale = 1.0f / (float)size_of(seed, 3, 2, 6);
    return args;
}

void sample_attention(Graph *g, uint64_t seed)
{
    AttentionArgs args = sample_heads(seed);
    uint32_t t = size_of(seed, 4, 1, 90);
    ValueId q = leaf(g, 0, shape2(t, args.heads * args.width));
    ValueId k = leaf(g, 1, shape2(t, args.kv_heads * args.width));
    ValueId v = leaf(g, 2, shape2(t, args.kv_heads * args.width));
    ValueId y = op_attention(g, q, k, v, list(g, "start", t), args);
    graph_keep(g, y);
    graph_keep(g, graph_out(g, y, 1));
}

void sample_attention_back(Graph *g, uint64_t seed)
{
    sample_attention(g, seed);
    if (graph_failed(g))
        return;
    Node node = *graph_node(g, 0);
    ValueId dy = leaf(g, 3, graph_value(g, node.out[0])->shape);
    ValueId in[] = {node.in[0], node.in[1],  node.in[2], node.out[0],
                    node.out[1], dy, node.in[3]};
    ValueId dq = graph_append(g, OP_ATTENTION_BACK, in, 7, node.args);
    for (uint32_t i = 0; i < 3; i++)
        graph_keep(g, graph_out(g, dq, i));
}

void sample_cache_write(Graph *g, uint64_t seed)
{
    uint32_t rows = size_of(seed, 0, 8, 40), width = size_of(seed, 1, 1, 40);
    ValueId cache = graph_state(g, DT_F32, shape2(rows, width), "cache");
    uint32_t t = size_of(seed, 2, 1, 8);
    op_cache_write(g, cache, leaf(g, 0, shape2(t, width)), list(g, "row", t));
}

void sample_attention_cached(Graph *g, uint64_t seed)
{
    AttentionArgs args = sample_heads(seed);
    args.page = 4;
    args.window = seed % 3 == 0 ? 5 : 0;
    enum { SEQUENCES = 3, PAGES = 6 };
    Shape shape = shape2(SEQUENCES * PAGES * args.page, args.kv_heads * args.width);
    ValueId k = graph_state(g, DT_F32, shape, "kcache");
    ValueId v = graph_state(g, DT_F32, shape, "vcache");
    uint32_t t = size_of(seed, 4, 1, 12);
    ValueId q = leaf(g, 0, shape2(t, args.heads * args.width));
    ValueId pages = graph_input(g, DT_I32, shape2(SEQUENCES, PAGES), "pages");
    graph_keep(g, op_attention_cached(g, q, k, v, list(g, "seq", t), list(g, "cached_pos", t),
                                      pages, args));
}

void sample_xent(Graph *g, uint64_t seed)
{
    uint32_t t = size_of(seed, 0, 1, 50), d = size_of(seed, 1, 1, 40), v = size_of(seed, 2, 2, 300);
    ValueId h = leaf(g, 0, shape2(t, d)), w = leaf(g, 1, shape2(v, d));
    graph_keep(g, op_xent(g, h, w, list(g, "target", t)));
}

void sample_xent_grad(Graph *g, uint64_t seed)
{
    uint32_t t = size_of(seed, 0, 1, 50), d = size_of(seed, 1, 1, 40), v = size_of(seed, 2, 2, 300);
    ValueId h = leaf(g, 0, shape2(t, d)), w = leaf(g, 1, shape2(v, d));
    ValueId in[] = {h, w, list(g, "target", t), graph_input(g, DT_F32, shape1(1), "loss_scale"),
                    seed % 3 ? slot(g, shape2(v, d)) : 0};
    ValueId loss = graph_append(g, OP_XENT_GRAD, in, 5, (OpArgs){0});
    graph_keep(g, loss);
    graph_keep(g, graph_out(g, loss, 1));
}

void sample_embed_back(Graph *g, uint64_t seed)
{
    uint32_t t = size_of(seed, 0, 1, 40), d = size_of(seed, 1, 1, 70);
    ValueId in[] = {slot(g, shape2(size_of(seed, 2, 1, 30), d)), leaf(g, 0, shape2(t, d)),
                    list(g, "ids", t)};
    graph_append(g, OP_EMBED_BACK, in, 3, (OpArgs){0});
}

void sample_rms_norm_back(Graph *g, uint64_t seed)
{
    uint32_t t = size_of(seed, 0, 1, 40), d = size_of(seed, 1, 1, 130);
    Shape x = shape2(t, seed % 4 == 1 ? 3 * d : d); /* some by heads */
    ValueId in[] = {leaf(g, 0, x), leaf(g, 1, shape1(d)), leaf(g, 2, x),
                    seed % 3 ? slot(g, shape1(d)) : 0};
    graph_keep(g, graph_append(g, OP_RMS_NORM_BACK, in, 4, (OpArgs){.eps = 1e-5f}));
}

void sample_swiglu_back(Graph *g, uint64_t seed)
{
    Shape shape = shape2(size_of(seed, 0, 1, 50), size_of(seed, 1, 1, 70));
    ValueId in[] = {leaf(g, 0, shape), leaf(g, 1, shape), leaf(g, 2, shape)};
    ValueId dg = graph_append(g, OP_SWIGLU_BACK, in, 3, (OpArgs){0});
    graph_keep(g, dg);
    graph_keep(g, graph_out(g, dg, 1));
}

void sample_bias(Graph *g, uint64_t seed)
{
    uint32_t t = size_of(seed, 0, 1, 40), d = size_of(seed, 1, 1, 200);
    graph_keep(g, op_bias(g, leaf(g, 0, shape2(t, d)), leaf(g, 1, shape1(d))));
}

void sample_bias_back(Graph *g, uint64_t seed)
{
    uint32_t t = size_of(seed, 0, 1, 90), d = size_of(seed, 1, 1, 200);
    ValueId in[] = {slot(g, shape1(d)), leaf(g, 0, shape2(t, d))};
    graph_append(g, OP_BIAS_BACK, in, 2, (OpArgs){0});
}

void sample_position_scale(Graph *g, uint64_t seed)
{
    uint32_t t = size_of(seed, 0, 1, 40), d = size_of(seed, 1, 1, 70);
    PositionArgs args = {.beta = 0.1f, .original = size_of(seed, 2, 1, 60)};
    graph_keep(g, op_position_scale(g, leaf(g, 0, shape2(t, d)), list(g, "pos", t), args));
}

/* ---- experts ---- */

static ValueId sample_logits(Graph *g, uint64_t seed, RouteArgs *args)
{
    uint32_t t = size_of(seed, 0, 1, 40), n = size_of(seed, 1, 1, 9);
    *args = (RouteArgs){.chosen = size_of(seed, 2, 1, n), .renormalise = seed & 1};
    return leaf(g, 0, shape2(t, n));
}

void sample_route(Graph *g, uint64_t seed)
{
    RouteArgs args;
    ValueId logits = sample_logits(g, seed, &args);
    graph_keep(g, op_route(g, logits, args));
}

void sample_route_back(Graph *g, uint64_t seed)
{
    RouteArgs args;
    ValueId logits = sample_logits(g, seed, &args), weight = op_route(g, logits, args);
    if (graph_failed(g))
        return;
    ValueId in[] = {logits, weight, graph_out(g, weight, 1),
                    leaf(g, 1, graph_value(g, weight)->shape)};
    graph_keep(g, graph_append(g, OP_ROUTE_BACK, in, 4, (OpArgs){.route = args}));
}

/* x, w and choice; every other instance has a row of x per pair. Some have more pairs than the
 * kernels gather at once. */
static void sample_experts(Graph *g, uint64_t seed, ValueId out[3])
{
    uint32_t t = seed == 5 ? 90 : size_of(seed, 0, 1, 30), c = size_of(seed, 1, 1, 3);
    uint32_t m = size_of(seed, 2, 1, 40), k = size_of(seed, 3, 1, 50);
    out[0] = leaf(g, 0, shape2(seed & 1 ? t * c : t, k));
    out[1] = leaf(g, 1, shape3(size_of(seed, 4, 1, 6), m, k));
    out[2] = graph_input(g, DT_I32, shape2(t, c), "choice");
}

void sample_expert_matmul(Graph *g, uint64_t seed)
{
    ValueId in[3];
    sample_experts(g, seed, in);
    graph_keep(g, op_expert_matmul(g, in[0], in[1], in[2]));
}

void sample_expert_matmul_back(Graph *g, uint64_t seed)
{
    ValueId in[5];
    sample_experts(g, seed, in);
    if (graph_failed(g))
        return;
    Shape w = graph_value(g, in[1])->shape;
    uint32_t pairs = (uint32_t)shape_count(graph_value(g, in[2])->shape);
    in[3] = leaf(g, 2, shape2(pairs, w.dim[1]));
    in[4] = seed % 3 ? slot(g, w) : 0;
    graph_keep(g, graph_append(g, OP_EXPERT_MATMUL_BACK, in, 5, (OpArgs){0}));
}

void sample_expert_sum(Graph *g, uint64_t seed)
{
    uint32_t t = size_of(seed, 0, 1, 40), c = size_of(seed, 1, 1, 4), d = size_of(seed, 2, 1, 70);
    ValueId weight = leaf(g, 0, shape2(t, c)), z = leaf(g, 1, shape2(t * c, d));
    graph_keep(g, op_expert_sum(g, weight, z, seed & 1 ? leaf(g, 2, shape2(t, d)) : 0));
}

void sample_expert_sum_back(Graph *g, uint64_t seed)
{
    uint32_t t = size_of(seed, 0, 1, 40), c = size_of(seed, 1, 1, 4), d = size_of(seed, 2, 1, 70);
    ValueId in[] = {leaf(g, 0, shape2(t, c)), leaf(g, 1, shape2(t * c, d)),
                    leaf(g, 2, shape2(t, d))};
    ValueId dz = graph_append(g, OP_EXPERT_SUM_BACK, in, 3, (OpArgs){0});
    graph_keep(g, dz);
    graph_keep(g, graph_out(g, dz, 1));
}

/* ---- legal integers ---- */

static int32_t below(RngKey key, uint32_t i, uint32_t bound)
{
    return (int32_t)rng_below(key, i, bound);
}

/* The first dimension of the op's table: ids and targets stay below it. */
static uint32_t table_rows(const Graph *g)
{
    const Node *node = graph_node(g, graph_nodes(g) - 1);
    bool second = node->op == OP_XENT || node->op == OP_XENT_GRAD || node->op == OP_EXPERT_MATMUL ||
                  node->op == OP_EXPERT_MATMUL_BACK;
    ValueId table = second ? node->in[1] : node->in[0];
    return graph_value(g, table)->shape.dim[0];
}

void op_sample_integers(const Graph *g, ValueId id, uint64_t seed, int32_t *out)
{
    const char *name = graph_name(g, id);
    uint32_t count = (uint32_t)shape_count(graph_value(g, id)->shape);
    RngKey key = rng_key(seed, name);
    int32_t start = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(name, "ids") == 0 || strcmp(name, "choice") == 0)
            out[i] = below(key, i, table_rows(g));
        else if (strcmp(name, "target") == 0)
            out[i] = below(key, i, table_rows(g) + 1) - 1;
        else if (strcmp(name, "pos") == 0)
            out[i] = below(key, i, 100);
        else if (strcmp(name, "start") == 0)
            out[i] = start = below(key, i, 6) == 0 ? (int32_t)i : start;
        else if (strcmp(name, "row") == 0)
            out[i] = (int32_t)(7 - i);
        else if (strcmp(name, "seq") == 0)
            out[i] = below(key, i, 3);
        else if (strcmp(name, "cached_pos") == 0)
            out[i] = below(key, i, 24);
        else
            out[i] = (int32_t)(count - 1 - i); /* pages: every sequence has its own */
    }
}
