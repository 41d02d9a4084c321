#include "sim/device.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOPICS      8
#define SECOND_MS   1000
#define RETRY_LEAST 10 /* milliseconds */
#define SLEEP_SLACK 2  /* a device wakes up to publish if that is due before 1/2 of its sleep */

/* One message that waits. */
struct waiting {
    uint64_t number;
    uint8_t publication;
};

struct sim_device {
    struct sim_world *world;
    struct sim_trace *trace;
    const struct sim_device_plan *plan;
    const struct bridge_config *config;
    struct sim_random random;
    char name[SIM_DEVICE_NAME_MAX + 1];
    char number_text[12];
    struct sim_device_place place;

    struct sn_client client;
    struct sn_client_config client_config;
    struct sn_client_will will;
    struct sn_client_topic topics[TOPICS];
    uint8_t names[TOPICS * (SIM_DEVICE_TOPIC_MAX + 1)];
    uint8_t kept[SIM_DEVICE_PAYLOAD_MAX + SIM_DEVICE_TOPIC_MAX];
    char will_topic[SIM_DEVICE_TOPIC_MAX + 1];
    char topic[SIM_DEVICE_PUBLICATIONS][SIM_DEVICE_TOPIC_MAX + 1];
    char filter[SIM_DEVICE_SUBSCRIPTIONS][SIM_DEVICE_TOPIC_MAX + 1];

    struct waiting *outbox; /* a ring */
    uint32_t outbox_first;
    uint32_t outbox_count;
    uint64_t next_number;
    uint64_t boot_seed; /* what chance follows from since its last boot */
    size_t subscribed;  /* how many of the plan's, in this connection */
    size_t asking;      /* which one the library is asking for, while subscribing */
    bool open;          /* the first of the outbox is with the library */
    bool subscribing;
    bool on;
    bool left;
    bool quiet;
    bool waits; /* for the air, with a frame */

    /* round trips, as tools do it: the library has no clock of its own */
    struct radio_rtt rtt;
    uint64_t sent_ms; /* when the request's only copy left; 0: not measured */
    uint32_t copies;  /* of the request under way */
    struct sim_timer timer;
    struct sim_timer publish[SIM_DEVICE_PUBLICATIONS];
    struct sim_timer first; /* the first connection */
    struct sim_device_figures figures;
};

static uint8_t scratch[SN_PACKET_MAX]; /* where all clients put their frames together */

static uint64_t now_ms(const struct sim_device *d)
{
    return sim_now(d->world) / SIM_MS;
}

/* ---- what it says ------------------------------------------------------------------ */

static void say_message(struct sim_device *d, enum sim_record_type type, const char *why,
                        const struct sim_message *m)
{
    sim_trace_say(d->trace, &(struct sim_record){.type = type,
                                                 .at_us = sim_now(d->world),
                                                 .device = d->name,
                                                 .link = d->place.name,
                                                 .why = why,
                                                 .message = m});
}

static void say(struct sim_device *d, const char *why)
{
    say_message(d, SIM_DEVICE, why, NULL);
}

struct payload {
    size_t len;
    uint8_t octets[SIM_DEVICE_PAYLOAD_MAX];
};

static void make_payload(const struct sim_device *d, const struct waiting *w, struct payload *out)
{
    const struct sim_publication *p = &d->plan->publications[w->publication];
    char text[64];
    const int len = d->plan->alike ? snprintf(text, sizeof(text), "%s=same", d->name)
                                   : snprintf(text, sizeof(text), "%s:%llu", d->name,
                                              (unsigned long long)w->number);
    out->len = p->size > (uint32_t)len ? p->size : (uint32_t)len;
    memset(out->octets, '.', out->len);
    memcpy(out->octets, text, (size_t)len);
}

static struct sn_bytes predefined_name(const struct sim_device *d, uint16_t tid)
{
    struct sn_bytes found = {0};
    for (size_t i = 0; i < d->config->predefined_count; i++) {
        const struct bridge_predefined *p = &d->config->predefined[i];
        if (p->tid != tid || (p->client != NULL && strcmp(p->client, d->name) != 0))
            continue;
        if (found.data == NULL || p->client != NULL)
            found = sn_bytes_text(p->topic);
    }
    return found;
}

static struct sn_bytes topic_of(const struct sim_device *d, size_t publication)
{
    const uint16_t tid = d->plan->publications[publication].tid;
    return tid != 0 ? predefined_name(d, tid) : sn_bytes_text(d->topic[publication]);
}

