#include "bridge/broker_paho.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WAITING_MAX    65536u /* commands of the loop before QoS 0 is refused */
#define WAITING_OCTETS (64u * 1024u * 1024u)
#define KICK_MS        5u    /* without progress, until Paho is signalled again */
#define KICK_MAX_MS    160u  /* the same after several in vain */
#define GIVE_UP_MS     4000u /* broker_close: beyond this the thread is left behind */

/* Making and ending handles, one at a time: Paho shares everything between all
 * handles of a process, and we have a thread for each struct broker. */
pthread_mutex_t paho_library = PTHREAD_MUTEX_INITIALIZER;

static char *copy_text(const char *text)
{
    if (text == NULL)
        return NULL;
    char *copy = strdup(text);
    assert(copy != NULL);
    return copy;
}

static void do_command(struct broker *b, const struct command *command)
{
    if (command->type == BRIDGE_DO_CONNECT)
        paho_do_connect(b, command);
    else if (command->type == BRIDGE_DO_DISCONNECT)
        paho_do_disconnect(b, command);
    else if (command->type == BRIDGE_DO_PUBLISH)
        paho_do_publish(b, command);
    else
        paho_do_subscribe(b, command);
}

/* What a callback has left for us to do. */
static void do_rest(struct broker *b)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct connection *c = b->connections[i]; c != NULL; c = c->next) {
            pthread_mutex_lock(&b->lock);
            const bool retire = c->todo_retire && c->state == CONNECTION_IDLE;
            const bool retry = c->todo_retry;
            const bool unknown = c->todo_explain && c->wanted;
            const bool again = c->todo_again;
            const bool close = (c->todo_close && !c->wanted) || c->todo_renew || c->todo_finish;
            c->todo_renew = false;
            c->todo_finish = false;
            c->todo_retry = false;
            c->todo_explain = false;
            pthread_mutex_unlock(&b->lock);
            if (retire)
                paho_retire_handle(c);
            if (again)
                paho_connect_again(c);
            else if (retry)
                paho_fall_back(c);
            else if (unknown)
                paho_report_unreachable(c);
            else if (close)
                paho_begin_disconnect(c);
        }
    }
}

/* ---- our thread: beginning and end ---------------------------------------------------------------- */

static void on_wake(void *ctx, MQTTAsync_successData *data)
{
    (void)ctx;
    (void)data;
}

static void on_wake_failed(void *ctx, MQTTAsync_failureData *data)
{
    (void)ctx;
    (void)data;
}

static void on_wake_lost(void *ctx, char *cause)
{
    (void)ctx;
    (void)cause;
}

static int on_wake_message(void *ctx, char *topic, int topic_len, MQTTAsync_message *message)
{
    (void)ctx;
    (void)topic_len;
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    return 1;
}

static void open_wake(struct broker *b)
{
    char url[64];
    if (broker_wake_open(&b->wake, url, sizeof url) < 0) {
        b->wake = NULL;
        return;
    }
    MQTTAsync_createOptions create = MQTTAsync_createOptions_initializer;
    create.MQTTVersion = MQTTVERSION_3_1_1;
    if (MQTTAsync_createWithOptions(&b->wake_client, url, "wake", MQTTCLIENT_PERSISTENCE_NONE, NULL,
                                    &create) != MQTTASYNC_SUCCESS) {
        b->wake_client = NULL;
        return;
    }
    MQTTAsync_connectOptions o = MQTTAsync_connectOptions_initializer;
    o.MQTTVersion = MQTTVERSION_3_1_1;
    /* Paho derives how often it looks at keep-alives from the last value given. */
    o.keepAliveInterval = b->options.keepalive_s;
    o.onSuccess = on_wake;
    o.onFailure = on_wake_failed;
    MQTTAsync_setCallbacks(b->wake_client, NULL, on_wake_lost, on_wake_message, NULL);
    MQTTAsync_connect(b->wake_client, &o);
}

/* Paho's sending thread can go to sleep for a second although it was signalled:
 * it looks at its queue first and waits afterwards. So as long as something is
 * on its way and nothing ends, it is signalled again, by a message to our own
 * listener. */
static void kick(struct broker *b)
{
    MQTTAsync_message m = MQTTAsync_message_initializer;
    if (b->wake_client != NULL)
        MQTTAsync_sendMessage(b->wake_client, "kick", &m, NULL);
}

/* Messages of a live connection that the broker has not taken. With the lock. */
static bool is_busy(const struct broker *b)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (const struct connection *c = b->connections[i]; c != NULL; c = c->next) {
            if (c->state != CONNECTION_UP)
                continue;
            for (const struct flight *f = c->flights.next; f != &c->flights; f = f->next)
                if (f->kind == FLIGHT_PUBLISH && !f->silent)
                    return true;
            for (const struct flight *f = c->carried.next; f != &c->carried; f = f->next)
                if (f->state != FLIGHT_SETTLED)
                    return true;
        }
    }
    return false;
}

