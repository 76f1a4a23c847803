/* supervisor.c: see supervisor.h.
 *
 * Invariants: 1. pid > 0 exactly while a child is unreaped, and then socket and death_fd are open.
 * 2. Between fork and exec the child calls async-signal-safe functions only, since the parent has
 * threads that may hold any lock. 3. `killed` is set before a kill of ours, so that the end is
 * reported with our reason and not as signal 9. */
#include "fleet/supervisor.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 64, EXEC_FAILED = 127, GRACE_MS = 2000, REASON_BYTES = 200 };

const char *const supervisor_state_names[SUPERVISOR_STATES] = {"loading", "ready", "restarting",
                                                               "failed"};

struct Supervisor {
    SupervisorOptions options;
    char *words[2 * ARGUMENTS_MAX + 1]; /* owned: argv, NULL, environment, NULL */
    char **argv, **envp;
    SupervisorState state;
    pid_t pid;
    int socket, death_fd;
    double started, ready_at, moved_at, start_due;
    uint64_t counter;
    uint32_t failures, restarts;
    bool pending, was_ready, killed;
    char killed_why[REASON_BYTES], reason[REASON_BYTES];
};

/* ---- life cycle ---- */

static double or_default(double value, double fallback)
{
    return value > 0 ? value : fallback;
}

static void fill_defaults(SupervisorOptions *o)
{
    o->load_seconds_max = or_default(o->load_seconds_max, 600);
    o->progress_seconds_max = or_default(o->progress_seconds_max, 120);
    o->lasting_seconds = or_default(o->lasting_seconds, 60);
    o->pause_seconds_first = or_default(o->pause_seconds_first, 0.25);
    o->pause_seconds_max = or_default(o->pause_seconds_max, 30);
    o->failures_max = o->failures_max ? o->failures_max : 5;
}

/* Copies a NULL-terminated list into words from *at on, with its NULL. */
static bool copy_words(Supervisor *s, size_t *at, const char *const *list, Error *err)
{
    size_t count = 0;
    for (; list && list[count]; count++) {
        if (count + 1 >= ARGUMENTS_MAX)
            return fail(err, ERR_LIMIT, "a child process takes at most %d words",
                        ARGUMENTS_MAX - 1);
        s->words[*at] = mem_copy_text(list[count], strlen(list[count]));
        if (!s->words[(*at)++])
            return fail(err, ERR_MEMORY, "no memory to prepare a child process");
    }
    (*at)++;
    return true;
}

bool supervisor_new(Supervisor **out, const SupervisorOptions *options, Error *err)
{
    if (!options->program || !options->arguments || !options->arguments[0])
        return fail(err, ERR_INPUT, "a child process needs a program and its name");
    Supervisor *s = mem_alloc(1, sizeof *s);
    char *program = mem_copy_text(options->program, strlen(options->program));
    if (!s || !program) {
        mem_free(s);
        mem_free(program);
        return fail(err, ERR_MEMORY, "no memory to supervise '%s'", options->program);
    }
    s->options = *options;
    s->options.program = program;
    fill_defaults(&s->options);
    s->pid = s->socket = s->death_fd = -1;
    size_t at = 0;
    s->argv = s->words;
    bool ok = copy_words(s, &at, options->arguments, err);
    s->envp = s->words + at;
    ok = ok && copy_words(s, &at, options->environment, err);
    if (!ok) {
        supervisor_free(s);
        return false;
    }
    *out = s;
    return true;
}

static void close_fds(Supervisor *s)
{
    if (s->socket >= 0)
        close(s->socket);
    if (s->death_fd >= 0)
        close(s->death_fd);
    s->socket = s->death_fd = -1;
}

void supervisor_free(Supervisor *s)
{
    if (!s)
        return;
    if (s->pid > 0) {
        shutdown(s->socket, SHUT_RDWR);
        struct pollfd death = {.fd = s->death_fd, .events = POLLIN};
        if (poll(&death, 1, GRACE_MS) <= 0)
            kill(s->pid, SIGKILL);
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    close_fds(s);
    for (size_t i = 0; i < sizeof s->words / sizeof *s->words; i++)
        mem_free(s->words[i]);
    mem_free((void *)(uintptr_t)s->options.program);
    mem_free(s);
}

/* ---- starting ---- */

/* In the child, between fork and exec. Never returns. */
static _Noreturn void become(const Supervisor *s, int socket_fd, int input, pid_t parent)
{
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before we could ask to follow */
        _exit(EXEC_FAILED);
    /* both descriptors were moved above 3 by the parent, so no dup2 lands on another's source */
    if (dup2(input, 0) < 0 || dup2(2, 1) < 0 || dup2(socket_fd, SUPERVISOR_CHILD_FD) < 0)
        _exit(EXEC_FAILED);
    if (syscall(SYS_close_range, SUPERVISOR_CHILD_FD + 1, ~0u, 0) != 0)
        for (int fd = SUPERVISOR_CHILD_FD + 1; fd < 65536; fd++)
            close(fd);
    execve(s->options.program, s->argv, s->envp);
    _exit(EXEC_FAILED);
}

/* A descriptor above those the child uses; the given one is closed. */
static int move_up(int fd)
{
    int moved = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 16);
    if (fd >= 0)
        close(fd);
    return moved;
}

/* An empty input: the reading end of a pipe nobody can write to. */
static int empty_input(void)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    close(ends[1]);
    return move_up(ends[0]);
}

