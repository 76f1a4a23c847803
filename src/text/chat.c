/* chat.c: see chat.h.
 *
 * Between two markers there is one text ("\n" and a content, or the "\n" after an end marker) and
 * it is encoded as one, as a tokenizer does that finds the markers in the whole string. So the ids
 * are those of Hugging Face's apply_chat_template, for contents in which no marker is written.
 */
#include "text/chat_jinja.h"

#include "base/mem.h"
#include "format/json.h"

#include <string.h>

enum { TEXT_BYTES_MAX = 64 << 20 };

const char *const chat_role_names[CHAT_ROLE_COUNT] = {"system", "user", "assistant"};

static const char *const bastide_specials[] = {"<|system|>", "<|user|>", "<|assistant|>",
                                               "<|end|>", NULL};

static const ChatTemplate templates[] = {
    {
        .name = "bastide",
        .jinja =
            "{% set start = 1 if messages and messages[0]['role'] == 'system' else 0 %}"
            "{% for message in messages %}"
            "{% if loop.index0 >= start and message['role'] != "
            "('user' if (loop.index0 - start) % 2 == 0 else 'assistant') %}"
            "{{ raise_exception('roles must be system (optional), then user and assistant in "
            "turn') }}"
            "{% endif %}"
            "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
            "{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
        .end_marker = "<|end|>",
        .specials = bastide_specials,
        .role_markers = {"<|system|>", "<|user|>", "<|assistant|>"},
    },
};

enum { TEMPLATE_COUNT = sizeof templates / sizeof templates[0] };

const ChatTemplate *chat_template_default(void)
{
    return &templates[0];
}

const ChatTemplate *chat_template_named(const char *name)
{
    for (size_t i = 0; i < TEMPLATE_COUNT; i++)
        if (!strcmp(templates[i].name, name))
            return &templates[i];
    return NULL;
}

const ChatTemplate *chat_template_of_jinja(const char *jinja)
{
    for (size_t i = 0; i < TEMPLATE_COUNT; i++)
        if (!strcmp(templates[i].jinja, jinja))
            return &templates[i];
    return NULL;
}

/* What one rendering needs at every step. */
typedef struct {
    const Tokenizer *tokenizer;
    Tokens *ids, *trained; /* trained may be NULL */
    int32_t markers[CHAT_ROLE_COUNT], end;
    Buf text;
    Error *err;
} Rendering;

static bool find_marker(const Rendering *r, const char *marker, int32_t *id)
{
    return tokenizer_special(r->tokenizer, marker, id) ||
           fail(r->err, ERR_INPUT, "the tokenizer has no special token '%s', which the chat "
                "template needs", marker);
}

static bool check_roles(const ChatMessage *messages, size_t count, bool add_generation_prompt,
                        Error *err)
{
    if (!count)
        return fail(err, ERR_INPUT, "message 1: there is no message");
    size_t start = messages[0].role == CHAT_SYSTEM;
    for (size_t i = start; i < count; i++) {
        ChatRole want = (i - start) % 2 ? CHAT_ASSISTANT : CHAT_USER;
        if ((unsigned)messages[i].role >= CHAT_ROLE_COUNT)
            return fail(err, ERR_INPUT, "message %zu: its role is unknown", i + 1);
        if (messages[i].role != want)
            return fail(err, ERR_INPUT, "message %zu: the role is %s, here must stand %s", i + 1,
                        chat_role_names[messages[i].role], chat_role_names[want]);
    }
    ChatRole last = messages[count - 1].role, want = add_generation_prompt ? CHAT_USER
                                                                          : CHAT_ASSISTANT;
    if (last != want)
        return fail(err, ERR_INPUT, "message %zu: the last role is %s, it must be %s", count,
                    chat_role_names[last], chat_role_names[want]);
    return true;
}

static void add_marker(Rendering *r, int32_t id, bool trained)
{
    tokens_add(r->ids, id);
    if (r->trained)
        tokens_add(r->trained, trained);
}

/* Encodes r->text; ids that begin at or after `header` bytes are marked trained when asked. */
static bool add_text(Rendering *r, size_t header, bool trained)
{
    size_t from = r->ids->count, at = 0;
    if (!buf_ok(&r->text, "the message", r->err) ||
        !tokenizer_encode(r->tokenizer, r->text.data, r->text.size, r->ids, r->err))
        return false;
    for (size_t i = from; i < r->ids->count && r->trained; i++) {
        size_t size = 0;
        (void)tokenizer_bytes(r->tokenizer, r->ids->ids[i], &size);
        tokens_add(r->trained, trained && at >= header);
        at += size;
    }
    return true;
}

static bool add_message(Rendering *r, const ChatMessage *message)
{
    bool trained = message->role == CHAT_ASSISTANT && !message->muted;
    add_marker(r, r->markers[message->role], false);
    buf_reset(&r->text);
    buf_add_char(&r->text, '\n');
    buf_add(&r->text, message->content, message->size);
    if (!add_text(r, 1, trained))
        return false;
    add_marker(r, r->end, trained);
    buf_reset(&r->text);
    buf_add_char(&r->text, '\n');
    return add_text(r, 0, false);
}

