/* report_json.c: the report for programs; the keys are listed in report.h. */
#include "eval/report.h"

#include "base/clock.h"
#include "data/builder.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* jansson's *_new functions take NULL for a failed value and fail in turn, so a chain of puts is
 * checked once: a NULL object makes every put false. */
typedef struct {
    json_t *object;
    bool ok;
} Maker;

static void put(Maker *maker, const char *key, json_t *value)
{
    maker->ok = json_object_set_new(maker->object, key, value) == 0 && maker->ok;
}

/* A text as a value. What a model writes may break off within a character: such bytes become
 * U+FFFD, so that the file stays JSON. */
static json_t *text_value(const char *text)
{
    size_t size = strlen(text);
    if (builder_is_text(text, size))
        return json_string_nocheck(text);
    auto_buf Buf repaired;
    buf_init(&repaired, REPORT_BYTES_MAX);
    for (size_t i = 0; i < size;) {
        size_t length = 1;
        while (length < 4 && i + length <= size && !builder_is_text(text + i, length))
            length++;
        bool valid = i + length <= size && builder_is_text(text + i, length);
        buf_add(&repaired, valid ? text + i : "\xef\xbf\xbd", valid ? length : 3);
        i += valid ? length : 1;
    }
    return repaired.failed ? NULL : json_string(repaired.data);
}

static void put_text(Maker *maker, const char *key, const char *text)
{
    if (text)
        put(maker, key, text_value(text));
}

/* What is no number (also: not known) becomes null. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *share(double value)
{
    return value >= 0 ? number(value) : json_null();
}

static json_t *count_of(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *interval(Interval value)
{
    json_t *list = json_array();
    if (json_array_append_new(list, number(value.low)) == 0 &&
        json_array_append_new(list, number(value.high)) == 0)
        return list;
    json_decref(list);
    return NULL;
}

/* Appends maker's object to a list; a failure anywhere shows in *ok. */
static void append(json_t *list, Maker item, bool *ok)
{
    *ok = json_array_append_new(list, item.object) == 0 && item.ok && *ok;
}

static Maker item_new(void)
{
    return (Maker){json_object(), true};
}

/* ---- parts ---- */

static json_t *baselines(const EvalReport *report, const EvalFigures *figures, bool *ok)
{
    json_t *list = json_array();
    for (uint32_t b = 0; b < report->baseline_count; b++) {
        const BaselineFigures *figure = &figures->baselines[b];
        Maker item = item_new();
        put_text(&item, "key", report->baselines[b].key);
        put_text(&item, "name", report->baselines[b].name);
        put_text(&item, "note", report->baselines[b].note);
        put(&item, report->count ? "accuracy" : "bits_per_byte", number(figure->value));
        put(&item, "difference", number(figure->difference));
        if (report->count) {
            put(&item, "interval", interval(figure->interval));
            put(&item, "difference_interval", interval(figure->difference_interval));
            put(&item, "mcnemar_p", number(figure->mcnemar_p));
        }
        append(list, item, ok);
    }
    return list;
}

static json_t *per_class(const EvalReport *report, const EvalFigures *figures, bool *ok)
{
    json_t *list = json_array();
    for (uint32_t c = 0; c < report->classes; c++) {
        const StatsClass *class = &figures->per_class[c];
        Maker item = item_new();
        put_text(&item, "label", report->labels[c]);
        put(&item, "actual", count_of(class->actual));
        put(&item, "predicted", count_of(class->predicted));
        put(&item, "right", count_of(class->right));
        put(&item, "precision", number(class->precision));
        put(&item, "recall", number(class->recall));
        put(&item, "f1", number(class->f1));
        append(list, item, ok);
    }
    return list;
}

static json_t *calibration(const EvalFigures *figures, bool *ok)
{
    json_t *list = json_array();
    for (uint32_t b = 0; b < REPORT_BINS; b++) {
        Maker item = item_new();
        put(&item, "count", count_of(figures->bins[b].count));
        put(&item, "confidence", number(figures->bins[b].confidence));
        put(&item, "accuracy", number(figures->bins[b].accuracy));
        append(list, item, ok);
    }
    return list;
}

