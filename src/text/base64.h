/* base64.h: RFC 4648 base64 with padding, strict: no blanks, no line ends, no stray bits. */
#pragma once
#include "base/buf.h"

#include <stdint.h>

/* Decodes into out, which has room for size / 4 * 3 bytes. False: it is no base64. */
bool base64_read(const char *text, size_t size, uint8_t *out, size_t *out_size) MUST_CHECK;
void base64_write(const uint8_t *bytes, size_t size, Buf *out);
