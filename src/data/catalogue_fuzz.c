/* A catalogue that is taken gives a dataset whose canonical form loads with the same digest. */
#include "base/buf.h"
#include "data/builder.h"
#include "data/catalogue.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Error err;
    Dataset *first = NULL, *again = NULL;
    if (!catalogue_parse(&first, data, size, "fuzz", 1, &err))
        return 0;
    auto_buf Buf text;
    buf_init(&text, (size_t)1 << 30);
    for (size_t i = 0; i < first->count; i++) {
        if (!builder_canonical_line(&first->records[i], i, &text, &err))
            abort();
    }
    if (!dataset_parse(&again, text.data, text.size, "again.jsonl", 1, &err) ||
        memcmp(again->digest, first->digest, 32) != 0)
        abort();
    dataset_free(first);
    dataset_free(again);
    return 0;
}
