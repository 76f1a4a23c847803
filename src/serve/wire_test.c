#include "serve/wire.h"

#include "base/test.h"

static const int32_t some_ids[] = {3, 1, -4};
static const SamplerBias some_bias[] = {{7, -100}, {8, 0.5f}};
static const char *const some_breakers[] = {"\n", "---"};

static void round_trip(void **state)
{
    (void)state;
    Error err;
    auto_buf Buf out;
    buf_init(&out, 1 << 20);
    const WirePart parts[] = {{.kind = PART_TEXT, .text = {"a\0b", 3}},
                              {.kind = PART_IDS, .ids = some_ids, .count = 3}};
    wire_add_submit(&out, 77,
                    &(WireSubmit){.n = 2, .tokens_max = 9,
                                  .sampling = {.temperature = 0.5f, .top_p = 1, .top_k = -1,
                                               .seed = 1ull << 60, .bias = some_bias,
                                               .bias_count = 2, .breakers = some_breakers,
                                               .breaker_count = 2}, .logprobs = true, .alternatives = 0,
                                  .stop_count = 1, .stops = {{"END", 3}}, .part_count = 2,
                                  .parts = parts});
    wire_add_cancel(&out, 78);
    assert_ok(buf_ok(&out, "frames", &err));
    WireReader reader;
    wire_reader_init(&reader, WIRE_GATEWAY);
    Arena arena;
    arena_init(&arena, 1 << 16);
    int frames = 0;
    /* byte by byte: no cut may confuse the reader */
    for (size_t i = 0; i < out.size; i++) {
        WireFrame frame;
        bool got;
        assert_ok(wire_reader_add(&reader, out.data + i, 1, &err));
        assert_ok(wire_reader_next(&reader, &frame, &got, &err));
        if (!got)
            continue;
        if (frames++) {
            assert_int_equal(frame.kind, WIRE_CANCEL);
            assert_int_equal(frame.request, 78);
            continue;
        }
        WireSubmit submit;
        assert_ok(wire_read_submit(&frame, &submit, &arena, &err));
        assert_int_equal(frame.request, 77);
        assert_int_equal(submit.n, 2);
        assert_true(submit.logprobs && submit.alternatives == 0);
        assert_int_equal(wire_prompts(&submit), 2);
        assert_memory_equal(submit.parts[0].text.text, "a\0b", 3);
        assert_int_equal(submit.parts[1].count, 3);
        assert_memory_equal(submit.parts[1].ids, some_ids, sizeof some_ids);
        assert_true(submit.sampling.seed == 1ull << 60 && submit.sampling.top_k == -1);
        assert_near((double)submit.sampling.temperature, 0.5, 0);
        assert_int_equal(submit.sampling.bias_count, 2);
        assert_memory_equal(submit.sampling.bias, some_bias, sizeof some_bias);
        assert_int_equal(submit.sampling.breaker_count, 2);
        assert_string_equal(submit.sampling.breakers[1], "---");
    }
    assert_int_equal(frames, 2);
    arena_done(&arena);
    wire_reader_done(&reader);
}

