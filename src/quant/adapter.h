/* adapter.h: adapters of PEFT (LoRA and its kin) on an opened checkpoint.
 *
 * A folder holds adapter_config.json and adapter_model.safetensors. For a module M the file has
 * `base_model.model.M.lora_A.weight` [r, in] and `...lora_B.weight` [out, r]; the weight becomes
 * W + s B A, s = alpha / r, or alpha / sqrt(r) with rsLoRA; r and alpha may be another for the
 * modules that a pattern names. With DoRA (`M.lora_magnitude_vector`, m [out]) it becomes
 * m (W + s B A) / |W + s B A|, row by row. An embedding has `M.lora_embedding_A` [r, rows] and
 * `M.lora_embedding_B` [columns, r]. A module that was trained whole stands under its own name and
 * replaces the weight.
 *
 * Attached, an adapter is applied while rows of the source are read: whatever the sink, the merge
 * streams. Values are computed in f32, as PEFT does on a CPU. Refused by name: other methods, biases,
 * transposed weights (fan_in_fan_out), parts that fit no tensor of the model.
 *
 * Errors: ERR_FORMAT, ERR_INPUT naming file, key, tensor. Threads: as the reader (source.h).
 */
#pragma once
#include "quant/source.h"

typedef struct Adapter Adapter;
bool adapter_open(Adapter **out, const char *folder, Error *err) MUST_CHECK;
/* Every part finds its tensor, or nothing is attached. The adapter must outlive the source's use. */
bool adapter_attach(Adapter *adapter, Source *source, Error *err) MUST_CHECK;
void adapter_close(Adapter *adapter); /* NULL is a no-op */
uint32_t adapter_parts(const Adapter *adapter);

/* Rows first .. first + count of W in values[count, columns] become those of the merged weight. */
bool adapter_apply(const AdapterPart *part, uint64_t first, uint64_t count, uint64_t columns,
                   float *values, Error *err) MUST_CHECK;

/* ---- writing ---- */

typedef struct {
    const char *module; /* "model.layers.0.self_attn.q_proj" */
    uint32_t rows, columns;
    const float *a, *b; /* [rank, columns], [rows, rank] */
} AdapterMatrix;
typedef struct {
    uint32_t rank;
    double alpha;
    const char *base; /* name of the model it belongs to */
    const AdapterMatrix *matrices;
    uint32_t count;
} AdapterFile;
/* A folder that PEFT loads: adapter_config.json, adapter_model.safetensors. ERR_CONFLICT when it
 * exists. */
bool adapter_write(const AdapterFile *file, const char *folder, Error *err) MUST_CHECK;

/* The same from the state of a training run with adapters (state.safetensors of a checkpoint, where
 * `W.lora_A` and `W.lora_B` lie flat); base is the model that was trained, the rank follows from the
 * sizes. *matrices: how many there are. ERR_INPUT for a state without adapters. */
bool adapter_write_state(const Source *base, const char *state, double alpha, const char *folder,
                         uint32_t *matrices, Error *err) MUST_CHECK;
