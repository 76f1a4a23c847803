/* jinja_parse.c: statements, and what the parser shares; see jinja_model.h for the tree's fields. */
#include "text/jinja_model.h"
#include "text/utf8.h"

#include <stdio.h>
#include <string.h>

enum { PARSE_DEPTH_MAX = 200, TEMPLATE_MEMORY_MAX = 256 << 20 };

/* ---- shared with jinja_parse_expr.c ---- */

static void no_memory(JinjaParser *p)
{
    fail(p->err, ERR_MEMORY, "%s: no memory to parse it", p->t->name);
}

JinjaNode *parser_node(JinjaParser *p, JinjaNodeKind kind)
{
    JinjaNode *node = arena_alloc(&p->t->arena, 1, sizeof *node);
    if (!node) {
        no_memory(p);
        return NULL;
    }
    node->kind = (uint8_t)kind;
    node->line = p->token->line;
    return node;
}

/* Room grows at powers of two, so it follows from the count. */
static bool grow(JinjaParser *p, void **items, uint32_t count, size_t size)
{
    if (count & (count - 1) || count == 1)
        return true;
    void *more = arena_alloc(&p->t->arena, count ? 2 * (size_t)count : 2, size);
    if (!more) {
        no_memory(p);
        return false;
    }
    if (count)
        memcpy(more, *items, count * size);
    *items = more;
    return true;
}

bool parser_add(JinjaParser *p, JinjaNode *to, JinjaNode *child)
{
    void *items = to->items;
    if (!grow(p, &items, to->count, sizeof *to->items))
        return false;
    to->items = items;
    to->items[to->count++] = child;
    return true;
}

bool parser_enter(JinjaParser *p)
{
    if (++p->depth > PARSE_DEPTH_MAX)
        return jinja_syntax(p->t, p->token->line, p->err, "it nests deeper than %d",
                            PARSE_DEPTH_MAX);
    return true;
}

void parser_leave(JinjaParser *p)
{
    p->depth--;
}

bool parser_unexpected(JinjaParser *p, const char *wanted)
{
    const JinjaToken *t = p->token;
    char text[48];
    switch (t->kind) {
    case T_NAME:
        snprintf(text, sizeof text, "'%.*s'", (int)(t->size < 40 ? t->size : 40), t->bytes);
        break;
    case T_SIGN:
        if (t->sign > 255)
            snprintf(text, sizeof text, "'%c%c'", t->sign >> 8, t->sign & 255);
        else
            snprintf(text, sizeof text, "'%c'", t->sign);
        break;
    default: {
        static const char *const names[] = {"the end of the template", "text", "{{", "}}", "{%",
                                            "%}", "", "a text", "a number", ""};
        snprintf(text, sizeof text, "%s", names[t->kind]);
    }
    }
    return jinja_syntax(p->t, t->line, p->err, "%s stands where %s is expected", text, wanted);
}

bool parser_is_name(const JinjaParser *p, const char *name)
{
    return p->token->kind == T_NAME && p->token->size == strlen(name) &&
           !memcmp(p->token->bytes, name, p->token->size);
}

bool parser_is_sign(const JinjaParser *p, uint16_t sign)
{
    return p->token->kind == T_SIGN && p->token->sign == sign;
}

bool parser_skip_name(JinjaParser *p, const char *name)
{
    bool found = parser_is_name(p, name);
    p->token += found;
    return found;
}

bool parser_skip_sign(JinjaParser *p, uint16_t sign)
{
    bool found = parser_is_sign(p, sign);
    p->token += found;
    return found;
}

bool parser_need_sign(JinjaParser *p, uint16_t sign, const char *text)
{
    return parser_skip_sign(p, sign) || parser_unexpected(p, text);
}

static const JinjaString *new_string(JinjaParser *p, const char *bytes, size_t size)
{
    JinjaString *s = arena_alloc(&p->t->arena, 1, sizeof *s);
    if (!s) {
        no_memory(p);
        return NULL;
    }
    s->bytes = bytes;
    s->size = size;
    return s;
}

