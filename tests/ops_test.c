/* ops_test.c: every op of the table, by enumeration: the cpu backend against the reference in
 * double, equal bits for every thread count, and every gradient against finite differences. */
#include "backend/cpu/qgemm.h"
#include "backend/plan.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/test.h"
#include "tensor/block.h"

#include <math.h>

enum { VALUES_MAX = 64, SEEDS = 12 };

/* A recorded instance with the contents of its leaves. */
typedef struct {
    Graph *g;
    uint32_t forward_values;
    int32_t *integers[VALUES_MAX]; /* per integer leaf */
} Instance;

/* The same instance on one device. */
typedef struct {
    Device *device;
    Program *program;
    void *memory[VALUES_MAX];
} Run;

static bool is_leaf(const Value *value)
{
    return value->role != ROLE_TEMP && !value->alias;
}

static void record_integers(Instance *in, uint64_t seed)
{
    for (ValueId id = 1; id <= graph_values(in->g); id++) {
        const Value *value = graph_value(in->g, id);
        if (!is_leaf(value) || value->dtype != DT_I32)
            continue;
        assert_true(id < VALUES_MAX);
        in->integers[id] = mem_alloc(shape_count(value->shape), sizeof(int32_t));
        op_sample_integers(in->g, id, seed, in->integers[id]);
    }
}

static void instance_done(Instance *in)
{
    for (int i = 0; i < VALUES_MAX; i++)
        mem_free(in->integers[i]);
    graph_free(in->g);
}

static void fill_leaf(const Instance *in, ValueId id, uint64_t seed, void *host)
{
    const Value *value = graph_value(in->g, id);
    uint64_t count = shape_count(value->shape);
    if (value->dtype == DT_I32) {
        memcpy(host, in->integers[id], count * 4);
        return;
    }
    RngKey key = rng_key(seed, graph_name(in->g, id));
    bool blocks = dtype_info[value->dtype].block_elems > 1;
    float *values = blocks ? mem_alloc(count, sizeof *values) : host;
    for (uint64_t i = 0; i < count; i++)
        values[i] = (float)rng_normal(key, i);
    if (blocks) {
        block_quantise(value->dtype, values, NULL, host, count);
        mem_free(values);
        return;
    }
    if (strcmp(graph_name(in->g, id), "loss_scale") == 0)
        *(float *)host = 1;
}

static void run_open(Run *r, const Instance *in, const Backend *backend, uint32_t threads,
                     uint64_t seed)
{
    Error err;
    memset(r, 0, sizeof *r);
    assert_ok(backend->open(&r->device, (DeviceOptions){threads}, &err));
    assert_ok(program_plan(&r->program, in->g, r->device, &err));
    uint64_t arena_bytes = program_arena_bytes(r->program) + 64;
    void *arena = r->memory[0] = backend->alloc(r->device, arena_bytes);
    memset(arena, 0xff, arena_bytes); /* not a number everywhere: nothing may be read unset */
    assert_ok(program_use_arena(r->program, arena, &err));
    for (ValueId id = 1; id <= graph_values(in->g); id++) {
        const Value *value = graph_value(in->g, id);
        if (!is_leaf(value))
            continue;
        auto_free void *host = mem_alloc(shape_count(value->shape), 4);
        fill_leaf(in, id, seed, host);
        r->memory[id] = backend->alloc(r->device, backend->value_bytes(r->device, value));
        backend->write(r->device, value, r->memory[id], host);
        program_bind(r->program, id, r->memory[id]);
    }
}

static void run_close(Run *r)
{
    for (int i = 0; i < VALUES_MAX; i++)
        r->device->backend->free(r->device, r->memory[i]);
    program_free(r->program);
    r->device->backend->close(r->device);
}

static bool is_result(const Instance *in, ValueId id)
{
    const Value *value = graph_value(in->g, id);
    if (value->alias || value->dtype != DT_F32)
        return false;
    return value->keep || value->role == ROLE_STATE || value->role == ROLE_GRAD;
}

static float *read_value(const Run *r, const Instance *in, ValueId id)
{
    const Value *value = graph_value(in->g, id);
    float *host = mem_alloc(shape_count(value->shape), sizeof *host);
    r->device->backend->read(r->device, value, host, program_data(r->program, id));
    return host;
}

/* |got - want| within tolerance * (1 + |want| + typical size). */
static void compare(const char *op, uint64_t seed, const char *what, const float *got,
                    const float *want, uint64_t count, double tolerance)
{
    double size = 0;
    for (uint64_t i = 0; i < count; i++)
        size += fabs((double)want[i]) / (double)count;
    for (uint64_t i = 0; i < count; i++) {
        double bound = tolerance * (1 + size + fabs((double)want[i]));
        if (!(fabs((double)got[i] - (double)want[i]) <= bound))
            fail_test("%s seed %llu %s[%llu]: got %.9g, reference %.9g", op,
                      (unsigned long long)seed, what, (unsigned long long)i, (double)got[i],
                      (double)want[i]);
    }
}

