#include "serve/worker.h"

#include "base/test.h"
#include "serve/wire.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

/* A worker in a thread of this process, and our end of its socket. */
typedef struct {
    pthread_t thread;
    int ours, theirs, status;
    EngineOptions options;
    WireReader in;
} Running;

static void *run(void *user)
{
    Running *r = user;
    r->status = worker_run(r->theirs, &r->options);
    close(r->theirs);
    return NULL;
}

static void begin(Running *r, const char *model)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    *r = (Running){.ours = pair[0], .theirs = pair[1],
                   .options = {.model = model, .threads = 1, .sequences_max = 2, .queue_max = 2}};
    wire_reader_init(&r->in, WIRE_WORKER);
    assert_int_equal(pthread_create(&r->thread, NULL, run, r), 0);
}

static int end(Running *r)
{
    close(r->ours);
    pthread_join(r->thread, NULL);
    wire_reader_done(&r->in);
    return r->status;
}

/* The next frame that is no heartbeat. */
static WireFrame next(Running *r)
{
    Error err;
    WireFrame frame;
    bool got;
    for (;;) {
        assert_ok(wire_reader_next(&r->in, &frame, &got, &err));
        if (got && frame.kind != WIRE_BEAT)
            return frame;
        if (got)
            continue;
        char bytes[4096];
        ssize_t size = recv(r->ours, bytes, sizeof bytes, 0);
        assert_true(size > 0);
        assert_ok(wire_reader_add(&r->in, bytes, (size_t)size, &err));
    }
}

static void expect_error(Running *r, WireCause cause, const char *words)
{
    Error err;
    WireError error;
    WireFrame frame = next(r);
    assert_int_equal(frame.kind, WIRE_ERROR);
    assert_ok(wire_read_error(&frame, &error, &err));
    assert_int_equal(error.cause, cause);
    if (!memmem(error.text.text, error.text.size, words, strlen(words)))
        fail_test("\"%.*s\" without \"%s\"", (int)error.text.size, error.text.text, words);
}

static void failures_have_last_words(void **state)
{
    (void)state;
    Running r;
    begin(&r, "/nonexistent/model");
    expect_error(&r, CAUSE_WORKER, "/nonexistent/model");
    assert_int_equal(end(&r), 1);
}

static void arguments_carry_every_option(void **state)
{
    (void)state;
    EngineOptions options = {.model = "/m", .weights = "q8_0", .threads = 1, .context = 2,
                             .sequences_max = 3, .queue_max = 4, .batch_tokens = 4000000000u};
    WorkerArguments arguments;
    worker_arguments(&arguments, "a", "worker", &options);
    static const char *const want[] = {"a", "worker", "--model", "/m", "--weights", "q8_0",
                                       "--threads", "1", "--context", "2", "--sequences", "3",
                                       "--queue", "4", "--batch", "4000000000"};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        assert_string_equal(arguments.words[i], want[i]);
    assert_null(arguments.words[sizeof want / sizeof *want]);
    char *const wrong[][4] = {{"--model"}, {"--colour", "red"}, {"--threads", "1"},
                              {"--model", "/m", "--threads", "99999999999"}};
    static const int counts[] = {1, 2, 2, 4};
    for (int i = 0; i < 4; i++) {
        char *words[4];
        memcpy(words, wrong[i], sizeof words);
        assert_int_equal(worker_main(counts[i], words, NULL), 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_have_last_words),
        cmocka_unit_test(arguments_carry_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
