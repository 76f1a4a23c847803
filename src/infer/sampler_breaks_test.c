/* sampler_breaks_test.c: ends of texts in every cut of a sequence, against a plain search. */
#include "infer/sampler_breaks.h"

#include "base/rng.h"
#include "base/test.h"

static const char *const texts[] = {"\n", "ab", "aab", "bcbcb", "cc"};

/* Does an occurrence end in text[from, to)? */
static bool ends_in(const char *text, size_t from, size_t to)
{
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
        size_t size = strlen(texts[t]);
        for (size_t end = from + 1; end <= to; end++)
            if (end >= size && memcmp(text + end - size, texts[t], size) == 0)
                return true;
    }
    return false;
}

static void cuts_do_not_matter(void **state)
{
    (void)state;
    Error err;
    char text[4000];
    for (uint64_t seed = 0; seed < 40; seed++) {
        RngKey key = rng_key(seed, "text");
        SamplerBreaks b;
        uint32_t found = 0;
        for (uint64_t i = 0; i < sizeof text; i++)
            text[i] = "abc\n"[rng_below(key, i, 30) ? rng_below(key, 10000 + i, 3) : 3];
        assert_ok(breaks_init(&b, texts, 5, &err));
        for (size_t at = 0, cut = 0; at < sizeof text; cut++) {
            size_t size = rng_below(key, 20000 + cut, seed % 2 ? 4 : 150);
            size = size < sizeof text - at ? size : sizeof text - at;
            bool got = breaks_add(&b, text + at, size);
            if (got != ends_in(text, at, at + size))
                fail_test("seed %llu: bytes %zu to %zu: %d", (unsigned long long)seed, at,
                          at + size, got);
            found += got;
            at += size;
        }
        assert_true(found > 3);
    }
}

static void limits(void **state)
{
    (void)state;
    Error err;
    SamplerBreaks b;
    char wide[SAMPLER_BREAKER_BYTES_MAX + 2];
    const char *list[SAMPLER_BREAKERS_MAX + 1];
    memset(wide, 'x', sizeof wide);
    wide[sizeof wide - 1] = 0;
    for (int i = 0; i <= SAMPLER_BREAKERS_MAX; i++)
        list[i] = "a";
    assert_fails(breaks_init(&b, list, SAMPLER_BREAKERS_MAX + 1, &err), ERR_INPUT, "17 sequence");
    list[1] = "";
    assert_fails(breaks_init(&b, list, 2, &err), ERR_INPUT, "breaker 2 has 0 bytes");
    list[1] = wide;
    assert_fails(breaks_init(&b, list, 2, &err), ERR_INPUT, "breaker 2 has 65 bytes");
    list[0] = wide + 1; /* the longest: whole in one token, and byte by byte */
    assert_ok(breaks_init(&b, list, 1, &err));
    assert_true(breaks_add(&b, wide, SAMPLER_BREAKER_BYTES_MAX));
    assert_ok(breaks_init(&b, list, 1, &err));
    for (int i = 1; i < SAMPLER_BREAKER_BYTES_MAX; i++)
        assert_false(breaks_add(&b, "x", 1));
    assert_true(breaks_add(&b, "x", 1));
    assert_false(breaks_add(&b, "", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_do_not_matter),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
