/* jinja_text.c: strings with an origin for every byte, and values as Python prints them. */
#include "text/jinja_model.h"
#include "text/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

/* ---- strings ---- */

bool string_make(JinjaRender *r, const char *bytes, size_t size, uint8_t origin, JinjaValue *out)
{
    JinjaString *s = jinja_alloc(r, 1, sizeof *s);
    if (!s)
        return false;
    s->bytes = bytes;
    s->size = size;
    s->origin = origin;
    *out = (JinjaValue){.kind = J_STRING, .string = s};
    return true;
}

bool string_slice(JinjaRender *r, const JinjaString *s, size_t from, size_t to, JinjaValue *out)
{
    JinjaString *part = jinja_alloc(r, 1, sizeof *part);
    if (!part)
        return false;
    *part = *s;
    part->bytes = s->bytes + from;
    part->origins = s->origins ? s->origins + from : NULL;
    part->size = to - from;
    *out = (JinjaValue){.kind = J_STRING, .string = part};
    return true;
}

uint8_t string_origin(const JinjaString *s)
{
    uint8_t all = s->origins ? 0 : s->origin;
    for (size_t i = 0; s->origins && i < s->size; i++)
        all |= s->origins[i];
    return all;
}

size_t string_chars(const JinjaString *s)
{
    size_t count = 0;
    for (size_t i = 0; i < s->size; i++)
        count += ((uint8_t)s->bytes[i] & 0xc0) != 0x80;
    return count;
}

size_t string_at(const JinjaString *s, size_t character)
{
    size_t at = 0;
    for (; at < s->size; at++)
        if (((uint8_t)s->bytes[at] & 0xc0) != 0x80 && character-- == 0)
            break;
    return at;
}

bool string_of(JinjaRender *r, JinjaValue v, const JinjaString **out)
{
    JinjaOut text = {0};
    JinjaValue made;
    if (v.kind == J_STRING) {
        *out = v.string;
        return true;
    }
    if (!out_value(r, &text, v) || !out_string(r, &text, &made))
        return false;
    *out = made.string;
    return true;
}

/* ---- building ---- */

static size_t room_for(size_t room, size_t needed)
{
    room = room ? room : 64;
    while (room < needed)
        room *= 2;
    return room;
}

/* From now on every byte has its own origin. */
static bool out_mix(JinjaRender *r, JinjaOut *out, size_t needed)
{
    if (out->origins && out->origin_room >= needed)
        return true;
    size_t room = room_for(out->room, needed);
    uint8_t *more = jinja_alloc(r, room, 1);
    if (!more)
        return false;
    if (out->origins)
        memcpy(more, out->origins, out->size);
    else if (out->size)
        memset(more, out->origin, out->size);
    out->origins = more;
    out->origin_room = room;
    return true;
}

static bool out_reserve(JinjaRender *r, JinjaOut *out, size_t size)
{
    if (size > r->output_max || out->size > r->output_max - size)
        return jinja_fail(r, ERR_LIMIT, "a text gets longer than %zu bytes", r->output_max);
    size_t needed = out->size + size;
    if (needed > out->room) {
        size_t room = room_for(out->room, needed);
        char *more = jinja_alloc(r, room, 1);
        if (!more)
            return false;
        if (out->size)
            memcpy(more, out->bytes, out->size);
        out->bytes = more;
        out->room = room;
    }
    return jinja_steps(r, 1 + size / 16);
}

bool out_add(JinjaRender *r, JinjaOut *out, const char *bytes, size_t size, uint8_t origin)
{
    if (!size)
        return true;
    if (!out_reserve(r, out, size))
        return false;
    if (!out->size)
        out->origin = origin;
    if (out->origins || origin != out->origin) {
        if (!out_mix(r, out, out->size + size))
            return false;
        memset(out->origins + out->size, origin, size);
    }
    memcpy(out->bytes + out->size, bytes, size);
    out->size += size;
    return true;
}

bool out_add_string(JinjaRender *r, JinjaOut *out, const JinjaString *s)
{
    if (!s->origins)
        return out_add(r, out, s->bytes, s->size, s->origin);
    if (!s->size)
        return true;
    if (!out_reserve(r, out, s->size) || !out_mix(r, out, out->size + s->size))
        return false;
    memcpy(out->origins + out->size, s->origins, s->size);
    memcpy(out->bytes + out->size, s->bytes, s->size);
    out->size += s->size;
    return true;
}

bool out_string(JinjaRender *r, const JinjaOut *out, JinjaValue *v)
{
    if (!string_make(r, out->size ? out->bytes : "", out->size, out->origin, v))
        return false;
    ((JinjaString *)v->string)->origins = out->origins;
    return true;
}

/* ---- printing ---- */

/* The fewest digits that read back as the same number, then Python's choice of form. */
size_t real_text(double real, char out[40])
{
    char digits[40];
    if (isnan(real) || isinf(real))
        return (size_t)snprintf(out, 40, "%s", isnan(real) ? "nan" : real < 0 ? "-inf" : "inf");
    int precision = 0;
    do
        snprintf(digits, sizeof digits, "%.*e", precision, real);
    while (strtod(digits, NULL) != real && ++precision < 17);
    char *e = strchr(digits, 'e');
    int power = (int)strtol(e + 1, NULL, 10);
    if (power < -4 || power >= 16) {
        *e = 0;
        return (size_t)snprintf(out, 40, "%se%c%02d", digits, power < 0 ? '-' : '+', abs(power));
    }
    int decimals = precision > power ? precision - power : 0;
    size_t size = (size_t)snprintf(out, 40, "%.*f", decimals, real);
    if (!decimals)
        size += (size_t)snprintf(out + size, 40 - size, ".0");
    return size;
}

