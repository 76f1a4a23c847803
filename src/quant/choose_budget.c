/* choose_budget.c: see choose_budget.h. */
#include "quant/choose_budget.h"

#include "base/mem.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { UNITS_MAX = 1 << 17, BISECTIONS = 200 };

typedef struct {
    const BudgetOption *options;
    uint32_t items, per;
    uint64_t budget, spare; /* spare: beyond all smallest options */
    uint64_t *smallest;     /* [items] bytes */
    uint64_t unit;
    uint32_t units;
    bool exact;
} Problem;

static const BudgetOption *option(const Problem *p, uint32_t item, uint32_t k)
{
    return &p->options[(size_t)item * p->per + k];
}

static bool usable(const BudgetOption *o)
{
    return o->error < INFINITY;
}

static uint64_t divisor(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static bool find_smallest(Problem *p, Error *err)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < p->items; i++) {
        p->smallest[i] = UINT64_MAX;
        for (uint32_t k = 0; k < p->per; k++) {
            if (usable(option(p, i, k)) && option(p, i, k)->bytes < p->smallest[i])
                p->smallest[i] = option(p, i, k)->bytes;
        }
        assert(p->smallest[i] < UINT64_MAX);
        sum += p->smallest[i];
    }
    if (sum > p->budget)
        return fail(err, ERR_INPUT, "at least %llu bytes are needed, the budget is %llu",
                    (unsigned long long)sum, (unsigned long long)p->budget);
    p->spare = p->budget - sum;
    return true;
}

/* Units so fine that every extra is whole, if the table allows. */
static void choose_unit(Problem *p)
{
    uint64_t common = 0, most = 0, cells = BUDGET_CELLS / (p->items + 1);
    for (uint32_t i = 0; i < p->items; i++) {
        uint64_t largest = 0;
        for (uint32_t k = 0; k < p->per; k++) {
            uint64_t extra = option(p, i, k)->bytes - p->smallest[i];
            if (!usable(option(p, i, k)))
                continue;
            common = divisor(extra, common);
            largest = extra > largest ? extra : largest;
        }
        most += largest;
    }
    uint64_t reach = most < p->spare ? most : p->spare;
    cells = cells < UNITS_MAX ? cells : UNITS_MAX;
    cells = cells < 16 ? 16 : cells;
    p->unit = common ? common : 1;
    p->exact = reach / p->unit < cells;
    if (!p->exact)
        p->unit = (reach + cells - 1) / cells;
    p->units = (uint32_t)(reach / p->unit);
}

/* ---- the table ---- */

/* best[u] after item i, from what it was before; pick[u] is the option that gave it. */
static void add_item(const Problem *p, uint32_t item, double *best, const double *before,
                     uint8_t *pick)
{
    for (uint32_t u = 0; u <= p->units; u++)
        best[u] = INFINITY;
    for (uint32_t k = 0; k < p->per; k++) {
        const BudgetOption *o = option(p, item, k);
        uint64_t need = (o->bytes - p->smallest[item] + p->unit - 1) / p->unit;
        if (!usable(o) || need > p->units)
            continue;
        for (uint32_t u = (uint32_t)need; u <= p->units; u++) {
            double error = before[u - need] + o->error;
            if (error < best[u]) {
                best[u] = error;
                pick[u] = (uint8_t)k;
            }
        }
    }
}

static bool fill_table(const Problem *p, uint32_t *picked, Error *err)
{
    size_t width = (size_t)p->units + 1;
    auto_free double *rows = mem_alloc(2 * width, sizeof *rows);
    auto_free uint8_t *picks = mem_alloc(width, p->items);
    if (!rows || !picks)
        return fail(err, ERR_MEMORY, "no memory to weigh %u tensors", p->items);
    double *before = rows, *best = rows + width; /* before the first item: zeros */
    for (uint32_t i = 0; i < p->items; i++) {
        add_item(p, i, best, before, picks + width * i);
        double *swap = before;
        before = best;
        best = swap;
    }
    uint64_t at = p->units;
    for (uint32_t i = p->items; i > 0; i--) {
        uint32_t k = picks[width * (i - 1) + at];
        picked[i - 1] = k;
        at -= (option(p, i - 1, k)->bytes - p->smallest[i - 1] + p->unit - 1) / p->unit;
    }
    return true;
}

/* ---- what rounding left over ---- */

static void sum_up(const Problem *p, const uint32_t *picked, BudgetAnswer *a)
{
    a->bytes = 0;
    a->error = 0;
    for (uint32_t i = 0; i < p->items; i++) {
        a->bytes += option(p, i, picked[i])->bytes;
        a->error += option(p, i, picked[i])->error;
    }
}

/* The change of one item that lowers the error most and fits; false: there is none. */
static bool upgrade(const Problem *p, uint32_t *picked, uint64_t left)
{
    double gain = 0;
    uint32_t item = 0, to = 0;
    for (uint32_t i = 0; i < p->items; i++) {
        const BudgetOption *now = option(p, i, picked[i]);
        for (uint32_t k = 0; k < p->per; k++) {
            const BudgetOption *o = option(p, i, k);
            if (usable(o) && o->bytes <= now->bytes + left && now->error - o->error > gain) {
                gain = now->error - o->error;
                item = i;
                to = k;
            }
        }
    }
    if (gain > 0)
        picked[item] = to;
    return gain > 0;
}

/* ---- the bound ---- */

/* The least of error + price * bytes over all choices, less price * budget: a lower bound for every
 * price. *bytes: of the choice that gives it. */
static double dual(const Problem *p, double price, double *bytes)
{
    double sum = -price * (double)p->budget;
    *bytes = 0;
    for (uint32_t i = 0; i < p->items; i++) {
        double least = INFINITY, size = 0;
        for (uint32_t k = 0; k < p->per; k++) {
            const BudgetOption *o = option(p, i, k);
            double cost = o->error + price * (double)o->bytes;
            if (cost < least) {
                least = cost;
                size = (double)o->bytes;
            }
        }
        sum += least;
        *bytes += size;
    }
    return sum;
}

static double best_bound(const Problem *p)
{
    double low = 0, high = 1e-30, bytes, best = dual(p, 0, &bytes);
    if (bytes <= (double)p->budget)
        return best;
    for (int i = 0; i < 400 && (dual(p, high, &bytes), bytes > (double)p->budget); i++)
        high *= 4;
    for (int i = 0; i < BISECTIONS; i++) {
        double middle = (low + high) / 2, here = dual(p, middle, &bytes);
        best = here > best ? here : best;
        if (bytes > (double)p->budget)
            low = middle;
        else
            high = middle;
    }
    return best;
}

bool choose_budget(const BudgetOption *options, uint32_t items, uint32_t per, uint64_t budget,
                   uint32_t *picked, BudgetAnswer *answer, Error *err)
{
    assert(items > 0 && per > 0 && per <= BUDGET_OPTIONS_MAX);
    Problem p = {.options = options, .items = items, .per = per, .budget = budget};
    auto_free uint64_t *smallest = mem_alloc(items, sizeof *smallest);
    if (!smallest)
        return fail(err, ERR_MEMORY, "no memory to weigh %u tensors", items);
    p.smallest = smallest;
    if (!find_smallest(&p, err))
        return false;
    choose_unit(&p);
    if (!fill_table(&p, picked, err))
        return false;
    sum_up(&p, picked, answer);
    while (upgrade(&p, picked, budget - answer->bytes))
        sum_up(&p, picked, answer);
    answer->exact = p.exact;
    answer->bound = best_bound(&p);
    return true;
}
