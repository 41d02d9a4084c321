#include "bridge/core.h"

#include <assert.h>
#include <string.h>

/* ---- memory ---------------------------------------------------------------------- */

/* The region holds struct bridge, the tables and the heap, and the arena, which
 * gets whatever is left. */
struct layout {
    uint8_t *at;
    size_t size;
};

static void *carve(struct layout *l, size_t size)
{
    size = (size + 63) / 64 * 64;
    uint8_t *at = l->at;
    if (l->at != NULL)
        l->at += size;
    l->size += size;
    return at;
}

/* With b NULL only the sizes are summed up. */
static void carve_tables(struct bridge *b, struct layout *l, const struct bridge_config *c)
{
    struct bridge none;
    if (b == NULL)
        b = &none;
    const uint32_t clients = c->max_clients;
    const uint32_t many = clients < 1u << 22 ? clients * 4 : 1u << 24;
    const struct {
        struct table *table;
        uint32_t count;
    } tables[] = {
        {&b->sessions_by_number, clients},
        {&b->sessions_by_id, clients},
        {&b->sessions_by_peer, clients},
        {&b->names, many},
        {&b->backlogs, many},
        {&b->topics_by_tid, many},
        {&b->topics_by_name, many},
        {&b->filters, many},
        {&b->filters_by_request, clients},
        {&b->filters_by_number, clients},
        {&b->predefined_by_tid, (uint32_t)c->predefined_count},
    };
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        void *memory = carve(l, table_size(tables[i].count));
        if (memory != NULL)
            table_init(tables[i].table, memory, tables[i].count);
    }
    const uint32_t timers = 2 * clients + 1; /* sessions, their own connections, the shared one */
    void *memory = carve(l, timers_size(timers));
    if (memory != NULL)
        timers_init(&b->timers, memory, timers);
    memory = carve(l, timers_size(clients));
    if (memory != NULL)
        timers_init(&b->idle, memory, clients);
}

size_t bridge_memory_min(const struct bridge_config *c)
{
    struct layout l = {0};
    carve(&l, sizeof(struct bridge));
    carve_tables(NULL, &l, c);
    carve(&l, air_memory(c));
    /* A page for each of the size classes that every message needs. */
    return l.size + 16 * (ARENA_PAGE + 64);
}

size_t bridge_memory_usual(const struct bridge_config *c)
{
    return bridge_memory_min(c) + (size_t)c->max_clients * 4096 + (size_t)c->max_live * 1024 +
           ((size_t)64 << 20);
}

struct bridge *bridge_init(void *memory, size_t size, const struct bridge_config *c,
                           bridge_emit_fn *emit, void *ctx)
{
    assert(c->link_count <= BRIDGE_LINKS_MAX && c->max_clients > 0);
    if (size < bridge_memory_min(c))
        return NULL;
    struct layout l = {.at = memory};
    struct bridge *b = carve(&l, sizeof(*b));
    carve_tables(b, &l, c);
    uint8_t *air = carve(&l, air_memory(c));
    b->config = c;
    b->emit = emit;
    b->ctx = ctx;
    b->random = c->seed | 1;
    lanes_init(b);
    upstream_init(b, &b->shared, 0);
    b->outage_ms = BRIDGE_NEVER;
    b->sweep_ms = BRIDGE_NEVER;
    b->status.memory_size = size;
    air_init(b, air);
    if (!arena_init(&b->arena, l.at, size - l.size) || !predefined_change(b, c))
        return NULL;
    return b;
}

/* ---- small things -------------------------------------------------------------------- */

uint64_t bridge_next_seq(struct bridge *b)
{
    return ++b->seq;
}

uint32_t bridge_random(struct bridge *b, uint32_t below)
{
    /* xorshift64* (Marsaglia, Vigna): jitter needs no more. */
    b->random ^= b->random >> 12;
    b->random ^= b->random << 25;
    b->random ^= b->random >> 27;
    return (uint32_t)((b->random * 2685821657736338717u) >> 32) % below;
}

static uint32_t *state_counter(struct bridge *b, enum sn_state state)
{
    switch (state) {
    case SN_ACTIVE:
        return &b->status.active;
    case SN_ASLEEP:
    case SN_AWAKE:
        return &b->status.asleep;
    case SN_LOST:
        return &b->status.lost;
    case SN_DISCONNECTED:
        return &b->status.disconnected;
    }
    return &b->status.disconnected;
}

