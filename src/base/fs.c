/* fs.c: see fs.h. Every system call is preceded by fault_due(), which counts it and may fail it. */
#include "base/fs.h"

#include "base/fs_fault.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static bool fail_path(Error *err, const char *verb, const char *path)
{
    int number = errno;
    ErrCode code = number == ENOENT || number == ENOTDIR ? ERR_NOT_FOUND
                   : number == EACCES || number == EPERM ? ERR_DENIED
                                                         : ERR_IO;
    return fail(err, code, "cannot %s '%s': %s", verb, path, strerror(number));
}

/* Writes all bytes, going on after interruptions and short writes. */
static bool write_all(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size) {
        ssize_t done = fault_due() ? -1 : write(fd, at, size < (1u << 30) ? size : 1u << 30);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return false;
        at += done;
        size -= (size_t)done;
    }
    return true;
}

bool fs_read(const char *path, Buf *out, Error *err)
{
    int fd = fault_open(path, O_RDONLY, 0);
    if (fd < 0)
        return fail_path(err, "open", path);
    size_t start = out->size;
    bool ok = true;
    for (;;) {
        enum { STEP = 1 << 16 };
        size_t room = out->limit - out->size;
        size_t want = room < STEP ? room + 1 : STEP;
        char step[STEP];
        ssize_t got = fault_due() ? -1 : read(fd, step, want);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            ok = fail_path(err, "read", path);
        else if ((size_t)got > room)
            ok = fail(err, ERR_LIMIT, "'%s' is larger than %zu bytes", path, out->limit);
        else if (got > 0)
            buf_add(out, step, (size_t)got);
        if (ok && out->failed)
            ok = fail(err, ERR_MEMORY, "no memory to read '%s'", path);
        if (!ok || got == 0)
            break;
    }
    close(fd);
    if (!ok) {
        out->size = start;
        return false;
    }
    if (!buf_reserve(out, 0))
        return fail(err, ERR_MEMORY, "no memory to read '%s'", path);
    return true;
}

bool fs_write(const char *path, const void *bytes, size_t size, Error *err)
{
    FsWriter *w = mem_alloc(1, sizeof *w);
    if (!w)
        return fail(err, ERR_MEMORY, "no memory to write '%s'", path);
    bool ok = fs_writer_open(w, path, err) && fs_writer_add(w, bytes, size, err) &&
              fs_writer_commit(w, err);
    mem_free(w);
    return ok;
}

bool fs_map(const char *path, FsMap *out, Error *err)
{
    int fd = fault_open(path, O_RDONLY, 0);
    if (fd < 0)
        return fail_path(err, "open", path);
    struct stat info;
    if (fault_due() || fstat(fd, &info) != 0) {
        fail_path(err, "inspect", path);
        close(fd);
        return false;
    }
    if (!S_ISREG(info.st_mode)) {
        close(fd);
        return fail(err, ERR_INPUT, "'%s' is not a regular file", path);
    }
    if (info.st_size == 0) {
        close(fd);
        *out = (FsMap){(const uint8_t *)"", 0};
        return true;
    }
    void *data = fault_due() ? MAP_FAILED
                         : mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        fail_path(err, "map", path);
    close(fd);
    if (data == MAP_FAILED)
        return false;
    *out = (FsMap){data, (size_t)info.st_size};
    return true;
}

void fs_unmap(FsMap *map)
{
    if (map->data && map->size)
        munmap((void *)(uintptr_t)map->data, map->size);
    *map = (FsMap){0};
}

/* ---- replacing a file ---- */

bool fs_writer_open(FsWriter *w, const char *path, Error *err)
{
    w->fd = -1;
    w->size = 0;
    w->fill = 0;
    if (snprintf(w->path, sizeof w->path, "%s", path) >= (int)sizeof w->path)
        return fail(err, ERR_LIMIT, "path of %zu bytes is too long", strlen(path));
    snprintf(w->temporary, sizeof w->temporary, "%s.tmp-%ld", w->path, (long)getpid());
    w->fd = fault_open(w->temporary, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    return w->fd >= 0 || fail_path(err, "create", w->temporary);
}

static bool writer_flush(FsWriter *w, Error *err)
{
    if (!write_all(w->fd, w->buffer, w->fill)) {
        fail_path(err, "write", w->path);
        fs_writer_abandon(w);
        return false;
    }
    w->fill = 0;
    return true;
}

bool fs_writer_add(FsWriter *w, const void *bytes, size_t size, Error *err)
{
    w->size += size;
    if (size <= sizeof w->buffer - w->fill) {
        if (size)
            memcpy(w->buffer + w->fill, bytes, size);
        w->fill += (uint32_t)size;
        return true;
    }
    if (!writer_flush(w, err))
        return false;
    if (size < sizeof w->buffer) {
        memcpy(w->buffer, bytes, size);
        w->fill = (uint32_t)size;
        return true;
    }
    if (write_all(w->fd, bytes, size))
        return true;
    fail_path(err, "write", w->path);
    fs_writer_abandon(w);
    return false;
}

static bool sync_parent(const char *path, Error *err)
{
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == folder)
        folder[1] = 0;
    else if (slash)
        *slash = 0;
    return fs_sync_dir(slash ? folder : ".", err);
}

bool fs_writer_commit(FsWriter *w, Error *err)
{
    if (!writer_flush(w, err))
        return false;
    bool synced = fault_sync(w->fd, false) == 0;
    if (!synced) {
        fail_path(err, "sync", w->path);
        fs_writer_abandon(w);
        return false;
    }
    int fd = w->fd;
    w->fd = -1;
    if (fault_due() || fault_close(fd) != 0 || fault_rename(w->temporary, w->path) != 0) {
        fail_path(err, "replace", w->path);
        unlink(w->temporary);
        return false;
    }
    return sync_parent(w->path, err);
}

