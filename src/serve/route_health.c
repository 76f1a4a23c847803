/* route_health.c: GET /livez, GET /readyz, GET /metrics. */
#include "serve/gateway.h"

#include <string.h>

void route_live(Exchange *x)
{
    buf_add_text(exchange_reply(x), "{\"status\":\"alive\"}");
}

/* Open to everyone, so it names no model and no reason. */
void route_ready(Exchange *x)
{
    Dispatch *d = exchange_dispatch(x);
    uint32_t ready = 0;
    for (uint32_t i = 0; i < dispatch_count(d); i++) {
        DispatchStatus status;
        dispatch_status(d, i, &status);
        ready += status.state == SUPERVISOR_READY;
    }
    bool draining = exchange_draining(x);
    bool all = ready == dispatch_count(d) && !draining;
    buf_format(exchange_reply(x), "{\"status\":\"%s\",\"models_ready\":%u,\"models\":%u}",
               draining ? "shutting down" : all ? "ready" : "not ready", ready, dispatch_count(d));
    exchange_status(x, all ? 200 : 503, "application/json");
}

/* One series per model; `read` picks its number out of the status. */
typedef struct {
    const char *name, *type, *help;
    double (*read)(const DispatchStatus *s);
} Series;

static double is_ready(const DispatchStatus *s) { return s->state == SUPERVISOR_READY; }
static double restarts(const DispatchStatus *s) { return s->restarts; }
static double jobs(const DispatchStatus *s) { return s->jobs; }
static double choices(const DispatchStatus *s) { return s->choices; }
static double requests(const DispatchStatus *s) { return (double)s->requests; }
static double prompt_tokens(const DispatchStatus *s) { return (double)s->prompt_tokens; }
static double answer_tokens(const DispatchStatus *s) { return (double)s->answer_tokens; }
static double steps(const DispatchStatus *s) { return (double)s->steps; }
static double first_seconds(const DispatchStatus *s) { return s->first_token_seconds; }
static double all_seconds(const DispatchStatus *s) { return s->answer_seconds; }

static const Series series[] = {
    {"bastide_model_ready", "gauge", "1 when the worker of the model is ready.", is_ready},
    {"bastide_model_restarts_total", "counter", "Ends of the worker process.", restarts},
    {"bastide_model_requests_running", "gauge", "Requests not yet answered.", jobs},
    {"bastide_model_answers_running", "gauge", "Answers in the engine, queued or running.",
     choices},
    {"bastide_model_requests_total", "counter", "Requests answered completely.", requests},
    {"bastide_model_prompt_tokens_total", "counter", "Prompt tokens of those.", prompt_tokens},
    {"bastide_model_answer_tokens_total", "counter", "Tokens produced.", answer_tokens},
    {"bastide_model_steps_total", "counter", "Engine steps.", steps},
    {"bastide_model_first_token_seconds_total", "counter",
     "From request to first token, summed over bastide_model_requests_total.", first_seconds},
    {"bastide_model_answer_seconds_total", "counter",
     "From request to last token, summed over bastide_model_requests_total.", all_seconds},
};

/* A label value: names of models are an operator's words, but quotes must not end it. */
static void add_label(Buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            buf_add_char(out, '\\');
        buf_add_char(out, *text == '\n' ? ' ' : *text);
    }
}

void route_metrics(Exchange *x)
{
    Dispatch *d = exchange_dispatch(x);
    Buf *out = exchange_reply(x);
    metrics_print(exchange_metrics(x), out);
    for (size_t k = 0; k < sizeof series / sizeof *series; k++) {
        buf_format(out, "# HELP %s %s\n# TYPE %s %s\n", series[k].name, series[k].help,
                   series[k].name, series[k].type);
        for (uint32_t i = 0; i < dispatch_count(d); i++) {
            DispatchStatus status;
            dispatch_status(d, i, &status);
            buf_format(out, "%s{model=\"", series[k].name);
            add_label(out, status.name);
            buf_format(out, "\"} %.15g\n", series[k].read(&status));
        }
    }
    exchange_status(x, 200, "text/plain; version=0.0.4; charset=utf-8");
}
