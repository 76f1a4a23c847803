/* route_models.c: GET /v1/models and GET /v1/models/{model}. */
#include "serve/gateway.h"

#include <string.h>

static void add_model(Buf *out, const DispatchStatus *status)
{
    buf_add_text(out, "{\"id\":");
    reply_add_text(out, status->name, strlen(status->name));
    buf_format(out, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"bastide\","
               "\"status\":\"%s\",\"context_length\":%u}",
               (long long)status->created, supervisor_state_names[status->state],
               status->info.context);
}

void route_models(Exchange *x)
{
    Dispatch *d = exchange_dispatch(x);
    Buf *out = exchange_reply(x);
    buf_add_text(out, "{\"object\":\"list\",\"data\":[");
    for (uint32_t i = 0; i < dispatch_count(d); i++) {
        DispatchStatus status;
        dispatch_status(d, i, &status);
        if (i)
            buf_add_char(out, ',');
        add_model(out, &status);
    }
    buf_add_text(out, "]}");
}

void route_model(Exchange *x)
{
    Dispatch *d = exchange_dispatch(x);
    for (uint32_t i = 0; i < dispatch_count(d); i++) {
        DispatchStatus status;
        dispatch_status(d, i, &status);
        if (strcmp(status.name, exchange_rest(x)) != 0)
            continue;
        add_model(exchange_reply(x), &status);
        return;
    }
    exchange_refuse(x, FAULT_MODEL, "model", "there is no model '%.100s' here", exchange_rest(x));
}
