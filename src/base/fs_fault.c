/* fs_fault.c: see fs_fault.h and the end of fs.h.
 *
 * Two lists are kept while a crash is armed. `files`: every file opened for writing, by a second
 * descriptor, with the size that the last sync covered. `changes`: every change of a folder that no
 * sync of that folder has covered, oldest first. A crash cuts the files to what was synced, then
 * takes the changes back, newest first. Folders are held by descriptor, so that a folder renamed
 * meanwhile is still found. */
#include "base/fs_fault.h"

#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 256, CHANGES_MAX = 512, CRASH_STATUS = 137, FULL_STATUS = 70 };

typedef enum { CREATED, RENAMED, UNLINKED, FOLDER_MADE, FOLDER_REMOVED } ChangeKind;

typedef struct {
    ChangeKind kind;
    int folder, from_folder; /* descriptors; from_folder of RENAMED only, else -1 */
    int kept;                /* descriptor of what was renamed over or removed; -1: nothing */
    char name[NAME_MAX + 1], from_name[NAME_MAX + 1];
} Change;

typedef struct {
    int fd;
    off_t synced; /* bytes that survive */
} OpenFile;

static _Atomic uint64_t calls;
static _Atomic int64_t fail_countdown = -1, crash_countdown = -1;
static _Atomic int fail_errno = EIO;
static _Atomic bool armed;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static FsCrash crash_how;
static OpenFile files[FILES_MAX];
static Change changes[CHANGES_MAX];
static uint32_t file_count, change_count;

/* ---- the crash ---- */

static bool is_same_file(int a, int b)
{
    struct stat left, right;
    return fstat(a, &left) == 0 && fstat(b, &right) == 0 && left.st_dev == right.st_dev &&
           left.st_ino == right.st_ino;
}

/* True when the folder of a change was itself removed, durably: then nothing in it comes back. */
static bool folder_is_gone(const Change *change)
{
    struct stat info;
    return fstat(change->folder, &info) == 0 && info.st_nlink == 0;
}

