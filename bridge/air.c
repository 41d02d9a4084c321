#include "bridge/core.h"

#include <assert.h>

#define QUEUED_MAX                                                                                 \
    2 /* frames of sensors' messages in front of the air; more wait in their queues */
#define SLOTS        256 /* frames in front of the air in all, answers included */
#define SUPERVISED   0xFFu
#define RETRIES_AGED 4 /* after as many T_retry a frame counts as one priority higher */

/* A link whose rate matters has a pacer; any other carries what comes. */
static struct radio_pacer_options pacer_options(const struct bridge_link_config *c)
{
    return (struct radio_pacer_options){
        .bits_per_s = c->bits_per_s,
        .overhead_bits = c->overhead_bits,
        .bits_per_octet = c->bits_per_octet,
        .duty_per_mille = c->duty_per_mille,
        .age_ms = c->retry_ms * RETRIES_AGED,
        .frame_max = c->frame_max,
        .slots = SLOTS,
    };
}

static size_t rounded(size_t size)
{
    return (size + 63) / 64 * 64;
}

size_t air_memory(const struct bridge_config *c)
{
    size_t size = 0;
    for (size_t i = 0; i < c->link_count; i++) {
        if (c->links[i].bits_per_s == 0)
            continue;
        const struct radio_pacer_options o = pacer_options(&c->links[i]);
        size += rounded(sizeof(struct radio_pacer)) + rounded(radio_pacer_size(&o));
    }
    return size;
}

struct radio_rtt_limits air_rtt_limits(const struct bridge_link_config *c)
{
    return (struct radio_rtt_limits){
        .start_ms = c->retry_ms, .min_ms = c->retry_min_ms, .max_ms = c->retry_max_ms};
}

uint64_t air_retry_span_ms(const struct bridge *b, const struct session *s)
{
    uint64_t span_ms = 0;
    if (s->link == UINT16_MAX)
        return 0;
    const struct bridge_link_config *c = b->links[s->link].config;
    uint64_t wait_ms = c->retry_ms;
    for (unsigned i = 0; i <= c->retries; i++) {
        span_ms += wait_ms;
        wait_ms = 2 * wait_ms < c->retry_max_ms ? 2 * wait_ms : c->retry_max_ms;
    }
    return span_ms;
}

uint64_t air_late_ms(const struct bridge *b, const struct session *s)
{
    if (s->link == UINT16_MAX)
        return 0;
    const struct bridge_link *link = &b->links[s->link];
    const struct bridge_link_config *c = link->config;
    const uint64_t exchange_ms = c->retry_ms / 2;
    if (link->pacer == NULL || c->duty_per_mille == 0)
        return exchange_ms;
    return exchange_ms + radio_pacer_air_us(link->pacer, c->frame_max) / c->duty_per_mille;
}

void air_init(struct bridge *b, uint8_t *memory)
{
    for (size_t i = 0; i < b->config->link_count; i++) {
        const struct bridge_link_config *c = &b->config->links[i];
        b->links[i].config = c;
        b->links[i].number = (uint8_t)(i + 1);
        b->links[i].rtt = air_rtt_limits(c);
        if (c->bits_per_s == 0)
            continue;
        const struct radio_pacer_options o = pacer_options(c);
        b->links[i].pacer = (struct radio_pacer *)(void *)memory;
        memory += rounded(sizeof(struct radio_pacer));
        radio_pacer_init(b->links[i].pacer, &o, memory);
        memory += rounded(radio_pacer_size(&o));
    }
}

static struct sn_bytes encode(struct bridge *b, const struct sn_packet *p, struct sn_bytes node,
                              uint8_t radius)
{
    const size_t len = sn_encode(p, b->scratch, sizeof(b->scratch));
    assert(len > 0);
    if (node.data == NULL)
        return sn_bytes(b->scratch, len);
    const struct sn_packet outer = {
        .type = SN_FORWARD,
        .forward = {.radius = radius, .node = node, .inner = sn_bytes(b->scratch, len)},
    };
    const size_t whole = sn_encode(&outer, b->wrapped, sizeof(b->wrapped));
    assert(whole > 0);
    return sn_bytes(b->wrapped, whole);
}

