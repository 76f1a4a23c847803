#include "serve/reply.h"

#include "base/test.h"
#include "format/json.h"

#include <math.h>

static void text_is(const char *text, size_t size, const char *want)
{
    auto_buf Buf out;
    buf_init(&out, 1 << 16);
    reply_add_text(&out, text, size);
    assert_string_equal(out.data, want);
}

static void texts_are_json(void **state)
{
    (void)state;
    text_is("a\"b\\c\n\x01\x7f", 8, "\"a\\\"b\\\\c\\n\\u0001\\u007f\"");
    text_is("\xe2\x82\xac\xf0\x9f\x98\x80", 7, "\"\xe2\x82\xac\xf0\x9f\x98\x80\"");
    text_is("\0", 1, "\"\\u0000\"");
    /* cut, overlong, surrogate, beyond Unicode, lone continuation */
    text_is("\xe2\x82", 2, "\"\\ufffd\\ufffd\"");
    text_is("\xc0\x80", 2, "\"\\ufffd\\ufffd\"");
    text_is("\xed\xa0\x80", 3, "\"\\ufffd\\ufffd\\ufffd\"");
    text_is("\xf4\x90\x80\x80", 4, "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
    text_is("a\x80z", 3, "\"a\\ufffdz\"");
    assert_true(reply_is_text("\xe2\x82\xac", 3));
    assert_false(reply_is_text("\xe2\x82", 2));
}

/* Every two bytes, printed and parsed again by another's parser. */
static void any_bytes_parse(void **state)
{
    (void)state;
    for (unsigned pair = 0; pair < 1u << 16; pair += 7) {
        char text[2] = {(char)(pair >> 8), (char)pair};
        auto_buf Buf out;
        buf_init(&out, 64);
        reply_add_text(&out, text, 2);
        Error err;
        auto_json json_t *value = NULL;
        assert_ok(json_parse(&value, out.data, out.size, "text", &err));
        if (reply_is_text(text, 2))
            assert_memory_equal(json_string_value(value), text, 2);
    }
}

static void numbers_are_json(void **state)
{
    (void)state;
    auto_buf Buf out;
    buf_init(&out, 100);
    reply_add_number(&out, -0.5);
    buf_add_char(&out, ' ');
    reply_add_number(&out, -INFINITY);
    assert_string_equal(out.data, "-0.5 -9999");
}

static void every_refusal_is_whole(void **state)
{
    (void)state;
    for (Fault fault = FAULT_NONE + 1; fault < FAULT_COUNT; fault++) {
        const FaultRow *row = fault_row(fault);
        assert_in_range(row->status, 400, 599);
        assert_true(*row->type && *row->code);
        auto_buf Buf out;
        buf_init(&out, 1000);
        reply_add_error(&out, fault, fault % 2 ? "p" : "", "a \"sentence\"");
        Error err;
        auto_json json_t *value = NULL;
        assert_ok(json_parse(&value, out.data, out.size, "error", &err));
        const json_t *error = json_object_get(value, "error");
        assert_int_equal(json_object_size(error), 4);
        assert_string_equal(json_string_value(json_object_get(error, "message")), "a \"sentence\"");
        assert_int_equal(json_is_null(json_object_get(error, "param")), fault % 2 == 0);
    }
    assert_ptr_equal(fault_row((Fault)999), fault_row(FAULT_SERVER));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_json),
        cmocka_unit_test(any_bytes_parse),
        cmocka_unit_test(numbers_are_json),
        cmocka_unit_test(every_refusal_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
