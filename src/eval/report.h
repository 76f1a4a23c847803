/* report.h: what a model is worth, as one page for people and one file for programs.
 *
 * The caller fills an EvalReport with plain data (answers, probabilities, curves, facts) and calls
 * report_write, which makes report.json and report.html in a folder. What is absent (NULL, 0, or
 * the negative values named below) is left out of both. The page needs no network and no script.
 *
 * The interval of an accuracy is the wider of Wilson's and the bootstrap over groups at either end:
 * the first is sound near 0 and 1, the second knows that siblings are wrong together. The verdict
 * compares with the strongest baseline by the interval of the difference: "better" when all of it
 * is above 0, "worse" when all of it is below, else "level".
 *
 * report.json, for programs (shares are from 0 to 1; null or absent: not known):
 *   task                "classification" or "language"
 *   model, dataset, dataset_digest, made_at, command, facts {name: value}
 *   verdict, sentence   as on the page
 *   seconds             all phases; phases [{name, seconds}]; tokens_per_second; joules
 *   curves              [{name, x: [...], y: [...]}]
 *   generated           [{prompt, output, reference}]
 * classification also:
 *   count, groups, class_count, accuracy, interval [low, high], interval_wilson, interval_groups,
 *   design_effect, macro_f1, top3_accuracy, calibration_error,
 *   baseline_KEY        accuracy of each baseline: baseline_majority, baseline_naive_bayes, ...
 *   baselines           [{key, name, note, accuracy, interval, difference, difference_interval,
 *                       mcnemar_p}]; difference: model minus baseline
 *   calibration         [{count, confidence, accuracy}] by tenths of confidence
 *   per_class           [{label, actual, predicted, right, precision, recall, f1}]
 *   confusion           {labels, matrix}: rows actual; the last label "(others)"
 *   confused_pairs      [{actual, predicted, count}]
 *   quantised           {name, accuracy, agreement, interval}
 *   examples_right, examples_wrong  [{id, text, actual, predicted, probability}]
 * language also:
 *   bytes, bits_per_byte, baselines [{key, name, note, bits_per_byte}], baseline_KEY
 *
 * Threads: any; a report is read-only to these functions.
 */
#pragma once
#include "base/buf.h"
#include "base/mem.h"
#include "eval/stats.h"
#include "format/json.h"

enum {
    REPORT_BASELINES_MAX = 6,
    REPORT_SHOWN_CLASSES = 12, /* of the confusion matrix */
    REPORT_BINS = 10,
    REPORT_PAIRS = 10,
    REPORT_EXAMPLES = 6,       /* right; and wrong, of each kind */
    REPORT_BYTES_MAX = 32 << 20,
};

typedef struct {
    const char *key, *name;    /* "naive_bayes", "naive Bayes (text)" */
    const char *note;          /* "alpha 0.3, 244,057 features"; may be NULL */
    const uint32_t *predicted; /* [count] classification */
    double bits_per_byte;      /* language */
} EvalBaseline;

typedef struct {
    const char *name; /* "training loss" */
    const double *x, *y;
    size_t count;
} EvalCurve;

typedef struct {
    const char *name;
    double seconds;
} EvalPhase;

typedef struct {
    const char *name, *value; /* "recipe digest", "9f2c..." */
} EvalFact;

typedef struct {
    const char *prompt, *output, *reference; /* reference may be NULL */
} EvalSample;

typedef struct {
    const char *model, *dataset, *dataset_digest;
    const char *records_noun, *label_noun; /* "packages", "section"; NULL: "records", "class" */
    int64_t made_at;                       /* unix seconds */
    uint64_t seed;                         /* of the bootstrap and the choice of examples */

    /* classification: count > 0 */
    size_t count;
    uint32_t classes;
    const char *const *labels;       /* [classes] */
    const uint32_t *actual;          /* [count] */
    const uint32_t *predicted;       /* [count] */
    const float *probability;        /* [count][classes]; NULL: no calibration, no top 3 */
    const char *const *group;        /* [count]; NULL: each alone */
    const char *const *id, *const *text; /* [count]; NULL: no examples */
    const char *quantised_name;      /* "int8"; NULL: none */
    const uint32_t *quantised;       /* [count] answers of the quantised model */

    /* language: count 0 */
    uint64_t bytes;                  /* of text that was predicted */
    double bits_per_byte;

    EvalBaseline baselines[REPORT_BASELINES_MAX];
    uint32_t baseline_count;
    const EvalCurve *curves;
    size_t curve_count;
    const char *curve_x, *curve_y;   /* axes: "step", "loss (nats per token)" */
    const EvalPhase *phases;
    size_t phase_count;
    double tokens_per_second;        /* 0: not measured */
    double joules;                   /* 0: the machine does not tell */
    const EvalFact *facts;
    size_t fact_count;
    const char *command;             /* to make it all again */
    const EvalSample *samples;
    size_t sample_count;
} EvalReport;

bool report_write(const EvalReport *report, const char *folder, Error *err) MUST_CHECK;

/* ---- the steps of report_write ---- */

typedef enum { VERDICT_BETTER, VERDICT_LEVEL, VERDICT_WORSE, VERDICT_ALONE } Verdict;
extern const char *const verdict_names[]; /* "better", "level", "worse", "alone" (no baseline) */

typedef struct {
    double value;                 /* accuracy, or bits per byte */
    Interval interval;
    double difference;            /* model minus baseline */
    Interval difference_interval; /* bootstrap over groups */
    double mcnemar_p;
} BaselineFigures;

typedef struct {
    Arena arena;
    double accuracy, design_effect, macro_f1;
    double top3, calibration_error; /* negative: not known */
    Interval interval, wilson, by_groups;
    uint32_t groups;
    BaselineFigures baselines[REPORT_BASELINES_MAX];
    uint32_t strongest;             /* index of a baseline; baseline_count when there is none */
    Verdict verdict;
    StatsClass *per_class;          /* [classes] */
    StatsBin bins[REPORT_BINS];
    uint32_t shown, top[REPORT_SHOWN_CLASSES];
    uint64_t matrix[(REPORT_SHOWN_CLASSES + 1) * (REPORT_SHOWN_CLASSES + 1)];
    uint32_t pair_count;
    StatsPair pairs[REPORT_PAIRS];
    double quantised_accuracy, quantised_agreement; /* negative: not known */
    Interval quantised_interval;
    uint32_t right_count, sure_count, wrong_count;
    size_t right[REPORT_EXAMPLES]; /* drawn by seed */
    size_t sure[REPORT_EXAMPLES];  /* the most confident mistakes */
    size_t wrong[REPORT_EXAMPLES]; /* other mistakes, drawn by seed */
    double seconds;
    const char *sentence;          /* the verdict in words */
    const char *judgement;         /* what follows from it */
} EvalFigures;

/* ERR_INPUT for a report without answers or bytes, or a label outside [0, classes). */
bool report_figures(EvalFigures **out, const EvalReport *report, Error *err) MUST_CHECK;
void report_figures_free(EvalFigures *figures); /* NULL is a no-op */
bool report_json(json_t **out, const EvalReport *report, const EvalFigures *figures,
                 Error *err) MUST_CHECK;
bool report_html(Buf *out, const EvalReport *report, const EvalFigures *figures,
                 Error *err) MUST_CHECK;
