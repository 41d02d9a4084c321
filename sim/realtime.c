#include "sim/realtime.h"

#include "radio/link_udp.h"
#include "sim/channel.h"
#include "sim/histogram.h"
#include "sim/pcapng.h"
#include "sim/realtime_pty.h"
#include "sim/transcript.h"
#include "sim/words.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define ENDS_MAX      (1 + SIM_REALTIME_CLIENTS_MAX)
#define FRAME_MAX     2048u        /* at least taken from outside, so that the channel can refuse */
#define KERNEL_BUFFER (256u << 10) /* of each client's socket */
#define REASONS_MAX   16
#define TURNS_MAX     10000 /* of events at one moment, before the outside world is looked at */

enum source {
    SOURCE_SIGNAL,
    SOURCE_TIMER,
    SOURCE_END, /* and this plus the number of the end for the others */
};

/* A link to the world outside. */
struct end {
    struct realtime *rt;
    struct radio_link *link;
    enum sim_direction direction; /* of what comes in */
    uint32_t peer;                /* 0: tells devices apart by their address, or there are all */
    int watched;                  /* the descriptor in the epoll set, -1: none */
    bool watched_write;
};

struct client {
    struct radio_address address;
    char *name;
};

/* What became of the frames of one direction. */
struct tally {
    uint64_t sent;
    uint64_t copied;
    uint64_t arrived;
    uint64_t damaged;
    struct {
        char why[24];
        uint64_t count;
    } lost[REASONS_MAX];
};

struct realtime {
    const struct sim_realtime_options *options;
    struct sim_world *world;
    struct sim_trace *trace;
    struct sim_channel *channel;
    uint64_t start_us; /* of the world on the monotonic clock */

    int epoll;
    int signals;
    int timer;
    bool is_stopping;

    struct end *ends[ENDS_MAX]; /* the devices' first */
    size_t end_count;
    int keep[2]; /* the ptys' other sides */
    struct radio_address server;
    const char *any;                                     /* where a client's socket is bound */
    struct client clients[SIM_REALTIME_CLIENTS_MAX + 1]; /* by peer */
    uint32_t client_count;
    uint64_t refused; /* frames of clients for which there is no room */

    struct tally tally[2];
    uint64_t cost;
    FILE *capture;
    struct sim_pcapng *pcapng;
    struct sim_histogram late;
};

/* ---- time ------------------------------------------------------------------------ */

static uint64_t clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SIM_S + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t world_us(const struct realtime *rt)
{
    return clock_us() - rt->start_us;
}

/* Everything that is due happens; each moment's lateness is noted. */
static void catch_up(struct realtime *rt)
{
    for (int turns = 0; turns < TURNS_MAX; turns++) {
        const uint64_t due_us = sim_world_next(rt->world);
        const uint64_t now_us = world_us(rt);
        if (due_us > now_us) {
            sim_world_run_until(rt->world, now_us);
            return;
        }
        if (due_us > sim_now(rt->world))
            sim_histogram_add(&rt->late, now_us - due_us);
        sim_world_run_until(rt->world, due_us);
    }
}

/* ---- the account ------------------------------------------------------------------- */

static void count_loss(struct tally *t, const char *why)
{
    size_t i = 0;
    while (i < REASONS_MAX - 1 && t->lost[i].why[0] != '\0' && strcmp(t->lost[i].why, why) != 0)
        i++;
    snprintf(t->lost[i].why, sizeof t->lost[i].why, "%s", i < REASONS_MAX - 1 ? why : "other");
    t->lost[i].count++;
}

static void hear(void *ctx, const struct sim_record *r)
{
    struct realtime *rt = ctx;
    struct tally *t = &rt->tally[r->direction];
    if (r->type == SIM_FRAME_SENT)
        t->sent++;
    else if (r->type == SIM_FRAME_COPIED)
        t->copied++;
    else if (r->type == SIM_FRAME_ARRIVED)
        t->arrived++;
    else if (r->type == SIM_FRAME_DAMAGED)
        t->damaged++;
    else if (r->type == SIM_FRAME_LOST)
        count_loss(t, r->why);
    else if (r->type == SIM_LINK_COST)
        rt->cost += r->number;
}

