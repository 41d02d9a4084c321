#include "bridge/core.h"

#include <assert.h>

#include "bridge/permit.h"
#include "mqttsn/topic.h"

#define REFUSED 0x80 /* the broker's codes from here on are final */

/* ---- exchanges ---------------------------------------------------------------- */

struct exchange *exchanges_find(const struct session *s, uint16_t mid)
{
    struct exchange *e = s->exchanges;
    while (e != NULL && e->mid != mid)
        e = e->next;
    return e;
}

struct exchange *exchanges_add(struct bridge *b, struct session *s, uint16_t mid)
{
    if (s->exchange_count >= EXCHANGES_MAX)
        return NULL;
    struct exchange *e = arena_take(&b->arena, sizeof(*e));
    if (e == NULL)
        return NULL;
    e->mid = mid;
    e->session = s;
    e->next = s->exchanges;
    s->exchanges = e;
    s->exchange_count++;
    return e;
}

static void exchanges_remove(struct bridge *b, struct exchange *e)
{
    struct session *s = e->session;
    struct exchange **from = &s->exchanges;
    while (*from != e)
        from = &(*from)->next;
    *from = e->next;
    s->exchange_count--;
    if (e->message != NULL)
        e->message->exchange = NULL;
    arena_put(&b->arena, e);
}

static uint64_t mark(struct bridge *b, const struct exchange *e, uint8_t flags)
{
    const uint64_t ticket = bridge_next_seq(b);
    bridge_emit(b,
                &(struct bridge_action){
                    .type = BRIDGE_DO_MARK,
                    .row = {.ticket = ticket, .queue = e->queue, .seq = e->seq, .flags = flags}});
    return ticket;
}

static uint64_t forget(struct bridge *b, const struct exchange *e)
{
    const uint64_t ticket = bridge_next_seq(b);
    bridge_emit(
        b, &(struct bridge_action){.type = BRIDGE_DO_FORGET,
                                   .row = {.ticket = ticket, .queue = e->queue, .seq = e->seq}});
    return ticket;
}

/* Frees the message id of a QoS 2 exchange on the disk: else a restart would
 * take the next message with this id for a repeat. */
static uint64_t release(struct bridge *b, struct exchange *e)
{
    if (e->delivered)
        return forget(b, e);
    if (e->message != NULL)
        e->message->flags |= BRIDGE_FLAG_RELEASED;
    return mark(b, e, BRIDGE_FLAG_RELEASED);
}

/* The sensor will not end this exchange any more. Its message goes on. */
static void give_up(struct bridge *b, struct exchange *e)
{
    if (e->qos == 2 && !e->releasing)
        release(b, e);
    exchanges_remove(b, e);
}

void exchanges_remove_all(struct bridge *b, struct session *s)
{
    while (s->exchanges != NULL)
        give_up(b, s->exchanges);
}

void exchanges_connect(struct session *s)
{
    s->acked_mid = 0;
    for (struct exchange *e = s->exchanges; e != NULL; e = e->next)
        e->before = true;
}

/* The rules allow one open message (6.6). Whoever has many that only wait for
 * PUBREL has been started anew in the middle of them; the oldest makes room. */
static void make_room(struct bridge *b, struct session *s)
{
    struct exchange *oldest = NULL;
    if (s->exchange_count < EXCHANGES_MAX)
        return;
    for (struct exchange *e = s->exchanges; e != NULL; e = e->next)
        if (e->acked && !e->releasing)
            oldest = e;
    if (oldest != NULL)
        give_up(b, oldest);
}

static void puback(struct bridge *b, struct session *s, uint16_t tid, uint16_t mid, uint8_t code)
{
    air_send(b, s,
             &(struct sn_packet){.type = SN_PUBACK, .ack = {.tid = tid, .mid = mid, .code = code}},
             AIR_ACK, false);
}

static void say_mid(struct bridge *b, struct session *s, enum sn_type type, uint16_t mid)
{
    air_send(b, s, &(struct sn_packet){.type = type, .mid = mid}, AIR_ACK, false);
}

/* ---- REGISTER ------------------------------------------------------------------- */

static void regack(struct bridge *b, struct session *s, uint16_t tid, uint16_t mid, uint8_t code)
{
    air_send(b, s,
             &(struct sn_packet){.type = SN_REGACK, .ack = {.tid = tid, .mid = mid, .code = code}},
             AIR_ACK, false);
}

/* The id is durable: the device hears of it, and knows it from here on. What was asked
 * for before a CONNECT is void. */
void uplink_registered(struct bridge *b, struct session *s, uint16_t tid, uint16_t mid)
{
    struct topic *t = topics_find(b, s, tid);
    if (t == NULL || s->dialogue != DIALOGUE_NONE)
        return;
    t->known = TOPIC_KNOWN;
    regack(b, s, tid, mid, SN_ACCEPTED);
}

