/* jinja_text_filters.c: the filters of one text. What is no text yet becomes one, as str() has it. */
#include "text/jinja_strings.h"
#include "text/utf8.h"

#include <string.h>

static bool filter_trim(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    const JinjaString *s;
    (void)rest;
    return string_of(r, a[0], &s) && string_strip(r, s, a[1], STRIP_LEFT | STRIP_RIGHT, out);
}

static bool filter_case(JinjaRender *r, JinjaValue v, StringCase how, JinjaValue *out)
{
    const JinjaString *s;
    return string_of(r, v, &s) && string_case(r, s, how, out);
}

static bool filter_lower(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    (void)rest;
    return filter_case(r, a[0], CASE_LOWER, out);
}

static bool filter_upper(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    (void)rest;
    return filter_case(r, a[0], CASE_UPPER, out);
}

static bool filter_capitalize(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                              JinjaValue *out)
{
    (void)rest;
    return filter_case(r, a[0], CASE_CAPITAL, out);
}

static bool filter_title(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    (void)rest;
    return filter_case(r, a[0], CASE_WORDS, out);
}

static bool filter_replace(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                           JinjaValue *out)
{
    const JinjaString *s, *old, *new;
    int64_t most;
    (void)rest;
    return string_of(r, a[0], &s) && string_of(r, a[1], &old) && string_of(r, a[2], &new) &&
           whole_argument(r, a[3], -1, &most) && string_replace(r, s, old, new, most, out);
}

static bool filter_center(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                          JinjaValue *out)
{
    JinjaValue b[3] = {a[0], a[1]};
    const JinjaString *s;
    (void)rest;
    if (!string_of(r, a[0], &s))
        return false;
    b[0] = (JinjaValue){.kind = J_STRING, .string = s};
    if (a[1].kind == J_ABSENT)
        b[1] = value_int(80, 0);
    return string_fill(r, b, 0, out);
}

static bool filter_string(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                          JinjaValue *out)
{
    const JinjaString *s;
    (void)rest;
    *out = (JinjaValue){.kind = J_STRING};
    if (!string_of(r, a[0], &s))
        return false;
    out->string = s;
    return true;
}

static bool filter_safe(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    const JinjaString *s;
    if (!string_of(r, a[0], &s) || !string_slice(r, s, 0, s->size, out))
        return false;
    ((JinjaString *)out->string)->markup = true;
    return true;
}

static bool filter_escape(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                          JinjaValue *out)
{
    const JinjaString *s;
    (void)rest;
    if (!string_of(r, a[0], &s))
        return false;
    if (s->markup)
        return string_slice(r, s, 0, s->size, out);
    return string_escape(r, s, out);
}

static bool filter_forceescape(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                               JinjaValue *out)
{
    const JinjaString *s;
    (void)rest;
    return string_of(r, a[0], &s) && string_escape(r, s, out);
}

static bool filter_format(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                          JinjaValue *out)
{
    JinjaValue values;
    const JinjaString *s;
    if (!string_of(r, a[0], &s))
        return false;
    if (rest->keyword_count) {
        if (rest->count)
            return jinja_fail(r, ERR_INPUT, "format takes values or names, not both");
        if (!dict_new(r, J_DICT, &values))
            return false;
        for (uint32_t i = 0; i < rest->keyword_count; i++) {
            JinjaValue key = {.kind = J_STRING, .string = rest->keywords[i].name};
            if (!dict_set(r, values.dict, key, rest->keywords[i].value))
                return false;
        }
        return format_percent(r, s, values, out);
    }
    if (!list_new(r, J_TUPLE, rest->count, &values))
        return false;
    for (uint32_t i = 0; i < rest->count; i++)
        if (!list_add(r, values.list, rest->plain[i]))
            return false;
    return format_percent(r, s, values, out);
}

static bool filter_wordcount(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                             JinjaValue *out)
{
    const JinjaString *s;
    int64_t count = 0;
    bool inside = false;
    uint32_t length;
    (void)rest;
    if (!string_of(r, a[0], &s))
        return false;
    for (size_t at = 0; at < s->size; at += length) {
        uint32_t c = utf8_next((const uint8_t *)s->bytes + at, &length);
        bool word = char_is_alnum(c) || c == '_';
        count += word && !inside;
        inside = word;
    }
    *out = value_int(count, ORIGIN_DATA);
    return jinja_steps(r, s->size / 16);
}

