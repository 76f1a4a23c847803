/* cmd_data.c: check, show and import datasets. */
#include "cli/command.h"

#include "base/hash.h"
#include "data/dataset.h"
#include "format/json.h"

#include <stdio.h>
#include <string.h>

enum { PROBLEMS_MAX = 100, REPORT_BYTES_MAX = 4 << 20 };
#define SPLIT_SEED 1 /* that of quickstart: check shows the splits a training would see */

typedef struct {
    bool json;
    uint32_t count; /* of `data show` */
} DataOptions;

static bool put_line(const json_t *object, Error *err)
{
    auto_buf Buf line;
    buf_init(&line, REPORT_BYTES_MAX);
    if (!object)
        return fail(err, ERR_MEMORY, "no memory for the answer");
    if (!json_dump(object, &line, err))
        return false;
    puts(line.data);
    return true;
}

/* ---- check ---- */

typedef struct {
    json_t *list; /* NULL: problems are printed as they come */
    uint32_t shown;
} Problems;

static bool tell(void *user, const Error *problem)
{
    Problems *p = user;
    if (!p->list)
        printf("%s\n", problem->text);
    else if (json_array_append_new(p->list, json_string(problem->text)) != 0)
        return false;
    return ++p->shown < PROBLEMS_MAX;
}

static void count_labels(const Dataset *d, size_t *per_label)
{
    for (size_t i = 0; i < d->count; i++) {
        uint32_t label = dataset_label_index(d, d->records[i].label);
        per_label[label]++;
    }
}

static size_t count_dialogues(const Dataset *d)
{
    size_t found = 0;
    for (size_t i = 0; i < d->count; i++)
        found += d->records[i].message_count != 0;
    return found;
}

static bool summary_json(const Dataset *d, const size_t *per_label, const char *digest, Error *err)
{
    size_t splits[SPLIT_COUNT];
    dataset_count_splits(d, splits);
    auto_json json_t *labels = json_object();
    for (uint32_t i = 0; labels && i < d->label_count; i++) {
        if (json_object_set_new(labels, d->labels[i], json_integer((json_int_t)per_label[i])) != 0)
            return fail(err, ERR_MEMORY, "no memory for %u labels", d->label_count);
    }
    auto_json json_t *object = json_pack(
        "{s:b, s:s, s:I, s:I, s:I, s:{s:I, s:I, s:I}, s:O, s:I, s:s}", "valid", 1, "name", d->name,
        "records", (json_int_t)d->count, "dialogues", (json_int_t)count_dialogues(d), "skipped",
        (json_int_t)d->skipped, "splits", split_names[SPLIT_TRAIN],
        (json_int_t)splits[SPLIT_TRAIN], split_names[SPLIT_VALID],
        (json_int_t)splits[SPLIT_VALID], split_names[SPLIT_TEST], (json_int_t)splits[SPLIT_TEST],
        "labels", labels, "without_label", (json_int_t)per_label[d->label_count], "digest",
        digest);
    return put_line(object, err);
}

static void summary_text(const Dataset *d, const size_t *per_label, const char *digest)
{
    size_t splits[SPLIT_COUNT];
    dataset_count_splits(d, splits);
    printf("%s: %zu records, %zu of them with messages", d->name, d->count, count_dialogues(d));
    printf(d->skipped ? "; %zu left out.\n" : ".\n", d->skipped);
    printf("splits   ");
    for (int s = 0; s < SPLIT_COUNT; s++)
        printf("%s%s %zu", s ? ", " : "", split_names[s], splits[s]);
    printf("\nlabels   %u", d->label_count);
    if (per_label[d->label_count])
        printf("; %zu records have none", per_label[d->label_count]);
    printf("\n");
    for (uint32_t i = 0; i < d->label_count; i++)
        printf("         %-24s %zu\n", d->labels[i], per_label[i]);
    printf("digest   sha256 %s\n", digest);
}

static bool print_summary(const Dataset *d, bool json, Error *err)
{
    char digest[SHA256_HEX];
    auto_free size_t *per_label = mem_alloc((size_t)d->label_count + 1, sizeof *per_label);
    if (!per_label)
        return fail(err, ERR_MEMORY, "no memory for %u labels", d->label_count);
    count_labels(d, per_label);
    sha256_hex(d->digest, digest);
    if (json)
        return summary_json(d, per_label, digest, err);
    summary_text(d, per_label, digest);
    return true;
}

