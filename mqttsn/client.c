#include "mqttsn/client.h"

#include <assert.h>

#include "mqttsn/topic.h"

#define NO_GATEWAY UINT8_MAX

/* What the gateway is to be told about the will (6.3, 6.4). */
enum will_state {
    WILL_NONE,   /* nothing: there is none, or whatever the gateway has is fine */
    WILL_NEW,    /* the gateway does not have it yet */
    WILL_TOLD,   /* the gateway has it: only a fresh connection needs it again */
    WILL_DELETE, /* the gateway is to forget an older one */
};

/* ---- small questions -------------------------------------------------------- */

static uint32_t next_random(struct sn_client *c)
{
    c->random ^= c->random << 13;
    c->random ^= c->random >> 17;
    c->random ^= c->random << 5;
    return c->random;
}

static uint32_t random_up_to(struct sn_client *c, uint32_t limit)
{
    return (uint32_t)((uint64_t)next_random(c) * ((uint64_t)limit + 1) >> 32);
}

static uint32_t doubled(uint32_t wait_ms, uint32_t max_ms)
{
    return wait_ms > max_ms / 2 ? max_ms : 2 * wait_ms;
}

/* When to be heard if the gateway expects us every period: soon enough for one
 * repeat to come in time, since its tolerance is 10 % of a long period (7.2). */
static uint64_t in_good_time(const struct sn_client *c, uint16_t period_s)
{
    const uint64_t period_ms = (uint64_t)period_s * 1000;
    uint64_t lead_ms = c->cfg->retry_ms < period_ms / 2 ? c->cfg->retry_ms : period_ms / 2;

    if (lead_ms < period_ms / 10) {
        lead_ms = period_ms / 10;
    }
    return period_ms - lead_ms;
}

static uint64_t ping_due(const struct sn_client *c)
{
    if (c->state != SN_CLIENT_ACTIVE || c->cfg->keepalive_s == 0 || c->pinging) {
        return SN_NEVER;
    }
    /* What we send keeps the gateway content; what we hear does the same for us. */
    const uint64_t since_ms = c->sent_ms < c->heard_ms ? c->sent_ms : c->heard_ms;
    return since_ms + in_good_time(c, c->cfg->keepalive_s);
}

static bool is_assignable(uint16_t tid)
{
    return tid != 0x0000 && tid != 0xFFFF; /* 5.3.11 */
}

/* Whether messages may come from the gateway now. */
static bool is_listening(const struct sn_client *c)
{
    return c->state == SN_CLIENT_ACTIVE || c->state == SN_CLIENT_DROWSY ||
           c->state == SN_CLIENT_ASLEEP || c->state == SN_CLIENT_AWAKE;
}

static size_t envelope_size(const struct sn_client *c)
{
    return c->cfg->node.len == 0 ? 0 : 3 + c->cfg->node.len;
}

/* Whether a message of fixed + variable octets fits into the frame limit. */
static bool fits(const struct sn_client *c, size_t fixed, size_t variable)
{
    const size_t room = c->cfg->frame_size - envelope_size(c);

    if (variable > room || variable > SN_PACKET_MAX - 16) {
        return false;
    }
    const size_t len = fixed + variable;
    return len + (len > 255 ? 2 : 0) <= room;
}

static uint16_t take_mid(struct sn_client *c)
{
    const uint16_t mid = c->next_mid++;

    if (c->next_mid == 0) {
        c->next_mid = 1;
    }
    return mid;
}

/* ---- gateways --------------------------------------------------------------- */

static struct sn_bytes gateway_address(const struct sn_client_gateway *g)
{
    return sn_bytes(g->address, g->address_len);
}

/* The next known gateway after the place; NO_GATEWAY if there is none at all. */
static uint8_t gateway_after(const struct sn_client *c, uint8_t place)
{
    const unsigned max = c->cfg->gateways_max;

    for (unsigned i = 1; i <= max; i++) {
        const unsigned at = (place + i) % max;
        if (c->cfg->gateways[at].used) {
            return (uint8_t)at;
        }
    }
    return NO_GATEWAY;
}

static struct sn_bytes current_address(const struct sn_client *c)
{
    if (c->cfg->gateways_max == 0) {
        return sn_bytes(NULL, 0);
    }
    return gateway_address(&c->cfg->gateways[c->gateway]);
}

/* The gateway in the current place, or if it is gone another one. */
static bool choose_gateway(struct sn_client *c)
{
    if (c->cfg->gateways_max == 0 || c->cfg->gateways[c->gateway].used) {
        return true;
    }
    const uint8_t place = gateway_after(c, c->gateway);
    if (place == NO_GATEWAY) {
        return false;
    }
    c->gateway = place;
    return true;
}

static struct sn_client_gateway *add_gateway(struct sn_client *c, struct sn_bytes address)
{
    for (unsigned i = 0; i < c->cfg->gateways_max; i++) {
        struct sn_client_gateway *g = &c->cfg->gateways[i];
        if (!g->used) {
            *g = (struct sn_client_gateway){
                .gone_ms = SN_NEVER, .used = true, .address_len = (uint8_t)address.len};
            if (address.len > 0) {
                memcpy(g->address, address.data, address.len);
            }
            return g;
        }
    }
    return NULL;
}

/* ---- sending ---------------------------------------------------------------- */

static void emit(const struct sn_client *c, const struct sn_client_event *e)
{
    c->cfg->emit(c->cfg->ctx, e);
}

/* Every caller has made sure that the message fits. */
static struct sn_bytes put_together(const struct sn_client *c, const struct sn_packet *p)
{
    const size_t head = envelope_size(c);
    const size_t len = sn_encode(p, c->cfg->frame + head, c->cfg->frame_size - head);

    assert(len > 0);
    if (head > 0) {
        struct sn_writer w = sn_writer(c->cfg->frame, head);
        sn_write_u8(&w, (uint8_t)head);
        sn_write_u8(&w, SN_FORWARD);
        sn_write_u8(&w, 0); /* the radius is the gateway's to set, 5.5 */
        sn_write_bytes(&w, c->cfg->node);
    }
    return sn_bytes(c->cfg->frame, head + len);
}

static void send_packet(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p)
{
    c->sent_ms = now_ms;
    emit(c, &(struct sn_client_event){
                .type = SN_EVENT_SEND,
                .send = {.frame = put_together(c, p), .to = current_address(c)},
            });
}

static void send_broadcast(struct sn_client *c, uint8_t radius, const struct sn_packet *p)
{
    emit(c, &(struct sn_client_event){
                .type = SN_EVENT_SEND,
                .send = {.frame = put_together(c, p), .broadcast = true, .radius = radius},
            });
}

static void send_mid(struct sn_client *c, uint64_t now_ms, enum sn_type type, uint16_t mid)
{
    send_packet(c, now_ms, &(struct sn_packet){.type = type, .mid = mid});
}

static void send_ack(struct sn_client *c, uint64_t now_ms, enum sn_type type, uint16_t tid,
                     uint16_t mid, uint8_t code)
{
    send_packet(c, now_ms,
                &(struct sn_packet){.type = type, .ack = {.tid = tid, .mid = mid, .code = code}});
}

static void start_retry(const struct sn_client *c, struct sn_retry *r, uint64_t now_ms)
{
    sn_retry_start(r, now_ms, c->cfg->retry_ms, c->cfg->retry_max_ms, c->cfg->retries);
}

static void discard(const struct sn_client *c, enum sn_fault fault, enum sn_type type)
{
    emit(c, &(struct sn_client_event){.type = SN_EVENT_DISCARDED,
                                      .discarded = {.fault = fault, .type = (uint8_t)type}});
}

/* ---- the table of topics ---------------------------------------------------- */

static struct sn_bytes topic_name(const struct sn_client *c, size_t place)
{
    return sn_bytes(c->cfg->names + place * c->cfg->name_size, c->cfg->topics[place].len);
}

static struct sn_client_topic *find_name(struct sn_client *c, struct sn_bytes name)
{
    for (size_t i = 0; i < c->cfg->topics_max; i++) {
        struct sn_client_topic *t = &c->cfg->topics[i];
        if (t->used != 0 && sn_bytes_equal(topic_name(c, i), name)) {
            t->used = ++c->uses;
            return t;
        }
    }
    return NULL;
}