static void say_waiting(struct sim_device *d, enum sim_record_type type, const char *why,
                        const struct waiting *w)
{
    struct payload payload;
    make_payload(d, w, &payload);
    const struct sim_publication *p = &d->plan->publications[w->publication];
    say_message(d, type, why,
                &(struct sim_message){.topic = topic_of(d, w->publication),
                                      .payload = sn_bytes(payload.octets, payload.len),
                                      .qos = p->qos < 0 ? 0 : (uint8_t)p->qos,
                                      .retain = p->retain});
}

/* ---- the outbox --------------------------------------------------------------------- */

static struct waiting *outbox_first(struct sim_device *d)
{
    return &d->outbox[d->outbox_first];
}

static void outbox_pop(struct sim_device *d)
{
    d->outbox_first = (d->outbox_first + 1) % d->plan->outbox;
    d->outbox_count--;
    d->open = false;
}

static void outbox_push(struct sim_device *d, size_t publication)
{
    const struct waiting w = {.number = d->next_number++, .publication = (uint8_t)publication};
    d->figures.made++;
    say_waiting(d, SIM_DEVICE_PUBLISHES, NULL, &w);
    if (d->outbox_count == d->plan->outbox) {
        d->figures.discarded++;
        if (d->open) { /* the oldest one is under way: the new one gives way */
            say_waiting(d, SIM_DEVICE_GIVES_UP, "outbox-full", &w);
            return;
        }
        say_waiting(d, SIM_DEVICE_GIVES_UP, "outbox-full", outbox_first(d));
        outbox_pop(d);
    }
    d->outbox[(d->outbox_first + d->outbox_count++) % d->plan->outbox] = w;
}

/* ---- what it wants from the library ---------------------------------------------------- */

static void set_deadline(struct sim_device *d)
{
    const uint64_t due_ms = sn_client_deadline(&d->client);
    if (due_ms == SN_NEVER || !d->on || d->waits)
        sim_timer_stop(d->world, &d->timer);
    else
        sim_timer_set(d->world, &d->timer, due_ms * SIM_MS);
}

static struct sn_topic_ref topic_ref(uint16_t tid, const char *name)
{
    if (tid != 0)
        return sn_topic_predefined(tid);
    if (strlen(name) == 2 && strchr(name, '#') == NULL && strchr(name, '+') == NULL)
        return sn_topic_short(name[0], name[1]);
    return sn_topic_named(name);
}

static void begin_request(struct sim_device *d)
{
    d->copies = 0;
    d->sent_ms = 0;
    if (d->plan->retry == SIM_RETRY_MEASURED)
        d->client_config.retry_ms = d->rtt.rto_ms;
}

/* The answer to a request that went out once is a round trip (Karn). */
static void end_request(struct sim_device *d)
{
    if (d->sent_ms == 0)
        return;
    const uint64_t rtt_ms = now_ms(d) - d->sent_ms;
    if (d->copies == 1)
        radio_rtt_sample(&d->rtt, &d->place.rtt, (uint32_t)rtt_ms);
    else
        radio_rtt_weak_sample(&d->rtt, &d->place.rtt, (uint32_t)rtt_ms);
    d->sent_ms = 0;
}

static void accepted(struct sim_device *d)
{
    d->figures.accepted++;
    say_waiting(d, SIM_DEVICE_ACCEPTED, NULL, outbox_first(d));
    outbox_pop(d);
}

static void publish_first(struct sim_device *d)
{
    const struct waiting *w = outbox_first(d);
    const struct sim_publication *p = &d->plan->publications[w->publication];
    struct payload payload;
    make_payload(d, w, &payload);
    begin_request(d);
    d->open = true;
    const enum sn_client_answer a =
        sn_client_publish(&d->client, now_ms(d), topic_ref(p->tid, d->topic[w->publication]),
                          p->qos, p->retain, sn_bytes(payload.octets, payload.len));
    if (a == SN_ANSWER_DONE) {
        accepted(d);
    } else if (a == SN_ANSWER_TOO_LARGE || a == SN_ANSWER_BAD_TOPIC || a == SN_ANSWER_BAD_QOS) {
        d->figures.rejected++;
        say_waiting(d, SIM_DEVICE_GIVES_UP, "rejected", w);
        outbox_pop(d);
    } else if (a != SN_ANSWER_STARTED) {
        d->open = false;
    }
}

