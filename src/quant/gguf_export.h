/* gguf_export.h: a model as one GGUF file that llama.cpp reads.
 *
 * Architecture "llama" for both families. What differs from the model folder:
 *   - names: "blk.3.attn_q.weight" for "model.layers.3.self_attn.q_proj.weight", and so on;
 *     "output.weight" is left out when the head is the embedding.
 *   - rows of Q and K: llama.cpp turns neighbours (2i, 2i + 1) of a head, Hugging Face's layout
 *     the halves (i, i + E/2); row i of a half becomes row 2i or 2i + 1.
 *   - types: matrices in the type asked for, vectors f32. Under q8_0 a matrix whose rows are not
 *     whole blocks of 32 is stored as f16.
 *   - a sliding window has no key of its own in this architecture: context_length is at most the
 *     window, within which both mean the same.
 *   - tokenizer: GPT-2's byte-level BPE with tokens, kinds and merges. Ids without token, up to
 *     the vocabulary of the model, are named "[PAD<id>]" and marked unused. A begin token is never
 *     added. Only a tokenizer that cuts text by GPT-2's pattern can be told: another is refused.
 *   - the chat template and its end token, when the model has a template known here.
 *
 * Errors: ERR_INPUT (a tokenizer that cannot be told; a weight that is not finite, or too large
 * for f16), and those of format/gguf.h. On failure no file is left. Deterministic: the same model
 * and type give the same bytes. Threads: one.
 */
#pragma once
#include "model/model.h"

typedef struct {
    const char *name;    /* "q8_0": as the command line writes it */
    uint32_t ggml;       /* type of the matrices; see format/gguf.h */
    uint32_t file_type;  /* general.file_type */
} GgufExportType;
extern const GgufExportType gguf_export_types[]; /* ended by a row without name */
const GgufExportType *gguf_export_type_named(const char *name); /* NULL: unknown */

bool gguf_export(const Model *model, const GgufExportType *type, const char *path,
                 Error *err) MUST_CHECK;

/* A type for each matrix by itself. choose fills the type in which `param` is stored, a type of
 * tensor/block.h whose blocks divide its rows, and how much each of its columns matters (NULL: all
 * alike; it must live until the export ends). Vectors are not asked for: they stay f32. */
typedef struct {
    uint32_t file_type; /* general.file_type */
    void *user;
    DType (*choose)(void *user, const ParamInfo *param, const float **importance);
    uint32_t threads;   /* 0: all */
} GgufMixture;
bool gguf_export_mixture(const Model *model, const GgufMixture *mixture, const char *path,
                         Error *err) MUST_CHECK;

/* "blk.3.attn_q.weight" for "model.layers.3.self_attn.q_proj.weight"; false: no name is known. */
bool gguf_export_name(const char *ours, char theirs[64]);

/* The row of the file's Q or K in which row `row` of the folder's stands; head_width even. */
uint32_t gguf_export_row(uint32_t row, uint32_t head_width);
