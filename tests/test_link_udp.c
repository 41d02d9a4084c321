#include "radio/link_udp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATIENCE_MS 5000

/* The kernel's part of sending, made to refuse: loopback never does by itself. */
static unsigned kernel_takes = UINT_MAX; /* datagrams until it is full */
static unsigned kernel_refuses;          /* calls that report an old ECONNREFUSED first */

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    if (kernel_refuses > 0) {
        kernel_refuses--;
        errno = ECONNREFUSED;
        return -1;
    }
    if (kernel_takes == 0) {
        errno = EAGAIN;
        return -1;
    }
    const unsigned taken = count < kernel_takes ? count : kernel_takes;
    kernel_takes -= kernel_takes == UINT_MAX ? 0 : taken;
    return (int)syscall(SYS_sendmmsg, fd, messages, taken, flags);
}

/* What a link handed out. */
struct inbox {
    size_t frames;
    struct radio_address from;
    uint8_t last[70000];
    size_t last_len;
    uint64_t sum; /* of the first two octets of every frame */
};

static void keep(void *ctx, const struct radio_address *from, const uint8_t *frame, size_t len)
{
    struct inbox *const in = ctx;
    in->frames++;
    in->from = *from;
    memcpy(in->last, frame, len);
    in->last_len = len;
    in->sum += len >= 2 ? (uint64_t)frame[0] << 8 | frame[1] : 0;
}

static struct inbox inbox;

static struct radio_link *open_link(const struct radio_udp_options *o)
{
    struct radio_link *l = NULL;
    char why[200] = "";
    const int rc = radio_udp_open(o, &l, why, sizeof(why));
    if (rc != 0) {
        print_error("%s\n", why);
    }
    assert_int_equal(rc, 0);
    assert_string_equal(why, "");
    assert_true(radio_base(l)->up);
    memset(&inbox, 0, sizeof(inbox));
    return l;
}

static struct radio_link *open_on(const char *listen)
{
    return open_link(&(struct radio_udp_options){.listen = listen});
}

static void close_link(struct radio_link *l)
{
    radio_base(l)->ops->close(l);
}

/* Lets a link receive until it has handed out so many frames. */
static void receive(struct radio_link *l, size_t frames)
{
    const struct radio_ops *const ops = radio_base(l)->ops;
    while (inbox.frames < frames) {
        struct pollfd p = {.fd = ops->fd(l), .events = POLLIN};
        assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
        ops->receive(l, 0, keep, &inbox);
    }
}

static void send_now(struct radio_link *l, const struct radio_address *to, const void *frame,
                     size_t len)
{
    assert_int_equal(radio_base(l)->ops->send(l, to, frame, len), 0);
    radio_base(l)->ops->flush(l);
}

static const char *text_of(struct radio_link *l, const struct radio_address *a)
{
    static char text[80];
    const size_t n = radio_base(l)->ops->print_address(a, text, sizeof(text));
    assert_int_equal(n, strlen(text));
    return text;
}

static struct radio_address address_of(const char *host, uint16_t port)
{
    char text[80];
    struct radio_address a = {0};
    snprintf(text, sizeof(text), "%s:%u", host, (unsigned)port);
    assert_int_equal(radio_udp_resolve(text, &a), 0);
    return a;
}

