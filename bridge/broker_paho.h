/* The broker module by Eclipse Paho MQTT C's asynchronous API (1.3.12).
 *
 * Threads. The loop calls the functions of broker.h. One thread of ours, in
 * run(), makes every call into Paho. Paho has two threads for all connections,
 * which call the on_ functions, always one at a time and holding Paho's
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
#ifndef BRIDGE_BROKER_PAHO_H
#define BRIDGE_BROKER_PAHO_H

#include "bridge/broker.h"
#include "bridge/broker_keep.h"
#include "bridge/broker_mail.h"
#include "bridge/broker_wake.h"

#include <MQTTAsync.h>

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

#define BUCKETS        256u /* of the table of connections; a power of two */
#define DISCONNECT_MS  500u /* for a DISCONNECT to go out */
#define WHY_MAX        240u
#define ADDRESSES_MAX  16u /* of the broker that are tried */
#define PROTOCOL_5     5u
#define PROTOCOL_3_1_1 4u

enum refusal {
    REFUSED_TOPIC = 0x90,    /* MQTT 5, 3.4.2.1: topic name invalid */
    REFUSED_SIZE = 0x95,     /* 4.13: packet too large */
    REFUSED_QUOTA = 0x97,    /* quota exceeded */
    REFUSED_RETAIN = 0x9A,   /* retain not supported */
    REFUSED_WILDCARD = 0xA2, /* wildcard subscriptions not supported */
};

struct command {
    enum bridge_action_type type;
    uint32_t conn;
    uint32_t attempt; /* CONNECT: to be named in what comes of it */
    uint32_t request;
    uint64_t seq;
    uint8_t qos;
    bool retain; /* of the message or the will */
    bool clean;
    bool transient;
    bool careful;
    bool forget;
    bool with_will;
    bool wants_retained;
    uint32_t id; /* of a subscription */
    bool has_will;
    size_t text; /* topic or filter, as a C string */
    size_t text_len;
    size_t body; /* payload */
    size_t body_len;
    size_t client_id;
    size_t client_id_len;

    /* of a PUBLISH at QoS 2 */
    uint32_t queue;
    int foreseen;   /* the packet id written for it, or 0 */
    uint64_t order; /* of that */

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
    /* of a MESSAGE at QoS 2 */
    uint16_t mid;
    uint8_t protocol;
    uint32_t session;
};

enum flight_state {
    FLIGHT_SENT,    /* Paho has it, and knows its context */
    FLIGHT_LOST,    /* its connection was lost */
    FLIGHT_CARRIED, /* Paho has it again, by its packet id only */
    FLIGHT_SETTLED, /* carried, and ended before it was handed over again */
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
    bool asked;    /* carried: it was handed over again */
    bool released; /* carried: PUBREC was good, PUBREL is sent */
    uint8_t qos;
    uint8_t code;     /* SETTLED: of DELIVERED */
    int token;        /* its packet id */
    int recorded;     /* the packet id that is on disk, or 0 */
    uint64_t order;   /* of that: a higher one is younger */
    uint32_t queue;   /* PUBLISH */
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
    bool wanted;            /* the core wants it to be connected */
    bool todo_retire;       /* its connection was lost: destroy the handle */
    bool fell_back;         /* the other protocol was tried in this attempt */
    bool todo_retry;        /* connect again with the other protocol */
    bool todo_explain;      /* find out why the attempt failed, and report it */
    bool todo_close;        /* connected although nobody wants it any more */
    bool todo_renew;        /* end it and report it as lost: everything is undecided */
    bool cut;               /* no acknowledgement may be sent any more */
    size_t address;         /* of the broker's, that is tried */
    size_t addresses_tried; /* in this attempt, without an answer */
    bool several_addresses;
    bool silent; /* one of them took the connection and said nothing */
    /* what it was asked to connect with */
    uint32_t attempt;
    bool clean;
    bool transient;
    bool careful; /* nothing is repeated that the core does not hand over */
    bool has_will;
    bool will_retain;
    uint8_t will_qos;
    char *client_id;
    char *will_topic;
    uint8_t *will_message;
    size_t will_len;
    /* how it is to end */
    bool forget;
    bool with_will;
    int held_fd; /* see paho_hold_socket(); -1: none */
    /* what the broker said */
    uint8_t code; /* of a refusal, as MQTT 5 has it; 0: none */
    uint8_t max_qos;
    bool can_retain;
    bool can_wildcard;
    bool can_name;                /* messages with the identifiers of subscriptions */
    uint32_t max_packet;          /* 0: no limit */
    uint16_t keepalive_s;         /* as it was asked for */
    uint16_t window;              /* as last reported */
    uint32_t window_limit;        /* what the broker seems to bear; 0: as announced */
    enum window_news window_news; /* since it is up */
    uint32_t refusals;            /* in a row with a window of 1 */
    bool session_present;         /* the connection took up a session */
    bool start_over;              /* the next one shall not */
    bool finishing;               /* when it has ended what is carried, it is made anew */
    bool todo_finish;             /* that is done: end it */
    bool todo_again;              /* it has ended: connect */
    bool proved;                  /* it was up with this protocol before */
    bool restored;                /* its flights are those of an earlier process */
    uint32_t session;             /* tells the broker and the client id from others */
    struct flight *sending;       /* which MQTTAsync_sendMessage() is about */
    int last_mid;                 /* the packet id Paho gave out last */
    int foreseen_mid;             /* and what it will give out */
    char why[WHY_MAX];            /* the reason of a DISCONNECT, else empty */
    int fd;                       /* of its socket, if ino is not 0 */
    ino_t ino;
    atomic_uint packets;      /* of which we hear, from the broker */
    uint32_t metered_packets; /* those when the meter looked last and there were new ones, */
    uint64_t metered_octets;  /* what had come by then, */
    int64_t metered_ms;       /* and when that was */
    bool metered_cut;         /* that connection was cut, and is about to end */
    int64_t metered_cut_ms;   /* when a packet was too large; 0: never */
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
    struct broker_options *fresh;  /* NULL, or what the next attempt takes over; with the lock */
    uint16_t port;
    struct sockaddr_storage addresses[ADDRESSES_MAX]; /* broker_paho_address.c */
    size_t address_count;                             /* 0: not known */
    size_t address;                                   /* the one to connect to */
    int64_t addresses_ms;                             /* when they were looked up */
    bool aims;                                        /* it is on the list of those */
    struct broker *next_aim;

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
    uint8_t protocol;     /* the one to try next */
    uint16_t keepalive_s; /* as configured, or less: what the broker bears */
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
    uint64_t turn;          /* of the loop */
    uint64_t taken_in_turn; /* the last one that took a message at QoS 2 */
    uint64_t custody_order; /* of the youngest flight on disk */
    struct broker_figures figures;

