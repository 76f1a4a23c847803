/* safetensors.c: reading; see safetensors.h. safetensors_write.c writes.
 *
 * A file is believed in three steps, each of which needs only what the one before proved:
 * the header fits in the file; each entry alone is well-formed and its size is its shape's;
 * the entries, ordered by place, tile the data exactly (which also rules out overlap and holes).
 */
#include "format/safetensors.h"

#include "base/hash.h"
#include "base/mem.h"
#include "format/json.h"
#include "format/safetensors_parts.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const StDtypeInfo st_dtype_info[ST_DTYPE_COUNT] = {
    [ST_F64] = {"F64", 8},         [ST_F32] = {"F32", 4},         [ST_F16] = {"F16", 2},
    [ST_BF16] = {"BF16", 2},       [ST_I64] = {"I64", 8},         [ST_I32] = {"I32", 4},
    [ST_I16] = {"I16", 2},         [ST_I8] = {"I8", 1},           [ST_U8] = {"U8", 1},
    [ST_BOOL] = {"BOOL", 1},       [ST_F8_E4M3] = {"F8_E4M3", 1}, [ST_F8_E5M2] = {"F8_E5M2", 1},
};

struct Safetensors {
    FsMap map;      /* zeroed when parsed from the caller's memory */
    json_t *header; /* owns the names and the metadata */
    StTensor *tensors;
    uint32_t count;
    uint32_t *slots; /* index + 1 by hash of the name, 0: free; slot_mask + 1 of them */
    uint32_t slot_mask;
};

/* ---- reading ---- */

static uint64_t load_u64(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

enum { START_BYTES = 32 }; /* enough to tell what a file is */

/* bytes[have] is the start of a file of `size` bytes. */
static bool find_header(const uint8_t *bytes, size_t have, uint64_t size, const char *name,
                        size_t *length, Error *err)
{
    static const char lfs[] = "version https://git-lfs";
    if (have >= sizeof lfs - 1 && memcmp(bytes, lfs, sizeof lfs - 1) == 0)
        return fail(err, ERR_FORMAT, "%s: is a Git LFS pointer, not the weights: fetch them with "
                                     "'git lfs pull'", name);
    if (size < 8)
        return fail(err, ERR_FORMAT, "%s: is cut: %" PRIu64 " bytes, a header needs 8", name,
                    size);
    uint64_t stated = load_u64(bytes);
    if (stated > ST_HEADER_MAX)
        return fail(err, ERR_LIMIT, "%s: header of %" PRIu64 " bytes, at most %d are read", name,
                    stated, ST_HEADER_MAX);
    if (stated > size - 8)
        return fail(err, ERR_FORMAT, "%s: is cut: header ends at %" PRIu64 ", file at %" PRIu64,
                    name, stated + 8, size);
    if (stated == 0 || bytes[8] != '{')
        return fail(err, ERR_FORMAT, "%s: header does not start with '{'", name);
    *length = (size_t)stated;
    return true;
}

static bool read_dtype(const json_t *entry, StDtype *out)
{
    const char *text = json_string_value(json_object_get(entry, "dtype"));
    for (int i = 0; text && i < ST_DTYPE_COUNT; i++) {
        if (strcmp(text, st_dtype_info[i].name) == 0) {
            *out = (StDtype)i;
            return true;
        }
    }
    return false;
}

/* Product of the shape and the item size; false when it does not fit 64 bits. */
bool safetensors_shape_bytes(const StTensor *tensor, uint64_t *out)
{
    uint64_t bytes = st_dtype_info[tensor->dtype].bytes;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        if (__builtin_mul_overflow(bytes, tensor->shape[i], &bytes))
            return false;
    }
    *out = bytes;
    return true;
}

static bool read_sizes(const json_t *list, size_t least, size_t most, uint64_t *out)
{
    if (!json_is_array(list) || json_array_size(list) < least || json_array_size(list) > most)
        return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_integer(item) || json_integer_value(item) < 0)
            return false;
        out[i] = (uint64_t)json_integer_value(item);
    }
    return true;
}

bool safetensors_name_is_clean(const char *name)
{
    while ((unsigned char)*name >= ' ' && *name != 127)
        name++;
    return *name == 0;
}

