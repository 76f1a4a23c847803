#include "serve/request.h"

#include "base/test.h"
#include "format/json.h"
#include "infer/sampler_options.h"

#include <stdio.h>

static Arena arena;
static RequestFault fault;

static bool parse(RequestShape shape, const char *body, GenerateRequest *out, Error *err)
{
    arena_done(&arena);
    arena_init(&arena, 1 << 20);
    return request_parse(shape, body, strlen(body), &arena, out, &fault, err);
}

#define CHAT(more) "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]" more "}"
#define TEXT(more) "{\"model\":\"m\",\"prompt\":\"hi\"" more "}"

static void refused(RequestShape shape, const char *body, Fault want, const char *param)
{
    Error err = {0};
    GenerateRequest request;
    if (parse(shape, body, &request, &err))
        fail_test("accepted: %s", body);
    if (fault.fault != want || strcmp(fault.param, param) != 0 || !err.text[0])
        fail_test("%s: fault %d of '%s' \"%s\", expected %d of '%s'", body, (int)fault.fault,
                  fault.param, err.text, (int)want, param);
}

static void defaults_are_openai_s(void **state)
{
    (void)state;
    Error err;
    GenerateRequest r;
    assert_ok(parse(SHAPE_CHAT, CHAT(""), &r, &err));
    assert_string_equal(r.model, "m");
    assert_false(r.stream || r.seeded || r.submit.logprobs);
    assert_int_equal(r.submit.tokens_max, 0);
    assert_int_equal(r.submit.n, 1);
    assert_near((double)r.submit.sampling.temperature, 1, 0);
    assert_near((double)r.submit.sampling.top_p, 1, 0);
    assert_near((double)r.submit.sampling.repetition_penalty, 1, 0);
    assert_near((double)r.submit.sampling.dry_multiplier, 0, 0);
    assert_int_equal(r.submit.sampling.repeat_last_n, -1);
    assert_int_equal(r.submit.part_count, 1);
    assert_int_equal(r.submit.parts[0].kind, PART_USER);
    assert_string_equal(r.submit.parts[0].text.text, "hi");
    assert_ok(parse(SHAPE_TEXT, TEXT(""), &r, &err));
    assert_int_equal(r.submit.tokens_max, 16);
    assert_int_equal(r.submit.parts[0].kind, PART_TEXT);
}

