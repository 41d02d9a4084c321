#include "sim/measure.h"

#include "sim/world.h"

#include <stdio.h>
#include <stdlib.h>

#define OPEN_MAX    4u    /* exchanges of a device and direction that are watched at a time */
#define PENDING_MAX 4096u /* changes of the store that are not durable yet */
#define QUEUES_MAX  (1u << 20)
#define NEST_MAX    4u /* forwarders around a message */

/* A PUBLISH that went out, and may go out again. */
struct open_publish {
    uint64_t key; /* message id, topic id and node */
    uint32_t copies;
};

/* One end of a link, in the direction in which it sends. */
struct way {
    struct open_publish open[OPEN_MAX];
    uint32_t next;            /* of open, to be replaced */
    uint64_t frame[OPEN_MAX]; /* numbers of the last ones that were on the air */
    uint32_t next_frame;
    uint64_t request; /* the last one that wants an answer, as a key */
    bool is_answered; /* something came back since */
};

struct station {
    struct way way[2];
};

/* A change of the store, until it is durable. */
struct pending {
    uint64_t ticket;
    uint32_t queue;
    int64_t rows;
};

struct sim_tally {
    struct sim_recent messages; /* published, by topic and payload */
    struct sim_recent got;      /* the same with the device that got it */
    struct sim_depth depth;     /* now */
    struct station *station;    /* by number of the device */
    uint32_t stations;
    int64_t *queue; /* rows by queue */
    uint32_t queues;
    struct pending pending[PENDING_MAX];
    uint32_t pendings;
};

const char *sim_air_name(enum sim_air kind)
{
    static const char *const names[SIM_AIR_COUNT] = {
        [SIM_AIR_PAYLOAD] = "payload",      [SIM_AIR_HEADER] = "header",
        [SIM_AIR_ACK] = "acknowledgement",  [SIM_AIR_SESSION] = "session",
        [SIM_AIR_KEEPALIVE] = "keep-alive", [SIM_AIR_REPEAT] = "retransmission",
        [SIM_AIR_FRAMING] = "framing",
    };
    return names[kind];
}

/* ---- slices of time -------------------------------------------------------- */

static uint64_t max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static struct sim_depth deeper(struct sim_depth a, struct sim_depth b)
{
    return (struct sim_depth){
        .devices = max(a.devices, b.devices),
        .to_broker = max(a.to_broker, b.to_broker),
        .to_devices = max(a.to_devices, b.to_devices),
        .delivered = a.delivered + b.delivered,
    };
}

/* Two slices become one. */
static void double_the_width(struct sim_measure *m)
{
    for (uint32_t i = 0; i < SIM_SLICES / 2; i++)
        m->depth[i] = deeper(m->depth[2 * i], m->depth[2 * i + 1]);
    memset(&m->depth[SIM_SLICES / 2], 0, SIM_SLICES / 2 * sizeof m->depth[0]);
    for (uint32_t l = 0; l < m->links.count; l++) {
        struct sim_link_slice *s = m->link[l]->slice;
        for (uint32_t i = 0; i < SIM_SLICES / 2; i++) {
            s[i] = (struct sim_link_slice){
                .down_us = s[2 * i].down_us + s[2 * i + 1].down_us,
                .busy_us = s[2 * i].busy_us + s[2 * i + 1].busy_us,
                .lost = s[2 * i].lost + s[2 * i + 1].lost,
            };
        }
        memset(&s[SIM_SLICES / 2], 0, SIM_SLICES / 2 * sizeof s[0]);
    }
    m->width_us *= 2;
    m->slices = (m->slices + 1) / 2;
}

static uint32_t slice_of(struct sim_measure *m, uint64_t at_us)
{
    while (at_us / m->width_us >= SIM_SLICES)
        double_the_width(m);
    return (uint32_t)(at_us / m->width_us);
}

/* What waits goes on waiting from slice to slice. */
static void advance(struct sim_measure *m, uint64_t at_us)
{
    const uint32_t current = slice_of(m, at_us);
    for (; m->slices <= current; m->slices++)
        m->depth[m->slices] = m->tally->depth;
    m->end_us = max(m->end_us, at_us);
}

static void note_depth(struct sim_measure *m, uint64_t at_us)
{
    struct sim_depth *d = &m->depth[slice_of(m, at_us)];
    *d = deeper(*d, m->tally->depth);
}

enum spread {
    SPREAD_DOWN,
    SPREAD_BUSY,
};

