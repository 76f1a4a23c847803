#include "base/test.h"
#include "train/progress.h"

#include <math.h>
#include <stdio.h>

static const ProgressView view = {
    .step = 120, .steps = 1000, .loss = 2.53118, .tokens_per_second = 81234.4, .peak_share = 0.412,
    .seconds = 200, .seconds_left = 1450,
};

static void numbers_are_for_people(void **state)
{
    (void)state;
    static const struct {
        char *(*format)(double value, char out[PROGRESS_TEXT_MAX]);
        double value;
        const char *want;
    } rows[] = {
        {progress_number, 0, "0"}, {progress_number, 999, "999"}, {progress_number, 1234, "1,234"},
        {progress_number, 123456789, "123,456,789"}, {progress_number, 999.6, "1,000"},
        {progress_number, 9.99e17, "999,000,000,000,000,000"}, {progress_number, NAN, "?"},
        {progress_number, -1, "?"}, {progress_number, INFINITY, "?"},
        {progress_speed, 1234, "1,234 tokens/s"}, {progress_speed, 12.34, "12.3 tokens/s"},
        {progress_speed, 99.97, "100 tokens/s"},
        {progress_speed, 9e14, "900,000,000,000,000 tokens/s"},
        {progress_seconds, 0, "0.0 s"}, {progress_seconds, 9.96, "10 s"},
        {progress_seconds, 59.4, "59 s"}, {progress_seconds, 59.7, "1 min"},
        {progress_seconds, 200, "3 min 20 s"}, {progress_seconds, 3599.6, "1 h"},
        {progress_seconds, 7500, "2 h 5 min"}, {progress_seconds, 273600, "3 d 4 h"},
        {progress_seconds, NAN, "?"}, {progress_seconds, -3, "?"},
        {progress_bytes, 0, "0 B"}, {progress_bytes, 1023, "1023 B"},
        {progress_bytes, 1024, "1.0 KiB"}, {progress_bytes, 12.34 * 1048576, "12.3 MiB"},
        {progress_bytes, 1048575, "1.0 MiB"}, {progress_bytes, 5e12, "4.5 TiB"},
        {progress_bytes, INFINITY, "?"},
    };
    char text[PROGRESS_TEXT_MAX];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(rows[i].format(rows[i].value, text), rows[i].want);
}

/* Columns a text takes: characters, without SGR sequences. */
static uint32_t width_of(const char *text)
{
    uint32_t width = 0;
    for (; *text; text++) {
        if (*text == '\x1b')
            text = strchr(text, 'm');
        else
            width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

static void lines_look_as_documented(void **state)
{
    (void)state;
    char line[PROGRESS_LINE_MAX];
    size_t size = progress_line(&view, &(ProgressStyle){0}, line);
    assert_int_equal(size, strlen(line));
    assert_string_equal(line, "step 120/1,000  loss 2.5312  81,234 tokens/s  41 % of peak  "
                              "3 min 20 s so far  24 min 10 s left");
    progress_line(&view, &(ProgressStyle){.columns = 95}, line);
    assert_string_equal(line, "[==>                  ] 120/1,000  loss 2.5312  81,234 tokens/s  "
                              "41 % of peak  24 min 10 s left");
    progress_line(&view, &(ProgressStyle){.columns = 51, .utf8 = true}, line);
    assert_string_equal(line, "[\u2589       ] 120/1,000  loss 2.5312  24 min 10 s left");
    progress_line(&view, &(ProgressStyle){.columns = 25, .colour = true}, line);
    assert_string_equal(line, "\x1b[1m120/1,000\x1b[0m  \x1b[33mloss 2.5312\x1b[0m");
    ProgressView unknown = {.step = 7, .loss = NAN, .tokens_per_second = NAN, .peak_share = NAN,
                            .seconds = NAN, .seconds_left = NAN};
    progress_line(&unknown, &(ProgressStyle){.columns = 80}, line);
    assert_string_equal(line, "7");
    progress_line(&unknown, &(ProgressStyle){0}, line);
    assert_string_equal(line, "step 7");
}

static void every_line_fits(void **state)
{
    (void)state;
    static const double extremes[] = {0, 0.12345, 1e9, -5, INFINITY, NAN};
    for (uint32_t columns = 1; columns < 300; columns++) {
        for (int k = 0; k < 4 * 6; k++) {
            double x = extremes[k / 4];
            ProgressView odd = {k % 2 ? UINT64_MAX : 120, k % 3 ? 1000 : UINT64_MAX, x, x, x, x, x};
            ProgressStyle style = {columns, k & 1, k & 2};
            char line[PROGRESS_LINE_MAX];
            size_t size = progress_line(k < 4 ? &view : &odd, &style, line);
            assert_int_equal(size, strlen(line));
            if (width_of(line) > columns)
                fail_test("%u columns asked, %u taken: %s", columns, width_of(line), line);
            if (columns >= 95 && columns <= PROGRESS_COLUMNS_MAX && k < 4)
                assert_true(width_of(line) >= 90);
        }
    }
}

static void bar_grows(void **state)
{
    (void)state;
    char line[PROGRESS_LINE_MAX];
    ProgressView v = view;
    v.steps = 64;
    size_t blocks = 0;
    for (v.step = 0; v.step <= 70; v.step++) {
        progress_line(&v, &(ProgressStyle){.columns = 50, .utf8 = true}, line);
        size_t full = 0;
        for (const char *at = line; (at = strstr(at, "\u2588")); at++)
            full++;
        assert_true(full >= blocks);
        blocks = full;
    }
    assert_true(blocks >= 8);
    assert_null(strstr(line, " ]"));
}

static void time_left_follows_the_speed(void **state)
{
    (void)state;
    ProgressRate rate;
    progress_rate_init(&rate, 100, 5);
    assert_true(isnan(progress_left(&rate, 1000)));
    double now = 5;
    uint64_t step = 100;
    for (int i = 0; i < 50; i++) { /* two steps a second, known exactly from the first */
        progress_rate_add(&rate, ++step, now += 0.5);
        assert_near(progress_left(&rate, 1000), (double)(1000 - step) / 2, 1e-9);
    }
    progress_rate_add(&rate, step, now);     /* no time passed: nothing learnt */
    progress_rate_add(&rate, step - 5, now + 1); /* backwards: nor here */
    assert_near(progress_left(&rate, 1000), (double)(1000 - step) / 2, 1e-9);
    for (int i = 0; i < 200; i++) /* now one step a second: believed after some minutes */
        progress_rate_add(&rate, ++step, now += 1);
    assert_near(progress_left(&rate, step + 100), 100, 1);
    assert_near(progress_left(&rate, 5), 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_for_people), cmocka_unit_test(lines_look_as_documented),
        cmocka_unit_test(every_line_fits),        cmocka_unit_test(bar_grows),
        cmocka_unit_test(time_left_follows_the_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
