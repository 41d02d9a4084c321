#include "bridge/loop_parts.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "bridge/log.h"
#include "bridge/notify.h"
#include "bridge/store.h"
#include "bridge/timeline.h"
#include "radio/link_serial.h"
#include "radio/link_udp.h"

#define EVENTS_PER_TURN 512  /* from the broker, before the links get their turn */
#define STOP_WAIT_MS    1000 /* for what is undecided at the broker when we are told to stop */
#define CLOSE_WAIT_MS   300
#define DEAF_MS         1000 /* before it is tried again to answer when no descriptor is free */

enum source {
    SOURCE_SIGNAL,
    SOURCE_BROKER,
    SOURCE_STORE,
    SOURCE_CONTROL,
    SOURCE_CLOCK,
    SOURCE_LINK, /* and this plus the number of the link for the others */
};

/* ---- time ------------------------------------------------------------------------ */

static uint64_t clock_ms(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t loop_now_ms(const struct loop *l)
{
    return l->own_ms + clock_ms(CLOCK_MONOTONIC);
}

static int64_t wall_offset_ms(void)
{
    return (int64_t)clock_ms(CLOCK_REALTIME) - (int64_t)clock_ms(CLOCK_MONOTONIC);
}

/* A timer that never ends, but for being cancelled when the wall clock is set. */
static void watch_clock(struct loop *l)
{
    const time_t far = sizeof(time_t) > 4 ? (time_t)(INT64_C(1) << 33) : INT32_MAX;
    const struct itimerspec never = {.it_value.tv_sec = far};
    if (l->clock >= 0)
        timerfd_settime(l->clock, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL);
}

/* Messages and deadlines do not care: they go by the bridge's own time. */
static void take_clock(struct loop *l)
{
    uint64_t count;
    const ssize_t len = read(l->clock, &count, sizeof(count));
    const int64_t before_ms = l->wall_ms;
    if (len < 0 && errno == EAGAIN)
        return;
    watch_clock(l);
    l->wall_ms = wall_offset_ms();
    store_clock_was_set(l->store);
    log_line(BRIDGE_LEVEL_INFO, "the wall clock was set, by %+.3f s%s",
             (double)(l->wall_ms - before_ms) / 1000,
             timeline_is_set(clock_ms(CLOCK_REALTIME)) ? "" : "; it is before 2025 and not shown");
}

/* ---- what the core says ------------------------------------------------------------ */

static void trace(const struct loop *l, const char *arrow, uint16_t link,
                  const struct radio_address *a, struct sn_bytes frame)
{
    if (!log_wants(BRIDGE_LEVEL_DEBUG))
        return;
    char address[64];
    char text[400];
    struct radio_link *r = l->links[link].link;
    radio_base(r)->ops->print_address(a, address, sizeof(address));
    struct sn_packet p;
    const enum sn_fault fault = sn_decode(frame, &p);
    if (fault == SN_OK || sn_fault_is_answerable(fault))
        sn_print(&p, text, sizeof(text));
    else
        snprintf(text, sizeof(text), "%zu octets, %s", frame.len, sn_fault_name(fault));
    log_line(BRIDGE_LEVEL_DEBUG, "%s %s %s %s", l->core->links[link].name, arrow, address, text);
}

static void emit(void *ctx, const struct bridge_action *a)
{
    struct loop *l = ctx;
    switch (a->type) {
    case BRIDGE_DO_SEND: {
        struct radio_link *r = l->links[a->send.link].link;
        trace(l, ">", a->send.link, &a->send.to, a->send.bytes);
        if (radio_base(r)->ops->send(r, &a->send.to, a->send.bytes.data, a->send.bytes.len) == 0)
            l->links[a->send.link].out_ms = loop_now_ms(l);
        return;
    }
    case BRIDGE_DO_STORE:
    case BRIDGE_DO_MARK:
    case BRIDGE_DO_FORGET:
    case BRIDGE_DO_SAVE:
    case BRIDGE_DO_ERASE:
    case BRIDGE_DO_FETCH:
        store_put(l->store, a);
        return;
    case BRIDGE_DO_CONNECT:
    case BRIDGE_DO_DISCONNECT:
    case BRIDGE_DO_PUBLISH:
    case BRIDGE_DO_SUBSCRIBE:
    case BRIDGE_DO_UNSUBSCRIBE:
    case BRIDGE_DO_ACCEPT:
        broker_put(l->broker, a);
        return;
    case BRIDGE_DO_NOTE:
        log_note(a, l->core);
        if (a->note.note == BRIDGE_NOTE_CONNECTION_FAILED ||
            a->note.note == BRIDGE_NOTE_BROKER_UNREACHABLE)
            loop_check_files(l);
        return;
    }
}

static void step(struct loop *l, const struct bridge_event *event)
{
    bridge_step(l->bridge, loop_now_ms(l), event);
}

/* ---- links -------------------------------------------------------------------------- */

struct receiver {
    struct loop *loop;
    uint16_t link;
};

static void receive(void *ctx, const struct radio_address *from, const uint8_t *frame, size_t len)
{
    const struct receiver *r = ctx;
    const struct bridge_event event = {
        .type = BRIDGE_ON_FRAME,
        .frame = {.link = r->link, .from = *from, .bytes = sn_bytes(frame, len)},
    };
    trace(r->loop, "<", r->link, from, event.frame.bytes);
    r->loop->links[r->link].in_ms = loop_now_ms(r->loop);
    step(r->loop, &event);
}

static void link_ready(struct loop *l, uint16_t i, uint32_t what)
{
    struct radio_link *r = l->links[i].link;
    struct receiver receiver = {.loop = l, .link = i};
    if (what & ~(uint32_t)EPOLLOUT)
        radio_base(r)->ops->receive(r, loop_now_ms(l), receive, &receiver);
    if (what & EPOLLOUT)
        radio_base(r)->ops->flush(r);
}

/* A link opens and closes its descriptor as its device comes and goes. */
static void watch_link(struct loop *l, uint16_t i)
{
    struct loop_link *w = &l->links[i];
    const struct radio_ops *ops = radio_base(w->link)->ops;
    const int fd = ops->fd(w->link);
    const bool want_write = fd >= 0 && ops->wants_write(w->link);
    if (fd == w->watched && want_write == w->watched_write)
        return;
    struct epoll_event e = {.events = EPOLLIN | (want_write ? EPOLLOUT : 0u),
                            .data.u64 = SOURCE_LINK + i};
    /* A descriptor that was closed has left the set by itself. */
    if (fd >= 0 && epoll_ctl(l->epoll, EPOLL_CTL_MOD, fd, &e) < 0)
        epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e);
    w->watched = fd;
    w->watched_write = want_write;
}