static struct sn_client_topic *find_tid(struct sn_client *c, uint16_t tid)
{
    for (size_t i = 0; i < c->cfg->topics_max; i++) {
        struct sn_client_topic *t = &c->cfg->topics[i];
        if (t->used != 0 && t->tid == tid) {
            t->used = ++c->uses;
            return t;
        }
    }
    return NULL;
}

static bool is_in_open_request(const struct sn_client *c, size_t place)
{
    return c->open.what == SN_PUBLISH && c->open.topic_kind == SN_TOPIC_NORMAL &&
           c->open.slot == place;
}

/* The place of a name: its own, a free one, or the one that was not used for
 * the longest time. NULL if the open request needs the only place. */
static struct sn_client_topic *place_for(struct sn_client *c, struct sn_bytes name)
{
    struct sn_client_topic *oldest = find_name(c, name);
    if (oldest != NULL) {
        return oldest;
    }
    for (size_t i = 0; i < c->cfg->topics_max; i++) {
        struct sn_client_topic *t = &c->cfg->topics[i];
        if (!is_in_open_request(c, i) && (oldest == NULL || t->used < oldest->used)) {
            oldest = t;
        }
    }
    if (oldest != NULL) {
        const size_t place = (size_t)(oldest - c->cfg->topics);
        memcpy(c->cfg->names + place * c->cfg->name_size, name.data, name.len);
        *oldest = (struct sn_client_topic){.used = ++c->uses, .len = (uint16_t)name.len};
    }
    return oldest;
}

/* The newest pairing wins in both directions (6.5). */
static void pair(struct sn_client *c, struct sn_client_topic *t, uint16_t tid)
{
    for (size_t i = 0; i < c->cfg->topics_max; i++) {
        if (c->cfg->topics[i].tid == tid) {
            c->cfg->topics[i].tid = 0;
        }
    }
    t->tid = tid;
}

static void forget_tids(struct sn_client *c)
{
    for (size_t i = 0; i < c->cfg->topics_max; i++) {
        c->cfg->topics[i].tid = 0;
    }
}

/* ---- the open request ------------------------------------------------------- */

static void finish(struct sn_client *c, enum sn_client_result result, uint8_t code, int8_t qos)
{
    struct sn_client_event e = {.type = SN_EVENT_PUBLISHED,
                                .done = {.result = result, .code = code, .qos = qos}};

    if (c->open.what == SN_SUBSCRIBE) {
        e.type = SN_EVENT_SUBSCRIBED;
    } else if (c->open.what == SN_UNSUBSCRIBE) {
        e.type = SN_EVENT_UNSUBSCRIBED;
    } else if (c->open.what == SN_WILLTOPICUPD) {
        e.type = SN_EVENT_WILL_CHANGED;
    } else if (c->open.qos > 0) {
        e.done.mid = c->open.mid;
    }
    c->open.what = 0;
    sn_retry_stop(&c->open.retry);
    emit(c, &e);
}

static void finish_open(struct sn_client *c, enum sn_client_result result)
{
    if (c->open.what != 0) {
        finish(c, result, SN_ACCEPTED, c->open.qos);
    }
}

static void send_open_publish(struct sn_client *c, uint64_t now_ms)
{
    const bool normal = c->open.topic_kind == SN_TOPIC_NORMAL;

    send_packet(c, now_ms,
                &(struct sn_packet){
                    .type = SN_PUBLISH,
                    .publish = {.dup = c->open.sent && c->open.qos > 0,
                                .qos = c->open.qos,
                                .retain = c->open.retain,
                                .kind = (enum sn_topic_kind)c->open.topic_kind,
                                .tid = normal ? c->cfg->topics[c->open.slot].tid : c->open.tid,
                                .mid = c->open.qos > 0 ? c->open.mid : 0,
                                .data = sn_bytes(c->cfg->kept, c->open.len)},
                });
}

static void send_open_subscribe(struct sn_client *c, uint64_t now_ms)
{
    send_packet(c, now_ms,
                &(struct sn_packet){
                    .type = (enum sn_type)c->open.what,
                    .subscribe = {.qos = c->open.qos,
                                  .kind = (enum sn_topic_kind)c->open.topic_kind,
                                  .mid = c->open.mid,
                                  .tid = c->open.tid,
                                  .name = sn_bytes(c->cfg->kept, c->open.len)},
                });
}

static void send_will_topic(struct sn_client *c, uint64_t now_ms, enum sn_type type)
{
    send_packet(c, now_ms,
                &(struct sn_packet){
                    .type = type,
                    .willtopic = {.empty = c->will.topic.len == 0,
                                  .qos = c->will.qos,
                                  .retain = c->will.retain,
                                  .topic = c->will.topic},
                });
}

static void send_will_message(struct sn_client *c, uint64_t now_ms, enum sn_type type)
{
    send_packet(c, now_ms,
                &(struct sn_packet){.type = type, .willmsg = {.message = c->will.message}});
}

static void send_open(struct sn_client *c, uint64_t now_ms)
{
    switch (c->open.step) {
    case SN_REGISTER:
        send_packet(
            c, now_ms,
            &(struct sn_packet){
                .type = SN_REGISTER,
                .reg = {.tid = 0, .mid = c->open.mid, .name = topic_name(c, c->open.slot)}});
        break;
    case SN_PUBLISH:
        send_open_publish(c, now_ms);
        break;
    case SN_PUBREL:
        send_mid(c, now_ms, SN_PUBREL, c->open.mid);
        break;
    case SN_WILLTOPICUPD:
        send_will_topic(c, now_ms, SN_WILLTOPICUPD);
        break;
    case SN_WILLMSGUPD:
        send_will_message(c, now_ms, SN_WILLMSGUPD);
        break;
    case SN_SUBSCRIBE:
    case SN_UNSUBSCRIBE:
        send_open_subscribe(c, now_ms);
        break;
    }
    c->open.sent = true;
}

/* A name without an id needs REGISTER before PUBLISH (6.5), and each of the two
 * its own message id. */
static void choose_publish_step(struct sn_client *c)
{
    const bool named = c->open.topic_kind == SN_TOPIC_NORMAL;
    const enum sn_type step =
        named && c->cfg->topics[c->open.slot].tid == 0 ? SN_REGISTER : SN_PUBLISH;

    if (c->open.step != step) {
        c->open.step = (uint8_t)step;
        c->open.mid = take_mid(c);
        c->open.sent = false;
    }
}

/* Sends what the open request needs next, or parks it. */
static void go_on(struct sn_client *c, uint64_t now_ms)
{
    if (c->open.what == 0) {
        return;
    }
    c->open.parked = c->state != SN_CLIENT_ACTIVE || now_ms < c->hold_ms;
    if (c->open.parked) {
        sn_retry_stop(&c->open.retry);
        return;
    }
    if (c->open.what == SN_PUBLISH && c->open.step != SN_PUBREL) {
        choose_publish_step(c);
    }
    start_retry(c, &c->open.retry, now_ms);
    send_open(c, now_ms);
    if (c->open.step == SN_PUBLISH && c->open.qos <= 0) {
        finish(c, SN_RESULT_ACCEPTED, SN_ACCEPTED, c->open.qos);
    }
}

static void repeat_open(struct sn_client *c, uint64_t now_ms)
{
    /* The gateway has meanwhile given the topic's id to another name. */
    if (c->open.step == SN_PUBLISH && c->open.topic_kind == SN_TOPIC_NORMAL &&
        c->cfg->topics[c->open.slot].tid == 0) {
        go_on(c, now_ms);
        return;
    }
    send_open(c, now_ms);
}

/* "Rejected: congestion": the same request again after T_WAIT, as a new one
 * with a message id of its own. */
static void wait_for_congestion(struct sn_client *c, uint64_t now_ms)
{
    const enum sn_type what = (enum sn_type)c->open.step;

    c->hold_ms = now_ms + c->cfg->congestion_ms;
    c->open.mid = take_mid(c);
    c->open.sent = false;
    go_on(c, now_ms);
    emit(c, &(struct sn_client_event){.type = SN_EVENT_CONGESTED,
                                      .congested = {.what = what, .until_ms = c->hold_ms}});
}

