/* plot_axis.c: see plot_axis.h. */
#include "format/plot_axis.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The smallest of 1, 2, 5 times a power of ten that is not below value. */
static double round_step(double value)
{
    double power = pow(10, floor(log10(value)));
    double part = value / power;
    double round = part <= 1 + 1e-9 ? 1 : part <= 2 + 1e-9 ? 2 : part <= 5 + 1e-9 ? 5 : 10;
    return round * power;
}

static void init_linear(Axis *axis, double low, double high, uint32_t wanted)
{
    double step = round_step((high - low) / wanted);
    double first = floor(low / step + 1e-9), last = ceil(high / step - 1e-9);
    if (last - first + 1 > AXIS_TICKS_MAX)
        step = round_step(step * 1.01), first = floor(low / step), last = ceil(high / step);
    axis->step = step;
    axis->low = first * step;
    axis->high = last * step;
    for (double i = first; i <= last && axis->tick_count < AXIS_TICKS_MAX; i++)
        axis->ticks[axis->tick_count++] = i * step;
}

/* Decades when there are several; else 1, 2, 5 in each, so that a narrow range has ticks too. */
static void init_log(Axis *axis, double low, double high)
{
    static const double parts[] = {1, 2, 5};
    double first = floor(log10(low)), last = ceil(log10(high));
    bool narrow = last - first <= 2;
    double stride = narrow ? 1 : ceil((last - first) / 8);
    axis->low = INFINITY;
    axis->high = 0;
    double below = 0; /* the last candidate not above low: the axis starts there */
    for (double decade = first; decade <= last + stride; decade += stride) {
        for (int i = 0; i < (narrow ? 3 : 1); i++) {
            double value = parts[i] * pow(10, decade);
            if (value <= low * (1 + 1e-9)) {
                below = value;
                continue;
            }
            if (axis->tick_count == 0 && below > 0)
                axis->ticks[axis->tick_count++] = below;
            if (axis->tick_count == AXIS_TICKS_MAX ||
                (axis->tick_count && axis->ticks[axis->tick_count - 1] >= high * (1 - 1e-9)))
                break;
            axis->ticks[axis->tick_count++] = value;
        }
    }
    axis->low = axis->ticks[0];
    axis->high = axis->ticks[axis->tick_count - 1];
}

void axis_init(Axis *axis, double low, double high, bool is_log, uint32_t wanted)
{
    *axis = (Axis){.is_log = is_log};
    const double most = 1e300, least = is_log ? 1e-300 : -1e300;
    if (!(low <= high)) /* no data, or not a number */
        low = is_log ? 1 : 0, high = is_log ? 10 : 1;
    low = fmin(fmax(low, least), most);
    high = fmin(fmax(high, least), most);
    double size = fmax(fabs(low), fabs(high));
    if (is_log) {
        init_log(axis, low, fmax(high, low * 1.001));
        return;
    }
    if (high - low < size * 1e-9 || high == low) { /* one value: some room around it */
        double room = size > 0 ? size * 0.1 : 1;
        low -= room;
        high += room;
    }
    init_linear(axis, low, high, wanted);
}

double axis_place(const Axis *axis, double value)
{
    double low = axis->is_log ? log10(axis->low) : axis->low;
    double high = axis->is_log ? log10(axis->high) : axis->high;
    double at = axis->is_log ? log10(value) : value;
    double place = axis->start + (at - low) / (high - low) * (axis->end - axis->start);
    double least = fmin(axis->start, axis->end), most = fmax(axis->start, axis->end);
    return fmin(fmax(place, least), most); /* what is beyond the axis ends at its edge */
}

/* Digits with narrow spaces between groups of three; text starts with digits or a sign. */
static void group_digits(const char *text, char out[48])
{
    size_t sign = text[0] == '-', digits = strspn(text + sign, "0123456789"), used = 0;
    if (sign) { /* the minus sign is as wide as a digit, the hyphen is not */
        memcpy(out, "\xe2\x88\x92", 3);
        used = 3;
    }
    for (size_t i = 0; i < digits && used < 40; i++) {
        if (i && digits > 4 && (digits - i) % 3 == 0) {
            memcpy(out + used, "\xe2\x80\xaf", 3);
            used += 3;
        }
        out[used++] = text[sign + i];
    }
    snprintf(out + used, 48 - used, "%s", text + sign + digits);
}

