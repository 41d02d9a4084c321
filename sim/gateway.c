#include "sim/gateway.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "bridge/timeline.h"

#define STOP_WAIT_US  SIM_S /* as in the daemon: for what is undecided at the broker */
#define TURNS_MAX     10000 /* at one moment; more means that the deadline does not move */
#define CLEAN_STOP_US (10 * SIM_MS)

struct link {
    struct sim_channel *channel;
    const char **names; /* of its peers; number 0 is nobody */
    uint32_t name_count;
};

struct sim_gateway {
    struct sim_world *world;
    struct sim_trace *trace;
    struct sim_gateway_options options;
    struct bridge_config config;
    struct sim_random random;
    struct sim_disk *disk;
    struct sim_broker *broker;
    struct link links[BRIDGE_LINKS_MAX];
    struct bridge *bridge;
    void *memory;
    size_t memory_size;
    uint64_t own_ms;           /* the bridge's own time at the world's beginning */
    uint64_t wall_ms;          /* the wall clock's, at the same moment */
    struct timeline_mark mark; /* as the disk has it */
    uint64_t steps;
    uint64_t turn_us; /* when the last turn ended, and how many did at that moment */
    uint32_t turns;
    struct sim_timer turn;
    struct sim_timer deadline;
    struct sim_timer start;
    struct sim_timer stop;
    uint64_t cut_at; /* operation of the disk; 0: none is planned */
    uint64_t cut_down_us;
    uint64_t stop_by_us;
    uint64_t stop_down_us;
    bool cutting; /* the power is gone: what the core still says in this step is lost */
    bool stepping;
    bool replaying;
};

static uint64_t now_ms(const struct sim_gateway *g)
{
    return g->own_ms + sim_now(g->world) / SIM_MS;
}

static struct timeline_mark all_clocks(const struct sim_gateway *g)
{
    return (struct timeline_mark){.own_ms = now_ms(g),
                                  .wall_ms = g->wall_ms + sim_now(g->world) / SIM_MS};
}

/* ---- what the core says ------------------------------------------------------------ */

static uint32_t peer_of(const struct radio_address *a)
{
    uint32_t peer = 0;
    for (uint8_t i = 0; i < a->len; i++)
        peer = peer << 8 | a->bytes[i];
    return peer;
}

static struct radio_address address_of(uint32_t peer)
{
    return (struct radio_address){.len = 4,
                                  .bytes = {(uint8_t)(peer >> 24), (uint8_t)(peer >> 16),
                                            (uint8_t)(peer >> 8), (uint8_t)peer}};
}

static void send(struct sim_gateway *g, const struct bridge_action *a)
{
    /* An empty address is peer 0: everybody. */
    sim_channel_send(g->links[a->send.link].channel, SIM_DOWN, peer_of(&a->send.to),
                     a->send.bytes.data, a->send.bytes.len);
}

static const char *receiver(const struct sim_gateway *g, const struct bridge_action *a)
{
    const struct link *l = &g->links[a->type == BRIDGE_DO_SEND ? a->send.link : 0];
    const uint32_t peer = a->type == BRIDGE_DO_SEND ? peer_of(&a->send.to) : 0;
    return peer < l->name_count ? l->names[peer] : NULL;
}

static void put_on_disk(struct sim_gateway *g, const struct bridge_action *a)
{
    sim_disk_put(g->disk, a);
    if (g->cut_at != 0 && sim_disk_operations(g->disk) >= g->cut_at)
        g->cutting = true;
}

void sim_gateway_do(struct sim_gateway *g, const struct bridge_action *a)
{
    sim_trace_say(g->trace, &(struct sim_record){.type = SIM_BRIDGE_ACTION,
                                                 .at_us = sim_now(g->world),
                                                 .action = a,
                                                 .link = a->type == BRIDGE_DO_SEND
                                                             ? g->config.links[a->send.link].name
                                                             : NULL,
                                                 .device = receiver(g, a)});
    switch (a->type) {
    case BRIDGE_DO_SEND:
        send(g, a);
        return;
    case BRIDGE_DO_STORE:
    case BRIDGE_DO_MARK:
    case BRIDGE_DO_FORGET:
    case BRIDGE_DO_SAVE:
    case BRIDGE_DO_ERASE:
    case BRIDGE_DO_FETCH:
        put_on_disk(g, a);
        return;
    case BRIDGE_DO_CONNECT:
    case BRIDGE_DO_DISCONNECT:
    case BRIDGE_DO_PUBLISH:
    case BRIDGE_DO_SUBSCRIBE:
    case BRIDGE_DO_UNSUBSCRIBE:
    case BRIDGE_DO_ACCEPT:
        sim_broker_put(g->broker, a);
        return;
    case BRIDGE_DO_NOTE:
        return;
    }
}

