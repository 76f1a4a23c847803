/* jinja_value.c: what values are and how they relate, as Python has it. */
#include "base/hash.h"
#include "text/jinja_model.h"
#include "text/utf8.h"

#include <math.h>
#include <string.h>

const char *value_type(JinjaValue v)
{
    static const char *const names[J_KIND_COUNT] = {
        [J_ABSENT] = "nothing",     [J_UNDEFINED] = "Undefined", [J_NONE] = "NoneType",
        [J_BOOL] = "bool",          [J_INT] = "int",             [J_FLOAT] = "float",
        [J_STRING] = "str",         [J_LIST] = "list",           [J_TUPLE] = "tuple",
        [J_VIEW] = "dict view",     [J_ITER] = "generator",      [J_RANGE] = "range",
        [J_DICT] = "dict",          [J_NAMESPACE] = "Namespace", [J_LOOP] = "LoopContext",
        [J_MACRO] = "Macro",        [J_METHOD] = "method",       [J_FUNCTION] = "function",
        [J_CYCLER] = "Cycler",      [J_JOINER] = "Joiner",
    };
    return names[v.kind];
}

uint8_t value_origin(JinjaValue v)
{
    switch (v.kind) {
    case J_UNDEFINED:
    case J_NONE:
    case J_BOOL:
    case J_INT:
    case J_FLOAT:
        return v.origin;
    case J_STRING:
        return string_origin(v.string);
    default:
        return ORIGIN_DATA;
    }
}

bool value_defined(JinjaRender *r, JinjaValue v)
{
    if (v.kind != J_UNDEFINED)
        return true;
    int size = v.string ? (int)(v.string->size < 60 ? v.string->size : 60) : 0;
    if (v.lack == LACKS_SAFETY)
        return jinja_fail(r, ERR_INPUT, "'%.*s' may not be read", size, v.string->bytes);
    if (!v.string)
        return jinja_fail(r, ERR_INPUT, "a value that does not exist is used");
    if (v.lack == LACKS_MEMBER)
        return jinja_fail(r, ERR_INPUT, "there is no '%.*s' in what it is looked for", size,
                          v.string->bytes);
    return jinja_fail(r, ERR_INPUT, "'%.*s' is undefined", size, v.string->bytes);
}

bool value_truth(JinjaRender *r, JinjaValue v, bool *out)
{
    (void)r;
    switch (v.kind) {
    case J_UNDEFINED:
    case J_NONE:
        *out = false;
        return true;
    case J_BOOL:
        *out = v.boolean;
        return true;
    case J_INT:
        *out = v.integer != 0;
        return true;
    case J_FLOAT:
        *out = v.real != 0;
        return true;
    case J_STRING:
        *out = v.string->size > 0;
        return true;
    case J_LIST:
    case J_TUPLE:
    case J_VIEW:
    case J_RANGE:
        *out = v.list->count > 0;
        return true;
    case J_DICT:
        *out = v.dict->count > 0;
        return true;
    default:
        *out = true;
        return true;
    }
}

/* ---- equality, order, membership ---- */

static bool lists_equal(JinjaRender *r, const JinjaList *x, const JinjaList *y, bool *out)
{
    *out = x->count == y->count;
    for (size_t i = 0; *out && i < x->count; i++)
        if (!value_equal(r, x->items[i], y->items[i], out))
            return false;
    return true;
}

static bool dicts_equal(JinjaRender *r, const JinjaDict *x, const JinjaDict *y, bool *out)
{
    *out = x->count == y->count;
    for (uint32_t i = 0; *out && i < x->count; i++) {
        JinjaValue *other;
        if (!dict_find(r, y, x->keys[i], &other))
            return false;
        if (!other)
            *out = false;
        else if (!value_equal(r, x->values[i], *other, out))
            return false;
    }
    return true;
}

