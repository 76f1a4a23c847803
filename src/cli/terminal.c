/* terminal.c: what commands share: where the workspace is, how progress looks; see command.h. */
#include "cli/command.h"

#include "backend/cpu/gemm.h"
#include "base/clock.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

volatile sig_atomic_t terminal_stop;

static bool line_stands; /* a moving line is on the screen */
static double last_line;

const char *terminal_workspace(const char *given)
{
    const char *from_environment = getenv("BASTIDE_WORKSPACE");
    if (given)
        return given;
    return from_environment && *from_environment ? from_environment : "bastide-workspace";
}

void terminal_progress_end(void)
{
    if (line_stands)
        fputc('\n', stderr);
    line_stands = false;
    last_line = 0;
}

void terminal_phase(void *user, const char *sentence)
{
    (void)user;
    terminal_progress_end();
    fprintf(stderr, "%s\n", sentence);
    fflush(stderr);
}

static uint32_t columns_of_terminal(void)
{
    struct winsize size;
    if (!isatty(STDERR_FILENO))
        return 0;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

void terminal_progress(void *user, const ProgressView *view)
{
    (void)user;
    char line[PROGRESS_LINE_MAX];
    uint32_t columns = columns_of_terminal();
    double now = clock_seconds(), pause = columns ? 0.1 : 10;
    bool last = view->step == view->steps;
    if (!last && last_line > 0 && now - last_line < pause)
        return;
    last_line = now;
    const char *language = getenv("LANG");
    ProgressStyle style = {.columns = columns ? columns - 1 : 0,
                           .utf8 = language && strstr(language, "UTF-8"),
                           .colour = columns && !getenv("NO_COLOR")};
    progress_line(view, &style, line);
    fprintf(stderr, columns ? "\r\033[K%s" : "%s\n", line);
    fflush(stderr);
    line_stands = columns != 0;
    if (last)
        terminal_progress_end();
}

static void on_signal(int number)
{
    (void)number;
    terminal_stop = 1;
}

void terminal_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

double terminal_peak_flops(uint32_t threads)
{
    enum { N = 384 };
    Pool *pool;
    Error err;
    double best = 0;
    if (!pool_new(&pool, threads, &err))
        return 0;
    float *a = mem_alloc_aligned(3 * (size_t)N * N * sizeof *a, 64);
    void *scratch = mem_alloc_aligned(gemm_scratch_bytes(pool_threads(pool)), 64);
    for (int i = 0; a && scratch && i < 3 * N * N; i++)
        a[i] = 1;
    for (int round = 0; a && scratch && round < 40; round++) {
        double begin = clock_seconds();
        gemm(pool, scratch, (GemmFlags){0}, N, N, N, a, N, a + N * N, N, a + 2 * N * N, N);
        double rate = 2.0 * N * N * N / (clock_seconds() - begin);
        best = rate > best ? rate : best;
    }
    mem_free(a);
    mem_free(scratch);
    pool_free(pool);
    return best;
}
