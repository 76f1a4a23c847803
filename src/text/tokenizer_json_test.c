#include "base/fs.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/test.h"
#include "format/json.h"
#include "text/text_fixture.h"
#include "text/tokenizer_model.h"

/* A whole file in which tests replace one part: `model` and what stands beside it. */
#define TEXT(beside, vocab, merges, more)                                                      \
    "{\"version\":\"1.0\"," beside "\"model\":{\"type\":\"BPE\",\"vocab\":{" vocab         \
    "},\"merges\":[" merges "]" more "}}"
#define PRE "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
#define DEC "\"decoder\":{\"type\":\"ByteLevel\"},"
#define AB "\"a\":0,\"b\":1,\"ab\":2"
#define ADDED(entry) "\"added_tokens\":[" entry "],"

static const struct {
    const char *text, *words;
} bad[] = {
    {"[]", "not an object"},
    {"{\"model\":{}", "test.json"},
    {TEXT(DEC, AB, "", ""), "pre_tokenizer: missing"},
    {TEXT(PRE, AB, "", ""), "decoder: missing"},
    {TEXT(PRE DEC "\"surprise\":1,", AB, "", ""), "surprise"},
    {TEXT(PRE DEC "\"truncation\":{\"max_length\":5},", AB, "", ""), "truncation"},
    {TEXT(PRE DEC "\"padding\":{},", AB, "", ""), "padding"},
    {TEXT(PRE DEC "\"normalizer\":{\"type\":\"Lowercase\"},", AB, "", ""),
     "normalizer: type 'Lowercase'"},
    {TEXT(PRE "\"decoder\":{\"type\":\"WordPiece\"},", AB, "", ""), "decoder: type 'WordPiece'"},
    {TEXT(PRE DEC "\"post_processor\":{\"type\":\"BertProcessing\"},", AB, "", ""),
     "post_processor: type 'BertProcessing'"},
    {TEXT("\"pre_tokenizer\":{\"type\":\"Whitespace\"}," DEC, AB, "", ""), "'Whitespace'"},
    {TEXT("\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[]}," DEC, AB, "", ""),
     "empty"},
    {TEXT("\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"}]},"
          DEC, AB, "", ""), "type 'Digits' is not supported here"},
    {TEXT("\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
          "\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Shuffled\",\"invert\":false},"
          "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}," DEC, AB, "", ""), "'Shuffled'"},
    {TEXT("\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
          "\"pattern\":{\"Regex\":\"a*\"},\"behavior\":\"Isolated\",\"invert\":false},"
          "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}," DEC, AB, "", ""),
     "pre_tokenizer: pattern"},
    {TEXT("\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"strange\":1}," DEC, AB, "", ""), "strange"},
    {"{" PRE DEC "\"model\":{\"type\":\"WordPiece\"}}", "model.type: 'WordPiece'"},
    {"{" PRE DEC "\"model\":{\"type\":\"Unigram\"}}", "model.vocab"},
    {"{" PRE DEC "\"model\":{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]}}", "model.vocab"},
    {"{" PRE DEC "\"model\":{\"type\":\"BPE\",\"vocab\":{}}}", "model.merges"},
    {TEXT(PRE DEC, AB, "", ",\"byte_fallback\":true"), "byte_fallback"},
    {TEXT(PRE DEC, AB, "", ",\"dropout\":0.1"), "dropout"},
    {TEXT(PRE DEC, AB, "", ",\"end_of_word_suffix\":\"</w>\""), "end_of_word_suffix"},
    {TEXT(PRE DEC, AB, "", ",\"strange\":0"), "strange"},
    {TEXT(PRE DEC, "\"a\":0,\"b\":0", "", ""), "model.vocab: id 0 is given to two tokens"},
    {TEXT(PRE DEC, "\"a\":-1", "", ""), "id -1 of 'a' is outside"},
    {TEXT(PRE DEC, "\"a\":1048576", "", ""), "id 1048576 of 'a' is outside"},
    {TEXT(PRE DEC, "\"a\":99999999999999999", "", ""), "outside"},
    {TEXT(PRE DEC, "\"a\":1.5", "", ""), "not a whole number"},
    {TEXT(PRE DEC, "\"\":0", "", ""), "0 bytes"},
    {TEXT(PRE DEC, "\"a\":0,\"\xe6\x97\xa5\":1", "", ""), "byte-level alphabet"},
    {TEXT(PRE DEC, AB, "\"a c\"", ""), "merge 0: model.vocab has no token 'c'"},
    {TEXT(PRE DEC, AB, "\"b a\"", ""), "merge 0: model.vocab has no token 'ba'"},
    {TEXT(PRE DEC, AB, "\"a b\",[\"a\",\"b\"]", ""), "merge 1 repeats merge 0"},
    {TEXT(PRE DEC, AB, "\"ab\"", ""), "merge 0 is neither"},
    {TEXT(PRE DEC, AB, "\" ab\"", ""), "merge 0 is neither"},
    {TEXT(PRE DEC, AB, "\"a b c\"", ""), "merge 0 is neither"},
    {TEXT(PRE DEC, AB, "[\"a\"]", ""), "merge 0 is neither"},
    {TEXT(PRE DEC, AB, "[\"\",\"a\"]", ""), "merge 0 is neither"},
    {TEXT(PRE DEC, AB, "7", ""), "merge 0 is neither"},
    {TEXT(PRE DEC ADDED("{\"id\":2,\"content\":\"ab\",\"special\":true}"), AB, "\"a b\"", ""),
     "special token"},
    {TEXT(PRE DEC ADDED("{\"id\":9,\"content\":\"ab\",\"special\":true}"), AB, "", ""),
     "'ab' has id 9, in model.vocab 2"},
    {TEXT(PRE DEC ADDED("{\"id\":1,\"content\":\"<s>\",\"special\":true}"), AB, "", ""),
     "id 1 is given to two tokens"},
    {TEXT(PRE DEC ADDED("{\"content\":\"<s>\"}"), AB, "", ""), "not a whole number"},
    {TEXT(PRE DEC ADDED("{\"id\":3}"), AB, "", ""), "entry 0 has no content"},
    {TEXT(PRE DEC ADDED("{\"id\":3,\"content\":\"x\",\"strange\":true}"), AB, "", ""), "strange"},
};