static void send(struct bridge *b, uint16_t link, const struct radio_address *to,
                 struct sn_bytes bytes)
{
    echo_sent(b, link, bytes);
    bridge_emit(b, &(struct bridge_action){.type = BRIDGE_DO_SEND,
                                           .send = {.link = link, .to = *to, .bytes = bytes}});
}

/* One name for what is open towards a session, so that a repeat takes the place
 * of the copy that still waits, and one for each answer. */
static uint64_t key_of(const struct session *s, const struct sn_packet *p, bool supervised)
{
    const uint64_t session = (uint64_t)s->number << 32;
    if (supervised)
        return session | SUPERVISED << 16;
    switch (p->type) {
    case SN_PUBLISH: /* QoS 0: each is a message of its own */
        return RADIO_PACER_NO_KEY;
    case SN_PUBACK:
    case SN_REGACK:
        return session | (uint64_t)p->type << 16 | p->ack.mid;
    case SN_SUBACK:
        return session | (uint64_t)p->type << 16 | p->suback.mid;
    case SN_PUBREC:
    case SN_PUBREL:
    case SN_PUBCOMP:
    case SN_UNSUBACK:
        return session | (uint64_t)p->type << 16 | p->mid;
    case SN_ADVERTISE:
    case SN_SEARCHGW:
    case SN_GWINFO:
    case SN_CONNECT:
    case SN_CONNACK:
    case SN_WILLTOPICREQ:
    case SN_WILLTOPIC:
    case SN_WILLMSGREQ:
    case SN_WILLMSG:
    case SN_REGISTER:
    case SN_SUBSCRIBE:
    case SN_UNSUBSCRIBE:
    case SN_PINGREQ:
    case SN_PINGRESP:
    case SN_DISCONNECT:
    case SN_WILLTOPICUPD:
    case SN_WILLTOPICRESP:
    case SN_WILLMSGUPD:
    case SN_WILLMSGRESP:
    case SN_FORWARD:
        break;
    }
    return session | (uint64_t)p->type << 16;
}

static uint8_t priority_of(enum air_class class)
{
    if (class == AIR_ACK)
        return RADIO_PACER_ACK;
    return class == AIR_CONTROL ? RADIO_PACER_CONTROL
                                : (uint8_t)RADIO_PACER_CLASS((unsigned)(class - AIR_MESSAGE));
}

static void put(struct bridge *b, uint16_t link, uint8_t priority, uint64_t key,
                const struct radio_address *to, struct sn_bytes bytes)
{
    const enum radio_pacer_put result =
        radio_pacer_put(b->links[link].pacer, b->now_ms, priority, key, to, bytes.data, bytes.len);
    if (result == RADIO_PACER_FULL || result == RADIO_PACER_TOO_LONG)
        bridge_note_at(b, BRIDGE_NOTE_AIR_QUEUE_FULL, link, sn_bytes(NULL, 0), sn_bytes(NULL, 0),
                       bytes.len);
}

/* A round trip counts from the first copy: the answer may be to that one. */
static void has_left(struct session *s, uint64_t left_ms)
{
    if (!s->repeated)
        s->sent_ms = left_ms;
    sn_retry_sent(&s->retry, left_ms);
}

void air_send(struct bridge *b, struct session *s, const struct sn_packet *p, enum air_class class,
              bool supervised)
{
    if (s->link == UINT16_MAX)
        return;
    const struct sn_bytes bytes = encode(b, p, blob_bytes(s->node), 0);
    struct radio_pacer *pacer = b->links[s->link].pacer;
    if (pacer == NULL) {
        send(b, s->link, &s->address, bytes);
        if (supervised)
            has_left(s, b->now_ms);
        return;
    }
    if (supervised) {
        /* T_retry counts from the last bit. Until that is known: not before
         * everything in front, and this, can have left. */
        const uint64_t frame_us = radio_pacer_air_us(pacer, b->links[s->link].config->frame_max);
        sn_retry_sent(&s->retry, b->now_ms + (pacer->queued + 1) * frame_us / 1000);
        session_reschedule(b, s);
    }
    put(b, s->link, priority_of(class), key_of(s, p, supervised), &s->address, bytes);
    air_pump(b, s->link);
}

