/* test.h: what every unit test includes: cmocka with the headers it needs, and helpers that print
 * what was expected and what came. Tests only; product code never includes this. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* cmocka's macro `fail` takes the name of ours: it gives way, and fail_test replaces fail_msg. */
#undef fail
#undef fail_msg
#define fail_test(...) (print_error("ERROR: " __VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))
#include "base/error.h"

/* The call must succeed; its sentence is printed when it does not. Needs `Error err` in scope. */
#define assert_ok(call)                                                                            \
    do {                                                                                           \
        err.text[0] = 0;                                                                           \
        if (!(call))                                                                               \
            fail_test("%s failed: %s", #call, err.text);                                            \
    } while (0)

/* The call must fail with this code and a sentence that contains `words`. */
#define assert_fails(call, want_code, words)                                                       \
    do {                                                                                           \
        err = (Error){0};                                                                          \
        if (call)                                                                                  \
            fail_test("%s succeeded, %s expected", #call, #want_code);                              \
        if (err.code != (want_code) || !strstr(err.text, words))                                   \
            fail_test("%s: expected %s with \"%s\", got code %d \"%s\"", #call, #want_code, words,  \
                      (int)err.code, err.text);                                                     \
    } while (0)

/* |got - want| <= bound, both printed. */
#define assert_near(got, want, bound)                                                              \
    do {                                                                                           \
        double got_ = (got), want_ = (want), bound_ = (bound);                                     \
        if (!(got_ - want_ <= bound_ && want_ - got_ <= bound_))                                   \
            fail_test("%s = %.9g, expected %.9g within %.3g", #got, got_, want_, bound_);           \
    } while (0)
