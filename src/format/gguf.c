/* gguf.c: reading; see gguf.h. gguf_value.c gives the values out, gguf_write.c writes.
 *
 * One cursor walks the header; every step asks for its bytes first and nothing is kept that was
 * not checked. Counts are compared with the bytes left (each pair, item and tensor takes some)
 * before memory is asked for, so that a short file cannot ask for much. */
#include "format/gguf.h"

#include "base/mem.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF is read and written in place");

const GgmlTypeInfo ggml_type_info[GGML_TYPE_COUNT] = {
    [0] = {"F32", 1, 4},         [1] = {"F16", 1, 2},         [2] = {"Q4_0", 32, 18},
    [3] = {"Q4_1", 32, 20},      [6] = {"Q5_0", 32, 22},      [7] = {"Q5_1", 32, 24},
    [8] = {"Q8_0", 32, 34},      [9] = {"Q8_1", 32, 40},      [10] = {"Q2_K", 256, 84},
    [11] = {"Q3_K", 256, 110},   [12] = {"Q4_K", 256, 144},   [13] = {"Q5_K", 256, 176},
    [14] = {"Q6_K", 256, 210},   [15] = {"Q8_K", 256, 292},   [16] = {"IQ2_XXS", 256, 66},
    [17] = {"IQ2_XS", 256, 74},  [18] = {"IQ3_XXS", 256, 98}, [19] = {"IQ1_S", 256, 50},
    [20] = {"IQ4_NL", 32, 18},   [21] = {"IQ3_S", 256, 110},  [22] = {"IQ2_S", 256, 82},
    [23] = {"IQ4_XS", 256, 136}, [24] = {"I8", 1, 1},         [25] = {"I16", 1, 2},
    [26] = {"I32", 1, 4},        [27] = {"I64", 1, 8},        [28] = {"F64", 1, 8},
    [29] = {"IQ1_M", 256, 56},   [30] = {"BF16", 1, 2},       [34] = {"TQ1_0", 256, 54},
    [35] = {"TQ2_0", 256, 66},   [39] = {"MXFP4", 32, 17},    [40] = {"NVFP4", 64, 36},
    [41] = {"Q1_0", 128, 18},
};

const GgufTypeInfo gguf_type_info[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = {GGUF_UNSIGNED, 1},  [GGUF_I8] = {GGUF_SIGNED, 1},
    [GGUF_U16] = {GGUF_UNSIGNED, 2}, [GGUF_I16] = {GGUF_SIGNED, 2},
    [GGUF_U32] = {GGUF_UNSIGNED, 4}, [GGUF_I32] = {GGUF_SIGNED, 4},
    [GGUF_U64] = {GGUF_UNSIGNED, 8}, [GGUF_I64] = {GGUF_SIGNED, 8},
    [GGUF_F32] = {GGUF_REAL, 4},     [GGUF_F64] = {GGUF_REAL, 8},
    [GGUF_BOOL] = {GGUF_TRUTH, 1},   [GGUF_TEXT] = {GGUF_OTHER, 0},
    [GGUF_ARRAY] = {GGUF_OTHER, 0},
};

struct Gguf {
    FsMap map;       /* zeroed when parsed from the caller's memory */
    uint8_t *prefix; /* the start of the file, when only its header was read */
    Arena arena;
    char name[256];
    uint32_t version, value_count, tensor_count;
    uint64_t alignment;
    GgufValue *values;
    GgufTensor *tensors;
    const GgufValue **values_by_key; /* sorted, for finding */
    const GgufTensor **tensors_by_name;
};

/* ---- the cursor ---- */

typedef struct {
    const uint8_t *start, *at, *end;
    uint64_t size; /* of the file: beyond end when only its start is at hand */
    bool starved;  /* failed for want of bytes */
    Gguf *gguf;
    Error *err;
} Cursor;

