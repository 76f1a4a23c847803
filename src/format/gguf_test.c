#include "format/gguf.h"

#include "base/mem.h"
#include "base/test.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

/* ---- a builder of headers, right and wrong ---- */

static Buf file;

static void u32(uint32_t value)
{
    buf_add(&file, &value, sizeof value);
}

static void u64(uint64_t value)
{
    buf_add(&file, &value, sizeof value);
}

static void text(const char *value)
{
    u64(strlen(value));
    buf_add_text(&file, value);
}

static void start(uint64_t tensors, uint64_t pairs)
{
    buf_reset(&file);
    buf_add_text(&file, "GGUF");
    u32(3);
    u64(tensors);
    u64(pairs);
}

static void tensor(const char *name, uint32_t type, uint32_t rank, uint64_t a, uint64_t b,
                   uint64_t offset)
{
    text(name);
    u32(rank);
    if (rank > 0)
        u64(a);
    if (rank > 1)
        u64(b);
    u32(type);
    u64(offset);
}

static void data(size_t bytes)
{
    while (file.size % GGUF_ALIGNMENT)
        buf_add_char(&file, 0);
    for (size_t i = 0; i < bytes; i++)
        buf_add_char(&file, 1);
}

static bool parse(Error *err)
{
    Gguf *gguf;
    auto_free uint8_t *exact = mem_alloc(file.size, 1); /* so that a step outside is seen */
    memcpy(exact, file.data, file.size);
    bool ok = gguf_parse(&gguf, exact, file.size, "h.gguf", err);
    if (ok)
        gguf_close(gguf);
    return ok;
}

