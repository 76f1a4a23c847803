/* progress.c: see progress.h. */
#include "train/progress.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- for people ---- */

static char *unknown(char out[PROGRESS_TEXT_MAX])
{
    memcpy(out, "?", 2);
    return out;
}

char *progress_number(double value, char out[PROGRESS_TEXT_MAX])
{
    if (!(value >= 0 && value < 1e18)) /* also NaN */
        return unknown(out);
    char digits[24];
    int count = snprintf(digits, sizeof digits, "%.0f", value);
    char *at = out;
    for (int i = 0; i < count; i++) {
        if (i && (count - i) % 3 == 0)
            *at++ = ',';
        *at++ = digits[i];
    }
    *at = 0;
    return out;
}

char *progress_speed(double tokens_per_second, char out[PROGRESS_TEXT_MAX])
{
    if (!(tokens_per_second >= 0 && tokens_per_second < 1e15))
        return unknown(out);
    char number[PROGRESS_TEXT_MAX];
    if (tokens_per_second < 99.95)
        snprintf(number, sizeof number, "%.1f", tokens_per_second);
    else
        progress_number(tokens_per_second, number);
    snprintf(out, PROGRESS_TEXT_MAX, "%.20s tokens/s", number);
    return out;
}

char *progress_seconds(double seconds, char out[PROGRESS_TEXT_MAX])
{
    static const struct {
        uint64_t seconds;
        const char *name;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    if (!(seconds >= 0 && seconds < 1e14))
        return unknown(out);
    if (seconds < 9.95) {
        snprintf(out, PROGRESS_TEXT_MAX, "%.1f s", seconds);
        return out;
    }
    uint64_t left = (uint64_t)(seconds + 0.5);
    int unit = 0;
    while (left < units[unit].seconds)
        unit++;
    uint64_t major = left / units[unit].seconds;
    int length = snprintf(out, PROGRESS_TEXT_MAX, "%llu %s", (unsigned long long)major,
                          units[unit].name);
    if (unit == 3)
        return out;
    uint64_t minor = left % units[unit].seconds / units[unit + 1].seconds;
    if (minor)
        snprintf(out + length, PROGRESS_TEXT_MAX - (size_t)length, " %llu %s",
                 (unsigned long long)minor, units[unit + 1].name);
    return out;
}

char *progress_bytes(double bytes, char out[PROGRESS_TEXT_MAX])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    if (!(bytes >= 0 && bytes < 1e18))
        return unknown(out);
    int unit = 0;
    for (; unit < 5 && bytes >= (unit ? 1023.95 : 1023.5); unit++)
        bytes /= 1024;
    snprintf(out, PROGRESS_TEXT_MAX, unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return out;
}

/* ---- speed ---- */

void progress_rate_init(ProgressRate *rate, uint64_t step, double seconds)
{
    *rate = (ProgressRate){.step = step, .seconds = seconds};
}

/* An exponential mean in time, not in calls: long and short steps weigh by their length. Divided by
 * its weight it is right from the first step on. */
void progress_rate_add(ProgressRate *rate, uint64_t step, double seconds)
{
    const double memory_seconds = 30;
    double passed = seconds - rate->seconds;
    if (!(passed > 0) || step < rate->step)
        return;
    double share = 1 - exp(-passed / memory_seconds);
    double speed = (double)(step - rate->step) / passed;
    rate->rate += share * (speed - rate->rate);
    rate->weight += share * (1 - rate->weight);
    rate->seconds = seconds;
    rate->step = step;
}

double progress_left(const ProgressRate *rate, uint64_t steps)
{
    if (!(rate->rate > 0))
        return NAN;
    uint64_t left = steps > rate->step ? steps - rate->step : 0;
    return (double)left * rate->weight / rate->rate;
}

/* ---- the line ---- */

typedef char Text[80];

static void print_step(const ProgressView *view, Text out)
{
    char step[PROGRESS_TEXT_MAX], steps[PROGRESS_TEXT_MAX];
    progress_number((double)view->step, step);
    if (view->steps)
        snprintf(out, sizeof(Text), "%s/%s", step, progress_number((double)view->steps, steps));
    else
        snprintf(out, sizeof(Text), "%s", step);
}

static void print_loss(const ProgressView *view, Text out)
{
    if (!isnan(view->loss))
        snprintf(out, sizeof(Text), fabs(view->loss) < 1e4 ? "loss %.4f" : "loss %.3g", view->loss);
}

static void print_rate(const ProgressView *view, Text out)
{
    if (!isnan(view->tokens_per_second))
        progress_speed(view->tokens_per_second, out);
}

static void print_peak(const ProgressView *view, Text out)
{
    double percent = 100 * view->peak_share;
    if (percent >= 0 && percent < 1e4)
        snprintf(out, sizeof(Text), "%.*f %% of peak", percent < 9.95, percent);
}

static void print_passed(const ProgressView *view, Text out)
{
    char text[PROGRESS_TEXT_MAX];
    if (!isnan(view->seconds))
        snprintf(out, sizeof(Text), "%s so far", progress_seconds(view->seconds, text));
}

static void print_left(const ProgressView *view, Text out)
{
    char text[PROGRESS_TEXT_MAX];
    if (!isnan(view->seconds_left))
        snprintf(out, sizeof(Text), "%s left", progress_seconds(view->seconds_left, text));
}

enum { FIELDS = 6, BAR = FIELDS, BAR_MIN = 10, BAR_MAX = 42 }; /* widths with its brackets */

static const struct {
    void (*print)(const ProgressView *view, Text out); /* "" stays: unknown */
    const char *colour;
} fields[FIELDS] = { /* as they stand in the line */
    {print_step, "\x1b[1m"}, {print_loss, "\x1b[33m"},  {print_rate, "\x1b[32m"},
    {print_peak, "\x1b[2m"}, {print_passed, "\x1b[2m"}, {print_left, "\x1b[36m"},
};
/* Who gets columns first. */
static const int by_importance[FIELDS + 1] = {0, 1, 5, BAR, 2, 3, 4};

/* A bar of `width` columns, brackets included; returns its bytes. */
static size_t print_bar(double done, uint32_t width, bool utf8, char *out)
{
    static const char *const eighths[] = {"", "\u258f", "\u258e", "\u258d", "\u258c", "\u258b",
                                          "\u258a", "\u2589", "\u2588"};
    uint32_t cells = width - 2;
    uint32_t parts = (uint32_t)(done * cells * 8);
    char *at = out;
    *at++ = '[';
    for (uint32_t cell = 0; cell < cells; cell++) {
        uint32_t here = parts >= 8 * cell ? parts - 8 * cell : 0;
        const char *text = here >= 8 ? "=" : cell == parts / 8 ? ">" : "";
        if (utf8)
            text = eighths[here < 8 ? here : 8];
        at = stpcpy(at, *text ? text : " ");
    }
    *at++ = ']';
    *at = 0;
    return (size_t)(at - out);
}

static size_t plain_line(Text *texts, char out[PROGRESS_LINE_MAX])
{
    char *at = stpcpy(out, "step ");
    for (int f = 0; f < FIELDS; f++) {
        if (*texts[f])
            at = stpcpy(stpcpy(at, f ? "  " : ""), texts[f]);
    }
    return (size_t)(at - out);
}

size_t progress_line(const ProgressView *view, const ProgressStyle *style,
                     char out[PROGRESS_LINE_MAX])
{
    Text texts[FIELDS] = {{0}};
    for (int f = 0; f < FIELDS; f++)
        fields[f].print(view, texts[f]);
    if (!style->columns)
        return plain_line(texts, out);
    uint32_t columns = style->columns;
    if (columns > PROGRESS_COLUMNS_MAX)
        columns = PROGRESS_COLUMNS_MAX;
    texts[0][columns < sizeof texts[0] ? columns : sizeof texts[0] - 1] = 0;
    uint32_t used = 0, bar = 0;
    bool shown[FIELDS] = {false};
    for (int i = 0; i <= FIELDS; i++) {
        int f = by_importance[i];
        uint32_t width = f == BAR ? (view->steps ? BAR_MIN : 0) : (uint32_t)strlen(texts[f]);
        uint32_t gap = f == BAR ? 1 : used ? 2 : 0;
        if (width == 0 || used + gap + width > columns)
            continue;
        used += gap + width;
        if (f == BAR)
            bar = width;
        else
            shown[f] = true;
    }
    char *at = out;
    if (bar) { /* takes what is left over */
        uint32_t more = columns - used < BAR_MAX - BAR_MIN ? columns - used : BAR_MAX - BAR_MIN;
        double done = (double)view->step / (double)view->steps;
        at = stpcpy(at, style->colour ? "\x1b[36m" : "");
        at += print_bar(done < 1 ? done : 1, bar + more, style->utf8, at);
        at = stpcpy(stpcpy(at, style->colour ? "\x1b[0m" : ""), " ");
    }
    for (int f = 0; f < FIELDS; f++) {
        if (!shown[f])
            continue;
        at = stpcpy(stpcpy(at, f ? "  " : ""), style->colour ? fields[f].colour : "");
        at = stpcpy(stpcpy(at, texts[f]), style->colour ? "\x1b[0m" : "");
    }
    assert(at - out < PROGRESS_LINE_MAX);
    return (size_t)(at - out);
}
