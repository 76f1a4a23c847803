#include "format/safetensors.h"

#include "base/mem.h"
#include "base/test.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

/* A file of this header and `data` zero bytes. */
static bool parse(Safetensors **out, const char *header, size_t data, Error *err)
{
    size_t length = strlen(header);
    auto_free uint8_t *bytes = mem_alloc(8 + length + data, 1);
    bytes[0] = (uint8_t)length;
    bytes[1] = (uint8_t)(length >> 8);
    memcpy(bytes + 8, header, length);
    bool ok = safetensors_parse(out, bytes, 8 + length + data, "h.st", err);
    if (ok)
        safetensors_close(*out);
    return ok;
}

static void hostile_headers_are_refused(void **state)
{
    (void)state;
#define ONE(dtype, shape, begin, end)                                                              \
    "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}}"
#define TWO(b0, e0, b1, e1)                                                                        \
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" #b0 "," #e0 "]},"                  \
    "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" #b1 "," #e1 "]}}"
    static const struct {
        const char *header;
        size_t data;
        const char *words; /* NULL: accepted */
    } cases[] = {
        {ONE("F32", "[2,2]", 0, 16), 16, NULL},
        {ONE("F32", "[]", 0, 4), 4, NULL},
        {ONE("F32", "[0,9223372036854775807]", 0, 0), 0, NULL},
        {ONE("F8_E4M3", "[3]", 0, 3) "   ", 3, NULL},
        {"{}", 0, NULL},
        {TWO(4, 8, 0, 4), 8, NULL},
        {ONE("F32", "[2,2]", 0, 16), 15, "ends at 16, data at 15"},
        {ONE("F32", "[2,2]", 0, 16), 17, "tensors end at 16, data at 17"},
        {ONE("F32", "[2,2]", 0, 12), 12, "do not match its shape"},
        {ONE("F32", "[2,2]", 16, 0), 16, "must be [begin, end]"},
        {ONE("F32", "[2,2]", -1, 15), 16, "must be [begin, end]"},
        {ONE("F32", "[2,2]", 1, 17), 17, "leaving a hole"},
        {ONE("F32", "[4611686018427387904,4]", 0, 16), 16, "do not match"},
        {ONE("U8", "[4294967296,4294967296]", 0, 0), 0, "do not match"},
        {ONE("F32", "[1,1,1,1,1,1,1,1,1]", 0, 4), 4, "at most 8"},
        {ONE("F32", "[-1]", 0, 4), 4, "shape must be"},
        {ONE("F32", "[1.0]", 0, 4), 4, "shape must be"},
        {ONE("F32", "4", 0, 4), 4, "shape must be"},
        {ONE("F31", "[1]", 0, 4), 4, "unknown dtype 'F31'"},
        {ONE("F32", "[1]", 0, 99999999999999999999), 4, "too big"},
        {TWO(0, 4, 2, 6), 6, "inside the one that ends at 4"},
        {TWO(0, 4, 0, 4), 4, "inside"},
        {TWO(0, 4, 5, 9), 9, "leaving a hole after 4"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "must have"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", 1, "must have"},
        {"{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "unknown dtype"},
        {"{\"a\":7}", 0, "must have"},
        {"{\"a\\u001b\":7}", 0, "control character"},
        {"{\"a\":{},\"a\":{}}", 0, "duplicate"},
        {"{\"__metadata__\":[]}", 0, "must be an object"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "not a plain text"},
        {"[]", 0, "start with '{'"},
        {" {}", 0, "start with '{'"},
        {"", 0, "start with '{'"},
        {"{} x", 0, "h.st:1:"},
        {"{", 0, "h.st:1:"},
    };
    Error err;
    Safetensors *st;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (!cases[i].words)
            assert_ok(parse(&st, cases[i].header, cases[i].data, &err));
        else
            assert_fails(parse(&st, cases[i].header, cases[i].data, &err), ERR_FORMAT,
                         cases[i].words);
    }
}