static void print_tally(const struct tally *t, const char *name)
{
    uint64_t lost = 0;
    for (size_t i = 0; i < REASONS_MAX; i++)
        lost += t->lost[i].count;
    fprintf(stderr, "%-5s sent %" PRIu64 ", arrived %" PRIu64 ", lost %" PRIu64, name, t->sent,
            t->arrived, lost);
    for (size_t i = 0; i < REASONS_MAX && t->lost[i].count > 0; i++)
        fprintf(stderr, "%s%s %" PRIu64, i > 0 ? ", " : " (", t->lost[i].why, t->lost[i].count);
    fprintf(stderr, "%s, under way %" PRIu64, lost > 0 ? ")" : "",
            t->sent + t->copied - t->arrived - lost);
    if (t->copied > 0)
        fprintf(stderr, ", copied %" PRIu64, t->copied);
    if (t->damaged > 0)
        fprintf(stderr, ", damaged %" PRIu64, t->damaged);
    fputc('\n', stderr);
}

static void print_summary(const struct realtime *rt)
{
    char mean[SIM_WORDS_SIZE], most[SIM_WORDS_SIZE], worst[SIM_WORDS_SIZE];
    uint64_t bad = 0, dropped = 0;
    print_tally(&rt->tally[SIM_UP], "up");
    print_tally(&rt->tally[SIM_DOWN], "down");
    if (rt->cost > 0)
        fprintf(stderr, "cost  %s %s\n", sim_say_hundredths(mean, rt->cost),
                rt->options->profile->cost_unit);
    for (size_t i = 0; i < rt->end_count; i++) {
        const struct radio_counters *count = &radio_base(rt->ends[i]->link)->count;
        bad += count->bad_frames;
        dropped += count->dropped_out;
    }
    if (bad + dropped + rt->refused > 0)
        fprintf(stderr,
                "ends  damaged on the way in %" PRIu64 ", not taken outside %" PRIu64
                ", of too many clients %" PRIu64 "\n",
                bad, dropped, rt->refused);
    fprintf(stderr, "timer %" PRIu64 " times, late by %s on average, %s for 99 %%, %s at most\n",
            rt->late.count, sim_say_duration(mean, sim_histogram_mean(&rt->late)),
            sim_say_duration(most, sim_histogram_percentile(&rt->late, 990)),
            sim_say_duration(worst, rt->late.max_us));
}

/* ---- ends -------------------------------------------------------------------------- */

static const struct radio_ops *ops_of(const struct end *e)
{
    return radio_base(e->link)->ops;
}

