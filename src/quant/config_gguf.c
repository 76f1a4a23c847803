/* config_gguf.c: the keys of a GGUF file and config.json, both ways; see config_gguf.h.
 *
 * "llama" stands for Llama, Mistral and Mixtral alike: our own key `bastide.family` remembers which,
 * and `bastide.sliding_window` a window, which the architecture has no key for. Within a context no
 * longer than the window both mean the same, so the context is cut to it. */
#include "quant/config_gguf.h"

#include "quant/rope_rules.h"
#include "quant/source_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const GgufArchitecture architectures[] = {
    {"llama", "LlamaForCausalLM", "llama", true, false},
    {"mistral", "MistralForCausalLM", "llama", true, false},
    {"mixtral", "MixtralForCausalLM", "llama", true, true},
    {"ministral3", "Ministral3ForCausalLM", "mistral3", true, false},
    {"qwen2", "Qwen2ForCausalLM", "qwen2", false, false},
    {"qwen3", "Qwen3ForCausalLM", "qwen3", false, false},
    {"qwen3_moe", "Qwen3MoeForCausalLM", "qwen3moe", false, true},
    {0},
};

const GgufArchitecture *gguf_architecture_of(const Outline *o)
{
    for (const GgufArchitecture *a = architectures; a->family; a++) {
        if (strcmp(a->family, o->family) == 0 && a->mixture == (o->experts > 0))
            return a;
    }
    return NULL;
}

const GgufArchitecture *gguf_architecture_named(const char *name, bool mixture)
{
    for (const GgufArchitecture *a = architectures; a->family; a++) {
        if (strcmp(a->gguf, name) == 0 && a->mixture == mixture)
            return a;
    }
    return NULL;
}

/* ---- out of GGUF ---- */

typedef struct {
    const Gguf *gguf;
    const char *prefix; /* "llama" */
    json_t *config;
    char key[96];
} In;

static const char *key_of(In *in, const char *key)
{
    snprintf(in->key, sizeof in->key, "%s.%s", in->prefix, key);
    return in->key;
}

static bool set(In *in, const char *key, json_t *value, Error *err)
{
    return json_object_set_new(in->config, key, value) == 0 ||
           fail(err, ERR_MEMORY, "no memory for a configuration");
}

/* A whole number; 0 high is never: an absent key takes the fallback, and fallback 0 is needed. */
static bool take_u32(In *in, const char *key, uint32_t high, uint32_t fallback, uint32_t *out,
                     Error *err)
{
    if (!fallback)
        return gguf_need_u32(in->gguf, key_of(in, key), 1, high, out, err);
    return gguf_get_u32(in->gguf, key_of(in, key), 1, high, fallback, out, err);
}

static uint32_t token_count(const Gguf *gguf)
{
    const GgufValue *tokens = gguf_find(gguf, "tokenizer.ggml.tokens");
    const GgufTensor *embedding = gguf_find_tensor(gguf, "token_embd.weight");
    uint64_t count = embedding && embedding->rank == 2 ? embedding->shape[1]
                     : tokens && tokens->is_array      ? tokens->count
                                                       : 0;
    return count < 1 << 20 ? (uint32_t)count : 0;
}

static bool take_shape(In *in, Error *err)
{
    uint32_t width, layers, heads, kv, head, ff, context, vocab;
    uint32_t expert_ff, tokens = token_count(in->gguf);
    if (!take_u32(in, "embedding_length", 1 << 16, 0, &width, err) ||
        !take_u32(in, "block_count", 512, 0, &layers, err) ||
        !take_u32(in, "attention.head_count", 1024, 0, &heads, err) ||
        !take_u32(in, "attention.head_count_kv", 1024, heads, &kv, err) ||
        !take_u32(in, "attention.key_length", 1024, width / heads ? width / heads : 1, &head,
                  err) ||
        !take_u32(in, "expert_feed_forward_length", 1 << 18, 1 << 18, &expert_ff, err) ||
        !take_u32(in, "feed_forward_length", 1 << 18, expert_ff, &ff, err) ||
        !take_u32(in, "context_length", 1 << 26, 2048, &context, err) ||
        !take_u32(in, "vocab_size", 1 << 20, tokens, &vocab, err))
        return false;
    if (tokens && vocab > tokens) /* some writers give the tokenizer's size */
        vocab = tokens;
    return set(in, "hidden_size", json_integer(width), err) &&
           set(in, "num_hidden_layers", json_integer(layers), err) &&
           set(in, "num_attention_heads", json_integer(heads), err) &&
           set(in, "num_key_value_heads", json_integer(kv), err) &&
           set(in, "head_dim", json_integer(head), err) &&
           set(in, "intermediate_size", json_integer(ff), err) &&
           set(in, "max_position_embeddings", json_integer(context), err) &&
           set(in, "vocab_size", json_integer(tokens ? tokens : vocab), err);
}

