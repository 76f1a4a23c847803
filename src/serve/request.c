/* request.c: see request.h. The table of fields and that of the sampler's options (see
 * infer/sampler_options.h) are the whole dialect; how values are read is in request_fields.c. */
#include "serve/request_fields.h"

#include "format/suggest.h"

#include <stdio.h>
#include <string.h>

#define AT(member) offsetof(Draft, member)

static const RequestField fields[] = {
    {"model", SHAPE_CHAT | SHAPE_TEXT, field_model, "string", .note = "which model answers"},
    {"messages", SHAPE_CHAT, field_messages, "array", .note = "the conversation so far"},
    {"prompt", SHAPE_TEXT, field_prompt, "", .note = "a text, texts, token ids, or lists of them"},
    {"stream", SHAPE_CHAT | SHAPE_TEXT, field_bool, "boolean", AT(stream)},
    {"stream_options", SHAPE_CHAT | SHAPE_TEXT, field_stream_options, "object"},
    {"max_tokens", SHAPE_CHAT | SHAPE_TEXT, field_count, "integer", AT(max_tokens), 1, 1 << 30},
    {"max_completion_tokens", SHAPE_CHAT, field_count, "integer", AT(max_completion_tokens), 1,
     1 << 30},
    {"n", SHAPE_CHAT | SHAPE_TEXT, field_count, "integer", AT(n), 1, REQUEST_N_MAX},
    {"best_of", SHAPE_TEXT, field_count, "integer", AT(best_of), 1, REQUEST_N_MAX},
    {"stop", SHAPE_CHAT | SHAPE_TEXT, field_stop, "", .note = "a text, or up to 4, that ends it"},
    {"logprobs", SHAPE_CHAT, field_bool, "boolean", AT(logprobs)},
    {"top_logprobs", SHAPE_CHAT, field_count, "integer", AT(top_logprobs), 0,
     WIRE_ALTERNATIVES_MAX},
    {"logprobs", SHAPE_TEXT, field_count, "integer", AT(text_logprobs), 0, WIRE_ALTERNATIVES_MAX},

    /* harmless: they are about billing, caching, storage or speed */
    {"user", SHAPE_CHAT | SHAPE_TEXT, field_text, "string", .high = 512},
    {"safety_identifier", SHAPE_CHAT, field_text, "string", .high = 64},
    {"prompt_cache_key", SHAPE_CHAT, field_text, "string", .high = 512},
    {"prompt_cache_retention", SHAPE_CHAT, field_text, "string", .high = 64},
    {"prompt_cache_options", SHAPE_CHAT, field_any, "object"},
    {"metadata", SHAPE_CHAT, field_metadata, "object"},
    {"service_tier", SHAPE_CHAT, field_word, "string", .words = "auto default flex scale priority"},
    {"parallel_tool_calls", SHAPE_CHAT, field_bool, "boolean", AT(ignored)},
    {"prediction", SHAPE_CHAT, field_any, "object"},
    {"store", SHAPE_CHAT, field_false, "boolean", .note = "answers are never stored here"},

    /* neutral values only: another would change the answer */
    {"echo", SHAPE_TEXT, field_false, "boolean", .note = "the prompt is not repeated here"},
    {"suffix", SHAPE_TEXT, field_empty, "string"},
    {"response_format", SHAPE_CHAT, field_format, "object"},
    {"tools", SHAPE_CHAT, field_empty, "array"},
    {"tool_choice", SHAPE_CHAT, field_word, "string", .words = "none auto"},
    {"functions", SHAPE_CHAT, field_empty, "array"},
    {"function_call", SHAPE_CHAT, field_word, "string", .words = "none auto"},
    {"modalities", SHAPE_CHAT, field_modalities, "array"},
    {"audio", SHAPE_CHAT, field_empty, "object"},
    {"reasoning_effort", SHAPE_CHAT, field_word, "string", .words = "none"},
    {"verbosity", SHAPE_CHAT, field_word, "string", .words = "medium"},
    {"web_search_options", SHAPE_CHAT, field_empty, "object"},
    {"moderation", SHAPE_CHAT, field_empty, "object"},
};
enum { FIELD_COUNT = sizeof fields / sizeof *fields };

static bool read_field(Reader *r, const char *name, const json_t *value)
{
    const char *names[FIELD_COUNT + SAMPLER_OPTIONS_MAX];
    size_t count = 0;
    const SamplerOption *option = sampler_option_named(name);
    if (option)
        return json_is_null(value) || field_sampling(r, option, name, value);
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (!(fields[i].shapes & r->shape))
            continue;
        if (strcmp(fields[i].name, name) == 0)
            return json_is_null(value) || fields[i].read(r, &fields[i], value);
        names[count++] = fields[i].name;
    }
    for (uint32_t i = 0; i < sampler_options_count; i++)
        names[count++] = sampler_options[i].name;
    const char *near = suggest_nearest(name, names, count);
    return refuse(r, FAULT_UNKNOWN, name, near ? "unknown field '%.64s' (did you mean '%s'?)"
                                               : "unknown field '%.64s'", name, near);
}

