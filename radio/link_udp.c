#include "radio/link_udp.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME_MAX_DEFAULT     2048u
#define KERNEL_BUFFER_DEFAULT (4u << 20)
#define HOST_SIZE             256
#define PORT_SIZE             8

/* One call of receive() takes at most this many batches, so that a flood on one
 * link does not keep the loop from the others. */
#define RECEIVE_BATCHES 16

/* radio_address of a UDP peer: family, port (most significant octet first),
 * address; for IPv6 also the number of the interface of a link-local address. */
#define ADDRESS_V4     4
#define ADDRESS_V6     6
#define ADDRESS_V4_LEN (1 + 2 + 4)
#define ADDRESS_V6_LEN (1 + 2 + 16 + 4)

_Static_assert(ADDRESS_V6_LEN <= RADIO_ADDRESS_SIZE, "an IPv6 peer must fit");

union socket_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage storage;
};

/* What the kernel counts as dropped comes along with the datagrams. */
#define CONTROL_SIZE CMSG_SPACE(sizeof(uint32_t))

struct socket_in {
    int fd;
    uint32_t overflows; /* the kernel's counter, as last seen */
};

struct radio_link {
    struct radio_base base;
    struct socket_in unicast;
    struct socket_in group; /* fd is -1 without one */
    int both;               /* an epoll descriptor over the two; -1 without a group */
    sa_family_t family;
    uint16_t port;
    size_t frame_max;
    struct radio_address group_address; /* len is 0 without one */
    bool blocked;                       /* the kernel took no more */

    /* Frames for the next sendmmsg(), oldest first. */
    size_t queued;
    uint8_t *out_frames; /* RADIO_UDP_BATCH slots of frame_max octets */
    struct mmsghdr out[RADIO_UDP_BATCH];
    struct iovec out_iov[RADIO_UDP_BATCH];
    union socket_address out_to[RADIO_UDP_BATCH];

    uint8_t *in_frames;
    struct mmsghdr in[RADIO_UDP_BATCH];
    struct iovec in_iov[RADIO_UDP_BATCH];
    union socket_address in_from[RADIO_UDP_BATCH];
    _Alignas(struct cmsghdr) uint8_t in_control[RADIO_UDP_BATCH][CONTROL_SIZE];
};

/* ---- addresses ------------------------------------------------------------- */

static void address_pack(const union socket_address *sa, struct radio_address *out)
{
    *out = (struct radio_address){0};
    if (sa->any.sa_family == AF_INET) {
        out->len = ADDRESS_V4_LEN;
        out->bytes[0] = ADDRESS_V4;
        memcpy(out->bytes + 1, &sa->v4.sin_port, 2);
        memcpy(out->bytes + 3, &sa->v4.sin_addr, 4);
        return;
    }
    const uint32_t scope = htonl(sa->v6.sin6_scope_id);
    out->len = ADDRESS_V6_LEN;
    out->bytes[0] = ADDRESS_V6;
    memcpy(out->bytes + 1, &sa->v6.sin6_port, 2);
    memcpy(out->bytes + 3, &sa->v6.sin6_addr, 16);
    memcpy(out->bytes + 19, &scope, 4);
}

/* The length of the socket address, or 0 for octets that are no UDP peer. */
static socklen_t address_unpack(const struct radio_address *a, union socket_address *out)
{
    memset(out, 0, sizeof(*out));
    if (a->len == ADDRESS_V4_LEN && a->bytes[0] == ADDRESS_V4) {
        out->v4.sin_family = AF_INET;
        memcpy(&out->v4.sin_port, a->bytes + 1, 2);
        memcpy(&out->v4.sin_addr, a->bytes + 3, 4);
        return sizeof(out->v4);
    }
    if (a->len == ADDRESS_V6_LEN && a->bytes[0] == ADDRESS_V6) {
        uint32_t scope = 0;
        memcpy(&scope, a->bytes + 19, 4);
        out->v6.sin6_family = AF_INET6;
        memcpy(&out->v6.sin6_port, a->bytes + 1, 2);
        memcpy(&out->v6.sin6_addr, a->bytes + 3, 16);
        out->v6.sin6_scope_id = ntohl(scope);
        return sizeof(out->v6);
    }
    return 0;
}

