/* listen.h: the socket a server listens on. Threads: any. */
#pragma once
#include "base/error.h"

#include <stdint.h>

typedef struct {
    const char *host; /* a numeric IPv4 or IPv6 address: names are never looked up */
    uint16_t port;    /* 0: any free one */
    bool tls, plain_allowed;
} ListenOptions;

/* Errors: ERR_DENIED for an address beyond this machine without TLS and without plain_allowed,
 * ERR_CONFLICT when the port is taken, ERR_INPUT for what is no address. url receives
 * "http://127.0.0.1:8080". The caller closes *fd. */
bool listen_open(int *fd, char *url, size_t room, const ListenOptions *options,
                 Error *err) MUST_CHECK;
