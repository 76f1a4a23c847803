#include "base/test.h"

#include "base/fs.h"
#include "base/hash.h"
#include "data/builder.h"
#include "data/dataset.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/dataset_test_XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    Error err;
    return fs_remove_tree(folder, &err) ? 0 : -1;
}

static const char *at(const char *name)
{
    static char path[2][256];
    static int turn;
    char *out = path[turn ^= 1];
    snprintf(out, sizeof path[0], "%s/%s", folder, name);
    return out;
}

static void put_file(const char *name, const char *text)
{
    Error err = {0};
    assert_ok(fs_write(at(name), text, strlen(text), &err));
}

static Dataset *parse(const char *text)
{
    Error err = {0};
    Dataset *dataset = NULL;
    assert_ok(dataset_parse(&dataset, text, strlen(text), "here/small.jsonl", 7, &err));
    return dataset;
}

static const char small[] =
    "{\"text\":\"curl: fetches\",\"context\":\"depends: libc6\",\"label\":\"web\","
    "\"group\":\"curl\",\"id\":\"curl\"}\n"
    "\n"
    "{\"label\":\"net\", \"text\":\"caf\\u00e9 \\\"x\\\"\\n\", \"context\":null}\r\n"
    "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\","
    "\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":\"Hello\",\"muted\":true},"
    "{\"role\":\"user\",\"content\":\"Bye\"},{\"role\":\"assistant\",\"content\":\"\"}]}\n"
    "{\"text\":\"last\",\"label\":\"web\",\"id\":\"#4\"}";

static void reads_every_kind_of_record(void **state)
{
    (void)state;
    Dataset *d = parse(small);
    assert_string_equal(d->name, "small");
    assert_int_equal(d->count, 4);
    assert_int_equal(d->label_count, 2);
    assert_string_equal(d->labels[0], "net");
    assert_string_equal(d->labels[1], "web");
    assert_ptr_equal(d->records[0].label, d->labels[1]);
    assert_ptr_equal(d->records[3].label, d->labels[1]);
    assert_int_equal(dataset_label_index(d, "web"), 1);
    assert_int_equal(dataset_label_index(d, "zzz"), 2);
    assert_int_equal(dataset_label_index(d, NULL), 2);
    assert_string_equal(d->records[0].group, "curl");
    assert_string_equal(d->records[1].text, "caf\xc3\xa9 \"x\"\n");
    assert_string_equal(d->records[1].group, d->records[1].text);
    assert_string_equal(d->records[1].context, "");
    assert_string_equal(d->records[1].id, "#2");
    assert_null(d->records[1].messages);
    assert_string_equal(d->records[2].text, "");
    assert_string_equal(d->records[2].group, "Hi");
    assert_null(d->records[2].label);
    assert_int_equal(d->records[2].message_count, 5);
    assert_true(d->records[2].messages[2].muted);
    assert_int_equal(d->records[2].messages[0].role, CHAT_SYSTEM);
    assert_int_equal(d->records[2].messages[4].size, 0);
    dataset_free(d);
}

static void digest_is_of_the_canonical_form(void **state)
{
    (void)state;
    Error err = {0};
    Dataset *d = parse(small), *again = NULL;
    assert_ok(dataset_save(d, at("saved.jsonl"), &err));
    uint8_t digest[32];
    assert_ok(sha256_file(at("saved.jsonl"), digest, NULL, &err));
    assert_memory_equal(digest, d->digest, 32);
    assert_ok(dataset_load(&again, at("saved.jsonl"), 99, &err));
    assert_memory_equal(again->digest, d->digest, 32);
    assert_string_equal(again->name, "saved");

    static const char want[] = /* by hand, from the rules in dataset.h */
        "{\"text\":\"curl: fetches\",\"context\":\"depends: libc6\",\"label\":\"web\","
        "\"group\":\"curl\",\"id\":\"curl\"}\n"
        "{\"text\":\"caf\xc3\xa9 \\\"x\\\"\\n\",\"label\":\"net\"}\n"
        "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\","
        "\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":\"Hello\",\"muted\":true},"
        "{\"role\":\"user\",\"content\":\"Bye\"},{\"role\":\"assistant\",\"content\":\"\"}]}\n"
        "{\"text\":\"last\",\"label\":\"web\"}\n";
    auto_buf Buf saved;
    buf_init(&saved, 1 << 16);
    assert_ok(fs_read(at("saved.jsonl"), &saved, &err));
    assert_string_equal(saved.data, want);
    dataset_free(d);
    dataset_free(again);
}

