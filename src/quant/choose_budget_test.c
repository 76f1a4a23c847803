/* choose_budget_test.c: against every choice there is, and at the edges. */
#include "quant/choose_budget.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/test.h"

#include <math.h>

enum { ITEMS = 6, PER = 4 };

/* Sizes of multiples of `grain`; larger options have smaller errors, mostly. */
static void make(BudgetOption *options, uint64_t seed, uint64_t grain)
{
    RngKey key = rng_key(seed, "budget");
    for (uint32_t i = 0; i < ITEMS; i++) {
        for (uint32_t k = 0; k < PER; k++) {
            BudgetOption *o = &options[i * PER + k];
            uint64_t at = i * PER + k;
            o->bytes = grain * (1 + rng_below(key, 2 * at, 60) + 20 * k);
            o->error = rng_uniform(key, 2 * at + 1) * pow(0.3, k);
            if (k && rng_below(key, 1000 + at, 6) == 0)
                o->error = INFINITY;
        }
    }
}

/* The least error of all 4^6 choices within the budget; infinite: none fits. */
static double brute_force(const BudgetOption *options, uint64_t budget)
{
    double best = INFINITY;
    for (uint32_t code = 0; code < 1u << 2 * ITEMS; code++) {
        uint64_t bytes = 0;
        double error = 0;
        for (uint32_t i = 0; i < ITEMS; i++) {
            const BudgetOption *o = &options[i * PER + (code >> 2 * i & 3)];
            bytes += o->bytes;
            error += o->error;
        }
        if (bytes <= budget && error < best)
            best = error;
    }
    return best;
}

static void check_answer(const BudgetOption *options, const uint32_t *picked, uint64_t budget,
                         const BudgetAnswer *a)
{
    uint64_t bytes = 0;
    double error = 0;
    for (uint32_t i = 0; i < ITEMS; i++) {
        assert_true(picked[i] < PER);
        bytes += options[i * PER + picked[i]].bytes;
        error += options[i * PER + picked[i]].error;
    }
    assert_int_equal(bytes, a->bytes);
    assert_near(error, a->error, 0);
    assert_true(a->bytes <= budget);
    assert_true(a->bound <= a->error * (1 + 1e-9) + 1e-12);
}

static void equals_every_choice_there_is(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        BudgetOption options[ITEMS * PER];
        uint32_t picked[ITEMS];
        BudgetAnswer answer;
        Error err = {0};
        make(options, seed, 34);
        uint64_t budget = 34 * rng_below(rng_key(seed, "size"), 0, 700) + seed % 34;
        double best = brute_force(options, budget);
        if (!(best < INFINITY)) {
            assert_fails(choose_budget(options, ITEMS, PER, budget, picked, &answer, &err),
                         ERR_INPUT, "bytes are needed, the budget is");
            continue;
        }
        assert_ok(choose_budget(options, ITEMS, PER, budget, picked, &answer, &err));
        check_answer(options, picked, budget, &answer);
        assert_true(answer.exact);
        assert_near(answer.error, best, 1e-12);
        assert_true(answer.bound <= best + 1e-9);
    }
}

/* Sizes without a common divisor and too large for the table: near, and within the bound. */
static void rounded_sizes_come_near(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        BudgetOption options[ITEMS * PER];
        uint32_t picked[ITEMS];
        BudgetAnswer answer;
        Error err = {0};
        make(options, seed, 1000003);
        for (uint32_t i = 0; i < ITEMS * PER; i++)
            options[i].bytes += i;
        uint64_t budget = 1000003ull * (350 + rng_below(rng_key(seed, "size"), 0, 200));
        double best = brute_force(options, budget);
        assert_ok(choose_budget(options, ITEMS, PER, budget, picked, &answer, &err));
        check_answer(options, picked, budget, &answer);
        assert_true(answer.error >= best - 1e-12 && answer.bound <= best + 1e-9);
        assert_near(answer.error, best, 0.02 * best + 1e-12);
    }
}

static void edges(void **state)
{
    (void)state;
    Error err = {0};
    uint32_t picked[2];
    BudgetAnswer answer;
    BudgetOption same[] = {{10, 1}, {10, 1}, {10, INFINITY}, {5, 1}, {5, 1}, {5, 2}};
    assert_ok(choose_budget(same, 2, 3, 15, picked, &answer, &err)); /* nothing to spare */
    assert_int_equal(picked[0], 0);
    assert_int_equal(picked[1], 0);
    assert_fails(choose_budget(same, 2, 3, 14, picked, &answer, &err), ERR_INPUT, "15 bytes");
    BudgetOption huge[] = {{1, 1}, {1ull << 50, 0.5}, {1, 1}, {1ull << 50, 0.25}};
    assert_ok(choose_budget(huge, 2, 2, (1ull << 50) + 1, picked, &answer, &err));
    assert_int_equal(picked[0], 0);
    assert_int_equal(picked[1], 1);
    assert_ok(choose_budget(huge, 2, 2, UINT64_MAX, picked, &answer, &err));
    assert_near(answer.error, 0.75, 0);
    assert_near(answer.bound, 0.75, 0);
}

static void failed_allocations_are_told(void **state)
{
    (void)state;
    BudgetOption options[ITEMS * PER];
    uint32_t picked[ITEMS];
    BudgetAnswer answer;
    make(options, 1, 34);
    for (int64_t n = 0; n < 20; n++) {
        Error err = {0};
        mem_fail_after(n);
        bool ok = choose_budget(options, ITEMS, PER, 34 * 400, picked, &answer, &err);
        mem_fail_after(-1);
        if (ok)
            return;
        assert_int_equal(err.code, ERR_MEMORY);
    }
    fail_test("never succeeded");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_every_choice_there_is),
        cmocka_unit_test(rounded_sizes_come_near),
        cmocka_unit_test(edges),
        cmocka_unit_test(failed_allocations_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
