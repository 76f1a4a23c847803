/* jinja_parse_expr.c: expressions, by recursive descent in the order of jinja2's own parser:
 * condition, or, and, not, comparison, + -, ~, * / // %, **, unary, primary, postfix, filter. */
#include "text/jinja_model.h"

#include <string.h>

static JinjaNode *parse_or(JinjaParser *p);
static JinjaNode *parse_postfix(JinjaParser *p, JinjaNode *node);

static JinjaNode *node_of(JinjaParser *p, JinjaNodeKind kind, JinjaNode *a, JinjaNode *b)
{
    JinjaNode *node = a && b ? parser_node(p, kind) : NULL;
    if (node) {
        node->a = a;
        node->b = b;
    }
    return node;
}

JinjaNode *parse_expression(JinjaParser *p, bool with_condition)
{
    const JinjaNode *unknown = p->unknown;
    if (!parser_enter(p))
        return NULL;
    JinjaNode *node = parse_or(p);
    while (with_condition && node && parser_skip_name(p, "if")) {
        JinjaNode *cond = parser_node(p, N_COND);
        p->unknown = unknown; /* what was found since stands under the condition */
        p->conditional++;
        JinjaNode *test = cond ? parse_or(p) : NULL, *other = NULL;
        bool has_else = test && parser_skip_name(p, "else");
        if (has_else)
            other = parse_expression(p, true);
        p->conditional--;
        if (!test || (has_else && !other))
            return NULL;
        cond->a = test;
        cond->b = node;
        cond->c = other;
        node = cond;
    }
    parser_leave(p);
    return node;
}

static JinjaNode *parse_not(JinjaParser *p);

static JinjaNode *parse_and(JinjaParser *p)
{
    JinjaNode *left = parse_not(p);
    while (left && parser_skip_name(p, "and"))
        left = node_of(p, N_AND, left, parse_not(p));
    return left;
}

static JinjaNode *parse_or(JinjaParser *p)
{
    JinjaNode *left = parse_and(p);
    while (left && parser_skip_name(p, "or"))
        left = node_of(p, N_OR, left, parse_and(p));
    return left;
}

static JinjaNode *parse_sum(JinjaParser *p);

static JinjaOp take_comparison(JinjaParser *p)
{
    static const struct {
        uint16_t sign;
        JinjaOp op;
    } signs[] = {{SIGN2('=', '='), OP_EQ}, {SIGN2('!', '='), OP_NE}, {'<', OP_LT},
                 {SIGN2('<', '='), OP_LE}, {'>', OP_GT}, {SIGN2('>', '='), OP_GE}};
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
        if (parser_skip_sign(p, signs[i].sign))
            return signs[i].op;
    if (parser_skip_name(p, "in"))
        return OP_IN;
    const JinjaToken *next = p->token + 1;
    if (parser_is_name(p, "not") && next->kind == T_NAME && next->size == 2 &&
        !memcmp(next->bytes, "in", 2)) {
        p->token += 2;
        return OP_NOT_IN;
    }
    return OP_NONE;
}

/* a: the first operand; items: the others, each with its operator in op. */
static JinjaNode *parse_comparison(JinjaParser *p)
{
    JinjaNode *first = parse_sum(p), *chain = NULL;
    for (JinjaOp op; first && (op = take_comparison(p)) != OP_NONE;) {
        JinjaNode *operand = parser_node(p, N_ARGUMENT);
        if (!chain && (chain = parser_node(p, N_COMPARE)))
            chain->a = first;
        if (!chain || !operand || !(operand->a = parse_sum(p)) || !parser_add(p, chain, operand))
            return NULL;
        operand->op = op;
    }
    return first && chain ? chain : first;
}

static JinjaNode *parse_not(JinjaParser *p)
{
    if (!parser_is_name(p, "not"))
        return parse_comparison(p);
    JinjaNode *node = parser_enter(p) ? parser_node(p, N_NOT) : NULL;
    if (!node)
        return NULL;
    p->token++;
    node->a = parse_not(p);
    parser_leave(p);
    return node->a ? node : NULL;
}

