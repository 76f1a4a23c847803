/* model_test.c: configurations and folders that are wrong, each with its sentence; saving and
 * loading with every system call and allocation failed in turn; how weights begin. */
#include "model/model.h"

#include "base/mem.h"
#include "base/test.h"
#include "text/text_fixture.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static char folder[64];

static const ModelConfig small = {.layers = 2, .width = 16, .heads = 4, .kv_heads = 2,
                                  .head_width = 4, .ff_width = 24, .vocab = 300, .context = 64,
                                  .eps = 1e-5f, .theta = 10000, .tied = true};

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/bastide-model-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
    (void)state;
    Error err;
    return fs_remove_tree(folder, &err) ? 0 : -1;
}

static const char *in_folder(const char *model, const char *file)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s%s%s", folder, model, *file ? "/" : "", file);
    return path;
}

static Model *make_model(const ModelConfig *config, uint32_t vocab, uint64_t seed)
{
    Error err;
    Tokenizer *tokenizer = NULL;
    Model *model;
    if (vocab)
        assert_ok(fixture_tokenizer(&tokenizer, vocab, 1, &err));
    assert_ok(model_new(&model, family_named(config->window ? "mistral" : "llama"), config,
                        tokenizer, tokenizer ? chat_template_default() : NULL, "small", seed, &err));
    return model;
}

static void save_small(const char *name)
{
    Error err;
    Model *model = make_model(&small, 300, 1);
    assert_ok(model_save(model, in_folder(name, ""), &err));
    model_free(model);
}

static void what_is_saved_is_loaded(void **state)
{
    (void)state;
    Error err;
    for (int i = 0; i < 3; i++) {
        ModelConfig config = small;
        config.tied = i != 1;
        config.window = i == 2 ? 16 : 0;
        Model *model = make_model(&config, 300, 1), *back;
        assert_ok(model_save(model, in_folder("kept", ""), &err));
        assert_ok(model_load(&back, in_folder("kept", ""), &err));
        assert_memory_equal(&back->config, &model->config, sizeof config);
        assert_string_equal(back->name, "small");
        assert_ptr_equal(back->family, model->family);
        assert_ptr_equal(back->chat, model->chat);
        assert_int_equal(tokenizer_vocab(back->tokenizer), tokenizer_vocab(model->tokenizer));
        assert_int_equal(back->weights.elements, model->weights.elements);
        assert_memory_equal(back->weights.slab, model->weights.slab, 4 * back->weights.elements);
        assert_int_equal(model_parameters(back), model_parameters(model));
        model_free(model);
        model_free(back);
    }
}

typedef struct {
    const char *keys, *words; /* set in config.json; found in the sentence */
    ErrCode code;
} ConfigCase;

