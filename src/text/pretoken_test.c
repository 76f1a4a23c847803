#include "base/rng.h"
#include "base/test.h"
#include "text/nfc.h"
#include "text/pretoken.h"
#include "text/utf8.h"

#include <time.h>

/* Pieces are joined with '|'. */
static void gpt2_pieces(void **state)
{
    (void)state;
    static const struct {
        const char *text, *pieces;
    } cases[] = {
        {"Hello world", "Hello| world"},
        {"I'll  go, it's 42!", "I|'ll| | go|,| it|'s| 42|!"},
        {"a\n\n b", "a|\n\n| b"},
        {"a \n\nb", "a| \n|\n|b"},
        {"x   ", "x|   "},
        {"'t''s 'S", "'t|''|s| '|S"},
        {"\xc3\xa9t\xc3\xa9\xc2\xa0" "1\xc2\xb2", "\xc3\xa9t\xc3\xa9|\xc2\xa0|1\xc2\xb2"},
        {"  \xe3\x80\x80x", "  |\xe3\x80\x80|x"},
        {" ", " "},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        auto_buf Buf out;
        buf_init(&out, 1000);
        size_t size = strlen(cases[c].text);
        for (size_t at = 0, piece; at < size; at += piece) {
            piece = pretoken_gpt2((const uint8_t *)cases[c].text + at, size - at);
            if (at)
                buf_add_char(&out, '|');
            buf_add(&out, cases[c].text + at, piece);
        }
        assert_string_equal(out.data, cases[c].pieces);
    }
}

/* Random text of the characters at which the pattern decides. */
static size_t random_text(RngKey key, uint64_t *counter, uint8_t *out, size_t room)
{
    static const char *const alphabet[] = {
        " ", " ", "\n", "\t", "\r", "a", "s", "t", "r", "e", "v", "l", "m", "d", "'", "'", "1", ".",
        "-", "\xc3\xa9", "\xc2\xa0", "\xc2\x85", "\xe1\xa0\x8e", "\xe3\x80\x80", "\xe6\x97\xa5",
        "\xf0\x9f\x98\x80", "\xcc\x81", "\xc2\xb2", "\xe2\x80\xa8", "\xef\xbf\xbd"};
    size_t size = 0, count = rng_below(key, (*counter)++, 60);
    for (size_t i = 0; i < count; i++) {
        const char *c = alphabet[rng_below(key, (*counter)++, sizeof alphabet / sizeof *alphabet)];
        if (size + strlen(c) > room)
            break;
        memcpy(out + size, c, strlen(c));
        size += strlen(c);
    }
    return size;
}

/* The scanner and PCRE2 with the written pattern cut alike. */
static void scanner_equals_the_pattern(void **state)
{
    (void)state;
    Error err;
    SplitPattern *pattern;
    SplitMatch *match;
    assert_ok(split_pattern_new(&pattern, pretoken_gpt2_pattern, strlen(pretoken_gpt2_pattern),
                                &err));
    assert_ok(split_match_new(&match, pattern, &err));
    RngKey key = rng_key(11, "pretoken");
    uint64_t counter = 0;
    for (int round = 0; round < 20000; round++) {
        uint8_t text[256];
        size_t size = random_text(key, &counter, text, sizeof text), start, end;
        for (size_t at = 0; at < size; at = end) {
            assert_ok(split_next(pattern, match, text, size, at, &start, &end, &err));
            size_t piece = pretoken_gpt2(text + at, size - at);
            if (start != at || end - at != piece)
                fail_test("round %d at %zu: scanner %zu, pattern %zu..%zu in '%.*s'", round, at,
                          piece, start, end, (int)size, text);
        }
    }
    split_match_free(match);
    split_pattern_free(pattern);
}

/* Every cut that is called safe gives the pieces of the whole. */
static void safe_cuts_are_safe(void **state)
{
    (void)state;
    RngKey key = rng_key(12, "pretoken");
    uint64_t counter = 0;
    for (int round = 0; round < 20000; round++) {
        uint8_t text[256];
        size_t size = random_text(key, &counter, text, sizeof text);
        size_t cut = pretoken_safe_cut(text, size, rng_below(key, counter++, size + 1));
        if (cut >= size)
            continue;
        bool met = false;
        size_t in_part = 0;
        for (size_t at = 0; at < size; at += pretoken_gpt2(text + at, size - at)) {
            met |= at == cut;
            if (at < cut) {
                assert_int_equal(at, in_part);
                in_part += pretoken_gpt2(text + in_part, cut - in_part);
            }
        }
        assert_true(met);
        assert_int_equal(in_part, cut);
    }
}

