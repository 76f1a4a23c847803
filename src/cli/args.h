/* args.h: the words of a command line, by a table of options.
 * Forms: --name VALUE, --name=VALUE, --flag; "--" ends options. An unknown option is an error that
 * names the nearest known one. Threads: one.
 */
#pragma once
#include "base/error.h"

#include <stdint.h>

typedef enum { ARG_FLAG, ARG_TEXT, ARG_U32, ARG_U64 } ArgType;
typedef struct {
    const char *name; /* without the dashes */
    ArgType type;
    void *out; /* bool, const char *, uint32_t, uint64_t */
    const char *value, *meaning; /* for the help: "PATH", "where ..." */
} ArgOption;

/* words[] gets the others, at most `room` of them; argv[0] is the command's name. */
bool args_parse(int argc, char **argv, const ArgOption *options, uint32_t count,
                const char **words, uint32_t room, uint32_t *found, Error *err) MUST_CHECK;
