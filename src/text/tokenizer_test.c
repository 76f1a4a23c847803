#include "base/fs.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/test.h"
#include "format/json.h"
#include "text/text_fixture.h"
#include "text/tokenizer_model.h"

static Tokenizer *make(uint32_t vocab)
{
    Error err;
    Tokenizer *t = NULL;
    assert_ok(fixture_tokenizer(&t, vocab, 1, &err));
    return t;
}

static size_t random_bytes(RngKey key, uint64_t *counter, char *out, size_t room)
{
    size_t size = rng_below(key, (*counter)++, room + 1);
    uint64_t kind = rng_below(key, (*counter)++, 4);
    const char *words = "the that thethethat cat committee sat at";
    for (size_t i = 0; i < size; i++) {
        uint64_t r = rng_u64(key, (*counter)++);
        out[i] = kind == 0 ? (char)r : kind == 1 ? "abth e"[r % 6] : words[(i + r % 2) % 40];
    }
    return size;
}

static void any_bytes_come_back(void **state)
{
    (void)state;
    Error err;
    Tokenizer *t = make(400);
    RngKey key = rng_key(1, "round trip");
    uint64_t counter = 0;
    for (int round = 0; round < 2000; round++) {
        char text[300];
        size_t size = random_bytes(key, &counter, text, sizeof text);
        auto_tokens Tokens ids;
        auto_buf Buf back;
        tokens_init(&ids, 1000);
        buf_init(&back, 1000);
        assert_ok(tokenizer_encode(t, text, size, &ids, &err));
        assert_ok(tokenizer_decode(t, ids.ids, ids.count, false, &back, &err));
        assert_int_equal(back.size, size);
        assert_true(size == 0 || !memcmp(back.data, text, size));
    }
    tokenizer_free(t);
}

/* The rule as it is written: of all pairs the lowest rank, leftmost first, until none is left. */
static size_t merge_by_the_rule(const Tokenizer *t, int32_t *ids, size_t count)
{
    for (;;) {
        uint32_t best_rank = NO_RANK;
        size_t best = 0;
        int32_t result = -1;
        for (size_t i = 0; i + 1 < count; i++) {
            for (uint32_t rank = 0; rank < t->merge_count && rank < best_rank; rank++) {
                if (t->merges[rank].left == ids[i] && t->merges[rank].right == ids[i + 1]) {
                    best_rank = rank;
                    best = i;
                    result = t->merges[rank].result;
                }
            }
        }
        if (best_rank == NO_RANK)
            return count;
        ids[best] = result;
        memmove(ids + best + 1, ids + best + 2, (count - best - 2) * sizeof *ids);
        count--;
    }
}

static void short_and_long_words_follow_the_rule(void **state)
{
    (void)state;
    Error err;
    Tokenizer *t = make(380);
    RngKey key = rng_key(2, "merge");
    uint64_t counter = 0;
    const char *alphabet = "theatcsoin";
    for (int round = 0; round < 400; round++) {
        char text[200];
        int32_t want[200];
        size_t size = 1 + rng_below(key, counter++, sizeof text);
        for (size_t i = 0; i < size; i++) {
            text[i] = alphabet[rng_below(key, counter++, 10)];
            want[i] = t->byte_id[(uint8_t)text[i]];
        }
        size_t want_count = merge_by_the_rule(t, want, size);
        for (int again = 0; again < 2; again++) { /* the second time from the cache */
            auto_tokens Tokens ids;
            tokens_init(&ids, 1000);
            assert_ok(tokenizer_encode(t, text, size, &ids, &err));
            assert_int_equal(ids.count, want_count);
            assert_memory_equal(ids.ids, want, want_count * sizeof *want);
        }
    }
    tokenizer_free(t);
}

static void a_long_word_is_fast_and_whole(void **state)
{
    (void)state;
    Error err;
    Tokenizer *t = make(400);
    size_t size = 1 << 20;
    char *text = mem_alloc(size, 1);
    memset(text, 'a', size);
    for (size_t i = 0; i < size; i += 3)
        text[i] = 't';
    auto_tokens Tokens ids;
    auto_buf Buf back;
    tokens_init(&ids, size);
    buf_init(&back, size);
    assert_ok(tokenizer_encode(t, text, size, &ids, &err));
    assert_ok(tokenizer_decode(t, ids.ids, ids.count, false, &back, &err));
    assert_int_equal(back.size, size);
    assert_memory_equal(back.data, text, size);
    mem_free(text);
    tokenizer_free(t);
}

