/* What the files of the core share: the state of a bridge, and what each file
 * offers to the others. Private to bridge/; drivers see bridge.h.
 *
 *   bridge.c      init, the dispatch of events, deadlines, notes, status
 *   upstream.c    connections to the broker: made, lost, found by number
 *   clients.c     sessions: found by number, client id, address; made, dropped
 *   names.c       topic names, each held once; topic ids of a session
 *   classes.c     which class of messages a topic belongs to
 *   dollar.c      topics that begin with "$": whether sensors may use them
 *   permit.c      which topics sensors may use: of these, and of so many levels
 *   connect.c     CONNECT with its will dialogue, DISCONNECT, PINGREQ, loss
 *   uplink.c      REGISTER and PUBLISH from sensors, and on to the broker
 *   hold.c        messages that the broker does not take now
 *   suspect.c     what the broker hangs up on is found, and set aside
 *   lanes.c       which queue to the broker, and which message goes next
 *   subscribe.c   SUBSCRIBE, UNSUBSCRIBE, and their like at the broker
 *   filter.c      the tree of subscriptions
 *   overlaps.c    one message that the broker sends for each of several filters
 *   downlink.c    messages from the broker to sensors
 *   queue.c       messages in order: the head in memory, the rest on disk
 *   tiers.c       the queues to one sensor, by priority, and which message goes next
 *   account.c     what became of messages, by class, link and client
 *   sweep.c       messages on the disk that have expired
 *   budget.c      new clients and writes that one peer may cause
 *   expire.c      sessions that end by themselves, or make room for others
 *   outage.c      clients that are let go when the broker is away for long
 *   hold.c        messages that the broker does not take now
 *   custody.c     the copies of a message until the disk has decided about all of them
 *   await.c       what is to be said once the disk has something
 *   air.c         frames on their way out, at the pace the link carries
 *   echo.c        frames of ours that come back
 *   discover.c    ADVERTISE, SEARCHGW, GWINFO; forwarders
 *   restore.c     state records, written and read back
 *   look.c        links and queues, for who looks in
 *   reload.c      another configuration while it runs
 *   check.c       everything that can be recomputed, compared
 */
#ifndef BRIDGE_CORE_H
#define BRIDGE_CORE_H

#include "bridge/arena.h"
#include "bridge/bridge.h"
#include "bridge/classes.h"
#include "bridge/table.h"
#include "bridge/timers.h"
#include "mqttsn/retry.h"
#include "mqttsn/session.h"
#include "radio/pacer.h"
#include "radio/rtt.h"

#include <string.h>

/* ---- topic names and ids ---------------------------------------------------- */

#define NAME_CLASS_UNKNOWN UINT8_MAX

/* A topic name or filter. Held once however many use it. */
struct name {
    struct table_link link;
    uint32_t refs;
    uint16_t len;
    uint8_t class; /* NAME_CLASS_UNKNOWN until name_class() is asked */
    uint8_t text[];
};

/* Of one topic messages wait in the backlog of a connection. */
struct backlog {
    struct table_link link; /* by connection and name */
    struct upstream *upstream;
    struct name *name;
    uint32_t count;
    uint8_t class; /* that they wait in */
};

/* Octets that belong to one owner. */
struct blob {
    uint32_t len;
    uint8_t data[];
};

/* Whether the device knows an id. A CONNECT without clean session keeps what it was told
 * (A-16); but it may have been started anew, and lost it. */
enum topic_known {
    TOPIC_UNKNOWN,
    TOPIC_TOLD_BEFORE, /* in an earlier connection, and in this one nothing has shown it */
    TOPIC_KNOWN,
};

/* One topic id of one session (7.3: ids are per client). One name has one id,
 * whichever side assigned it (A-23). */
struct topic {
    struct table_link by_tid;
    struct table_link by_name;
    struct topic *next; /* of the session's ring, used before this one */
    struct topic *prev; /* the last one in front of the first */
    struct session *session;
    struct name *name;
    uint16_t tid;
    bool asked;    /* the device asked for it, or publishes by it; else it was told for a message */
    uint8_t known; /* enum topic_known */
    uint16_t qos0_sent; /* QoS 0 messages that went out by it: the device may still refuse them */
    uint64_t saved;     /* ticket of its record */
};

/* A topic id of the configuration. */
struct predefined {
    struct table_link link;
    struct predefined *next;
    struct sn_bytes client; /* empty: every client */
    uint16_t tid;
    struct name *name;
};

/* ---- what the broker hangs up on: see suspect.c ------------------------------- */

struct suspicion {
    uint8_t losses; /* connections lost with it under way: SUSPECT_LOSSES, then it is a suspect */
    uint8_t alone;  /* as a suspect: connections lost with nothing else under way */
};

#define SUSPECT_LOSSES 3
#define SUSPECT_ALONE  3 /* others go first from here on, */
#define SUSPECT_SURE   5 /* and from here on it is not sent any more */
#define SUSPECT_STILL_MS                                                                           \
    1000 /* nothing was sent or answered for so long before it is tried once more */

#define SUSPECT_IDLE_MS 30000 /* the same for one that waits for others, when there are none */

enum proof {
    PROOF_REQUEST = 1, /* the broker has answered a SUBSCRIBE or UNSUBSCRIBE */
    PROOF_MESSAGE = 2, /* or a message */
    PROOF_SENDS = 4,   /* or has sent one */
};

/* ---- what the broker does not take now: see hold.c ----------------------------- */

struct hold {
    struct hold *next; /* of the connection */
    struct message *message;
    uint64_t since_ms; /* when it was refused first */
    uint64_t due_ms;   /* when it goes again */
    uint8_t tries;
};

/* ---- queues ------------------------------------------------------------------ */

struct message {
    struct message *next;
    struct message *prev;
    uint64_t seq;
    uint64_t received_ms;
    uint64_t expires_ms;
    struct name *topic;
    struct exchange *exchange; /* to the broker: the sensor's side of it, while open */
    struct queue *queue;
    uint32_t session;
    uint32_t len;
    uint16_t mid;
    uint8_t qos;
    uint8_t flags; /* enum bridge_flag */
    uint8_t class;
    uint8_t link;
    bool stored;    /* STORE was emitted: FORGET is owed */
    bool published; /* to the broker: handed over, undecided */
    bool sent;      /* to a sensor: it went out before, DUP is due; to the broker: it was handed
                     * over in an earlier connection */
    bool held;      /* to the broker: it goes again later, or waits behind one that does: hold.c */
    struct suspicion suspicion; /* to the broker, QoS 1 and 2 */
    uint8_t payload[];
};

/* Messages with ascending seq. Those in memory are a list; QoS 1 and 2 messages
 * beyond a limit are on disk only and come back by FETCH when it is their turn. */
struct queue {
    struct message *head;
    struct message *tail;
    struct message *next_out; /* to the broker: the first in memory that is not handed over */
    uint8_t class;
    bool live;         /* to the broker: of the live lane */
    bool newest;       /* goes from the newest to the oldest */
    bool fetching;     /* FETCHED is to come */
    bool resuming;     /* to a sensor: the first may be with it already, from before a restart */
    uint64_t bytes;    /* of payloads, on disk or not */
    uint64_t restored; /* of its messages, those from before a restart */
    uint32_t id;       /* bridge.h says which is which */
    uint32_t in_memory;
    uint64_t on_disk;          /* on disk only */
    uint64_t disk_from;        /* no message on disk only has a lower seq */
    uint64_t disk_last;        /* the highest seq put on disk only */
    uint64_t fetch_last;       /* disk_last when FETCH was emitted */
    uint64_t starved_until_ms; /* there was no memory for what FETCH brought; 0: not so */
};

/* One of the queues of a connection to the broker. */
struct lane {
    struct queue queue;
    struct lane *next; /* of the connection, by priority; the live lane of a class last */
};

/* One of the queues to a sensor. */
struct tier {
    struct queue queue;
    struct tier *next; /* of the session, by priority */
};

