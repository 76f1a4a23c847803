/* dispatch_test.c: the dispatch against workers that lie, die, hang and flood. This program is its
 * own worker: started as "worker --model NAME", it plays the part of that name. */
#include "serve/dispatch.h"

#include "base/clock.h"
#include "base/test.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the parts ---- */

static Buf frames;

static void send_frames(void)
{
    for (size_t at = 0; at < frames.size;) {
        ssize_t sent = send(SUPERVISOR_CHILD_FD, frames.data + at, frames.size - at, MSG_NOSIGNAL);
        if (sent <= 0)
            _exit(0);
        at += (size_t)sent;
    }
    buf_reset(&frames);
}

static void add_token(uint64_t request, const char *text)
{
    wire_add_token(&frames, request, &(WireToken){.text = {text, (uint32_t)strlen(text)},
                                                  .chosen = {.bytes = {"", 0}}});
}

static void add_end(uint64_t request, WireEndKind end)
{
    wire_add_end(&frames, request, &(WireEnd){0, end, {"", 0}, 3, 2});
}

static void play_good(uint64_t request)
{
    add_token(request, "good ");
    add_token(request, "day");
    add_end(request, WIRE_STOPPED);
}

static void play_die(uint64_t request)
{
    add_token(request, "half");
    send_frames();
    _exit(9);
}

static void play_hang(uint64_t request)
{
    (void)request;
    send_frames();
    for (;;)
        pause();
}

static void play_close(uint64_t request)
{
    (void)request;
    send_frames();
    close(SUPERVISOR_CHILD_FD);
    for (;;)
        pause();
}

static void play_garbage(uint64_t request)
{
    (void)request;
    buf_add_text(&frames, "GET / HTTP/1.1 is no frame");
}

static void play_twice(uint64_t request)
{
    add_end(request, WIRE_STOPPED);
    wire_add_start(&frames, request, &(WireStart){0, 3});
    wire_add_ready(&frames, &(WireReady){1, 1, 1, 1, true}); /* the lie that counts */
}

static void play_choice(uint64_t request)
{
    wire_add_start(&frames, request, &(WireStart){63, 3});
}

static void play_failed(uint64_t request)
{
    add_end(request, WIRE_FAILED);
}

static void play_refuse(uint64_t request)
{
    wire_add_error(&frames, request, &(WireError){CAUSE_CONTEXT, ERR_LIMIT, {"too long", 8}});
}

static void play_flood(uint64_t request)
{
    static char text[1 << 16];
    memset(text, 'x', sizeof text - 1);
    for (int i = 0; i < 100; i++) {
        add_token(request, text);
        send_frames();
    }
    add_end(request, WIRE_STOPPED);
}

typedef struct {
    const char *name;
    void (*play)(uint64_t request); /* NULL: ends before it is ready */
    Fault whole;                    /* what a whole answer comes to */
    const char *stream;             /* what a stream ends with */
} Part;

static const Part parts[] = {
    {"good", play_good, FAULT_NONE, "data: [DONE]\n\n"},
    {"die", play_die, FAULT_WORKER, "\"code\":\"model_failed\"}}\n\n"},
    {"hang", play_hang, FAULT_WORKER, "\"code\":\"model_failed\"}}\n\n"},
    {"close", play_close, FAULT_WORKER, "\"code\":\"model_failed\"}}\n\n"},
    {"garbage", play_garbage, FAULT_WORKER, "\"code\":\"model_failed\"}}\n\n"},
    {"twice", play_twice, FAULT_NONE, "data: [DONE]\n\n"},
    {"choice", play_choice, FAULT_WORKER, "\"code\":\"model_failed\"}}\n\n"},
    {"failed", play_failed, FAULT_WORKER, "\"code\":\"model_failed\"}}\n\n"},
    {"refuse", play_refuse, FAULT_CONTEXT, "\"code\":\"context_length_exceeded\"}}\n\n"},
    {"flood", play_flood, FAULT_NONE, "\"code\":\"client_too_slow\"}}\n\n"},
    {"never", NULL, FAULT_STARTING, NULL},
};
enum { PART_COUNT = sizeof parts / sizeof *parts };

