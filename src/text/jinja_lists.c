/* jinja_lists.c: filters over lists, and the methods of lists, tuples and dictionaries. What changes
 * a list or dictionary in place is refused, as in jinja2's immutable sandbox. */
#include "text/jinja_model.h"

#include <string.h>

/* ---- length, first, last, list, reverse, join ---- */

static bool filter_length(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                          JinjaValue *out)
{
    size_t length;
    (void)rest;
    if (!value_length(r, a[0], &length))
        return false;
    *out = value_int((int64_t)length, ORIGIN_DATA);
    return true;
}

static bool first_or_undefined(const JinjaList *items, size_t at, JinjaValue *out)
{
    *out = at < items->count ? items->items[at] : value_undefined(NULL, LACKS_MEMBER);
    return true;
}

static bool filter_first(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    JinjaList items;
    size_t used = a[0].kind == J_ITER ? a[0].list->at : 0;
    (void)rest;
    if (!value_items(r, a[0], &items))
        return false;
    if (a[0].kind == J_ITER) /* only one was taken */
        a[0].list->at = used + (items.count > 0);
    return first_or_undefined(&items, 0, out);
}

static bool filter_last(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    JinjaList items;
    (void)rest;
    if (a[0].kind == J_ITER)
        return jinja_fail(r, ERR_INPUT, "a generator has no last item");
    return value_items(r, a[0], &items) && first_or_undefined(&items, items.count - 1, out);
}

static bool copy_items(JinjaRender *r, const JinjaList *items, JinjaKind kind, JinjaValue *out)
{
    if (!list_new(r, kind, items->count, out))
        return false;
    for (size_t i = 0; i < items->count; i++)
        if (!list_add(r, out->list, items->items[i]))
            return false;
    return true;
}

static bool filter_list(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    JinjaList items;
    (void)rest;
    return value_items(r, a[0], &items) && copy_items(r, &items, J_LIST, out);
}

static bool filter_reverse(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                           JinjaValue *out)
{
    JinjaList items;
    JinjaOut text = {0};
    (void)rest;
    if (!value_items(r, a[0], &items))
        return false;
    if (a[0].kind == J_STRING) {
        for (size_t i = items.count; i-- > 0;)
            if (!out_add_string(r, &text, items.items[i].string))
                return false;
        return out_string(r, &text, out);
    }
    if (!list_new(r, J_ITER, items.count, out))
        return false;
    for (size_t i = items.count; i-- > 0;)
        if (!list_add(r, out->list, items.items[i]))
            return false;
    return true;
}

static bool filter_join(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    JinjaList items;
    JinjaOut text = {0};
    const JinjaString *by = NULL;
    (void)rest;
    if (!value_items(r, a[0], &items) || (a[1].kind != J_ABSENT && !string_of(r, a[1], &by)))
        return false;
    for (size_t i = 0; i < items.count; i++) {
        JinjaValue item = items.items[i];
        if (a[2].kind != J_ABSENT && a[2].kind != J_NONE && !value_path(r, item, a[2], &item))
            return false;
        if ((i && by && !out_add_string(r, &text, by)) || !out_value(r, &text, item))
            return false;
    }
    return out_string(r, &text, out);
}

/* ---- map, select and their kind ---- */

/* The arguments from `from` on, for the filter or test that another one names. */
static JinjaArgs tail(const JinjaArgs *args, uint32_t from)
{
    JinjaArgs part = *args;
    part.plain += from;
    part.count -= from;
    return part;
}

static const JinjaKeyword *keyword(const JinjaArgs *args, const char *name)
{
    for (uint32_t i = 0; i < args->keyword_count; i++)
        if (string_is(args->keywords[i].name, name, strlen(name)))
            return &args->keywords[i];
    return NULL;
}