static bool is_any_up(const struct broker *b)
{
    for (size_t i = 0; i < BUCKETS; i++)
        for (const struct connection *c = b->connections[i]; c != NULL; c = c->next)
            if (c->state == CONNECTION_UP || c->state == CONNECTION_CLOSING)
                return true;
    return false;
}

static void close_all(struct broker *b)
{
    pthread_mutex_lock(&b->lock);
    while (is_busy(b) && !b->abandoned && paho_clock_ms() < b->close_at_ms) {
        const struct timespec soon = paho_clock_at(paho_clock_ms() + 4 * KICK_MS);
        if (pthread_cond_timedwait(&b->work, &b->lock, &soon) == ETIMEDOUT) {
            pthread_mutex_unlock(&b->lock);
            kick(b);
            pthread_mutex_lock(&b->lock);
        }
    }
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct connection *c = b->connections[i]; c != NULL; c = c->next)
            c->wanted = false;
    bool abandoned = b->abandoned;
    pthread_mutex_unlock(&b->lock);
    for (size_t i = 0; i < BUCKETS && !abandoned; i++)
        for (struct connection *c = b->connections[i]; c != NULL; c = c->next)
            paho_begin_disconnect(c);

    pthread_mutex_lock(&b->lock);
    const struct timespec late = paho_clock_at(paho_clock_ms() + DISCONNECT_MS);
    while (is_any_up(b) && !b->abandoned)
        if (pthread_cond_timedwait(&b->work, &b->lock, &late) == ETIMEDOUT)
            break;
    abandoned = b->abandoned;
    pthread_mutex_unlock(&b->lock);
    if (abandoned)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        while (b->connections[i] != NULL) {
            struct connection *c = b->connections[i];
            b->connections[i] = c->next;
            paho_free_connection(c);
        }
    }
    pthread_mutex_lock(&paho_library);
    if (b->wake_client != NULL)
        MQTTAsync_destroy(&b->wake_client);
    pthread_mutex_unlock(&paho_library);
}

/* Once: Paho initialises its locks again, whoever waits for them. */
static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static void init_library(void)
{
    MQTTAsync_init_options init = MQTTAsync_init_options_initializer;
    init.do_openssl_init = 1;
    MQTTAsync_global_init(&init);
}

/* Waits for something to do. True: nothing ends, and a kick may help. */
static bool wait_for_work(struct broker *b, uint32_t *kick_ms)
{
    const uint64_t before = b->progress;
    bool late = false;
    while (b->commands.count == 0 && !b->todo && !b->closing && !late) {
        const struct timespec until = paho_clock_at(paho_clock_ms() + *kick_ms);
        if (b->sent == 0)
            pthread_cond_wait(&b->work, &b->lock);
        else
            late = pthread_cond_timedwait(&b->work, &b->lock, &until) == ETIMEDOUT;
    }
    if (!late || b->progress != before) {
        *kick_ms = KICK_MS;
        return false;
    }
    *kick_ms = *kick_ms < KICK_MAX_MS ? *kick_ms * 2 : KICK_MAX_MS;
    return true;
}

