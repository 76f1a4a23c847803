/* report_html.c: the page: verdict, tiles and comparison first, evidence below; see report.h.
 *
 * The first screen is for who signs, the rest for who checks. Everything is drawn through
 * format/plot.h, which escapes every text. Cells of tables live in one arena until the page is
 * made; a failed piece is an empty cell and is told at the end, once, by `failed`. */
#include "eval/report.h"

#include "base/clock.h"
#include "eval/words.h"
#include "format/plot.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { CLASS_ROWS_MAX = 200, EXAMPLE_BYTES_MAX = 240, COLUMNS_MAX = 8, TILES_MAX = 12 };

typedef struct {
    const EvalReport *report;
    const EvalFigures *figures;
    Buf *out;
    Arena arena;
    bool failed; /* a piece of text found no memory */
} Page;

static const char *text(Page *page, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static const char *text(Page *page, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    size_t size = length < 0 ? 0 : (size_t)length < sizeof line ? (size_t)length : sizeof line - 1;
    const char *copy = arena_copy_text(&page->arena, line, size);
    page->failed |= !copy;
    return copy ? copy : "";
}

static const char *count_text(Page *page, uint64_t count)
{
    char number[WORDS_NUMBER_BYTES];
    return text(page, "%s", words_count(count, number));
}

static const char *percent(Page *page, double share)
{
    char number[WORDS_NUMBER_BYTES];
    return text(page, "%s", words_percent(share, number));
}

static const char *interval(Page *page, Interval share)
{
    char ends[WORDS_NUMBER_BYTES];
    return text(page, "%s", words_interval(share, ends));
}

/* ---- tables ---- */

typedef struct {
    const char **cells;
    size_t columns, rows, room;
} Cells;

static Cells cells_new(Page *page, size_t columns, size_t rows)
{
    Cells cells = {.columns = columns, .room = rows};
    cells.cells = arena_alloc(&page->arena, columns * (rows ? rows : 1), sizeof *cells.cells);
    page->failed |= !cells.cells;
    return cells;
}

static void add_row(Cells *cells, const char *const *row)
{
    if (!cells->cells || cells->rows == cells->room)
        return;
    memcpy(cells->cells + cells->rows++ * cells->columns, row, cells->columns * sizeof *row);
}

/* numbers: one letter per column, 'n' for a number, anything else for text. */
static void draw(Page *page, const char *title, const char *const *heads, const char *numbers,
                 const Cells *cells)
{
    bool is_number[COLUMNS_MAX];
    for (size_t c = 0; c < cells->columns; c++)
        is_number[c] = numbers[c] == 'n';
    if (cells->rows)
        page_table(page->out, &(PageTable){.title = title, .heads = heads, .is_number = is_number,
                                           .columns = cells->columns, .rows = cells->rows,
                                           .cells = cells->cells});
}

/* ---- first screen ---- */

typedef struct {
    PageTile tiles[TILES_MAX];
    size_t count;
} Tiles;

static void add_tile(Tiles *tiles, const char *label, const char *value, const char *detail,
                     PageTone tone)
{
    if (tiles->count < TILES_MAX)
        tiles->tiles[tiles->count++] = (PageTile){label, value, detail, tone};
}

static const PageTone verdict_tones[] = {[VERDICT_BETTER] = PAGE_GOOD,
                                         [VERDICT_LEVEL] = PAGE_CAUTION,
                                         [VERDICT_WORSE] = PAGE_BAD,
                                         [VERDICT_ALONE] = PAGE_CAUTION};

static void add_accuracy_tiles(Page *page, Tiles *tiles)
{
    const EvalReport *report = page->report;
    const EvalFigures *figures = page->figures;
    add_tile(tiles, "Accuracy", percent(page, figures->accuracy),
             text(page, "95 %% interval %s", interval(page, figures->interval)), PAGE_PLAIN);
    if (figures->strongest == report->baseline_count)
        return;
    const BaselineFigures *rival = &figures->baselines[figures->strongest];
    add_tile(tiles, "Against the best baseline", text(page, "%+.1f", 100 * rival->difference),
             text(page, "points; %s, interval %s", report->baselines[figures->strongest].name,
                  interval(page, rival->difference_interval)),
             verdict_tones[figures->verdict]);
}

static void add_quality_tiles(Page *page, Tiles *tiles)
{
    const EvalReport *report = page->report;
    const EvalFigures *figures = page->figures;
    if (figures->top3 >= 0)
        add_tile(tiles, "Among the first three", percent(page, figures->top3),
                 "the right answer is one of three offered", PAGE_PLAIN);
    add_tile(tiles, "Macro F1", text(page, "%.2f", figures->macro_f1),
             "rare classes count as much as common ones", PAGE_PLAIN);
    if (figures->calibration_error >= 0) {
        double error = figures->calibration_error;
        add_tile(tiles, "Calibration error", percent(page, error),
                 "between stated confidence and truth",
                 error < 0.05 ? PAGE_GOOD : error < 0.15 ? PAGE_CAUTION : PAGE_BAD);
    }
    if (figures->quantised_accuracy >= 0)
        add_tile(tiles, text(page, "As %s", report->quantised_name ? report->quantised_name
                                                                   : "quantised"),
                 percent(page, figures->quantised_accuracy),
                 text(page, "the same answer in %s of cases",
                      percent(page, figures->quantised_agreement)), PAGE_PLAIN);
}

static void add_cost_tiles(Page *page, Tiles *tiles)
{
    const EvalReport *report = page->report;
    char number[WORDS_NUMBER_BYTES];
    if (report->tokens_per_second > 0)
        add_tile(tiles, "Training speed",
                 text(page, "%s", count_text(page, (uint64_t)(report->tokens_per_second + 0.5))),
                 "tokens per second", PAGE_PLAIN);
    if (page->figures->seconds > 0)
        add_tile(tiles, "Time", text(page, "%s", words_seconds(page->figures->seconds, number)),
                 "from data to this page", PAGE_PLAIN);
    if (report->joules > 0)
        add_tile(tiles, "Energy", text(page, "%.3g\xc2\xa0Wh", report->joules / 3600),
                 "of the processor, as it counts it", PAGE_PLAIN);
}

static void draw_tiles(Page *page)
{
    Tiles tiles = {.count = 0};
    const EvalReport *report = page->report;
    if (report->count) {
        add_accuracy_tiles(page, &tiles);
        add_quality_tiles(page, &tiles);
    } else {
        const EvalFigures *figures = page->figures;
        add_tile(&tiles, "Bits per byte", text(page, "%.3f", report->bits_per_byte),
                 "fewer are better; 8 is chance", verdict_tones[figures->verdict]);
        add_tile(&tiles, "Compresses to", percent(page, report->bits_per_byte / 8),
                 "of the text's size", PAGE_PLAIN);
    }
    add_cost_tiles(page, &tiles);
    page_tiles(page->out, tiles.tiles, tiles.count);
}

static void draw_head(Page *page)
{
    char when[21];
    clock_iso(page->report->made_at, when);
    page_begin(page->out, page->figures->sentence,
               text(page, "%s on %s, %.10s", page->report->model, page->report->dataset, when));
    page_note(page->out, page->figures->judgement);
    draw_tiles(page);
}

/* ---- comparison ---- */

static void draw_bars(Page *page)
{
    const EvalReport *report = page->report;
    PlotBar bars[REPORT_BASELINES_MAX + 1];
    for (uint32_t b = 0; b <= report->baseline_count; b++) {
        const BaselineFigures *figure = b ? &page->figures->baselines[b - 1] : NULL;
        Interval ends = b ? figure->interval : page->figures->interval;
        double own = report->count ? page->figures->accuracy : report->bits_per_byte;
        double scale = report->count ? 100 : 1;
        bars[b] = (PlotBar){.label = b ? report->baselines[b - 1].name : report->model,
                            .value = scale * (b ? figure->value : own), .low = scale * ends.low,
                            .high = scale * ends.high};
    }
    page_heading(page->out, "Against the baselines");
    page_paragraph(page->out, report->count
                                  ? "All answered the same records, which none had seen in "
                                    "training. Whiskers are 95 % intervals that allow for records "
                                    "of one group being right or wrong together."
                                  : "All predicted the same bytes, which none had seen in "
                                    "training.");
    plot_bars(page->out, &(PlotBars){.title = report->count ? "Accuracy, per cent"
                                                            : "Bits per byte, fewer are better",
                                     .bars = bars, .count = report->baseline_count + 1,
                                     .axis_low = 0, .axis_high = report->count ? 100 : 0,
                                     .decimals = report->count ? 1 : 3});
}

static void draw_baseline_table(Page *page)
{
    const EvalReport *report = page->report;
    static const char *const heads[] = {"Baseline", "Accuracy", "Model is ahead by",
                                        "95 % interval", "McNemar p", "How"};
    Cells cells = cells_new(page, 6, report->baseline_count);
    for (uint32_t b = 0; b < report->baseline_count; b++) {
        const BaselineFigures *figure = &page->figures->baselines[b];
        const char *p = figure->mcnemar_p < 1e-4 ? "< 0.0001"
                                                 : text(page, "%.4f", figure->mcnemar_p);
        add_row(&cells, (const char *[]){report->baselines[b].name, percent(page, figure->value),
                                         text(page, "%+.1f", 100 * figure->difference),
                                         interval(page, figure->difference_interval), p,
                                         report->baselines[b].note});
    }
    draw(page, NULL, heads, "tnnnnt", &cells);
}

static void draw_curves(Page *page)
{
    const EvalReport *report = page->report;
    PlotSeries series[PLOT_SERIES_MAX];
    size_t count = report->curve_count < PLOT_SERIES_MAX ? report->curve_count : PLOT_SERIES_MAX;
    if (!count)
        return;
    for (size_t c = 0; c < count; c++)
        series[c] = (PlotSeries){report->curves[c].name, report->curves[c].x, report->curves[c].y,
                                 report->curves[c].count};
    page_heading(page->out, "How training went");
    page_paragraph(page->out, "A validation curve that turns upwards while the training curve "
                              "falls is a model that learns its examples by heart.");
    plot_lines(page->out, &(PlotLines){.title = "Loss", .series = series, .series_count = count,
                                       .x_label = report->curve_x ? report->curve_x : "step",
                                       .y_label = report->curve_y ? report->curve_y : "loss"});
}

/* ---- where it errs ---- */

static void draw_calibration(Page *page)
{
    PlotBin bins[REPORT_BINS];
    if (!page->report->probability)
        return;
    for (uint32_t b = 0; b < REPORT_BINS; b++) {
        const StatsBin *bin = &page->figures->bins[b];
        Interval sure = stats_wilson((uint64_t)(bin->accuracy * (double)bin->count + 0.5),
                                     bin->count);
        bins[b] = (PlotBin){.predicted = bin->confidence, .observed = bin->accuracy,
                            .low = sure.low, .high = sure.high, .count = bin->count};
    }
    page_heading(page->out, "Can its confidence be trusted?");
    page_paragraph(page->out, "On the dashed line, what the model is 80 % sure of is right 8 times "
                              "of 10. Points below the line: it is surer than it should be.");
    plot_reliability(page->out, "Share of right answers by stated confidence", bins, REPORT_BINS);
}

static void draw_pairs(Page *page)
{
    static const char *const heads[] = {"Is", "Was answered", "Times", "Of its class"};
    const EvalReport *report = page->report;
    Cells cells = cells_new(page, 4, page->figures->pair_count);
    for (uint32_t p = 0; p < page->figures->pair_count; p++) {
        const StatsPair *pair = &page->figures->pairs[p];
        double share = (double)pair->count / (double)page->figures->per_class[pair->actual].actual;
        add_row(&cells, (const char *[]){report->labels[pair->actual],
                                         report->labels[pair->predicted],
                                         count_text(page, pair->count), percent(page, share)});
    }
    draw(page, "Commonest mistakes", heads, "ttnn", &cells);
}

static void draw_confusion(Page *page)
{
    const EvalFigures *figures = page->figures;
    const char *labels[REPORT_SHOWN_CLASSES + 1];
    uint32_t side = figures->shown + (figures->shown < page->report->classes);
    for (uint32_t i = 0; i < figures->shown; i++)
        labels[i] = page->report->labels[figures->top[i]];
    labels[figures->shown] = "(others)";
    uint64_t counts[(REPORT_SHOWN_CLASSES + 1) * (REPORT_SHOWN_CLASSES + 1)];
    for (uint32_t r = 0; r < side; r++) { /* without the empty rest when every class is shown */
        for (uint32_t c = 0; c < side; c++)
            counts[r * side + c] = figures->matrix[r * (figures->shown + 1) + c];
    }
    page_heading(page->out, "What is taken for what");
    page_paragraph(page->out, "The commonest classes of the test records. The darker a cell, the "
                              "larger its share of the row; the diagonal is right.");
    plot_heat(page->out, &(PlotHeat){.title = "Confusion", .row_label = "is",
                                     .column_label = "was answered", .rows = labels,
                                     .columns = labels, .row_count = side, .column_count = side,
                                     .counts = counts});
    draw_pairs(page);
}

static void draw_classes(Page *page)
{
    static const char *const heads[] = {"Class", "Records", "Precision", "Recall", "F1"};
    const EvalReport *report = page->report;
    uint32_t rows = report->classes < CLASS_ROWS_MAX ? report->classes : CLASS_ROWS_MAX;
    Cells cells = cells_new(page, 5, rows);
    uint32_t *top = arena_alloc(&page->arena, rows, sizeof *top);
    page->failed |= !top;
    uint32_t shown = top ? stats_top_classes(page->figures->per_class, report->classes, top, rows)
                         : 0;
    for (uint32_t r = 0; r < shown; r++) {
        const StatsClass *class = &page->figures->per_class[top[r]];
        add_row(&cells, (const char *[]){report->labels[top[r]], count_text(page, class->actual),
                                         text(page, "%.2f", class->precision),
                                         text(page, "%.2f", class->recall),
                                         text(page, "%.2f", class->f1)});
    }
    page_heading(page->out, "Every class");
    page_paragraph(page->out, "Precision: of the records answered so, the share that is so. "
                              "Recall: of the records that are so, the share found. "
                              "Commonest first.");
    draw(page, NULL, heads, "tnnnn", &cells);
}

/* ---- examples ---- */

/* A text short enough for a cell, cut between characters. */
static const char *cut(Page *page, const char *whole)
{
    size_t end = strnlen(whole, EXAMPLE_BYTES_MAX + 1);
    if (end <= EXAMPLE_BYTES_MAX)
        return whole;
    while (end > 0 && ((unsigned char)whole[end] & 0xc0) == 0x80)
        end--;
    return text(page, "%.*s \xe2\x80\xa6", (int)end, whole);
}

static void draw_example_table(Page *page, const char *title, const size_t *which, uint32_t count)
{
    static const char *const heads[] = {"Record", "Is", "Was answered", "Confidence"};
    const EvalReport *report = page->report;
    Cells cells = cells_new(page, 4, count);
    for (uint32_t k = 0; k < count; k++) {
        size_t i = which[k];
        const float *row = report->probability ? report->probability + i * report->classes : NULL;
        add_row(&cells, (const char *[]){cut(page, report->text[i]),
                                         report->labels[report->actual[i]],
                                         report->labels[report->predicted[i]],
                                         row ? percent(page, row[report->predicted[i]]) : NULL});
    }
    draw(page, title, heads, "tttn", &cells);
}

static void draw_examples(Page *page)
{
    const EvalFigures *figures = page->figures;
    if (!page->report->text)
        return;
    page_heading(page->out, "Examples");
    page_paragraph(page->out, "Drawn by lot from the test records; nobody picked them. The last "
                              "table holds the mistakes the model was surest of.");
    draw_example_table(page, "Right", figures->right, figures->right_count);
    draw_example_table(page, "Wrong", figures->wrong, figures->wrong_count);
    draw_example_table(page, "Wrong and sure", figures->sure, figures->sure_count);
}

static void draw_samples(Page *page)
{
    static const char *const heads[] = {"Asked", "Written by the model", "Reference"};
    const EvalReport *report = page->report;
    if (!report->sample_count)
        return;
    Cells cells = cells_new(page, 3, report->sample_count);
    for (size_t s = 0; s < report->sample_count; s++) {
        const EvalSample *sample = &report->samples[s];
        add_row(&cells, (const char *[]){cut(page, sample->prompt), cut(page, sample->output),
                                         sample->reference ? cut(page, sample->reference) : NULL});
    }
    page_heading(page->out, "What it writes");
    page_paragraph(page->out, "Texts as the model wrote them.");
    draw(page, NULL, heads, "ttt", &cells);
}

/* ---- how it was made ---- */

static void draw_making(Page *page)
{
    static const char *const heads[] = {"What", "Value"};
    const EvalReport *report = page->report;
    const EvalFigures *figures = page->figures;
    Cells cells = cells_new(page, 2, report->fact_count + report->phase_count + 4);
    add_row(&cells, (const char *[]){"dataset", report->dataset});
    if (report->dataset_digest)
        add_row(&cells, (const char *[]){"dataset digest (SHA-256)", report->dataset_digest});
    if (report->count)
        add_row(&cells, (const char *[]){
                            "test records",
                            text(page, "%s in %s groups; design effect %.2f; seed %llu",
                                 count_text(page, report->count), count_text(page, figures->groups),
                                 figures->design_effect, (unsigned long long)report->seed)});
    for (size_t f = 0; f < report->fact_count; f++)
        add_row(&cells, (const char *[]){report->facts[f].name, report->facts[f].value});
    for (size_t p = 0; p < report->phase_count; p++) {
        char number[WORDS_NUMBER_BYTES];
        words_seconds(report->phases[p].seconds, number);
        add_row(&cells, (const char *[]){text(page, "time for %s", report->phases[p].name),
                                         text(page, "%s", number)});
    }
    if (report->command)
        add_row(&cells, (const char *[]){"to make it again", report->command});
    page_heading(page->out, "How it was made");
    draw(page, NULL, heads, "tt", &cells);
}

bool report_html(Buf *out, const EvalReport *report, const EvalFigures *figures, Error *err)
{
    Page page = {.report = report, .figures = figures, .out = out};
    arena_init(&page.arena, REPORT_BYTES_MAX);
    draw_head(&page);
    draw_bars(&page);
    if (report->count)
        draw_baseline_table(&page);
    draw_curves(&page);
    if (report->count) {
        draw_calibration(&page);
        draw_confusion(&page);
        draw_examples(&page);
    }
    draw_samples(&page);
    draw_making(&page);
    if (report->count)
        draw_classes(&page);
    page_end(out, "Every number on this page is in report.json beside it.");
    arena_done(&page.arena);
    if (page.failed)
        return fail(err, ERR_MEMORY, "no memory for report.html");
    return buf_ok(out, "report.html", err);
}
