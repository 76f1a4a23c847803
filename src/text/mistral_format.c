/* mistral_format.c: see mistral_format.h. A version is a row: what it needs and how it differs. */
#include "text/mistral_turns.h"

#include "format/json.h"

#include <string.h>

enum { MEMORY_MAX = 512 << 20 };

static const struct {
    const char *name;
    MistralMark needs; /* the markers before this one must be there */
} versions[MISTRAL_VERSION_COUNT] = {
    [MISTRAL_V1] = {"v1", MARK_INST},     [MISTRAL_V2] = {"v2", MARK_SYSTEM},
    [MISTRAL_V3] = {"v3", MARK_SYSTEM},   [MISTRAL_V7] = {"v7", MARK_ARGS},
    [MISTRAL_V11] = {"v11", MARK_THINK},  [MISTRAL_V13] = {"v13", MARK_THINK},
    [MISTRAL_V15] = {"v15", MARK_COUNT},
};

static const char *const mark_texts[MARK_COUNT] = {
    [MARK_BOS] = "<s>",
    [MARK_EOS] = "</s>",
    [MARK_INST] = "[INST]",
    [MARK_INST_END] = "[/INST]",
    [MARK_TOOLS] = "[AVAILABLE_TOOLS]",
    [MARK_TOOLS_END] = "[/AVAILABLE_TOOLS]",
    [MARK_RESULTS] = "[TOOL_RESULTS]",
    [MARK_RESULTS_END] = "[/TOOL_RESULTS]",
    [MARK_CALLS] = "[TOOL_CALLS]",
    [MARK_PREFIX] = "[PREFIX]",
    [MARK_SUFFIX] = "[SUFFIX]",
    [MARK_SYSTEM] = "[SYSTEM_PROMPT]",
    [MARK_SYSTEM_END] = "[/SYSTEM_PROMPT]",
    [MARK_CONTENT] = "[TOOL_CONTENT]",
    [MARK_ARGS] = "[ARGS]",
    [MARK_CALL_ID] = "[CALL_ID]",
    [MARK_THINK] = "[THINK]",
    [MARK_THINK_END] = "[/THINK]",
    [MARK_SETTINGS] = "[MODEL_SETTINGS]",
    [MARK_SETTINGS_END] = "[/MODEL_SETTINGS]",
};

bool mistral_version_named(const char *name, MistralVersion *out)
{
    for (size_t i = 0; i < MISTRAL_VERSION_COUNT; i++)
        if (!strcmp(versions[i].name, name)) {
            *out = (MistralVersion)i;
            return true;
        }
    return false;
}

const char *mistral_version_name(MistralVersion version)
{
    return versions[version].name;
}

bool mistral_format_init(MistralFormat *out, const Tokenizer *tokenizer, MistralVersion version,
                         Error *err)
{
    MistralFormat made = {.version = version, .tokenizer = tokenizer};
    for (size_t i = 0; i < MARK_COUNT; i++) {
        bool optional = i == MARK_PREFIX || i == MARK_SUFFIX || i == MARK_THINK ||
                        i == MARK_THINK_END; /* of models that fill gaps, of models that think */
        made.marks[i] = -1;
        if (!tokenizer_special(tokenizer, mark_texts[i], &made.marks[i]) &&
            i < (size_t)versions[version].needs && !optional)
            return fail(err, ERR_INPUT, "the tokenizer has no special token '%s', which Mistral's "
                        "format %s needs", mark_texts[i], versions[version].name);
    }
    *out = made;
    return true;
}

/* ---- pieces ---- */

typedef struct {
    const MistralFormat *f;
    const MistralRequest *request;
    Turns turns;
    size_t first_user, last_user, last_answer; /* SIZE_MAX: none */
    Tokens *ids, *trained;
    Buf text;
    Error *err;
} Encoding;

static bool put_mark(Encoding *e, MistralMark mark)
{
    if (e->f->marks[mark] < 0)
        return fail(e->err, ERR_INPUT, "the tokenizer has no special token '%s'",
                    mark_texts[mark]);
    tokens_add(e->ids, e->f->marks[mark]);
    return true;
}

