#include "bridge/core.h"

#include <assert.h>

#include "mqttsn/topic.h"

/* QoS 1 and 2 messages of one queue to a client kept in memory; more wait on disk. */
#define MEMORY_PER_QUEUE 8
#define RTT_AGED_MS      600000 /* after that long a measured T_retry counts for half */
#define DISK_WAIT_MS     1000   /* when there is no memory, or none to wait for the disk by name */

/* ---- from the broker to the queues of sensors ------------------------------------- */

/* A message that matches several of our filters comes from the broker once for
 * each, or once for all, or once for all with the names of all: MQTT allows any
 * of it. A sensor shall get it once, at the highest QoS that it was granted
 * (SN12-4.2-3). When copies name their filter, the one for the sensor's best
 * filter is taken and the others are not. That needs to know for which filters
 * copies come; while that is not known (right after a restart, or after SUBSCRIBE), the
 * first copy is taken, and those that follow it for other filters are not. */
struct fan_out {
    struct bridge *b;
    struct upstream *upstream; /* that it came by */
    uint8_t class;
    uint64_t expires_ms;
    const struct bridge_event *event;
    struct session *first;   /* everybody who may get it, once */
    struct overlap overlap;  /* without names: one of several that are equal */
    bool named;              /* the copy names filters, and we know them */
    uint32_t came_before;    /* a retained one: match_stamp when it came the last time; 0: never */
    struct custody *custody; /* NULL: no copy need be durable */
    uint64_t owed;           /* the last ticket that it depends on; 0: none */
};

#define NO_BEST UINT8_MAX

/* Whether this copy, or one that came before it of the same message, names the filter. */
static bool is_in_group_by_filter(const struct fan_out *out, const struct filter *f)
{
    const struct upstream *u = out->upstream;
    for (uint8_t i = 0; i < u->group.count; i++) {
        const struct filter *at = filter_with_id(out->b, u, u->group.ids[i], NULL);
        while (at != NULL && at != f)
            at = filter_with_id(out->b, u, u->group.ids[i], at);
        if (at != NULL)
            return true;
    }
    return false;
}

static bool is_named(const struct fan_out *out, const struct filter *f, uint8_t *round)
{
    const struct bridge_event *e = out->event;
    for (uint8_t i = 0; i < e->message.id_count; i++) {
        const struct filter *at = filter_with_id(out->b, out->upstream, e->message.ids[i], NULL);
        while (at != NULL && at != f)
            at = filter_with_id(out->b, out->upstream, e->message.ids[i], at);
        if (at != NULL) {
            *round = (uint8_t)(e->message.ids[i] - 1);
            return true;
        }
    }
    return false;
}

/* Retained messages answer one SUBSCRIBE; for those who had them before they
 * are not meant. */
static bool has_had_retained(const struct fan_out *out, const struct subscription *sub, bool named,
                             uint8_t round)
{
    if (out->named)
        return !named || round != sub->retained_round;
    return sub->retained_until_ms < out->b->now_ms || sub->retained_since < out->came_before;
}

static void note_recipient(void *ctx, struct subscription *sub)
{
    struct fan_out *out = ctx;
    struct session *s = sub->session;
    const bool retained = out->event->message.retain;
    uint8_t round = 0;
    const bool named = !out->named || is_named(out, sub->filter, &round);
    if (retained && has_had_retained(out, sub, named, round))
        return;
    if (s->match_stamp != out->b->match_stamp) {
        s->match_stamp = out->b->match_stamp;
        s->match_qos = 0;
        s->match_best = NO_BEST;
        s->match_named = false;
        s->match_next = out->first;
        out->first = s;
    }
    if (named) {
        s->match_named = true;
        if (sub->qos > s->match_qos)
            s->match_qos = sub->qos;
    }
    const bool is_known = out->named && !retained && sub->filter->named;
    if (is_known && (s->match_best == NO_BEST || sub->qos > s->match_best ||
                     (sub->qos == s->match_best && sub->filter->number < s->match_best_number))) {
        s->match_best = sub->qos;
        s->match_best_number = sub->filter->number;
        s->match_best_came = is_in_group_by_filter(out, sub->filter);
    }
}

static bool names_known_filters(const struct bridge *b, const struct upstream *u,
                                const struct bridge_event *e)
{
    for (uint8_t i = 0; i < e->message.id_count; i++) {
        const struct filter *f = filter_with_id(b, u, e->message.ids[i], NULL);
        while (f != NULL && !sn_topic_matches(name_bytes(f->name), e->message.topic))
            f = filter_with_id(b, u, e->message.ids[i], f);
        if (f == NULL)
            return false; /* it is gone meanwhile */
    }
    return e->message.id_count > 0;
}

/* A broker that does not name filters (MQTT 3.1.1) sends its retained messages
 * again for each SUBSCRIBE, to a connection that many share. One that has come
 * before was for those who were subscribed then. */
static uint32_t came_before(struct bridge *b, const struct upstream *u)
{
    const size_t place = u->group.hash % BRIDGE_RETAINED_MEMORY;
    const uint32_t before = b->retained[place].hash == u->group.hash ? b->retained[place].stamp : 0;
    b->retained[place].hash = u->group.hash;
    b->retained[place].stamp = b->match_stamp;
    return before;
}