void fs_writer_abandon(FsWriter *w)
{
    if (w->fd < 0)
        return;
    fault_close(w->fd);
    w->fd = -1;
    unlink(w->temporary);
}

/* ---- append-only logs ---- */

bool fs_log_open(FsLog *log, const char *path, Error *err)
{
    log->fd = -1;
    if (snprintf(log->path, sizeof log->path, "%s", path) >= (int)sizeof log->path)
        return fail(err, ERR_LIMIT, "path of %zu bytes is too long", strlen(path));
    bool created = !fs_exists(path);
    log->fd = fault_open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (log->fd < 0)
        return fail_path(err, "open", path);
    if (!created || sync_parent(path, err))
        return true;
    fs_log_close(log); /* a log that a crash can take away whole keeps no promise of its lines */
    return false;
}

bool fs_log_append(FsLog *log, const void *bytes, size_t size, bool sync, Error *err)
{
    if (!write_all(log->fd, bytes, size))
        return fail_path(err, "append to", log->path);
    if (sync && fault_sync(log->fd, true) != 0)
        return fail_path(err, "sync", log->path);
    return true;
}

void fs_log_close(FsLog *log)
{
    if (log->fd >= 0)
        fault_close(log->fd);
    log->fd = -1;
}

/* ---- folders ---- */

bool fs_make_dirs(const char *path, Error *err)
{
    char part[1024];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part)
        return fail(err, ERR_LIMIT, "path of %zu bytes is empty or too long", length);
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        if (fault_mkdir(part) == 0) {
            if (!sync_parent(part, err))
                return false;
        } else if (errno != EEXIST) {
            return fail_path(err, "create folder", part);
        }
    }
    return fs_is_dir(path) || fail(err, ERR_CONFLICT, "'%s' exists and is not a folder", path);
}

bool fs_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool fs_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

int64_t fs_size(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (int64_t)info.st_size : -1;
}

bool fs_remove(const char *path, Error *err)
{
    if (fault_unlink(path) != 0 && errno != ENOENT)
        return fail_path(err, "remove", path);
    return true;
}

static bool remove_entry(void *user, const char *name, Error *err)
{
    char path[1024];
    if (!fs_join(path, sizeof path, user, name, err))
        return false;
    struct stat info;
    if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return fs_remove_tree(path, err);
    return fs_remove(path, err);
}

bool fs_remove_tree(const char *path, Error *err)
{
    if (!fs_exists(path))
        return true;
    if (!fs_list(path, remove_entry, (void *)(uintptr_t)path, err))
        return false;
    if (fault_rmdir(path) != 0)
        return fail_path(err, "remove folder", path);
    return true;
}

bool fs_rename_dir(const char *from, const char *to, Error *err)
{
    if (fault_rename(from, to) != 0)
        return fail_path(err, "rename to", to);
    return sync_parent(to, err);
}

bool fs_sync_dir(const char *path, Error *err)
{
    int fd = fault_open(path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fail_path(err, "open folder", path);
    bool ok = fault_sync(fd, false) == 0;
    if (!ok)
        fail_path(err, "sync folder", path);
    close(fd);
    return ok;
}

bool fs_free_bytes(const char *path, uint64_t *out, Error *err)
{
    struct statvfs info;
    if (fault_due() || statvfs(path, &info) != 0)
        return fail_path(err, "inspect the disk of", path);
    *out = (uint64_t)info.f_bavail * info.f_frsize;
    return true;
}

static int skip_dots(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

bool fs_list(const char *path, bool (*each)(void *user, const char *name, Error *err), void *user,
             Error *err)
{
    struct dirent **names = NULL;
    int count = fault_due() ? -1 : scandir(path, &names, skip_dots, by_bytes);
    if (count < 0)
        return fail_path(err, "list", path);
    bool ok = true;
    for (int i = 0; i < count; i++) {
        ok = ok && each(user, names[i]->d_name, err);
        free(names[i]);
    }
    free(names);
    return ok;
}

bool fs_join(char *out, size_t room, const char *folder, const char *name, Error *err)
{
    size_t length = strlen(folder);
    const char *slash = length && folder[length - 1] == '/' ? "" : "/";
    int wrote = snprintf(out, room, "%s%s%s", folder, slash, name);
    if (wrote < 0 || (size_t)wrote >= room)
        return fail(err, ERR_LIMIT, "path '%.60s.../%.60s' is too long", folder, name);
    return true;
}

/* ---- locks ---- */

bool fs_lock(const char *path, FsLock *out, Error *err)
{
    int fd = fault_open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return fail_path(err, "open lock", path);
    if (fault_due() || flock(fd, LOCK_EX | LOCK_NB) != 0) {
        char holder[32] = "unknown";
        ssize_t got = errno == EWOULDBLOCK ? pread(fd, holder, sizeof holder - 1, 0) : -1;
        close(fd);
        if (got < 0)
            return fail_path(err, "lock", path);
        if (got > 0)
            holder[strspn(holder, "0123456789")] = 0;
        return fail(err, ERR_CONFLICT, "'%s' is locked by process %s: stop it first", path, holder);
    }
    char text[32];
    int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (fault_due() || ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)length, 0) != length) {
        fail_path(err, "write lock", path);
        close(fd);
        return false;
    }
    out->fd = fd;
    return true;
}

void fs_unlock(FsLock *lock)
{
    if (lock->fd >= 0)
        close(lock->fd);
    lock->fd = -1;
}
