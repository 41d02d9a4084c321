#include "bridge/broker_paho.h"
#include "bridge/broker_reach.h"
#include "bridge/broker_tls.h"
#include "bridge/pattern.h"
#include "bridge/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define REACH_MS         1000u /* to find out why a broker cannot be reached */
#define RECEIVE_MAX_NONE 65535u
/* MQTT 3.1.1 has no receive maximum, but brokers have one: mosquitto 2.0 acknowledges and forgets a
 * message beyond 20 in flight, then hangs up. */
#define RECEIVE_MAX_3_1_1 21u

/* ---- callbacks: connecting ------------------------------------------------------------------ */

static uint32_t property(const MQTTProperties *all, enum MQTTPropertyCodes code, uint32_t otherwise)
{
    for (int i = 0; all != NULL && i < all->count; i++) {
        const MQTTProperty *p = &all->array[i];
        if (p->identifier != code)
            continue;
        switch (MQTTProperty_getType(code)) {
        case MQTTPROPERTY_TYPE_BYTE:
            return p->value.byte;
        case MQTTPROPERTY_TYPE_TWO_BYTE_INTEGER:
            return p->value.integer2;
        case MQTTPROPERTY_TYPE_FOUR_BYTE_INTEGER:
        case MQTTPROPERTY_TYPE_VARIABLE_BYTE_INTEGER:
            return p->value.integer4;
        default:
            return otherwise;
        }
    }
    return otherwise;
}

/* The attempt to connect is over, in whatever way. With the lock. */
static void end_attempt(struct connection *c)
{
    struct broker *b = c->broker;
    if (c->state == CONNECTION_CONNECTING && --b->connecting == 0 && b->wake != NULL)
        broker_wake_rest(b->wake);
}

/* Whenever one connection comes up with something carried, Paho repeats what is
 * in flight on all others as well. A PUBREL sent twice is answered twice, and the
 * second PUBCOMP ends whatever message has that packet id by then: a new handle
 * begins with low ids, which the carried messages have too. So, unless there is no
 * other connection, one with something carried only brings that to its end; then
 * it is made anew, and late answers end with it. */
static bool is_alone(const struct broker *b)
{
    size_t count = 0;
    for (size_t i = 0; i < BUCKETS && count < 2; i++)
        for (const struct connection *c = b->connections[i]; c != NULL; c = c->next)
            count++;
    return count < 2;
}

static void connected(struct connection *c, bool session_present, const MQTTProperties *said)
{
    struct broker *b = c->broker;
    paho_claim_socket(c);
    if (c->has_will && c->handle_protocol != PROTOCOL_5)
        paho_hold_socket(c);
    paho_meter_watch(c);
    pthread_mutex_lock(&b->lock);
    end_attempt(c);
    c->state = CONNECTION_UP;
    c->cut = false;
    c->why[0] = '\0';
    b->protocol = c->handle_protocol;
    c->max_qos = (uint8_t)property(said, MQTTPROPERTY_CODE_MAXIMUM_QOS, 2);
    c->can_name = c->handle_protocol == PROTOCOL_5 &&
                  property(said, MQTTPROPERTY_CODE_SUBSCRIPTION_IDENTIFIERS_AVAILABLE, 1) != 0;
    c->can_retain = property(said, MQTTPROPERTY_CODE_RETAIN_AVAILABLE, 1) != 0;
    c->can_wildcard = property(said, MQTTPROPERTY_CODE_WILDCARD_SUBSCRIPTION_AVAILABLE, 1) != 0;
    c->max_packet = property(said, MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE, 0);
    /* Paho 1.3.12 does not obey it by itself, and a broker that hears nothing for longer
     * publishes the will of a sensor that is well: this connection is made anew at once. */
    const uint32_t keepalive_s = property(said, MQTTPROPERTY_CODE_SERVER_KEEP_ALIVE, 0);
    const bool is_too_quiet = keepalive_s != 0 && keepalive_s < c->keepalive_s;
    if (is_too_quiet)
        b->keepalive_s = (uint16_t)keepalive_s;
    if (!session_present)
        paho_custody_forget(c);
    c->proved = true;
    c->todo_renew = false;
    c->session_present = session_present;
    c->start_over = false;
    if (!c->wanted) {
        c->todo_close = true;
        b->todo = true;
        pthread_cond_broadcast(&b->work);
    } else {
        /* Paho stalls for a second when its limit is met: stay one below. */
        const uint32_t receive_max =
            said == NULL ? RECEIVE_MAX_3_1_1
                         : property(said, MQTTPROPERTY_CODE_RECEIVE_MAXIMUM, RECEIVE_MAX_NONE);
        uint32_t window = receive_max > 1 ? receive_max - 1 : 1;
        if (window > b->options.max_inflight)
            window = b->options.max_inflight;
        if (c->window_news == WINDOW_PROVED)
            c->window_limit *= 2;
        if (c->window_limit != 0 && window > c->window_limit)
            window = c->window_limit;
        else
            c->window_limit = 0;
        c->window = (uint16_t)window;
        c->window_news = WINDOW_UNTRIED;
        c->finishing = is_too_quiet || (paho_has_carried(c) && !is_alone(b));
        paho_finish_when_done(c);
    }
    if (c->wanted && !c->finishing) {
        struct notice *n = paho_add_notice(b, BRIDGE_ON_BROKER_UP);
        n->event.up.conn = c->number;
        n->event.up.attempt = c->attempt;
        n->event.up.session_present = session_present;
        n->event.up.window = c->window;
        n->event.up.max_qos = c->max_qos;
    }
    pthread_mutex_unlock(&b->lock);
}

