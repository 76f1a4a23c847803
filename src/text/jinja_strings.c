/* jinja_strings.c: what a string can do: the methods of Python's str. A slice keeps its origins;
 * what makes new bytes has the origin of all parts together. */
#include "text/jinja_strings.h"
#include "text/utf8.h"

#include <string.h>

/* ---- helpers ---- */

/* An argument that must be a string; absent or none gives NULL. */
bool text_argument(JinjaRender *r, JinjaValue v, const JinjaString **out)
{
    *out = NULL;
    if (v.kind == J_ABSENT || v.kind == J_NONE)
        return true;
    if (v.kind != J_STRING)
        return value_defined(r, v) &&
               jinja_fail(r, ERR_INPUT, "a text is expected, not a %s", value_type(v));
    *out = v.string;
    return true;
}

static bool need_text(JinjaRender *r, JinjaValue v, const JinjaString **out)
{
    return text_argument(r, v, out) &&
           (*out || jinja_fail(r, ERR_INPUT, "a text is expected, not None"));
}

bool whole_argument(JinjaRender *r, JinjaValue v, int64_t fallback, int64_t *out)
{
    *out = fallback;
    if (v.kind == J_ABSENT || v.kind == J_NONE)
        return true;
    if (!value_is_whole(v))
        return value_defined(r, v) &&
               jinja_fail(r, ERR_INPUT, "a whole number is expected, not a %s", value_type(v));
    *out = value_whole(v);
    return true;
}

static uint32_t char_at(const JinjaString *s, size_t at, uint32_t *length)
{
    return utf8_next((const uint8_t *)s->bytes + at, length);
}

static size_t char_before(const JinjaString *s, size_t at)
{
    do
        at--;
    while (at && ((uint8_t)s->bytes[at] & 0xc0) == 0x80);
    return at;
}

/* Where needle stands first at or after `from`; SIZE_MAX: nowhere. */
static size_t find_from(const JinjaString *s, const JinjaString *needle, size_t from)
{
    if (needle->size > s->size || from > s->size - needle->size)
        return SIZE_MAX;
    if (!needle->size)
        return from;
    const char *found = memmem(s->bytes + from, s->size - from, needle->bytes, needle->size);
    return found ? (size_t)(found - s->bytes) : SIZE_MAX;
}

static size_t find_last(const JinjaString *s, const JinjaString *needle, size_t before)
{
    for (size_t at = before >= needle->size ? before - needle->size + 1 : 0; at-- > 0;)
        if (!memcmp(s->bytes + at, needle->bytes, needle->size))
            return at;
    return SIZE_MAX;
}

/* ---- strip ---- */

static bool is_stripped(const JinjaString *chars, const JinjaString *s, size_t at, uint32_t length,
                        uint32_t c)
{
    return chars ? memmem(chars->bytes, chars->size, s->bytes + at, length) != NULL : is_space(c);
}

bool string_strip(JinjaRender *r, const JinjaString *s, JinjaValue what, int sides,
                  JinjaValue *out)
{
    const JinjaString *chars;
    size_t from = 0, to = s->size;
    uint32_t length, c;
    if (!text_argument(r, what, &chars))
        return false;
    while ((sides & STRIP_LEFT) && from < to) {
        c = char_at(s, from, &length);
        if (!is_stripped(chars, s, from, length, c))
            break;
        from += length;
    }
    while ((sides & STRIP_RIGHT) && to > from) {
        size_t at = char_before(s, to);
        c = char_at(s, at, &length);
        if (!is_stripped(chars, s, at, length, c))
            break;
        to = at;
    }
    size_t cost = (s->size - (to - from)) * (1 + (chars ? chars->size / 16 : 0));
    return jinja_steps(r, cost / 16) && string_slice(r, s, from, to, out);
}

static bool str_strip(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return string_strip(r, a[0].string, a[1], STRIP_LEFT | STRIP_RIGHT, out);
}