static bool numbers_equal(JinjaValue x, JinjaValue y)
{
    if (x.kind != J_FLOAT && y.kind != J_FLOAT)
        return value_whole(x) == value_whole(y);
    return value_number(x) == value_number(y);
}

static bool parts_equal(JinjaRender *r, JinjaValue x, JinjaValue y, bool *out)
{
    if (!jinja_enter(r))
        return false;
    bool good = x.kind == J_DICT ? dicts_equal(r, x.dict, y.dict, out)
                                 : lists_equal(r, x.list, y.list, out);
    jinja_leave(r);
    return good;
}

bool value_equal(JinjaRender *r, JinjaValue x, JinjaValue y, bool *out)
{
    if (!jinja_steps(r, 1))
        return false;
    if (value_is_number(x) && value_is_number(y)) {
        *out = numbers_equal(x, y);
        return true;
    }
    *out = false;
    if (x.kind != y.kind)
        return true;
    switch (x.kind) {
    case J_UNDEFINED:
    case J_NONE:
        *out = true;
        return true;
    case J_STRING:
        *out = string_is(x.string, y.string->bytes, y.string->size);
        return jinja_steps(r, *out ? x.string->size / 64 : 0);
    case J_LIST:
    case J_TUPLE:
    case J_RANGE:
    case J_DICT:
        return parts_equal(r, x, y, out);
    default:
        *out = x.list == y.list; /* the same object */
        return true;
    }
}

static bool lists_order(JinjaRender *r, const JinjaList *x, const JinjaList *y, int *out)
{
    for (size_t i = 0; i < x->count && i < y->count; i++) {
        bool equal;
        if (!value_equal(r, x->items[i], y->items[i], &equal))
            return false;
        if (!equal)
            return value_order(r, x->items[i], y->items[i], out);
    }
    *out = (x->count > y->count) - (x->count < y->count);
    return true;
}

bool value_order(JinjaRender *r, JinjaValue x, JinjaValue y, int *out)
{
    if (!value_defined(r, x) || !value_defined(r, y) || !jinja_steps(r, 1))
        return false;
    if (value_is_number(x) && value_is_number(y)) {
        double a = value_number(x), b = value_number(y);
        if (x.kind != J_FLOAT && y.kind != J_FLOAT)
            *out = (value_whole(x) > value_whole(y)) - (value_whole(x) < value_whole(y));
        else
            *out = (a > b) - (a < b);
        return true;
    }
    if (x.kind == J_STRING && y.kind == J_STRING) {
        size_t a = x.string->size, b = y.string->size;
        int first = memcmp(x.string->bytes, y.string->bytes, a < b ? a : b);
        *out = first ? first : (a > b) - (a < b);
        return jinja_steps(r, (a < b ? a : b) / 64);
    }
    if (x.kind == y.kind && (x.kind == J_LIST || x.kind == J_TUPLE)) {
        if (!jinja_enter(r))
            return false;
        bool good = lists_order(r, x.list, y.list, out);
        jinja_leave(r);
        return good;
    }
    return jinja_fail(r, ERR_INPUT, "a %s and a %s have no order", value_type(x), value_type(y));
}

bool value_contains(JinjaRender *r, JinjaValue whole, JinjaValue part, bool *out)
{
    *out = false;
    if (whole.kind == J_STRING) {
        if (part.kind != J_STRING)
            return value_defined(r, part) &&
                   jinja_fail(r, ERR_INPUT, "a %s cannot be looked for in a text",
                              value_type(part));
        *out = !part.string->size || memmem(whole.string->bytes, whole.string->size,
                                            part.string->bytes, part.string->size);
        return jinja_steps(r, whole.string->size / 16);
    }
    if (whole.kind == J_DICT) {
        JinjaValue *found = NULL;
        if (!dict_find(r, whole.dict, part, &found))
            return false;
        *out = found;
        return true;
    }
    JinjaList items;
    if (!value_items(r, whole, &items))
        return false;
    for (size_t i = 0; i < items.count && !*out; i++)
        if (!value_equal(r, items.items[i], part, out))
            return false;
    return true;
}

