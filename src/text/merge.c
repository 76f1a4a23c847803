/* merge.c: byte-pair merging of one piece of text, and the memory it runs in.
 *
 * The rule: of all neighbouring pairs the one of lowest rank is merged, the leftmost first, until
 * no pair has a rank. A short piece is searched linearly; a long one keeps its pairs in a heap and
 * its symbols in a list, so that any text costs O(size log size).
 *
 * Most pieces are words seen before. The cache is one table of 64-byte places, a piece has one
 * place by its hash, a newer piece takes it over: bounded memory, one cache line per look.
 * Invariant: a place with count > 0 holds a piece's bytes (zero-padded, its size in the last byte)
 * and all its ids. The cache belongs to one tokenizer and lives in its scratch list.
 */
#include "base/mem.h"
#include "text/tokenizer_model.h"

#include <assert.h>
#include <string.h>

enum {
    CACHE_PIECES = 1 << 15, /* 2 MiB per thread that encodes at once */
    CACHED_BYTES_MAX = 31,
    CACHED_IDS_MAX = 7,
    LINEAR_MAX = 48,         /* longer pieces use the heap */
    KEPT_SYMBOLS_MAX = 1 << 16,
    KEPT_TEXT_MAX = 1 << 20,
};

typedef struct CachedPiece {
    uint64_t key[4];
    int32_t count;
    int32_t ids[CACHED_IDS_MAX];
} CachedPiece;
static_assert(sizeof(CachedPiece) == 64, "a cached piece is one cache line");

typedef struct Symbol {
    int32_t id; /* -1: merged into another */
    uint32_t previous, next;
} Symbol;

typedef struct HeapItem {
    uint64_t order; /* rank << 32 | place: the lowest rank first, then the leftmost */
    int32_t left, right; /* the ids it was made for: others there now, and it is stale */
} HeapItem;

enum { NO_SYMBOL = UINT32_MAX };

Scratch *scratch_take(const Tokenizer *t, Error *err)
{
    Tokenizer *shared = (Tokenizer *)t; /* the list is the one thing that changes, under its lock */
    pthread_mutex_lock(&shared->lock);
    Scratch *scratch = shared->scratch;
    if (scratch) {
        shared->scratch = scratch->next;
        shared->scratch_count--;
    }
    pthread_mutex_unlock(&shared->lock);
    if (scratch)
        return scratch;
    scratch = mem_alloc(1, sizeof *scratch);
    CachedPiece *cache = scratch ? mem_alloc_aligned(CACHE_PIECES * sizeof *cache, 64) : NULL;
    if (!cache) {
        mem_free(scratch);
        fail(err, ERR_MEMORY, "no memory to encode text");
        return NULL;
    }
    memset(cache, 0, CACHE_PIECES * sizeof *cache);
    scratch->cache = cache;
    buf_init(&scratch->marked, SIZE_MAX);
    bool good = normalizer_scratch_init(&scratch->normal, &t->normalizer, err);
    for (uint32_t i = 0; i < t->stage_count && good; i++)
        good = !t->stages[i].pattern ||
               split_match_new(&scratch->matches[i], t->stages[i].pattern, err);
    if (good)
        return scratch;
    scratch_free(scratch);
    return NULL;
}

static void free_long(Scratch *scratch)
{
    mem_free(scratch->symbols);
    mem_free(scratch->heap);
    mem_free(scratch->ids);
    scratch->symbols = NULL;
    scratch->heap = NULL;
    scratch->ids = NULL;
    scratch->symbol_room = scratch->heap_room = 0;
}

void scratch_give(const Tokenizer *t, Scratch *scratch)
{
    if (scratch->symbol_room > KEPT_SYMBOLS_MAX)
        free_long(scratch);
    Buf *const texts[] = {&scratch->marked, &scratch->normal.texts[0], &scratch->normal.texts[1]};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i]->room > KEPT_TEXT_MAX)
            buf_done(texts[i]);
    Tokenizer *shared = (Tokenizer *)t;
    pthread_mutex_lock(&shared->lock);
    bool keep = shared->scratch_count < SCRATCH_KEPT_MAX;
    if (keep) {
        scratch->next = shared->scratch;
        shared->scratch = scratch;
        shared->scratch_count++;
    }
    pthread_mutex_unlock(&shared->lock);
    if (!keep)
        scratch_free(scratch);
}

void scratch_free(Scratch *scratch)
{
    if (!scratch)
        return;
    for (uint32_t i = 0; i < STAGES_MAX; i++)
        split_match_free(scratch->matches[i]);
    mem_free(scratch->cache);
    free_long(scratch);
    mem_free(scratch->path);
    buf_done(&scratch->marked);
    normalizer_scratch_done(&scratch->normal);
    mem_free(scratch);
}

/* A whole piece took no part in merging under a number no merge knows. */
static int32_t plain_id(int32_t id)
{
    return id <= -2 ? WHOLE_ID(id) : id;
}

