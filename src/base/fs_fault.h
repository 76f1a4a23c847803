/* fs_fault.h: the system calls of fs.c that change a disk, counted, and failed, killed or undone
 * when a test asks for it (fs.h, "tests"). Between fs.c and fs_fault.c only.
 *
 * Each function is the system call of its name: -1 and errno on failure. While a crash is armed
 * they also note what a later loss of power would take back; otherwise they cost one atomic load.
 */
#pragma once
#include <stdbool.h>
#include <sys/types.h>

/* Counts one system call. True: it must fail instead, errno is set. A crash that is due happens
 * here, so the function then does not return. */
bool fault_due(void);

int fault_open(const char *path, int flags, mode_t mode);
int fault_sync(int fd, bool contents_only); /* fdatasync or fsync; of a file or a folder */
int fault_close(int fd);                    /* not counted: closing loses nothing */
int fault_rename(const char *from, const char *to);
int fault_unlink(const char *path);
int fault_mkdir(const char *path);
int fault_rmdir(const char *path);
