/* graph.h: a program as values and nodes, recorded once, then frozen.
 *
 * A model's build function records leaves (parameters, inputs, states) and calls the builders of
 * ops.h, each of which appends one node. graph_grad appends the backward pass as ordinary nodes;
 * rewrites (LoRA, recompute) edit the list before it is frozen. backend/plan.h turns a frozen graph
 * into memory and a straight line of kernel calls.
 *
 * Conventions: row-major, last dimension contiguous, at most 3 dimensions; no strides, no views;
 * transposition is an argument of matmul. Ids are indices; 0 is none. T tokens, D model width,
 * H heads, K kv heads, E head width, F feed-forward width, V vocabulary.
 * Errors: the first error is latched with the label of the op; later builders return 0 and do
 * nothing; graph_finish reports it. Threads: one.
 */
#pragma once
#include "tensor/dtype.h"

typedef uint32_t ValueId;

typedef enum {
    ROLE_NONE,
    ROLE_PARAM, /* bound from outside; read only */
    ROLE_INPUT, /* bound from outside; set before each run */
    ROLE_STATE, /* bound from outside; written in place (key and value caches) */
    ROLE_GRAD,  /* bound from outside; gradient of a parameter, added to in place */
    ROLE_TEMP,  /* lives in the plan's arena */
} Role;

typedef struct {
    uint32_t rank, dim[3];
} Shape;

typedef struct {
    Shape shape;
    DType dtype;
    Role role;
    bool trainable;      /* parameters only */
    bool packed;         /* parameters only: the backend's own layout for matmul, inference only */
    bool keep;           /* temporaries only: readable after the run */
    bool flows;          /* set by graph_grad: a trainable parameter feeds this value */
    ValueId alias;       /* another value whose memory this one is, by construction; 0: none */
    ValueId grad;        /* set by graph_grad; 0: no gradient flows here */
    ValueId grad_of;     /* ROLE_GRAD: its parameter */
    uint32_t name;       /* offset into the graph's names; every value has one */
} Value;

typedef enum { /* coarse on purpose: a node is one kernel worth writing by hand */
    OP_NONE,
    OP_EMBED,
    OP_MATMUL,
    OP_ADD,
    OP_MUL,
    OP_SCALE,
    OP_RMS_NORM,
    OP_ROPE,
    OP_SWIGLU,
    OP_ATTENTION,
    OP_CACHE_WRITE,
    OP_ATTENTION_CACHED,
    OP_XENT,
    OP_BIAS,
    OP_POSITION_SCALE,
    OP_ROUTE,
    OP_EXPERT_MATMUL,
    OP_EXPERT_SUM,
    OP_EMBED_BACK,
    OP_RMS_NORM_BACK,
    OP_SWIGLU_BACK,
    OP_ATTENTION_BACK,
    OP_XENT_GRAD,
    OP_BIAS_BACK,
    OP_ROUTE_BACK,
    OP_EXPERT_MATMUL_BACK,
    OP_EXPERT_SUM_BACK,
    OP_COUNT
} OpCode;

typedef struct {
    bool transpose_a, transpose_b;
} MatmulArgs;
typedef struct {
    float theta;
    uint32_t heads, width;
    uint32_t table; /* graph_table of the pairs' frequencies, instead of theta; 0: none */
    bool inverse;
} RopeArgs;
typedef struct {
    uint32_t heads, kv_heads, width, window, page; /* window 0: none; page: cached form only */
    float scale;
} AttentionArgs;
typedef struct {
    float beta;
    uint32_t original; /* positions below it are scaled by 1 */
} PositionArgs;
typedef struct {
    uint32_t chosen;  /* experts of a token */
    bool renormalise; /* weights of a token sum to 1; else they are shares of the whole softmax */
} RouteArgs;
typedef union { /* typed arguments; never a bag of integers */
    MatmulArgs matmul;
    RopeArgs rope;
    AttentionArgs attention;
    PositionArgs position;
    RouteArgs route;
    float eps;    /* rms_norm, rms_norm_back */
    float factor; /* scale */
} OpArgs;

enum { NODE_IN = 7, NODE_OUT = 3, GRAPH_VALUES_MAX = 1 << 16, GRAPH_NODES_MAX = 1 << 16,
       GRAPH_TABLE_FLOATS_MAX = 1 << 20 };

typedef struct {
    OpCode op;
    uint8_t n_in, n_out;
    ValueId in[NODE_IN], out[NODE_OUT]; /* an optional input that is absent is 0 */
    OpArgs args;
    uint32_t layer; /* 1-based layer the node was recorded in; 0: outside layers */
    uint32_t label; /* offset into names: "layer 3: attention" */
} Node;

typedef struct Graph Graph;

bool graph_new(Graph **out, Error *err) MUST_CHECK;
void graph_free(Graph *g); /* NULL is a no-op */