/* ---- short pieces ---- */

/* ids[0..count) in place; returns the new count. count <= LINEAR_MAX. */
static uint32_t merge_linear(const Tokenizer *t, int32_t *ids, uint32_t count)
{
    uint32_t ranks[LINEAR_MAX];
    int32_t results[LINEAR_MAX];
    for (uint32_t i = 0; i + 1 < count; i++)
        ranks[i] = pair_find(t, ids[i], ids[i + 1], &results[i]);
    while (count > 1) {
        uint32_t best = 0;
        for (uint32_t i = 1; i + 1 < count; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == NO_RANK)
            break;
        ids[best] = results[best];
        count--;
        uint32_t tail = count - best - 1; /* symbols after the merged one */
        memmove(ids + best + 1, ids + best + 2, tail * sizeof *ids);
        if (tail) {
            memmove(ranks + best + 1, ranks + best + 2, (tail - 1) * sizeof *ranks);
            memmove(results + best + 1, results + best + 2, (tail - 1) * sizeof *results);
            ranks[best] = pair_find(t, ids[best], ids[best + 1], &results[best]);
        }
        if (best)
            ranks[best - 1] = pair_find(t, ids[best - 1], ids[best], &results[best - 1]);
    }
    return count;
}

/* ---- long pieces ---- */

static void heap_push(HeapItem *heap, size_t *count, HeapItem item)
{
    size_t at = (*count)++;
    while (at && item.order < heap[(at - 1) / 2].order) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = item;
}

