/* packing.h: samples laid into rows of T tokens, always in the same way.
 *
 * A sample of n ids takes n - 1 positions of a row: at position i the input is ids[i] and the
 * target ids[i + 1] where that is trained, else -1. No target crosses from one sample to another.
 * Per token of a row: its position in its sample, and the index in the row at which its sample
 * starts, which together make attention block-diagonal. The unused tail of a row: id 0, target -1,
 * position 0, start its own index.
 *
 *   row:       a0 a1 a2 b0 b1 b2 b3  0
 *   target:    a1 a2 a3 b1 b2 b3 b4 -1
 *   position:   0  1  2  0  1  2  3  0
 *   start:      0  0  0  3  3  3  3  7
 *
 * Each epoch takes every piece (a sample, or a part of one too long) once, in an order that is a
 * function of (seed, epoch). A row begins with the first piece not yet placed and goes on with the
 * longest that fits among the next PACKING_AHEAD in order. What was placed ahead of its turn is
 * part of the cursor, so a cursor is the whole state: rows from it on are always the same. A row
 * never holds two epochs.
 * packing_next allocates nothing. Threads: a Packer belongs to one thread.
 */
#pragma once
#include "train/samples.h"

enum {
    PACKING_AHEAD = 64,
    PACKING_ROW_MAX = 1 << 24, /* tokens of a row */
};

typedef enum {
    PACK_SPLIT,    /* plain text: into pieces of T + 1 ids that overlap by one, so that no target is
                    * lost */
    PACK_TRUNCATE, /* dialogues: cut on the left, at most up to the token before the first trained
                    * one; what is still too long is cut on the right */
    PACK_REFUSE,   /* packing_new fails with ERR_LIMIT, naming the sample */
} PackLong;

typedef struct {
    uint32_t row_tokens; /* T, 1..PACKING_ROW_MAX */
    PackLong too_long;   /* what becomes of samples of more than T + 1 ids */
    uint64_t seed;
} PackOptions;

/* Where the next row begins. All zero: at the start. Each number fits a signed 64-bit integer. */
typedef struct {
    uint64_t epoch;
    uint64_t index;  /* in the epoch's order: the first piece not yet placed */
    uint64_t placed; /* bit i: the piece at index + 1 + i is placed already; below 2^63 */
} PackCursor;

typedef struct {
    uint64_t samples, pieces;
    uint64_t split;           /* samples cut into several pieces */
    uint64_t truncated;       /* samples that lost tokens */
    uint64_t dropped;         /* pieces (or whole samples) without any trained target */
    uint64_t tokens, trained; /* positions and targets of one epoch */
    uint64_t rows;            /* rows of epoch 0; other epochs differ by few */
} PackStats;

/* The arrays of a batch, each rows * T, row after row; the caller's. */
typedef struct {
    int32_t *ids, *targets, *positions, *starts;
} PackRows;

typedef struct {
    uint64_t used;    /* positions that hold a token */
    uint64_t trained; /* targets other than -1: what a mean loss divides by */
} PackCounts;

typedef struct Packer Packer;

/* The set must outlive the packer, unchanged. ERR_INPUT when no sample has a trained target. */
bool packing_new(Packer **out, const SampleSet *set, const PackOptions *options,
                 Error *err) MUST_CHECK;
void packing_free(Packer *packer); /* NULL is a no-op */
PackStats packing_stats(const Packer *packer);

void packing_next(Packer *packer, uint32_t rows, const PackRows *out, PackCounts *counts);

PackCursor packing_cursor(const Packer *packer);
/* ERR_INPUT for a cursor that cannot be one of this data: data or options have changed. */
bool packing_seek(Packer *packer, PackCursor cursor, Error *err) MUST_CHECK;

/* The other way to feed plain text: the whole set as one text, windows of exactly T tokens at
 * random places, all targets trained, boundaries of samples ignored. Row r of a run is a function
 * of (seed, r) alone: a step s of B rows asks for rows [s * B, (s + 1) * B), in as many calls as it
 * likes. ERR_INPUT when the set has no more than T tokens. */
bool packing_windows(const SampleSet *set, const PackOptions *options, uint64_t first_row,
                     uint32_t rows, const PackRows *out, PackCounts *counts, Error *err) MUST_CHECK;
