#include "base/test.h"

#include "base/mem.h"
#include "format/gguf.h"
#include "quant/gguf_export.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

static char folder[64], file[128];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/gguf_export_test_XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(file, sizeof file, "%s/model.gguf", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    Error err;
    return fs_remove_tree(folder, &err) ? 0 : -1;
}

/* Rows of 48 are no whole blocks of q8_0, those of 64 (down_proj) are. */
static Model *make_model(const char *family, bool tied, uint32_t window)
{
    Error err = {0};
    Model *model = NULL;
    ModelConfig config = {.layers = 2, .width = 48, .heads = 4, .kv_heads = 2, .head_width = 8,
                          .ff_width = 64, .vocab = 11, .context = 100, .window = window,
                          .eps = 1e-5f, .theta = 5000, .tied = tied};
    assert_ok(model_new(&model, family_named(family), &config, NULL, NULL, "small", 3, &err));
    return model;
}

static Gguf *export(const Model *model, const char *type)
{
    Error err = {0};
    Gguf *gguf = NULL;
    assert_ok(gguf_export(model, gguf_export_type_named(type), file, &err));
    assert_ok(gguf_open(&gguf, file, &err));
    return gguf;
}

static const float *weight(const Model *model, const char *name)
{
    const ParamInfo *param = weights_find(&model->weights, name);
    assert_non_null(param);
    return model->weights.slab + param->offset;
}

static float value_at(const GgufTensor *t, uint64_t i)
{
    uint16_t half;
    float f;
    if (t->type == GGML_F32) {
        memcpy(&f, t->data + 4 * i, sizeof f);
        return f;
    }
    if (t->type == GGML_Q8_0) {
        float block[32];
        dtype_dequantise_q8_0(t->data + i / 32 * 34, block, 32);
        return block[i % 32];
    }
    memcpy(&half, t->data + 2 * i, sizeof half);
    return t->type == GGML_F16 ? dtype_f32_of_f16(half) : dtype_f32_of_bf16(half);
}

/* Tensor by tensor: equal within `bound` of the largest weight; head_width 0: rows in place. */
static void compare(const Model *model, const Gguf *gguf, const char *ours, const char *theirs,
                    uint32_t rows, uint32_t columns, uint32_t head_width, double bound)
{
    const float *want = weight(model, ours);
    const GgufTensor *t = gguf_find_tensor(gguf, theirs);
    assert_non_null(t);
    assert_int_equal(t->shape[0], columns);
    assert_int_equal(t->rank == 2 ? t->shape[1] : 1, rows);
    for (uint32_t r = 0; r < rows; r++) {
        uint32_t to = head_width ? gguf_export_row(r, head_width) : r;
        for (uint32_t c = 0; c < columns; c++)
            assert_near(value_at(t, (uint64_t)to * columns + c), want[r * columns + c], bound);
    }
}

static void compare_all(const Model *model, const Gguf *gguf, double bound)
{
    compare(model, gguf, "model.embed_tokens.weight", "token_embd.weight", 11, 48, 0, bound);
    compare(model, gguf, "model.norm.weight", "output_norm.weight", 1, 48, 0, 0);
    for (int layer = 0; layer < 2; layer++) {
        static const struct {
            const char *ours, *theirs;
            uint32_t rows, columns, head_width;
        } rows[] = {
            {"input_layernorm", "attn_norm", 1, 48, 0},
            {"self_attn.q_proj", "attn_q", 32, 48, 8},
            {"self_attn.k_proj", "attn_k", 16, 48, 8},
            {"self_attn.v_proj", "attn_v", 16, 48, 0},
            {"self_attn.o_proj", "attn_output", 48, 32, 0},
            {"post_attention_layernorm", "ffn_norm", 1, 48, 0},
            {"mlp.gate_proj", "ffn_gate", 64, 48, 0},
            {"mlp.up_proj", "ffn_up", 64, 48, 0},
            {"mlp.down_proj", "ffn_down", 48, 64, 0},
        };
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            char ours[96], theirs[96];
            snprintf(ours, sizeof ours, "model.layers.%d.%s.weight", layer, rows[i].ours);
            snprintf(theirs, sizeof theirs, "blk.%d.%s.weight", layer, rows[i].theirs);
            compare(model, gguf, ours, theirs, rows[i].rows, rows[i].columns, rows[i].head_width,
                    bound);
        }
    }
}

/* Head of width 8, halves (0..3, 4..7): the pairs that llama.cpp turns are neighbours. */
static void rows_of_a_head_become_neighbours(void **state)
{
    (void)state;
    static const uint32_t want[] = {0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15};
    for (uint32_t row = 0; row < 16; row++)
        assert_int_equal(gguf_export_row(row, 8), want[row]);
}

