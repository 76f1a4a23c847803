/* config_read.c: config.json of transformers 4 and 5 into ModelConfig.
 *
 * What would change the arithmetic is either understood or refused by name: keys[] lists those that
 * must be absent or neutral, the rotary object may hold nothing unknown, and a feature that the
 * family's row does not allow is refused when the graph is built. */
#include "model/family.h"

#include <math.h>
#include <stdio.h>

/* ---- keys that must be neutral ---- */

typedef enum {
    ABSENT,   /* absent, null, false, 0 or empty */
    ONE,      /* absent, null or 1 */
    TRUE_ONLY /* absent, null or true */
} Neutral;

static const struct {
    const char *key;
    Neutral neutral;
} neutral_keys[] = {
    {"attention_chunk_size", ABSENT},  {"attention_multiplier", ABSENT},
    {"attention_sinks", ABSENT},       {"attn_logit_softcapping", ABSENT},
    {"attn_output_gate", ABSENT},      {"clip_qkv", ABSENT},
    {"decoder_sparse_step", ONE},      {"embedding_multiplier", ONE},
    {"final_logit_softcapping", ABSENT}, {"first_k_dense_replace", ABSENT},
    {"is_causal", TRUE_ONLY},          {"kv_lora_rank", ABSENT},
    {"logit_scale", ONE},              {"logits_scaling", ONE},
    {"mlp_only_layers", ABSENT},       {"n_routed_experts", ABSENT},
    {"n_shared_experts", ABSENT},      {"no_rope_layers", ABSENT},
    {"partial_rotary_factor", ONE},    {"q_lora_rank", ABSENT},
    {"qk_layernorm", ABSENT},          {"query_pre_attn_scalar", ABSENT},
    {"residual_multiplier", ONE},      {"rope_interleave", ABSENT},
    {"rope_local_base_freq", ABSENT},  {"routed_scaling_factor", ONE},
    {"scale_attn_weights", TRUE_ONLY}, {"shared_expert_intermediate_size", ABSENT},
    {"use_bidirectional_attention", ABSENT}, {"use_mrope", ABSENT},
    {"use_qk_norm", ABSENT},
};

