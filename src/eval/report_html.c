/* report_html.c: the page: verdict, tiles, comparison first; evidence below; see report.h.
 *
 * The first screen is for who signs, the rest for who checks. Every text from outside goes through
 * buf_add_html, and the page forbids scripts and the network by its own policy. */
#include "eval/report.h"

#include "base/clock.h"
#include "eval/chart.h"
#include "eval/words.h"

#include <stdio.h>
#include <string.h>

static const char style[] =
    "body{margin:0;background:#f5f7f9;color:#1b2733;font:16px/1.5 system-ui,\"Segoe UI\","
    "\"DejaVu Sans\",sans-serif}\n"
    "main{max-width:60rem;margin:0 auto;padding:2rem 1.25rem 4rem}\n"
    "section,header{background:#fff;border:1px solid #e3e7ec;border-radius:10px;"
    "padding:1.5rem 1.75rem;margin:0 0 1.25rem}\n"
    "h1{font-size:1.6rem;line-height:1.3;margin:.3rem 0 .5rem}h2{font-size:1.15rem;margin:0 0 .3rem}"
    "h3{font-size:1rem;margin:1.2rem 0 .3rem}\n"
    "p{margin:.3rem 0 .8rem;max-width:46rem}.soft{color:#5b6875}.small{font-size:.875rem}\n"
    ".verdict{display:inline-block;padding:.1rem .7rem;border-radius:1rem;color:#fff;"
    "font-weight:600;font-size:.875rem}\n"
    ".better{background:#2e7d4f}.level{background:#946200}.worse{background:#b3261e}"
    ".alone{background:#5b6875}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(10.5rem,1fr));gap:.75rem;"
    "margin:1.2rem 0 0}\n"
    ".tile{border:1px solid #e3e7ec;border-radius:8px;padding:.6rem .9rem}"
    ".tile b{display:block;font-size:1.5rem;line-height:1.25;font-weight:650}"
    ".tile span{color:#5b6875;font-size:.8125rem;display:block;line-height:1.35}\n"
    "table{border-collapse:collapse;width:100%;font-size:.9375rem}"
    "th,td{text-align:left;padding:.35rem .7rem .35rem 0;border-bottom:1px solid #e3e7ec;"
    "vertical-align:top}th{font-weight:600;color:#5b6875;font-size:.8125rem}\n"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\n"
    "td{overflow-wrap:anywhere}.right{color:#2e7d4f}.wrong{color:#b3541e}\n"
    "code,pre{font:.875rem/1.45 ui-monospace,\"DejaVu Sans Mono\",monospace;overflow-wrap:anywhere}"
    "pre{background:#f5f7f9;border-radius:6px;padding:.8rem 1rem;white-space:pre-wrap}\n"
    "svg{width:100%;height:auto;display:block;margin:.4rem 0}svg text{font-size:14px}\n"
    ".pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(22rem,1fr));gap:1.5rem}\n"
    "details summary{cursor:pointer;color:#1f5fa8;margin:.6rem 0}\n"
    "@media print{body{background:#fff}section,header{break-inside:avoid;border:0;padding:.5rem 0}}\n";

static void open_section(Buf *out, const char *title, const char *lead)
{
    buf_format(out, "<section>\n<h2>%s</h2>\n", title); /* constants of this file */
    if (lead)
        buf_format(out, "<p class=\"soft\">%s</p>\n", lead);
}

static void close_section(Buf *out)
{
    buf_add_text(out, "</section>\n");
}

static void add_cell(Buf *out, const char *class, const char *text)
{
    buf_format(out, "<td%s>", class);
    buf_add_html(out, text ? text : "");
    buf_add_text(out, "</td>");
}

#define NUMBER_CELL " class=\"n\""

/* ---- first screen ---- */

