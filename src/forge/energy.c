/* energy.c: what the machine says it has used, from the kernel's RAPL counters. */
#include "forge/mainjob_state.h"

#include "base/fs.h"

#include <stdio.h>
#include <stdlib.h>

/* Package domains are intel-rapl:0, :1, ... (AMD's too). Unreadable ones are left out: on most
 * machines only root may read them, and virtual machines have none. */
double energy_joules(void)
{
    double joules = 0;
    for (int package = 0; package < 8; package++) {
        char path[80];
        auto_buf Buf text;
        Error err;
        buf_init(&text, 64);
        snprintf(path, sizeof path, "/sys/class/powercap/intel-rapl:%d/energy_uj", package);
        if (fs_exists(path) && fs_read(path, &text, &err))
            joules += strtod(text.data, NULL) * 1e-6;
    }
    return joules;
}