/* ---- sessions ------------------------------------------------------------------ */

struct subscription {
    struct subscription *next;      /* of the session */
    struct subscription *node_next; /* of the filter */
    struct subscription **node_from;
    struct session *session;
    struct filter *filter;
    uint32_t key;               /* of its record */
    uint64_t retained_until_ms; /* retained messages are for it up to here */
    uint32_t retained_since;    /* b->match_stamp when it was granted */
    uint8_t retained_round;     /* those of this round; see struct filter */
    uint8_t qos;                /* granted */
};

/* A QoS 1 or 2 PUBLISH of a sensor between its arrival and the end of its
 * handshake (6.6). */
struct exchange {
    struct exchange *next;
    struct session *session;
    struct message *message; /* while it is in memory */
    uint64_t seq;
    uint32_t queue; /* the message was put into */
    uint16_t mid;
    uint16_t tid;  /* as the sensor wrote it, for PUBACK */
    uint32_t hash; /* of topic and payload; 0: not known, it is from before a restart */
    uint8_t qos;
    bool acked;     /* QoS 2: PUBREC has been sent at least once */
    bool releasing; /* PUBREL is here, the disk does not know yet */
    bool delivered; /* the broker has it */
    bool before;    /* it was opened before the last CONNECT */
};

#define BRIDGE_RETAINED_MEMORY 256 /* beyond it a sensor may get one twice: see downlink.c */

#define BRIDGE_GROUP_MAX 32 /* filters that one message is remembered to have answered */

#define EXCHANGES_MAX 16 /* open at once for one client; more are refused with congestion */

enum flight {
    FLIGHT_NONE,
    FLIGHT_REGISTER, /* REGACK is awaited; the message waits behind it */
    FLIGHT_PUBLISH,  /* PUBACK or PUBREC is awaited */
    FLIGHT_RECEIVED, /* PUBREC is here; PUBREL waits for the disk */
    FLIGHT_RELEASE,  /* PUBCOMP is awaited */
};

enum subscribing {
    SUBSCRIBING_NOT,
    SUBSCRIBING_AT_BROKER, /* SUBSCRIBE waits for what the broker says */
    SUBSCRIBING_TO_DISK,   /* it is granted; SUBACK waits for the disk, and all else behind it */
};

enum dialogue {
    DIALOGUE_NONE,
    DIALOGUE_TOPIC,   /* WILLTOPIC is awaited */
    DIALOGUE_MESSAGE, /* WILLMSG is awaited */
    DIALOGUE_STORING, /* CONNACK waits for the disk */
    DIALOGUE_BROKER,  /* and then for what the broker says to its own connection */
};

/* CONNECT while its will is being asked for (6.2). It takes effect at the end. */
struct pending_connect {
    uint16_t keepalive_s;
    bool clean;
    bool will_retain;
    uint8_t will_qos;
    struct name *will_topic;
};

struct will {
    struct name *topic; /* NULL: there is no will */
    struct blob *message;
    uint8_t qos;
    bool retain;
};

struct session {
    struct table_link by_number;
    struct table_link by_id;
    struct table_link by_peer;
    struct timer timer;
    struct timer idle; /* when it was heard, while it may make room for others */
    uint32_t number;
    struct sn_session sn;
    struct blob *client_id;

    /* where it is */
    uint16_t link;
    struct radio_address address;
    struct blob *node; /* wireless node id behind a forwarder; NULL: none */

    /* CONNECT */
    bool clean;
    uint8_t dialogue; /* enum dialogue */
    struct pending_connect *pending;
    struct sn_retry dialogue_retry;
    struct will will;
    struct upstream *own;     /* its own connection to the broker, or what is left to send of one */
    uint64_t broker_until_ms; /* DIALOGUE_BROKER: CONNACK waits no longer */
    bool transparent;         /* it is to have one; else the mode has changed */
    bool leaving;             /* its DISCONNECT waits for the disk */
    bool on_disk;             /* a record of it was saved */
    bool returned;            /* it has come back since its first CONNECT */
    uint64_t saved_ms;        /* heard_ms as the disk has it */
    uint64_t writes_full_ms;  /* see budget.c */

    /* topics and subscriptions */
    struct topic *asked; /* two rings, each with the topic that was used last in front */
    struct topic *told;
    struct subscription *subscriptions;
    uint16_t topic_count;
    uint16_t subscription_count;
    uint16_t next_tid;
    uint32_t next_key;
    uint16_t subscribe_mid; /* of the last SUBSCRIBE that was accepted, and its answer */
    uint16_t subscribe_tid;
    int8_t subscribe_qos;
    uint8_t subscribing; /* enum subscribing */
    uint32_t connects;   /* CONNECTs that took effect: what waits from before is void */

    /* from the sensor */
    struct exchange *exchanges;
    uint8_t exchange_count;
    uint16_t acked_mid; /* the message that was acknowledged last; QoS 2: completed */
    uint32_t acked_hash;
    uint64_t acked_until_ms; /* and how long it may be repeated */

    /* to the sensor */
    struct tier usual;    /* of class 0 and what has its priority: always there */
    struct tier *tiers;   /* that, and those with something in them */
    uint64_t mixed_until; /* up to this seq rows may be in the queue of another priority */
    struct message *flying;
    uint8_t flight;    /* enum flight */
    bool reregistered; /* after PUBACK 0x02, once (A-43) */
    bool waiting_for_air;
    uint8_t air_priority; /* by which it waits for that */
    bool waiting_for_disk;
    bool quiet;    /* after a restart: T_retry runs, nothing is sent because of that */
    bool repeated; /* the open frame went out more than once: Karn */
    uint16_t register_mid;
    uint16_t register_tid;
    uint32_t awake_sent;    /* messages in this awake period */
    uint64_t awake_ms;      /* when it began */
    uint64_t sent_ms;       /* when the last bit of the first copy of the open frame left */
    uint64_t hold_until_ms; /* it is congested: nothing is sent before; 0: not so */
    struct bridge_accounts account;
    uint32_t class_queued[BRIDGE_CLASSES_MAX]; /* messages to it */
    uint32_t found;                            /* of account_mend() */
    bool account_changed;                      /* since it was saved */
    struct sn_retry retry;
    struct radio_rtt rtt;
    struct session *air_next; /* on the link's list of those waiting for air */
    uint32_t match_stamp;     /* of the message that the following are about */
    uint8_t match_qos;        /* among the filters that it answers */
    uint8_t match_best;       /* among the filters that the broker is known to have */
    bool match_named;         /* a filter that it answers matches */
    bool match_best_came;     /* of this message a copy has, for the best of them */
    uint32_t match_best_number;
    uint32_t match_group; /* it has had a copy of this group */
    struct session *match_next;
};

/* ---- the tree of subscriptions -------------------------------------------------- */

enum filter_state {
    FILTER_UNKNOWN, /* to the broker */
    FILTER_PENDING, /* SUBSCRIBE or UNSUBSCRIBE is on its way */
    FILTER_ACTIVE,
};

struct filter {
    struct table_link link; /* by parent and level */
    struct table_link by_request;
    struct table_link by_number;
    struct upstream *upstream; /* whose tree it is in */
    struct filter *parent;     /* NULL: the root */
    struct filter *plus;       /* child "+" */
    struct filter *hash;       /* child "#" */
    uint32_t children;
    struct subscription *subscriptions;
    struct name *name;       /* the whole filter; NULL while nobody subscribes here */
    struct waiting *waiting; /* SUBSCRIBEs that wait for the broker's answer */
    struct filter *sync_next;
    struct filter *all_next;
    struct filter *all_prev;
    uint32_t request; /* of the action under way */
    /* A subscription identifier at the broker says which filter, by a number that
     * follows from its text and so outlives a restart, and which SUBSCRIBE of it:
     * retained messages answer that one. */
    uint32_t number;
    uint8_t round;
    uint8_t state;       /* enum filter_state */
    uint8_t asked_qos;   /* at the broker */
    uint8_t granted;     /* by the broker */
    bool asked_for;      /* the action under way is SUBSCRIBE */
    bool wants_retained; /* of the next SUBSCRIBE */
    bool named;          /* copies name it since the broker has it: all that come do */
    struct suspicion suspicion;
    bool in_sync; /* on the list of those to be told to the broker */
    struct name *level;
};

