#include "base/test.h"

#include "base/mem.h"
#include "eval/ngram.h"

#include <math.h>

/* By hand. Order 0 after "aab": n 3, t 2; P(a) = (2 + 2/256) / 5, P(b) = (1 + 2/256) / 5,
 * P(c) = (2/256) / 5. Order 1 after "a": n 2 (a, b), t 2. */
static void agrees_with_hand(void **state)
{
    (void)state;
    Error err = {0};
    Ngram *ngram;
    assert_ok(ngram_new(&ngram, 1, &err));
    assert_near(ngram_bits(ngram, 1, "xyz", 3), 24, 1e-12); /* nothing learnt: 8 bits each */
    assert_ok(ngram_train(ngram, "aab", 3, &err));
    double a = (2 + 2. / 256) / 5, b = (1 + 2. / 256) / 5, c = (2. / 256) / 5;
    assert_near(ngram_bits(ngram, 0, "ab", 2), -log2(a) - log2(b), 1e-12);
    assert_near(ngram_bits(ngram, 0, "c", 1), -log2(c), 1e-12);
    double a_b = (1 + 2 * b) / 4, a_c = (0 + 2 * c) / 4;
    assert_near(ngram_bits(ngram, 1, "ab", 2), -log2(a) - log2(a_b), 1e-12);
    assert_near(ngram_bits(ngram, 1, "ac", 2), -log2(a) - log2(a_c), 1e-12);
    assert_near(ngram_bits(ngram, 1, "ba", 2), -log2(b) - log2(a), 1e-12); /* "b" ended the text */
    ngram_free(ngram);
}

static void probabilities_sum_to_one(void **state)
{
    (void)state;
    Error err = {0};
    Ngram *ngram;
    static const char text[] = "the cat sat on the mat; the rat sat on the cat";
    assert_ok(ngram_new(&ngram, 5, &err));
    assert_ok(ngram_train(ngram, text, sizeof text - 1, &err));
    static const char *const contexts[] = {"", "t", "the ", "on the", "zzz", "sat on"};
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++) {
        double sum = 0, before = ngram_bits(ngram, 5, contexts[i], strlen(contexts[i]));
        for (int b = 0; b < 256; b++) {
            char with[16];
            size_t size = strlen(contexts[i]);
            memcpy(with, contexts[i], size);
            with[size] = (char)b;
            sum += exp2(before - ngram_bits(ngram, 5, with, size + 1));
        }
        assert_near(sum, 1, 1e-9);
    }
    double unigram = ngram_bits(ngram, 0, text, sizeof text - 1);
    assert_true(ngram_bits(ngram, 5, text, sizeof text - 1) < unigram / 2);
    assert_false(ngram_is_full(ngram));
    ngram_free(ngram);
}

static void survives_failing_memory(void **state)
{
    (void)state;
    Error err = {0};
    char text[8192];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * i >> 4);
    bool done = false;
    for (int64_t n = 0; !done && n < 50; n++) {
        Ngram *ngram = NULL;
        mem_fail_after(n);
        done = ngram_new(&ngram, 3, &err) && ngram_train(ngram, text, sizeof text, &err);
        mem_fail_after(-1);
        ngram_free(ngram);
    }
    assert_true(done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_hand),
        cmocka_unit_test(probabilities_sum_to_one),
        cmocka_unit_test(survives_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
