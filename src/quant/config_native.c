/* config_native.c: params.json of Mistral and config.json of Hugging Face, both ways.
 *
 *     dim hidden_size, hidden_dim intermediate_size, n_layers num_hidden_layers, n_heads
 *     num_attention_heads, n_kv_heads num_key_value_heads, norm_eps rms_norm_eps, tied_embeddings
 *     tie_word_embeddings; moe {num_experts, num_experts_per_tok}; yarn {factor, alpha beta_slow,
 *     beta beta_fast, original_max_position_embeddings, apply_scale}; llama_4_scaling {beta, ...}
 *
 * The family follows: ministral3 with yarn, mixtral with moe, else mistral; `model_type` is our own
 * key, written for llama alone. apply_scale false means that YaRN's attention factor is 1, which
 * config.json says by mscale = mscale_all_dim = 1. What a side cannot say is refused by name. */
#include "quant/rope_rules.h"
#include "quant/source_parts.h"

#include <stdio.h>
#include <string.h>

static const char params_name[] = "params.json";

static const struct {
    const char *native, *hf;
    uint32_t low, high;
    bool needed;
} numbers[] = {
    {"dim", "hidden_size", 1, 1 << 16, true},
    {"hidden_dim", "intermediate_size", 1, 1 << 18, true},
    {"n_layers", "num_hidden_layers", 1, 512, true},
    {"n_heads", "num_attention_heads", 1, 1024, true},
    {"n_kv_heads", "num_key_value_heads", 1, 1024, true},
    {"head_dim", "head_dim", 2, 1024, true},
    {"vocab_size", "vocab_size", 1, 1 << 20, true},
};

static bool set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

static bool set_whole(json_t *object, const char *key, uint64_t value)
{
    return set(object, key, json_integer((json_int_t)value));
}

static bool fail_memory(Error *err)
{
    return fail(err, ERR_MEMORY, "no memory for a configuration");
}

/* ---- params.json to config.json ---- */

static bool yarn_to_config(const json_t *params, double theta, json_t *config, Error *err)
{
    const json_t *yarn = json_object_get(params, "yarn");
    const json_t *llama_4 = json_object_get(params, "llama_4_scaling");
    Rope rope = {.kind = ROPE_YARN, .theta = theta};
    bool apply;
    if (!json_get_f64(yarn, "factor", 1, 1e6, 1, &rope.factor, "params.json yarn", err) ||
        !json_get_f64(yarn, "alpha", 0, 1e6, 1, &rope.beta_slow, "params.json yarn", err) ||
        !json_get_f64(yarn, "beta", 0, 1e6, 32, &rope.beta_fast, "params.json yarn", err) ||
        !json_need_u32(yarn, "original_max_position_embeddings", 1, 1 << 26, &rope.original,
                       "params.json yarn", err) ||
        !json_get_bool(yarn, "apply_scale", true, &apply, "params.json yarn", err))
        return false;
    if (llama_4 && !json_is_null(llama_4) &&
        !json_get_f64(llama_4, "beta", 0, 100, 0, &rope.llama_4_beta,
                      "params.json llama_4_scaling", err))
        return false;
    rope.mscale = rope.mscale_all_dim = apply ? 0 : 1;
    return rope_write(&rope, config) || fail_memory(err);
}

static bool moe_to_config(const json_t *params, json_t *config, Error *err)
{
    const json_t *moe = json_object_get(params, "moe");
    uint32_t experts, used;
    if (!json_need_u32(moe, "num_experts", 1, 4096, &experts, "params.json moe", err) ||
        !json_need_u32(moe, "num_experts_per_tok", 1, experts, &used, "params.json moe", err))
        return false;
    return (set_whole(config, "num_local_experts", experts) &&
            set_whole(config, "num_experts_per_tok", used)) || fail_memory(err);
}