static void fields_are_read(void **state)
{
    (void)state;
    Error err;
    GenerateRequest r;
    assert_ok(parse(SHAPE_CHAT, CHAT(",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
                                     "\"max_tokens\":5,\"max_completion_tokens\":6,\"n\":2,"
                                     "\"temperature\":0,\"top_p\":0,\"seed\":-1,\"stop\":[\"a\","
                                     "\"b\"],\"logprobs\":true,\"top_logprobs\":20"),
                    &r, &err));
    assert_true(r.stream && r.include_usage && r.seeded);
    assert_int_equal(r.submit.tokens_max, 6);
    assert_int_equal(r.submit.n, 2);
    assert_true(r.submit.sampling.seed == UINT64_MAX);
    assert_true(r.submit.sampling.top_p > 0); /* the engine would read 0 as 1 */
    assert_int_equal(r.submit.stop_count, 2);
    assert_string_equal(r.submit.stops[1].text, "b");
    assert_int_equal(r.submit.alternatives, 20);
    assert_ok(parse(SHAPE_TEXT, "{\"model\":\"m\",\"prompt\":[[1,2],[3]],\"logprobs\":0}", &r,
                    &err));
    assert_true(r.submit.logprobs);
    assert_int_equal(r.submit.alternatives, 0);
    assert_int_equal(r.submit.part_count, 2);
    assert_int_equal(r.submit.parts[0].count, 2);
    assert_int_equal(r.submit.parts[1].ids[0], 3);
    assert_ok(parse(SHAPE_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"developer\","
                                "\"content\":[{\"type\":\"text\",\"text\":\"a\\u0000\"},"
                                "{\"type\":\"text\",\"text\":\"b\"}]},{\"role\":\"user\",\"content\":\"\"},"
                                "{\"role\":\"assistant\",\"content\":\"x\",\"refusal\":null,"
                                "\"tool_calls\":[]}]}",
                    &r, &err));
    assert_int_equal(r.submit.parts[0].kind, PART_SYSTEM);
    assert_int_equal(r.submit.parts[0].text.size, 3);
    assert_memory_equal(r.submit.parts[0].text.text, "a\0b", 3);
    assert_int_equal(r.submit.parts[2].kind, PART_ASSISTANT);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    refused(SHAPE_CHAT, "", FAULT_JSON, "");
    refused(SHAPE_CHAT, "[1]", FAULT_JSON, "");
    refused(SHAPE_CHAT, "{\"model\":\"m\",\"model\":\"m\"}", FAULT_JSON, "");
    refused(SHAPE_CHAT, "{\"model\":\"m\"}", FAULT_MISSING, "messages");
    refused(SHAPE_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"\"}]}", FAULT_MISSING,
            "model");
    refused(SHAPE_CHAT, CHAT(",\"model_\":1"), FAULT_UNKNOWN, "model_");
    refused(SHAPE_CHAT, CHAT(",\"prompt\":\"x\""), FAULT_UNKNOWN, "prompt");
    refused(SHAPE_TEXT, TEXT(",\"tools\":[]"), FAULT_UNKNOWN, "tools");
    refused(SHAPE_TEXT, TEXT(",\"echo\":true"), FAULT_UNSUPPORTED, "echo");
    refused(SHAPE_TEXT, TEXT(",\"suffix\":\"x\""), FAULT_UNSUPPORTED, "suffix");
    refused(SHAPE_TEXT, TEXT(",\"best_of\":2"), FAULT_UNSUPPORTED, "best_of");
    refused(SHAPE_TEXT, TEXT(",\"logprobs\":true"), FAULT_VALUE, "logprobs");
    refused(SHAPE_CHAT, CHAT(",\"logprobs\":1"), FAULT_VALUE, "logprobs");
    refused(SHAPE_CHAT, CHAT(",\"stop\":[\"a\",1]"), FAULT_VALUE, "stop");
    refused(SHAPE_CHAT, CHAT(",\"stop\":\"a\\u0000\""), FAULT_VALUE, "stop");
    refused(SHAPE_CHAT, CHAT(",\"tool_choice\":\"required\""), FAULT_UNSUPPORTED, "tool_choice");
    refused(SHAPE_CHAT, CHAT(",\"service_tier\":\"a\""), FAULT_UNSUPPORTED, "service_tier");
    refused(SHAPE_CHAT, CHAT(",\"metadata\":{\"a\":1}"), FAULT_VALUE, "metadata");
    refused(SHAPE_CHAT, CHAT(",\"reasoning_effort\":\"high\""), FAULT_UNSUPPORTED,
            "reasoning_effort");
    refused(SHAPE_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\"},"
                        "{\"role\":\"tool\",\"content\":\"\"}]}",
            FAULT_UNSUPPORTED, "messages[1].role");
    refused(SHAPE_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\"}]}", FAULT_MISSING,
            "messages[0].content");
    refused(SHAPE_CHAT, "{\"model\":\"m\",\"messages\":[7]}", FAULT_VALUE, "messages[0]");
    refused(SHAPE_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\","
                        "\"name\":\"bob\"}]}",
            FAULT_UNSUPPORTED, "messages[0].name");
    refused(SHAPE_TEXT, "{\"model\":\"m\",\"prompt\":[1,\"a\"]}", FAULT_VALUE, "prompt");
    refused(SHAPE_TEXT, "{\"model\":\"m\",\"prompt\":[\"a\",1]}", FAULT_VALUE, "prompt");
    refused(SHAPE_TEXT, "{\"model\":\"m\",\"prompt\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\","
                        "\"h\",\"i\"],\"n\":8}",
            FAULT_VALUE, "prompt");
}

/* Every row of the sampler's table: its ends, beyond them, and every wrong type, in both shapes. */
static void sampling_options_have_ranges(void **state)
{
    (void)state;
    Error err;
    GenerateRequest r;
    char body[300];
    for (uint32_t i = 0; i < 2 * sampler_options_count; i++) {
        const SamplerOption *o = &sampler_options[i / 2];
        const char *name = i % 2 && o->alias ? o->alias : o->name;
        bool whole = o->kind == OPTION_WHOLE, plain = whole || o->kind == OPTION_NUMBER;
        const double good[] = {o->low, o->high, o->initial};
        const double bad[] = {o->low - 1, o->high + 1, -1e18, 1e18};
        const char *const other[] = {"\"1\"", "true", "[1]", "{\"a\":1}"};
        for (int k = 0; k < 3 && plain; k++) {
            snprintf(body, sizeof body, whole ? CHAT(",\"%s\":%.0f") : CHAT(",\"%s\":%.6f"), name,
                     good[k]);
            assert_ok(parse(SHAPE_CHAT, body, &r, &err));
            assert_near(sampler_option_value(&r.submit.sampling, o), good[k] == 0 ? o->least : good[k], 1e-6);
        }
        for (int k = 0; k < 4; k++) {
            snprintf(body, sizeof body, CHAT(",\"%s\":%.0f"), name, bad[k]);
            if (o->kind != OPTION_SEED)
                refused(SHAPE_CHAT, body, FAULT_VALUE, name);
            snprintf(body, sizeof body, TEXT(",\"%s\":%s"), name, other[k]);
            refused(SHAPE_TEXT, body, FAULT_VALUE, name);
        }
        snprintf(body, sizeof body, CHAT(",\"%s\":1.5"), name);
        if (whole || o->kind == OPTION_SEED)
            refused(SHAPE_CHAT, body, FAULT_VALUE, name);
        snprintf(body, sizeof body, TEXT(",\"%s\":null"), name);
        assert_ok(parse(SHAPE_TEXT, body, &r, &err));
    }
    assert_ok(parse(SHAPE_CHAT, CHAT(",\"random_seed\":77,\"logit_bias\":{\"5\":-100,\"0\":1},"
                                     "\"dry_sequence_breakers\":[\"a\",\"\\n\"]"), &r, &err));
    assert_true(r.seeded && r.submit.sampling.seed == 77);
    assert_int_equal(r.submit.sampling.bias_count, 2);
    assert_int_equal(r.submit.sampling.bias[0].id, 5);
    assert_string_equal(r.submit.sampling.breakers[1], "\n");
}

