/* chat_jinja.c: rendering through a folder's own template, and finding what to train on.
 *
 * Without {% generation %} the answer i is what a longer chat adds: it begins where the text of the
 * messages before it with the generation prompt ends, and ends behind the last marker of the text
 * of the messages up to it. Both texts must be prefixes of the whole, else the template rewrites
 * the past (drops old reasoning, moves the system prompt) and no marks can be given.
 */
#include "text/chat_jinja.h"

#include "base/mem.h"
#include "format/json.h"

#include <string.h>

enum { VARIABLES_MAX = 64 };

/* ---- the text ---- */

static bool has_tools(const ChatRequest *request)
{
    return json_array_size(request->tools) > 0;
}

static const JinjaTemplate *template_for(const ChatJinja *c, const ChatRequest *request)
{
    return c->tools && has_tools(request) ? c->tools : c->usual;
}

static bool add_object(JinjaVariable *all, size_t *count, json_t *object, JinjaTrust trust,
                       Error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        size_t at = 0;
        while (at < *count && strcmp(all[at].name, key))
            at++;
        if (at < *count)
            continue; /* the request's own words come first */
        if (at == VARIABLES_MAX)
            return fail(err, ERR_LIMIT, "a chat template is given over %d variables",
                        VARIABLES_MAX);
        all[(*count)++] = (JinjaVariable){key, value, trust};
    }
    return true;
}

bool chat_jinja_text(const ChatJinja *c, const ChatRequest *request, JinjaText *out, Error *err)
{
    auto_json json_t *prompt = json_boolean(request->add_generation_prompt);
    json_t *none = json_null();
    JinjaVariable all[VARIABLES_MAX] = {
        {"messages", request->messages, JINJA_MESSAGES},
        {"tools", has_tools(request) ? request->tools : none, JINJA_DATA},
        {"documents", request->documents ? request->documents : none, JINJA_DATA},
        {"add_generation_prompt", prompt, JINJA_DATA},
    };
    size_t count = 4;
    JinjaOptions options = {.now = request->now};
    if (c->problem.code)
        return fail(err, c->problem.code, "%s", c->problem.text);
    return add_object(all, &count, c->tokens, JINJA_TRUSTED, err) &&
           add_object(all, &count, request->variables, JINJA_DATA, err) &&
           jinja_render(template_for(c, request), all, count, &options, out, err);
}

/* ---- what to train on ---- */

/* Puts the mark on text[from, to), cutting runs in two where it begins or ends. */
static bool mark_span(JinjaText *text, size_t from, size_t to, bool trained)
{
    JinjaRun *runs = mem_alloc(text->run_count + 2, sizeof *runs);
    size_t count = 0, at = 0;
    if (!runs)
        return false;
    for (size_t i = 0; i < text->run_count; i++) {
        JinjaRun run = text->runs[i];
        size_t cuts[3] = {from, to, run.end};
        for (int k = 0; k < 3; k++) {
            if (cuts[k] <= at || cuts[k] > run.end)
                continue;
            bool inside = at >= from && cuts[k] <= to;
            runs[count++] = (JinjaRun){cuts[k], run.trusted, inside ? trained : run.trained};
            at = cuts[k];
        }
    }
    mem_free(text->runs);
    text->runs = runs;
    text->run_count = count;
    text->run_room = text->run_count + 2;
    return true;
}

/* The end of the answer that ends with the text: behind its last marker when only blanks follow. */
static size_t end_of_answer(const ChatMarkers *markers, const JinjaText *text, size_t from)
{
    const char *bytes = text->text.data;
    size_t end = text->text.size, blank = end;
    while (blank > from && bytes[blank - 1] && strchr(" \t\n\r", bytes[blank - 1]))
        blank--;
    for (size_t at = blank; at-- > from;)
        if (chat_markers_special(markers, text, at) == blank)
            return blank;
    return end;
}

typedef struct {
    const ChatJinja *c;
    const ChatRequest *request;
    const ChatMarkers *markers;
    const bool *muted;
    JinjaText *text; /* of the whole */
    Error *err;
} Marking;