static void spread(struct sim_measure *m, struct sim_link_figures *link, uint64_t from_us,
                   uint64_t until_us, enum spread what)
{
    slice_of(m, until_us); /* the width is settled */
    while (from_us < until_us) {
        const uint32_t i = slice_of(m, from_us);
        const uint64_t slice_end = (i + 1) * m->width_us;
        const uint64_t to = until_us < slice_end ? until_us : slice_end;
        if (what == SPREAD_DOWN)
            link->slice[i].down_us += to - from_us;
        else
            link->slice[i].busy_us += to - from_us;
        from_us = to;
    }
}

/* ---- links ----------------------------------------------------------------- */

static struct sim_link_figures *link_of(struct sim_measure *m, const struct sim_record *r)
{
    const uint32_t known = m->links.count;
    const uint32_t number = sim_names_number(&m->links, r->link);
    if (number == known) {
        m->link = sim_more_memory(m->link, m->links.count * sizeof m->link[0]);
        m->link[number] = sim_memory(sizeof *m->link[number]);
    }
    return m->link[number];
}

static struct station *station_of(struct sim_measure *m, const char *device)
{
    struct sim_tally *t = m->tally;
    const uint32_t number = sim_names_number(&m->devices, device);
    if (number >= t->stations) {
        t->station = sim_more_memory(t->station, m->devices.count * sizeof t->station[0]);
        memset(&t->station[t->stations], 0,
               (m->devices.count - t->stations) * sizeof t->station[0]);
        t->stations = m->devices.count;
    }
    return &t->station[number];
}

static void set_word(char word[SIM_WORD_MAX], const char *text)
{
    snprintf(word, SIM_WORD_MAX, "%s", text == NULL ? "?" : text);
}

static void link_down(struct sim_link_figures *link, uint64_t at_us)
{
    if (!link->is_down) {
        link->is_down = true;
        link->since_us = at_us;
    }
}

static void link_up(struct sim_measure *m, struct sim_link_figures *link, uint64_t at_us)
{
    if (link->is_down) {
        spread(m, link, link->since_us, at_us, SPREAD_DOWN);
        link->down_us += at_us - link->since_us;
        link->is_down = false;
    }
}

static void frame_lost(struct sim_measure *m, const struct sim_record *r)
{
    char why[SIM_WORD_MAX];
    set_word(why, r->why);
    uint32_t i = 0;
    while (i < m->losses && strcmp(m->loss[i].why, why) != 0)
        i++;
    if (i == m->losses && i < SIM_LOSSES_MAX)
        set_word(m->loss[m->losses++].why, why);
    if (i < SIM_LOSSES_MAX)
        m->loss[i].frames[r->direction]++;
    link_of(m, r)->slice[slice_of(m, r->at_us)].lost++;
}

/* ---- the air ---------------------------------------------------------------- */

/* The message inside all forwarders' wrappings; false when it cannot be read. */
static bool unwrap(struct sn_bytes frame, struct sn_packet *p, struct sn_bytes *node)
{
    *node = sn_bytes(NULL, 0);
    for (unsigned i = 0; i <= NEST_MAX; i++) {
        const enum sn_fault fault = sn_decode(frame, p);
        if (fault != SN_OK && !sn_fault_is_answerable(fault))
            return false;
        if (p->type != SN_FORWARD)
            return true;
        *node = p->forward.node;
        frame = p->forward.inner;
    }
    return false;
}

static enum sim_air air_of(enum sn_type type)
{
    switch (type) {
    case SN_PUBLISH:
        return SIM_AIR_HEADER;
    case SN_PUBACK:
    case SN_PUBREC:
    case SN_PUBREL:
    case SN_PUBCOMP:
        return SIM_AIR_ACK;
    case SN_PINGREQ:
    case SN_PINGRESP:
        return SIM_AIR_KEEPALIVE;
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
    case SN_REGACK:
    case SN_SUBSCRIBE:
    case SN_SUBACK:
    case SN_UNSUBSCRIBE:
    case SN_UNSUBACK:
    case SN_DISCONNECT:
    case SN_WILLTOPICUPD:
    case SN_WILLTOPICRESP:
    case SN_WILLMSGUPD:
    case SN_WILLMSGRESP:
    case SN_FORWARD:
        return SIM_AIR_SESSION;
    }
    return SIM_AIR_SESSION;
}