/* Messages that were waiting at the broker when it got a filter have no copy for it. They
 * come in their order: behind the first copy that names a filter, there is always one. */
static void note_named(const struct bridge *b, const struct upstream *u,
                       const struct bridge_event *e)
{
    for (uint8_t i = 0; i < e->message.id_count; i++)
        for (struct filter *f = filter_with_id(b, u, e->message.ids[i], NULL); f != NULL;
             f = filter_with_id(b, u, e->message.ids[i], f))
            f->named |= sn_topic_matches(name_bytes(f->name), e->message.topic);
}

static bool is_in_group(const struct upstream *u, uint32_t id)
{
    for (uint8_t i = 0; i < u->group.count; i++)
        if (u->group.ids[i] == id)
            return true;
    return false;
}

/* Copies of one message come one after the other, each for another filter. */
static void group(const struct bridge *b, struct upstream *u, const struct bridge_event *e)
{
    const uint64_t seed = b->config->seed + e->message.retain;
    const uint64_t hash = (uint64_t)table_hash(seed, e->message.topic.data, e->message.topic.len)
                              << 32 |
                          table_hash(seed, e->message.payload.data, e->message.payload.len);
    bool joins = hash == u->group.hash && e->message.id_count > 0 && u->group.count > 0;
    for (uint8_t i = 0; joins && i < e->message.id_count; i++)
        joins = !is_in_group(u, e->message.ids[i]);
    if (!joins) {
        u->group.stamp = b->match_stamp;
        u->group.hash = hash;
        u->group.count = 0;
    }
    for (uint8_t i = 0; i < e->message.id_count && u->group.count < BRIDGE_GROUP_MAX; i++)
        u->group.ids[u->group.count++] = e->message.ids[i];
}

/* Whether this copy is the one for the session. Which filter is the best may change
 * between two copies: one that was another's is the session's then, if it has had none. */
static bool is_for(const struct upstream *u, struct session *s)
{
    if (s->match_group == u->group.stamp)
        return false;
    if (s->match_best == NO_BEST && !s->match_named)
        return false;
    if (s->match_best != NO_BEST && !s->match_best_came)
        return false;
    if (s->match_best != NO_BEST)
        s->match_qos = s->match_best;
    s->match_group = u->group.stamp;
    return true;
}

static void keep_recipients(struct fan_out *out)
{
    struct session **from = &out->first;
    while (*from != NULL) {
        if (is_for(out->upstream, *from) && overlaps_wants(&out->overlap, *from))
            from = &(*from)->match_next;
        else
            *from = (*from)->match_next;
    }
}

/* 6.10: what does not fit is dropped without any notice to the client. Before
 * its first CONNECT after a change of configuration a session may have no link. */
static bool frame_fits(const struct bridge *b, const struct session *s, size_t len)
{
    const size_t around = s->node == NULL ? 0 : 3 + s->node->len;
    const size_t frame =
        s->link == UINT16_MAX ? SN_PACKET_MAX : b->links[s->link].config->frame_max;
    return len + around <= frame;
}

static bool register_fits(const struct bridge *b, const struct session *s, struct sn_bytes topic)
{
    return frame_fits(b, s, topic.len + (topic.len > 249 ? 8 : 6));
}

/* A name that was subscribed as a short one has no other id (6.9); whether what only a
 * wildcard matches may go by its short name, too, the text leaves open. */
static bool may_be_short(const struct bridge *b, const struct session *s, const struct topic *t,
                         const struct name *name)
{
    if (name->len != 2 || !b->config->register_short)
        return name->len == 2;
    const struct subscription *sub = t == NULL ? s->subscriptions : NULL;
    while (sub != NULL && sub->filter->name != name)
        sub = sub->next;
    return sub != NULL;
}

static bool use_id(struct sn_packet *p, enum sn_topic_kind kind, uint16_t tid)
{
    p->publish.kind = kind;
    p->publish.tid = tid;
    return true;
}

/* 6.10, A-43: messages carry the id the client knows; the other two kinds need
 * no registration at all. What it was told in an earlier connection costs no air time
 * again where its answer shows whether it still knows it; at QoS 0 nothing
 * would. Returns false when REGISTER has to go first. */
static bool topic_id(const struct bridge *b, const struct session *s, const struct name *name,
                     uint8_t qos, struct sn_packet *p)
{
    const struct topic *t = topics_find_name(b, s, name);
    const enum topic_known known = t == NULL ? TOPIC_UNKNOWN : (enum topic_known)t->known;
    if (known == TOPIC_KNOWN)
        return use_id(p, SN_TOPIC_NORMAL, t->tid);
    const uint16_t predefined = predefined_find_name(b, s, name);
    if (predefined != 0)
        return use_id(p, SN_TOPIC_PREDEFINED, predefined);
    if (may_be_short(b, s, t, name))
        return use_id(p, SN_TOPIC_SHORT, SN_SHORT_ID(name->text[0], name->text[1]));
    return known == TOPIC_TOLD_BEFORE && qos > 0 && use_id(p, SN_TOPIC_NORMAL, t->tid);
}

