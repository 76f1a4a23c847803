/* chat_encode.h: a rendered chat to token ids, in which nobody can forge a marker.
 *
 * A marker is a special token of the tokenizer, or an added token that is not special but that the
 * template itself writes ("<tool_call>"). It is found only where every byte of it is trusted
 * (jinja.h). Between two markers there is one text, encoded as one. So the ids are those of Hugging
 * Face's tokenizer for the whole string, as long as no marker is written in the data; one that is
 * becomes ordinary tokens. Added tokens that the template never writes (runs of blanks) are text,
 * there and here.
 * Threads: markers are immutable.
 */
#pragma once
#include "text/jinja.h"
#include "text/tokenizer.h"

typedef struct ChatMarkers ChatMarkers;
/* Both must outlive the markers. template NULL: special tokens only. */
bool chat_markers_new(ChatMarkers **out, const Tokenizer *tokenizer, const JinjaTemplate *template,
                      Error *err) MUST_CHECK;
void chat_markers_free(ChatMarkers *markers); /* NULL is a no-op */

/* The end of the special token that stands wholly trusted at byte `at`; 0: none does. */
size_t chat_markers_special(const ChatMarkers *markers, const JinjaText *text, size_t at);

/* Appends ids, and when trained is not NULL as many 0/1 marks: 1 when the first byte of the token
 * is trained. False: both are as they were. */
bool chat_encode(const ChatMarkers *markers, const JinjaText *text, Tokens *ids, Tokens *trained,
                 Error *err) MUST_CHECK;