void page_count_text(uint64_t count, char out[48])
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)count);
    group_digits(text, out);
}

/* "2×10⁻⁵", or "10⁻⁵" when the first part is 1. */
static void power_text(double value, char out[48])
{
    static const char *const raised[] = {"\xe2\x81\xb0", "\xc2\xb9",     "\xc2\xb2",
                                         "\xc2\xb3",     "\xe2\x81\xb4", "\xe2\x81\xb5",
                                         "\xe2\x81\xb6", "\xe2\x81\xb7", "\xe2\x81\xb8",
                                         "\xe2\x81\xb9"};
    char text[40];
    snprintf(text, sizeof text, "%.4e", value);
    char *e = strchr(text, 'e'), *end = e;
    while (end > text && (end[-1] == '0' || end[-1] == '.')) /* 2.0000 is 2, 1.5000 is 1.5 */
        end--;
    long power = strtol(e + 1, NULL, 10);
    *end = 0;
    char digits[16], exponent[48] = "";
    size_t used = 0;
    snprintf(digits, sizeof digits, "%ld", labs(power));
    for (const char *d = digits; *d; d++) {
        memcpy(exponent + used, raised[*d - '0'], strlen(raised[*d - '0']) + 1);
        used += strlen(raised[*d - '0']);
    }
    const char *minus = power < 0 ? "\xe2\x81\xbb" : "";
    if (strcmp(text, "1") == 0)
        snprintf(out, 48, "10%s%s", minus, exponent);
    else
        snprintf(out, 48, "%s%s\xc3\x97" "10%s%s", value < 0 ? "\xe2\x88\x92" : "",
                 text + (value < 0), minus, exponent);
}

void axis_tick_text(const Axis *axis, uint32_t tick, char out[48])
{
    double value = axis->ticks[tick];
    double size = axis->is_log ? axis->low : axis->step;
    double biggest = fmax(fabs(axis->low), fabs(axis->high));
    char text[40];
    if (value == 0) {
        snprintf(out, 48, "0");
        return;
    }
    if (biggest >= 1e9 || size < 1e-4) {
        power_text(value, out);
        return;
    } else if (biggest >= 1e6 && !axis->is_log) {
        snprintf(text, sizeof text, "%.6g\xe2\x80\xafM", value / 1e6);
    } else {
        size = axis->is_log ? fabs(value) : size;
        int decimals = size >= 1 ? 0 : (int)ceil(-log10(size) - 1e-9);
        snprintf(text, sizeof text, "%.*f", decimals, value);
    }
    group_digits(text, out);
}

double axis_text_width(const Axis *axis)
{
    double widest = 0;
    for (uint32_t i = 0; i < axis->tick_count; i++) {
        char text[48];
        axis_tick_text(axis, i, text);
        widest = fmax(widest, plot_text_width(text, 12));
    }
    return widest;
}

double plot_text_width(const char *text, double size)
{
    double letters = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        letters += (*c & 0xc0) != 0x80;
    return letters * size * 0.58;
}

/* ---- shared SVG ---- */

void plot_open(Buf *out, const char *title, const char *figure_class)
{
    buf_format(out, "<figure class=\"%s\">\n", figure_class);
    if (title) {
        buf_add_text(out, "<figcaption>");
        buf_add_html(out, title);
        buf_add_text(out, "</figcaption>\n");
    }
}

void plot_open_svg(Buf *out, const char *title, double width, double height)
{
    buf_format(out, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", width, height);
    buf_add_html(out, title ? title : "chart");
    buf_add_text(out, "\">\n");
}

void plot_close(Buf *out)
{
    buf_add_text(out, "</svg>\n</figure>\n");
}

void plot_text(Buf *out, double x, double y, const char *anchor, const char *style,
               const char *text)
{
    buf_format(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x, y, anchor,
               style);
    buf_add_html(out, text);
    buf_add_text(out, "</text>\n");
}

void plot_segment(Buf *out, double x1, double y1, double x2, double y2, const char *style)
{
    buf_format(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n",
               x1, y1, x2, y2, style);
}
