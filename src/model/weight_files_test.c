/* weight_files_test.c: weights of folders as they are in the field: shards, text parts of wrappers,
 * f8 with scales, stacks of experts; what is wrong is named, and with any call failed nothing
 * leaks. */
#include "model/family.h"

#include "base/mem.h"
#include "base/test.h"
#include "format/safetensors.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static char folder[64];

static const ModelConfig dense = {.layers = 2, .width = 16, .heads = 4, .kv_heads = 2,
                                  .head_width = 8, .ff_width = 24, .vocab = 30, .context = 64,
                                  .eps = 1e-5f, .theta = 10000};

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/bastide-weights-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
    (void)state;
    Error err;
    return fs_remove_tree(folder, &err) ? 0 : -1;
}

static const char *in_folder(const char *file)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    return path;
}

static Model *fresh(const char *family, const ModelConfig *config)
{
    Error err;
    Model *model;
    assert_ok(model_new(&model, family_named(family), config, NULL, NULL, "small", 1, &err));
    return model;
}

/* A model and the tensors of its file, which stay mapped when the file is replaced. */
typedef struct {
    Model *model;
    Safetensors *st;
    StTensor tensors[64];
    uint32_t count;
} Saved;

static void saved_open(Saved *s, const char *family, const ModelConfig *config)
{
    Error err;
    s->model = fresh(family, config);
    assert_ok(model_save(s->model, folder, &err));
    assert_ok(safetensors_open(&s->st, in_folder("model.safetensors"), &err));
    s->count = safetensors_count(s->st);
    assert_true(s->count < 60);
    for (uint32_t i = 0; i < s->count; i++)
        s->tensors[i] = *safetensors_at(s->st, i);
}

static void saved_close(Saved *s)
{
    safetensors_close(s->st);
    model_free(s->model);
}

static void write_text(const char *file, const char *text)
{
    Error err;
    assert_ok(fs_write(in_folder(file), text, strlen(text), &err));
}

static void edit_config(const char *keys)
{
    Error err;
    auto_json json_t *object = NULL, *part = NULL;
    assert_ok(json_read(&object, in_folder("config.json"), 1 << 20, &err));
    assert_ok(json_parse(&part, keys, strlen(keys), "edit", &err));
    assert_int_equal(json_object_update(object, part), 0);
    assert_ok(json_write(object, in_folder("config.json"), &err));
}

static void assert_loads_equal(const Saved *s)
{
    Error err;
    Model *back;
    assert_ok(model_load(&back, folder, &err));
    assert_memory_equal(&back->config, &s->model->config, sizeof back->config);
    assert_memory_equal(back->weights.slab, s->model->weights.slab,
                        s->model->weights.elements * sizeof(float));
    model_free(back);
}

/* ---- shards ---- */

static void make_shards(const Saved *s)
{
    Error err;
    uint32_t half = s->count / 2;
    auto_json json_t *index = json_object();
    json_t *map = json_object();
    json_object_set_new(index, "weight_map", map);
    assert_ok(safetensors_write(in_folder("model-00001-of-00002.safetensors"), s->tensors, half,
                                &err));
    assert_ok(safetensors_write(in_folder("model-00002-of-00002.safetensors"), s->tensors + half,
                                s->count - half, &err));
    for (uint32_t i = 0; i < s->count; i++)
        json_object_set_new(map, s->tensors[i].name,
                            json_string(i < half ? "model-00001-of-00002.safetensors"
                                                 : "model-00002-of-00002.safetensors"));
    assert_ok(json_write(index, in_folder("model.safetensors.index.json"), &err));
    assert_ok(fs_remove(in_folder("model.safetensors"), &err));
}

