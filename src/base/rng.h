/* rng.h: random numbers as a pure function of (key, counter): Philox4x32-10
 * (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
 * No state: the same key and counter give the same number on every machine and thread count.
 * Streams: rng_key(seed, purpose) separates uses that share a seed.
 */
#pragma once
#include <stdint.h>

typedef struct {
    uint32_t key[2];
} RngKey;

/* purpose: a short constant word, e.g. "shuffle", "init", "sample". */
RngKey rng_key(uint64_t seed, const char *purpose);

uint64_t rng_u64(RngKey key, uint64_t counter);
double rng_uniform(RngKey key, uint64_t counter); /* [0, 1), 53 bits */
double rng_normal(RngKey key, uint64_t counter);  /* mean 0, deviation 1; Box-Muller */
uint64_t rng_below(RngKey key, uint64_t counter, uint64_t bound); /* [0, bound); bound >= 1 */

/* permutation[0..count) of 0..count-1, a function of key alone (Fisher-Yates). */
void rng_permutation(RngKey key, uint32_t *permutation, uint32_t count);
