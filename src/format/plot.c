/* plot.c: line charts and bar charts; see plot.h. plot_grid.c has the square ones, plot_page.c the
 * page around them. Legends and titles are HTML, which wraps; SVG is what stands at a place. */
#include "format/plot_axis.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 880, POINTS_MAX = 1000 };

/* ---- lines ---- */

static double series_x(const PlotSeries *series, size_t i)
{
    return series->x ? series->x[i] : (double)i + 1;
}

static bool is_drawn(const PlotLines *plot, const PlotSeries *series, size_t i)
{
    return isfinite(series->y[i]) && isfinite(series_x(series, i)) &&
           (!plot->log_y || series->y[i] > 0);
}

static size_t drawn_series(const PlotLines *plot)
{
    return plot->series_count < PLOT_SERIES_MAX ? plot->series_count : PLOT_SERIES_MAX;
}

static void find_ranges(const PlotLines *plot, Axis *x, Axis *y)
{
    double x_low = INFINITY, x_high = -INFINITY, y_low = INFINITY, y_high = -INFINITY;
    for (size_t s = 0; s < drawn_series(plot); s++) {
        const PlotSeries *series = &plot->series[s];
        for (size_t i = 0; i < series->count; i++) {
            if (!is_drawn(plot, series, i))
                continue;
            x_low = fmin(x_low, series_x(series, i));
            x_high = fmax(x_high, series_x(series, i));
            y_low = fmin(y_low, series->y[i]);
            y_high = fmax(y_high, series->y[i]);
        }
    }
    axis_init(x, x_low, x_high, false, 8);
    axis_init(y, y_low, y_high, plot->log_y, 5);
}

static void draw_legend(Buf *out, const PlotLines *plot)
{
    buf_add_text(out, "<ul class=\"legend\">");
    for (size_t s = 0; s < drawn_series(plot); s++) {
        buf_format(out, "<li><svg viewBox=\"0 0 26 10\" aria-hidden=\"true\">"
                        "<line x1=\"1\" y1=\"5\" x2=\"25\" "
                        "y2=\"5\" style=\"stroke:var(--s%zu);stroke-width:3\"/></svg>", s);
        buf_add_html(out, plot->series[s].name ? plot->series[s].name : "");
        buf_add_text(out, "</li>");
    }
    buf_add_text(out, "</ul>\n");
}

/* Grid, ticks and labels of a pair of axes: x below, y to the left. */
static void draw_axes(Buf *out, const Axis *x, const Axis *y, const char *x_label,
                      const char *y_label)
{
    char text[48];
    for (uint32_t i = 0; i < y->tick_count; i++) {
        double at = axis_place(y, y->ticks[i]);
        plot_segment(out, x->start, at, x->end, at, "grid");
        axis_tick_text(y, i, text);
        plot_text(out, x->start - 8, at + 4, "end", "small", text);
    }
    for (uint32_t i = 0; i < x->tick_count; i++) {
        double at = axis_place(x, x->ticks[i]);
        plot_segment(out, at, y->start, at, y->start + 5, "axis");
        axis_tick_text(x, i, text);
        plot_text(out, at, y->start + 19, "middle", "small", text);
    }
    plot_segment(out, x->start, y->start, x->end, y->start, "axis");
    if (y_label)
        plot_text(out, 0, 13, "start", "small", y_label);
    if (x_label)
        plot_text(out, (x->start + x->end) / 2, y->start + 40, "middle", "small", x_label);
}

typedef struct {
    Buf *out;
    const Axis *x, *y;
    bool is_open; /* a run of points has begun */
} Pen;

static void pen_move(Pen *pen, double x, double y)
{
    buf_format(pen->out, "%c%.1f %.1f", pen->is_open ? 'L' : 'M', axis_place(pen->x, x),
               axis_place(pen->y, y));
    pen->is_open = true;
}

/* Of the points [from, to): the least and the greatest, in their order. */
static void draw_run(Pen *pen, const PlotLines *plot, const PlotSeries *series, size_t from,
                     size_t to)
{
    size_t least = to, greatest = to;
    for (size_t i = from; i < to; i++) {
        if (!is_drawn(plot, series, i))
            continue;
        if (least == to || series->y[i] < series->y[least])
            least = i;
        if (greatest == to || series->y[i] > series->y[greatest])
            greatest = i;
    }
    if (least == to) { /* nothing to draw here: the line has a gap */
        pen->is_open = false;
        return;
    }
    size_t first = least < greatest ? least : greatest, second = least + greatest - first;
    pen_move(pen, series_x(series, first), series->y[first]);
    if (second != first)
        pen_move(pen, series_x(series, second), series->y[second]);
}

static void draw_series(Buf *out, const PlotLines *plot, size_t s, const Axis *x, const Axis *y)
{
    const PlotSeries *series = &plot->series[s];
    size_t stride = (series->count + POINTS_MAX - 1) / POINTS_MAX;
    stride = stride > 1 ? 2 * stride : 1; /* each run gives two points */
    Pen pen = {out, x, y, false};
    buf_format(out, "<path class=\"line\" style=\"stroke:var(--s%zu)\" d=\"", s);
    for (size_t i = 0; i < series->count; i += stride)
        draw_run(&pen, plot, series, i, i + stride < series->count ? i + stride : series->count);
    buf_add_text(out, "\"/>\n");
    for (size_t i = 0; series->count <= 20 && i < series->count; i++) {
        if (is_drawn(plot, series, i)) /* few points are measurements, each worth a mark */
            buf_format(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" class=\"dot\" "
                            "style=\"fill:var(--s%zu)\"/>\n", axis_place(x, series_x(series, i)),
                       axis_place(y, series->y[i]), s);
    }
}