/* What one field alone cannot tell. */
static bool check_together(Reader *r)
{
    const Draft *d = &r->draft;
    const char *content = r->shape == SHAPE_CHAT ? "messages" : "prompt";
    if (!d->model)
        return refuse(r, FAULT_MISSING, "model", "field 'model' is missing");
    if (!d->part_count)
        return refuse(r, FAULT_MISSING, content, "field '%s' is missing", content);
    if (d->top_logprobs != UNSET && !d->logprobs)
        return refuse(r, FAULT_VALUE, "top_logprobs",
                      "field 'top_logprobs' needs 'logprobs' to be true");
    if (d->best_of != UNSET && d->best_of != d->n)
        return refuse(r, FAULT_UNSUPPORTED, "best_of",
                      "field 'best_of' is supported only when it equals 'n', which is %u", d->n);
    if (d->streams_options && !d->stream)
        return refuse(r, FAULT_VALUE, "stream_options",
                      "field 'stream_options' needs 'stream' to be true");
    uint32_t prompts = r->shape == SHAPE_CHAT ? 1 : d->part_count;
    if (prompts * d->n > WIRE_CHOICES_MAX)
        return refuse(r, FAULT_VALUE, content, "%u prompts with %u answers each are more than %d",
                      prompts, d->n, WIRE_CHOICES_MAX);
    return true;
}

static void finish(const Reader *r, GenerateRequest *out)
{
    const Draft *d = &r->draft;
    uint32_t limit = d->max_completion_tokens != UNSET ? d->max_completion_tokens : d->max_tokens;
    if (limit == UNSET) /* OpenAI's default for texts; a chat answer ends by itself */
        limit = r->shape == SHAPE_TEXT ? 16 : 0;
    bool counted = r->shape == SHAPE_TEXT && d->text_logprobs != UNSET;
    *out = (GenerateRequest){
        .model = d->model,
        .stream = d->stream,
        .include_usage = d->include_usage,
        .seeded = d->seeded,
        .submit = {
            .n = d->n,
            .tokens_max = limit,
            .sampling = d->sampling,
            .logprobs = counted || d->logprobs,
            .alternatives = counted                      ? d->text_logprobs
                            : d->top_logprobs != UNSET   ? d->top_logprobs
                                                         : 0,
            .stop_count = d->stop_count,
            .part_count = d->part_count,
            .parts = d->parts,
        },
    };
    memcpy(out->submit.stops, d->stops, sizeof d->stops);
}

bool request_parse(RequestShape shape, const char *body, size_t size, Arena *arena,
                   GenerateRequest *out, RequestFault *fault, Error *err)
{
    Reader r = {.shape = shape, .arena = arena, .fault = fault, .err = err};
    r.draft = (Draft){.n = 1, .max_tokens = UNSET, .best_of = UNSET,
                      .max_completion_tokens = UNSET, .top_logprobs = UNSET,
                      .text_logprobs = UNSET};
    sampler_options_init(&r.draft.sampling);
    *fault = (RequestFault){.fault = FAULT_JSON};
    auto_json json_t *object = NULL;
    if (!json_parse(&object, body, size, "request body", err)) {
        if (err->code == ERR_MEMORY)
            fault->fault = FAULT_SERVER;
        return false;
    }
    if (!json_is_object(object))
        return refuse(&r, FAULT_JSON, "", "the request body must be a JSON object");
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value) {
        if (!read_field(&r, name, value))
            return false;
    }
    if (!check_together(&r))
        return false;
    finish(&r, out);
    fault->fault = FAULT_NONE;
    return true;
}

static void add_option(Buf *out, const char *name, const SamplerOption *o)
{
    static const char *const types[] = {[OPTION_NUMBER] = "number", [OPTION_WHOLE] = "integer",
                                        [OPTION_SEED] = "integer", [OPTION_BIAS] = "object",
                                        [OPTION_TEXTS] = "array"};
    buf_format(out, ",\"%s\":{\"type\":\"%s\",", name, types[o->kind]);
    if (o->kind == OPTION_NUMBER || o->kind == OPTION_WHOLE)
        buf_format(out, "\"minimum\":%.10g,\"maximum\":%.10g,\"default\":%.10g,", o->low, o->high,
                   o->initial);
    buf_format(out, "\"description\":\"%s\"}", o->meaning);
}

void request_add_schema(Buf *out, RequestShape shape)
{
    buf_format(out, "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"model\","
               "\"%s\"],\"properties\":{", shape == SHAPE_CHAT ? "messages" : "prompt");
    bool first = true;
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        const RequestField *f = &fields[i];
        if (!(f->shapes & shape))
            continue;
        buf_format(out, "%s\"%s\":{", first ? "" : ",", f->name);
        first = false;
        if (*f->type)
            buf_format(out, "\"type\":\"%s\",", f->type);
        if (f->high > 0 && strcmp(f->type, "string") == 0)
            buf_format(out, "\"maxLength\":%.0f,", f->high);
        else if (f->high > 0)
            buf_format(out, "\"minimum\":%.0f,\"maximum\":%.0f,", f->low, f->high);
        buf_add_text(out, "\"description\":");
        buf_format(out, "\"%s%s\"}", f->note ? f->note : "",
                   f->words ? f->words : "");
    }
    for (uint32_t i = 0; i < sampler_options_count; i++) {
        add_option(out, sampler_options[i].name, &sampler_options[i]);
        if (sampler_options[i].alias)
            add_option(out, sampler_options[i].alias, &sampler_options[i]);
    }
    buf_add_text(out, "}}");
}