static int play(const char *name)
{
    const Part *part = parts;
    while (strcmp(part->name, name) != 0)
        part++;
    if (!part->play)
        return 1;
    Error err;
    WireReader in;
    buf_init(&frames, 16 << 20);
    wire_reader_init(&in, WIRE_GATEWAY);
    wire_add_ready(&frames, &(WireReady){64, 300, 1, 1, true});
    for (;;) {
        char bytes[4096];
        send_frames();
        ssize_t got = recv(SUPERVISOR_CHILD_FD, bytes, sizeof bytes, 0);
        WireFrame frame;
        bool more = got > 0 && wire_reader_add(&in, bytes, (size_t)got, &err);
        if (!more) {
            wire_reader_done(&in);
            buf_done(&frames);
            return 0;
        }
        while (wire_reader_next(&in, &frame, &more, &err) && more)
            if (frame.kind == WIRE_SUBMIT) {
                if (part->play != play_refuse)
                    wire_add_start(&frames, frame.request, &(WireStart){0, 3});
                part->play(frame.request);
            }
    }
}

/* ---- the client's side ---- */

typedef struct {
    int wakes[2]; /* a pipe: one byte for each wake */
    int client[2];
    Job *job;
} Caller;

static void sleep_now(void *user)
{
    (void)user;
}

static void wake_now(void *user)
{
    (void)!write(((Caller *)user)->wakes[1], "w", 1);
}

static void await_wake(Caller *c)
{
    struct pollfd at = {.fd = c->wakes[0], .events = POLLIN};
    char byte;
    if (poll(&at, 1, 20000) != 1)
        fail_test("nobody woke the caller");
    assert_int_equal(read(c->wakes[0], &byte, 1), 1);
}

static bool ask(Dispatch *d, Caller *c, const char *model, bool stream, Fault *fault)
{
    static const WirePart hello[] = {{.kind = PART_USER, .text = {"hello", 5}}};
    GenerateRequest request = {.model = model, .stream = stream,
                               .submit = {.n = 1, .sampling.top_p = 1, .part_count = 1, .parts = hello}};
    Error err;
    *c = (Caller){0};
    assert_int_equal(pipe(c->wakes), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, c->client), 0);
    JobOptions options = {.shape = SHAPE_CHAT, .request = &request, .id = "id",
                          .client_fd = c->client[0], .sleep = sleep_now, .wake = wake_now,
                          .user = c};
    return job_begin(d, &options, &c->job, fault, &err);
}

static void leave(Caller *c)
{
    job_end(c->job);
    for (int i = 0; i < 2; i++) {
        close(c->wakes[i]);
        close(c->client[i]);
    }
}

static Fault wait_ready(Caller *c)
{
    char text[248];
    while (!job_ready(c->job))
        await_wake(c);
    Fault fault = job_fault(c->job, text);
    assert_true(fault == FAULT_NONE || text[0]);
    return fault;
}

static char self[1024];

static Dispatch *open_parts(double wait_seconds)
{
    DispatchModel models[PART_COUNT];
    for (int i = 0; i < PART_COUNT; i++)
        models[i] = (DispatchModel){.name = parts[i].name, .engine = {.model = parts[i].name}};
    Error err;
    Dispatch *d;
    DispatchOptions options = {.models = models, .model_count = PART_COUNT, .program = self,
                               .command = "worker", .wait_seconds = wait_seconds,
                               .progress_seconds = 0.5};
    assert_ok(dispatch_open(&d, &options, &err));
    return d;
}