static bool put_text(Encoding *e, const char *text, size_t size)
{
    return !size || tokenizer_encode(e->f->tokenizer, text, size, e->ids, e->err);
}

/* What was built in e->text. */
static bool put_built(Encoding *e)
{
    return buf_ok(&e->text, "a message", e->err) && put_text(e, e->text.data, e->text.size);
}

static bool put_parts(Encoding *e, const Turn *turn)
{
    for (size_t i = 0; i < turn->part_count; i++) {
        const TurnPart *part = &turn->parts[i];
        if ((part->think && !put_mark(e, MARK_THINK)) || !put_text(e, part->text, part->size) ||
            (part->think && part->closed && !put_mark(e, MARK_THINK_END)))
            return false;
    }
    return true;
}

/* ---- user ---- */

/* Name, description and parameters alone, as mistral-common's Tool keeps them. */
static bool build_tool(Encoding *e, const json_t *tool)
{
    const json_t *function = json_object_get(tool, "function");
    const json_t *name = json_object_get(function, "name");
    const json_t *about = json_object_get(function, "description");
    const json_t *parameters = json_object_get(function, "parameters");
    if (!json_is_string(name) || (about && !json_is_string(about) && !json_is_null(about)) ||
        (parameters && !json_is_object(parameters) && !json_is_null(parameters)))
        return fail(e->err, ERR_INPUT, "a tool needs a function with a name, a description that is "
                    "text, and parameters that are an object");
    buf_add_text(&e->text, "{\"type\": \"function\", \"function\": {\"name\": ");
    mistral_dump_text(json_string_value(name), json_string_length(name), &e->text);
    buf_add_text(&e->text, ", \"description\": ");
    mistral_dump_text(json_is_string(about) ? json_string_value(about) : "",
                      json_string_length(about), &e->text);
    buf_add_text(&e->text, ", \"parameters\": ");
    if (!json_is_object(parameters))
        buf_add_text(&e->text, "{}");
    else if (!mistral_dump(parameters, &e->text, e->err))
        return false;
    buf_add_text(&e->text, "}}");
    return true;
}

static bool put_tools(Encoding *e)
{
    size_t count = json_array_size(e->request->tools);
    if (!count || e->f->version == MISTRAL_V1)
        return true;
    buf_reset(&e->text);
    buf_add_char(&e->text, '[');
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_add(&e->text, ", ", 2);
        if (!build_tool(e, json_array_get(e->request->tools, i)))
            return false;
    }
    buf_add_char(&e->text, ']');
    return put_mark(e, MARK_TOOLS) && put_built(e) && put_mark(e, MARK_TOOLS_END);
}

static bool is_given(const json_t *value)
{
    return value && !json_is_null(value);
}

/* Its two keys in the order of the alphabet. */
static bool put_settings(Encoding *e)
{
    const json_t *schema = json_object_get(e->request->settings, "json_schema");
    const json_t *effort = json_object_get(e->request->settings, "reasoning_effort");
    if (!is_given(schema) && !is_given(effort))
        return true;
    if (e->f->version < MISTRAL_V15)
        return fail(e->err, ERR_INPUT, "Mistral's format %s has no model settings",
                    versions[e->f->version].name);
    buf_reset(&e->text);
    buf_add_char(&e->text, '{');
    if (is_given(schema)) {
        buf_add_text(&e->text, "\"json_schema\": ");
        if (!mistral_dump(schema, &e->text, e->err))
            return false;
    }
    if (is_given(effort)) {
        buf_add_text(&e->text, is_given(schema) ? ", \"reasoning_effort\": "
                                                : "\"reasoning_effort\": ");
        if (!mistral_dump(effort, &e->text, e->err))
            return false;
    }
    buf_add_char(&e->text, '}');
    return put_mark(e, MARK_SETTINGS) && put_built(e) && put_mark(e, MARK_SETTINGS_END);
}

