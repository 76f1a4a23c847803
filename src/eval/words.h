/* words.h: the sentences of a report, and numbers as people read them. */
#pragma once
#include "eval/report.h"

enum { WORDS_NUMBER_BYTES = 40 };

/* All write into out and return it; a number and its unit are joined by a no-break space. */
const char *words_count(uint64_t number, char out[WORDS_NUMBER_BYTES]);    /* "63,666" */
const char *words_percent(double share, char out[WORDS_NUMBER_BYTES]);     /* "84.1 %" */
const char *words_interval(Interval share, char out[WORDS_NUMBER_BYTES]);  /* "[83.0, 85.1]" */
const char *words_seconds(double seconds, char out[WORDS_NUMBER_BYTES]);   /* "0.8 s", "4.2 min" */

const char *words_records(const EvalReport *report); /* its noun, or "records" */
const char *words_label(const EvalReport *report);   /* its noun, or "class" */

/* One sentence: what was measured. NULL: no memory. */
const char *words_sentence(Arena *arena, const EvalReport *report, const EvalFigures *figures);
/* One sentence: what follows from it. NULL: no memory. */
const char *words_judgement(Arena *arena, const EvalReport *report, const EvalFigures *figures);
