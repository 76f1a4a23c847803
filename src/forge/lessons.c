/* lessons.c: see lessons.h. */
#include "forge/lessons.h"

#include "base/rng.h"

#include <string.h>

enum { QUESTION_BYTES_MAX = 1 << 20 };
#define SET_TOKENS_MAX ((uint64_t)1 << 33)

/* ---- texts ---- */

typedef struct {
    const Dataset *dataset;
    Split split;
    size_t *record; /* positions of the split's records */
    size_t count;
    char **text; /* joined text, context and label of each; for the tokenizer and pretraining */
    Arena arena;
} Texts;

static char *join(Arena *arena, const Record *record, bool with_label)
{
    const char *context = record->context, *label = with_label ? record->label : NULL;
    return arena_format(arena, "%s%s%s%s%s", record->text, *context ? "\n" : "", context,
                        label ? "\n" : "", label ? label : "");
}

/* A record without text of its own is told by its messages. */
static char *join_messages(Arena *arena, const Record *record)
{
    char *all = arena_copy_text(arena, "", 0);
    for (uint32_t i = 0; i < record->message_count && all; i++)
        all = arena_format(arena, "%s%s%.*s", all, i ? "\n" : "", (int)record->messages[i].size,
                           record->messages[i].content);
    return all;
}

static bool texts_open(Texts *t, const Dataset *dataset, Split split, bool with_label, Error *err)
{
    *t = (Texts){.dataset = dataset, .split = split};
    arena_init(&t->arena, DATASET_MEMORY_MAX);
    t->text = mem_alloc(dataset->count, sizeof *t->text);
    if (!t->text)
        return fail(err, ERR_MEMORY, "no memory for %zu texts", dataset->count);
    for (size_t i = 0; i < dataset->count; i++) {
        const Record *record = &dataset->records[i];
        if (record->split != split)
            continue;
        char *text = *record->text ? join(&t->arena, record, with_label)
                                   : join_messages(&t->arena, record);
        if (!text)
            return fail(err, ERR_MEMORY, "no memory for %zu texts", dataset->count);
        t->text[t->count++] = text;
    }
    if (t->count == 0)
        return fail(err, ERR_INPUT, "the %s split of '%s' is empty: give more records or groups",
                    split_names[split], dataset->name);
    return true;
}

static void texts_close(Texts *t)
{
    mem_free(t->text);
    arena_done(&t->arena);
}

static void text_at(void *user, size_t i, const char **text, size_t *size)
{
    const Texts *t = user;
    *text = t->text[i];
    *size = strlen(t->text[i]);
}

bool lessons_tokenizer(Tokenizer **out, const Dataset *dataset, const ChatTemplate *chat,
                       uint32_t vocab, uint32_t threads, Error *err)
{
    Texts texts;
    TokenizerTraining options = {.vocab = vocab, .special = chat->specials, .threads = threads};
    while (chat->specials[options.special_count])
        options.special_count++;
    bool ok = texts_open(&texts, dataset, SPLIT_TRAIN, true, err) &&
              tokenizer_train(out, &options, texts.count, text_at, &texts, err);
    texts_close(&texts);
    return ok;
}

/* ---- plain text ---- */

static bool add_documents(SampleSet *out, const Tokens *ids, const size_t *offsets, size_t count,
                          int32_t end, Error *err)
{
    auto_tokens Tokens one;
    tokens_init(&one, SIZE_MAX / 8);
    for (size_t i = 0; i < count; i++) {
        one.count = 0;
        for (size_t k = offsets[i]; k < offsets[i + 1]; k++)
            tokens_add(&one, ids->ids[k]);
        tokens_add(&one, end);
        if (one.failed)
            return fail(err, ERR_MEMORY, "no memory for a document of %zu tokens", one.count);
        if (!sample_set_add(out, one.ids, NULL, one.count, err))
            return false;
    }
    return true;
}

bool lessons_pretrain(SampleSet *out, const Dataset *dataset, Split split,
                      const Tokenizer *tokenizer, const ChatTemplate *chat, Pool *pool, Error *err)
{
    Texts texts;
    int32_t end = 0;
    auto_tokens Tokens ids;
    tokens_init(&ids, SIZE_MAX / 8);
    sample_set_init(out, SET_TOKENS_MAX);
    if (!tokenizer_special(tokenizer, chat->end_marker, &end))
        return fail(err, ERR_INPUT, "the tokenizer lacks the template's token '%s'",
                    chat->end_marker);
    bool ok = texts_open(&texts, dataset, split, false, err);
    auto_free size_t *offsets = ok ? mem_alloc(texts.count + 1, sizeof *offsets) : NULL;
    if (ok && !offsets)
        ok = fail(err, ERR_MEMORY, "no memory for %zu documents", texts.count);
    ok = ok &&
         tokenizer_encode_many(tokenizer, pool, texts.count, text_at, &texts, &ids, offsets,
                               err) &&
         add_documents(out, &ids, offsets, texts.count, end, err);
    texts_close(&texts);
    return ok;
}

