/* mainjob_test.c: the whole main job on a small made-up dataset, and on text without labels. */
#include "forge/mainjob.h"

#include "base/rng.h"
#include "base/test.h"
#include "eval/report.h"
#include "trust/manifest.h"

#include <stdio.h>
#include <stdlib.h>

enum { RECORDS = 600, LABELS = 4, WORDS = 6 };

static char folder[64];

static const MainJobSize tiny = {
    .name = "tiny", .vocab = 400, .layers = 1, .width = 32, .heads = 2, .kv_heads = 1,
    .ff_width = 64, .context = 96, .row_tokens = 256, .pretrain_rate = 1e-2, .pretrain_epochs = 1,
    .finetune_rate = 1e-2, .finetune_epochs = 4, .every_text = 5, .omit = 0.1, .decay = 0.1,
};

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/bastide-mainjob-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
    (void)state;
    Error err;
    return fs_remove_tree(folder, &err) ? 0 : -1;
}

static Dataset *make_dataset(bool labelled)
{
    static const char *const labels[LABELS] = {"games", "mail", "math", "sound"};
    static const char *const words[LABELS][WORDS] = {
        {"arcade", "puzzle", "chess", "dungeon", "player", "level"},
        {"inbox", "letter", "smtp", "imap", "message", "spam"},
        {"matrix", "algebra", "integral", "prime", "solver", "numbers"},
        {"audio", "mixer", "guitar", "synth", "melody", "tempo"}};
    Error err;
    Dataset *dataset;
    auto_buf Buf text;
    buf_init(&text, 1 << 20);
    RngKey key = rng_key(1, "records");
    for (uint64_t i = 0, n = 0; i < RECORDS; i++) {
        uint32_t label = (uint32_t)rng_below(key, n++, LABELS);
        buf_format(&text, "{\"text\": \"a tool with %s and %s number %llu\"",
                   words[label][rng_below(key, n, WORDS)], words[label][rng_below(key, n + 1, WORDS)],
                   (unsigned long long)i);
        n += 2;
        if (labelled)
            buf_format(&text, ", \"label\": \"%s\", \"context\": \"size: small\\nkind: %s\"",
                       labels[label], i % 2 ? "new" : "old");
        if (i % 10 == 0) /* long in tokens: every byte is one */
            buf_format(&text, ", \"messages\": [{\"role\": \"user\", \"content\": \"%s\"}, {\"role\": "
                              "\"assistant\", \"content\": \"fine\"}]",
                       i % 20 ? "how are you?" : "\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5"
                       "\xe6\x9c\xac\xe6\x9c\xac\xe6\x9c\xac\xe6\x9c\xac\xe6\x9c\xac\xe6\x9c\xac"
                       "\xe8\xaa\x9e\xe8\xaa\x9e\xe8\xaa\x9e\xe8\xaa\x9e\xe8\xaa\x9e\xe8\xaa\x9e"
                       "\xe3\x81\xae\xe3\x81\xae\xe3\x81\xae\xe3\x81\xae\xe3\x81\xae\xe3\x81\xae"
                       "\xe7\xab\xa0\xe7\xab\xa0\xe7\xab\xa0\xe7\xab\xa0\xe7\xab\xa0\xe7\xab\xa0"
                       "\xe7\xab\xa0\xe7\xab\xa0\xe7\xab\xa0\xe7\xab\xa0\xe7\xab\xa0\xe7\xab\xa0");
        buf_add_text(&text, "}\n");
    }
    assert_false(text.failed);
    assert_ok(dataset_parse(&dataset, text.data, text.size, "made-up", 3, &err));
    return dataset;
}

static void count_progress(void *user, const ProgressView *view)
{
    (void)view;
    ++*(uint32_t *)user;
}

static json_t *read_report(const MainJobResult *result)
{
    Error err;
    char path[1100];
    json_t *report;
    assert_ok(fs_join(path, sizeof path, result->report_folder, "report.json", &err));
    assert_ok(json_read(&report, path, 16 << 20, &err));
    assert_ok(fs_join(path, sizeof path, result->report_folder, "report.html", &err));
    assert_true(fs_size(path) > 1000);
    return report;
}

