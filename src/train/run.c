/* run.c: see run.h.
 *
 * Invariants: after update S the events of S are written; the checkpoint of S is saved after its
 * event; so a folder always holds a log that reaches at least as far as its newest checkpoint.
 */
#include "train/run.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "train/checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BLOBS_MAX = 8192, COUNTERS = 8 };

/* What a checkpoint holds besides weights and moments, as 64-bit words. */
typedef enum { AT_STEPS, AT_EPOCH, AT_INDEX, AT_PLACED, AT_TOKENS, AT_SMOOTH, AT_BEST } Counter;

typedef struct {
    const RunOptions *options;
    const RunWatch *watch;
    const SampleSet *train, *valid;
    Trainer *trainer;
    Packer *packer;
    Events events;
    FsLock lock;
    Schedule schedule;
    int32_t *memory; /* ids, positions, starts, targets: rows * T each */
    PackRows rows;
    int64_t counters[COUNTERS];
    CheckpointBlob *blobs;
    uint32_t blob_count;
    double smooth, best; /* smoothed loss and its least; 0: none yet */
    double started;
    uint64_t tokens, first_step;
    ProgressRate rate;
} Run;

/* ---- the plan ---- */

static PackOptions pack_options(const RunOptions *o)
{
    return (PackOptions){.row_tokens = o->trainer.row_tokens, .too_long = o->too_long,
                         .seed = o->seed};
}

static uint64_t machine_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : UINT64_MAX;
}

/* The first setting, tried in the order of what it costs, under which the plan fits. */
static bool find_fit(const Model *model, const RunOptions *o, uint64_t limit, char *out,
                     size_t room, Error *err)
{
    TrainerOptions trial = o->trainer;
    TrainerMemory memory;
    uint32_t unit = o->windows ? o->windows : 1;
    if (trial.recompute != RECOMPUTE_LAYERS) {
        trial.recompute = RECOMPUTE_LAYERS;
        if (!trainer_plan(model->family, &model->config, &trial, &memory, err))
            return false;
        if (memory.total <= limit) {
            snprintf(out, room, "train.recompute layers");
            return true;
        }
    }
    for (uint32_t tokens = trial.row_tokens / 2; tokens >= unit && tokens >= 16; tokens /= 2) {
        trial.row_tokens = tokens / unit * unit;
        if (!trainer_plan(model->family, &model->config, &trial, &memory, err))
            return false;
        if (memory.total <= limit) {
            snprintf(out, room, "train.recompute layers with train.row_tokens %u", trial.row_tokens);
            return true;
        }
    }
    snprintf(out, room, "a smaller model, or lora.rank");
    return true;
}

static bool check_memory(const Model *model, const TrainerMemory *m, const RunOptions *o,
                         Error *err)
{
    char hint[80];
    uint64_t limit = o->memory_limit ? o->memory_limit : machine_bytes() / 10 * 9;
    if (m->total <= limit)
        return true;
    if (!find_fit(model, o, limit, hint, sizeof hint, err))
        return false;
    return fail(err, ERR_LIMIT, "this run needs %.1f MiB and %.1f MiB are allowed; %s would fit",
                (double)m->total / 1048576, (double)limit / 1048576, hint);
}

bool run_plan(const Model *model, const SampleSet *train, const RunOptions *options, RunPlan *out,
              Error *err)
{
    Packer *packer;
    PackOptions pack = pack_options(options);
    if (!trainer_plan(model->family, &model->config, &options->trainer, &out->memory, err) ||
        !packing_new(&packer, train, &pack, err))
        return false;
    out->packing = packing_stats(packer);
    packing_free(packer);
    uint64_t rows = options->steps * options->rows;
    out->epochs = (double)rows / (double)out->packing.rows;
    if (options->windows)
        out->epochs = (double)rows * options->trainer.row_tokens / (double)train->used;
    out->tokens = options->windows ? rows * options->trainer.row_tokens
                                   : (uint64_t)(out->epochs * (double)out->packing.tokens);
    double targets = out->epochs * (double)out->packing.trained;
    out->flops = out->memory.flops_token * (double)out->tokens +
                 out->memory.flops_target * (options->windows ? (double)out->tokens : targets);
    return check_memory(model, &out->memory, options, err);
}