static bool take_mixture(In *in, const GgufArchitecture *a, uint32_t experts, Error *err)
{
    uint32_t used, ff;
    if (!a->mixture)
        return true;
    if (!take_u32(in, "expert_used_count", experts, 0, &used, err) ||
        !take_u32(in, "expert_feed_forward_length", 1 << 18, 1 << 18, &ff, err) ||
        !set(in, "num_experts_per_tok", json_integer(used), err))
        return false;
    if (strcmp(a->family, "mixtral") == 0)
        return set(in, "num_local_experts", json_integer(experts), err);
    return set(in, "num_experts", json_integer(experts), err) &&
           set(in, "moe_intermediate_size", json_integer(ff), err) &&
           set(in, "norm_topk_prob", json_true(), err);
}

static bool take_yarn(In *in, Rope *rope, Error *err)
{
    double log_multiplier;
    if (!take_u32(in, "rope.scaling.original_context_length", 1 << 26, 0, &rope->original, err) ||
        !gguf_get_f64(in->gguf, key_of(in, "rope.scaling.yarn_beta_fast"), 0, 1e6, 32,
                      &rope->beta_fast, err) ||
        !gguf_get_f64(in->gguf, key_of(in, "rope.scaling.yarn_beta_slow"), 0, 1e6, 1,
                      &rope->beta_slow, err) ||
        !gguf_get_f64(in->gguf, key_of(in, "rope.scaling.yarn_log_multiplier"), 0, 100, 0,
                      &log_multiplier, err) ||
        !gguf_get_f64(in->gguf, key_of(in, "attention.temperature_scale"), 0, 100, 0,
                      &rope->llama_4_beta, err))
        return false;
    rope->mscale = rope->mscale_all_dim = log_multiplier;
    return true;
}

/* Of rope_freqs.weight only the header was read here: source_gguf.c compares its values. */
static bool take_rope(In *in, Error *err)
{
    Rope rope = {.factor = 1};
    const char *kind;
    if (!gguf_get_f64(in->gguf, key_of(in, "rope.freq_base"), 1, 1e12, 10000, &rope.theta, err) ||
        !gguf_get_text(in->gguf, key_of(in, "rope.scaling.type"), "none", &kind, err) ||
        !gguf_get_f64(in->gguf, key_of(in, "rope.scaling.factor"), 0, 1e6, 1, &rope.factor, err))
        return false;
    if (strcmp(kind, "yarn") == 0)
        rope.kind = ROPE_YARN;
    else if (strcmp(kind, "linear") == 0 && rope.factor != 1 && rope.factor != 0)
        rope.kind = ROPE_LINEAR;
    else if (strcmp(kind, "none") != 0 && strcmp(kind, "linear") != 0)
        return fail(err, ERR_FORMAT, "%s: key '%s.rope.scaling.type' is '%.40s', which is not "
                                     "known", gguf_name(in->gguf), in->prefix, kind);
    if (rope.kind == ROPE_YARN && !take_yarn(in, &rope, err))
        return false;
    return rope_write(&rope, in->config) || fail(err, ERR_MEMORY, "no memory for a configuration");
}

static bool take_id(In *in, const char *key, const char *to, Error *err)
{
    uint32_t id;
    bool first = strcmp(to, "bos_token_id") == 0;
    if (!gguf_find(in->gguf, key) || (first && gguf_find(in->gguf, "bastide.no_begin_token")))
        return set(in, to, json_null(), err);
    return gguf_need_u32(in->gguf, key, 0, (1 << 20) - 1, &id, err) &&
           set(in, to, json_integer(id), err);
}