static void *run(void *ctx)
{
    struct broker *b = ctx;
    uint32_t kick_ms = KICK_MS;
    pthread_mutex_lock(&paho_library);
    pthread_once(&library_once, init_library);
    open_wake(b);
    pthread_mutex_unlock(&paho_library);
    for (;;) {
        pthread_mutex_lock(&b->lock);
        const bool stuck = wait_for_work(b, &kick_ms);
        broker_mail_swap(&b->commands, &b->working);
        const bool todo = b->todo;
        const bool late = b->closing && (b->abandoned || paho_clock_ms() >= b->close_at_ms);
        const bool end = late || (b->closing && !todo && b->working.count == 0);
        b->todo = false;
        pthread_mutex_unlock(&b->lock);
        if (end)
            break;
        if (stuck)
            kick(b);
        if (todo)
            do_rest(b);
        paho_custody_foresee(b);
        for (const struct command *c; (c = broker_mail_next(&b->working)) != NULL;)
            do_command(b, c);
        broker_mail_clear(&b->working);
    }
    close_all(b);
    pthread_mutex_lock(&b->lock);
    b->ended = true;
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

/* ---- the loop's side -------------------------------------------------------------------------------- */

/* Takes scheme://host[:port][/path] apart. The port is the scheme's own when none
 * is given, and 0 when this is no such URL. The caller frees the host. */
static uint16_t take_apart(const char *url, char **host)
{
    static const struct {
        const char *scheme;
        uint16_t port;
    } known[] = {{"tcp://", 1883},   {"mqtt://", 1883}, {"ssl://", 8883},
                 {"mqtts://", 8883}, {"ws://", 80},     {"wss://", 443}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const size_t skip = strlen(known[i].scheme);
        if (strncmp(url, known[i].scheme, skip) != 0)
            continue;
        const char *from = url + skip;
        const char *end = from + strcspn(from, "/");
        const char *colon = end;
        while (colon > from && isdigit((unsigned char)colon[-1]))
            colon--;
        long port = known[i].port;
        if (colon > from && colon[-1] == ':') {
            port = strtol(colon, NULL, 10);
            end = colon - 1;
        }
        if (end > from && *from == '[' && end[-1] == ']') {
            from++;
            end--;
        }
        if (end <= from || port < 1 || port > 65535)
            return 0;
        *host = strndup(from, (size_t)(end - from));
        assert(*host != NULL);
        return (uint16_t)port;
    }
    return 0;
}

static void release(struct broker *b)
{
    paho_address_forget(b);
    while (b->spare != NULL) {
        struct flight *f = b->spare;
        b->spare = f->next;
        free(f);
    }
    broker_mail_free(&b->commands);
    broker_mail_free(&b->notices);
    broker_mail_free(&b->reading);
    broker_mail_free(&b->working);
    pthread_cond_destroy(&b->accepted);
    pthread_cond_destroy(&b->work);
    pthread_mutex_destroy(&b->lock);
    if (b->events_fd >= 0)
        close(b->events_fd);
    free(b->url);
    free(b->host);
    free(b->client_id);
    paho_free_options(b->fresh);
    free(b->username);
    free(b->password);
    free(b->ca_file);
    free(b->cert_file);
    free(b->key_file);
    free(b);
}

int broker_open(const struct broker_options *o, struct broker **out, char *why, size_t why_size)
{
    char *host = NULL;
    const uint16_t port = take_apart(o->url, &host);
    if (port == 0) {
        snprintf(why, why_size,
                 "broker url \"%s\": expected tcp://, ssl://, ws:// or wss:// and host[:port]",
                 o->url);
        return -1;
    }
    struct broker *b = paho_allocate(sizeof *b);
    b->host = host;
    b->port = port;
    b->options = *o;
    b->url = copy_text(o->url);
    b->client_id = copy_text(o->client_id);
    b->username = copy_text(o->username);
    b->password = copy_text(o->password);
    b->ca_file = copy_text(o->ca_file);
    b->cert_file = copy_text(o->cert_file);
    b->key_file = copy_text(o->key_file);
    b->protocol = o->protocol == PROTOCOL_3_1_1 ? PROTOCOL_3_1_1 : PROTOCOL_5;
    b->keepalive_s = o->keepalive_s;
    b->options.protocol = b->protocol;
    if (b->options.max_inflight == 0)
        b->options.max_inflight = 1;
    b->commands.item_size = b->working.item_size = sizeof(struct command);
    b->notices.item_size = b->reading.item_size = sizeof(struct notice);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->work, &monotonic);
    pthread_cond_init(&b->accepted, &monotonic);
    pthread_condattr_destroy(&monotonic);
    b->meter_fd = -1;
    b->turn = 1;
    paho_custody_restore(b);
    b->events_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    const int failed = b->events_fd < 0 ? errno : pthread_create(&b->thread, NULL, run, b);
    if (failed != 0) {
        snprintf(why, why_size, "broker: cannot start: %s", strerror(failed));
        release(b);
        return -1;
    }
    *out = b;
    return 0;
}

void broker_close(struct broker *b, uint32_t wait_ms)
{
    pthread_mutex_lock(&b->lock);
    b->closing = true;
    b->cut = true;
    b->close_at_ms = paho_clock_ms() + wait_ms;
    pthread_cond_broadcast(&b->work);
    pthread_cond_broadcast(&b->accepted);
    pthread_mutex_unlock(&b->lock);

    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const int64_t patience = (int64_t)wait_ms + GIVE_UP_MS;
    until.tv_sec += patience / 1000;
    until.tv_nsec += patience % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    const bool joined = pthread_clockjoin_np(b->thread, NULL, CLOCK_MONOTONIC, &until) == 0;
    /* A thread that is stuck in the library, or in a callback that must not
     * return, still uses all this: it ends with the process. */
    if (!joined || b->abandoned)
        return;
    paho_meter_stop(b);
    broker_wake_close(b->wake);
    release(b);
}

static bool is_refused(struct broker *b, const struct bridge_action *a)
{
    return a->type == BRIDGE_DO_PUBLISH && a->publish.message.qos == 0 &&
           (b->commands.count >= WAITING_MAX || b->commands.len >= WAITING_OCTETS);
}

