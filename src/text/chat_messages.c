/* chat_messages.c: the messages of a request in the form that templates expect: no null members,
 * the model's reasoning under all its names, parts of text as the template can take them. */
#include "format/json.h"
#include "text/chat_jinja.h"

#include <string.h>

enum { MESSAGES_MAX = 100000 };

static bool no_memory(Error *err)
{
    return fail(err, ERR_MEMORY, "no memory for the messages");
}

/* Texts of parts, joined by line ends. */
static bool join_parts(const json_t *parts, size_t number, json_t **out, Error *err)
{
    auto_buf Buf text;
    buf_init(&text, JSON_BYTES_MAX);
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i), *words = json_object_get(part, "text");
        if (json_is_string(part))
            words = part;
        if (!json_is_string(words))
            return fail(err, ERR_INPUT, "message %zu: part %zu is no text, and the template takes "
                        "nothing else", number, i + 1);
        if (i)
            buf_add_char(&text, '\n');
        buf_add(&text, json_string_value(words), json_string_length(words));
    }
    if (!buf_ok(&text, "the message", err))
        return false;
    *out = json_stringn(text.data ? text.data : "", text.size);
    return *out || no_memory(err);
}

static bool set_reasoning(json_t *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    json_t *found = NULL;
    for (size_t i = 0; i < 3 && !found; i++)
        found = json_object_get(message, names[i]);
    if (!found)
        return true;
    json_incref(found); /* it may be replaced under its own name */
    bool good = (json_object_get(message, "thinking") ||
                 json_object_set(message, "thinking", found) == 0) &&
                json_object_set(message, "reasoning_content", found) == 0;
    json_decref(found);
    return good;
}

static bool drop_nulls(json_t *message)
{
    void *next;
    for (void *at = json_object_iter(message); at; at = next) {
        next = json_object_iter_next(message, at);
        if (json_is_null(json_object_iter_value(at)) &&
            json_object_deln(message, json_object_iter_key(at), json_object_iter_key_len(at)))
            return false;
    }
    return true;
}

static bool check_message(const json_t *given, size_t number, bool *muted, Error *err)
{
    if (!json_is_object(given))
        return fail(err, ERR_INPUT, "message %zu: it is no object", number);
    if (!json_is_string(json_object_get(given, "role")))
        return fail(err, ERR_INPUT, "message %zu: it has no role", number);
    const json_t *content = json_object_get(given, "content");
    if (content && !json_is_null(content) && !json_is_string(content) && !json_is_array(content))
        return fail(err, ERR_INPUT, "message %zu: its content is neither text nor a list of parts",
                    number);
    const json_t *weight = json_object_get(given, "weight");
    *muted = json_is_number(weight) && json_number_value(weight) == 0;
    return true;
}

static bool normal_message(const json_t *given, size_t number, bool keep_parts, json_t *list,
                           bool *muted, Error *err)
{
    if (!check_message(given, number, muted, err))
        return false;
    auto_json json_t *message = json_copy((json_t *)given);
    if (!message || !drop_nulls(message) || !set_reasoning(message))
        return no_memory(err);
    json_object_del(message, "weight");
    const json_t *content = json_object_get(message, "content");
    if (json_is_array(content) && !keep_parts) {
        json_t *text = NULL;
        if (!join_parts(content, number, &text, err))
            return false;
        if (json_object_set_new(message, "content", text))
            return no_memory(err);
    }
    return json_array_append(list, message) == 0 || no_memory(err);
}

bool chat_normal_messages(json_t *messages, bool keep_parts, json_t **out, bool *muted, Error *err)
{
    if (!json_is_array(messages))
        return fail(err, ERR_INPUT, "the messages are no list");
    if (json_array_size(messages) > MESSAGES_MAX)
        return fail(err, ERR_LIMIT, "there are over %d messages", MESSAGES_MAX);
    auto_json json_t *list = json_array();
    if (!list)
        return no_memory(err);
    for (size_t i = 0; i < json_array_size(messages); i++)
        if (!normal_message(json_array_get(messages, i), i + 1, keep_parts, list, &muted[i], err))
            return false;
    *out = json_incref(list);
    return true;
}

bool chat_messages_to_json(const ChatMessage *messages, size_t count, json_t **out, Error *err)
{
    auto_json json_t *list = json_array();
    if (!list)
        return no_memory(err);
    for (size_t i = 0; i < count; i++) {
        if ((unsigned)messages[i].role >= CHAT_ROLE_COUNT)
            return fail(err, ERR_INPUT, "message %zu: its role is unknown", i + 1);
        json_t *content = json_stringn(messages[i].content ? messages[i].content : "",
                                       messages[i].size);
        if (!content)
            return fail(err, ERR_INPUT, "message %zu: it is not UTF-8, or no memory is left",
                        i + 1);
        json_t *message = json_pack("{s:s,s:o}", "role", chat_role_names[messages[i].role],
                                    "content", content);
        if (!message || (messages[i].muted &&
                         json_object_set_new(message, "weight", json_integer(0))) ||
            json_array_append_new(list, message))
            return no_memory(err);
    }
    *out = json_incref(list);
    return true;
}