void session_changed(struct bridge *b, const struct session *s, uint8_t before)
{
    --*state_counter(b, (enum sn_state)before);
    ++*state_counter(b, (enum sn_state)s->sn.state);
}

uint64_t session_deadline(const struct bridge *b, const struct session *s)
{
    return sn_session_deadline(&s->sn, b->config->tolerance_percent, air_late_ms(b, s));
}

void session_reschedule(struct bridge *b, struct session *s)
{
    uint64_t due = s->dialogue == DIALOGUE_NONE ? session_deadline(b, s) : SN_NEVER;
    if (s->retry.due_ms < due)
        due = s->retry.due_ms;
    if (s->dialogue_retry.due_ms < due)
        due = s->dialogue_retry.due_ms;
    if (s->dialogue == DIALOGUE_BROKER && s->broker_until_ms < due)
        due = s->broker_until_ms;
    if (s->hold_until_ms != 0 && s->hold_until_ms < due)
        due = s->hold_until_ms;
    const uint64_t starved = tiers_starved_until_ms(s);
    if (starved < due)
        due = starved;
    const uint64_t end = expire_deadline(b, s);
    timers_set(&b->timers, &s->timer, end < due ? end : due);
    expire_sort(b, s);
}

/* ---- frames ------------------------------------------------------------------------------ */

/* 6.12: who is not connected is told so at once; silence would cost the device
 * all its repeats. DISCONNECT is answered too: our answer may have been lost. One
 * that babbles does not get the air for itself. */
static void tell_stranger(struct bridge *b, const struct peer *peer, const struct sn_packet *p)
{
    bridge_note_at(b, BRIDGE_NOTE_FRAME_UNKNOWN_SENDER, peer->link, sn_bytes(NULL, 0),
                   sn_bytes_text(sn_type_name((uint8_t)p->type)), 0);
    if (air_may_refuse(b, peer))
        air_answer(b, peer, &(struct sn_packet){.type = SN_DISCONNECT});
}

/* Messages that need a connection, from a client that has one. */
static void from_client(struct bridge *b, struct session *s, const struct peer *peer,
                        const struct sn_packet *p, enum sn_fault fault)
{
    switch (p->type) {
    case SN_WILLTOPICUPD:
    case SN_WILLMSGUPD:
        connect_will_update(b, s, p, fault);
        return;
    case SN_REGISTER:
        uplink_register(b, s, p, fault);
        return;
    case SN_PUBLISH:
        uplink_publish(b, s, peer, p, fault);
        return;
    case SN_PUBREL:
        uplink_pubrel(b, s, p->mid);
        return;
    case SN_SUBSCRIBE:
        subscribe_frame(b, s, p, fault);
        return;
    case SN_UNSUBSCRIBE:
        unsubscribe_frame(b, s, p, fault);
        return;
    case SN_DISCONNECT:
        connect_end(b, s, p);
        return;
    case SN_REGACK:
        downlink_regack(b, s, p);
        return;
    case SN_PUBACK:
        downlink_puback(b, s, p);
        return;
    case SN_PUBREC:
        downlink_pubrec(b, s, p->mid);
        return;
    case SN_PUBCOMP:
        downlink_pubcomp(b, s, p->mid);
        return;
    case SN_PINGRESP:
        return; /* a sign of life, counted already */
    case SN_ADVERTISE:
    case SN_SEARCHGW:
    case SN_GWINFO:
    case SN_CONNECT:
    case SN_CONNACK:
    case SN_WILLTOPICREQ:
    case SN_WILLTOPIC:
    case SN_WILLMSGREQ:
    case SN_WILLMSG:
    case SN_SUBACK:
    case SN_UNSUBACK:
    case SN_PINGREQ:
    case SN_WILLTOPICRESP:
    case SN_WILLMSGRESP:
    case SN_FORWARD:
        break;
    }
    assert(false);
}

static bool is_request(enum sn_type type)
{
    return type != SN_REGACK && type != SN_PUBACK && type != SN_PUBREC && type != SN_PUBCOMP &&
           type != SN_PINGRESP;
}

/* 6.14: it is to connect first. What ends an exchange is no request. */
static bool needs_active(enum sn_type type)
{
    return type == SN_REGISTER || type == SN_PUBLISH || type == SN_SUBSCRIBE ||
           type == SN_UNSUBSCRIBE || type == SN_WILLTOPICUPD || type == SN_WILLMSGUPD;
}

