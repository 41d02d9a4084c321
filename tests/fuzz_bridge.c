/* The input is a program: what devices, disk, broker and time do to a bridge.
 *
 * Devices keep the rules (and crash, move and fall silent); raw frames keep
 * none. Beyond what the rig checks after every step:
 *   - what a device published with QoS 2 goes to the broker under one seq only,
 *   - what the broker sent with QoS 2 reaches a device's program once,
 *   - a device is not given a message id that it still holds for another message,
 *   - when everybody has gone, memory and disk are as they were in the beginning.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bridge/core.h"
#include "tests/bridge_rig.h"

#define DEVICES    4
#define OPEN_MAX   3
#define TODO_MAX   16
#define HELD_MAX   64
#define STEPS_MAX  400
#define EVENTS_MAX 512
#define NOBODY     UINT32_MAX

struct open_message {
    bool used;
    bool released; /* PUBREC is here */
    uint8_t qos;
    uint16_t mid;
    uint16_t tid;
    enum sn_topic_kind kind;
    uint32_t number; /* the payload */
};

struct held {
    uint16_t mid;
    uint32_t number;
};

struct device {
    char peer[16];
    char id[4];
    uint16_t mid;
    uint16_t tid; /* one that it was given */
    bool was_clean;
    bool connecting_clean;
    struct open_message open[OPEN_MAX];
    struct held held[HELD_MAX]; /* QoS 2, PUBREL is to come */
    size_t held_count;
    uint32_t got[EVENTS_MAX]; /* QoS 2 */
    size_t got_count;
    struct sn_packet todo[TODO_MAX]; /* answers; without text of their own */
    size_t todo_count;
};

struct sent_message { /* by the broker */
    uint32_t conn;
    uint64_t token; /* 0: done */
    uint32_t number;
    uint8_t qos;
    uint8_t topic;
    bool again; /* is to be sent again */
};

struct world {
    struct rig *rig;
    struct device device[DEVICES];
    uint32_t numbers;
    uint64_t tokens;
    struct {
        uint32_t number;
        uint64_t seq;
    } up[EVENTS_MAX];
    size_t up_count;
    struct sent_message down[EVENTS_MAX];
    size_t down_count;
    struct {
        uint32_t conn;
        uint32_t request;
        bool subscribe;
    } requests[EVENTS_MAX];
    size_t request_count;
    bool closed;
    const uint8_t *at;
    const uint8_t *end;
};

static const char *const names[] = {"t/1", "t/2", "t", "$s/1", "pre/one", "ab", "t/1/x/y", "a/two"};
static const char *const filters[] = {"t/1", "t/+", "#", "+/1", "t/#", "ab", "$s/#", "pre/one"};

static const struct bridge_class_config classes[] = {
    {.name = "default", .priority = BRIDGE_PRIORITY_STANDARD},
    {.name = "first", .topics = "t/1 ab", .priority = 0},
    {.name = "newest",
     .topics = "t/2, t/1/#",
     .priority = 5,
     .keep = BRIDGE_KEEP_NEWEST,
     .max_messages = 5,
     .live = true,
     .newest = true},
    {.name = "oldest", .topics = "t", .priority = 2, .keep = BRIDGE_KEEP_OLDEST, .max_bytes = 20},
    {.name = "own", .topics = "a/#", .priority = 2, .keep = BRIDGE_KEEP_NEWEST, .max_messages = 3},
    {.name = "short", .topics = "pre/one", .priority = 3, .expire_s = 30},
};

static void wrong(const char *what, uint32_t number)
{
    fprintf(stderr, "%s: message %u\n", what, number);
    abort();
}

static uint8_t next(struct world *w)
{
    return w->at < w->end ? *w->at++ : 0;
}

static uint32_t number_in(struct sn_bytes payload)
{
    uint32_t number = 0;
    if (payload.len < 2 || (payload.data[0] != 'u' && payload.data[0] != 'd'))
        return 0;
    for (size_t i = 1; i < payload.len && payload.data[i] >= '0' && payload.data[i] <= '9'; i++)
        number = number * 10 + (uint32_t)(payload.data[i] - '0');
    return number;
}

/* ---- devices listen ------------------------------------------------------------------ */

