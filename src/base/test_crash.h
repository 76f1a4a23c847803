/* test_crash.h: runs a piece of work in a child that crashes at a chosen system call (fs.h). Tests
 * only. */
#pragma once
#include "base/fs.h"
#include "base/test.h"

#include <sys/wait.h>
#include <unistd.h>

/* Makes a folder to crash in: in memory where there is such a file system, since thousands of real
 * syncs would take minutes and prove no more. */
static inline bool crash_folder(char out[64])
{
    strcpy(out, access("/dev/shm", W_OK) == 0 ? "/dev/shm/bastide-crash-XXXXXX"
                                              : "/tmp/bastide-crash-XXXXXX");
    return mkdtemp(out) != NULL;
}

/* Runs work(context) in a forked child with a crash armed after `calls` calls. True: it crashed;
 * false: it came to its end first, and then, when `at_end`, crashed there. */
static inline bool crash_during(void (*work)(void *), void *context, int64_t calls, FsCrash how,
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
        fail_test("the child did not exit: status %d", status);
    int code = WEXITSTATUS(status);
    if (code != 0 && code != 137)
        fail_test("the child exited with %d", code);
    return code == 137;
}
