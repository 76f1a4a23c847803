/* jsonl.c: see jsonl.h. */
#include "format/jsonl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void jsonl_init(JsonlReader *reader, const void *bytes, size_t size, const char *name,
                size_t line_max)
{
    *reader = (JsonlReader){.name = name, .bytes = bytes, .size = size};
    reader->line_max = line_max < JSON_BYTES_MAX ? line_max : JSON_BYTES_MAX;
    if (size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0)
        reader->next = 3;
}

bool jsonl_open(JsonlReader *reader, const char *path, size_t line_max, Error *err)
{
    FsMap map;
    if (strlen(path) >= sizeof reader->path)
        return fail(err, ERR_LIMIT, "path of %zu bytes is too long", strlen(path));
    if (!fs_map(path, &map, err))
        return false;
    jsonl_init(reader, map.data, map.size, "", line_max);
    reader->map = map;
    snprintf(reader->path, sizeof reader->path, "%s", path);
    reader->name = reader->path;
    return true;
}

void jsonl_close(JsonlReader *reader)
{
    fs_unmap(&reader->map);
    reader->bytes = NULL;
    reader->size = reader->next = 0;
}

/* ---- UTF-8 ---- */

/* Length of the well-formed sequence at p (Unicode, table 3-7: no overlong forms, no surrogates,
 * nothing above U+10FFFF), or 0. */
static size_t utf8_sequence(const uint8_t *p, size_t room)
{
    if (p[0] < 0x80)
        return 1;
    size_t length = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || length > room)
        return 0;
    uint8_t low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    uint8_t high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    return length;
}

/* True, or false with the column (in characters, from 1) of the first bad byte. Runs of ASCII go
 * eight bytes at a time. */
static bool utf8_valid(const uint8_t *text, size_t size, size_t *column)
{
    size_t i = 0, characters = 0;
    while (i < size) {
        uint64_t eight;
        if (size - i >= sizeof eight) {
            memcpy(&eight, text + i, sizeof eight);
            if (!(eight & 0x8080808080808080u)) {
                i += sizeof eight;
                characters += sizeof eight;
                continue;
            }
        }
        size_t length = utf8_sequence(text + i, size - i);
        if (length == 0) {
            *column = characters + 1;
            return false;
        }
        i += length;
        characters++;
    }
    return true;
}

/* ---- lines ---- */

static bool is_blank(const uint8_t *text, size_t size)
{
    while (size && (*text == ' ' || *text == '\t' || *text == '\r')) {
        text++;
        size--;
    }
    return size == 0;
}

/* Steps over one line; its text without the end goes to *size. */
static const uint8_t *take_line(JsonlReader *reader, size_t *size)
{
    const uint8_t *start = reader->bytes + reader->next;
    size_t room = reader->size - reader->next;
    const uint8_t *end = memchr(start, '\n', room);
    size_t length = end ? (size_t)(end - start) : room;
    reader->offset = reader->next;
    reader->cut = !end;
    reader->next += length + (end != NULL);
    reader->line++;
    *size = length && start[length - 1] == '\r' ? length - 1 : length;
    return start;
}

bool jsonl_next_text(JsonlReader *reader, const char **text, size_t *size, Error *err)
{
    while (reader->next < reader->size) {
        size_t length, column = 0;
        const uint8_t *line = take_line(reader, &length);
        if (is_blank(line, length))
            continue;
        if (length > reader->line_max)
            return fail(err, ERR_LIMIT, "%s:%" PRIu64 ": line of %zu bytes, at most %zu are read",
                        reader->name, reader->line, length, reader->line_max);
        if (!utf8_valid(line, length, &column))
            return fail(err, ERR_FORMAT, "%s:%" PRIu64 ":%zu: not UTF-8", reader->name,
                        reader->line, column);
        *text = (const char *)line;
        *size = length;
        return true;
    }
    *text = NULL;
    *size = 0;
    return true;
}

bool jsonl_next(JsonlReader *reader, json_t **out, Error *err)
{
    const char *text;
    size_t size;
    if (!jsonl_next_text(reader, &text, &size, err))
        return false;
    if (text)
        return json_parse_at(out, text, size, reader->name, reader->line, err);
    *out = NULL;
    return true;
}

/* ---- logs ---- */

bool jsonl_log_open(FsLog *log, const char *path, Error *err)
{
    bool cut = false;
    if (fs_size(path) > 0) {
        FsMap map;
        if (!fs_map(path, &map, err))
            return false;
        cut = map.size && map.data[map.size - 1] != '\n';
        fs_unmap(&map);
    }
    if (!fs_log_open(log, path, err))
        return false;
    if (cut && !fs_log_append(log, "\n", 1, false, err)) {
        fs_log_close(log);
        return false;
    }
    return true;
}

bool jsonl_log_append(FsLog *log, const json_t *event, bool sync, Error *err)
{
    auto_buf Buf line;
    buf_init(&line, JSON_BYTES_MAX);
    if (!json_dump(event, &line, err))
        return false;
    buf_add_char(&line, '\n');
    return buf_ok(&line, log->path, err) && fs_log_append(log, line.data, line.size, sync, err);
}
