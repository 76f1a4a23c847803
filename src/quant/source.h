/* source.h: an opened checkpoint of any layout: a list of tensors by Hugging Face's names, its
 * configuration as Hugging Face's config.json, and the files of its tokenizer.
 *
 *     hf         a folder: config.json, model.safetensors or shards with an index
 *     mistral    a folder: params.json, consolidated*.safetensors; rows of Q and K as neighbours
 *     gguf       one file: architectures llama, mistral3, qwen2, qwen3, qwen3moe
 *     llama2.c   one file, versions 0 to 2, with tokenizer.bin or tok*.bin beside it
 *
 * Nothing is mapped: data is read by position (base/fs_file.h), so a file that shrinks meanwhile
 * gives an Error. A tensor that configuration and names describe has the shape they say, or the
 * checkpoint is refused. Pickles (.bin, .pt, .pth) are refused, never parsed.
 *
 * Reading is in rows: of a matrix, and of a vector as rows of one value (so that rows of a head can
 * be reordered). Values come in a type asked for: the stored one, byte for byte, or another by way
 * of f32, exactly when it can hold the value. Scales that stand beside a tensor (FP8, llama2.c's
 * groups) are applied on the way, and so is an adapter (adapter.h).
 *
 * Errors: ERR_FORMAT and ERR_LIMIT name file, tensor or key. Threads: a source is read-only; a reader
 * belongs to one.
 */
#pragma once
#include "base/mem.h"
#include "format/json.h"
#include "quant/outline.h"
#include "quant/stored.h"

/* Scales that stand beside a tensor: one for every `group` values, in order. */
typedef struct {
    const StoredType *type; /* NULL: none */
    uint32_t file;
    uint64_t offset, group; /* group UINT64_MAX: one for all */
} SourceScale;

typedef struct AdapterPart AdapterPart; /* adapter.h */

typedef struct {
    const char *name;       /* Hugging Face's */
    const StoredType *type;
    uint32_t rank;
    uint64_t shape[ST_RANK_MAX];
    uint64_t rows, columns; /* as read */
    uint64_t bytes;         /* stored */
    uint32_t neighbours;    /* head width, when rows stand as neighbours in the file; else 0 */
    uint32_t turned;        /* head width, when rotary positions turn the rows; else 0 */
    uint32_t file;
    uint64_t offset;
    SourceScale scale;
    const AdapterPart *adapter; /* NULL: none */
} SourceTensor;

/* A file that belongs to the model: copied as it is, or made here. */
typedef struct {
    const char *name;    /* in a folder: "tokenizer.json" */
    const char *path;    /* where it is; NULL: made */
    const char *bytes;   /* made */
    size_t size;
} SourceFile;

enum { SOURCE_FILES_MAX = 1024, SOURCE_EXTRAS_MAX = 32, SOURCE_TENSORS_MAX = 1 << 17 };

typedef struct {
    const char *layout;      /* "hf", "mistral", "gguf", "llama2.c" */
    char path[1024];
    json_t *config;
    Outline outline;         /* of config */
    SourceTensor *tensors;   /* layer by layer where the layout has that order */
    uint32_t count, room;
    FsFile *files;
    uint32_t file_count;
    SourceFile extras[SOURCE_EXTRAS_MAX];
    uint32_t extra_count;
    uint32_t left_out;       /* tensors that belong to the picture part, or hold nothing to keep */
    const char *licence;     /* NULL: nothing says */
    char tokenizer_note[160]; /* why its tokenizer is left out; "": it is not */
    Arena arena;             /* names, paths, made files */
} Source;

bool source_open(Source **out, const char *path, Error *err) MUST_CHECK;
void source_close(Source *source); /* NULL is a no-op */
const SourceTensor *source_find(const Source *source, const char *name); /* NULL: absent */
const SourceFile *source_extra(const Source *source, const char *name);  /* NULL: absent */
/* Appends a file that belongs to the model, up to out->limit. */
bool source_read_extra(const SourceFile *extra, Buf *out, Error *err) MUST_CHECK;
uint64_t source_parameters(const Source *source);
uint64_t tensor_elements(const SourceTensor *tensor);

/* ---- reading rows ---- */

typedef struct {
    const Source *source;
    uint64_t room;      /* values of a block */
    uint8_t *raw;
    float *values, *ordered;
} SourceReader;

/* Memory for blocks of any tensor of the source: about 24 MB, more when rows are very long. */
bool reader_new(SourceReader *out, const Source *source, Error *err) MUST_CHECK;
void reader_free(SourceReader *reader);
/* Rows of one call: a block, whole heads where rows may have to be reordered. */
uint64_t reader_rows(const SourceReader *reader, const SourceTensor *tensor);
/* True when rows of this type and order are a copy of the file's bytes. */
bool reader_copies(const SourceTensor *tensor, const StoredType *as, bool neighbours);

/* Rows first .. first + count in type `as`, into out; `neighbours`: turned rows come as neighbours
 * of a head, not as halves. first is a multiple of reader_rows, count at most that. A value that the
 * type cannot hold is ERR_INPUT with the tensor's name. */
bool reader_read(SourceReader *reader, const SourceTensor *tensor, uint64_t first, uint64_t count,
                 const StoredType *as, bool neighbours, uint8_t *out, Error *err) MUST_CHECK;
