/* choices_test.c: candidates as a tree, and their probabilities against each candidate scored by
 * itself token by token. */
#include "infer/choices.h"

#include "infer/engine_test.h"

#include <math.h>

enum { LABELS = 8, PROMPTS = 13 };

static const char *const labels[LABELS] = {"net",        "network", "admin", "administration",
                                           "net kernel", "web",     "\xc3\xa9",
                                           "the cat sat on the mat and the bat sang to the rat 12"};

/* Ids of a candidate's leaf path. */
static uint32_t path_of(const ChoiceSet *set, uint32_t candidate, int32_t *path)
{
    for (uint32_t n = 1; n < set->node_count; n++) {
        if (set->nodes[n].children || set->nodes[n].candidate != candidate)
            continue;
        uint32_t depth = set->nodes[n].depth;
        for (uint32_t at = depth; n; n = set->nodes[n].parent)
            path[--at] = set->nodes[n].id;
        return depth;
    }
    fail_test("candidate %u is not in the tree", candidate);
    return 0;
}

/* A candidate alone: at each of its tokens the softmax over the tokens that candidates with the
 * same beginning go on with. */
static double score(Engine *engine, const ChoiceSet *set, const int32_t *prompt, uint32_t length,
                    uint32_t candidate)
{
    Error err;
    static int32_t paths[LABELS][CHOICE_TOKENS_MAX];
    uint32_t depths[LABELS];
    double product = 1;
    const float *logits;
    for (uint32_t c = 0; c < set->count; c++)
        depths[c] = path_of(set, c, paths[c]);
    for (uint32_t i = 0; i < length + depths[candidate] - 1; i++) {
        int32_t id = i < length ? prompt[i] : paths[candidate][i - length];
        StepEntry entry = {0, (int32_t)i, id, true};
        assert_ok(stepper_run(engine->stepper, &entry, 1, &logits, &err));
        if (i + 1 < length)
            continue;
        uint32_t at = i + 1 - length;
        double total = 0;
        for (uint32_t c = 0; c < set->count; c++) {
            if (depths[c] <= at || memcmp(paths[c], paths[candidate], at * 4) != 0)
                continue;
            bool first = true; /* each token once */
            for (uint32_t d = 0; d < c; d++)
                first = first && !(depths[d] > at && paths[d][at] == paths[c][at] &&
                                   memcmp(paths[d], paths[candidate], at * 4) == 0);
            total += first ? exp((double)logits[paths[c][at]]) : 0;
        }
        product *= exp((double)logits[paths[candidate][at]]) / total;
    }
    return product;
}

static void probabilities_are_those_of_each_alone(void **state)
{
    (void)state;
    Error err;
    static const EngineOptions ways[] = {{.sequences_max = 1, .batch_tokens = 1},
                                         {.sequences_max = 2, .batch_tokens = 3},
                                         {.sequences_max = 4, .batch_tokens = 64, .threads = 2},
                                         {.sequences_max = 16, .batch_tokens = 17},
                                         {.weights = "q8_0"}};
    int32_t ids[PROMPTS * 64];
    uint32_t lengths[PROMPTS], total = 0;
    double first[PROMPTS * LABELS], p[PROMPTS * LABELS];
    for (uint32_t i = 0; i < PROMPTS; i++)
        total += lengths[i] = fixture_prompt(i, ids + total);
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        Engine *engine = fixture_open(ways[w], (EngineEvents){0});
        ChoiceSet *set;
        assert_ok(choices_new(&set, engine, labels, LABELS, &err));
        assert_ok(engine_choose(engine, set, ids, lengths, PROMPTS, p, &err));
        uint32_t at = 0;
        for (uint32_t i = 0; i < PROMPTS; at += lengths[i++]) {
            double sum = 0;
            for (uint32_t c = 0; c < LABELS; c++) {
                sum += p[i * LABELS + c];
                assert_near(p[i * LABELS + c], score(engine, set, ids + at, lengths[i], c), 2e-4);
            }
            assert_near(sum, 1, 1e-9);
        }
        if (w == 0)
            memcpy(first, p, sizeof p);
        else if (!ways[w].weights)
            assert_memory_equal(first, p, sizeof p); /* batches and threads do not show */
        choices_free(set);
        engine_close(engine);
    }
}

static void one_candidate_is_certain(void **state)
{
    (void)state;
    Error err;
    Engine *engine = fixture_open((EngineOptions){0}, (EngineEvents){0});
    ChoiceSet *set;
    int32_t ids[64];
    uint32_t length = fixture_prompt(3, ids);
    double p = 0;
    assert_ok(choices_new(&set, engine, labels, 1, &err));
    assert_ok(engine_choose(engine, set, ids, &length, 1, &p, &err));
    assert_near(p, 1, 0);
    choices_free(set);
    engine_close(engine);
}

static void wrong_sets_and_prompts_are_refused(void **state)
{
    (void)state;
    Error err;
    Engine *engine = fixture_open((EngineOptions){0}, (EngineEvents){0});
    ChoiceSet *set;
    static char wide[CHOICE_TOKENS_MAX + 8];
    memset(wide, '~', sizeof wide - 1);
    const char *texts[] = {"net", "web", "net", wide};
    assert_fails(choices_new(&set, engine, texts, 0, &err), ERR_INPUT, "0 candidates");
    assert_fails(choices_new(&set, engine, texts, CHOICES_MAX + 1, &err), ERR_INPUT, "4097");
    assert_fails(choices_new(&set, engine, texts, 3, &err), ERR_INPUT, "same text, 'net'");
    assert_fails(choices_new(&set, engine, texts + 3, 1, &err), ERR_LIMIT, "over 256 tokens");
    assert_ok(choices_new(&set, engine, labels, LABELS, &err));
    int32_t ids[FIXTURE_CONTEXT] = {0};
    uint32_t lengths[] = {1, FIXTURE_CONTEXT};
    double p[2 * LABELS];
    assert_fails(engine_choose(engine, set, ids, lengths, 2, p, &err), ERR_LIMIT,
                 "prompt 1 has 150 tokens");
    EngineRequest request = {.prompt = ids, .prompt_count = 1};
    uint64_t handle;
    assert_ok(engine_submit(engine, &request, &handle, &err));
    assert_fails(engine_choose(engine, set, ids, lengths, 1, p, &err), ERR_CONFLICT, "answering");
    choices_free(set);
    engine_close(engine);
}

static void failing_allocations_are_errors(void **state)
{
    (void)state;
    Engine *engine = fixture_open((EngineOptions){0}, (EngineEvents){0});
    int32_t ids[64];
    uint32_t length = fixture_prompt(1, ids);
    double p[LABELS];
    for (int64_t n = 0, done = 0; !done; n++) {
        Error err = {0};
        ChoiceSet *set = NULL;
        mem_fail_after(n);
        done = choices_new(&set, engine, labels, LABELS, &err) &&
               engine_choose(engine, set, ids, &length, 1, p, &err);
        mem_fail_after(-1);
        choices_free(set);
        if (!done && err.code != ERR_MEMORY && err.code != ERR_LIMIT) /* encoding cannot tell */
            fail_test("allocation %lld: code %d, %s", (long long)n, (int)err.code, err.text);
    }
    engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probabilities_are_those_of_each_alone),
        cmocka_unit_test(one_candidate_is_certain),
        cmocka_unit_test(wrong_sets_and_prompts_are_refused),
        cmocka_unit_test(failing_allocations_are_errors),
    };
    return cmocka_run_group_tests(tests, fixture_make, fixture_drop);
}
