/* cmd_train.c: a recipe carried out from the command line. */
#include "cli/command.h"

#include "base/mem.h"
#include "forge/train_job.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SETTINGS_MAX = 64 };

typedef struct {
    const char *path;
    const char *settings[SETTINGS_MAX]; /* KEY=VALUE, in order */
    uint32_t setting_count;
    bool resume, dry_run, json;
} Train;

/* Takes every --set out of argv; returns the words left, or -1. */
static int take_settings(int argc, char **argv, Train *t, Error *err)
{
    int kept = 1;
    for (int i = 1; i < argc; i++) {
        bool joined = strncmp(argv[i], "--set=", 6) == 0;
        if (!joined && strcmp(argv[i], "--set") != 0) {
            argv[kept++] = argv[i];
            continue;
        }
        const char *setting = joined ? argv[i] + 6 : i + 1 < argc ? argv[++i] : "";
        if (!strchr(setting, '=')) {
            fail(err, ERR_INPUT, "--set needs KEY=VALUE, such as train.rate=0.001");
            return -1;
        }
        if (t->setting_count == SETTINGS_MAX) {
            fail(err, ERR_LIMIT, "at most %d times --set", SETTINGS_MAX);
            return -1;
        }
        t->settings[t->setting_count++] = setting;
    }
    return kept;
}

static bool apply_settings(const Train *t, TrainRecipe *recipe, Error *err)
{
    for (uint32_t i = 0; i < t->setting_count; i++) {
        char key[RECIPE_KEY_BYTES_MAX * 2];
        const char *equals = strchr(t->settings[i], '=');
        snprintf(key, sizeof key, "%.*s", (int)(equals - t->settings[i]), t->settings[i]);
        if (!recipe_set(&train_recipe_table, recipe, key, equals + 1, err))
            return fail_within(err, "--set %.60s", t->settings[i]);
    }
    return true;
}

/* ---- --dry-run ---- */

static void print_plan_json(const TrainJobPlan *p)
{
    const TrainerMemory *m = &p->run.memory;
    printf("{\"updates\":%llu,\"epochs\":%.4f,\"tokens\":%llu,\"data_tokens\":%llu,"
           "\"validation_tokens\":%llu,\"parameters\":%llu,\"trained_parameters\":%llu,"
           "\"memory\":{\"weights\":%llu,\"gradients\":%llu,\"optimiser\":%llu,"
           "\"activations\":%llu,\"total\":%llu,\"data\":%llu},\"flops\":%.6g,",
           (unsigned long long)p->steps, p->run.epochs, (unsigned long long)p->run.tokens,
           (unsigned long long)p->data_tokens, (unsigned long long)p->valid_tokens,
           (unsigned long long)p->parameters, (unsigned long long)m->trainable,
           (unsigned long long)m->weights, (unsigned long long)m->gradients,
           (unsigned long long)m->optimiser, (unsigned long long)m->activations,
           (unsigned long long)m->total, (unsigned long long)p->data_bytes, p->run.flops);
    if (isfinite(p->seconds))
        printf("\"seconds\":%.1f,", p->seconds);
    printf("\"seconds_by\":\"%s\"}\n", p->seconds_by);
}

static void print_part(const char *name, uint64_t bytes)
{
    char text[PROGRESS_TEXT_MAX];
    printf("  %-12s %12s\n", name, progress_bytes((double)bytes, text));
}

static void print_plan(const TrainJobPlan *p)
{
    const TrainerMemory *m = &p->run.memory;
    char a[PROGRESS_TEXT_MAX], b[PROGRESS_TEXT_MAX];
    printf("Updates:    %s, %.2f epochs of %s tokens\n",
           progress_number((double)p->steps, a), p->run.epochs,
           progress_number((double)p->data_tokens, b));
    printf("Tokens:     %s in all; %s to validate on\n",
           progress_number((double)p->run.tokens, a),
           progress_number((double)p->valid_tokens, b));
    printf("Parameters: %s, %s of them trained\nMemory:\n",
           progress_number((double)p->parameters, a), progress_number((double)m->trainable, b));
    print_part("weights", m->weights);
    print_part("gradients", m->gradients);
    print_part("optimiser", m->optimiser);
    print_part("activations", m->activations);
    print_part("total", m->total);
    print_part("and data", p->data_bytes);
    printf("Time:       about %s, by %s\n", progress_seconds(p->seconds, a), p->seconds_by);
}

