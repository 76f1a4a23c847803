/* Small files of every format, made by hand: what they mean, what is refused, and that memory may
 * run out at any point. */
#include "base/fs.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/test.h"
#include "format/json.h"
#include "text/tokenizer_formats.h"
#include "text/tokenizer_samples.h"

static Tokenizer *read_sample(const Buf *file, const char *name)
{
    Error err;
    Tokenizer *t = NULL;
    assert_ok(tokenizer_read(&t, (const uint8_t *)file->data, file->size, name, &err));
    return t;
}

static void encodes_as(const Tokenizer *t, const char *text, const char *want)
{
    Error err;
    auto_tokens Tokens ids;
    auto_buf Buf out;
    tokens_init(&ids, 1000);
    buf_init(&out, 10000);
    assert_ok(tokenizer_encode(t, text, strlen(text), &ids, &err));
    for (size_t i = 0; i < ids.count; i++) {
        tokenizer_spell(t, ids.ids[i], &out);
        buf_add_char(&out, '|');
    }
    if (strcmp(out.data ? out.data : "", want))
        fail_test("'%s' gives %s, expected %s", text, out.data, want);
}

#define M "\xe2\x96\x81"

static void pieces_by_score(void **state)
{
    (void)state;
    auto_buf Buf file;
    sample_spm(&file, SAMPLE_BPE);
    Tokenizer *t = read_sample(&file, "tokenizer.model");
    assert_int_equal(tokenizer_kind(t), TOKENIZER_CHARS);
    encodes_as(t, "ab", M "ab|");
    encodes_as(t, "abab", M "ab|ab|");
    encodes_as(t, " ab", M "|" M "ab|");
    encodes_as(t, "b\xc3\xa9", M "|b|<0xC3>|<0xA9>|");
    encodes_as(t, "aWORDb", M "a|WORD|b|");
    encodes_as(t, "<s>", M "|<0x3C>|<0x73>|<0x3E>|");
    encodes_as(t, "", "");
    Error err;
    auto_tokens Tokens ids;
    auto_buf Buf back;
    tokens_init(&ids, 100);
    buf_init(&back, 100);
    assert_ok(tokenizer_encode(t, "a\xff b", 4, &ids, &err));
    assert_ok(tokenizer_decode(t, ids.ids, ids.count, false, &back, &err));
    assert_string_equal(back.data, "a\xff b");
    assert_int_equal(tokenizer_bos(t), 1);
    tokenizer_free(t);
}

static void pieces_by_path(void **state)
{
    (void)state;
    auto_buf Buf file;
    sample_spm(&file, SAMPLE_UNIGRAM);
    Tokenizer *t = read_sample(&file, "tokenizer.model");
    assert_int_equal(tokenizer_kind(t), TOKENIZER_UNIGRAM);
    encodes_as(t, "abab", M "ab|ab|");
    encodes_as(t, "aWORDb", M "a|WORD|b|");
    tokenizer_free(t);
}

static void tekken_counts_specials_first(void **state)
{
    (void)state;
    auto_buf Buf file;
    sample_tekken(&file);
    Tokenizer *t = read_sample(&file, "tekken.json");
    int32_t id;
    assert_int_equal(tokenizer_vocab(t), 10 + 258);
    assert_true(tokenizer_special(t, "<SPECIAL_7>", &id));
    assert_int_equal(id, 7);
    assert_true(tokenizer_special(t, "[INST]", &id));
    assert_int_equal(id, 3);
    auto_tokens Tokens ids;
    Error err;
    tokens_init(&ids, 100);
    assert_ok(tokenizer_encode(t, "abc[INST]", 9, &ids, &err));
    const int32_t want[] = {10 + 257, 10 + '[', 10 + 'I', 10 + 'N', 10 + 'S', 10 + 'T', 10 + ']'};
    assert_int_equal(ids.count, 7);
    assert_memory_equal(ids.ids, want, sizeof want);
    tokenizer_free(t);
}

