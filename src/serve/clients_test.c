#include "serve/clients.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/test.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static bool ended(int fd)
{
    struct pollfd at = {.fd = fd, .events = POLLIN};
    char byte;
    return poll(&at, 1, 0) == 1 && read(fd, &byte, 1) == 0;
}

static void only_the_overdue_are_ended(void **state)
{
    (void)state;
    Clients clients;
    clients_init(&clients);
    int pairs[CLIENT_PHASES][2];
    Client *client[CLIENT_PHASES];
    for (int i = 0; i < CLIENT_PHASES; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]), 0);
        client[i] = clients_open(&clients, pairs[i][0]);
        clients_phase(&clients, client[i], (ClientPhase)i);
    }
    double now = clock_seconds();
    static const struct {
        double after;
        bool ended[CLIENT_PHASES]; /* idle, headers, body, answer */
    } rows[] = {{5, {0}}, {15, {false, true, false, false}}, {65, {false, true, true, false}},
                {95, {true, true, true, false}}, {1e6, {true, true, true, false}}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        clients_sweep(&clients, now + rows[r].after);
        for (int i = 0; i < CLIENT_PHASES; i++)
            assert_int_equal(ended(pairs[i][1]), rows[r].ended[i]);
    }
    /* closed in an order that takes the middle, the first and the last out of the list */
    static const int order[CLIENT_PHASES] = {1, 3, 0, 2};
    for (int i = 0; i < CLIENT_PHASES; i++) {
        clients_close(&clients, client[order[i]]);
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    clients_done(&clients);
}

static void no_memory_is_no_harm(void **state)
{
    (void)state;
    Clients clients;
    clients_init(&clients);
    mem_fail_after(0);
    Client *client = clients_open(&clients, 0);
    mem_fail_after(-1);
    assert_null(client);
    clients_phase(&clients, client, CLIENT_BODY);
    clients_close(&clients, client);
    clients_done(&clients);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_overdue_are_ended),
        cmocka_unit_test(no_memory_is_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
