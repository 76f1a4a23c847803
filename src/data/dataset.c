/* dataset.c: see dataset.h. JSON Lines in and out, splits, labels; folders are in folder.c. */
#include "data/dataset.h"

#include "base/fs.h"
#include "base/hash.h"
#include "base/rng.h"
#include "data/builder.h"
#include "data/folder.h"
#include "format/jsonl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const split_names[SPLIT_COUNT] = {"train", "valid", "test"};

void dataset_free(Dataset *dataset)
{
    if (!dataset)
        return;
    arena_done(&dataset->arena);
    mem_free(dataset->records);
    mem_free(dataset);
}

/* ---- reading ---- */

static bool read_role(const json_t *item, ChatRole *out, const char *place, Error *err)
{
    const char *role;
    if (!json_get_text(item, "role", NULL, &role, place, err))
        return false;
    for (int i = 0; role && i < CHAT_ROLE_COUNT; i++) {
        if (strcmp(role, chat_role_names[i]) == 0) {
            *out = (ChatRole)i;
            return true;
        }
    }
    return fail(err, ERR_FORMAT, "%s: role must be system, user or assistant, is '%.40s'", place,
                role ? role : "");
}

static bool read_message(const json_t *item, ChatMessage *out, const char *place, Error *err)
{
    static const char *const keys[] = {"role", "content", "muted", NULL};
    if (!json_only_keys(item, keys, place, err) || !read_role(item, &out->role, place, err) ||
        !json_get_text(item, "content", NULL, &out->content, place, err) ||
        !json_get_bool(item, "muted", false, &out->muted, place, err))
        return false;
    if (!out->content)
        return fail(err, ERR_FORMAT, "%s: a message needs 'content'", place);
    if (out->muted && out->role != CHAT_ASSISTANT)
        return fail(err, ERR_FORMAT, "%s: only a message of the assistant can be muted", place);
    out->size = strlen(out->content);
    return true;
}

/* messages: room for DATASET_MESSAGES_MAX; the contents are borrowed from the list. */
static bool read_messages(const json_t *list, ChatMessage *messages, Record *draft,
                          const char *place, Error *err)
{
    if (!list || json_is_null(list))
        return true;
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count == 0)
        return fail(err, ERR_FORMAT, "%s: 'messages' must be a list of at least one message",
                    place);
    if (count > DATASET_MESSAGES_MAX)
        return fail(err, ERR_LIMIT, "%s: %zu messages, at most %d are taken", place, count,
                    DATASET_MESSAGES_MAX);
    for (size_t i = 0; i < count; i++) {
        if (!read_message(json_array_get(list, i), &messages[i], place, err))
            return false;
    }
    draft->messages = messages;
    draft->message_count = (uint32_t)count;
    return true;
}

static bool add_value(Builder *builder, const json_t *value, ChatMessage *messages,
                      const char *place, Error *err)
{
    static const char *const keys[] = {"text", "context", "label", "group", "id", "messages", NULL};
    Record draft = {0};
    if (!json_is_object(value))
        return fail(err, ERR_FORMAT, "%s: each line must be one JSON object", place);
    if (!json_only_keys(value, keys, place, err) ||
        !json_get_text(value, "text", NULL, &draft.text, place, err) ||
        !json_get_text(value, "context", NULL, &draft.context, place, err) ||
        !json_get_text(value, "label", NULL, &draft.label, place, err) ||
        !json_get_text(value, "group", NULL, &draft.group, place, err) ||
        !json_get_text(value, "id", NULL, &draft.id, place, err) ||
        !read_messages(json_object_get(value, "messages"), messages, &draft, place, err))
        return false;
    return builder_add(builder, &draft, err) || fail_within(err, "%s", place);
}

/* One line into the builder; *last at the end of the file. */
static bool add_line(Builder *builder, JsonlReader *reader, ChatMessage *messages, bool *last,
                     Error *err)
{
    auto_json json_t *value = NULL;
    if (!jsonl_next(reader, &value, err))
        return false;
    *last = value == NULL;
    if (!value)
        return true;
    char place[1100];
    snprintf(place, sizeof place, "%s:%" PRIu64, reader->name, reader->line);
    return add_value(builder, value, messages, place, err);
}

/* True when the failure is of one line and somebody wants to hear of the next one too. */
static bool goes_on(DatasetProblems *problems, const Error *problem)
{
    if (!problems || (problem->code != ERR_FORMAT && problem->code != ERR_LIMIT))
        return false;
    problems->lines++;
    return problems->each(problems->user, problem);
}

