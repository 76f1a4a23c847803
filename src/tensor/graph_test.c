/* graph_test.c: recording: latched errors, leaves, limits, aliases; see graph.h. */
#include "base/mem.h"
#include "base/test.h"
#include "tensor/ops.h"

static Graph *open_graph(void)
{
    Error err;
    Graph *g;
    assert_ok(graph_new(&g, &err));
    return g;
}

static void the_first_error_names_layer_and_op(void **state)
{
    (void)state;
    Error err;
    Graph *g = open_graph();
    ValueId x = graph_input(g, DT_F32, shape2(4, 8), "x");
    ValueId w = graph_param(g, DT_F32, shape2(16, 9), "w");
    graph_layer(g, 3);
    ValueId y = op_linear(g, x, w, 0);
    assert_int_equal(y, 0);
    assert_true(graph_failed(g));
    graph_layer(g, 5);
    ValueId pos = graph_input(g, DT_I32, shape1(4), "pos");
    assert_int_equal(op_rope(g, y, pos, (RopeArgs){.heads = 1, .width = 3}), 0);
    assert_int_equal(graph_nodes(g), 0);
    assert_fails(graph_finish(g, &err), ERR_INPUT, "layer 2: matmul: inner sizes differ: 8 and 9");
    assert_fails(graph_grad(g, y, &err), ERR_INPUT, "layer 2: matmul");
    assert_fails(graph_recompute(g, RECOMPUTE_LAYERS, 1, &err), ERR_INPUT, "layer 2: matmul");
    assert_fails(graph_attach_lora(g, "w", 2, 1, &err), ERR_INPUT, "layer 2: matmul");
    graph_free(g);
}

static void an_absent_operand_is_no_crash(void **state)
{
    (void)state;
    for (OpCode op = OP_NONE + 1; op < OP_COUNT; op++) {
        Graph *g = open_graph();
        ValueId none[NODE_IN] = {0};
        assert_int_equal(graph_append(g, op, none, op_info[op].n_in, (OpArgs){0}), 0);
        assert_int_equal(graph_nodes(g), 0);
        graph_free(g);
    }
}

typedef struct {
    uint32_t heads, width;
    const char *words;
} RopeCase;

static void shapes_are_checked_with_a_sentence(void **state)
{
    (void)state;
    static const RopeCase cases[] = {{2, 3, "head width must be even"},
                                     {2, 0, "head width must be even"},
                                     {3, 4, "columns != heads * width"}};
    Error err;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Graph *g = open_graph();
        ValueId x = graph_input(g, DT_F32, shape2(4, 8), "x");
        ValueId pos = graph_input(g, DT_I32, shape1(4), "pos");
        op_rope(g, x, pos, (RopeArgs){.heads = cases[i].heads, .width = cases[i].width});
        assert_fails(graph_finish(g, &err), ERR_INPUT, cases[i].words);
        graph_free(g);
    }
    Graph *g = open_graph();
    ValueId a = graph_input(g, DT_F32, shape2(4, 8), "a");
    op_add(g, a, graph_input(g, DT_F32, shape2(8, 4), "b"));
    assert_fails(graph_finish(g, &err), ERR_INPUT, "add: shapes differ");
    graph_free(g);
    g = open_graph();
    ValueId q = graph_input(g, DT_F32, shape2(4, 12), "q");
    ValueId start = graph_input(g, DT_I32, shape1(4), "start");
    op_attention(g, q, q, q, start, (AttentionArgs){.heads = 3, .kv_heads = 2, .width = 4});
    assert_fails(graph_finish(g, &err), ERR_INPUT, "attention: heads must be a multiple");
    graph_free(g);
}

static void two_leaves_of_one_name_are_refused(void **state)
{
    (void)state;
    Error err;
    Graph *g = open_graph();
    assert_int_not_equal(graph_param(g, DT_F32, shape2(2, 2), "layer.%u.w", 7u), 0);
    assert_int_equal(graph_param(g, DT_F32, shape2(2, 2), "layer.%u.w", 7u), 0);
    assert_fails(graph_finish(g, &err), ERR_INTERNAL, "two leaves named 'layer.7.w'");
    graph_free(g);
}

static void a_leaf_without_elements_is_refused(void **state)
{
    (void)state;
    Error err;
    Graph *g = open_graph();
    assert_int_equal(graph_param(g, DT_F32, shape2(0, 8), "w"), 0);
    assert_fails(graph_finish(g, &err), ERR_INPUT, "'w' has no elements");
    graph_free(g);
}

