/* Golden values: the lambdas of transformers.optimization evaluated in Python, times 3e-4:
 *   linear  get_linear_schedule_with_warmup(10, 100)
 *   cosine  get_cosine_with_min_lr_schedule_with_warmup(10, 100, min_lr_rate=0.1)
 *   wsd     get_wsd_schedule(10 warm-up, 70 stable, 20 decay steps, decay_type="1-sqrt",
 *           min_lr_ratio=0.1); its warm-up starts at the floor there, at 0 here: not compared
 * torch's LambdaLR gives update s the value of step s, from 0. */
#include "base/test.h"
#include "train/schedule.h"

#include <math.h>

static const uint64_t golden_steps[] = {0, 1, 9, 10, 11, 37, 80, 81, 90, 99, 100};

static const struct {
    const char *name;
    double floor_share;
    double rates[11];
} golden[] = {
    {"linear", 0.0, {0, 3e-05, 0.00027, 0.0003, 0.00029666666666666665, 0.00021,
                     6.666666666666666e-05, 6.333333333333333e-05, 3.333333333333333e-05,
                     3.3333333333333333e-06, 0}},
    {"cosine", 0.1, {0, 3e-05, 0.00027, 0.0003, 0.00029991776164757793, 0.00024435100905948387,
                     6.158400017893799e-05, 5.8618548263092546e-05, 3.814149619390237e-05,
                     3.008223835242207e-05, 3e-05}},
    {"wsd", 0.1, {0, 3e-05, 0.00027, 0.0003, 0.0003, 0.0003, 0.0003, 0.00023962616460750566,
                  0.00010908116907963214, 3.683655269015799e-05, 3e-05}},
    {"constant", 0.1, {0, 3e-05, 0.00027, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003,
                       0.0003}},
};

static Schedule schedule_of(const char *name, double floor_share)
{
    Schedule s = {.row = schedule_named(name), .peak = 3e-4, .steps = 100, .warmup = 10,
                  .floor_share = floor_share, .decay_share = 0.2};
    assert_non_null(s.row);
    return s;
}

static void equals_transformers(void **state)
{
    (void)state;
    for (size_t g = 0; g < sizeof golden / sizeof *golden; g++) {
        Schedule s = schedule_of(golden[g].name, golden[g].floor_share);
        for (int i = 0; i < 11; i++)
            assert_near(schedule_rate(&s, golden_steps[i]), golden[g].rates[i], 1e-18);
    }
}

/* Every row: within [floor, peak] behind the warm-up, never rising there, level after the end. */
static void every_row_is_sound(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {1, 2, 3, 10, 1000}, warmups[] = {0, 1, 2, 100, 5000};
    for (int r = 0; r < SCHEDULE_COUNT; r++) {
        assert_ptr_equal(schedule_named(schedule_rows[r].name), &schedule_rows[r]);
        for (int c = 0; c < 25; c++) {
            Schedule s = {&schedule_rows[r], 2.0, lengths[c / 5], warmups[c % 5], 0.25, 0.3};
            double last = 2.0;
            for (uint64_t step = 0; step < s.steps + 50; step++) {
                double rate = schedule_rate(&s, step);
                assert_true(isfinite(rate));
                assert_in_range((uint64_t)(rate * 1e6), 0, 2000000);
                if (step < s.warmup)
                    continue;
                assert_true(rate >= 0.5 - 1e-12);
                assert_true(rate <= last + 1e-12);
                last = rate;
            }
            assert_true(schedule_rate(&s, UINT64_MAX) <= 2.0);
            if (!s.warmup)
                assert_near(schedule_rate(&s, 0), 2.0, 0);
        }
    }
    assert_null(schedule_named("step"));
}

static void wsd_may_be_made_longer(void **state)
{
    (void)state;
    Schedule a = schedule_of("wsd", 0), b = a;
    b.steps = 1000;
    for (uint64_t step = 0; step <= 80; step++)
        assert_true(schedule_rate(&a, step) == schedule_rate(&b, step));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_transformers),
        cmocka_unit_test(every_row_is_sound),
        cmocka_unit_test(wsd_may_be_made_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
