#include "serve/transcript.h"

#include "base/test.h"
#include "format/json.h"

static Transcript *make(RequestShape shape, bool stream, uint32_t n, size_t bytes_max)
{
    Error err;
    Transcript *t;
    TranscriptOptions options = {.shape = shape, .stream = stream, .include_usage = true,
                                 .logprobs = true, .alternatives = 1, .prompts = 1, .n = n,
                                 .id = "id-1", .model = "m\"x", .fingerprint = "fp", .created = 9,
                                 .bytes_max = bytes_max};
    assert_ok(transcript_new(&t, &options, &err));
    return t;
}

static void token(Transcript *t, uint32_t choice, const char *text)
{
    Error err;
    WireToken event = {.choice = choice, .text = {text, (uint32_t)strlen(text)},
                       .chosen = {5, -0.5f, {text, (uint32_t)strlen(text)}},
                       .count = 1, .alternatives = {{6, -1, {"\xe2\x82", 2}}}};
    assert_ok(transcript_token(t, &event, &err));
}

/* One answer with a held-back end; two choices interleaved when n is 2. */
static void play(Transcript *t, uint32_t n)
{
    Error err;
    for (uint32_t i = 0; i < n; i++)
        assert_ok(transcript_start(t, &(WireStart){i, 3}, &err));
    assert_true(transcript_started(t));
    for (uint32_t i = 0; i < n; i++)
        token(t, i, "h\xc3\xa9");
    for (uint32_t i = 0; i < n; i++)
        token(t, i, "!");
    for (uint32_t i = 0; i < n; i++) {
        assert_false(transcript_finished(t));
        assert_ok(transcript_end(t, &(WireEnd){i, i ? WIRE_LENGTH : WIRE_STOPPED, {"?", 1}, 3, 2},
                                 &err));
    }
    assert_true(transcript_finished(t));
}

static json_t *parsed(const Transcript *t, size_t skip)
{
    Error err;
    const char *bytes;
    size_t size;
    json_t *value = NULL;
    assert_ok(transcript_bytes(t, &bytes, &size, &err));
    assert_ok(json_parse(&value, bytes + skip, size - skip, "answer", &err));
    return value;
}

static const char *text_at(const json_t *choice, const char *first, const char *second)
{
    const json_t *value = json_object_get(choice, first);
    return json_string_value(second ? json_object_get(value, second) : value);
}

static void whole_answers(void **state)
{
    (void)state;
    for (RequestShape shape = SHAPE_CHAT; shape <= SHAPE_TEXT; shape++) {
        Transcript *t = make(shape, false, 2, 1 << 20);
        play(t, 2);
        auto_json json_t *answer = parsed(t, 0);
        assert_string_equal(text_at(answer, "model", NULL), "m\"x");
        for (size_t i = 0; i < 2; i++) {
            const json_t *choice = json_array_get(json_object_get(answer, "choices"), i);
            assert_string_equal(shape == SHAPE_CHAT ? text_at(choice, "message", "content")
                                                    : text_at(choice, "text", NULL),
                                "h\xc3\xa9!?");
            assert_string_equal(text_at(choice, "finish_reason", NULL), i ? "length" : "stop");
            const json_t *logs = json_object_get(choice, "logprobs");
            const json_t *list = json_object_get(logs, shape == SHAPE_CHAT ? "content" : "tokens");
            assert_int_equal(json_array_size(list), 2);
            const json_t *offset = json_array_get(json_object_get(logs, "text_offset"), 1);
            if (shape == SHAPE_TEXT)
                assert_int_equal(json_integer_value(offset), 2); /* characters, not bytes */
            const json_t *top = json_array_get(json_object_get(logs, "top_logprobs"), 0);
            if (shape == SHAPE_TEXT)
                assert_non_null(json_object_get(top, "bytes:\\xe2\\x82"));
        }
        const json_t *usage = json_object_get(answer, "usage");
        assert_int_equal(json_integer_value(json_object_get(usage, "prompt_tokens")), 3);
        assert_int_equal(json_integer_value(json_object_get(usage, "completion_tokens")), 4);
        transcript_free(t);
    }
}

/* Takes a stream in small bites and splits it into its events; returns how many. */
static int events_of(Transcript *t, Buf *all, json_t *out[], int room)
{
    char bite[7];
    for (size_t got; (got = transcript_take(t, bite, sizeof bite));)
        buf_add(all, bite, got);
    int count = 0;
    for (char *at = all->data; at && *at; count++) {
        assert_int_equal(strncmp(at, "data: ", 6), 0);
        char *end = strstr(at, "\n\n");
        assert_non_null(end);
        assert_true(count < room);
        Error err;
        out[count] = NULL;
        if (strncmp(at + 6, "[DONE]", 6) != 0)
            assert_ok(json_parse(&out[count], at + 6, (size_t)(end - at - 6), "event", &err));
        at = end + 2;
    }
    return count;
}

