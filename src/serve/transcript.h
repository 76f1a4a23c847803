/* transcript.h: from the events of a worker to what the client reads: one state machine for chat
 * and text completions, streamed or whole. Pure: no socket, no clock, no lock.
 *
 * A choice goes  new -> started -> ended. A stream is, for each choice, a first chunk (chat: the
 * role), chunks of content, one chunk with the finish reason; when all have ended, the usage (when
 * asked for) and "data: [DONE]"; or, at any point, one error event and nothing after it. A whole
 * answer is one JSON object, complete when all choices have ended. Both are made by the same code
 * from the same events, so their texts are equal.
 * Events that a choice's state does not allow are ERR_FORMAT: the worker broke its word.
 * Threads: one at a time per Transcript.
 */
#pragma once
#include "serve/reply.h"
#include "serve/request.h"

typedef struct {
    RequestShape shape;
    bool stream, include_usage, logprobs;
    uint32_t alternatives;
    uint32_t prompts, n;     /* choices = prompts x n */
    const char *id;          /* copied, as all texts */
    const char *model;
    const char *fingerprint;
    int64_t created;
    size_t bytes_max;        /* of a whole answer, or of a stream waiting to be read */
} TranscriptOptions;

typedef struct Transcript Transcript;

bool transcript_new(Transcript **out, const TranscriptOptions *options, Error *err) MUST_CHECK;
void transcript_free(Transcript *a); /* NULL is a no-op */

bool transcript_start(Transcript *a, const WireStart *start, Error *err) MUST_CHECK;
bool transcript_token(Transcript *a, const WireToken *token, Error *err) MUST_CHECK;
bool transcript_end(Transcript *a, const WireEnd *end, Error *err) MUST_CHECK;
/* An error event (stream), or the error body (whole), in place of what would have come. */
void transcript_fail(Transcript *a, Fault fault, const char *message);

bool transcript_started(const Transcript *a);  /* every choice has */
bool transcript_finished(const Transcript *a); /* complete or failed: nothing more will come */
bool transcript_failed_to_finish(const Transcript *a); /* a choice ended as failed or cancelled */

/* Bytes ready to go. A stream's reader takes them with transcript_take. ERR_LIMIT: more was
 * made than bytes_max, or there was no memory: what is there is not to be sent. */
bool transcript_bytes(const Transcript *a, const char **bytes, size_t *size, Error *err) MUST_CHECK;
size_t transcript_take(Transcript *a, char *out, size_t room); /* stream only */

typedef struct {
    uint64_t prompt_tokens, answer_tokens;
} TranscriptUsage;
TranscriptUsage transcript_usage(const Transcript *a); /* of the choices that have ended */
