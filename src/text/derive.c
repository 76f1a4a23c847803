/* derive.c: the merges of a vocabulary that has ranks or scores in place of merges.
 *
 * SentencePiece and tiktoken merge two neighbours when their texts joined are a token, the best
 * ranked token first, the leftmost of equals. Every way to cut a token into two tokens is therefore
 * a merge with the token's rank. They are found here once, so that merging needs no texts.
 */
#include "base/mem.h"
#include "text/tokenizer_model.h"
#include "text/utf8.h"

#include <stdlib.h>

/* Hashed bytes in all: what it takes for a token of n bytes is about n * n. */
enum { WORK_MAX = 1 << 30 };

typedef struct {
    Tokenizer *t;
    uint32_t room;
    uint64_t work;
} Deriving;

static bool add_merge(Deriving *d, Merge merge, Error *err)
{
    Tokenizer *t = d->t;
    if (t->merge_count == d->room) {
        uint32_t room = d->room ? d->room * 2 : 1 << 12;
        if (room > TOKENIZER_MERGES_MAX)
            return fail(err, ERR_LIMIT, "the tokens can be merged in more than %d ways",
                        TOKENIZER_MERGES_MAX);
        Merge *merges = mem_resize(t->merges, room, sizeof *merges);
        if (!merges)
            return fail(err, ERR_MEMORY, "no memory for the merges of a tokenizer");
        t->merges = merges;
        d->room = room;
    }
    t->merges[t->merge_count++] = merge;
    return true;
}

static bool derive_one(Deriving *d, int32_t id, uint32_t rank, Error *err)
{
    Tokenizer *t = d->t;
    const uint8_t *key = key_of(t, id);
    size_t size = t->keys[id].size, step;
    d->work += (uint64_t)size * size;
    if (d->work > WORK_MAX)
        return fail(err, ERR_LIMIT, "the tokens are too long to find their merges");
    for (size_t at = 0; at < size; at += step) {
        step = t->kind == TOKENIZER_BYTES ? 1 : utf8_length(key[at]);
        int32_t left = at ? tokenizer_token_of(t, key, at) : -1;
        int32_t right = left >= 0 ? tokenizer_token_of(t, key + at, size - at) : -1;
        if (right >= 0 && !add_merge(d, (Merge){left, right, id, rank}, err))
            return false;
    }
    return true;
}

static int by_rank(const void *a, const void *b)
{
    const Merge *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->result != y->result)
        return x->result < y->result ? -1 : 1;
    if (x->left != y->left)
        return x->left < y->left ? -1 : 1;
    return (x->right > y->right) - (x->right < y->right);
}

bool tokenizer_derive_merges(Tokenizer *t, const uint32_t *ranks, Error *err)
{
    Deriving d = {.t = t};
    for (uint32_t id = 0; id < t->vocab; id++)
        if (ranks[id] != NO_RANK && !derive_one(&d, (int32_t)id, ranks[id], err))
            return false;
    if (t->merge_count)
        qsort(t->merges, t->merge_count, sizeof *t->merges, by_rank);
    return true;
}