static void add_tile(Buf *out, const char *value, const char *name)
{
    buf_add_text(out, "<div class=\"tile\"><b>");
    buf_add_html(out, value);
    buf_add_text(out, "</b><span>");
    buf_add_html(out, name);
    buf_add_text(out, "</span></div>\n");
}

static void add_answer_tiles(Buf *out, const EvalReport *report, const EvalFigures *figures)
{
    char text[WORDS_NUMBER_BYTES], interval[WORDS_NUMBER_BYTES], name[160];
    snprintf(name, sizeof name, "accuracy, 95 %% interval %s",
             words_interval(figures->interval, interval));
    add_tile(out, words_percent(figures->accuracy, text), name);
    if (figures->strongest < report->baseline_count) {
        const BaselineFigures *rival = &figures->baselines[figures->strongest];
        snprintf(name, sizeof name, "points against %.60s, interval %s",
                 report->baselines[figures->strongest].name,
                 words_interval(rival->difference_interval, interval));
        add_tile(out, words_points(rival->difference, text), name);
    }
    if (figures->top3 >= 0)
        add_tile(out, words_percent(figures->top3, text), "right answer among the first three");
    snprintf(text, sizeof text, "%.2f", figures->macro_f1);
    add_tile(out, text, "macro F1: every class counts the same");
    if (figures->calibration_error >= 0)
        add_tile(out, words_percent(figures->calibration_error, text),
                 "calibration error: how far stated confidence is from the truth");
    if (figures->quantised_accuracy >= 0) {
        char share[WORDS_NUMBER_BYTES];
        snprintf(name, sizeof name, "accuracy as %.40s, same answer %s of the time",
                 report->quantised_name ? report->quantised_name : "quantised",
                 words_percent(figures->quantised_agreement, share));
        add_tile(out, words_percent(figures->quantised_accuracy, text), name);
    }
}

static void add_tiles(Buf *out, const EvalReport *report, const EvalFigures *figures)
{
    char text[WORDS_NUMBER_BYTES];
    buf_add_text(out, "<div class=\"tiles\">\n");
    if (report->count) {
        add_answer_tiles(out, report, figures);
    } else {
        snprintf(text, sizeof text, "%.2f", report->bits_per_byte);
        add_tile(out, text, "bits per byte: fewer are better, 8 is chance");
        snprintf(text, sizeof text, "%.2f", report->bits_per_byte / 8);
        add_tile(out, text, "of the text's size is what it would compress to");
    }
    if (report->tokens_per_second > 0)
        add_tile(out, words_count((uint64_t)(report->tokens_per_second + 0.5), text),
                 "tokens per second in training");
    if (figures->seconds > 0)
        add_tile(out, words_seconds(figures->seconds, text), "from data to this page");
    if (report->joules > 0) {
        snprintf(text, sizeof text, "%.3g Wh", report->joules / 3600);
        add_tile(out, text, "energy of the processor, as it counts it");
    }
    buf_add_text(out, "</div>\n");
}

static void add_header(Buf *out, const EvalReport *report, const EvalFigures *figures)
{
    static const char *const words[] = {"better than the baselines", "level with the baseline",
                                        "worse than the baseline", "no baseline"};
    char when[21];
    clock_iso(report->made_at, when);
    buf_format(out, "<header>\n<span class=\"verdict %s\">%s</span>\n<h1>",
               verdict_names[figures->verdict], words[figures->verdict]);
    buf_add_html(out, figures->sentence);
    buf_add_text(out, "</h1>\n<p>");
    buf_add_html(out, figures->judgement);
    buf_add_text(out, "</p>\n<p class=\"soft small\">");
    buf_add_html(out, report->dataset);
    buf_format(out, " &middot; %s", when);
    buf_add_text(out, "</p>\n");
    add_tiles(out, report, figures);
    buf_add_text(out, "</header>\n");
}

/* ---- comparison ---- */

