/* ops.c: the op table: meaning, shapes and cost of every op, and the builders. Gradients stand in
 * grad.c, random instances in op_sample.c. */
#include "tensor/ops.h"

#include "tensor/op_rows.h"

#include <string.h>

/* ---- checks shared by the rows ---- */

static const Value *in(const Graph *g, const Node *node, uint32_t i)
{
    return graph_value(g, node->in[i]);
}

/* All of the first `count` inputs are there (a builder that got a 0 from a failed one). */
static bool present(const Node *node, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!node->in[i])
            return false;
    }
    return true;
}

static bool want(Graph *g, const Node *node, bool right, const char *what)
{
    if (!right)
        graph_latch(g, node, "%s", what);
    return right;
}

static bool is_f32(const Value *v, uint32_t rank)
{
    return v->dtype == DT_F32 && v->shape.rank == rank && !v->packed;
}

static bool is_list(const Value *v, uint32_t count)
{
    return v->dtype == DT_I32 && v->shape.rank == 1 && v->shape.dim[0] == count;
}

/* Output 0 is a fresh f32 temporary. */
static bool out_f32(Graph *g, Node *node, uint32_t index, Shape shape)
{
    node->out[index] = graph_temp(g, DT_F32, shape);
    return node->out[index] != 0;
}

/* An optional gradient input that is written in place: the output is an alias of it, or 0. */
static bool out_in_place(Graph *g, Node *node, uint32_t out, uint32_t input)
{
    if (!node->in[input])
        return true;
    node->out[out] = graph_alias(g, node->in[input]);
    return node->out[out] != 0;
}

/* ---- shapes, one function per row ---- */

static bool infer_embed(Graph *g, Node *node)
{
    if (!present(node, 2))
        return false;
    const Value *table = in(g, node, 0), *ids = in(g, node, 1);
    return want(g, node, is_f32(table, 2), "the table must be f32 [V,D]") &&
           want(g, node, ids->dtype == DT_I32 && ids->shape.rank == 1, "ids must be i32 [T]") &&
           out_f32(g, node, 0, shape2(ids->shape.dim[0], table->shape.dim[1]));
}

static bool infer_embed_back(Graph *g, Node *node)
{
    if (!present(node, 3))
        return false;
    const Value *table = in(g, node, 0), *dy = in(g, node, 1), *ids = in(g, node, 2);
    return want(g, node, is_f32(table, 2) && is_f32(dy, 2), "table and dy must be f32") &&
           want(g, node, dy->shape.dim[1] == table->shape.dim[1], "widths differ") &&
           want(g, node, is_list(ids, dy->shape.dim[0]), "ids must be i32 [T]") &&
           out_in_place(g, node, 0, 0);
}

static bool infer_matmul(Graph *g, Node *node)
{
    if (!present(node, 2))
        return false;
    const Value *a = in(g, node, 0), *b = in(g, node, 1);
    MatmulArgs args = node->args.matmul;
    if (!want(g, node, is_f32(a, 2), "the left side must be f32 with 2 dimensions") ||
        !want(g, node, b->shape.rank == 2, "the right side must have 2 dimensions"))
        return false;
    bool plain = b->dtype == DT_F32 && !b->packed;
    bool packed = b->packed && (b->dtype == DT_F32 || b->dtype == DT_Q8_0);
    if (!want(g, node, plain || (packed && args.transpose_b && !args.transpose_a),
              "the right side must be f32, or packed weights [N,K] read transposed"))
        return false;
    uint32_t m = a->shape.dim[args.transpose_a], k = a->shape.dim[!args.transpose_a];
    uint32_t kb = b->shape.dim[args.transpose_b], n = b->shape.dim[!args.transpose_b];
    if (k != kb) {
        graph_latch(g, node, "inner sizes differ: %u and %u", k, kb);
        return false;
    }
    Shape shape = shape2(m, n);
    if (!node->in[2])
        return out_f32(g, node, 0, shape);
    const Value *sum = in(g, node, 2);
    if (!want(g, node, sum->dtype == DT_F32 && shape_equal(sum->shape, shape),
              "the value added to must have the shape of the product"))
        return false;
    return sum->role == ROLE_GRAD ? out_in_place(g, node, 0, 2) : out_f32(g, node, 0, shape);
}