static bool str_lstrip(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return string_strip(r, a[0].string, a[1], STRIP_LEFT, out);
}

static bool str_rstrip(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return string_strip(r, a[0].string, a[1], STRIP_RIGHT, out);
}

/* ---- case ---- */

static bool str_lower(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return string_case(r, a[0].string, CASE_LOWER, out);
}

static bool str_upper(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return string_case(r, a[0].string, CASE_UPPER, out);
}

static bool str_capitalize(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                           JinjaValue *out)
{
    (void)rest;
    return string_case(r, a[0].string, CASE_CAPITAL, out);
}

static bool str_title(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return string_case(r, a[0].string, CASE_TITLE, out);
}

static bool str_swapcase(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    (void)rest;
    return string_case(r, a[0].string, CASE_SWAP, out);
}

/* ---- replace, count, find ---- */

bool string_replace(JinjaRender *r, const JinjaString *s, const JinjaString *old,
                    const JinjaString *new, int64_t most, JinjaValue *out)
{
    JinjaOut text = {0};
    uint8_t origin = string_origin(s) | string_origin(old) | string_origin(new);
    size_t from = 0;
    bool mixed = origin & ORIGIN_DATA;
    while (most != 0) {
        size_t at = find_from(s, old, from), stop;
        if (at == SIZE_MAX)
            break;
        stop = at + old->size;
        if (!old->size && at < s->size) { /* between characters */
            uint32_t length;
            (void)char_at(s, at, &length);
            stop = at + length;
        }
        if (!out_add(r, &text, s->bytes + from, at - from, origin) ||
            !out_add(r, &text, new->bytes, new->size, origin))
            return false;
        if (!old->size && !out_add(r, &text, s->bytes + at, stop - at, origin))
            return false;
        most -= most > 0;
        from = stop;
        if (!old->size && at == s->size)
            break;
    }
    if (!from && !text.size && !mixed && string_slice(r, s, 0, s->size, out))
        return true;
    return out_add(r, &text, s->bytes + from, s->size - from, origin) && out_string(r, &text, out);
}

static bool str_replace(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    const JinjaString *old, *new;
    int64_t most;
    (void)rest;
    return need_text(r, a[1], &old) && need_text(r, a[2], &new) &&
           whole_argument(r, a[3], -1, &most) && string_replace(r, a[0].string, old, new, most, out);
}

/* The bytes of s between the characters that a start and an end name; false: beyond its end. */
static bool range_of(JinjaRender *r, const JinjaString *s, const JinjaValue *bounds, size_t *from,
                     size_t *to, bool *inside)
{
    int64_t count = (int64_t)string_chars(s), begin, end;
    if (!whole_argument(r, bounds[0], 0, &begin) || !whole_argument(r, bounds[1], count, &end))
        return false;
    begin = begin < 0 ? (begin + count < 0 ? 0 : begin + count) : begin;
    end = end < 0 ? (end + count < 0 ? 0 : end + count) : end > count ? count : end;
    *inside = begin <= end;
    *from = string_at(s, (size_t)(begin > count ? count : begin));
    *to = string_at(s, (size_t)end);
    return jinja_steps(r, s->size / 16);
}

static bool find(JinjaRender *r, const JinjaValue *a, bool last, int64_t *out)
{
    const JinjaString *needle;
    size_t from, to;
    bool inside;
    *out = -1;
    if (!need_text(r, a[1], &needle) || !range_of(r, a[0].string, a + 2, &from, &to, &inside))
        return false;
    if (!inside)
        return true;
    JinjaString part = {.bytes = a[0].string->bytes + from, .size = to - from};
    if (last && !jinja_steps(r, part.size))
        return false;
    size_t at = last ? find_last(&part, needle, part.size) : find_from(&part, needle, 0);
    if (at == SIZE_MAX)
        return true;
    JinjaString before = {.bytes = a[0].string->bytes, .size = from + at};
    *out = (int64_t)string_chars(&before);
    return true;
}

