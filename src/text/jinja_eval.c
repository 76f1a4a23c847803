/* jinja_eval.c: expressions. One function for each kind of node, in the table at the end. */
#include "text/jinja_model.h"

#include <math.h>
#include <string.h>

static bool eval_const(JinjaRender *r, const JinjaNode *n, JinjaValue *out)
{
    (void)r;
    *out = n->value;
    return true;
}

/* A variable of the rendering becomes a value when it is first asked for, in the outermost scope. */
static bool find_global(JinjaRender *r, JinjaScope *outermost, const JinjaString *name,
                        JinjaValue *out)
{
    for (size_t i = 0; i < r->variable_count; i++) {
        const JinjaVariable *v = &r->variables[i];
        if (strlen(v->name) == name->size && !memcmp(v->name, name->bytes, name->size))
            return value_of_json(r, v->value, v->trust, out) &&
                   scope_set(r, outermost, name, *out);
    }
    const JinjaCallable *function = jinja_function_find(name->bytes, name->size);
    if (function)
        *out = (JinjaValue){.kind = J_FUNCTION, .callable = function};
    else
        *out = value_undefined(name, LACKS_VARIABLE);
    return true;
}

static bool eval_name(JinjaRender *r, const JinjaNode *n, JinjaValue *out)
{
    JinjaScope *outermost = r->scope;
    for (JinjaScope *scope = r->scope; scope; outermost = scope, scope = scope->parent)
        for (uint32_t i = 0; i < scope->count; i++)
            if (scope->names[i] == n->name) {
                *out = scope->values[i];
                return true;
            }
    return find_global(r, outermost, n->name, out);
}

static bool eval_list(JinjaRender *r, const JinjaNode *n, JinjaValue *out)
{
    if (!list_new(r, n->kind == N_LIST ? J_LIST : J_TUPLE, n->count, out))
        return false;
    for (uint32_t i = 0; i < n->count; i++) {
        JinjaValue item;
        if (!jinja_eval(r, n->items[i], &item) || !list_add(r, out->list, item))
            return false;
    }
    return true;
}

static bool eval_dict(JinjaRender *r, const JinjaNode *n, JinjaValue *out)
{
    if (!dict_new(r, J_DICT, out))
        return false;
    for (uint32_t i = 0; i < n->count; i += 2) {
        JinjaValue key, value;
        if (!jinja_eval(r, n->items[i], &key) || !jinja_eval(r, n->items[i + 1], &value) ||
            !dict_set(r, out->dict, key, value))
            return false;
    }
    return true;
}

static bool eval_cond(JinjaRender *r, const JinjaNode *n, JinjaValue *out)
{
    JinjaValue test;
    bool truth;
    if (!jinja_eval(r, n->a, &test) || !value_truth(r, test, &truth))
        return false;
    if (truth || n->c)
        return jinja_eval(r, truth ? n->b : n->c, out);
    *out = value_undefined(NULL, LACKS_VARIABLE);
    return true;
}

static bool eval_or(JinjaRender *r, const JinjaNode *n, JinjaValue *out)
{
    bool truth;
    if (!jinja_eval(r, n->a, out) || !value_truth(r, *out, &truth))
        return false;
    return truth == (n->kind == N_OR) || jinja_eval(r, n->b, out);
}

static bool eval_not(JinjaRender *r, const JinjaNode *n, JinjaValue *out)
{
    JinjaValue value;
    bool truth;
    if (!jinja_eval(r, n->a, &value) || !value_truth(r, value, &truth))
        return false;
    *out = value_bool(!truth, ORIGIN_DATA);
    return true;
}

static bool compare(JinjaRender *r, JinjaOp op, JinjaValue x, JinjaValue y, bool *out)
{
    int way = 0;
    switch (op) {
    case OP_EQ:
        return value_equal(r, x, y, out);
    case OP_NE:
        if (!value_equal(r, x, y, out))
            return false;
        *out = !*out;
        return true;
    case OP_IN:
        return value_contains(r, y, x, out);
    case OP_NOT_IN:
        if (!value_contains(r, y, x, out))
            return false;
        *out = !*out;
        return true;
    default:
        if (!value_order(r, x, y, &way))
            return false;
        *out = op == OP_LT ? way < 0 : op == OP_LE ? way <= 0 : op == OP_GT ? way > 0 : way >= 0;
        return true;
    }
}

