#include "base/test.h"

#include "cli/args.h"

typedef struct {
    bool flag;
    const char *text;
    uint32_t small;
    uint64_t large;
    const char *words[2];
    uint32_t found;
} Parsed;

static bool parse(Parsed *p, char **argv, Error *err)
{
    int argc = 0;
    *p = (Parsed){0};
    while (argv[argc])
        argc++;
    const ArgOption options[] = {{"json", ARG_FLAG, &p->flag, NULL, ""},
                                 {"name", ARG_TEXT, &p->text, "NAME", ""},
                                 {"count", ARG_U32, &p->small, "N", ""},
                                 {"seed", ARG_U64, &p->large, "N", ""}};
    return args_parse(argc, argv, options, 4, p->words, 2, &p->found, err);
}

#define PARSE(p, ...) parse(p, (char *[]){"command", __VA_ARGS__, NULL}, &err)

static void takes_every_form(void **state)
{
    (void)state;
    Error err = {0};
    Parsed p;
    assert_ok(PARSE(&p, "first", "--json", "--name", "a b", "--count=7", "second",
                    "--seed=18446744073709551615"));
    assert_true(p.flag);
    assert_string_equal(p.text, "a b");
    assert_int_equal(p.small, 7);
    assert_true(p.large == UINT64_MAX);
    assert_int_equal(p.found, 2);
    assert_string_equal(p.words[0], "first");
    assert_string_equal(p.words[1], "second");
    assert_ok(PARSE(&p, "--name=", "--", "--json", "-"));
    assert_string_equal(p.text, "");
    assert_false(p.flag);
    assert_string_equal(p.words[0], "--json");
    assert_string_equal(p.words[1], "-");
    assert_ok(PARSE(&p, "--name", "--json"));
    assert_string_equal(p.text, "--json");
}

static void names_what_is_wrong(void **state)
{
    (void)state;
    Error err = {0};
    Parsed p;
    assert_fails(PARSE(&p, "--jsn"), ERR_INPUT, "unknown option --jsn (did you mean --json?)");
    assert_fails(PARSE(&p, "--cuont=3"), ERR_INPUT, "did you mean --count?");
    assert_fails(PARSE(&p, "--zzzzzzzzzz"), ERR_INPUT, "--help lists them");
    assert_fails(PARSE(&p, "--jso"), ERR_INPUT, "unknown option");
    assert_fails(PARSE(&p, "--json=yes"), ERR_INPUT, "--json takes no value");
    assert_fails(PARSE(&p, "--name"), ERR_INPUT, "--name needs a value");
    assert_fails(PARSE(&p, "a", "b", "c"), ERR_INPUT, "'c' is one word too many");
}

static void numbers_are_whole_and_in_range(void **state)
{
    (void)state;
    Error err = {0};
    Parsed p;
    static char *const wrong[] = {"", "-1", "+1", " 1", "1 ", "0x10", "1.5", "1e3", "4294967296",
                                  "99999999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_fails(PARSE(&p, "--count", wrong[i]), ERR_INPUT, "--count must be a whole number");
    assert_fails(PARSE(&p, "--seed", "18446744073709551616"), ERR_INPUT,
                 "0 to 18446744073709551615");
    assert_ok(PARSE(&p, "--count", "4294967295"));
    assert_true(p.small == UINT32_MAX);
}

/* A word of any length is quoted cut, never run over. */
static void long_words_are_cut(void **state)
{
    (void)state;
    Error err = {0};
    Parsed p;
    char word[5000] = "--";
    memset(word + 2, 'x', sizeof word - 3);
    assert_fails(PARSE(&p, word), ERR_INPUT, "unknown option --xxxx");
    assert_true(strlen(err.text) < sizeof err.text);
    assert_fails(PARSE(&p, "--count", word), ERR_INPUT, "is '--xxx");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_every_form),
        cmocka_unit_test(names_what_is_wrong),
        cmocka_unit_test(numbers_are_whole_and_in_range),
        cmocka_unit_test(long_words_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