void plot_lines(Buf *out, const PlotLines *plot)
{
    const double height = 330;
    Axis x, y;
    find_ranges(plot, &x, &y);
    x.start = axis_text_width(&y) + 14;
    x.end = WIDTH - 18;
    y.start = height - 52; /* low values at the bottom */
    y.end = plot->y_label ? 28 : 10;
    plot_open(out, plot->title, "chart");
    if (plot->series_count > 1)
        draw_legend(out, plot);
    plot_open_svg(out, plot->title, WIDTH, height);
    draw_axes(out, &x, &y, plot->x_label, plot->y_label);
    for (size_t s = 0; s < drawn_series(plot); s++)
        draw_series(out, plot, s, &x, &y);
    plot_close(out);
}

/* ---- bars ---- */

enum { LABEL_LETTERS_MAX = 36 };

/* A label cut to LABEL_LETTERS_MAX letters, on a whole character. */
static void cut_label(const char *text, char out[LABEL_LETTERS_MAX * 4 + 4])
{
    size_t letters = 0, used = 0, keep = 0;
    for (; text[used] && used < (size_t)LABEL_LETTERS_MAX * 4; used++) {
        bool begins = ((unsigned char)text[used] & 0xc0) != 0x80;
        if (begins && ++letters == LABEL_LETTERS_MAX)
            keep = used;
        if (letters > LABEL_LETTERS_MAX)
            break;
    }
    if (letters > LABEL_LETTERS_MAX)
        snprintf(out, LABEL_LETTERS_MAX * 4 + 4, "%.*s\xe2\x80\xa6", (int)keep, text);
    else
        snprintf(out, LABEL_LETTERS_MAX * 4 + 4, "%.*s", (int)used, text);
}

static void value_text(const PlotBars *plot, const PlotBar *bar, char out[96])
{
    int decimals = plot->decimals < 9 ? (int)plot->decimals : 9;
    if (!isfinite(bar->value))
        snprintf(out, 96, "no value");
    else if (bar->low < bar->high)
        snprintf(out, 96, "%.*f  [%.*f, %.*f]", decimals, bar->value, decimals, bar->low, decimals,
                 bar->high);
    else
        snprintf(out, 96, "%.*f", decimals, bar->value);
}

static void find_bar_range(const PlotBars *plot, Axis *x)
{
    double low = 0, high = 0;
    for (size_t i = 0; i < plot->count; i++) {
        const PlotBar *bar = &plot->bars[i];
        double ends[] = {bar->value, bar->low < bar->high ? bar->low : 0,
                         bar->low < bar->high ? bar->high : 0};
        for (int k = 0; k < 3; k++) {
            low = isfinite(ends[k]) ? fmin(low, ends[k]) : low;
            high = isfinite(ends[k]) ? fmax(high, ends[k]) : high;
        }
    }
    if (plot->axis_low < plot->axis_high)
        low = plot->axis_low, high = plot->axis_high;
    axis_init(x, low, low == high ? low + 1 : high, false, 6);
}

static void draw_bar(Buf *out, const PlotBars *plot, size_t i, const Axis *x, double middle)
{
    const PlotBar *bar = &plot->bars[i];
    char label[LABEL_LETTERS_MAX * 4 + 4], value[96];
    cut_label(bar->label ? bar->label : "", label);
    value_text(plot, bar, value);
    plot_text(out, x->start - 12, middle + 4.5, "end", "name", label);
    plot_text(out, WIDTH, middle + 4.5, "end", "name", value);
    if (!isfinite(bar->value))
        return;
    double zero = axis_place(x, 0), end = axis_place(x, bar->value);
    buf_format(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"16\" class=\"bar\"/>\n",
               fmin(zero, end), middle - 8, fabs(end - zero));
    if (!(bar->low < bar->high && isfinite(bar->low) && isfinite(bar->high)))
        return;
    double low = axis_place(x, bar->low), high = axis_place(x, bar->high);
    plot_segment(out, low, middle, high, middle, "error");
    plot_segment(out, low, middle - 4, low, middle + 4, "error");
    plot_segment(out, high, middle - 4, high, middle + 4, "error");
}

void plot_bars(Buf *out, const PlotBars *plot)
{
    const double row = 28, bottom = plot->value_label ? 44 : 24;
    double labels = 0, values = 0, height = (double)plot->count * row + 6 + bottom;
    for (size_t i = 0; i < plot->count; i++) {
        char label[LABEL_LETTERS_MAX * 4 + 4], value[96];
        cut_label(plot->bars[i].label ? plot->bars[i].label : "", label);
        value_text(plot, &plot->bars[i], value);
        labels = fmax(labels, plot_text_width(label, 13));
        values = fmax(values, plot_text_width(value, 13));
    }
    Axis x;
    find_bar_range(plot, &x);
    x.start = labels + 14;
    x.end = WIDTH - values - 20;
    plot_open(out, plot->title, "chart");
    plot_open_svg(out, plot->title, WIDTH, height);
    for (uint32_t i = 0; i < x.tick_count; i++) {
        char text[48];
        double at = axis_place(&x, x.ticks[i]);
        plot_segment(out, at, 2, at, height - bottom, x.ticks[i] == 0 ? "axis" : "grid");
        axis_tick_text(&x, i, text);
        plot_text(out, at, height - bottom + 17, "middle", "small", text);
    }
    for (size_t i = 0; i < plot->count; i++)
        draw_bar(out, plot, i, &x, 4 + ((double)i + 0.5) * row);
    if (plot->value_label)
        plot_text(out, (x.start + x.end) / 2, height - 5, "middle", "small", plot->value_label);
    plot_close(out);
}
