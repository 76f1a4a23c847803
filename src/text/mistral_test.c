/* mistral_test.c: against mistral-common, request by request and version by version
 * (tests/golden/mistral). */
#include "text/mistral_format.h"

#include "base/mem.h"
#include "base/test.h"
#include "format/json.h"

#include <stdio.h>

static Tokenizer *tokenizer;
static json_t *cases;

static void golden_path(char *out, size_t room, const char *file)
{
    const char *source = getenv("BASTIDE_SOURCE");
    snprintf(out, room, "%s/tests/golden/mistral/%s", source ? source : ".", file);
}

static int open_all(void **state)
{
    (void)state;
    Error err;
    char path[1024];
    golden_path(path, sizeof path, "tokenizer.json");
    assert_ok(tokenizer_load(&tokenizer, path, &err));
    golden_path(path, sizeof path, "cases.json");
    assert_ok(json_read(&cases, path, 1 << 20, &err));
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    tokenizer_free(tokenizer);
    json_decref(cases);
    return 0;
}

static MistralFormat format_of(const char *name)
{
    Error err;
    MistralVersion version;
    MistralFormat format;
    assert_true(mistral_version_named(name, &version));
    assert_ok(mistral_format_init(&format, tokenizer, version, &err));
    return format;
}

static void compare(const Tokens *got, const json_t *want, const char *what)
{
    bool same = got->count == json_array_size(want);
    for (size_t i = 0; same && i < got->count; i++)
        same = got->ids[i] == json_integer_value(json_array_get(want, i));
    if (same)
        return;
    Error err;
    auto_tokens Tokens ids;
    auto_buf Buf expected;
    auto_buf Buf given;
    tokens_init(&ids, 1 << 20);
    buf_init(&expected, 1 << 20);
    buf_init(&given, 1 << 20);
    for (size_t i = 0; i < json_array_size(want); i++)
        tokens_add(&ids, (int32_t)json_integer_value(json_array_get(want, i)));
    assert_ok(tokenizer_decode(tokenizer, ids.ids, ids.count, true, &expected, &err));
    assert_ok(tokenizer_decode(tokenizer, got->ids, got->count, true, &given, &err));
    fail_test("%s: expected %s (%zu ids), got %s (%zu)", what, expected.data, ids.count,
              given.data ? given.data : "", got->count);
}

static void run_chat(json_t *one)
{
    static const struct {
        char letter;
        MistralMode mode;
    } modes[] = {{'s', MISTRAL_SERVING}, {'f', MISTRAL_FINETUNING}, {'a', MISTRAL_ANY}};
    json_t *request = json_array_get(json_object_get(cases, "requests"),
                                     (size_t)json_integer_value(json_object_get(one, "request")));
    const char *name = json_string_value(json_object_get(one, "version"));
    const char *accepted = json_string_value(json_object_get(one, "modes"));
    MistralFormat format = format_of(name);
    char what[2000];
    char *shown = json_dumps(request, 0);
    snprintf(what, sizeof what, "%s %.1900s", name, shown);
    mem_free(shown);
    for (size_t i = 0; i < 3; i++) {
        MistralRequest r = {.messages = json_object_get(request, "messages"),
                            .tools = json_object_get(request, "tools"),
                            .settings = json_object_get(one, "settings"),
                            .mode = modes[i].mode};
        auto_tokens Tokens ids;
        auto_tokens Tokens trained;
        Error err = {0};
        tokens_init(&ids, 1 << 16);
        tokens_init(&trained, 1 << 16);
        bool good = mistral_encode(&format, &r, &ids, &trained, &err);
        if (good != (strchr(accepted, modes[i].letter) != NULL))
            fail_test("%s, mode %c: %s", what, modes[i].letter,
                      good ? "it must be refused" : err.text);
        assert_int_equal(ids.count, trained.count);
        if (good)
            compare(&ids, json_object_get(one, "ids"), what);
        else
            assert_true(ids.count == 0 && err.text[0]);
    }
}

static void equals_mistral_common(void **state)
{
    (void)state;
    json_t *chats = json_object_get(cases, "chat");
    assert_true(json_array_size(chats) > 300);
    for (size_t i = 0; i < json_array_size(chats); i++)
        run_chat(json_array_get(chats, i));
}

