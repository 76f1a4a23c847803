/* checkpoint.c: see checkpoint.h. */
#include "train/checkpoint.h"

#include "base/hash.h"
#include "base/mem.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STATE_VERSION = 1,
    PATH_ROOM = 1024,
    DISK_SLACK = 1 << 20, /* folders, block rounding and the file system's own needs */
    ENTRY_BYTES = 256,    /* the header's share of one blob, about */
};

static const char state_file[] = "state.json";
static const char *const blob_files[] = {"state.safetensors", "state-1.safetensors"};

typedef struct {
    char folder[PATH_ROOM], state[PATH_ROOM], blobs[PATH_ROOM];
    uint32_t which; /* index of `blobs` in blob_files */
} Place;

static bool place_of(const char *run_folder, uint64_t step, Place *place, Error *err)
{
    char name[64];
    snprintf(name, sizeof name, "checkpoints/step-%08" PRIu64, step);
    place->which = 0;
    return fs_join(place->folder, PATH_ROOM, run_folder, name, err) &&
           fs_join(place->state, PATH_ROOM, place->folder, state_file, err) &&
           fs_join(place->blobs, PATH_ROOM, place->folder, blob_files[0], err);
}

/* ---- reading state.json ---- */

/* The digest of a value: of its compact text, in which every number is exact. */
static bool digest_of_value(const json_t *value, char hex[SHA256_HEX], Error *err)
{
    auto_buf Buf text;
    buf_init(&text, JSON_BYTES_MAX);
    uint8_t digest[SHA256_BYTES];
    if (!json_dump(value, &text, err) || !sha256_bytes(text.data, text.size, digest, err))
        return false;
    sha256_hex(digest, hex);
    return true;
}

static bool digest_of_file(const char *path, char hex[SHA256_HEX], uint64_t *size, Error *err)
{
    uint8_t digest[SHA256_BYTES];
    if (!sha256_file(path, digest, size, err))
        return false;
    sha256_hex(digest, hex);
    return true;
}

/* Reads text and JSON apart, so that a file beyond the limits of either is a damaged one, and
 * ERR_LIMIT and ERR_MEMORY remain for this process being out of memory. */
static bool read_state_file(const char *path, json_t **out, Error *err)
{
    if (fs_size(path) > CHECKPOINT_STATE_MAX)
        return fail(err, ERR_FORMAT, "'%s' is larger than %d bytes", path, CHECKPOINT_STATE_MAX);
    auto_buf Buf text;
    buf_init(&text, CHECKPOINT_STATE_MAX);
    if (!fs_read(path, &text, err))
        return false;
    if (json_parse(out, text.data, text.size, path, err))
        return true;
    if (err->code == ERR_LIMIT)
        err->code = ERR_FORMAT;
    return false;
}

/* state.json, whole: its keys are there and its digest is that of the rest. Sets place->blobs. */
static bool read_state(Place *place, uint64_t step, json_t **out, Error *err)
{
    auto_json json_t *whole = NULL;
    if (!read_state_file(place->state, &whole, err))
        return false;
    const char *file = NULL, *digest = NULL, *blob_digest = NULL;
    if (!json_get_text(whole, "file", NULL, &file, place->state, err) ||
        !json_get_text(whole, "sha256", NULL, &blob_digest, place->state, err) ||
        !json_get_text(whole, "state_sha256", NULL, &digest, place->state, err))
        return false;
    char actual[SHA256_HEX];
    const json_t *state = json_object_get(whole, "state");
    if (!file || !digest || !blob_digest || !json_is_object(state) ||
        json_integer_value(json_object_get(whole, "version")) != STATE_VERSION)
        return fail(err, ERR_FORMAT, "%s: is not the state of a checkpoint", place->state);
    if (!digest_of_value(state, actual, err))
        return false;
    if (strcmp(actual, digest) != 0)
        return fail(err, ERR_FORMAT, "%s: its state was changed: digest %.12s, not %.12s",
                    place->state, actual, digest);
    if (json_integer_value(json_object_get(whole, "step")) != (json_int_t)step)
        return fail(err, ERR_FORMAT, "%s: belongs to another step", place->state);
    while (strcmp(file, blob_files[place->which]) != 0) {
        if (++place->which == 2)
            return fail(err, ERR_FORMAT, "%s: names an unknown file", place->state);
    }
    if (!fs_join(place->blobs, PATH_ROOM, place->folder, file, err))
        return false;
    if (fs_size(place->blobs) != json_integer_value(json_object_get(whole, "bytes")))
        return fail(err, ERR_FORMAT, "'%s' is absent or cut", place->blobs);
    *out = json_incref(whole);
    return true;
}

