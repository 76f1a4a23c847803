/* jinja_format.c: s % values and s.format(...), the parts of Python's formatting that templates use.
 * The text between the places keeps its origin, so does a string put in without padding. */
#include "text/jinja_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH_MAX = 4096 };

/* How one value is written. */
typedef struct {
    bool left, plus, blank, zeros, alternate, grouped;
    char align; /* braces: < > ^ =, or 0 */
    char fill;
    int width, precision; /* precision -1: none */
    char type;
} Spec;

static bool take_number(JinjaRender *r, const JinjaString *s, size_t *at, int *out)
{
    *out = 0;
    for (; *at < s->size && s->bytes[*at] >= '0' && s->bytes[*at] <= '9'; (*at)++) {
        *out = 10 * *out + (s->bytes[*at] - '0');
        if (*out > WIDTH_MAX)
            return jinja_fail(r, ERR_LIMIT, "a place of a format is wider than %d", WIDTH_MAX);
    }
    return true;
}

static bool add_fill(JinjaRender *r, JinjaOut *out, char fill, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!out_add(r, out, &fill, 1, 0))
            return false;
    return true;
}

static bool add_padded(JinjaRender *r, JinjaOut *out, const Spec *spec, const JinjaString *s,
                       bool number)
{
    size_t have = string_chars(s), width = (size_t)spec->width;
    size_t missing = width > have ? width - have : 0;
    char align = spec->align ? spec->align : spec->left ? '<' : number ? '>' : 0;
    char fill = spec->fill ? spec->fill : ' ';
    size_t sign = 0;
    if (!align)
        align = spec->alternate && !number ? '<' : '>';
    if (number && ((spec->zeros && !spec->left && !spec->align) || align == '=')) {
        fill = spec->align == '=' && spec->fill ? spec->fill : '0';
        sign = s->size && strchr("+- ", s->bytes[0]) != NULL;
        JinjaValue body;
        return out_add(r, out, s->bytes, sign, s->origin) && add_fill(r, out, fill, missing) &&
               string_slice(r, s, sign, s->size, &body) && out_add_string(r, out, body.string);
    }
    size_t before = align == '>' ? missing : align == '^' ? missing / 2 : 0;
    return add_fill(r, out, fill, before) && out_add_string(r, out, s) &&
           add_fill(r, out, fill, missing - before);
}

static bool whole_value(JinjaRender *r, JinjaValue v, int64_t *out)
{
    if (value_is_whole(v))
        *out = value_whole(v);
    else if (v.kind == J_FLOAT && v.real > -9.2e18 && v.real < 9.2e18)
        *out = (int64_t)v.real;
    else
        return value_defined(r, v) &&
               jinja_fail(r, ERR_INPUT, "a number is expected in a format, not a %s",
                          value_type(v));
    return true;
}

/* Puts a comma between each three digits before the point. */
static void group(char *text, size_t room)
{
    size_t from = strspn(text, "+- "), digits = strspn(text + from, "0123456789");
    for (size_t at = digits; at > 3 && strlen(text) + 2 < room;) {
        at -= 3;
        memmove(text + from + at + 1, text + from + at, strlen(text + from + at) + 1);
        text[from + at] = ',';
    }
}

static void whole_text(int64_t whole, const Spec *spec, char *out, size_t room)
{
    uint64_t size = whole < 0 ? 0 - (uint64_t)whole : (uint64_t)whole;
    const char *sign = whole < 0 ? "-" : spec->plus ? "+" : spec->blank ? " " : "";
    const char *prefix = !spec->alternate ? "" : spec->type == 'o' ? "0o"
                         : spec->type == 'x' ? "0x" : spec->type == 'X' ? "0X" : "";
    if (spec->type == 'x')
        snprintf(out, room, "%s%s%llx", sign, prefix, (unsigned long long)size);
    else if (spec->type == 'X')
        snprintf(out, room, "%s%s%llX", sign, prefix, (unsigned long long)size);
    else if (spec->type == 'o')
        snprintf(out, room, "%s%s%llo", sign, prefix, (unsigned long long)size);
    else
        snprintf(out, room, "%s%llu", sign, (unsigned long long)size);
}