static void ranks_need_a_name(void **state)
{
    (void)state;
    auto_buf Buf file;
    Error err;
    Tokenizer *t = NULL;
    sample_ranks(&file);
    assert_fails(tokenizer_read(&t, (const uint8_t *)file.data, file.size, "mine.tiktoken", &err),
                 ERR_INPUT, "tokenizer.json");
    t = read_sample(&file, "cl100k_base.tiktoken");
    encodes_as(t, "ab", "ab|");
    int32_t id;
    assert_true(tokenizer_special(t, "<|endofprompt|>", &id));
    assert_int_equal(id, 100276);
    tokenizer_free(t);
}

static void refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *name, *words;
    } bad[] = {
        {"version https://git-lfs.github.com/spec/v1\n", "tokenizer.model", "git lfs pull"},
        {"hello", "tokenizer.model", "none of tokenizer.json"},
        {"", "tokenizer.model", "none of tokenizer.json"},
        {"\n\x7f" "abc", "tokenizer.model", "the model is damaged"},
        {"\n\x03\x0a\x09" "a", "tokenizer.model", "a piece is damaged"},
        {"\n\x02\x18\x09", "tokenizer.model", "unknown type"},
        {"\n\x03\x0a\x01" "a\x12\x02\x18\x04", "tokenizer.model", "model_type 4"},
        {"{\"config\":{},\"vocab\":[]}", "tekken.json", "default_vocab_size"},
        {"{\"config\":{\"pattern\":\".+\",\"default_vocab_size\":5,"
         "\"default_num_special_tokens\":1},\"vocab\":[]}", "tekken.json", "config asks for 4"},
        {"{\"a\":1}", "tokenizer.json", "a"},
        {"YQ== 0\nYg==\n", "r50k_base.tiktoken", "r50k_base.tiktoken:2: it is not"},
        {"YQ== 0\nY 1\n", "r50k_base.tiktoken", "no base64"},
        {"YQ== 0\nYg== 0\n", "r50k_base.tiktoken", "two tokens"},
        {"YQ== 0\nYg== 9999999999\n", "r50k_base.tiktoken", "rank"},
        {"YQ== 0\nYg== 1\n", "r50k_base.tiktoken", "byte 0x00 has no rank"},
        {"GGUF", "x.gguf", "x.gguf"},
    };
    Error err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Tokenizer *t = NULL;
        assert_fails(tokenizer_read(&t, (const uint8_t *)bad[i].bytes, strlen(bad[i].bytes),
                                    bad[i].name, &err), ERR_FORMAT, bad[i].words);
    }
}

static void folders_are_searched_in_order(void **state)
{
    (void)state;
    const char *folder = "tokenizer_formats_test_tmp";
    Error err;
    Tokenizer *t = NULL;
    auto_buf Buf spm;
    auto_buf Buf tekken;
    sample_spm(&spm, SAMPLE_BPE);
    sample_tekken(&tekken);
    assert_ok(fs_make_dirs(folder, &err));
    assert_fails(tokenizer_open(&t, folder, &err), ERR_NOT_FOUND, "no tokenizer.json");
    assert_ok(fs_write("tokenizer_formats_test_tmp/tokenizer.model.v3", spm.data, spm.size, &err));
    assert_ok(tokenizer_open(&t, folder, &err));
    assert_non_null(strstr(tokenizer_source(t), "tokenizer.model.v3: BPE"));
    tokenizer_free(t);
    assert_ok(fs_write("tokenizer_formats_test_tmp/tokenizer.model.v7", spm.data, spm.size, &err));
    assert_fails(tokenizer_open(&t, folder, &err), ERR_INPUT, "name the file");
    assert_ok(fs_write("tokenizer_formats_test_tmp/tekken.json", tekken.data, tekken.size, &err));
    assert_ok(tokenizer_open(&t, folder, &err));
    assert_non_null(strstr(tokenizer_source(t), "tekken.json: byte-level BPE"));
    assert_ok(tokenizer_save(t, "tokenizer_formats_test_tmp/tokenizer.json", &err));
    tokenizer_free(t);
    assert_ok(tokenizer_open(&t, folder, &err));
    assert_non_null(strstr(tokenizer_source(t), "tokenizer.json: "));
    encodes_as(t, "abcab", "abc|ab|");
    tokenizer_free(t);
    for (int64_t n = 0; n < 6; n++) {
        fs_fail_after(n, 5);
        bool opened = tokenizer_open(&t, folder, &err);
        fs_fail_after(-1, 0);
        if (opened)
            tokenizer_free(t);
        else if (err.code != ERR_IO && err.code != ERR_NOT_FOUND)
            fail_test("call %d: code %d '%s'", (int)n, (int)err.code, err.text);
    }
    assert_ok(fs_remove_tree(folder, &err));
}

