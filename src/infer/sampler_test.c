/* sampler_test.c: every option against probabilities computed plainly in double: the very ids, and
 * counts by chi-square; rows that are no numbers; ties; nothing allocated. */
#include "infer/sampler_reference.h"
#include "infer/sampler_row.h"

#include "base/mem.h"
#include "base/test.h"

#include <float.h>
#include <math.h>

enum { VOCAB = 300, DRAWS = 5000, LONG_DRAWS = 1000, SEQUENCE = 60, PROMPT = 25 };

static int32_t sequence[SEQUENCE];
static uint8_t breaks[SEQUENCE];

static void make_logits(float *logits, uint32_t vocab, uint64_t seed, double spread)
{
    for (uint64_t i = 0; i < vocab; i++)
        logits[i] = (float)(spread * rng_normal(rng_key(seed, "logits"), i));
}

/* A sequence that repeats itself, with a break now and then. */
static void make_sequence(void)
{
    for (uint64_t i = 0; i < SEQUENCE; i++) {
        sequence[i] = (int32_t)rng_below(rng_key(4, "sequence"), i % 13, 30);
        breaks[i] = rng_below(rng_key(5, "breaks"), i, 12) == 0;
    }
    breaks[SEQUENCE - 1] = breaks[SEQUENCE - 2] = breaks[SEQUENCE - 3] = 0;
}

static Sampler *sampler_for(uint32_t vocab)
{
    Error err;
    Sampler *sampler;
    assert_ok(sampler_new(&sampler, vocab, 4096, &err));
    return sampler;
}

static SamplerPick pick(Sampler *sampler, const float *logits, const SamplerOptions *options,
                        const SamplerTurn *turn)
{
    Error err;
    SamplerPick got;
    assert_ok(sampler_pick(sampler, logits, options, turn, &got, &err));
    return got;
}

/* Draws along a growing answer would change the penalties: so the position stays, and the seed
 * changes. */
static void check(const char *name, const float *logits, uint32_t vocab, SamplerOptions options,
                  const SamplerTurn *turn, uint32_t draws)
{
    static double p[REFERENCE_VOCAB_MAX];
    static uint32_t order[REFERENCE_VOCAB_MAX], counts[REFERENCE_VOCAB_MAX];
    Sampler *sampler = sampler_for(vocab);
    uint64_t position = turn->count - turn->prompt_count;
    reference_probabilities(logits, vocab, &options, turn, p, order);
    memset(counts, 0, sizeof counts);
    for (uint64_t i = 0; i < draws; i++) {
        options.seed = i;
        uint32_t got = (uint32_t)pick(sampler, logits, &options, turn).token.id;
        uint32_t want = reference_draw(p, order, vocab,
                                       rng_uniform(rng_key(i, "sample"), position));
        if (got != want)
            fail_test("%s, seed %llu: token %u (p %g), expected %u (p %g)", name,
                      (unsigned long long)i, got, p[got], want, p[want]);
        counts[got]++;
    }
    double chi = 0, rest = 0, rest_count = 0;
    uint32_t classes = 0;
    for (uint32_t i = 0; i < vocab; i++) { /* classes below 5 expected draws are put together */
        double want = p[i] * draws;
        if (want < 5) {
            rest += want;
            rest_count += counts[i];
            continue;
        }
        chi += (counts[i] - want) * (counts[i] - want) / want;
        classes++;
    }
    if (rest > 0) {
        chi += (rest_count - rest) * (rest_count - rest) / rest;
        classes++;
    }
    double degrees = fmax(classes - 1.0, 1); /* Wilson-Hilferty: z = 4.75, 1e-6 for each of a hundred cases */
    double scale = 2 / (9 * degrees), root = 1 - scale + 4.75 * sqrt(scale);
    if (chi > degrees * root * root * root)
        fail_test("%s: chi-square %g with %g degrees", name, chi, degrees);
    sampler_free(sampler);
}

static const SamplerBias biases[] = {{3, 2.5f}, {17, -100}, {299, 4}, {0, 0.25f}};

