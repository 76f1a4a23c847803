/* error.h: how a function says that it failed.
 *
 * A fallible function returns bool (true: done) and takes `Error *err` as its last argument.
 * On false it has filled err with a code and one sentence that names the thing and the fix, and
 * its outputs are untouched. The caller owns the Error; nothing is allocated on a failing path.
 * Threads: an Error belongs to one thread; error_info() is read-only.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

typedef enum {
    ERR_NONE,
    ERR_INPUT,     /* the user's words, recipe, request or data are wrong */
    ERR_FORMAT,    /* a file or a message does not follow its format */
    ERR_NOT_FOUND, /* no such file, model, record */
    ERR_CONFLICT,  /* exists already, or is held by another process */
    ERR_DENIED,    /* not allowed: key, permission, policy */
    ERR_LIMIT,     /* over a stated limit */
    ERR_MEMORY,    /* an allocation failed */
    ERR_IO,        /* the operating system failed to read or write */
    ERR_DEVICE,    /* a backend failed */
    ERR_CANCELLED, /* stopped on request */
    ERR_DIVERGED,  /* a loss that is not a number or explodes */
    ERR_INTERNAL,  /* our bug */
    ERR_COUNT
} ErrCode;

typedef struct {
    const char *name; /* "input": stable word for programs */
    int http_status;  /* what serve/ answers */
    int exit_status;  /* what cli/ exits with */
} ErrInfo;

typedef struct {
    ErrCode code;
    char text[248];
} Error;

#define MUST_CHECK __attribute__((warn_unused_result))

/* Fills *err and returns false, so that `return fail(err, ...)` reads well. A text longer than
 * the field is cut at its end. err may be NULL. */
bool fail(Error *err, ErrCode code, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));

/* Puts "prefix: " before the text of err (cut to fit) and returns false. Code is kept. */
bool fail_within(Error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));

/* The row of a code; an unknown code gives the row of ERR_INTERNAL. */
const ErrInfo *error_info(ErrCode code);