static void shards_are_one_model(void **state)
{
    (void)state;
    Error err;
    Saved s;
    Model *model;
    saved_open(&s, "llama", &dense);
    make_shards(&s);
    assert_loads_equal(&s);
    assert_ok(safetensors_write(in_folder("model-00002-of-00002.safetensors"), s.tensors,
                                s.count, &err));
    assert_fails(model_load(&model, folder, &err), ERR_FORMAT, "is also in model-0000");
    assert_ok(fs_remove(in_folder("model-00002-of-00002.safetensors"), &err));
    assert_fails(model_load(&model, folder, &err), ERR_NOT_FOUND, "model-00002-of-00002");
    static const char *const wrong[] = {
        "{}", "{\"weight_map\": {}}", "{\"weight_map\": {\"w\": 3}}",
        "{\"weight_map\": {\"w\": \"../model.safetensors\"}}",
        "{\"weight_map\": {\"w\": \".safetensors\"}}", "{\"weight_map\": {\"w\": \"weights.bin\"}}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_text("model.safetensors.index.json", wrong[i]);
        assert_fails(model_load(&model, folder, &err), ERR_FORMAT, "model.safetensors.index.json");
    }
    assert_ok(model_save(s.model, folder, &err)); /* one file again, and no stale index */
    assert_false(fs_exists(in_folder("model.safetensors.index.json")));
    assert_loads_equal(&s);
    saved_close(&s);
}

/* ---- wrappers ---- */

static void wrap_config(const char *more)
{
    Error err;
    char text[200];
    auto_json json_t *own = NULL, *outer = NULL;
    assert_ok(json_read(&own, in_folder("config.json"), 1 << 20, &err));
    snprintf(text, sizeof text, "{\"model_type\": \"mistral3\"%s}", more);
    assert_ok(json_parse(&outer, text, strlen(text), "wrap", &err));
    json_object_del(own, "tie_word_embeddings");
    assert_int_equal(json_object_set(outer, "text_config", own), 0);
    assert_ok(json_write(outer, in_folder("config.json"), &err));
}

/* Names of older and newer transformers; the head stands beside in the newer. */
static void rename_tensors(Saved *s, char (*names)[192], bool newer)
{
    for (uint32_t i = 0; i < s->count; i++) {
        const char *name = s->tensors[i].name;
        bool head = strncmp(name, "lm_head", 7) == 0;
        snprintf(names[i], 192, "%s%s", newer ? head ? "" : "model.language_model."
                                              : "language_model.",
                 newer && !head ? name + strlen("model.") : name);
        s->tensors[i].name = names[i];
    }
}

static void the_text_part_of_a_wrapper_is_loaded(void **state)
{
    (void)state;
    static char names[64][192];
    static const float image[4] = {1, 2, 3, 4};
    for (int variant = 0; variant < 4; variant++) {
        Error err;
        Saved s;
        Model *back;
        ModelConfig config = dense;
        config.tied = variant & 1;
        saved_open(&s, "mistral", &config);
        rename_tensors(&s, names, variant & 2);
        s.tensors[s.count++] = (StTensor){.name = "vision_tower.patch_conv.weight", .rank = 1,
                                          .dtype = ST_F32, .shape = {4}, .bytes = 16,
                                          .data = (const uint8_t *)image};
        assert_ok(safetensors_write(in_folder("model.safetensors"), s.tensors, s.count - 1, &err));
        assert_loads_equal(&s); /* the text part alone, with its prefix */
        assert_ok(safetensors_write(in_folder("model.safetensors"), s.tensors, s.count, &err));
        assert_fails(model_load(&back, folder, &err), ERR_FORMAT, "'vision_tower.patch");
        wrap_config(config.tied ? ", \"tie_word_embeddings\": true" : "");
        assert_ok(model_load(&back, folder, &err));
        assert_string_equal(back->family->name, "mistral");
        assert_string_equal(back->note, "this is a model of text and images: its text part is "
                                        "loaded, 1 tensors of the other parts are left out");
        assert_memory_equal(&back->config, &config, sizeof config);
        assert_memory_equal(back->weights.slab, s.model->weights.slab,
                            s.model->weights.elements * sizeof(float));
        model_free(back);
        s.tensors[s.count - 1].name = "language_model.model.layers.0.self_attn.q_norm.weight";
        assert_ok(safetensors_write(in_folder("model.safetensors"), s.tensors, s.count, &err));
        assert_fails(model_load(&back, folder, &err), ERR_FORMAT, "q_norm.weight' belongs to no");
        saved_close(&s);
    }
}

/* ---- f8 ---- */

