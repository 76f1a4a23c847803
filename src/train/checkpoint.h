/* checkpoint.h: the state of a run on disk, so that it can stop at any moment and go on bit-equal.
 *
 *   RUN/checkpoints/step-00000200/state.safetensors   the blobs: weights, moments
 *                                 state.json          step, digests and the caller's state object
 *
 * A checkpoint exists exactly when its state.json is whole (its own digest included) and the
 * digest of the file it names matches. state.json is written last, so a crash at any moment leaves
 * the previous checkpoint or the new one. A step saved again goes to state-1.safetensors beside the
 * old file, which is removed once the new state.json stands: the old one is valid until then.
 * Blobs are written from and read into the caller's memory, without a copy in between.
 * Threads: one writer per run folder (the run holds a lock); readers any.
 */
#pragma once
#include "format/json.h"
#include "format/safetensors.h"

typedef struct {
    const char *name; /* unique, no control characters: "weights", "adam.m" */
    StDtype dtype;
    void *data;     /* count items, little-endian */
    uint64_t count; /* items, not bytes */
} CheckpointBlob;

enum { CHECKPOINT_STATE_MAX = 16 << 20 }; /* bytes of state.json */

/* Saves, durably, then removes older checkpoints so that `keep` are left, this one included
 * (0: all are kept). Older ones without a whole state.json or with a cut file go too; blobs are not
 * read again for this; newer ones stay. A removal that fails does not fail the save: the next one
 * tries again. `state`: any JSON object, or NULL.
 * ERR_LIMIT with both numbers when the disk has no room, before anything is written or removed. On
 * false the older checkpoints are untouched, and this one is absent (or, when only the last sync
 * failed, valid). */
bool checkpoint_save(const char *run_folder, uint64_t step, const json_t *state,
                     const CheckpointBlob *blobs, uint32_t count, uint32_t keep,
                     Error *err) MUST_CHECK;

/* The newest valid one; *state is the caller's to json_decref. Those found damaged or unreadable on
 * the way are skipped; their number goes to *damaged (NULL: not wanted), also on failure. Folders
 * without state.json are the traces of crashes and not counted. ERR_NOT_FOUND: none is valid. */
bool checkpoint_latest(const char *run_folder, uint64_t *step, json_t **state, uint32_t *damaged,
                       Error *err) MUST_CHECK;

/* Fills the blobs' memory. Names, dtypes and counts must be exactly those saved, in any order:
 * all is checked, the digest too, before the first byte is copied. ERR_NOT_FOUND, ERR_FORMAT
 * naming the blob. */
bool checkpoint_load(const char *run_folder, uint64_t step, const CheckpointBlob *blobs,
                     uint32_t count, Error *err) MUST_CHECK;
