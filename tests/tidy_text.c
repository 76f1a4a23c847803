/* tidy_text.c: rules for every text, and the helpers of all rules. See tidy.h. */
#include "tidy.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void tidy_init(Tidy *tidy)
{
    *tidy = (Tidy){0};
    buf_init(&tidy->report, 1 << 20);
}

void tidy_done(Tidy *tidy)
{
    buf_done(&tidy->report);
}

void tidy_report(Tidy *tidy, const char *path, uint32_t line, const char *format, ...)
{
    char sentence[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    buf_format(&tidy->report, "%s:%u: %s\n", path, line, sentence);
    tidy->offences++;
}

bool tidy_allowed(Tidy *tidy, const char *rule, const char *path, const char *what)
{
    for (size_t i = 0; tidy_allowances[i].rule && i < TIDY_ALLOWANCES_MAX; i++) {
        const TidyAllowance *row = &tidy_allowances[i];
        bool there = tidy_ends(row->path, "*")
                         ? strncmp(path, row->path, strlen(row->path) - 1) == 0
                         : strcmp(path, row->path) == 0;
        bool same = !row->what || (what && strcmp(what, row->what) == 0);
        if (there && same && strcmp(rule, row->rule) == 0) {
            tidy->used[i] = true;
            return true;
        }
    }
    return false;
}

void tidy_check_unused(Tidy *tidy)
{
    for (size_t i = 0; tidy_allowances[i].rule; i++) {
        const TidyAllowance *row = &tidy_allowances[i];
        if (i >= TIDY_ALLOWANCES_MAX)
            tidy_report(tidy, "tests/tidy_tables.c", 1, "there are more allowances than room");
        else if (!tidy->used[i] && !tidy_ends(row->path, "*"))
            tidy_report(tidy, "tests/tidy_tables.c", 1,
                        "the allowance \"%s\" of %s %s is not needed any more: remove its row",
                        row->rule, row->path, row->what ? row->what : "");
    }
}

bool tidy_starts(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

bool tidy_ends(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);
    return a >= b && memcmp(text + a - b, end, b) == 0;
}

const char *tidy_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool tidy_is_data(const char *path)
{
    static const char *const folders[] = {"fuzz/corpus/", "tests/golden/", "bench/results/"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (tidy_starts(path, folders[i]) && !tidy_ends(path, ".md"))
            return true;
    return strcmp(path, "LICENSE") == 0;
}

bool tidy_is_c(const char *path)
{
    return tidy_ends(path, ".c") || tidy_ends(path, ".h") || tidy_ends(path, ".cu");
}

bool tidy_is_test(const char *path)
{
    static const char *const ends[] = {"_test.c", "_fuzz.c", "_bench.c", "_reference.c",
                                       "_reference.h", "_fixture.h", "_fixture.c"};
    static const char *const folders[] = {"tests/", "fuzz/", "bench/", "src/base/test"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (tidy_ends(path, ends[i]))
            return true;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (tidy_starts(path, folders[i]))
            return true;
    return false;
}

bool tidy_next_line(const char **at, TidyLine *line)
{
    if (!**at)
        return false;
    line->start = *at;
    line->length = strcspn(*at, "\n");
    line->number++;
    *at += line->length + ((*at)[line->length] == '\n');
    return true;
}

/* Is a whole word at text[i]: neither neighbour belongs to a name? */
static bool whole_word(const char *text, size_t i, size_t length)
{
    bool before = i > 0 && (isalnum((unsigned char)text[i - 1]) || text[i - 1] == '_');
    bool after = isalnum((unsigned char)text[i + length]) || text[i + length] == '_';
    return !before && !after;
}

static void check_line_words(Tidy *tidy, const TidyFile *file, const TidyLine *line,
                             const char *copy)
{
    for (size_t w = 0; tidy_words[w]; w++) {
        const char *hit = copy;
        while ((hit = strstr(hit, tidy_words[w]))) {
            if (whole_word(copy, (size_t)(hit - copy), strlen(tidy_words[w])))
                tidy_report(tidy, file->path, line->number,
                            "\"%s\" belongs into the tracker: do it, or delete it", tidy_words[w]);
            hit += strlen(tidy_words[w]);
        }
    }
    for (size_t p = 0; tidy_places[p]; p++)
        if (strstr(copy, tidy_places[p]))
            tidy_report(tidy, file->path, line->number,
                        "\"%s\" names one machine or host: the tree must not", tidy_places[p]);
}

/* Columns are characters of UTF-8, not bytes. Tables and links of a page cannot be broken. */
static void check_line_shape(Tidy *tidy, const TidyFile *file, const TidyLine *line,
                             const char *copy)
{
    size_t columns = 0;
    for (size_t i = 0; i < line->length; i++) {
        unsigned char c = (unsigned char)copy[i];
        columns += (c & 0xC0) != 0x80;
        if (c == 0xF0)
            tidy_report(tidy, file->path, line->number, "a character beyond U+FFFF: no emoji");
    }
    bool exempt = tidy_ends(file->path, ".md") && (copy[0] == '|' || strstr(copy, "://"));
    if (columns > TIDY_COLUMNS_MAX && !exempt)
        tidy_report(tidy, file->path, line->number, "%zu columns, at most %d", columns,
                    TIDY_COLUMNS_MAX);
    if (strchr(copy, '\t'))
        tidy_report(tidy, file->path, line->number, "a tab: use spaces");
    if (strchr(copy, '\r'))
        tidy_report(tidy, file->path, line->number, "a carriage return: lines end with a newline");
    if (line->length && copy[line->length - 1] == ' ')
        tidy_report(tidy, file->path, line->number, "blanks at the end of the line");
}

void tidy_check_text(Tidy *tidy, const TidyFile *file)
{
    if (file->size > TIDY_FILE_BYTES_MAX)
        tidy_report(tidy, file->path, 1, "%zu bytes, at most %d: keep large files outside the tree",
                    file->size, TIDY_FILE_BYTES_MAX);
    if (!file->text || tidy_is_data(file->path) ||
        (tidy_starts(file->path, "docs/") && tidy_ends(file->path, ".png")))
        return;
    if (memchr(file->text, 0, file->size)) {
        tidy_report(tidy, file->path, 1, "a binary file: data lives in tests/golden, fuzz/corpus");
        return;
    }
    const char *at = file->text;
    TidyLine line = {0};
    while (tidy_next_line(&at, &line)) {
        char copy[4096];
        if (line.length >= sizeof copy) {
            tidy_report(tidy, file->path, line.number, "%zu columns, at most %d", line.length,
                        TIDY_COLUMNS_MAX);
            continue;
        }
        memcpy(copy, line.start, line.length);
        copy[line.length] = 0;
        check_line_words(tidy, file, &line, copy);
        check_line_shape(tidy, file, &line, copy);
    }
    if (file->size && file->text[file->size - 1] != '\n')
        tidy_report(tidy, file->path, line.number, "the last line does not end with a newline");
    if (line.number > TIDY_LINES_MAX && !tidy_allowed(tidy, "lines", file->path, NULL))
        tidy_report(tidy, file->path, line.number, "%u lines, at most %d: split by idea",
                    line.number, TIDY_LINES_MAX);
    if (strcmp(tidy_base(file->path), "README.md") == 0 && tidy_starts(file->path, "src/") &&
        line.number > TIDY_README_LINES_MAX)
        tidy_report(tidy, file->path, line.number, "%u lines: a folder's README is one page, %d",
                    line.number, TIDY_README_LINES_MAX);
}