static void connected_frame(struct bridge *b, const struct peer *peer, const struct sn_packet *p,
                            enum sn_fault fault)
{
    struct session *s = clients_find_peer(b, peer);
    const bool will_dialogue = s != NULL && s->dialogue != DIALOGUE_NONE;
    if (p->type == SN_WILLTOPIC || p->type == SN_WILLMSG) {
        if (will_dialogue) {
            sn_session_hear(&s->sn, b->now_ms);
            if (p->type == SN_WILLTOPIC)
                connect_will_topic(b, s, p, fault);
            else
                connect_will_message(b, s, p);
        } else {
            bridge_note_at(b, BRIDGE_NOTE_FRAME_UNEXPECTED, peer->link, sn_bytes(NULL, 0),
                           sn_bytes_text(sn_type_name((uint8_t)p->type)), 0);
        }
        return;
    }
    if (s != NULL && s->sn.state == SN_LOST && !will_dialogue)
        connect_return(b, s);
    if (p->type == SN_PUBLISH && p->publish.qos == SN_QOS_MINUS_ONE) {
        /* 6.8: the same from anybody; of a connected client also a sign of life */
        struct session *connected = s != NULL && sn_session_is_connected(&s->sn) ? s : NULL;
        if (connected != NULL)
            sn_session_hear(&connected->sn, b->now_ms);
        uplink_publish(b, connected, peer, p, fault);
        return;
    }
    if (s == NULL || (!sn_session_is_connected(&s->sn) && !will_dialogue)) {
        if (is_request(p->type))
            tell_stranger(b, peer, p);
        return;
    }
    if (will_dialogue && p->type != SN_DISCONNECT) {
        bridge_note(b, BRIDGE_NOTE_FRAME_UNEXPECTED, s,
                    sn_bytes_text(sn_type_name((uint8_t)p->type)), 0);
        return;
    }
    if (sn_session_is_connected(&s->sn)) {
        sn_session_hear(&s->sn, b->now_ms);
        save_heard(b, s);
        session_reschedule(b, s);
    }
    if (b->config->strict_sleep && needs_active(p->type) &&
        (s->sn.state == SN_ASLEEP || s->sn.state == SN_AWAKE)) {
        bridge_note(b, BRIDGE_NOTE_FRAME_UNEXPECTED, s,
                    sn_bytes_text(sn_type_name((uint8_t)p->type)), 0);
        if (air_may_refuse(b, peer))
            air_answer(b, peer, &(struct sn_packet){.type = SN_DISCONNECT});
        return;
    }
    const uint32_t number = s->number;
    from_client(b, s, peer, p, fault);
    if ((s = clients_find_number(b, number)) != NULL)
        downlink_heard(b, s); /* behind the answer */
}

static void packet(struct bridge *b, const struct peer *peer, const struct sn_packet *p,
                   enum sn_fault fault)
{
    /* What is under way may end; nothing new begins. The device repeats. */
    if (b->stopping && is_request(p->type) && p->type != SN_PUBREL)
        return;
    switch (p->type) {
    case SN_CONNECT:
        connect_begin(b, peer, p, fault);
        return;
    case SN_PINGREQ:
        connect_ping(b, peer, p);
        return;
    case SN_SEARCHGW:
        discover_search(b, peer, p);
        return;
    case SN_ADVERTISE:
        discover_heard(b, peer->link, p);
        return;
    case SN_GWINFO: /* of others; of no concern to us */
        return;
    case SN_CONNACK:
    case SN_WILLTOPICREQ:
    case SN_WILLMSGREQ:
    case SN_SUBACK:
    case SN_UNSUBACK:
    case SN_WILLTOPICRESP:
    case SN_WILLMSGRESP:
    case SN_FORWARD: /* one level only */
        bridge_note_at(b, BRIDGE_NOTE_FRAME_NOT_FOR_GATEWAY, peer->link, sn_bytes(NULL, 0),
                       sn_bytes_text(sn_type_name((uint8_t)p->type)), 0);
        return;
    case SN_WILLTOPIC:
    case SN_WILLMSG:
    case SN_REGISTER:
    case SN_REGACK:
    case SN_PUBLISH:
    case SN_PUBACK:
    case SN_PUBCOMP:
    case SN_PUBREC:
    case SN_PUBREL:
    case SN_SUBSCRIBE:
    case SN_UNSUBSCRIBE:
    case SN_PINGRESP:
    case SN_DISCONNECT:
    case SN_WILLTOPICUPD:
    case SN_WILLMSGUPD:
        connected_frame(b, peer, p, fault);
        return;
    }
}

