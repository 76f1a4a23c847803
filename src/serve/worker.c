/* worker.c: see worker.h.
 *
 * Invariants: 1. a Choice in use has exactly one engine request, and its on_end frees it. 2. A
 * request's choices are all accepted or none is: after an ERROR frame nothing follows for it.
 * 3. Frames leave once per engine step, in one write. */
#include "serve/worker.h"

#include "base/clock.h"
#include "base/rng.h"
#include "fleet/supervisor.h"
#include "serve/wire.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    OUT_BYTES_MAX = 256 << 20,
    PROMPT_TOKENS_MAX = 4 << 20,
    REQUEST_BYTES_MAX = 64 << 20,
    BEAT_MS = 250,
    READ_BYTES = 1 << 16,
    WRONG_ARGUMENTS = 2,
};

typedef struct Worker Worker;

typedef struct {
    Worker *worker;
    uint64_t request, handle;
    uint32_t choice;
    bool used, silent, logprobs;
} Choice;

struct Worker {
    int fd;
    Engine *engine;
    WireReader in;
    Buf out;
    Tokens prompt;
    Choice *choices;
    uint32_t choice_count, running;
    uint64_t steps, tokens;
    double beat_at;
    bool leaving;
};

/* ---- arguments: one table for both directions ---- */

typedef struct {
    const char *name;
    size_t offset;
    bool number;
} Option;

static const Option worker_options[] = {
    {"--model", offsetof(EngineOptions, model), false},
    {"--weights", offsetof(EngineOptions, weights), false},
    {"--threads", offsetof(EngineOptions, threads), true},
    {"--context", offsetof(EngineOptions, context), true},
    {"--sequences", offsetof(EngineOptions, sequences_max), true},
    {"--queue", offsetof(EngineOptions, queue_max), true},
    {"--batch", offsetof(EngineOptions, batch_tokens), true},
};
enum { OPTION_COUNT = sizeof worker_options / sizeof *worker_options };

void worker_arguments(WorkerArguments *out, const char *argv0, const char *command,
                      const EngineOptions *options)
{
    *out = (WorkerArguments){.words = {argv0, command}};
    size_t at = 2;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const char *field = (const char *)options + worker_options[i].offset;
        const char *text = out->numbers[i];
        uint32_t number = 0;
        if (worker_options[i].number) {
            memcpy(&number, field, sizeof number);
            snprintf(out->numbers[i], sizeof out->numbers[i], "%u", number);
        } else {
            memcpy(&text, field, sizeof text);
        }
        if (!(worker_options[i].number ? number != 0 : text != NULL))
            continue; /* the engine's default */
        out->words[at++] = worker_options[i].name;
        out->words[at++] = text;
    }
}

static bool parse_option(EngineOptions *options, const char *name, const char *text)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char *field = (char *)options + worker_options[i].offset;
        if (strcmp(worker_options[i].name, name) != 0)
            continue;
        if (!worker_options[i].number) {
            memcpy(field, &text, sizeof text);
            return true;
        }
        char *end;
        unsigned long number = strtoul(text, &end, 10);
        uint32_t value = (uint32_t)number;
        memcpy(field, &value, sizeof value);
        return *text && !*end && number <= UINT32_MAX;
    }
    return false;
}

int worker_main(int argc, char **argv, EngineLoad *load)
{
    EngineOptions options = {.load = load};
    for (int i = 0; i < argc; i += 2) {
        if (i + 1 < argc && parse_option(&options, argv[i], argv[i + 1]))
            continue;
        return WRONG_ARGUMENTS;
    }
    if (!options.model)
        return WRONG_ARGUMENTS;
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    return worker_run(SUPERVISOR_CHILD_FD, &options);
}

/* ---- frames out ---- */

static WireText text_of(const char *text)
{
    return (WireText){text, (uint32_t)strlen(text)};
}

