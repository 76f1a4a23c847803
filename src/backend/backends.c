/* backends.c: the list of backends. */
#include "backend/backend.h"

#include <string.h>

const Backend *const backends[] = {&backend_ref, &backend_cpu, NULL};

const Backend *backend_named(const char *name)
{
    for (uint32_t i = 0; backends[i]; i++) {
        if (strcmp(backends[i]->name, name) == 0)
            return backends[i];
    }
    return NULL;
}
