#include "base/test.h"
#include "text/tokenizer.h"

/* What Python's bytes.decode("utf-8", "replace") gives. */
static const struct {
    const char *in, *out;
} cases[] = {
    {"plain", "plain"},
    {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
    {"a\xff" "b", "a\xef\xbf\xbd" "b"},
    {"\xe2\x82", "\xef\xbf\xbd"},
    {"\xe2\x82x", "\xef\xbf\xbdx"},
    {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                     /* overlong */
    {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},     /* surrogate */
    {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    {"\xf0\x9f\x98\xf0\x9f\x98\x80", "\xef\xbf\xbd\xf0\x9f\x98\x80"},
    {"\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd"},
    {"\xe2\xc3\xa9", "\xef\xbf\xbd\xc3\xa9"},
};

/* Every cut of the bytes into two pieces, and byte by byte, gives the same text. */
static void cuts_change_nothing(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        size_t size = strlen(cases[c].in);
        for (size_t cut = 0; cut <= size + 1; cut++) {
            auto_buf Buf out;
            Detok detok;
            buf_init(&out, 1000);
            detok_init(&detok);
            if (cut <= size) {
                detok_add(&detok, cases[c].in, cut, &out);
                detok_add(&detok, cases[c].in + cut, size - cut, &out);
            } else {
                for (size_t i = 0; i < size; i++)
                    detok_add(&detok, cases[c].in + i, 1, &out);
            }
            detok_end(&detok, &out);
            if (strcmp(out.data, cases[c].out))
                fail_test("case %zu cut at %zu: '%s', expected '%s'", c, cut, out.data,
                          cases[c].out);
        }
    }
}

static void a_character_leaves_when_it_is_whole(void **state)
{
    (void)state;
    auto_buf Buf out;
    Detok detok;
    buf_init(&out, 100);
    detok_init(&detok);
    detok_add(&detok, "x\xf0\x9f", 3, &out);
    assert_string_equal(out.data, "x");
    detok_add(&detok, "\x98", 1, &out);
    assert_string_equal(out.data, "x");
    detok_add(&detok, "\x80", 1, &out);
    assert_string_equal(out.data, "x\xf0\x9f\x98\x80");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_change_nothing),
        cmocka_unit_test(a_character_leaves_when_it_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
