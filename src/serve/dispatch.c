/* dispatch.c: see dispatch.h and dispatch_state.h. The thread. */
#include "serve/dispatch_state.h"

#include "base/clock.h"
#include "serve/worker.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MODELS_MAX = 64,
    READ_BYTES = 1 << 16,
    READS_PER_TURN = 16,         /* one busy worker must not starve the others */
    OUT_BYTES_MAX = 64 << 20,
    EVENTS_PER_TURN = 64,
    CLOSED_SECONDS_MAX = 2,      /* between the end of a worker's socket and its own */
};

static void note(Dispatch *d, const char *model, const char *text)
{
    char line[512];
    snprintf(line, sizeof line, "model '%s': %s", model, text);
    if (d->options.note)
        d->options.note(d->options.user, line);
}

void dispatch_nudge(Dispatch *d)
{
    const uint64_t one = 1;
    (void)!write(d->wake_fd, &one, sizeof one); /* full means that it is awake already */
}

/* ---- frames of a worker: lock held ---- */

static bool on_ready(Dispatch *d, Link *link, uint32_t index, const WireFrame *frame, Error *err)
{
    if (link->ready)
        return fail(err, ERR_FORMAT, "the worker says twice that it is ready");
    if (!wire_read_ready(frame, &link->info, err))
        return false;
    link->ready = true;
    supervisor_mark_ready(link->supervisor, clock_seconds());
    note(d, link->model.name, "ready");
    for (uint32_t i = 0; i < JOBS_MAX; i++)
        if (d->slots[i] && d->slots[i]->link == index && d->slots[i]->state == JOB_WAITING)
            job_send(d->slots[i]);
    return true;
}

