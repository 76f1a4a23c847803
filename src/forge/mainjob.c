/* mainjob.c: see mainjob.h. */
#include "forge/mainjob_state.h"

#include "base/clock.h"
#include "base/hash.h"
#include "store/workspace.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Without labels all the time goes into the text. */
enum { TEXT_EPOCHS = 6 };

const MainJobSize mainjob_default = {
    .name = "default", .vocab = 8192, .layers = 2, .width = 128, .heads = 4, .kv_heads = 2,
    .ff_width = 352, .context = 512, .row_tokens = 4096, .pretrain_rate = 3e-3,
    .pretrain_epochs = 1, .tokens_most = 700000, .finetune_rate = 3e-3, .finetune_epochs = 2.2,
    .every_text = 5, .omit = 0.15, .decay = 0.1,
};
const MainJobSize mainjob_full = {
    .name = "full", .vocab = 8192, .layers = 3, .width = 160, .heads = 5, .kv_heads = 5,
    .ff_width = 448, .context = 512, .row_tokens = 4096, .pretrain_rate = 2e-3,
    .pretrain_epochs = 1, .finetune_rate = 2e-3, .finetune_epochs = 3, .every_text = 3,
    .omit = 0.2, .decay = 0.1,
};

void mainjob_phase(State *s, const char *name, const char *sentence)
{
    double now = clock_seconds();
    energy_read(&s->energy); /* its counters wrap: read often */
    if (s->phase_count)
        s->phases[s->phase_count - 1].seconds = now - s->phase_started;
    s->phase_started = now;
    if (!sentence || s->phase_count == PHASES_MAX)
        return;
    s->phases[s->phase_count++] = (EvalPhase){name, 0};
    if (s->job->phase)
        s->job->phase(s->job->user, sentence);
}

/* ---- learning ---- */

static RunOptions run_options(const State *s, const char *phase, const char *folder)
{
    const MainJobSize *z = s->job->size;
    return (RunOptions){
        .folder = folder, .phase = phase, .data_digest = s->data_digest,
        .trainer = {.row_tokens = z->row_tokens, .threads = s->job->threads, .beta1 = 0.9f,
                    .beta2 = 0.95f, .eps = 1e-8f, .decay = (float)z->decay, .clip = 1},
        .rows = 1, .schedule = "cosine", .warmup_share = 0.05, .floor_share = 0.02,
        .checkpoint_every = 200, .seed = s->job->seed, .resume = true};
}

static bool train(State *s, const char *phase, const SampleSet *samples, const SampleSet *valid,
                  double rate, double epochs, double tokens_most, RunResult *out, Error *err)
{
    char folder[1024];
    RunPlan plan;
    if (!fs_join(folder, sizeof folder, s->run_folder, phase, err))
        return false;
    RunOptions o = run_options(s, phase, folder);
    o.rate = rate;
    o.too_long = strcmp(phase, "pretrain") == 0 ? PACK_SPLIT : PACK_TRUNCATE;
    o.steps = 1;
    if (!run_plan(s->model, samples, &o, &plan, err))
        return false;
    double rows = epochs * (double)plan.packing.rows;
    double most = tokens_most / o.trainer.row_tokens;
    rows = tokens_most > 0 && rows > most ? most : rows;
    o.steps = rows < 20 ? 20 : (uint64_t)rows;
    o.evaluate_every = o.steps / 6 + 1;
    RunWatch watch = {.progress = s->job->progress, .user = s->job->user,
                      .peak_flops = s->job->peak_flops, .stop = s->job->stop};
    return run_train(s->model, samples, valid, &o, &watch, out, err);
}

static bool pretrain(State *s, Error *err)
{
    const MainJobSize *z = s->job->size;
    SampleSet samples = {0}, valid = {0};
    mainjob_phase(s, "pretraining", "Pretraining on the text of the records");
    bool ok = lessons_pretrain(&samples, s->job->dataset, SPLIT_TRAIN, s->model->tokenizer,
                               s->chat, s->pool, err) &&
              lessons_pretrain(&valid, s->job->dataset, SPLIT_VALID, s->model->tokenizer, s->chat,
                               s->pool, err) &&
              train(s, "pretrain", &samples, &valid, z->pretrain_rate,
                    (s->labelled ? 1 : TEXT_EPOCHS) * z->pretrain_epochs,
                    (s->labelled ? 1 : TEXT_EPOCHS) * (double)z->tokens_most, &s->pretrain, err);
    sample_set_done(&samples);
    sample_set_done(&valid);
    return ok;
}

static bool has_dialogues(const Dataset *dataset)
{
    for (size_t i = 0; i < dataset->count; i++) {
        const Record *r = &dataset->records[i];
        if (r->split == SPLIT_TRAIN && ((r->label && *r->text) || r->message_count))
            return true;
    }
    return false;
}

static bool finetune(State *s, Error *err)
{
    const MainJobSize *z = s->job->size;
    SampleSet samples = {0}, valid = {0};
    uint32_t copies = (uint32_t)ceil(z->finetune_epochs);
    LessonOptions lessons = {.copies = copies, .omit = z->omit, .every_text = z->every_text,
                             .seed = s->job->seed};
    LessonOptions plain = {.copies = 1, .every_text = z->every_text, .seed = s->job->seed};
    if (!has_dialogues(s->job->dataset))
        return true;
    mainjob_phase(s, "fine-tuning", "Fine-tuning on the labelled examples");
    bool ok = lessons_finetune(&samples, s->job->dataset, SPLIT_TRAIN, s->model->tokenizer,
                               s->chat, &lessons, err) &&
              lessons_finetune(&valid, s->job->dataset, SPLIT_VALID, s->model->tokenizer, s->chat,
                               &plain, err) &&
              train(s, "finetune", &samples, &valid, z->finetune_rate,
                    z->finetune_epochs / copies, 0, &s->finetune, err);
    sample_set_done(&samples);
    sample_set_done(&valid);
    return ok;
}

