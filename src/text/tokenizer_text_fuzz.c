/* Any bytes as text: they come back, no special token is made, cuts do not change the stream. */
#include "text/text_fixture.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The whole text through the streaming decoder equals the tokens' pieces through it. */
static void check_stream(const Tokenizer *t, const Tokens *ids, const char *text, size_t size)
{
    auto_buf Buf pieces;
    auto_buf Buf whole;
    Detok detok;
    buf_init(&pieces, 3 * size + 16);
    buf_init(&whole, 3 * size + 16);
    detok_init(&detok);
    for (size_t i = 0; i < ids->count; i++) {
        size_t bytes;
        const char *piece = tokenizer_bytes(t, ids->ids[i], &bytes);
        detok_add(&detok, piece, bytes, &pieces);
    }
    detok_end(&detok, &pieces);
    detok_init(&detok);
    detok_add(&detok, text, size, &whole);
    detok_end(&detok, &whole);
    if (pieces.size != whole.size || (whole.size && memcmp(pieces.data, whole.data, whole.size)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Tokenizer *t; /* made once, for the life of the process */
    Error err = {0};
    if (!t && !fixture_tokenizer(&t, 420, 1, &err))
        abort();
    const char *text = (const char *)data;
    auto_tokens Tokens ids;
    auto_buf Buf back;
    tokens_init(&ids, size);
    buf_init(&back, size);
    if (!tokenizer_encode(t, text, size, &ids, &err) ||
        !tokenizer_decode(t, ids.ids, ids.count, false, &back, &err))
        abort();
    if (back.size != size || (size && memcmp(back.data, text, size)))
        abort();
    check_stream(t, &ids, text, size);
    return 0;
}
