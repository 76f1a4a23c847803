/* metrics.h: counters of requests by route and status, with a histogram of their durations.
 * Labels come from tables alone (route templates, status numbers), so no client can add series.
 * Threads: any.
 */
#pragma once
#include "base/buf.h"

#include <stdint.h>

typedef struct Metrics Metrics;

bool metrics_new(Metrics **out, Error *err) MUST_CHECK;
void metrics_free(Metrics *m); /* NULL is a no-op */

/* route: its index in `routes`; routes_count: none was found. */
void metrics_request(Metrics *m, uint32_t route, int status, double seconds);

/* Appends Prometheus text. */
void metrics_print(const Metrics *m, Buf *out);
