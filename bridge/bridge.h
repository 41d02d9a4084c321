/* The bridge: everything a gateway decides, as one state machine.
 *
 * What happened goes in as an event with the time it happened; what should be
 * done comes out as actions, through one callback, during the call. No clock,
 * socket, thread, file or log inside, and no memory but the block that is
 * handed to bridge_init(). The daemon (loop.c) and the simulator are two
 * drivers of the same code.
 *
 *   FRAME TIME STORED BROKER_UP BROKER_DOWN DELIVERED MESSAGE RECORD START
 *                        │
 *                        ▼   bridge_step()          bridge_deadline()
 *   SEND STORE FORGET FETCH PUBLISH SUBSCRIBE CONNECT ACCEPT NOTE
 *
 * From a sensor: FRAME → STORE → STORED → SEND ack + PUBLISH → DELIVERED →
 * FORGET. To a sensor: MESSAGE → which sessions → STORE → SEND (REGISTER first
 * where the device lacks the id) → acknowledged → FORGET. While the broker is
 * away STORE and acknowledgements go on and PUBLISH waits. Restart: RECORD
 * events, then START.
 *
 * Times are milliseconds of the bridge's own time (timeline.h), which never runs
 * backwards and goes on over restarts, whatever the wall clock does: so ages and
 * deadlines mean the same after one.
 *
 * seq: one ascending number for everything that is handed to the store. The seq
 * of a message is also its name towards the broker and its place in its queue.
 */
#ifndef BRIDGE_BRIDGE_H
#define BRIDGE_BRIDGE_H

#include "mqttsn/packet.h"
#include "radio/link.h"

#define BRIDGE_NEVER     UINT64_MAX
#define BRIDGE_LINKS_MAX 32
#define BRIDGE_IDS_MAX   8 /* subscriptions that one copy of a message names */

#define BRIDGE_LEVELS_MAX 200 /* max_topic_levels goes up to here, as mosquitto does */

#define BRIDGE_CLASSES_MAX       16 /* with the default class, number 0 */
#define BRIDGE_PRIORITIES        8  /* of classes: 0 goes first, 7 last */
#define BRIDGE_PRIORITY_STANDARD 3

struct bridge; /* lives in the memory handed to bridge_init() */

/* ---- what is stored -------------------------------------------------------- */

/* Queues. 0 goes to the broker by the connection that all sensors share, and so
 * do those from BRIDGE_QUEUE_LANES up, one for each class and lane. The number of
 * a session, from 1 to BRIDGE_SESSION_MAX, is the queue to that sensor; with a
 * tier added it is another one to it, for messages of another priority. With
 * BRIDGE_QUEUE_OWN added it is the first from that sensor to the broker by a
 * connection of its own; those for other classes, and then those of the live lane,
 * are BRIDGE_OWN_LANE apart. */
#define BRIDGE_QUEUE_BROKER 0u
#define BRIDGE_QUEUE_OWN    0x80000000u
#define BRIDGE_OWN_LANE     0x01000000u
#define BRIDGE_QUEUE_LANES  0xFF000000u /* + the class, and for the live lane: */
#define BRIDGE_LANE_LIVE    0x00000100u
#define BRIDGE_SESSION_MAX  0x00FFFFFFu
#define BRIDGE_TIER         0x01000000u /* the first tier; the queue of no tier is 0 of them */
#define BRIDGE_TIERS        9u          /* that one, and one for each priority */

static inline bool bridge_queue_is_up(uint32_t queue)
{
    return queue == BRIDGE_QUEUE_BROKER || queue >= BRIDGE_QUEUE_OWN;
}

/* The session that a queue comes from or goes to; 0: all of them share it. */
static inline uint32_t bridge_queue_session(uint32_t queue)
{
    return queue >= BRIDGE_QUEUE_LANES ? 0 : queue & BRIDGE_SESSION_MAX;
}

