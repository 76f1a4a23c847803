/* suggest.c: see suggest.h. Edit distance with swaps (optimal string alignment), three rows. */
#include "format/suggest.h"

#include <string.h>

enum { WORD_MAX = 64 };

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t edits(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b_length; j++)
        last[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t replace = last[j - 1] + (a[i - 1] != b[j - 1]);
            now[j] = smaller(replace, smaller(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = smaller(now[j], before[j - 2] + 1);
        }
        size_t *oldest = before;
        before = last;
        last = now;
        now = oldest;
    }
    return last[b_length];
}

const char *suggest_nearest(const char *word, const char *const *names, size_t count)
{
    size_t length = strlen(word);
    if (length > WORD_MAX)
        return NULL;
    const char *best = NULL;
    size_t best_edits = (length < 3 ? 1 : length / 3) + 1; /* one past what still looks alike */
    for (size_t i = 0; i < count; i++) {
        size_t name_length = names[i] ? strlen(names[i]) : WORD_MAX + 1;
        if (name_length > WORD_MAX)
            continue;
        size_t distance = edits(word, length, names[i], name_length);
        if (distance < best_edits) {
            best = names[i];
            best_edits = distance;
        }
    }
    for (size_t i = 0; !best && length >= 3 && i < count; i++) {
        if (names[i] && strlen(names[i]) >= 3 && (strstr(word, names[i]) || strstr(names[i], word)))
            best = names[i];
    }
    return best;
}