static void specials_never_come_from_text(void **state)
{
    (void)state;
    Error err;
    Tokenizer *t = make(300);
    auto_tokens Tokens ids;
    tokens_init(&ids, 1000);
    const char *text = "a<|end|><|endoftext|>";
    assert_ok(tokenizer_encode(t, text, strlen(text), &ids, &err));
    for (size_t i = 0; i < ids.count; i++)
        assert_false(tokenizer_is_special(t, ids.ids[i]));
    int32_t end;
    assert_true(tokenizer_special(t, "<|end|>", &end));
    assert_int_equal(end, 4);
    assert_false(tokenizer_special(t, "<|END|>", &end));
    auto_buf Buf out;
    buf_init(&out, 100);
    int32_t mixed[] = {end, ids.ids[0], end};
    assert_ok(tokenizer_decode(t, mixed, 3, false, &out, &err));
    assert_string_equal(out.data, "a");
    assert_ok(tokenizer_decode(t, mixed, 3, true, &out, &err));
    assert_string_equal(out.data, "a<|end|>a<|end|>");
    int32_t wrong[] = {ids.ids[0], 99999};
    assert_fails(tokenizer_decode(t, wrong, 2, true, &out, &err), ERR_INPUT, "id 99999 at place 1");
    assert_string_equal(out.data, "a<|end|>a<|end|>");
    tokenizer_free(t);
}

static void limits_leave_the_list_as_it_was(void **state)
{
    (void)state;
    Error err;
    Tokenizer *t = make(300);
    auto_tokens Tokens ids;
    tokens_init(&ids, 5);
    assert_ok(tokenizer_encode(t, "q w", 3, &ids, &err));
    size_t before = ids.count;
    assert_fails(tokenizer_encode(t, "x y z x y z", 11, &ids, &err), ERR_LIMIT, "tokens");
    assert_int_equal(ids.count, before);
    assert_ok(tokenizer_encode(t, "x", 1, &ids, &err));
    tokenizer_free(t);
}

static void training_does_not_depend_on_threads(void **state)
{
    (void)state;
    Error err;
    Tokenizer *one = make(450), *three = NULL;
    assert_ok(fixture_tokenizer(&three, 450, 3, &err));
    assert_int_equal(tokenizer_vocab(one), tokenizer_vocab(three));
    assert_int_equal(one->merge_count, three->merge_count);
    assert_memory_equal(one->merges, three->merges, one->merge_count * sizeof *one->merges);
    tokenizer_free(one);
    tokenizer_free(three);
}

static void few_words_give_few_merges(void **state)
{
    (void)state;
    Error err;
    Tokenizer *t = NULL;
    assert_ok(fixture_tokenizer(&t, 100000, 1, &err));
    assert_true(tokenizer_vocab(t) < 1000);
    tokenizer_free(t);
    TokenizerTraining options = {.vocab = 300};
    assert_ok(tokenizer_train(&t, &options, 0, fixture_each, NULL, &err));
    assert_int_equal(tokenizer_vocab(t), 256);
    tokenizer_free(t);
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    static const char *const twice[] = {"<|a|>", "<|a|>"}, *const byte[] = {"a"},
                            *const bad[] = {"\xff"};
    const struct {
        TokenizerTraining options;
        const char *words;
    } cases[] = {
        {{.vocab = 255}, "256"},
        {{.vocab = TOKENIZER_VOCAB_MAX + 1}, "outside"},
        {{.vocab = 300, .special = twice, .special_count = 2}, "twice"},
        {{.vocab = 300, .special = byte, .special_count = 1}, "name of a byte"},
        {{.vocab = 300, .special = bad, .special_count = 1}, "UTF-8"},
        {{.vocab = 300, .token_bytes_max = 1 << 16}, "the most"},
    };
    Error err;
    Tokenizer *t = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_fails(tokenizer_train(&t, &cases[i].options, FIXTURE_TEXTS, fixture_each, NULL,
                                     &err), ERR_INPUT, cases[i].words);
}

static void marker_each(void *user, size_t i, const char **text, size_t *size)
{
    (void)user;
    (void)i;
    *text = "wordword wordword wordword";
    *size = strlen(*text);
}

/* A special token that could be learned as a merge stays special alone. */
static void a_merge_never_spells_a_special(void **state)
{
    (void)state;
    static const char *const special[] = {"word"};
    Error err;
    Tokenizer *t = NULL;
    TokenizerTraining options = {.vocab = 300, .special = special, .special_count = 1};
    assert_ok(tokenizer_train(&t, &options, 1, marker_each, NULL, &err));
    auto_tokens Tokens ids;
    tokens_init(&ids, 100);
    assert_ok(tokenizer_encode(t, "word", 4, &ids, &err));
    assert_true(ids.count > 1);
    assert_int_equal(tokenizer_token_of(t, (const uint8_t *)"word", 4), -1);
    tokenizer_free(t);
}

/* One long document and short ones: the ids of encode_many are those of encode, on any threads. */
typedef struct {
    char *text;
    size_t size;
} Long;

static void long_each(void *user, size_t i, const char **text, size_t *size)
{
    const Long *d = user;
    *text = i == 1 ? d->text : i == 2 ? "" : "the cat";
    *size = i == 1 ? d->size : strlen(*text);
}