static bool needs_connection(const struct sim_device *d)
{
    return d->subscribed < d->plan->subscription_count ||
           (d->outbox_count > 0 &&
            d->plan->publications[d->outbox[d->outbox_first].publication].qos >= 0);
}

/* Does the next thing, and the one after it while the library lets us. */
static void go_on(struct sim_device *d)
{
    for (uint32_t before = UINT32_MAX; d->on && !d->left && !d->open && !d->subscribing;) {
        const enum sn_client_state state = sn_client_state(&d->client);
        if (d->outbox_count > 0 && d->outbox_count != before &&
            (state == SN_CLIENT_ACTIVE ? d->subscribed == d->plan->subscription_count
                                       : !needs_connection(d))) {
            before = d->outbox_count;
            publish_first(d);
            continue;
        }
        if (state == SN_CLIENT_ACTIVE && d->subscribed < d->plan->subscription_count) {
            const struct sim_subscription *s = &d->plan->subscriptions[d->subscribed];
            begin_request(d);
            d->asking = d->subscribed;
            d->subscribing = sn_client_subscribe(&d->client, now_ms(d),
                                                 topic_ref(s->tid, d->filter[d->subscribed]),
                                                 s->qos) == SN_ANSWER_STARTED;
        } else if (state == SN_CLIENT_ACTIVE && d->plan->sleep_s > 0 && d->outbox_count == 0) {
            sn_client_sleep(&d->client, now_ms(d), d->plan->sleep_s);
        } else if (state == SN_CLIENT_ASLEEP && needs_connection(d)) {
            sn_client_connect(&d->client, now_ms(d));
        }
        break;
    }
    set_deadline(d);
}

/* ---- what the library says ----------------------------------------------------------------- */

static void sends(struct sim_device *d, const struct sn_client_event *e)
{
    struct sn_packet p;
    if (sn_decode(e->send.frame, &p) == SN_OK &&
        (p.type == SN_PUBLISH || p.type == SN_REGISTER || p.type == SN_SUBSCRIBE)) {
        d->copies++;
        d->figures.publishes += p.type == SN_PUBLISH && p.publish.qos > 0;
        if (d->sent_ms == 0)
            d->sent_ms = now_ms(d);
    }
    sim_channel_send(d->place.channel, SIM_UP, d->place.peer, e->send.frame.data,
                     e->send.frame.len);
}

static void published(struct sim_device *d, const struct sn_client_event *e)
{
    if (!d->open)
        return;
    end_request(d);
    const struct waiting *w = outbox_first(d);
    switch (e->done.result) {
    case SN_RESULT_ACCEPTED:
        accepted(d);
        break;
    case SN_RESULT_REJECTED:
        d->figures.rejected++;
        say_waiting(d, SIM_DEVICE_GIVES_UP, "rejected", w);
        outbox_pop(d);
        break;
    case SN_RESULT_UNKNOWN:
    case SN_RESULT_CANCELLED:
        if (d->plan->publications[w->publication].qos == 2) {
            d->figures.unknown++;
            say_waiting(d, SIM_DEVICE_GIVES_UP, "unknown", w);
            outbox_pop(d);
        } else {
            d->open = false;
        }
        break;
    }
}

static void subscribed(struct sim_device *d, const struct sn_client_event *e)
{
    d->subscribing = false;
    end_request(d);
    if (e->done.result == SN_RESULT_UNKNOWN || e->done.result == SN_RESULT_CANCELLED)
        return; /* once more, in the next connection */
    const struct sim_subscription *s = &d->plan->subscriptions[d->asking];
    const struct sim_message m = {
        .topic = s->tid != 0 ? predefined_name(d, s->tid) : sn_bytes_text(d->filter[d->asking]),
        .qos = (uint8_t)e->done.qos,
    };
    /* One that was open through a loss of the connection comes out of turn. */
    d->subscribed += d->asking == d->subscribed;
    say_message(d, SIM_DEVICE, e->done.result == SN_RESULT_ACCEPTED ? "subscribed" : "rejected",
                &m);
}

static void got(struct sim_device *d, const struct sn_client_event *e)
{
    const struct sn_topic_ref *t = &e->message.topic;
    d->figures.got++;
    say_message(d, SIM_DEVICE_GOT, NULL,
                &(struct sim_message){
                    .topic = t->kind == SN_TOPIC_PREDEFINED ? predefined_name(d, t->tid) : t->name,
                    .payload = e->message.data,
                    .qos = e->message.qos < 0 ? 0 : (uint8_t)e->message.qos,
                    .retain = e->message.retain});
}

