#include "sim/check.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bridge/classes.h"
#include "mqttsn/topic.h"
#include "sim/check_claims.h"
#include "sim/check_expiry.h"
#include "sim/check_flows.h"
#include "sim/check_ids.h"
#include "sim/check_lives.h"
#include "sim/check_queues.h"
#include "sim/world.h"

/* A STORE that is not known to be durable. */
struct storing {
    uint64_t ticket;
    uint32_t queue;
    uint32_t party; /* whose message */
    uint64_t number;
    uint64_t token; /* of the broker's message it belongs to; 0: none */
};

/* A message of the broker that the bridge has not accepted yet. */
struct offered {
    uint64_t token;
    uint32_t party;
    uint64_t number;
    uint32_t *devices; /* that were subscribed when it came */
    size_t count;
    bool refused; /* the disk has refused a copy */
};

/* Handed to the broker, and not decided. */
struct undecided {
    uint32_t conn;
    uint64_t seq;
    uint32_t party; /* SIM_NAMES_NONE: not one of ours */
    uint64_t number;
};

/* Delivered, and the disk may not know yet. */
struct ending {
    uint64_t seq;
    uint64_t ticket; /* of what tells it; 0: not said yet */
    uint32_t party;
    uint64_t number;
};

#define NAME_SIZE 32 /* of a client id that can be a device's */

struct conn {
    uint32_t number;
    uint16_t window;
    char client[NAME_SIZE]; /* whose own it is; empty: all share it. It may connect before
                             * anything was heard of that device */
};

struct sim_check {
    const struct bridge_config *config;
    struct sim_flows flows;
    struct storing *storing;
    size_t storing_first; /* those before it are done */
    size_t storing_count;
    size_t storing_size;
    struct offered *offered;
    size_t offered_count;
    struct undecided *undecided;
    size_t undecided_count;
    size_t undecided_size;
    struct ending *ending;
    size_t ending_count;
    size_t ending_size;
    struct conn *conns;
    size_t conn_count;
    uint64_t token;       /* of the MESSAGE that is being fed */
    uint32_t turned_away; /* whose new message its class has just dropped; SIM_NAMES_NONE */
    bool restarting;      /* killed, and not started yet */
    bool damaged;         /* a frame was, and went on: topics may be wrong */
    uint64_t up_excused;  /* messages that were dropped or expired, with a note */
    uint64_t down_excused;
    uint64_t rejections; /* messages that devices have refused, and no note has said so */
    struct sim_check_figures figures;
    struct sim_claims claims;
    struct sim_ids ids;
    struct sim_lives lives;
    struct sim_queues queues;
    struct sim_expiry expiry;
};

static const char *name_of(const struct sim_check *c, uint32_t party)
{
    return c->flows.names.name[party];
}

/* The device of this client id. */
static uint32_t party_of(const struct sim_check *c, struct sn_bytes client)
{
    char name[NAME_SIZE];
    if (client.len >= sizeof(name))
        return SIM_NAMES_NONE;
    snprintf(name, sizeof(name), "%.*s", (int)client.len, (const char *)client.data);
    return sim_names_find(&c->flows.names, name);
}

/* Room for one more. */
static void *grown(void *array, size_t count, size_t *size, size_t element)
{
    if (count < *size)
        return array;
    *size = *size == 0 ? 64 : 2 * *size;
    return sim_more_memory(array, *size * element);
}

/* ---- custody: what is durable --------------------------------------------------------- */

static void stores(struct sim_check *c, const struct bridge_message *m)
{
    struct storing s = {.ticket = m->seq, .queue = m->queue, .token = c->token};
    if (!sim_flows_read(&c->flows, m->payload, &s.party, &s.number))
        return;
    c->storing = grown(c->storing, c->storing_count, &c->storing_size, sizeof(*c->storing));
    c->storing[c->storing_count++] = s;
}

static void refuses(struct sim_check *c, uint64_t token)
{
    for (size_t i = 0; i < c->offered_count; i++)
        if (c->offered[i].token == token)
            c->offered[i].refused = true;
}

static void take_storing(struct sim_check *c, uint64_t ticket, bool durable)
{
    size_t i = c->storing_first;
    for (; i < c->storing_count && c->storing[i].ticket <= ticket; i++) {
        const struct storing *s = &c->storing[i];
        if (durable && bridge_queue_is_up(s->queue))
            *sim_flags_at(&c->flows.parties[s->party].sent, s->number) |= SIM_SENT_DURABLE;
        if (!durable && s->token != 0)
            refuses(c, s->token);
    }
    c->storing_first = i;
    if (i == c->storing_count)
        c->storing_first = c->storing_count = 0;
}

/* A copy that is done with before it was durable is with its sensor, or dropped
 * for a reason that is noted. */