static void outer_limits(void **state)
{
    (void)state;
    Error err;
    Safetensors *st;
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
    assert_fails(safetensors_parse(&st, (const uint8_t *)lfs, sizeof lfs - 1, "m", &err),
                 ERR_FORMAT, "Git LFS pointer");
    const uint8_t huge[10] = {1, 0, 0, 1, 0, 0, 0, 0, '{', '}'};
    assert_fails(safetensors_parse(&st, huge, sizeof huge, "m", &err), ERR_LIMIT, "16777217");
    const uint8_t wide[10] = {2, 0, 0, 0, 0, 0, 0, 128, '{', '}'};
    assert_fails(safetensors_parse(&st, wide, sizeof wide, "m", &err), ERR_LIMIT, "at most");
    const uint8_t cut[10] = {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    assert_fails(safetensors_parse(&st, cut, sizeof cut, "m", &err), ERR_FORMAT, "is cut");
    for (size_t size = 0; size < 8; size++)
        assert_fails(safetensors_parse(&st, huge, size, "m", &err), ERR_FORMAT, "is cut");
    assert_fails(safetensors_open(&st, "/nonexistent/x", &err), ERR_NOT_FOUND, "x");
}

static uint8_t numbers[64];
static const StTensor sample[] = {
    {"z.bytes", ST_U8, 1, {3}, numbers, 3},
    {"a.weight", ST_F32, 2, {2, 2}, numbers, 16},
    {"b.half", ST_F16, 1, {5}, numbers + 16, 10},
    {"c.double", ST_F64, 0, {0}, numbers + 32, 8},
    {"none", ST_BF16, 2, {0, 7}, numbers, 0},
    {"d.brain", ST_BF16, 1, {2}, numbers + 40, 4},
};
enum { SAMPLES = sizeof sample / sizeof *sample };

static void fill_numbers(void)
{
    const float f32[4] = {1, -2.5f, 0, 1e-3f};
    const uint8_t f16[10] = {0, 0x3c, 1, 0, 0, 0x7c, 0, 0xc0, 0xff, 0x83}; /* 1, tiny, inf, -2 */
    const double f64 = 0.1;
    const uint8_t bf16[4] = {0x80, 0x3f, 0x20, 0xc1}; /* 1, -10 */
    memcpy(numbers, f32, sizeof f32);
    memcpy(numbers + 16, f16, sizeof f16);
    memcpy(numbers + 32, &f64, sizeof f64);
    memcpy(numbers + 40, bf16, sizeof bf16);
}

static void round_trip(void **state)
{
    (void)state;
    Error err;
    char path[] = "/tmp/bastide-st-XXXXXX";
    close(mkstemp(path));
    fill_numbers();
    assert_ok(safetensors_write(path, sample, SAMPLES, &err));
    Safetensors *st;
    assert_ok(safetensors_open(&st, path, &err));
    assert_int_equal(safetensors_count(st), SAMPLES);
    assert_string_equal(safetensors_at(st, 0)->name, "c.double"); /* widest first */
    assert_string_equal(safetensors_at(st, SAMPLES - 1)->name, "z.bytes");
    assert_string_equal(safetensors_metadata(st, "format"), "pt");
    assert_null(safetensors_metadata(st, "other"));
    assert_null(safetensors_find(st, "absent"));
    assert_null(safetensors_find(st, "__metadata__"));
    for (int i = 0; i < SAMPLES; i++) {
        const StTensor *got = safetensors_find(st, sample[i].name);
        assert_non_null(got);
        assert_int_equal(got->dtype, sample[i].dtype);
        assert_int_equal(got->rank, sample[i].rank);
        assert_int_equal(got->bytes, sample[i].bytes);
        assert_memory_equal(got->shape, sample[i].shape, got->rank * sizeof *got->shape);
        if (got->bytes)
            assert_memory_equal(got->data, sample[i].data, got->bytes);
    }
    float out[5];
    assert_ok(safetensors_to_f32(safetensors_find(st, "a.weight"), out, 4, &err));
    assert_true(out[0] == 1 && out[1] == -2.5f && out[3] == 1e-3f);
    assert_ok(safetensors_to_f32(safetensors_find(st, "b.half"), out, 5, &err));
    assert_true(out[0] == 1 && out[1] == 0x1p-24f && isinf(out[2]) && out[3] == -2);
    assert_true(out[4] == -0x1.ff8p-15f); /* 0x83ff: the largest subnormal half, negative */
    assert_ok(safetensors_to_f32(safetensors_find(st, "c.double"), out, 1, &err));
    assert_true(out[0] == 0.1f);
    assert_ok(safetensors_to_f32(safetensors_find(st, "d.brain"), out, 2, &err));
    assert_true(out[0] == 1 && out[1] == -10);
    assert_fails(safetensors_to_f32(safetensors_find(st, "d.brain"), out, 3, &err), ERR_FORMAT,
                 "has 2 values");
    assert_fails(safetensors_to_f32(safetensors_find(st, "z.bytes"), out, 1, &err), ERR_FORMAT,
                 "is U8");
    safetensors_close(st);
    remove(path);
}

static void odd_addresses_and_every_cut(void **state)
{
    (void)state;
    Error err;
    char path[] = "/tmp/bastide-st-XXXXXX";
    close(mkstemp(path));
    fill_numbers();
    assert_ok(safetensors_write(path, sample, SAMPLES, &err));
    FsMap map;
    assert_ok(fs_map(path, &map, &err));
    Safetensors *st;
    auto_free uint8_t *shifted = mem_alloc(map.size + 1, 1);
    memcpy(shifted + 1, map.data, map.size);
    assert_ok(safetensors_parse(&st, shifted + 1, map.size, "odd", &err));
    float out[4];
    assert_ok(safetensors_to_f32(safetensors_find(st, "a.weight"), out, 4, &err));
    assert_true(out[1] == -2.5f);
    safetensors_close(st);
    for (size_t size = 0; size < map.size; size++) {
        auto_free uint8_t *cut = mem_alloc(size, 1);
        memcpy(cut, map.data, size);
        assert_false(safetensors_parse(&st, cut, size, "cut", &err));
    }
    fs_unmap(&map);
    remove(path);
}

static void writing_refuses_what_reading_would(void **state)
{
    (void)state;
    Error err;
    const char *path = "/tmp/bastide-st-never";
    StTensor two[2] = {sample[0], sample[0]};
    assert_fails(safetensors_write(path, two, 2, &err), ERR_INPUT, "given twice");
    two[0].bytes++;
    assert_fails(safetensors_write(path, two, 1, &err), ERR_INPUT, "do not match");
    two[0] = sample[0];
    two[0].name = "__metadata__";
    assert_fails(safetensors_write(path, two, 1, &err), ERR_INPUT, "is named __metadata__");
    two[0].name = "\xff";
    assert_fails(safetensors_write(path, two, 1, &err), ERR_MEMORY, "not UTF-8");
    assert_false(fs_exists(path));
}

static void every_fault_is_an_error(void **state)
{
    (void)state;
    Error err;
    char path[] = "/tmp/bastide-st-XXXXXX";
    close(mkstemp(path));
    fill_numbers();
    assert_ok(safetensors_write(path, sample, SAMPLES, &err));
    Safetensors *st;
    for (int n = 0, done = 0; !done; n++) { /* each allocation in turn */
        uint64_t before = mem_count();
        mem_fail_after(n);
        bool read = safetensors_write(path, sample, SAMPLES, &err) &&
                    safetensors_open(&st, path, &err);
        done = mem_count() - before <= (uint64_t)n;
        mem_fail_after(-1);
        assert_int_equal(read, done);
        if (read)
            safetensors_close(st);
        assert_ok(safetensors_open(&st, path, &err)); /* the old file or the new one */
        safetensors_close(st);
    }
    for (int n = 0, done = 0; !done; n++) { /* each system call in turn */
        fs_fail_after(n, EIO);
        done = safetensors_write(path, sample, SAMPLES, &err) && safetensors_open(&st, path, &err);
        fs_fail_after(-1, 0);
        if (done)
            safetensors_close(st);
        assert_ok(safetensors_open(&st, path, &err));
        safetensors_close(st);
        assert_true(n < 100);
    }
    remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_headers_are_refused),
        cmocka_unit_test(outer_limits),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(odd_addresses_and_every_cut),
        cmocka_unit_test(writing_refuses_what_reading_would),
        cmocka_unit_test(every_fault_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