/* Whether a name has its id already, or may take what an id costs. name NULL: it may not. */
static bool has_room(struct bridge *b, struct session *s, const struct name *name)
{
    if (name != NULL && topics_find_name(b, s, name) != NULL)
        return true;
    if (name != NULL && !bridge_is_memory_short(b))
        return budget_write(b, s);
    bridge_note(b, BRIDGE_NOTE_MEMORY_FULL, s, name_bytes(name), 0);
    return false;
}

void uplink_register(struct bridge *b, struct session *s, const struct sn_packet *p,
                     enum sn_fault fault)
{
    const char *const why =
        fault != SN_OK ? sn_fault_name(fault) : permit_publish(b->config, p->reg.name);
    if (why != NULL) {
        bridge_note(b, BRIDGE_NOTE_TOPIC_REFUSED, s, sn_bytes_text(why), 0);
        regack(b, s, 0, p->reg.mid, SN_NOT_SUPPORTED);
        return;
    }
    struct name *name = name_take(b, p->reg.name);
    struct topic *t = has_room(b, s, name) ? topics_take(b, s, name, true) : NULL;
    name_put(b, name);
    if (t == NULL) {
        regack(b, s, 0, p->reg.mid, SN_CONGESTION);
        return;
    }
    if (t->saved <= b->durable) {
        uplink_registered(b, s, t->tid, p->reg.mid);
        return;
    }
    /* An id that a crash could give to another name must not be used. */
    await_add(b, (struct await){.kind = AWAIT_REGACK,
                                .ticket = t->saved,
                                .session = s->number,
                                .mid = p->reg.mid,
                                .tid = t->tid});
}

/* ---- PUBLISH from a sensor -------------------------------------------------------- */

/* The topic of a PUBLISH, with a reference for the caller; NULL: *code says why. */
static struct name *publish_topic(struct bridge *b, struct session *s, const struct sn_packet *p,
                                  uint8_t *code)
{
    const uint16_t tid = p->publish.tid;
    *code = SN_INVALID_TOPIC_ID;
    switch (p->publish.kind) {
    case SN_TOPIC_NORMAL: {
        struct topic *t = s == NULL ? NULL : topics_find(b, s, tid);
        if (t == NULL)
            return NULL;
        if (t->known == TOPIC_TOLD_BEFORE)
            topics_kept(s, true);
        topics_use(s, t, true);
        return name_share(t->name);
    }
    case SN_TOPIC_PREDEFINED: {
        struct name *name = predefined_find(b, s, tid);
        return name == NULL ? NULL : name_share(name);
    }
    case SN_TOPIC_SHORT: {
        const uint8_t text[2] = {(uint8_t)(tid >> 8), (uint8_t)tid};
        if (sn_topic_check_name(sn_bytes(text, 2)) != SN_OK) {
            *code = SN_NOT_SUPPORTED;
            return NULL;
        }
        struct name *name = name_take(b, sn_bytes(text, 2));
        if (name == NULL)
            *code = SN_CONGESTION;
        return name;
    }
    case SN_TOPIC_RESERVED:
        break;
    }
    *code = SN_NOT_SUPPORTED;
    return NULL;
}

static bool exceeds(uint64_t have, uint64_t undecided, uint64_t more, uint64_t max)
{
    return have - (undecided < have ? undecided : have) + more > max;
}

/* One whose messages the broker does not take leaves room for others. */
static bool is_own_full(const struct bridge *b, const struct upstream *u, uint64_t undecided,
                        uint64_t more)
{
    return u->session != NULL && exceeds(u->waiting, undecided, more, b->config->max_queue);
}

/* Whether so many messages and octets more would be beyond a bound: of all, or of
 * their class. certain: and the disk cannot make room by refusing others. */
static bool is_over(const struct bridge *b, const struct upstream *u, uint8_t class, uint64_t more,
                    uint64_t bytes, bool certain)
{
    const struct bridge_config *all = b->config;
    const struct bridge_class_config *c = classes_at(all, class);
    const uint64_t n = certain ? b->undecided_up : 0;
    const uint64_t octets = certain ? b->undecided_bytes : 0;
    return is_own_full(b, u, n, more) || exceeds(b->status.up.queued, n, more, all->max_backlog) ||
           (all->max_backlog_bytes != 0 &&
            exceeds(b->up_bytes, octets, bytes, all->max_backlog_bytes)) ||
           (c->max_messages != 0 &&
            exceeds(b->status.classes[class].up.queued, n, more, c->max_messages)) ||
           (c->max_bytes != 0 && exceeds(b->class_bytes[class], octets, bytes, c->max_bytes));
}

/* How many messages the queue may hold in memory, that is what all may, less the others. */
static uint32_t memory_max(const struct bridge *b, const struct upstream *u, const struct queue *q)
{
    uint32_t others = 0;
    if (q->live)
        return UINT32_MAX; /* lanes_choose() has seen to it */
    for (const struct lane *l = u->lanes; l != NULL; l = l->next)
        if (&l->queue != q && !l->queue.live)
            others += l->queue.in_memory;
    const uint32_t all = lanes_live_max(b, u);
    return others < all ? all - others : 0;
}

