/* rewrite_lora.c: low-rank adaptation as an edit of the recorded graph; see graph.h. */
#include "tensor/ops.h"

#include <stdio.h>
#include <string.h>

/* Does name hold one of the comma-separated words? */
static bool name_matches(const char *name, const char *targets)
{
    while (*targets) {
        size_t length = strcspn(targets, ",");
        char word[64];
        if (length && length < sizeof word) {
            memcpy(word, targets, length);
            word[length] = 0;
            if (strstr(name, word))
                return true;
        }
        targets += length + (targets[length] == ',');
    }
    return false;
}

static bool is_target(const Graph *g, const Node *node, const char *targets)
{
    if (node->op != OP_MATMUL || !node->args.matmul.transpose_b || node->args.matmul.transpose_a)
        return false;
    return graph_value(g, node->in[1])->role == ROLE_PARAM &&
           name_matches(graph_name(g, node->in[1]), targets);
}

/* y = x W^T (+ sum) becomes y0 = the same, y = ((x A^T) * scale) B^T + y0. */
static bool adapt(Graph *g, uint32_t index, uint32_t rank, float alpha, Error *err)
{
    Node node = *graph_node(g, index);
    Shape weight = graph_value(g, node.in[1])->shape;
    char name[160];
    snprintf(name, sizeof name, "%s", graph_name(g, node.in[1]));
    uint32_t first = graph_nodes(g);
    graph_layer(g, node.layer);
    ValueId a = graph_param(g, DT_F32, shape2(rank, weight.dim[1]), "%s.lora_A", name);
    ValueId b = graph_param(g, DT_F32, shape2(weight.dim[0], rank), "%s.lora_B", name);
    ValueId base = graph_temp(g, DT_F32, graph_value(g, node.out[0])->shape);
    ValueId low = op_scale(g, op_linear(g, node.in[0], a, 0), alpha / (float)rank);
    if (!base || !op_linear(g, low, b, base))
        return graph_finish(g, err);
    graph_node_edit(g, graph_nodes(g) - 1)->out[0] = node.out[0];
    graph_node_edit(g, index)->out[0] = base;
    graph_layer(g, 0);
    return graph_move_nodes(g, first, index + 1, err);
}

bool graph_attach_lora(Graph *g, const char *targets, uint32_t rank, float alpha, Error *err)
{
    if (graph_failed(g))
        return graph_finish(g, err);
    if (rank == 0)
        return fail(err, ERR_INPUT, "lora: the rank must be at least 1");
    for (ValueId id = 1; id <= graph_values(g); id++) {
        if (graph_value(g, id)->role == ROLE_PARAM)
            graph_freeze_param(g, id);
    }
    uint32_t adapted = 0;
    for (uint32_t i = 0; i < graph_nodes(g); i++) {
        if (!is_target(g, graph_node(g, i), targets))
            continue;
        if (!adapt(g, i, rank, alpha, err))
            return false;
        adapted++;
        i += 3; /* over the nodes just put in */
    }
    if (!adapted)
        return fail(err, ERR_INPUT, "lora: no weight has a name that holds one of '%s'", targets);
    return true;
}