const char *loop_place(const struct config_link *c)
{
    return c->type == CONFIG_LINK_UDP ? c->listen : c->device;
}

/* A device that goes and comes says nothing by itself. */
static void mind_link(struct loop *l, size_t i)
{
    struct loop_link *w = &l->links[i];
    const struct config_link *c = &l->config->links[i];
    const bool up = radio_base(w->link)->up;
    if (up == w->was_up)
        return;
    w->was_up = up;
    w->since_ms = loop_now_ms(l);
    if (up)
        log_line(BRIDGE_LEVEL_INFO, "link %s: %s is back", c->core.name, loop_place(c));
    else
        log_line(BRIDGE_LEVEL_WARNING, "link %s: %s is gone; it is used again when it comes back",
                 c->core.name, loop_place(c));
}

static int open_udp(const struct config_link *c, struct radio_link **out, char *why, size_t size)
{
    return radio_udp_open(&(struct radio_udp_options){.listen = c->listen,
                                                      .group = c->multicast,
                                                      .group_interface = c->multicast_interface,
                                                      .group_hops = c->multicast_hops,
                                                      .frame_max = c->core.frame_max},
                          out, why, size);
}

static int open_serial(const struct config_link *c, struct radio_link **out, char *why, size_t size)
{
    static const enum radio_serial_parity parity[] = {
        [CONFIG_PARITY_NONE] = RADIO_SERIAL_PARITY_NONE,
        [CONFIG_PARITY_EVEN] = RADIO_SERIAL_PARITY_EVEN,
        [CONFIG_PARITY_ODD] = RADIO_SERIAL_PARITY_ODD,
    };
    static const enum radio_serial_flow flow[] = {
        [CONFIG_FLOW_NONE] = RADIO_SERIAL_FLOW_NONE,
        [CONFIG_FLOW_RTSCTS] = RADIO_SERIAL_FLOW_RTSCTS,
        [CONFIG_FLOW_XONXOFF] = RADIO_SERIAL_FLOW_XONXOFF,
    };
    struct radio_serial_options o = {
        .device = c->device,
        .frame_max = c->core.frame_max,
        .baud = c->baud,
        .data_bits = c->data_bits,
        .stop_bits = c->stop_bits,
        .parity = parity[c->parity],
        .flow = flow[c->flow_control],
        .wait_at_start = c->optional,
    };
    if (!radio_framing_find(c->framing, &o.framing)) {
        snprintf(why, size, "framing = %s is not in this program", c->framing);
        return -EINVAL;
    }
    return radio_serial_open(&o, out, why, size);
}

