/* figures.c: every number of a report, computed once for both of its forms; see report.h. */
#include "eval/report.h"

#include "base/rng.h"
#include "eval/words.h"

#include <assert.h>
#include <math.h>
#include <string.h>

const char *const verdict_names[] = {"better", "level", "worse", "alone"};

static double least(double a, double b)
{
    return a < b ? a : b;
}

static double most(double a, double b)
{
    return a > b ? a : b;
}

static bool check(const EvalReport *report, Error *err)
{
    if (report->count == 0)
        return report->bytes > 0 || fail(err, ERR_INPUT, "a report needs answers or bytes");
    if (report->classes == 0 || report->classes > STATS_CLASSES_MAX || report->count >= UINT32_MAX)
        return fail(err, ERR_INPUT, "a report of %u classes and %zu answers", report->classes,
                    report->count);
    const uint32_t *lists[REPORT_BASELINES_MAX + 3] = {report->actual, report->predicted,
                                                       report->quantised};
    for (uint32_t b = 0; b < report->baseline_count; b++)
        lists[3 + b] = report->baselines[b].predicted;
    for (uint32_t l = 0; l < 3 + report->baseline_count; l++) {
        for (size_t i = 0; lists[l] && i < report->count; i++) {
            if (lists[l][i] >= report->classes)
                return fail(err, ERR_INPUT, "answer %zu is label %u of %u", i, lists[l][i],
                            report->classes);
        }
    }
    return true;
}

/* ---- accuracies ---- */

/* What every comparison needs: groups by number and scratch for one value per answer. */
typedef struct {
    const EvalReport *report;
    const uint32_t *group; /* NULL: each alone */
    uint32_t groups;
    double *value;         /* [count] */
} Work;

static double set_rightness(const Work *work, const uint32_t *predicted, const uint32_t *minus)
{
    const EvalReport *report = work->report;
    double sum = 0;
    for (size_t i = 0; i < report->count; i++) {
        work->value[i] = predicted[i] == report->actual[i];
        if (minus)
            work->value[i] -= minus[i] == report->actual[i];
        sum += work->value[i];
    }
    return sum / (double)report->count;
}

static bool bootstrap(const Work *work, Interval *out, Error *err)
{
    return stats_bootstrap_mean(work->value, work->group, work->report->count, work->groups,
                                work->report->seed, out, err);
}

/* Accuracy with the wider interval; wilson and by_groups may be NULL. */
static bool measure(const Work *work, const uint32_t *predicted, double *accuracy, Interval *wider,
                    Interval *wilson, Interval *by_groups, Error *err)
{
    *accuracy = set_rightness(work, predicted, NULL);
    uint64_t right = (uint64_t)llround(*accuracy * (double)work->report->count);
    Interval alone = stats_wilson(right, work->report->count), grouped;
    if (!bootstrap(work, &grouped, err))
        return false;
    *wider = (Interval){least(alone.low, grouped.low), most(alone.high, grouped.high)};
    if (wilson)
        *wilson = alone;
    if (by_groups)
        *by_groups = grouped;
    return true;
}

static bool compare(const Work *work, const EvalBaseline *baseline, BaselineFigures *out,
                    Error *err)
{
    const EvalReport *report = work->report;
    if (!measure(work, baseline->predicted, &out->value, &out->interval, NULL, NULL, err))
        return false;
    uint64_t model_only = 0, baseline_only = 0;
    for (size_t i = 0; i < report->count; i++) {
        bool model = report->predicted[i] == report->actual[i];
        bool other = baseline->predicted[i] == report->actual[i];
        model_only += model && !other;
        baseline_only += other && !model;
    }
    out->mcnemar_p = stats_mcnemar(model_only, baseline_only);
    out->difference = set_rightness(work, report->predicted, baseline->predicted);
    return bootstrap(work, &out->difference_interval, err);
}

