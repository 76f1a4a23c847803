#include "format/recipe.h"

#include "base/fs.h"
#include "base/test.h"

#include <stdio.h>
#include <unistd.h>

typedef struct {
    const char *path;
    double weight;
} Source;
static const Source source_defaults = {.weight = 1};
static const RecipeField source_fields[] = {
    {"path", RECIPE_TEXT, offsetof(Source, path), .required = true, .meaning = "a JSONL file"},
    {"weight", RECIPE_F64, offsetof(Source, weight), 0, 1000, .meaning = "share of the mix"},
};
static const RecipeTable source_table = RECIPE_TABLE(source_fields, Source, &source_defaults);

typedef struct {
    const char *name;
    uint32_t method, steps;
    double rate;
    bool shuffle;
    uint64_t seed;
    RecipeTexts targets;
    RecipeRows sources;
} Job;
static const char *const methods[] = {"full", "lora", "qlora", NULL};
static const Job job_defaults = {.method = 1, .steps = 100, .rate = 1e-4, .shuffle = true};
static const RecipeField job_fields[] = {
    {"name", RECIPE_TEXT, offsetof(Job, name), 1, 8, .required = true, .meaning = "of the run"},
    {"train.method", RECIPE_CHOICE, offsetof(Job, method), .choices = methods, .meaning = "how"},
    {"train.rate", RECIPE_F64, offsetof(Job, rate), 1e-9, 1, .meaning = "peak step size"},
    {"train.steps", RECIPE_U32, offsetof(Job, steps), 1, 1e6, .meaning = "optimiser steps"},
    {"train.lora.targets", RECIPE_TEXTS, offsetof(Job, targets), 0, 3, .meaning = "modules"},
    {"data.shuffle", RECIPE_BOOL, offsetof(Job, shuffle), .meaning = "mix the order"},
    {"data.seed", RECIPE_U64, offsetof(Job, seed), 0, 1.9e19, .meaning = "of the order"},
    {"data.sources", RECIPE_ROWS, offsetof(Job, sources), 0, 4, .rows = &source_table,
     .meaning = "where lines come from"},
};
static const RecipeTable job_table = RECIPE_TABLE(job_fields, Job, &job_defaults);

static bool parse(Recipe *recipe, const char *text, Error *err)
{
    return recipe_parse(recipe, text, strlen(text), "r.yaml", err);
}

static bool bind(const char *text, Job *job, Error *err)
{
    Recipe recipe;
    bool ok = parse(&recipe, text, err) && recipe_bind(&recipe, &job_table, job, err);
    recipe_done(&recipe);
    return ok;
}

static const char full_text[] = "name: \"a \\\"b\\\"\"\n"
                                "train:\n"
                                "  method: qlora\n"
                                "  rate: 0.0002\n"
                                "  steps: 7\n"
                                "  lora:\n"
                                "    targets: [\"q_proj\", \"12\"]\n"
                                "data:\n"
                                "  shuffle: false\n"
                                "  seed: 18446744073709551615\n"
                                "  sources:\n"
                                "    -\n"
                                "      path: \"a.jsonl\"\n"
                                "      weight: 2.5\n"
                                "    -\n"
                                "      path: \"b.jsonl\"\n"
                                "      weight: 1.0\n";

static void binds_and_prints_canonically(void **state)
{
    (void)state;
    Error err;
    Recipe recipe, again;
    Job job, second;
    assert_ok(parse(&recipe,
                    "# a comment\nname: 'a \"b\"'\ntrain: {rate: 2e-4, method: qlora, steps: 7,\n"
                    " lora: {targets: [q_proj, 12]}}\ndata:\n  seed: 18446744073709551615\n"
                    "  shuffle: false\n  sources:\n  - path: a.jsonl\n    weight: 2.5\n"
                    "  - {path: b.jsonl}\n", &err));
    assert_ok(recipe_bind(&recipe, &job_table, &job, &err));
    assert_string_equal(job.name, "a \"b\"");
    assert_int_equal(job.method, 2);
    assert_near(job.rate, 2e-4, 0);
    assert_int_equal(job.targets.count, 2);
    assert_string_equal(job.targets.items[1], "12");
    assert_int_equal(job.sources.count, 2);
    assert_near(((Source *)job.sources.items)[1].weight, 1, 0);
    assert_int_equal(recipe_find(recipe.root, "train.lora.targets")->line, 4);
    assert_null(recipe_find(recipe.root, "train.lor"));
    auto_buf Buf text;
    buf_init(&text, 10000);
    assert_ok(recipe_print(&job_table, &job, &text, &err));
    assert_string_equal(text.data, full_text);

    assert_ok(parse(&again, text.data, &err));
    assert_ok(recipe_bind(&again, &job_table, &second, &err));
    auto_buf Buf twice;
    buf_init(&twice, 10000);
    assert_ok(recipe_print(&job_table, &second, &twice, &err));
    assert_string_equal(twice.data, full_text);
    recipe_done(&again);
    recipe_done(&recipe);
}

