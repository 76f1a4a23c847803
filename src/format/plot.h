/* plot.h: report pages that people read in a browser offline or on paper.
 *
 * A page is one self-contained HTML file: its style inside, charts as SVG, no script, no reference
 * to anything outside (its own policy forbids it), light or dark as the reader's system, plain on
 * paper. It is also well-formed XML. Everything is appended to a Buf; failures latch there, so one
 * buf_ok after page_end checks the page. All texts are UTF-8 and are escaped here; the same calls
 * give the same bytes. Values that are not finite are left out of charts.
 *
 *     page_begin(&out, "Evaluation of claims-7b", "2 March 2026, run 41");
 *     page_heading(&out, "Summary");
 *     page_tiles(&out, tiles, 4);
 *     plot_lines(&out, &(PlotLines){.title = "Loss", .series = series, .series_count = 2});
 *     page_end(&out, "Written by Bastide 1.0");
 *
 * Threads: distinct buffers, any thread.
 */
#pragma once
#include "base/buf.h"

#include <stdint.h>

/* ---- the page; NULL texts are left out ---- */

void page_begin(Buf *out, const char *title, const char *subtitle);
void page_end(Buf *out, const char *footer);
void page_heading(Buf *out, const char *text);
void page_paragraph(Buf *out, const char *text);
void page_note(Buf *out, const char *text); /* set apart: a limit, a caution, a method */

typedef enum { PAGE_PLAIN, PAGE_GOOD, PAGE_CAUTION, PAGE_BAD } PageTone;
typedef struct {
    const char *label, *value, *detail;
    PageTone tone; /* shown by colour and by a word */
} PageTile;
void page_tiles(Buf *out, const PageTile *tiles, size_t count); /* key figures in a row */

typedef struct {
    const char *title; /* NULL: none */
    const char *const *heads;
    const bool *is_number; /* per column: to the right, digits of one width; NULL: none is */
    size_t columns, rows;
    const char *const *cells; /* rows * columns, row by row; NULL is an empty cell */
} PageTable;
void page_table(Buf *out, const PageTable *table);

/* "1 234 567" with narrow no-break spaces; out is NUL-terminated. */
void page_count_text(uint64_t count, char out[48]);

/* ---- charts ---- */

enum { PLOT_SERIES_MAX = 8 };

typedef struct {
    const char *name;
    const double *x, *y; /* x ascending; x NULL: 1, 2, 3, ... */
    size_t count;
} PlotSeries;
typedef struct {
    const char *title, *x_label, *y_label;
    bool log_y; /* values <= 0 are left out */
    const PlotSeries *series;
    size_t series_count; /* at most PLOT_SERIES_MAX are drawn */
} PlotLines;
/* More than 1,000 points are drawn as the least and the greatest of each run, so peaks stay. */
void plot_lines(Buf *out, const PlotLines *plot);

typedef struct {
    const char *label;
    double value, low, high; /* low >= high: no error bar */
} PlotBar;
typedef struct {
    const char *title, *value_label;
    const PlotBar *bars;
    size_t count;
    double axis_low, axis_high; /* both 0: from the data, and 0 */
    uint32_t decimals;          /* of the values printed beside the bars */
} PlotBars;
void plot_bars(Buf *out, const PlotBars *plot); /* horizontal, in the order given */

typedef struct {
    double predicted, observed; /* mean probability stated and share that came true, 0 to 1 */
    double low, high;           /* interval of observed; low >= high: none */
    uint64_t count;
} PlotBin;
/* Calibration: observed against predicted with the diagonal, and the answers per bin below. */
void plot_reliability(Buf *out, const char *title, const PlotBin *bins, size_t count);

typedef struct {
    const char *title, *row_label, *column_label; /* "true class", "predicted class" */
    const char *const *rows, *const *columns;     /* names */
    size_t row_count, column_count;               /* at most PLOT_CELLS_MAX each are drawn */
    const uint64_t *counts;                       /* row by row */
} PlotHeat;
enum { PLOT_CELLS_MAX = 60 };
void plot_heat(Buf *out, const PlotHeat *plot); /* coloured by the share of the row */