typedef struct {
    const char *name;
    SamplerOptions options;
} Case;

/* Dry and repeat windows are as the table of options has them when nothing is said. */
#define T1 .temperature = 1, .repeat_last_n = -1, .dry_penalty_last_n = -1
static const Case cases[] = {
    {"temperature 1", {T1}},
    {"temperature 0.3", {.temperature = 0.3f}},
    {"temperature 2", {.temperature = 2}},
    {"temperature 0.0001", {.temperature = 1e-4f}},
    {"top_p 0.9", {T1, .top_p = 0.9f}},
    {"top_p 0.5, temperature 1.6", {.temperature = 1.6f, .top_p = 0.5f}},
    {"top_p tiny", {T1, .top_p = FLT_MIN}},
    {"top_p nearly 1", {T1, .top_p = 0.999999f}},
    {"top_k 1", {T1, .top_k = 1}},
    {"top_k 5", {T1, .top_k = 5}},
    {"top_k 150", {T1, .top_k = 150}},
    {"top_k over the vocabulary", {T1, .top_k = 1 << 24}},
    {"top_k -1", {T1, .top_k = -1}},
    {"min_p 0.1", {T1, .min_p = 0.1f}},
    {"min_p 1", {T1, .min_p = 1}},
    {"min_p 0.02, temperature 2", {.temperature = 2, .min_p = 0.02f}},
    {"typical_p 0.9", {T1, .typical_p = 0.9f}},
    {"typical_p 0.2", {T1, .typical_p = 0.2f}},
    {"typical_p tiny", {T1, .typical_p = FLT_MIN}},
    {"typical_p 0.95, cold", {.temperature = 0.4f, .typical_p = 0.95f}},
    {"top_k 40, typical_p 0.7", {T1, .top_k = 40, .typical_p = 0.7f}},
    {"top_k 40, top_p 0.9, min_p 0.05", {T1, .top_k = 40, .top_p = 0.9f, .min_p = 0.05f}},
    {"all cuts", {T1, .top_k = 100, .typical_p = 0.9f, .top_p = 0.8f, .min_p = 0.2f}},
    {"typical_p and min_p", {T1, .typical_p = 0.6f, .min_p = 0.5f}},
    {"logit_bias", {T1, .bias = biases, .bias_count = 4}},
    {"repetition_penalty 1.3", {T1, .repetition_penalty = 1.3f}},
    {"repetition_penalty 0.7", {T1, .repetition_penalty = 0.7f}},
    {"presence_penalty", {T1, .presence_penalty = 1.5f}},
    {"presence_penalty -2", {T1, .presence_penalty = -2}},
    {"frequency_penalty", {T1, .frequency_penalty = 0.7f}},
    {"the three penalties", {T1, .repetition_penalty = 1.2f, .presence_penalty = 0.5f,
                             .frequency_penalty = -0.3f}},
    {"penalties of the last 20", {.temperature = 1, .repetition_penalty = 1.8f,
                                  .presence_penalty = 1, .repeat_last_n = 20}},
    {"penalties of none", {.temperature = 1, .repetition_penalty = 1.8f}},
    {"DRY", {T1, .dry_multiplier = 0.8f, .dry_base = 1.75f, .dry_allowed_length = 2}},
    {"DRY of the last 30", {.temperature = 1, .dry_multiplier = 2, .dry_base = 1.1f,
                            .dry_allowed_length = 3, .dry_penalty_last_n = 30}},
    {"DRY, steep", {T1, .dry_multiplier = 5, .dry_base = 100, .dry_allowed_length = 1}},
    {"everything", {.temperature = 0.8f, .repeat_last_n = 40, .dry_penalty_last_n = -1,
                    .top_k = 60, .typical_p = 0.95f, .top_p = 0.9f, .min_p = 0.01f,
                    .repetition_penalty = 1.1f, .presence_penalty = 0.2f, .frequency_penalty = 0.1f,
                    .dry_multiplier = 0.8f, .dry_base = 1.75f, .dry_allowed_length = 2,
                    .bias = biases, .bias_count = 4}},
    {"greedy with penalties", {.temperature = 0, .repeat_last_n = -1, .repetition_penalty = 2,
                               .presence_penalty = 1, .top_k = 3}},
};