static bool found(JinjaRender *r, const JinjaValue *a, bool last, bool must, JinjaValue *out)
{
    int64_t at;
    if (!find(r, a, last, &at))
        return false;
    if (must && at < 0)
        return jinja_fail(r, ERR_INPUT, "a text is not found in another");
    *out = value_int(at, ORIGIN_DATA);
    return true;
}

static bool str_find(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return found(r, a, false, false, out);
}

static bool str_rfind(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return found(r, a, true, false, out);
}

static bool str_index(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return found(r, a, false, true, out);
}

static bool str_rindex(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return found(r, a, true, true, out);
}

static bool str_count(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    const JinjaString *needle;
    size_t from, to;
    bool inside;
    int64_t count = 0;
    (void)rest;
    if (!need_text(r, a[1], &needle) || !range_of(r, a[0].string, a + 2, &from, &to, &inside))
        return false;
    JinjaString part = {.bytes = a[0].string->bytes + from, .size = inside ? to - from : 0};
    if (!needle->size)
        count = inside ? (int64_t)string_chars(&part) + 1 : 0;
    for (size_t at = 0; needle->size && inside; at += needle->size, count++)
        if ((at = find_from(&part, needle, at)) == SIZE_MAX)
            break;
    *out = value_int(count, ORIGIN_DATA);
    return true;
}

static bool affix(JinjaRender *r, const JinjaValue *a, bool end, JinjaValue *out)
{
    JinjaList words = {.items = (JinjaValue *)&a[1], .count = 1};
    size_t from, to;
    bool inside, yes = false;
    if (a[1].kind == J_TUPLE)
        words = *a[1].list;
    if (!range_of(r, a[0].string, a + 2, &from, &to, &inside))
        return false;
    for (size_t i = 0; i < words.count && !yes; i++) {
        const JinjaString *word;
        if (!need_text(r, words.items[i], &word))
            return false;
        yes = inside && word->size <= to - from &&
              !memcmp(a[0].string->bytes + (end ? to - word->size : from), word->bytes,
                      word->size);
    }
    *out = value_bool(yes, ORIGIN_DATA);
    return true;
}

static bool str_startswith(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                           JinjaValue *out)
{
    (void)rest;
    return affix(r, a, false, out);
}

static bool str_endswith(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                         JinjaValue *out)
{
    (void)rest;
    return affix(r, a, true, out);
}

static bool remove_affix(JinjaRender *r, const JinjaValue *a, bool end, JinjaValue *out)
{
    JinjaValue has, bounds[4] = {a[0], a[1]};
    if (!affix(r, bounds, end, &has))
        return false;
    size_t cut = has.boolean ? a[1].string->size : 0, size = a[0].string->size;
    return string_slice(r, a[0].string, end ? 0 : cut, end ? size - cut : size, out);
}

static bool str_removeprefix(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                             JinjaValue *out)
{
    (void)rest;
    return remove_affix(r, a, false, out);
}

static bool str_removesuffix(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                             JinjaValue *out)
{
    (void)rest;
    return remove_affix(r, a, true, out);
}

/* ---- split ---- */

bool string_part(JinjaRender *r, JinjaValue list, const JinjaString *s, size_t from, size_t to)
{
    JinjaValue part;
    return string_slice(r, s, from, to, &part) && list_add(r, list.list, part);
}

static bool split_spaces(JinjaRender *r, const JinjaString *s, int64_t most, JinjaValue *out)
{
    uint32_t length;
    for (size_t at = 0;;) {
        while (at < s->size && is_space(char_at(s, at, &length)))
            at += length;
        if (at == s->size)
            return true;
        size_t from = at;
        if (most == 0)
            return string_part(r, *out, s, from, s->size);
        while (at < s->size && !is_space(char_at(s, at, &length)))
            at += length;
        if (!string_part(r, *out, s, from, at))
            return false;
        most -= most > 0;
    }
}

