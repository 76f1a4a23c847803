/* Opening checkpoints: hostile folders and files, cut at every byte, cut while open. */
#include "quant/source.h"

#include "quant/quant_fixture.h"

#include <errno.h>
#include <unistd.h>

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/source_test_XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    Error err;
    return fs_remove_tree(folder, &err) ? 0 : -1;
}

static const char *at(const char *name)
{
    static char paths[4][256];
    static int next;
    next = (next + 1) % 4;
    snprintf(paths[next], sizeof paths[next], "%s/%s", folder, name);
    return paths[next];
}

static void put(const char *name, const char *text, size_t size)
{
    Error err;
    assert_ok(fs_write(at(name), text, size, &err));
}

static void fresh(const char *name, int family, const char *type)
{
    Error err;
    assert_ok(fs_remove_tree(at(name), &err));
    fixture_write(&fixture_families[family], at(name), stored_named(type));
}

static void convert_to(const char *from, const char *to, const char *format)
{
    Error err;
    Source *s;
    ConvertResult result;
    const ConvertOptions options = {0};
    assert_ok(fs_is_dir(at(to)) ? fs_remove_tree(at(to), &err) : fs_remove(at(to), &err));
    assert_ok(source_open(&s, at(from), &err));
    assert_ok(convert(fixture_format(format), s, at(to), &options, &result, &err));
    source_close(s);
}

static void refused(const char *name, ErrCode code, const char *words)
{
    Error err;
    Source *s;
    assert_fails(source_open(&s, at(name), &err), code, words);
}

/* Every tensor to its last byte; false with an Error of a file. */
static bool read_whole(const char *name, Error *err)
{
    Source *s;
    SourceReader reader;
    if (!source_open(&s, name, err))
        return false;
    bool ok = reader_new(&reader, s, err);
    for (uint32_t i = 0; ok && i < s->count; i++) {
        const SourceTensor *t = &s->tensors[i];
        auto_free float *values = mem_alloc(tensor_elements(t), sizeof *values);
        ok = reader_read(&reader, t, 0, t->rows, stored_named("f32"), false, (uint8_t *)values, err);
    }
    reader_free(&reader);
    source_close(s);
    return ok;
}

/* ---- what it is ---- */

static void pickles_and_pointers_are_named(void **state)
{
    (void)state;
    Error err;
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    put("model.bin", "PK\3\4rest of a zip archive with a pickle in it", 40);
    refused("model.bin", ERR_FORMAT, "is a pickle");
    put("model.pt", "\x80\2}q\0.", 6);
    refused("model.pt", ERR_FORMAT, "is a pickle");
    put("model.gguf", lfs, sizeof lfs - 1);
    refused("model.gguf", ERR_FORMAT, "Git LFS pointer");
    fresh("hf", 0, "f32");
    put("hf/model.safetensors", lfs, sizeof lfs - 1);
    refused("hf", ERR_FORMAT, "Git LFS pointer");
    assert_ok(fs_remove(at("hf/model.safetensors"), &err));
    refused("hf", ERR_NOT_FOUND, "has no model.safetensors");
    put("hf/pytorch_model.bin", "PK\3\4", 4);
    refused("hf", ERR_FORMAT, "'pytorch_model.bin' is a pickle");
    assert_ok(fs_remove_tree(at("hf"), &err));
    assert_ok(fs_make_dirs(at("hf"), &err));
    refused("hf", ERR_NOT_FOUND, "neither config.json nor params.json");
    put("hf/x.gguf", "GGUF", 4);
    refused("hf", ERR_INPUT, "name the file in it, x.gguf");
    put("hf/params.json", "{}", 2);
    put("hf/consolidated.00.pth", "PK\3\4", 4);
    refused("hf", ERR_FORMAT, "is a pickle");
    refused("nowhere", ERR_NOT_FOUND, "no model folder");
    put("noise", "neither this nor that, but longer than a header of llama2.c", 58);
    refused("noise", ERR_FORMAT, "read as llama2.c");
}

/* ---- shapes ---- */

