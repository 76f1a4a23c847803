/* gateway.c: see gateway.h.
 *
 * Invariants: 1. an Exchange belongs to the HTTP thread, from the first call of on_request to
 * on_completed; the dispatch thread reaches it through resume() alone, which only a suspended
 * connection gets. 2. A connection is suspended only under the dispatch lock, by job_ready or
 * job_read, so its wake cannot come too early. 3. Exactly one response is queued per request. */
#include "serve/gateway.h"

#include "base/clock.h"

#include <assert.h>
#include <microhttpd.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    HEADER_BYTES_MAX = 32 << 10,
    IDLE_SECONDS = 75,
    STREAM_BLOCK_BYTES = 4096,
    ARENA_BYTES_MAX = 64 << 20,
    REPLY_BYTES_MAX = 4 << 20,
    KEY_BYTES_MAX = 256,
};

struct Gateway {
    GatewayOptions options;
    struct MHD_Daemon *daemon;
    Clients clients;
    _Atomic bool draining;
};

struct Exchange {
    Gateway *gateway;
    struct MHD_Connection *connection;
    const Route *route;
    char method[16], path[256], rest[256], allow[64];
    char id[40]; /* x-request-id, and the id of the answer */
    char key_id[KEY_ID_ROOM];
    Arena arena;
    Buf body, reply;
    Job *job;
    bool begun;   /* the whole request has come, the handler has run */
    bool stream;
    Fault fault;  /* of the refusal in reply */
    int status;
    const char *content_type;
    double started;
};

/* ---- what handlers see ---- */

Dispatch *exchange_dispatch(const Exchange *x) { return x->gateway->options.dispatch; }
Metrics *exchange_metrics(const Exchange *x) { return x->gateway->options.metrics; }
bool exchange_draining(const Exchange *x) { return atomic_load(&x->gateway->draining); }
const Route *exchange_route(const Exchange *x) { return x->route; }
const char *exchange_rest(const Exchange *x) { return x->rest; }
const Buf *exchange_body(const Exchange *x) { return &x->body; }
Arena *exchange_arena(Exchange *x) { return &x->arena; }
Buf *exchange_reply(Exchange *x) { return &x->reply; }

void exchange_status(Exchange *x, int status, const char *content_type)
{
    x->status = status;
    x->content_type = content_type;
}

void exchange_refuse(Exchange *x, Fault fault, const char *param, const char *format, ...)
{
    char text[sizeof(Error)];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    x->fault = fault;
    buf_reset(&x->reply);
    reply_add_error(&x->reply, fault, param, text);
    exchange_status(x, fault_row(fault)->status, "application/json");
}

static void suspend(void *user)
{
    MHD_suspend_connection(((Exchange *)user)->connection);
}

static void resume(void *user)
{
    MHD_resume_connection(((Exchange *)user)->connection);
}

void exchange_generate(Exchange *x, const GenerateRequest *request)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    JobOptions options = {.shape = x->route->shape, .request = request, .id = x->id,
                          .client_fd = info->connect_fd, .sleep = suspend, .wake = resume,
                          .user = x};
    Fault fault;
    Error err;
    x->stream = request->stream;
    if (!job_begin(x->gateway->options.dispatch, &options, &x->job, &fault, &err))
        exchange_refuse(x, fault, fault == FAULT_MODEL ? "model" : NULL, "%s", err.text);
}

/* ---- responses ---- */

static void add_headers(Exchange *x, struct MHD_Response *response)
{
    MHD_add_response_header(response, "x-request-id", x->id);
    MHD_add_response_header(response, "Content-Type", x->content_type);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (x->fault == FAULT_KEY)
        MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (x->fault == FAULT_METHOD)
        MHD_add_response_header(response, "Allow", x->allow);
    char seconds[12];
    snprintf(seconds, sizeof seconds, "%u", fault_row(x->fault)->retry_seconds);
    if (fault_row(x->fault)->retry_seconds)
        MHD_add_response_header(response, "Retry-After", seconds);
    if (x->fault == FAULT_TOO_LARGE || exchange_draining(x))
        MHD_add_response_header(response, "Connection", "close");
}

