/* llama.c: Llama and Mistral: RMSNorm, rotary positions, grouped-query attention, SwiGLU. */
#include "model/llama.h"

#include <math.h>

typedef struct {
    Graph *g;
    const ModelConfig *c;
    const BuildSpec *spec;
    ModelPorts *ports;
    uint32_t layer;
} Builder;

static ValueId weight(Builder *b, uint32_t rows, uint32_t columns, const char *part)
{
    bool step = b->spec->mode == BUILD_STEP;
    ValueId w = graph_param(b->g, step ? b->spec->weights : DT_F32, shape2(rows, columns),
                            "model.layers.%u.%s.weight", b->layer, part);
    if (step)
        graph_pack(b->g, w);
    return w;
}

static ValueId linear(Builder *b, ValueId x, uint32_t rows, uint32_t columns, const char *part,
                      ValueId sum)
{
    return op_linear(b->g, x, weight(b, rows, columns, part), sum);
}

static ValueId norm(Builder *b, ValueId x, const char *part)
{
    ValueId w = graph_param(b->g, DT_F32, shape1(b->c->width), "model.layers.%u.%s.weight",
                            b->layer, part);
    return op_rms_norm(b->g, x, w, b->c->eps);
}

static ValueId rope(Builder *b, ValueId x, uint32_t heads)
{
    RopeArgs args = {.theta = b->c->theta, .heads = heads, .width = b->c->head_width};
    return op_rope(b->g, x, b->ports->pos, args);
}

/* Writes the new keys or values of this layer into its cache. */
static ValueId cached(Builder *b, ValueId x, const char *kind)
{
    ValueId cache = graph_state(b->g, DT_F32,
                                shape2(b->spec->cache_rows, b->c->kv_heads * b->c->head_width),
                                "cache.%u.%s", b->layer, kind);
    return op_cache_write(b->g, cache, x, b->ports->row);
}

static ValueId attend(Builder *b, ValueId q, ValueId k, ValueId v)
{
    const ModelConfig *c = b->c;
    AttentionArgs args = {.heads = c->heads, .kv_heads = c->kv_heads, .width = c->head_width,
                          .window = c->window, .page = b->spec->page,
                          .scale = 1.0f / sqrtf((float)c->head_width)};
    if (b->spec->mode == BUILD_TRAIN)
        return op_attention(b->g, q, k, v, b->ports->start, args);
    ValueId keys = cached(b, k, "k"), values = cached(b, v, "v");
    return op_attention_cached(b->g, q, keys, values, b->ports->seq, b->ports->pos,
                               b->ports->pages, args);
}

static ValueId attention_block(Builder *b, ValueId x)
{
    const ModelConfig *c = b->c;
    uint32_t q_width = c->heads * c->head_width, kv_width = c->kv_heads * c->head_width;
    ValueId h = norm(b, x, "input_layernorm");
    ValueId q = rope(b, linear(b, h, q_width, c->width, "self_attn.q_proj", 0), c->heads);
    ValueId k = rope(b, linear(b, h, kv_width, c->width, "self_attn.k_proj", 0), c->kv_heads);
    ValueId v = linear(b, h, kv_width, c->width, "self_attn.v_proj", 0);
    return linear(b, attend(b, q, k, v), c->width, q_width, "self_attn.o_proj", x);
}

static ValueId feed_forward(Builder *b, ValueId x)
{
    const ModelConfig *c = b->c;
    ValueId h = norm(b, x, "post_attention_layernorm");
    ValueId gate = linear(b, h, c->ff_width, c->width, "mlp.gate_proj", 0);
    ValueId up = linear(b, h, c->ff_width, c->width, "mlp.up_proj", 0);
    return linear(b, op_swiglu(b->g, gate, up), c->width, c->ff_width, "mlp.down_proj", x);
}

static void ports(Builder *b)
{
    uint32_t t = b->spec->tokens;
    ModelPorts *p = b->ports;
    p->ids = graph_input(b->g, DT_I32, shape1(t), "ids");
    p->pos = graph_input(b->g, DT_I32, shape1(t), "pos");
    if (b->spec->mode == BUILD_TRAIN) {
        p->start = graph_input(b->g, DT_I32, shape1(t), "start");
        p->target = graph_input(b->g, DT_I32, shape1(t), "target");
        return;
    }
    p->seq = graph_input(b->g, DT_I32, shape1(t), "seq");
    p->row = graph_input(b->g, DT_I32, shape1(t), "row");
    p->pages = graph_input(b->g, DT_I32, shape2(b->spec->sequences, b->spec->pages), "pages");
    p->pick = graph_input(b->g, DT_I32, shape1(b->spec->rows), "pick");
}

/* The head's matrix: the embedding itself in training when tied; at inference a parameter of its
 * own in the packed form, which the loader fills from the embedding. */
static ValueId head_weight(Builder *b, ValueId embedding)
{
    Shape shape = shape2(b->c->vocab, b->c->width);
    if (b->spec->mode == BUILD_TRAIN)
        return b->c->tied ? embedding : graph_param(b->g, DT_F32, shape, "lm_head.weight");
    ValueId head = graph_param(b->g, b->spec->weights, shape, "lm_head.weight");
    graph_pack(b->g, head);
    return head;
}