static void forgets(struct sim_check *c, uint32_t queue, uint64_t seq)
{
    for (size_t i = c->storing_first; i < c->storing_count; i++)
        if (c->storing[i].ticket == seq && c->storing[i].queue == queue)
            c->storing[i].token = 0;
}

/* ---- from devices ------------------------------------------------------------------------ */

static void publishes(struct sim_check *c, const struct sim_record *r)
{
    uint32_t party;
    uint64_t number;
    sim_flows_party(&c->flows, r->device);
    if (!sim_flows_read(&c->flows, r->message->payload, &party, &number))
        return;
    *sim_flags_at(&c->flows.parties[party].sent, number) |= r->message->qos & SIM_SENT_QOS;
    sim_party_makes(&c->flows.parties[party], number, r->message->topic);
}

static uint8_t *sent_flags(struct sim_check *c, const struct sim_message *m)
{
    uint32_t party;
    uint64_t number;
    if (!sim_flows_read(&c->flows, m->payload, &party, &number))
        return NULL;
    return sim_flags_at(&c->flows.parties[party].sent, number);
}

static void device_accepted(struct sim_check *c, const struct sim_record *r)
{
    struct sim_party *alike = sim_flows_alike(&c->flows, r->message->payload);
    if (alike != NULL)
        alike->alike_accepted += r->message->qos > 0;
    uint8_t *flags = sent_flags(c, r->message);
    if (flags == NULL || (*flags & SIM_SENT_QOS) == 0)
        return;
    *flags |= SIM_SENT_ACCEPTED;
    c->figures.accepted++;
}

static void device_gives_up(struct sim_check *c, const struct sim_record *r)
{
    uint8_t *flags = sent_flags(c, r->message);
    if (flags != NULL)
        *flags |= SIM_SENT_FREE;
}

static void frame_arrives(struct sim_check *c, const struct sim_record *r)
{
    struct sn_packet p;
    if (r->direction == SIM_UP && sn_decode(r->bytes, &p) == SN_OK &&
        (p.type == SN_PUBACK || p.type == SN_REGACK) && p.ack.code != SN_ACCEPTED &&
        p.ack.code != SN_CONGESTION)
        c->rejections++;
}

/* Which message of a device a message id stands for. */
static void frame_goes_up(struct sim_check *c, const struct sim_record *r)
{
    struct sn_packet p;
    uint32_t party;
    uint64_t number;
    if (r->device == NULL || sn_decode(r->bytes, &p) != SN_OK || p.type != SN_PUBLISH ||
        p.publish.qos < 1 || !sim_flows_read(&c->flows, p.publish.data, &party, &number))
        return;
    struct sim_party *device = &c->flows.parties[party];
    for (size_t i = 0; i < SIM_FLOW_OPEN; i++)
        if (device->open[i].mid == p.publish.mid)
            device->open[i].mid = 0;
    device->open[device->open_next].mid = p.publish.mid;
    device->open[device->open_next].number = number;
    device->open_next = (device->open_next + 1) % SIM_FLOW_OPEN;
}

/* The link makes a copy. Without DUP, and if it arrives when the handshake is
 * over, nobody can tell it from another message with the same id. */
static void frame_is_copied(struct sim_check *c, const struct sim_record *r)
{
    struct sn_packet p;
    uint32_t party;
    uint64_t number;
    if (r->device == NULL || sn_decode(r->bytes, &p) != SN_OK || p.type != SN_PUBLISH ||
        p.publish.qos != 2 || !sim_flows_read(&c->flows, p.publish.data, &party, &number))
        return;
    const uint32_t device = sim_names_find(&c->flows.names, r->device);
    if (r->direction == SIM_UP)
        *sim_flags_at(&c->flows.parties[party].sent, number) |= SIM_SENT_AGAIN;
    else if (device != SIM_NAMES_NONE)
        *sim_flags_at(&sim_party_inbox(&c->flows.parties[device], party)->got, number) |=
            SIM_GOT_COPIED;
}

static void acknowledges(struct sim_check *c, const struct sim_record *r, uint16_t mid)
{
    const uint32_t party = sim_names_find(&c->flows.names, r->device);
    if (party == SIM_NAMES_NONE)
        return;
    struct sim_party *device = &c->flows.parties[party];
    for (size_t i = 0; i < SIM_FLOW_OPEN; i++) {
        if (device->open[i].mid != mid)
            continue;
        if (c->turned_away == party)
            *sim_flags_at(&device->sent, device->open[i].number) |= SIM_SENT_FREE;
        const uint8_t flags = *sim_flags_at(&device->sent, device->open[i].number);
        if (!(flags & (SIM_SENT_DURABLE | SIM_SENT_ARRIVED)) && c->turned_away != party)
            sim_claims_violate(&c->claims, r->at_us,
                               "custody: %s:%" PRIu64 " is acknowledged and is nowhere", r->device,
                               device->open[i].number);
    }
}