static enum MHD_Result queue(Exchange *x, struct MHD_Response *response)
{
    if (!response)
        return MHD_NO; /* no memory: the connection is closed */
    add_headers(x, response);
    enum MHD_Result result = MHD_queue_response(x->connection, (unsigned)x->status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result queue_reply(Exchange *x)
{
    Error err;
    if (!buf_ok(&x->reply, "the reply", &err))
        exchange_refuse(x, FAULT_SERVER, NULL, "no memory for this reply");
    return queue(x, MHD_create_response_from_buffer(x->reply.size,
                                                    x->reply.size ? x->reply.data : "",
                                                    MHD_RESPMEM_MUST_COPY));
}

static ssize_t read_stream(void *user, uint64_t position, char *out, size_t room)
{
    (void)position;
    int64_t got = job_read(((Exchange *)user)->job, out, room);
    return got < 0 ? MHD_CONTENT_READER_END_OF_STREAM : (ssize_t)got;
}

/* Of a ready job. */
static enum MHD_Result queue_answer(Exchange *x)
{
    char text[sizeof(Error)];
    Fault fault = job_fault(x->job, text);
    if (fault != FAULT_NONE) {
        exchange_refuse(x, fault, fault == FAULT_VALUE || fault == FAULT_CONTEXT
                                      ? x->route->shape == SHAPE_CHAT ? "messages" : "prompt"
                                      : NULL,
                        "%s", text);
        return queue_reply(x);
    }
    if (x->stream) {
        exchange_status(x, 200, "text/event-stream; charset=utf-8");
        return queue(x, MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES,
                                                          read_stream, x, NULL));
    }
    const char *bytes;
    size_t size;
    job_answer(x->job, &bytes, &size);
    exchange_status(x, 200, "application/json");
    return queue(x, MHD_create_response_from_buffer(size, (void *)(uintptr_t)bytes,
                                                    MHD_RESPMEM_MUST_COPY));
}

/* ---- checks before the body ---- */

static const char *header(const Exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

/* The one place where credentials are looked for. */
static const char *credential(const Exchange *x)
{
    const char *value = header(x, "Authorization");
    if (value)
        return strncasecmp(value, "Bearer ", 7) == 0 ? value + 7 : "";
    value = header(x, "api-key");
    return value ? value : header(x, "x-api-key");
}

static void check_key(Exchange *x)
{
    const char *key = credential(x);
    size_t size = key ? strlen(key) : 0;
    if (x->route && x->route->open)
        return;
    if (size == 0)
        exchange_refuse(x, FAULT_KEY, NULL,
                        "no API key: send 'Authorization: Bearer KEY' or 'api-key: KEY'");
    else if (size > KEY_BYTES_MAX ||
             !keyring_find(x->gateway->options.keys, key, size, x->key_id))
        exchange_refuse(x, FAULT_KEY, NULL, "the API key is not valid here");
}

/* True for "application/json", with or without parameters. */
static bool is_json(const char *type)
{
    static const char json[] = "application/json";
    if (!type || strncasecmp(type, json, sizeof json - 1) != 0)
        return false;
    const char *after = type + sizeof json - 1;
    return !*after || *after == ';' || *after == ' ';
}

static bool announces_too_much(const Exchange *x)
{
    const char *length = header(x, "Content-Length");
    return length && (strlen(length) > 18 ||
                      strtoull(length, NULL, 10) > x->gateway->options.body_bytes_max);
}

static void refuse_size(Exchange *x)
{
    exchange_refuse(x, FAULT_TOO_LARGE, NULL, "the request body may have at most %zu bytes",
                    x->gateway->options.body_bytes_max);
}

/* Fills the refusal of a request that needs no body to be refused. */
static void check_head(Exchange *x, const char *method)
{
    const char *rest;
    x->route = routes_find(method, x->path, &rest, x->allow);
    snprintf(x->rest, sizeof x->rest, "%s", rest);
    check_key(x);
    if (x->fault)
        return;
    if (!x->route && *x->allow)
        exchange_refuse(x, FAULT_METHOD, NULL, "%.100s takes %s", x->path, x->allow);
    else if (!x->route)
        exchange_refuse(x, FAULT_PATH, NULL, "there is no '%.100s' here", x->path);
    else if (announces_too_much(x))
        refuse_size(x);
    else if (x->route->shape && !is_json(header(x, "Content-Type")))
        exchange_refuse(x, FAULT_MEDIA, NULL, "the Content-Type must be application/json");
}

/* ---- the life of an exchange ---- */

static void make_id(Exchange *x)
{
    uint8_t bytes[12];
    char hex[25];
    randombytes_buf(bytes, sizeof bytes);
    sodium_bin2hex(hex, sizeof hex, bytes, sizeof bytes);
    static const char *const prefixes[] = {[0] = "req-", [SHAPE_CHAT] = "chatcmpl-",
                                           [SHAPE_TEXT] = "cmpl-"};
    snprintf(x->id, sizeof x->id, "%s%s", prefixes[x->route ? x->route->shape : 0], hex);
}

static void set_phase(const Exchange *x, ClientPhase phase)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    clients_phase(&x->gateway->clients, info ? info->socket_context : NULL, phase);
}

static Exchange *exchange_new(Gateway *g, struct MHD_Connection *connection, const char *method,
                              const char *path)
{
    Exchange *x = mem_alloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->gateway = g;
    x->connection = connection;
    x->started = clock_seconds();
    x->status = 200;
    x->content_type = "application/json";
    arena_init(&x->arena, ARENA_BYTES_MAX);
    buf_init(&x->body, g->options.body_bytes_max);
    buf_init(&x->reply, REPLY_BYTES_MAX);
    snprintf(x->method, sizeof x->method, "%s", method);
    snprintf(x->path, sizeof x->path, "%s", path);
    check_head(x, method);
    /* a path cut here could mean another route */
    if (strlen(path) >= sizeof x->path && !x->fault)
        exchange_refuse(x, FAULT_PATH, NULL, "the path is too long");
    make_id(x);
    set_phase(x, CLIENT_BODY);
    return x;
}

static void take_body(Exchange *x, const char *bytes, size_t size)
{
    if (x->fault)
        return; /* read and dropped */
    buf_add(&x->body, bytes, size);
    if (!x->body.failed)
        return;
    if (size > x->body.limit - x->body.size)
        refuse_size(x);
    else
        exchange_refuse(x, FAULT_SERVER, NULL, "no memory for this request");
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **context)
{
    (void)version;
    Exchange *x = *context;
    if (!x) {
        *context = x = exchange_new(user, connection, method, url);
        if (!x)
            return MHD_NO;
        /* Only here can a body that is too large be refused before it is sent. */
        return x->fault == FAULT_TOO_LARGE ? queue_reply(x) : MHD_YES;
    }
    if (*upload_size) {
        take_body(x, upload, *upload_size);
        *upload_size = 0;
        return MHD_YES;
    }
    if (!x->begun) {
        x->begun = true;
        set_phase(x, CLIENT_ANSWER);
        if (!x->fault)
            x->route->handle(x);
        buf_done(&x->body);
    }
    if (!x->job)
        return queue_reply(x);
    return job_ready(x->job) ? queue_answer(x) : MHD_YES;
}

/* Printable, and no wider than the field: method and path are a stranger's texts. */
static void printable(char *out, size_t room, const char *text)
{
    size_t i = 0;
    for (; text[i] && i + 1 < room; i++)
        out[i] = (unsigned char)text[i] > ' ' && (unsigned char)text[i] < 127 ? text[i] : '?';
    out[i] = 0;
}

static void log_request(const Exchange *x, double seconds)
{
    char path[80], method[16], line[256];
    printable(path, sizeof path, x->path);
    printable(method, sizeof method, x->method);
    snprintf(line, sizeof line, "%s %s %s %d %.0fms %s", x->id,
             method, path, x->status, seconds * 1000,
             *x->key_id ? x->key_id : "-");
    x->gateway->options.log(x->gateway->options.user, line);
}

static void on_completed(void *user, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
    (void)connection;
    Gateway *g = user;
    Exchange *x = *context;
    *context = NULL;
    if (!x)
        return;
    set_phase(x, CLIENT_IDLE);
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK)
        x->status = fault_row(FAULT_GONE)->status;
    double seconds = clock_seconds() - x->started;
    job_end(x->job);
    metrics_request(g->options.metrics,
                    x->route ? (uint32_t)(x->route - routes) : routes_count, x->status, seconds);
    if (g->options.log)
        log_request(x, seconds);
    arena_done(&x->arena);
    buf_done(&x->body);
    buf_done(&x->reply);
    mem_free(x);
}

