/* base64.c: see base64.h. */
#include "text/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_read(const char *text, size_t size, uint8_t *out, size_t *out_size)
{
    size_t made = 0;
    if (size % 4)
        return false;
    for (size_t at = 0; at < size; at += 4) {
        size_t padding = 0;
        uint32_t bits = 0;
        if (at + 4 == size && text[at + 3] == '=')
            padding = text[at + 2] == '=' ? 2 : 1;
        for (size_t i = 0; i < 4 - padding; i++) {
            int value = value_of(text[at + i]);
            if (value < 0)
                return false;
            bits |= (uint32_t)value << (18 - 6 * i);
        }
        if ((padding == 1 && (bits & 0xff)) || (padding == 2 && (bits & 0xffff)))
            return false;
        for (size_t i = 0; i < 3 - padding; i++)
            out[made++] = (uint8_t)(bits >> (16 - 8 * i));
    }
    *out_size = made;
    return true;
}

void base64_write(const uint8_t *bytes, size_t size, Buf *out)
{
    for (size_t at = 0; at < size; at += 3) {
        size_t left = size - at;
        uint32_t bits = (uint32_t)bytes[at] << 16 | (left > 1 ? (uint32_t)bytes[at + 1] << 8 : 0) |
                        (left > 2 ? bytes[at + 2] : 0);
        buf_add_char(out, alphabet[bits >> 18]);
        buf_add_char(out, alphabet[bits >> 12 & 63]);
        buf_add_char(out, left > 1 ? alphabet[bits >> 6 & 63] : '=');
        buf_add_char(out, left > 2 ? alphabet[bits & 63] : '=');
    }
}
