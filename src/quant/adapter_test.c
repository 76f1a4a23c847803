/* Adapters of PEFT: merged weights against PEFT's own (tools/golden_peft.py), and hostile ones. */
#include "quant/adapter.h"

#include "quant/quant_fixture.h"

#include <math.h>

static char folder[64];
static const char *source_tree;

static int make_folder(void **state)
{
    (void)state;
    source_tree = getenv("BASTIDE_SOURCE");
    snprintf(folder, sizeof folder, "/tmp/adapter_test_XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    Error err;
    return fs_remove_tree(folder, &err) ? 0 : -1;
}

static const char *golden(const char *name)
{
    static char paths[4][512];
    static int next;
    next = (next + 1) % 4;
    snprintf(paths[next], sizeof paths[next], "%s/tests/golden/peft/%s",
             source_tree ? source_tree : ".", name);
    return paths[next];
}

static float *read_all(const Source *s, const SourceTensor *t)
{
    Error err;
    SourceReader reader;
    float *values = mem_alloc(tensor_elements(t), sizeof *values);
    assert_ok(reader_new(&reader, s, &err));
    assert_ok(reader_read(&reader, t, 0, t->rows, stored_named("f32"), false, (uint8_t *)values,
                          &err));
    reader_free(&reader);
    return values;
}

/* Every tensor of the merged model: PEFT's where it changed, else the base's. */
static void merges_like_peft(void **state)
{
    (void)state;
    static const char *const cases[] = {"lora", "rslora", "dora", "whole"};
    Error err;
    for (int i = 0; i < 4; i++) {
        char path[64];
        Source *s, *base;
        Adapter *a;
        Safetensors *merged;
        snprintf(path, sizeof path, "%s/merged.safetensors", cases[i]);
        assert_ok(source_open(&base, golden("base"), &err));
        assert_ok(source_open(&s, golden("base"), &err));
        assert_ok(adapter_open(&a, golden(cases[i]), &err));
        assert_ok(adapter_attach(a, s, &err));
        assert_ok(safetensors_open(&merged, golden(path), &err));
        uint32_t changed = 0;
        for (uint32_t k = 0; k < s->count; k++) {
            const SourceTensor *t = &s->tensors[k];
            const StTensor *theirs = safetensors_find(merged, t->name);
            auto_free float *got = read_all(s, t), *want = read_all(base, &base->tensors[k]);
            if (theirs)
                assert_ok(safetensors_to_f32(theirs, want, tensor_elements(t), &err));
            changed += theirs != NULL;
            for (uint64_t v = 0; v < tensor_elements(t); v++)
                assert_near((double)got[v], (double)want[v], theirs ? 4e-7 : 0);
        }
        assert_int_equal(changed, safetensors_count(merged));
        safetensors_close(merged);
        adapter_close(a);
        source_close(s);
        source_close(base);
    }
}

/* A merge goes through every layout: the digest of what came out is that of the merged source. */
static void a_merge_is_written_in_every_layout(void **state)
{
    (void)state;
    static const char *const formats[] = {"hf", "mistral", "gguf"};
    const char *name = "model.layers.1.self_attn.q_proj.weight";
    Error err;
    uint8_t want[32], got[32];
    for (int i = 0; i < 3; i++) {
        char path[96];
        Source *s, *back;
        Adapter *a;
        SourceReader reader;
        ConvertResult result;
        const ConvertOptions options = {0};
        snprintf(path, sizeof path, "%s/out-%s", folder, formats[i]);
        assert_ok(source_open(&s, golden("base"), &err));
        assert_ok(adapter_open(&a, golden("lora"), &err));
        assert_ok(adapter_attach(a, s, &err));
        assert_ok(convert(fixture_format(formats[i]), s, path, &options, &result, &err));
        assert_false(result.exact);
        assert_ok(reader_new(&reader, s, &err));
        assert_ok(convert_digest(&reader, source_find(s, name), want, &err));
        reader_free(&reader);
        assert_ok(source_open(&back, path, &err));
        assert_ok(reader_new(&reader, back, &err));
        assert_ok(convert_digest(&reader, source_find(back, name), got, &err));
        reader_free(&reader);
        assert_memory_equal(got, want, 32);
        adapter_close(a);
        source_close(s);
        source_close(back);
    }
}

/* ---- hostile ones ---- */

#define Q "base_model.model.model.layers.0.self_attn.q_proj."

typedef struct {
    const char *config, *a_name, *b_name;
    uint64_t a[2], b[2];
    const char *words; /* of the refusal, by open or by attach */
} Case;

static const Case cases[] = {
    {"{\"peft_type\":\"IA3\"}", Q "lora_A.weight", Q "lora_B.weight", {2, 8}, {8, 2}, "'IA3'"},
    {"{\"peft_type\":\"LORA\",\"r\":0}", Q "lora_A.weight", Q "lora_B.weight", {2, 8}, {8, 2},
     "key 'r'"},
    {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":1e300}", Q "lora_A.weight", Q "lora_B.weight",
     {2, 8}, {8, 2}, "lora_alpha"},
    {"{\"peft_type\":\"LORA\",\"r\":3}", Q "lora_A.weight", Q "lora_B.weight", {2, 8}, {8, 2},
     "not of rank 3"},
    {"{\"peft_type\":\"LORA\",\"r\":2,\"bias\":\"all\"}", Q "lora_A.weight", Q "lora_B.weight",
     {2, 8}, {8, 2}, "biases"},
    {"{\"peft_type\":\"LORA\",\"r\":2,\"fan_in_fan_out\":true}", Q "lora_A.weight",
     Q "lora_B.weight", {2, 8}, {8, 2}, "fan_in_fan_out"},
    {"{\"peft_type\":\"LORA\",\"r\":2,\"target_parameters\":[\"x\"]}", Q "lora_A.weight",
     Q "lora_B.weight", {2, 8}, {8, 2}, "target_parameters"},
    {"{\"peft_type\":\"LORA\",\"r\":2,\"use_dora\":true}", Q "lora_A.weight", Q "lora_B.weight",
     {2, 8}, {8, 2}, "magnitudes"},
    {"{\"peft_type\":\"LORA\",\"r\":2,\"rank_pattern\":{\"(\":2}}", Q "lora_A.weight",
     Q "lora_B.weight", {2, 8}, {8, 2}, "pattern '('"},
    {"{\"peft_type\":\"LORA\",\"r\":2,\"rank_pattern\":{\"(.*)*[a-z](.*)*[a-z](.*)*[a-z](.*)*[!?]\":2}}",
     Q "lora_A.weight", Q "lora_B.weight", {2, 8}, {8, 2}, "takes too long"},
    {"{\"peft_type\":\"LORA\",\"r\":2,\"alpha_pattern\":{\"q\":-1}}", Q "lora_A.weight",
     Q "lora_B.weight", {2, 8}, {8, 2}, "above 0"},
    {"{\"peft_type\":\"LORA\",\"r\":2}", Q "lora_A.weight", Q "lora_A.default.weight", {2, 8},
     {8, 2}, "not both of its matrices"},
    {"{\"peft_type\":\"LORA\",\"r\":2}", "model.q_proj.lora_A.weight", Q "lora_B.weight", {2, 8},
     {8, 2}, "not of an adapter"},
    {"{\"peft_type\":\"LORA\",\"r\":2}", Q "lora_C.weight", Q "lora_B.weight", {2, 8}, {8, 2},
     "a kind that is not known"},
    {"{\"peft_type\":\"LORA\",\"r\":2}", Q "lora_A.weight", Q "lora_B.weight", {2, 9}, {8, 2},
     "another shape than this model's"},
    {"{\"peft_type\":\"LORA\",\"r\":2}", "base_model.model.nowhere.lora_A.weight",
     "base_model.model.nowhere.lora_B.weight", {2, 8}, {8, 2}, "is no part of this model"},
};

static void write_case(const Case *c)
{
    Error err;
    char path[128];
    static const float zeroes[64];
    StTensor tensors[2] = {
        {.name = c->a_name, .dtype = ST_F32, .rank = 2, .shape = {c->a[0], c->a[1]},
         .data = (const uint8_t *)zeroes, .bytes = 4 * c->a[0] * c->a[1]},
        {.name = c->b_name, .dtype = ST_F32, .rank = 2, .shape = {c->b[0], c->b[1]},
         .data = (const uint8_t *)zeroes, .bytes = 4 * c->b[0] * c->b[1]}};
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    assert_ok(fs_write(path, c->config, strlen(c->config), &err));
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    assert_ok(safetensors_write(path, tensors, 2, &err));
}

static void wrong_adapters_are_refused_by_name(void **state)
{
    (void)state;
    Error err;
    Source *s;
    assert_ok(source_open(&s, golden("base"), &err));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Adapter *a = NULL;
        write_case(&cases[i]);
        err = (Error){0};
        bool ok = adapter_open(&a, folder, &err) && adapter_attach(a, s, &err);
        adapter_close(a);
        if (ok || !strstr(err.text, cases[i].words))
            fail_test("case %zu: \"%s\" expected, got \"%s\"", i, cases[i].words, err.text);
    }
    source_close(s);
}

