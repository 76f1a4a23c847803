/* error.c: see error.h. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const ErrInfo error_rows[ERR_COUNT] = {
    [ERR_NONE] = {"none", 200, 0},
    [ERR_INPUT] = {"input", 400, 2},
    [ERR_FORMAT] = {"format", 400, 3},
    [ERR_NOT_FOUND] = {"not_found", 404, 4},
    [ERR_CONFLICT] = {"conflict", 409, 5},
    [ERR_DENIED] = {"denied", 401, 6},
    [ERR_LIMIT] = {"limit", 413, 7},
    [ERR_MEMORY] = {"memory", 503, 8},
    [ERR_IO] = {"io", 500, 9},
    [ERR_DEVICE] = {"device", 500, 10},
    [ERR_CANCELLED] = {"cancelled", 499, 11},
    [ERR_DIVERGED] = {"diverged", 500, 12},
    [ERR_INTERNAL] = {"internal", 500, 70},
};

bool fail(Error *err, ErrCode code, const char *format, ...)
{
    if (!err)
        return false;
    err->code = code;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return false;
}

bool fail_within(Error *err, const char *format, ...)
{
    if (!err)
        return false;
    char prefix[sizeof err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    char old[sizeof err->text];
    memcpy(old, err->text, sizeof old);
    size_t used = strlen(prefix);
    size_t room = sizeof err->text - 1;
    if (used + 2 >= room)
        return false;
    memcpy(err->text, prefix, used);
    memcpy(err->text + used, ": ", 2);
    size_t tail = strnlen(old, sizeof old - 1);
    if (tail > room - used - 2)
        tail = room - used - 2;
    memcpy(err->text + used + 2, old, tail);
    err->text[used + 2 + tail] = 0;
    return false;
}

const ErrInfo *error_info(ErrCode code)
{
    return &error_rows[(unsigned)code < ERR_COUNT ? code : ERR_INTERNAL];
}
