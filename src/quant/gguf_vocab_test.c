#include "base/test.h"

#include "base/mem.h"
#include "quant/gguf_vocab.h"
#include "text/text_fixture.h"

#include <stdio.h>
#include <unistd.h>

enum { VOCAB = 300, SPARE = 3 };

static char file[64];

static Model *make_model(Tokenizer *tokenizer, const ChatTemplate *chat)
{
    Error err = {0};
    Model *model = NULL;
    ModelConfig config = {.layers = 1, .width = 8, .heads = 1, .kv_heads = 1, .head_width = 8,
                          .ff_width = 8, .vocab = tokenizer_vocab(tokenizer) + SPARE,
                          .context = 16, .eps = 1e-5f, .theta = 10000};
    assert_ok(model_new(&model, family_named("llama"), &config, tokenizer, chat, "small", 3, &err));
    return model;
}

static bool write_vocab(const Model *model, Error *err)
{
    GgufWriter *w;
    if (!gguf_writer_new(&w, err))
        return false;
    bool ok = gguf_vocab_add(w, model, err) && gguf_begin(w, file, err) && gguf_commit(w, err);
    gguf_writer_free(w);
    return ok;
}

static void next_is(const uint8_t **at, const char *want)
{
    const char *text;
    uint64_t bytes;
    gguf_next_text(at, &text, &bytes);
    if (bytes != strlen(want) || memcmp(text, want, bytes) != 0)
        fail_test("text is '%.*s', expected '%s'", (int)bytes, text, want);
}

static void tokens_kinds_and_merges_are_told(void **state)
{
    (void)state;
    Error err = {0};
    Tokenizer *t;
    Gguf *gguf;
    const GgufValue *tokens, *kinds, *merges;
    assert_ok(fixture_tokenizer(&t, VOCAB, 1, &err));
    Model *model = make_model(t, chat_template_default());
    uint32_t vocab = tokenizer_vocab(t), end;
    assert_ok(write_vocab(model, &err));
    assert_ok(gguf_open(&gguf, file, &err));
    uint64_t all = vocab + SPARE;
    assert_ok(gguf_need_array(gguf, "tokenizer.ggml.tokens", GGUF_TEXT, all, all, &tokens, &err));
    assert_ok(gguf_need_array(gguf, "tokenizer.ggml.token_type", GGUF_I32, all, all, &kinds, &err));
    assert_ok(gguf_need_array(gguf, "tokenizer.ggml.merges", GGUF_TEXT, vocab - 261, vocab - 261,
                              &merges, &err));
    const uint8_t *at = tokens->bytes, *merge_at = merges->bytes;
    for (uint32_t id = 0; id < all; id++) {
        auto_buf Buf spelled;
        buf_init(&spelled, 4096);
        if (id < vocab)
            tokenizer_spell(t, (int32_t)id, &spelled);
        else
            buf_format(&spelled, "[PAD%u]", id);
        next_is(&at, spelled.data);
        assert_int_equal((int)gguf_number(kinds, id), id < 5 ? 3 : id < vocab ? 1 : 5);
    }
    for (uint32_t rank = 0; rank < tokenizer_merges(t); rank++) {
        auto_buf Buf pair;
        int32_t left, right;
        buf_init(&pair, 4096);
        tokenizer_merge_at(t, rank, &left, &right);
        tokenizer_spell(t, left, &pair);
        buf_add_char(&pair, ' ');
        tokenizer_spell(t, right, &pair);
        next_is(&merge_at, pair.data);
    }
    assert_ok(gguf_need_u32(gguf, "tokenizer.ggml.eos_token_id", 0, 999, &end, &err));
    assert_int_equal(end, 4);
    gguf_close(gguf);
    model_free(model);
}

static void special_tokens_are_raw_and_bytes_are_spelled(void **state)
{
    (void)state;
    Error err = {0};
    Tokenizer *t;
    auto_buf Buf out;
    buf_init(&out, 4096);
    assert_ok(fixture_tokenizer(&t, VOCAB, 1, &err));
    assert_true(tokenizer_is_plain_gpt2(t));
    assert_false(tokenizer_is_added_text(t, 4));
    tokenizer_spell(t, 4, &out);
    tokenizer_spell(t, -1, &out);
    tokenizer_spell(t, 1 << 20, &out);
    assert_string_equal(out.data, "<|end|>");
    bool blank_seen = false;
    for (int32_t id = 5; id < 261; id++) {
        size_t size;
        const char *bytes = tokenizer_bytes(t, id, &size);
        if (size != 1 || *bytes != ' ')
            continue;
        buf_reset(&out);
        tokenizer_spell(t, id, &out);
        assert_string_equal(out.data, "\xc4\xa0"); /* U+0120 */
        blank_seen = true;
    }
    assert_true(blank_seen);
    tokenizer_free(t);
}

/* Three bytes of vocabulary are enough for a tokenizer whose rule has no name in the format. */
static void another_rule_of_cutting_is_refused(void **state)
{
    (void)state;
    Error err = {0};
    Tokenizer *t = NULL;
    static const char json[] =
        "{\"version\":\"1.0\",\"added_tokens\":[],\"normalizer\":{\"type\":\"NFC\"},"
        "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},"
        "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,"
        "\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}";
    assert_ok(tokenizer_parse(&t, json, strlen(json), "tokenizer.json", &err));
    Model *model = make_model(t, NULL);
    assert_fails(write_vocab(model, &err), ERR_INPUT, "does not cut text as GPT-2's does");
    model_free(model);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    Error err = {0};
    Tokenizer *t;
    assert_ok(fixture_tokenizer(&t, VOCAB, 1, &err));
    Model *model = make_model(t, chat_template_default());
    int n = 0;
    for (;; n++) {
        mem_fail_after(n);
        bool ok = write_vocab(model, &err);
        mem_fail_after(-1);
        if (ok)
            break;
        assert_true(err.code == ERR_MEMORY || err.code == ERR_LIMIT); /* see buf_ok */
    }
    assert_true(n > 8);
    model_free(model);
}

static int make_file(void **state)
{
    (void)state;
    snprintf(file, sizeof file, "/tmp/gguf_vocab_test_XXXXXX");
    int fd = mkstemp(file);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_kinds_and_merges_are_told),
        cmocka_unit_test(special_tokens_are_raw_and_bytes_are_spelled),
        cmocka_unit_test(another_rule_of_cutting_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