/* What the worker says about itself before it ends. */
static bool on_last_words(Dispatch *d, Link *link, const WireFrame *frame, Error *err)
{
    WireError error;
    if (!wire_read_error(frame, &error, err))
        return false;
    snprintf(link->last_words, sizeof link->last_words, "%.*s", (int)error.text.size,
             error.text.text);
    for (char *c = link->last_words; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = '?'; /* it may quote a hostile file, and goes to a log */
    note(d, link->model.name, link->last_words);
    return true;
}

static bool on_frame(Dispatch *d, Link *link, uint32_t index, const WireFrame *frame, Error *err)
{
    if (frame->kind == WIRE_READY)
        return on_ready(d, link, index, frame, err);
    if (frame->kind == WIRE_BEAT) {
        if (!wire_read_beat(frame, &link->beat, err))
            return false;
        supervisor_mark_progress(link->supervisor, link->beat.steps, clock_seconds());
        return true;
    }
    if (frame->kind == WIRE_ERROR && frame->request == 0)
        return on_last_words(d, link, frame, err);
    Job *job = job_by_id(d, frame->request);
    if (!job)
        return true; /* cancelled while this was on its way */
    return job->link == index ? job_event(job, frame, err)
                              : fail(err, ERR_FORMAT, "the worker answers another's request");
}

static bool read_frames(Dispatch *d, Link *link, uint32_t index, Error *err)
{
    for (int turn = 0; turn < READS_PER_TURN; turn++) {
        char bytes[READ_BYTES];
        ssize_t got = recv(supervisor_socket(link->supervisor), bytes, sizeof bytes, 0);
        if (got == 0 && !link->closed_at) { /* it is dying: the death descriptor will say how */
            link->closed_at = clock_seconds();
            (void)epoll_ctl(d->epoll, EPOLL_CTL_DEL, supervisor_socket(link->supervisor), NULL);
        }
        if (got <= 0)
            return true;
        if (!wire_reader_add(&link->in, bytes, (size_t)got, err))
            return false;
        for (bool more = true; more;) {
            WireFrame frame;
            if (!wire_reader_next(&link->in, &frame, &more, err) ||
                (more && !on_frame(d, link, index, &frame, err)))
                return false;
        }
        if ((size_t)got < sizeof bytes)
            return true;
    }
    return true;
}

static void on_socket(Dispatch *d, uint32_t index)
{
    Link *link = &d->links[index];
    Error err;
    if (supervisor_socket(link->supervisor) < 0)
        return;
    if (!read_frames(d, link, index, &err))
        supervisor_kill(link->supervisor, err.text);
}

/* ---- frames to a worker: lock held ---- */

static void wait_for_room(Dispatch *d, Link *link, uint32_t index, bool writing)
{
    if (link->writing == writing)
        return;
    struct epoll_event event = {.events = EPOLLIN | (writing ? (uint32_t)EPOLLOUT : 0),
                                .data.u64 = EVENT(EVENT_SOCKET, index)};
    if (epoll_ctl(d->epoll, EPOLL_CTL_MOD, supervisor_socket(link->supervisor), &event) == 0)
        link->writing = writing;
}

static void flush(Dispatch *d, uint32_t index)
{
    Link *link = &d->links[index];
    if (supervisor_socket(link->supervisor) < 0)
        return;
    if (link->out.failed) /* it does not read what it is sent */
        supervisor_kill(link->supervisor, "the queue of requests to it is full");
    while (link->sent < link->out.size && !link->out.failed) {
        ssize_t sent = send(supervisor_socket(link->supervisor), link->out.data + link->sent,
                            link->out.size - link->sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            break;
        link->sent += (size_t)sent;
    }
    bool left = link->sent < link->out.size && !link->closed_at;
    if (!left) {
        buf_reset(&link->out);
        link->sent = 0;
    }
    wait_for_room(d, link, index, left);
}

/* ---- lives and deaths of workers: lock held ---- */

static void watch(Dispatch *d, uint32_t index)
{
    Link *link = &d->links[index];
    struct epoll_event socket = {.events = EPOLLIN, .data.u64 = EVENT(EVENT_SOCKET, index)};
    struct epoll_event death = {.events = EPOLLIN, .data.u64 = EVENT(EVENT_DEATH, index)};
    if (epoll_ctl(d->epoll, EPOLL_CTL_ADD, supervisor_socket(link->supervisor), &socket) != 0 ||
        epoll_ctl(d->epoll, EPOLL_CTL_ADD, supervisor_death_fd(link->supervisor), &death) != 0)
        supervisor_kill(link->supervisor, "it cannot be watched");
}

static void on_death(Dispatch *d, uint32_t index, const char *why)
{
    Link *link = &d->links[index];
    bool failed = supervisor_state(link->supervisor) == SUPERVISOR_FAILED;
    note(d, link->model.name, why);
    wire_reader_done(&link->in);
    wire_reader_init(&link->in, WIRE_WORKER);
    buf_reset(&link->out);
    link->sent = 0;
    link->ready = link->writing = false;
    link->closed_at = 0;
    link->tokens_before += link->beat.tokens;
    link->steps_before += link->beat.steps;
    link->beat = (WireBeat){0};
    supervisor_expect(link->supervisor, false, clock_seconds());
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        Job *job = d->slots[i];
        if (!job || job->link != index || job->state == JOB_ENDED)
            continue;
        if (job->state == JOB_SENT)
            job_fail(job, FAULT_WORKER, "the model's process ended while it was answering");
        else if (failed)
            job_fail(job, FAULT_STARTING, "the model does not start");
    }
    buf_reset(&link->out); /* the cancellations of the dead */
}

static void tick(Dispatch *d, uint32_t index, double now)
{
    Link *link = &d->links[index];
    Error why;
    if (link->closed_at && now > link->closed_at + CLOSED_SECONDS_MAX)
        supervisor_kill(link->supervisor, "it closed its connection");
    SupervisorChange change = supervisor_tick(link->supervisor, now, &why);
    if (change == SUPERVISOR_STARTED) {
        link->last_words[0] = 0;
        watch(d, index);
    } else if (change == SUPERVISOR_ENDED) {
        on_death(d, index, why.text);
    }
    supervisor_expect(link->supervisor, link->ready && link->jobs > 0, now);
}

static void expire(Dispatch *d, double now)
{
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        Job *job = d->slots[i];
        if (job && job->state == JOB_WAITING && now >= job->deadline)
            job_fail(job, FAULT_STARTING, "the model is not ready yet");
    }
}

