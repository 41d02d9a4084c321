#include "bridge/broker_reach.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* 0, or the errno of the attempt. */
static int attempt(const struct addrinfo *to, uint32_t wait_ms)
{
    const int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    int failed = 0;
    if (connect(fd, to->ai_addr, to->ai_addrlen) < 0)
        failed = errno;
    if (failed == EINPROGRESS) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        socklen_t len = sizeof failed;
        if (poll(&p, 1, (int)wait_ms) <= 0)
            failed = ETIMEDOUT;
        else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len) < 0)
            failed = errno;
    }
    close(fd);
    return failed;
}

bool broker_reach(const char *host, uint16_t port, uint32_t wait_ms, char *why, size_t why_size)
{
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const int unresolved = getaddrinfo(host, service, &hints, &found);
    if (unresolved != 0) {
        snprintf(why, why_size, "%s: %s", host, gai_strerror(unresolved));
        return false;
    }
    const int failed = attempt(found, wait_ms);
    freeaddrinfo(found);
    if (failed != 0)
        snprintf(why, why_size, "%s", strerror(failed));
    return failed == 0;
}