/* ---- dialogues ---- */

/* The question of a record; lines of the context are left out by the share `omit`. */
static void write_question(const Record *record, double omit, RngKey key, uint64_t counter,
                           Buf *out)
{
    buf_reset(out);
    buf_add_text(out, record->text);
    uint64_t line = 0;
    for (const char *at = record->context; *at; line++) {
        size_t length = strcspn(at, "\n");
        if (length && (omit <= 0 || rng_uniform(key, counter * 64 + line) >= omit)) {
            buf_add_char(out, '\n');
            buf_add(out, at, length);
        }
        at += length + (at[length] == '\n');
    }
}

typedef struct {
    SampleSet *out;
    const Tokenizer *tokenizer;
    const ChatTemplate *chat;
    const LessonOptions *options;
    Tokens ids, trained;
    Buf question;
} Writer;

static bool add_dialogue(Writer *w, const ChatMessage *messages, uint32_t count, Error *err)
{
    w->ids.count = w->trained.count = 0;
    return chat_render(w->chat, w->tokenizer, messages, count, false, &w->ids, &w->trained, err) &&
           sample_set_add(w->out, w->ids.ids, w->trained.ids, w->ids.count, err);
}

static bool add_label(Writer *w, const Record *record, uint64_t number, Error *err)
{
    RngKey key = rng_key(w->options->seed, "omit");
    uint32_t copies = w->options->copies ? w->options->copies : 1;
    for (uint32_t copy = 0; copy < copies; copy++) {
        write_question(record, w->options->omit, key, number * copies + copy, &w->question);
        if (!buf_ok(&w->question, "a question", err))
            return false;
        ChatMessage messages[] = {
            {.role = CHAT_USER, .content = w->question.data, .size = w->question.size},
            {.role = CHAT_ASSISTANT, .content = record->label, .size = strlen(record->label)}};
        if (!add_dialogue(w, messages, 2, err))
            return false;
    }
    return true;
}

static bool add_records(Writer *w, const Dataset *dataset, Split split, Error *err)
{
    uint32_t every = w->options->every_text;
    for (size_t i = 0, number = 0; i < dataset->count; i++) {
        const Record *record = &dataset->records[i];
        if (record->split != split)
            continue;
        if (record->label && *record->text && !add_label(w, record, number, err))
            return fail_within(err, "record %s", record->id);
        bool own = record->message_count && (!record->label || (every && number % every == 0));
        if (own && !add_dialogue(w, record->messages, record->message_count, err))
            return fail_within(err, "record %s", record->id);
        number++;
    }
    return true;
}

bool lessons_finetune(SampleSet *out, const Dataset *dataset, Split split,
                      const Tokenizer *tokenizer, const ChatTemplate *chat,
                      const LessonOptions *options, Error *err)
{
    Writer w = {.out = out, .tokenizer = tokenizer, .chat = chat, .options = options};
    sample_set_init(out, SET_TOKENS_MAX);
    tokens_init(&w.ids, QUESTION_BYTES_MAX);
    tokens_init(&w.trained, QUESTION_BYTES_MAX);
    buf_init(&w.question, QUESTION_BYTES_MAX);
    bool ok = add_records(&w, dataset, split, err);
    tokens_done(&w.ids);
    tokens_done(&w.trained);
    buf_done(&w.question);
    return ok;
}

bool lessons_question(const Record *record, const Tokenizer *tokenizer, const ChatTemplate *chat,
                      uint32_t limit, Tokens *out, Error *err)
{
    auto_buf Buf question;
    buf_init(&question, QUESTION_BYTES_MAX);
    write_question(record, 0, (RngKey){{0, 0}}, 0, &question);
    size_t start = out->count;
    for (size_t size = question.size;; size -= size / 8 + 1) {
        ChatMessage message = {.role = CHAT_USER, .content = question.data, .size = size};
        out->count = start;
        if (!buf_ok(&question, "a question", err) ||
            !chat_render(chat, tokenizer, &message, 1, true, out, NULL, err))
            return false;
        if (out->count - start <= limit || size == 0)
            return true;
        while (size > 1 && ((unsigned char)question.data[size - size / 8 - 1] & 0xc0) == 0x80)
            size--; /* cut between characters */
    }
}