__attribute__((format(printf, 2, 3))) static bool fail_here(Cursor *c, const char *format, ...)
{
    char text[sizeof c->err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fail(c->err, ERR_FORMAT, "%s: %s", c->gguf->name, text);
}

/* True when fewer than count items of `each` bytes are left at the cursor. When the file itself has
 * them, behind the start that was read, the cursor is marked as starved. */
static bool lacks(Cursor *c, uint64_t count, uint64_t each)
{
    if (count <= (uint64_t)(c->end - c->at) / each)
        return false;
    c->starved = count <= (c->size - (uint64_t)(c->at - c->start)) / each;
    return true;
}

static bool take(Cursor *c, void *out, size_t size)
{
    if (lacks(c, size, 1))
        return fail_here(c, "is cut: %zu bytes are needed at %zu, the file has %zu", size,
                         (size_t)(c->at - c->start), (size_t)(c->end - c->start));
    memcpy(out, c->at, size);
    c->at += size;
    return true;
}

/* A length-prefixed text; *text points into the file. */
static bool take_text(Cursor *c, const char **text, uint64_t *length)
{
    *length = 0;
    if (!take(c, length, sizeof *length))
        return false;
    if (lacks(c, *length, 1))
        return fail_here(c, "is cut: a text of %" PRIu64 " bytes at %zu does not fit", *length,
                         (size_t)(c->at - c->start));
    *text = (const char *)c->at;
    c->at += *length;
    return true;
}

/* A key or a tensor's name: a copy with a NUL at its end. */
static bool take_name(Cursor *c, const char **out)
{
    const char *text = NULL;
    uint64_t length = 0;
    if (!take_text(c, &text, &length))
        return false;
    bool clean = length > 0 && length <= GGUF_NAME_BYTES_MAX;
    for (uint64_t i = 0; clean && i < length; i++)
        clean = (unsigned char)text[i] >= ' ' && text[i] != 127;
    if (!clean)
        return fail_here(c, "name of %" PRIu64 " bytes at %zu is empty, over %d bytes, or not "
                            "printable", length, (size_t)((const uint8_t *)text - c->start),
                         GGUF_NAME_BYTES_MAX);
    *out = arena_copy_text(&c->gguf->arena, text, length);
    return *out || fail(c->err, ERR_MEMORY, "%s: no memory for its names", c->gguf->name);
}

/* ---- pairs ---- */

static bool take_items(Cursor *c, GgufValue *value)
{
    if (value->type != GGUF_TEXT) {
        uint64_t each = gguf_type_info[value->type].bytes;
        if (lacks(c, value->count, each))
            return fail_here(c, "key '%.80s': %" PRIu64 " items do not fit in the file",
                             value->key, value->count);
        c->at += value->count * each;
        return true;
    }
    for (uint64_t i = 0; i < value->count; i++) { /* each takes 8 bytes at least: this ends */
        const char *text;
        uint64_t length;
        if (!take_text(c, &text, &length))
            return false;
    }
    return true;
}

static bool take_pair(Cursor *c, GgufValue *value)
{
    uint32_t type = 0;
    value->count = 1;
    if (!take_name(c, &value->key) || !take(c, &type, sizeof type))
        return false;
    value->is_array = type == GGUF_ARRAY;
    if (value->is_array && (!take(c, &type, sizeof type) ||
                            !take(c, &value->count, sizeof value->count)))
        return false;
    if (type >= GGUF_TYPE_COUNT || type == GGUF_ARRAY)
        return fail_here(c, "key '%.80s': type %" PRIu32 " is unknown, or an array of arrays",
                         value->key, type);
    value->type = (GgufType)type;
    value->bytes = c->at;
    if (!take_items(c, value))
        return false;
    for (uint64_t i = 0; value->type == GGUF_BOOL && i < value->count; i++) {
        if (value->bytes[i] > 1)
            return fail_here(c, "key '%.80s': a bool is %u", value->key, value->bytes[i]);
    }
    if (value->is_array || value->type != GGUF_TEXT)
        return true;
    value->text_bytes = (uint64_t)(c->at - value->bytes) - 8;
    value->text = arena_copy_text(&c->gguf->arena, (const char *)value->bytes + 8,
                                  value->text_bytes);
    return value->text || fail(c->err, ERR_MEMORY, "%s: no memory for its values", c->gguf->name);
}

/* ---- tensors ---- */

bool gguf_tensor_bytes(uint32_t type, uint32_t rank, const uint64_t *shape, uint64_t *out)
{
    if (type >= GGML_TYPE_COUNT || !ggml_type_info[type].name || rank < 1 || rank > GGUF_RANK_MAX ||
        shape[0] % ggml_type_info[type].block)
        return false;
    uint64_t values = 1;
    for (uint32_t i = 0; i < rank; i++) {
        if (shape[i] == 0 || __builtin_mul_overflow(values, shape[i], &values) ||
            values > INT64_MAX)
            return false;
    }
    return !__builtin_mul_overflow(values / ggml_type_info[type].block, ggml_type_info[type].bytes,
                                   out) &&
           *out <= INT64_MAX;
}

/* One line of the table of tensors; *expected: where its data must begin, moved behind it. */
static bool take_tensor(Cursor *c, GgufTensor *tensor, uint64_t *expected)
{
    uint64_t offset = 0, alignment = c->gguf->alignment;
    if (!take_name(c, &tensor->name) || !take(c, &tensor->rank, sizeof tensor->rank))
        return false;
    if (tensor->rank < 1 || tensor->rank > GGUF_RANK_MAX)
        return fail_here(c, "tensor '%.80s': has %" PRIu32 " dimensions, 1 to %d are possible",
                         tensor->name, tensor->rank, GGUF_RANK_MAX);
    for (uint32_t i = 0; i < GGUF_RANK_MAX; i++)
        tensor->shape[i] = 1;
    if (!take(c, tensor->shape, tensor->rank * sizeof *tensor->shape) ||
        !take(c, &tensor->type, sizeof tensor->type) || !take(c, &offset, sizeof offset))
        return false;
    if (tensor->type >= GGML_TYPE_COUNT || !ggml_type_info[tensor->type].name)
        return fail_here(c, "tensor '%.80s': unknown type %" PRIu32, tensor->name, tensor->type);
    if (!gguf_tensor_bytes(tensor->type, tensor->rank, tensor->shape, &tensor->bytes))
        return fail_here(c, "tensor '%.80s': a dimension is 0, the shape is over 2^63, or a row "
                            "is not whole blocks of %u values", tensor->name,
                         ggml_type_info[tensor->type].block);
    if (offset != *expected)
        return fail_here(c, "tensor '%.80s': is at offset %" PRIu64 ", %" PRIu64 " is expected",
                         tensor->name, offset, *expected);
    /* both below 2^63, so the sum fits; data is set once it is known to be there */
    *expected = (offset + tensor->bytes + alignment - 1) & ~(alignment - 1);
    if (*expected > INT64_MAX)
        return fail_here(c, "tensor '%.80s': ends past 2^63", tensor->name);
    return true;
}

/* Gives every tensor its data, which begins at the next multiple of the alignment. */
static bool place_data(Cursor *c)
{
    Gguf *gguf = c->gguf;
    uint64_t size = c->size, alignment = gguf->alignment;
    uint64_t at = ((uint64_t)(c->at - c->start) + alignment - 1) & ~(alignment - 1);
    for (uint32_t i = 0; i < gguf->tensor_count; i++) {
        GgufTensor *tensor = &gguf->tensors[i];
        if (at > size || tensor->bytes > size - at)
            return fail_here(c, "tensor '%.80s': ends at %" PRIu64 ", file has %" PRIu64,
                             tensor->name, at + tensor->bytes, size);
        tensor->data = gguf->prefix ? NULL : c->start + at;
        tensor->offset = at;
        at += (tensor->bytes + alignment - 1) & ~(alignment - 1);
    }
    return true;
}

/* ---- the whole ---- */

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const GgufValue *const *)a)->key, (*(const GgufValue *const *)b)->key);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const GgufTensor *const *)a)->name, (*(const GgufTensor *const *)b)->name);
}

