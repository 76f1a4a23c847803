#include "base/buf.h"
#include "base/test.h"

static void appends_up_to_the_limit(void **state)
{
    (void)state;
    Error err;
    auto_buf Buf buf;
    buf_init(&buf, 10);
    buf_add_text(&buf, "12345");
    buf_format(&buf, "%d", 678);
    assert_string_equal(buf.data, "12345678");
    assert_ok(buf_ok(&buf, "test", &err));
    buf_add_text(&buf, "abc");
    assert_string_equal(buf.data, "12345678");
    assert_fails(buf_ok(&buf, "answer", &err), ERR_LIMIT, "answer");
    buf_reset(&buf);
    buf_add_text(&buf, "0123456789");
    assert_ok(buf_ok(&buf, "test", &err));
}

static void html_is_escaped(void **state)
{
    (void)state;
    auto_buf Buf buf;
    buf_init(&buf, 1000);
    buf_add_html(&buf, "<a href=\"x\">&'</a>");
    assert_string_equal(buf.data, "&lt;a href=&quot;x&quot;&gt;&amp;&#39;&lt;/a&gt;");
}

static void fail_within_prefixes_and_cuts(void **state)
{
    (void)state;
    Error err;
    fail(&err, ERR_INPUT, "%0300d", 1);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    fail_within(&err, "line %d", 7);
    assert_int_equal(strncmp(err.text, "line 7: 000", 11), 0);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_int_equal(error_info(ERR_NOT_FOUND)->http_status, 404);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_up_to_the_limit),
        cmocka_unit_test(html_is_escaped),
        cmocka_unit_test(fail_within_prefixes_and_cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