/* ---- the folder ---- */

/* What only some models have; zeros otherwise. */
static void describe_parts(const ModelConfig *c, Buf *out)
{
    const RopeScaling *rope = &c->rope;
    buf_format(out,
               "\"eps\":%.9g,\"theta\":%.9g,\"window\":%u,\"features\":%u,\"experts\":%u,"
               "\"chosen\":%u,\"expert_width\":%u,\"renormalise\":%s,\"query_original\":%u,"
               "\"query_beta\":%.9g,\"rope\":[%d,%u,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%d],\"full\":\"",
               (double)c->eps, (double)c->theta, c->window, model_features(c), c->experts,
               c->chosen, c->expert_width, c->renormalise ? "true" : "false", c->query_original,
               (double)c->query_beta, rope->kind, rope->original, (double)rope->factor,
               (double)rope->low, (double)rope->high, (double)rope->beta_fast,
               (double)rope->beta_slow, (double)rope->attention, rope->exact);
    for (uint32_t i = 0; i < c->layers; i += 8)
        buf_format(out, "%02x", c->full[i / 8]);
    buf_format(out, "\"}\n");
}

static bool describe(const Run *r, const Model *model, Buf *out, Error *err)
{
    const RunOptions *o = r->options;
    const TrainerOptions *t = &o->trainer;
    const ModelConfig *c = &model->config;
    buf_format(out,
               "{\"format\":\"bastide-run/1\",\"phase\":\"%s\",\"data\":\"%s\",\"seed\":%llu,"
               "\"steps\":%llu,\"rows\":%u,\"row_tokens\":%u,\"schedule\":\"%s\",\"rate\":%.17g,"
               "\"warmup_share\":%.17g,\"floor_share\":%.17g,\"decay_share\":%.17g,"
               "\"beta1\":%.9g,\"beta2\":%.9g,\"eps\":%.9g,\"decay\":%.9g,\"clip\":%.9g,"
               "\"lora_rank\":%u,\"lora_alpha\":%.9g,\"lora_targets\":\"%s\",\"recompute\":\"%s\","
               "\"windows\":%u,\"precision\":\"%s\",",
               o->phase, o->data_digest, (unsigned long long)o->seed,
               (unsigned long long)o->steps, o->rows, t->row_tokens, o->schedule, o->rate,
               o->warmup_share, o->floor_share, o->decay_share, (double)t->beta1,
               (double)t->beta2, (double)t->eps, (double)t->decay, (double)t->clip, t->lora_rank,
               (double)t->lora_alpha, t->lora_rank ? t->lora_targets : "",
               recompute_names[t->recompute], o->windows, precision_names[t->precision]);
    buf_format(out,
               "\"family\":\"%s\",\"layers\":%u,\"width\":%u,\"heads\":%u,\"kv_heads\":%u,"
               "\"head_width\":%u,\"ff_width\":%u,\"vocab\":%u,\"tied\":%s,",
               model->family->name, c->layers, c->width, c->heads, c->kv_heads, c->head_width,
               c->ff_width, c->vocab, c->tied ? "true" : "false");
    describe_parts(c, out);
    return buf_ok(out, "the description of the run", err);
}