static void options_do_what_they_say(void **state)
{
    (void)state;
    float logits[VOCAB];
    SamplerTurn plain = {.ids = sequence, .count = 2, .prompt_count = 2};
    SamplerTurn turn = {.ids = sequence, .count = SEQUENCE, .prompt_count = PROMPT,
                        .breaks = breaks};
    make_sequence();
    make_logits(logits, VOCAB, 3, 1.5);
    for (int i = 0; i < 30; i++)
        logits[i] += 3; /* what the sequence holds is likely */
    logits[11] = logits[12] = logits[200];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check(cases[i].name, logits, VOCAB, cases[i].options, &plain, DRAWS);
        check(cases[i].name, logits, VOCAB, cases[i].options, &turn, DRAWS);
    }
}

/* Many blocks, so that the ranking grows by steps; flat and steep rows. */
static void long_rows_are_ranked_in_steps(void **state)
{
    (void)state;
    static float logits[REFERENCE_VOCAB_MAX];
    static const double spreads[] = {0, 0.01, 1, 4};
    static const Case some[] = {{"plain", {T1}}, {"top_p", {T1, .top_p = 0.95f}},
                                {"top_k", {T1, .top_k = 700}}, {"min_p", {T1, .min_p = 0.3f}},
                                {"typical_p", {T1, .typical_p = 0.8f}}};
    SamplerTurn turn = {0};
    for (size_t s = 0; s < 4; s++) {
        make_logits(logits, REFERENCE_VOCAB_MAX, 100 + s, spreads[s]);
        for (size_t i = 0; i < sizeof some / sizeof *some; i++)
            check(some[i].name, logits, REFERENCE_VOCAB_MAX - (uint32_t)s * 77, some[i].options,
                  &turn, LONG_DRAWS);
    }
}

static void greedy_takes_the_lowest_of_the_best(void **state)
{
    (void)state;
    float logits[VOCAB] = {0};
    SamplerOptions greedy = {0};
    SamplerTurn turn = {0};
    Sampler *sampler = sampler_for(VOCAB);
    assert_int_equal(pick(sampler, logits, &greedy, &turn).token.id, 0);
    logits[7] = logits[190] = logits[233] = 2;
    assert_int_equal(pick(sampler, logits, &greedy, &turn).token.id, 7);
    double total = log(VOCAB - 3 + 3 * exp(2));
    assert_near((double)pick(sampler, logits, &greedy, &turn).token.logprob, 2 - total, 1e-6);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -1000;
    logits[VOCAB - 1] = -999;
    assert_int_equal(pick(sampler, logits, &greedy, &turn).token.id, VOCAB - 1);
    logits[2] = -0.0f;
    logits[1] = 0;
    logits[0] = -0.0f; /* equal to 0 */
    assert_int_equal(pick(sampler, logits, &greedy, &turn).token.id, 0);
    sampler_free(sampler);
}

/* min_p 1 and top_k 1 among equals. */
static void ties_go_to_the_lowest_ids(void **state)
{
    (void)state;
    float logits[VOCAB];
    SamplerTurn turn = {0};
    Sampler *sampler = sampler_for(VOCAB);
    bool seen[VOCAB] = {0};
    for (int i = 0; i < VOCAB; i++)
        logits[i] = i % 50 == 9 ? 4 : 1;
    for (uint64_t i = 0; i < 300; i++) {
        SamplerOptions one = {.temperature = 1, .top_k = 1, .seed = i};
        SamplerOptions two = {.temperature = 1, .top_k = 2, .seed = i};
        SamplerOptions all = {.temperature = 1, .min_p = 1, .seed = i};
        assert_int_equal(pick(sampler, logits, &one, &turn).token.id, 9);
        int32_t id = pick(sampler, logits, &two, &turn).token.id;
        assert_true(id == 9 || id == 59);
        id = pick(sampler, logits, &all, &turn).token.id;
        assert_int_equal(id % 50, 9);
        seen[id] = true;
    }
    for (int i = 9; i < VOCAB; i += 50)
        assert_true(seen[i]);
    sampler_free(sampler);
}