static void patterns_not_understood_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *words;
    } cases[] = {
        {"a*", "empty"},          {"(a", "pattern:"},       {"^a", "'^a' at byte 0"},
        {"a$", "'$' at byte 1"},  {"\\Z", "'\\Z'"},         {"\\w+", "'\\w'"},
        {"[\\S]", "'\\S'"},       {"(?<n>a)", "'(?'"},      {"(*ACCEPT)a", "'(*'"},
        {"(a)\\1", "'\\1'"},      {"[a[b]]", "'[b'"},       {"[a&&b]", "'&&'"},
        {"a{1,2}+", "'}+'"},      {"\\K", "'\\K'"},         {"[]a]", "'[]'"},
        {"a\\", "'\\'"},          {"\\p{Nonsense}", "pattern:"}, {"\\pL", "'\\p'"},
    };
    Error err;
    SplitPattern *pattern;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++)
        assert_fails(split_pattern_new(&pattern, cases[c].pattern, strlen(cases[c].pattern), &err),
                     ERR_FORMAT, cases[c].words);
}

static void a_costly_pattern_ends(void **state)
{
    (void)state;
    Error err;
    SplitPattern *pattern;
    SplitMatch *match;
    size_t start, end;
    const char *text = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabc";
    assert_ok(split_pattern_new(&pattern, "(?:a+)+c", 8, &err));
    assert_ok(split_match_new(&match, pattern, &err));
    assert_fails(split_next(pattern, match, (const uint8_t *)text, strlen(text), 0, &start, &end,
                            &err), ERR_LIMIT, "too many steps");
    split_match_free(match);
    split_pattern_free(pattern);
}

static void nfc_composes_and_orders(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"abc", "abc"},
        {"e\xcc\x81x", "\xc3\xa9x"},
        {"xe\xcc\xa3\xcc\x81y", "x\xe1\xba\xb9\xcc\x81y"},
        {"e\xcc\x81\xcc\xa3", "\xe1\xba\xb9\xcc\x81"}, /* marks come in another order */
        {"\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81"},
        {"\xe2\x84\xab", "\xc3\x85"},
        {"\xcc\x81", "\xcc\x81"},
    };
    Error err;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        auto_buf Buf out;
        buf_init(&out, 1000);
        assert_ok(nfc_append(cases[c].in, strlen(cases[c].in), &out, &err));
        assert_string_equal(out.data, cases[c].out);
    }
}

/* A million marks in descending order: sorting them by exchange would take hours. */
static void nfc_is_not_quadratic(void **state)
{
    (void)state;
    Error err;
    auto_buf Buf in;
    auto_buf Buf out;
    buf_init(&in, 8 << 20);
    buf_init(&out, 16 << 20);
    buf_add_char(&in, 'q');
    for (int i = 0; i < 500000; i++)
        buf_add_text(&in, i % 2 ? "\xcc\xa3" : "\xcc\x81");
    clock_t start = clock();
    assert_ok(nfc_append(in.data, in.size, &out, &err));
    assert_int_equal(out.size, in.size);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 10);
}

static void bytelevel_is_a_bijection(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++)
        assert_int_equal(bytelevel_to_byte(bytelevel_of_byte((uint8_t)byte)), byte);
    assert_int_equal(bytelevel_of_byte(' '), 0x120);
    assert_int_equal(bytelevel_of_byte('\n'), 0x10a);
    assert_int_equal(bytelevel_of_byte(0xff), 0xff);
    assert_int_equal(bytelevel_of_byte(0xad), 0x143);
    assert_int_equal(bytelevel_to_byte(0x144), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt2_pieces),
        cmocka_unit_test(scanner_equals_the_pattern),
        cmocka_unit_test(safe_cuts_are_safe),
        cmocka_unit_test(patterns_not_understood_are_refused),
        cmocka_unit_test(a_costly_pattern_ends),
        cmocka_unit_test(nfc_composes_and_orders),
        cmocka_unit_test(nfc_is_not_quadratic),
        cmocka_unit_test(bytelevel_is_a_bijection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