static bool window_to_config(const json_t *params, json_t *config, Error *err)
{
    const json_t *window = json_object_get(params, "sliding_window");
    uint32_t size = 0;
    if (json_is_array(window))
        return fail(err, ERR_FORMAT, "params.json: key 'sliding_window' is a list: layers of "
                                     "different windows are not supported");
    if (window && !json_is_null(window) &&
        !json_need_u32(params, "sliding_window", 1, 1 << 26, &size, params_name, err))
        return false;
    return set(config, "sliding_window", size ? json_integer(size) : json_null()) ||
           fail_memory(err);
}

static bool numbers_to_config(const json_t *params, json_t *config, Error *err)
{
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        uint32_t value;
        if (!json_need_u32(params, numbers[i].native, numbers[i].low, numbers[i].high, &value,
                           params_name, err))
            return false;
        if (!set_whole(config, numbers[i].hf, value))
            return fail_memory(err);
    }
    return true;
}

static const char *family_of(const json_t *params)
{
    const char *given = json_string_value(json_object_get(params, "model_type"));
    if (given && strcmp(given, "llama") == 0)
        return "llama";
    if (json_is_object(json_object_get(params, "yarn")))
        return "ministral3";
    return json_is_object(json_object_get(params, "moe")) ? "mixtral" : "mistral";
}

static const struct {
    const char *family, *architecture;
    uint32_t context; /* when nothing says; those of the published models */
} native_families[] = {
    {"llama", "LlamaForCausalLM", 2048},
    {"mistral", "MistralForCausalLM", 32768},
    {"mixtral", "MixtralForCausalLM", 32768},
    {"ministral3", "Ministral3ForCausalLM", 262144},
};

static bool rest_to_config(const json_t *params, json_t *config, Error *err)
{
    const char *family = family_of(params);
    size_t row = 0;
    double eps, theta;
    bool tied;
    uint32_t context;
    while (strcmp(native_families[row].family, family) != 0)
        row++;
    if (!json_get_f64(params, "norm_eps", 0, 1, 1e-5, &eps, params_name, err) ||
        !json_get_f64(params, "rope_theta", 1, 1e12, 10000, &theta, params_name, err) ||
        !json_get_bool(params, "tied_embeddings", false, &tied, params_name, err) ||
        !json_get_u32(params, "max_seq_len", 1, 1 << 26, native_families[row].context, &context,
                      params_name, err) ||
        !json_get_u32(params, "max_position_embeddings", 1, 1 << 26, context, &context, params_name,
                      err))
        return false;
    Rope plain = {.theta = theta};
    if (strcmp(family, "ministral3") != 0 && !rope_write(&plain, config))
        return fail_memory(err);
    if (strcmp(family, "ministral3") == 0 && !yarn_to_config(params, theta, config, err))
        return false;
    if (strcmp(family, "mixtral") == 0 && !moe_to_config(params, config, err))
        return false;
    bool ok = set(config, "architectures",
                  json_pack("[s]", native_families[row].architecture)) &&
              set(config, "model_type", json_string(family)) &&
              set(config, "rms_norm_eps", json_real(eps)) &&
              set(config, "max_position_embeddings", json_integer(context)) &&
              set(config, "tie_word_embeddings", json_boolean(tied)) &&
              set(config, "hidden_act", json_string("silu")) &&
              set(config, "bos_token_id", json_integer(1)) &&
              set(config, "eos_token_id", json_integer(2));
    return ok ? strcmp(family, "llama") == 0 || window_to_config(params, config, err)
              : fail_memory(err);
}

bool native_to_config(const json_t *params, json_t **config, bool *pictures, Error *err)
{
    auto_json json_t *out = json_object();
    if (!out)
        return fail_memory(err);
    if (!numbers_to_config(params, out, err) || !rest_to_config(params, out, err))
        return false;
    *pictures = json_is_object(json_object_get(params, "vision_encoder"));
    *config = json_incref(out);
    return true;
}