/* The gateway has refused with a code other than 0. */
static void refuse_open(struct sn_client *c, uint64_t now_ms, uint8_t code)
{
    if (code == SN_CONGESTION) {
        wait_for_congestion(c, now_ms);
    } else {
        finish(c, SN_RESULT_REJECTED, code, 0);
    }
}

static void open_request(struct sn_client *c, enum sn_type what, struct sn_topic_ref topic,
                         int8_t qos, struct sn_bytes kept)
{
    c->open.what = (uint8_t)what;
    c->open.step = what == SN_PUBLISH ? 0 : (uint8_t)what; /* REGISTER may come first */
    c->open.topic_kind = (uint8_t)topic.kind;
    c->open.tid = topic.tid;
    c->open.qos = qos;
    c->open.sent = false;
    c->open.cured = false;
    c->open.mid = what == SN_PUBLISH ? 0 : take_mid(c);
    c->open.slot = 0;
    c->open.len = (uint16_t)kept.len;
    if (kept.len > 0) {
        memmove(c->cfg->kept, kept.data, kept.len);
    }
}

/* ---- connecting and losing -------------------------------------------------- */

static void send_pingreq(struct sn_client *c, uint64_t now_ms)
{
    struct sn_packet p = {.type = SN_PINGREQ};

    if (c->state == SN_CLIENT_AWAKE) {
        p.pingreq.client_id = c->cfg->client_id;
    }
    send_packet(c, now_ms, &p);
}

static void send_disconnect(struct sn_client *c, uint64_t now_ms)
{
    struct sn_packet p = {.type = SN_DISCONNECT};

    if (c->state == SN_CLIENT_DROWSY) {
        p.disconnect.has_duration = true;
        p.disconnect.duration_s = c->sleep_s;
        c->goodbyes++;
    }
    send_packet(c, now_ms, &p);
}

static void send_dialogue(struct sn_client *c, uint64_t now_ms)
{
    if (c->dialogue == SN_WILLTOPIC) {
        send_will_topic(c, now_ms, SN_WILLTOPIC);
    } else if (c->dialogue == SN_WILLMSG) {
        send_will_message(c, now_ms, SN_WILLMSG);
    } else {
        send_packet(c, now_ms,
                    &(struct sn_packet){
                        .type = SN_CONNECT,
                        .connect = {.will = c->will_sent,
                                    .clean = c->clean_sent,
                                    .protocol_id = SN_PROTOCOL_ID,
                                    .keepalive_s = c->cfg->keepalive_s,
                                    .client_id = c->cfg->client_id},
                    });
    }
}

static void start_search(struct sn_client *c, uint64_t now_ms)
{
    c->state = SN_CLIENT_SEARCHING;
    c->search_wait_ms = c->cfg->search_ms;
    c->search_at_ms = now_ms + random_up_to(c, c->cfg->search_ms);
}

static void start_connect(struct sn_client *c, uint64_t now_ms)
{
    c->at_ms = SN_NEVER;
    sn_retry_stop(&c->retry);
    if (!choose_gateway(c)) {
        start_search(c, now_ms);
        return;
    }
    /* Only the gateway that let us sleep still has our subscriptions and will. */
    const bool returning = c->resting && c->gateway == c->ids_of;

    c->state = SN_CLIENT_CONNECTING;
    c->clean_sent = c->cfg->clean && !returning;
    if (c->clean_sent && c->will_state == WILL_DELETE) {
        c->will_state = WILL_NONE;
    }
    c->will_sent = c->will_state == WILL_NEW || c->will_state == WILL_DELETE ||
                   (c->will_state == WILL_TOLD && !returning);
    c->dialogue = SN_CONNECT;
    start_retry(c, &c->retry, now_ms);
    send_dialogue(c, now_ms);
}

/* Ends whatever connection there is. Returns when the next attempt will be. */
static uint64_t fall_back(struct sn_client *c, uint64_t now_ms, uint32_t pause_ms)
{
    sn_retry_stop(&c->retry);
    sn_retry_stop(&c->open.retry);
    c->open.parked = true;
    c->pinging = false;
    if (c->cfg->reconnect_ms == 0) {
        c->state = SN_CLIENT_IDLE;
        c->at_ms = SN_NEVER;
    } else {
        c->state = SN_CLIENT_PAUSE;
        c->at_ms = now_ms + pause_ms;
    }
    return c->at_ms;
}

/* 6.13: another gateway first, then the former one again. */
static void turn_to_next_gateway(struct sn_client *c)
{
    const uint8_t next = gateway_after(c, c->gateway);

    if (next != NO_GATEWAY) {
        c->gateway = next;
    }
}

static void lose(struct sn_client *c, uint64_t now_ms, enum sn_client_loss why,
                 enum sn_type waiting_for)
{
    const uint32_t pause_ms = c->reconnect_wait_ms - random_up_to(c, c->reconnect_wait_ms / 2);

    c->reconnect_wait_ms = doubled(c->reconnect_wait_ms, c->cfg->reconnect_max_ms);
    if (why == SN_LOSS_LEFT) {
        c->resting = false;
    } else {
        turn_to_next_gateway(c);
    }
    const uint64_t again_ms = fall_back(c, now_ms, pause_ms);
    if (again_ms == SN_NEVER) {
        finish_open(c, SN_RESULT_UNKNOWN);
    }
    emit(c, &(struct sn_client_event){
                .type = SN_EVENT_LOST,
                .lost = {.why = why, .waiting_for = waiting_for, .again_ms = again_ms},
            });
}

static void fall_asleep(struct sn_client *c, uint64_t now_ms, bool answered)
{
    sn_retry_stop(&c->retry);
    c->state = SN_CLIENT_ASLEEP;
    c->resting = true;
    c->at_ms = now_ms + in_good_time(c, c->sleep_s);
    emit(c, &(struct sn_client_event){.type = SN_EVENT_ASLEEP,
                                      .asleep = {.answered = answered, .until_ms = c->at_ms}});
}

static void wake_up(struct sn_client *c, uint64_t now_ms)
{
    c->state = SN_CLIENT_AWAKE;
    c->at_ms = SN_NEVER;
    start_retry(c, &c->retry, now_ms);
    send_pingreq(c, now_ms);
}

static void end(struct sn_client *c)
{
    c->state = SN_CLIENT_IDLE;
    c->at_ms = SN_NEVER;
    c->search_at_ms = SN_NEVER;
    c->pinging = false;
    c->resting = false;
    sn_retry_stop(&c->retry);
    emit(c, &(struct sn_client_event){.type = SN_EVENT_DISCONNECTED});
}

/* ---- what the gateway sends ------------------------------------------------- */

static void on_will_request(struct sn_client *c, uint64_t now_ms, enum sn_type answer)
{
    if (c->state != SN_CLIENT_CONNECTING) {
        discard(c, SN_OK, answer == SN_WILLTOPIC ? SN_WILLTOPICREQ : SN_WILLMSGREQ);
        return;
    }
    c->dialogue = (uint8_t)answer;
    start_retry(c, &c->retry, now_ms);
    send_dialogue(c, now_ms);
}

static void on_refusal(struct sn_client *c, uint64_t now_ms, uint8_t code)
{
    turn_to_next_gateway(c);
    const uint64_t again_ms = fall_back(c, now_ms, c->cfg->congestion_ms);
    if (again_ms == SN_NEVER) {
        finish_open(c, SN_RESULT_UNKNOWN);
    }
    emit(c, &(struct sn_client_event){.type = SN_EVENT_REFUSED,
                                      .refused = {.code = code, .again_ms = again_ms}});
}

/* What belongs to a session that this gateway does not have. */
static void forget_session(struct sn_client *c)
{
    const bool half_done = c->open.what == SN_PUBLISH && c->open.qos == 2 && c->open.sent &&
                           c->open.step != SN_REGISTER;

    forget_tids(c);
    memset(c->qos2, 0, sizeof c->qos2);
    /* Sent again under a new session it could arrive a second time. */
    if (half_done) {
        finish(c, SN_RESULT_UNKNOWN, SN_ACCEPTED, 2);
    }
}