static bool sort_values(Cursor *c)
{
    Gguf *gguf = c->gguf;
    uint32_t count = gguf->value_count;
    const GgufValue **sorted = arena_alloc(&gguf->arena, count, sizeof *sorted);
    if (!sorted)
        return fail(c->err, ERR_MEMORY, "%s: no memory for its keys", gguf->name);
    for (uint32_t i = 0; i < count; i++)
        sorted[i] = &gguf->values[i];
    qsort(sorted, count, sizeof *sorted, by_key);
    for (uint32_t i = 1; i < count; i++) {
        if (by_key(&sorted[i - 1], &sorted[i]) == 0)
            return fail_here(c, "key '%.80s' stands twice", sorted[i]->key);
    }
    gguf->values_by_key = sorted;
    return true;
}

static bool sort_tensors(Cursor *c)
{
    Gguf *gguf = c->gguf;
    uint32_t count = gguf->tensor_count;
    const GgufTensor **sorted = arena_alloc(&gguf->arena, count, sizeof *sorted);
    if (!sorted)
        return fail(c->err, ERR_MEMORY, "%s: no memory for its names", gguf->name);
    for (uint32_t i = 0; i < count; i++)
        sorted[i] = &gguf->tensors[i];
    qsort(sorted, count, sizeof *sorted, by_name);
    for (uint32_t i = 1; i < count; i++) {
        if (by_name(&sorted[i - 1], &sorted[i]) == 0)
            return fail_here(c, "tensor '%.80s' stands twice", sorted[i]->name);
    }
    gguf->tensors_by_name = sorted;
    return true;
}