static bool plan(const Train *t, TrainJob *job, Error *err)
{
    TrainJobPlan planned;
    if (!train_job_plan(job, terminal_peak_flops(0), &planned, err))
        return false;
    (t->json ? print_plan_json : print_plan)(&planned);
    return true;
}

/* ---- training ---- */

static void print_result(const Train *t, const TrainRecipe *recipe, const TrainJobResult *r)
{
    if (t->json) {
        printf("{\"model\":\"%s\",\"report\":\"%s/report.html\",\"updates\":%llu,\"tokens\":%llu,"
               "\"loss\":%.6f,",
               recipe->out, recipe->run, (unsigned long long)r->run.steps,
               (unsigned long long)r->run.tokens, r->run.loss);
        if (isfinite(r->run.valid_loss))
            printf("\"validation_loss\":%.6f,", r->run.valid_loss);
        printf("\"seconds\":%.2f,\"tokens_per_second\":%.0f,\"peak_bytes\":%llu,"
               "\"signed\":%s}\n",
               r->run.seconds, r->run.tokens_per_second, (unsigned long long)r->peak_bytes,
               r->is_signed ? "true" : "false");
        return;
    }
    printf("Loss %.4f", r->run.loss);
    if (isfinite(r->run.valid_loss))
        printf(", validation loss %.4f", r->run.valid_loss);
    char seconds[PROGRESS_TEXT_MAX], speed[PROGRESS_TEXT_MAX];
    printf(" after %llu updates (%s, %s).\nModel:  %s%s\nReport: %s/report.html\n",
           (unsigned long long)r->run.steps, progress_seconds(r->run.seconds, seconds),
           progress_speed(r->run.tokens_per_second, speed), recipe->out,
           r->is_signed ? " (signed)" : "", recipe->run);
}

static bool train(const Train *t, TrainJob *job, const TrainRecipe *recipe, Error *err)
{
    TrainJobResult result;
    RunWatch watch = {.progress = terminal_progress,
                      .peak_flops = terminal_peak_flops(recipe->train.threads),
                      .stop = &terminal_stop};
    terminal_catch_signals();
    terminal_phase(NULL, "Training");
    if (!train_job_run(job, t->resume, &watch, &result, err))
        return false;
    terminal_progress_end();
    print_result(t, recipe, &result);
    return true;
}

static bool carry_out(const Train *t, Recipe *file, Error *err)
{
    TrainRecipe recipe;
    TrainJob *job;
    if (!train_recipe_read(&recipe, file, t->path, err) || !apply_settings(t, &recipe, err) ||
        !train_recipe_check(&recipe, err))
        return false;
    terminal_phase(NULL, "Reading the data");
    if (!train_job_open(&job, &recipe, err))
        return false;
    bool ok = t->dry_run ? plan(t, job, err) : train(t, job, &recipe, err);
    train_job_close(job);
    return ok;
}

bool command_train(int argc, char **argv, Error *err)
{
    Train t = {0};
    uint32_t found;
    const ArgOption options[] = {
        {"resume", ARG_FLAG, &t.resume, NULL, "go on from the newest checkpoint"},
        {"dry-run", ARG_FLAG, &t.dry_run, NULL, "plan, train nothing"},
        {"json", ARG_FLAG, &t.json, NULL, "for programs"},
        {"set", ARG_TEXT, &t.settings[0], "KEY=VALUE", "replaces a key of the recipe"},
    };
    argc = take_settings(argc, argv, &t, err);
    if (argc < 0 || !args_parse(argc, argv, options, sizeof options / sizeof *options, &t.path, 1,
                                &found, err))
        return false;
    if (!t.path)
        return fail(err, ERR_INPUT, "say which recipe: bastide train RECIPE");
    Recipe file = {0};
    bool ok = carry_out(&t, &file, err);
    recipe_done(&file);
    return ok;
}
