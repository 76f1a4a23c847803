/* sampler_test.c: greedy ties, the exact cut of top_p, the shape of what is drawn. */
#include "infer/sampler.h"

#include "base/test.h"

#include <math.h>

enum { VOCAB = 40, DRAWS = 100000 };

static void make_logits(float *logits, uint64_t seed, double spread)
{
    for (uint64_t i = 0; i < VOCAB; i++)
        logits[i] = (float)(spread * rng_normal(rng_key(seed, "logits"), i));
}

static SamplerToken pick(const float *logits, SamplerOptions options)
{
    uint32_t order[VOCAB];
    return sampler_pick(logits, VOCAB, options, order, NULL, 0);
}

static void greedy_takes_the_lowest_of_the_best(void **state)
{
    (void)state;
    float logits[VOCAB] = {0};
    assert_int_equal(pick(logits, (SamplerOptions){.top_p = 1}).id, 0);
    logits[7] = logits[19] = logits[33] = 2;
    assert_int_equal(pick(logits, (SamplerOptions){.top_p = 1}).id, 7);
    double total = log(37 + 3 * exp(2));
    assert_near((double)pick(logits, (SamplerOptions){.top_p = 1}).logprob, 2 - total, 1e-6);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -1000;
    logits[VOCAB - 1] = -999;
    assert_int_equal(pick(logits, (SamplerOptions){.top_p = 1}).id, VOCAB - 1);
}

/* Probabilities at a temperature, and which ids a cut keeps, by a plain sort. */
static void naive(const float *logits, double temperature, double top_p, double *p, bool *kept)
{
    uint32_t order[VOCAB];
    double total = 0, mass = 0;
    for (uint32_t i = 0; i < VOCAB; i++) {
        p[i] = exp((double)logits[i] / temperature);
        total += p[i];
        kept[i] = false;
        uint32_t at = i;
        for (; at > 0 && logits[order[at - 1]] < logits[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    for (uint32_t i = 0; i < VOCAB; i++)
        p[i] /= total;
    for (uint32_t i = 0; i < VOCAB && mass < top_p; i++) {
        kept[order[i]] = true;
        mass += p[order[i]];
    }
    for (uint32_t i = 0; i < VOCAB; i++)
        p[i] = kept[i] ? p[i] / mass : 0;
}

/* Only kept tokens are drawn, each of them that is likely enough to be seen is, and the counts
 * fit: chi-square below its 99.99 % point. */
static void draws_follow_the_cut_distribution(void **state)
{
    (void)state;
    static const float cuts[] = {1, 0.9f, 0.5f, 0.05f}, temperatures[] = {0.7f, 1, 1.6f};
    float logits[VOCAB];
    make_logits(logits, 3, 1.5);
    logits[11] = logits[12]; /* a tie */
    for (size_t c = 0; c < 4; c++) {
        float temperature = temperatures[c % 3];
        double p[VOCAB], chi = 0;
        bool kept[VOCAB];
        uint32_t counts[VOCAB] = {0}, classes = 0;
        naive(logits, (double)temperature, (double)cuts[c], p, kept);
        for (uint64_t i = 0; i < DRAWS; i++) {
            SamplerOptions o = {temperature, cuts[c], 42, i};
            counts[pick(logits, o).id]++;
        }
        for (uint32_t i = 0; i < VOCAB; i++) {
            if (!kept[i] && counts[i])
                fail_test("top_p %g: token %u was drawn and is outside", (double)cuts[c], i);
            if (!kept[i])
                continue;
            double want = p[i] * DRAWS;
            chi += (counts[i] - want) * (counts[i] - want) / want;
            classes++;
        }
        double degrees = classes - 1.0; /* Wilson-Hilferty: z = 3.72 */
        double scale = 2 / (9 * fmax(degrees, 1)), root = 1 - scale + 3.72 * sqrt(scale);
        if (chi > fmax(degrees, 1) * root * root * root)
            fail_test("top_p %g: chi-square %g with %g degrees", (double)cuts[c], chi, degrees);
    }
}

static void seed_and_position_decide(void **state)
{
    (void)state;
    float logits[VOCAB];
    make_logits(logits, 5, 1);
    uint32_t same_seed = 0, same_position = 0;
    for (uint64_t i = 0; i < 200; i++) {
        SamplerOptions o = {1, 0.95f, 9, i}, other_seed = {1, 0.95f, 10, i};
        int32_t id = pick(logits, o).id;
        assert_int_equal(pick(logits, o).id, id);
        same_seed += pick(logits, other_seed).id == id;
        o.position++;
        same_position += pick(logits, o).id == id;
    }
    assert_true(same_seed < 80 && same_position < 80);
}

static void the_best_are_listed_in_order(void **state)
{
    (void)state;
    float logits[VOCAB];
    uint32_t order[VOCAB];
    SamplerToken top[VOCAB + 5];
    make_logits(logits, 8, 2);
    SamplerToken token = sampler_pick(logits, VOCAB, (SamplerOptions){.top_p = 1}, order, top, VOCAB);
    assert_int_equal(token.id, top[0].id);
    assert_near((double)token.logprob, (double)top[0].logprob, 0);
    double sum = 0;
    for (uint32_t i = 0; i < VOCAB; i++) {
        sum += exp((double)top[i].logprob);
        if (i)
            assert_true(top[i].logprob <= top[i - 1].logprob);
    }
    assert_near(sum, 1, 1e-5);
}

/* Hot, cold and wild rows give an id of the vocabulary. */
static void edges_give_an_id(void **state)
{
    (void)state;
    float logits[VOCAB];
    make_logits(logits, 9, 3);
    int32_t best = pick(logits, (SamplerOptions){.top_p = 1}).id;
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(pick(logits, (SamplerOptions){1e-6f, 1, 1, i}).id, best);
        assert_int_equal(pick(logits, (SamplerOptions){1, 1e-6f, 1, i}).id, best);
    }
    for (int i = 0; i < VOCAB; i++)
        logits[i] = i % 3 ? NAN : INFINITY;
    int32_t id = pick(logits, (SamplerOptions){1, 0.9f, 1, 1}).id;
    assert_true(id >= 0 && id < VOCAB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_lowest_of_the_best),
        cmocka_unit_test(draws_follow_the_cut_distribution),
        cmocka_unit_test(seed_and_position_decide),
        cmocka_unit_test(the_best_are_listed_in_order),
        cmocka_unit_test(edges_give_an_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
