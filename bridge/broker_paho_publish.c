#include "bridge/broker_paho.h"
#include "bridge/store.h"
#include "bridge/timeline.h"

#include <stdio.h>
#include <string.h>

#define QOS0_IN_PAHO        500u /* QoS 0 messages in Paho's queue before we wait */
#define REFUSALS_MAX        10u  /* of single messages, before the session is given up */
#define PACKET_OVERHEAD     24u  /* of a PUBLISH without topic, payload and user properties */
#define FILTER_OVERHEAD     16u  /* of a SUBSCRIBE or UNSUBSCRIBE without the filter */
#define USER_PROPERTIES_MAX 128u /* octets of all of them */
#define LATE_MS             1000 /* a message that waited so long is late */

/* ---- callbacks: publishing ----------------------------------------------------------- */

static void publish_succeeded(struct flight *f)
{
    struct broker *b = f->conn->broker;
    pthread_mutex_lock(&b->lock);
    paho_settle(f, 0);
    pthread_mutex_unlock(&b->lock);
}

/* What a reason code of PUBACK, PUBREC or PUBCOMP means for the message. The core
 * knows which ones may pass, and sends the message again later (hold.c). Those that
 * speak of what is under way are no verdict: fewer messages at a time will be taken.
 * What we do not know is a verdict, for else one message could hold up its topic for
 * ever. */
enum verdict {
    VERDICT_TAKEN,
    VERDICT_REFUSED, /* now, or for good */
    VERDICT_NONE,
};

static enum verdict verdict_of(int reason)
{
    switch (reason) {
    case 0x92: /* packet identifier not found: a PUBCOMP, hence PUBREC was good */
        return VERDICT_TAKEN;
    case 0x8B: /* server shutting down */
    case 0x91: /* packet identifier in use: its session knows more than ours */
    case 0x93: /* receive maximum exceeded */
    case 0x97: /* quota exceeded: of what is under way, or another */
        return VERDICT_NONE;
    default:
        return reason >= 0x80 ? VERDICT_REFUSED : VERDICT_TAKEN;
    }
}

/* The broker cannot take the message now. Those behind it may have arrived, and
 * more may follow: the connection ends, so that all that is undecided goes again
 * in order. mosquitto hangs up by itself; then only the reason is ours.
 *
 * Half-done QoS 2 messages of an earlier process, which the broker keeps for
 * this session, count against the receive maximum it announces. So the next
 * window is half as large, at least 1. If even a single message is refused again
 * and again, only a new session helps: what the broker still has queued for this
 * one is given up. With the lock. */
static void put_off(struct flight *f, const char *why)
{
    struct connection *c = f->conn;
    struct broker *b = c->broker;
    paho_custody_drop(f);
    paho_put_flight(f);
    if (c->state != CONNECTION_UP || c->todo_renew)
        return;
    snprintf(c->why, sizeof c->why, "the broker takes no more now: %s",
             why != NULL ? why : "no known reason");
    if (c->window == 1 && c->session_present && ++c->refusals >= REFUSALS_MAX) {
        c->start_over = true;
        snprintf(c->why, sizeof c->why, "the broker's session has no room left: it is given up");
    }
    c->window_limit = c->window > 1 ? c->window / 2 : 1;
    c->window_news = WINDOW_REFUSED;
    c->todo_renew = true;
    b->todo = true;
    pthread_cond_broadcast(&b->work);
}

/* A quota is not that of what is under way if it is exceeded by a single message; that may be
 * one of the session all the same, so REFUSALS_MAX in a row are put off. */
static bool is_other_quota(const struct connection *c, int reason)
{
    return reason == 0x97 && c->window == 1 &&
           (!c->session_present || c->refusals + 1 < REFUSALS_MAX);
}

static void refuse(struct flight *f, uint8_t reason)
{
    struct connection *c = f->conn;
    const uint32_t refusals = reason == 0x97 ? c->refusals + 1 : 0;
    if (bridge_may_pass(reason))
        paho_custody_drop(f); /* it is published anew */
    paho_settle(f, reason);
    c->refusals = refusals;
}

static void publish_failed(struct flight *f, int code, int reason)
{
    struct broker *b = f->conn->broker;
    pthread_mutex_lock(&b->lock);
    const enum verdict verdict = verdict_of(reason);
    if (is_other_quota(f->conn, reason))
        refuse(f, (uint8_t)reason);
    else if (verdict == VERDICT_NONE)
        put_off(f, MQTTReasonCode_toString((enum MQTTReasonCodes)reason));
    else if (verdict == VERDICT_REFUSED)
        refuse(f, (uint8_t)reason);
    else if (reason >= 0x80)
        paho_settle(f, 0);
    else if (f->qos == 0)
        paho_settle(f, 0); /* at most once */
    else if (f->state == FLIGHT_SENT && code == MQTTASYNC_OPERATION_INCOMPLETE)
        paho_put_flight(f); /* Paho has dropped it with the session */
    /* Else writing it has failed: the connection is about to be lost. */
    pthread_mutex_unlock(&b->lock);
}

