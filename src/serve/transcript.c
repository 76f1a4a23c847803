/* transcript.c: see transcript.h. The two shapes differ in a few words and in their logprobs. */
#include "serve/transcript.h"

#include <string.h>

typedef enum { CHOICE_NEW, CHOICE_STARTED, CHOICE_ENDED } ChoiceState;

/* Parts of one choice. Chat uses logs[0] alone: entries of "content". Text uses all four lists. */
enum { LOG_TOKENS, LOG_CHANCES, LOG_TOPS, LOG_OFFSETS, LOG_LISTS };

typedef struct {
    ChoiceState state;
    WireEndKind end;
    uint32_t prompt_tokens, answer_tokens;
    uint64_t characters; /* of text so far: the next token's offset */
    Buf text;            /* whole answers only */
    Buf logs[LOG_LISTS]; /* comma-separated JSON; a stream empties them at each chunk */
} TranscriptChoice;

enum { ERROR_BYTES_MAX = 4096 };

struct Transcript {
    TranscriptOptions options;
    Buf head; /* the members that every chunk or answer begins with */
    Buf out;
    size_t taken; /* bytes of out already read */
    size_t whole; /* a stream's out is made of complete events up to here */
    uint32_t choice_count, started, ended;
    bool failed, finished;
    TranscriptChoice choices[];
};

typedef struct {
    const char *object, *chunk; /* names of a whole answer and of a piece */
} ShapeRow;

static const ShapeRow shape_rows[] = {
    [SHAPE_CHAT] = {"chat.completion", "chat.completion.chunk"},
    [SHAPE_TEXT] = {"text_completion", "text_completion"},
};

static const char *const log_names[LOG_LISTS] = {"tokens", "token_logprobs", "top_logprobs",
                                                 "text_offset"};

static const char *const finish_words[WIRE_ENDS] = {
    [WIRE_STOPPED] = "\"stop\"", [WIRE_LENGTH] = "\"length\"", [WIRE_CANCELLED] = "\"stop\"",
    [WIRE_FAILED] = "\"stop\""};

/* ---- life cycle ---- */

static void add_member(Buf *out, const char *name, const char *text)
{
    buf_format(out, ",\"%s\":", name);
    reply_add_text(out, text, strlen(text));
}

bool transcript_new(Transcript **out, const TranscriptOptions *options, Error *err)
{
    uint32_t count = options->prompts * options->n;
    Transcript *a = mem_alloc(1, sizeof *a + count * sizeof *a->choices);
    if (!a)
        return fail(err, ERR_MEMORY, "no memory for an answer");
    a->options = *options;
    a->choice_count = count;
    buf_init(&a->head, 4096);
    buf_init(&a->out, options->bytes_max);
    for (uint32_t i = 0; i < count; i++) {
        buf_init(&a->choices[i].text, options->bytes_max);
        for (int k = 0; k < LOG_LISTS; k++)
            buf_init(&a->choices[i].logs[k], options->bytes_max);
    }
    const ShapeRow *shape = &shape_rows[options->shape];
    buf_add_text(&a->head, "{\"id\":");
    reply_add_text(&a->head, options->id, strlen(options->id));
    add_member(&a->head, "object", options->stream ? shape->chunk : shape->object);
    buf_format(&a->head, ",\"created\":%lld", (long long)options->created);
    add_member(&a->head, "model", options->model);
    add_member(&a->head, "system_fingerprint", options->fingerprint);
    buf_add_text(&a->head, ",\"choices\":[");
    if (!buf_ok(&a->head, "the head of an answer", err)) {
        transcript_free(a);
        return false;
    }
    *out = a;
    return true;
}

void transcript_free(Transcript *a)
{
    if (!a)
        return;
    for (uint32_t i = 0; i < a->choice_count; i++) {
        buf_done(&a->choices[i].text);
        for (int k = 0; k < LOG_LISTS; k++)
            buf_done(&a->choices[i].logs[k]);
    }
    buf_done(&a->head);
    buf_done(&a->out);
    mem_free(a);
}

/* ---- logprobs ---- */

