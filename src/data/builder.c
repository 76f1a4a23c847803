/* builder.c: see builder.h. Defaults are told from given values by comparing texts, not pointers:
 * a file that spells a default out and one that leaves it out have the same digest. */
#include "data/builder.h"

#include "base/hash.h"
#include "format/json.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>


enum { LABEL_SLOTS = 2 * DATASET_LABELS_MAX, DEFAULT_ID_BYTES = 24 };
static_assert((LABEL_SLOTS & (LABEL_SLOTS - 1)) == 0, "slots are taken by masking");

struct Builder {
    Dataset *dataset;
    Sha256 *hash;                      /* of the canonical lines so far */
    Buf line;                          /* the canonical line at hand */
    uint16_t slots[LABEL_SLOTS];       /* open addressing: index into labels plus 1; 0 is free */
    const char *labels[DATASET_LABELS_MAX];
};

bool builder_is_text(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    while (size) {
        utf8proc_int32_t point;
        if (*at == 0)
            return false;
        utf8proc_ssize_t length = *at < 0x80 ? 1 : utf8proc_iterate(at, (utf8proc_ssize_t)size,
                                                                     &point);
        if (length <= 0)
            return false;
        at += length;
        size -= (size_t)length;
    }
    return true;
}

/* "/data/mails.jsonl" -> "mails"; a path that ends in '/' names the folder before it. */
static void name_of_source(const char *source, char *out, size_t room)
{
    size_t size = strlen(source);
    while (size > 1 && source[size - 1] == '/')
        size--;
    size_t start = size;
    while (start && source[start - 1] != '/')
        start--;
    static const char *const endings[] = {".jsonl", ".ndjson", ".txt"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t length = strlen(endings[i]);
        if (size - start > length && memcmp(source + size - length, endings[i], length) == 0) {
            size -= length;
            break;
        }
    }
    snprintf(out, room, "%.*s", (int)(size - start), source + start);
}

bool builder_new(Builder **out, const char *source, Error *err)
{
    Builder *builder = mem_alloc(1, sizeof *builder);
    Dataset *dataset = mem_alloc(1, sizeof *dataset);
    if (!builder || !dataset) {
        mem_free(builder);
        mem_free(dataset);
        return fail(err, ERR_MEMORY, "no memory for a dataset");
    }
    builder->dataset = dataset;
    buf_init(&builder->line, DATASET_LINE_MAX + 1);
    arena_init(&dataset->arena, DATASET_MEMORY_MAX);
    name_of_source(source, dataset->name, sizeof dataset->name);
    if (!sha256_new(&builder->hash, err)) {
        builder_free(builder);
        return false;
    }
    *out = builder;
    return true;
}

void builder_free(Builder *builder)
{
    if (!builder)
        return;
    dataset_free(builder->dataset);
    sha256_free(builder->hash);
    buf_done(&builder->line);
    mem_free(builder);
}

void builder_skip(Builder *builder)
{
    builder->dataset->skipped++;
}

/* ---- checks ---- */

static bool check_label(const char *label, Error *err)
{
    size_t size = strlen(label);
    if (size == 0 || size > DATASET_LABEL_BYTES_MAX)
        return fail(err, ERR_FORMAT, "a label has 1 to %d bytes, this one has %zu",
                    DATASET_LABEL_BYTES_MAX, size);
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)label[i] < ' ' || label[i] == 127)
            return fail(err, ERR_FORMAT, "a label is one line without control characters");
    }
    return true;
}

/* [system] then user, assistant in turn, an assistant last: what chat_render can train on. */
static bool check_messages(const ChatMessage *messages, uint32_t count, Error *err)
{
    if (count > DATASET_MESSAGES_MAX)
        return fail(err, ERR_LIMIT, "%u messages, at most %d are taken", count,
                    DATASET_MESSAGES_MAX);
    uint32_t first = count && messages[0].role == CHAT_SYSTEM;
    for (uint32_t i = first; i < count; i++) {
        ChatRole want = (i - first) % 2 ? CHAT_ASSISTANT : CHAT_USER;
        if (messages[i].role != want)
            return fail(err, ERR_FORMAT, "message %u is of the %s, must be of the %s", i + 1,
                        chat_role_names[messages[i].role], chat_role_names[want]);
    }
    if (count == first || messages[count - 1].role != CHAT_ASSISTANT)
        return fail(err, ERR_FORMAT, "the last message must be of the assistant");
    return true;
}