static void frame_goes_down(struct sim_check *c, const struct sim_record *r)
{
    const struct bridge_action *a = r->action;
    struct sn_packet p;
    const size_t max = c->config->links[a->send.link].frame_max;
    if (c->restarting)
        sim_claims_violate(&c->claims, r->at_us, "restart: a frame is sent");
    if (a->send.bytes.len > max)
        sim_claims_violate(&c->claims, r->at_us,
                           "bounds: a frame of %zu octets, the link takes %zu", a->send.bytes.len,
                           max);
    if (r->device == NULL || sn_decode(a->send.bytes, &p) != SN_OK)
        return;
    if (p.type == SN_PUBACK && p.ack.code == SN_ACCEPTED)
        acknowledges(c, r, p.ack.mid);
    else if (p.type == SN_PUBREC)
        acknowledges(c, r, p.mid);
}

/* Somebody at the broker, or a device, has sent it. */
static void broker_sends(struct sim_check *c, const struct sim_record *r)
{
    uint32_t party;
    uint64_t number;
    if (sim_flows_read(&c->flows, r->message->payload, &party, &number))
        sim_party_makes(&c->flows.parties[party], number, r->message->topic);
}

static void check_topic(struct sim_check *c, const struct sim_record *r, uint32_t party,
                        uint64_t number, const char *where)
{
    if (!c->damaged && !sim_party_made(&c->flows.parties[party], number, r->message->topic))
        sim_claims_violate(&c->claims, r->at_us,
                           "topic: %s:%" PRIu64 " has come to %s as %.*s, which is not its topic",
                           name_of(c, party), number, where, (int)r->message->topic.len,
                           (const char *)r->message->topic.data);
}

/* Its class may bring new messages before those that wait. */
static bool is_live(const struct sim_check *c, struct sn_bytes topic)
{
    return classes_at(c->config, classes_match(c->config, topic))->live;
}

static void broker_has(struct sim_check *c, const struct sim_record *r)
{
    uint32_t party;
    uint64_t number;
    struct sim_party *alike = sim_flows_alike(&c->flows, r->message->payload);
    if (alike != NULL)
        alike->alike_arrived += r->message->qos > 0;
    if (!sim_flows_read(&c->flows, r->message->payload, &party, &number))
        return;
    check_topic(c, r, party, number, "the broker");
    struct sim_party *sender = &c->flows.parties[party];
    uint8_t *flags = sim_flags_at(&sender->sent, number);
    const uint8_t qos = *flags & SIM_SENT_QOS;
    if (*flags & SIM_SENT_ARRIVED) {
        c->figures.again++;
        if (qos == 2 && !(*flags & SIM_SENT_AGAIN))
            sim_claims_violate(&c->claims, r->at_us,
                               "once: %s:%" PRIu64 " of QoS 2 has come to the broker again",
                               name_of(c, party), number);
        return;
    }
    *flags |= SIM_SENT_ARRIVED;
    c->figures.arrived++;
    if (qos > 0 && !is_live(c, r->message->topic) &&
        !sim_order_holds(sender->order, r->message->topic, qos, number))
        sim_claims_violate(&c->claims, r->at_us,
                           "order: %s:%" PRIu64 " comes to the broker after a later one",
                           name_of(c, party), number);
}

/* A message that the broker never takes is nobody's promise; all others are. */
static void broker_hangs_up(struct sim_check *c, const struct sim_record *r)
{
    uint8_t *flags = r->message == NULL ? NULL : sent_flags(c, r->message);
    if (flags != NULL)
        *flags |= SIM_SENT_FREE;
}

/* ---- handed to the broker -------------------------------------------------------------------- */

static struct conn *conn_of(struct sim_check *c, uint32_t number)
{
    for (size_t i = 0; i < c->conn_count; i++)
        if (c->conns[i].number == number)
            return &c->conns[i];
    c->conns = sim_more_memory(c->conns, (c->conn_count + 1) * sizeof(*c->conns));
    c->conns[c->conn_count] = (struct conn){.number = number};
    return &c->conns[c->conn_count++];
}