static bool eval_compare(JinjaRender *r, const JinjaNode *n, JinjaValue *out)
{
    JinjaValue left, right;
    bool truth = true;
    if (!jinja_eval(r, n->a, &left))
        return false;
    for (uint32_t i = 0; i < n->count && truth; i++) {
        if (!jinja_eval(r, n->items[i]->a, &right) ||
            !compare(r, (JinjaOp)n->items[i]->op, left, right, &truth))
            return false;
        left = right;
    }
    *out = value_bool(truth, ORIGIN_DATA);
    return true;
}

static bool eval_concat(JinjaRender *r, const JinjaNode *n, JinjaValue *out)
{
    JinjaOut text = {0};
    for (uint32_t i = 0; i < n->count; i++) {
        JinjaValue part;
        if (!jinja_eval(r, n->items[i], &part) || !out_value(r, &text, part))
            return false;
    }
    return out_string(r, &text, out);
}

/* ---- arithmetic ---- */

static bool overflow(JinjaRender *r)
{
    return jinja_fail(r, ERR_INPUT, "a whole number leaves 64 bits");
}

static int64_t floor_divide(int64_t x, int64_t y)
{
    int64_t q = x / y;
    return q - (x % y != 0 && (x % y < 0) != (y < 0));
}

static bool whole_power(JinjaRender *r, int64_t x, int64_t y, uint8_t origin, JinjaValue *out)
{
    int64_t result = 1;
    if (y < 0) {
        *out = value_real(pow((double)x, (double)y), origin);
        return x != 0 || jinja_fail(r, ERR_INPUT, "0 has no negative power");
    }
    if (x == 0 || x == 1 || x == -1) {
        *out = value_int(y == 0 ? 1 : x == -1 && y % 2 == 0 ? 1 : x, origin);
        return true;
    }
    for (int64_t i = 0; i < y; i++)
        if (__builtin_mul_overflow(result, x, &result))
            return overflow(r);
    *out = value_int(result, origin);
    return true;
}

static bool whole_binary(JinjaRender *r, JinjaOp op, int64_t x, int64_t y, uint8_t origin,
                         JinjaValue *out)
{
    int64_t result = 0;
    bool wrong = false;
    if ((op == OP_DIV || op == OP_FLOOR || op == OP_MOD) && y == 0)
        return jinja_fail(r, ERR_INPUT, "a number is divided by 0");
    switch (op) {
    case OP_ADD:
        wrong = __builtin_add_overflow(x, y, &result);
        break;
    case OP_SUB:
        wrong = __builtin_sub_overflow(x, y, &result);
        break;
    case OP_MUL:
        wrong = __builtin_mul_overflow(x, y, &result);
        break;
    case OP_DIV:
        *out = value_real((double)x / (double)y, origin);
        return true;
    case OP_FLOOR:
        wrong = x == INT64_MIN && y == -1;
        result = wrong ? 0 : floor_divide(x, y);
        break;
    case OP_MOD:
        result = y == -1 ? 0 : x - floor_divide(x, y) * y;
        break;
    default:
        return whole_power(r, x, y, origin, out);
    }
    *out = value_int(result, origin);
    return !wrong || overflow(r);
}

static bool real_binary(JinjaRender *r, JinjaOp op, double x, double y, uint8_t origin,
                        JinjaValue *out)
{
    double result;
    if ((op == OP_DIV || op == OP_FLOOR || op == OP_MOD) && y == 0)
        return jinja_fail(r, ERR_INPUT, "a number is divided by 0");
    switch (op) {
    case OP_ADD:
        result = x + y;
        break;
    case OP_SUB:
        result = x - y;
        break;
    case OP_MUL:
        result = x * y;
        break;
    case OP_DIV:
        result = x / y;
        break;
    case OP_FLOOR:
        result = floor(x / y);
        break;
    case OP_MOD:
        result = fmod(x, y);
        if (result != 0 && (result < 0) != (y < 0))
            result += y;
        break;
    default:
        result = pow(x, y);
        break;
    }
    *out = value_real(result, origin);
    return true;
}

