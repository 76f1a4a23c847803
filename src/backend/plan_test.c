/* plan_test.c: placement held to its promise on random graphs: what is alive at once does not
 * overlap, memory is taken over only where a row allows it; see plan.h. */
#include "backend/plan.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/test.h"

#include <stdio.h>

enum { NODES = 40, T = 4, D = 24 };

static Device *open_device(const Backend *backend)
{
    Error err;
    Device *device;
    assert_ok(backend->open(&device, (DeviceOptions){1}, &err));
    return device;
}

/* Nodes over values of two sizes, reading anything made before; some values are kept. */
static Graph *random_graph(uint64_t seed)
{
    Error err;
    Graph *g;
    RngKey key = rng_key(seed, "plan");
    uint64_t n = 0;
    ValueId made[NODES + 2], wide[NODES + 2];
    uint32_t count = 1, wide_count = 1;
    assert_ok(graph_new(&g, &err));
    made[0] = graph_input(g, DT_F32, shape2(T, D), "x");
    wide[0] = graph_input(g, DT_F32, shape2(T, 2 * D), "wide");
    ValueId up = graph_param(g, DT_F32, shape2(2 * D, D), "up");
    ValueId down = graph_param(g, DT_F32, shape2(D, 2 * D), "down");
    ValueId norm = graph_param(g, DT_F32, shape1(D), "norm");
    for (int i = 0; i < NODES; i++) {
        ValueId a = made[rng_below(key, n++, count)], b = made[rng_below(key, n++, count)];
        ValueId w = wide[rng_below(key, n++, wide_count)], out = 0;
        switch (rng_below(key, n++, 8)) {
        case 0: out = op_add(g, a, b); break;
        case 1: out = op_mul(g, a, b); break;
        case 2: out = op_scale(g, a, 0.5f); break;
        case 3: out = op_swiglu(g, a, b); break;
        case 4: out = op_rms_norm(g, a, norm, 1e-3f); break;
        case 5: out = op_linear(g, w, down, rng_below(key, n++, 2) ? a : 0); break;
        case 6: out = graph_append(g, OP_SWIGLU_BACK, (ValueId[]){a, b, a}, 3, (OpArgs){0}); break;
        default: wide[wide_count++] = op_linear(g, a, up, rng_below(key, n++, 2) ? w : 0); continue;
        }
        made[count++] = out;
        if (rng_below(key, n++, 8) == 0)
            graph_keep(g, out);
    }
    graph_keep(g, made[count - 1]);
    assert_ok(graph_finish(g, &err));
    return g;
}

typedef struct {
    uint64_t from, to;   /* bytes in the arena */
    uint32_t first, last; /* steps between which the contents matter */
} Span;

static bool may_take(const Graph *g, const Program *p, uint32_t step, ValueId old)
{
    const Node *node = graph_node(g, step);
    uint32_t reads = 0;
    bool allowed = false;
    for (uint32_t k = 0; k < node->n_in; k++) {
        if (!node->in[k] || program_data(p, node->in[k]) != program_data(p, old))
            continue;
        reads++;
        allowed = allowed || op_info[node->op].may_alias >> k & 1;
    }
    return allowed && reads == 1;
}

/* Recomputes lifetimes from the nodes alone and compares every pair of temporaries. */
static void check_plan(const Graph *g, const Program *p, const Device *device, const char *arena)
{
    static Span span[4 * NODES + 16];
    uint32_t values = graph_values(g);
    assert_true(values < 4 * NODES + 16);
    for (ValueId id = 1; id <= values; id++) {
        const Value *value = graph_value(g, id);
        span[id] = (Span){.first = UINT32_MAX};
        if (value->role != ROLE_TEMP)
            continue;
        span[id].from = (uint64_t)((char *)program_data(p, id) - arena);
        span[id].to = span[id].from + device->backend->value_bytes(device, value);
        assert_true(span[id].from % 64 == 0 && span[id].to <= program_arena_bytes(p));
        for (uint32_t i = 0; i < graph_nodes(g); i++) {
            const Node *node = graph_node(g, i);
            for (uint32_t k = 0; k < node->n_out; k++)
                if (node->out[k] == id)
                    span[id].first = span[id].last = i;
            for (uint32_t k = 0; k < node->n_in; k++)
                if (node->in[k] == id)
                    span[id].last = i;
        }
        if (value->keep)
            span[id].last = UINT32_MAX;
    }
    for (ValueId a = 1; a <= values; a++) {
        for (ValueId b = 1; b <= values; b++) {
            const Span *x = &span[a], *y = &span[b];
            if (a == b || x->first == UINT32_MAX || y->first == UINT32_MAX || x->first > y->first ||
                y->first > x->last || x->from >= y->to || y->from >= x->to)
                continue;
            bool taken = y->first == x->last && x->first < y->first && x->from == y->from &&
                         graph_node(g, y->first)->out[0] == b && may_take(g, p, y->first, a);
            if (!taken)
                fail_test("values %u [%u,%u] and %u [%u,%u] share memory", a, x->first, x->last, b,
                          y->first, y->last);
        }
    }
}

static void what_is_alive_at_once_does_not_overlap(void **state)
{
    (void)state;
    Error err;
    for (int b = 0; backends[b]; b++) {
        Device *device = open_device(backends[b]);
        for (uint64_t seed = 0; seed < 150; seed++) {
            Graph *g = random_graph(seed);
            Program *p;
            assert_ok(program_plan(&p, g, device, &err));
            void *arena = backends[b]->alloc(device, program_arena_bytes(p) + 1);
            assert_ok(program_use_arena(p, arena, &err));
            check_plan(g, p, device, arena);
            program_free(p);
            backends[b]->free(device, arena);
            graph_free(g);
        }
        backends[b]->close(device);
    }
}