/* Names are few: a walk along them is as fast as a table. */
const JinjaString *parser_symbol(JinjaParser *p, const char *bytes, size_t size)
{
    JinjaTemplate *t = p->t;
    for (uint32_t i = 0; i < t->symbol_count; i++)
        if (string_is(t->symbols[i], bytes, size))
            return t->symbols[i];
    void *symbols = (void *)t->symbols;
    if (t->symbol_count == 4096) {
        jinja_syntax(t, p->token->line, p->err, "it has over 4096 different names");
        return NULL;
    }
    if (!grow(p, &symbols, t->symbol_count, sizeof *t->symbols))
        return NULL;
    t->symbols = symbols;
    const JinjaString *s = new_string(p, bytes, size);
    if (s)
        t->symbols[t->symbol_count++] = s;
    return s;
}

const JinjaString *parser_literal(JinjaParser *p, const char *bytes, size_t size)
{
    JinjaTemplate *t = p->t;
    void *literals = (void *)t->literals;
    if (!grow(p, &literals, t->literal_count, sizeof *t->literals))
        return NULL;
    t->literals = literals;
    const JinjaString *s = new_string(p, bytes, size);
    if (s)
        t->literals[t->literal_count++] = s;
    return s;
}

bool parser_take_name(JinjaParser *p, const JinjaString **name)
{
    if (p->token->kind != T_NAME)
        return parser_unexpected(p, "a name");
    *name = parser_symbol(p, p->token->bytes, p->token->size);
    p->token++;
    return *name;
}

/* ---- statements ---- */

static JinjaNode *parse_body(JinjaParser *p, const char *const *ends);

/* A filter or test that nobody knows is an error of the whole template, unless it stands where a
 * condition may keep it from running: then it is one when it does. */
static bool check_known(JinjaParser *p)
{
    const JinjaNode *n = p->unknown;
    return !n || jinja_syntax(p->t, n->line, p->err, "there is no %s named '%.*s'",
                              n->kind == N_FILTER ? "filter" : "test", (int)n->name->size,
                              n->name->bytes);
}

static bool block_ends(JinjaParser *p)
{
    if (!check_known(p))
        return false;
    if (p->token->kind != T_BLOCK_END)
        return parser_unexpected(p, "%}");
    p->token++;
    return true;
}

/* After the opening words of a block: its %}, its body up to one of `ends` (NULL-terminated), at
 * whose name it stops. */
static JinjaNode *parse_block(JinjaParser *p, const char *const *ends)
{
    return block_ends(p) ? parse_body(p, ends) : NULL;
}

/* As parse_block for a block that changes what its inside may say. */
static JinjaNode *parse_inner(JinjaParser *p, const char *const *ends, bool loop, bool isolated)
{
    uint32_t conditional = p->conditional, loops = p->loops;
    p->conditional = 0;
    p->loops = loop ? loops + 1 : isolated ? 0 : loops;
    JinjaNode *body = parse_block(p, ends);
    p->conditional = conditional;
    p->loops = loops;
    return body;
}

static JinjaNode *parse_target(JinjaParser *p, const char *end_name, bool with_namespace)
{
    const JinjaToken *t = p->token;
    if (with_namespace && t->kind == T_NAME && t[1].kind == T_SIGN && t[1].sign == '.') {
        JinjaNode *node = parser_node(p, N_NAMESPACE_TARGET);
        JinjaNode *of = node ? parser_node(p, N_NAME) : NULL;
        if (!of || !parser_take_name(p, &of->name))
            return NULL;
        p->token++;
        node->a = of;
        return parser_take_name(p, &node->name) ? node : NULL;
    }
    JinjaNode *target = parse_tuple(p, TUPLE_TARGET, false, end_name);
    for (uint32_t i = 0; target && i < (target->kind == N_TUPLE ? target->count : 1); i++) {
        JinjaNode *part = target->kind == N_TUPLE ? target->items[i] : target;
        if (part->kind != N_NAME && part->kind != N_TUPLE) {
            jinja_syntax(p->t, part->line, p->err, "only names can be assigned to");
            return NULL;
        }
    }
    return target;
}

/* a: target, b: list, c: condition; items[0]: body, items[1]: else. */
static JinjaNode *parse_for(JinjaParser *p)
{
    static const char *const ends[] = {"endfor", "else", NULL}, *const after_else[] = {"endfor",
                                                                                       NULL};
    JinjaNode *node = parser_node(p, N_FOR);
    if (!node || !(node->a = parse_target(p, "in", false)))
        return NULL;
    if (!parser_skip_name(p, "in")) {
        parser_unexpected(p, "'in'");
        return NULL;
    }
    if (!(node->b = parse_tuple(p, TUPLE_NO_CONDITION, false, "recursive")))
        return NULL;
    if (parser_skip_name(p, "if") && !(node->c = parse_expression(p, true)))
        return NULL;
    node->flag = parser_skip_name(p, "recursive");
    JinjaNode *body = parse_inner(p, ends, true, false);
    if (!body || !parser_add(p, node, body))
        return NULL;
    if (parser_skip_name(p, "else")) {
        body = parse_inner(p, after_else, false, false);
        if (!body || !parser_add(p, node, body))
            return NULL;
    }
    p->token++;
    return node;
}

