/* json.h: jansson behind the project's errors and limits; values are jansson's json_t.
 *
 * Accepted is RFC 8259 in UTF-8 (a byte order mark is passed over) within these limits: bytes,
 * nesting, number of values, whole numbers of 64 bits, finite reals. Refused beyond the RFC:
 * duplicate keys, NUL in a key, lone surrogates. A NUL inside a string value is kept (tokenizers
 * have one): use json_string_length; json_get_text refuses it. Objects keep the order of the text.
 * Errors: ERR_FORMAT "name:line:column: what"; ERR_LIMIT over a limit; ERR_MEMORY.
 * jansson allocates through base/mem.h. Threads: a value belongs to one thread at a time.
 */
#pragma once
#include "base/buf.h"

#include <jansson.h>
#include <stdint.h>

enum {
    JSON_BYTES_MAX = 64 << 20,
    JSON_DEPTH_MAX = 128,
    JSON_VALUES_MAX = 4 << 20, /* values of one text: about 400 MB of memory at most */
};

/* Any value; the caller json_decref's it (or declares it auto_json). `name` is for messages. */
bool json_parse(json_t **out, const char *text, size_t size, const char *name,
                Error *err) MUST_CHECK;
/* As json_parse for text that starts at this line of `name` (1: the first). */
bool json_parse_at(json_t **out, const char *text, size_t size, const char *name, uint64_t line,
                   Error *err) MUST_CHECK;
bool json_read(json_t **out, const char *path, size_t limit, Error *err) MUST_CHECK;

/* Indented by 2, a list of plain values on one line, newline at the end; replaces path whole. */
bool json_write(const json_t *value, const char *path, Error *err) MUST_CHECK;

/* Compact, on one line, appended to out. A real prints with 15 to 17 digits, the fewest that read
 * back to the same bits. ERR_LIMIT when value nests deeper than JSON_DEPTH_MAX, or in a cycle. */
bool json_dump(const json_t *value, Buf *out, Error *err) MUST_CHECK;

void json_release(json_t **value); /* cleanup of auto_json */
#define auto_json __attribute__((cleanup(json_release)))

/* Typed members of an object. Absent or null: the fallback (get) or ERR_FORMAT (need). Wrong type
 * or range: ERR_FORMAT "name: key 'x' must be a whole number from 1 to 64, is -3". A real getter
 * takes whole numbers too. An `object` that is none is ERR_FORMAT. */
bool json_need_u32(const json_t *object, const char *key, uint32_t low, uint32_t high,
                   uint32_t *out, const char *name, Error *err) MUST_CHECK;
bool json_get_u32(const json_t *object, const char *key, uint32_t low, uint32_t high,
                  uint32_t fallback, uint32_t *out, const char *name, Error *err) MUST_CHECK;
bool json_get_f64(const json_t *object, const char *key, double low, double high, double fallback,
                  double *out, const char *name, Error *err) MUST_CHECK;
bool json_get_bool(const json_t *object, const char *key, bool fallback, bool *out,
                   const char *name, Error *err) MUST_CHECK;
bool json_get_text(const json_t *object, const char *key, const char *fallback, const char **out,
                   const char *name, Error *err) MUST_CHECK; /* borrowed from object */
/* Every key of object must be in the NULL-terminated list (of at most 256 names). */
bool json_only_keys(const json_t *object, const char *const *keys, const char *name,
                    Error *err) MUST_CHECK;