static void on_connected(void *ctx, MQTTAsync_successData *data)
{
    connected(ctx, data != NULL && data->alt.connect.sessionPresent != 0, NULL);
}

static void on_connected5(void *ctx, MQTTAsync_successData5 *data)
{
    connected(ctx, data->alt.connect.sessionPresent != 0, &data->properties);
}

/* MQTT 3.1.1, 3.2.2.3. */
static const char *refusal_3_1_1(int code)
{
    static const char *const names[] = {
        "accepted",           "unacceptable protocol version", "client identifier rejected",
        "server unavailable", "bad user name or password",     "not authorised",
    };
    return code >= 1 && code <= 5 ? names[code] : NULL;
}

/* What MQTT 5 has for a refusal; 0: it is none. */
static uint8_t refusal_code(const struct connection *c, int code, int reason)
{
    static const uint8_t codes[] = {0, 0x84, 0x85, 0x88, 0x86, 0x87};
    if (c->handle_protocol != PROTOCOL_5)
        return code >= 1 && code <= 5 ? codes[code] : 0;
    return (uint8_t)(reason >= 0x80 ? reason : code >= 0x80 ? code : 0);
}

/* MQTT 3.1.1: 4, 5; MQTT 5: 0x86, 0x87. */
static bool is_login_refused(int code)
{
    return code == 4 || code == 5 || code == 0x86 || code == 0x87;
}

/* One line for the operator: why the attempt failed. False: Paho did not say. */
static bool explain(const struct connection *c, int code, int reason, const char *message,
                    char *why, size_t size)
{
    const char *refusal = refusal_3_1_1(code);
    if (c->handle_protocol == PROTOCOL_5)
        refusal = MQTTReasonCode_toString((enum MQTTReasonCodes)(reason >= 0x80 ? reason : code));
    if (refusal != NULL && (code > 0 || reason >= 0x80))
        snprintf(why, size, "refused by the broker: %s%s", refusal,
                 is_login_refused(code) || is_login_refused(reason)
                     ? "; check username and password"
                     : "");
    else if (message != NULL && strstr(message, "timeout") != NULL)
        snprintf(why, size, "no answer within %u s", c->broker->options.connect_timeout_s);
    else
        return false;
    return true;
}

/* Whether the broker does not speak the protocol we tried: it says so (MQTT 5:
 * 0x84; 3.1.1: 1), or it hangs up on our CONNECT without a word, which it also
 * does when it is being stopped: so not when the protocol has worked before. */
static bool is_wrong_protocol(const struct connection *c, int code, int reason, const char *message)
{
    return reason == 0x84 || code == 0x84 || code == 1 ||
           (!c->proved && message != NULL && strstr(message, "completion") != NULL);
}