static void answers_round_trip(void **state)
{
    (void)state;
    Error err;
    auto_buf Buf out;
    buf_init(&out, 1 << 20);
    WireToken token = {.choice = 3, .text = {"h\xc3\xa9", 3}, .chosen = {5, -0.25f, {"\xc3", 1}},
                       .count = 1, .alternatives = {{6, -1.5f, {"x", 1}}}};
    wire_add_ready(&out, &(WireReady){512, 300, 7, 8, true});
    wire_add_start(&out, 1, &(WireStart){3, 12});
    wire_add_token(&out, 1, &token);
    wire_add_end(&out, 1, &(WireEnd){3, WIRE_LENGTH, {"!", 1}, 12, 1});
    wire_add_error(&out, 1, &(WireError){CAUSE_CONTEXT, ERR_LIMIT, {"too long", 8}});
    wire_add_beat(&out, &(WireBeat){10, 11, 2});
    WireReader reader;
    wire_reader_init(&reader, WIRE_WORKER);
    assert_ok(wire_reader_add(&reader, out.data, out.size, &err));
    WireFrame frame[6];
    bool got;
    for (int i = 0; i < 6; i++) {
        assert_ok(wire_reader_next(&reader, &frame[i], &got, &err));
        assert_true(got);
    }
    WireToken back;
    WireReady ready;
    WireStart start;
    WireEnd end;
    WireError error;
    WireBeat beat;
    assert_ok(wire_read_ready(&frame[0], &ready, &err));
    assert_ok(wire_read_start(&frame[1], &start, &err));
    assert_ok(wire_read_token(&frame[2], &back, &err));
    assert_ok(wire_read_end(&frame[3], &end, &err));
    assert_ok(wire_read_error(&frame[4], &error, &err));
    assert_ok(wire_read_beat(&frame[5], &beat, &err));
    assert_int_equal(ready.context, 512);
    assert_int_equal(start.prompt_tokens, 12);
    assert_int_equal(back.alternatives[0].id, 6);
    assert_memory_equal(back.text.text, "h\xc3\xa9", 3);
    assert_int_equal(end.end, WIRE_LENGTH);
    assert_int_equal(error.cause, CAUSE_CONTEXT);
    assert_int_equal(beat.choices, 2);
    /* Every frame cut short by a byte is refused by its decoder. */
    frame[2].size--;
    assert_fails(wire_read_token(&frame[2], &back, &err), ERR_FORMAT, "token frame");
    frame[3].size--;
    assert_fails(wire_read_end(&frame[3], &end, &err), ERR_FORMAT, "end frame");
    wire_reader_done(&reader);
}

/* One u32 of a good submit frame changed: refused, or still within the stated ranges. */
static void every_word_is_checked(void **state)
{
    (void)state;
    static const uint32_t values[] = {0, 1, 2, 64, 65, 4096, 0x7fffffff, 0xffffffff, 0x7fc00000};
    const WirePart parts[] = {{.kind = PART_USER, .text = {"hello", 5}},
                              {.kind = PART_ASSISTANT, .text = {"you", 3}}};
    auto_buf Buf out;
    buf_init(&out, 1 << 20);
    wire_add_submit(&out, 1, &(WireSubmit){.n = 1, .sampling.top_p = 1, .part_count = 2, .parts = parts});
    for (size_t at = WIRE_HEADER_BYTES; at + 4 <= out.size; at++) {
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            uint8_t body[256];
            memcpy(body, out.data + WIRE_HEADER_BYTES, out.size - WIRE_HEADER_BYTES);
            memcpy(body + at - WIRE_HEADER_BYTES, &values[v], 4);
            WireFrame frame = {WIRE_SUBMIT, 1, body, (uint32_t)(out.size - WIRE_HEADER_BYTES)};
            Arena arena;
            arena_init(&arena, 1 << 20);
            WireSubmit submit;
            Error err;
            if (wire_read_submit(&frame, &submit, &arena, &err)) {
                assert_in_range(submit.n, 1, WIRE_CHOICES_MAX);
                assert_true(submit.sampling.temperature >= 0 && submit.sampling.top_p <= 1);
            }
            arena_done(&arena);
        }
    }
}

static void wrong_frames_end_the_stream(void **state)
{
    (void)state;
    Error err;
    auto_buf Buf out;
    buf_init(&out, 1 << 20);
    wire_add_cancel(&out, 1);
    WireReader reader;
    WireFrame frame;
    bool got;
    wire_reader_init(&reader, WIRE_WORKER); /* a worker does not cancel */
    assert_ok(wire_reader_add(&reader, out.data, out.size, &err));
    assert_fails(wire_reader_next(&reader, &frame, &got, &err), ERR_FORMAT, "not expected");
    wire_reader_done(&reader);

    uint32_t size = 0xffffffff; /* refused before a byte of the body is awaited */
    memcpy(out.data, &size, 4);
    wire_reader_init(&reader, WIRE_GATEWAY);
    assert_ok(wire_reader_add(&reader, out.data, out.size, &err));
    assert_fails(wire_reader_next(&reader, &frame, &got, &err), ERR_FORMAT, "expected 0 to 0");
    wire_reader_done(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(answers_round_trip),
        cmocka_unit_test(every_word_is_checked),
        cmocka_unit_test(wrong_frames_end_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
