/* model.h: model families, and a model in memory: configuration, weights, tokenizer, template.
 *
 * A family is one row: which parts its models have and what config.json means when it is silent. What
 * differs between models is data in ModelConfig; one build function records the graph of any of
 * them, for training and for inference alike. Parameters carry Hugging Face's names in the graph, so
 * a weight file needs no translation; a name with '*' stands for a stack of tensors, one per expert.
 *
 * Alphabet: T tokens, D width, H heads, K kv heads, E head width, F feed-forward width,
 * V vocabulary, L layers, N experts, C experts chosen for a token.
 */
#pragma once
#include "base/fs.h"
#include "backend/backend.h"
#include "format/json.h"
#include "text/chat.h"

enum { MODEL_LAYERS_MAX = 1024, MODEL_HEAD_WIDTH_MAX = 1024, MODEL_EXPERTS_MAX = 1024 };

/* How rotary frequencies are stretched to a longer context than `original`. Zeros: not at all. */
typedef enum { ROPE_PLAIN, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN } RopeKind;
typedef struct {
    RopeKind kind;
    uint32_t original;
    float factor;
    float low, high;            /* llama3: wavelengths over original/low are divided by factor, those
                                 * under original/high kept */
    float beta_fast, beta_slow; /* yarn: turns within `original` between which it blends */
    float attention;            /* yarn: factor of cosines and sines */
    bool exact;                 /* yarn: the blend's bounds are not rounded to whole pairs */
} RopeScaling;

/* Zeros stand for "has none" throughout. */
typedef struct {
    uint32_t layers, width, heads, kv_heads, head_width, ff_width, vocab;
    uint32_t window;  /* sliding window of the layers that have one; 0: none */
    uint32_t context; /* most positions */
    float eps, theta;
    bool tied;        /* the head is the embedding */
    bool qk_norm;     /* queries and keys are normalised per head before they turn */
    bool qkv_bias, o_bias, mlp_bias;
    bool renormalise; /* weights of a token's experts sum to 1 */
    uint32_t experts, chosen, expert_width; /* mixture of experts in place of the feed-forward part */
    uint32_t query_original; /* queries grow by 1 + query_beta log(1 + floor(pos / query_original)) */
    float query_beta;
    RopeScaling rope;
    uint8_t full[MODEL_LAYERS_MAX / 8]; /* bit per layer: attends to everything, window or not */
} ModelConfig;

/* The window of one layer; 0: none. */
uint32_t model_window(const ModelConfig *config, uint32_t layer);

/* What a configuration has beyond the plain Llama block, as bits: what a family may and must have,
 * and what a file format must be able to say before it can take a model. */
typedef enum {
    FEATURE_WINDOW = 1,        /* a sliding window in some layer */
    FEATURE_PATTERN = 2,       /* not in all of them */
    FEATURE_ROPE_SCALING = 4,
    FEATURE_QK_NORM = 8,
    FEATURE_QKV_BIAS = 16,
    FEATURE_O_BIAS = 32,
    FEATURE_MLP_BIAS = 64,
    FEATURE_EXPERTS = 128,
    FEATURE_QUERY_SCALE = 256,
    FEATURE_COUNT = 9
} ModelFeature;
uint32_t model_features(const ModelConfig *config);
/* "a sliding window": what a bit stands for, for sentences. */
const char *model_feature_text(ModelFeature feature);

typedef enum {
    BUILD_TRAIN, /* one packed row of T tokens in, the loss out */
    BUILD_STEP,  /* T new tokens of any sequences over paged caches, logits of R of them out */
} BuildMode;

typedef struct {
    BuildMode mode;
    uint32_t tokens;                        /* T */
    uint32_t rows;                          /* step: R */
    uint32_t sequences, pages, page;        /* step: page table [sequences, pages], rows per page */
    uint32_t cache_rows;                    /* step: rows of each cache */
    DType weights;                          /* step: DT_F32 or DT_Q8_0 for the matrices */
} BuildSpec;

