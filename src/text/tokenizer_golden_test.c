/* Against numbers of others, from the folder named by BASTIDE_SHARED: merges of a reference
 * trainer, ids of GPT-2 (r50k) and cl100k, Unicode's NFC tests. Skipped, with exit
 * status 77, when the folder is absent. */
#include "base/fs.h"
#include "base/test.h"
#include "format/json.h"
#include "text/nfc.h"
#include "text/tokenizer_model.h"
#include "text/utf8.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <utf8proc.h>

static char material[768];

static void read_plain(const char *name, Buf *out)
{
    Error err;
    char path[1024];
    assert_ok(fs_join(path, sizeof path, material, name, &err));
    assert_ok(fs_read(path, out, &err));
}

static void read_xz(const char *name, Buf *out)
{
    char command[1100], block[4096];
    snprintf(command, sizeof command, "xz -dc '%s/%s'", material, name);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    for (size_t got; (got = fread(block, 1, sizeof block, pipe)) > 0;)
        buf_add(out, block, got);
    assert_int_equal(pclose(pipe), 0);
    assert_false(out->failed);
}

static void one_document(void *user, size_t i, const char **text, size_t *size)
{
    const Buf *buf = user;
    (void)i;
    *text = buf->data;
    *size = buf->size;
}

static void training_gives_the_reference_merges(void **state)
{
    (void)state;
    static const char *const special[] = {"<|endoftext|>"};
    Error err;
    Tokenizer *t = NULL;
    auto_buf Buf corpus;
    auto_buf Buf merges;
    auto_buf Buf made;
    buf_init(&corpus, 1 << 20);
    buf_init(&merges, 1 << 20);
    buf_init(&made, 1 << 20);
    read_plain("tokenizers/bpe_train/corpus.en", &corpus);
    read_plain("tokenizers/bpe_train/train-bpe-reference-merges.txt", &merges);
    TokenizerTraining options = {.vocab = 500, .special = special, .special_count = 1,
                                 .threads = 2};
    assert_ok(tokenizer_train(&t, &options, 1, one_document, &corpus, &err));
    for (uint32_t i = 0; i < t->merge_count; i++) {
        const int32_t ids[2] = {t->merges[i].left, t->merges[i].right};
        for (size_t k = 0; k < 2; k++) {
            size_t size;
            const char *bytes = tokenizer_bytes(t, ids[k], &size);
            bytelevel_write((const uint8_t *)bytes, size, &made);
            buf_add_char(&made, k ? '\n' : ' ');
        }
    }
    assert_int_equal(t->merge_count, 243);
    while (merges.size && merges.data[merges.size - 1] == '\n')
        merges.data[--merges.size] = 0;
    made.data[--made.size] = 0;
    assert_string_equal(made.data, merges.data);
    tokenizer_free(t);
}

/* ---- a tiktoken file as a Tokenizer ---- */

typedef struct {
    uint8_t bytes[256];
    size_t size;
} Ranked;

/* Lines "base64 rank", in order of rank: the tokens, and a table of their keys. */
static size_t read_ranks(const char *name, Ranked *out, size_t room, json_t *vocab)
{
    auto_buf Buf file;
    auto_buf Buf key;
    buf_init(&file, 16 << 20);
    buf_init(&key, 1024);
    read_xz(name, &file);
    size_t count = 0;
    for (char *line = file.data; *line && count < room; count++) {
        char *blank = strchr(line, ' '), *end = strchr(line, '\n');
        Ranked *token = &out[count];
        assert_int_equal(strtoul(blank + 1, NULL, 10), count);
        int size = EVP_DecodeBlock(token->bytes, (uint8_t *)line, (int)(blank - line));
        assert_true(size > 0);
        token->size = (size_t)size - (blank[-1] == '=') - (blank[-2] == '=');
        buf_reset(&key);
        bytelevel_write(token->bytes, token->size, &key);
        json_object_setn_new(vocab, key.data, key.size, json_integer((json_int_t)count));
        line = end + 1;
    }
    return count;
}

static json_int_t rank_of(const json_t *vocab, const uint8_t *bytes, size_t size)
{
    char key[1024];
    const json_t *value = json_object_getn(vocab, key, bytelevel_text(bytes, size, key));
    return value ? json_integer_value(value) : INT32_MAX;
}

