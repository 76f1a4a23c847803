/* tidy_test.c: the rules of the house, run over the tree; and each rule run over an example that
 * breaks it, since a rule that cannot fail is none. Prints path:line: sentence for each offence. */
#include "base/mem.h"
#include "base/test.h"
#include "tidy.h"

#include "base/fs.h"

#include <stdio.h>

enum { FILES_MAX = 8000, PATH_MAX_BYTES = 1024 };

typedef struct {
    const char *root;
    char folder[PATH_MAX_BYTES]; /* relative; "" is the root */
    Arena arena;
    TidyFile files[FILES_MAX];
    size_t count;
} Tree;

/* What .gitignore leaves out, and the version control's own. */
static bool skipped(const char *folder, const char *name)
{
    bool top = folder[0] == 0;
    return strcmp(name, ".git") == 0 || strcmp(name, "__pycache__") == 0 ||
           tidy_ends(name, ".pyc") ||
           (top && (tidy_starts(name, "build") || strcmp(name, "out") == 0 ||
                    strcmp(name, ".venv") == 0));
}

static bool add_file(Tree *tree, const char *path, const char *absolute, Error *err)
{
    if (tree->count == FILES_MAX)
        return fail(err, ERR_LIMIT, "more than %d files", FILES_MAX);
    TidyFile *file = &tree->files[tree->count++];
    FsMap map;
    if (!fs_map(absolute, &map, err))
        return false;
    file->size = map.size;
    file->path = arena_copy_text(&tree->arena, path, strlen(path));
    if (map.size <= TIDY_FILE_BYTES_MAX)
        file->text = arena_copy_text(&tree->arena, (const char *)map.data, map.size);
    fs_unmap(&map);
    if (!file->path || (map.size <= TIDY_FILE_BYTES_MAX && !file->text))
        return fail(err, ERR_MEMORY, "no memory for %s", path);
    return true;
}

static bool visit(void *user, const char *name, Error *err)
{
    Tree *tree = user;
    char path[PATH_MAX_BYTES], absolute[PATH_MAX_BYTES], kept[PATH_MAX_BYTES];
    if (skipped(tree->folder, name))
        return true;
    if (!tree->folder[0])
        snprintf(path, sizeof path, "%s", name);
    else if (!fs_join(path, sizeof path, tree->folder, name, err))
        return false;
    if (!fs_join(absolute, sizeof absolute, tree->root, path, err))
        return false;
    if (!fs_is_dir(absolute))
        return fs_size(absolute) < 0 || add_file(tree, path, absolute, err);
    memcpy(kept, tree->folder, sizeof kept);
    memcpy(tree->folder, path, sizeof path);
    bool done = fs_list(absolute, visit, tree, err);
    memcpy(tree->folder, kept, sizeof kept);
    return done;
}

static void the_tree_follows_the_rules(void **state)
{
    (void)state;
    static Tree tree;
    static Tidy tidy;
    Error err = {0};
    tree.root = getenv("BASTIDE_SOURCE");
    if (!tree.root)
        fail_test("BASTIDE_SOURCE must name the root of the tree");
    arena_init(&tree.arena, 256 << 20);
    tidy_init(&tidy);
    assert_ok(fs_list(tree.root, visit, &tree, &err));
    assert_true(tree.count > 20);
    for (size_t i = 0; i < tree.count; i++) {
        tidy_check_text(&tidy, &tree.files[i]);
        tidy_check_code(&tidy, &tree.files[i]);
    }
    tidy_check_tree(&tidy, tree.files, tree.count);
    tidy_check_docs(&tidy, tree.files, tree.count, tidy_docs);
    tidy_check_unused(&tidy);
    uint32_t offences = tidy.offences;
    if (offences)
        printf("%s", tidy.report.data);
    tidy_done(&tidy);
    arena_done(&tree.arena);
    if (offences)
        fail_test("%u offences against the rules of the house", offences);
}

/* ---- the rules themselves ---- */

#define OPENING(name) "/* " name ": an example. */\n"