static void connect_failed(struct connection *c, int code, int reason, const char *message)
{
    struct broker *b = c->broker;
    char why[WHY_MAX];
    pthread_mutex_lock(&b->lock);
    end_attempt(c);
    c->state = CONNECTION_IDLE;
    const bool refused = refusal_code(c, code, reason) != 0;
    c->silent = c->silent || (message != NULL && strstr(message, "timeout") != NULL);
    if (!refused && paho_address_next(c) && c->wanted) {
        c->todo_again = true;
        b->todo = true;
    } else if (!c->fell_back && b->options.protocol == PROTOCOL_5 && c->wanted &&
               is_wrong_protocol(c, code, reason, message)) {
        c->todo_retry = true;
        b->todo = true;
    } else if (c->wanted && (refused || !c->several_addresses) &&
               explain(c, code, reason, message, why, sizeof why)) {
        c->wanted = false;
        c->code = refusal_code(c, code, reason);
        paho_report_down(c, why);
    } else if (c->wanted) {
        c->todo_explain = true;
        b->todo = true;
    }
    pthread_cond_broadcast(&b->work);
    pthread_mutex_unlock(&b->lock);
}

static void on_connect_failed(void *ctx, MQTTAsync_failureData *data)
{
    connect_failed(ctx, data != NULL ? data->code : -1, 0, data != NULL ? data->message : NULL);
}

static void on_connect_failed5(void *ctx, MQTTAsync_failureData5 *data)
{
    connect_failed(ctx, data->code, (int)data->reasonCode, data->message);
}

static void closed(struct connection *c)
{
    struct broker *b = c->broker;
    paho_forget_socket(c);
    pthread_mutex_lock(&b->lock);
    c->todo_renew = false;
    const bool finished = c->finishing && !paho_has_carried(c);
    c->finishing = false;
    c->todo_finish = false;
    if (finished && c->wanted) {
        paho_carry_flights(c);
        c->todo_again = true;
    } else if ((c->state == CONNECTION_UP || c->state == CONNECTION_CLOSING) && c->wanted) {
        c->wanted = false;
        paho_carry_flights(c);
        paho_report_down(c, c->why[0] != '\0' ? c->why : "connection lost");
    } else {
        paho_carry_flights(c);
    }
    c->state = CONNECTION_IDLE;
    c->todo_retire = true;
    b->todo = true;
    pthread_cond_broadcast(&b->work);
    pthread_mutex_unlock(&b->lock);
}

/* MQTT 5: the broker said DISCONNECT; on_lost follows,
 * unless the library was just writing. */
static void on_disconnect(void *ctx, MQTTProperties *properties, enum MQTTReasonCodes reason)
{
    struct connection *c = ctx;
    (void)properties;
    const char *text = MQTTReasonCode_toString(reason);
    pthread_mutex_lock(&c->broker->lock);
    snprintf(c->why, sizeof c->why, "the broker disconnected us: %s",
             text != NULL ? text : "no known reason");
    pthread_mutex_unlock(&c->broker->lock);
    closed(c);
}

static void on_lost(void *ctx, char *cause)
{
    (void)cause; /* always NULL */
    closed(ctx);
}

static void on_disconnected(void *ctx, MQTTAsync_successData *data)
{
    (void)data;
    closed(ctx);
}

static void on_disconnected5(void *ctx, MQTTAsync_successData5 *data)
{
    (void)data;
    closed(ctx);
}

static void on_disconnect_failed(void *ctx, MQTTAsync_failureData *data)
{
    (void)data;
    closed(ctx);
}

static void on_disconnect_failed5(void *ctx, MQTTAsync_failureData5 *data)
{
    (void)data;
    closed(ctx);
}

/* ---- our thread: connections ------------------------------------------------------------------- */

struct connection *paho_find_connection(struct broker *b, uint32_t number)
{
    struct connection *c = b->connections[number % BUCKETS];
    while (c != NULL && c->number != number)
        c = c->next;
    return c;
}

struct connection *paho_add_connection(struct broker *b, uint32_t number)
{
    struct connection *c = paho_allocate(sizeof *c);
    c->broker = b;
    c->number = number;
    c->held_fd = -1;
    paho_ring_init(&c->flights);
    paho_ring_init(&c->carried);
    broker_keep_init(&c->keep);
    pthread_mutex_lock(&b->lock);
    c->next = b->connections[number % BUCKETS];
    b->connections[number % BUCKETS] = c;
    pthread_mutex_unlock(&b->lock);
    return c;
}

/* ---- our thread: handles ---- */