static int open_links(struct loop *l)
{
    for (size_t i = 0; i < l->config->bridge.link_count; i++) {
        const struct config_link *c = &l->config->links[i];
        char why[256] = "";
        struct radio_link *r = NULL;
        int rc = -EINVAL;
        switch (c->type) {
        case CONFIG_LINK_UDP:
            rc = open_udp(c, &r, why, sizeof(why));
            break;
        case CONFIG_LINK_SERIAL:
            rc = open_serial(c, &r, why, sizeof(why));
            break;
        }
        if (rc < 0) {
            log_line(BRIDGE_LEVEL_ERROR, "link %s: %s", c->core.name, why);
            return -1;
        }
        const bool up = radio_base(r)->up;
        l->links[l->link_count++] =
            (struct loop_link){.link = r, .watched = -1, .was_up = up, .since_ms = loop_now_ms(l)};
        if (!up)
            log_line(BRIDGE_LEVEL_WARNING, "link %s: %s is not there yet; it is used when it comes",
                     c->core.name, loop_place(c));
    }
    return 0;
}

/* ---- the other sources ------------------------------------------------------------------ */

static void take_store_events(struct loop *l)
{
    struct bridge_event event;
    char report[256];
    while (store_next_event(l->store, &event))
        step(l, &event);
    while (store_next_report(l->store, report, sizeof(report)))
        log_line(BRIDGE_LEVEL_WARNING, "%s", report);
}

static void take_broker_events(struct loop *l)
{
    struct bridge_event event;
    for (int i = 0; i < EVENTS_PER_TURN && broker_next_event(l->broker, &event); i++)
        step(l, &event);
}

static void begin_stop(struct loop *l)
{
    l->stopping = true;
    l->stop_by_ms = loop_now_ms(l) + STOP_WAIT_MS;
    log_line(BRIDGE_LEVEL_INFO, "stopping");
    notify_stopping();
    step(l, &(struct bridge_event){.type = BRIDGE_ON_STOP});
}

static void take_signals(struct loop *l)
{
    struct signalfd_siginfo info;
    while (read(l->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGHUP)
            loop_reload(l);
        else if (!l->stopping)
            begin_stop(l);
    }
}

/* Who asks waits in the socket; to look again and again would take all of the CPU. */
static void hear_questions(struct loop *l, bool hear)
{
    struct epoll_event e = {.events = hear ? EPOLLIN : 0, .data.u64 = SOURCE_CONTROL};
    epoll_ctl(l->epoll, EPOLL_CTL_MOD, control_fd(l->control), &e);
    l->deaf_until_ms = hear ? 0 : loop_now_ms(l) + DEAF_MS;
}

static void take_questions(struct loop *l)
{
    const enum control_served served = control_serve(l->control, loop_answer, l);
    if (served == CONTROL_SERVED)
        return;
    loop_check_files(l);
    if (served == CONTROL_DEAF)
        hear_questions(l, false);
}

/* ---- the loop ------------------------------------------------------------------------------ */

static int timeout_ms(struct loop *l)
{
    uint64_t due = bridge_deadline(l->bridge);
    for (size_t i = 0; i < l->link_count; i++) {
        const uint64_t link = radio_base(l->links[i].link)->ops->deadline(l->links[i].link);
        due = link < due ? link : due;
    }
    if (l->stopping && l->stop_by_ms < due)
        due = l->stop_by_ms;
    if (l->deaf_until_ms != 0 && l->deaf_until_ms < due)
        due = l->deaf_until_ms;
    const uint64_t now = loop_now_ms(l);
    if (due <= now)
        return 0;
    const uint64_t most = l->alive_ms < 60000 ? l->alive_ms : 60000;
    return due - now > most ? (int)most : (int)(due - now);
}

