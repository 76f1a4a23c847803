/* engine_test.c: the engine on a tiny random model: what a request is answered depends on nothing
 * but itself, and every request ends exactly once; see engine.h. */
#include "infer/engine_test.h"

#include <math.h>

enum { MANY = 21, ANSWER = 24 };

/* What one request was told. */
typedef struct {
    int32_t ids[FIXTURE_CONTEXT];
    float logprob[FIXTURE_CONTEXT];
    char text[4096];
    size_t size;
    uint32_t count, ends, prompt_tokens, answer_tokens, alternatives;
    EngineEnd end;
} Trace;

static void add_text(Trace *t, const char *text, size_t size)
{
    assert_true(t->size + size < sizeof t->text);
    memcpy(t->text + t->size, text, size);
    t->text[t->size += size] = 0;
}

static void on_token(void *user, int32_t id, const char *text, size_t size, float logprob,
                     const EngineAlternative *alternatives, uint32_t count)
{
    Trace *t = user;
    assert_int_equal(t->ends, 0);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(alternatives[i].logprob <= 0);
        assert_true(i == 0 || alternatives[i].logprob <= alternatives[i - 1].logprob);
        if (alternatives[i].id == id)
            assert_near((double)alternatives[i].logprob, (double)logprob, 0);
    }
    t->alternatives = count;
    t->ids[t->count] = id;
    t->logprob[t->count++] = logprob;
    add_text(t, text, size);
}

static void on_end(void *user, EngineEnd end, const char *text, size_t size, uint32_t prompt_tokens,
                   uint32_t answer_tokens)
{
    Trace *t = user;
    t->ends++;
    t->end = end;
    t->prompt_tokens = prompt_tokens;
    t->answer_tokens = answer_tokens;
    add_text(t, text, size);
}

static const EngineEvents events = {on_token, on_end};

static uint64_t submit(Engine *engine, uint32_t number, Trace *trace)
{
    Error err;
    int32_t ids[FIXTURE_CONTEXT];
    uint64_t handle;
    static const char *const stop[] = {"the", "q"};
    SamplerBias bias[] = {{30, 2}, {(int32_t)number + 40, -100}};
    EngineRequest r = {.prompt = ids, .prompt_count = fixture_prompt(number, ids),
                       .tokens_max = ANSWER,
                       .sampling = {.temperature = number % 3 ? 0.9f : 0,
                                    .top_p = number % 2 ? 0.9f : 0, .seed = number},
                       .logprobs = number % 5,
                       .stop = stop, .stop_count = number % 4 == 1 ? 2 : 0, .user = trace};
    if (number % 4 == 2) { /* what depends on the sequence's own tokens */
        r.sampling.repetition_penalty = 1.3f;
        r.sampling.frequency_penalty = 0.4f;
        r.sampling.repeat_last_n = (int32_t)number % 50 - 1;
        r.sampling.dry_multiplier = 1;
        r.sampling.dry_base = 1.5f;
        r.sampling.dry_allowed_length = 1;
        r.sampling.dry_penalty_last_n = -1;
        r.sampling.breakers = stop;
        r.sampling.breaker_count = number % 8 == 2;
        r.sampling.top_k = 30;
        r.sampling.bias = bias;
        r.sampling.bias_count = 2;
    }
    memset(trace, 0, sizeof *trace);
    assert_ok(engine_submit(engine, &r, &handle, &err));
    memset(bias, 0xff, sizeof bias); /* the engine has its own copy */
    return handle;
}

static void run(Engine *engine)
{
    Error err;
    for (int steps = 0; engine_busy(engine); steps++) {
        assert_ok(engine_step(engine, &err));
        assert_true(steps < 100000);
    }
}

static void compare(const Trace *got, const Trace *want, uint32_t number, const char *where)
{
    if (got->count != want->count || memcmp(got->ids, want->ids, want->count * 4) != 0 ||
        memcmp(got->logprob, want->logprob, want->count * 4) != 0 ||
        strcmp(got->text, want->text) != 0 || got->end != want->end || got->ends != 1 ||
        got->answer_tokens != want->answer_tokens || got->prompt_tokens != want->prompt_tokens)
        fail_test("request %u has another answer %s: '%s', alone '%s'", number, where, got->text,
                  want->text);
}

