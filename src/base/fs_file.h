/* fs_file.h: a file read by position.
 *
 * For what is too large to map with trust: a map of a file that another process cuts kills the
 * reader with SIGBUS, a read by position answers with an Error. Sequential use reads ahead as any
 * file does, and costs one copy out of the page cache. Every system call is counted (fs.h, tests).
 * Threads: an open file may be read from many at once.
 */
#pragma once
#include "base/error.h"

#include <stdint.h>

typedef struct {
    int fd;        /* -1: not open */
    uint64_t size; /* when it was opened */
    char path[1024];
} FsFile;

/* A regular file; anything else (a folder, a pipe, a device) is ERR_INPUT. */
bool fs_file_open(FsFile *file, const char *path, Error *err) MUST_CHECK;
/* Exactly these bytes, or an Error: ERR_FORMAT when the file ends before (it was cut). */
bool fs_file_read(const FsFile *file, uint64_t offset, void *out, size_t size,
                  Error *err) MUST_CHECK;
void fs_file_close(FsFile *file); /* a closed or zero-initialised {-1} file is a no-op */