static bool infer_pair(Graph *g, Node *node)
{
    if (!present(node, 2))
        return false;
    const Value *a = in(g, node, 0), *b = in(g, node, 1);
    return want(g, node, a->dtype == DT_F32 && b->dtype == DT_F32, "both must be f32") &&
           want(g, node, shape_equal(a->shape, b->shape), "shapes differ") &&
           (a->role == ROLE_GRAD ? out_in_place(g, node, 0, 0) : out_f32(g, node, 0, a->shape));
}

static bool infer_scale(Graph *g, Node *node)
{
    return present(node, 1) && want(g, node, in(g, node, 0)->dtype == DT_F32, "x must be f32") &&
           out_f32(g, node, 0, in(g, node, 0)->shape);
}

static bool infer_rms_norm(Graph *g, Node *node)
{
    if (!present(node, 2))
        return false;
    const Value *x = in(g, node, 0), *w = in(g, node, 1);
    return want(g, node, is_f32(x, 2) && is_f32(w, 1), "x must be f32 [T,D], w f32 [D]") &&
           want(g, node, x->shape.dim[1] % w->shape.dim[0] == 0,
                "w must have one entry per column, or per column of a head") &&
           out_f32(g, node, 0, x->shape);
}

static bool infer_rms_norm_back(Graph *g, Node *node)
{
    if (!present(node, 3))
        return false;
    const Value *x = in(g, node, 0), *w = in(g, node, 1), *dy = in(g, node, 2);
    return want(g, node, is_f32(x, 2) && is_f32(w, 1), "x must be f32 [T,D], w f32 [D]") &&
           want(g, node, shape_equal(x->shape, dy->shape), "dy must have the shape of x") &&
           out_f32(g, node, 0, x->shape) && out_in_place(g, node, 1, 3);
}

static uint32_t table_length(const Graph *g, uint32_t table)
{
    uint32_t count;
    graph_table_at(g, table, &count);
    return count;
}

static bool infer_rope(Graph *g, Node *node)
{
    if (!present(node, 2))
        return false;
    const Value *x = in(g, node, 0), *pos = in(g, node, 1);
    RopeArgs args = node->args.rope;
    return want(g, node, is_f32(x, 2), "x must be f32 [T,heads*E]") &&
           want(g, node, args.width && args.width % 2 == 0, "the head width must be even") &&
           want(g, node, x->shape.dim[1] == args.heads * args.width, "columns != heads * width") &&
           want(g, node, !args.table || table_length(g, args.table) == args.width / 2,
                "the table must have one frequency per pair") &&
           want(g, node, is_list(pos, x->shape.dim[0]), "pos must be i32 [T]") &&
           out_f32(g, node, 0, x->shape);
}

static bool infer_swiglu_back(Graph *g, Node *node)
{
    if (!present(node, 3))
        return false;
    const Value *gate = in(g, node, 0), *up = in(g, node, 1), *dy = in(g, node, 2);
    Shape shape = gate->shape; /* a new output may move the values */
    return want(g, node, shape_equal(gate->shape, up->shape) && shape_equal(up->shape, dy->shape),
                "shapes differ") &&
           out_f32(g, node, 0, shape) && out_f32(g, node, 1, shape);
}

static bool check_heads(Graph *g, const Node *node, const Value *q, const Value *k)
{
    AttentionArgs args = node->args.attention;
    return want(g, node, args.kv_heads && args.heads % args.kv_heads == 0,
                "heads must be a multiple of kv heads") &&
           want(g, node, q->shape.dim[1] == args.heads * args.width, "q columns != heads * width") &&
           want(g, node, k->shape.dim[1] == args.kv_heads * args.width,
                "k columns != kv heads * width");
}

static bool infer_attention(Graph *g, Node *node)
{
    if (!present(node, 4))
        return false;
    const Value *q = in(g, node, 0), *k = in(g, node, 1), *v = in(g, node, 2);
    Shape shape = q->shape; /* a new output may move the values */
    return want(g, node, is_f32(q, 2) && is_f32(k, 2) && is_f32(v, 2), "q, k, v must be f32") &&
           check_heads(g, node, q, k) &&
           want(g, node, shape_equal(k->shape, v->shape), "k and v differ in shape") &&
           want(g, node, q->shape.dim[0] == k->shape.dim[0], "q and k differ in tokens") &&
           want(g, node, is_list(in(g, node, 3), q->shape.dim[0]), "start must be i32 [T]") &&
           out_f32(g, node, 0, shape) &&
           out_f32(g, node, 1, shape2(shape.dim[0], node->args.attention.heads));
}

