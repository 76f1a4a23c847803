/* rewrite_recompute.c: trade time for memory: temporaries of a run of layers are thrown away after
 * the forward pass and computed again just before that run's backward nodes; see graph.h.
 *
 * Works on the finished list: [forward nodes | backward nodes], every node knowing its layer. For
 * each segment but the last, the chosen forward nodes whose results its backward nodes read are
 * copied in front of the first of those; the copies' outputs replace the originals in them. What is
 * not chosen stays: with RECOMPUTE_LAYERS that is what enters a segment from before (the residual
 * stream), else every node but the cheap ones, which are chosen only where what they are made of
 * stays anyway or is itself made again: nothing is kept for their sake.
 */
#include "tensor/ops.h"

#include "base/mem.h"

#include <string.h>

typedef struct {
    Graph *g;
    uint32_t forward;  /* nodes before this index are forward */
    uint32_t original; /* nodes in all, before copies */
    Recompute what;
    uint32_t every;
    ValueId *copy;     /* [values + 1] stand-in of a value within the current segment; 0: none */
    uint8_t *needed;   /* [values + 1] by the segment's backward nodes, or for what they need */
    uint8_t *at_hand;  /* [values + 1] there when the segment's backward nodes begin */
    uint8_t *chosen;   /* [forward] nodes that may be computed again */
    uint32_t values;
} Rewrite;

static uint32_t segment_of(const Rewrite *r, const Node *node)
{
    return node->layer ? (node->layer - 1) / r->every + 1 : 0;
}

static bool is_forward_op(OpCode op)
{
    return op != OP_XENT_GRAD && op_info[op].grad != NULL;
}

/* The forward part ends at the fused loss. */
static uint32_t forward_count(const Graph *g)
{
    for (uint32_t i = 0; i < graph_nodes(g); i++) {
        if (!is_forward_op(graph_node(g, i)->op))
            return i;
    }
    return graph_nodes(g);
}

/* Marks what the segment's backward nodes read. */
static void mark_read(Rewrite *r, uint32_t segment)
{
    memset(r->needed, 0, r->values + 1);
    for (uint32_t i = r->forward; i < r->original; i++) {
        const Node *node = graph_node(r->g, i);
        for (uint32_t k = 0; k < node->n_in && segment_of(r, node) == segment; k++) {
            if (node->in[k] && node->in[k] <= r->values)
                r->needed[node->in[k]] = 1;
        }
    }
}

static bool has_inputs_at_hand(const Rewrite *r, const Node *node)
{
    for (uint32_t k = 0; k < node->n_in; k++) {
        ValueId id = node->in[k];
        if (id && graph_value(r->g, id)->role == ROLE_TEMP && !r->at_hand[id])
            return false;
    }
    return true;
}

/* A matmul that widens, or an op of a few operations for each element. */
static bool is_worth(const Rewrite *r, const Node *node)
{
    enum { CHEAP_FLOPS = 32 };
    const Value *out = graph_value(r->g, node->out[0]), *in = graph_value(r->g, node->in[0]);
    if (node->op == OP_MATMUL)
        return r->what == RECOMPUTE_WIDE && !node->in[2] && out->shape.dim[1] > in->shape.dim[1];
    return op_flops(r->g, node) <= CHEAP_FLOPS * shape_count(out->shape);
}

/* Which forward nodes of the segment are computed again if needed: what their inputs are is known
 * when they are met, since nodes stand in order. */
static void choose(Rewrite *r, uint32_t segment)
{
    memcpy(r->at_hand, r->needed, r->values + 1);
    for (uint32_t i = 0; i < r->forward; i++) {
        const Node *node = graph_node(r->g, i);
        bool inside = segment_of(r, node) == segment;
        r->chosen[i] = inside && (r->what == RECOMPUTE_LAYERS ||
                                  (is_worth(r, node) && has_inputs_at_hand(r, node)));
        for (uint32_t k = 0; k < node->n_out && r->chosen[i]; k++)
            r->at_hand[node->out[k]] = 1;
    }
}

static bool is_needed(const Rewrite *r, const Node *node)
{
    for (uint32_t k = 0; k < node->n_out; k++) {
        if (node->out[k] && r->needed[node->out[k]])
            return true;
    }
    return false;
}

