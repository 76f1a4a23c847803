/* metrics.c: see metrics.h. */
#include "serve/metrics.h"

#include "base/mem.h"
#include "serve/routes.h"

#include <stdatomic.h>
#include <stdio.h>

static const int statuses[] = {200, 400, 401, 404, 405, 413, 415, 429, 499, 500, 502, 503};
enum { STATUS_COUNT = sizeof statuses / sizeof *statuses };

static const double bounds[] = {0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300};
enum { BOUND_COUNT = sizeof bounds / sizeof *bounds };

typedef struct {
    _Atomic uint64_t count[STATUS_COUNT + 1]; /* the last: any other status */
    _Atomic uint64_t within[BOUND_COUNT + 1]; /* by the smallest bound; the last: above all */
    _Atomic uint64_t microseconds;
} RouteCounts;

struct Metrics {
    RouteCounts routes[ROUTES_MAX + 1];
};

bool metrics_new(Metrics **out, Error *err)
{
    Metrics *m = mem_alloc(1, sizeof *m);
    if (!m)
        return fail(err, ERR_MEMORY, "no memory for metrics");
    *out = m;
    return true;
}

void metrics_free(Metrics *m)
{
    mem_free(m);
}

void metrics_request(Metrics *m, uint32_t route, int status, double seconds)
{
    RouteCounts *r = &m->routes[route < routes_count ? route : routes_count];
    size_t s = 0, b = 0;
    while (s < STATUS_COUNT && statuses[s] != status)
        s++;
    while (b < BOUND_COUNT && seconds > bounds[b])
        b++;
    atomic_fetch_add(&r->count[s], 1);
    atomic_fetch_add(&r->within[b], 1);
    atomic_fetch_add(&r->microseconds, (uint64_t)(seconds * 1e6));
}

static void print_durations(Buf *out, const RouteCounts *r, const char *method, const char *path)
{
    static const char name[] = "bastide_http_request_duration_seconds";
    uint64_t sum = 0;
    for (size_t b = 0; b < BOUND_COUNT; b++) {
        sum += atomic_load(&r->within[b]);
        buf_format(out, "%s_bucket{method=\"%s\",route=\"%s\",le=\"%g\"} %llu\n", name, method,
                   path, bounds[b], (unsigned long long)sum);
    }
    sum += atomic_load(&r->within[BOUND_COUNT]);
    buf_format(out, "%s_bucket{method=\"%s\",route=\"%s\",le=\"+Inf\"} %llu\n", name, method, path,
               (unsigned long long)sum);
    buf_format(out, "%s_sum{method=\"%s\",route=\"%s\"} %.6f\n", name, method, path,
               (double)atomic_load(&r->microseconds) / 1e6);
    buf_format(out, "%s_count{method=\"%s\",route=\"%s\"} %llu\n", name, method, path,
               (unsigned long long)sum);
}

void metrics_print(const Metrics *m, Buf *out)
{
    buf_add_text(out, "# HELP bastide_http_requests_total Requests answered.\n"
                      "# TYPE bastide_http_requests_total counter\n");
    for (uint32_t i = 0; i <= routes_count; i++)
        for (size_t s = 0; s <= STATUS_COUNT; s++) {
            uint64_t count = atomic_load(&m->routes[i].count[s]);
            if (!count)
                continue;
            char status[12] = "other";
            if (s < STATUS_COUNT)
                snprintf(status, sizeof status, "%d", statuses[s]);
            buf_format(out, "bastide_http_requests_total{method=\"%s\",route=\"%s\",status=\"%s\"}"
                       " %llu\n",
                       i < routes_count ? routes[i].method : "", i < routes_count ? routes[i].path
                                                                                  : "none",
                       status, (unsigned long long)count);
        }
    buf_add_text(out,
                 "# HELP bastide_http_request_duration_seconds From headers to the last byte.\n"
                 "# TYPE bastide_http_request_duration_seconds histogram\n");
    for (uint32_t i = 0; i < routes_count; i++)
        if (routes[i].shape) /* the short ones are not worth their series */
            print_durations(out, &m->routes[i], routes[i].method, routes[i].path);
}