/* Merges the bytes of a token by tokens of lower rank to two parts: where the second begins. */
static size_t split_of(const json_t *vocab, const Ranked *token, json_int_t rank)
{
    size_t cuts[257], parts = token->size; /* part i is bytes cuts[i]..cuts[i + 1] */
    for (size_t i = 0; i <= token->size; i++)
        cuts[i] = i;
    while (parts > 2) {
        json_int_t best = rank;
        size_t at = 0;
        for (size_t i = 0; i + 2 <= parts; i++) {
            json_int_t r = rank_of(vocab, token->bytes + cuts[i], cuts[i + 2] - cuts[i]);
            if (r < best) {
                best = r;
                at = i + 1;
            }
        }
        assert_true(at > 0);
        memmove(cuts + at, cuts + at + 1, (parts - at) * sizeof *cuts);
        parts--;
    }
    return cuts[1];
}

static Tokenizer *from_ranks(const char *name, json_t *pre_tokenizer)
{
    enum { ROOM = 110000 };
    Error err;
    Tokenizer *t = NULL;
    Ranked *tokens = calloc(ROOM, sizeof *tokens);
    auto_json json_t *vocab = json_object();
    json_t *merges = json_array();
    size_t count = read_ranks(name, tokens, ROOM, vocab);
    for (size_t i = 0; i < count; i++) {
        char left[1024], right[1024];
        if (tokens[i].size < 2)
            continue;
        size_t cut = split_of(vocab, &tokens[i], (json_int_t)i);
        size_t a = bytelevel_text(tokens[i].bytes, cut, left);
        size_t b = bytelevel_text(tokens[i].bytes + cut, tokens[i].size - cut, right);
        json_array_append_new(merges, json_pack("[s%,s%]", left, a, right, b));
    }
    auto_json json_t *root = json_pack("{s:o,s:{s:s},s:{s:s,s:O,s:o}}", "pre_tokenizer",
                                       pre_tokenizer, "decoder", "type", "ByteLevel", "model",
                                       "type", "BPE", "vocab", vocab, "merges", merges);
    auto_buf Buf text;
    buf_init(&text, JSON_BYTES_MAX);
    assert_ok(json_dump(root, &text, &err));
    assert_ok(tokenizer_parse(&t, text.data, text.size, name, &err));
    free(tokens);
    return t;
}

static void check_vectors(const Tokenizer *t, const json_t *vectors, const char *only)
{
    Error err;
    size_t i, checked = 0;
    json_t *vector;
    assert_true(json_array_size(vectors) > 0);
    json_array_foreach(vectors, i, vector) {
        const char *of = json_string_value(json_object_get(vector, "tokenizer"));
        if (only && (!of || strcmp(of, only)))
            continue;
        const json_t *text = json_object_get(vector, "text"), *ids = json_object_get(vector, "ids");
        auto_tokens Tokens got;
        tokens_init(&got, 1 << 20);
        assert_ok(tokenizer_encode(t, json_string_value(text), json_string_length(text), &got,
                                   &err));
        bool same = got.count == json_array_size(ids);
        for (size_t k = 0; k < got.count && same; k++)
            same = got.ids[k] == json_integer_value(json_array_get(ids, k));
        if (!same)
            fail_test("vector %zu: '%.60s' gives %zu ids, expected %zu", i, json_string_value(text),
                      got.count, json_array_size(ids));
        checked++;
    }
    print_message("%zu vectors\n", checked);
}

static void check_file(const Tokenizer *t, const char *name, const char *only)
{
    Error err;
    auto_buf Buf text;
    buf_init(&text, 16 << 20);
    if (strstr(name, ".xz"))
        read_xz(name, &text);
    else
        read_plain(name, &text);
    auto_json json_t *root = NULL;
    assert_ok(json_parse(&root, text.data, text.size, name, &err));
    check_vectors(t, json_object_get(root, "vectors"), only);
}

static void ids_of_gpt2(void **state)
{
    (void)state;
    Tokenizer *t = from_ranks("tokenizers/tiktoken/r50k_base.tiktoken.xz",
                              json_pack("{s:s,s:b}", "type", "ByteLevel", "add_prefix_space", 0));
    check_file(t, "vectors/r50k_base.json.xz", NULL);
    check_file(t, "vectors/llamacpp_gpt-2.json", NULL);
    check_file(t, "vectors/tiktoken_published.json", "r50k_base");
    tokenizer_free(t);
}

