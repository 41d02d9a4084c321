#include "sim/run.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "radio/profile.h"
#include "sim/names.h"

#define CHECK_US       (60 * SIM_S) /* between looks at the bridge's account */
#define REST_US        (1 * SIM_S)  /* between looks whether all is at rest */
#define KILLED_US      (1 * SIM_S)  /* down, where the scenario does not say */
#define SENT_LATER_US  (5 * SIM_MS) /* frames that are gone sooner need no word of it */
#define FAULT_TEXT_MAX 128

struct run_link {
    struct sim_run *run;
    uint16_t number;
    struct sim_channel *channel;
    struct radio_profile radio;
    struct sim_device **devices; /* by peer */
    uint32_t peer_count;
};

struct run_device {
    struct sim_device *device;
    uint64_t frame; /* the last one that it sent */
};

struct run_command {
    struct sim_run *run;
    const struct sim_commands *plan;
    struct sim_random random;
    struct sim_timer timer;
    uint64_t next;
};

struct run_fault {
    struct sim_run *run;
    const struct sim_fault *plan;
    struct sim_timer begin;
    struct sim_timer end;
    struct sim_device *device; /* of those that are about one */
};

struct sim_run {
    struct sim_run_options options;
    const struct sim_scenario *scenario;
    struct sim_world *world;
    struct sim_trace *trace;
    struct sim_check *check;
    struct sim_gateway *gateway;
    struct sim_random random; /* of faults */
    struct run_link links[SIM_SCENARIO_LINKS];
    struct run_device *devices; /* fleet by fleet */
    size_t device_count;
    struct sim_names names; /* their numbers by name */
    struct run_command commands[SIM_SCENARIO_COMMANDS];
    struct run_fault faults[SIM_SCENARIO_FAULTS];
    bool stopped;
};

/* ---- links ---------------------------------------------------------------------- */

static void arrives(void *ctx, enum sim_direction direction, uint32_t peer, const uint8_t *frame,
                    size_t len)
{
    struct run_link *l = ctx;
    if (direction == SIM_UP)
        sim_gateway_frame(l->run->gateway, l->number, peer, frame, len);
    else if (peer < l->peer_count && l->devices[peer] != NULL)
        sim_device_frame(l->devices[peer], frame, len);
}

static void open_link(struct sim_run *r, size_t i)
{
    const struct sim_scenario_link *plan = &r->scenario->links[i];
    struct run_link *l = &r->links[i];
    l->run = r;
    l->number = (uint16_t)i;
    l->radio = sim_scenario_radio(plan);
    l->channel = sim_channel_open(r->world, r->trace, r->options.seed, plan->name, &plan->profile,
                                  arrives, l);
    sim_gateway_set_link(r->gateway, l->number, l->channel);
}

static void place(struct run_link *l, struct sim_device *d)
{
    const char *name = sim_device_name(d);
    const uint32_t peer = sim_channel_attach(l->channel, name);
    if (peer >= l->peer_count) {
        const uint32_t count = 2 * peer + 16;
        l->devices = sim_more_memory(l->devices, count * sizeof(struct sim_device *));
        for (uint32_t i = l->peer_count; i < count; i++)
            l->devices[i] = NULL;
        l->peer_count = count;
    }
    l->devices[peer] = d;
    sim_gateway_name_peer(l->run->gateway, l->number, peer, name);
    sim_device_place(d, &(struct sim_device_place){
                            .channel = l->channel,
                            .name = l->run->scenario->links[l->number].name,
                            .peer = peer,
                            .frame_max = l->radio.frame_max,
                            .rtt = radio_profile_rtt_limits(&l->radio),
                            .retries = l->radio.retries,
                        });
}

/* A device that has moved is not heard at its old place any more. */
static void move(struct sim_run *r, struct sim_device *d, size_t link)
{
    for (size_t i = 0; i < r->scenario->link_count; i++)
        for (uint32_t peer = 0; peer < r->links[i].peer_count; peer++)
            if (r->links[i].devices[peer] == d)
                r->links[i].devices[peer] = NULL;
    place(&r->links[link], d);
}

/* ---- devices ------------------------------------------------------------------------ */

