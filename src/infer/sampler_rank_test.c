/* sampler_rank_test.c: rankings of every shape of row, looked at in steps of every size. */
#include "infer/sampler_rank.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/test.h"

#include <math.h>

enum { VOCAB_MAX = 6000 };

static float values[VOCAB_MAX];

/* Rows of few values have many ties. */
static void make(uint64_t seed, uint32_t vocab, uint32_t different)
{
    RngKey key = rng_key(seed, "values");
    for (uint64_t i = 0; i < vocab; i++) {
        uint64_t kind = rng_below(key, 2 * i, 40);
        values[i] = different ? (float)rng_below(key, 2 * i + 1, different) - 3
                              : (float)(3 * rng_normal(key, 2 * i + 1));
        values[i] = kind == 0 ? NAN : kind == 1 ? -INFINITY : kind == 2 ? -0.0f : values[i];
    }
}

static void ranking_is_a_sort(void **state)
{
    (void)state;
    static const uint32_t vocabs[] = {1, 2, 127, 128, 129, 1000, VOCAB_MAX};
    static const uint32_t different[] = {0, 1, 2, 9, 1000}, aheads[] = {1, 7, 64, 100000};
    for (uint64_t seed = 0; seed < 7 * 5 * 4; seed++) {
        uint32_t vocab = vocabs[seed % 7], ahead = aheads[seed / 35], count = 0;
        static bool seen[VOCAB_MAX];
        SamplerRow row;
        SamplerRank rank;
        make(seed, vocab, different[seed / 7 % 5]);
        memset(seen, 0, sizeof seen);
        assert_true(row_init(&row, vocab) && rank_init(&rank, &row));
        row_begin(&row, values);
        rank_begin(&rank);
        for (; rank_reach(&rank, count, ahead); count++) {
            uint32_t id = rank_id(&rank, count);
            assert_true(id < vocab && !seen[id] && rank_value(&rank, count) == (double)values[id]);
            seen[id] = true;
            if (count == 0)
                continue;
            double last = rank_value(&rank, count - 1), here = rank_value(&rank, count);
            assert_true(last > here || (last == here && rank_id(&rank, count - 1) < id));
        }
        for (uint32_t i = 0; i < vocab; i++)
            assert_int_equal(seen[i], values[i] > -INFINITY);
        assert_false(rank_reach(&rank, count + 5, 1));
        rank_done(&rank);
        row_done(&row);
    }
}

static void few_places_need_few_blocks(void **state)
{
    (void)state;
    SamplerRow row;
    SamplerRank rank;
    make(1, VOCAB_MAX, 0);
    assert_true(row_init(&row, VOCAB_MAX) && rank_init(&rank, &row));
    row_begin(&row, values);
    rank_begin(&rank);
    assert_true(rank_reach(&rank, 0, 5));
    assert_in_range(rank.count, 5, 60);
    assert_false(rank.complete);
    rank_done(&rank);
    row_done(&row);
}

static void memory_may_be_missing(void **state)
{
    (void)state;
    for (int64_t n = 0;; n++) {
        SamplerRow row;
        SamplerRank rank = {0};
        mem_fail_after(n);
        bool made = row_init(&row, 500);
        bool both = made && rank_init(&rank, &row);
        mem_fail_after(-1);
        rank_done(&rank);
        row_done(&row);
        if (both)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranking_is_a_sort),
        cmocka_unit_test(few_places_need_few_blocks),
        cmocka_unit_test(memory_may_be_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
