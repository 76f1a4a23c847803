/* charsmap.c: the map of characters in a SentencePiece model (see normalize.h).
 *
 * A unit of the Darts double array: bits 0-7 the label, bit 8 "a value hangs below", bit 9 and
 * bits 10-30 the offset to the children; a value unit has its number in bits 0-30.
 */
#include "text/normalize.h"

#include "base/mem.h"
#include "text/utf8.h"

#include <string.h>
#include <utf8proc.h>

enum {
    ENTRY_BYTES_MAX = 256, /* a walk ends here, whatever a damaged trie says */
    GRAPHEME_BYTES = 6,    /* shorter ones are looked up whole */
};

static uint32_t read_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

bool charsmap_read(Charsmap *out, const void *blob, size_t size, Error *err)
{
    *out = (Charsmap){0};
    if (!size)
        return true;
    if (size > CHARSMAP_BYTES_MAX)
        return fail(err, ERR_LIMIT, "precompiled_charsmap has %zu bytes, %d are the most", size,
                    CHARSMAP_BYTES_MAX);
    uint32_t trie = size >= 4 ? read_u32(blob) : 0;
    if (size < 8 || trie < 4 || trie % 4 || trie > size - 4)
        return fail(err, ERR_FORMAT, "precompiled_charsmap: a trie of %u bytes does not fit into "
                    "its %zu", trie, size);
    out->blob = mem_alloc(size, 1);
    if (!out->blob)
        return fail(err, ERR_MEMORY, "no memory for precompiled_charsmap");
    memcpy(out->blob, blob, size);
    out->size = size;
    out->units = trie / 4;
    return true;
}

void charsmap_done(Charsmap *map)
{
    mem_free(map->blob);
    *map = (Charsmap){0};
}

static uint32_t unit_at(const Charsmap *map, uint32_t index)
{
    return index < map->units ? read_u32(map->blob + 4 + 4 * (size_t)index) : 0;
}

static uint32_t offset_of(uint32_t unit)
{
    return (unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* The text a value names; false: it lies outside, or has no end. */
static bool text_of(const Charsmap *map, uint32_t value, const char **to, size_t *to_size)
{
    size_t start = 4 + 4 * (size_t)map->units + value;
    if (start >= map->size)
        return false;
    const uint8_t *end = memchr(map->blob + start, 0, map->size - start);
    if (!end)
        return false;
    *to = (const char *)map->blob + start;
    *to_size = (size_t)(end - (map->blob + start));
    return utf8_valid_prefix((const uint8_t *)*to, *to_size) == *to_size;
}

size_t charsmap_find(const Charsmap *map, const uint8_t *text, size_t size, bool shortest,
                     const char **to, size_t *to_size)
{
    size_t found = 0, most = size < ENTRY_BYTES_MAX ? size : ENTRY_BYTES_MAX;
    uint32_t at = offset_of(unit_at(map, 0));
    for (size_t i = 0; i < most && text[i]; i++) {
        at ^= text[i];
        uint32_t unit = unit_at(map, at);
        if ((unit & (1u << 31 | 0xff)) != text[i])
            break;
        at ^= offset_of(unit);
        if ((unit >> 8 & 1) && text_of(map, unit_at(map, at) & 0x7fffffffu, to, to_size)) {
            found = i + 1;
            if (shortest)
                break;
        }
    }
    return found;
}

/* Bytes of the grapheme at text. */
static size_t grapheme_bytes(const uint8_t *text, size_t size)
{
    uint32_t length;
    int32_t state = 0, before = (int32_t)utf8_next(text, &length);
    size_t at = length;
    while (at < size) {
        int32_t c = (int32_t)utf8_next(text + at, &length);
        if (utf8proc_grapheme_break_stateful(before, c, &state))
            break;
        at += length;
        before = c;
    }
    return at;
}

bool charsmap_append(const Charsmap *map, const uint8_t *text, size_t size, Buf *out, Error *err)
{
    const char *to = NULL;
    size_t to_size = 0;
    for (size_t at = 0, end; at < size; at = end) {
        size_t grapheme = grapheme_bytes(text + at, size - at);
        end = at + grapheme;
        if (grapheme < GRAPHEME_BYTES &&
            charsmap_find(map, text + at, grapheme, true, &to, &to_size)) {
            buf_add(out, to, to_size);
            continue;
        }
        for (size_t i = at; i < end; i += utf8_length(text[i])) {
            size_t length = utf8_length(text[i]);
            if (charsmap_find(map, text + i, length, true, &to, &to_size))
                buf_add(out, to, to_size);
            else
                buf_add(out, text + i, length);
        }
    }
    return buf_ok(out, "normalised text", err);
}
