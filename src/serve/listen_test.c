#include "serve/listen.h"

#include "base/test.h"

#include <stdio.h>
#include <unistd.h>

static void any_free_port(void **state)
{
    (void)state;
    Error err;
    int fd, second;
    char url[100];
    unsigned port = 0;
    assert_ok(listen_open(&fd, url, sizeof url, &(ListenOptions){"127.0.0.1"}, &err));
    assert_int_equal(sscanf(url, "http://127.0.0.1:%u", &port), 1);
    assert_true(port > 0);
    assert_fails(listen_open(&second, url, sizeof url,
                             &(ListenOptions){"127.0.0.1", (uint16_t)port}, &err),
                 ERR_CONFLICT, "in use");
    close(fd);
}

static void beyond_this_machine_needs_tls(void **state)
{
    (void)state;
    Error err;
    int fd;
    char url[100];
    static const char *const hosts[] = {"0.0.0.0", "10.1.2.3", "::", "::ffff:127.0.0.1"};
    for (int i = 0; i < 4; i++)
        assert_fails(listen_open(&fd, url, sizeof url, &(ListenOptions){hosts[i]}, &err),
                     ERR_DENIED, "without TLS");
    assert_ok(listen_open(&fd, url, sizeof url, &(ListenOptions){"0.0.0.0", .tls = true}, &err));
    assert_non_null(strstr(url, "https://"));
    close(fd);
    assert_ok(listen_open(&fd, url, sizeof url,
                          &(ListenOptions){"0.0.0.0", .plain_allowed = true}, &err));
    close(fd);
}

static void names_are_not_looked_up(void **state)
{
    (void)state;
    Error err;
    int fd;
    char url[100];
    static const char *const hosts[] = {"localhost", "", "127.1", "300.0.0.1", "example.org"};
    for (int i = 0; i < 5; i++)
        assert_fails(listen_open(&fd, url, sizeof url, &(ListenOptions){hosts[i]}, &err), ERR_INPUT,
                     "no IPv4 or IPv6 address");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_free_port),
        cmocka_unit_test(beyond_this_machine_needs_tls),
        cmocka_unit_test(names_are_not_looked_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
