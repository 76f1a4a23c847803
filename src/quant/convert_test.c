/* Every family through every layout and back, bit for bit; and what goes wrong on the way. */
#include "quant/quant_fixture.h"

#include <errno.h>
#include <math.h>

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/convert_test_XXXXXX");
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

static void clear(const char *name)
{
    Error err;
    if (fs_is_dir(at(name)))
        assert_ok(fs_remove_tree(at(name), &err));
    else
        assert_ok(fs_remove(at(name), &err));
}

/* from -> to in a format, with a type or (NULL) the types kept. */
static ConvertResult convert_to(const char *from, const char *to, const char *format,
                                const char *type)
{
    Error err;
    Source *source;
    ConvertResult result;
    ConvertOptions options = {.type = type ? stored_named(type) : NULL};
    clear(to);
    assert_ok(source_open(&source, at(from), &err));
    assert_ok(convert(fixture_format(format), source, at(to), &options, &result, &err));
    source_close(source);
    return result;
}

static json_t *config_of(const char *name)
{
    Error err;
    json_t *config = NULL;
    char path[256];
    snprintf(path, sizeof path, "%s/%s/config.json", folder, name);
    assert_ok(json_read(&config, path, 1 << 20, &err));
    return config;
}

/* Both folders hold the same tensors, and configurations of the same meaning. */
static void same(const char *a, const char *b)
{
    static const char *const keys[] = {
        "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "head_dim",
        "num_attention_heads", "num_key_value_heads", "vocab_size", "rms_norm_eps",
        "tie_word_embeddings", "bos_token_id", "eos_token_id", "num_local_experts", "num_experts",
        "num_experts_per_tok", "moe_intermediate_size"};
    Error err;
    char path[2][256];
    Buf bytes[2];
    auto_json json_t *left = config_of(a), *right = config_of(b);
    for (int i = 0; i < 2; i++) {
        buf_init(&bytes[i], 1 << 22);
        snprintf(path[i], sizeof path[i], "%s/%s/model.safetensors", folder, i ? b : a);
        assert_ok(fs_read(path[i], &bytes[i], &err));
    }
    assert_int_equal(bytes[0].size, bytes[1].size);
    assert_memory_equal(bytes[0].data, bytes[1].data, bytes[0].size);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *one = json_object_get(left, keys[i]), *other = json_object_get(right, keys[i]);
        if (one != other && !json_equal(one, other))
            fail_test("%s and %s differ in %s", a, b, keys[i]);
    }
    buf_done(&bytes[0]);
    buf_done(&bytes[1]);
}