static void bad_files_are_refused_by_name(void **state)
{
    (void)state;
    Error err;
    Tokenizer *t = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        err = (Error){0};
        bool done = tokenizer_parse(&t, bad[i].text, strlen(bad[i].text), "test.json", &err);
        if (done || err.code != ERR_FORMAT || !strstr(err.text, bad[i].words) ||
            !strstr(err.text, "test.json"))
            fail_test("case %zu: done %d, code %d, '%s', expected '%s'", i, done, (int)err.code,
                      err.text, bad[i].words);
    }
}

static void encodes_as(const Tokenizer *t, const char *text, const char *want)
{
    Error err;
    auto_tokens Tokens ids;
    auto_buf Buf out;
    tokens_init(&ids, 1000);
    buf_init(&out, 10000);
    assert_ok(tokenizer_encode(t, text, strlen(text), &ids, &err));
    for (size_t i = 0; i < ids.count; i++)
        buf_format(&out, i ? " %d" : "%d", (int)ids.ids[i]);
    assert_string_equal(out.data ? out.data : "", want);
}

static void small_files_encode_by_hand(void **state)
{
    (void)state;
    Error err;
    Tokenizer *t = NULL;
    const char *plain = TEXT(PRE DEC, AB ",\"aba\":3,\"\xc4\xa0\":4", "\"a b\"", "");
    assert_ok(tokenizer_parse(&t, plain, strlen(plain), "plain", &err));
    assert_int_equal(tokenizer_vocab(t), 5);
    encodes_as(t, "abab a", "2 2 4 0");
    encodes_as(t, "aba", "2 0"); /* no merge makes it */
    auto_tokens Tokens ids;
    tokens_init(&ids, 10);
    assert_fails(tokenizer_encode(t, "abz", 3, &ids, &err), ERR_INPUT, "byte 0x7A");
    assert_int_equal(ids.count, 0);
    tokenizer_free(t);
    const char *ignoring = TEXT(PRE DEC, AB ",\"aba\":3", "\"a b\"", ",\"ignore_merges\":true");
    assert_ok(tokenizer_parse(&t, ignoring, strlen(ignoring), "ignoring", &err));
    encodes_as(t, "aba", "3");
    encodes_as(t, "abab", "2 2");
    tokenizer_free(t);
    const char *prefix = TEXT("\"pre_tokenizer\":{\"type\":\"ByteLevel\"}," DEC,
                              AB ",\"\xc4\xa0\":4", "\"a b\"", "");
    assert_ok(tokenizer_parse(&t, prefix, strlen(prefix), "prefix", &err));
    encodes_as(t, "ab", "4 2");
    encodes_as(t, " ab", "4 2");
    encodes_as(t, "", "");
    tokenizer_free(t);
    const char *added = TEXT(PRE DEC ADDED("{\"id\":7,\"content\":\"bb\"},"
                                           "{\"id\":8,\"content\":\"bba\"},"
                                           "{\"id\":9,\"content\":\"<s>\",\"special\":true}"),
                             AB ",\"<\":5,\"s\":4,\">\":6", "\"a b\"", "");
    assert_ok(tokenizer_parse(&t, added, strlen(added), "added", &err));
    encodes_as(t, "abbabb", "0 8 7");
    encodes_as(t, "<s>", "5 4 6");
    assert_null(tokenizer_bytes(t, 3, &(size_t){0}));
    tokenizer_free(t);
}

