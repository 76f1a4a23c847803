/* The reader ends, lines are numbered upwards, and every text it hands out lies in the file. */
#include "format/jsonl.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Error err;
    JsonlReader reader;
    jsonl_init(&reader, data, size, "fuzz", 64);
    const char *text = "";
    size_t length = 0;
    uint64_t last = 0;
    while (text) {
        if (!jsonl_next_text(&reader, &text, &length, &err))
            continue;
        if (text && (reader.line <= last || (const uint8_t *)text + length > data + size))
            abort();
        last = reader.line;
    }
    jsonl_init(&reader, data, size, "fuzz", JSON_BYTES_MAX);
    for (json_t *value = NULL;;) {
        if (!jsonl_next(&reader, &value, &err))
            continue;
        if (!value)
            break;
        json_release(&value);
    }
    return 0;
}
