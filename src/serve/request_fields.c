/* request_fields.c: see request_fields.h. */
#include "serve/request_fields.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGES_MAX = 1024, METADATA_MAX = 16 };

bool refuse(Reader *r, Fault fault, const char *param, const char *format, ...)
{
    char text[sizeof r->err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->fault->fault = fault;
    snprintf(r->fault->param, sizeof r->fault->param, "%s", param);
    return fail(r->err, fault == FAULT_SERVER ? ERR_MEMORY : ERR_INPUT, "%s", text);
}

static bool no_memory(Reader *r)
{
    return refuse(r, FAULT_SERVER, "", "no memory for this request");
}

static bool copy_text(Reader *r, const json_t *value, WireText *out)
{
    size_t size = json_string_length(value);
    char *copy = arena_copy_text(r->arena, json_string_value(value), size);
    if (!copy)
        return no_memory(r);
    *out = (WireText){copy, (uint32_t)size};
    return true;
}

/* ---- plain values ---- */

bool field_bool(Reader *r, const RequestField *field, const json_t *value)
{
    if (!json_is_boolean(value))
        return refuse(r, FAULT_VALUE, field->name, "field '%s' must be true or false", field->name);
    *(bool *)((char *)&r->draft + field->offset) = json_is_true(value);
    return true;
}

bool field_count(Reader *r, const RequestField *field, const json_t *value)
{
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < (json_int_t)field->low ||
        number > (json_int_t)field->high)
        return refuse(r, FAULT_VALUE, field->name,
                      "field '%s' must be a whole number from %.0f to %.0f", field->name,
                      field->low, field->high);
    *(uint32_t *)(void *)((char *)&r->draft + field->offset) = (uint32_t)number;
    return true;
}

bool field_sampling(Reader *r, const SamplerOption *option, const char *name, const json_t *value)
{
    char label[REQUEST_PARAM_ROOM];
    Error err;
    snprintf(label, sizeof label, "field '%s'", name);
    if (!sampler_option_read(&r->draft.sampling, option, value, label, r->arena, &err))
        return refuse(r, err.code == ERR_MEMORY ? FAULT_SERVER : FAULT_VALUE, name, "%s", err.text);
    r->draft.seeded |= option->kind == OPTION_SEED;
    return true;
}

bool field_model(Reader *r, const RequestField *field, const json_t *value)
{
    WireText text = {0};
    if (!json_is_string(value) || json_string_length(value) == 0 ||
        json_string_length(value) > 256 ||
        memchr(json_string_value(value), 0, json_string_length(value)))
        return refuse(r, FAULT_VALUE, field->name, "field 'model' must be the name of a model");
    if (!copy_text(r, value, &text))
        return false;
    r->draft.model = text.text;
    return true;
}

/* ---- what ends an answer, how it streams ---- */

bool field_stop(Reader *r, const RequestField *field, const json_t *value)
{
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    bool ok = count <= WIRE_STOPS_MAX;
    for (size_t i = 0; ok && i < count; i++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        size_t size = json_string_length(item);
        ok = json_is_string(item) && size > 0 && size <= WIRE_STOP_BYTES_MAX &&
             !memchr(json_string_value(item), 0, size);
        if (ok && !copy_text(r, item, &r->draft.stops[i]))
            return false;
    }
    if (!ok)
        return refuse(r, FAULT_VALUE, field->name,
                      "field 'stop' must be a text or up to %d texts of 1 to %d bytes without NUL",
                      WIRE_STOPS_MAX, WIRE_STOP_BYTES_MAX);
    r->draft.stop_count = (uint32_t)count;
    return true;
}

bool field_stream_options(Reader *r, const RequestField *field, const json_t *value)
{
    if (!json_is_object(value))
        return refuse(r, FAULT_VALUE, field->name, "field 'stream_options' must be an object");
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)value, name, member) {
        bool usage = strcmp(name, "include_usage") == 0;
        if (!usage && strcmp(name, "include_obfuscation") != 0)
            return refuse(r, FAULT_UNKNOWN, "stream_options",
                          "unknown field '%.64s' in 'stream_options'", name);
        if (json_is_null(member))
            continue;
        if (!json_is_boolean(member))
            return refuse(r, FAULT_VALUE, "stream_options",
                          "field 'stream_options.%s' must be true or false", name);
        if (usage)
            r->draft.include_usage = json_is_true(member);
        else if (json_is_true(member))
            return refuse(r, FAULT_UNSUPPORTED, "stream_options",
                          "field 'stream_options.include_obfuscation' is not offered: streams are "
                          "not padded here");
    }
    r->draft.streams_options = true;
    return true;
}

/* ---- accepted without effect, or refused because they would have one ---- */

bool field_any(Reader *r, const RequestField *field, const json_t *value)
{
    (void)value;
    (void)field;
    (void)r;
    return true;
}

bool field_text(Reader *r, const RequestField *field, const json_t *value)
{
    if (!json_is_string(value) || json_string_length(value) > (size_t)field->high)
        return refuse(r, FAULT_VALUE, field->name,
                      "field '%s' must be a text of at most %.0f bytes", field->name, field->high);
    return true;
}