static void hands_over(struct sim_check *c, const struct sim_record *r)
{
    const struct bridge_message *m = &r->action->publish.message;
    const uint32_t conn = r->action->publish.conn;
    struct undecided u = {.conn = conn, .seq = m->seq, .party = SIM_NAMES_NONE};
    size_t open = 0;
    if (m->qos == 0)
        return;
    for (size_t i = 0; i < c->undecided_count; i++) {
        const struct undecided *other = &c->undecided[i];
        open += other->conn == conn;
        if (other->seq == m->seq)
            sim_claims_violate(&c->claims, r->at_us, "bounds: seq %" PRIu64 " is handed over twice",
                               m->seq);
    }
    if (open >= conn_of(c, conn)->window)
        sim_claims_violate(&c->claims, r->at_us, "bounds: more than %u messages are undecided",
                           conn_of(c, conn)->window);
    if (sim_flows_read(&c->flows, m->payload, &u.party, &u.number)) {
        uint8_t *flags = sim_flags_at(&c->flows.parties[u.party].sent, u.number);
        if (m->qos == 2 && !(*flags & SIM_SENT_DURABLE))
            sim_claims_violate(&c->claims, r->at_us,
                               "bounds: %s:%" PRIu64 " of QoS 2 is published and not durable",
                               name_of(c, u.party), u.number);
        *flags |= SIM_SENT_UNDER_WAY;
    }
    c->undecided = grown(c->undecided, c->undecided_count, &c->undecided_size, sizeof(u));
    c->undecided[c->undecided_count++] = u;
}

static void remove_undecided(struct sim_check *c, size_t i)
{
    c->undecided_count--;
    memmove(&c->undecided[i], &c->undecided[i + 1],
            (c->undecided_count - i) * sizeof(*c->undecided));
}

static void delivered(struct sim_check *c, const struct bridge_event *e)
{
    for (size_t i = 0; i < c->undecided_count; i++) {
        const struct undecided *u = &c->undecided[i];
        if (u->seq != e->delivered.seq || u->conn != e->delivered.conn)
            continue;
        if (u->party != SIM_NAMES_NONE && e->delivered.code >= 0x80)
            *sim_flags_at(&c->flows.parties[u->party].sent, u->number) |= SIM_SENT_FREE;
        if (u->party != SIM_NAMES_NONE) {
            c->ending = grown(c->ending, c->ending_count, &c->ending_size, sizeof(*c->ending));
            c->ending[c->ending_count++] =
                (struct ending){.seq = u->seq, .party = u->party, .number = u->number};
        }
        remove_undecided(c, i);
        return;
    }
}

/* FORGET, or MARK as DELIVERED: when that is durable it is over. */
static void notes_end(struct sim_check *c, uint64_t seq, uint64_t ticket)
{
    for (size_t i = 0; i < c->ending_count; i++)
        if (c->ending[i].seq == seq)
            c->ending[i].ticket = ticket;
}

static void ends_durably(struct sim_check *c, uint64_t ticket)
{
    for (size_t i = c->ending_count; i-- > 0;) {
        const struct ending *e = &c->ending[i];
        if (e->ticket == 0 || e->ticket > ticket)
            continue;
        *sim_flags_at(&c->flows.parties[e->party].sent, e->number) &= (uint8_t)~SIM_SENT_UNDER_WAY;
        c->ending[i] = c->ending[--c->ending_count];
    }
}

/* Their fate is unknown; they are under way still, and will be handed over once
 * more. */
static void connection_ends(struct sim_check *c, uint32_t conn, bool all)
{
    for (size_t i = c->undecided_count; i-- > 0;)
        if (all || c->undecided[i].conn == conn)
            remove_undecided(c, i);
}

/* ---- to devices ---------------------------------------------------------------------------------- */

static bool is_subscribed(const struct sim_party *p, const struct bridge_event *e)
{
    for (uint32_t i = 0; i < p->filter_count; i++)
        if (p->filter_qos[i] > 0 && e->message.qos > 0 &&
            sn_topic_matches(sn_bytes_text(p->filters[i]), e->message.topic))
            return true;
    return false;
}

static void message(struct sim_check *c, const struct bridge_event *e)
{
    struct offered o = {.token = e->message.token};
    c->token = e->message.token;
    /* A retained one is for those who have just subscribed. */
    if (o.token == 0 || e->message.retain ||
        !sim_flows_read(&c->flows, e->message.payload, &o.party, &o.number))
        return;
    const char *client = conn_of(c, e->message.conn)->client;
    const bool is_shared = client[0] == '\0';
    const uint32_t owner = sim_names_find(&c->flows.names, client);
    for (uint32_t i = 0; i < c->flows.names.count; i++) {
        if ((!is_shared && i != owner) || !is_subscribed(&c->flows.parties[i], e))
            continue;
        o.devices = sim_more_memory(o.devices, (o.count + 1) * sizeof(*o.devices));
        o.devices[o.count++] = i;
    }
    c->offered = sim_more_memory(c->offered, (c->offered_count + 1) * sizeof(*c->offered));
    c->offered[c->offered_count++] = o;
}

