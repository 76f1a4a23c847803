/* llama2c.c: see llama2c.h. The order of a version is a list of parts; an offset is a walk over it. */
#include "format/llama2c.h"

#include <inttypes.h>
#include <string.h>

enum { MAGIC = 0x616b3432, HEADER_BYTES = 256, OLD_HEADER_BYTES = 28, OLD_TABLES = -1, END = -2 };

static const int8_t order_0[] = {
    LLAMA2C_EMBEDDING, LLAMA2C_ATTENTION_NORM, LLAMA2C_WQ, LLAMA2C_WK, LLAMA2C_WV, LLAMA2C_WO,
    LLAMA2C_FF_NORM, LLAMA2C_W1, LLAMA2C_W2, LLAMA2C_W3, LLAMA2C_FINAL_NORM, OLD_TABLES,
    LLAMA2C_HEAD, END};
static const int8_t order_1[] = {
    LLAMA2C_ATTENTION_NORM, LLAMA2C_FF_NORM, LLAMA2C_FINAL_NORM, LLAMA2C_EMBEDDING, LLAMA2C_WQ,
    LLAMA2C_WK, LLAMA2C_WV, LLAMA2C_WO, LLAMA2C_W1, LLAMA2C_W2, LLAMA2C_W3, LLAMA2C_HEAD, END};

bool llama2c_is_layered(Llama2cPart part)
{
    return part != LLAMA2C_EMBEDDING && part != LLAMA2C_FINAL_NORM && part != LLAMA2C_HEAD;
}

/* rows and columns of one tensor of a part. */
static Llama2cTensor shape_of(const Llama2c *f, Llama2cPart part)
{
    uint32_t q = f->heads * f->head_width, kv = f->kv_heads * f->head_width;
    switch (part) {
    case LLAMA2C_EMBEDDING:
    case LLAMA2C_HEAD:
        return (Llama2cTensor){f->vocab, f->width, 0, 0};
    case LLAMA2C_WQ:
        return (Llama2cTensor){q, f->width, 0, 0};
    case LLAMA2C_WK:
    case LLAMA2C_WV:
        return (Llama2cTensor){kv, f->width, 0, 0};
    case LLAMA2C_WO:
        return (Llama2cTensor){f->width, q, 0, 0};
    case LLAMA2C_W1:
    case LLAMA2C_W3:
        return (Llama2cTensor){f->ff_width, f->width, 0, 0};
    case LLAMA2C_W2:
        return (Llama2cTensor){f->width, f->ff_width, 0, 0};
    default:
        return (Llama2cTensor){0, f->width, 0, 0};
    }
}

/* Bytes of one tensor; a matrix of version 2 carries its scales behind it. */
static uint64_t tensor_bytes(const Llama2c *f, Llama2cTensor t)
{
    uint64_t count = (t.rows ? t.rows : 1) * (uint64_t)t.columns;
    return f->group && t.rows ? count + count / f->group * sizeof(float) : count * sizeof(float);
}

/* Walks the order up to `part`, or to the end when it is END. */
static uint64_t offset_of(const Llama2c *f, int part)
{
    uint64_t at = f->version ? HEADER_BYTES : OLD_HEADER_BYTES;
    for (const int8_t *p = f->version ? order_1 : order_0; *p != END && *p != part; p++) {
        if (*p == OLD_TABLES) {
            at += (uint64_t)f->context * (f->head_width / 2) * 2 * sizeof(float);
        } else if (*p != LLAMA2C_HEAD || !f->tied) {
            uint64_t bytes = tensor_bytes(f, shape_of(f, (Llama2cPart)*p));
            at += bytes * (llama2c_is_layered((Llama2cPart)*p) ? f->layers : 1);
        }
    }
    return at;
}

Llama2cTensor llama2c_tensor(const Llama2c *f, Llama2cPart part, uint32_t layer)
{
    Llama2cTensor t = shape_of(f, part);
    t.offset = offset_of(f, part) + layer * tensor_bytes(f, t);
    if (f->group && t.rows)
        t.scales = t.offset + (uint64_t)t.rows * t.columns;
    return t;
}

static uint32_t load_u32(const uint8_t *at)
{
    return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
}

