/* quant_fixture.h: tiny checkpoints of every family with random values, for the tests of quant/. */
#pragma once
#include "base/fs.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/test.h"
#include "quant/convert.h"

#include <stdio.h>

typedef struct {
    const char *family;
    const char *more; /* keys of its config.json beside those that all have */
    bool bias, head_norms, tied, native; /* native: Mistral's layout can say it */
} FixtureFamily;

#define FIXTURE_YARN                                                                               \
    "\"rope_parameters\":{\"rope_type\":\"yarn\",\"rope_theta\":1000000.0,\"factor\":16.0,"        \
    "\"original_max_position_embeddings\":16,\"beta_fast\":32.0,\"beta_slow\":1.0,\"mscale\":1.0," \
    "\"mscale_all_dim\":1.0,\"llama_4_scaling_beta\":0.1},"

static const FixtureFamily fixture_families[] = {
    {"llama", "", false, false, false, true},
    {"llama", "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
              "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":8192},", false, false,
     true, false},
    {"mistral", "\"sliding_window\":32,", false, false, true, true},
    {"ministral3", FIXTURE_YARN, false, false, true, true},
    {"qwen2", "", true, false, false, false},
    {"qwen3", "", false, true, true, false},
    {"mixtral", "\"num_local_experts\":3,\"num_experts_per_tok\":2,", false, false, false, true},
    {"qwen3_moe", "\"num_experts\":3,\"num_experts_per_tok\":2,\"moe_intermediate_size\":32,",
     false, true, false, false},
};
enum { FIXTURE_FAMILIES = sizeof fixture_families / sizeof *fixture_families };

/* Width 64 and 32 make whole blocks of 32; head width 8, 4 heads and 2: not width / heads. */
static inline void fixture_config(const FixtureFamily *f, Buf *out)
{
    buf_format(out,
               "{\"architectures\":[\"Tiny\"],\"model_type\":\"%s\",%s\"hidden_size\":64,"
               "\"intermediate_size\":96,\"num_hidden_layers\":2,\"num_attention_heads\":4,"
               "\"num_key_value_heads\":2,\"head_dim\":8,\"vocab_size\":20,"
               "\"max_position_embeddings\":64,\"rms_norm_eps\":1e-05,\"rope_theta\":500000.0,"
               "\"hidden_act\":\"silu\",\"tie_word_embeddings\":%s,\"bos_token_id\":1,"
               "\"eos_token_id\":2,\"torch_dtype\":\"float32\"}",
               f->family, f->more, f->tied ? "true" : "false");
}

static inline bool fixture_has(const FixtureFamily *f, const NameRow *row, NameMix mix)
{
    const char *name = row->name[NAMES_HF];
    if (strstr(name, ".bias"))
        return f->bias && !strstr(name, "o_proj");
    if (strstr(name, "q_norm") || strstr(name, "k_norm"))
        return f->head_norms;
    if (strcmp(name, "lm_head.weight") == 0)
        return !f->tied;
    bool dense = strstr(name, ".mlp.") && row->mix == MIX_ANY;
    return dense ? mix == MIX_ANY : row->mix == MIX_ANY || row->mix == mix;
}

typedef struct {
    StTensor tensors[128];
    uint32_t count;
    Arena arena;
    const StoredType *type;
} Fixture;

static inline void fixture_add(Fixture *x, const char *name, uint32_t rows, uint32_t columns)
{
    StTensor *t = &x->tensors[x->count++];
    uint64_t count = (uint64_t)rows * (columns ? columns : 1);
    RngKey key = rng_key(7, name);
    *t = (StTensor){.name = arena_copy_text(&x->arena, name, strlen(name)),
                    .dtype = (StDtype)x->type->st, .rank = columns ? 2 : 1,
                    .shape = {rows, columns}, .bytes = stored_bytes(x->type, count)};
    float *values = arena_alloc(&x->arena, count, sizeof *values);
    uint8_t *bytes = arena_alloc(&x->arena, t->bytes, 1);
    assert_non_null(values);
    assert_non_null(bytes);
    for (uint64_t i = 0; i < count; i++)
        values[i] = (float)rng_normal(key, i);
    x->type->of_f32(x->type, values, bytes, count);
    t->data = bytes;
}

/* Every tensor that the configuration asks for; all of one type. */
static inline void fixture_fill(Fixture *x, const FixtureFamily *f, const StoredType *type)
{
    Error err;
    Outline o;
    const NameRow *row;
    auto_json json_t *config = NULL;
    auto_buf Buf text;
    buf_init(&text, 1 << 14);
    fixture_config(f, &text);
    assert_ok(json_parse(&config, text.data, text.size, "config.json", &err));
    assert_ok(outline_read(&o, config, "config.json", &err));
    x->count = 0;
    x->type = type;
    arena_init(&x->arena, 64 << 20);
    for (uint32_t i = 0; (row = name_row(i)); i++) {
        bool layered = strstr(row->name[NAMES_HF], "%l");
        uint32_t experts = name_has_experts(row) ? o.experts : 1;
        for (uint32_t n = 0; fixture_has(f, row, outline_mix(&o)) &&
                             n < experts * (layered ? o.layers : 1); n++) {
            char name[NAME_ROOM];
            Name place = {row, n / experts, n % experts};
            assert_true(name_write(NAMES_HF, &place, name));
            fixture_add(x, name, outline_dim(&o, row->rows), outline_dim(&o, row->columns));
        }
    }
}

/* Writes the folder. */
static inline void fixture_write(const FixtureFamily *f, const char *folder,
                                 const StoredType *type)
{
    Error err;
    Fixture x;
    char path[256];
    auto_buf Buf config;
    buf_init(&config, 1 << 14);
    fixture_config(f, &config);
    fixture_fill(&x, f, type);
    assert_ok(fs_make_dirs(folder, &err));
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_ok(fs_write(path, config.data, config.size, &err));
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    assert_ok(safetensors_write(path, x.tensors, x.count, &err));
    arena_done(&x.arena);
}

static inline const ConvertFormat *fixture_format(const char *name)
{
    const ConvertFormat *f = convert_formats;
    while (strcmp(f->name, name) != 0)
        f++;
    return f;
}