static void frames_go_both_ways(const char *host, const char *any)
{
    struct radio_link *const gateway = open_on(any);
    struct radio_link *const sensor = open_on(any);
    const struct radio_address to = address_of(host, radio_udp_port(gateway));
    const uint8_t ping[] = {2, 0x16};
    const uint8_t pong[] = {2, 0x17};

    assert_int_not_equal(radio_udp_port(gateway), 0);
    send_now(sensor, &to, ping, sizeof(ping));
    receive(gateway, 1);
    assert_int_equal(inbox.last_len, 2);
    assert_memory_equal(inbox.last, ping, 2);
    char expected[80];
    snprintf(expected, sizeof(expected), "%s:%u", host, (unsigned)radio_udp_port(sensor));
    assert_string_equal(text_of(gateway, &inbox.from), expected);

    send_now(gateway, &inbox.from, pong, sizeof(pong));
    receive(sensor, 2);
    assert_memory_equal(inbox.last, pong, 2);
    assert_int_equal(inbox.from.len, to.len);
    assert_memory_equal(&inbox.from, &to, sizeof(to));

    assert_int_equal(radio_base(gateway)->count.frames_in, 1);
    assert_int_equal(radio_base(gateway)->count.bytes_in, 2);
    assert_int_equal(radio_base(gateway)->count.frames_out, 1);
    assert_int_equal(radio_base(gateway)->count.bytes_out, 2);
    assert_int_equal(radio_base(gateway)->count.dropped_out, 0);
    close_link(gateway);
    close_link(sensor);
}

static void frames_go_both_ways_over_ipv4(void **state)
{
    (void)state;
    frames_go_both_ways("127.0.0.1", "127.0.0.1:0");
}

static void frames_go_both_ways_over_ipv6(void **state)
{
    (void)state;
    frames_go_both_ways("[::1]", "[::1]:0");
}

static void one_port_serves_both_families_with_two_links(void **state)
{
    struct radio_link *const v4 = open_on("0.0.0.0:0");
    char listen[32];
    (void)state;

    snprintf(listen, sizeof(listen), "[::]:%u", (unsigned)radio_udp_port(v4));
    struct radio_link *const v6 = open_on(listen);
    struct radio_address to = address_of("127.0.0.1", radio_udp_port(v4));
    struct radio_link *const sensor = open_on(radio_udp_any(&to));
    send_now(sensor, &to, "\x02\x16", 2);
    receive(v4, 1);
    close_link(sensor);
    to = address_of("[::1]", radio_udp_port(v4));
    struct radio_link *const sensor6 = open_on(radio_udp_any(&to));
    send_now(sensor6, &to, "\x02\x16", 2);
    receive(v6, 1);
    close_link(sensor6);
    close_link(v4);
    close_link(v6);
}

/* A fleet wakes up in the same second while the loop is busy elsewhere: nothing
 * is read until everything has been sent. */
static void a_burst_of_a_thousand_sensors_is_received_whole(void **state)
{
    struct radio_link *const gateway = open_on("127.0.0.1:0");
    struct radio_link *const sensors = open_on("127.0.0.1:0");
    const struct radio_address to = address_of("127.0.0.1", radio_udp_port(gateway));
    uint8_t frame[64] = {0};
    (void)state;

    for (unsigned i = 0; i < 1000; i++) {
        frame[0] = (uint8_t)(i >> 8);
        frame[1] = (uint8_t)i;
        assert_int_equal(radio_base(sensors)->ops->send(sensors, &to, frame, sizeof(frame)), 0);
    }
    radio_base(sensors)->ops->flush(sensors);
    assert_int_equal(radio_base(sensors)->count.frames_out, 1000);
    receive(gateway, 1000);
    assert_int_equal(inbox.frames, 1000);
    assert_int_equal(inbox.sum, 1000 * 999 / 2);
    assert_int_equal(radio_base(gateway)->count.dropped_in, 0);
    close_link(gateway);
    close_link(sensors);
}

static void what_the_kernel_dropped_is_counted(void **state)
{
    struct radio_link *const gateway =
        open_link(&(struct radio_udp_options){.listen = "127.0.0.1:0", .kernel_buffer = 4096});
    struct radio_link *const sensors = open_on("127.0.0.1:0");
    const struct radio_address to = address_of("127.0.0.1", radio_udp_port(gateway));
    const uint8_t frame[64] = {0};
    (void)state;

    for (unsigned i = 0; i < 500; i++) {
        assert_int_equal(radio_base(sensors)->ops->send(sensors, &to, frame, sizeof(frame)), 0);
    }
    radio_base(sensors)->ops->flush(sensors);
    receive(gateway, 1);
    const size_t first = inbox.frames;
    assert_in_range(first, 1, 499);
    /* The count comes along with the next datagram that finds room. */
    send_now(sensors, &to, frame, sizeof(frame));
    receive(gateway, first + 1);
    assert_int_equal(radio_base(gateway)->count.dropped_in, 500 - first);
    assert_int_equal(radio_base(gateway)->count.frames_in, first + 1);
    close_link(gateway);
    close_link(sensors);
}