/* Left to right: operand (sign operand)*, for signs of one level. */
static JinjaNode *parse_level(JinjaParser *p, JinjaNode *(*operand)(JinjaParser *p),
                              const uint16_t *signs, const JinjaOp *ops)
{
    JinjaNode *left = operand(p);
    while (left) {
        size_t i = 0;
        while (signs[i] && !parser_is_sign(p, signs[i]))
            i++;
        if (!signs[i])
            break;
        p->token++;
        left = node_of(p, N_BINARY, left, operand(p));
        if (left)
            left->op = ops[i];
    }
    return left;
}

static JinjaNode *parse_operand(JinjaParser *p)
{
    return parse_unary(p, true);
}

static JinjaNode *parse_power(JinjaParser *p)
{
    static const uint16_t signs[] = {SIGN2('*', '*'), 0};
    static const JinjaOp ops[] = {OP_POW};
    return parse_level(p, parse_operand, signs, ops);
}

static JinjaNode *parse_product(JinjaParser *p)
{
    static const uint16_t signs[] = {'*', '/', SIGN2('/', '/'), '%', 0};
    static const JinjaOp ops[] = {OP_MUL, OP_DIV, OP_FLOOR, OP_MOD};
    return parse_level(p, parse_power, signs, ops);
}

static JinjaNode *parse_concat(JinjaParser *p)
{
    JinjaNode *first = parse_product(p), *all = NULL;
    while (first && parser_skip_sign(p, '~')) {
        if (!all && (!(all = parser_node(p, N_CONCAT)) || !parser_add(p, all, first)))
            return NULL;
        JinjaNode *next = parse_product(p);
        if (!next || !parser_add(p, all, next))
            return NULL;
    }
    return first && all ? all : first;
}

static JinjaNode *parse_sum(JinjaParser *p)
{
    static const uint16_t signs[] = {'+', '-', 0};
    static const JinjaOp ops[] = {OP_ADD, OP_SUB};
    return parse_level(p, parse_concat, signs, ops);
}

JinjaNode *parse_unary(JinjaParser *p, bool with_filter)
{
    bool minus = parser_is_sign(p, '-'), plus = parser_is_sign(p, '+');
    JinjaNode *node;
    if (!parser_enter(p))
        return NULL;
    if (minus || plus) {
        node = parser_node(p, minus ? N_NEGATE : N_PLUS);
        p->token++;
        if (node && !(node->a = parse_unary(p, false)))
            node = NULL;
    } else {
        node = parse_primary(p);
    }
    node = parse_postfix(p, node);
    if (with_filter)
        node = parse_filters(p, node, false);
    parser_leave(p);
    return node;
}

static JinjaNode *parse_list(JinjaParser *p)
{
    JinjaNode *list = parser_node(p, N_LIST);
    p->token++;
    while (list && !parser_is_sign(p, ']')) {
        if (list->count && !parser_need_sign(p, ',', ","))
            return NULL;
        if (parser_is_sign(p, ']'))
            break;
        JinjaNode *item = parse_expression(p, true);
        if (!item || !parser_add(p, list, item))
            return NULL;
    }
    p->token++;
    return list;
}

/* items: key, value, key, value ... */
static JinjaNode *parse_dict(JinjaParser *p)
{
    JinjaNode *dict = parser_node(p, N_DICT);
    p->token++;
    while (dict && !parser_is_sign(p, '}')) {
        if (dict->count && !parser_need_sign(p, ',', ","))
            return NULL;
        if (parser_is_sign(p, '}'))
            break;
        JinjaNode *key = parse_expression(p, true), *value = NULL;
        if (!key || !parser_need_sign(p, ':', ":") || !(value = parse_expression(p, true)) ||
            !parser_add(p, dict, key) || !parser_add(p, dict, value))
            return NULL;
    }
    p->token++;
    return dict;
}

