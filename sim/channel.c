#include "sim/node.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct sim_channel {
    struct sim_world *world;
    struct sim_trace *trace;
    uint64_t seed;
    const char *name;
    const struct sim_profile *profile;
    sim_arrive_fn *arrive;
    void *ctx;
    bool broken;
    const char **devices;    /* names, from 1 */
    struct sim_line **lines; /* per device, from 1; or one at 0 */
    uint32_t count;          /* of devices */
};

/* ---- packets and queues ---------------------------------------------------------- */

void sim_queue_put(struct sim_queue *q, struct sim_packet *p)
{
    p->next = NULL;
    if (q->last != NULL)
        q->last->next = p;
    else
        q->first = p;
    q->last = p;
    q->count++;
}

struct sim_packet *sim_queue_take(struct sim_queue *q)
{
    struct sim_packet *p = q->first;
    if (p == NULL)
        return NULL;
    q->first = p->next;
    if (q->first == NULL)
        q->last = NULL;
    q->count--;
    return p;
}

static struct sim_packet *packet_new(const uint8_t *octets, size_t len)
{
    struct sim_packet *p = sim_memory(sizeof *p + len);
    p->len = len;
    memcpy(p->octets, octets, len);
    return p;
}

static const char *device_name(const struct sim_channel *c, uint32_t peer)
{
    return peer == 0 ? NULL : c->devices[peer];
}

void sim_line_say(struct sim_line *l, struct sim_record record)
{
    record.at_us = sim_now(l->world);
    record.link = l->name;
    if (record.device == NULL)
        record.device = l->device;
    sim_trace_say(l->trace, &record);
}

void sim_packet_say(struct sim_line *l, const struct sim_packet *p, struct sim_record record)
{
    record.direction = p->direction;
    record.frame = p->frame;
    record.air_bits = p->air_bits;
    record.bytes = (struct sn_bytes){p->octets, p->len};
    if (record.device == NULL)
        record.device = device_name(l->channel, p->peer);
    sim_line_say(l, record);
}

void sim_lose(struct sim_line *l, struct sim_packet *p, const char *why)
{
    sim_packet_say(l, p, (struct sim_record){.type = SIM_FRAME_LOST, .why = why});
    free(p);
}

void sim_lose_all(struct sim_line *l, struct sim_queue *q, const char *why)
{
    for (struct sim_packet *p; (p = sim_queue_take(q)) != NULL;)
        sim_lose(l, p, why);
}

void sim_forget_all(struct sim_queue *q)
{
    for (struct sim_packet *p; (p = sim_queue_take(q)) != NULL;)
        free(p);
}

struct sim_packet *sim_packet_clone(const struct sim_packet *p)
{
    struct sim_packet *copy = packet_new(p->octets, p->len);
    memcpy(copy, p, sizeof *copy);
    copy->next = NULL;
    return copy;
}

struct sim_packet *sim_copy(struct sim_line *l, const struct sim_packet *p)
{
    struct sim_packet *copy = sim_packet_clone(p);
    sim_packet_say(l, copy, (struct sim_record){.type = SIM_FRAME_COPIED});
    return copy;
}

/* ---- lines ------------------------------------------------------------------------ */

void *sim_node_new(struct sim_line *l, size_t size, const struct sim_node_ops *ops)
{
    struct sim_node *n = sim_memory(size);
    n->ops = ops;
    n->line = l;
    struct sim_node **end = &l->nodes;
    while (*end != NULL)
        end = &(*end)->another;
    *end = n;
    return n;
}

void sim_node_join(struct sim_node *n, enum sim_direction direction)
{
    struct sim_node **end = &n->line->first[direction];
    while (*end != NULL)
        end = &(*end)->next[direction];
    *end = n;
}

