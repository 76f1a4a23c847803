#include "fleet/supervisor.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/test.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static Supervisor *shell(const char *script, SupervisorOptions options)
{
    Error err;
    Supervisor *s;
    const char *const arguments[] = {"sh", "-c", script, NULL};
    const char *const environment[] = {"ONLY=this", "PATH=/usr/bin:/bin", NULL};
    options.program = "/bin/sh";
    options.arguments = arguments;
    options.environment = environment;
    assert_ok(supervisor_new(&s, &options, &err));
    return s;
}

/* Waits for the child's death (in real time) and ticks at `now`. */
static SupervisorChange after_death(Supervisor *s, double now, Error *why)
{
    struct pollfd death = {.fd = supervisor_death_fd(s), .events = POLLIN};
    assert_int_equal(poll(&death, 1, 10000), 1);
    return supervisor_tick(s, now, why);
}

static void child_inherits_nothing(void **state)
{
    (void)state;
    Error err;
    int leak = open("/dev/null", O_RDONLY); /* deliberately without close-on-exec */
    Supervisor *s = shell("(env; cd /proc/$$/fd; echo fds *; read x; echo got $x) >&3",
                          (SupervisorOptions){0});
    assert_int_equal(supervisor_tick(s, 0, &err), SUPERVISOR_STARTED);
    char text[4096] = "";
    size_t used = 0;
    for (;;) {
        struct pollfd in = {.fd = supervisor_socket(s), .events = POLLIN};
        assert_int_equal(poll(&in, 1, 10000), 1);
        ssize_t got = read(supervisor_socket(s), text + used, sizeof text - 1 - used);
        if (got <= 0)
            break;
        used += (size_t)got;
    }
    assert_non_null(strstr(text, "ONLY=this"));
    assert_null(strstr(text, "HOME="));
    assert_non_null(strstr(text, "got\n")); /* stdin is empty */
    char *fds = strstr(text, "fds ");
    assert_non_null(fds);
    int highest = -1, count = 0;
    for (char *at = fds + 4; *at && *at != '\n'; count++) {
        int fd = (int)strtol(at, &at, 10);
        highest = fd > highest && fd < 10 ? fd : highest; /* the shell saves its own above 10 */
        at += *at == ' ';
    }
    assert_int_equal(highest, SUPERVISOR_CHILD_FD);
    assert_in_range(count, 4, 6);
    supervisor_free(s);
    close(leak);
}

static void pauses_grow_to_failure_and_back(void **state)
{
    (void)state;
    Error err;
    Supervisor *s = shell("exit 3", (SupervisorOptions){.pause_seconds_first = 1,
                                                        .pause_seconds_max = 5,
                                                        .failures_max = 3});
    static const double pauses[] = {1, 2, 4, 5, 5};
    double now = 100;
    assert_int_equal(supervisor_state(s), SUPERVISOR_LOADING);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(supervisor_tick(s, now, &err), SUPERVISOR_STARTED);
        assert_int_equal(after_death(s, now, &err), SUPERVISOR_ENDED);
        assert_non_null(strstr(err.text, "status 3"));
        assert_string_equal(supervisor_reason(s), err.text);
        assert_int_equal(supervisor_state(s), i < 2 ? SUPERVISOR_RESTARTING : SUPERVISOR_FAILED);
        assert_near(supervisor_wait(s, now), pauses[i], 1e-9);
        assert_int_equal(supervisor_tick(s, now + pauses[i] - 0.1, &err), SUPERVISOR_SAME);
        now += pauses[i];
    }
    assert_int_equal(supervisor_restarts(s), 5);
    /* A life that becomes ready and lasts clears the count. */
    assert_int_equal(supervisor_tick(s, now, &err), SUPERVISOR_STARTED);
    supervisor_mark_ready(s, now);
    assert_int_equal(supervisor_state(s), SUPERVISOR_READY);
    assert_int_equal(after_death(s, now + 61, &err), SUPERVISOR_ENDED);
    assert_int_equal(supervisor_state(s), SUPERVISOR_RESTARTING);
    assert_near(supervisor_wait(s, now + 61), 1, 1e-9);
    supervisor_free(s);
}

