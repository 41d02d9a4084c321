#include "sim/broker.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "mqttsn/topic.h"

#define EXPIRY_US      (UINT64_C(3600) * SIM_S) /* of what need not outlive more than an outage */
#define NOT_AUTHORIZED 0x87                     /* MQTT 5, 2.4 */
#define ENDED_MAX      2048 /* handshakes that are remembered; more than a window */

/* A message, shared by all that wait for it. */
struct parcel {
    uint32_t refs;
    uint8_t qos;
    bool retain;
    struct sn_bytes topic;
    struct sn_bytes payload;
    uint8_t octets[];
};

struct subscription {
    char *filter;
    uint32_t id;
    uint8_t qos;
};

/* Subscription identifiers: which subscriptions a copy of a message answers. */
struct ids {
    uint8_t count;
    uint32_t at[BRIDGE_IDS_MAX];
};

/* On its way to the bridge. */
struct outgoing {
    struct outgoing *next;
    struct parcel *parcel;
    uint64_t token; /* 0: it has not been sent, or the library has forgotten that */
    struct ids ids;
    uint8_t qos;
    bool retain;
    bool sent;     /* to this connection */
    bool accepted; /* by the bridge; the acknowledgement is on its way */
};

enum state {
    IS_DOWN,
    IS_CONNECTING,
    IS_UP,
};

struct connection {
    struct connection *next;
    uint32_t number;
    enum state state;
    uint32_t attempt;    /* of the CONNECT */
    struct parcel *will; /* NULL: none */
    uint64_t epoch;      /* of the connection; what is under way belongs to one */
    uint64_t up_us;      /* when the last thing to the broker arrives */
    uint64_t down_us;    /* and the last one from it */
    bool session;        /* the broker keeps one */
    bool transient;      /* for EXPIRY_US after a loss */
    uint64_t lost_us;    /* when the last connection ended */
    struct subscription *subscriptions;
    size_t subscription_count;
    struct outgoing *first;
    struct outgoing *last;
    size_t waiting;
    uint64_t *open; /* QoS 2 messages from the bridge whose handshake has not ended */
    size_t open_count;
    size_t open_size;
    uint64_t ended[ENDED_MAX]; /* and those whose has, the last of them */
    uint64_t ended_count;
    uint64_t ghost; /* epoch of the last connection, of which some may still arrive */
};

/* Something that is under way. */
struct way {
    struct way *next; /* of all that are under way */
    struct way *before;
    struct sim_broker *broker;
    struct connection *connection;
    uint64_t epoch;
    enum {
        WAY_CONNECT,
        WAY_PUBLISH,
        WAY_DELIVERED,
        WAY_SUBSCRIBE,
        WAY_UNSUBSCRIBE,
        WAY_ANSWER,
        WAY_MESSAGE,
        WAY_ACCEPTED,
    } what;
    struct parcel *parcel;
    char *filter;
    uint64_t seq; /* or token */
    uint32_t request;
    uint32_t id;
    struct ids ids;
    uint8_t qos;
    uint8_t code;
    bool wants_retained;
    bool unsubscribed;
};

struct sim_broker {
    struct sim_world *world;
    struct sim_trace *trace;
    struct sim_random random;
    struct sim_broker_options options;
    sim_broker_event_fn *fn;
    void *ctx;
    struct connection *connections;
    struct parcel **retained;
    size_t retained_count;
    uint64_t slow_us;
    uint64_t last_token;
    uint64_t handed;    /* token of the message that the bridge has to say something to; 0: none */
    uint32_t handed_by; /* number of its connection */
    struct way *under_way;
    uint64_t last_seq;  /* of what the bridge has published */
    uint64_t crash_seq; /* up to here another process has published it */
    const char *rejected;
    bool up;
    bool refuses;
};

/* ---- parcels ----------------------------------------------------------------------- */

static struct parcel *parcel_make(struct sn_bytes topic, struct sn_bytes payload, uint8_t qos,
                                  bool retain)
{
    struct parcel *p = sim_memory(sizeof(*p) + topic.len + payload.len);
    *p = (struct parcel){.refs = 1, .qos = qos, .retain = retain};
    memcpy(p->octets, topic.data, topic.len);
    if (payload.len > 0)
        memcpy(p->octets + topic.len, payload.data, payload.len);
    p->topic = sn_bytes(p->octets, topic.len);
    p->payload = sn_bytes(p->octets + topic.len, payload.len);
    return p;
}

