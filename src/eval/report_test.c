#include "base/test.h"

#include "base/fs.h"
#include "eval/energy.h"
#include "eval/report.h"
#include "eval/words.h"

#include <stdio.h>

enum { COUNT = 1000, CLASSES = 3 };

/* A model right in 80 % of cases, a baseline right in 60 %, wrong where the model is too. */
typedef struct {
    uint32_t actual[COUNT], model[COUNT], baseline[COUNT], majority[COUNT];
    float probability[COUNT * CLASSES];
    const char *text[COUNT], *group[COUNT], *id[COUNT];
    char groups[COUNT / 4][8];
    EvalReport report;
} Made;

static const char *const labels[] = {"libs", "<script>alert(1)</script>", "net"};
static const double curve_x[] = {0, 100, 200, 300}, curve_y[] = {4, 2, 1.5, 1.4};
static const EvalCurve curve = {"training", curve_x, curve_y, 4};
static const EvalPhase phases[] = {{"training", 60}, {"evaluating", 1.5}};
static const EvalFact facts[] = {{"recipe", "a & b.yaml"}};
static const EvalSample samples[] = {{"write", "cut off\xe2\x82", NULL}};

static Made *make(void)
{
    Made *made = mem_alloc(1, sizeof *made);
    assert_non_null(made);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t other = (i + 1) % CLASSES;
        made->actual[i] = i % CLASSES;
        made->model[i] = i % 5 ? made->actual[i] : other;
        made->baseline[i] = i % 5 && i % 4 ? made->actual[i] : other;
        made->text[i] = i % 2 ? "a \"quoted\" <b>text</b>" : "plain";
        snprintf(made->groups[i / 4], sizeof made->groups[0], "g%u", i / 4);
        made->group[i] = made->groups[i / 4];
        made->id[i] = "id";
        for (uint32_t c = 0; c < CLASSES; c++)
            made->probability[i * CLASSES + c] = c == made->model[i] ? 0.8f : 0.1f;
    }
    made->report = (EvalReport){
        .model = "small", .dataset = "made-up", .dataset_digest = "00ff",
        .records_noun = "packages", .label_noun = "section", .made_at = 0, .seed = 3, .count = COUNT,
        .classes = CLASSES,
        .labels = labels, .actual = made->actual, .predicted = made->model,
        .probability = made->probability, .group = made->group, .id = made->id, .text = made->text,
        .quantised_name = "int8", .quantised = made->model,
        .baselines = {{"naive_bayes", "naive Bayes", "alpha 1", made->baseline},
                      {"majority", "majority", NULL, made->majority}},
        .baseline_count = 2, .curves = &curve, .curve_count = 1, .phases = phases, .phase_count = 2,
        .tokens_per_second = 1234.5, .facts = facts, .fact_count = 1, .command = "make it",
        .samples = samples, .sample_count = 1};
    return made;
}

static void figures_are_those_of_the_answers(void **state)
{
    (void)state;
    Error err = {0};
    Made *made = make();
    EvalFigures *f = NULL;
    assert_ok(report_figures(&f, &made->report, &err));
    assert_near(f->accuracy, 0.8, 1e-12);
    assert_near(f->baselines[0].value, 0.6, 1e-12);
    assert_near(f->baselines[1].value, 0.334, 1e-12);
    assert_near(f->baselines[0].difference, 0.2, 1e-12);
    assert_int_equal(f->groups, 250);
    assert_int_equal(f->strongest, 0);
    assert_int_equal(f->verdict, VERDICT_BETTER);
    assert_true(f->interval.low <= f->wilson.low && f->interval.high >= f->wilson.high);
    assert_true(f->interval.low <= f->by_groups.low && f->interval.high >= f->by_groups.high);
    assert_near(f->calibration_error, 0, 1e-6);
    assert_near(f->top3, 1, 1e-12); /* of three classes */
    assert_near(f->quantised_agreement, 1, 1e-12);
    assert_near(f->seconds, 61.5, 1e-12);
    assert_int_equal(f->pair_count, 3);
    assert_string_equal(f->sentence,
                        "small files 80.0\xc2\xa0% [77.4, 82.4] of 1,000 unseen packages in the "
                        "right section; naive Bayes 60.0\xc2\xa0%, majority 33.4\xc2\xa0%.");
    for (uint32_t k = 0; k < REPORT_EXAMPLES; k++) {
        assert_true(made->model[f->right[k]] == made->actual[f->right[k]]);
        assert_true(made->model[f->wrong[k]] != made->actual[f->wrong[k]]);
    }
    report_figures_free(f);
    mem_free(made);
}