/* Requests that are sent again, octet for octet, until they are answered. PUBLISH and
 * SUBSCRIBE say DUP themselves; PINGREQ is the same each time it is wanted. */
static bool is_request(enum sn_type type)
{
    return type == SN_CONNECT || type == SN_REGISTER || type == SN_UNSUBSCRIBE ||
           type == SN_PUBREL || type == SN_WILLTOPIC || type == SN_WILLMSG ||
           type == SN_WILLTOPICUPD || type == SN_WILLMSGUPD || type == SN_WILLTOPICREQ ||
           type == SN_WILLMSGREQ;
}

static void close_publish(struct sim_measure *m, enum sim_direction direction,
                          struct open_publish *open)
{
    if (open->copies > 0) {
        m->copies[direction][open->copies < SIM_COPIES_MAX ? open->copies : SIM_COPIES_MAX]++;
        open->copies = 0;
    }
}

/* A PUBLISH without DUP begins a message; one with DUP belongs to the one that is known. */
static void count_copy(struct sim_measure *m, struct way *way, enum sim_direction direction,
                       const struct sn_packet *p, struct sn_bytes node)
{
    const uint8_t ids[4] = {(uint8_t)(p->publish.mid >> 8), (uint8_t)p->publish.mid,
                            (uint8_t)(p->publish.tid >> 8), (uint8_t)p->publish.tid};
    const uint64_t key = sim_recent_key(sim_recent_key(0, node), sn_bytes(ids, sizeof ids));
    struct open_publish *open = NULL;

    for (uint32_t i = 0; i < OPEN_MAX; i++)
        if (way->open[i].copies > 0 && way->open[i].key == key)
            open = &way->open[i];
    if (open == NULL) {
        open = &way->open[way->next];
        way->next = (way->next + 1) % OPEN_MAX;
        close_publish(m, direction, open);
    } else if (!p->publish.dup) {
        close_publish(m, direction, open);
    }
    open->key = key;
    open->copies++;
}

/* The link itself sends a frame again: blind copies, repeats of its own. */
static bool was_on_the_air(struct way *way, uint64_t frame)
{
    for (uint32_t i = 0; i < OPEN_MAX; i++)
        if (frame != 0 && way->frame[i] == frame)
            return true;
    way->frame[way->next_frame] = frame;
    way->next_frame = (way->next_frame + 1) % OPEN_MAX;
    return false;
}

/* Whether this whole message went out before. */
static bool is_repeat(struct way *way, const struct sn_packet *p, struct sn_bytes frame)
{
    if (p->type == SN_PUBLISH)
        return p->publish.dup;
    if (p->type == SN_SUBSCRIBE)
        return p->subscribe.dup;
    if (!is_request(p->type))
        return false;
    const uint64_t key = sim_recent_key(0, frame);
    const bool repeated = way->request == key && !way->is_answered;
    way->request = key;
    way->is_answered = false;
    return repeated;
}

static void count_air(struct sim_measure *m, const struct sim_record *r)
{
    uint64_t *air = link_of(m, r)->air_bits[r->direction];
    const uint64_t bits = 8 * r->bytes.len;
    struct sn_packet p;
    struct sn_bytes node;

    air[SIM_AIR_FRAMING] += r->air_bits > bits ? r->air_bits - bits : 0;
    if (!unwrap(r->bytes, &p, &node)) {
        air[SIM_AIR_SESSION] += bits;
        return;
    }
    struct way *way = r->device == NULL ? NULL : &station_of(m, r->device)->way[r->direction];
    if (way != NULL && was_on_the_air(way, r->frame)) {
        air[SIM_AIR_REPEAT] += bits;
        return;
    }
    if (way != NULL && p.type == SN_PUBLISH && p.publish.qos > 0)
        count_copy(m, way, r->direction, &p, node);
    if (way != NULL && is_repeat(way, &p, r->bytes)) {
        air[SIM_AIR_REPEAT] += bits;
        return;
    }
    const uint64_t payload = p.type == SN_PUBLISH ? 8 * p.publish.data.len : 0;
    air[SIM_AIR_PAYLOAD] += payload;
    air[air_of(p.type)] += bits - payload;
}

static void frame_started(struct sim_measure *m, const struct sim_record *r)
{
    struct sim_link_figures *link = link_of(m, r);
    link->frames[r->direction]++;
    if (r->until_us > r->at_us) {
        link->busy_us[r->direction] += r->until_us - r->at_us;
        spread(m, link, r->at_us, r->until_us, SPREAD_BUSY);
    }
    count_air(m, r);
}