static void neighbours_chunks_and_threads_do_not_show(void **state)
{
    (void)state;
    static const EngineOptions ways[] = {
        {.sequences_max = 1, .batch_tokens = 1}, {.sequences_max = 2, .batch_tokens = 2},
        {.sequences_max = 3, .batch_tokens = 7}, {.sequences_max = 21, .batch_tokens = 64},
        {.sequences_max = 5, .batch_tokens = 33, .threads = 2},
        {.sequences_max = 8, .batch_tokens = 64, .threads = 3}, {.threads = 2},
        {.sequences_max = 20, .batch_tokens = 21, .threads = 3}};
    static const char *const weights[] = {"f32", "q8_0"};
    Trace *alone = mem_alloc(MANY, sizeof *alone), *many = mem_alloc(MANY, sizeof *many);
    for (int w = 0; w < 2; w++) {
        Engine *engine = fixture_open((EngineOptions){.weights = weights[w]}, events);
        uint32_t tokens = 0;
        for (uint32_t i = 0; i < MANY; i++) {
            submit(engine, i, &alone[i]);
            run(engine);
            tokens += alone[i].count;
        }
        engine_close(engine);
        assert_true(tokens > MANY * 4);
        for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
            EngineOptions options = ways[k];
            options.weights = weights[w];
            engine = fixture_open(options, events);
            for (uint32_t i = 0; i < MANY; i++)
                submit(engine, i, &many[i]);
            run(engine);
            char where[80];
            snprintf(where, sizeof where, "with %s, %u sequences, %u per step, %u threads",
                     weights[w], options.sequences_max, options.batch_tokens, options.threads);
            for (uint32_t i = 0; i < MANY; i++)
                compare(&many[i], &alone[i], i, where);
            engine_close(engine);
        }
    }
    mem_free(alone);
    mem_free(many);
}

/* Every end is told once, with its reason and its counts. */
static void ends_are_told_once(void **state)
{
    (void)state;
    Engine *engine = fixture_open((EngineOptions){.sequences_max = 4}, events);
    uint32_t seen[4] = {0};
    Trace *t = mem_alloc(1, sizeof *t);
    for (uint32_t i = 0; i < 80; i++) {
        submit(engine, i, t);
        run(engine);
        assert_int_equal(t->ends, 1);
        assert_true(t->end == ENGINE_STOP || t->end == ENGINE_LENGTH);
        assert_true(t->answer_tokens == t->count || t->answer_tokens == t->count + 1);
        if (t->end == ENGINE_LENGTH)
            assert_int_equal(t->count, ANSWER);
        if (i % 4 == 1) {
            assert_null(strstr(t->text, "the"));
            assert_null(strstr(t->text, "q"));
        }
        seen[t->end]++;
    }
    assert_true(seen[ENGINE_STOP] > 0 && seen[ENGINE_LENGTH] > 0);
    mem_free(t);
    engine_close(engine);
}

static void an_answer_ends_with_the_context(void **state)
{
    (void)state;
    Error err;
    Engine *engine = fixture_open((EngineOptions){.context = 70, .sequences_max = 2}, events);
    Trace *t = mem_alloc(1, sizeof *t);
    int32_t ids[FIXTURE_CONTEXT];
    uint64_t handle;
    for (int i = 0; i < FIXTURE_CONTEXT; i++)
        ids[i] = 40 + i;
    uint32_t full = 0;
    for (uint32_t count = 60; count < 70; count++) {
        memset(t, 0, sizeof *t);
        EngineRequest r = {.prompt = ids, .prompt_count = count, .user = t, .tokens_max = 5000};
        assert_ok(engine_submit(engine, &r, &handle, &err));
        run(engine);
        assert_int_equal(t->ends, 1);
        assert_true(count + t->answer_tokens <= 70);
        full += t->end == ENGINE_LENGTH && count + t->answer_tokens == 70;
    }
    assert_true(full > 0);
    EngineRequest r = {.prompt = ids, .prompt_count = 70, .user = t};
    assert_fails(engine_submit(engine, &r, &handle, &err), ERR_LIMIT, "70 tokens");
    assert_fails(engine_submit(engine, &r, &handle, &err), ERR_LIMIT, "context is 70");
    mem_free(t);
    engine_close(engine);
}

