/* trie.c: see trie.h.
 *
 * Invariant: the table is at most half full, so that a search ends; node 0 is the root, and no
 * child has it, so that an empty place has child 0.
 */
#include "text/trie.h"

#include "base/mem.h"

#include <assert.h>

typedef struct {
    uint32_t key, child; /* parent << 8 | byte; 0: an empty place */
} TriePlace;

struct Trie {
    TriePlace *places;
    int32_t *values; /* [room] */
    uint32_t mask, count, room;
    uint8_t first[256]; /* 1: a string begins with this byte */
};

static uint32_t place_of(const Trie *trie, uint32_t key)
{
    uint32_t hash = key * 0x9e3779b1u;
    return (hash ^ hash >> 15) & trie->mask;
}

bool trie_new(Trie **out, size_t bytes, Error *err)
{
    if (bytes > TRIE_BYTES_MAX)
        return fail(err, ERR_LIMIT, "the texts to look for have %zu bytes, %d are the most", bytes,
                    TRIE_BYTES_MAX);
    uint32_t size = 16;
    while (size < 2 * (bytes + 1))
        size *= 2;
    Trie *trie = mem_alloc(1, sizeof *trie);
    if (trie) {
        trie->room = (uint32_t)bytes + 1;
        trie->mask = size - 1;
        trie->count = 1;
        trie->places = mem_alloc(size, sizeof *trie->places);
        trie->values = mem_alloc(trie->room, sizeof *trie->values);
    }
    if (!trie || !trie->places || !trie->values) {
        trie_free(trie);
        return fail(err, ERR_MEMORY, "no memory for the texts to look for");
    }
    trie->values[TRIE_ROOT] = -1;
    *out = trie;
    return true;
}

void trie_free(Trie *trie)
{
    if (!trie)
        return;
    mem_free(trie->places);
    mem_free(trie->values);
    mem_free(trie);
}

uint32_t trie_step(const Trie *trie, uint32_t node, uint8_t byte)
{
    uint32_t key = node << 8 | byte;
    for (uint32_t at = place_of(trie, key);; at = (at + 1) & trie->mask) {
        const TriePlace *place = &trie->places[at];
        if (!place->child)
            return TRIE_NONE;
        if (place->key == key)
            return place->child;
    }
}

static uint32_t add_child(Trie *trie, uint32_t node, uint8_t byte)
{
    uint32_t key = node << 8 | byte, at = place_of(trie, key);
    assert(trie->count < trie->room);
    while (trie->places[at].child)
        at = (at + 1) & trie->mask;
    trie->places[at] = (TriePlace){key, trie->count};
    trie->values[trie->count] = -1;
    return trie->count++;
}

void trie_add(Trie *trie, const uint8_t *text, size_t size, int32_t value)
{
    uint32_t node = TRIE_ROOT;
    if (!size)
        return;
    trie->first[text[0]] = 1;
    for (size_t i = 0; i < size; i++) {
        uint32_t next = trie_step(trie, node, text[i]);
        node = next == TRIE_NONE ? add_child(trie, node, text[i]) : next;
    }
    if (trie->values[node] < 0)
        trie->values[node] = value;
}

int32_t trie_value(const Trie *trie, uint32_t node)
{
    return trie->values[node];
}

size_t trie_longest(const Trie *trie, const uint8_t *text, size_t size, int32_t *value)
{
    size_t longest = 0;
    uint32_t node = TRIE_ROOT;
    if (!size || !trie->first[text[0]])
        return 0;
    for (size_t i = 0; i < size; i++) {
        node = trie_step(trie, node, text[i]);
        if (node == TRIE_NONE)
            break;
        if (trie->values[node] >= 0) {
            *value = trie->values[node];
            longest = i + 1;
        }
    }
    return longest;
}
