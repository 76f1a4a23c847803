/* energy.h: joules that the processor says it used, where the kernel lets us read them (Intel and
 * AMD, /sys/class/powercap/intel-rapl:N). Packages only: what is inside them is not added twice.
 * It counts all processes of the machine, so a figure is honest only on a quiet one. The counters
 * wrap within minutes to hours: energy_read often enough (every minute) keeps the sum right. */
#pragma once
#include "base/error.h"

#include <stdint.h>

enum { ENERGY_PACKAGES_MAX = 16 };
#define ENERGY_FOLDER "/sys/class/powercap"

typedef struct {
    char folder[256];
    uint32_t packages;
    uint64_t last[ENERGY_PACKAGES_MAX], range[ENERGY_PACKAGES_MAX]; /* microjoules */
    double joules;
} Energy;

/* Never fails: where nothing can be read, packages is 0 and the joules stay 0. folder NULL:
 * ENERGY_FOLDER. */
void energy_start(Energy *energy, const char *folder);
double energy_read(Energy *energy); /* joules since energy_start; 0: the machine does not tell */
