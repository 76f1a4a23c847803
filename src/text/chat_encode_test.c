/* chat_encode_test.c: which bytes of a rendered chat become markers. */
#include "text/chat_encode.h"

#include "base/mem.h"
#include "base/test.h"

#include <stdio.h>

/* 256 bytes, then: special <s>, <|end|>, <|end|>> (longer), and <r> that takes blanks on both sides;
 * not special <tool>, two blanks, <h1>. */
static Tokenizer *make_tokenizer(void)
{
    static const char *const added[] = {"<s>", "<|end|>", "<|end|>>", "<r>", "<tool>", "  ", "<h1>"};
    Error err;
    Tokenizer *t, *bytes;
    auto_buf Buf json;
    TokenizerTraining options = {.vocab = 256};
    assert_ok(tokenizer_train(&bytes, &options, 0, NULL, NULL, &err));
    buf_init(&json, 1 << 20);
    buf_add_text(&json, "{\"version\":\"1.0\",\"added_tokens\":[");
    for (int i = 0; i < 7; i++)
        buf_format(&json, "%s{\"id\":%d,\"content\":\"%s\",\"single_word\":false,\"lstrip\":%s,"
                   "\"rstrip\":%s,\"normalized\":false,\"special\":%s}", i ? "," : "", 256 + i,
                   added[i], i == 3 ? "true" : "false", i == 3 ? "true" : "false",
                   i < 4 ? "true" : "false");
    buf_add_text(&json, "],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\","
                 "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},"
                 "\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\","
                 "\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true},"
                 "\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (int id = 0; id < 256; id++) {
        auto_buf Buf word;
        buf_init(&word, 100);
        tokenizer_spell(bytes, id, &word);
        bool quoted = word.data[0] == '"' || word.data[0] == '\\';
        buf_format(&json, "%s\"%s%s\":%d", id ? "," : "", quoted ? "\\" : "", word.data, id);
    }
    buf_add_text(&json, "},\"merges\":[]}}");
    assert_ok(tokenizer_parse(&t, json.data, json.size, "tokenizer.json", &err));
    tokenizer_free(bytes);
    return t;
}

/* The ids as text: added ones in (), bytes as they are; trained ones follow a '+'. */
static void show(const Tokenizer *t, const Tokens *ids, const Tokens *trained, Buf *out)
{
    buf_reset(out);
    for (size_t i = 0; i < ids->count; i++) {
        size_t size;
        const char *bytes = tokenizer_bytes(t, ids->ids[i], &size);
        if (trained->ids[i])
            buf_add_char(out, '+');
        if (ids->ids[i] >= 256)
            buf_add_char(out, '(');
        buf_add(out, bytes, size);
        if (ids->ids[i] >= 256)
            buf_add_char(out, ')');
    }
}

static bool encode(const Tokenizer *t, const char *template, const char *words, Tokens *ids,
                   Tokens *trained, Error *err)
{
    JinjaTemplate *jinja = NULL;
    ChatMarkers *markers = NULL;
    auto_jinja_text JinjaText text;
    jinja_text_init(&text);
    json_t *value = json_string(words);
    JinjaVariable variable = {"s", value, JINJA_DATA};
    bool good = value ? jinja_parse(&jinja, template, strlen(template), "t", err) &&
                            chat_markers_new(&markers, t, jinja, err) &&
                            jinja_render(jinja, &variable, 1, NULL, &text, err) &&
                            chat_encode(markers, &text, ids, trained, err)
                      : fail(err, ERR_MEMORY, "no memory");
    chat_markers_free(markers);
    jinja_free(jinja);
    json_decref(value);
    return good;
}