static void real_format(double real, const Spec *spec, char *out, size_t room)
{
    int precision = spec->precision < 0 ? 6 : spec->precision > 300 ? 300 : spec->precision;
    size_t sign = 0;
    if (real >= 0 && (spec->plus || spec->blank))
        out[sign++] = spec->plus ? '+' : ' ';
    switch (spec->type) {
    case 'e':
        snprintf(out + sign, room - sign, "%.*e", precision, real);
        break;
    case 'E':
        snprintf(out + sign, room - sign, "%.*E", precision, real);
        break;
    case 'g':
        snprintf(out + sign, room - sign, "%.*g", precision, real);
        break;
    case 'G':
        snprintf(out + sign, room - sign, "%.*G", precision, real);
        break;
    case '%':
        snprintf(out + sign, room - sign, "%.*f%%", precision, real * 100);
        break;
    default:
        snprintf(out + sign, room - sign, "%.*f", precision, real);
    }
}

static bool add_number(JinjaRender *r, JinjaOut *out, const Spec *spec, JinjaValue v)
{
    char text[800];
    JinjaValue made;
    int64_t whole = 0;
    if (strchr("dixXo", spec->type)) {
        if (!whole_value(r, v, &whole))
            return false;
        whole_text(whole, spec, text, sizeof text);
    } else {
        if (!value_is_number(v))
            return whole_value(r, v, &whole) &&
                   jinja_fail(r, ERR_INPUT, "a number is expected in a format");
        real_format(value_number(v), spec, text, sizeof text);
    }
    if (spec->grouped)
        group(text, sizeof text);
    return string_make(r, text, strlen(text), value_origin(v), &made) &&
           add_padded(r, out, spec, made.string, true);
}

static bool add_string(JinjaRender *r, JinjaOut *out, const Spec *spec, JinjaValue v, bool repr)
{
    const JinjaString *s;
    JinjaOut text = {0};
    JinjaValue made;
    if (!(repr ? out_repr(r, &text, v) : out_value(r, &text, v)) || !out_string(r, &text, &made))
        return false;
    s = made.string;
    if (spec->precision >= 0) {
        if (!string_slice(r, s, 0, string_at(s, (size_t)spec->precision), &made))
            return false;
        s = made.string;
    }
    return add_padded(r, out, spec, s, false);
}

/* ---- % ---- */

typedef struct {
    JinjaRender *r;
    const JinjaString *s;
    size_t at;
    JinjaValue values;
    size_t used;
    JinjaOut out;
} Percent;

static bool take_flags(Percent *p, Spec *spec)
{
    for (; p->at < p->s->size; p->at++) {
        switch (p->s->bytes[p->at]) {
        case '-':
            spec->left = true;
            break;
        case '+':
            spec->plus = true;
            break;
        case ' ':
            spec->blank = true;
            break;
        case '0':
            spec->zeros = true;
            break;
        case '#':
            spec->alternate = true;
            break;
        default:
            goto width;
        }
    }
width:
    if (!take_number(p->r, p->s, &p->at, &spec->width))
        return false;
    if (p->at < p->s->size && p->s->bytes[p->at] == '.') {
        p->at++;
        return take_number(p->r, p->s, &p->at, &spec->precision);
    }
    return true;
}

/* The value for the place at p->at, which may begin with its name in brackets. */
static bool take_value(Percent *p, bool *named, JinjaValue *out)
{
    *named = p->at < p->s->size && p->s->bytes[p->at] == '(';
    if (!*named)
        return true;
    const char *from = p->s->bytes + p->at + 1;
    const char *close = memchr(from, ')', p->s->size - p->at - 1);
    JinjaValue *found = NULL;
    if (!close || p->values.kind != J_DICT)
        return jinja_fail(p->r, ERR_INPUT, "a format names a value, but is given no dict");
    found = dict_find_text(p->values.dict, from, (size_t)(close - from));
    if (!found)
        return jinja_fail(p->r, ERR_INPUT, "a format names the value '%.*s', which is not given",
                          (int)(close - from < 60 ? close - from : 60), from);
    p->at = (size_t)(close - p->s->bytes) + 1;
    *out = *found;
    return true;
}