/* The topic of the open PUBLISH, if that carries an id of an earlier connection. */
static struct topic *doubted(const struct bridge *b, const struct session *s)
{
    struct sn_packet p;
    struct topic *t = topics_find_name(b, s, s->flying->topic);
    return t != NULL && t->known == TOPIC_TOLD_BEFORE &&
                   topic_id(b, s, t->name, s->flying->qos, &p) && p.publish.kind == SN_TOPIC_NORMAL
               ? t
               : NULL;
}

static bool has_id(const struct bridge *b, const struct session *s, struct sn_bytes topic,
                   uint8_t qos)
{
    const struct name *name = name_find(b, topic);
    struct sn_packet p;
    return name != NULL && topic_id(b, s, name, qos, &p);
}

static void drop(struct bridge *b, struct session *s, struct message *m, enum bridge_note why)
{
    bridge_note(b, why, s, name_bytes(m->topic), m->len);
    const bool expired = why == BRIDGE_NOTE_DOWN_EXPIRED;
    m->queue->bytes -= m->len;
    account_down(
        b, s, m->class,
        (struct bridge_account){.expired = expired, .dropped = !expired, .queued = 0 - 1ull});
    queue_forget(b, m->queue, m, true);
}

static bool is_over(const struct bridge *b, const struct session *s, uint64_t bytes)
{
    const uint64_t limit = b->config->max_queue_bytes;
    return tiers_count(s) >= b->config->max_queue || (limit != 0 && tiers_bytes(s) + bytes > limit);
}

/* What the device may have in hand is not dropped. */
static struct message *oldest_of(const struct session *s, uint8_t class)
{
    struct message *oldest = NULL;
    for (const struct tier *t = s->tiers; t != NULL; t = t->next) {
        struct message *m = t->queue.head;
        while (m != NULL &&
               (m->class != class || m == s->flying || m->flags & BRIDGE_FLAG_RELEASED))
            m = m->next;
        if (m != NULL && (oldest == NULL || m->seq < oldest->seq))
            oldest = m;
    }
    return oldest;
}

/* Whether there is room for a message; where its class wants that, the oldest of
 * the class make it. */
static bool make_way(struct bridge *b, struct session *s, const struct bridge_message *m)
{
    const bool newest = classes_at(b->config, m->class)->keep == BRIDGE_KEEP_NEWEST;
    struct message *old;
    while (is_over(b, s, m->payload.len)) {
        if (!newest || (old = oldest_of(s, m->class)) == NULL)
            return false;
        struct queue *q = old->queue;
        drop(b, s, old, BRIDGE_NOTE_DOWN_DROPPED_OLD);
        queue_refill(b, q, MEMORY_PER_QUEUE / 2, MEMORY_PER_QUEUE);
    }
    return true;
}

/* The last ticket by which room in its queues may come, for the disk may refuse what is in
 * them; 0: all of it is there. */
static uint64_t undecided(const struct bridge *b, const struct session *s)
{
    uint64_t last = b->covered;
    for (const struct tier *t = s->tiers; t != NULL; t = t->next) {
        const struct message *m = t->queue.tail;
        while (m != NULL && !m->stored)
            m = m->prev;
        const uint64_t seq = t->queue.on_disk > 0 ? t->queue.disk_last : m == NULL ? 0 : m->seq;
        last = seq > last ? seq : last;
    }
    return last > b->covered ? last : 0;
}

/* What is not kept is counted and, but for a queue whose fate is open, done with. */
static bool drop_copy(struct fan_out *out, struct session *s, const struct bridge_message *m,
                      enum bridge_note why)
{
    struct bridge *b = out->b;
    const uint64_t ticket = why == BRIDGE_NOTE_DOWN_QUEUE_FULL ? undecided(b, s) : 0;
    if (ticket != 0 && !custody_add_dropped(b, out->custody, s))
        return false;
    out->owed = ticket > out->owed ? ticket : out->owed;
    account_down(b, s, m->class, (struct bridge_account){.accepted = 1, .dropped = 1});
    bridge_note(b, why, s, m->topic, m->payload.len);
    return true;
}