static void judge(EvalFigures *figures, const EvalReport *report)
{
    figures->strongest = report->baseline_count;
    for (uint32_t b = 0; b < report->baseline_count; b++) {
        bool first = figures->strongest == report->baseline_count;
        double best = first ? 0 : figures->baselines[figures->strongest].value;
        double value = figures->baselines[b].value;
        if (first || (report->count ? value > best : value < best))
            figures->strongest = b;
    }
    figures->verdict = VERDICT_ALONE;
    if (figures->strongest == report->baseline_count)
        return;
    const BaselineFigures *rival = &figures->baselines[figures->strongest];
    Interval gain = rival->difference_interval;
    if (report->count == 0) /* bits: fewer are better; no interval is claimed */
        gain = (Interval){-rival->difference, -rival->difference};
    figures->verdict = gain.low > 0 ? VERDICT_BETTER : gain.high < 0 ? VERDICT_WORSE
                                                                     : VERDICT_LEVEL;
}

/* ---- probabilities ---- */

static bool calibrate(EvalFigures *figures, const EvalReport *report, Error *err)
{
    figures->top3 = figures->calibration_error = -1;
    if (!report->probability)
        return true;
    auto_free float *confidence = mem_alloc(report->count, sizeof *confidence);
    auto_free bool *right = mem_alloc(report->count, sizeof *right);
    if (!confidence || !right)
        return fail(err, ERR_MEMORY, "no memory to calibrate %zu answers", report->count);
    for (size_t i = 0; i < report->count; i++) {
        confidence[i] = report->probability[i * report->classes + report->predicted[i]];
        right[i] = report->predicted[i] == report->actual[i];
    }
    figures->calibration_error =
        stats_calibration(confidence, right, report->count, REPORT_BINS, figures->bins);
    figures->top3 = stats_top_k(report->probability, report->actual, report->count,
                                report->classes, 3);
    return true;
}

/* ---- examples ---- */

static float confidence_of(const EvalReport *report, size_t i)
{
    return report->probability ? report->probability[i * report->classes + report->predicted[i]]
                               : 0;
}

/* Keeps the most confident mistakes, most confident first. */
static void keep_sure(EvalFigures *figures, const EvalReport *report, size_t i)
{
    uint32_t at = figures->sure_count < REPORT_EXAMPLES ? figures->sure_count++ : REPORT_EXAMPLES;
    while (at > 0 && confidence_of(report, figures->sure[at - 1]) < confidence_of(report, i)) {
        if (at < REPORT_EXAMPLES)
            figures->sure[at] = figures->sure[at - 1];
        at--;
    }
    if (at < REPORT_EXAMPLES)
        figures->sure[at] = i;
}

static bool is_sure(const EvalFigures *figures, size_t i)
{
    for (uint32_t k = 0; k < figures->sure_count; k++) {
        if (figures->sure[k] == i)
            return true;
    }
    return false;
}

/* Draws without favour: nobody picks which answers are shown. */
static bool pick_examples(EvalFigures *figures, const EvalReport *report, Error *err)
{
    if (!report->text)
        return true;
    auto_free uint32_t *order = mem_alloc(report->count, sizeof *order);
    if (!order)
        return fail(err, ERR_MEMORY, "no memory to choose examples of %zu answers", report->count);
    for (size_t i = 0; report->probability && i < report->count; i++) {
        if (report->predicted[i] != report->actual[i])
            keep_sure(figures, report, i);
    }
    rng_permutation(rng_key(report->seed, "examples"), order, (uint32_t)report->count);
    for (size_t k = 0; k < report->count; k++) {
        size_t i = order[k];
        bool right = report->predicted[i] == report->actual[i];
        if (right && figures->right_count < REPORT_EXAMPLES)
            figures->right[figures->right_count++] = i;
        if (!right && figures->wrong_count < REPORT_EXAMPLES && !is_sure(figures, i))
            figures->wrong[figures->wrong_count++] = i;
    }
    return true;
}

/* ---- all of it ---- */

