/* sampler_rank.h: the values of a SamplerRow from the largest down, sorted only as far as somebody
 * looks. Equal values go by their ids, the lowest first. NaN and -infinity are not listed.
 *
 * The m-th largest maximum of the blocks is a bound that at least m values reach, and values that
 * reach it are in blocks whose maximum does: so the best m are found by looking at few blocks.
 * Private to infer/. Threads: one. Nothing allocates after rank_init.
 */
#pragma once
#include "infer/sampler_row.h"

typedef struct {
    const SamplerRow *row;
    uint32_t *keys, *ids;             /* [vocab]: the first `count` are in order */
    uint32_t *spare_keys, *spare_ids; /* [vocab] */
    float *bounds;                    /* [blocks] */
    uint32_t count;
    float below; /* all values from here up are listed */
    bool complete;
} SamplerRank;

bool rank_init(SamplerRank *rank, const SamplerRow *row); /* false: no memory; rank_done anyway */
void rank_done(SamplerRank *rank);

void rank_begin(SamplerRank *rank); /* the row has begun or changed */
/* Is there a value at this place? Sorts as far as needed; asks for the next one should sort
 * `ahead` at once. */
bool rank_reach(SamplerRank *rank, uint32_t place, uint32_t ahead);
uint32_t rank_id(const SamplerRank *rank, uint32_t place); /* of a place that was reached */
double rank_value(const SamplerRank *rank, uint32_t place);