static void emit(void *ctx, const struct bridge_action *a)
{
    struct sim_gateway *g = ctx;
    struct bridge_action copy = *a;
    if (g->cutting)
        return;
    if (g->options.filter == NULL || g->options.filter->action(g->options.filter, g, &copy))
        sim_gateway_do(g, &copy);
}

/* ---- what happens to it -------------------------------------------------------------- */

static void feed(struct sim_gateway *g, const struct bridge_event *event)
{
    assert(!g->stepping);
    g->stepping = true;
    sim_trace_say(
        g->trace,
        &(struct sim_record){.type = SIM_BRIDGE_EVENT, .at_us = sim_now(g->world), .event = event});
    bridge_step(g->bridge, now_ms(g), event);
    g->steps++;
    if (!g->replaying && g->options.check_every != 0 && g->steps % g->options.check_every == 0)
        bridge_check(g->bridge);
    g->stepping = false;
}

void sim_gateway_feed(struct sim_gateway *g, const struct bridge_event *event)
{
    if (g->bridge == NULL)
        return;
    feed(g, event);
    if (g->cutting) {
        g->cut_at = 0;
        sim_gateway_kill(g, g->cut_down_us);
        return;
    }
    sim_timer_set(g->world, &g->turn, sim_now(g->world));
}

static void happen(void *ctx, const struct bridge_event *event)
{
    struct sim_gateway *g = ctx;
    /* With what the core makes of it, in one turn. */
    if (event->type == BRIDGE_ON_MESSAGE && event->message.qos == 2 && g->bridge != NULL)
        sim_disk_put_flight(g->disk, event->message.token);
    if (g->options.filter == NULL || g->options.filter->event(g->options.filter, g, event))
        sim_gateway_feed(g, event);
}

void sim_gateway_frame(struct sim_gateway *g, uint16_t link, uint32_t peer, const uint8_t *frame,
                       size_t len)
{
    happen(g,
           &(struct bridge_event){
               .type = BRIDGE_ON_FRAME,
               .frame = {.link = link, .from = address_of(peer), .bytes = sn_bytes(frame, len)}});
}

static bool has_flight(void *ctx, uint64_t token)
{
    return sim_disk_has_flight(((struct sim_gateway *)ctx)->disk, token);
}

static void set_deadline(struct sim_gateway *g)
{
    const uint64_t due_ms = bridge_deadline(g->bridge);
    if (due_ms == BRIDGE_NEVER)
        sim_timer_stop(g->world, &g->deadline);
    else
        sim_timer_set(g->world, &g->deadline,
                      due_ms <= g->own_ms ? 0 : (due_ms - g->own_ms) * SIM_MS);
}

/* As the loop does it: timers, then the disk gets what has come together. */
static void turn_ends(void *ctx, uint64_t arg)
{
    struct sim_gateway *g = ctx;
    (void)arg;
    if (g->bridge == NULL)
        return;
    g->turns = g->turn_us == sim_now(g->world) ? g->turns + 1 : 0;
    g->turn_us = sim_now(g->world);
    assert(g->turns < TURNS_MAX);
    if (bridge_deadline(g->bridge) <= now_ms(g)) {
        happen(g, &(struct bridge_event){.type = BRIDGE_ON_TIME});
        if (g->bridge == NULL)
            return;
    }
    sim_disk_flush(g->disk);
    set_deadline(g);
}

/* ---- life ------------------------------------------------------------------------------- */

static void replayed(void *ctx, const struct bridge_event *event)
{
    feed(ctx, event);
}

void sim_gateway_start(struct sim_gateway *g)
{
    if (g->bridge != NULL)
        return;
    const struct timeline_mark today = all_clocks(g);
    g->own_ms = timeline_resume(&g->mark, &today) - sim_now(g->world) / SIM_MS;
    g->mark = all_clocks(g);
    g->config.seed = sim_random_next(&g->random);
    g->memory = sim_memory(g->memory_size);
    g->bridge = bridge_init(g->memory, g->memory_size, &g->config, emit, g);
    assert(g->bridge != NULL);
    g->replaying = true; /* what is counted agrees when all of it has been given */
    const uint64_t next_seq = sim_disk_replay(g->disk, replayed, g);
    g->replaying = false;
    sim_gateway_feed(g,
                     &(struct bridge_event){.type = BRIDGE_ON_START, .start.next_seq = next_seq});
    if (g->bridge == NULL)
        return; /* the power was cut in this very step */
    bridge_check(g->bridge);
    sim_trace_say(g->trace,
                  &(struct sim_record){.type = SIM_BRIDGE_STARTED, .at_us = sim_now(g->world)});
}

static void starts(void *ctx, uint64_t arg)
{
    (void)arg;
    sim_gateway_start(ctx);
}

