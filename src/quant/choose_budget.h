/* choose_budget.h: one option for each item, so that errors add up to the least within a budget.
 *
 * A multiple-choice knapsack, solved by dynamic programming over bytes: best[u] is the least error
 * of the items so far in u units. Only what an option takes beyond its item's smallest is counted.
 * Where the greatest common divisor of these extras gives at most BUDGET_CELLS cells the answer is
 * exact; else the unit is larger, extras are rounded up (the budget holds always) and what is left
 * over is spent on the best single upgrades. `bound` says how far from the best it can be: the
 * Lagrangian dual, below which no choice can come.
 *
 * Equal errors: the earlier option. Deterministic. Errors: ERR_INPUT (the smallest options are
 * over the budget), ERR_MEMORY. Threads: any.
 */
#pragma once
#include "base/error.h"

#include <stdint.h>

enum { BUDGET_OPTIONS_MAX = 32, BUDGET_CELLS = 1 << 25 };

typedef struct {
    uint64_t bytes;
    double error; /* >= 0; infinite: not to be had */
} BudgetOption;

typedef struct {
    uint64_t bytes;
    double error, bound; /* bound <= the least error possible <= error */
    bool exact;
} BudgetAnswer;

/* options[items][per], each item with one of finite error; picked[items] gets their numbers. */
bool choose_budget(const BudgetOption *options, uint32_t items, uint32_t per, uint64_t budget,
                   uint32_t *picked, BudgetAnswer *answer, Error *err) MUST_CHECK;