/* The same, and the digest of the blobs matches. `whole` is state.json. */
static bool verify(Place *place, uint64_t step, json_t **out, Error *err)
{
    auto_json json_t *whole = NULL;
    char actual[SHA256_HEX];
    if (!read_state(place, step, &whole, err) ||
        !digest_of_file(place->blobs, actual, NULL, err))
        return false;
    const char *stated = json_string_value(json_object_get(whole, "sha256"));
    if (strcmp(actual, stated) != 0)
        return fail(err, ERR_FORMAT, "'%s' is damaged: digest %.12s, not %.12s", place->blobs,
                    actual, stated);
    *out = json_incref(whole);
    return true;
}

/* ---- the list of steps ---- */

typedef struct {
    uint64_t *steps;
    size_t count, room;
} StepList;

static bool add_step(void *user, const char *name, Error *err)
{
    StepList *list = user;
    char again[64];
    uint64_t step = strncmp(name, "step-", 5) == 0 ? strtoull(name + 5, NULL, 10) : 0;
    snprintf(again, sizeof again, "step-%08" PRIu64, step);
    if (strcmp(again, name) != 0)
        return true; /* not ours */
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 16;
        uint64_t *steps = mem_resize(list->steps, room, sizeof *steps);
        if (!steps)
            return fail(err, ERR_MEMORY, "no memory to list the checkpoints");
        list->steps = steps;
        list->room = room;
    }
    list->steps[list->count++] = step;
    return true;
}

static int newest_first(const void *left, const void *right)
{
    const uint64_t *a = left, *b = right;
    return *a > *b ? -1 : *a < *b;
}

static bool list_steps(const char *run_folder, StepList *list, Error *err)
{
    char folder[PATH_ROOM];
    if (!fs_join(folder, sizeof folder, run_folder, "checkpoints", err) ||
        !fs_list(folder, add_step, list, err))
        return false;
    if (list->count)
        qsort(list->steps, list->count, sizeof *list->steps, newest_first);
    return true;
}

/* ---- saving ---- */

static bool enough_disk(const char *run_folder, const CheckpointBlob *blobs, uint32_t count,
                        Error *err)
{
    uint64_t need = DISK_SLACK, have;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bytes;
        if (__builtin_mul_overflow(blobs[i].count, st_dtype_info[blobs[i].dtype].bytes, &bytes) ||
            __builtin_add_overflow(need, bytes, &need) ||
            __builtin_add_overflow(need, ENTRY_BYTES, &need))
            return fail(err, ERR_LIMIT, "blob '%.80s': too large", blobs[i].name);
    }
    if (!fs_free_bytes(run_folder, &have, err))
        return false;
    if (need > have)
        return fail(err, ERR_LIMIT, "a checkpoint needs %.1f MiB, the disk of '%s' has %.1f MiB "
                                    "free: make room or keep fewer", (double)need / 0x1p20,
                    run_folder, (double)have / 0x1p20);
    return true;
}

static bool write_blobs(const char *path, const CheckpointBlob *blobs, uint32_t count, Error *err)
{
    auto_free StTensor *tensors = mem_alloc(count, sizeof *tensors);
    if (!tensors)
        return fail(err, ERR_MEMORY, "no memory to save %u blobs", count);
    for (uint32_t i = 0; i < count; i++) {
        tensors[i] = (StTensor){
            .name = blobs[i].name,
            .dtype = blobs[i].dtype,
            .rank = 1,
            .shape = {blobs[i].count},
            .data = blobs[i].data,
            .bytes = blobs[i].count * st_dtype_info[blobs[i].dtype].bytes,
        };
    }
    return safetensors_write(path, tensors, count, err);
}