static int setup(void **state)
{
    (void)state;
    buf_init(&file, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_done(&file);
    return 0;
}

static void hostile_heads(void **state)
{
    (void)state;
    Error err;
    start(0, 0);
    assert_ok(parse(&err));
    static const struct {
        uint32_t version;
        const char *words;
    } versions[] = {{0, "big-endian"}, {1, "version 1, 2 and 3"}, {4, "version 4"},
                    {3u << 24, "big-endian"}};
    for (size_t i = 0; i < 4; i++) {
        start(0, 0);
        memcpy(file.data + 4, &versions[i].version, 4);
        assert_fails(parse(&err), ERR_FORMAT, versions[i].words);
    }
    start(0, 0);
    file.data[0] = 'g';
    assert_fails(parse(&err), ERR_FORMAT, "does not start with GGUF");
    static const uint64_t counts[][2] = {{1ull << 63, 0}, {1ull << 32, 0}, {0, 1ull << 63},
                                         {0, 1ull << 32}, {UINT64_MAX, UINT64_MAX}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        start(counts[i][0], counts[i][1]);
        assert_fails(parse(&err), ERR_LIMIT, "at most");
    }
    start(100000, 100);
    assert_fails(parse(&err), ERR_FORMAT, "do not fit");
    buf_reset(&file);
    buf_add_text(&file, "version https://git-lfs.github.com/spec/v1\n");
    assert_fails(parse(&err), ERR_FORMAT, "Git LFS");
}

static void hostile_pairs(void **state)
{
    (void)state;
    Error err;
    const uint64_t lengths[] = {1ull << 63, 1 << 20, UINT64_MAX, 0, 256};
    for (size_t i = 0; i < 5; i++) { /* key length */
        start(0, 1);
        u64(lengths[i]);
        for (int k = 0; k < 300; k++)
            buf_add_char(&file, 'k');
        assert_fails(parse(&err), ERR_FORMAT, lengths[i] <= 256 ? "name of" : "does not fit");
    }
    start(0, 1); /* value length */
    text("key");
    u32(GGUF_TEXT);
    u64(UINT64_MAX);
    assert_fails(parse(&err), ERR_FORMAT, "does not fit");
    const uint32_t kinds[] = {13, 255, UINT32_MAX, GGUF_ARRAY};
    for (size_t i = 0; i < 4; i++) {
        start(0, 1);
        text("key");
        u32(i == 3 ? GGUF_ARRAY : kinds[i]);
        u32(GGUF_ARRAY);
        u64(1);
        assert_fails(parse(&err), ERR_FORMAT, "key 'key': type");
    }
    for (uint32_t type = 0; type < GGUF_TYPE_COUNT; type++) { /* array counts that lie */
        if (type == GGUF_ARRAY)
            continue;
        start(0, 1);
        text("key");
        u32(GGUF_ARRAY);
        u32(type);
        u64((1ull << 61) + 1);
        u64(0);
        assert_fails(parse(&err), ERR_FORMAT, type == GGUF_TEXT ? "is cut" : "do not fit");
    }
    start(0, 2);
    for (int i = 0; i < 2; i++) {
        text("same");
        u32(GGUF_U32);
        u32(1);
    }
    assert_fails(parse(&err), ERR_FORMAT, "key 'same' stands twice");
    start(0, 1);
    text("key");
    u32(GGUF_BOOL);
    buf_add_char(&file, 2);
    assert_fails(parse(&err), ERR_FORMAT, "a bool is 2");
    start(0, 1);
    text("a\x1b[31m");
    u32(GGUF_U32);
    u32(1);
    assert_fails(parse(&err), ERR_FORMAT, "not printable");
    const uint32_t alignments[] = {0, 1, 12, 1u << 31, 131072};
    for (size_t i = 0; i < 5; i++) {
        start(0, 1);
        text("general.alignment");
        u32(GGUF_U32);
        u32(alignments[i]);
        assert_fails(parse(&err), ERR_FORMAT, "'general.alignment' must be");
    }
    start(0, 1);
    text("general.alignment");
    u32(GGUF_U64);
    u64(32);
    assert_fails(parse(&err), ERR_FORMAT, "'general.alignment' must be");
}

static void hostile_tensors(void **state)
{
    (void)state;
    static const struct {
        uint32_t type, rank;
        uint64_t a, b, offset;
        size_t data;
        const char *words; /* NULL: accepted */
    } cases[] = {
        {GGML_F32, 2, 2, 3, 0, 24, NULL},
        {GGML_Q8_0, 1, 64, 0, 0, 68, NULL},
        {GGML_F32, 2, 2, 3, 0, 23, "ends at"},
        {GGML_F32, 0, 0, 0, 0, 64, "has 0 dimensions"},
        {GGML_F32, 5, 1, 1, 0, 64, "has 5 dimensions"},
        {GGML_F32, UINT32_MAX, 1, 1, 0, 64, "dimensions"},
        {GGML_F32, 2, 0, 3, 0, 64, "a dimension is 0"},
        {GGML_F32, 2, 1ull << 63, 1, 0, 64, "over 2^63"},
        {GGML_F32, 2, 1ull << 32, 1ull << 32, 0, 64, "over 2^63"},
        {GGML_F32, 1, 1ull << 62, 0, 0, 64, "over 2^63"},
        {GGML_F32, 2, UINT64_MAX, UINT64_MAX, 0, 64, "over 2^63"},
        {GGML_Q8_0, 2, 33, 32, 0, 4096, "whole blocks of 32"},
        {4, 1, 32, 0, 0, 64, "unknown type 4"},
        {42, 1, 32, 0, 0, 64, "unknown type 42"},
        {UINT32_MAX, 1, 32, 0, 0, 64, "unknown type"},
        {GGML_F32, 1, 4, 0, 1, 64, "is at offset 1, 0 is expected"},
        {GGML_F32, 1, 4, 0, 32, 64, "is at offset 32, 0 is expected"},
        {GGML_F32, 1, 4, 0, UINT64_MAX - 31, 64, "is expected"},
    };
    Error err;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start(1, 0);
        tensor("t", cases[i].type, cases[i].rank, cases[i].a, cases[i].b, cases[i].offset);
        data(cases[i].data);
        if (cases[i].words)
            assert_fails(parse(&err), ERR_FORMAT, cases[i].words);
        else
            assert_ok(parse(&err));
    }
    start(2, 0); /* overlap */
    tensor("a", GGML_F32, 1, 16, 0, 0);
    tensor("b", GGML_F32, 1, 16, 0, 32);
    data(128);
    assert_fails(parse(&err), ERR_FORMAT, "tensor 'b': is at offset 32, 64 is expected");
    start(2, 0);
    tensor("a", GGML_F32, 1, 16, 0, 0);
    tensor("a", GGML_F32, 1, 16, 0, 64);
    data(128);
    assert_fails(parse(&err), ERR_FORMAT, "tensor 'a' stands twice");
}