static void on_published(void *ctx, MQTTAsync_successData *data)
{
    (void)data;
    publish_succeeded(ctx);
}

static void on_published5(void *ctx, MQTTAsync_successData5 *data)
{
    (void)data;
    publish_succeeded(ctx);
}

static void on_publish_failed(void *ctx, MQTTAsync_failureData *data)
{
    publish_failed(ctx, data != NULL ? data->code : MQTTASYNC_FAILURE, 0);
}

static void on_publish_failed5(void *ctx, MQTTAsync_failureData5 *data)
{
    publish_failed(ctx, data->code, (int)data->reasonCode);
}

void paho_on_delivery_complete(void *ctx, MQTTAsync_token token)
{
    struct connection *c = ctx;
    pthread_mutex_lock(&c->broker->lock);
    struct flight *f = paho_find_carried_token(c, token);
    if (f != NULL && f->released)
        paho_settle(f, 0);
    else if (f != NULL)
        put_off(f, "it has refused a message"); /* published anew, it says why */
    pthread_mutex_unlock(&c->broker->lock);
}

/* ---- callbacks: subscribing ------------------------------------------------------------ */

static void report_answer(struct flight *f, int code)
{
    struct broker *b = f->conn->broker;
    pthread_mutex_lock(&b->lock);
    if (!f->silent) {
        struct notice *n = paho_add_notice(b, f->kind == FLIGHT_SUBSCRIBE ? BRIDGE_ON_SUBSCRIBED
                                                                          : BRIDGE_ON_UNSUBSCRIBED);
        n->event.subscribed.conn = f->conn->number;
        n->event.subscribed.request = f->request;
        n->event.subscribed.code = (uint8_t)code;
    }
    paho_put_flight(f);
    pthread_mutex_unlock(&b->lock);
}

static void on_answer(void *ctx, MQTTAsync_successData *data)
{
    struct flight *f = ctx;
    report_answer(f, f->kind == FLIGHT_SUBSCRIBE && data != NULL ? data->alt.qos : 0);
}

static void on_answer5(void *ctx, MQTTAsync_successData5 *data)
{
    struct flight *f = ctx;
    const int code = (int)data->reasonCode;
    /* 0x11, "no subscription existed", is as good as success. */
    report_answer(f, f->kind == FLIGHT_SUBSCRIBE || code >= 0x80 ? code : 0);
}

/* Refused by the broker; or the connection is gone, then nobody wants to know. */
static void answer_failed(struct flight *f, int reason)
{
    struct broker *b = f->conn->broker;
    if (reason >= 0x80) {
        report_answer(f, reason);
        return;
    }
    pthread_mutex_lock(&b->lock);
    paho_put_flight(f);
    pthread_mutex_unlock(&b->lock);
}

static void on_answer_failed(void *ctx, MQTTAsync_failureData *data)
{
    answer_failed(ctx, data != NULL ? data->code : 0);
}

static void on_answer_failed5(void *ctx, MQTTAsync_failureData5 *data)
{
    answer_failed(ctx, (int)data->reasonCode);
}

/* ---- our thread: messages ------------------------------------------------------------------------ */

/* What the broker would answer by closing the connection, again and again. */
static uint8_t check_publish(const struct connection *c, const struct command *command,
                             const char *topic)
{
    if (command->text_len == 0 || command->text_len > 65535 || strlen(topic) != command->text_len ||
        strpbrk(topic, "+#") != NULL)
        return REFUSED_TOPIC;
    if (c->max_packet != 0 &&
        command->text_len + command->body_len + PACKET_OVERHEAD > c->max_packet)
        return REFUSED_SIZE;
    if (command->retain && !c->can_retain)
        return REFUSED_RETAIN;
    return 0;
}

