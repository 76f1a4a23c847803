/* model.h: model families, and a model in memory: configuration, weights, tokenizer, template.
 *
 * A family is one row: how its config.json is read and written, and one build function that records
 * its graph for training and for inference alike. Parameters carry Hugging Face's names in the
 * graph, so a weight file needs no translation.
 *
 * Alphabet: T tokens, D width, H heads, K kv heads, E head width, F feed-forward width,
 * V vocabulary, L layers.
 */
#pragma once
#include "base/fs.h"
#include "backend/backend.h"
#include "format/json.h"
#include "text/chat.h"

typedef struct {
    uint32_t layers, width, heads, kv_heads, head_width, ff_width, vocab;
    uint32_t window;  /* sliding window of every layer; 0: none */
    uint32_t context; /* most positions */
    float eps, theta;
    bool tied; /* the head is the embedding */
} ModelConfig;

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
    bool windows;             /* may have a sliding window */
    bool (*read)(const json_t *config, const char *name, ModelConfig *out, Error *err);
    bool (*write)(const ModelConfig *config, json_t *out); /* the family's own keys */
    void (*build)(Graph *g, const ModelConfig *config, const BuildSpec *spec, ModelPorts *out);
} Family;
extern const Family *const families[]; /* NULL-terminated */
const Family *family_named(const char *name);

/* Everything a configuration must satisfy, checked once. */
bool model_check_config(const ModelConfig *config, Error *err) MUST_CHECK;

/* Records the graph; errors surface in graph_finish or here. */
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
 * 1; lora_A uniform as PEFT (kaiming, a = sqrt 5), lora_B 0. A function of (seed, name, index). */
void weights_init(Weights *weights, uint32_t layers, uint64_t seed);

/* ---- a model ---- */

typedef struct {
    const Family *family;
    ModelConfig config;
    Weights weights;
    Tokenizer *tokenizer;          /* NULL when the folder has none */
    const ChatTemplate *chat;      /* NULL when the folder has none; its text is chat->jinja */
    char name[128];
} Model;

/* A fresh model; takes tokenizer and chat over on success. */
bool model_new(Model **out, const Family *family, const ModelConfig *config, Tokenizer *tokenizer,
               const ChatTemplate *chat, const char *name, uint64_t seed, Error *err) MUST_CHECK;

/* A folder in Hugging Face layout: config.json, model.safetensors, tokenizer.json,
 * tokenizer_config.json, generation_config.json. Loading accepts f32, f16, bf16 weights. Errors
 * name file, key, tensor. Saving writes every file atomically. */
bool model_load(Model **out, const char *folder, Error *err) MUST_CHECK;
bool model_save(const Model *model, const char *folder, Error *err) MUST_CHECK;
void model_free(Model *model); /* NULL is a no-op */

uint64_t model_parameters(const Model *model);
