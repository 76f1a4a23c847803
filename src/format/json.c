/* json.c: see json.h. Parsing is jansson's after a scan of our own: nesting and the number of
 * values are bounded before the first allocation, since one byte of text can cost a hundred of
 * memory. Printing is ours: jansson prints 0.1 as 0.10000000000000001. */
#include "format/json.h"

#include "base/fs.h"
#include "base/mem.h"
#include "format/suggest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static void *allocate(size_t size)
{
    return mem_alloc(size, 1);
}

/* Runs before main, since values are also built without ever coming through json_parse. The seed
 * of jansson's tables comes from the kernel here, so that it never opens a file for it later. */
__attribute__((constructor)) static void json_start(void)
{
    json_set_alloc_funcs(allocate, mem_free);
    size_t seed = 0;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) == (ssize_t)sizeof seed)
        json_object_seed(seed);
}

void json_release(json_t **value)
{
    json_decref(*value);
    *value = NULL;
}

/* ---- reading ---- */

/* Where a text stands: its name in messages and the number of its first line there. */
typedef struct {
    const char *name;
    uint64_t line;
} Place;

static bool fail_at(Error *err, Place place, const char *text, size_t at, const char *what)
{
    size_t column = 1;
    for (size_t i = 0; i < at; i++) {
        column = text[i] == '\n' ? 1 : column + (((unsigned char)text[i] & 0xc0) != 0x80);
        place.line += text[i] == '\n';
    }
    return fail(err, ERR_LIMIT, "%s:%" PRIu64 ":%zu: %s", place.name, place.line, column, what);
}

/* Counts brackets and commas outside strings: exact for valid text, and an upper bound of what the
 * parser builds before it meets the first mistake otherwise. */
static bool within_limits(const char *text, size_t size, Place place, Error *err)
{
    size_t depth = 0, values = 1;
    bool quoted = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
            continue;
        }
        quoted = c == '"';
        if (c == '[' || c == '{') {
            values++;
            if (++depth > JSON_DEPTH_MAX)
                return fail_at(err, place, text, i, "nested deeper than 128 levels");
        } else if (c == ']' || c == '}') {
            depth -= depth > 0;
        } else if (c == ',' && ++values > JSON_VALUES_MAX) {
            return fail_at(err, place, text, i, "more than 4194304 values");
        }
    }
    return true;
}

/* jansson quotes the text it met: control bytes in it must not reach a terminal or a log. */
static bool fail_parse(Error *err, Place place, const json_error_t *problem)
{
    ErrCode code = json_error_code(problem) == json_error_out_of_memory ? ERR_MEMORY : ERR_FORMAT;
    if (problem->line < 1)
        fail(err, code, "%s: %s", place.name, problem->text);
    else
        fail(err, code, "%s:%" PRIu64 ":%d: %s", place.name,
             place.line + (uint64_t)problem->line - 1, problem->column, problem->text);
    for (char *c = err ? err->text : NULL; c && *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = '?';
    }
    return false;
}

bool json_parse(json_t **out, const char *text, size_t size, const char *name, Error *err)
{
    return json_parse_at(out, text, size, name, 1, err);
}

bool json_parse_at(json_t **out, const char *text, size_t size, const char *name, uint64_t line,
                   Error *err)
{
    Place place = {name, line};
    if (size > JSON_BYTES_MAX)
        return fail(err, ERR_LIMIT, "%s: %zu bytes of JSON, at most %d are read", name, size,
                    JSON_BYTES_MAX);
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        size -= 3;
    }
    if (!within_limits(text, size, place, err))
        return false;
    json_error_t problem;
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL;
    json_t *value = json_loadb(text, size, flags, &problem);
    if (!value)
        return fail_parse(err, place, &problem);
    *out = value;
    return true;
}

bool json_read(json_t **out, const char *path, size_t limit, Error *err)
{
    auto_buf Buf text;
    buf_init(&text, limit < JSON_BYTES_MAX ? limit : JSON_BYTES_MAX);
    return fs_read(path, &text, err) && json_parse(out, text.data, text.size, path, err);
}

/* ---- printing ---- */