/* Which of the lost messages the next handle will find in its persistence. */
static void sort_lost(struct connection *c)
{
    struct flight *f = c->carried.next;
    while (f != &c->carried) {
        struct flight *next = f->next;
        char sent[BROKER_KEEP_NAME];
        char released[BROKER_KEEP_NAME];
        size_t len;
        paho_key_of(c, "s", f->token, sent);
        paho_key_of(c, "sc", f->token, released);
        f->released = broker_keep_find(&c->keep, released, &len) != NULL;
        if (f->state == FLIGHT_LOST &&
            (f->released || broker_keep_find(&c->keep, sent, &len) != NULL))
            f->state = FLIGHT_CARRIED;
        else if (f->state == FLIGHT_LOST) {
            paho_custody_drop(f);
            paho_put_flight(f);
        }
        f = next;
    }
}

/* What the broker has not answered at all is forgotten here: the core hands it over again
 * when it is its turn. The broker may hang up on one of them. */
static void drop_unanswered(struct connection *c)
{
    char sent[BROKER_KEEP_NAME];
    pthread_mutex_lock(&c->broker->lock);
    for (struct flight *f = c->carried.next, *next; f != &c->carried; f = next) {
        next = f->next;
        if (f->state != FLIGHT_CARRIED || f->released)
            continue;
        paho_key_of(c, "s", f->token, sent);
        broker_keep_remove(&c->keep, sent);
        paho_custody_drop(f);
        paho_put_flight(f);
    }
    pthread_mutex_unlock(&c->broker->lock);
}

/* Destroys the handle, but not what is in flight. */
void paho_retire_handle(struct connection *c)
{
    struct broker *b = c->broker;
    char key[BROKER_KEEP_NAME];
    pthread_mutex_lock(&paho_library);
    if (c->handle != NULL)
        MQTTAsync_destroy(&c->handle);
    pthread_mutex_unlock(&paho_library);
    c->handle = NULL;
    paho_forget_socket(c);
    pthread_mutex_lock(&b->lock);
    c->todo_retire = false;
    while (c->flights.next != &c->flights)
        paho_put_flight(c->flights.next);
    /* The broker will send it again, and Paho must not take it for known. */
    paho_key_of(c, "r", c->refused_mid, key);
    broker_keep_remove(&c->keep, key);
    if (c->refused_mid != 0 && !b->closing && b->options.store != NULL)
        store_flight_drop(b->options.store, STORE_FLIGHT_IN, (uint64_t)c->refused_mid, c->number);
    c->refused_mid = 0;
    c->last_mid = 0;
    /* A clean session of MQTT 3.1.1 ends with its connection. */
    if (c->start_over || (c->handle_protocol != PROTOCOL_5 && (c->clean || c->transient)))
        paho_custody_forget(c);
    sort_lost(c);
    pthread_mutex_unlock(&b->lock);
}

void paho_free_connection(struct connection *c)
{
    struct broker *b = c->broker;
    paho_retire_handle(c);
    pthread_mutex_lock(&b->lock);
    while (c->carried.next != &c->carried)
        paho_put_flight(c->carried.next);
    pthread_mutex_unlock(&b->lock);
    broker_keep_free(&c->keep);
    free(c->client_id);
    free(c->will_topic);
    free(c->will_message);
    free(c);
}

static int make_handle(struct connection *c)
{
    struct broker *b = c->broker;
    c->persistence = paho_persistence(c);
    MQTTAsync_createOptions o = MQTTAsync_createOptions_initializer;
    o.MQTTVersion = b->protocol;
    o.maxBufferedMessages = INT32_MAX; /* our window is the limit */
    o.restoreMessages = 0;             /* what was not written, the core hands over again */
    o.persistQoS0 = 0;
    int rc = MQTTAsync_createWithOptions(&c->handle, b->url, c->client_id,
                                         MQTTCLIENT_PERSISTENCE_USER, &c->persistence, &o);
    if (rc != MQTTASYNC_SUCCESS) {
        c->handle = NULL;
        return rc;
    }
    c->handle_protocol = b->protocol;
    rc = MQTTAsync_setCallbacks(c->handle, c, on_lost, paho_on_message, paho_on_delivery_complete);
    if (rc == MQTTASYNC_SUCCESS)
        rc = MQTTAsync_setDisconnected(c->handle, c, on_disconnect);
    return rc;
}