/* The leaves and results a caller feeds and reads. Absent ones are 0. */
typedef struct {
    ValueId ids, pos;
    ValueId start, target, loss;            /* train */
    ValueId seq, row, pages, pick, logits;  /* step: pick[R] are rows of T; logits [R,V] */
} ModelPorts;

typedef struct {
    const char *name;         /* "llama": model_type */
    const char *architecture; /* "LlamaForCausalLM" */
    uint32_t may, must;       /* features of its models */
    const char *patterned;    /* the family to save as when only some layers have the window */
    float eps, theta;         /* when config.json leaves them out; 0: it must not */
    /* Keys of config.json, and names of tensors under "model.layers.N."; NULL: no experts. */
    struct {
        const char *count, *width; /* keys; width NULL: intermediate_size */
        const char *renormalise;   /* key; NULL: always */
        const char *router, *gate, *up, *down; /* '*' is the expert's number */
    } experts;
    bool window_switch;       /* use_sliding_window and max_window_layers rule the window */
} Family;
extern const Family families[]; /* up to a row without a name */
const Family *family_named(const char *name); /* NULL: unknown */

/* Everything a configuration must satisfy, whatever its family. */
bool model_check_config(const ModelConfig *config, Error *err) MUST_CHECK;

/* Records the graph; errors surface in graph_finish or here. ERR_INPUT names what a model of this
 * family cannot have, or lacks. */
bool model_build(Graph *g, const Family *family, const ModelConfig *config, const BuildSpec *spec,
                 ModelPorts *out, Error *err) MUST_CHECK;

/* ---- weights: one slab of f32, addressed by name ---- */

typedef struct {
    char name[120];
    Shape shape;
    uint64_t offset; /* in elements */
} ParamInfo;

typedef struct {
    ParamInfo *params; /* in order of first use */
    uint32_t count;
    uint64_t elements;
    float *slab; /* 64-byte aligned; every parameter starts at a multiple of 16 elements */
} Weights;

/* Lays out the parameters (leaves of role PARAM) of a graph, less those that `held` has (NULL:
 * none); slab zeroed. */
bool weights_new(Weights *out, const Graph *g, const Weights *held, Error *err) MUST_CHECK;
void weights_free(Weights *weights);
const ParamInfo *weights_find(const Weights *weights, const char *name); /* NULL: absent */
/* Normal, deviation 0.02, that of projections back into the residual stream over sqrt(2 L); norms
 * 1, biases 0; lora_A uniform as PEFT (kaiming, a = sqrt 5), lora_B 0. A function of (seed, name, index). */
void weights_init(Weights *weights, uint32_t layers, uint64_t seed);

/* ---- a model ---- */

typedef struct {
    const Family *family;
    ModelConfig config;
    Weights weights;
    Tokenizer *tokenizer;          /* NULL when the folder has none */
    const ChatTemplate *chat;      /* NULL when the folder has none; its text is chat->jinja */
    char name[128];
    char note[240]; /* a sentence about what loading left out or changed; empty: nothing */
} Model;

/* A fresh model; takes tokenizer and chat over on success. */
bool model_new(Model **out, const Family *family, const ModelConfig *config, Tokenizer *tokenizer,
               const ChatTemplate *chat, const char *name, uint64_t seed, Error *err) MUST_CHECK;

/* A folder in Hugging Face layout: config.json, model.safetensors or its shards with
 * model.safetensors.index.json, tokenizer.json, tokenizer_config.json, generation_config.json.
 * Loading accepts f32, f16, bf16 weights, and f8 e4m3 with a scale per tensor or per row. Of a model
 * of text and images the text part is loaded, and `note` says so. Errors name file, key, tensor.
 * Saving writes every file atomically. */
bool model_load(Model **out, const char *folder, Error *err) MUST_CHECK;
bool model_save(const Model *model, const char *folder, Error *err) MUST_CHECK;
void model_free(Model *model); /* NULL is a no-op */

uint64_t model_parameters(const Model *model);