enum bridge_flag {
    BRIDGE_FLAG_RETAIN = 1, /* publish as, or was received as, a retained message */
    BRIDGE_FLAG_RELEASED =
        2, /* QoS 2, from a sensor: PUBREL is here; to a sensor: PUBREC is here */
    BRIDGE_FLAG_DELIVERED =
        4, /* QoS 2, from a sensor: the broker has it, PUBREL is still to come */
};

struct bridge_message {
    uint64_t seq;
    uint32_t queue;
    uint32_t session; /* the sensor it came from, or goes to */
    uint64_t received_ms;
    uint64_t expires_ms; /* 0: never */
    uint8_t qos;
    uint8_t flags; /* enum bridge_flag */
    uint16_t mid;  /* from a sensor: its message id */
    uint8_t class; /* 0: the default class */
    uint8_t link;  /* from a sensor: it came in by; 0: not known */
    struct sn_bytes topic;
    struct sn_bytes payload;
};

/* State of a session, in parts that change apart from each other. The values
 * are written and read by restore.c only. */
enum bridge_record_kind {
    BRIDGE_RECORD_SESSION = 1, /* key 0: client id, address, state, deadlines */
    BRIDGE_RECORD_WILL = 2,    /* key 0 */
    BRIDGE_RECORD_TOPIC = 3,   /* key: topic id */
    BRIDGE_RECORD_FILTER = 4,  /* key: a number per subscription */
    BRIDGE_RECORD_ACCOUNT = 5, /* session 0 */
    BRIDGE_RECORD_OVERLAP = 6, /* session 0, key: its place */
};

struct bridge_record {
    uint32_t session;
    enum bridge_record_kind kind;
    uint32_t key;
    struct sn_bytes value;
};

/* What FETCH asks for. */
enum bridge_fetch {
    BRIDGE_FETCH_OLDEST,  /* of a queue, from this seq up, ascending */
    BRIDGE_FETCH_NEWEST,  /* of a queue, from this seq down, descending */
    BRIDGE_FETCH_EXPIRED, /* of all queues, those with expires_ms up to this, the first to expire
                           * first; those without an expiry are not among them */
};

/* ---- events ---------------------------------------------------------------- */

enum bridge_event_type {
    BRIDGE_ON_FRAME,        /* a link received a frame */
    BRIDGE_ON_TIME,         /* nothing but the time */
    BRIDGE_ON_STORED,       /* everything up to this ticket is durable */
    BRIDGE_ON_STORE_FAILED, /* the operations up to this ticket could not be made durable */
    BRIDGE_ON_FETCHED,      /* the answer to FETCH */
    BRIDGE_ON_RECORD,       /* at restart: a state record */
    BRIDGE_ON_WAITING,      /* at restart: one message of a queue, before its QUEUE */
    BRIDGE_ON_QUEUE,        /* at restart: what a queue holds */
    BRIDGE_ON_OPEN,         /* at restart: a QoS 2 exchange with a sensor that has not ended */
    BRIDGE_ON_START,        /* all records have been given */
    BRIDGE_ON_BROKER_UP,
    BRIDGE_ON_BROKER_DOWN, /* lost, or could not be reached */
    BRIDGE_ON_DELIVERED,   /* the broker has taken, or refused for good, a message */
    BRIDGE_ON_SUBSCRIBED,
    BRIDGE_ON_UNSUBSCRIBED,
    BRIDGE_ON_MESSAGE, /* the broker sent a message */
    BRIDGE_ON_STOP,    /* the driver wants to end: no new work */
};

