/* source_model.h: a checkpoint of any layout as a model for inference, its weights left in their file
 * and read one matrix at a time, in the blocks they are stored in where kernels take those.
 *
 * `weights` NULL: as stored. A type of tensor/block.h that kernels take ("q8_0", "q4_0", "q4_k",
 * "q5_k", "q6_k"): matrices are put into it while loading; those whose rows are no whole blocks go
 * to q8_0, or f32. Values stored in blocks that kernels do not take go to q8_0, half precision to
 * f32; stacks of experts are f32 or q8_0. A folder in Hugging Face's layout without `weights`, or with
 * "f32", is loaded by model_load.
 * Errors: those of source.h; ERR_INPUT for a tokenizer that must be made first (llama2.c: import it).
 * Threads: one.
 */
#pragma once
#include "model/model.h"

bool source_model_load(Model **out, const char *path, const char *weights, Error *err) MUST_CHECK;