static void add_baseline_rows(Buf *out, const EvalReport *report, const EvalFigures *figures)
{
    buf_add_text(out, "<table><tr><th>baseline<th class=\"n\">accuracy<th class=\"n\">difference"
                      "<th class=\"n\">interval<th class=\"n\">McNemar p<th>how</tr>\n");
    for (uint32_t b = 0; b < report->baseline_count; b++) {
        const BaselineFigures *figure = &figures->baselines[b];
        char text[WORDS_NUMBER_BYTES];
        buf_add_text(out, "<tr>");
        add_cell(out, "", report->baselines[b].name);
        add_cell(out, NUMBER_CELL, words_percent(figure->value, text));
        add_cell(out, NUMBER_CELL, words_points(figure->difference, text));
        add_cell(out, NUMBER_CELL, words_interval(figure->difference_interval, text));
        snprintf(text, sizeof text, figure->mcnemar_p < 1e-4 ? "< 0.0001" : "%.4f",
                 figure->mcnemar_p);
        add_cell(out, NUMBER_CELL, text);
        add_cell(out, "", report->baselines[b].note);
        buf_add_text(out, "</tr>\n");
    }
    buf_add_text(out, "</table>\n");
}

static void add_comparison(Buf *out, const EvalReport *report, const EvalFigures *figures)
{
    ChartBar bars[REPORT_BASELINES_MAX + 1];
    char texts[REPORT_BASELINES_MAX + 1][WORDS_NUMBER_BYTES * 2];
    double scale = 1;
    for (uint32_t b = 0; b <= report->baseline_count; b++) {
        const BaselineFigures *figure = b ? &figures->baselines[b - 1] : NULL;
        double own = report->count ? figures->accuracy : report->bits_per_byte;
        bars[b] = (ChartBar){.name = b ? report->baselines[b - 1].name : report->model,
                             .text = texts[b], .value = b ? figure->value : own, .is_main = b == 0};
        if (report->count) {
            char share[WORDS_NUMBER_BYTES], interval[WORDS_NUMBER_BYTES];
            bars[b].interval = b ? figure->interval : figures->interval;
            snprintf(texts[b], sizeof texts[b], "%s %s", words_percent(bars[b].value, share),
                     words_interval(bars[b].interval, interval));
        } else {
            snprintf(texts[b], sizeof texts[b], "%.3f", bars[b].value);
            scale = bars[b].value > scale ? bars[b].value : scale;
        }
    }
    open_section(out, report->count ? "Against the baselines" : "Bits per byte",
                 report->count ? "All answered the same records, which none had seen. Whiskers are "
                                 "95 % intervals that know that records of one group are alike."
                               : "Fewer are better. All predicted the same unseen bytes.");
    chart_bars(out, "Model and baselines", bars, report->baseline_count + 1, scale,
               report->count > 0);
    if (report->count && report->baseline_count)
        add_baseline_rows(out, report, figures);
    close_section(out);
}

static void add_curves(Buf *out, const EvalReport *report)
{
    if (!report->curve_count)
        return;
    open_section(out, "How training went",
                 "A validation curve that turns upwards while training falls is learning by heart.");
    chart_lines(out, "Training curves", report->curve_x ? report->curve_x : "step",
                report->curve_y ? report->curve_y : "loss", report->curves, report->curve_count);
    close_section(out);
}

/* ---- where it errs ---- */

static void add_pairs(Buf *out, const EvalReport *report, const EvalFigures *figures)
{
    buf_add_text(out, "<div><h3>Commonest mistakes</h3>\n<table><tr><th>is<th>was filed as"
                      "<th class=\"n\">times<th class=\"n\">of its class</tr>\n");
    for (uint32_t p = 0; p < figures->pair_count; p++) {
        const StatsPair *pair = &figures->pairs[p];
        char text[WORDS_NUMBER_BYTES];
        buf_add_text(out, "<tr>");
        add_cell(out, "", report->labels[pair->actual]);
        add_cell(out, "", report->labels[pair->predicted]);
        add_cell(out, NUMBER_CELL, words_count(pair->count, text));
        add_cell(out, NUMBER_CELL,
                 words_percent((double)pair->count /
                               (double)figures->per_class[pair->actual].actual, text));
        buf_add_text(out, "</tr>\n");
    }
    buf_add_text(out, "</table></div>\n");
}