/* Follows the descriptor and what it is watched for. */
static void watch(struct realtime *rt, size_t number)
{
    struct end *e = rt->ends[number];
    const int fd = ops_of(e)->fd(e->link);
    const bool write = ops_of(e)->wants_write(e->link);
    if (fd == e->watched && (fd < 0 || write == e->watched_write))
        return;
    struct epoll_event event = {
        .events = EPOLLIN | (write ? EPOLLOUT : 0),
        .data.u64 = SOURCE_END + number,
    };
    if (e->watched >= 0 && e->watched != fd)
        epoll_ctl(rt->epoll, EPOLL_CTL_DEL, e->watched, NULL);
    if (fd >= 0)
        epoll_ctl(rt->epoll, e->watched == fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
    e->watched = fd;
    e->watched_write = write;
}

static struct end *add_end(struct realtime *rt, struct radio_link *link,
                           enum sim_direction direction, uint32_t peer)
{
    struct end *e = sim_memory(sizeof *e);
    *e = (struct end){
        .rt = rt,
        .link = link,
        .direction = direction,
        .peer = peer,
        .watched = -1,
    };
    rt->ends[rt->end_count] = e;
    watch(rt, rt->end_count++);
    return e;
}

static size_t frame_max(const struct realtime *rt)
{
    const struct sim_path *path = rt->options->profile->path;
    size_t most = FRAME_MAX;
    for (int d = SIM_UP; d <= SIM_DOWN; d++)
        if (path[d].frame_max > most)
            most = path[d].frame_max;
    return most < RADIO_UDP_FRAME_MAX ? most : RADIO_UDP_FRAME_MAX;
}

/* A client's own socket towards the server. */
static bool open_way(struct realtime *rt, uint32_t peer)
{
    const struct radio_udp_options o = {
        .listen = rt->any,
        .frame_max = frame_max(rt),
        .kernel_buffer = KERNEL_BUFFER,
    };
    struct radio_link *link;
    char why[200];
    if (radio_udp_open(&o, &link, why, sizeof why) < 0) {
        fprintf(stderr, "snsim: %s\n", why);
        return false;
    }
    add_end(rt, link, SIM_DOWN, peer);
    return true;
}

static uint32_t attach(struct realtime *rt, const struct radio_address *from, const char *name)
{
    struct client *c = &rt->clients[++rt->client_count];
    c->address = *from;
    c->name = strdup(name);
    if (c->name == NULL)
        abort();
    return sim_channel_attach(rt->channel, c->name);
}

/* The device of an address, a new one if there is room; 0: there is none. */
static uint32_t peer_of(struct realtime *rt, const struct end *e, const struct radio_address *from)
{
    char name[80];
    for (uint32_t peer = 1; peer <= rt->client_count; peer++) {
        const struct radio_address *known = &rt->clients[peer].address;
        if (known->len == from->len && memcmp(known->bytes, from->bytes, from->len) == 0)
            return peer;
    }
    if (rt->client_count == SIM_REALTIME_CLIENTS_MAX)
        return 0;
    ops_of(e)->print_address(from, name, sizeof name);
    if (rt->options->to != NULL && !open_way(rt, rt->client_count + 1))
        return 0;
    return attach(rt, from, name);
}

static void frame_in(void *ctx, const struct radio_address *from, const uint8_t *frame, size_t len)
{
    struct end *e = ctx;
    struct realtime *rt = e->rt;
    uint32_t peer = e->peer;
    if (e->direction == SIM_DOWN && rt->options->to != NULL &&
        (from->len != rt->server.len || memcmp(from->bytes, rt->server.bytes, from->len) != 0))
        return; /* a stranger */
    if (e->direction == SIM_UP && peer == 0) {
        peer = peer_of(rt, e, from);
        rt->refused += peer == 0;
        if (peer == 0)
            return;
    }
    catch_up(rt);
    sim_channel_send(rt->channel, e->direction, peer, frame, len);
}

/* Out of the channel. */
static void frame_out(void *ctx, enum sim_direction direction, uint32_t peer, const uint8_t *frame,
                      size_t len)
{
    struct realtime *rt = ctx;
    const struct radio_address wire = {0};
    struct end *e = rt->ends[0];
    const struct radio_address *to = &rt->clients[peer].address;
    if (direction == SIM_UP) {
        e = rt->ends[rt->options->to != NULL ? peer : 1];
        to = rt->options->to != NULL ? &rt->server : &wire;
    }
    /* What cannot be sent is counted by the link. */
    (void)ops_of(e)->send(e->link, to, frame, len);
}

/* ---- opening ------------------------------------------------------------------------- */

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "snsim: %s: %s\n", what, why);
    return -1;
}

static int open_pty(struct realtime *rt, const char *name, enum sim_direction direction,
                    uint32_t peer)
{
    struct radio_link *link;
    const int result =
        sim_pty_open(name, rt->options->framing, frame_max(rt), &link, &rt->keep[direction]);
    if (result < 0)
        return complain(name, strerror(-result));
    add_end(rt, link, direction, peer);
    return 0;
}