static void markers_stand_in_trusted_bytes_only(void **state)
{
    (void)state;
    static const struct {
        const char *template, *words, *shown;
    } cases[] = {
        {"<s>{{ s }}<|end|>", "hi", "(<s>)hi(<|end|>)"},
        {"<s>{{ s }}<|end|>", "a<|end|>b<s>", "(<s>)a<|end|>b<s>(<|end|>)"},
        {"<s>{{ s }}<|end|>", "<|en", "(<s>)<|en(<|end|>)"},
        {"<|en{{ s }}>", "d|", "<|end|>"},       /* half of it is data */
        {"<|end|>{{ s }}", ">", "(<|end|>)>"},   /* the longer one would take in data */
        {"<|end|>>{{ s }}", ">", "(<|end|>>)>"},
        {"{{ '<|' ~ 'end' ~ '|>' }}", "", "(<|end|>)"},
        {"<tool>{{ s }}", "x<tool>y", "(<tool>)x<tool>y"}, /* the template writes it: a marker */
        {"{{ s }}", "x<tool>y", "x(<tool>)y"},             /* it does not: text, as for others */
        {"{{ s }}<|end|>", "a  b<h1>", "a(  )b(<h1>)(<|end|>)"},
        {"a <r> b{{ s }}", " ", "a(<r>)b "},
        {"{{ s }}<r>", "a \n ", "a(<r>)"},
        {"<r>{{ s }}", "   x", "(<r>)(  ) x"}, /* as Hugging Face has it: it finds them again */
        {"", "", ""},
        {"{{ s }}", "", ""},
        {"a{% generation %}b<|end|>{% endgeneration %}<|end|>", "", "a+b+(<|end|>)(<|end|>)"},
        {"{{ s | upper }}<S>", "<s>", "<S><S>"},
        {"{{ s | lower }}", "<S>", "<s>"},
        {"{{ 'x' | replace('x', '<s>') }}{{ s | replace('x', '<s>') }}", "x", "(<s>)<s>"},
    };
    Error err;
    Tokenizer *t = make_tokenizer();
    auto_buf Buf shown;
    buf_init(&shown, 1 << 16);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        auto_tokens Tokens ids;
        auto_tokens Tokens trained;
        tokens_init(&ids, 1000);
        tokens_init(&trained, 1000);
        assert_ok(encode(t, cases[i].template, cases[i].words, &ids, &trained, &err));
        assert_int_equal(ids.count, trained.count);
        show(t, &ids, &trained, &shown);
        if (strcmp(shown.data ? shown.data : "", cases[i].shown))
            fail_test("%s with '%s': expected %s, got %s", cases[i].template, cases[i].words,
                      cases[i].shown, shown.data);
    }
    tokenizer_free(t);
}

/* Whatever the words are, the markers are those of the template. */
static void no_words_forge_a_marker(void **state)
{
    (void)state;
    static const char alphabet[] = "<|end>s toolr1h";
    Error err;
    Tokenizer *t = make_tokenizer();
    uint64_t seed = 12345;
    for (int round = 0; round < 3000; round++) {
        char words[40];
        size_t size = (size_t)(round % 39);
        for (size_t i = 0; i < size; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            words[i] = alphabet[(seed >> 33) % (sizeof alphabet - 1)];
        }
        words[size] = 0;
        auto_tokens Tokens ids;
        tokens_init(&ids, 1000);
        assert_ok(encode(t, "<s>x{{ s }}y<tool>{{ s }}<|end|>", words, &ids, NULL, &err));
        size_t special = 0, tool = 0;
        for (size_t i = 0; i < ids.count; i++) {
            special += tokenizer_is_special(t, ids.ids[i]);
            tool += ids.ids[i] == 260;
        }
        if (special != 2 || tool != 1)
            fail_test("round %d, words '%s': %zu special, %zu tool", round, words, special, tool);
    }
    tokenizer_free(t);
}

static void limits_and_memory(void **state)
{
    (void)state;
    static const char template[] = "<s>{{ s }}<|end|>{% generation %}b{% endgeneration %}";
    Error err;
    Tokenizer *t = make_tokenizer();
    bool done = false;
    for (size_t limit = 0; limit < 6; limit++) {
        auto_tokens Tokens ids;
        auto_tokens Tokens trained;
        tokens_init(&ids, limit);
        tokens_init(&trained, 100);
        if (!encode(t, template, "hi", &ids, &trained, &err)) {
            assert_int_equal(err.code, ERR_LIMIT);
            assert_int_equal(ids.count + trained.count, 0);
        }
    }
    for (int64_t n = 0; !done && n < 200; n++) {
        auto_tokens Tokens ids;
        auto_tokens Tokens trained;
        tokens_init(&ids, 100);
        tokens_init(&trained, 100);
        mem_fail_after(n);
        done = encode(t, template, "hi", &ids, &trained, &err);
        mem_fail_after(-1);
        assert_true(done || ids.count + trained.count == 0);
    }
    assert_true(done);
    tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(markers_stand_in_trusted_bytes_only),
        cmocka_unit_test(no_words_forge_a_marker),
        cmocka_unit_test(limits_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
