/* plan.c: liveness, placement and kernel choice; see plan.h.
 *
 * Every value has an owner: itself, or the value whose memory it takes (aliases by construction,
 * and in-place outputs decided here). A temporary owner lives from the step that first writes it
 * to the last step that reads any value it owns. Placement: largest first, each at the lowest
 * offset that no owner alive at the same time occupies.
 */
#include "backend/plan.h"

#include "base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

typedef struct {
    ValueId owner;
    uint32_t first, last; /* steps; meaningful for owners */
    uint64_t bytes, offset;
} Place;

struct Program {
    const Graph *graph;
    Device *device;
    Kernel *kernels; /* [nodes] */
    Place *places;   /* [values + 1] */
    void **data;     /* [values + 1] */
    uint64_t temp_bytes, scratch_bytes, flops;
    void *arena, *own_arena;
    bool checked;
};

static uint64_t round_up(uint64_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static ValueId owner_of(const Program *p, ValueId id)
{
    while (p->places[id].owner != id)
        id = p->places[id].owner;
    return id;
}

static bool choose_kernels(Program *p, Error *err)
{
    const Backend *backend = p->device->backend;
    for (uint32_t i = 0; i < graph_nodes(p->graph); i++) {
        const Node *node = graph_node(p->graph, i);
        p->kernels[i] = backend->kernel(p->device, p->graph, node);
        if (!p->kernels[i])
            return fail(err, ERR_INTERNAL, "%s: the %s backend has no kernel for it",
                        graph_label(p->graph, node), backend->name);
        uint64_t scratch = backend->scratch_bytes(p->device, p->graph, node);
        p->scratch_bytes = scratch > p->scratch_bytes ? scratch : p->scratch_bytes;
        p->flops += op_flops(p->graph, node);
    }
    p->scratch_bytes = round_up(p->scratch_bytes);
    return true;
}

/* Last step at which a value itself is read; values that are kept live for ever. */
static void mark_last_reads(Program *p)
{
    for (ValueId id = 1; id <= graph_values(p->graph); id++) {
        p->places[id].owner = id;
        p->places[id].first = UINT32_MAX;
        if (graph_value(p->graph, id)->keep)
            p->places[id].last = UINT32_MAX;
    }
    for (uint32_t i = 0; i < graph_nodes(p->graph); i++) {
        const Node *node = graph_node(p->graph, i);
        for (uint32_t k = 0; k < node->n_in; k++) {
            Place *place = &p->places[node->in[k]];
            if (node->in[k] && place->last != UINT32_MAX)
                place->last = i;
        }
    }
}

static bool is_temp(const Program *p, ValueId id)
{
    return id && graph_value(p->graph, id)->role == ROLE_TEMP;
}

/* May out[0] of step i take over the memory of input k? Only of a temporary that no one reads
 * after this step, under any of its names, and that this node does not read twice. */
static bool can_take(const Program *p, uint32_t i, uint32_t k)
{
    const Node *node = graph_node(p->graph, i);
    ValueId out = node->out[0], in = node->in[k];
    if (!(op_info[node->op].may_alias >> k & 1) || !is_temp(p, in) || !is_temp(p, out))
        return false;
    for (uint32_t other = 0; other < node->n_in; other++) {
        if (other != k && node->in[other] && owner_of(p, node->in[other]) == owner_of(p, in))
            return false;
    }
    return p->places[owner_of(p, in)].last == i && p->places[owner_of(p, in)].bytes ==
                                                       p->places[out].bytes;
}

static void extend(Program *p, ValueId owner, uint32_t first, uint32_t last)
{
    Place *place = &p->places[owner];
    place->first = first < place->first ? first : place->first;
    place->last = last > place->last ? last : place->last;
}

static void choose_owners(Program *p)
{
    for (ValueId id = 1; id <= graph_values(p->graph); id++) {
        const Value *value = graph_value(p->graph, id);
        if (value->role == ROLE_TEMP)
            p->places[id].bytes =
                round_up(p->device->backend->value_bytes(p->device, value));
        if (value->alias) {
            p->places[id].owner = value->alias;
            extend(p, value->alias, UINT32_MAX, p->places[id].last);
        }
    }
    for (uint32_t i = 0; i < graph_nodes(p->graph); i++) {
        const Node *node = graph_node(p->graph, i);
        for (uint32_t k = 0; k < node->n_in; k++) {
            if (node->in[k] && can_take(p, i, k)) {
                ValueId owner = owner_of(p, node->in[k]);
                p->places[node->out[0]].owner = owner;
                extend(p, owner, i, p->places[node->out[0]].last);
                break;
            }
        }
        for (uint32_t k = 0; k < node->n_out; k++) {
            if (node->out[k])
                extend(p, owner_of(p, node->out[k]), i, i);
        }
    }
}

/* ---- placement ---- */

static bool overlap(const Place *a, const Place *b)
{
    return a->first <= b->last && b->first <= a->last;
}

typedef struct {
    uint64_t bytes;
    ValueId id;
} Sized;

static int largest_first(const void *a, const void *b)
{
    const Sized *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Lowest offset free of the `count` owners already placed (sorted by offset) that live meanwhile. */
static uint64_t lowest_offset(const Program *p, const ValueId *placed, uint32_t count,
                              const Place *place)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        const Place *other = &p->places[placed[i]];
        if (!overlap(place, other) || other->offset + other->bytes <= at)
            continue;
        if (other->offset >= at + place->bytes)
            break;
        at = other->offset + other->bytes;
    }
    return at;
}

