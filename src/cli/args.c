/* args.c: see args.h. */
#include "cli/args.h"

#include "format/suggest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const ArgOption *find(const ArgOption *options, uint32_t count, const char *name,
                             size_t length)
{
    for (uint32_t i = 0; i < count; i++) {
        if (strlen(options[i].name) == length && strncmp(options[i].name, name, length) == 0)
            return &options[i];
    }
    return NULL;
}

static bool unknown(const ArgOption *options, uint32_t count, const char *name, size_t length,
                    Error *err)
{
    const char *names[64] = {0};
    for (uint32_t i = 0; i < count && i < 63; i++)
        names[i] = options[i].name;
    char word[64] = {0};
    memcpy(word, name, length < sizeof word - 1 ? length : sizeof word - 1);
    const char *near = suggest_nearest(word, names, count < 63 ? count : 63);
    if (near)
        return fail(err, ERR_INPUT, "unknown option --%s (did you mean --%s?)", word, near);
    return fail(err, ERR_INPUT, "unknown option --%s; --help lists them", word);
}

static bool set_number(const ArgOption *option, const char *value, Error *err)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    uint64_t most = option->type == ARG_U32 ? UINT32_MAX : UINT64_MAX;
    if (*value < '0' || *value > '9' || *end || errno || number > most)
        return fail(err, ERR_INPUT, "--%s must be a whole number from 0 to %llu, is '%.40s'",
                    option->name, (unsigned long long)most, value);
    if (option->type == ARG_U32)
        *(uint32_t *)option->out = (uint32_t)number;
    else
        *(uint64_t *)option->out = number;
    return true;
}

/* Reads one option at argv[*i]; moves *i over its value. */
static bool take(int argc, char **argv, int *i, const ArgOption *options, uint32_t count,
                 Error *err)
{
    const char *name = argv[*i] + 2;
    size_t length = strcspn(name, "=");
    const ArgOption *option = find(options, count, name, length);
    if (!option)
        return unknown(options, count, name, length, err);
    if (option->type == ARG_FLAG) {
        if (name[length])
            return fail(err, ERR_INPUT, "--%s takes no value", option->name);
        *(bool *)option->out = true;
        return true;
    }
    if (!name[length] && *i + 1 >= argc)
        return fail(err, ERR_INPUT, "--%s needs a value", option->name);
    const char *value = name[length] ? name + length + 1 : argv[++*i];
    if (option->type != ARG_TEXT)
        return set_number(option, value, err);
    *(const char **)option->out = value;
    return true;
}

bool args_parse(int argc, char **argv, const ArgOption *options, uint32_t count,
                const char **words, uint32_t room, uint32_t *found, Error *err)
{
    bool plain = false;
    *found = 0;
    for (int i = 1; i < argc; i++) {
        if (!plain && strcmp(argv[i], "--") == 0) {
            plain = true;
        } else if (!plain && strncmp(argv[i], "--", 2) == 0) {
            if (!take(argc, argv, &i, options, count, err))
                return false;
        } else if (*found == room) {
            return fail(err, ERR_INPUT, "'%.80s' is one word too many; --help shows the form",
                        argv[i]);
        } else {
            words[(*found)++] = argv[i];
        }
    }
    return true;
}