static size_t udp_print_address(const struct radio_address *a, char *out, size_t size)
{
    assert(size > 0);
    union socket_address sa;
    char host[INET6_ADDRSTRLEN];
    char scope[IF_NAMESIZE + 1] = "";
    int n = 0;
    out[0] = '\0';
    switch (address_unpack(a, &sa)) {
    case sizeof(sa.v4):
        inet_ntop(AF_INET, &sa.v4.sin_addr, host, sizeof(host));
        n = snprintf(out, size, "%s:%u", host, (unsigned)ntohs(sa.v4.sin_port));
        break;
    case sizeof(sa.v6):
        inet_ntop(AF_INET6, &sa.v6.sin6_addr, host, sizeof(host));
        if (sa.v6.sin6_scope_id != 0) {
            scope[0] = '%';
            if (if_indextoname(sa.v6.sin6_scope_id, scope + 1) == NULL) {
                snprintf(scope + 1, sizeof(scope) - 1, "%u", (unsigned)sa.v6.sin6_scope_id);
            }
        }
        n = snprintf(out, size, "[%s%s]:%u", host, scope, (unsigned)ntohs(sa.v6.sin6_port));
        break;
    default:
        break;
    }
    return (size_t)n < size ? (size_t)n : size - 1;
}

/* Takes "host:port" apart. An IPv6 address must stand in brackets: without them
 * nobody can tell where the port begins. */
static bool split_host_port(const char *text, char host[HOST_SIZE], char port[PORT_SIZE])
{
    const char *const colon = strrchr(text, ':');
    if (colon == NULL) {
        return false;
    }
    const char *from = text;
    const char *to = colon;
    if (*from == '[') {
        from++;
        if (to == from || *--to != ']') {
            return false;
        }
    } else if (memchr(from, ':', (size_t)(to - from)) != NULL) {
        return false;
    }
    const size_t host_len = (size_t)(to - from);
    const size_t port_len = strlen(colon + 1);
    if (host_len >= HOST_SIZE || port_len == 0 || port_len >= PORT_SIZE ||
        strspn(colon + 1, "0123456789") != port_len || strtoul(colon + 1, NULL, 10) > UINT16_MAX) {
        return false;
    }
    memcpy(host, from, host_len);
    host[host_len] = '\0';
    memcpy(port, colon + 1, port_len + 1);
    return true;
}

static int lookup(const char *host, const char *port, int flags, union socket_address *out)
{
    const struct addrinfo hints = {
        .ai_family = host == NULL ? AF_INET : AF_UNSPEC,
        .ai_socktype = SOCK_DGRAM,
        .ai_flags = flags | AI_NUMERICSERV,
    };
    struct addrinfo *found = NULL;
    const int rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0) {
        return rc == EAI_AGAIN ? -EAGAIN : -ENOENT;
    }
    memset(out, 0, sizeof(*out));
    memcpy(out, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

int radio_udp_resolve(const char *text, struct radio_address *out)
{
    char host[HOST_SIZE];
    char port[PORT_SIZE];
    union socket_address sa;
    if (!split_host_port(text, host, port) || host[0] == '\0') {
        return -EINVAL;
    }
    const int rc = lookup(host, port, 0, &sa);
    if (rc == 0) {
        address_pack(&sa, out);
    }
    return rc;
}

bool radio_udp_mask(const char *text, struct radio_mask *out)
{
    char host[HOST_SIZE];
    char port[PORT_SIZE] = "0";
    union socket_address sa;
    const bool has_port = split_host_port(text, host, port);
    if (!has_port) {
        const size_t len = strlen(text);
        const bool brackets = len >= 2 && text[0] == '[' && text[len - 1] == ']';
        (void)snprintf(host, sizeof(host), "%.*s", (int)(brackets ? len - 2 : len),
                       brackets ? text + 1 : text);
    }
    if (host[0] == '\0' || lookup(host, port, AI_NUMERICHOST, &sa) != 0) {
        return false;
    }
    *out = (struct radio_mask){0};
    address_pack(&sa, &out->value);
    memset(out->mask, 0xFF, out->value.len);
    if (!has_port) {
        memset(out->mask + 1, 0, 2);
    }
    if (sa.any.sa_family == AF_INET6 && sa.v6.sin6_scope_id == 0) {
        memset(out->mask + 19, 0, 4); /* by whatever interface */
    }
    return true;
}

const char *radio_udp_any(const struct radio_address *peer)
{
    return peer->len == ADDRESS_V6_LEN ? "[::]:0" : "0.0.0.0:0";
}

static socklen_t socket_address_len(const union socket_address *sa)
{
    return sa->any.sa_family == AF_INET ? sizeof(sa->v4) : sizeof(sa->v6);
}

static bool is_multicast(const union socket_address *sa)
{
    return sa->any.sa_family == AF_INET ? IN_MULTICAST(ntohl(sa->v4.sin_addr.s_addr))
                                        : IN6_IS_ADDR_MULTICAST(&sa->v6.sin6_addr);
}

/* ---- receiving ------------------------------------------------------------- */

static void count_overflows(struct radio_link *l, struct socket_in *s, struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
            uint32_t now = 0;
            memcpy(&now, CMSG_DATA(c), sizeof(now));
            l->base.count.dropped_in += (uint32_t)(now - s->overflows);
            s->overflows = now;
        }
    }
}

