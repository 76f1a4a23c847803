/* lessons_test.c: what reaches training and what does not; see lessons.h. */
#include "forge/lessons.h"

#include "base/test.h"

enum { RECORDS = 400, LINES = 5 };

static Dataset *dataset;
static Tokenizer *tokenizer;
static const ChatTemplate *chat;

/* Words of held-out records are made of a letter that no training record has. */
static int make_dataset(void **state)
{
    (void)state;
    Error err;
    auto_buf Buf text;
    chat = chat_template_default();
    buf_init(&text, 1 << 20);
    for (int i = 0; i < RECORDS; i++) {
        buf_format(&text, "{\"text\": \"record %d says something\", \"label\": \"%s\", \"context\": \"", i,
                   i % 2 ? "odd" : "even");
        for (int line = 0; line < LINES; line++)
            buf_format(&text, "%sline %d is here", line ? "\\n" : "", line);
        buf_format(&text, "\", \"messages\": [{\"role\": \"user\", \"content\": \"ask %d\"}, {\"role\": "
                          "\"assistant\", \"content\": \"told %d\"}]}\n", i, i);
    }
    if (!dataset_parse(&dataset, text.data, text.size, "lessons", 1, &err))
        return -1;
    for (size_t i = 0; i < dataset->count; i++) {
        Record *r = &dataset->records[i];
        if (r->split == SPLIT_TRAIN)
            continue;
        r->text = "ZZZZZZZZ ZZZZZZZZ";
        r->context = "ZZZZ\nZZZZZZZZ";
        r->messages[0].content = r->messages[1].content = "ZZZZ";
        r->messages[0].size = r->messages[1].size = 4;
    }
    return lessons_tokenizer(&tokenizer, dataset, chat, 420, 1, &err) ? 0 : -1;
}

static int drop_dataset(void **state)
{
    (void)state;
    tokenizer_free(tokenizer);
    dataset_free(dataset);
    return 0;
}

/* Ids of tokens [from, to) of a set; only those that are trained, when asked. Returns how many. */
static size_t ids_of(const SampleSet *set, uint64_t from, uint64_t to, bool trained, int32_t *out)
{
    size_t count = 0;
    for (uint64_t k = from; k < to; k++)
        if (!trained || set->tokens[k] & SAMPLE_TRAINED)
            out[count++] = (int32_t)(set->tokens[k] & ~(uint32_t)SAMPLE_TRAINED);
    return count;
}

static void decode(const int32_t *ids, size_t count, Buf *out)
{
    Error err;
    buf_init(out, 1 << 24);
    assert_ok(tokenizer_decode(tokenizer, ids, count, true, out, &err));
}

static void held_out_records_do_not_reach_the_tokenizer(void **state)
{
    (void)state;
    bool merged = false;
    for (uint32_t id = 0; id < tokenizer_vocab(tokenizer); id++) {
        size_t size;
        const char *bytes = tokenizer_bytes(tokenizer, (int32_t)id, &size);
        assert_false(bytes && size > 1 && memchr(bytes, 'Z', size));
        merged = merged || (bytes && size > 3 && memmem(bytes, size, "line", 4));
    }
    assert_true(merged);
}

static void held_out_records_do_not_reach_training(void **state)
{
    (void)state;
    Error err;
    size_t counts[SPLIT_COUNT];
    LessonOptions options = {.copies = 2, .omit = 0.3, .every_text = 1, .seed = 4};
    dataset_count_splits(dataset, counts);
    for (int plain = 0; plain < 2; plain++) {
        SampleSet set;
        auto_buf Buf text;
        if (plain)
            assert_ok(lessons_pretrain(&set, dataset, SPLIT_TRAIN, tokenizer, chat, NULL, &err));
        else
            assert_ok(lessons_finetune(&set, dataset, SPLIT_TRAIN, tokenizer, chat, &options, &err));
        assert_int_equal(set.count, counts[SPLIT_TRAIN] * (plain ? 1 : 3));
        auto_free int32_t *ids = mem_alloc(set.used, sizeof *ids);
        decode(ids, ids_of(&set, 0, set.used, false, ids), &text);
        assert_non_null(strstr(text.data, "something"));
        assert_null(strchr(text.data, 'Z'));
        sample_set_done(&set);
    }
}

