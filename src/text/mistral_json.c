/* mistral_json.c: JSON byte for byte as Python writes it: ", " and ": " between the parts. */
#include "format/json.h"
#include "text/jinja_model.h"
#include "text/mistral_turns.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void mistral_dump_text(const char *text, size_t size, Buf *out)
{
    static const char plain[] = "\"\\\n\r\t\b\f", letters[] = "\"\\nrtbf";
    size_t from = 0;
    buf_add_char(out, '"');
    for (size_t i = 0; i < size; i++) {
        uint8_t c = (uint8_t)text[i];
        const char *found = c ? strchr(plain, c) : NULL;
        if (c >= 32 && !found)
            continue;
        buf_add(out, text + from, i - from);
        if (found)
            buf_format(out, "\\%c", letters[found - plain]);
        else
            buf_format(out, "\\u%04x", c);
        from = i + 1;
    }
    buf_add(out, text + from, size - from);
    buf_add_char(out, '"');
}

static bool dump(const json_t *value, Buf *out, uint32_t depth, Error *err);

static bool dump_members(const json_t *value, Buf *out, uint32_t depth, Error *err)
{
    bool first = true;
    buf_add_char(out, '{');
    for (void *at = json_object_iter((json_t *)value); at;
         at = json_object_iter_next((json_t *)value, at)) {
        if (!first)
            buf_add(out, ", ", 2);
        first = false;
        mistral_dump_text(json_object_iter_key(at), json_object_iter_key_len(at), out);
        buf_add(out, ": ", 2);
        if (!dump(json_object_iter_value(at), out, depth + 1, err))
            return false;
    }
    buf_add_char(out, '}');
    return true;
}

static bool dump_items(const json_t *value, Buf *out, uint32_t depth, Error *err)
{
    buf_add_char(out, '[');
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (i)
            buf_add(out, ", ", 2);
        if (!dump(json_array_get(value, i), out, depth + 1, err))
            return false;
    }
    buf_add_char(out, ']');
    return true;
}

static void dump_real(double real, Buf *out)
{
    char text[40];
    size_t size = real_text(real, text);
    if (isnan(real) || isinf(real))
        size = (size_t)snprintf(text, sizeof text, "%s",
                                isnan(real) ? "NaN" : real > 0 ? "Infinity" : "-Infinity");
    buf_add(out, text, size);
}

static bool dump(const json_t *value, Buf *out, uint32_t depth, Error *err)
{
    if (depth > JSON_DEPTH_MAX)
        return fail(err, ERR_LIMIT, "JSON nests deeper than %d", JSON_DEPTH_MAX);
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return dump_members(value, out, depth, err);
    case JSON_ARRAY:
        return dump_items(value, out, depth, err);
    case JSON_STRING:
        mistral_dump_text(json_string_value(value), json_string_length(value), out);
        return true;
    case JSON_INTEGER:
        buf_format(out, "%lld", (long long)json_integer_value(value));
        return true;
    case JSON_REAL:
        dump_real(json_real_value(value), out);
        return true;
    default:
        buf_add_text(out, json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
        return true;
    }
}

bool mistral_dump(const json_t *value, Buf *out, Error *err)
{
    return dump(value, out, 0, err) && buf_ok(out, "JSON", err);
}

bool mistral_normal_json(const char *text, size_t size, Buf *out, bool *is_json, Error *err)
{
    Error ignored;
    auto_json json_t *value = NULL;
    if (!size) {
        text = "{}";
        size = 2;
    }
    *is_json = json_parse(&value, text, size, "JSON", &ignored);
    if (*is_json)
        return mistral_dump(value, out, err);
    if (ignored.code == ERR_MEMORY)
        return fail(err, ERR_MEMORY, "no memory for JSON");
    buf_add(out, text, size);
    return buf_ok(out, "JSON", err);
}
