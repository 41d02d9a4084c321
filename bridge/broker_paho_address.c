#include "bridge/broker_paho.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Paho 1.3.12 looks the name up by itself, and takes of several addresses the first of IPv4, for
 * ever, and no zone of a link-local one. It cannot be given an address instead: by the name in
 * the URL it checks the certificate. So the addresses are looked up here, each attempt to connect
 * has one of them in turn, and where Paho connects to another of the same broker, it is
 * connected to that one: connect() below stands in front of the system's. */

#define FRESH_MS 1000 /* many sensors' connections are made at a time */

static pthread_mutex_t aims_lock = PTHREAD_MUTEX_INITIALIZER;
static struct broker *aims; /* brokers of this process with addresses */

/* Paho knows nothing of zones. */
static bool is_same(const struct sockaddr *a, const struct sockaddr_storage *b)
{
    if (a->sa_family != b->ss_family)
        return false;
    if (a->sa_family == AF_INET) {
        const struct sockaddr_in *x = (const void *)a;
        const struct sockaddr_in *y = (const void *)b;
        return x->sin_port == y->sin_port && x->sin_addr.s_addr == y->sin_addr.s_addr;
    }
    const struct sockaddr_in6 *x = (const void *)a;
    const struct sockaddr_in6 *y = (const void *)b;
    return a->sa_family == AF_INET6 && x->sin6_port == y->sin6_port &&
           memcmp(&x->sin6_addr, &y->sin6_addr, sizeof x->sin6_addr) == 0;
}

static bool is_of(const struct broker *b, const struct sockaddr *to)
{
    for (size_t i = 0; i < b->address_count; i++)
        if (is_same(to, &b->addresses[i]))
            return true;
    return false;
}

/* Our own thread means what it says: it finds out what is wrong with an address. */
static bool find_aim(const struct sockaddr *to, struct sockaddr_storage *aim)
{
    bool found = false;
    pthread_mutex_lock(&aims_lock);
    for (const struct broker *b = aims; b != NULL && !found; b = b->next_aim) {
        if (pthread_equal(pthread_self(), b->thread) || !is_of(b, to))
            continue;
        *aim = b->addresses[b->address];
        found = true;
    }
    pthread_mutex_unlock(&aims_lock);
    return found;
}

/* The same descriptor becomes a socket of the other family. */
static int change_family(int fd, int family)
{
    const int flags = fcntl(fd, F_GETFL);
    const int closes = fcntl(fd, F_GETFD) & FD_CLOEXEC;
    const int other = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (other < 0)
        return -1;
    fcntl(other, F_SETFL, flags);
    const int rc = dup3(other, fd, closes != 0 ? O_CLOEXEC : 0);
    close(other);
    return rc;
}

int connect(int fd, __CONST_SOCKADDR_ARG to, socklen_t len)
{
    const struct sockaddr *const address = to.__sockaddr__;
    struct sockaddr_storage aim;
    if ((address->sa_family != AF_INET && address->sa_family != AF_INET6) ||
        !find_aim(address, &aim))
        return (int)syscall(SYS_connect, fd, address, len);
    if (aim.ss_family != address->sa_family && change_family(fd, aim.ss_family) < 0)
        return -1;
    return (int)syscall(SYS_connect, fd, &aim,
                        aim.ss_family == AF_INET ? sizeof(struct sockaddr_in)
                                                 : sizeof(struct sockaddr_in6));
}

static size_t look_up(const struct broker *b, struct sockaddr_storage *found)
{
    char service[8];
    snprintf(service, sizeof service, "%u", b->port);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *all = NULL;
    size_t count = 0;
    if (getaddrinfo(b->host, service, &hints, &all) != 0)
        return 0; /* Paho will find out as well, and broker_reach() says why */
    for (const struct addrinfo *at = all; at != NULL && count < ADDRESSES_MAX; at = at->ai_next)
        if (at->ai_addrlen <= sizeof found[0])
            memcpy(&found[count++], at->ai_addr, at->ai_addrlen);
    freeaddrinfo(all);
    return count;
}

void paho_address_find(struct broker *b)
{
    if (b->address_count > 0 && paho_clock_ms() - b->addresses_ms < FRESH_MS)
        return;
    struct sockaddr_storage found[ADDRESSES_MAX] = {0};
    const size_t count = look_up(b, found);
    pthread_mutex_lock(&aims_lock);
    size_t same = 0;
    for (size_t i = 0; b->address_count > 0 && i < count; i++)
        if (memcmp(&found[i], &b->addresses[b->address], sizeof found[i]) == 0)
            same = i;
    memcpy(b->addresses, found, sizeof found);
    b->address_count = count;
    b->address = same;
    b->addresses_ms = paho_clock_ms();
    if (!b->aims) {
        b->aims = true;
        b->next_aim = aims;
        aims = b;
    }
    pthread_mutex_unlock(&aims_lock);
}

size_t paho_address(struct broker *b)
{
    pthread_mutex_lock(&aims_lock);
    const size_t address = b->address;
    pthread_mutex_unlock(&aims_lock);
    return address;
}

bool paho_address_next(struct connection *c)
{
    struct broker *b = c->broker;
    pthread_mutex_lock(&aims_lock);
    const bool more = ++c->addresses_tried < b->address_count;
    if (b->address_count > 1 && b->address == c->address)
        b->address = (b->address + 1) % b->address_count;
    pthread_mutex_unlock(&aims_lock);
    return more;
}

void paho_address_forget(struct broker *b)
{
    pthread_mutex_lock(&aims_lock);
    for (struct broker **p = &aims; *p != NULL; p = &(*p)->next_aim) {
        if (*p == b) {
            *p = b->next_aim;
            break;
        }
    }
    pthread_mutex_unlock(&aims_lock);
}