static void check_keys(const json_t *report, const char *const *keys)
{
    for (; *keys; keys++)
        if (!json_object_get(report, *keys))
            fail_test("report.json lacks '%s'", *keys);
}

static void a_labelled_dataset_becomes_a_signed_model(void **state)
{
    (void)state;
    static const char *const keys[] = {"model", "dataset", "dataset_digest", "accuracy", "interval",
                                       "quantised", "baselines", "confusion", "per_class", "phases",
                                       "seconds", NULL};
    Error err;
    char workspace[100], model[64];
    Dataset *dataset = make_dataset(true);
    uint32_t updates = 0;
    MainJobResult first, again;
    snprintf(workspace, sizeof workspace, "%s/labelled", folder);
    MainJob job = {.workspace = workspace, .name = "tiny", .dataset = dataset,
                   .records_noun = "tools", .label_noun = "kind", .command = "none", .size = &tiny,
                   .threads = 2, .seed = 5, .progress = count_progress, .user = &updates};
    assert_ok(mainjob_run(&job, &first, &err));
    assert_true(updates > 20);
    assert_true(first.accuracy > first.majority + 0.2);
    json_t *report = read_report(&first);
    check_keys(report, keys);
    assert_near(json_number_value(json_object_get(report, "accuracy")), first.accuracy, 1e-6);
    json_decref(report);
    ManifestReport verified;
    assert_ok(manifest_verify(first.model_folder, NULL, &verified, &err));
    assert_true(verified.files >= 5);
    snprintf(model, sizeof model, "%s", first.model_folder + strlen(workspace));
    assert_string_equal(model, "/models/tiny");

    updates = 0; /* the runs are complete: they are taken up, not done again */
    assert_ok(mainjob_run(&job, &again, &err));
    assert_int_equal(updates, 0);
    assert_near(again.accuracy, first.accuracy, 0);
    assert_ok(manifest_verify(again.model_folder, NULL, &verified, &err));
    dataset_free(dataset);
}

static void text_without_labels_is_measured_in_bits(void **state)
{
    (void)state;
    static const char *const keys[] = {"bytes", "bits_per_byte", "baselines", "seconds", NULL};
    Error err;
    char workspace[100];
    Dataset *dataset = make_dataset(false);
    MainJobResult result;
    snprintf(workspace, sizeof workspace, "%s/plain", folder);
    MainJob job = {.workspace = workspace, .name = "plain", .dataset = dataset, .size = &tiny,
                   .records_noun = "records", .label_noun = "label", .command = "none",
                   .threads = 1, .seed = 5};
    assert_ok(mainjob_run(&job, &result, &err));
    assert_true(result.bits_per_byte > 0 && result.bits_per_byte < 5);
    json_t *report = read_report(&result);
    check_keys(report, keys);
    json_decref(report);
    dataset_free(dataset);
}

static void a_request_to_stop_is_obeyed_and_resumed(void **state)
{
    (void)state;
    Error err;
    char workspace[100];
    Dataset *dataset = make_dataset(true);
    MainJobResult result;
    volatile sig_atomic_t stop = 1;
    snprintf(workspace, sizeof workspace, "%s/stopped", folder);
    MainJob job = {.workspace = workspace, .name = "tiny", .dataset = dataset, .size = &tiny,
                   .records_noun = "tools", .label_noun = "kind", .command = "none",
                   .threads = 1, .seed = 5, .stop = &stop};
    assert_fails(mainjob_run(&job, &result, &err), ERR_CANCELLED, "");
    stop = 0;
    assert_ok(mainjob_run(&job, &result, &err));
    dataset_free(dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_labelled_dataset_becomes_a_signed_model),
        cmocka_unit_test(text_without_labels_is_measured_in_bits),
        cmocka_unit_test(a_request_to_stop_is_obeyed_and_resumed),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
