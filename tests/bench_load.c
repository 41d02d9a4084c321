/* A load: many devices in one process, each with one message open at a time,
 * as MQTT-SN sensors over UDP or as plain MQTT 3.1.1 clients over TCP, so that a
 * bridge and a broker can be loaded in the same way. tests/bench runs it.
 *
 *   bench_load sn|mqtt PORT CLIENTS QOS SECONDS    how many messages per second
 *   bench_load sn|mqtt PORT CLIENTS idle           connects, then waits for the end of stdin
 *
 * Prints words "name=value". At QoS 0 a client sends GROUP messages and a ping
 * whose answer says that they were read, in both protocols. Frames are made by
 * hand: what is measured is the other side.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define GROUP          20
#define PAYLOAD        32
#define CONNECTING_MAX 200 /* clients that connect at the same time */
#define RETRY_NS       2000000000u
#define SLOTS          20000 /* of the histogram: 0 to 200 ms by 10 us */

enum state { NEW, CONNECT, REGISTER, READY, PUBLISHED, RELEASED, PINGED };

struct client {
    int fd;
    enum state state;
    bool tcp_up;
    uint16_t number;
    uint16_t mid;
    uint16_t tid;
    uint64_t sent_ns;
    uint8_t frame[96]; /* the last one, for a repeat */
    size_t frame_len;
    uint8_t in[16]; /* MQTT: what has come of a packet */
    size_t in_len;
};

static struct {
    bool mqtt;
    uint16_t port;
    int qos;
    int epoll;
    struct client *clients;
    uint32_t count;
    uint32_t next; /* client to connect next */
    uint32_t connected;
    bool publishing;
    uint64_t messages;
    uint64_t repeats;
    uint64_t slots[SLOTS];
} load;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "bench_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- frames ------------------------------------------------------------------ */

static void put_u16(uint8_t *out, uint16_t value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
}

static uint16_t get_u16(const uint8_t *in)
{
    return (uint16_t)(in[0] << 8 | in[1]);
}

static void transmit(struct client *c)
{
    /* A full socket buffer is a lost datagram, or, over TCP, cannot be: a client
     * waits for its answer before it sends more. */
    if (send(c->fd, c->frame, c->frame_len, MSG_NOSIGNAL) < 0 && errno != EAGAIN &&
        errno != ECONNREFUSED && errno != ENOBUFS)
        die("send");
}

static void send_connect(struct client *c)
{
    char id[16];
    const int len = snprintf(id, sizeof id, "b%05u", c->number);
    uint8_t *f = c->frame;
    if (load.mqtt) {
        static const uint8_t head[] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0x0E, 0x10};
        memcpy(f, head, sizeof head);
        f[1] = (uint8_t)(12 + len);
        put_u16(f + 12, (uint16_t)len);
        memcpy(f + 14, id, (size_t)len);
    } else {
        static const uint8_t head[] = {0, 0x04, 0x04, 0x01, 0x0E, 0x10};
        memcpy(f, head, sizeof head);
        f[0] = (uint8_t)(6 + len);
        memcpy(f + 6, id, (size_t)len);
    }
    c->frame_len = (load.mqtt ? 14u : 6u) + (size_t)len;
    c->state = CONNECT;
    transmit(c);
}

static size_t put_topic(const struct client *c, uint8_t *out)
{
    char text[24];
    const int len = snprintf(text, sizeof text, "bench/%05u", c->number);
    memcpy(out, text, (size_t)len);
    return (size_t)len;
}

static void send_register(struct client *c)
{
    const size_t len = put_topic(c, c->frame + 6);
    c->frame[0] = (uint8_t)(6 + len);
    c->frame[1] = 0x0A;
    put_u16(c->frame + 2, 0);
    put_u16(c->frame + 4, ++c->mid);
    c->frame_len = 6 + len;
    c->state = REGISTER;
    transmit(c);
}

static void put_publish(struct client *c)
{
    uint8_t *f = c->frame;
    if (load.mqtt) {
        const size_t topic = put_topic(c, f + 4);
        size_t at = 4 + topic;
        f[0] = (uint8_t)(0x30 | load.qos << 1);
        put_u16(f + 2, (uint16_t)topic);
        if (load.qos > 0) {
            put_u16(f + at, c->mid);
            at += 2;
        }
        memset(f + at, 'x', PAYLOAD);
        f[1] = (uint8_t)(at - 2 + PAYLOAD);
        c->frame_len = at + PAYLOAD;
    } else {
        f[0] = 7 + PAYLOAD;
        f[1] = 0x0C;
        f[2] = (uint8_t)(load.qos << 5);
        put_u16(f + 3, c->tid);
        put_u16(f + 5, load.qos > 0 ? c->mid : 0);
        memset(f + 7, 'x', PAYLOAD);
        c->frame_len = 7 + PAYLOAD;
    }
}