static void stillness_is_death(void **state)
{
    (void)state;
    Error err;
    Supervisor *s = shell("exec sleep 60", (SupervisorOptions){.progress_seconds_max = 10});
    assert_int_equal(supervisor_tick(s, 0, &err), SUPERVISOR_STARTED);
    supervisor_mark_ready(s, 1);
    assert_int_equal(supervisor_tick(s, 500, &err), SUPERVISOR_SAME); /* idle may be still */
    supervisor_expect(s, true, 500);
    supervisor_mark_progress(s, 7, 505);
    assert_int_equal(supervisor_tick(s, 514, &err), SUPERVISOR_SAME);
    supervisor_mark_progress(s, 7, 514); /* the same number is no progress */
    assert_near(supervisor_wait(s, 514), 1, 1e-9);
    assert_int_equal(supervisor_tick(s, 515, &err), SUPERVISOR_SAME); /* kills */
    assert_int_equal(after_death(s, 515, &err), SUPERVISOR_ENDED);
    assert_non_null(strstr(err.text, "no progress for 10 seconds"));
    supervisor_free(s);

    s = shell("exec sleep 60", (SupervisorOptions){.load_seconds_max = 5});
    assert_int_equal(supervisor_tick(s, 0, &err), SUPERVISOR_STARTED);
    assert_int_equal(supervisor_tick(s, 5, &err), SUPERVISOR_SAME);
    assert_int_equal(after_death(s, 5, &err), SUPERVISOR_ENDED);
    assert_non_null(strstr(err.text, "not ready after 5 seconds"));
    supervisor_free(s);
}

static void deaths_have_a_sentence(void **state)
{
    (void)state;
    Error err;
    Supervisor *s = shell("kill -SEGV $$", (SupervisorOptions){0});
    assert_int_equal(supervisor_tick(s, 0, &err), SUPERVISOR_STARTED);
    assert_int_equal(after_death(s, 0, &err), SUPERVISOR_ENDED);
    assert_non_null(strstr(err.text, "signal 11"));
    assert_int_equal(supervisor_socket(s), -1);
    supervisor_free(s);

    const char *const arguments[] = {"none", NULL};
    assert_ok(supervisor_new(&s, &(SupervisorOptions){"/nonexistent/none", arguments}, &err));
    assert_int_equal(supervisor_tick(s, 0, &err), SUPERVISOR_STARTED);
    assert_int_equal(after_death(s, 0, &err), SUPERVISOR_ENDED);
    assert_non_null(strstr(err.text, "could not be executed"));
    supervisor_free(s);
    assert_fails(supervisor_new(&s, &(SupervisorOptions){0}, &err), ERR_INPUT, "program");
}

/* A child that does not heed the closed socket is killed all the same, and none is left over. */
static void freeing_leaves_no_child(void **state)
{
    (void)state;
    Error err;
    Supervisor *s = shell("trap '' TERM; while :; do sleep 1; done", (SupervisorOptions){0});
    assert_int_equal(supervisor_tick(s, 0, &err), SUPERVISOR_STARTED);
    pid_t pid = supervisor_pid(s);
    assert_int_equal(kill(pid, 0), 0);
    supervisor_free(s);
    assert_int_equal(kill(pid, 0), -1);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    const char *const arguments[] = {"sh", "-c", "exit", NULL};
    bool done = false;
    for (int n = 0; !done; n++) {
        Error err = {0};
        Supervisor *s = NULL;
        mem_fail_after(n);
        done = supervisor_new(&s, &(SupervisorOptions){"/bin/sh", arguments}, &err);
        mem_fail_after(-1);
        assert_true(done || err.code == ERR_MEMORY);
        supervisor_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(child_inherits_nothing),
        cmocka_unit_test(pauses_grow_to_failure_and_back),
        cmocka_unit_test(stillness_is_death),
        cmocka_unit_test(deaths_have_a_sentence),
        cmocka_unit_test(freeing_leaves_no_child),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