/* Strings that stand side by side are one. */
static JinjaNode *parse_texts(JinjaParser *p)
{
    JinjaNode *node = parser_node(p, N_CONST);
    const JinjaToken *first = p->token;
    size_t size = 0, at = 0;
    while (p->token->kind == T_TEXT)
        size += (p->token++)->size;
    char *bytes = node ? arena_alloc(&p->t->arena, size + 1, 1) : NULL;
    if (!bytes)
        return NULL;
    for (const JinjaToken *t = first; t < p->token; t++) {
        memcpy(bytes + at, t->bytes, t->size);
        at += t->size;
    }
    node->value.kind = J_STRING;
    node->value.string = parser_literal(p, bytes, size);
    return node->value.string ? node : NULL;
}

static JinjaNode *parse_word(JinjaParser *p)
{
    static const struct {
        const char *word;
        JinjaKind kind;
        bool boolean;
    } constants[] = {{"true", J_BOOL, true}, {"True", J_BOOL, true}, {"false", J_BOOL, false},
                     {"False", J_BOOL, false}, {"none", J_NONE, false}, {"None", J_NONE, false}};
    for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++) {
        if (!parser_is_name(p, constants[i].word))
            continue;
        JinjaNode *node = parser_node(p, N_CONST);
        p->token++;
        if (node && constants[i].kind == J_BOOL)
            node->value = value_bool(constants[i].boolean, 0);
        else if (node)
            node->value = value_none();
        return node;
    }
    JinjaNode *node = parser_node(p, N_NAME);
    return node && parser_take_name(p, &node->name) ? node : NULL;
}

JinjaNode *parse_primary(JinjaParser *p)
{
    JinjaNode *node;
    switch (p->token->kind) {
    case T_NAME:
        return parse_word(p);
    case T_TEXT:
        return parse_texts(p);
    case T_NUMBER:
        node = parser_node(p, N_CONST);
        if (node)
            node->value = (p->token++)->value;
        return node;
    default:
        break;
    }
    if (parser_is_sign(p, '[') || parser_is_sign(p, '{') || parser_is_sign(p, '(')) {
        char sign = (char)p->token->sign;
        if (!parser_enter(p))
            return NULL;
        if (sign == '(') {
            p->token++;
            node = parse_tuple(p, TUPLE_PLAIN, true, NULL);
            if (node && !parser_need_sign(p, ')', ")"))
                node = NULL;
        } else {
            node = sign == '[' ? parse_list(p) : parse_dict(p);
        }
        parser_leave(p);
        return node;
    }
    parser_unexpected(p, "an expression");
    return NULL;
}

static bool tuple_ends(const JinjaParser *p, const char *end_name)
{
    return p->token->kind == T_OUTPUT_END || p->token->kind == T_BLOCK_END ||
           parser_is_sign(p, ')') || (end_name && parser_is_name(p, end_name));
}

JinjaNode *parse_tuple(JinjaParser *p, JinjaTupleParts parts, bool in_brackets,
                       const char *end_name)
{
    JinjaNode *tuple = parser_node(p, N_TUPLE), *only = NULL;
    bool is_tuple = false;
    while (tuple) {
        if (tuple->count && !parser_need_sign(p, ',', ","))
            return NULL;
        if (tuple_ends(p, end_name))
            break;
        only = parts == TUPLE_TARGET ? parse_primary(p)
                                     : parse_expression(p, parts == TUPLE_PLAIN);
        if (!only || !parser_add(p, tuple, only))
            return NULL;
        if (!parser_is_sign(p, ','))
            break;
        is_tuple = true;
    }
    if (!tuple || is_tuple)
        return tuple;
    if (only)
        return only;
    if (!in_brackets) {
        parser_unexpected(p, "an expression");
        return NULL;
    }
    return tuple;
}

