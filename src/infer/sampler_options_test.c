/* sampler_options_test.c: the page is the table, the order of the rows is that of the sampler, and
 * what is out of range is refused by name. Reading is walked through in serve/request_test.c. */
#include "infer/sampler_options.h"

#include "base/fs.h"
#include "base/test.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

/* With BASTIDE_UPDATE set the page is written instead. */
static void the_page_is_the_table(void **state)
{
    (void)state;
    Error err;
    char path[1024];
    const char *folder = getenv("BASTIDE_SOURCE");
    auto_buf Buf made, there;
    buf_init(&made, 1 << 20);
    buf_init(&there, 1 << 20);
    sampler_options_document(&made);
    assert_ok(buf_ok(&made, "page", &err));
    snprintf(path, sizeof path, "%s/docs/sampling.md", folder ? folder : ".");
    if (getenv("BASTIDE_UPDATE"))
        assert_ok(fs_write(path, made.data, made.size, &err));
    assert_ok(fs_read(path, &there, &err));
    if (made.size != there.size || memcmp(made.data, there.data, made.size) != 0)
        fail_test("docs/sampling.md is not what the table says: run this with BASTIDE_UPDATE=1");
}

static void rows_are_sound(void **state)
{
    (void)state;
    SamplerOptions options, none = {0};
    Error err;
    sampler_options_init(&options);
    assert_ok(sampler_options_check(&options, 1, &err));
    assert_ok(sampler_options_check(&none, 1, &err));
    for (uint32_t i = 0; i < sampler_options_count; i++) {
        const SamplerOption *o = &sampler_options[i];
        assert_ptr_equal(sampler_option_named(o->name), o);
        if (o->alias)
            assert_ptr_equal(sampler_option_named(o->alias), o);
        assert_true(o->meaning && o->group && strpbrk(o->meaning, "\"\\") == NULL);
        if (o->kind == OPTION_NUMBER || o->kind == OPTION_WHOLE)
            assert_near(sampler_option_value(&options, o), o->initial, 1e-6);
    }
    assert_null(sampler_option_named("top"));
}

/* The order that sampler_test.c holds the sampler to, with all options at once. */
static void rows_stand_in_the_order_of_the_steps(void **state)
{
    (void)state;
    static const char *const steps[] = {"bias", "repetition", "frequency", "presence", "DRY",
                                        "temperature", "top_k", "typical_p", "top_p", "min_p",
                                        "draw"};
    size_t step = 0;
    for (uint32_t i = 0; i < sampler_options_count; i++) {
        if (!*sampler_options[i].group)
            continue;
        assert_true(step < sizeof steps / sizeof *steps);
        assert_string_equal(sampler_options[i].group, steps[step++]);
    }
    assert_int_equal(step, sizeof steps / sizeof *steps);
}

static bool read_text(SamplerOptions *out, const char *name, const char *text, Error *err)
{
    auto_json json_t *value = NULL;
    Arena arena;
    arena_init(&arena, 1 << 20);
    bool ok = json_parse(&value, text, strlen(text), "test", err) &&
              sampler_option_read(out, sampler_option_named(name), value, name, &arena, err);
    arena_done(&arena);
    return ok;
}

static void values_are_read_or_refused(void **state)
{
    (void)state;
    Error err;
    SamplerOptions o;
    sampler_options_init(&o);
    assert_ok(read_text(&o, "top_p", "0", &err)); /* the best alone, not "unset" */
    assert_true(o.top_p == FLT_MIN);
    assert_ok(read_text(&o, "top_k", "-1", &err));
    assert_int_equal(o.top_k, -1);
    assert_ok(read_text(&o, "seed", "-1", &err));
    assert_true(o.seed == UINT64_MAX);
    assert_ok(read_text(&o, "repeat_penalty", "1.5", &err));
    assert_near((double)o.repetition_penalty, 1.5, 0);
    assert_fails(read_text(&o, "min_p", "1.01", &err), ERR_INPUT, "number from 0 to 1");
    assert_fails(read_text(&o, "top_k", "1.0", &err), ERR_INPUT, "whole number from -1 to 16777216");
    assert_fails(read_text(&o, "seed", "\"1\"", &err), ERR_INPUT, "64 bits");
    static const char *const wrong[] = {"[]", "{\"a\":1}", "{\"-1\":1}", "{\"01\":1}", "{\"\":1}",
                                        "{\"1\":101}", "{\"1\":\"x\"}", "{\"2147483648\":1}",
                                        "{\"99999999999999999999\":1}", "{\"1 \":1}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_fails(read_text(&o, "logit_bias", wrong[i], &err), ERR_INPUT, "logit_bias");
    static const char *const lists[] = {"[]", "{}", "\"a\"", "[1]", "[\"\"]", "[\"a\\u0000\"]",
                                        "[\"a\",null]"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        assert_fails(read_text(&o, "dry_sequence_breakers", lists[i], &err), ERR_INPUT,
                     "list of 1 to 16");
}

static void what_is_made_by_hand_is_checked(void **state)
{
    (void)state;
    Error err;
    SamplerBias bias[] = {{5, 1}, {9, -100}};
    SamplerOptions o = {.bias = bias, .bias_count = 2, .frequency_penalty = -2, .top_p = FLT_MIN,
                        .repetition_penalty = 0.01f};
    assert_ok(sampler_options_check(&o, 10, &err));
    assert_ok(sampler_options_check(&o, 0, &err));
    assert_fails(sampler_options_check(&o, 9, &err), ERR_INPUT,
                 "logit_bias names token 9, the vocabulary has 9");
    bias[1].id = -1;
    assert_fails(sampler_options_check(&o, 0, &err), ERR_INPUT, "logit_bias");
    bias[1] = (SamplerBias){1, NAN};
    assert_fails(sampler_options_check(&o, 0, &err), ERR_INPUT, "logit_bias of token 1");
    o.bias_count = SAMPLER_BIAS_MAX + 1;
    assert_fails(sampler_options_check(&o, 0, &err), ERR_INPUT, "1025");
    o = (SamplerOptions){.min_p = NAN};
    assert_fails(sampler_options_check(&o, 0, &err), ERR_INPUT, "min_p must be from 0 to 1");
    o = (SamplerOptions){.dry_allowed_length = -1};
    assert_fails(sampler_options_check(&o, 0, &err), ERR_INPUT, "dry_allowed_length");
    o = (SamplerOptions){.temperature = 2.5f};
    assert_fails(sampler_options_check(&o, 0, &err), ERR_INPUT, "temperature must be from 0 to 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_is_the_table),
        cmocka_unit_test(rows_are_sound),
        cmocka_unit_test(rows_stand_in_the_order_of_the_steps),
        cmocka_unit_test(values_are_read_or_refused),
        cmocka_unit_test(what_is_made_by_hand_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