static void a_frame_above_the_limit_is_refused_and_one_received_is_damage(void **state)
{
    struct radio_link *const gateway =
        open_link(&(struct radio_udp_options){.listen = "127.0.0.1:0", .frame_max = 100});
    struct radio_link *const sensor = open_on("127.0.0.1:0");
    const struct radio_address to = address_of("127.0.0.1", radio_udp_port(gateway));
    const uint8_t frame[101] = {0};
    (void)state;

    send_now(sensor, &to, frame, 101);
    send_now(sensor, &to, frame, 0);
    send_now(sensor, &to, frame, 100);
    receive(gateway, 1);
    assert_int_equal(inbox.last_len, 100);
    assert_int_equal(radio_base(gateway)->count.bad_frames, 2);
    assert_int_equal(radio_base(gateway)->ops->send(gateway, &inbox.from, frame, 101), -EMSGSIZE);
    assert_int_equal(radio_base(gateway)->count.dropped_out, 1);
    close_link(gateway);
    close_link(sensor);
}

static void the_largest_datagram_passes(void **state)
{
    const struct radio_udp_options o = {.listen = "127.0.0.1:0", .frame_max = SIZE_MAX};
    struct radio_link *const gateway = open_link(&o);
    struct radio_link *const sensor = open_link(&o);
    const struct radio_address to = address_of("127.0.0.1", radio_udp_port(gateway));
    static uint8_t frame[RADIO_UDP_FRAME_MAX];
    (void)state;

    memset(frame, 0x5A, sizeof(frame));
    send_now(sensor, &to, frame, sizeof(frame));
    receive(gateway, 1);
    assert_int_equal(inbox.last_len, sizeof(frame));
    assert_memory_equal(inbox.last, frame, sizeof(frame));
    close_link(gateway);
    close_link(sensor);
}

/* Nobody listens at the first address, the second cannot be sent to at all; the
 * frames before, between and after still arrive. */
static void peers_that_cannot_be_reached_do_not_disturb_the_others(void **state)
{
    struct radio_link *const gateway = open_on("127.0.0.1:0");
    struct radio_link *const sensor = open_on("127.0.0.1:0");
    struct radio_link *const gone = open_on("127.0.0.1:0");
    const struct radio_address good = address_of("127.0.0.1", radio_udp_port(sensor));
    const struct radio_address dead = address_of("127.0.0.1", radio_udp_port(gone));
    const struct radio_address no_port = address_of("127.0.0.1", 0);
    const struct radio_ops *const ops = radio_base(gateway)->ops;
    (void)state;

    close_link(gone);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(ops->send(gateway, &dead, (const uint8_t *)"\x02\x17", 2), 0);
        assert_int_equal(ops->send(gateway, &no_port, (const uint8_t *)"\x02\x17", 2), 0);
        assert_int_equal(ops->send(gateway, &good, (const uint8_t *)"\x02\x17", 2), 0);
    }
    ops->flush(gateway);
    receive(sensor, 50);
    ops->receive(gateway, 0, keep, &inbox);
    assert_true(radio_base(gateway)->up);
    assert_int_equal(radio_base(gateway)->count.frames_out, 100);
    assert_int_equal(radio_base(gateway)->count.dropped_out, 50);
    close_link(gateway);
    close_link(sensor);
}

