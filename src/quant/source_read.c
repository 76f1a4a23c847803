/* source_read.c: rows of a tensor, in the type and order asked for; see source.h.
 *
 *     bytes --to_f32--> values --scales--> --order--> halves --adapter--> --order--> --of_f32--> out
 *
 * Stages that a tensor does not need are passed over; a type that is kept is copied as bytes. */
#include "quant/source.h"

#include "base/mem.h"
#include "quant/adapter.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum { BLOCK_VALUES = 2 << 20, VALUES_MAX = 64 << 20, WIDEST_VALUE = 8 };

bool reader_new(SourceReader *out, const Source *source, Error *err)
{
    SourceReader r = {.source = source, .room = BLOCK_VALUES};
    for (uint32_t i = 0; i < source->count; i++) {
        const SourceTensor *t = &source->tensors[i];
        uint64_t least = t->columns * (t->turned ? t->turned : 1);
        if (t->columns > VALUES_MAX || least > VALUES_MAX)
            return fail(err, ERR_LIMIT, "tensor '%.80s': rows of %" PRIu64 " values are too long",
                        t->name, t->columns);
        r.room = least > r.room ? least : r.room;
    }
    r.raw = mem_alloc_aligned(r.room * WIDEST_VALUE, 64);
    r.values = mem_alloc_aligned(r.room * sizeof(float), 64);
    r.ordered = mem_alloc_aligned(r.room * sizeof(float), 64);
    if (!r.raw || !r.values || !r.ordered) {
        reader_free(&r);
        return fail(err, ERR_MEMORY, "no memory for blocks of %" PRIu64 " values", r.room);
    }
    *out = r;
    return true;
}

void reader_free(SourceReader *reader)
{
    mem_free(reader->raw);
    mem_free(reader->values);
    mem_free(reader->ordered);
    *reader = (SourceReader){0};
}

uint64_t reader_rows(const SourceReader *reader, const SourceTensor *tensor)
{
    uint64_t rows = tensor->columns ? reader->room / tensor->columns : 1;
    return tensor->turned ? rows / tensor->turned * tensor->turned : rows;
}

static bool keeps_values(const SourceTensor *t, const StoredType *as)
{
    return as == t->type && !t->scale.type && !t->adapter;
}

bool reader_copies(const SourceTensor *tensor, const StoredType *as, bool neighbours)
{
    return keeps_values(tensor, as) && (!tensor->turned || !tensor->neighbours == !neighbours);
}

/* Rows of heads of `width`, from neighbours (2i, 2i + 1) to halves (i, i + width/2) or back. */
static void order_rows(const uint8_t *from, uint8_t *to, uint64_t rows, size_t row_bytes,
                       uint32_t width, bool to_halves)
{
    for (uint64_t r = 0; r < rows; r++) {
        uint64_t head = r / width * width, pair = r % width / 2, second = r % 2;
        uint64_t half = head + second * (width / 2) + pair;
        memcpy(to + (to_halves ? half : r) * row_bytes, from + (to_halves ? r : half) * row_bytes,
               row_bytes);
    }
}

/* ---- values ---- */

/* Multiplies count values, of which the first is number `first` of the tensor, by their scales. */
static bool apply_scales(SourceReader *reader, const SourceTensor *t, uint64_t first,
                         uint64_t count, Error *err)
{
    const SourceScale *scale = &t->scale;
    uint64_t begin = first / scale->group, end = (first + count - 1) / scale->group + 1;
    uint32_t bytes = scale->type->bytes;
    uint8_t *raw = (uint8_t *)reader->ordered; /* free at this stage; no more scales than values */
    assert(bytes <= sizeof *reader->ordered);
    if (!fs_file_read(&reader->source->files[scale->file], scale->offset + begin * bytes, raw,
                      (end - begin) * bytes, err))
        return false;
    for (uint64_t i = 0, number = begin; number < end; number++) {
        float factor;
        scale->type->to_f32(scale->type, raw + (number - begin) * bytes, &factor, 1);
        uint64_t stop = number + 1 == end ? count : (number + 1) * scale->group - first;
        for (; i < stop; i++)
            reader->values[i] *= factor;
    }
    return true;
}

static void swap_order(SourceReader *reader, const SourceTensor *t, uint64_t rows, bool to_halves)
{
    order_rows((const uint8_t *)reader->values, (uint8_t *)reader->ordered, rows,
               t->columns * sizeof(float), t->turned, to_halves);
    float *other = reader->values;
    reader->values = reader->ordered;
    reader->ordered = other;
}

static bool read_values(SourceReader *reader, const SourceTensor *t, uint64_t first, uint64_t count,
                        const StoredType *as, bool neighbours, uint8_t *out, Error *err)
{
    uint64_t elements = count * t->columns;
    bool halves = !t->turned || !t->neighbours;
    t->type->to_f32(t->type, reader->raw, reader->values, elements);
    if (t->scale.type && !apply_scales(reader, t, first * t->columns, elements, err))
        return false;
    if (!halves && (!neighbours || t->adapter)) {
        swap_order(reader, t, count, true);
        halves = true;
    }
    if (t->adapter && !adapter_apply(t->adapter, first, count, t->columns, reader->values, err))
        return fail_within(err, "tensor '%.80s'", t->name);
    if (t->turned && halves && neighbours)
        swap_order(reader, t, count, false);
    uint64_t misfit = stored_misfit(as, reader->values, elements);
    if (misfit < elements && as->most == 0)
        return fail(err, ERR_INPUT, "tensor '%.80s' holds a value that is not a number", t->name);
    if (misfit < elements)
        return fail(err, ERR_INPUT, "tensor '%.80s' holds %g, which %s cannot: choose bf16 or f32",
                    t->name, (double)reader->values[misfit], as->name);
    as->of_f32(as, reader->values, out, elements);
    return true;
}

bool reader_read(SourceReader *reader, const SourceTensor *t, uint64_t first, uint64_t count,
                 const StoredType *as, bool neighbours, uint8_t *out, Error *err)
{
    const FsFile *file = &reader->source->files[t->file];
    uint64_t row_bytes = stored_bytes(t->type, t->columns);
    uint64_t offset = t->offset + first * row_bytes;
    assert(count <= reader_rows(reader, t) && first + count <= t->rows);
    assert(!t->turned || (first % t->turned == 0 && count % t->turned == 0));
    if (count * t->columns == 0)
        return true;
    if (reader_copies(t, as, neighbours))
        return fs_file_read(file, offset, out, count * row_bytes, err);
    if (!keeps_values(t, as) && (!t->type->to_f32 || !as->of_f32 || t->columns % as->block))
        return fail(err, ERR_INPUT, "tensor '%.80s' is %s: it cannot be written as %s", t->name,
                    t->type->name, as->name);
    if (!fs_file_read(file, offset, reader->raw, count * row_bytes, err))
        return false;
    if (!keeps_values(t, as))
        return read_values(reader, t, first, count, as, neighbours, out, err);
    order_rows(reader->raw, out, count, row_bytes, t->turned, !neighbours);
    return true;
}