static void later(struct device *d, struct sn_packet p)
{
    if (d->todo_count < TODO_MAX)
        d->todo[d->todo_count++] = p;
}

static struct open_message *open_find(struct device *d, uint16_t mid)
{
    for (size_t i = 0; i < OPEN_MAX; i++)
        if (d->open[i].used && d->open[i].mid == mid)
            return &d->open[i];
    return NULL;
}

static void hear_publish(struct device *d, const struct sn_packet *p)
{
    const uint32_t number = number_in(p->publish.data);
    if (p->publish.qos == 1)
        later(d, (struct sn_packet){.type = SN_PUBACK,
                                    .ack = {.tid = p->publish.tid, .mid = p->publish.mid}});
    if (p->publish.qos != 2)
        return;
    later(d, (struct sn_packet){.type = SN_PUBREC, .mid = p->publish.mid});
    for (size_t i = 0; i < d->held_count; i++) {
        if (d->held[i].mid != p->publish.mid)
            continue;
        if (d->held[i].number != number)
            wrong("a message id is used twice", number);
        return;
    }
    for (size_t i = 0; i < d->got_count; i++)
        if (d->got[i] == number && number != 0)
            wrong("a sensor got it twice", number);
    if (d->got_count < EVENTS_MAX)
        d->got[d->got_count++] = number;
    if (d->held_count < HELD_MAX)
        d->held[d->held_count++] = (struct held){.mid = p->publish.mid, .number = number};
}

static void hear(struct device *d, const struct sn_packet *p)
{
    struct open_message *o;
    if (p->type == SN_PUBLISH) {
        hear_publish(d, p);
    } else if (p->type == SN_PUBREL) {
        for (size_t i = 0; i < d->held_count; i++)
            if (d->held[i].mid == p->mid)
                d->held[i] = d->held[--d->held_count];
        later(d, (struct sn_packet){.type = SN_PUBCOMP, .mid = p->mid});
    } else if (p->type == SN_PUBREC) {
        if ((o = open_find(d, p->mid)) != NULL) {
            o->released = true;
            later(d, (struct sn_packet){.type = SN_PUBREL, .mid = p->mid});
        }
    } else if (p->type == SN_PUBACK) {
        if ((o = open_find(d, p->ack.mid)) != NULL && (o->qos == 1 || p->ack.code != 0))
            o->used = false;
    } else if (p->type == SN_PUBCOMP) {
        if ((o = open_find(d, p->mid)) != NULL && o->qos == 2 && o->released)
            o->used = false;
    } else if (p->type == SN_REGISTER) {
        later(d,
              (struct sn_packet){.type = SN_REGACK, .ack = {.tid = p->reg.tid, .mid = p->reg.mid}});
    } else if (p->type == SN_REGACK && p->ack.code == 0) {
        d->tid = p->ack.tid;
    } else if (p->type == SN_CONNACK && p->code == 0) {
        d->was_clean = d->connecting_clean;
        d->connecting_clean = false;
    } else if (p->type == SN_WILLTOPICREQ) {
        later(d, (struct sn_packet){.type = SN_WILLTOPIC,
                                    .willtopic = {.qos = 2, .topic = sn_bytes("will", 4)}});
    } else if (p->type == SN_WILLMSGREQ) {
        later(d, (struct sn_packet){.type = SN_WILLMSG, .willmsg.message = sn_bytes("gone", 4)});
    }
}

static void heard_by_broker(struct world *w, const struct bridge_message *m)
{
    const uint32_t number = number_in(m->payload);
    if (number == 0 || m->payload.data[0] != 'u' || m->payload.data[m->payload.len - 1] != '2')
        return;
    for (size_t i = 0; i < w->up_count; i++) {
        if (w->up[i].number != number)
            continue;
        if (w->up[i].seq != m->seq)
            wrong("the broker gets it twice", number);
        return;
    }
    if (w->up_count < EVENTS_MAX) {
        w->up[w->up_count].number = number;
        w->up[w->up_count++].seq = m->seq;
    }
}

/* What was not accepted comes again by the next connection, if the broker still
 * knows of it; requests are void. */
