/* safetensors.h: Hugging Face's safetensors container, read by mapping or by position, written in a
 * stream.
 *
 * Layout: u64 little-endian N; N bytes of JSON {"name": {"dtype", "shape", "data_offsets"}, ...,
 * "__metadata__": {string: string}}; the data. Rules checked on read: N <= 16 MiB, offsets inside
 * the data, no overlap, no hole, last end == data size, size == product(shape) * item size
 * (checked arithmetic), rank <= 8, no duplicate name, known dtype, no control character in a name.
 * Data may start at any address: never cast it. Writing orders by descending item size, then name,
 * and pads the header to 8. A Git LFS pointer is named as such.
 * Errors: ERR_FORMAT "file: tensor 'x': what"; ERR_LIMIT, ERR_MEMORY, and those of base/fs.h.
 * Threads: an open file is read-only, any thread.
 */
#pragma once
#include "base/fs.h"
#include "base/fs_file.h"

enum { ST_RANK_MAX = 8, ST_HEADER_MAX = 16 << 20 };

typedef enum { ST_F64, ST_F32, ST_F16, ST_BF16, ST_I64, ST_I32, ST_I16, ST_I8, ST_U8, ST_BOOL,
               ST_F8_E4M3, ST_F8_E5M2, ST_DTYPE_COUNT } StDtype;
typedef struct {
    const char *name;   /* "F32" */
    uint32_t bytes;
} StDtypeInfo;
extern const StDtypeInfo st_dtype_info[ST_DTYPE_COUNT];

typedef struct {
    const char *name;
    StDtype dtype;
    uint32_t rank;
    uint64_t shape[ST_RANK_MAX];
    const uint8_t *data; /* unaligned; inside the map; NULL when only the header was read */
    uint64_t bytes;
    uint64_t offset;     /* of the data in the file; not read by the writers */
} StTensor;

typedef struct Safetensors Safetensors;
bool safetensors_open(Safetensors **out, const char *path, Error *err) MUST_CHECK;
/* From memory that outlives the result; `name` for messages. The fuzz target's way in. */
bool safetensors_parse(Safetensors **out, const uint8_t *bytes, size_t size, const char *name,
                       Error *err) MUST_CHECK;
/* The header alone: tensors have no data, the caller reads it from `file` at their offsets. What is
 * mapped dies with a file that shrinks (SIGBUS); what is read by position gets an Error. */
bool safetensors_open_header(Safetensors **out, const FsFile *file, Error *err) MUST_CHECK;
void safetensors_close(Safetensors *st); /* NULL is a no-op */
uint32_t safetensors_count(const Safetensors *st);
const StTensor *safetensors_at(const Safetensors *st, uint32_t index); /* in order of data */
const StTensor *safetensors_find(const Safetensors *st, const char *name); /* NULL: absent */
const char *safetensors_metadata(const Safetensors *st, const char *key); /* NULL: absent */

/* Writes path atomically. tensors' data pointers must stay valid; {"format":"pt"} is written.
 * ERR_INPUT for a name twice, or a shape that does not give `bytes`. */
bool safetensors_write(const char *path, const StTensor *tensors, uint32_t count,
                       Error *err) MUST_CHECK;

/* The same in a stream: new with the tensors in any order (their `data` is not read); data in pieces
 * of any size, for the tensors in the order of safetensors_writer_at; commit. Atomic as above; free
 * at any time, what is not committed leaves no file. The tensors must stay valid. */
typedef struct StWriter StWriter;
bool safetensors_writer_new(StWriter **out, const char *path, const StTensor *tensors,
                            uint32_t count, Error *err) MUST_CHECK;
const StTensor *safetensors_writer_at(const StWriter *w, uint32_t index); /* one of `tensors` */
bool safetensors_writer_add(StWriter *w, const void *bytes, size_t size, Error *err) MUST_CHECK;
/* ERR_INTERNAL when more or fewer bytes came than the header says. */
bool safetensors_writer_commit(StWriter *w, Error *err) MUST_CHECK;
void safetensors_writer_free(StWriter *w); /* NULL is a no-op */

/* The first count values of a tensor's data as f32 (F32, F16, BF16, F64 supported, and no more
 * than it has; else ERR_FORMAT). */
bool safetensors_to_f32(const StTensor *tensor, float *out, uint64_t count, Error *err) MUST_CHECK;
