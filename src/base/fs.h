/* fs.h: files, the only way the project touches them.
 *
 * Rules that hold everywhere: a file is replaced whole (temporary beside it, write, fsync, rename,
 * fsync of the folder), never edited in place, except append-only logs; sizes are compared with a
 * limit before memory is asked for; a reader of mapped bytes never trusts alignment.
 * Every operating system call is counted, so that tests can fail or kill at the n-th one.
 * Errors: ERR_NOT_FOUND when a file is absent, ERR_LIMIT when too large, ERR_IO otherwise; the
 * text names the path and the system's reason. Threads: distinct objects, any thread.
 */
#pragma once
#include "base/buf.h"

#include <stdint.h>

/* Reads a whole file into *out (appended; out->limit holds). */
bool fs_read(const char *path, Buf *out, Error *err) MUST_CHECK;

/* Replaces path by the bytes, atomically and durably. */
bool fs_write(const char *path, const void *bytes, size_t size, Error *err) MUST_CHECK;

/* A file mapped read-only. size 0 is a valid empty map (data non-NULL). */
typedef struct {
    const uint8_t *data;
    size_t size;
} FsMap;
bool fs_map(const char *path, FsMap *out, Error *err) MUST_CHECK;
void fs_unmap(FsMap *map); /* a zeroed map is a no-op */

/* A file being replaced: writer_open, any number of writer_add, then writer_commit (durable under
 * its name) or writer_abandon (nothing changed). Large writes are not buffered twice. */
typedef struct {
    int fd; /* -1: not open */
    char path[1024], temporary[1056];
    uint64_t size;
    uint32_t fill;
    uint8_t buffer[1 << 16];
} FsWriter;
bool fs_writer_open(FsWriter *w, const char *path, Error *err) MUST_CHECK;
bool fs_writer_add(FsWriter *w, const void *bytes, size_t size, Error *err) MUST_CHECK;
bool fs_writer_commit(FsWriter *w, Error *err) MUST_CHECK;
void fs_writer_abandon(FsWriter *w);

/* An append-only log of lines. append is durable on return when `sync`. */
typedef struct {
    int fd; /* -1: not open */
    char path[1024];
} FsLog;
bool fs_log_open(FsLog *log, const char *path, Error *err) MUST_CHECK;
bool fs_log_append(FsLog *log, const void *bytes, size_t size, bool sync, Error *err) MUST_CHECK;
void fs_log_close(FsLog *log);

bool fs_make_dirs(const char *path, Error *err) MUST_CHECK; /* as mkdir -p, 0700; durable */
bool fs_exists(const char *path);
bool fs_is_dir(const char *path);
int64_t fs_size(const char *path); /* -1: absent */
bool fs_remove(const char *path, Error *err) MUST_CHECK;        /* a file; absent is fine */
bool fs_remove_tree(const char *path, Error *err) MUST_CHECK;   /* a folder; absent is fine */
bool fs_rename_dir(const char *from, const char *to, Error *err) MUST_CHECK; /* durable */
bool fs_sync_dir(const char *path, Error *err) MUST_CHECK;
bool fs_free_bytes(const char *path, uint64_t *out, Error *err) MUST_CHECK; /* of its disk */

/* Calls each(user, name) for the entries of a folder in byte order, without "." and "..". */
bool fs_list(const char *path, bool (*each)(void *user, const char *name, Error *err), void *user,
             Error *err) MUST_CHECK;

/* Joins with one '/', into out; ERR_LIMIT when it does not fit. */
bool fs_join(char *out, size_t room, const char *folder, const char *name, Error *err) MUST_CHECK;

/* Takes an exclusive lock (flock) on path, creating it and writing the process id into it.
 * Held by another: ERR_CONFLICT naming path and that process. The lock ends with the process. */
typedef struct {
    int fd; /* -1: not held */
} FsLock;
bool fs_lock(const char *path, FsLock *out, Error *err) MUST_CHECK;
void fs_unlock(FsLock *lock);

/* ---- tests ---- */
uint64_t fs_call_count(void); /* system calls so far */
/* The next one after `calls` fails with this errno; < 0: never. */
void fs_fail_after(int64_t calls, int error_number);

/* After `calls` more system calls the process ends with status 137 in place of the next one, and
 * leaves the disk as a crash could (calls < 0: never, and what was noted is forgotten):
 * KILL:     as it is: the process was killed, the machine runs on.
 * CONTENTS: power was lost; changes of folders had reached the disk, contents had not: what was
 *           written to a file since its last sync is cut off.
 * ALL:      power was lost, and every change that nothing had made durable is taken back: contents
 *           as above; a file created, renamed or removed, or a folder made or removed, whose folder
 *           was not synced since, is as it was before (absent, under its old name, with its old
 *           content).
 * What existed when it was armed counts as durable. Armed again, the notes go on with the new count
 * and kind: so a test of "power fails after all is done" arms with 0 at the end. Status 70: the
 * simulation itself failed (over 256 files or 512 changes unsynced, no room to restore).
 * For a forked child; the parent then looks at the folder. Contents overwritten in place are not
 * restored: nothing here does that. */
typedef enum { FS_CRASH_KILL, FS_CRASH_CONTENTS, FS_CRASH_ALL } FsCrash;
void fs_simulate_crash(int64_t calls, FsCrash how);
static inline void fs_simulate_power_loss(int64_t calls)
{
    fs_simulate_crash(calls, FS_CRASH_ALL);
}