static void many_documents_in_parallel(void **state)
{
    (void)state;
    Error err;
    Tokenizer *t = make(400);
    Long d = {.size = 700000};
    d.text = mem_alloc(d.size, 1);
    for (size_t i = 0; i < d.size; i++)
        d.text[i] = fixture_texts[i / 7 % 4][i % strlen(fixture_texts[i / 7 % 4])];
    auto_tokens Tokens want;
    tokens_init(&want, 1 << 22);
    size_t want_offsets[5] = {0}, offsets[5];
    for (size_t i = 0; i < 4; i++) {
        const char *text;
        size_t size;
        long_each(&d, i, &text, &size);
        assert_ok(tokenizer_encode(t, text, size, &want, &err));
        want_offsets[i + 1] = want.count;
    }
    for (uint32_t threads = 0; threads <= 3; threads++) {
        Pool *pool = NULL;
        if (threads)
            assert_ok(pool_new(&pool, threads, &err));
        auto_tokens Tokens out;
        tokens_init(&out, 1 << 22);
        assert_ok(tokenizer_encode_many(t, pool, 4, long_each, &d, &out, offsets, &err));
        assert_int_equal(out.count, want.count);
        assert_memory_equal(out.ids, want.ids, want.count * sizeof *want.ids);
        assert_memory_equal(offsets, want_offsets, sizeof offsets);
        tokens_done(&out);
        tokens_init(&out, 1000);
        assert_fails(tokenizer_encode_many(t, pool, 4, long_each, &d, &out, offsets, &err),
                     ERR_LIMIT, "document 1");
        assert_int_equal(out.count, 0);
        pool_free(pool);
    }
    mem_free(d.text);
    tokenizer_free(t);
}

static const char folder[] = "tokenizer_test_tmp", path[] = "tokenizer_test_tmp/tokenizer.json";

static bool train_and_save(Error *err)
{
    Tokenizer *t = NULL;
    bool done = fixture_tokenizer(&t, 300, 1, err) && tokenizer_save(t, path, err);
    tokenizer_free(t);
    return done;
}

static bool load_and_encode(Error *err)
{
    Tokenizer *t = NULL;
    auto_tokens Tokens ids;
    auto_buf Buf text;
    tokens_init(&ids, 10000);
    buf_init(&text, 10000);
    char word[100];
    memset(word, 'e', sizeof word);
    bool done = tokenizer_load(&t, path, err) &&
                tokenizer_encode(t, word, sizeof word, &ids, err) &&
                tokenizer_encode(t, fixture_texts[2], strlen(fixture_texts[2]), &ids, err) &&
                tokenizer_decode(t, ids.ids, ids.count, true, &text, err);
    tokenizer_free(t);
    return done;
}

/* Runs `way` with each allocation from the first-th failing, until all were met. */
static void fail_each_allocation(bool (*way)(Error *err), uint64_t first)
{
    Error err;
    uint64_t before = mem_count();
    assert_ok(way(&err));
    uint64_t total = mem_count() - before, failures = 0;
    assert_true(total > first);
    for (uint64_t n = first; n < total; n++) {
        err = (Error){0};
        mem_fail_after((int64_t)n);
        bool done = way(&err);
        mem_fail_after(-1);
        failures += !done;
        if (!done && err.code != ERR_MEMORY && err.code != ERR_LIMIT)
            fail_test("allocation %d: code %d '%s'", (int)n, (int)err.code, err.text);
    }
    assert_true(failures > 0);
}

/* The parser of JSON has its own such test: loading starts to fail after it. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    Error err;
    assert_ok(fs_make_dirs(folder, &err));
    fail_each_allocation(train_and_save, 0);
    assert_ok(train_and_save(&err));
    uint64_t before = mem_count();
    json_t *root = NULL;
    assert_ok(json_read(&root, path, 1 << 20, &err));
    uint64_t reading = mem_count() - before;
    json_decref(root);
    fail_each_allocation(load_and_encode, reading);
    assert_ok(fs_remove_tree(folder, &err));
}

static void every_file_call_may_fail(void **state)
{
    (void)state;
    Error err;
    assert_ok(fs_make_dirs(folder, &err));
    for (int64_t n = 0; n < 12; n++) {
        fs_fail_after(n, 5);
        bool done = train_and_save(&err) && load_and_encode(&err);
        fs_fail_after(-1, 0);
        assert_true(done || err.code == ERR_IO);
    }
    assert_ok(fs_remove_tree(folder, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(short_and_long_words_follow_the_rule),
        cmocka_unit_test(a_long_word_is_fast_and_whole),
        cmocka_unit_test(specials_never_come_from_text),
        cmocka_unit_test(limits_leave_the_list_as_it_was),
        cmocka_unit_test(training_does_not_depend_on_threads),
        cmocka_unit_test(few_words_give_few_merges),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(a_merge_never_spells_a_special),
        cmocka_unit_test(many_documents_in_parallel),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(every_file_call_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
