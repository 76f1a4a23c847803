/* adapter_config.c: see adapter_config.h. The keys of rank_pattern and alpha_pattern are regular
 * expressions that must match the end of a module's name, from a dot on; they run in PCRE2 with a
 * limit of steps. */
#include "quant/adapter_config.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <math.h>
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

enum { CONFIG_BYTES_MAX = 4 << 20, RANK_MAX = 4096, MATCH_STEPS = 100000, PATTERN_BYTES_MAX = 256,
       PATTERNS_MAX = 4096 };

static const char file_name[] = "adapter_config.json";

/* What would change the weights in a way that is not supported must have its neutral value. */
static bool check_neutral(const json_t *object, Error *err)
{
    static const char *const absent[] = {
        "target_parameters", "layer_replication", "trainable_token_indices", "use_qalora",
        "use_bdlora", "kasa_config", "velora_config", "monteclora_config", "arrow_config",
        "alora_invocation_tokens", "megatron_config"};
    const char *kind, *bias;
    bool transposed, with_bias;
    if (!json_get_text(object, "peft_type", "", &kind, file_name, err) ||
        !json_get_text(object, "bias", "none", &bias, file_name, err) ||
        !json_get_bool(object, "fan_in_fan_out", false, &transposed, file_name, err) ||
        !json_get_bool(object, "lora_bias", false, &with_bias, file_name, err))
        return false;
    if (strcmp(kind, "LORA") != 0)
        return fail(err, ERR_INPUT, "%s: peft_type '%.40s' is not supported, only LORA", file_name,
                    kind);
    if (strcmp(bias, "none") != 0 || with_bias)
        return fail(err, ERR_INPUT, "%s: key 'bias' or 'lora_bias': biases are not supported",
                    file_name);
    if (transposed)
        return fail(err, ERR_INPUT, "%s: key 'fan_in_fan_out': transposed weights are not "
                                    "supported", file_name);
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        const json_t *value = json_object_get(object, absent[i]);
        bool empty = !value || json_is_null(value) || json_is_false(value) ||
                     (json_is_array(value) && json_array_size(value) == 0) ||
                     (json_is_object(value) && json_object_size(value) == 0);
        if (!empty)
            return fail(err, ERR_INPUT, "%s: key '%s' is not supported", file_name, absent[i]);
    }
    return true;
}

static bool check_patterns(const json_t *object, const char *key, Error *err)
{
    json_t *patterns = json_object_get(object, key), *value;
    const char *pattern;
    if (!patterns || json_is_null(patterns))
        return true;
    if (!json_is_object(patterns) || json_object_size(patterns) > PATTERNS_MAX)
        return fail(err, ERR_FORMAT, "%s: key '%s' must be an object of at most %d numbers",
                    file_name, key, PATTERNS_MAX);
    json_object_foreach(patterns, pattern, value) {
        double number = json_number_value(value);
        if (strlen(pattern) > PATTERN_BYTES_MAX || !(number > 0 && number <= 1e6))
            return fail(err, ERR_FORMAT, "%s: key '%s': '%.60s' must be a number above 0",
                        file_name, key, pattern);
    }
    return true;
}

bool adapter_config_read(AdapterConfig *out, const char *path, Error *err)
{
    AdapterConfig c = {0};
    auto_json json_t *object = NULL;
    if (!json_read(&object, path, CONFIG_BYTES_MAX, err) || !check_neutral(object, err) ||
        !json_get_u32(object, "r", 1, RANK_MAX, 8, &c.rank, file_name, err) ||
        !json_get_f64(object, "lora_alpha", 0, 1e6, 8, &c.alpha, file_name, err) ||
        !json_get_bool(object, "use_rslora", false, &c.root, file_name, err) ||
        !json_get_bool(object, "use_dora", false, &c.dora, file_name, err) ||
        !check_patterns(object, "rank_pattern", err) ||
        !check_patterns(object, "alpha_pattern", err))
        return false;
    c.object = json_incref(object);
    *out = c;
    return true;
}

void adapter_config_done(AdapterConfig *config)
{
    json_decref(config->object);
    *config = (AdapterConfig){0};
}

/* *matches: the module's name ends in a match, from its begin or from behind a dot on. */
static bool match(const char *pattern, const char *module, bool *matches, Error *err)
{
    char whole[PATTERN_BYTES_MAX + 32];
    int number;
    PCRE2_SIZE place;
    snprintf(whole, sizeof whole, "^(?:.*\\.)?(?:%s)$", pattern);
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)whole, PCRE2_ZERO_TERMINATED,
                                     PCRE2_DOLLAR_ENDONLY, &number, &place, NULL);
    pcre2_match_data *data = code ? pcre2_match_data_create_from_pattern(code, NULL) : NULL;
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    int found = PCRE2_ERROR_NOMEMORY;
    if (data && limits) {
        pcre2_set_match_limit(limits, MATCH_STEPS);
        pcre2_set_depth_limit(limits, MATCH_STEPS);
        found = pcre2_match(code, (PCRE2_SPTR)module, strlen(module), 0, 0, data, limits);
    }
    pcre2_match_context_free(limits);
    pcre2_match_data_free(data);
    pcre2_code_free(code);
    if (found < 0 && found != PCRE2_ERROR_NOMATCH)
        return fail(err, ERR_FORMAT, "%s: pattern '%.60s' is wrong, or takes too long", file_name,
                    pattern);
    *matches = found > 0;
    return true;
}

/* The number of the first pattern that matches; *out untouched when none does. */
static bool find_pattern(const AdapterConfig *c, const char *key, const char *module, double *out,
                         Error *err)
{
    json_t *patterns = json_object_get(c->object, key), *value;
    const char *pattern;
    json_object_foreach(patterns, pattern, value) {
        bool matches;
        if (!match(pattern, module, &matches, err))
            return false;
        if (matches) {
            *out = json_number_value(value);
            return true;
        }
    }
    return true;
}

bool adapter_config_scale(const AdapterConfig *c, const char *module, uint32_t *rank,
                          double *scale, Error *err)
{
    double r = c->rank, alpha = c->alpha;
    if (!find_pattern(c, "rank_pattern", module, &r, err) ||
        !find_pattern(c, "alpha_pattern", module, &alpha, err))
        return false;
    if (r < 1 || r > RANK_MAX || r != floor(r))
        return fail(err, ERR_FORMAT, "%s: rank %g of '%.80s' is no whole number from 1 to %d",
                    file_name, r, module, RANK_MAX);
    *rank = (uint32_t)r;
    *scale = c->root ? alpha / sqrt(r) : alpha / r;
    return true;
}