static void configurations_are_held_to_limits(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *words;
    } edits[] = {
        {"\"num_attention_heads\":4", "\"num_attention_heads\":0", "num_attention_heads"},
        {"\"num_attention_heads\":4", "\"num_attention_heads\":3", "not a multiple of 2"},
        {"\"head_dim\":8", "\"head_dim\":7", "must be even"},
        {"\"head_dim\":8", "\"head_dim\":2147483648", "head_dim"},
        {"\"num_hidden_layers\":2", "\"num_hidden_layers\":2147483648", "num_hidden_layers"},
        {"\"num_hidden_layers\":2", "\"num_hidden_layers\":3", "is missing"},
        {"\"num_hidden_layers\":2", "\"num_hidden_layers\":1", "only 1 layers"},
        {"\"hidden_size\":64", "\"hidden_size\":128", "another shape"},
        {"\"hidden_size\":64", "\"hidden_size\":-64", "hidden_size"},
        {"\"vocab_size\":20", "\"vocab_size\":21", "another shape"},
        {"\"max_position_embeddings\":64", "\"max_position_embeddings\":0", "max_position"},
        {"\"num_local_experts\":3", "\"num_local_experts\":2", "only 2 experts"},
        {"\"num_experts_per_tok\":2", "\"num_experts_per_tok\":9", "num_experts_per_tok"},
        {"\"num_experts_per_tok\":2", "\"num_experts_per_tok\":0", "num_experts_per_tok"},
    };
    Error err;
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        auto_buf Buf text, changed;
        buf_init(&text, 1 << 14);
        buf_init(&changed, 1 << 14);
        fresh("hf", 6, "bf16");
        assert_ok(fs_read(at("hf/config.json"), &text, &err));
        const char *place = strstr(text.data, edits[i].from);
        assert_non_null(place);
        buf_add(&changed, text.data, (size_t)(place - text.data));
        buf_add_text(&changed, edits[i].to);
        buf_add_text(&changed, place + strlen(edits[i].from));
        put("hf/config.json", changed.data, changed.size);
        refused("hf", ERR_FORMAT, edits[i].words);
    }
}

