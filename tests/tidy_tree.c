/* tidy_tree.c: rules for the tree as a whole: unique names, tests beside units, a README in every
 * folder, pages that agree with tables. See tidy.h. */
#include "tidy.h"

#include <stdio.h>
#include <string.h>

static const TidyFile *find(const TidyFile *files, size_t count, const char *path)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(files[i].path, path) == 0)
            return &files[i];
    return NULL;
}

/* A name in a log is a place: two files of code never share one. */
static void check_unique(Tidy *tidy, const TidyFile *files, size_t count)
{
    static const char *const common[] = {"README.md", "meson.build", "__init__.py"};
    for (size_t i = 0; i < count; i++) {
        const char *name = tidy_base(files[i].path);
        bool exempt = tidy_is_data(files[i].path);
        for (size_t k = 0; k < sizeof common / sizeof *common; k++)
            exempt = exempt || strcmp(name, common[k]) == 0;
        for (size_t j = 0; j < i && !exempt; j++)
            if (strcmp(name, tidy_base(files[j].path)) == 0 && !tidy_is_data(files[j].path))
                tidy_report(tidy, files[i].path, 1, "the name is taken by %s", files[j].path);
    }
}

static bool folder_has_test(const TidyFile *files, size_t count, const char *path, size_t folder)
{
    for (size_t i = 0; i < count; i++)
        if (tidy_ends(files[i].path, "_test.c") && strncmp(files[i].path, path, folder) == 0)
            return true;
    return false;
}

/* A unit is a header: x.c with x.h beside it is tested by x_test.c, or by that of the longer unit
 * whose name it continues (bpe_merge.c by bpe_test.c). A file without a header of its own is a part
 * of another unit; some test must stand in its folder. */
static void check_neighbour(Tidy *tidy, const TidyFile *files, size_t count, const char *path)
{
    char test[300];
    size_t length = strlen(path) - 2, folder = (size_t)(tidy_base(path) - path);
    if (length + sizeof "_test.c" > sizeof test) {
        tidy_report(tidy, path, 1, "the path is too long");
        return;
    }
    memcpy(test, path, length);
    while (length > folder) {
        memcpy(test + length, "_test.c", sizeof "_test.c");
        if (find(files, count, test))
            return;
        do
            length--;
        while (length > folder && test[length] != '_');
    }
    test[strlen(path) - 1] = 'h';
    memcpy(test, path, strlen(path) - 1);
    test[strlen(path)] = 0;
    if (!find(files, count, test) && folder_has_test(files, count, path, folder))
        return;
    if (!tidy_allowed(tidy, "test", path, NULL))
        tidy_report(tidy, path, 1, "no test stands beside it: %.*s_test.c", (int)(strlen(path) - 2),
                    path);
}

static void check_neighbours(Tidy *tidy, const TidyFile *files, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (tidy_starts(files[i].path, "src/") && tidy_ends(files[i].path, ".c") &&
            !tidy_is_test(files[i].path))
            check_neighbour(tidy, files, count, files[i].path);
}

/* Every folder below src/ has a README.md. Reported once, at the first file of the folder. */
static void check_readmes(Tidy *tidy, const TidyFile *files, size_t count)
{
    char last[300] = "";
    for (size_t i = 0; i < count; i++) {
        const char *path = files[i].path;
        size_t length = (size_t)(tidy_base(path) - path);
        char readme[300];
        if (!tidy_starts(path, "src/") || length <= strlen("src/") || length + 10 > sizeof readme)
            continue;
        memcpy(readme, path, length);
        memcpy(readme + length, "README.md", sizeof "README.md");
        if (strcmp(readme, last) != 0 && !find(files, count, readme))
            tidy_report(tidy, readme, 1, "missing: purpose, picture, invariants, where to start");
        memcpy(last, readme, sizeof last);
    }
}

/* What a README says after "May include:" up to the full stop, as " a b c " with single blanks. */
static bool stated_layers(const char *text, char *out, size_t room)
{
    static const char word[] = "May include:";
    const char *at = strstr(text, word);
    size_t size = 0;
    if (!at)
        return false;
    for (at += sizeof word - 1; *at && *at != '.' && size + 3 < room; at++) {
        bool blank = *at == ' ' || *at == '\n';
        if (!blank || size == 0 || out[size - 1] != ' ')
            out[size++] = blank ? ' ' : *at;
    }
    if (size && out[size - 1] != ' ')
        out[size++] = ' ';
    out[size] = 0;
    return *at == '.';
}

