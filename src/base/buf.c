/* buf.c: see buf.h. */
#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

void buf_init(Buf *buf, size_t limit_bytes)
{
    *buf = (Buf){.limit = limit_bytes < SIZE_MAX / 2 ? limit_bytes : SIZE_MAX / 2};
}

void buf_done(Buf *buf)
{
    mem_free(buf->data);
    *buf = (Buf){.limit = buf->limit};
}

void buf_reset(Buf *buf)
{
    buf->size = 0;
    buf->failed = false;
    if (buf->data)
        buf->data[0] = 0;
}

bool buf_reserve(Buf *buf, size_t more)
{
    if (buf->failed || more > buf->limit || buf->size > buf->limit - more) {
        buf->failed = true;
        return false;
    }
    size_t need = buf->size + more + 1;
    if (need <= buf->room)
        return true;
    size_t room = buf->room < 64 ? 64 : buf->room;
    while (room < need)
        room += room / 2;
    if (room > buf->limit + 1)
        room = buf->limit + 1;
    char *data = mem_resize(buf->data, room, 1);
    if (!data) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->room = room;
    return true;
}

void buf_add(Buf *buf, const void *bytes, size_t size)
{
    if (!buf_reserve(buf, size))
        return;
    if (size)
        memcpy(buf->data + buf->size, bytes, size);
    buf->size += size;
    buf->data[buf->size] = 0;
}

void buf_add_text(Buf *buf, const char *text)
{
    buf_add(buf, text, strlen(text));
}

void buf_add_char(Buf *buf, char c)
{
    buf_add(buf, &c, 1);
}

void buf_format(Buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    if (length >= 0 && buf_reserve(buf, (size_t)length)) {
        vsnprintf(buf->data + buf->size, (size_t)length + 1, format, again);
        buf->size += (size_t)length;
    } else {
        buf->failed = true;
    }
    va_end(again);
    va_end(args);
}

bool buf_ok(const Buf *buf, const char *what, Error *err)
{
    if (!buf->failed)
        return true;
    return fail(err, ERR_LIMIT, "%s: does not fit in %zu bytes, or no memory is left", what,
                buf->limit);
}

void buf_add_html(Buf *buf, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '&':
            buf_add_text(buf, "&amp;");
            break;
        case '<':
            buf_add_text(buf, "&lt;");
            break;
        case '>':
            buf_add_text(buf, "&gt;");
            break;
        case '"':
            buf_add_text(buf, "&quot;");
            break;
        case '\'':
            buf_add_text(buf, "&#39;");
            break;
        default:
            buf_add_char(buf, *text);
        }
    }
}