/* The text of the first `count` messages, which must be a prefix of the whole. */
static bool prefix_text(Marking *m, size_t count, bool prompt, size_t number, JinjaText *out)
{
    auto_json json_t *messages = json_array();
    for (size_t i = 0; i < count && messages; i++)
        if (json_array_append(messages, json_array_get(m->request->messages, i)))
            return fail(m->err, ERR_MEMORY, "no memory for the messages");
    ChatRequest part = *m->request;
    part.messages = messages;
    part.add_generation_prompt = prompt;
    if (!messages)
        return fail(m->err, ERR_MEMORY, "no memory for the messages");
    if (!chat_jinja_text(m->c, &part, out, m->err))
        return fail_within(m->err, "message %zu: what it adds cannot be told", number);
    if (out->text.size > m->text->text.size ||
        (out->text.size && memcmp(out->text.data, m->text->text.data, out->text.size)))
        return fail(m->err, ERR_INPUT, "message %zu: the chat template writes what comes before it "
                    "in another way once it is there, so it cannot be told what to train on", number);
    return true;
}

static bool mark_answer(Marking *m, size_t i, bool trained)
{
    auto_jinja_text JinjaText before;
    auto_jinja_text JinjaText after;
    jinja_text_init(&before);
    jinja_text_init(&after);
    if (!prefix_text(m, i, true, i + 1, &before) || !prefix_text(m, i + 1, false, i + 1, &after))
        return false;
    size_t from = before.text.size, to = after.text.size;
    if (from > to)
        return fail(m->err, ERR_INPUT, "message %zu: the chat template writes less for it than for "
                    "its prompt, so it cannot be told what to train on", i + 1);
    to = end_of_answer(m->markers, &after, from);
    return from >= to || mark_span(m->text, from, to, trained) ||
           fail(m->err, ERR_MEMORY, "no memory for the messages");
}

static bool is_answer(const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    return role && !strcmp(role, "assistant");
}

static bool mark_answers(Marking *m)
{
    const bool blocks = jinja_has_generation(template_for(m->c, m->request));
    for (size_t i = 0; i < json_array_size(m->request->messages); i++) {
        if (!is_answer(json_array_get(m->request->messages, i)))
            continue;
        if (blocks ? m->muted[i] && !mark_answer(m, i, false)
                   : !m->muted[i] && !mark_answer(m, i, true))
            return false;
    }
    return true;
}

bool chat_jinja_render(const ChatJinja *c, const ChatRequest *request, Tokens *ids, Tokens *trained,
                       Error *err)
{
    auto_json json_t *messages = NULL;
    auto_jinja_text JinjaText text;
    auto_free bool *muted = mem_alloc(json_array_size(request->messages), sizeof *muted);
    ChatRequest normal = *request;
    jinja_text_init(&text);
    if (!muted)
        return fail(err, ERR_MEMORY, "no memory for the messages");
    if (!chat_normal_messages(request->messages, c->takes_parts, &messages, muted, err))
        return false;
    normal.messages = messages;
    const ChatMarkers *markers = c->tools && has_tools(request) ? c->tool_markers
                                                                : c->usual_markers;
    Marking marking = {c, &normal, markers, muted, &text, err};
    return chat_jinja_text(c, &normal, &text, err) && (!trained || mark_answers(&marking)) &&
           chat_encode(markers, &text, ids, trained, err);
}

bool chat_render_text(const ChatTemplate *t, const ChatRequest *request, Buf *out, Error *err)
{
    auto_json json_t *messages = NULL;
    auto_jinja_text JinjaText text;
    auto_free bool *muted = mem_alloc(json_array_size(request->messages), sizeof *muted);
    ChatRequest normal = *request;
    jinja_text_init(&text);
    if (!muted)
        return fail(err, ERR_MEMORY, "no memory for the messages");
    if (!t->foreign)
        return fail(err, ERR_INPUT, "the chat template '%s' is made of ids, not of text", t->name);
    if (!chat_normal_messages(request->messages, t->foreign->takes_parts, &messages, muted, err))
        return false;
    normal.messages = messages;
    if (!chat_jinja_text(t->foreign, &normal, &text, err))
        return false;
    buf_add(out, text.text.data ? text.text.data : "", text.text.size);
    return buf_ok(out, "the chat's text", err);
}
