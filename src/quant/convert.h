/* convert.h: an opened checkpoint written in another layout, in a stream.
 *
 *     hf        a folder: config.json, model.safetensors (shards of 5 GB with an index), the
 *               tokenizer's and other files that belong to the model
 *     mistral   a folder: params.json, consolidated.safetensors, the same files
 *     gguf      one file that llama.cpp reads
 *
 * Memory: blocks of rows and lists of names; a checkpoint of any size converts in about 50 MB.
 * Atomic: a folder is written under a temporary name beside and renamed when all of it is durable, a
 * file likewise; a failure leaves nothing. What exists is never written over.
 *
 * Types: kept unless one is asked for. Kept values are copied byte for byte; what the layout cannot
 * hold (blocks and FP8 in safetensors, FP8 in GGUF) becomes f32, which holds it exactly. A type asked
 * for applies to floating-point tensors; in GGUF to matrices, vectors being f32, and a matrix
 * whose rows are no whole blocks being f16.
 *
 * Errors: ERR_INPUT for what a layout cannot say (naming tensor or key), ERR_CONFLICT when the
 * target exists, ERR_CANCELLED when progress says so, and those of source.h. Threads: one.
 */
#pragma once
#include "quant/source.h"

typedef struct {
    uint64_t done, total; /* bytes written, and to be written */
    const char *tensor;
} ConvertProgress;

typedef struct {
    const StoredType *type; /* NULL: kept */
    bool dry_run;           /* plan all, write nothing */
    uint32_t threads;       /* that put values into blocks; 0: all */
    uint64_t shard_bytes;   /* hf: most bytes of a file of weights; 0: 5 GB */
    bool (*progress)(void *user, const ConvertProgress *progress); /* NULL: none; false: stop */
    void *user;
    /* gguf: a type for each matrix by itself, and how much each of its columns matters (NULL: all
     * alike; must live until the end). NULL: `type` for all. */
    const StoredType *(*choose)(void *user, const SourceTensor *tensor, const float **importance);
    void *choose_user;
    uint32_t file_type;     /* with choose: general.file_type */
} ConvertOptions;

typedef struct {
    uint64_t bytes;            /* of tensor data */
    uint32_t tensors, files;   /* files of weights */
    uint32_t left_out;         /* tensors of the picture part, or that the layout does without */
    bool exact;                /* every value is the source's */
} ConvertResult;

typedef struct {
    const char *name; /* "gguf": as the command line writes it */
    bool (*run)(const Source *source, const char *path, const ConvertOptions *options,
                ConvertResult *result, Error *err);
} ConvertFormat;
extern const ConvertFormat convert_formats[]; /* ended by a row without name */

bool convert(const ConvertFormat *format, const Source *source, const char *path,
             const ConvertOptions *options, ConvertResult *result, Error *err) MUST_CHECK;

/* SHA-256 of a tensor's values as they stand in Hugging Face's layout and in the stored type: the
 * same for one model in every layout that keeps the type. */
bool convert_digest(SourceReader *reader, const SourceTensor *tensor, uint8_t digest[32],
                    Error *err) MUST_CHECK;
