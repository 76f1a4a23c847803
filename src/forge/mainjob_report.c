/* mainjob_report.c: the main job's facts and figures as an EvalReport. */
#include "forge/mainjob_state.h"

#include "backend/cpu/gemm.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    State *s;
    EvalReport report;
    EvalFact facts[FACTS_MAX];
    EvalCurve curves[4];
    Curve logs[4];
    EvalSample samples[ANSWERS];
    uint32_t *majority;
} Writer;

static void fact(Writer *w, const char *name, const char *value)
{
    if (value && w->report.fact_count < FACTS_MAX)
        w->facts[w->report.fact_count++] = (EvalFact){name, value};
}

static void add_facts(Writer *w)
{
    State *s = w->s;
    const ModelConfig *c = &s->model->config;
    Arena *a = &s->arena;
    fact(w, "model", arena_format(a, "%s, %u layers, width %u, %u heads over %u, feed-forward %u, "
                                     "vocabulary %u, %llu parameters",
                                  s->model->family->name, c->layers, c->width, c->heads,
                                  c->kv_heads, c->ff_width, c->vocab,
                                  (unsigned long long)model_parameters(s->model)));
    fact(w, "pretraining", arena_format(a, "%llu updates, %llu tokens, validation loss %.4f nats "
                                           "per token",
                                        (unsigned long long)s->pretrain.steps,
                                        (unsigned long long)s->pretrain.tokens,
                                        s->pretrain.valid_loss));
    if (s->finetune.steps)
        fact(w, "fine-tuning", arena_format(a, "%llu updates, %llu tokens, validation loss %.4f "
                                               "nats per trained token",
                                            (unsigned long long)s->finetune.steps,
                                            (unsigned long long)s->finetune.tokens,
                                            s->finetune.valid_loss));
    size_t counts[SPLIT_COUNT];
    dataset_count_splits(s->job->dataset, counts);
    fact(w, "records", arena_format(a, "%zu to train, %zu to validate, %zu to test; no group is in "
                                       "two of them; %zu left out by the importer",
                                    counts[SPLIT_TRAIN], counts[SPLIT_VALID], counts[SPLIT_TEST],
                                    s->job->dataset->skipped));
    fact(w, "seed", arena_format(a, "%llu", (unsigned long long)s->job->seed));
    fact(w, "instruction set", gemm_isa_name());
    fact(w, "version", BASTIDE_VERSION);
    fact(w, "peak memory", arena_format(a, "%.0f MiB", (double)clock_peak_bytes() / 1048576));
}

/* Loss of the updates of one run, as a curve. */
static bool add_curve(Writer *w, const char *phase, EventKind kind, const char *name, Error *err)
{
    char folder[1024];
    static const char *const loss[] = {"loss"};
    size_t index = w->report.curve_count;
    if (!fs_join(folder, sizeof folder, w->s->run_folder, phase, err))
        return false;
    if (!fs_is_dir(folder))
        return true;
    Curve *log = &w->logs[index];
    if (!events_read(log, folder, kind, loss, 1, err))
        return false;
    double *x = arena_alloc(&w->s->arena, log->count, sizeof *x);
    double *y = arena_alloc(&w->s->arena, log->count, sizeof *y);
    if (!x || !y)
        return fail(err, ERR_MEMORY, "no memory for a curve of %zu points", log->count);
    for (size_t i = 0; i < log->count; i++) { /* single updates jump; their running mean tells */
        bool first = i == 0 || kind == EVENT_EVAL;
        x[i] = (double)log->steps[i];
        y[i] = first ? log->values[i] : 0.95 * y[i - 1] + 0.05 * log->values[i];
    }
    w->curves[index] = (EvalCurve){name, x, y, log->count};
    w->report.curve_count++;
    return true;
}

static void baseline(Writer *w, EvalBaseline row)
{
    w->report.baselines[w->report.baseline_count++] = row;
}

