/* train_report.c: RUN/report.html: what a run was asked, what it took and how its loss fell. */
#include "forge/train_job_state.h"

#include "format/plot.h"
#include "train/progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

enum { PAGE_BYTES_MAX = 16 << 20, FACTS_MAX = 24, TEXT = 160 };

typedef struct {
    const TrainJob *job;
    const TrainJobResult *result;
    Curve steps, evals; /* loss, lr, norm, tokens_per_second; loss */
    char texts[FACTS_MAX][TEXT];
    const char *cells[2 * FACTS_MAX];
    size_t facts;
    Buf out;
} Page;

static void fact(Page *p, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void fact(Page *p, const char *name, const char *format, ...)
{
    if (p->facts == FACTS_MAX)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(p->texts[p->facts], TEXT, format, args);
    va_end(args);
    p->cells[2 * p->facts] = name;
    p->cells[2 * p->facts + 1] = p->texts[p->facts];
    p->facts++;
}

static void add_tiles(Page *p)
{
    const RunResult *r = &p->result->run;
    char loss[32], valid[32], seconds[PROGRESS_TEXT_MAX], speed[PROGRESS_TEXT_MAX];
    char peak[PROGRESS_TEXT_MAX];
    snprintf(loss, sizeof loss, "%.4f", r->loss);
    snprintf(valid, sizeof valid, "%.4f", r->valid_loss);
    PageTile tiles[] = {
        {"Training loss", loss, "nats per token, smoothed", PAGE_PLAIN},
        {"Validation loss", isnan(r->valid_loss) ? "none" : valid, "nats per token", PAGE_PLAIN},
        {"Speed", progress_speed(r->tokens_per_second, speed), "of the last session", PAGE_PLAIN},
        {"Time", progress_seconds(r->seconds, seconds), "of the last session", PAGE_PLAIN},
        {"Peak memory", progress_bytes((double)p->result->peak_bytes, peak), "of the process",
         PAGE_PLAIN}};
    page_tiles(&p->out, tiles, sizeof tiles / sizeof *tiles);
}

/* One column of the log of updates as a chart; with_evals: validation beside it. */
static bool add_chart(Page *p, const char *title, const char *unit, uint32_t column,
                      bool with_evals, Error *err)
{
    size_t count = p->steps.count, evals = with_evals ? p->evals.count : 0;
    auto_free double *x = mem_alloc(count + evals + 1, sizeof *x);
    auto_free double *y = mem_alloc(count + 1, sizeof *y);
    if (!x || !y)
        return fail(err, ERR_MEMORY, "no memory for a chart of %zu points", count);
    for (size_t i = 0; i < count; i++) {
        x[i] = (double)p->steps.steps[i];
        y[i] = p->steps.values[i * p->steps.columns + column];
    }
    for (size_t i = 0; i < evals; i++)
        x[count + i] = (double)p->evals.steps[i];
    PlotSeries series[] = {{with_evals ? "training" : unit, x, y, count},
                           {"validation", x + count, p->evals.values, evals}};
    plot_lines(&p->out, &(PlotLines){.title = title, .x_label = "update", .y_label = unit,
                                     .series = series, .series_count = evals ? 2 : 1});
    return true;
}

static void add_facts(Page *p)
{
    const TrainJob *job = p->job;
    const ModelConfig *c = &job->config;
    const TrainerMemory *m = &job->plan.memory;
    const RunOptions *o = &job->options;
    char bytes[PROGRESS_TEXT_MAX];
    fact(p, "method", "%s%s%s", o->phase, job->recipe->base ? " of " : "",
         job->recipe->base ? job->recipe->base : "");
    fact(p, "data", "%s, %llu tokens to train, %llu to validate", job->dataset->name,
         (unsigned long long)job->train.used, (unsigned long long)job->valid.used);
    fact(p, "data digest (SHA-256)", "%s", job->dataset_sha256);
    fact(p, "model", "%s, %u layers, width %u, %u heads over %u, feed-forward %u, vocabulary %u",
         job->family->name, c->layers, c->width, c->heads, c->kv_heads, c->ff_width, c->vocab);
    fact(p, "parameters", "%llu, %llu of them trained",
         (unsigned long long)model_parameters(job->model), (unsigned long long)m->trainable);
    fact(p, "updates", "%llu of %u rows of %u tokens, %.2f epochs", (unsigned long long)o->steps,
         o->rows, o->trainer.row_tokens, job->plan.epochs);
    fact(p, "rate", "%g, %s", o->rate, o->schedule);
    fact(p, "memory: weights", "%s", progress_bytes((double)m->weights, bytes));
    fact(p, "memory: gradients", "%s", progress_bytes((double)m->gradients, bytes));
    fact(p, "memory: optimiser", "%s", progress_bytes((double)m->optimiser, bytes));
    fact(p, "memory: activations", "%s", progress_bytes((double)m->activations, bytes));
    fact(p, "seed", "%llu", (unsigned long long)o->seed);
}

static bool build(Page *p, Error *err)
{
    static const char *const heads[] = {"what", "value"};
    page_begin(&p->out, p->job->recipe->name, "Report of a training run");
    add_tiles(p);
    page_heading(&p->out, "Loss");
    if (!add_chart(p, "Loss per token", "nats", 0, true, err))
        return false;
    page_heading(&p->out, "Course of the run");
    if (!add_chart(p, "Learning rate", "rate", 1, false, err) ||
        !add_chart(p, "Norm of the gradient", "norm", 2, false, err) ||
        !add_chart(p, "Speed", "tokens/s", 3, false, err))
        return false;
    page_heading(&p->out, "Facts");
    add_facts(p);
    page_table(&p->out, &(PageTable){.heads = heads, .columns = 2, .rows = p->facts,
                                     .cells = p->cells});
    page_note(&p->out, "The recipe as resolved is recipe.yaml beside this page; every figure "
                       "above is in events.jsonl.");
    page_end(&p->out, "Written by Bastide " BASTIDE_VERSION);
    return true;
}

bool train_job_report(const TrainJob *job, const TrainJobResult *result, Error *err)
{
    static const char *const columns[] = {"loss", "lr", "norm", "tokens_per_second"};
    char path[1024];
    Page *p = mem_alloc(1, sizeof *p);
    if (!p)
        return fail(err, ERR_MEMORY, "no memory for a report");
    p->job = job;
    p->result = result;
    buf_init(&p->out, PAGE_BYTES_MAX);
    bool ok = events_read(&p->steps, job->recipe->run, EVENT_STEP, columns, 4, err) &&
              events_read(&p->evals, job->recipe->run, EVENT_EVAL, columns, 1, err) &&
              fs_join(path, sizeof path, job->recipe->run, "report.html", err) && build(p, err) &&
              buf_ok(&p->out, path, err) && fs_write(path, p->out.data, p->out.size, err);
    curve_done(&p->steps);
    curve_done(&p->evals);
    buf_done(&p->out);
    mem_free(p);
    return ok;
}