/* Cancelled in the queue, while its prompt is read, while it answers: told once, neighbours as if
 * alone, and the sequence is free again. */
static void cancelling_ends_at_once(void **state)
{
    (void)state;
    Error err;
    Trace *t = mem_alloc(6, sizeof *t), *alone = mem_alloc(1, sizeof *alone);
    Engine *engine = fixture_open((EngineOptions){.sequences_max = 2, .batch_tokens = 2}, events);
    submit(engine, 4, alone);
    run(engine);
    uint64_t handle[5];
    for (uint32_t i = 0; i < 5; i++)
        handle[i] = submit(engine, i, &t[i]);
    engine_cancel(engine, handle[3]); /* waits in the middle of the queue */
    assert_int_equal(t[3].ends, 1);
    assert_int_equal(t[3].end, ENGINE_CANCELLED);
    assert_ok(engine_step(engine, &err));
    engine_cancel(engine, handle[0]); /* its prompt is being read */
    assert_int_equal(t[0].ends, 1);
    assert_int_equal(t[0].count, 0);
    while (!t[1].count && !t[1].ends)
        assert_ok(engine_step(engine, &err));
    engine_cancel(engine, handle[1]); /* it answers, or has just ended */
    engine_cancel(engine, handle[1]);
    engine_cancel(engine, 12345);
    engine_cancel(engine, handle[4]); /* the last of the queue: what comes next is still found */
    uint64_t again = submit(engine, 4, &t[5]);
    assert_true(again > handle[4]);
    run(engine);
    for (int i = 0; i < 6; i++)
        assert_int_equal(t[i].ends, 1);
    compare(&t[5], alone, 4, "after others were cancelled");
    mem_free(t);
    mem_free(alone);
    engine_close(engine);
}

/* user: how many answers' tokens to allow; id 30 + k as token k, then nothing. */
static bool allow_row(void *user, const int32_t *answer, uint32_t count, uint64_t *allowed)
{
    const uint32_t *most = user;
    if (count > 0)
        assert_int_equal(answer[count - 1], 30 + count - 1);
    if (count < *most)
        allowed[(30 + count) / 64] |= 1ull << ((30 + count) % 64);
    return true;
}

static void a_hook_leads_the_answer(void **state)
{
    (void)state;
    Error err;
    Trace *t = mem_alloc(2, sizeof *t);
    int32_t ids[] = {20, 21};
    uint32_t most = 5;
    uint64_t handle;
    Engine *engine = fixture_open((EngineOptions){0}, events);
    for (int i = 0; i < 2; i++) {
        EngineRequest r = {.prompt = ids, .prompt_count = 2, .user = &t[i], .ids_only = i,
                           .sampling = {.temperature = (float)i, .hook = {allow_row, &most}}};
        assert_ok(engine_submit(engine, &r, &handle, &err));
    }
    run(engine);
    for (int i = 0; i < 2; i++) { /* masked to nothing, the answer has failed and the engine goes on */
        assert_int_equal(t[i].count, 5);
        assert_int_equal(t[i].ids[4], 34);
        assert_int_equal(t[i].end, ENGINE_FAILED);
        assert_true((t[i].logprob[0] < 0) == (i == 0));
    }
    mem_free(t);
    engine_close(engine);
}