/* The whole content, the system prompt in front where this version has it there. */
static void build_user(Encoding *e, const Turn *turn, size_t at)
{
    size_t holder = e->f->version == MISTRAL_V1 ? e->first_user : e->last_user;
    buf_reset(&e->text);
    if (e->f->version == MISTRAL_V1)
        buf_add_text(&e->text, "[INST] ");
    if (e->turns.system_size && at == holder) {
        buf_add(&e->text, e->turns.system, e->turns.system_size);
        buf_add(&e->text, "\n\n", 2);
    }
    buf_add(&e->text, turn->parts[0].text, turn->parts[0].size);
    if (e->f->version == MISTRAL_V1)
        buf_add_text(&e->text, " [/INST]");
}

static bool put_user(Encoding *e, const Turn *turn, size_t at)
{
    size_t holder = e->f->version >= MISTRAL_V13 ? e->first_user : e->last_user;
    if (e->f->version == MISTRAL_V1) {
        build_user(e, turn, at);
        return put_built(e);
    }
    if (at == holder && (!put_tools(e) || !put_settings(e)))
        return false;
    build_user(e, turn, at);
    return put_mark(e, MARK_INST) && put_built(e) && put_mark(e, MARK_INST_END);
}

/* ---- assistant ---- */

static void build_arguments(Encoding *e, const TurnCall *call)
{
    if (call->is_json)
        buf_add(&e->text, call->arguments, call->arguments_size);
    else
        mistral_dump_text(call->arguments, call->arguments_size, &e->text);
}

/* v2 to v7: one list of objects. */
static bool put_call_list(Encoding *e, const Turn *turn)
{
    buf_reset(&e->text);
    for (size_t i = 0; i < turn->call_count; i++) {
        const TurnCall *call = &turn->calls[i];
        buf_add_text(&e->text, i ? ", {\"name\": " : "[{\"name\": ");
        mistral_dump_text(call->name, strlen(call->name), &e->text);
        buf_add_text(&e->text, ", \"arguments\": ");
        build_arguments(e, call);
        if (call->id && *call->id && e->f->version >= MISTRAL_V3) {
            buf_add_text(&e->text, ", \"id\": ");
            mistral_dump_text(call->id, strlen(call->id), &e->text);
        }
        buf_add_char(&e->text, '}');
    }
    buf_add_char(&e->text, ']');
    return put_mark(e, MARK_CALLS) && put_built(e);
}

static bool put_call(Encoding *e, const TurnCall *call)
{
    if (!put_mark(e, MARK_CALLS) || !put_text(e, call->name, strlen(call->name)))
        return false;
    if (e->f->version == MISTRAL_V11 && call->id && *call->id &&
        (!put_mark(e, MARK_CALL_ID) || !put_text(e, call->id, strlen(call->id))))
        return false;
    buf_reset(&e->text);
    build_arguments(e, call);
    return put_mark(e, MARK_ARGS) && put_built(e);
}

static bool put_calls(Encoding *e, const Turn *turn)
{
    if (!turn->call_count)
        return true;
    if (e->f->version < MISTRAL_V11)
        return put_call_list(e, turn);
    for (size_t i = 0; i < turn->call_count; i++)
        if (!put_call(e, &turn->calls[i]))
            return false;
    return true;
}

static bool put_words(Encoding *e, const Turn *turn)
{
    if (turn->is_list)
        return put_parts(e, turn);
    size_t size = turn->parts[0].size;
    while (e->f->version > MISTRAL_V1 && size && turn->parts[0].text[size - 1] == ' ')
        size--;
    return put_text(e, turn->parts[0].text, size);
}

