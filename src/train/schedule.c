/* schedule.c: see schedule.h. */
#include "train/schedule.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

static double constant_share(const Schedule *schedule, uint64_t at, uint64_t rest)
{
    (void)schedule;
    (void)at;
    (void)rest;
    return 1.0;
}

static double linear_share(const Schedule *schedule, uint64_t at, uint64_t rest)
{
    (void)schedule;
    return (double)(rest - at) / (double)rest;
}

static double cosine_share(const Schedule *schedule, uint64_t at, uint64_t rest)
{
    (void)schedule;
    return 0.5 * (1.0 + cos(3.14159265358979323846 * (double)at / (double)rest));
}

/* Stable, then 1 - sqrt of the decay's progress: better at equal length than a linear decay
 * (Haegele et al., "Scaling laws and compute-optimal training beyond fixed training durations",
 * 2024). The stable part does not depend on `steps`, so a run can be made longer afterwards from a
 * checkpoint before the decay. */
static double wsd_share(const Schedule *schedule, uint64_t at, uint64_t rest)
{
    double wanted = round(schedule->decay_share * (double)schedule->steps);
    uint64_t decay = wanted < 1 ? 1 : wanted < (double)rest ? (uint64_t)wanted : rest;
    uint64_t stable = rest - decay;
    return at <= stable ? 1.0 : 1.0 - sqrt((double)(at - stable) / (double)decay);
}

const ScheduleRow schedule_rows[SCHEDULE_COUNT] = {
    {"constant", "the peak rate throughout", constant_share},
    {"linear", "falls in a straight line to the floor", linear_share},
    {"cosine", "falls along half a cosine to the floor", cosine_share},
    {"wsd", "stays at the peak, then decays by a square root over the last steps", wsd_share},
};

const ScheduleRow *schedule_named(const char *name)
{
    for (int i = 0; i < SCHEDULE_COUNT; i++) {
        if (strcmp(name, schedule_rows[i].name) == 0)
            return &schedule_rows[i];
    }
    return NULL;
}

double schedule_rate(const Schedule *schedule, uint64_t step)
{
    assert(schedule->floor_share >= 0 && schedule->floor_share <= 1);
    if (step < schedule->warmup)
        return schedule->peak * ((double)step / (double)schedule->warmup);
    uint64_t end = schedule->steps > schedule->warmup ? schedule->steps : schedule->warmup + 1;
    uint64_t at = (step < end ? step : end) - schedule->warmup;
    double share = schedule->row->share(schedule, at, end - schedule->warmup);
    double floor_share = schedule->floor_share;
    return schedule->peak * (floor_share + (1.0 - floor_share) * share);
}