bool air_may_refuse(struct bridge *b, const struct peer *peer)
{
    const uint64_t seed = b->config->seed + peer->link;
    const uint32_t who =
        table_hash(table_hash(seed, peer->address->bytes, peer->address->len) + seed,
                   peer->node.data, peer->node.len);
    struct refusals *r = &b->refusals[who % AIR_REFUSALS_PLACES];
    if (r->who != who || b->now_ms - r->since_ms >= AIR_REFUSALS_MS)
        *r = (struct refusals){.who = who, .since_ms = b->now_ms};
    if (r->count >= AIR_REFUSALS_MAX)
        return false;
    r->count++;
    return true;
}

void air_answer(struct bridge *b, const struct peer *peer, const struct sn_packet *p)
{
    const struct sn_bytes bytes = encode(b, p, peer->node, peer->radius);
    if (b->links[peer->link].pacer == NULL) {
        send(b, peer->link, peer->address, bytes);
        return;
    }
    put(b, peer->link, RADIO_PACER_CONTROL, RADIO_PACER_NO_KEY, peer->address, bytes);
    air_pump(b, peer->link);
}

void air_cancel(struct bridge *b, struct session *s)
{
    if (s->link != UINT16_MAX && b->links[s->link].pacer != NULL)
        radio_pacer_drop(b->links[s->link].pacer, key_of(s, NULL, true));
}

static void leave_list(struct bridge_link *link, struct session *s)
{
    struct session *before = NULL;
    for (struct session *at = link->air_first; at != s; at = at->air_next)
        before = at;
    *(before == NULL ? &link->air_first : &before->air_next) = s->air_next;
    if (link->air_last == s)
        link->air_last = before;
    s->waiting_for_air = false;
}

/* By the priority of what they have, then first come, first served. */
static void join_list(struct bridge_link *link, struct session *s, uint8_t priority)
{
    struct session *before = link->air_last;
    if (before != NULL && before->air_priority > priority) {
        before = NULL;
        for (struct session *at = link->air_first; at->air_priority <= priority; at = at->air_next)
            before = at;
    }
    s->air_priority = priority;
    s->air_next = before == NULL ? link->air_first : before->air_next;
    *(before == NULL ? &link->air_first : &before->air_next) = s;
    if (s->air_next == NULL)
        link->air_last = s;
    s->waiting_for_air = true;
}

bool air_is_free(struct bridge *b, struct session *s)
{
    struct bridge_link *link = &b->links[s->link];
    if (link->pacer == NULL || (link->pacer->queued < QUEUED_MAX && !s->waiting_for_air))
        return true;
    const uint8_t priority = tiers_priority(b, s);
    if (s->waiting_for_air && priority < s->air_priority)
        leave_list(link, s);
    if (!s->waiting_for_air)
        join_list(link, s, priority);
    return false;
}

void air_leave(struct bridge *b, struct session *s)
{
    air_cancel(b, s);
    if (!s->waiting_for_air)
        return;
    leave_list(&b->links[s->link], s);
}

static bool send_next(struct bridge *b, uint16_t link)
{
    struct radio_pacer_frame f;
    if (!radio_pacer_take(b->links[link].pacer, b->now_ms, &f))
        return false;
    send(b, link, &f.to, sn_bytes(f.data, f.len));
    if ((f.key >> 16 & 0xFF) == SUPERVISED) {
        struct session *s = clients_find_number(b, (uint32_t)(f.key >> 32));
        if (s != NULL) {
            has_left(s, f.left_ms);
            session_reschedule(b, s);
        }
    }
    return true;
}

void air_pump(struct bridge *b, uint16_t link)
{
    struct bridge_link *l = &b->links[link];
    if (l->pacer == NULL || l->pumping)
        return; /* sending lets a session send, which comes back here */
    l->pumping = true;
    for (;;) {
        while (send_next(b, link))
            ;
        struct session *s = l->air_first;
        if (s == NULL || l->pacer->queued >= QUEUED_MAX)
            break;
        l->air_first = s->air_next;
        if (l->air_first == NULL)
            l->air_last = NULL;
        s->waiting_for_air = false;
        downlink_pump(b, s);
    }
    l->pumping = false;
}

uint64_t air_deadline(const struct bridge *b)
{
    uint64_t due = BRIDGE_NEVER;
    for (size_t i = 0; i < b->config->link_count; i++) {
        if (b->links[i].pacer == NULL)
            continue;
        const uint64_t link = radio_pacer_deadline(b->links[i].pacer, b->now_ms);
        due = link < due ? link : due;
    }
    return due;
}
