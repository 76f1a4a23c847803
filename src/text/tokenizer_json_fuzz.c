/* Any bytes as tokenizer.json. What is read must encode or refuse, decode, and save the same. */
#include "text/tokenizer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "The cat's 12 \xc3\xa9t\xc3\xa9 <|end|>  \n\xff\xe6\x97\xa5 aabb";
    Error err = {0};
    Tokenizer *t = NULL;
    if (!tokenizer_parse(&t, (const char *)data, size, "fuzz", &err)) {
        if (!err.code || !err.text[0])
            abort();
        return 0;
    }
    auto_tokens Tokens ids;
    auto_buf Buf back;
    tokens_init(&ids, 1000);
    buf_init(&back, 1 << 20);
    if (tokenizer_encode(t, text, sizeof text - 1, &ids, &err)) {
        for (size_t i = 0; i < ids.count; i++)
            if (tokenizer_is_special(t, ids.ids[i]) && ids.ids[i] != tokenizer_unknown(t))
                abort();
        if (!tokenizer_decode(t, ids.ids, ids.count, true, &back, &err) && err.code != ERR_LIMIT)
            abort();
    }
    tokenizer_free(t);
    return 0;
}