/* Puts an accepted message into its queue to the broker. */
static struct message *enqueue(struct bridge *b, struct upstream *u, struct name *topic,
                               const struct bridge_message *m)
{
    struct queue *q = lanes_find(u, m->queue);
    /* With the broker there, a QoS 1 message races to it and to the disk: who
     * confirms first releases the acknowledgement, and a message that the broker
     * confirmed first is never written. */
    const bool races = upstream_is_up(u) && q->on_disk == 0;
    struct message *kept = queue_append(b, q, m, memory_max(b, u, q), m->qos == 1 && races);
    if (m->qos == 0 && kept == NULL)
        return NULL;
    lanes_entered(b, u, q, topic, m->payload.len);
    account_up(b, m->session, m->class, m->link,
               (struct bridge_account){.accepted = 1, .queued = 1});
    account_bytes(b, m->class, m->payload.len);
    if (m->qos == 0)
        u->qos0_waiting++;
    if (kept != NULL)
        lanes_kept(q, kept);
    return kept;
}

static void settle(struct bridge *b, struct upstream *u, struct message *m, uint8_t code,
                   struct bridge_account outcome);

struct with_oldest {
    struct upstream *upstream; /* NULL: nobody */
    uint64_t seq;
    uint8_t class;
};

static void find_oldest(struct bridge *b, struct upstream *u, void *ctx)
{
    struct with_oldest *found = ctx;
    const uint64_t seq = lanes_oldest_seq(u, found->class);
    (void)b;
    if (seq < found->seq)
        *found = (struct with_oldest){u, seq, found->class};
}

/* The connection whose oldest message of the class is to give way to one of *u: that
 * itself, or when it has none, the one with the oldest of all. */
static struct upstream *who_gives_way(struct bridge *b, struct upstream *u, uint8_t class,
                                      uint64_t more)
{
    if (is_own_full(b, u, 0, more) || lanes_oldest_seq(u, class) != UINT64_MAX)
        return u;
    struct with_oldest found = {.upstream = u, .seq = UINT64_MAX, .class = class};
    if (b->status.up.queued > u->waiting) /* something waits elsewhere */
        upstream_each(b, find_oldest, &found);
    return found.upstream;
}

/* Lets the oldest of the class go until there is room for so much more. Returns
 * whether there is, or will be when FETCHED has brought more of them. */
static bool drop_oldest(struct bridge *b, struct upstream *u, uint8_t class, uint64_t more,
                        uint64_t bytes)
{
    while (is_over(b, u, class, more, bytes, false)) {
        bool coming;
        struct upstream *from = who_gives_way(b, u, class, more);
        struct message *m = lanes_oldest(b, from, class, &coming);
        if (m == NULL)
            return coming;
        bridge_note(b, BRIDGE_NOTE_UP_DROPPED_OLD, clients_find_number(b, m->session),
                    name_bytes(m->topic), b->now_ms - m->received_ms);
        settle(b, from, m, 0, (struct bridge_account){.dropped = 1});
        upstream_settled(b, from);
    }
    return true;
}

/* What becomes of a new message: NEWEST when there is room for it. */
static enum bridge_keep make_way(struct bridge *b, struct upstream *u,
                                 const struct bridge_message *m)
{
    const enum bridge_keep keep = (enum bridge_keep)classes_at(b->config, m->class)->keep;
    if (!is_over(b, u, m->class, 1, m->payload.len, false))
        return BRIDGE_KEEP_NEWEST;
    if (keep == BRIDGE_KEEP_OLDEST && !is_over(b, u, m->class, 1, m->payload.len, true))
        return BRIDGE_KEEP_REFUSE; /* dropped for good only for what is there for good */
    if (keep == BRIDGE_KEEP_NEWEST && !drop_oldest(b, u, m->class, 1, m->payload.len))
        return BRIDGE_KEEP_REFUSE; /* all of them are under way */
    return keep;
}

static void drop_new(struct bridge *b, const struct session *s, const struct bridge_message *m,
                     enum bridge_note why)
{
    bridge_note(b, why, s, m->topic, 0);
    account_up(b, m->session, m->class, m->link,
               (struct bridge_account){.accepted = 1, .dropped = 1});
}

static void publish_qos0(struct bridge *b, struct upstream *u, struct session *s,
                         struct name *topic, struct bridge_message *m)
{
    uint64_t limit = lanes_live_max(b, u);
    if (!upstream_is_up(u) && (u->session == NULL || b->config->qos0_backlog < limit))
        limit = b->config->qos0_backlog;
    const bool fits = u->qos0_waiting < limit && make_way(b, u, m) == BRIDGE_KEEP_NEWEST;
    m->seq = bridge_next_seq(b);
    if (!fits || enqueue(b, u, topic, m) == NULL) {
        drop_new(b, s, m, BRIDGE_NOTE_UP_DROPPED_QOS0);
        return;
    }
    uplink_pump(b, u);
}

