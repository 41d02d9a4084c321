#include "bridge/broker_reach.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A connected descriptor, or -errno. */
static int attempt(const struct addrinfo *to, uint32_t wait_ms)
{
    const int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
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
    if (failed == 0)
        failed = fcntl(fd, F_SETFL, 0) < 0 ? errno : 0;
    if (failed == 0)
        return fd;
    close(fd);
    return -failed;
}

/* What is wrong with one address; of several each is named. Returns the length. */
static size_t tell(const struct addrinfo *at, bool several, int error, char *why, size_t size)
{
    char name[NI_MAXHOST] = "?";
    if (!several)
        return (size_t)snprintf(why, size, "%s", strerror(error));
    getnameinfo(at->ai_addr, at->ai_addrlen, name, sizeof name, NULL, 0, NI_NUMERICHOST);
    return (size_t)snprintf(why, size, "%s: %s%s", name, strerror(error),
                            at->ai_next != NULL ? "; " : "");
}

int broker_reach_open(const char *host, uint16_t port, uint32_t wait_ms, char *why, size_t why_size)
{
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const int unresolved = getaddrinfo(host, service, &hints, &found);
    if (unresolved != 0) {
        snprintf(why, why_size, "%s: %s", host, gai_strerror(unresolved));
        return -1;
    }
    int fd = -1;
    size_t len = 0;
    for (const struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next) {
        fd = attempt(at, wait_ms);
        if (fd < 0 && len < why_size)
            len += tell(at, found->ai_next != NULL, -fd, why + len, why_size - len);
    }
    freeaddrinfo(found);
    return fd < 0 ? -1 : fd;
}

bool broker_reach(const char *host, uint16_t port, uint32_t wait_ms, char *why, size_t why_size)
{
    const int fd = broker_reach_open(host, port, wait_ms, why, why_size);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}
