/* block_golden_test.c: block types against ggml itself: what its bytes mean, bit for bit, and how
 * well its own quantiser does, which ours may not fall behind. Vectors: tools/golden_blocks.py. */
#include "base/fs.h"
#include "base/test.h"
#include "format/gguf.h"
#include "tensor/block.h"

#include <stdio.h>

enum { ROWS = 8, COLUMNS = 256, VALUES = 2 * COLUMNS };

static const char *const names[] = {"Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1",   "Q2_K",
                                    "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"};
enum { NAMES = sizeof names / sizeof *names };

static Gguf *file;

static int open_file(void **state)
{
    (void)state;
    Error err;
    char path[1200];
    const char *source = getenv("BASTIDE_SOURCE");
    snprintf(path, sizeof path, "%s/tests/golden/blocks/blocks.gguf", source ? source : ".");
    if (gguf_open(&file, path, &err))
        return 0;
    print_error("%s\n", err.text);
    return -1;
}

static int close_file(void **state)
{
    (void)state;
    gguf_close(file);
    return 0;
}

static const uint8_t *data(const char *name, const char *part, uint64_t bytes)
{
    char full[40];
    snprintf(full, sizeof full, "%s%s", name, part);
    const GgufTensor *t = gguf_find_tensor(file, full);
    assert_non_null(t);
    assert_int_equal(t->bytes, bytes);
    return t->data;
}

static DType type_of(const char *name)
{
    DType type = DT_F32;
    assert_true(dtype_named(name, &type));
    assert_string_equal(ggml_type_info[block_codecs[type].ggml].name, name);
    assert_int_equal(ggml_type_info[block_codecs[type].ggml].block, dtype_info[type].block_elems);
    assert_int_equal(ggml_type_info[block_codecs[type].ggml].bytes, dtype_info[type].block_bytes);
    return type;
}

static void blocks_mean_what_ggml_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < NAMES; i++) {
        float values[VALUES], want[VALUES];
        DType type = type_of(names[i]);
        memcpy(want, data(names[i], ".values", sizeof want), sizeof want);
        block_dequantise(type, data(names[i], ".blocks", dtype_bytes(type, VALUES)), values, VALUES);
        for (int k = 0; k < VALUES; k++) {
            if (memcmp(&values[k], &want[k], 4) != 0)
                fail_test("%s value %d: %.9g, expected %.9g", names[i], k, (double)values[k],
                          (double)want[k]);
        }
    }
}

static void errors_are_no_larger_than_ggmls(void **state)
{
    (void)state;
    float weights[ROWS * COLUMNS], importance[COLUMNS];
    memcpy(weights, data("weights", "", sizeof weights), sizeof weights);
    memcpy(importance, data("importance", "", sizeof importance), sizeof importance);
    for (size_t i = 0; i < NAMES; i++) {
        char key[40];
        DType type = type_of(names[i]);
        snprintf(key, sizeof key, "%s.error", names[i]);
        const GgufValue *want = gguf_find(file, key);
        assert_non_null(want);
        for (uint64_t weighted = 0; weighted < 2; weighted++) {
            const float *w = weighted ? importance : NULL;
            double error = 0;
            for (int r = 0; r < ROWS; r++) {
                uint8_t blocks[COLUMNS * 4];
                float back[COLUMNS];
                block_quantise(type, weights + r * COLUMNS, w, blocks, COLUMNS);
                block_dequantise(type, blocks, back, COLUMNS);
                error += block_error(weights + r * COLUMNS, back, w, COLUMNS);
            }
            double ratio = error / gguf_number(want, weighted);
            print_message("%-7s%s error %.3f of ggml's\n", names[i],
                          weighted ? " weighted" : "", ratio);
            if (!(ratio <= 1))
                fail_test("%s: error %g is %.4f of ggml's", names[i], error, ratio);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_mean_what_ggml_says),
        cmocka_unit_test(errors_are_no_larger_than_ggmls),
    };
    return cmocka_run_group_tests(tests, open_file, close_file);
}