static void frame_arrived(struct sim_measure *m, const struct sim_record *r)
{
    link_of(m, r)->arrived[r->direction]++;
    if (r->device != NULL) {
        const enum sim_direction back = r->direction == SIM_UP ? SIM_DOWN : SIM_UP;
        station_of(m, r->device)->way[back].is_answered = true;
    }
}

/* ---- the ladder --------------------------------------------------------------- */

static void climb(struct sim_measure *m, const struct sim_record *r)
{
    if (m->rungs == SIM_LADDER_MAX || r->device == NULL ||
        sim_names_number(&m->devices, r->device) != 0)
        return;
    struct sim_rung *rung = &m->ladder[m->rungs++];
    *rung = (struct sim_rung){.frame = r->frame, .sent_us = r->at_us, .direction = r->direction};
    struct sn_packet p;
    const enum sn_fault fault = sn_decode(r->bytes, &p);
    if (fault == SN_OK || sn_fault_is_answerable(fault)) {
        sn_print(&p, rung->text, sizeof rung->text);
    } else {
        snprintf(rung->text, sizeof rung->text, "%zu octets (%s)", r->bytes.len,
                 sn_fault_name(fault));
    }
}

static void end_rung(struct sim_measure *m, const struct sim_record *r)
{
    for (uint32_t i = m->rungs; i > 0; i--) {
        struct sim_rung *rung = &m->ladder[i - 1];
        if (rung->frame == r->frame && rung->end_us == 0) {
            rung->end_us = r->at_us;
            if (r->type == SIM_FRAME_LOST)
                set_word(rung->lost, r->why);
            return;
        }
    }
}

/* ---- messages ------------------------------------------------------------------ */

static uint64_t key_of(const struct sim_message *message)
{
    return sim_recent_key(sim_recent_key(0, message->topic), message->payload);
}

static struct sim_flow *flow_of(struct sim_measure *m, enum sim_direction direction,
                                const struct sim_message *message)
{
    return &m->flow[direction][message->qos <= 2 ? message->qos : 0];
}

static void published(struct sim_measure *m, enum sim_direction direction,
                      const struct sim_record *r)
{
    struct sim_tally *t = m->tally;
    const uint64_t key = key_of(r->message);
    flow_of(m, direction, r->message)->published++;
    if (sim_recent_find(&t->messages, key) == NULL)
        sim_recent_put(&t->messages, key, r->at_us);
    t->depth.devices += direction == SIM_UP && r->message->qos > 0 ? 1 : 0;
}

static void no_longer_with_the_device(struct sim_measure *m, const struct sim_record *r)
{
    struct sim_tally *t = m->tally;
    t->depth.devices -= r->message->qos > 0 && t->depth.devices > 0 ? 1 : 0;
}

static void accepted(struct sim_measure *m, const struct sim_record *r)
{
    struct sim_flow *flow = flow_of(m, SIM_UP, r->message);
    const struct sim_recent_thing *thing = sim_recent_find(&m->tally->messages, key_of(r->message));
    flow->accepted++;
    if (thing != NULL)
        sim_histogram_add(&flow->accept_delay, r->at_us - thing->at_us);
    no_longer_with_the_device(m, r);
}

static void delivered(struct sim_measure *m, struct sim_flow *flow, const struct sim_record *r,
                      const struct sim_recent_thing *sent)
{
    flow->delivered++;
    m->depth[slice_of(m, r->at_us)].delivered++;
    sim_histogram_add(&flow->delay, r->at_us - sent->at_us);
}

static void broker_has(struct sim_measure *m, const struct sim_record *r)
{
    struct sim_recent_thing *sent = sim_recent_find(&m->tally->messages, key_of(r->message));
    struct sim_flow *flow = flow_of(m, SIM_UP, r->message);
    if (sent == NULL)
        flow->unmatched++;
    else if (sent->uses++ == 0)
        delivered(m, flow, r, sent);
    else
        flow->again++;
}

/* A message may have many recipients: each has a first copy of its own. */
static void device_got(struct sim_measure *m, const struct sim_record *r)
{
    struct sim_tally *t = m->tally;
    const uint64_t key = key_of(r->message);
    const struct sim_recent_thing *sent = sim_recent_find(&t->messages, key);
    struct sim_flow *flow = flow_of(m, SIM_DOWN, r->message);
    const uint64_t with_device = sim_recent_key(key, sn_bytes_text(r->device));
    if (sent == NULL) {
        flow->unmatched++;
    } else if (sim_recent_find(&t->got, with_device) != NULL) {
        flow->again++;
    } else {
        sim_recent_put(&t->got, with_device, r->at_us);
        delivered(m, flow, r, sent);
    }
}