bool value_length(JinjaRender *r, JinjaValue v, size_t *out)
{
    switch (v.kind) {
    case J_UNDEFINED:
        *out = 0;
        return true;
    case J_STRING:
        *out = string_chars(v.string);
        return jinja_steps(r, v.string->size / 64);
    case J_LIST:
    case J_TUPLE:
    case J_VIEW:
    case J_RANGE:
        *out = v.list->count;
        return true;
    case J_DICT:
        *out = v.dict->count;
        return true;
    case J_LOOP:
        *out = v.loop->items.count;
        return true;
    default:
        return jinja_fail(r, ERR_INPUT, "a %s has no length", value_type(v));
    }
}

static bool characters(JinjaRender *r, const JinjaString *s, JinjaList *out)
{
    JinjaValue list;
    if (!list_new(r, J_LIST, string_chars(s), &list))
        return false;
    for (size_t at = 0; at < s->size;) {
        uint32_t length;
        JinjaValue one;
        (void)utf8_next((const uint8_t *)s->bytes + at, &length);
        if (!string_slice(r, s, at, at + length, &one) || !list_add(r, list.list, one))
            return false;
        at += length;
    }
    *out = *list.list;
    return true;
}

bool value_items(JinjaRender *r, JinjaValue v, JinjaList *out)
{
    *out = (JinjaList){0};
    switch (v.kind) {
    case J_UNDEFINED:
        return true;
    case J_STRING:
        return characters(r, v.string, out);
    case J_ITER:
        out->items = v.list->items + v.list->at;
        out->count = v.list->count - v.list->at;
        v.list->at = v.list->count;
        return true;
    case J_LIST:
    case J_TUPLE:
    case J_VIEW:
    case J_RANGE:
        *out = *v.list;
        return true;
    case J_DICT:
        out->items = v.dict->keys;
        out->count = v.dict->count;
        return true;
    default:
        return jinja_fail(r, ERR_INPUT, "a %s cannot be walked through", value_type(v));
    }
}

/* ---- lists and dictionaries ---- */

bool list_new(JinjaRender *r, JinjaKind kind, size_t room, JinjaValue *out)
{
    JinjaList *list = jinja_alloc(r, 1, sizeof *list);
    if (!list)
        return false;
    list->items = room ? jinja_alloc(r, room, sizeof *list->items) : NULL;
    if (room && !list->items)
        return false;
    list->room = room;
    *out = (JinjaValue){.kind = (uint8_t)kind, .list = list};
    return true;
}

bool list_add(JinjaRender *r, JinjaList *list, JinjaValue v)
{
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 4;
        JinjaValue *more = jinja_alloc(r, room, sizeof *more);
        if (!more)
            return false;
        if (list->count)
            memcpy(more, list->items, list->count * sizeof *more);
        list->items = more;
        list->room = room;
    }
    list->items[list->count++] = v;
    return jinja_steps(r, 1);
}

bool pair_new(JinjaRender *r, JinjaValue x, JinjaValue y, JinjaValue *out)
{
    return list_new(r, J_TUPLE, 2, out) && list_add(r, out->list, x) && list_add(r, out->list, y);
}

bool dict_new(JinjaRender *r, JinjaKind kind, JinjaValue *out)
{
    JinjaDict *dict = jinja_alloc(r, 1, sizeof *dict);
    *out = (JinjaValue){.kind = (uint8_t)kind, .dict = dict};
    return dict;
}

enum { SMALL_DICT = 8 };