static void addresses_of_another_kind_of_link_are_refused(void **state)
{
    struct radio_link *const l = open_on("127.0.0.1:0");
    const struct radio_address none = {0};
    const struct radio_address v6 = address_of("[::1]", 5000);
    struct radio_address odd = address_of("127.0.0.1", 5000);
    const uint8_t frame[] = {2, 0x17};
    (void)state;

    odd.bytes[0] = 9;
    assert_int_equal(radio_base(l)->ops->send(l, &none, frame, 2), -ENODEV);
    assert_int_equal(radio_base(l)->ops->send(l, &v6, frame, 2), -ENODEV);
    assert_int_equal(radio_base(l)->ops->send(l, &odd, frame, 2), -ENODEV);
    assert_int_equal(radio_base(l)->count.dropped_out, 3);
    assert_string_equal(text_of(l, &none), "");
    assert_string_equal(text_of(l, &odd), "");
    close_link(l);
}

static void the_address_of_a_peer_is_the_same_in_every_run(void **state)
{
    (void)state;
    const struct radio_address v4 = address_of("192.0.2.7", 5000);
    const uint8_t v4_bytes[] = {4, 0x13, 0x88, 192, 0, 2, 7};
    assert_int_equal(v4.len, sizeof(v4_bytes));
    assert_memory_equal(v4.bytes, v4_bytes, sizeof(v4_bytes));

    const struct radio_address v6 = address_of("[2001:db8::7]", 5000);
    const uint8_t v6_bytes[23] = {6, 0x13, 0x88, 0x20, 1, 0x0D, 0xB8, [18] = 7};
    assert_int_equal(v6.len, sizeof(v6_bytes));
    assert_memory_equal(v6.bytes, v6_bytes, sizeof(v6_bytes));

    struct radio_link *const l = open_on("127.0.0.1:0");
    assert_string_equal(text_of(l, &v4), "192.0.2.7:5000");
    assert_string_equal(text_of(l, &v6), "[2001:db8::7]:5000");
    assert_string_equal(text_of(l, &(struct radio_address){0}), "");
    char small[8];
    assert_int_equal(radio_base(l)->ops->print_address(&v4, small, sizeof(small)), 7);
    assert_string_equal(small, "192.0.2");
    close_link(l);
}

static void a_link_local_peer_carries_its_interface(void **state)
{
    struct radio_link *const l = open_on("127.0.0.1:0");
    const struct radio_address a = address_of("[fe80::1%lo]", 7);
    (void)state;

    assert_string_equal(text_of(l, &a), "[fe80::1%lo]:7");
    close_link(l);
}

static void text_that_is_no_address_is_refused(void **state)
{
    const char *const bad[] = {"",         "127.0.0.1",      "127.0.0.1:",   "127.0.0.1:x",
                               ":1883",    "127.0.0.1:1x",   "127.0.0.1:-1", "127.0.0.1:65536",
                               "::1:1883", "[::1]1883",      "[::1:1883",    "[]:1883",
                               "[:1883",   "127.0.0.1: 1883"};
    struct radio_address a = {.len = 3};
    (void)state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(radio_udp_resolve(bad[i], &a), -EINVAL);
    }
    assert_int_equal(a.len, 3);
    assert_int_equal(radio_udp_resolve("127.0.0.1.5:1883", &a), -ENOENT);
    assert_int_equal(radio_udp_resolve("localhost:1883", &a), 0);
}

static void assert_refused(const struct radio_udp_options *o, int rc, const char *line)
{
    struct radio_link *l = NULL;
    char why[200] = "";
    assert_int_equal(radio_udp_open(o, &l, why, sizeof(why)), rc);
    assert_string_equal(why, line);
    assert_null(l);
}

