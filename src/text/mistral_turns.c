/* mistral_turns.c: messages to turns, and neighbouring turns to one; see mistral_turns.h. */
#include "text/mistral_turns.h"

#include "format/json.h"

#include <string.h>

enum { MESSAGES_MAX = 100000, CALLS_MAX = 1024, PARTS_MAX = 4096 };

static bool no_memory(Error *err)
{
    return fail(err, ERR_MEMORY, "no memory for the messages");
}

/* ---- reading ---- */

typedef struct {
    Arena *arena;
    size_t number;
    Error *err;
} Reader;

static bool wrong(const Reader *r, const char *what)
{
    return fail(r->err, ERR_INPUT, "message %zu: %s", r->number, what);
}

static bool read_role(const Reader *r, const json_t *message, TurnRole *out)
{
    static const char *const names[] = {"system", "user", "assistant", "tool"};
    const char *given = json_string_value(json_object_get(message, "role"));
    for (size_t i = 0; given && i < 4; i++)
        if (!strcmp(names[i], given)) {
            *out = (TurnRole)i;
            return true;
        }
    return wrong(r, "its role is not system, user, assistant or tool");
}

/* A text, or the texts of a list of parts in a row. */
static bool read_thinking(const Reader *r, const json_t *given, TurnPart *out)
{
    Buf text;
    if (json_is_string(given)) {
        out->text = json_string_value(given);
        out->size = json_string_length(given);
        return true;
    }
    if (!json_is_array(given))
        return wrong(r, "its thinking is no text");
    buf_init(&text, JSON_BYTES_MAX);
    for (size_t i = 0; i < json_array_size(given); i++) {
        const json_t *words = json_object_get(json_array_get(given, i), "text");
        buf_add(&text, json_string_value(words) ? json_string_value(words) : "",
                json_string_length(words));
    }
    out->text = text.failed ? NULL : arena_copy_text(r->arena, text.data ? text.data : "",
                                                     text.size);
    out->size = text.size;
    buf_done(&text);
    return out->text || no_memory(r->err);
}

static bool read_part(const Reader *r, const json_t *given, TurnPart *out)
{
    const char *type = json_string_value(json_object_get(given, "type"));
    if (type && !strcmp(type, "text")) {
        const json_t *text = json_object_get(given, "text");
        if (!json_is_string(text))
            return wrong(r, "a part of its content has no text");
        *out = (TurnPart){json_string_value(text), json_string_length(text), false, false};
        return true;
    }
    if (!type || strcmp(type, "thinking"))
        return wrong(r, "a part of its content is neither text nor thinking");
    const json_t *closed = json_object_get(given, "closed");
    out->think = true;
    out->closed = !closed || json_is_true(closed);
    return read_thinking(r, json_object_get(given, "thinking"), out);
}

static bool read_content(const Reader *r, const json_t *message, Turn *turn)
{
    const json_t *content = json_object_get(message, "content");
    const json_t *reasoning = json_object_get(message, "reasoning_content");
    size_t parts = json_is_array(content) ? json_array_size(content) : json_is_string(content);
    if (!json_is_string(reasoning))
        reasoning = json_object_get(message, "reasoning");
    if (content && !json_is_string(content) && !json_is_array(content) && !json_is_null(content))
        return wrong(r, "its content is neither text nor a list of parts");
    if (parts > PARTS_MAX)
        return wrong(r, "its content has too many parts");
    turn->parts = arena_alloc(r->arena, parts + 1, sizeof *turn->parts);
    if (!turn->parts)
        return no_memory(r->err);
    if (json_is_string(reasoning) && turn->role == TURN_ASSISTANT)
        turn->parts[turn->part_count++] = (TurnPart){
            json_string_value(reasoning), json_string_length(reasoning), true, true};
    if (json_is_string(content))
        turn->parts[turn->part_count++] = (TurnPart){
            json_string_value(content), json_string_length(content), false, false};
    for (size_t i = 0; json_is_array(content) && i < parts; i++)
        if (!read_part(r, json_array_get(content, i), &turn->parts[turn->part_count++]))
            return false;
    return true;
}