static void seed_and_position_decide(void **state)
{
    (void)state;
    float logits[VOCAB];
    int32_t ids[300] = {0};
    make_logits(logits, VOCAB, 5, 1);
    Sampler *sampler = sampler_for(VOCAB);
    uint32_t same_seed = 0, same_position = 0;
    for (uint32_t i = 0; i < 200; i++) {
        SamplerOptions o = {.temperature = 1, .top_p = 0.95f, .seed = 9}, other = o;
        SamplerTurn turn = {.ids = ids, .count = i}, next = {.ids = ids, .count = i + 1};
        SamplerTurn later = {.ids = ids, .count = i + 50, .prompt_count = 50};
        other.seed = 10;
        int32_t id = pick(sampler, logits, &o, &turn).token.id;
        assert_int_equal(pick(sampler, logits, &o, &turn).token.id, id);
        assert_int_equal(pick(sampler, logits, &o, &later).token.id, id);
        same_seed += pick(sampler, logits, &other, &turn).token.id == id;
        same_position += pick(sampler, logits, &o, &next).token.id == id;
    }
    assert_true(same_seed < 40 && same_position < 40);
    sampler_free(sampler);
}

/* The model's own distribution, whatever is done to it afterwards. */
static void the_best_are_listed_in_order(void **state)
{
    (void)state;
    float logits[VOCAB];
    make_logits(logits, VOCAB, 8, 2);
    logits[4] = NAN;
    double total = 0;
    for (int i = 0; i < VOCAB; i++)
        total += i == 4 ? 0 : exp((double)logits[i]);
    SamplerBias ban[] = {{0, -100}};
    SamplerTurn turn = {.alternatives = SAMPLER_TOP_MAX};
    Sampler *sampler = sampler_for(VOCAB);
    ban[0].id = pick(sampler, logits, &(SamplerOptions){0}, &turn).token.id;
    SamplerOptions options = {.bias = ban, .bias_count = 1};
    SamplerPick got = pick(sampler, logits, &options, &turn);
    assert_int_equal(got.top_count, SAMPLER_TOP_MAX);
    assert_int_equal(got.top[0].id, ban[0].id);
    assert_int_equal(got.token.id, got.top[1].id);
    assert_near((double)got.token.logprob, (double)got.top[1].logprob, 0);
    for (uint32_t i = 0; i < SAMPLER_TOP_MAX; i++) {
        assert_near((double)got.top[i].logprob, (double)logits[got.top[i].id] - log(total), 1e-6);
        assert_true(i == 0 || got.top[i].logprob <= got.top[i - 1].logprob);
    }
    turn.ids_only = true;
    SamplerPick quick = pick(sampler, logits, &options, &turn);
    assert_int_equal(quick.token.id, got.token.id);
    assert_true(quick.top_count == 0 && quick.token.logprob == 0);
    sampler_free(sampler);
}

static void rows_that_are_no_numbers(void **state)
{
    (void)state;
    float logits[VOCAB];
    SamplerTurn turn = {.alternatives = 5};
    SamplerPick got;
    Error err;
    Sampler *sampler = sampler_for(VOCAB);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = i % 3 ? NAN : i == 6 || i == 150 ? INFINITY : i;
    uint32_t sixes = 0;
    for (uint64_t i = 0; i < 400; i++) {
        SamplerOptions o = {.temperature = i % 2 ? 1 : 0.01f, .top_p = i % 5 ? 0 : 0.9f, .seed = i,
                            .top_k = i % 7 ? 0 : 9, .typical_p = i % 11 ? 0 : 0.5f};
        got = pick(sampler, logits, &o, &turn);
        assert_true(got.token.id == 6 || got.token.id == 150); /* share the mass */
        assert_near((double)got.top[0].logprob, -log(2), 1e-6);
        sixes += got.token.id == 6;
    }
    assert_true(sixes > 150 && sixes < 290);
    assert_int_equal(pick(sampler, logits, &(SamplerOptions){0}, &turn).token.id, 6);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = i % 3 ? NAN : -INFINITY;
    for (int t = 0; t < 2; t++) {
        SamplerOptions o = {.temperature = (float)t};
        assert_fails(sampler_pick(sampler, logits, &o, &turn, &got, &err), ERR_INPUT, "no token");
    }
    logits[77] = -FLT_MAX; /* the one that is left */
    for (int t = 0; t < 2; t++) {
        SamplerOptions o = {.temperature = (float)t, .top_k = 5, .min_p = 0.5f, .top_p = 0.5f};
        got = pick(sampler, logits, &o, &turn);
        assert_true(got.token.id == 77 && got.top_count == 1);
        assert_near((double)got.token.logprob, 0, 0);
    }
    sampler_free(sampler);
}

