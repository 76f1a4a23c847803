/* job.c: one HTTP request that generates, from both sides: the HTTP thread's (dispatch.h, job_*)
 * and the dispatch thread's (dispatch_state.h). */
#include "serve/dispatch_state.h"

#include "base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

enum {
    STREAM_BYTES_MAX = 1 << 20, /* unread bytes of a stream before its reader counts as too slow */
    ANSWER_BYTES_MAX = 32 << 20,
};

/* ---- the thread's side: lock held ---- */

Job *job_by_id(Dispatch *d, uint64_t id)
{
    Job *job = d->slots[id % JOBS_MAX];
    return job && job->id == id ? job : NULL;
}

static void wake(Job *job)
{
    if (!job->asleep)
        return;
    job->asleep = false;
    job->options.wake(job->options.user);
}

/* Leaves the books of its worker. */
static void leave(Job *job)
{
    if (job->state == JOB_ENDED)
        return;
    job->state = JOB_ENDED;
    job->dispatch->links[job->link].jobs--;
}

void job_send(Job *job)
{
    Link *link = &job->dispatch->links[job->link];
    buf_add(&link->out, job->frame.data, job->frame.size);
    buf_done(&job->frame);
    job->state = JOB_SENT;
    supervisor_expect(link->supervisor, true, clock_seconds());
}

static void cancel(Job *job)
{
    if (job->state == JOB_SENT)
        wire_add_cancel(&job->dispatch->links[job->link].out, job->id);
}

void job_fail(Job *job, Fault fault, const char *sentence)
{
    if (job->state == JOB_ENDED)
        return;
    cancel(job);
    leave(job);
    job->fault = fault;
    snprintf(job->text, sizeof job->text, "%s", sentence);
    transcript_fail(job->transcript, fault, sentence);
    wake(job);
}

static bool on_error(Job *job, const WireFrame *frame, Error *err)
{
    static const Fault faults[CAUSE_COUNT] = {[CAUSE_REQUEST] = FAULT_VALUE,
                                              [CAUSE_CONTEXT] = FAULT_CONTEXT,
                                              [CAUSE_BUSY] = FAULT_BUSY,
                                              [CAUSE_WORKER] = FAULT_WORKER};
    WireError error;
    if (!wire_read_error(frame, &error, err))
        return false;
    char text[248];
    snprintf(text, sizeof text, "%.*s", (int)error.text.size, error.text.text);
    leave(job); /* the worker has forgotten it: nothing to cancel */
    job->fault = faults[error.cause];
    memcpy(job->text, text, sizeof text);
    transcript_fail(job->transcript, job->fault, text);
    wake(job);
    return true;
}

static void completed(Job *job)
{
    Link *link = &job->dispatch->links[job->link];
    TranscriptUsage usage = transcript_usage(job->transcript);
    double now = clock_seconds();
    link->requests++;
    link->prompt_tokens += usage.prompt_tokens;
    link->answer_tokens += usage.answer_tokens;
    link->first_token_seconds += (job->first_token ? job->first_token : now) - job->begun;
    link->answer_seconds += now - job->begun;
    leave(job);
}

static bool feed(Job *job, const WireFrame *frame, Error *err)
{
    union {
        WireStart start;
        WireToken token;
        WireEnd end;
    } body;
    if (frame->kind == WIRE_START)
        return wire_read_start(frame, &body.start, err) &&
               transcript_start(job->transcript, &body.start, err);
    if (!job->first_token)
        job->first_token = clock_seconds();
    if (frame->kind == WIRE_TOKEN)
        return wire_read_token(frame, &body.token, err) &&
               transcript_token(job->transcript, &body.token, err);
    return wire_read_end(frame, &body.end, err) && transcript_end(job->transcript, &body.end, err);
}

bool job_event(Job *job, const WireFrame *frame, Error *err)
{
    if (job->state != JOB_SENT)
        return job->state == JOB_ENDED ||
               fail(err, ERR_FORMAT, "the worker answers a request it has not seen");
    if (frame->kind == WIRE_ERROR)
        return on_error(job, frame, err);
    if (!feed(job, frame, err))
        return false;
    const char *bytes;
    size_t size;
    Error full;
    if (!transcript_bytes(job->transcript, &bytes, &size, &full)) {
        bool slow = job->stream;
        job_fail(job, slow ? FAULT_SLOW : FAULT_SERVER,
                 slow ? "the stream was read too slowly and has been cut" : full.text);
        return true;
    }
    if (transcript_failed_to_finish(job->transcript)) {
        job_fail(job, FAULT_WORKER, "the model failed while answering");
        return true;
    }
    if (transcript_finished(job->transcript))
        completed(job);
    if (job->state == JOB_ENDED || (job->stream && size && transcript_started(job->transcript)))
        wake(job);
    return true;
}

/* ---- the HTTP thread's side ---- */

static bool refuse_job(Fault *fault, Fault what, Error *err, const char *format, const char *name)
{
    *fault = what;
    return fail(err, what == FAULT_MODEL ? ERR_NOT_FOUND : ERR_LIMIT, format, name);
}

/* Lock held. Finds the link for a new job, or says why there is none. */
static bool choose_link(Dispatch *d, const char *name, uint32_t *out, Fault *fault, Error *err)
{
    uint32_t i = 0;
    while (i < d->link_count && strcmp(d->links[i].model.name, name) != 0)
        i++;
    if (i == d->link_count)
        return refuse_job(fault, FAULT_MODEL, err, "there is no model '%.100s' here", name);
    if (d->draining)
        return refuse_job(fault, FAULT_DRAINING, err, "%s", "this server is shutting down");
    if (supervisor_state(d->links[i].supervisor) == SUPERVISOR_FAILED)
        return refuse_job(fault, FAULT_STARTING, err, "model '%.100s' does not start", name);
    if (d->links[i].jobs >= d->options.jobs_max || d->job_count >= JOBS_MAX / 2)
        return refuse_job(fault, FAULT_BUSY, err, "too many requests wait for model '%.100s'",
                          name);
    *out = i;
    return true;
}

