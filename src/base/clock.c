/* clock.c: see clock.h. */
#include "base/clock.h"

#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

double clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int64_t clock_unix(void)
{
    return (int64_t)time(NULL);
}

void clock_iso(int64_t unix_seconds, char out[21])
{
    time_t when = (time_t)unix_seconds;
    struct tm parts;
    if (!gmtime_r(&when, &parts) || !strftime(out, 21, "%Y-%m-%dT%H:%M:%SZ", &parts))
        snprintf(out, 21, "1970-01-01T00:00:00Z");
}

uint64_t clock_peak_bytes(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}