static void indexes_are_not_believed(void **state)
{
    (void)state;
    static const struct {
        const char *index, *words;
    } cases[] = {
        {"{}", "weight_map"},
        {"{\"weight_map\":[]}", "weight_map"},
        {"{\"weight_map\":{\"model.norm.weight\":7}}", "no plain file name"},
        {"{\"weight_map\":{\"model.norm.weight\":\"../x.safetensors\"}}", "no plain file name"},
        {"{\"weight_map\":{\"model.norm.weight\":\"/x.safetensors\"}}", "no plain file name"},
        {"{\"weight_map\":{\"model.norm.weight\":\".x.safetensors\"}}", "no plain file name"},
        {"{\"weight_map\":{\"model.norm.weight\":\"x.bin\"}}", "no plain file name"},
        {"{\"weight_map\":{\"model.norm.weight\":\"none.safetensors\"}}", "none.safetensors"},
        {"{\"weight_map\":{\"model.norm.weight\":\"model.safetensors\"}}", "is not in the index"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error err = {0};
        Source *s;
        fresh("hf", 0, "f32");
        put("hf/model.safetensors.index.json", cases[i].index, strlen(cases[i].index));
        if (source_open(&s, at("hf"), &err) || !strstr(err.text, cases[i].words))
            fail_test("case %zu: \"%s\" expected, got \"%s\"", i, cases[i].words, err.text);
    }
}

/* FP8 is multiplied by the scale beside it; without one it is refused. */
static void fp8_needs_its_scale(void **state)
{
    (void)state;
    Error err;
    Source *s;
    Fixture x;
    SourceReader reader;
    float scale = 0.5f, values[64];
    uint8_t eighths[64 * 64];
    const char *name = "model.layers.0.self_attn.v_proj.weight";
    fresh("hf", 0, "f32");
    fixture_fill(&x, &fixture_families[0], stored_named("f32"));
    StTensor *t = x.tensors;
    while (strcmp(t->name, name) != 0)
        t++;
    for (size_t i = 0; i < sizeof eighths; i++)
        eighths[i] = (uint8_t)(i % 64); /* e4m3: 0, 2^-9, ... up to 7 */
    t->dtype = ST_F8_E4M3;
    t->bytes = t->shape[0] * t->shape[1];
    t->data = eighths;
    assert_ok(safetensors_write(at("hf/model.safetensors"), x.tensors, x.count, &err));
    refused("hf", ERR_FORMAT, "has no scale beside it");
    x.tensors[x.count++] = (StTensor){.name = "model.layers.0.self_attn.v_proj.weight_scale_inv",
                                      .dtype = ST_F32, .data = (const uint8_t *)&scale, .bytes = 4};
    assert_ok(safetensors_write(at("hf/model.safetensors"), x.tensors, x.count, &err));
    assert_ok(source_open(&s, at("hf"), &err));
    assert_null(source_find(s, "model.layers.0.self_attn.v_proj.weight_scale_inv"));
    assert_ok(reader_new(&reader, s, &err));
    assert_ok(reader_read(&reader, source_find(s, name), 1, 1, stored_named("f32"), false,
                          (uint8_t *)values, &err));
    assert_near((double)values[1], 0.5 * 0x1p-9, 0);
    assert_near((double)values[8], 0.5 * 0x1p-6, 0);
    assert_near((double)values[56], 0.5 * 1, 0);
    assert_near((double)values[63], 0.5 * 1.875, 0);
    reader_free(&reader);
    source_close(s);
    arena_done(&x.arena);
}

/* ---- cut files ---- */

static const struct {
    const char *format, *form, *file;
} forms[] = {{"hf", "form", "form/model.safetensors"},
             {"mistral", "form", "form/consolidated.safetensors"},
             {"gguf", "form", "form"}};

/* Cut anywhere: an Error that names the file, never a crash, never a success. */
static void cut_files_are_errors(void **state)
{
    (void)state;
    Error err;
    fresh("hf", 0, "bf16");
    for (int i = 0; i < 3; i++) {
        auto_buf Buf bytes;
        buf_init(&bytes, 1 << 22);
        convert_to("hf", "form", forms[i].format);
        assert_ok(fs_read(at(forms[i].file), &bytes, &err));
        for (size_t size = 0; size < bytes.size; size += size < 4200 ? 1 : 97) {
            Source *s;
            assert_int_equal(truncate(at(forms[i].file), 0), 0);
            put(forms[i].file, bytes.data, size);
            err = (Error){0};
            if (source_open(&s, at("form"), &err))
                fail_test("%s cut at %zu of %zu opens", forms[i].format, size, bytes.size);
            assert_true(err.code == ERR_FORMAT || err.code == ERR_LIMIT);
        }
    }
}

/* The attack that kills a reader of maps: the file shrinks after its header was read. */
static void a_file_that_shrinks_is_an_error(void **state)
{
    (void)state;
    Error err;
    fresh("hf", 2, "f16");
    for (int i = 0; i < 3; i++) {
        Source *s;
        SourceReader reader;
        convert_to("hf", "form", forms[i].format);
        int64_t size = fs_size(at(forms[i].file));
        assert_ok(source_open(&s, at("form"), &err));
        assert_ok(reader_new(&reader, s, &err));
        assert_int_equal(truncate(at(forms[i].file), size / 2), 0);
        bool cut = false;
        for (uint32_t k = 0; k < s->count; k++) {
            const SourceTensor *t = &s->tensors[k];
            auto_free uint8_t *out = mem_alloc(tensor_elements(t), 4);
            err = (Error){0};
            if (!reader_read(&reader, t, 0, t->rows, stored_named("f32"), false, out, &err)) {
                assert_int_equal(err.code, ERR_FORMAT);
                assert_non_null(strstr(err.text, "is cut"));
                cut = true;
            }
        }
        assert_true(cut);
        reader_free(&reader);
        source_close(s);
    }
}

/* The n-th system call fails while a source is opened and read. */
static void failing_calls_are_errors(void **state)
{
    (void)state;
    fresh("hf", 0, "f16");
    for (int i = 0; i < 3; i++) {
        convert_to("hf", "form", forms[i].format);
        for (int n = 0, done = 0; !done; n++) {
            Error err = {0};
            fs_fail_after(n, EIO);
            done = read_whole(at("form"), &err);
            fs_fail_after(-1, 0);
            assert_true(done || err.code == ERR_IO);
            assert_true(n < 2000);
        }
    }
}

/* Foreign GGUF: the keys of an attacker. */
static void gguf_keys_are_held_to_limits(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        uint32_t value;
        const char *words;
    } edits[] = {
        {"llama.block_count", 0, "block_count"},
        {"llama.block_count", 1u << 31, "block_count"},
        {"llama.attention.head_count", 0, "head_count"},
        {"llama.attention.head_count", 3, "not a multiple"},
        {"llama.attention.key_length", 1u << 31, "key_length"},
        {"llama.embedding_length", 65, "another shape"},
        {"llama.context_length", 1u << 31, "context_length"},
        {"llama.vocab_size", 1u << 31, "vocab_size"},
        {"llama.feed_forward_length", 97, "another shape"},
    };
    Error err;
    auto_buf Buf bytes;
    buf_init(&bytes, 1 << 22);
    fresh("hf", 0, "f32");
    convert_to("hf", "form", "gguf");
    assert_ok(fs_read(at("form"), &bytes, &err));
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        size_t size = strlen(edits[i].key);
        char *place = memmem(bytes.data, bytes.size, edits[i].key, size);
        uint32_t kept;
        assert_non_null(place);
        place += size + 4; /* the type stands between */
        memcpy(&kept, place, 4);
        memcpy(place, &edits[i].value, 4);
        put("form", bytes.data, bytes.size);
        refused("form", ERR_FORMAT, edits[i].words);
        memcpy(place, &kept, 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pickles_and_pointers_are_named),
        cmocka_unit_test(configurations_are_held_to_limits),
        cmocka_unit_test(indexes_are_not_believed),
        cmocka_unit_test(fp8_needs_its_scale),
        cmocka_unit_test(cut_files_are_errors),
        cmocka_unit_test(a_file_that_shrinks_is_an_error),
        cmocka_unit_test(failing_calls_are_errors),
        cmocka_unit_test(gguf_keys_are_held_to_limits),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