/* The README of a layer states the row of its layer. */
static void check_layers(Tidy *tidy, const TidyFile *files, size_t count)
{
    for (const TidyLayer *layer = tidy_layers; layer->folder; layer++) {
        char path[100], stated[300];
        const char *want = layer->may_see[1] ? layer->may_see : " nothing of ours ";
        snprintf(path, sizeof path, "src/%s/README.md", layer->folder);
        const TidyFile *readme = find(files, count, path);
        if (!readme || !readme->text)
            continue;
        if (!stated_layers(readme->text, stated, sizeof stated) || strcmp(stated, want) != 0)
            tidy_report(tidy, path, 1, "must say \"May include:%.*s.\", as tidy_tables.c does",
                        (int)strlen(want) - 1, want);
    }
}

void tidy_check_tree(Tidy *tidy, const TidyFile *files, size_t count)
{
    check_unique(tidy, files, count);
    check_neighbours(tidy, files, count);
    check_readmes(tidy, files, count);
    check_layers(tidy, files, count);
}

/* ---- pages against tables ---- */

enum { NAMES_MAX = 400 };
typedef struct {
    char name[NAMES_MAX][64];
    uint32_t line[NAMES_MAX], count;
} Names;

static void add_name(Names *names, const char *text, size_t length, uint32_t line)
{
    if (names->count == NAMES_MAX || length == 0 || length >= sizeof names->name[0])
        return;
    memcpy(names->name[names->count], text, length);
    names->name[names->count][length] = 0;
    names->line[names->count++] = line;
}

static bool holds(const Names *names, const char *name)
{
    for (uint32_t i = 0; i < names->count; i++)
        if (strcmp(names->name[i], name) == 0)
            return true;
    return false;
}

static bool line_has(const TidyLine *line, const char *text)
{
    return memmem(line->start, line->length, text, strlen(text)) != NULL;
}

static void names_of_source(Names *names, const char *text, const TidyDoc *doc)
{
    const char *at = text;
    TidyLine line = {0};
    bool inside = false;
    while (tidy_next_line(&at, &line)) {
        size_t blanks = strspn(line.start, " ");
        if (!inside) {
            inside = line_has(&line, doc->from);
            continue;
        }
        if (tidy_starts(line.start, "};"))
            return;
        if (!tidy_starts(line.start + blanks, doc->open))
            continue;
        const char *quote = memchr(line.start, '"', line.length);
        if (quote)
            add_name(names, quote + 1, strcspn(quote + 1, "\"\n"), line.number);
    }
}

static void names_of_page(Names *names, const char *text, const TidyDoc *doc)
{
    const char *at = text;
    TidyLine line = {0};
    bool inside = false;
    while (tidy_next_line(&at, &line)) {
        if (line.length && line.start[0] == '#') {
            inside = line.length == strlen(doc->heading) &&
                     memcmp(line.start, doc->heading, line.length) == 0;
            continue;
        }
        if (!inside || !tidy_starts(line.start, "| `"))
            continue;
        const char *name = line.start + 3;
        size_t length = strcspn(name, "`\n");
        const char *blank = memrchr(name, ' ', length);
        size_t skip = blank ? (size_t)(blank - name) + 1 : 0;
        add_name(names, name + skip, length - skip, line.number);
    }
}

static void check_doc(Tidy *tidy, const TidyFile *files, size_t count, const TidyDoc *doc)
{
    const TidyFile *source = find(files, count, doc->source), *page = find(files, count, doc->page);
    static Names in_source, in_page;
    in_source.count = in_page.count = 0;
    if (!source || !source->text || !page || !page->text) {
        tidy_report(tidy, source && source->text ? doc->page : doc->source, 1,
                    "missing, and tidy_docs compares its table (%s)", doc->what);
        return;
    }
    names_of_source(&in_source, source->text, doc);
    names_of_page(&in_page, page->text, doc);
    if (in_source.count == 0)
        tidy_report(tidy, doc->source, 1, "no %s found after \"%s\"", doc->what, doc->from);
    for (uint32_t i = 0; i < in_source.count; i++)
        if (!holds(&in_page, in_source.name[i]))
            tidy_report(tidy, doc->source, in_source.line[i], "%s `%s` is not in %s under \"%s\"",
                        doc->what, in_source.name[i], doc->page, doc->heading);
    for (uint32_t i = 0; i < in_page.count; i++)
        if (!holds(&in_source, in_page.name[i]))
            tidy_report(tidy, doc->page, in_page.line[i], "%s `%s` does not exist in %s", doc->what,
                        in_page.name[i], doc->source);
}

void tidy_check_docs(Tidy *tidy, const TidyFile *files, size_t count, const TidyDoc *docs)
{
    for (; docs->what; docs++)
        check_doc(tidy, files, count, docs);
}
