#include "base/test.h"

#include "base/fs.h"
#include "eval/bayes.h"

#include <math.h>
#include <stdio.h>

static const BayesText texts[] = {
    {"Curl fetches URLs, and curl resumes.", NULL}, {"wget fetches files", "depends: libc6"},
    {"a fast chess game", NULL},                    {"Chess-game with 3D board", "depends: libsdl"},
    {"café music player", NULL},                    {"plays music files", "a b"}};
static const uint32_t labels[] = {0, 0, 1, 1, 3, 3}; /* class 2 has no record */

/* Values printed by tools/bayes_check.py (scikit-learn 1.9.1), which holds the same texts. */
static void agrees_with_scikit_learn(void **state)
{
    (void)state;
    static const struct {
        BayesText text;
        double alpha, want[3];
    } cases[] = {
        {{"curl plays chess", NULL}, 1.0, {-1.181437724001, -1.079733068974, -1.039938161727}},
        {{"music files café", NULL}, 0.1, {-9.996350420303, -12.046200185143, -0.000051434052}},
        {{"nothing known", NULL}, 1.0, {-1.098612288668, -1.098612288668, -1.098612288668}},
        {{"CHESS game", "depends: libsdl"}, 0.01, {-25.759261175281, -1e-11, -26.332007123905}},
    };
    Error err = {0};
    Bayes *bayes = NULL;
    assert_ok(bayes_train(&bayes, texts, labels, 6, 4, 1.0, &err));
    assert_int_equal(bayes_features(bayes), 40);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double scores[4];
        bayes_set_alpha(bayes, cases[i].alpha);
        uint32_t best = bayes_scores(bayes, cases[i].text, scores);
        static const int classes[] = {0, 1, 3};
        for (int c = 0; c < 3; c++) {
            assert_near(scores[classes[c]], cases[i].want[c], 1e-9);
            assert_true(scores[best] >= scores[classes[c]]);
        }
        assert_true(isinf(scores[2]));
    }
    assert_int_equal(bayes_dropped_below(bayes), 0);
    bayes_free(bayes);
}

static void refuses_texts_without_words(void **state)
{
    (void)state;
    Error err = {0};
    Bayes *bayes = NULL;
    BayesText none[] = {{"a b c -", NULL}, {NULL, "!"}};
    assert_fails(bayes_train(&bayes, none, labels, 2, 4, 1.0, &err), ERR_INPUT, "no word");
}

/* Label x when the text says "left", y when "right"; the context alone tells z. */
static Dataset *made_up(size_t count)
{
    Error err = {0};
    Dataset *d = NULL;
    auto_buf Buf text;
    buf_init(&text, 16 << 20);
    for (size_t i = 0; i < count; i++)
        buf_format(&text,
                   "{\"text\":\"%s w%zu\",\"context\":\"%s\",\"label\":\"%s\","
                   "\"group\":\"%zu\"}\n",
                   i % 4 < 2 ? "left" : "right", i, i % 4 == 3 ? "zed" : "plain",
                   i % 4 < 2 ? "x" : i % 4 == 2 ? "y" : "z", i);
    assert_ok(dataset_parse(&d, text.data, text.size, "made", 1, &err));
    return d;
}

static void baseline_runs_on_splits(void **state)
{
    (void)state;
    Error err = {0};
    Dataset *d = made_up(4000);
    BayesRun run = {0}, all = {0};
    assert_ok(bayes_baseline(d, BAYES_TEXT, &run, &err));
    assert_ok(bayes_baseline(d, BAYES_ALL_FIELDS, &all, &err));
    size_t counts[SPLIT_COUNT], x = 0, z = 0;
    dataset_count_splits(d, counts);
    assert_int_equal(run.count, counts[SPLIT_TEST]);
    for (size_t i = 0; i < run.count; i++) {
        x += run.actual[i] == 0;
        z += run.actual[i] == 2;
        assert_int_equal(d->records[run.record[i]].split, SPLIT_TEST);
    }
    assert_int_equal(run.majority, 0);
    assert_near(run.accuracy_majority, (double)x / run.count, 1e-12);
    assert_true(run.accuracy < 1.0 - 0.4 * z / run.count && run.accuracy > 0.6);
    assert_near(all.accuracy, 1.0, 1e-12);
    bayes_run_done(&run);
    bayes_run_done(&all);
    dataset_free(d);

    d = made_up(1);
    assert_fails(bayes_baseline(d, BAYES_TEXT, &run, &err), ERR_INPUT, "split");
    dataset_free(d);
}

static void survives_failing_memory(void **state)
{
    (void)state;
    Error err = {0};
    Dataset *d = made_up(400);
    bool done = false;
    for (int64_t n = 0; !done && n < 200; n++) {
        BayesRun run = {0};
        mem_fail_after(n);
        done = bayes_baseline(d, BAYES_TEXT, &run, &err);
        mem_fail_after(-1);
        if (!done)
            assert_int_equal(err.code, ERR_MEMORY);
        bayes_run_done(&run);
    }
    assert_true(done);
    dataset_free(d);
}

/* tools/bayes_check.py dumps and checks the same figures with scikit-learn. */
static void reaches_its_figure_on_the_real_catalogue(void **state)
{
    (void)state;
    Error err = {0};
    Dataset *d = NULL;
    char path[] = "/tmp/bayes_test_XXXXXX", command[128];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    snprintf(command, sizeof command, "apt-cache dumpavail > %s 2> /dev/null", path);
    bool present = system(command) == 0 && fs_size(path) > 8 << 20;
    if (present)
        assert_ok(dataset_import_catalogue(&d, path, 1, &err));
    assert_ok(fs_remove(path, &err));
    if (!present) {
        print_message("SKIPPED: this machine has no package catalogue (apt-cache dumpavail)\n");
        skip();
    }
    BayesRun run = {0}, all = {0};
    assert_ok(bayes_baseline(d, BAYES_TEXT, &run, &err));
    assert_ok(bayes_baseline(d, BAYES_ALL_FIELDS, &all, &err));
    print_message("test %zu: text %.4f (valid %.4f, alpha %g, %.1f s), all fields %.4f "
                  "(valid %.4f, alpha %g, %.1f s), majority %.4f\n", run.count,
                  run.accuracy, run.accuracy_valid,
                  run.alpha, run.seconds, all.accuracy, all.accuracy_valid, all.alpha, all.seconds,
                  run.accuracy_majority);
    assert_true(run.accuracy > 0.70 && all.accuracy > 0.70 && run.accuracy_majority < 0.2);
    bayes_run_done(&run);
    bayes_run_done(&all);
    dataset_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_scikit_learn),
        cmocka_unit_test(refuses_texts_without_words),
        cmocka_unit_test(baseline_runs_on_splits),
        cmocka_unit_test(survives_failing_memory),
        cmocka_unit_test(reaches_its_figure_on_the_real_catalogue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