static bool write_state(const Place *place, uint64_t step, const json_t *state, Error *err)
{
    char blob_digest[SHA256_HEX], digest[SHA256_HEX];
    uint64_t bytes;
    auto_json json_t *empty = json_object();
    if (!empty)
        return fail(err, ERR_MEMORY, "no memory for '%s'", place->state);
    /* json_pack takes a mutable value, and only counts one more reference to it */
    json_t *kept = state ? (json_t *)(uintptr_t)state : empty;
    if (!digest_of_file(place->blobs, blob_digest, &bytes, err) ||
        !digest_of_value(kept, digest, err))
        return false;
    auto_json json_t *whole =
        json_pack("{s:i, s:I, s:s, s:I, s:s, s:s, s:O}", "version", STATE_VERSION, "step",
                  (json_int_t)step, "file", blob_files[place->which], "bytes", (json_int_t)bytes,
                  "sha256", blob_digest, "state_sha256", digest, "state", kept);
    if (!whole)
        return fail(err, ERR_MEMORY, "no memory for '%s'", place->state);
    return json_write(whole, place->state, err);
}

/* Removes a checkpoint, its state.json first and durably: half a removal is no checkpoint. */
static bool remove_checkpoint(const Place *place, Error *err)
{
    if (fs_exists(place->state) &&
        (!fs_remove(place->state, err) || !fs_sync_dir(place->folder, err)))
        return false;
    return fs_remove_tree(place->folder, err);
}

/* For tidying up: what cannot be removed now breaks no promise, and goes with a later save. */
static void drop_file(const char *path)
{
    Error ignored;
    if (!fs_remove(path, &ignored))
        return;
}

/* True when a failed look at a checkpoint says that it is damaged, not that looking failed. */
static bool is_damage(ErrCode code)
{
    return code == ERR_FORMAT || code == ERR_NOT_FOUND;
}

/* Leaves the newest `keep` that look whole among `step` and those before it, as far as possible. */
static void prune(const char *run_folder, uint64_t step, uint32_t keep)
{
    Error ignored;
    StepList list = {0};
    uint32_t kept = 0;
    bool ok = list_steps(run_folder, &list, &ignored);
    for (size_t i = 0; ok && i < list.count; i++) {
        Place place;
        auto_json json_t *whole = NULL;
        ok = place_of(run_folder, list.steps[i], &place, &ignored);
        if (!ok || list.steps[i] > step)
            continue;
        if (list.steps[i] == step ||
            (kept < keep && read_state(&place, list.steps[i], &whole, &ignored)))
            kept++;
        else if (kept == keep || is_damage(ignored.code))
            ok = remove_checkpoint(&place, &ignored);
    }
    mem_free(list.steps);
}

/* Chooses the file to write: beside the one of a valid checkpoint of the same step, or in a new
 * folder, or in one emptied of what a crash left. */
static bool prepare(Place *place, uint64_t step, bool *replaces, Error *err)
{
    auto_json json_t *whole = NULL;
    *replaces = fs_exists(place->state) && verify(place, step, &whole, err);
    if (*replaces) {
        place->which = 1 - place->which;
        return fs_join(place->blobs, PATH_ROOM, place->folder, blob_files[place->which], err);
    }
    if (fs_exists(place->state) && !is_damage(err->code))
        return false;
    place->which = 0;
    return fs_join(place->blobs, PATH_ROOM, place->folder, blob_files[0], err) &&
           remove_checkpoint(place, err) && fs_make_dirs(place->folder, err);
}

/* After a failure: gives the room back, unless state.json already names what was written (then
 * only its last sync failed). */
static void undo_save(const Place *place, uint64_t step, bool replaces)
{
    Error ignored;
    Place now = *place;
    auto_json json_t *whole = NULL;
    if (!fs_exists(place->state)) {
        if (!fs_remove_tree(place->folder, &ignored))
            return;
    } else if (replaces) {
        now.which = 0;
        if (read_state(&now, step, &whole, &ignored) && now.which != place->which)
            drop_file(place->blobs);
    }
}

