/* jinja_call.c: arguments, calls of every kind, and the functions that templates find: range,
 * dict, namespace, cycler, joiner, raise_exception, strftime_now. */
#include "text/jinja_model.h"

#include <string.h>
#include <time.h>

enum { ARGUMENTS_MAX = 1024, RANGE_MAX = 100000 };

bool args_add(JinjaRender *r, JinjaArgs *args, JinjaValue v)
{
    if (args->count == ARGUMENTS_MAX)
        return jinja_fail(r, ERR_LIMIT, "a call has over %d arguments", ARGUMENTS_MAX);
    if (args->count == args->room) {
        uint32_t room = args->room ? 2 * args->room : 4;
        JinjaValue *more = jinja_alloc(r, room, sizeof *more);
        if (!more)
            return false;
        if (args->count)
            memcpy(more, args->plain, args->count * sizeof *more);
        args->plain = more;
        args->room = room;
    }
    args->plain[args->count++] = v;
    return true;
}

bool args_add_keyword(JinjaRender *r, JinjaArgs *args, const JinjaString *name, JinjaValue v)
{
    if (args->keyword_count == ARGUMENTS_MAX)
        return jinja_fail(r, ERR_LIMIT, "a call has over %d arguments", ARGUMENTS_MAX);
    if (args->keyword_count == args->keyword_room) {
        uint32_t room = args->keyword_room ? 2 * args->keyword_room : 4;
        JinjaKeyword *more = jinja_alloc(r, room, sizeof *more);
        if (!more)
            return false;
        if (args->keyword_count)
            memcpy(more, args->keywords, args->keyword_count * sizeof *more);
        args->keywords = more;
        args->keyword_room = room;
    }
    args->keywords[args->keyword_count++] = (JinjaKeyword){name, v};
    return true;
}

static bool collect_many(JinjaRender *r, const JinjaNode *n, JinjaValue v, JinjaArgs *out)
{
    JinjaList items;
    if (n->op == ARG_LIST) {
        if (!value_items(r, v, &items))
            return false;
        for (size_t i = 0; i < items.count; i++)
            if (!args_add(r, out, items.items[i]))
                return false;
        return true;
    }
    if (v.kind != J_DICT)
        return jinja_fail(r, ERR_INPUT, "** needs a dict, not a %s", value_type(v));
    for (uint32_t i = 0; i < v.dict->count; i++) {
        JinjaValue key = v.dict->keys[i];
        if (key.kind != J_STRING)
            return jinja_fail(r, ERR_INPUT, "an argument's name is a %s", value_type(key));
        if (!args_add_keyword(r, out, key.string, v.dict->values[i]))
            return false;
    }
    return true;
}

bool jinja_collect(JinjaRender *r, const JinjaNode *n, JinjaArgs *out)
{
    for (uint32_t i = 0; i < n->count; i++) {
        const JinjaNode *argument = n->items[i];
        JinjaValue v;
        if (!jinja_eval(r, argument->a, &v))
            return false;
        if (!(argument->op == ARG_PLAIN     ? args_add(r, out, v)
              : argument->op == ARG_KEYWORD ? args_add_keyword(r, out, argument->name, v)
                                            : collect_many(r, argument, v, out)))
            return false;
    }
    r->line = n->line;
    return true;
}

/* ---- rows of the tables ---- */

const JinjaCallable *callable_find(const JinjaCallable *rows, const char *name, size_t size)
{
    for (; rows->name; rows++)
        if (strlen(rows->name) == size && !memcmp(rows->name, name, size))
            return rows;
    return NULL;
}

/* Which parameter of a row has this name; 0: none. */
static uint32_t parameter_of(const JinjaCallable *row, const JinjaString *name)
{
    uint32_t at = 1;
    for (const char *word = row->parameters; *word; at++) {
        size_t size = strcspn(word, " ");
        if (string_is(name, word, size))
            return at;
        word += size + (word[size] == ' ');
    }
    return 0;
}

static uint32_t parameter_count(const JinjaCallable *row)
{
    uint32_t count = row->parameters[0] != 0;
    for (const char *at = row->parameters; *at; at++)
        count += *at == ' ';
    return count;
}