/* ---- writing and reading back ---- */

static const GgufText tokens[] = {{"<s>", 3}, {"", 0}, {"a\0b", 3}, {"\xe2\x96\x81the", 6}};
static uint8_t numbers[4 * 34];

static bool write_sample(const char *path, Error *err)
{
    static const int32_t types[] = {3, -1, 1, 1};
    static const float scores[] = {0, -1.5f, -1e10f, 3};
    static const uint64_t f32_shape[] = {4, 2}, q8_shape[] = {64, 2}, one[] = {3};
    GgufWriter *w;
    if (!gguf_writer_new(&w, err))
        return false;
    gguf_add_text(w, "general.architecture", "llama");
    gguf_add_u32(w, "llama.block_count", 2);
    gguf_add_u64(w, "general.parameter_count", 1ull << 40);
    gguf_add_f32(w, "llama.epsilon", 1e-5f);
    gguf_add_bool(w, "tokenizer.ggml.add_bos_token", true);
    gguf_add_texts(w, "tokenizer.ggml.tokens", tokens, 4);
    gguf_add_array(w, "tokenizer.ggml.token_type", GGUF_I32, types, 4);
    gguf_add_array(w, "tokenizer.ggml.scores", GGUF_F32, scores, 4);
    gguf_add_array(w, "empty", GGUF_U32, NULL, 0);
    gguf_add_tensor(w, "token_embd.weight", GGML_F32, 2, f32_shape);
    gguf_add_tensor(w, "blk.0.attn_q.weight", GGML_Q8_0, 2, q8_shape);
    gguf_add_tensor(w, "output_norm.weight", GGML_BF16, 1, one);
    bool ok = gguf_begin(w, path, err) && gguf_add_data(w, numbers, 5, err) &&
              gguf_add_data(w, numbers + 5, 27, err) && gguf_add_data(w, numbers, 136, err) &&
              gguf_add_data(w, numbers, 6, err) && gguf_commit(w, err);
    gguf_writer_free(w);
    return ok;
}

