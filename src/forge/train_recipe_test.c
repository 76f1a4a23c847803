/* The table of training recipes: the page made from it, the examples, and what is refused. */
#include "forge/train_recipe.h"

#include "base/fs.h"
#include "base/test.h"
#include "train/schedule.h"

#include <stdio.h>
#include <unistd.h>

static const char *source(void)
{
    const char *folder = getenv("BASTIDE_SOURCE");
    return folder ? folder : ".";
}

/* With BASTIDE_UPDATE set the page is written instead. */
static void test_page_is_the_table(void **state)
{
    (void)state;
    Error err;
    char path[1024];
    auto_buf Buf made, there;
    buf_init(&made, 1 << 20);
    buf_init(&there, 1 << 20);
    assert_ok(train_recipe_document(&made, &err));
    snprintf(path, sizeof path, "%s/docs/recipe.md", source());
    if (getenv("BASTIDE_UPDATE"))
        assert_ok(fs_write(path, made.data, made.size, &err));
    assert_ok(fs_read(path, &there, &err));
    if (made.size != there.size || memcmp(made.data, there.data, made.size) != 0)
        fail_test("docs/recipe.md is not what the table says: run this test with BASTIDE_UPDATE=1");
}

static void test_schedules_are_those_of_runs(void **state)
{
    (void)state;
    uint32_t count = 0;
    while (train_schedule_names[count])
        assert_non_null(schedule_named(train_schedule_names[count++]));
    assert_int_equal(count, SCHEDULE_COUNT);
}

/* Every example binds, holds together, and comes back the same from its canonical form. */
static void test_examples_hold(void **state)
{
    (void)state;
    static const char *const names[] = {"shakespeare", "lora"};
    for (int i = 0; i < 2; i++) {
        Error err;
        char path[1024];
        Recipe file = {0}, again = {0};
        TrainRecipe a, b;
        auto_buf Buf text, twice;
        buf_init(&text, 1 << 16);
        buf_init(&twice, 1 << 16);
        snprintf(path, sizeof path, "%s/recipes/%s.yaml", source(), names[i]);
        assert_ok(train_recipe_read(&a, &file, path, &err));
        assert_ok(train_recipe_check(&a, &err));
        assert_ok(recipe_print(&train_recipe_table, &a, &text, &err));
        assert_ok(recipe_parse(&again, text.data, text.size, "again", &err));
        assert_ok(recipe_bind(&again, &train_recipe_table, &b, &err));
        assert_ok(train_recipe_check(&b, &err));
        assert_ok(recipe_print(&train_recipe_table, &b, &twice, &err));
        assert_string_equal(text.data, twice.data);
        recipe_done(&file);
        recipe_done(&again);
    }
}

typedef struct {
    const char *more, *words;
} Wrong;

#define HEAD "name: a\nout: o\nrun: r\ndata: {path: d}\n"
#define SHAPE "model: {layers: 1, width: 8, heads: 2, context: 8}\ntokenizer: {bytes: true}\n"
static const Wrong wrongs[] = {
    {SHAPE, "either 'train.steps' or 'train.epochs'"},
    {SHAPE "train: {steps: 1, epochs: 2}\n", "either 'train.steps' or 'train.epochs'"},
    {SHAPE "train: {stepz: 1}\n", "did you mean 'steps'"},
    {SHAPE "train: {steps: 1}\nbase: b\n", "'base' brings its own shape"},
    {"tokenizer: {bytes: true}\ntrain: {steps: 1}\nbase: b\n", "'base' brings its own tokenizer"},
    {"train: {steps: 1}\n", "a new model needs"},
    {"train: {steps: 1}\nmodel: {layers: 1, width: 9, heads: 2}\n", "must be a multiple"},
    {SHAPE "train: {steps: 1, windows: 5, row_tokens: 8}\n", "must be a multiple"},
    {SHAPE "train: {steps: 1, windows: 8}\nmethod: finetune\n", "method pretrain"},
    {SHAPE "train: {steps: 1}\nlora: {rank: 2}\n", "name it as 'base'"},
    {SHAPE "train: {steps: 1}\nmemory: 8 apples\n", "8GiB or 700MiB"},
    {SHAPE "train: {steps: 1, schedule: cosinus}\n", "did you mean 'cosine'"},
};

static void test_wrong_recipes_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        Error err = {0};
        Recipe file = {0};
        TrainRecipe recipe;
        char text[1024];
        int size = snprintf(text, sizeof text, "%s%s", HEAD, wrongs[i].more);
        bool ok = recipe_parse(&file, text, (size_t)size, "test.yaml", &err) &&
                  recipe_bind(&file, &train_recipe_table, &recipe, &err) &&
                  train_recipe_check(&recipe, &err);
        if (ok || err.code != ERR_INPUT || !strstr(err.text, wrongs[i].words))
            fail_test("recipe %zu: expected \"%s\", got \"%s\"", i, wrongs[i].words, err.text);
        recipe_done(&file);
    }
}

static void test_memory_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } rows[] = {{"8GiB", (uint64_t)8 << 30}, {"1.5 MiB", 3 << 19}, {"4096", 4096}};
    for (int i = 0; i < 3; i++) {
        Error err;
        TrainRecipe r = {.name = "a", .base = "b", .memory = rows[i].text, .train.steps = 1};
        assert_ok(train_recipe_check(&r, &err));
        assert_int_equal(r.memory_bytes, rows[i].bytes);
    }
}

/* The tail is exactly the last tenth of the bytes of a plain text, cut between characters. */
static void test_tail_is_the_last_tenth(void **state)
{
    (void)state;
    Error err;
    Dataset *dataset;
    char path[] = "/tmp/bastide-tail-XXXXXX.txt";
    int fd = mkstemps(path, 4);
    assert_true(fd >= 0);
    close(fd);
    auto_buf Buf text;
    buf_init(&text, 1 << 20);
    for (int i = 0; i < 5000; i++)
        buf_add_text(&text, "zw\xc3\xb6lf Worte stehen hier\n");
    assert_ok(fs_write(path, text.data, text.size, &err));
    assert_ok(dataset_load(&dataset, path, 1, &err));
    size_t count = dataset->count, sums[SPLIT_COUNT] = {0};
    assert_ok(train_split_tail(dataset, &err));
    assert_true(dataset->count == count || dataset->count == count + 1);
    for (size_t i = 0; i < dataset->count; i++) {
        sums[dataset->records[i].split] += strlen(dataset->records[i].text);
        assert_true(i == 0 || dataset->records[i].split >= dataset->records[i - 1].split);
    }
    assert_int_equal(sums[SPLIT_TRAIN] + sums[SPLIT_VALID], text.size);
    assert_near((double)sums[SPLIT_VALID], (double)text.size / 10, 4);
    dataset_free(dataset);
    assert_ok(fs_remove(path, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page_is_the_table),
        cmocka_unit_test(test_schedules_are_those_of_runs),
        cmocka_unit_test(test_examples_hold),
        cmocka_unit_test(test_wrong_recipes_are_refused),
        cmocka_unit_test(test_memory_is_read),
        cmocka_unit_test(test_tail_is_the_last_tenth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
