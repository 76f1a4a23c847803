/* plot_grid.c: the charts that are squares: calibration and confusion; see plot.h. */
#include "format/plot_axis.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* ---- calibration ---- */

static void draw_unit_axes(Buf *out, const Axis *x, const Axis *y)
{
    char text[48];
    for (uint32_t i = 0; i < x->tick_count; i++) {
        double across = axis_place(x, x->ticks[i]), up = axis_place(y, y->ticks[i]);
        plot_segment(out, across, y->start, across, y->end, "grid");
        plot_segment(out, x->start, up, x->end, up, "grid");
        axis_tick_text(x, i, text);
        plot_text(out, across, y->start + 18, "middle", "small", text);
        plot_text(out, x->start - 8, up + 4, "end", "small", text);
    }
    plot_text(out, 0, 13, "start", "small", "observed share");
    plot_text(out, (x->start + x->end) / 2, y->start + 38, "middle", "small",
              "predicted probability");
    plot_segment(out, x->start, y->start, x->end, y->end, "ideal");
}

static bool is_bin_drawn(const PlotBin *bin)
{
    return bin->count && isfinite(bin->predicted) && isfinite(bin->observed);
}

static void draw_bins(Buf *out, const PlotBin *bins, size_t count, const Axis *x, const Axis *y)
{
    bool is_open = false;
    buf_add_text(out, "<path class=\"line\" style=\"stroke:var(--s0)\" d=\"");
    for (size_t i = 0; i < count; i++) {
        if (!is_bin_drawn(&bins[i]))
            continue;
        buf_format(out, "%c%.1f %.1f", is_open ? 'L' : 'M', axis_place(x, bins[i].predicted),
                   axis_place(y, bins[i].observed));
        is_open = true;
    }
    buf_add_text(out, "\"/>\n");
    for (size_t i = 0; i < count; i++) {
        if (!is_bin_drawn(&bins[i]))
            continue;
        double at = axis_place(x, bins[i].predicted);
        if (bins[i].low < bins[i].high)
            plot_segment(out, at, axis_place(y, bins[i].low), at, axis_place(y, bins[i].high),
                         "error");
        buf_format(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"5\" class=\"dot\" "
                        "style=\"fill:var(--s0)\"/>\n", at, axis_place(y, bins[i].observed));
    }
}

/* The answers of each bin as bars in equal columns below the diagram, with their numbers. */
static void draw_bin_counts(Buf *out, const PlotBin *bins, size_t count, const Axis *x, double top)
{
    const double room = 56;
    uint64_t most = 1;
    for (size_t i = 0; i < count; i++)
        most = bins[i].count > most ? bins[i].count : most;
    double column = (x->end - x->start) / (count ? (double)count : 1);
    plot_text(out, 0, top - 8, "start", "small", "answers per bin");
    for (size_t i = 0; i < count; i++) {
        char text[48];
        double left = x->start + (double)i * column;
        double high = (double)bins[i].count / (double)most * room;
        buf_format(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
                        "class=\"bar\"/>\n", left + 2, top + 16 + room - high, column - 4, high);
        page_count_text(bins[i].count, text);
        if (plot_text_width(text, 12) < column)
            plot_text(out, left + column / 2, top + 11 + room - high, "middle", "small", text);
    }
    plot_segment(out, x->start, top + 16 + room, x->end, top + 16 + room, "axis");
}

void plot_reliability(Buf *out, const char *title, const PlotBin *bins, size_t count)
{
    const double width = 520, side = 420;
    Axis x, y;
    axis_init(&x, 0, 1, false, 5);
    y = x;
    x.start = 44;
    x.end = x.start + side;
    y.start = 26 + side;
    y.end = 26;
    plot_open(out, title, "chart square");
    plot_open_svg(out, title, width, y.start + 156);
    draw_unit_axes(out, &x, &y);
    draw_bins(out, bins, count, &x, &y);
    draw_bin_counts(out, bins, count, &x, y.start + 78);
    plot_close(out);
}

/* ---- confusion ---- */

