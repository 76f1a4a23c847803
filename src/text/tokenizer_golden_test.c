/* Against numbers of others, from the folder named by BASTIDE_SHARED: merges of a reference
 * trainer, ids of tiktoken, SentencePiece and llama.cpp, Unicode's tests of NFC and NFKC. Skipped, with exit
 * status 77, when the folder is absent. */
#include "base/fs.h"
#include "base/test.h"
#include "format/json.h"
#include "text/nfc.h"
#include "text/tokenizer_formats.h"
#include "text/utf8.h"

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

/* ---- ids of others ---- */

/* The ids give the text back, at once and piece by piece. A model that changes text is left out; one
 * with marks for blanks cannot tell a mark in the text from a blank. */
static void check_text(const Tokenizer *t, const Tokens *ids, const char *text, size_t size)
{
    Error err;
    auto_buf Buf plain;
    buf_init(&plain, 1 << 20);
    for (size_t at = 0; at < size && t->marks;) {
        bool mark = mark_at((const uint8_t *)text + at, size - at);
        buf_add_char(&plain, mark ? ' ' : text[at]);
        at += mark ? MARK_BYTES : 1;
    }
    if (t->marks && size) {
        text = plain.data;
        size = plain.size;
    }
    auto_buf Buf whole;
    auto_buf Buf pieces;
    Detok detok;
    buf_init(&whole, 1 << 20);
    buf_init(&pieces, 1 << 20);
    if (t->kind == TOKENIZER_UNIGRAM)
        return;
    assert_ok(tokenizer_decode(t, ids->ids, ids->count, false, &whole, &err));
    detok_begin(&detok, t);
    for (size_t i = 0; i < ids->count; i++) {
        size_t bytes;
        const char *piece = tokenizer_bytes(t, ids->ids[i], &bytes);
        detok_add(&detok, piece, bytes, &pieces);
    }
    detok_end(&detok, &pieces);
    if (whole.size != size || pieces.size != size ||
        (size && (memcmp(whole.data, text, size) || memcmp(pieces.data, text, size))))
        fail_test("'%.60s' comes back as '%.60s' and '%.60s'", text, whole.data, pieces.data);
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
        if (same)
            check_text(t, &got, json_string_value(text), json_string_length(text));
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

static Tokenizer *read_tokenizer(const char *name)
{
    Error err;
    Tokenizer *t = NULL;
    auto_buf Buf file;
    buf_init(&file, 64 << 20);
    if (strstr(name, ".xz"))
        read_xz(name, &file);
    else
        read_plain(name, &file);
    assert_ok(tokenizer_read(&t, (const uint8_t *)file.data, file.size, name, &err));
    return t;
}

/* Every format against the ids of its own program. */
static void ids_of_every_format(void **state)
{
    (void)state;
    static const struct {
        const char *tokenizer, *vectors, *only;
    } cases[] = {
        {"tiktoken/r50k_base.tiktoken.xz", "r50k_base.json.xz", NULL},
        {"tiktoken/r50k_base.tiktoken.xz", "llamacpp_gpt-2.json", NULL},
        {"tiktoken/r50k_base.tiktoken.xz", "tiktoken_published.json", "r50k_base"},
        {"tiktoken/cl100k_base.tiktoken.xz", "cl100k_base.json.xz", NULL},
        {"tiktoken/cl100k_base.tiktoken.xz", "tiktoken_published.json", "cl100k_base"},
        {"mistral/tokenizer.model.v1", "mistral_v1.json.xz", NULL},
        {"mistral/mistral_instruct_tokenizer_240323.model.v3", "mistral_v3.json.xz", NULL},
        {"sentencepiece/test_model.model", "sp_test_unigram.json.xz", NULL},
        {"gguf/ggml-vocab-llama-spm.gguf.xz", "llamacpp_llama-spm.json", NULL},
        {"gguf/ggml-vocab-phi-3.gguf.xz", "llamacpp_phi-3.json", NULL},
        {"gguf/ggml-vocab-gpt-2.gguf.xz", "llamacpp_gpt-2.json", NULL},
        {"gguf/ggml-vocab-deepseek-coder.gguf.xz", "llamacpp_deepseek-coder.json", NULL},
    };
    Tokenizer *t = NULL;
    const char *opened = "";
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[200], vectors[200];
        snprintf(name, sizeof name, "tokenizers/%s", cases[i].tokenizer);
        snprintf(vectors, sizeof vectors, "vectors/%s", cases[i].vectors);
        if (strcmp(opened, cases[i].tokenizer)) {
            tokenizer_free(t);
            t = read_tokenizer(name);
            opened = cases[i].tokenizer;
        }
        print_message("%s: ", cases[i].vectors);
        check_file(t, vectors, cases[i].only);
    }
    tokenizer_free(t);
}

/* Written as tokenizer.json and read again, each gives the same ids and the same text back. */
static void saved_and_read_again(void **state)
{
    (void)state;
    static const struct {
        const char *tokenizer, *vectors;
    } cases[] = {
        {"mistral/tokenizer.model.v1", "mistral_v1.json.xz"},
        {"mistral/mistral_instruct_tokenizer_240323.model.v3", "mistral_v3.json.xz"},
        {"tiktoken/cl100k_base.tiktoken.xz", "cl100k_base.json.xz"},
        {"gguf/ggml-vocab-deepseek-coder.gguf.xz", "llamacpp_deepseek-coder.json"},
    };
    Error err;
    const char *path = "tokenizer_golden_test_tmp.json";
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[200];
        snprintf(name, sizeof name, "tokenizers/%s", cases[i].tokenizer);
        Tokenizer *t = read_tokenizer(name), *again = NULL;
        assert_ok(tokenizer_save(t, path, &err));
        assert_ok(tokenizer_open(&again, path, &err));
        snprintf(name, sizeof name, "vectors/%s", cases[i].vectors);
        check_file(again, name, NULL);
        assert_int_equal(tokenizer_vocab(again), tokenizer_vocab(t));
        assert_int_equal(again->before_count, t->before_count);
        if (t->before_count)
            assert_int_equal(tokenizer_bos(again), tokenizer_bos(t));
        tokenizer_free(t);
        tokenizer_free(again);
    }
    assert_ok(fs_remove(path, &err));
}

static void bert_is_refused_by_name(void **state)
{
    (void)state;
    Error err;
    Tokenizer *t = NULL;
    auto_buf Buf file;
    buf_init(&file, 1 << 20);
    read_xz("tokenizers/gguf/ggml-vocab-bert-bge.gguf.xz", &file);
    assert_fails(tokenizer_read(&t, (const uint8_t *)file.data, file.size, "bge.gguf", &err),
                 ERR_FORMAT, "'bert' is not supported");
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
    enum { NFKC_COLUMN = 3 };                     /* that is the NFKC of all */
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
                fail_test("NFC of column %d of: %.80s", i + 1, line);
            buf_reset(&got);
            assert_ok(nfkc_append(columns[i].data, columns[i].size, &got, &err));
            if (strcmp(got.data, columns[NFKC_COLUMN].data))
                fail_test("NFKC of column %d of: %.80s", i + 1, line);
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
        cmocka_unit_test(ids_of_every_format),
        cmocka_unit_test(saved_and_read_again),
        cmocka_unit_test(bert_is_refused_by_name),
        cmocka_unit_test(a_real_file_loads),
        cmocka_unit_test(nfc_as_unicode_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
