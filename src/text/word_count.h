/* word_count.h: how often each pre-token stands in a set of documents; first half of training.
 *
 * Words are the pieces of GPT-2's pattern, with every byte that is not UTF-8 as a word alone. The
 * counts do not depend on the number of threads; the order of the words does.
 */
#pragma once
#include "base/pool.h"

#include <stddef.h>

typedef struct {
    size_t start;    /* in WordCounts.bytes */
    uint32_t size;
    uint64_t count;  /* 0: an empty place */
    uint64_t hash;
} Word;

/* An open table of words; at most half full. */
typedef struct {
    Word *places;
    uint64_t mask, used;
    char *bytes;
    size_t bytes_used, bytes_room;
} WordCounts;

bool word_counts_make(WordCounts *out, Pool *pool, size_t count,
                      void (*each)(void *user, size_t i, const char **text, size_t *size),
                      void *user, Error *err) MUST_CHECK;
void word_counts_done(WordCounts *counts);
