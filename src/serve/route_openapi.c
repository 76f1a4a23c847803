/* route_openapi.c: GET /openapi.json: what the route table and the field table say, as OpenAPI. */
#include "serve/gateway.h"

#include <string.h>

static const char error_schema[] =
    "{\"type\":\"object\",\"required\":[\"error\"],\"properties\":{\"error\":{\"type\":\"object\","
    "\"required\":[\"message\",\"type\",\"param\",\"code\"],\"properties\":{"
    "\"message\":{\"type\":\"string\"},\"type\":{\"type\":\"string\"},"
    "\"param\":{\"type\":[\"string\",\"null\"]},\"code\":{\"type\":[\"string\",\"null\"]}}}}}";

static void add_lower(Buf *out, const char *text)
{
    for (; *text; text++)
        buf_add_char(out, *text >= 'A' && *text <= 'Z' ? (char)(*text + 32) : *text);
}

static void add_operation(Buf *out, const Route *route)
{
    buf_add_char(out, '"');
    add_lower(out, route->method);
    buf_format(out, "\":{\"summary\":\"%s\"", route->summary);
    if (route->open)
        buf_add_text(out, ",\"security\":[]");
    const char *name = strchr(route->path, '{');
    if (name)
        buf_format(out, ",\"parameters\":[{\"name\":\"%.*s\",\"in\":\"path\",\"required\":true,"
                   "\"schema\":{\"type\":\"string\"}}]", (int)strcspn(name + 1, "}"), name + 1);
    if (route->shape) {
        buf_add_text(out, ",\"requestBody\":{\"required\":true,\"content\":{\"application/json\":"
                          "{\"schema\":");
        request_add_schema(out, route->shape);
        buf_add_text(out, "}}}");
    }
    buf_add_text(out, ",\"responses\":{\"200\":{\"description\":\"Done\"},\"default\":{"
                      "\"description\":\"Refused\",\"content\":{\"application/json\":{\"schema\":"
                      "{\"$ref\":\"#/components/schemas/Error\"}}}}}}");
}

/* True when no row before i has its path: it opens the path's object. */
static bool first_of_path(uint32_t i)
{
    for (uint32_t k = 0; k < i; k++)
        if (strcmp(routes[k].path, routes[i].path) == 0)
            return false;
    return true;
}

void route_openapi(Exchange *x)
{
    Buf *out = exchange_reply(x);
    buf_add_text(out, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Bastide\",\"version\":\""
                      BASTIDE_VERSION "\"},\"security\":[{\"bearer\":[]},{\"key\":[]}],"
                      "\"components\":{\"securitySchemes\":{\"bearer\":{\"type\":\"http\","
                      "\"scheme\":\"bearer\"},\"key\":{\"type\":\"apiKey\",\"in\":\"header\","
                      "\"name\":\"api-key\"}},\"schemas\":{\"Error\":");
    buf_add_text(out, error_schema);
    buf_add_text(out, "}},\"paths\":{");
    bool first = true;
    for (uint32_t i = 0; i < routes_count; i++) {
        if (!first_of_path(i))
            continue;
        buf_format(out, "%s\"%s\":{", first ? "" : ",", routes[i].path);
        first = false;
        bool begun = false;
        for (uint32_t k = i; k < routes_count; k++) {
            if (strcmp(routes[k].path, routes[i].path) != 0)
                continue;
            if (begun)
                buf_add_char(out, ',');
            begun = true;
            add_operation(out, &routes[k]);
        }
        buf_add_char(out, '}');
    }
    buf_add_text(out, "}}");
}
