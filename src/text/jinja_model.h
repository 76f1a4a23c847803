/* jinja_model.h: the parts of a template and of its rendering; for the files jinja*.c only.
 *
 *   jinja_lex.c    text to tokens: whitespace control
 *   jinja_parse.c, jinja_parse_expr.c    tokens to a tree of nodes
 *   jinja_value.c  values: truth, equality, order, attributes, conversion from JSON
 *   jinja_text.c   strings with origins; values as Python prints them
 *   jinja_json.c   tojson
 *   jinja_eval.c   expressions     jinja_exec.c  statements     jinja_call.c  calls, macros, loop
 *   jinja_filters.c, jinja_lists.c, jinja_strings.c, jinja_format.c, jinja_tests.c  what templates
 *   can call: one row each in a table
 *
 * Invariants:
 *  1. Nodes live in the template's arena, values in the rendering's; nothing is freed singly.
 *  2. A list or dictionary does not change once the expression that made it has its value.
 *  3. Every loop over data counts steps, every recursion counts depth.
 *  4. A string's bytes are valid UTF-8, and it is cut between characters only.
 */
#pragma once
#include "base/mem.h"
#include "text/jinja.h"

/* ---- values ---- */

enum { ORIGIN_DATA = 1, ORIGIN_TRAINED = 2 };

typedef struct {
    const char *bytes;
    const uint8_t *origins; /* one for each byte, or NULL: `origin` for all */
    size_t size;
    uint8_t origin;
    bool markup; /* made by safe or escape: + escapes what it is added to */
} JinjaString;

typedef enum {
    J_ABSENT, /* an argument that was not given; never a value of a template */
    J_UNDEFINED,
    J_NONE,
    J_BOOL,
    J_INT,
    J_FLOAT,
    J_STRING,
    J_LIST,
    J_TUPLE,
    J_VIEW, /* keys(), values(), items() */
    J_ITER, /* what map, select and their kind give: walked through once */
    J_RANGE,
    J_DICT,
    J_NAMESPACE,
    J_LOOP,
    J_MACRO,
    J_METHOD,   /* a callable of the tables, bound to a value */
    J_FUNCTION, /* a callable of the tables */
    J_CYCLER,
    J_JOINER,
    J_KIND_COUNT
} JinjaKind;

typedef enum { LACKS_VARIABLE, LACKS_MEMBER, LACKS_SAFETY } JinjaLack;

typedef struct JinjaValue {
    uint8_t kind;   /* JinjaKind */
    uint8_t origin; /* of a plain value: ORIGIN_DATA when it was derived from data */
    uint8_t lack;   /* J_UNDEFINED: JinjaLack */
    union {
        bool boolean;
        int64_t integer;
        double real;
        const JinjaString *string; /* J_UNDEFINED: the name that was not found, or NULL */
        struct JinjaList *list;
        struct JinjaDict *dict; /* J_NAMESPACE too */
        struct JinjaLoop *loop;
        struct JinjaMacro *macro;
        struct JinjaBound *bound;
        const struct JinjaCallable *callable;
        struct JinjaCycler *cycler;
    };
} JinjaValue;

typedef struct JinjaList {
    JinjaValue *items;
    size_t count, room;
    size_t at;        /* J_ITER: the next one */
    int64_t range[3]; /* J_RANGE: start, stop, step */
    bool group;       /* a tuple of groupby: members grouper and list */
} JinjaList;

typedef struct JinjaDict {
    JinjaValue *keys, *values;
    uint32_t *places; /* open addressing over keys, index + 1; NULL while it is small */
    uint32_t count, room, place_count;
} JinjaDict;

typedef struct JinjaScope {
    struct JinjaScope *parent;
    const JinjaString **names; /* interned: equal when the pointers are */
    JinjaValue *values;
    uint32_t count, room;
} JinjaScope;

typedef struct JinjaLoop {
    JinjaList items;
    size_t index0;
    uint32_t depth0;
    const struct JinjaNode *node; /* recursive: the for statement */
    JinjaScope *scope;            /* in which it stands */
    JinjaValue changed;           /* what loop.changed saw last */
} JinjaLoop;

typedef struct JinjaMacro {
    const struct JinjaNode *node;
    JinjaScope *scope;
} JinjaMacro;