/* What was read is written back: a second saving gives the same bytes, and the ids are equal. */
static void saving_keeps_everything(void **state)
{
    (void)state;
    static const char *const files[] = {
        TEXT(PRE DEC, AB, "\"a b\"", ",\"unk_token\":\"a\",\"ignore_merges\":true"),
        TEXT("\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
             "\"pattern\":{\"Regex\":\"\\\\p{L}+|\\\\s\"},\"behavior\":\"Isolated\","
             "\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
             "\"use_regex\":false}]}," DEC "\"normalizer\":{\"type\":\"NFC\"},"
             "\"post_processor\":{\"type\":\"ByteLevel\"},"
             ADDED("{\"id\":9,\"content\":\"<\xe6\x97\xa5>\",\"special\":true,\"rstrip\":true}"),
             AB ",\"<\xe6\x97\xa5>\":9", "[\"a\",\"b\"]", ""),
    };
    Error err;
    const char *folder = "tokenizer_json_test_tmp";
    assert_ok(fs_make_dirs(folder, &err));
    for (size_t i = 0; i < 2; i++) {
        Tokenizer *t = NULL, *again = NULL;
        auto_buf Buf first;
        auto_buf Buf second;
        buf_init(&first, 100000);
        buf_init(&second, 100000);
        assert_ok(tokenizer_parse(&t, files[i], strlen(files[i]), "file", &err));
        assert_ok(tokenizer_save(t, "tokenizer_json_test_tmp/a.json", &err));
        assert_ok(tokenizer_load(&again, "tokenizer_json_test_tmp/a.json", &err));
        assert_ok(tokenizer_save(again, "tokenizer_json_test_tmp/b.json", &err));
        assert_ok(fs_read("tokenizer_json_test_tmp/a.json", &first, &err));
        assert_ok(fs_read("tokenizer_json_test_tmp/b.json", &second, &err));
        assert_string_equal(first.data, second.data);
        encodes_as(again, "abab", "2 2");
        assert_int_equal(tokenizer_vocab(again), tokenizer_vocab(t));
        tokenizer_free(t);
        tokenizer_free(again);
    }
    Tokenizer *t = NULL;
    assert_fails(tokenizer_load(&t, "tokenizer_json_test_tmp/none.json", &err), ERR_NOT_FOUND,
                 "none");
    assert_ok(fs_remove_tree(folder, &err));
}

/* One byte of a good file changed: it loads or is refused, and never harms. */
static void damaged_files_do_no_harm(void **state)
{
    (void)state;
    Error err;
    Tokenizer *t = NULL;
    assert_ok(fs_make_dirs("tokenizer_json_test_tmp", &err));
    assert_ok(fixture_tokenizer(&t, 300, 1, &err));
    assert_ok(tokenizer_save(t, "tokenizer_json_test_tmp/t.json", &err));
    tokenizer_free(t);
    auto_buf Buf file;
    buf_init(&file, 1 << 20);
    assert_ok(fs_read("tokenizer_json_test_tmp/t.json", &file, &err));
    RngKey key = rng_key(3, "damage");
    for (uint64_t i = 0; i < 1500; i++) {
        size_t at = rng_below(key, 2 * i, file.size);
        char was = file.data[at];
        file.data[at] = "0129{}[]\",:a \xff"[rng_below(key, 2 * i + 1, 15)];
        t = NULL;
        if (tokenizer_parse(&t, file.data, file.size, "damaged", &err)) {
            auto_tokens Tokens ids;
            tokens_init(&ids, 1000);
            if (!tokenizer_encode(t, fixture_texts[0], strlen(fixture_texts[0]), &ids, &err))
                assert_int_equal(err.code, ERR_INPUT);
            tokenizer_free(t);
        }
        file.data[at] = was;
    }
    assert_ok(fs_remove_tree("tokenizer_json_test_tmp", &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files_are_refused_by_name),
        cmocka_unit_test(small_files_encode_by_hand),
        cmocka_unit_test(saving_keeps_everything),
        cmocka_unit_test(damaged_files_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