static void compare_runs(const Instance *in, const char *op, uint64_t seed, const Run *a,
                         const Run *b, double tolerance)
{
    for (ValueId id = 1; id <= graph_values(in->g); id++) {
        if (!is_result(in, id))
            continue;
        auto_free float *got = read_value(a, in, id), *want = read_value(b, in, id);
        uint64_t count = shape_count(graph_value(in->g, id)->shape);
        if (tolerance > 0)
            compare(op, seed, graph_name(in->g, id), got, want, count, tolerance);
        else if (memcmp(got, want, count * sizeof *got) != 0)
            fail_test("%s seed %llu: bits depend on the thread count", op,
                      (unsigned long long)seed);
    }
}

static void make_instance(Instance *in, OpCode op, uint64_t seed)
{
    Error err;
    memset(in, 0, sizeof *in);
    assert_ok(graph_new(&in->g, &err));
    op_info[op].sample(in->g, seed);
    assert_ok(!graph_failed(in->g) || graph_finish(in->g, &err));
    record_integers(in, seed);
    in->forward_values = graph_values(in->g);
}

static void cpu_agrees_with_reference(void **state)
{
    (void)state;
    Error err;
    for (OpCode op = OP_NONE + 1; op < OP_COUNT; op++) {
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            Instance in;
            make_instance(&in, op, seed);
            assert_ok(graph_finish(in.g, &err));
            Run ref, one, three;
            run_open(&ref, &in, &backend_ref, 1, seed);
            run_open(&one, &in, &backend_cpu, 1, seed);
            run_open(&three, &in, &backend_cpu, 3, seed);
            assert_ok(program_run(ref.program, &err));
            assert_ok(program_run(one.program, &err));
            assert_ok(program_run(three.program, &err));
            compare_runs(&in, op_info[op].name, seed, &one, &ref, 2e-5);
            compare_runs(&in, op_info[op].name, seed, &three, &one, 0);
            run_close(&ref);
            run_close(&one);
            run_close(&three);
            instance_done(&in);
        }
    }
}

/* ---- gradients ---- */

static double loss_of(Run *r, ValueId loss)
{
    Error err;
    assert_ok(program_run(r->program, &err));
    return *(double *)program_data(r->program, loss);
}

/* A few elements of each floating-point leaf, moved both ways. */
static void check_leaf(Instance *in, Run *r, ValueId leaf, ValueId loss, const char *op,
                       uint64_t seed)
{
    double *memory = r->memory[leaf], *gradient = r->memory[graph_value(in->g, leaf)->grad];
    uint64_t count = shape_count(graph_value(in->g, leaf)->shape);
    memset(gradient, 0, count * sizeof *gradient);
    loss_of(r, loss);
    auto_free double *found = mem_alloc(count, sizeof *found);
    memcpy(found, gradient, count * sizeof *found);
    for (uint64_t k = 0; k < 8; k++) {
        uint64_t i = rng_below(rng_key(seed, "element"), k, count);
        double old = memory[i], h = 1e-5 * (1 + fabs(old));
        memory[i] = old + h;
        double up = loss_of(r, loss);
        memory[i] = old - h;
        double down = loss_of(r, loss);
        memory[i] = old;
        double want = (up - down) / (2 * h);
        if (!(fabs(found[i] - want) <= 1e-5 * (1 + fabs(want))))
            fail_test("%s seed %llu: d loss / d %s[%llu] = %.9g, finite difference %.9g", op,
                      (unsigned long long)seed, graph_name(in->g, leaf), (unsigned long long)i,
                      found[i], want);
    }
}

static void check_gradient(OpCode op, uint64_t seed)
{
    Error err;
    Instance in;
    make_instance(&in, op, seed);
    ValueId y = graph_node(in.g, graph_nodes(in.g) - 1)->out[0], loss = y;
    if (op != OP_XENT) {
        Shape shape = graph_value(in.g, y)->shape;
        ValueId w = graph_param(in.g, DT_F32, shape2(5, shape.dim[1]), "w");
        ValueId target = graph_input(in.g, DT_I32, shape1(shape.dim[0]), "probe");
        in.integers[target] = mem_alloc(shape.dim[0], sizeof(int32_t));
        for (uint32_t i = 0; i < shape.dim[0]; i++)
            in.integers[target][i] = (int32_t)(i * 7 + seed) % 6 - 1;
        loss = op_xent(in.g, y, w, target);
        graph_keep(in.g, loss);
    }
    assert_ok(graph_grad(in.g, loss, &err));
    assert_ok(graph_finish(in.g, &err));
    Run r;
    run_open(&r, &in, &backend_ref, 1, seed);
    uint32_t checked = 0;
    for (ValueId id = 1; id <= graph_values(in.g); id++) {
        const Value *value = graph_value(in.g, id);
        if (value->role == ROLE_PARAM && !value->alias && value->grad) {
            check_leaf(&in, &r, id, loss, op_info[op].name, seed);
            checked++;
        }
    }
    assert_true(checked > 0);
    run_close(&r);
    instance_done(&in);
}