static bool take_header(Cursor *c, uint64_t *tensors, uint64_t *pairs)
{
    char magic[4];
    uint32_t version = 0;
    static const char lfs[] = "version https://git-lfs";
    if ((size_t)(c->end - c->start) >= sizeof lfs - 1 && memcmp(c->start, lfs, sizeof lfs - 1) == 0)
        return fail_here(c, "is a Git LFS pointer, not the model: fetch it with 'git lfs pull'");
    if (!take(c, magic, sizeof magic))
        return false;
    if (memcmp(magic, "GGUF", sizeof magic) != 0)
        return fail_here(c, "does not start with GGUF");
    if (!take(c, &version, sizeof version))
        return false;
    if (version != 2 && version != 3)
        return fail_here(c, version & 0xffff ? "version %" PRIu32 ", 2 and 3 are read"
                                             : "version %" PRIu32 ": a big-endian file, or none",
                         version);
    if (!take(c, tensors, sizeof *tensors) || !take(c, pairs, sizeof *pairs))
        return false;
    if (*tensors > GGUF_TENSORS_MAX || *pairs > GGUF_PAIRS_MAX)
        return fail(c->err, ERR_LIMIT, "%s: %" PRIu64 " tensors and %" PRIu64 " keys, at most %d "
                                       "and %d are read", c->gguf->name, *tensors, *pairs,
                    GGUF_TENSORS_MAX, GGUF_PAIRS_MAX);
    /* the shortest pair is 14 bytes, the shortest tensor 33 */
    if (lacks(c, *tensors * 33 + *pairs * 14, 1))
        return fail_here(c, "is cut: %" PRIu64 " tensors and %" PRIu64 " keys do not fit", *tensors,
                         *pairs);
    c->gguf->version = version;
    return true;
}

static bool find_alignment(Cursor *c)
{
    c->gguf->alignment = GGUF_ALIGNMENT;
    const GgufValue *value = gguf_find(c->gguf, "general.alignment");
    if (!value)
        return true;
    double stated = value->type == GGUF_U32 && !value->is_array ? gguf_number(value, 0) : 0;
    if (stated < 8 || stated > 65536 || ((uint64_t)stated & ((uint64_t)stated - 1)))
        return fail_here(c, "key 'general.alignment' must be a u32, a power of two from 8 to "
                            "65536");
    c->gguf->alignment = (uint64_t)stated;
    return true;
}

static bool take_all(Cursor *c)
{
    Gguf *gguf = c->gguf;
    uint64_t tensors = 0, pairs = 0, expected = 0;
    if (!take_header(c, &tensors, &pairs))
        return false;
    gguf->values = arena_alloc(&gguf->arena, pairs, sizeof *gguf->values);
    gguf->tensors = arena_alloc(&gguf->arena, tensors, sizeof *gguf->tensors);
    if (!gguf->values || !gguf->tensors)
        return fail(c->err, ERR_MEMORY, "%s: no memory for its header", gguf->name);
    for (; gguf->value_count < pairs; gguf->value_count++) {
        if (!take_pair(c, &gguf->values[gguf->value_count]))
            return false;
    }
    if (!sort_values(c) || !find_alignment(c))
        return false;
    for (; gguf->tensor_count < tensors; gguf->tensor_count++) {
        if (!take_tensor(c, &gguf->tensors[gguf->tensor_count], &expected))
            return false;
    }
    return place_data(c) && sort_tensors(c);
}