static void add_bytes(Buf *out, WireText bytes)
{
    buf_add_char(out, '[');
    for (uint32_t i = 0; i < bytes.size; i++)
        buf_format(out, i ? ",%u" : "%u", (uint8_t)bytes.text[i]);
    buf_add_char(out, ']');
}

static void add_chance(Buf *out, const WireChance *chance)
{
    buf_add_text(out, "{\"token\":");
    reply_add_text(out, chance->bytes.text, chance->bytes.size);
    buf_add_text(out, ",\"logprob\":");
    reply_add_number(out, (double)chance->logprob);
    buf_add_text(out, ",\"bytes\":");
    add_bytes(out, chance->bytes);
}

static void log_chat(TranscriptChoice *c, const WireToken *token)
{
    Buf *out = &c->logs[LOG_TOKENS];
    if (out->size)
        buf_add_char(out, ',');
    add_chance(out, &token->chosen);
    buf_add_text(out, ",\"top_logprobs\":[");
    for (uint32_t i = 0; i < token->count; i++) {
        if (i)
            buf_add_char(out, ',');
        add_chance(out, &token->alternatives[i]);
        buf_add_char(out, '}');
    }
    buf_add_text(out, "]}");
}

/* The name of a token in the text shape. Bytes that are no characters are written as OpenAI does,
 * "bytes:\\xe2\\x82", so that two such tokens do not look alike. */
static void add_name(Buf *out, WireText bytes)
{
    if (reply_is_text(bytes.text, bytes.size)) {
        reply_add_text(out, bytes.text, bytes.size);
        return;
    }
    buf_add_text(out, "\"bytes:");
    for (uint32_t i = 0; i < bytes.size; i++)
        buf_format(out, "\\\\x%02x", (uint8_t)bytes.text[i]);
    buf_add_char(out, '"');
}

/* A quote inside a name is escaped, so only a real member follows '{' or ','. */
static bool named_already(const Buf *out, const Buf *name)
{
    const char *at = out->data, *end = out->data + out->size;
    while ((at = memmem(at, (size_t)(end - at), name->data, name->size))) {
        if (at[-1] == '{' || at[-1] == ',')
            return true;
        at++;
    }
    return false;
}

/* The text shape maps token texts to numbers: of two tokens with one text (an ordinary and a
 * special one), the likelier is kept. */
static void log_tops(Buf *out, const WireToken *token)
{
    buf_add_char(out, '{');
    for (uint32_t i = 0; i < token->count; i++) {
        auto_buf Buf name;
        buf_init(&name, 1 << 20);
        add_name(&name, token->alternatives[i].bytes);
        buf_add_char(&name, ':');
        out->failed |= name.failed;
        if (out->failed || named_already(out, &name))
            continue;
        if (i)
            buf_add_char(out, ',');
        buf_add(out, name.data, name.size);
        reply_add_number(out, (double)token->alternatives[i].logprob);
    }
    buf_add_char(out, '}');
}

static void log_text(TranscriptChoice *c, const WireToken *token)
{
    for (int k = 0; k < LOG_LISTS; k++)
        if (c->logs[k].size)
            buf_add_char(&c->logs[k], ',');
    add_name(&c->logs[LOG_TOKENS], token->chosen.bytes);
    reply_add_number(&c->logs[LOG_CHANCES], (double)token->chosen.logprob);
    auto_buf Buf tops;
    buf_init(&tops, 4 << 20);
    log_tops(&tops, token);
    buf_add(&c->logs[LOG_TOPS], tops.data, tops.size);
    c->logs[LOG_TOPS].failed |= tops.failed;
    buf_format(&c->logs[LOG_OFFSETS], "%llu", (unsigned long long)c->characters);
}

static void add_logprobs(const Transcript *a, Buf *out, const TranscriptChoice *c)
{
    buf_add_text(out, ",\"logprobs\":");
    if (!a->options.logprobs) {
        buf_add_text(out, "null");
        return;
    }
    buf_add_char(out, '{');
    for (int k = 0; k < (a->options.shape == SHAPE_CHAT ? 1 : LOG_LISTS); k++) {
        buf_format(out, "%s\"%s\":[", k ? "," : "",
                   a->options.shape == SHAPE_CHAT ? "content" : log_names[k]);
        buf_add(out, c->logs[k].data, c->logs[k].size);
        buf_add_char(out, ']');
    }
    buf_add_text(out, a->options.shape == SHAPE_CHAT ? ",\"refusal\":null}" : "}");
}

