/* progress.h: how far a run is, as one line of text. Formatting alone: nothing is printed here.
 *
 *   [==>                  ] 120/1,000  loss 2.5312  81,234 tokens/s  41 % of peak  24 min 10 s left
 *   step 120/1,000  loss 2.5312  81,234 tokens/s  41 % of peak  3 min 20 s so far  24 min 10 s left
 *
 * The first is for a terminal: what does not fit its columns is left out, least important first.
 * The second is for logs and pipes. Neither ends in a newline. Threads: any.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROGRESS_LINE_MAX = 768, PROGRESS_TEXT_MAX = 32, PROGRESS_COLUMNS_MAX = 200 };

typedef struct {
    uint64_t step, steps;     /* done, of; steps 0: unknown */
    double loss;              /* NaN: unknown, left out; so with all below */
    double tokens_per_second;
    double peak_share;        /* of the machine's arithmetic peak, [0, 1] */
    double seconds;           /* since the start */
    double seconds_left;      /* see progress_left */
} ProgressView;

typedef struct {
    uint32_t columns; /* of the terminal; 0: the plain line. Over PROGRESS_COLUMNS_MAX: as that */
    bool utf8;        /* the bar in eighths of a cell */
    bool colour;      /* with SGR sequences, which take no columns */
} ProgressStyle;

/* Returns the bytes written, without the NUL. */
size_t progress_line(const ProgressView *view, const ProgressStyle *style,
                     char out[PROGRESS_LINE_MAX]);

/* The speed of a run, smoothed over about half a minute, from steps as they end. */
typedef struct {
    double rate, weight; /* steps per second times weight; weight grows from 0 to 1 */
    double seconds;      /* of the last call */
    uint64_t step;
} ProgressRate;

void progress_rate_init(ProgressRate *rate, uint64_t step, double seconds); /* where it starts */
void progress_rate_add(ProgressRate *rate, uint64_t step, double seconds);  /* step is done */
double progress_left(const ProgressRate *rate, uint64_t steps); /* seconds; NaN: not known yet */

/* For people; each writes to out and returns it. NaN and negative values give "?". */
char *progress_number(double value, char out[PROGRESS_TEXT_MAX]);  /* 1,234 */
char *progress_speed(double tokens_per_second, char out[PROGRESS_TEXT_MAX]); /* 1,234 tokens/s */
char *progress_seconds(double seconds, char out[PROGRESS_TEXT_MAX]); /* 3 min 20 s */
char *progress_bytes(double bytes, char out[PROGRESS_TEXT_MAX]);     /* 12.3 MiB */