static bool split_at(JinjaRender *r, const JinjaString *s, const JinjaString *by, int64_t most,
                     JinjaValue *out)
{
    size_t from = 0;
    for (; most != 0; most -= most > 0) {
        size_t at = find_from(s, by, from);
        if (at == SIZE_MAX)
            break;
        if (!string_part(r, *out, s, from, at))
            return false;
        from = at + by->size;
    }
    return string_part(r, *out, s, from, s->size);
}

static void reverse(JinjaList *list)
{
    for (size_t i = 0; i < list->count / 2; i++) {
        JinjaValue kept = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = kept;
    }
}

static bool rsplit_at(JinjaRender *r, const JinjaString *s, const JinjaString *by, int64_t most,
                      JinjaValue *out)
{
    size_t to = s->size;
    if (!jinja_steps(r, s->size))
        return false;
    for (; most != 0; most -= most > 0) {
        size_t at = find_last(s, by, to);
        if (at == SIZE_MAX)
            break;
        if (!string_part(r, *out, s, at + by->size, to))
            return false;
        to = at;
    }
    if (!string_part(r, *out, s, 0, to))
        return false;
    reverse(out->list);
    return true;
}

static bool rsplit_spaces(JinjaRender *r, const JinjaString *s, int64_t most, JinjaValue *out)
{
    uint32_t length;
    for (size_t to = s->size;;) {
        while (to && is_space(char_at(s, char_before(s, to), &length)))
            to = char_before(s, to);
        if (!to)
            break;
        size_t from = to;
        if (most == 0)
            from = 0;
        while (most != 0 && from && !is_space(char_at(s, char_before(s, from), &length)))
            from = char_before(s, from);
        if (!string_part(r, *out, s, from, to))
            return false;
        if (most == 0)
            break;
        to = from;
        most -= most > 0;
    }
    reverse(out->list);
    return true;
}

static bool split(JinjaRender *r, const JinjaValue *a, bool right, JinjaValue *out)
{
    const JinjaString *by, *s = a[0].string;
    int64_t most;
    if (!text_argument(r, a[1], &by) || !whole_argument(r, a[2], -1, &most) ||
        !jinja_steps(r, s->size / 16) || !list_new(r, J_LIST, 0, out))
        return false;
    if (by && !by->size)
        return jinja_fail(r, ERR_INPUT, "a text is split at nothing");
    if (right)
        return by ? rsplit_at(r, s, by, most, out) : rsplit_spaces(r, s, most, out);
    return by ? split_at(r, s, by, most, out) : split_spaces(r, s, most, out);
}

static bool str_split(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return split(r, a, false, out);
}

static bool str_rsplit(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return split(r, a, true, out);
}

