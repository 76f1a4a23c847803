#include "serve/gateway.h"

#include "base/fs.h"
#include "base/test.h"
#include "serve/listen.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* A gateway whose one model never starts: everything but answers can be asked of it. */
static struct {
    char folder[64], key[KEY_TEXT_ROOM], last_log[300];
    unsigned port;
    Workspace *ws;
    Keyring *keys;
    Metrics *metrics;
    Dispatch *dispatch;
    Gateway *gateway;
} g;

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

static void keep_log(void *user, const char *line)
{
    (void)user;
    pthread_mutex_lock(&log_lock);
    snprintf(g.last_log, sizeof g.last_log, "%s", line);
    pthread_mutex_unlock(&log_lock);
}

/* A request is logged after its reply has left: waits until the last line holds `words`. */
static void await_log(const char *words, char line[300])
{
    for (int i = 0; i < 2000; i++) {
        pthread_mutex_lock(&log_lock);
        snprintf(line, 300, "%s", g.last_log);
        pthread_mutex_unlock(&log_lock);
        if (strstr(line, words))
            return;
        usleep(1000);
    }
    fail_test("the log never said %s but %s", words, line);
}

static int start(void **state)
{
    (void)state;
    Error err;
    int fd;
    char id[KEY_ID_ROOM], url[100];
    snprintf(g.folder, sizeof g.folder, "/tmp/bastide-gw-XXXXXX");
    const DispatchModel model = {.name = "m", .engine = {.model = "m"}};
    if (!mkdtemp(g.folder) || !workspace_init(g.folder, &err) ||
        !workspace_open(&g.ws, g.folder, &err) ||
        !workspace_key_add(g.ws, "k", g.key, id, &err) || !keyring_open(&g.keys, g.ws, &err) ||
        !metrics_new(&g.metrics, &err) ||
        !dispatch_open(&g.dispatch,
                       &(DispatchOptions){.models = &model, .model_count = 1,
                                          .program = "/bin/false", .command = "worker",
                                          .wait_seconds = 0.5},
                       &err) ||
        !listen_open(&fd, url, sizeof url, &(ListenOptions){"127.0.0.1"}, &err) ||
        sscanf(url, "http://127.0.0.1:%u", &g.port) != 1)
        return -1;
    GatewayOptions options = {.dispatch = g.dispatch, .keys = g.keys, .metrics = g.metrics,
                              .listen_fd = fd, .body_bytes_max = 1000, .log = keep_log};
    return gateway_open(&g.gateway, &options, &err) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    Error err;
    gateway_close(g.gateway);
    dispatch_close(g.dispatch);
    keyring_close(g.keys);
    metrics_free(g.metrics);
    workspace_close(g.ws);
    return fs_remove_tree(g.folder, &err) ? 0 : -1;
}

/* Sends bytes, returns the status of the reply, all of which is in *reply (until the server closes,
 * which every request here asks for). */
static int talk(const char *bytes, size_t size, Buf *reply)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)g.port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), status = 0;
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    if (send(fd, bytes, size, MSG_NOSIGNAL) < 0)
        fail_test("the request was not taken");
    char bite[4096];
    buf_reset(reply);
    for (ssize_t got; (got = recv(fd, bite, sizeof bite, 0)) > 0;)
        buf_add(reply, bite, (size_t)got);
    close(fd);
    if (reply->size)
        assert_int_equal(sscanf(reply->data, "HTTP/1.1 %d", &status), 1);
    return status;
}

static int ask(const char *method, const char *path, const char *headers, const char *body,
               Buf *reply)
{
    char text[4096];
    int size = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
                        "Content-Length: %zu\r\n%s\r\n%s", method, path, strlen(body), headers,
                        body);
    return talk(text, (size_t)size, reply);
}