struct bridge_event {
    enum bridge_event_type type;
    union {
        struct {
            uint16_t link;
            struct radio_address from;
            struct sn_bytes bytes;
        } frame;
        struct {
            uint64_t ticket;
        } stored; /* STORED, STORE_FAILED */
        struct {
            enum bridge_fetch which;
            uint32_t queue;
            const struct bridge_message *messages; /* not DELIVERED ones */
            size_t count;
            bool end; /* nothing stored in this queue lies beyond the last one */
        } fetched;
        struct bridge_record record;
        struct {
            uint32_t queue;
            uint64_t seq;
            uint32_t session;
            uint8_t class;
            uint8_t link;
            uint64_t expires_ms;
            struct sn_bytes topic;
            uint64_t bytes; /* of its payload */
        } waiting;
        struct {
            uint32_t queue;
            uint64_t first;
            uint64_t last;
            uint64_t count; /* without DELIVERED ones */
            uint64_t bytes; /* payloads */
        } queue;
        struct {
            uint64_t seq;
            uint32_t queue;
            uint32_t session;
            uint16_t mid;
            uint8_t flags;
            struct sn_bytes topic; /* empty: it cannot be told from another message */
            struct sn_bytes payload;
        } open; /* a QoS 2 row of a queue to the broker that is not RELEASED, or is DELIVERED */
        struct {
            uint64_t next_seq; /* the first one that is free */
        } start;
        struct {
            uint32_t conn;
            uint32_t attempt; /* of the CONNECT */
            bool session_present;
            uint16_t window; /* how many QoS 1 and 2 messages may be undecided */
            uint8_t max_qos; /* highest the broker allows */
        } up;
        struct {
            uint32_t conn;
            uint32_t attempt; /* of the CONNECT */
            uint8_t code;     /* CONNECT was refused: the broker's reason code of MQTT 5; else 0 */
            const char *why;  /* one line for the log */
        } down;
        struct {
            uint32_t conn;
            uint64_t seq;
            uint8_t
                code; /* 0, or the broker's reason code from 0x80 up: refused, see bridge_may_pass() */
        } delivered;
        struct {
            uint32_t conn;
            uint32_t request; /* of the action */
            uint8_t code;     /* SUBSCRIBED: granted QoS, or 0x80 and up: refused */
        } subscribed;         /* SUBSCRIBED, UNSUBSCRIBED */
        struct {
            uint32_t conn;
            uint64_t token; /* for ACCEPT; 0: none is wanted */
            uint8_t qos;
            bool retain;       /* a retained message, sent because of a subscription */
            uint32_t expiry_s; /* MQTT 5 message expiry; 0: none */
            /* Which of our subscriptions it answers: ids of DO_SUBSCRIBE. None when
             * the broker does not say; then one copy answers all that match. */
            uint8_t id_count;
            uint32_t ids[BRIDGE_IDS_MAX];
            struct sn_bytes topic;
            struct sn_bytes payload;
        } message;
    };
};

/* ---- actions --------------------------------------------------------------- */

/* Broker connections: 0 is shared by all sensors (aggregating), any other
 * belongs to the session of that id (transparent). */
enum bridge_action_type {
    /* to a link */
    BRIDGE_DO_SEND,
    /* to the store, each with a ticket */
    BRIDGE_DO_STORE,  /* a message; its seq is the ticket */
    BRIDGE_DO_MARK,   /* set flags of a stored message */
    BRIDGE_DO_FORGET, /* a message */
    BRIDGE_DO_SAVE,   /* a record, replacing one of the same session, kind and key */
    BRIDGE_DO_ERASE,  /* a record; kind 0: all of the session and the queue to it */
    BRIDGE_DO_FETCH,  /* messages of a queue, without ticket */
    /* to the broker */
    BRIDGE_DO_CONNECT,
    BRIDGE_DO_DISCONNECT,
    BRIDGE_DO_PUBLISH,
    BRIDGE_DO_SUBSCRIBE,
    BRIDGE_DO_UNSUBSCRIBE,
    /* The MESSAGE of this token is ours now. Each token is answered once: so, or by
     * DISCONNECT of its connection, though that may be lost by then. */
    BRIDGE_DO_ACCEPT,
    /* to the operator */
    BRIDGE_DO_NOTE,
};

/* Every refusal, drop, give-up and recovery: notes.def. */
enum bridge_note {
#define NOTE(name, level, text) BRIDGE_NOTE_##name,
#include "bridge/notes.def"
#undef NOTE
    BRIDGE_NOTE_COUNT,
};

enum bridge_note_level {
    BRIDGE_LEVEL_DEBUG,
    BRIDGE_LEVEL_INFO,
    BRIDGE_LEVEL_WARNING,
    BRIDGE_LEVEL_ERROR,
};

