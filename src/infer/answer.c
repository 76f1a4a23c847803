/* answer.c: see answer.h. */
#include "infer/answer.h"

#include <string.h>

enum { TEXT_BYTES_MAX = 1 << 20 };

bool answer_init(Answer *a, const char *const *stop, uint32_t stop_count, Error *err)
{
    memset(a, 0, sizeof *a);
    if (stop_count > ANSWER_STOPS_MAX)
        return fail(err, ERR_INPUT, "%u stop texts given, %d is the most", stop_count,
                    ANSWER_STOPS_MAX);
    for (uint32_t i = 0; i < stop_count; i++) {
        size_t length = strlen(stop[i]);
        if (length == 0 || length > ANSWER_STOP_BYTES_MAX)
            return fail(err, ERR_INPUT, "stop text %u has %zu bytes; 1 to %d are allowed", i + 1,
                        length, ANSWER_STOP_BYTES_MAX);
        memcpy(a->stop[i], stop[i], length);
    }
    a->stop_count = stop_count;
    detok_init(&a->detok);
    buf_init(&a->held, TEXT_BYTES_MAX);
    buf_init(&a->shown, TEXT_BYTES_MAX);
    if (buf_reserve(&a->held, 4096) && buf_reserve(&a->shown, 4096))
        return true;
    answer_done(a);
    return fail(err, ERR_MEMORY, "no memory for an answer");
}

void answer_done(Answer *a)
{
    buf_done(&a->held);
    buf_done(&a->shown);
}

/* Offset of the earliest stop text in the held text, or its size. */
static size_t find_stop(const Answer *a)
{
    size_t first = a->held.size;
    for (uint32_t i = 0; i < a->stop_count; i++) {
        const char *at = a->held.size ? memmem(a->held.data, a->held.size, a->stop[i],
                                               strlen(a->stop[i]))
                                      : NULL;
        if (at && (size_t)(at - a->held.data) < first)
            first = (size_t)(at - a->held.data);
    }
    return first;
}

/* Length of the longest end of the held text that begins a stop text. */
static size_t possible_stop(const Answer *a)
{
    size_t longest = 0;
    for (uint32_t i = 0; i < a->stop_count; i++) {
        size_t length = strlen(a->stop[i]) - 1;
        length = length < a->held.size ? length : a->held.size;
        for (; length > longest; length--) {
            if (memcmp(a->held.data + a->held.size - length, a->stop[i], length) == 0)
                longest = length;
        }
    }
    return longest;
}

static void release(Answer *a, size_t bytes)
{
    buf_reset(&a->shown);
    buf_add(&a->shown, a->held.data, bytes);
    size_t rest = a->held.size - bytes;
    memmove(a->held.data, a->held.data + bytes, rest);
    a->held.size = rest;
    a->held.data[rest] = 0;
}

bool answer_add(Answer *a, const char *bytes, size_t size)
{
    detok_add(&a->detok, bytes, size, &a->held);
    size_t stop = find_stop(a);
    bool met = stop < a->held.size;
    release(a, met ? stop : a->held.size - possible_stop(a));
    return met;
}

void answer_flush(Answer *a)
{
    detok_end(&a->detok, &a->held);
    release(a, a->held.size);
}