static void ids_of_cl100k(void **state)
{
    (void)state;
    const char *pattern = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
                          " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    json_t *pre = json_pack("{s:s,s:[{s:s,s:{s:s},s:s,s:b},{s:s,s:b,s:b}]}", "type", "Sequence",
                            "pretokenizers", "type", "Split", "pattern", "Regex", pattern,
                            "behavior", "Isolated", "invert", 0, "type", "ByteLevel",
                            "add_prefix_space", 0, "use_regex", 0);
    Tokenizer *t = from_ranks("tokenizers/tiktoken/cl100k_base.tiktoken.xz", pre);
    check_file(t, "vectors/cl100k_base.json.xz", NULL);
    check_file(t, "vectors/tiktoken_published.json", "cl100k_base");
    tokenizer_free(t);
}

/* A real file of Hugging Face's: NFC, a Split, and a vocabulary that lacks bytes. */
static void a_real_file_loads(void **state)
{
    (void)state;
    Error err;
    Tokenizer *t = NULL;
    char path[1024];
    assert_ok(fs_join(path, sizeof path, material, "tokenizers/hf/tiny_bpe_tokenizer.json", &err));
    assert_ok(tokenizer_load(&t, path, &err));
    auto_tokens Tokens ids;
    auto_buf Buf back;
    tokens_init(&ids, 100);
    buf_init(&back, 100);
    assert_ok(tokenizer_encode(t, "Hello, it's 12 o'clock\n", 23, &ids, &err));
    assert_ok(tokenizer_decode(t, ids.ids, ids.count, false, &back, &err));
    assert_string_equal(back.data, "Hello, it's 12 o'clock\n");
    assert_fails(tokenizer_encode(t, "\xff", 1, &ids, &err), ERR_INPUT, "0xFF");
    tokenizer_free(t);
}

/* One field of a line of NormalizationTest.txt: code points in hexadecimal, as UTF-8. */
static const char *read_points(const char *field, Buf *out)
{
    buf_reset(out);
    for (; *field != ';'; field += *field == ' ') {
        uint8_t bytes[4];
        char *end;
        long point = strtol(field, &end, 16);
        buf_add(out, bytes, (size_t)utf8proc_encode_char((int32_t)point, bytes));
        field = end;
    }
    return field + 1;
}

static void nfc_as_unicode_says(void **state)
{
    (void)state;
    static const int nfc_of[5] = {1, 1, 1, 3, 3}; /* the column that is the NFC of each */
    Error err;
    auto_buf Buf file;
    auto_buf Buf got;
    Buf columns[5];
    buf_init(&file, 16 << 20);
    buf_init(&got, 1000);
    for (int i = 0; i < 5; i++)
        buf_init(&columns[i], 1000);
    read_xz("tokenizers/unicode/NormalizationTest.txt.xz", &file);
    size_t checked = 0;
    for (const char *line = file.data; *line; line = strchr(line, '\n') + 1) {
        if (*line == '#' || *line == '@' || *line == '\n')
            continue;
        const char *field = line;
        for (int i = 0; i < 5; i++)
            field = read_points(field, &columns[i]);
        for (int i = 0; i < 5; i++) {
            buf_reset(&got);
            assert_ok(nfc_append(columns[i].data, columns[i].size, &got, &err));
            if (strcmp(got.data, columns[nfc_of[i]].data))
                fail_test("column %d of: %.80s", i + 1, line);
        }
        checked++;
    }
    print_message("%zu lines\n", checked);
    assert_true(checked > 10000);
    for (int i = 0; i < 5; i++)
        buf_done(&columns[i]);
}

int main(void)
{
    const char *shared = getenv("BASTIDE_SHARED");
    snprintf(material, sizeof material, "%s/material", shared ? shared : "");
    if (!shared || !fs_is_dir(material)) {
        fprintf(stderr, "SKIPPED: BASTIDE_SHARED names no folder with material/\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_gives_the_reference_merges),
        cmocka_unit_test(ids_of_gpt2),
        cmocka_unit_test(ids_of_cl100k),
        cmocka_unit_test(a_real_file_loads),
        cmocka_unit_test(nfc_as_unicode_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
