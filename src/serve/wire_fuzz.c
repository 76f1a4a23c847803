/* wire_fuzz.c: bytes as a hostile worker or gateway might send them. The first byte chooses the
 * side and where the stream is cut in two; what decodes is encoded again and must give the same
 * bytes. */
#include "serve/wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Encodes a decoded frame again; false when its body did not decode. */
static bool again(const WireFrame *frame, Buf *out, Arena *arena)
{
    Error err;
    union {
        WireSubmit submit;
        WireReady ready;
        WireBeat beat;
        WireStart start;
        WireToken token;
        WireEnd end;
        WireError error;
    } body;
    switch (frame->kind) {
    case WIRE_SUBMIT:
        if (!wire_read_submit(frame, &body.submit, arena, &err))
            return false;
        wire_add_submit(out, frame->request, &body.submit);
        return true;
    case WIRE_CANCEL:
        wire_add_cancel(out, frame->request);
        return true;
    case WIRE_READY:
        if (!wire_read_ready(frame, &body.ready, &err))
            return false;
        wire_add_ready(out, &body.ready);
        return frame->request == 0;
    case WIRE_BEAT:
        if (!wire_read_beat(frame, &body.beat, &err))
            return false;
        wire_add_beat(out, &body.beat);
        return frame->request == 0;
    case WIRE_START:
        if (!wire_read_start(frame, &body.start, &err))
            return false;
        wire_add_start(out, frame->request, &body.start);
        return true;
    case WIRE_TOKEN:
        if (!wire_read_token(frame, &body.token, &err))
            return false;
        wire_add_token(out, frame->request, &body.token);
        return true;
    case WIRE_END:
        if (!wire_read_end(frame, &body.end, &err))
            return false;
        wire_add_end(out, frame->request, &body.end);
        return true;
    case WIRE_ERROR:
        if (!wire_read_error(frame, &body.error, &err))
            return false;
        wire_add_error(out, frame->request, &body.error);
        return true;
    default:
        abort();
    }
}

static bool drain(WireReader *reader)
{
    for (;;) {
        Error err;
        WireFrame frame;
        bool got;
        if (!wire_reader_next(reader, &frame, &got, &err))
            return false;
        if (!got)
            return true;
        auto_buf Buf out;
        buf_init(&out, WIRE_BODY_MAX + WIRE_HEADER_BYTES);
        Arena arena;
        arena_init(&arena, 1 << 20);
        if (again(&frame, &out, &arena) &&
            (out.failed || out.size != frame.size + WIRE_HEADER_BYTES ||
             memcmp(out.data + WIRE_HEADER_BYTES, frame.body, frame.size) != 0))
            abort();
        arena_done(&arena);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    WireReader reader;
    wire_reader_init(&reader, data[0] & 1 ? WIRE_WORKER : WIRE_GATEWAY);
    size_t cut = (data[0] >> 1) % size;
    Error err;
    if (wire_reader_add(&reader, data + 1, cut > 0 ? cut - 1 : 0, &err) && drain(&reader) &&
        wire_reader_add(&reader, data + (cut > 0 ? cut : 1), size - (cut > 0 ? cut : 1), &err))
        (void)drain(&reader);
    wire_reader_done(&reader);
    return 0;
}