static bool named_row(JinjaRender *r, const JinjaArgs *args, uint32_t at,
                      const JinjaCallable *(*find)(const char *name, size_t size),
                      const JinjaCallable **out)
{
    const JinjaValue *v = at < args->count ? &args->plain[at] : NULL;
    if (!v || v->kind != J_STRING)
        return jinja_fail(r, ERR_INPUT, "the name of a filter or test is expected");
    *out = find(v->string->bytes, v->string->size);
    return *out || jinja_fail(r, ERR_INPUT, "there is no filter or test named '%.*s'",
                              (int)(v->string->size < 60 ? v->string->size : 60),
                              v->string->bytes);
}

static bool filter_map(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    JinjaList items;
    const JinjaKeyword *path = rest->count ? NULL : keyword(rest, "attribute");
    const JinjaKeyword *fallback = keyword(rest, "default");
    const JinjaCallable *row = NULL;
    bool any;
    if (!value_truth(r, a[0], &any))
        return false;
    if (!any) /* None is no list, but nothing comes of it either */
        return list_new(r, J_ITER, 0, out);
    if (!value_items(r, a[0], &items) || !list_new(r, J_ITER, items.count, out) ||
        (!path && !named_row(r, rest, 0, jinja_filter_find, &row)))
        return false;
    JinjaArgs args = path ? *rest : tail(rest, 1);
    for (size_t i = 0; i < items.count; i++) {
        JinjaValue v;
        if (!(path ? value_path(r, items.items[i], path->value, &v)
                   : callable_run(r, row, items.items[i], &args, &v)))
            return false;
        if (path && fallback && v.kind == J_UNDEFINED)
            v = fallback->value;
        if (!list_add(r, out->list, v))
            return false;
    }
    return true;
}

/* Keeps the items for which the test named in the arguments holds (or not); the test looks at a
 * member when by_member. */
static bool choose(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, bool by_member,
                   bool wanted, JinjaValue *out)
{
    JinjaList items;
    const JinjaCallable *row = NULL;
    uint32_t at = by_member;
    bool any;
    if (!value_truth(r, a[0], &any))
        return false;
    if (!any)
        return list_new(r, J_ITER, 0, out);
    if (rest->count < at)
        return jinja_fail(r, ERR_INPUT, "the name of an attribute is expected");
    if (!value_items(r, a[0], &items) || !list_new(r, J_ITER, 0, out) ||
        (rest->count > at && !named_row(r, rest, at, jinja_test_find, &row)))
        return false;
    JinjaArgs args = row ? tail(rest, at + 1) : (JinjaArgs){0};
    for (size_t i = 0; i < items.count; i++) {
        JinjaValue v = items.items[i];
        bool truth;
        if ((by_member && !value_path(r, v, rest->plain[0], &v)) ||
            (row && !callable_run(r, row, v, &args, &v)) || !value_truth(r, v, &truth) ||
            (truth == wanted && !list_add(r, out->list, items.items[i])))
            return false;
    }
    return true;
}

static bool filter_select(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                          JinjaValue *out)
{
    return choose(r, a, rest, false, true, out);
}

static bool filter_reject(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                          JinjaValue *out)
{
    return choose(r, a, rest, false, false, out);
}

static bool filter_selectattr(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                              JinjaValue *out)
{
    return choose(r, a, rest, true, true, out);
}

static bool filter_rejectattr(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                              JinjaValue *out)
{
    return choose(r, a, rest, true, false, out);
}

/* ---- order ---- */

/* What an item is ordered by: a member, several of them, itself; in lower case when asked. */
typedef struct {
    JinjaValue path; /* J_ABSENT: the item itself */
    bool case_sensitive;
} Key;

static bool lowered(JinjaRender *r, JinjaValue v, JinjaValue *out)
{
    JinjaArgs none = {0};
    *out = v;
    return v.kind != J_STRING ||
           callable_run(r, callable_find(jinja_string_methods, "lower", 5), v, &none, out);
}

