/* replay.c: runs a fuzz target over every file of its corpus folder, without a fuzzer.
 * An empty or missing folder is a failure: a replay of nothing proves nothing. */
#include "base/fs.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *folder;

static bool replay(void *count, const char *name, Error *err)
{
    char path[1024];
    FsMap map;
    if (!fs_join(path, sizeof path, folder, name, err) || !fs_map(path, &map, err))
        return false;
    LLVMFuzzerTestOneInput(map.data, map.size);
    fs_unmap(&map);
    ++*(int *)count;
    return true;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
        return 2;
    }
    Error err = {0};
    int count = 0;
    folder = argv[1];
    if (!fs_list(folder, replay, &count, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    printf("%d inputs replayed\n", count);
    return count ? 0 : 1;
}
