/* llama2c.h: the checkpoints of llama2.c (karpathy): where each tensor lies in the file.
 *
 * Version 0 has no magic: seven i32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size,
 * seq_len; a negative vocabulary: the head is a matrix of its own), then f32 kind by kind, layers
 * within a kind: embedding, attention norms, wq, wk, wv, wo, feed-forward norms, w1, w2, w3, final
 * norm, two tables of rotations of seq_len * head_width / 2 (not needed), the head.
 * Versions 1 and 2: u32 0x616b3432, i32 version, the seven (vocabulary positive), u8 "the head is
 * the embedding", in version 2 i32 group; zeros up to byte 256. Version 1, all f32: attention norms,
 * feed-forward norms, final norm, embedding, wq, wk, wv, wo, w1, w2, w3, head. Version 2: the norms
 * in f32, then the same matrices, each (each layer) as i8 values and after them one f32 scale for
 * every `group` values.
 * Rows of wq and wk are in the order of Meta: neighbours of a head are turned together.
 *
 * The size of the file must be exactly what the header says. Shapes have limits, so all sums fit.
 * Errors: ERR_FORMAT, ERR_LIMIT "file: what". Threads: any.
 */
#pragma once
#include "base/fs_file.h"

typedef struct {
    uint32_t version; /* 0, 1 or 2 */
    uint32_t width, ff_width, layers, heads, kv_heads, head_width, vocab, context;
    bool tied;        /* the head is the embedding */
    uint32_t group;   /* version 2; else 0 */
} Llama2c;

typedef enum {
    LLAMA2C_EMBEDDING, LLAMA2C_ATTENTION_NORM, LLAMA2C_WQ, LLAMA2C_WK, LLAMA2C_WV, LLAMA2C_WO,
    LLAMA2C_FF_NORM, LLAMA2C_W1, LLAMA2C_W2, LLAMA2C_W3, LLAMA2C_FINAL_NORM, LLAMA2C_HEAD,
    LLAMA2C_PART_COUNT
} Llama2cPart;

typedef struct {
    uint32_t rows, columns; /* rows 0: a vector of `columns` */
    uint64_t offset;        /* of the values in the file */
    uint64_t scales;        /* offset of the scales; 0: the values are f32 */
} Llama2cTensor;

/* start[size] are the first bytes (256 suffice) of a file of file_size bytes. */
bool llama2c_parse(Llama2c *out, const uint8_t *start, size_t size, uint64_t file_size,
                   const char *name, Error *err) MUST_CHECK;
bool llama2c_open(Llama2c *out, const FsFile *file, Error *err) MUST_CHECK;
bool llama2c_is_layered(Llama2cPart part);
/* Where the part of this layer (0 when not layered) lies. Not LLAMA2C_HEAD when tied. */
Llama2cTensor llama2c_tensor(const Llama2c *file, Llama2cPart part, uint32_t layer);