/* The gateway reads always, so a full socket empties soon. False: it is gone. */
static bool flush(Worker *w)
{
    if (w->out.failed)
        return false;
    size_t at = 0;
    while (at < w->out.size) {
        ssize_t sent = send(w->fd, w->out.data + at, w->out.size - at, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        at += (size_t)sent;
    }
    buf_reset(&w->out);
    return true;
}

static void send_error(Worker *w, uint64_t request, WireCause cause, const Error *err)
{
    wire_add_error(&w->out, request, &(WireError){cause, err->code, text_of(err->text)});
}

static void beat(Worker *w, double now)
{
    wire_add_beat(&w->out, &(WireBeat){w->steps, w->tokens, w->running});
    w->beat_at = now;
}

/* ---- what the engine reports ---- */

static WireChance chance(const Worker *w, int32_t id, float logprob)
{
    size_t size = 0;
    const char *bytes = tokenizer_bytes(engine_tokenizer(w->engine), id, &size);
    return (WireChance){id, logprob, {bytes ? bytes : "", bytes ? (uint32_t)size : 0}};
}

static void on_token(void *user, int32_t id, const char *text, size_t size, float logprob,
                     const EngineAlternative *alternatives, uint32_t count)
{
    const Choice *c = user;
    Worker *w = c->worker;
    w->tokens++;
    if (c->silent || (size == 0 && !c->logprobs))
        return;
    WireToken token = {.choice = c->choice, .text = {text, (uint32_t)size}};
    token.chosen = (WireChance){.id = id, .bytes = {"", 0}};
    if (c->logprobs) {
        token.chosen = chance(w, id, logprob);
        token.count = count < WIRE_ALTERNATIVES_MAX ? count : WIRE_ALTERNATIVES_MAX;
        for (uint32_t i = 0; i < token.count; i++)
            token.alternatives[i] = chance(w, alternatives[i].id, alternatives[i].logprob);
    }
    wire_add_token(&w->out, c->request, &token);
}

static void on_end(void *user, EngineEnd end, const char *text, size_t size,
                   uint32_t prompt_tokens, uint32_t answer_tokens)
{
    static const WireEndKind kinds[] = {[ENGINE_STOP] = WIRE_STOPPED,
                                        [ENGINE_LENGTH] = WIRE_LENGTH,
                                        [ENGINE_CANCELLED] = WIRE_CANCELLED,
                                        [ENGINE_FAILED] = WIRE_FAILED};
    Choice *c = user;
    Worker *w = c->worker;
    if (!c->silent)
        wire_add_end(&w->out, c->request,
                     &(WireEnd){c->choice, kinds[end], {text, (uint32_t)size}, prompt_tokens,
                                answer_tokens});
    c->used = false;
    w->running--;
}

/* ---- requests ---- */

/* Ends every choice of a request without a word. */
static void drop(Worker *w, uint64_t request)
{
    for (uint32_t i = 0; i < w->choice_count; i++) {
        Choice *c = &w->choices[i];
        if (!c->used || c->request != request)
            continue;
        c->silent = true;
        engine_cancel(w->engine, c->handle);
    }
}

static bool copy_ids(Worker *w, const WirePart *part, Error *err)
{
    uint32_t vocab = engine_info(w->engine).vocab;
    for (uint32_t i = 0; i < part->count; i++) {
        int32_t id;
        memcpy(&id, (const char *)part->ids + (size_t)i * sizeof id, sizeof id);
        if (id < 0 || (uint32_t)id >= vocab)
            return fail(err, ERR_INPUT, "prompt token id %d is outside 0..%u", id, vocab - 1);
        tokens_add(&w->prompt, id);
    }
    return !w->prompt.failed || fail(err, ERR_MEMORY, "no memory for a prompt of %u tokens",
                                     part->count);
}

static bool render_chat(Worker *w, const WireSubmit *submit, Arena *arena, Error *err)
{
    const ChatTemplate *template = engine_template(w->engine);
    if (!template)
        return fail(err, ERR_INPUT, "this model carries no chat template that is known here: use "
                    "/v1/completions");
    ChatMessage *messages = arena_alloc(arena, submit->part_count, sizeof *messages);
    if (!messages)
        return fail(err, ERR_MEMORY, "no memory for %u messages", submit->part_count);
    static const ChatRole roles[] = {[PART_SYSTEM] = CHAT_SYSTEM, [PART_USER] = CHAT_USER,
                                     [PART_ASSISTANT] = CHAT_ASSISTANT};
    for (uint32_t i = 0; i < submit->part_count; i++)
        messages[i] = (ChatMessage){.role = roles[submit->parts[i].kind],
                                    .content = submit->parts[i].text.text,
                                    .size = submit->parts[i].text.size};
    return chat_render(template, engine_tokenizer(w->engine), messages, submit->part_count, true,
                       &w->prompt, NULL, err);
}

/* Prompt number p as ids in w->prompt. */
static bool make_prompt(Worker *w, const WireSubmit *submit, uint32_t p, Arena *arena,
                        WireCause *cause, Error *err)
{
    const WirePart *part = &submit->parts[p];
    w->prompt.count = 0;
    w->prompt.failed = false;
    *cause = CAUSE_REQUEST;
    bool ok = part->kind <= PART_ASSISTANT ? render_chat(w, submit, arena, err)
              : part->kind == PART_IDS     ? copy_ids(w, part, err)
                                           : tokenizer_encode_prompt(
                                                 engine_tokenizer(w->engine), part->text.text,
                                                 part->text.size, &w->prompt, err);
    if (!ok) {
        *cause = err->code == ERR_MEMORY ? CAUSE_WORKER : CAUSE_REQUEST;
        return false;
    }
    uint32_t context = engine_info(w->engine).context;
    if (w->prompt.count == 0)
        return fail(err, ERR_INPUT, "the prompt is empty");
    if (w->prompt.count < context)
        return true;
    *cause = CAUSE_CONTEXT;
    return fail(err, ERR_LIMIT,
                "the prompt has %zu tokens; the model's context of %u tokens leaves no room for an "
                "answer",
                w->prompt.count, context);
}

static Choice *free_choice(Worker *w)
{
    for (uint32_t i = 0; i < w->choice_count; i++)
        if (!w->choices[i].used)
            return &w->choices[i];
    return NULL;
}

static bool submit_choice(Worker *w, const WireSubmit *submit, const char *const *stops,
                          uint64_t request, uint32_t number, WireCause *cause, Error *err)
{
    *cause = CAUSE_BUSY;
    Choice *c = free_choice(w);
    if (!c)
        return fail(err, ERR_LIMIT, "the model's queue of %u answers is full", w->choice_count);
    uint32_t k = number % submit->n;
    EngineRequest engine_request = {
        .prompt = w->prompt.ids,
        .prompt_count = (uint32_t)w->prompt.count,
        .tokens_max = submit->tokens_max,
        .sampling = submit->sampling,
        .logprobs = submit->alternatives,
        .ids_only = !submit->logprobs,
        .stop = stops,
        .stop_count = submit->stop_count,
        .user = c,
    };
    if (k) /* the first answer has the caller's seed, so that n does not change it */
        engine_request.sampling.seed = rng_u64(rng_key(submit->sampling.seed, "choice"), k);
    *c = (Choice){.worker = w, .request = request, .choice = number, .logprobs = submit->logprobs};
    if (!engine_submit(w->engine, &engine_request, &c->handle, err)) {
        *cause = err->code == ERR_LIMIT   ? CAUSE_BUSY
                 : err->code == ERR_INPUT ? CAUSE_REQUEST
                                          : CAUSE_WORKER;
        return false;
    }
    c->used = true;
    w->running++;
    return true;
}

static bool submit_all(Worker *w, const WireSubmit *submit, uint64_t request, Arena *arena,
                       uint32_t prompt_tokens[], WireCause *cause, Error *err)
{
    const char *stops[WIRE_STOPS_MAX];
    *cause = CAUSE_WORKER;
    for (uint32_t i = 0; i < submit->stop_count; i++) {
        stops[i] = arena_copy_text(arena, submit->stops[i].text, submit->stops[i].size);
        if (!stops[i])
            return fail(err, ERR_MEMORY, "no memory for stop texts");
    }
    for (uint32_t p = 0; p < wire_prompts(submit); p++) {
        if (!make_prompt(w, submit, p, arena, cause, err))
            return false;
        prompt_tokens[p] = (uint32_t)w->prompt.count;
        for (uint32_t k = 0; k < submit->n; k++)
            if (!submit_choice(w, submit, stops, request, p * submit->n + k, cause, err))
                return false;
    }
    return true;
}

static bool handle_submit(Worker *w, const WireFrame *frame, Error *err)
{
    Arena arena;
    arena_init(&arena, REQUEST_BYTES_MAX);
    WireSubmit submit;
    bool ok = wire_read_submit(frame, &submit, &arena, err);
    if (ok) {
        uint32_t prompt_tokens[WIRE_CHOICES_MAX];
        WireCause cause;
        Error problem;
        if (submit_all(w, &submit, frame->request, &arena, prompt_tokens, &cause, &problem)) {
            for (uint32_t i = 0; i < wire_prompts(&submit) * submit.n; i++)
                wire_add_start(&w->out, frame->request,
                               &(WireStart){i, prompt_tokens[i / submit.n]});
        } else {
            drop(w, frame->request);
            send_error(w, frame->request, cause, &problem);
        }
    }
    arena_done(&arena);
    return ok;
}

/* ---- the loop ---- */

static bool handle_frames(Worker *w, Error *err)
{
    for (;;) {
        WireFrame frame;
        bool got;
        if (!wire_reader_next(&w->in, &frame, &got, err))
            return false;
        if (!got)
            return true;
        if (frame.kind == WIRE_CANCEL)
            drop(w, frame.request);
        else if (!handle_submit(w, &frame, err))
            return false;
    }
}

/* Takes what has arrived, waiting at most timeout_ms for it. */
static bool receive(Worker *w, int timeout_ms, Error *err)
{
    struct pollfd in = {.fd = w->fd, .events = POLLIN};
    if (poll(&in, 1, timeout_ms) <= 0)
        return true;
    char bytes[READ_BYTES];
    ssize_t got = recv(w->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    if (got <= 0) {
        w->leaving = true;
        return true;
    }
    return wire_reader_add(&w->in, bytes, (size_t)got, err) && handle_frames(w, err);
}

static bool loop(Worker *w, Error *err)
{
    while (!w->leaving) {
        bool busy = engine_busy(w->engine);
        if (!receive(w, busy ? 0 : BEAT_MS, err))
            return false;
        if (engine_busy(w->engine)) {
            if (!engine_step(w->engine, err))
                return false;
            w->steps++;
        }
        double now = clock_seconds();
        if (now - w->beat_at >= BEAT_MS / 1000.0)
            beat(w, now);
        if (!flush(w))
            w->leaving = true;
    }
    return true;
}

static bool prepare(Worker *w, const EngineOptions *options, Error *err)
{
    w->choice_count = (options->sequences_max ? options->sequences_max : 8) +
                      (options->queue_max ? options->queue_max : 256);
    w->choices = mem_alloc(w->choice_count, sizeof *w->choices);
    if (!w->choices)
        return fail(err, ERR_MEMORY, "no memory for %u answers", w->choice_count);
    if (!engine_open(&w->engine, options, (EngineEvents){on_token, on_end}, err))
        return false;
    EngineInfo info = engine_info(w->engine);
    wire_add_ready(&w->out, &(WireReady){info.context, info.vocab, info.parameters,
                                         info.bytes_planned, engine_template(w->engine) != NULL});
    return true;
}

int worker_run(int fd, const EngineOptions *options)
{
    Worker w = {.fd = fd};
    Error err = {0};
    wire_reader_init(&w.in, WIRE_GATEWAY);
    buf_init(&w.out, OUT_BYTES_MAX);
    tokens_init(&w.prompt, PROMPT_TOKENS_MAX);
    bool ok = prepare(&w, options, &err) && loop(&w, &err);
    if (!ok) {
        send_error(&w, 0, CAUSE_WORKER, &err);
        (void)flush(&w); /* the gateway sees the end of this process in any case */
    }
    for (uint32_t i = 0; i < w.choice_count && w.choices; i++)
        w.choices[i].silent = true;
    engine_close(w.engine);
    tokens_done(&w.prompt);
    wire_reader_done(&w.in);
    buf_done(&w.out);
    mem_free(w.choices);
    return ok ? 0 : 1;
}