static bool hash_of(JinjaRender *r, JinjaValue v, uint64_t *out)
{
    switch (v.kind) {
    case J_NONE:
        *out = 7;
        return true;
    case J_BOOL:
    case J_INT:
        *out = (uint64_t)value_whole(v) * 0x9e3779b97f4a7c15u;
        return true;
    case J_FLOAT:
        if (v.real == floor(v.real) && fabs(v.real) < 9e18)
            *out = (uint64_t)(int64_t)v.real * 0x9e3779b97f4a7c15u;
        else
            *out = hash_fnv(&v.real, sizeof v.real);
        return true;
    case J_STRING:
        *out = hash_fnv(v.string->bytes, v.string->size);
        return jinja_steps(r, v.string->size / 16);
    case J_TUPLE:
        *out = 11;
        for (size_t i = 0; i < v.list->count; i++) {
            uint64_t part;
            if (!jinja_enter(r) || !hash_of(r, v.list->items[i], &part))
                return false;
            jinja_leave(r);
            *out = *out * 1000003 + part;
        }
        return true;
    default:
        return value_defined(r, v) &&
               jinja_fail(r, ERR_INPUT, "a %s cannot be a key", value_type(v));
    }
}

static uint32_t first_place(const JinjaDict *dict, uint64_t hash)
{
    return (uint32_t)(hash ^ hash >> 32) & (dict->place_count - 1);
}

/* Every probe counts, so that keys chosen to collide cost steps and not time. */
static bool place_of(JinjaRender *r, const JinjaDict *dict, JinjaValue key, uint32_t *out)
{
    uint64_t hash;
    if (!hash_of(r, key, &hash))
        return false;
    uint32_t at = first_place(dict, hash);
    for (; dict->places[at]; at = (at + 1) & (dict->place_count - 1)) {
        bool equal;
        if (!value_equal(r, dict->keys[dict->places[at] - 1], key, &equal))
            return false;
        if (equal)
            break;
    }
    *out = at;
    return true;
}

bool dict_find(JinjaRender *r, const JinjaDict *dict, JinjaValue key, JinjaValue **out)
{
    uint64_t hash;
    *out = NULL;
    if (dict->places) {
        uint32_t at;
        if (!place_of(r, dict, key, &at))
            return false;
        if (dict->places[at])
            *out = &dict->values[dict->places[at] - 1];
        return true;
    }
    if (key.kind != J_STRING && !hash_of(r, key, &hash))
        return false;
    for (uint32_t i = 0; i < dict->count; i++) {
        bool equal;
        if (!value_equal(r, dict->keys[i], key, &equal))
            return false;
        if (equal) {
            *out = &dict->values[i];
            break;
        }
    }
    return true;
}

JinjaValue *dict_find_text(const JinjaDict *dict, const char *bytes, size_t size)
{
    if (dict->places) {
        uint32_t at = first_place(dict, hash_fnv(bytes, size));
        for (; dict->places[at]; at = (at + 1) & (dict->place_count - 1)) {
            JinjaValue key = dict->keys[dict->places[at] - 1];
            if (key.kind == J_STRING && string_is(key.string, bytes, size))
                return &dict->values[dict->places[at] - 1];
        }
        return NULL;
    }
    for (uint32_t i = 0; i < dict->count; i++)
        if (dict->keys[i].kind == J_STRING && string_is(dict->keys[i].string, bytes, size))
            return &dict->values[i];
    return NULL;
}

static bool dict_index(JinjaRender *r, JinjaDict *dict)
{
    uint32_t places = 32;
    while (places < 2 * (dict->room + 1))
        places *= 2;
    dict->places = jinja_alloc(r, places, sizeof *dict->places);
    if (!dict->places)
        return false;
    dict->place_count = places;
    for (uint32_t i = 0; i < dict->count; i++) {
        uint32_t at;
        if (!place_of(r, dict, dict->keys[i], &at))
            return false;
        dict->places[at] = i + 1;
    }
    return true;
}