static void on_event(void *ctx, const struct sn_client_event *e)
{
    struct sim_device *d = ctx;
    switch (e->type) {
    case SN_EVENT_SEND:
        sends(d, e);
        return;
    case SN_EVENT_CONNECTED:
        d->subscribed = 0;
        say(d, d->plan->clean ? "connected-clean" : "connected");
        return;
    case SN_EVENT_REFUSED:
        say(d, "refused");
        return;
    case SN_EVENT_LOST:
        d->figures.losses++;
        say(d, "lost");
        return;
    case SN_EVENT_DISCONNECTED:
        say(d, "left");
        return;
    case SN_EVENT_ASLEEP:
        say(d, "asleep");
        return;
    case SN_EVENT_MESSAGE:
        got(d, e);
        return;
    case SN_EVENT_PUBLISHED:
        published(d, e);
        return;
    case SN_EVENT_SUBSCRIBED:
        subscribed(d, e);
        return;
    case SN_EVENT_DROPPED:
        say(d, "dropped");
        return;
    case SN_EVENT_UNSUBSCRIBED:
    case SN_EVENT_WILL_CHANGED:
    case SN_EVENT_CONGESTED:
    case SN_EVENT_GATEWAY:
    case SN_EVENT_DISCARDED:
        return;
    }
}

/* ---- time ------------------------------------------------------------------------------------- */

static void timer_is_due(void *ctx, uint64_t arg)
{
    struct sim_device *d = ctx;
    (void)arg;
    sn_client_time(&d->client, now_ms(d));
    go_on(d);
}

static bool is_time_to_publish(const struct sim_device *d, const struct sim_publication *p)
{
    return !d->quiet && (p->until_us == 0 || sim_now(d->world) <= p->until_us);
}

static void publish_is_due(void *ctx, uint64_t which)
{
    struct sim_device *d = ctx;
    const struct sim_publication *p = &d->plan->publications[which];
    if (!is_time_to_publish(d, p))
        return;
    for (uint32_t i = 0; d->on && i < p->burst; i++)
        outbox_push(d, which);
    if (p->every.high > 0)
        sim_timer_set(d->world, &d->publish[which],
                      sim_now(d->world) +
                          sim_random_between(&d->random, p->every.low, p->every.high));
    go_on(d);
}

static void plan_publications(struct sim_device *d)
{
    for (size_t i = 0; i < d->plan->publication_count; i++) {
        const struct sim_publication *p = &d->plan->publications[i];
        const uint64_t within = p->spread_us != 0 ? p->spread_us : p->every.high;
        const uint64_t first =
            p->together || within == 0 ? p->every.low : sim_random_below(&d->random, within) + 1;
        d->publish[i] = (struct sim_timer){.fn = publish_is_due, .ctx = d, .arg = i};
        sim_timer_set(d->world, &d->publish[i], p->from_us + first);
    }
}

/* 6.8: with QoS -1 alone there is nothing to connect for. */
static bool never_connects(const struct sim_device_plan *plan)
{
    for (size_t i = 0; i < plan->publication_count; i++)
        if (plan->publications[i].qos >= 0)
            return false;
    return plan->publication_count > 0 && plan->subscription_count == 0;
}

static void connects(void *ctx, uint64_t arg)
{
    struct sim_device *d = ctx;
    (void)arg;
    if (never_connects(d->plan))
        go_on(d);
    else if (d->on && !d->left && sn_client_state(&d->client) == SN_CLIENT_IDLE) {
        begin_request(d);
        sn_client_connect(&d->client, now_ms(d));
    }
    set_deadline(d);
}

/* ---- life ----------------------------------------------------------------------------------------- */

void sim_device_plan_init(struct sim_device_plan *plan)
{
    *plan = (struct sim_device_plan){
        .keepalive_s = 300,
        .retry = SIM_RETRY_MEASURED,
        .retries = UINT8_MAX, /* the link's */
        .outbox = 32,
    };
}

