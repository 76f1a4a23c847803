/* mistral_turns.h: a request in the form that is encoded; between mistral_*.c only. */
#pragma once
#include "base/mem.h"
#include "text/mistral_format.h"

typedef enum { TURN_SYSTEM, TURN_USER, TURN_ASSISTANT, TURN_TOOL } TurnRole;

typedef struct {
    const char *text;
    size_t size;
    bool think, closed;
} TurnPart;

typedef struct {
    const char *name, *id; /* id NULL: none, or "null" */
    const char *arguments; /* JSON as json.dumps has it, or whatever else was given */
    size_t arguments_size;
    bool is_json;
} TurnCall;

typedef struct {
    TurnRole role;
    TurnPart *parts; /* one of text, or several when there is thinking among them */
    size_t part_count;
    bool is_list; /* given as a list with thinking: its blanks stay */
    TurnCall *calls;
    size_t call_count;
    const char *call_id, *name; /* of a tool's result; NULL: not given */
    bool prefix;
    double weight;
    size_t number; /* of the first message in it, from 1 */
} Turn;

typedef struct {
    Turn *all;
    size_t count;
    const char *system; /* before v7: all system messages as one; NULL: none */
    size_t system_size;
} Turns;

/* One turn for each message, as it was given. */
bool mistral_read(Arena *arena, const MistralRequest *request, Turns *out, Error *err) MUST_CHECK;
/* mistral-common's rules for the order and contents of turns. */
bool mistral_check(const Turns *turns, MistralVersion version, MistralMode mode,
                   Error *err) MUST_CHECK;
/* Neighbours of one role and weight joined, results in the order of their calls, system apart. */
bool mistral_join(Arena *arena, const Turns *turns, MistralVersion version, Turns *out,
                  Error *err) MUST_CHECK;

/* Python's json.dumps(value, ensure_ascii=False), appended. */
bool mistral_dump(const json_t *value, Buf *out, Error *err) MUST_CHECK;
void mistral_dump_text(const char *text, size_t size, Buf *out);
/* What Python's json.loads and dumps make of a text; as it is when it is no JSON. */
bool mistral_normal_json(const char *text, size_t size, Buf *out, bool *is_json,
                         Error *err) MUST_CHECK;