/* Each number at and beyond its ends, and as everything it is not. */
static void numbers_have_ranges(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double low, high;
        bool whole;
    } rows[] = {{"temperature", 0, 2, false}, {"top_p", 0, 1, false}, {"n", 1, 8, true},
                {"max_tokens", 1, 1 << 30, true}, {"max_completion_tokens", 1, 1 << 30, true},
                {"presence_penalty", -2, 2, false}};
    Error err;
    GenerateRequest r;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const double good[] = {rows[i].low, rows[i].high};
        const double bad[] = {rows[i].low - 1, rows[i].high + 1, -1e18, 1e18};
        const char *const other[] = {"\"1\"", "true", "[1]", "{}"};
        char body[200];
        for (int k = 0; k < 2; k++) {
            snprintf(body, sizeof body, CHAT(",\"%s\":%.0f"), rows[i].name, good[k]);
            assert_ok(parse(SHAPE_CHAT, body, &r, &err));
        }
        for (int k = 0; k < 4; k++) {
            snprintf(body, sizeof body, CHAT(",\"%s\":%.0f"), rows[i].name, bad[k]);
            refused(SHAPE_CHAT, body, FAULT_VALUE, rows[i].name);
            snprintf(body, sizeof body, CHAT(",\"%s\":%s"), rows[i].name, other[k]);
            refused(SHAPE_CHAT, body, FAULT_VALUE, rows[i].name);
        }
        snprintf(body, sizeof body, CHAT(",\"%s\":1.0"), rows[i].name);
        if (rows[i].whole)
            refused(SHAPE_CHAT, body, FAULT_VALUE, rows[i].name);
        snprintf(body, sizeof body, CHAT(",\"%s\":null"), rows[i].name);
        assert_ok(parse(SHAPE_CHAT, body, &r, &err));
    }
}

static void schema_is_json_and_names_every_field(void **state)
{
    (void)state;
    for (RequestShape shape = SHAPE_CHAT; shape <= SHAPE_TEXT; shape++) {
        auto_buf Buf out;
        buf_init(&out, 1 << 16);
        request_add_schema(&out, shape);
        Error err;
        auto_json json_t *value = NULL;
        assert_ok(json_parse(&value, out.data, out.size, "schema", &err));
        const json_t *properties = json_object_get(value, "properties");
        assert_non_null(json_object_get(properties, "temperature"));
        assert_true(json_object_size(properties) >= 15);
        for (uint32_t i = 0; i < sampler_options_count; i++)
            assert_non_null(json_object_get(properties, sampler_options[i].name));
    }
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        CHAT(",\"stop\":[\"a\"],\"metadata\":{\"a\":\"b\"},\"tools\":[],\"logit_bias\":{\"5\":1},"
             "\"dry_sequence_breakers\":[\"a\",\"b\"]"),
        "{\"model\":\"m\",\"prompt\":[[1,2],[3]]}"};
    for (int b = 0; b < 2; b++) {
        bool done = false;
        for (int n = 0; !done && n < 500; n++) {
            Error err = {0};
            GenerateRequest r;
            mem_fail_after(n);
            done = parse(b ? SHAPE_TEXT : SHAPE_CHAT, bodies[b], &r, &err);
            mem_fail_after(-1);
            /* jansson does not always tell a failed allocation from a mistake in the text, and
             * loses letters of names over 16 bytes by one */
            if (!done && fault.fault != FAULT_SERVER && fault.fault != FAULT_JSON &&
                fault.fault != FAULT_UNKNOWN)
                fail_test("allocation %d: fault %d \"%s\"", n, (int)fault.fault, err.text);
        }
        assert_true(done);
    }
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_openai_s),
        cmocka_unit_test(fields_are_read),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(numbers_have_ranges),
        cmocka_unit_test(sampling_options_have_ranges),
        cmocka_unit_test(schema_is_json_and_names_every_field),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