/* items: test, body, test, body ...; c: the body of else. */
static JinjaNode *parse_if(JinjaParser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const after_else[] = {
        "endif", NULL};
    JinjaNode *node = parser_node(p, N_IF);
    p->conditional++;
    do {
        JinjaNode *test = node ? parse_tuple(p, TUPLE_NO_CONDITION, false, NULL) : NULL;
        JinjaNode *body = test ? parse_block(p, ends) : NULL;
        if (!body || !parser_add(p, node, test) || !parser_add(p, node, body))
            return NULL;
    } while (parser_skip_name(p, "elif"));
    if (parser_skip_name(p, "else") && !(node->c = parse_block(p, after_else)))
        return NULL;
    p->conditional--;
    p->token++;
    return node;
}

/* N_SET: a target, b value. N_SET_BLOCK: a target, b chain of filters or NULL, c body. */
static JinjaNode *parse_set(JinjaParser *p)
{
    static const char *const ends[] = {"endset", NULL};
    JinjaNode *node = parser_node(p, N_SET);
    if (!node || !(node->a = parse_target(p, NULL, true)))
        return NULL;
    if (parser_skip_sign(p, '=')) {
        node->b = parse_tuple(p, TUPLE_PLAIN, false, NULL);
        return node->b ? node : NULL;
    }
    node->kind = N_SET_BLOCK;
    if (parser_skip_sign(p, '|')) {
        if (!(node->b = parse_filters(p, NULL, true)))
            return NULL;
    }
    if (!(node->c = parse_inner(p, ends, false, false)))
        return NULL;
    p->token++;
    return node;
}

/* (name, name=default): an N_PARAMETER for each. */
static bool parse_parameters(JinjaParser *p, JinjaNode *into)
{
    if (!parser_need_sign(p, '(', "("))
        return false;
    bool defaults = false;
    while (!parser_is_sign(p, ')')) {
        if (into->count && !parser_need_sign(p, ',', ","))
            return false;
        JinjaNode *parameter = parser_node(p, N_PARAMETER);
        if (!parameter || !parser_take_name(p, &parameter->name))
            return false;
        if (parser_skip_sign(p, '=')) {
            if (!(parameter->a = parse_expression(p, true)))
                return false;
            defaults = true;
        } else if (defaults) {
            return parser_unexpected(p, "a default");
        }
        if (!parser_add(p, into, parameter))
            return false;
    }
    p->token++;
    return true;
}

/* True when one of the tokens from `from` to the current one is this name. */
static bool names(const JinjaParser *p, const JinjaToken *from, const char *name)
{
    for (const JinjaToken *t = from; t < p->token; t++)
        if (t->kind == T_NAME && t->size == strlen(name) && !memcmp(t->bytes, name, t->size))
            return true;
    return false;
}

/* items: parameters; c: body. Names that the body may find are interned here. */
static JinjaNode *parse_macro(JinjaParser *p)
{
    static const char *const ends[] = {"endmacro", NULL};
    JinjaNode *node = parser_node(p, N_MACRO);
    if (!node || !parser_take_name(p, &node->name) || !parse_parameters(p, node))
        return NULL;
    const JinjaToken *from = p->token;
    if (!(node->c = parse_inner(p, ends, false, true)))
        return NULL;
    node->flag = names(p, from, "varargs");
    node->flag_b = names(p, from, "kwargs");
    node->op = names(p, from, "caller");
    p->token++;
    return node;
}