static void hung_up(struct world *w, uint32_t conn, bool forget)
{
    size_t kept = 0;
    for (size_t i = 0; i < w->down_count; i++) {
        struct sent_message *m = &w->down[i];
        if (m->conn != conn)
            continue;
        m->again = !forget && (m->again || (m->token != 0 && m->qos == 1));
        m->token = 0;
    }
    for (size_t i = 0; i < w->request_count; i++)
        if (w->requests[i].conn != conn)
            w->requests[kept++] = w->requests[i];
    w->request_count = kept;
}

static void watch(void *ctx, const struct bridge_action *a)
{
    struct world *w = ctx;
    if (a->type == BRIDGE_DO_SEND) {
        struct sn_packet p;
        struct sn_bytes node = {0};
        sn_decode(a->send.bytes, &p);
        if (p.type == SN_FORWARD) {
            node = p.forward.node;
            const struct sn_bytes inner = p.forward.inner;
            sn_decode(inner, &p);
        }
        char peer[400];
        rig_peer_name(a->send.link, &a->send.to, node, peer, sizeof(peer));
        for (size_t i = 0; i < DEVICES; i++)
            if (strcmp(w->device[i].peer, peer) == 0)
                hear(&w->device[i], &p);
    } else if (a->type == BRIDGE_DO_PUBLISH) {
        heard_by_broker(w, &a->publish.message);
    } else if (a->type == BRIDGE_DO_ACCEPT) {
        for (size_t i = 0; i < w->down_count; i++)
            if (w->down[i].token == a->accept.token)
                w->down[i].token = 0;
    } else if ((a->type == BRIDGE_DO_SUBSCRIBE || a->type == BRIDGE_DO_UNSUBSCRIBE) &&
               w->request_count < EVENTS_MAX) {
        w->requests[w->request_count].conn = a->subscribe.conn;
        w->requests[w->request_count].request = a->subscribe.request;
        w->requests[w->request_count++].subscribe = a->type == BRIDGE_DO_SUBSCRIBE;
    } else if (a->type == BRIDGE_DO_DISCONNECT) {
        hung_up(w, a->disconnect.conn, a->disconnect.forget);
    }
}

/* ---- devices speak ---------------------------------------------------------------------- */

static void say(struct world *w, struct device *d, struct sn_packet p)
{
    rig_frame(w->rig, d->peer, &p);
}

static void say_publish(struct world *w, struct device *d, const struct open_message *o, bool dup)
{
    char payload[24];
    const int len = snprintf(payload, sizeof(payload), "u%u q%u", o->number, o->qos);
    say(w, d,
        (struct sn_packet){.type = SN_PUBLISH,
                           .publish = {.dup = dup,
                                       .qos = (int8_t)o->qos,
                                       .kind = o->kind,
                                       .tid = o->tid,
                                       .mid = o->mid,
                                       .data = sn_bytes(payload, (size_t)len)}});
}

static void device_publishes(struct world *w, struct device *d)
{
    const uint8_t how = next(w);
    struct open_message o = {.used = true, .qos = how % 3, .number = ++w->numbers};
    o.kind = (enum sn_topic_kind)(how / 3 % 3);
    o.tid = o.kind == SN_TOPIC_NORMAL       ? d->tid
            : o.kind == SN_TOPIC_PREDEFINED ? (uint16_t)(how / 9 % 4)
                                            : SN_SHORT_ID('a', 'b');
    if (o.qos > 0) {
        struct open_message *place = NULL;
        for (size_t i = 0; i < OPEN_MAX; i++)
            if (!d->open[i].used)
                place = &d->open[i];
        if (place == NULL)
            return;
        if (++d->mid == 0)
            d->mid = 1;
        o.mid = d->mid;
        if (open_find(d, o.mid) != NULL)
            return;
        *place = o;
    }
    say_publish(w, d, &o, false);
}

static void device_repeats(struct world *w, struct device *d)
{
    for (size_t i = 0; i < OPEN_MAX; i++) {
        const struct open_message o = d->open[i];
        if (o.used && o.released)
            say(w, d, (struct sn_packet){.type = SN_PUBREL, .mid = o.mid});
        else if (o.used)
            say_publish(w, d, &o, true);
    }
}

static void device_answers(struct world *w, struct device *d)
{
    if (d->todo_count == 0)
        return;
    const struct sn_packet p = d->todo[0];
    memmove(d->todo, d->todo + 1, --d->todo_count * sizeof(p));
    say(w, d, p);
}

