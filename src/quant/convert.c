/* convert.c: see convert.h. What the sinks share; each has a file of its own. */
#include "quant/convert_parts.h"

#include "base/hash.h"
#include "base/mem.h"
#include "tensor/block.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { EXTRA_BYTES_MAX = 256 << 20, WIDEST_VALUE = 8 };

const ConvertFormat convert_formats[] = {
    {"hf", sink_hf}, {"mistral", sink_native}, {"gguf", sink_gguf}, {0},
};

/* What stands there after a failure is ours: whole, but not known to outlive a loss of power. */
static void take_back(const char *path)
{
    Error ignored;
    bool removed = fs_is_dir(path) ? fs_remove_tree(path, &ignored) : fs_remove(path, &ignored);
    (void)removed; /* the first failure is the one to tell */
}

bool convert(const ConvertFormat *format, const Source *source, const char *path,
             const ConvertOptions *options, ConvertResult *result, Error *err)
{
    ConvertResult r = {.left_out = source->left_out, .exact = true};
    if (fs_exists(path))
        return fail(err, ERR_CONFLICT, "'%.160s' exists: choose another name, or remove it", path);
    if (options->type && !options->type->of_f32)
        return fail(err, ERR_INPUT, "%s can be read, not written", options->type->name);
    if (!format->run(source, path, options, &r, err)) {
        take_back(path);
        return false;
    }
    *result = r;
    return true;
}

/* ---- types ---- */

const StoredType *type_in_safetensors(const SourceTensor *t, const StoredType *asked)
{
    if (!t->type->to_f32)
        return t->type;
    if (asked)
        return asked;
    bool holds = t->type->st >= 0 && !t->scale.type;
    if (t->adapter && !t->type->of_f32)
        holds = false;
    return holds ? t->type : stored_of_st(ST_F32);
}

/* f32 holds every value of the narrower types (a product with a scale is defined as that of f32);
 * only f64 has values that it cannot hold. */
bool type_is_exact(const SourceTensor *t, const StoredType *as)
{
    if (t->adapter)
        return false;
    return (as == t->type && !t->scale.type) || (as->st == ST_F32 && t->type->st != ST_F64);
}

/* ---- running ---- */

bool run_begin(ConvertRun *run, const Source *source, const ConvertOptions *options,
               uint64_t total, Error *err)
{
    ConvertRun r = {.source = source, .options = options, .progress = {.total = total}};
    if (!reader_new(&r.reader, source, err))
        return false;
    r.block = mem_alloc_aligned(r.reader.room * WIDEST_VALUE, 64);
    bool ok = r.block || fail(err, ERR_MEMORY, "no memory for blocks of %" PRIu64 " values",
                              r.reader.room);
    if (ok && (options->type || options->choose))
        ok = pool_new(&r.pool, options->threads, err);
    *run = r;
    if (!ok)
        run_end(run);
    return ok;
}

void run_end(ConvertRun *run)
{
    reader_free(&run->reader);
    pool_free(run->pool);
    mem_free(run->block);
    run->block = NULL;
}

/* Rows of f32 into blocks, each by itself. */
typedef struct {
    const ConvertItem *item;
    DType type;
    const float *values;
    uint8_t *out;
    uint64_t columns, row_bytes;
} Rows;

static void put_row(void *ctx, uint32_t task, uint32_t worker)
{
    const Rows *rows = ctx;
    (void)worker;
    block_quantise(rows->type, rows->values + task * rows->columns, rows->item->importance,
                   rows->out + task * rows->row_bytes, rows->columns);
}

/* The block of rows in the item's type, by way of f32 and many threads; *out points into it. */
static bool read_as_blocks(ConvertRun *run, const ConvertItem *item, uint64_t first,
                           uint64_t count, const uint8_t **out, Error *err)
{
    const SourceTensor *t = item->from;
    Rows rows = {.item = item, .values = (const float *)(const void *)run->block,
                 .out = run->block + run->reader.room * sizeof(float), .columns = t->columns,
                 .row_bytes = stored_bytes(item->as, t->columns)};
    if (!block_of_ggml((uint32_t)item->as->ggml, &rows.type))
        return fail(err, ERR_INTERNAL, "no codec for %s", item->as->name);
    if (!reader_read(&run->reader, t, first, count, stored_of_st(ST_F32), item->neighbours,
                     run->block, err))
        return false;
    uint64_t bad = stored_misfit(item->as, rows.values, count * t->columns);
    if (bad < count * t->columns)
        return fail(err, ERR_INPUT, "tensor '%.80s' holds %g, which %s cannot hold", t->name,
                    (double)rows.values[bad], item->as->name);
    pool_for(run->pool, (uint32_t)count, put_row, &rows);
    *out = rows.out;
    return true;
}