static bool is_tls(const char *url)
{
    return strncasecmp(url, "ssl:", 4) == 0 || strncasecmp(url, "wss:", 4) == 0 ||
           strncasecmp(url, "mqtts:", 6) == 0;
}

void paho_add_property(MQTTProperties *all, enum MQTTPropertyCodes code, uint32_t value)
{
    MQTTProperty p = {.identifier = code, .value.integer4 = value};
    MQTTProperties_add(all, &p);
}

/* Without a callback Paho leaves OpenSSL's queue of errors as it is, and takes old ones for
 * new. What it says is for programmers; broker_tls.h has it for operators. */
static int on_tls_error(const char *text, size_t len, void *ctx)
{
    (void)text;
    (void)len;
    (void)ctx;
    return 1;
}

/* A sensor's own connection logs in with what its client id has in the list. */
static void set_login(const struct connection *c, MQTTAsync_connectOptions *o)
{
    const struct broker_options *all = &c->broker->options;
    const struct sn_bytes id = sn_bytes_text(c->client_id);
    o->username = c->broker->username;
    o->password = c->broker->password;
    for (size_t i = 0; c->number != 0 && i < all->login_count; i++) {
        if (pattern_matches(sn_bytes_text(all->logins[i].pattern), id)) {
            o->username = all->logins[i].username;
            o->password = all->logins[i].password;
            return;
        }
    }
}

static int begin_connect(struct connection *c)
{
    struct broker *b = c->broker;
    const bool five = c->handle_protocol == PROTOCOL_5;
    MQTTAsync_connectOptions o = MQTTAsync_connectOptions_initializer;
    MQTTAsync_SSLOptions tls = MQTTAsync_SSLOptions_initializer;
    MQTTAsync_willOptions will = MQTTAsync_willOptions_initializer;
    MQTTProperties properties = MQTTProperties_initializer;

    o.MQTTVersion = c->handle_protocol;
    o.keepAliveInterval = c->keepalive_s;
    o.connectTimeout = b->options.connect_timeout_s;
    o.maxInflight = RECEIVE_MAX_NONE;
    set_login(c, &o);
    o.context = c;
    const bool clean = c->clean || c->start_over;
    o.cleansession = five ? 0 : clean || c->transient;
    o.cleanstart = five ? clean : 0;
    if (five) {
        o.onSuccess5 = on_connected5;
        o.onFailure5 = on_connect_failed5;
        paho_add_property(&properties, MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL,
                          b->options.session_expiry_s);
        if (b->options.max_packet != 0)
            paho_add_property(&properties, MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE,
                              b->options.max_packet);
        o.connectProperties = &properties;
    } else {
        o.onSuccess = on_connected;
        o.onFailure = on_connect_failed;
    }
    if (c->has_will) {
        will.topicName = c->will_topic;
        will.payload.data = c->will_message;
        will.payload.len = (int)c->will_len;
        will.qos = c->will_qos;
        will.retained = c->will_retain;
        o.will = &will;
    }
    if (is_tls(b->url)) {
        tls.trustStore = b->ca_file;
        tls.keyStore = b->cert_file;
        tls.privateKey = b->key_file != NULL ? b->key_file : b->cert_file;
        tls.enableServerCertAuth = b->options.verify;
        tls.verify = b->options.verify;
        tls.ssl_error_cb = on_tls_error;
        o.ssl = &tls;
    }
    const int rc = MQTTAsync_connect(c->handle, &o);
    MQTTProperties_free(&properties);
    return rc;
}

static void fail_at_once(struct connection *c, int rc)
{
    const char *text = MQTTAsync_strerror(rc);
    char why[WHY_MAX];
    snprintf(why, sizeof why, "cannot connect: %s", text != NULL ? text : "unknown error");
    pthread_mutex_lock(&c->broker->lock);
    end_attempt(c);
    c->state = CONNECTION_IDLE;
    c->wanted = false;
    paho_report_down(c, why);
    pthread_mutex_unlock(&c->broker->lock);
}

/* A session of one protocol cannot be taken up with the other. */
static void change_protocol(struct connection *c)
{
    paho_retire_handle(c);
    pthread_mutex_lock(&c->broker->lock);
    paho_custody_forget(c);
    c->proved = false;
    pthread_mutex_unlock(&c->broker->lock);
}

