#include "base/mem.h"
#include "base/rng.h"
#include "base/test.h"
#include "text/trie.h"

static void the_longest_is_found(void **state)
{
    (void)state;
    static const char *const words[] = {"a", "ab", "abcd", "b", "\xffz", "ab"};
    static const struct {
        const char *text;
        size_t size, found;
        int32_t value;
    } cases[] = {
        {"abc", 3, 2, 1}, {"abcd", 4, 4, 2}, {"abcde", 5, 4, 2}, {"ba", 2, 1, 3},
        {"c", 1, 0, -1},  {"", 0, 0, -1},    {"\xff", 1, 0, -1},
    };
    Error err;
    Trie *trie;
    assert_ok(trie_new(&trie, 16, &err));
    for (int32_t i = 0; i < 6; i++)
        trie_add(trie, (const uint8_t *)words[i], strlen(words[i]), i);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int32_t value = -1;
        assert_int_equal(trie_longest(trie, (const uint8_t *)cases[i].text, cases[i].size, &value),
                         cases[i].found);
        assert_int_equal(value, cases[i].value);
    }
    trie_free(trie);
    assert_fails(trie_new(&trie, TRIE_BYTES_MAX + 1, &err), ERR_LIMIT, "bytes");
}

/* Against looking at every word: random words of few letters. */
static void as_looking_at_every_word(void **state)
{
    (void)state;
    enum { WORDS = 300, LETTERS = 8 };
    static uint8_t words[WORDS][LETTERS];
    static size_t sizes[WORDS];
    RngKey key = rng_key(4, "trie");
    uint64_t n = 0;
    Error err;
    Trie *trie;
    assert_ok(trie_new(&trie, (size_t)WORDS * LETTERS, &err));
    for (int32_t i = 0; i < WORDS; i++) {
        sizes[i] = 1 + rng_below(key, n++, LETTERS);
        for (size_t k = 0; k < sizes[i]; k++)
            words[i][k] = (uint8_t)rng_below(key, n++, 3);
        trie_add(trie, words[i], sizes[i], i);
    }
    for (int round = 0; round < 2000; round++) {
        uint8_t text[LETTERS];
        size_t best = 0;
        int32_t value = -1;
        for (size_t k = 0; k < LETTERS; k++)
            text[k] = (uint8_t)rng_below(key, n++, 3);
        for (size_t i = 0; i < WORDS; i++)
            if (sizes[i] > best && !memcmp(words[i], text, sizes[i]))
                best = sizes[i];
        assert_int_equal(trie_longest(trie, text, LETTERS, &value), best);
        if (best)
            assert_memory_equal(words[value], text, best);
    }
    trie_free(trie);
}

static void memory_may_fail(void **state)
{
    (void)state;
    Error err;
    Trie *trie;
    for (int64_t n = 0; n < 3; n++) {
        mem_fail_after(n);
        bool made = trie_new(&trie, 10, &err);
        mem_fail_after(-1);
        assert_false(made);
        assert_int_equal(err.code, ERR_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_is_found),
        cmocka_unit_test(as_looking_at_every_word),
        cmocka_unit_test(memory_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