bool callable_run(JinjaRender *r, const JinjaCallable *row, JinjaValue self, const JinjaArgs *args,
                  JinjaValue *out)
{
    JinjaValue a[CALL_PARAMETERS_MAX + 1] = {{0}};
    a[0] = self;
    if (!row->fn)
        return jinja_fail(r, ERR_INPUT, "'%s' is not allowed in a chat template", row->name);
    if (!strcmp(row->parameters, "*"))
        return row->fn(r, a, args, out);
    uint32_t most = parameter_count(row);
    if (args->count > most)
        return jinja_fail(r, ERR_INPUT, "'%s' takes %u arguments, not %u", row->name, most,
                          args->count);
    for (uint32_t i = 0; i < args->count; i++)
        a[i + 1] = args->plain[i];
    for (uint32_t i = 0; i < args->keyword_count; i++) {
        const JinjaString *name = args->keywords[i].name;
        uint32_t at = parameter_of(row, name);
        if (!at || a[at].kind != J_ABSENT)
            return jinja_fail(r, ERR_INPUT, "'%s' takes no argument '%.*s', or has it twice",
                              row->name, (int)name->size, name->bytes);
        a[at] = args->keywords[i].value;
    }
    for (uint32_t i = 1; i <= row->required; i++)
        if (a[i].kind == J_ABSENT)
            return jinja_fail(r, ERR_INPUT, "'%s' needs %u arguments", row->name, row->required);
    return row->fn(r, a, args, out);
}

/* ---- macros ---- */

static bool named_argument(JinjaRender *r, const JinjaArgs *args, const JinjaString *name,
                           JinjaValue *out)
{
    (void)r;
    for (uint32_t i = 0; i < args->keyword_count; i++)
        if (string_is(args->keywords[i].name, name->bytes, name->size)) {
            *out = args->keywords[i].value;
            return true;
        }
    return false;
}

static const JinjaString *symbol(const JinjaRender *r, const char *name)
{
    for (uint32_t i = 0; i < r->t->symbol_count; i++)
        if (string_is(r->t->symbols[i], name, strlen(name)))
            return r->t->symbols[i];
    return NULL;
}

/* Arguments beyond the parameters: varargs, kwargs and caller, or an error. */
static bool bind_rest(JinjaRender *r, const JinjaNode *n, const JinjaArgs *args, JinjaScope *scope)
{
    JinjaValue rest, named;
    if (!list_new(r, J_TUPLE, 0, &rest) || !dict_new(r, J_DICT, &named))
        return false;
    for (uint32_t i = n->count; i < args->count; i++)
        if (!list_add(r, rest.list, args->plain[i]))
            return false;
    for (uint32_t i = 0; i < args->keyword_count; i++) {
        const JinjaKeyword *k = &args->keywords[i];
        JinjaValue key = {.kind = J_STRING, .string = k->name};
        bool known = false;
        for (uint32_t p = 0; p < n->count && !known; p++)
            known = string_is(k->name, n->items[p]->name->bytes, n->items[p]->name->size);
        if (known)
            continue;
        if (n->op && STRING_IS(k->name, "caller")) {
            if (!scope_set(r, scope, symbol(r, "caller"), k->value))
                return false;
        } else if (!dict_set(r, named.dict, key, k->value)) {
            return false;
        }
    }
    if (rest.list->count && !n->flag)
        return jinja_fail(r, ERR_INPUT, "the macro '%.*s' takes %u arguments, not %u",
                          (int)n->name->size, n->name->bytes, n->count, args->count);
    if (named.dict->count && !n->flag_b)
        return jinja_fail(r, ERR_INPUT, "the macro '%.*s' takes no argument '%.*s'",
                          (int)n->name->size, n->name->bytes,
                          (int)named.dict->keys[0].string->size,
                          named.dict->keys[0].string->bytes);
    return (!n->flag || scope_set(r, scope, symbol(r, "varargs"), rest)) &&
           (!n->flag_b || scope_set(r, scope, symbol(r, "kwargs"), named));
}

static bool call_macro(JinjaRender *r, const JinjaMacro *macro, const JinjaArgs *args,
                       JinjaValue *out)
{
    const JinjaNode *n = macro->node;
    JinjaScope *scope = scope_new(r, macro->scope), *outer = r->scope;
    if (!scope || !bind_rest(r, n, args, scope))
        return false;
    r->scope = scope;
    for (uint32_t i = 0; i < n->count; i++) {
        const JinjaNode *parameter = n->items[i];
        JinjaValue v = value_undefined(parameter->name, LACKS_VARIABLE), given;
        bool named = named_argument(r, args, parameter->name, &given);
        if (i < args->count && named)
            return jinja_fail(r, ERR_INPUT, "an argument is given twice");
        if (i < args->count || named)
            v = named ? given : args->plain[i];
        else if (parameter->a && !jinja_eval(r, parameter->a, &v))
            return false;
        if (!scope_set(r, scope, parameter->name, v))
            return false;
    }
    r->scope = outer;
    return jinja_capture(r, n->c, scope, out);
}