/* ---- the loop ---- */

static void on_event(Dispatch *d, uint64_t data)
{
    uint64_t value = data & (EVENT(1, 0) - 1);
    int kind = (int)(data >> 56);
    if (kind == EVENT_WAKE) {
        uint64_t count;
        (void)!read(d->wake_fd, &count, sizeof count);
    } else if (kind == EVENT_SOCKET || kind == EVENT_DEATH) {
        on_socket(d, (uint32_t)value); /* before its death is noted: its last words */
    } else {
        Job *job = job_by_id(d, value);
        if (!job)
            return;
        (void)epoll_ctl(d->epoll, EPOLL_CTL_DEL, job->options.client_fd, NULL);
        job_fail(job, FAULT_GONE, "the client closed the connection");
    }
}

static int wait_ms(Dispatch *d, double now, double second)
{
    double wait = second > now ? second - now : 0;
    for (uint32_t i = 0; i < d->link_count; i++) {
        double due = supervisor_wait(d->links[i].supervisor, now);
        wait = due < wait ? due : wait;
    }
    return (int)(wait * 1000) + (wait > 0);
}

static void *run(void *user)
{
    Dispatch *d = user;
    double second = 0;
    pthread_mutex_lock(&d->lock);
    while (!d->closing) {
        int timeout = wait_ms(d, clock_seconds(), second);
        pthread_mutex_unlock(&d->lock);
        struct epoll_event events[EVENTS_PER_TURN];
        int count = epoll_wait(d->epoll, events, EVENTS_PER_TURN, timeout);
        double now = clock_seconds();
        bool whole_second = now >= second;
        if (whole_second && d->options.every_second)
            d->options.every_second(d->options.user);
        pthread_mutex_lock(&d->lock);
        for (int i = 0; i < count; i++)
            on_event(d, events[i].data.u64);
        for (uint32_t i = 0; i < d->link_count; i++) {
            tick(d, i, now);
            flush(d, i);
        }
        if (whole_second) {
            expire(d, now);
            second = now + 1;
        }
    }
    pthread_mutex_unlock(&d->lock);
    /* Here and not after the join: a worker dies with the thread that started it. */
    for (uint32_t i = 0; i < d->link_count; i++)
        supervisor_free(d->links[i].supervisor);
    return NULL;
}

/* ---- life cycle ---- */

static const char *copy(Dispatch *d, const char *text, bool *ok)
{
    if (!text)
        return NULL;
    const char *made = arena_copy_text(&d->texts, text, strlen(text));
    *ok = *ok && made;
    return made;
}

static bool open_link(Dispatch *d, Link *link, const DispatchModel *model, Error *err)
{
    bool ok = true;
    link->model = *model;
    link->model.name = copy(d, model->name, &ok);
    link->model.fingerprint = copy(d, model->fingerprint ? model->fingerprint : "", &ok);
    link->model.engine.model = copy(d, model->engine.model, &ok);
    link->model.engine.weights = copy(d, model->engine.weights, &ok);
    if (!ok)
        return fail(err, ERR_MEMORY, "no memory for model '%s'", model->name);
    wire_reader_init(&link->in, WIRE_WORKER);
    buf_init(&link->out, OUT_BYTES_MAX);
    WorkerArguments arguments;
    worker_arguments(&arguments, d->options.program, d->options.command, &link->model.engine);
    SupervisorOptions options = {.program = d->options.program,
                                 .arguments = arguments.words,
                                 .environment = d->options.environment,
                                 .progress_seconds_max = d->options.progress_seconds};
    return supervisor_new(&link->supervisor, &options, err);
}

static bool open_loop(Dispatch *d, Error *err)
{
    d->epoll = epoll_create1(EPOLL_CLOEXEC);
    d->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = EVENT(EVENT_WAKE, 0)};
    if (d->epoll < 0 || d->wake_fd < 0 ||
        epoll_ctl(d->epoll, EPOLL_CTL_ADD, d->wake_fd, &event) != 0)
        return fail(err, ERR_IO, "cannot make the gateway's event queue: %s", strerror(errno));
    if (pthread_create(&d->thread, NULL, run, d) != 0)
        return fail(err, ERR_IO, "cannot start the gateway's thread");
    return true;
}