/* False: the message cannot be taken, for lack of memory. */
static bool queue_for(struct session *s, struct fan_out *out)
{
    struct bridge *b = out->b;
    const struct bridge_event *event = out->event;
    struct bridge_message m = {
        .queue = tiers_id(b, s, out->class),
        .session = s->number,
        .received_ms = b->now_ms,
        .expires_ms = out->expires_ms,
        .class = out->class,
        .qos = event->message.qos < s->match_qos ? event->message.qos : s->match_qos,
        .flags = event->message.retain ? BRIDGE_FLAG_RETAIN : 0,
        .topic = event->message.topic,
        .payload = event->message.payload,
    };
    if (!frame_fits(b, s, sn_publish_size(m.payload.len)) ||
        (!register_fits(b, s, m.topic) && !has_id(b, s, m.topic, m.qos)))
        return drop_copy(out, s, &m, BRIDGE_NOTE_DOWN_TOO_LARGE);
    if (m.qos == 0 && !sn_session_is_connected(&s->sn))
        return drop_copy(out, s, &m, BRIDGE_NOTE_DOWN_DROPPED_QOS0);
    if (!make_way(b, s, &m))
        return drop_copy(out, s, &m,
                         m.qos == 0 ? BRIDGE_NOTE_DOWN_DROPPED_QOS0 : BRIDGE_NOTE_DOWN_QUEUE_FULL);
    struct queue *q = tiers_take(b, s, m.queue);
    if (q == NULL && m.qos > 0) {
        bridge_note(b, BRIDGE_NOTE_MEMORY_FULL, s, sn_bytes(NULL, 0), 0);
        return false;
    }
    m.seq = bridge_next_seq(b);
    if (m.qos > 0 && !custody_add(b, out->custody, s, m.seq))
        return false;
    const bool in_memory = q != NULL && queue_append(b, q, &m, MEMORY_PER_QUEUE, false) != NULL;
    if (m.qos == 0 && !in_memory)
        return drop_copy(out, s, &m, BRIDGE_NOTE_MEMORY_FULL);
    account_down(b, s, m.class, (struct bridge_account){.accepted = 1, .queued = 1});
    q->bytes += m.payload.len;
    if (m.qos > 0)
        out->owed = m.seq;
    return true;
}

/* Whether a copy is to be durable. */
static bool is_durable(const struct fan_out *out)
{
    const struct session *s = out->first;
    while (s != NULL && (out->event->message.qos == 0 || s->match_qos == 0))
        s = s->match_next;
    return s != NULL;
}

static void accept(struct bridge *b, uint64_t token)
{
    if (token != 0)
        bridge_emit(b, &(struct bridge_action){.type = BRIDGE_DO_ACCEPT, .accept.token = token});
}

/* Puts the message into the queues, whole or not at all. The broker may forget it once
 * every copy is on the disk (or it need not be). */
static bool take(struct fan_out *out)
{
    struct bridge *b = out->b;
    const uint64_t token = out->event->message.token;
    const bool returns = token != 0 && b->config->broker_ack_stored;
    struct await *place = NULL;
    if (is_durable(out)) {
        place = await_take(b);
        out->custody =
            place == NULL
                ? NULL
                : custody_take(b, out->class, (uint32_t)out->event->message.payload.len, returns);
    }
    bool taken = place == NULL ? !is_durable(out) : out->custody != NULL;
    for (struct session *s = out->first; s != NULL && taken; s = s->match_next)
        taken = queue_for(s, out);
    if (taken && out->owed != 0) {
        await_enter(b, place,
                    (struct await){.kind = returns ? AWAIT_ACCEPT : AWAIT_COPIES,
                                   .session = out->upstream->conn,
                                   .ticket = out->owed,
                                   .token = token,
                                   .custody = out->custody});
    } else {
        if (!taken && out->custody != NULL)
            custody_undo(b, out->custody);
        custody_put(b, out->custody);
        await_put(b, place);
    }
    if (taken && (out->owed == 0 || !returns))
        accept(b, token);
    return taken;
}

void downlink_message(struct bridge *b, struct upstream *u, const struct bridge_event *event)
{
    struct fan_out out = {.b = b, .upstream = u, .event = event};
    b->match_stamp++;
    if (u != NULL) {
        u->proof |= PROOF_SENDS;
        upstream_heard(b, u);
    }
    if (u != NULL && sn_topic_check_name(event->message.topic) == SN_OK) {
        out.named = names_known_filters(b, u, event);
        group(b, u, event);
        note_named(b, u, event);
        if (event->message.retain && u == &b->shared)
            out.came_before = came_before(b, u);
        filter_match(b, u, event->message.topic, note_recipient, &out);
        out.overlap = overlaps_look(b, u, event);
    }
    keep_recipients(&out);
    if (out.first == NULL) {
        overlaps_take(b, u, &out.overlap, 0);
        bridge_note(b, out.overlap.is_more ? BRIDGE_NOTE_DOWN_COPY : BRIDGE_NOTE_DOWN_NO_SUBSCRIBER,
                    NULL, event->message.topic, 0);
        accept(b, event->message.token);
        return;
    }
    out.class = classes_match(b->config, event->message.topic);
    out.expires_ms = classes_expires_ms(classes_at(b->config, out.class), b->now_ms,
                                        event->message.expiry_s, b->config->max_queue_age_s);
    overlaps_take(b, u, &out.overlap, event->message.qos);
    if (!take(&out)) {
        overlaps_untake(b, u, &out.overlap);
        upstream_cut(b, u);
    }
    for (struct session *s = out.first, *next; s != NULL; s = next) {
        next = s->match_next;
        downlink_pump(b, s);
    }
}

/* ---- from a queue to its sensor ----------------------------------------------------- */

/* One message is open at a time, so its seq names it well enough; and it is the
 * same after a restart, which a sensor in the middle of QoS 2 relies on. */
static uint16_t mid_of(const struct message *m)
{
    return (uint16_t)(m->seq % 65535 + 1);
}

