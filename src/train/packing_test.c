/* Every id of the test sets is unique (its index in the arena), so that each row can be checked on
 * its own: the target of id x is x + 1, and what was seen in an epoch can be counted. */
#include "base/mem.h"
#include "base/rng.h"
#include "base/test.h"
#include "train/packing.h"

enum { T = 64, ROWS = 4 };

static int32_t ids[ROWS * T], targets[ROWS * T], positions[ROWS * T], starts[ROWS * T];
static const PackRows batch = {ids, targets, positions, starts};

/* A sample of `count` consecutive ids, the last `trained` of them trained. */
static void add(SampleSet *set, uint32_t count, uint32_t trained)
{
    Error err;
    int32_t sample[4096], marks[4096];
    for (uint32_t i = 0; i < count; i++) {
        sample[i] = (int32_t)(set->used + i);
        marks[i] = i + trained >= count;
    }
    assert_ok(sample_set_add(set, sample, marks, count, &err));
}

/* Samples of 0 to `longest` ids, half of them dialogues. */
static void add_random(SampleSet *set, uint32_t count, uint32_t longest, uint64_t seed)
{
    RngKey key = rng_key(seed, "test");
    for (uint32_t i = 0; i < count; i++) {
        uint32_t length = (uint32_t)rng_below(key, 2 * i, longest + 1);
        bool dialogue = rng_below(key, 2 * i + 1, 2);
        add(set, length, dialogue ? length / 3 : length);
    }
}

/* One row holds together; counts what it has. `seen` (may be NULL): per target id. */
static PackCounts check_row(const SampleSet *set, uint32_t r, uint8_t *seen)
{
    PackCounts counts = {0};
    bool tail = false;
    for (uint32_t t = 0; t < T; t++) {
        uint32_t at = r * T + t;
        assert_int_equal(positions[at], (int32_t)t - starts[at]);
        if (t && starts[at] != (int32_t)t)
            assert_int_equal(starts[at], starts[at - 1]);
        tail = tail || (ids[at] == 0 && starts[at] == (int32_t)t && targets[at] == -1 &&
                        counts.used == t && t > 0);
        if (tail) {
            assert_int_equal(ids[at], 0);
            assert_int_equal(targets[at], -1);
            assert_int_equal(starts[at], t);
            continue;
        }
        counts.used++;
        if (positions[at])
            assert_int_equal(ids[at], ids[at - 1] + 1);
        uint64_t next = (uint64_t)ids[at] + 1;
        assert_true(next < set->used);
        bool wanted = set->tokens[next] & SAMPLE_TRAINED;
        assert_int_equal(targets[at], wanted ? (int32_t)next : -1);
        counts.trained += wanted;
        if (seen)
            seen[next]++;
    }
    return counts;
}

/* Runs one epoch; rows must hold together, targets must come once each and none across samples. */
static uint64_t check_epoch(Packer *packer, const SampleSet *set)
{
    PackStats stats = packing_stats(packer);
    PackCounts sum = {0};
    uint64_t epoch = packing_cursor(packer).epoch, rows = 0;
    auto_free uint8_t *seen = mem_alloc(set->used + 1, 1);
    assert_non_null(seen);
    while (packing_cursor(packer).epoch == epoch) {
        PackCounts counts;
        packing_next(packer, 1, &batch, &counts);
        PackCounts found = check_row(set, 0, seen);
        assert_int_equal(found.used, counts.used);
        assert_int_equal(found.trained, counts.trained);
        sum.used += counts.used;
        sum.trained += counts.trained;
        rows++;
    }
    assert_int_equal(sum.used, stats.tokens);
    assert_int_equal(sum.trained, stats.trained);
    for (uint32_t s = 0; s < set->count; s++) {
        for (uint64_t i = set->starts[s]; i < set->starts[s + 1]; i++) {
            bool first = i == set->starts[s], wanted = set->tokens[i] & SAMPLE_TRAINED;
            if (first ? seen[i] : wanted ? seen[i] != 1 : seen[i] > 1)
                fail_test("id %d of sample %u was a target %u times", (int)i, s, seen[i]);
        }
    }
    return rows;
}