static void on_connection(void *user, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    Gateway *g = user;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        *context = clients_open(&g->clients, info->connect_fd);
    } else {
        clients_close(&g->clients, *context);
        *context = NULL;
    }
}

/* Called when the request line is there; what it returns is the request's first context. */
static void *on_request_line(void *user, const char *uri, struct MHD_Connection *connection)
{
    (void)uri;
    Gateway *g = user;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    clients_phase(&g->clients, info ? info->socket_context : NULL, CLIENT_HEADERS);
    return NULL;
}

/* A path with an encoded NUL would end there for every later reader: it stays as it was sent, and
 * is the path of nothing. */
static size_t unescape(void *user, struct MHD_Connection *connection, char *text)
{
    (void)user;
    (void)connection;
    return strstr(text, "%00") ? strlen(text) : MHD_http_unescape(text);
}

/* ---- the daemon ---- */

bool gateway_open(Gateway **out, const GatewayOptions *options, Error *err)
{
    Gateway *g = mem_alloc(1, sizeof *g);
    if (!g)
        return fail(err, ERR_MEMORY, "no memory for the gateway");
    g->options = *options;
    g->options.body_bytes_max = options->body_bytes_max ? options->body_bytes_max : 1 << 20;
    g->options.connections_max = options->connections_max ? options->connections_max : 512;
    clients_init(&g->clients);
    bool tls = options->certificate && options->private_key;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC |
                     (tls ? MHD_USE_TLS : 0u);
    struct MHD_OptionItem tls_items[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)options->certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)options->private_key},
        {MHD_OPTION_END, 0, NULL}};
    struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    g->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, g,
        MHD_OPTION_LISTEN_SOCKET, options->listen_fd,
        MHD_OPTION_CONNECTION_LIMIT, g->options.connections_max,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES_MAX,
        MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, g,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, g,
        MHD_OPTION_URI_LOG_CALLBACK, on_request_line, g,
        MHD_OPTION_UNESCAPE_CALLBACK, unescape, g,
        MHD_OPTION_ARRAY, tls ? tls_items : none,
        MHD_OPTION_END);
    if (!g->daemon) {
        clients_done(&g->clients);
        mem_free(g);
        return fail(err, tls ? ERR_INPUT : ERR_IO, tls ? "the HTTPS server does not start: check "
                    "certificate and key" : "the HTTP server does not start");
    }
    *out = g;
    return true;
}

void gateway_sweep(Gateway *g)
{
    clients_sweep(&g->clients, clock_seconds());
}

void gateway_quiesce(Gateway *g)
{
    if (atomic_exchange(&g->draining, true))
        return;
    int fd = MHD_quiesce_daemon(g->daemon);
    if (fd >= 0)
        close(fd);
}

void gateway_close(Gateway *g)
{
    if (!g)
        return;
    gateway_quiesce(g);
    MHD_stop_daemon(g->daemon);
    clients_done(&g->clients);
    mem_free(g);
}
