/* packing.c: see packing.h. */
#include "train/packing.h"

#include "base/mem.h"
#include "base/rng.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

typedef struct {
    uint64_t start; /* in the set's tokens */
    uint32_t count; /* ids, at least 2: count - 1 positions */
} Piece;

struct Packer {
    const SampleSet *set;
    PackOptions options;
    Piece *pieces;
    uint32_t *order; /* of the pieces in the cursor's epoch */
    uint32_t count;
    PackCursor cursor;
    PackStats stats;
};

static_assert(PACKING_AHEAD == 64, "the first piece and 63 bits of PackCursor.placed");

/* ---- cutting samples into pieces ---- */

/* Counts a piece, and stores it on the second pass, when there is a list. */
static void add_piece(Packer *packer, uint64_t start, uint64_t count)
{
    uint64_t trained = 0;
    for (uint64_t i = 1; i < count; i++)
        trained += (packer->set->tokens[start + i] & SAMPLE_TRAINED) != 0;
    PackStats *stats = &packer->stats;
    if (trained == 0) {
        stats->dropped++;
        return;
    }
    if (packer->pieces)
        packer->pieces[stats->pieces] = (Piece){start, (uint32_t)count};
    stats->pieces++;
    stats->tokens += count - 1;
    stats->trained += trained;
}

static void add_split(Packer *packer, uint64_t start, uint64_t count)
{
    uint64_t step = packer->options.row_tokens;
    packer->stats.split++;
    for (uint64_t at = 0; at + 1 < count; at += step) {
        uint64_t left = count - at;
        add_piece(packer, start + at, left < step + 1 ? left : step + 1);
    }
}

static void add_truncated(Packer *packer, uint64_t start, uint64_t count)
{
    uint64_t room = (uint64_t)packer->options.row_tokens + 1;
    uint64_t first = 1; /* trained token that something before it can predict */
    while (first < count && !(packer->set->tokens[start + first] & SAMPLE_TRAINED))
        first++;
    uint64_t cut = count - room < first - 1 ? count - room : first - 1;
    packer->stats.truncated += first < count;
    if (first < count)
        add_piece(packer, start + cut, room);
    else
        packer->stats.dropped++;
}

static bool add_samples(Packer *packer, Error *err)
{
    const SampleSet *set = packer->set;
    uint32_t longest = packer->options.row_tokens;
    packer->stats = (PackStats){.samples = set->count};
    for (uint32_t i = 0; i < set->count; i++) {
        uint64_t start = set->starts[i], count = set->starts[i + 1] - start;
        if (count <= (uint64_t)longest + 1)
            add_piece(packer, start, count);
        else if (packer->options.too_long == PACK_SPLIT)
            add_split(packer, start, count);
        else if (packer->options.too_long == PACK_TRUNCATE)
            add_truncated(packer, start, count);
        else
            return fail(err, ERR_LIMIT, "sample %" PRIu32 " has %" PRIu64 " tokens, a row takes %"
                                        PRIu64 ": raise the context, or truncate or split samples",
                        i + 1, count, (uint64_t)longest + 1);
    }
    return true;
}

/* ---- choosing ---- */

static void load_order(Packer *packer, uint64_t epoch)
{
    uint64_t seed = rng_u64(rng_key(packer->options.seed, "packing"), epoch);
    rng_permutation(rng_key(seed, "epoch"), packer->order, packer->count);
}

static const Piece *piece_at(const Packer *packer, uint64_t index)
{
    return &packer->pieces[packer->order[index]];
}

/* Marks the piece `ahead` of the cursor as placed; the cursor then stands on one that is not. */
static void place(PackCursor *cursor, uint32_t ahead)
{
    if (ahead) {
        cursor->placed |= (uint64_t)1 << (ahead - 1);
        return;
    }
    bool next_is_placed;
    do {
        next_is_placed = cursor->placed & 1;
        cursor->placed >>= 1;
        cursor->index++;
    } while (next_is_placed);
}

/* The longest unplaced piece of at most `room` positions in the window, the first of equals;
 * PACKING_AHEAD: none fits. */
static uint32_t choose(const Packer *packer, const PackCursor *cursor, uint32_t room)
{
    uint32_t best = PACKING_AHEAD, best_length = 0;
    for (uint32_t ahead = 0; ahead < PACKING_AHEAD; ahead++) {
        if (cursor->index + ahead >= packer->count || best_length == room)
            break;
        if (ahead && (cursor->placed >> (ahead - 1) & 1))
            continue;
        uint32_t length = piece_at(packer, cursor->index + ahead)->count - 1;
        if (length <= room && length > best_length) {
            best = ahead;
            best_length = length;
        }
    }
    return best;
}

/* Writes a piece at `at` of a row; returns its trained targets. */
static uint32_t emit(const Packer *packer, const Piece *piece, const PackRows *row, uint32_t at)
{
    const uint32_t *tokens = packer->set->tokens + piece->start;
    uint32_t trained = 0;
    for (uint32_t i = 0; i + 1 < piece->count; i++) {
        bool wanted = tokens[i + 1] & SAMPLE_TRAINED;
        row->ids[at + i] = (int32_t)(tokens[i] & ~SAMPLE_TRAINED);
        row->targets[at + i] = wanted ? (int32_t)(tokens[i + 1] & ~SAMPLE_TRAINED) : -1;
        row->positions[at + i] = (int32_t)i;
        row->starts[at + i] = (int32_t)at;
        trained += wanted;
    }
    return trained;
}

/* Fills one row from the cursor, which moves to the row after, in the same epoch: its index is
 * packer->count at the end. row NULL: only chooses. */