static void supervise(struct bridge *b, struct session *s, enum flight flight)
{
    const struct bridge_link_config *link = b->links[s->link].config;
    s->flight = (uint8_t)flight;
    s->repeated = false;
    if (b->now_ms >= s->sent_ms + RTT_AGED_MS)
        radio_rtt_age(&s->rtt, &b->links[s->link].rtt);
    s->sent_ms = b->now_ms;
    sn_retry_start(&s->retry, b->now_ms, s->rtt.rto_ms, link->retry_max_ms, link->retries);
    session_reschedule(b, s);
}

static void send_publish(struct bridge *b, struct session *s, const struct message *m, bool dup)
{
    struct sn_packet p = {
        .type = SN_PUBLISH,
        .publish = {.dup = dup,
                    .qos = (int8_t)m->qos,
                    .retain = (m->flags & BRIDGE_FLAG_RETAIN) != 0,
                    .mid = m->qos == 0 ? 0 : mid_of(m),
                    .data = sn_bytes(m->payload, m->len)},
    };
    topic_id(b, s, m->topic, m->qos, &p);
    const uint8_t priority = classes_at(b->config, m->class)->priority;
    air_send(b, s, &p, (enum air_class)(AIR_MESSAGE + priority), m->qos > 0);
}

static void send_register(struct bridge *b, struct session *s)
{
    const struct topic *t = topics_find(b, s, s->register_tid);
    assert(t != NULL);
    air_send(b, s,
             &(struct sn_packet){
                 .type = SN_REGISTER,
                 .reg = {.tid = t->tid, .mid = s->register_mid, .name = name_bytes(t->name)}},
             AIR_CONTROL, true);
}

static void send_open(struct bridge *b, struct session *s, bool dup)
{
    switch ((enum flight)s->flight) {
    case FLIGHT_REGISTER:
        send_register(b, s);
        return;
    case FLIGHT_PUBLISH:
        send_publish(b, s, s->flying, dup);
        return;
    case FLIGHT_RELEASE:
        air_send(b, s, &(struct sn_packet){.type = SN_PUBREL, .mid = mid_of(s->flying)},
                 AIR_CONTROL, true);
        return;
    case FLIGHT_NONE:
    case FLIGHT_RECEIVED:
        return;
    }
}

void downlink_hold(struct bridge *b, struct session *s, uint32_t ms)
{
    s->hold_until_ms = b->now_ms + ms;
    session_reschedule(b, s);
}

/* What a device must not hear before the disk has it: a crash would use the
 * same id for something else. downlink_pump() is called again then. */
static void wait_for_disk(struct bridge *b, struct session *s, uint64_t ticket)
{
    s->waiting_for_disk =
        await_add(b, (struct await){.kind = AWAIT_SEND, .ticket = ticket, .session = s->number});
    if (!s->waiting_for_disk)
        downlink_hold(b, s, DISK_WAIT_MS);
}

/* The name gets its id; false: it cannot have one now and the message waits, or never and it
 * is dropped. */
static bool take_topic(struct bridge *b, struct session *s, struct message *m)
{
    if (!register_fits(b, s, name_bytes(m->topic))) {
        drop(b, s, m, BRIDGE_NOTE_DOWN_TOO_LARGE);
        return false;
    }
    if (topics_take(b, s, m->topic, false) == NULL) {
        downlink_hold(b, s, DISK_WAIT_MS);
        return false;
    }
    return true;
}

static void begin_register(struct bridge *b, struct session *s, struct message *m, bool quiet)
{
    if (++s->register_mid == 0)
        s->register_mid = 1;
    s->register_tid = topics_find_name(b, s, m->topic)->tid;
    s->flying = m;
    supervise(b, s, FLIGHT_REGISTER);
    if (!quiet)
        send_open(b, s, false);
}

/* What the disk must have before the device may hear of this message; 0: nothing.
 * Exactly once: were it with the device and not on the disk at a crash, the
 * broker would send it again, and it would be another message then. */
static uint64_t needs_ticket(const struct bridge *b, const struct topic *t, const struct message *m)
{
    const uint64_t message = m->qos == 2 && m->stored ? custody_ticket(b, m->seq) : 0;
    const uint64_t topic = t == NULL ? 0 : t->saved;
    const uint64_t ticket = message > topic ? message : topic;
    return ticket > b->durable ? ticket : 0;
}

/* a sleeper is let go although there is more for it. */
static bool has_had_enough(const struct bridge *b, const struct session *s)
{
    const struct bridge_config *c = b->config;
    return (c->awake_messages != 0 && s->awake_sent >= c->awake_messages) ||
           (c->awake_s != 0 && b->now_ms - s->awake_ms >= (uint64_t)c->awake_s * 1000);
}

static bool may_send(const struct bridge *b, const struct session *s)
{
    if (s->flight != FLIGHT_NONE || s->dialogue != DIALOGUE_NONE || s->link == UINT16_MAX ||
        s->hold_until_ms != 0 || s->waiting_for_disk || s->subscribing == SUBSCRIBING_TO_DISK)
        return false;
    if (s->sn.state == SN_AWAKE)
        return !has_had_enough(b, s);
    return s->sn.state == SN_ACTIVE;
}