static bool dict_grow(JinjaRender *r, JinjaDict *dict)
{
    uint32_t room = dict->room ? 2 * dict->room : 4;
    JinjaValue *keys = jinja_alloc(r, 2 * (size_t)room, sizeof *keys), *values = keys + room;
    if (!keys)
        return false;
    if (dict->count) {
        memcpy(keys, dict->keys, dict->count * sizeof *keys);
        memcpy(values, dict->values, dict->count * sizeof *values);
    }
    dict->keys = keys;
    dict->values = values;
    dict->room = room;
    return room <= SMALL_DICT || dict_index(r, dict);
}

bool dict_set(JinjaRender *r, JinjaDict *dict, JinjaValue key, JinjaValue value)
{
    JinjaValue *old;
    if (!dict_find(r, dict, key, &old))
        return false;
    if (old) {
        *old = value;
        return true;
    }
    if (dict->count == UINT32_MAX / 4 || (dict->count == dict->room && !dict_grow(r, dict)))
        return false;
    dict->keys[dict->count] = key;
    dict->values[dict->count++] = value;
    if (dict->places) {
        uint32_t at;
        if (!place_of(r, dict, key, &at))
            return false;
        dict->places[at] = dict->count;
    }
    return jinja_steps(r, 1);
}

/* ---- members and items ---- */

static bool bind(JinjaRender *r, const JinjaCallable *row, JinjaValue self, JinjaValue *out)
{
    JinjaBound *bound = jinja_alloc(r, 1, sizeof *bound);
    if (!bound)
        return false;
    bound->self = self;
    bound->callable = row;
    *out = (JinjaValue){.kind = J_METHOD, .bound = bound};
    return true;
}

static bool find_method(JinjaRender *r, JinjaValue v, const JinjaString *name, JinjaValue *out,
                        bool *found)
{
    static const JinjaCallable *const tables[J_KIND_COUNT] = {
        [J_STRING] = jinja_string_methods, [J_LIST] = jinja_list_methods,
        [J_TUPLE] = jinja_tuple_methods,   [J_DICT] = jinja_dict_methods,
        [J_LOOP] = jinja_loop_methods,     [J_CYCLER] = jinja_loop_methods,
    };
    const JinjaCallable *row = tables[v.kind]
                                   ? callable_find(tables[v.kind], name->bytes, name->size)
                                   : NULL;
    *found = row;
    return !row || bind(r, row, v, out);
}

static bool loop_member(const JinjaLoop *loop, const JinjaString *name, JinjaValue *out)
{
    int64_t at = (int64_t)loop->index0, count = (int64_t)loop->items.count;
    if (STRING_IS(name, "index"))
        *out = value_int(at + 1, 0);
    else if (STRING_IS(name, "index0"))
        *out = value_int(at, 0);
    else if (STRING_IS(name, "first"))
        *out = value_bool(at == 0, 0);
    else if (STRING_IS(name, "last"))
        *out = value_bool(at + 1 == count, 0);
    else if (STRING_IS(name, "length"))
        *out = value_int(count, ORIGIN_DATA);
    else if (STRING_IS(name, "revindex"))
        *out = value_int(count - at, ORIGIN_DATA);
    else if (STRING_IS(name, "revindex0"))
        *out = value_int(count - at - 1, ORIGIN_DATA);
    else if (STRING_IS(name, "depth"))
        *out = value_int(loop->depth0 + 1, 0);
    else if (STRING_IS(name, "depth0"))
        *out = value_int(loop->depth0, 0);
    else if (STRING_IS(name, "previtem") && at > 0)
        *out = loop->items.items[at - 1];
    else if (STRING_IS(name, "nextitem") && at + 1 < count)
        *out = loop->items.items[at + 1];
    else
        return false;
    return true;
}

