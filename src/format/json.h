/* json.h: jansson behind the project's errors and limits; values are jansson's json_t.
 * Duplicate keys are refused. Errors: ERR_FORMAT with `name`, line and column.
 */
#pragma once
#include "base/buf.h"

#include <jansson.h>

enum { JSON_BYTES_MAX = 64 << 20 };

bool json_parse(json_t **out, const char *text, size_t size, const char *name,
                Error *err) MUST_CHECK; /* any value; caller json_decref's */
bool json_read(json_t **out, const char *path, size_t limit, Error *err) MUST_CHECK;
bool json_write(const json_t *value, const char *path, Error *err) MUST_CHECK; /* indented, atomic */
bool json_dump(const json_t *value, Buf *out, Error *err) MUST_CHECK;          /* compact, appended */

void json_release(json_t **value); /* cleanup of auto_json */
#define auto_json __attribute__((cleanup(json_release)))

/* Typed members of an object. Absent: the fallback (get) or ERR_FORMAT (need). Wrong type or range:
 * ERR_FORMAT "name: key 'x' must be a whole number from 1 to 64, is -3". */
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
/* Every key of object must be in the NULL-terminated list. */
bool json_only_keys(const json_t *object, const char *const *keys, const char *name,
                    Error *err) MUST_CHECK;