typedef struct {
    const PlotHeat *plot;
    size_t rows, columns; /* drawn */
    double cell, left, top;
} Heat;

static size_t at_most(size_t count)
{
    return count < PLOT_CELLS_MAX ? count : PLOT_CELLS_MAX;
}

static double widest_name(const char *const *names, size_t count)
{
    double widest = 0;
    for (size_t i = 0; i < count; i++)
        widest = fmax(widest, plot_text_width(names[i], 13));
    return fmin(widest, 260);
}

static void draw_names(Buf *out, const Heat *heat)
{
    const PlotHeat *plot = heat->plot;
    for (size_t i = 0; i < heat->rows; i++)
        plot_text(out, heat->left - 8, heat->top + ((double)i + 0.5) * heat->cell + 4.5, "end",
                  "name", plot->rows[i]);
    for (size_t i = 0; i < heat->columns; i++) { /* slanted: names are longer than cells */
        double x = heat->left + ((double)i + 0.5) * heat->cell + 3, y = heat->top - 8;
        buf_format(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"start\" "
                        "transform=\"rotate(-45 %.1f %.1f)\">", x, y, x, y);
        buf_add_html(out, plot->columns[i]);
        buf_add_text(out, "</text>\n");
    }
    if (plot->row_label)
        plot_text(out, heat->left - 8, heat->top - 8, "end", "small", plot->row_label);
    if (plot->column_label)
        plot_text(out, heat->left, 13, "start", "small", plot->column_label);
}

static void draw_row(Buf *out, const Heat *heat, size_t row)
{
    const PlotHeat *plot = heat->plot;
    const uint64_t *counts = plot->counts + row * plot->column_count;
    double sum = 0, y = heat->top + (double)row * heat->cell;
    for (size_t i = 0; i < plot->column_count; i++)
        sum += (double)counts[i];
    for (size_t i = 0; i < heat->columns; i++) {
        char text[48];
        double share = sum > 0 ? (double)counts[i] / sum : 0;
        double x = heat->left + (double)i * heat->cell;
        buf_format(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"heat\" "
                        "fill-opacity=\"%.3f\"><title>", x, y, heat->cell, heat->cell,
                   share > 0 ? 0.06 + 0.94 * share : 0);
        buf_add_html(out, plot->rows[row]);
        buf_add_text(out, " \xe2\x86\x92 ");
        buf_add_html(out, plot->columns[i]);
        buf_format(out, ": %" PRIu64 " (%.1f %%)</title></rect>\n", counts[i], 100 * share);
        page_count_text(counts[i], text);
        if (plot_text_width(text, 12) < heat->cell - 4)
            plot_text(out, x + heat->cell / 2, y + heat->cell / 2 + 4.5, "middle",
                      share > 0.5    ? "cell over"
                      : counts[i] > 0 ? "cell"
                                      : "small",
                      text);
    }
}

void plot_heat(Buf *out, const PlotHeat *plot)
{
    const double width = 880;
    Heat heat = {plot, at_most(plot->row_count), at_most(plot->column_count), 0, 0, 0};
    double names = widest_name(plot->rows, heat.rows);
    double slanted = widest_name(plot->columns, heat.columns) * 0.71;
    if (plot->row_label)
        names = fmax(names, plot_text_width(plot->row_label, 12));
    heat.left = names + 14;
    heat.top = slanted + 40;
    heat.cell = (width - heat.left - slanted - 20) / (heat.columns ? (double)heat.columns : 1);
    heat.cell = fmin(fmax(heat.cell, 8), 64);
    plot_open(out, plot->title, "chart");
    plot_open_svg(out, plot->title, width, heat.top + (double)heat.rows * heat.cell + 8);
    for (size_t row = 0; row < heat.rows; row++)
        draw_row(out, &heat, row);
    buf_format(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
                    "class=\"frame\"/>\n",
               heat.left, heat.top, (double)heat.columns * heat.cell,
               (double)heat.rows * heat.cell);
    draw_names(out, &heat);
    plot_close(out);
}