static void open_fleet(struct sim_run *r, const struct sim_fleet *f)
{
    for (uint32_t i = 1; i <= f->count; i++) {
        char name[SIM_SCENARIO_NAME_MAX + 16];
        if (f->is_one)
            snprintf(name, sizeof(name), "%s", f->name);
        else
            snprintf(name, sizeof(name), "%s%" PRIu32, f->name, i);
        struct sim_device *d = sim_device_open(r->world, r->trace, r->options.seed, &f->plan, name,
                                               i, &r->scenario->config.bridge);
        r->devices[r->device_count++].device = d;
        sim_names_number(&r->names, sim_device_name(d));
        place(&r->links[f->link], d);
    }
}

/* The first device of a fleet; the others follow it. */
static struct run_device *fleet_devices(const struct sim_run *r, size_t fleet)
{
    size_t first = 0;
    for (size_t i = 0; i < fleet; i++)
        first += r->scenario->fleets[i].count;
    return &r->devices[first];
}

static void frame_is_sent(void *ctx, uint64_t arg)
{
    struct run_device *d = ctx;
    if (d->frame == arg)
        sim_device_sent(d->device, false);
}

/* A device knows when its frame has left its antenna, or never will. */
static void hear_frames(void *ctx, const struct sim_record *record)
{
    struct sim_run *r = ctx;
    if ((record->type != SIM_FRAME_SENT && record->type != SIM_FRAME_STARTED &&
         record->type != SIM_FRAME_ARRIVED && record->type != SIM_FRAME_LOST) ||
        record->direction != SIM_UP || record->device == NULL)
        return;
    const uint32_t i = sim_names_find(&r->names, record->device);
    if (i == SIM_NAMES_NONE)
        return;
    struct run_device *d = &r->devices[i];
    if (record->type == SIM_FRAME_SENT) {
        d->frame = record->frame;
        sim_device_waits(d->device);
    } else if (record->frame == d->frame) {
        /* Not now: the device is just about to hand it over. */
        sim_at(r->world, record->type == SIM_FRAME_STARTED ? record->until_us : record->at_us,
               frame_is_sent, d, d->frame);
    }
}

/* ---- commands ----------------------------------------------------------------------------- */

static void command(struct run_command *c)
{
    const struct sim_publication *p = &c->plan->publication;
    uint8_t payload[SIM_DEVICE_PAYLOAD_MAX];
    char text[64];
    const size_t n = (size_t)snprintf(text, sizeof(text), "%s:%" PRIu64, c->plan->name, c->next++);
    const size_t len = p->size > n ? p->size : n;
    memset(payload, '.', len);
    memcpy(payload, text, n);
    sim_broker_publish(sim_gateway_broker(c->run->gateway),
                       &(struct sim_message){.topic = sn_bytes_text(p->topic),
                                             .payload = sn_bytes(payload, len),
                                             .qos = (uint8_t)p->qos,
                                             .retain = p->retain});
}

static void command_is_due(void *ctx, uint64_t arg)
{
    struct run_command *c = ctx;
    const struct sim_publication *p = &c->plan->publication;
    const uint64_t now = sim_now(c->run->world);
    (void)arg;
    if (c->run->stopped || (p->until_us != 0 && now > p->until_us))
        return;
    for (uint32_t i = 0; i < p->burst; i++)
        command(c);
    if (p->every.high > 0)
        sim_timer_set(c->run->world, &c->timer,
                      now + sim_random_between(&c->random, p->every.low, p->every.high));
}

static void open_command(struct sim_run *r, size_t i)
{
    struct run_command *c = &r->commands[i];
    c->run = r;
    c->plan = &r->scenario->commands[i];
    c->next = 1;
    c->timer = (struct sim_timer){.fn = command_is_due, .ctx = c};
    sim_random_init(&c->random, r->options.seed, c->plan->name);
    sim_check_sender(r->check, c->plan->name);
    const struct sim_publication *p = &c->plan->publication;
    const uint64_t within = p->spread_us != 0 ? p->spread_us : p->every.high;
    sim_timer_set(r->world, &c->timer,
                  p->from_us + (within == 0 ? 0 : sim_random_below(&c->random, within)));
}

/* ---- faults ---------------------------------------------------------------------------------- */