static void device_reboots(struct device *d)
{
    memset(d->open, 0, sizeof(d->open));
    d->todo_count = 0;
    d->mid = 0;
    d->tid = 1;
}

static void device_connects(struct world *w, struct device *d)
{
    const uint8_t how = next(w);
    const bool clean = how & 1;
    d->connecting_clean |= clean;
    if (d->was_clean || d->connecting_clean) {
        /* Who begins anew cannot go on with what was open. */
        memset(d->open, 0, sizeof(d->open));
        d->held_count = 0;
        d->got_count = 0;
    }
    d->todo_count = 0;
    say(w, d,
        (struct sn_packet){.type = SN_CONNECT,
                           .connect = {.will = how & 2,
                                       .clean = clean,
                                       .protocol_id = SN_PROTOCOL_ID,
                                       .keepalive_s = how & 4 ? 60 : 0,
                                       .client_id = sn_bytes_text(d->id)}});
}

static void device_subscribes(struct world *w, struct device *d, enum sn_type type)
{
    const uint8_t how = next(w);
    struct sn_packet p = {
        .type = type,
        .subscribe = {.qos = (int8_t)(how % 3),
                      .mid = (uint16_t)(1000 + how),
                      .name = sn_bytes_text(filters[how / 3 % 8])},
    };
    if (how / 24 == 1) {
        p.subscribe.kind = SN_TOPIC_PREDEFINED;
        p.subscribe.tid = how % 4;
    } else if (how / 24 == 2) {
        p.subscribe.kind = SN_TOPIC_SHORT;
        p.subscribe.tid = SN_SHORT_ID('a', 'b');
    }
    say(w, d, p);
}

static void raw_frame(struct world *w, struct device *d)
{
    size_t len = next(w) % 32;
    if (len > (size_t)(w->end - w->at))
        len = (size_t)(w->end - w->at);
    struct bridge_event event = {.type = BRIDGE_ON_FRAME, .frame = {.bytes = sn_bytes(w->at, len)}};
    const size_t name = strcspn(d->peer, "@/");
    event.frame.from.len = (uint8_t)name;
    memcpy(event.frame.from.bytes, d->peer, name);
    event.frame.link = strchr(d->peer, '@') != NULL;
    /* What comes from somebody who breaks the rules is nobody's loss. */
    event.frame.from.bytes[0] ^= 0x20;
    w->at += len;
    rig_step(w->rig, &event);
}

/* ---- the others ---------------------------------------------------------------------------- */

static void broker_sends(struct world *w, struct sent_message *m)
{
    char payload[24];
    const int len = snprintf(payload, sizeof(payload), "d%u", m->number);
    m->again = false;
    m->token = m->qos == 0 ? 0 : ++w->tokens;
    rig_step(w->rig,
             &(struct bridge_event){.type = BRIDGE_ON_MESSAGE,
                                    .message = {.conn = m->conn,
                                                .token = m->token,
                                                .qos = m->qos,
                                                .retain = m->topic & 8,
                                                .expiry_s = m->topic & 16 ? 30 : 0,
                                                .topic = sn_bytes_text(names[m->topic & 7]),
                                                .payload = sn_bytes(payload, (size_t)len)}});
}

/* One of the connections that are up, or wanted; without sensors' own the shared
 * one. NOBODY: there is none. */
static uint32_t pick(struct world *w, bool up, bool wanted, uint8_t which)
{
    const uint32_t count = rig_conns(w->rig);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t conn = (i + which) % count;
        if ((up && rig_has_broker(w->rig, conn)) || (wanted && rig_wants_broker(w->rig, conn)))
            return conn;
    }
    return NOBODY;
}

static void new_message(struct world *w)
{
    const uint8_t how = next(w);
    const uint32_t conn = pick(w, true, false, how / 96);
    if (w->down_count == EVENTS_MAX || conn == NOBODY)
        return;
    struct sent_message *m = &w->down[w->down_count++];
    *m = (struct sent_message){
        .conn = conn, .number = ++w->numbers, .qos = how % 3, .topic = how / 3};
    broker_sends(w, m);
}