static void on_connack(struct sn_client *c, uint64_t now_ms, uint8_t code)
{
    if (c->state != SN_CLIENT_CONNECTING) {
        discard(c, SN_OK, SN_CONNACK);
        return;
    }
    if (code != SN_ACCEPTED) {
        on_refusal(c, now_ms, code);
        return;
    }
    sn_retry_stop(&c->retry);
    c->state = SN_CLIENT_ACTIVE;
    c->resting = false;
    c->goodbyes = 0;
    c->reconnect_wait_ms = c->cfg->reconnect_ms;
    if (c->will_sent) {
        c->will_state = c->will_state == WILL_DELETE ? WILL_NONE : WILL_TOLD;
    }
    const bool fresh = c->clean_sent || c->ids_of != c->gateway;
    c->ids_of = c->gateway;
    if (fresh) {
        forget_session(c);
    }
    /* The CONNECT has brought the will that an update was to bring. */
    if (c->open.what == SN_WILLTOPICUPD && c->open.parked) {
        finish(c, SN_RESULT_ACCEPTED, SN_ACCEPTED, 0);
    }
    if (c->open.what != 0 && c->open.parked) {
        go_on(c, now_ms);
    }
    emit(c, &(struct sn_client_event){.type = SN_EVENT_CONNECTED});
}

static void on_regack(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p)
{
    const bool expected = c->open.what == SN_PUBLISH && c->open.step == SN_REGISTER &&
                          c->open.mid == p->ack.mid && !c->open.parked;

    if (!expected || (p->ack.code == SN_ACCEPTED && !is_assignable(p->ack.tid))) {
        discard(c, SN_OK, SN_REGACK);
    } else if (p->ack.code != SN_ACCEPTED) {
        refuse_open(c, now_ms, p->ack.code);
    } else {
        pair(c, &c->cfg->topics[c->open.slot], p->ack.tid);
        go_on(c, now_ms);
    }
}

/* 6.6: the gateway may refuse a QoS 0 message, too. It is gone; the next ones
 * must fare better. */
static void on_late_refusal(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p)
{
    if (p->ack.code == SN_INVALID_TOPIC_ID) {
        struct sn_client_topic *t = find_tid(c, p->ack.tid);
        if (t != NULL) {
            t->tid = 0;
        }
    } else if (p->ack.code == SN_CONGESTION) {
        c->hold_ms = now_ms + c->cfg->congestion_ms;
    }
    emit(c, &(struct sn_client_event){.type = SN_EVENT_DROPPED,
                                      .dropped = {.tid = p->ack.tid, .code = p->ack.code}});
}

static void on_puback(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p)
{
    const bool ours = c->open.what == SN_PUBLISH && c->open.step == SN_PUBLISH &&
                      c->open.mid == p->ack.mid && !c->open.parked;

    if (!ours) {
        discard(c, SN_OK, SN_PUBACK);
    } else if (p->ack.code == SN_ACCEPTED) {
        if (c->open.qos == 1) {
            finish(c, SN_RESULT_ACCEPTED, SN_ACCEPTED, 1);
        } else {
            discard(c, SN_OK, SN_PUBACK); /* QoS 2 is accepted by PUBREC */
        }
    } else if (p->ack.code == SN_INVALID_TOPIC_ID && c->open.topic_kind == SN_TOPIC_NORMAL &&
               !c->open.cured) {
        c->open.cured = true;
        c->cfg->topics[c->open.slot].tid = 0;
        go_on(c, now_ms);
    } else {
        refuse_open(c, now_ms, p->ack.code);
    }
}

static void on_pubrec(struct sn_client *c, uint64_t now_ms, uint16_t mid)
{
    const bool ours = c->open.what == SN_PUBLISH && c->open.mid == mid && !c->open.parked;

    if (ours && c->open.qos == 2 && c->open.step == SN_PUBLISH) {
        c->open.step = SN_PUBREL;
        start_retry(c, &c->open.retry, now_ms);
    }
    /* Also for a message that is finished, or from before a restart of ours: the
     * gateway waits for PUBREL all the same. */
    send_mid(c, now_ms, SN_PUBREL, mid);
}

static void on_pubcomp(struct sn_client *c, uint16_t mid)
{
    if (c->open.what == SN_PUBLISH && c->open.step == SN_PUBREL && c->open.mid == mid) {
        finish(c, SN_RESULT_ACCEPTED, SN_ACCEPTED, 2);
    } else {
        discard(c, SN_OK, SN_PUBCOMP);
    }
}

static void on_suback(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p)
{
    if (c->open.what != SN_SUBSCRIBE || c->open.mid != p->suback.mid || c->open.parked) {
        discard(c, SN_OK, SN_SUBACK);
        return;
    }
    if (p->suback.code != SN_ACCEPTED) {
        refuse_open(c, now_ms, p->suback.code);
        return;
    }
    const struct sn_bytes name = sn_bytes(c->cfg->kept, c->open.len);
    if (c->open.topic_kind == SN_TOPIC_NORMAL && !sn_topic_has_wildcard(name) &&
        is_assignable(p->suback.tid)) {
        pair(c, place_for(c, name), p->suback.tid);
    }
    finish(c, SN_RESULT_ACCEPTED, SN_ACCEPTED, p->suback.qos);
}

static void on_unsuback(struct sn_client *c, uint16_t mid)
{
    if (c->open.what == SN_UNSUBSCRIBE && c->open.mid == mid && !c->open.parked) {
        finish(c, SN_RESULT_ACCEPTED, SN_ACCEPTED, 0);
    } else {
        discard(c, SN_OK, SN_UNSUBACK);
    }
}

static void on_will_response(struct sn_client *c, uint64_t now_ms, enum sn_type step, uint8_t code)
{
    if (c->open.what != SN_WILLTOPICUPD || c->open.step != step || c->open.parked) {
        discard(c, SN_OK, step == SN_WILLTOPICUPD ? SN_WILLTOPICRESP : SN_WILLMSGRESP);
    } else if (code != SN_ACCEPTED) {
        refuse_open(c, now_ms, code);
    } else if (step == SN_WILLTOPICUPD && c->will.topic.len > 0) {
        c->open.step = SN_WILLMSGUPD;
        go_on(c, now_ms);
    } else {
        c->will_state = c->will.topic.len > 0 ? WILL_TOLD : WILL_NONE;
        finish(c, SN_RESULT_ACCEPTED, SN_ACCEPTED, 0);
    }
}

static void on_register(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p,
                        enum sn_fault fault)
{
    uint8_t code = SN_ACCEPTED;

    if (!is_assignable(p->reg.tid)) {
        code = SN_INVALID_TOPIC_ID;
    } else if (fault != SN_OK || p->reg.name.len > c->cfg->name_size || c->cfg->topics_max == 0) {
        code = SN_NOT_SUPPORTED;
    } else {
        struct sn_client_topic *t = place_for(c, p->reg.name);
        if (t == NULL) {
            code = SN_CONGESTION; /* room comes back with the end of our PUBLISH */
        } else {
            pair(c, t, p->reg.tid);
        }
    }
    send_ack(c, now_ms, SN_REGACK, p->reg.tid, p->reg.mid, code);
}

/* Whether the message is a new one; if so, remembers it until PUBREL. */
static bool take_qos2(struct sn_client *c, uint16_t mid, bool *known)
{
    uint16_t *place = NULL;

    *known = false;
    for (size_t i = 0; i < SN_CLIENT_QOS2_MAX; i++) {
        if (c->qos2[i] == mid) {
            *known = true;
            return false;
        }
        if (c->qos2[i] == 0 && place == NULL) {
            place = &c->qos2[i];
        }
    }
    if (place == NULL) {
        return false;
    }
    *place = mid;
    return true;
}

