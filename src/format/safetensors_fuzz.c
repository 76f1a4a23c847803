/* What parses is read to its last byte: any offset that lies shows under the sanitizer. */
#include "format/safetensors.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Error err;
    Safetensors *st;
    if (!safetensors_parse(&st, data, size, "fuzz", &err))
        return 0;
    unsigned sum = 0;
    for (uint32_t i = 0; i < safetensors_count(st); i++) {
        const StTensor *tensor = safetensors_at(st, i);
        for (uint64_t k = 0; k < tensor->bytes; k++)
            sum += tensor->data[k];
        float value;
        (void)!safetensors_to_f32(tensor, &value, 1, &err);
        if (safetensors_find(st, tensor->name) != tensor)
            abort();
    }
    (void)safetensors_metadata(st, "format");
    safetensors_close(st);
    __asm__ volatile("" : : "r"(sum)); /* so that the reads stay */
    return 0;
}