/* The broker has not heard that we have it, and never will. */
static void unaccepted(struct world *w)
{
    for (size_t i = 0; i < w->down_count; i++) {
        struct sent_message *m = &w->down[i];
        m->again |= m->token != 0;
        m->token = 0;
    }
}

static void send_again(struct world *w)
{
    for (size_t i = 0; i < w->down_count; i++)
        if (w->down[i].again && rig_has_broker(w->rig, w->down[i].conn))
            broker_sends(w, &w->down[i]);
}

static void answer_request(struct world *w, uint8_t code)
{
    if (w->request_count == 0)
        return;
    const uint32_t conn = w->requests[0].conn;
    const uint32_t request = w->requests[0].request;
    const bool subscribe = w->requests[0].subscribe;
    memmove(w->requests, w->requests + 1, --w->request_count * sizeof(w->requests[0]));
    rig_step(w->rig, &(struct bridge_event){
                         .type = subscribe ? BRIDGE_ON_SUBSCRIBED : BRIDGE_ON_UNSUBSCRIBED,
                         .subscribed = {.conn = conn, .request = request, .code = code}});
}

static void broker_up(struct world *w, uint8_t how)
{
    const uint32_t conn = pick(w, false, true, how / 16 % 8);
    if (conn == NOBODY)
        return;
    rig_conn_up(w->rig, conn, (how & 1) && rig_has_session(w->rig, conn),
                (uint16_t)(1 + (how >> 1) % 8), how & 0x80 ? 1 : 2);
    send_again(w);
}

static void broker_down(struct world *w, uint8_t which)
{
    const uint32_t conn = pick(w, true, true, which);
    if (conn == NOBODY)
        return;
    hung_up(w, conn, false);
    rig_conn_down(w->rig, conn, 0);
}

static void broker_refuses(struct world *w, uint8_t which)
{
    const uint32_t conn = pick(w, false, true, which);
    if (conn != NOBODY)
        rig_conn_down(w->rig, conn, 0x87);
}

static void decide(struct world *w, uint8_t how)
{
    uint64_t seqs[64];
    const size_t count = rig_undecided(w->rig, seqs, 64);
    if (count > 0)
        rig_delivered(w->rig, seqs[how % count], how & 0x80 ? 0x87 : 0);
}

static void close_memory(struct world *w, bool closed)
{
    w->closed = closed;
    rig_bridge(w->rig)->arena.closed = closed;
}

static void refuse(struct world *w)
{
    unaccepted(w);
    rig_refuse(w->rig, UINT64_MAX);
}

static void refuse_run(struct world *w, uint64_t kept)
{
    const uint64_t last = rig_ticket(w->rig);
    if (kept < last)
        rig_refuse(w->rig, last - kept);
}

static void restart(struct world *w, bool committed)
{
    if (committed)
        rig_commit(w->rig, UINT64_MAX);
    w->request_count = 0;
    unaccepted(w);
    rig_restart(w->rig, false);
    w->closed = false;
}