static bool key_part(JinjaRender *r, const Key *key, JinjaValue item, JinjaValue path,
                     JinjaValue *out)
{
    *out = item;
    return (path.kind == J_ABSENT || value_path(r, item, path, out)) &&
           (key->case_sensitive || lowered(r, *out, out));
}

static bool key_of(JinjaRender *r, const Key *key, JinjaValue item, JinjaValue *out)
{
    if (key->path.kind != J_STRING ||
        !memchr(key->path.string->bytes, ',', key->path.string->size))
        return key_part(r, key, item, key->path, out);
    JinjaValue parts, all, comma;
    JinjaArgs by = {0};
    if (!string_make(r, ",", 1, 0, &comma) || !args_add(r, &by, comma) ||
        !callable_run(r, callable_find(jinja_string_methods, "split", 5), key->path, &by,
                      &parts) ||
        !list_new(r, J_LIST, 0, &all))
        return false;
    for (size_t i = 0; i < parts.list->count; i++) {
        JinjaValue part;
        if (!key_part(r, key, item, parts.list->items[i], &part) || !list_add(r, all.list, part))
            return false;
    }
    *out = all;
    return true;
}

typedef struct {
    JinjaValue key, item;
} Keyed;

/* Stable, by merging; from is the other half of the memory. */
static bool merge(JinjaRender *r, Keyed *to, const Keyed *from, size_t middle, size_t count,
                  bool reverse)
{
    size_t left = 0, right = middle;
    for (size_t i = 0; i < count; i++) {
        int way = 0;
        bool take_right = left == middle;
        if (!take_right && right < count) {
            if (!value_order(r, from[right].key, from[left].key, &way))
                return false;
            take_right = reverse ? way > 0 : way < 0;
        }
        to[i] = take_right ? from[right++] : from[left++];
    }
    return true;
}

static bool sort_keyed(JinjaRender *r, Keyed *all, size_t count, bool reverse)
{
    Keyed *spare = jinja_alloc(r, count, sizeof *spare);
    if (!spare)
        return false;
    for (size_t width = 1; width < count; width *= 2)
        for (size_t from = 0; from < count; from += 2 * width) {
            size_t size = count - from < 2 * width ? count - from : 2 * width;
            if (size <= width)
                continue;
            memcpy(spare, all + from, size * sizeof *spare);
            if (!jinja_steps(r, size) || !merge(r, all + from, spare, width, size, reverse))
                return false;
        }
    return true;
}

static bool sort_items(JinjaRender *r, const JinjaList *items, const Key *key, bool reverse,
                       JinjaValue *out)
{
    Keyed *all = jinja_alloc(r, items->count, sizeof *all);
    if (!all || !list_new(r, J_LIST, items->count, out))
        return false;
    for (size_t i = 0; i < items->count; i++) {
        all[i].item = items->items[i];
        if (!key_of(r, key, all[i].item, &all[i].key))
            return false;
    }
    if (!sort_keyed(r, all, items->count, reverse))
        return false;
    for (size_t i = 0; i < items->count; i++)
        if (!list_add(r, out->list, all[i].item))
            return false;
    return true;
}

static bool flag(JinjaRender *r, JinjaValue v, bool *out)
{
    *out = false;
    return v.kind == J_ABSENT || value_truth(r, v, out);
}

static JinjaValue path_of(JinjaValue v)
{
    return v.kind == J_NONE ? (JinjaValue){0} : v;
}

/* sort(reverse, case_sensitive, attribute) */
static bool filter_sort(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    JinjaList items;
    bool reverse;
    Key key = {.path = path_of(a[3])};
    (void)rest;
    return flag(r, a[1], &reverse) && flag(r, a[2], &key.case_sensitive) &&
           value_items(r, a[0], &items) && sort_items(r, &items, &key, reverse, out);
}

static bool dict_pairs(JinjaRender *r, const JinjaDict *dict, JinjaKind kind, JinjaValue *out)
{
    if (!list_new(r, kind, dict->count, out))
        return false;
    for (uint32_t i = 0; i < dict->count; i++) {
        JinjaValue pair;
        if (!pair_new(r, dict->keys[i], dict->values[i], &pair) || !list_add(r, out->list, pair))
            return false;
    }
    return true;
}