static void accepts(struct sim_check *c, const struct sim_record *r)
{
    const uint64_t token = r->action->accept.token;
    for (size_t i = c->storing_first; i < c->storing_count; i++)
        if (c->storing[i].token == token && c->config->broker_ack_stored)
            sim_claims_violate(&c->claims, r->at_us,
                               "custody: %s:%" PRIu64 " is accepted from the broker and is "
                               "not durable",
                               name_of(c, c->storing[i].party), c->storing[i].number);
    for (size_t i = 0; i < c->offered_count; i++) {
        struct offered *o = &c->offered[i];
        if (o->token != token)
            continue;
        if (o->refused && c->config->broker_ack_stored)
            sim_claims_violate(&c->claims, r->at_us,
                               "custody: %s:%" PRIu64 " is accepted from the broker, and the disk "
                               "has refused a copy",
                               name_of(c, o->party), o->number);
        for (size_t k = 0; k < o->count; k++) {
            struct sim_inbox *in = sim_party_inbox(&c->flows.parties[o->devices[k]], o->party);
            uint8_t *flags = sim_flags_at(&in->got, o->number);
            c->figures.owed += !(*flags & SIM_GOT_OWED);
            *flags |= SIM_GOT_OWED;
        }
        free(o->devices);
        c->offered[i] = c->offered[--c->offered_count];
        return;
    }
}

static void forget_offers(struct sim_check *c)
{
    for (size_t i = 0; i < c->offered_count; i++)
        free(c->offered[i].devices);
    c->offered_count = 0;
}

static void got(struct sim_check *c, const struct sim_record *r)
{
    uint32_t sender;
    uint64_t number;
    const struct sim_message *m = r->message;
    const uint32_t device = sim_names_find(&c->flows.names, r->device);
    if (device == SIM_NAMES_NONE || !sim_flows_read(&c->flows, m->payload, &sender, &number))
        return;
    check_topic(c, r, sender, number, r->device);
    struct sim_inbox *in = sim_party_inbox(&c->flows.parties[device], sender);
    uint8_t *flags = sim_flags_at(&in->got, number);
    /* Retained messages come again with each subscription. */
    if (*flags & SIM_GOT_ONCE && m->qos == 2 && !m->retain && !(*flags & SIM_GOT_COPIED))
        sim_claims_violate(&c->claims, r->at_us,
                           "once: %s:%" PRIu64 " of QoS 2 has come to %s again", name_of(c, sender),
                           number, r->device);
    if (*flags & SIM_GOT)
        c->figures.got_again++;
    else if (!m->retain && m->qos > 0 && !sim_order_holds(in->order, m->topic, m->qos, number))
        sim_claims_violate(&c->claims, r->at_us,
                           "order: %s:%" PRIu64 " comes to %s after a later one",
                           name_of(c, sender), number, r->device);
    c->figures.got += !(*flags & SIM_GOT);
    *flags |= SIM_GOT | (m->qos == 2 ? SIM_GOT_ONCE : 0);
}

/* Whoever has lost its memory, or its session, takes everything for new. */
static void begin_anew(struct sim_check *c, struct sim_party *p, bool session)
{
    for (uint32_t i = 0; i < p->inbox_count; i++) {
        struct sim_flags *f = &p->inboxes[i].got;
        for (uint64_t n = 0; n < f->end; n++) {
            f->flags[n] &= (uint8_t)~SIM_GOT_ONCE;
            if (session && (f->flags[n] & (SIM_GOT | SIM_GOT_OWED)) == SIM_GOT_OWED) {
                f->flags[n] &= (uint8_t)~SIM_GOT_OWED;
                c->figures.owed--;
            }
        }
    }
    for (uint32_t i = 0; session && i < p->filter_count; i++)
        free(p->filters[i]);
    if (session)
        p->filter_count = 0;
}

static void subscribes(struct sim_party *p, const struct sim_message *m)
{
    char *filter = sim_memory(m->topic.len + 1);
    memcpy(filter, m->topic.data, m->topic.len);
    for (uint32_t i = 0; i < p->filter_count; i++) {
        if (strcmp(p->filters[i], filter) == 0) {
            p->filter_qos[i] = m->qos;
            free(filter);
            return;
        }
    }
    if (p->filter_count == SIM_FLOW_FILTERS) {
        free(filter);
        return;
    }
    p->filters[p->filter_count] = filter;
    p->filter_qos[p->filter_count++] = m->qos;
}

static void device(struct sim_check *c, const struct sim_record *r)
{
    struct sim_party *p = sim_flows_party(&c->flows, r->device);
    const char *why = r->why;
    if (strcmp(why, "left") == 0 || strncmp(why, "connected", 9) == 0)
        p->gone = why[0] == 'l';
    const bool reboots = strcmp(why, "reboots") == 0 || strcmp(why, "off") == 0;
    if (strcmp(why, "connected-clean") == 0) {
        p->clean = true;
        begin_anew(c, p, true);
    } else if (reboots || strcmp(why, "lost") == 0 || strcmp(why, "left") == 0) {
        begin_anew(c, p, p->clean);
    } else if (strcmp(why, "subscribed") == 0) {
        subscribes(p, r->message);
    }
}

