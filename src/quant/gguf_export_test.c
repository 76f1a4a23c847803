#include "base/fs.h"
#include "base/mem.h"
#include "base/test.h"
#include "format/gguf.h"
#include "quant/gguf_export.h"

#include <math.h>
#include <stdio.h>

static char folder[64], path[128];
static Model *model;

static void document(void *user, size_t i, const char **text, size_t *size)
{
    static const char *const texts[] = {"the quick brown fox", "jumps over the lazy dog",
                                        "gr\xc3\xbc\xc3\x9f" "e aus der Stadt"};
    (void)user;
    *text = texts[i % 3];
    *size = strlen(*text);
}

static int set_up(void **state)
{
    (void)state;
    Error err;
    const ChatTemplate *chat = chat_template_default();
    TokenizerTraining training = {.vocab = 320, .special = chat->specials, .threads = 1};
    while (chat->specials[training.special_count])
        training.special_count++;
    Tokenizer *tokenizer;
    ModelConfig config = {.layers = 2, .width = 64, .heads = 4, .kv_heads = 2, .head_width = 16,
                          .ff_width = 96, .context = 64, .eps = 1e-5f, .theta = 500, .tied = true};
    snprintf(folder, sizeof folder, "/tmp/bastide-gguf-XXXXXX");
    if (!mkdtemp(folder) || !tokenizer_train(&tokenizer, &training, 30, document, NULL, &err))
        return -1;
    snprintf(path, sizeof path, "%s/m.gguf", folder);
    config.vocab = tokenizer_vocab(tokenizer);
    return model_new(&model, family_named("llama"), &config, tokenizer, chat, "tiny", 3, &err) ? 0
                                                                                               : -1;
}

static int tear_down(void **state)
{
    (void)state;
    Error err;
    model_free(model);
    return fs_remove_tree(folder, &err) ? 0 : -1;
}

static const float *weights(const char *name)
{
    const ParamInfo *param = weights_find(&model->weights, name);
    assert_non_null(param);
    return model->weights.slab + param->offset;
}

static Gguf *export(const char *type)
{
    Error err;
    Gguf *gguf;
    assert_ok(gguf_export(model, gguf_export_type_named(type), path, &err));
    assert_ok(gguf_open(&gguf, path, &err));
    return gguf;
}

static void matrices_are_the_models_own(void **state)
{
    (void)state;
    Gguf *gguf = export("f32");
    const GgufTensor *t = gguf_find_tensor(gguf, "blk.1.ffn_down.weight");
    assert_non_null(t);
    assert_int_equal(t->shape[0], 96); /* fastest first */
    assert_int_equal(t->shape[1], 64);
    assert_memory_equal(t->data, weights("model.layers.1.mlp.down_proj.weight"), 96 * 64 * 4);
    assert_null(gguf_find_tensor(gguf, "output.weight")); /* tied */
    assert_int_equal(gguf_tensor_count(gguf), model->weights.count);
    gguf_close(gguf);
}

/* Row i of a head's first half goes to row 2i, of the second to 2i + 1. */
static void rotated_rows_are_interleaved(void **state)
{
    (void)state;
    Gguf *gguf = export("f32");
    const GgufTensor *t = gguf_find_tensor(gguf, "blk.0.attn_k.weight");
    const float *own = weights("model.layers.0.self_attn.k_proj.weight");
    assert_non_null(t);
    for (uint32_t head = 0; head < 2; head++) {
        for (uint32_t i = 0; i < 16; i++) {
            uint32_t to = head * 16 + (i < 8 ? 2 * i : 2 * (i - 8) + 1);
            assert_memory_equal(t->data + (size_t)to * 64 * 4, own + (head * 16 + i) * 64, 64 * 4);
        }
    }
    gguf_close(gguf);
}

static void q8_0_is_near(void **state)
{
    (void)state;
    Gguf *gguf = export("q8_0");
    const GgufTensor *t = gguf_find_tensor(gguf, "token_embd.weight");
    assert_non_null(t);
    assert_int_equal(t->type, GGML_Q8_0);
    uint64_t count = t->shape[0] * t->shape[1];
    auto_free float *back = mem_alloc(count, sizeof *back);
    dtype_dequantise_q8_0(t->data, back, count);
    const float *own = weights("model.embed_tokens.weight");
    for (uint64_t i = 0; i < count; i++)
        assert_near((double)back[i], (double)own[i], 0.1 / 127);
    assert_int_equal(gguf_find_tensor(gguf, "output_norm.weight")->type, GGML_F32);
    gguf_close(gguf);
}

static void configuration_and_vocabulary_are_told(void **state)
{
    (void)state;
    Error err;
    Gguf *gguf = export("f16");
    uint32_t value;
    const char *text;
    const GgufValue *tokens;
    int32_t end;
    assert_ok(gguf_need_u32(gguf, "llama.attention.head_count_kv", 1, 100, &value, &err));
    assert_int_equal(value, 2);
    assert_ok(gguf_get_text(gguf, "tokenizer.ggml.model", "", &text, &err));
    assert_string_equal(text, "gpt2");
    assert_ok(gguf_need_array(gguf, "tokenizer.ggml.tokens", GGUF_TEXT, 1, 1000, &tokens, &err));
    assert_int_equal(tokens->count, model->config.vocab);
    assert_true(tokenizer_special(model->tokenizer, model->chat->end_marker, &end));
    assert_ok(gguf_need_u32(gguf, "tokenizer.ggml.eos_token_id", 0, 1000, &value, &err));
    assert_int_equal(value, end);
    assert_ok(gguf_get_text(gguf, "tokenizer.chat_template", "", &text, &err));
    assert_string_equal(text, model->chat->jinja);
    gguf_close(gguf);
}

static void a_weight_that_is_no_number_is_refused(void **state)
{
    (void)state;
    Error err;
    float *own = (float *)(uintptr_t)weights("model.layers.0.mlp.up_proj.weight"), old = own[5];
    own[5] = NAN;
    assert_false(gguf_export(model, gguf_export_type_named("q8_0"), path, &err));
    assert_int_equal(err.code, ERR_INPUT);
    own[5] = old;
    assert_null(gguf_export_type_named("q2_x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrices_are_the_models_own),
        cmocka_unit_test(rotated_rows_are_interleaved),
        cmocka_unit_test(q8_0_is_near),
        cmocka_unit_test(configuration_and_vocabulary_are_told),
        cmocka_unit_test(a_weight_that_is_no_number_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