/* The same graph with every temporary kept (so nothing shares memory) gives the same bits. */
static void sharing_memory_does_not_change_results(void **state)
{
    (void)state;
    Error err;
    for (int b = 0; backends[b]; b++) {
        Device *device = open_device(backends[b]);
        for (uint64_t seed = 0; seed < 60; seed++) {
            Graph *g[2] = {random_graph(seed), random_graph(seed)};
            Program *p[2];
            void *memory[2][8] = {{0}};
            for (int v = 0; v < 2; v++) {
                for (ValueId id = 1; v && id <= graph_values(g[v]); id++)
                    if (graph_value(g[v], id)->role == ROLE_TEMP)
                        graph_keep(g[v], id);
                assert_ok(program_plan(&p[v], g[v], device, &err));
                assert_ok(program_use_arena(p[v], NULL, &err));
                for (ValueId id = 1; id <= 5; id++) {
                    const Value *value = graph_value(g[v], id);
                    float host[2 * D * D];
                    for (uint64_t i = 0; i < shape_count(value->shape); i++)
                        host[i] = (float)rng_normal(rng_key(id, "leaf"), i) * 0.3f;
                    memory[v][id] = backends[b]->alloc(device,
                                                       backends[b]->value_bytes(device, value));
                    backends[b]->write(device, value, memory[v][id], host);
                    program_bind(p[v], id, memory[v][id]);
                }
                uint64_t before = mem_count();
                bool ok = program_run(p[v], &err);
                assert_int_equal(mem_count(), before); /* a run allocates nothing */
                assert_true(ok);
            }
            assert_true(program_arena_bytes(p[0]) < program_arena_bytes(p[1]));
            for (ValueId id = 1; id <= graph_values(g[0]); id++)
                if (graph_value(g[0], id)->keep && graph_value(g[0], id)->role == ROLE_TEMP)
                    assert_memory_equal(program_data(p[0], id), program_data(p[1], id),
                                        backends[b]->value_bytes(device, graph_value(g[0], id)));
            for (int v = 0; v < 2; v++) {
                for (ValueId id = 1; id <= 5; id++)
                    backends[b]->free(device, memory[v][id]);
                program_free(p[v]);
                graph_free(g[v]);
            }
        }
        backends[b]->close(device);
    }
}

static void a_leaf_without_memory_is_a_sentence(void **state)
{
    (void)state;
    Error err;
    Device *device = open_device(&backend_ref);
    Graph *g;
    Program *p;
    double memory[4] = {0};
    assert_ok(graph_new(&g, &err));
    ValueId a = graph_input(g, DT_F32, shape1(4), "left"), b = graph_input(g, DT_F32, shape1(4), "b");
    graph_layer(g, 2);
    ValueId sum = op_add(g, a, b);
    graph_keep(g, sum);
    assert_ok(graph_finish(g, &err));
    assert_ok(program_plan(&p, g, device, &err));
    program_bind(p, b, memory);
    assert_fails(program_run(p, &err), ERR_INTERNAL, "layer 1: add: 'left' has no memory bound");
    program_bind(p, a, memory);
    assert_fails(program_run(p, &err), ERR_INTERNAL, "no arena"); /* its output has no memory */
    assert_ok(program_use_arena(p, NULL, &err));
    assert_ok(program_use_arena(p, NULL, &err)); /* asked again: the first is not lost */
    assert_ok(program_run(p, &err));
    assert_non_null(program_data(p, sum));
    program_free(p);
    graph_free(g);
    device->backend->close(device);
}

static void failing_allocations_are_errors(void **state)
{
    (void)state;
    Device *device = open_device(&backend_cpu);
    Graph *g = random_graph(1);
    for (int64_t n = 0, done = 0; !done; n++) {
        Error err = {0};
        Program *p = NULL;
        mem_fail_after(n);
        done = program_plan(&p, g, device, &err) && program_use_arena(p, NULL, &err);
        mem_fail_after(-1);
        program_free(p);
        assert_true(done || err.code == ERR_MEMORY);
        assert_true(n < 50);
    }
    graph_free(g);
    device->backend->close(device);
}

static void count_lines(void *user, const char *text)
{
    uint32_t *lines = user;
    assert_non_null(strstr(text, "MFLOP"));
    ++*lines;
}

static void a_plan_explains_itself(void **state)
{
    (void)state;
    Error err;
    Device *device = open_device(&backend_cpu);
    Graph *g = random_graph(2);
    Program *p;
    uint32_t lines = 0;
    assert_ok(program_plan(&p, g, device, &err));
    program_explain(p, count_lines, &lines);
    assert_int_equal(lines, graph_nodes(g));
    assert_true(program_flops(p) > 0);
    program_free(p);
    graph_free(g);
    device->backend->close(device);
    assert_ptr_equal(backend_named("ref"), &backend_ref);
    assert_null(backend_named("none"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_alive_at_once_does_not_overlap),
        cmocka_unit_test(sharing_memory_does_not_change_results),
        cmocka_unit_test(a_leaf_without_memory_is_a_sentence),
        cmocka_unit_test(failing_allocations_are_errors),
        cmocka_unit_test(a_plan_explains_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