/* A folder holds one run: resuming another is refused. */
static bool claim_folder(Run *r, const Model *model, Error *err)
{
    char path[1024];
    auto_buf Buf mine, there;
    buf_init(&mine, 1 << 16);
    buf_init(&there, 1 << 16);
    const char *folder = r->options->folder;
    if (!fs_make_dirs(folder, err) || !fs_join(path, sizeof path, folder, "lock", err) ||
        !fs_lock(path, &r->lock, err) || !fs_join(path, sizeof path, folder, "run.json", err) ||
        !describe(r, model, &mine, err))
        return false;
    if (fs_exists(path)) {
        if (!fs_read(path, &there, err))
            return false;
        if (there.size != mine.size || memcmp(there.data, mine.data, mine.size) != 0)
            return fail(err, ERR_CONFLICT, "'%s' holds another run (its run.json differs): choose "
                                           "another folder or remove it",
                        folder);
        if (!r->options->resume)
            return fail(err, ERR_CONFLICT, "'%s' holds this run already: say resume, or remove it",
                        folder);
        return true;
    }
    return fs_write(path, mine.data, mine.size, err);
}

/* ---- checkpoints ---- */

static int64_t word_of(double x)
{
    int64_t word;
    memcpy(&word, &x, sizeof word);
    return word;
}

static double double_of(int64_t word)
{
    double x;
    memcpy(&x, &word, sizeof x);
    return x;
}

static bool list_blobs(Run *r, Error *err)
{
    uint32_t count = trainer_blobs(r->trainer, NULL, 0);
    auto_free StTensor *tensors = mem_alloc(count, sizeof *tensors);
    r->blobs = mem_alloc(count + 1, sizeof *r->blobs);
    if (!tensors || !r->blobs)
        return fail(err, ERR_MEMORY, "no memory for a list of %u tensors", count);
    trainer_blobs(r->trainer, tensors, count);
    for (uint32_t i = 0; i < count; i++)
        r->blobs[i] = (CheckpointBlob){tensors[i].name, ST_F32, (void *)(uintptr_t)tensors[i].data,
                                       tensors[i].bytes / sizeof(float)};
    r->blobs[count] = (CheckpointBlob){"run.counters", ST_I64, r->counters, COUNTERS};
    r->blob_count = count + 1;
    return true;
}

static bool save(Run *r, Error *err)
{
    PackCursor cursor = packing_cursor(r->packer);
    uint64_t step = trainer_steps(r->trainer);
    uint32_t kept = r->options->checkpoints_kept ? r->options->checkpoints_kept : 2;
    int64_t counters[COUNTERS] = {[AT_STEPS] = (int64_t)step,
                                  [AT_EPOCH] = (int64_t)cursor.epoch,
                                  [AT_INDEX] = (int64_t)cursor.index,
                                  [AT_PLACED] = (int64_t)cursor.placed,
                                  [AT_TOKENS] = (int64_t)r->tokens,
                                  [AT_SMOOTH] = word_of(r->smooth),
                                  [AT_BEST] = word_of(r->best)};
    memcpy(r->counters, counters, sizeof counters);
    return events_add(&r->events, EVENT_CHECKPOINT, step, NULL, 0, NULL, err) &&
           checkpoint_save(r->options->folder, step, NULL, r->blobs, r->blob_count, kept, err);
}

static bool restore(Run *r, Error *err)
{
    uint64_t step;
    json_t *state = NULL;
    const char *folder = r->options->folder;
    if (!checkpoint_latest(folder, &step, &state, NULL, err))
        return err->code == ERR_NOT_FOUND && events_resume(folder, -1, err);
    json_decref(state);
    if (!checkpoint_load(folder, step, r->blobs, r->blob_count, err))
        return false;
    PackCursor cursor = {(uint64_t)r->counters[AT_EPOCH], (uint64_t)r->counters[AT_INDEX],
                         (uint64_t)r->counters[AT_PLACED]};
    trainer_set_steps(r->trainer, (uint64_t)r->counters[AT_STEPS]);
    r->tokens = (uint64_t)r->counters[AT_TOKENS];
    r->smooth = double_of(r->counters[AT_SMOOTH]);
    r->best = double_of(r->counters[AT_BEST]);
    return packing_seek(r->packer, cursor, err) && events_resume(folder, (int64_t)step, err);
}