/* All pointers are borrowed for the call. */
struct bridge_action {
    enum bridge_action_type type;
    bool lazy; /* store actions: need not hurry to the disk */
    union {
        struct {
            uint16_t link;
            struct radio_address to; /* len 0: everybody on the link */
            struct sn_bytes bytes;
        } send;
        struct {
            struct bridge_message message;
        } store;
        struct {
            uint64_t ticket;
            uint32_t queue;
            uint64_t seq;
            uint8_t flags; /* MARK: these become set */
        } row;             /* MARK, FORGET */
        struct {
            uint64_t ticket;
            struct bridge_record record;
        } record; /* SAVE, ERASE */
        struct {
            enum bridge_fetch which;
            uint32_t queue; /* EXPIRED: 0 */
            uint64_t from;  /* the first seq wanted; EXPIRED: the last time */
            uint32_t count;
        } fetch;
        struct {
            uint32_t conn;
            uint32_t attempt; /* another each time; UP and DOWN say which they are about */
            bool clean;       /* the broker is to forget what it has of this client id */
            bool careful;     /* the driver repeats no PUBLISH by itself that the broker has not
                           * answered: the core hands it over again, when it is its turn */
            bool transient; /* what it has need not outlive the connection by more than an outage */
            struct sn_bytes client_id;  /* conn 0: empty, the driver knows */
            struct sn_bytes will_topic; /* empty: no will */
            struct sn_bytes will_message;
            uint8_t will_qos;
            bool will_retain;
        } connect;
        struct {
            uint32_t conn;
            bool forget;    /* the broker is to forget what it has of this client id */
            bool with_will; /* as if the connection were lost: the broker publishes the will */
        } disconnect;
        struct {
            uint32_t conn;
            uint32_t expiry_s;  /* MQTT 5: what is left of the message's time; 0: no limit */
            uint16_t link;      /* that its sensor is on; UINT16_MAX: not known */
            int16_t signal_dbm; /* that it was received with; 0: not known, as yet no link says */
            struct bridge_message message;
        } publish;
        struct {
            uint32_t conn;
            uint32_t request;
            uint32_t id; /* MQTT 5 subscription identifier, 1 to 2^28 - 1; 0: none */
            uint8_t qos;
            bool wants_retained; /* false: retained messages are known already (MQTT 5) */
            struct sn_bytes filter;
        } subscribe; /* SUBSCRIBE, UNSUBSCRIBE */
        struct {
            uint64_t token;
        } accept;
        struct {
            enum bridge_note note;
            struct sn_bytes client; /* empty: nobody in particular */
            uint16_t link;          /* UINT16_MAX: no link in particular */
            struct sn_bytes detail; /* text; may be empty */
            uint64_t number;        /* what it counts or measures; meaning in notes.def */
        } note;
    };
};

typedef void bridge_emit_fn(void *ctx, const struct bridge_action *action);

/* ---- configuration --------------------------------------------------------- */

struct bridge_link_config {
    const char *name;
    uint32_t frame_max;      /* octets of one MQTT-SN message on this link */
    uint32_t retry_ms;       /* T_retry before anything was measured */
    uint32_t retry_min_ms;   /* measured round trips never shorten it below this */
    uint32_t retry_max_ms;   /* nor does back-off lengthen it beyond this */
    uint8_t retries;         /* N_retry */
    uint32_t bits_per_s;     /* what the air carries; 0: no limit worth pacing */
    uint32_t overhead_bits;  /* per frame: preamble, framing, turn-around as bits */
    uint8_t bits_per_octet;  /* 10 on a UART with 8N1; 0: 8 */
    uint16_t duty_per_mille; /* share of the air that we may use; 0: all of it */
    bool qos_minus_one;      /* PUBLISH without a connection is accepted */
    bool roam;               /* PINGREQ with a ClientId from a new address is served */
    bool forwarders;         /* encapsulated frames are accepted */
    const struct radio_mask *forwarder_list; /* of these only */
    size_t forwarder_count;                  /* 0: of everybody */
    uint16_t advertise_s;                    /* time between two ADVERTISE; 0: none is sent */
    bool gwinfo_broadcast; /* SEARCHGW is answered to everybody, not to the asker alone */
    bool may_echo;         /* a wire: what is sent may come back, and is dropped then */
};