/* One index, or a slice: a, b, c are its parts where they are given. */
static JinjaNode *parse_index(JinjaParser *p)
{
    JinjaNode *parts[3] = {NULL, NULL, NULL};
    size_t at = 0;
    bool slice = false;
    for (;;) {
        if (parser_skip_sign(p, ':')) {
            slice = true;
            if (++at == 3)
                break;
        } else if (parser_is_sign(p, ']') || parser_is_sign(p, ',') || parts[at]) {
            break;
        } else if (!(parts[at] = parse_expression(p, true))) {
            return NULL;
        }
    }
    if (at == 3) {
        parser_unexpected(p, "]");
        return NULL;
    }
    if (!slice) {
        if (!parts[0])
            parser_unexpected(p, "an index");
        return parts[0];
    }
    JinjaNode *node = parser_node(p, N_SLICE);
    if (node) {
        node->a = parts[0];
        node->b = parts[1];
        node->c = parts[2];
    }
    return node;
}

static JinjaNode *parse_brackets(JinjaParser *p, JinjaNode *of)
{
    JinjaNode *node = parser_node(p, N_ITEM), *tuple = NULL;
    p->token++;
    JinjaNode *index = node ? parse_index(p) : NULL;
    if (index && parser_is_sign(p, ',')) {
        tuple = parser_node(p, N_TUPLE);
        if (!tuple || !parser_add(p, tuple, index))
            return NULL;
        while (parser_skip_sign(p, ','))
            if (!(index = parse_index(p)) || !parser_add(p, tuple, index))
                return NULL;
        index = tuple;
    }
    if (!index || !parser_need_sign(p, ']', "]"))
        return NULL;
    node->a = of;
    node->b = index;
    return node;
}

static JinjaNode *parse_member(JinjaParser *p, JinjaNode *of)
{
    p->token++;
    bool number = p->token->kind == T_NUMBER && p->token->value.kind == J_INT;
    JinjaNode *node = parser_node(p, number ? N_ITEM : N_MEMBER);
    if (!node)
        return NULL;
    node->a = of;
    if (!number)
        return parser_take_name(p, &node->name) ? node : NULL;
    node->b = parser_node(p, N_CONST);
    if (node->b)
        node->b->value = (p->token++)->value;
    return node->b ? node : NULL;
}

static JinjaNode *parse_call(JinjaParser *p, JinjaNode *of)
{
    JinjaNode *node = parser_node(p, N_CALL);
    if (!node || !parse_arguments(p, node))
        return NULL;
    node->a = of;
    return node;
}