static void what_is_written_reads_back(void **state)
{
    (void)state;
    Error err;
    Adapter *a;
    Source *s;
    float low[16], high[16];
    char path[96];
    for (int i = 0; i < 16; i++) {
        low[i] = (float)i / 8;
        high[i] = 1 - (float)i / 16;
    }
    AdapterMatrix matrix = {"model.layers.0.self_attn.q_proj", 8, 8, low, high};
    AdapterFile file = {2, 4, "tiny", &matrix, 1};
    snprintf(path, sizeof path, "%s/ours", folder);
    assert_ok(adapter_write(&file, path, &err));
    assert_ok(adapter_open(&a, path, &err));
    assert_int_equal(adapter_parts(a), 1);
    assert_ok(source_open(&s, golden("base"), &err));
    const SourceTensor *t = source_find(s, "model.layers.0.self_attn.q_proj.weight");
    auto_free float *before = read_all(s, t);
    assert_ok(adapter_attach(a, s, &err));
    auto_free float *after = read_all(s, t);
    for (int r = 0; r < 8; r++) {
        for (int c = 0; c < 8; c++) {
            float sum = high[2 * r] * low[c] + high[2 * r + 1] * low[8 + c];
            assert_near((double)after[8 * r + c], (double)(before[8 * r + c] + 2 * sum), 1e-6);
        }
    }
    adapter_close(a);
    source_close(s);
}