static void set_timers(struct sim_device *d)
{
    const struct sim_device_plan *plan = d->plan;
    struct sn_client_config *c = &d->client_config;
    if (plan->retry == SIM_RETRY_MEASURED) {
        c->retry_ms = d->rtt.rto_ms;
        c->retry_max_ms = d->place.rtt.max_ms;
    } else {
        c->retry_ms = (uint32_t)(plan->retry_us.low / SIM_MS);
        c->retry_max_ms = (uint32_t)(plan->retry_us.high / SIM_MS);
    }
    if (c->retry_ms < RETRY_LEAST)
        c->retry_ms = RETRY_LEAST;
    if (c->retry_max_ms < c->retry_ms)
        c->retry_max_ms = c->retry_ms;
    c->retries = plan->retries == UINT8_MAX ? d->place.retries : plan->retries;
}

static void init_client(struct sim_device *d)
{
    struct sn_client_config *c = &d->client_config;
    *c = sn_client_defaults();
    c->client_id = sn_bytes_text(d->name);
    c->keepalive_s = d->plan->keepalive_s;
    c->clean = d->plan->clean;
    c->topics = d->topics;
    c->topics_max = TOPICS;
    c->names = d->names;
    c->name_size = SIM_DEVICE_TOPIC_MAX + 1;
    c->kept = d->kept;
    c->kept_size = sizeof(d->kept);
    c->frame = scratch;
    c->frame_size = d->place.frame_max < SN_CLIENT_FRAME_MIN ? SN_CLIENT_FRAME_MIN
                    : d->place.frame_max > sizeof(scratch)   ? sizeof(scratch)
                                                             : d->place.frame_max;
    c->emit = on_event;
    c->ctx = d;
    set_timers(d);
    memset(d->topics, 0, sizeof(d->topics));
    if (d->boot_seed == 0 || !d->plan->alike)
        d->boot_seed = sim_random_next(&d->random);
    sn_client_init(&d->client, c, d->boot_seed);
    if (d->will_topic[0] != '\0')
        sn_client_set_will(&d->client, now_ms(d), &d->will);
    d->subscribed = 0;
    d->open = d->subscribing = d->waits = false;
}

/* "{n}" and "{name}" */
static void expand(const struct sim_device *d, const char *pattern, char *out, size_t size)
{
    size_t at = 0;
    while (*pattern != '\0' && at + 1 < size) {
        const bool is_number = strncmp(pattern, "{n}", 3) == 0;
        const bool is_name = strncmp(pattern, "{name}", 6) == 0;
        if (!is_number && !is_name) {
            out[at++] = *pattern++;
            continue;
        }
        const int n = snprintf(out + at, size - at, "%s", is_name ? d->name : d->number_text);
        at += (size_t)n < size - at ? (size_t)n : size - at - 1;
        pattern += is_name ? 6 : 3;
    }
    out[at] = '\0';
}

struct sim_device *sim_device_open(struct sim_world *w, struct sim_trace *trace, uint64_t seed,
                                   const struct sim_device_plan *plan, const char *name,
                                   uint32_t number, const struct bridge_config *config)
{
    assert(plan->outbox > 0);
    struct sim_device *d = sim_memory(sizeof(*d));
    d->world = w;
    d->trace = trace;
    d->plan = plan;
    d->config = config;
    snprintf(d->name, sizeof(d->name), "%s", name);
    snprintf(d->number_text, sizeof(d->number_text), "%u", number);
    sim_random_init(&d->random, seed, d->name);
    d->outbox = sim_memory(plan->outbox * sizeof(*d->outbox));
    d->next_number = 1;
    for (size_t i = 0; i < plan->publication_count; i++)
        expand(d, plan->publications[i].topic, d->topic[i], sizeof(d->topic[i]));
    for (size_t i = 0; i < plan->subscription_count; i++)
        expand(d, plan->subscriptions[i].filter, d->filter[i], sizeof(d->filter[i]));
    expand(d, plan->will_topic, d->will_topic, sizeof(d->will_topic));
    d->will = (struct sn_client_will){.topic = sn_bytes_text(d->will_topic),
                                      .message = sn_bytes_text(plan->will_message),
                                      .qos = plan->will_qos};
    d->timer = (struct sim_timer){.fn = timer_is_due, .ctx = d};
    d->first = (struct sim_timer){.fn = connects, .ctx = d};
    return d;
}

void sim_device_close(struct sim_device *d)
{
    sim_timer_stop(d->world, &d->timer);
    sim_timer_stop(d->world, &d->first);
    for (size_t i = 0; i < SIM_DEVICE_PUBLICATIONS; i++)
        sim_timer_stop(d->world, &d->publish[i]);
    free(d->outbox);
    free(d);
}