static bool place_temporaries(Program *p, Error *err)
{
    uint32_t values = graph_values(p->graph), count = 0, placed_count = 0;
    auto_free Sized *order = mem_alloc(values + 1, sizeof *order);
    auto_free ValueId *placed = mem_alloc(values + 1, sizeof *placed);
    if (!order || !placed)
        return fail(err, ERR_MEMORY, "no memory to plan %u values", values);
    for (ValueId id = 1; id <= values; id++) {
        if (is_temp(p, id) && p->places[id].owner == id && p->places[id].first != UINT32_MAX)
            order[count++] = (Sized){p->places[id].bytes, id};
    }
    qsort(order, count, sizeof *order, largest_first);
    for (uint32_t i = 0; i < count; i++) {
        Place *place = &p->places[order[i].id];
        place->offset = lowest_offset(p, placed, placed_count, place);
        uint32_t at = placed_count++;
        for (; at > 0 && p->places[placed[at - 1]].offset > place->offset; at--)
            placed[at] = placed[at - 1];
        placed[at] = order[i].id;
        uint64_t end = place->offset + place->bytes;
        p->temp_bytes = end > p->temp_bytes ? end : p->temp_bytes;
    }
    return true;
}

bool program_plan(Program **out, const Graph *g, Device *device, Error *err)
{
    Program *p = mem_alloc(1, sizeof *p);
    if (!p)
        return fail(err, ERR_MEMORY, "no memory for a program");
    p->graph = g;
    p->device = device;
    p->kernels = mem_alloc(graph_nodes(g), sizeof *p->kernels);
    p->places = mem_alloc(graph_values(g) + 1, sizeof *p->places);
    p->data = mem_alloc(graph_values(g) + 1, sizeof *p->data);
    if (!p->kernels || !p->places || !p->data) {
        program_free(p);
        return fail(err, ERR_MEMORY, "no memory for a program of %u nodes", graph_nodes(g));
    }
    if (!choose_kernels(p, err)) {
        program_free(p);
        return false;
    }
    mark_last_reads(p);
    choose_owners(p);
    if (!place_temporaries(p, err)) {
        program_free(p);
        return false;
    }
    *out = p;
    return true;
}

void program_free(Program *p)
{
    if (!p)
        return;
    if (p->own_arena)
        p->device->backend->free(p->device, p->own_arena);
    mem_free(p->kernels);
    mem_free(p->places);
    mem_free(p->data);
    mem_free(p);
}