typedef struct JinjaBound {
    JinjaValue self;
    const struct JinjaCallable *callable;
} JinjaBound;

typedef struct JinjaCycler {
    JinjaList items; /* J_JOINER: one, the separator */
    size_t at;
} JinjaCycler;

static inline JinjaValue value_none(void)
{
    return (JinjaValue){.kind = J_NONE};
}
static inline JinjaValue value_bool(bool boolean, uint8_t origin)
{
    return (JinjaValue){.kind = J_BOOL, .origin = origin, .boolean = boolean};
}
static inline JinjaValue value_int(int64_t integer, uint8_t origin)
{
    return (JinjaValue){.kind = J_INT, .origin = origin, .integer = integer};
}
static inline JinjaValue value_real(double real, uint8_t origin)
{
    return (JinjaValue){.kind = J_FLOAT, .origin = origin, .real = real};
}
static inline JinjaValue value_undefined(const JinjaString *name, JinjaLack lack)
{
    return (JinjaValue){.kind = J_UNDEFINED, .lack = (uint8_t)lack, .string = name};
}
static inline bool value_is_list(JinjaValue v)
{
    return v.kind >= J_LIST && v.kind <= J_RANGE;
}
static inline bool value_is_number(JinjaValue v)
{
    return v.kind >= J_BOOL && v.kind <= J_FLOAT;
}
static inline bool value_is_whole(JinjaValue v)
{
    return v.kind == J_INT || v.kind == J_BOOL;
}
static inline int64_t value_whole(JinjaValue v) /* of a whole one */
{
    return v.kind == J_BOOL ? v.boolean : v.integer;
}
static inline double value_number(JinjaValue v) /* of a number */
{
    return v.kind == J_FLOAT ? v.real : (double)value_whole(v);
}
static inline bool string_is(const JinjaString *s, const char *text, size_t size)
{
    return s->size == size && !__builtin_memcmp(s->bytes, text, size);
}
#define STRING_IS(s, literal) string_is(s, literal, sizeof(literal) - 1)

/* ---- nodes ---- */

typedef enum {
    /* expressions */
    N_CONST, N_NAME, N_TUPLE, N_LIST, N_DICT, N_COND, N_OR, N_AND, N_NOT, N_COMPARE, N_CONCAT,
    N_BINARY, N_NEGATE, N_PLUS, N_MEMBER, N_ITEM, N_SLICE, N_CALL, N_FILTER, N_TEST,
    /* parts of others */
    N_ARGUMENT, N_PARAMETER, N_NAMESPACE_TARGET,
    /* statements */
    N_BODY, N_TEXT, N_OUTPUT, N_FOR, N_IF, N_SET, N_SET_BLOCK, N_MACRO, N_CALL_BLOCK,
    N_FILTER_BLOCK, N_WITH, N_GENERATION, N_BREAK, N_CONTINUE,
    N_KIND_COUNT
} JinjaNodeKind;

typedef enum {
    OP_NONE, OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_FLOOR, OP_MOD, OP_POW, OP_EQ, OP_NE, OP_LT, OP_LE,
    OP_GT, OP_GE, OP_IN, OP_NOT_IN,
    ARG_PLAIN, ARG_KEYWORD, ARG_LIST, ARG_DICT, /* x, name=x, *x, **x */
} JinjaOp;

/* One shape for all kinds; what the fields hold is said where they are read (jinja_eval.c,
 * jinja_exec.c). */
typedef struct JinjaNode {
    uint8_t kind; /* JinjaNodeKind */
    uint8_t op;   /* JinjaOp */
    bool flag;    /* N_FOR: recursive; N_MACRO: its body names varargs or kwargs (flag_b) */
    bool flag_b;
    uint32_t line, count;
    const JinjaString *name;
    const struct JinjaCallable *callable; /* N_FILTER, N_TEST; NULL: unknown */
    struct JinjaNode *a, *b, *c;
    struct JinjaNode **items;
    JinjaValue value; /* N_CONST, N_TEXT */
} JinjaNode;

struct JinjaTemplate {
    Arena arena;
    char *name;
    JinjaNode *body;
    const JinjaString **symbols; /* [symbol_count] every name in it, once */
    uint32_t symbol_count, symbol_room;
    const JinjaString **literals; /* [literal_count] every text in it */
    uint32_t literal_count, literal_room;
    bool generation;
};

