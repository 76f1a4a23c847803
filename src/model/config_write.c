/* config_write.c: ModelConfig into the keys of config.json that transformers 4 and 5 read: rotary
 * parameters stand both at the top and in rope_parameters. */
#include "model/family.h"

bool config_set_u32(json_t *object, const char *key, uint64_t value)
{
    return json_object_set_new(object, key, json_integer((json_int_t)value)) == 0;
}

static bool set_real(json_t *object, const char *key, float value)
{
    return json_object_set_new(object, key, json_real((double)value)) == 0;
}

static bool set_text(json_t *object, const char *key, const char *value)
{
    return json_object_set_new(object, key, json_string(value)) == 0;
}

static bool set_bool(json_t *object, const char *key, bool value)
{
    return json_object_set_new(object, key, json_boolean(value)) == 0;
}

/* ---- rotary positions ---- */

static bool set_scaling(json_t *out, const ModelConfig *c)
{
    static const char *const kinds[] = {"default", "linear", "llama3", "yarn"};
    const RopeScaling *r = &c->rope;
    if (!set_text(out, "rope_type", kinds[r->kind]) ||
        (c->query_original && (!set_real(out, "llama_4_scaling_beta", c->query_beta) ||
                               !config_set_u32(out, "original_max_position_embeddings",
                                               c->query_original))))
        return false;
    if (r->kind == ROPE_PLAIN)
        return true;
    if (!set_real(out, "factor", r->factor) ||
        !config_set_u32(out, "original_max_position_embeddings", r->original))
        return false;
    if (r->kind == ROPE_LLAMA3)
        return set_real(out, "low_freq_factor", r->low) &&
               set_real(out, "high_freq_factor", r->high);
    return r->kind != ROPE_YARN ||
           (set_real(out, "beta_fast", r->beta_fast) && set_real(out, "beta_slow", r->beta_slow) &&
            set_real(out, "attention_factor", r->attention) &&
            set_bool(out, "truncate", !r->exact));
}

static bool set_rope(json_t *out, const ModelConfig *c)
{
    auto_json json_t *scaling = json_object(), *parameters = json_object();
    bool plain = c->rope.kind == ROPE_PLAIN && !c->query_original;
    return scaling && parameters && set_scaling(scaling, c) && set_scaling(parameters, c) &&
           set_real(parameters, "rope_theta", c->theta) && set_real(out, "rope_theta", c->theta) &&
           json_object_set(out, "rope_scaling", plain ? json_null() : scaling) == 0 &&
           json_object_set(out, "rope_parameters", parameters) == 0;
}

/* ---- windows, experts ---- */

static bool set_windows(json_t *out, const Family *family, const ModelConfig *c)
{
    if (!(family->may & FEATURE_WINDOW))
        return true;
    if (json_object_set_new(out, "sliding_window",
                            c->window ? json_integer(c->window) : json_null()) != 0 ||
        (family->window_switch && (!set_bool(out, "use_sliding_window", c->window > 0) ||
                                   !config_set_u32(out, "max_window_layers", 0))))
        return false;
    if (!(family->may & FEATURE_PATTERN))
        return true;
    json_t *types = json_array();
    if (!types || json_object_set_new(out, "layer_types", types) != 0)
        return false;
    for (uint32_t i = 0; i < c->layers; i++) {
        const char *type = model_window(c, i) ? "sliding_attention" : "full_attention";
        if (json_array_append_new(types, json_string(type)) != 0)
            return false;
    }
    return true;
}

static bool set_experts(json_t *out, const Family *family, const ModelConfig *c)
{
    if (!family->experts.count)
        return true;
    return config_set_u32(out, family->experts.count, c->experts) &&
           config_set_u32(out, "num_experts_per_tok", c->chosen) &&
           (!family->experts.width ||
            config_set_u32(out, family->experts.width, c->expert_width)) &&
           (!family->experts.renormalise ||
            set_bool(out, family->experts.renormalise, c->renormalise));
}

static bool set_biases(json_t *out, const Family *family, const ModelConfig *c)
{
    return (!(family->may & FEATURE_O_BIAS) || set_bool(out, "attention_bias", c->o_bias)) &&
           (!(family->may & FEATURE_MLP_BIAS) || set_bool(out, "mlp_bias", c->mlp_bias));
}

bool config_write(const Family *family, const ModelConfig *c, json_t *out)
{
    json_t *names = json_array();
    if (!names || json_object_set_new(out, "architectures", names) != 0 ||
        json_array_append_new(names, json_string(family->architecture)) != 0)
        return false;
    bool own_width = family->experts.count && !family->experts.width;
    return set_text(out, "model_type", family->name) &&
           config_set_u32(out, "hidden_size", c->width) &&
           config_set_u32(out, "intermediate_size", own_width ? c->expert_width : c->ff_width) &&
           config_set_u32(out, "num_hidden_layers", c->layers) &&
           config_set_u32(out, "num_attention_heads", c->heads) &&
           config_set_u32(out, "num_key_value_heads", c->kv_heads) &&
           config_set_u32(out, "head_dim", c->head_width) &&
           config_set_u32(out, "vocab_size", c->vocab) &&
           config_set_u32(out, "max_position_embeddings", c->context) &&
           set_real(out, "rms_norm_eps", c->eps) && set_rope(out, c) &&
           set_windows(out, family, c) && set_experts(out, family, c) &&
           set_biases(out, family, c) && set_text(out, "hidden_act", "silu") &&
           set_bool(out, "tie_word_embeddings", c->tied) &&
           set_text(out, "torch_dtype", "float32") && set_text(out, "dtype", "float32") &&
           set_bool(out, "use_cache", true);
}