/* A message of which more copies may come, for other filters. */
struct overlapped {
    uint64_t hash; /* of topic and payload; 0: none */
    uint64_t until_ms;
    uint32_t conn;
    uint8_t left; /* copies that may still come */
    uint8_t due;  /* and those that must, if it sends one for each */
    int8_t upto;  /* sensors have had it whose QoS is not higher; -1: none */
    bool came;    /* not only the first one */
    bool missed;  /* QoS 0: who was not connected has not had it */
    bool saved;   /* the disk has it */
};

#define OVERLAPS_MAX 64 /* messages at a time; beyond it a sensor may get one twice */

/* What a copy is to whom. */
struct overlap {
    uint64_t hash; /* 0: nothing is known, it is for everybody */
    int8_t above;  /* it is for sensors of a higher QoS than this, */
    int8_t upto;   /* and not of a higher one than that */
    uint8_t left;
    uint8_t due;
    bool is_more; /* not the first one */
    bool missed;
};

/* A client's SUBSCRIBE that waits for the broker. */
struct waiting {
    struct waiting *next;
    uint32_t session;
    uint32_t connects; /* of the session, then */
    uint16_t mid;
    uint16_t tid;
    uint8_t qos;
};

/* ---- connections to the broker --------------------------------------------------- */

enum upstream_state {
    UPSTREAM_DOWN,
    UPSTREAM_CONNECTING,
    UPSTREAM_UP,
};

enum ending {
    ENDING_NOT,
    ENDING_QUIETLY,   /* DISCONNECT */
    ENDING_WITH_WILL, /* the broker is to publish the will */
};

/* One connection to the broker: what waits for it, what is under way on it, and
 * which subscriptions it is to have. All of it outlives the loss of the
 * connection; after BROKER_DOWN what was under way is undecided.
 *
 * One is shared. A transparent session has one of its own, as long as the session
 * lives; it is wanted while the sensor is connected (asleep, too), and then until its
 * queue is empty, for what a sensor was told to be accepted is sent under its own
 * name, however long ago it left. */
struct upstream {
    uint32_t conn;           /* its number towards the driver */
    struct session *session; /* whose own it is; NULL: shared */
    uint8_t state;           /* enum upstream_state */
    uint32_t attempt;        /* the last CONNECT: what is said of earlier ones is void */

    /* a session's own */
    bool wanted;
    uint8_t ending;   /* enum ending: no longer wanted when the queue is empty */
    bool fresh;       /* a clean session is to begin, once nothing of the last is undecided */
    bool stale;       /* made with another will or session: anew when nothing is in flight */
    bool unanswered;  /* the broker has not said anything since the sensor's CONNECT */
    bool in_turn;     /* waits until few enough others are being connected */
    bool awaits_disk; /* on the list of those that go on when the disk has something */
    struct upstream *turn_next;
    struct upstream *disk_next;

    /* while it is up: what the broker allows */
    uint8_t max_qos;
    uint16_t window;

    uint64_t up_ms;       /* since when */
    uint64_t still_ms;    /* nothing was sent and nothing answered since then */
    uint64_t heard_ms;    /* it has answered everything, or something last, then */
    uint64_t patience_ms; /* the timer is for the end of the patience with it, if it is due then */
    uint8_t proof;        /* enum proof: what it was of use for, in this connection */
    bool trying;          /* what is under way is one suspect, and nothing else */
    bool careful;         /* the next CONNECT asks the driver to repeat nothing by itself */
    uint32_t suspects;    /* messages and filters */
    struct hold *holds;   /* messages that go again later */
    uint32_t hold_count;
    bool disordered; /* what is under way may be behind what waits */

    /* while it is down */
    uint32_t attempts; /* since the last time it was of use */
    uint32_t refusals; /* times that the disk refused what came by it, since it took something */
    uint64_t cut_at;   /* the last ticket before its last DISCONNECT: what came by it is answered */
    struct timer timer; /* the next attempt; while it is made: the end of SUBSCRIBEs' patience;
                          * while it is up: something is to be looked at */
    bool met;           /* it was up since the start, or since the sensor came */
    bool awaited;       /* SUBSCRIBEs wait for it to be up */

    /* from sensors */
    struct lane backlog;   /* of class 0: always there */
    struct lane *lanes;    /* that, and those with something in them */
    uint64_t waiting;      /* messages in all of them */
    uint64_t bytes;        /* and octets of their payloads */
    uint64_t untracked;    /* messages in backlogs that no struct backlog could count */
    uint64_t missing;      /* messages that those still count, and that are not there */
    uint32_t inflight;     /* QoS 1 and 2, handed over and undecided */
    uint32_t inflight0;    /* QoS 0 */
    uint32_t share;        /* of the live lane, towards its next turn */
    uint64_t qos0_waiting; /* QoS 0 messages in the queues, handed over or not */

    /* to sensors: the tree of their subscriptions */
    struct filter root;
    struct filter *filters_first;
    struct filter *sync_first; /* filters the broker must hear about */
    struct filter *sync_last;
    uint32_t sync_open; /* requests under way */
    uint8_t overlaps;   /* enum bridge_overlaps, as learned */
    struct {
        uint32_t stamp;
        uint64_t hash; /* of topic and payload */
        uint32_t ids[BRIDGE_GROUP_MAX];
        uint8_t count;
    } group; /* copies of one message for several of our filters */
};

/* ---- what waits for the disk ----------------------------------------------------- */

enum await_kind {
    AWAIT_PUBACK,  /* QoS 1 from a sensor; mid */
    AWAIT_PUBREC,  /* QoS 2 from a sensor; mid */
    AWAIT_PUBCOMP, /* its PUBREL; mid */
    AWAIT_CONNACK,
    AWAIT_REGACK,   /* mid, tid */
    AWAIT_SUBACK,   /* mid, tid, qos */
    AWAIT_UNSUBACK, /* mid */
    AWAIT_DISCONNECT,
    AWAIT_WILLTOPICRESP,
    AWAIT_WILLMSGRESP,
    AWAIT_PUBREL, /* PUBREC from a sensor was marked; mid */
    AWAIT_SEND,   /* something that the sensor may only hear of then */
    AWAIT_ACCEPT, /* everything for this token is durable */
    AWAIT_COPIES, /* the same of a message that was accepted before */
};

struct await {
    struct await *next;
    struct await *prev;
    uint64_t ticket;
    uint64_t token; /* AWAIT_ACCEPT: the broker's; PUBCOMP, PUBREL: the message's seq */
    union {
        struct name *topic; /* SUBACK: the filter; PUBACK, PUBREC: of the message to be durable, */
        struct custody *custody; /* ACCEPT, COPIES: whose copies are to be; its own */
    };
    uint32_t queue; /* its queue, */
    uint32_t bytes; /* its payload, */
    uint8_t class;
    uint8_t link;     /* and where it came in */
    uint32_t session; /* ACCEPT, COPIES: the number of the broker connection */
    uint16_t mid;
    uint16_t tid;
    uint8_t kind; /* enum await_kind */
    uint8_t qos;
};

/* ---- links ---------------------------------------------------------------------- */

#define BRIDGE_FORWARDERS_MAX 16 /* on one link; the one not heard for longest gives way */

struct forwarder {
    struct radio_address address;
    uint64_t heard_ms; /* 0: no forwarder */
};

#define AIR_REFUSALS_MAX    10 /* to one address */
#define AIR_REFUSALS_MS     10000
#define AIR_REFUSALS_PLACES 256 /* addresses that are remembered, each in its place by hash */

struct refusals {
    uint32_t who;
    uint32_t count; /* since then */
    uint64_t since_ms;
};

