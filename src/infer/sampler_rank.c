/* sampler_rank.c: see sampler_rank.h. */
#include "infer/sampler_rank.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

enum { DIGIT_BITS = 11, DIGITS = 3, DIGIT_VALUES = 1 << DIGIT_BITS, INSERTION_MAX = 96 };

bool rank_init(SamplerRank *rank, const SamplerRow *row)
{
    *rank = (SamplerRank){.row = row};
    rank->keys = mem_alloc(row->vocab, sizeof *rank->keys);
    rank->ids = mem_alloc(row->vocab, sizeof *rank->ids);
    rank->spare_keys = mem_alloc(row->vocab, sizeof *rank->spare_keys);
    rank->spare_ids = mem_alloc(row->vocab, sizeof *rank->spare_ids);
    rank->bounds = mem_alloc(row->blocks, sizeof *rank->bounds);
    return rank->keys && rank->ids && rank->spare_keys && rank->spare_ids && rank->bounds;
}

void rank_done(SamplerRank *rank)
{
    mem_free(rank->keys);
    mem_free(rank->ids);
    mem_free(rank->spare_keys);
    mem_free(rank->spare_ids);
    mem_free(rank->bounds);
}

void rank_begin(SamplerRank *rank)
{
    rank->count = 0;
    rank->below = INFINITY;
    rank->complete = false;
}

/* ---- keys: floats as whole numbers of the opposite order ---- */

static uint32_t key_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? bits : ~bits & 0x7fffffffu;
}

static float value_of(uint32_t key)
{
    uint32_t bits = key & 0x80000000u ? key : ~key & 0x7fffffffu;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* ---- sorting; stable, and values arrive by ascending id ---- */

static void sort_few(uint32_t *keys, uint32_t *ids, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        uint32_t key = keys[i], id = ids[i], at = i;
        for (; at > 0 && keys[at - 1] > key; at--) {
            keys[at] = keys[at - 1];
            ids[at] = ids[at - 1];
        }
        keys[at] = key;
        ids[at] = id;
    }
}

static void sort_digit(const uint32_t *keys, const uint32_t *ids, uint32_t *to_keys,
                       uint32_t *to_ids, uint32_t count, int shift)
{
    uint32_t starts[DIGIT_VALUES] = {0}, sum = 0;
    for (uint32_t i = 0; i < count; i++)
        starts[keys[i] >> shift & (DIGIT_VALUES - 1)]++;
    for (uint32_t d = 0; d < DIGIT_VALUES; d++) {
        uint32_t size = starts[d];
        starts[d] = sum;
        sum += size;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t to = starts[keys[i] >> shift & (DIGIT_VALUES - 1)]++;
        to_keys[to] = keys[i];
        to_ids[to] = ids[i];
    }
}

static void sort(SamplerRank *rank, uint32_t first, uint32_t count)
{
    uint32_t *keys = rank->keys + first, *ids = rank->ids + first;
    if (count <= INSERTION_MAX) {
        sort_few(keys, ids, count);
        return;
    }
    sort_digit(keys, ids, rank->spare_keys, rank->spare_ids, count, 0);
    sort_digit(rank->spare_keys, rank->spare_ids, keys, ids, count, DIGIT_BITS);
    sort_digit(keys, ids, rank->spare_keys, rank->spare_ids, count, 2 * DIGIT_BITS);
    memcpy(keys, rank->spare_keys, count * sizeof *keys);
    memcpy(ids, rank->spare_ids, count * sizeof *ids);
}

/* ---- growing ---- */

/* The m-th largest of x[count], m in 1..count; reorders x (Hoare's selection). */
static float select_largest(float *x, uint32_t count, uint32_t m)
{
    uint32_t low = 0, high = count - 1, want = m - 1;
    while (low < high) {
        float middle = x[low + (high - low) / 2];
        uint32_t i = low, j = high;
        for (;; i++, j--) {
            while (x[i] > middle)
                i++;
            while (x[j] < middle)
                j--;
            if (i >= j)
                break;
            float keep = x[i];
            x[i] = x[j];
            x[j] = keep;
        }
        if (want <= j) /* nothing in [low, j] is below anything in [j + 1, high] */
            high = j;
        else
            low = j + 1;
    }
    return x[want];
}

/* The value that at least `most` values reach, or -infinity for all of them. */
static float bound_for(SamplerRank *rank, uint32_t most)
{
    const SamplerRow *row = rank->row;
    uint32_t m = most < row->blocks ? most : row->blocks;
    memcpy(rank->bounds, row->maxima, row->blocks * sizeof *rank->bounds);
    float bound = row_seen(select_largest(rank->bounds, row->blocks, m));
    return bound < rank->below ? bound : -INFINITY;
}

static void grow(SamplerRank *rank, uint32_t most)
{
    const SamplerRow *row = rank->row;
    float bound = bound_for(rank, most);
    bool all = !(bound > -INFINITY);
    uint32_t first = rank->count, count = first;
    for (uint32_t b = 0; b < row->blocks; b++) {
        if (!(row_seen(row->maxima[b]) >= bound))
            continue;
        const float *values = row->block[b];
        uint32_t size = row_size(row, b);
        for (uint32_t i = 0; i < size; i++) {
            float value = row_seen(values[i]);
            if (!(value >= bound && value < rank->below && value > -INFINITY))
                continue;
            rank->keys[count] = key_of(value);
            rank->ids[count++] = b * ROW_BLOCK + i;
        }
    }
    sort(rank, first, count - first);
    rank->count = count;
    rank->below = bound;
    rank->complete = all;
}

bool rank_reach(SamplerRank *rank, uint32_t place, uint32_t ahead)
{
    while (place >= rank->count && !rank->complete) {
        uint32_t more = 4 * rank->count > ahead ? 4 * rank->count : ahead;
        grow(rank, more > place ? more : place + 1);
    }
    return place < rank->count;
}

uint32_t rank_id(const SamplerRank *rank, uint32_t place)
{
    return rank->ids[place];
}

double rank_value(const SamplerRank *rank, uint32_t place)
{
    return (double)value_of(rank->keys[place]);
}
