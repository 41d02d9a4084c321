/* The broker module by Eclipse Paho MQTT C's asynchronous API (1.3.12).
 *
 * Threads. The loop calls the functions of broker.h. One thread of ours, in
 * run(), makes every call into Paho. Paho has two threads for all connections,
 * which call the on_ functions below, always one at a time and holding Paho's
 * one global lock. So a callback calls nothing of Paho but its free functions,
 * and holds our lock only to write something down. Our thread holds no lock of
 * ours while it is inside Paho, where it may have to wait for a callback. The
 * loop never waits for either.
 *
 * Acknowledging. Paho sends PUBACK and PUBREC when on_message() returns,
 * whatever it returns. on_message() therefore waits for ACCEPT. When there will
 * be none, because we are closing, it first shuts the socket down, so that the
 * acknowledgement cannot be sent and the broker delivers the message again.
 *
 * In flight. Each message handed to Paho has a struct flight, which is also the
 * context of its completion. A connection lost with messages in flight calls
 * nobody back. Its handle is destroyed at once: when writing a PUBLISH fails,
 * Paho 1.3.12 frees topic and payload of the message but keeps pointing to
 * them, and would send whatever is there by then. What was in flight, and how
 * far, Paho has told its persistence, which is a struct broker_keep of ours;
 * the handle of the next connection finds it there and, when the broker still
 * has the session, repeats PUBLISH or PUBREL. It no longer knows the contexts;
 * on_delivery_complete() names the packet id instead, which is not used for
 * anything else as long. When the session is gone, Paho forgets it all.
 * on_delivery_complete() does not say whether the broker has taken or refused
 * the message. At QoS 2 a PUBREL was written down before, or it was refused; at
 * QoS 1 there is no telling, so QoS 1 is not kept and always published anew.
 *
 *   SENT ──completed──▶ gone
 *     └──lost──▶ was it written? ──no──▶ gone: to be published anew
 *                   └─yes─▶ CARRIED ──completed──▶ SETTLED ──handed over──▶ gone
 *                              └──no session──▶ gone: to be published anew
 *
 * While a flight is CARRIED and the core hands the message over again, nothing
 * is sent. SETTLED remembers that DELIVERED is already on its way when the core,
 * not yet knowing, hands it over.
 */
#include "bridge/broker.h"
#include "bridge/broker_keep.h"
#include "bridge/broker_mail.h"
#include "bridge/broker_reach.h"
#include "bridge/broker_wake.h"

#include <MQTTAsync.h>

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BUCKETS             256u /* of the table of connections; a power of two */
#define QOS0_IN_PAHO        500u /* QoS 0 messages in Paho's queue before we wait */
#define RECEIVED_MAX        65536u
#define RECEIVED_OCTETS     (64u * 1024u * 1024u)
#define WAITING_MAX         65536u /* commands of the loop before QoS 0 is refused */
#define WAITING_OCTETS      (64u * 1024u * 1024u)
#define DISCONNECT_MS       500u  /* for a DISCONNECT to go out */
#define KICK_MS             5u    /* without progress, until Paho is signalled again */
#define KICK_MAX_MS         160u  /* the same after several in vain */
#define REACH_MS            1000u /* to find out why a broker cannot be reached */
#define GIVE_UP_MS          4000u /* broker_close: beyond this the thread is left behind */
#define STALLED_MS          5000u
#define REFUSALS_MAX        10u /* of single messages, before the session is given up */
#define WHY_MAX             240u
#define PACKET_OVERHEAD     24u  /* of a PUBLISH without topic, payload and user properties */
#define USER_PROPERTIES_MAX 128u /* octets of all of them */
#define PROTOCOL_5          5u
#define PROTOCOL_3_1_1      4u
#define RECEIVE_MAX_NONE    65535u
#define PUBLISH_QOS_BITS    0x06 /* of the first octet of PUBLISH */
#define PUBLISH_QOS_1       0x02
/* MQTT 3.1.1 has no receive maximum, but brokers have one: mosquitto 2.0 acknowledges and forgets a
 * message beyond 20 in flight, then hangs up. */
#define RECEIVE_MAX_3_1_1 21u

enum refusal {
    REFUSED_TOPIC = 0x90,  /* MQTT 5, 3.4.2.1: topic name invalid */
    REFUSED_SIZE = 0x95,   /* 4.13: packet too large */
    REFUSED_QUOTA = 0x97,  /* quota exceeded */
    REFUSED_RETAIN = 0x9A, /* retain not supported */
};

struct command {
    enum bridge_action_type type;
    uint32_t conn;
    uint32_t request;
    uint64_t seq;
    uint8_t qos;
    bool retain; /* of the message or the will */
    bool clean;
    bool wants_retained;
    uint32_t id; /* of a subscription */
    bool has_will;
    size_t text; /* topic or filter, as a C string */
    size_t text_len;
    size_t body; /* payload */
    size_t body_len;
    size_t client_id;
    size_t client_id_len;

    /* of a PUBLISH, for its properties */
    uint32_t expiry_s;
    uint64_t received_ms;
    uint16_t link;
    int16_t signal_dbm;
};

struct notice {
    struct bridge_event event;
    size_t text; /* topic or why */
    size_t body;
};

enum flight_state {
    FLIGHT_SENT,    /* Paho has it, and knows its context */
    FLIGHT_LOST,    /* its connection was lost */
    FLIGHT_CARRIED, /* Paho has it again, by its packet id only */
    FLIGHT_SETTLED, /* carried, and DELIVERED is reported */
};

enum flight_kind {
    FLIGHT_PUBLISH,
    FLIGHT_SUBSCRIBE,
    FLIGHT_UNSUBSCRIBE,
};

struct flight {
    struct flight *next;
    struct flight *prev;
    struct connection *conn;
    enum flight_kind kind;
    enum flight_state state;
    bool silent;   /* nobody wants to know its end */
    bool released; /* carried: PUBREC was good, PUBREL is sent */
    uint8_t qos;
    int token;        /* its packet id */
    uint32_t request; /* SUBSCRIBE, UNSUBSCRIBE */
    uint64_t seq;     /* PUBLISH */
};

enum window_news {
    WINDOW_UNTRIED,
    WINDOW_PROVED,  /* the broker has taken a message */
    WINDOW_REFUSED, /* it has not taken one for lack of room */
};

