/* adapter_config.h: adapter_config.json of PEFT; see adapter.h. Private to quant/. */
#pragma once
#include "format/json.h"

typedef struct {
    json_t *object; /* owned */
    uint32_t rank;
    double alpha;
    bool root, dora; /* rsLoRA; DoRA */
} AdapterConfig;

bool adapter_config_read(AdapterConfig *out, const char *path, Error *err) MUST_CHECK;
void adapter_config_done(AdapterConfig *config);
/* The rank and the scale of a module: "model.layers.0.self_attn.q_proj". */
bool adapter_config_scale(const AdapterConfig *config, const char *module, uint32_t *rank,
                          double *scale, Error *err) MUST_CHECK;
