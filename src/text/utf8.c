/* utf8.c: see utf8.h. */
#include "text/utf8.h"

#include <string.h>

/* The legal second bytes depend on the first (Unicode table 3-7); later bytes are 80..BF. */
typedef struct {
    uint8_t first_low, first_high, second_low, second_high, length;
} Utf8Row;

static const Utf8Row rows[] = {
    {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
    {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
    {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

bool utf8_inspect(const uint8_t *text, size_t size, uint32_t *length)
{
    *length = 1;
    if (text[0] < 0x80)
        return true;
    const Utf8Row *row = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && !row; i++)
        if (text[0] >= rows[i].first_low && text[0] <= rows[i].first_high)
            row = &rows[i];
    if (!row)
        return false;
    for (uint32_t i = 1; i < row->length; i++) {
        uint8_t low = i == 1 ? row->second_low : 0x80, high = i == 1 ? row->second_high : 0xbf;
        *length = i;
        if (i >= size) {
            *length = 0;
            return false;
        }
        if (text[i] < low || text[i] > high)
            return false;
    }
    *length = row->length;
    return true;
}

size_t utf8_valid_prefix(const uint8_t *text, size_t size)
{
    size_t at = 0;
    while (at < size) {
        uint64_t eight;
        if (size - at >= 8) {
            memcpy(&eight, text + at, 8);
            if (!(eight & 0x8080808080808080u)) {
                at += 8;
                continue;
            }
        }
        uint32_t length;
        /* The common three-byte characters without the table: most of the world's scripts. */
        if (size - at >= 3 && text[at] >= 0xe1 && text[at] <= 0xec &&
            (text[at + 1] & 0xc0) == 0x80 && (text[at + 2] & 0xc0) == 0x80) {
            at += 3;
            continue;
        }
        if (!utf8_inspect(text + at, size - at, &length))
            return at;
        at += length;
    }
    return at;
}

static bool printable(uint32_t c)
{
    return (c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff);
}

/* The others in order: 00..20, 7F..A0, AD become U+0100..U+0143. */
uint32_t bytelevel_of_byte(uint8_t byte)
{
    if (printable(byte))
        return byte;
    if (byte <= 0x20)
        return 0x100u + byte;
    return byte == 0xad ? 0x143u : 0x121u + (byte - 0x7fu);
}

int bytelevel_to_byte(uint32_t c)
{
    if (c < 0x100)
        return printable(c) ? (int)c : -1;
    if (c <= 0x120)
        return (int)(c - 0x100);
    if (c <= 0x142)
        return (int)(c - 0x121 + 0x7f);
    return c == 0x143 ? 0xad : -1;
}

size_t bytelevel_text(const uint8_t *bytes, size_t size, char *out)
{
    size_t at = 0;
    for (size_t i = 0; i < size; i++) {
        uint32_t c = bytelevel_of_byte(bytes[i]);
        if (c < 0x80) {
            out[at++] = (char)c;
        } else {
            out[at++] = (char)(0xc0 | c >> 6);
            out[at++] = (char)(0x80 | (c & 0x3f));
        }
    }
    return at;
}

void bytelevel_write(const uint8_t *bytes, size_t size, Buf *out)
{
    if (buf_reserve(out, 2 * size)) {
        out->size += bytelevel_text(bytes, size, out->data + out->size);
        out->data[out->size] = 0;
    }
}

bool bytelevel_read(const char *text, size_t size, uint8_t *out, size_t *out_size)
{
    const uint8_t *bytes = (const uint8_t *)text;
    size_t count = 0;
    for (size_t at = 0; at < size;) {
        uint32_t length;
        int byte = bytelevel_to_byte(utf8_next(bytes + at, &length));
        if (byte < 0)
            return false;
        out[count++] = (uint8_t)byte;
        at += length;
    }
    *out_size = count;
    return true;
}