static bool add_classification(Writer *w, Error *err)
{
    State *s = w->s;
    const Dataset *d = s->job->dataset;
    EvalReport *r = &w->report;
    size_t n = s->judged.count;
    const char **group = arena_alloc(&s->arena, n, sizeof *group);
    const char **id = arena_alloc(&s->arena, n, sizeof *id);
    const char **text = arena_alloc(&s->arena, n, sizeof *text);
    w->majority = arena_alloc(&s->arena, n, sizeof *w->majority);
    if (!group || !id || !text || !w->majority)
        return fail(err, ERR_MEMORY, "no memory for a report of %zu answers", n);
    for (size_t i = 0; i < n; i++) {
        const Record *record = &d->records[s->judged.record[i]];
        group[i] = record->group;
        id[i] = record->id;
        text[i] = record->text;
        w->majority[i] = s->bayes_text.majority;
    }
    r->count = n;
    r->classes = d->label_count;
    r->labels = d->labels;
    r->actual = s->judged.actual;
    r->predicted = s->judged.predicted;
    r->probability = s->judged.probability;
    r->group = group;
    r->id = id;
    r->text = text;
    r->quantised_name = "q8_0";
    r->quantised = s->quantised.predicted;
    baseline(w, (EvalBaseline){"majority", "always the commonest", NULL, w->majority, 0});
    baseline(w, (EvalBaseline){"naive_bayes", "naive Bayes, text",
                               arena_format(&s->arena, "words and pairs of words, alpha %g, %llu "
                                                       "features",
                                            s->bayes_text.alpha,
                                            (unsigned long long)s->bayes_text.features),
                               s->bayes_text.predicted, 0});
    baseline(w, (EvalBaseline){"naive_bayes_all_fields", "naive Bayes, all the model sees",
                               arena_format(&s->arena, "alpha %g, %llu features",
                                            s->bayes_all.alpha,
                                            (unsigned long long)s->bayes_all.features),
                               s->bayes_all.predicted, 0});
    return true;
}

static void add_language(Writer *w)
{
    w->report.bytes = w->s->test_bytes;
    w->report.bits_per_byte = w->s->bits_per_byte;
    baseline(w, (EvalBaseline){"unigram", "byte frequencies", NULL, NULL,
                               w->s->baseline_bits[0]});
    baseline(w, (EvalBaseline){"ngram", "counts after 4 bytes", "Witten-Bell, training text only",
                               NULL, w->s->baseline_bits[1]});
}

static bool fill(Writer *w, Error *err)
{
    State *s = w->s;
    EvalReport *r = &w->report;
    double tokens = (double)(s->pretrain.tokens + s->finetune.tokens);
    double seconds = s->pretrain.seconds + s->finetune.seconds;
    r->model = s->job->name;
    r->dataset = s->job->dataset->name;
    r->dataset_digest = s->data_digest;
    r->records_noun = s->job->records_noun;
    r->label_noun = s->job->label_noun;
    r->made_at = clock_unix();
    r->seed = s->job->seed;
    r->phases = s->phases;
    r->phase_count = s->phase_count;
    r->tokens_per_second = seconds > 0 ? tokens / seconds : 0;
    r->joules = energy_read(&s->energy);
    r->command = s->job->command;
    r->curves = w->curves;
    r->curve_x = "update";
    r->curve_y = "loss, nats per trained token";
    r->facts = w->facts;
    r->samples = w->samples;
    for (uint32_t i = 0; i < s->answer_count; i++)
        w->samples[r->sample_count++] = (EvalSample){s->answers[i].prompt, s->answers[i].output,
                                                     s->answers[i].reference};
    add_facts(w);
    if (!add_curve(w, "pretrain", EVENT_STEP, "pretraining", err) ||
        !add_curve(w, "pretrain", EVENT_EVAL, "pretraining, held out", err) ||
        !add_curve(w, "finetune", EVENT_STEP, "fine-tuning", err) ||
        !add_curve(w, "finetune", EVENT_EVAL, "fine-tuning, held out", err))
        return false;
    if (s->labelled)
        return add_classification(w, err);
    add_language(w);
    return true;
}

bool mainjob_write_report(State *s, Error *err)
{
    Writer w = {.s = s};
    mainjob_phase(s, NULL, NULL);
    bool ok = fill(&w, err) && report_write(&w.report, s->run_folder, err);
    for (uint32_t i = 0; i < 4; i++)
        curve_done(&w.logs[i]);
    return ok;
}