static void fault_text(const struct run_fault *f, bool ends, char *out)
{
    static const char *const words[SIM_FAULT_KINDS][2] = {
        [SIM_FAULT_BROKER_DOWN] = {"broker down", "broker up"},
        [SIM_FAULT_BROKER_SLOW] = {"broker slow", "broker as usual"},
        [SIM_FAULT_BROKER_DROPS] = {"broker drops", NULL},
        [SIM_FAULT_BROKER_REFUSES] = {"broker refuses", "broker accepts"},
        [SIM_FAULT_BROKER_FORGETS] = {"broker forgets", NULL},
        [SIM_FAULT_BROKER_REJECTS] = {"broker rejects", "broker rejects nothing"},
        [SIM_FAULT_BRIDGE_KILLED] = {"bridge killed", NULL},
        [SIM_FAULT_BRIDGE_STOPPED] = {"bridge stopped", NULL},
        [SIM_FAULT_DISK_FULL] = {"disk full", "disk works"},
        [SIM_FAULT_DISK_PATCHY] = {"disk patchy", "disk works"},
        [SIM_FAULT_DISK_FAILS] = {"disk fails", "disk works"},
        [SIM_FAULT_DISK_SLOW] = {"disk slow", "disk as usual"},
        [SIM_FAULT_CLOCK] = {"clock", NULL},
        [SIM_FAULT_LINK_DOWN] = {"down", "up"},
        [SIM_FAULT_DEVICE_REBOOTS] = {"reboots", NULL},
        [SIM_FAULT_DEVICE_OFF] = {"off", "on"},
        [SIM_FAULT_DEVICE_LEAVES] = {"leaves", NULL},
        [SIM_FAULT_DEVICE_MOVES] = {"moves", NULL},
        [SIM_FAULT_DEVICE_PUBLISHES] = {"publishes", NULL},
    };
    const struct sim_fault *p = f->plan;
    const char *word = words[p->kind][ends];
    const struct sim_scenario *s = f->run->scenario;
    if (p->kind == SIM_FAULT_LINK_DOWN)
        snprintf(out, FAULT_TEXT_MAX, "link %s %s", s->links[p->link].name, word);
    else if (p->kind == SIM_FAULT_CLOCK)
        snprintf(out, FAULT_TEXT_MAX, "clock %+" PRId64 " ms", p->clock_ms);
    else if (p->kind >= SIM_FAULT_DEVICE_REBOOTS)
        snprintf(out, FAULT_TEXT_MAX, "%s %s",
                 f->device != NULL ? sim_device_name(f->device) : s->fleets[p->fleet].name, word);
    else
        snprintf(out, FAULT_TEXT_MAX, "%s%s%s", word, !ends && p->filter[0] != '\0' ? " " : "",
                 ends ? "" : p->filter);
}

static void say_fault(struct run_fault *f, bool ends)
{
    char text[FAULT_TEXT_MAX];
    fault_text(f, ends, text);
    sim_trace_say(f->run->trace,
                  &(struct sim_record){
                      .type = SIM_FAULT,
                      .at_us = sim_now(f->run->world),
                      .text = text,
                      .why = f->plan->kind == SIM_FAULT_BROKER_FORGETS ? "broker-forgets" : NULL});
}

static void device_fault(struct run_fault *f, struct sim_device *d, bool ends)
{
    struct sim_run *r = f->run;
    if (f->plan->kind == SIM_FAULT_DEVICE_REBOOTS)
        sim_device_reboot(d);
    else if (f->plan->kind == SIM_FAULT_DEVICE_OFF && ends)
        sim_device_start(d);
    else if (f->plan->kind == SIM_FAULT_DEVICE_OFF)
        sim_device_off(d);
    else if (f->plan->kind == SIM_FAULT_DEVICE_LEAVES)
        sim_device_leave(d);
    else if (f->plan->kind == SIM_FAULT_DEVICE_MOVES)
        move(r, d, f->plan->link);
    else if (!r->stopped)
        sim_device_publish(d, 0);
}