static void what_cannot_be_opened_says_why_in_one_line(void **state)
{
    struct radio_link *const first = open_on("127.0.0.1:0");
    char listen[32];
    char line[200];
    (void)state;

    snprintf(listen, sizeof(listen), "127.0.0.1:%u", (unsigned)radio_udp_port(first));
    snprintf(line, sizeof(line), "cannot listen on %s (UDP): the port is in use by another program",
             listen);
    assert_refused(&(struct radio_udp_options){.listen = listen}, -EADDRINUSE, line);
    close_link(first);

    assert_refused(&(struct radio_udp_options){.listen = "1883"}, -EINVAL,
                   "cannot listen on 1883 (UDP): expected host:port or [address]:port");
    assert_refused(&(struct radio_udp_options){.listen = "203.0.113.1:0"}, -EADDRNOTAVAIL,
                   "cannot listen on 203.0.113.1:0 (UDP): no interface has this address");
    assert_refused(&(struct radio_udp_options){.listen = "127.0.0.1:0", .group = "10.0.0.1:1884"},
                   -EINVAL,
                   "cannot join the group 10.0.0.1:1884 (UDP): this is no multicast address");
    assert_refused(
        &(struct radio_udp_options){.listen = "127.0.0.1:0", .group = "[ff02::7]:1884"}, -EINVAL,
        "cannot join the group [ff02::7]:1884 (UDP): its family is not that of the listening "
        "address");
    assert_refused(
        &(struct radio_udp_options){
            .listen = "127.0.0.1:0", .group = "225.1.1.1:1884", .group_interface = "none0"},
        -ENODEV, "cannot join the group 225.1.1.1:1884 (UDP): there is no such interface");
}

/* A port that was free a moment ago, so that runs side by side do not meet. */
static uint16_t free_port(void)
{
    struct radio_link *const l = open_on("0.0.0.0:0");
    const uint16_t port = radio_udp_port(l);
    close_link(l);
    return port;
}

static const char *with_port(const char *host, uint16_t port)
{
    static char text[2][80];
    static unsigned next;
    next = !next;
    snprintf(text[next], sizeof(text[next]), "%s:%u", host, (unsigned)port);
    return text[next];
}

static void no_descriptor_is_inherited_by_a_child(void **state)
{
    enum { FDS = 256 };
    bool was_open[FDS];
    unsigned opened = 0;
    (void)state;

    const char *const group = with_port("225.1.1.1", free_port());
    for (int fd = 0; fd < FDS; fd++) {
        was_open[fd] = fcntl(fd, F_GETFD) >= 0;
    }
    struct radio_link *const l = open_link(&(struct radio_udp_options){
        .listen = "127.0.0.1:0", .group = group, .group_interface = "lo"});
    for (int fd = 0; fd < FDS; fd++) {
        const int flags = fcntl(fd, F_GETFD);
        if (flags >= 0 && !was_open[fd]) {
            assert_int_equal(flags & FD_CLOEXEC, FD_CLOEXEC);
            opened++;
        }
    }
    assert_int_equal(opened, 3);
    close_link(l);
}

static uint16_t port_of(const struct radio_address *a)
{
    return (uint16_t)(a->bytes[1] << 8 | a->bytes[2]);
}

/* A sensor asks the group; the answer comes from the listening port, to the
 * sensor alone. Frames sent to the group leave from there, too. */
static void the_group_is_heard_and_spoken_to(const char *listen, const char *group,
                                             const char *interface)
{
    const struct radio_udp_options o = {
        .listen = listen, .group = group, .group_interface = interface};
    struct radio_link *const gateway = open_link(&o);
    struct radio_link *const sensor = open_link(&o);
    struct radio_address to;
    const uint8_t searchgw[] = {3, 1, 0};
    const uint8_t gwinfo[] = {3, 2, 1};
    const uint8_t advertise[] = {5, 0, 1, 0, 60};

    assert_true(radio_udp_group(sensor, &to));
    send_now(sensor, &to, searchgw, sizeof(searchgw));
    receive(gateway, 1);
    assert_memory_equal(inbox.last, searchgw, sizeof(searchgw));
    assert_int_equal(port_of(&inbox.from), radio_udp_port(sensor));

    send_now(gateway, &inbox.from, gwinfo, sizeof(gwinfo));
    receive(sensor, 3); /* its own SEARCHGW comes back to it as well */
    assert_int_equal(radio_base(sensor)->count.frames_in, 2);

    assert_true(radio_udp_group(gateway, &to));
    send_now(gateway, &to, advertise, sizeof(advertise));
    receive(sensor, 4);
    assert_memory_equal(inbox.last, advertise, sizeof(advertise));
    assert_int_equal(port_of(&inbox.from), radio_udp_port(gateway));

    receive(gateway, 5); /* its own ADVERTISE */
    assert_int_equal(radio_base(gateway)->count.frames_in, 2);
    close_link(gateway);
    close_link(sensor);
}