/* What stays when a bound is reached. */
enum bridge_keep {
    BRIDGE_KEEP_REFUSE, /* what is there; the sensor hears congestion and keeps its message */
    BRIDGE_KEEP_OLDEST, /* what is there; the new message is dropped */
    BRIDGE_KEEP_NEWEST, /* the new message; the oldest ones of its class are dropped */
};

/* A class of messages, by topic. Class 0 holds what no other matches. */
struct bridge_class_config {
    const char *name;
    const char *topics;    /* filters, see classes.h; NULL in class 0 */
    uint8_t priority;      /* 0 goes first, to 7 */
    uint8_t keep;          /* enum bridge_keep */
    uint32_t expire_s;     /* messages are dropped when they have waited so long; 0: never */
    uint64_t max_messages; /* to the broker that wait; 0: no limit of its own */
    uint64_t max_bytes;    /* of their payloads; 0: likewise */
    bool live;   /* new messages to the broker do not wait for older ones of their topic */
    bool newest; /* with live: what waits is sent from the newest back */
};

struct bridge_predefined {
    const char *client; /* NULL: every client; that of a client wins */
    uint16_t tid;
    const char *topic;
};

/* Whose CONNECT is accepted while the broker is away. */
enum bridge_offline {
    BRIDGE_OFFLINE_ALL,
    BRIDGE_OFFLINE_KNOWN, /* who has a session already */
    BRIDGE_OFFLINE_NONE,
};

/* Of a message that several of our filters match, without a name for them. */
enum bridge_overlaps {
    BRIDGE_OVERLAPS_AUTO, /* it is learned what the broker does */
    BRIDGE_OVERLAPS_ONE,  /* it sends one copy */
    BRIDGE_OVERLAPS_EACH, /* one for each */
};

/* Which sensors have a broker connection of their own: the first pattern that
 * matches the client id decides (pattern.h). */
struct bridge_mode {
    const char *pattern;
    bool transparent;
};

struct bridge_config {
    uint8_t gateway_id;
    bool standby;    /* silent on a link as long as another gateway advertises there */
    bool ack_stored; /* ack = stored; else a sensor's message is acknowledged by the broker's */
    bool broker_ack_stored;       /* broker_ack = stored; else ACCEPT at once */
    uint8_t overlaps;             /* enum bridge_overlaps */
    uint8_t connect_offline;      /* enum bridge_offline; the others hear congestion */
    uint32_t outage_disconnect_s; /* then active clients are let go, once in an outage; 0: never */
    uint32_t max_clients;
    uint32_t max_topics;        /* topic ids of one client */
    uint32_t max_subscriptions; /* of one client */
    uint32_t max_queue;         /* messages waiting for one client */
    uint64_t max_queue_bytes;   /* and octets of their payloads; 0: no limit */
    uint32_t max_queue_age_s;   /* they are dropped when they have waited so long; 0: never */
    uint64_t max_backlog;       /* messages waiting for the broker */
    uint64_t max_backlog_bytes; /* as above */
    uint32_t max_backlog_age_s;
    uint32_t max_live;  /* of these, how many are kept in memory */
    uint8_t live_share; /* of 100 messages to the broker, while there is a backlog too */
    /* How long a silent client's session is kept, see expire.c; 0: for ever. */
    uint32_t expire_clean_s; /* a clean one, without supervision: else it ends with the client */
    uint32_t expire_unreturned_s; /* of somebody who came once and left nothing */
    uint32_t expire_persistent_s; /* of anybody else */
    uint32_t max_new_clients;   /* names that are new, from one address in a minute; 0: no limit */
    uint32_t max_writes;        /* that one client may cause in ten minutes; 0: no limit */
    uint16_t max_client_id;     /* octets */
    uint16_t max_topic_levels;  /* of what sensors publish to and subscribe to */
    const char *dollar_topics;  /* first levels, see dollar.h; NULL: none */
    uint16_t max_keepalive_s;   /* for those who want more, or none; 0: no limit */
    uint16_t tolerance_percent; /* of silence beyond what a client said; 0: as in 7.2 */
    uint32_t qos0_backlog;      /* QoS 0 messages kept in memory while the broker is away */
    uint32_t answer_timeout_s;  /* a broker silent for so long counts as away; 0: never */
    uint32_t reconnect_min_ms;  /* back-off towards the broker */
    uint32_t reconnect_max_ms;
    uint32_t awake_messages;  /* given to a sleeper per wake; 0: all */
    uint32_t awake_s;         /* after which it is given no more in this wake; 0: never */
    bool strict_sleep;        /* a sleeper's requests are answered with DISCONNECT */
    bool register_short;      /* what only a wildcard matches is not sent by its short name */
    bool transparent;         /* of sensors that no pattern matches: a connection of their own */
    uint32_t max_connections; /* of sensors' own at a time; beyond it they hear congestion */
    const struct bridge_mode *modes;
    size_t mode_count;
    const struct bridge_link_config *links;
    size_t link_count;
    const struct bridge_class_config *classes; /* by number; may be none */
    size_t class_count;                        /* BRIDGE_CLASSES_MAX at most */
    const struct bridge_predefined *predefined;
    size_t predefined_count;
    uint64_t seed; /* of back-off jitter and hash tables */
};

