/* sampler_penalty_test.c: small sequences whose penalties are worked out by hand; sampler_test.c
 * compares long ones with a plain computation. */
#include "infer/sampler_penalty.h"

#include "base/test.h"

#include <math.h>

enum { VOCAB = 10 };

static float x[VOCAB];
static SamplerRow row;
static SamplerPenalty penalty;

static int begin(void **state)
{
    (void)state;
    return row_init(&row, VOCAB) && penalty_init(&penalty, VOCAB, 64) ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    row_done(&row);
    penalty_done(&penalty);
    return 0;
}

static void fresh(float value)
{
    for (int i = 0; i < VOCAB; i++)
        x[i] = value;
    row_begin(&row, x);
}

static void lost(uint32_t id, double want)
{
    double got = (double)x[id] - (double)row_get(&row, id);
    if (!(fabs(got - want) < 1e-6))
        fail_test("token %u lost %g, expected %g", id, got, want);
}

static void each_token_once_by_its_count(void **state)
{
    (void)state;
    static const int32_t ids[] = {1, 2, 2, 3, 2, 4, 4};
    SamplerTurn turn = {.ids = ids, .count = 7, .prompt_count = 3};
    SamplerOptions o = {.presence_penalty = 0.5f, .frequency_penalty = 0.25f, .repeat_last_n = -1};
    fresh(1);
    penalty_repetition(&penalty, &row, &o, &turn);
    lost(1, 0); /* in the prompt only */
    lost(2, 0.75);
    lost(3, 0.75);
    lost(4, 1);
    lost(5, 0);
    o.repeat_last_n = 2;
    fresh(1);
    penalty_repetition(&penalty, &row, &o, &turn);
    lost(2, 0);
    lost(4, 1);
    o = (SamplerOptions){.repetition_penalty = 2, .repeat_last_n = -1};
    fresh(3);
    penalty_repetition(&penalty, &row, &o, &turn);
    lost(1, 1.5);
    lost(4, 1.5);
    lost(9, 0);
    fresh(-3);
    penalty_repetition(&penalty, &row, &o, &turn);
    lost(1, 3);
    o.repeat_last_n = 0;
    fresh(-3);
    penalty_repetition(&penalty, &row, &o, &turn);
    assert_int_equal(row.changed_count, 0);
}

static void dry_grows_with_the_repeat(void **state)
{
    (void)state;
    /* 1 2 3 stand at the end and before 4; 2 3 also before 5 */
    static const int32_t ids[] = {1, 2, 3, 4, 0, 2, 3, 5, 0, 1, 2, 3};
    static const uint8_t inside[12] = {[10] = 1}, before[12] = {[8] = 1}, at_four[12] = {[3] = 1};
    SamplerTurn turn = {.ids = ids, .count = 12, .prompt_count = 12};
    SamplerOptions o = {.dry_multiplier = 2, .dry_base = 3, .dry_allowed_length = 2,
                        .dry_penalty_last_n = -1};
    fresh(0);
    penalty_dry(&penalty, &row, &o, &turn);
    lost(4, 2 * 3);
    lost(5, 2);
    lost(0, 0);
    turn.breaks = before;
    fresh(0);
    penalty_dry(&penalty, &row, &o, &turn);
    lost(4, 2 * 3);
    turn.breaks = inside; /* only 3 is behind it */
    fresh(0);
    penalty_dry(&penalty, &row, &o, &turn);
    assert_int_equal(row.changed_count, 0);
    turn.breaks = at_four; /* it followed, but ended a break there */
    fresh(0);
    penalty_dry(&penalty, &row, &o, &turn);
    lost(4, 0);
    lost(5, 2);
    turn.breaks = NULL;
    o.dry_penalty_last_n = 9; /* 4 is seen, but only the 3 before it is not cut off */
    fresh(0);
    penalty_dry(&penalty, &row, &o, &turn);
    lost(4, 0);
    lost(5, 2);
    o.dry_penalty_last_n = 0;
    fresh(0);
    penalty_dry(&penalty, &row, &o, &turn);
    assert_int_equal(row.changed_count, 0);
}

/* One token again and again: the repeat overlaps itself, and the penalty stays a number. */
static void dry_is_bounded(void **state)
{
    (void)state;
    int32_t ids[64];
    for (int i = 0; i < 64; i++)
        ids[i] = 6;
    SamplerTurn turn = {.ids = ids, .count = 64};
    SamplerOptions o = {.dry_multiplier = 100, .dry_base = 100, .dry_allowed_length = 1,
                        .dry_penalty_last_n = -1};
    fresh(0);
    penalty_dry(&penalty, &row, &o, &turn);
    assert_true(row_get(&row, 6) == -1e30f);
    for (int i = 0; i < VOCAB; i++)
        assert_int_equal(penalty.seen[i], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_token_once_by_its_count),
        cmocka_unit_test(dry_grows_with_the_repeat),
        cmocka_unit_test(dry_is_bounded),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