static void print_text(Buf *out, const char *text, size_t length)
{
    buf_add_char(out, '"');
    size_t start = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= ' ' && c != '"' && c != '\\')
            continue;
        buf_add(out, text + start, i - start);
        start = i + 1;
        static const char *const shorts[] = {['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n",
                                             ['\f'] = "\\f", ['\r'] = "\\r", ['"'] = "\\\"",
                                             ['\\'] = "\\\\"};
        if (shorts[c])
            buf_add_text(out, shorts[c]);
        else
            buf_format(out, "\\u%04x", c);
    }
    buf_add(out, text + start, length - start);
    buf_add_char(out, '"');
}

static void print_real(Buf *out, double value)
{
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    buf_add_text(out, text);
    if (!strpbrk(text, ".e")) /* stays a real when read back */
        buf_add_text(out, ".0");
}

static bool is_plain_list(const json_t *array)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *item = json_array_get(array, i);
        if (json_is_array(item) || json_is_object(item))
            return false;
    }
    return true;
}

/* indent 0: compact; else spaces per level. level: 1 outermost. */
static void break_line(Buf *out, int indent, int level)
{
    if (indent)
        buf_format(out, "\n%*s", indent * level, "");
}

static void print_value(Buf *out, const json_t *value, int indent, int level);

static void print_array(Buf *out, const json_t *array, int indent, int level)
{
    if (indent && is_plain_list(array))
        indent = 0;
    buf_add_char(out, '[');
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i)
            buf_add_char(out, ',');
        break_line(out, indent, level);
        print_value(out, json_array_get(array, i), indent, level + 1);
    }
    if (json_array_size(array))
        break_line(out, indent, level - 1);
    buf_add_char(out, ']');
}

static void print_object(Buf *out, const json_t *object, int indent, int level)
{
    buf_add_char(out, '{');
    /* jansson's iterators take a mutable object, and change nothing */
    json_t *members = (json_t *)(uintptr_t)object;
    void *at = json_object_iter(members);
    for (bool first = true; at; at = json_object_iter_next(members, at), first = false) {
        if (!first)
            buf_add_char(out, ',');
        break_line(out, indent, level);
        print_text(out, json_object_iter_key(at), json_object_iter_key_len(at));
        buf_add_text(out, indent ? ": " : ":");
        print_value(out, json_object_iter_value(at), indent, level + 1);
    }
    if (json_object_size(object))
        break_line(out, indent, level - 1);
    buf_add_char(out, '}');
}