/* ---- tokens ---- */

typedef enum {
    T_END, T_DATA, T_OUTPUT_BEGIN, T_OUTPUT_END, T_BLOCK_BEGIN, T_BLOCK_END, T_NAME, T_TEXT,
    T_NUMBER, /* whole or real: in value */
    T_SIGN,   /* an operator or bracket, in sign */
} JinjaTokenKind;

typedef struct {
    JinjaTokenKind kind;
    uint32_t line;
    uint16_t sign; /* its character, or two as first << 8 | second */
    const char *bytes; /* T_DATA, T_NAME; T_TEXT: decoded */
    size_t size;
    JinjaValue value;
} JinjaToken;
#define SIGN2(a, b) ((uint16_t)((a) << 8 | (b)))

typedef struct {
    JinjaToken *tokens; /* the last one is T_END */
    uint32_t count, room;
} JinjaTokens;

/* Both say "name: line N: ..." and return false. */
bool jinja_syntax(const JinjaTemplate *t, uint32_t line, Error *err, const char *format, ...)
    __attribute__((format(printf, 4, 5), cold));

bool jinja_lex(JinjaTemplate *t, const char *text, size_t size, JinjaTokens *out,
               Error *err) MUST_CHECK;

/* The parser's state; jinja_parse.c has the statements, jinja_parse_expr.c the expressions. */
typedef struct {
    JinjaTemplate *t;
    const JinjaToken *token; /* the current one */
    uint32_t depth, conditional; /* nesting of anything; of conditions that may not hold */
    uint32_t loops;              /* break and continue need one */
    const JinjaNode *unknown;    /* the first filter or test outside of them that is not known */
    Error *err;
} JinjaParser;

JinjaNode *parser_node(JinjaParser *p, JinjaNodeKind kind); /* NULL: no memory */
bool parser_add(JinjaParser *p, JinjaNode *to, JinjaNode *child) MUST_CHECK;
bool parser_enter(JinjaParser *p) MUST_CHECK; /* counts nesting; parser_leave pairs with it */
void parser_leave(JinjaParser *p);
bool parser_unexpected(JinjaParser *p, const char *wanted);
bool parser_is_name(const JinjaParser *p, const char *name);
bool parser_is_sign(const JinjaParser *p, uint16_t sign);
bool parser_skip_name(JinjaParser *p, const char *name);
bool parser_skip_sign(JinjaParser *p, uint16_t sign);
bool parser_need_sign(JinjaParser *p, uint16_t sign, const char *text) MUST_CHECK;
bool parser_take_name(JinjaParser *p, const JinjaString **name) MUST_CHECK;
/* The one string of the template for this name; NULL: no memory. */
const JinjaString *parser_symbol(JinjaParser *p, const char *bytes, size_t size);
const JinjaString *parser_literal(JinjaParser *p, const char *bytes, size_t size);

JinjaNode *parse_expression(JinjaParser *p, bool with_condition);
JinjaNode *parse_unary(JinjaParser *p, bool with_filter);
JinjaNode *parse_primary(JinjaParser *p);
JinjaNode *parse_filters(JinjaParser *p, JinjaNode *subject, bool inside);
bool parse_arguments(JinjaParser *p, JinjaNode *into) MUST_CHECK;
typedef enum { TUPLE_PLAIN, TUPLE_NO_CONDITION, TUPLE_TARGET } JinjaTupleParts;
/* One expression, or several as a tuple. end_name: a word that ends it, or NULL. */
JinjaNode *parse_tuple(JinjaParser *p, JinjaTupleParts parts, bool in_brackets,
                       const char *end_name);

/* ---- rendering ---- */

typedef struct {
    char *bytes;
    uint8_t *origins; /* NULL: `origin` for all */
    size_t size, room, origin_room;
    uint8_t origin;
} JinjaOut;

typedef enum { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE } JinjaFlow;

typedef struct JinjaRender {
    const JinjaTemplate *t;
    const JinjaVariable *variables;
    size_t variable_count;
    Arena arena;
    JinjaScope *scope;
    JinjaOut *out;
    uint64_t steps;
    size_t output_max;
    uint32_t depth, depth_max, line, loop_depth;
    JinjaFlow flow;
    int64_t now;
    Error *err;
} JinjaRender;