static bool infer_attention_back(Graph *g, Node *node)
{
    if (!present(node, 7))
        return false;
    const Value *q = in(g, node, 0), *k = in(g, node, 1), *dy = in(g, node, 5);
    Shape q_shape = q->shape, k_shape = k->shape; /* a new output may move the values */
    return check_heads(g, node, q, k) &&
           want(g, node, shape_equal(q->shape, dy->shape), "dy must have the shape of q") &&
           out_f32(g, node, 0, q_shape) && out_f32(g, node, 1, k_shape) &&
           out_f32(g, node, 2, k_shape);
}

static bool infer_cache_write(Graph *g, Node *node)
{
    if (!present(node, 3))
        return false;
    const Value *cache = in(g, node, 0), *x = in(g, node, 1);
    return want(g, node, cache->role == ROLE_STATE, "the cache must be a state") &&
           want(g, node, cache->shape.dim[1] == x->shape.dim[1], "widths differ") &&
           want(g, node, is_list(in(g, node, 2), x->shape.dim[0]), "row must be i32 [T]") &&
           out_in_place(g, node, 0, 0);
}

static bool infer_attention_cached(Graph *g, Node *node)
{
    if (!present(node, 6))
        return false;
    const Value *q = in(g, node, 0), *k = in(g, node, 1), *v = in(g, node, 2);
    const Value *pages = in(g, node, 5);
    uint32_t t = q->shape.dim[0];
    return check_heads(g, node, q, k) &&
           want(g, node, shape_equal(k->shape, v->shape), "k and v caches differ in shape") &&
           want(g, node, is_list(in(g, node, 3), t) && is_list(in(g, node, 4), t),
                "seq and pos must be i32 [T]") &&
           want(g, node, pages->dtype == DT_I32 && pages->shape.rank == 2 &&
                             node->args.attention.page > 0,
                "pages must be i32 [S,P] with a page size") &&
           out_f32(g, node, 0, q->shape);
}

static bool check_xent(Graph *g, const Node *node)
{
    const Value *h = in(g, node, 0), *w = in(g, node, 1), *target = in(g, node, 2);
    return want(g, node, is_f32(h, 2) && is_f32(w, 2), "h must be f32 [T,D], w f32 [V,D]") &&
           want(g, node, h->shape.dim[1] == w->shape.dim[1], "widths differ") &&
           want(g, node, is_list(target, h->shape.dim[0]), "target must be i32 [T]");
}

static bool infer_xent(Graph *g, Node *node)
{
    return present(node, 3) && check_xent(g, node) && out_f32(g, node, 0, shape1(1));
}

static bool infer_xent_grad(Graph *g, Node *node)
{
    return present(node, 4) && check_xent(g, node) &&
           want(g, node, shape_count(in(g, node, 3)->shape) == 1, "scale must be f32 [1]") &&
           out_f32(g, node, 0, shape1(1)) && out_f32(g, node, 1, in(g, node, 0)->shape) &&
           out_in_place(g, node, 2, 4);
}

static bool infer_bias(Graph *g, Node *node)
{
    if (!present(node, 2))
        return false;
    const Value *x = in(g, node, 0), *b = in(g, node, 1);
    return want(g, node, is_f32(x, 2) && is_f32(b, 1), "x must be f32 [T,D], b f32 [D]") &&
           want(g, node, x->shape.dim[1] == b->shape.dim[0], "b must have one entry per column") &&
           out_f32(g, node, 0, x->shape);
}

static bool infer_bias_back(Graph *g, Node *node)
{
    if (!present(node, 2))
        return false;
    const Value *db = in(g, node, 0), *dy = in(g, node, 1);
    return want(g, node, is_f32(db, 1) && is_f32(dy, 2), "db must be f32 [D], dy f32 [T,D]") &&
           want(g, node, dy->shape.dim[1] == db->shape.dim[0], "widths differ") &&
           out_in_place(g, node, 0, 0);
}

static bool infer_position_scale(Graph *g, Node *node)
{
    if (!present(node, 2))
        return false;
    const Value *x = in(g, node, 0), *pos = in(g, node, 1);
    return want(g, node, is_f32(x, 2), "x must be f32 [T,D]") &&
           want(g, node, node->args.position.original > 0, "original must be at least 1") &&
           want(g, node, is_list(pos, x->shape.dim[0]), "pos must be i32 [T]") &&
           out_f32(g, node, 0, x->shape);
}

