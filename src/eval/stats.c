/* stats.c: see stats.h. */
#include "eval/stats.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define Z_95 1.959963984540054 /* the normal deviate that leaves 2.5 % above it */

Interval stats_wilson(uint64_t right, uint64_t count)
{
    if (count == 0)
        return (Interval){0, 1};
    assert(right <= count);
    double n = (double)count, p = (double)right / n, zz = Z_95 * Z_95;
    double middle = (p + zz / (2 * n)) / (1 + zz / n);
    double half = Z_95 / (1 + zz / n) * sqrt(p * (1 - p) / n + zz / (4 * n * n));
    return (Interval){right == 0 ? 0 : middle - half, right == count ? 1 : middle + half};
}

/* ---- groups ---- */

bool stats_number_groups(const char *const *names, size_t count, uint32_t *out, uint32_t *groups,
                         Error *err)
{
    size_t slots = 16;
    while (slots < 2 * count)
        slots *= 2;
    auto_free size_t *first = mem_alloc(slots, sizeof *first); /* 1 + index of a group's first */
    if (!first || count > UINT32_MAX)
        return fail(err, ERR_MEMORY, "no memory to group %zu answers", count);
    uint32_t next = 0;
    for (size_t i = 0; i < count; i++) {
        size_t slot = hash_fnv(names[i], strlen(names[i])) & (slots - 1);
        while (first[slot] && strcmp(names[first[slot] - 1], names[i]) != 0)
            slot = (slot + 1) & (slots - 1);
        if (first[slot]) {
            out[i] = out[first[slot] - 1];
        } else {
            first[slot] = i + 1;
            out[i] = next++;
        }
    }
    *groups = next;
    return true;
}

typedef struct {
    double sum, size;
} Group;

/* The sums per group; *groups is count when each value stands alone. */
static Group *sum_groups(const double *value, const uint32_t *group, size_t count, uint32_t *groups)
{
    if (!group)
        *groups = (uint32_t)count;
    Group *sums = mem_alloc(*groups, sizeof *sums);
    for (size_t i = 0; sums && i < count; i++) {
        uint32_t g = group ? group[i] : (uint32_t)i;
        assert(g < *groups);
        sums[g].sum += value[i];
        sums[g].size += 1;
    }
    return sums;
}

