/* stored.h: the types in which checkpoints hold values, whatever the container: one row per type,
 * with its name in safetensors and in GGUF and the way to f32 and back.
 * Threads: any.
 */
#pragma once
#include "format/gguf.h"
#include "format/safetensors.h"

typedef struct StoredType StoredType;
struct StoredType {
    const char *name;      /* "f16": as the command line writes it */
    int32_t st;            /* StDtype; -1: safetensors cannot hold it */
    int32_t ggml;          /* index of ggml_type_info; -1: GGUF cannot hold it */
    uint32_t block, bytes; /* values of a block, and its size */
    uint32_t file_type;    /* general.file_type of a GGUF file mostly of it */
    float most;            /* largest magnitude it holds; 0: any f32 */
    /* count values, whole blocks, any address. NULL: whole numbers, which are only copied. */
    void (*to_f32)(const StoredType *type, const uint8_t *from, float *to, uint64_t count);
    /* NULL: only read. Values are finite and within `most` (stored_misfit). */
    void (*of_f32)(const StoredType *type, const float *from, uint8_t *to, uint64_t count);
};
extern const StoredType stored_types[]; /* ended by a row without name */

const StoredType *stored_of_st(StDtype dtype);      /* never NULL */
const StoredType *stored_of_ggml(uint32_t ggml);    /* NULL: no codec for it */
const StoredType *stored_named(const char *name);   /* NULL: unknown */
uint64_t stored_bytes(const StoredType *type, uint64_t count); /* whole blocks */

/* Index of the first value that the type cannot hold: not a number, infinite, beyond `most`; count
 * when all fit. */
uint64_t stored_misfit(const StoredType *type, const float *values, uint64_t count);
