#include "base/mem.h"
#include "base/test.h"
#include "text/normalize.h"

static void check(const Normalizer *n, const Trie *whole, const char *text, bool first,
                  const char *want)
{
    Error err;
    NormalizerScratch scratch;
    const uint8_t *out;
    size_t size;
    assert_ok(normalizer_scratch_init(&scratch, n, &err));
    assert_ok(normalize(n, &scratch, whole, (const uint8_t *)text, strlen(text), first, &out, &size,
                        &err));
    if (size != strlen(want) || memcmp(out, want, size))
        fail_test("'%s' became '%.*s', expected '%s'", text, (int)size, (const char *)out, want);
    normalizer_scratch_done(&scratch);
}

#define M "\xe2\x96\x81"

/* What sentencepiece's own normaliser gives for each setting. */
static void as_sentencepiece(void **state)
{
    (void)state;
    static const struct {
        bool prefix, suffix, remove, escape, first;
        const char *text, *want;
    } cases[] = {
        {true, false, false, true, true, "a b", M "a" M "b"},
        {true, false, false, true, true, "  a ", M M M "a" M},
        {true, false, false, true, true, "", ""},
        {true, false, false, true, false, "a b", "a" M "b"},
        {false, false, false, true, true, " a", M "a"},
        {true, false, false, false, true, "a b", " a b"},
        {true, false, true, true, true, "  a   b  ", M "a" M "b"},
        {true, false, true, true, true, "   ", ""},
        {true, true, true, true, true, " a b ", "a" M "b" M},
        {true, false, true, true, true, "\tx", M "\tx"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Normalizer n = {.count = 1};
        n.steps[0] = (NormalStep){.kind = NORMAL_PIECES, .dummy_prefix = cases[i].prefix,
                                  .as_suffix = cases[i].suffix, .remove_extra = cases[i].remove,
                                  .escape = cases[i].escape};
        check(&n, NULL, cases[i].text, cases[i].first, cases[i].want);
    }
}

static void steps_follow_one_another(void **state)
{
    (void)state;
    Error err;
    Normalizer n = {.count = 4};
    n.steps[0] = (NormalStep){.kind = NORMAL_STRIP, .left = true, .right = true};
    n.steps[1].kind = NORMAL_REPLACE;
    assert_ok(split_pattern_new(&n.steps[1].pattern, " {2,}", 5, &err));
    n.steps[1].to = mem_copy_text(" ", 1);
    n.steps[1].to_size = 1;
    n.steps[2] = (NormalStep){.kind = NORMAL_PREPEND, .to = mem_copy_text(M, 3), .to_size = 3};
    n.steps[3] = (NormalStep){.kind = NORMAL_REPLACE, .from = mem_copy_text(" ", 1),
                              .from_size = 1, .to = mem_copy_text(M, 3), .to_size = 3};
    check(&n, NULL, "  a   b c\n ", true, M "a" M "b" M "c");
    check(&n, NULL, "\xe3\x80\x80x", true, M "x");
    check(&n, NULL, " \n ", true, "");
    check(&n, NULL, "x", false, "x");
    normalizer_done(&n);
    n = (Normalizer){.count = 1, .steps = {{.kind = NORMAL_STRIP, .right = true}}};
    check(&n, NULL, " a ", true, " a");
    n.steps[0] = (NormalStep){.kind = NORMAL_STRIP, .left = true};
    check(&n, NULL, " a ", true, "a ");
}

/* A map made by hand: "A" to "a", "AB" to "" (two units deep). Unit: label, leaf bit, offset. */
#define UNIT(label, leaf, offset) (uint32_t)(label) | (uint32_t)(leaf) << 8 | (uint32_t)(offset) << 10
enum { UNITS = 256 };

static size_t make_map(uint8_t *blob)
{
    static uint32_t units[UNITS];
    memset(units, 0, sizeof units);
    units[0] = UNIT(0, 0, 1);              /* root: children at 1 ^ byte */
    units[1 ^ 'A'] = UNIT('A', 1, 128);    /* node: at 0x40, value at 0x40 ^ 128 */
    units[(1 ^ 'A') ^ 128] = 0x80000000u;  /* value 0: "a" */
    units[(1 ^ 'A') ^ 128 ^ 'B'] = UNIT('B', 1, 64);
    units[(1 ^ 'A') ^ 128 ^ 'B' ^ 64] = 0x80000000u | 2; /* value 2: "" */
    uint32_t bytes = sizeof units;
    memcpy(blob, &bytes, 4);
    memcpy(blob + 4, units, sizeof units);
    memcpy(blob + 4 + sizeof units, "a\0\0", 3);
    return 4 + sizeof units + 3;
}

static void a_charsmap_is_followed(void **state)
{
    (void)state;
    Error err;
    static uint8_t blob[4 + 4 * UNITS + 3];
    size_t size = make_map(blob);
    Normalizer n = {.count = 1, .steps = {{.kind = NORMAL_PIECES, .escape = true}}};
    assert_ok(charsmap_read(&n.steps[0].charsmap, blob, size, &err));
    check(&n, NULL, "xAyABA", true, "xaya");
    Trie *whole;
    assert_ok(trie_new(&whole, 3, &err));
    trie_add(whole, (const uint8_t *)"yAB", 3, 5);
    check(&n, whole, "xAyABA", true, "xayABa");
    trie_free(whole);
    normalizer_done(&n);
    n = (Normalizer){.count = 1, .steps = {{.kind = NORMAL_CHARSMAP}}};
    assert_ok(charsmap_read(&n.steps[0].charsmap, blob, size, &err));
    check(&n, NULL, "xAyABA", true, "xayaBa"); /* Hugging Face looks at characters */
    normalizer_done(&n);
}

/* Every byte of the map damaged in turn: it is refused, or followed without harm. */
static void a_damaged_charsmap_does_no_harm(void **state)
{
    (void)state;
    Error err;
    static uint8_t blob[4 + 4 * UNITS + 3];
    size_t size = make_map(blob);
    Charsmap map;
    for (size_t cut = 1; cut < 20; cut++)
        assert_fails(charsmap_read(&map, blob, cut, &err), ERR_FORMAT, "trie");
    for (size_t at = 0; at < size; at++) {
        uint8_t was = blob[at];
        blob[at] ^= 0xff;
        if (charsmap_read(&map, blob, size, &err)) {
            const char *to;
            size_t to_size;
            (void)charsmap_find(&map, (const uint8_t *)"ABAAAA", 6, false, &to, &to_size);
            charsmap_done(&map);
        }
        blob[at] = was;
    }
}

static void growth_has_a_limit(void **state)
{
    (void)state;
    Error err;
    Normalizer n = {.count = NORMAL_STEPS_MAX};
    NormalizerScratch scratch;
    const uint8_t *out;
    size_t size;
    static char page[4096];
    memset(page, 'a', sizeof page);
    for (uint32_t i = 0; i < n.count; i++)
        n.steps[i] = (NormalStep){.kind = NORMAL_REPLACE, .from = mem_copy_text("a", 1),
                                  .from_size = 1, .to = mem_copy_text(page, sizeof page),
                                  .to_size = sizeof page};
    assert_ok(normalizer_scratch_init(&scratch, &n, &err));
    assert_fails(normalize(&n, &scratch, NULL, (const uint8_t *)"aaaa", 4, true, &out, &size, &err),
                 ERR_LIMIT, "normalised text");
    normalizer_scratch_done(&scratch);
    normalizer_done(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_sentencepiece),
        cmocka_unit_test(steps_follow_one_another),
        cmocka_unit_test(a_charsmap_is_followed),
        cmocka_unit_test(a_damaged_charsmap_does_no_harm),
        cmocka_unit_test(growth_has_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