#define ECHO_FRAMES 32 /* just sent on one link; of more at a time the first come back unknown */

struct sent_frame {
    uint32_t hash;
    uint64_t until_ms; /* it may come back before; 0: it has */
};

#define NEWCOMERS_PLACES 256 /* addresses that are remembered, each in its place by hash */

struct newcomers {
    uint32_t who;
    uint64_t full_ms; /* see budget.c */
};

struct bridge_link {
    const struct bridge_link_config *config;
    uint8_t number;          /* in rows; stays the same over restarts */
    uint64_t advertise_ms;   /* when the next ADVERTISE is due */
    uint64_t other_until_ms; /* another gateway counts as there up to here */
    struct forwarder forwarders[BRIDGE_FORWARDERS_MAX];
    struct radio_rtt_limits rtt;
    struct radio_pacer *pacer; /* NULL: the link carries whatever comes */
    bool pumping;
    struct session *air_first; /* sessions that have something and wait for air */
    struct session *air_last;
    struct sent_frame sent[ECHO_FRAMES];
    uint32_t sent_next;
    bool echoes; /* the operator has been told */
};

enum timer_kind {
    TIMER_SESSION,
    TIMER_UPSTREAM,
};

struct bridge {
    const struct bridge_config *config;
    bridge_emit_fn *emit;
    void *ctx;
    uint64_t now_ms;
    uint64_t seq;       /* the last one given out */
    uint64_t durable;   /* the last ticket that STORED reported */
    uint64_t covered;   /* the last ticket that STORED or STORE_FAILED reported */
    uint64_t start_seq; /* messages up to here may have been handed over before the restart */
    uint64_t random;
    bool started;
    bool stopping;
    struct arena arena;

    struct table sessions_by_number;
    struct table sessions_by_id;
    struct table sessions_by_peer;
    struct table names;
    struct table backlogs;
    struct table topics_by_tid;
    struct table topics_by_name;
    struct table filters;
    struct table filters_by_request;
    struct table filters_by_number;
    struct table predefined_by_tid;
    struct predefined *predefined;
    struct timers timers; /* each of an enum timer_kind */
    struct timers idle;   /* sessions that may make room, who was heard last at the end */
    uint32_t last_number;
    uint32_t match_stamp;
    struct {
        uint64_t hash;
        uint32_t stamp;
    } retained[BRIDGE_RETAINED_MEMORY]; /* when retained messages came last, by their hash */

    struct overlapped overlapped[OVERLAPS_MAX];

    struct bridge_link links[BRIDGE_LINKS_MAX];

    struct upstream shared; /* the broker connection of all sensors that have none of their own */
    struct upstream *turn_first; /* sensors' own that wait to be connected */
    struct upstream *turn_last;
    struct upstream *disk_first; /* those with something that must be on the disk first */
    uint32_t connecting;         /* sensors' own that are being connected */
    uint32_t last_attempt;
    uint8_t class_rank[BRIDGE_CLASSES_MAX]; /* by priority: 0 goes first */
    uint32_t last_request;

    struct refusals refusals[AIR_REFUSALS_PLACES];
    struct newcomers newcomers[NEWCOMERS_PLACES];

    struct await *await_first;
    struct await *await_last;
    uint64_t undecided_up;    /* messages from sensors that the disk may still refuse */
    uint64_t undecided_bytes; /* and octets of their payloads */

    struct bridge_status status;
    uint64_t up_bytes;                        /* payloads of messages that wait for the broker */
    uint64_t class_bytes[BRIDGE_CLASSES_MAX]; /* the same by class */
    uint64_t outage_ms; /* when the broker went away; BRIDGE_NEVER: it is there, or all is said */
    uint64_t expire_from_ms; /* no session expires before */
    uint64_t sweep_ms;       /* when the disk is asked for expired messages */
    bool sweeping;           /* it has been asked */
    uint64_t missing_up;     /* messages that classes, links and clients still count as queued */
    struct bridge_account saved_up; /* as the disk has it */
    struct bridge_account saved_down;
    uint64_t account_ms;                      /* when it was written */
    uint8_t scratch[2 * SN_PACKET_MAX + 256]; /* the frame or record being made */
    uint8_t wrapped[SN_PACKET_MAX + 256];     /* the frame in its encapsulation */
};

/* ---- bridge.c -------------------------------------------------------------------- */

uint64_t bridge_next_seq(struct bridge *b);
uint32_t bridge_random(struct bridge *b, uint32_t below);

/* Messages that wait, subscriptions and topic ids that are asked for are not to take the
 * memory that sessions and exchanges need: the last quarter is for those, and for what
 * FETCH brings. */
static inline bool bridge_is_memory_short(const struct bridge *b)
{
    return arena_used(&b->arena) / 3 > b->arena.page_count * ARENA_PAGE / 4;
}

/* Emits and counts a note. s may be NULL. */
void bridge_note(struct bridge *b, enum bridge_note note, const struct session *s,
                 struct sn_bytes detail, uint64_t number);
/* The same for somebody without a session. */
void bridge_note_at(struct bridge *b, enum bridge_note note, uint16_t link, struct sn_bytes client,
                    struct sn_bytes detail, uint64_t number);

/* Keeps the counts of states right: its state was `before`. */
void session_changed(struct bridge *b, const struct session *s, uint8_t before);

/* When it counts as lost unless it is heard before. */
uint64_t session_deadline(const struct bridge *b, const struct session *s);

/* Sets the session's timer to the earliest of what it waits for. */
void session_reschedule(struct bridge *b, struct session *s);

static inline void bridge_emit(struct bridge *b, const struct bridge_action *a)
{
    b->emit(b->ctx, a);
}

/* ---- clients.c ------------------------------------------------------------------- */

/* Where a frame came from. */
struct peer {
    uint16_t link;
    const struct radio_address *address;
    struct sn_bytes node; /* data NULL: not encapsulated */
    uint8_t radius;       /* of an encapsulated broadcast to it */
};

struct session *clients_find_number(const struct bridge *b, uint32_t number);
struct session *clients_find_id(const struct bridge *b, struct sn_bytes client_id);
struct session *clients_find_peer(const struct bridge *b, const struct peer *peer);

/* A new, disconnected session without an address; at max_clients another one may end for it.
 * NULL when none can, or memory is out. number 0: the next free one. */
struct session *clients_add(struct bridge *b, struct sn_bytes client_id, uint32_t number);

/* Frees a session and all that is its; the caller has erased its records. */
void clients_remove(struct bridge *b, struct session *s);

/* Forgets everything but the client id: subscriptions, will, topic ids, queue,
 * exchanges. Also on disk. What it has published goes on. */
void clients_wipe(struct bridge *b, struct session *s);

/* The end of a clean session: wiped and, once its own broker connection has
 * nothing more to send, removed. May free it. */
void clients_retire(struct bridge *b, struct session *s);

/* Gives the session this address; whoever had it loses it. Returns false when
 * memory is out. */
bool clients_move(struct bridge *b, struct session *s, const struct peer *peer);
bool clients_is_at(const struct session *s, const struct peer *peer);

void clients_end_dialogue(struct bridge *b, struct session *s);
void clients_drop_will(struct bridge *b, struct session *s);

struct blob *blob_take(struct bridge *b, struct sn_bytes bytes); /* NULL: memory is out */
static inline struct sn_bytes blob_bytes(const struct blob *blob)
{
    return blob == NULL ? sn_bytes(NULL, 0) : sn_bytes(blob->data, blob->len);
}

/* ---- names.c --------------------------------------------------------------------- */

struct name *name_take(struct bridge *b, struct sn_bytes text); /* NULL: memory is out */
struct name *name_find(const struct bridge *b, struct sn_bytes text);
struct name *name_share(struct name *n);
void name_put(struct bridge *b, struct name *n);            /* NULL is allowed */
uint8_t name_class(const struct bridge *b, struct name *n); /* of a topic's messages */
static inline struct sn_bytes name_bytes(const struct name *n)
{
    return n == NULL ? sn_bytes(NULL, 0) : sn_bytes(n->text, n->len);
}

