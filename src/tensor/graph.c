/* graph.c: recording of values and nodes; see graph.h.
 *
 * Invariants: values[0] is unused; every id in a node is below value_count; a value is produced by
 * at most one node, which stands before every node that reads it; once `error` is latched or the
 * graph is finished nothing is appended.
 */
#include "tensor/graph.h"

#include "base/mem.h"
#include "tensor/ops.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct Graph {
    Value *values;
    Node *nodes;
    uint32_t value_count, value_room, node_count, node_room;
    char *names;
    uint32_t name_bytes, name_room;
    float *constants; /* tables, each led by its length as a float */
    uint32_t constant_count, constant_room;
    uint32_t layer;
    bool finished;
    Error error;
};

Shape shape1(uint32_t a)
{
    return (Shape){1, {a, 0, 0}};
}

Shape shape2(uint32_t a, uint32_t b)
{
    return (Shape){2, {a, b, 0}};
}

Shape shape3(uint32_t a, uint32_t b, uint32_t c)
{
    return (Shape){3, {a, b, c}};
}

uint64_t shape_count(Shape shape)
{
    uint64_t count = 1;
    for (uint32_t i = 0; i < shape.rank; i++)
        count *= shape.dim[i];
    return count;
}

bool shape_equal(Shape a, Shape b)
{
    if (a.rank != b.rank)
        return false;
    for (uint32_t i = 0; i < a.rank; i++) {
        if (a.dim[i] != b.dim[i])
            return false;
    }
    return true;
}

bool graph_new(Graph **out, Error *err)
{
    Graph *g = mem_alloc(1, sizeof *g);
    if (!g)
        return fail(err, ERR_MEMORY, "no memory for a graph");
    g->value_count = 1;
    g->name_bytes = 1; /* names[0] is the empty name */
    *out = g;
    return true;
}

void graph_free(Graph *g)
{
    if (!g)
        return;
    mem_free(g->values);
    mem_free(g->nodes);
    mem_free(g->names);
    mem_free(g->constants);
    mem_free(g);
}

bool graph_failed(const Graph *g)
{
    return g->error.code != ERR_NONE;
}

/* ---- growth: the only allocations ---- */

static bool grow(Graph *g, void **array, uint32_t *room, uint32_t need, size_t item, uint32_t most)
{
    if (need <= *room)
        return true;
    uint32_t wanted = *room ? *room * 2 : 64;
    while (wanted < need)
        wanted *= 2;
    void *bigger = need <= most ? mem_resize(*array, wanted, item) : NULL;
    if (!bigger) {
        fail(&g->error, need <= most ? ERR_MEMORY : ERR_LIMIT,
             "the graph does not fit: %u entries needed, %u at most", need, most);
        return false;
    }
    memset((char *)bigger + (size_t)*room * item, 0, (size_t)(wanted - *room) * item);
    *array = bigger;
    *room = wanted;
    return true;
}

static uint32_t add_name(Graph *g, const char *text)
{
    uint32_t length = (uint32_t)strlen(text) + 1;
    if (!grow(g, (void **)&g->names, &g->name_room, g->name_bytes + length, 1, 1u << 26))
        return 0;
    uint32_t at = g->name_bytes;
    memcpy(g->names + at, text, length);
    g->name_bytes += length;
    return at;
}

/* A table's id is the place of its first value; the one before it holds the length. */
uint32_t graph_table(Graph *g, const float *values, uint32_t count)
{
    assert(count > 0);
    for (uint32_t at = 1, length; at < g->constant_count; at += length + 1) {
        length = (uint32_t)g->constants[at - 1];
        if (length == count && memcmp(g->constants + at, values, count * sizeof *values) == 0)
            return at;
    }
    if (graph_failed(g) || !grow(g, (void **)&g->constants, &g->constant_room,
                                 g->constant_count + count + 1, sizeof *g->constants,
                                 GRAPH_TABLE_FLOATS_MAX))
        return 0;
    uint32_t at = g->constant_count + 1;
    g->constants[at - 1] = (float)count;
    memcpy(g->constants + at, values, count * sizeof *values);
    g->constant_count += count + 1;
    return at;
}