/* ---- config.json to params.json ---- */

static bool fail_untold(const char *what, Error *err)
{
    return fail(err, ERR_INPUT, "config.json: %s cannot be said in Mistral's own layout", what);
}

/* Keys of config.json that would change the arithmetic have no place in params.json. */
static bool check_plain(const Outline *o, Error *err)
{
    const char *act;
    bool attention_bias, mlp_bias;
    if (!json_get_text(o->text, "hidden_act", "silu", &act, "config.json", err) ||
        !json_get_bool(o->text, "attention_bias", false, &attention_bias, "config.json", err) ||
        !json_get_bool(o->text, "mlp_bias", false, &mlp_bias, "config.json", err))
        return false;
    if (strcmp(act, "silu") != 0 || attention_bias || mlp_bias)
        return fail_untold("an activation other than silu, or a bias,", err);
    return true;
}

static bool yarn_of_config(const Outline *o, json_t *params, double *theta, Error *err)
{
    Rope rope;
    if (!rope_read(&rope, o->text, "config.json", err))
        return false;
    *theta = rope.theta;
    if (rope.kind == ROPE_DEFAULT)
        return true;
    if (rope.kind != ROPE_YARN || strcmp(o->family, "ministral3") != 0)
        return fail_untold("a rope_type other than default, or yarn outside of ministral3,", err);
    bool ok = set(params, "yarn",
                  json_pack("{s:f, s:f, s:f, s:I, s:b}", "factor", rope.factor, "alpha",
                            rope.beta_slow, "beta", rope.beta_fast,
                            "original_max_position_embeddings", (json_int_t)rope.original,
                            "apply_scale", rope.mscale_all_dim == 0));
    ok = ok && (rope.llama_4_beta == 0 ||
                set(params, "llama_4_scaling",
                    json_pack("{s:f, s:I}", "beta", rope.llama_4_beta,
                              "original_max_position_embeddings", (json_int_t)rope.original)));
    return ok || fail_memory(err);
}

static bool fill_params(const Outline *o, json_t *params, double theta, Error *err)
{
    const uint32_t values[] = {o->width, o->ff_width, o->layers, o->heads, o->kv_heads,
                               o->head_width, o->vocab};
    double eps;
    if (!json_get_f64(o->text, "rms_norm_eps", 0, 1, 1e-6, &eps, "config.json", err))
        return false;
    bool ok = true;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        ok = ok && set_whole(params, numbers[i].native, values[i]);
    ok = ok && set(params, "norm_eps", json_real(eps)) &&
         set(params, "rope_theta", json_real(theta)) &&
         set(params, "tied_embeddings", json_boolean(o->tied)) &&
         set_whole(params, "max_position_embeddings", o->context);
    ok = ok && (!o->window || set_whole(params, "sliding_window", o->window));
    ok = ok && (!o->experts || set(params, "moe", json_pack("{s:I, s:I}", "num_experts",
                                                            (json_int_t)o->experts,
                                                            "num_experts_per_tok",
                                                            (json_int_t)o->experts_used)));
    ok = ok && (strcmp(o->family, "llama") != 0 || set(params, "model_type", json_string("llama")));
    return ok || fail_memory(err);
}

bool native_of_config(const Source *s, json_t **params, Error *err)
{
    const Outline *o = &s->outline;
    bool known = false;
    double theta;
    for (size_t i = 0; i < sizeof native_families / sizeof *native_families; i++)
        known = known || strcmp(o->family, native_families[i].family) == 0;
    if (!known)
        return fail(err, ERR_INPUT, "a model of family '%.40s' has no form in Mistral's own layout",
                    o->family);
    auto_json json_t *out = json_object();
    if (!out)
        return fail_memory(err);
    if (!check_plain(o, err) || !yarn_of_config(o, out, &theta, err) ||
        !fill_params(o, out, theta, err))
        return false;
    *params = json_incref(out);
    return true;
}
