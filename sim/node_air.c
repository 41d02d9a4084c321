/* One air for both directions: who sends when, and what collides.
 *
 * The gateway and every device are stations with a queue each. Two carriers at a time spoil
 * each other for every receiver that hears both, and a station that sends hears nothing;
 * what is spoilt is lost (collision) when its last bit is out. hidden: devices hear the
 * gateway only, so they neither notice nor disturb each other's reception, but they do
 * collide at the gateway. A frame for everybody counts as spoilt when anything is on the air.
 *
 * aloha: a station sends when it has something.
 * csma: it listens before. A carrier is noticed after sense, so whoever begins within
 * that time collides. From the end of a carrier it takes turn until the next may begin. With a
 * persistence below 100 % a station sends in each slot with that chance (KISS, AX.25 2.2
 * 6.4.2); otherwise one that found the air busy waits a random part of 8 slots more, so that an
 * answer comes before what was held up.
 *
 * duty: after a frame of so long a station is silent so long that it was on the air for its
 * share only.
 */
#include "sim/node.h"

#include <stdlib.h>

#define BACKOFF_SLOTS 8

struct station {
    struct air *air;
    uint32_t peer; /* 0: the gateway */
    struct sim_queue queue;
    struct sim_packet *sending;
    bool is_spoilt;
    bool has_waited;        /* it found the air busy */
    uint64_t since_us;      /* of the carrier, while it is sending */
    uint64_t quiet_us;      /* until then nobody follows its last carrier */
    uint64_t not_before_us; /* duty */
    struct sim_timer timer;
    struct station *next_sender;
    struct station *next_waiting;
    bool is_waiting; /* it is in that list */
};

struct air {
    struct sim_node node;
    struct sim_random random;
    struct station **stations; /* by peer; NULL where there is none yet */
    uint32_t count;
    struct station *senders; /* that are on the air */
    struct station *waiting; /* that have had frames since the last carrier ended */
    struct station **waiting_end;
    uint64_t quiet_us; /* the latest of all stations */
};

static bool hears(const struct air *a, uint32_t listener, uint32_t sender)
{
    return !a->node.line->profile->hidden || listener == 0 || sender == 0;
}

/* When the listener may send: SIM_NEVER while it hears somebody. */
static uint64_t free_from(const struct air *a, const struct station *listener)
{
    const struct sim_profile *p = a->node.line->profile;
    const uint64_t now_us = sim_now(a->node.line->world);
    uint64_t from_us = listener->not_before_us;
    if (p->access == SIM_ALOHA)
        return from_us;
    for (const struct station *s = a->senders; s != NULL; s = s->next_sender)
        if (hears(a, listener->peer, s->peer) && now_us >= s->since_us + p->sense_us)
            return SIM_NEVER;
    uint64_t quiet_us = a->quiet_us;
    if (p->hidden && listener->peer != 0) {
        const struct station *gateway = a->stations[0];
        quiet_us = listener->quiet_us;
        if (gateway != NULL && gateway->quiet_us > quiet_us)
            quiet_us = gateway->quiet_us;
    }
    return quiet_us > from_us ? quiet_us : from_us;
}

/* Whether a carrier of disturber reaches whom the sender's frame is for. */
static bool spoils(const struct air *a, const struct station *disturber,
                   const struct station *sender)
{
    const struct sim_packet *p = sender->sending;
    if (p->direction == SIM_DOWN && p->peer == 0)
        return true;
    const uint32_t receiver = p->direction == SIM_UP ? 0 : p->peer;
    return receiver == disturber->peer || hears(a, receiver, disturber->peer);
}

static void begin(struct station *s)
{
    struct air *a = s->air;
    struct sim_line *l = a->node.line;
    struct sim_packet *p = s->sending = sim_queue_take(&s->queue);
    const uint64_t now_us = sim_now(l->world);
    const uint64_t air_us = sim_airtime(l->profile, p->direction, p->len, l->slower, &p->air_bits);
    const uint64_t duty = l->profile->path[p->direction].duty;
    s->since_us = now_us;
    s->is_spoilt = false;
    s->has_waited = false;
    s->not_before_us = now_us + air_us + air_us * (SIM_ALWAYS - duty) / duty;
    sim_packet_say(l, p,
                   (struct sim_record){.type = SIM_FRAME_STARTED, .until_us = now_us + air_us});
    for (struct station *other = a->senders; other != NULL; other = other->next_sender) {
        other->is_spoilt = other->is_spoilt || spoils(a, s, other);
        s->is_spoilt = s->is_spoilt || spoils(a, other, s);
    }
    s->next_sender = a->senders;
    a->senders = s;
    sim_timer_set(l->world, &s->timer, now_us + air_us);
}

/* Sends, or arranges when to think again. While a carrier is heard, its end will. */
static void consider(struct station *s)
{
    struct air *a = s->air;
    struct sim_line *l = a->node.line;
    const struct sim_profile *p = l->profile;
    const uint64_t now_us = sim_now(l->world);
    if (s->sending != NULL || s->queue.first == NULL || !sim_line_is_up(l))
        return;
    uint64_t from_us = free_from(a, s);
    if (from_us == SIM_NEVER) {
        s->has_waited = true;
        sim_timer_stop(l->world, &s->timer);
        return;
    }
    if (from_us < now_us)
        from_us = now_us;
    const bool persists = p->access == SIM_CSMA && p->persistence < SIM_ALWAYS;
    if (s->has_waited && !persists && p->slot_us > 0)
        from_us += sim_random_below(&a->random, BACKOFF_SLOTS * p->slot_us);
    s->has_waited = false;
    if (from_us == now_us && persists && !sim_random_chance(&a->random, p->persistence))
        from_us += p->slot_us;
    if (from_us > now_us)
        sim_timer_set(l->world, &s->timer, from_us);
    else
        begin(s);
}

