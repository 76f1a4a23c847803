/* request_fuzz.c: bodies as hostile clients send them. What is accepted must keep its promises and
 * pass through a frame to the worker unchanged. */
#include "serve/request.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void through_a_frame(const WireSubmit *submit, Arena *arena)
{
    Error err;
    auto_buf Buf out;
    buf_init(&out, WIRE_BODY_MAX + WIRE_HEADER_BYTES);
    wire_add_submit(&out, 1, submit);
    WireFrame frame = {WIRE_SUBMIT, 1, (const uint8_t *)out.data + WIRE_HEADER_BYTES,
                       (uint32_t)(out.size - WIRE_HEADER_BYTES)};
    WireSubmit back;
    if (out.failed || !wire_read_submit(&frame, &back, arena, &err) ||
        back.part_count != submit->part_count || back.n != submit->n)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (RequestShape shape = SHAPE_CHAT; shape <= SHAPE_TEXT; shape++) {
        Arena arena;
        arena_init(&arena, 16 << 20);
        GenerateRequest request;
        RequestFault fault;
        Error err = {0};
        if (request_parse(shape, (const char *)data, size, &arena, &request, &fault, &err)) {
            if (!request.model || !request.submit.part_count || fault.fault != FAULT_NONE)
                abort();
            through_a_frame(&request.submit, &arena);
        } else if (fault.fault == FAULT_NONE || !err.text[0]) {
            abort();
        }
        arena_done(&arena);
    }
    return 0;
}