static bool check(const char **words, const DataOptions *o, Error *err)
{
    Dataset *dataset;
    auto_json json_t *list = o->json ? json_array() : NULL;
    Problems problems = {.list = list};
    DatasetProblems lines = {.each = tell, .user = &problems};
    if (o->json && !list)
        return fail(err, ERR_MEMORY, "no memory to check '%s'", words[0]);
    if (dataset_check(&dataset, words[0], SPLIT_SEED, &lines, err)) {
        bool ok = print_summary(dataset, o->json, err);
        dataset_free(dataset);
        return ok;
    }
    if (!lines.lines)
        return false;
    if (problems.shown == PROBLEMS_MAX)
        fail(err, ERR_FORMAT, "%s: %d lines are wrong, the rest was not read", words[0],
             PROBLEMS_MAX);
    if (o->json) {
        Error ignored;
        auto_json json_t *object = json_pack("{s:b, s:O}", "valid", 0, "problems", list);
        (void)!put_line(object, &ignored); /* the sentence and the exit status say it too */
    }
    return false;
}

/* ---- show ---- */

/* A text with its further lines set under the first. */
static void print_field(const char *name, const char *text)
{
    printf("  %-9s ", name);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '\n')
            printf("\n            ");
        else if (c < ' ' || c == 127)
            printf("\\x%02x", c); /* no control sequence of a record reaches the terminal */
        else
            putchar(c);
    }
    putchar('\n');
}

static void print_record(const Record *r)
{
    print_field("id", r->id);
    if (r->label)
        print_field("label", r->label);
    if (strcmp(r->group, r->text) != 0)
        print_field("group", r->group);
    print_field("split", split_names[r->split]);
    if (r->text[0])
        print_field("text", r->text);
    if (r->context[0])
        print_field("context", r->context);
    for (uint32_t i = 0; i < r->message_count; i++)
        print_field(chat_role_names[r->messages[i].role], r->messages[i].content);
}

static bool show(const char **words, const DataOptions *o, Error *err)
{
    Dataset *dataset;
    if (o->json)
        return fail(err, ERR_INPUT, "data show has no --json: a .jsonl file is JSON already");
    if (!dataset_load(&dataset, words[0], SPLIT_SEED, err))
        return false;
    for (size_t i = 0; i < dataset->count && i < o->count; i++) {
        if (i)
            putchar('\n');
        print_record(&dataset->records[i]);
    }
    dataset_free(dataset);
    return true;
}

/* ---- import-catalogue ---- */

static bool import_catalogue(const char **words, const DataOptions *o, Error *err)
{
    Dataset *dataset;
    if (!dataset_import_catalogue(&dataset, words[0], SPLIT_SEED, err))
        return false;
    bool ok = dataset_save(dataset, words[1], err) && print_summary(dataset, o->json, err);
    dataset_free(dataset);
    return ok;
}

/* ---- the command ---- */

static const struct {
    const char *name;
    uint32_t words;
    const char *form;
    bool (*run)(const char **words, const DataOptions *o, Error *err);
} verbs[] = {
    {"check", 1, "data check PATH", check},
    {"show", 1, "data show PATH", show},
    {"import-catalogue", 2, "data import-catalogue DUMP OUT.jsonl", import_catalogue},
};

bool command_data(int argc, char **argv, Error *err)
{
    DataOptions o = {.count = 5};
    const char *words[3] = {NULL, NULL, NULL};
    uint32_t found;
    const ArgOption options[] = {{"count", ARG_U32, &o.count, "N", "records to show"},
                                 {"json", ARG_FLAG, &o.json, NULL, "for programs"}};
    if (!args_parse(argc, argv, options, 2, words, 3, &found, err))
        return false;
    for (size_t i = 0; found && i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(words[0], verbs[i].name) != 0)
            continue;
        if (found != verbs[i].words + 1)
            return fail(err, ERR_INPUT, "the form is: bastide %s", verbs[i].form);
        return verbs[i].run(words + 1, &o, err);
    }
    return fail(err, ERR_INPUT, "say: bastide data check, show or import-catalogue");
}
