/* mistral_samples_test.c: mistral-common's own samples and vectors with its SentencePiece files, from
 * the folder named by BASTIDE_SHARED. Skipped, with exit status 77, when it is absent. */
#include "base/fs.h"
#include "base/test.h"
#include "format/json.h"
#include "text/mistral_format.h"

#include <stdio.h>

static char material[1024];

static void open_format(const char *file, MistralVersion version, Tokenizer **tokenizer,
                        MistralFormat *format)
{
    Error err;
    char path[1200];
    snprintf(path, sizeof path, "%s/tokenizers/mistral/%s", material, file);
    assert_ok(tokenizer_open(tokenizer, path, &err));
    assert_ok(mistral_format_init(format, *tokenizer, version, &err));
}

static json_t *read_json(const char *folder, const char *file)
{
    Error err;
    char path[1200];
    json_t *value = NULL;
    snprintf(path, sizeof path, "%s/%s/%s", material, folder, file);
    assert_ok(json_read(&value, path, 4 << 20, &err));
    return value;
}

static void run_sample(const MistralFormat *format, const char *name, const char *tokens)
{
    Error err;
    char folder[200];
    snprintf(folder, sizeof folder, "tokenizers/mistral/samples/%s", name);
    auto_json json_t *sample = read_json(folder, "sample.json");
    auto_json json_t *file = read_json(folder, tokens);
    const json_t *want = json_is_array(file) ? file : json_object_get(file, "tokens");
    MistralRequest request = {.messages = json_object_get(sample, "messages"),
                              .tools = json_object_get(sample, "tools"), .mode = MISTRAL_ANY};
    auto_tokens Tokens ids;
    tokens_init(&ids, 1 << 16);
    assert_ok(mistral_encode(format, &request, &ids, NULL, &err));
    if (ids.count != json_array_size(want))
        fail_test("%s: expected %zu ids, got %zu", name, json_array_size(want), ids.count);
    for (size_t i = 0; i < ids.count; i++)
        if (ids.ids[i] != json_integer_value(json_array_get(want, i)))
            fail_test("%s: id %zu is %d, expected %lld", name, i, (int)ids.ids[i],
                      (long long)json_integer_value(json_array_get(want, i)));
}

static void samples_give_their_ids(void **state)
{
    (void)state;
    static const char *const names[] = {"no_tools", "get_weather_no_history",
                                        "get_weather_no_system_prompt", "several_calls"};
    Tokenizer *tokenizer;
    MistralFormat format;
    open_format("tokenizer.model.v1", MISTRAL_V1, &tokenizer, &format);
    run_sample(&format, names[0], "tokens_v1.json");
    tokenizer_free(tokenizer);
    open_format("mistral_instruct_tokenizer_240323.model.v3", MISTRAL_V3, &tokenizer, &format);
    for (size_t i = 0; i < 4; i++)
        run_sample(&format, names[i], "tokens_v3.json");
    tokenizer_free(tokenizer);
}

/* The vectors are of requests after parts were joined; one that still has a list is none of ours. */
static bool has_list(const json_t *messages)
{
    for (size_t i = 0; i < json_array_size(messages); i++)
        if (json_is_array(json_object_get(json_array_get(messages, i), "content")))
            return true;
    return false;
}

/* The vectors spell pieces as SentencePiece does. */
static void spell(const Tokenizer *tokenizer, const Tokens *ids, Buf *out)
{
    buf_reset(out);
    for (size_t i = 0; i < ids->count; i++)
        tokenizer_spell(tokenizer, ids->ids[i], out);
}

static bool run_vector(const json_t *vector, const MistralFormat *format, Buf *shown)
{
    Error err;
    json_t *input = json_array_get(json_object_get(vector, "input"), 0);
    const char *op = json_string_value(json_object_get(vector, "op"));
    const char *want = json_string_value(json_object_get(json_object_get(vector, "expect"), "text"));
    auto_tokens Tokens ids;
    tokens_init(&ids, 1 << 16);
    if (!want)
        return false;
    if (!strcmp(op, "encode_fim")) {
        const json_t *prompt = json_object_get(input, "prompt");
        const json_t *suffix = json_object_get(input, "suffix");
        assert_ok(mistral_encode_fim(format, json_string_value(prompt), json_string_length(prompt),
                                     json_string_value(suffix), json_string_length(suffix), &ids,
                                     &err));
    } else {
        MistralRequest request = {.messages = json_object_get(input, "messages"),
                                  .tools = json_object_get(input, "available_tools"),
                                  .mode = MISTRAL_ANY};
        const json_t *system = json_object_get(input, "system_prompt");
        if (strcmp(op, "encode_instruct") || has_list(request.messages) ||
            json_is_true(json_object_get(input, "continue_final_message")))
            return false;
        if (system)
            assert_int_equal(0, json_array_insert_new(request.messages, 0,
                                                      json_pack("{s:s,s:O}", "role", "system",
                                                                "content", system)));
        if (!mistral_encode(format, &request, &ids, NULL, &err))
            return false; /* ids of one digit, which a request of today may not have */
    }
    spell(format->tokenizer, &ids, shown);
    assert_string_equal(shown->data, want);
    return true;
}

static void vectors_give_their_text(void **state)
{
    (void)state;
    auto_json json_t *file = read_json("vectors", "mistral_common_tests.json");
    json_t *vectors = json_object_get(file, "vectors");
    Tokenizer *tokenizers[2];
    MistralFormat formats[2];
    auto_buf Buf shown;
    size_t run = 0;
    buf_init(&shown, 1 << 20);
    open_format("tokenizer.model.v1", MISTRAL_V1, &tokenizers[0], &formats[0]);
    open_format("mistral_instruct_tokenizer_240323.model.v3", MISTRAL_V3, &tokenizers[1], &formats[1]);
    for (size_t i = 0; i < json_array_size(vectors); i++) {
        json_t *vector = json_array_get(vectors, i);
        const char *name = json_string_value(json_object_get(vector, "tokenizer"));
        if (name && !strcmp(name, "mistral v1 spm"))
            run += run_vector(vector, &formats[0], &shown);
        else if (name && !strcmp(name, "mistral v3 spm"))
            run += run_vector(vector, &formats[1], &shown);
    }
    print_message("%zu vectors\n", run);
    assert_true(run >= 5);
    tokenizer_free(tokenizers[0]);
    tokenizer_free(tokenizers[1]);
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
        cmocka_unit_test(samples_give_their_ids),
        cmocka_unit_test(vectors_give_their_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