static void go_down(struct sim_gateway *g, bool clean, uint64_t down_us)
{
    sim_trace_say(g->trace, &(struct sim_record){.type = SIM_BRIDGE_KILLED,
                                                 .at_us = sim_now(g->world),
                                                 .why = clean ? "stopped" : "killed"});
    free(g->memory);
    g->memory = NULL;
    g->bridge = NULL;
    g->cutting = false;
    if (clean)
        g->mark = all_clocks(g);
    sim_timer_stop(g->world, &g->turn);
    sim_timer_stop(g->world, &g->deadline);
    sim_timer_stop(g->world, &g->stop);
    sim_disk_cut(g->disk, clean);
    sim_broker_end_client(g->broker);
    if (down_us != SIM_NEVER)
        sim_timer_set(g->world, &g->start, sim_now(g->world) + down_us);
}

void sim_gateway_kill(struct sim_gateway *g, uint64_t down_us)
{
    if (g->bridge != NULL)
        go_down(g, false, down_us);
}

void sim_gateway_kill_at(struct sim_gateway *g, uint64_t operation, uint64_t down_us)
{
    g->cut_at = operation;
    g->cut_down_us = down_us;
}

static void stops(void *ctx, uint64_t arg)
{
    struct sim_gateway *g = ctx;
    struct bridge_status s;
    (void)arg;
    bridge_get_status(g->bridge, &s);
    if (s.undecided > 0 && sim_now(g->world) < g->stop_by_us)
        sim_timer_set(g->world, &g->stop, sim_now(g->world) + CLEAN_STOP_US);
    else
        go_down(g, true, g->stop_down_us);
}

void sim_gateway_stop(struct sim_gateway *g, uint64_t down_us)
{
    if (g->bridge == NULL)
        return;
    g->stop_by_us = sim_now(g->world) + STOP_WAIT_US;
    g->stop_down_us = down_us;
    sim_gateway_feed(g, &(struct bridge_event){.type = BRIDGE_ON_STOP});
    if (g->bridge != NULL)
        sim_timer_set(g->world, &g->stop, sim_now(g->world) + CLEAN_STOP_US);
}

void sim_gateway_step_clock(struct sim_gateway *g, int64_t ms)
{
    g->wall_ms = (uint64_t)((int64_t)g->wall_ms + ms);
    if (g->bridge != NULL)
        g->mark = all_clocks(g);
}

struct sim_gateway *sim_gateway_open(struct sim_world *w, struct sim_trace *trace, uint64_t seed,
                                     const struct sim_gateway_options *o)
{
    struct sim_gateway *g = sim_memory(sizeof(*g));
    g->world = w;
    g->trace = trace;
    g->options = *o;
    g->config = *o->config;
    g->memory_size = o->memory == 0 ? bridge_memory_usual(&g->config)
                                    : bridge_memory_min(&g->config) + o->memory;
    g->wall_ms = SIM_START_MS;
    g->turn = (struct sim_timer){.fn = turn_ends, .ctx = g};
    g->deadline = (struct sim_timer){.fn = turn_ends, .ctx = g};
    g->start = (struct sim_timer){.fn = starts, .ctx = g};
    g->stop = (struct sim_timer){.fn = stops, .ctx = g};
    sim_random_init(&g->random, seed, "gateway");
    g->disk = sim_disk_open(w, trace, seed, &o->disk, happen, g);
    struct sim_broker_options broker = o->broker;
    broker.has_flight = has_flight;
    g->broker = sim_broker_open(w, trace, seed, &broker, happen, g);
    return g;
}

void sim_gateway_close(struct sim_gateway *g)
{
    sim_timer_stop(g->world, &g->turn);
    sim_timer_stop(g->world, &g->deadline);
    sim_timer_stop(g->world, &g->start);
    sim_timer_stop(g->world, &g->stop);
    for (size_t i = 0; i < BRIDGE_LINKS_MAX; i++)
        free(g->links[i].names);
    sim_broker_close(g->broker);
    sim_disk_close(g->disk);
    free(g->memory);
    free(g);
}

void sim_gateway_set_link(struct sim_gateway *g, uint16_t link, struct sim_channel *c)
{
    g->links[link].channel = c;
}

void sim_gateway_name_peer(struct sim_gateway *g, uint16_t link, uint32_t peer, const char *name)
{
    struct link *l = &g->links[link];
    if (peer >= l->name_count) {
        const uint32_t count = (peer + 1) * 2;
        l->names = sim_more_memory(l->names, count * sizeof(*l->names));
        memset(l->names + l->name_count, 0, (count - l->name_count) * sizeof(*l->names));
        l->name_count = count;
    }
    l->names[peer] = name;
}

struct bridge *sim_gateway_bridge(const struct sim_gateway *g)
{
    return g->bridge;
}

struct sim_disk *sim_gateway_disk(const struct sim_gateway *g)
{
    return g->disk;
}

struct sim_broker *sim_gateway_broker(const struct sim_gateway *g)
{
    return g->broker;
}

uint64_t sim_gateway_steps(const struct sim_gateway *g)
{
    return g->steps;
}
