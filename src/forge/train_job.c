/* train_job.c: see train_job.h. */
#include "forge/train_job_state.h"

#include "base/clock.h"
#include "forge/publish.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const Tokenizer *train_job_tokenizer(const TrainJob *job)
{
    return job->model ? job->model->tokenizer : job->tokenizer;
}

/* ---- data and model ---- */

static bool load_data(TrainJob *job, Error *err)
{
    const TrainRecipe *r = job->recipe;
    if (!pool_new(&job->pool, r->train.threads, err) ||
        !dataset_load(&job->dataset, r->data.path, r->data.seed, err))
        return false;
    sha256_hex(job->dataset->digest, job->dataset_sha256);
    return r->data.split != SPLIT_TAIL || train_split_tail(job->dataset, err);
}

static bool load_base(TrainJob *job, Error *err)
{
    TrainRecipe *r = job->recipe;
    if (!model_load(&job->model, r->base, err))
        return false;
    if (!job->model->tokenizer)
        return fail(err, ERR_NOT_FOUND, "'%s' has no tokenizer: it cannot be trained",
                    r->base);
    snprintf(job->model->name, sizeof job->model->name, "%s", r->name);
    job->family = job->model->family;
    job->config = job->model->config;
    job->chat = job->model->chat;
    int32_t id;
    if (!job->chat) { /* a base without template gets ours, if its vocabulary has the markers */
        job->model->chat = job->chat = chat_template_default();
        if (!tokenizer_special(job->model->tokenizer, job->chat->end_marker, &id))
            return fail(err, ERR_INPUT, "'%s' has no chat template that is known here, and its "
                                        "tokenizer lacks '%s'",
                        r->base, job->chat->end_marker);
    }
    if (!r->train.row_tokens)
        r->train.row_tokens = r->train.windows ? r->train.windows : job->config.context;
    return true;
}

/* A tokenizer of bytes is a trained one without room for merges. */
static bool make_tokenizer(TrainJob *job, Error *err)
{
    const TrainRecipe *r = job->recipe;
    uint32_t vocab = r->tokenizer.vocab;
    job->chat = chat_template_default();
    if (r->tokenizer.bytes) {
        for (vocab = 256; job->chat->specials[vocab - 256];)
            vocab++;
    }
    if (!lessons_tokenizer(&job->tokenizer, job->dataset, job->chat, vocab, r->train.threads, err))
        return false;
    job->family = family_named(r->model.family);
    job->config = (ModelConfig){
        .layers = r->model.layers, .width = r->model.width, .heads = r->model.heads,
        .kv_heads = r->model.kv_heads, .head_width = r->model.width / r->model.heads,
        .ff_width = r->model.ff_width, .vocab = tokenizer_vocab(job->tokenizer),
        .window = r->model.window, .context = r->model.context, .eps = (float)r->model.eps,
        .theta = (float)r->model.theta, .tied = r->model.tied};
    return model_check_config(&job->config, err);
}

static bool make_model(TrainJob *job, Error *err)
{
    if (job->model)
        return true;
    if (!model_new(&job->model, job->family, &job->config, job->tokenizer, job->chat,
                   job->recipe->name, job->recipe->train.seed, err))
        return false;
    job->tokenizer = NULL;
    return true;
}

static bool has_split(const Dataset *dataset, Split split)
{
    size_t counts[SPLIT_COUNT];
    dataset_count_splits(dataset, counts);
    return counts[split] > 0;
}

static bool make_samples(TrainJob *job, SampleSet *out, Split split, Error *err)
{
    const TrainRecipe *r = job->recipe;
    const Tokenizer *tokenizer = train_job_tokenizer(job);
    LessonOptions lessons = {.copies = split == SPLIT_TRAIN ? r->data.copies : 1,
                             .omit = split == SPLIT_TRAIN ? r->data.omit : 0,
                             .every_text = r->data.every_text, .seed = r->train.seed};
    if (!has_split(job->dataset, split) && split != SPLIT_TRAIN)
        return true;
    if (r->method == TRAIN_PRETRAIN)
        return lessons_pretrain(out, job->dataset, split, tokenizer, job->chat, job->pool, err);
    return lessons_finetune(out, job->dataset, split, tokenizer, job->chat, &lessons, err);
}

