/* gguf_value.c: the values of an open file, typed and checked; see gguf.h. */
#include "format/gguf.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

double gguf_number(const GgufValue *value, uint64_t index)
{
    GgufTypeInfo info = gguf_type_info[value->type];
    assert(index < value->count && info.bytes);
    uint64_t raw = 0;
    memcpy(&raw, value->bytes + index * info.bytes, info.bytes);
    if (info.kind == GGUF_REAL && info.bytes == 4) {
        float real;
        memcpy(&real, &raw, sizeof real);
        return (double)real;
    }
    if (info.kind == GGUF_REAL) {
        double real;
        memcpy(&real, &raw, sizeof real);
        return real;
    }
    uint32_t unused = 64 - 8 * info.bytes; /* bits above the item: filled by its sign */
    return info.kind == GGUF_SIGNED ? (double)((int64_t)(raw << unused) >> unused) : (double)raw;
}

void gguf_next_text(const uint8_t **at, const char **text, uint64_t *bytes)
{
    memcpy(bytes, *at, sizeof *bytes);
    *text = (const char *)*at + sizeof *bytes;
    *at += sizeof *bytes + *bytes;
}

static bool is_whole(GgufType type)
{
    return gguf_type_info[type].kind <= GGUF_SIGNED;
}

static bool fail_value(const Gguf *gguf, const char *key, const char *want, Error *err)
{
    const char *is = gguf_find(gguf, key) ? "is not" : "is absent";
    return fail(err, ERR_FORMAT, "%s: key '%s' must be %s, %s", gguf_name(gguf), key, want, is);
}

static bool read_u32(const Gguf *gguf, const GgufValue *value, const char *key, uint32_t low,
                     uint32_t high, uint32_t *out, Error *err)
{
    bool whole = value && !value->is_array && is_whole(value->type);
    double number = whole ? gguf_number(value, 0) : -1;
    if (!whole || number < low || number > high) {
        char want[80];
        snprintf(want, sizeof want, "a whole number from %" PRIu32 " to %" PRIu32, low, high);
        return fail_value(gguf, key, want, err);
    }
    *out = (uint32_t)number;
    return true;
}

bool gguf_need_u32(const Gguf *gguf, const char *key, uint32_t low, uint32_t high, uint32_t *out,
                   Error *err)
{
    return read_u32(gguf, gguf_find(gguf, key), key, low, high, out, err);
}

bool gguf_get_u32(const Gguf *gguf, const char *key, uint32_t low, uint32_t high,
                  uint32_t fallback, uint32_t *out, Error *err)
{
    const GgufValue *value = gguf_find(gguf, key);
    if (value)
        return read_u32(gguf, value, key, low, high, out, err);
    *out = fallback;
    return true;
}

bool gguf_get_f64(const Gguf *gguf, const char *key, double low, double high, double fallback,
                  double *out, Error *err)
{
    const GgufValue *value = gguf_find(gguf, key);
    bool number = value && !value->is_array && gguf_type_info[value->type].kind <= GGUF_REAL;
    double got = number ? gguf_number(value, 0) : fallback;
    if (value && !(number && got >= low && got <= high)) {
        char want[80];
        snprintf(want, sizeof want, "a number from %g to %g", low, high);
        return fail_value(gguf, key, want, err);
    }
    *out = got;
    return true;
}

bool gguf_get_bool(const Gguf *gguf, const char *key, bool fallback, bool *out, Error *err)
{
    const GgufValue *value = gguf_find(gguf, key);
    if (value && (value->is_array || value->type != GGUF_BOOL))
        return fail_value(gguf, key, "a bool", err);
    *out = value ? value->bytes[0] != 0 : fallback;
    return true;
}

bool gguf_get_text(const Gguf *gguf, const char *key, const char *fallback, const char **out,
                   Error *err)
{
    const GgufValue *value = gguf_find(gguf, key);
    if (value && (!value->text || strlen(value->text) != value->text_bytes))
        return fail_value(gguf, key, "a text without NUL", err);
    *out = value ? value->text : fallback;
    return true;
}

bool gguf_need_array(const Gguf *gguf, const char *key, GgufType type, uint64_t low, uint64_t high,
                     const GgufValue **out, Error *err)
{
    static const char *const kinds[] = {[GGUF_UNSIGNED] = "whole numbers",
                                        [GGUF_SIGNED] = "whole numbers", [GGUF_REAL] = "numbers",
                                        [GGUF_TRUTH] = "bools", [GGUF_OTHER] = "texts"};
    const GgufValue *value = gguf_find(gguf, key);
    GgufKind kind = gguf_type_info[type].kind;
    bool same = value && ((is_whole(type) && is_whole(value->type)) ||
                          (kind > GGUF_SIGNED && gguf_type_info[value->type].kind == kind));
    if (!same || !value->is_array || value->count < low || value->count > high) {
        char want[96];
        snprintf(want, sizeof want, "a list of %" PRIu64 " to %" PRIu64 " %s", low, high,
                 kinds[kind]);
        return fail_value(gguf, key, want, err);
    }
    *out = value;
    return true;
}
