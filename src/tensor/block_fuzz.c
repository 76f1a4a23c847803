/* block_fuzz.c: any bytes are blocks of every type, and any values go in. The first byte chooses
 * the direction, the rest is cut into whole blocks. */
#include "tensor/block.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ELEMS = 512 };

static void decode(DType type, const uint8_t *data, size_t size)
{
    const DTypeInfo *info = &dtype_info[type];
    for (; size >= info->block_bytes; data += info->block_bytes, size -= info->block_bytes) {
        float values[256];
        block_dequantise(type, data, values, info->block_elems);
    }
}

static void encode(DType type, const float *x)
{
    uint8_t blocks[ELEMS * 4];
    float back[ELEMS];
    block_quantise(type, x, x + ELEMS, blocks, ELEMS);
    block_dequantise(type, blocks, back, ELEMS);
    for (int i = 0; i < ELEMS; i++) {
        if (!isfinite(back[i]) && (type != DT_F32 || isfinite(x[i])))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    float x[2 * ELEMS] = {0};
    if (size < 1)
        return 0;
    memcpy(x, data + 1, size - 1 < sizeof x ? size - 1 : sizeof x);
    for (int i = 0; i < DT_COUNT; i++) {
        if (!block_codecs[i].quantise)
            continue;
        if (data[0] & 1)
            encode((DType)i, x);
        else
            decode((DType)i, data + 1, size - 1);
    }
    return 0;
}