static void run_one(struct world *w)
{
    const uint8_t op = next(w);
    struct device *d = &w->device[op >> 6];
    switch (op & 63) {
    case 0:
    case 1:
    case 2:
        device_publishes(w, d);
        break;
    case 3:
    case 4:
        device_repeats(w, d);
        break;
    case 5:
    case 6:
    case 7:
        device_answers(w, d);
        break;
    case 8:
        for (size_t i = 0; i < 8; i++)
            device_answers(w, d);
        break;
    case 9:
        d->todo_count = 0;
        break;
    case 10:
    case 11:
        device_connects(w, d);
        break;
    case 12:
    case 13:
        device_subscribes(w, d, SN_SUBSCRIBE);
        break;
    case 14:
        device_subscribes(w, d, SN_UNSUBSCRIBE);
        break;
    case 15: {
        const uint8_t s = next(w);
        say(w, d,
            (struct sn_packet){.type = SN_DISCONNECT,
                               .disconnect = {.has_duration = s != 0, .duration_s = s}});
        break;
    }
    case 16:
        say(w, d,
            (struct sn_packet){.type = SN_PINGREQ, .pingreq.client_id = sn_bytes_text(d->id)});
        break;
    case 17:
        say(w, d, (struct sn_packet){.type = SN_PINGREQ});
        break;
    case 18:
        say(w, d,
            (struct sn_packet){
                .type = SN_REGISTER,
                .reg = {.mid = (uint16_t)(1 + op), .name = sn_bytes_text(names[next(w) & 7])}});
        break;
    case 19:
    case 20:
    case 21:
        rig_commit(w->rig, UINT64_MAX);
        break;
    case 22:
        refuse(w);
        break;
    case 23:
    case 24:
        rig_fetched(w->rig);
        break;
    case 25:
    case 26:
        broker_up(w, next(w));
        break;
    case 27:
        broker_down(w, op >> 6);
        break;
    case 28:
    case 29:
        decide(w, op >> 6);
        break;
    case 30:
        decide(w, next(w));
        break;
    case 31:
    case 32:
        answer_request(w, op >> 6 == 3 ? 0x87 : op >> 6);
        break;
    case 33:
    case 34:
        new_message(w);
        break;
    case 35:
        send_again(w);
        break;
    case 36:
        rig_pass(w->rig, (uint64_t)next(w) * 10);
        break;
    case 37:
        rig_pass(w->rig, (uint64_t)next(w) * 1000);
        break;
    case 38:
        restart(w, false);
        break;
    case 39:
        restart(w, true);
        break;
    case 40:
        raw_frame(w, d);
        break;
    case 41:
        device_reboots(d);
        break;
    case 42:
        close_memory(w, true);
        break;
    case 43:
        close_memory(w, false);
        break;
    case 44: /* it moves */
        d->peer[0] = d->peer[0] == d->id[0] ? (char)(d->id[0] + 10) : d->id[0];
        break;
    case 45:
        say(w, d,
            (struct sn_packet){.type = SN_WILLTOPICUPD,
                               .willtopic = {.qos = 1, .topic = sn_bytes("w2", 2)}});
        break;
    case 46:
        say(w, d, (struct sn_packet){.type = SN_WILLMSGUPD, .willmsg.message = sn_bytes("x", 1)});
        break;
    case 47:
        say(w, d, (struct sn_packet){.type = SN_WILLTOPICUPD, .willtopic.empty = true});
        break;
    case 48:
        say(w, d,
            (struct sn_packet){.type = SN_PUBLISH,
                               .publish = {.qos = -1, .kind = SN_TOPIC_PREDEFINED, .tid = 1}});
        break;
    case 49: /* it rejects what comes next */
        if (d->todo_count > 0 && (d->todo[0].type == SN_PUBACK || d->todo[0].type == SN_REGACK))
            d->todo[0].ack.code = next(w) % 4;
        break;
    case 50:
        broker_refuses(w, next(w));
        break;
    case 51:
        refuse_run(w, next(w) % 16);
        break;
    default:
        break;
    }
}

/* ---- the end of the world ---------------------------------------------------------------------- */

static void settle(struct world *w)
{
    for (int i = 0; i < 500; i++) {
        bool more = rig_uncommitted(w->rig) > 0 || w->request_count > 0;
        uint64_t seq;
        rig_pass(w->rig, 0);
        more |= pick(w, false, true, 0) != NOBODY;
        broker_up(w, 0x0F);
        rig_commit(w->rig, UINT64_MAX);
        more |= rig_fetched(w->rig);
        answer_request(w, 0);
        if (rig_undecided(w->rig, &seq, 1) > 0) {
            rig_delivered(w->rig, seq, 0);
            more = true;
        }
        if (!more) {
            struct bridge_status s;
            rig_status(w->rig, &s);
            if (s.up.queued == 0)
                return;
            rig_pass(w->rig, 1000);
        }
    }
    wrong("it never settles", 0);
}

struct ids {
    char id[16][64];
    size_t len[16];
    size_t count;
};

static void note_client(void *ctx, const struct bridge_client *client)
{
    struct ids *ids = ctx;
    memcpy(ids->id[ids->count], client->id.data, client->id.len);
    ids->len[ids->count++] = client->id.len;
}

