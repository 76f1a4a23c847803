/* families.c: one row per family; see model.h, docs/models.md and docs/adding-a-model.md. The order is
 * that in which a family is suggested for a feature that another lacks. */
#include "model/family.h"

const Family families[] = {
    {.name = "llama",
     .architecture = "LlamaForCausalLM",
     .may = FEATURE_ROPE_SCALING | FEATURE_QKV_BIAS | FEATURE_O_BIAS | FEATURE_MLP_BIAS,
     .eps = 1e-6f,
     .theta = 10000},
    {.name = "mistral",
     .architecture = "MistralForCausalLM",
     .may = FEATURE_WINDOW | FEATURE_ROPE_SCALING,
     .patterned = "ministral",
     .eps = 1e-6f,
     .theta = 10000},
    /* Ministral 8B of 2024: one layer in four attends to everything. */
    {.name = "ministral",
     .architecture = "MinistralForCausalLM",
     .may = FEATURE_WINDOW | FEATURE_PATTERN | FEATURE_ROPE_SCALING,
     .eps = 1e-6f,
     .theta = 10000},
    /* Ministral 3 and Devstral 2: YaRN, and queries that grow beyond the original context. */
    {.name = "ministral3",
     .architecture = "Ministral3ForCausalLM",
     .may = FEATURE_WINDOW | FEATURE_ROPE_SCALING | FEATURE_QUERY_SCALE,
     .eps = 1e-5f},
    {.name = "mixtral",
     .architecture = "MixtralForCausalLM",
     .may = FEATURE_WINDOW | FEATURE_ROPE_SCALING | FEATURE_EXPERTS,
     .must = FEATURE_EXPERTS,
     .eps = 1e-5f,
     .experts = {.count = "num_local_experts",
                 .router = "block_sparse_moe.gate",
                 .gate = "block_sparse_moe.experts.*.w1",
                 .up = "block_sparse_moe.experts.*.w3",
                 .down = "block_sparse_moe.experts.*.w2"}},
    {.name = "qwen2",
     .architecture = "Qwen2ForCausalLM",
     .may = FEATURE_WINDOW | FEATURE_PATTERN | FEATURE_ROPE_SCALING | FEATURE_QKV_BIAS,
     .must = FEATURE_QKV_BIAS,
     .eps = 1e-6f,
     .theta = 10000,
     .window_switch = true},
    {.name = "qwen3",
     .architecture = "Qwen3ForCausalLM",
     .may = FEATURE_WINDOW | FEATURE_PATTERN | FEATURE_ROPE_SCALING | FEATURE_QK_NORM |
            FEATURE_QKV_BIAS | FEATURE_O_BIAS,
     .must = FEATURE_QK_NORM,
     .eps = 1e-6f,
     .theta = 10000,
     .window_switch = true},
    {.name = "qwen3_moe",
     .architecture = "Qwen3MoeForCausalLM",
     .may = FEATURE_WINDOW | FEATURE_ROPE_SCALING | FEATURE_QK_NORM | FEATURE_QKV_BIAS |
            FEATURE_O_BIAS | FEATURE_EXPERTS,
     .must = FEATURE_QK_NORM | FEATURE_EXPERTS,
     .eps = 1e-6f,
     .theta = 10000,
     .experts = {.count = "num_experts",
                 .width = "moe_intermediate_size",
                 .renormalise = "norm_topk_prob",
                 .router = "mlp.gate",
                 .gate = "mlp.experts.*.gate_proj",
                 .up = "mlp.experts.*.up_proj",
                 .down = "mlp.experts.*.down_proj"},
     .window_switch = true},
    {.name = NULL}, /* the end */
};

const Family *family_named(const char *name)
{
    for (const Family *family = families; family->name; family++) {
        if (strcmp(family->name, name) == 0)
            return family;
    }
    return NULL;
}

/* ---- features ---- */

uint32_t model_window(const ModelConfig *c, uint32_t layer)
{
    return c->full[layer / 8] >> layer % 8 & 1 ? 0 : c->window;
}

static bool has_pattern(const ModelConfig *c)
{
    for (uint32_t i = 0; i < sizeof c->full; i++) {
        if (c->full[i])
            return true;
    }
    return false;
}

uint32_t model_features(const ModelConfig *c)
{
    return (c->window ? FEATURE_WINDOW : 0u) | (has_pattern(c) ? FEATURE_PATTERN : 0u) |
           (c->rope.kind ? FEATURE_ROPE_SCALING : 0u) | (c->qk_norm ? FEATURE_QK_NORM : 0u) |
           (c->qkv_bias ? FEATURE_QKV_BIAS : 0u) | (c->o_bias ? FEATURE_O_BIAS : 0u) |
           (c->mlp_bias ? FEATURE_MLP_BIAS : 0u) | (c->experts ? FEATURE_EXPERTS : 0u) |
           (c->query_original ? FEATURE_QUERY_SCALE : 0u);
}

static const char *const feature_texts[FEATURE_COUNT] = {
    "a sliding window",      "a window in some layers only", "scaled rotary frequencies",
    "norms of queries and keys", "biases of queries, keys and values",
    "a bias of attention's output", "biases of the feed-forward part", "experts",
    "queries scaled by position",
};

const char *model_feature_text(ModelFeature feature)
{
    uint32_t index = 0;
    while (index + 1 < FEATURE_COUNT && (uint32_t)feature >> (index + 1))
        index++;
    return feature_texts[index];
}