static int open_devices_end(struct realtime *rt)
{
    const struct sim_realtime_options *o = rt->options;
    struct radio_link *link;
    char why[200];
    if (o->pty != NULL)
        return open_pty(rt, o->pty, SIM_UP, 1);
    const struct radio_udp_options udp = {.listen = o->udp, .frame_max = frame_max(rt)};
    if (radio_udp_open(&udp, &link, why, sizeof why) < 0)
        return complain(o->udp, why);
    add_end(rt, link, SIM_UP, 0);
    return 0;
}

static int open_gateways_end(struct realtime *rt)
{
    const struct sim_realtime_options *o = rt->options;
    char text[80];
    if (o->to_pty != NULL && open_pty(rt, o->to_pty, SIM_DOWN, 0) < 0)
        return -1;
    if (o->to != NULL) {
        const int result = radio_udp_resolve(o->to, &rt->server);
        if (result < 0)
            return complain(o->to, result == -EINVAL ? "not HOST:PORT" : "no such host");
        ops_of(rt->ends[0])->print_address(&rt->server, text, sizeof text);
        rt->any = text[0] == '[' ? "[::]:0" : "0.0.0.0:0";
    }
    if (o->pty == NULL)
        return 0;
    /* The one device of a pty is there from the start. */
    if (o->to != NULL && !open_way(rt, 1))
        return -1;
    attach(rt, &(struct radio_address){0}, "pty");
    return 0;
}

static int open_capture(struct realtime *rt)
{
    if (rt->options->capture == NULL)
        return 0;
    rt->capture = fopen(rt->options->capture, "we");
    if (rt->capture == NULL)
        return complain(rt->options->capture, strerror(errno));
    rt->pcapng = sim_pcapng_open(rt->capture);
    sim_trace_listen(rt->trace, sim_pcapng_hear, rt->pcapng);
    return 0;
}

/* 0, or -1 when the capture is not whole. */
static int close_capture(struct realtime *rt)
{
    if (rt->capture == NULL)
        return 0;
    sim_pcapng_close(rt->pcapng);
    const bool bad = ferror(rt->capture) != 0;
    return fclose(rt->capture) != 0 || bad ? complain(rt->options->capture, "not written whole")
                                           : 0;
}

static int open_loop(struct realtime *rt)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); /* nanoseconds: the kernel is not to be lazy */
    rt->epoll = epoll_create1(EPOLL_CLOEXEC);
    rt->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    rt->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (rt->epoll < 0 || rt->signals < 0 || rt->timer < 0)
        return complain("epoll, signalfd, timerfd", strerror(errno));
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = SOURCE_SIGNAL};
    epoll_ctl(rt->epoll, EPOLL_CTL_ADD, rt->signals, &event);
    event.data.u64 = SOURCE_TIMER;
    epoll_ctl(rt->epoll, EPOLL_CTL_ADD, rt->timer, &event);
    return 0;
}

static void close_all(struct realtime *rt)
{
    const struct sim_realtime_options *o = rt->options;
    for (size_t i = 0; i < rt->end_count; i++) {
        ops_of(rt->ends[i])->close(rt->ends[i]->link);
        free(rt->ends[i]);
    }
    for (int d = SIM_UP; d <= SIM_DOWN; d++) {
        if (rt->keep[d] >= 0) {
            close(rt->keep[d]);
            unlink(d == SIM_UP ? o->pty : o->to_pty);
        }
    }
    sim_world_stop(rt->world);
    sim_channel_close(rt->channel);
    sim_trace_close(rt->trace);
    sim_world_close(rt->world);
    for (uint32_t peer = 1; peer <= rt->client_count; peer++)
        free(rt->clients[peer].name);
    if (rt->timer >= 0)
        close(rt->timer);
    if (rt->signals >= 0)
        close(rt->signals);
    if (rt->epoll >= 0)
        close(rt->epoll);
    free(rt);
}