static void every_family_goes_through_every_layout(void **state)
{
    (void)state;
    static const char *const types[] = {"f32", "f16", "bf16"};
    for (int i = 0; i < 3 * FIXTURE_FAMILIES; i++) {
        const FixtureFamily *f = &fixture_families[i / 3];
        const char *type = types[i % 3];
        clear("hf");
        fixture_write(f, at("hf"), stored_named(type));
        assert_true(convert_to("hf", "copy", "hf", NULL).exact);
        same("hf", "copy");
        if (f->native) {
            assert_true(convert_to("hf", "native", "mistral", NULL).exact);
            assert_true(convert_to("native", "back", "hf", NULL).exact);
            same("hf", "back");
        }
        assert_true(convert_to("hf", "model.gguf", "gguf", NULL).exact);
        convert_to("model.gguf", "back", "hf", type); /* vectors come as f32 */
        same("hf", "back");
        if (f->native) { /* from one foreign layout into the other */
            convert_to("model.gguf", "native", "mistral", type);
            convert_to("native", "back", "hf", NULL);
            same("hf", "back");
        }
    }
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

static void quantised_files_come_back_within_their_steps(void **state)
{
    (void)state;
    Error err;
    Source *a, *b;
    clear("hf");
    fixture_write(&fixture_families[0], at("hf"), stored_named("f32"));
    assert_false(convert_to("hf", "model.gguf", "gguf", "q8_0").exact);
    assert_ok(source_open(&a, at("hf"), &err));
    assert_ok(source_open(&b, at("model.gguf"), &err));
    for (uint32_t i = 0; i < a->count; i++) {
        const SourceTensor *want = &a->tensors[i], *got = source_find(b, want->name);
        assert_non_null(got);
        auto_free float *x = read_all(a, want), *y = read_all(b, got);
        bool matrix = want->rank == 2;
        assert_string_equal(got->type->name, matrix ? "q8_0" : "f32");
        for (uint64_t k = 0; k < tensor_elements(want); k++)
            assert_near((double)y[k], (double)x[k], matrix ? 5.0 / 127 / 2 + 5e-3 : 0);
    }
    source_close(a);
    source_close(b);
    assert_true(convert_to("model.gguf", "back", "hf", NULL).exact); /* as f32 */
}

static void shards_hold_what_one_file_holds(void **state)
{
    (void)state;
    Error err;
    Source *s;
    ConvertResult result;
    ConvertOptions options = {.shard_bytes = 20000};
    clear("hf");
    clear("shards");
    fixture_write(&fixture_families[3], at("hf"), stored_named("bf16"));
    assert_ok(source_open(&s, at("hf"), &err));
    assert_ok(convert(fixture_format("hf"), s, at("shards"), &options, &result, &err));
    source_close(s);
    assert_true(result.files > 2);
    convert_to("shards", "back", "hf", NULL);
    same("hf", "back");
}

static bool stop_at_once(void *user, const ConvertProgress *progress)
{
    (void)user;
    return progress->done == 0;
}

static void nothing_is_written_over_or_left_half_done(void **state)
{
    (void)state;
    Error err;
    Source *s;
    ConvertResult result;
    ConvertOptions options = {.progress = stop_at_once}, dry = {.dry_run = true};
    clear("hf");
    fixture_write(&fixture_families[0], at("hf"), stored_named("f32"));
    assert_ok(source_open(&s, at("hf"), &err));
    for (const ConvertFormat *f = convert_formats; f->name; f++) {
        clear("out");
        assert_fails(convert(f, s, at("hf"), &options, &result, &err), ERR_CONFLICT, "exists");
        assert_fails(convert(f, s, at("out"), &options, &result, &err), ERR_CANCELLED, "stopped");
        assert_false(fs_exists(at("out")));
        assert_ok(convert(f, s, at("out"), &dry, &result, &err));
        assert_false(fs_exists(at("out")));
        assert_true(result.bytes > 0);
    }
    source_close(s);
}

static bool count_entry(void *user, const char *name, Error *err)
{
    (void)name;
    (void)err;
    ++*(int *)user;
    return true;
}

/* The n-th allocation fails, then the n-th system call: an Error, and nothing new in the folder. */
static void failures_leave_nothing(void **state)
{
    (void)state;
    Error err = {0};
    clear("hf");
    fixture_write(&fixture_families[2], at("hf"), stored_named("f32"));
    auto_buf Buf clean, got;
    buf_init(&clean, 1 << 24);
    buf_init(&got, 1 << 24);
    for (int kind = 0; kind < 8; kind++) { /* the last two: values go into blocks */
        const ConvertFormat *f = &convert_formats[kind < 6 ? kind / 2 : 2];
        const StoredType *type = kind < 6 ? NULL : stored_named("q8_0");
        for (int n = 0, done = 0; !done; n += n < 60 ? 1 : 7) {
            Source *s;
            ConvertResult result;
            ConvertOptions options = {.type = type, .threads = 1};
            clear("out");
            int before = 0, after = 0;
            assert_ok(fs_list(folder, count_entry, &before, &err));
            err = (Error){0};
            if (kind % 2)
                fs_fail_after(n, ENOSPC);
            done = source_open(&s, at("hf"), &err);
            if (done) {
                /* not before: jansson 2.14 writes past a text when it has no memory to read it */
                mem_fail_after(kind % 2 ? -1 : n);
                done = convert(f, s, at("out"), &options, &result, &err);
                mem_fail_after(-1);
                fs_fail_after(-1, 0);
                source_close(s);
            }
            mem_fail_after(-1);
            fs_fail_after(-1, 0);
            if (done && type) { /* no failure was swallowed on the way */
                Buf *file = kind == 6 ? &clean : &got;
                assert_ok(fs_read(at("out"), file, &err));
                assert_int_equal(file->size, clean.size);
                assert_memory_equal(file->data, clean.data, clean.size);
            }
            if (done)
                break;
            /* jansson without memory says that the text is wrong */
            if (kind % 2 ? err.code != ERR_IO : err.code == ERR_NONE || err.code == ERR_INTERNAL)
                fail_test("kind %d, call %d: code %d \"%s\"", kind, n, (int)err.code, err.text);
            assert_ok(fs_list(folder, count_entry, &after, &(Error){0}));
            if (after != before)
                fail_test("kind %d, call %d: something is left after \"%s\"", kind, n, err.text);
            assert_true(n < 5000);
        }
    }
}

static void what_a_layout_cannot_say_is_refused(void **state)
{
    (void)state;
    Error err;
    Source *s;
    ConvertResult result;
    ConvertOptions options = {0};
    for (int i = 0; i < FIXTURE_FAMILIES; i++) {
        if (fixture_families[i].native)
            continue;
        clear("hf");
        clear("out");
        fixture_write(&fixture_families[i], at("hf"), stored_named("f32"));
        assert_ok(source_open(&s, at("hf"), &err));
        assert_fails(convert(fixture_format("mistral"), s, at("out"), &options, &result, &err),
                     ERR_INPUT, "Mistral's own layout");
        assert_false(fs_exists(at("out")));
        source_close(s);
    }
}

/* The digest of a tensor is that of its values, whatever the layout and the order of its rows. */
static void digests_do_not_depend_on_the_layout(void **state)
{
    (void)state;
    static const char *const forms[] = {"hf", "native", "model.gguf"};
    Error err;
    uint8_t want[32], got[32];
    clear("hf");
    fixture_write(&fixture_families[0], at("hf"), stored_named("f32"));
    convert_to("hf", "native", "mistral", NULL);
    convert_to("hf", "model.gguf", "gguf", NULL);
    for (int i = 0; i < 3; i++) {
        Source *s;
        SourceReader reader;
        assert_ok(source_open(&s, at(forms[i]), &err));
        assert_ok(reader_new(&reader, s, &err));
        const SourceTensor *t = source_find(s, "model.layers.1.self_attn.k_proj.weight");
        assert_ok(convert_digest(&reader, t, i ? got : want, &err));
        if (i)
            assert_memory_equal(got, want, 32);
        reader_free(&reader);
        source_close(s);
    }
}

static void what_a_type_cannot_hold_is_refused(void **state)
{
    (void)state;
    Error err;
    Source *s;
    Fixture x;
    float big = 70000, nan = NAN;
    ConvertResult result;
    ConvertOptions options = {.type = stored_named("f16")};
    clear("hf");
    clear("out");
    fixture_write(&fixture_families[0], at("hf"), stored_named("f32"));
    fixture_fill(&x, &fixture_families[0], stored_named("f32"));
    memcpy((uint8_t *)(uintptr_t)x.tensors[5].data + 20, &big, 4);
    assert_ok(safetensors_write(at("hf/model.safetensors"), x.tensors, x.count, &err));
    assert_ok(source_open(&s, at("hf"), &err));
    assert_fails(convert(fixture_format("gguf"), s, at("out"), &options, &result, &err), ERR_INPUT,
                 "holds 70000, which f16 cannot");
    source_close(s);
    memcpy((uint8_t *)(uintptr_t)x.tensors[5].data + 20, &nan, 4);
    assert_ok(safetensors_write(at("hf/model.safetensors"), x.tensors, x.count, &err));
    assert_ok(source_open(&s, at("hf"), &err));
    options.type = stored_named("bf16");
    assert_fails(convert(fixture_format("hf"), s, at("out"), &options, &result, &err), ERR_INPUT,
                 "which bf16 cannot");
    assert_false(fs_exists(at("out")));
    source_close(s);
    arena_done(&x.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_goes_through_every_layout),
        cmocka_unit_test(quantised_files_come_back_within_their_steps),
        cmocka_unit_test(shards_hold_what_one_file_holds),
        cmocka_unit_test(nothing_is_written_over_or_left_half_done),
        cmocka_unit_test(failures_leave_nothing),
        cmocka_unit_test(what_a_layout_cannot_say_is_refused),
        cmocka_unit_test(digests_do_not_depend_on_the_layout),
        cmocka_unit_test(what_a_type_cannot_hold_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