static bool find_topic(struct sn_client *c, const struct sn_packet *p, struct sn_topic_ref *topic,
                       uint8_t short_name[2])
{
    *topic = (struct sn_topic_ref){.kind = p->publish.kind, .tid = p->publish.tid};
    if (p->publish.kind == SN_TOPIC_SHORT) {
        short_name[0] = (uint8_t)(p->publish.tid >> 8);
        short_name[1] = (uint8_t)p->publish.tid;
        topic->name = sn_bytes(short_name, 2);
    } else if (p->publish.kind == SN_TOPIC_NORMAL) {
        const struct sn_client_topic *t =
            is_assignable(p->publish.tid) ? find_tid(c, p->publish.tid) : NULL;
        if (t == NULL) {
            return false;
        }
        topic->name = topic_name(c, (size_t)(t - c->cfg->topics));
    }
    return true;
}

static void on_publish(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p)
{
    uint8_t short_name[2];
    struct sn_client_event e = {
        .type = SN_EVENT_MESSAGE,
        .message = {.qos = p->publish.qos, .retain = p->publish.retain, .data = p->publish.data}};

    if (p->publish.qos < 0 || p->publish.kind == SN_TOPIC_RESERVED) {
        discard(c, SN_OK, SN_PUBLISH);
        return;
    }
    if (!find_topic(c, p, &e.message.topic, short_name)) {
        send_ack(c, now_ms, SN_PUBACK, p->publish.tid, p->publish.mid, SN_INVALID_TOPIC_ID);
        return;
    }
    if (p->publish.qos == 2) {
        bool known;
        if (take_qos2(c, p->publish.mid, &known)) {
            emit(c, &e);
        } else if (!known) {
            discard(c, SN_OK, SN_PUBLISH);
            return;
        }
        send_mid(c, now_ms, SN_PUBREC, p->publish.mid);
        return;
    }
    emit(c, &e);
    if (p->publish.qos == 1) {
        send_ack(c, now_ms, SN_PUBACK, p->publish.tid, p->publish.mid, SN_ACCEPTED);
    }
}

static void on_pubrel(struct sn_client *c, uint64_t now_ms, uint16_t mid)
{
    for (size_t i = 0; i < SN_CLIENT_QOS2_MAX; i++) {
        if (c->qos2[i] == mid) {
            c->qos2[i] = 0;
        }
    }
    send_mid(c, now_ms, SN_PUBCOMP, mid); /* a repeated PUBREL wants its answer, too */
}

static void on_pingresp(struct sn_client *c, uint64_t now_ms)
{
    if (c->state == SN_CLIENT_AWAKE) {
        fall_asleep(c, now_ms, true);
    } else if (c->state == SN_CLIENT_ACTIVE && c->pinging) {
        c->pinging = false;
        sn_retry_stop(&c->retry);
    } else {
        discard(c, SN_OK, SN_PINGRESP);
    }
}

static void on_disconnect(struct sn_client *c, uint64_t now_ms)
{
    switch ((enum sn_client_state)c->state) {
    case SN_CLIENT_CLOSING:
        end(c);
        return;
    case SN_CLIENT_DROWSY:
        c->goodbyes--;
        fall_asleep(c, now_ms, true);
        return;
    case SN_CLIENT_ACTIVE:
    case SN_CLIENT_ASLEEP:
    case SN_CLIENT_AWAKE:
        /* A repeated DISCONNECT of ours is answered as often as it arrived. */
        if (c->goodbyes > 0) {
            c->goodbyes--;
            break;
        }
        lose(c, now_ms, SN_LOSS_LEFT, SN_DISCONNECT);
        return;
    case SN_CLIENT_IDLE:
    case SN_CLIENT_SEARCHING:
    case SN_CLIENT_CONNECTING: /* an answer to something sent before: CONNACK decides */
    case SN_CLIENT_PAUSE:
        break;
    }
    discard(c, SN_OK, SN_DISCONNECT);
}

/* ---- gateways come and go, 6.1 ---------------------------------------------- */

static void on_gateway(struct sn_client *c, uint64_t now_ms, uint8_t id, struct sn_bytes address,
                       uint16_t duration_s)
{
    struct sn_client_gateway *g = NULL;
    bool found = false;

    for (unsigned i = 0; i < c->cfg->gateways_max; i++) {
        struct sn_client_gateway *known = &c->cfg->gateways[i];
        if (known->used && sn_bytes_equal(gateway_address(known), address)) {
            g = known;
        }
    }
    if (address.len > SN_CLIENT_ADDRESS_MAX) {
        return;
    }
    if (g == NULL) {
        g = add_gateway(c, address);
        found = true;
    }
    if (g == NULL) {
        return; /* the table is full of others */
    }
    found = found || !g->has_id;
    g->has_id = true;
    g->id = id;
    if (duration_s > 0) {
        g->gone_ms = now_ms + (uint64_t)c->cfg->advertise_missed * duration_s * 1000;
    }
    if (found) {
        emit(c, &(struct sn_client_event){
                    .type = SN_EVENT_GATEWAY,
                    .gateway = {.found = true, .id = id, .address = gateway_address(g)}});
    }
    if (c->state == SN_CLIENT_SEARCHING) {
        c->search_at_ms = SN_NEVER;
        start_connect(c, now_ms);
    }
}

/* A search was made, by us or by a neighbour: the next one later (6.1). */
static void postpone_search(struct sn_client *c, uint64_t now_ms)
{
    c->search_at_ms = now_ms + c->search_wait_ms;
    c->search_wait_ms = doubled(c->search_wait_ms, c->cfg->search_max_ms);
}

/* A gateway whose id we know, the current one first; NULL if there is none. */
static const struct sn_client_gateway *known_gateway(const struct sn_client *c)
{
    for (unsigned i = 0; i < c->cfg->gateways_max; i++) {
        const struct sn_client_gateway *g =
            &c->cfg->gateways[(c->gateway + i) % c->cfg->gateways_max];
        if (g->used && g->has_id) {
            return g;
        }
    }
    return NULL;
}

static void on_searchgw(struct sn_client *c, uint64_t now_ms, uint8_t radius)
{
    if (c->state == SN_CLIENT_SEARCHING) {
        if (radius == c->cfg->search_radius) {
            postpone_search(c, now_ms);
        }
    } else if (known_gateway(c) != NULL && c->gwinfo_at_ms == SN_NEVER) {
        c->gwinfo_at_ms = now_ms + random_up_to(c, c->cfg->gwinfo_ms);
        c->gwinfo_radius = radius;
    }
}

static void answer_search(struct sn_client *c)
{
    const struct sn_client_gateway *g = known_gateway(c);

    c->gwinfo_at_ms = SN_NEVER;
    if (g != NULL) {
        send_broadcast(c, c->gwinfo_radius,
                       &(struct sn_packet){
                           .type = SN_GWINFO,
                           .gwinfo = {.gw_id = g->id, .gw_add = gateway_address(g)},
                       });
    }
}

static void drop_silent_gateways(struct sn_client *c, uint64_t now_ms)
{
    const bool attached =
        is_listening(c) || c->state == SN_CLIENT_CONNECTING || c->state == SN_CLIENT_CLOSING;

    for (unsigned i = 0; i < c->cfg->gateways_max; i++) {
        struct sn_client_gateway *g = &c->cfg->gateways[i];
        if (!g->used || g->gone_ms > now_ms) {
            continue;
        }
        g->gone_ms = SN_NEVER;
        if (attached && i == c->gateway) {
            continue; /* keep-alive and acknowledgements say more than ADVERTISE does */
        }
        g->used = false;
        if (c->ids_of == i) {
            c->ids_of = NO_GATEWAY;
        }
        emit(c, &(struct sn_client_event){
                    .type = SN_EVENT_GATEWAY,
                    .gateway = {.found = false, .id = g->id, .address = gateway_address(g)}});
    }
}

/* ---- frames ----------------------------------------------------------------- */

static void on_broadcast(struct sn_client *c, uint64_t now_ms, struct sn_bytes from,
                         const struct sn_packet *p)
{
    if (p->type == SN_ADVERTISE) {
        on_gateway(c, now_ms, p->advertise.gw_id, from, p->advertise.duration_s);
    } else if (p->type == SN_GWINFO) {
        c->gwinfo_at_ms = SN_NEVER; /* somebody was faster than we */
        on_gateway(c, now_ms, p->gwinfo.gw_id, p->gwinfo.gw_add.len > 0 ? p->gwinfo.gw_add : from,
                   0);
    } else {
        on_searchgw(c, now_ms, p->searchgw.radius);
    }
}