/* Every byte of e4m3, by its definition. */
static double e4m3(uint32_t bits)
{
    double mantissa = bits & 7, exponent = bits >> 3 & 15;
    double size = exponent > 0 ? (1 + mantissa / 8) * pow(2, exponent - 7)
                               : mantissa / 8 * pow(2, -6);
    return bits & 128 ? -size : size;
}

/* Turns a projection into f8 with a scale beside it, and says what it stands for. */
static void use_f8(Saved *s, uint8_t *bytes, float *scales, uint32_t scale_count, const char *suffix)
{
    static char name[192];
    uint32_t at = 0;
    while (!strstr(s->tensors[at].name, "0.mlp.gate_proj"))
        at++;
    StTensor *t = &s->tensors[at];
    uint64_t count = t->shape[0] * t->shape[1];
    const ParamInfo *p = weights_find(&s->model->weights, t->name);
    float *slab = s->model->weights.slab + p->offset;
    for (uint64_t i = 0; i < count; i++) {
        bytes[i] = (uint8_t)(i % 127 + (i & 128)); /* both signs, no not-a-number */
        slab[i] = (float)e4m3(bytes[i]) * scales[scale_count == 1 ? 0 : i / t->shape[1]];
    }
    t->dtype = ST_F8_E4M3;
    t->data = bytes;
    t->bytes = count;
    snprintf(name, sizeof name, "%s%s", t->name, suffix);
    s->tensors[s->count++] = (StTensor){.name = name, .dtype = ST_F32, .bytes = 4 * scale_count,
                                        .rank = scale_count == 1 ? 0 : 2,
                                        .shape = {scale_count, 1},
                                        .data = (const uint8_t *)scales};
    s->tensors[s->count++] = (StTensor){
        .name = "model.layers.0.mlp.gate_proj.activation_scale", .dtype = ST_F32, .bytes = 4,
        .data = (const uint8_t *)scales};
}

static void f8_is_widened_by_its_scale(void **state)
{
    (void)state;
    static const struct {
        const char *suffix;
        uint32_t scales;
    } variants[] = {{"_scale_inv", 1}, {"_scale", 1}, {"_scale", 24}};
    static const char *const allowed = "{\"quantization_config\": {\"quant_method\": \"fp8\"}}";
    for (uint32_t v = 0; v < 3; v++) {
        Error err;
        Saved s;
        Model *back;
        uint8_t bytes[24 * 16];
        float scales[24];
        for (uint32_t i = 0; i < 24; i++)
            scales[i] = 0.01f + 0.001f * (float)i;
        saved_open(&s, "llama", &dense);
        use_f8(&s, bytes, scales, variants[v].scales, variants[v].suffix);
        assert_ok(safetensors_write(in_folder("model.safetensors"), s.tensors, s.count, &err));
        assert_fails(model_load(&back, folder, &err), ERR_FORMAT, "F8_E4M3");
        edit_config(allowed);
        assert_ok(model_load(&back, folder, &err));
        assert_memory_equal(back->weights.slab, s.model->weights.slab,
                            s.model->weights.elements * sizeof(float));
        assert_string_equal(back->note, "f8 weights were widened to f32 by their scales, "
                                        "activations stay f32");
        model_free(back);
        s.tensors[s.count - 2].shape[0] = 2; /* two scales for 24 rows */
        s.tensors[s.count - 2].shape[1] = s.tensors[s.count - 2].rank = 1;
        s.tensors[s.count - 2].bytes = 8;
        assert_ok(safetensors_write(in_folder("model.safetensors"), s.tensors, s.count, &err));
        assert_fails(model_load(&back, folder, &err), ERR_FORMAT, "has 2 scales");
        s.tensors[s.count - 2] = s.tensors[s.count - 1];
        assert_ok(safetensors_write(in_folder("model.safetensors"), s.tensors, s.count - 1, &err));
        assert_fails(model_load(&back, folder, &err), ERR_FORMAT, "has no scale beside it");
        saved_close(&s);
    }
}

/* ---- experts ---- */

static ModelConfig with_experts(void)
{
    ModelConfig config = dense;
    config.experts = 3;
    config.chosen = 2;
    config.renormalise = true;
    config.expert_width = config.ff_width = 20;
    return config;
}

