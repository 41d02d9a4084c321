#include "bridge/broker_paho.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* MQTT 3.1.1 has no word for "that is too large for me": a broker sends whatever somebody has
 * published, and Paho reads all of it into memory, three times over, before it shows it to us.
 * So what comes in is counted by the kernel's figures. Where more comes than the largest packet
 * of use, and no packet ends, the connection is cut.
 *
 * The same message comes again when the session is taken up, if its QoS is not 0. So a session
 * that was cut twice in short time is given up, with everything that the broker has for it. */

#define SLACK_OCTETS 262144u /* packets whose end we do not hear of, and what TLS adds */
#define PING_OCTETS  128u    /* the same, for each answer to a PINGREQ */
#define PAUSE_MS     5       /* between two looks at a line on which something comes */
#define AGAIN_MS     120000  /* cut again so soon: the session brings it again */

struct meter {
    struct broker *broker;
    struct pollfd *fds; /* the first is the eventfd */
    size_t size;
};

void paho_meter_packet(struct connection *c)
{
    atomic_fetch_add_explicit(&c->packets, 1, memory_order_relaxed);
}

/* Octets that Paho has taken from the socket, of all that came. */
static uint64_t octets_read(int fd)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    int unread = 0;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 || ioctl(fd, FIONREAD, &unread) < 0)
        return 0;
    return info.tcpi_bytes_received - (uint64_t)unread;
}

static void cut(struct connection *c, uint64_t octets)
{
    struct broker *b = c->broker;
    const int64_t now_ms = paho_clock_ms();
    pthread_mutex_lock(&b->lock);
    const bool again = c->metered_cut_ms != 0 && now_ms - c->metered_cut_ms < AGAIN_MS;
    c->metered_cut = true;
    c->metered_cut_ms = now_ms;
    c->start_over = c->start_over || again;
    b->figures.oversized++;
    snprintf(c->why, sizeof c->why,
             "cut: the broker sends a packet of more than %llu octets, and no link carries more "
             "than %u%s",
             (unsigned long long)octets, b->options.max_packet,
             again ? "; the session that brings it is given up, with all that waits in it" : "");
    pthread_mutex_unlock(&b->lock);
    shutdown(c->held_fd, SHUT_RDWR);
}

/* With the lock of sockets: nobody closes it meanwhile. */
static void look(void *ctx, struct connection *c)
{
    struct meter *m = ctx;
    if (c->broker != m->broker || c->held_fd < 0 || c->metered_cut)
        return;
    const uint32_t packets = atomic_load_explicit(&c->packets, memory_order_relaxed);
    const uint64_t octets = octets_read(c->held_fd);
    const int64_t now_ms = paho_clock_ms();
    if (packets != c->metered_packets || octets < c->metered_octets) {
        c->metered_packets = packets;
        c->metered_octets = octets;
        c->metered_ms = now_ms;
    }
    const uint64_t pings = 1 + (uint64_t)(now_ms - c->metered_ms) / 1000 / c->keepalive_s;
    const uint64_t octets_max = m->broker->options.max_packet + SLACK_OCTETS + pings * PING_OCTETS;
    if (octets - c->metered_octets > octets_max)
        cut(c, octets - c->metered_octets);
}

static void count(void *ctx, struct connection *c)
{
    struct meter *m = ctx;
    if (c->broker != m->broker || c->held_fd < 0)
        return;
    struct pollfd *fds = realloc(m->fds, (m->size + 1) * sizeof *fds);
    if (fds == NULL)
        return;
    m->fds = fds;
    m->fds[m->size++] = (struct pollfd){.fd = c->held_fd, .events = POLLIN};
}

/* A descriptor that is closed, or used for something else by now, wakes us for nothing. */
static void *run(void *ctx)
{
    struct broker *b = ctx;
    struct meter m = {.broker = b, .fds = paho_allocate(sizeof *m.fds)};
    m.fds[0] = (struct pollfd){.fd = b->meter_fd, .events = POLLIN};
    uint64_t changes;
    while (!atomic_load(&b->meter_quit)) {
        m.size = 1;
        paho_each_socket(count, &m);
        if (poll(m.fds, m.size, -1) < 0 && errno != EINTR)
            break;
        if (read(b->meter_fd, &changes, sizeof changes) < 0)
            poll(NULL, 0, PAUSE_MS);
        paho_each_socket(look, &m);
    }
    free(m.fds);
    return NULL;
}

static void wake(const struct broker *b)
{
    const uint64_t one = 1;
    const ssize_t put = write(b->meter_fd, &one, sizeof one);
    (void)put;
}

void paho_meter_watch(struct connection *c)
{
    struct broker *b = c->broker;
    if (c->handle_protocol == PROTOCOL_5 || b->options.max_packet == 0)
        return;
    c->metered_cut = false;
    c->metered_octets = 0;
    c->metered_ms = paho_clock_ms();
    paho_hold_socket(c);
    if (b->meter_fd < 0) {
        b->meter_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        b->meter_runs = b->meter_fd >= 0 && pthread_create(&b->meter, NULL, run, b) == 0;
    }
    if (b->meter_runs)
        wake(b);
}

void paho_meter_stop(struct broker *b)
{
    if (b->meter_runs) {
        atomic_store(&b->meter_quit, true);
        wake(b);
        pthread_join(b->meter, NULL);
    }
    if (b->meter_fd >= 0)
        close(b->meter_fd);
}