static bool render(Rendering *r, const ChatMessage *messages, size_t count,
                   bool add_generation_prompt)
{
    for (size_t i = 0; i < count; i++)
        if (!add_message(r, &messages[i]))
            return fail_within(r->err, "message %zu", i + 1);
    if (add_generation_prompt) {
        add_marker(r, r->markers[CHAT_ASSISTANT], false);
        buf_reset(&r->text);
        buf_add_char(&r->text, '\n');
        if (!add_text(r, 0, false))
            return false;
    }
    if (r->ids->failed || (r->trained && r->trained->failed))
        return fail(r->err, ERR_LIMIT, "the messages have more than %zu tokens, or no memory is "
                    "left", r->ids->limit);
    return true;
}

static bool render_built(const ChatTemplate *t, const Tokenizer *tokenizer,
                         const ChatMessage *messages, size_t count, bool add_generation_prompt,
                         Tokens *ids, Tokens *trained, Error *err)
{
    Rendering r = {.tokenizer = tokenizer, .ids = ids, .trained = trained, .err = err};
    if (!check_roles(messages, count, add_generation_prompt, err) ||
        !find_marker(&r, t->end_marker, &r.end))
        return false;
    for (size_t i = 0; i < CHAT_ROLE_COUNT; i++)
        if (!find_marker(&r, t->role_markers[i], &r.markers[i]))
            return false;
    size_t keep_ids = ids->count, keep_trained = trained ? trained->count : 0;
    buf_init(&r.text, TEXT_BYTES_MAX);
    bool done = render(&r, messages, count, add_generation_prompt);
    buf_done(&r.text);
    if (!done) {
        ids->count = keep_ids;
        ids->failed = false;
        if (trained) {
            trained->count = keep_trained;
            trained->failed = false;
        }
    }
    return done;
}

bool chat_render(const ChatTemplate *t, const Tokenizer *tokenizer, const ChatMessage *messages,
                 size_t count, bool add_generation_prompt, Tokens *ids, Tokens *trained,
                 Error *err)
{
    auto_json json_t *list = NULL;
    if (!t->foreign)
        return render_built(t, tokenizer, messages, count, add_generation_prompt, ids, trained,
                            err);
    ChatRequest request = {.add_generation_prompt = add_generation_prompt};
    if (!chat_messages_to_json(messages, count, &list, err))
        return false;
    request.messages = list;
    return chat_jinja_render(t->foreign, &request, ids, trained, err);
}

/* ---- requests ---- */

/* The small form of normal messages, borrowed from them. */
static bool small_messages(const json_t *list, const bool *muted, ChatMessage *out, Error *err)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *message = json_array_get(list, i);
        const json_t *content = json_object_get(message, "content");
        const char *role = json_string_value(json_object_get(message, "role"));
        ChatRole at = 0;
        while (at < CHAT_ROLE_COUNT && strcmp(chat_role_names[at], role))
            at++;
        if (at == CHAT_ROLE_COUNT)
            return fail(err, ERR_INPUT, "message %zu: the chat template has no role '%.40s'",
                        i + 1, role);
        if (!json_is_string(content) || json_object_get(message, "tool_calls"))
            return fail(err, ERR_INPUT, "message %zu: the chat template takes text alone, and no "
                        "calls of tools", i + 1);
        out[i] = (ChatMessage){at, json_string_value(content), json_string_length(content),
                               muted[i]};
    }
    return true;
}

static bool render_small(const ChatTemplate *t, const Tokenizer *tokenizer,
                         const ChatRequest *request, Tokens *ids, Tokens *trained, Error *err)
{
    size_t count = json_array_size(request->messages);
    auto_json json_t *list = NULL;
    auto_free bool *muted = mem_alloc(count, sizeof *muted);
    auto_free ChatMessage *messages = mem_alloc(count, sizeof *messages);
    if (!muted || !messages)
        return fail(err, ERR_MEMORY, "no memory for the messages");
    if (json_array_size(request->tools) || json_array_size(request->documents))
        return fail(err, ERR_INPUT, "the chat template '%s' takes no tools and no documents",
                    t->name);
    return chat_normal_messages(request->messages, false, &list, muted, err) &&
           small_messages(list, muted, messages, err) &&
           render_built(t, tokenizer, messages, count, request->add_generation_prompt, ids,
                        trained, err);
}

bool chat_render_request(const ChatTemplate *t, const Tokenizer *tokenizer,
                         const ChatRequest *request, Tokens *ids, Tokens *trained, Error *err)
{
    if (!t->foreign)
        return render_small(t, tokenizer, request, ids, trained, err);
    return chat_jinja_render(t->foreign, request, ids, trained, err);
}
