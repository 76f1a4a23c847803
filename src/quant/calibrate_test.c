/* calibrate_test.c: inputs against sums taken by hand, gradients against the divergence that they
 * predict, files against llama.cpp's form. */
#include "quant/calibrate.h"

#include "format/gguf.h"
#include "quant/divergence.h"
#include "quant/quant_test.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static Model *model;
static int32_t ids[TEXT_TOKENS];
static Calibration *calibration;
static char folder[64], file[128];

static int set_up(void **state)
{
    (void)state;
    Error err;
    CalibrateOptions options = {.threads = 1, .row_tokens = TEXT_WINDOW, .gradients = true};
    model = quant_model(true, 3);
    quant_text(model, ids);
    snprintf(folder, sizeof folder, "/tmp/calibrate_test_XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(file, sizeof file, "%s/imatrix.gguf", folder);
    return calibrate(&calibration, model, ids, TEXT_TOKENS, &options, &err) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    Error err;
    calibration_free(calibration);
    model_free(model);
    return fs_remove_tree(folder, &err) ? 0 : -1;
}

static const CalibrationMatrix *matrix(const char *name)
{
    const CalibrationMatrix *m = calibration_find(calibration, name);
    assert_non_null(m);
    return m;
}

static void every_matrix_is_seen(void **state)
{
    (void)state;
    uint32_t matrices = 0;
    for (uint32_t i = 0; i < model->weights.count; i++)
        matrices += model->weights.params[i].shape.rank == 2;
    assert_int_equal(calibration->count, matrices);
    assert_int_equal(calibration->tokens, TEXT_TOKENS);
    assert_true(calibration_find(calibration, "nothing") == NULL);
    const CalibrationMatrix *embedding = matrix("model.embed_tokens.weight");
    assert_int_equal(embedding->uses, 2); /* tied: first read, then the head */
    assert_int_equal(embedding->use[0].kind, USE_EMBED);
    assert_int_equal(embedding->use[1].kind, USE_HEAD);
}

/* The embedding's rows are frequencies; layer 0 reads the normed embedding. */
static void inputs_are_the_mean_squares(void **state)
{
    (void)state;
    enum { WIDTH = 256 };
    double frequency[TEXT_VOCAB] = {0}, squares[WIDTH] = {0};
    const float *table = model->weights.slab +
                         weights_find(&model->weights, "model.embed_tokens.weight")->offset;
    for (int t = 0; t < TEXT_TOKENS; t++) {
        const float *x = table + ids[t] * WIDTH;
        double size = 0;
        for (int j = 0; j < WIDTH; j++)
            size += (double)x[j] * (double)x[j] / WIDTH;
        for (int j = 0; j < WIDTH; j++)
            squares[j] += (double)x[j] * (double)x[j] / (size + 1e-5) / TEXT_TOKENS;
        frequency[ids[t]] += 1.0 / TEXT_TOKENS;
    }
    for (int i = 0; i < TEXT_VOCAB; i++)
        assert_near((double)matrix("model.embed_tokens.weight")->use[0].row[i], frequency[i], 1e-7);
    static const char *const names[] = {"q", "k", "v"};
    for (int n = 0; n < 3; n++) {
        char name[64];
        snprintf(name, sizeof name, "model.layers.0.self_attn.%s_proj.weight", names[n]);
        for (int j = 0; j < WIDTH; j++)
            assert_near((double)matrix(name)->use[0].column[j], squares[j], 1e-5 * squares[j]);
    }
}

/* One half of the weighted squares of a random change of one matrix. */
static double predict(const CalibrationMatrix *m, const float *change)
{
    double sum = 0;
    for (uint32_t u = 0; u < m->uses; u++) {
        for (uint64_t i = 0; i < m->rows; i++) {
            for (uint64_t j = 0; j < m->columns; j++) {
                double d = (double)change[i * m->columns + j];
                sum += (double)m->use[u].row[i] * (double)m->use[u].column[j] * d * d / 2;
            }
        }
    }
    return sum;
}

/* The sentence at the head of calibrate.h, for every matrix of the model. */
static void predicted_divergence_is_what_comes(void **state)
{
    (void)state;
    Error err = {0};
    DivergenceBase *base = NULL;
    DivergenceOptions options = {.threads = 1, .window = TEXT_WINDOW};
    assert_ok(divergence_open(&base, model, ids, TEXT_TOKENS, &options, &err));
    for (uint32_t i = 0; i < calibration->count; i++) {
        const CalibrationMatrix *m = &calibration->matrices[i];
        uint64_t count = (uint64_t)m->rows * m->columns;
        Model other = quant_copy(model);
        float *w = other.weights.slab + weights_find(&model->weights, m->name)->offset;
        float *change = mem_alloc(count, sizeof *change);
        assert_non_null(change);
        RngKey key = rng_key(i, "change");
        for (uint64_t k = 0; k < count; k++) {
            change[k] = (float)(0.02 * rng_normal(key, k));
            w[k] += change[k];
        }
        Divergence d;
        assert_ok(divergence_measure(base, &other, &d, &err));
        double ratio = d.kl.mean / predict(m, change);
        if (!(ratio > 0.5 && ratio < 2))
            fail_test("%s: divergence %g is %g of the predicted", m->name, d.kl.mean, ratio);
        mem_free(change);
        mem_free(other.weights.slab);
    }
    divergence_close(base);
}

static void threads_do_not_show(void **state)
{
    (void)state;
    Error err = {0};
    Calibration *again = NULL;
    CalibrateOptions options = {.threads = 3, .row_tokens = TEXT_WINDOW, .gradients = true};
    assert_ok(calibrate(&again, model, ids, TEXT_TOKENS, &options, &err));
    for (uint32_t i = 0; i < again->count; i++) {
        const CalibrationMatrix *a = &again->matrices[i], *b = &calibration->matrices[i];
        for (uint32_t u = 0; u < a->uses; u++) {
            assert_memory_equal(a->use[u].row, b->use[u].row, a->rows * sizeof(float));
            assert_memory_equal(a->use[u].column, b->use[u].column, a->columns * sizeof(float));
        }
    }
    calibration_free(again);
}

static void without_gradients_inputs_are_the_same(void **state)
{
    (void)state;
    Error err = {0};
    Calibration *plain = NULL;
    CalibrateOptions options = {.threads = 1, .row_tokens = TEXT_WINDOW};
    assert_ok(calibrate(&plain, model, ids, TEXT_TOKENS, &options, &err));
    for (uint32_t i = 0; i < plain->count; i++) {
        const CalibrationMatrix *a = &plain->matrices[i], *b = &calibration->matrices[i];
        for (uint32_t u = 0; u < a->uses; u++) {
            if (a->use[u].kind == USE_EMBED)
                continue;
            assert_true(a->use[u].row == NULL);
            assert_memory_equal(a->use[u].column, b->use[u].column, a->columns * sizeof(float));
        }
    }
    calibration_free(plain);
}

static void importance_joins_the_uses(void **state)
{
    (void)state;
    float out[256], row[2] = {1, 3}, column[256], second[256];
    for (int j = 0; j < 256; j++) {
        column[j] = (float)j;
        second[j] = 1;
    }
    CalibrationMatrix m = {.rows = 2, .columns = 256, .uses = 2,
                           .use = {{USE_EMBED, row, column}, {USE_HEAD, NULL, second}}};
    assert_true(calibration_importance(&m, out));
    for (int j = 0; j < 256; j++)
        assert_near((double)out[j], 2.0 * j + 1, 1e-6);
    m.use[0].column = m.use[1].column = NULL;
    assert_false(calibration_importance(&m, out));
}

static void files_come_back(void **state)
{
    (void)state;
    Error err = {0};
    Calibration *again = NULL;
    Gguf *gguf = NULL;
    assert_ok(calibration_save(calibration, file, "text", &err));
    assert_ok(calibration_load(&again, model, file, &err));
    assert_true(again->gradients);
    assert_int_equal(again->count, calibration->count);
    assert_int_equal(again->tokens, calibration->tokens);
    for (uint32_t i = 0; i < again->count; i++) {
        float a[256], b[256];
        const CalibrationMatrix *want = calibration_find(calibration, again->matrices[i].name);
        assert_non_null(want);
        assert_int_equal(again->matrices[i].uses, want->uses);
        assert_true(calibration_importance(&again->matrices[i], a));
        assert_true(calibration_importance(want, b));
        for (uint32_t j = 0; j < want->columns; j++)
            assert_near((double)a[j], (double)b[j], 1e-6 * (double)b[j]);
    }
    assert_ok(gguf_open(&gguf, file, &err));
    const GgufTensor *sums = gguf_find_tensor(gguf, "blk.1.ffn_down.weight.in_sum2");
    const GgufTensor *count = gguf_find_tensor(gguf, "blk.1.ffn_down.weight.counts");
    assert_non_null(sums);
    assert_non_null(count);
    assert_int_equal(sums->shape[0], 256);
    assert_int_equal(count->shape[0], 1);
    gguf_close(gguf);
    calibration_free(again);
}

/* A file that stands after a failure is whole: only making its name durable failed. */
static void failed_files_are_told(void **state)
{
    (void)state;
    Error err = {0};
    bool ok = false;
    assert_ok(fs_remove(file, &err));
    for (int64_t n = 0; !ok && n < 1000; n++) {
        fs_fail_after(n, EIO);
        ok = calibration_save(calibration, file, "text", &err);
        fs_fail_after(-1, 0);
        assert_true(ok || err.code == ERR_IO);
        if (fs_exists(file)) {
            Calibration *whole = NULL;
            assert_ok(calibration_load(&whole, model, file, &err));
            calibration_free(whole);
        }
    }
    assert_true(ok);
    ok = false;
    for (int64_t n = 0; !ok && n < 10000; n += 1 + n / 16) {
        Calibration *again = NULL;
        mem_fail_after(n);
        ok = calibration_load(&again, model, file, &err);
        mem_fail_after(-1);
        assert_true(ok || (err.code == ERR_MEMORY && !again));
        calibration_free(again);
    }
    assert_true(ok);
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    Error err = {0};
    Calibration *out = NULL;
    Model *other = quant_model(true, 1);
    GgufWriter *w = NULL;
    static const float values[] = {1, -1};
    uint64_t shape[2] = {1, 1};
    assert_ok(gguf_writer_new(&w, &err));
    gguf_add_text(w, "general.type", "imatrix");
    gguf_add_tensor(w, "blk.0.attn_q.weight.counts", GGML_F32, 2, shape);
    gguf_add_tensor(w, "blk.0.attn_q.weight.in_sum2", GGML_F32, 2, shape);
    assert_ok(gguf_begin(w, file, &err));
    assert_ok(gguf_add_data(w, values, 4, &err));
    assert_ok(gguf_add_data(w, values + 1, 4, &err));
    assert_ok(gguf_commit(w, &err));
    gguf_writer_free(w);
    assert_fails(calibration_load(&out, other, file, &err), ERR_FORMAT,
                 "'blk.0.attn_q.weight.in_sum2' must be 256 values of f32");
    assert_ok(gguf_writer_new(&w, &err));
    gguf_add_text(w, "general.architecture", "llama");
    assert_ok(gguf_begin(w, file, &err));
    assert_ok(gguf_commit(w, &err));
    gguf_writer_free(w);
    assert_fails(calibration_load(&out, other, file, &err), ERR_INPUT, "no importance matrix");
    model_free(other);
}

static void bad_text_is_refused(void **state)
{
    (void)state;
    Error err = {0};
    Calibration *out = NULL;
    CalibrateOptions options = {.threads = 1, .row_tokens = TEXT_WINDOW};
    int32_t wrong[TEXT_WINDOW] = {0};
    wrong[5] = TEXT_VOCAB;
    assert_fails(calibrate(&out, model, wrong, TEXT_WINDOW, &options, &err), ERR_INPUT, "id 64");
    assert_fails(calibrate(&out, model, ids, TEXT_WINDOW - 1, &options, &err), ERR_INPUT,
                 "has 31 tokens, a row needs 32");
}

static void failed_allocations_are_told(void **state)
{
    (void)state;
    for (int64_t n = 0; n < 100000; n += 1 + n / 16) {
        Error err = {0};
        Calibration *out = NULL;
        CalibrateOptions options = {.threads = 1, .row_tokens = 4, .gradients = true};
        mem_fail_after(n);
        bool ok = calibrate(&out, model, ids, 8, &options, &err);
        mem_fail_after(-1);
        calibration_free(out);
        if (ok)
            return;
        assert_true(out == NULL);
        assert_int_equal(err.code, ERR_MEMORY);
    }
    fail_test("never succeeded");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_matrix_is_seen),
        cmocka_unit_test(inputs_are_the_mean_squares),
        cmocka_unit_test(predicted_divergence_is_what_comes),
        cmocka_unit_test(threads_do_not_show),
        cmocka_unit_test(without_gradients_inputs_are_the_same),
        cmocka_unit_test(importance_joins_the_uses),
        cmocka_unit_test(files_come_back),
        cmocka_unit_test(failed_files_are_told),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(bad_text_is_refused),
        cmocka_unit_test(failed_allocations_are_told),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