/* a: the call; b: an N_MACRO without name, which is the caller. */
static JinjaNode *parse_call_block(JinjaParser *p)
{
    static const char *const ends[] = {"endcall", NULL};
    JinjaNode *node = parser_node(p, N_CALL_BLOCK), *caller = node ? parser_node(p, N_MACRO) : NULL;
    if (!caller || (parser_is_sign(p, '(') && !parse_parameters(p, caller)))
        return NULL;
    caller->name = parser_symbol(p, "caller", 6);
    node->a = parse_unary(p, false);
    if (!caller->name || !node->a)
        return NULL;
    if (node->a->kind != N_CALL) {
        parser_unexpected(p, "a call");
        return NULL;
    }
    node->b = caller;
    if (!(caller->c = parse_inner(p, ends, false, true)))
        return NULL;
    p->token++;
    return node;
}

static JinjaNode *parse_filter_block(JinjaParser *p)
{
    static const char *const ends[] = {"endfilter", NULL};
    JinjaNode *node = parser_node(p, N_FILTER_BLOCK);
    if (!node || !(node->b = parse_filters(p, NULL, true)) ||
        !(node->c = parse_inner(p, ends, false, false)))
        return NULL;
    p->token++;
    return node;
}

/* items: target, value, target, value ...; c: body. */
static JinjaNode *parse_with(JinjaParser *p)
{
    static const char *const ends[] = {"endwith", NULL};
    JinjaNode *node = parser_node(p, N_WITH);
    while (node && p->token->kind != T_BLOCK_END) {
        if (node->count && !parser_need_sign(p, ',', ","))
            return NULL;
        JinjaNode *target = parser_node(p, N_NAME), *value;
        if (!target || !parser_take_name(p, &target->name) || !parser_need_sign(p, '=', "=") ||
            !(value = parse_expression(p, true)) || !parser_add(p, node, target) ||
            !parser_add(p, node, value))
            return NULL;
    }
    if (!node || !(node->c = parse_inner(p, ends, false, false)))
        return NULL;
    p->token++;
    return node;
}

static JinjaNode *parse_generation(JinjaParser *p)
{
    static const char *const ends[] = {"endgeneration", NULL};
    JinjaNode *node = parser_node(p, N_GENERATION);
    if (!node || !(node->c = parse_inner(p, ends, false, true)))
        return NULL;
    p->t->generation = true;
    p->token++;
    return node;
}

/* print a, b: each is written. */
static JinjaNode *parse_print(JinjaParser *p)
{
    JinjaNode *body = parser_node(p, N_BODY);
    while (body && p->token->kind != T_BLOCK_END) {
        if (body->count && !parser_need_sign(p, ',', ","))
            return NULL;
        JinjaNode *node = parser_node(p, N_OUTPUT);
        if (!node || !(node->a = parse_expression(p, true)) || !parser_add(p, body, node))
            return NULL;
    }
    return body;
}

static JinjaNode *parse_jump(JinjaParser *p)
{
    bool leaves = (p->token - 1)->size == 5; /* break */
    if (!p->loops) {
        jinja_syntax(p->t, p->token->line, p->err, "%s stands in no loop",
                     leaves ? "break" : "continue");
        return NULL;
    }
    return parser_node(p, leaves ? N_BREAK : N_CONTINUE);
}

static JinjaNode *refuse(JinjaParser *p)
{
    const JinjaToken *t = p->token - 1;
    jinja_syntax(p->t, t->line, p->err, "'%.*s' is not supported in a chat template",
                 (int)t->size, t->bytes);
    return NULL;
}

static const struct {
    const char *word;
    JinjaNode *(*parse)(JinjaParser *p);
} statements[] = {
    {"for", parse_for},         {"if", parse_if},
    {"set", parse_set},         {"macro", parse_macro},
    {"call", parse_call_block}, {"filter", parse_filter_block},
    {"with", parse_with},       {"generation", parse_generation},
    {"print", parse_print},     {"break", parse_jump},
    {"continue", parse_jump},   {"extends", refuse},
    {"block", refuse},          {"include", refuse},
    {"import", refuse},         {"from", refuse},
    {"autoescape", refuse},
};

static JinjaNode *parse_statement(JinjaParser *p)
{
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        if (!parser_skip_name(p, statements[i].word))
            continue;
        JinjaNode *node = parser_enter(p) ? statements[i].parse(p) : NULL;
        parser_leave(p);
        return node && block_ends(p) ? node : NULL;
    }
    const JinjaToken *t = p->token;
    if (t->kind == T_NAME)
        jinja_syntax(p->t, t->line, p->err, "'%.*s' begins no block, or ends none that is open",
                     (int)(t->size < 60 ? t->size : 60), t->bytes);
    else
        parser_unexpected(p, "the name of a block");
    return NULL;
}