/* ---- what the bridge notes ----------------------------------------------------------------------------- */

/* The bridge has given a client up, who may not know yet. */
static void gives_up(struct sim_check *c, const struct bridge_action *a)
{
    const uint32_t party = party_of(c, a->note.client);
    if (party != SIM_NAMES_NONE && c->flows.parties[party].clean)
        begin_anew(c, &c->flows.parties[party], true);
}

static void notes(struct sim_check *c, const struct sim_record *r)
{
    const struct bridge_action *a = r->action;
    const char *name = bridge_note_name(a->note.note);
    if (a->note.note == BRIDGE_NOTE_CLIENT_LOST || a->note.note == BRIDGE_NOTE_CLIENT_NO_ANSWER ||
        a->note.note == BRIDGE_NOTE_CLIENT_DISCONNECTED)
        gives_up(c, a);
    if (a->note.note == BRIDGE_NOTE_ROWS_MISSING) /* the model disk loses nothing */
        sim_claims_violate(&c->claims, r->at_us,
                           "account: %" PRIu64 " messages are counted that the disk never had",
                           a->note.number);
    if (a->note.note == BRIDGE_NOTE_UP_DROPPED_NEW) /* acknowledged, as its class wants it */
        c->turned_away = party_of(c, a->note.client);
    /* Nothing of QoS 0 is claimed, so it excuses nothing. */
    if (strstr(name, "QOS0") != NULL)
        return;
    const bool ends = strstr(name, "DROPPED") != NULL || strstr(name, "EXPIRED") != NULL ||
                      strstr(name, "FULL") != NULL || strstr(name, "TOO_LARGE") != NULL ||
                      strstr(name, "REJECTED") != NULL || strstr(name, "NOT_STORED") != NULL;
    if (a->note.note == BRIDGE_NOTE_DOWN_REJECTED && c->rejections-- == 0) {
        c->rejections = 0;
        return; /* it was somebody else's doing */
    }
    c->up_excused += ends && strncmp(name, "UP_", 3) == 0;
    c->down_excused += ends && strncmp(name, "DOWN_", 5) == 0;
}

/* A member of a group takes messages away from the others. */
static void asks_broker(struct sim_check *c, const struct sim_record *r)
{
    static const char share[] = "$share/";
    const struct sn_bytes filter = r->action->subscribe.filter;
    if (filter.len >= sizeof(share) - 1 && memcmp(filter.data, share, sizeof(share) - 1) == 0)
        sim_claims_violate(&c->claims, r->at_us, "bounds: the bridge becomes a member of %.*s",
                           (int)filter.len, (const char *)filter.data);
}

/* ---- what is heard ----------------------------------------------------------------------------------------- */

static void event(struct sim_check *c, const struct sim_record *r)
{
    const struct bridge_event *e = r->event;
    c->token = 0;
    c->turned_away = SIM_NAMES_NONE;
    if (e->type == BRIDGE_ON_MESSAGE) {
        message(c, e);
    } else if (e->type == BRIDGE_ON_DELIVERED) {
        delivered(c, e);
    } else if (e->type == BRIDGE_ON_BROKER_DOWN) {
        connection_ends(c, e->down.conn, false);
    } else if (e->type == BRIDGE_ON_BROKER_UP) {
        conn_of(c, e->up.conn)->window = e->up.window;
    }
}

static void action(struct sim_check *c, const struct sim_record *r)
{
    const struct bridge_action *a = r->action;
    switch (a->type) {
    case BRIDGE_DO_SEND:
        frame_goes_down(c, r);
        return;
    case BRIDGE_DO_STORE:
        stores(c, &a->store.message);
        return;
    case BRIDGE_DO_FORGET:
        forgets(c, a->row.queue, a->row.seq);
        notes_end(c, a->row.seq, a->row.ticket);
        return;
    case BRIDGE_DO_MARK:
        if (a->row.flags & BRIDGE_FLAG_DELIVERED)
            notes_end(c, a->row.seq, a->row.ticket);
        return;
    case BRIDGE_DO_PUBLISH:
        hands_over(c, r);
        return;
    case BRIDGE_DO_ACCEPT:
        accepts(c, r);
        return;
    case BRIDGE_DO_NOTE:
        notes(c, r);
        return;
    case BRIDGE_DO_CONNECT:
        if (a->connect.conn != 0)
            snprintf(conn_of(c, a->connect.conn)->client, NAME_SIZE, "%.*s",
                     (int)a->connect.client_id.len, (const char *)a->connect.client_id.data);
        return;
    case BRIDGE_DO_DISCONNECT: /* no event will tell */
        connection_ends(c, a->disconnect.conn, false);
        return;
    case BRIDGE_DO_SUBSCRIBE:
        asks_broker(c, r);
        return;
    case BRIDGE_DO_SAVE:
    case BRIDGE_DO_ERASE:
    case BRIDGE_DO_FETCH:
    case BRIDGE_DO_UNSUBSCRIBE:
        return;
    }
}