static void a_group_is_heard_and_spoken_to(void **state)
{
    (void)state;
    the_group_is_heard_and_spoken_to("127.0.0.1:0", with_port("225.1.1.1", free_port()), "lo");
}

/* The loopback interface has no multicast in IPv6, so this needs another one. */
static void a_group_in_ipv6_is_heard_and_spoken_to(void **state)
{
    struct ifaddrs *all = NULL;
    char name[IF_NAMESIZE] = "";
    (void)state;

    assert_int_equal(getifaddrs(&all), 0);
    for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
        const unsigned wanted = IFF_UP | IFF_RUNNING | IFF_MULTICAST;
        if (i->ifa_addr != NULL && i->ifa_addr->sa_family == AF_INET6 &&
            (i->ifa_flags & wanted) == wanted) {
            snprintf(name, sizeof(name), "%s", i->ifa_name);
        }
    }
    freeifaddrs(all);
    if (name[0] == '\0') {
        skip();
    }
    the_group_is_heard_and_spoken_to("[::]:0", with_port("[ff02::1234]", free_port()), name);
}

/* Linux hands a datagram for a group to all sockets on its port. */
static void a_group_on_the_listening_port_is_heard_once(void **state)
{
    const uint16_t port = free_port();
    struct radio_link *const gateway =
        open_link(&(struct radio_udp_options){.listen = with_port("0.0.0.0", port),
                                              .group = with_port("225.1.1.1", port),
                                              .group_interface = "lo"});
    struct radio_link *const sensor = open_on("127.0.0.1:0");
    struct radio_address group;
    const struct radio_address gateway_address = address_of("127.0.0.1", port);
    (void)state;

    assert_true(radio_udp_group(gateway, &group));
    send_now(sensor, &group, "\x03\x01\x00", 3);
    receive(gateway, 1);
    send_now(gateway, &inbox.from, "\x03\x02\x01", 3);
    receive(sensor, 2);
    assert_memory_equal(&inbox.from, &gateway_address, sizeof(gateway_address));
    send_now(sensor, &gateway_address, "\x02\x16", 2);
    receive(gateway, 3);
    assert_int_equal(radio_base(gateway)->count.frames_in, 2);
    close_link(gateway);
    close_link(sensor);
}

static void sharing_with_the_group_does_not_share_with_other_programs(void **state)
{
    const uint16_t port = free_port();
    struct radio_link *const l =
        open_link(&(struct radio_udp_options){.listen = with_port("0.0.0.0", port),
                                              .group = with_port("225.1.1.1", port),
                                              .group_interface = "lo"});
    (void)state;

    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    const int on = 1;
    const struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&sa, sizeof(sa)), -1);
    close(fd);
    close_link(l);
}

/* The kernel takes no more for a while: up to a batch waits here, the rest is
 * refused, and what waited leaves in order. */
static void frames_wait_in_order_while_the_kernel_is_full(void **state)
{
    struct radio_link *const gateway = open_on("127.0.0.1:0");
    struct radio_link *const sensor = open_on("127.0.0.1:0");
    const struct radio_address to = address_of("127.0.0.1", radio_udp_port(sensor));
    const struct radio_ops *const ops = radio_base(gateway)->ops;
    (void)state;

    kernel_takes = 10;
    for (unsigned i = 0; i < 10 + RADIO_UDP_BATCH + 5; i++) {
        const uint8_t frame[] = {0, (uint8_t)i};
        assert_int_equal(ops->send(gateway, &to, frame, 2),
                         i < 10 + RADIO_UDP_BATCH ? 0 : -ENOBUFS);
    }
    assert_true(ops->wants_write(gateway));
    assert_int_equal(radio_base(gateway)->count.dropped_out, 5);
    receive(sensor, 10);
    for (unsigned i = 0; i < RADIO_UDP_BATCH; i++) {
        kernel_takes = 1;
        ops->flush(gateway);
        receive(sensor, 11 + i);
        assert_int_equal(inbox.last[1], 10 + i);
    }
    kernel_takes = UINT_MAX;
    ops->flush(gateway);
    assert_false(ops->wants_write(gateway));
    assert_int_equal(radio_base(gateway)->count.frames_out, 10 + RADIO_UDP_BATCH);
    close_link(gateway);
    close_link(sensor);
}

