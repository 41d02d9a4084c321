#include "bridge/broker_paho.h"

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Every socket of every connection in this process: to tell a new one. */
static pthread_mutex_t sockets_lock = PTHREAD_MUTEX_INITIALIZER;
static struct connection *sockets;

/* ---- sockets ------------------------------------------------------------------------ */

static uint16_t address_port(const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)(const void *)a)->sin_port);
    if (a->ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)a)->sin6_port);
    return 0;
}

static bool is_claimed(ino_t ino)
{
    for (const struct connection *c = sockets; c != NULL; c = c->next_socket)
        if (c->ino == ino)
            return true;
    return false;
}

void paho_forget_socket(struct connection *c)
{
    pthread_mutex_lock(&sockets_lock);
    for (struct connection **p = &sockets; *p != NULL; p = &(*p)->next_socket) {
        if (*p == c) {
            *p = c->next_socket;
            break;
        }
    }
    c->ino = 0;
    if (c->held_fd >= 0)
        close(c->held_fd);
    c->held_fd = -1;
    pthread_mutex_unlock(&sockets_lock);
}

/* Paho tells nobody its socket. It is the one connected to the broker's port
 * that no other connection has claimed; if several are being made at once we
 * do not know which and do without. TCP_NODELAY: QoS 0 messages would wait up
 * to 40 ms for the acknowledgement of the one before. */
void paho_claim_socket(struct connection *c)
{
    pthread_mutex_lock(&sockets_lock);
    DIR *dir = opendir("/proc/self/fd");
    int found = 0;
    const struct dirent *e;
    while (dir != NULL && (e = readdir(dir)) != NULL) {
        const int fd = atoi(e->d_name);
        struct sockaddr_storage peer = {0};
        socklen_t len = sizeof peer;
        struct stat st;
        if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0 ||
            address_port(&peer) != c->broker->port || fstat(fd, &st) < 0 || is_claimed(st.st_ino))
            continue;
        /* The broker's end, when it lives in this process, has its port too, but
         * as its own. */
        const int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        c->fd = fd;
        c->ino = st.st_ino;
        found++;
    }
    if (dir != NULL)
        closedir(dir);
    if (found == 1) {
        c->next_socket = sockets;
        sockets = c;
    } else {
        c->ino = 0;
    }
    pthread_mutex_unlock(&sockets_lock);
}

void paho_each_socket(paho_socket_fn *fn, void *ctx)
{
    pthread_mutex_lock(&sockets_lock);
    for (struct connection *c = sockets; c != NULL; c = c->next_socket)
        fn(ctx, c);
    pthread_mutex_unlock(&sockets_lock);
}

static bool is_open(const struct connection *c)
{
    struct stat st;
    return c->ino != 0 && fstat(c->fd, &st) == 0 && st.st_ino == c->ino;
}

size_t paho_peek_socket(const struct connection *c, uint8_t *octets, size_t size)
{
    if (strncmp(c->broker->url, "tcp:", 4) != 0 && strncmp(c->broker->url, "mqtt:", 5) != 0)
        return 0;
    const ssize_t n = is_open(c) ? recv(c->fd, octets, size, MSG_PEEK | MSG_DONTWAIT) : 0;
    return n > 0 ? (size_t)n : 0;
}

bool paho_shut_socket(const struct connection *c)
{
    return is_open(c) && shutdown(c->fd, SHUT_RDWR) == 0;
}

/* By a descriptor of our own: Paho may close its one at any moment. */
void paho_hold_socket(struct connection *c)
{
    pthread_mutex_lock(&sockets_lock);
    if (c->ino != 0 && c->held_fd < 0)
        c->held_fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
    pthread_mutex_unlock(&sockets_lock);
}

bool paho_cut_socket(struct connection *c)
{
    pthread_mutex_lock(&sockets_lock);
    const bool cut = c->held_fd >= 0 && shutdown(c->held_fd, SHUT_RDWR) == 0;
    pthread_mutex_unlock(&sockets_lock);
    return cut;
}
