/* suggest.h: the "did you mean" of every message about an unknown name. Threads: any. */
#pragma once
#include <stddef.h>

/* Of `count` names (NULL entries are passed over), the one fewest single-letter edits (insert,
 * drop, replace, swap neighbours) away from `word`, if within a third of its letters; else the
 * first of which one contains the other ("learning_rate" for "rate"). NULL: none is alike, or the
 * word is over 64 bytes. Ties go to the first. */
const char *suggest_nearest(const char *word, const char *const *names, size_t count);