/* Every sample, with one byte damaged or cut short: read or refused, and never harm. */
static void damage_does_no_harm(void **state)
{
    (void)state;
    RngKey key = rng_key(9, "damage");
    uint64_t n = 0;
    for (int kind = 0; kind < SAMPLE_KINDS; kind++) {
        auto_buf Buf file;
        const char *name = sample_any(&file, kind);
        for (int round = 0; round < 300; round++) {
            Error err = {0};
            Tokenizer *t = NULL;
            size_t at = rng_below(key, n++, file.size);
            char was = file.data[at];
            file.data[at] = (char)rng_u64(key, n++);
            size_t size = round % 3 ? file.size : at;
            if (tokenizer_read(&t, (const uint8_t *)file.data, size, name, &err)) {
                auto_tokens Tokens ids;
                tokens_init(&ids, 1000);
                if (!tokenizer_encode(t, "ab WORD\xff \xc3\xa9", 11, &ids, &err))
                    assert_int_equal(err.code, ERR_INPUT);
                tokenizer_free(t);
            } else if (!err.code || !err.text[0]) {
                fail_test("sample %d refused without a word", kind);
            }
            file.data[at] = was;
        }
    }
}

static bool read_and_encode(const Buf *file, const char *name, Error *err)
{
    Tokenizer *t = NULL;
    auto_tokens Tokens ids;
    tokens_init(&ids, 1000);
    bool done = tokenizer_read(&t, (const uint8_t *)file->data, file->size, name, err) &&
                tokenizer_encode(t, "abab WORD \xc3\xa9", 12, &ids, err);
    tokenizer_free(t);
    return done;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    for (int kind = 0; kind < SAMPLE_KINDS; kind++) {
        Error err;
        auto_buf Buf file;
        const char *name = sample_any(&file, kind);
        uint64_t before = mem_count();
        assert_ok(read_and_encode(&file, name, &err));
        uint64_t total = mem_count() - before, first = 0;
        if (kind == SAMPLE_TEKKEN) { /* the parser of JSON has its own such test */
            json_t *root = NULL;
            before = mem_count();
            assert_ok(json_parse(&root, file.data, file.size, name, &err));
            first = mem_count() - before;
            json_decref(root);
        }
        for (uint64_t n = first; n < total; n += 1 + total / 400) {
            err = (Error){0};
            mem_fail_after((int64_t)n);
            bool done = read_and_encode(&file, name, &err);
            mem_fail_after(-1);
            if (!done && err.code != ERR_MEMORY && err.code != ERR_LIMIT)
                fail_test("%s, allocation %d: code %d '%s'", name, (int)n, (int)err.code, err.text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_by_score),
        cmocka_unit_test(pieces_by_path),
        cmocka_unit_test(tekken_counts_specials_first),
        cmocka_unit_test(ranks_need_a_name),
        cmocka_unit_test(refused_by_name),
        cmocka_unit_test(folders_are_searched_in_order),
        cmocka_unit_test(damage_does_no_harm),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