static void check_sample(const Gguf *gguf)
{
    Error err;
    assert_int_equal(gguf_version(gguf), 3);
    uint32_t blocks = 0;
    double number = 0;
    bool yes = false;
    const char *word = NULL;
    const GgufValue *list = NULL;
    assert_ok(gguf_need_u32(gguf, "llama.block_count", 1, 100, &blocks, &err));
    assert_int_equal(blocks, 2);
    assert_fails(gguf_need_u32(gguf, "llama.block_count", 3, 9, &blocks, &err), ERR_FORMAT,
                 "3 to 9");
    assert_fails(gguf_need_u32(gguf, "none", 3, 9, &blocks, &err), ERR_FORMAT, "is absent");
    assert_fails(gguf_need_u32(gguf, "general.parameter_count", 0, UINT32_MAX, &blocks, &err),
                 ERR_FORMAT, "whole number");
    assert_ok(gguf_get_f64(gguf, "llama.epsilon", 0, 1, 0, &number, &err));
    assert_near(number, 1e-5, 1e-12);
    assert_ok(gguf_get_f64(gguf, "llama.block_count", 0, 9, 0, &number, &err));
    assert_fails(gguf_get_f64(gguf, "general.architecture", 0, 9, 0, &number, &err), ERR_FORMAT,
                 "a number");
    assert_ok(gguf_get_bool(gguf, "tokenizer.ggml.add_bos_token", false, &yes, &err));
    assert_true(yes);
    assert_ok(gguf_get_text(gguf, "general.architecture", NULL, &word, &err));
    assert_string_equal(word, "llama");
    assert_fails(gguf_get_text(gguf, "llama.epsilon", NULL, &word, &err), ERR_FORMAT, "a text");
    assert_ok(gguf_need_array(gguf, "tokenizer.ggml.token_type", GGUF_U32, 4, 4, &list, &err));
    assert_near(gguf_number(list, 1), -1, 0);
    assert_ok(gguf_need_array(gguf, "tokenizer.ggml.scores", GGUF_F32, 1, 9, &list, &err));
    assert_near(gguf_number(list, 1), -1.5, 0);
    assert_fails(gguf_need_array(gguf, "tokenizer.ggml.scores", GGUF_I32, 1, 9, &list, &err),
                 ERR_FORMAT, "whole numbers");
    assert_fails(gguf_need_array(gguf, "tokenizer.ggml.scores", GGUF_F32, 5, 9, &list, &err),
                 ERR_FORMAT, "a list of 5 to 9 numbers");
    assert_ok(gguf_need_array(gguf, "tokenizer.ggml.tokens", GGUF_TEXT, 4, 4, &list, &err));
    const uint8_t *at = list->bytes;
    for (int i = 0; i < 4; i++) {
        uint64_t bytes;
        gguf_next_text(&at, &word, &bytes);
        assert_int_equal(bytes, tokens[i].bytes);
        assert_memory_equal(word, tokens[i].text, bytes);
    }
    const GgufTensor *q8 = gguf_find_tensor(gguf, "blk.0.attn_q.weight");
    assert_non_null(q8);
    assert_int_equal(q8->type, GGML_Q8_0);
    assert_int_equal(q8->shape[1], 2);
    assert_int_equal(q8->shape[2], 1);
    assert_memory_equal(q8->data, numbers, 136);
    assert_memory_equal(gguf_find_tensor(gguf, "output_norm.weight")->data, numbers, 6);
    assert_null(gguf_find_tensor(gguf, "absent"));
}

static void round_trip_and_every_cut(void **state)
{
    (void)state;
    Error err;
    Gguf *gguf;
    FsMap map;
    char path[] = "/tmp/bastide-gguf-XXXXXX";
    close(mkstemp(path));
    for (size_t i = 0; i < sizeof numbers; i++)
        numbers[i] = (uint8_t)(i * 7);
    assert_ok(write_sample(path, &err));
    assert_ok(gguf_open(&gguf, path, &err));
    check_sample(gguf);
    gguf_close(gguf);
    assert_ok(fs_map(path, &map, &err));
    for (size_t size = 0; size < map.size; size++) {
        auto_free uint8_t *cut = mem_alloc(size, 1);
        memcpy(cut, map.data, size);
        bool whole = gguf_parse(&gguf, cut, size, "cut", &err);
        if (whole) { /* the padding after the last tensor may be missing, nothing else */
            assert_true(size >= map.size - 26);
            gguf_close(gguf);
        }
    }
    auto_free uint8_t *odd = mem_alloc(map.size + 1, 1);
    memcpy(odd + 1, map.data, map.size);
    odd[1 + 4] = 2; /* and as version 2, whose layout is the same */
    assert_ok(gguf_parse(&gguf, odd + 1, map.size, "odd", &err));
    assert_int_equal(gguf_version(gguf), 2);
    gguf_close(gguf);
    fs_unmap(&map);
    remove(path);
}