static bool next_value(Percent *p, JinjaValue *out)
{
    bool many = p->values.kind == J_TUPLE;
    if (p->used >= (many ? p->values.list->count : 1))
        return jinja_fail(p->r, ERR_INPUT, "a format has more places than values");
    *out = many ? p->values.list->items[p->used] : p->values;
    p->used++;
    return true;
}

static bool percent_place(Percent *p)
{
    Spec spec = {.precision = -1};
    JinjaValue v = {0};
    bool named;
    if (!take_value(p, &named, &v) || !take_flags(p, &spec))
        return false;
    if (p->at == p->s->size)
        return jinja_fail(p->r, ERR_INPUT, "a format ends within a place");
    spec.type = p->s->bytes[p->at++];
    if (spec.type == '%')
        return out_add(p->r, &p->out, "%", 1, string_origin(p->s));
    if (!named && !next_value(p, &v))
        return false;
    if (spec.type == 's' || spec.type == 'r')
        return add_string(p->r, &p->out, &spec, v, spec.type == 'r');
    if (spec.type && strchr("dixXoeEfFgG", spec.type))
        return add_number(p->r, &p->out, &spec, v);
    return jinja_fail(p->r, ERR_INPUT, "%%%c is not supported in a format", spec.type);
}

bool format_percent(JinjaRender *r, const JinjaString *s, JinjaValue values, JinjaValue *out)
{
    Percent p = {.r = r, .s = s, .values = values};
    while (p.at < s->size) {
        const char *place = memchr(s->bytes + p.at, '%', s->size - p.at);
        size_t to = place ? (size_t)(place - s->bytes) : s->size;
        JinjaValue text;
        if (!string_slice(r, s, p.at, to, &text) || !out_add_string(r, &p.out, text.string))
            return false;
        p.at = to + (place != NULL);
        if (place && !percent_place(&p))
            return false;
    }
    size_t given = values.kind == J_TUPLE ? values.list->count : 1;
    if (p.used < given && values.kind != J_DICT && values.kind != J_LIST)
        return jinja_fail(r, ERR_INPUT, "a format has fewer places than values");
    return out_string(r, &p.out, out);
}

/* ---- {} ---- */

/* [[fill]align][sign][#][0][width][,][.precision][type] */
static bool take_spec(JinjaRender *r, const JinjaString *s, Spec *spec)
{
    size_t at = 0;
    static const char aligns[] = "<>^=";
    if (s->size > 1 && strchr(aligns, s->bytes[1]) && (uint8_t)s->bytes[0] < 128) {
        spec->fill = s->bytes[0];
        spec->align = s->bytes[1];
        at = 2;
    } else if (s->size && strchr(aligns, s->bytes[0])) {
        spec->align = s->bytes[0];
        at = 1;
    }
    for (; at < s->size && strchr("+- #0", s->bytes[at]); at++) {
        spec->plus |= s->bytes[at] == '+';
        spec->blank |= s->bytes[at] == ' ';
        spec->alternate |= s->bytes[at] == '#';
        spec->zeros |= s->bytes[at] == '0';
    }
    if (!take_number(r, s, &at, &spec->width))
        return false;
    if (at < s->size && s->bytes[at] == ',') {
        spec->grouped = true;
        at++;
    }
    if (at < s->size && s->bytes[at] == '.') {
        at++;
        if (!take_number(r, s, &at, &spec->precision))
            return false;
    }
    spec->type = at < s->size ? s->bytes[at++] : 0;
    return at == s->size || jinja_fail(r, ERR_INPUT, "the format '%.*s' is not supported",
                                       (int)(s->size < 40 ? s->size : 40), s->bytes);
}

static bool add_formatted(JinjaRender *r, JinjaOut *out, const JinjaString *how, JinjaValue v)
{
    Spec spec = {.precision = -1};
    if (!take_spec(r, how, &spec))
        return false;
    if (!value_is_number(v) || v.kind == J_BOOL) {
        if (spec.type && spec.type != 's')
            return jinja_fail(r, ERR_INPUT, "a %s cannot be written as '%c'", value_type(v),
                              spec.type);
        spec.alternate = true; /* text stands to the left */
        return add_string(r, out, &spec, v, false);
    }
    if (!how->size)
        return out_value(r, out, v);
    if (!spec.type && v.kind == J_FLOAT && spec.precision < 0 && !spec.grouped) {
        JinjaOut text = {0};
        JinjaValue made;
        return out_value(r, &text, v) && out_string(r, &text, &made) &&
               add_padded(r, out, &spec, made.string, true);
    }
    spec.type = spec.type ? spec.type : v.kind == J_INT ? 'd' : 'g';
    if (!strchr("dxXoeEfFgG%", spec.type))
        return jinja_fail(r, ERR_INPUT, "a number cannot be written as '%c'", spec.type);
    return add_number(r, out, &spec, v);
}