static void add_trust(Buf *out, const EvalReport *report, const EvalFigures *figures)
{
    open_section(out, "Can its confidence be trusted?",
                 "Bars on the dashed line: when it says 80 %, it is right 8 times of 10. Bars below "
                 "it: the model is surer than it should be.");
    buf_add_text(out, "<div class=\"pair\"><div>");
    if (report->probability)
        chart_calibration(out, "Accuracy by confidence", figures->bins, REPORT_BINS);
    else
        buf_add_text(out, "<p>The model gave no probabilities.</p>");
    buf_add_text(out, "</div>\n");
    add_pairs(out, report, figures);
    buf_add_text(out, "</div>\n");
    close_section(out);
}

static void add_class_rows(Buf *out, const EvalReport *report, const EvalFigures *figures)
{
    buf_format(out, "<details><summary>All %u classes</summary>\n<table><tr><th>%s<th class=\"n\">"
               "records<th class=\"n\">precision<th class=\"n\">recall<th class=\"n\">F1</tr>\n",
               report->classes, "class");
    for (uint32_t c = 0; c < report->classes; c++) {
        const StatsClass *class = &figures->per_class[c];
        char text[WORDS_NUMBER_BYTES];
        const double values[] = {class->precision, class->recall, class->f1};
        buf_add_text(out, "<tr>");
        add_cell(out, "", report->labels[c]);
        add_cell(out, NUMBER_CELL, words_count(class->actual, text));
        for (int v = 0; v < 3; v++) {
            snprintf(text, sizeof text, "%.2f", values[v]);
            add_cell(out, NUMBER_CELL, class->actual + class->predicted ? text : "");
        }
        buf_add_text(out, "</tr>\n");
    }
    buf_add_text(out, "</table></details>\n");
}

static void add_confusion(Buf *out, const EvalReport *report, const EvalFigures *figures)
{
    const char *labels[REPORT_SHOWN_CLASSES + 1];
    for (uint32_t i = 0; i < figures->shown; i++)
        labels[i] = report->labels[figures->top[i]];
    labels[figures->shown] = "(others)";
    open_section(out, "What is taken for what",
                 "The commonest classes. Blue is right, orange is wrong; the darker, the larger the "
                 "share of the row.");
    chart_confusion(out, "Confusion matrix", labels, figures->shown + 1, figures->matrix);
    add_class_rows(out, report, figures);
    close_section(out);
}

/* ---- examples ---- */

static void add_example_table(Buf *out, const EvalReport *report, const char *title,
                              const size_t *which, uint32_t count)
{
    if (!count)
        return;
    buf_format(out, "<h3>%s</h3>\n<table><tr><th>record<th>answer<th>truth<th class=\"n\">"
               "confidence</tr>\n", title);
    for (uint32_t k = 0; k < count; k++) {
        size_t i = which[k];
        char cut[200], share[WORDS_NUMBER_BYTES];
        bool right = report->predicted[i] == report->actual[i];
        snprintf(cut, sizeof cut - 8, "%s", report->text[i]);
        if (strlen(report->text[i]) >= sizeof cut - 8) {
            size_t end = strlen(cut);
            while (end && (cut[end] & 0xc0) == 0x80) /* cut between characters */
                end--;
            while (end && ((unsigned char)cut[end - 1] & 0x80) )
                end--;
            strcpy(cut + end, " \xe2\x80\xa6");
        }
        buf_add_text(out, "<tr>");
        add_cell(out, "", cut);
        add_cell(out, right ? " class=\"right\"" : " class=\"wrong\"",
                 report->labels[report->predicted[i]]);
        add_cell(out, "", report->labels[report->actual[i]]);
        add_cell(out, NUMBER_CELL,
                 report->probability
                     ? words_percent(report->probability[i * report->classes +
                                                         report->predicted[i]], share)
                     : "");
        buf_add_text(out, "</tr>\n");
    }
    buf_add_text(out, "</table>\n");
}