static bool confuse(EvalFigures *figures, const EvalReport *report, Error *err)
{
    figures->per_class = arena_alloc(&figures->arena, report->classes, sizeof *figures->per_class);
    if (!figures->per_class)
        return fail(err, ERR_MEMORY, "no memory for %u classes", report->classes);
    figures->macro_f1 = stats_classes(report->actual, report->predicted, report->count,
                                      report->classes, figures->per_class);
    figures->shown = stats_top_classes(figures->per_class, report->classes, figures->top,
                                       REPORT_SHOWN_CLASSES);
    stats_confusion(report->actual, report->predicted, report->count, figures->top, figures->shown,
                    report->classes, figures->matrix);
    return stats_worst_pairs(report->actual, report->predicted, report->count, figures->pairs,
                             REPORT_PAIRS, &figures->pair_count, err);
}

static bool quantised(EvalFigures *figures, const Work *work, Error *err)
{
    const EvalReport *report = work->report;
    figures->quantised_accuracy = figures->quantised_agreement = -1;
    if (!report->quantised)
        return true;
    size_t same = 0;
    for (size_t i = 0; i < report->count; i++)
        same += report->quantised[i] == report->predicted[i];
    figures->quantised_agreement = (double)same / (double)report->count;
    return measure(work, report->quantised, &figures->quantised_accuracy,
                   &figures->quantised_interval, NULL, NULL, err);
}

static bool classify(EvalFigures *figures, Work *work, Error *err)
{
    const EvalReport *report = work->report;
    if (!measure(work, report->predicted, &figures->accuracy, &figures->interval, &figures->wilson,
                 &figures->by_groups, err) ||
        !stats_design_effect(work->value, work->group, report->count, work->groups,
                             &figures->design_effect, err))
        return false;
    for (uint32_t b = 0; b < report->baseline_count; b++) {
        if (!compare(work, &report->baselines[b], &figures->baselines[b], err))
            return false;
    }
    return quantised(figures, work, err) && calibrate(figures, report, err) &&
           confuse(figures, report, err) && pick_examples(figures, report, err);
}

static bool classify_groups(EvalFigures *figures, const EvalReport *report, Error *err)
{
    auto_free uint32_t *group = mem_alloc(report->count, sizeof *group);
    auto_free double *value = mem_alloc(report->count, sizeof *value);
    if (!group || !value)
        return fail(err, ERR_MEMORY, "no memory for the figures of %zu answers", report->count);
    Work work = {.report = report, .value = value, .groups = (uint32_t)report->count};
    if (report->group) {
        if (!stats_number_groups(report->group, report->count, group, &work.groups, err))
            return false;
        work.group = group;
    }
    figures->groups = work.groups;
    return classify(figures, &work, err);
}

static bool fill(EvalFigures *figures, const EvalReport *report, Error *err)
{
    if (report->count && !classify_groups(figures, report, err))
        return false;
    for (uint32_t b = 0; !report->count && b < report->baseline_count; b++) {
        figures->baselines[b].value = report->baselines[b].bits_per_byte;
        figures->baselines[b].difference =
            report->bits_per_byte - report->baselines[b].bits_per_byte;
    }
    for (size_t p = 0; p < report->phase_count; p++)
        figures->seconds += report->phases[p].seconds;
    judge(figures, report);
    figures->sentence = words_sentence(&figures->arena, report, figures);
    figures->judgement = words_judgement(&figures->arena, report, figures);
    return (figures->sentence && figures->judgement) ||
           fail(err, ERR_MEMORY, "no memory for the words of a report");
}

bool report_figures(EvalFigures **out, const EvalReport *report, Error *err)
{
    assert(report->baseline_count <= REPORT_BASELINES_MAX);
    if (!check(report, err))
        return false;
    EvalFigures *figures = mem_alloc(1, sizeof *figures);
    if (!figures)
        return fail(err, ERR_MEMORY, "no memory for the figures of a report");
    arena_init(&figures->arena, 64 << 20);
    if (!fill(figures, report, err)) {
        report_figures_free(figures);
        return false;
    }
    *out = figures;
    return true;
}

void report_figures_free(EvalFigures *figures)
{
    if (!figures)
        return;
    arena_done(&figures->arena);
    mem_free(figures);
}