static const ConfigCase config_cases[] = {
    {"\"num_key_value_heads\": 3", "not a multiple of 3", ERR_INPUT},
    {"\"head_dim\": 5", "head width, 5, must be even", ERR_INPUT},
    {"\"model_type\": \"gpt2\"", "model_type 'gpt2'", ERR_FORMAT},
    {"\"rope_scaling\": {\"factor\": 2}", "rope_scaling", ERR_FORMAT},
    {"\"rope_scaling\": {\"rope_type\": \"longrope\", \"factor\": 2}", "rope_type 'longrope'", ERR_FORMAT},
    {"\"rope_scaling\": {\"rope_type\": \"yarn\", \"mystery\": 2}", "unknown key \"mystery\"", ERR_FORMAT},
    {"\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 2}", "'low_freq_factor'", ERR_FORMAT},
    {"\"rope_scaling\": {\"rope_type\": \"linear\"}", "'factor' is missing", ERR_FORMAT},
    {"\"rope_scaling\": {\"rope_type\": \"default\", \"llama_4_scaling_beta\": 0.1}",
     "a llama model cannot have queries scaled by position; choose family ministral3", ERR_INPUT},
    {"\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 2.0}, "
     "\"sliding_attention\": {\"rope_theta\": 3.0}}", "differ by type of layer", ERR_FORMAT},
    {"\"attention_bias\": true", "q_proj.bias", ERR_FORMAT},
    {"\"mlp_bias\": true", "gate_proj.bias", ERR_FORMAT},
    {"\"model_type\": \"mistral\", \"attention_bias\": true", "biases", ERR_FORMAT},
    {"\"partial_rotary_factor\": 0.5", "'partial_rotary_factor' changes", ERR_FORMAT},
    {"\"attn_logit_softcapping\": 50.0", "'attn_logit_softcapping' changes", ERR_FORMAT},
    {"\"num_experts\": 8", "has no experts, 'num_experts'", ERR_FORMAT},
    {"\"model_type\": \"mixtral\"", "'num_local_experts'", ERR_FORMAT},
    {"\"model_type\": \"mixtral\", \"num_local_experts\": 2, \"num_experts_per_tok\": 3",
     "'num_experts_per_tok'", ERR_FORMAT},
    {"\"model_type\": \"qwen3\"", "q_norm", ERR_FORMAT},
    {"\"model_type\": \"ministral\", \"sliding_window\": 4, \"layer_types\": [\"full_attention\"]",
     "layer_types must list 2", ERR_FORMAT},
    {"\"model_type\": \"ministral\", \"sliding_window\": 4, "
     "\"layer_types\": [\"full_attention\", \"linear_attention\"]",
     "layer_types[1] is 'linear_attention'", ERR_FORMAT},
    {"\"model_type\": \"ministral\", "
     "\"layer_types\": [\"full_attention\", \"sliding_attention\"]",
     "sliding_window is null", ERR_FORMAT},
    {"\"model_type\": \"mistral3\"", "has a text_config", ERR_FORMAT},
    {"\"quantization_config\": {\"quant_method\": \"gptq\"}", "quantization_config 'gptq'", ERR_FORMAT},
    {"\"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]}",
     "scales per block", ERR_FORMAT},
    {"\"hidden_act\": \"gelu\"", "hidden_act 'gelu'", ERR_FORMAT},
    {"\"hidden_size\": 0", "hidden_size", ERR_FORMAT},
    {"\"hidden_size\": \"16\"", "hidden_size", ERR_FORMAT},
    {"\"vocab_size\": 299", "another shape", ERR_FORMAT},
    {"\"num_hidden_layers\": 3", "model.layers.2.", ERR_FORMAT},
    {"\"num_hidden_layers\": 1", "belongs to no part", ERR_FORMAT},
    {"\"tie_word_embeddings\": false", "'lm_head.weight'",
     ERR_FORMAT},
    {"\"intermediate_size\": 262144", "model.safetensors", ERR_FORMAT},
    {"\"num_hidden_layers\": 512", "config.json describes", ERR_FORMAT},
    {"\"hidden_size\": 65536, \"num_hidden_layers\": 512, \"intermediate_size\": 262144",
     "config.json describes", ERR_FORMAT},
};

static void edit_config(const char *path, const char *keys)
{
    Error err;
    auto_json json_t *object = NULL, *part = NULL;
    char text[200];
    snprintf(text, sizeof text, "{%s}", keys);
    assert_ok(json_read(&object, path, 1 << 20, &err));
    assert_ok(json_parse(&part, text, strlen(text), "edit", &err));
    assert_int_equal(json_object_update(object, part), 0);
    assert_ok(json_write(object, path, &err));
}

static void wrong_configurations_are_named(void **state)
{
    (void)state;
    Error err;
    Model *model;
    for (size_t i = 0; i < sizeof config_cases / sizeof *config_cases; i++) {
        const ConfigCase *c = &config_cases[i];
        save_small("config");
        edit_config(in_folder("config", "config.json"), c->keys);
        assert_fails(model_load(&model, in_folder("config", ""), &err), c->code, c->words);
    }
}