static void everybody_goes(struct world *w)
{
    struct ids ids = {.count = 0};
    bridge_each_client(rig_bridge(w->rig), note_client, &ids);
    for (size_t i = 0; i < ids.count; i++) {
        rig_frame(w->rig, "z",
                  &(struct sn_packet){.type = SN_CONNECT,
                                      .connect = {.clean = true,
                                                  .protocol_id = SN_PROTOCOL_ID,
                                                  .client_id = sn_bytes(ids.id[i], ids.len[i])}});
        rig_commit(w->rig, UINT64_MAX);
        rig_frame(w->rig, "z", &(struct sn_packet){.type = SN_DISCONNECT});
        rig_commit(w->rig, UINT64_MAX);
    }
}

/* Memory that is in use, but for the lanes of the shared connection: it keeps what it once had. */
static size_t used(const struct world *w)
{
    const struct bridge *b = rig_bridge(w->rig);
    size_t size = arena_used(&b->arena);
    for (const struct lane *l = b->shared.lanes; l != NULL; l = l->next)
        if (l != &b->shared.backlog)
            size -= arena_block(sizeof(*l));
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    memset(&w, 0, sizeof(w));
    w.at = data;
    w.end = data + size;
    for (size_t i = 0; i < DEVICES; i++) {
        struct device *d = &w.device[i];
        d->id[0] = (char)('a' + i);
        snprintf(d->peer, sizeof(d->peer), "%c%s", 'a' + (int)i,
                 i == 2   ? "@1"
                 : i == 3 ? "/n"
                          : "");
        d->tid = 1;
    }

    struct rig_options o;
    rig_defaults(&o);
    const uint8_t how = next(&w);
    o.config.ack_stored = !(how & 1);
    o.config.max_live = how & 2 ? 2 : 20;
    o.config.max_queue = how & 4 ? 12 : 40;
    o.config.max_clients = how & 8 ? 3 : 12;
    o.links[1].bits_per_s = how & 16 ? 1200 : 0;
    o.config.awake_messages = how & 32 ? 1 : 0;
    o.config.broker_ack_stored = !(how & 64);
    o.config.strict_sleep = how & 32;
    o.config.register_short = how & 4;
    o.config.max_topic_levels = how & 128 ? 3 : 64;
    o.config.dollar_topics = how & 128 ? "$s" : "$SYS";
    o.config.tolerance_percent = how & 1 ? 5 : 0;
    o.config.max_new_clients = how & 16 ? 10 : 0;
    o.config.max_writes = how & 32 ? 20 : 0;
    o.config.max_topics = how & 1 ? 3 : 6;
    o.config.expire_clean_s = o.config.expire_persistent_s = how & 2 ? 300 : 0;
    o.config.expire_unreturned_s = how & 2 ? 100 : 0;
    o.config.outage_disconnect_s = how & 2 ? 30 : 0;
    o.config.connect_offline = how & 64 ? BRIDGE_OFFLINE_KNOWN : BRIDGE_OFFLINE_ALL;
    o.config.classes = classes;
    o.config.class_count = how & 128 ? sizeof(classes) / sizeof(classes[0]) : 0;
    o.quiet = true;
    o.watch = watch;
    o.ctx = &w;
    o.memory = 1;
    static const struct bridge_mode modes[] = {{.pattern = "a", .transparent = true},
                                               {.pattern = "c*", .transparent = true}};
    o.config.modes = modes;
    o.config.mode_count = how & 128 ? 2 : 0;
    o.config.max_connections = how & 8 ? 1 : 12;
    w.rig = rig_new(&o);
    const size_t memory = used(&w);

    for (int i = 0; i < STEPS_MAX && w.at < w.end; i++)
        run_one(&w);

    close_memory(&w, false);
    for (int i = 0; i < 3; i++) {
        rig_pass(w.rig, 70000);
        while (pick(&w, false, true, 0) != NOBODY)
            broker_up(&w, 0x0F);
    }
    settle(&w);
    everybody_goes(&w);
    settle(&w);
    everybody_goes(&w); /* for whom there was no connection left */
    settle(&w);
    struct bridge_status s;
    rig_status(w.rig, &s);
    if (s.clients != 0 || s.up.queued != 0 || s.down.queued != 0)
        wrong("somebody or something remains", s.clients);
    if (used(&w) != memory)
        wrong("memory is lost", (uint32_t)(used(&w) - memory));
    if (rig_rows(w.rig) != 0)
        wrong("rows remain on the disk", (uint32_t)rig_rows(w.rig));
    rig_free(w.rig);
    return 0;
}
