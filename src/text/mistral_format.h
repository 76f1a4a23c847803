/* mistral_format.h: requests for Mistral's models, straight to ids, exactly as mistral-common
 * encodes them: no text of a user can become a marker.
 *
 *   version  tokenizer     what is new
 *   v1       spm           "[INST] x [/INST]" as text; system before the first user, "\n\n" between
 *   v2       spm           markers are tokens; system and tools at the last user; calls of tools
 *                          before the last user are left out
 *   v3       spm, tekken   [TOOL_CALLS] and [TOOL_RESULTS] as JSON with ids, all of them
 *   v7       spm, tekken   [SYSTEM_PROMPT]; [TOOL_RESULTS]id[TOOL_CONTENT]text; text beside calls
 *   v11      tekken        [TOOL_CALLS]name[CALL_ID]id[ARGS]json for each call
 *   v13      tekken        tools at the first user; no ids; [THINK]
 *   v15      tekken        [MODEL_SETTINGS]json after the tools
 *
 * Neighbouring messages of one role become one, with "\n\n" between their texts. JSON is written as
 * json.dumps(ensure_ascii=False) does. spm and tekken differ in their Tokenizer alone. Images and
 * audio are refused. Where this differs from mistral-common: JSON within a text (arguments, results)
 * that Python reads and RFC 8259 or 64 bits forbid stays text.
 * Threads: a format is immutable.
 */
#pragma once
#include "text/tokenizer.h"

#include <jansson.h>

typedef enum {
    MISTRAL_V1, MISTRAL_V2, MISTRAL_V3, MISTRAL_V7, MISTRAL_V11, MISTRAL_V13, MISTRAL_V15,
    MISTRAL_VERSION_COUNT
} MistralVersion;
/* "v7", as tekken.json and the names of tokenizer files have it; false: unknown. */
bool mistral_version_named(const char *name, MistralVersion *out);
const char *mistral_version_name(MistralVersion version);

typedef enum {
    MARK_BOS, MARK_EOS, MARK_INST, MARK_INST_END, MARK_TOOLS, MARK_TOOLS_END, MARK_RESULTS,
    MARK_RESULTS_END, MARK_CALLS, MARK_PREFIX, MARK_SUFFIX, MARK_SYSTEM, MARK_SYSTEM_END,
    MARK_CONTENT, MARK_ARGS, MARK_CALL_ID, MARK_THINK, MARK_THINK_END, MARK_SETTINGS,
    MARK_SETTINGS_END, MARK_COUNT
} MistralMark;

typedef struct {
    MistralVersion version;
    const Tokenizer *tokenizer;
    int32_t marks[MARK_COUNT]; /* -1: the tokenizer has none and the version needs none */
} MistralFormat;
/* ERR_INPUT naming the marker that the tokenizer lacks. The tokenizer must outlive the format. */
bool mistral_format_init(MistralFormat *out, const Tokenizer *tokenizer, MistralVersion version,
                         Error *err) MUST_CHECK;

typedef enum {
    MISTRAL_SERVING,    /* ends with user, tool, or an assistant with "prefix": true */
    MISTRAL_FINETUNING, /* ends with an assistant; calls without results are fine at the end */
    MISTRAL_ANY,        /* no rule for the end */
} MistralMode;

/* Messages as clients send them: role system, user, assistant, tool; content a text, null or a list
 * of {"type": "text", "text"} and {"type": "thinking", "thinking", "closed"}; tool_calls,
 * tool_call_id, name, reasoning_content; "prefix": true on the last; "weight" 0 mutes an answer.
 * NULL: not given. */
typedef struct {
    json_t *messages, *tools;
    json_t *settings; /* v15: {"reasoning_effort": "high", "json_schema": {...}}; null is absent */
    MistralMode mode;
    bool train_last_only; /* the mark is for the last answer alone, as mistral-finetune with tools */
} MistralRequest;

/* Appends ids, and marks when trained is not NULL: 1 for all that an assistant says, its end token
 * too. False, and nothing appended: ERR_INPUT "message 3: ...". */
bool mistral_encode(const MistralFormat *format, const MistralRequest *request, Tokens *ids,
                    Tokens *trained, Error *err) MUST_CHECK;

/* Code between a prefix and a suffix, which may be empty; from v2 on. */
bool mistral_encode_fim(const MistralFormat *format, const char *prompt, size_t prompt_size,
                        const char *suffix, size_t suffix_size, Tokens *ids,
                        Error *err) MUST_CHECK;