static void refuses_with_file_and_line(void **state)
{
    (void)state;
    static const struct {
        const char *line, *words;
        ErrCode code;
    } cases[] = {
        {"[1]", "bad.jsonl:2: each line must be one JSON object", ERR_FORMAT},
        {"{\"text\":\"a\",\"colour\":\"b\"}", "colour", ERR_FORMAT},
        {"{\"text\":1}", "bad.jsonl:2: key 'text'", ERR_FORMAT},
        {"{\"text\":\"a\",\"text\":\"b\"}", "bad.jsonl:2", ERR_FORMAT},
        {"{\"text\":\"a\\u0000b\"}", "bad.jsonl:2", ERR_FORMAT},
        {"{\"text\":\"a\xff\"}", "bad.jsonl:2", ERR_FORMAT},
        {"{\"text\":\"\\ud800\"}", "bad.jsonl:2", ERR_FORMAT},
        {"{\"context\":\"a\"}", "bad.jsonl:2: a record needs 'text' or 'messages'", ERR_FORMAT},
        {"{\"text\":\"a\",\"label\":\"\"}", "bad.jsonl:2: a label has 1 to 128 bytes", ERR_FORMAT},
        {"{\"text\":\"a\",\"label\":\"b\\nc\"}", "one line", ERR_FORMAT},
        {"{\"messages\":[]}", "at least one", ERR_FORMAT},
        {"{\"messages\":\"x\"}", "must be a list", ERR_FORMAT},
        {"{\"messages\":[{\"role\":\"robot\",\"content\":\"a\"}]}", "is 'robot'", ERR_FORMAT},
        {"{\"messages\":[{\"role\":\"user\"}]}", "needs 'content'", ERR_FORMAT},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"muted\":true}]}", "muted",
         ERR_FORMAT},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", "last message must be",
         ERR_FORMAT},
        {"{\"messages\":[{\"role\":\"system\",\"content\":\"a\"}]}", "last message must be",
         ERR_FORMAT},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\"}]}",
         "bad.jsonl:2: message 1 is of the assistant, must be of the user", ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        snprintf(text, sizeof text, "{\"text\":\"fine\"}\n%s\n", cases[i].line);
        put_file("bad.jsonl", text);
        Error err = {0};
        Dataset *d = NULL;
        assert_fails(dataset_load(&d, at("bad.jsonl"), 1, &err), cases[i].code, cases[i].words);
        assert_null(d);
    }
}

static void refuses_what_is_no_dataset(void **state)
{
    (void)state;
    Error err = {0};
    Dataset *d = NULL;
    assert_fails(dataset_load(&d, at("absent.jsonl"), 1, &err), ERR_NOT_FOUND, "absent");
    put_file("table.csv", "a,b\n");
    assert_fails(dataset_load(&d, at("table.csv"), 1, &err), ERR_INPUT, "ends in none of");
    put_file("empty.jsonl", "\n\n");
    assert_fails(dataset_load(&d, at("empty.jsonl"), 1, &err), ERR_INPUT, "no record");
}

static void limits_hold(void **state)
{
    (void)state;
    Error err = {0};
    Dataset *d = NULL;
    auto_buf Buf text;
    buf_init(&text, 8 << 20);
    for (int i = 0; i <= DATASET_LABELS_MAX; i++)
        buf_format(&text, "{\"text\":\"a\",\"label\":\"l%d\"}\n", i);
    assert_fails(dataset_parse(&d, text.data, text.size, "many.jsonl", 1, &err), ERR_LIMIT,
                 "many.jsonl:4097: more than 4096 different labels");
    buf_reset(&text);
    buf_add_text(&text, "{\"text\":\"");
    for (int i = 0; i < DATASET_LINE_MAX; i++)
        buf_add_char(&text, 'x');
    buf_add_text(&text, "\"}\n");
    assert_fails(dataset_parse(&d, text.data, text.size, "long.jsonl", 1, &err), ERR_LIMIT,
                 "long.jsonl:1");
}