bool string_lines(JinjaRender *r, const JinjaString *s, bool keep_ends, JinjaValue *out)
{
    size_t from = 0;
    uint32_t length;
    if (!list_new(r, J_LIST, 0, out))
        return false;
    for (size_t at = 0; at < s->size;) {
        uint32_t c = char_at(s, at, &length);
        size_t end = at;
        at += length;
        if (!((c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 ||
              c == 0x2029))
            continue;
        if (c == '\r' && at < s->size && s->bytes[at] == '\n')
            at++;
        if (!string_part(r, *out, s, from, keep_ends ? at : end))
            return false;
        from = at;
    }
    return from == s->size || string_part(r, *out, s, from, s->size);
}

static bool str_splitlines(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                           JinjaValue *out)
{
    bool keep = false;
    (void)rest;
    return (a[1].kind == J_ABSENT || value_truth(r, a[1], &keep)) &&
           string_lines(r, a[0].string, keep, out);
}

static bool partition(JinjaRender *r, const JinjaValue *a, bool last, JinjaValue *out)
{
    const JinjaString *by, *s = a[0].string;
    if (!need_text(r, a[1], &by) || !jinja_steps(r, s->size) || !list_new(r, J_TUPLE, 3, out))
        return false;
    if (!by->size)
        return jinja_fail(r, ERR_INPUT, "a text is split at nothing");
    size_t at = last ? find_last(s, by, s->size) : find_from(s, by, 0), end;
    if (at == SIZE_MAX) {
        at = last ? 0 : s->size;
        end = at;
    } else {
        end = at + by->size;
    }
    return string_part(r, *out, s, 0, at) && string_part(r, *out, s, at, end) &&
           string_part(r, *out, s, end, s->size);
}

static bool str_partition(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                          JinjaValue *out)
{
    (void)rest;
    return partition(r, a, false, out);
}

static bool str_rpartition(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                           JinjaValue *out)
{
    (void)rest;
    return partition(r, a, true, out);
}

/* ---- joining and filling ---- */

static bool str_join(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    JinjaOut text = {0};
    JinjaList items;
    (void)rest;
    if (!value_items(r, a[1], &items))
        return false;
    for (size_t i = 0; i < items.count; i++) {
        const JinjaString *item;
        if (!need_text(r, items.items[i], &item) ||
            (i && !out_add_string(r, &text, a[0].string)) || !out_add_string(r, &text, item))
            return false;
    }
    return out_string(r, &text, out);
}

bool out_repeat(JinjaRender *r, JinjaOut *text, const char *fill, size_t size, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!out_add(r, text, fill, size, 0))
            return false;
    return true;
}

/* before of what is missing goes to the left, in halves of one. */
bool string_fill(JinjaRender *r, const JinjaValue *a, int side, JinjaValue *out)
{
    const JinjaString *with, *s = a[0].string;
    int64_t width;
    JinjaOut text = {0};
    if (!whole_argument(r, a[1], 0, &width) || !text_argument(r, a[2], &with))
        return false;
    const char *bytes = with ? with->bytes : " ";
    size_t size = with ? with->size : 1;
    int64_t missing = width - (int64_t)string_chars(s);
    if (with && string_chars(with) != 1)
        return jinja_fail(r, ERR_INPUT, "a text is filled with one character");
    if (missing <= 0)
        return string_slice(r, s, 0, s->size, out);
    int64_t left = side == STRIP_LEFT ? missing
                   : side == STRIP_RIGHT ? 0 : missing / 2 + (missing & width & 1);
    return out_repeat(r, &text, bytes, size, left) && out_add_string(r, &text, s) &&
           out_repeat(r, &text, bytes, size, missing - left) && out_string(r, &text, out);
}

static bool str_ljust(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return string_fill(r, a, STRIP_RIGHT, out);
}

static bool str_rjust(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return string_fill(r, a, STRIP_LEFT, out);
}

static bool str_center(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return string_fill(r, a, 0, out);
}

static bool str_zfill(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    const JinjaString *s = a[0].string;
    int64_t width;
    JinjaOut text = {0};
    (void)rest;
    if (!whole_argument(r, a[1], 0, &width))
        return false;
    int64_t missing = width - (int64_t)string_chars(s);
    size_t sign = s->size && (s->bytes[0] == '+' || s->bytes[0] == '-');
    return out_add(r, &text, s->bytes, sign, string_origin(s)) && out_repeat(r, &text, "0", 1, missing) &&
           out_add(r, &text, s->bytes + sign, s->size - sign, string_origin(s)) &&
           out_string(r, &text, out);
}

static bool str_expandtabs(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                           JinjaValue *out)
{
    const JinjaString *s = a[0].string;
    int64_t size, column = 0;
    JinjaOut text = {0};
    uint32_t length;
    (void)rest;
    if (!whole_argument(r, a[1], 8, &size))
        return false;
    for (size_t at = 0; at < s->size; at += length) {
        uint32_t c = char_at(s, at, &length);
        int64_t blanks = c == '\t' && size > 0 ? size - column % size : 0;
        if (c == '\t' ? !out_repeat(r, &text, " ", 1, blanks)
                      : !out_add(r, &text, s->bytes + at, length, string_origin(s)))
            return false;
        column = c == '\n' || c == '\r' ? 0 : column + (c == '\t' ? blanks : 1);
    }
    return out_string(r, &text, out);
}