static void prepare_batch(struct radio_link *l)
{
    for (size_t i = 0; i < RADIO_UDP_BATCH; i++) {
        l->in[i].msg_hdr = (struct msghdr){
            .msg_name = &l->in_from[i],
            .msg_namelen = sizeof(l->in_from[i]),
            .msg_iov = &l->in_iov[i],
            .msg_iovlen = 1,
            .msg_control = l->in_control[i],
            .msg_controllen = sizeof(l->in_control[i]),
        };
    }
}

static void hand_out(struct radio_link *l, struct socket_in *s, size_t count, radio_frame_fn *fn,
                     void *ctx)
{
    for (size_t i = 0; i < count; i++) {
        struct msghdr *const m = &l->in[i].msg_hdr;
        count_overflows(l, s, m);
        l->base.count.bytes_in += l->in[i].msg_len;
        if (m->msg_flags & MSG_TRUNC || l->in[i].msg_len == 0) {
            l->base.count.bad_frames++;
            continue;
        }
        struct radio_address from;
        address_pack(&l->in_from[i], &from);
        l->base.count.frames_in++;
        fn(ctx, &from, l->in_iov[i].iov_base, l->in[i].msg_len);
    }
}

static void receive_socket(struct radio_link *l, struct socket_in *s, radio_frame_fn *fn, void *ctx)
{
    for (int batch = 0; batch < RECEIVE_BATCHES; batch++) {
        prepare_batch(l);
        const int n = recvmmsg(s->fd, l->in, RADIO_UDP_BATCH, MSG_DONTWAIT, NULL);
        if (n < 0) {
            if (errno == EAGAIN || errno == EWOULDBLOCK) {
                return;
            }
            /* EINTR, or what the network says about an earlier datagram to one
             * of the peers: reading it has cleared it, so go on. */
            continue;
        }
        hand_out(l, s, (size_t)n, fn, ctx);
        if (n < RADIO_UDP_BATCH) {
            return;
        }
    }
}

/* ---- sending --------------------------------------------------------------- */

static void watch_unicast(struct radio_link *l, bool blocked)
{
    if (l->both >= 0 && l->blocked != blocked) {
        struct epoll_event e = {.events = EPOLLIN | (blocked ? (uint32_t)EPOLLOUT : 0)};
        epoll_ctl(l->both, EPOLL_CTL_MOD, l->unicast.fd, &e);
    }
    l->blocked = blocked;
}

/* Moves what was not taken to the front; slots stay with their octets. */
static void keep_from(struct radio_link *l, size_t first)
{
    for (size_t i = first; i < l->queued; i++) {
        const struct iovec freed = l->out_iov[i - first];
        l->out_iov[i - first] = l->out_iov[i];
        l->out_iov[i] = freed;
        l->out_to[i - first] = l->out_to[i];
        l->out[i - first].msg_hdr.msg_namelen = l->out[i].msg_hdr.msg_namelen;
    }
    l->queued -= first;
}

static void udp_flush(struct radio_link *l)
{
    size_t done = 0;
    bool retried = false;
    bool blocked = false;
    while (done < l->queued && !blocked) {
        const int n =
            sendmmsg(l->unicast.fd, l->out + done, (unsigned)(l->queued - done), MSG_DONTWAIT);
        if (n > 0) {
            for (size_t i = done; i < done + (size_t)n; i++) {
                l->base.count.frames_out++;
                l->base.count.bytes_out += l->out_iov[i].iov_len;
            }
            done += (size_t)n;
            retried = false;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            blocked = true;
        } else if (errno == EINTR || (errno == ECONNREFUSED && !retried)) {
            retried = errno != EINTR; /* the error belonged to a datagram sent before */
        } else {
            l->base.count.dropped_out++; /* no route, forbidden, no memory: this one is lost */
            done++;
            retried = false;
        }
    }
    keep_from(l, done);
    watch_unicast(l, blocked);
}