static void dispatch(struct loop *l, const struct epoll_event *e)
{
    switch (e->data.u64) {
    case SOURCE_SIGNAL:
        take_signals(l);
        return;
    case SOURCE_BROKER:
        take_broker_events(l);
        return;
    case SOURCE_STORE:
        take_store_events(l);
        return;
    case SOURCE_CLOCK:
        take_clock(l);
        return;
    case SOURCE_CONTROL:
        take_questions(l);
        return;
    default:
        link_ready(l, (uint16_t)(e->data.u64 - SOURCE_LINK), e->events);
        return;
    }
}

static void finish_turn(struct loop *l)
{
    const uint64_t now = loop_now_ms(l);
    for (size_t i = 0; i < l->link_count; i++) {
        const struct radio_ops *ops = radio_base(l->links[i].link)->ops;
        if (ops->deadline(l->links[i].link) <= now)
            ops->tick(l->links[i].link, now);
    }
    if (bridge_deadline(l->bridge) <= now)
        step(l, &(struct bridge_event){.type = BRIDGE_ON_TIME});
    for (size_t i = 0; i < l->link_count; i++) {
        radio_base(l->links[i].link)->ops->flush(l->links[i].link);
        watch_link(l, (uint16_t)i);
        mind_link(l, i);
    }
    store_flush(l->store);
    broker_flush(l->broker);
    if (l->deaf_until_ms != 0 && l->deaf_until_ms <= now)
        hear_questions(l, true);
    if (now >= l->alive_due_ms && l->alive_ms != UINT64_MAX) {
        l->alive_due_ms = now + l->alive_ms / 2;
        notify_alive();
    }
}

/* What is on its way to the broker is let come to its end, so that no QoS 1
 * message goes out twice because of a clean stop. */
static bool is_finished(struct loop *l)
{
    if (!l->stopping)
        return false;
    struct bridge_status s;
    bridge_get_status(l->bridge, &s);
    return s.undecided == 0 || loop_now_ms(l) >= l->stop_by_ms;
}

static void run(struct loop *l)
{
    struct epoll_event events[64];
    finish_turn(l);
    while (!is_finished(l)) {
        const int n = epoll_wait(l->epoll, events, 64, timeout_ms(l));
        for (int i = 0; i < n; i++)
            dispatch(l, &events[i]);
        finish_turn(l);
    }
}

/* ---- open and close --------------------------------------------------------------------------- */

static void watch(struct loop *l, int fd, enum source source)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = source};
    epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e);
}

static int make_data_dir(const char *path)
{
    struct stat s;
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        log_line(BRIDGE_LEVEL_ERROR, "data = %s: cannot be created: %s", path, strerror(errno));
    else if (stat(path, &s) < 0 || !S_ISDIR(s.st_mode))
        log_line(BRIDGE_LEVEL_ERROR, "data = %s: is no directory", path);
    else if (access(path, R_OK | W_OK | X_OK) < 0)
        log_line(BRIDGE_LEVEL_ERROR,
                 "data = %s: user %u may not write there: %s; give the directory to that user",
                 path, (unsigned)geteuid(), strerror(errno));
    else
        return 0;
    return -1;
}

static int open_store(struct loop *l)
{
    char path[4200];
    char why[256] = "";
    snprintf(path, sizeof(path), "%s/store.db", l->config->data);
    const struct store_options options = {
        .path = path,
        .lazy_ms = l->config->commit_delay_ms,
        .max_bytes = (uint64_t)l->config->store_max_mb << 20,
    };
    const enum store_fault fault = store_open(&options, &l->store, why, sizeof(why));
    if (fault != STORE_OK) {
        log_line(BRIDGE_LEVEL_ERROR, "%s", why);
        return -1;
    }
    if (why[0] != '\0')
        log_line(BRIDGE_LEVEL_WARNING, "%s", why);
    l->own_ms = store_own_ms(l->store) - clock_ms(CLOCK_MONOTONIC);
    l->start_ms = loop_now_ms(l);
    if (!timeline_is_set(clock_ms(CLOCK_REALTIME)))
        log_line(
            BRIDGE_LEVEL_WARNING,
            "the wall clock is not set: ages count all the same, the broker is not told when a "
            "message was received");
    return 0;
}