/* ---- running -------------------------------------------------------------------------- */

/* When the loop must wake: the world's next event, or a link's. */
static void set_timer(struct realtime *rt)
{
    uint64_t due_us = sim_world_next(rt->world);
    due_us = due_us == SIM_NEVER ? due_us : due_us + rt->start_us;
    for (size_t i = 0; i < rt->end_count; i++) {
        const uint64_t link_ms = ops_of(rt->ends[i])->deadline(rt->ends[i]->link);
        if (link_ms != RADIO_NEVER && link_ms * SIM_MS < due_us)
            due_us = link_ms * SIM_MS;
    }
    struct itimerspec when = {0}; /* disarmed */
    if (due_us != SIM_NEVER) {
        when.it_value.tv_sec = (time_t)(due_us / SIM_S);
        when.it_value.tv_nsec = (long)(due_us % SIM_S * 1000) + 1;
    }
    timerfd_settime(rt->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void turn(struct realtime *rt, const struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++) {
        const uint64_t source = events[i].data.u64;
        uint64_t expirations;
        if (source == SOURCE_SIGNAL) {
            rt->is_stopping = true;
        } else if (source == SOURCE_TIMER) {
            /* Only to make it quiet; what is due is found in any case. */
            if (read(rt->timer, &expirations, sizeof expirations) < 0)
                continue;
        } else if (source - SOURCE_END < rt->end_count) {
            struct end *e = rt->ends[source - SOURCE_END];
            ops_of(e)->receive(e->link, clock_us() / SIM_MS, frame_in, e);
        }
    }
    catch_up(rt);
    const uint64_t now_ms = clock_us() / SIM_MS;
    for (size_t i = 0; i < rt->end_count; i++) {
        struct end *e = rt->ends[i];
        if (ops_of(e)->deadline(e->link) <= now_ms)
            ops_of(e)->tick(e->link, now_ms);
        ops_of(e)->flush(e->link);
        watch(rt, i);
    }
}

static int loop(struct realtime *rt)
{
    struct epoll_event events[64];
    while (!rt->is_stopping) {
        set_timer(rt);
        const int count = epoll_wait(rt->epoll, events, 64, -1);
        if (count < 0 && errno != EINTR)
            return complain("epoll_wait", strerror(errno));
        turn(rt, events, count);
    }
    return 0;
}

static void say_ready(const struct realtime *rt)
{
    const struct sim_realtime_options *o = rt->options;
    fprintf(stderr, "snsim: link %s, seed %" PRIu64 ": ", o->profile->name, o->seed);
    if (o->pty != NULL)
        fprintf(stderr, "pty %s", o->pty);
    else
        fprintf(stderr, "udp port %u", radio_udp_port(rt->ends[0]->link));
    fprintf(stderr, " to %s\n", o->to != NULL ? o->to : o->to_pty);
}

int sim_realtime_run(const struct sim_realtime_options *o)
{
    struct realtime *rt = sim_memory(sizeof *rt);
    *rt = (struct realtime){
        .options = o,
        .world = sim_world_open(),
        .trace = sim_trace_open(),
        .epoll = -1,
        .signals = -1,
        .timer = -1,
        .keep = {-1, -1},
    };
    sim_trace_listen(rt->trace, hear, rt);
    if (o->trace)
        sim_trace_listen(rt->trace, sim_transcript_hear, stderr);
    rt->channel =
        sim_channel_open(rt->world, rt->trace, o->seed, "link", o->profile, frame_out, rt);
    rt->start_us = clock_us();
    int code = 1;
    if (open_capture(rt) == 0 && open_loop(rt) == 0 && open_devices_end(rt) == 0 &&
        open_gateways_end(rt) == 0) {
        say_ready(rt);
        code = loop(rt) < 0 ? 1 : 0;
        print_summary(rt);
    }
    if (close_capture(rt) < 0)
        code = 1;
    close_all(rt);
    return code;
}