static bool infer_route(Graph *g, Node *node)
{
    if (!present(node, 1))
        return false;
    const Value *logits = in(g, node, 0);
    uint32_t chosen = node->args.route.chosen;
    if (!want(g, node, is_f32(logits, 2), "logits must be f32 [T,N]") ||
        !want(g, node, chosen > 0 && chosen <= logits->shape.dim[1],
              "1 to N experts can be chosen"))
        return false;
    Shape shape = shape2(logits->shape.dim[0], chosen);
    if (!out_f32(g, node, 0, shape))
        return false;
    node->out[1] = graph_temp(g, DT_I32, shape);
    return node->out[1] != 0;
}

static bool infer_route_back(Graph *g, Node *node)
{
    if (!present(node, 4))
        return false;
    const Value *logits = in(g, node, 0), *weight = in(g, node, 1), *choice = in(g, node, 2);
    const Value *dweight = in(g, node, 3);
    return want(g, node, is_f32(logits, 2) && is_f32(weight, 2) && is_f32(dweight, 2),
                "logits, weights and their gradient must be f32") &&
           want(g, node, shape_equal(weight->shape, dweight->shape) &&
                             shape_equal(weight->shape, choice->shape) &&
                             weight->shape.dim[0] == logits->shape.dim[0],
                "shapes differ") &&
           out_f32(g, node, 0, logits->shape);
}

/* x[T or T C, K], w[N,M,K], choice[T,C]; a packed w is read by experts, each packed alone. */
static bool check_experts(Graph *g, const Node *node)
{
    const Value *x = in(g, node, 0), *w = in(g, node, 1), *choice = in(g, node, 2);
    bool rows_fit = w->dtype == DT_F32 || w->shape.dim[2] % dtype_info[w->dtype].block_elems == 0;
    return want(g, node, is_f32(x, 2), "x must be f32 with 2 dimensions") &&
           want(g, node, w->shape.rank == 3 && w->dtype != DT_I32 &&
                             (w->packed || w->dtype == DT_F32),
                "w must be f32 or packed weights [N,M,K]") &&
           want(g, node, rows_fit, "the rows of w must be whole blocks of its type") &&
           want(g, node, choice->dtype == DT_I32 && choice->shape.rank == 2,
                "choice must be i32 [T,C]") &&
           want(g, node, x->shape.dim[1] == w->shape.dim[2], "inner sizes differ") &&
           want(g, node, x->shape.dim[0] == choice->shape.dim[0] ||
                             x->shape.dim[0] == shape_count(choice->shape),
                "x must have a row per token or per pair of token and expert");
}

static bool infer_expert_matmul(Graph *g, Node *node)
{
    if (!present(node, 3) || !check_experts(g, node))
        return false;
    uint32_t pairs = (uint32_t)shape_count(in(g, node, 2)->shape);
    return out_f32(g, node, 0, shape2(pairs, in(g, node, 1)->shape.dim[1]));
}

static bool infer_expert_matmul_back(Graph *g, Node *node)
{
    if (!present(node, 4) || !check_experts(g, node))
        return false;
    const Value *x = in(g, node, 0), *w = in(g, node, 1), *dy = in(g, node, 3);
    return want(g, node, is_f32(w, 3), "w must be f32") &&
           want(g, node, is_f32(dy, 2) && dy->shape.dim[1] == w->shape.dim[1] &&
                             dy->shape.dim[0] == shape_count(in(g, node, 2)->shape),
                "dy must be f32 [T C,M]") &&
           out_f32(g, node, 0, x->shape) && out_in_place(g, node, 1, 4);
}

/* weight[T,C], z[T C,D] */
static bool check_pairs(Graph *g, const Node *node)
{
    const Value *weight = in(g, node, 0), *z = in(g, node, 1);
    return want(g, node, is_f32(weight, 2) && is_f32(z, 2), "weights and z must be f32") &&
           want(g, node, z->shape.dim[0] == shape_count(weight->shape),
                "z must have a row per weight");
}

static bool infer_expert_sum(Graph *g, Node *node)
{
    if (!present(node, 2) || !check_pairs(g, node))
        return false;
    Shape shape = shape2(in(g, node, 0)->shape.dim[0], in(g, node, 1)->shape.dim[1]);
    return want(g, node, !node->in[2] || (is_f32(in(g, node, 2), 2) &&
                                          shape_equal(in(g, node, 2)->shape, shape)),
                "the value added to must have the shape of the sum") &&
           out_f32(g, node, 0, shape);
}