static void defaults_and_options(void **state)
{
    (void)state;
    Error err;
    Job job;
    assert_ok(bind("name: x", &job, &err));
    assert_int_equal(job.steps, 100);
    assert_true(job.shuffle);
    assert_ok(recipe_set(&job_table, &job, "train.rate", "0.5", &err));
    assert_near(job.rate, 0.5, 0);
    assert_fails(recipe_set(&job_table, &job, "train.rtae", "0.5", &err), ERR_INPUT,
                 "did you mean 'train.rate'?");
    assert_fails(recipe_set(&job_table, &job, "train.rate", "5", &err), ERR_INPUT,
                 "from 1e-09 to 1");
    assert_fails(recipe_set(&job_table, &job, "data.sources", "5", &err), ERR_INPUT, "a list");
}

static void wrong_values_name_line_and_key(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"name: x\ntrain:\n  rtae: 1",
         "r.yaml:3: unknown key 'rtae' in 'train' (did you mean 'rate'?)"},
        {"name: x\nrate: 1", "r.yaml:2: unknown key 'rate' (did you mean 'train.rate'?)"},
        {"name: x\ntrian:\n  rate: 1", "r.yaml:2: unknown key 'trian' (did you mean 'train'?)"},
        {"name: x\ntrain:\n  lerning_rate: 1",
         "unknown key 'lerning_rate' in 'train' (did you mean 'rate'?)"},
        {"name: x\nzebra: 1", "r.yaml:2: unknown key 'zebra'"},
        {"train:\n  rate: 1", "r.yaml:1: 'name' is missing: of the run"},
        {"name: x\ntrain:\n  rate: fast",
         "r.yaml:3: 'train.rate' must be a number from 1e-09 to 1, is 'fast'"},
        {"name: x\ntrain:\n  rate: nan", "is 'nan'"},
        {"name: x\ntrain:\n  rate: 0x1", "is '0x1'"},
        {"name: x\ntrain:\n  rate: \"0.1\"", "must be a number"},
        {"name: x\ntrain:\n  rate:", "r.yaml:3: 'train.rate' has no value"},
        {"name: x\ntrain:\n  rate: 1e400", "must be a number"},
        {"name: x\ntrain:\n  rate: [1]", "is a list"},
        {"name: x\ntrain: 5", "r.yaml:2: 'train' must be a section with keys such as 'method'"},
        {"name: x\ntrain:\n  steps: 1.5", "a whole number from 1 to 1000000, is '1.5'"},
        {"name: x\ntrain:\n  steps: 0", "is '0'"},
        {"name: x\ntrain:\n  steps: -1", "is '-1'"},
        {"name: x\ntrain:\n  steps: 99999999999999999999", "a whole number"},
        {"name: x\ntrain:\n  steps: 4294967297", "a whole number"},
        {"name: x\ntrain:\n  method: lroa",
         "one of full, lora, qlora, is 'lroa' (did you mean 'lora'?)"},
        {"name: x\ndata:\n  shuffle: yes", "must be true or false, is 'yes'"},
        {"name: 123456789", "'name' must have 1 to 8 bytes, has 9"},
        {"name: ''", "'name' must have 1 to 8 bytes, has 0"},
        {"name: [x]", "must be a text, is a list"},
        {"name: x\ntrain: {lora: {targets: [a, b, c, d]}}", "must have 0 to 3 entries, has 4"},
        {"name: x\ntrain: {lora: {targets: [[a]]}}", "must be a text, is a list"},
        {"name: x\ntrain: {lora: {targets: a}}", "a list of texts, is 'a'"},
        {"name: x\ndata:\n  sources:\n  - a.jsonl", "r.yaml:4: an entry of 'data.sources' must be"},
        {"name: x\ndata:\n  sources:\n  - weight: 2", "r.yaml:4: 'path' is missing"},
        {"name: x\ndata:\n  sources:\n  - path: a\n    wieght: 2",
         "r.yaml:5: unknown key 'wieght'"},
    };
    Error err;
    Job job = {.steps = 12345};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(bind(cases[i].text, &job, &err), ERR_INPUT, cases[i].words);
    assert_int_equal(job.steps, 12345); /* untouched by all of them */
}

