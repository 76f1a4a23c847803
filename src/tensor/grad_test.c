/* grad_test.c: which gradients are recorded, and which are not: tied and frozen parameters, values
 * that nothing trainable feeds, adapters. Numbers are held to finite differences in tests/. */
#include "base/test.h"
#include "tensor/ops.h"

/* ids -> embedding -> layers x (norm, y = x + mlp(norm x)) -> loss; the head is the embedding when
 * tied. Returns the loss. */
static ValueId record(Graph *g, uint32_t layers, bool tied)
{
    ValueId ids = graph_input(g, DT_I32, shape1(4), "ids");
    ValueId target = graph_input(g, DT_I32, shape1(4), "target");
    ValueId table = graph_param(g, DT_F32, shape2(10, 8), "table");
    ValueId x = op_embed(g, table, ids);
    for (uint32_t i = 0; i < layers; i++) {
        graph_layer(g, i + 1);
        ValueId w = graph_param(g, DT_F32, shape1(8), "%u.norm", i);
        ValueId up = graph_param(g, DT_F32, shape2(12, 8), "%u.up", i);
        ValueId down = graph_param(g, DT_F32, shape2(8, 12), "%u.down", i);
        x = op_linear(g, op_linear(g, op_rms_norm(g, x, w, 1e-5f), up, 0), down, x);
    }
    graph_layer(g, 0);
    return op_xent(g, x, tied ? table : graph_param(g, DT_F32, shape2(10, 8), "head"), target);
}

static Graph *open_graph(void)
{
    Error err;
    Graph *g;
    assert_ok(graph_new(&g, &err));
    return g;
}

/* Nodes whose output stands in the memory of `slot`. */
static uint32_t writers(const Graph *g, ValueId slot)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < graph_nodes(g); i++) {
        const Node *node = graph_node(g, i);
        for (uint32_t k = 0; k < node->n_out; k++)
            count += node->out[k] && graph_root(g, node->out[k]) == slot;
    }
    return count;
}

static uint32_t slots(const Graph *g)
{
    uint32_t count = 0;
    for (ValueId id = 1; id <= graph_values(g); id++)
        count += graph_value(g, id)->role == ROLE_GRAD && !graph_value(g, id)->alias;
    return count;
}

static void a_tied_parameter_gets_both_contributions(void **state)
{
    (void)state;
    Error err;
    for (int tied = 0; tied < 2; tied++) {
        Graph *g = open_graph();
        assert_ok(graph_grad(g, record(g, 2, tied), &err));
        assert_ok(graph_finish(g, &err));
        ValueId slot = graph_find(g, "grad:table");
        assert_int_not_equal(slot, 0);
        assert_int_equal(graph_value(g, slot)->role, ROLE_GRAD);
        assert_int_equal(graph_value(g, slot)->grad_of, graph_find(g, "table"));
        assert_int_equal(writers(g, slot), tied ? 2 : 1);
        assert_int_equal(slots(g), tied ? 7 : 8);
        graph_free(g);
    }
}

static void what_nothing_trainable_feeds_has_no_gradient(void **state)
{
    (void)state;
    Error err;
    Graph *g = open_graph();
    ValueId loss = record(g, 3, false);
    graph_freeze_param(g, graph_find(g, "table"));
    for (uint32_t i = 0; i < 2; i++) {
        static const char *const parts[] = {"0.norm", "0.up", "0.down", "1.norm", "1.up", "1.down"};
        for (int p = 0; p < 3; p++)
            graph_freeze_param(g, graph_find(g, parts[i * 3 + (uint32_t)p]));
    }
    uint32_t forward = graph_nodes(g);
    assert_ok(graph_grad(g, loss, &err));
    assert_int_equal(graph_find(g, "grad:table"), 0);
    assert_int_equal(graph_find(g, "grad:1.up"), 0);
    assert_int_not_equal(graph_find(g, "grad:2.up"), 0);
    assert_int_equal(slots(g), 4);
    for (uint32_t i = 0; i < forward; i++) {
        const Node *node = graph_node(g, i);
        if (node->layer && node->layer < 3)
            assert_int_equal(graph_value(g, node->out[0])->grad, 0);
    }
    for (uint32_t i = forward; i < graph_nodes(g); i++)
        assert_true(graph_node(g, i)->layer == 0 || graph_node(g, i)->layer == 3);
    graph_free(g);
}

static void with_all_frozen_nothing_is_recorded(void **state)
{
    (void)state;
    Error err;
    Graph *g = open_graph();
    ValueId loss = record(g, 1, false);
    for (ValueId id = 1; id <= graph_values(g); id++)
        if (graph_value(g, id)->role == ROLE_PARAM)
            graph_freeze_param(g, id);
    uint32_t forward = graph_nodes(g);
    assert_ok(graph_grad(g, loss, &err));
    assert_int_equal(graph_nodes(g), forward);
    assert_int_equal(slots(g), 0);
    graph_free(g);
}