static int by_value(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Of sorted values, linear between neighbours (numpy's default). */
static double quantile(const double *sorted, size_t count, double q)
{
    double at = q * (double)(count - 1);
    size_t low = (size_t)at, high = low + 1 < count ? low + 1 : low;
    return sorted[low] + (at - (double)low) * (sorted[high] - sorted[low]);
}

bool stats_bootstrap_mean(const double *value, const uint32_t *group, size_t count, uint32_t groups,
                          uint64_t seed, Interval *out, Error *err)
{
    assert(count > 0 && count < UINT32_MAX);
    auto_free double *means = mem_alloc(STATS_RESAMPLES, sizeof *means);
    auto_free Group *sums = sum_groups(value, group, count, &groups);
    if (!means || !sums)
        return fail(err, ERR_MEMORY, "no memory for the interval of %zu answers", count);
    RngKey key = rng_key(seed, "bootstrap");
    for (uint64_t r = 0; r < STATS_RESAMPLES; r++) {
        double sum = 0, size = 0;
        for (uint64_t g = 0; g < groups; g++) {
            Group drawn = sums[rng_below(key, r * groups + g, groups)];
            sum += drawn.sum;
            size += drawn.size;
        }
        means[r] = size > 0 ? sum / size : 0;
    }
    qsort(means, STATS_RESAMPLES, sizeof *means, by_value);
    *out = (Interval){quantile(means, STATS_RESAMPLES, 0.025),
                      quantile(means, STATS_RESAMPLES, 0.975)};
    return true;
}

/* Variance of the ratio mean by linearisation over groups, over that of independent answers. */
bool stats_design_effect(const double *value, const uint32_t *group, size_t count, uint32_t groups,
                         double *out, Error *err)
{
    auto_free Group *sums = sum_groups(value, group, count, &groups);
    if (!sums)
        return fail(err, ERR_MEMORY, "no memory for the groups of %zu answers", count);
    double mean = 0, alone = 0, grouped = 0;
    for (size_t i = 0; i < count; i++)
        mean += value[i] / (double)count;
    for (size_t i = 0; i < count; i++)
        alone += (value[i] - mean) * (value[i] - mean);
    for (uint32_t g = 0; g < groups; g++) {
        double residue = sums[g].sum - mean * sums[g].size;
        grouped += residue * residue;
    }
    *out = alone > 0 ? grouped / alone : 1;
    return true;
}

double stats_mcnemar(uint64_t a_only, uint64_t b_only)
{
    uint64_t n = a_only + b_only, few = a_only < b_only ? a_only : b_only;
    double sum = 0;
    for (uint64_t k = 0; k <= few; k++) /* binomial(n, 1/2) up to the smaller count */
        sum += exp(lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma((double)(n - k) + 1) -
                   (double)n * 0.6931471805599453);
    return 2 * sum < 1 ? 2 * sum : 1;
}

/* ---- calibration ---- */

double stats_calibration(const float *confidence, const bool *right, size_t count, uint32_t bins,
                         StatsBin *bin)
{
    assert(bins > 0 && bins <= STATS_BINS_MAX);
    memset(bin, 0, bins * sizeof *bin);
    for (size_t i = 0; i < count; i++) {
        float c = confidence[i] > 0 ? confidence[i] : 0; /* also what is not a number */
        uint32_t b = c < 1 ? (uint32_t)(c * (float)bins) : bins - 1;
        StatsBin *into = &bin[b < bins ? b : bins - 1];
        into->count++;
        into->confidence += c < 1 ? c : 1;
        into->accuracy += right[i];
    }
    double error = 0;
    for (uint32_t b = 0; b < bins; b++) {
        if (!bin[b].count)
            continue;
        bin[b].confidence /= (double)bin[b].count;
        bin[b].accuracy /= (double)bin[b].count;
        error += (double)bin[b].count * fabs(bin[b].accuracy - bin[b].confidence);
    }
    return count ? error / (double)count : 0;
}

double stats_bits(const double *log_probability, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum -= log_probability[i];
    return count ? sum / (double)count / 0.6931471805599453 : 0;
}

/* ---- per class ---- */

static double ratio(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

double stats_classes(const uint32_t *actual, const uint32_t *predicted, size_t count,
                     uint32_t classes, StatsClass *out)
{
    memset(out, 0, classes * sizeof *out);
    for (size_t i = 0; i < count; i++) {
        assert(actual[i] < classes && predicted[i] < classes);
        out[actual[i]].actual++;
        out[predicted[i]].predicted++;
        out[actual[i]].right += actual[i] == predicted[i];
    }
    double sum = 0;
    uint32_t present = 0;
    for (uint32_t c = 0; c < classes; c++) {
        StatsClass *class = &out[c];
        class->precision = ratio(class->right, class->predicted);
        class->recall = ratio(class->right, class->actual);
        class->f1 = ratio(2 * class->right, class->actual + class->predicted);
        present += class->actual + class->predicted > 0;
        sum += class->f1;
    }
    return present ? sum / present : 0;
}

double stats_top_k(const float *probability, const uint32_t *actual, size_t count, uint32_t classes,
                   uint32_t k)
{
    size_t within = 0;
    for (size_t i = 0; i < count; i++) {
        const float *row = probability + i * classes;
        uint32_t before = 0;
        for (uint32_t c = 0; c < classes; c++)
            before += c != actual[i] && row[c] >= row[actual[i]];
        within += before < k;
    }
    return count ? (double)within / (double)count : 0;
}

/* ---- confusion ---- */

uint32_t stats_top_classes(const StatsClass *per_class, uint32_t classes, uint32_t *top,
                           uint32_t room)
{
    uint32_t found = 0;
    for (uint32_t c = 0; c < classes; c++) {
        if (!per_class[c].actual)
            continue;
        uint32_t at = found < room ? found++ : room; /* insertion: room is small */
        while (at > 0 && per_class[top[at - 1]].actual < per_class[c].actual) {
            if (at < room)
                top[at] = top[at - 1];
            at--;
        }
        if (at < room)
            top[at] = c;
    }
    return found;
}

void stats_confusion(const uint32_t *actual, const uint32_t *predicted, size_t count,
                     const uint32_t *top, uint32_t shown, uint32_t classes, uint64_t *matrix)
{
    assert(classes <= STATS_CLASSES_MAX && shown <= classes);
    uint16_t place[STATS_CLASSES_MAX];
    for (uint32_t c = 0; c < classes; c++)
        place[c] = (uint16_t)shown;
    for (uint32_t i = 0; i < shown; i++)
        place[top[i]] = (uint16_t)i;
    memset(matrix, 0, (size_t)(shown + 1) * (shown + 1) * sizeof *matrix);
    for (size_t i = 0; i < count; i++)
        matrix[(size_t)place[actual[i]] * (shown + 1) + place[predicted[i]]]++;
}

static int by_labels(const void *left, const void *right)
{
    const StatsPair *a = left, *b = right;
    if (a->actual != b->actual)
        return a->actual < b->actual ? -1 : 1;
    return (a->predicted > b->predicted) - (a->predicted < b->predicted);
}

static int by_count(const void *left, const void *right)
{
    const StatsPair *a = left, *b = right;
    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    return by_labels(left, right);
}

bool stats_worst_pairs(const uint32_t *actual, const uint32_t *predicted, size_t count,
                       StatsPair *pair, uint32_t room, uint32_t *found, Error *err)
{
    auto_free StatsPair *all = mem_alloc(count, sizeof *all);
    if (!all)
        return fail(err, ERR_MEMORY, "no memory for the mistakes among %zu answers", count);
    size_t wrong = 0, kinds = 0;
    for (size_t i = 0; i < count; i++) {
        if (actual[i] != predicted[i])
            all[wrong++] = (StatsPair){actual[i], predicted[i], 1};
    }
    qsort(all, wrong, sizeof *all, by_labels);
    for (size_t i = 0; i < wrong; i++) {
        if (kinds && by_labels(&all[kinds - 1], &all[i]) == 0)
            all[kinds - 1].count++;
        else
            all[kinds++] = all[i];
    }
    qsort(all, kinds, sizeof *all, by_count);
    *found = (uint32_t)(kinds < room ? kinds : room);
    memcpy(pair, all, *found * sizeof *pair);
    return true;
}
