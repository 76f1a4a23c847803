/* ops.h: the op table, one row per op, and a builder per forward op.
 *
 * Everything the system knows about an op is its row: meaning, shapes, gradient, cost, a random
 * legal instance for tests and benches. The reference kernel in backend/ref is its specification.
 */
#pragma once
#include "tensor/graph.h"

typedef struct {
    const char *name;    /* "rms_norm" */
    const char *meaning; /* formula, printed by `bastide ops` */
    uint8_t n_in, n_out; /* inputs at most (absent optional ones are 0), outputs */
    uint8_t may_alias;   /* bit i: out[0] may take in[i]'s memory */
    /* Checks shapes and types (the only place), and creates the outputs. False: latched. */
    bool (*infer)(Graph *g, Node *node);
    /* Appends the gradient's nodes; NULL: not differentiable. */
    bool (*grad)(Graph *g, uint32_t node);
    uint64_t (*flops)(const Graph *g, const Node *node);
    /* Records a random legal instance of this op, at most a few thousand elements. */
    void (*sample)(Graph *g, uint64_t seed);
} OpInfo;
extern const OpInfo op_info[OP_COUNT];

/* y[T,D] = table[ids[T]] */
ValueId op_embed(Graph *g, ValueId table, ValueId ids);
/* op(a) x op(b) (+ sum, which may be 0) */
ValueId op_matmul(Graph *g, ValueId a, ValueId b, MatmulArgs args, ValueId sum);
/* x[T,K] x w[N,K]^T (+ sum) */
ValueId op_linear(Graph *g, ValueId x, ValueId w, ValueId sum);
ValueId op_add(Graph *g, ValueId a, ValueId b);
ValueId op_mul(Graph *g, ValueId a, ValueId b);
ValueId op_scale(Graph *g, ValueId x, float factor);
/* w has one entry per column, or per column of a head: then every head is normalised alone */
ValueId op_rms_norm(Graph *g, ValueId x, ValueId w, float eps);
ValueId op_rope(Graph *g, ValueId x, ValueId pos, RopeArgs args);
ValueId op_swiglu(Graph *g, ValueId gate, ValueId up);
ValueId op_attention(Graph *g, ValueId q, ValueId k, ValueId v, ValueId start, AttentionArgs args);
/* cache[row[t],:] = x[t,:]; the result stands for the cache after the write */
ValueId op_cache_write(Graph *g, ValueId cache, ValueId x, ValueId row);
ValueId op_attention_cached(Graph *g, ValueId q, ValueId kcache, ValueId vcache, ValueId seq,
                            ValueId pos, ValueId pages, AttentionArgs args);
/* sum over rows with target >= 0 of -log softmax(h w^T)[target]; h[T,D], w[V,D] -> [1] */
ValueId op_xent(Graph *g, ValueId h, ValueId w, ValueId target);

/* y[t,d] = x[t,d] + b[d] */
ValueId op_bias(Graph *g, ValueId x, ValueId b);
/* y[t,:] = x[t,:] (1 + beta log(1 + floor(pos[t] / original))) */
ValueId op_position_scale(Graph *g, ValueId x, ValueId pos, PositionArgs args);
/* The weights [T,C] of each token's C most likely experts from logits [T,N]; graph_out 1 is which
 * they are, i32 [T,C], most likely first, the lower number first among equals. */
ValueId op_route(Graph *g, ValueId logits, RouteArgs args);
/* Row p = t C + c of the result is x[t] w[choice[t,c]]^T, or x[p] w[choice[t,c]]^T when x has a row
 * per pair. w[N,M,K], choice[T,C], x[T,K] or [T C,K] -> [T C,M]. */
ValueId op_expert_matmul(Graph *g, ValueId x, ValueId w, ValueId choice);
/* y[t,:] = sum over c of weight[t,c] z[t C + c,:] (+ sum[t,:], which may be 0) */
ValueId op_expert_sum(Graph *g, ValueId weight, ValueId z, ValueId sum);

/* Legal contents for an integer input of a sampled instance. */
void op_sample_integers(const Graph *g, ValueId id, uint64_t seed, int32_t *out);

uint64_t op_flops(const Graph *g, const Node *node);
/* Adds a gradient contribution to `of` (grad.c): a parameter's slot is added to in place; for a
 * temporary the first contribution is taken as is, later ones are added. */
bool grad_add(Graph *g, ValueId of, ValueId contribution);
ValueId grad_slot(Graph *g, ValueId param);     /* the ROLE_GRAD value of a parameter, made once */