/* The arguments of one call. */
typedef struct {
    const JinjaString *name;
    JinjaValue value;
} JinjaKeyword;
typedef struct {
    JinjaValue *plain;
    JinjaKeyword *keywords;
    uint32_t count, keyword_count, room, keyword_room;
} JinjaArgs;

enum { CALL_PARAMETERS_MAX = 6 };
/* a[0] is what a filter, test or method is applied to (J_ABSENT for a function), a[1..] are the
 * parameters of its row in order, J_ABSENT where not given. rest: all arguments as written, for
 * rows that take any number. */
typedef bool JinjaFn(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out);
typedef struct JinjaCallable {
    const char *name;
    JinjaFn *fn;            /* NULL: exists in Python, refused here */
    const char *parameters; /* "width first": their names; "*": any arguments, read from rest */
    uint32_t required;
} JinjaCallable;

const JinjaCallable *callable_find(const JinjaCallable *rows, const char *name, size_t size);
const JinjaCallable *jinja_filter_find(const char *name, size_t size);
const JinjaCallable *jinja_test_find(const char *name, size_t size);
const JinjaCallable *jinja_function_find(const char *name, size_t size);
extern const JinjaCallable jinja_text_filters[], jinja_list_filters[];
extern const JinjaCallable jinja_string_methods[], jinja_list_methods[], jinja_tuple_methods[],
    jinja_dict_methods[], jinja_loop_methods[];

/* Fails with "name: line N: ...", N being the line of what runs now. */
bool jinja_fail(JinjaRender *r, ErrCode code, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));
void *jinja_alloc(JinjaRender *r, size_t count, size_t size); /* NULL: has failed */
bool jinja_steps(JinjaRender *r, uint64_t steps) MUST_CHECK;
bool jinja_enter(JinjaRender *r) MUST_CHECK; /* one deeper; jinja_leave pairs with a true one */
static inline void jinja_leave(JinjaRender *r)
{
    r->depth--;
}

/* jinja_text.c */
bool out_add(JinjaRender *r, JinjaOut *out, const char *bytes, size_t size, uint8_t origin)
    MUST_CHECK;
bool out_add_string(JinjaRender *r, JinjaOut *out, const JinjaString *s) MUST_CHECK;
bool out_value(JinjaRender *r, JinjaOut *out, JinjaValue v) MUST_CHECK; /* as str() */
bool out_repr(JinjaRender *r, JinjaOut *out, JinjaValue v) MUST_CHECK;  /* as repr() */
bool out_string(JinjaRender *r, const JinjaOut *out, JinjaValue *v) MUST_CHECK;
bool string_make(JinjaRender *r, const char *bytes, size_t size, uint8_t origin, JinjaValue *out)
    MUST_CHECK; /* bytes are borrowed */
bool string_slice(JinjaRender *r, const JinjaString *s, size_t from, size_t to, JinjaValue *out)
    MUST_CHECK;
bool string_of(JinjaRender *r, JinjaValue v, const JinjaString **out) MUST_CHECK; /* str(v) */
uint8_t string_origin(const JinjaString *s); /* all of its origins together */
size_t string_chars(const JinjaString *s);
size_t string_at(const JinjaString *s, size_t character); /* its byte; size when beyond */
size_t real_text(double real, char out[40]); /* as Python's repr */
bool is_space(uint32_t character);           /* as Python's str.isspace */

/* jinja_value.c */
const char *value_type(JinjaValue v); /* "dict", "str": as Python names it */
bool value_truth(JinjaRender *r, JinjaValue v, bool *out) MUST_CHECK;
bool value_equal(JinjaRender *r, JinjaValue x, JinjaValue y, bool *out) MUST_CHECK;
/* Less, equal, greater than zero; fails when Python cannot order them. */
bool value_order(JinjaRender *r, JinjaValue x, JinjaValue y, int *out) MUST_CHECK;
bool value_contains(JinjaRender *r, JinjaValue whole, JinjaValue part, bool *out) MUST_CHECK;
bool value_length(JinjaRender *r, JinjaValue v, size_t *out) MUST_CHECK;
uint8_t value_origin(JinjaValue v); /* ORIGIN_DATA for what has parts */
/* What a loop over v walks through; an iterator is used up. */
bool value_items(JinjaRender *r, JinjaValue v, JinjaList *out) MUST_CHECK;
bool value_defined(JinjaRender *r, JinjaValue v) MUST_CHECK; /* fails on an undefined one */
bool value_member(JinjaRender *r, JinjaValue v, const JinjaString *name, JinjaValue *out)
    MUST_CHECK; /* v.name */