static bool allow_some(void *user, const int32_t *answer, uint32_t count, uint64_t *allowed)
{
    const uint32_t *some = user;
    assert_true(count == 0 || answer[count - 1] == (int32_t)count);
    for (uint32_t i = 0; some[i]; i++)
        allowed[some[i] / 64] |= 1ull << (some[i] % 64);
    return some[0] != 1; /* 1: all is allowed */
}

static void the_hook_masks(void **state)
{
    (void)state;
    float logits[VOCAB];
    int32_t ids[] = {9, 9, 1, 2, 3};
    uint32_t some[] = {70, 299, 128, 0}, none[] = {0}, all[] = {1, 0};
    SamplerTurn turn = {.ids = ids, .count = 5, .prompt_count = 2};
    SamplerPick got;
    Error err;
    make_logits(logits, VOCAB, 12, 2);
    Sampler *sampler = sampler_for(VOCAB);
    for (uint64_t i = 0; i < 300; i++) {
        SamplerOptions o = {.temperature = i % 3 ? 1 : 0, .seed = i, .top_k = i % 2 ? 40 : 0,
                            .hook = {allow_some, some}};
        int32_t id = pick(sampler, logits, &o, &turn).token.id, free_id;
        assert_true(id == 70 || id == 299 || id == 128);
        o.hook = (SamplerHook){allow_some, all};
        free_id = pick(sampler, logits, &o, &turn).token.id;
        o.hook = (SamplerHook){0};
        assert_int_equal(free_id, pick(sampler, logits, &o, &turn).token.id);
        o.hook = (SamplerHook){allow_some, none};
        assert_fails(sampler_pick(sampler, logits, &o, &turn, &got, &err), ERR_INPUT, "masked");
    }
    sampler_free(sampler);
}

static void picking_allocates_nothing(void **state)
{
    (void)state;
    float logits[VOCAB];
    make_sequence();
    make_logits(logits, VOCAB, 12, 2);
    SamplerTurn turn = {.ids = sequence, .count = SEQUENCE, .prompt_count = PROMPT,
                        .breaks = breaks, .alternatives = 20};
    Sampler *sampler = sampler_for(VOCAB);
    uint64_t before = mem_count();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        pick(sampler, logits, &cases[i].options, &turn);
    assert_int_equal(mem_count(), before);
    sampler_free(sampler);
    for (int64_t n = 0;; n++) {
        Error err;
        mem_fail_after(n);
        bool made = sampler_new(&sampler, VOCAB, 100, &err);
        mem_fail_after(-1);
        if (made)
            break;
        assert_int_equal(err.code, ERR_MEMORY);
    }
    sampler_free(sampler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_do_what_they_say),
        cmocka_unit_test(long_rows_are_ranked_in_steps),
        cmocka_unit_test(greedy_takes_the_lowest_of_the_best),
        cmocka_unit_test(ties_go_to_the_lowest_ids),
        cmocka_unit_test(seed_and_position_decide),
        cmocka_unit_test(the_best_are_listed_in_order),
        cmocka_unit_test(rows_that_are_no_numbers),
        cmocka_unit_test(the_hook_masks),
        cmocka_unit_test(picking_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
