/* rng.c: see rng.h. */
#include "base/rng.h"

#include <math.h>

static void philox(RngKey key, uint64_t counter, uint32_t out[4])
{
    uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32), c2 = 0, c3 = 0;
    uint32_t k0 = key.key[0], k1 = key.key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

RngKey rng_key(uint64_t seed, const char *purpose)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a of the purpose, then one Philox block */
    for (; *purpose; purpose++)
        hash = (hash ^ (uint8_t)*purpose) * 0x100000001b3u;
    uint32_t block[4];
    RngKey key = {{(uint32_t)hash, (uint32_t)(hash >> 32)}};
    philox(key, seed, block);
    return (RngKey){{block[0], block[1]}};
}

uint64_t rng_u64(RngKey key, uint64_t counter)
{
    uint32_t block[4];
    philox(key, counter, block);
    return (uint64_t)block[1] << 32 | block[0];
}

double rng_uniform(RngKey key, uint64_t counter)
{
    return (double)(rng_u64(key, counter) >> 11) * 0x1p-53;
}

double rng_normal(RngKey key, uint64_t counter)
{
    uint32_t block[4];
    philox(key, counter, block);
    double u = ((double)block[0] + 1.0) * 0x1p-32; /* (0, 1]: the logarithm is finite */
    double v = (double)block[1] * 0x1p-32;
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

uint64_t rng_below(RngKey key, uint64_t counter, uint64_t bound)
{
    return (uint64_t)((unsigned __int128)rng_u64(key, counter) * bound >> 64);
}

void rng_permutation(RngKey key, uint32_t *permutation, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        permutation[i] = i;
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = (uint32_t)rng_below(key, i, i);
        uint32_t keep = permutation[i - 1];
        permutation[i - 1] = permutation[j];
        permutation[j] = keep;
    }
}