/* ---- what kind of characters ---- */

static bool str_isdigit(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return string_all(r, a[0].string, char_is_decimal, out);
}

static bool str_isnumeric(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest,
                          JinjaValue *out)
{
    (void)rest;
    return string_all(r, a[0].string, char_is_number, out);
}

static bool str_isalpha(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return string_all(r, a[0].string, char_is_letter, out);
}

static bool str_isalnum(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return string_all(r, a[0].string, char_is_alnum, out);
}

static bool str_isspace(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return string_all(r, a[0].string, is_space, out);
}

static bool str_isascii(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    bool yes = true;
    (void)rest;
    for (size_t i = 0; i < a[0].string->size; i++)
        yes = yes && (uint8_t)a[0].string->bytes[i] < 128;
    *out = value_bool(yes, ORIGIN_DATA);
    return jinja_steps(r, a[0].string->size / 16);
}

static bool str_islower(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return string_has_case(r, a[0].string, false, out);
}

static bool str_isupper(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    (void)rest;
    return string_has_case(r, a[0].string, true, out);
}

static bool str_format(JinjaRender *r, const JinjaValue *a, const JinjaArgs *rest, JinjaValue *out)
{
    return format_braces(r, a[0].string, rest, out);
}

const JinjaCallable jinja_string_methods[] = {
    {"strip", str_strip, "chars", 0},
    {"lstrip", str_lstrip, "chars", 0},
    {"rstrip", str_rstrip, "chars", 0},
    {"lower", str_lower, "", 0},
    {"casefold", str_lower, "", 0},
    {"upper", str_upper, "", 0},
    {"capitalize", str_capitalize, "", 0},
    {"title", str_title, "", 0},
    {"swapcase", str_swapcase, "", 0},
    {"replace", str_replace, "old new count", 2},
    {"find", str_find, "sub start end", 1},
    {"rfind", str_rfind, "sub start end", 1},
    {"index", str_index, "sub start end", 1},
    {"rindex", str_rindex, "sub start end", 1},
    {"count", str_count, "sub start end", 1},
    {"startswith", str_startswith, "prefix start end", 1},
    {"endswith", str_endswith, "suffix start end", 1},
    {"removeprefix", str_removeprefix, "prefix", 1},
    {"removesuffix", str_removesuffix, "suffix", 1},
    {"split", str_split, "sep maxsplit", 0},
    {"rsplit", str_rsplit, "sep maxsplit", 0},
    {"splitlines", str_splitlines, "keepends", 0},
    {"partition", str_partition, "sep", 1},
    {"rpartition", str_rpartition, "sep", 1},
    {"join", str_join, "iterable", 1},
    {"ljust", str_ljust, "width fillchar", 1},
    {"rjust", str_rjust, "width fillchar", 1},
    {"center", str_center, "width fillchar", 1},
    {"zfill", str_zfill, "width", 1},
    {"expandtabs", str_expandtabs, "tabsize", 0},
    {"isdigit", str_isdigit, "", 0},
    {"isdecimal", str_isdigit, "", 0},
    {"isnumeric", str_isnumeric, "", 0},
    {"isalpha", str_isalpha, "", 0},
    {"isalnum", str_isalnum, "", 0},
    {"isspace", str_isspace, "", 0},
    {"isascii", str_isascii, "", 0},
    {"islower", str_islower, "", 0},
    {"isupper", str_isupper, "", 0},
    {"format", str_format, "*", 0},
    {"encode", NULL, "", 0},
    {"format_map", NULL, "", 0},
    {"isidentifier", NULL, "", 0},
    {"isprintable", NULL, "", 0},
    {"istitle", NULL, "", 0},
    {"maketrans", NULL, "", 0},
    {"translate", NULL, "", 0},
    {NULL, NULL, NULL, 0},
};