static void frame(struct bridge *b, const struct bridge_event *event)
{
    struct peer peer = {.link = event->frame.link, .address = &event->frame.from};
    struct sn_packet p;
    enum sn_fault fault = sn_decode(event->frame.bytes, &p);
    if (fault == SN_OK && echo_drops(b, peer.link, event->frame.bytes, &p))
        return;
    if (fault == SN_OK && p.type == SN_FORWARD) {
        if (!discover_is_forwarder(b, peer.link, peer.address)) {
            bridge_note_at(b, BRIDGE_NOTE_FORWARDER_REFUSED, peer.link, sn_bytes(NULL, 0),
                           sn_bytes(NULL, 0), 0);
            return;
        }
        discover_forwarder(b, peer.link, peer.address);
        peer.node = p.forward.node;
        const struct sn_bytes inner = p.forward.inner;
        fault = sn_decode(inner, &p);
    }
    if (fault != SN_OK) {
        bridge_note_at(b, BRIDGE_NOTE_FRAME_BAD, peer.link, sn_bytes(NULL, 0),
                       sn_bytes_text(sn_fault_name(fault)), event->frame.bytes.len);
        if (!sn_fault_is_answerable(fault))
            return;
    }
    packet(b, &peer, &p, fault);
}

/* ---- steps -------------------------------------------------------------------------------------- */

static void start(struct bridge *b, const struct bridge_event *event)
{
    if (event->start.next_seq > 0)
        b->seq = event->start.next_seq - 1;
    b->durable = b->covered = b->start_seq = b->seq;
    b->started = true;
    discover_start(b);
    expire_start(b);
    restore_start(b);
    upstream_start(b);
}

static void fetched(struct bridge *b, const struct bridge_event *event)
{
    if (event->fetched.which == BRIDGE_FETCH_EXPIRED) {
        sweep_fetched(b, event);
        return;
    }
    struct upstream *u = upstream_with_queue(b, event->fetched.queue);
    if (u != NULL) {
        uplink_fetched(b, u, event);
        return;
    }
    struct session *s = clients_find_number(b, bridge_queue_session(event->fetched.queue));
    struct queue *q = s == NULL ? NULL : tiers_find(s, event->fetched.queue);
    if (q == NULL)
        return;
    queue_fetched(b, q, event);
    session_reschedule(b, s);
    downlink_pump(b, s);
}

static void run_timers(struct bridge *b)
{
    struct timer *t;
    while ((t = timers_due(&b->timers, b->now_ms)) != NULL) {
        switch ((enum timer_kind)t->kind) {
        case TIMER_SESSION:
            connect_due(b, TABLE_ENTRY(t, struct session, timer));
            break;
        case TIMER_UPSTREAM:
            upstream_due(b, TABLE_ENTRY(t, struct upstream, timer));
            break;
        }
    }
    for (uint16_t i = 0; i < b->config->link_count; i++)
        air_pump(b, i);
    discover_due(b);
    outage_due(b);
    sweep_due(b);
}

/* What happened on a connection that is gone meanwhile is of no concern. */
static void broker(struct bridge *b, const struct bridge_event *event)
{
    struct upstream *u;
    if (event->type == BRIDGE_ON_BROKER_UP && (u = upstream_find(b, event->up.conn)) != NULL)
        upstream_up(b, u, event);
    else if (event->type == BRIDGE_ON_BROKER_DOWN &&
             (u = upstream_find(b, event->down.conn)) != NULL)
        upstream_down(b, u, event);
    else if (event->type == BRIDGE_ON_DELIVERED &&
             (u = upstream_find(b, event->delivered.conn)) != NULL)
        uplink_delivered(b, u, event->delivered.seq, event->delivered.code);
    else if (event->type == BRIDGE_ON_MESSAGE)
        downlink_message(b, upstream_find(b, event->message.conn), event);
}