static bool add_lines(Builder *builder, JsonlReader *reader, DatasetProblems *problems, Error *err)
{
    auto_free ChatMessage *messages = mem_alloc(DATASET_MESSAGES_MAX, sizeof *messages);
    if (!messages)
        return fail(err, ERR_MEMORY, "no memory to read '%s'", reader->name);
    for (bool last = false; !last;) {
        Error problem;
        if (add_line(builder, reader, messages, &last, &problem) || goes_on(problems, &problem))
            continue;
        if (!problems || !problems->lines)
            return fail(err, problem.code, "%s", problem.text);
        break;
    }
    if (problems && problems->lines)
        return fail(err, ERR_FORMAT, "%s: %" PRIu64 " %s wrong", reader->name, problems->lines,
                    problems->lines == 1 ? "line is" : "lines are");
    return true;
}

static bool load_lines(Dataset **out, JsonlReader *reader, uint64_t seed,
                       DatasetProblems *problems, Error *err)
{
    Builder *builder;
    if (!builder_new(&builder, reader->name, err))
        return false;
    if (!add_lines(builder, reader, problems, err)) {
        builder_free(builder);
        return false;
    }
    if (!builder_finish(builder, seed, out, err)) {
        builder_free(builder);
        return fail_within(err, "%s", reader->name);
    }
    return true;
}

bool dataset_parse(Dataset **out, const void *bytes, size_t size, const char *name, uint64_t seed,
                   Error *err)
{
    JsonlReader reader;
    jsonl_init(&reader, bytes, size, name, DATASET_LINE_MAX);
    return load_lines(out, &reader, seed, NULL, err);
}

static bool has_ending(const char *path, const char *ending)
{
    size_t size = strlen(path), length = strlen(ending);
    return size >= length && strcmp(path + size - length, ending) == 0;
}

static bool load_any(Dataset **out, const char *path, uint64_t seed, DatasetProblems *problems,
                     Error *err)
{
    if (fs_is_dir(path) || has_ending(path, ".txt"))
        return folder_load(out, path, seed, err);
    if (fs_exists(path) && !has_ending(path, ".jsonl") && !has_ending(path, ".ndjson"))
        return fail(err, ERR_INPUT, "'%s' is no folder and ends in none of .jsonl, .ndjson, .txt",
                    path);
    JsonlReader reader;
    if (!jsonl_open(&reader, path, DATASET_LINE_MAX, err))
        return false;
    bool ok = load_lines(out, &reader, seed, problems, err);
    jsonl_close(&reader);
    return ok;
}

bool dataset_load(Dataset **out, const char *path, uint64_t seed, Error *err)
{
    return load_any(out, path, seed, NULL, err);
}

bool dataset_check(Dataset **out, const char *path, uint64_t seed, DatasetProblems *problems,
                   Error *err)
{
    problems->lines = 0;
    return load_any(out, path, seed, problems, err);
}

/* ---- writing ---- */

static bool write_lines(const Dataset *dataset, FsWriter *writer, Error *err)
{
    auto_buf Buf line;
    buf_init(&line, DATASET_LINE_MAX + 1);
    for (size_t i = 0; i < dataset->count; i++) {
        buf_reset(&line);
        if (!builder_canonical_line(&dataset->records[i], i, &line, err) ||
            !fs_writer_add(writer, line.data, line.size, err))
            return false;
    }
    return true;
}

bool dataset_save(const Dataset *dataset, const char *path, Error *err)
{
    auto_free FsWriter *writer = mem_alloc(1, sizeof *writer);
    if (!writer)
        return fail(err, ERR_MEMORY, "no memory to write '%s'", path);
    if (!fs_writer_open(writer, path, err))
        return false;
    if (!write_lines(dataset, writer, err)) {
        fs_writer_abandon(writer);
        return false;
    }
    return fs_writer_commit(writer, err);
}

/* ---- splits and labels ---- */

void dataset_split(Dataset *dataset, uint64_t seed)
{
    RngKey key = rng_key(seed, "split");
    for (size_t i = 0; i < dataset->count; i++) {
        Record *record = &dataset->records[i];
        double u = rng_uniform(key, hash_fnv(record->group, strlen(record->group)));
        record->split = u < 0.90 ? SPLIT_TRAIN : u < 0.95 ? SPLIT_VALID : SPLIT_TEST;
    }
}

void dataset_count_splits(const Dataset *dataset, size_t counts[SPLIT_COUNT])
{
    memset(counts, 0, SPLIT_COUNT * sizeof *counts);
    for (size_t i = 0; i < dataset->count; i++)
        counts[dataset->records[i].split]++;
}

uint32_t dataset_label_index(const Dataset *dataset, const char *label)
{
    uint32_t low = 0, high = label ? dataset->label_count : 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = strcmp(dataset->labels[middle], label);
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return dataset->label_count;
}
