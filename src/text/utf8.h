/* utf8.h: which bytes are UTF-8, and the byte-level alphabet of GPT-2.
 *
 * Valid means as Unicode defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
 * The byte-level alphabet writes every byte as one printable character, so that tokens of any bytes
 * can be keys of a JSON file: printable Latin-1 stands for itself, the 68 others for U+0100 on.
 * Threads: pure functions.
 */
#pragma once
#include "base/buf.h"

#include <stdint.h>

/* How many of the first bytes are whole valid characters. */
size_t utf8_valid_prefix(const uint8_t *text, size_t size);

/* The character at text, which must begin a valid one; *length is its bytes, 1 to 4. */
static inline uint32_t utf8_next(const uint8_t *text, uint32_t *length)
{
    uint32_t c = text[0];
    if (c < 0x80) {
        *length = 1;
        return c;
    }
    if (c < 0xe0) {
        *length = 2;
        return (c & 0x1f) << 6 | (text[1] & 0x3fu);
    }
    if (c < 0xf0) {
        *length = 3;
        return (c & 0x0f) << 12 | (text[1] & 0x3fu) << 6 | (text[2] & 0x3fu);
    }
    *length = 4;
    return (c & 0x07) << 18 | (text[1] & 0x3fu) << 12 | (text[2] & 0x3fu) << 6 | (text[3] & 0x3fu);
}

/* The bytes of the valid character that begins with this byte. */
static inline uint32_t utf8_length(uint8_t first)
{
    return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

/* What stands at text (size >= 1): *length bytes that are a valid character (true), or that can
 * never become one and are replaced together (false); *length 0: valid so far, more is needed. */
bool utf8_inspect(const uint8_t *text, size_t size, uint32_t *length);

/* The character of the byte-level alphabet for a byte, and back: -1 for one outside it. */
uint32_t bytelevel_of_byte(uint8_t byte);
int bytelevel_to_byte(uint32_t character);

/* Writes bytes in that alphabet, as UTF-8 of at most twice `size`; returns its bytes. */
size_t bytelevel_text(const uint8_t *bytes, size_t size, char *out);
void bytelevel_write(const uint8_t *bytes, size_t size, Buf *out); /* the same, appended */

/* Turns valid UTF-8 of that alphabet into bytes, at most `size` of them. False: another character
 * is in it. */
bool bytelevel_read(const char *text, size_t size, uint8_t *out, size_t *out_size) MUST_CHECK;