/* Leaves. name is formatted; a parameter's name is unique. */
ValueId graph_param(Graph *g, DType dtype, Shape shape, const char *name, ...)
    __attribute__((format(printf, 4, 5)));
ValueId graph_input(Graph *g, DType dtype, Shape shape, const char *name);
ValueId graph_state(Graph *g, DType dtype, Shape shape, const char *name, ...)
    __attribute__((format(printf, 4, 5)));
/* A table of constants that arguments of ops name: copied, 1-based, the same id for equal contents;
 * 0 on a latched error. */
uint32_t graph_table(Graph *g, const float *values, uint32_t count);
const float *graph_table_at(const Graph *g, uint32_t table, uint32_t *count);
void graph_pack(Graph *g, ValueId param);                /* marks a parameter packed */
void graph_keep(Graph *g, ValueId value);                /* readable after the run */
void graph_freeze_param(Graph *g, ValueId param);        /* no gradient for it */
void graph_layer(Graph *g, uint32_t layer);              /* nodes recorded from here on; 0: outside */

/* Appends the backward pass of the scalar `loss`, which must be the output of an xent node.
 * Every trainable parameter that it depends on gets a ROLE_GRAD value named "grad:NAME". Errors:
 * ERR_INTERNAL naming the op that has no gradient. */
bool graph_grad(Graph *g, ValueId loss, Error *err) MUST_CHECK;

/* Recomputes temporaries in the backward pass instead of keeping them (Chen et al. 2016, "Training
 * deep nets with sublinear memory cost"). Never changes a bit of the result. */
typedef enum {
    RECOMPUTE_AUTO,   /* the caller's choice among the others; graph_recompute refuses it */
    RECOMPUTE_NONE,
    RECOMPUTE_CHEAP,  /* norms, activations: what costs little and has its inputs at hand */
    RECOMPUTE_WIDE,   /* those, and products with more columns than their input: in a Llama block
                         all of the feed-forward part but the last product */
    RECOMPUTE_LAYERS, /* everything between the residual streams of `every` layers */
} Recompute;
/* After graph_grad. `every` counts for LAYERS alone. */
bool graph_recompute(Graph *g, Recompute what, uint32_t every, Error *err) MUST_CHECK;

/* Low-rank adaptation (Hu et al. 2021): for every matmul whose weight W[N,K] has a name that holds
 * one of `targets` (comma-separated), y += (alpha / rank) (x A^T) B^T with new parameters
 * "NAME.lora_A" [rank,K] and "NAME.lora_B" [N,rank]; every other parameter is frozen. Before
 * graph_grad. Errors: ERR_INPUT when nothing matches. */
bool graph_attach_lora(Graph *g, const char *targets, uint32_t rank, float alpha,
                       Error *err) MUST_CHECK;

bool graph_finish(Graph *g, Error *err) MUST_CHECK; /* reports a latched error, freezes */
bool graph_failed(const Graph *g);

uint32_t graph_values(const Graph *g); /* ids are 1..graph_values */
uint32_t graph_nodes(const Graph *g);  /* indices 0..graph_nodes-1 */
const Value *graph_value(const Graph *g, ValueId id);
const Node *graph_node(const Graph *g, uint32_t index);
const char *graph_name(const Graph *g, ValueId id);
const char *graph_label(const Graph *g, const Node *node);
ValueId graph_find(const Graph *g, const char *name); /* leaf or gradient by name; 0: absent */
ValueId graph_root(const Graph *g, ValueId id);       /* follows alias to the owner of the memory */

Shape shape1(uint32_t a);
Shape shape2(uint32_t a, uint32_t b);
Shape shape3(uint32_t a, uint32_t b, uint32_t c);
uint64_t shape_count(Shape shape);
bool shape_equal(Shape a, Shape b);

/* ---- for ops.c, grad.c and the rewrites ---- */
ValueId graph_temp(Graph *g, DType dtype, Shape shape); /* a fresh temporary */
ValueId graph_alias(Graph *g, ValueId of);              /* a value in the memory of another */
/* Appends a node with its outputs inferred by its row; returns out[0], 0 on a latched error. */
ValueId graph_append(Graph *g, OpCode op, const ValueId *in, uint32_t n_in, OpArgs args);
ValueId graph_out(const Graph *g, ValueId first, uint32_t index); /* sibling output of out[0] */
void graph_latch(Graph *g, const Node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
Value *graph_value_edit(Graph *g, ValueId id);
Node *graph_node_edit(Graph *g, uint32_t index);
void graph_drop_last(Graph *g); /* forgets the last node; its outputs are no longer produced */
/* Moves the nodes [from, graph_nodes) so that they start at index `to` <= from. */
bool graph_move_nodes(Graph *g, uint32_t from, uint32_t to, Error *err) MUST_CHECK;
