/* jinja_json.c: tojson, byte for byte Python's json.dumps, and from_json. */
#include "format/json.h"
#include "text/jinja_model.h"
#include "text/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    JinjaRender *r;
    JinjaOut out;
    const JinjaDump *how;
    uint8_t origin; /* of everything met so far */
    uint32_t level;
} Dump;

static bool dump_value(Dump *d, JinjaValue v);

static bool add(Dump *d, const char *bytes, size_t size)
{
    return out_add(d->r, &d->out, bytes, size, 0);
}

static bool add_text(Dump *d, const char *text)
{
    return add(d, text, strlen(text));
}

static bool dump_escape(Dump *d, uint32_t c)
{
    static const char plain[] = "\"\\\n\r\t\b\f", letters[] = "\"\\nrtbf";
    const char *found = c && c < 128 ? strchr(plain, (int)c) : NULL;
    char text[16];
    if (found)
        snprintf(text, sizeof text, "\\%c", letters[found - plain]);
    else if (c < 0x10000)
        snprintf(text, sizeof text, "\\u%04x", c);
    else
        snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                 0xdc00 + ((c - 0x10000) & 0x3ff));
    return add_text(d, text);
}

static bool dump_string(Dump *d, const JinjaString *s)
{
    d->origin |= string_origin(s);
    if (!add(d, "\"", 1))
        return false;
    size_t from = 0;
    for (size_t at = 0; at < s->size;) {
        uint32_t length, c = utf8_next((const uint8_t *)s->bytes + at, &length);
        bool kept = c >= 32 && c != '"' && c != '\\' && (c < 127 || (!d->how->ascii));
        if (!kept) {
            if ((at > from && !add(d, s->bytes + from, at - from)) || !dump_escape(d, c))
                return false;
            from = at + length;
        }
        at += length;
    }
    return (from == s->size || add(d, s->bytes + from, s->size - from)) && add(d, "\"", 1);
}

static bool dump_plain(Dump *d, JinjaValue v)
{
    char text[40];
    d->origin |= v.origin;
    if (v.kind == J_NONE)
        return add_text(d, "null");
    if (v.kind == J_BOOL)
        return add_text(d, v.boolean ? "true" : "false");
    if (v.kind == J_INT)
        snprintf(text, sizeof text, "%lld", (long long)v.integer);
    else if (isnan(v.real) || isinf(v.real))
        snprintf(text, sizeof text, "%s",
                 isnan(v.real) ? "NaN" : v.real > 0 ? "Infinity" : "-Infinity");
    else
        text[real_text(v.real, text)] = 0;
    return add_text(d, text);
}

static bool dump_break(Dump *d)
{
    if (!d->how->indent)
        return true;
    if (!add(d, "\n", 1))
        return false;
    for (uint32_t i = 0; i < d->level; i++)
        if (!add(d, d->how->indent->bytes, d->how->indent->size))
            return false;
    return true;
}

static bool dump_separator(Dump *d, const JinjaString *given, const char *usual)
{
    if (!given)
        return add_text(d, usual);
    d->origin |= string_origin(given);
    return add(d, given->bytes, given->size);
}

static bool dump_between(Dump *d, bool first)
{
    return (first || dump_separator(d, d->how->item, d->how->indent ? "," : ", ")) &&
           dump_break(d);
}

static bool dump_list(Dump *d, const JinjaList *list)
{
    if (!list->count)
        return add_text(d, "[]");
    if (!add(d, "[", 1))
        return false;
    d->level++;
    for (size_t i = 0; i < list->count; i++)
        if (!dump_between(d, i == 0) || !dump_value(d, list->items[i]))
            return false;
    d->level--;
    return dump_break(d) && add(d, "]", 1);
}

static bool dump_key(Dump *d, JinjaValue key)
{
    if (key.kind == J_STRING)
        return dump_string(d, key.string);
    if (key.kind < J_NONE || key.kind > J_FLOAT)
        return jinja_fail(d->r, ERR_INPUT, "a %s cannot be a key in JSON", value_type(key));
    return add(d, "\"", 1) && dump_plain(d, key) && add(d, "\"", 1);
}

/* order[i]: which pair comes i-th. Insertion by halves: keys are few. */
static bool sort_keys(Dump *d, const JinjaDict *dict, uint32_t *order)
{
    for (uint32_t i = 0; i < dict->count; i++) {
        uint32_t low = 0, high = i;
        while (low < high) {
            uint32_t middle = (low + high) / 2;
            int way;
            if (!value_order(d->r, dict->keys[order[middle]], dict->keys[i], &way))
                return false;
            if (way <= 0)
                low = middle + 1;
            else
                high = middle;
        }
        if (!jinja_steps(d->r, (i - low) / 16))
            return false;
        memmove(order + low + 1, order + low, (i - low) * sizeof *order);
        order[low] = i;
    }
    return true;
}

static bool dump_dict(Dump *d, const JinjaDict *dict)
{
    uint32_t *order = NULL;
    if (!dict->count)
        return add_text(d, "{}");
    if (d->how->sort && (!(order = jinja_alloc(d->r, dict->count, sizeof *order)) ||
                         !sort_keys(d, dict, order)))
        return false;
    if (!add(d, "{", 1))
        return false;
    d->level++;
    for (uint32_t i = 0; i < dict->count; i++) {
        uint32_t at = order ? order[i] : i;
        if (!dump_between(d, i == 0) || !dump_key(d, dict->keys[at]) ||
            !dump_separator(d, d->how->key, ": ") || !dump_value(d, dict->values[at]))
            return false;
    }
    d->level--;
    return dump_break(d) && add(d, "}", 1);
}

static bool dump_value(Dump *d, JinjaValue v)
{
    if (v.kind == J_STRING)
        return dump_string(d, v.string);
    if (v.kind >= J_NONE && v.kind <= J_FLOAT)
        return dump_plain(d, v);
    if (v.kind != J_LIST && v.kind != J_TUPLE && v.kind != J_DICT)
        return value_defined(d->r, v) &&
               jinja_fail(d->r, ERR_INPUT, "a %s cannot be written as JSON", value_type(v));
    if (!jinja_enter(d->r))
        return false;
    bool good = v.kind == J_DICT ? dump_dict(d, v.dict) : dump_list(d, v.list);
    jinja_leave(d->r);
    return good;
}

bool json_of_value(JinjaRender *r, JinjaValue v, const JinjaDump *how, JinjaValue *out)
{
    Dump d = {.r = r, .how = how};
    return dump_value(&d, v) && string_make(r, d.out.bytes, d.out.size, d.origin, out);
}
