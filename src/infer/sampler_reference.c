/* sampler_reference.c: see sampler_reference.h. */
#include "infer/sampler_reference.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    double key;
    uint32_t place;
} Sortable;

static int compare(const void *a, const void *b)
{
    const Sortable *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key ? 1 : x->place < y->place ? -1 : 1;
}

static uint32_t first_of(const SamplerTurn *turn, int32_t last)
{
    return last < 0 || (uint32_t)last > turn->count ? 0 : turn->count - (uint32_t)last;
}

static void penalise(double *x, uint32_t vocab, const SamplerOptions *o, const SamplerTurn *turn)
{
    for (uint32_t id = 0; id < vocab; id++) {
        uint32_t anywhere = 0, answered = 0;
        for (uint32_t i = first_of(turn, o->repeat_last_n); i < turn->count; i++) {
            anywhere += turn->ids[i] == (int32_t)id;
            answered += turn->ids[i] == (int32_t)id && i >= turn->prompt_count;
        }
        if (anywhere && o->repetition_penalty > 0)
            x[id] = x[id] > 0 ? x[id] / (double)o->repetition_penalty
                              : x[id] * (double)o->repetition_penalty;
        x[id] -= (double)o->frequency_penalty * answered;
        x[id] -= answered ? (double)o->presence_penalty : 0;
        if (anywhere) /* the sampler stores what it changed as floats */
            x[id] = (double)(float)x[id];
    }
}

static void dry(double *x, uint32_t vocab, const SamplerOptions *o, const SamplerTurn *turn)
{
    uint32_t first = first_of(turn, o->dry_penalty_last_n);
    for (uint32_t id = 0; id < vocab && o->dry_multiplier > 0; id++) {
        uint32_t longest = 0;
        for (uint32_t next = first + 1; next < turn->count; next++) {
            uint32_t n = 0, end = turn->count;
            if (turn->ids[next] != (int32_t)id || (turn->breaks && turn->breaks[next]))
                continue;
            while (next - n > first && turn->ids[next - 1 - n] == turn->ids[end - 1 - n] &&
                   !(turn->breaks && turn->breaks[end - 1 - n]))
                n++;
            longest = n > longest ? n : longest;
        }
        if (longest < (uint32_t)o->dry_allowed_length)
            continue;
        double power = pow((double)o->dry_base, longest - (double)o->dry_allowed_length);
        x[id] = (double)(float)(x[id] - fmin((double)o->dry_multiplier * power, 1e30));
    }
}

static void normalise(double *p, uint32_t vocab)
{
    double total = 0;
    for (uint32_t i = 0; i < vocab; i++)
        total += p[i];
    for (uint32_t i = 0; i < vocab; i++)
        p[i] /= total;
}

/* Keeps places of `list` from its front until their mass reaches share. */
static void keep(double *p, uint32_t vocab, const uint32_t *list, double share)
{
    double mass = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        if (mass >= share)
            p[list[i]] = 0;
        mass += p[list[i]];
    }
    normalise(p, vocab);
}

static void cut_typical(double *p, uint32_t vocab, const uint32_t *order, double share)
{
    static Sortable near[REFERENCE_VOCAB_MAX];
    static uint32_t list[REFERENCE_VOCAB_MAX];
    double entropy = 0;
    for (uint32_t i = 0; i < vocab; i++)
        entropy -= p[i] > 0 ? p[i] * log(p[i]) : 0;
    for (uint32_t i = 0; i < vocab; i++) {
        double surprise = p[order[i]] > 0 ? -log(p[order[i]]) : INFINITY;
        bool above = surprise < entropy; /* of equally near ones first those on the pivot's left */
        near[i] = (Sortable){fabs(surprise - entropy), above ? vocab - i : vocab + i};
    }
    qsort(near, vocab, sizeof *near, compare);
    for (uint32_t i = 0; i < vocab; i++)
        list[i] = order[near[i].place > vocab ? near[i].place - vocab : vocab - near[i].place];
    keep(p, vocab, list, share);
}

static void cut(double *p, uint32_t vocab, const uint32_t *order, const SamplerOptions *o)
{
    double best = 0;
    for (uint32_t i = 0; i < vocab && o->top_k > 0; i++)
        p[order[i]] = i < (uint32_t)o->top_k ? p[order[i]] : 0;
    normalise(p, vocab);
    if (o->typical_p > 0 && o->typical_p < 1)
        cut_typical(p, vocab, order, (double)o->typical_p);
    if (o->top_p > 0 && o->top_p < 1)
        keep(p, vocab, order, (double)o->top_p);
    for (uint32_t i = 0; i < vocab; i++)
        best = p[i] > best ? p[i] : best;
    for (uint32_t i = 0; i < vocab && o->min_p > 0; i++)
        p[i] = p[i] >= best * (double)o->min_p * (1 - 1e-12) ? p[i] : 0;
    normalise(p, vocab);
}

void reference_probabilities(const float *logits, uint32_t vocab, const SamplerOptions *o,
                             const SamplerTurn *turn, double *p, uint32_t *order)
{
    static Sortable sorted[REFERENCE_VOCAB_MAX];
    static double x[REFERENCE_VOCAB_MAX];
    for (uint32_t i = 0; i < vocab; i++) {
        x[i] = isnan(logits[i]) ? -INFINITY : logits[i] > FLT_MAX ? (double)FLT_MAX : (double)logits[i];
        for (uint32_t b = 0; b < o->bias_count; b++)
            x[i] = o->bias[b].id == (int32_t)i ? (double)((float)x[i] + o->bias[b].bias) : x[i];
    }
    penalise(x, vocab, o, turn);
    dry(x, vocab, o, turn);
    for (uint32_t i = 0; i < vocab; i++)
        sorted[i] = (Sortable){-x[i], i};
    qsort(sorted, vocab, sizeof *sorted, compare);
    for (uint32_t i = 0; i < vocab; i++)
        order[i] = sorted[i].place;
    for (uint32_t i = 0; i < vocab; i++)
        p[i] = o->temperature > 0 ? exp((x[i] - x[order[0]]) / (double)o->temperature)
                                  : i == order[0];
    if (o->temperature > 0)
        cut(p, vocab, order, o);
}

uint32_t reference_draw(const double *p, const uint32_t *order, uint32_t vocab, double share)
{
    double seen = 0;
    uint32_t last = order[0];
    for (uint32_t i = 0; i < vocab; i++) {
        seen += p[order[i]];
        last = p[order[i]] > 0 ? order[i] : last;
        if (seen > share)
            return order[i];
    }
    return last;
}
