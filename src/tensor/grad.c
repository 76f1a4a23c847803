/* grad.c: the gradient as a rewrite: one short rule per op, and the walk that applies them.
 *
 * A rule reads the gradient of its node's output (Value.grad of out[0]) and appends ordinary nodes
 * that give the gradients of its inputs. Gradients of parameters are added in place into ROLE_GRAD
 * slots, so that micro-batches and tied weights accumulate by themselves.
 */
#include "tensor/ops.h"

#include "tensor/op_rows.h"

static bool flows(const Graph *g, ValueId id)
{
    return id && graph_value(g, id)->flows;
}

bool grad_add(Graph *g, ValueId of, ValueId contribution)
{
    if (!contribution)
        return false;
    if (graph_value(g, of)->role == ROLE_PARAM)
        return op_add(g, grad_slot(g, of), contribution) != 0;
    ValueId old = graph_value(g, of)->grad;
    ValueId sum = old ? op_add(g, old, contribution) : contribution;
    if (sum)
        graph_value_edit(g, of)->grad = sum;
    return sum != 0;
}

/* The in-place slot of a parameter that learns, 0 for one that does not. */
static ValueId slot_of(Graph *g, ValueId param)
{
    return flows(g, param) ? grad_slot(g, param) : 0;
}

/* Adds op(a) op(b) to the gradient of `of`: into the slot of a parameter, or with the product's own
 * addition into a temporary's running sum. */
static bool add_product(Graph *g, ValueId of, ValueId a, ValueId b, MatmulArgs args)
{
    if (!flows(g, of))
        return true;
    if (graph_value(g, of)->role == ROLE_PARAM)
        return op_matmul(g, a, b, args, grad_slot(g, of)) != 0;
    ValueId sum = op_matmul(g, a, b, args, graph_value(g, of)->grad);
    if (sum)
        graph_value_edit(g, of)->grad = sum;
    return sum != 0;
}

bool grad_matmul(Graph *g, uint32_t index)
{
    Node node = *graph_node(g, index);
    ValueId a = node.in[0], b = node.in[1], sum = node.in[2];
    ValueId dc = graph_value(g, node.out[0])->grad;
    MatmulArgs args = node.args.matmul;
    if (args.transpose_a) {
        graph_latch(g, &node, "has no gradient when its left side is transposed");
        return false;
    }
    if (sum && flows(g, sum) && !grad_add(g, sum, dc))
        return false;
    if (!add_product(g, a, dc, b, (MatmulArgs){.transpose_b = !args.transpose_b}))
        return false;
    return args.transpose_b ? add_product(g, b, dc, a, (MatmulArgs){.transpose_a = true})
                            : add_product(g, b, a, dc, (MatmulArgs){.transpose_a = true});
}

bool grad_embed(Graph *g, uint32_t index)
{
    Node node = *graph_node(g, index);
    ValueId dy = graph_value(g, node.out[0])->grad, table = node.in[0];
    if (graph_value(g, table)->role != ROLE_PARAM) {
        graph_latch(g, &node, "has a gradient only for a table that is a parameter");
        return false;
    }
    ValueId in[] = {slot_of(g, table), dy, node.in[1]};
    return graph_append(g, OP_EMBED_BACK, in, 3, (OpArgs){0}) != 0;
}

bool grad_add_op(Graph *g, uint32_t index)
{
    Node node = *graph_node(g, index);
    ValueId dy = graph_value(g, node.out[0])->grad;
    return (!flows(g, node.in[0]) || grad_add(g, node.in[0], dy)) &&
           (!flows(g, node.in[1]) || grad_add(g, node.in[1], dy));
}

bool grad_mul(Graph *g, uint32_t index)
{
    Node node = *graph_node(g, index);
    ValueId dy = graph_value(g, node.out[0])->grad;
    return (!flows(g, node.in[0]) || grad_add(g, node.in[0], op_mul(g, dy, node.in[1]))) &&
           (!flows(g, node.in[1]) || grad_add(g, node.in[1], op_mul(g, dy, node.in[0])));
}