static bool call_loop(JinjaRender *r, const JinjaLoop *loop, const JinjaArgs *args,
                      JinjaValue *out)
{
    JinjaOut text = {0}, *outer = r->out;
    if (!loop->node->flag)
        return jinja_fail(r, ERR_INPUT, "a loop that is not recursive is called");
    if (args->count != 1 || args->keyword_count)
        return jinja_fail(r, ERR_INPUT, "loop() takes one argument");
    r->out = &text;
    bool good = jinja_loop_over(r, loop->node, args->plain[0], loop->scope, loop->depth0 + 1);
    r->out = outer;
    return good && out_string(r, &text, out);
}

static bool call_cycler(JinjaRender *r, JinjaValue f, JinjaValue *out)
{
    JinjaCycler *c = f.cycler;
    if (c->at++)
        *out = c->items.items[0];
    return c->at > 1 || string_make(r, "", 0, 0, out);
}

bool jinja_call(JinjaRender *r, JinjaValue f, const JinjaArgs *args, JinjaValue *out)
{
    switch (f.kind) {
    case J_MACRO:
        return call_macro(r, f.macro, args, out);
    case J_METHOD:
        return callable_run(r, f.bound->callable, f.bound->self, args, out);
    case J_FUNCTION:
        return callable_run(r, f.callable, (JinjaValue){0}, args, out);
    case J_LOOP:
        return call_loop(r, f.loop, args, out);
    case J_JOINER:
        return call_cycler(r, f, out);
    default:
        return value_defined(r, f) &&
               jinja_fail(r, ERR_INPUT, "a %s cannot be called", value_type(f));
    }
}

/* ---- methods of loop and cycler ---- */

static bool loop_cycle(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    if (a[0].kind != J_LOOP || !rest->count)
        return jinja_fail(r, ERR_INPUT, "there is nothing to cycle through");
    *out = rest->plain[a[0].loop->index0 % rest->count];
    return true;
}

static bool loop_changed(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    JinjaValue all;
    bool equal = false;
    if (a[0].kind != J_LOOP)
        return jinja_fail(r, ERR_INPUT, "a cycler does not change");
    if (!list_new(r, J_TUPLE, rest->count, &all))
        return false;
    for (uint32_t i = 0; i < rest->count; i++)
        if (!list_add(r, all.list, rest->plain[i]))
            return false;
    if (a[0].loop->changed.kind != J_ABSENT && !value_equal(r, a[0].loop->changed, all, &equal))
        return false;
    a[0].loop->changed = all;
    *out = value_bool(!equal, ORIGIN_DATA);
    return true;
}

static bool cycler_next(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                        JinjaValue *out)
{
    (void)rest;
    if (a[0].kind != J_CYCLER)
        return jinja_fail(r, ERR_INPUT, "a loop has no next()");
    JinjaCycler *c = a[0].cycler;
    *out = c->items.items[c->at];
    c->at = (c->at + 1) % c->items.count;
    return true;
}

static bool cycler_reset(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    (void)rest;
    if (a[0].kind != J_CYCLER)
        return jinja_fail(r, ERR_INPUT, "a loop has no reset()");
    a[0].cycler->at = 0;
    *out = value_none();
    return true;
}

const JinjaCallable jinja_loop_methods[] = {
    {"cycle", loop_cycle, "*", 0},
    {"changed", loop_changed, "*", 0},
    {"next", cycler_next, "", 0},
    {"reset", cycler_reset, "", 0},
    {NULL, NULL, NULL, 0},
};

/* ---- functions ---- */

static bool make_range(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    int64_t range[3] = {0, 0, 1};
    (void)rest;
    for (int i = 1; i <= 3 && a[i].kind != J_ABSENT; i++) {
        if (!value_is_whole(a[i]))
            return value_defined(r, a[i]) &&
                   jinja_fail(r, ERR_INPUT, "range() takes whole numbers");
        range[i - 1] = value_whole(a[i]);
    }
    if (a[2].kind == J_ABSENT) {
        range[1] = range[0];
        range[0] = 0;
    }
    if (range[2] == 0)
        return jinja_fail(r, ERR_INPUT, "range() has the step 0");
    if (!list_new(r, J_RANGE, 0, out))
        return false;
    memcpy(out->list->range, range, sizeof range);
    for (int64_t i = range[0]; range[2] > 0 ? i < range[1] : i > range[1];) {
        if (out->list->count == RANGE_MAX)
            return jinja_fail(r, ERR_LIMIT, "range() has over %d numbers", RANGE_MAX);
        if (!list_add(r, out->list, value_int(i, value_origin(a[1]))))
            return false;
        if (__builtin_add_overflow(i, range[2], &i))
            break;
    }
    return true;
}