static int udp_send(struct radio_link *l, const struct radio_address *to, const uint8_t *frame,
                    size_t len)
{
    union socket_address sa;
    const socklen_t sa_len = address_unpack(to->len == 0 ? &l->group_address : to, &sa);
    int rc = 0;
    if (sa_len == 0 || sa.any.sa_family != l->family) {
        rc = -ENODEV;
    } else if (len > l->frame_max) {
        rc = -EMSGSIZE;
    } else if (l->queued == RADIO_UDP_BATCH) {
        udp_flush(l);
        rc = l->queued == RADIO_UDP_BATCH ? -ENOBUFS : 0;
    }
    if (rc != 0) {
        l->base.count.dropped_out++;
        return rc;
    }
    const size_t i = l->queued++;
    memcpy(l->out_iov[i].iov_base, frame, len);
    l->out_iov[i].iov_len = len;
    l->out_to[i] = sa;
    l->out[i].msg_hdr.msg_namelen = sa_len;
    return 0;
}

static void udp_receive(struct radio_link *l, uint64_t now_ms, radio_frame_fn *fn, void *ctx)
{
    (void)now_ms;
    receive_socket(l, &l->unicast, fn, ctx);
    if (l->group.fd >= 0) {
        receive_socket(l, &l->group, fn, ctx);
        /* With a group the loop watches an epoll descriptor, which is never
         * writable: the chance to send shows itself here. */
        if (l->blocked) {
            udp_flush(l);
        }
    }
}

static int udp_fd(const struct radio_link *l)
{
    return l->both >= 0 ? l->both : l->unicast.fd;
}

static bool udp_wants_write(const struct radio_link *l)
{
    return l->both < 0 && l->blocked;
}

static uint64_t udp_deadline(const struct radio_link *l)
{
    (void)l;
    return RADIO_NEVER;
}

static void udp_tick(struct radio_link *l, uint64_t now_ms)
{
    (void)l;
    (void)now_ms;
}

static void udp_close(struct radio_link *l)
{
    udp_flush(l);
    const int fds[] = {l->unicast.fd, l->group.fd, l->both};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    free(l->in_frames);
    free(l->out_frames);
    free(l);
}

static const struct radio_ops udp_ops = {
    .fd = udp_fd,
    .wants_write = udp_wants_write,
    .receive = udp_receive,
    .send = udp_send,
    .flush = udp_flush,
    .deadline = udp_deadline,
    .tick = udp_tick,
    .print_address = udp_print_address,
    .close = udp_close,
};

/* ---- opening --------------------------------------------------------------- */

static bool make_buffers(struct radio_link *l)
{
    l->in_frames = malloc(RADIO_UDP_BATCH * l->frame_max);
    l->out_frames = malloc(RADIO_UDP_BATCH * l->frame_max);
    if (l->in_frames == NULL || l->out_frames == NULL) {
        return false;
    }
    for (size_t i = 0; i < RADIO_UDP_BATCH; i++) {
        l->in_iov[i] = (struct iovec){l->in_frames + i * l->frame_max, l->frame_max};
        l->out_iov[i] = (struct iovec){l->out_frames + i * l->frame_max, 0};
        l->out[i].msg_hdr = (struct msghdr){
            .msg_name = &l->out_to[i],
            .msg_iov = &l->out_iov[i],
            .msg_iovlen = 1,
        };
    }
    return true;
}

/* Linux would hand a datagram for a group to every socket on its port, so that
 * frames would arrive twice where both ports are the same. */
static void take_joined_groups_only(int fd, sa_family_t family)
{
    const int off = 0;
    if (family == AF_INET) {
        setsockopt(fd, IPPROTO_IP, IP_MULTICAST_ALL, &off, sizeof(off));
    } else {
        setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, &off, sizeof(off));
    }
}

/* Bursts of a thousand sensors must wait in the kernel while the loop writes to
 * disk. Only root may go beyond net.core.rmem_max, so both ways are tried. */