static void streams_in_order(void **state)
{
    (void)state;
    Transcript *t = make(SHAPE_CHAT, true, 1, 1 << 20);
    play(t, 1);
    auto_buf Buf all;
    buf_init(&all, 1 << 20);
    json_t *events[16];
    /* role, two tokens, what was held, finish, usage, [DONE] */
    assert_int_equal(events_of(t, &all, events, 16), 7);
    const char *const contents[] = {"", "h\xc3\xa9", "!", "?", NULL};
    for (int i = 0; i < 5; i++) {
        const json_t *choice = json_array_get(json_object_get(events[i], "choices"), 0);
        const char *content = text_at(choice, "delta", "content");
        if (contents[i])
            assert_string_equal(content, contents[i]);
        else
            assert_null(content);
        assert_int_equal(json_is_null(json_object_get(choice, "finish_reason")), i < 4);
        assert_true(json_is_null(json_object_get(events[i], "usage")));
    }
    assert_string_equal(text_at(json_array_get(json_object_get(events[0], "choices"), 0), "delta",
                                "role"),
                        "assistant");
    assert_int_equal(json_array_size(json_object_get(events[5], "choices")), 0);
    assert_true(json_is_object(json_object_get(events[5], "usage")));
    assert_null(events[6]);
    for (int i = 0; i < 6; i++)
        json_decref(events[i]);
    transcript_free(t);
}

static void failure_is_an_event_of_its_own(void **state)
{
    (void)state;
    Error err;
    /* Full in the midst of a chunk: the whole ones go out, then the error, then nothing. */
    for (size_t room = 300; room < 1500; room += 13) {
        Transcript *t = make(SHAPE_CHAT, true, 1, room);
        const char *bytes;
        size_t size;
        assert_ok(transcript_start(t, &(WireStart){0, 3}, &err));
        for (int i = 0; i < 9; i++)
            token(t, 0, "word");
        if (transcript_bytes(t, &bytes, &size, &err))
            fail_test("%zu bytes were enough", room);
        transcript_fail(t, FAULT_SLOW, "too slow");
        assert_true(transcript_finished(t));
        auto_buf Buf all;
        buf_init(&all, 1 << 20);
        json_t *events[16];
        int count = events_of(t, &all, events, 16);
        assert_non_null(json_object_get(events[count - 1], "error"));
        for (int i = 0; i < count; i++)
            json_decref(events[i]);
        transcript_free(t);
    }
    Transcript *t = make(SHAPE_CHAT, false, 1, 1 << 20);
    transcript_fail(t, FAULT_WORKER, "gone");
    auto_json json_t *answer = parsed(t, 0);
    assert_non_null(json_object_get(answer, "error"));
    transcript_free(t);
}

static void events_out_of_turn_are_refused(void **state)
{
    (void)state;
    Error err;
    Transcript *t = make(SHAPE_CHAT, true, 2, 1 << 20);
    WireToken event = {.choice = 0, .text = {"x", 1}, .chosen = {.bytes = {"x", 1}}};
    WireEnd end = {.text = {"", 0}};
    assert_fails(transcript_token(t, &event, &err), ERR_FORMAT, "choice 0");
    assert_fails(transcript_end(t, &end, &err), ERR_FORMAT, "out of turn");
    assert_ok(transcript_start(t, &(WireStart){0, 3}, &err));
    assert_fails(transcript_start(t, &(WireStart){0, 3}, &err), ERR_FORMAT, "out of turn");
    assert_fails(transcript_start(t, &(WireStart){2, 3}, &err), ERR_FORMAT, "choice 2");
    assert_ok(transcript_end(t, &end, &err));
    assert_fails(transcript_token(t, &event, &err), ERR_FORMAT, "out of turn");
    assert_ok(transcript_start(t, &(WireStart){1, 3}, &err));
    end = (WireEnd){.choice = 1, .end = WIRE_FAILED, .text = {"", 0}};
    assert_ok(transcript_end(t, &end, &err));
    assert_true(transcript_failed_to_finish(t) && !transcript_finished(t));
    transcript_fail(t, FAULT_WORKER, "failed");
    assert_fails(transcript_token(t, &event, &err), ERR_FORMAT, "out of turn");
    transcript_free(t);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool done = false;
    for (int n = 0; !done && n < 300; n++) {
        Error err = {0};
        Transcript *t = NULL;
        TranscriptOptions options = {.shape = SHAPE_TEXT, .logprobs = true, .prompts = 1, .n = 1,
                                     .id = "i", .model = "m", .fingerprint = "", .bytes_max = 1e6};
        WireToken event = {.text = {"x", 1}, .chosen = {.bytes = {"x", 1}}, .count = 1,
                           .alternatives = {{1, -1, {"y", 1}}}};
        const char *bytes;
        size_t size;
        mem_fail_after(n);
        done = transcript_new(&t, &options, &err) &&
               transcript_start(t, &(WireStart){0, 1}, &err) &&
               transcript_token(t, &event, &err) &&
               transcript_end(t, &(WireEnd){.text = {"", 0}}, &err) &&
               transcript_bytes(t, &bytes, &size, &err);
        mem_fail_after(-1);
        if (!done)
            assert_true(err.code == ERR_MEMORY || err.code == ERR_LIMIT); /* a Buf says LIMIT */
        transcript_free(t);
    }
    assert_true(done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_answers),
        cmocka_unit_test(streams_in_order),
        cmocka_unit_test(failure_is_an_event_of_its_own),
        cmocka_unit_test(events_out_of_turn_are_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
