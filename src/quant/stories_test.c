/* The real stories260K through every layout: the greedy text of its reference, token for token.
 * BASTIDE_SHARED names the folder of the material; without it the test is skipped, loudly. */
#include "quant/logits.h"

#include "quant/quant_fixture.h"

#include <math.h>

static char folder[64], weights[512], vectors[512];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/stories_test_XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    Error err;
    return fs_remove_tree(folder, &err) ? 0 : -1;
}

static void convert_to(const char *from, const char *to, const char *format)
{
    Error err;
    Source *s;
    ConvertResult result;
    const ConvertOptions options = {0};
    assert_ok(source_open(&s, from, &err));
    assert_ok(convert(fixture_format(format), s, to, &options, &result, &err));
    assert_true(result.exact);
    source_close(s);
}

static uint32_t best_of(const float *logits, uint32_t vocab)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocab; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

/* The first tokens of a run of the vectors, greedily, each time from the start. */
static void tells(const Model *model, const json_t *run)
{
    enum { STEPS = 60, MOST = 128 };
    Error err;
    int32_t ids[MOST];
    uint32_t count = 0, vocab = model->config.vocab;
    const json_t *prompt = json_object_get(run, "prompt_ids");
    const json_t *want = json_object_get(run, "generated");
    const json_t *reference = json_object_get(run, "logits_after_prompt");
    auto_free float *logits = mem_alloc(vocab, sizeof *logits);
    for (; count < json_array_size(prompt); count++)
        ids[count] = (int32_t)json_integer_value(json_array_get(prompt, count));
    for (uint32_t i = 0; i < STEPS && i < json_array_size(want); i++) {
        assert_ok(model_logits(model, ids, count, 1, logits, &err));
        for (uint32_t v = 0; i == 0 && v < vocab; v++)
            assert_near((double)logits[v], json_number_value(json_array_get(reference, v)), 5e-5);
        ids[count++] = (int32_t)best_of(logits, vocab);
        assert_int_equal(ids[count - 1], json_integer_value(json_array_get(want, i)));
    }
}

static void every_layout_tells_the_same_story(void **state)
{
    (void)state;
    static const char *const ways[] = {"hf", "mistral", "gguf"};
    Error err;
    auto_json json_t *file = NULL;
    assert_ok(json_read(&file, vectors, 64 << 20, &err));
    const json_t *runs = json_object_get(json_object_get(file, "stories260K"), "runs");
    assert_true(json_array_size(runs) > 1);
    for (int i = 0; i < 3; i++) {
        char there[128], back[128];
        Model *model;
        snprintf(there, sizeof there, "%s/there-%s", folder, ways[i]);
        snprintf(back, sizeof back, "%s/back-%s", folder, ways[i]);
        convert_to(weights, there, ways[i]);
        convert_to(there, back, "hf");
        assert_ok(model_load(&model, back, &err));
        for (size_t r = 0; r < json_array_size(runs); r++)
            tells(model, json_array_get(runs, r));
        model_free(model);
    }
}

int main(void)
{
    const char *shared = getenv("BASTIDE_SHARED");
    snprintf(weights, sizeof weights, "%s/material/weights/stories260K/stories260K.bin",
             shared ? shared : "");
    snprintf(vectors, sizeof vectors, "%s/material/vectors/llama2c_greedy.json",
             shared ? shared : "");
    if (!fs_exists(weights) || !fs_exists(vectors)) {
        printf("stories: SKIPPED: BASTIDE_SHARED must name a folder with %s\n",
               "material/weights/stories260K and material/vectors");
        return 77;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_layout_tells_the_same_story)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