static void split_keeps_groups_together(void **state)
{
    (void)state;
    enum { GROUPS = 4000, EACH = 3 };
    auto_buf Buf text;
    buf_init(&text, 8 << 20);
    for (int i = 0; i < GROUPS * EACH; i++)
        buf_format(&text, "{\"text\":\"t%d\",\"group\":\"g%d\"}\n", i, i % GROUPS);
    Dataset *d = parse(text.data);
    size_t counts[SPLIT_COUNT];
    dataset_count_splits(d, counts);
    assert_int_equal(counts[0] + counts[1] + counts[2], GROUPS * EACH);
    assert_near((double)counts[SPLIT_VALID] / d->count, 0.05, 0.01); /* 3 standard errors */
    assert_near((double)counts[SPLIT_TEST] / d->count, 0.05, 0.01);
    size_t moved = 0;
    for (int i = 0; i < GROUPS; i++) {
        assert_int_equal(d->records[i].split, d->records[i + GROUPS].split);
        assert_int_equal(d->records[i].split, d->records[i + 2 * GROUPS].split);
    }
    Dataset *other = parse(text.data);
    for (size_t i = 0; i < d->count; i++)
        assert_int_equal(d->records[i].split, other->records[i].split);
    dataset_split(other, 8);
    for (size_t i = 0; i < d->count; i++)
        moved += d->records[i].split != other->records[i].split;
    assert_true(moved > d->count / 10); /* 1 - .9² - 2 * .05² = 18.5 % */
    assert_memory_equal(d->digest, other->digest, 32);
    dataset_free(d);
    dataset_free(other);
}

static void reads_a_folder_of_labels(void **state)
{
    (void)state;
    Error err = {0};
    Dataset *d = NULL;
    assert_ok(fs_make_dirs(at("mails/spam"), &err));
    assert_ok(fs_make_dirs(at("mails/ham"), &err));
    put_file("mails/spam/b.txt", "buy now\n");
    put_file("mails/spam/a.txt", "win");
    put_file("mails/ham/x", "dear colleague");
    put_file("mails/ham/blank", " \n\t\n");
    put_file("mails/ham/.hidden", "no");
    assert_ok(dataset_load(&d, at("mails/"), 1, &err));
    assert_string_equal(d->name, "mails");
    assert_int_equal(d->count, 3);
    assert_int_equal(d->skipped, 1);
    assert_string_equal(d->records[0].id, "ham/x");
    assert_string_equal(d->records[1].id, "spam/a.txt");
    assert_string_equal(d->records[2].text, "buy now\n");
    assert_string_equal(d->records[2].label, "spam");
    assert_ok(dataset_save(d, at("mails.jsonl"), &err));
    Dataset *again = NULL;
    assert_ok(dataset_load(&again, at("mails.jsonl"), 1, &err));
    assert_memory_equal(again->digest, d->digest, 32);
    dataset_free(again);
    dataset_free(d);

    put_file("mails/note", "beside");
    assert_fails(dataset_load(&d, at("mails"), 1, &err), ERR_INPUT, "both folders");
    assert_ok(fs_remove(at("mails/note"), &err));
    put_file("mails/ham/binary", "a\xff");
    assert_fails(dataset_load(&d, at("mails"), 1, &err), ERR_FORMAT, "binary' is not UTF-8");
    assert_ok(fs_remove(at("mails/ham/binary"), &err));
    assert_ok(fs_make_dirs(at("mails/ham/deep"), &err));
    assert_fails(dataset_load(&d, at("mails"), 1, &err), ERR_INPUT, "inside the label 'ham'");
}

static void cuts_long_texts_between_paragraphs(void **state)
{
    (void)state;
    Error err = {0};
    Dataset *d = NULL;
    auto_buf Buf text, joined;
    buf_init(&text, 1 << 20);
    buf_init(&joined, 1 << 20);
    for (int i = 0; text.size < 3 * DATASET_PIECE_BYTES; i++)
        buf_format(&text, "Paragraph %d caf\xc3\xa9.\nSecond line.\n\n", i);
    for (int i = 0; i < DATASET_PIECE_BYTES; i++) /* neither lines nor ASCII */
        buf_add_text(&text, "\xe2\x82\xac");
    put_file("book.txt", text.data);
    assert_ok(dataset_load(&d, at("book.txt"), 1, &err));
    assert_true(d->count >= 6);
    assert_string_equal(d->records[0].id, "book.txt#1");
    assert_int_equal(d->label_count, 0);
    for (size_t i = 0; i < d->count; i++) {
        const char *piece = d->records[i].text;
        assert_true(strlen(piece) <= DATASET_PIECE_BYTES);
        assert_true(builder_is_text(piece, strlen(piece)));
        buf_add_text(&joined, piece);
    }
    assert_string_equal(joined.data, text.data);
    size_t first = strlen(d->records[0].text);
    assert_string_equal(d->records[0].text + first - 2, "\n\n");
    dataset_free(d);
}

