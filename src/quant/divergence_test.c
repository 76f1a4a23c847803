/* divergence_test.c: the figures against sums taken by hand, and intervals against known ones. */
#include "quant/divergence.h"

#include "quant/quant_test.h"

#include <math.h>

static Model *model;
static int32_t ids[TEXT_TOKENS];

static int set_up(void **state)
{
    (void)state;
    model = quant_model(false, 5);
    quant_text(model, ids);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    model_free(model);
    return 0;
}

static const DivergenceOptions plain = {.threads = 1, .window = TEXT_WINDOW};

static Divergence measure(const Model *other)
{
    Error err = {0};
    DivergenceBase *base = NULL;
    Divergence d = {0};
    assert_ok(divergence_open(&base, model, ids, TEXT_TOKENS, &plain, &err));
    assert_ok(divergence_measure(base, other, &d, &err));
    divergence_close(base);
    return d;
}

static void a_model_does_not_differ_from_itself(void **state)
{
    (void)state;
    Divergence d = measure(model);
    assert_int_equal(d.tokens, TEXT_WINDOWS * (TEXT_WINDOW - 1));
    assert_int_equal(d.windows, TEXT_WINDOWS);
    assert_near(d.kl.mean, 0, 1e-12);
    assert_near(d.change.mean, 0, 0);
    assert_near(d.agreement.mean, 1, 0);
    assert_near(d.perplexity_after.mean, d.perplexity_before.mean, 0);
    assert_near(d.kl_most, 0, 1e-9);
}

/* A head of zeros gives every token the same probability: all figures follow from the original's. */
static void a_blank_head_gives_what_is_known(void **state)
{
    (void)state;
    Model other = quant_copy(model);
    const ParamInfo *head = weights_find(&model->weights, "lm_head.weight");
    assert_non_null(head);
    memset(other.weights.slab + head->offset, 0, shape_count(head->shape) * sizeof(float));
    Divergence d = measure(&other);
    assert_near(d.perplexity_after.mean, TEXT_VOCAB, 1e-4);
    assert_near(d.perplexity_after.high - d.perplexity_after.low, 0, 1e-4);
    /* KL to the uniform is log V less the entropy; the text is the model's own, so its entropy is
     * near the loss on it */
    assert_near(d.kl.mean, log(TEXT_VOCAB) - log(d.perplexity_before.mean), 0.1);
    assert_near(d.change.mean, log(TEXT_VOCAB) - log(d.perplexity_before.mean), 1e-5);
    assert_true(d.kl.low < d.kl.mean && d.kl.mean < d.kl.high);
    assert_true(d.kl_99 <= d.kl_most && d.kl_99 > d.kl.mean);
    mem_free(other.weights.slab);
}

static void more_noise_is_further_away(void **state)
{
    (void)state;
    double last = 0;
    for (int step = 1; step <= 3; step++) {
        Model other = quant_copy(model);
        RngKey key = rng_key(1, "noise");
        for (uint64_t i = 0; i < other.weights.elements; i++)
            other.weights.slab[i] += (float)(0.004 * step * rng_normal(key, i));
        Divergence d = measure(&other);
        if (!(d.kl.low > last))
            fail_test("noise %d: divergence from %g, before %g", step, d.kl.low, last);
        assert_true(d.agreement.mean < 1);
        last = d.kl.high;
        mem_free(other.weights.slab);
    }
}

static void threads_do_not_show(void **state)
{
    (void)state;
    Error err = {0};
    DivergenceBase *base = NULL;
    Divergence a, b;
    Model other = quant_copy(model);
    other.weights.slab[0] += 1;
    DivergenceOptions three = {.threads = 3, .window = TEXT_WINDOW};
    a = measure(&other);
    assert_ok(divergence_open(&base, model, ids, TEXT_TOKENS, &three, &err));
    assert_ok(divergence_measure(base, &other, &b, &err));
    divergence_close(base);
    assert_near(a.kl.mean, b.kl.mean, 0);
    assert_near(a.kl.high, b.kl.high, 0);
    assert_near(a.kl_99, b.kl_99, 0);
    assert_near(a.change.low, b.change.low, 0);
    assert_near(a.agreement.mean, b.agreement.mean, 0);
    mem_free(other.weights.slab);
}

