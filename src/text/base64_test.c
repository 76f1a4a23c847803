#include "base/test.h"
#include "text/base64.h"

/* RFC 4648, section 10, and bytes that use all of the alphabet. */
static const struct {
    const char *plain, *coded;
} cases[] = {
    {"", ""},           {"f", "Zg=="},         {"fo", "Zm8="},         {"foo", "Zm9v"},
    {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}, {"\xfb\xef\xff", "++//"},
};

static void both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        auto_buf Buf out;
        uint8_t bytes[32];
        size_t size = 99;
        buf_init(&out, 100);
        base64_write((const uint8_t *)cases[i].plain, strlen(cases[i].plain), &out);
        assert_string_equal(out.data ? out.data : "", cases[i].coded);
        assert_true(base64_read(cases[i].coded, strlen(cases[i].coded), bytes, &size));
        assert_int_equal(size, strlen(cases[i].plain));
        assert_memory_equal(bytes, cases[i].plain, size);
    }
}

static void what_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"Z", "Zg", "Zg=", "Zh==", "Zm9=", "Zg==Zg==", "Zm 9",
                                      "Zm9v\n", "====", "Z===", "Zm9\xc3", "-_-_"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t bytes[32];
        size_t size;
        if (base64_read(bad[i], strlen(bad[i]), bytes, &size))
            fail_test("'%s' was read", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways),
        cmocka_unit_test(what_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