/* ---- life ------------------------------------------------------------------ */

/* Makes a bridge in size octets of zeroed memory, aligned as malloc aligns. NULL when
 * size is too small for the configuration. The configuration and what it
 * points to must outlive the bridge. Nothing needs to be freed afterwards. */
struct bridge *bridge_init(void *memory, size_t size, const struct bridge_config *config,
                           bridge_emit_fn *emit, void *ctx);

/* The least memory with which bridge_init() succeeds. */
size_t bridge_memory_min(const struct bridge_config *config);

/* What a driver should give where nothing else is configured: with room for what
 * max_clients and max_live usually need. Costs what is touched of it. */
size_t bridge_memory_usual(const struct bridge_config *config);

/* Goes on with another configuration, which must outlive the bridge, too, or the next
 * call; the one before is no longer looked at. Nothing is lost or forgotten: limits that
 * are lower hold for what comes, and a message that is under way to a sensor by
 * a predefined id that has ended is sent by another. The next attempt to reach the
 * broker is made at once. False, and nothing has changed, when there is no memory for
 * the predefined ids.
 *
 * Only these may differ: gateway_id, standby, ack_stored, broker_ack_stored,
 * connect_offline, outage_disconnect_s, max_subscriptions, max_queue and max_backlog
 * with their octets and ages, expire_..., live_share, max_new_clients, max_writes,
 * max_client_id, max_topic_levels, dollar_topics, tolerance_percent,
 * qos0_backlog, answer_timeout_s, reconnect_min_ms, reconnect_max_ms, awake_messages, awake_s,
 * strict_sleep, register_short, predefined; and of a link retry_ms, retry_min_ms,
 * retry_max_ms, retries, qos_minus_one, roam, forwarders,
 * advertise_s, gwinfo_broadcast. */
bool bridge_reload(struct bridge *b, uint64_t now_ms, const struct bridge_config *config);

/* Feeds one event. now_ms never goes backwards. */
void bridge_step(struct bridge *b, uint64_t now_ms, const struct bridge_event *event);

/* When to feed TIME at the latest; BRIDGE_NEVER: no need. */
uint64_t bridge_deadline(const struct bridge *b);

/* ---- looking in ------------------------------------------------------------ */

/* For each direction: accepted = delivered + expired + dropped + queued. */
struct bridge_account {
    uint64_t accepted;
    uint64_t delivered;
    uint64_t expired;
    uint64_t dropped;
    uint64_t queued;
};

struct bridge_accounts {
    struct bridge_account up;
    struct bridge_account down;
};