/* The region is reserved whole and costs what is touched. */
static int make_bridge(struct loop *l)
{
    const struct bridge_config *c = l->core;
    size_t size = bridge_memory_usual(c);
    if (l->config->memory_mb > 0) {
        const size_t least = bridge_memory_min(c);
        size = (size_t)l->config->memory_mb << 20;
        if (size < least) {
            log_line(BRIDGE_LEVEL_ERROR,
                     "memory_mb = %u is too little for max_clients = %u: at least %zu are needed",
                     l->config->memory_mb, c->max_clients, (least >> 20) + 1);
            return -1;
        }
    }
    l->memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (l->memory == MAP_FAILED) {
        l->memory = NULL;
        log_line(BRIDGE_LEVEL_ERROR, "no memory: %zu MiB cannot be reserved", size >> 20);
        return -1;
    }
    l->memory_size = size;
    l->bridge = bridge_init(l->memory, size, c, emit, l);
    if (l->bridge == NULL) {
        log_line(BRIDGE_LEVEL_ERROR, "memory_mb is too little for this configuration");
        return -1;
    }
    log_line(BRIDGE_LEVEL_INFO, "memory limit %zu MiB for %u clients", size >> 20, c->max_clients);
    return 0;
}

static void replayed(void *ctx, const struct bridge_event *event)
{
    step(ctx, event);
}

static int open_all(struct loop *l)
{
    char why[256] = "";
    if (make_data_dir(l->config->data) < 0 || open_store(l) < 0 || open_links(l) < 0 ||
        make_bridge(l) < 0)
        return -1;
    struct broker_options broker = l->config->broker;
    broker.store = l->store;
    if (broker_open(&broker, &l->broker, why, sizeof(why)) < 0) {
        log_line(BRIDGE_LEVEL_ERROR, "broker: %s", why);
        return -1;
    }
    if (control_open(l->config->data, &l->control, why, sizeof(why)) < 0) {
        log_line(BRIDGE_LEVEL_ERROR, "%s", why);
        return -1;
    }
    watch(l, l->signals, SOURCE_SIGNAL);
    watch(l, broker_fd(l->broker), SOURCE_BROKER);
    watch(l, store_fd(l->store), SOURCE_STORE);
    watch(l, control_fd(l->control), SOURCE_CONTROL);
    watch(l, l->clock, SOURCE_CLOCK);
    watch_clock(l);
    return 0;
}

static void close_all(struct loop *l)
{
    for (size_t i = 0; i < l->link_count; i++)
        radio_base(l->links[i].link)->ops->close(l->links[i].link);
    if (l->control != NULL)
        control_close(l->control);
    if (l->broker != NULL)
        broker_close(l->broker, CLOSE_WAIT_MS);
    if (l->store != NULL)
        store_close(l->store);
    if (l->memory != NULL)
        munmap(l->memory, l->memory_size);
    if (l->reloaded != NULL) {
        config_free(l->reloaded);
        free(l->reloaded);
    }
    if (l->clock >= 0)
        close(l->clock);
    close(l->signals);
    close(l->epoll);
}

static int block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* All threads take turns anyway: the client library has one lock. Handing a
 * message from one to the next on the same CPU is much cheaper than waking
 * another one: half as many messages again per second were measured. */
static void stay_on_this_cpu(void)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof(one), &one); /* where that is not allowed we do without */
}

int loop_run(const char *path, const struct config *config)
{
    if (config->one_cpu)
        stay_on_this_cpu();
    struct loop l = {
        .path = path,
        .start = config,
        .config = config,
        .start_core = config->bridge,
        .signals = block_signals(),
        .epoll = epoll_create1(EPOLL_CLOEXEC),
        .clock = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC),
        .wall_ms = wall_offset_ms(),
    };
    if (getrandom(&l.start_core.seed, sizeof(l.start_core.seed), 0) < 0)
        l.start_core.seed = clock_ms(CLOCK_REALTIME);
    l.core = &l.start_core;
    l.alive_ms = notify_alive_ms();
    log_level(config->log);
    loop_find_files(&l);
    if (open_all(&l) < 0) {
        close_all(&l);
        return 1;
    }
    const uint64_t next_seq = store_replay(l.store, replayed, &l);
    step(&l, &(struct bridge_event){.type = BRIDGE_ON_START, .start.next_seq = next_seq});
    log_line(BRIDGE_LEVEL_INFO, "ready");
    notify_ready();
    run(&l);
    close_all(&l);
    log_line(BRIDGE_LEVEL_INFO, "stopped");
    return 0;
}