/* What a training run leaves in its checkpoints: flat, by the names of the weights. */
static void the_state_of_a_run_becomes_an_adapter(void **state)
{
    (void)state;
    Error err;
    Source *s;
    Adapter *a;
    uint32_t count = 0;
    float low[16], high[16];
    char file[96], path[96];
    for (int i = 0; i < 16; i++)
        low[i] = high[i] = (float)i;
    StTensor blobs[] = {
        {.name = "model.layers.1.self_attn.q_proj.weight.lora_A", .dtype = ST_F32, .rank = 1,
         .shape = {16}, .data = (const uint8_t *)low, .bytes = 64},
        {.name = "model.layers.1.self_attn.q_proj.weight.lora_B", .dtype = ST_F32, .rank = 1,
         .shape = {16}, .data = (const uint8_t *)high, .bytes = 64},
        {.name = "adam.m", .dtype = ST_F32, .rank = 1, .shape = {1}, .data = (const uint8_t *)low,
         .bytes = 4}};
    snprintf(file, sizeof file, "%s/state.safetensors", folder);
    snprintf(path, sizeof path, "%s/from-state", folder);
    assert_ok(source_open(&s, golden("base"), &err));
    assert_ok(safetensors_write(file, blobs + 2, 1, &err));
    assert_fails(adapter_write_state(s, file, 4, path, &count, &err), ERR_INPUT, "no adapter");
    assert_ok(safetensors_write(file, blobs, 3, &err));
    assert_ok(adapter_write_state(s, file, 4, path, &count, &err));
    assert_int_equal(count, 1);
    assert_fails(adapter_write_state(s, file, 4, path, &count, &err), ERR_CONFLICT, "exists");
    assert_ok(adapter_open(&a, path, &err));
    assert_ok(adapter_attach(a, s, &err));
    adapter_close(a);
    source_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_like_peft),
        cmocka_unit_test(a_merge_is_written_in_every_layout),
        cmocka_unit_test(wrong_adapters_are_refused_by_name),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(the_state_of_a_run_becomes_an_adapter),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