static bool read_call(const Reader *r, const json_t *given, TurnCall *out)
{
    const json_t *function = json_object_get(given, "function");
    const json_t *arguments = json_object_get(function, "arguments");
    auto_buf Buf text;
    buf_init(&text, JSON_BYTES_MAX);
    out->name = json_string_value(json_object_get(function, "name"));
    out->id = json_string_value(json_object_get(given, "id"));
    if (out->id && !strcmp(out->id, "null"))
        out->id = NULL;
    if (!out->name)
        return wrong(r, "a call of a tool has no name");
    if (json_is_object(arguments)) {
        if (!mistral_dump(arguments, &text, r->err))
            return false;
        out->is_json = true;
    } else if (arguments && !json_is_string(arguments) && !json_is_null(arguments)) {
        return wrong(r, "the arguments of a call are no JSON in a text");
    } else if (!mistral_normal_json(json_string_value(arguments) ? json_string_value(arguments)
                                                                 : "",
                                    json_string_length(arguments), &text, &out->is_json,
                                    r->err)) {
        return false;
    }
    out->arguments_size = text.size;
    out->arguments = arena_copy_text(r->arena, text.data, text.size);
    return out->arguments || no_memory(r->err);
}

static bool read_calls(const Reader *r, const json_t *message, Turn *turn)
{
    const json_t *calls = json_object_get(message, "tool_calls");
    if (!calls || json_is_null(calls) || turn->role != TURN_ASSISTANT)
        return true;
    if (!json_is_array(calls) || json_array_size(calls) > CALLS_MAX)
        return wrong(r, "its tool_calls are no list, or too many");
    turn->calls = arena_alloc(r->arena, json_array_size(calls), sizeof *turn->calls);
    if (!turn->calls)
        return no_memory(r->err);
    for (size_t i = 0; i < json_array_size(calls); i++)
        if (!read_call(r, json_array_get(calls, i), &turn->calls[turn->call_count++]))
            return false;
    return true;
}

bool mistral_read(Arena *arena, const MistralRequest *request, Turns *out, Error *err)
{
    size_t count = json_array_size(request->messages);
    Reader r = {arena, 1, err};
    if (!json_is_array(request->messages) || count > MESSAGES_MAX)
        return fail(err, ERR_INPUT, "the messages are no list, or over %d", MESSAGES_MAX);
    out->all = arena_alloc(arena, count, sizeof *out->all);
    if (!out->all)
        return no_memory(err);
    for (size_t i = 0; i < count; i++, r.number++) {
        const json_t *message = json_array_get(request->messages, i);
        Turn *turn = &out->all[i];
        turn->number = r.number;
        if (!read_role(&r, message, &turn->role) || !read_content(&r, message, turn) ||
            !read_calls(&r, message, turn))
            return false;
        turn->call_id = json_string_value(json_object_get(message, "tool_call_id"));
        turn->name = json_string_value(json_object_get(message, "name"));
        turn->prefix = turn->role == TURN_ASSISTANT &&
                       json_is_true(json_object_get(message, "prefix"));
        const json_t *weight = json_object_get(message, "weight");
        turn->weight = json_is_number(weight) ? json_number_value(weight) : 1;
        out->count++;
    }
    return true;
}

/* ---- joining ---- */

typedef struct {
    Arena *arena;
    const char *between_parts;
    Error *err;
    Buf text; /* of the part that is growing */
    Turn *to;
    bool growing, any_other;
} Joiner;

static bool end_text(Joiner *j)
{
    if (!j->growing)
        return true;
    TurnPart *part = &j->to->parts[j->to->part_count++];
    part->size = j->text.size;
    part->text = j->text.failed ? NULL
                                : arena_copy_text(j->arena, j->text.data ? j->text.data : "",
                                                  j->text.size);
    j->growing = false;
    buf_reset(&j->text);
    return part->text || no_memory(j->err);
}

/* Texts of neighbours grow together: "\n\n" between messages, between_parts within one. */
static bool join_content(Joiner *j, const Turn *from)
{
    bool new_message = j->growing;
    for (size_t i = 0; i < from->part_count; i++) {
        const TurnPart *part = &from->parts[i];
        if (part->think) {
            if (!end_text(j))
                return false;
            j->to->parts[j->to->part_count++] = *part;
            j->any_other = true;
        } else if (part->size) {
            if (j->growing)
                buf_add_text(&j->text, new_message ? "\n\n" : j->between_parts);
            buf_add(&j->text, part->text, part->size);
            j->growing = true;
            new_message = false;
        }
    }
    return true;
}