static void send_short(struct client *c, uint8_t sn_type, uint8_t mqtt_type)
{
    const bool ping = sn_type == 0x16;
    c->frame[0] = load.mqtt ? mqtt_type : (uint8_t)(ping ? 2 : 4);
    c->frame[1] = load.mqtt ? (uint8_t)(ping ? 0 : 2) : sn_type;
    put_u16(c->frame + 2, c->mid);
    c->frame_len = ping ? 2 : 4;
    transmit(c);
}

static void send_messages(struct client *c)
{
    c->sent_ns = now_ns();
    c->mid = (uint16_t)(c->mid % 65535 + 1);
    put_publish(c);
    if (load.qos > 0) {
        c->state = PUBLISHED;
        transmit(c);
        return;
    }
    for (int i = 0; i < GROUP; i++)
        transmit(c);
    c->state = PINGED;
    send_short(c, 0x16, 0xC0);
}

/* ---- answers ------------------------------------------------------------------- */

/* What both protocols mean by an answer. */
enum answer { CONNACK, REGACK, PUBACK, PUBREC, PUBCOMP, PINGRESP, OTHER };

static void done(struct client *c)
{
    const uint64_t slot = (now_ns() - c->sent_ns) / 10000;
    load.slots[slot < SLOTS ? slot : SLOTS - 1]++;
    load.messages += load.qos > 0 ? 1 : GROUP;
    c->state = READY;
    if (load.publishing)
        send_messages(c);
}

static void become_ready(struct client *c)
{
    c->state = READY;
    load.connected++;
}

static void take(struct client *c, enum answer answer, uint16_t mid)
{
    switch (answer) {
    case CONNACK:
        if (c->state == CONNECT && load.mqtt)
            become_ready(c);
        else if (c->state == CONNECT)
            send_register(c);
        break;
    case REGACK:
        if (c->state == REGISTER)
            become_ready(c);
        break;
    case PUBACK:
        if (c->state == PUBLISHED && load.qos == 1 && mid == c->mid)
            done(c);
        break;
    case PUBREC:
        if (c->state == PUBLISHED && load.qos == 2 && mid == c->mid) {
            c->state = RELEASED;
            send_short(c, 0x10, 0x62);
        }
        break;
    case PUBCOMP:
        if (c->state == RELEASED && mid == c->mid)
            done(c);
        break;
    case PINGRESP:
        if (c->state == PINGED)
            done(c);
        break;
    case OTHER:
        fprintf(stderr, "bench_load: client %u was refused\n", c->number);
        exit(1);
    }
}

static void take_frame(struct client *c, const uint8_t *f, size_t len)
{
    if (len < 2 || f[0] != len)
        return;
    switch (f[1]) {
    case 0x05:
        take(c, len == 3 && f[2] == 0 ? CONNACK : OTHER, 0);
        break;
    case 0x0B:
        c->tid = len == 7 ? get_u16(f + 2) : 0;
        take(c, len == 7 && f[6] == 0 ? REGACK : OTHER, 0);
        break;
    case 0x0D: /* congestion: the repeat asks again */
        if (len == 7 && f[6] == 0)
            take(c, PUBACK, get_u16(f + 4));
        break;
    case 0x0F:
        take(c, PUBREC, get_u16(f + 2));
        break;
    case 0x0E:
        take(c, PUBCOMP, get_u16(f + 2));
        break;
    case 0x17:
        take(c, PINGRESP, 0);
        break;
    default:
        take(c, OTHER, 0);
    }
}

static void take_packet(struct client *c, const uint8_t *p)
{
    switch (p[0] & 0xF0) {
    case 0x20:
        take(c, p[3] == 0 ? CONNACK : OTHER, 0);
        break;
    case 0x40:
        take(c, PUBACK, get_u16(p + 2));
        break;
    case 0x50:
        take(c, PUBREC, get_u16(p + 2));
        break;
    case 0x70:
        take(c, PUBCOMP, get_u16(p + 2));
        break;
    case 0xD0:
        take(c, PINGRESP, 0);
        break;
    default:
        take(c, OTHER, 0);
    }
}

static void readable(struct client *c)
{
    uint8_t frame[512];
    for (;;) {
        if (!load.mqtt) {
            const ssize_t len = recv(c->fd, frame, sizeof frame, 0);
            if (len < 0)
                return;
            take_frame(c, frame, (size_t)len);
            continue;
        }
        const ssize_t len = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, 0);
        if (len < 0 && errno == EAGAIN)
            return;
        if (len <= 0)
            die("the broker closed a connection");
        c->in_len += (size_t)len;
        while (c->in_len >= 2 && c->in_len >= 2u + c->in[1]) {
            const size_t whole = 2u + c->in[1];
            take_packet(c, c->in);
            c->in_len -= whole;
            memmove(c->in, c->in + whole, c->in_len);
        }
    }
}

