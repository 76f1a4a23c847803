#include "serve/metrics.h"

#include "base/mem.h"
#include "base/test.h"
#include "serve/routes.h"

static void counts_by_route_and_status(void **state)
{
    (void)state;
    Error err;
    Metrics *m;
    assert_ok(metrics_new(&m, &err));
    metrics_request(m, 0, 200, 0.01);
    metrics_request(m, 0, 200, 1000);
    metrics_request(m, 0, 418, 0.01);
    metrics_request(m, routes_count, 404, 0);
    metrics_request(m, UINT32_MAX, 404, 0);
    auto_buf Buf out;
    buf_init(&out, 1 << 20);
    metrics_print(m, &out);
    const char *const lines[] = {
        "bastide_http_requests_total{method=\"POST\",route=\"/v1/chat/completions\","
        "status=\"200\"} 2\n",
        "status=\"other\"} 1\n",
        "route=\"none\",status=\"404\"} 2\n",
        "route=\"/v1/chat/completions\",le=\"0.005\"} 0\n",
        "route=\"/v1/chat/completions\",le=\"300\"} 2\n",
        "route=\"/v1/chat/completions\",le=\"+Inf\"} 3\n",
        "_sum{method=\"POST\",route=\"/v1/chat/completions\"} 1000.020000\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!strstr(out.data, lines[i]))
            fail_test("missing: %s in\n%s", lines[i], out.data);
    metrics_free(m);
    mem_fail_after(0);
    bool made = metrics_new(&m, &err);
    mem_fail_after(-1);
    assert_false(made);
    assert_int_equal(err.code, ERR_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(counts_by_route_and_status)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