static void step(struct bridge *b, const struct bridge_event *event)
{
    switch (event->type) {
    case BRIDGE_ON_FRAME:
        assert(event->frame.link < b->config->link_count);
        frame(b, event);
        return;
    case BRIDGE_ON_TIME:
        run_timers(b);
        return;
    case BRIDGE_ON_STORED:
        if (event->stored.ticket > b->covered)
            b->covered = event->stored.ticket;
        await_stored(b, event->stored.ticket);
        uplink_stored(b);
        return;
    case BRIDGE_ON_STORE_FAILED:
        bridge_note(b, BRIDGE_NOTE_STORE_FAILED, NULL, sn_bytes(NULL, 0), event->stored.ticket);
        await_failed(b, event->stored.ticket);
        b->covered = event->stored.ticket;
        uplink_stored(b); /* what was refused holds up nobody any more */
        return;
    case BRIDGE_ON_FETCHED:
        fetched(b, event);
        return;
    case BRIDGE_ON_RECORD:
        assert(!b->started);
        restore_record(b, &event->record);
        return;
    case BRIDGE_ON_WAITING:
        assert(!b->started);
        restore_waiting(b, event);
        return;
    case BRIDGE_ON_QUEUE:
        assert(!b->started);
        restore_queue(b, event);
        return;
    case BRIDGE_ON_OPEN:
        assert(!b->started);
        restore_open(b, event);
        return;
    case BRIDGE_ON_START:
        assert(!b->started);
        start(b, event);
        return;
    case BRIDGE_ON_BROKER_UP:
    case BRIDGE_ON_BROKER_DOWN:
    case BRIDGE_ON_DELIVERED:
    case BRIDGE_ON_MESSAGE:
        broker(b, event);
        return;
    case BRIDGE_ON_SUBSCRIBED:
    case BRIDGE_ON_UNSUBSCRIBED:
        subscribe_answered(b, event->subscribed.request, event->subscribed.code);
        return;
    case BRIDGE_ON_STOP:
        b->stopping = true;
        save_accounts_of_sessions(b);
        save_account_now(b);
        return;
    }
}

void bridge_step(struct bridge *b, uint64_t now_ms, const struct bridge_event *event)
{
    assert(now_ms >= b->now_ms);
    b->now_ms = now_ms;
    step(b, event);
    if (b->stopping)
        save_account_now(b);
    else
        save_account(b);
}

uint64_t bridge_deadline(const struct bridge *b)
{
    const uint64_t timers = timers_next(&b->timers);
    const uint64_t air = air_deadline(b);
    const uint64_t advertise = b->started ? discover_deadline(b) : BRIDGE_NEVER;
    const uint64_t sweep = b->sweeping || !b->started ? BRIDGE_NEVER : b->sweep_ms;
    const uint64_t outage = outage_deadline(b);
    uint64_t due = timers < air ? timers : air;
    due = due < outage ? due : outage;
    due = due < advertise ? due : advertise;
    return due < sweep ? due : sweep;
}

static const char *connection_name(const struct session *s)
{
    static const char *const names[] = {
        [UPSTREAM_DOWN] = "down", [UPSTREAM_CONNECTING] = "connecting", [UPSTREAM_UP] = "up"};
    return s->transparent ? names[s->own->state] : NULL;
}

void bridge_each_client(const struct bridge *b, bridge_client_fn *fn, void *ctx)
{
    for (uint32_t i = 0; i <= b->sessions_by_number.mask; i++) {
        for (struct table_link *l = b->sessions_by_number.buckets[i]; l != NULL; l = l->next) {
            const struct session *s = TABLE_ENTRY(l, struct session, by_number);
            fn(ctx, &(struct bridge_client){
                        .id = blob_bytes(s->client_id),
                        .state = sn_state_name((enum sn_state)s->sn.state),
                        .link = s->link,
                        .address = s->address,
                        .node = blob_bytes(s->node),
                        .heard_ms = s->sn.heard_ms,
                        .keepalive_s = s->sn.keepalive_s,
                        .sleep_s = s->sn.state == SN_ASLEEP ? s->sn.sleep_s : 0,
                        .subscriptions = s->subscription_count,
                        .topics = s->topic_count,
                        .connection = connection_name(s),
                        .unsent = s->own == NULL ? 0 : s->own->waiting,
                        .account = s->account,
                        .queued = tiers_count(s),
                        .oldest_ms = tiers_oldest_ms(s),
                        .round_trip_ms = s->rtt.rto_ms,
                    });
        }
    }
}

void bridge_get_status(const struct bridge *b, struct bridge_status *out)
{
    *out = b->status;
    out->broker_up = upstream_is_up(&b->shared);
    out->undecided = b->shared.inflight + b->shared.inflight0;
    for (uint32_t i = 0; out->connections > 0 && i <= b->sessions_by_number.mask; i++) {
        for (struct table_link *l = b->sessions_by_number.buckets[i]; l != NULL; l = l->next) {
            const struct upstream *u = TABLE_ENTRY(l, struct session, by_number)->own;
            out->undecided += u == NULL ? 0 : u->inflight + u->inflight0;
        }
    }
    out->memory_used = arena_used(&b->arena);
}