/* One of the seven numbers, within limits that keep every sum below 2^63. */
static bool take(const uint8_t *at, const char *what, uint32_t most, uint32_t *out,
                 const char *name, Error *err)
{
    uint32_t value = load_u32(at);
    if (value < 1 || value > most)
        return fail(err, ERR_FORMAT, "%s: %s must be from 1 to %" PRIu32 ", is %" PRId32, name, what,
                    most, (int32_t)value);
    *out = value;
    return true;
}

static bool take_shape(Llama2c *f, const uint8_t *at, const char *name, Error *err)
{
    uint8_t vocab[4];
    int32_t stated = (int32_t)load_u32(at + 20);
    memcpy(vocab, at + 20, sizeof vocab);
    if (f->version == 0) {
        f->tied = stated > 0;
        uint32_t size = stated > 0 ? (uint32_t)stated : 0u - (uint32_t)stated;
        for (int i = 0; i < 4; i++)
            vocab[i] = (uint8_t)(size >> 8 * i);
    }
    if (!take(at, "dim", 1 << 16, &f->width, name, err) ||
        !take(at + 4, "hidden_dim", 1 << 18, &f->ff_width, name, err) ||
        !take(at + 8, "n_layers", 512, &f->layers, name, err) ||
        !take(at + 12, "n_heads", 1024, &f->heads, name, err) ||
        !take(at + 16, "n_kv_heads", 1024, &f->kv_heads, name, err) ||
        !take(vocab, "vocab_size", 1 << 20, &f->vocab, name, err) ||
        !take(at + 24, "seq_len", 1 << 20, &f->context, name, err))
        return false;
    if (f->width % f->heads || f->heads % f->kv_heads || f->width / f->heads % 2)
        return fail(err, ERR_FORMAT, "%s: a dim of %" PRIu32 " does not divide into %" PRIu32
                                     " heads (%" PRIu32 " for keys) of even width", name,
                    f->width, f->heads, f->kv_heads);
    f->head_width = f->width / f->heads;
    return true;
}

/* Every matrix of version 2 must be whole groups, or its scales would straddle tensors. */
static bool take_group(Llama2c *f, const uint8_t *at, const char *name, Error *err)
{
    if (!take(at, "the group of quantised values", 1 << 16, &f->group, name, err))
        return false;
    if (f->width % f->group || f->ff_width % f->group)
        return fail(err, ERR_FORMAT, "%s: rows are not whole groups of %" PRIu32 " values", name,
                    f->group);
    return true;
}

bool llama2c_parse(Llama2c *out, const uint8_t *start, size_t size, uint64_t file_size,
                   const char *name, Error *err)
{
    Llama2c f = {0};
    if (size < OLD_HEADER_BYTES)
        return fail(err, ERR_FORMAT, "%s: is cut: %zu bytes, a header needs %d", name, size,
                    OLD_HEADER_BYTES);
    const uint8_t *at = start;
    if (load_u32(start) == MAGIC) {
        f.version = load_u32(start + 4);
        if (f.version != 1 && f.version != 2)
            return fail(err, ERR_FORMAT, "%s: version %" PRIu32 " of llama2.c, 0 to 2 are read",
                        name, f.version);
        if (size < HEADER_BYTES || start[36] > 1)
            return fail(err, ERR_FORMAT, "%s: is cut, or its head is neither shared nor not", name);
        f.tied = start[36];
        at += 8;
    }
    if (!take_shape(&f, at, name, err) ||
        (f.version == 2 && !take_group(&f, start + 37, name, err)))
        return false;
    uint64_t expected = offset_of(&f, END);
    if (expected != file_size)
        return fail(err, ERR_FORMAT, "%s: a model of this shape has %" PRIu64 " bytes, the file "
                                     "has %" PRIu64, name, expected, file_size);
    *out = f;
    return true;
}

bool llama2c_open(Llama2c *out, const FsFile *file, Error *err)
{
    uint8_t start[HEADER_BYTES];
    size_t size = file->size < sizeof start ? (size_t)file->size : sizeof start;
    return fs_file_read(file, 0, start, size, err) &&
           llama2c_parse(out, start, size, file->size, file->path, err);
}