static bool join_turns(Joiner *j, const Turn *from, size_t count, Turn *to)
{
    size_t parts = 0, calls = 0;
    *to = *from;
    for (size_t i = 0; i < count; i++) {
        parts += from[i].part_count;
        calls += from[i].call_count;
        to->prefix |= from[i].prefix;
    }
    to->part_count = to->call_count = 0;
    to->parts = arena_alloc(j->arena, 2 * parts + 1, sizeof *to->parts);
    to->calls = arena_alloc(j->arena, calls, sizeof *to->calls);
    if (!to->parts || !to->calls)
        return no_memory(j->err);
    j->to = to;
    j->growing = j->any_other = false;
    buf_reset(&j->text);
    for (size_t i = 0; i < count; i++) {
        if (!join_content(j, &from[i]))
            return false;
        for (size_t k = 0; k < from[i].call_count; k++)
            to->calls[to->call_count++] = from[i].calls[k];
    }
    to->is_list = j->any_other;
    if (!to->part_count && !j->growing) /* no text at all is an empty one */
        j->growing = true;
    return end_text(j);
}

/* Where the call with this id stands among those of the answer before; SIZE_MAX: nowhere. */
static size_t call_place(const Turn *answer, const char *id)
{
    for (size_t i = 0; answer && id && i < answer->call_count; i++)
        if (answer->calls[i].id && !strcmp(answer->calls[i].id, id))
            return i;
    return SIZE_MAX;
}

/* Stable: results whose call is not known stay last, in their order. */
static void sort_results(Turn *results, size_t count, const Turn *answer)
{
    for (size_t i = 1; i < count; i++) {
        Turn turn = results[i];
        size_t at = i, place = call_place(answer, turn.call_id);
        while (at > 0 && call_place(answer, results[at - 1].call_id) > place) {
            results[at] = results[at - 1];
            at--;
        }
        results[at] = turn;
    }
}

static bool join_system(Joiner *j, const Turns *turns, Turns *out)
{
    auto_buf Buf all;
    bool any = false;
    buf_init(&all, JSON_BYTES_MAX);
    for (size_t i = 0; i < turns->count; i++) {
        Turn one;
        if (turns->all[i].role != TURN_SYSTEM || !turns->all[i].part_count)
            continue;
        if (!join_turns(j, &turns->all[i], 1, &one))
            return false;
        if (!one.parts[0].size && turns->all[i].part_count == 1)
            continue; /* an empty text counts as none */
        if (any)
            buf_add(&all, "\n\n", 2);
        buf_add(&all, one.parts[0].text, one.parts[0].size);
        any = true;
    }
    if (!any)
        return true;
    out->system_size = all.size;
    out->system = all.failed ? NULL : arena_copy_text(j->arena, all.data ? all.data : "", all.size);
    return out->system || no_memory(j->err);
}

static bool is_single(TurnRole role)
{
    return role == TURN_TOOL || role == TURN_SYSTEM;
}

static bool join_all(Joiner *j, const Turns *turns, MistralVersion version, Turns *out)
{
    bool apart = version < MISTRAL_V7; /* system messages are no turns */
    const Turn *answer = NULL;
    for (size_t i = 0, end; i < turns->count; i = end) {
        const Turn *first = &turns->all[i];
        for (end = i + 1; end < turns->count && turns->all[end].role == first->role &&
                          turns->all[end].weight == first->weight;)
            end++;
        if (apart && first->role == TURN_SYSTEM)
            continue;
        size_t from = out->count;
        for (size_t k = i; k < end; k += is_single(first->role) ? 1 : end - i)
            if (!join_turns(j, &turns->all[k], is_single(first->role) ? 1 : end - i,
                            &out->all[out->count++]))
                return false;
        if (first->role == TURN_TOOL && version >= MISTRAL_V11)
            sort_results(&out->all[from], out->count - from, answer);
        if (first->role == TURN_ASSISTANT)
            answer = &out->all[from];
    }
    return true;
}

bool mistral_join(Arena *arena, const Turns *turns, MistralVersion version, Turns *out, Error *err)
{
    Joiner j = {.arena = arena, .between_parts = version == MISTRAL_V15 ? "" : "\n\n", .err = err};
    Turn *all = arena_alloc(arena, turns->count + 1, sizeof *all);
    if (!all)
        return no_memory(err);
    *out = (Turns){.all = all + 1}; /* room for one more in front */
    buf_init(&j.text, JSON_BYTES_MAX);
    bool good = (version >= MISTRAL_V7 || join_system(&j, turns, out)) &&
                join_all(&j, turns, version, out);
    if (good && (!out->count || (version < MISTRAL_V7 && out->all[0].role != TURN_USER))) {
        static const Turn nothing = {.role = TURN_USER, .number = 1};
        good = join_turns(&j, &nothing, 1, all);
        out->all = all;
        out->count++;
    }
    buf_done(&j.text);
    return good;
}