/* What comes only while there is a connection. */
static void on_session(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p,
                       enum sn_fault fault)
{
    if (!is_listening(c)) {
        discard(c, SN_OK, p->type);
        return;
    }
    /* 6.14: as long as messages come, PINGRESP cannot be expected. */
    if (c->state == SN_CLIENT_AWAKE) {
        start_retry(c, &c->retry, now_ms);
    }
    if (p->type == SN_REGISTER) {
        on_register(c, now_ms, p, fault);
    } else if (p->type == SN_PUBREL) {
        on_pubrel(c, now_ms, p->mid);
    } else if (fault == SN_OK) {
        on_publish(c, now_ms, p);
    } else {
        send_ack(c, now_ms, SN_PUBACK, p->publish.tid, p->publish.mid, SN_INVALID_TOPIC_ID);
    }
}

/* What answers a request of ours. */
static void on_answer(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p)
{
    if (p->type == SN_PUBACK && p->ack.mid == 0 && p->ack.code != SN_ACCEPTED) {
        on_late_refusal(c, now_ms, p);
    } else if (c->state != SN_CLIENT_ACTIVE) {
        discard(c, SN_OK, p->type);
    } else if (p->type == SN_REGACK) {
        on_regack(c, now_ms, p);
    } else if (p->type == SN_PUBACK) {
        on_puback(c, now_ms, p);
    } else if (p->type == SN_PUBREC) {
        on_pubrec(c, now_ms, p->mid);
    } else if (p->type == SN_PUBCOMP) {
        on_pubcomp(c, p->mid);
    } else if (p->type == SN_SUBACK) {
        on_suback(c, now_ms, p);
    } else if (p->type == SN_UNSUBACK) {
        on_unsuback(c, p->mid);
    } else if (p->type == SN_WILLTOPICRESP) {
        on_will_response(c, now_ms, SN_WILLTOPICUPD, p->code);
    } else {
        on_will_response(c, now_ms, SN_WILLMSGUPD, p->code);
    }
}

static void on_packet(struct sn_client *c, uint64_t now_ms, const struct sn_packet *p,
                      enum sn_fault fault)
{
    switch (p->type) {
    case SN_WILLTOPICREQ:
        on_will_request(c, now_ms, SN_WILLTOPIC);
        break;
    case SN_WILLMSGREQ:
        on_will_request(c, now_ms, SN_WILLMSG);
        break;
    case SN_CONNACK:
        on_connack(c, now_ms, p->code);
        break;
    case SN_REGISTER:
    case SN_PUBLISH:
    case SN_PUBREL:
        on_session(c, now_ms, p, fault);
        break;
    case SN_REGACK:
    case SN_PUBACK:
    case SN_PUBREC:
    case SN_PUBCOMP:
    case SN_SUBACK:
    case SN_UNSUBACK:
    case SN_WILLTOPICRESP:
    case SN_WILLMSGRESP:
        on_answer(c, now_ms, p);
        break;
    case SN_PINGREQ:
        if (is_listening(c)) {
            send_packet(c, now_ms, &(struct sn_packet){.type = SN_PINGRESP});
        } else {
            discard(c, SN_OK, SN_PINGREQ);
        }
        break;
    case SN_PINGRESP:
        on_pingresp(c, now_ms);
        break;
    case SN_DISCONNECT:
        on_disconnect(c, now_ms);
        break;
    case SN_ADVERTISE:
    case SN_SEARCHGW:
    case SN_GWINFO:
    case SN_CONNECT:
    case SN_WILLTOPIC:
    case SN_WILLMSG:
    case SN_SUBSCRIBE:
    case SN_UNSUBSCRIBE:
    case SN_WILLTOPICUPD:
    case SN_WILLMSGUPD:
    case SN_FORWARD:
        discard(c, SN_OK, p->type); /* only clients send it, or it was dealt with before */
        break;
    }
}

/* Takes the envelope off, if we use one. Returns false when the frame is for
 * another node, or has no envelope, or one too many. */
static bool unwrap(const struct sn_client *c, struct sn_packet *p, enum sn_fault *fault)
{
    if (c->cfg->node.len > 0) {
        if (p->type != SN_FORWARD || !sn_bytes_equal(p->forward.node, c->cfg->node)) {
            return false;
        }
        const struct sn_bytes inner = p->forward.inner;
        *fault = sn_decode(inner, p);
        if (*fault != SN_OK && !sn_fault_is_answerable(*fault)) {
            return true;
        }
    }
    return p->type != SN_FORWARD;
}

/* Faults that deserve an answer: the gateway would repeat it otherwise. */
static bool is_answered(const struct sn_packet *p, enum sn_fault fault)
{
    return fault == SN_OK || p->type == SN_REGISTER ||
           (p->type == SN_PUBLISH && fault == SN_FAULT_RESERVED_TOPIC_ID);
}

void sn_client_frame(struct sn_client *c, uint64_t now_ms, struct sn_bytes from,
                     struct sn_bytes frame)
{
    struct sn_packet p;
    enum sn_fault fault = sn_decode(frame, &p);

    if (fault != SN_OK && !sn_fault_is_answerable(fault)) {
        discard(c, fault, SN_ADVERTISE);
        return;
    }
    if (!unwrap(c, &p, &fault)) {
        discard(c, SN_OK, p.type);
        return;
    }
    if (!is_answered(&p, fault)) {
        discard(c, fault, p.type);
        return;
    }
    if (p.type == SN_ADVERTISE || p.type == SN_SEARCHGW || p.type == SN_GWINFO) {
        on_broadcast(c, now_ms, from, &p);
        return;
    }
    if (c->cfg->gateways_max > 0 && !sn_bytes_equal(from, current_address(c))) {
        discard(c, SN_OK, p.type); /* not our gateway */
        return;
    }
    c->heard_ms = now_ms;
    on_packet(c, now_ms, &p, fault);
}

/* ---- time ------------------------------------------------------------------- */

static void repeat(struct sn_client *c, uint64_t now_ms)
{
    if (c->state == SN_CLIENT_CONNECTING) {
        send_dialogue(c, now_ms);
    } else if (c->state == SN_CLIENT_ACTIVE || c->state == SN_CLIENT_AWAKE) {
        send_pingreq(c, now_ms);
    } else {
        send_disconnect(c, now_ms);
    }
}

static void give_up(struct sn_client *c, uint64_t now_ms)
{
    if (c->state == SN_CLIENT_CONNECTING) {
        lose(c, now_ms, SN_LOSS_NO_ANSWER, (enum sn_type)c->dialogue);
    } else if (c->state == SN_CLIENT_ACTIVE) {
        lose(c, now_ms, SN_LOSS_NO_ANSWER, SN_PINGREQ);
    } else if (c->state == SN_CLIENT_DROWSY) {
        lose(c, now_ms, SN_LOSS_NO_ANSWER, SN_DISCONNECT);
    } else if (c->state == SN_CLIENT_AWAKE) {
        fall_asleep(c, now_ms, false); /* 6.14: saves its battery and tries next time */
    } else {
        end(c);
    }
}

static void check_retries(struct sn_client *c, uint64_t now_ms)
{
    switch (sn_retry_check(&c->retry, now_ms)) {
    case SN_RETRY_WAIT:
        break;
    case SN_RETRY_REPEAT:
        repeat(c, now_ms);
        break;
    case SN_RETRY_LOST:
        give_up(c, now_ms);
        break;
    }
    switch (sn_retry_check(&c->open.retry, now_ms)) {
    case SN_RETRY_WAIT:
        break;
    case SN_RETRY_REPEAT:
        repeat_open(c, now_ms);
        break;
    case SN_RETRY_LOST:
        lose(c, now_ms, SN_LOSS_NO_ANSWER, (enum sn_type)c->open.step);
        break;
    }
}