static bool own_member(JinjaValue v, const JinjaString *name, JinjaValue *out)
{
    JinjaValue *found = NULL;
    if (v.kind == J_LOOP)
        return loop_member(v.loop, name, out);
    if (v.kind == J_NAMESPACE)
        found = dict_find_text(v.dict, name->bytes, name->size);
    else if (v.kind == J_TUPLE && v.list->group && STRING_IS(name, "grouper"))
        found = &v.list->items[0];
    else if (v.kind == J_TUPLE && v.list->group && STRING_IS(name, "list"))
        found = &v.list->items[1];
    else if (v.kind == J_CYCLER && STRING_IS(name, "current"))
        found = &v.cycler->items.items[v.cycler->at];
    else if (v.kind == J_MACRO && STRING_IS(name, "name"))
        *out = (JinjaValue){.kind = J_STRING, .string = v.macro->node->name};
    else
        return false;
    if (found)
        *out = *found;
    return found || v.kind == J_MACRO;
}

/* As Python: attributes before keys, so that message.items is the method. */
bool value_member(JinjaRender *r, JinjaValue v, const JinjaString *name, JinjaValue *out)
{
    bool found;
    if (name->size > 1 && name->bytes[0] == '_' && name->bytes[1] == '_') {
        *out = value_undefined(name, LACKS_SAFETY);
        return true;
    }
    if (!value_defined(r, v) || !jinja_steps(r, 1))
        return false;
    if (own_member(v, name, out))
        return true;
    if (!find_method(r, v, name, out, &found))
        return false;
    if (found)
        return true;
    JinjaValue *value = v.kind == J_DICT ? dict_find_text(v.dict, name->bytes, name->size) : NULL;
    *out = value ? *value : value_undefined(name, LACKS_MEMBER);
    return true;
}

static bool index_item(JinjaRender *r, JinjaValue v, int64_t index, JinjaValue *out)
{
    int64_t count = (int64_t)(v.kind == J_STRING ? string_chars(v.string) : v.list->count);
    if (index < 0)
        index += count;
    if (index < 0 || index >= count) {
        *out = value_undefined(NULL, LACKS_MEMBER);
        return true;
    }
    if (v.kind != J_STRING) {
        *out = v.list->items[index];
        return true;
    }
    size_t from = string_at(v.string, (size_t)index), to = string_at(v.string, (size_t)index + 1);
    return jinja_steps(r, v.string->size / 64) && string_slice(r, v.string, from, to, out);
}

bool value_item(JinjaRender *r, JinjaValue v, JinjaValue key, JinjaValue *out)
{
    if (!value_defined(r, v) || !jinja_steps(r, 1))
        return false;
    if (v.kind == J_DICT && key.kind != J_LIST && key.kind != J_DICT && key.kind != J_UNDEFINED) {
        JinjaValue *found;
        if (!dict_find(r, v.dict, key, &found))
            return false;
        if (found) {
            *out = *found;
            return true;
        }
    }
    if (value_is_whole(key) && (v.kind == J_STRING || v.kind == J_LIST || v.kind == J_TUPLE ||
                                v.kind == J_RANGE))
        return index_item(r, v, value_whole(key), out);
    if (key.kind == J_STRING && v.kind != J_DICT)
        return value_member(r, v, key.string, out);
    if (key.kind == J_STRING) { /* a method of the dictionary, or nothing */
        bool found;
        *out = value_undefined(key.string, LACKS_MEMBER);
        return find_method(r, v, key.string, out, &found);
    }
    *out = value_undefined(NULL, LACKS_MEMBER);
    return true;
}

bool value_path(JinjaRender *r, JinjaValue v, JinjaValue path, JinjaValue *out)
{
    *out = v;
    if (path.kind != J_STRING)
        return value_item(r, v, path, out);
    const JinjaString *s = path.string;
    for (size_t from = 0; from <= s->size;) {
        const char *dot = memchr(s->bytes + from, '.', s->size - from);
        size_t to = dot ? (size_t)(dot - s->bytes) : s->size;
        JinjaValue key;
        int64_t number = 0;
        bool digits = to > from && to - from < 10;
        for (size_t i = from; i < to && digits; i++) {
            digits = s->bytes[i] >= '0' && s->bytes[i] <= '9';
            number = 10 * number + (s->bytes[i] - '0');
        }
        if (digits)
            key = value_int(number, 0);
        else if (!string_slice(r, s, from, to, &key))
            return false;
        if (!value_item(r, *out, key, out))
            return false;
        from = to + 1;
    }
    return true;
}