/* Lock held. Gives the job its id, its slot, and its way to the worker. */
static bool enter(Dispatch *d, Job *job, const GenerateRequest *request, Error *err)
{
    do
        job->id = ++d->serial;
    while (d->slots[job->id % JOBS_MAX]);
    wire_add_submit(&job->frame, job->id, &request->submit);
    struct epoll_event watch = {.events = EPOLLRDHUP, .data.u64 = EVENT(EVENT_CLIENT, job->id)};
    if (!buf_ok(&job->frame, "the request to the model", err))
        return false;
    if (epoll_ctl(d->epoll, EPOLL_CTL_ADD, job->options.client_fd, &watch) != 0)
        return fail(err, ERR_IO, "cannot watch the client's connection");
    d->slots[job->id % JOBS_MAX] = job;
    d->job_count++;
    Link *link = &d->links[job->link];
    link->jobs++;
    if (link->ready)
        job_send(job);
    return true;
}

static bool make_answer(Job *job, const DispatchModel *model, const GenerateRequest *request,
                        Error *err)
{
    TranscriptOptions options = {
        .shape = job->options.shape,
        .stream = request->stream,
        .include_usage = request->include_usage,
        .logprobs = request->submit.logprobs,
        .alternatives = request->submit.alternatives,
        .prompts = wire_prompts(&request->submit),
        .n = request->submit.n,
        .id = job->options.id,
        .model = model->name,
        .fingerprint = model->fingerprint,
        .created = clock_unix(),
        .bytes_max = request->stream ? STREAM_BYTES_MAX : ANSWER_BYTES_MAX,
    };
    return transcript_new(&job->transcript, &options, err);
}

bool job_begin(Dispatch *d, const JobOptions *options, Job **out, Fault *fault, Error *err)
{
    const GenerateRequest *request = options->request;
    Job *job = mem_alloc(1, sizeof *job);
    *fault = FAULT_SERVER;
    if (!job)
        return fail(err, ERR_MEMORY, "no memory for this request");
    job->dispatch = d;
    job->options = *options;
    job->stream = request->stream;
    job->begun = clock_seconds();
    job->deadline = job->begun + d->options.wait_seconds;
    buf_init(&job->frame, WIRE_BODY_MAX + WIRE_HEADER_BYTES);
    pthread_mutex_lock(&d->lock);
    bool ok = choose_link(d, request->model, &job->link, fault, err);
    if (ok) {
        *fault = FAULT_SERVER;
        ok = make_answer(job, &d->links[job->link].model, request, err) &&
             enter(d, job, request, err);
    }
    pthread_mutex_unlock(&d->lock);
    if (!ok) {
        transcript_free(job->transcript);
        buf_done(&job->frame);
        mem_free(job);
        return false;
    }
    dispatch_nudge(d);
    *fault = FAULT_NONE;
    *out = job;
    return true;
}

bool job_ready(Job *job)
{
    Dispatch *d = job->dispatch;
    pthread_mutex_lock(&d->lock);
    bool ready = job->state == JOB_ENDED || (job->stream && transcript_started(job->transcript));
    if (!ready) {
        job->asleep = true;
        job->options.sleep(job->options.user);
    }
    pthread_mutex_unlock(&d->lock);
    return ready;
}

Fault job_fault(const Job *job, char text[248])
{
    pthread_mutex_lock(&job->dispatch->lock);
    /* a stream that has begun reports its failure as an event of its own */
    bool begun = job->stream && transcript_started(job->transcript);
    Fault fault = begun ? FAULT_NONE : job->fault;
    memcpy(text, job->text, sizeof job->text);
    pthread_mutex_unlock(&job->dispatch->lock);
    return fault;
}

void job_answer(const Job *job, const char **bytes, size_t *size)
{
    Error err;
    *bytes = "";
    *size = 0;
    pthread_mutex_lock(&job->dispatch->lock);
    assert(job->state == JOB_ENDED && !job->stream);
    bool ok = transcript_bytes(job->transcript, bytes, size, &err);
    assert(ok); /* job_event has turned an overfull answer into a fault */
    (void)ok;
    pthread_mutex_unlock(&job->dispatch->lock);
}

int64_t job_read(Job *job, char *out, size_t room)
{
    Dispatch *d = job->dispatch;
    pthread_mutex_lock(&d->lock);
    int64_t got = (int64_t)transcript_take(job->transcript, out, room);
    if (got == 0 && job->state == JOB_ENDED)
        got = -1;
    if (got == 0) {
        job->asleep = true;
        job->options.sleep(job->options.user);
    }
    pthread_mutex_unlock(&d->lock);
    return got;
}

void job_end(Job *job)
{
    if (!job)
        return;
    Dispatch *d = job->dispatch;
    pthread_mutex_lock(&d->lock);
    bool cancelled = job->state == JOB_SENT;
    cancel(job);
    leave(job);
    (void)epoll_ctl(d->epoll, EPOLL_CTL_DEL, job->options.client_fd, NULL);
    d->slots[job->id % JOBS_MAX] = NULL;
    d->job_count--;
    pthread_mutex_unlock(&d->lock);
    if (cancelled)
        dispatch_nudge(d);
    transcript_free(job->transcript);
    buf_done(&job->frame);
    mem_free(job);
}