void sn_client_time(struct sn_client *c, uint64_t now_ms)
{
    if (now_ms >= c->gwinfo_at_ms) {
        answer_search(c);
    }
    drop_silent_gateways(c, now_ms);
    if (c->state == SN_CLIENT_SEARCHING && now_ms >= c->search_at_ms) {
        postpone_search(c, now_ms);
        send_broadcast(c, c->cfg->search_radius,
                       &(struct sn_packet){.type = SN_SEARCHGW,
                                           .searchgw = {.radius = c->cfg->search_radius}});
    }
    check_retries(c, now_ms);
    if (c->state == SN_CLIENT_PAUSE && now_ms >= c->at_ms) {
        start_connect(c, now_ms);
    }
    if (c->state == SN_CLIENT_ASLEEP && now_ms >= c->at_ms) {
        wake_up(c, now_ms);
    }
    if (c->state == SN_CLIENT_ACTIVE && c->open.parked && now_ms >= c->hold_ms) {
        go_on(c, now_ms);
    }
    if (now_ms >= ping_due(c)) {
        sn_client_ping(c, now_ms);
    }
}

static void earlier(uint64_t *deadline_ms, uint64_t at_ms)
{
    if (at_ms < *deadline_ms) {
        *deadline_ms = at_ms;
    }
}

uint64_t sn_client_deadline(const struct sn_client *c)
{
    uint64_t deadline_ms = c->at_ms;

    earlier(&deadline_ms, c->retry.due_ms);
    earlier(&deadline_ms, c->open.retry.due_ms);
    earlier(&deadline_ms, c->gwinfo_at_ms);
    earlier(&deadline_ms, c->search_at_ms);
    earlier(&deadline_ms, ping_due(c));
    if (c->state == SN_CLIENT_ACTIVE && c->open.what != 0 && c->open.parked) {
        earlier(&deadline_ms, c->hold_ms);
    }
    for (unsigned i = 0; i < c->cfg->gateways_max; i++) {
        if (c->cfg->gateways[i].used) {
            earlier(&deadline_ms, c->cfg->gateways[i].gone_ms);
        }
    }
    return deadline_ms;
}

void sn_client_sent(struct sn_client *c, uint64_t now_ms)
{
    sn_retry_sent(&c->retry, now_ms);
    sn_retry_sent(&c->open.retry, now_ms);
}

/* ---- what the application wishes -------------------------------------------- */

void sn_client_init(struct sn_client *c, const struct sn_client_config *cfg, uint64_t seed)
{
    assert(cfg->emit != NULL);
    assert(cfg->retry_ms > 0 && cfg->client_id.len > 0);
    assert(cfg->client_id.len <= SN_CLIENT_ID_MAX && cfg->node.len <= SN_CLIENT_NODE_MAX);
    assert(cfg->frame_size >= SN_CLIENT_FRAME_MIN);
    *c = (struct sn_client){
        .cfg = cfg,
        .at_ms = SN_NEVER,
        .search_at_ms = SN_NEVER,
        .gwinfo_at_ms = SN_NEVER,
        .reconnect_wait_ms = cfg->reconnect_ms,
        .ids_of = NO_GATEWAY,
    };
    sn_retry_stop(&c->retry);
    sn_retry_stop(&c->open.retry);
    if (cfg->topics_max > 0) {
        memset(cfg->topics, 0, cfg->topics_max * sizeof *cfg->topics);
    }
    if (cfg->gateways_max > 0) {
        memset(cfg->gateways, 0, cfg->gateways_max * sizeof *cfg->gateways);
    }
    /* Spreads seeds that differ in few bits; xorshift must not begin with 0. */
    seed = (seed ^ seed >> 33) * 0xFF51AFD7ED558CCDu;
    c->random = (uint32_t)(seed >> 32) | 1;
    c->next_mid = (uint16_t)(next_random(c) >> 16 | 1);
}

enum sn_client_answer sn_client_add_gateway(struct sn_client *c, struct sn_bytes address)
{
    if (address.len > SN_CLIENT_ADDRESS_MAX) {
        return SN_ANSWER_TOO_LARGE;
    }
    return add_gateway(c, address) != NULL ? SN_ANSWER_DONE : SN_ANSWER_BUSY;
}

enum sn_client_answer sn_client_connect(struct sn_client *c, uint64_t now_ms)
{
    switch ((enum sn_client_state)c->state) {
    case SN_CLIENT_IDLE:
        c->reconnect_wait_ms = c->cfg->reconnect_ms;
        break;
    case SN_CLIENT_ASLEEP:
    case SN_CLIENT_AWAKE:
    case SN_CLIENT_PAUSE:
        break;
    case SN_CLIENT_SEARCHING:
    case SN_CLIENT_CONNECTING:
    case SN_CLIENT_ACTIVE:
    case SN_CLIENT_CLOSING:
    case SN_CLIENT_DROWSY:
        return SN_ANSWER_BUSY;
    }
    start_connect(c, now_ms);
    return SN_ANSWER_STARTED;
}

enum sn_client_answer sn_client_disconnect(struct sn_client *c, uint64_t now_ms)
{
    if (c->state == SN_CLIENT_IDLE) {
        return SN_ANSWER_DONE;
    }
    if (is_listening(c)) {
        c->state = SN_CLIENT_CLOSING;
        c->at_ms = SN_NEVER;
        start_retry(c, &c->retry, now_ms);
        send_disconnect(c, now_ms);
        finish_open(c, SN_RESULT_CANCELLED);
    } else if (c->state != SN_CLIENT_CLOSING) {
        finish_open(c, SN_RESULT_CANCELLED);
        end(c); /* the gateway does not count us as connected, or not for long */
    }
    return SN_ANSWER_STARTED;
}

enum sn_client_answer sn_client_sleep(struct sn_client *c, uint64_t now_ms, uint16_t duration_s)
{
    assert(duration_s > 0);
    if (c->state == SN_CLIENT_DROWSY || c->state == SN_CLIENT_AWAKE ||
        (c->open.what != 0 && !c->open.parked)) {
        return SN_ANSWER_BUSY;
    }
    if (c->state != SN_CLIENT_ACTIVE && c->state != SN_CLIENT_ASLEEP) {
        return SN_ANSWER_NOT_CONNECTED;
    }
    c->state = SN_CLIENT_DROWSY;
    c->at_ms = SN_NEVER;
    c->pinging = false;
    c->goodbyes = 0;
    c->sleep_s = duration_s;
    start_retry(c, &c->retry, now_ms);
    send_disconnect(c, now_ms);
    return SN_ANSWER_STARTED;
}

enum sn_client_answer sn_client_ping(struct sn_client *c, uint64_t now_ms)
{
    if (c->state == SN_CLIENT_ASLEEP) {
        wake_up(c, now_ms);
        return SN_ANSWER_STARTED;
    }
    if (c->state == SN_CLIENT_AWAKE || c->pinging) {
        return SN_ANSWER_BUSY;
    }
    if (c->state != SN_CLIENT_ACTIVE) {
        return SN_ANSWER_NOT_CONNECTED;
    }
    c->pinging = true;
    start_retry(c, &c->retry, now_ms);
    send_pingreq(c, now_ms);
    return SN_ANSWER_STARTED;
}

static enum sn_client_answer check_topic_to_publish(const struct sn_client *c,
                                                    struct sn_topic_ref topic)
{
    uint8_t name[2];

    switch (topic.kind) {
    case SN_TOPIC_NORMAL:
        if (sn_topic_check_name(topic.name) != SN_OK) {
            return SN_ANSWER_BAD_TOPIC;
        }
        return topic.name.len <= c->cfg->name_size && c->cfg->topics_max > 0 &&
                       fits(c, 6, topic.name.len)
                   ? SN_ANSWER_DONE
                   : SN_ANSWER_TOO_LARGE;
    case SN_TOPIC_PREDEFINED:
        return is_assignable(topic.tid) ? SN_ANSWER_DONE : SN_ANSWER_BAD_TOPIC;
    case SN_TOPIC_SHORT:
        name[0] = (uint8_t)(topic.tid >> 8);
        name[1] = (uint8_t)topic.tid;
        return sn_topic_check_name(sn_bytes(name, 2)) == SN_OK ? SN_ANSWER_DONE
                                                               : SN_ANSWER_BAD_TOPIC;
    case SN_TOPIC_RESERVED:
        break;
    }
    return SN_ANSWER_BAD_TOPIC;
}