static struct parcel *parcel_share(struct parcel *p)
{
    p->refs++;
    return p;
}

static void parcel_drop(struct parcel *p)
{
    if (p != NULL && --p->refs == 0)
        free(p);
}

static char *copy_of(struct sn_bytes text)
{
    char *copy = sim_memory(text.len + 1);
    memcpy(copy, text.data, text.len);
    return copy;
}

/* ---- ways ----------------------------------------------------------------------------- */

static void arrive(void *ctx, uint64_t arg);

static uint64_t way_us(struct sim_broker *b)
{
    return b->slow_us +
           sim_random_between(&b->random, b->options.delay_min_us, b->options.delay_max_us);
}

static void send(struct sim_broker *b, struct connection *c, uint64_t at_us, struct way way)
{
    struct way *w = sim_memory(sizeof(*w));
    *w = way;
    w->broker = b;
    w->connection = c;
    w->epoch = c->epoch;
    w->next = b->under_way;
    if (w->next != NULL)
        w->next->before = w;
    b->under_way = w;
    sim_at(b->world, at_us, arrive, w, 0);
}

/* To the broker, or from it, behind everything else that goes this way. */
static void send_up(struct sim_broker *b, struct connection *c, struct way way)
{
    const uint64_t at_us = sim_now(b->world) + way_us(b);
    c->up_us = at_us > c->up_us ? at_us : c->up_us;
    send(b, c, c->up_us, way);
}

static void send_down(struct sim_broker *b, struct connection *c, struct way way)
{
    const uint64_t at_us = sim_now(b->world) + way_us(b);
    if (b->options.reorders && way.what == WAY_DELIVERED) {
        send(b, c, at_us + sim_random_below(&b->random, 4 * b->options.delay_max_us + 1), way);
        return;
    }
    c->down_us = at_us > c->down_us ? at_us : c->down_us;
    send(b, c, c->down_us, way);
}

/* ---- sessions --------------------------------------------------------------------------- */

static struct connection *connection_of(struct sim_broker *b, uint32_t number)
{
    struct connection *c = b->connections;
    while (c != NULL && c->number != number)
        c = c->next;
    if (c == NULL) {
        c = sim_memory(sizeof(*c));
        c->number = number;
        c->next = b->connections;
        b->connections = c;
    }
    return c;
}

static void take_first(struct connection *c)
{
    struct outgoing *o = c->first;
    c->first = o->next;
    if (c->first == NULL)
        c->last = NULL;
    c->waiting--;
    parcel_drop(o->parcel);
    free(o);
}

/* At QoS 2 the library knows what was accepted in an earlier connection, or by an
 * earlier process, when it comes again: it ends the handshake and tells nobody. */
static bool is_taken(const struct sim_broker *b, const struct outgoing *o)
{
    return o->qos == 2 && !o->sent && o->token != 0 &&
           (o->accepted ||
            (b->options.has_flight != NULL && b->options.has_flight(b->ctx, o->token)));
}

/* The next message goes out. The library hands out one at a time, over all
 * connections, and waits until it is accepted or its connection cut by the bridge;
 * that it is lost meanwhile changes nothing. */
static void pump(struct sim_broker *b)
{
    if (b->handed != 0)
        return;
    for (struct connection *c = b->connections; c != NULL; c = c->next)
        while (c->state == IS_UP && c->first != NULL && is_taken(b, c->first))
            take_first(c);
    for (struct connection *c = b->connections; c != NULL; c = c->next)
        if (c->first != NULL && c->first->sent && c->state == IS_UP)
            return;
    for (struct connection *c = b->connections; c != NULL; c = c->next) {
        struct outgoing *o = c->first;
        if (o == NULL || c->state != IS_UP)
            continue;
        o->sent = true;
        o->accepted = false;
        o->token = o->qos == 0 ? 0 : ++b->last_token;
        send_down(b, c,
                  (struct way){.what = WAY_MESSAGE,
                               .parcel = parcel_share(o->parcel),
                               .seq = o->token,
                               .ids = o->ids,
                               .qos = o->qos,
                               .wants_retained = o->retain});
        return;
    }
}