static void whole_answers_or_a_reason(void **state)
{
    (void)state;
    Dispatch *d = open_parts(1);
    for (int i = 0; i < PART_COUNT; i++) {
        Caller c;
        Fault fault;
        const char *bytes;
        size_t size;
        if (!ask(d, &c, parts[i].name, false, &fault)) {
            assert_int_equal(fault, parts[i].whole); /* it has failed too often already */
            leave(&c);
            continue;
        }
        fault = wait_ready(&c);
        if (fault != parts[i].whole)
            fail_test("%s: fault %d, expected %d", parts[i].name, (int)fault, (int)parts[i].whole);
        if (!fault) {
            job_answer(c.job, &bytes, &size);
            assert_non_null(memmem(bytes, size, "\"usage\"", 7));
        }
        leave(&c);
    }
    assert_int_equal(dispatch_jobs(d), 0);
    dispatch_close(d);
}

static void streams_end_as_they_should(void **state)
{
    (void)state;
    Dispatch *d = open_parts(5);
    for (int i = 0; i < PART_COUNT; i++) {
        if (!parts[i].stream)
            continue;
        Caller c;
        Fault fault;
        auto_buf Buf all;
        buf_init(&all, 64 << 20);
        assert_true(ask(d, &c, parts[i].name, true, &fault));
        if (wait_ready(&c) != FAULT_NONE) {
            leave(&c); /* it failed before it began: a status, as for whole answers */
            continue;
        }
        if (parts[i].play == play_flood) { /* a reader that is asleep: until the job has ended */
            DispatchStatus status;
            do {
                dispatch_status(d, (uint32_t)i, &status);
                usleep(1000);
            } while (status.jobs);
        }
        char bite[1000];
        for (int64_t got; (got = job_read(c.job, bite, sizeof bite)) >= 0;) {
            if (got == 0)
                await_wake(&c);
            buf_add(&all, bite, (size_t)got);
        }
        size_t length = strlen(parts[i].stream);
        if (all.size < length || strcmp(all.data + all.size - length, parts[i].stream) != 0)
            fail_test("%s: the stream ends with %s", parts[i].name,
                      all.data + (all.size > 200 ? all.size - 200 : 0));
        leave(&c);
    }
    dispatch_close(d);
}

static void the_next_worker_answers(void **state)
{
    (void)state;
    Dispatch *d = open_parts(10);
    for (int i = 0; i < 3; i++) {
        Caller c;
        Fault fault;
        assert_true(ask(d, &c, "die", false, &fault));
        assert_int_equal(wait_ready(&c), FAULT_WORKER); /* and not STARTING: it was handed over */
        leave(&c);
    }
    DispatchStatus status;
    dispatch_status(d, 1, &status);
    assert_string_equal(status.name, "die");
    assert_true(status.restarts >= 3);
    assert_non_null(strstr(status.reason, "status 9"));
    dispatch_close(d);
}

static void clients_that_leave_are_noticed(void **state)
{
    (void)state;
    Dispatch *d = open_parts(10);
    Caller c;
    Fault fault;
    assert_true(ask(d, &c, "hang", false, &fault));
    assert_false(job_ready(c.job));
    double begun = clock_seconds();
    shutdown(c.client[1], SHUT_WR);
    await_wake(&c);
    assert_true(clock_seconds() - begun < 0.4); /* before the watchdog would have */
    assert_int_equal(wait_ready(&c), FAULT_GONE);
    leave(&c);

    dispatch_drain(d);
    assert_false(ask(d, &c, "good", false, &fault));
    assert_int_equal(fault, FAULT_DRAINING);
    leave(&c);
    assert_false(ask(d, &c, "unknown", false, &fault));
    assert_int_equal(fault, FAULT_MODEL);
    leave(&c);
    dispatch_close(d);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "worker") == 0)
        return play(argv[3]);
    ssize_t got = readlink("/proc/self/exe", self, sizeof self - 1);
    if (got <= 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_answers_or_a_reason),
        cmocka_unit_test(streams_end_as_they_should),
        cmocka_unit_test(the_next_worker_answers),
        cmocka_unit_test(clients_that_leave_are_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
