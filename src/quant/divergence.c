/* divergence.c: two steppers read the same windows; see divergence.h. */
#include "quant/divergence.h"

#include "base/mem.h"
#include "infer/stepper.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW = 256, WINDOW_MAX = 1 << 14, BATCH = 64 };

struct DivergenceBase {
    DivergenceOptions options;
    Stepper *stepper;
    int32_t *ids;
    uint32_t window, windows, vocab;
    /* of one measurement */
    float *kl;      /* [windows * (window - 1)] */
    double *means;  /* [FIGURES][windows] */
};

enum { BEFORE, AFTER, CHANGE, KL, AGREE, FIGURES };

/* ---- opening ---- */

static bool make_stepper(Stepper **out, const Model *model, const DivergenceBase *b, Error *err)
{
    StepperOptions options = {.threads = b->options.threads, .context = b->window, .sequences = 1,
                              .batch_tokens = BATCH, .rows = BATCH, .weights = DT_F32};
    return stepper_new(out, model, &options, err);
}

static bool set_up(DivergenceBase *b, const Model *model, const int32_t *ids, Error *err)
{
    uint64_t count = (uint64_t)b->windows * b->window;
    for (uint64_t i = 0; i < count; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= b->vocab)
            return fail(err, ERR_INPUT, "divergence: id %d is outside the vocabulary of %u", ids[i],
                        b->vocab);
    }
    b->ids = mem_alloc(count, sizeof *b->ids);
    b->kl = mem_alloc(count, sizeof *b->kl);
    b->means = mem_alloc((size_t)b->windows * FIGURES, sizeof *b->means);
    if (!b->ids || !b->kl || !b->means)
        return fail(err, ERR_MEMORY, "no memory for %llu tokens", (unsigned long long)count);
    memcpy(b->ids, ids, count * sizeof *ids);
    return make_stepper(&b->stepper, model, b, err);
}

bool divergence_open(DivergenceBase **out, const Model *model, const int32_t *ids, uint64_t count,
                     const DivergenceOptions *o, Error *err)
{
    uint32_t window = o->window ? o->window : WINDOW;
    window = window < model->config.context ? window : model->config.context;
    window = window < WINDOW_MAX ? window : WINDOW_MAX;
    count = o->tokens_max && o->tokens_max < count ? o->tokens_max : count;
    if (window < 2 || count / window < 2 || count / window > UINT32_MAX)
        return fail(err, ERR_INPUT, "divergence: the text has %llu tokens, at least two windows of "
                                    "%u are needed",
                    (unsigned long long)count, window);
    DivergenceBase *b = mem_alloc(1, sizeof *b);
    if (!b)
        return fail(err, ERR_MEMORY, "no memory to compare models");
    b->options = *o;
    b->window = window;
    b->windows = (uint32_t)(count / window);
    b->vocab = model->config.vocab;
    if (!set_up(b, model, ids, err)) {
        divergence_close(b);
        return false;
    }
    *out = b;
    return true;
}

void divergence_close(DivergenceBase *b)
{
    if (!b)
        return;
    stepper_free(b->stepper);
    mem_free(b->ids);
    mem_free(b->kl);
    mem_free(b->means);
    mem_free(b);
}

/* ---- one position ---- */

typedef struct {
    float most;
    uint32_t best;
    double log_sum; /* of exp(logit - most) */
} Spread;

static Spread spread_of(const float *logits, uint32_t vocab)
{
    Spread s = {.most = logits[0]};
    double sum = 0;
    for (uint32_t i = 1; i < vocab; i++) {
        if (logits[i] > s.most) {
            s.most = logits[i];
            s.best = i;
        }
    }
    for (uint32_t i = 0; i < vocab; i++)
        sum += (double)expf(logits[i] - s.most);
    s.log_sum = log(sum);
    return s;
}

static double log_p(const float *logits, Spread s, uint32_t id)
{
    return (double)(logits[id] - s.most) - s.log_sum;
}

/* Adds to sum[FIGURES]; returns the position's KL, which rounding may take a hair below 0. */
static double compare_position(const float *p, const float *q, uint32_t vocab, uint32_t next,
                               double *sum)
{
    Spread sp = spread_of(p, vocab), sq = spread_of(q, vocab);
    double kl = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        double lp = log_p(p, sp, i);
        kl += (double)expf((float)lp) * (lp - log_p(q, sq, i));
    }
    double before = -log_p(p, sp, next), after = -log_p(q, sq, next);
    kl = kl > 0 ? kl : kl == kl ? 0 : kl;
    sum[BEFORE] += before;
    sum[AFTER] += after;
    sum[CHANGE] += after - before;
    sum[KL] += kl;
    sum[AGREE] += sp.best == sq.best;
    return kl;
}

/* ---- windows ---- */