uint32_t exchange_hash(const struct bridge *b, struct sn_bytes topic, struct sn_bytes payload)
{
    const uint32_t h = table_hash(b->config->seed, topic.data, topic.len);
    const uint32_t both = table_hash(h + b->config->seed, payload.data, payload.len);
    return both == 0 ? 1 : both; /* 0: not known */
}

/* Our PUBACK was lost, or a copy was overtaken by all that followed it. Without the DUP
 * flag it is a new message; and with it when nobody would still repeat the old one: a
 * device that has slept may begin with the same message id and the same reading, of
 * which the first copy is lost. At QoS 2 it has come once only if it is never taken twice. */
static bool was_acked(const struct bridge *b, const struct session *s, const struct sn_packet *p,
                      uint32_t hash)
{
    return p->publish.dup && s->acked_mid == p->publish.mid && s->acked_hash == hash &&
           b->now_ms <= s->acked_until_ms;
}

/* A repeat of something that is still open or was acknowledged last. Answers it
 * where an answer is due, and says whether that was all there is to do. */
static bool is_repeat(struct bridge *b, struct session *s, const struct sn_packet *p, uint32_t hash)
{
    const uint16_t mid = p->publish.mid;
    struct exchange *e = exchanges_find(s, mid);
    if (e == NULL) {
        if (!was_acked(b, s, p, hash))
            return false;
        bridge_note(b, BRIDGE_NOTE_UP_REPEATED, s, sn_bytes(NULL, 0), mid);
        if (p->publish.qos == 1)
            puback(b, s, p->publish.tid, mid, SN_ACCEPTED);
        else
            say_mid(b, s, SN_PUBREC, mid); /* to be released once more, should it wait */
        return true;
    }
    /* A device that has lost its memory begins again with the same message ids:
     * other content is another message, and the old exchange will never end. So is the
     * same without DUP after a CONNECT: who repeats says so (6.13). */
    if ((e->hash != 0 && e->hash != hash) || (e->before && !p->publish.dup)) {
        give_up(b, e);
        return false;
    }
    bridge_note(b, BRIDGE_NOTE_UP_REPEATED, s, sn_bytes(NULL, 0), mid);
    if (e->qos == 2 && e->acked && !e->releasing)
        say_mid(b, s, SN_PUBREC, mid);
    return true; /* otherwise the answer is on its way to the disk */
}

/* The topic id was given to another topic meanwhile. What repeats an exchange that is open
 * is known by its message id: sent anew under another one, it would come twice. */
static bool is_repeat_without_topic(struct bridge *b, struct session *s, const struct sn_packet *p)
{
    const struct exchange *e = s == NULL ? NULL : exchanges_find(s, p->publish.mid);
    return e != NULL && e->qos == p->publish.qos && p->publish.dup && !e->before &&
           is_repeat(b, s, p, e->hash);
}

static struct exchange *open_exchange(struct bridge *b, struct session *s, struct name *topic,
                                      const struct bridge_message *m)
{
    struct exchange *e = exchanges_add(b, s, m->mid);
    if (e != NULL && !await_add(b, (struct await){.kind = m->qos == 1 ? AWAIT_PUBACK : AWAIT_PUBREC,
                                                  .ticket = m->seq,
                                                  .topic = topic,
                                                  .queue = m->queue,
                                                  .bytes = (uint32_t)m->payload.len,
                                                  .class = m->class,
                                                  .link = m->link,
                                                  .session = s->number,
                                                  .mid = m->mid})) {
        exchanges_remove(b, e);
        return NULL;
    }
    return e;
}

static void publish_qos12(struct bridge *b, struct upstream *u, struct session *s,
                          struct name *topic, const struct sn_packet *p, struct bridge_message *m)
{
    const uint16_t mid = p->publish.mid;
    const uint32_t hash = exchange_hash(b, m->topic, m->payload);
    if (is_repeat(b, s, p, hash))
        return;
    make_room(b, s);
    const enum bridge_keep refused = make_way(b, u, m);
    m->seq = bridge_next_seq(b);
    if (refused == BRIDGE_KEEP_OLDEST) { /* done with, as its class wants it */
        drop_new(b, s, m, BRIDGE_NOTE_UP_DROPPED_NEW);
        if (m->qos == 1)
            puback(b, s, p->publish.tid, mid, SN_ACCEPTED);
        else
            say_mid(b, s, SN_PUBREC, mid);
        return;
    }
    struct exchange *e = refused == BRIDGE_KEEP_REFUSE ? NULL : open_exchange(b, s, topic, m);
    if (e == NULL) {
        bridge_note(b, BRIDGE_NOTE_UP_CONGESTION, s, m->topic, mid);
        puback(b, s, p->publish.tid, mid, SN_CONGESTION);
        return;
    }
    e->seq = m->seq;
    e->queue = m->queue;
    e->tid = p->publish.tid;
    e->qos = m->qos;
    e->hash = hash;
    struct message *kept = enqueue(b, u, topic, m);
    if (kept != NULL) {
        kept->exchange = e;
        e->message = kept;
    }
    uplink_pump(b, u);
}