/* What the bits of the result depend on besides the options: samples, and the weights of a base. */
static bool digest_run(TrainJob *job, Error *err)
{
    Sha256 *hash = NULL;
    uint8_t digest[SHA256_BYTES];
    const SampleSet *sets[] = {&job->train, &job->valid};
    bool ok = sha256_new(&hash, err);
    for (int i = 0; i < 2 && ok; i++) {
        if (sets[i]->count)
            ok = sha256_add(hash, sets[i]->starts, (sets[i]->count + 1) * sizeof(uint64_t), err) &&
                 sha256_add(hash, sets[i]->tokens, sets[i]->used * sizeof(uint32_t), err);
    }
    if (ok && job->model)
        ok = sha256_add(hash, job->model->weights.slab,
                        job->model->weights.elements * sizeof(float), err);
    ok = ok && sha256_end(hash, digest, err);
    sha256_free(hash);
    if (ok)
        sha256_hex(digest, job->run_sha256);
    return ok;
}

/* ---- options of the run ---- */

static void fill_options(TrainJob *job)
{
    const TrainRecipe *r = job->recipe;
    double steps = (double)(r->train.steps ? r->train.steps : 1);
    job->options = (RunOptions){
        .folder = r->run, .phase = train_method_names[r->method], .data_digest = job->run_sha256,
        .trainer = {.row_tokens = r->train.row_tokens, .threads = r->train.threads,
                    .precision = (Precision)r->train.precision,
                    .recompute = (Recompute)r->train.recompute, .lora_rank = r->lora.rank,
                    .lora_alpha = (float)r->lora.alpha, .lora_targets = r->lora.targets,
                    .beta1 = (float)r->train.beta1, .beta2 = (float)r->train.beta2,
                    .eps = (float)r->train.eps, .decay = (float)r->train.decay,
                    .clip = (float)r->train.clip, .seed = r->train.seed},
        .too_long = r->method == TRAIN_PRETRAIN ? PACK_SPLIT : PACK_TRUNCATE,
        .windows = r->train.windows, .rows = r->train.rows, .steps = r->train.steps,
        .schedule = train_schedule_names[r->train.schedule], .rate = r->train.rate,
        .warmup_share = r->train.warmup < 1 ? r->train.warmup : r->train.warmup / steps,
        .floor_share = r->train.floor, .decay_share = r->train.decay_share,
        .checkpoint_every = r->train.checkpoint_every, .checkpoints_kept = r->train.keep,
        .evaluate_every = r->train.evaluate_every, .memory_limit = r->memory_bytes,
        .seed = r->train.seed};
}

/* Planning needs the shape of the model alone. */
static bool plan_run(TrainJob *job, Error *err)
{
    Model shape = {.family = job->family, .config = job->config};
    return run_plan(&shape, &job->train, &job->options, &job->plan, err);
}

static bool resolve(TrainJob *job, Error *err)
{
    TrainRecipe *r = job->recipe;
    fill_options(job);
    if (!r->train.steps) { /* from epochs: one update's share of an epoch is known from a plan */
        job->options.steps = 1;
        if (!plan_run(job, err))
            return false;
        r->train.steps = (uint64_t)ceil(r->train.epochs / job->plan.epochs - 1e-9);
        r->train.epochs = 0;
        fill_options(job);
    }
    return plan_run(job, err);
}

bool train_job_open(TrainJob **out, TrainRecipe *recipe, Error *err)
{
    TrainJob *job = mem_alloc(1, sizeof *job);
    if (!job)
        return fail(err, ERR_MEMORY, "no memory for a job");
    job->recipe = recipe;
    bool ok = load_data(job, err) &&
              (recipe->base ? load_base(job, err) : make_tokenizer(job, err)) &&
              make_samples(job, &job->train, SPLIT_TRAIN, err) &&
              make_samples(job, &job->valid, SPLIT_VALID, err) && digest_run(job, err) &&
              resolve(job, err);
    if (!ok) {
        train_job_close(job);
        return false;
    }
    *out = job;
    return true;
}

void train_job_close(TrainJob *job)
{
    if (!job)
        return;
    sample_set_done(&job->train);
    sample_set_done(&job->valid);
    model_free(job->model);
    tokenizer_free(job->tokenizer);
    dataset_free(job->dataset);
    pool_free(job->pool);
    mem_free(job);
}

/* ---- the plan ---- */

enum { TIMED = 3 };