static bool put_answer(Encoding *e, const Turn *turn, size_t at)
{
    bool empty = !turn->is_list && !turn->parts[0].size;
    bool before = e->last_user != SIZE_MAX && at < e->last_user;
    if (e->f->version == MISTRAL_V1 && turn->call_count)
        return fail(e->err, ERR_INPUT, "message %zu: Mistral's format v1 has no calls of tools",
                    turn->number);
    if (empty && !turn->call_count)
        return fail(e->err, ERR_INPUT, "message %zu: the assistant says nothing", turn->number);
    if (e->f->version == MISTRAL_V2 && turn->call_count && before)
        return true;
    return put_words(e, turn) && put_calls(e, turn) && (turn->prefix || put_mark(e, MARK_EOS));
}

/* ---- tool ---- */

static bool build_result(Encoding *e, const Turn *turn)
{
    auto_buf Buf content;
    bool is_json;
    buf_init(&content, JSON_BYTES_MAX);
    if (!mistral_normal_json(turn->parts[0].text, turn->parts[0].size, &content, &is_json, e->err))
        return false;
    bool v2 = e->f->version == MISTRAL_V2;
    const char *name = v2 ? turn->name : turn->call_id;
    buf_reset(&e->text);
    buf_add_text(&e->text, v2 ? "[{\"name\": " : "{");
    if (v2 && name)
        mistral_dump_text(name, strlen(name), &e->text);
    else if (v2)
        buf_add_text(&e->text, "null");
    buf_add_text(&e->text, v2 ? ", \"content\": " : "\"content\": ");
    if (is_json)
        buf_add(&e->text, content.data, content.size);
    else
        mistral_dump_text(content.data, content.size, &e->text);
    if (v2) {
        buf_add_text(&e->text, "}]");
        return true;
    }
    buf_add_text(&e->text, ", \"call_id\": ");
    mistral_dump_text(name ? name : "", name ? strlen(name) : 0, &e->text);
    buf_add_char(&e->text, '}');
    return true;
}

static bool put_result(Encoding *e, const Turn *turn, size_t at)
{
    if (e->f->version == MISTRAL_V1)
        return fail(e->err, ERR_INPUT, "message %zu: Mistral's format v1 has no results of tools",
                    turn->number);
    if (e->f->version == MISTRAL_V2 && e->last_user != SIZE_MAX && at < e->last_user)
        return true;
    if (e->f->version == MISTRAL_V2 && at && turn[-1].role == TURN_TOOL)
        return fail(e->err, ERR_INPUT, "message %zu: Mistral's format v2 has one result of a tool "
                    "for an answer", turn->number);
    if (!put_mark(e, MARK_RESULTS))
        return false;
    if (e->f->version < MISTRAL_V7)
        return build_result(e, turn) && put_built(e) && put_mark(e, MARK_RESULTS_END);
    if (e->f->version < MISTRAL_V13 &&
        (!put_text(e, turn->call_id, strlen(turn->call_id)) || !put_mark(e, MARK_CONTENT)))
        return false;
    return put_parts(e, turn) && put_mark(e, MARK_RESULTS_END);
}

/* ---- all ---- */

static bool put_turn(Encoding *e, size_t at)
{
    const Turn *turn = &e->turns.all[at];
    switch (turn->role) {
    case TURN_SYSTEM:
        return put_mark(e, MARK_SYSTEM) && put_parts(e, turn) && put_mark(e, MARK_SYSTEM_END);
    case TURN_USER:
        return put_user(e, turn, at);
    case TURN_ASSISTANT:
        return put_answer(e, turn, at);
    default:
        return put_result(e, turn, at);
    }
}

static void mark_turn(Encoding *e, size_t at)
{
    const Turn *turn = &e->turns.all[at];
    bool trained = turn->role == TURN_ASSISTANT && turn->weight != 0 &&
                   (!e->request->train_last_only || at == e->last_answer);
    while (e->trained && !e->trained->failed && e->trained->count < e->ids->count)
        tokens_add(e->trained, trained);
}