static json_t *confusion(const EvalReport *report, const EvalFigures *figures, bool *ok)
{
    Maker item = item_new();
    json_t *labels = json_array(), *matrix = json_array();
    uint32_t side = figures->shown + 1;
    for (uint32_t r = 0; r < side; r++) {
        const char *name = r < figures->shown ? report->labels[figures->top[r]] : "(others)";
        json_t *row = json_array();
        for (uint32_t c = 0; c < side; c++)
            *ok = json_array_append_new(row, count_of(figures->matrix[r * side + c])) == 0 && *ok;
        *ok = json_array_append_new(labels, json_string(name)) == 0 && *ok;
        *ok = json_array_append_new(matrix, row) == 0 && *ok;
    }
    put(&item, "labels", labels);
    put(&item, "matrix", matrix);
    *ok = *ok && item.ok;
    return item.object;
}

static json_t *pairs(const EvalReport *report, const EvalFigures *figures, bool *ok)
{
    json_t *list = json_array();
    for (uint32_t p = 0; p < figures->pair_count; p++) {
        Maker item = item_new();
        put_text(&item, "actual", report->labels[figures->pairs[p].actual]);
        put_text(&item, "predicted", report->labels[figures->pairs[p].predicted]);
        put(&item, "count", count_of(figures->pairs[p].count));
        append(list, item, ok);
    }
    return list;
}

static void append_examples(json_t *list, const EvalReport *report, const size_t *which,
                            uint32_t count, bool *ok)
{
    for (uint32_t k = 0; k < count; k++) {
        size_t i = which[k];
        Maker item = item_new();
        put_text(&item, "id", report->id ? report->id[i] : NULL);
        put_text(&item, "text", report->text[i]);
        put_text(&item, "actual", report->labels[report->actual[i]]);
        put_text(&item, "predicted", report->labels[report->predicted[i]]);
        if (report->probability)
            put(&item, "probability",
                number(report->probability[i * report->classes + report->predicted[i]]));
        append(list, item, ok);
    }
}

static json_t *quantised(const EvalReport *report, const EvalFigures *figures, bool *ok)
{
    Maker item = item_new();
    put_text(&item, "name", report->quantised_name);
    put(&item, "accuracy", number(figures->quantised_accuracy));
    put(&item, "agreement", number(figures->quantised_agreement));
    put(&item, "interval", interval(figures->quantised_interval));
    *ok = *ok && item.ok;
    return item.object;
}

static json_t *numbers(const double *values, size_t count, bool *ok)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        *ok = json_array_append_new(list, number(values[i])) == 0 && *ok;
    return list;
}

static json_t *curves(const EvalReport *report, bool *ok)
{
    json_t *list = json_array();
    for (size_t c = 0; c < report->curve_count; c++) {
        const EvalCurve *curve = &report->curves[c];
        Maker item = item_new();
        put_text(&item, "name", curve->name);
        put(&item, "x", numbers(curve->x, curve->count, ok));
        put(&item, "y", numbers(curve->y, curve->count, ok));
        append(list, item, ok);
    }
    return list;
}

static json_t *phases(const EvalReport *report, bool *ok)
{
    json_t *list = json_array();
    for (size_t p = 0; p < report->phase_count; p++) {
        Maker item = item_new();
        put_text(&item, "name", report->phases[p].name);
        put(&item, "seconds", number(report->phases[p].seconds));
        append(list, item, ok);
    }
    return list;
}

static json_t *generated(const EvalReport *report, bool *ok)
{
    json_t *list = json_array();
    for (size_t s = 0; s < report->sample_count; s++) {
        Maker item = item_new();
        put_text(&item, "prompt", report->samples[s].prompt);
        put_text(&item, "output", report->samples[s].output);
        put_text(&item, "reference", report->samples[s].reference);
        append(list, item, ok);
    }
    return list;
}

