/* gguf.h: the GGUF container of ggml and llama.cpp: versions 2 and 3 read by mapping or by
 * position, 3 written in a stream.
 *
 * Layout (all little-endian): "GGUF", u32 version, u64 tensors, u64 pairs; the pairs (text key, u32
 * type, value); per tensor (text name, u32 rank, u64 shape[rank], u32 ggml type, u64 offset);
 * padding to the alignment (`general.alignment`, else 32); the data, each tensor padded likewise.
 * A text is u64 length and bytes; an array is u32 item type, u64 count, items. ggml's shape is
 * fastest first: shape[0] is the length of a row, the reverse of safetensors.
 *
 * Rules checked on read: counts against limits and against the bytes there are; keys and names
 * printable and unique; no arrays of arrays; alignment a power of two from 8 to 65536; rank 1 to 4;
 * dimensions from 1 with a product below 2^63, a row being whole blocks of its known type; offsets
 * exactly one after the other, which rules out overlap; data inside the file.
 * Errors: ERR_FORMAT "file: tensor 'x': what"; ERR_LIMIT, ERR_MEMORY, and those of base/fs.h.
 * Threads: an open file is read-only, any thread; a writer belongs to one.
 */
#pragma once
#include "base/fs.h"
#include "base/fs_file.h"

enum {
    GGUF_TENSORS_MAX = 1 << 17,
    GGUF_PAIRS_MAX = 1 << 14,
    GGUF_NAME_BYTES_MAX = 255, /* of a key or a tensor */
    GGUF_RANK_MAX = 4,
    GGUF_ALIGNMENT = 32, /* of the files written */
    GGUF_HEADER_MAX = 256 << 20,
};

/* ---- ggml's tensor types ---- */

enum { /* those with a meaning to this project; the numbers are the format's */
    GGML_F32 = 0, GGML_F16 = 1, GGML_Q4_0 = 2, GGML_Q8_0 = 8, GGML_Q4_K = 12, GGML_Q6_K = 14,
    GGML_BF16 = 30, GGML_TYPE_COUNT = 42
};
typedef struct {
    const char *name;      /* "Q8_0"; NULL: no such type */
    uint32_t block, bytes; /* values of a block, and its size */
} GgmlTypeInfo;
extern const GgmlTypeInfo ggml_type_info[GGML_TYPE_COUNT];

/* Bytes of a tensor; false when the shape or the type breaks a rule above. */
bool gguf_tensor_bytes(uint32_t type, uint32_t rank, const uint64_t *shape, uint64_t *out);

/* ---- reading ---- */

typedef enum { GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL,
               GGUF_TEXT, GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64, GGUF_TYPE_COUNT } GgufType;

typedef enum { GGUF_UNSIGNED, GGUF_SIGNED, GGUF_REAL, GGUF_TRUTH, GGUF_OTHER } GgufKind;
typedef struct {
    GgufKind kind;
    uint32_t bytes; /* 0: not of fixed size */
} GgufTypeInfo;
extern const GgufTypeInfo gguf_type_info[GGUF_TYPE_COUNT];

typedef struct {
    const char *key;
    GgufType type;        /* of the value, or of each item of an array */
    bool is_array;
    uint64_t count;       /* items; 1 when it is no array */
    const uint8_t *bytes; /* the first item, unaligned, inside the map */
    const char *text;     /* of a GGUF_TEXT that is no array: NUL-terminated copy */
    uint64_t text_bytes;  /* its length (a NUL inside is possible) */
} GgufValue;

typedef struct {
    const char *name;
    uint32_t type, rank; /* type indexes ggml_type_info */
    uint64_t shape[GGUF_RANK_MAX]; /* fastest first; 1 beyond rank */
    const uint8_t *data;           /* inside the map; NULL when only the header was read */
    uint64_t bytes, offset;        /* offset of the data in the file */
} GgufTensor;

typedef struct Gguf Gguf;
bool gguf_open(Gguf **out, const char *path, Error *err) MUST_CHECK;
/* From memory that outlives the result; `name` for messages. The fuzz target's way in. */
bool gguf_parse(Gguf **out, const uint8_t *bytes, size_t size, const char *name,
                Error *err) MUST_CHECK;
/* The header alone (at most GGUF_HEADER_MAX bytes), copied: tensors have no data, the caller reads
 * it from `file` at their offsets, and survives a file that shrinks meanwhile. */