struct topic *topics_find(const struct bridge *b, const struct session *s, uint16_t tid);
struct topic *topics_find_name(const struct bridge *b, const struct session *s,
                               const struct name *name);
/* tid 0: the next free one. NULL: max_topics reached or memory is out. */
struct topic *topics_add(struct bridge *b, struct session *s, struct name *name, uint16_t tid);
/* Found, or made and saved: at max_topics the one that was used least recently gives way,
 * of those that the device did not ask for first. Its id is not given to another name
 * before all others were: who still uses it hears that it is invalid. NULL: memory is
 * out, or every id is under way to the device or the disk. asked: see struct topic. */
struct topic *topics_take(struct bridge *b, struct session *s, struct name *name, bool asked);
void topics_use(struct session *s, struct topic *t, bool asked);
void topics_doubt(struct session *s); /* CONNECT: what is known was told before */
/* The device has shown by one id whether it has kept those that it was told before. */
void topics_kept(struct session *s, bool kept);
void topics_remove(struct bridge *b, struct session *s, struct topic *t);
void topics_remove_all(struct bridge *b, struct session *s);

/* Predefined ids: that of the client wins over that of all. */
/* Takes the ids of this configuration instead of those it has; false: no memory, no change. */
bool predefined_change(struct bridge *b, const struct bridge_config *c);
struct name *predefined_find(const struct bridge *b, const struct session *s, uint16_t tid);
/* The id of a name; 0 when it has none. */
uint16_t predefined_find_name(const struct bridge *b, const struct session *s,
                              const struct name *name);

/* ---- connect.c ------------------------------------------------------------------- */

void connect_begin(struct bridge *b, const struct peer *peer, const struct sn_packet *p,
                   enum sn_fault fault);
void connect_will_topic(struct bridge *b, struct session *s, const struct sn_packet *p,
                        enum sn_fault fault);
void connect_will_message(struct bridge *b, struct session *s, const struct sn_packet *p);
void connect_will_update(struct bridge *b, struct session *s, const struct sn_packet *p,
                         enum sn_fault fault);
void connect_end(struct bridge *b, struct session *s, const struct sn_packet *p);
void connect_ping(struct bridge *b, const struct peer *peer, const struct sn_packet *p);
void connect_done(struct bridge *b, struct session *s); /* the session is durable: CONNACK */
void connect_gone(struct bridge *b, struct session *s); /* its end is durable: DISCONNECT */
void connect_rest(struct bridge *b, struct session *s); /* awake, everything was sent */
/* What the broker says to the session's own connection: it takes it, or cannot be
 * asked now; or refuses it for good (may free the session). */
void connect_answered(struct bridge *b, struct session *s);
void connect_refused(struct bridge *b, struct session *s, uint8_t code);

/* These may free the session. */
void connect_abandon(struct bridge *b, struct session *s); /* the will never came */
void connect_lose(struct bridge *b, struct session *s, enum bridge_note why);
void connect_let_go(struct bridge *b, struct session *s);    /* active: DISCONNECT, from us */
void connect_no_answer(struct bridge *b, struct session *s); /* all repeats are used up */
/* It is lost, and sends: taken back, unless its session has ended or there is no room. */
bool connect_return(struct bridge *b, struct session *s);
void connect_due(struct bridge *b, struct session *s); /* its deadline has come */

/* ---- upstream.c ------------------------------------------------------------------ */

/* How long CONNACK waits for the broker's answer to the sensor's own connection, and SUBACK for
 * the first connection: less than the sensor's T_retry, and enough for a broker that is there. */
#define BROKER_WAIT_MS 3000

#define UPSTREAM_CONNECTING_MAX 16 /* sensors' own that are being connected at a time */
#define UPSTREAM_OWN_LIVE       64 /* messages of one that are kept in memory, of each lane */

void upstream_init(struct bridge *b, struct upstream *u, uint32_t conn);
/* Gives a session an upstream of its own, not wanted; false: memory is out. */
bool upstream_add(struct bridge *b, struct session *s);
void upstream_remove(struct bridge *b, struct session *s);               /* its queue is empty */
bool upstream_is_own(const struct bridge *b, struct sn_bytes client_id); /* by configuration */

/* The connection with this number; NULL: there is none (any more). */
struct upstream *upstream_find(struct bridge *b, uint32_t conn);
/* The one with this queue; NULL likewise, or it is the queue of a sensor. */
struct upstream *upstream_with_queue(struct bridge *b, uint32_t queue);
typedef void upstream_fn(struct bridge *b, struct upstream *u, void *ctx);
void upstream_each(struct bridge *b, upstream_fn *fn, void *ctx); /* looks at every session */
/* The one that a session's messages and subscriptions go to. s may be NULL. */
struct upstream *upstream_of(struct bridge *b, const struct session *s);
static inline bool upstream_is_up(const struct upstream *u)
{
    return u->state == UPSTREAM_UP;
}
/* It is being made for the first time: the broker has never heard what sensors want. */
static inline bool upstream_is_coming(const struct upstream *u)
{
    return !u->met && (u->state == UPSTREAM_CONNECTING || u->in_turn);
}
/* Up in the session before a clean one: what that may have in part is sent by it. */
static inline bool upstream_is_deciding(const struct upstream *u)
{
    return u->state == UPSTREAM_UP && u->stale && u->fresh;
}
/* Up, and what is handed over now need not be handed over again soon. */
static inline bool upstream_is_open(const struct upstream *u)
{
    return u->state == UPSTREAM_UP && !u->stale;
}

static inline uint32_t upstream_under_way(const struct upstream *u)
{
    return u->inflight + u->inflight0 + u->sync_open;
}
/* Something is about to be handed over by it; the broker has answered or sent something:
 * call before what waits for that is looked at. */
void upstream_asks(struct bridge *b, struct upstream *u);
void upstream_heard(struct bridge *b, struct upstream *u);
/* While it is up: upstream_due() comes at this time or earlier. */
void upstream_remind(struct bridge *b, struct upstream *u, uint64_t at_ms);
void upstream_start(struct bridge *b); /* connects the shared one, and what is wanted */
void upstream_hurry(struct bridge *b); /* who waits to try again does it now */

/* For a session without a connection of its own these do nothing. */
bool upstream_has_room(const struct bridge *b, struct sn_bytes client_id, const struct session *s);
/* The sensor has connected: with clean or a new will it begins anew. */
void upstream_open(struct bridge *b, struct session *s, bool new_will);
void upstream_new_will(struct bridge *b, struct session *s);
/* The sensor has gone. */
void upstream_end(struct bridge *b, struct session *s, enum ending ending);
/* The session has expired: once, if that can be, the broker is told to forget it, too. */
void upstream_forget(struct bridge *b, struct session *s);
/* After a restart: the sensor is connected, or something is left to send. */
void upstream_resume(struct bridge *b, struct session *s);
bool upstream_is_wanted(const struct session *s); /* it has an own one that is */

/* A message that came by it cannot be kept: the broker is to send it again, later each
 * time in a row. */
void upstream_cut(struct bridge *b, struct upstream *u);
/* The same when the disk has refused it: its ticket. */
void upstream_refused(struct bridge *b, struct upstream *u, uint64_t ticket);
void upstream_accepted(struct bridge *b, struct upstream *u); /* the disk has taken one */
/* A SUBSCRIBE waits for it to be up, but not for long. */
void upstream_await(struct bridge *b, struct upstream *u);
/* After something was settled: ends or renews the connection when it is time. */
void upstream_settled(struct bridge *b, struct upstream *u);
void upstream_up(struct bridge *b, struct upstream *u, const struct bridge_event *event);
void upstream_down(struct bridge *b, struct upstream *u, const struct bridge_event *event);
void upstream_due(struct bridge *b, struct upstream *u); /* its deadline has come */