/* A text, and a piece of the report that it must cause; NULL: it must cause none. */
static const struct {
    const char *path, *text, *report;
} examples[] = {
    {"src/base/a.c", OPENING("a.c") "#include \"base/buf.h\"\n", NULL},
    {"src/data/a.c", OPENING("a.c") "#include \"text/chat.h\"\n", NULL},
    {"src/data/a.c", OPENING("a.c") "#include \"tensor/op.h\"\n", "src/data/a.c:2: data/ must not"},
    {"src/base/a.c", OPENING("a.c") "\n#include \"format/json.h\"\n", "a.c:3: base/ must not"},
    {"src/serve/a.c", OPENING("a.c") "#include \"train/loop.h\"\n", "serve/ must not include"},
    {"src/backend/cpu/a.c", OPENING("a.c") "#include \"model/llama.h\"\n", "backend/ must not"},
    {"src/base/a.c", OPENING("a.c") "#include \"buf.h\"\n", "a.c:2: \"buf.h\": an include names"},
    {"src/base/a.c", OPENING("a.c") "#include \"../base/buf.h\"\n", "an include names its folder"},
    {"src/base/a.c", OPENING("a.c") "#include \"base/test.h\"\n", "is for tests only"},
    {"src/base/a_test.c", "#include \"base/test.h\"\n", NULL},
    {"src/attic/a.c", OPENING("a.c"), "no row in the table of layers"},
    {"tests/a.c", "#include \"cli/command.h\"\n", NULL},

    {"src/base/a.c", "int a;\n", "src/base/a.c:1: the first line starts with"},
    {"src/base/a.h", OPENING("a.h") "int a;\n", "#pragma once"},

    {"src/cli/a.c", OPENING("a.c") "void f(void)\n{\n    strcpy(a, b);\n}\n", "a.c:4: strcpy()"},
    {"src/text/a.c", OPENING("a.c") "void f(void)\n{\n    free (a);\n}\n", "a.c:4: free()"},
    {"src/text/a.c", OPENING("a.c") "void f(void)\n{\n    x->free(a); y.open(b);\n}\n", NULL},
    {"src/text/a.c", OPENING("a.c") "/* free(a) printf(b) */ char *s = \"exit(1)\";\n", NULL},
    {"src/text/a.c", OPENING("a.c") "char c = '\"'; int n = atoi(c);\n", "a.c:2: atoi()"},
    {"src/text/a.c", OPENING("a.c") "/**/int n = atoi(c); // rand()\n", "a.c:2: atoi()"},
    {"src/text/a.c", OPENING("a.c") "int printf_free(int exit);\n", NULL},
    {"src/base/a.c", OPENING("a.c") "void *p = malloc(1);\n", NULL},
    {"src/store/a.c", OPENING("a.c") "int f = open(p, 0);\n", "a.c:2: open()"},
    {"src/infer/a.c", OPENING("a.c") "int f = printf(p);\n", "a.c:2: printf()"},
    {"src/infer/a_test.c", "int f = printf(p);\n", NULL},
    {"src/cli/a.c", OPENING("a.c") "int f = printf(p), g = getenv(q);\n", NULL},
    {"src/serve/a.c", OPENING("a.c") "char *f = getenv(p);\n", "a.c:2: getenv()"},
    {"tests/a.c", "int f = atoi(p);\n", "tests/a.c:1: atoi()"},
    {"src/base/a.c", OPENING("a.c") "int f(void) {\n}\n", "a.c:2: the brace of a function"},
    {"src/base/a.c", OPENING("a.c") "static const int a[] = {\n    1,\n};\n", NULL},

    {"docs/a.md", "plain\n", NULL},
    {"docs/a.md", "one\ttab\n", "docs/a.md:1: a tab"},
    {"docs/a.md", "fine\nblank \n", "docs/a.md:2: blanks at the end"},
    {"docs/a.md", "line\r\n", "a carriage return"},
    {"docs/a.md", "no newline", "does not end with a newline"},
    {"docs/a.md", "smile \xF0\x9F\x98\x80\n", "no emoji"},
    {"src/base/a.c", OPENING("a.c") "/* TO" "DO later */\n", "src/base/a.c:2: \"TO" "DO\" belongs"},
    {"tools/a.sh", "mktemp XX" "XX" "XX\n", NULL},
    {"tools/a.sh", "cd /ho" "me/me\n", "names one machine or host"},
    {"tools/a.sh", "fetch pypi.o" "rg\n", "names one machine or host"},
    {"fuzz/corpus/a/b", "one\ttab, no newline", NULL},
};

static const char *report_of(const Tidy *tidy)
{
    return tidy->report.data ? tidy->report.data : "";
}