static void writer_reports_mistakes(void **state)
{
    (void)state;
    Error err;
    GgufWriter *w;
    const char *path = "/tmp/bastide-gguf-never";
    const uint64_t shape[] = {33, 2};
    assert_ok(gguf_writer_new(&w, &err));
    gguf_add_u32(w, "a", 1);
    gguf_add_u32(w, "b", 1);
    gguf_add_u32(w, "a", 1);
    assert_fails(gguf_begin(w, path, &err), ERR_INPUT, "key 'a' given twice");
    gguf_writer_free(w);
    assert_ok(gguf_writer_new(&w, &err));
    gguf_add_tensor(w, "t", GGML_Q8_0, 2, shape);
    gguf_add_u32(w, "", 1);
    assert_fails(gguf_begin(w, path, &err), ERR_INPUT, "tensor 't': type and shape");
    gguf_writer_free(w);
    assert_ok(gguf_writer_new(&w, &err));
    gguf_add_tensor(w, "t", GGML_F32, 2, shape);
    assert_ok(gguf_begin(w, path, &err));
    assert_fails(gguf_commit(w, &err), ERR_INTERNAL, "is missing");
    auto_free uint8_t *bytes = mem_alloc(300, 1);
    assert_fails(gguf_add_data(w, bytes, 265, &err), ERR_INTERNAL, "has room for");
    gguf_writer_free(w);
    assert_false(fs_exists(path));
}

static void every_fault_is_an_error(void **state)
{
    (void)state;
    Error err;
    Gguf *gguf;
    char path[] = "/tmp/bastide-gguf-XXXXXX";
    close(mkstemp(path));
    assert_ok(write_sample(path, &err));
    for (int n = 0, done = 0; !done; n++) {
        uint64_t before = mem_count();
        mem_fail_after(n);
        bool ok = write_sample(path, &err) && gguf_open(&gguf, path, &err);
        done = mem_count() - before <= (uint64_t)n;
        mem_fail_after(-1);
        assert_int_equal(ok, done);
        if (ok)
            gguf_close(gguf);
    }
    for (int n = 0, done = 0; !done; n++) {
        fs_fail_after(n, ENOSPC);
        done = write_sample(path, &err) && gguf_open(&gguf, path, &err);
        fs_fail_after(-1, 0);
        if (done)
            gguf_close(gguf);
        assert_ok(gguf_open(&gguf, path, &err)); /* the old file or the new one */
        gguf_close(gguf);
    }
    remove(path);
}

/* The vocabularies that llama.cpp publishes: all open, and have what they are known to have. */
static void published_files_open(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t tokens;
    } vocabularies[] = {{"llama-spm", 32000}, {"bert-bge", 30522}, {"phi-3", 32064},
                        {"gpt-2", 50257}, {"deepseek-coder", 32256}};
    Error err;
    const char *shared = getenv("BASTIDE_SHARED");
    if (!shared) {
        print_message("SKIPPED: BASTIDE_SHARED is not set: no published GGUF files\n");
        skip();
    }
    char path[] = "/tmp/bastide-gguf-XXXXXX", command[1024];
    close(mkstemp(path));
    for (size_t i = 0; i < sizeof vocabularies / sizeof *vocabularies; i++) {
        Gguf *gguf;
        const GgufValue *list;
        snprintf(command, sizeof command,
                 "xz -dc '%s/material/tokenizers/gguf/ggml-vocab-%s.gguf.xz' > %s",
                 shared, vocabularies[i].name, path);
        assert_int_equal(system(command), 0);
        assert_ok(gguf_open(&gguf, path, &err));
        assert_ok(gguf_need_array(gguf, "tokenizer.ggml.tokens", GGUF_TEXT, 1, 1 << 20, &list,
                                  &err));
        assert_int_equal(list->count, vocabularies[i].tokens);
        gguf_close(gguf);
    }
    remove(path);
}

/* With BASTIDE_GGUF_OUT set, leaves the sample there for tools/check_gguf.py. */
static void sample_for_the_tool(void **state)
{
    (void)state;
    Error err;
    const char *path = getenv("BASTIDE_GGUF_OUT");
    if (path)
        assert_ok(write_sample(path, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_heads),
        cmocka_unit_test(hostile_pairs),
        cmocka_unit_test(hostile_tensors),
        cmocka_unit_test(round_trip_and_every_cut),
        cmocka_unit_test(writer_reports_mistakes),
        cmocka_unit_test(every_fault_is_an_error),
        cmocka_unit_test(published_files_open),
        cmocka_unit_test(sample_for_the_tool),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