static void gaps_are_filled_the_same(void **state)
{
    (void)state;
    json_t *all = json_object_get(cases, "fim");
    for (size_t i = 0; i < json_array_size(all); i++) {
        Error err;
        json_t *one = json_array_get(all, i);
        const json_t *prompt = json_object_get(one, "prompt"), *suffix = json_object_get(one, "suffix");
        MistralFormat format = format_of(json_string_value(json_object_get(one, "version")));
        auto_tokens Tokens ids;
        tokens_init(&ids, 1 << 16);
        assert_ok(mistral_encode_fim(&format, json_string_value(prompt), json_string_length(prompt),
                                     json_string_value(suffix), json_string_length(suffix), &ids,
                                     &err));
        compare(&ids, json_object_get(one, "ids"), json_string_value(prompt));
    }
}

static json_t *three_turns(void)
{
    return json_pack("[{s:s,s:s},{s:s,s:s},{s:s,s:s},{s:s,s:s,s:i},{s:s,s:s},{s:s,s:s}]", "role",
                     "user", "content", "ask", "role", "assistant", "content", "one", "role", "user",
                     "content", "more [INST]", "role", "assistant", "content", "two", "weight", 0,
                     "role", "user", "content", "again", "role", "assistant", "content", "three");
}

/* The trained text, its stretches parted by '|'. */
static void trained_text(const MistralRequest *request, Buf *out)
{
    Error err;
    MistralFormat format = format_of("v7");
    auto_tokens Tokens ids;
    auto_tokens Tokens trained;
    tokens_init(&ids, 1000);
    tokens_init(&trained, 1000);
    assert_ok(mistral_encode(&format, request, &ids, &trained, &err));
    for (size_t i = 0; i < ids.count; i++) {
        if (trained.ids[i])
            assert_ok(tokenizer_decode(tokenizer, &ids.ids[i], 1, true, out, &err));
        else if (i && trained.ids[i - 1])
            buf_add_char(out, '|');
    }
}

static void answers_are_trained(void **state)
{
    (void)state;
    auto_json json_t *messages = three_turns();
    MistralRequest request = {.messages = messages, .mode = MISTRAL_FINETUNING};
    auto_buf Buf out;
    buf_init(&out, 1000);
    trained_text(&request, &out);
    assert_string_equal(out.data, "one</s>|three</s>");
    buf_reset(&out);
    request.train_last_only = true;
    trained_text(&request, &out);
    assert_string_equal(out.data, "three</s>");
}

static void missing_markers_are_named(void **state)
{
    (void)state;
    Error err;
    Tokenizer *bare;
    MistralFormat format;
    TokenizerTraining options = {.vocab = 258, .special = (const char *const[]){"<s>", "</s>"},
                                 .special_count = 2};
    assert_ok(tokenizer_train(&bare, &options, 0, NULL, NULL, &err));
    assert_ok(mistral_format_init(&format, bare, MISTRAL_V1, &err));
    assert_fails(mistral_format_init(&format, bare, MISTRAL_V3, &err), ERR_INPUT,
                 "no special token '[INST]', which Mistral's format v3 needs");
    tokenizer_free(bare);
}

static void limits_and_memory(void **state)
{
    (void)state;
    Error err;
    auto_json json_t *messages = three_turns();
    MistralRequest request = {.messages = messages, .mode = MISTRAL_FINETUNING};
    MistralFormat format = format_of("v13");
    bool done = false;
    for (size_t limit = 0; limit < 40; limit++) {
        auto_tokens Tokens ids;
        tokens_init(&ids, limit);
        if (!mistral_encode(&format, &request, &ids, NULL, &err)) {
            assert_int_equal(err.code, ERR_LIMIT);
            assert_int_equal(ids.count, 0);
        }
    }
    for (int64_t n = 0; !done && n < 300; n++) {
        auto_tokens Tokens ids;
        auto_tokens Tokens trained;
        tokens_init(&ids, 1000);
        tokens_init(&trained, 1000);
        mem_fail_after(n);
        done = mistral_encode(&format, &request, &ids, &trained, &err);
        mem_fail_after(-1);
        assert_true(done || ids.count + trained.count == 0);
    }
    assert_true(done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_mistral_common),   cmocka_unit_test(gaps_are_filled_the_same),
        cmocka_unit_test(answers_are_trained),     cmocka_unit_test(missing_markers_are_named),
        cmocka_unit_test(limits_and_memory),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
