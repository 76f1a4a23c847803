/* request_fields.h: how the value of each kind of request field is read. Private to request.c.
 *
 * A reader takes a value that is not null, stores what it means into r->draft and returns true; or
 * refuses. Threads: any, distinct objects.
 */
#pragma once
#include "format/json.h"
#include "infer/sampler_options.h"
#include "serve/request.h"

#define UNSET UINT32_MAX

/* A request as its fields are being read. */
typedef struct {
    const char *model;
    bool stream, include_usage, streams_options, seeded, logprobs, ignored;
    uint32_t max_tokens, max_completion_tokens, n, best_of, top_logprobs, text_logprobs;
    SamplerOptions sampling;
    uint32_t stop_count, part_count;
    WireText stops[WIRE_STOPS_MAX];
    const WirePart *parts;
} Draft;

typedef struct {
    RequestShape shape;
    Arena *arena;
    RequestFault *fault;
    Error *err;
    Draft draft;
} Reader;

typedef struct RequestField {
    const char *name;
    unsigned shapes;
    bool (*read)(Reader *r, const struct RequestField *field, const json_t *value);
    const char *type;  /* as JSON Schema calls it; "" several */
    size_t offset;     /* into Draft, for readers that store one plain value */
    double low, high;  /* range; for texts: most bytes */
    const char *words; /* field_word: the accepted ones */
    const char *note;
} RequestField;

bool field_model(Reader *r, const RequestField *field, const json_t *value);
bool field_messages(Reader *r, const RequestField *field, const json_t *value);
bool field_prompt(Reader *r, const RequestField *field, const json_t *value);
bool field_stream_options(Reader *r, const RequestField *field, const json_t *value);
bool field_stop(Reader *r, const RequestField *field, const json_t *value);
bool field_bool(Reader *r, const RequestField *field, const json_t *value);
bool field_count(Reader *r, const RequestField *field, const json_t *value);
bool field_text(Reader *r, const RequestField *field, const json_t *value);
bool field_word(Reader *r, const RequestField *field, const json_t *value);
bool field_metadata(Reader *r, const RequestField *field, const json_t *value);
bool field_format(Reader *r, const RequestField *field, const json_t *value);
bool field_modalities(Reader *r, const RequestField *field, const json_t *value);
bool field_any(Reader *r, const RequestField *field, const json_t *value);
bool field_empty(Reader *r, const RequestField *field, const json_t *value);
bool field_false(Reader *r, const RequestField *field, const json_t *value);
/* An option of the sampler, in its own table; name is the one the client wrote. */
bool field_sampling(Reader *r, const SamplerOption *option, const char *name, const json_t *value);

/* Fills fault and err; returns false. */
bool refuse(Reader *r, Fault fault, const char *param, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