/* The connection is idle: Paho's connect must not be called otherwise. */
static void try_connect(struct connection *c)
{
    struct broker *b = c->broker;
    pthread_mutex_lock(&b->lock);
    c->state = CONNECTION_CONNECTING;
    c->todo_close = false;
    c->cut = false;
    c->why[0] = '\0';
    paho_take_options(b);
    c->keepalive_s = b->keepalive_s;
    b->figures.connects++;
    b->connecting++;
    const bool retire = c->todo_retire || c->careful; /* an old one has read what it repeats */
    pthread_mutex_unlock(&b->lock);
    if (b->wake != NULL)
        broker_wake_hurry(b->wake);

    int rc = MQTTASYNC_SUCCESS;
    paho_address_find(b);
    c->address = paho_address(b);
    c->several_addresses = b->address_count > 1;
    if (retire)
        paho_retire_handle(c);
    if (c->careful)
        drop_unanswered(c);
    if (c->handle_protocol != 0 && c->handle_protocol != b->protocol)
        change_protocol(c);
    pthread_mutex_lock(&paho_library);
    if (c->handle == NULL)
        rc = make_handle(c);
    if (rc == MQTTASYNC_SUCCESS)
        rc = begin_connect(c);
    pthread_mutex_unlock(&paho_library);
    if (rc != MQTTASYNC_SUCCESS)
        fail_at_once(c, rc);
}

void paho_connect_again(struct connection *c)
{
    pthread_mutex_lock(&c->broker->lock);
    const bool wanted = c->wanted && c->state == CONNECTION_IDLE;
    c->todo_again = false;
    pthread_mutex_unlock(&c->broker->lock);
    if (wanted)
        try_connect(c);
}

void paho_fall_back(struct connection *c)
{
    struct broker *b = c->broker;
    pthread_mutex_lock(&b->lock);
    c->fell_back = true;
    c->addresses_tried = 0;
    b->protocol = c->handle_protocol == PROTOCOL_5 ? PROTOCOL_3_1_1 : PROTOCOL_5;
    pthread_mutex_unlock(&b->lock);
    try_connect(c);
}

/* The attempt is made again by hand, as far as the reason is not clear. */
static void find_out(const struct connection *c, char *why, size_t size)
{
    const struct broker *b = c->broker;
    if (!broker_reach(b->host, b->port, REACH_MS, why, size))
        return;
    if (is_tls(b->url)) {
        if (broker_tls_reach(&b->options, b->host, b->port, REACH_MS, why, size))
            snprintf(why, size, "TLS works, but the connection was closed before CONNACK");
    } else if (broker_tls_is_spoken(b->host, b->port, REACH_MS)) {
        snprintf(why, size, "the broker speaks TLS at this port; ssl:// is wanted in url");
    } else if (c->silent) {
        snprintf(why, size, "no answer within %u s", b->options.connect_timeout_s);
    } else {
        snprintf(why, size, "the connection was closed before CONNACK");
    }
}

void paho_report_unreachable(struct connection *c)
{
    struct broker *b = c->broker;
    char why[WHY_MAX];
    find_out(c, why, sizeof why);
    pthread_mutex_lock(&b->lock);
    if (c->wanted && c->state == CONNECTION_IDLE) {
        c->wanted = false;
        paho_report_down(c, why);
    }
    pthread_mutex_unlock(&b->lock);
}

static void wait_until_idle(struct connection *c, uint32_t wait_ms)
{
    struct broker *b = c->broker;
    const struct timespec until = paho_clock_at(paho_clock_ms() + wait_ms);
    pthread_mutex_lock(&b->lock);
    while (c->state == CONNECTION_CLOSING && !b->abandoned)
        if (pthread_cond_timedwait(&b->work, &b->lock, &until) == ETIMEDOUT)
            break;
    pthread_mutex_unlock(&b->lock);
}

