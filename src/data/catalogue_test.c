#include "base/test.h"

#include "base/clock.h"
#include "base/fs.h"
#include "data/catalogue.h"

#include <stdio.h>

static const char stanza_zlib[] =
    "Package: zlib1g\n"
    "Source: zlib (1:1.2.13.dfsg-1)\n"
    "Version: 1:1.2.13.dfsg-1\n"
    "Installed-Size: 168\n"
    "Maintainer: Mark Brown <broonie@debian.org>\n"
    "Architecture: amd64\n"
    "Depends: libc6 (>= 2.14), libc6 (<= 3), debconf (>= 0.5) | debconf-2.0,\n"
    " python3:any [amd64], libfoo<!nocheck>\n"
    "Multi-Arch: same\n"
    "Description: compression library - runtime\n"
    " zlib is a library implementing the deflate compression method.\n"
    "Homepage: http://ZLIB.net:80/x\n"
    "Tag: role::shared-lib\n"
    "Section: non-free/libs\n"
    "Priority: optional\n";
static const char stanza_0ad[] =
    "Package: 0ad\nVersion: 1\nArchitecture: all\nSection: games\nDescription: strategy game\n";
static const char stanza_bare[] = "Package: bare\nVersion: 1\nDescription: no section\n";

static Dataset *parse(const char *text)
{
    Error err = {0};
    Dataset *d = NULL;
    assert_ok(catalogue_parse(&d, text, strlen(text), "dump", 1, &err));
    return d;
}

static void reads_stanzas(void **state)
{
    (void)state;
    char text[4096];
    snprintf(text, sizeof text, "%s\n%s\n\n%s", stanza_zlib, stanza_bare, stanza_0ad);
    Dataset *d = parse(text);
    assert_string_equal(d->name, "debian-catalogue");
    assert_int_equal(d->count, 2);
    assert_int_equal(d->skipped, 1);
    const Record *game = &d->records[0], *zlib = &d->records[1];
    assert_string_equal(game->id, "0ad");
    assert_string_equal(game->group, "0ad");
    assert_string_equal(game->context, "architecture: all");
    assert_string_equal(zlib->group, "zlib");
    assert_string_equal(zlib->label, "libs");
    assert_string_equal(zlib->text, "zlib1g: compression library - runtime");
    assert_string_equal(zlib->context, "maintainer: Mark Brown\n"
                                       "depends: debconf python3 libfoo\n"
                                       "homepage: zlib.net\n"
                                       "architecture: amd64\n"
                                       "multi-arch: same\n"
                                       "size: 2^7");
    assert_int_equal(zlib->message_count, 2);
    assert_string_equal(zlib->messages[0].content,
                        "section: libs\nname: zlib1g\nWrite the description.");
    assert_string_equal(zlib->messages[1].content, "compression library - runtime");
    dataset_free(d);
}

static void does_not_depend_on_order(void **state)
{
    (void)state;
    static const char older[] = "Package: 0ad\nVersion: 1~rc1\nSection: net\nDescription: older\n";
    static const char other[] = "Package: 0ad\nVersion: 1\nArchitecture: all\nSection: games\n"
                                "Description: xtrategy game\n"; /* equal version, sorts after */
    const char *parts[] = {stanza_0ad, stanza_zlib, older, other};
    static const int orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {2, 3, 0, 1}, {1, 3, 0, 2}};
    uint8_t digest[32];
    for (size_t i = 0; i < 4; i++) {
        auto_buf Buf joined;
        buf_init(&joined, 8192);
        for (int j = 0; j < 4; j++) {
            buf_add_text(&joined, parts[orders[i][j]]);
            buf_add_text(&joined, j < 3 || i % 2 ? "\n" : "");
        }
        const char *text = joined.data;
        Dataset *d = parse(text);
        assert_int_equal(d->count, 2);
        assert_string_equal(d->records[0].text, "0ad: strategy game");
        if (i == 0)
            memcpy(digest, d->digest, 32);
        assert_memory_equal(d->digest, digest, 32);
        dataset_free(d);
    }
}

static int compare(const char *a, const char *b)
{
    int order = catalogue_version_compare((CatalogueSpan){a, strlen(a)},
                                          (CatalogueSpan){b, strlen(b)});
    return (order > 0) - (order < 0);
}

/* Each pair was put to `dpkg --compare-versions A lt B`. */
static void orders_versions_as_dpkg(void **state)
{
    (void)state;
    static const char *const rising[][2] = {
        {"1.0", "1.1"}, {"1.9", "1.10"}, {"1.0~rc1", "1.0"}, {"1.0~~", "1.0~"}, {"1.0", "1.0+b1"},
        {"1.0-1", "1.0-2"}, {"2.0", "1:0.1"}, {"1.0a", "1.0+"}, {"1.0-1~bpo", "1.0-1"},
        {"0", "00000000000000000000000000000000000000001"}, {"1.0", "1.0-1"}, {"", "1"},
        {"1.2-3-4", "1.2-3-5"}, {"a", "b"}};
    for (size_t i = 0; i < sizeof rising / sizeof *rising; i++) {
        assert_int_equal(compare(rising[i][0], rising[i][1]), -1);
        assert_int_equal(compare(rising[i][1], rising[i][0]), 1);
        assert_int_equal(compare(rising[i][0], rising[i][0]), 0);
    }
    assert_int_equal(compare("1.01", "1.1"), 0);
    assert_int_equal(compare("0:1", "1"), 0);
}

