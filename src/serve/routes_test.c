#include "serve/routes.h"

#include "base/test.h"

static void finds(const char *method, const char *path, const char *want_path,
                  const char *want_rest, const char *want_allow)
{
    char allow[64];
    const char *rest;
    const Route *route = routes_find(method, path, &rest, allow);
    const char *found = route ? route->path : "nothing";
    want_path = want_path ? want_path : "nothing";
    if (strcmp(found, want_path) != 0)
        fail_test("%s %s: found %s, expected %s", method, path, found, want_path);
    assert_string_equal(rest, want_rest);
    if (!route)
        assert_string_equal(allow, want_allow);
}

static void paths_are_exact(void **state)
{
    (void)state;
    finds("GET", "/v1/models", "/v1/models", "", "");
    finds("HEAD", "/v1/models", "/v1/models", "", "");
    finds("GET", "/v1/models/a/b", "/v1/models/{model}", "a/b", "");
    finds("GET", "/v1/models/", NULL, "", "");
    finds("GET", "//v1/models", NULL, "", "");
    finds("GET", "/V1/models", NULL, "", "");
    finds("GET", "/v1/modelsx", NULL, "", "");
    finds("GET", "", NULL, "", "");
    finds("DELETE", "/v1/models/x", NULL, "", "GET");
    finds("OPTIONS", "/v1/chat/completions", NULL, "", "POST");
    finds("post", "/v1/chat/completions", NULL, "", "POST");
}

/* What must never open by accident: a new route is closed unless it is added here. */
static void only_health_is_open(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < routes_count; i++) {
        bool health = strcmp(routes[i].path, "/livez") == 0 ||
                      strcmp(routes[i].path, "/readyz") == 0;
        assert_int_equal(routes[i].open, health);
        assert_true(routes[i].handle && routes[i].summary[0]);
        assert_int_equal(routes[i].shape != 0, strcmp(routes[i].method, "POST") == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_are_exact),
        cmocka_unit_test(only_health_is_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
