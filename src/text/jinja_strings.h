/* jinja_strings.h: what the files that work on strings share; see jinja_model.h. */
#pragma once
#include "text/jinja_model.h"

/* An argument that must be a string; absent or none gives NULL. */
bool text_argument(JinjaRender *r, JinjaValue v, const JinjaString **out) MUST_CHECK;
bool whole_argument(JinjaRender *r, JinjaValue v, int64_t fallback, int64_t *out) MUST_CHECK;

typedef enum { STRIP_LEFT = 1, STRIP_RIGHT = 2 } StripSides;
/* what: the characters to take away; absent: white space. */
bool string_strip(JinjaRender *r, const JinjaString *s, JinjaValue what, int sides,
                  JinjaValue *out) MUST_CHECK;

typedef enum { CASE_LOWER, CASE_UPPER, CASE_CAPITAL, CASE_TITLE, CASE_WORDS, CASE_SWAP } StringCase;
bool string_case(JinjaRender *r, const JinjaString *s, StringCase how, JinjaValue *out) MUST_CHECK;
bool string_replace(JinjaRender *r, const JinjaString *s, const JinjaString *old,
                    const JinjaString *new, int64_t most, JinjaValue *out) MUST_CHECK; /* -1: all */
/* a: the string, width, character to fill with; sides STRIP_LEFT: filled on the left, 0: on both. */
bool string_fill(JinjaRender *r, const JinjaValue *a, int side, JinjaValue *out) MUST_CHECK;
bool string_lines(JinjaRender *r, const JinjaString *s, bool keep_ends, JinjaValue *out) MUST_CHECK;
bool string_part(JinjaRender *r, JinjaValue list, const JinjaString *s, size_t from,
                 size_t to) MUST_CHECK; /* adds s[from, to) to the list */
bool out_repeat(JinjaRender *r, JinjaOut *out, const char *bytes, size_t size,
                int64_t count) MUST_CHECK;
bool char_is_letter(uint32_t c);
bool char_is_alnum(uint32_t c);
bool char_is_decimal(uint32_t c);
bool char_is_number(uint32_t c);
/* *out: a boolean. string_all: it is not empty and all its characters are so. string_has_case: all
 * its letters with cases have this one, and there is one. */
bool string_all(JinjaRender *r, const JinjaString *s, bool (*is)(uint32_t c),
                JinjaValue *out) MUST_CHECK;
bool string_has_case(JinjaRender *r, const JinjaString *s, bool upper, JinjaValue *out) MUST_CHECK;
