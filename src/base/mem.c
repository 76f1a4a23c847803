/* mem.c: see mem.h. */
#include "base/mem.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Atomic uint64_t allocations;
static _Atomic int64_t fail_countdown = -1;

static bool may_allocate(void)
{
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) < 0)
        return true;
    return atomic_fetch_sub(&fail_countdown, 1) != 0;
}

void *mem_alloc(size_t count, size_t size)
{
    if (!may_allocate())
        return NULL;
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    return calloc(total ? total : 1, 1);
}

void *mem_resize(void *block, size_t count, size_t size)
{
    if (!may_allocate())
        return NULL;
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    return realloc(block, total ? total : 1);
}

void *mem_alloc_aligned(size_t size, size_t align)
{
    if (!may_allocate())
        return NULL;
    const size_t huge = (size_t)2 << 20;
    if (size >= 2 * huge && align < huge)
        align = huge;
    void *block = NULL;
    if (size > SIZE_MAX - align || posix_memalign(&block, align, size ? size : align))
        return NULL;
    if (size >= 2 * huge)
        (void)madvise(block, size, MADV_HUGEPAGE); /* advice only: a refusal costs speed alone */
    return block;
}

void mem_free(void *block)
{
    free(block);
}

char *mem_copy_text(const char *text, size_t length)
{
    char *copy = length < SIZE_MAX ? mem_alloc(length + 1, 1) : NULL;
    if (copy && length)
        memcpy(copy, text, length);
    return copy;
}

uint64_t mem_count(void)
{
    return atomic_load_explicit(&allocations, memory_order_relaxed);
}

void mem_fail_after(int64_t count)
{
    atomic_store(&fail_countdown, count);
}

void mem_free_cleanup(void *pointer_to_block)
{
    void *block;
    memcpy(&block, pointer_to_block, sizeof block);
    mem_free(block);
}

/* ---- arena ---- */

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_PIECES 1
#else
#define ARENA_PIECES 0
#endif

enum { ARENA_ALIGN = 16, ARENA_BLOCK_BYTES = 1 << 16 };

struct ArenaBlock {
    ArenaBlock *next;
    size_t used, size;
    max_align_t bytes[];
};

void arena_init(Arena *arena, size_t limit_bytes)
{
    *arena = (Arena){.limit = limit_bytes};
}

static ArenaBlock *arena_block_new(Arena *arena, size_t size)
{
    size_t want = !ARENA_PIECES && size < ARENA_BLOCK_BYTES ? ARENA_BLOCK_BYTES : size;
    if (want > SIZE_MAX - sizeof(ArenaBlock))
        return NULL;
    ArenaBlock *block = mem_alloc(1, sizeof *block + want);
    if (!block)
        return NULL;
    block->size = want;
    block->next = arena->blocks;
    arena->blocks = block;
    return block;
}

void *arena_alloc(Arena *arena, size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total) || total > arena->limit ||
        arena->used > arena->limit - total)
        return NULL;
    size_t rounded = (total + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    ArenaBlock *block = arena->blocks;
    if (ARENA_PIECES || !block || block->size - block->used < rounded)
        block = arena_block_new(arena, ARENA_PIECES ? total + 1 : rounded);
    if (!block)
        return NULL;
    void *piece = (char *)block->bytes + block->used;
    block->used += ARENA_PIECES ? total : rounded;
    arena->used += total;
    return piece;
}

char *arena_copy_text(Arena *arena, const char *text, size_t length)
{
    char *copy = length < SIZE_MAX ? arena_alloc(arena, length + 1, 1) : NULL;
    if (copy && length)
        memcpy(copy, text, length);
    return copy;
}

char *arena_format(Arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    char *text = length < 0 ? NULL : arena_alloc(arena, (size_t)length + 1, 1);
    if (text)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}

void arena_done(Arena *arena)
{
    for (ArenaBlock *block = arena->blocks, *next; block; block = next) {
        next = block->next;
        mem_free(block);
    }
    *arena = (Arena){.limit = arena->limit};
}
