/* routes.c: see routes.h. */
#include "serve/routes.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

const Route routes[] = {
    {"POST", "/v1/chat/completions", false, SHAPE_CHAT, "Answers a conversation", route_chat},
    {"POST", "/v1/completions", false, SHAPE_TEXT, "Continues a text", route_completions},
    {"GET", "/v1/models", false, 0, "Lists the models served here", route_models},
    {"GET", "/v1/models/{model}", false, 0, "Describes one model", route_model},
    {"GET", "/livez", true, 0, "200 while the process runs", route_live},
    {"GET", "/readyz", true, 0, "200 when every model is ready, else 503", route_ready},
    {"GET", "/metrics", false, 0, "Counters in Prometheus text format", route_metrics},
    {"GET", "/openapi.json", false, 0, "This page", route_openapi},
};
const uint32_t routes_count = sizeof routes / sizeof *routes;
static_assert(sizeof routes / sizeof *routes <= ROUTES_MAX, "metrics have room for every route");

/* True when path is row's; *rest is what its {name} stands for. */
static bool matches(const Route *row, const char *path, const char **rest)
{
    size_t fixed = strcspn(row->path, "{");
    if (!row->path[fixed]) {
        *rest = "";
        return strcmp(row->path, path) == 0;
    }
    *rest = path + fixed;
    return strncmp(row->path, path, fixed) == 0 && path[fixed];
}

const Route *routes_find(const char *method, const char *path, const char **rest, char allow[64])
{
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    size_t used = 0;
    allow[0] = 0;
    *rest = "";
    for (uint32_t i = 0; i < routes_count; i++) {
        const char *found;
        if (!matches(&routes[i], path, &found))
            continue;
        if (strcmp(routes[i].method, wanted) == 0) {
            *rest = found;
            return &routes[i];
        }
        int added = snprintf(allow + used, 64 - used, "%s%s", used ? ", " : "", routes[i].method);
        used += added > 0 && used + (size_t)added < 64 ? (size_t)added : 0;
    }
    return NULL;
}