/* Seconds of one row, from a few steps at rate 0 on a copy made for it. */
static bool time_rows(TrainJob *job, double *out, Error *err)
{
    Trainer *trainer = NULL;
    Packer *packer = NULL;
    const TrainerOptions *o = &job->options.trainer;
    uint32_t t = o->row_tokens;
    PackOptions pack = {.row_tokens = t, .too_long = job->options.too_long};
    auto_free int32_t *memory = mem_alloc(4 * (size_t)t, sizeof *memory);
    if (!memory)
        return fail(err, ERR_MEMORY, "no memory for a row of %u tokens", t);
    bool ok = make_model(job, err) && trainer_new(&trainer, job->model, o, err) &&
              packing_new(&packer, &job->train, &pack, err);
    double best = INFINITY;
    for (int i = 0; ok && i <= TIMED; i++) {
        PackRows rows = {memory, memory + t, memory + 2 * (size_t)t, memory + 3 * (size_t)t};
        PackCounts counts;
        TrainStep step;
        packing_next(packer, 1, &rows, &counts);
        for (uint32_t k = 0; k < t && job->options.windows; k++) {
            rows.positions[k] = (int32_t)(k % job->options.windows);
            rows.starts[k] = (int32_t)(k - k % job->options.windows);
        }
        TrainBatch batch = {1, t, rows.ids, rows.positions, rows.starts, rows.targets,
                            counts.trained};
        double begin = clock_seconds();
        ok = trainer_step(trainer, &batch, 0, &step, err);
        double seconds = clock_seconds() - begin;
        best = i && seconds < best ? seconds : best; /* the first one touches fresh memory */
    }
    *out = best;
    packing_free(packer);
    trainer_free(trainer);
    return ok;
}

bool train_job_plan(TrainJob *job, double peak_flops, TrainJobPlan *out, Error *err)
{
    enum { ROW_SECONDS_MAX = 3 };
    const RunOptions *o = &job->options;
    double row = 0, expected = peak_flops > 0 ? job->plan.flops / (peak_flops / 2) : NAN;
    double rows = (double)o->steps * o->rows;
    TrainJobPlan plan = {.run = job->plan, .steps = o->steps, .data_tokens = job->train.used,
                         .valid_tokens = job->valid.used, .seconds = expected,
                         .seconds_by = "arithmetic at half of the machine's peak"};
    plan.data_bytes = (job->train.room + job->valid.room) * sizeof(uint32_t);
    plan.parameters = job->plan.memory.weights / sizeof(float);
    if (!(expected / rows > ROW_SECONDS_MAX)) {
        if (!time_rows(job, &row, err))
            return false;
        plan.seconds = row * rows;
        plan.seconds_by = "the fastest of 3 timed updates of one row";
    }
    *out = plan;
    return true;
}

/* ---- the run ---- */

static bool write_recipe(const TrainJob *job, Error *err)
{
    char path[1024];
    auto_buf Buf text;
    buf_init(&text, RECIPE_BYTES_MAX);
    return fs_make_dirs(job->recipe->run, err) &&
           fs_join(path, sizeof path, job->recipe->run, "recipe.yaml", err) &&
           recipe_print(&train_recipe_table, job->recipe, &text, err) &&
           buf_ok(&text, path, err) && fs_write(path, text.data, text.size, err);
}

/* At the start, unless the folder holds a run, perhaps another one: run_train is to judge that. */
static bool write_recipe_first(const TrainJob *job, Error *err)
{
    char path[1024];
    return fs_join(path, sizeof path, job->recipe->run, "run.json", err) &&
           (fs_exists(path) || write_recipe(job, err));
}

static bool publish(const TrainJob *job, bool *is_signed, Error *err)
{
    const TrainRecipe *r = job->recipe;
    char workspace[1024];
    *is_signed = publish_workspace_of(r->out, workspace);
    Publication p = {.workspace = workspace, .folder = r->out, .name = r->name, .parent = r->base,
                     .dataset = job->dataset->name, .dataset_sha256 = job->dataset_sha256,
                     .recipe = r->name, .seed = r->train.seed, .model = job->model};
    return !*is_signed || publish_model(&p, err);
}

/* A run that had ended already evaluates nothing again: its log knows. */
static bool recall_loss(const TrainJob *job, RunResult *result, Error *err)
{
    static const char *const names[] = {"loss"};
    auto_curve Curve curve = {0};
    if (!isnan(result->valid_loss))
        return true;
    if (!events_read(&curve, job->recipe->run, EVENT_EVAL, names, 1, err))
        return false;
    if (curve.count)
        result->valid_loss = curve.values[curve.count - 1];
    return true;
}

bool train_job_run(TrainJob *job, bool resume, const RunWatch *watch, TrainJobResult *out,
                   Error *err)
{
    TrainJobResult result = {0};
    job->options.resume = resume;
    if (!make_model(job, err) || !write_recipe_first(job, err) ||
        !run_train(job->model, &job->train, &job->valid, &job->options, watch, &result.run,
                   err) ||
        !recall_loss(job, &result.run, err) || !write_recipe(job, err) ||
        !model_save(job->model, job->recipe->out, err) ||
        !publish(job, &result.is_signed, err))
        return false;
    result.peak_bytes = clock_peak_bytes();
    if (!train_job_report(job, &result, err))
        return false;
    *out = result;
    return true;
}
