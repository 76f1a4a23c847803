/* schedule.h: the learning rate as a pure function of the step.
 *
 * Steps count from 0, as torch's LambdaLR does: rate(s) is that of the update made after s updates.
 * Warm-up is the same for all: peak * s / warmup for s < warmup. Behind it a row of the table gives
 * a share in [0, 1], 1 at its start; the floor lifts that to floor + (1 - floor) * share. From
 * `steps` on the rate stays what the row ends with.
 * Threads: any.
 */
#pragma once
#include <stdint.h>

typedef struct Schedule Schedule;

typedef struct {
    const char *name;    /* as recipes write it */
    const char *meaning; /* one sentence for the documentation */
    /* Share of the peak at step `at` in [0, rest] behind the warm-up; rest >= 1. */
    double (*share)(const Schedule *schedule, uint64_t at, uint64_t rest);
} ScheduleRow;

struct Schedule {
    const ScheduleRow *row;
    double peak;          /* largest rate */
    uint64_t steps;       /* updates of the whole run, warm-up included */
    uint64_t warmup;      /* of them; 0: none. Beyond steps: the run ends in the warm-up */
    double floor_share;   /* [0, 1]: of the peak, never less behind the warm-up; 0: down to zero */
    double decay_share;   /* wsd: (0, 1], share of all steps that decay; the last ones */
};

enum { SCHEDULE_COUNT = 4 };
extern const ScheduleRow schedule_rows[SCHEDULE_COUNT];

const ScheduleRow *schedule_named(const char *name); /* NULL: unknown */

double schedule_rate(const Schedule *schedule, uint64_t step);
