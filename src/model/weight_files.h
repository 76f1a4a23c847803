/* weight_files.h: the weights of a model folder: model.safetensors, or shards listed by
 * model.safetensors.index.json. Private to model/.
 *
 * A parameter is found under its own name or under the prefixes that models of text and images put
 * before it; one with '*' is a stack of tensors numbered from 0. f8 e4m3 tensors are multiplied by
 * the scale beside them (NAME_scale or NAME_scale_inv, of one value or one per row).
 * Errors: ERR_FORMAT naming file and tensor; ERR_NOT_FOUND; ERR_MEMORY. Threads: one.
 */
#pragma once
#include "model/model.h"

typedef struct WeightFiles WeightFiles;

bool weight_files_open(WeightFiles **out, const char *folder, Error *err) MUST_CHECK;
void weight_files_close(WeightFiles *files); /* NULL is a no-op */

uint64_t weight_files_bytes(const WeightFiles *files); /* of data, in all files */
const char *weight_files_name(const WeightFiles *files); /* "model.safetensors": for messages */
bool weight_files_has(const WeightFiles *files, const char *param);

typedef struct {
    const char *family; /* for messages */
    bool tied;          /* lm_head.weight may be there and is not needed */
    bool wrapped;       /* tensors of other parts are left out; else every tensor must belong */
    bool f8;            /* f8 weights may be there */
} WeightRules;

typedef struct {
    uint32_t left_out, f8; /* tensors */
} WeightCounts;

/* Fills the slab of laid out weights. */
bool weight_files_load(const WeightFiles *files, Weights *weights, WeightRules rules,
                       WeightCounts *counts, Error *err) MUST_CHECK;

/* Writes model.safetensors in f32, stacks as numbered tensors; an index left by another model is
 * removed. */
bool weight_files_save(const Weights *weights, const char *folder, Error *err) MUST_CHECK;
