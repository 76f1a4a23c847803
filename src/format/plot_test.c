#include "format/plot.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/test.h"

#include <math.h>
#include <stdio.h>

enum { STEPS = 5000, CLASSES = 6 };

static void add_loss_charts(Buf *out)
{
    static double train[STEPS], eval_x[10], eval_y[10], rate[STEPS];
    for (int i = 0; i < STEPS; i++) {
        double wave = sin(i * 12.9898) * 43758.5453;
        train[i] = 0.9 + 2.6 * exp(-i / 700.0) + 0.25 * (wave - floor(wave) - 0.5);
        rate[i] = i < 200 ? 2e-4 * (i + 1) / 200 : 2e-4 * exp(-(i - 200) / 1300.0);
    }
    for (int i = 0; i < 10; i++) {
        eval_x[i] = (i + 1) * 500;
        eval_y[i] = 1.05 + 2.4 * exp(-eval_x[i] / 700) + (i > 7 ? 0.04 * (i - 7) : 0);
    }
    const PlotSeries losses[] = {{"training", NULL, train, STEPS},
                                 {"held-out data", eval_x, eval_y, 10}};
    plot_lines(out, &(PlotLines){.title = "Loss during training", .x_label = "optimiser step",
                                 .y_label = "cross-entropy per token (nats)", .series = losses,
                                 .series_count = 2});
    const PlotSeries rates[] = {{"rate", NULL, rate, STEPS}};
    plot_lines(out, &(PlotLines){.title = "Step size", .x_label = "optimiser step",
                                 .y_label = "learning rate", .log_y = true, .series = rates,
                                 .series_count = 1});
}

static void add_confusion(Buf *out)
{
    static const char *const classes[CLASSES] = {"card lost or stolen", "transfer pending",
                                                 "fee dispute", "identity check", "loan question",
                                                 "other"};
    static uint64_t counts[CLASSES * CLASSES];
    for (int i = 0; i < CLASSES; i++) {
        for (int k = 0; k < CLASSES; k++)
            counts[i * CLASSES + k] =
                i == k ? 150 + 210u * (unsigned)i : (unsigned)(i * 7 + k * 5) % 9;
    }
    plot_heat(out, &(PlotHeat){"Which intents are taken for which", "true intent",
                               "predicted intent", classes, classes, CLASSES, CLASSES, counts});
}

static void add_calibration(Buf *out)
{
    PlotBin bins[10];
    for (int i = 0; i < 10; i++) {
        double middle = (i + 0.5) / 10, observed = middle - 0.12 * middle * (1.1 - middle) * 3;
        uint64_t count = 20 + (uint64_t)(i * i * 14);
        double half = 1.96 * sqrt(observed * (1 - observed) / (double)count);
        bins[i] = (PlotBin){middle, observed, fmax(observed - half, 0), observed + half, count};
    }
    plot_reliability(out, "Are stated probabilities honest?", bins, 10);
}

static void build_page(Buf *out)
{
    page_begin(out, "Evaluation of claims-assistant-8b",
               "Run 41 of 2 March 2026, compared with the "
                                                         "base model and the version in service");
    page_heading(out, "Summary");
    page_paragraph(out, "The tuned model answers 91.4 % of the held-out questions correctly, 6.2 "
                        "points more than the version in service. It is somewhat too sure of "
                        "itself: see calibration.");
    const PageTile tiles[] = {
        {"Accuracy", "91.4 %", "6.2 points above version in service", PAGE_GOOD},
        {"Calibration error", "0.083", "limit of the policy is 0.050", PAGE_CAUTION},
        {"Verbatim leakage", "0 of 1\xe2\x80\xaf" "000", "planted records", PAGE_GOOD},
        {"Latency, 95th percentile", "412 ms", "16 clients at once", PAGE_PLAIN}};
    page_tiles(out, tiles, 4);
    page_heading(out, "Results by task");
    static const char *const heads[] = {"Task", "Questions", "In service", "This model", "Change"};
    static const bool numbers[] = {false, true, true, true, true};
    static const char *const cells[] = {
        "Intent of a customer's message", "3\xe2\x80\xaf" "080", "0.862", "0.931", "+0.069",
        "Clauses of a contract <NDA & \"lease\">", "1\xe2\x80\xaf" "037", "0.790", "0.842",
        "+0.052",
        "Arithmetic over tables", "278", "0.514", "0.496", "\xe2\x88\x92" "0.018"};
    page_table(out, &(PageTable){"Share of right answers", heads, numbers, 5, 3, cells});
    const PlotBar bars[] = {{"Intent of a customer's message", 0.931, 0.921, 0.940},
                            {"Clauses of a contract", 0.842, 0.818, 0.863},
                            {"Arithmetic over tables", 0.496, 0.438, 0.554},
                            {"A task whose name is far too long to stand beside its bar", 0.71,
                             0.66,
                             0.76},
                            {"Not measured", NAN, 0, 0}};
    plot_bars(out, &(PlotBars){"This model, with 95 % intervals", "share of right answers", bars, 5,
                               0, 1, 3});
    page_heading(out, "Training");
    add_loss_charts(out);
    page_heading(out, "Mistakes");
    add_confusion(out);
    page_heading(out, "Calibration");
    page_note(out, "A point below the diagonal is a bin in which fewer answers were right than the "
                   "model stated. Bars show 95 % intervals.");
    add_calibration(out);
    page_end(out, "Every figure can be computed again from the signed run folder.");
}