static PackCounts fill_row(const Packer *packer, PackCursor *cursor, const PackRows *row)
{
    uint32_t room = packer->options.row_tokens, at = 0, ahead = 0;
    PackCounts counts = {0};
    do { /* the first piece is never passed over, so none waits for long */
        const Piece *piece = piece_at(packer, cursor->index + ahead);
        if (row)
            counts.trained += emit(packer, piece, row, at);
        at += piece->count - 1;
        place(cursor, ahead);
        ahead = choose(packer, cursor, room - at);
    } while (ahead < PACKING_AHEAD);
    counts.used = at;
    for (; row && at < room; at++) {
        row->ids[at] = 0;
        row->targets[at] = -1;
        row->positions[at] = 0;
        row->starts[at] = (int32_t)at;
    }
    return counts;
}

/* ---- interface ---- */

static bool make_pieces(Packer *packer, Error *err)
{
    if (!add_samples(packer, err))
        return false;
    uint64_t pieces = packer->stats.pieces;
    if (pieces == 0)
        return fail(err, ERR_INPUT, "none of %" PRIu32 " samples has a token to train on",
                    packer->set->count);
    if (pieces > UINT32_MAX)
        return fail(err, ERR_LIMIT, "%" PRIu64 " pieces of samples, at most %u: use longer rows",
                    pieces, UINT32_MAX);
    packer->pieces = mem_alloc(pieces, sizeof *packer->pieces);
    packer->order = mem_alloc(pieces, sizeof *packer->order);
    if (!packer->pieces || !packer->order)
        return fail(err, ERR_MEMORY, "no memory to order %" PRIu64 " samples", pieces);
    if (!add_samples(packer, err))
        return false;
    packer->count = (uint32_t)pieces;
    load_order(packer, 0);
    for (PackCursor cursor = {0}; cursor.index < packer->count; packer->stats.rows++)
        fill_row(packer, &cursor, NULL);
    return true;
}

bool packing_new(Packer **out, const SampleSet *set, const PackOptions *options, Error *err)
{
    if (options->row_tokens < 1 || options->row_tokens > PACKING_ROW_MAX)
        return fail(err, ERR_INPUT, "rows of %u tokens: must be from 1 to %d", options->row_tokens,
                    PACKING_ROW_MAX);
    Packer *packer = mem_alloc(1, sizeof *packer);
    if (!packer)
        return fail(err, ERR_MEMORY, "no memory to pack samples");
    packer->set = set;
    packer->options = *options;
    if (!make_pieces(packer, err)) {
        packing_free(packer);
        return false;
    }
    *out = packer;
    return true;
}

void packing_free(Packer *packer)
{
    if (!packer)
        return;
    mem_free(packer->pieces);
    mem_free(packer->order);
    mem_free(packer);
}

PackStats packing_stats(const Packer *packer)
{
    return packer->stats;
}

PackCursor packing_cursor(const Packer *packer)
{
    return packer->cursor;
}

bool packing_seek(Packer *packer, PackCursor cursor, Error *err)
{
    bool fits = cursor.index < packer->count && cursor.epoch <= INT64_MAX &&
                cursor.placed <= INT64_MAX;
    uint64_t behind = fits ? packer->count - cursor.index - 1 : 0; /* pieces a bit can stand for */
    if (!fits || (behind < 63 && cursor.placed >> behind))
        return fail(err, ERR_INPUT, "place %" PRIu64 " of epoch %" PRIu64 " is not one of these %u "
                                    "samples: the data or the recipe has changed", cursor.index,
                    cursor.epoch, packer->count);
    if (cursor.epoch != packer->cursor.epoch)
        load_order(packer, cursor.epoch);
    packer->cursor = cursor;
    return true;
}

/* The arrays of row r of a batch. */
static PackRows row_of(const PackRows *rows, uint64_t r, uint32_t row_tokens)
{
    uint64_t at = r * row_tokens;
    return (PackRows){rows->ids + at, rows->targets + at, rows->positions + at, rows->starts + at};
}

void packing_next(Packer *packer, uint32_t rows, const PackRows *out, PackCounts *counts)
{
    *counts = (PackCounts){0};
    for (uint32_t r = 0; r < rows; r++) {
        PackRows row = row_of(out, r, packer->options.row_tokens);
        PackCounts added = fill_row(packer, &packer->cursor, &row);
        counts->used += added.used;
        counts->trained += added.trained;
        if (packer->cursor.index == packer->count) {
            assert(packer->cursor.placed == 0);
            packer->cursor = (PackCursor){.epoch = packer->cursor.epoch + 1};
            load_order(packer, packer->cursor.epoch);
        }
    }
}

bool packing_windows(const SampleSet *set, const PackOptions *options, uint64_t first_row,
                     uint32_t rows, const PackRows *out, PackCounts *counts, Error *err)
{
    uint32_t length = options->row_tokens;
    if (set->used <= length)
        return fail(err, ERR_INPUT, "%" PRIu64 " tokens of text give no window of %u and its "
                                    "targets: shorten the context or add text", set->used, length);
    RngKey key = rng_key(options->seed, "windows");
    for (uint32_t r = 0; r < rows; r++) {
        PackRows row = row_of(out, r, length);
        const uint32_t *tokens =
            set->tokens + rng_below(key, first_row + r, set->used - length);
        for (uint32_t i = 0; i < length; i++) {
            row.ids[i] = (int32_t)(tokens[i] & ~SAMPLE_TRAINED);
            row.targets[i] = (int32_t)(tokens[i + 1] & ~SAMPLE_TRAINED);
            row.positions[i] = (int32_t)i;
            row.starts[i] = 0;
        }
    }
    *counts = (PackCounts){(uint64_t)rows * length, (uint64_t)rows * length};
    return true;
}
