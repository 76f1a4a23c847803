/* Any bytes as a tokenizer file of any format: the first byte chooses the name the file has. What is
 * read must encode or refuse, make no special token but the unknown one, decode, and stream the
 * same. */
#include "text/tokenizer_formats.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_stream(const Tokenizer *t, const Tokens *ids, const Buf *whole)
{
    auto_buf Buf pieces;
    auto_buf Buf streamed;
    Detok detok;
    buf_init(&pieces, 1 << 22);
    buf_init(&streamed, 1 << 22);
    detok_begin(&detok, t);
    for (size_t i = 0; i < ids->count; i++) {
        size_t bytes;
        const char *piece = tokenizer_bytes(t, ids->ids[i], &bytes);
        detok_add(&detok, piece, bytes, &pieces);
    }
    detok_end(&detok, &pieces);
    detok_init(&detok);
    detok_add(&detok, whole->data ? whole->data : "", whole->size, &streamed);
    detok_end(&detok, &streamed);
    if (pieces.failed || streamed.failed)
        return;
    if (pieces.size != streamed.size ||
        (pieces.size && memcmp(pieces.data, streamed.data, pieces.size)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"tokenizer.model", "tekken.json", "cl100k_base.tiktoken",
                                        "r50k_base.tiktoken", "model.gguf"};
    static const char text[] = "  ab abab WORD The cat's 12 \xc3\xa9 <s>[INST]  \n\xff\xe6\x97\xa5 ";
    Error err = {0};
    Tokenizer *t = NULL;
    if (!size)
        return 0;
    const char *name = names[data[0] % (sizeof names / sizeof *names)];
    if (!tokenizer_read(&t, data + 1, size - 1, name, &err)) {
        if (!err.code || !err.text[0])
            abort();
        return 0;
    }
    auto_tokens Tokens ids;
    auto_buf Buf back;
    tokens_init(&ids, 1 << 16);
    buf_init(&back, 1 << 22);
    if (tokenizer_encode(t, text, sizeof text - 1, &ids, &err)) {
        for (size_t i = 0; i < ids.count; i++)
            if (tokenizer_is_special(t, ids.ids[i]) && ids.ids[i] != tokenizer_unknown(t))
                abort();
        if (tokenizer_decode(t, ids.ids, ids.count, true, &back, &err))
            check_stream(t, &ids, &back);
        else if (err.code != ERR_LIMIT)
            abort();
    }
    tokenizer_free(t);
    return 0;
}
