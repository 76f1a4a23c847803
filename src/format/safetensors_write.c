/* safetensors_write.c: writing; see safetensors.h. The header is whole before the data begins, so
 * shapes must be known; the data streams through. */
#include "base/mem.h"
#include "format/json.h"
#include "format/safetensors_parts.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct StWriter {
    const StTensor **order; /* as their data stands in the file */
    uint32_t count;
    uint64_t awaited;       /* bytes of data that are to come */
    FsWriter file;
};

/* Widest items first keeps every tensor aligned to its item; then by name, so that one set of
 * tensors has one file. */
static int by_width_and_name(const void *left, const void *right)
{
    const StTensor *a = *(const StTensor *const *)left, *b = *(const StTensor *const *)right;
    uint32_t a_bytes = st_dtype_info[a->dtype].bytes, b_bytes = st_dtype_info[b->dtype].bytes;
    if (a_bytes != b_bytes)
        return a_bytes > b_bytes ? -1 : 1;
    return strcmp(a->name, b->name);
}

static bool add_entry(json_t *header, const StTensor *tensor, uint64_t *offset, Error *err)
{
    uint64_t want;
    if (tensor->rank > ST_RANK_MAX || !safetensors_shape_bytes(tensor, &want) || want != tensor->bytes)
        return fail(err, ERR_INPUT, "tensor '%.80s': %" PRIu64 " bytes do not match its shape",
                    tensor->name, tensor->bytes);
    if (!safetensors_name_is_clean(tensor->name) || strcmp(tensor->name, ST_METADATA_KEY) == 0)
        return fail(err, ERR_INPUT, "a tensor is named __metadata__, or has a control character");
    if (json_object_get(header, tensor->name))
        return fail(err, ERR_INPUT, "tensor '%.80s': given twice", tensor->name);
    uint64_t end;
    if (__builtin_add_overflow(*offset, want, &end) || end > INT64_MAX)
        return fail(err, ERR_LIMIT, "tensor '%.80s': ends past 2^63 bytes", tensor->name);
    auto_json json_t *shape = json_array();
    bool ok = shape != NULL;
    for (uint32_t i = 0; i < tensor->rank; i++)
        ok = ok && json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i])) == 0;
    json_t *entry = ok ? json_pack("{s:s, s:O, s:[I, I]}", "dtype",
                                   st_dtype_info[tensor->dtype].name, "shape", shape,
                                   "data_offsets", (json_int_t)*offset, (json_int_t)end)
                       : NULL;
    if (json_object_set_new(header, tensor->name, entry) != 0)
        return fail(err, ERR_MEMORY, "tensor '%.80s': not UTF-8, or no memory", tensor->name);
    *offset = end;
    return true;
}

static bool build_header(Buf *out, const StTensor *const *order, uint32_t count, Error *err)
{
    auto_json json_t *header = json_pack("{s:{s:s}}", ST_METADATA_KEY, "format", "pt");
    if (!header)
        return fail(err, ERR_MEMORY, "no memory for the header");
    uint64_t offset = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!add_entry(header, order[i], &offset, err))
            return false;
    }
    if (!json_dump(header, out, err))
        return false;
    while (out->size % 8)
        buf_add_char(out, ' ');
    return buf_ok(out, "header", err);
}

static bool begin(StWriter *w, const char *path, Error *err)
{
    auto_buf Buf header;
    uint8_t length[8];
    buf_init(&header, ST_HEADER_MAX);
    if (!build_header(&header, w->order, w->count, err))
        return fail_within(err, "%s", path);
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)header.size >> 8 * i);
    for (uint32_t i = 0; i < w->count; i++)
        w->awaited += w->order[i]->bytes; /* fits: the header's offsets did */
    return fs_writer_open(&w->file, path, err) && fs_writer_add(&w->file, length, 8, err) &&
           fs_writer_add(&w->file, header.data, header.size, err);
}

bool safetensors_writer_new(StWriter **out, const char *path, const StTensor *tensors,
                            uint32_t count, Error *err)
{
    StWriter *w = mem_alloc(1, sizeof *w);
    if (w) {
        w->file.fd = -1;
        w->count = count;
        w->order = mem_alloc(count, sizeof *w->order);
    }
    if (!w || !w->order) {
        mem_free(w);
        return fail(err, ERR_MEMORY, "%s: no memory to write %u tensors", path, count);
    }
    for (uint32_t i = 0; i < count; i++)
        w->order[i] = &tensors[i];
    qsort(w->order, count, sizeof *w->order, by_width_and_name);
    if (!begin(w, path, err)) {
        safetensors_writer_free(w);
        return false;
    }
    *out = w;
    return true;
}

const StTensor *safetensors_writer_at(const StWriter *w, uint32_t index)
{
    assert(index < w->count);
    return w->order[index];
}

bool safetensors_writer_add(StWriter *w, const void *bytes, size_t size, Error *err)
{
    if (size > w->awaited)
        return fail(err, ERR_INTERNAL, "%s: %zu bytes more than its header has room for",
                    w->file.path, size);
    w->awaited -= size;
    return fs_writer_add(&w->file, bytes, size, err);
}

bool safetensors_writer_commit(StWriter *w, Error *err)
{
    if (w->awaited)
        return fail(err, ERR_INTERNAL, "%s: %" PRIu64 " bytes of data are missing", w->file.path,
                    w->awaited);
    return fs_writer_commit(&w->file, err);
}

void safetensors_writer_free(StWriter *w)
{
    if (!w)
        return;
    fs_writer_abandon(&w->file);
    mem_free(w->order);
    mem_free(w);
}

bool safetensors_write(const char *path, const StTensor *tensors, uint32_t count, Error *err)
{
    StWriter *w;
    if (!safetensors_writer_new(&w, path, tensors, count, err))
        return false;
    bool ok = true;
    for (uint32_t i = 0; ok && i < count; i++)
        ok = safetensors_writer_add(w, w->order[i]->data, w->order[i]->bytes, err);
    ok = ok && safetensors_writer_commit(w, err);
    safetensors_writer_free(w);
    return ok;
}