enum connection_state {
    CONNECTION_IDLE,
    CONNECTION_CONNECTING,
    CONNECTION_UP,
    CONNECTION_CLOSING,
};

struct connection {
    struct connection *next;        /* in its bucket */
    struct connection *next_socket; /* in the list of sockets of this process */
    struct broker *broker;
    uint32_t number;
    MQTTAsync handle;
    uint8_t handle_protocol; /* the handle was made for */
    enum connection_state state;
    bool wanted;       /* the core wants it to be connected */
    bool todo_retire;  /* its connection was lost: destroy the handle */
    bool fell_back;    /* the other protocol was tried in this attempt */
    bool todo_retry;   /* connect again with the other protocol */
    bool todo_explain; /* find out why the attempt failed, and report it */
    bool todo_close;   /* connected although nobody wants it any more */
    bool todo_renew;   /* end it and report it as lost: everything is undecided */
    bool cut;          /* no acknowledgement may be sent any more */
    /* what it was asked to connect with */
    bool clean;
    bool has_will;
    bool will_retain;
    uint8_t will_qos;
    char *client_id;
    char *will_topic;
    uint8_t *will_message;
    size_t will_len;
    /* what the broker said */
    uint8_t max_qos;
    bool can_retain;
    bool can_name;       /* messages with the identifiers of subscriptions */
    uint32_t max_packet; /* 0: no limit */
    uint16_t keepalive_s;
    uint16_t window;              /* as last reported */
    uint32_t window_limit;        /* what the broker seems to bear; 0: as announced */
    enum window_news window_news; /* since it is up */
    uint32_t refusals;            /* in a row with a window of 1 */
    bool session_present;         /* the connection took up a session */
    bool start_over;              /* the next one shall not */
    char why[WHY_MAX];            /* a TLS error or the reason of a DISCONNECT, else empty */
    int fd;                       /* of its socket, if ino is not 0 */
    ino_t ino;
    struct broker_keep keep;
    MQTTClient_persistence persistence; /* Paho keeps pointing to it */
    int refused_mid;       /* of a message from the broker that was not accepted; 0: none */
    struct flight flights; /* a ring with a head: SENT */
    struct flight carried; /* a ring with a head: the others */
    uint32_t qos0;         /* QoS 0 messages in Paho's queue */
};

struct broker {
    char *url;
    char *host;
    char *client_id;
    char *username;
    char *password;
    char *ca_file;
    char *cert_file;
    char *key_file;
    struct broker_options options; /* its pointers are the above */
    uint16_t port;

    pthread_t thread;
    struct broker_wake *wake;
    MQTTAsync wake_client;
    int events_fd;
    pthread_mutex_t lock; /* for everything below */
    pthread_cond_t work;
    pthread_cond_t accepted;
    struct broker_mail commands; /* from the loop */
    struct broker_mail notices;  /* for the loop */
    bool notified;               /* events_fd is readable */
    uint32_t qos0_notices;       /* QoS 0 messages in notices */
    size_t qos0_octets;
    struct connection *connections[BUCKETS];
    struct flight *spare;
    uint8_t protocol; /* the one to try next */
    uint32_t connecting;
    uint32_t sent;     /* flights that are SENT */
    uint64_t progress; /* flights that have ended */
    bool todo;
    bool closing;
    bool cut;       /* closing, and no ACCEPT will come */
    bool abandoned; /* a callback waits for ever: nothing of Paho may be touched */
    bool ended;
    int64_t close_at_ms;
    uint64_t token; /* of the last message at QoS 1 and 2 */
    bool waiting;   /* on_message() waits for it to be accepted */
    int64_t waiting_since_ms;
    uint64_t accepted_token;
    struct broker_figures figures;

    /* of the loop */
    struct broker_mail reading;
    /* of our thread */
    struct broker_mail working;
};

/* Making and ending handles, one at a time: Paho shares everything between all
 * handles of a process, and we have a thread for each struct broker. */
static pthread_mutex_t library = PTHREAD_MUTEX_INITIALIZER;

/* Every socket of every connection in this process: to tell a new one. */
static pthread_mutex_t sockets_lock = PTHREAD_MUTEX_INITIALIZER;
static struct connection *sockets;

static int64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct timespec clock_at(int64_t ms)
{
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
}

static void *allocate(size_t size)
{
    void *p = calloc(1, size);
    assert(p != NULL);
    return p;
}

static char *copy_text(const char *text)
{
    if (text == NULL)
        return NULL;
    char *copy = strdup(text);
    assert(copy != NULL);
    return copy;
}

/* ---- events for the loop; with the lock ------------------------------------- */

static struct notice *add_notice(struct broker *b, enum bridge_event_type type)
{
    if (!b->notified) {
        const uint64_t one = 1;
        const ssize_t n = write(b->events_fd, &one, sizeof one);
        (void)n; /* the counter was 0: it cannot be full */
        b->notified = true;
    }
    struct notice *notice = broker_mail_add(&b->notices);
    notice->event.type = type;
    return notice;
}

static void report_delivered(struct broker *b, uint32_t conn, uint64_t seq, uint8_t code)
{
    struct notice *n = add_notice(b, BRIDGE_ON_DELIVERED);
    n->event.delivered.conn = conn;
    n->event.delivered.seq = seq;
    n->event.delivered.code = code;
}

static void report_down(struct connection *c, const char *why)
{
    char line[WHY_MAX + 128];
    snprintf(line, sizeof line, "%s: %s", c->broker->url, why);
    struct notice *n = add_notice(c->broker, BRIDGE_ON_BROKER_DOWN);
    n->event.down.conn = c->number;
    n->text = broker_mail_keep(&c->broker->notices, sn_bytes_text(line));
}

/* ---- flights; with the lock ---------------------------------------------------- */

static void ring_init(struct flight *head)
{
    head->next = head;
    head->prev = head;
}

static void ring_add(struct flight *head, struct flight *f)
{
    f->prev = head->prev;
    f->next = head;
    head->prev->next = f;
    head->prev = f;
}

static void ring_remove(struct flight *f)
{
    f->prev->next = f->next;
    f->next->prev = f->prev;
}