static void row_is_as_drawn(void **state)
{
    (void)state;
    Error err;
    auto_samples SampleSet set;
    sample_set_init(&set, 100);
    const int32_t one[] = {10, 11, 12, 13}, two[] = {20, 21, 22, 23, 24}, marks[] = {0, 0, 1, 0, 1};
    assert_ok(sample_set_add(&set, one, NULL, 4, &err));
    assert_ok(sample_set_add(&set, two, marks, 5, &err));
    Packer *packer;
    PackOptions options = {.row_tokens = 8};
    assert_ok(packing_new(&packer, &set, &options, &err));
    PackCounts counts;
    do { /* until the order of the epoch is that of the picture */
        packing_next(packer, 1, &batch, &counts);
    } while (ids[0] != 10);
    const int32_t want[4][8] = {{10, 11, 12, 20, 21, 22, 23, 0}, {11, 12, 13, -1, 22, -1, 24, -1},
                                {0, 1, 2, 0, 1, 2, 3, 0}, {0, 0, 0, 3, 3, 3, 3, 7}};
    assert_memory_equal(ids, want[0], sizeof want[0]);
    assert_memory_equal(targets, want[1], sizeof want[1]);
    assert_memory_equal(positions, want[2], sizeof want[2]);
    assert_memory_equal(starts, want[3], sizeof want[3]);
    assert_int_equal(counts.used, 7);
    assert_int_equal(counts.trained, 5);
    packing_free(packer);
}

static void epochs_cover_everything_once(void **state)
{
    (void)state;
    Error err;
    static const uint32_t longest[] = {3, 20, 65, 400};
    for (int k = 0; k < 4; k++) {
        auto_samples SampleSet set;
        sample_set_init(&set, 1 << 20);
        add_random(&set, 500, longest[k], (uint64_t)k);
        PackOptions options = {.row_tokens = T, .too_long = PACK_SPLIT, .seed = 5};
        Packer *packer;
        assert_ok(packing_new(&packer, &set, &options, &err));
        PackStats stats = packing_stats(packer);
        assert_int_equal(check_epoch(packer, &set), stats.rows);
        for (int epoch = 1; epoch < 4; epoch++)
            check_epoch(packer, &set);
        double full = (double)stats.tokens / ((double)stats.rows * T);
        print_message("samples to %u: %.1f %% of positions used\n", longest[k], 100 * full);
        assert_true((double)stats.rows <= 1 + (double)stats.tokens / (0.95 * T));
        packing_free(packer);
    }
}

/* From every cursor of two epochs the next rows come again, whatever the packer did before. */
static void any_cursor_resumes(void **state)
{
    (void)state;
    Error err;
    auto_samples SampleSet set;
    sample_set_init(&set, 1 << 20);
    add_random(&set, 300, 90, 9);
    PackOptions options = {.row_tokens = T, .too_long = PACK_SPLIT, .seed = 11};
    Packer *packer, *other;
    assert_ok(packing_new(&packer, &set, &options, &err));
    assert_ok(packing_new(&other, &set, &options, &err));
    uint64_t ahead = 0;
    while (packing_cursor(packer).epoch < 2) {
        static int32_t again[4][ROWS * T];
        const PackRows second = {again[0], again[1], again[2], again[3]};
        PackCounts counts, counts_again;
        PackCursor cursor = packing_cursor(packer);
        ahead += cursor.placed != 0;
        packing_next(packer, 1, &batch, &counts);
        PackCursor after = packing_cursor(packer);
        packing_next(packer, ROWS, &batch, &counts); /* beyond: also over the end of an epoch */
        assert_ok(packing_seek(packer, after, &err));
        assert_ok(packing_seek(other, cursor, &err));
        packing_next(other, 1, &second, &counts_again);
        packing_next(other, ROWS, &second, &counts_again);
        assert_memory_equal(&counts, &counts_again, sizeof counts);
        assert_memory_equal(ids, again[0], sizeof ids);
        assert_memory_equal(targets, again[1], sizeof ids);
        assert_memory_equal(positions, again[2], sizeof ids);
        assert_memory_equal(starts, again[3], sizeof ids);
    }
    assert_true(ahead > 50); /* the look-ahead was in use */
    packing_free(packer);
    packing_free(other);
}