void sim_device_place(struct sim_device *d, const struct sim_device_place *place)
{
    const bool moves = d->place.channel != NULL;
    d->place = *place;
    radio_rtt_init(&d->rtt, &place->rtt);
    if (!moves)
        return;
    set_timers(d);
    if (place->frame_max >= SN_CLIENT_FRAME_MIN && place->frame_max <= sizeof(scratch))
        d->client_config.frame_size = place->frame_max;
    say(d, "moves");
}

void sim_device_start(struct sim_device *d)
{
    if (d->on || d->left)
        return;
    d->on = true;
    init_client(d);
    if (sim_now(d->world) == 0 && d->plan->start_us > 0)
        sim_timer_set(d->world, &d->first, sim_random_below(&d->random, d->plan->start_us));
    else
        sim_timer_set(d->world, &d->first, sim_now(d->world));
    if (sim_now(d->world) == 0)
        plan_publications(d);
}

static void lose_memory(struct sim_device *d)
{
    while (d->outbox_count > 0) {
        d->figures.discarded++;
        say_waiting(d, SIM_DEVICE_GIVES_UP, "memory-lost", outbox_first(d));
        outbox_pop(d);
    }
    sim_timer_stop(d->world, &d->timer);
    sim_timer_stop(d->world, &d->first);
}

void sim_device_reboot(struct sim_device *d)
{
    if (!d->on)
        return;
    say(d, "reboots");
    lose_memory(d);
    init_client(d);
    sim_timer_set(d->world, &d->first, sim_now(d->world) + SIM_S);
}

void sim_device_off(struct sim_device *d)
{
    if (!d->on)
        return;
    say(d, "off");
    lose_memory(d);
    d->on = false;
}

void sim_device_leave(struct sim_device *d)
{
    d->left = true;
    if (d->on)
        sn_client_disconnect(&d->client, now_ms(d));
    set_deadline(d);
}

void sim_device_quiet(struct sim_device *d)
{
    d->quiet = true;
}

void sim_device_frame(struct sim_device *d, const uint8_t *frame, size_t len)
{
    if (!d->on)
        return;
    sn_client_frame(&d->client, now_ms(d), sn_bytes(NULL, 0), sn_bytes(frame, len));
    go_on(d);
}

void sim_device_waits(struct sim_device *d)
{
    d->waits = d->plan->retry == SIM_RETRY_MEASURED;
}

void sim_device_sent(struct sim_device *d, bool lost)
{
    if (!d->waits)
        return;
    d->waits = false;
    if (!d->on)
        return;
    if (d->sent_ms != 0 && d->copies == 1)
        d->sent_ms = now_ms(d);
    if (!lost)
        sn_client_sent(&d->client, now_ms(d));
    set_deadline(d);
}

void sim_device_publish(struct sim_device *d, size_t which)
{
    if (!d->on || which >= d->plan->publication_count)
        return;
    outbox_push(d, which);
    go_on(d);
}

const char *sim_device_name(const struct sim_device *d)
{
    return d->name;
}

bool sim_device_is_on(const struct sim_device *d)
{
    return d->on;
}

bool sim_device_has_left(const struct sim_device *d)
{
    return d->left;
}

bool sim_device_is_idle(const struct sim_device *d)
{
    if (!d->on || d->left)
        return true;
    const enum sn_client_state state = sn_client_state(&d->client);
    if (never_connects(d->plan))
        return d->outbox_count == 0;
    const bool at_rest = state == SN_CLIENT_ACTIVE || state == SN_CLIENT_ASLEEP;
    return at_rest && d->outbox_count == 0 && !sn_client_is_busy(&d->client) &&
           (state == SN_CLIENT_ASLEEP || d->subscribed == d->plan->subscription_count);
}

void sim_device_figures(const struct sim_device *d, struct sim_device_figures *out)
{
    *out = d->figures;
}

void sim_device_sum(const struct sim_device *d, struct sim_device_figures *sum)
{
    sum->made += d->figures.made;
    sum->accepted += d->figures.accepted;
    sum->rejected += d->figures.rejected;
    sum->unknown += d->figures.unknown;
    sum->discarded += d->figures.discarded;
    sum->got += d->figures.got;
    sum->losses += d->figures.losses;
    sum->publishes += d->figures.publishes;
}