uint64_t program_arena_bytes(const Program *p)
{
    return p->temp_bytes + p->scratch_bytes;
}

uint64_t program_flops(const Program *p)
{
    return p->flops;
}

bool program_use_arena(Program *p, void *arena, Error *err)
{
    if (!arena && !p->own_arena) {
        p->own_arena = p->device->backend->alloc(p->device, program_arena_bytes(p) + 1);
        if (!p->own_arena)
            return fail(err, ERR_MEMORY, "no memory for an arena of %llu bytes",
                        (unsigned long long)program_arena_bytes(p));
    }
    arena = arena ? arena : p->own_arena;
    p->arena = arena;
    for (ValueId id = 1; id <= graph_values(p->graph); id++) {
        const Place *owner = &p->places[owner_of(p, id)];
        if (is_temp(p, id) && owner->first != UINT32_MAX)
            p->data[id] = (char *)arena + owner->offset;
    }
    return true;
}

void program_bind(Program *p, ValueId leaf, void *memory)
{
    assert(graph_value(p->graph, leaf)->role != ROLE_TEMP);
    p->checked = false;
    p->data[leaf] = memory;
    for (ValueId id = 1; id <= graph_values(p->graph); id++) {
        if (graph_value(p->graph, id)->alias == leaf)
            p->data[id] = memory;
    }
}

void *program_data(const Program *p, ValueId value)
{
    return p->data[value];
}

/* Every value that a step names has memory. */
static bool check_bound(Program *p, Error *err)
{
    for (uint32_t i = 0; i < graph_nodes(p->graph); i++) {
        const Node *node = graph_node(p->graph, i);
        for (uint32_t k = 0; k < node->n_in; k++) {
            if (node->in[k] && !p->data[node->in[k]])
                return fail(err, ERR_INTERNAL, "%s: '%s' has no memory bound",
                            graph_label(p->graph, node), graph_name(p->graph, node->in[k]));
        }
        for (uint32_t k = 0; k < node->n_out; k++) {
            if (node->out[k] && !p->data[node->out[k]])
                return fail(err, ERR_INTERNAL, "%s: no arena was given for its result",
                            graph_label(p->graph, node));
        }
    }
    p->checked = true;
    return true;
}

bool program_run(Program *p, Error *err)
{
    if (!p->checked && !check_bound(p, err))
        return false;
    Exec x = {p->device, p->graph, p->data, (char *)p->arena + p->temp_bytes};
    uint32_t nodes = graph_nodes(p->graph);
    for (uint32_t i = 0; i < nodes; i++)
        p->kernels[i](&x, graph_node(p->graph, i));
    return true;
}

static void describe_value(const Program *p, ValueId id, char *out, size_t room)
{
    const Value *value = graph_value(p->graph, id);
    char dims[48];
    int used = 0;
    for (uint32_t i = 0; i < value->shape.rank; i++)
        used += snprintf(dims + used, sizeof dims - (size_t)used, "%s%u", i ? "x" : "",
                         value->shape.dim[i]);
    snprintf(out, room, " %s[%s]%s", dtype_info[value->dtype].name, dims,
             p->places[id].owner != id ? " in place" : "");
}

void program_explain(const Program *p, void (*line)(void *user, const char *text), void *user)
{
    for (uint32_t i = 0; i < graph_nodes(p->graph); i++) {
        const Node *node = graph_node(p->graph, i);
        char text[300], part[100];
        int used = snprintf(text, sizeof text, "%4u  %-28s", i, graph_label(p->graph, node));
        for (uint32_t k = 0; k < node->n_out; k++) {
            if (!node->out[k])
                continue;
            describe_value(p, node->out[k], part, sizeof part);
            used += snprintf(text + used, sizeof text - (size_t)used, "%s", part);
        }
        snprintf(text + used, sizeof text - (size_t)used, "  %.3f MFLOP",
                 (double)op_flops(p->graph, node) * 1e-6);
        line(user, text);
    }
}