/* 6.8: QoS -1 is never answered; 6.6: anything else is, at QoS 0, which nobody waits
 * for, within limits. */
static void refuse_publish(struct bridge *b, struct session *s, const struct peer *peer,
                           const struct sn_packet *p, uint8_t code)
{
    if (p->publish.qos > 0 || (p->publish.qos == 0 && air_may_refuse(b, peer)))
        puback(b, s, p->publish.tid, p->publish.mid, code);
}

void uplink_publish(struct bridge *b, struct session *s, const struct peer *peer,
                    const struct sn_packet *p, enum sn_fault fault)
{
    const bool anonymous = p->publish.qos == SN_QOS_MINUS_ONE;
    if (anonymous && s == NULL && !b->links[peer->link].config->qos_minus_one) {
        bridge_note_at(b, BRIDGE_NOTE_QOS_MINUS_ONE_REFUSED, peer->link, sn_bytes(NULL, 0),
                       sn_bytes(NULL, 0), 0);
        return;
    }
    uint8_t code = fault == SN_FAULT_RESERVED_TOPIC_ID ? SN_INVALID_TOPIC_ID : SN_NOT_SUPPORTED;
    struct name *topic = fault == SN_OK ? publish_topic(b, s, p, &code) : NULL;
    if (topic == NULL && fault == SN_OK && is_repeat_without_topic(b, s, p))
        return;
    if (topic == NULL) {
        const struct sn_bytes why = sn_bytes_text(fault == SN_OK ? "" : sn_fault_name(fault));
        if (s != NULL)
            bridge_note(b, BRIDGE_NOTE_TOPIC_UNKNOWN, s, why, p->publish.tid);
        else
            bridge_note_at(b, BRIDGE_NOTE_TOPIC_UNKNOWN, peer->link, sn_bytes(NULL, 0), why,
                           p->publish.tid);
        refuse_publish(b, s, peer, p, code);
        return;
    }
    if (permit_publish(b->config, name_bytes(topic)) != NULL) {
        bridge_note_at(b, BRIDGE_NOTE_TOPIC_REFUSED, peer->link,
                       s == NULL ? sn_bytes(NULL, 0) : blob_bytes(s->client_id), name_bytes(topic),
                       p->publish.tid);
        refuse_publish(b, s, peer, p, SN_NOT_SUPPORTED);
        name_put(b, topic);
        return;
    }
    struct upstream *u = upstream_of(b, s);
    const uint8_t class = name_class(b, topic);
    struct bridge_message m = {
        .queue = lanes_choose(b, u, topic, class)->id,
        .session = s == NULL ? 0 : s->number,
        .received_ms = b->now_ms,
        .expires_ms = classes_expires_ms(classes_at(b->config, class), b->now_ms, 0,
                                         b->config->max_backlog_age_s),
        .class = class,
        .link = b->links[peer->link].number,
        .qos = anonymous ? 0 : (uint8_t)p->publish.qos,
        .flags = p->publish.retain ? BRIDGE_FLAG_RETAIN : 0,
        .mid = p->publish.mid,
        .topic = name_bytes(topic),
        .payload = p->publish.data,
    };
    if (m.qos == 0)
        publish_qos0(b, u, s, topic, &m);
    else
        publish_qos12(b, u, s, topic, p, &m);
    name_put(b, topic);
}

void uplink_will(struct bridge *b, const struct session *s)
{
    struct upstream *u = upstream_of(b, s);
    const uint8_t class = name_class(b, s->will.topic);
    struct bridge_message m = {
        .queue = lanes_choose(b, u, s->will.topic, class)->id,
        .session = s->number,
        .received_ms = b->now_ms,
        .expires_ms = classes_expires_ms(classes_at(b->config, class), b->now_ms, 0,
                                         b->config->max_backlog_age_s),
        .class = class,
        .link = s->link == UINT16_MAX ? 0 : b->links[s->link].number,
        .qos = s->will.qos,
        /* Nobody will release it: a QoS 2 will is complete as it is. */
        .flags = (uint8_t)(BRIDGE_FLAG_RELEASED | (s->will.retain ? BRIDGE_FLAG_RETAIN : 0)),
        .topic = name_bytes(s->will.topic),
        .payload = blob_bytes(s->will.message),
    };
    const bool fits = make_way(b, u, &m) == BRIDGE_KEEP_NEWEST;
    m.seq = bridge_next_seq(b);
    if (!fits || (enqueue(b, u, s->will.topic, &m) == NULL && m.qos == 0))
        drop_new(b, s, &m, BRIDGE_NOTE_UP_CONGESTION);
    uplink_pump(b, u);
}

/* ---- PUBREL --------------------------------------------------------------------------- */