/* Walking back: what is computed again needs its inputs. */
static void mark_needed(Rewrite *r, uint32_t segment)
{
    mark_read(r, segment);
    choose(r, segment);
    for (uint32_t i = r->forward; i > 0; i--) {
        const Node *node = graph_node(r->g, i - 1);
        r->chosen[i - 1] = r->chosen[i - 1] && is_needed(r, node);
        for (uint32_t k = 0; k < node->n_in && r->chosen[i - 1]; k++) {
            if (node->in[k])
                r->needed[node->in[k]] = 1;
        }
    }
}

/* Appends a copy of a forward node with fresh outputs. */
static bool copy_node(Rewrite *r, const Node *original)
{
    Node node = *original;
    for (uint32_t k = 0; k < node.n_in; k++) {
        if (node.in[k] && r->copy[node.in[k]])
            node.in[k] = r->copy[node.in[k]];
    }
    graph_layer(r->g, node.layer);
    ValueId out = graph_append(r->g, node.op, node.in, node.n_in, node.args);
    graph_layer(r->g, 0);
    for (uint32_t k = 0; k < node.n_out && out; k++) {
        ValueId fresh = k ? graph_out(r->g, out, k) : out;
        if (fresh)
            r->copy[node.out[k]] = fresh;
    }
    return out != 0;
}

/* first: index of the segment's first backward node. Returns nodes put in, or -1. */
static int32_t expand(Rewrite *r, uint32_t segment, uint32_t first, Error *err)
{
    mark_needed(r, segment);
    memset(r->copy, 0, (r->values + 1) * sizeof *r->copy);
    uint32_t before = graph_nodes(r->g);
    for (uint32_t i = 0; i < r->forward; i++) {
        Node node = *graph_node(r->g, i);
        if (r->chosen[i] && !copy_node(r, &node))
            return graph_finish(r->g, err) ? 0 : -1;
    }
    uint32_t added = graph_nodes(r->g) - before;
    for (uint32_t i = first; i < before; i++) {
        Node *node = graph_node_edit(r->g, i);
        for (uint32_t k = 0; k < node->n_in && segment_of(r, node) == segment; k++) {
            if (node->in[k] && node->in[k] <= r->values && r->copy[node->in[k]])
                node->in[k] = r->copy[node->in[k]];
        }
    }
    return graph_move_nodes(r->g, before, first, err) ? (int32_t)added : -1;
}

static bool rewrite(Rewrite *r, Error *err)
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < r->forward; i++) {
        uint32_t segment = segment_of(r, graph_node(r->g, i));
        last = segment > last ? segment : last;
    }
    for (uint32_t i = r->forward, done = last; i < graph_nodes(r->g); i++) {
        uint32_t segment = segment_of(r, graph_node(r->g, i));
        if (segment == 0 || segment >= done)
            continue; /* outside layers, the last segment, or one already expanded */
        done = segment;
        r->original = graph_nodes(r->g);
        int32_t added = expand(r, segment, i, err);
        if (added < 0)
            return false;
        i += (uint32_t)added;
    }
    return true;
}

bool graph_recompute(Graph *g, Recompute what, uint32_t every, Error *err)
{
    if (graph_failed(g))
        return graph_finish(g, err);
    if (what == RECOMPUTE_AUTO || every == 0)
        return fail(err, ERR_INPUT, "recompute: say what, and at least one layer at a time");
    if (what == RECOMPUTE_NONE)
        return true;
    Rewrite r = {.g = g, .what = what, .every = what == RECOMPUTE_LAYERS ? every : 1,
                 .forward = forward_count(g), .values = graph_values(g)};
    r.copy = mem_alloc(r.values + 1, sizeof *r.copy);
    r.needed = mem_alloc(r.values + 1, 1);
    r.at_hand = mem_alloc(r.values + 1, 1);
    r.chosen = mem_alloc(r.forward + 1, 1);
    bool ok = r.copy && r.needed && r.at_hand && r.chosen
                  ? rewrite(&r, err)
                  : fail(err, ERR_MEMORY, "no memory to rewrite the graph");
    mem_free(r.copy);
    mem_free(r.needed);
    mem_free(r.at_hand);
    mem_free(r.chosen);
    return ok;
}