static HeapItem heap_pop(HeapItem *heap, size_t *count)
{
    HeapItem top = heap[0], last = heap[--*count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < *count; at = child) {
        if (child + 1 < *count && heap[child + 1].order < heap[child].order)
            child++;
        if (heap[child].order >= last.order)
            break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return top;
}

/* Every merge takes one pair away and adds at most two: 3 items per symbol are enough. */
static bool long_room(Scratch *scratch, size_t size, Error *err)
{
    if (size >= NO_SYMBOL / 3)
        return fail(err, ERR_LIMIT, "a word of %zu bytes is too long to encode", size);
    if (size <= scratch->symbol_room)
        return true;
    free_long(scratch); /* new blocks, for nothing in the old ones is needed, and huge pages are */
    scratch->symbols = mem_alloc_aligned(size * sizeof *scratch->symbols, 64);
    scratch->heap = mem_alloc_aligned(3 * size * sizeof *scratch->heap, 64);
    scratch->ids = mem_alloc_aligned(size * sizeof *scratch->ids, 64);
    if (!scratch->symbols || !scratch->heap || !scratch->ids) {
        free_long(scratch);
        return fail(err, ERR_MEMORY, "no memory to encode a word of %zu bytes", size);
    }
    scratch->heap_room = 3 * size;
    scratch->symbol_room = size;
    return true;
}

static void push_pair(const Tokenizer *t, Scratch *scratch, size_t *count, uint32_t at)
{
    const Symbol *left = &scratch->symbols[at];
    if (left->next == NO_SYMBOL)
        return;
    int32_t result, right = scratch->symbols[left->next].id;
    uint32_t rank = pair_find(t, left->id, right, &result);
    if (rank != NO_RANK)
        heap_push(scratch->heap, count, (HeapItem){(uint64_t)rank << 32 | at, left->id, right});
}

/* What the merge of two ids gives when merges of its rank give several things: rare, and kept out of
 * the loop. */
static __attribute__((noinline, cold)) int32_t find_result(const Tokenizer *t, int32_t left,
                                                           int32_t right)
{
    int32_t result;
    (void)pair_find(t, left, right, &result);
    return result;
}

/* scratch->ids[0..size) hold what the text begins as. */
static void merge_long(const Tokenizer *t, Scratch *scratch, size_t size, Tokens *out)
{
    Symbol *symbols = scratch->symbols;
    size_t count = 0;
    for (uint32_t i = 0; i < size; i++) {
        symbols[i].id = scratch->ids[i];
        symbols[i].previous = i ? i - 1 : NO_SYMBOL;
        symbols[i].next = i + 1 < size ? i + 1 : NO_SYMBOL;
    }
    for (uint32_t i = 0; i < size; i++)
        push_pair(t, scratch, &count, i);
    while (count) {
        HeapItem item = heap_pop(scratch->heap, &count);
        uint32_t at = (uint32_t)item.order;
        Symbol *left = &symbols[at];
        if (left->id != item.left || left->next == NO_SYMBOL ||
            symbols[left->next].id != item.right)
            continue;
        Symbol *right = &symbols[left->next];
        int32_t result = t->rank_results[item.order >> 32];
        left->id = result >= 0 ? result : find_result(t, item.left, item.right);
        left->next = right->next;
        right->id = -1;
        if (left->next != NO_SYMBOL)
            symbols[left->next].previous = at;
        push_pair(t, scratch, &count, at);
        if (left->previous != NO_SYMBOL)
            push_pair(t, scratch, &count, left->previous);
    }
    for (uint32_t at = 0; size && at != NO_SYMBOL; at = symbols[at].next)
        tokens_add(out, plain_id(symbols[at].id));
}

static bool bytes_read(const Tokenizer *t, const uint8_t *text, size_t size, int32_t *ids,
                       Error *err)
{
    for (size_t i = 0; i < size; i++)
        if ((ids[i] = t->byte_id[text[i]]) < 0)
            return fail(err, ERR_INPUT,
                        "the tokenizer's vocabulary has no token for byte 0x%02X", text[i]);
    return true;
}

static bool read_ids(const Tokenizer *t, const uint8_t *text, size_t size, int32_t *ids,
                     size_t *count, Error *err)
{
    if (t->kind == TOKENIZER_CHARS)
        return chars_read(t, text, size, ids, count, err);
    *count = size;
    return bytes_read(t, text, size, ids, err);
}

static bool merge_uncached(const Tokenizer *t, Scratch *scratch, const uint8_t *text, size_t size,
                           Tokens *out, Error *err)
{
    int32_t whole = t->ignore_merges ? tokenizer_token_of(t, text, size) : -1;
    if (whole >= 0) {
        tokens_add(out, whole);
        return true;
    }
    size_t count = 0;
    if (size <= LINEAR_MAX) {
        int32_t ids[LINEAR_MAX];
        if (!read_ids(t, text, size, ids, &count, err))
            return false;
        count = merge_linear(t, ids, (uint32_t)count);
        for (size_t i = 0; i < count && t->whole; i++)
            ids[i] = plain_id(ids[i]);
        tokens_append(out, ids, count);
        return true;
    }
    if (!long_room(scratch, size, err) || !read_ids(t, text, size, scratch->ids, &count, err))
        return false;
    merge_long(t, scratch, count, out);
    return true;
}

/* ---- the cache ---- */

/* Two overlapping loads instead of a copy of variable length; size 1..15 into two words. */
static void load_padded(const uint8_t *text, size_t size, uint64_t *low, uint64_t *high)
{
    *low = *high = 0;
    if (size >= 8) {
        memcpy(low, text, 8);
        if (size > 8) {
            uint64_t tail;
            memcpy(&tail, text + size - 8, 8);
            *high = tail >> (8 * (16 - size));
        }
    } else if (size >= 4) {
        uint32_t head, tail;
        memcpy(&head, text, 4);
        memcpy(&tail, text + size - 4, 4);
        *low = head | (uint64_t)tail << (8 * (size - 4));
    } else {
        for (size_t i = 0; i < size; i++)
            *low |= (uint64_t)text[i] << (8 * i);
    }
}

static uint64_t load_key(const uint8_t *text, size_t size, uint64_t key[4])
{
    key[2] = key[3] = 0;
    if (size >= 16) {
        memcpy(key, text, 16);
        load_padded(text + 16, size - 16, &key[2], &key[3]);
    } else {
        load_padded(text, size, &key[0], &key[1]);
    }
    key[3] |= (uint64_t)size << 56;
    uint64_t hash = key[0] * 0x9e3779b97f4a7c15u ^ key[1] * 0xc2b2ae3d27d4eb4fu ^
                    key[2] * 0x165667b19e3779f9u ^ key[3] * 0xd6e8feb86659fd93u;
    hash ^= hash >> 32;
    hash *= 0x9e3779b97f4a7c15u;
    return hash >> 32;
}

bool merge_piece(const Tokenizer *t, Scratch *scratch, const uint8_t *text, size_t size,
                 Tokens *out, Error *err)
{
    if (size > CACHED_BYTES_MAX)
        return merge_uncached(t, scratch, text, size, out, err);
    uint64_t key[4];
    CachedPiece *place = &scratch->cache[load_key(text, size, key) & (CACHE_PIECES - 1)];
    if (place->count && place->key[0] == key[0] && place->key[1] == key[1] &&
        place->key[2] == key[2] && place->key[3] == key[3]) {
        if (!out->failed && out->room - out->count >= CACHED_IDS_MAX) {
            /* The usual case copies all places at once, of which `count` matter. */
            memcpy(out->ids + out->count, place->ids, sizeof place->ids);
            out->count += (size_t)place->count;
        } else {
            tokens_append(out, place->ids, (size_t)place->count);
        }
        return true;
    }
    size_t before = out->count;
    if (!merge_uncached(t, scratch, text, size, out, err))
        return false;
    size_t count = out->count - before;
    if (!out->failed && count <= CACHED_IDS_MAX) {
        memcpy(place->key, key, sizeof key);
        memcpy(place->ids, out->ids + before, count * sizeof *place->ids);
        place->count = (int32_t)count;
    }
    return true;
}