/* ---- budget.c -------------------------------------------------------------------- */

/* Each takes one from a budget; false, and noted, when there is none left. */
bool budget_new_client(struct bridge *b, const struct peer *peer);
bool budget_write(struct bridge *b, struct session *s);

/* ---- expire.c -------------------------------------------------------------------- */

void expire_start(struct bridge *b);
uint64_t expire_deadline(const struct bridge *b, const struct session *s); /* SN_NEVER: none */
void expire_due(struct bridge *b, struct session *s); /* it has come; may free the session */
/* Call when anything has changed that decides over it: whether it may make room. */
void expire_sort(struct bridge *b, struct session *s);
/* Ends the session that was not heard for longest, of those that are not connected and
 * have no subscription, no message to them, no exchange and nothing to send. False: there is none. */
bool expire_make_room(struct bridge *b);

/* ---- outage.c -------------------------------------------------------------------- */

void outage_begin(struct bridge *b); /* the shared connection is down, or not up yet */
void outage_end(struct bridge *b);
void outage_due(struct bridge *b);
uint64_t outage_deadline(const struct bridge *b);

/* ---- uplink.c -------------------------------------------------------------------- */

void uplink_register(struct bridge *b, struct session *s, const struct sn_packet *p,
                     enum sn_fault fault);
void uplink_registered(struct bridge *b, struct session *s, uint16_t tid, uint16_t mid);
/* s is NULL for QoS -1 from somebody without a session. */
void uplink_publish(struct bridge *b, struct session *s, const struct peer *peer,
                    const struct sn_packet *p, enum sn_fault fault);
void uplink_pubrel(struct bridge *b, struct session *s, uint16_t mid);
/* A message of the bridge's own making, a will: accepted like one from a sensor. */
void uplink_will(struct bridge *b, const struct session *s);
void uplink_durable(struct bridge *b, const struct await *a); /* PUBACK, PUBREC, PUBCOMP */
void uplink_failed(struct bridge *b, const struct await *a);
void uplink_delivered(struct bridge *b, struct upstream *u, uint64_t seq, uint8_t code);
void uplink_fetched(struct bridge *b, struct upstream *u, const struct bridge_event *event);
void uplink_down(struct bridge *b, struct upstream *u);
/* A message on disk only, no FETCH of whose queue is under way: expired, or too many. */
void uplink_drop_row(struct bridge *b, struct upstream *u, struct queue *q,
                     const struct bridge_message *m, bool expired);
void uplink_pump(struct bridge *b, struct upstream *u); /* hands over what may be handed over */
void uplink_stored(struct bridge *b);                   /* some of it had to be on the disk first */
void uplink_leave_disk(struct bridge *b, struct upstream *u); /* it does not wait for that */
void exchanges_remove_all(struct bridge *b, struct session *s);
void exchanges_connect(
    struct session *s); /* CONNECT: what comes now begins anew unless it says DUP */
uint32_t exchange_hash(const struct bridge *b, struct sn_bytes topic, struct sn_bytes payload);
struct exchange *exchanges_find(const struct session *s, uint16_t mid);
struct exchange *exchanges_add(struct bridge *b, struct session *s, uint16_t mid);

/* A suspect that is alone under way; and one that is dropped: the broker never takes it. */
void uplink_try(struct bridge *b, struct upstream *u, struct message *m);
void uplink_set_aside(struct bridge *b, struct upstream *u, struct message *m);

/* ---- suspect.c -------------------------------------------------------------------- */

static inline bool suspect_is(const struct suspicion *s)
{
    return s->losses >= SUSPECT_LOSSES;
}
/* The connection was lost with all that is under way now. Returns whether something of that
 * was under way at a loss before. */
bool suspect_lost(struct bridge *b, struct upstream *u);
/* What was under way is so no more: drops what the broker will never take. */
void suspect_judge(struct bridge *b, struct upstream *u);
/* It was answered, or is dropped. */
void suspect_clear(struct upstream *u, struct suspicion *s);
/* The broker has answered something, in this connection. */
void suspect_proof(struct upstream *u, enum proof proof);
/* Whether nothing else may be handed over; a suspect whose turn it is, is. */
bool suspect_pump(struct bridge *b, struct upstream *u);

/* ---- hold.c ---------------------------------------------------------------------- */

/* The broker has refused it with such a code. False: it has done so for too long. */
bool hold_message(struct bridge *b, struct upstream *u, struct message *m, uint8_t code);
/* Call before a message is removed, held or not: those behind it may go. */
void hold_clear(struct bridge *b, struct upstream *u, struct message *m);
bool hold_blocks(const struct upstream *u, const struct message *m); /* one before it is held */
/* Hands over what is due again. True: so much is held that nothing else is to go. */
bool hold_pump(struct bridge *b, struct upstream *u);

/* ---- lanes.c ---------------------------------------------------------------------- */

void lanes_init(struct bridge *b); /* before any of these */
void lanes_open(struct bridge *b, struct upstream *u);
void lanes_close(struct bridge *b, struct upstream *u);    /* nothing waits any more */
struct queue *lanes_find(struct upstream *u, uint32_t id); /* NULL: there is nothing in it */
/* Found or made; NULL: it is of no lane, or memory is out. */
struct queue *lanes_take(struct bridge *b, struct upstream *u, uint32_t id);
/* A sensor's own connection: call when no queue of it is looked at, to let those go that
 * are empty. What does not wait costs no memory. */
void lanes_trim(struct bridge *b, struct upstream *u);
/* How many messages of each lane are kept in memory. */
uint32_t lanes_live_max(const struct bridge *b, const struct upstream *u);

/* The queue that a new message of this topic and class goes to. */
struct queue *lanes_choose(struct bridge *b, struct upstream *u, const struct name *name,
                           uint8_t class);
/* A message has come to a queue, or is done with and about to be removed. name NULL: the
 * message was on disk only, and nothing in memory has its topic. */
void lanes_entered(struct bridge *b, struct upstream *u, struct queue *q, struct name *name,
                   uint64_t bytes);
void lanes_left(struct bridge *b, struct upstream *u, struct queue *q, struct name *name,
                uint64_t bytes);
void lanes_restore(struct bridge *b, struct upstream *u, const struct bridge_event *event);
/* What is on disk only is not there: call before it is no longer counted. */
void lanes_missing(struct bridge *b, struct upstream *u, struct queue *q);
/* Call now and then: mends the counts when that is possible. */
void lanes_recount(struct bridge *b, struct upstream *u);

/* The queue whose next_out goes to the broker next; NULL: none may. */
struct queue *lanes_next(struct bridge *b, struct upstream *u);
void lanes_advance(struct queue *q);                 /* next_out is taken */
void lanes_kept(struct queue *q, struct message *m); /* it has come to memory */
void lanes_rewind(struct queue *q); /* next_out is the first one that may go, again */
/* Whether the broker may have some of a QoS 2 message by its session: it was handed over in an
 * earlier connection, or may have been before a restart, and is not now. */
bool lanes_are_undecided(const struct bridge *b, const struct upstream *u);
/* The oldest message of a class that may give way, in memory; NULL: there is none, or it is on
 * the disk: then *coming says that FETCHED will bring it. */
struct message *lanes_oldest(struct bridge *b, struct upstream *u, uint8_t class, bool *coming);
/* Its seq, in memory or not; UINT64_MAX: there is none. */
uint64_t lanes_oldest_seq(const struct upstream *u, uint8_t class);
struct message *lanes_find_published(struct upstream *u, uint64_t seq);
/* Whether something that goes next may have to be on the disk first. */
bool lanes_await_disk(const struct bridge *b, const struct upstream *u);
/* Asks the disk for what goes next, at most max messages. */
void lanes_refill(struct bridge *b, struct upstream *u, uint32_t max);

/* ---- account.c -------------------------------------------------------------------- */

/* Adds a change to what is counted of a message; figures may go down by adding
 * 0 - n. link: the number in rows. */
