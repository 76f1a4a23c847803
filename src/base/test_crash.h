/* test_crash.h: runs a piece of work in a child that crashes at a chosen system call (fs.h). For
 * tests only. */
#pragma once
#include "base/fs.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Makes a folder to crash in: in memory where there is such a file system, since thousands of real
 * syncs would take minutes and prove no more. */
static inline bool crash_folder(char out[64])
{
    snprintf(out, 64, "%s/bastide-crash-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    return mkdtemp(out) != NULL;
}

/* Runs work(context) in a forked child with a crash armed after `calls` calls. CRASH_STATUS: it
 * crashed, there or, when `at_end`, having come to its end; 0: it came to its end; else the test
 * itself is broken. */
enum { CRASH_STATUS = 137 };
static inline int crash_during(void (*work)(void *), void *context, int64_t calls, FsCrash how,
                                bool at_end)
{
    pid_t child = fork();
    if (child == 0) {
        fs_simulate_crash(calls, how);
        work(context);
        if (at_end) {
            fs_simulate_crash(0, how);
            Error ignored;
            if (!fs_remove("/nonexistent", &ignored)) /* any counted call */
                _exit(1);
        }
        _exit(0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}