static void yaml_beyond_recipes_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        ErrCode code;
        const char *words;
    } cases[] = {
        {"", ERR_FORMAT, "must have lines"},
        {"just text", ERR_FORMAT, "must have lines"},
        {"- a\n- b", ERR_FORMAT, "must have lines"},
        {"a: &x 1\nb: *x", ERR_FORMAT, "r.yaml:1: anchors"},
        {"a: 1\nb: *x", ERR_FORMAT, "r.yaml:2: "},
        {"a: !!str 1", ERR_FORMAT, "tags"},
        {"a: !x {}", ERR_FORMAT, "tags"},
        {"a: &x [1]", ERR_FORMAT, "anchors"},
        {"a: 1\n<<: {b: 1}", ERR_FORMAT, "r.yaml:2: merge keys"},
        {"a: 1\nb: 2\na: 3", ERR_FORMAT, "r.yaml:3: key 'a' stands here and on line 1"},
        {"a.b: 1", ERR_FORMAT, "a key must be a word"},
        {"? [a]\n: 1", ERR_FORMAT, "a key must be a word"},
        {"\"\": 1", ERR_FORMAT, "a key must be a word"},
        {"a: 1\n---\nb: 2", ERR_FORMAT, "r.yaml:2: a second document"},
        {"%YAML 1.1\n---\na: 1", ERR_FORMAT, "directives"},
        {"a: \"\\0\"", ERR_FORMAT, "a text has a NUL"},
        {"a: [1", ERR_FORMAT, "r.yaml:"},
        {"a: 1\n\tb: 2", ERR_FORMAT, "r.yaml:2: "},
        {"a: \xff", ERR_FORMAT, "r.yaml:1: "},
        {"a: \x01", ERR_FORMAT, "r.yaml:1: "},
        {"a: [[[[[[[[1]]]]]]]]", ERR_LIMIT, "nested deeper than 8"},
    };
    Error err;
    Recipe recipe;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(parse(&recipe, cases[i].text, &err), cases[i].code, cases[i].words);
    auto_buf Buf many;
    buf_init(&many, RECIPE_BYTES_MAX + 10);
    buf_add_text(&many, "a: [");
    for (int i = 0; i <= RECIPE_NODES_MAX; i++)
        buf_add_text(&many, "1,");
    assert_fails(parse(&recipe, many.data, &err), ERR_LIMIT, "more than 16384 values");
    buf_reset(&many);
    for (int i = 0; i <= RECIPE_KEYS_MAX; i++)
        buf_format(&many, "k%d: 1\n", i);
    assert_fails(parse(&recipe, many.data, &err), ERR_LIMIT, "more than 512 keys");
    assert_fails(recipe_parse(&recipe, "", RECIPE_BYTES_MAX + 1, "r", &err), ERR_LIMIT, "at most");
    assert_ok(parse(&recipe, "\xef\xbb\xbf""a: 1", &err));
    recipe_done(&recipe);
}

static void describes_itself(void **state)
{
    (void)state;
    Error err;
    auto_buf Buf text;
    buf_init(&text, 10000);
    assert_ok(recipe_describe(&job_table, &text, &err));
    static const char *const lines[] = {
        "| `name` | text | required | of the run |\n",
        "| `train.method` | one of `full`, `lora`, `qlora` | `lora` | how |\n",
        "| `train.rate` | number, 1e-09 to 1 | `0.0001` | peak step size |\n",
        "| `data.sources[].weight` | number, 0 to 1000 | `1.0` | share of the mix |\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        assert_non_null(strstr(text.data, lines[i]));
}

static void files_and_memory(void **state)
{
    (void)state;
    Error err;
    Recipe recipe;
    Job job;
    char path[] = "/tmp/bastide-recipe-XXXXXX";
    close(mkstemp(path));
    assert_ok(fs_write(path, full_text, sizeof full_text - 1, &err));
    for (int n = 0, done = 0; !done; n++) {
        uint64_t before = mem_count();
        mem_fail_after(n);
        bool ok = recipe_read(&recipe, path, &err) && recipe_bind(&recipe, &job_table, &job, &err);
        done = mem_count() - before <= (uint64_t)n;
        mem_fail_after(-1);
        assert_int_equal(ok, done);
        recipe_done(&recipe);
    }
    remove(path);
    assert_fails(recipe_read(&recipe, path, &err), ERR_NOT_FOUND, path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(binds_and_prints_canonically),
        cmocka_unit_test(defaults_and_options),
        cmocka_unit_test(wrong_values_name_line_and_key),
        cmocka_unit_test(yaml_beyond_recipes_is_refused),
        cmocka_unit_test(describes_itself),
        cmocka_unit_test(files_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