static void every_rule_finds_its_example(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        static Tidy tidy;
        tidy_init(&tidy);
        TidyFile file = {examples[i].path, examples[i].text, strlen(examples[i].text)};
        tidy_check_text(&tidy, &file);
        tidy_check_code(&tidy, &file);
        const char *report = report_of(&tidy);
        if (!examples[i].report && tidy.offences)
            fail_test("example %zu must be clean:\n%s%s", i, examples[i].text, report);
        if (examples[i].report && (tidy.offences != 1 || !strstr(report, examples[i].report)))
            fail_test("example %zu must cause \"%s\" alone:\n%s%u: %s", i, examples[i].report,
                      examples[i].text, tidy.offences, report);
        tidy_done(&tidy);
    }
}

/* The report on one file made of `lines` copies of a line between a head and a tail. */
static uint32_t offences_of_long(const char *path, const char *head, const char *line, int lines,
                                 const char *tail, const char *piece)
{
    auto_buf Buf text;
    static Tidy tidy;
    buf_init(&text, 1 << 22);
    tidy_init(&tidy);
    buf_add_text(&text, head);
    for (int i = 0; i < lines; i++)
        buf_add_text(&text, line);
    buf_add_text(&text, tail);
    TidyFile file = {path, text.data, text.size};
    tidy_check_text(&tidy, &file);
    tidy_check_code(&tidy, &file);
    uint32_t offences = tidy.offences;
    if (!strstr(report_of(&tidy), piece))
        fail_test("expected \"%s\", got %s", piece, report_of(&tidy));
    tidy_done(&tidy);
    return offences;
}

static void sizes_are_held(void **state)
{
    (void)state;
    const char *head = OPENING("a.c") "\nstatic int\nlonger(int a,\n       int b)\n{\n";
    const char *line = "    a += b;\n";
    const char *first = OPENING("a.c");
    assert_int_equal(offences_of_long("src/base/a.c", first, "\n", 799, "", ""), 0);
    assert_int_equal(offences_of_long("src/base/a.c", first, "\n", 800, "", "801 lines"), 1);
    assert_int_equal(offences_of_long("src/base/a.c", head, line, 65, "}\n", ""), 0);
    assert_int_equal(offences_of_long("src/base/a.c", head, line, 66, "}\n",
                                      "a.c:3: longer has 71 lines, at most 70"), 1);
    assert_int_equal(offences_of_long("src/base/a.c", head, line, 130, "}\n",
                                      "longer has 135 lines, never over 120"), 1);
    assert_int_equal(offences_of_long("src/base/a_test.c", "", "x", 110, "\n", ""), 0);
    assert_int_equal(offences_of_long("src/base/a_test.c", "", "\xC3\xA9", 110, "\n", ""), 0);
    assert_int_equal(offences_of_long("src/base/a_test.c", "", "x", 111, "\n", "111 columns"), 1);
    assert_int_equal(offences_of_long("docs/a.md", "| ", "x", 111, " |\n", ""), 0);
    assert_int_equal(offences_of_long("src/base/README.md", "", "x\n", 81, "", "one page"), 1);
    assert_int_equal(offences_of_long("fuzz/corpus/a/b", "", "x", (1 << 20) + 1, "",
                                      "keep large files outside"), 1);
}

static void expect_tree(const TidyFile *files, size_t count, uint32_t offences, const char *piece)
{
    static Tidy tidy;
    tidy_init(&tidy);
    tidy_check_tree(&tidy, files, count);
    if (tidy.offences != offences || !strstr(report_of(&tidy), piece))
        fail_test("expected %u with \"%s\", got %u: %s", offences, piece, tidy.offences,
                  report_of(&tidy));
    tidy_done(&tidy);
}

#define TEXT_README "# text\n\nMay include: base\nformat.\n"
#define DATA_README "# data\n\nMay include: base format text store.\n"

