/* A header that parses describes tensors that lie in the file, one after the other. */
#include "format/llama2c.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Error err;
    Llama2c file;
    if (!llama2c_parse(&file, data, size, size, "fuzz", &err))
        return 0;
    for (int part = 0; part < LLAMA2C_PART_COUNT; part++) {
        if (part == LLAMA2C_HEAD && file.tied)
            continue;
        uint32_t last = llama2c_is_layered((Llama2cPart)part) ? file.layers - 1 : 0;
        Llama2cTensor t = llama2c_tensor(&file, (Llama2cPart)part, last);
        uint64_t count = (t.rows ? t.rows : 1) * (uint64_t)t.columns;
        uint64_t end = t.scales ? t.scales + count / file.group * 4 : t.offset + count * 4;
        if (end > size || t.offset < 28)
            abort();
    }
    return 0;
}