/* The share of lines that a copy leaves out is that asked for; the copies of a record differ. */
static void lines_are_left_out_by_the_share(void **state)
{
    (void)state;
    Error err;
    size_t counts[SPLIT_COUNT];
    dataset_count_splits(dataset, counts);
    for (int tenth = 0; tenth < 10; tenth += 3) {
        SampleSet set;
        auto_buf Buf text;
        LessonOptions options = {.copies = 6, .omit = tenth / 10.0, .seed = 4};
        assert_ok(lessons_finetune(&set, dataset, SPLIT_TRAIN, tokenizer, chat, &options, &err));
        auto_free int32_t *ids = mem_alloc(set.used, sizeof *ids);
        decode(ids, ids_of(&set, 0, set.used, false, ids), &text);
        double lines = 0, all = (double)counts[SPLIT_TRAIN] * 6 * LINES;
        for (const char *at = text.data; (at = strstr(at, "is here")); at++)
            lines++;
        assert_near(1 - lines / all, tenth / 10.0, tenth ? 0.03 : 0);
        sample_set_done(&set);
    }
}

static void what_is_trained_is_the_label_and_the_end(void **state)
{
    (void)state;
    Error err;
    SampleSet set;
    int32_t end;
    LessonOptions options = {.copies = 1, .seed = 4};
    assert_true(tokenizer_special(tokenizer, chat->end_marker, &end));
    assert_ok(lessons_finetune(&set, dataset, SPLIT_TRAIN, tokenizer, chat, &options, &err));
    size_t record = 0;
    for (size_t i = 0; i < set.count; i++, record++) {
        while (dataset->records[record].split != SPLIT_TRAIN)
            record++;
        int32_t trained[256];
        assert_true(set.starts[i + 1] - set.starts[i] < 256);
        size_t count = ids_of(&set, set.starts[i], set.starts[i + 1], true, trained);
        auto_buf Buf text;
        assert_true(count > 1 && trained[count - 1] == end);
        decode(trained, count - 1, &text);
        assert_string_equal(text.data, dataset->records[record].label);
    }
    sample_set_done(&set);
}

/* What the model is asked later is what it has learned from, and ends where the answer begins. */
static void a_question_is_cut_at_the_limit(void **state)
{
    (void)state;
    Error err;
    char wide[6000];
    Record record = {.text = "short", .context = "one\ntwo", .group = "", .id = ""};
    auto_tokens Tokens ids;
    tokens_init(&ids, 1 << 20);
    tokens_add(&ids, 7);
    assert_ok(lessons_question(&record, tokenizer, chat, 200, &ids, &err));
    auto_buf Buf text;
    decode(ids.ids + 1, ids.count - 1, &text);
    assert_string_equal(text.data, "<|user|>\nshort\none\ntwo<|end|>\n<|assistant|>\n");
    for (size_t i = 0; i + 3 < sizeof wide; i += 3)
        memcpy(wide + i, "\xe6\x97\xa5", 4);
    record.text = wide;
    for (uint32_t limit = 20; limit < 300; limit += 13) {
        ids.count = 1;
        assert_ok(lessons_question(&record, tokenizer, chat, limit, &ids, &err));
        assert_true(ids.count - 1 <= limit);
        assert_true(ids.count - 1 > limit / 2);
        assert_int_equal(ids.ids[0], 7);
        auto_buf Buf cut;
        decode(ids.ids + 1, ids.count - 1, &cut);
        const char *at = strstr(cut.data, "<|end|>");
        assert_non_null(at);
        assert_int_equal((at - cut.data - 9) % 3, 0); /* whole characters */
    }
}

static void the_same_seed_gives_the_same_lessons(void **state)
{
    (void)state;
    Error err;
    SampleSet set[3];
    for (int i = 0; i < 3; i++) {
        LessonOptions options = {.copies = 2, .omit = 0.4, .every_text = 3, .seed = i == 2 ? 9 : 4};
        assert_ok(lessons_finetune(&set[i], dataset, SPLIT_TRAIN, tokenizer, chat, &options, &err));
    }
    uint64_t total = set[0].used;
    assert_int_equal(set[1].used, total);
    assert_memory_equal(set[0].tokens, set[1].tokens, total * sizeof(uint32_t));
    assert_true(set[2].used != total ||
                memcmp(set[0].tokens, set[2].tokens, total * sizeof(uint32_t)) != 0);
    for (int i = 0; i < 3; i++)
        sample_set_done(&set[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_out_records_do_not_reach_the_tokenizer),
        cmocka_unit_test(held_out_records_do_not_reach_training),
        cmocka_unit_test(lines_are_left_out_by_the_share),
        cmocka_unit_test(what_is_trained_is_the_label_and_the_end),
        cmocka_unit_test(a_question_is_cut_at_the_limit),
        cmocka_unit_test(the_same_seed_gives_the_same_lessons),
    };
    return cmocka_run_group_tests(tests, make_dataset, drop_dataset);
}
