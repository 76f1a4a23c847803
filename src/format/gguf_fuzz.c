/* What parses is read to its last byte: any length that lies shows under the sanitizer. */
#include "format/gguf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned sum_value(const GgufValue *value)
{
    const uint8_t *at = value->bytes;
    unsigned sum = 0;
    for (uint64_t i = 0; i < value->count; i++) {
        const char *text;
        uint64_t bytes = 0;
        if (value->type == GGUF_TEXT)
            gguf_next_text(&at, &text, &bytes);
        else
            sum += gguf_number(value, i) > 0;
        for (uint64_t k = 0; k < bytes; k++)
            sum += (unsigned char)text[k];
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Error err;
    Gguf *gguf;
    if (!gguf_parse(&gguf, data, size, "fuzz", &err))
        return 0;
    unsigned sum = 0;
    for (uint32_t i = 0; i < gguf_value_count(gguf); i++) {
        const GgufValue *value = gguf_value_at(gguf, i);
        sum += sum_value(value);
        if (gguf_find(gguf, value->key) != value)
            abort();
    }
    for (uint32_t i = 0; i < gguf_tensor_count(gguf); i++) {
        const GgufTensor *tensor = gguf_tensor_at(gguf, i);
        for (uint64_t k = 0; k < tensor->bytes; k++)
            sum += tensor->data[k];
        if (gguf_find_tensor(gguf, tensor->name) != tensor)
            abort();
    }
    __asm__ volatile("" : : "r"(sum)); /* so that the reads stay */
    gguf_close(gguf);
    return 0;
}
