/* pretoken.h: where text is cut before merging: GPT-2's pattern by hand, any other by PCRE2.
 *
 * Text here is valid UTF-8. Pieces follow one another without gaps: what a pattern does not match
 * is a piece of its own (Hugging Face's "Isolated").
 *
 * Patterns are written for Hugging Face, whose engine is Oniguruma. Those parts that mean the same
 * in PCRE2 are taken (\s is rewritten to Unicode's White_Space); others are refused by name, so a
 * pattern never means something else here than there. A pattern that matches nothing (the empty
 * text) is refused too.
 * Threads: a SplitPattern is immutable; a SplitMatch belongs to one thread.
 */
#pragma once
#include "base/error.h"

#include <stdint.h>

extern const char pretoken_gpt2_pattern[];

/* Bytes of the first piece of text (size >= 1) under GPT-2's pattern. */
size_t pretoken_gpt2(const uint8_t *text, size_t size);

/* The first place at or after `from` where text can be cut so that both sides give the pieces they
 * give together, under GPT-2's pattern: before an ASCII space or newline that follows an ASCII
 * character that is none. `size` when there is none. */
size_t pretoken_safe_cut(const uint8_t *text, size_t size, size_t from);

typedef struct SplitPattern SplitPattern;
typedef struct SplitMatch SplitMatch;

enum { SPLIT_PATTERN_BYTES_MAX = 4096 };

/* Errors: ERR_FORMAT naming the part that is not understood, with its place. */
bool split_pattern_new(SplitPattern **out, const char *pattern, size_t size, Error *err) MUST_CHECK;
void split_pattern_free(SplitPattern *pattern);

bool split_match_new(SplitMatch **out, const SplitPattern *pattern, Error *err) MUST_CHECK;
void split_match_free(SplitMatch *match);

/* The first match at or after `from`: *start and *end; both `size` when there is none.
 * ERR_LIMIT: the pattern needs too many steps on this text. */
bool split_next(const SplitPattern *pattern, SplitMatch *match, const uint8_t *text, size_t size,
                size_t from, size_t *start, size_t *end, Error *err) MUST_CHECK;
