/* choose_types_test.c: uniform types and their exceptions, errors, mixtures, and that the file holds
 * the values that were judged. */
#include "quant/choose_types.h"

#include "format/gguf.h"
#include "quant/convert.h"
#include "quant/quant_test.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

static Model *model;
static Calibration *calibration;
static Choice *measured; /* with calibration */
static char folder[64], file[128];

static int set_up(void **state)
{
    (void)state;
    static int32_t ids[TEXT_TOKENS];
    Error err;
    CalibrateOptions options = {.threads = 1, .row_tokens = TEXT_WINDOW, .gradients = true};
    model = quant_model(false, 4);
    quant_text(model, ids);
    snprintf(folder, sizeof folder, "/tmp/choose_types_test_XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(file, sizeof file, "%s/model.gguf", folder);
    ChoiceMeasure measure = {.threads = 2};
    bool ok = calibrate(&calibration, model, ids, TEXT_TOKENS, &options, &err) &&
              choice_new(&measured, model, calibration, &err) &&
              choice_measure(measured, &measure, &err);
    return ok ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    Error err;
    choice_free(measured);
    calibration_free(calibration);
    model_free(model);
    return fs_remove_tree(folder, &err) ? 0 : -1;
}

static Choice *blank(void)
{
    Error err = {0};
    Choice *out = NULL;
    assert_ok(choice_new(&out, model, NULL, &err));
    return out;
}

static DType type_of(const Choice *c, const char *name)
{
    const ChoiceTensor *t = choice_find(c, name);
    assert_non_null(t);
    return t->type;
}

/* o_proj has rows of 64: no whole blocks of 256. */
static void uniform_types_have_exceptions(void **state)
{
    (void)state;
    static const struct {
        DType type, down, o, head;
    } rows[] = {
        {DT_F16, DT_F16, DT_F16, DT_F16},      {DT_Q8_0, DT_Q8_0, DT_Q8_0, DT_Q8_0},
        {DT_Q6_K, DT_Q6_K, DT_Q8_0, DT_Q6_K},  {DT_Q4_K, DT_Q4_K, DT_Q5_0, DT_Q6_K},
        {DT_Q5_K, DT_Q5_K, DT_Q5_1, DT_Q6_K},  {DT_Q2_K, DT_Q2_K, DT_IQ4_NL, DT_Q6_K},
        {DT_Q4_0, DT_Q4_0, DT_Q4_0, DT_Q6_K},  {DT_IQ4_XS, DT_IQ4_XS, DT_IQ4_NL, DT_Q6_K},
    };
    Choice *c = blank();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        choice_uniform(c, rows[i].type);
        assert_int_equal(type_of(c, "model.layers.1.mlp.down_proj.weight"), rows[i].down);
        assert_int_equal(type_of(c, "model.layers.1.self_attn.o_proj.weight"), rows[i].o);
        assert_int_equal(type_of(c, "lm_head.weight"), rows[i].head);
        assert_int_equal(type_of(c, "model.embed_tokens.weight"), rows[i].down);
        assert_int_equal(type_of(c, "model.norm.weight"), DT_F32);
    }
    choice_free(c);
}

static void check_errors(const Choice *c)
{
    static const DType order[] = {DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K, DT_F16};
    for (uint32_t i = 0; i < c->count; i++) {
        const ChoiceTensor *t = &c->tensors[i];
        double last = INFINITY;
        assert_near(t->error[DT_F32], 0, 0);
        for (size_t k = 0; k < 6 && choice_possible(t, DT_Q2_K); k++) {
            assert_true(t->error[order[k]] < last);
            last = t->error[order[k]];
        }
    }
}

/* Calibrated and not; and whatever the number of threads. */
static void errors_fall_with_bits(void **state)
{
    (void)state;
    Error err = {0};
    Choice *c = blank();
    ChoiceMeasure options = {.threads = 1};
    assert_true(measured->calibrated);
    check_errors(measured);
    assert_false(c->calibrated);
    assert_ok(choice_measure(c, &options, &err));
    check_errors(c);
    choice_free(c);
}

