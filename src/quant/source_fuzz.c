/* A checkpoint in one file (GGUF, llama2.c, or neither) from any bytes: what opens is read whole, in
 * both orders, or says which tensor cannot be. The bytes lie in a file without a name. */
#include "base/mem.h"
#include "quant/source.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(const Source *s)
{
    Error err;
    SourceReader reader;
    if (!reader_new(&reader, s, &err))
        return;
    auto_free uint8_t *out = mem_alloc(reader.room, sizeof(float));
    for (uint32_t i = 0; out && i < s->count; i++) {
        const SourceTensor *t = &s->tensors[i];
        uint64_t step = reader_rows(&reader, t);
        for (uint64_t row = 0; row < t->rows; row += step) {
            uint64_t count = t->rows - row < step ? t->rows - row : step;
            if (!reader_read(&reader, t, row, count, stored_of_st(ST_F32), row % 2, out, &err))
                break;
        }
    }
    reader_free(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Error err;
    Source *s;
    char path[64];
    int fd = memfd_create("fuzz", 0);
    if (fd < 0)
        return 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (write(fd, data, size) == (ssize_t)size && source_open(&s, path, &err)) {
        read_all(s);
        source_close(s);
    }
    close(fd);
    return 0;
}