/* scipy.stats.t.interval(0.95, n - 1, mean, sem) */
static void intervals_are_students(void **state)
{
    (void)state;
    static const double two[] = {1, 2}, five[] = {1, 2, 3, 4, 5}, twelve[] = {3, 1, 4, 1, 5, 9,
                                                                             2, 6, 5, 3, 5, 8};
    Estimate e = divergence_estimate(two, 2);
    assert_near(e.low, 1.5 - 6.353102368, 1e-3);
    e = divergence_estimate(five, 5);
    assert_near(e.mean, 3, 1e-12);
    assert_near(e.high, 3 + 1.963243161, 6e-3);
    e = divergence_estimate(twelve, 12);
    assert_near(e.mean, 52.0 / 12, 1e-12);
    assert_near(e.high - e.mean, 1.610414, 1e-3);
}

static void figures_have_names(void **state)
{
    (void)state;
    Divergence d = measure(model);
    json_t *object = divergence_json(&d);
    assert_non_null(object);
    static const char *const keys[] = {"tokens", "windows", "perplexity_before",
                                       "perplexity_after", "log_perplexity_change", "kl",
                                       "agreement", "kl_99", "kl_most"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_non_null(json_object_get(object, keys[i]));
    assert_int_equal(json_object_size(object), sizeof keys / sizeof *keys);
    json_decref(object);
}

static void what_cannot_be_compared_is_refused(void **state)
{
    (void)state;
    Error err = {0};
    DivergenceBase *base = NULL;
    Divergence d;
    int32_t wrong[2 * TEXT_WINDOW] = {0};
    wrong[40] = -1;
    assert_fails(divergence_open(&base, model, ids, 2 * TEXT_WINDOW - 1, &plain, &err), ERR_INPUT,
                 "at least two windows of 32");
    assert_fails(divergence_open(&base, model, wrong, 2 * TEXT_WINDOW, &plain, &err), ERR_INPUT,
                 "id -1");
    assert_ok(divergence_open(&base, model, ids, 2 * TEXT_WINDOW, &plain, &err));
    Model other = quant_copy(model);
    other.config.vocab--;
    assert_fails(divergence_measure(base, &other, &d, &err), ERR_INPUT, "vocabularies of 64 and 63");
    other.config.vocab++;
    other.weights.slab[0] = NAN; /* an embedding that the text reads */
    for (uint64_t i = 0; i < 64 * 256; i++)
        other.weights.slab[i] = NAN;
    assert_fails(divergence_measure(base, &other, &d, &err), ERR_INPUT, "not a number");
    mem_free(other.weights.slab);
    divergence_close(base);
}

static void failed_allocations_are_told(void **state)
{
    (void)state;
    for (int64_t n = 0; n < 100000; n += 1 + n / 16) {
        Error err = {0};
        DivergenceBase *base = NULL;
        Divergence d;
        mem_fail_after(n);
        bool ok = divergence_open(&base, model, ids, 2 * TEXT_WINDOW, &plain, &err) &&
                  divergence_measure(base, model, &d, &err);
        mem_fail_after(-1);
        divergence_close(base);
        if (ok)
            return;
        assert_int_equal(err.code, ERR_MEMORY);
    }
    fail_test("never succeeded");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_does_not_differ_from_itself),
        cmocka_unit_test(a_blank_head_gives_what_is_known),
        cmocka_unit_test(more_noise_is_further_away),
        cmocka_unit_test(threads_do_not_show),
        cmocka_unit_test(intervals_are_students),
        cmocka_unit_test(figures_have_names),
        cmocka_unit_test(what_cannot_be_compared_is_refused),
        cmocka_unit_test(failed_allocations_are_told),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