struct bridge_status {
    struct bridge_account up;                           /* from sensors */
    struct bridge_account down;                         /* to sensors, one per recipient */
    struct bridge_accounts classes[BRIDGE_CLASSES_MAX]; /* by number */
    struct bridge_accounts links[BRIDGE_LINKS_MAX + 1]; /* as in the configuration; last: others */
    uint32_t clients;                                   /* sessions known */
    uint32_t active;
    uint32_t asleep; /* and awake */
    uint32_t lost;
    uint32_t disconnected;
    uint32_t subscriptions;
    uint32_t filters;        /* at the broker */
    bool broker_up;          /* the shared connection */
    uint32_t connections;    /* sensors' own that are wanted, up or not */
    uint32_t connections_up; /* of these */
    uint32_t undecided;      /* messages handed to the broker that it has not taken yet */
    uint64_t memory_used;
    uint64_t memory_size;
    uint64_t notes[BRIDGE_NOTE_COUNT];
};
void bridge_get_status(const struct bridge *b, struct bridge_status *out);

/* One session, as an operator wants to see it. */
struct bridge_client {
    struct sn_bytes id;
    const char *state; /* "active", ... */
    uint16_t link;     /* UINT16_MAX: it has no address */
    struct radio_address address;
    struct sn_bytes node; /* behind a forwarder; data NULL: not */
    uint64_t heard_ms;
    uint16_t keepalive_s;
    uint16_t sleep_s; /* while asleep */
    uint32_t subscriptions;
    uint32_t topics;
    const char *connection; /* its own to the broker: "up", "connecting", "down"; NULL: shared */
    uint64_t unsent;        /* messages from it that wait for its own connection */
    struct bridge_accounts account;
    uint64_t queued;
    uint64_t oldest_ms;     /* when the message it waits for came; 0: none in memory */
    uint32_t round_trip_ms; /* T_retry as measured */
};

/* Calls fn for every session, in no particular order. */
typedef void bridge_client_fn(void *ctx, const struct bridge_client *client);
void bridge_each_client(const struct bridge *b, bridge_client_fn *fn, void *ctx);

/* A link as the core sees it; what its device has counted, the driver knows. */
struct bridge_link_figures {
    uint32_t clients; /* whose address is on it */
    uint32_t connected;
    uint32_t measured; /* clients with a measured round trip; of these: */
    uint32_t round_trip_min_ms;
    uint32_t round_trip_mean_ms;
    uint32_t round_trip_max_ms;
    bool paced;             /* the rate is known; else the following are 0 */
    uint32_t air_queued;    /* frames that wait for the air */
    uint64_t air_used_ms;   /* in the last 60 minutes and the one that has begun */
    uint64_t air_budget_ms; /* what the duty cycle allows of that; 0: no limit */
};

/* All links at once, in the order of the configuration: out has link_count places.
 * Looks at every session. */
void bridge_get_links(const struct bridge *b, struct bridge_link_figures *out);

/* What waits in one direction: for the broker by a connection, or for one client. */
struct bridge_waiting {
    bool up;
    struct sn_bytes client; /* whose connection, or for whom; empty: the shared one */
    uint64_t count;
    uint64_t in_memory; /* of these; the others are on disk only */
    uint64_t bytes;     /* payloads of those in memory */
    uint64_t oldest_ms; /* when the first one came; 0: it is on disk only */
    uint32_t undecided; /* handed over and not acknowledged yet */
};

/* Calls fn for every queue that is not empty; the one of the shared connection always,
 * and first. */
typedef void bridge_waiting_fn(void *ctx, const struct bridge_waiting *waiting);
void bridge_each_waiting(const struct bridge *b, bridge_waiting_fn *fn, void *ctx);

/* Whether a reason code of DELIVERED speaks of the broker's state and not of the message,
 * which is published again later, by another packet id. */
bool bridge_may_pass(uint8_t code);

const char *bridge_note_name(enum bridge_note note);
const char *bridge_note_text(enum bridge_note note);
enum bridge_note_level bridge_note_level(enum bridge_note note);

/* Recomputes everything that can be derived and asserts that it agrees. Slow;
 * for tests, the simulator and the fuzzer. */
void bridge_check(const struct bridge *b);

#endif