static Verdict verdict_of(const uint32_t *predicted, const uint32_t *rival, Made *made)
{
    Error err = {0};
    EvalFigures *f = NULL;
    made->report.predicted = predicted;
    made->report.baselines[0].predicted = rival;
    made->report.baseline_count = rival ? 1 : 0;
    assert_ok(report_figures(&f, &made->report, &err));
    Verdict verdict = f->verdict;
    report_figures_free(f);
    return verdict;
}

static void verdict_follows_the_interval(void **state)
{
    (void)state;
    Made *made = make();
    assert_int_equal(verdict_of(made->model, made->baseline, made), VERDICT_BETTER);
    assert_int_equal(verdict_of(made->baseline, made->model, made), VERDICT_WORSE);
    assert_int_equal(verdict_of(made->model, made->model, made), VERDICT_LEVEL);
    assert_int_equal(verdict_of(made->model, NULL, made), VERDICT_ALONE);
    memcpy(made->baseline, made->model, sizeof made->model);
    made->baseline[1] = (made->actual[1] + 1) % CLASSES; /* one answer more is luck */
    assert_int_equal(verdict_of(made->model, made->baseline, made), VERDICT_LEVEL);
    mem_free(made);
}

static void read_file(const char *folder, const char *name, Buf *out)
{
    Error err = {0};
    char path[256];
    assert_ok(fs_join(path, sizeof path, folder, name, &err));
    assert_ok(fs_read(path, out, &err));
}

static void writes_both_files(void **state)
{
    (void)state;
    Error err = {0};
    char folder[] = "/tmp/report_test_XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    Made *made = make();
    assert_ok(report_write(&made->report, folder, &err));
    auto_buf Buf html;
    buf_init(&html, REPORT_BYTES_MAX);
    read_file(folder, "report.html", &html);
    assert_null(strstr(html.data, "<script>"));
    assert_null(strstr(html.data, "<b>text"));
    assert_non_null(strstr(html.data, "&lt;script&gt;"));
    assert_non_null(strstr(html.data, "a &quot;quoted&quot; &lt;b&gt;"));
    assert_non_null(strstr(html.data, "a &amp; b.yaml"));
    assert_non_null(strstr(html.data, "make it"));

    snprintf(path, sizeof path, "%s/report.json", folder);
    auto_json json_t *json = NULL;
    assert_ok(json_read(&json, path, REPORT_BYTES_MAX, &err));
    assert_near(json_real_value(json_object_get(json, "accuracy")), 0.8, 1e-12);
    assert_near(json_real_value(json_object_get(json, "baseline_majority")), 0.334, 1e-12);
    assert_near(json_real_value(json_object_get(json, "baseline_naive_bayes")), 0.6, 1e-12);
    assert_near(json_real_value(json_object_get(json, "seconds")), 61.5, 1e-12);
    assert_near(json_real_value(json_object_get(json, "tokens_per_second")), 1234.5, 1e-12);
    assert_int_equal(json_array_size(json_object_get(json, "interval")), 2);
    assert_true(json_is_null(json_object_get(json, "joules")));
    const json_t *sample = json_array_get(json_object_get(json, "generated"), 0);
    assert_string_equal(json_string_value(json_object_get(sample, "output")),
                        "cut off\xef\xbf\xbd\xef\xbf\xbd");
    assert_ok(fs_remove_tree(folder, &err));
    mem_free(made);
}

static void writes_the_page_of_a_language_model(void **state)
{
    (void)state;
    Error err = {0};
    EvalReport report = {.model = "tales", .dataset = "stories", .bytes = 12345,
                         .bits_per_byte = 1.25, .baselines = {{"unigram", "single bytes", NULL,
                                                               .bits_per_byte = 4.5}},
                         .baseline_count = 1};
    EvalFigures *f = NULL;
    assert_ok(report_figures(&f, &report, &err));
    assert_int_equal(f->verdict, VERDICT_BETTER);
    assert_string_equal(f->sentence, "tales needs 1.25 bits for each of 12,345 unseen bytes of "
                                     "stories; single bytes 4.50.");
    auto_buf Buf html;
    buf_init(&html, REPORT_BYTES_MAX);
    auto_json json_t *json = NULL;
    assert_ok(report_html(&html, &report, f, &err));
    assert_ok(report_json(&json, &report, f, &err));
    assert_near(json_real_value(json_object_get(json, "baseline_unigram")), 4.5, 1e-12);
    assert_string_equal(json_string_value(json_object_get(json, "task")), "language");
    report_figures_free(f);
}