static json_t *facts(const EvalReport *report, bool *ok)
{
    Maker item = item_new();
    for (size_t f = 0; f < report->fact_count; f++)
        put_text(&item, report->facts[f].name, report->facts[f].value);
    *ok = *ok && item.ok;
    return item.object;
}

/* ---- the whole ---- */

static void put_header(Maker *maker, const EvalReport *report, const EvalFigures *figures)
{
    char made_at[21];
    clock_iso(report->made_at, made_at);
    put_text(maker, "task", report->count ? "classification" : "language");
    put_text(maker, "model", report->model);
    put_text(maker, "dataset", report->dataset);
    put_text(maker, "dataset_digest", report->dataset_digest);
    put_text(maker, "made_at", made_at);
    put_text(maker, "command", report->command);
    put_text(maker, "verdict", verdict_names[figures->verdict]);
    put_text(maker, "sentence", figures->sentence);
    put_text(maker, "judgement", figures->judgement);
}

static void put_classification(Maker *maker, const EvalReport *report, const EvalFigures *figures)
{
    put(maker, "count", count_of(report->count));
    put(maker, "groups", count_of(figures->groups));
    put(maker, "class_count", count_of(report->classes));
    put(maker, "accuracy", number(figures->accuracy));
    put(maker, "interval", interval(figures->interval));
    put(maker, "interval_wilson", interval(figures->wilson));
    put(maker, "interval_groups", interval(figures->by_groups));
    put(maker, "design_effect", number(figures->design_effect));
    put(maker, "macro_f1", number(figures->macro_f1));
    put(maker, "top3_accuracy", share(figures->top3));
    put(maker, "calibration_error", share(figures->calibration_error));
    if (report->quantised)
        put(maker, "quantised", quantised(report, figures, &maker->ok));
    if (report->probability)
        put(maker, "calibration", calibration(figures, &maker->ok));
    put(maker, "confusion", confusion(report, figures, &maker->ok));
    put(maker, "confused_pairs", pairs(report, figures, &maker->ok));
    put(maker, "per_class", per_class(report, figures, &maker->ok));
    if (report->text) {
        json_t *right = json_array(), *wrong = json_array();
        append_examples(right, report, figures->right, figures->right_count, &maker->ok);
        append_examples(wrong, report, figures->sure, figures->sure_count, &maker->ok);
        append_examples(wrong, report, figures->wrong, figures->wrong_count, &maker->ok);
        put(maker, "examples_right", right);
        put(maker, "examples_wrong", wrong);
    }
}

bool report_json(json_t **out, const EvalReport *report, const EvalFigures *figures, Error *err)
{
    Maker maker = item_new();
    put_header(&maker, report, figures);
    if (report->count) {
        put_classification(&maker, report, figures);
    } else {
        put(&maker, "bytes", count_of(report->bytes));
        put(&maker, "bits_per_byte", number(report->bits_per_byte));
    }
    for (uint32_t b = 0; b < report->baseline_count; b++) {
        char key[80];
        snprintf(key, sizeof key, "baseline_%s", report->baselines[b].key);
        put(&maker, key, number(figures->baselines[b].value));
    }
    put(&maker, "baselines", baselines(report, figures, &maker.ok));
    put(&maker, "seconds", number(figures->seconds));
    put(&maker, "phases", phases(report, &maker.ok));
    put(&maker, "tokens_per_second",
        report->tokens_per_second > 0 ? number(report->tokens_per_second) : json_null());
    put(&maker, "joules", report->joules > 0 ? number(report->joules) : json_null());
    put(&maker, "curves", curves(report, &maker.ok));
    put(&maker, "generated", generated(report, &maker.ok));
    put(&maker, "facts", facts(report, &maker.ok));
    if (!maker.ok) {
        json_decref(maker.object);
        return fail(err, ERR_MEMORY, "no memory for report.json");
    }
    *out = maker.object;
    return true;
}