/* Out at the other end. A frame for everybody arrives at each device. */
static void come_out(struct sim_line *l, struct sim_packet *p)
{
    struct sim_channel *c = l->channel;
    const bool to_all = p->peer == 0;
    const uint32_t first = to_all ? 1 : p->peer;
    const uint32_t last = to_all ? c->count : p->peer;
    if (to_all)
        sim_packet_say(l, p, (struct sim_record){.type = SIM_FRAME_ARRIVED});
    for (uint32_t peer = first; peer <= last; peer++) {
        if (!to_all)
            sim_packet_say(l, p, (struct sim_record){.type = SIM_FRAME_ARRIVED});
        c->arrive(c->ctx, p->direction, peer, p->octets, p->len);
    }
    free(p);
}

static void hand_to(struct sim_line *l, struct sim_node *n, struct sim_packet *p)
{
    if (n != NULL)
        n->ops->take(n, p);
    else
        come_out(l, p);
}

void sim_pass(struct sim_node *n, struct sim_packet *p)
{
    hand_to(n->line, n->next[p->direction], p);
}

static void drop_all(struct sim_line *l, const char *why, bool queues)
{
    for (struct sim_node *n = l->nodes; n != NULL; n = n->another)
        if (n->ops->drop != NULL)
            n->ops->drop(n, why, queues);
}

void sim_line_give_up(struct sim_line *l, const char *why)
{
    drop_all(l, why, true);
}

void sim_line_pay(struct sim_line *l, uint64_t hundredths)
{
    if (hundredths > 0)
        sim_line_say(l, (struct sim_record){
                            .type = SIM_LINK_COST,
                            .number = hundredths,
                            .why = l->profile->cost_unit,
                        });
}

void sim_line_set(struct sim_line *l, enum sim_cause cause, bool down, const char *why)
{
    const bool was_up = sim_line_is_up(l);
    if (down)
        l->causes |= (unsigned)cause;
    else
        l->causes &= ~(unsigned)cause;
    if (sim_line_is_up(l) == was_up)
        return;
    if (was_up) {
        sim_line_say(l, (struct sim_record){.type = SIM_LINK_DOWN, .why = why});
        drop_all(l, "link-down", !l->profile->hold);
    } else {
        sim_line_say(l, (struct sim_record){.type = SIM_LINK_UP});
        for (struct sim_node *n = l->nodes; n != NULL; n = n->another)
            if (n->ops->up != NULL && sim_line_is_up(l))
                n->ops->up(n);
    }
}

void sim_line_random(const struct sim_line *l, const char *part, struct sim_random *r)
{
    char name[200];
    snprintf(name, sizeof name, "%s/%s/%s", l->name, l->device == NULL ? "" : l->device, part);
    sim_random_init(r, l->seed, name);
}

uint64_t sim_draw(struct sim_random *r, struct sim_span span)
{
    return span.low == span.high ? span.low : sim_random_between(r, span.low, span.high);
}

static struct sim_line *line_open(struct sim_channel *c, const char *device)
{
    struct sim_line *l = sim_memory(sizeof *l);
    *l = (struct sim_line){
        .channel = c,
        .world = c->world,
        .trace = c->trace,
        .profile = c->profile,
        .name = c->name,
        .device = device,
        .seed = c->seed,
        .slower = 1,
        .causes = c->broken ? SIM_CAUSE_BROKEN : 0,
    };
    /* From sender to receiver, in both directions. */
    struct sim_node *plan = sim_plan_add(l);
    sim_repeat_add(l);
    struct sim_node *answer = sim_answer_add(l);
    sim_dial_add(l);
    sim_sbd_add(l);
    if (!l->profile->sbd) {
        sim_wire_add(l, SIM_UP);
        sim_wire_add(l, SIM_DOWN);
        sim_air_add(l);
    }
    sim_meter_add(l);
    sim_fade_add(l);
    for (enum sim_direction d = SIM_UP; d <= SIM_DOWN; d++) {
        if (plan != NULL)
            sim_node_join(plan, d);
        sim_loss_add(l, d);
        sim_damage_add(l, d);
        if (d == SIM_UP && answer != NULL)
            sim_node_join(answer, SIM_UP);
        sim_delay_add(l, d);
    }
    sim_repeat_add_end(l);
    return l;
}