/* Every allocation and every system call in turn fails once; nothing leaks and nothing half-built
 * is handed out. The strings are shorter than 15 bytes: jansson 2.14 itself writes past its buffer
 * when that buffer cannot grow in the middle of a longer string. */
static void survives_failing_memory_and_disk(void **state)
{
    (void)state;
    Error err = {0};
    put_file("small.jsonl", "{\"text\":\"a b\",\"label\":\"x\",\"group\":\"g\",\"id\":\"1\"}\n"
                            "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},"
                            "{\"role\":\"assistant\",\"content\":\"Hello\"}]}\n");
    bool done = false;
    for (int64_t n = 0; !done && n < 2000; n++) {
        Dataset *d = NULL;
        mem_fail_after(n);
        done = dataset_load(&d, at("small.jsonl"), 1, &err) && dataset_save(d, at("out"), &err);
        mem_fail_after(-1);
        assert_true(done || d == NULL || err.code == ERR_MEMORY || err.code == ERR_LIMIT);
        dataset_free(d);
    }
    assert_true(done);
    done = false;
    for (int64_t n = 0; !done && n < 100; n++) {
        Dataset *d = NULL;
        fs_fail_after(n, EIO);
        done = dataset_load(&d, at("small.jsonl"), 1, &err) && dataset_save(d, at("out"), &err);
        fs_fail_after(-1, 0);
        dataset_free(d);
    }
    assert_true(done);
    for (int64_t n = 0; n < 8; n++) {
        Dataset *d = NULL;
        fs_fail_after(n, EIO);
        if (dataset_load(&d, at("mails.jsonl"), 1, &err))
            dataset_free(d);
        fs_fail_after(-1, 0);
    }
}

typedef struct {
    char text[4][248];
    uint32_t count, most;
} Heard;

static bool hear(void *user, const Error *problem)
{
    Heard *h = user;
    snprintf(h->text[h->count], sizeof h->text[0], "%s", problem->text);
    return ++h->count < h->most;
}

static void a_check_tells_of_every_bad_line(void **state)
{
    (void)state;
    Error err = {0};
    Dataset *d = NULL;
    Heard heard = {.most = 4};
    DatasetProblems problems = {.each = hear, .user = &heard};
    put_file("bad.jsonl", "{\"text\":\"a\"}\n{\"txt\":\"b\"}\n\nnope\n{\"label\":\"x\"}\n"
                          "{\"text\":\"c\"}\n");
    assert_fails(dataset_check(&d, at("bad.jsonl"), 1, &problems, &err), ERR_FORMAT,
                 "bad.jsonl: 3 lines are wrong");
    assert_int_equal(problems.lines, 3);
    assert_non_null(strstr(heard.text[0], "bad.jsonl:2: unknown key"));
    assert_non_null(strstr(heard.text[1], "bad.jsonl:4:"));
    assert_non_null(strstr(heard.text[2], "bad.jsonl:5: a record needs"));
    heard = (Heard){.most = 1};
    assert_fails(dataset_check(&d, at("bad.jsonl"), 1, &problems, &err), ERR_FORMAT,
                 "1 line is wrong");
    put_file("good.jsonl", "{\"text\":\"a\"}\n");
    assert_ok(dataset_check(&d, at("good.jsonl"), 1, &problems, &err));
    assert_int_equal(problems.lines, 0);
    dataset_free(d);
    assert_fails(dataset_check(&d, at("absent.jsonl"), 1, &problems, &err), ERR_NOT_FOUND,
                 "absent");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind_of_record),
        cmocka_unit_test(digest_is_of_the_canonical_form),
        cmocka_unit_test(refuses_with_file_and_line),
        cmocka_unit_test(refuses_what_is_no_dataset),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(split_keeps_groups_together),
        cmocka_unit_test(reads_a_folder_of_labels),
        cmocka_unit_test(cuts_long_texts_between_paragraphs),
        cmocka_unit_test(survives_failing_memory_and_disk),
        cmocka_unit_test(a_check_tells_of_every_bad_line),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
