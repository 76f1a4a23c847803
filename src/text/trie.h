/* trie.h: a set of byte strings, each with a value, walked byte by byte.
 *
 * Room for all is asked for at the start, so that adding cannot fail halfway. Children are found in
 * one hash table by (node, byte): a step costs one look on average, whatever the strings are.
 * Threads: adding belongs to one thread; after it everything is read-only.
 */
#pragma once
#include "base/error.h"

#include <stdint.h>

enum { TRIE_BYTES_MAX = 1 << 23, TRIE_ROOT = 0 };
#define TRIE_NONE UINT32_MAX

typedef struct Trie Trie;

/* For strings of `bytes` bytes together (ERR_LIMIT beyond TRIE_BYTES_MAX). */
bool trie_new(Trie **out, size_t bytes, Error *err) MUST_CHECK;
void trie_free(Trie *trie); /* NULL is a no-op */
/* value >= 0. A string added twice keeps its first value. */
void trie_add(Trie *trie, const uint8_t *text, size_t size, int32_t value);
/* The node one byte further, or TRIE_NONE. */
uint32_t trie_step(const Trie *trie, uint32_t node, uint8_t byte);
int32_t trie_value(const Trie *trie, uint32_t node); /* -1: no string ends here */
/* Bytes of the longest string that begins text, and its value; 0: none does. */
size_t trie_longest(const Trie *trie, const uint8_t *text, size_t size, int32_t *value);
