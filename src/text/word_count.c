/* word_count.c: see word_count.h.
 *
 * Documents are cut into parts of about 256 KiB at places where cutting changes no word
 * (pretoken_safe_cut); the parts are the tasks of a pool. Each worker counts into its own table;
 * the tables are added up at the end.
 */
#include "text/word_count.h"

#include "base/mem.h"
#include "text/pretoken.h"
#include "text/utf8.h"

#include <string.h>

enum { PART_BYTES = 1 << 18, PLACES_START = 1 << 12, BYTES_START = 1 << 16 };

typedef struct {
    size_t document, from, size;
} Part;

typedef struct {
    void (*each)(void *user, size_t i, const char **text, size_t *size);
    void *user;
    Part *parts;
    size_t part_count, part_room;
    WordCounts *tables; /* [threads] */
    bool *failed;       /* [threads] no memory */
} Counting;

void word_counts_done(WordCounts *counts)
{
    mem_free(counts->places);
    mem_free(counts->bytes);
    *counts = (WordCounts){0};
}

static bool counts_init(WordCounts *counts)
{
    *counts = (WordCounts){.mask = PLACES_START - 1, .bytes_room = BYTES_START};
    counts->places = mem_alloc(PLACES_START, sizeof *counts->places);
    counts->bytes = mem_alloc(BYTES_START, 1);
    return counts->places && counts->bytes;
}

static bool counts_grow(WordCounts *counts)
{
    uint64_t size = 2 * (counts->mask + 1);
    Word *places = mem_alloc(size, sizeof *places);
    if (!places)
        return false;
    for (uint64_t i = 0; i <= counts->mask; i++) {
        if (!counts->places[i].count)
            continue;
        uint64_t at = counts->places[i].hash & (size - 1);
        while (places[at].count)
            at = (at + 1) & (size - 1);
        places[at] = counts->places[i];
    }
    mem_free(counts->places);
    counts->places = places;
    counts->mask = size - 1;
    return true;
}

static bool store_bytes(WordCounts *counts, const uint8_t *text, size_t size)
{
    if (counts->bytes_room - counts->bytes_used < size) {
        size_t room = counts->bytes_room;
        while (room - counts->bytes_used < size)
            room *= 2;
        char *bytes = mem_resize(counts->bytes, room, 1);
        if (!bytes)
            return false;
        counts->bytes = bytes;
        counts->bytes_room = room;
    }
    memcpy(counts->bytes + counts->bytes_used, text, size);
    counts->bytes_used += size;
    return true;
}

/* Eight bytes at a step; for tables of our own text only, so that strength is no matter. */
static uint64_t hash_word(const uint8_t *text, size_t size)
{
    uint64_t hash = size;
    for (; size >= 8; text += 8, size -= 8) {
        uint64_t eight;
        memcpy(&eight, text, 8);
        hash = (hash ^ eight) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
    }
    uint64_t rest = 0;
    for (size_t i = 0; i < size; i++)
        rest |= (uint64_t)text[i] << (8 * i);
    hash = (hash ^ rest) * 0xc2b2ae3d27d4eb4fu;
    return hash ^ hash >> 32;
}

static bool counts_add(WordCounts *counts, const uint8_t *text, size_t size, uint64_t hash,
                       uint64_t times)
{
    uint64_t at = hash & counts->mask;
    for (; counts->places[at].count; at = (at + 1) & counts->mask) {
        Word *word = &counts->places[at];
        if (word->hash == hash && word->size == size &&
            !memcmp(counts->bytes + word->start, text, size)) {
            word->count += times;
            return true;
        }
    }
    if (!store_bytes(counts, text, size))
        return false;
    counts->places[at] = (Word){counts->bytes_used - size, (uint32_t)size, times, hash};
    counts->used++;
    return 2 * counts->used <= counts->mask || counts_grow(counts);
}

static bool count_text(WordCounts *counts, const uint8_t *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t end = at + utf8_valid_prefix(text + at, size - at);
        while (at < end) {
            size_t piece = pretoken_gpt2(text + at, end - at);
            /* A word of more than 4 GiB has no use; it is counted by its beginning. */
            size_t kept = piece < UINT32_MAX ? piece : UINT32_MAX;
            if (!counts_add(counts, text + at, kept, hash_word(text + at, kept), 1))
                return false;
            at += piece;
        }
        if (at < size) {
            if (!counts_add(counts, text + at, 1, hash_word(text + at, 1), 1))
                return false;
            at++;
        }
    }
    return true;
}

static void count_part(void *context, uint32_t task, uint32_t worker)
{
    const Counting *c = context;
    const Part *part = &c->parts[task];
    const char *text;
    size_t size;
    c->each(c->user, part->document, &text, &size);
    if (!c->failed[worker])
        c->failed[worker] = !count_text(&c->tables[worker], (const uint8_t *)text + part->from,
                                        part->size);
}

static bool add_part(Counting *c, Part part)
{
    if (c->part_count == c->part_room) {
        size_t room = c->part_room ? 2 * c->part_room : 64;
        Part *parts = mem_resize(c->parts, room, sizeof *parts);
        if (!parts)
            return false;
        c->parts = parts;
        c->part_room = room;
    }
    c->parts[c->part_count++] = part;
    return true;
}

static bool cut_documents(Counting *c, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *text;
        size_t size;
        c->each(c->user, i, &text, &size);
        for (size_t from = 0; from < size;) {
            size_t end = size;
            if (size - from > PART_BYTES)
                end = pretoken_safe_cut((const uint8_t *)text, size, from + PART_BYTES);
            if (!add_part(c, (Part){i, from, end - from}))
                return false;
            from = end;
        }
    }
    return c->part_count <= UINT32_MAX;
}

static bool add_tables(WordCounts *into, const WordCounts *from)
{
    for (uint64_t i = 0; i <= from->mask; i++) {
        const Word *word = &from->places[i];
        if (word->count && !counts_add(into, (const uint8_t *)from->bytes + word->start,
                                       word->size, word->hash, word->count))
            return false;
    }
    return true;
}

static bool run(Counting *c, Pool *pool, size_t count)
{
    uint32_t threads = pool_threads(pool);
    for (uint32_t i = 0; i < threads; i++)
        if (!counts_init(&c->tables[i]))
            return false;
    if (!cut_documents(c, count))
        return false;
    pool_for(pool, (uint32_t)c->part_count, count_part, c);
    for (uint32_t i = 0; i < threads; i++)
        if (c->failed[i] || (i && !add_tables(&c->tables[0], &c->tables[i])))
            return false;
    return true;
}

bool word_counts_make(WordCounts *out, Pool *pool, size_t count,
                      void (*each)(void *user, size_t i, const char **text, size_t *size),
                      void *user, Error *err)
{
    uint32_t threads = pool_threads(pool);
    Counting c = {.each = each, .user = user};
    c.tables = mem_alloc(threads, sizeof *c.tables);
    c.failed = mem_alloc(threads, sizeof *c.failed);
    bool done = c.tables && c.failed && run(&c, pool, count);
    if (done) {
        *out = c.tables[0];
        c.tables[0] = (WordCounts){0};
    }
    for (uint32_t i = 0; c.tables && i < threads; i++)
        word_counts_done(&c.tables[i]);
    mem_free(c.tables);
    mem_free(c.failed);
    mem_free(c.parts);
    return done || fail(err, ERR_MEMORY, "no memory to count the words of %zu documents", count);
}