/* DRY keeps a greedy model from going round; a breaker lets it. */
static void dry_ends_loops(void **state)
{
    (void)state;
    Error err;
    Trace *t = mem_alloc(3, sizeof *t);
    char own[SAMPLER_BREAKER_BYTES_MAX + 1] = {0};
    const char *list[] = {own};
    uint64_t handle;
    Engine *engine = fixture_open((EngineOptions){0}, events);
    for (uint32_t i = 0; i < 3; i++) {
        int32_t ids[FIXTURE_CONTEXT];
        EngineRequest r = {.prompt = ids, .prompt_count = fixture_prompt(4, ids), .tokens_max = 60,
                           .user = &t[i], .sampling = {.bias = (SamplerBias[]){{40, 100}},
                           .bias_count = 1, .dry_multiplier = i ? 50 : 0, .dry_base = 2,
                           .dry_allowed_length = 1, .dry_penalty_last_n = -1}};
        if (i == 2) {
            size_t size;
            const char *bytes = tokenizer_bytes(engine_tokenizer(engine), 40, &size);
            memcpy(own, bytes, size < sizeof own ? size : 0);
            r.sampling.breakers = list;
            r.sampling.breaker_count = 1;
        }
        assert_ok(engine_submit(engine, &r, &handle, &err));
    }
    run(engine);
    bool same = true;
    for (uint32_t k = 0; k < t[0].count; k++)
        same = same && t[0].ids[k] == 40;
    assert_true(same && t[0].count == 60);
    assert_true(t[1].count < 60 || memcmp(t[0].ids, t[1].ids, 60 * sizeof *t[0].ids) != 0);
    assert_memory_equal(t[0].ids, t[2].ids, 60 * sizeof *t[0].ids);
    mem_free(t);
    engine_close(engine);
}

static void a_full_queue_says_so(void **state)
{
    (void)state;
    Error err;
    Trace *t = mem_alloc(4, sizeof *t);
    int32_t ids[] = {20, 21};
    uint64_t handle;
    Engine *engine = fixture_open((EngineOptions){.sequences_max = 1, .queue_max = 2}, events);
    submit(engine, 0, &t[0]);
    assert_ok(engine_step(engine, &err));
    submit(engine, 1, &t[1]);
    submit(engine, 2, &t[2]);
    EngineRequest r = {.prompt = ids, .prompt_count = 2, .user = &t[3]};
    assert_fails(engine_submit(engine, &r, &handle, &err), ERR_LIMIT, "2 requests are waiting");
    run(engine);
    assert_int_equal(t[3].ends, 0);
    mem_free(t);
    engine_close(engine);
}

static void wrong_requests_are_refused(void **state)
{
    (void)state;
    Error err;
    int32_t ids[] = {20, 5000}, below[] = {-1};
    uint64_t handle;
    static const char *const empty[] = {""};
    Engine *engine = fixture_open((EngineOptions){0}, events);
    EngineRequest r = {.prompt = ids, .prompt_count = 0};
    assert_fails(engine_submit(engine, &r, &handle, &err), ERR_INPUT, "prompt is empty");
    r.prompt_count = 2;
    assert_fails(engine_submit(engine, &r, &handle, &err), ERR_INPUT, "prompt token 1 is 5000");
    r = (EngineRequest){.prompt = below, .prompt_count = 1};
    assert_fails(engine_submit(engine, &r, &handle, &err), ERR_INPUT, "prompt token 0 is -1");
    r = (EngineRequest){.prompt = ids, .prompt_count = 1, .sampling.temperature = NAN};
    assert_fails(engine_submit(engine, &r, &handle, &err), ERR_INPUT, "temperature");
    r = (EngineRequest){.prompt = ids, .prompt_count = 1, .sampling.top_p = 1.5f};
    assert_fails(engine_submit(engine, &r, &handle, &err), ERR_INPUT, "top_p");
    SamplerBias far = {5000, 1};
    r = (EngineRequest){.prompt = ids, .prompt_count = 1,
                        .sampling = {.bias = &far, .bias_count = 1}};
    assert_fails(engine_submit(engine, &r, &handle, &err), ERR_INPUT, "logit_bias names token 5000");
    r = (EngineRequest){.prompt = ids, .prompt_count = 1,
                        .sampling = {.dry_multiplier = 1, .breakers = empty, .breaker_count = 1}};
    assert_fails(engine_submit(engine, &r, &handle, &err), ERR_INPUT, "sequence breaker 1");
    r = (EngineRequest){.prompt = ids, .prompt_count = 1, .logprobs = 21};
    assert_fails(engine_submit(engine, &r, &handle, &err), ERR_INPUT, "21 log-probabilities");
    r = (EngineRequest){.prompt = ids, .prompt_count = 1, .stop = empty, .stop_count = 1};
    assert_fails(engine_submit(engine, &r, &handle, &err), ERR_INPUT, "stop text 1");
    assert_false(engine_busy(engine));
    engine_close(engine);
}

