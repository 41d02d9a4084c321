#include "tests/mutant.h"

#include <string.h>

#define EVERY 7 /* so many go well before one does not */

static bool is_turn(struct mutant *m)
{
    return ++m->count % EVERY == 0;
}

static void note_ticket(struct mutant *m, const struct bridge_action *a)
{
    uint64_t ticket = 0;
    if (a->type == BRIDGE_DO_STORE)
        ticket = a->store.message.seq;
    else if (a->type == BRIDGE_DO_MARK || a->type == BRIDGE_DO_FORGET)
        ticket = a->row.ticket;
    else if (a->type == BRIDGE_DO_SAVE || a->type == BRIDGE_DO_ERASE)
        ticket = a->record.ticket;
    if (ticket > m->last_ticket)
        m->last_ticket = ticket;
}

/* Two messages change places. */
static bool hold_back(struct mutant *m, struct sim_gateway *g, const struct bridge_action *a)
{
    const struct bridge_message *from = &a->publish.message;
    if (m->holds) {
        m->holds = false;
        sim_gateway_do(g, a);
        sim_gateway_do(g, &m->held);
        return false;
    }
    if (!is_turn(m) || from->topic.len + from->payload.len > sizeof(m->octets))
        return true;
    memcpy(m->octets, from->topic.data, from->topic.len);
    memcpy(m->octets + from->topic.len, from->payload.data, from->payload.len);
    m->held = *a;
    m->held.publish.message.topic = sn_bytes(m->octets, from->topic.len);
    m->held.publish.message.payload = sn_bytes(m->octets + from->topic.len, from->payload.len);
    m->holds = true;
    return false;
}

/* The same again, as another message. */
static void publish_twice(struct sim_gateway *g, const struct bridge_action *a)
{
    struct bridge_action again = *a;
    again.publish.message.seq += UINT64_C(1) << 40;
    sim_gateway_do(g, &again);
}

static void send_twice(struct sim_gateway *g, const struct bridge_action *a)
{
    struct sn_packet p;
    uint8_t octets[2048];
    struct bridge_action again = *a;
    if (sn_decode(a->send.bytes, &p) != SN_OK || p.type != SN_PUBLISH || p.publish.qos != 2)
        return;
    p.publish.mid = (uint16_t)(p.publish.mid + 0x4000);
    again.send.bytes = sn_bytes(octets, sn_encode(&p, octets, sizeof(octets)));
    sim_gateway_do(g, &again);
}

static bool is_frame(const struct bridge_action *a, enum sn_type type)
{
    struct sn_packet p;
    return a->type == BRIDGE_DO_SEND && sn_decode(a->send.bytes, &p) == SN_OK && p.type == type;
}

/* Of a client that every scenario here has. */
static void say(struct sim_gateway *g, enum bridge_note note)
{
    sim_gateway_do(g,
                   &(struct bridge_action){.type = BRIDGE_DO_NOTE,
                                           .note = {.note = note, .client = sn_bytes_text("s1")}});
}

static bool on_action(struct sim_filter *f, struct sim_gateway *g, struct bridge_action *a)
{
    struct mutant *m = (struct mutant *)f;
    note_ticket(m, a);
    switch (m->mutation) {
    case MUTATION_FORGOTTEN_MESSAGE:
        return a->type != BRIDGE_DO_STORE || !is_turn(m);
    case MUTATION_LEAKED_SLOT:
        return a->type != BRIDGE_DO_FORGET || !is_turn(m);
    case MUTATION_DOUBLE_PUBLISH:
        if (a->type == BRIDGE_DO_PUBLISH && a->publish.message.qos == 2 && is_turn(m))
            publish_twice(g, a);
        return true;
    case MUTATION_DOUBLE_DELIVERY:
        if (a->type == BRIDGE_DO_SEND)
            send_twice(g, a);
        return true;
    case MUTATION_WRONG_ORDER:
        return a->type != BRIDGE_DO_PUBLISH || hold_back(m, g, a);
    case MUTATION_UNTOLD_ID:
        return !is_frame(a, SN_SUBACK) || !is_turn(m);
    case MUTATION_WRONG_TOPIC:
        if (a->type == BRIDGE_DO_PUBLISH && is_turn(m))
            a->publish.message.topic = sn_bytes_text("elsewhere");
        return true;
    case MUTATION_MEMBER:
        if (a->type == BRIDGE_DO_SUBSCRIBE)
            a->subscribe.filter = sn_bytes_text("$share/bridges/#");
        return true;
    case MUTATION_FALSE_WILL:
        if (a->type == BRIDGE_DO_PUBLISH && is_turn(m))
            say(g, BRIDGE_NOTE_WILL_FIRED);
        return true;
    case MUTATION_HASTE:
        if (a->type == BRIDGE_DO_FORGET && is_turn(m))
            say(g, BRIDGE_NOTE_UP_EXPIRED);
        return true;
    case MUTATION_DEAF_TO_REFUSAL:
    case MUTATION_SWALLOWED_READING:
    case MUTATION_FALSELY_FULL:
    case MUTATION_HARD_OF_HEARING:
    case MUTATION_NONE:
    case MUTATION_EARLY_ACKNOWLEDGEMENT:
    case MUTATION_EARLY_ACCEPTANCE:
    case MUTATION_LOST_WAKEUP:
    case MUTATION_COUNT:
        break;
    }
    return true;
}

