/* jinja_filters.c: filters of any value (default, int, round, tojson ...), and the tests of `is`. */
#include "format/json.h"
#include "text/jinja_model.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* default(default_value='', boolean=false) */
static bool filter_default(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                           JinjaValue *out)
{
    bool boolean = false, truth = true;
    (void)rest;
    if (a[2].kind != J_ABSENT && !value_truth(r, a[2], &boolean))
        return false;
    if (boolean && !value_truth(r, a[0], &truth))
        return false;
    *out = a[0];
    if (a[0].kind != J_UNDEFINED && truth)
        return true;
    *out = a[1];
    return a[1].kind != J_ABSENT || string_make(r, "", 0, 0, out);
}

/* A number within text, without the white space and underscores around and in it. False: none. */
static bool plain_digits(const JinjaString *s, char out[64])
{
    size_t from = 0, to = s->size, size = 0;
    while (from < to && is_space((uint8_t)s->bytes[from]))
        from++;
    while (to > from && is_space((uint8_t)s->bytes[to - 1]))
        to--;
    if (from == to || to - from > 60)
        return false;
    for (size_t i = from; i < to; i++) {
        bool between = i > from && i + 1 < to && s->bytes[i - 1] != '_' && s->bytes[i + 1] != '_';
        if (s->bytes[i] != '_')
            out[size++] = s->bytes[i];
        else if (!between)
            return false;
    }
    out[size] = 0;
    return true;
}

static bool real_of(JinjaValue v, double *out)
{
    char digits[64], *end;
    if (value_is_number(v)) {
        *out = value_number(v);
        return true;
    }
    if (v.kind != J_STRING || !plain_digits(v.string, digits) || strpbrk(digits, "xXpP("))
        return false;
    *out = strtod(digits, &end);
    return !*end;
}

static bool whole_of(JinjaRender *r, JinjaValue v, int base, int64_t *out, bool *known)
{
    char digits[64], *end;
    double real;
    *known = true;
    if (value_is_whole(v)) {
        *out = value_whole(v);
        return true;
    }
    if (v.kind == J_STRING && plain_digits(v.string, digits)) {
        char *from = digits + (digits[0] == '-' || digits[0] == '+');
        bool prefixed = from[0] == '0' && from[1] && strchr("xXoObB", from[1]);
        if (prefixed && base != 10)
            memmove(from, from + 2, strlen(from) - 1);
        errno = 0;
        long long whole = strtoll(digits, &end, base);
        if (!*end && end > digits) {
            *out = whole;
            return !errno || jinja_fail(r, ERR_INPUT, "a whole number leaves 64 bits");
        }
    }
    if (!real_of(v, &real) || isnan(real) || isinf(real)) {
        *known = false;
        return true;
    }
    if (fabs(real) >= 9.2e18)
        return jinja_fail(r, ERR_INPUT, "a whole number leaves 64 bits");
    *out = (int64_t)real;
    return true;
}

/* int(default=0, base=10) */
static bool filter_int(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    int64_t whole = 0;
    bool known;
    int64_t base = value_is_whole(a[2]) ? value_whole(a[2]) : 10;
    (void)rest;
    if (base < 2 || base > 36)
        return jinja_fail(r, ERR_INPUT, "a base is from 2 to 36");
    if (!value_defined(r, a[0]) || !whole_of(r, a[0], (int)base, &whole, &known))
        return false;
    *out = known ? value_int(whole, value_origin(a[0]))
                 : a[1].kind == J_ABSENT ? value_int(0, 0) : a[1];
    return true;
}

static bool filter_float(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    double real;
    (void)rest;
    if (!value_defined(r, a[0]))
        return false;
    if (real_of(a[0], &real))
        *out = value_real(real, value_origin(a[0]));
    else
        *out = a[1].kind == J_ABSENT ? value_real(0, 0) : a[1];
    return true;
}

static bool filter_abs(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    if (!value_is_number(a[0]))
        return value_defined(r, a[0]) &&
               jinja_fail(r, ERR_INPUT, "abs needs a number, not a %s", value_type(a[0]));
    if (a[0].kind == J_FLOAT)
        *out = value_real(fabs(a[0].real), a[0].origin);
    else if (value_whole(a[0]) == INT64_MIN)
        return jinja_fail(r, ERR_INPUT, "a whole number leaves 64 bits");
    else
        *out = value_int(llabs(value_whole(a[0])), a[0].origin);
    return true;
}