/* QoS 0 with a known id, and QoS -1: sent and forgotten. */
static enum sn_client_answer publish_and_forget(struct sn_client *c, uint64_t now_ms,
                                                struct sn_topic_ref topic, int8_t qos, bool retain,
                                                struct sn_bytes data)
{
    send_packet(
        c, now_ms,
        &(struct sn_packet){
            .type = SN_PUBLISH,
            .publish =
                {.qos = qos, .retain = retain, .kind = topic.kind, .tid = topic.tid, .data = data},
        });
    return SN_ANSWER_DONE;
}

/* Why a request cannot be opened now; DONE if it can. */
static enum sn_client_answer check_state(const struct sn_client *c)
{
    if (c->state == SN_CLIENT_DROWSY || c->state == SN_CLIENT_AWAKE) {
        return SN_ANSWER_BUSY;
    }
    return c->state == SN_CLIENT_ACTIVE ? SN_ANSWER_DONE : SN_ANSWER_NOT_CONNECTED;
}

enum sn_client_answer sn_client_publish(struct sn_client *c, uint64_t now_ms,
                                        struct sn_topic_ref topic, int8_t qos, bool retain,
                                        struct sn_bytes data)
{
    if (qos < SN_QOS_MINUS_ONE || qos > 2) {
        return SN_ANSWER_BAD_QOS;
    }
    if (qos == SN_QOS_MINUS_ONE && topic.kind == SN_TOPIC_NORMAL) {
        return SN_ANSWER_BAD_TOPIC;
    }
    enum sn_client_answer answer = check_topic_to_publish(c, topic);
    if (answer != SN_ANSWER_DONE) {
        return answer;
    }
    if (!fits(c, 7, data.len)) {
        return SN_ANSWER_TOO_LARGE;
    }
    if (qos == SN_QOS_MINUS_ONE) {
        if (c->state == SN_CLIENT_AWAKE) {
            return SN_ANSWER_BUSY;
        }
        return choose_gateway(c) ? publish_and_forget(c, now_ms, topic, qos, retain, data)
                                 : SN_ANSWER_NOT_CONNECTED;
    }
    answer = check_state(c);
    if (answer != SN_ANSWER_DONE) {
        return answer;
    }
    const struct sn_client_topic *known =
        topic.kind == SN_TOPIC_NORMAL ? find_name(c, topic.name) : NULL;
    if (qos == 0 && now_ms >= c->hold_ms &&
        (topic.kind != SN_TOPIC_NORMAL || (known != NULL && known->tid != 0))) {
        topic.tid = known != NULL ? known->tid : topic.tid;
        return publish_and_forget(c, now_ms, topic, qos, retain, data);
    }
    if (c->open.what != 0) {
        return SN_ANSWER_BUSY;
    }
    if (data.len > c->cfg->kept_size) {
        return SN_ANSWER_TOO_LARGE;
    }
    if (topic.kind == SN_TOPIC_NORMAL && known == NULL) {
        known = place_for(c, topic.name);
    }
    open_request(c, SN_PUBLISH, topic, qos, data);
    c->open.retain = retain;
    c->open.slot = known != NULL ? (uint16_t)(known - c->cfg->topics) : 0;
    go_on(c, now_ms);
    return SN_ANSWER_STARTED;
}

static enum sn_client_answer check_filter(const struct sn_client *c, struct sn_topic_ref topic)
{
    switch (topic.kind) {
    case SN_TOPIC_NORMAL:
        if (sn_topic_check_filter(topic.name) != SN_OK) {
            return SN_ANSWER_BAD_TOPIC;
        }
        /* The messages of a plain name come under its id alone: it must be kept. */
        if (!sn_topic_has_wildcard(topic.name) &&
            (topic.name.len > c->cfg->name_size || c->cfg->topics_max == 0)) {
            return SN_ANSWER_TOO_LARGE;
        }
        return fits(c, 5, topic.name.len) && topic.name.len <= c->cfg->kept_size
                   ? SN_ANSWER_DONE
                   : SN_ANSWER_TOO_LARGE;
    case SN_TOPIC_PREDEFINED:
    case SN_TOPIC_SHORT:
    case SN_TOPIC_RESERVED:
        break;
    }
    return check_topic_to_publish(c, topic);
}

static enum sn_client_answer subscribe_or_not(struct sn_client *c, uint64_t now_ms,
                                              enum sn_type what, struct sn_topic_ref topic,
                                              int8_t qos)
{
    enum sn_client_answer answer = check_filter(c, topic);

    if (answer == SN_ANSWER_DONE) {
        answer = check_state(c);
    }
    if (answer != SN_ANSWER_DONE) {
        return answer;
    }
    if (c->open.what != 0) {
        return SN_ANSWER_BUSY;
    }
    open_request(c, what, topic, qos,
                 topic.kind == SN_TOPIC_NORMAL ? topic.name : sn_bytes(NULL, 0));
    go_on(c, now_ms);
    return SN_ANSWER_STARTED;
}

enum sn_client_answer sn_client_subscribe(struct sn_client *c, uint64_t now_ms,
                                          struct sn_topic_ref topic, int8_t qos)
{
    if (qos < 0 || qos > 2) {
        return SN_ANSWER_BAD_QOS;
    }
    return subscribe_or_not(c, now_ms, SN_SUBSCRIBE, topic, qos);
}

enum sn_client_answer sn_client_unsubscribe(struct sn_client *c, uint64_t now_ms,
                                            struct sn_topic_ref topic)
{
    return subscribe_or_not(c, now_ms, SN_UNSUBSCRIBE, topic, 0);
}

static enum sn_client_answer check_will(const struct sn_client *c,
                                        const struct sn_client_will *will)
{
    if (sn_topic_check_name(will->topic) != SN_OK) {
        return SN_ANSWER_BAD_TOPIC;
    }
    if (will->qos < 0 || will->qos > 2) {
        return SN_ANSWER_BAD_QOS;
    }
    return fits(c, 3, will->topic.len) && fits(c, 2, will->message.len) ? SN_ANSWER_DONE
                                                                        : SN_ANSWER_TOO_LARGE;
}

enum sn_client_answer sn_client_set_will(struct sn_client *c, uint64_t now_ms,
                                         const struct sn_client_will *will)
{
    const bool wanted = will != NULL && will->topic.len > 0;
    const enum sn_client_answer answer = wanted ? check_will(c, will) : SN_ANSWER_DONE;

    if (answer != SN_ANSWER_DONE) {
        return answer;
    }
    /* In the middle of a dialogue the gateway would get half of each will. */
    if (c->state == SN_CLIENT_CONNECTING || c->state == SN_CLIENT_AWAKE ||
        (c->state == SN_CLIENT_ACTIVE && c->open.what != 0) || c->open.what == SN_WILLTOPICUPD) {
        return SN_ANSWER_BUSY;
    }
    c->will = wanted ? *will : (struct sn_client_will){0};
    c->will_state = wanted ? WILL_NEW : WILL_DELETE;
    if (c->state != SN_CLIENT_ACTIVE) {
        return SN_ANSWER_DONE;
    }
    open_request(c, SN_WILLTOPICUPD, (struct sn_topic_ref){.kind = SN_TOPIC_RESERVED}, 0,
                 sn_bytes(NULL, 0));
    go_on(c, now_ms);
    return SN_ANSWER_STARTED;
}

void sn_client_cancel(struct sn_client *c)
{
    finish_open(c, SN_RESULT_CANCELLED);
}

enum sn_client_state sn_client_state(const struct sn_client *c)
{
    return (enum sn_client_state)c->state;
}

bool sn_client_is_busy(const struct sn_client *c)
{
    return c->open.what != 0;
}

const char *sn_client_answer_name(enum sn_client_answer answer)
{
    switch (answer) {
    case SN_ANSWER_STARTED:
        return "started";
    case SN_ANSWER_DONE:
        return "done";
    case SN_ANSWER_BUSY:
        return "busy";
    case SN_ANSWER_NOT_CONNECTED:
        return "not-connected";
    case SN_ANSWER_BAD_TOPIC:
        return "bad-topic";
    case SN_ANSWER_BAD_QOS:
        return "bad-qos";
    case SN_ANSWER_TOO_LARGE:
        return "too-large";
    }
    return NULL;
}