static void a_link_with_a_group_sends_what_waited_when_its_descriptor_wakes(void **state)
{
    struct radio_link *const gateway =
        open_link(&(struct radio_udp_options){.listen = "127.0.0.1:0",
                                              .group = with_port("225.1.1.1", free_port()),
                                              .group_interface = "lo"});
    struct radio_link *const sensor = open_on("127.0.0.1:0");
    const struct radio_address to = address_of("127.0.0.1", radio_udp_port(sensor));
    const struct radio_ops *const ops = radio_base(gateway)->ops;
    struct pollfd p = {.fd = ops->fd(gateway), .events = POLLIN};
    (void)state;

    assert_int_equal(poll(&p, 1, 0), 0);
    kernel_takes = 0;
    send_now(gateway, &to, "\x02\x17", 2);
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    kernel_takes = UINT_MAX;
    ops->receive(gateway, 0, keep, &inbox);
    receive(sensor, 1);
    assert_int_equal(poll(&p, 1, 0), 0);
    close_link(gateway);
    close_link(sensor);
}

static void an_old_network_error_does_not_cost_a_new_frame(void **state)
{
    struct radio_link *const gateway = open_on("127.0.0.1:0");
    struct radio_link *const sensor = open_on("127.0.0.1:0");
    const struct radio_address to = address_of("127.0.0.1", radio_udp_port(sensor));
    (void)state;

    kernel_refuses = 1;
    send_now(gateway, &to, "\x02\x17", 2);
    receive(sensor, 1);
    assert_int_equal(radio_base(gateway)->count.dropped_out, 0);

    kernel_refuses = 2; /* it stays: then it is this frame that cannot go */
    send_now(gateway, &to, "\x02\x17", 2);
    assert_int_equal(radio_base(gateway)->count.dropped_out, 1);
    assert_int_equal(kernel_refuses, 0);
    close_link(gateway);
    close_link(sensor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_go_both_ways_over_ipv4),
        cmocka_unit_test(frames_go_both_ways_over_ipv6),
        cmocka_unit_test(one_port_serves_both_families_with_two_links),
        cmocka_unit_test(a_burst_of_a_thousand_sensors_is_received_whole),
        cmocka_unit_test(what_the_kernel_dropped_is_counted),
        cmocka_unit_test(a_frame_above_the_limit_is_refused_and_one_received_is_damage),
        cmocka_unit_test(the_largest_datagram_passes),
        cmocka_unit_test(peers_that_cannot_be_reached_do_not_disturb_the_others),
        cmocka_unit_test(addresses_of_another_kind_of_link_are_refused),
        cmocka_unit_test(the_address_of_a_peer_is_the_same_in_every_run),
        cmocka_unit_test(a_link_local_peer_carries_its_interface),
        cmocka_unit_test(text_that_is_no_address_is_refused),
        cmocka_unit_test(what_cannot_be_opened_says_why_in_one_line),
        cmocka_unit_test(no_descriptor_is_inherited_by_a_child),
        cmocka_unit_test(a_group_is_heard_and_spoken_to),
        cmocka_unit_test(a_group_on_the_listening_port_is_heard_once),
        cmocka_unit_test(a_group_in_ipv6_is_heard_and_spoken_to),
        cmocka_unit_test(sharing_with_the_group_does_not_share_with_other_programs),
        cmocka_unit_test(frames_wait_in_order_while_the_kernel_is_full),
        cmocka_unit_test(a_link_with_a_group_sends_what_waited_when_its_descriptor_wakes),
        cmocka_unit_test(an_old_network_error_does_not_cost_a_new_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
