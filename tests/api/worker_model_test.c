/* worker_model_test.c: a worker with a real, tiny model, spoken to frame by frame. */
#include "serve/worker.h"

#include "base/fs.h"
#include "base/test.h"
#include "model/model.h"
#include "serve/wire.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static char folder[] = "/tmp/bastide-worker-XXXXXX";

static void document(void *user, size_t i, const char **text, size_t *size)
{
    (void)user;
    (void)i;
    *text = "the cat sat on the mat and the dog sat on the log";
    *size = strlen(*text);
}

static int make_model(void **state)
{
    (void)state;
    Error err;
    const ChatTemplate *chat = chat_template_default();
    uint32_t specials = 0;
    while (chat->specials[specials])
        specials++;
    Tokenizer *tokenizer;
    Model *model;
    ModelConfig config = {.layers = 1, .width = 32, .heads = 2, .kv_heads = 1, .head_width = 16,
                          .ff_width = 64, .context = 64, .eps = 1e-5f, .theta = 10000};
    if (!mkdtemp(folder) ||
        !tokenizer_train(&tokenizer,
                         &(TokenizerTraining){.vocab = 280, .special = chat->specials,
                                              .special_count = specials, .threads = 1},
                         20, document, NULL, &err))
        return -1;
    config.vocab = tokenizer_vocab(tokenizer);
    if (!model_new(&model, family_named("llama"), &config, tokenizer, chat, "t", 1, &err))
        return -1;
    bool ok = model_save(model, folder, &err);
    model_free(model);
    return ok ? 0 : -1;
}

static int drop_model(void **state)
{
    (void)state;
    Error err;
    return fs_remove_tree(folder, &err) ? 0 : -1;
}

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

static void put(Running *r, const Buf *frames)
{
    assert_int_equal(send(r->ours, frames->data, frames->size, MSG_NOSIGNAL), frames->size);
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

static void submit(Running *r, uint64_t request, WireSubmit submit_options)
{
    auto_buf Buf out;
    buf_init(&out, 1 << 20);
    submit_options.sampling.top_p = 1;
    wire_add_submit(&out, request, &submit_options);
    put(r, &out);
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

static const WirePart hello[] = {{.kind = PART_USER, .text = {"the cat", 7}}};

static void answers_and_refuses(void **state)
{
    (void)state;
    Error err;
    Running r;
    WireReady ready;
    begin(&r, folder);
    WireFrame frame = next(&r);
    assert_int_equal(frame.kind, WIRE_READY);
    assert_ok(wire_read_ready(&frame, &ready, &err));
    assert_int_equal(ready.context, 64);
    assert_true(ready.chat);

    submit(&r, 7, (WireSubmit){.n = 2, .tokens_max = 5, .part_count = 1, .parts = hello,
                               .logprobs = true, .alternatives = 2});
    int starts = 0, ends = 0, tokens = 0;
    while (ends < 2) {
        frame = next(&r);
        assert_int_equal(frame.request, 7);
        starts += frame.kind == WIRE_START;
        tokens += frame.kind == WIRE_TOKEN;
        ends += frame.kind == WIRE_END;
        assert_true(frame.kind != WIRE_ERROR && (frame.kind == WIRE_START || starts == 2));
    }
    assert_in_range(tokens, 1, 10);

    static const int32_t high[] = {1, 5000};
    const WirePart wrong[] = {{.kind = PART_IDS, .ids = high, .count = 2}};
    submit(&r, 8, (WireSubmit){.n = 1, .part_count = 1, .parts = wrong});
    expect_error(&r, CAUSE_REQUEST, "5000 is outside");

    static int32_t many[70];
    const WirePart length[] = {{.kind = PART_IDS, .ids = many, .count = 70}};
    submit(&r, 9, (WireSubmit){.n = 1, .part_count = 1, .parts = length});
    expect_error(&r, CAUSE_CONTEXT, "70 tokens");

    const WirePart twice[] = {hello[0], hello[0]};
    submit(&r, 10, (WireSubmit){.n = 1, .part_count = 2, .parts = twice});
    expect_error(&r, CAUSE_REQUEST, "message");

    const WirePart nothing[] = {{.kind = PART_TEXT, .text = {"", 0}}};
    submit(&r, 11, (WireSubmit){.n = 1, .part_count = 1, .parts = nothing});
    expect_error(&r, CAUSE_REQUEST, "empty");

    /* five answers do not fit into two places and a queue of two: none is begun */
    submit(&r, 12, (WireSubmit){.n = 5, .part_count = 1, .parts = hello});
    expect_error(&r, CAUSE_BUSY, "waiting");
    assert_int_equal(end(&r), 0);
}

static void cancelled_means_silent(void **state)
{
    (void)state;
    Running r;
    begin(&r, folder);
    assert_int_equal(next(&r).kind, WIRE_READY);
    auto_buf Buf out;
    buf_init(&out, 1 << 20);
    WireSubmit long_one = {.n = 2, .sampling.top_p = 1, .part_count = 1, .parts = hello};
    wire_add_submit(&out, 1, &long_one);
    wire_add_cancel(&out, 1);
    wire_add_cancel(&out, 99); /* unknown: finished meanwhile */
    WireSubmit after = {.n = 1, .sampling.top_p = 1, .tokens_max = 1, .part_count = 1, .parts = hello};
    wire_add_submit(&out, 2, &after);
    put(&r, &out);
    for (WireFrame frame = next(&r); frame.kind != WIRE_END; frame = next(&r))
        assert_true(frame.request == 2 || frame.kind == WIRE_START);
    assert_int_equal(end(&r), 0);
}

static void failures_have_last_words(void **state)
{
    (void)state;
    Running r;
    begin(&r, "/nonexistent/model");
    expect_error(&r, CAUSE_WORKER, "/nonexistent/model");
    assert_int_equal(end(&r), 1);

    begin(&r, folder);
    assert_int_equal(next(&r).kind, WIRE_READY);
    assert_int_equal(send(r.ours, "this is no frame at all", 23, 0), 23);
    expect_error(&r, CAUSE_WORKER, "not expected");
    assert_int_equal(end(&r), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_and_refuses),
        cmocka_unit_test(cancelled_means_silent),
        cmocka_unit_test(failures_have_last_words),
    };
    return cmocka_run_group_tests(tests, make_model, drop_model);
}