static bool repeat(JinjaRender *r, JinjaValue x, int64_t times, JinjaValue *out)
{
    JinjaOut text = {0};
    if (x.kind != J_STRING && !list_new(r, (JinjaKind)x.kind, 0, out))
        return false;
    for (int64_t i = 0; i < times; i++) {
        if (!jinja_steps(r, 1))
            return false;
        if (x.kind == J_STRING && !out_add_string(r, &text, x.string))
            return false;
        for (size_t k = 0; x.kind != J_STRING && k < x.list->count; k++)
            if (!list_add(r, out->list, x.list->items[k]))
                return false;
    }
    if (x.kind != J_STRING)
        return true;
    if (!out_string(r, &text, out))
        return false;
    ((JinjaString *)out->string)->markup = x.string->markup;
    return true;
}

static bool join_lists(JinjaRender *r, JinjaValue x, JinjaValue y, JinjaValue *out)
{
    if (!list_new(r, (JinjaKind)x.kind, x.list->count + y.list->count, out))
        return false;
    for (size_t i = 0; i < x.list->count; i++)
        if (!list_add(r, out->list, x.list->items[i]))
            return false;
    for (size_t i = 0; i < y.list->count; i++)
        if (!list_add(r, out->list, y.list->items[i]))
            return false;
    return true;
}