static JinjaNode *parse_postfix(JinjaParser *p, JinjaNode *node)
{
    while (node) {
        if (parser_is_sign(p, '.'))
            node = parse_member(p, node);
        else if (parser_is_sign(p, '['))
            node = parse_brackets(p, node);
        else if (parser_is_sign(p, '('))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

/* At "(": adds an N_ARGUMENT for each to `into`, and passes ")". */
bool parse_arguments(JinjaParser *p, JinjaNode *into)
{
    if (!parser_need_sign(p, '(', "("))
        return false;
    JinjaOp last = ARG_PLAIN;
    while (!parser_is_sign(p, ')')) {
        if (into->count && (!parser_need_sign(p, ',', ",") || parser_is_sign(p, ')')))
            break;
        JinjaNode *argument = parser_node(p, N_ARGUMENT);
        if (!argument)
            return false;
        argument->op = ARG_PLAIN;
        if (parser_skip_sign(p, '*')) {
            argument->op = ARG_LIST;
        } else if (parser_skip_sign(p, SIGN2('*', '*'))) {
            argument->op = ARG_DICT;
        } else if (p->token->kind == T_NAME && p->token[1].kind == T_SIGN &&
                   p->token[1].sign == '=') {
            argument->op = ARG_KEYWORD;
            if (!parser_take_name(p, &argument->name))
                return false;
            p->token++;
        }
        if (argument->op == ARG_PLAIN && last != ARG_PLAIN)
            return parser_unexpected(p, "a named argument after a named one");
        last = argument->op > last ? (JinjaOp)argument->op : last;
        argument->a = parse_expression(p, true);
        if (!argument->a || !parser_add(p, into, argument))
            return false;
    }
    return parser_need_sign(p, ')', ")");
}

/* A name of a filter or test, which may have dots. */
static bool take_dotted(JinjaParser *p, const JinjaString **name)
{
    if (!parser_take_name(p, name))
        return false;
    while (parser_skip_sign(p, '.')) {
        const JinjaString *more;
        if (!parser_take_name(p, &more))
            return false;
        char *joined = arena_format(&p->t->arena, "%.*s.%.*s", (int)(*name)->size,
                                    (*name)->bytes, (int)more->size, more->bytes);
        *name = joined ? parser_symbol(p, joined, strlen(joined)) : NULL;
        if (!*name)
            return fail(p->err, ERR_MEMORY, "%s: no memory to parse it", p->t->name);
    }
    return true;
}

static void note_unknown(JinjaParser *p, const JinjaNode *node)
{
    if (!node->callable && !p->conditional && !p->unknown)
        p->unknown = node;
}

static JinjaNode *parse_filter(JinjaParser *p, JinjaNode *subject)
{
    JinjaNode *node = parser_node(p, N_FILTER);
    if (!node || !take_dotted(p, &node->name))
        return NULL;
    node->a = subject;
    node->callable = jinja_filter_find(node->name->bytes, node->name->size);
    note_unknown(p, node);
    return !parser_is_sign(p, '(') || parse_arguments(p, node) ? node : NULL;
}

/* An argument without brackets: x is divisibleby 3. */
static bool takes_bare_argument(const JinjaParser *p)
{
    const JinjaToken *t = p->token;
    if (t->kind == T_NAME)
        return !parser_is_name(p, "else") && !parser_is_name(p, "or") && !parser_is_name(p, "and");
    return t->kind == T_TEXT || t->kind == T_NUMBER || parser_is_sign(p, '[') ||
           parser_is_sign(p, '{');
}

static JinjaNode *parse_test(JinjaParser *p, JinjaNode *subject)
{
    p->token++;
    bool negated = parser_skip_name(p, "not");
    JinjaNode *node = parser_node(p, N_TEST);
    if (!node || !take_dotted(p, &node->name))
        return NULL;
    node->a = subject;
    node->callable = jinja_test_find(node->name->bytes, node->name->size);
    note_unknown(p, node);
    if (parser_is_sign(p, '(')) {
        if (!parse_arguments(p, node))
            return NULL;
    } else if (takes_bare_argument(p)) {
        if (parser_is_name(p, "is")) {
            parser_unexpected(p, "no second 'is'");
            return NULL;
        }
        JinjaNode *argument = parser_node(p, N_ARGUMENT);
        if (!argument || !(argument->a = parse_postfix(p, parse_primary(p))) ||
            !parser_add(p, node, argument))
            return NULL;
        argument->op = ARG_PLAIN;
    }
    JinjaNode *not = negated ? parser_node(p, N_NOT) : NULL;
    if (not )
        not ->a = node;
    return negated ? not : node;
}

/* subject NULL and inside: the chain of {% filter %} and {% set x | ... %}, whose first filter is
 * applied to what the caller captures. */
JinjaNode *parse_filters(JinjaParser *p, JinjaNode *subject, bool inside)
{
    JinjaNode *node = subject;
    if (inside && !node && !parser_is_sign(p, '|')) {
        node = parse_filter(p, NULL);
        if (!node)
            return NULL;
    }
    while (node || inside) {
        if (parser_skip_sign(p, '|'))
            node = parse_filter(p, node);
        else if (!inside && parser_is_name(p, "is"))
            node = parse_test(p, node);
        else if (node && parser_is_sign(p, '('))
            node = parse_call(p, node);
        else
            break;
        if (!node)
            return NULL;
    }
    return node;
}