/* round(precision=0, method='common'); common goes to the even digit, as Python's round. */
static bool filter_round(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    int64_t precision = value_is_whole(a[1]) ? value_whole(a[1]) : 0;
    char text[400];
    (void)rest;
    if (!value_is_number(a[0]) || precision < -300 || precision > 300)
        return value_defined(r, a[0]) && jinja_fail(r, ERR_INPUT, "round needs a number");
    const JinjaString *how = a[2].kind == J_STRING ? a[2].string : NULL;
    double real = value_number(a[0]), scale = pow(10, (double)precision);
    if (how && STRING_IS(how, "ceil")) {
        real = ceil(real * scale) / scale;
    } else if (how && STRING_IS(how, "floor")) {
        real = floor(real * scale) / scale;
    } else if (how && !STRING_IS(how, "common")) {
        return jinja_fail(r, ERR_INPUT, "round() knows common, ceil and floor");
    } else if (precision >= 0 && fabs(real) < 1e22) {
        snprintf(text, sizeof text, "%.*f", (int)precision, real);
        real = strtod(text, NULL);
    } else if (precision < 0) {
        real = nearbyint(real * scale) / scale;
    }
    bool whole = value_is_whole(a[0]) && (!how || STRING_IS(how, "common")) && fabs(real) < 9e18;
    *out = whole ? value_int((int64_t)real, a[0].origin) : value_real(real, a[0].origin);
    return true;
}

/* ---- JSON ---- */

static bool json_indent(JinjaRender *r, JinjaValue v, JinjaDump *how)
{
    JinjaValue made;
    if (v.kind == J_STRING) {
        how->indent = v.string;
        return true;
    }
    if (!value_is_whole(v) || value_whole(v) > 64)
        return jinja_fail(r, ERR_INPUT, "tojson() is indented by a text or by 0 to 64 blanks");
    char *blanks = jinja_alloc(r, 65, 1);
    if (!blanks)
        return false;
    size_t size = value_whole(v) > 0 ? (size_t)value_whole(v) : 0;
    memset(blanks, ' ', 64);
    if (!string_make(r, blanks, size, value_origin(v), &made))
        return false;
    how->indent = made.string;
    return true;
}

/* tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false) */
static bool filter_tojson(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                          JinjaValue *out)
{
    JinjaDump how = {0};
    (void)rest;
    if ((a[1].kind != J_ABSENT && !value_truth(r, a[1], &how.ascii)) ||
        (a[4].kind != J_ABSENT && !value_truth(r, a[4], &how.sort)))
        return false;
    if (a[2].kind != J_ABSENT && a[2].kind != J_NONE && !json_indent(r, a[2], &how))
        return false;
    if (a[3].kind != J_ABSENT && a[3].kind != J_NONE) {
        JinjaList pair;
        if (!value_items(r, a[3], &pair))
            return false;
        if (pair.count != 2 || pair.items[0].kind != J_STRING || pair.items[1].kind != J_STRING)
            return jinja_fail(r, ERR_INPUT, "tojson() takes two separators");
        how.item = pair.items[0].string;
        how.key = pair.items[1].string;
    }
    return json_of_value(r, a[0], &how, out);
}

/* Values keep no part of the JSON they came from, so its strings are copied. */
static bool detach(JinjaRender *r, JinjaValue *v)
{
    if (v->kind == J_STRING) {
        char *copy = jinja_alloc(r, v->string->size + 1, 1);
        if (!copy)
            return false;
        memcpy(copy, v->string->bytes, v->string->size);
        return string_make(r, copy, v->string->size, ORIGIN_DATA, v);
    }
    for (size_t i = 0; v->kind == J_LIST && i < v->list->count; i++)
        if (!detach(r, &v->list->items[i]))
            return false;
    for (uint32_t i = 0; v->kind == J_DICT && i < v->dict->count; i++)
        if (!detach(r, &v->dict->keys[i]) || !detach(r, &v->dict->values[i]))
            return false;
    return true;
}

static bool filter_from_json(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                             JinjaValue *out)
{
    Error err;
    auto_json json_t *json = NULL;
    (void)rest;
    if (a[0].kind != J_STRING)
        return value_defined(r, a[0]) && jinja_fail(r, ERR_INPUT, "from_json needs a text");
    if (!jinja_steps(r, a[0].string->size))
        return false;
    if (!json_parse(&json, a[0].string->bytes, a[0].string->size, "from_json", &err))
        return jinja_fail(r, err.code == ERR_MEMORY ? ERR_MEMORY : ERR_INPUT, "%s", err.text);
    return value_of_json(r, json, JINJA_DATA, out) && detach(r, out);
}