/* ---- from JSON ---- */

static bool string_of_json(JinjaRender *r, const char *bytes, size_t size, JinjaTrust trust,
                           JinjaValue *out)
{
    return string_make(r, bytes, size, trust == JINJA_TRUSTED ? 0 : ORIGIN_DATA, out);
}

static bool list_of_json(JinjaRender *r, json_t *json, JinjaTrust trust, JinjaValue *out)
{
    size_t count = json_array_size(json);
    if (!list_new(r, J_LIST, count, out))
        return false;
    for (size_t i = 0; i < count; i++) {
        json_t *item = json_array_get(json, i);
        JinjaValue value;
        if (!value_of_json(r, item, trust == JINJA_TRUSTED ? trust : JINJA_DATA, &value) ||
            !list_add(r, out->list, value))
            return false;
        const json_t *role = json_object_get(item, "role");
        const char *word = json_string_value(role);
        JinjaValue *known = trust == JINJA_MESSAGES && word && value.kind == J_DICT
                                ? dict_find_text(value.dict, "role", 4) : NULL;
        if (known && jinja_is_role(word, json_string_length(role)) &&
            !string_make(r, word, json_string_length(role), 0, known))
            return false;
    }
    return true;
}

static bool dict_of_json(JinjaRender *r, json_t *json, JinjaTrust trust, JinjaValue *out)
{
    size_t count = json_object_size(json);
    if (!dict_new(r, J_DICT, out) || count > UINT32_MAX / 8)
        return false;
    JinjaDict *dict = out->dict;
    JinjaValue *keys = jinja_alloc(r, 2 * count + 1, sizeof *keys);
    if (!keys)
        return false;
    dict->keys = keys;
    dict->values = keys + count;
    dict->room = (uint32_t)count;
    for (void *at = json_object_iter(json); at; at = json_object_iter_next(json, at)) {
        uint32_t i = dict->count;
        if (!string_of_json(r, json_object_iter_key(at), json_object_iter_key_len(at), trust,
                            &dict->keys[i]) ||
            !value_of_json(r, json_object_iter_value(at), trust, &dict->values[i]))
            return false;
        dict->count++;
    }
    return count <= SMALL_DICT || dict_index(r, dict);
}

bool value_of_json(JinjaRender *r, json_t *json, JinjaTrust trust, JinjaValue *out)
{
    uint8_t origin = trust == JINJA_TRUSTED ? 0 : ORIGIN_DATA;
    if (!jinja_steps(r, 1))
        return false;
    switch (json ? json_typeof(json) : JSON_NULL) {
    case JSON_NULL:
        *out = value_none();
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = value_bool(json_is_true(json), origin);
        return true;
    case JSON_INTEGER:
        *out = value_int(json_integer_value(json), origin);
        return true;
    case JSON_REAL:
        *out = value_real(json_real_value(json), origin);
        return true;
    case JSON_STRING:
        return string_of_json(r, json_string_value(json), json_string_length(json), trust, out);
    default:
        break;
    }
    if (!jinja_enter(r))
        return false;
    bool good = json_is_array(json) ? list_of_json(r, json, trust, out)
                                    : dict_of_json(r, json, trust, out);
    jinja_leave(r);
    return good;
}

bool jinja_is_role(const char *text, size_t size)
{
    static const char *const roles[] = {"system", "user",     "assistant", "tool",
                                        "developer", "function", "ipython"};
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        if (strlen(roles[i]) == size && !memcmp(roles[i], text, size))
            return true;
    return false;
}