bool field_metadata(Reader *r, const RequestField *field, const json_t *value)
{
    bool ok = json_is_object(value) && json_object_size(value) <= METADATA_MAX;
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
        ok = ok && json_is_string(member) && json_string_length(member) <= 512 &&
             strlen(name) <= 64;
    return ok || refuse(r, FAULT_VALUE, field->name,
                        "field 'metadata' must be an object of at most %d texts, names up to 64 "
                        "and texts up to 512 bytes",
                        METADATA_MAX);
}

/* True when word is one of the space-separated list. */
static bool among(const char *list, const char *word)
{
    size_t size = strlen(word);
    for (const char *at = list; size && (at = strstr(at, word)); at += size)
        if ((at == list || at[-1] == ' ') && (at[size] == ' ' || !at[size]))
            return true;
    return false;
}

bool field_word(Reader *r, const RequestField *field, const json_t *value)
{
    if (json_is_string(value) && among(field->words, json_string_value(value)))
        return true;
    return refuse(r, json_is_string(value) || json_is_object(value) ? FAULT_UNSUPPORTED
                                                                    : FAULT_VALUE,
                  field->name, "field '%s' is supported here only as: %s", field->name,
                  field->words);
}

bool field_empty(Reader *r, const RequestField *field, const json_t *value)
{
    if ((json_is_array(value) && json_array_size(value) == 0) ||
        (json_is_object(value) && json_object_size(value) == 0) ||
        (json_is_string(value) && json_string_length(value) == 0))
        return true;
    return refuse(r, FAULT_UNSUPPORTED, field->name,
                  "field '%s' is not offered by this server: leave it out", field->name);
}

bool field_false(Reader *r, const RequestField *field, const json_t *value)
{
    if (json_is_false(value))
        return true;
    return refuse(r, json_is_true(value) ? FAULT_UNSUPPORTED : FAULT_VALUE, field->name,
                  "field '%s' must be false: %s", field->name, field->note);
}

bool field_format(Reader *r, const RequestField *field, const json_t *value)
{
    const char *type = json_string_value(json_object_get(value, "type"));
    if (!type)
        return refuse(r, FAULT_VALUE, field->name,
                      "field 'response_format' must be an object with a text 'type'");
    return strcmp(type, "text") == 0 ||
           refuse(r, FAULT_UNSUPPORTED, field->name,
                  "field 'response_format' is supported here only with type 'text'");
}

bool field_modalities(Reader *r, const RequestField *field, const json_t *value)
{
    const char *word = json_string_value(json_array_get(value, 0));
    return (json_array_size(value) == 1 && word && strcmp(word, "text") == 0) ||
           refuse(r, FAULT_UNSUPPORTED, field->name,
                  "field 'modalities' is supported here only as [\"text\"]");
}

/* ---- prompts ---- */

static bool read_ids(Reader *r, const json_t *list, WirePart *part)
{
    size_t count = json_array_size(list);
    int32_t *ids = arena_alloc(r->arena, count, sizeof *ids);
    if (!ids)
        return no_memory(r);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        json_int_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < 0 || id > INT32_MAX)
            return refuse(r, FAULT_VALUE, "prompt", "token ids in 'prompt' must be whole numbers "
                          "from 0 to %d", INT32_MAX);
        ids[i] = (int32_t)id;
    }
    *part = (WirePart){.kind = PART_IDS, .ids = ids, .count = (uint32_t)count};
    return count > 0 || refuse(r, FAULT_VALUE, "prompt", "field 'prompt' is empty");
}

static bool read_prompt_part(Reader *r, const json_t *value, WirePart *part)
{
    if (json_is_array(value))
        return read_ids(r, value, part);
    if (!json_is_string(value))
        return refuse(r, FAULT_VALUE, "prompt", "field 'prompt' must be a text, a list of texts, a "
                      "list of token ids, or a list of such lists");
    part->kind = PART_TEXT;
    return json_string_length(value) > 0 ? copy_text(r, value, &part->text)
                                         : refuse(r, FAULT_VALUE, "prompt",
                                                  "field 'prompt' is empty");
}

bool field_prompt(Reader *r, const RequestField *field, const json_t *value)
{
    /* [1, 2] is one prompt; ["a", "b"] and [[1], [2]] are two */
    bool many = json_is_array(value) && !json_is_integer(json_array_get(value, 0));
    size_t count = many ? json_array_size(value) : 1;
    if (count == 0 || count > WIRE_CHOICES_MAX)
        return refuse(r, FAULT_VALUE, field->name, "field 'prompt' must hold 1 to %d prompts",
                      WIRE_CHOICES_MAX);
    WirePart *parts = arena_alloc(r->arena, count, sizeof *parts);
    if (!parts)
        return no_memory(r);
    for (size_t i = 0; i < count; i++)
        if (!read_prompt_part(r, many ? json_array_get(value, i) : value, &parts[i]))
            return false;
    r->draft.parts = parts;
    r->draft.part_count = (uint32_t)count;
    return true;
}