static void orders_differ_by_seed_and_epoch(void **state)
{
    (void)state;
    Error err;
    auto_samples SampleSet set;
    sample_set_init(&set, 1 << 20);
    add_random(&set, 300, 50, 1);
    int32_t first[3][T];
    for (int k = 0; k < 3; k++) {
        PackOptions options = {.row_tokens = T, .seed = k == 1 ? 2 : 1};
        Packer *packer;
        PackCounts counts;
        assert_ok(packing_new(&packer, &set, &options, &err));
        assert_ok(packing_seek(packer, (PackCursor){.epoch = k == 2}, &err));
        uint64_t before = mem_count();
        packing_next(packer, ROWS, &batch, &counts);
        assert_int_equal(mem_count(), before); /* nothing is allocated on the way */
        memcpy(first[k], ids, sizeof first[k]);
        packing_free(packer);
    }
    assert_memory_not_equal(first[0], first[1], sizeof first[0]);
    assert_memory_not_equal(first[0], first[2], sizeof first[0]);
    /* the first sample of (seed 1, epoch 0), so that no run changes its data unnoticed */
    assert_int_equal(first[0][0], 1038);
}

static void long_samples_are_split(void **state)
{
    (void)state;
    Error err;
    auto_samples SampleSet set;
    sample_set_init(&set, 1 << 20);
    add(&set, 3 * T + 1, 3 * T + 1); /* three full pieces */
    add(&set, 2 * T + 2, 2 * T + 2); /* two full ones and one of two ids */
    add(&set, 4 * T, 1);             /* only the last piece has a target */
    PackOptions options = {.row_tokens = T, .too_long = PACK_SPLIT};
    Packer *packer;
    assert_ok(packing_new(&packer, &set, &options, &err));
    PackStats stats = packing_stats(packer);
    assert_int_equal(stats.pieces, 7);
    assert_int_equal(stats.split, 3);
    assert_int_equal(stats.dropped, 3);
    assert_int_equal(stats.trained, 3 * T + 2 * T + 1 + 1);
    check_epoch(packer, &set);
    packing_free(packer);
}

static void long_dialogues_are_truncated(void **state)
{
    (void)state;
    Error err;
    auto_samples SampleSet set;
    sample_set_init(&set, 1 << 20);
    add(&set, T + 40, 10);       /* 0: the prompt loses 39 on the left */
    add(&set, 2 * T, 2 * T - 5); /* 1: of 5 of prompt 4 go, the rest on the right */
    add(&set, 2 * T, 0);         /* nothing to learn: dropped */
    add(&set, 1, 1);             /* its only token has nothing before it: dropped */
    add(&set, 0, 0);             /* dropped */
    PackOptions options = {.row_tokens = T, .too_long = PACK_TRUNCATE};
    Packer *packer;
    assert_ok(packing_new(&packer, &set, &options, &err));
    PackStats stats = packing_stats(packer);
    assert_int_equal(stats.pieces, 2);
    assert_int_equal(stats.truncated, 2);
    assert_int_equal(stats.dropped, 3);
    assert_int_equal(stats.trained, 10 + T);
    for (int k = 0; k < 2; k++) {
        PackCounts counts;
        packing_next(packer, 1, &batch, &counts);
        check_row(&set, 0, NULL);
        bool is_first = ids[0] == 39;
        assert_int_equal(ids[0], is_first ? 39 : T + 40 + 4);
        assert_int_equal(counts.trained, is_first ? 10 : T);
    }
    packing_free(packer);
}