static double error_of(const Choice *c)
{
    double sum = 0;
    for (uint32_t i = 0; i < c->count; i++)
        sum += c->tensors[i].error[c->tensors[i].type];
    return sum;
}

/* In the size of a uniform choice the mixture is at least as good, and never larger. */
static void mixtures_beat_uniform_types(void **state)
{
    (void)state;
    static const DType types[] = {DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K};
    Error err = {0};
    Choice *c = measured;
    for (size_t i = 0; i < 4; i++) {
        choice_uniform(c, types[i]);
        double uniform = error_of(c);
        uint64_t bytes = choice_bytes(c);
        assert_ok(choice_fit(c, bytes, &err));
        assert_true(choice_bytes(c) <= bytes);
        assert_near(error_of(c), c->error, 1e-12 + 1e-9 * c->error);
        assert_true(c->bound <= c->error * (1 + 1e-9));
        if (!(c->error < 0.9 * uniform))
            fail_test("%s: a mixture of error %g, uniform %g", dtype_info[types[i]].name, c->error,
                      uniform);
    }
    assert_fails(choice_fit(c, 1000, &err), ERR_INPUT, "fit: at least");
    assert_ok(choice_fit(c, UINT64_MAX, &err));
    assert_int_equal(type_of(c, "lm_head.weight"), DT_F32);
}

static void the_same_input_gives_the_same_choice(void **state)
{
    (void)state;
    Error err = {0};
    Choice *a = measured, *b = NULL;
    ChoiceMeasure threads = {.threads = 3};
    assert_ok(choice_new(&b, model, calibration, &err));
    assert_ok(choice_measure(b, &threads, &err));
    assert_ok(choice_fit(a, 400000, &err));
    assert_ok(choice_fit(b, 400000, &err));
    for (uint32_t i = 0; i < a->count; i++) {
        assert_int_equal(a->tensors[i].type, b->tensors[i].type);
        assert_memory_equal(a->tensors[i].error, b->tensors[i].error, sizeof a->tensors[i].error);
    }
    choice_free(b);
}

static const StoredType *choose(void *user, const SourceTensor *tensor, const float **importance)
{
    const ChoiceTensor *t = choice_find(user, tensor->name);
    *importance = t->importance;
    return stored_of_ggml(block_codecs[t->type].ggml);
}

/* The model's folder as a GGUF file in the types chosen. */
static void write_chosen(Choice *c)
{
    Error err = {0};
    Source *source;
    ConvertResult result;
    char place[256];
    ConvertOptions options = {.threads = 2, .file_type = 15, .choose = choose, .choose_user = c};
    snprintf(place, sizeof place, "%s.folder", file);
    assert_ok(model_save(model, place, &err));
    assert_ok(source_open(&source, place, &err));
    assert_string_equal(convert_formats[2].name, "gguf");
    assert_ok(fs_remove(file, &err));
    assert_ok(convert(&convert_formats[2], source, file, &options, &result, &err));
    source_close(source);
    assert_ok(fs_remove_tree(place, &err));
}

/* Where row `row` of the folder's Q or K stands in the file: halves become neighbours. */
static uint32_t turned_row(uint32_t row, uint32_t head_width)
{
    uint32_t head = row / head_width, in_head = row % head_width, half = head_width / 2;
    return head * head_width + in_head % half * 2 + in_head / half;
}