static bool printable(uint32_t c)
{
    if (c < 0x7f)
        return c >= 32;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

static bool repr_string(JinjaRender *r, JinjaOut *out, const JinjaString *s)
{
    uint8_t origin = string_origin(s);
    bool doubled = memchr(s->bytes, '\'', s->size) && !memchr(s->bytes, '"', s->size);
    char quote = doubled ? '"' : '\'';
    if (!out_add(r, out, &quote, 1, origin))
        return false;
    for (size_t at = 0; at < s->size;) {
        uint32_t length, c = utf8_next((const uint8_t *)s->bytes + at, &length);
        static const char plain[] = "\n\r\t\\", letters[] = "nrt\\";
        char text[12];
        const char *escape = c && c < 128 ? strchr(plain, (int)c) : NULL;
        if (escape)
            snprintf(text, sizeof text, "\\%c", letters[escape - plain]);
        else if (c == (uint32_t)quote)
            snprintf(text, sizeof text, "\\%c", quote);
        else if (printable(c))
            text[0] = 0;
        else if (c < 256)
            snprintf(text, sizeof text, "\\x%02x", c);
        else
            snprintf(text, sizeof text, c < 65536 ? "\\u%04x" : "\\U%08x", c);
        if (!(text[0] ? out_add(r, out, text, strlen(text), origin)
                      : out_add(r, out, s->bytes + at, length, origin)))
            return false;
        at += length;
    }
    return out_add(r, out, &quote, 1, origin);
}

static bool repr_list(JinjaRender *r, JinjaOut *out, const JinjaList *list, const char *open,
                      const char *close)
{
    if (!out_add(r, out, open, strlen(open), 0))
        return false;
    for (size_t i = 0; i < list->count; i++)
        if ((i && !out_add(r, out, ", ", 2, 0)) || !out_repr(r, out, list->items[i]))
            return false;
    return out_add(r, out, close, strlen(close), 0);
}

static bool repr_dict(JinjaRender *r, JinjaOut *out, const JinjaDict *dict)
{
    if (!out_add(r, out, "{", 1, 0))
        return false;
    for (uint32_t i = 0; i < dict->count; i++)
        if ((i && !out_add(r, out, ", ", 2, 0)) || !out_repr(r, out, dict->keys[i]) ||
            !out_add(r, out, ": ", 2, 0) || !out_repr(r, out, dict->values[i]))
            return false;
    return out_add(r, out, "}", 1, 0);
}

static bool repr_range(JinjaRender *r, JinjaOut *out, const JinjaList *list)
{
    char text[80];
    const int64_t *range = list->range;
    int size = range[2] == 1
                   ? snprintf(text, sizeof text, "range(%lld, %lld)", (long long)range[0],
                              (long long)range[1])
                   : snprintf(text, sizeof text, "range(%lld, %lld, %lld)", (long long)range[0],
                              (long long)range[1], (long long)range[2]);
    return out_add(r, out, text, (size_t)size, ORIGIN_DATA);
}

static bool repr_parts(JinjaRender *r, JinjaOut *out, JinjaValue v)
{
    switch (v.kind) {
    case J_LIST:
        return repr_list(r, out, v.list, "[", "]");
    case J_TUPLE:
        return repr_list(r, out, v.list, "(", v.list->count == 1 ? ",)" : ")");
    case J_VIEW:
        return repr_list(r, out, v.list, "dict_items([", "])");
    case J_RANGE:
        return repr_range(r, out, v.list);
    case J_DICT:
        return repr_dict(r, out, v.dict);
    default:
        return jinja_fail(r, ERR_INPUT, "a %s cannot be printed", value_type(v));
    }
}

/* What has parts is data as a whole as soon as one of them is. */
static bool repr_whole(JinjaRender *r, JinjaOut *out, JinjaValue v)
{
    JinjaOut inner = {0};
    JinjaValue made;
    if (!jinja_enter(r))
        return false;
    bool good = repr_parts(r, &inner, v) && out_string(r, &inner, &made);
    jinja_leave(r);
    return good && out_add(r, out, inner.bytes, inner.size, string_origin(made.string));
}

static bool out_plain(JinjaRender *r, JinjaOut *out, JinjaValue v)
{
    char text[40];
    int size;
    if (v.kind == J_NONE)
        size = snprintf(text, sizeof text, "None");
    else if (v.kind == J_BOOL)
        size = snprintf(text, sizeof text, "%s", v.boolean ? "True" : "False");
    else if (v.kind == J_INT)
        size = snprintf(text, sizeof text, "%lld", (long long)v.integer);
    else
        size = (int)real_text(v.real, text);
    return out_add(r, out, text, (size_t)size, v.origin);
}

bool out_value(JinjaRender *r, JinjaOut *out, JinjaValue v)
{
    switch (v.kind) {
    case J_UNDEFINED:
        return true;
    case J_NONE:
    case J_BOOL:
    case J_INT:
    case J_FLOAT:
        return out_plain(r, out, v);
    case J_STRING:
        return out_add_string(r, out, v.string);
    default:
        return repr_whole(r, out, v);
    }
}

bool out_repr(JinjaRender *r, JinjaOut *out, JinjaValue v)
{
    if (v.kind == J_STRING)
        return repr_string(r, out, v.string);
    if (v.kind == J_UNDEFINED)
        return out_add(r, out, "Undefined", 9, 0);
    if (v.kind >= J_NONE && v.kind <= J_FLOAT)
        return out_plain(r, out, v);
    if (!jinja_enter(r))
        return false;
    bool good = repr_parts(r, out, v);
    jinja_leave(r);
    return good;
}
