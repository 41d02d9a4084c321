#include "bridge/broker_wake.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CALM_MS       400 /* below the second that the library sleeps at most */
#define HURRY_MS      2
#define HURRY_LONG_MS 25 /* once a connection takes longer than HURRY_FOR_MS */
#define HURRY_FOR_MS  200

#define TYPE_CONNECT 0x10
#define TYPE_PINGREQ 0xC0

struct broker_wake {
    pthread_t thread;
    int listener;
    int peer;    /* the library's connection; -1: none */
    int control; /* an eventfd: something below has changed */
    atomic_bool quit;
    atomic_bool hurry;
    uint8_t packet[256]; /* the beginning of what the library has sent */
    size_t packet_len;
    size_t skip; /* octets of a longer packet that are still to come */
};

static int64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void drop_peer(struct broker_wake *w)
{
    close(w->peer);
    w->peer = -1;
}

static void say(struct broker_wake *w, const uint8_t *octets, size_t len)
{
    if (w->peer >= 0 && send(w->peer, octets, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
        errno != EAGAIN && errno != EINTR)
        drop_peer(w);
}

static void say_pingresp(struct broker_wake *w)
{
    static const uint8_t pingresp[] = {0xD0, 0x00};
    say(w, pingresp, sizeof pingresp);
}

/* Whether one of our own sockets has this local address. */
static bool is_ours(const struct sockaddr_in *peer)
{
    bool found = false;
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return false;
    for (const struct dirent *e = readdir(dir); e != NULL && !found; e = readdir(dir)) {
        struct sockaddr_in own = {0};
        socklen_t len = sizeof own;
        if (getsockname(atoi(e->d_name), (struct sockaddr *)&own, &len) == 0 &&
            own.sin_family == AF_INET && own.sin_port == peer->sin_port &&
            own.sin_addr.s_addr == peer->sin_addr.s_addr)
            found = true;
    }
    closedir(dir);
    return found;
}

static void take_peer(struct broker_wake *w)
{
    struct sockaddr_in from = {0};
    socklen_t len = sizeof from;
    const int fd =
        accept4(w->listener, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (!is_ours(&from)) {
        close(fd);
        return;
    }
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    w->peer = fd;
    close(w->listener);
    w->listener = -1;
}

/* The length of the packet at the start of what came, or 0 while its header is
 * not complete. MQTT 3.1.1, 2.2.3. */
static size_t packet_length(const uint8_t *p, size_t len)
{
    size_t rest = 0;
    for (size_t i = 1; i < len && i < 5; i++) {
        rest |= (size_t)(p[i] & 0x7F) << (7 * (i - 1));
        if ((p[i] & 0x80) == 0)
            return 1 + i + rest;
    }
    return 0;
}

static void answer(struct broker_wake *w, uint8_t type)
{
    static const uint8_t connack[] = {0x20, 0x02, 0x00, 0x00};
    if (type == TYPE_CONNECT)
        say(w, connack, sizeof connack);
    else if (type == TYPE_PINGREQ)
        say_pingresp(w);
}

static void hear(struct broker_wake *w)
{
    const ssize_t n =
        recv(w->peer, w->packet + w->packet_len, sizeof w->packet - w->packet_len, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        drop_peer(w);
    if (n <= 0)
        return;
    w->packet_len += (size_t)n;
    while (w->packet_len > 0) {
        const size_t skipped = w->skip < w->packet_len ? w->skip : w->packet_len;
        w->skip -= skipped;
        w->packet_len -= skipped;
        memmove(w->packet, w->packet + skipped, w->packet_len);
        const size_t len = packet_length(w->packet, w->packet_len);
        if (w->packet_len == 0 || len == 0)
            return;
        answer(w, w->packet[0] & 0xF0);
        w->skip = len;
    }
}

static void *run(void *ctx)
{
    struct broker_wake *w = ctx;
    int64_t hurry_since = 0;
    int64_t next = clock_ms() + CALM_MS;
    while (!w->quit) {
        const bool hurry = w->hurry;
        const int64_t now = clock_ms();
        if (!hurry)
            hurry_since = 0;
        else if (hurry_since == 0)
            hurry_since = now;
        const int64_t every = !hurry                             ? CALM_MS
                              : now - hurry_since < HURRY_FOR_MS ? HURRY_MS
                                                                 : HURRY_LONG_MS;
        if (now >= next) {
            say_pingresp(w);
            next = now + every;
        } else if (next > now + every) {
            next = now + every;
        }
        struct pollfd fds[] = {
            {.fd = w->control, .events = POLLIN},
            {.fd = w->peer >= 0 ? w->peer : w->listener, .events = POLLIN},
        };
        if (poll(fds, 2, (int)(next - now)) <= 0)
            continue;
        uint64_t count;
        if (fds[0].revents != 0 && read(w->control, &count, sizeof count) < 0)
            continue;
        if (fds[1].revents == 0)
            continue;
        if (w->peer >= 0)
            hear(w);
        else
            take_peer(w);
    }
    return NULL;
}

static void nudge(struct broker_wake *w)
{
    const uint64_t one = 1;
    const ssize_t n = write(w->control, &one, sizeof one);
    (void)n; /* it fails only when the counter is full, and then it is readable anyway */
}

static void release(struct broker_wake *w)
{
    if (w->peer >= 0)
        close(w->peer);
    if (w->listener >= 0)
        close(w->listener);
    if (w->control >= 0)
        close(w->control);
    free(w);
}

int broker_wake_open(struct broker_wake **out, char *url, size_t url_size)
{
    struct broker_wake *w = calloc(1, sizeof *w);
    if (w == NULL)
        return -ENOMEM;
    w->peer = -1;
    w->control = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int failed = 0;
    if (w->control < 0 || w->listener < 0 || bind(w->listener, (struct sockaddr *)&at, len) < 0 ||
        listen(w->listener, 4) < 0 || getsockname(w->listener, (struct sockaddr *)&at, &len) < 0)
        failed = errno;
    if (failed == 0)
        failed = pthread_create(&w->thread, NULL, run, w);
    if (failed != 0) {
        release(w);
        return -failed;
    }
    snprintf(url, url_size, "tcp://127.0.0.1:%u", ntohs(at.sin_port));
    *out = w;
    return 0;
}

void broker_wake_hurry(struct broker_wake *w)
{
    w->hurry = true;
    nudge(w);
}

void broker_wake_rest(struct broker_wake *w)
{
    w->hurry = false;
}

void broker_wake_close(struct broker_wake *w)
{
    if (w == NULL)
        return;
    w->quit = true;
    nudge(w);
    pthread_join(w->thread, NULL);
    release(w);
}