/* ---- the loop ---- */

/* Windows lie side by side in a row as documents do: each sees itself alone. */
static void join_windows(const RunOptions *o, PackRows *rows)
{
    uint32_t t = o->trainer.row_tokens;
    for (uint64_t i = 0; i < (uint64_t)o->rows * t; i++)
        rows->starts[i] = (int32_t)(i % t / o->windows * o->windows);
}

static bool fill_batch(Run *r, TrainBatch *batch, PackCounts *counts, Error *err)
{
    const RunOptions *o = r->options;
    uint32_t per_row = o->windows ? o->trainer.row_tokens / o->windows : 1;
    PackOptions pack = pack_options(o);
    pack.row_tokens = o->windows;
    uint64_t first = trainer_steps(r->trainer) * o->rows * per_row;
    if (!o->windows)
        packing_next(r->packer, o->rows, &r->rows, counts);
    else if (!packing_windows(r->train, &pack, first, o->rows * per_row, &r->rows, counts, err))
        return false;
    else
        join_windows(o, &r->rows);
    *batch = (TrainBatch){o->rows, o->trainer.row_tokens, r->rows.ids, r->rows.positions,
                          r->rows.starts, r->rows.targets, counts->trained};
    return true;
}

/* One row of validation in windows mode: the text from `at` on, every window but the first token of
 * the text a target once; behind the text padding. Returns the targets. */
static uint64_t fill_text(const Run *r, uint64_t at)
{
    const SampleSet *set = r->valid;
    uint32_t t = r->options->trainer.row_tokens, window = r->options->windows;
    uint64_t targets = 0;
    for (uint32_t i = 0; i < t; i++) {
        bool inside = at + i + 1 < set->used;
        r->rows.ids[i] = inside ? (int32_t)(set->tokens[at + i] & ~SAMPLE_TRAINED) : 0;
        r->rows.targets[i] = inside ? (int32_t)(set->tokens[at + i + 1] & ~SAMPLE_TRAINED) : -1;
        r->rows.positions[i] = (int32_t)(i % window);
        r->rows.starts[i] = (int32_t)(i / window * window);
        targets += inside;
    }
    return targets;
}

static bool add_losses(Run *r, uint64_t targets, double *total, Error *err)
{
    double sum;
    TrainBatch batch = {1, r->options->trainer.row_tokens, r->rows.ids, r->rows.positions,
                        r->rows.starts, r->rows.targets, targets};
    if (!trainer_loss(r->trainer, &batch, &sum, err))
        return false;
    *total += sum;
    return true;
}

/* Sum of losses and number of targets of the whole validation text, window after window. */
static bool measure_text(Run *r, double *total, uint64_t *trained, Error *err)
{
    for (uint64_t at = 0; at + 1 < r->valid->used; at += r->options->trainer.row_tokens) {
        uint64_t targets = fill_text(r, at);
        if (!add_losses(r, targets, total, err))
            return false;
        *trained += targets;
    }
    return true;
}

/* The same of one epoch of packed rows. */
static bool measure_samples(Run *r, double *total, uint64_t *trained, Error *err)
{
    Packer *packer;
    PackOptions pack = pack_options(r->options);
    pack.too_long = pack.too_long == PACK_REFUSE ? PACK_TRUNCATE : pack.too_long;
    if (!packing_new(&packer, r->valid, &pack, err))
        return false;
    bool ok = true;
    for (uint64_t i = packing_stats(packer).rows; i > 0 && ok; i--) {
        PackCounts counts;
        packing_next(packer, 1, &r->rows, &counts);
        ok = add_losses(r, counts.trained, total, err);
        *trained += counts.trained;
    }
    packing_free(packer);
    return ok;
}