    pthread_t meter; /* broker_paho_meter.c */
    bool meter_runs;
    int meter_fd; /* wakes it; -1: none */
    atomic_bool meter_quit;

    /* of the loop */
    struct broker_mail reading;
    /* of our thread */
    struct broker_mail working;
};

/* Making and ending handles, one at a time: Paho shares everything between all
 * handles of a process, and we have a thread for each struct broker. */
extern pthread_mutex_t paho_library;

/* ---- broker_paho_flight.c: what is in flight, and events for the loop --------------- */

int64_t paho_clock_ms(void);
/* By the clock that messages' times are of. */
uint64_t paho_own_ms(const struct broker *b);
struct timespec paho_clock_at(int64_t ms);
void *paho_allocate(size_t size);

/* With the lock. */
struct notice *paho_add_notice(struct broker *b, enum bridge_event_type type);
void paho_report_delivered(struct broker *b, uint32_t conn, uint64_t seq, uint8_t code);
void paho_report_down(struct connection *c, const char *why);

/* With the lock. A ring is empty after ring_init(). take_flight() makes one that is
 * SENT, put_flight() ends one in any state. */
void paho_ring_init(struct flight *head);
struct flight *paho_take_flight(struct connection *c, enum flight_kind kind);
struct flight *paho_take_carried(struct connection *c);
void paho_put_flight(struct flight *f);
bool paho_has_carried(const struct connection *c); /* that has not ended */
void paho_finish_when_done(struct connection *c);  /* ends it when it was only up for that */
struct flight *paho_find_carried(struct connection *c, uint64_t seq);
struct flight *paho_find_carried_token(struct connection *c, int token);

/* With the lock. The broker has taken the message, or refused it for good. */
void paho_settle(struct flight *f, uint8_t code);

/* With the lock. The connection is no more: everything in flight is undecided.
 * And: the broker has no session, Paho was told to forget what is carried. */
void paho_carry_flights(struct connection *c);
void paho_drop_carried(struct connection *c);

/* ---- broker_paho_socket.c ------------------------------------------------------------ */

/* Finds out the socket of a connection that was just made, or not; gives it up. */
void paho_claim_socket(struct connection *c);
void paho_forget_socket(struct connection *c);

/* Makes it impossible to send anything more. Only in a callback: Paho's lock
 * keeps the descriptor from being closed and used for something else. */
bool paho_shut_socket(const struct connection *c);

/* To cut it later, outside of callbacks, until it is forgotten. False: it was not
 * held, or is closed already. */