static bool infer_expert_sum_back(Graph *g, Node *node)
{
    if (!present(node, 3) || !check_pairs(g, node))
        return false;
    Shape z = in(g, node, 1)->shape, weight = in(g, node, 0)->shape;
    return want(g, node, is_f32(in(g, node, 2), 2) &&
                             shape_equal(in(g, node, 2)->shape, shape2(weight.dim[0], z.dim[1])),
                "dy must be f32 [T,D]") &&
           out_f32(g, node, 0, z) && out_f32(g, node, 1, weight);
}

/* ---- cost: multiplications and additions of the dense part ---- */

static uint64_t flops_elements(const Graph *g, const Node *node)
{
    return shape_count(graph_value(g, node->out[0])->shape);
}

static uint64_t flops_matmul(const Graph *g, const Node *node)
{
    const Value *a = in(g, node, 0);
    uint64_t k = a->shape.dim[!node->args.matmul.transpose_a];
    return 2 * k * shape_count(graph_value(g, node->out[0])->shape);
}

static uint64_t flops_attention(const Graph *g, const Node *node)
{
    uint64_t t = in(g, node, 0)->shape.dim[0]; /* full causal half; shorter documents cost less */
    return 2 * t * shape_count(in(g, node, 0)->shape);
}

static uint64_t flops_attention_back(const Graph *g, const Node *node)
{
    return 5 * flops_attention(g, node) / 2;
}

static uint64_t flops_attention_cached(const Graph *g, const Node *node)
{
    const Value *pages = in(g, node, 5);
    uint64_t most = (uint64_t)pages->shape.dim[1] * node->args.attention.page;
    return 4 * most * shape_count(in(g, node, 0)->shape);
}

static uint64_t flops_xent(const Graph *g, const Node *node)
{
    return 2 * shape_count(in(g, node, 0)->shape) * in(g, node, 1)->shape.dim[0];
}

static uint64_t flops_xent_grad(const Graph *g, const Node *node)
{
    return (node->in[4] ? 3 : 2) * flops_xent(g, node);
}

static uint64_t flops_input(const Graph *g, const Node *node)
{
    return shape_count(in(g, node, 1)->shape);
}

static uint64_t flops_expert_matmul(const Graph *g, const Node *node)
{
    const Value *w = in(g, node, 1);
    return 2 * shape_count(in(g, node, 2)->shape) * w->shape.dim[1] * w->shape.dim[2];
}

static uint64_t flops_expert_matmul_back(const Graph *g, const Node *node)
{
    return (node->in[4] ? 2 : 1) * flops_expert_matmul(g, node);
}

uint64_t op_flops(const Graph *g, const Node *node)
{
    return op_info[node->op].flops(g, node);
}

/* ---- the table ---- */

