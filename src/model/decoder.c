/* decoder.c: the graph of every family: RMSNorm, rotary positions, grouped-query attention, SwiGLU or
 * a mixture of experts. Parts that a configuration lacks record nothing, so a plain model's graph is
 * that of Llama. */
#include "model/family.h"

#include <math.h>

typedef struct {
    Graph *g;
    const Family *family;
    const ModelConfig *c;
    const BuildSpec *spec;
    ModelPorts *ports;
    uint32_t layer;
    uint32_t turns; /* table of rotary frequencies; 0: theta's own */
} Builder;

static ValueId matrix(Builder *b, Shape shape, const char *part)
{
    bool step = b->spec->mode == BUILD_STEP;
    ValueId w = graph_param(b->g, step ? b->spec->weights : DT_F32, shape,
                            "model.layers.%u.%s.weight", b->layer, part);
    if (step)
        graph_pack(b->g, w);
    return w;
}

static ValueId vector(Builder *b, uint32_t count, const char *part, const char *kind)
{
    return graph_param(b->g, DT_F32, shape1(count), "model.layers.%u.%s.%s", b->layer, part, kind);
}

static ValueId linear(Builder *b, ValueId x, uint32_t rows, uint32_t columns, const char *part,
                      ValueId sum)
{
    return op_linear(b->g, x, matrix(b, shape2(rows, columns), part), sum);
}

static ValueId biased(Builder *b, ValueId y, uint32_t rows, const char *part, bool has)
{
    return has ? op_bias(b->g, y, vector(b, rows, part, "bias")) : y;
}

static ValueId norm(Builder *b, ValueId x, const char *part)
{
    return op_rms_norm(b->g, x, vector(b, b->c->width, part, "weight"), b->c->eps);
}

/* Every head normalised alone, by one weight for all of them. */
static ValueId head_norm(Builder *b, ValueId x, const char *part)
{
    if (!b->c->qk_norm)
        return x;
    return op_rms_norm(b->g, x, vector(b, b->c->head_width, part, "weight"), b->c->eps);
}

static ValueId rope(Builder *b, ValueId x, uint32_t heads)
{
    RopeArgs args = {.theta = b->c->theta, .heads = heads, .width = b->c->head_width,
                     .table = b->turns};
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
                          .window = model_window(c, b->layer), .page = b->spec->page,
                          .scale = 1.0f / sqrtf((float)c->head_width)};
    if (c->rope.kind == ROPE_YARN) /* of queries and of keys: both turn by stretched cosines */
        args.scale *= c->rope.attention * c->rope.attention;
    if (b->spec->mode == BUILD_TRAIN)
        return op_attention(b->g, q, k, v, b->ports->start, args);
    ValueId keys = cached(b, k, "k"), values = cached(b, v, "v");
    return op_attention_cached(b->g, q, keys, values, b->ports->seq, b->ports->pos,
                               b->ports->pages, args);
}

static ValueId projected(Builder *b, ValueId h, uint32_t rows, const char *part)
{
    return biased(b, linear(b, h, rows, b->c->width, part, 0), rows, part, b->c->qkv_bias);
}

static ValueId attention_block(Builder *b, ValueId x)
{
    const ModelConfig *c = b->c;
    uint32_t q_width = c->heads * c->head_width, kv_width = c->kv_heads * c->head_width;
    ValueId h = norm(b, x, "input_layernorm");
    ValueId q = projected(b, h, q_width, "self_attn.q_proj");
    q = rope(b, head_norm(b, q, "self_attn.q_norm"), c->heads);
    if (c->query_original) {
        PositionArgs args = {.beta = c->query_beta, .original = c->query_original};
        q = op_position_scale(b->g, q, b->ports->pos, args);
    }
    ValueId k = projected(b, h, kv_width, "self_attn.k_proj");
    k = rope(b, head_norm(b, k, "self_attn.k_norm"), c->kv_heads);
    ValueId v = projected(b, h, kv_width, "self_attn.v_proj");
    ValueId y = linear(b, attend(b, q, k, v), c->width, q_width, "self_attn.o_proj", x);
    return biased(b, y, c->width, "self_attn.o_proj", c->o_bias);
}

/* The C experts of each token, weighted; a step's matrices are packed expert by expert. */
static ValueId expert_block(Builder *b, ValueId h, ValueId x)
{
    const ModelConfig *c = b->c;
    uint32_t n = c->experts, f = c->expert_width, d = c->width;
    ValueId router = graph_param(b->g, DT_F32, shape2(n, d), "model.layers.%u.%s.weight", b->layer,
                                 b->family->experts.router);
    RouteArgs route = {.chosen = c->chosen, .renormalise = c->renormalise};
    ValueId weight = op_route(b->g, op_linear(b->g, h, router, 0), route);
    ValueId choice = graph_out(b->g, weight, 1);
    ValueId gate = op_expert_matmul(b->g, h, matrix(b, shape3(n, f, d), b->family->experts.gate),
                                    choice);
    ValueId up = op_expert_matmul(b->g, h, matrix(b, shape3(n, f, d), b->family->experts.up),
                                  choice);
    ValueId z = op_expert_matmul(b->g, op_swiglu(b->g, gate, up),
                                 matrix(b, shape3(n, d, f), b->family->experts.down), choice);
    return op_expert_sum(b->g, weight, z, x);
}

static ValueId feed_forward(Builder *b, ValueId x)
{
    const ModelConfig *c = b->c;
    ValueId h = norm(b, x, "post_attention_layernorm");
    if (c->experts)
        return expert_block(b, h, x);
    ValueId gate = linear(b, h, c->ff_width, c->width, "mlp.gate_proj", 0);
    gate = biased(b, gate, c->ff_width, "mlp.gate_proj", c->mlp_bias);
    ValueId up = linear(b, h, c->ff_width, c->width, "mlp.up_proj", 0);
    up = biased(b, up, c->ff_width, "mlp.up_proj", c->mlp_bias);
    ValueId y = linear(b, op_swiglu(b->g, gate, up), c->width, c->ff_width, "mlp.down_proj", x);
    return biased(b, y, c->width, "mlp.down_proj", c->mlp_bias);
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

static uint32_t rope_turns(Graph *g, const ModelConfig *config)
{
    float turns[MODEL_HEAD_WIDTH_MAX / 2];
    if (config->rope.kind == ROPE_PLAIN)
        return 0;
    rope_frequencies(config, turns);
    return graph_table(g, turns, config->head_width / 2);
}

void decoder_build(Graph *g, const Family *family, const ModelConfig *config,
                   const BuildSpec *spec, ModelPorts *out)
{
    Builder b = {g, family, config, spec, out, 0, rope_turns(g, config)};
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