/* indent(width=4, first=false, blank=false): width may be a text. */
static bool filter_indent(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                          JinjaValue *out)
{
    const JinjaString *s, *by;
    bool first = false, blank = false;
    JinjaOut text = {0}, blanks = {0};
    JinjaValue lines, made;
    (void)rest;
    if (!string_of(r, a[0], &s) || (a[2].kind != J_ABSENT && !value_truth(r, a[2], &first)) ||
        (a[3].kind != J_ABSENT && !value_truth(r, a[3], &blank)))
        return false;
    int64_t width = a[1].kind == J_ABSENT ? 4 : value_is_whole(a[1]) ? value_whole(a[1]) : 0;
    if (a[1].kind == J_STRING)
        by = a[1].string;
    else if (!out_repeat(r, &blanks, " ", 1, width) || !out_string(r, &blanks, &made))
        return false;
    else
        by = made.string;
    if (!string_lines(r, s, false, &lines))
        return false;
    if (s->size && strchr("\n\r", s->bytes[s->size - 1]) &&
        !string_part(r, lines, s, s->size, s->size))
        return false; /* Jinja adds a line end, so that the last one is not lost */
    for (size_t i = 0; i < lines.list->count; i++) {
        const JinjaString *line = lines.list->items[i].string;
        bool indented = (i || first) && (blank || line->size || (i == 0 && first));
        if ((i && !out_add(r, &text, "\n", 1, string_origin(s))) ||
            (indented && !out_add_string(r, &text, by)) || !out_add_string(r, &text, line))
            return false;
    }
    if (!lines.list->count && first && !out_add_string(r, &text, by))
        return false;
    return out_string(r, &text, out);
}

/* truncate(length=255, killwords=false, end='...', leeway=5) */
static bool filter_truncate(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                            JinjaValue *out)
{
    const JinjaString *s, *end;
    JinjaValue dots, kept;
    JinjaOut text = {0};
    int64_t length, leeway;
    bool kill = false;
    (void)rest;
    if (!string_of(r, a[0], &s) || !whole_argument(r, a[1], 255, &length) ||
        (a[2].kind != J_ABSENT && !value_truth(r, a[2], &kill)) || !text_argument(r, a[3], &end) ||
        !whole_argument(r, a[4], 5, &leeway) || !string_make(r, "...", 3, 0, &dots))
        return false;
    end = end ? end : dots.string;
    int64_t tail = (int64_t)string_chars(end);
    if (length < tail || leeway < 0)
        return jinja_fail(r, ERR_INPUT, "truncate() is given a length below its end");
    if ((int64_t)string_chars(s) <= length + leeway)
        return string_slice(r, s, 0, s->size, out);
    size_t cut = string_at(s, (size_t)(length - tail)), space = cut;
    while (!kill && space > 0 && s->bytes[space - 1] != ' ')
        space--;
    if (!kill && space > 0)
        cut = space - 1;
    return string_slice(r, s, 0, cut, &kept) && out_add_string(r, &text, kept.string) &&
           out_add_string(r, &text, end) && out_string(r, &text, out);
}

static bool filter_urlencode(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                             JinjaValue *out)
{
    const JinjaString *s;
    JinjaOut text = {0};
    (void)rest;
    if (a[0].kind != J_STRING && !value_is_number(a[0]))
        return jinja_fail(r, ERR_INPUT, "urlencode of a %s is not supported", value_type(a[0]));
    if (!string_of(r, a[0], &s))
        return false;
    for (size_t i = 0; i < s->size; i++) {
        uint8_t c = (uint8_t)s->bytes[i];
        bool plain = (c < 128 && (char_is_letter(c) || char_is_decimal(c))) || (c && strchr("_.-~/", c));
        char code[3] = {'%', "0123456789ABCDEF"[c >> 4], "0123456789ABCDEF"[c & 15]};
        if (!out_add(r, &text, plain ? s->bytes + i : code, plain ? 1 : 3, string_origin(s)))
            return false;
    }
    return out_string(r, &text, out);
}

const JinjaCallable jinja_text_filters[] = {
    {"trim", filter_trim, "chars", 0},
    {"lower", filter_lower, "", 0},
    {"upper", filter_upper, "", 0},
    {"capitalize", filter_capitalize, "", 0},
    {"title", filter_title, "", 0},
    {"replace", filter_replace, "old new count", 2},
    {"string", filter_string, "", 0},
    {"safe", filter_safe, "", 0},
    {"escape", filter_escape, "", 0},
    {"e", filter_escape, "", 0},
    {"forceescape", filter_forceescape, "", 0},
    {"format", filter_format, "*", 0},
    {"center", filter_center, "width", 0},
    {"wordcount", filter_wordcount, "", 0},
    {"indent", filter_indent, "width first blank", 0},
    {"truncate", filter_truncate, "length killwords end leeway", 0},
    {"urlencode", filter_urlencode, "", 0},
    {NULL, NULL, NULL, 0},
};