bool grad_scale(Graph *g, uint32_t index)
{
    Node node = *graph_node(g, index);
    ValueId dy = graph_value(g, node.out[0])->grad;
    return grad_add(g, node.in[0], op_scale(g, dy, node.args.factor));
}

bool grad_rms_norm(Graph *g, uint32_t index)
{
    Node node = *graph_node(g, index);
    ValueId dy = graph_value(g, node.out[0])->grad;
    ValueId in[] = {node.in[0], node.in[1], dy, slot_of(g, node.in[1])};
    ValueId dx = graph_append(g, OP_RMS_NORM_BACK, in, 4, node.args);
    return dx && (!flows(g, node.in[0]) || grad_add(g, node.in[0], dx));
}

bool grad_rope(Graph *g, uint32_t index)
{
    Node node = *graph_node(g, index);
    RopeArgs args = node.args.rope;
    args.inverse = !args.inverse;
    ValueId dy = graph_value(g, node.out[0])->grad;
    return grad_add(g, node.in[0], op_rope(g, dy, node.in[1], args));
}

bool grad_swiglu(Graph *g, uint32_t index)
{
    Node node = *graph_node(g, index);
    ValueId dy = graph_value(g, node.out[0])->grad;
    ValueId in[] = {node.in[0], node.in[1], dy};
    ValueId dg = graph_append(g, OP_SWIGLU_BACK, in, 3, (OpArgs){0});
    ValueId du = graph_out(g, dg, 1);
    return dg && (!flows(g, node.in[0]) || grad_add(g, node.in[0], dg)) &&
           (!flows(g, node.in[1]) || grad_add(g, node.in[1], du));
}

bool grad_attention(Graph *g, uint32_t index)
{
    Node node = *graph_node(g, index);
    ValueId dy = graph_value(g, node.out[0])->grad;
    ValueId in[] = {node.in[0], node.in[1],  node.in[2], node.out[0],
                    node.out[1], dy, node.in[3]};
    ValueId dq = graph_append(g, OP_ATTENTION_BACK, in, 7, node.args);
    ValueId dk = graph_out(g, dq, 1), dv = graph_out(g, dq, 2);
    return dq && (!flows(g, node.in[0]) || grad_add(g, node.in[0], dq)) &&
           (!flows(g, node.in[1]) || grad_add(g, node.in[1], dk)) &&
           (!flows(g, node.in[2]) || grad_add(g, node.in[2], dv));
}

bool grad_bias(Graph *g, uint32_t index)
{
    Node node = *graph_node(g, index);
    ValueId dy = graph_value(g, node.out[0])->grad, db = slot_of(g, node.in[1]);
    if (db && !graph_append(g, OP_BIAS_BACK, (ValueId[]){db, dy}, 2, (OpArgs){0}))
        return false;
    return !flows(g, node.in[0]) || grad_add(g, node.in[0], dy);
}

bool grad_position_scale(Graph *g, uint32_t index)
{
    Node node = *graph_node(g, index);
    ValueId dy = graph_value(g, node.out[0])->grad;
    return grad_add(g, node.in[0], op_position_scale(g, dy, node.in[1], node.args.position));
}

/* What is chosen does not move; only the weights have a gradient. */
bool grad_route(Graph *g, uint32_t index)
{
    Node node = *graph_node(g, index);
    ValueId in[] = {node.in[0], node.out[0], node.out[1], graph_value(g, node.out[0])->grad};
    return grad_add(g, node.in[0], graph_append(g, OP_ROUTE_BACK, in, 4, node.args));
}

