/* listen.c: see listen.h. */
#include "serve/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 512 };

typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} Address;

/* Sets *loopback; returns the address's size, 0 when host is none. */
static socklen_t parse(const char *host, uint16_t port, Address *out, bool *loopback)
{
    *out = (Address){0};
    if (inet_pton(AF_INET, host, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(port);
        *loopback = ntohl(out->v4.sin_addr.s_addr) >> 24 == 127;
        return sizeof out->v4;
    }
    if (inet_pton(AF_INET6, host, &out->v6.sin6_addr) == 1) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons(port);
        *loopback = IN6_IS_ADDR_LOOPBACK(&out->v6.sin6_addr);
        return sizeof out->v6;
    }
    return 0;
}

static bool fail_listen(int fd, const ListenOptions *o, Error *err)
{
    int number = errno;
    if (fd >= 0)
        close(fd);
    if (number == EADDRINUSE)
        return fail(err, ERR_CONFLICT, "port %u of %s is in use: choose another", o->port, o->host);
    return fail(err, number == EACCES ? ERR_DENIED : ERR_IO, "cannot listen on %s port %u: %s",
                o->host, o->port, strerror(number));
}

bool listen_open(int *fd, char *url, size_t room, const ListenOptions *o, Error *err)
{
    Address address;
    bool loopback;
    socklen_t size = parse(o->host, o->port, &address, &loopback);
    if (!size)
        return fail(err, ERR_INPUT, "'%.100s' is no IPv4 or IPv6 address", o->host);
    if (!loopback && !o->tls && !o->plain_allowed)
        return fail(err, ERR_DENIED, "listening on %s without TLS would send keys and texts in the "
                    "clear: give a certificate and key, or allow plain HTTP behind a proxy",
                    o->host);
    int made = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int on = 1;
    if (made < 0 || setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(made, &address.any, size) != 0 || listen(made, BACKLOG) != 0 ||
        getsockname(made, &address.any, &size) != 0)
        return fail_listen(made, o, err);
    bool v6 = address.any.sa_family == AF_INET6;
    snprintf(url, room, v6 ? "%s://[%s]:%u" : "%s://%s:%u", o->tls ? "https" : "http", o->host,
             ntohs(v6 ? address.v6.sin6_port : address.v4.sin_port));
    *fd = made;
    return true;
}
