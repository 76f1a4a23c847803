/* gguf_write.c: writing; see gguf.h. The header is built in memory (it is small against the data),
 * the data is streamed behind it with the padding between tensors. */
#include "format/gguf.h"

#include "base/mem.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_BYTES_MAX = 256 << 20 };

struct GgufWriter {
    Buf pairs, tensors; /* as they stand in the file */
    Arena names;        /* copies, to find doubles */
    const char **keys, **tensor_names;
    uint64_t *tensor_bytes;
    uint32_t pair_count, tensor_count;
    uint64_t offset;    /* where the next added tensor's data will begin */
    uint32_t current;   /* tensor whose data is awaited */
    uint64_t done;      /* bytes of it written */
    bool begun;
    Error problem; /* of the first add that failed */
    FsWriter file;
};

bool gguf_writer_new(GgufWriter **out, Error *err)
{
    GgufWriter *w = mem_alloc(1, sizeof *w);
    if (!w)
        return fail(err, ERR_MEMORY, "no memory to write a GGUF file");
    w->file.fd = -1;
    buf_init(&w->pairs, HEADER_BYTES_MAX);
    buf_init(&w->tensors, HEADER_BYTES_MAX);
    arena_init(&w->names, HEADER_BYTES_MAX);
    *out = w;
    return true;
}

void gguf_writer_free(GgufWriter *w)
{
    if (!w)
        return;
    if (w->begun)
        fs_writer_abandon(&w->file);
    buf_done(&w->pairs);
    buf_done(&w->tensors);
    arena_done(&w->names);
    mem_free(w->keys);
    mem_free(w->tensor_names);
    mem_free(w->tensor_bytes);
    mem_free(w);
}

/* ---- adding ---- */

static void add_raw_text(Buf *out, const char *text, uint64_t bytes)
{
    buf_add(out, &bytes, sizeof bytes);
    buf_add(out, text, bytes);
}

/* Room for one more in a list that doubles; keeps the old list when there is no memory. */
static bool grow(void *list_pointer, uint32_t count, size_t size)
{
    if (count & (count - 1)) /* rooms are powers of two */
        return true;
    void *list;
    memcpy(&list, list_pointer, sizeof list);
    list = mem_resize(list, count ? 2 * (size_t)count : 1, size);
    if (list)
        memcpy(list_pointer, &list, sizeof list);
    return list != NULL;
}

/* Checks a name and appends it to the list and to out; false with the problem remembered. */
static bool add_name(GgufWriter *w, const char *name, const char ***list, uint32_t *count,
                     uint32_t most, Buf *out)
{
    size_t length = strlen(name);
    bool clean = length > 0 && length <= GGUF_NAME_BYTES_MAX;
    for (const char *c = name; clean && *c; c++)
        clean = (unsigned char)*c >= ' ' && *c != 127;
    if (w->problem.code != ERR_NONE)
        return false;
    if (!clean)
        return fail(&w->problem, ERR_INPUT, "gguf: a name of %zu bytes is empty, over %d bytes, or "
                                            "not printable", length, GGUF_NAME_BYTES_MAX);
    if (*count == most)
        return fail(&w->problem, ERR_LIMIT, "gguf: over %" PRIu32 " keys or tensors", most);
    char *copy = arena_copy_text(&w->names, name, length);
    if (!copy || !grow(list, *count, sizeof **list))
        return fail(&w->problem, ERR_MEMORY, "gguf: no memory for '%.80s'", name);
    (*list)[(*count)++] = copy;
    add_raw_text(out, name, length);
    return true;
}

static bool add_key(GgufWriter *w, const char *key, uint32_t type)
{
    assert(!w->begun);
    if (!add_name(w, key, &w->keys, &w->pair_count, GGUF_PAIRS_MAX, &w->pairs))
        return false;
    buf_add(&w->pairs, &type, sizeof type);
    return true;
}

static void add_scalar(GgufWriter *w, const char *key, GgufType type, const void *value)
{
    if (add_key(w, key, type))
        buf_add(&w->pairs, value, gguf_type_info[type].bytes);
}

void gguf_add_u32(GgufWriter *w, const char *key, uint32_t value)
{
    add_scalar(w, key, GGUF_U32, &value);
}

void gguf_add_u64(GgufWriter *w, const char *key, uint64_t value)
{
    add_scalar(w, key, GGUF_U64, &value);
}

void gguf_add_f32(GgufWriter *w, const char *key, float value)
{
    add_scalar(w, key, GGUF_F32, &value);
}

void gguf_add_bool(GgufWriter *w, const char *key, bool value)
{
    uint8_t byte = value;
    add_scalar(w, key, GGUF_BOOL, &byte);
}

void gguf_add_text(GgufWriter *w, const char *key, const char *value)
{
    if (add_key(w, key, GGUF_TEXT))
        add_raw_text(&w->pairs, value, strlen(value));
}

static bool add_array_head(GgufWriter *w, const char *key, uint32_t type, uint64_t count)
{
    if (!add_key(w, key, GGUF_ARRAY))
        return false;
    buf_add(&w->pairs, &type, sizeof type);
    buf_add(&w->pairs, &count, sizeof count);
    return true;
}