const OpInfo op_info[OP_COUNT] = {
    [OP_NONE] = {"none", "no operation", 0, 0, 0, NULL, NULL, NULL, NULL},
    [OP_EMBED] = {"embed", "y[t,:] = table[ids[t],:]", 2, 1, 0, infer_embed, grad_embed,
                  flops_elements, sample_embed},
    [OP_MATMUL] = {"matmul", "c = op(a) op(b) (+ sum); op transposes when asked", 3, 1, 1 << 2,
                   infer_matmul, grad_matmul, flops_matmul, sample_matmul},
    [OP_ADD] = {"add", "y = a + b", 2, 1, 3, infer_pair, grad_add_op, flops_elements, sample_pair},
    [OP_MUL] = {"mul", "y = a * b, elementwise", 2, 1, 3, infer_pair, grad_mul, flops_elements,
                sample_pair_mul},
    [OP_SCALE] = {"scale", "y = factor * x", 1, 1, 1, infer_scale, grad_scale, flops_elements,
                  sample_scale},
    [OP_RMS_NORM] = {"rms_norm",
                     "y[t,d] = x[t,d] w[d] / sqrt(mean_d x[t,d]^2 + eps), each head alone when w "
                     "has a head's width",
                     2, 1, 0, infer_rms_norm, grad_rms_norm, flops_elements, sample_rms_norm},
    [OP_ROPE] = {"rope",
                 "pairs (i, i + E/2) of each head turn by pos[t] theta^(-2i/E), or with a table by f32 "
                 "pos[t] f[i]; inverse turns back",
                 2, 1, 1, infer_rope, grad_rope, flops_elements, sample_rope},
    [OP_SWIGLU] = {"swiglu", "y = g / (1 + exp(-g)) * u", 2, 1, 3, infer_pair, grad_swiglu,
                   flops_elements, sample_pair_swiglu},
    [OP_ATTENTION] = {"attention",
                      "y[t,h] = sum_j softmax_j(scale q[t,h].k[j]) v[j], j in [start[t], t]; lse",
                      4, 2, 0, infer_attention, grad_attention, flops_attention, sample_attention},
    [OP_CACHE_WRITE] = {"cache_write", "cache[row[t],:] = x[t,:], in place", 3, 1, 0,
                        infer_cache_write, NULL, flops_elements, sample_cache_write},
    [OP_ATTENTION_CACHED] = {"attention_cached",
                             "attention over cached rows of the token's sequence, up to pos[t]", 6,
                             1, 0, infer_attention_cached, NULL, flops_attention_cached,
                             sample_attention_cached},
    [OP_XENT] = {"xent", "sum over target[t] >= 0 of -log softmax(h[t] w^T)[target[t]]", 3, 1, 0,
                 infer_xent, grad_xent, flops_xent, sample_xent},
    [OP_BIAS] = {"bias", "y[t,d] = x[t,d] + b[d]", 2, 1, 1, infer_bias, grad_bias, flops_elements,
                 sample_bias},
    [OP_POSITION_SCALE] = {"position_scale",
                           "y[t,:] = x[t,:] (1 + beta log(1 + floor(pos[t] / original)))", 2, 1, 1,
                           infer_position_scale, grad_position_scale, flops_elements,
                           sample_position_scale},
    [OP_ROUTE] = {"route",
                  "the C largest of logits[t,:], by softmax over them or over all; and which", 1, 2,
                  0, infer_route, grad_route, flops_elements, sample_route},
    [OP_EXPERT_MATMUL] = {"expert_matmul",
                          "y[t C + c,:] = x[t,:] w[choice[t,c]]^T, or of x[t C + c,:]", 3, 1, 0,
                          infer_expert_matmul, grad_expert_matmul, flops_expert_matmul,
                          sample_expert_matmul},
    [OP_EXPERT_SUM] = {"expert_sum", "y[t,:] = sum_c weight[t,c] z[t C + c,:] (+ sum)", 3, 1,
                       1 << 2, infer_expert_sum, grad_expert_sum, flops_input, sample_expert_sum},
    [OP_EMBED_BACK] = {"embed_back", "dtable[ids[t],:] += dy[t,:], in place", 3, 1, 0,
                       infer_embed_back, NULL, flops_elements, sample_embed_back},
    [OP_RMS_NORM_BACK] = {"rms_norm_back", "dx of rms_norm; dw += its sum over t, in place", 4, 2,
                          1 << 2, infer_rms_norm_back, NULL, flops_elements, sample_rms_norm_back},
    [OP_SWIGLU_BACK] = {"swiglu_back", "dg, du of swiglu", 3, 2, 1 << 2, infer_swiglu_back, NULL,
                        flops_elements, sample_swiglu_back},
    [OP_ATTENTION_BACK] = {"attention_back", "dq, dk, dv of attention from y, lse and dy", 7, 3, 0,
                           infer_attention_back, NULL, flops_attention_back,
                           sample_attention_back},
    [OP_XENT_GRAD] = {"xent_grad",
                      "xent with dh = scale (softmax - onehot) w and dw += its outer product, in "
                      "one pass over chunks of logits",
                      5, 3, 0, infer_xent_grad, NULL, flops_xent_grad, sample_xent_grad},
    [OP_BIAS_BACK] = {"bias_back", "db[d] += sum_t dy[t,d], in place", 2, 1, 0, infer_bias_back,
                      NULL, flops_input, sample_bias_back},
    [OP_ROUTE_BACK] = {"route_back", "dlogits of route from its weights and their gradient", 4, 1,
                       0, infer_route_back, NULL, flops_elements, sample_route_back},
    [OP_EXPERT_MATMUL_BACK] = {"expert_matmul_back",
                               "dx of expert_matmul; dw[n] += sum of dy x^T over n's pairs, in "
                               "place",
                               5, 2, 0, infer_expert_matmul_back, NULL, flops_expert_matmul_back,
                               sample_expert_matmul_back},
    [OP_EXPERT_SUM_BACK] = {"expert_sum_back", "dz and dweight of expert_sum", 3, 2, 0,
                            infer_expert_sum_back, NULL, flops_input, sample_expert_sum_back},
};

