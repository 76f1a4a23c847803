/* fs_file.c: see fs_file.h. */
#include "base/fs_file.h"

#include "base/fs_fault.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_MOST = 1 << 30 }; /* Linux reads at most 2 GiB less a page at once */

static bool fail_file(Error *err, const char *verb, const char *path)
{
    ErrCode code = errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND
                   : errno == EACCES                   ? ERR_DENIED
                                                       : ERR_IO;
    return fail(err, code, "cannot %s '%s': %s", verb, path, strerror(errno));
}

bool fs_file_open(FsFile *file, const char *path, Error *err)
{
    struct stat info;
    file->fd = -1;
    if (snprintf(file->path, sizeof file->path, "%s", path) >= (int)sizeof file->path)
        return fail(err, ERR_LIMIT, "path of %zu bytes is too long", strlen(path));
    /* O_NONBLOCK: a pipe without a writer must not hold us; regular files do not know it */
    int fd = fault_open(path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0)
        return fail_file(err, "open", path);
    if (fault_due() || fstat(fd, &info) != 0) {
        fail_file(err, "inspect", path);
        close(fd);
        return false;
    }
    if (!S_ISREG(info.st_mode)) {
        close(fd);
        return fail(err, ERR_INPUT, "'%s' is not a regular file", path);
    }
    file->fd = fd;
    file->size = (uint64_t)info.st_size;
    return true;
}

bool fs_file_read(const FsFile *file, uint64_t offset, void *out, size_t size, Error *err)
{
    char *at = out;
    while (size) {
        ssize_t got = fault_due() ? -1
                                  : pread(file->fd, at, size < READ_MOST ? size : READ_MOST,
                                          (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_file(err, "read", file->path);
        if (got == 0)
            return fail(err, ERR_FORMAT, "'%s' is cut: %zu more bytes are needed at %" PRIu64,
                        file->path, size, offset);
        at += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return true;
}

void fs_file_close(FsFile *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}