void gguf_add_texts(GgufWriter *w, const char *key, const GgufText *values, uint64_t count)
{
    if (!add_array_head(w, key, GGUF_TEXT, count))
        return;
    for (uint64_t i = 0; i < count; i++)
        add_raw_text(&w->pairs, values[i].text, values[i].bytes);
}

void gguf_add_array(GgufWriter *w, const char *key, GgufType type, const void *items,
                    uint64_t count)
{
    size_t size;
    assert(gguf_type_info[type].bytes);
    if (!add_array_head(w, key, type, count))
        return;
    if (__builtin_mul_overflow(count, gguf_type_info[type].bytes, &size))
        w->pairs.failed = true;
    else
        buf_add(&w->pairs, items, size);
}

static uint64_t padded(uint64_t bytes)
{
    return (bytes + GGUF_ALIGNMENT - 1) & ~(uint64_t)(GGUF_ALIGNMENT - 1);
}

void gguf_add_tensor(GgufWriter *w, const char *name, uint32_t type, uint32_t rank,
                     const uint64_t *shape)
{
    assert(!w->begun);
    uint64_t bytes;
    if (w->problem.code != ERR_NONE)
        return;
    if (!gguf_tensor_bytes(type, rank, shape, &bytes) || w->offset > INT64_MAX - bytes) {
        fail(&w->problem, ERR_INPUT, "gguf: tensor '%.80s': type and shape do not go together",
             name);
        return;
    }
    if (!grow(&w->tensor_bytes, w->tensor_count, sizeof *w->tensor_bytes)) {
        fail(&w->problem, ERR_MEMORY, "gguf: no memory for '%.80s'", name);
        return;
    }
    w->tensor_bytes[w->tensor_count] = bytes;
    if (!add_name(w, name, &w->tensor_names, &w->tensor_count, GGUF_TENSORS_MAX, &w->tensors))
        return;
    buf_add(&w->tensors, &rank, sizeof rank);
    buf_add(&w->tensors, shape, rank * sizeof *shape);
    buf_add(&w->tensors, &type, sizeof type);
    buf_add(&w->tensors, &w->offset, sizeof w->offset);
    w->offset = padded(w->offset + bytes);
}

/* ---- the file ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The lists are not needed in order after this, so that they may be sorted in place. */
static bool all_unique(const char **names, uint32_t count, const char *what, Error *err)
{
    if (count)
        qsort(names, count, sizeof *names, by_text);
    for (uint32_t i = 1; i < count; i++) {
        if (strcmp(names[i - 1], names[i]) == 0)
            return fail(err, ERR_INPUT, "gguf: %s '%.80s' given twice", what, names[i]);
    }
    return true;
}

static bool add_padding(GgufWriter *w, Error *err)
{
    static const uint8_t zeroes[GGUF_ALIGNMENT];
    return fs_writer_add(&w->file, zeroes, padded(w->file.size) - w->file.size, err);
}

bool gguf_begin(GgufWriter *w, const char *path, Error *err)
{
    const uint32_t version = 3;
    const uint64_t counts[2] = {w->tensor_count, w->pair_count};
    assert(!w->begun);
    if (w->problem.code != ERR_NONE) {
        *err = w->problem;
        return fail_within(err, "%s", path);
    }
    if (!buf_ok(&w->pairs, path, err) || !buf_ok(&w->tensors, path, err) ||
        !all_unique(w->keys, w->pair_count, "key", err) ||
        !all_unique(w->tensor_names, w->tensor_count, "tensor", err) ||
        !fs_writer_open(&w->file, path, err))
        return false;
    w->begun = true;
    return fs_writer_add(&w->file, "GGUF", 4, err) &&
           fs_writer_add(&w->file, &version, sizeof version, err) &&
           fs_writer_add(&w->file, counts, sizeof counts, err) &&
           fs_writer_add(&w->file, w->pairs.data, w->pairs.size, err) &&
           fs_writer_add(&w->file, w->tensors.data, w->tensors.size, err) && add_padding(w, err);
}

bool gguf_add_data(GgufWriter *w, const void *bytes, uint64_t size, Error *err)
{
    assert(w->begun);
    if (w->current == w->tensor_count || size > w->tensor_bytes[w->current] - w->done)
        return fail(err, ERR_INTERNAL, "gguf: %" PRIu64 " bytes more than tensor %" PRIu32
                                       " has room for", size, w->current);
    if (!fs_writer_add(&w->file, bytes, size, err))
        return false;
    w->done += size;
    if (w->done < w->tensor_bytes[w->current])
        return true;
    w->current++;
    w->done = 0;
    return add_padding(w, err);
}

bool gguf_commit(GgufWriter *w, Error *err)
{
    assert(w->begun);
    if (w->current < w->tensor_count)
        return fail(err, ERR_INTERNAL, "gguf: the data of tensor %" PRIu32 " is missing",
                    w->current);
    return fs_writer_commit(&w->file, err);
}