/* dictsort(case_sensitive, by, reverse) */
static bool filter_dictsort(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                            JinjaValue *out)
{
    bool reverse;
    JinjaValue pairs;
    Key key = {.path = value_int(0, 0)};
    (void)rest;
    if (a[0].kind != J_DICT)
        return value_defined(r, a[0]) && jinja_fail(r, ERR_INPUT, "dictsort needs a dict");
    if (a[2].kind == J_STRING && STRING_IS(a[2].string, "value"))
        key.path = value_int(1, 0);
    return flag(r, a[1], &key.case_sensitive) && flag(r, a[3], &reverse) &&
           dict_pairs(r, a[0].dict, J_LIST, &pairs) &&
           sort_items(r, pairs.list, &key, reverse, out);
}

/* min and max(case_sensitive, attribute) */
static bool extreme(JinjaRender *r, const JinjaValue *a, int sign, JinjaValue *out)
{
    JinjaList items;
    JinjaValue best, next;
    Key key = {.path = path_of(a[2])};
    if (!flag(r, a[1], &key.case_sensitive) || !value_items(r, a[0], &items))
        return false;
    *out = items.count ? items.items[0] : value_undefined(NULL, LACKS_MEMBER);
    if (items.count && !key_of(r, &key, *out, &best))
        return false;
    for (size_t i = 1; i < items.count; i++) {
        int way;
        if (!key_of(r, &key, items.items[i], &next) || !value_order(r, next, best, &way))
            return false;
        if (way * sign > 0) {
            *out = items.items[i];
            best = next;
        }
    }
    return true;
}

static bool filter_min(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return extreme(r, a, -1, out);
}

static bool filter_max(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return extreme(r, a, 1, out);
}

/* unique(case_sensitive, attribute) */
static bool filter_unique(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                          JinjaValue *out)
{
    JinjaList items;
    JinjaValue seen;
    Key key = {.path = path_of(a[2])};
    (void)rest;
    if (!flag(r, a[1], &key.case_sensitive) || !value_items(r, a[0], &items) ||
        !dict_new(r, J_DICT, &seen) || !list_new(r, J_ITER, 0, out))
        return false;
    for (size_t i = 0; i < items.count; i++) {
        JinjaValue v, *old;
        if (!key_of(r, &key, items.items[i], &v) || !dict_find(r, seen.dict, v, &old))
            return false;
        if (!old && (!dict_set(r, seen.dict, v, v) || !list_add(r, out->list, items.items[i])))
            return false;
    }
    return true;
}

/* groupby(attribute, default, case_sensitive) */
static bool filter_groupby(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                           JinjaValue *out)
{
    JinjaList items;
    JinjaValue sorted, last = {0};
    bool sensitive;
    (void)rest;
    if (!flag(r, a[3], &sensitive) || !value_items(r, a[0], &items))
        return false;
    Key key = {.path = a[1], .case_sensitive = sensitive};
    if (!sort_items(r, &items, &key, false, &sorted) || !list_new(r, J_LIST, 0, out))
        return false;
    for (size_t i = 0; i < sorted.list->count; i++) {
        JinjaValue item = sorted.list->items[i], own, compared, group;
        bool same = false;
        if (!value_path(r, item, a[1], &own) || !key_of(r, &key, item, &compared))
            return false;
        if (own.kind == J_UNDEFINED && a[2].kind != J_ABSENT)
            own = a[2];
        if (last.kind != J_ABSENT && !value_equal(r, last, compared, &same))
            return false;
        last = compared;
        if (!same) {
            JinjaValue list;
            if (!list_new(r, J_LIST, 0, &list) || !pair_new(r, own, list, &group) ||
                !list_add(r, out->list, group))
                return false;
            group.list->group = true;
        }
        group = out->list->items[out->list->count - 1];
        if (!list_add(r, group.list->items[1].list, item))
            return false;
    }
    return true;
}