static void put_command(struct broker *b, const struct bridge_action *a)
{
    struct broker_mail *m = &b->commands;
    struct command c = {.type = a->type};
    struct sn_bytes text = {0};
    struct sn_bytes body = {0};
    struct sn_bytes client_id = {0};
    if (a->type == BRIDGE_DO_CONNECT) {
        c.conn = a->connect.conn;
        c.attempt = a->connect.attempt;
        c.clean = a->connect.clean;
        c.transient = a->connect.transient;
        c.careful = a->connect.careful;
        c.qos = a->connect.will_qos;
        c.retain = a->connect.will_retain;
        c.has_will = a->connect.will_topic.len > 0;
        text = a->connect.will_topic;
        body = a->connect.will_message;
        client_id = a->connect.client_id;
    } else if (a->type == BRIDGE_DO_DISCONNECT) {
        c.conn = a->disconnect.conn;
        c.forget = a->disconnect.forget;
        c.with_will = a->disconnect.with_will;
    } else if (a->type == BRIDGE_DO_PUBLISH) {
        c.conn = a->publish.conn;
        c.seq = a->publish.message.seq;
        c.qos = a->publish.message.qos;
        c.queue = a->publish.message.queue;
        c.retain = (a->publish.message.flags & BRIDGE_FLAG_RETAIN) != 0;
        c.expiry_s = a->publish.expiry_s;
        c.received_ms = a->publish.message.received_ms;
        c.link = a->publish.link;
        c.signal_dbm = a->publish.signal_dbm;
        text = a->publish.message.topic;
        body = a->publish.message.payload;
    } else {
        c.conn = a->subscribe.conn;
        c.request = a->subscribe.request;
        c.qos = a->subscribe.qos;
        c.wants_retained = a->subscribe.wants_retained;
        c.id = a->subscribe.id;
        text = a->subscribe.filter;
    }
    c.text = broker_mail_keep(m, text);
    c.text_len = text.len;
    c.body = broker_mail_keep(m, body);
    c.body_len = body.len;
    c.client_id = broker_mail_keep(m, client_id);
    c.client_id_len = client_id.len;
    *(struct command *)broker_mail_add(m) = c;
}

void broker_put(struct broker *b, const struct bridge_action *action)
{
    assert(action->type >= BRIDGE_DO_CONNECT && action->type <= BRIDGE_DO_ACCEPT);
    pthread_mutex_lock(&b->lock);
    if (action->type == BRIDGE_DO_ACCEPT) {
        /* Not by our thread: it may itself be waiting for the callback to end. */
        b->accepted_token = action->accept.token;
        pthread_cond_broadcast(&b->accepted);
    } else if (is_refused(b, action)) {
        paho_report_delivered(b, action->publish.conn, action->publish.message.seq, REFUSED_QUOTA);
    } else {
        put_command(b, action);
    }
    pthread_mutex_unlock(&b->lock);
}

void broker_flush(struct broker *b)
{
    pthread_mutex_lock(&b->lock);
    if (b->commands.count > 0)
        pthread_cond_broadcast(&b->work);
    if (b->taken_in_turn == b->turn)
        pthread_cond_broadcast(&b->accepted);
    b->turn++;
    pthread_mutex_unlock(&b->lock);
}

int broker_fd(const struct broker *b)
{
    return b->events_fd;
}

bool broker_next_event(struct broker *b, struct bridge_event *event)
{
    struct notice *n = broker_mail_next(&b->reading);
    if (n == NULL) {
        broker_mail_clear(&b->reading);
        pthread_mutex_lock(&b->lock);
        broker_mail_swap(&b->notices, &b->reading);
        n = broker_mail_next(&b->reading);
        if (n == NULL && b->notified) {
            uint64_t count;
            const ssize_t got = read(b->events_fd, &count, sizeof count);
            (void)got;
            b->notified = false;
        }
        pthread_mutex_unlock(&b->lock);
    }
    if (n == NULL)
        return false;
    if (n->event.type == BRIDGE_ON_MESSAGE) {
        n->event.message.topic.data = broker_mail_at(&b->reading, n->text);
        n->event.message.payload.data = broker_mail_at(&b->reading, n->body);
        paho_custody_taken(b, n);
        if (n->event.message.token == 0) {
            pthread_mutex_lock(&b->lock);
            b->qos0_notices--;
            b->qos0_octets -= n->event.message.topic.len + n->event.message.payload.len;
            pthread_mutex_unlock(&b->lock);
        }
    } else if (n->event.type == BRIDGE_ON_BROKER_DOWN) {
        n->event.down.why = (const char *)broker_mail_at(&b->reading, n->text);
    }
    *event = n->event;
    return true;
}

void broker_figures(struct broker *b, struct broker_figures *out)
{
    pthread_mutex_lock(&b->lock);
    *out = b->figures;
    out->waiting_ms = b->waiting ? (uint64_t)(paho_clock_ms() - b->waiting_since_ms) : 0;
    out->protocol = b->protocol;
    pthread_mutex_unlock(&b->lock);
}