static void a_gradient_starts_at_the_loss(void **state)
{
    (void)state;
    Error err;
    Graph *g = open_graph();
    ValueId x = graph_param(g, DT_F32, shape2(2, 2), "x");
    assert_fails(graph_grad(g, op_scale(g, x, 2), &err), ERR_INTERNAL, "starts at an xent node");
    assert_fails(graph_grad(g, 0, &err), ERR_INTERNAL, "starts at an xent node");
    graph_free(g);
}

/* An op without a rule below the loss is named, with its layer. */
static void an_op_without_gradient_is_named(void **state)
{
    (void)state;
    Error err;
    Graph *g = open_graph();
    ValueId gate = graph_param(g, DT_F32, shape2(4, 8), "gate");
    ValueId dy = graph_input(g, DT_F32, shape2(4, 8), "dy");
    ValueId target = graph_input(g, DT_I32, shape1(4), "target");
    ValueId head = graph_param(g, DT_F32, shape2(10, 8), "head");
    graph_layer(g, 2);
    ValueId x = graph_append(g, OP_SWIGLU_BACK, (ValueId[]){gate, gate, dy}, 3, (OpArgs){0});
    graph_layer(g, 0);
    assert_fails(graph_grad(g, op_xent(g, x, head, target), &err), ERR_INTERNAL,
                 "layer 1: swiglu_back has no gradient");
    graph_free(g);
}

static void lora_freezes_the_base(void **state)
{
    (void)state;
    Error err;
    Graph *g = open_graph();
    ValueId loss = record(g, 2, true);
    assert_ok(graph_attach_lora(g, "up", 3, 6, &err));
    assert_ok(graph_grad(g, loss, &err));
    assert_ok(graph_finish(g, &err));
    assert_int_equal(slots(g), 4);
    for (ValueId id = 1; id <= graph_values(g); id++) {
        const Value *value = graph_value(g, id);
        if (value->role == ROLE_PARAM)
            assert_int_equal(value->trainable, strstr(graph_name(g, id), ".lora_") != NULL);
    }
    ValueId a = graph_find(g, "1.up.lora_A"), b = graph_find(g, "1.up.lora_B");
    assert_true(shape_equal(graph_value(g, a)->shape, shape2(3, 8)));
    assert_true(shape_equal(graph_value(g, b)->shape, shape2(12, 3)));
    assert_int_not_equal(graph_find(g, "grad:1.up.lora_A"), 0);
    assert_int_equal(graph_find(g, "1.down.lora_A"), 0);
    graph_free(g);
}

/* Every value is produced once, before it is read, whatever was rewritten. */
static void check_order(const Graph *g)
{
    uint8_t made[4096] = {0};
    assert_true(graph_values(g) < sizeof made);
    for (uint32_t i = 0; i < graph_nodes(g); i++) {
        const Node *node = graph_node(g, i);
        for (uint32_t k = 0; k < node->n_in; k++)
            if (node->in[k] && graph_value(g, node->in[k])->role == ROLE_TEMP)
                assert_true(made[node->in[k]]);
        for (uint32_t k = 0; k < node->n_out; k++) {
            if (!node->out[k])
                continue;
            assert_false(made[node->out[k]]);
            made[node->out[k]] = 1;
        }
    }
}

static void rewrites_keep_the_order(void **state)
{
    (void)state;
    Error err;
    for (uint32_t every = 0; every < 5; every++) {
        for (int lora = 0; lora < 2; lora++) {
            Graph *g = open_graph();
            ValueId loss = record(g, 5, true);
            if (lora)
                assert_ok(graph_attach_lora(g, "up,down", 2, 4, &err));
            check_order(g);
            assert_ok(graph_grad(g, loss, &err));
            check_order(g);
            uint32_t before = graph_nodes(g);
            if (every)
                assert_ok(graph_recompute(g, RECOMPUTE_LAYERS, every, &err));
            check_order(g);
            assert_true(every ? graph_nodes(g) > before : graph_nodes(g) == before);
            assert_ok(graph_finish(g, &err));
            graph_free(g);
        }
    }
}

static void lora_refuses_what_matches_nothing(void **state)
{
    (void)state;
    Error err;
    static const char *const none[] = {"q_proj", "", ",", ",,,", "table"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        Graph *g = open_graph();
        record(g, 1, false);
        assert_fails(graph_attach_lora(g, none[i], 2, 4, &err), ERR_INPUT, "no weight has a name");
        graph_free(g);
    }
    Graph *g = open_graph();
    record(g, 1, false);
    assert_fails(graph_attach_lora(g, "up", 0, 4, &err), ERR_INPUT, "rank must be at least 1");
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tied_parameter_gets_both_contributions),
        cmocka_unit_test(what_nothing_trainable_feeds_has_no_gradient),
        cmocka_unit_test(with_all_frozen_nothing_is_recorded),
        cmocka_unit_test(a_gradient_starts_at_the_loss),
        cmocka_unit_test(an_op_without_gradient_is_named),
        cmocka_unit_test(lora_freezes_the_base),
        cmocka_unit_test(rewrites_keep_the_order),
        cmocka_unit_test(lora_refuses_what_matches_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