/* ---- builders ---- */

ValueId op_embed(Graph *g, ValueId table, ValueId ids)
{
    return graph_append(g, OP_EMBED, (ValueId[]){table, ids}, 2, (OpArgs){0});
}

ValueId op_matmul(Graph *g, ValueId a, ValueId b, MatmulArgs args, ValueId sum)
{
    return graph_append(g, OP_MATMUL, (ValueId[]){a, b, sum}, 3, (OpArgs){.matmul = args});
}

ValueId op_linear(Graph *g, ValueId x, ValueId w, ValueId sum)
{
    return op_matmul(g, x, w, (MatmulArgs){.transpose_b = true}, sum);
}

ValueId op_add(Graph *g, ValueId a, ValueId b)
{
    return graph_append(g, OP_ADD, (ValueId[]){a, b}, 2, (OpArgs){0});
}

ValueId op_mul(Graph *g, ValueId a, ValueId b)
{
    return graph_append(g, OP_MUL, (ValueId[]){a, b}, 2, (OpArgs){0});
}

ValueId op_scale(Graph *g, ValueId x, float factor)
{
    return graph_append(g, OP_SCALE, &x, 1, (OpArgs){.factor = factor});
}

ValueId op_rms_norm(Graph *g, ValueId x, ValueId w, float eps)
{
    return graph_append(g, OP_RMS_NORM, (ValueId[]){x, w}, 2, (OpArgs){.eps = eps});
}

ValueId op_rope(Graph *g, ValueId x, ValueId pos, RopeArgs args)
{
    return graph_append(g, OP_ROPE, (ValueId[]){x, pos}, 2, (OpArgs){.rope = args});
}

ValueId op_swiglu(Graph *g, ValueId gate, ValueId up)
{
    return graph_append(g, OP_SWIGLU, (ValueId[]){gate, up}, 2, (OpArgs){0});
}

ValueId op_attention(Graph *g, ValueId q, ValueId k, ValueId v, ValueId start, AttentionArgs args)
{
    return graph_append(g, OP_ATTENTION, (ValueId[]){q, k, v, start}, 4,
                        (OpArgs){.attention = args});
}

ValueId op_cache_write(Graph *g, ValueId cache, ValueId x, ValueId row)
{
    return graph_append(g, OP_CACHE_WRITE, (ValueId[]){cache, x, row}, 3, (OpArgs){0});
}

ValueId op_attention_cached(Graph *g, ValueId q, ValueId kcache, ValueId vcache, ValueId seq,
                            ValueId pos, ValueId pages, AttentionArgs args)
{
    return graph_append(g, OP_ATTENTION_CACHED, (ValueId[]){q, kcache, vcache, seq, pos, pages}, 6,
                        (OpArgs){.attention = args});
}

ValueId op_xent(Graph *g, ValueId h, ValueId w, ValueId target)
{
    return graph_append(g, OP_XENT, (ValueId[]){h, w, target}, 3, (OpArgs){0});
}

ValueId op_bias(Graph *g, ValueId x, ValueId b)
{
    return graph_append(g, OP_BIAS, (ValueId[]){x, b}, 2, (OpArgs){0});
}

ValueId op_position_scale(Graph *g, ValueId x, ValueId pos, PositionArgs args)
{
    return graph_append(g, OP_POSITION_SCALE, (ValueId[]){x, pos}, 2, (OpArgs){.position = args});
}

ValueId op_route(Graph *g, ValueId logits, RouteArgs args)
{
    return graph_append(g, OP_ROUTE, &logits, 1, (OpArgs){.route = args});
}

ValueId op_expert_matmul(Graph *g, ValueId x, ValueId w, ValueId choice)
{
    return graph_append(g, OP_EXPERT_MATMUL, (ValueId[]){x, w, choice}, 3, (OpArgs){0});
}

ValueId op_expert_sum(Graph *g, ValueId weight, ValueId z, ValueId sum)
{
    return graph_append(g, OP_EXPERT_SUM, (ValueId[]){weight, z, sum}, 3, (OpArgs){0});
}