/* A family that cannot say it has a window must not be given one: it would be lost on saving. */
static void a_window_needs_a_family_that_has_one(void **state)
{
    (void)state;
    Error err;
    Model *model;
    ModelConfig c = {.layers = 1, .width = 16, .heads = 2, .kv_heads = 1, .head_width = 8,
                     .ff_width = 16, .vocab = 32, .context = 32, .window = 8, .eps = 1e-5f,
                     .theta = 10000, .tied = true};
    assert_fails(model_new(&model, family_named("llama"), &c, NULL, NULL, "w", 1, &err), ERR_INPUT,
                 "choose family mistral");
    assert_ok(model_new(&model, family_named("mistral"), &c, NULL, NULL, "w", 1, &err));
    model_free(model);
}

static void wrong_files_are_named(void **state)
{
    (void)state;
    Error err;
    Model *model;
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\n"
                                  "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258da\n"
                                  "size 12345\n";
    save_small("files");
    assert_ok(fs_write(in_folder("files", "model.safetensors"), pointer, sizeof pointer - 1, &err));
    assert_fails(model_load(&model, in_folder("files", ""), &err), ERR_FORMAT, "LFS");
    assert_ok(fs_remove(in_folder("files", "model.safetensors"), &err));
    assert_fails(model_load(&model, in_folder("files", ""), &err), ERR_NOT_FOUND,
                 "model.safetensors");
    save_small("files");
    assert_ok(fs_remove(in_folder("files", "config.json"), &err));
    assert_fails(model_load(&model, in_folder("files", ""), &err), ERR_NOT_FOUND, "config.json");
    assert_fails(model_load(&model, in_folder("nothing", ""), &err), ERR_NOT_FOUND, "nothing");
    save_small("files");
    Tokenizer *large;
    assert_ok(fixture_tokenizer(&large, 330, 1, &err));
    assert_true(tokenizer_vocab(large) > 300);
    assert_ok(tokenizer_save(large, in_folder("files", "tokenizer.json"), &err));
    tokenizer_free(large);
    assert_fails(model_load(&model, in_folder("files", ""), &err), ERR_FORMAT, "the model has only 300");
}

/* A folder saved over while call n fails holds whole files and loads, as old or new. */
static void failing_calls_leave_whole_files(void **state)
{
    (void)state;
    Error err;
    save_small("calls");
    Model *other = make_model(&small, 300, 2);
    for (int64_t n = 0, saved = 0; !saved; n++) {
        Model *back;
        fs_fail_after(n, EIO);
        saved = model_save(other, in_folder("calls", ""), &err);
        fs_fail_after(-1, 0);
        assert_true(saved || err.code == ERR_IO);
        assert_ok(model_load(&back, in_folder("calls", ""), &err));
        model_free(back);
        assert_true(n < 500);
    }
    model_free(other);
    for (int64_t n = 0, loaded = 0; !loaded; n++) {
        Model *back;
        err = (Error){0};
        fs_fail_after(n, EIO);
        loaded = model_load(&back, in_folder("calls", ""), &err);
        fs_fail_after(-1, 0);
        if (loaded)
            model_free(back);
        else
            assert_true(err.code != ERR_NONE && *err.text);
        assert_true(n < 500);
    }
}

static void failing_allocations_leak_nothing(void **state)
{
    (void)state;
    save_small("memory");
    Model *other = make_model(&small, 300, 2);
    for (int64_t n = 0, done = 0; !done; n += n < 400 ? 1 : 41) {
        Error err = {0};
        Model *back;
        mem_fail_after(n);
        done = model_load(&back, in_folder("memory", ""), &err);
        mem_fail_after(-1);
        if (done)
            model_free(back);
        assert_true(done || err.code != ERR_NONE);
    }
    for (int64_t n = 0, done = 0; !done; n += n < 400 ? 1 : 41) {
        Error err = {0};
        mem_fail_after(n);
        done = model_save(other, in_folder("memory", ""), &err);
        mem_fail_after(-1);
        assert_true(done || err.code != ERR_NONE);
    }
    model_free(other);
}

