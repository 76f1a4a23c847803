/* Any bytes as either file; a list that was read is written, and reads back equal. */
#include "format/pieces.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const Pieces *p)
{
    Error err;
    Pieces back;
    auto_buf Buf bytes;
    buf_init(&bytes, 4 * PIECES_BYTES_MAX);
    pieces_write_model(p, &bytes);
    if (!buf_ok(&bytes, "model", &err))
        return;
    if (!pieces_parse_model(&back, (const uint8_t *)bytes.data, bytes.size, "back", &err) ||
        back.count != p->count || back.begin != p->begin || back.model != p->model)
        abort();
    for (uint32_t i = 0; i < p->count; i++) {
        const Piece *a = &p->items[i], *b = &back.items[i];
        if (a->bytes != b->bytes || a->kind != b->kind || memcmp(a->text, b->text, a->bytes) != 0 ||
            memcmp(&a->score, &b->score, sizeof a->score) != 0)
            abort();
    }
    pieces_done(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Error err;
    Pieces pieces;
    if (pieces_parse_model(&pieces, data, size, "fuzz", &err)) {
        round_trip(&pieces);
        pieces_done(&pieces);
    }
    if (pieces_parse_llama2c(&pieces, data, size, "fuzz", &err)) {
        round_trip(&pieces);
        pieces_done(&pieces);
    }
    return 0;
}
