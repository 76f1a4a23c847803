/* answer.h: the text of one answer as it grows: bytes of tokens in, characters that are safe to
 * show out. Text that may be the beginning of a stop text is held back until it cannot be one.
 * Nothing allocates after answer_new but the growth of `shown`, which is bounded by the answer.
 * Private to infer/.
 */
#pragma once
#include "text/tokenizer.h"

enum { ANSWER_STOPS_MAX = 4, ANSWER_STOP_BYTES_MAX = 256 };

typedef struct {
    char stop[ANSWER_STOPS_MAX][ANSWER_STOP_BYTES_MAX + 1];
    uint32_t stop_count;
    Detok detok;
    Buf held;  /* characters not yet shown */
    Buf shown; /* what the last call released */
} Answer;

bool answer_init(Answer *a, const char *const *stop, uint32_t stop_count, Error *err) MUST_CHECK;
void answer_done(Answer *a);
/* Adds a token's bytes; a->shown holds what may be shown now. True: a stop text was met, and shown
 * ends before it. */
bool answer_add(Answer *a, const char *bytes, size_t size);
/* The end without a stop text: everything held back is shown. */
void answer_flush(Answer *a);