/* The broker has forgotten what it had of open handshakes. */
static void broker_forgets(struct sim_check *c)
{
    for (uint32_t i = 0; i < c->flows.names.count; i++) {
        struct sim_flags *f = &c->flows.parties[i].sent;
        for (uint64_t n = 0; n < f->end; n++)
            if (f->flags[n] & SIM_SENT_UNDER_WAY)
                f->flags[n] |= SIM_SENT_AGAIN;
    }
}

void sim_check_hear(void *ctx, const struct sim_record *r)
{
    struct sim_check *c = ctx;
    sim_ids_hear(&c->ids, r, &c->claims);
    sim_lives_hear(&c->lives, r, &c->claims);
    sim_queues_hear(&c->queues, r, c->config, &c->claims);
    sim_expiry_hear(&c->expiry, r, &c->claims);
    switch (r->type) {
    case SIM_FRAME_SENT:
        if (r->direction == SIM_UP)
            frame_goes_up(c, r);
        return;
    case SIM_BRIDGE_EVENT:
        event(c, r);
        return;
    case SIM_BRIDGE_ACTION:
        action(c, r);
        return;
    case SIM_BRIDGE_KILLED:
        c->restarting = true;
        c->token = 0;
        connection_ends(c, 0, true);
        forget_offers(c);
        return;
    case SIM_BRIDGE_STARTED:
        c->restarting = false;
        c->storing_first = c->storing_count = 0;
        c->ending_count = 0;
        return;
    case SIM_STORED:
        take_storing(c, r->number, true);
        ends_durably(c, r->number);
        return;
    case SIM_STORE_FAILED:
        take_storing(c, r->number, false);
        return;
    case SIM_BROKER_HAS:
        broker_has(c, r);
        return;
    case SIM_BROKER_SENDS:
        broker_sends(c, r);
        return;
    case SIM_DEVICE:
        device(c, r);
        return;
    case SIM_DEVICE_PUBLISHES:
        publishes(c, r);
        return;
    case SIM_DEVICE_GIVES_UP:
        device_gives_up(c, r);
        return;
    case SIM_DEVICE_ACCEPTED:
        device_accepted(c, r);
        return;
    case SIM_DEVICE_GOT:
        got(c, r);
        return;
    case SIM_FAULT:
        if (r->why != NULL && strcmp(r->why, "broker-forgets") == 0)
            broker_forgets(c);
        return;
    case SIM_FRAME_COPIED:
        frame_is_copied(c, r);
        return;
    case SIM_FRAME_DAMAGED:
        c->damaged = true;
        return;
    case SIM_FRAME_ARRIVED:
        frame_arrives(c, r);
        return;
    case SIM_FRAME_STARTED:
    case SIM_FRAME_LOST:
    case SIM_LINK_UP:
    case SIM_LINK_DOWN:
    case SIM_LINK_COST:
    case SIM_BROKER_DOWN:
        broker_hangs_up(c, r);
        return;
    case SIM_BROKER_UP:
    case SIM_NOTE:
        return;
    }
}

/* ---- the bridge, and the end -------------------------------------------------------------------------------- */

static void check_account(struct sim_check *c, uint64_t at_us, const char *which,
                          const struct bridge_account *a)
{
    if (a->accepted != a->delivered + a->expired + a->dropped + a->queued)
        sim_claims_violate(&c->claims, at_us,
                           "account: %s: accepted %" PRIu64 ", delivered %" PRIu64
                           " + expired %" PRIu64 " + dropped %" PRIu64 " + queued %" PRIu64,
                           which, a->accepted, a->delivered, a->expired, a->dropped, a->queued);
}

void sim_check_bridge(struct sim_check *c, uint64_t at_us, const struct bridge *bridge)
{
    struct bridge_status s;
    const struct bridge_config *config = c->config;
    const uint64_t qos0 =
        config->max_live > config->qos0_backlog ? config->max_live : config->qos0_backlog;
    bridge_get_status(bridge, &s);
    check_account(c, at_us, "from devices", &s.up);
    check_account(c, at_us, "to devices", &s.down);
    if (s.up.queued > config->max_backlog + qos0)
        sim_claims_violate(&c->claims, at_us, "bounds: %" PRIu64 " messages wait for the broker",
                           s.up.queued);
    if (s.down.queued > (uint64_t)s.clients * config->max_queue)
        sim_claims_violate(&c->claims, at_us, "bounds: %" PRIu64 " messages wait for %u devices",
                           s.down.queued, s.clients);
    if (s.clients > config->max_clients)
        sim_claims_violate(&c->claims, at_us, "bounds: %u clients", s.clients);
    if (s.memory_used > s.memory_size)
        sim_claims_violate(&c->claims, at_us, "bounds: %" PRIu64 " octets of memory",
                           s.memory_used);
}