static void line_close(struct sim_line *l)
{
    for (struct sim_node *n = l->nodes; n != NULL;) {
        struct sim_node *another = n->another;
        if (n->ops->close != NULL)
            n->ops->close(n);
        free(n);
        n = another;
    }
    free(l);
}

/* ---- the channel --------------------------------------------------------------------- */

struct sim_channel *sim_channel_open(struct sim_world *w, struct sim_trace *trace, uint64_t seed,
                                     const char *name, const struct sim_profile *profile,
                                     sim_arrive_fn *arrive, void *ctx)
{
    struct sim_channel *c = sim_memory(sizeof *c);
    *c = (struct sim_channel){
        .world = w,
        .trace = trace,
        .seed = seed,
        .name = name,
        .profile = profile,
        .arrive = arrive,
        .ctx = ctx,
        .devices = sim_memory(sizeof c->devices[0]),
        .lines = sim_memory(sizeof c->lines[0]),
    };
    if (!profile->per_device)
        c->lines[0] = line_open(c, NULL);
    return c;
}

void sim_channel_close(struct sim_channel *c)
{
    for (uint32_t i = 0; i <= c->count; i++)
        if (c->lines[i] != NULL)
            line_close(c->lines[i]);
    free(c->lines);
    free(c->devices);
    free(c);
}

uint32_t sim_channel_attach(struct sim_channel *c, const char *name)
{
    const uint32_t peer = ++c->count;
    if ((peer & (peer - 1)) == 0) { /* full at each power of two */
        c->devices = sim_more_memory(c->devices, 2 * (size_t)peer * sizeof c->devices[0]);
        c->lines = sim_more_memory(c->lines, 2 * (size_t)peer * sizeof c->lines[0]);
    }
    c->devices[peer] = name;
    c->lines[peer] = c->profile->per_device ? line_open(c, name) : NULL;
    return peer;
}

/* Enters a line, with what is decided at its door. */
static void enter(struct sim_line *l, struct sim_packet *p)
{
    const struct sim_profile *profile = l->profile;
    sim_packet_say(l, p, (struct sim_record){.type = SIM_FRAME_SENT});
    if (profile->one_way && p->direction == SIM_DOWN)
        sim_lose(l, p, "one-way");
    else if (p->len > profile->path[p->direction].frame_max)
        sim_lose(l, p, "too-long");
    else
        hand_to(l, l->first[p->direction], p);
}

static void send_on(struct sim_channel *c, struct sim_line *l, enum sim_direction direction,
                    uint32_t peer, const uint8_t *frame, size_t len)
{
    struct sim_packet *p = packet_new(frame, len);
    p->frame = sim_trace_next_frame(c->trace);
    p->direction = direction;
    p->peer = peer;
    sim_airtime(c->profile, direction, len, 1, &p->air_bits);
    enter(l, p);
}

void sim_channel_send(struct sim_channel *c, enum sim_direction direction, uint32_t peer,
                      const uint8_t *frame, size_t len)
{
    assert(peer <= c->count && (peer > 0 || direction == SIM_DOWN));
    if (!c->profile->per_device)
        send_on(c, c->lines[0], direction, peer, frame, len);
    else if (peer > 0)
        send_on(c, c->lines[peer], direction, peer, frame, len);
    else
        for (peer = 1; peer <= c->count; peer++)
            send_on(c, c->lines[peer], direction, peer, frame, len);
}

void sim_channel_break(struct sim_channel *c, bool broken)
{
    c->broken = broken;
    for (uint32_t i = 0; i <= c->count; i++)
        if (c->lines[i] != NULL)
            sim_line_set(c->lines[i], SIM_CAUSE_BROKEN, broken, "broken");
}

bool sim_channel_is_up(const struct sim_channel *c)
{
    for (uint32_t i = 0; i <= c->count; i++)
        if (c->lines[i] != NULL && sim_line_is_up(c->lines[i]))
            return true;
    return false;
}