static const JinjaCallable value_filters[] = {
    {"default", filter_default, "default_value boolean", 0},
    {"d", filter_default, "default_value boolean", 0},
    {"int", filter_int, "default base", 0},
    {"float", filter_float, "default", 0},
    {"abs", filter_abs, "", 0},
    {"round", filter_round, "precision method", 0},
    {"tojson", filter_tojson, "ensure_ascii indent separators sort_keys", 0},
    {"from_json", filter_from_json, "", 0},
    {"filesizeformat", NULL, "", 0},
    {"pprint", NULL, "", 0},
    {"random", NULL, "", 0},
    {"striptags", NULL, "", 0},
    {"urlize", NULL, "", 0},
    {"wordwrap", NULL, "", 0},
    {"xmlattr", NULL, "", 0},
    {NULL, NULL, NULL, 0},
};

const JinjaCallable *jinja_filter_find(const char *name, size_t size)
{
    const JinjaCallable *row = callable_find(jinja_text_filters, name, size);
    if (!row)
        row = callable_find(jinja_list_filters, name, size);
    return row ? row : callable_find(value_filters, name, size);
}

/* ---- tests ---- */

static bool yes_no(JinjaValue *out, bool yes)
{
    *out = value_bool(yes, ORIGIN_DATA);
    return true;
}

static bool test_defined(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    (void)r, (void)rest;
    return yes_no(out, a[0].kind != J_UNDEFINED);
}

static bool test_undefined(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                           JinjaValue *out)
{
    (void)r, (void)rest;
    return yes_no(out, a[0].kind == J_UNDEFINED);
}

static bool test_none(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)r, (void)rest;
    return yes_no(out, a[0].kind == J_NONE);
}

static bool test_boolean(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    (void)r, (void)rest;
    return yes_no(out, a[0].kind == J_BOOL);
}

static bool test_true(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)r, (void)rest;
    return yes_no(out, a[0].kind == J_BOOL && a[0].boolean);
}

static bool test_false(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)r, (void)rest;
    return yes_no(out, a[0].kind == J_BOOL && !a[0].boolean);
}

static bool test_integer(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    (void)r, (void)rest;
    return yes_no(out, a[0].kind == J_INT);
}

static bool test_float(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)r, (void)rest;
    return yes_no(out, a[0].kind == J_FLOAT);
}

static bool test_number(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)r, (void)rest;
    return yes_no(out, value_is_number(a[0]));
}

static bool test_string(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)r, (void)rest;
    return yes_no(out, a[0].kind == J_STRING);
}

static bool test_mapping(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    (void)r, (void)rest;
    return yes_no(out, a[0].kind == J_DICT);
}

static bool test_iterable(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                          JinjaValue *out)
{
    (void)r, (void)rest;
    return yes_no(out, value_is_list(a[0]) || a[0].kind == J_DICT || a[0].kind == J_STRING ||
                           a[0].kind == J_UNDEFINED || a[0].kind == J_LOOP);
}

static bool test_sequence(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                          JinjaValue *out)
{
    (void)r, (void)rest;
    return yes_no(out, a[0].kind == J_STRING || a[0].kind == J_LIST || a[0].kind == J_TUPLE ||
                           a[0].kind == J_RANGE || a[0].kind == J_DICT ||
                           a[0].kind == J_UNDEFINED);
}

static bool test_callable(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                          JinjaValue *out)
{
    (void)r, (void)rest;
    return yes_no(out, a[0].kind == J_MACRO || a[0].kind == J_METHOD || a[0].kind == J_FUNCTION ||
                           a[0].kind == J_LOOP || a[0].kind == J_JOINER ||
                           a[0].kind == J_UNDEFINED);
}

static bool test_escaped(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    (void)r, (void)rest;
    return yes_no(out, a[0].kind == J_STRING && a[0].string->markup);
}

static bool case_is(JinjaRender *r, JinjaValue v, const char *method, JinjaValue *out)
{
    const JinjaString *s;
    JinjaArgs none = {0};
    if (!string_of(r, v, &s))
        return false;
    JinjaValue text = {.kind = J_STRING, .string = s};
    return callable_run(r, callable_find(jinja_string_methods, method, strlen(method)), text,
                        &none, out);
}

static bool test_lower(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return case_is(r, a[0], "islower", out);
}