bool gguf_parse(Gguf **out, const uint8_t *bytes, size_t size, const char *name, Error *err)
{
    Gguf *gguf = mem_alloc(1, sizeof *gguf);
    if (!gguf)
        return fail(err, ERR_MEMORY, "%s: no memory to open it", name);
    arena_init(&gguf->arena, (size_t)256 << 20);
    snprintf(gguf->name, sizeof gguf->name, "%s", name);
    Cursor cursor = {bytes, bytes, bytes + size, size, false, gguf, err};
    if (!take_all(&cursor)) {
        gguf_close(gguf);
        return false;
    }
    *out = gguf;
    return true;
}

/* Tries with the first `have` bytes of the file. *more: the header goes on behind them. */
static bool parse_prefix(Gguf **out, const FsFile *file, size_t have, bool *more, Error *err)
{
    Gguf *gguf = mem_alloc(1, sizeof *gguf);
    uint8_t *bytes = mem_alloc(have, 1);
    *more = false;
    if (!gguf || !bytes) {
        mem_free(gguf);
        mem_free(bytes);
        return fail(err, ERR_MEMORY, "%s: no memory to read %zu bytes", file->path, have);
    }
    arena_init(&gguf->arena, (size_t)256 << 20);
    snprintf(gguf->name, sizeof gguf->name, "%s", file->path);
    gguf->prefix = bytes;
    Cursor cursor = {bytes, bytes, bytes + have, file->size, false, gguf, err};
    if (fs_file_read(file, 0, bytes, have, err)) {
        if (take_all(&cursor)) {
            *out = gguf;
            return true;
        }
        *more = cursor.starved && have < file->size;
    }
    gguf_close(gguf);
    return false;
}

bool gguf_open_header(Gguf **out, const FsFile *file, Error *err)
{
    enum { FIRST = 1 << 20 };
    bool more = true;
    for (size_t have = FIRST; more && have <= GGUF_HEADER_MAX; have *= 4) {
        if (parse_prefix(out, file, have < file->size ? have : (size_t)file->size, &more, err))
            return true;
    }
    if (more)
        return fail(err, ERR_LIMIT, "%s: header of over %d bytes", file->path, GGUF_HEADER_MAX);
    return false;
}

bool gguf_open(Gguf **out, const char *path, Error *err)
{
    FsMap map;
    Gguf *gguf;
    if (!fs_map(path, &map, err))
        return false;
    if (!gguf_parse(&gguf, map.data, map.size, path, err)) {
        fs_unmap(&map);
        return false;
    }
    gguf->map = map;
    *out = gguf;
    return true;
}

void gguf_close(Gguf *gguf)
{
    if (!gguf)
        return;
    arena_done(&gguf->arena);
    mem_free(gguf->prefix);
    fs_unmap(&gguf->map);
    mem_free(gguf);
}

/* ---- access ---- */

const char *gguf_name(const Gguf *gguf)
{
    return gguf->name;
}

uint32_t gguf_version(const Gguf *gguf)
{
    return gguf->version;
}

uint32_t gguf_value_count(const Gguf *gguf)
{
    return gguf->value_count;
}

const GgufValue *gguf_value_at(const Gguf *gguf, uint32_t index)
{
    assert(index < gguf->value_count);
    return &gguf->values[index];
}

const GgufValue *gguf_find(const Gguf *gguf, const char *key)
{
    GgufValue wanted = {.key = key}, *pointer = &wanted;
    const GgufValue **found = bsearch(&pointer, gguf->values_by_key, gguf->value_count,
                                      sizeof *found, by_key);
    return found ? *found : NULL;
}

uint32_t gguf_tensor_count(const Gguf *gguf)
{
    return gguf->tensor_count;
}

const GgufTensor *gguf_tensor_at(const Gguf *gguf, uint32_t index)
{
    assert(index < gguf->tensor_count);
    return &gguf->tensors[index];
}

const GgufTensor *gguf_find_tensor(const Gguf *gguf, const char *name)
{
    GgufTensor wanted = {.name = name}, *pointer = &wanted;
    const GgufTensor **found = bsearch(&pointer, gguf->tensors_by_name, gguf->tensor_count,
                                       sizeof *found, by_name);
    return found ? *found : NULL;
}
