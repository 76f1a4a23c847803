/* sampler_penalty.c: see sampler_penalty.h. */
#include "infer/sampler_penalty.h"

#include "base/mem.h"

#include <assert.h>
#include <math.h>

/* Largest DRY penalty: below every logit, and still a number. */
static const double DRY_MOST = 1e30;

bool penalty_init(SamplerPenalty *p, uint32_t vocab, uint32_t context)
{
    p->context = context;
    p->seen = mem_alloc(vocab, sizeof *p->seen);
    p->repeats = mem_alloc(context, sizeof *p->repeats);
    return p->seen && p->repeats;
}

void penalty_done(SamplerPenalty *p)
{
    mem_free(p->seen);
    mem_free(p->repeats);
}

/* First token that is looked back to. */
static uint32_t window_start(const SamplerTurn *turn, int32_t last)
{
    return last >= 0 && (uint32_t)last < turn->count ? turn->count - (uint32_t)last : 0;
}

void penalty_repetition(SamplerPenalty *p, SamplerRow *row, const SamplerOptions *options,
                        const SamplerTurn *turn)
{
    double repetition = options->repetition_penalty > 0 ? (double)options->repetition_penalty : 1;
    double frequency = (double)options->frequency_penalty;
    double presence = (double)options->presence_penalty;
    uint32_t start = window_start(turn, options->repeat_last_n);
    if (repetition == 1 && frequency == 0 && presence == 0)
        return;
    for (uint32_t i = start; i < turn->count; i++) { /* twice the times in the answer, plus 1 */
        uint32_t *seen = &p->seen[turn->ids[i]];
        assert((uint32_t)turn->ids[i] < row->vocab);
        *seen = (*seen | 1) + (i >= turn->prompt_count ? 2 : 0);
    }
    for (uint32_t i = start; i < turn->count; i++) {
        uint32_t id = (uint32_t)turn->ids[i], seen = p->seen[id];
        if (!seen)
            continue; /* done at an earlier place */
        double x = (double)row_get(row, id), times = seen >> 1;
        p->seen[id] = 0;
        x = x > 0 ? x / repetition : x * repetition;
        x -= frequency * times + (times > 0 ? presence : 0);
        row_set(row, id, (float)x);
    }
}

/* ---- DRY ---- */

/* The window from its end: place 0 is the last token. */
static int32_t back(const SamplerTurn *turn, uint32_t place)
{
    return turn->ids[turn->count - 1 - place];
}

static bool breaks_at(const SamplerTurn *turn, uint32_t place)
{
    return turn->breaks && turn->breaks[turn->count - 1 - place];
}

/* repeats[j]: how many tokens before and at place j equal those at the end; the Z function of the
 * window read backwards, linear in its length. */
static void count_repeats(uint32_t *repeats, const SamplerTurn *turn, uint32_t window)
{
    uint32_t left = 0, right = 0; /* the match that reaches furthest: [left, right) */
    for (uint32_t j = 1; j < window; j++) {
        uint32_t n = 0;
        if (j < right)
            n = repeats[j - left] < right - j ? repeats[j - left] : right - j;
        while (j + n < window && back(turn, n) == back(turn, j + n))
            n++;
        repeats[j] = n;
        if (j + n > right) {
            left = j;
            right = j + n;
        }
    }
}

void penalty_dry(SamplerPenalty *p, SamplerRow *row, const SamplerOptions *options,
                 const SamplerTurn *turn)
{
    uint32_t window = turn->count - window_start(turn, options->dry_penalty_last_n), free_run = 0;
    uint32_t allowed = options->dry_allowed_length > 0 ? (uint32_t)options->dry_allowed_length : 1;
    if (!(options->dry_multiplier > 0) || window <= allowed)
        return;
    assert(turn->count <= p->context);
    while (free_run < window && !breaks_at(turn, free_run))
        free_run++;
    if (free_run < allowed)
        return;
    count_repeats(p->repeats, turn, window);
    for (uint32_t j = 1; j < window; j++) { /* what followed place j stands at j - 1 */
        uint32_t n = p->repeats[j] < free_run ? p->repeats[j] : free_run;
        uint32_t *most = &p->seen[back(turn, j - 1)];
        if (n >= allowed && n > *most && !breaks_at(turn, j - 1))
            *most = n;
    }
    for (uint32_t j = 0; j + 1 < window; j++) {
        uint32_t id = (uint32_t)back(turn, j), n = p->seen[id];
        if (!n)
            continue;
        double penalty = (double)options->dry_multiplier *
                         pow((double)options->dry_base, (double)(n - allowed));
        p->seen[id] = 0;
        row_set(row, id, (float)((double)row_get(row, id) - fmin(penalty, DRY_MOST)));
    }
}
