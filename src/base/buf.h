/* buf.h: a growing run of bytes with a maximum given at creation.
 *
 * Invariants: data is NULL or NUL-terminated one past size; size <= limit. A failed append leaves
 * the buffer as it was and latches `failed`, so that a long run of appends is checked once with
 * buf_ok. Threads: one at a time.
 */
#pragma once
#include "base/error.h"

typedef struct {
    char *data;
    size_t size, room, limit;
    bool failed;
} Buf;

void buf_init(Buf *buf, size_t limit_bytes);
void buf_done(Buf *buf);  /* releases; also the cleanup of auto_buf */
void buf_reset(Buf *buf); /* empty again, memory and limit kept, failure forgotten */
void buf_add(Buf *buf, const void *bytes, size_t size);
void buf_add_text(Buf *buf, const char *text);
void buf_add_char(Buf *buf, char c);
void buf_format(Buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool buf_reserve(Buf *buf, size_t more) MUST_CHECK; /* room for `more` bytes; false latches too */

/* False with ERR_LIMIT or ERR_MEMORY when any append failed; `what` names the thing built. */
bool buf_ok(const Buf *buf, const char *what, Error *err) MUST_CHECK;

/* Appends text escaped for HTML content and attributes (& < > " '). */
void buf_add_html(Buf *buf, const char *text);

#define auto_buf __attribute__((cleanup(buf_done)))
