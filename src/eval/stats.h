/* stats.h: figures about answers, and how far they can be trusted.
 *
 * Labels are numbers in [0, classes). Answers of one group (packages of one source, pages of one
 * document) are wrong together, so intervals that treat each as independent are too narrow: the
 * bootstrap here draws whole groups. All intervals are of 95 %. Everything is a function of its
 * arguments, seed included. Threads: any.
 */
#pragma once
#include "base/error.h"

#include <stdint.h>

typedef struct {
    double low, high;
} Interval;

enum {
    STATS_RESAMPLES = 2000,      /* enough that an end moves by about 2 % of the width */
    STATS_BINS_MAX = 50,
    STATS_CLASSES_MAX = 4096,
};

/* Wilson's score interval (1927) for `right` of `count`, sound at both ends. count 0: [0, 1]. */
Interval stats_wilson(uint64_t right, uint64_t count);

/* ---- groups ---- */

/* Numbers groups from 0 in order of appearance: out[count] gets the number of names[i]. */
bool stats_number_groups(const char *const *names, size_t count, uint32_t *out, uint32_t *groups,
                         Error *err) MUST_CHECK;

/* Percentile bootstrap of the mean of value[count], drawing groups with replacement; each resample
 * is the sum of the drawn groups over their size. group NULL: each value is its own. For accuracy
 * value is 0 or 1; for the difference of two models, right minus right. */
bool stats_bootstrap_mean(const double *value, const uint32_t *group, size_t count, uint32_t groups,
                          uint64_t seed, Interval *out, Error *err) MUST_CHECK;

/* How many times wider the variance of the mean is for the groups: 1 when they do not matter. */
bool stats_design_effect(const double *value, const uint32_t *group, size_t count, uint32_t groups,
                         double *out, Error *err) MUST_CHECK;

/* McNemar's exact two-sided p: of the answers on which two models differ in rightness, `a_only` are
 * right by a alone and `b_only` by b alone. 1 when they never differ. */
double stats_mcnemar(uint64_t a_only, uint64_t b_only);

/* ---- calibration ---- */

typedef struct {
    uint64_t count;
    double confidence, accuracy; /* means within the bin; 0 when empty */
} StatsBin;

/* bin[bins]: answers by confidence in equal widths of [0, 1], the last bin with both ends. Returns
 * the expected calibration error: the mean of |accuracy - confidence| weighted by count. */
double stats_calibration(const float *confidence, const bool *right, size_t count, uint32_t bins,
                         StatsBin *bin);

/* Mean negative log of the probability given to the right label, in bits, from its natural log. */
double stats_bits(const double *log_probability, size_t count);

/* ---- per class ---- */

typedef struct {
    uint64_t actual, predicted, right;
    double precision, recall, f1; /* 0 where undefined, as scikit-learn's zero_division=0 */
} StatsClass;

/* out[classes]. Returns macro F1 over the classes that occur as actual or predicted. */
double stats_classes(const uint32_t *actual, const uint32_t *predicted, size_t count,
                     uint32_t classes, StatsClass *out);

/* Share of rows whose actual label is among the k most probable: probability[count][classes]. A tie
 * with the actual label counts against it. */
double stats_top_k(const float *probability, const uint32_t *actual, size_t count, uint32_t classes,
                   uint32_t k);

/* ---- confusion ---- */

typedef struct {
    uint32_t actual, predicted;
    uint64_t count;
} StatsPair;

/* matrix[shown + 1][shown + 1], row actual, column predicted, over the labels in top[shown]; the
 * last row and column gather all others. */
void stats_confusion(const uint32_t *actual, const uint32_t *predicted, size_t count,
                     const uint32_t *top, uint32_t shown, uint32_t classes, uint64_t *matrix);

/* The labels with most actual answers, most first, then lowest number. Returns how many are in
 * top[room]: those that occur at all, at most room. */
uint32_t stats_top_classes(const StatsClass *per_class, uint32_t classes, uint32_t *top,
                           uint32_t room);

/* The commonest mistakes: pair[room], commonest first. Returns how many. */
bool stats_worst_pairs(const uint32_t *actual, const uint32_t *predicted, size_t count,
                       StatsPair *pair, uint32_t room, uint32_t *found, Error *err) MUST_CHECK;