bool checkpoint_save(const char *run_folder, uint64_t step, const json_t *state,
                     const CheckpointBlob *blobs, uint32_t count, uint32_t keep, Error *err)
{
    assert(!state || json_is_object(state));
    Place place;
    bool replaces;
    if (step > INT64_MAX)
        return fail(err, ERR_LIMIT, "step %" PRIu64 " is beyond 2^63", step);
    if (!place_of(run_folder, step, &place, err) || !enough_disk(run_folder, blobs, count, err) ||
        !prepare(&place, step, &replaces, err))
        return false;
    if (!write_blobs(place.blobs, blobs, count, err) || !write_state(&place, step, state, err)) {
        undo_save(&place, step, replaces);
        return false;
    }
    char old[PATH_ROOM];
    if (replaces && fs_join(old, sizeof old, place.folder, blob_files[1 - place.which], err))
        drop_file(old);
    if (keep)
        prune(run_folder, step, keep);
    return true;
}

/* ---- loading ---- */

bool checkpoint_latest(const char *run_folder, uint64_t *step, json_t **state, uint32_t *damaged,
                       Error *err)
{
    StepList list = {0};
    uint32_t bad = 0;
    bool found = false, stop = false;
    if (!list_steps(run_folder, &list, err)) {
        stop = err->code != ERR_NOT_FOUND; /* no folder: nothing was saved yet */
        list.count = 0;
    }
    for (size_t i = 0; !found && !stop && i < list.count; i++) {
        Place place;
        auto_json json_t *whole = NULL;
        stop = !place_of(run_folder, list.steps[i], &place, err);
        if (stop || !fs_exists(place.state))
            continue;
        found = verify(&place, list.steps[i], &whole, err);
        if (found) {
            *step = list.steps[i];
            *state = json_incref(json_object_get(whole, "state"));
        } else {
            /* no memory says nothing about the file: going on to an older one would lose work */
            stop = !is_damage(err->code) && err->code != ERR_IO;
            bad += !stop;
        }
    }
    mem_free(list.steps);
    if (damaged)
        *damaged = bad;
    if (found || stop)
        return found;
    return fail(err, ERR_NOT_FOUND, "'%s' has no valid checkpoint (%u damaged)", run_folder, bad);
}

/* Every blob is there as asked, and nothing else is. */
static bool matches(const Safetensors *st, const char *path, const CheckpointBlob *blobs,
                    uint32_t count, Error *err)
{
    if (safetensors_count(st) != count)
        return fail(err, ERR_FORMAT, "'%s' has %u blobs, this run has %u", path,
                    safetensors_count(st), count);
    auto_free uint8_t *seen = mem_alloc(count, 1);
    if (!seen)
        return fail(err, ERR_MEMORY, "no memory to compare %u blobs", count);
    for (uint32_t i = 0; i < count; i++) {
        const CheckpointBlob *blob = &blobs[i];
        const StTensor *tensor = safetensors_find(st, blob->name);
        if (!tensor)
            return fail(err, ERR_FORMAT, "'%s' has no blob '%.80s'", path, blob->name);
        if (tensor->dtype != blob->dtype || tensor->rank != 1 || tensor->shape[0] != blob->count)
            return fail(err, ERR_FORMAT,
                        "'%s': blob '%.60s' has %" PRIu64 " of %s, this run has %" PRIu64 " of %s",
                        path, blob->name, tensor->rank == 1 ? tensor->shape[0] : 0,
                        st_dtype_info[tensor->dtype].name, blob->count,
                        st_dtype_info[blob->dtype].name);
        uint8_t *mark = &seen[tensor - safetensors_at(st, 0)];
        if (*mark)
            return fail(err, ERR_INTERNAL, "blob '%.80s' is asked for twice", blob->name);
        *mark = 1;
    }
    return true;
}

bool checkpoint_load(const char *run_folder, uint64_t step, const CheckpointBlob *blobs,
                     uint32_t count, Error *err)
{
    Place place;
    auto_json json_t *whole = NULL;
    if (!place_of(run_folder, step, &place, err) || !verify(&place, step, &whole, err))
        return false;
    Safetensors *st;
    if (!safetensors_open(&st, place.blobs, err))
        return false;
    bool ok = matches(st, place.blobs, blobs, count, err);
    for (uint32_t i = 0; ok && i < count; i++) {
        const StTensor *tensor = safetensors_find(st, blobs[i].name);
        if (tensor->bytes)
            memcpy(blobs[i].data, tensor->data, tensor->bytes);
    }
    safetensors_close(st);
    return ok;
}