void paho_hold_socket(struct connection *c);
bool paho_cut_socket(struct connection *c);

/* Calls fn for every connection whose socket is known, of all brokers; they stay as they are
 * meanwhile. */
typedef void paho_socket_fn(void *ctx, struct connection *c);
void paho_each_socket(paho_socket_fn *fn, void *ctx);

/* What Paho will read next, behind the packet it is handling: it reads packet by
 * packet. Nothing with TLS and WebSockets. Only in a callback. */
size_t paho_peek_socket(const struct connection *c, uint8_t *octets, size_t size);

/* ---- broker_paho_address.c: the addresses of the broker ------------------------------- */

/* Looks them up. Our thread, before each attempt; what worked last is tried first. */
void paho_address_find(struct broker *b);
size_t paho_address(struct broker *b); /* the one that Paho will connect to */
/* The attempt got no answer: the next one is for another address. False: all were tried. */
bool paho_address_next(struct connection *c);
void paho_address_forget(struct broker *b);

/* ---- broker_paho_meter.c: packets that are too large to be of use ---------------------- */

/* The connection is up: from now on it is cut when too large a packet comes, unless the broker
 * was told (MQTT 5) and so does not send one. */
void paho_meter_watch(struct connection *c);
/* A packet has come to its end. Any thread. */
void paho_meter_packet(struct connection *c);
void paho_meter_stop(struct broker *b);

/* ---- broker_paho_keep.c: Paho's persistence ------------------------------------------- */

MQTTClient_persistence paho_persistence(struct connection *c);

/* Paho's name for a packet: a kind, by protocol, and the packet id. */
void paho_key_of(const struct connection *c, const char *kind, int mid, char *key);

/* The packet id, when the key is "<kind>-<id>" or "<kind>5-<id>"; else 0. */
int paho_id_in(const char *key, const char *kind);

/* ---- broker_paho_custody.c: what is on disk ------------------------------------------------ */

/* The message being sent has this packet id. With the lock; our thread. */
void paho_custody_assigned(struct connection *c, int mid);

/* Before PUBLISH and PUBREL with this packet id go out: returns when the disk
 * knows. On Paho's threads. */
void paho_custody_sending(struct connection *c, int mid);
void paho_custody_releasing(struct connection *c, int mid);

/* The flight will never end by itself: the message is to be published anew. With
 * or without the lock. */
void paho_custody_drop(const struct flight *f);

/* There is no session any more that anything could be in flight in. With the lock. */
void paho_custody_forget(struct connection *c);

/* Writes down what the commands that wait will send. Our thread. */
void paho_custody_foresee(struct broker *b);

/* 3.1.1: before PUBREC; the loop takes the message; before PUBCOMP. */
void paho_custody_received(struct connection *c, int mid, struct sn_bytes packet);
void paho_custody_taken(struct broker *b, const struct notice *n);
void paho_custody_released(struct connection *c, int mid);

/* Takes up what an earlier process has left, before anything else is done. */
void paho_custody_restore(struct broker *b);
/* The connection is about to be made: whether that is still about its session. */
void paho_custody_connect(struct connection *c);

/* ---- broker_paho_connect.c: connections and handles; our thread ------------------------ */

struct connection *paho_find_connection(struct broker *b, uint32_t number);
struct connection *paho_add_connection(struct broker *b, uint32_t number);

/* Destroys the handle, but not what is in flight; and everything. */
void paho_retire_handle(struct connection *c);
void paho_free_connection(struct connection *c);
void paho_begin_disconnect(struct connection *c);
void paho_do_connect(struct broker *b, const struct command *command);
void paho_do_disconnect(struct broker *b, const struct command *command);

/* What an attempt has left to do: connect once more, with the same protocol or
 * the other one; say why it failed. */
void paho_connect_again(struct connection *c);
void paho_fall_back(struct connection *c);
void paho_report_unreachable(struct connection *c);

void paho_add_property(MQTTProperties *all, enum MQTTPropertyCodes code, uint32_t value);

/* ---- broker_paho_options.c: what changes while it runs ----------------------------------- */

/* With the lock, by our thread. */
void paho_take_options(struct broker *b);
void paho_free_options(struct broker_options *o); /* NULL: nothing */

/* ---- broker_paho_publish.c: to the broker ------------------------------------------------ */

void paho_do_publish(struct broker *b, const struct command *command);
void paho_do_subscribe(struct broker *b, const struct command *command);
void paho_on_delivery_complete(void *ctx, MQTTAsync_token token);

/* ---- broker_paho_receive.c: from the broker ----------------------------------------------- */

int paho_on_message(void *ctx, char *topic, int topic_len, MQTTAsync_message *message);

#endif