/* ---- weights ---- */

static void weights_begin_as_a_function_of_name_and_seed(void **state)
{
    (void)state;
    ModelConfig deep = small;
    deep.layers = 4;
    Model *a = make_model(&small, 0, 1), *b = make_model(&small, 0, 1), *c = make_model(&small, 0, 2);
    Model *d = make_model(&deep, 0, 1);
    assert_memory_equal(a->weights.slab, b->weights.slab, 4 * a->weights.elements);
    const ParamInfo *q = weights_find(&a->weights, "model.layers.1.self_attn.q_proj.weight");
    const ParamInfo *same = weights_find(&d->weights, q->name);
    assert_memory_not_equal(a->weights.slab + q->offset, c->weights.slab + q->offset, 4 * 256);
    assert_memory_equal(a->weights.slab + q->offset, d->weights.slab + same->offset, 4 * 256);
    assert_null(weights_find(&a->weights, "model.layers.2.self_attn.q_proj.weight"));
    model_free(a);
    model_free(b);
    model_free(c);
    model_free(d);
}

static void weights_begin_with_the_right_spread(void **state)
{
    (void)state;
    ModelConfig wide = small;
    wide.width = 64;
    wide.ff_width = 96;
    wide.heads = wide.kv_heads = 16;
    Model *model = make_model(&wide, 0, 3);
    for (uint32_t i = 0; i < model->weights.count; i++) {
        const ParamInfo *p = &model->weights.params[i];
        const float *w = model->weights.slab + p->offset;
        uint64_t count = shape_count(p->shape);
        double sum = 0, squares = 0;
        for (uint64_t k = 0; k < count; k++) {
            sum += (double)w[k];
            squares += (double)w[k] * (double)w[k];
        }
        bool inward = strstr(p->name, "o_proj") || strstr(p->name, "down_proj");
        double deviation = p->shape.rank == 1 ? 1 : inward ? 0.02 / 2 : 0.02;
        assert_int_equal(p->offset % 16, 0);
        assert_near(sum / (double)count, p->shape.rank == 1 ? 1 : 0,
                    p->shape.rank == 1 ? 0 : 5 * deviation / sqrt((double)count));
        assert_near(sqrt(squares / (double)count), deviation, 0.05 * deviation);
    }
    model_free(model);
}

static void adapters_begin_as_nothing(void **state)
{
    (void)state;
    Error err;
    Graph *g;
    Weights w;
    assert_ok(graph_new(&g, &err));
    graph_param(g, DT_F32, shape2(8, 64), "x.lora_A");
    graph_param(g, DT_F32, shape2(32, 8), "x.lora_B");
    assert_ok(weights_new(&w, g, NULL, &err));
    weights_init(&w, 2, 5);
    double most = 0;
    for (int i = 0; i < 8 * 64; i++)
        most = fmax(most, fabs((double)w.slab[i]));
    assert_true(most <= 1.0 / 8 && most > 0.9 / 8);
    for (int i = 0; i < 32 * 8; i++)
        assert_near((double)w.slab[8 * 64 + i], 0, 0);
    weights_free(&w);
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_saved_is_loaded),
        cmocka_unit_test(wrong_configurations_are_named),
        cmocka_unit_test(a_window_needs_a_family_that_has_one),
        cmocka_unit_test(wrong_files_are_named),
        cmocka_unit_test(failing_calls_leave_whole_files),
        cmocka_unit_test(failing_allocations_leak_nothing),
        cmocka_unit_test(weights_begin_as_a_function_of_name_and_seed),
        cmocka_unit_test(weights_begin_with_the_right_spread),
        cmocka_unit_test(adapters_begin_as_nothing),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