/* It counts as delivered when it is sent, unless the device says that it cannot make
 * anything of it: see refused_qos0(). */
static void send_qos0(struct bridge *b, struct session *s, struct message *m)
{
    struct topic *t = topics_find_name(b, s, m->topic);
    if (t != NULL && t->known == TOPIC_KNOWN && t->qos0_sent < UINT16_MAX)
        t->qos0_sent++;
    send_publish(b, s, m, false);
    m->queue->bytes -= m->len;
    account_down(b, s, m->class, (struct bridge_account){.delivered = 1, .queued = 0 - 1ull});
    queue_remove(b, m->queue, m);
}

/* Sends one message, or finds that it cannot be sent. */
static void begin(struct bridge *b, struct session *s, struct message *m)
{
    const bool quiet = s->quiet;
    const bool is_released = (m->flags & BRIDGE_FLAG_RELEASED) != 0;
    struct sn_packet p;
    if (m->expires_ms != 0 && m->expires_ms <= b->now_ms && !is_released) {
        drop(b, s, m, BRIDGE_NOTE_DOWN_EXPIRED);
        return;
    }
    if (!frame_fits(b, s, sn_publish_size(m->len))) { /* it moved to another link meanwhile */
        drop(b, s, m, BRIDGE_NOTE_DOWN_TOO_LARGE);
        return;
    }
    const bool has_topic = is_released || topic_id(b, s, m->topic, m->qos, &p);
    if (!has_topic && !take_topic(b, s, m))
        return;
    struct topic *t = topics_find_name(b, s, m->topic);
    if (t != NULL)
        topics_use(s, t, false);
    const uint64_t ticket = needs_ticket(b, t, m);
    if (ticket != 0) {
        wait_for_disk(b, s, ticket);
        return;
    }
    m->sent |= m->queue->resuming;
    m->queue->resuming = false;
    s->quiet = false;
    if (is_released) { /* QoS 2 goes on where it was */
        s->flying = m;
        supervise(b, s, FLIGHT_RELEASE);
        if (!quiet)
            send_open(b, s, false);
        return;
    }
    if (!has_topic) {
        begin_register(b, s, m, quiet);
        return;
    }
    s->awake_sent++;
    if (m->qos == 0) {
        send_qos0(b, s, m);
        return;
    }
    const bool dup = m->sent;
    m->sent = true;
    s->flying = m;
    supervise(b, s, FLIGHT_PUBLISH);
    if (!quiet)
        send_publish(b, s, m, dup);
}

void downlink_pump(struct bridge *b, struct session *s)
{
    tiers_trim(b, s);
    while (may_send(b, s) && tiers_count(s) > 0) {
        if (!air_is_free(b, s))
            return;
        struct message *m = tiers_next(b, s);
        if (m == NULL && tiers_are_fetching(s))
            return; /* the disk has it; FETCHED goes on */
        if (m == NULL)
            break; /* and there is no memory for it now */
        begin(b, s, m);
        tiers_trim(b, s);
    }
    if (s->sn.state == SN_AWAKE && s->flight == FLIGHT_NONE && s->dialogue == DIALOGUE_NONE &&
        !s->waiting_for_disk && s->subscribing != SUBSCRIBING_TO_DISK)
        connect_rest(b, s);
}

static void end_flight(struct bridge *b, struct session *s)
{
    s->flying = NULL;
    s->flight = FLIGHT_NONE;
    sn_retry_stop(&s->retry);
    air_cancel(b, s); /* a repeat that still waits for air */
    session_reschedule(b, s);
}

/* The client has it, for good. */
static void delivered(struct bridge *b, struct session *s)
{
    struct message *m = s->flying;
    const bool exactly_once = m->qos == 2;
    m->queue->bytes -= m->len;
    s->reregistered = false;
    end_flight(b, s);
    account_down(b, s, m->class, (struct bridge_account){.delivered = 1, .queued = 0 - 1ull});
    queue_forget(b, m->queue, m, !exactly_once);
    downlink_pump(b, s);
}

/* Karn: an answer to something sent twice says little about the round trip. */
static void measure(struct bridge *b, struct session *s)
{
    const uint64_t ms = b->now_ms > s->sent_ms ? b->now_ms - s->sent_ms : 0;
    const uint32_t sample = ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
    const struct radio_rtt_limits *limits = &b->links[s->link].rtt;
    if (s->repeated)
        radio_rtt_weak_sample(&s->rtt, limits, sample);
    else
        radio_rtt_sample(&s->rtt, limits, sample);
}

void downlink_land(struct bridge *b, struct session *s)
{
    s->reregistered = false;
    end_flight(b, s);
}

void downlink_rename(struct bridge *b)
{
    for (uint32_t i = 0; i <= b->sessions_by_number.mask; i++) {
        for (struct table_link *l = b->sessions_by_number.buckets[i]; l != NULL; l = l->next) {
            struct session *s = TABLE_ENTRY(l, struct session, by_number);
            struct sn_packet p;
            if (s->flight != FLIGHT_PUBLISH || topic_id(b, s, s->flying->topic, s->flying->qos, &p))
                continue;
            downlink_land(b, s);
            downlink_pump(b, s);
        }
    }
}