/* PUBCOMP lets the sensor use the message id again, so the disk must know first
 * that the id is free: else a restart would take the next message for a repeat. */
void uplink_pubrel(struct bridge *b, struct session *s, uint16_t mid)
{
    struct exchange *e = exchanges_find(s, mid);
    if (e == NULL || e->qos != 2) {
        say_mid(b, s, SN_PUBCOMP, mid);
        return;
    }
    if (e->releasing || !e->acked)
        return;
    struct await *place = await_take(b);
    if (place == NULL)
        return; /* the sensor repeats it */
    const uint64_t ticket = release(b, e);
    e->releasing = true;
    await_enter(b, place,
                (struct await){.kind = AWAIT_PUBCOMP,
                               .ticket = ticket,
                               .token = e->seq,
                               .session = s->number,
                               .mid = mid});
}

/* ---- what the disk says ------------------------------------------------------------------ */

static void remember(struct session *s, const struct exchange *e, uint64_t until_ms)
{
    s->acked_mid = e->mid;
    s->acked_hash = e->hash;
    s->acked_until_ms = until_ms;
}

static void acknowledge(struct bridge *b, struct exchange *e)
{
    struct session *s = e->session;
    if (e->qos == 2 && e->acked)
        return;
    if (e->qos == 2) {
        e->acked = true;
        say_mid(b, s, SN_PUBREC, e->mid);
    } else {
        remember(s, e, b->now_ms + air_retry_span_ms(b, s) + air_late_ms(b, s));
        puback(b, s, e->tid, e->mid, SN_ACCEPTED);
        exchanges_remove(b, e);
    }
    downlink_heard(b, s);
}

void uplink_durable(struct bridge *b, const struct await *a)
{
    struct session *s = clients_find_number(b, a->session);
    struct exchange *e = s == NULL ? NULL : exchanges_find(s, a->mid);
    const uint64_t seq = a->kind == AWAIT_PUBCOMP ? a->token : a->ticket;
    if (e == NULL || e->seq != seq)
        return; /* acknowledged by the broker's answer, or given up */
    if (a->kind == AWAIT_PUBCOMP) {
        remember(s, e, BRIDGE_NEVER);
        say_mid(b, s, SN_PUBCOMP, e->mid);
        exchanges_remove(b, e);
    } else if (b->config->ack_stored || e->delivered) {
        acknowledge(b, e);
    }
}

/* The disk refused the message, so it was never accepted, unless it is on its
 * way to the broker already: then the broker's answer decides. */
void uplink_failed(struct bridge *b, const struct await *a)
{
    struct session *s = clients_find_number(b, a->session);
    struct exchange *e = s == NULL ? NULL : exchanges_find(s, a->mid);
    struct upstream *u = upstream_with_queue(b, a->queue);
    struct queue *q = u == NULL ? NULL : lanes_find(u, a->queue);
    struct message *m = q == NULL ? NULL : queue_find(q, a->ticket);
    if (m != NULL && m->qos == 1 && m->published) {
        m->stored = false;
        return;
    }
    if (e != NULL && e->seq == a->ticket) {
        bridge_note(b, BRIDGE_NOTE_UP_CONGESTION, s, sn_bytes_text("disk"), e->mid);
        puback(b, s, e->tid, e->mid, SN_CONGESTION);
        exchanges_remove(b, e);
    }
    const bool on_disk = q != NULL && queue_is_on_disk(q, a->ticket);
    if (m == NULL && !on_disk)
        return; /* the broker has it */
    lanes_left(b, u, q, a->topic, a->bytes);
    if (m != NULL) {
        suspect_clear(u, &m->suspicion);
        hold_clear(b, u, m);
        queue_remove(b, q, m);
    } else
        q->on_disk--;
    account_up(b, a->session, a->class, a->link,
               (struct bridge_account){.accepted = 0 - 1ull, .queued = 0 - 1ull});
    account_bytes(b, a->class, 0 - (uint64_t)a->bytes);
}

/* ---- to the broker -------------------------------------------------------------------------- */

/* The sensor has not heard yet, and hears now: accepted, or that the broker will
 * never take it. */
static void answer_exchange(struct bridge *b, struct exchange *e, uint8_t code)
{
    if (code < REFUSED || e->acked) {
        acknowledge(b, e);
        return;
    }
    puback(b, e->session, e->tid, e->mid, SN_NOT_SUPPORTED); /* also to QoS 2 */
    exchanges_remove(b, e);
}

