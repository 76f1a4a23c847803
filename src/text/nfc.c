/* nfc.c: see nfc.h.
 *
 * ASCII is its own NFC, and no character composes across an ASCII one, except with it as the base:
 * so only runs of other characters, each with the ASCII character before it, are worked on.
 * utf8proc's own reordering of combining marks takes quadratic time on a hostile run of marks;
 * here marks are sorted by counting, and utf8proc decomposes single characters and composes.
 */
#include "text/nfc.h"

#include "base/mem.h"
#include "text/utf8.h"

#include <string.h>
#include <utf8proc.h>

enum { DECOMPOSED_MAX = 18, CLASSES = 256 }; /* no character decomposes into more than 18 */

static uint32_t combining_class(int32_t c)
{
    return (uint32_t)utf8proc_get_property(c)->combining_class & (CLASSES - 1);
}

/* A stable sort of marks[0..count) by combining class. */
static void sort_marks(int32_t *marks, size_t count, int32_t *scratch)
{
    size_t start[CLASSES + 1] = {0};
    for (size_t i = 0; i < count; i++)
        start[combining_class(marks[i]) + 1]++;
    for (size_t c = 1; c <= CLASSES; c++)
        start[c] += start[c - 1];
    for (size_t i = 0; i < count; i++)
        scratch[start[combining_class(marks[i])]++] = marks[i];
    memcpy(marks, scratch, count * sizeof *marks);
}

static void sort_all_marks(int32_t *points, size_t count, int32_t *scratch)
{
    for (size_t i = 0; i < count;) {
        size_t end = i;
        while (end < count && combining_class(points[end]))
            end++;
        if (end - i > 1)
            sort_marks(points + i, end - i, scratch);
        i = end + 1;
    }
}

static bool normalize_run(const uint8_t *text, size_t size, utf8proc_option_t options, Buf *out,
                          Error *err)
{
    bool compatible = options & UTF8PROC_COMPAT;
    size_t characters = 0;
    for (size_t i = 0; i < size; i++)
        characters += (text[i] & 0xc0) != 0x80;
    /* Canonical decompositions have at most four characters; the slack lets one call overshoot. */
    size_t room = characters * (compatible ? DECOMPOSED_MAX : 4) + DECOMPOSED_MAX;
    auto_free int32_t *points = mem_alloc(room, sizeof *points);
    auto_free int32_t *scratch = mem_alloc(room, sizeof *scratch);
    if (!points || !scratch)
        return fail(err, ERR_MEMORY, "no memory to normalise %zu bytes of text", size);
    size_t count = 0;
    int last_class = 0;
    for (size_t at = 0; at < size;) {
        uint32_t length;
        int32_t c = (int32_t)utf8_next(text + at, &length);
        at += length;
        utf8proc_ssize_t made = utf8proc_decompose_char(
            c, points + count, (utf8proc_ssize_t)(room - count), options, &last_class);
        if (made < 0 || (size_t)made > room - count)
            return fail(err, ERR_INTERNAL, "cannot decompose U+%04X", (unsigned)c);
        count += (size_t)made;
    }
    sort_all_marks(points, count, scratch);
    utf8proc_ssize_t left = utf8proc_normalize_utf32(points, (utf8proc_ssize_t)count,
                                                     UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (utf8proc_ssize_t i = 0; i < left; i++) {
        uint8_t bytes[4];
        buf_add(out, bytes, (size_t)utf8proc_encode_char(points[i], bytes));
    }
    return buf_ok(out, "normalised text", err);
}

static bool append(const char *text, size_t size, utf8proc_option_t options, Buf *out, Error *err)
{
    const uint8_t *bytes = (const uint8_t *)text;
    for (size_t at = 0; at < size;) {
        size_t plain = at;
        while (plain < size && bytes[plain] < 0x80)
            plain++;
        size_t base = plain < size && plain > at ? plain - 1 : plain;
        buf_add(out, bytes + at, base - at);
        size_t end = plain;
        while (end < size && bytes[end] >= 0x80)
            end++;
        if (end > base && !normalize_run(bytes + base, end - base, options, out, err))
            return false;
        at = end;
    }
    return buf_ok(out, "normalised text", err);
}

bool nfc_append(const char *text, size_t size, Buf *out, Error *err)
{
    return append(text, size, UTF8PROC_DECOMPOSE, out, err);
}

bool nfkc_append(const char *text, size_t size, Buf *out, Error *err)
{
    return append(text, size, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, out, err);
}