static void what_cannot_be_packed_is_refused(void **state)
{
    (void)state;
    Error err;
    Packer *packer;
    auto_samples SampleSet set;
    sample_set_init(&set, 200);
    PackOptions options = {.row_tokens = T, .too_long = PACK_REFUSE};
    assert_fails(packing_new(&packer, &set, &options, &err), ERR_INPUT, "none of 0 samples");
    add(&set, 10, 0);
    assert_fails(packing_new(&packer, &set, &options, &err), ERR_INPUT, "none of 1 samples");
    add(&set, T + 1, 1);
    assert_ok(packing_new(&packer, &set, &options, &err));
    const PackCursor wrong[] = {{0, 1, 0}, {0, 0, 1}, {UINT64_MAX, 0, 0}, {0, 0, UINT64_MAX},
                                {0, UINT64_MAX, 0}};
    for (int i = 0; i < 5; i++)
        assert_fails(packing_seek(packer, wrong[i], &err), ERR_INPUT, "has changed");
    packing_free(packer);
    add(&set, T + 2, 1);
    assert_fails(packing_new(&packer, &set, &options, &err), ERR_LIMIT, "sample 3 has 66 tokens");
    options.row_tokens = 0;
    assert_fails(packing_new(&packer, &set, &options, &err), ERR_INPUT, "must be from 1");
}

static void windows_depend_on_seed_and_row(void **state)
{
    (void)state;
    Error err;
    auto_samples SampleSet set;
    sample_set_init(&set, 1 << 20);
    for (int i = 0; i < 10; i++)
        add(&set, 30, 10);
    PackOptions options = {.row_tokens = T, .seed = 3};
    PackCounts counts;
    int32_t whole[ROWS * T];
    uint8_t offsets[300] = {0};
    for (uint64_t step = 0; step < 2000; step++) {
        assert_ok(packing_windows(&set, &options, ROWS * step, ROWS, &batch, &counts, &err));
        assert_int_equal(counts.trained, ROWS * T);
        memcpy(whole, ids, sizeof whole);
        for (int r = 0; r < ROWS; r++) {
            offsets[ids[r * T]] = 1;
            for (int t = 0; t < T; t++) {
                assert_int_equal(ids[r * T + t], ids[r * T] + t);
                assert_int_equal(targets[r * T + t], ids[r * T] + t + 1);
                assert_int_equal(positions[r * T + t], t);
                assert_int_equal(starts[r * T + t], 0);
            }
        }
        assert_ok(packing_windows(&set, &options, ROWS * step + 2, 1, &batch, &counts, &err));
        assert_memory_equal(ids, whole + 2 * T, T * sizeof *ids);
    }
    for (int i = 0; i < 300; i++)
        assert_int_equal(offsets[i], i < 300 - T);
    options.row_tokens = 300;
    assert_fails(packing_windows(&set, &options, 0, 1, &batch, &counts, &err), ERR_INPUT,
                 "no window");
}

static void failing_allocations(void **state)
{
    (void)state;
    Error err;
    const int32_t sample[] = {1, 2, 3};
    bool done = false;
    for (int n = 0; !done; n++) {
        auto_samples SampleSet set;
        sample_set_init(&set, 100);
        mem_fail_after(n);
        Packer *packer = NULL;
        PackOptions options = {.row_tokens = T};
        done = sample_set_add(&set, sample, NULL, 3, &err) &&
               packing_new(&packer, &set, &options, &err);
        mem_fail_after(-1);
        assert_true(done || err.code == ERR_MEMORY);
        packing_free(packer);
        assert_in_range(n, 0, 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_is_as_drawn),
        cmocka_unit_test(epochs_cover_everything_once),
        cmocka_unit_test(any_cursor_resumes),
        cmocka_unit_test(orders_differ_by_seed_and_epoch),
        cmocka_unit_test(long_samples_are_split),
        cmocka_unit_test(long_dialogues_are_truncated),
        cmocka_unit_test(what_cannot_be_packed_is_refused),
        cmocka_unit_test(windows_depend_on_seed_and_row),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