/* ---- the store -------------------------------------------------------------------- */

static void change_queue(struct sim_measure *m, uint32_t queue, int64_t rows)
{
    struct sim_tally *t = m->tally;
    if (queue >= QUEUES_MAX)
        return;
    if (queue >= t->queues) {
        t->queue = sim_more_memory(t->queue, (queue + 1) * sizeof t->queue[0]);
        memset(&t->queue[t->queues], 0, (queue + 1 - t->queues) * sizeof t->queue[0]);
        t->queues = queue + 1;
    }
    t->queue[queue] += rows;
    uint64_t *depth = queue == BRIDGE_QUEUE_BROKER ? &t->depth.to_broker : &t->depth.to_devices;
    const int64_t deep = (int64_t)*depth + rows;
    *depth = deep > 0 ? (uint64_t)deep : 0;
}

static void store(struct sim_measure *m, uint64_t ticket, uint32_t queue, int64_t rows)
{
    struct sim_tally *t = m->tally;
    change_queue(m, queue, rows);
    if (t->pendings < PENDING_MAX)
        t->pending[t->pendings++] = (struct pending){ticket, queue, rows};
}

/* What is durable up to here stays, or, when it failed, was never there. */
static void settle(struct sim_measure *m, uint64_t ticket, bool undo)
{
    struct sim_tally *t = m->tally;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < t->pendings; i++) {
        const struct pending p = t->pending[i];
        if (p.ticket > ticket)
            t->pending[kept++] = p;
        else if (undo)
            change_queue(m, p.queue, -p.rows);
    }
    t->pendings = kept;
}

static void bridge_acts(struct sim_measure *m, const struct bridge_action *a)
{
    const struct sim_tally *t = m->tally;
    if (a->type == BRIDGE_DO_STORE) {
        store(m, a->store.message.seq, a->store.message.queue, 1);
    } else if (a->type == BRIDGE_DO_FORGET) {
        store(m, a->row.ticket, a->row.queue, -1);
    } else if (a->type == BRIDGE_DO_ERASE && a->record.record.kind == 0 &&
               a->record.record.session < t->queues) {
        const uint32_t queue = a->record.record.session;
        store(m, a->record.ticket, queue, -t->queue[queue]);
    }
}

/* ---- happenings --------------------------------------------------------------------- */

static void happened(struct sim_measure *m, uint64_t at_us, const char *what, const char *text)
{
    if (m->happenings < SIM_EVENTS_MAX) {
        struct sim_happening *h = &m->happening[m->happenings];
        h->at_us = at_us;
        snprintf(h->text, sizeof h->text, "%s%s", what, text == NULL ? "" : text);
    }
    m->happenings++;
}

/* ---- life ---------------------------------------------------------------------------- */

struct sim_measure *sim_measure_open(void)
{
    struct sim_measure *m = sim_memory(sizeof *m);
    m->tally = sim_memory(sizeof *m->tally);
    m->width_us = SIM_WIDTH_MIN_US;
    sim_recent_open(&m->tally->messages);
    sim_recent_open(&m->tally->got);
    return m;
}

void sim_measure_close(struct sim_measure *m)
{
    struct sim_tally *t = m->tally;
    for (uint32_t i = 0; i < m->links.count; i++)
        free(m->link[i]);
    free(m->link);
    sim_names_close(&m->links);
    sim_names_close(&m->devices);
    sim_recent_close(&t->messages);
    sim_recent_close(&t->got);
    free(t->station);
    free(t->queue);
    free(t);
    free(m);
}

