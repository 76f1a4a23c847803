#include "base/test.h"

#include "base/mem.h"
#include "format/llama2c.h"

/* The header of a small model, and the size its file must have. */
static const int32_t shape[7] = {8, 12, 2, 2, 1, 10, 6};

static uint64_t file_bytes(uint32_t version, bool tied, uint32_t group)
{
    uint64_t matrices = 2 * (8 * 8 + 4 * 8 + 4 * 8 + 8 * 8 + 3 * 12 * 8) + 10 * 8 * (tied ? 1 : 2);
    uint64_t norms = 2 * 2 * 8 + 8;
    if (version == 0)
        return 28 + 4 * (matrices + norms + 6 * 2 * 2);
    return 256 + 4 * norms + (group ? matrices + matrices / group * 4 : 4 * matrices);
}

static void make(uint8_t start[256], uint32_t version, bool tied, uint32_t group)
{
    const uint32_t magic[2] = {0x616b3432, version};
    int32_t numbers[7];
    memset(start, 0, 256);
    memcpy(numbers, shape, sizeof shape);
    if (version == 0) {
        numbers[5] = tied ? 10 : -10;
        memcpy(start, numbers, sizeof numbers);
        return;
    }
    memcpy(start, magic, sizeof magic);
    memcpy(start + 8, numbers, sizeof numbers);
    start[36] = tied;
    memcpy(start + 37, &group, sizeof group);
}

/* All parts of every version lie one after the other, up to the end of the file. */
static void parts_lie_one_after_the_other(void **state)
{
    (void)state;
    Error err;
    for (uint32_t i = 0; i < 6; i++) {
        uint32_t version = i / 2, group = version == 2 ? 4 : 0;
        bool tied = i % 2;
        uint8_t start[256];
        Llama2c f;
        make(start, version, tied, group);
        uint64_t size = file_bytes(version, tied, group), end = 0, sum = 0;
        assert_ok(llama2c_parse(&f, start, 256, size, "m.bin", &err));
        assert_int_equal(f.tied, tied);
        assert_int_equal(f.head_width, 4);
        for (int part = 0; part < LLAMA2C_PART_COUNT; part++) {
            for (uint32_t l = 0; l < (llama2c_is_layered((Llama2cPart)part) ? 2u : 1u); l++) {
                if (part == LLAMA2C_HEAD && tied)
                    continue;
                Llama2cTensor t = llama2c_tensor(&f, (Llama2cPart)part, l);
                uint64_t count = (t.rows ? t.rows : 1) * t.columns;
                uint64_t bytes = t.scales ? count + count / group * 4 : 4 * count;
                assert_true(!t.scales || t.scales == t.offset + count);
                end = t.offset + bytes > end ? t.offset + bytes : end;
                sum += bytes;
            }
        }
        uint64_t unread = version ? 256 : 28 + 4 * 6 * 2 * 2;
        assert_int_equal(sum + unread, size);
        assert_int_equal(end, version == 0 && tied ? size - 4 * 6 * 2 * 2 : size);
    }
}

static void wrong_headers_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t at;
        int32_t value;
        const char *words;
    } cases[] = {
        {0, 0, "dim must be"}, {0, -8, "is -8"}, {0, INT32_MIN, "dim must be"},
        {4, 1 << 30, "hidden_dim"}, {8, 0, "n_layers"}, {8, 513, "n_layers"}, {12, 0, "n_heads"},
        {12, 3, "does not divide"}, {12, 8, "does not divide"}, {16, 0, "n_kv_heads"},
        {16, 3, "does not divide"}, {20, 0, "vocab_size"}, {20, INT32_MIN, "vocab_size"},
        {24, 0, "seq_len"}, {24, 7, "bytes, the file has"}, {20, 11, "bytes, the file has"},
    };
    Error err;
    Llama2c f;
    uint8_t start[256];
    uint64_t size = file_bytes(0, true, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make(start, 0, true, 0);
        memcpy(start + cases[i].at, &cases[i].value, 4);
        assert_fails(llama2c_parse(&f, start, 256, size, "m.bin", &err), ERR_FORMAT, cases[i].words);
    }
    for (size_t have = 0; have < 28; have++)
        assert_fails(llama2c_parse(&f, start, have, have, "m.bin", &err), ERR_FORMAT, "is cut");
    make(start, 2, true, 3);
    assert_fails(llama2c_parse(&f, start, 256, 5000, "m.bin", &err), ERR_FORMAT, "whole groups");
    make(start, 2, true, 0);
    assert_fails(llama2c_parse(&f, start, 256, 5000, "m.bin", &err), ERR_FORMAT, "group");
    make(start, 3, true, 0);
    assert_fails(llama2c_parse(&f, start, 256, 5000, "m.bin", &err), ERR_FORMAT, "version 3");
    make(start, 1, true, 0);
    assert_fails(llama2c_parse(&f, start, 255, 255, "m.bin", &err), ERR_FORMAT, "is cut");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_lie_one_after_the_other),
        cmocka_unit_test(wrong_headers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