/* Every tensor of the file, dequantised, is bit for bit what choice_round says. */
static void the_file_holds_what_was_judged(void **state)
{
    (void)state;
    Error err = {0};
    Choice *c = measured;
    Model rounded = quant_copy(model);
    Gguf *gguf = NULL;
    assert_ok(choice_fit(c, 300000, &err));
    assert_ok(choice_round(c, 2, &rounded.weights, &err));
    write_chosen(c);
    assert_ok(gguf_open(&gguf, file, &err));
    for (uint32_t i = 0; i < c->count; i++) {
        char name[NAME_ROOM];
        Name parsed;
        DType type;
        const ParamInfo *param = c->tensors[i].param;
        assert_true(name_parse(NAMES_HF, param->name, MIX_ANY, &parsed));
        assert_true(name_write(NAMES_GGUF, &parsed, name));
        const GgufTensor *t = gguf_find_tensor(gguf, name);
        assert_non_null(t);
        assert_true(block_of_ggml(t->type, &type));
        assert_int_equal(type, c->tensors[i].type);
        uint64_t columns = t->shape[0], rows = shape_count(param->shape) / columns;
        bool turned = strstr(name, "attn_q.") || strstr(name, "attn_k.");
        for (uint32_t r = 0; r < rows; r++) {
            float row[256];
            uint32_t at = turned ? turned_row(r, model->config.head_width) : r;
            block_dequantise(type, t->data + at * dtype_bytes(type, columns), row, columns);
            assert_memory_equal(row, rounded.weights.slab + param->offset + r * columns,
                                columns * sizeof(float));
        }
    }
    gguf_close(gguf);
    mem_free(rounded.weights.slab);
}

static void what_no_type_holds_is_refused(void **state)
{
    (void)state;
    Error err = {0};
    float *slab = model->weights.slab;
    const ParamInfo *param = weights_find(&model->weights, "model.layers.1.mlp.up_proj.weight");
    Choice *c = blank();
    Model to = quant_copy(model);
    ChoiceMeasure options = {.threads = 1};
    float old = slab[param->offset + 3];
    slab[param->offset + 3] = NAN;
    assert_fails(choice_measure(c, &options, &err), ERR_INPUT,
                 "'model.layers.1.mlp.up_proj.weight' holds nan at 3");
    slab[param->offset + 3] = 1e9f;
    choice_uniform(c, DT_Q4_K);
    assert_fails(choice_round(c, 1, &to.weights, &err), ERR_INPUT, "holds 1e+09 at 3, which q4_k");
    assert_ok(choice_measure(c, &options, &err));
    assert_ok(choice_fit(c, 2000000, &err));
    DType chosen = type_of(c, param->name);
    assert_true(block_codecs[chosen].most >= 1e9f);
    slab[param->offset + 3] = old;
    mem_free(to.weights.slab);
    choice_free(c);
}

static bool run_new(Choice *c, Weights *to, Error *err)
{
    Choice *other;
    (void)c, (void)to;
    if (!choice_new(&other, model, calibration, err))
        return false;
    choice_free(other);
    return true;
}

static bool run_measure(Choice *c, Weights *to, Error *err)
{
    (void)to;
    return choice_measure(c, &(ChoiceMeasure){.threads = 1}, err);
}

static bool run_fit(Choice *c, Weights *to, Error *err)
{
    (void)to;
    return choice_fit(c, 300000, err);
}

static bool run_round(Choice *c, Weights *to, Error *err)
{
    return choice_round(c, 1, to, err);
}

/* Whatever fails, it fails before anything is measured, so the many runs are short. */
static void failed_allocations_are_told(void **state)
{
    (void)state;
    Model to = quant_copy(model);
    bool (*const jobs[])(Choice *, Weights *, Error *) = {run_new, run_measure, run_fit, run_round};
    for (size_t job = 0; job < sizeof jobs / sizeof *jobs; job++) {
        bool ok = false;
        for (int64_t n = 0; !ok && n < 100; n++) {
            Error err = {0};
            mem_fail_after(n);
            ok = jobs[job](measured, &to.weights, &err);
            mem_fail_after(-1);
            if (!ok)
                assert_int_equal(err.code, ERR_MEMORY);
        }
        assert_true(ok);
    }
    mem_free(to.weights.slab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uniform_types_have_exceptions),
        cmocka_unit_test(errors_fall_with_bits),
        cmocka_unit_test(mixtures_beat_uniform_types),
        cmocka_unit_test(the_same_input_gives_the_same_choice),
        cmocka_unit_test(the_file_holds_what_was_judged),
        cmocka_unit_test(what_no_type_holds_is_refused),
        cmocka_unit_test(failed_allocations_are_told),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