const float *graph_table_at(const Graph *g, uint32_t table, uint32_t *count)
{
    assert(table && table < g->constant_count);
    *count = (uint32_t)g->constants[table - 1];
    return g->constants + table;
}

static ValueId add_value(Graph *g, Value value)
{
    if (graph_failed(g) || g->finished)
        return 0;
    if (!grow(g, (void **)&g->values, &g->value_room, g->value_count + 1, sizeof *g->values,
              GRAPH_VALUES_MAX))
        return 0;
    g->values[g->value_count] = value;
    return g->value_count++;
}

static ValueId add_leaf(Graph *g, Value value, const char *format, va_list args)
{
    char name[160];
    vsnprintf(name, sizeof name, format, args);
    if (graph_failed(g))
        return 0;
    if (graph_find(g, name)) {
        fail(&g->error, ERR_INTERNAL, "the graph has two leaves named '%s'", name);
        return 0;
    }
    if (shape_count(value.shape) == 0) {
        fail(&g->error, ERR_INPUT, "'%s' has no elements: a size in the configuration is 0", name);
        return 0;
    }
    value.name = add_name(g, name);
    return add_value(g, value);
}

ValueId graph_param(Graph *g, DType dtype, Shape shape, const char *name, ...)
{
    va_list args;
    va_start(args, name);
    Value value = {.shape = shape, .dtype = dtype, .role = ROLE_PARAM,
                   .trainable = dtype_info[dtype].trainable};
    ValueId id = add_leaf(g, value, name, args);
    va_end(args);
    return id;
}

static ValueId add_named(Graph *g, Value value, const char *name, ...)
{
    va_list args;
    va_start(args, name);
    ValueId id = add_leaf(g, value, name, args);
    va_end(args);
    return id;
}

ValueId graph_input(Graph *g, DType dtype, Shape shape, const char *name)
{
    return add_named(g, (Value){.shape = shape, .dtype = dtype, .role = ROLE_INPUT}, "%s", name);
}

ValueId graph_state(Graph *g, DType dtype, Shape shape, const char *name, ...)
{
    va_list args;
    va_start(args, name);
    Value value = {.shape = shape, .dtype = dtype, .role = ROLE_STATE};
    ValueId id = add_leaf(g, value, name, args);
    va_end(args);
    return id;
}

ValueId graph_temp(Graph *g, DType dtype, Shape shape)
{
    return add_value(g, (Value){.shape = shape, .dtype = dtype, .role = ROLE_TEMP});
}

ValueId graph_alias(Graph *g, ValueId of)
{
    if (!of)
        return 0;
    Value value = g->values[of];
    value.alias = graph_root(g, of);
    value.name = 0;
    value.grad = 0;
    return add_value(g, value);
}

ValueId grad_slot(Graph *g, ValueId param)
{
    Value *value = graph_value_edit(g, param);
    if (value->grad)
        return value->grad;
    Value slot = {.shape = value->shape, .dtype = value->dtype, .role = ROLE_GRAD,
                  .grad_of = param};
    ValueId id = add_named(g, slot, "grad:%s", graph_name(g, param));
    if (id)
        g->values[param].grad = id;
    return id;
}

void graph_pack(Graph *g, ValueId param)
{
    if (param)
        g->values[param].packed = true;
}

void graph_keep(Graph *g, ValueId value)
{
    if (value)
        g->values[value].keep = true;
}

void graph_freeze_param(Graph *g, ValueId param)
{
    if (param)
        g->values[param].trainable = false;
}

void graph_layer(Graph *g, uint32_t layer)
{
    g->layer = layer;
}

/* ---- nodes ---- */