static void release(Dispatch *d)
{
    for (uint32_t i = 0; i < d->link_count; i++) {
        wire_reader_done(&d->links[i].in);
        buf_done(&d->links[i].out);
    }
    if (d->epoll >= 0)
        close(d->epoll);
    if (d->wake_fd >= 0)
        close(d->wake_fd);
    mem_free(d->links);
    arena_done(&d->texts);
    pthread_mutex_destroy(&d->lock);
    mem_free(d);
}

bool dispatch_open(Dispatch **out, const DispatchOptions *options, Error *err)
{
    if (options->model_count == 0 || options->model_count > MODELS_MAX)
        return fail(err, ERR_INPUT, "a server has 1 to %d models, not %u", MODELS_MAX,
                    options->model_count);
    Dispatch *d = mem_alloc(1, sizeof *d);
    Link *links = mem_alloc(options->model_count, sizeof *links);
    if (!d || !links) {
        mem_free(d);
        mem_free(links);
        return fail(err, ERR_MEMORY, "no memory for the gateway");
    }
    d->links = links;
    d->epoll = d->wake_fd = -1;
    d->options = *options;
    d->options.wait_seconds = options->wait_seconds > 0 ? options->wait_seconds : 30;
    d->options.jobs_max = options->jobs_max ? options->jobs_max : 256;
    arena_init(&d->texts, 1 << 20);
    pthread_mutex_init(&d->lock, NULL);
    bool ok = true;
    for (; ok && d->link_count < options->model_count; d->link_count += ok)
        ok = open_link(d, &d->links[d->link_count], &options->models[d->link_count], err);
    if (!ok || !open_loop(d, err)) {
        for (uint32_t i = 0; i < d->link_count; i++)
            supervisor_free(d->links[i].supervisor);
        release(d);
        return false;
    }
    *out = d;
    return true;
}

void dispatch_drain(Dispatch *d)
{
    pthread_mutex_lock(&d->lock);
    d->draining = true;
    pthread_mutex_unlock(&d->lock);
}

void dispatch_fail_all(Dispatch *d)
{
    pthread_mutex_lock(&d->lock);
    for (uint32_t i = 0; i < JOBS_MAX; i++)
        if (d->slots[i])
            job_fail(d->slots[i], FAULT_DRAINING, "this server is shutting down");
    pthread_mutex_unlock(&d->lock);
    dispatch_nudge(d);
}

uint32_t dispatch_jobs(Dispatch *d)
{
    pthread_mutex_lock(&d->lock);
    uint32_t count = d->job_count;
    pthread_mutex_unlock(&d->lock);
    return count;
}

void dispatch_close(Dispatch *d)
{
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    assert(d->job_count == 0);
    d->closing = true;
    pthread_mutex_unlock(&d->lock);
    dispatch_nudge(d);
    pthread_join(d->thread, NULL);
    release(d);
}

uint32_t dispatch_count(const Dispatch *d)
{
    return d->link_count;
}

void dispatch_status(Dispatch *d, uint32_t index, DispatchStatus *out)
{
    assert(index < d->link_count);
    pthread_mutex_lock(&d->lock);
    const Link *link = &d->links[index];
    *out = (DispatchStatus){
        .name = link->model.name,
        .fingerprint = link->model.fingerprint,
        .created = link->model.created,
        .state = supervisor_state(link->supervisor),
        .restarts = supervisor_restarts(link->supervisor),
        .jobs = link->jobs,
        .choices = link->beat.choices,
        .info = link->info,
        .requests = link->requests,
        .prompt_tokens = link->prompt_tokens,
        .answer_tokens = link->tokens_before + link->beat.tokens,
        .steps = link->steps_before + link->beat.steps,
        .first_token_seconds = link->first_token_seconds,
        .answer_seconds = link->answer_seconds,
    };
    snprintf(out->reason, sizeof out->reason, "%s",
             *link->last_words ? link->last_words : supervisor_reason(link->supervisor));
    pthread_mutex_unlock(&d->lock);
}