static bool take_rest(In *in, const GgufArchitecture *a, Error *err)
{
    double eps;
    uint32_t window;
    const char *name;
    if (!gguf_get_f64(in->gguf, key_of(in, "attention.layer_norm_rms_epsilon"), 0, 1, 1e-5, &eps,
                      err) ||
        !gguf_get_text(in->gguf, "general.name", "", &name, err) ||
        !gguf_get_u32(in->gguf, "bastide.sliding_window", 1, 1 << 26, 0, &window, err))
        return false;
    /* an f32 in the file: the shortest decimal that reads back to it, so 1e-5 stays 1e-5 */
    char text[32];
    snprintf(text, sizeof text, "%.7g", eps);
    double shortest = 0;
    if (sscanf(text, "%lf", &shortest) == 1 && (float)shortest == (float)eps)
        eps = shortest;
    bool tied = !gguf_find_tensor(in->gguf, "output.weight");
    bool bias = gguf_find_tensor(in->gguf, "blk.0.attn_q.bias") != NULL;
    return set(in, "rms_norm_eps", json_real(eps), err) &&
           set(in, "hidden_act", json_string("silu"), err) &&
           set(in, "tie_word_embeddings", json_boolean(tied), err) &&
           (strcmp(a->family, "llama") != 0 ||
            (set(in, "attention_bias", json_boolean(bias), err) &&
             set(in, "mlp_bias", json_false(), err))) &&
           (strcmp(a->family, "mistral") != 0 ||
            set(in, "sliding_window", window ? json_integer(window) : json_null(), err)) &&
           (!*name || set(in, "_name_or_path", json_string(name), err)) &&
           take_id(in, "tokenizer.ggml.bos_token_id", "bos_token_id", err) &&
           take_id(in, "tokenizer.ggml.eos_token_id", "eos_token_id", err) &&
           take_id(in, "tokenizer.ggml.padding_token_id", "pad_token_id", err);
}

bool gguf_to_config(const Gguf *gguf, json_t **config, Error *err)
{
    const char *name, *family;
    uint32_t experts;
    auto_json json_t *out = json_object();
    In in = {.gguf = gguf, .config = out};
    if (!out)
        return fail(err, ERR_MEMORY, "no memory for a configuration");
    if (!gguf_get_text(gguf, "general.architecture", "", &name, err) ||
        !gguf_get_text(gguf, "bastide.family", "", &family, err))
        return false;
    in.prefix = name;
    if (strlen(name) > 32)
        return fail(err, ERR_FORMAT, "%s: architecture '%.40s' is not known here", gguf_name(gguf),
                    name);
    if (!gguf_get_u32(gguf, key_of(&in, "expert_count"), 0, 4096, 0, &experts, err))
        return false;
    const GgufArchitecture *a = gguf_architecture_named(name, experts > 0);
    if (!a)
        return fail(err, ERR_FORMAT, "%s: architecture '%.40s' is not known here: llama, mistral3, "
                                     "qwen2, qwen3 and qwen3moe are", gguf_name(gguf), name);
    if (a->family[0] == 'l' && strcmp(family, "mistral") == 0)
        a++; /* the row of mistral stands behind that of llama */
    json_t *classes = json_pack("[s]", a->class_name);
    if (!set(&in, "architectures", classes, err) ||
        !set(&in, "model_type", json_string(a->family), err) || !take_shape(&in, err) ||
        !take_mixture(&in, a, experts, err) || !take_rope(&in, err) || !take_rest(&in, a, err))
        return false;
    *config = json_incref(out);
    return true;
}

/* ---- into GGUF ---- */

typedef struct {
    GgufWriter *w;
    const char *prefix;
    char key[96];
} Out;

static void put_u32(Out *out, const char *key, uint32_t value)
{
    snprintf(out->key, sizeof out->key, "%s.%s", out->prefix, key);
    gguf_add_u32(out->w, out->key, value);
}

static void put_f32(Out *out, const char *key, double value)
{
    snprintf(out->key, sizeof out->key, "%s.%s", out->prefix, key);
    gguf_add_f32(out->w, out->key, (float)value);
}

