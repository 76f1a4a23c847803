/* sampler.c: see sampler.h.
 *
 * What the cuts keep is always a range of places in the ranking: top_k and top_p and min_p cut its
 * end; the tokens nearest to the entropy, that typical_p keeps, lie around one place.
 */
#include "infer/sampler.h"

#include "base/mem.h"
#include "infer/sampler_penalty.h"
#include "infer/sampler_rank.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { AHEAD = 64 }; /* places ranked at once when nobody says how many are wanted */

struct Sampler {
    SamplerRow row;
    SamplerRank rank;
    SamplerPenalty penalty;
    uint64_t *allowed; /* [words] */
    uint32_t words;
};

bool sampler_new(Sampler **out, uint32_t vocab, uint32_t context, Error *err)
{
    assert(vocab > 0 && context > 0);
    Sampler *s = mem_alloc(1, sizeof *s);
    if (!s)
        return fail(err, ERR_MEMORY, "no memory for a sampler");
    s->words = (vocab + 63) / 64;
    s->allowed = mem_alloc(s->words, sizeof *s->allowed);
    if (!row_init(&s->row, vocab) || !rank_init(&s->rank, &s->row) ||
        !penalty_init(&s->penalty, vocab, context) || !s->allowed) {
        sampler_free(s);
        return fail(err, ERR_MEMORY, "no memory for a sampler of %u tokens", vocab);
    }
    *out = s;
    return true;
}

void sampler_free(Sampler *s)
{
    if (!s)
        return;
    row_done(&s->row);
    rank_done(&s->rank);
    penalty_done(&s->penalty);
    mem_free(s->allowed);
    mem_free(s);
}

/* ---- before the draw: what changes logits ---- */

static void change(Sampler *s, const SamplerOptions *o, const SamplerTurn *turn)
{
    if (o->hook.allow) {
        memset(s->allowed, 0, s->words * sizeof *s->allowed);
        if (o->hook.allow(o->hook.user, turn->ids + turn->prompt_count,
                          turn->count - turn->prompt_count, s->allowed))
            row_restrict(&s->row, s->allowed);
    }
    for (uint32_t i = 0; i < o->bias_count; i++) {
        uint32_t id = (uint32_t)o->bias[i].id;
        assert(id < s->row.vocab);
        row_set(&s->row, id, row_get(&s->row, id) + o->bias[i].bias);
    }
    penalty_repetition(&s->penalty, &s->row, o, turn);
    penalty_dry(&s->penalty, &s->row, o, turn);
    row_settle(&s->row);
}

/* ---- cuts: ranges of the ranking ---- */

typedef struct {
    Sampler *s;
    double scale;
    uint32_t first, end; /* places kept; end UINT32_MAX: to the last */
    double best;         /* the largest value of the row */
    double base;         /* the weight of x is exp((x - best) * scale - base) */
    double mass;         /* sum of the weights kept */
    double entropy;      /* of the whole row, where typical_p needs it */
    uint32_t ahead;
} Cut;

static bool kept(Cut *c, uint32_t place)
{
    return place < c->end && rank_reach(&c->s->rank, place, c->ahead);
}

/* Log of the unnormalised weight. */
static double level(const Cut *c, uint32_t place)
{
    return (rank_value(&c->s->rank, place) - c->best) * c->scale;
}

static double weight(const Cut *c, uint32_t place)
{
    return exp(level(c, place) - c->base);
}

static void add_up(Cut *c)
{
    c->mass = 0;
    for (uint32_t i = c->first; kept(c, i); i++)
        c->mass += weight(c, i);
}

/* Afterwards the weights of the range are probabilities. */
static void normalise(Cut *c)
{
    c->base = level(c, c->first);
    add_up(c);
    c->base += log(c->mass);
    c->mass = 1;
}

static void cut_top_k(Cut *c, uint32_t k)
{
    c->ahead = k;
    c->end = k;
    rank_reach(&c->s->rank, 0, k); /* that many at once */
    normalise(c);
}

/* The range around the first place whose surprise reaches the entropy, the nearest first (of two
 * equally near, the more probable), until its mass reaches `share`. */
static void cut_typical(Cut *c, double share)
{
    double entropy = c->end == UINT32_MAX ? c->entropy : 0, mass = 0;
    for (uint32_t i = c->first; c->end != UINT32_MAX && kept(c, i); i++)
        entropy += weight(c, i) * (c->base - level(c, i));
    uint32_t first = c->first, end;
    while (kept(c, first + 1) && c->base - level(c, first) < entropy)
        first++;
    end = first;
    while (mass < share) {
        bool left = first > c->first, right = kept(c, end);
        if (left && (!right || entropy - (c->base - level(c, first - 1)) <=
                                   c->base - level(c, end) - entropy))
            mass += weight(c, --first);
        else if (right)
            mass += weight(c, end++);
        else
            break;
    }
    c->first = first;
    c->end = end;
    normalise(c);
}