static struct flight *take_flight(struct connection *c, enum flight_kind kind)
{
    struct broker *b = c->broker;
    struct flight *f = b->spare;
    if (f != NULL)
        b->spare = f->next;
    else
        f = allocate(sizeof *f);
    *f = (struct flight){.conn = c, .kind = kind};
    ring_add(&c->flights, f);
    b->sent++;
    return f;
}

static void put_flight(struct flight *f)
{
    struct broker *b = f->conn->broker;
    ring_remove(f);
    b->progress++;
    if (f->state == FLIGHT_SENT)
        b->sent--;
    if (f->kind == FLIGHT_PUBLISH && f->qos == 0 && !f->silent) {
        f->conn->qos0--;
        pthread_cond_broadcast(&b->work);
    }
    if (b->closing)
        pthread_cond_broadcast(&b->work);
    f->next = b->spare;
    b->spare = f;
}

static struct flight *find_carried(struct connection *c, uint64_t seq)
{
    for (struct flight *f = c->carried.next; f != &c->carried; f = f->next)
        if (f->seq == seq)
            return f;
    return NULL;
}

static struct flight *find_carried_token(struct connection *c, int token)
{
    for (struct flight *f = c->carried.next; f != &c->carried; f = f->next)
        if (f->state == FLIGHT_CARRIED && f->token == token)
            return f;
    return NULL;
}

/* The broker has taken the message, or refused it for good. */
static void settle(struct flight *f, uint8_t code)
{
    if (f->conn->window_news == WINDOW_UNTRIED && f->qos > 0)
        f->conn->window_news = WINDOW_PROVED;
    if (f->qos > 0)
        f->conn->refusals = 0;
    if (!f->silent)
        report_delivered(f->conn->broker, f->conn->number, f->seq, code);
    if (f->state == FLIGHT_CARRIED)
        f->state = FLIGHT_SETTLED;
    else
        put_flight(f);
}

/* The connection is no more: everything in flight is undecided. */
static void carry_flights(struct connection *c)
{
    struct flight *f = c->carried.next;
    while (f != &c->carried) {
        struct flight *next = f->next;
        /* DELIVERED went out before the DOWN that follows: the core will not ask again. */
        if (f->state == FLIGHT_SETTLED)
            put_flight(f);
        else
            f->state = FLIGHT_LOST;
        f = next;
    }
    f = c->flights.next;
    while (f != &c->flights) {
        struct flight *next = f->next;
        if (f->kind != FLIGHT_PUBLISH) {
            f->silent = true;
        } else if (f->qos == 0 && !f->silent) {
            /* At most once: Paho may still write it, so nobody else shall. */
            report_delivered(c->broker, c->number, f->seq, 0);
            f->silent = true;
            c->qos0--;
        } else if (f->qos > 0) {
            f->state = FLIGHT_LOST;
            c->broker->sent--;
            ring_remove(f);
            ring_add(&c->carried, f);
        }
        f = next;
    }
    pthread_cond_broadcast(&c->broker->work);
}

/* What Paho was told to forget, because the broker has no session. */
static void drop_carried(struct connection *c)
{
    struct flight *f = c->carried.next;
    while (f != &c->carried) {
        struct flight *next = f->next;
        if (f->state != FLIGHT_SETTLED)
            put_flight(f);
        f = next;
    }
}

/* ---- sockets ------------------------------------------------------------------------ */

static uint16_t address_port(const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)(const void *)a)->sin_port);
    if (a->ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)a)->sin6_port);
    return 0;
}

static bool is_claimed(ino_t ino)
{
    for (const struct connection *c = sockets; c != NULL; c = c->next_socket)
        if (c->ino == ino)
            return true;
    return false;
}

static void forget_socket(struct connection *c)
{
    pthread_mutex_lock(&sockets_lock);
    for (struct connection **p = &sockets; *p != NULL; p = &(*p)->next_socket) {
        if (*p == c) {
            *p = c->next_socket;
            break;
        }
    }
    c->ino = 0;
    pthread_mutex_unlock(&sockets_lock);
}

/* Paho tells nobody its socket. It is the one connected to the broker's port
 * that no other connection has claimed; if several are being made at once we
 * do not know which and do without. TCP_NODELAY: QoS 0 messages would wait up
 * to 40 ms for the acknowledgement of the one before. */
static void claim_socket(struct connection *c)
{
    pthread_mutex_lock(&sockets_lock);
    DIR *dir = opendir("/proc/self/fd");
    int found = 0;
    const struct dirent *e;
    while (dir != NULL && (e = readdir(dir)) != NULL) {
        const int fd = atoi(e->d_name);
        struct sockaddr_storage peer = {0};
        socklen_t len = sizeof peer;
        struct stat st;
        if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0 ||
            address_port(&peer) != c->broker->port || fstat(fd, &st) < 0 || is_claimed(st.st_ino))
            continue;
        /* The broker's end, when it lives in this process, has its port too, but
         * as its own. */
        const int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        c->fd = fd;
        c->ino = st.st_ino;
        found++;
    }
    if (dir != NULL)
        closedir(dir);
    if (found == 1) {
        c->next_socket = sockets;
        sockets = c;
    } else {
        c->ino = 0;
    }
    pthread_mutex_unlock(&sockets_lock);
}

/* Makes it impossible to send anything more. Only in a callback: Paho's lock
 * keeps the descriptor from being closed and used for something else. */
static bool shut_socket(const struct connection *c)
{
    struct stat st;
    return c->ino != 0 && fstat(c->fd, &st) == 0 && st.st_ino == c->ino &&
           shutdown(c->fd, SHUT_RDWR) == 0;
}

/* ---- callbacks: publishing ----------------------------------------------------------- */

static void publish_succeeded(struct flight *f)
{
    struct broker *b = f->conn->broker;
    pthread_mutex_lock(&b->lock);
    settle(f, 0);
    pthread_mutex_unlock(&b->lock);
}

/* What a reason code of PUBACK, PUBREC or PUBCOMP means for the message. A code
 * that speaks of the broker's state, and not of the message, is no verdict: the
 * same message will be taken another time. 3.4.2.1 allows two such codes, 0x91
 * and 0x97; the others are found in the field. What we do not know is a verdict,
 * for else one message could hold up all others for ever. */
enum verdict {
    VERDICT_TAKEN,
    VERDICT_REFUSED,
    VERDICT_NONE,
};

