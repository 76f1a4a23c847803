#include "base/test.h"

#include "quant/rope_rules.h"

#include <math.h>

static void read(Rope *out, const char *text)
{
    Error err;
    auto_json json_t *config = NULL;
    assert_ok(json_parse(&config, text, strlen(text), "config.json", &err));
    assert_ok(rope_read(out, config, "config.json", &err));
}

static void refused(const char *text, const char *words)
{
    Error err;
    Rope rope;
    auto_json json_t *config = NULL;
    assert_ok(json_parse(&config, text, strlen(text), "config.json", &err));
    assert_fails(rope_read(&rope, config, "config.json", &err), ERR_FORMAT, words);
}

static void old_and_new_keys_mean_the_same(void **state)
{
    (void)state;
    Rope old, new;
    read(&old, "{\"rope_theta\":5e5,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":16,\"mscale\":1,"
               "\"mscale_all_dim\":1,\"original_max_position_embeddings\":16384}}");
    read(&new, "{\"rope_parameters\":{\"rope_type\":\"yarn\",\"rope_theta\":5e5,\"factor\":16,"
               "\"mscale\":1,\"mscale_all_dim\":1,\"original_max_position_embeddings\":16384}}");
    assert_memory_equal(&old, &new, sizeof old);
    assert_int_equal(old.kind, ROPE_YARN);
    assert_near(old.beta_fast, 32, 0);
    read(&old, "{}");
    assert_int_equal(old.kind, ROPE_DEFAULT);
    assert_near(old.theta, 10000, 0);
}

static void what_is_written_reads_back(void **state)
{
    (void)state;
    static const Rope rules[] = {
        {.kind = ROPE_DEFAULT, .theta = 1e6, .factor = 1},
        {.kind = ROPE_LINEAR, .theta = 1e4, .factor = 4},
        {.kind = ROPE_YARN, .theta = 1e6, .factor = 16, .beta_fast = 32, .beta_slow = 1, .mscale = 1,
         .mscale_all_dim = 1, .llama_4_beta = 0.1, .original = 16384},
        {.kind = ROPE_LLAMA3, .theta = 5e5, .factor = 8, .low_freq_factor = 1,
         .high_freq_factor = 4, .original = 8192},
    };
    Error err;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        Rope back;
        auto_json json_t *config = json_object();
        assert_true(rope_write(&rules[i], config));
        assert_ok(rope_read(&back, config, "config.json", &err));
        assert_memory_equal(&back, &rules[i], sizeof back);
    }
}

/* Llama 3.1 8B: transformers' inv_freq over the plain one, at the places named. */
static void divisors_are_those_of_llama_3(void **state)
{
    (void)state;
    float divisors[64];
    Rope rope = {.kind = ROPE_LLAMA3, .theta = 5e5, .factor = 8, .low_freq_factor = 1,
                 .high_freq_factor = 4, .original = 8192}, back = {.theta = 5e5};
    rope_llama3_divisors(&rope, 64, divisors);
    assert_near((double)divisors[0], 1, 0);
    assert_near((double)divisors[63], 8, 1e-6);
    for (int i = 1; i < 64; i++)
        assert_true(divisors[i] >= divisors[i - 1]);
    double wave = 2 * M_PI * pow(5e5, 32 / 64.0), blend = (8192 / wave - 1) / 3;
    assert_near((double)divisors[32], 1 / ((1 - blend) / 8 + blend), 1e-5);
    assert_true(rope_llama3_of_divisors(&back, divisors, 64));
    assert_memory_equal(&back, &rope, sizeof back);
    divisors[30] *= 1.1f;
    assert_false(rope_llama3_of_divisors(&back, divisors, 64));
}

static void wrong_rules_are_named(void **state)
{
    (void)state;
    refused("{\"rope_scaling\":{\"type\":\"ntk\",\"factor\":2}}", "rope_type 'ntk'");
    refused("{\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2}}", "original_max_position");
    refused("{\"rope_scaling\":{\"type\":\"linear\",\"factor\":-2}}", "factor");
    refused("{\"rope_theta\":0}", "rope_theta");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_and_new_keys_mean_the_same),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(divisors_are_those_of_llama_3),
        cmocka_unit_test(wrong_rules_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