static bool is_neutral(const json_t *value, Neutral neutral)
{
    if (!value || json_is_null(value))
        return true;
    if (neutral == TRUE_ONLY)
        return json_is_true(value);
    bool number = json_is_number(value);
    if (neutral == ONE)
        return number && json_number_value(value) == 1;
    return json_is_false(value) || (number && json_number_value(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

static bool check_neutral(const json_t *config, const char *file, Error *err)
{
    const char *act;
    if (!json_get_text(config, "hidden_act", "silu", &act, file, err))
        return false;
    if (strcmp(act, "silu") != 0)
        return fail(err, ERR_FORMAT, "%s: hidden_act '%.40s' is not supported, only silu", file,
                    act);
    for (size_t i = 0; i < sizeof neutral_keys / sizeof *neutral_keys; i++) {
        const char *key = neutral_keys[i].key;
        if (!is_neutral(json_object_get(config, key), neutral_keys[i].neutral))
            return fail(err, ERR_FORMAT, "%s: '%s' changes the arithmetic and is not supported",
                        file, key);
    }
    return true;
}

/* ---- rotary positions ---- */

static const char *const rope_keys[] = {
    "rope_type", "type", "rope_theta", "factor", "low_freq_factor", "high_freq_factor",
    "original_max_position_embeddings", "max_position_embeddings", "beta_fast", "beta_slow",
    "mscale", "mscale_all_dim", "attention_factor", "truncate", "llama_4_scaling_beta",
    "partial_rotary_factor", "finetuned", NULL};

/* The object that rules every layer; transformers 5 may write one per type of layer, which must then
 * be equal. Null: config.json has none. */
static bool rope_object(const json_t *config, const char *file, const json_t **out, Error *err)
{
    const json_t *rope = json_object_get(config, "rope_scaling"); /* it wins, as in transformers */
    if (!json_is_object(rope))
        rope = json_object_get(config, "rope_parameters");
    *out = json_is_object(rope) ? rope : NULL;
    const json_t *full = json_object_get(rope, "full_attention");
    const json_t *sliding = json_object_get(rope, "sliding_attention");
    if (!json_is_object(full) && !json_is_object(sliding))
        return true;
    *out = json_is_object(full) ? full : sliding;
    if (json_is_object(full) && json_is_object(sliding) && !json_equal(full, sliding))
        return fail(err, ERR_FORMAT, "%s: rotary parameters that differ by type of layer are not "
                                     "supported",
                    file);
    return true;
}

static bool read_kind(const json_t *rope, const char *file, RopeKind *out, Error *err)
{
    static const char *const kinds[] = {"default", "linear", "llama3", "yarn"};
    const char *type;
    if (!json_get_text(rope, "rope_type", "", &type, file, err) ||
        (!*type && !json_get_text(rope, "type", "", &type, file, err)))
        return false;
    if (!*type && json_object_get(rope, "factor"))
        return fail(err, ERR_FORMAT, "%s: rope_scaling names no rope_type", file);
    for (uint32_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(*type ? type : "default", kinds[i]) == 0) {
            *out = (RopeKind)i;
            return true;
        }
    }
    return fail(err, ERR_FORMAT, "%s: rope_type '%.40s' is not supported", file, type);
}

static bool read_real(const json_t *object, const char *key, double low, double high,
                      double fallback, float *out, const char *file, Error *err)
{
    double value;
    const json_t *given = json_object_get(object, key);
    if (isnan(fallback) && (!given || json_is_null(given)))
        return fail(err, ERR_FORMAT, "%s: key '%s' is missing", file, key);
    if (!json_get_f64(object, key, low, high, fallback, &value, file, err))
        return false;
    *out = (float)value;
    return true;
}

static bool read_yarn(const json_t *rope, const char *file, RopeScaling *r, Error *err)
{
    double mscale, mscale_all, given;
    bool truncate;
    if (!read_real(rope, "beta_fast", 1e-3, 1e6, 32, &r->beta_fast, file, err) ||
        !read_real(rope, "beta_slow", 1e-3, 1e6, 1, &r->beta_slow, file, err) ||
        !json_get_f64(rope, "mscale", 0, 100, 0, &mscale, file, err) ||
        !json_get_f64(rope, "mscale_all_dim", 0, 100, 0, &mscale_all, file, err) ||
        !json_get_f64(rope, "attention_factor", 1e-3, 1e3, 0, &given, file, err) ||
        !json_get_bool(rope, "truncate", true, &truncate, file, err))
        return false;
    r->attention = (float)(given > 0 ? given
                                     : rope_yarn_attention((double)r->factor, mscale, mscale_all));
    r->exact = !truncate;
    return true;
}

/* `original` falls back to the context, as in transformers. */
static bool read_scaling(const json_t *rope, const json_t *config, const char *file,
                         ModelConfig *c, Error *err)
{
    RopeScaling *r = &c->rope;
    const char *key = "original_max_position_embeddings";
    const json_t *from = json_object_get(config, key) ? config : rope;
    if (!json_get_u32(from, key, 1, 1 << 24, c->context, &r->original, file, err))
        return false;
    if (!is_neutral(json_object_get(rope, "partial_rotary_factor"), ONE))
        return fail(err, ERR_FORMAT, "%s: 'partial_rotary_factor' changes the arithmetic and is "
                                     "not supported",
                    file);
    float beta;
    if (!read_real(rope, "llama_4_scaling_beta", 0, 100, 0, &beta, file, err))
        return false;
    if (beta > 0) {
        c->query_beta = beta;
        c->query_original = r->original;
    }
    if (r->kind == ROPE_PLAIN) {
        *r = (RopeScaling){0};
        return true;
    }
    if (!read_real(rope, "factor", 1, 1e4, NAN, &r->factor, file, err))
        return false;
    if (r->kind == ROPE_LLAMA3)
        return read_real(rope, "low_freq_factor", 1e-3, 1e6, NAN, &r->low, file, err) &&
               read_real(rope, "high_freq_factor", 1e-3, 1e6, NAN, &r->high, file, err);
    return r->kind != ROPE_YARN || read_yarn(rope, file, r, err);
}

static bool read_rope(const json_t *config, const char *file, const Family *family, ModelConfig *c,
                      Error *err)
{
    const json_t *rope;
    if (!rope_object(config, file, &rope, err))
        return false;
    const json_t *from = json_object_get(rope, "rope_theta") ? rope : config;
    double fallback = family->theta > 0 ? (double)family->theta : NAN;
    if (!read_real(from, "rope_theta", 1, 1e12, fallback, &c->theta, file, err))
        return false;
    if (!rope)
        return true;
    char where[160];
    snprintf(where, sizeof where, "%s: rotary parameters", file);
    return json_only_keys(rope, rope_keys, where, err) &&
           read_kind(rope, file, &c->rope.kind, err) &&
           read_scaling(rope, config, file, c, err);
}

/* ---- windows ---- */

static bool read_layer_types(const json_t *types, const char *file, ModelConfig *c, Error *err)
{
    uint32_t sliding = 0;
    if (!json_is_array(types) || json_array_size(types) != c->layers)
        return fail(err, ERR_FORMAT, "%s: layer_types must list %u layers", file, c->layers);
    memset(c->full, 0, sizeof c->full);
    for (uint32_t i = 0; i < c->layers; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (type && strcmp(type, "sliding_attention") == 0)
            sliding++;
        else if (type && strcmp(type, "full_attention") == 0)
            c->full[i / 8] |= (uint8_t)(1u << i % 8);
        else
            return fail(err, ERR_FORMAT, "%s: layer_types[%u] is '%.40s', only full_attention and "
                                         "sliding_attention are supported",
                        file, i, type ? type : "no text");
    }
    if (sliding && !c->window)
        return fail(err, ERR_FORMAT, "%s: layer_types has sliding layers, sliding_window is null",
                    file);
    return true;
}

/* Ministral 8B says of itself only that it has a window; one layer in four has none. */
static bool is_ministral_8b(const ModelConfig *c)
{
    return c->layers == 36 && c->width == 4096 && c->ff_width == 12288 && c->vocab == 131072 &&
           c->window == 32768;
}

static bool read_windows(const json_t *config, const char *file, const Family *family,
                         ModelConfig *c, Error *err)
{
    const json_t *window = json_object_get(config, "sliding_window");
    const json_t *types = json_object_get(config, "layer_types");
    bool used = true;
    uint32_t first = 0; /* layer with a window */
    if (!(family->may & FEATURE_WINDOW))
        return true;
    if (family->window_switch &&
        (!json_get_bool(config, "use_sliding_window", false, &used, file, err) ||
         ((family->may & FEATURE_PATTERN) &&
          !json_get_u32(config, "max_window_layers", 0, MODEL_LAYERS_MAX, 28, &first, file, err))))
        return false;
    if (used && window && !json_is_null(window) &&
        !json_need_u32(config, "sliding_window", 1, 1 << 24, &c->window, file, err))
        return false;
    for (uint32_t i = 0; c->window && i < c->layers; i++) {
        if (i < first || (is_ministral_8b(c) && i % 4 == 0))
            c->full[i / 8] |= (uint8_t)(1u << i % 8);
    }
    if (types && !json_is_null(types) && !read_layer_types(types, file, c, err))
        return false;
    bool sliding = false;
    for (uint32_t i = 0; i < c->layers; i++)
        sliding = sliding || model_window(c, i) > 0;
    if (!sliding) { /* full everywhere has one form */
        c->window = 0;
        memset(c->full, 0, sizeof c->full);
    }
    return true;
}

/* ---- shapes and parts ---- */

static bool read_shape(const json_t *config, const char *file, ModelConfig *c, Error *err)
{
    if (!json_need_u32(config, "hidden_size", 1, 1 << 16, &c->width, file, err) ||
        !json_need_u32(config, "intermediate_size", 1, 1 << 18, &c->ff_width, file, err) ||
        !json_need_u32(config, "num_hidden_layers", 1, 512, &c->layers, file, err) ||
        !json_need_u32(config, "num_attention_heads", 1, 1024, &c->heads, file, err) ||
        !json_need_u32(config, "vocab_size", 1, TOKENIZER_VOCAB_MAX, &c->vocab, file, err) ||
        !json_get_u32(config, "num_key_value_heads", 1, 1024, c->heads, &c->kv_heads, file, err) ||
        !json_get_u32(config, "max_position_embeddings", 1, 1 << 20, 2048, &c->context, file, err))
        return false;
    const json_t *given = json_object_get(config, "head_dim");
    if (given && !json_is_null(given))
        return json_need_u32(config, "head_dim", 2, MODEL_HEAD_WIDTH_MAX, &c->head_width, file,
                             err);
    c->head_width = c->width / c->heads;
    return true;
}

static bool read_parts(const json_t *config, const char *file, const Family *family,
                       ModelConfig *c, Error *err)
{
    bool attention;
    if (!json_get_bool(config, "attention_bias", false, &attention, file, err) ||
        !json_get_bool(config, "mlp_bias", false, &c->mlp_bias, file, err))
        return false;
    if ((attention && !(family->may & FEATURE_O_BIAS)) ||
        (c->mlp_bias && !(family->may & FEATURE_MLP_BIAS)))
        return fail(err, ERR_FORMAT, "%s: these biases are not supported in a %s model", file,
                    family->name);
    c->o_bias = attention;
    c->qkv_bias = attention || (family->must & FEATURE_QKV_BIAS);
    c->qk_norm = family->must & FEATURE_QK_NORM;
    return true;
}

static bool read_experts(const json_t *config, const char *file, const Family *family,
                         ModelConfig *c, Error *err)
{
    static const char *const counts[] = {"num_local_experts", "num_experts"};
    const char *key = family->experts.count;
    for (uint32_t i = 0; i < 2; i++) {
        const json_t *given = json_object_get(config, counts[i]);
        if (!key && !is_neutral(given, ABSENT))
            return fail(err, ERR_FORMAT, "%s: a %s model has no experts, '%s' is given", file,
                        family->name, counts[i]);
        if (key && given && !json_object_get(config, key))
            key = counts[i]; /* transformers has used both names */
    }
    if (!key)
        return true;
    c->expert_width = c->ff_width;
    c->renormalise = true;
    return json_need_u32(config, key, 1, MODEL_EXPERTS_MAX, &c->experts, file, err) &&
           json_need_u32(config, "num_experts_per_tok", 1, c->experts, &c->chosen, file, err) &&
           (!family->experts.width || json_need_u32(config, family->experts.width, 1, 1 << 18,
                                                    &c->expert_width, file, err)) &&
           (!family->experts.renormalise ||
            json_get_bool(config, family->experts.renormalise, false, &c->renormalise, file, err));
}

static bool read_family(const json_t *config, const char *file, const Family *family,
                        ConfigFile *out, Error *err)
{
    ModelConfig c = {0};
    double eps;
    if (!check_neutral(config, file, err) || !read_shape(config, file, &c, err) ||
        !read_rope(config, file, family, &c, err) ||
        !read_windows(config, file, family, &c, err) ||
        !read_parts(config, file, family, &c, err) ||
        !read_experts(config, file, family, &c, err) ||
        !json_get_f64(config, "rms_norm_eps", 0, 1, (double)family->eps, &eps, file, err) ||
        !json_get_bool(config, "tie_word_embeddings", false, &c.tied, file, err))
        return false;
    c.eps = (float)eps;
    out->tied_given = json_object_get(config, "tie_word_embeddings") != NULL;
    out->family = family;
    if ((model_features(&c) & FEATURE_PATTERN) && family->patterned)
        out->family = family_named(family->patterned);
    out->config = c;
    return true;
}

/* ---- the whole file ---- */

/* Of quantised checkpoints only those are read whose f8 weights have a scale each. */
static bool read_quantization(const json_t *object, const char *file, bool *fp8, Error *err)
{
    const json_t *q = json_object_get(object, "quantization_config");
    const char *method;
    *fp8 = false;
    if (!json_is_object(q))
        return true;
    if (!json_get_text(q, "quant_method", "", &method, file, err))
        return false;
    if (strcmp(method, "fp8") != 0 && strcmp(method, "compressed-tensors") != 0)
        return fail(err, ERR_FORMAT, "%s: quantization_config '%.40s' is not supported, only fp8 "
                                     "with a scale per tensor or row",
                    file, method);
    if (!is_neutral(json_object_get(q, "weight_block_size"), ABSENT))
        return fail(err, ERR_FORMAT, "%s: fp8 weights with scales per block are not supported",
                    file);
    *fp8 = true;
    return true;
}

bool config_read(const json_t *object, const char *file, ConfigFile *out, Error *err)
{
    ConfigFile f = {0};
    const char *type;
    const json_t *config = object;
    if (!json_get_text(object, "model_type", "", &type, file, err) ||
        !read_quantization(object, file, &f.fp8, err))
        return false;
    if (strcmp(type, "mistral3") == 0) { /* text and images: its text part */
        config = json_object_get(object, "text_config");
        f.wrapped = true;
        if (!json_is_object(config))
            return fail(err, ERR_FORMAT, "%s: a mistral3 model has a text_config", file);
        if (!json_get_text(config, "model_type", "mistral", &type, file, err))
            return false;
    }
    const Family *family = family_named(type);
    if (!family)
        return fail(err, ERR_FORMAT, "%s: model_type '%.40s' is not a family known here", file,
                    type);
    if (!read_family(config, file, family, &f, err))
        return false;
    if (f.wrapped && !f.tied_given) {
        if (!json_get_bool(object, "tie_word_embeddings", false, &f.config.tied, file, err))
            return false;
        f.tied_given = json_object_get(object, "tie_word_embeddings") != NULL;
    }
    *out = f;
    return true;
}