void downlink_forget_all(struct bridge *b, struct session *s)
{
    end_flight(b, s);
    for (uint8_t i = 0; i < BRIDGE_CLASSES_MAX; i++) {
        const uint32_t count = s->class_queued[i];
        account_down(b, s, i, (struct bridge_account){.dropped = count, .queued = 0ull - count});
    }
    tiers_clear(b, s);
}

void downlink_drop_row(struct bridge *b, struct session *s, struct queue *q,
                       const struct bridge_message *m)
{
    if (m->flags & BRIDGE_FLAG_RELEASED)
        return; /* the device has it; only the end of its exchange is missing */
    bridge_note(b, BRIDGE_NOTE_DOWN_EXPIRED, s, m->topic, m->payload.len);
    account_down(b, s, m->class, (struct bridge_account){.expired = 1, .queued = 0 - 1ull});
    q->bytes -= m->payload.len;
    q->on_disk--;
    bridge_emit(b, &(struct bridge_action){
                       .type = BRIDGE_DO_FORGET,
                       .lazy = true,
                       .row = {.ticket = bridge_next_seq(b), .queue = m->queue, .seq = m->seq}});
}

/* The device has no room now. One that is awake is let go to sleep. */
static void hold(struct bridge *b, struct session *s)
{
    end_flight(b, s);
    if (s->sn.state == SN_AWAKE) {
        connect_rest(b, s);
        return;
    }
    downlink_hold(b, s, b->links[s->link].config->retry_max_ms);
}

/* ---- what the sensor answers ----------------------------------------------------------- */

void downlink_regack(struct bridge *b, struct session *s, const struct sn_packet *p)
{
    if (s->flight != FLIGHT_REGISTER || p->ack.mid != s->register_mid) {
        bridge_note(b, BRIDGE_NOTE_FRAME_UNEXPECTED, s, sn_bytes_text("REGACK"), p->ack.mid);
        return;
    }
    struct topic *t = topics_find(b, s, s->register_tid);
    struct message *m = s->flying;
    measure(b, s);
    end_flight(b, s);
    if (p->ack.code == SN_ACCEPTED) {
        if (t != NULL)
            t->known = TOPIC_KNOWN;
    } else if (p->ack.code == SN_CONGESTION) {
        hold(b, s);
        return;
    } else { /* 6.10: a rejection is an unsubscribe, and the message is dropped */
        bridge_note(b, BRIDGE_NOTE_TOPIC_REJECTED, s, name_bytes(m->topic), p->ack.code);
        subscribe_rejected(b, s, m->topic);
        drop(b, s, m, BRIDGE_NOTE_DOWN_REJECTED);
    }
    downlink_pump(b, s);
}

/* 5.4.13: also QoS 0 may be refused. The message is gone, and was not delivered; its id
 * can be mended for the next one. */
static void refused_qos0(struct bridge *b, struct session *s, struct topic *t)
{
    t->known = TOPIC_UNKNOWN;
    if (t->qos0_sent == 0)
        return;
    t->qos0_sent--;
    bridge_note(b, BRIDGE_NOTE_DOWN_REJECTED, s, name_bytes(t->name), SN_INVALID_TOPIC_ID);
    account_down(b, s, name_class(b, t->name),
                 (struct bridge_account){.delivered = 0 - 1ull, .dropped = 1});
}

/* The device has taken what is open, so it knows the id of that. */
static void shows_id(const struct bridge *b, struct session *s)
{
    if (doubted(b, s) != NULL)
        topics_kept(s, true);
}

void downlink_puback(struct bridge *b, struct session *s, const struct sn_packet *p)
{
    struct topic *t = topics_find(b, s, p->ack.tid);
    if (s->flight != FLIGHT_PUBLISH || p->ack.mid != mid_of(s->flying)) {
        if (p->ack.code == SN_INVALID_TOPIC_ID && p->ack.mid == 0 && t != NULL)
            refused_qos0(b, s, t);
        else
            bridge_note(b, BRIDGE_NOTE_FRAME_UNEXPECTED, s, sn_bytes_text("PUBACK"), p->ack.mid);
        return;
    }
    struct message *m = s->flying;
    if (p->ack.code == SN_ACCEPTED && m->qos == 1) {
        shows_id(b, s);
        measure(b, s);
        delivered(b, s);
        return;
    }
    if (p->ack.code == SN_ACCEPTED) {
        bridge_note(b, BRIDGE_NOTE_FRAME_UNEXPECTED, s, sn_bytes_text("PUBACK"), p->ack.mid);
        return;
    }
    /* register the name again and repeat the message, once. */
    t = topics_find_name(b, s, m->topic);
    if (p->ack.code == SN_INVALID_TOPIC_ID && t != NULL && t->known != TOPIC_UNKNOWN &&
        !s->reregistered) {
        end_flight(b, s);
        topics_kept(s, false);
        t->known = TOPIC_UNKNOWN;
        s->reregistered = true;
        downlink_pump(b, s);
        return;
    }
    end_flight(b, s);
    if (p->ack.code == SN_CONGESTION) {
        hold(b, s);
        return;
    }
    s->reregistered = false;
    drop(b, s, m, BRIDGE_NOTE_DOWN_REJECTED);
    downlink_pump(b, s);
}