/* ---- messages ---- */

static bool refuse_message(Reader *r, size_t index, const char *member, Fault fault,
                           const char *problem)
{
    char param[REQUEST_PARAM_ROOM];
    snprintf(param, sizeof param, "messages[%zu]%s%.40s", index, *member ? "." : "", member);
    return refuse(r, fault, param, "%s %s", param, problem);
}

/* Content given as parts: their texts, one after the other. */
static bool join_parts(Reader *r, size_t index, const json_t *parts, WireText *out)
{
    size_t total = 0, count = json_array_size(parts);
    for (size_t i = 0; i < count; i++) {
        const json_t *part = json_array_get(parts, i);
        const char *type = json_string_value(json_object_get(part, "type"));
        const json_t *text = json_object_get(part, "text");
        if (!type)
            return refuse_message(r, index, "content", FAULT_VALUE,
                                  "must hold objects with a text 'type'");
        if (strcmp(type, "text") != 0)
            return refuse_message(r, index, "content", FAULT_UNSUPPORTED,
                                  "may hold parts of type 'text' only");
        if (!json_is_string(text) || json_object_size(part) != 2)
            return refuse_message(r, index, "content", FAULT_VALUE,
                                  "must hold parts with 'type' and 'text' alone");
        total += json_string_length(text);
    }
    char *joined = arena_alloc(r->arena, total + 1, 1);
    if (!joined)
        return no_memory(r);
    *out = (WireText){joined, (uint32_t)total};
    for (size_t i = 0; i < count; i++) {
        const json_t *text = json_object_get(json_array_get(parts, i), "text");
        memcpy(joined, json_string_value(text), json_string_length(text));
        joined += json_string_length(text);
    }
    return true;
}

typedef struct {
    const char *name;
    PartKind kind;
} RoleRow;

static const RoleRow roles[] = {{"system", PART_SYSTEM}, {"developer", PART_SYSTEM},
                                {"user", PART_USER}, {"assistant", PART_ASSISTANT}};

static bool read_role(Reader *r, size_t index, const json_t *value, PartKind *out)
{
    const char *role = json_string_value(value);
    for (size_t i = 0; role && i < sizeof roles / sizeof *roles; i++) {
        if (strcmp(roles[i].name, role) == 0) {
            *out = roles[i].kind;
            return true;
        }
    }
    bool known = role && (strcmp(role, "tool") == 0 || strcmp(role, "function") == 0);
    return refuse_message(r, index, "role", known ? FAULT_UNSUPPORTED : FAULT_VALUE,
                          known ? "is of a tool: tools are not offered by this server"
                                : "must be system, developer, user or assistant");
}

/* What the answers of an assistant carry when a client sends them back: empty, or nothing. */
static bool empty_member(const json_t *value)
{
    return json_is_null(value) || (json_is_array(value) && json_array_size(value) == 0);
}

static bool read_message(Reader *r, size_t index, const json_t *message, WirePart *part)
{
    if (!json_is_object(message))
        return refuse_message(r, index, "", FAULT_VALUE, "must be an object");
    static const char *const replayed[] = {"refusal", "tool_calls", "function_call", "audio",
                                           "annotations", "name", "tool_call_id"};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)message, name, value) {
        if (strcmp(name, "role") == 0 || strcmp(name, "content") == 0)
            continue;
        bool known = false;
        for (size_t i = 0; i < sizeof replayed / sizeof *replayed; i++)
            known = known || strcmp(replayed[i], name) == 0;
        if (!known)
            return refuse_message(r, index, name, FAULT_UNKNOWN, "is an unknown field");
        if (!empty_member(value))
            return refuse_message(r, index, name, FAULT_UNSUPPORTED,
                                  "is not offered by this server: leave it out");
    }
    if (!read_role(r, index, json_object_get(message, "role"), &part->kind))
        return false;
    const json_t *content = json_object_get(message, "content");
    if (json_is_array(content))
        return join_parts(r, index, content, &part->text);
    if (!json_is_string(content))
        return refuse_message(r, index, "content", content ? FAULT_VALUE : FAULT_MISSING,
                              "must be a text or a list of text parts");
    return copy_text(r, content, &part->text);
}

bool field_messages(Reader *r, const RequestField *field, const json_t *value)
{
    size_t count = json_array_size(value);
    if (count == 0 || count > MESSAGES_MAX)
        return refuse(r, FAULT_VALUE, field->name, "field 'messages' must hold 1 to %d messages",
                      MESSAGES_MAX);
    WirePart *parts = arena_alloc(r->arena, count, sizeof *parts);
    if (!parts)
        return no_memory(r);
    for (size_t i = 0; i < count; i++)
        if (!read_message(r, i, json_array_get(value, i), &parts[i]))
            return false;
    r->draft.parts = parts;
    r->draft.part_count = (uint32_t)count;
    return true;
}