void graph_latch(Graph *g, const Node *node, const char *format, ...)
{
    if (graph_failed(g))
        return;
    char reason[200];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    fail(&g->error, ERR_INPUT, "%s: %s", graph_label(g, node), reason);
}

ValueId graph_append(Graph *g, OpCode op, const ValueId *in, uint32_t n_in, OpArgs args)
{
    if (graph_failed(g) || g->finished)
        return 0;
    assert(n_in <= op_info[op].n_in && op_info[op].n_in <= NODE_IN);
    Node node = {.op = op, .n_in = op_info[op].n_in, .n_out = op_info[op].n_out, .args = args,
                 .layer = g->layer};
    if (n_in)
        memcpy(node.in, in, n_in * sizeof *in);
    char label[64];
    if (g->layer)
        snprintf(label, sizeof label, "layer %u: %s", g->layer - 1, op_info[op].name);
    else
        snprintf(label, sizeof label, "%s", op_info[op].name);
    node.label = add_name(g, label);
    if (!op_info[op].infer(g, &node) || graph_failed(g))
        return 0;
    if (!grow(g, (void **)&g->nodes, &g->node_room, g->node_count + 1, sizeof *g->nodes,
              GRAPH_NODES_MAX))
        return 0;
    g->nodes[g->node_count++] = node;
    return node.out[0];
}

ValueId graph_out(const Graph *g, ValueId first, uint32_t index)
{
    for (uint32_t i = g->node_count; first && i > 0; i--) {
        if (g->nodes[i - 1].out[0] == first)
            return g->nodes[i - 1].out[index];
    }
    return 0;
}

void graph_drop_last(Graph *g)
{
    assert(g->node_count > 0);
    g->node_count--;
}

bool graph_move_nodes(Graph *g, uint32_t from, uint32_t to, Error *err)
{
    assert(to <= from && from <= g->node_count);
    uint32_t count = g->node_count - from;
    Node *moved = mem_alloc(count, sizeof *moved);
    if (!moved)
        return fail(err, ERR_MEMORY, "no memory to move %u nodes", count);
    memcpy(moved, g->nodes + from, count * sizeof *moved);
    memmove(g->nodes + to + count, g->nodes + to, (from - to) * sizeof *moved);
    memcpy(g->nodes + to, moved, count * sizeof *moved);
    mem_free(moved);
    return true;
}

bool graph_finish(Graph *g, Error *err)
{
    if (graph_failed(g)) {
        *err = g->error;
        return false;
    }
    g->finished = true;
    return true;
}

/* ---- reading ---- */

uint32_t graph_values(const Graph *g)
{
    return g->value_count - 1;
}

uint32_t graph_nodes(const Graph *g)
{
    return g->node_count;
}

const Value *graph_value(const Graph *g, ValueId id)
{
    assert(id && id < g->value_count);
    return &g->values[id];
}

Value *graph_value_edit(Graph *g, ValueId id)
{
    assert(id && id < g->value_count);
    return &g->values[id];
}

const Node *graph_node(const Graph *g, uint32_t index)
{
    assert(index < g->node_count);
    return &g->nodes[index];
}

Node *graph_node_edit(Graph *g, uint32_t index)
{
    assert(index < g->node_count);
    return &g->nodes[index];
}

const char *graph_name(const Graph *g, ValueId id)
{
    uint32_t name = graph_value(g, id)->name;
    return name ? g->names + name : "";
}

const char *graph_label(const Graph *g, const Node *node)
{
    return node->label ? g->names + node->label : op_info[node->op].name;
}

ValueId graph_find(const Graph *g, const char *name)
{
    for (ValueId id = 1; id < g->value_count; id++) {
        if (g->values[id].name && strcmp(g->names + g->values[id].name, name) == 0)
            return id;
    }
    return 0;
}

ValueId graph_root(const Graph *g, ValueId id)
{
    while (g->values[id].alias)
        id = g->values[id].alias;
    return id;
}