static void a_step_allocates_nothing(void **state)
{
    (void)state;
    Error err;
    Trace *t = mem_alloc(10, sizeof *t);
    Engine *engine = fixture_open((EngineOptions){.sequences_max = 3, .threads = 2}, events);
    for (uint32_t i = 0; i < 10; i++)
        submit(engine, i, &t[i]);
    uint64_t before = mem_count();
    bool ok = true;
    while (engine_busy(engine) && ok)
        ok = engine_step(engine, &err);
    assert_int_equal(mem_count(), before);
    assert_true(ok);
    mem_free(t);
    engine_close(engine);
}

static void wrong_options_are_refused(void **state)
{
    (void)state;
    Error err;
    Engine *engine;
    EngineOptions o = {.model = fixture_folder, .weights = "bf16", .threads = 1};
    assert_fails(engine_open(&engine, &o, events, &err), ERR_INPUT, "weights 'bf16'");
    o = (EngineOptions){.model = fixture_folder, .context = 1000, .threads = 1};
    assert_fails(engine_open(&engine, &o, events, &err), ERR_INPUT, "context of 1000");
    o = (EngineOptions){.model = fixture_folder, .batch_tokens = 5000, .threads = 1};
    assert_fails(engine_open(&engine, &o, events, &err), ERR_LIMIT, "batch_tokens 5000");
    o = (EngineOptions){.model = "/tmp/there-is-no-such-folder", .threads = 1};
    assert_fails(engine_open(&engine, &o, events, &err), ERR_NOT_FOUND, "no model folder");
}

/* Every allocation of opening and submitting fails once: an error, and nothing leaks. */
static void failing_allocations_are_errors(void **state)
{
    (void)state;
    Trace *t = mem_alloc(1, sizeof *t);
    for (int64_t n = 0, opened = 0; !opened; n += n < 60 ? 1 : 37) {
        Error err = {0};
        Engine *engine;
        EngineOptions o = {.model = fixture_folder, .threads = 1, .batch_tokens = 8};
        mem_fail_after(n);
        opened = engine_open(&engine, &o, events, &err);
        mem_fail_after(-1);
        if (!opened && err.code != ERR_MEMORY && err.code != ERR_FORMAT) /* Jansson cannot tell */
            fail_test("allocation %lld: code %d, %s", (long long)n, (int)err.code, err.text);
        if (!opened)
            continue;
        int32_t ids[] = {20};
        EngineRequest r = {.prompt = ids, .prompt_count = 1, .user = t,
                           .sampling = {.dry_multiplier = 1, .dry_base = 2}};
        uint64_t handle;
        for (int64_t m = 0, accepted = 0; !accepted; m++) {
            mem_fail_after(m);
            accepted = engine_submit(engine, &r, &handle, &err);
            mem_fail_after(-1);
        }
        engine_close(engine); /* with a request waiting */
    }
    mem_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_chunks_and_threads_do_not_show),
        cmocka_unit_test(ends_are_told_once),
        cmocka_unit_test(an_answer_ends_with_the_context),
        cmocka_unit_test(cancelling_ends_at_once),
        cmocka_unit_test(a_hook_leads_the_answer),
        cmocka_unit_test(dry_ends_loops),
        cmocka_unit_test(a_full_queue_says_so),
        cmocka_unit_test(wrong_requests_are_refused),
        cmocka_unit_test(a_step_allocates_nothing),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(failing_allocations_are_errors),
    };
    return cmocka_run_group_tests(tests, fixture_make, fixture_drop);
}