/* The message is done with, one way or another: code is the broker's, or 0. */
static void settle(struct bridge *b, struct upstream *u, struct message *m, uint8_t code,
                   struct bridge_account outcome)
{
    struct exchange *e = m->exchange;
    struct queue *q = m->queue;
    outcome.queued = 0 - 1ull;
    suspect_clear(u, &m->suspicion);
    hold_clear(b, u, m);
    account_up(b, m->session, m->class, m->link, outcome);
    account_bytes(b, m->class, 0 - (uint64_t)m->len);
    lanes_left(b, u, q, m->topic, m->len);
    if (m->qos == 0)
        u->qos0_waiting--;
    if (e != NULL && e->qos == 2 && !e->releasing && (code < REFUSED || e->acked)) {
        /* The sensor may still repeat it: the row stays as the memory of that. */
        e->delivered = true;
        mark(b, e, BRIDGE_FLAG_DELIVERED);
        queue_remove(b, q, m);
    } else {
        queue_forget(b, q, m, m->qos == 1);
    }
    if (e != NULL && (e->qos == 1 || !e->releasing))
        answer_exchange(b, e, code);
}

static void drop_expired(struct bridge *b, struct upstream *u, struct message *m)
{
    bridge_note(b, BRIDGE_NOTE_UP_EXPIRED, clients_find_number(b, m->session), name_bytes(m->topic),
                b->now_ms - m->received_ms);
    settle(b, u, m, 0, (struct bridge_account){.expired = 1});
}

/* What the broker may keep it for: at least a second, for it has not expired. */
static uint32_t expiry_left_s(const struct bridge *b, const struct message *m)
{
    /* The bound of our queue is none of the message. */
    const uint64_t ms = (uint64_t)classes_at(b->config, m->class)->expire_s * 1000;
    if (ms == 0)
        return 0;
    const uint64_t end_ms = m->received_ms + ms;
    return end_ms <= b->now_ms ? 1 : (uint32_t)((end_ms - b->now_ms + 999) / 1000);
}

static void publish(struct bridge *b, struct upstream *u, struct message *m)
{
    m->published = true;
    if (m->queue->next_out == m)
        lanes_advance(m->queue);
    upstream_asks(b, u);
    if (m->qos == 0)
        u->inflight0++;
    else
        u->inflight++;
    struct bridge_action a = {.type = BRIDGE_DO_PUBLISH,
                              .publish = {.conn = u->conn,
                                          .expiry_s = expiry_left_s(b, m),
                                          .link = account_link(b, m->link),
                                          .message = queue_message(m->queue, m)}};
    if (a.publish.message.qos > u->max_qos)
        a.publish.message.qos = u->max_qos;
    bridge_emit(b, &a);
}

static void hand_over(struct bridge *b, struct upstream *u)
{
    struct queue *q;
    const bool waits = suspect_pump(b, u) || hold_pump(b, u);
    while (!waits && (q = lanes_next(b, u)) != NULL) {
        struct message *m = q->next_out;
        if (hold_blocks(u, m)) {
            m->held = true;
            lanes_advance(q);
        } else if (m->expires_ms != 0 && m->expires_ms <= b->now_ms)
            drop_expired(b, u, m);
        else
            publish(b, u, m);
    }
    if (lanes_await_disk(b, u) && !u->awaits_disk) {
        u->awaits_disk = true;
        u->disk_next = b->disk_first;
        b->disk_first = u;
    }
    lanes_refill(b, u, lanes_live_max(b, u));
}

void uplink_try(struct bridge *b, struct upstream *u, struct message *m)
{
    if (m->expires_ms != 0 && m->expires_ms <= b->now_ms)
        drop_expired(b, u, m);
    else
        publish(b, u, m);
}

void uplink_set_aside(struct bridge *b, struct upstream *u, struct message *m)
{
    bridge_note(b, BRIDGE_NOTE_UP_SET_ASIDE, clients_find_number(b, m->session),
                name_bytes(m->topic), m->suspicion.alone);
    settle(b, u, m, REFUSED, (struct bridge_account){.dropped = 1});
}

void uplink_pump(struct bridge *b, struct upstream *u)
{
    if ((upstream_is_open(u) || upstream_is_deciding(u)) && !b->stopping)
        hand_over(b, u);
    lanes_trim(b, u);
    upstream_settled(b, u); /* what it waited for may have been dropped */
}

void uplink_leave_disk(struct bridge *b, struct upstream *u)
{
    struct upstream **from = &b->disk_first;
    if (!u->awaits_disk)
        return;
    while (*from != u)
        from = &(*from)->disk_next;
    *from = u->disk_next;
    u->awaits_disk = false;
}

void uplink_stored(struct bridge *b)
{
    struct upstream *u = b->disk_first;
    b->disk_first = NULL;
    for (struct upstream *next; u != NULL; u = next) {
        next = u->disk_next;
        u->awaits_disk = false;
        uplink_pump(b, u); /* may put it on the list again */
    }
}