/* name or number, then .member and [item]s */
static bool field_value(JinjaRender *r, const JinjaString *field, const JinjaArgs *args,
                        size_t *next, JinjaValue *out)
{
    size_t size = 0;
    while (size < field->size && field->bytes[size] != '.' && field->bytes[size] != '[')
        size++;
    if (size < field->size)
        return jinja_fail(r, ERR_INPUT, "a format that looks into a value is not supported");
    bool digits = size > 0 && size < 6;
    size_t at = 0;
    for (size_t i = 0; i < size && digits; i++) {
        digits = field->bytes[i] >= '0' && field->bytes[i] <= '9';
        at = 10 * at + (size_t)(field->bytes[i] - '0');
    }
    if (!size)
        at = (*next)++;
    if (!size || digits) {
        if (at >= args->count)
            return jinja_fail(r, ERR_INPUT, "a format has more places than values");
        *out = args->plain[at];
        return true;
    }
    for (uint32_t i = 0; i < args->keyword_count; i++)
        if (string_is(args->keywords[i].name, field->bytes, size)) {
            *out = args->keywords[i].value;
            return true;
        }
    return jinja_fail(r, ERR_INPUT, "a format names the value '%.*s', which is not given",
                      (int)(size < 60 ? size : 60), field->bytes);
}

static bool braces_place(JinjaRender *r, JinjaOut *out, const JinjaString *place,
                         const JinjaArgs *args, size_t *next)
{
    const char *colon = memchr(place->bytes, ':', place->size);
    size_t size = colon ? (size_t)(colon - place->bytes) : place->size;
    JinjaString field = {.bytes = place->bytes, .size = size};
    JinjaString how = {.bytes = colon ? colon + 1 : "", .size = colon ? place->size - size - 1 : 0};
    bool repr = field.size > 1 && !memcmp(field.bytes + field.size - 2, "!r", 2);
    bool text = field.size > 1 && !memcmp(field.bytes + field.size - 2, "!s", 2);
    JinjaValue v;
    JinjaOut made = {0};
    field.size -= repr || text ? 2 : 0;
    if (!field_value(r, &field, args, next, &v))
        return false;
    if ((repr || text) && (!(repr ? out_repr(r, &made, v) : out_value(r, &made, v)) ||
                           !out_string(r, &made, &v)))
        return false;
    return add_formatted(r, out, &how, v);
}

bool format_braces(JinjaRender *r, const JinjaString *s, const JinjaArgs *args, JinjaValue *out)
{
    JinjaOut text = {0};
    size_t next = 0;
    for (size_t at = 0; at < s->size;) {
        char c = s->bytes[at];
        size_t from = at;
        while (at < s->size && s->bytes[at] != '{' && s->bytes[at] != '}')
            at++;
        JinjaValue part;
        if (!string_slice(r, s, from, at, &part) || !out_add_string(r, &text, part.string))
            return false;
        if (at == s->size)
            break;
        c = s->bytes[at];
        if (at + 1 < s->size && s->bytes[at + 1] == c) {
            if (!out_add(r, &text, &c, 1, string_origin(s)))
                return false;
            at += 2;
            continue;
        }
        const char *close = c == '{' ? memchr(s->bytes + at, '}', s->size - at) : NULL;
        if (!close)
            return jinja_fail(r, ERR_INPUT, "a bracket of a format stands alone");
        JinjaString place = {.bytes = s->bytes + at + 1,
                             .size = (size_t)(close - s->bytes) - at - 1};
        if (!braces_place(r, &text, &place, args, &next))
            return false;
        at = (size_t)(close - s->bytes) + 1;
    }
    return out_string(r, &text, out);
}
