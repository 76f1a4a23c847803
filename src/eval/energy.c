/* energy.c: see energy.h. */
#include "eval/energy.h"

#include "base/fs.h"

#include <stdio.h>
#include <stdlib.h>

static bool read_number(const char *folder, uint32_t package, const char *file, uint64_t *out)
{
    char path[512];
    Error err;
    auto_buf Buf text;
    buf_init(&text, 64);
    snprintf(path, sizeof path, "%s/intel-rapl:%u/%s", folder, package, file);
    if (!fs_exists(path) || !fs_read(path, &text, &err) || text.size == 0)
        return false;
    char *end;
    *out = strtoull(text.data, &end, 10);
    return end != text.data;
}

void energy_start(Energy *energy, const char *folder)
{
    *energy = (Energy){0};
    snprintf(energy->folder, sizeof energy->folder, "%s", folder ? folder : ENERGY_FOLDER);
    while (energy->packages < ENERGY_PACKAGES_MAX &&
           read_number(energy->folder, energy->packages, "energy_uj",
                       &energy->last[energy->packages]) &&
           read_number(energy->folder, energy->packages, "max_energy_range_uj",
                       &energy->range[energy->packages]))
        energy->packages++;
}

double energy_read(Energy *energy)
{
    for (uint32_t p = 0; p < energy->packages; p++) {
        uint64_t now;
        if (!read_number(energy->folder, p, "energy_uj", &now)) {
            *energy = (Energy){0}; /* a sum that lacks a part would be a lie */
            return 0;
        }
        uint64_t used = now >= energy->last[p] ? now - energy->last[p]
                        : energy->range[p] >= energy->last[p]
                            ? energy->range[p] - energy->last[p] + now
                            : 0;
        energy->joules += (double)used / 1e6;
        energy->last[p] = now;
    }
    return energy->joules;
}