bool grad_expert_matmul(Graph *g, uint32_t index)
{
    Node node = *graph_node(g, index);
    ValueId dy = graph_value(g, node.out[0])->grad;
    ValueId in[] = {node.in[0], node.in[1], node.in[2], dy, slot_of(g, node.in[1])};
    ValueId dx = graph_append(g, OP_EXPERT_MATMUL_BACK, in, 5, (OpArgs){0});
    return dx && (!flows(g, node.in[0]) || grad_add(g, node.in[0], dx));
}

bool grad_expert_sum(Graph *g, uint32_t index)
{
    Node node = *graph_node(g, index);
    ValueId dy = graph_value(g, node.out[0])->grad, sum = node.in[2];
    ValueId in[] = {node.in[0], node.in[1], dy};
    ValueId dz = graph_append(g, OP_EXPERT_SUM_BACK, in, 3, (OpArgs){0});
    ValueId dweight = graph_out(g, dz, 1);
    return dz && (!flows(g, node.in[0]) || grad_add(g, node.in[0], dweight)) &&
           (!flows(g, node.in[1]) || grad_add(g, node.in[1], dz)) &&
           (!sum || !flows(g, sum) || grad_add(g, sum, dy));
}

/* The loss is the root, so its own gradient is 1: the forward node itself becomes the fused node
 * that gives loss, dh and dw while a chunk of logits is at hand, and logits are never stored. */
bool grad_xent(Graph *g, uint32_t index)
{
    Node node = *graph_node(g, index);
    ValueId scale = graph_find(g, "loss_scale");
    if (!scale)
        scale = graph_input(g, DT_F32, shape1(1), "loss_scale");
    ValueId in[] = {node.in[0], node.in[1], node.in[2], scale, slot_of(g, node.in[1])};
    ValueId loss = graph_append(g, OP_XENT_GRAD, in, 5, (OpArgs){0});
    if (!loss)
        return false;
    uint32_t last = graph_nodes(g) - 1;
    Node *fused = graph_node_edit(g, last);
    fused->out[0] = node.out[0]; /* the value that callers know as the loss */
    fused->layer = node.layer;
    ValueId dh = fused->out[1];
    *graph_node_edit(g, index) = *fused;
    graph_drop_last(g);
    return !flows(g, node.in[0]) || grad_add(g, node.in[0], dh);
}

static void mark_flows(Graph *g)
{
    for (ValueId id = 1; id <= graph_values(g); id++) {
        Value *value = graph_value_edit(g, id);
        value->flows = value->role == ROLE_PARAM && value->trainable;
    }
    for (uint32_t i = 0; i < graph_nodes(g); i++) {
        const Node *node = graph_node(g, i);
        bool any = false;
        for (uint32_t k = 0; k < node->n_in; k++)
            any = any || flows(g, node->in[k]);
        for (uint32_t k = 0; k < node->n_out; k++) {
            if (any && node->out[k])
                graph_value_edit(g, node->out[k])->flows = true;
        }
    }
}

bool graph_grad(Graph *g, ValueId loss, Error *err)
{
    if (graph_failed(g))
        return graph_finish(g, err);
    mark_flows(g);
    uint32_t count = graph_nodes(g);
    const Node *last = count ? graph_node(g, count - 1) : NULL;
    if (!loss || !last || last->op != OP_XENT || last->out[0] != loss)
        return fail(err, ERR_INTERNAL, "a gradient starts at an xent node, the last of the graph");
    for (uint32_t i = count; i > 0; i--) {
        const Node *node = graph_node(g, i - 1);
        bool root = node->out[0] == loss;
        if (!flows(g, node->out[0]) || (!root && !graph_value(g, node->out[0])->grad))
            continue;
        if (!op_info[node->op].grad)
            return fail(err, ERR_INTERNAL, "%s has no gradient", graph_label(g, node));
        graph_layer(g, node->layer);
        if (!op_info[node->op].grad(g, i - 1)) {
            graph_layer(g, 0);
            return graph_finish(g, err);
        }
    }
    graph_layer(g, 0);
    return true;
}
