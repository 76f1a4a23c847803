#include "base/test.h"

#include "quant/stored.h"

#include <math.h>

/* The table agrees with those of the containers. */
static void rows_agree_with_the_containers(void **state)
{
    (void)state;
    for (const StoredType *t = stored_types; t->name; t++) {
        if (t->st >= 0) {
            assert_int_equal(t->bytes, st_dtype_info[t->st].bytes);
            assert_ptr_equal(stored_of_st((StDtype)t->st), t);
        }
        if (t->ggml >= 0) {
            assert_int_equal(t->bytes, ggml_type_info[t->ggml].bytes);
            assert_int_equal(t->block, ggml_type_info[t->ggml].block);
            assert_ptr_equal(stored_of_ggml((uint32_t)t->ggml), t);
        }
        assert_ptr_equal(stored_named(t->name), t);
    }
    for (int d = 0; d < ST_DTYPE_COUNT; d++)
        assert_non_null(stored_of_st((StDtype)d));
    assert_null(stored_of_ggml(4));
    assert_null(stored_named("q9"));
}

/* All 2^16 patterns of the halves, and all 2^8 of FP8, through f32 and back. */
static void narrow_types_are_exact_in_f32(void **state)
{
    (void)state;
    static const char *const names[] = {"f16", "bf16"};
    for (int k = 0; k < 2; k++) {
        const StoredType *t = stored_named(names[k]);
        for (uint32_t bits = 0; bits < 65536; bits++) {
            uint8_t in[2] = {(uint8_t)bits, (uint8_t)(bits >> 8)}, out[2];
            float value;
            t->to_f32(t, in, &value, 1);
            if (!isfinite(value))
                continue;
            t->of_f32(t, &value, out, 1);
            assert_memory_equal(in, out, 2);
        }
    }
    static const struct {
        const char *type;
        uint8_t bits;
        double value;
    } eights[] = {{"f8_e4m3", 0x7e, 448}, {"f8_e4m3", 0x01, 0x1p-9}, {"f8_e4m3", 0xb8, -1},
                  {"f8_e4m3", 0x08, 0x1p-6}, {"f8_e5m2", 0x7b, 57344}, {"f8_e5m2", 0x01, 0x1p-16},
                  {"f8_e5m2", 0xbc, -1}};
    for (size_t i = 0; i < sizeof eights / sizeof *eights; i++) {
        const StoredType *t = stored_named(eights[i].type);
        float value;
        t->to_f32(t, &eights[i].bits, &value, 1);
        assert_near((double)value, eights[i].value, 0);
    }
}

static void misfits_are_found(void **state)
{
    (void)state;
    const float values[] = {1, -65504, 65505, NAN, INFINITY, 0x1.fffffep127f};
    assert_int_equal(stored_misfit(stored_named("f16"), values, 2), 2);
    assert_int_equal(stored_misfit(stored_named("f16"), values, 6), 2);
    assert_int_equal(stored_misfit(stored_named("f32"), values, 6), 3);
    assert_int_equal(stored_misfit(stored_named("f32"), values + 4, 2), 0);
    assert_int_equal(stored_misfit(stored_named("f32"), values + 5, 1), 1);
    assert_int_equal(stored_misfit(stored_named("bf16"), values + 5, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_agree_with_the_containers),
        cmocka_unit_test(narrow_types_are_exact_in_f32),
        cmocka_unit_test(misfits_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