static void ask_for_room(int fd, size_t size)
{
    const int wanted = size > INT32_MAX / 2 ? INT32_MAX / 2 : (int)size;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &wanted, sizeof(wanted)) != 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &wanted, sizeof(wanted));
    }
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &wanted, sizeof(wanted)) != 0) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &wanted, sizeof(wanted));
    }
}

static int open_socket(const union socket_address *sa, bool shared, size_t room)
{
    const int on = 1;
    const int fd = socket(sa->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    /* Without V6ONLY the IPv6 socket would also take the port of IPv4, and its
     * peers would come in two spellings. */
    if ((sa->any.sa_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0) ||
        (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) ||
        bind(fd, &sa->any, socket_address_len(sa)) != 0) {
        const int rc = -errno;
        close(fd);
        return rc;
    }
    setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on));
    take_joined_groups_only(fd, sa->any.sa_family);
    ask_for_room(fd, room);
    return fd;
}

static int complain(int rc, char *why, size_t why_size, const char *what, const char *where,
                    const char *reason)
{
    snprintf(why, why_size, "cannot %s %s (UDP): %s", what, where, reason);
    return rc;
}

static const char *reason_of(int rc)
{
    switch (-rc) {
    case EADDRINUSE:
        return "the port is in use by another program";
    case EADDRNOTAVAIL:
        return "no interface has this address";
    case EACCES:
        return "ports below 1024 need a privilege";
    case ENOENT:
        return "no such host";
    case EAGAIN:
        return "the name service does not answer";
    default:
        return strerror(-rc);
    }
}

static int open_unicast(struct radio_link *l, const struct radio_udp_options *o, size_t room,
                        char *why, size_t why_size)
{
    char host[HOST_SIZE];
    char port[PORT_SIZE];
    union socket_address sa;
    if (!split_host_port(o->listen, host, port)) {
        return complain(-EINVAL, why, why_size, "listen on", o->listen,
                        "expected host:port or [address]:port");
    }
    const bool every = host[0] == '\0' || strcmp(host, "*") == 0;
    int rc = lookup(every ? NULL : host, port, AI_PASSIVE, &sa);
    if (rc == 0) {
        rc = open_socket(&sa, false, room);
    }
    if (rc < 0) {
        return complain(rc, why, why_size, "listen on", o->listen, reason_of(rc));
    }
    l->unicast.fd = rc;
    l->family = sa.any.sa_family;
    socklen_t len = sizeof(sa);
    if (getsockname(l->unicast.fd, &sa.any, &len) == 0) {
        l->port = ntohs(l->family == AF_INET ? sa.v4.sin_port : sa.v6.sin6_port);
    }
    return 0;
}

/* Frames to the group leave from the unicast socket, so that their source is
 * where sensors shall answer. */
static int speak_to_group(struct radio_link *l, unsigned interface, uint8_t hops)
{
    const int ttl = hops == 0 ? 1 : hops;
    int rc = 0;
    if (l->family == AF_INET) {
        const struct ip_mreqn out = {.imr_ifindex = (int)interface};
        rc = setsockopt(l->unicast.fd, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, sizeof(ttl));
        if (rc == 0 && interface != 0) {
            rc = setsockopt(l->unicast.fd, IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof(out));
        }
    } else {
        const int out = (int)interface;
        rc = setsockopt(l->unicast.fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &ttl, sizeof(ttl));
        if (rc == 0 && interface != 0) {
            rc = setsockopt(l->unicast.fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &out, sizeof(out));
        }
    }
    return rc == 0 ? 0 : -errno;
}

static int hear_group(struct radio_link *l, const union socket_address *group, unsigned interface)
{
    struct group_req join = {.gr_interface = interface};
    memcpy(&join.gr_group, group, socket_address_len(group));
    const int level = l->family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
    struct epoll_event e = {.events = EPOLLIN};
    if (setsockopt(l->group.fd, level, MCAST_JOIN_GROUP, &join, sizeof(join)) != 0) {
        return -errno;
    }
    /* A link has one descriptor: an epoll over both sockets is readable when
     * one of them is. */
    l->both = epoll_create1(EPOLL_CLOEXEC);
    if (l->both < 0 || epoll_ctl(l->both, EPOLL_CTL_ADD, l->unicast.fd, &e) != 0 ||
        epoll_ctl(l->both, EPOLL_CTL_ADD, l->group.fd, &e) != 0) {
        return -errno;
    }
    return 0;
}

