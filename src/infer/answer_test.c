/* answer_test.c: stop texts and characters that are split over tokens in every way. */
#include "infer/answer.h"

#include "base/mem.h"
#include "base/test.h"

#include <stdio.h>

typedef struct {
    const char *text, *stop[4], *want;
    bool met;
} Case;

static const Case cases[] = {
    {"hello world", {"\n"}, "hello world", false},
    {"hello\nworld", {"\n"}, "hello", true},
    {"one STOP two", {"STOP"}, "one ", true},
    {"one STO two", {"STOP"}, "one STO two", false},
    {"aaaab", {"aab"}, "aa", true},
    {"ababac!", {"abac"}, "ab", true},
    {"x<end>y<e", {"<e", "<end>"}, "x", true},
    {"first second", {"second", "first"}, "", true},
    {"abcdef", {"cde", "bcdefg", "ef"}, "ab", true},
    {"caf\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80.", {"\xe6\x9c\xac"},
     "caf\xc3\xa9 \xe6\x97\xa5", true},
    {"\xf0\x9f\x98\x80\xf0\x9f\x98\x81", {NULL}, "\xf0\x9f\x98\x80\xf0\x9f\x98\x81", false},
    {"ends in ST", {"STOP", "T!"}, "ends in ST", false},
    {"", {"x"}, "", false},
};

static bool whole_characters(const char *text, size_t size)
{
    for (size_t i = 0; i < size;) {
        unsigned char c = (unsigned char)text[i];
        size_t length = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        if ((c & 0xc0) == 0x80 || i + length > size)
            return false;
        i += length;
    }
    return true;
}

/* Feeds the text cut at the set bits of `cuts`; what is shown is joined into out. */
static bool feed(const Case *c, uint64_t cuts, Buf *out)
{
    Error err;
    Answer answer;
    uint32_t stops = 0;
    bool met = false;
    while (stops < 4 && c->stop[stops])
        stops++;
    assert_ok(answer_init(&answer, c->stop, stops, &err));
    size_t size = strlen(c->text);
    for (size_t from = 0, to = 1; to <= size && !met; to++) {
        if (to < size && !(cuts >> (to % 63) & 1))
            continue;
        met = answer_add(&answer, c->text + from, to - from);
        assert_true(whole_characters(answer.shown.data, answer.shown.size));
        buf_add(out, answer.shown.data, answer.shown.size);
        from = to;
        for (uint32_t s = 0; s < stops; s++) /* nothing shown ever holds a stop text */
            assert_null(out->size ? strstr(out->data, c->stop[s]) : NULL);
    }
    if (!met) {
        answer_flush(&answer);
        buf_add(out, answer.shown.data, answer.shown.size);
    }
    answer_done(&answer);
    return met;
}

static void splits_do_not_matter(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size = strlen(cases[i].text);
        uint64_t ways = size > 13 ? 8192 : (uint64_t)1 << size;
        for (uint64_t way = 0; way < ways; way++) {
            auto_buf Buf out;
            buf_init(&out, 4096);
            bool met = feed(&cases[i], size > 13 ? way * 0x9e3779b97f4a7c15u : way, &out);
            /* text that comes as one token may hold an earlier stop than single bytes show */
            if (met != cases[i].met || strcmp(out.data ? out.data : "", cases[i].want) != 0)
                fail_test("case %zu, way %llu: '%s', expected '%s'", i, (unsigned long long)way,
                          out.data ? out.data : "", cases[i].want);
        }
    }
}

static void only_what_may_be_a_stop_is_held_back(void **state)
{
    (void)state;
    Error err;
    Answer answer;
    static const char *const stop[] = {"<|end|>"};
    assert_ok(answer_init(&answer, stop, 1, &err));
    assert_false(answer_add(&answer, "ab<|e", 5));
    assert_string_equal(answer.shown.data, "ab");
    assert_false(answer_add(&answer, "<", 1)); /* what was held cannot be it any more */
    assert_string_equal(answer.shown.data, "<|e");
    assert_false(answer_add(&answer, "x\xc3", 2));
    assert_string_equal(answer.shown.data, "<x");
    assert_false(answer_add(&answer, "\xa9<|", 3));
    assert_string_equal(answer.shown.data, "\xc3\xa9");
    answer_flush(&answer);
    assert_string_equal(answer.shown.data, "<|");
    answer_done(&answer);
}

static void a_broken_character_is_replaced_at_the_end(void **state)
{
    (void)state;
    Error err;
    Answer answer;
    assert_ok(answer_init(&answer, NULL, 0, &err));
    assert_false(answer_add(&answer, "a\xe6\x97", 3));
    assert_string_equal(answer.shown.data, "a");
    answer_flush(&answer);
    assert_string_equal(answer.shown.data, "\xef\xbf\xbd");
    answer_done(&answer);
}

static void stops_have_limits(void **state)
{
    (void)state;
    Error err;
    Answer answer;
    char wide[ANSWER_STOP_BYTES_MAX + 2];
    memset(wide, 'a', sizeof wide);
    wide[sizeof wide - 1] = 0;
    const char *stop[5] = {"a", "b", "c", "d", "e"};
    assert_fails(answer_init(&answer, stop, 5, &err), ERR_INPUT, "5 stop texts given, 4 is the most");
    stop[1] = "";
    assert_fails(answer_init(&answer, stop, 2, &err), ERR_INPUT, "stop text 2 has 0 bytes");
    stop[1] = wide;
    assert_fails(answer_init(&answer, stop, 2, &err), ERR_INPUT, "stop text 2 has 257 bytes");
    stop[1] = wide + 1;
    assert_ok(answer_init(&answer, stop, 2, &err));
    answer_done(&answer);
    for (int64_t n = 0; n < 2; n++) {
        mem_fail_after(n);
        bool ok = answer_init(&answer, stop, 1, &err);
        mem_fail_after(-1);
        assert_false(ok);
        assert_int_equal(err.code, ERR_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_do_not_matter),
        cmocka_unit_test(only_what_may_be_a_stop_is_held_back),
        cmocka_unit_test(a_broken_character_is_replaced_at_the_end),
        cmocka_unit_test(stops_have_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