static void device_faults(struct run_fault *f, bool ends)
{
    struct run_device *all = fleet_devices(f->run, f->plan->fleet);
    const uint32_t count = f->run->scenario->fleets[f->plan->fleet].count;
    if (f->device != NULL) {
        device_fault(f, f->device, ends);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        device_fault(f, all[i].device, ends);
}

static uint64_t draw(struct sim_run *r, struct sim_span span)
{
    return sim_random_between(&r->random, span.low, span.high);
}

static uint64_t down_us(struct sim_run *r, const struct sim_fault *p)
{
    return p->length.high == 0 ? KILLED_US : draw(r, p->length);
}

static void happens(struct run_fault *f, bool ends)
{
    struct sim_run *r = f->run;
    const struct sim_fault *p = f->plan;
    struct sim_broker *broker = sim_gateway_broker(r->gateway);
    struct sim_disk *disk = sim_gateway_disk(r->gateway);
    if (p->one && !ends)
        f->device =
            fleet_devices(
                r, p->fleet)[sim_random_below(&r->random, r->scenario->fleets[p->fleet].count)]
                .device;
    say_fault(f, ends);
    switch (p->kind) {
    case SIM_FAULT_BROKER_DOWN:
        sim_broker_set_up(broker, ends);
        return;
    case SIM_FAULT_BROKER_SLOW:
        sim_broker_slow(broker, ends ? 0 : draw(r, p->slow));
        return;
    case SIM_FAULT_BROKER_DROPS:
        sim_broker_drop(broker);
        return;
    case SIM_FAULT_BROKER_REFUSES:
        sim_broker_refuse(broker, !ends);
        return;
    case SIM_FAULT_BROKER_FORGETS:
        sim_broker_forget(broker);
        return;
    case SIM_FAULT_BROKER_REJECTS:
        sim_broker_reject(broker, ends ? NULL : p->filter);
        return;
    case SIM_FAULT_BRIDGE_KILLED:
        sim_gateway_kill(r->gateway, down_us(r, p));
        return;
    case SIM_FAULT_BRIDGE_STOPPED:
        sim_gateway_stop(r->gateway, down_us(r, p));
        return;
    case SIM_FAULT_DISK_FULL:
        sim_disk_set(disk, ends ? SIM_DISK_WORKS : SIM_DISK_FULL);
        return;
    case SIM_FAULT_DISK_PATCHY:
        sim_disk_set(disk, ends ? SIM_DISK_WORKS : SIM_DISK_PATCHY);
        return;
    case SIM_FAULT_DISK_FAILS:
        sim_disk_set(disk, ends ? SIM_DISK_WORKS : SIM_DISK_FAILS);
        return;
    case SIM_FAULT_DISK_SLOW:
        sim_disk_slow(disk, ends ? 0 : draw(r, p->slow));
        return;
    case SIM_FAULT_CLOCK:
        sim_gateway_step_clock(r->gateway, p->clock_ms);
        return;
    case SIM_FAULT_LINK_DOWN:
        sim_channel_break(r->links[p->link].channel, !ends);
        return;
    case SIM_FAULT_DEVICE_REBOOTS:
    case SIM_FAULT_DEVICE_OFF:
    case SIM_FAULT_DEVICE_LEAVES:
    case SIM_FAULT_DEVICE_MOVES:
    case SIM_FAULT_DEVICE_PUBLISHES:
        device_faults(f, ends);
        return;
    case SIM_FAULT_KINDS:
        break;
    }
    assert(false);
}

/* What lasts, as against what is over in a moment. */
static bool is_state(enum sim_fault_kind kind)
{
    return kind == SIM_FAULT_BROKER_DOWN || kind == SIM_FAULT_BROKER_SLOW ||
           kind == SIM_FAULT_BROKER_REFUSES || kind == SIM_FAULT_BROKER_REJECTS ||
           kind == SIM_FAULT_DISK_FULL || kind == SIM_FAULT_DISK_PATCHY ||
           kind == SIM_FAULT_DISK_FAILS || kind == SIM_FAULT_DISK_SLOW ||
           kind == SIM_FAULT_LINK_DOWN || kind == SIM_FAULT_DEVICE_OFF;
}

static void fault_ends(void *ctx, uint64_t arg)
{
    (void)arg;
    happens(ctx, true);
}

static void arrange_next(struct run_fault *f, uint64_t from_us)
{
    const struct sim_fault *p = f->plan;
    const uint64_t next = from_us + sim_random_wait(&f->run->random, p->at_us);
    if (p->until_us == 0 || next <= p->until_us)
        sim_timer_set(f->run->world, &f->begin, next);
}

static void fault_begins(void *ctx, uint64_t arg)
{
    struct run_fault *f = ctx;
    struct sim_run *r = f->run;
    const struct sim_fault *p = f->plan;
    uint64_t until = sim_now(r->world);
    (void)arg;
    if (r->stopped)
        return;
    happens(f, p->ends);
    if (p->length.high > 0 && is_state(p->kind) && !p->ends) {
        until += draw(r, p->length);
        sim_timer_set(r->world, &f->end, until);
    }
    if (p->at_random)
        arrange_next(f, until);
}

static void open_fault(struct sim_run *r, size_t i)
{
    struct run_fault *f = &r->faults[i];
    f->run = r;
    f->plan = &r->scenario->faults[i];
    f->begin = (struct sim_timer){.fn = fault_begins, .ctx = f};
    f->end = (struct sim_timer){.fn = fault_ends, .ctx = f};
    if (f->plan->operation != 0)
        sim_gateway_kill_at(r->gateway, f->plan->operation, down_us(r, f->plan));
    else if (f->plan->at_random)
        arrange_next(f, f->plan->from_us);
    else
        sim_timer_set(r->world, &f->begin, f->plan->at_us);
}

/* Everything is as it should be again; nobody begins anything. */
static void lift_faults(struct sim_run *r)
{
    struct sim_broker *broker = sim_gateway_broker(r->gateway);
    struct sim_disk *disk = sim_gateway_disk(r->gateway);
    r->stopped = true;
    sim_trace_say(r->trace, &(struct sim_record){.type = SIM_FAULT,
                                                 .at_us = sim_now(r->world),
                                                 .text = "stop: all faults are lifted"});
    for (size_t i = 0; i < r->scenario->fault_count; i++) {
        sim_timer_stop(r->world, &r->faults[i].begin);
        sim_timer_stop(r->world, &r->faults[i].end);
    }
    sim_gateway_kill_at(r->gateway, 0, 0);
    sim_broker_set_up(broker, true);
    sim_broker_slow(broker, 0);
    sim_broker_refuse(broker, false);
    sim_broker_reject(broker, NULL);
    sim_disk_set(disk, SIM_DISK_WORKS);
    sim_disk_slow(disk, 0);
    for (size_t i = 0; i < r->scenario->link_count; i++)
        sim_channel_break(r->links[i].channel, false);
    for (size_t i = 0; i < r->device_count; i++) {
        sim_device_quiet(r->devices[i].device);
        sim_device_start(r->devices[i].device);
    }
    sim_gateway_start(r->gateway);
}

/* ---- rest ------------------------------------------------------------------------------------------ */

/* How long a link may have no contact. */
static uint64_t gap_us(const struct sim_profile *p)
{
    uint64_t gap = 20 * p->flap_down_us + p->dial.high * (p->dial_tries + 1) * 4 +
                   p->dial_retry_us * (p->dial_tries + 1) * 4 + 4 * p->fade_for_us;
    if (p->sbd)
        gap += 20 * (p->sbd_session.high + p->sbd_gap_us + p->sbd_retry_us + p->sbd_check_us);
    if (p->contact_every_us > 0)
        gap += p->contact_every_us;
    if (p->orbit_altitude_km > 0)
        gap += UINT64_C(24) * 3600 * SIM_S;
    return gap;
}

/* One exchange of full frames, at the pace that duty, contacts and sessions allow. */
static uint64_t exchange_us(const struct run_link *l, const struct sim_profile *p)
{
    const uint64_t share = p->contact_for_us > 0      ? p->contact_every_us / p->contact_for_us + 1
                           : p->orbit_altitude_km > 0 ? 200
                                                      : 1;
    const uint32_t slower = l->radio.up_bits_per_s < l->radio.down_bits_per_s
                                ? l->radio.up_bits_per_s
                                : l->radio.down_bits_per_s;
    uint64_t us = (radio_profile_air_ms(&l->radio, slower, 256) + 2 * l->radio.delay_ms +
                   l->radio.jitter_ms + 2 * l->radio.turn_ms) *
                      SIM_MS +
                  20 * SIM_MS;
    if (p->path[SIM_UP].duty > 0 && p->path[SIM_UP].duty < SIM_ALWAYS)
        us = us * SIM_ALWAYS / p->path[SIM_UP].duty;
    if (p->sbd)
        us += p->sbd_session.high + p->sbd_gap_us;
    return us * share;
}

static uint64_t waiting(const struct sim_run *r)
{
    uint64_t count = r->device_count;
    for (size_t i = 0; i < r->device_count; i++) {
        struct sim_device_figures f;
        sim_device_figures(r->devices[i].device, &f);
        count += f.made - f.accepted - f.rejected - f.unknown - f.discarded;
    }
    if (sim_gateway_bridge(r->gateway) != NULL) {
        struct bridge_status s;
        bridge_get_status(sim_gateway_bridge(r->gateway), &s);
        count += s.up.queued + s.down.queued;
    }
    return count;
}

static uint64_t bound_us(const struct sim_run *r)
{
    const uint64_t minute = 60 * SIM_S;
    /* Reconnecting, on both sides, and the specification's T_WAIT. */
    uint64_t bound = 20 * minute + 2 * r->scenario->config.bridge.reconnect_max_ms * SIM_MS;
    for (size_t i = 0; i < r->scenario->link_count; i++) {
        const struct run_link *l = &r->links[i];
        const struct sim_profile *p = &r->scenario->links[i].profile;
        const struct radio_rtt_limits rtt = radio_profile_rtt_limits(&l->radio);
        bound += 3 * gap_us(p) + (uint64_t)rtt.max_ms * SIM_MS * 4 * (l->radio.retries + 1u) +
                 waiting(r) * exchange_us(l, p) * 6;
    }
    /* What a short queue has no room for comes after one T_WAIT more. */
    const struct bridge_config *c = &r->scenario->config.bridge;
    const uint64_t room = c->max_queue < c->max_backlog ? c->max_queue : c->max_backlog;
    bound += waiting(r) / (room + 1) * 6 * minute;
    const uint32_t awake = r->scenario->config.bridge.awake_messages;
    const uint64_t wakes = 2 + (awake == 0 ? 0 : waiting(r) / awake);
    for (size_t i = 0; i < r->scenario->fleet_count; i++)
        bound += wakes * r->scenario->fleets[i].plan.sleep_s * SIM_S +
                 2 * r->scenario->fleets[i].plan.keepalive_s * SIM_S;
    return bound;
}

/* What is not at rest; NULL: everything is. */
static const char *unrest(const struct sim_run *r)
{
    const struct bridge *bridge = sim_gateway_bridge(r->gateway);
    struct bridge_status s;
    if (bridge == NULL)
        return "the bridge does not run";
    bridge_get_status(bridge, &s);
    if (s.up.queued > 0)
        return "messages wait for the broker";
    if (s.undecided > 0)
        return "messages are undecided at the broker";
    if (!sim_broker_is_idle(sim_gateway_broker(r->gateway)))
        return "the broker has something under way";
    if (!sim_disk_is_idle(sim_gateway_disk(r->gateway)))
        return "the disk has not got everything";
    bool all = true;
    for (size_t i = 0; i < r->device_count; i++) {
        if (!sim_device_is_idle(r->devices[i].device))
            return "devices have something to send, or are not connected";
        all &= !sim_device_has_left(r->devices[i].device);
    }
    return all && s.down.queued > 0 ? "messages wait for devices" : NULL;
}

static void look(struct sim_run *r)
{
    const struct bridge *bridge = sim_gateway_bridge(r->gateway);
    if (bridge != NULL)
        sim_check_bridge(r->check, sim_now(r->world), bridge);
}

static void run_until(struct sim_run *r, uint64_t end_us)
{
    while (sim_now(r->world) < end_us) {
        const uint64_t next = sim_now(r->world) + CHECK_US;
        sim_world_run_until(r->world, next < end_us ? next : end_us);
        look(r);
    }
}

static void settle(struct sim_run *r, struct sim_result *out)
{
    lift_faults(r);
    const uint64_t from = sim_now(r->world);
    const char *late = "";
    out->bound_us = bound_us(r);
    for (uint64_t wait = REST_US; late != NULL && sim_now(r->world) - from < out->bound_us;) {
        sim_world_run_until(r->world, sim_now(r->world) + wait);
        late = unrest(r);
        if (sim_now(r->world) - from > 100 * wait)
            wait *= 2;
    }
    out->settled_us = sim_now(r->world) - from;
    look(r);
    sim_check_rest(r->check, sim_now(r->world), sim_gateway_bridge(r->gateway),
                   sim_disk_image(sim_gateway_disk(r->gateway)), late);
}

/* ---- life -------------------------------------------------------------------------------------------- */

struct sim_run *sim_run_open(const struct sim_run_options *o)
{
    struct sim_run *r = sim_memory(sizeof(*r));
    const struct sim_scenario *s = o->scenario;
    size_t devices = 0;
    r->options = *o;
    r->scenario = s;
    r->world = sim_world_open();
    r->trace = sim_trace_open();
    r->check = sim_check_open(&s->config.bridge);
    sim_random_init(&r->random, o->seed, "faults");
    sim_trace_listen(r->trace, sim_check_hear, r->check);
    sim_trace_listen(r->trace, hear_frames, r);
    const struct sim_gateway_options g = {
        .config = &s->config.bridge,
        .disk = {.commit_min_us = s->disk_commit.low,
                 .commit_max_us = s->disk_commit.high,
                 .lazy_us = s->config.commit_delay_ms * SIM_MS,
                 .room = s->disk_room},
        .broker = {.delay_min_us = s->broker_delay.low,
                   .delay_max_us = s->broker_delay.high,
                   .window = s->config.broker.max_inflight,
                   .max_qos = s->broker_max_qos,
                   .reorders = s->broker_reorders,
                   .plain = s->config.broker.protocol == 4,
                   .overlaps = s->broker_overlaps,
                   .max_levels = (uint32_t)s->broker_max_levels,
                   .max_packet = (uint32_t)s->broker_max_packet,
                   .no_retain = s->broker_no_retain},
        .memory = s->memory,
        .check_every = o->check_every,
        .filter = o->filter,
    };
    r->gateway = sim_gateway_open(r->world, r->trace, o->seed, &g);
    for (size_t i = 0; i < s->link_count; i++)
        open_link(r, i);
    for (size_t i = 0; i < s->fleet_count; i++)
        devices += s->fleets[i].count;
    r->devices = sim_memory((devices + 1) * sizeof(*r->devices));
    for (size_t i = 0; i < s->fleet_count; i++)
        open_fleet(r, &s->fleets[i]);
    return r;
}

void sim_run_go(struct sim_run *r, struct sim_result *out)
{
    const struct sim_scenario *s = r->scenario;
    *out = (struct sim_result){.devices = r->device_count};
    if (r->options.kill_at != 0)
        sim_gateway_kill_at(r->gateway, r->options.kill_at, KILLED_US);
    for (size_t i = 0; i < s->fault_count; i++)
        open_fault(r, i);
    for (size_t i = 0; i < s->command_count; i++)
        open_command(r, i);
    sim_gateway_start(r->gateway);
    for (size_t i = 0; i < r->device_count; i++)
        sim_device_start(r->devices[i].device);
    run_until(r, s->stop_us);
    if (s->settles)
        settle(r, out);
    out->end_us = sim_now(r->world);
    out->events = sim_world_events(r->world);
    out->steps = sim_gateway_steps(r->gateway);
    out->operations = sim_disk_operations(sim_gateway_disk(r->gateway));
    out->violations = sim_check_violations(r->check);
    sim_check_figures(r->check, &out->check);
    for (size_t i = 0; i < r->device_count; i++)
        sim_device_sum(r->devices[i].device, &out->sum);
    if (sim_gateway_bridge(r->gateway) != NULL) {
        bridge_check(sim_gateway_bridge(r->gateway));
        bridge_get_status(sim_gateway_bridge(r->gateway), &out->status);
    }
}

void sim_run_close(struct sim_run *r)
{
    sim_world_stop(r->world);
    for (size_t i = 0; i < r->device_count; i++)
        sim_device_close(r->devices[i].device);
    for (size_t i = 0; i < r->scenario->link_count; i++) {
        sim_channel_close(r->links[i].channel);
        free(r->links[i].devices);
    }
    sim_gateway_close(r->gateway);
    sim_check_close(r->check);
    sim_names_close(&r->names);
    sim_trace_close(r->trace);
    sim_world_close(r->world);
    free(r->devices);
    free(r);
}

struct sim_trace *sim_run_trace(struct sim_run *r)
{
    return r->trace;
}

const char *sim_run_violation(const struct sim_run *r, size_t i)
{
    return sim_check_text(r->check, i);
}