bool value_item(JinjaRender *r, JinjaValue v, JinjaValue key, JinjaValue *out) MUST_CHECK;
bool value_of_json(JinjaRender *r, json_t *json, JinjaTrust trust, JinjaValue *out) MUST_CHECK;
/* a.b.0 as filters write it; a whole number too */
bool value_path(JinjaRender *r, JinjaValue v, JinjaValue path, JinjaValue *out) MUST_CHECK;

bool list_new(JinjaRender *r, JinjaKind kind, size_t room, JinjaValue *out) MUST_CHECK;
bool list_add(JinjaRender *r, JinjaList *list, JinjaValue v) MUST_CHECK;
bool dict_new(JinjaRender *r, JinjaKind kind, JinjaValue *out) MUST_CHECK;
bool dict_set(JinjaRender *r, JinjaDict *dict, JinjaValue key, JinjaValue value) MUST_CHECK;
/* NULL: not in it. */
bool dict_find(JinjaRender *r, const JinjaDict *dict, JinjaValue key, JinjaValue **out) MUST_CHECK;
JinjaValue *dict_find_text(const JinjaDict *dict, const char *bytes, size_t size);
bool pair_new(JinjaRender *r, JinjaValue x, JinjaValue y, JinjaValue *out) MUST_CHECK;

/* jinja_json.c */
typedef struct {
    const JinjaString *item, *key, *indent; /* separators; NULL: json.dumps's; NULL: on one line */
    bool ascii, sort;
} JinjaDump;
bool json_of_value(JinjaRender *r, JinjaValue v, const JinjaDump *how, JinjaValue *out) MUST_CHECK;

/* jinja_eval.c */
bool jinja_eval(JinjaRender *r, const JinjaNode *n, JinjaValue *out) MUST_CHECK;
bool value_binary(JinjaRender *r, JinjaOp op, JinjaValue x, JinjaValue y, JinjaValue *out)
    MUST_CHECK;
/* escaped for HTML, as markupsafe does */
bool string_escape(JinjaRender *r, const JinjaString *s, JinjaValue *out) MUST_CHECK;

/* jinja_format.c */
bool format_percent(JinjaRender *r, const JinjaString *s, JinjaValue values, JinjaValue *out)
    MUST_CHECK; /* s % values */
bool format_braces(JinjaRender *r, const JinjaString *s, const JinjaArgs *args, JinjaValue *out)
    MUST_CHECK; /* s.format(...) */

/* jinja_exec.c */
bool jinja_exec(JinjaRender *r, const JinjaNode *n) MUST_CHECK;
bool jinja_capture(JinjaRender *r, const JinjaNode *body, JinjaScope *scope, JinjaValue *out)
    MUST_CHECK;
bool jinja_loop_over(JinjaRender *r, const JinjaNode *n, JinjaValue items, JinjaScope *scope,
                     uint32_t depth) MUST_CHECK;
JinjaScope *scope_new(JinjaRender *r, JinjaScope *parent);
bool scope_set(JinjaRender *r, JinjaScope *scope, const JinjaString *name, JinjaValue v) MUST_CHECK;

/* jinja_call.c */
bool jinja_collect(JinjaRender *r, const JinjaNode *n, JinjaArgs *out) MUST_CHECK;
bool args_add(JinjaRender *r, JinjaArgs *args, JinjaValue v) MUST_CHECK;
bool args_add_keyword(JinjaRender *r, JinjaArgs *args, const JinjaString *name, JinjaValue v)
    MUST_CHECK;
bool jinja_call(JinjaRender *r, JinjaValue f, const JinjaArgs *args, JinjaValue *out) MUST_CHECK;
bool callable_run(JinjaRender *r, const JinjaCallable *row, JinjaValue self, const JinjaArgs *args,
                  JinjaValue *out) MUST_CHECK;