/* ---- canonical form ---- */

static const char *default_group(const Record *record)
{
    if (record->text && record->text[0])
        return record->text;
    for (uint32_t i = 0; i < record->message_count; i++) {
        if (record->messages[i].role == CHAT_USER)
            return record->messages[i].content;
    }
    return "";
}

static void default_id(size_t position, char out[DEFAULT_ID_BYTES])
{
    snprintf(out, DEFAULT_ID_BYTES, "#%zu", position + 1);
}

/* Both take the value over, also on failure; json_*_new functions pass NULL through. */
static bool put(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new_nocheck(object, key, value) == 0;
}

static bool put_messages(json_t *object, const Record *record)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (uint32_t i = 0; ok && i < record->message_count; i++) {
        const ChatMessage *message = &record->messages[i];
        json_t *item = json_object();
        ok = put(item, "role", json_string_nocheck(chat_role_names[message->role])) &&
             put(item, "content", json_stringn_nocheck(message->content, message->size)) &&
             (!message->muted || put(item, "muted", json_true()));
        ok = json_array_append_new(list, item) == 0 && ok;
    }
    return put(object, "messages", list) && ok;
}

bool builder_canonical_line(const Record *record, size_t position, Buf *out, Error *err)
{
    char id[DEFAULT_ID_BYTES];
    default_id(position, id);
    struct {
        const char *key, *value, *fallback;
    } const keys[] = {{"text", record->text, ""},
                      {"context", record->context, ""},
                      {"label", record->label, NULL},
                      {"group", record->group, default_group(record)},
                      {"id", record->id, id}};
    auto_json json_t *object = json_object();
    bool ok = object != NULL;
    for (size_t i = 0; ok && i < sizeof keys / sizeof *keys; i++) {
        const char *value = keys[i].value, *fallback = keys[i].fallback;
        if (value && (!fallback || strcmp(value, fallback) != 0))
            ok = put(object, keys[i].key, json_string_nocheck(value));
    }
    if (ok && record->message_count)
        ok = put_messages(object, record);
    if (!ok)
        return fail(err, ERR_MEMORY, "no memory for a record");
    if (!json_dump(object, out, err))
        return false;
    buf_add_char(out, '\n');
    return buf_ok(out, "a record as one line", err);
}

/* ---- adding ---- */

/* Arena memory, or NULL with err saying which of the two reasons it was. */
static void *take(Dataset *dataset, size_t count, size_t size, Error *err)
{
    void *piece = arena_alloc(&dataset->arena, count, size);
    if (piece)
        return piece;
    if (dataset->arena.used > DATASET_MEMORY_MAX - DATASET_LINE_MAX)
        fail(err, ERR_LIMIT, "the records need more than %zu GiB", DATASET_MEMORY_MAX >> 30);
    else
        fail(err, ERR_MEMORY, "no memory for more records");
    return NULL;
}

static bool copy_text(Dataset *dataset, const char *text, const char **out, Error *err)
{
    if (!text || !text[0]) {
        *out = "";
        return true;
    }
    size_t size = strlen(text) + 1;
    char *copy = take(dataset, size, 1, err);
    if (copy)
        memcpy(copy, text, size);
    *out = copy;
    return copy != NULL;
}

static bool copy_messages(Dataset *dataset, const Record *draft, Record *out, Error *err)
{
    if (!draft->message_count)
        return true;
    out->messages = take(dataset, draft->message_count, sizeof *out->messages, err);
    if (!out->messages)
        return false;
    for (uint32_t i = 0; i < draft->message_count; i++) {
        out->messages[i] = draft->messages[i];
        if (!copy_text(dataset, draft->messages[i].content, &out->messages[i].content, err))
            return false;
    }
    out->message_count = draft->message_count;
    return true;
}

