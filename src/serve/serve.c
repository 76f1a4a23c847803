/* serve.c: see serve.h. */
#include "serve/serve.h"

#include "base/clock.h"
#include "base/fs.h"
#include "serve/gateway.h"
#include "serve/listen.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PEM_BYTES_MAX = 1 << 20, MODELS_MAX = 64, POLL_MS = 50, CUT_SECONDS = 2 };

typedef struct {
    const ServeOptions *options;
    Workspace *ws;
    Keyring *keys;
    Metrics *metrics;
    Dispatch *dispatch;
    Gateway *gateway;
    _Atomic(Gateway *) swept; /* what the dispatch thread may sweep */
    Arena arena;
    DispatchModel models[MODELS_MAX];
    uint32_t model_count;
    Buf certificate, private_key;
    char program[1024];
    bool keys_reported; /* a failing refresh is told once, not every second */
} Serve;

/* ---- models ---- */

static bool copy_into(Serve *s, const char **out, const char *text, Error *err)
{
    *out = text ? arena_copy_text(&s->arena, text, strlen(text)) : NULL;
    return !text || *out || fail(err, ERR_MEMORY, "no memory for the list of models");
}

static bool add_model(Serve *s, const char *name, const char *folder, const char *digest,
                      int64_t created, Error *err)
{
    if (s->model_count == MODELS_MAX)
        return fail(err, ERR_LIMIT, "at most %d models are served at once", MODELS_MAX);
    for (uint32_t i = 0; i < s->model_count; i++)
        if (strcmp(s->models[i].name, name) == 0)
            return fail(err, ERR_INPUT, "model '%s' is named twice", name);
    DispatchModel *model = &s->models[s->model_count];
    *model = (DispatchModel){.created = created, .engine = s->options->engine};
    if (!copy_into(s, &model->name, name, err) ||
        !copy_into(s, &model->engine.model, folder, err) ||
        !copy_into(s, &model->fingerprint, digest, err))
        return false;
    s->model_count++;
    return true;
}

static bool add_workspace_model(void *user, const WorkspaceModel *model, Error *err)
{
    Serve *s = user;
    return add_model(s, model->name, model->path, model->digest, model->created, err);
}

static bool choose_models(Serve *s, Error *err)
{
    for (uint32_t i = 0; i < s->options->model_count; i++) {
        const ServeModel *m = &s->options->models[i];
        bool ok = m->folder
                      ? add_model(s, m->name, m->folder, m->digest, clock_unix(), err)
                      : workspace_models(s->ws, m->name, add_workspace_model, s, err);
        if (!ok)
            return false;
    }
    if (!s->options->model_count &&
        !workspace_models(s->ws, NULL, add_workspace_model, s, err))
        return false;
    return s->model_count ||
           fail(err, ERR_INPUT, "workspace '%s' has no model to serve: import or train one",
                s->options->workspace);
}

/* ---- starting ---- */

static void print_line(void *user, const char *line)
{
    (void)user;
    char time[21];
    clock_iso(clock_unix(), time);
    fprintf(stderr, "%s %s\n", time, line);
}

/* On the dispatch thread. The workspace is this thread's from dispatch_open to dispatch_close. */
static void every_second(void *user)
{
    Serve *s = user;
    Error err;
    bool ok = keyring_refresh(s->keys, false, &err);
    if (!ok && !s->keys_reported)
        print_line(NULL, err.text);
    s->keys_reported = !ok;
    Gateway *gateway = atomic_load(&s->swept);
    if (gateway)
        gateway_sweep(gateway);
}

static bool read_pem(Serve *s, Error *err)
{
    const ServeOptions *o = s->options;
    buf_init(&s->certificate, PEM_BYTES_MAX);
    buf_init(&s->private_key, PEM_BYTES_MAX);
    if (!o->certificate_file != !o->key_file)
        return fail(err, ERR_INPUT, "TLS needs a certificate and its key: one of them is missing");
    return !o->certificate_file || (fs_read(o->certificate_file, &s->certificate, err) &&
                                    fs_read(o->key_file, &s->private_key, err));
}