static void nothing_answers_without_a_key(void **state)
{
    (void)state;
    auto_buf Buf reply;
    buf_init(&reply, 1 << 20);
    static const char *const methods[] = {"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"};
    static const char *const keys[] = {"", "Authorization: Bearer bst_wrong\r\n",
                                       "Authorization: Basic x\r\n", "Authorization: \r\n",
                                       "api-key: \r\n", "x-api-key: bst_\r\n"};
    for (uint32_t i = 0; i <= routes_count; i++)
        for (size_t m = 0; m < sizeof methods / sizeof *methods; m++)
            for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
                const char *path = i < routes_count ? routes[i].path : "/unknown";
                int status = ask(methods[m], path, keys[k], "", &reply);
                bool open = i < routes_count && routes[i].open &&
                            strcmp(routes[i].method, methods[m]) == 0;
                if (open ? status == 401 : status != 401)
                    fail_test("%s %s with '%s': %d", methods[m], path, keys[k], status);
                assert_non_null(strcasestr(reply.data, "x-request-id: "));
            }
}

static char authorized[100];

static void requests_are_checked_in_order(void **state)
{
    (void)state;
    auto_buf Buf reply;
    buf_init(&reply, 1 << 20);
    snprintf(authorized, sizeof authorized, "api-key: %s\r\n", g.key);
    char json[200], large[1500];
    snprintf(json, sizeof json, "%sContent-Type: Application/JSON ; charset=utf-8\r\n", authorized);
    memset(large, ' ', 1400);
    large[1400] = 0;
    static const char chat[] = "/v1/chat/completions";
    assert_int_equal(ask("GET", "/v1/models", authorized, "", &reply), 200);
    assert_non_null(strstr(reply.data, "\"id\":\"m\""));
    assert_int_equal(ask("PUT", chat, authorized, "", &reply), 405);
    assert_non_null(strstr(reply.data, "Allow: POST"));
    assert_int_equal(ask("GET", "/nowhere", authorized, "", &reply), 404);
    assert_int_equal(ask("POST", chat, authorized, "{}", &reply), 415);
    assert_int_equal(ask("POST", chat, json, large, &reply), 413);
    assert_int_equal(ask("POST", chat, json, "{}", &reply), 400);
    assert_non_null(strstr(reply.data, "\"param\":\"model\""));
    assert_int_equal(ask("POST", chat, json, "{\"model\":\"x\",\"messages\":[{\"role\":\"user\","
                         "\"content\":\"secret words\"}]}", &reply), 404);
    char line[300];
    await_log("POST /v1/chat/completions 404", line);
    assert_null(strstr(line, "secret"));
    assert_null(strstr(line, g.key));
    assert_int_equal(ask("POST", chat, json, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\","
                         "\"content\":\"\"}]}", &reply), 503);
    assert_non_null(strstr(reply.data, "Retry-After: "));
    assert_int_equal(ask("GET", "/readyz", "", "", &reply), 503);
    assert_int_equal(ask("GET", "/livez", "", "", &reply), 200);
}

static void hostile_heads(void **state)
{
    (void)state;
    auto_buf Buf reply;
    buf_init(&reply, 1 << 20);
    static char wide[60000];
    memset(wide, 'a', sizeof wide);
    memcpy(wide, "GET /", 5);
    assert_true(talk(wide, sizeof wide, &reply) != 200); /* 414, or closed */
    static const char *const heads[] = {
        "\r\n\r\n\r\n", "GET\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x02\x00",
        "GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n", /* no Host */
        "POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffffff"
        "ffffffffff\r\n"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)g.port)};
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
        assert_true(send(fd, heads[i], strlen(heads[i]), MSG_NOSIGNAL) > 0);
        shutdown(fd, SHUT_WR);
        /* no answer is an answer too: such a connection ends with its idle time */
        const struct timeval patience = {.tv_usec = 300000};
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        char bite[512] = "";
        (void)!recv(fd, bite, sizeof bite - 1, 0);
        assert_null(strstr(bite, " 200 "));
        close(fd);
    }
    assert_int_equal(ask("GET", "/livez", "", "", &reply), 200);
    gateway_sweep(g.gateway);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_answers_without_a_key),
        cmocka_unit_test(requests_are_checked_in_order),
        cmocka_unit_test(hostile_heads),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