static void print_value(Buf *out, const json_t *value, int indent, int level)
{
    static const char *const words[] = {
        [JSON_TRUE] = "true", [JSON_FALSE] = "false", [JSON_NULL] = "null"};
    if (level > JSON_DEPTH_MAX + 1 || !value)
        out->failed = true;
    if (out->failed)
        return;
    json_type type = json_typeof(value);
    if (type == JSON_OBJECT)
        print_object(out, value, indent, level);
    else if (type == JSON_ARRAY)
        print_array(out, value, indent, level);
    else if (type == JSON_STRING)
        print_text(out, json_string_value(value), json_string_length(value));
    else if (type == JSON_INTEGER)
        buf_format(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (type == JSON_REAL)
        print_real(out, json_real_value(value));
    else
        buf_add_text(out, words[type]);
}

bool json_dump(const json_t *value, Buf *out, Error *err)
{
    size_t start = out->size;
    print_value(out, value, 0, 1);
    if (buf_ok(out, "JSON to print", err))
        return true;
    if (out->data) { /* a half-printed value is worth nothing: the buffer ends as it began */
        out->size = start;
        out->data[start] = 0;
    }
    return false;
}

bool json_write(const json_t *value, const char *path, Error *err)
{
    auto_buf Buf text;
    buf_init(&text, 4 * (size_t)JSON_BYTES_MAX);
    print_value(&text, value, 2, 1);
    buf_add_char(&text, '\n');
    return buf_ok(&text, path, err) && fs_write(path, text.data, text.size, err);
}

/* ---- typed members ---- */

/* What a wrong value looks like in a message: plain values as written, cut; others by kind. */
static void describe(const json_t *value, char out[48])
{
    static const char *const kinds[] = {[JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list"};
    if (!value || json_is_object(value) || json_is_array(value)) {
        snprintf(out, 48, "%s", value ? kinds[json_typeof(value)] : "absent");
        return;
    }
    auto_buf Buf text;
    buf_init(&text, JSON_BYTES_MAX);
    print_value(&text, value, 0, 1);
    int cut = text.size > 40 ? 40 : (int)text.size;
    while (text.size > 40 && ((unsigned char)text.data[cut] & 0xc0) == 0x80)
        cut--; /* not in the middle of a character */
    snprintf(out, 48, "%.*s%s", cut, text.data ? text.data : "", text.size > 40 ? "..." : "");
}

static bool fail_member(Error *err, const char *name, const char *key, const char *want,
                        const json_t *value)
{
    char got[48];
    describe(value, got);
    return fail(err, ERR_FORMAT, "%s: key '%s' must be %s, is %s", name, key, want, got);
}

/* *out: the member, or NULL when absent or null. */
static bool find_member(const json_t *object, const char *key, const json_t **out,
                        const char *name, Error *err)
{
    if (!json_is_object(object)) {
        char got[48];
        describe(object, got);
        return fail(err, ERR_FORMAT, "%s: must be an object (with key '%s'), is %s", name, key,
                    got);
    }
    const json_t *value = json_object_get(object, key);
    *out = json_is_null(value) ? NULL : value;
    return true;
}

static bool read_u32(const json_t *value, const char *key, uint32_t low, uint32_t high,
                     uint32_t *out, const char *name, Error *err)
{
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < (json_int_t)low || number > (json_int_t)high) {
        char want[64];
        snprintf(want, sizeof want, "a whole number from %" PRIu32 " to %" PRIu32, low, high);
        return fail_member(err, name, key, want, value);
    }
    *out = (uint32_t)number;
    return true;
}

bool json_need_u32(const json_t *object, const char *key, uint32_t low, uint32_t high,
                   uint32_t *out, const char *name, Error *err)
{
    const json_t *value = NULL;
    return find_member(object, key, &value, name, err) &&
           read_u32(value, key, low, high, out, name, err);
}

bool json_get_u32(const json_t *object, const char *key, uint32_t low, uint32_t high,
                  uint32_t fallback, uint32_t *out, const char *name, Error *err)
{
    const json_t *value = NULL;
    if (!find_member(object, key, &value, name, err))
        return false;
    if (value)
        return read_u32(value, key, low, high, out, name, err);
    *out = fallback;
    return true;
}

bool json_get_f64(const json_t *object, const char *key, double low, double high, double fallback,
                  double *out, const char *name, Error *err)
{
    const json_t *value = NULL;
    if (!find_member(object, key, &value, name, err))
        return false;
    double number = value ? json_number_value(value) : fallback;
    if (value && (!json_is_number(value) || !(number >= low && number <= high))) {
        char want[80];
        snprintf(want, sizeof want, "a number from %g to %g", low, high);
        return fail_member(err, name, key, want, value);
    }
    *out = number;
    return true;
}

bool json_get_bool(const json_t *object, const char *key, bool fallback, bool *out,
                   const char *name, Error *err)
{
    const json_t *value = NULL;
    if (!find_member(object, key, &value, name, err))
        return false;
    if (value && !json_is_boolean(value))
        return fail_member(err, name, key, "true or false", value);
    *out = value ? json_is_true(value) : fallback;
    return true;
}

bool json_get_text(const json_t *object, const char *key, const char *fallback, const char **out,
                   const char *name, Error *err)
{
    const json_t *value = NULL;
    if (!find_member(object, key, &value, name, err))
        return false;
    if (value && (!json_is_string(value) ||
                  strlen(json_string_value(value)) != json_string_length(value)))
        return fail_member(err, name, key, "a text without NUL", value);
    *out = value ? json_string_value(value) : fallback;
    return true;
}

bool json_only_keys(const json_t *object, const char *const *keys, const char *name, Error *err)
{
    size_t count = 0;
    while (count < 256 && keys[count])
        count++;
    const char *key;
    json_t *value, *members = (json_t *)(uintptr_t)object; /* the macro below changes nothing */
    json_object_foreach(members, key, value) {
        size_t i = 0;
        while (i < count && strcmp(keys[i], key) != 0)
            i++;
        if (i < count)
            continue;
        char shown[48];
        auto_json json_t *quoted = json_string(key);
        describe(quoted, shown);
        const char *near = suggest_nearest(key, keys, count);
        return fail(err, ERR_FORMAT, near ? "%s: unknown key %s (did you mean '%s'?)"
                                          : "%s: unknown key %s", name, shown, near);
    }
    return true;
}
