/* pretoken.c: GPT-2's pattern as a scanner (see pretoken.h).
 *
 *   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * Every character is in one of four classes. A piece is a contraction, or a run of one class other
 * than space with at most one blank before it, or a run of spaces; a run of spaces leaves its last
 * character to a following word: as its blank, or, when it is another space, as a piece alone.
 */
#include "text/pretoken.h"

#include "text/utf8.h"

#include <utf8proc.h>

typedef enum { OTHER, LETTER, NUMBER, SPACE } CharClass;

const char pretoken_gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* L: letter, N: number, S: space, the rest 0 = OTHER. */
#define L LETTER
#define N NUMBER
#define S SPACE
static const uint8_t ascii_class[128] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, S, S, S, S, S, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    S, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, N, N, N, N, N, N, N, N, N, N, 0, 0, 0, 0, 0, 0,
    0, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, 0, 0, 0, 0, 0,
    0, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, 0, 0, 0, 0, 0,
};
#undef L
#undef N
#undef S

static CharClass wide_class(uint32_t c)
{
    if (c == 0x85) /* White_Space, though its category is Cc */
        return SPACE;
    utf8proc_category_t category = utf8proc_category((int32_t)c);
    if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO)
        return LETTER;
    if (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO)
        return NUMBER;
    if (category >= UTF8PROC_CATEGORY_ZS && category <= UTF8PROC_CATEGORY_ZP)
        return SPACE;
    return OTHER;
}

static inline CharClass class_at(const uint8_t *text, uint32_t *length)
{
    if (text[0] < 0x80) {
        *length = 1;
        return ascii_class[text[0]];
    }
    return wide_class(utf8_next(text, length));
}

/* Where the run of `class` that goes on at `at` ends. */
static size_t run_end(const uint8_t *text, size_t size, size_t at, CharClass class)
{
    uint32_t length;
    while (at < size && class_at(text + at, &length) == class)
        at += length;
    return at;
}

static size_t contraction(const uint8_t *text, size_t size)
{
    if (size >= 2 && (text[1] == 's' || text[1] == 't' || text[1] == 'm' || text[1] == 'd'))
        return 2;
    if (size >= 3 && ((text[1] == 'r' && text[2] == 'e') || (text[1] == 'v' && text[2] == 'e') ||
                      (text[1] == 'l' && text[2] == 'l')))
        return 3;
    return 0;
}

/* A run of spaces from the start of text, without its last one when a word follows. */
static size_t spaces(const uint8_t *text, size_t size)
{
    size_t at = 0, last = 0;
    uint32_t length;
    while (at < size && class_at(text + at, &length) == SPACE) {
        last = at;
        at += length;
    }
    return at == size || last == 0 ? at : last;
}

size_t pretoken_gpt2(const uint8_t *text, size_t size)
{
    uint32_t length;
    CharClass class = class_at(text, &length);
    if (class == SPACE) {
        if (text[0] != ' ' || size == 1)
            return spaces(text, size);
        CharClass next = class_at(text + 1, &length);
        if (next == SPACE)
            return spaces(text, size);
        return run_end(text, size, 1 + length, next);
    }
    if (text[0] == '\'') {
        size_t short_form = contraction(text, size);
        if (short_form)
            return short_form;
    }
    return run_end(text, size, length, class);
}

size_t pretoken_safe_cut(const uint8_t *text, size_t size, size_t from)
{
    for (size_t at = from ? from : 1; at < size; at++)
        if ((text[at] == ' ' || text[at] == '\n') && text[at - 1] < 0x80 &&
            ascii_class[text[at - 1]] != SPACE)
            return at;
    return size;
}