static enum verdict verdict_of(int reason)
{
    switch (reason) {
    case 0x92: /* packet identifier not found: a PUBCOMP, hence PUBREC was good */
        return VERDICT_TAKEN;
    case 0x88: /* server unavailable */
    case 0x89: /* server busy */
    case 0x8B: /* server shutting down */
    case 0x91: /* packet identifier in use: its session knows more than ours */
    case 0x93: /* receive maximum exceeded */
    case 0x96: /* message rate too high */
    case 0x97: /* quota exceeded */
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
    put_flight(f);
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

static void publish_failed(struct flight *f, int code, int reason)
{
    struct broker *b = f->conn->broker;
    pthread_mutex_lock(&b->lock);
    const enum verdict verdict = verdict_of(reason);
    if (verdict == VERDICT_NONE)
        put_off(f, MQTTReasonCode_toString((enum MQTTReasonCodes)reason));
    else if (reason >= 0x80)
        settle(f, verdict == VERDICT_TAKEN ? 0 : (uint8_t)reason);
    else if (f->qos == 0)
        settle(f, 0); /* at most once */
    else if (f->state == FLIGHT_SENT && code == MQTTASYNC_OPERATION_INCOMPLETE)
        put_flight(f); /* Paho has dropped it with the session */
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

static void on_delivery_complete(void *ctx, MQTTAsync_token token)
{
    struct connection *c = ctx;
    pthread_mutex_lock(&c->broker->lock);
    struct flight *f = find_carried_token(c, token);
    if (f != NULL && f->released)
        settle(f, 0);
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
        struct notice *n = add_notice(b, f->kind == FLIGHT_SUBSCRIBE ? BRIDGE_ON_SUBSCRIBED
                                                                     : BRIDGE_ON_UNSUBSCRIBED);
        n->event.subscribed.conn = f->conn->number;
        n->event.subscribed.request = f->request;
        n->event.subscribed.code = (uint8_t)code;
    }
    put_flight(f);
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
    put_flight(f);
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

/* ---- callbacks: receiving ---------------------------------------------------------------- */

static uint32_t message_expiry(const MQTTAsync_message *m)
{
    const MQTTProperty *p = NULL;
    for (int i = 0; i < m->properties.count; i++)
        if (m->properties.array[i].identifier == MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL)
            p = &m->properties.array[i];
    return p != NULL ? (uint32_t)p->value.integer4 : 0;
}

static void take_ids(const MQTTAsync_message *m, struct bridge_event *event)
{
    event->message.id_count = 0;
    for (int i = 0; i < m->properties.count; i++) {
        const MQTTProperty *p = &m->properties.array[i];
        if (p->identifier != MQTTPROPERTY_CODE_SUBSCRIPTION_IDENTIFIER)
            continue;
        if (event->message.id_count == BRIDGE_IDS_MAX) {
            event->message.id_count = 0; /* too many to name: one copy for all that match */
            return;
        }
        event->message.ids[event->message.id_count++] = (uint32_t)p->value.integer4;
    }
}

static bool is_mailbox_full(struct broker *b, size_t octets)
{
    return b->qos0_notices >= RECEIVED_MAX || b->qos0_octets + octets > RECEIVED_OCTETS;
}

/* Waits until the loop has accepted the message, or until it never will and the
 * acknowledgement cannot be sent. With the lock. */
static void wait_for_accept(struct connection *c, uint64_t token, int mid)
{
    struct broker *b = c->broker;
    b->waiting = true;
    b->waiting_since_ms = clock_ms();
    const struct timespec late = clock_at(b->waiting_since_ms + STALLED_MS);
    bool stalled = false;
    while (b->accepted_token != token) {
        if (b->cut || c->cut) {
            if (shut_socket(c))
                break;
            /* Without a socket to shut the acknowledgement could only be kept
             * back by never returning. */
            if (b->cut) {
                b->abandoned = true;
                pthread_cond_broadcast(&b->work);
            }
        }
        if (stalled) {
            pthread_cond_wait(&b->accepted, &b->lock);
        } else if (pthread_cond_timedwait(&b->accepted, &b->lock, &late) == ETIMEDOUT) {
            stalled = true;
            b->figures.stalls++;
        }
    }
    b->waiting = false;
    if (b->accepted_token != token)
        c->refused_mid = mid;
}

static int on_message(void *ctx, char *topic, int topic_len, MQTTAsync_message *message)
{
    struct connection *c = ctx;
    struct broker *b = c->broker;
    const size_t len = topic_len > 0 ? (size_t)topic_len : strlen(topic);
    const size_t octets = len + (size_t)message->payloadlen;

    pthread_mutex_lock(&b->lock);
    b->figures.received++;
    if (message->qos == 0 && is_mailbox_full(b, octets)) {
        b->figures.dropped++;
    } else {
        struct notice *n = add_notice(b, BRIDGE_ON_MESSAGE);
        n->event.message.conn = c->number;
        n->event.message.qos = (uint8_t)message->qos;
        n->event.message.retain = message->retained != 0;
        n->event.message.expiry_s = message_expiry(message);
        take_ids(message, &n->event);
        n->event.message.token = message->qos > 0 ? ++b->token : 0;
        n->text = broker_mail_keep(&b->notices, sn_bytes(topic, len));
        n->body =
            broker_mail_keep(&b->notices, sn_bytes(message->payload, (size_t)message->payloadlen));
        n->event.message.topic.len = len;
        n->event.message.payload.len = (size_t)message->payloadlen;
        if (message->qos == 0) {
            b->qos0_notices++;
            b->qos0_octets += octets;
        } else {
            wait_for_accept(c, b->token, message->msgid);
        }
    }
    pthread_mutex_unlock(&b->lock);
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    return 1; /* with 0 Paho would acknowledge all the same, and keep the message */
}

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

static void connected(struct connection *c, bool session_present, const MQTTProperties *said)
{
    struct broker *b = c->broker;
    claim_socket(c);
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
    c->max_packet = property(said, MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE, 0);
    /* Paho 1.3.12 does not obey it by itself; the next connection will. */
    c->keepalive_s =
        (uint16_t)property(said, MQTTPROPERTY_CODE_SERVER_KEEP_ALIVE, b->options.keepalive_s);
    if (!session_present)
        drop_carried(c);
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
        struct notice *n = add_notice(b, BRIDGE_ON_BROKER_UP);
        n->event.up.conn = c->number;
        n->event.up.session_present = session_present;
        n->event.up.window = (uint16_t)window;
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

/* One line for the operator: why the attempt failed. False: Paho did not say. */
static bool explain(const struct connection *c, int code, int reason, const char *message,
                    char *why, size_t size)
{
    const char *refusal = refusal_3_1_1(code);
    if (c->handle_protocol == PROTOCOL_5)
        refusal = MQTTReasonCode_toString((enum MQTTReasonCodes)(reason >= 0x80 ? reason : code));
    if (refusal != NULL && (code > 0 || reason >= 0x80))
        snprintf(why, size, "refused by the broker: %s", refusal);
    else if (c->why[0] != '\0')
        snprintf(why, size, "%s", c->why);
    else if (message != NULL && strstr(message, "timeout") != NULL)
        snprintf(why, size, "no answer within %u s", c->broker->options.connect_timeout_s);
    else if (message != NULL && strstr(message, "completion") != NULL)
        snprintf(why, size, "the connection was closed before CONNACK");
    else
        return false;
    return true;
}

/* Whether the broker does not speak the protocol we tried: it says so (MQTT 5:
 * 0x84; 3.1.1: 1), or it hangs up on our CONNECT without a word. */
static bool is_wrong_protocol(int code, int reason, const char *message)
{
    return reason == 0x84 || code == 0x84 || code == 1 ||
           (message != NULL && strstr(message, "completion") != NULL);
}

static void connect_failed(struct connection *c, int code, int reason, const char *message)
{
    struct broker *b = c->broker;
    char why[WHY_MAX];
    pthread_mutex_lock(&b->lock);
    end_attempt(c);
    c->state = CONNECTION_IDLE;
    if (!c->fell_back && b->options.protocol == PROTOCOL_5 && c->wanted &&
        is_wrong_protocol(code, reason, message)) {
        c->todo_retry = true;
        b->todo = true;
    } else if (c->wanted && explain(c, code, reason, message, why, sizeof why)) {
        c->wanted = false;
        report_down(c, why);
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

static int on_tls_error(const char *text, size_t len, void *ctx)
{
    struct connection *c = ctx;
    pthread_mutex_lock(&c->broker->lock);
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    if (c->why[0] == '\0')
        snprintf(c->why, sizeof c->why, "TLS: %.*s", (int)len, text);
    pthread_mutex_unlock(&c->broker->lock);
    return 1;
}

static void closed(struct connection *c)
{
    struct broker *b = c->broker;
    forget_socket(c);
    pthread_mutex_lock(&b->lock);
    c->todo_renew = false;
    if ((c->state == CONNECTION_UP || c->state == CONNECTION_CLOSING) && c->wanted) {
        c->wanted = false;
        carry_flights(c);
        report_down(c, c->why[0] != '\0' ? c->why : "connection lost");
    } else {
        carry_flights(c);
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

static struct connection *find_connection(struct broker *b, uint32_t number)
{
    struct connection *c = b->connections[number % BUCKETS];
    while (c != NULL && c->number != number)
        c = c->next;
    return c;
}

static struct connection *add_connection(struct broker *b, uint32_t number)
{
    struct connection *c = allocate(sizeof *c);
    c->broker = b;
    c->number = number;
    c->keepalive_s = b->options.keepalive_s;
    ring_init(&c->flights);
    ring_init(&c->carried);
    broker_keep_init(&c->keep);
    pthread_mutex_lock(&b->lock);
    c->next = b->connections[number % BUCKETS];
    b->connections[number % BUCKETS] = c;
    pthread_mutex_unlock(&b->lock);
    return c;
}

/* ---- our thread: Paho's persistence, in memory ---- */

static int keep_open(void **handle, const char *client_id, const char *url, void *ctx)
{
    (void)client_id;
    (void)url;
    *handle = ctx;
    return 0;
}

static int keep_close(void *handle)
{
    (void)handle;
    return 0;
}

/* The packet id, when the key is "<kind>-<id>" or "<kind>5-<id>"; else 0. */
static int id_in(const char *key, const char *kind)
{
    const size_t len = strlen(kind);
    if (strncmp(key, kind, len) != 0)
        return 0;
    key += len;
    if (*key == '5')
        key++;
    return *key == '-' ? atoi(key + 1) : 0;
}

static int keep_put(void *handle, char *key, int count, char *parts[], int lens[])
{
    struct connection *c = handle;
    size_t len = 0;
    for (int i = 0; i < count; i++)
        len += (size_t)lens[i];
    if (id_in(key, "s") != 0 && (parts[0][0] & PUBLISH_QOS_BITS) == PUBLISH_QOS_1)
        return 0;
    if (id_in(key, "sc") != 0) {
        pthread_mutex_lock(&c->broker->lock);
        struct flight *f = find_carried_token(c, id_in(key, "sc"));
        if (f != NULL)
            f->released = true;
        pthread_mutex_unlock(&c->broker->lock);
    }
    uint8_t *at = broker_keep_put(&c->keep, key, len);
    for (int i = 0; i < count; i++) {
        memcpy(at, parts[i], (size_t)lens[i]);
        at += lens[i];
    }
    return 0;
}

static int keep_get(void *handle, char *key, char **out, int *out_len)
{
    struct connection *c = handle;
    size_t len = 0;
    const uint8_t *octets = broker_keep_find(&c->keep, key, &len);
    if (octets == NULL)
        return MQTTCLIENT_PERSISTENCE_ERROR;
    *out = MQTTAsync_malloc(len + 1);
    if (*out == NULL)
        return MQTTCLIENT_PERSISTENCE_ERROR;
    memcpy(*out, octets, len);
    *out_len = (int)len;
    return 0;
}

/* Paho removes what may be there, under every name it may have. */
static int keep_remove(void *handle, char *key)
{
    struct connection *c = handle;
    broker_keep_remove(&c->keep, key);
    return 0;
}

struct key_list {
    char **keys;
    int count;
};

static void list_key(void *ctx, const char *name)
{
    struct key_list *list = ctx;
    char *copy = MQTTAsync_malloc(strlen(name) + 1);
    if (copy == NULL)
        return;
    strcpy(copy, name);
    list->keys[list->count++] = copy;
}

static int keep_keys(void *handle, char ***keys, int *count)
{
    struct connection *c = handle;
    struct broker_keep *k = &c->keep;
    struct key_list list = {0};
    if (k->count > 0 && (list.keys = MQTTAsync_malloc(k->count * sizeof(char *))) == NULL)
        return MQTTCLIENT_PERSISTENCE_ERROR;
    broker_keep_list(k, list_key, &list);
    *keys = list.keys;
    *count = list.count;
    return 0;
}

static int keep_clear(void *handle)
{
    struct connection *c = handle;
    broker_keep_clear(&c->keep);
    return 0;
}

static int keep_has(void *handle, char *key)
{
    struct connection *c = handle;
    size_t len;
    return broker_keep_find(&c->keep, key, &len) != NULL ? 0 : MQTTCLIENT_PERSISTENCE_ERROR;
}

/* Paho's name for a packet: a kind, by protocol, and the packet id. */
static void key_of(const struct connection *c, const char *kind, int mid, char *key)
{
    snprintf(key, BROKER_KEEP_NAME, "%s%s-%d", kind, c->handle_protocol == PROTOCOL_5 ? "5" : "",
             mid);
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
        key_of(c, "s", f->token, sent);
        key_of(c, "sc", f->token, released);
        f->released = broker_keep_find(&c->keep, released, &len) != NULL;
        if (f->state == FLIGHT_LOST &&
            (f->released || broker_keep_find(&c->keep, sent, &len) != NULL))
            f->state = FLIGHT_CARRIED;
        else if (f->state == FLIGHT_LOST)
            put_flight(f);
        f = next;
    }
}

/* Destroys the handle, but not what is in flight. */
static void retire_handle(struct connection *c)
{
    struct broker *b = c->broker;
    char key[BROKER_KEEP_NAME];
    pthread_mutex_lock(&library);
    if (c->handle != NULL)
        MQTTAsync_destroy(&c->handle);
    pthread_mutex_unlock(&library);
    c->handle = NULL;
    forget_socket(c);
    pthread_mutex_lock(&b->lock);
    c->todo_retire = false;
    while (c->flights.next != &c->flights)
        put_flight(c->flights.next);
    /* The broker will send it again, and Paho must not take it for known. */
    key_of(c, "r", c->refused_mid, key);
    broker_keep_remove(&c->keep, key);
    c->refused_mid = 0;
    if (c->clean || c->start_over)
        broker_keep_clear(&c->keep);
    sort_lost(c);
    pthread_mutex_unlock(&b->lock);
}

static void free_connection(struct connection *c)
{
    struct broker *b = c->broker;
    retire_handle(c);
    pthread_mutex_lock(&b->lock);
    while (c->carried.next != &c->carried)
        put_flight(c->carried.next);
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
    c->persistence = (MQTTClient_persistence){
        .context = c,
        .popen = keep_open,
        .pclose = keep_close,
        .pput = keep_put,
        .pget = keep_get,
        .premove = keep_remove,
        .pkeys = keep_keys,
        .pclear = keep_clear,
        .pcontainskey = keep_has,
    };
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
    rc = MQTTAsync_setCallbacks(c->handle, c, on_lost, on_message, on_delivery_complete);
    if (rc == MQTTASYNC_SUCCESS)
        rc = MQTTAsync_setDisconnected(c->handle, c, on_disconnect);
    return rc;
}

static bool is_tls(const char *url)
{
    return strncasecmp(url, "ssl:", 4) == 0 || strncasecmp(url, "wss:", 4) == 0 ||
           strncasecmp(url, "mqtts:", 6) == 0;
}

static void add_property(MQTTProperties *all, enum MQTTPropertyCodes code, uint32_t value)
{
    MQTTProperty p = {.identifier = code, .value.integer4 = value};
    MQTTProperties_add(all, &p);
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
    o.username = b->username;
    o.password = b->password;
    o.context = c;
    const bool clean = c->clean || c->start_over;
    o.cleansession = five ? 0 : clean;
    o.cleanstart = five ? clean : 0;
    if (five) {
        o.onSuccess5 = on_connected5;
        o.onFailure5 = on_connect_failed5;
        add_property(&properties, MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL,
                     c->clean ? 0 : b->options.session_expiry_s);
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
        tls.ssl_error_context = c;
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
    report_down(c, why);
    pthread_mutex_unlock(&c->broker->lock);
}

/* A session of one protocol cannot be taken up with the other. */
static void change_protocol(struct connection *c)
{
    retire_handle(c);
    broker_keep_clear(&c->keep);
    pthread_mutex_lock(&c->broker->lock);
    drop_carried(c);
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
    b->figures.connects++;
    b->connecting++;
    const bool retire = c->todo_retire;
    pthread_mutex_unlock(&b->lock);
    if (b->wake != NULL)
        broker_wake_hurry(b->wake);

    int rc = MQTTASYNC_SUCCESS;
    if (retire)
        retire_handle(c);
    if (c->handle_protocol != 0 && c->handle_protocol != b->protocol)
        change_protocol(c);
    pthread_mutex_lock(&library);
    if (c->handle == NULL)
        rc = make_handle(c);
    if (rc == MQTTASYNC_SUCCESS)
        rc = begin_connect(c);
    pthread_mutex_unlock(&library);
    if (rc != MQTTASYNC_SUCCESS)
        fail_at_once(c, rc);
}

static void fall_back(struct connection *c)
{
    struct broker *b = c->broker;
    pthread_mutex_lock(&b->lock);
    c->fell_back = true;
    b->protocol = c->handle_protocol == PROTOCOL_5 ? PROTOCOL_3_1_1 : PROTOCOL_5;
    pthread_mutex_unlock(&b->lock);
    try_connect(c);
}

static void report_unreachable(struct connection *c)
{
    struct broker *b = c->broker;
    char why[WHY_MAX];
    if (broker_reach(b->host, b->port, REACH_MS, why, sizeof why))
        snprintf(why, sizeof why, "%s",
                 is_tls(b->url) ? "no TLS connection came about"
                                : "the connection was closed before it was ready");
    pthread_mutex_lock(&b->lock);
    if (c->wanted && c->state == CONNECTION_IDLE) {
        c->wanted = false;
        report_down(c, why);
    }
    pthread_mutex_unlock(&b->lock);
}

static void wait_until_idle(struct connection *c, uint32_t wait_ms)
{
    struct broker *b = c->broker;
    const struct timespec until = clock_at(clock_ms() + wait_ms);
    pthread_mutex_lock(&b->lock);
    while (c->state == CONNECTION_CLOSING && !b->abandoned)
        if (pthread_cond_timedwait(&b->work, &b->lock, &until) == ETIMEDOUT)
            break;
    pthread_mutex_unlock(&b->lock);
}

static void begin_disconnect(struct connection *c)
{
    struct broker *b = c->broker;
    pthread_mutex_lock(&b->lock);
    c->todo_close = false;
    const bool up = c->state == CONNECTION_UP;
    if (up)
        c->state = CONNECTION_CLOSING;
    c->cut = true;
    pthread_cond_broadcast(&b->accepted);
    pthread_mutex_unlock(&b->lock);
    if (!up)
        return;
    MQTTAsync_disconnectOptions o = MQTTAsync_disconnectOptions_initializer;
    MQTTAsync_disconnectOptions o5 = MQTTAsync_disconnectOptions_initializer5;
    o.context = c;
    o.onSuccess = on_disconnected;
    o.onFailure = on_disconnect_failed;
    o5.context = c;
    o5.onSuccess5 = on_disconnected5;
    o5.onFailure5 = on_disconnect_failed5;
    /* When Paho says that it is not connected, on_lost has been or will be called. */
    MQTTAsync_disconnect(c->handle, c->handle_protocol == PROTOCOL_5 ? &o5 : &o);
}

static void replace_text(char **text, const uint8_t *from, size_t len)
{
    free(*text);
    *text = allocate(len + 1);
    memcpy(*text, from, len);
}

static void do_connect(struct broker *b, const struct command *command)
{
    struct connection *c = find_connection(b, command->conn);
    if (c == NULL)
        c = add_connection(b, command->conn);
    wait_until_idle(c, DISCONNECT_MS);
    pthread_mutex_lock(&b->lock);
    c->wanted = true;
    c->fell_back = false;
    const bool idle = c->state == CONNECTION_IDLE;
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
    c->has_will = command->has_will;
    c->will_qos = command->qos;
    c->will_retain = command->retain;
    replace_text(&c->will_topic, broker_mail_at(&b->working, command->text), command->text_len);
    free(c->will_message);
    c->will_len = command->body_len;
    c->will_message = allocate(c->will_len + 1);
    memcpy(c->will_message, broker_mail_at(&b->working, command->body), c->will_len);
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
    free_connection(c);
}

static void do_disconnect(struct broker *b, const struct command *command)
{
    struct connection *c = find_connection(b, command->conn);
    if (c == NULL)
        return;
    pthread_mutex_lock(&b->lock);
    c->wanted = false;
    c->todo_retry = false;
    pthread_mutex_unlock(&b->lock);
    begin_disconnect(c);
    if (c->number == 0)
        return;
    wait_until_idle(c, DISCONNECT_MS);
    pthread_mutex_lock(&b->lock);
    end_attempt(c);
    c->state = CONNECTION_IDLE;
    const bool usable = !b->abandoned;
    pthread_mutex_unlock(&b->lock);
    if (usable)
        remove_connection(c);
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
    struct connection *c = find_connection(b, command->conn);
    /* Paho's queue serves all connections; a flood of QoS 0 must not fill it. */
    while (c != NULL && command->qos == 0 && c->state == CONNECTION_UP && c->qos0 >= QOS0_IN_PAHO &&
           !(b->closing && clock_ms() >= b->close_at_ms)) {
        const struct timespec soon = clock_at(clock_ms() + 100);
        pthread_cond_timedwait(&b->work, &b->lock, &soon);
    }
    if (c == NULL || c->state != CONNECTION_UP || !c->wanted)
        goto out; /* the core hands it over again after BROKER_UP */
    struct flight *before = find_carried(c, command->seq);
    if (before != NULL) {
        if (before->state == FLIGHT_SETTLED)
            put_flight(before);
        goto out;
    }
    const uint8_t refusal = check_publish(c, command, topic);
    if (refusal != 0) {
        report_delivered(b, command->conn, command->seq, refusal);
        goto out;
    }
    f = take_flight(c, FLIGHT_PUBLISH);
    f->seq = command->seq;
    f->qos = command->qos < c->max_qos ? command->qos : c->max_qos;
    if (f->qos == 0)
        c->qos0++;
    b->figures.published++;
out:
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
        settle(f, REFUSED_TOPIC);
    } else {
        put_flight(f);
        /* MQTTASYNC_DISCONNECTED: BROKER_DOWN is on its way. Anything else is
         * unknown; a new connection makes it undecided, and tries again. */
        disconnect = rc != MQTTASYNC_DISCONNECTED && c->state == CONNECTION_UP;
        if (disconnect && c->wanted) {
            c->wanted = false;
            carry_flights(c);
            report_down(c, text != NULL ? text : "the client library took no message");
        }
    }
    pthread_mutex_unlock(&b->lock);
    if (disconnect)
        begin_disconnect(c);
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

/* What we know of a message that its topic and payload do not say. */
static void add_user_properties(const struct broker *b, const struct command *command,
                                MQTTProperties *all)
{
    const time_t seconds = (time_t)(command->received_ms / 1000);
    struct tm utc;
    char day[32];
    char text[48];
    if (command->link != UINT16_MAX && b->options.links != NULL)
        add_user_property(all, "link", b->options.links[command->link].name);
    if (gmtime_r(&seconds, &utc) != NULL && strftime(day, sizeof day, "%FT%T", &utc) > 0) {
        snprintf(text, sizeof text, "%s.%03uZ", day, (unsigned)(command->received_ms % 1000));
        add_user_property(all, "received", text);
    }
    if (command->signal_dbm != 0) {
        snprintf(text, sizeof text, "%d", command->signal_dbm);
        add_user_property(all, "signal", text);
    }
}

static void add_publish_properties(const struct connection *c, const struct command *command,
                                   MQTTProperties *all)
{
    const size_t room = c->max_packet == 0 ? SIZE_MAX : c->max_packet;
    if (command->expiry_s != 0)
        add_property(all, MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL, command->expiry_s);
    if (c->broker->options.user_properties &&
        command->text_len + command->body_len + PACKET_OVERHEAD + USER_PROPERTIES_MAX <= room)
        add_user_properties(c->broker, command, all);
}

static void do_publish(struct broker *b, const struct command *command)
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
    const uint8_t qos = f->qos;
    const int rc = MQTTAsync_sendMessage(c->handle, topic, &m, &o);
    MQTTProperties_free(&m.properties);
    if (rc != MQTTASYNC_SUCCESS) {
        publish_not_taken(c, f, rc);
    } else if (qos > 0) {
        /* The flight may be over by now, but not yet be another one's: that
         * would be our own doing. */
        pthread_mutex_lock(&b->lock);
        f->token = o.token;
        pthread_mutex_unlock(&b->lock);
    }
}

static void do_subscribe(struct broker *b, const struct command *command)
{
    const char *filter = (const char *)broker_mail_at(&b->working, command->text);
    struct flight *f = NULL;
    pthread_mutex_lock(&b->lock);
    struct connection *c = find_connection(b, command->conn);
    if (c != NULL && c->state == CONNECTION_UP && c->wanted) {
        f = take_flight(c, command->type == BRIDGE_DO_SUBSCRIBE ? FLIGHT_SUBSCRIBE
                                                                : FLIGHT_UNSUBSCRIBE);
        f->request = command->request;
    }
    pthread_mutex_unlock(&b->lock);
    if (f == NULL)
        return; /* the core asks again after BROKER_UP */
    MQTTAsync_callOptions o = answer_to(f);
    o.subscribeOptions.retainHandling = command->wants_retained ? 0 : 2;
    if (command->type == BRIDGE_DO_SUBSCRIBE && c->can_name && command->id != 0)
        add_property(&o.properties, MQTTPROPERTY_CODE_SUBSCRIPTION_IDENTIFIER, command->id);
    const int rc = command->type == BRIDGE_DO_SUBSCRIBE
                       ? MQTTAsync_subscribe(c->handle, filter, command->qos, &o)
                       : MQTTAsync_unsubscribe(c->handle, filter, &o);
    MQTTProperties_free(&o.properties);
    if (rc == MQTTASYNC_DISCONNECTED)
        answer_failed(f, 0);
    else if (rc != MQTTASYNC_SUCCESS)
        report_answer(f, 0x8F); /* MQTT 5, 3.9.3: topic filter invalid */
}

static void do_command(struct broker *b, const struct command *command)
{
    if (command->type == BRIDGE_DO_CONNECT)
        do_connect(b, command);
    else if (command->type == BRIDGE_DO_DISCONNECT)
        do_disconnect(b, command);
    else if (command->type == BRIDGE_DO_PUBLISH)
        do_publish(b, command);
    else
        do_subscribe(b, command);
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
            const bool close = (c->todo_close && !c->wanted) || c->todo_renew;
            c->todo_renew = false;
            c->todo_retry = false;
            c->todo_explain = false;
            pthread_mutex_unlock(&b->lock);
            if (retire)
                retire_handle(c);
            if (retry)
                fall_back(c);
            else if (unknown)
                report_unreachable(c);
            else if (close)
                begin_disconnect(c);
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
    while (is_busy(b) && !b->abandoned && clock_ms() < b->close_at_ms) {
        const struct timespec soon = clock_at(clock_ms() + 4 * KICK_MS);
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
            begin_disconnect(c);

    pthread_mutex_lock(&b->lock);
    const struct timespec late = clock_at(clock_ms() + DISCONNECT_MS);
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
            free_connection(c);
        }
    }
    pthread_mutex_lock(&library);
    if (b->wake_client != NULL)
        MQTTAsync_destroy(&b->wake_client);
    pthread_mutex_unlock(&library);
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
        const struct timespec until = clock_at(clock_ms() + *kick_ms);
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
    pthread_mutex_lock(&library);
    pthread_once(&library_once, init_library);
    open_wake(b);
    pthread_mutex_unlock(&library);
    for (;;) {
        pthread_mutex_lock(&b->lock);
        const bool stuck = wait_for_work(b, &kick_ms);
        broker_mail_swap(&b->commands, &b->working);
        const bool todo = b->todo;
        const bool late = b->closing && (b->abandoned || clock_ms() >= b->close_at_ms);
        const bool end = late || (b->closing && !todo && b->working.count == 0);
        b->todo = false;
        pthread_mutex_unlock(&b->lock);
        if (end)
            break;
        if (stuck)
            kick(b);
        if (todo)
            do_rest(b);
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
    struct broker *b = allocate(sizeof *b);
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
    b->close_at_ms = clock_ms() + wait_ms;
    pthread_cond_broadcast(&b->work);
    pthread_cond_broadcast(&b->accepted);
    pthread_mutex_unlock(&b->lock);

    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    const int64_t patience = (int64_t)wait_ms + GIVE_UP_MS;
    until.tv_sec += patience / 1000;
    until.tv_nsec += patience % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    const bool joined = pthread_timedjoin_np(b->thread, NULL, &until) == 0;
    /* A thread that is stuck in the library, or in a callback that must not
     * return, still uses all this: it ends with the process. */
    if (!joined || b->abandoned)
        return;
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
        c.clean = a->connect.clean;
        c.qos = a->connect.will_qos;
        c.retain = a->connect.will_retain;
        c.has_will = a->connect.will_topic.len > 0;
        text = a->connect.will_topic;
        body = a->connect.will_message;
        client_id = a->connect.client_id;
    } else if (a->type == BRIDGE_DO_DISCONNECT) {
        c.conn = a->disconnect.conn;
    } else if (a->type == BRIDGE_DO_PUBLISH) {
        c.conn = a->publish.conn;
        c.seq = a->publish.message.seq;
        c.qos = a->publish.message.qos;
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
        report_delivered(b, action->publish.conn, action->publish.message.seq, REFUSED_QUOTA);
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
    out->waiting_ms = b->waiting ? (uint64_t)(clock_ms() - b->waiting_since_ms) : 0;
    out->protocol = b->protocol;
    pthread_mutex_unlock(&b->lock);
}
