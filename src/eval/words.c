/* words.c: see words.h. */
#include "eval/words.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define NO_BREAK "\xc2\xa0" /* a number and its unit stay on one line */

const char *words_count(uint64_t number, char out[WORDS_NUMBER_BYTES])
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)number), at = 0;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = 0;
    return out;
}

const char *words_percent(double share, char out[WORDS_NUMBER_BYTES])
{
    snprintf(out, WORDS_NUMBER_BYTES, "%.1f" NO_BREAK "%%", 100 * share);
    return out;
}

const char *words_interval(Interval share, char out[WORDS_NUMBER_BYTES])
{
    snprintf(out, WORDS_NUMBER_BYTES, "[%.1f, %.1f]", 100 * share.low, 100 * share.high);
    return out;
}

const char *words_seconds(double seconds, char out[WORDS_NUMBER_BYTES])
{
    if (seconds < 120)
        snprintf(out, WORDS_NUMBER_BYTES, seconds < 10 ? "%.1f" NO_BREAK "s" : "%.0f" NO_BREAK "s",
                 seconds);
    else if (seconds < 7200)
        snprintf(out, WORDS_NUMBER_BYTES, "%.1f" NO_BREAK "min", seconds / 60);
    else
        snprintf(out, WORDS_NUMBER_BYTES, "%.1f" NO_BREAK "h", seconds / 3600);
    return out;
}

const char *words_records(const EvalReport *report)
{
    return report->records_noun ? report->records_noun : "records";
}

const char *words_label(const EvalReport *report)
{
    return report->label_noun ? report->label_noun : "class";
}

/* ---- sentences ---- */

/* "; naive Bayes 74.2 %, majority 8.0 %", strongest first as given by the caller. */
static void list_baselines(char *out, size_t room, const EvalReport *report,
                           const EvalFigures *figures)
{
    size_t used = 0;
    out[0] = 0;
    for (uint32_t b = 0; b < report->baseline_count && used < room; b++) {
        double value = figures->baselines[b].value;
        const char *form = report->count ? "%s%s %.1f" NO_BREAK "%%" : "%s%s %.2f";
        used += (size_t)snprintf(out + used, room - used, form, b ? ", " : "; ",
                                 report->baselines[b].name, report->count ? 100 * value : value);
    }
}

const char *words_sentence(Arena *arena, const EvalReport *report, const EvalFigures *figures)
{
    char count[WORDS_NUMBER_BYTES], share[WORDS_NUMBER_BYTES], interval[WORDS_NUMBER_BYTES];
    char baselines[512];
    list_baselines(baselines, sizeof baselines, report, figures);
    if (report->count == 0)
        return arena_format(arena, "%s needs %.2f bits for each of %s unseen bytes of %s%s.",
                            report->model, report->bits_per_byte, words_count(report->bytes, count),
                            report->dataset, baselines);
    return arena_format(arena, "%s files %s %s of %s unseen %s in the right %s%s.", report->model,
                        words_percent(figures->accuracy, share),
                        words_interval(figures->interval, interval),
                        words_count(report->count, count), words_records(report),
                        words_label(report), baselines);
}

static const char *judge_bits(Arena *arena, const EvalReport *report, const EvalFigures *figures,
                              const char *rival)
{
    double difference = figures->baselines[figures->strongest].difference;
    if (figures->verdict == VERDICT_LEVEL)
        return arena_format(arena, "It predicts the text exactly as well as %s.", rival);
    return arena_format(arena, "It needs %.2f bits %s per byte than %s, the strongest baseline%s.",
                        fabs(difference), difference < 0 ? "fewer" : "more", rival,
                        report->bits_per_byte < 8 ? "" : ": it has learnt nothing of this text");
}

const char *words_judgement(Arena *arena, const EvalReport *report, const EvalFigures *figures)
{
    if (figures->verdict == VERDICT_ALONE)
        return arena_format(arena, "No baseline was run, so nothing says whether that is good.");
    const BaselineFigures *rival = &figures->baselines[figures->strongest];
    const char *name = report->baselines[figures->strongest].name;
    if (report->count == 0)
        return judge_bits(arena, report, figures, name);
    char interval[WORDS_NUMBER_BYTES];
    words_interval(rival->difference_interval, interval);
    double points = 100 * fabs(rival->difference);
    switch (figures->verdict) {
    case VERDICT_BETTER:
        return arena_format(arena, "It is %.1f points %s above %s, the strongest baseline.", points,
                            interval, name);
    case VERDICT_WORSE:
        return arena_format(arena, "It is %.1f points below %s, the strongest baseline (difference "
                            "%s): use that instead.", points, name, interval);
    default:
        return arena_format(arena, "It cannot be told from %s, the strongest baseline: the "
                            "difference of %+.1f points is within %s.", name,
                            100 * rival->difference, interval);
    }
}
