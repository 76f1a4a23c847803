/* clients.c: see clients.h. */
#include "serve/clients.h"

#include "base/clock.h"
#include "base/mem.h"

#include <assert.h>
#include <sys/socket.h>

struct Client {
    Client *next, *previous;
    int fd;
    ClientPhase phase;
    double since;
};

static const double seconds_max[CLIENT_PHASES] = {
    [CLIENT_IDLE] = 90, [CLIENT_HEADERS] = 10, [CLIENT_BODY] = 60, [CLIENT_ANSWER] = 1e300};

void clients_init(Clients *clients)
{
    *clients = (Clients){0};
    pthread_mutex_init(&clients->lock, NULL);
}

void clients_done(Clients *clients)
{
    assert(!clients->first);
    pthread_mutex_destroy(&clients->lock);
}

Client *clients_open(Clients *clients, int fd)
{
    Client *client = mem_alloc(1, sizeof *client);
    if (!client)
        return NULL;
    *client = (Client){.fd = fd, .since = clock_seconds()};
    pthread_mutex_lock(&clients->lock);
    client->next = clients->first;
    if (clients->first)
        clients->first->previous = client;
    clients->first = client;
    pthread_mutex_unlock(&clients->lock);
    return client;
}

void clients_close(Clients *clients, Client *client)
{
    if (!client)
        return;
    pthread_mutex_lock(&clients->lock);
    if (client->previous)
        client->previous->next = client->next;
    else
        clients->first = client->next;
    if (client->next)
        client->next->previous = client->previous;
    pthread_mutex_unlock(&clients->lock);
    mem_free(client);
}

void clients_phase(Clients *clients, Client *client, ClientPhase phase)
{
    if (!client)
        return;
    pthread_mutex_lock(&clients->lock);
    client->phase = phase;
    client->since = clock_seconds();
    pthread_mutex_unlock(&clients->lock);
}

void clients_sweep(Clients *clients, double now)
{
    pthread_mutex_lock(&clients->lock);
    /* Under the lock no listed descriptor is closed, so none has become another connection. */
    for (Client *client = clients->first; client; client = client->next)
        if (now - client->since > seconds_max[client->phase])
            shutdown(client->fd, SHUT_RDWR);
    pthread_mutex_unlock(&clients->lock);
}