/* Nodes and values have a most; what comes after is refused and nothing is written past it. */
static void a_graph_has_a_most(void **state)
{
    (void)state;
    Error err;
    Graph *g = open_graph();
    ValueId x = graph_input(g, DT_F32, shape1(4), "x");
    for (uint32_t i = 0; i < GRAPH_VALUES_MAX + 10; i++)
        x = op_scale(g, x, 2);
    assert_int_equal(x, 0);
    assert_true(graph_values(g) < GRAPH_VALUES_MAX);
    assert_fails(graph_finish(g, &err), ERR_LIMIT, "does not fit");
    graph_free(g);
}

static void nothing_is_recorded_after_the_end(void **state)
{
    (void)state;
    Error err;
    Graph *g = open_graph();
    ValueId x = graph_input(g, DT_F32, shape1(4), "x");
    assert_ok(graph_finish(g, &err));
    assert_int_equal(op_scale(g, x, 2), 0);
    assert_int_equal(graph_input(g, DT_F32, shape1(4), "y"), 0);
    assert_int_equal(graph_nodes(g), 0);
    assert_int_equal(graph_values(g), 1);
    graph_free(g);
}

static void aliases_lead_to_one_root(void **state)
{
    (void)state;
    Error err;
    Graph *g = open_graph();
    ValueId cache = graph_state(g, DT_F32, shape2(64, 8), "cache.%u", 0u);
    ValueId x = graph_input(g, DT_F32, shape2(4, 8), "x");
    ValueId row = graph_input(g, DT_I32, shape1(4), "row");
    ValueId once = op_cache_write(g, cache, x, row), twice = op_cache_write(g, once, x, row);
    assert_int_not_equal(twice, 0);
    assert_int_not_equal(twice, once);
    assert_int_equal(graph_value(g, once)->alias, cache);
    assert_int_equal(graph_value(g, twice)->alias, cache);
    assert_int_equal(graph_root(g, twice), cache);
    assert_int_equal(graph_root(g, x), x);
    assert_string_equal(graph_name(g, twice), "");
    assert_int_equal(graph_find(g, "cache.0"), cache);
    assert_int_equal(graph_find(g, "cache.1"), 0);
    assert_ok(graph_finish(g, &err));
    graph_free(g);
}

static void moved_nodes_keep_their_order(void **state)
{
    (void)state;
    Error err;
    Graph *g = open_graph();
    ValueId x = graph_input(g, DT_F32, shape1(4), "x");
    for (int i = 0; i < 6; i++)
        op_scale(g, x, (float)i);
    assert_ok(graph_move_nodes(g, 4, 1, &err));
    static const float want[] = {0, 4, 5, 1, 2, 3};
    for (uint32_t i = 0; i < 6; i++)
        assert_near((double)graph_node(g, i)->args.factor, (double)want[i], 0);
    graph_free(g);
}

/* Every allocation fails once, in turn: an error each time, and nothing leaks (under ASan). */
static void failing_allocations_are_latched(void **state)
{
    (void)state;
    for (int64_t n = 0;; n++) {
        Error err = {0};
        Graph *g;
        mem_fail_after(n);
        bool ok = graph_new(&g, &err);
        if (ok) {
            ValueId x = graph_input(g, DT_F32, shape1(4), "x");
            for (int i = 0; i < 200; i++)
                x = op_scale(g, x, 2);
            ok = graph_finish(g, &err);
            graph_free(g);
        }
        mem_fail_after(-1);
        if (ok)
            break;
        assert_int_equal(err.code, ERR_MEMORY);
        assert_true(n < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_error_names_layer_and_op),
        cmocka_unit_test(an_absent_operand_is_no_crash),
        cmocka_unit_test(shapes_are_checked_with_a_sentence),
        cmocka_unit_test(two_leaves_of_one_name_are_refused),
        cmocka_unit_test(a_leaf_without_elements_is_refused),
        cmocka_unit_test(a_graph_has_a_most),
        cmocka_unit_test(nothing_is_recorded_after_the_end),
        cmocka_unit_test(aliases_lead_to_one_root),
        cmocka_unit_test(moved_nodes_keep_their_order),
        cmocka_unit_test(failing_allocations_are_latched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