static void cut_top_p(Cut *c, double share)
{
    uint32_t end = c->first;
    for (c->mass = 0; c->mass < share && kept(c, end); end++)
        c->mass += weight(c, end);
    c->end = end;
}

static void cut_min_p(Cut *c, double share)
{
    uint32_t end = c->first + 1;
    while (kept(c, end) && exp(level(c, end) - level(c, c->first)) >= share)
        end++;
    c->end = end;
    add_up(c);
}

/* Walks from the most probable down until the drawn share of the kept mass is passed. */
static uint32_t draw(Cut *c, double share)
{
    uint32_t last = c->first;
    double seen = 0;
    for (uint32_t i = c->first; kept(c, i); i++) {
        last = i;
        seen += weight(c, i);
        if (seen > share * c->mass)
            break;
    }
    return rank_id(&c->s->rank, last);
}

static bool is_cut(float share)
{
    return share > 0 && share < 1;
}

/* total: row_sums of the row at temperature 1 when it is known, else NaN. */
static uint32_t sample(Sampler *s, const SamplerOptions *o, uint64_t position, double total)
{
    Cut c = {.s = s, .scale = 1.0 / (double)o->temperature, .best = (double)row_most(&s->row),
             .end = UINT32_MAX, .mass = 1, .ahead = AHEAD};
    rank_begin(&s->rank);
    if (o->top_k > 0 && (uint32_t)o->top_k < s->row.vocab) {
        cut_top_k(&c, (uint32_t)o->top_k);
    } else if (o->min_p > 0 && !is_cut(o->top_p) && !is_cut(o->typical_p)) {
        c.base = 0; /* min_p alone asks for no sum over the vocabulary */
    } else if (c.scale == 1 && !isnan(total) && !is_cut(o->typical_p)) {
        c.base = total;
    } else {
        RowSums sums = row_sums(&s->row, c.scale, is_cut(o->typical_p));
        c.base = sums.log_sum;
        c.entropy = sums.entropy;
    }
    if (is_cut(o->typical_p))
        cut_typical(&c, (double)o->typical_p);
    if (is_cut(o->top_p))
        cut_top_p(&c, (double)o->top_p);
    if (o->min_p > 0)
        cut_min_p(&c, (double)o->min_p);
    return draw(&c, rng_uniform(rng_key(o->seed, "sample"), position));
}

/* ---- all of it ---- */

/* The best of the model's own distribution; total is its log sum beside its largest value. */
static void report(Sampler *s, const SamplerTurn *turn, double total, SamplerPick *out)
{
    double most = (double)row_most(&s->row);
    rank_begin(&s->rank);
    for (uint32_t i = 0; i < turn->alternatives; i++) {
        if (!rank_reach(&s->rank, i, turn->alternatives))
            return;
        out->top[i] = (SamplerToken){(int32_t)rank_id(&s->rank, i),
                                     (float)(rank_value(&s->rank, i) - most - total)};
        out->top_count++;
    }
}

bool sampler_pick(Sampler *s, const float *logits, const SamplerOptions *o, const SamplerTurn *turn,
                  SamplerPick *out, Error *err)
{
    assert(turn->alternatives <= SAMPLER_TOP_MAX && turn->prompt_count <= turn->count);
    SamplerPick pick = {.token = {.id = -1}};
    double total = NAN, most;
    row_begin(&s->row, logits);
    most = (double)row_most(&s->row);
    if (!turn->ids_only && most > -INFINITY) {
        total = row_sums(&s->row, 1, false).log_sum;
        report(s, turn, total, &pick);
    }
    change(s, o, turn);
    if (!(row_most(&s->row) > -INFINITY))
        return fail(err, ERR_INPUT, "no token can be taken: every logit is masked or not a number");
    uint32_t id = o->temperature > 0 ? sample(s, o, turn->count - turn->prompt_count,
                                              s->row.changed_count ? NAN : total)
                                     : row_best(&s->row);
    pick.token.id = (int32_t)id;
    if (!turn->ids_only)
        pick.token.logprob = (float)((double)row_seen(logits[id]) - most - total);
    *out = pick;
    return true;
}