static void context_is_bounded(void **state)
{
    (void)state;
    auto_buf Buf text;
    buf_init(&text, 1 << 20);
    buf_add_text(&text, "Package: big\nSection: libs\nDescription: x\nDepends: ");
    for (int i = 0; i < 20000; i++)
        buf_format(&text, "%spackage%d (>= 1)", i ? ", " : "", i % 9000);
    buf_add_text(&text, "\n");
    Dataset *d = parse(text.data);
    const char *context = d->records[0].context;
    assert_true(strlen(context) <= 9 + 140 && strlen(context) > 120);
    assert_memory_equal(context, "depends: package0 package1 ", 27);
    assert_true(context[strlen(context) - 1] >= '0');
    dataset_free(d);
}

static void refuses_with_file_and_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"Package: a\nnonsense\n", "dump:2: a line must be"},
        {"Package: a\n: x\n", "dump:2: a line must be"},
        {"Package: a\nSection: b\nsection: c\n", "dump:3: the stanza has this field already"},
        {"\n\n continued\n", "dump:3: a stanza begins"},
        {"Section: b\n", "dump:1: the stanza has no Package"},
        {"Package:\n", "dump:1: the stanza has no Package"},
        {"\nPackage: a\xff\n", "dump:2: the stanza is not UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error err = {0};
        Dataset *d = NULL;
        assert_fails(catalogue_parse(&d, cases[i].text, strlen(cases[i].text), "dump", 1, &err),
                     ERR_FORMAT, cases[i].words);
    }
    Error err = {0};
    Dataset *d = NULL;
    assert_fails(catalogue_parse(&d, "", 0, "dump", 1, &err), ERR_INPUT,
                 "dump: there is no record");
}

static void survives_failing_memory(void **state)
{
    (void)state;
    char text[4096];
    Error err = {0};
    snprintf(text, sizeof text, "%s\n%s\n\n%s", stanza_zlib, stanza_bare, stanza_0ad);
    bool done = false;
    for (int64_t n = 0; !done && n < 1000; n++) {
        Dataset *d = NULL;
        mem_fail_after(n);
        done = catalogue_parse(&d, text, strlen(text), "dump", 1, &err);
        mem_fail_after(-1);
        dataset_free(d);
    }
    assert_true(done);
}

/* The catalogue of the machine the test runs on, where it has one worth the name. */
static void reads_the_real_catalogue(void **state)
{
    (void)state;
    Error err = {0};
    Dataset *d = NULL, *again = NULL;
    char path[] = "/tmp/catalogue_test_XXXXXX", saved[64], command[128];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    snprintf(command, sizeof command, "apt-cache dumpavail > %s 2> /dev/null", path);
    if (system(command) != 0 || fs_size(path) < 1 << 20) {
        assert_ok(fs_remove(path, &err));
        print_message("SKIPPED: this machine has no package catalogue (apt-cache dumpavail)\n");
        skip();
    }
    double start = clock_seconds();
    assert_ok(dataset_import_catalogue(&d, path, 1, &err));
    double seconds = clock_seconds() - start;
    size_t counts[SPLIT_COUNT];
    dataset_count_splits(d, counts);
    print_message("%zu records, %u labels, %zu skipped, splits %zu %zu %zu, %.2f s\n", d->count,
                  d->label_count, d->skipped, counts[0], counts[1], counts[2], seconds);
    assert_true(d->count > 1000 && d->label_count >= 40 && d->label_count <= 80);
    snprintf(saved, sizeof saved, "%s.jsonl", path);
    assert_ok(dataset_save(d, saved, &err));
    assert_ok(dataset_load(&again, saved, 1, &err));
    assert_memory_equal(again->digest, d->digest, 32);
    assert_int_equal(again->count, d->count);
    for (size_t i = 0; i < d->count; i++)
        assert_int_equal(again->records[i].split, d->records[i].split);
    dataset_free(d);
    dataset_free(again);
    assert_ok(fs_remove(path, &err));
    assert_ok(fs_remove(saved, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_stanzas),
        cmocka_unit_test(does_not_depend_on_order),
        cmocka_unit_test(orders_versions_as_dpkg),
        cmocka_unit_test(context_is_bounded),
        cmocka_unit_test(refuses_with_file_and_line),
        cmocka_unit_test(survives_failing_memory),
        cmocka_unit_test(reads_the_real_catalogue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
