/* What is read prints, and what was printed reads back equal. */
#include "format/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Error err;
    auto_json json_t *value = NULL, *again = NULL;
    if (!json_parse(&value, (const char *)data, size, "fuzz", &err))
        return 0;
    auto_buf Buf text;
    buf_init(&text, JSON_BYTES_MAX);
    if (!json_dump(value, &text, &err))
        return 0;
    if (!json_parse(&again, text.data, text.size, "printed", &err) || !json_equal(value, again))
        abort();
    return 0;
}