/* Every opened element is closed in order: what a strict reader of XML asks for. */
static void assert_balanced(const char *text)
{
    char stack[64][24];
    int depth = 0;
    for (const char *at = strchr(text, '<'); at; at = strchr(at + 1, '<')) {
        const char *end = strchr(at, '>');
        assert_non_null(end);
        bool closes = at[1] == '/';
        size_t length = strcspn(at + 1 + closes, " >/");
        assert_true(length > 0 && length < 24);
        if (at[1] == '!' || end[-1] == '/')
            continue;
        if (!closes) {
            assert_true(depth < 64);
            snprintf(stack[depth++], 24, "%.*s", (int)length, at + 1);
            continue;
        }
        assert_true(depth > 0);
        depth--;
        if (strncmp(stack[depth], at + 2, length) != 0 || stack[depth][length])
            fail_test("<%s> is closed by %.20s", stack[depth], at);
    }
    assert_int_equal(depth, 0);
}

static void page_is_whole_and_alone(void **state)
{
    (void)state;
    Error err;
    auto_buf Buf page, again;
    buf_init(&page, 4 << 20);
    buf_init(&again, 4 << 20);
    build_page(&page);
    build_page(&again);
    assert_ok(buf_ok(&page, "page", &err));
    assert_int_equal(page.size, again.size);
    assert_memory_equal(page.data, again.data, page.size);
    assert_balanced(page.data);
    assert_null(strstr(page.data, "<script"));
    assert_null(strstr(page.data, "url("));
    assert_null(strstr(page.data, "src="));
    assert_null(strstr(page.data, "href="));
    assert_null(strstr(page.data, "nan"));
    assert_null(strstr(page.data, "inf"));
    assert_non_null(strstr(page.data, "&lt;NDA &amp; &quot;lease&quot;&gt;"));
    assert_true(page.size < 100000); /* 10,000 points do not weigh a page down */
    const char *path = getenv("BASTIDE_PLOT_OUT"); /* to look at it */
    if (path)
        assert_ok(fs_write(path, page.data, page.size, &err));
}

static void odd_data_give_sound_charts(void **state)
{
    (void)state;
    Error err;
    static const double sets[][3] = {{0, 0, 0}, {5, 5, 5}, {NAN, INFINITY, -INFINITY},
                                     {-1e308, 0, 1e308}, {1e-300, 2e-300, 3e-300}, {-3, -2, -1},
                                     {1, NAN, 2}, {1e15, 1e15 + 1, 1e15 + 2}, {-1, 0, 1e-12}};
    auto_buf Buf out;
    buf_init(&out, 4 << 20);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        for (int log_y = 0; log_y < 2; log_y++) {
            const PlotSeries series[] = {{"<&>", NULL, sets[i], 3}, {NULL, sets[i], sets[0], 3}};
            plot_lines(&out, &(PlotLines){.title = "t<", .log_y = log_y, .series = series,
                                          .series_count = 2});
        }
        const PlotBar bars[] = {{NULL, sets[i][0], sets[i][1], sets[i][2]}};
        plot_bars(&out, &(PlotBars){.bars = bars, .count = 1, .decimals = 100});
    }
    plot_lines(&out, &(PlotLines){0});
    plot_bars(&out, &(PlotBars){0});
    plot_reliability(&out, NULL, NULL, 0);
    plot_heat(&out, &(PlotHeat){0});
    page_tiles(&out, NULL, 0);
    page_table(&out, &(PageTable){0});
    assert_ok(buf_ok(&out, "charts", &err));
    assert_balanced(out.data);
    assert_null(strstr(out.data, "\"nan"));
    assert_null(strstr(out.data, "\"-nan"));
    assert_null(strstr(out.data, " nan"));
    assert_null(strstr(out.data, "inf\""));
    char text[48];
    page_count_text(1234567, text);
    assert_string_equal(text, "1\xe2\x80\xaf" "234\xe2\x80\xaf" "567");
    page_count_text(1234, text);
    assert_string_equal(text, "1234");
}

static void no_memory_is_reported(void **state)
{
    (void)state;
    Error err;
    for (int n = 0, done = 0; !done; n++) {
        auto_buf Buf page;
        buf_init(&page, 4 << 20);
        uint64_t before = mem_count();
        mem_fail_after(n);
        build_page(&page);
        done = mem_count() - before <= (uint64_t)n;
        mem_fail_after(-1);
        assert_int_equal(buf_ok(&page, "page", &err), done);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_is_whole_and_alone),
        cmocka_unit_test(odd_data_give_sound_charts),
        cmocka_unit_test(no_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