static bool is_end(JinjaParser *p, const char *const *ends)
{
    for (; *ends; ends++)
        if (parser_is_name(p, *ends))
            return true;
    return false;
}

static JinjaNode *parse_text(JinjaParser *p)
{
    JinjaNode *node = parser_node(p, N_TEXT);
    if (!node)
        return NULL;
    node->value.kind = J_STRING;
    node->value.string = parser_literal(p, p->token->bytes, p->token->size);
    p->token++;
    return node->value.string ? node : NULL;
}

static JinjaNode *parse_output(JinjaParser *p)
{
    p->token++;
    JinjaNode *node = parser_node(p, N_OUTPUT);
    if (!node || !(node->a = parse_tuple(p, TUPLE_PLAIN, false, NULL)) || !check_known(p))
        return NULL;
    if (p->token->kind != T_OUTPUT_END) {
        parser_unexpected(p, "}}");
        return NULL;
    }
    p->token++;
    return node;
}

/* Statements up to the word of one of `ends`, which is not passed; ends NULL: up to the end. */
static JinjaNode *parse_body(JinjaParser *p, const char *const *ends)
{
    JinjaNode *body = parser_node(p, N_BODY);
    uint32_t line = p->token->line;
    while (body && p->token->kind != T_END) {
        JinjaNode *node;
        if (p->token->kind == T_DATA) {
            node = parse_text(p);
        } else if (p->token->kind == T_OUTPUT_BEGIN) {
            node = parse_output(p);
        } else {
            p->token++;
            if (ends && is_end(p, ends))
                return body;
            node = parse_statement(p);
        }
        if (!node || !parser_add(p, body, node))
            return NULL;
    }
    if (body && ends) {
        while (strncmp(*ends, "end", 3)) /* the words beside elif and else */
            ends++;
        jinja_syntax(p->t, line, p->err, "'%s' is missing at the end of the template", *ends);
        return NULL;
    }
    return body;
}

/* ---- the template ---- */

static bool parse_tokens(JinjaTemplate *t, const JinjaTokens *tokens, Error *err)
{
    JinjaParser p = {.t = t, .token = tokens->tokens, .err = err};
    static const char *const implied[] = {"loop", "caller", "varargs", "kwargs"};
    for (size_t i = 0; i < sizeof implied / sizeof implied[0]; i++)
        if (!parser_symbol(&p, implied[i], strlen(implied[i])))
            return false;
    t->body = parse_body(&p, NULL);
    return t->body;
}

static bool build(JinjaTemplate *t, const char *text, size_t size, Error *err)
{
    JinjaTokens tokens = {0};
    if (size > JINJA_BYTES_MAX)
        return fail(err, ERR_LIMIT, "%s: it has %zu bytes, %d are the most", t->name, size,
                    JINJA_BYTES_MAX);
    size_t valid = utf8_valid_prefix((const uint8_t *)text, size);
    if (valid < size)
        return fail(err, ERR_FORMAT, "%s: byte %zu is not UTF-8", t->name, valid);
    bool good = jinja_lex(t, text, size, &tokens, err) && parse_tokens(t, &tokens, err);
    mem_free(tokens.tokens);
    return good;
}

bool jinja_parse(JinjaTemplate **out, const char *text, size_t size, const char *name, Error *err)
{
    JinjaTemplate *t = mem_alloc(1, sizeof *t);
    if (!t)
        return fail(err, ERR_MEMORY, "%s: no memory to parse it", name);
    arena_init(&t->arena, TEMPLATE_MEMORY_MAX);
    t->name = arena_copy_text(&t->arena, name, strlen(name));
    bool good = t->name ? build(t, text, size, err)
                        : fail(err, ERR_MEMORY, "%s: no memory to parse it", name);
    if (!good) {
        jinja_free(t);
        return false;
    }
    *out = t;
    return true;
}

void jinja_free(JinjaTemplate *t)
{
    if (!t)
        return;
    arena_done(&t->arena);
    mem_free(t);
}

bool jinja_has_generation(const JinjaTemplate *t)
{
    return t->generation;
}

bool jinja_writes(const JinjaTemplate *t, const char *text, size_t size)
{
    for (uint32_t i = 0; i < t->literal_count; i++)
        if (size && memmem(t->literals[i]->bytes, t->literals[i]->size, text, size))
            return true;
    return false;
}
