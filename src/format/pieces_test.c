#include "base/test.h"

#include "base/mem.h"
#include "format/pieces.h"

#include <stdio.h>

/* llama2.c's file of five pieces. */
static void make_llama2c(Buf *out)
{
    static const char *const texts[] = {"<unk>", "\n<s>\n", "\n</s>\n", "<0x0A>", " the"};
    buf_init(out, 1 << 12);
    buf_add(out, "\7\0\0\0", 4);
    for (uint32_t i = 0; i < 5; i++) {
        float score = -1.5f * (float)i;
        uint32_t length = (uint32_t)strlen(texts[i]);
        buf_add(out, &score, 4);
        buf_add(out, &length, 4);
        buf_add(out, texts[i], length);
    }
}

static void check(const Pieces *p)
{
    static const char *const texts[] = {"<unk>", "<s>", "</s>", "<0x0A>", "\xe2\x96\x81the"};
    static const PieceKind kinds[] = {PIECE_UNKNOWN, PIECE_CONTROL, PIECE_CONTROL, PIECE_BYTE,
                                      PIECE_NORMAL};
    assert_int_equal(p->count, 5);
    assert_int_equal(p->model, PIECES_BPE);
    assert_int_equal(p->begin, 1);
    assert_int_equal(p->pad, -1);
    assert_true(p->byte_fallback && p->dummy_prefix && !p->remove_extra_blanks && !p->charsmap);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(p->items[i].bytes, strlen(texts[i]));
        assert_memory_equal(p->items[i].text, texts[i], strlen(texts[i]));
        assert_int_equal(p->items[i].kind, kinds[i]);
        assert_near(p->items[i].score, -1.5 * i, 0);
    }
}

static void a_list_goes_through_both_files(void **state)
{
    (void)state;
    Error err;
    Pieces p, back;
    auto_buf Buf bytes, model;
    make_llama2c(&bytes);
    buf_init(&model, 1 << 12);
    assert_ok(pieces_parse_llama2c(&p, (const uint8_t *)bytes.data, bytes.size, "tok.bin", &err));
    check(&p);
    pieces_write_model(&p, &model);
    assert_ok(buf_ok(&model, "model", &err));
    assert_ok(pieces_parse_model(&back, (const uint8_t *)model.data, model.size, "m", &err));
    check(&back);
    pieces_done(&back);
    pieces_done(&p);
}

/* Cut at every byte: an error, or (a protobuf cut between fields) a shorter list. */
static void cut_files_are_errors(void **state)
{
    (void)state;
    Error err;
    Pieces p, part;
    auto_buf Buf bytes, model;
    make_llama2c(&bytes);
    buf_init(&model, 1 << 12);
    assert_ok(pieces_parse_llama2c(&p, (const uint8_t *)bytes.data, bytes.size, "tok.bin", &err));
    pieces_write_model(&p, &model);
    pieces_done(&p);
    for (size_t size = 0; size < bytes.size; size++) {
        if (pieces_parse_llama2c(&part, (const uint8_t *)bytes.data, size, "tok.bin", &err))
            pieces_done(&part);
        else
            assert_int_equal(err.code, ERR_FORMAT);
    }
    for (size_t size = 0; size < model.size; size++) {
        if (pieces_parse_model(&part, (const uint8_t *)model.data, size, "m", &err))
            pieces_done(&part);
        else
            assert_int_equal(err.code, ERR_FORMAT);
    }
}

static void wrong_models_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {"", 0},
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}, /* 2^64 - 1 bytes */
        {"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80", 12},
        {"\x0b\x00", 2},                         /* a group: no such wire type */
        {"\x0a\x02\x18\x07", 4},                 /* kind 7 */
        {"\x0a\x02\x18\x00", 4},                 /* kind 0 */
        {"\x0a\x03\x0a\x01" "a" "\x12\x02\x18\x03", 9}, /* a word model */
        {"\x0a\x03\x0a\x01" "a" "\x12\x03\xc8\x02\x05", 10}, /* begin id 5 of 1 */
    };
    Error err;
    Pieces p;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(pieces_parse_model(&p, (const uint8_t *)cases[i].bytes, cases[i].size, "m",
                                        &err), ERR_FORMAT, "m:");
}

static void failing_allocations_are_errors(void **state)
{
    (void)state;
    Error err = {0};
    auto_buf Buf bytes;
    make_llama2c(&bytes);
    for (int n = 0, done = 0; !done; n++) {
        Pieces p;
        mem_fail_after(n);
        done = pieces_parse_llama2c(&p, (const uint8_t *)bytes.data, bytes.size, "t", &err);
        mem_fail_after(-1);
        if (done)
            pieces_done(&p);
        else
            assert_true(err.code == ERR_MEMORY || err.code == ERR_LIMIT); /* a Buf says LIMIT */
        assert_true(n < 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_goes_through_both_files),
        cmocka_unit_test(cut_files_are_errors),
        cmocka_unit_test(wrong_models_are_refused),
        cmocka_unit_test(failing_allocations_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
