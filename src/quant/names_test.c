#include "base/test.h"

#include "quant/names.h"

/* Every name of every row, in every style, parses back to its row; and no two rows share one. */
static void names_parse_back(void **state)
{
    (void)state;
    const NameRow *row;
    for (uint32_t i = 0; (row = name_row(i)); i++) {
        for (int style = 0; style < NAMES_COUNT; style++) {
            char text[NAME_ROOM];
            Name name = {row, 12, 7}, back;
            if (!name_write((NameStyle)style, &name, text))
                continue;
            assert_true(name_parse((NameStyle)style, text, row->mix, &back));
            assert_ptr_equal(back.row, row);
            assert_true(back.layer == 12 || !strstr(row->name[style], "%l"));
            assert_true(back.expert == 7 || !strstr(row->name[style], "%e"));
        }
    }
}

static void wrong_names_are_no_names(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "", "model", "model.norm.weight ", "model.layers.01.input_layernorm.weight",
        "model.layers.-1.input_layernorm.weight", "model.layers..input_layernorm.weight",
        "model.layers.99999999999.input_layernorm.weight", "model.layers.1.input_layernorm",
        "norm.weight", "model.layers.1.mlp.experts.x.up_proj.weight"};
    Name name;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(name_parse(NAMES_HF, wrong[i], MIX_ANY, &name));
}

static void inner_names_lose_their_prefix(void **state)
{
    (void)state;
    char out[NAME_ROOM];
    assert_true(name_unwrap("language_model.model.norm.weight", out));
    assert_string_equal(out, "model.norm.weight");
    assert_true(name_unwrap("model.language_model.norm.weight", out));
    assert_string_equal(out, "model.norm.weight");
    assert_true(name_unwrap("language_model.lm_head.weight", out));
    assert_string_equal(out, "lm_head.weight");
    assert_false(name_unwrap("model.vision_tower.ln_pre.weight", out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_parse_back),
        cmocka_unit_test(wrong_names_are_no_names),
        cmocka_unit_test(inner_names_lose_their_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
