/* detok.c: the streaming detokeniser of tokenizer.h.
 *
 * Invariant: between calls held[0..count) is the beginning of a character that may still become
 * valid (utf8_inspect says "more is needed"), so count <= 3. What can never become valid leaves as
 * one U+FFFD per longest part that began well, as Unicode recommends and Python does; so the
 * pieces add up to the same text however the bytes were cut.
 */
#include "text/tokenizer_model.h"
#include "text/utf8.h"

#include <string.h>

static const char replacement[] = "\xef\xbf\xbd";

void detok_init(Detok *detok)
{
    *detok = (Detok){0};
}

void detok_begin(Detok *detok, const Tokenizer *tokenizer)
{
    *detok = (Detok){.strip = tokenizer->strip};
}

/* Emits what can be decided of `bytes` and returns how many were consumed. */
static size_t emit(const uint8_t *bytes, size_t size, Buf *out)
{
    size_t at = 0;
    while (at < size) {
        size_t valid = utf8_valid_prefix(bytes + at, size - at);
        buf_add(out, bytes + at, valid);
        at += valid;
        if (at == size)
            break;
        uint32_t length;
        (void)utf8_inspect(bytes + at, size - at, &length);
        if (!length)
            break;
        buf_add(out, replacement, sizeof replacement - 1);
        at += length;
    }
    return at;
}

void detok_add(Detok *detok, const char *bytes, size_t size, Buf *out)
{
    const uint8_t *in = (const uint8_t *)bytes;
    for (; detok->strip && size; detok->strip--, in++, size--) {
        if (*in != ' ') {
            detok->strip = 0;
            break;
        }
    }
    /* The held bytes are completed one by one; then the rest goes through at full speed. */
    while (detok->count && size) {
        detok->held[detok->count++] = *in++;
        size--;
        size_t used = emit(detok->held, detok->count, out);
        memmove(detok->held, detok->held + used, detok->count - used);
        detok->count -= (uint32_t)used;
    }
    if (!size)
        return;
    size_t used = emit(in, size, out);
    detok->count = (uint32_t)(size - used);
    memcpy(detok->held, in + used, detok->count);
}

void detok_end(Detok *detok, Buf *out)
{
    if (detok->count)
        buf_add(out, replacement, sizeof replacement - 1);
    detok->count = 0;
}
