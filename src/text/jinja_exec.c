/* jinja_exec.c: statements, scopes, and the rendering as a whole.
 *
 * Scopes are as jinja2's: a loop's body, a macro, a block set, call, filter, with and generation
 * have their own; if has none. Reading goes outwards, writing stays inside; only a namespace
 * carries values out.
 */
#include "base/clock.h"
#include "text/jinja_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool jinja_fail(JinjaRender *r, ErrCode code, const char *format, ...)
{
    char text[sizeof r->err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fail(r->err, code, "%s: line %u: %s", r->t->name, r->line, text);
}

void *jinja_alloc(JinjaRender *r, size_t count, size_t size)
{
    void *piece = arena_alloc(&r->arena, count, size);
    if (!piece && size && count > (r->arena.limit - r->arena.used) / size)
        jinja_fail(r, ERR_LIMIT, "the template needs over %zu bytes of memory", r->arena.limit);
    else if (!piece)
        jinja_fail(r, ERR_MEMORY, "no memory is left");
    return piece;
}

bool jinja_steps(JinjaRender *r, uint64_t steps)
{
    if (r->steps < steps)
        return jinja_fail(r, ERR_LIMIT, "the template takes too many steps");
    r->steps -= steps;
    return true;
}

bool jinja_enter(JinjaRender *r)
{
    if (r->depth >= r->depth_max)
        return jinja_fail(r, ERR_LIMIT, "the template or its data nest deeper than %u",
                          r->depth_max);
    r->depth++;
    return true;
}

/* ---- scopes ---- */

JinjaScope *scope_new(JinjaRender *r, JinjaScope *parent)
{
    JinjaScope *scope = jinja_alloc(r, 1, sizeof *scope);
    if (scope)
        scope->parent = parent;
    return scope;
}

bool scope_set(JinjaRender *r, JinjaScope *scope, const JinjaString *name, JinjaValue v)
{
    for (uint32_t i = 0; i < scope->count; i++)
        if (scope->names[i] == name) {
            scope->values[i] = v;
            return true;
        }
    if (scope->count == scope->room) {
        uint32_t room = scope->room ? 2 * scope->room : 4;
        JinjaValue *values = jinja_alloc(r, room, sizeof *values);
        const JinjaString **names = values ? jinja_alloc(r, room, sizeof *names) : NULL;
        if (!names)
            return false;
        if (scope->count) {
            memcpy(values, scope->values, scope->count * sizeof *values);
            memcpy(names, scope->names, scope->count * sizeof *names);
        }
        scope->values = values;
        scope->names = names;
        scope->room = room;
    }
    scope->names[scope->count] = name;
    scope->values[scope->count++] = v;
    return true;
}

/* A name of the template that is always interned (jinja_parse.c). */
static const JinjaString *implied(const JinjaRender *r, const char *name)
{
    for (uint32_t i = 0; i < r->t->symbol_count; i++)
        if (string_is(r->t->symbols[i], name, strlen(name)))
            return r->t->symbols[i];
    return NULL;
}

static bool assign(JinjaRender *r, const JinjaNode *target, JinjaValue v)
{
    if (target->kind == N_NAME)
        return scope_set(r, r->scope, target->name, v);
    if (target->kind == N_NAMESPACE_TARGET) {
        JinjaValue of, key = {.kind = J_STRING, .string = target->name};
        if (!jinja_eval(r, target->a, &of))
            return false;
        if (of.kind != J_NAMESPACE)
            return jinja_fail(r, ERR_INPUT, "only a namespace has attributes that can be set");
        if (target->name->bytes[0] == '_')
            return jinja_fail(r, ERR_INPUT, "a namespace has no attributes that begin with '_'");
        return dict_set(r, of.dict, key, v);
    }
    JinjaList items;
    if (!value_items(r, v, &items))
        return false;
    if (items.count != target->count)
        return jinja_fail(r, ERR_INPUT, "%zu values cannot be given to %u names", items.count,
                          target->count);
    for (uint32_t i = 0; i < target->count; i++)
        if (!assign(r, target->items[i], items.items[i]))
            return false;
    return true;
}

/* What the body writes, as a string; its variables stay in `scope`. */
bool jinja_capture(JinjaRender *r, const JinjaNode *body, JinjaScope *scope, JinjaValue *out)
{
    JinjaOut text = {0}, *outer_out = r->out;
    JinjaScope *outer_scope = r->scope;
    r->out = &text;
    r->scope = scope;
    bool good = jinja_exec(r, body) && out_string(r, &text, out);
    r->out = outer_out;
    r->scope = outer_scope;
    return good;
}

/* ---- statements ---- */

static bool exec_body(JinjaRender *r, const JinjaNode *n)
{
    for (uint32_t i = 0; i < n->count && r->flow == FLOW_ON; i++)
        if (!jinja_exec(r, n->items[i]))
            return false;
    return true;
}

static bool exec_text(JinjaRender *r, const JinjaNode *n)
{
    return out_add_string(r, r->out, n->value.string);
}

static bool exec_output(JinjaRender *r, const JinjaNode *n)
{
    JinjaValue v;
    return jinja_eval(r, n->a, &v) && out_value(r, r->out, v);
}

/* Keeps of items those for which the condition holds. */
static bool filter_items(JinjaRender *r, const JinjaNode *n, JinjaList *items)
{
    JinjaValue kept;
    JinjaScope *scope = scope_new(r, r->scope), *outer = r->scope;
    if (!scope || !list_new(r, J_LIST, 0, &kept))
        return false;
    r->scope = scope;
    for (size_t i = 0; i < items->count; i++) {
        JinjaValue v;
        bool truth;
        if (!assign(r, n->a, items->items[i]) || !jinja_eval(r, n->c, &v) ||
            !value_truth(r, v, &truth) || (truth && !list_add(r, kept.list, items->items[i])))
            return false;
    }
    r->scope = outer;
    *items = *kept.list;
    return true;
}

/* *finished: some iteration came to the end of the body. Without one `else` follows, as in the
 * code that jinja2 makes: even when the loop was left by break. */
static bool run_loop(JinjaRender *r, const JinjaNode *n, JinjaLoop *loop, JinjaScope *scope,
                     bool *finished)
{
    JinjaValue self = {.kind = J_LOOP, .loop = loop};
    const JinjaString *name = implied(r, "loop");
    for (size_t i = 0; i < loop->items.count; i++) {
        loop->index0 = i;
        scope->count = 0;
        if (!assign(r, n->a, loop->items.items[i]) || !scope_set(r, scope, name, self) ||
            !jinja_steps(r, 1) || !jinja_exec(r, n->items[0]))
            return false;
        JinjaFlow flow = r->flow;
        *finished = *finished || flow == FLOW_ON;
        r->flow = FLOW_ON;
        if (flow == FLOW_BREAK)
            break;
    }
    return true;
}

bool jinja_loop_over(JinjaRender *r, const JinjaNode *n, JinjaValue items, JinjaScope *scope,
                     uint32_t depth)
{
    JinjaScope *outer = r->scope, *own = scope_new(r, scope);
    JinjaLoop *loop = own ? jinja_alloc(r, 1, sizeof *loop) : NULL;
    if (!loop || !value_items(r, items, &loop->items))
        return false;
    r->scope = scope;
    if (n->c && !filter_items(r, n, &loop->items))
        return false;
    loop->depth0 = depth;
    loop->node = n;
    loop->scope = scope;
    bool finished = false;
    r->scope = own;
    bool good = run_loop(r, n, loop, own, &finished);
    own->count = 0;
    if (good && !finished && n->count > 1)
        good = jinja_exec(r, n->items[1]);
    r->scope = outer;
    return good;
}

static bool exec_for(JinjaRender *r, const JinjaNode *n)
{
    JinjaValue items;
    return jinja_eval(r, n->b, &items) && jinja_loop_over(r, n, items, r->scope, 0);
}

static bool exec_if(JinjaRender *r, const JinjaNode *n)
{
    for (uint32_t i = 0; i < n->count; i += 2) {
        JinjaValue v;
        bool truth;
        if (!jinja_eval(r, n->items[i], &v) || !value_truth(r, v, &truth))
            return false;
        if (truth)
            return jinja_exec(r, n->items[i + 1]);
    }
    return !n->c || jinja_exec(r, n->c);
}

static bool exec_set(JinjaRender *r, const JinjaNode *n)
{
    JinjaValue v;
    return jinja_eval(r, n->b, &v) && assign(r, n->a, v);
}

/* Applies a chain of filters whose innermost one has no subject. */
static bool apply_chain(JinjaRender *r, const JinjaNode *n, JinjaValue subject, JinjaValue *out)
{
    JinjaArgs args = {0};
    if (n->kind != N_FILTER)
        return jinja_fail(r, ERR_INPUT, "only filters may stand here");
    if (n->a && !apply_chain(r, n->a, subject, &subject))
        return false;
    if (!n->callable)
        return jinja_fail(r, ERR_FORMAT, "there is no filter named '%.*s'", (int)n->name->size,
                          n->name->bytes);
    return jinja_collect(r, n, &args) && callable_run(r, n->callable, subject, &args, out);
}

static bool capture_filtered(JinjaRender *r, const JinjaNode *n, JinjaValue *out)
{
    JinjaScope *scope = scope_new(r, r->scope);
    return scope && jinja_capture(r, n->c, scope, out) &&
           (!n->b || apply_chain(r, n->b, *out, out));
}

static bool exec_set_block(JinjaRender *r, const JinjaNode *n)
{
    JinjaValue v;
    return capture_filtered(r, n, &v) && assign(r, n->a, v);
}

static bool exec_filter_block(JinjaRender *r, const JinjaNode *n)
{
    JinjaValue v;
    return capture_filtered(r, n, &v) && out_value(r, r->out, v);
}

static bool make_macro(JinjaRender *r, const JinjaNode *n, JinjaValue *out)
{
    JinjaMacro *macro = jinja_alloc(r, 1, sizeof *macro);
    if (!macro)
        return false;
    macro->node = n;
    macro->scope = r->scope;
    *out = (JinjaValue){.kind = J_MACRO, .macro = macro};
    return true;
}

static bool exec_macro(JinjaRender *r, const JinjaNode *n)
{
    JinjaValue macro;
    return make_macro(r, n, &macro) && scope_set(r, r->scope, n->name, macro);
}

static bool exec_call_block(JinjaRender *r, const JinjaNode *n)
{
    JinjaValue of, caller, v;
    JinjaArgs args = {0};
    return jinja_eval(r, n->a->a, &of) && value_defined(r, of) &&
           jinja_collect(r, n->a, &args) && make_macro(r, n->b, &caller) &&
           args_add_keyword(r, &args, n->b->name, caller) && jinja_call(r, of, &args, &v) &&
           out_value(r, r->out, v);
}

static bool exec_with(JinjaRender *r, const JinjaNode *n)
{
    JinjaScope *outer = r->scope, *scope = scope_new(r, outer);
    if (!scope)
        return false;
    for (uint32_t i = 0; i < n->count; i += 2) {
        JinjaValue v;
        if (!jinja_eval(r, n->items[i + 1], &v) || !scope_set(r, scope, n->items[i]->name, v))
            return false;
    }
    r->scope = scope;
    bool good = jinja_exec(r, n->c);
    r->scope = outer;
    return good;
}

static bool exec_generation(JinjaRender *r, const JinjaNode *n)
{
    JinjaValue v;
    JinjaScope *scope = scope_new(r, r->scope);
    if (!scope || !jinja_capture(r, n->c, scope, &v))
        return false;
    JinjaString *s = (JinjaString *)v.string; /* new, so it is ours to mark */
    s->origin |= ORIGIN_TRAINED;
    for (size_t i = 0; s->origins && i < s->size; i++)
        ((uint8_t *)s->origins)[i] |= ORIGIN_TRAINED;
    return out_add_string(r, r->out, s);
}

static bool exec_jump(JinjaRender *r, const JinjaNode *n)
{
    r->flow = n->kind == N_BREAK ? FLOW_BREAK : FLOW_CONTINUE;
    return true;
}

typedef bool Exec(JinjaRender *r, const JinjaNode *n);
static Exec *const execs[N_KIND_COUNT] = {
    [N_BODY] = exec_body,         [N_TEXT] = exec_text,
    [N_OUTPUT] = exec_output,     [N_FOR] = exec_for,
    [N_IF] = exec_if,             [N_SET] = exec_set,
    [N_SET_BLOCK] = exec_set_block, [N_MACRO] = exec_macro,
    [N_CALL_BLOCK] = exec_call_block, [N_FILTER_BLOCK] = exec_filter_block,
    [N_WITH] = exec_with,         [N_GENERATION] = exec_generation,
    [N_BREAK] = exec_jump,        [N_CONTINUE] = exec_jump,
};

bool jinja_exec(JinjaRender *r, const JinjaNode *n)
{
    if (n->kind != N_BODY)
        r->line = n->line;
    if (!jinja_steps(r, 1) || !jinja_enter(r))
        return false;
    bool good = execs[n->kind](r, n);
    jinja_leave(r);
    return good;
}

/* ---- the rendering ---- */

void jinja_text_init(JinjaText *text)
{
    *text = (JinjaText){0};
    buf_init(&text->text, SIZE_MAX / 2);
}

void jinja_text_done(JinjaText *text)
{
    buf_done(&text->text);
    mem_free(text->runs);
    *text = (JinjaText){0};
}

static bool add_run(JinjaText *text, size_t end, uint8_t origin)
{
    if (text->run_count == text->run_room) {
        size_t room = text->run_room ? 2 * text->run_room : 64;
        JinjaRun *more = mem_resize(text->runs, room, sizeof *more);
        if (!more)
            return false;
        text->runs = more;
        text->run_room = room;
    }
    text->runs[text->run_count++] = (JinjaRun){end, !(origin & ORIGIN_DATA),
                                               (origin & ORIGIN_TRAINED) != 0};
    return true;
}

static bool hand_over(JinjaRender *r, const JinjaOut *out, JinjaText *text)
{
    bool good = true;
    buf_add(&text->text, out->size ? out->bytes : "", out->size);
    for (size_t at = 0; at < out->size && good;) {
        uint8_t origin = out->origins ? out->origins[at] : out->origin;
        size_t end = out->origins ? at + 1 : out->size;
        while (end < out->size && out->origins[end] == origin)
            end++;
        good = add_run(text, end, origin);
        at = end;
    }
    if (good && !text->text.failed)
        return true;
    return fail(r->err, ERR_MEMORY, "%s: no memory for its text", r->t->name);
}

bool jinja_render(const JinjaTemplate *template, const JinjaVariable *variables, size_t count,
                  const JinjaOptions *options, JinjaText *out, Error *err)
{
    static const JinjaOptions defaults;
    const JinjaOptions *o = options ? options : &defaults;
    JinjaOut text = {0};
    JinjaRender r = {
        .t = template, .variables = variables, .variable_count = count, .out = &text,
        .steps = o->steps_max ? o->steps_max : 20000000,
        .output_max = o->output_max ? o->output_max : 64u << 20,
        .depth_max = o->depth_max ? o->depth_max : 600,
        .line = 1, .now = o->now ? o->now : clock_unix(), .err = err,
    };
    arena_init(&r.arena, o->memory_max ? o->memory_max : 256u << 20);
    buf_reset(&out->text);
    out->run_count = 0;
    r.scope = scope_new(&r, NULL);
    bool good = r.scope && jinja_exec(&r, template->body) && hand_over(&r, &text, out);
    arena_done(&r.arena);
    if (!good) {
        buf_reset(&out->text);
        out->run_count = 0;
    }
    return good;
}