static bool make_model(State *s, Error *err)
{
    const MainJobSize *z = s->job->size;
    ModelConfig config = {.layers = z->layers, .width = z->width, .heads = z->heads,
                          .kv_heads = z->kv_heads, .head_width = z->width / z->heads,
                          .ff_width = z->ff_width, .context = z->context, .eps = 1e-5f,
                          .theta = 10000, .tied = true};
    s->chat = chat_template_default();
    mainjob_phase(s, "tokenizer", "Training the tokenizer");
    if (!lessons_tokenizer(&s->tokenizer, s->job->dataset, s->chat, z->vocab, s->job->threads,
                           err))
        return false;
    config.vocab = tokenizer_vocab(s->tokenizer);
    if (!model_new(&s->model, family_named("llama"), &config, s->tokenizer, s->chat, s->job->name,
                   s->job->seed, err))
        return false;
    s->tokenizer = NULL;
    return true;
}

/* ---- judging ---- */

static bool baselines(State *s, Error *err)
{
    if (!s->labelled)
        return true;
    mainjob_phase(s, "baselines", "Naive Bayes, to have something to beat");
    return bayes_baseline(s->job->dataset, BAYES_TEXT, &s->bayes_text, err) &&
           bayes_baseline(s->job->dataset, BAYES_ALL_FIELDS, &s->bayes_all, err);
}

static bool evaluate(State *s, Error *err)
{
    const MainJob *job = s->job;
    mainjob_phase(s, "evaluation", "Asking about the records that were held out");
    s->answer_count = ANSWERS;
    if (!judge_answers(s->answers, &s->answer_count, &s->arena, job->dataset, s->model_folder,
                       job->threads, err))
        return false;
    if (!s->labelled)
        return mainjob_measure_text(s, err);
    if (!judge_labels(&s->judged, job->dataset, SPLIT_TEST, s->model_folder, NULL, job->threads,
                      err))
        return false;
    mainjob_phase(s, "quantisation", "Quantising to 8 bits and asking again");
    return judge_labels(&s->quantised, job->dataset, SPLIT_TEST, s->model_folder, "q8_0",
                        job->threads, err);
}

/* ---- the whole ---- */

/* Made when absent; one that cannot be used is refused before hours of training, not after. */
static bool ready_workspace(const char *folder, Error *err)
{
    Workspace *ws;
    if (workspace_open(&ws, folder, err)) {
        workspace_close(ws);
        return true;
    }
    return err->code == ERR_NOT_FOUND && workspace_init(folder, err);
}

static bool open_state(State *s, Error *err)
{
    const MainJob *job = s->job;
    char runs[1024], models[1024];
    arena_init(&s->arena, (size_t)256 << 20);
    sha256_hex(job->dataset->digest, s->data_digest);
    for (size_t i = 0; i < job->dataset->count && !s->labelled; i++)
        s->labelled = job->dataset->records[i].label != NULL;
    s->labelled = s->labelled && job->dataset->label_count > 1;
    return ready_workspace(job->workspace, err) &&
           fs_join(runs, sizeof runs, job->workspace, "runs", err) &&
           fs_join(s->run_folder, sizeof s->run_folder, runs, job->name, err) &&
           fs_join(models, sizeof models, job->workspace, "models", err) &&
           fs_join(s->model_folder, sizeof s->model_folder, models, job->name, err) &&
           fs_make_dirs(s->run_folder, err) && fs_make_dirs(models, err) &&
           pool_new(&s->pool, job->threads, err);
}

static void close_state(State *s)
{
    bayes_run_done(&s->bayes_text);
    bayes_run_done(&s->bayes_all);
    judged_done(&s->judged);
    judged_done(&s->quantised);
    model_free(s->model);
    tokenizer_free(s->tokenizer);
    pool_free(s->pool);
    arena_done(&s->arena);
}

static double share_right(const Judged *j)
{
    size_t right = 0;
    for (size_t i = 0; i < j->count; i++)
        right += j->predicted[i] == j->actual[i];
    return j->count ? (double)right / (double)j->count : 0;
}

static void fill_result(const State *s, MainJobResult *out)
{
    snprintf(out->model_folder, sizeof out->model_folder, "%s", s->model_folder);
    snprintf(out->report_folder, sizeof out->report_folder, "%s", s->run_folder);
    out->accuracy = share_right(&s->judged);
    out->baseline = s->bayes_text.accuracy;
    out->majority = s->bayes_text.accuracy_majority;
    out->bits_per_byte = s->bits_per_byte;
    out->seconds = clock_seconds() - s->started;
    double tokens = (double)(s->pretrain.tokens + s->finetune.tokens);
    double seconds = s->pretrain.seconds + s->finetune.seconds;
    out->tokens_per_second = seconds > 0 ? tokens / seconds : 0;
}

bool mainjob_run(const MainJob *job, MainJobResult *out, Error *err)
{
    State *s = mem_alloc(1, sizeof *s);
    if (!s)
        return fail(err, ERR_MEMORY, "no memory for a job");
    s->job = job;
    s->started = clock_seconds();
    energy_start(&s->energy, NULL);
    bool ok = open_state(s, err) && baselines(s, err) && make_model(s, err) && pretrain(s, err) &&
              finetune(s, err) && model_save(s->model, s->model_folder, err) && evaluate(s, err);
    if (ok) {
        mainjob_phase(s, "report", "Writing the report and signing the model");
        fill_result(s, out);
        ok = mainjob_publish(s, err) && mainjob_write_report(s, err);
    }
    close_state(s);
    mem_free(s);
    return ok;
}