static void put_text(Out *out, const char *key, const char *value)
{
    snprintf(out->key, sizeof out->key, "%s.%s", out->prefix, key);
    gguf_add_text(out->w, out->key, value);
}

static void put_shape(Out *out, const Outline *o)
{
    bool windowed = o->window && strcmp(out->prefix, "llama") == 0;
    put_u32(out, "vocab_size", o->vocab);
    put_u32(out, "context_length", windowed && o->window < o->context ? o->window : o->context);
    put_u32(out, "embedding_length", o->width);
    put_u32(out, "block_count", o->layers);
    put_u32(out, "feed_forward_length", o->ff_width);
    put_u32(out, "attention.head_count", o->heads);
    put_u32(out, "attention.head_count_kv", o->kv_heads);
    put_u32(out, "attention.key_length", o->head_width);
    put_u32(out, "attention.value_length", o->head_width);
    put_u32(out, "rope.dimension_count", o->head_width);
    if (o->experts) {
        put_u32(out, "expert_count", o->experts);
        put_u32(out, "expert_used_count", o->experts_used);
    }
    if (o->experts && strcmp(out->prefix, "llama") != 0)
        put_u32(out, "expert_feed_forward_length", o->expert_ff_width);
    if (windowed)
        gguf_add_u32(out->w, "bastide.sliding_window", o->window);
}

static bool put_rope(Out *out, const Outline *o, bool *divisors, Error *err)
{
    Rope rope;
    if (!rope_read(&rope, o->text, "config.json", err))
        return false;
    *divisors = rope.kind == ROPE_LLAMA3;
    put_f32(out, "rope.freq_base", rope.theta);
    if (rope.kind == ROPE_LINEAR || rope.kind == ROPE_YARN) {
        put_text(out, "rope.scaling.type", rope.kind == ROPE_YARN ? "yarn" : "linear");
        put_f32(out, "rope.scaling.factor", rope.factor);
    }
    if (rope.kind != ROPE_YARN)
        return true;
    if (rope.mscale != rope.mscale_all_dim)
        return fail(err, ERR_INPUT, "config.json: mscale %g and mscale_all_dim %g differ, which "
                                    "GGUF cannot say", rope.mscale, rope.mscale_all_dim);
    put_u32(out, "rope.scaling.original_context_length", rope.original);
    put_f32(out, "rope.scaling.yarn_beta_fast", rope.beta_fast);
    put_f32(out, "rope.scaling.yarn_beta_slow", rope.beta_slow);
    if (rope.mscale_all_dim != 0)
        put_f32(out, "rope.scaling.yarn_log_multiplier", rope.mscale_all_dim);
    if (rope.llama_4_beta != 0)
        put_f32(out, "attention.temperature_scale", rope.llama_4_beta);
    return true;
}

bool gguf_add_config(GgufWriter *w, const Source *s, bool *divisors, Error *err)
{
    const Outline *o = &s->outline;
    const GgufArchitecture *a = gguf_architecture_of(o);
    const char *act, *name, *slash = strrchr(s->path, '/');
    double eps;
    if (!a)
        return fail(err, ERR_FORMAT, "a model of family '%.40s' has no GGUF form here", o->family);
    Out out = {.w = w, .prefix = a->gguf};
    if (!json_get_text(o->text, "hidden_act", "silu", &act, "config.json", err) ||
        !json_get_f64(o->text, "rms_norm_eps", 0, 1, 1e-6, &eps, "config.json", err) ||
        !json_get_text(s->config, "_name_or_path", slash && slash[1] ? slash + 1 : s->path, &name,
                       "config.json", err))
        return false;
    if (strcmp(act, "silu") != 0)
        return fail(err, ERR_INPUT, "config.json: hidden_act '%.40s': GGUF takes silu for granted",
                    act);
    gguf_add_text(w, "general.architecture", a->gguf);
    if (*name)
        gguf_add_text(w, "general.name", name);
    if (s->licence)
        gguf_add_text(w, "general.license", s->licence);
    gguf_add_text(w, "bastide.family", o->family);
    put_shape(&out, o);
    put_f32(&out, "attention.layer_norm_rms_epsilon", eps);
    return put_rope(&out, o, divisors, err);
}