void account_up(struct bridge *b, uint32_t session, uint8_t class, uint8_t link,
                struct bridge_account change);
void account_down(struct bridge *b, struct session *s, uint8_t class, struct bridge_account change);
void account_moved(struct bridge *b, const struct session *s, uint16_t from, uint16_t to);
/* Call before the queue stops to count them. */
void account_missing_down(struct bridge *b, struct session *s, struct queue *q);
void account_missing_up(struct bridge *b, uint64_t count);
void account_bytes(struct bridge *b, uint8_t class, uint64_t change); /* may be 0 - n */
void account_mend(struct bridge *b); /* call after FETCHED of a queue to the broker */
void account_balance(struct bridge *b);
uint16_t account_link(const struct bridge *b, uint8_t number); /* UINT16_MAX: none has it */

/* ---- sweep.c ---------------------------------------------------------------------- */

void sweep_expect(struct bridge *b, uint64_t expires_ms); /* of one on disk only; 0: never */
void sweep_due(struct bridge *b);
void sweep_fetched(struct bridge *b, const struct bridge_event *event);

/* ---- subscribe.c ------------------------------------------------------------------ */

void subscribe_frame(struct bridge *b, struct session *s, const struct sn_packet *p,
                     enum sn_fault fault);
void unsubscribe_frame(struct bridge *b, struct session *s, const struct sn_packet *p,
                       enum sn_fault fault);
void subscribe_done(struct bridge *b, struct session *s, const struct await *a); /* SUBACK */
/* 6.10: the client rejected the name. */
void subscribe_rejected(struct bridge *b, struct session *s, const struct name *name);
void subscribe_restore(struct bridge *b, struct session *s, struct name *filter, uint32_t key,
                       uint8_t qos);
void subscribe_resume(struct bridge *b, struct session *s); /* after a restart */
void subscribe_remove_all(struct bridge *b, struct session *s);
/* As for messages, in uplink.c. */
void subscribe_try(struct bridge *b, struct filter *f);
void subscribe_set_aside(struct bridge *b, struct filter *f);
bool subscribe_is_wanted(const struct filter *f);
void subscribe_pump(struct bridge *b, struct upstream *u);
void subscribe_answered(struct bridge *b, uint32_t request, uint8_t code);
void subscribe_up(struct bridge *b, struct upstream *u, bool session_present);
void subscribe_down(struct bridge *b, struct upstream *u);
void subscribe_forget(struct bridge *b, struct upstream *u); /* the tree; nobody subscribes in it */

/* ---- filter.c --------------------------------------------------------------------- */

struct filter *filter_find(const struct bridge *b, const struct upstream *u, struct sn_bytes text);
/* Found or made; NULL: memory is out. */
struct filter *filter_take(struct bridge *b, struct upstream *u, struct name *text);
/* The subscription identifier of its next SUBSCRIBE, and back: filters with the
 * number of an id, one after the other, beginning with NULL. */
uint32_t filter_id(const struct filter *f);
struct filter *filter_with_id(const struct bridge *b, const struct upstream *u, uint32_t id,
                              const struct filter *after);
/* Removes the node and its empty parents unless somebody still needs them. */
void filter_trim(struct bridge *b, struct filter *f);
typedef void filter_fn(void *ctx, struct subscription *s);
/* Calls fn for every subscription of this connection that matches the name. */
void filter_match(struct bridge *b, struct upstream *u, struct sn_bytes name, filter_fn *fn,
                  void *ctx);

typedef void filter_node_fn(void *ctx, struct filter *f);
/* The same for every node that matches, whoever subscribes to it. */
void filter_each(struct bridge *b, struct upstream *u, struct sn_bytes name, filter_node_fn *fn,
                 void *ctx);

/* ---- overlaps.c ------------------------------------------------------------------- */

/* What a message is that came. */
struct overlap overlaps_look(struct bridge *b, struct upstream *u, const struct bridge_event *e);
/* Whether a sensor that it matches is to have this copy; s->match_qos is known. */
bool overlaps_wants(const struct overlap *o, const struct session *s);
/* Before its copies go to the store; and when they could not be put there after all. */
void overlaps_take(struct bridge *b, struct upstream *u, const struct overlap *o, uint8_t qos);
void overlaps_untake(struct bridge *b, struct upstream *u, const struct overlap *o);
bool overlaps_restore(struct bridge *b, uint32_t place, struct overlapped c);
void overlaps_down(struct bridge *b, const struct upstream *u);
void overlaps_up(struct bridge *b, const struct upstream *u, bool session_present);
/* What came by it is not accepted and comes again, which copies of it nobody knows. */
void overlaps_forget(struct bridge *b, const struct upstream *u);

/* ---- downlink.c ------------------------------------------------------------------- */

void downlink_message(struct bridge *b, struct upstream *u, const struct bridge_event *event);
void downlink_drop_row(struct bridge *b, struct session *s, struct queue *q,
                       const struct bridge_message *m);
void downlink_pump(struct bridge *b, struct session *s); /* sends what may be sent */
void downlink_regack(struct bridge *b, struct session *s, const struct sn_packet *p);
void downlink_puback(struct bridge *b, struct session *s, const struct sn_packet *p);
void downlink_pubrec(struct bridge *b, struct session *s, uint16_t mid);
void downlink_pubcomp(struct bridge *b, struct session *s, uint16_t mid);
void downlink_durable(struct bridge *b, const struct await *a);       /* PUBREL */
void downlink_hold(struct bridge *b, struct session *s, uint32_t ms); /* nothing is sent before */
void downlink_rename(struct bridge *b);                        /* predefined ids have changed */
void downlink_due(struct bridge *b, struct session *s);        /* its repeat is due */
void downlink_heard(struct bridge *b, struct session *s);      /* what was given up begins again */
void downlink_land(struct bridge *b, struct session *s);       /* the open exchange is off; kept */
void downlink_forget_all(struct bridge *b, struct session *s); /* and its queue */

/* ---- queue.c ---------------------------------------------------------------------- */

/* Where a message is put: *m is what bridge_message says. Emits STORE when qos
 * is above 0. Returns the message in memory, or NULL when it is on disk only.
 * With qos 0 NULL means: no memory, it is not in the queue. */
struct message *queue_append(struct bridge *b, struct queue *q, const struct bridge_message *m,
                             uint32_t memory_max, bool lazy);

/* The first message in memory that may go next, or NULL: the queue is empty, or
 * a FETCH is under way (emitted by this call when needed). */
struct message *queue_front(struct bridge *b, struct queue *q);

/* Asks the disk for more when memory holds fewer than low messages. */
void queue_refill(struct bridge *b, struct queue *q, uint32_t low, uint32_t count);
/* Puts what FETCH brought into memory. When that was not enough for all of it,
 * nothing is asked for before starved_until_ms. */
void queue_fetched(struct bridge *b, struct queue *q, const struct bridge_event *event);

struct message *queue_find(const struct queue *q, uint64_t seq);
/* Whether a stored message of the queue that is not done with is on disk only. */
bool queue_is_on_disk(const struct queue *q, uint64_t seq);
uint64_t queue_count(const struct queue *q);

/* Takes it out of the queue and frees it; does not emit FORGET. */
void queue_remove(struct bridge *b, struct queue *q, struct message *m);
/* The same with FORGET where one is owed. */
void queue_forget(struct bridge *b, struct queue *q, struct message *m, bool lazy);
void queue_clear(struct bridge *b, struct queue *q);
struct bridge_message queue_message(const struct queue *q, const struct message *m);

/* ---- tiers.c ---------------------------------------------------------------------- */