static int open_group(struct radio_link *l, const struct radio_udp_options *o, size_t room,
                      char *why, size_t why_size)
{
    char host[HOST_SIZE];
    char port[PORT_SIZE];
    union socket_address sa;
    if (!split_host_port(o->group, host, port) || host[0] == '\0') {
        return complain(-EINVAL, why, why_size, "join the group", o->group,
                        "expected address:port or [address]:port");
    }
    int rc = lookup(host, port, AI_NUMERICHOST, &sa);
    if (rc != 0 || !is_multicast(&sa)) {
        return complain(-EINVAL, why, why_size, "join the group", o->group,
                        "this is no multicast address");
    }
    if (sa.any.sa_family != l->family) {
        return complain(-EINVAL, why, why_size, "join the group", o->group,
                        "its family is not that of the listening address");
    }
    unsigned interface = l->family == AF_INET6 ? sa.v6.sin6_scope_id : 0;
    if (o->group_interface != NULL) {
        interface = if_nametoindex(o->group_interface);
        if (interface == 0) {
            return complain(-ENODEV, why, why_size, "join the group", o->group,
                            "there is no such interface");
        }
    }
    if (l->family == AF_INET6 && (IN6_IS_ADDR_MC_LINKLOCAL(&sa.v6.sin6_addr) ||
                                  IN6_IS_ADDR_MC_NODELOCAL(&sa.v6.sin6_addr))) {
        if (interface == 0) {
            return complain(-EINVAL, why, why_size, "join the group", o->group,
                            "a group of this scope needs the name of an interface");
        }
        sa.v6.sin6_scope_id = interface;
    }
    address_pack(&sa, &l->group_address);
    /* The group may have the same port as the listening socket: that one agrees
     * to share, for this moment and with nobody else. */
    int share = 1;
    setsockopt(l->unicast.fd, SOL_SOCKET, SO_REUSEADDR, &share, sizeof(share));
    l->group.fd = open_socket(&sa, true, room);
    share = 0;
    setsockopt(l->unicast.fd, SOL_SOCKET, SO_REUSEADDR, &share, sizeof(share));
    rc = l->group.fd < 0 ? l->group.fd : hear_group(l, &sa, interface);
    if (rc == 0) {
        rc = speak_to_group(l, interface, o->group_hops);
    }
    return rc == 0 ? 0 : complain(rc, why, why_size, "join the group", o->group, reason_of(rc));
}

int radio_udp_open(const struct radio_udp_options *o, struct radio_link **out, char *why,
                   size_t why_size)
{
    const size_t room = o->kernel_buffer == 0 ? KERNEL_BUFFER_DEFAULT : o->kernel_buffer;
    struct radio_link *const l = calloc(1, sizeof(*l));
    if (l == NULL) {
        return complain(-ENOMEM, why, why_size, "listen on", o->listen, strerror(ENOMEM));
    }
    l->base.ops = &udp_ops;
    l->unicast.fd = -1;
    l->group.fd = -1;
    l->both = -1;
    l->frame_max = o->frame_max == 0 ? FRAME_MAX_DEFAULT : o->frame_max;
    if (l->frame_max > RADIO_UDP_FRAME_MAX) {
        l->frame_max = RADIO_UDP_FRAME_MAX;
    }
    int rc = open_unicast(l, o, room, why, why_size);
    if (rc == 0 && o->group != NULL) {
        rc = open_group(l, o, room, why, why_size);
    }
    if (rc == 0 && !make_buffers(l)) {
        rc = complain(-ENOMEM, why, why_size, "listen on", o->listen, strerror(ENOMEM));
    }
    if (rc != 0) {
        udp_close(l);
        return rc;
    }
    l->base.up = true;
    l->base.count.opens = 1;
    *out = l;
    return 0;
}

uint16_t radio_udp_port(const struct radio_link *l)
{
    return l->port;
}

size_t radio_udp_receive_room(const struct radio_link *l)
{
    int room = 0;
    socklen_t len = sizeof(room);
    return getsockopt(l->unicast.fd, SOL_SOCKET, SO_RCVBUF, &room, &len) == 0 ? (size_t)room : 0;
}

bool radio_udp_group(const struct radio_link *l, struct radio_address *out)
{
    if (l->group_address.len == 0) {
        return false;
    }
    *out = l->group_address;
    return true;
}