/* Mean loss over the whole validation set. */
static bool evaluate(Run *r, double *out, Error *err)
{
    double total = 0;
    uint64_t trained = 0;
    *out = NAN;
    if (!r->valid || r->valid->count == 0)
        return true;
    if (!(r->options->windows ? measure_text : measure_samples)(r, &total, &trained, err))
        return false;
    *out = trained ? total / (double)trained : NAN;
    EventNumber number = {"loss", *out};
    return events_add(&r->events, EVENT_EVAL, trainer_steps(r->trainer), &number, 1, NULL, err);
}

/* A run explodes when its smoothed loss climbs far above the best it had. */
static bool check_loss(Run *r, double loss, Error *err)
{
    r->smooth = r->smooth > 0 ? 0.9 * r->smooth + 0.1 * loss : loss;
    if (r->best <= 0 || r->smooth < r->best)
        r->best = r->smooth;
    if (r->smooth <= 1.5 * r->best + 1)
        return true;
    return fail(err, ERR_DIVERGED, "update %llu: the loss rose to %.3f after %.3f: lower the rate; "
                                   "the last checkpoint is kept",
                (unsigned long long)trainer_steps(r->trainer), r->smooth, r->best);
}

static void report(Run *r, uint64_t step, const PackCounts *counts, double seconds)
{
    const RunWatch *w = r->watch;
    double now = clock_seconds() - r->started;
    progress_rate_add(&r->rate, step, now);
    if (!w || !w->progress)
        return;
    const TrainerMemory *m = trainer_memory(r->trainer);
    double flops = (m->flops_token * (double)counts->used +
                    m->flops_target * (double)counts->trained) / seconds;
    ProgressView view = {.step = step, .steps = r->options->steps, .loss = r->smooth,
                         .tokens_per_second = (double)counts->used / seconds,
                         .peak_share = w->peak_flops > 0 ? flops / w->peak_flops : NAN,
                         .seconds = now,
                         .seconds_left = progress_left(&r->rate, r->options->steps)};
    w->progress(w->user, &view);
}

static bool one_update(Run *r, Error *err)
{
    TrainBatch batch;
    PackCounts counts;
    TrainStep step;
    double begin = clock_seconds(), rate = schedule_rate(&r->schedule, trainer_steps(r->trainer));
    if (!fill_batch(r, &batch, &counts, err) ||
        !trainer_step(r->trainer, &batch, rate, &step, err))
        return false;
    double seconds = clock_seconds() - begin, speed = (double)counts.used / seconds;
    uint64_t done = trainer_steps(r->trainer);
    r->tokens += counts.used;
    EventNumber numbers[] = {{"loss", step.loss}, {"lr", rate}, {"norm", step.norm},
                             {"tokens_per_second", speed}};
    if (!events_add(&r->events, EVENT_STEP, done, numbers, 4, NULL, err) ||
        !check_loss(r, step.loss, err))
        return false;
    report(r, done, &counts, seconds);
    return true;
}

static bool every(uint64_t step, uint64_t period)
{
    return period && step % period == 0;
}

static bool loop(Run *r, RunResult *out, Error *err)
{
    const RunOptions *o = r->options;
    while (trainer_steps(r->trainer) < o->steps) {
        if (!one_update(r, err)) {
            Error ignored;
            (void)!events_add(&r->events, EVENT_WARNING, trainer_steps(r->trainer), NULL, 0,
                              err->text, &ignored);
            return false;
        }
        uint64_t step = trainer_steps(r->trainer);
        bool last = step == o->steps, stop = r->watch && r->watch->stop && *r->watch->stop;
        if ((last || every(step, o->evaluate_every)) && !evaluate(r, &out->valid_loss, err))
            return false;
        if ((last || stop || every(step, o->checkpoint_every)) && !save(r, err))
            return false;
        if (stop && !last)
            return fail(err, ERR_CANCELLED, "stopped at update %llu of %llu; resume goes on from "
                                            "there",
                        (unsigned long long)step, (unsigned long long)o->steps);
    }
    return true;
}