static void experts_are_numbered_tensors(void **state)
{
    (void)state;
    Error err;
    Saved s;
    Model *back;
    ModelConfig config = with_experts();
    saved_open(&s, "mixtral", &config);
    assert_loads_equal(&s);
    const StTensor *w2 = safetensors_find(s.st, "model.layers.1.block_sparse_moe.experts.2.w2.weight");
    assert_non_null(w2);
    assert_int_equal(w2->rank, 2);
    assert_int_equal(w2->shape[0], 16);
    assert_int_equal(w2->shape[1], 20);
    static const char *const wrong[] = {"experts.3.w2.weight", "experts.02x.w2.weight",
                                        "experts..w2.weight", "experts.0.w4.weight"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char name[192];
        snprintf(name, sizeof name, "model.layers.1.block_sparse_moe.%s", wrong[i]);
        s.tensors[s.count] = *w2;
        s.tensors[s.count].name = name;
        assert_ok(safetensors_write(in_folder("model.safetensors"), s.tensors, s.count + 1, &err));
        assert_fails(model_load(&back, folder, &err), ERR_FORMAT, "belongs to no part");
    }
    assert_ok(safetensors_write(in_folder("model.safetensors"), s.tensors, s.count - 1, &err));
    assert_fails(model_load(&back, folder, &err), ERR_FORMAT, "is missing");
    saved_close(&s);
}

/* ---- Ministral 8B ---- */

static void ministral_8b_gets_its_pattern(void **state)
{
    (void)state;
    Error err;
    ConfigFile file;
    static const char text[] =
        "{\"model_type\": \"mistral\", \"hidden_size\": 4096, \"intermediate_size\": 12288,"
        " \"num_hidden_layers\": 36, \"num_attention_heads\": 32, \"num_key_value_heads\": 8,"
        " \"head_dim\": 128, \"vocab_size\": 131072, \"max_position_embeddings\": 32768,"
        " \"rms_norm_eps\": 1e-05, \"rope_theta\": 100000000.0, \"sliding_window\": 32768,"
        " \"torch_dtype\": \"bfloat16\", \"tie_word_embeddings\": false}";
    auto_json json_t *object = NULL;
    assert_ok(json_parse(&object, text, strlen(text), "config.json", &err));
    assert_ok(config_read(object, "config.json", &file, &err));
    assert_string_equal(file.family->name, "ministral");
    for (uint32_t i = 0; i < 36; i++)
        assert_int_equal(model_window(&file.config, i), i % 4 ? 32768 : 0);
    json_object_set_new(object, "num_hidden_layers", json_integer(32));
    assert_ok(config_read(object, "config.json", &file, &err));
    assert_string_equal(file.family->name, "mistral");
    assert_int_equal(model_window(&file.config, 0), 32768);
}

/* ---- failing calls ---- */

static void failing_calls_leak_nothing(void **state)
{
    (void)state;
    Saved s;
    Error err;
    Model *back;
    ModelConfig config = with_experts();
    saved_open(&s, "mixtral", &config);
    make_shards(&s);
    for (int64_t n = 0, done = 0; !done; n++) {
        err = (Error){0};
        mem_fail_after(n);
        done = model_load(&back, folder, &err);
        mem_fail_after(-1);
        assert_true(done || err.code != ERR_NONE);
        if (done)
            model_free(back);
    }
    for (int64_t n = 0, done = 0; !done; n++) {
        err = (Error){0};
        fs_fail_after(n, EIO);
        done = model_load(&back, folder, &err);
        fs_fail_after(-1, 0);
        assert_true(done || err.code != ERR_NONE);
        if (done)
            model_free(back);
    }
    for (int64_t n = 0, done = 0; !done; n++) { /* after any failure there is a whole model */
        fs_fail_after(n, EIO);
        done = model_save(s.model, folder, &err);
        fs_fail_after(-1, 0);
        assert_loads_equal(&s);
    }
    saved_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_are_one_model),
        cmocka_unit_test(the_text_part_of_a_wrapper_is_loaded),
        cmocka_unit_test(f8_is_widened_by_its_scale),
        cmocka_unit_test(experts_are_numbered_tensors),
        cmocka_unit_test(ministral_8b_gets_its_pattern),
        cmocka_unit_test(failing_calls_leak_nothing),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
