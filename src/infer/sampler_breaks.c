/* sampler_breaks.c: see sampler_breaks.h. */
#include "infer/sampler_breaks.h"

#include <string.h>

bool breaks_init(SamplerBreaks *b, const char *const *texts, uint32_t count, Error *err)
{
    *b = (SamplerBreaks){.count = count};
    if (count > SAMPLER_BREAKERS_MAX)
        return fail(err, ERR_INPUT, "%u sequence breakers given, %d is the most", count,
                    SAMPLER_BREAKERS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        size_t size = strlen(texts[i]);
        if (size == 0 || size > SAMPLER_BREAKER_BYTES_MAX)
            return fail(err, ERR_INPUT, "sequence breaker %u has %zu bytes; 1 to %d are allowed",
                        i + 1, size, SAMPLER_BREAKER_BYTES_MAX);
        memcpy(b->text[i], texts[i], size);
        b->size[i] = (uint32_t)size;
    }
    return true;
}

/* Does text[size] begin in the tail and end in the bytes? */
static bool straddles(const SamplerBreaks *b, const char *text, uint32_t size, const char *bytes,
                      size_t count)
{
    for (uint32_t before = 1; before < size && before <= b->tail_size; before++) {
        if (size - before <= count &&
            memcmp(b->tail + b->tail_size - before, text, before) == 0 &&
            memcmp(bytes, text + before, size - before) == 0)
            return true;
    }
    return false;
}

static void keep_tail(SamplerBreaks *b, const char *bytes, size_t size)
{
    size_t room = sizeof b->tail;
    if (size >= room) {
        memcpy(b->tail, bytes + size - room, room);
        b->tail_size = (uint32_t)room;
        return;
    }
    size_t kept = b->tail_size < room - size ? b->tail_size : room - size;
    memmove(b->tail, b->tail + b->tail_size - kept, kept);
    memcpy(b->tail + kept, bytes, size);
    b->tail_size = (uint32_t)(kept + size);
}

bool breaks_add(SamplerBreaks *b, const char *bytes, size_t size)
{
    bool found = false;
    if (size == 0)
        return false;
    for (uint32_t i = 0; i < b->count && !found; i++)
        found = memmem(bytes, size, b->text[i], b->size[i]) ||
                straddles(b, b->text[i], b->size[i], bytes, size);
    keep_tail(b, bytes, size);
    return found;
}