static void every_type_reads_back(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t matrix, down;
        double bound; /* weights are below 0.1 */
    } rows[] = {{"f32", GGML_F32, GGML_F32, 0},
                {"f16", GGML_F16, GGML_F16, 5e-5},
                {"bf16", GGML_BF16, GGML_BF16, 4e-4},
                {"q8_0", GGML_F16, GGML_Q8_0, 5e-4}};
    Model *model = make_model("llama", false, 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Gguf *gguf = export(model, rows[i].name);
        assert_int_equal(gguf_find_tensor(gguf, "blk.1.attn_q.weight")->type, rows[i].matrix);
        assert_int_equal(gguf_find_tensor(gguf, "blk.1.ffn_down.weight")->type, rows[i].down);
        assert_int_equal(gguf_find_tensor(gguf, "blk.1.attn_norm.weight")->type, GGML_F32);
        compare_all(model, gguf, rows[i].bound);
        compare(model, gguf, "lm_head.weight", "output.weight", 11, 48, 0, rows[i].bound);
        gguf_close(gguf);
    }
    model_free(model);
}

static void expect_u32(const Gguf *gguf, const char *key, uint32_t want)
{
    Error err = {0};
    uint32_t got = 0;
    assert_ok(gguf_need_u32(gguf, key, 0, UINT32_MAX, &got, &err));
    assert_int_equal(got, want);
}

static void keys_tell_the_shape(void **state)
{
    (void)state;
    Error err = {0};
    Model *model = make_model("mistral", true, 40);
    Gguf *gguf = export(model, "q8_0");
    const char *text;
    double value;
    assert_ok(gguf_get_text(gguf, "general.architecture", "", &text, &err));
    assert_string_equal(text, "llama");
    assert_ok(gguf_get_text(gguf, "tokenizer.ggml.model", "", &text, &err));
    assert_string_equal(text, "none");
    expect_u32(gguf, "general.file_type", 7);
    expect_u32(gguf, "llama.vocab_size", 11);
    expect_u32(gguf, "llama.context_length", 40); /* the window */
    expect_u32(gguf, "llama.embedding_length", 48);
    expect_u32(gguf, "llama.block_count", 2);
    expect_u32(gguf, "llama.feed_forward_length", 64);
    expect_u32(gguf, "llama.attention.head_count", 4);
    expect_u32(gguf, "llama.attention.head_count_kv", 2);
    expect_u32(gguf, "llama.attention.key_length", 8);
    expect_u32(gguf, "llama.rope.dimension_count", 8);
    assert_ok(gguf_get_f64(gguf, "llama.rope.freq_base", 0, 1e9, 0, &value, &err));
    assert_near(value, 5000, 0);
    assert_null(gguf_find_tensor(gguf, "output.weight")); /* tied */
    compare_all(model, gguf, 5e-4);
    gguf_close(gguf);
    model_free(model);
}

static void what_a_type_cannot_hold_is_refused(void **state)
{
    (void)state;
    Error err = {0};
    Model *model = make_model("llama", true, 0);
    float *q = model->weights.slab + weights_find(&model->weights,
                                                  "model.layers.1.self_attn.q_proj.weight")->offset;
    assert_ok(fs_remove(file, &err));
    q[5] = 70000;
    assert_fails(gguf_export(model, gguf_export_type_named("f16"), file, &err), ERR_INPUT,
                 "'model.layers.1.self_attn.q_proj.weight' holds 70000, which F16 cannot");
    assert_false(fs_exists(file));
    assert_ok(gguf_export(model, gguf_export_type_named("bf16"), file, &err));
    q[5] = NAN;
    assert_fails(gguf_export(model, gguf_export_type_named("f32"), file, &err), ERR_INPUT,
                 "not a number");
    assert_null(gguf_export_type_named("q4_k"));
    model_free(model);
}

/* The n-th allocation fails, then the n-th system call: an Error, and no file left behind. */
static void failures_leave_nothing(void **state)
{
    (void)state;
    Error err = {0};
    Model *model = make_model("llama", true, 0);
    const GgufExportType *type = gguf_export_type_named("q8_0");
    for (int calls = 0, kinds = 0; kinds < 2;) {
        assert_ok(fs_remove(file, &err));
        if (kinds == 0)
            mem_fail_after(calls++);
        else
            fs_fail_after(calls++, ENOSPC);
        bool ok = gguf_export(model, type, file, &err);
        mem_fail_after(-1);
        fs_fail_after(-1, 0);
        if (ok) {
            assert_true(calls > 3);
            kinds++;
            calls = 0;
        } else {
            assert_true(kinds == 0 ? err.code == ERR_MEMORY || err.code == ERR_LIMIT
                                   : err.code == ERR_IO);
        }
        assert_true(calls < 10000);
    }
    model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_a_head_become_neighbours),
        cmocka_unit_test(every_type_reads_back),
        cmocka_unit_test(keys_tell_the_shape),
        cmocka_unit_test(what_a_type_cannot_hold_is_refused),
        cmocka_unit_test(failures_leave_nothing),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