/* One entry, alone: its own size agrees with its shape and lies in the data. */
static bool read_entry(const json_t *entry, const uint8_t *data, uint64_t data_size,
                       StTensor *tensor, const char *name, Error *err)
{
    const char *key = tensor->name;
    if (!safetensors_name_is_clean(key))
        return fail(err, ERR_FORMAT, "%s: a tensor name has a control character", name);
    if (!json_is_object(entry) || json_object_size(entry) != 3)
        return fail(err, ERR_FORMAT, "%s: tensor '%.80s': must have dtype, shape, data_offsets "
                                     "and nothing else", name, key);
    if (!read_dtype(entry, &tensor->dtype)) {
        const char *text = json_string_value(json_object_get(entry, "dtype"));
        return fail(err, ERR_FORMAT, "%s: tensor '%.80s': unknown dtype '%.16s'", name, key,
                    text && safetensors_name_is_clean(text) ? text : "?");
    }
    const json_t *shape = json_object_get(entry, "shape");
    if (!read_sizes(shape, 0, ST_RANK_MAX, tensor->shape))
        return fail(err, ERR_FORMAT, "%s: tensor '%.80s': shape must be a list of at most %d "
                                     "whole numbers", name, key, ST_RANK_MAX);
    tensor->rank = (uint32_t)json_array_size(shape);
    uint64_t place[2];
    if (!read_sizes(json_object_get(entry, "data_offsets"), 2, 2, place) || place[0] > place[1])
        return fail(err, ERR_FORMAT, "%s: tensor '%.80s': data_offsets must be [begin, end]", name,
                    key);
    if (place[1] > data_size)
        return fail(err, ERR_FORMAT, "%s: tensor '%.80s': ends at %" PRIu64 ", data at %" PRIu64,
                    name, key, place[1], data_size);
    uint64_t want;
    if (!safetensors_shape_bytes(tensor, &want) || want != place[1] - place[0])
        return fail(err, ERR_FORMAT, "%s: tensor '%.80s': %" PRIu64 " bytes do not match its shape",
                    name, key, place[1] - place[0]);
    tensor->data = data ? data + place[0] : NULL;
    tensor->offset = place[0];
    tensor->bytes = want;
    return true;
}