/* sum(attribute, start) */
static bool filter_sum(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    JinjaList items;
    (void)rest;
    if (!value_items(r, a[0], &items))
        return false;
    *out = a[2].kind == J_ABSENT ? value_int(0, 0) : a[2];
    for (size_t i = 0; i < items.count; i++) {
        JinjaValue v = items.items[i];
        if ((path_of(a[1]).kind != J_ABSENT && !value_path(r, v, a[1], &v)) ||
            !value_binary(r, OP_ADD, *out, v, out))
            return false;
    }
    return true;
}

/* batch(linecount, fill_with): lists of linecount items. */
static bool filter_batch(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    JinjaList items;
    (void)rest;
    if (!value_is_whole(a[1]) || value_whole(a[1]) < 1)
        return jinja_fail(r, ERR_INPUT, "batch() takes a number of items");
    size_t size = (size_t)value_whole(a[1]);
    JinjaValue line = {0};
    if (!value_items(r, a[0], &items) || !list_new(r, J_ITER, 0, out))
        return false;
    for (size_t i = 0; i < items.count; i++) {
        if (i % size == 0 && (!list_new(r, J_LIST, 0, &line) || !list_add(r, out->list, line)))
            return false;
        if (!list_add(r, line.list, items.items[i]))
            return false;
    }
    bool filled = path_of(a[2]).kind != J_ABSENT && items.count;
    while (filled && line.list->count < size)
        if (!list_add(r, line.list, a[2]))
            return false;
    return true;
}

/* slice(slices, fill_with): that many lists. */
static bool filter_slice(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    JinjaList items;
    (void)rest;
    if (!value_is_whole(a[1]) || value_whole(a[1]) < 1)
        return jinja_fail(r, ERR_INPUT, "slice() takes a number of lists");
    size_t slices = (size_t)value_whole(a[1]), at = 0;
    if (!value_items(r, a[0], &items) || !list_new(r, J_ITER, 0, out))
        return false;
    size_t each = items.count / slices, longer = items.count % slices;
    for (size_t i = 0; i < slices; i++) {
        JinjaValue line;
        if (!list_new(r, J_LIST, 0, &line) || !list_add(r, out->list, line))
            return false;
        for (size_t k = 0; k < each + (i < longer); k++)
            if (!list_add(r, line.list, items.items[at++]))
                return false;
        if (path_of(a[2]).kind != J_ABSENT && i >= longer && longer &&
            !list_add(r, line.list, a[2]))
            return false;
    }
    return true;
}

static bool filter_items(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    (void)rest;
    if (a[0].kind == J_UNDEFINED)
        return list_new(r, J_ITER, 0, out);
    if (a[0].kind != J_DICT)
        return jinja_fail(r, ERR_INPUT, "items needs a dict, not a %s", value_type(a[0]));
    return dict_pairs(r, a[0].dict, J_ITER, out);
}

static bool filter_attr(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    const JinjaString *s;
    (void)rest;
    if (!value_defined(r, a[0]) || !string_of(r, a[1], &s))
        return false;
    *out = value_undefined(s, LACKS_MEMBER);
    return a[0].kind == J_DICT || value_member(r, a[0], s, out); /* never a key */
}