static void add_examples(Buf *out, const EvalReport *report, const EvalFigures *figures)
{
    if (!report->text)
        return;
    open_section(out, "Examples", "Drawn by lot from the test records; nobody picked them.");
    add_example_table(out, report, "Right", figures->right, figures->right_count);
    add_example_table(out, report, "Wrong", figures->wrong, figures->wrong_count);
    add_example_table(out, report, "Wrong and surest of itself", figures->sure,
                      figures->sure_count);
    close_section(out);
}

static void add_samples(Buf *out, const EvalReport *report)
{
    if (!report->sample_count)
        return;
    open_section(out, "What it writes", "Texts written by the model, unedited.");
    buf_add_text(out, "<table><tr><th>asked<th>written<th>reference</tr>\n");
    for (size_t s = 0; s < report->sample_count; s++) {
        buf_add_text(out, "<tr>");
        add_cell(out, "", report->samples[s].prompt);
        add_cell(out, "", report->samples[s].output);
        add_cell(out, "", report->samples[s].reference);
        buf_add_text(out, "</tr>\n");
    }
    buf_add_text(out, "</table>\n");
    close_section(out);
}

/* ---- how it was made ---- */

static void add_fact(Buf *out, const char *name, const char *value)
{
    if (!value)
        return;
    buf_add_text(out, "<tr>");
    add_cell(out, "", name);
    buf_add_text(out, "<td><code>");
    buf_add_html(out, value);
    buf_add_text(out, "</code></td></tr>\n");
}

static void add_making(Buf *out, const EvalReport *report, const EvalFigures *figures)
{
    char text[WORDS_NUMBER_BYTES], line[160];
    open_section(out, "How it was made", NULL);
    buf_add_text(out, "<table>\n");
    add_fact(out, "dataset", report->dataset);
    add_fact(out, "dataset digest (SHA-256)", report->dataset_digest);
    for (size_t f = 0; f < report->fact_count; f++)
        add_fact(out, report->facts[f].name, report->facts[f].value);
    for (size_t p = 0; p < report->phase_count; p++)
        add_fact(out, report->phases[p].name, words_seconds(report->phases[p].seconds, text));
    if (report->count) {
        char groups[WORDS_NUMBER_BYTES];
        snprintf(line, sizeof line, "%s in %s groups, design effect %.2f, seed %llu",
                 words_count(report->count, text), words_count(figures->groups, groups),
                 figures->design_effect, (unsigned long long)report->seed);
        add_fact(out, "test records", line);
    }
    buf_add_text(out, "</table>\n");
    if (report->command) {
        buf_add_text(out, "<h3>To make it again</h3>\n<pre>");
        buf_add_html(out, report->command);
        buf_add_text(out, "</pre>\n");
    }
    close_section(out);
}

bool report_html(Buf *out, const EvalReport *report, const EvalFigures *figures, Error *err)
{
    buf_add_text(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                      "style-src 'unsafe-inline'\">\n<title>");
    buf_add_html(out, report->model);
    buf_add_text(out, " &middot; evaluation</title>\n<style>\n");
    buf_add_text(out, style);
    buf_add_text(out, "</style></head>\n<body><main>\n");
    add_header(out, report, figures);
    add_comparison(out, report, figures);
    add_curves(out, report);
    if (report->count) {
        add_trust(out, report, figures);
        add_confusion(out, report, figures);
        add_examples(out, report, figures);
    }
    add_samples(out, report);
    add_making(out, report, figures);
    buf_add_text(out, "</main></body></html>\n");
    return buf_ok(out, "report.html", err);
}