/* ---- the loop -------------------------------------------------------------------- */

static void open_client(struct client *c)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons(load.port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, (load.mqtt ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        die("socket");
    if (connect(c->fd, (const struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
        die("connect");
    struct epoll_event e = {.events = load.mqtt ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, c->fd, &e) < 0)
        die("epoll");
    c->sent_ns = now_ns();
    if (!load.mqtt)
        send_connect(c);
}

/* Lets the next clients connect, and repeats what is not answered. */
static void tend(uint64_t now, uint64_t *next_scan)
{
    while (load.next < load.count && load.next - load.connected < CONNECTING_MAX)
        open_client(&load.clients[load.next++]);
    if (load.mqtt || now < *next_scan)
        return;
    *next_scan = now + RETRY_NS / 4;
    for (uint32_t i = 0; i < load.next; i++) {
        struct client *c = &load.clients[i];
        if (c->state == READY || now < c->sent_ns + RETRY_NS)
            continue;
        c->sent_ns = now;
        if (c->state == PUBLISHED)
            c->frame[2] |= 0x80; /* DUP */
        load.repeats++;
        transmit(c);
    }
}

static void turn(int wait_ms)
{
    struct epoll_event events[256];
    const int count = epoll_wait(load.epoll, events, 256, wait_ms);
    for (int i = 0; i < count; i++) {
        struct client *c = events[i].data.ptr;
        if (load.mqtt && !c->tcp_up && (events[i].events & EPOLLOUT)) {
            struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
            c->tcp_up = true;
            epoll_ctl(load.epoll, EPOLL_CTL_MOD, c->fd, &e);
            send_connect(c);
        }
        if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
            readable(c);
    }
}

static double percentile(double part)
{
    uint64_t all = 0;
    uint64_t seen = 0;
    for (size_t i = 0; i < SLOTS; i++)
        all += load.slots[i];
    for (size_t i = 0; i < SLOTS; i++) {
        seen += load.slots[i];
        if ((double)seen >= part * (double)all)
            return (double)(i + 1) / 100;
    }
    return 0;
}

static double connect_all(void)
{
    const uint64_t begin = now_ns();
    uint64_t scan = begin;
    while (load.connected < load.count) {
        tend(now_ns(), &scan);
        turn(10);
    }
    return (double)load.count * 1e9 / (double)(now_ns() - begin);
}

static void publish_for(double seconds)
{
    const uint64_t begin = now_ns();
    const uint64_t end = begin + (uint64_t)(seconds * 1e9);
    uint64_t scan = begin;
    uint64_t now;
    load.publishing = true;
    for (uint32_t i = 0; i < load.count; i++)
        send_messages(&load.clients[i]);
    while ((now = now_ns()) < end) {
        turn(10);
        tend(now, &scan);
    }
    printf(" messages_per_s=%.0f p50_ms=%.2f p99_ms=%.2f repeats=%llu",
           (double)load.messages * 1e9 / (double)(now - begin), percentile(0.5), percentile(0.99),
           (unsigned long long)load.repeats);
}

static void raise_limit(void)
{
    struct rlimit l;
    getrlimit(RLIMIT_NOFILE, &l);
    l.rlim_cur = l.rlim_max;
    setrlimit(RLIMIT_NOFILE, &l);
    if (l.rlim_cur < load.count + 16u) {
        fprintf(stderr, "bench_load: ulimit -n allows only %llu files\n",
                (unsigned long long)l.rlim_cur);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    const bool idle = argc == 5 && strcmp(argv[4], "idle") == 0;
    if (argc < 2 || (strcmp(argv[1], "sn") != 0 && strcmp(argv[1], "mqtt") != 0) ||
        (argc != 6 && !idle)) {
        fprintf(stderr, "usage: %s sn|mqtt PORT CLIENTS QOS SECONDS | idle\n", argv[0]);
        return 2;
    }
    load.mqtt = strcmp(argv[1], "mqtt") == 0;
    load.port = (uint16_t)atoi(argv[2]);
    load.count = (uint32_t)atoi(argv[3]);
    load.qos = idle ? 0 : atoi(argv[4]);
    raise_limit();
    load.epoll = epoll_create1(0);
    load.clients = calloc(load.count, sizeof *load.clients);
    for (uint32_t i = 0; i < load.count; i++)
        load.clients[i].number = (uint16_t)i;
    printf("connects_per_s=%.0f", connect_all());
    if (!idle)
        publish_for(atof(argv[5]));
    putchar('\n');
    fflush(stdout);
    if (idle)
        while (getchar() != EOF)
            continue;
    return 0;
}