/* A flight for the message, or NULL when it must not be sent now. */
static struct flight *begin_publish(struct broker *b, const struct command *command,
                                    const char *topic)
{
    struct flight *f = NULL;
    pthread_mutex_lock(&b->lock);
    struct connection *c = paho_find_connection(b, command->conn);
    /* Paho's queue serves all connections; a flood of QoS 0 must not fill it. */
    while (c != NULL && command->qos == 0 && c->state == CONNECTION_UP && c->qos0 >= QOS0_IN_PAHO &&
           !(b->closing && paho_clock_ms() >= b->close_at_ms)) {
        const struct timespec soon = paho_clock_at(paho_clock_ms() + 100);
        pthread_cond_timedwait(&b->work, &b->lock, &soon);
    }
    if (c == NULL || c->state != CONNECTION_UP || !c->wanted)
        goto out; /* the core hands it over again after BROKER_UP */
    struct flight *before = paho_find_carried(c, command->seq);
    if (before != NULL) {
        before->asked = true;
        if (before->state == FLIGHT_SETTLED) {
            paho_report_delivered(b, command->conn, command->seq, before->code);
            paho_put_flight(before);
        }
        goto out;
    }
    const uint8_t refusal = check_publish(c, command, topic);
    if (refusal != 0) {
        paho_report_delivered(b, command->conn, command->seq, refusal);
        goto out;
    }
    f = paho_take_flight(c, FLIGHT_PUBLISH);
    f->seq = command->seq;
    f->qos = command->qos < c->max_qos ? command->qos : c->max_qos;
    f->queue = command->queue;
    f->order = command->order != 0 ? command->order : ++b->custody_order;
    f->recorded = command->foreseen;
    c->sending = f;
    if (f->qos == 0)
        c->qos0++;
    b->figures.published++;
out:
    if (f == NULL && command->foreseen != 0)
        store_flight_drop(b->options.store, STORE_FLIGHT_OUT, command->seq, command->conn);
    pthread_mutex_unlock(&b->lock);
    return f;
}

/* Paho has not taken the message: its context will not come back. */
static void publish_not_taken(struct connection *c, struct flight *f, int rc)
{
    struct broker *b = c->broker;
    const char *text = MQTTAsync_strerror(rc);
    bool disconnect = false;
    pthread_mutex_lock(&b->lock);
    b->figures.published--;
    if (rc == MQTTASYNC_BAD_UTF8_STRING) {
        paho_settle(f, REFUSED_TOPIC);
    } else {
        paho_custody_drop(f);
        paho_put_flight(f);
        /* MQTTASYNC_DISCONNECTED: BROKER_DOWN is on its way. Anything else is
         * unknown; a new connection makes it undecided, and tries again. */
        disconnect = rc != MQTTASYNC_DISCONNECTED && c->state == CONNECTION_UP;
        if (disconnect && c->wanted) {
            c->wanted = false;
            paho_carry_flights(c);
            paho_report_down(c, text != NULL ? text : "the client library took no message");
        }
    }
    pthread_mutex_unlock(&b->lock);
    if (disconnect)
        paho_begin_disconnect(c);
}

static MQTTAsync_responseOptions answer_to(struct flight *f)
{
    MQTTAsync_responseOptions o = MQTTAsync_responseOptions_initializer;
    const bool five = f->conn->handle_protocol == PROTOCOL_5;
    const bool publish = f->kind == FLIGHT_PUBLISH;
    o.context = f;
    if (five) {
        o.onSuccess5 = publish ? on_published5 : on_answer5;
        o.onFailure5 = publish ? on_publish_failed5 : on_answer_failed5;
    } else {
        o.onSuccess = publish ? on_published : on_answer;
        o.onFailure = publish ? on_publish_failed : on_answer_failed;
    }
    return o;
}

static void add_user_property(MQTTProperties *all, const char *name, const char *value)
{
    /* Paho copies both; its pointers are not const for historical reasons. */
    MQTTProperty p = {.identifier = MQTTPROPERTY_CODE_USER_PROPERTY};
    memcpy(&p.value.data.data, &name, sizeof name);
    memcpy(&p.value.value.data, &value, sizeof value);
    p.value.data.len = (int)strlen(name);
    p.value.value.len = (int)strlen(value);
    MQTTProperties_add(all, &p);
}

static uint64_t wall_clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t paho_own_ms(const struct broker *b)
{
    return b->options.store != NULL ? store_own_ms(b->options.store) : wall_clock_ms();
}

/* What we know of a message that its topic and payload do not say. */
static void add_user_properties(const struct broker *b, const struct command *command,
                                MQTTProperties *all)
{
    const uint64_t wall_ms = wall_clock_ms();
    const uint64_t received_ms = wall_ms - (paho_own_ms(b) - command->received_ms);
    const time_t seconds = (time_t)(received_ms / 1000);
    struct tm utc;
    char day[32];
    char text[48];
    if (command->link != UINT16_MAX && b->options.links != NULL)
        add_user_property(all, "link", b->options.links[command->link].name);
    if (timeline_is_set(wall_ms) && gmtime_r(&seconds, &utc) != NULL &&
        strftime(day, sizeof day, "%FT%T", &utc) > 0) {
        snprintf(text, sizeof text, "%s.%03uZ", day, (unsigned)(received_ms % 1000));
        add_user_property(all, "received", text);
    }
    if (command->signal_dbm != 0) {
        snprintf(text, sizeof text, "%d", command->signal_dbm);
        add_user_property(all, "signal", text);
    }
}