void sim_measure_hear(void *ctx, const struct sim_record *r)
{
    struct sim_measure *m = ctx;

    m->records++;
    advance(m, r->at_us);
    switch (r->type) {
    case SIM_FRAME_SENT:
        climb(m, r);
        break;
    case SIM_FRAME_STARTED:
        frame_started(m, r);
        break;
    case SIM_FRAME_ARRIVED:
        frame_arrived(m, r);
        end_rung(m, r);
        break;
    case SIM_FRAME_LOST:
        frame_lost(m, r);
        end_rung(m, r);
        break;
    case SIM_LINK_UP:
        link_up(m, link_of(m, r), r->at_us);
        break;
    case SIM_LINK_DOWN:
        link_down(link_of(m, r), r->at_us);
        break;
    case SIM_LINK_COST:
        link_of(m, r)->cost += r->number;
        set_word(link_of(m, r)->unit, r->why);
        break;
    case SIM_BRIDGE_ACTION:
        bridge_acts(m, r->action);
        break;
    case SIM_BRIDGE_STARTED:
        happened(m, r->at_us, "the bridge starts", NULL);
        break;
    case SIM_BRIDGE_KILLED:
        settle(m, UINT64_MAX, true);
        happened(m, r->at_us, "the bridge is killed", NULL);
        break;
    case SIM_STORED:
        settle(m, r->number, false);
        break;
    case SIM_STORE_FAILED:
        settle(m, r->number, true);
        happened(m, r->at_us, "the store fails", NULL);
        break;
    case SIM_BROKER_UP:
        happened(m, r->at_us, "the broker is up", NULL);
        break;
    case SIM_BROKER_DOWN:
        happened(m, r->at_us, "the broker is down", NULL);
        break;
    case SIM_BROKER_HAS:
        broker_has(m, r);
        break;
    case SIM_BROKER_SENDS:
        published(m, SIM_DOWN, r);
        break;
    case SIM_DEVICE_PUBLISHES:
        published(m, SIM_UP, r);
        break;
    case SIM_DEVICE_GIVES_UP:
        flow_of(m, SIM_UP, r->message)->given_up++;
        no_longer_with_the_device(m, r);
        break;
    case SIM_DEVICE_ACCEPTED:
        accepted(m, r);
        break;
    case SIM_DEVICE_GOT:
        device_got(m, r);
        break;
    case SIM_FAULT:
        happened(m, r->at_us, "", r->text);
        break;
    case SIM_FRAME_DAMAGED:
    case SIM_FRAME_COPIED:
    case SIM_BRIDGE_EVENT:
    case SIM_DEVICE:
    case SIM_NOTE:
        break;
    }
    note_depth(m, r->at_us);
}

void sim_measure_end(struct sim_measure *m, uint64_t at_us)
{
    advance(m, at_us);
    for (uint32_t i = 0; i < m->links.count; i++)
        link_up(m, m->link[i], at_us);
    for (uint32_t i = 0; i < m->tally->stations; i++) {
        for (size_t direction = 0; direction < 2; direction++) {
            for (uint32_t o = 0; o < OPEN_MAX; o++) {
                close_publish(m, (enum sim_direction)direction,
                              &m->tally->station[i].way[direction].open[o]);
            }
        }
    }
}

/* ---- sums ---------------------------------------------------------------------------- */

static void add_up(struct sim_histogram *sum, const struct sim_histogram *h)
{
    for (uint32_t i = 0; i < SIM_HISTOGRAM_BUCKETS; i++)
        sum->bucket[i] += h->bucket[i];
    sum->count += h->count;
    sum->sum_us += h->sum_us;
    sum->max_us = max(sum->max_us, h->max_us);
}

struct sim_flow *sim_measure_flow(const struct sim_measure *m, enum sim_direction direction)
{
    struct sim_flow *sum = sim_memory(sizeof *sum);
    for (size_t qos = 0; qos < 3; qos++) {
        const struct sim_flow *f = &m->flow[direction][qos];
        sum->published += f->published;
        sum->accepted += f->accepted;
        sum->given_up += f->given_up;
        sum->delivered += f->delivered;
        sum->again += f->again;
        sum->unmatched += f->unmatched;
        add_up(&sum->delay, &f->delay);
        add_up(&sum->accept_delay, &f->accept_delay);
    }
    return sum;
}

uint64_t sim_measure_copies(const struct sim_measure *m, enum sim_direction direction)
{
    uint64_t messages = 0;
    uint64_t copies = 0;
    for (uint32_t i = 1; i <= SIM_COPIES_MAX; i++) {
        messages += m->copies[direction][i];
        copies += i * m->copies[direction][i];
    }
    return messages == 0 ? 0 : (100 * copies + messages / 2) / messages;
}

uint64_t sim_measure_air_bits(const struct sim_measure *m, enum sim_air kind)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < m->links.count; i++)
        bits += m->link[i]->air_bits[SIM_UP][kind] + m->link[i]->air_bits[SIM_DOWN][kind];
    return bits;
}