/* ---- pieces of output ---- */

static void add_usage(const Transcript *a, Buf *out)
{
    TranscriptUsage usage = transcript_usage(a);
    buf_format(out,
               "\"usage\":{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,"
               "\"total_tokens\":%llu}",
               (unsigned long long)usage.prompt_tokens, (unsigned long long)usage.answer_tokens,
               (unsigned long long)(usage.prompt_tokens + usage.answer_tokens));
}

/* One chunk of a stream. finish NULL: not yet. role: the first chunk of a chat choice. */
static void add_chunk(Transcript *a, uint32_t index, WireText text, const char *finish, bool role)
{
    TranscriptChoice *c = &a->choices[index];
    Buf *out = &a->out;
    buf_add_text(out, "data: ");
    buf_add(out, a->head.data, a->head.size);
    buf_format(out, "{\"index\":%u,", index);
    if (a->options.shape == SHAPE_TEXT)
        buf_add_text(out, "\"text\":");
    else if (role)
        buf_add_text(out, "\"delta\":{\"role\":\"assistant\",\"content\":");
    else
        buf_add_text(out, finish ? "\"delta\":{" : "\"delta\":{\"content\":");
    if (a->options.shape == SHAPE_TEXT || !finish)
        reply_add_text(out, text.text, text.size);
    if (a->options.shape == SHAPE_CHAT)
        buf_add_char(out, '}');
    if (finish || role)
        buf_add_text(out, ",\"logprobs\":null");
    else
        add_logprobs(a, out, c);
    buf_format(out, ",\"finish_reason\":%s}]%s}\n\n", finish ? finish : "null",
               a->options.include_usage ? ",\"usage\":null" : "");
    for (int k = 0; k < LOG_LISTS && !role && !finish; k++)
        buf_reset(&c->logs[k]);
}

static void add_whole(Transcript *a)
{
    Buf *out = &a->out;
    buf_add(out, a->head.data, a->head.size);
    for (uint32_t i = 0; i < a->choice_count; i++) {
        TranscriptChoice *c = &a->choices[i];
        buf_format(out, "%s{\"index\":%u,", i ? "," : "", i);
        buf_add_text(out, a->options.shape == SHAPE_CHAT
                              ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"text\":");
        reply_add_text(out, c->text.size ? c->text.data : "", c->text.size);
        if (a->options.shape == SHAPE_CHAT)
            buf_add_text(out, ",\"refusal\":null}");
        add_logprobs(a, out, c);
        buf_format(out, ",\"finish_reason\":%s}", finish_words[c->end]);
        out->failed |= c->text.failed;
        for (int k = 0; k < LOG_LISTS; k++)
            out->failed |= c->logs[k].failed;
    }
    buf_add_text(out, "],");
    add_usage(a, out);
    buf_add_char(out, '}');
}

static void finish(Transcript *a)
{
    a->finished = true;
    if (!a->options.stream) {
        add_whole(a);
        return;
    }
    if (a->options.include_usage) {
        buf_add_text(&a->out, "data: ");
        buf_add(&a->out, a->head.data, a->head.size);
        buf_add_text(&a->out, "],");
        add_usage(a, &a->out);
        buf_add_text(&a->out, "}\n\n");
    }
    buf_add_text(&a->out, "data: [DONE]\n\n");
}

/* ---- events ---- */

static void mark_whole(Transcript *a)
{
    if (!a->out.failed)
        a->whole = a->out.size;
}

static TranscriptChoice *choice_in(Transcript *a, uint32_t index, ChoiceState state, Error *err)
{
    if (!a->finished && index < a->choice_count && a->choices[index].state == state)
        return &a->choices[index];
    fail(err, ERR_FORMAT, "the worker sent an event out of turn for choice %u", index);
    return NULL;
}

