/* jinja_characters.c: letters and their cases, as Python's str has them: Unicode's simple mappings, and
 * SS for the German sharp s. */
#include "text/jinja_strings.h"
#include "text/utf8.h"

#include <string.h>
#include <utf8proc.h>

/* ---- case ---- */

bool char_is_letter(uint32_t c)
{
    if (c < 128)
        return (c | 32) >= 'a' && (c | 32) <= 'z';
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

/* A letter that has an upper and a lower form. */
static bool is_cased(uint32_t c)
{
    return utf8proc_tolower((utf8proc_int32_t)c) != (utf8proc_int32_t)c ||
           utf8proc_toupper((utf8proc_int32_t)c) != (utf8proc_int32_t)c;
}

static bool put_case(JinjaRender *r, JinjaOut *out, uint32_t c, bool upper, uint8_t origin)
{
    uint8_t bytes[4];
    if (upper && c == 0xdf) /* the one letter in common use whose upper form is two */
        return out_add(r, out, "SS", 2, origin);
    utf8proc_int32_t to = upper ? utf8proc_toupper((utf8proc_int32_t)c)
                                : utf8proc_tolower((utf8proc_int32_t)c);
    size_t size = (size_t)utf8proc_encode_char(to, bytes);
    return out_add(r, out, (const char *)bytes, size, origin);
}

/* Jinja's filter title begins a word after white space and - ( { [ <. */
static bool begins_word(StringCase how, uint32_t before)
{
    if (how == CASE_WORDS)
        return is_space(before) || (before < 128 && before && strchr("-({[<", (int)before));
    return !is_cased(before);
}

bool string_case(JinjaRender *r, const JinjaString *s, StringCase how, JinjaValue *out)
{
    JinjaOut text = {0};
    uint32_t before = ' ', length;
    for (size_t at = 0; at < s->size; at += length) {
        uint32_t c = utf8_next((const uint8_t *)s->bytes + at, &length);
        uint8_t origin = s->origins ? s->origins[at] : s->origin;
        bool upper = how == CASE_UPPER || (how == CASE_CAPITAL && at == 0) ||
                     (how >= CASE_TITLE && how <= CASE_WORDS && begins_word(how, before)) ||
                     (how == CASE_SWAP &&
                      utf8proc_toupper((utf8proc_int32_t)c) != (utf8proc_int32_t)c);
        if (!put_case(r, &text, c, upper, origin))
            return false;
        before = c;
    }
    return out_string(r, &text, out);
}

bool char_is_decimal(uint32_t c)
{
    return c < 128 ? c >= '0' && c <= '9'
                   : utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_ND;
}

bool char_is_number(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

bool char_is_alnum(uint32_t c)
{
    return char_is_letter(c) || char_is_number(c);
}

bool string_all(JinjaRender *r, const JinjaString *s, bool (*is)(uint32_t c), JinjaValue *out)
{
    bool yes = s->size > 0;
    uint32_t length;
    for (size_t at = 0; yes && at < s->size; at += length)
        yes = is(utf8_next((const uint8_t *)s->bytes + at, &length));
    *out = value_bool(yes, ORIGIN_DATA);
    return jinja_steps(r, s->size / 16);
}

/* All its cased characters have that case, and there is one. */
bool string_has_case(JinjaRender *r, const JinjaString *s, bool upper, JinjaValue *out)
{
    bool yes = true, any = false;
    uint32_t length;
    for (size_t at = 0; yes && at < s->size; at += length) {
        uint32_t c = utf8_next((const uint8_t *)s->bytes + at, &length);
        bool is_upper = utf8proc_tolower((utf8proc_int32_t)c) != (utf8proc_int32_t)c;
        any = any || is_cased(c);
        yes = !is_cased(c) || is_upper == upper;
    }
    *out = value_bool(yes && any, ORIGIN_DATA);
    return jinja_steps(r, s->size / 16);
}
