/* Numbers with more than two digits are printed by tools/stats_check.py (scipy, scikit-learn). */
#include "base/test.h"

#include "base/mem.h"
#include "eval/stats.h"

#include <math.h>

static void wilson_agrees_with_scipy(void **state)
{
    (void)state;
    static const struct {
        uint64_t right, count;
        double low, high;
    } cases[] = {{0, 10, 0, 0.277532799863},
                 {10, 10, 0.722467200137, 1},
                 {1, 3, 0.061491944720, 0.792340399198},
                 {2683, 3190, 0.827969095442, 0.853342118047},
                 {50, 100, 0.403831530366, 0.596168469634},
                 {0, 0, 0, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Interval got = stats_wilson(cases[i].right, cases[i].count);
        assert_near(got.low, cases[i].low, 1e-11);
        assert_near(got.high, cases[i].high, 1e-11);
    }
}

static void mcnemar_agrees_with_scipy(void **state)
{
    (void)state;
    assert_near(stats_mcnemar(0, 0), 1, 1e-12);
    assert_near(stats_mcnemar(5, 1), 0.21875, 1e-12);
    assert_near(stats_mcnemar(10, 25), 0.0166738478001, 1e-11);
    assert_near(stats_mcnemar(400, 310), 0.000825456117024, 1e-11);
    assert_near(stats_mcnemar(3, 3), 1, 1e-12);
    assert_true(stats_mcnemar(1000000, 0) >= 0);
}

enum { ANSWERS = 300, GROUPS = 60 };

static void fill_answers(double *value, uint32_t *group)
{
    for (uint32_t i = 0; i < ANSWERS; i++) {
        value[i] = (i / 5 * 7) % 10 < 6;
        if (i % 11 == 0)
            value[i] = 1 - value[i];
        group[i] = i / 5;
    }
}

/* scipy's ends come from 200,000 resamples; ours of 2,000 wander by about 0.005. */
static void bootstrap_draws_whole_groups(void **state)
{
    (void)state;
    Error err = {0};
    double value[ANSWERS], effect;
    uint32_t group[ANSWERS];
    Interval got, same, other;
    fill_answers(value, group);
    assert_ok(stats_bootstrap_mean(value, group, ANSWERS, GROUPS, 1, &got, &err));
    assert_near(got.low, 0.4733, 0.012);
    assert_near(got.high, 0.6833, 0.012);
    assert_ok(stats_bootstrap_mean(value, group, ANSWERS, GROUPS, 1, &same, &err));
    assert_memory_equal(&got, &same, sizeof got);
    assert_ok(stats_bootstrap_mean(value, group, ANSWERS, GROUPS, 2, &other, &err));
    assert_true(got.low != other.low || got.high != other.high);
    assert_ok(stats_bootstrap_mean(value, NULL, ANSWERS, 0, 1, &got, &err));
    assert_near(got.low, 0.5233, 0.008);
    assert_near(got.high, 0.6367, 0.008);
    assert_ok(stats_design_effect(value, group, ANSWERS, GROUPS, &effect, &err));
    assert_near(effect, 3.467432950192, 1e-9);
    assert_ok(stats_design_effect(value, NULL, ANSWERS, 0, &effect, &err));
    assert_near(effect, 1, 1e-12);
}

/* Of 400 made-up tests whose truth is 0.7, with groups of ten that share their difficulty, an
 * honest interval of 95 % misses about 20; one that ignores groups misses several times more. */
static void bootstrap_covers_the_truth(void **state)
{
    (void)state;
    enum { TRIALS = 400, COUNT = 500, EACH = 10 };
    double value[COUNT];
    uint32_t group[COUNT], missed = 0, missed_alone = 0, random = 12345;
    for (uint32_t t = 0; t < TRIALS; t++) {
        double chance = 0;
        for (uint32_t i = 0; i < COUNT; i++) {
            random = random * 1664525u + 1013904223u;
            if (i % EACH == 0)
                chance = (random >> 8) % 1000 < 500 ? 0.95 : 0.45;
            random = random * 1664525u + 1013904223u;
            value[i] = (random >> 8) % 10000 < 10000 * chance;
            group[i] = i / EACH;
        }
        Error err = {0};
        Interval got;
        assert_ok(stats_bootstrap_mean(value, group, COUNT, COUNT / EACH, t, &got, &err));
        missed += got.low > 0.7 || got.high < 0.7;
        uint64_t right = 0;
        for (uint32_t i = 0; i < COUNT; i++)
            right += value[i] > 0.5;
        got = stats_wilson(right, COUNT);
        missed_alone += got.low > 0.7 || got.high < 0.7;
    }
    print_message("missed: groups %u, alone %u of %d\n", missed, missed_alone, TRIALS);
    assert_true(missed >= 8 && missed <= 36);
    assert_true(missed_alone > 2 * missed);
}

static void groups_are_numbered_in_order(void **state)
{
    (void)state;
    Error err = {0};
    static const char *const names[] = {"curl", "zlib", "curl", "", "zlib", "curl2"};
    uint32_t out[6], groups = 0;
    assert_ok(stats_number_groups(names, 6, out, &groups, &err));
    static const uint32_t want[] = {0, 1, 0, 2, 1, 3};
    assert_memory_equal(out, want, sizeof want);
    assert_int_equal(groups, 4);
    mem_fail_after(0);
    assert_fails(stats_number_groups(names, 6, out, &groups, &err), ERR_MEMORY, "6 answers");
    mem_fail_after(-1);
}

static void calibration_bins(void **state)
{
    (void)state;
    static const float confidence[] = {0.05f, 0.15f, 0.18f, 0.55f, 0.95f, 1.0f, 0.99f, 0.2f};
    static const bool right[] = {false, true, false, true, true, true, false, false};
    StatsBin bin[10];
    assert_near(stats_calibration(confidence, right, 8, 10, bin), 0.28875, 1e-7);
    assert_int_equal(bin[9].count, 3);
    assert_int_equal(bin[1].count, 2);
    assert_int_equal(bin[2].count, 1);
    assert_int_equal(bin[3].count, 0);
    assert_near(bin[9].confidence, 0.98, 1e-6);
    assert_near(bin[9].accuracy, 2.0 / 3, 1e-12);
    static const float odd[] = {NAN, -1, 2, INFINITY};
    assert_near(stats_calibration(odd, right, 4, 10, bin), 0.5 * 0.5 + 0.5 * 0.5, 1e-12);
    static const double logs[] = {-0.6931471805599453, -2.0794415416798357};
    assert_near(stats_bits(logs, 2), 2, 1e-12);
}

static const uint32_t actual[] = {0, 0, 0, 0, 1, 1, 1, 2, 2, 4};
static const uint32_t predicted[] = {0, 0, 1, 2, 1, 1, 0, 2, 5, 4};

static void classes_agree_with_scikit_learn(void **state)
{
    (void)state;
    StatsClass got[6];
    assert_near(stats_classes(actual, predicted, 10, 6, got), 0.547619047619, 1e-11);
    static const double precision[] = {2. / 3, 2. / 3, 0.5, 0, 1, 0};
    static const double recall[] = {0.5, 2. / 3, 0.5, 0, 1, 0};
    for (int c = 0; c < 6; c++) {
        assert_near(got[c].precision, precision[c], 1e-12);
        assert_near(got[c].recall, recall[c], 1e-12);
    }
    assert_near(got[0].f1, 4. / 7, 1e-12);
    uint32_t top[3];
    assert_int_equal(stats_top_classes(got, 6, top, 3), 3);
    assert_int_equal(top[0], 0);
    assert_int_equal(top[1], 1);
    assert_int_equal(top[2], 2);
    uint32_t all[8];
    assert_int_equal(stats_top_classes(got, 6, all, 8), 4);
    assert_int_equal(all[3], 4);
}

static void top_k_counts_ties_against(void **state)
{
    (void)state;
    static const float probability[] = {0.5f, 0.3f, 0.2f, 0.0f,   /* first */
                                        0.5f, 0.3f, 0.1f, 0.1f,   /* tied for third */
                                        0.1f, 0.2f, 0.3f, 0.4f};  /* last */
    static const uint32_t labels[] = {0, 2, 0};
    assert_near(stats_top_k(probability, labels, 3, 4, 1), 1. / 3, 1e-12);
    assert_near(stats_top_k(probability, labels, 3, 4, 3), 1. / 3, 1e-12);
    assert_near(stats_top_k(probability, labels, 3, 4, 4), 1, 1e-12);
}

static void confusion_gathers_the_rest(void **state)
{
    (void)state;
    Error err = {0};
    static const uint32_t top[] = {0, 1};
    static const uint64_t want[] = {2, 1, 1, 1, 2, 0, 0, 0, 3};
    uint64_t matrix[9];
    stats_confusion(actual, predicted, 10, top, 2, 6, matrix);
    assert_memory_equal(matrix, want, sizeof want);
    StatsPair pair[8];
    uint32_t found;
    static const uint32_t a[] = {3, 3, 1, 3, 1, 0}, p[] = {1, 1, 3, 1, 3, 0};
    assert_ok(stats_worst_pairs(a, p, 6, pair, 8, &found, &err));
    assert_int_equal(found, 2);
    assert_true(pair[0].actual == 3 && pair[0].predicted == 1 && pair[0].count == 3);
    assert_int_equal(pair[1].count, 2);
    assert_ok(stats_worst_pairs(actual, predicted, 10, pair, 2, &found, &err));
    assert_int_equal(found, 2);
    assert_true(pair[0].actual == 0 && pair[0].predicted == 1 && pair[0].count == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wilson_agrees_with_scipy),
        cmocka_unit_test(mcnemar_agrees_with_scipy),
        cmocka_unit_test(bootstrap_draws_whole_groups),
        cmocka_unit_test(bootstrap_covers_the_truth),
        cmocka_unit_test(groups_are_numbered_in_order),
        cmocka_unit_test(calibration_bins),
        cmocka_unit_test(classes_agree_with_scikit_learn),
        cmocka_unit_test(top_k_counts_ties_against),
        cmocka_unit_test(confusion_gathers_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