static void the_tree_is_looked_at_as_a_whole(void **state)
{
    (void)state;
    const TidyFile good[] = {{"src/text/README.md", TEXT_README, 0}, {"src/text/bpe.c", "", 0},
                             {"src/text/bpe_merge.c", "", 0}, {"src/text/bpe_test.c", "", 0},
                             {"tests/README.md", "", 0}, {"src/cli/README.md", NULL, 0},
                             {"src/cli/up.c", "", 0}};
    const TidyFile twice[] = {{"src/text/README.md", TEXT_README, 0}, {"src/text/x.h", "", 0},
                              {"tests/x.h", "", 0}};
    const TidyFile bare[] = {{"src/text/x.h", "", 0}, {"src/text/y.h", "", 0}};
    const TidyFile untested[] = {{"src/text/README.md", TEXT_README, 0}, {"src/text/bpe.c", "", 0},
                                 {"src/text/bpe.h", "", 0}, {"src/text/bp_test.c", "", 0}};
    const TidyFile part[] = {{"src/text/README.md", TEXT_README, 0}, {"src/text/bpe.c", "", 0},
                             {"src/data/bp_test.c", "", 0}, {"src/data/README.md", DATA_README, 0}};
    const TidyFile liar[] = {{"src/data/README.md", TEXT_README, 0}};
    const TidyFile mute[] = {{"src/base/README.md", "# base\n", 0}};
    expect_tree(good, 7, 0, "");
    expect_tree(liar, 1, 1, "data/README.md:1: must say \"May include: base format text store.\"");
    expect_tree(mute, 1, 1, "src/base/README.md:1: must say \"May include: nothing of ours.\"");
    expect_tree(twice, 3, 1, "tests/x.h:1: the name is taken by src/text/x.h");
    expect_tree(bare, 2, 1, "src/text/README.md:1: missing");
    expect_tree(untested, 4, 1, "src/text/bpe.c:1: no test stands beside it: src/text/bpe_test.c");
    expect_tree(part, 4, 1, "src/text/bpe.c:1: no test stands beside it: src/text/bpe_test.c");
}

static void pages_agree_with_tables(void **state)
{
    (void)state;
    const TidyDoc docs[] = {{"command", "src/cli/main.c", "commands[] =", "{\"", "docs/cli.md",
                             "## Commands"},
                            {NULL, NULL, NULL, NULL, NULL, NULL}};
    const char *source = "x commands[] = {\n    {\"up\", 1},\n    {\"train\", 2},\n};\n"
                         "    {\"no\"}\n";
    const char *good = "# Page\n## Commands\n| `bastide up` | x |\n| `train` | y |\n"
                       "## Rest\n| `z` |\n";
    const char *bad = "# Page\n## Commands\n| `bastide up` | x |\n| `fly` | y |\n";
    TidyFile files[] = {{"src/cli/main.c", source, strlen(source)},
                        {"docs/cli.md", good, strlen(good)}};
    static Tidy tidy;
    tidy_init(&tidy);
    tidy_check_docs(&tidy, files, 2, docs);
    assert_int_equal(tidy.offences, 0);
    files[1].text = bad;
    tidy_check_docs(&tidy, files, 2, docs);
    assert_int_equal(tidy.offences, 2);
    assert_non_null(strstr(tidy.report.data, "main.c:3: command `train` is not in docs/cli.md"));
    assert_non_null(strstr(tidy.report.data, "cli.md:4: command `fly` does not exist"));
    tidy_check_docs(&tidy, files, 1, docs);
    assert_int_equal(tidy.offences, 3);
    tidy_done(&tidy);
}

static void allowances_that_nothing_needs_are_reported(void **state)
{
    (void)state;
    static Tidy tidy;
    uint32_t single = 0;
    tidy_init(&tidy);
    for (size_t i = 0; tidy_allowances[i].rule; i++) {
        assert_true(tidy_allowances[i].reason[0] != 0);
        single += !tidy_ends(tidy_allowances[i].path, "*");
    }
    tidy_check_unused(&tidy);
    assert_int_equal(tidy.offences, single);
    assert_false(tidy_allowed(&tidy, "test", "src/text/bpe.c", NULL));
    assert_true(tidy_allowed(&tidy, "test", "src/cli/up.c", NULL));
    tidy_done(&tidy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_finds_its_example),
        cmocka_unit_test(sizes_are_held),
        cmocka_unit_test(the_tree_is_looked_at_as_a_whole),
        cmocka_unit_test(pages_agree_with_tables),
        cmocka_unit_test(allowances_that_nothing_needs_are_reported),
        cmocka_unit_test(the_tree_follows_the_rules),
    };
    return cmocka_run_group_tests_name("tidy", tests, NULL, NULL);
}