static bool encode_turns(Encoding *e)
{
    e->first_user = e->last_user = e->last_answer = SIZE_MAX;
    for (size_t i = 0; i < e->turns.count; i++) {
        if (e->turns.all[i].role == TURN_USER) {
            e->first_user = e->first_user == SIZE_MAX ? i : e->first_user;
            e->last_user = i;
        }
        if (e->turns.all[i].role == TURN_ASSISTANT)
            e->last_answer = i;
    }
    if (!put_mark(e, MARK_BOS))
        return false;
    if (e->trained)
        tokens_add(e->trained, 0);
    for (size_t i = 0; i < e->turns.count; i++) {
        if (!put_turn(e, i))
            return false;
        mark_turn(e, i);
    }
    return true;
}

static bool settle(Encoding *e, bool good, size_t keep, size_t keep_trained)
{
    if (good && (e->ids->failed || (e->trained && e->trained->failed)))
        good = fail(e->err, ERR_LIMIT, "the messages have more than %zu tokens, or no memory is "
                    "left", e->ids->limit);
    if (good)
        return true;
    e->ids->count = keep;
    e->ids->failed = false;
    if (e->trained) {
        e->trained->count = keep_trained;
        e->trained->failed = false;
    }
    return false;
}

bool mistral_encode(const MistralFormat *format, const MistralRequest *request, Tokens *ids,
                    Tokens *trained, Error *err)
{
    Encoding e = {.f = format, .request = request, .ids = ids, .trained = NULL, .err = err};
    auto_tokens Tokens made;
    auto_tokens Tokens marks;
    Arena arena;
    Turns given = {0};
    tokens_init(&made, ids->limit - ids->count);
    tokens_init(&marks, ids->limit - ids->count);
    arena_init(&arena, MEMORY_MAX);
    buf_init(&e.text, JSON_BYTES_MAX);
    e.ids = &made;
    e.trained = trained ? &marks : NULL;
    bool good = mistral_read(&arena, request, &given, err) &&
                mistral_check(&given, format->version, request->mode, err) &&
                mistral_join(&arena, &given, format->version, &e.turns, err) && encode_turns(&e);
    good = settle(&e, good, 0, 0);
    buf_done(&e.text);
    arena_done(&arena);
    size_t keep = ids->count, keep_trained = trained ? trained->count : 0;
    for (size_t i = 0; good && i < made.count; i++) {
        tokens_add(ids, made.ids[i]);
        if (trained)
            tokens_add(trained, marks.ids[i]);
    }
    e.ids = ids;
    e.trained = trained;
    return settle(&e, good, keep, keep_trained);
}

/* A first character keeps the tokenizer from putting a blank before the suffix; its two tokens are
 * taken off again, as mistral-common does whatever they are. */
static bool put_suffix(Encoding *e, const char *suffix, size_t size)
{
    auto_tokens Tokens all;
    tokens_init(&all, e->ids->limit);
    buf_reset(&e->text);
    buf_add_text(&e->text, "\xe2\x98\xba");
    buf_add(&e->text, suffix, size);
    if (!buf_ok(&e->text, "the suffix", e->err) ||
        !tokenizer_encode(e->f->tokenizer, e->text.data, e->text.size, &all, e->err))
        return false;
    for (size_t i = 2; i < all.count; i++)
        tokens_add(e->ids, all.ids[i]);
    return true;
}

bool mistral_encode_fim(const MistralFormat *format, const char *prompt, size_t prompt_size,
                        const char *suffix, size_t suffix_size, Tokens *ids, Error *err)
{
    Encoding e = {.f = format, .ids = ids, .err = err};
    size_t keep = ids->count;
    if (format->version == MISTRAL_V1)
        return fail(err, ERR_INPUT, "Mistral's format v1 fills no gaps");
    buf_init(&e.text, JSON_BYTES_MAX);
    bool good = put_mark(&e, MARK_BOS) && put_mark(&e, MARK_SUFFIX) &&
                (!suffix_size || put_suffix(&e, suffix, suffix_size)) &&
                put_mark(&e, MARK_PREFIX) && put_text(&e, prompt, prompt_size);
    buf_done(&e.text);
    return settle(&e, good, keep, 0);
}