static bool takes_work(const ConvertRun *run, const ConvertItem *item)
{
    return run->pool && item->as->block > 1 && item->from->columns &&
           !reader_copies(item->from, item->as, item->neighbours) && item->as != item->from->type;
}

bool run_copy(ConvertRun *run, const ConvertItem *item,
              bool (*put)(void *user, const void *bytes, uint64_t size, Error *err), void *user,
              Error *err)
{
    const SourceTensor *t = item->from;
    uint64_t step = reader_rows(&run->reader, t);
    run->progress.tensor = t->name;
    for (uint64_t row = 0; row < t->rows; row += step) {
        uint64_t count = t->rows - row < step ? t->rows - row : step;
        uint64_t bytes = t->columns ? stored_bytes(item->as, count * t->columns) : 0;
        const uint8_t *block = run->block;
        bool ok = takes_work(run, item)
                      ? read_as_blocks(run, item, row, count, &block, err)
                      : reader_read(&run->reader, t, row, count, item->as, item->neighbours,
                                    run->block, err);
        if (!ok || !put(user, block, bytes, err))
            return false;
        run->progress.done += bytes;
        if (run->options->progress &&
            !run->options->progress(run->options->user, &run->progress))
            return fail(err, ERR_CANCELLED, "stopped at tensor '%.80s'", t->name);
    }
    return true;
}

static bool put_digest(void *user, const void *bytes, uint64_t size, Error *err)
{
    return sha256_add(user, bytes, size, err);
}

bool convert_digest(SourceReader *reader, const SourceTensor *t, uint8_t digest[32], Error *err)
{
    Sha256 *hash;
    const ConvertOptions none = {0};
    const StoredType *as = t->scale.type || t->adapter ? stored_of_st(ST_F32) : t->type;
    ConvertItem item = {t, as, false, NULL};
    ConvertRun run = {.source = reader->source, .options = &none, .reader = *reader};
    run.block = mem_alloc_aligned(reader->room * WIDEST_VALUE, 64);
    if (!run.block)
        return fail(err, ERR_MEMORY, "no memory for a block of '%.80s'", t->name);
    bool ok = sha256_new(&hash, err);
    if (ok) {
        ok = run_copy(&run, &item, put_digest, hash, err) && sha256_end(hash, digest, err);
        sha256_free(hash);
    }
    mem_free(run.block);
    *reader = run.reader; /* its buffers may have changed places */
    return ok;
}

/* ---- folders ---- */

bool folder_begin(const char *path, char temporary[1100], Error *err)
{
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        size--;
    if (snprintf(temporary, 1100, "%.*s.tmp-%ld", (int)size, path, (long)getpid()) >= 1000)
        return fail(err, ERR_LIMIT, "path of %zu bytes is too long", size);
    if (!fs_remove_tree(temporary, err))
        return false;
    return fs_make_dirs(temporary, err) || folder_end(temporary, path, false, err);
}

bool folder_end(const char *temporary, const char *path, bool ok, Error *err)
{
    Error ignored;
    ok = ok && fs_rename_dir(temporary, path, err);
    bool removed = ok || fs_remove_tree(temporary, &ignored);
    (void)removed; /* the first failure is the one to tell */
    return ok;
}

bool folder_add_extras(const Source *s, const char *folder, Error *err)
{
    char path[1200];
    auto_buf Buf bytes;
    buf_init(&bytes, EXTRA_BYTES_MAX);
    for (uint32_t i = 0; i < s->extra_count; i++) {
        buf_reset(&bytes);
        if (!fs_join(path, sizeof path, folder, s->extras[i].name, err) ||
            !source_read_extra(&s->extras[i], &bytes, err) ||
            !fs_write(path, bytes.data ? bytes.data : "", bytes.size, err))
            return false;
    }
    return true;
}