/* dict(pairs or dict, name=value, ...); namespace too. */
static bool fill_dict(JinjaRender *r, const JinjaArgs *args, JinjaKind kind, JinjaValue *out)
{
    if (!dict_new(r, kind, out))
        return false;
    if (args->count > 1)
        return jinja_fail(r, ERR_INPUT, "a dict is made of one other at most");
    JinjaValue from = args->count ? args->plain[0] : value_none();
    JinjaList pairs = {0};
    if (from.kind == J_DICT) {
        for (uint32_t i = 0; i < from.dict->count; i++)
            if (!dict_set(r, out->dict, from.dict->keys[i], from.dict->values[i]))
                return false;
    } else if (args->count && !value_items(r, from, &pairs)) {
        return false;
    }
    for (size_t i = 0; i < pairs.count; i++) {
        JinjaList pair;
        if (!value_items(r, pairs.items[i], &pair))
            return false;
        if (pair.count != 2)
            return jinja_fail(r, ERR_INPUT, "a dict is made of pairs");
        if (!dict_set(r, out->dict, pair.items[0], pair.items[1]))
            return false;
    }
    for (uint32_t i = 0; i < args->keyword_count; i++) {
        JinjaValue key = {.kind = J_STRING, .string = args->keywords[i].name};
        if (kind == J_NAMESPACE && key.string->size && key.string->bytes[0] == '_')
            return jinja_fail(r, ERR_INPUT, "a namespace has no attributes that begin with '_'");
        if (!dict_set(r, out->dict, key, args->keywords[i].value))
            return false;
    }
    return true;
}

static bool make_dict(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)a;
    return fill_dict(r, rest, J_DICT, out);
}

static bool make_namespace(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                           JinjaValue *out)
{
    (void)a;
    return fill_dict(r, rest, J_NAMESPACE, out);
}

static bool make_cycler(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                        JinjaValue *out)
{
    (void)a;
    JinjaCycler *c = jinja_alloc(r, 1, sizeof *c);
    if (!c)
        return false;
    if (!rest->count)
        return jinja_fail(r, ERR_INPUT, "cycler() needs items");
    c->items = (JinjaList){.items = rest->plain, .count = rest->count};
    *out = (JinjaValue){.kind = J_CYCLER, .cycler = c};
    return true;
}

static bool make_joiner(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                        JinjaValue *out)
{
    (void)rest;
    JinjaCycler *c = jinja_alloc(r, 1, sizeof *c);
    JinjaValue *separator = c ? jinja_alloc(r, 1, sizeof *separator) : NULL;
    if (!separator)
        return false;
    *separator = a[1];
    if (a[1].kind == J_ABSENT && !string_make(r, ", ", 2, 0, separator))
        return false;
    c->items = (JinjaList){.items = separator, .count = 1};
    *out = (JinjaValue){.kind = J_JOINER, .cycler = c};
    return true;
}

static bool raise_exception(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                            JinjaValue *out)
{
    const JinjaString *s;
    (void)rest;
    (void)out;
    return string_of(r, a[1], &s) &&
           jinja_fail(r, ERR_INPUT, "%.*s", (int)(s->size < 200 ? s->size : 200), s->bytes);
}

static bool strftime_now(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    (void)rest;
    struct tm parts;
    time_t now = (time_t)r->now;
    char format[128], text[512];
    if (a[1].kind != J_STRING || a[1].string->size >= sizeof format)
        return jinja_fail(r, ERR_INPUT, "strftime_now() takes a format of up to 127 bytes");
    memcpy(format, a[1].string->bytes, a[1].string->size);
    format[a[1].string->size] = 0;
    if (!localtime_r(&now, &parts))
        return jinja_fail(r, ERR_INPUT, "the time now has no date");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t size = strftime(text, sizeof text, format, &parts);
#pragma GCC diagnostic pop
    char *copy = jinja_alloc(r, size + 1, 1);
    if (!copy)
        return false;
    memcpy(copy, text, size);
    return string_make(r, copy, size, string_origin(a[1].string), out);
}

static const JinjaCallable functions[] = {
    {"range", make_range, "start stop step", 1},
    {"dict", make_dict, "*", 0},
    {"namespace", make_namespace, "*", 0},
    {"cycler", make_cycler, "*", 0},
    {"joiner", make_joiner, "sep", 0},
    {"raise_exception", raise_exception, "message", 1},
    {"strftime_now", strftime_now, "format", 1},
    {NULL, NULL, NULL, 0},
};

const JinjaCallable *jinja_function_find(const char *name, size_t size)
{
    return callable_find(functions, name, size);
}