static bool test_upper(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return case_is(r, a[0], "isupper", out);
}

static bool remainder_is(JinjaRender *r, const JinjaValue *a, JinjaValue by, int64_t want,
                         JinjaValue *out)
{
    JinjaValue left;
    bool equal;
    return value_binary(r, OP_MOD, a[0], by, &left) &&
           value_equal(r, left, value_int(want, 0), &equal) && yes_no(out, equal);
}

static bool test_odd(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return remainder_is(r, a, value_int(2, 0), 1, out);
}

static bool test_even(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return remainder_is(r, a, value_int(2, 0), 0, out);
}

static bool test_divisible(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                           JinjaValue *out)
{
    (void)rest;
    return remainder_is(r, a, a[1], 0, out);
}

static bool test_equal(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    bool equal;
    (void)rest;
    return value_equal(r, a[0], a[1], &equal) && yes_no(out, equal);
}

static bool test_unequal(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    bool equal;
    (void)rest;
    return value_equal(r, a[0], a[1], &equal) && yes_no(out, !equal);
}

static bool test_less(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    int way;
    (void)rest;
    return value_order(r, a[0], a[1], &way) && yes_no(out, way < 0);
}

static bool test_less_equal(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                            JinjaValue *out)
{
    int way;
    (void)rest;
    return value_order(r, a[0], a[1], &way) && yes_no(out, way <= 0);
}

static bool test_greater(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    int way;
    (void)rest;
    return value_order(r, a[0], a[1], &way) && yes_no(out, way > 0);
}

static bool test_greater_equal(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                               JinjaValue *out)
{
    int way;
    (void)rest;
    return value_order(r, a[0], a[1], &way) && yes_no(out, way >= 0);
}

static bool test_in(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    bool inside;
    (void)rest;
    return value_contains(r, a[1], a[0], &inside) && yes_no(out, inside);
}

/* The same object: of plain values, the same kind and value. */
static bool test_sameas(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    bool equal;
    (void)rest;
    return value_equal(r, a[0], a[1], &equal) &&
           yes_no(out, equal && a[0].kind == a[1].kind &&
                           (a[0].kind < J_LIST || a[0].list == a[1].list));
}

static bool test_filter(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)r, (void)rest;
    return yes_no(out, a[0].kind == J_STRING &&
                           jinja_filter_find(a[0].string->bytes, a[0].string->size));
}

static bool test_test(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)r, (void)rest;
    return yes_no(out, a[0].kind == J_STRING &&
                           jinja_test_find(a[0].string->bytes, a[0].string->size));
}

static const JinjaCallable tests[] = {
    {"defined", test_defined, "", 0},
    {"undefined", test_undefined, "", 0},
    {"none", test_none, "", 0},
    {"boolean", test_boolean, "", 0},
    {"true", test_true, "", 0},
    {"false", test_false, "", 0},
    {"integer", test_integer, "", 0},
    {"float", test_float, "", 0},
    {"number", test_number, "", 0},
    {"string", test_string, "", 0},
    {"mapping", test_mapping, "", 0},
    {"iterable", test_iterable, "", 0},
    {"sequence", test_sequence, "", 0},
    {"callable", test_callable, "", 0},
    {"escaped", test_escaped, "", 0},
    {"lower", test_lower, "", 0},
    {"upper", test_upper, "", 0},
    {"odd", test_odd, "", 0},
    {"even", test_even, "", 0},
    {"divisibleby", test_divisible, "num", 1},
    {"eq", test_equal, "b", 1},
    {"equalto", test_equal, "b", 1},
    {"==", test_equal, "b", 1},
    {"ne", test_unequal, "b", 1},
    {"!=", test_unequal, "b", 1},
    {"lt", test_less, "b", 1},
    {"lessthan", test_less, "b", 1},
    {"<", test_less, "b", 1},
    {"le", test_less_equal, "b", 1},
    {"<=", test_less_equal, "b", 1},
    {"gt", test_greater, "b", 1},
    {"greaterthan", test_greater, "b", 1},
    {">", test_greater, "b", 1},
    {"ge", test_greater_equal, "b", 1},
    {">=", test_greater_equal, "b", 1},
    {"in", test_in, "seq", 1},
    {"sameas", test_sameas, "other", 1},
    {"filter", test_filter, "", 0},
    {"test", test_test, "", 0},
    {NULL, NULL, NULL, 0},
};

const JinjaCallable *jinja_test_find(const char *name, size_t size)
{
    return callable_find(tests, name, size);
}