bool string_escape(JinjaRender *r, const JinjaString *s, JinjaValue *out)
{
    static const char signs[] = "&<>'\"";
    static const char *const texts[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    JinjaOut text = {0};
    for (size_t i = 0; i < s->size; i++) {
        uint8_t origin = s->origins ? s->origins[i] : s->origin;
        const char *found = s->bytes[i] ? strchr(signs, s->bytes[i]) : NULL;
        const char *as = found ? texts[found - signs] : s->bytes + i;
        if (!out_add(r, &text, as, found ? strlen(as) : 1, origin))
            return false;
    }
    if (!out_string(r, &text, out))
        return false;
    ((JinjaString *)out->string)->markup = true;
    return true;
}

/* With a markup string on one side the other is escaped, as markupsafe does. */
static bool join_strings(JinjaRender *r, const JinjaString *x, const JinjaString *y,
                         JinjaValue *out)
{
    JinjaOut text = {0};
    JinjaValue escaped;
    bool markup = x->markup || y->markup;
    if (markup && x->markup != y->markup) {
        if (!string_escape(r, x->markup ? y : x, &escaped))
            return false;
        if (x->markup)
            y = escaped.string;
        else
            x = escaped.string;
    }
    if (!out_add_string(r, &text, x) || !out_add_string(r, &text, y) || !out_string(r, &text, out))
        return false;
    ((JinjaString *)out->string)->markup = markup;
    return true;
}

static const char op_signs[][3] = {[OP_ADD] = "+",  [OP_SUB] = "-", [OP_MUL] = "*", [OP_DIV] = "/",
                                   [OP_FLOOR] = "//", [OP_MOD] = "%", [OP_POW] = "**"};

bool value_binary(JinjaRender *r, JinjaOp op, JinjaValue x, JinjaValue y, JinjaValue *out)
{
    if (value_is_number(x) && value_is_number(y)) {
        uint8_t origin = x.origin | y.origin;
        if (x.kind == J_FLOAT || y.kind == J_FLOAT)
            return real_binary(r, op, value_number(x), value_number(y), origin, out);
        return whole_binary(r, op, value_whole(x), value_whole(y), origin, out);
    }
    if (op == OP_MOD && x.kind == J_STRING)
        return format_percent(r, x.string, y, out);
    if (!value_defined(r, x) || !value_defined(r, y))
        return false;
    if (op == OP_ADD && x.kind == J_STRING && y.kind == J_STRING)
        return join_strings(r, x.string, y.string, out);
    if (op == OP_ADD && x.kind == y.kind && (x.kind == J_LIST || x.kind == J_TUPLE))
        return join_lists(r, x, y, out);
    bool left = x.kind == J_STRING || x.kind == J_LIST || x.kind == J_TUPLE;
    bool right = y.kind == J_STRING || y.kind == J_LIST || y.kind == J_TUPLE;
    if (op == OP_MUL && left && value_is_whole(y))
        return repeat(r, x, value_whole(y), out);
    if (op == OP_MUL && right && value_is_whole(x))
        return repeat(r, y, value_whole(x), out);
    return jinja_fail(r, ERR_INPUT, "a %s %s a %s cannot be reckoned", value_type(x), op_signs[op],
                      value_type(y));
}

static bool eval_binary(JinjaRender *r, const JinjaNode *n, JinjaValue *out)
{
    JinjaValue x, y;
    return jinja_eval(r, n->a, &x) && jinja_eval(r, n->b, &y) &&
           value_binary(r, (JinjaOp)n->op, x, y, out);
}

static bool eval_negate(JinjaRender *r, const JinjaNode *n, JinjaValue *out)
{
    JinjaValue x;
    if (!jinja_eval(r, n->a, &x) || !value_defined(r, x))
        return false;
    if (!value_is_number(x))
        return jinja_fail(r, ERR_INPUT, "a %s has no sign", value_type(x));
    if (x.kind == J_FLOAT) {
        *out = value_real(n->kind == N_NEGATE ? -x.real : x.real, x.origin);
        return true;
    }
    return whole_binary(r, n->kind == N_NEGATE ? OP_SUB : OP_ADD, 0, value_whole(x), x.origin, out);
}

/* ---- members, items, slices ---- */

static bool eval_member(JinjaRender *r, const JinjaNode *n, JinjaValue *out)
{
    JinjaValue of;
    return jinja_eval(r, n->a, &of) && value_member(r, of, n->name, out);
}

/* One bound of a slice; absent or none: the fallback. */
static bool bound(JinjaRender *r, const JinjaNode *n, int64_t fallback, int64_t *out)
{
    JinjaValue v = value_none();
    if (n && !jinja_eval(r, n, &v))
        return false;
    *out = fallback;
    if (v.kind == J_NONE)
        return true;
    if (!value_is_whole(v))
        return value_defined(r, v) &&
               jinja_fail(r, ERR_INPUT, "a slice is cut at whole numbers, not at a %s",
                          value_type(v));
    *out = value_whole(v);
    return true;
}

static int64_t clamp(int64_t at, int64_t count, bool down)
{
    if (at < 0 && (at += count) < 0)
        return down ? -1 : 0;
    if (at >= count)
        return down ? count - 1 : count;
    return at;
}

static bool slice_list(JinjaRender *r, JinjaValue v, int64_t from, int64_t to, int64_t step,
                       JinjaValue *out)
{
    JinjaKind kind = v.kind == J_TUPLE ? J_TUPLE : J_LIST;
    if (!list_new(r, kind, 0, out))
        return false;
    for (int64_t i = from; step > 0 ? i < to : i > to;) {
        if (!list_add(r, out->list, v.list->items[i]))
            return false;
        if (__builtin_add_overflow(i, step, &i))
            break;
    }
    return true;
}

static bool slice_text(JinjaRender *r, const JinjaString *s, int64_t from, int64_t to,
                       int64_t step, JinjaValue *out)
{
    if (!jinja_steps(r, s->size / 32))
        return false;
    if (step == 1)
        return string_slice(r, s, string_at(s, (size_t)from),
                            string_at(s, (size_t)(from < to ? to : from)), out);
    JinjaList all;
    JinjaOut text = {0};
    if (!value_items(r, (JinjaValue){.kind = J_STRING, .string = s}, &all))
        return false;
    for (int64_t i = from; step > 0 ? i < to : i > to;) {
        if (!out_add_string(r, &text, all.items[i].string))
            return false;
        if (__builtin_add_overflow(i, step, &i))
            break;
    }
    return out_string(r, &text, out);
}

static bool eval_slice(JinjaRender *r, JinjaValue v, const JinjaNode *n, JinjaValue *out)
{
    int64_t step, from, to;
    size_t length;
    if (!bound(r, n->c, 1, &step))
        return false;
    bool down = step < 0;
    if (!bound(r, n->a, down ? INT64_MAX : 0, &from) ||
        !bound(r, n->b, down ? INT64_MIN : INT64_MAX, &to))
        return false;
    if (v.kind != J_STRING && v.kind != J_LIST && v.kind != J_TUPLE && v.kind != J_RANGE) {
        *out = value_undefined(NULL, LACKS_MEMBER);
        return value_defined(r, v);
    }
    if (!value_length(r, v, &length))
        return false;
    if (step == 0)
        return jinja_fail(r, ERR_INPUT, "a slice has the step 0");
    from = clamp(from, (int64_t)length, down);
    to = down && to == INT64_MIN ? -1 : clamp(to, (int64_t)length, down);
    if (v.kind == J_STRING)
        return slice_text(r, v.string, from, to, step, out);
    return slice_list(r, v, from, to, step, out);
}

static bool eval_item(JinjaRender *r, const JinjaNode *n, JinjaValue *out)
{
    JinjaValue of, key;
    if (!jinja_eval(r, n->a, &of))
        return false;
    if (n->b->kind == N_SLICE)
        return eval_slice(r, of, n->b, out);
    return jinja_eval(r, n->b, &key) && value_item(r, of, key, out);
}

/* ---- calls ---- */

static bool eval_call(JinjaRender *r, const JinjaNode *n, JinjaValue *out)
{
    JinjaValue of;
    JinjaArgs args = {0};
    return jinja_eval(r, n->a, &of) && value_defined(r, of) && jinja_collect(r, n, &args) &&
           jinja_call(r, of, &args, out);
}

static bool eval_filter(JinjaRender *r, const JinjaNode *n, JinjaValue *out)
{
    JinjaValue subject;
    JinjaArgs args = {0};
    if (!jinja_eval(r, n->a, &subject) || !jinja_collect(r, n, &args))
        return false;
    r->line = n->line;
    if (!n->callable)
        return jinja_fail(r, ERR_FORMAT, "there is no filter or test named '%.*s'",
                          (int)n->name->size, n->name->bytes);
    return callable_run(r, n->callable, subject, &args, out);
}

typedef bool Eval(JinjaRender *r, const JinjaNode *n, JinjaValue *out);
static Eval *const evals[N_KIND_COUNT] = {
    [N_CONST] = eval_const,   [N_NAME] = eval_name,       [N_TUPLE] = eval_list,
    [N_LIST] = eval_list,     [N_DICT] = eval_dict,       [N_COND] = eval_cond,
    [N_OR] = eval_or,         [N_AND] = eval_or,          [N_NOT] = eval_not,
    [N_COMPARE] = eval_compare, [N_CONCAT] = eval_concat, [N_BINARY] = eval_binary,
    [N_NEGATE] = eval_negate, [N_PLUS] = eval_negate,     [N_MEMBER] = eval_member,
    [N_ITEM] = eval_item,     [N_CALL] = eval_call,       [N_FILTER] = eval_filter,
    [N_TEST] = eval_filter,
};

bool jinja_eval(JinjaRender *r, const JinjaNode *n, JinjaValue *out)
{
    if (!evals[n->kind]) /* a slice within several indices */
        return jinja_fail(r, ERR_INPUT, "a slice stands where a value is expected");
    r->line = n->line;
    if (n->kind == N_CONST || n->kind == N_NAME)
        return jinja_steps(r, 1) && evals[n->kind](r, n, out);
    if (!jinja_steps(r, 1) || !jinja_enter(r))
        return false;
    bool good = evals[n->kind](r, n, out);
    jinja_leave(r);
    return good;
}