/* Whether a message that is not with the device at the moment has this id. */
static bool may_be_queued(const struct session *s, uint16_t mid)
{
    for (const struct tier *t = s->tiers; t != NULL; t = t->next) {
        if (t->queue.on_disk > 0)
            return true;
        for (const struct message *m = t->queue.head; m != NULL; m = m->next)
            if (m->qos == 2 && mid_of(m) == mid)
                return true;
    }
    return false;
}

void downlink_pubrec(struct bridge *b, struct session *s, uint16_t mid)
{
    if (s->flying == NULL || s->flying->qos != 2 || mid_of(s->flying) != mid) {
        /* Nothing of ours: let the device free the id. But never that of a message
         * that is to go out again: it would be a new one then. */
        if (may_be_queued(s, mid))
            bridge_note(b, BRIDGE_NOTE_FRAME_UNEXPECTED, s, sn_bytes_text("PUBREC"), mid);
        else
            air_send(b, s, &(struct sn_packet){.type = SN_PUBREL, .mid = mid}, AIR_ACK, false);
        return;
    }
    if (s->flight == FLIGHT_RELEASE) { /* repeated: our PUBREL was lost */
        send_open(b, s, false);
        return;
    }
    if (s->flight != FLIGHT_PUBLISH)
        return;
    shows_id(b, s);
    measure(b, s);
    sn_retry_stop(&s->retry);
    s->flight = FLIGHT_RECEIVED;
    /* After PUBREL the device forgets the id. Did a restart not know that, it
     * would send the message as a new one. */
    s->flying->flags |= BRIDGE_FLAG_RELEASED;
    const uint64_t ticket = bridge_next_seq(b);
    bridge_emit(b, &(struct bridge_action){.type = BRIDGE_DO_MARK,
                                           .row = {.ticket = ticket,
                                                   .queue = s->flying->queue->id,
                                                   .seq = s->flying->seq,
                                                   .flags = BRIDGE_FLAG_RELEASED}});
    if (!await_add(b, (struct await){.kind = AWAIT_PUBREL,
                                     .ticket = ticket,
                                     .token = s->flying->seq,
                                     .session = s->number}))
        supervise(b, s, FLIGHT_PUBLISH); /* the device is asked once more */
    session_reschedule(b, s);
}

void downlink_durable(struct bridge *b, const struct await *a)
{
    struct session *s = clients_find_number(b, a->session);
    if (s == NULL || s->flight != FLIGHT_RECEIVED || s->flying->seq != a->token)
        return;
    supervise(b, s, FLIGHT_RELEASE);
    send_open(b, s, false);
}

void downlink_pubcomp(struct bridge *b, struct session *s, uint16_t mid)
{
    if (s->flight != FLIGHT_RELEASE || mid_of(s->flying) != mid) {
        bridge_note(b, BRIDGE_NOTE_FRAME_UNEXPECTED, s, sn_bytes_text("PUBCOMP"), mid);
        return;
    }
    measure(b, s);
    delivered(b, s);
}

/* ---- repeats ------------------------------------------------------------------------------ */

/* A device that has lost the id should say so, and may just be silent. */
static bool forget_doubted(const struct bridge *b, struct session *s)
{
    struct topic *t = s->flight == FLIGHT_PUBLISH ? doubted(b, s) : NULL;
    if (t == NULL)
        return false;
    t->known = TOPIC_UNKNOWN;
    return true;
}

/* Whether all repeats of what is open were in vain. */
static bool is_resting(const struct session *s)
{
    return s->retry.due_ms == SN_NEVER && s->flight != FLIGHT_NONE && s->flight != FLIGHT_RECEIVED;
}

/* A device may listen for one frame behind its own, and waits for this one. */
static bool is_owed_an_answer(const struct session *s)
{
    const struct exchange *e = s->exchanges;
    while (e != NULL && e->acked)
        e = e->next;
    return e != NULL;
}

void downlink_heard(struct bridge *b, struct session *s)
{
    if (is_resting(s) && is_owed_an_answer(s))
        return; /* called again behind it */
    if (is_resting(s))
        downlink_land(b, s);
    if (s->sn.state == SN_ACTIVE)
        downlink_pump(b, s);
}

void downlink_due(struct bridge *b, struct session *s)
{
    switch (sn_retry_check(&s->retry, b->now_ms)) {
    case SN_RETRY_WAIT:
        break;
    case SN_RETRY_REPEAT:
        s->repeated = true;
        bridge_note(b, BRIDGE_NOTE_DOWN_REPEATED, s, sn_bytes(NULL, 0), s->flight);
        if (forget_doubted(b, s)) { /* REGISTER goes in front of the repeat */
            downlink_land(b, s);
            downlink_pump(b, s);
            return;
        }
        send_open(b, s, true);
        break;
    case SN_RETRY_LOST:
        connect_no_answer(b, s);
        return;
    }
    session_reschedule(b, s);
}
