/* clock.h: time. Threads: any. */
#pragma once
#include <stdint.h>

double clock_seconds(void);       /* monotonic, for durations */
int64_t clock_unix(void);         /* seconds since 1970, for records */
void clock_iso(int64_t unix_seconds, char out[21]); /* "2026-01-31T12:00:00Z" */
uint64_t clock_peak_bytes(void);  /* largest resident size of this process so far */