void tiers_open(struct session *s);
void tiers_close(struct bridge *b, struct session *s); /* nothing waits any more */
/* The queue of new messages of this class. */
uint32_t tiers_id(const struct bridge *b, const struct session *s, uint8_t class);
struct queue *tiers_find(const struct session *s, uint32_t id); /* NULL: there is nothing in it */
/* Found or made; NULL: it is not one to a sensor, or memory is out. */
struct queue *tiers_take(struct bridge *b, struct session *s, uint32_t id);
/* Call when no queue of it is looked at, to let those go that are empty. */
void tiers_trim(struct bridge *b, struct session *s);
void tiers_clear(struct bridge *b, struct session *s);
uint64_t tiers_count(const struct session *s);     /* messages in all of them */
uint64_t tiers_bytes(const struct session *s);     /* and octets of their payloads */
uint64_t tiers_oldest_ms(const struct session *s); /* the first in memory came then; 0: none */
bool tiers_are_fetching(const struct session *s);
uint64_t tiers_starved_until_ms(const struct session *s); /* the first to end; SN_NEVER: none is */
void tiers_feed(const struct bridge *b, struct session *s); /* it has come: they may ask again */
void tiers_restore(const struct bridge *b, struct session *s, const struct bridge_event *event);
bool tiers_resume(struct session *s); /* all rows were told; false: nothing waits */
/* The message that goes next; NULL: there is none, or it is on the disk (fetching), or there is no
 * memory for it. An exchange that is half done is ended before another begins. */
struct message *tiers_next(struct bridge *b, struct session *s);
uint8_t tiers_priority(const struct bridge *b, const struct session *s); /* of that one */

/* ---- custody.c -------------------------------------------------------------------- */

/* For a message of this class with a payload of so many octets. returns: when the disk
 * refuses it, it comes again; else it was accepted before. NULL, and noted: memory is out. */
struct custody *custody_take(struct bridge *b, uint8_t class, uint32_t bytes, bool returns);
void custody_put(struct bridge *b, struct custody *c); /* may be NULL */
/* A copy to this session gets this seq; or was dropped, because its queue is full of what
 * the disk has not decided about. False: memory is out. */
bool custody_add(struct bridge *b, struct custody *c, const struct session *s, uint64_t seq);
bool custody_add_dropped(struct bridge *b, struct custody *c, const struct session *s);
/* Whether STORE_FAILED up to this ticket refuses a part of it. */
bool custody_is_refused(const struct bridge *b, const struct custody *c, uint64_t ticket);
/* What becomes of it then: all copies are gone, or, when it does not come again, those that
 * were refused are in memory only, or lost. */
void custody_refuse(struct bridge *b, const struct custody *c, uint64_t ticket);
void custody_undo(struct bridge *b, const struct custody *c); /* all copies so far are gone */
void custody_pump(struct bridge *b, const struct custody *c); /* what is behind them may go */
/* When the message with this copy is ours for good: its last ticket, or seq. */
uint64_t custody_ticket(const struct bridge *b, uint64_t seq);
size_t custody_memory(const struct custody *c);

/* ---- await.c ---------------------------------------------------------------------- */

/* Remembers what to say when ticket is durable. Returns false when memory is
 * out; then it is never said, and the peer repeats. Where a repetition would be
 * answered at once, though the disk has nothing yet, the place is taken before
 * anything has changed: without one nothing does. */
bool await_add(struct bridge *b, struct await a);
struct await *await_take(struct bridge *b); /* NULL: memory is out, which is noted */
void await_enter(struct bridge *b, struct await *place, struct await a);
void await_put(struct bridge *b, struct await *place); /* it was not needed; may be NULL */
/* Whether a message that came by this broker connection is not accepted yet. */
bool await_has_message(const struct bridge *b, uint32_t conn);
void await_stored(struct bridge *b, uint64_t ticket);
void await_failed(struct bridge *b, uint64_t ticket);

/* ---- air.c ------------------------------------------------------------------------ */

enum air_class {
    AIR_ACK,     /* answers */
    AIR_CONTROL, /* REGISTER, requests of the will dialogue */
    AIR_MESSAGE, /* PUBLISH; + the priority of its class */
};

/* Sends to a session; supervised: its retry timer starts when the last bit has left. */
void air_send(struct bridge *b, struct session *s, const struct sn_packet *p, enum air_class class,
              bool supervised);
/* Sends to somebody without a session. */
void air_answer(struct bridge *b, const struct peer *peer, const struct sn_packet *p);
/* Whether one more of the answers that somebody could provoke for ever may go to
 * this peer: AIR_REFUSALS_MAX of them in AIR_REFUSALS_MS. */
bool air_may_refuse(struct bridge *b, const struct peer *peer);
/* Whether a message of this session may go out now; if not, it is put on the
 * link's list and downlink_pump() is called when its turn has come. */
bool air_is_free(struct bridge *b, struct session *s);
void air_leave(struct bridge *b, struct session *s); /* off that list, and nothing of it waits */
/* What is open towards a session need not be sent any more. */
void air_cancel(struct bridge *b, struct session *s);
void air_pump(struct bridge *b, uint16_t link);
uint64_t air_deadline(const struct bridge *b);
struct radio_rtt_limits air_rtt_limits(const struct bridge_link_config *c);
/* How long a message may be repeated after its first copy: all waits, with back-off. */
uint64_t air_retry_span_ms(const struct bridge *b, const struct session *s);
/* By how much a frame of a device may be late that it sent in time: T_retry is twice the
 * longest exchange, and before it the device may have to be silent for its share of the air. */
uint64_t air_late_ms(const struct bridge *b, const struct session *s);
void air_init(struct bridge *b, uint8_t *memory); /* air_memory() octets */
size_t air_memory(const struct bridge_config *c);

/* ---- echo.c ----------------------------------------------------------------------- */

void echo_sent(struct bridge *b, uint16_t link, struct sn_bytes frame);
/* Whether a frame that has come is one of ours, or can only be a gateway's: it is counted, and
 * to be dropped. */
bool echo_drops(struct bridge *b, uint16_t link, struct sn_bytes frame, const struct sn_packet *p);

/* ---- discover.c ------------------------------------------------------------------- */

void discover_start(struct bridge *b);
void discover_change(struct bridge *b, uint16_t link); /* advertise_s is another */
void discover_broker(struct bridge *b, bool up);
bool discover_is_forwarder(const struct bridge *b, uint16_t link,
                           const struct radio_address *address); /* allowed to be one */
void discover_forwarder(struct bridge *b, uint16_t link, const struct radio_address *address);
void discover_heard(struct bridge *b, uint16_t link, const struct sn_packet *p); /* ADVERTISE */
void discover_search(struct bridge *b, const struct peer *peer, const struct sn_packet *p);
void discover_due(struct bridge *b);
uint64_t discover_deadline(const struct bridge *b);

/* ---- restore.c -------------------------------------------------------------------- */

void restore_record(struct bridge *b, const struct bridge_record *r);
void restore_waiting(struct bridge *b, const struct bridge_event *event);
void restore_queue(struct bridge *b, const struct bridge_event *event);
void restore_open(struct bridge *b, const struct bridge_event *event);
void restore_start(struct bridge *b);

/* Each emits one SAVE or ERASE and returns its ticket. */
uint64_t save_session(struct bridge *b, struct session *s, bool lazy);
uint64_t save_will(struct bridge *b, const struct session *s);
uint64_t save_topic(struct bridge *b, const struct session *s, struct topic *t);
uint64_t save_subscription(struct bridge *b, const struct subscription *sub);
uint64_t save_overlap(struct bridge *b, uint32_t place, const struct overlapped *c);
uint64_t erase_overlap(struct bridge *b, uint32_t place);
uint64_t erase_record(struct bridge *b, const struct session *s, enum bridge_record_kind kind,
                      uint32_t key);
uint64_t erase_session(struct bridge *b, const struct session *s);

/* Writes the account when it has changed: lazily, and not more than once a minute. */
void save_account(struct bridge *b);
void save_account_now(struct bridge *b);
/* The accounts of sessions are written with them; at the end also those that have
 * changed since. */
void save_accounts_of_sessions(struct bridge *b);

/* Saves a session, lazily, when its deadline has moved by more than a tenth. */
void save_heard(struct bridge *b, struct session *s);

#endif
