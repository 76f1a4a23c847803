/* plot_axis.h: an axis of a chart: round ticks, their texts, and the way from value to place; and
 * the pieces of SVG that all charts share. For plot*.c alone. */
#pragma once
#include "format/plot.h"

enum { AXIS_TICKS_MAX = 16 };

typedef struct {
    double low, high;   /* values at the ends, both ticks when linear */
    double start, end;  /* places of low and high in the drawing */
    bool is_log;
    uint32_t tick_count;
    double ticks[AXIS_TICKS_MAX];
    double step;        /* between linear ticks: gives their decimals */
} Axis;

/* About `wanted` (2 to 10) round ticks around [low, high]; any input gives a usable axis. */
void axis_init(Axis *axis, double low, double high, bool is_log, uint32_t wanted);
double axis_place(const Axis *axis, double value);
void axis_tick_text(const Axis *axis, uint32_t tick, char out[48]);
double axis_text_width(const Axis *axis); /* of the longest tick text, at the small size */

/* Estimated width of a text of this size in the fonts a system has; never too small by much. */
double plot_text_width(const char *text, double size);

void plot_open(Buf *out, const char *title, const char *figure_class);
void plot_open_svg(Buf *out, const char *title, double width, double height);
void plot_close(Buf *out);
/* anchor: "start", "middle", "end"; style: a class of the page's style. */
void plot_text(Buf *out, double x, double y, const char *anchor, const char *style,
               const char *text);
void plot_segment(Buf *out, double x1, double y1, double x2, double y2, const char *style);