bool transcript_start(Transcript *a, const WireStart *start, Error *err)
{
    TranscriptChoice *c = choice_in(a, start->choice, CHOICE_NEW, err);
    if (!c)
        return false;
    c->state = CHOICE_STARTED;
    c->prompt_tokens = start->prompt_tokens;
    a->started++;
    if (a->options.stream && a->options.shape == SHAPE_CHAT)
        add_chunk(a, start->choice, (WireText){"", 0}, NULL, true);
    mark_whole(a);
    return true;
}

static void add_content(Transcript *a, uint32_t index, WireText text)
{
    TranscriptChoice *c = &a->choices[index];
    if (a->options.stream) {
        if (text.size || c->logs[LOG_TOKENS].size)
            add_chunk(a, index, text, NULL, false);
    } else {
        buf_add(&c->text, text.text, text.size);
    }
    for (uint32_t i = 0; i < text.size; i++)
        c->characters += ((uint8_t)text.text[i] & 0xc0) != 0x80;
}

bool transcript_token(Transcript *a, const WireToken *token, Error *err)
{
    TranscriptChoice *c = choice_in(a, token->choice, CHOICE_STARTED, err);
    if (!c)
        return false;
    if (a->options.logprobs && a->options.shape == SHAPE_CHAT)
        log_chat(c, token);
    else if (a->options.logprobs)
        log_text(c, token);
    add_content(a, token->choice, token->text);
    mark_whole(a);
    return true;
}

bool transcript_end(Transcript *a, const WireEnd *end, Error *err)
{
    TranscriptChoice *c = choice_in(a, end->choice, CHOICE_STARTED, err);
    if (!c)
        return false;
    add_content(a, end->choice, end->text); /* with the last logprobs, if any were held */
    c->state = CHOICE_ENDED;
    c->end = end->end;
    c->answer_tokens = end->answer_tokens;
    if (end->end == WIRE_FAILED || end->end == WIRE_CANCELLED) {
        a->failed = true;
        return true;
    }
    if (a->options.stream)
        add_chunk(a, end->choice, (WireText){"", 0}, finish_words[end->end], false);
    if (++a->ended == a->choice_count)
        finish(a);
    mark_whole(a);
    return true;
}

void transcript_fail(Transcript *a, Fault fault, const char *message)
{
    if (a->finished)
        return;
    a->finished = true;
    if (!a->options.stream) {
        buf_reset(&a->out);
    } else if (a->out.failed) {
        /* what was complete still goes out, so that the error comes as an event of its own */
        a->out.failed = false;
        a->out.size = a->whole;
    }
    a->out.limit += ERROR_BYTES_MAX;
    if (a->options.stream)
        buf_add_text(&a->out, "data: ");
    reply_add_error(&a->out, fault, NULL, message);
    if (a->options.stream)
        buf_add_text(&a->out, "\n\n");
}

/* ---- reading ---- */

bool transcript_started(const Transcript *a)
{
    return a->started == a->choice_count;
}

bool transcript_finished(const Transcript *a)
{
    return a->finished;
}

bool transcript_failed_to_finish(const Transcript *a)
{
    return a->failed;
}

bool transcript_bytes(const Transcript *a, const char **bytes, size_t *size, Error *err)
{
    if (!buf_ok(&a->out, "the answer", err))
        return false;
    *bytes = a->out.size ? a->out.data + a->taken : "";
    *size = a->out.size - a->taken;
    return true;
}

size_t transcript_take(Transcript *a, char *out, size_t room)
{
    size_t held = a->out.size - a->taken;
    size_t size = held < room ? held : room;
    if (size)
        memcpy(out, a->out.data + a->taken, size);
    a->taken += size;
    if (a->taken == a->out.size && !a->out.failed) {
        a->taken = a->whole = 0;
        buf_reset(&a->out);
    }
    return size;
}

TranscriptUsage transcript_usage(const Transcript *a)
{
    TranscriptUsage usage = {0};
    for (uint32_t i = 0; i < a->choice_count; i++) {
        if (i % a->options.n == 0) /* a prompt is read once for its n answers */
            usage.prompt_tokens += a->choices[i].prompt_tokens;
        usage.answer_tokens += a->choices[i].answer_tokens;
    }
    return usage;
}