/* The one copy of a label, new or known. */
static bool intern_label(Builder *builder, const char *label, const char **out, Error *err)
{
    Dataset *dataset = builder->dataset;
    size_t slot = hash_fnv(label, strlen(label)) & (LABEL_SLOTS - 1);
    for (; builder->slots[slot]; slot = (slot + 1) & (LABEL_SLOTS - 1)) {
        const char *known = builder->labels[builder->slots[slot] - 1];
        if (strcmp(known, label) == 0) {
            *out = known;
            return true;
        }
    }
    if (dataset->label_count == DATASET_LABELS_MAX)
        return fail(err, ERR_LIMIT, "more than %d different labels", DATASET_LABELS_MAX);
    if (!copy_text(dataset, label, out, err))
        return false;
    builder->labels[dataset->label_count++] = *out;
    builder->slots[slot] = (uint16_t)dataset->label_count;
    return true;
}

static bool make_room(Dataset *dataset, Error *err)
{
    if (dataset->count < dataset->room)
        return true;
    if (dataset->count == DATASET_RECORDS_MAX)
        return fail(err, ERR_LIMIT, "more than %d records", DATASET_RECORDS_MAX);
    size_t room = dataset->room ? dataset->room + dataset->room / 2 : 256;
    Record *records = mem_resize(dataset->records, room, sizeof *records);
    if (!records)
        return fail(err, ERR_MEMORY, "no memory for %zu records", room);
    dataset->records = records;
    dataset->room = room;
    return true;
}

/* Copies the draft, whose defaults are filled in, and appends it. */
static bool append_copy(Builder *builder, const Record *draft, Error *err)
{
    Dataset *dataset = builder->dataset;
    Record copy = {0};
    if (!make_room(dataset, err) || !copy_text(dataset, draft->text, &copy.text, err) ||
        !copy_text(dataset, draft->context, &copy.context, err) ||
        !copy_text(dataset, draft->id, &copy.id, err) || !copy_messages(dataset, draft, &copy, err))
        return false;
    if (draft->label && !intern_label(builder, draft->label, &copy.label, err))
        return false;
    if (strcmp(draft->group, default_group(&copy)) == 0)
        copy.group = default_group(&copy); /* shares the text's bytes */
    else if (!copy_text(dataset, draft->group, &copy.group, err))
        return false;
    dataset->records[dataset->count++] = copy;
    return true;
}

bool builder_add(Builder *builder, const Record *draft, Error *err)
{
    Record full = *draft;
    char id[DEFAULT_ID_BYTES];
    default_id(builder->dataset->count, id);
    full.text = draft->text ? draft->text : "";
    full.context = draft->context ? draft->context : "";
    full.id = draft->id ? draft->id : id;
    if (!full.text[0] && !full.message_count)
        return fail(err, ERR_FORMAT, "a record needs 'text' or 'messages'");
    if (full.message_count && !check_messages(full.messages, full.message_count, err))
        return false;
    if (full.label && !check_label(full.label, err))
        return false;
    full.group = draft->group ? draft->group : default_group(&full);
    buf_reset(&builder->line);
    return builder_canonical_line(&full, builder->dataset->count, &builder->line, err) &&
           sha256_add(builder->hash, builder->line.data, builder->line.size, err) &&
           append_copy(builder, &full, err);
}

/* ---- the end ---- */

static int by_bytes(const void *a, const void *b)
{
    const char *const *left = a, *const *right = b;
    return strcmp(*left, *right);
}

bool builder_finish(Builder *builder, uint64_t seed, Dataset **out, Error *err)
{
    Dataset *dataset = builder->dataset;
    if (dataset->count == 0)
        return fail(err, ERR_INPUT, "there is no record in it");
    const char **labels = take(dataset, dataset->label_count, sizeof *labels, err);
    if (!labels || !sha256_end(builder->hash, dataset->digest, err))
        return false;
    if (dataset->label_count)
        memcpy(labels, builder->labels, dataset->label_count * sizeof *labels);
    qsort(labels, dataset->label_count, sizeof *labels, by_bytes);
    dataset->labels = labels;
    dataset_split(dataset, seed);
    builder->dataset = NULL;
    builder_free(builder);
    *out = dataset;
    return true;
}