/* By place; an empty tensor comes before the one that starts where it stands. */
static int by_place(const void *left, const void *right)
{
    const StTensor *a = left, *b = right;
    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    if (a->bytes != b->bytes)
        return a->bytes < b->bytes ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* On the way offsets become those in the file, where the data starts at `start`. */
static bool tiles_exactly(Safetensors *st, uint64_t start, uint64_t data_size, const char *name,
                          Error *err)
{
    uint64_t end = 0;
    for (uint32_t i = 0; i < st->count; i++) {
        StTensor *tensor = &st->tensors[i];
        if (tensor->offset != end)
            return fail(err, ERR_FORMAT, "%s: tensor '%.80s': starts at %" PRIu64 ", %s %" PRIu64,
                        name, tensor->name, tensor->offset,
                        tensor->offset < end ? "inside the one that ends at"
                                             : "leaving a hole after",
                        end);
        tensor->offset += start;
        end += tensor->bytes; /* within data_size: every entry alone was */
    }
    if (end != data_size)
        return fail(err, ERR_FORMAT, "%s: tensors end at %" PRIu64 ", data at %" PRIu64, name, end,
                    data_size);
    return true;
}

static bool check_metadata(const json_t *metadata, const char *name, Error *err)
{
    if (metadata && !json_is_object(metadata))
        return fail(err, ERR_FORMAT, "%s: __metadata__ must be an object", name);
    json_t *members = (json_t *)(uintptr_t)metadata; /* iterating changes nothing */
    const char *key;
    json_t *value;
    json_object_foreach(members, key, value) {
        if (!json_is_string(value) ||
            strlen(json_string_value(value)) != json_string_length(value))
            return fail(err, ERR_FORMAT, "%s: a value of __metadata__ is not a plain text", name);
    }
    return true;
}

static uint32_t *find_slot(const Safetensors *st, const char *name)
{
    uint32_t slot = (uint32_t)hash_fnv(name, strlen(name)) & st->slot_mask;
    while (st->slots[slot] && strcmp(st->tensors[st->slots[slot] - 1].name, name) != 0)
        slot = (slot + 1) & st->slot_mask;
    return &st->slots[slot];
}

static bool index_names(Safetensors *st, const char *name, Error *err)
{
    uint32_t slots = 4;
    while (slots < 2 * st->count)
        slots *= 2;
    st->slots = mem_alloc(slots, sizeof *st->slots);
    if (!st->slots)
        return fail(err, ERR_MEMORY, "%s: no memory for the index of tensors", name);
    st->slot_mask = slots - 1;
    for (uint32_t i = 0; i < st->count; i++)
        *find_slot(st, st->tensors[i].name) = i + 1;
    return true;
}

static bool read_tensors(Safetensors *st, const uint8_t *data, uint64_t start, uint64_t data_size,
                         const char *name, Error *err)
{
    const json_t *metadata = json_object_get(st->header, ST_METADATA_KEY);
    size_t entries = json_object_size(st->header);
    st->tensors = mem_alloc(entries, sizeof *st->tensors);
    if (!st->tensors)
        return fail(err, ERR_MEMORY, "%s: no memory for %zu tensors", name, entries);
    const char *key;
    json_t *entry;
    json_object_foreach(st->header, key, entry) {
        if (entry == metadata)
            continue;
        st->tensors[st->count].name = key;
        if (!read_entry(entry, data, data_size, &st->tensors[st->count], name, err))
            return false;
        st->count++;
    }
    qsort(st->tensors, st->count, sizeof *st->tensors, by_place);
    return check_metadata(metadata, name, err) && tiles_exactly(st, start, data_size, name, err) &&
           index_names(st, name, err);
}

/* text[header] is the JSON; data NULL when it was not read. */
static bool parse_header(Safetensors **out, const char *text, size_t header, const uint8_t *data,
                         uint64_t size, const char *name, Error *err)
{
    Safetensors *st = mem_alloc(1, sizeof *st);
    if (!st)
        return fail(err, ERR_MEMORY, "%s: no memory to open it", name);
    if (!json_parse(&st->header, text, header, name, err) ||
        !read_tensors(st, data, 8 + header, size - 8 - header, name, err)) {
        safetensors_close(st);
        return false;
    }
    *out = st;
    return true;
}

bool safetensors_parse(Safetensors **out, const uint8_t *bytes, size_t size, const char *name,
                       Error *err)
{
    size_t header = 0;
    return find_header(bytes, size, size, name, &header, err) &&
           parse_header(out, (const char *)bytes + 8, header, bytes + 8 + header, size, name, err);
}

bool safetensors_open_header(Safetensors **out, const FsFile *file, Error *err)
{
    uint8_t start[START_BYTES];
    size_t first = file->size < sizeof start ? (size_t)file->size : sizeof start, header = 0;
    if (!fs_file_read(file, 0, start, first, err) ||
        !find_header(start, first, file->size, file->path, &header, err))
        return false;
    auto_free char *text = mem_alloc(header, 1);
    if (!text)
        return fail(err, ERR_MEMORY, "%s: no memory for a header of %zu bytes", file->path, header);
    return fs_file_read(file, 8, text, header, err) &&
           parse_header(out, text, header, NULL, file->size, file->path, err);
}

bool safetensors_open(Safetensors **out, const char *path, Error *err)
{
    FsMap map;
    if (!fs_map(path, &map, err))
        return false;
    Safetensors *st;
    if (!safetensors_parse(&st, map.data, map.size, path, err)) {
        fs_unmap(&map);
        return false;
    }
    st->map = map;
    *out = st;
    return true;
}

void safetensors_close(Safetensors *st)
{
    if (!st)
        return;
    json_release(&st->header);
    mem_free(st->tensors);
    mem_free(st->slots);
    fs_unmap(&st->map);
    mem_free(st);
}

uint32_t safetensors_count(const Safetensors *st)
{
    return st->count;
}

const StTensor *safetensors_at(const Safetensors *st, uint32_t index)
{
    assert(index < st->count);
    return &st->tensors[index];
}

const StTensor *safetensors_find(const Safetensors *st, const char *name)
{
    uint32_t found = *find_slot(st, name);
    return found ? &st->tensors[found - 1] : NULL;
}

const char *safetensors_metadata(const Safetensors *st, const char *key)
{
    return json_string_value(json_object_get(json_object_get(st->header, ST_METADATA_KEY), key));
}

/* ---- values ---- */

static float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float load_f32(const uint8_t *p)
{
    return float_of_bits(p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24);
}

static float load_bf16(const uint8_t *p)
{
    return float_of_bits((uint32_t)(p[0] | p[1] << 8) << 16);
}

static float load_f16(const uint8_t *p)
{
    uint32_t half = p[0] | p[1] << 8;
    uint32_t sign = (half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
    if (exponent == 31) /* infinity and NaN keep their fraction */
        return float_of_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent) /* rebias from 15 to 127 */
        return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float small = (float)fraction * 0x1p-24f;
    return sign ? -small : small;
}

static float load_f64(const uint8_t *p)
{
    uint64_t bits = load_u64(p);
    double value;
    memcpy(&value, &bits, sizeof value);
    return (float)value;
}

bool safetensors_to_f32(const StTensor *tensor, float *out, uint64_t count, Error *err)
{
    static float (*const loads[ST_DTYPE_COUNT])(const uint8_t *) = {
        [ST_F64] = load_f64, [ST_F32] = load_f32, [ST_F16] = load_f16, [ST_BF16] = load_bf16};
    const StDtypeInfo *info = &st_dtype_info[tensor->dtype];
    float (*load)(const uint8_t *) = loads[tensor->dtype];
    if (!load)
        return fail(err, ERR_FORMAT, "tensor '%.80s': is %s, a floating-point type is needed",
                    tensor->name, info->name);
    if (count > tensor->bytes / info->bytes)
        return fail(err, ERR_FORMAT, "tensor '%.80s': has %" PRIu64 " values, %" PRIu64
                                     " are needed", tensor->name, tensor->bytes / info->bytes,
                    count);
    for (uint64_t i = 0; i < count; i++)
        out[i] = load(tensor->data + i * info->bytes);
    return true;
}