static void queue_message(struct sim_broker *b, struct connection *c, struct parcel *p, uint8_t qos,
                          struct ids ids, bool retain)
{
    if ((qos == 0 && c->state != IS_UP) || c->waiting >= SIM_BROKER_QUEUE_MAX)
        return;
    struct outgoing *o = sim_memory(sizeof(*o));
    o->parcel = parcel_share(p);
    o->qos = qos;
    o->ids = ids;
    o->retain = retain;
    if (c->last == NULL)
        c->first = o;
    else
        c->last->next = o;
    c->last = o;
    c->waiting++;
    pump(b);
}

static uint8_t lower(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

static bool matches(const char *filter, const struct parcel *p)
{
    return sn_topic_matches(sn_bytes_text(filter), p->topic);
}

static void add_id(struct ids *ids, uint32_t id)
{
    if (id != 0 && ids->count < BRIDGE_IDS_MAX)
        ids->at[ids->count++] = id;
}

/* A copy for each subscription, or one for all: brokers do either. As mosquitto does
 * it, each has its own that has an identifier, and all others have one together. */
static void give_to(struct sim_broker *b, struct connection *c, struct parcel *p)
{
    const enum sim_broker_overlaps overlaps = b->options.overlaps;
    struct ids together = {0};
    int best = -1;
    for (size_t i = 0; i < c->subscription_count; i++) {
        const struct subscription *s = &c->subscriptions[i];
        struct ids own = {0};
        if (!matches(s->filter, p))
            continue;
        const uint8_t qos = lower(s->qos, p->qos);
        add_id(&own, s->id);
        if (overlaps == SIM_OVERLAPS_EACH || (overlaps == SIM_OVERLAPS_NAMED && s->id != 0)) {
            queue_message(b, c, p, qos, own, false);
            continue;
        }
        add_id(&together, s->id);
        best = qos > best ? qos : best;
    }
    if (best >= 0)
        queue_message(b, c, p, (uint8_t)best, together, false);
}

static void say(struct sim_broker *b, enum sim_record_type type, const struct connection *c,
                const char *why, const struct sim_message *m)
{
    sim_trace_say(b->trace, &(struct sim_record){.type = type,
                                                 .at_us = sim_now(b->world),
                                                 .why = why,
                                                 .number = c == NULL ? 0 : c->number,
                                                 .message = m});
}

static bool wants(const struct connection *c, const struct parcel *p)
{
    for (size_t i = 0; i < c->subscription_count; i++)
        if (matches(c->subscriptions[i].filter, p))
            return c->session;
    return false;
}

static void retain(struct sim_broker *b, struct parcel *p)
{
    size_t i = 0;
    while (i < b->retained_count && !sn_bytes_equal(b->retained[i]->topic, p->topic))
        i++;
    if (i < b->retained_count) {
        parcel_drop(b->retained[i]);
        b->retained[i] = b->retained[--b->retained_count];
    }
    if (p->payload.len == 0)
        return;
    b->retained = sim_more_memory(b->retained, (b->retained_count + 1) * sizeof(struct parcel *));
    b->retained[b->retained_count++] = parcel_share(p);
}

/* The broker has a new message. from NULL: it is not the bridge's. */
static void take(struct sim_broker *b, const struct connection *from, struct parcel *p,
                 uint64_t seq)
{
    const struct sim_message m = {
        .topic = p->topic, .payload = p->payload, .qos = p->qos, .retain = p->retain, .seq = seq};
    if (from != NULL)
        say(b, SIM_BROKER_HAS, from, NULL, &m);
    if (p->retain)
        retain(b, p);
    bool said = false;
    for (struct connection *c = b->connections; c != NULL; c = c->next) {
        if (!wants(c, p))
            continue;
        if (!said)
            say(b, SIM_BROKER_SENDS, c, NULL, &m);
        said = true;
        give_to(b, c, p);
    }
}

static void subscribe(struct sim_broker *b, struct connection *c, const struct way *w)
{
    size_t i = 0;
    while (i < c->subscription_count && strcmp(c->subscriptions[i].filter, w->filter) != 0)
        i++;
    if (i == c->subscription_count) {
        c->subscriptions = sim_more_memory(c->subscriptions, (i + 1) * sizeof(*c->subscriptions));
        c->subscriptions[i].filter = copy_of(sn_bytes_text(w->filter));
        c->subscription_count++;
    }
    c->subscriptions[i].id = w->id;
    c->subscriptions[i].qos = lower(w->qos, b->options.max_qos);
    struct ids ids = {0};
    add_id(&ids, w->id);
    for (size_t k = 0; w->wants_retained && k < b->retained_count; k++)
        if (matches(w->filter, b->retained[k]))
            queue_message(b, c, b->retained[k], lower(c->subscriptions[i].qos, b->retained[k]->qos),
                          ids, true);
}

static void unsubscribe(struct connection *c, const char *filter)
{
    for (size_t i = 0; i < c->subscription_count; i++) {
        if (strcmp(c->subscriptions[i].filter, filter) != 0)
            continue;
        free(c->subscriptions[i].filter);
        c->subscriptions[i] = c->subscriptions[--c->subscription_count];
        return;
    }
}

static void forget_session(struct connection *c)
{
    while (c->first != NULL)
        take_first(c);
    for (size_t i = 0; i < c->subscription_count; i++)
        free(c->subscriptions[i].filter);
    c->subscription_count = 0;
    c->open_count = 0;
    memset(c->ended, 0, sizeof(c->ended));
    c->session = false;
}

static bool has_expired(const struct sim_broker *b, const struct connection *c)
{
    return c->transient && c->state == IS_DOWN && sim_now(b->world) - c->lost_us > EXPIRY_US;
}

/* ---- handshakes of QoS 2 ------------------------------------------------------------------- */

/* Whether the broker has the message already. Its handshake is under way; or it
 * has ended, and the bridge's process with it before the disk knew. */
static bool is_known(const struct sim_broker *b, const struct connection *c, uint64_t seq)
{
    for (size_t i = 0; i < c->open_count; i++)
        if (c->open[i] == seq)
            return true;
    for (size_t i = 0; seq <= b->crash_seq && i < ENDED_MAX; i++)
        if (c->ended[i] == seq)
            return true;
    return false;
}

static void open_add(struct connection *c, uint64_t seq)
{
    if (c->open_count == c->open_size) {
        c->open_size = c->open_size == 0 ? 16 : 2 * c->open_size;
        c->open = sim_more_memory(c->open, c->open_size * sizeof(*c->open));
    }
    c->open[c->open_count++] = seq;
}

static void open_end(struct connection *c, uint64_t seq)
{
    for (size_t i = 0; i < c->open_count; i++) {
        if (c->open[i] != seq)
            continue;
        c->open[i] = c->open[--c->open_count];
        c->ended[c->ended_count++ % ENDED_MAX] = seq;
        return;
    }
}

/* ---- what arrives ------------------------------------------------------------------------------ */

/* What is under way is lost, or half of the time still arrives and is not
 * answered. */
static void end_connection(struct sim_broker *b, struct connection *c)
{
    c->state = IS_DOWN;
    c->lost_us = sim_now(b->world);
    c->ghost = sim_random_below(&b->random, 2) == 0 ? c->epoch : 0;
    c->epoch++;
    for (struct outgoing *o = c->first; o != NULL; o = o->next)
        o->sent = false;
}

/* The broker has lost the client, and says what that one wanted said. */
static void publish_will(struct sim_broker *b, struct connection *c)
{
    struct parcel *will = c->will;
    c->will = NULL;
    if (will != NULL && b->up)
        take(b, c, will, 0);
    parcel_drop(will);
}

static void lose_over(struct sim_broker *b, struct connection *c, const char *why,
                      const struct sim_message *m)
{
    if (c->state == IS_DOWN)
        return;
    const bool was_up = c->state == IS_UP;
    end_connection(b, c);
    /* QoS 0 does not wait for another connection. */
    struct outgoing **from = &c->first;
    for (struct outgoing *o; (o = *from) != NULL;) {
        if (o->qos != 0) {
            c->last = o;
            from = &o->next;
            continue;
        }
        *from = o->next;
        c->waiting--;
        parcel_drop(o->parcel);
        free(o);
    }
    if (c->first == NULL)
        c->last = NULL;
    if (was_up)
        say(b, SIM_BROKER_DOWN, c, why, m);
    b->fn(b->ctx,
          &(struct bridge_event){.type = BRIDGE_ON_BROKER_DOWN,
                                 .down = {.conn = c->number, .attempt = c->attempt, .why = why}});
    publish_will(b, c);
    pump(b);
}

static void lose(struct sim_broker *b, struct connection *c, const char *why)
{
    lose_over(b, c, why, NULL);
}

static bool has_too_many_levels(const struct sim_broker *b, struct sn_bytes topic)
{
    uint32_t levels = 1;
    for (size_t i = 0; i < topic.len; i++)
        levels += topic.data[i] == '/';
    return b->options.max_levels != 0 && levels > b->options.max_levels;
}

static bool is_unbearable(const struct sim_broker *b, const struct parcel *p)
{
    const struct sim_broker_options *o = &b->options;
    return has_too_many_levels(b, p->topic) || (o->no_retain && p->retain) ||
           (o->max_packet != 0 && p->topic.len + p->payload.len > o->max_packet);
}

static void connected(struct sim_broker *b, struct connection *c, bool clean)
{
    if (!b->up || b->refuses) {
        lose(b, c, b->up ? "refused" : "unreachable");
        return;
    }
    const bool present = c->session && !clean;
    if (!present)
        forget_session(c);
    c->session = true;
    c->state = IS_UP;
    say(b, SIM_BROKER_UP, c, present ? "session" : "new", NULL);
    b->fn(b->ctx, &(struct bridge_event){.type = BRIDGE_ON_BROKER_UP,
                                         .up = {.conn = c->number,
                                                .attempt = c->attempt,
                                                .session_present = present,
                                                .window = b->options.window,
                                                .max_qos = b->options.max_qos}});
    pump(b);
}

static void published(struct sim_broker *b, struct connection *c, const struct way *w)
{
    if (is_unbearable(b, w->parcel)) {
        const struct sim_message m = {.topic = w->parcel->topic,
                                      .payload = w->parcel->payload,
                                      .qos = w->parcel->qos,
                                      .retain = w->parcel->retain,
                                      .seq = w->seq};
        lose_over(b, c, "hangs-up", &m);
        return;
    }
    const bool rejected = b->rejected != NULL && matches(b->rejected, w->parcel);
    if (!rejected && (w->parcel->qos < 2 || !is_known(b, c, w->seq))) {
        if (w->parcel->qos == 2)
            open_add(c, w->seq);
        take(b, c, w->parcel, w->seq);
    }
    if (w->parcel->qos > 0 &&
        w->epoch == c->epoch) /* PUBREC, PUBREL and PUBCOMP are one way back here */
        send_down(b, c,
                  (struct way){.what = WAY_DELIVERED,
                               .seq = w->seq,
                               .qos = w->parcel->qos,
                               .code = rejected ? NOT_AUTHORIZED : 0});
}

static void message(struct sim_broker *b, struct connection *c, const struct way *w)
{
    /* QoS 0 is done with when it is handed over. */
    if (w->seq == 0 && c->first != NULL && c->first->sent)
        take_first(c);
    struct bridge_event event = {
        .type = BRIDGE_ON_MESSAGE,
        .message = {.conn = c->number,
                    .token = w->seq,
                    .qos = w->qos,
                    .retain = w->wants_retained,
                    .id_count = w->ids.count,
                    .topic = w->parcel->topic,
                    .payload = w->parcel->payload},
    };
    memcpy(event.message.ids, w->ids.at, sizeof(w->ids.at));
    b->handed = w->seq;
    b->handed_by = c->number;
    b->fn(b->ctx, &event);
    pump(b);
}

static void arrived(struct sim_broker *b, struct connection *c, const struct way *w)
{
    switch (w->what) {
    case WAY_CONNECT:
        connected(b, c, w->wants_retained);
        return;
    case WAY_PUBLISH:
        published(b, c, w);
        return;
    case WAY_DELIVERED:
        open_end(c, w->seq);
        b->fn(b->ctx, &(struct bridge_event){
                          .type = BRIDGE_ON_DELIVERED,
                          .delivered = {.conn = c->number, .seq = w->seq, .code = w->code}});
        return;
    case WAY_SUBSCRIBE:
        if (has_too_many_levels(b, sn_bytes_text(w->filter))) {
            lose(b, c, "hangs-up");
            return;
        }
        subscribe(b, c, w);
        send_down(b, c,
                  (struct way){.what = WAY_ANSWER,
                               .request = w->request,
                               .code = lower(w->qos, b->options.max_qos)});
        return;
    case WAY_UNSUBSCRIBE:
        unsubscribe(c, w->filter);
        send_down(b, c,
                  (struct way){.what = WAY_ANSWER, .request = w->request, .unsubscribed = true});
        return;
    case WAY_ANSWER:
        b->fn(b->ctx,
              &(struct bridge_event){
                  .type = w->unsubscribed ? BRIDGE_ON_UNSUBSCRIBED : BRIDGE_ON_SUBSCRIBED,
                  .subscribed = {.conn = c->number, .request = w->request, .code = w->code}});
        return;
    case WAY_MESSAGE:
        message(b, c, w);
        return;
    case WAY_ACCEPTED:
        if (c->first != NULL && c->first->token == w->seq)
            take_first(c);
        pump(b);
        return;
    }
}

static void end_way(struct way *w)
{
    if (w->next != NULL)
        w->next->before = w->before;
    if (w->before != NULL)
        w->before->next = w->next;
    else
        w->broker->under_way = w->next;
    parcel_drop(w->parcel);
    free(w->filter);
    free(w);
}

static void arrive(void *ctx, uint64_t arg)
{
    struct way *w = ctx;
    struct sim_broker *b = w->broker;
    (void)arg;
    const bool is_ghost = w->epoch == w->connection->ghost && b->up &&
                          (w->what == WAY_PUBLISH || w->what == WAY_ACCEPTED);
    if (w->epoch == w->connection->epoch || is_ghost)
        arrived(b, w->connection, w);
    end_way(w);
}

/* ---- what the bridge does ---------------------------------------------------------------------------- */

static void connect(struct sim_broker *b, const struct bridge_action *a)
{
    struct connection *c = connection_of(b, a->connect.conn);
    assert(c->state == IS_DOWN);
    if (has_expired(b, c))
        forget_session(c);
    c->state = IS_CONNECTING;
    c->attempt = a->connect.attempt;
    c->transient = a->connect.transient;
    c->epoch++;
    c->up_us = c->down_us = 0;
    parcel_drop(c->will);
    c->will = a->connect.will_topic.len == 0
                  ? NULL
                  : parcel_make(a->connect.will_topic, a->connect.will_message, a->connect.will_qos,
                                a->connect.will_retain);
    send_up(b, c, (struct way){.what = WAY_CONNECT, .wants_retained = a->connect.clean});
}

static void disconnect(struct sim_broker *b, const struct bridge_action *a)
{
    struct connection *c = connection_of(b, a->disconnect.conn);
    if (c->state != IS_DOWN)
        end_connection(b, c);
    if (a->disconnect.with_will)
        publish_will(b, c);
    parcel_drop(c->will);
    c->will = NULL;
    if (b->handed != 0 && b->handed_by == c->number) {
        /* The library forgets it, to take it for new when it comes again. */
        if (c->first != NULL && c->first->token == b->handed)
            c->first->token = 0;
        b->handed = 0;
    }
    if (a->disconnect.forget)
        forget_session(c);
    pump(b);
}

static void publish(struct sim_broker *b, struct connection *c, const struct bridge_message *m)
{
    if (c->state != IS_UP)
        return;
    b->last_seq = m->seq > b->last_seq ? m->seq : b->last_seq;
    send_up(b, c,
            (struct way){.what = WAY_PUBLISH,
                         .seq = m->seq,
                         .parcel = parcel_make(m->topic, m->payload, m->qos,
                                               (m->flags & BRIDGE_FLAG_RETAIN) != 0)});
    if (m->qos == 0) /* written, and that is all that is known of it */
        send(b, c, sim_now(b->world), (struct way){.what = WAY_DELIVERED, .seq = m->seq});
}

static void accept(struct sim_broker *b, uint64_t token)
{
    if (b->handed == token)
        b->handed = 0;
    for (struct connection *c = b->connections; c != NULL; c = c->next) {
        if (c->first == NULL || c->first->token != token)
            continue;
        c->first->accepted = true;
        if (c->first->sent)
            send_up(b, c, (struct way){.what = WAY_ACCEPTED, .seq = token});
    }
    pump(b);
}

void sim_broker_put(struct sim_broker *b, const struct bridge_action *a)
{
    if (a->type == BRIDGE_DO_CONNECT) {
        connect(b, a);
    } else if (a->type == BRIDGE_DO_DISCONNECT) {
        disconnect(b, a);
    } else if (a->type == BRIDGE_DO_PUBLISH) {
        publish(b, connection_of(b, a->publish.conn), &a->publish.message);
    } else if (a->type == BRIDGE_DO_SUBSCRIBE || a->type == BRIDGE_DO_UNSUBSCRIBE) {
        struct connection *c = connection_of(b, a->subscribe.conn);
        if (c->state == IS_UP)
            send_up(b, c,
                    (struct way){
                        .what = a->type == BRIDGE_DO_SUBSCRIBE ? WAY_SUBSCRIBE : WAY_UNSUBSCRIBE,
                        .filter = copy_of(a->subscribe.filter),
                        .request = a->subscribe.request,
                        .id = b->options.plain ? 0 : a->subscribe.id,
                        .qos = a->subscribe.qos,
                        .wants_retained = b->options.plain || a->subscribe.wants_retained});
    } else if (a->type == BRIDGE_DO_ACCEPT) {
        accept(b, a->accept.token);
    }
}

bool sim_broker_publish(struct sim_broker *b, const struct sim_message *m)
{
    if (!b->up)
        return false;
    struct parcel *p = parcel_make(m->topic, m->payload, m->qos, m->retain);
    take(b, NULL, p, 0);
    parcel_drop(p);
    return true;
}

/* ---- faults --------------------------------------------------------------------------------------------- */

void sim_broker_drop(struct sim_broker *b)
{
    for (struct connection *c = b->connections; c != NULL; c = c->next)
        lose(b, c, "connection lost");
}

void sim_broker_set_up(struct sim_broker *b, bool up)
{
    b->up = up;
    if (!up)
        sim_broker_drop(b);
}

void sim_broker_slow(struct sim_broker *b, uint64_t us)
{
    b->slow_us = us;
}

void sim_broker_refuse(struct sim_broker *b, bool on)
{
    b->refuses = on;
}

void sim_broker_forget(struct sim_broker *b)
{
    sim_broker_drop(b);
    for (struct connection *c = b->connections; c != NULL; c = c->next)
        forget_session(c);
}

void sim_broker_reject(struct sim_broker *b, const char *filter)
{
    b->rejected = filter;
}

void sim_broker_end_client(struct sim_broker *b)
{
    b->crash_seq = b->last_seq;
    b->handed = 0;
    for (struct connection *c = b->connections; c != NULL; c = c->next) {
        end_connection(b, c);
        publish_will(b, c);
        for (struct outgoing *o = c->first; o != NULL; o = o->next)
            o->accepted = false;
    }
}

/* ---- life --------------------------------------------------------------------------------------------------- */

struct sim_broker *sim_broker_open(struct sim_world *w, struct sim_trace *trace, uint64_t seed,
                                   const struct sim_broker_options *options,
                                   sim_broker_event_fn *fn, void *ctx)
{
    struct sim_broker *b = sim_memory(sizeof(*b));
    b->world = w;
    b->trace = trace;
    b->options = *options;
    b->fn = fn;
    b->ctx = ctx;
    b->up = true;
    sim_random_init(&b->random, seed, "broker");
    return b;
}

void sim_broker_close(struct sim_broker *b)
{
    while (b->under_way != NULL)
        end_way(b->under_way);
    for (struct connection *c = b->connections, *next; c != NULL; c = next) {
        next = c->next;
        forget_session(c);
        parcel_drop(c->will);
        free(c->subscriptions);
        free(c->open);
        free(c);
    }
    for (size_t i = 0; i < b->retained_count; i++)
        parcel_drop(b->retained[i]);
    free(b->retained);
    free(b);
}

bool sim_broker_is_idle(const struct sim_broker *b)
{
    for (const struct connection *c = b->connections; c != NULL; c = c->next)
        if (c->first != NULL && !has_expired(b, c))
            return false;
    return b->under_way == NULL;
}

bool sim_broker_is_up(const struct sim_broker *b)
{
    return b->up;
}