/* The core hears that all is durable before anything else happens. */
static bool hurry(struct mutant *m, struct sim_gateway *g, const struct bridge_event *e)
{
    if (m->last_ticket > m->told_ticket) {
        m->told_ticket = m->last_ticket;
        sim_gateway_feed(
            g, &(struct bridge_event){.type = BRIDGE_ON_STORED, .stored.ticket = m->told_ticket});
    }
    return e->type != BRIDGE_ON_STORED;
}

/* A PUBLISH of QoS 1 is acknowledged here, and the core never sees it. */
static bool swallow(struct mutant *m, struct sim_gateway *g, const struct bridge_event *e)
{
    struct sn_packet p;
    uint8_t octets[16];
    if (e->type != BRIDGE_ON_FRAME || sn_decode(e->frame.bytes, &p) != SN_OK ||
        p.type != SN_PUBLISH || p.publish.qos != 1 || !is_turn(m))
        return true;
    const struct sn_packet ack = {
        .type = SN_PUBACK,
        .ack = {.tid = p.publish.tid, .mid = p.publish.mid, .code = SN_ACCEPTED}};
    sim_gateway_do(
        g, &(struct bridge_action){
               .type = BRIDGE_DO_SEND,
               .send = {.link = e->frame.link,
                        .to = e->frame.from,
                        .bytes = sn_bytes(octets, sn_encode(&ack, octets, sizeof(octets)))}});
    return false;
}

/* A message of the broker is accepted here, and dropped for want of room. */
static bool refuse(struct mutant *m, struct sim_gateway *g, const struct bridge_event *e)
{
    if (e->type != BRIDGE_ON_MESSAGE || e->message.token == 0 || !is_turn(m))
        return true;
    say(g, BRIDGE_NOTE_DOWN_QUEUE_FULL);
    sim_gateway_do(
        g, &(struct bridge_action){.type = BRIDGE_DO_ACCEPT, .accept.token = e->message.token});
    return false;
}

/* Whoever publishes is told to connect, and the core never sees it. */
static bool turn_away(struct mutant *m, struct sim_gateway *g, const struct bridge_event *e)
{
    struct sn_packet p;
    uint8_t octets[16];
    const struct sn_packet answer = {.type = SN_DISCONNECT};
    if (e->type != BRIDGE_ON_FRAME || sn_decode(e->frame.bytes, &p) != SN_OK ||
        p.type != SN_PUBLISH || !is_turn(m))
        return true;
    const size_t len = sn_encode(&answer, octets, sizeof(octets));
    sim_gateway_do(g, &(struct bridge_action){.type = BRIDGE_DO_SEND,
                                              .send = {.link = e->frame.link,
                                                       .to = e->frame.from,
                                                       .bytes = sn_bytes(octets, len)}});
    return false;
}

static bool on_event(struct sim_filter *f, struct sim_gateway *g, const struct bridge_event *e)
{
    struct mutant *m = (struct mutant *)f;
    switch (m->mutation) {
    case MUTATION_EARLY_ACKNOWLEDGEMENT:
        return hurry(m, g, e);
    case MUTATION_EARLY_ACCEPTANCE:
        if (e->type != BRIDGE_ON_MESSAGE || e->message.token == 0)
            return true;
        sim_gateway_feed(g, e);
        sim_gateway_do(
            g, &(struct bridge_action){.type = BRIDGE_DO_ACCEPT, .accept.token = e->message.token});
        return false;
    case MUTATION_LOST_WAKEUP:
        return e->type != BRIDGE_ON_DELIVERED || !is_turn(m);
    case MUTATION_DEAF_TO_REFUSAL:
        if (e->type != BRIDGE_ON_STORE_FAILED)
            return true;
        sim_gateway_feed(g, &(struct bridge_event){.type = BRIDGE_ON_STORED, .stored = e->stored});
        return false;
    case MUTATION_SWALLOWED_READING:
        return swallow(m, g, e);
    case MUTATION_FALSELY_FULL:
        return refuse(m, g, e);
    case MUTATION_HARD_OF_HEARING:
        return turn_away(m, g, e);
    case MUTATION_FALSE_WILL:
    case MUTATION_HASTE:
    case MUTATION_UNTOLD_ID:
    case MUTATION_WRONG_TOPIC:
    case MUTATION_MEMBER:
    case MUTATION_NONE:
    case MUTATION_FORGOTTEN_MESSAGE:
    case MUTATION_DOUBLE_PUBLISH:
    case MUTATION_DOUBLE_DELIVERY:
    case MUTATION_WRONG_ORDER:
    case MUTATION_LEAKED_SLOT:
    case MUTATION_COUNT:
        break;
    }
    return true;
}

void mutant_init(struct mutant *m, enum mutation mutation)
{
    *m = (struct mutant){.filter = {.event = on_event, .action = on_action}, .mutation = mutation};
}
