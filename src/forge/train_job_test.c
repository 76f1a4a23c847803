/* A training job from recipe to signed model: pretraining, then an adapter on what came out. */
#include "forge/train_job.h"

#include "base/fs.h"
#include "base/test.h"
#include "store/workspace.h"
#include "trust/manifest.h"

#include <math.h>
#include <stdio.h>

static char root[] = "/tmp/bastide-job-XXXXXX";

/* Records with labels and words that go with them. */
static void write_records(const char *path)
{
    Error err;
    auto_buf Buf text;
    buf_init(&text, 1 << 20);
    for (int i = 0; i < 300; i++)
        buf_format(&text, "{\"text\": \"%s number %d\", \"label\": \"%s\", \"group\": \"g%d\"}\n",
                   i % 2 ? "apple pear plum" : "hammer saw nail", i, i % 2 ? "fruit" : "tool", i);
    assert_ok(fs_write(path, text.data, text.size, &err));
}

/* What the recipe gives, carried out in the folder of the test; plan only when `out` is NULL. */
static bool carry_out(const char *text, const char *base, const char *out, const char *run,
                      bool resume, TrainJobPlan *plan, TrainJobResult *result, Error *err)
{
    char data[256];
    Recipe file = {0};
    TrainRecipe recipe;
    TrainJob *job = NULL;
    snprintf(data, sizeof data, "%s/records.jsonl", root);
    bool ok = recipe_parse(&file, text, strlen(text), "test.yaml", err) &&
              recipe_bind(&file, &train_recipe_table, &recipe, err);
    recipe.data.path = data;
    recipe.base = base;
    recipe.out = out;
    recipe.run = run;
    ok = ok && train_recipe_check(&recipe, err) && train_job_open(&job, &recipe, err) &&
         (!plan || train_job_plan(job, 1e10, plan, err)) &&
         (!result || train_job_run(job, resume, NULL, result, err));
    train_job_close(job);
    recipe_done(&file);
    return ok;
}

#define HEAD "name: small\nout: o\nrun: r\ndata: {path: d}\n"
static const char pretrain[] =
    HEAD "tokenizer: {vocab: 300}\nmodel: {layers: 1, width: 16, heads: 2, context: 64}\n"
         "train: {epochs: 3, rate: 0.01}\n";
static const char adapt[] =
    HEAD "method: finetune\nlora: {rank: 2, targets: \"q_proj,down_proj\"}\n"
         "train: {steps: 30, rate: 0.01, row_tokens: 128}\n";

static void test_job(void **state)
{
    (void)state;
    Error err;
    TrainJobPlan plan;
    TrainJobResult first, again, adapted;
    ManifestReport report;
    char base[128], out[128], run[128], path[160];
    snprintf(base, sizeof base, "%s/ws/models/base", root);
    snprintf(out, sizeof out, "%s/plain/adapted", root);
    snprintf(run, sizeof run, "%s/run-1", root);
    assert_ok(carry_out(pretrain, NULL, base, run, false, &plan, NULL, &err));
    assert_near(plan.run.epochs, 3, 0.2);
    assert_true(plan.steps > 10 && plan.parameters > 1000 && isfinite(plan.seconds));
    assert_false(fs_exists(run));
    assert_ok(carry_out(pretrain, NULL, base, run, false, NULL, &first, &err));
    assert_int_equal(first.run.steps, plan.steps);
    assert_true(first.is_signed && first.run.valid_loss < log(300));
    assert_ok(manifest_verify(base, NULL, &report, &err));
    static const char *const written[] = {"recipe.yaml", "report.html", "events.jsonl"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", run, written[i]);
        assert_true(fs_size(path) > 100);
    }
    /* a finished run, resumed: nothing to do, the same result */
    assert_ok(carry_out(pretrain, NULL, base, run, true, NULL, &again, &err));
    assert_true(again.run.valid_loss == first.run.valid_loss);
    snprintf(run, sizeof run, "%s/run-2", root);
    assert_ok(carry_out(adapt, base, out, run, false, &plan, &adapted, &err));
    assert_true(plan.run.memory.trainable < plan.parameters / 4);
    assert_false(adapted.is_signed);
    assert_true(adapted.run.steps == 30 && isfinite(adapted.run.valid_loss));
    snprintf(path, sizeof path, "%s/model.safetensors", out);
    assert_true(fs_size(path) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_job)};
    Error err;
    char path[256];
    if (!mkdtemp(root))
        return 1;
    snprintf(path, sizeof path, "%s/records.jsonl", root);
    write_records(path);
    snprintf(path, sizeof path, "%s/ws", root);
    if (!workspace_init(path, &err))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return !fs_remove_tree(root, &err) || failed;
}