/* Each missing message is told, as far as more are missing than are excused. */
static void check_sent(struct sim_check *c, uint64_t at_us)
{
    uint64_t excused = c->up_excused;
    for (uint32_t i = 0; i < c->flows.names.count; i++) {
        struct sim_flags *f = &c->flows.parties[i].sent;
        for (uint64_t n = 0; n < f->end; n++) {
            if ((f->flags[n] & (SIM_SENT_ACCEPTED | SIM_SENT_ARRIVED | SIM_SENT_FREE)) !=
                SIM_SENT_ACCEPTED)
                continue;
            if (excused > 0)
                excused--;
            else
                sim_claims_violate(&c->claims, at_us,
                                   "arrival: %s:%" PRIu64 " was acknowledged and has not come to "
                                   "the broker",
                                   name_of(c, i), n);
        }
    }
    for (uint32_t i = 0; i < c->flows.names.count; i++) {
        const struct sim_party *p = &c->flows.parties[i];
        if (p->alike_accepted > p->alike_arrived + excused)
            sim_claims_violate(&c->claims, at_us,
                               "arrival: %" PRIu64 " of %s that are alike were acknowledged, and "
                               "%" PRIu64 " have come to the broker",
                               p->alike_accepted, name_of(c, i), p->alike_arrived);
    }
}

static void check_got(struct sim_check *c, uint64_t at_us)
{
    uint64_t excused = c->down_excused;
    for (uint32_t i = 0; i < c->flows.names.count; i++) {
        const struct sim_party *p = &c->flows.parties[i];
        for (uint32_t k = 0; k < p->inbox_count && !p->gone; k++) {
            const struct sim_flags *f = &p->inboxes[k].got;
            for (uint64_t n = 0; n < f->end; n++) {
                if ((f->flags[n] & (SIM_GOT | SIM_GOT_OWED)) != SIM_GOT_OWED)
                    continue;
                if (excused > 0)
                    excused--;
                else
                    sim_claims_violate(&c->claims, at_us,
                                       "arrival: %s:%" PRIu64
                                       " was accepted and has not come to %s",
                                       name_of(c, p->inboxes[k].sender), n, name_of(c, i));
            }
        }
    }
}

void sim_check_rest(struct sim_check *c, uint64_t at_us, const struct bridge *bridge,
                    const struct sim_image *disk, const char *late)
{
    if (late != NULL) {
        sim_claims_violate(&c->claims, at_us, "liveness: not at rest: %s", late);
        return;
    }
    check_sent(c, at_us);
    check_got(c, at_us);
    if (bridge == NULL)
        return;
    struct bridge_status s;
    bridge_get_status(bridge, &s);
    const uint64_t waiting = sim_image_waiting(disk);
    if (waiting > s.up.queued + s.down.queued)
        sim_claims_violate(&c->claims, at_us,
                           "account: the disk holds %" PRIu64 " messages, %" PRIu64 " are queued",
                           waiting, s.up.queued + s.down.queued);
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

struct sim_check *sim_check_open(const struct bridge_config *config)
{
    struct sim_check *c = sim_memory(sizeof(*c));
    c->config = config;
    c->turned_away = SIM_NAMES_NONE;
    c->lives.config = config;
    c->restarting = true;
    return c;
}

void sim_check_close(struct sim_check *c)
{
    forget_offers(c);
    sim_flows_close(&c->flows);
    sim_ids_close(&c->ids);
    sim_lives_close(&c->lives);
    sim_queues_close(&c->queues);
    sim_expiry_close(&c->expiry);
    free(c->offered);
    free(c->storing);
    free(c->undecided);
    free(c->ending);
    free(c->conns);
    free(c);
}

void sim_check_sender(struct sim_check *c, const char *name)
{
    sim_flows_party(&c->flows, name);
}

uint64_t sim_check_violations(const struct sim_check *c)
{
    return c->claims.violations;
}

const char *sim_check_text(const struct sim_check *c, size_t i)
{
    return i < c->claims.violations && i < SIM_CHECK_SHOWN ? c->claims.text[i] : NULL;
}

void sim_check_figures(const struct sim_check *c, struct sim_check_figures *out)
{
    *out = c->figures;
}