void uplink_drop_row(struct bridge *b, struct upstream *u, struct queue *q,
                     const struct bridge_message *m, bool expired)
{
    struct session *s = clients_find_number(b, m->session);
    struct exchange *e = s == NULL ? NULL : exchanges_find(s, m->mid);
    if (e != NULL && e->seq != m->seq)
        e = NULL;
    bridge_note(b, expired ? BRIDGE_NOTE_UP_EXPIRED : BRIDGE_NOTE_UP_DROPPED_OLD, s, m->topic,
                b->now_ms - m->received_ms);
    account_up(
        b, m->session, m->class, m->link,
        (struct bridge_account){.expired = expired, .dropped = !expired, .queued = 0 - 1ull});
    account_bytes(b, m->class, 0 - (uint64_t)m->payload.len);
    lanes_left(b, u, q, name_find(b, m->topic), m->payload.len);
    q->on_disk--;
    if (e != NULL && e->qos == 2 && !e->releasing) {
        e->delivered = true; /* as in settle() */
        mark(b, e, BRIDGE_FLAG_DELIVERED);
    } else {
        bridge_emit(b, &(struct bridge_action){
                           .type = BRIDGE_DO_FORGET,
                           .lazy = true,
                           .row = {.ticket = bridge_next_seq(b), .queue = q->id, .seq = m->seq}});
    }
    if (e != NULL && (e->qos == 1 || !e->releasing))
        answer_exchange(b, e, 0);
    upstream_settled(b, u);
}

/* The oldest of a queue that goes from the newest back are asked for only to be dropped. */
static void drop_fetched(struct bridge *b, struct upstream *u, struct queue *q,
                         const struct bridge_event *event)
{
    q->fetching = false;
    for (size_t i = 0; i < event->fetched.count; i++) {
        const struct bridge_message *m = &event->fetched.messages[i];
        if (is_over(b, u, q->class, 0, 0, false) && queue_is_on_disk(q, m->seq)) {
            uplink_drop_row(b, u, q, m, false);
            q->disk_from = m->seq + 1;
        }
    }
}

void uplink_fetched(struct bridge *b, struct upstream *u, const struct bridge_event *event)
{
    struct queue *q = lanes_find(u, event->fetched.queue);
    if (q == NULL)
        return;
    if (q->newest && event->fetched.which == BRIDGE_FETCH_OLDEST) {
        drop_fetched(b, u, q, event);
        uplink_pump(b, u);
        return;
    }
    queue_fetched(b, q, event);
    lanes_recount(b, u);
    account_mend(b);
    /* Open exchanges go on with their message in memory again. */
    for (size_t i = 0; i < event->fetched.count; i++) {
        const struct bridge_message *from = &event->fetched.messages[i];
        struct session *s = from->qos > 0 ? clients_find_number(b, from->session) : NULL;
        struct exchange *e = s == NULL ? NULL : exchanges_find(s, from->mid);
        struct message *m = e != NULL && e->seq == from->seq ? queue_find(q, e->seq) : NULL;
        if (m != NULL) {
            e->message = m;
            m->exchange = e;
            if (e->releasing) /* FETCH was asked for before */
                m->flags |= BRIDGE_FLAG_RELEASED;
        }
    }
    if (classes_at(b->config, q->class)->keep == BRIDGE_KEEP_NEWEST)
        drop_oldest(b, u, q->class, 0, 0);
    uplink_pump(b, u);
}

void uplink_delivered(struct bridge *b, struct upstream *u, uint64_t seq, uint8_t code)
{
    struct message *m = lanes_find_published(u, seq);
    if (m == NULL)
        return; /* decided before the connection was lost and counted then */

    if (m->published && m->qos == 0)
        u->inflight0--;
    else if (m->published)
        u->inflight--;
    upstream_heard(b, u);
    if (m->qos > 0)
        suspect_proof(u, PROOF_MESSAGE);
    const bool refused = code >= REFUSED;
    if (m->qos > 0 && bridge_may_pass(code) && hold_message(b, u, m, code)) {
        uplink_pump(b, u);
        subscribe_pump(b, u);
        return;
    }
    if (refused)
        bridge_note(b, BRIDGE_NOTE_UP_REFUSED_BY_BROKER, clients_find_number(b, m->session),
                    name_bytes(m->topic), code);
    settle(b, u, m, code, (struct bridge_account){.delivered = !refused, .dropped = refused});
    uplink_pump(b, u);
    subscribe_pump(b, u);
}

static void take_back(struct bridge *b, struct upstream *u, struct message *m)
{
    m->published = false;
    m->sent = true;
    if (m->qos == 0) { /* at most once: perhaps it arrived, it is not sent again */
        bridge_note(b, BRIDGE_NOTE_UP_DROPPED_QOS0, clients_find_number(b, m->session),
                    name_bytes(m->topic), 0);
        settle(b, u, m, 0, (struct bridge_account){.dropped = 1});
    }
}

void uplink_down(struct bridge *b, struct upstream *u)
{
    u->inflight = 0;
    u->inflight0 = 0;
    for (struct lane *l = u->lanes; l != NULL; l = l->next) {
        for (struct message *m = l->queue.head, *next; m != NULL; m = next) {
            next = m->next;
            if (m->published)
                take_back(b, u, m);
        }
        lanes_rewind(&l->queue);
    }
    u->disordered = u->holds != NULL;
    lanes_trim(b, u);
}