static void leave_air(struct station *s)
{
    struct station **at = &s->air->senders;
    while (*at != s)
        at = &(*at)->next_sender;
    *at = s->next_sender;
}

static void wait_in_list(struct station *s)
{
    struct air *a = s->air;
    if (s->is_waiting)
        return;
    s->is_waiting = true;
    s->next_waiting = NULL;
    *a->waiting_end = s;
    a->waiting_end = &s->next_waiting;
}

/* A carrier has ended: those with something to send think again, unless they wait for
 * a time of their own; the others leave the list. */
static void consider_waiting(struct air *a)
{
    struct station **at = &a->waiting;
    while (*at != NULL) {
        struct station *s = *at;
        if (s->queue.first != NULL && s->timer.at == 0)
            consider(s);
        if (s->queue.first != NULL) {
            at = &s->next_waiting;
            continue;
        }
        s->is_waiting = false;
        *at = s->next_waiting;
    }
    a->waiting_end = at;
}

static void end(struct station *s)
{
    struct air *a = s->air;
    struct sim_line *l = a->node.line;
    struct sim_packet *p = s->sending;
    s->sending = NULL;
    l->waiting--;
    leave_air(s);
    s->quiet_us = sim_now(l->world) + sim_draw(&a->random, l->profile->turn);
    if (s->quiet_us > a->quiet_us)
        a->quiet_us = s->quiet_us;
    if (s->is_spoilt)
        sim_lose(l, p, "collision");
    else
        sim_pass(&a->node, p);
    consider_waiting(a);
}

static void time_is_over(void *ctx, uint64_t arg)
{
    struct station *s = ctx;
    (void)arg;
    if (s->sending != NULL) {
        end(s);
        return;
    }
    /* Somebody was faster. */
    s->has_waited = s->has_waited || free_from(s->air, s) > sim_now(s->air->node.line->world);
    consider(s);
}

static struct station *station_of(struct air *a, uint32_t peer)
{
    if (peer >= a->count) {
        const uint32_t count = 2 * peer + 1;
        a->stations = sim_more_memory(a->stations, count * sizeof a->stations[0]);
        while (a->count < count)
            a->stations[a->count++] = NULL;
    }
    if (a->stations[peer] == NULL) {
        struct station *s = a->stations[peer] = sim_memory(sizeof *s);
        s->air = a;
        s->peer = peer;
        s->timer = (struct sim_timer){.fn = time_is_over, .ctx = s};
    }
    return a->stations[peer];
}

static void take(struct sim_node *n, struct sim_packet *p)
{
    struct station *s = station_of((struct air *)n, p->direction == SIM_UP ? p->peer : 0);
    if (!sim_line_takes(n->line)) {
        sim_lose(n->line, p, "link-down");
        return;
    }
    if (s->queue.count >= n->line->profile->path[p->direction].queue) {
        sim_lose(n->line, p, "queue");
        return;
    }
    n->line->waiting++;
    sim_queue_put(&s->queue, p);
    wait_in_list(s);
    /* One that waits for its time is not to think again because of another frame. */
    if (s->timer.at == 0)
        consider(s);
}

static void drop(struct sim_node *n, const char *why, bool queues)
{
    struct air *a = (struct air *)n;
    for (uint32_t i = 0; i < a->count; i++) {
        struct station *s = a->stations[i];
        if (s == NULL)
            continue;
        struct sim_packet *p = s->sending;
        s->sending = NULL;
        sim_timer_stop(n->line->world, &s->timer);
        if (p != NULL) {
            leave_air(s);
            n->line->waiting--;
            sim_lose(n->line, p, why);
        }
        if (queues) {
            n->line->waiting -= s->queue.count;
            sim_lose_all(n->line, &s->queue, why);
        }
    }
}

static void up(struct sim_node *n)
{
    struct air *a = (struct air *)n;
    for (uint32_t i = 0; i < a->count; i++)
        if (a->stations[i] != NULL)
            consider(a->stations[i]);
}

static void close_air(struct sim_node *n)
{
    struct air *a = (struct air *)n;
    for (uint32_t i = 0; i < a->count; i++) {
        struct station *s = a->stations[i];
        if (s == NULL)
            continue;
        sim_timer_stop(n->line->world, &s->timer);
        sim_forget_all(&s->queue);
        free(s->sending);
        free(s);
    }
    free(a->stations);
}

void sim_air_add(struct sim_line *l)
{
    static const struct sim_node_ops ops = {
        .take = take,
        .drop = drop,
        .up = up,
        .close = close_air,
    };
    if (l->profile->duplex != SIM_HALF_DUPLEX)
        return;
    struct air *a = sim_node_new(l, sizeof *a, &ops);
    a->waiting_end = &a->waiting;
    sim_line_random(l, "air", &a->random);
    sim_node_join(&a->node, SIM_UP);
    sim_node_join(&a->node, SIM_DOWN);
}