void llama_build(Graph *g, const ModelConfig *config, const BuildSpec *spec, ModelPorts *out)
{
    Builder b = {g, config, spec, out, 0};
    ports(&b);
    ValueId embedding = graph_param(g, DT_F32, shape2(config->vocab, config->width),
                                    "model.embed_tokens.weight");
    ValueId x = op_embed(g, embedding, out->ids);
    for (b.layer = 0; b.layer < config->layers; b.layer++) {
        graph_layer(g, b.layer + 1);
        x = attention_block(&b, x);
        x = feed_forward(&b, x);
    }
    graph_layer(g, 0);
    if (spec->mode == BUILD_STEP)
        x = op_embed(g, x, out->pick);
    ValueId final = graph_param(g, DT_F32, shape1(config->width), "model.norm.weight");
    ValueId h = op_rms_norm(g, x, final, config->eps);
    ValueId head = head_weight(&b, embedding);
    if (spec->mode == BUILD_TRAIN)
        out->loss = op_xent(g, h, head, out->target);
    else
        out->logits = op_linear(g, h, head, 0);
    graph_keep(g, spec->mode == BUILD_TRAIN ? out->loss : out->logits);
}

/* ---- config.json ---- */

/* Keys that would change the arithmetic and are not supported must have their neutral value. */
static bool check_neutral(const json_t *config, const char *name, Error *err)
{
    const char *act;
    bool attention_bias, mlp_bias;
    if (!json_get_text(config, "hidden_act", "silu", &act, name, err) ||
        !json_get_bool(config, "attention_bias", false, &attention_bias, name, err) ||
        !json_get_bool(config, "mlp_bias", false, &mlp_bias, name, err))
        return false;
    if (strcmp(act, "silu") != 0)
        return fail(err, ERR_FORMAT, "%s: hidden_act '%s' is not supported, only silu", name, act);
    if (attention_bias || mlp_bias)
        return fail(err, ERR_FORMAT, "%s: biases are not supported", name);
    const json_t *scaling = json_object_get(config, "rope_scaling");
    if (scaling && !json_is_null(scaling))
        return fail(err, ERR_FORMAT, "%s: rope_scaling is not supported", name);
    return true;
}

/* theta stands in rope_parameters (transformers 5) or at the top (4). */
static bool read_theta(const json_t *config, const char *name, float *theta, Error *err)
{
    const json_t *rope = json_object_get(config, "rope_parameters");
    const json_t *from = json_is_object(rope) ? rope : config;
    const char *type;
    double value;
    if (!json_get_text(from, "rope_type", "default", &type, name, err) ||
        !json_get_f64(from, "rope_theta", 1, 1e12, 10000, &value, name, err))
        return false;
    if (strcmp(type, "default") != 0)
        return fail(err, ERR_FORMAT, "%s: rope_type '%s' is not supported", name, type);
    *theta = (float)value;
    return true;
}

static bool read_shape(const json_t *config, const char *name, ModelConfig *c, Error *err)
{
    if (!json_need_u32(config, "hidden_size", 1, 1 << 16, &c->width, name, err) ||
        !json_need_u32(config, "intermediate_size", 1, 1 << 18, &c->ff_width, name, err) ||
        !json_need_u32(config, "num_hidden_layers", 1, 512, &c->layers, name, err) ||
        !json_need_u32(config, "num_attention_heads", 1, 1024, &c->heads, name, err) ||
        !json_need_u32(config, "vocab_size", 1, TOKENIZER_VOCAB_MAX, &c->vocab, name, err) ||
        !json_get_u32(config, "num_key_value_heads", 1, 1024, c->heads, &c->kv_heads, name, err) ||
        !json_get_u32(config, "max_position_embeddings", 1, 1 << 20, 2048, &c->context, name, err))
        return false;
    uint32_t head_width = c->width / c->heads;
    const json_t *given = json_object_get(config, "head_dim");
    if (given && !json_is_null(given))
        return json_need_u32(config, "head_dim", 2, 1024, &c->head_width, name, err);
    c->head_width = head_width;
    return true;
}

static bool llama_read(const json_t *config, const char *name, ModelConfig *out, Error *err)
{
    ModelConfig c = {0};
    double eps;
    if (!check_neutral(config, name, err) || !read_shape(config, name, &c, err) ||
        !read_theta(config, name, &c.theta, err) ||
        !json_get_f64(config, "rms_norm_eps", 0, 1, 1e-6, &eps, name, err) ||
        !json_get_bool(config, "tie_word_embeddings", false, &c.tied, name, err))
        return false;
    c.eps = (float)eps;
    *out = c;
    return true;
}

static bool mistral_read(const json_t *config, const char *name, ModelConfig *out, Error *err)
{
    ModelConfig c;
    if (!llama_read(config, name, &c, err))
        return false;
    const json_t *window = json_object_get(config, "sliding_window");
    if (window && !json_is_null(window) &&
        !json_need_u32(config, "sliding_window", 1, 1 << 20, &c.window, name, err))
        return false;
    *out = c;
    return true;
}

static bool llama_write(const ModelConfig *c, json_t *out)
{
    (void)c;
    return json_object_set_new(out, "attention_bias", json_false()) == 0 &&
           json_object_set_new(out, "mlp_bias", json_false()) == 0;
}

static bool mistral_write(const ModelConfig *c, json_t *out)
{
    return json_object_set_new(out, "sliding_window",
                               c->window ? json_integer(c->window) : json_null()) == 0;
}

const Family family_llama = {"llama", "LlamaForCausalLM", false, llama_read, llama_write, llama_build};
const Family family_mistral = {"mistral", "MistralForCausalLM", true, mistral_read, mistral_write,
                               llama_build};