bool gguf_open_header(Gguf **out, const FsFile *file, Error *err) MUST_CHECK;
void gguf_close(Gguf *gguf); /* NULL is a no-op */

const char *gguf_name(const Gguf *gguf); /* as given, for messages */
uint32_t gguf_version(const Gguf *gguf);
uint32_t gguf_value_count(const Gguf *gguf);
const GgufValue *gguf_value_at(const Gguf *gguf, uint32_t index);      /* in the file's order */
const GgufValue *gguf_find(const Gguf *gguf, const char *key);         /* NULL: absent */
uint32_t gguf_tensor_count(const Gguf *gguf);
const GgufTensor *gguf_tensor_at(const Gguf *gguf, uint32_t index);    /* in the file's order */
const GgufTensor *gguf_find_tensor(const Gguf *gguf, const char *name); /* NULL: absent */

/* Item `index` of a value that is a number or a bool, or an array of them. Whole numbers beyond
 * 2^53 are rounded. */
double gguf_number(const GgufValue *value, uint64_t index);

/* Steps through an array of texts: at first *at = value->bytes. The text is not NUL-terminated. */
void gguf_next_text(const uint8_t **at, const char **text, uint64_t *bytes);

/* Typed values: any whole type for u32, any number for f64. Absent: the fallback (get), or
 * ERR_FORMAT (need). Wrong type or range: ERR_FORMAT "file: key 'x' must be ...". */
bool gguf_need_u32(const Gguf *gguf, const char *key, uint32_t low, uint32_t high, uint32_t *out,
                   Error *err) MUST_CHECK;
bool gguf_get_u32(const Gguf *gguf, const char *key, uint32_t low, uint32_t high,
                  uint32_t fallback, uint32_t *out, Error *err) MUST_CHECK;
bool gguf_get_f64(const Gguf *gguf, const char *key, double low, double high, double fallback,
                  double *out, Error *err) MUST_CHECK;
bool gguf_get_bool(const Gguf *gguf, const char *key, bool fallback, bool *out,
                   Error *err) MUST_CHECK;
bool gguf_get_text(const Gguf *gguf, const char *key, const char *fallback, const char **out,
                   Error *err) MUST_CHECK; /* lives as long as the file; without NUL */
/* An array of this item type with low to high items; GGUF_F32 and GGUF_F64 stand for each other,
 * and so do the whole types. */
bool gguf_need_array(const Gguf *gguf, const char *key, GgufType type, uint64_t low, uint64_t high,
                     const GgufValue **out, Error *err) MUST_CHECK;

/* ---- writing ----
 *
 * new; any number of add_*; begin; every tensor's data in the order added, in pieces of any size;
 * commit. free at any time: what is not committed leaves no file. A failed add is remembered and
 * reported by begin: a name twice, a bad shape, no memory. */
typedef struct GgufWriter GgufWriter;
typedef struct {
    const char *text;
    uint64_t bytes;
} GgufText;

bool gguf_writer_new(GgufWriter **out, Error *err) MUST_CHECK;
void gguf_writer_free(GgufWriter *w); /* NULL is a no-op */
void gguf_add_u32(GgufWriter *w, const char *key, uint32_t value);
void gguf_add_u64(GgufWriter *w, const char *key, uint64_t value);
void gguf_add_f32(GgufWriter *w, const char *key, float value);
void gguf_add_bool(GgufWriter *w, const char *key, bool value);
void gguf_add_text(GgufWriter *w, const char *key, const char *value);
void gguf_add_texts(GgufWriter *w, const char *key, const GgufText *values, uint64_t count);
/* items: count of the C type of `type` (not a text, not an array). */
void gguf_add_array(GgufWriter *w, const char *key, GgufType type, const void *items,
                    uint64_t count);
void gguf_add_tensor(GgufWriter *w, const char *name, uint32_t type, uint32_t rank,
                     const uint64_t *shape);
bool gguf_begin(GgufWriter *w, const char *path, Error *err) MUST_CHECK;
bool gguf_add_data(GgufWriter *w, const void *bytes, uint64_t size, Error *err) MUST_CHECK;
bool gguf_commit(GgufWriter *w, Error *err) MUST_CHECK; /* ERR_INTERNAL while data is missing */
