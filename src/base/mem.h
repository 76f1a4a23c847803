/* mem.h: every heap allocation of the project goes through here.
 *
 * Three lifetimes exist and no other: the process, a job or request (Arena), a call (auto_free).
 * Tests count allocations (a hot path makes none) and make the n-th one fail.
 * Threads: all functions may be called from any thread.
 */
#pragma once
#include "base/error.h"

#include <stdint.h>

/* Zeroed memory for count items of size bytes, or NULL (also on overflow). count*size 0 gives a
 * valid pointer. Release with mem_free. */
void *mem_alloc(size_t count, size_t size) __attribute__((malloc, warn_unused_result));

/* As realloc; new bytes are not zeroed; NULL leaves the old block alive. */
void *mem_resize(void *block, size_t count, size_t size) MUST_CHECK;

/* Memory aligned to `align` (a power of two), not zeroed; huge pages are asked for when large. */
void *mem_alloc_aligned(size_t size, size_t align) __attribute__((malloc, warn_unused_result));

void mem_free(void *block); /* NULL is a no-op; takes blocks of all three functions above */

/* NUL-terminated; NULL: no memory. */
char *mem_copy_text(const char *text, size_t length) MUST_CHECK;

uint64_t mem_count(void);           /* allocations so far, process wide */
void mem_fail_after(int64_t count); /* tests: let `count` succeed, then fail one; < 0: never */

/* auto_free char *p = ...; is released at the end of the scope. */
void mem_free_cleanup(void *pointer_to_block);
#define auto_free __attribute__((cleanup(mem_free_cleanup)))

/* Arena: memory with one end. Pieces are never released singly.
 * Under AddressSanitizer every piece is a malloc of its own, so that overruns are seen. */
typedef struct ArenaBlock ArenaBlock;
typedef struct {
    ArenaBlock *blocks;
    size_t used, limit; /* bytes handed out; most bytes ever */
} Arena;

void arena_init(Arena *arena, size_t limit_bytes);
/* Zeroed. NULL: over the limit, or no memory. */
void *arena_alloc(Arena *arena, size_t count, size_t size) MUST_CHECK;
char *arena_copy_text(Arena *arena, const char *text, size_t length) MUST_CHECK;
char *arena_format(Arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3), warn_unused_result));
void arena_done(Arena *arena); /* releases everything; the arena can be init-ed again */