/* Properties are what costs most of a small message in the client library. */
static bool wants_user_properties(const struct broker *b, const struct command *command)
{
    switch ((enum broker_user_properties)b->options.user_properties) {
    case BROKER_PROPERTIES_NO:
        return false;
    case BROKER_PROPERTIES_LATE:
        return paho_own_ms(b) >= command->received_ms + LATE_MS;
    case BROKER_PROPERTIES_ALWAYS:
        return true;
    }
    return false;
}

static void add_publish_properties(const struct connection *c, const struct command *command,
                                   MQTTProperties *all)
{
    const size_t room = c->max_packet == 0 ? SIZE_MAX : c->max_packet;
    if (command->expiry_s != 0)
        paho_add_property(all, MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL, command->expiry_s);
    if (command->text_len + command->body_len + PACKET_OVERHEAD + USER_PROPERTIES_MAX <= room &&
        wants_user_properties(c->broker, command))
        add_user_properties(c->broker, command, all);
}

void paho_do_publish(struct broker *b, const struct command *command)
{
    const char *topic = (const char *)broker_mail_at(&b->working, command->text);
    struct flight *f = begin_publish(b, command, topic);
    if (f == NULL)
        return;
    struct connection *c = f->conn;
    MQTTAsync_message m = MQTTAsync_message_initializer;
    /* Paho copies it; its pointer is not const for historical reasons. */
    memcpy(&m.payload, &(const void *){broker_mail_at(&b->working, command->body)},
           sizeof m.payload);
    m.payloadlen = (int)command->body_len;
    m.qos = f->qos;
    m.retained = command->retain;
    MQTTAsync_responseOptions o = answer_to(f);
    if (c->handle_protocol == PROTOCOL_5)
        add_publish_properties(c, command, &m.properties);
    const int rc = MQTTAsync_sendMessage(c->handle, topic, &m, &o);
    MQTTProperties_free(&m.properties);
    pthread_mutex_lock(&b->lock);
    c->sending = NULL;
    pthread_mutex_unlock(&b->lock);
    if (rc != MQTTASYNC_SUCCESS)
        publish_not_taken(c, f, rc);
}

/* The same for SUBSCRIBE. What could not be asked for need not be ended either. */
static uint8_t check_subscribe(const struct connection *c, const struct command *command,
                               const char *filter)
{
    if (c->max_packet != 0 && command->text_len + FILTER_OVERHEAD > c->max_packet)
        return REFUSED_SIZE;
    if (!c->can_wildcard && strpbrk(filter, "+#") != NULL)
        return REFUSED_WILDCARD;
    return 0;
}

void paho_do_subscribe(struct broker *b, const struct command *command)
{
    const char *filter = (const char *)broker_mail_at(&b->working, command->text);
    struct flight *f = NULL;
    uint8_t refusal = 0;
    pthread_mutex_lock(&b->lock);
    struct connection *c = paho_find_connection(b, command->conn);
    if (c != NULL && c->state == CONNECTION_UP && c->wanted) {
        refusal = check_subscribe(c, command, filter);
        f = paho_take_flight(c, command->type == BRIDGE_DO_SUBSCRIBE ? FLIGHT_SUBSCRIBE
                                                                     : FLIGHT_UNSUBSCRIBE);
        f->request = command->request;
    }
    pthread_mutex_unlock(&b->lock);
    if (f == NULL)
        return; /* the core asks again after BROKER_UP */
    if (refusal != 0) {
        report_answer(f, command->type == BRIDGE_DO_SUBSCRIBE ? refusal : 0);
        return;
    }
    MQTTAsync_callOptions o = answer_to(f);
    o.subscribeOptions.retainHandling = command->wants_retained ? 0 : 2;
    if (command->type == BRIDGE_DO_SUBSCRIBE && c->can_name && command->id != 0)
        paho_add_property(&o.properties, MQTTPROPERTY_CODE_SUBSCRIPTION_IDENTIFIER, command->id);
    const int rc = command->type == BRIDGE_DO_SUBSCRIBE
                       ? MQTTAsync_subscribe(c->handle, filter, command->qos, &o)
                       : MQTTAsync_unsubscribe(c->handle, filter, &o);
    MQTTProperties_free(&o.properties);
    if (rc == MQTTASYNC_DISCONNECTED)
        answer_failed(f, 0);
    else if (rc != MQTTASYNC_SUCCESS)
        report_answer(f, 0x8F); /* MQTT 5, 3.9.3: topic filter invalid */
}