static bool measure_window(DivergenceBase *b, Stepper *other, uint32_t index, Error *err)
{
    const int32_t *ids = b->ids + (size_t)index * b->window;
    float *kl = b->kl + (size_t)index * (b->window - 1);
    double sum[FIGURES] = {0};
    for (uint32_t at = 0; at + 1 < b->window; at += BATCH) {
        StepEntry entries[BATCH];
        const float *p, *q;
        uint32_t left = b->window - 1 - at, count = left < BATCH ? left : BATCH;
        for (uint32_t i = 0; i < count; i++)
            entries[i] = (StepEntry){.position = (int32_t)(at + i), .id = ids[at + i],
                                     .wants_logits = true};
        if (!stepper_run(b->stepper, entries, count, &p, err) ||
            !stepper_run(other, entries, count, &q, err))
            return false;
        for (uint32_t i = 0; i < count; i++)
            kl[at + i] = (float)compare_position(p + (size_t)i * b->vocab, q + (size_t)i * b->vocab,
                                                 b->vocab, (uint32_t)ids[at + i + 1], sum);
    }
    for (int f = 0; f < FIGURES; f++)
        b->means[(size_t)f * b->windows + index] = sum[f] / (b->window - 1);
    return true;
}

/* ---- figures ---- */

/* The 97.5 % point of Student's t, by Cornish and Fisher's series in 1 / freedom; of 1 to 3
 * degrees, where that is poor, from the table. */
static double student(uint32_t freedom)
{
    static const double few[] = {0, 12.706, 4.303, 3.182};
    double z = 1.959964, n = freedom, z3 = z * z * z, z5 = z3 * z * z;
    if (freedom < 4)
        return few[freedom];
    return z + (z3 + z) / (4 * n) + (5 * z5 + 16 * z3 + 3 * z) / (96 * n * n) +
           (3 * z5 * z * z + 19 * z5 + 17 * z3 - 15 * z) / (384 * n * n * n);
}

Estimate divergence_estimate(const double *value, uint32_t count)
{
    double mean = 0, squares = 0;
    for (uint32_t i = 0; i < count; i++)
        mean += value[i] / count;
    for (uint32_t i = 0; i < count; i++)
        squares += (value[i] - mean) * (value[i] - mean);
    double half = student(count - 1) * sqrt(squares / (count - 1) / count);
    return (Estimate){mean, mean - half, mean + half};
}

static Estimate exponential(Estimate e)
{
    return (Estimate){exp(e.mean), exp(e.low), exp(e.high)};
}

static Estimate within(Estimate e, double low, double high)
{
    e.low = e.low < low ? low : e.low;
    e.high = e.high > high ? high : e.high;
    return e;
}

static int ascending(const void *a, const void *b)
{
    const float *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void sum_up(DivergenceBase *b, Divergence *out)
{
    uint64_t count = (uint64_t)b->windows * (b->window - 1);
    Estimate e[FIGURES];
    for (int f = 0; f < FIGURES; f++)
        e[f] = divergence_estimate(b->means + (size_t)f * b->windows, b->windows);
    qsort(b->kl, count, sizeof *b->kl, ascending);
    *out = (Divergence){.tokens = count, .windows = b->windows,
                        .perplexity_before = exponential(e[BEFORE]),
                        .perplexity_after = exponential(e[AFTER]), .change = e[CHANGE],
                        .kl = within(e[KL], 0, INFINITY), .agreement = within(e[AGREE], 0, 1),
                        .kl_99 = (double)b->kl[count - 1 - count / 100],
                        .kl_most = (double)b->kl[count - 1]};
}

bool divergence_measure(DivergenceBase *b, const Model *other, Divergence *out, Error *err)
{
    Stepper *stepper;
    bool ok = true;
    if (other->config.vocab != b->vocab)
        return fail(err, ERR_INPUT, "divergence: vocabularies of %u and %u cannot be compared",
                    b->vocab, other->config.vocab);
    if (!make_stepper(&stepper, other, b, err))
        return false;
    for (uint32_t i = 0; ok && i < b->windows; i++) {
        ok = measure_window(b, stepper, i, err);
        if (ok && b->options.progress)
            b->options.progress(b->options.user, (uint64_t)(i + 1) * b->window,
                                (uint64_t)b->windows * b->window);
    }
    stepper_free(stepper);
    for (uint32_t i = 0; ok && i < b->windows; i++) {
        if (!isfinite(b->means[(size_t)KL * b->windows + i]))
            ok = fail(err, ERR_INPUT, "divergence: a model's prediction is not a number");
    }
    if (ok)
        sum_up(b, out);
    return ok;
}

/* ---- for programs ---- */

static json_t *estimate_json(Estimate e)
{
    return json_pack("{s:f, s:f, s:f}", "mean", e.mean, "low", e.low, "high", e.high);
}

json_t *divergence_json(const Divergence *d)
{
    return json_pack("{s:I, s:i, s:o, s:o, s:o, s:o, s:o, s:f, s:f}", "tokens",
                     (json_int_t)d->tokens, "windows", (int)d->windows, "perplexity_before",
                     estimate_json(d->perplexity_before), "perplexity_after",
                     estimate_json(d->perplexity_after), "log_perplexity_change",
                     estimate_json(d->change), "kl", estimate_json(d->kl), "agreement",
                     estimate_json(d->agreement), "kl_99", d->kl_99, "kl_most", d->kl_most);
}