static bool fork_child(Supervisor *s, int ours, int theirs, int input, Error *err)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        become(s, theirs, input, parent);
    if (pid < 0)
        return fail(err, ERR_IO, "cannot start '%s': %s", s->options.program, strerror(errno));
    int death_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (death_fd < 0) {
        fail(err, ERR_IO, "cannot watch '%s': %s", s->options.program, strerror(errno));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return false;
    }
    s->pid = pid;
    s->socket = ours;
    s->death_fd = death_fd;
    return true;
}

static bool start(Supervisor *s, double now, Error *err)
{
    int pair[2] = {-1, -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return fail(err, ERR_IO, "cannot make a socket pair: %s", strerror(errno));
    int theirs = move_up(pair[1]);
    int input = empty_input();
    bool ok = theirs >= 0 && input >= 0 && fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0;
    ok = ok ? fork_child(s, pair[0], theirs, input, err)
            : fail(err, ERR_IO, "cannot prepare a child's descriptors: %s", strerror(errno));
    if (theirs >= 0)
        close(theirs);
    if (input >= 0)
        close(input);
    if (!ok) {
        close(pair[0]);
        return false;
    }
    s->started = s->moved_at = now;
    s->counter = 0;
    s->was_ready = s->killed = false;
    return true;
}

/* ---- ending ---- */

static SupervisorChange ended(Supervisor *s, double now, Error *why)
{
    close_fds(s);
    s->pid = -1;
    bool lasted = s->was_ready && now - s->ready_at >= s->options.lasting_seconds;
    s->failures = lasted ? 1 : s->failures + 1;
    s->restarts++;
    double pause = s->options.pause_seconds_first;
    for (uint32_t i = 1; i < s->failures && pause < s->options.pause_seconds_max; i++)
        pause *= 2;
    if (pause > s->options.pause_seconds_max)
        pause = s->options.pause_seconds_max;
    s->start_due = now + pause;
    s->state = s->failures >= s->options.failures_max ? SUPERVISOR_FAILED : SUPERVISOR_RESTARTING;
    snprintf(s->reason, sizeof s->reason, "%s", why->text);
    return SUPERVISOR_ENDED;
}

/* True when the child has died; reaps it and says how. */
static bool reap(Supervisor *s, Error *why)
{
    int status;
    pid_t got;
    do
        got = waitpid(s->pid, &status, WNOHANG);
    while (got < 0 && errno == EINTR);
    if (got == 0)
        return false;
    const char *name = s->options.program;
    if (s->killed)
        fail(why, ERR_DEVICE, "the process was ended: %s", s->killed_why);
    else if (got > 0 && WIFSIGNALED(status))
        fail(why, ERR_DEVICE, "the process was killed by signal %d (%s)", WTERMSIG(status),
             strsignal(WTERMSIG(status)));
    else if (got > 0 && WEXITSTATUS(status) == EXEC_FAILED)
        fail(why, ERR_IO, "'%s' could not be executed", name);
    else
        fail(why, ERR_DEVICE, "the process ended with status %d",
             got > 0 ? WEXITSTATUS(status) : -1);
    return true;
}

void supervisor_kill(Supervisor *s, const char *why)
{
    if (s->pid <= 0 || s->killed)
        return;
    s->killed = true;
    snprintf(s->killed_why, sizeof s->killed_why, "%s", why);
    kill(s->pid, SIGKILL);
}

static double deadline(const Supervisor *s)
{
    if (!s->was_ready)
        return s->started + s->options.load_seconds_max;
    return s->pending ? s->moved_at + s->options.progress_seconds_max : 1e300;
}

SupervisorChange supervisor_tick(Supervisor *s, double now, Error *why)
{
    if (s->pid <= 0) {
        if (now < s->start_due)
            return SUPERVISOR_SAME;
        return start(s, now, why) ? SUPERVISOR_STARTED : ended(s, now, why);
    }
    if (reap(s, why))
        return ended(s, now, why);
    if (now >= deadline(s)) {
        char text[REASON_BYTES];
        if (s->was_ready)
            snprintf(text, sizeof text, "no progress for %.0f seconds with requests waiting",
                     s->options.progress_seconds_max);
        else
            snprintf(text, sizeof text, "not ready after %.0f seconds",
                     s->options.load_seconds_max);
        supervisor_kill(s, text);
    }
    return SUPERVISOR_SAME;
}

double supervisor_wait(const Supervisor *s, double now)
{
    double due = s->pid <= 0 ? s->start_due : s->killed ? now + 0.05 : deadline(s);
    return due <= now ? 0 : due - now;
}

/* ---- what the owner says and asks ---- */

void supervisor_mark_ready(Supervisor *s, double now)
{
    assert(s->pid > 0);
    if (s->was_ready)
        return;
    s->was_ready = true;
    s->ready_at = s->moved_at = now;
    s->state = SUPERVISOR_READY;
}

void supervisor_mark_progress(Supervisor *s, uint64_t counter, double now)
{
    if (counter != s->counter)
        s->moved_at = now;
    s->counter = counter;
}

void supervisor_expect(Supervisor *s, bool work_pending, double now)
{
    if (work_pending && !s->pending)
        s->moved_at = now;
    s->pending = work_pending;
}

int supervisor_socket(const Supervisor *s)
{
    return s->socket;
}

int supervisor_death_fd(const Supervisor *s)
{
    return s->death_fd;
}

pid_t supervisor_pid(const Supervisor *s)
{
    return s->pid;
}

SupervisorState supervisor_state(const Supervisor *s)
{
    return s->state;
}

const char *supervisor_reason(const Supervisor *s)
{
    return s->reason;
}

uint32_t supervisor_restarts(const Supervisor *s)
{
    return s->restarts;
}