void paho_begin_disconnect(struct connection *c)
{
    struct broker *b = c->broker;
    pthread_mutex_lock(&b->lock);
    c->todo_close = false;
    const bool up = c->state == CONNECTION_UP;
    if (up)
        c->state = CONNECTION_CLOSING;
    c->cut = !c->wanted;
    pthread_cond_broadcast(&b->accepted);
    pthread_mutex_unlock(&b->lock);
    if (!up)
        return;
    if (c->with_will && paho_cut_socket(c))
        return; /* on_lost follows */
    MQTTAsync_disconnectOptions o = MQTTAsync_disconnectOptions_initializer;
    MQTTAsync_disconnectOptions o5 = MQTTAsync_disconnectOptions_initializer5;
    o.context = c;
    o.onSuccess = on_disconnected;
    o.onFailure = on_disconnect_failed;
    o5.context = c;
    o5.onSuccess5 = on_disconnected5;
    o5.onFailure5 = on_disconnect_failed5;
    if (c->with_will)
        o5.reasonCode = MQTTREASONCODE_DISCONNECT_WITH_WILL_MESSAGE;
    if (c->forget && c->handle_protocol == PROTOCOL_5)
        paho_add_property(&o5.properties, MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, 0);
    /* When Paho says that it is not connected, on_lost has been or will be called. */
    MQTTAsync_disconnect(c->handle, c->handle_protocol == PROTOCOL_5 ? &o5 : &o);
    MQTTProperties_free(&o5.properties);
}

static void replace_text(char **text, const uint8_t *from, size_t len)
{
    free(*text);
    *text = paho_allocate(len + 1);
    memcpy(*text, from, len);
}

void paho_do_connect(struct broker *b, const struct command *command)
{
    struct connection *c = paho_find_connection(b, command->conn);
    if (c == NULL)
        c = paho_add_connection(b, command->conn);
    wait_until_idle(c, DISCONNECT_MS);
    pthread_mutex_lock(&b->lock);
    c->wanted = true;
    c->fell_back = false;
    c->addresses_tried = 0;
    c->silent = false;
    c->attempt = command->attempt;
    const bool closing = c->state == CONNECTION_CLOSING;
    const bool idle = c->state == CONNECTION_IDLE;
    if (closing) {
        c->wanted = false;
        paho_report_down(c, "the last connection cannot be closed");
    }
    pthread_mutex_unlock(&b->lock);
    if (!idle)
        return; /* it is being made already */
    const uint8_t *id = broker_mail_at(&b->working, command->client_id);
    size_t id_len = command->client_id_len;
    if (command->conn == 0 && id_len == 0) {
        id = (const uint8_t *)b->client_id;
        id_len = strlen(b->client_id);
    }
    replace_text(&c->client_id, id, id_len);
    c->clean = command->clean;
    c->transient = command->transient;
    c->careful = command->careful;
    c->forget = c->with_will = false;
    c->has_will = command->has_will;
    c->will_qos = command->qos;
    c->will_retain = command->retain;
    replace_text(&c->will_topic, broker_mail_at(&b->working, command->text), command->text_len);
    free(c->will_message);
    c->will_len = command->body_len;
    c->will_message = paho_allocate(c->will_len + 1);
    memcpy(c->will_message, broker_mail_at(&b->working, command->body), c->will_len);
    paho_custody_connect(c);
    try_connect(c);
}

static void remove_connection(struct connection *c)
{
    struct broker *b = c->broker;
    pthread_mutex_lock(&b->lock);
    struct connection **p = &b->connections[c->number % BUCKETS];
    while (*p != c)
        p = &(*p)->next;
    *p = c->next;
    pthread_mutex_unlock(&b->lock);
    paho_free_connection(c);
}

void paho_do_disconnect(struct broker *b, const struct command *command)
{
    struct connection *c = paho_find_connection(b, command->conn);
    if (c == NULL)
        return;
    pthread_mutex_lock(&b->lock);
    c->wanted = false;
    c->todo_retry = false;
    c->forget = command->forget;
    c->with_will = command->with_will;
    pthread_mutex_unlock(&b->lock);
    paho_begin_disconnect(c);
    if (c->number == 0)
        return;
    wait_until_idle(c, DISCONNECT_MS);
    pthread_mutex_lock(&b->lock);
    end_attempt(c);
    c->state = CONNECTION_IDLE;
    const bool usable = !b->abandoned;
    pthread_mutex_unlock(&b->lock);
    if (!usable)
        return;
    paho_retire_handle(c);
    if (c->forget) {
        pthread_mutex_lock(&b->lock);
        paho_custody_forget(c);
        pthread_mutex_unlock(&b->lock);
    }
    if (c->carried.next == &c->carried && c->keep.count == 0)
        remove_connection(c);
    /* Else what is in flight in its session is still needed when it comes back. */
}