static bool find_program(Serve *s, Error *err)
{
    if (s->options->program) {
        snprintf(s->program, sizeof s->program, "%s", s->options->program);
        return true;
    }
    ssize_t got = readlink("/proc/self/exe", s->program, sizeof s->program - 1);
    if (got <= 0)
        return fail(err, ERR_IO, "cannot find this program's file: %s", strerror(errno));
    s->program[got] = 0;
    return true;
}

static bool open_dispatch(Serve *s, Error *err)
{
    const ServeOptions *o = s->options;
    DispatchOptions options = {
        .models = s->models,
        .model_count = s->model_count,
        .program = s->program,
        .command = o->worker_command ? o->worker_command : "worker",
        .environment = o->worker_environment,
        .wait_seconds = o->wait_seconds,
        .progress_seconds = o->progress_seconds,
        .jobs_max = o->jobs_max,
        .note = print_line,
        .every_second = every_second,
        .user = s,
    };
    return dispatch_open(&s->dispatch, &options, err);
}

static bool open_gateway(Serve *s, Error *err)
{
    const ServeOptions *o = s->options;
    bool tls = o->certificate_file != NULL;
    int fd;
    char url[128], line[160];
    ListenOptions listen = {.host = o->host ? o->host : "127.0.0.1",
                            .port = o->port_set ? o->port : 8080,
                            .tls = tls,
                            .plain_allowed = o->plain_allowed};
    if (!listen_open(&fd, url, sizeof url, &listen, err))
        return false;
    GatewayOptions options = {
        .dispatch = s->dispatch,
        .keys = s->keys,
        .metrics = s->metrics,
        .listen_fd = fd,
        .certificate = tls ? s->certificate.data : NULL,
        .private_key = tls ? s->private_key.data : NULL,
        .body_bytes_max = o->body_bytes_max,
        .connections_max = o->connections_max,
        .log = o->access_log ? print_line : NULL,
    };
    if (!gateway_open(&s->gateway, &options, err)) {
        close(fd);
        return false;
    }
    atomic_store(&s->swept, s->gateway);
    snprintf(line, sizeof line, "listening on %s", url);
    print_line(NULL, line);
    return true;
}

static bool start(Serve *s, Error *err)
{
    return workspace_open(&s->ws, s->options->workspace, err) && workspace_lock(s->ws, err) &&
           choose_models(s, err) && keyring_open(&s->keys, s->ws, err) &&
           metrics_new(&s->metrics, err) && read_pem(s, err) && find_program(s, err) &&
           open_dispatch(s, err) && open_gateway(s, err);
}

/* ---- ending ---- */

/* Waits until no job is left, the time is over, or a signal comes. */
static void await_jobs(Serve *s, double seconds, const sigset_t *signals)
{
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    double end = clock_seconds() + seconds;
    while (dispatch_jobs(s->dispatch) && clock_seconds() < end)
        if (sigtimedwait(signals, NULL, &pause) > 0)
            return;
}

static void drain(Serve *s, const sigset_t *signals)
{
    double seconds = s->options->drain_seconds > 0 ? s->options->drain_seconds : 30;
    dispatch_drain(s->dispatch);
    gateway_quiesce(s->gateway);
    await_jobs(s, seconds, signals);
    dispatch_fail_all(s->dispatch);
    await_jobs(s, CUT_SECONDS, signals); /* their last events go out */
}

static void stop(Serve *s)
{
    atomic_store(&s->swept, NULL);
    if (s->dispatch)
        dispatch_fail_all(s->dispatch);
    gateway_close(s->gateway);
    dispatch_close(s->dispatch);
    Error err;
    if (s->keys && !keyring_refresh(s->keys, true, &err))
        print_line(NULL, err.text);
    keyring_close(s->keys);
    metrics_free(s->metrics);
    workspace_close(s->ws);
    buf_done(&s->certificate);
    buf_done(&s->private_key);
    arena_done(&s->arena);
}

bool serve_run(const ServeOptions *options, Error *err)
{
    Serve s = {.options = options};
    arena_init(&s.arena, 1 << 20);
    /* Blocked before any thread starts, so that all inherit it and the signals wait for us. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    bool ok = start(&s, err);
    if (ok) {
        int number;
        while (sigwait(&signals, &number) != 0)
            ;
        print_line(NULL, "shutting down");
        drain(&s, &signals);
    }
    stop(&s);
    return ok;
}