/* ---- opening and closing ---- */

static bool open_buffers(Run *r, Error *err)
{
    size_t tokens = (size_t)r->options->rows * r->options->trainer.row_tokens;
    r->memory = mem_alloc(4 * tokens, sizeof *r->memory);
    if (!r->memory)
        return fail(err, ERR_MEMORY, "no memory for a batch of %zu tokens", tokens);
    r->rows = (PackRows){r->memory, r->memory + tokens, r->memory + 2 * tokens,
                         r->memory + 3 * tokens};
    return true;
}

static bool check_options(Run *r, Error *err)
{
    const RunOptions *o = r->options;
    const ScheduleRow *row = schedule_named(o->schedule);
    if (!row)
        return fail(err, ERR_INPUT, "schedule '%.40s' is not known", o->schedule);
    if (o->rows == 0 || o->steps == 0)
        return fail(err, ERR_INPUT, "a run needs at least 1 row per update and 1 update");
    if (o->windows && (o->trainer.row_tokens % o->windows || r->train->used <= o->windows))
        return fail(err, ERR_INPUT, "windows of %u tokens: a row of %u must hold whole ones, and "
                                    "the text, of %llu tokens, more than one",
                    o->windows, o->trainer.row_tokens, (unsigned long long)r->train->used);
    r->schedule = (Schedule){.row = row, .peak = o->rate, .steps = o->steps,
                             .warmup = (uint64_t)(o->warmup_share * (double)o->steps + 0.5),
                             .floor_share = o->floor_share, .decay_share = o->decay_share};
    return true;
}

static bool run_open(Run *r, Model *model, Error *err)
{
    const RunOptions *o = r->options;
    RunPlan plan;
    PackOptions pack = pack_options(o);
    if (!check_options(r, err) || !run_plan(model, r->train, o, &plan, err) ||
        !claim_folder(r, model, err) || !trainer_new(&r->trainer, model, &o->trainer, err) ||
        !packing_new(&r->packer, r->train, &pack, err) || !open_buffers(r, err) ||
        !list_blobs(r, err) || !restore(r, err) || !events_open(&r->events, o->folder, err))
        return false;
    r->started = clock_seconds();
    r->first_step = trainer_steps(r->trainer);
    progress_rate_init(&r->rate, r->first_step, 0);
    return true;
}

static void run_close(Run *r)
{
    events_close(&r->events);
    packing_free(r->packer);
    trainer_free(r->trainer);
    mem_free(r->blobs);
    mem_free(r->memory);
    fs_unlock(&r->lock);
}

static bool finish(Run *r, RunResult *out, Error *err)
{
    double seconds = clock_seconds() - r->started;
    out->steps = trainer_steps(r->trainer);
    out->tokens = r->tokens;
    out->loss = r->smooth;
    out->seconds = seconds;
    EventNumber numbers[] = {{"loss", r->smooth}, {"seconds", seconds},
                             {"tokens", (double)r->tokens}};
    if (r->options->trainer.lora_rank)
        trainer_merge(r->trainer);
    return events_add(&r->events, EVENT_END, out->steps, numbers, 3, NULL, err);
}

bool run_train(Model *model, const SampleSet *train, const SampleSet *valid,
               const RunOptions *options, const RunWatch *watch, RunResult *out, Error *err)
{
    Run r = {.options = options, .watch = watch, .train = train, .valid = valid};
    r.lock.fd = r.events.log.fd = -1;
    RunResult result = {.valid_loss = NAN};
    bool ok = run_open(&r, model, err);
    uint64_t before = r.tokens;
    ok = ok && loop(&r, &result, err) && finish(&r, &result, err);
    if (ok && result.seconds > 0)
        result.tokens_per_second = (double)(r.tokens - before) / result.seconds;
    run_close(&r);
    if (ok)
        *out = result;
    return ok;
}