static void gradients_agree_with_differences(void **state)
{
    (void)state;
    for (OpCode op = OP_NONE + 1; op < OP_COUNT; op++) {
        for (uint64_t seed = 0; seed < SEEDS && op_info[op].grad; seed++) {
            bool transposed_left = op == OP_MATMUL && seed % 4 == 3;
            if (!transposed_left) /* that form is made by gradients, and has none itself */
                check_gradient(op, seed);
        }
    }
}

/* Products with packed weights in blocks, and tables of blocks: for every type that kernels take. */
static void check_blocks(DType type, uint64_t seed)
{
    enum { ROWS = 7, COLUMNS = 512, OUTPUTS = 37 };
    Error err;
    Instance in = {0};
    assert_ok(graph_new(&in.g, &err));
    ValueId table = graph_param(in.g, type, shape2(OUTPUTS, COLUMNS), "table");
    ValueId ids = graph_input(in.g, DT_I32, shape1(ROWS), "ids");
    ValueId w = graph_param(in.g, type, shape2(OUTPUTS, COLUMNS), "w");
    graph_pack(in.g, w);
    ValueId x = graph_param(in.g, DT_F32, shape2(ROWS, COLUMNS), "x");
    graph_keep(in.g, op_embed(in.g, table, ids));
    graph_keep(in.g, op_linear(in.g, x, w, seed % 2 ? op_linear(in.g, x, w, 0) : 0));
    in.integers[ids] = mem_alloc(ROWS, sizeof(int32_t));
    for (uint32_t i = 0; i < ROWS; i++)
        in.integers[ids][i] = (int32_t)(i * 5 + seed) % OUTPUTS;
    assert_ok(graph_finish(in.g, &err));
    Run ref, one, many;
    run_open(&ref, &in, &backend_ref, 1, seed);
    run_open(&one, &in, &backend_cpu, 1, seed);
    run_open(&many, &in, &backend_cpu, 3, seed);
    assert_ok(program_run(ref.program, &err));
    assert_ok(program_run(one.program, &err));
    assert_ok(program_run(many.program, &err));
    compare_runs(&in, dtype_info[type].name, seed, &one, &ref, 2e-5);
    compare_runs(&in, dtype_info[type].name, seed, &many, &one, 0);
    run_close(&ref);
    run_close(&one);
    run_close(&many);
    instance_done(&in);
}

static void blocks_agree_with_reference(void **state)
{
    (void)state;
    uint32_t checked = 0;
    for (int type = 0; type < DT_COUNT; type++) {
        for (uint64_t seed = 0; seed < 4 && qgemm_takes((DType)type); seed++, checked++)
            check_blocks((DType)type, seed);
    }
    assert_true(checked >= 4);
}

static void a_missing_gradient_is_a_sentence(void **state)
{
    (void)state;
    Error err;
    Instance in;
    make_instance(&in, OP_ATTENTION_CACHED, 1);
    ValueId y = graph_node(in.g, 0)->out[0];
    Shape shape = graph_value(in.g, y)->shape;
    ValueId w = graph_param(in.g, DT_F32, shape2(5, shape.dim[1]), "w");
    ValueId loss = op_xent(in.g, y, w, graph_input(in.g, DT_I32, shape1(shape.dim[0]), "probe"));
    assert_fails(graph_grad(in.g, loss, &err), ERR_INTERNAL, "attention_cached has no gradient");
    instance_done(&in);
}

static void a_wrong_shape_names_its_op(void **state)
{
    (void)state;
    Error err;
    Graph *g;
    assert_ok(graph_new(&g, &err));
    graph_layer(g, 4);
    ValueId a = graph_param(g, DT_F32, shape2(3, 5), "a");
    ValueId b = graph_param(g, DT_F32, shape2(4, 6), "b");
    assert_int_equal(op_linear(g, a, b, 0), 0);
    assert_int_equal(op_add(g, a, a), 0);
    assert_fails(graph_finish(g, &err), ERR_INPUT, "layer 3: matmul: inner sizes differ: 5 and 6");
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_agrees_with_reference),
        cmocka_unit_test(gradients_agree_with_differences),
        cmocka_unit_test(blocks_agree_with_reference),
        cmocka_unit_test(a_missing_gradient_is_a_sentence),
        cmocka_unit_test(a_wrong_shape_names_its_op),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