const JinjaCallable jinja_list_filters[] = {
    {"length", filter_length, "", 0},
    {"count", filter_length, "", 0},
    {"first", filter_first, "", 0},
    {"last", filter_last, "", 0},
    {"list", filter_list, "", 0},
    {"reverse", filter_reverse, "", 0},
    {"join", filter_join, "d attribute", 0},
    {"map", filter_map, "*", 0},
    {"select", filter_select, "*", 0},
    {"reject", filter_reject, "*", 0},
    {"selectattr", filter_selectattr, "*", 0},
    {"rejectattr", filter_rejectattr, "*", 0},
    {"sort", filter_sort, "reverse case_sensitive attribute", 0},
    {"dictsort", filter_dictsort, "case_sensitive by reverse", 0},
    {"min", filter_min, "case_sensitive attribute", 0},
    {"max", filter_max, "case_sensitive attribute", 0},
    {"unique", filter_unique, "case_sensitive attribute", 0},
    {"groupby", filter_groupby, "attribute default case_sensitive", 1},
    {"sum", filter_sum, "attribute start", 0},
    {"batch", filter_batch, "linecount fill_with", 1},
    {"slice", filter_slice, "slices fill_with", 1},
    {"items", filter_items, "", 0},
    {"attr", filter_attr, "name", 1},
    {NULL, NULL, NULL, 0},
};

/* ---- methods ---- */

static bool list_copy(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return copy_items(r, a[0].list, J_LIST, out);
}

static bool list_count(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    int64_t count = 0;
    (void)rest;
    for (size_t i = 0; i < a[0].list->count; i++) {
        bool equal;
        if (!value_equal(r, a[0].list->items[i], a[1], &equal))
            return false;
        count += equal;
    }
    *out = value_int(count, ORIGIN_DATA);
    return true;
}

static bool list_index(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    for (size_t i = 0; i < a[0].list->count; i++) {
        bool equal;
        if (!value_equal(r, a[0].list->items[i], a[1], &equal))
            return false;
        if (equal) {
            *out = value_int((int64_t)i, ORIGIN_DATA);
            return true;
        }
    }
    return jinja_fail(r, ERR_INPUT, "an item is not found in a list");
}

const JinjaCallable jinja_list_methods[] = {
    {"copy", list_copy, "", 0},    {"count", list_count, "value", 1},
    {"index", list_index, "value", 1}, {"append", NULL, "", 0},
    {"clear", NULL, "", 0},        {"extend", NULL, "", 0},
    {"insert", NULL, "", 0},       {"pop", NULL, "", 0},
    {"remove", NULL, "", 0},       {"reverse", NULL, "", 0},
    {"sort", NULL, "", 0},         {NULL, NULL, NULL, 0},
};

const JinjaCallable jinja_tuple_methods[] = {
    {"count", list_count, "value", 1},
    {"index", list_index, "value", 1},
    {NULL, NULL, NULL, 0},
};

static bool dict_get(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    JinjaValue *found;
    (void)rest;
    if (!dict_find(r, a[0].dict, a[1], &found))
        return false;
    *out = found ? *found : a[2].kind == J_ABSENT ? value_none() : a[2];
    return true;
}

static bool dict_items(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return dict_pairs(r, a[0].dict, J_VIEW, out);
}

static bool dict_keys(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    JinjaList keys = {.items = a[0].dict->keys, .count = a[0].dict->count};
    (void)rest;
    return copy_items(r, &keys, J_VIEW, out);
}

static bool dict_values(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    JinjaList values = {.items = a[0].dict->values, .count = a[0].dict->count};
    (void)rest;
    return copy_items(r, &values, J_VIEW, out);
}

static bool dict_copy(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    if (!dict_new(r, J_DICT, out))
        return false;
    for (uint32_t i = 0; i < a[0].dict->count; i++)
        if (!dict_set(r, out->dict, a[0].dict->keys[i], a[0].dict->values[i]))
            return false;
    return true;
}

const JinjaCallable jinja_dict_methods[] = {
    {"get", dict_get, "key default", 1},
    {"items", dict_items, "", 0},
    {"keys", dict_keys, "", 0},
    {"values", dict_values, "", 0},
    {"copy", dict_copy, "", 0},
    {"clear", NULL, "", 0},
    {"fromkeys", NULL, "", 0},
    {"pop", NULL, "", 0},
    {"popitem", NULL, "", 0},
    {"setdefault", NULL, "", 0},
    {"update", NULL, "", 0},
    {NULL, NULL, NULL, 0},
};