static void restore_file(const Change *change)
{
    if (change->kept < 0 || folder_is_gone(change))
        return;
    int fd = openat(change->folder, change->name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    char bytes[1 << 14];
    ssize_t got = 0;
    for (off_t at = 0; (got = pread(change->kept, bytes, sizeof bytes, at)) > 0; at += got) {
        if (write(fd, bytes, (size_t)got) != got)
            break;
    }
    if (fd < 0 || got != 0)
        _exit(FULL_STATUS); /* the test cannot be carried out */
    close(fd);
}

static void undo_created(const Change *change)
{
    unlinkat(change->folder, change->name, 0);
}

static void undo_renamed(const Change *change)
{
    renameat(change->folder, change->name, change->from_folder, change->from_name);
    restore_file(change);
}

/* A folder that was never made durable is lost with all that was put in it. */
static void undo_folder_made(const Change *change)
{
    char path[64 + NAME_MAX];
    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", change->folder, change->name);
    Error ignored;
    if (!fs_remove_tree(path, &ignored))
        _exit(FULL_STATUS);
}

/* The folder that is made again takes the place of the old one in the changes before, which are
 * undone next. */
static void undo_folder_removed(const Change *change)
{
    if (folder_is_gone(change))
        return;
    mkdirat(change->folder, change->name, 0700);
    int again = openat(change->folder, change->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (again < 0)
        _exit(FULL_STATUS);
    for (const Change *earlier = changes; earlier < change; earlier++) {
        if (is_same_file(earlier->folder, change->kept))
            dup2(again, earlier->folder);
        if (earlier->from_folder >= 0 && is_same_file(earlier->from_folder, change->kept))
            dup2(again, earlier->from_folder);
    }
    close(again);
}

static void (*const undo_rows[])(const Change *) = {
    [CREATED] = undo_created,         [RENAMED] = undo_renamed,
    [UNLINKED] = restore_file,        [FOLDER_MADE] = undo_folder_made,
    [FOLDER_REMOVED] = undo_folder_removed,
};

__attribute__((noreturn)) static void crash(void)
{
    pthread_mutex_lock(&lock); /* never released: other threads stop at their next change */
    atomic_store(&fail_countdown, -1);
    for (uint32_t i = 0; crash_how != FS_CRASH_KILL && i < file_count; i++) {
        struct stat info;
        if (fstat(files[i].fd, &info) == 0 && info.st_size > files[i].synced &&
            ftruncate(files[i].fd, files[i].synced) != 0)
            _exit(FULL_STATUS);
    }
    atomic_store(&armed, false); /* undoing is not noted */
    for (uint32_t i = change_count; crash_how == FS_CRASH_ALL && i > 0; i--)
        undo_rows[changes[i - 1].kind](&changes[i - 1]);
    _exit(CRASH_STATUS);
}

/* ---- counting ---- */

/* True for the one call at which the countdown passes zero. */
static bool countdown_ends(_Atomic int64_t *countdown)
{
    return atomic_load_explicit(countdown, memory_order_relaxed) >= 0 &&
           atomic_fetch_sub(countdown, 1) == 0;
}

bool fault_due(void)
{
    atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
    if (countdown_ends(&crash_countdown))
        crash();
    if (!countdown_ends(&fail_countdown))
        return false;
    errno = atomic_load(&fail_errno);
    return true;
}

uint64_t fs_call_count(void)
{
    return atomic_load(&calls);
}

void fs_fail_after(int64_t count, int error_number)
{
    atomic_store(&fail_errno, error_number);
    atomic_store(&fail_countdown, count);
}

/* ---- the journal ---- */

static void change_forget(Change *change)
{
    close(change->folder);
    if (change->from_folder >= 0)
        close(change->from_folder);
    if (change->kept >= 0)
        close(change->kept);
}

void fs_simulate_crash(int64_t count, FsCrash how)
{
    pthread_mutex_lock(&lock);
    crash_how = how;
    atomic_store(&armed, count >= 0);
    atomic_store(&crash_countdown, count);
    for (uint32_t i = 0; count < 0 && i < change_count; i++)
        change_forget(&changes[i]);
    for (uint32_t i = 0; count < 0 && i < file_count; i++)
        close(files[i].fd);
    if (count < 0)
        change_count = file_count = 0;
    pthread_mutex_unlock(&lock);
}

/* A descriptor of the folder that holds path, and the name in it. */
static int open_parent(const char *path, char name[NAME_MAX + 1])
{
    char folder[PATH_MAX];
    size_t length = strnlen(path, sizeof folder - 1);
    while (length > 1 && path[length - 1] == '/')
        length--;
    memcpy(folder, path, length);
    folder[length] = 0;
    char *slash = strrchr(folder, '/');
    snprintf(name, NAME_MAX + 1, "%.*s", NAME_MAX, slash ? slash + 1 : folder);
    if (slash)
        slash[slash == folder] = 0;
    return open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* What a rename or a removal is about to take away; -1 when there is nothing. */
static int keep_content(const char *path, mode_t kind)
{
    struct stat info;
    if (!atomic_load(&armed) || lstat(path, &info) != 0 || (info.st_mode & S_IFMT) != kind)
        return -1;
    return open(path, O_RDONLY | O_CLOEXEC);
}

static void note_change(ChangeKind kind, const char *path, const char *from, int kept)
{
    if (!atomic_load(&armed))
        return;
    pthread_mutex_lock(&lock);
    if (change_count == CHANGES_MAX)
        _exit(FULL_STATUS);
    Change *change = &changes[change_count++];
    *change = (Change){.kind = kind, .from_folder = -1, .kept = kept};
    change->folder = open_parent(path, change->name);
    if (from)
        change->from_folder = open_parent(from, change->from_name);
    if (change->folder < 0)
        _exit(FULL_STATUS);
    pthread_mutex_unlock(&lock);
}

static void note_open(int fd)
{
    struct stat info;
    if (!atomic_load(&armed) || fstat(fd, &info) != 0)
        return;
    pthread_mutex_lock(&lock);
    uint32_t i = 0;
    while (i < file_count && !is_same_file(files[i].fd, fd))
        i++;
    if (i == FILES_MAX)
        _exit(FULL_STATUS);
    if (i == file_count) /* what stood there before is taken as synced */
        files[file_count++] = (OpenFile){fcntl(fd, F_DUPFD_CLOEXEC, 0), info.st_size};
    pthread_mutex_unlock(&lock);
}

static void note_sync(int fd)
{
    struct stat info;
    if (!atomic_load(&armed) || fstat(fd, &info) != 0)
        return;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < file_count; i++) {
        if (is_same_file(files[i].fd, fd))
            files[i].synced = info.st_size;
    }
    uint32_t left = 0;
    for (uint32_t i = 0; i < change_count; i++) {
        if (is_same_file(changes[i].folder, fd))
            change_forget(&changes[i]);
        else
            changes[left++] = changes[i];
    }
    change_count = left;
    pthread_mutex_unlock(&lock);
}

/* ---- the calls ---- */

int fault_open(const char *path, int flags, mode_t mode)
{
    if (fault_due())
        return -1;
    bool creates = (flags & O_CREAT) && access(path, F_OK) != 0;
    int fd = open(path, flags | O_CLOEXEC, mode);
    if (fd >= 0 && creates)
        note_change(CREATED, path, NULL, -1);
    if (fd >= 0 && (flags & O_ACCMODE) != O_RDONLY)
        note_open(fd);
    return fd;
}

int fault_sync(int fd, bool contents_only)
{
    int result = fault_due() ? -1 : contents_only ? fdatasync(fd) : fsync(fd);
    if (result == 0)
        note_sync(fd);
    return result;
}

int fault_close(int fd)
{
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < file_count; i++) {
        struct stat info; /* a file closed with all of it synced can lose nothing any more */
        if (!is_same_file(files[i].fd, fd) || fstat(fd, &info) != 0 ||
            info.st_size != files[i].synced)
            continue;
        close(files[i].fd);
        files[i] = files[--file_count];
        break;
    }
    pthread_mutex_unlock(&lock);
    return close(fd);
}

int fault_rename(const char *from, const char *to)
{
    if (fault_due())
        return -1;
    int kept = keep_content(to, S_IFREG);
    int result = rename(from, to);
    if (result == 0)
        note_change(RENAMED, to, from, kept);
    else if (kept >= 0)
        close(kept);
    return result;
}

int fault_unlink(const char *path)
{
    if (fault_due())
        return -1;
    int kept = keep_content(path, S_IFREG);
    int result = unlink(path);
    if (result == 0)
        note_change(UNLINKED, path, NULL, kept);
    else if (kept >= 0)
        close(kept);
    return result;
}

int fault_mkdir(const char *path)
{
    int result = fault_due() ? -1 : mkdir(path, 0700);
    if (result == 0)
        note_change(FOLDER_MADE, path, NULL, -1);
    return result;
}

int fault_rmdir(const char *path)
{
    if (fault_due())
        return -1;
    int kept = keep_content(path, S_IFDIR);
    int result = rmdir(path);
    if (result == 0)
        note_change(FOLDER_REMOVED, path, NULL, kept);
    else if (kept >= 0)
        close(kept);
    return result;
}