static void refuses_nonsense(void **state)
{
    (void)state;
    Error err = {0};
    EvalFigures *f = NULL;
    EvalReport nothing = {.model = "x", .dataset = "y"};
    assert_fails(report_figures(&f, &nothing, &err), ERR_INPUT, "needs answers or bytes");
    Made *made = make();
    made->baseline[7] = CLASSES;
    assert_fails(report_figures(&f, &made->report, &err), ERR_INPUT, "answer 7 is label 3 of 3");
    mem_free(made);
}

static void survives_failing_memory(void **state)
{
    (void)state;
    Error err = {0};
    Made *made = make();
    bool done = false;
    for (int64_t n = 0; !done && n < 4000; n++) {
        EvalFigures *f = NULL;
        json_t *json = NULL;
        auto_buf Buf html;
        buf_init(&html, REPORT_BYTES_MAX);
        mem_fail_after(n);
        done = report_figures(&f, &made->report, &err) &&
               report_json(&json, &made->report, f, &err) &&
               report_html(&html, &made->report, f, &err);
        mem_fail_after(-1);
        json_decref(json);
        report_figures_free(f);
    }
    assert_true(done);
    mem_free(made);
}

static void numbers_read_well(void **state)
{
    (void)state;
    char out[WORDS_NUMBER_BYTES];
    assert_string_equal(words_count(0, out), "0");
    assert_string_equal(words_count(999, out), "999");
    assert_string_equal(words_count(1000, out), "1,000");
    assert_string_equal(words_count(18446744073709551615u, out), "18,446,744,073,709,551,615");
    assert_string_equal(words_percent(0.8413, out), "84.1\xc2\xa0%");
    assert_string_equal(words_interval((Interval){0.83, 0.851}, out), "[83.0, 85.1]");
    assert_string_equal(words_seconds(0.84, out), "0.8\xc2\xa0s");
    assert_string_equal(words_seconds(90, out), "90\xc2\xa0s");
    assert_string_equal(words_seconds(630, out), "10.5\xc2\xa0min");
    assert_string_equal(words_seconds(9000, out), "2.5\xc2\xa0h");
}

static void put_counter(const char *folder, int package, const char *file, const char *value)
{
    Error err = {0};
    char path[256];
    snprintf(path, sizeof path, "%s/intel-rapl:%d", folder, package);
    assert_ok(fs_make_dirs(path, &err));
    snprintf(path, sizeof path, "%s/intel-rapl:%d/%s", folder, package, file);
    assert_ok(fs_write(path, value, strlen(value), &err));
}

static void energy_adds_packages_and_wraps(void **state)
{
    (void)state;
    Error err = {0};
    Energy energy;
    char folder[] = "/tmp/energy_test_XXXXXX";
    assert_non_null(mkdtemp(folder));
    energy_start(&energy, folder);
    assert_near(energy_read(&energy), 0, 0);
    for (int p = 0; p < 2; p++) {
        put_counter(folder, p, "max_energy_range_uj", "10000000\n");
        put_counter(folder, p, "energy_uj", "9000000\n");
    }
    energy_start(&energy, folder);
    assert_int_equal(energy.packages, 2);
    put_counter(folder, 0, "energy_uj", "9500000\n");
    put_counter(folder, 1, "energy_uj", "1000000\n"); /* wrapped: 1 + 1 J */
    assert_near(energy_read(&energy), 2.5, 1e-9);
    put_counter(folder, 1, "energy_uj", "1250000\n");
    assert_near(energy_read(&energy), 2.75, 1e-9);
    assert_ok(fs_remove_tree(folder, &err));
    assert_near(energy_read(&energy), 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_those_of_the_answers),
        cmocka_unit_test(verdict_follows_the_interval),
        cmocka_unit_test(writes_both_files),
        cmocka_unit_test(writes_the_page_of_a_language_model),
        cmocka_unit_test(refuses_nonsense),
        cmocka_unit_test(survives_failing_memory),
        cmocka_unit_test(numbers_read_well),
        cmocka_unit_test(energy_adds_packages_and_wraps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
