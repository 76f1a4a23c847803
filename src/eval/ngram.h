/* ngram.h: what a model of plain text must beat: counts of bytes after the bytes before them.
 *
 * The probability of a byte after its last k bytes mixes orders by Witten and Bell (1991):
 *   P_k(b) = (n(context, b) + t(context) P_{k-1}(b)) / (n(context) + t(context))
 * where n counts and t is the number of different bytes seen after the context; below order 0 all
 * 256 bytes are alike. Order 0 is the unigram baseline. Counts come from the training text only.
 *
 * Memory: 16 bytes per (context, byte) seen, at most NGRAM_ENTRIES_MAX of them; once that is full,
 * new ones are not learnt any more and `is_full` says so. Threads: read-only after training.
 */
#pragma once
#include "base/error.h"

#include <stdint.h>

enum { NGRAM_ORDER_MAX = 8, NGRAM_ENTRIES_MAX = 1 << 24 };

typedef struct Ngram Ngram;

bool ngram_new(Ngram **out, uint32_t order, Error *err) MUST_CHECK;
void ngram_free(Ngram *ngram); /* NULL is a no-op */

/* Counts one text; contexts do not reach into the text before it. */
bool ngram_train(Ngram *ngram, const void *bytes, size_t size, Error *err) MUST_CHECK;
bool ngram_is_full(const Ngram *ngram);

/* Bits this model needs for the text, of the given order (at most the one it was made with). */
double ngram_bits(const Ngram *ngram, uint32_t order, const void *bytes, size_t size);
