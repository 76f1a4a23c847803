/* reply.c: see reply.h. */
#include "serve/reply.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char invalid[] = "invalid_request_error";
static const char server[] = "server_error";

static const FaultRow fault_rows[FAULT_COUNT] = {
    [FAULT_NONE] = {200, "", "", 0},
    [FAULT_JSON] = {400, invalid, "invalid_json", 0},
    [FAULT_UNKNOWN] = {400, invalid, "unknown_parameter", 0},
    [FAULT_UNSUPPORTED] = {400, invalid, "unsupported_parameter", 0},
    [FAULT_VALUE] = {400, invalid, "invalid_value", 0},
    [FAULT_MISSING] = {400, invalid, "missing_required_parameter", 0},
    [FAULT_CONTEXT] = {400, invalid, "context_length_exceeded", 0},
    [FAULT_KEY] = {401, "authentication_error", "invalid_api_key", 0},
    [FAULT_MODEL] = {404, invalid, "model_not_found", 0},
    [FAULT_PATH] = {404, invalid, "unknown_url", 0},
    [FAULT_METHOD] = {405, invalid, "method_not_allowed", 0},
    [FAULT_TOO_LARGE] = {413, invalid, "request_too_large", 0},
    [FAULT_MEDIA] = {415, invalid, "unsupported_media_type", 0},
    [FAULT_BUSY] = {429, "rate_limit_error", "queue_full", 1},
    [FAULT_WORKER] = {502, server, "model_failed", 0},
    [FAULT_STARTING] = {503, server, "model_not_ready", 5},
    [FAULT_DRAINING] = {503, server, "shutting_down", 5},
    [FAULT_SLOW] = {500, server, "client_too_slow", 0},
    [FAULT_GONE] = {499, invalid, "client_closed_request", 0},
    [FAULT_SERVER] = {500, server, "internal_error", 0},
};

const FaultRow *fault_row(Fault fault)
{
    return &fault_rows[(unsigned)fault < FAULT_COUNT ? fault : FAULT_SERVER];
}

void reply_add_error(Buf *out, Fault fault, const char *param, const char *message)
{
    const FaultRow *row = fault_row(fault);
    buf_add_text(out, "{\"error\":{\"message\":");
    reply_add_text(out, message, strlen(message));
    buf_format(out, ",\"type\":\"%s\",\"param\":", row->type);
    if (param && *param)
        reply_add_text(out, param, strlen(param));
    else
        buf_add_text(out, "null");
    buf_format(out, ",\"code\":\"%s\"}}", row->code);
}

/* Length of the UTF-8 character at text, 0 when the bytes are none (RFC 3629). */
static size_t character(const uint8_t *text, size_t size)
{
    uint8_t first = text[0];
    if (first < 0x80)
        return 1;
    size_t length = first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3
                  : first >= 0xf0 && first < 0xf5 ? 4 : 0;
    if (!length || size < length)
        return 0;
    uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

bool reply_is_text(const char *text, size_t size)
{
    for (size_t at = 0, length; at < size; at += length)
        if (!(length = character((const uint8_t *)text + at, size - at)))
            return false;
    return true;
}

void reply_add_text(Buf *out, const char *text, size_t size)
{
    const uint8_t *at = (const uint8_t *)text, *end = at + size, *plain = at;
    buf_add_char(out, '"');
    while (at < end) {
        size_t length = character(at, (size_t)(end - at));
        if (length && *at >= 0x20 && *at != '"' && *at != '\\' && *at != 0x7f) {
            at += length;
            continue;
        }
        buf_add(out, plain, (size_t)(at - plain));
        if (!length)
            buf_add_text(out, "\\ufffd");
        else if (*at == '\n')
            buf_add_text(out, "\\n");
        else if (*at == '"' || *at == '\\')
            buf_format(out, "\\%c", *at);
        else
            buf_format(out, "\\u%04x", *at);
        plain = ++at;
    }
    buf_add(out, plain, (size_t)(at - plain));
    buf_add_char(out, '"');
}

void reply_add_number(Buf *out, double value)
{
    buf_format(out, "%.9g", isfinite(value) ? value : -9999.0);
}
