/* The device's side of MQTT-SN 1.2, for firmware.
 *
 * One struct per connection to a gateway, owned by the caller. No malloc, no
 * clock, no socket, no thread: received frames, the time and the application's
 * wishes go in by function calls; frames to send, messages and results come out
 * through one callback, during these calls. The same input gives the same
 * output, random delays included: they come from a seed.
 *
 * A driver needs a radio that carries whole frames, and a clock:
 *
 *     static struct sn_client dev;
 *     static struct sn_client_topic topics[4];
 *     static uint8_t names[4][32], kept[64], scratch[96];
 *
 *     static void on_event(void *ctx, const struct sn_client_event *e)
 *     {
 *         if (e->type == SN_EVENT_SEND)
 *             radio_send(e->send.frame.data, e->send.frame.len);
 *         else if (e->type == SN_EVENT_CONNECTED)
 *             sn_client_publish(&dev, now_ms(), sn_topic_named("plant/1/temp"), 1, false,
 *                               sn_bytes_text("21.5"));
 *         else if (e->type == SN_EVENT_PUBLISHED && e->done.result == SN_RESULT_ACCEPTED)
 *             sn_client_sleep(&dev, now_ms(), 600);
 *     }
 *
 *     struct sn_client_config cfg = sn_client_defaults();
 *     cfg.client_id = sn_bytes_text("dev7");
 *     cfg.topics = topics, cfg.topics_max = 4, cfg.names = names[0], cfg.name_size = 32;
 *     cfg.kept = kept, cfg.kept_size = 64, cfg.frame = scratch, cfg.frame_size = 96;
 *     cfg.emit = on_event;
 *     sn_client_init(&dev, &cfg, device_serial_number ^ true_random());
 *     sn_client_connect(&dev, now_ms());
 *     for (;;) {
 *         size_t len = radio_receive_until(rx, sizeof rx, sn_client_deadline(&dev));
 *         if (len > 0)
 *             sn_client_frame(&dev, now_ms(), sn_bytes(NULL, 0), sn_bytes(rx, len));
 *         sn_client_time(&dev, now_ms());
 *     }
 *
 * What the application decides: when to connect, publish, sleep and leave, and
 * what to subscribe to. It should subscribe again at every SN_EVENT_CONNECTED,
 * for CONNACK does not say whether the gateway still knew the client. What this
 * module decides: registering topic names, repeating, keep-alive, waking up
 * during a sleep, answering the gateway, reconnecting, looking for gateways.
 *
 * One request (publish at QoS 1 or 2, subscribe, unsubscribe, change of the
 * will, and whatever needs a REGISTER first) is open at a time; 6.5, 6.6 and
 * 6.9 ask for that. A further one is refused with SN_ANSWER_BUSY. A refused
 * call changes nothing and emits nothing.
 *
 * Time is milliseconds on a clock that never runs backwards, also not in sleep.
 * The buffer of a received frame must not be cfg.frame. A radio that hears its
 * own broadcasts must not hand them in.
 */
#ifndef SN_CLIENT_H
#define SN_CLIENT_H

#include "mqttsn/packet.h"
#include "mqttsn/retry.h"

#define SN_CLIENT_ADDRESS_MAX 24 /* octets of a gateway's address */
#define SN_CLIENT_NODE_MAX    16 /* octets of a Wireless Node Id of ours */
#define SN_CLIENT_ID_MAX      23 /* 5.3.1 */
#define SN_CLIENT_FRAME_MIN   64 /* octets of cfg.frame: CONNECT must fit */

/* Received QoS 2 messages between PUBLISH and PUBREL. More are not answered; the
 * gateway repeats them. A gateway has one open at a time (6.6). */
#define SN_CLIENT_QOS2_MAX 4

/* ---- topics ----------------------------------------------------------------- */

/* A topic as the application names it. */
struct sn_topic_ref {
    enum sn_topic_kind kind;
    uint16_t tid;         /* PREDEFINED: the id; SHORT: the two octets */
    struct sn_bytes name; /* NORMAL: name, or filter; also filled in for SHORT in events */
};

/* A name ("a/b") or, in subscriptions, a filter ("a/+"). Registered as needed. */
static inline struct sn_topic_ref sn_topic_named(const char *name)
{
    return (struct sn_topic_ref){.kind = SN_TOPIC_NORMAL, .name = sn_bytes_text(name)};
}

/* An id that both sides know in advance, 6.7. */
static inline struct sn_topic_ref sn_topic_predefined(uint16_t tid)
{
    return (struct sn_topic_ref){.kind = SN_TOPIC_PREDEFINED, .tid = tid};
}

/* A name of exactly two octets, which needs no registration, 6.7. */
static inline struct sn_topic_ref sn_topic_short(char a, char b)
{
    return (struct sn_topic_ref){.kind = SN_TOPIC_SHORT,
                                 .tid = SN_SHORT_ID((uint8_t)a, (uint8_t)b)};
}

/* One name and its id at the gateway. A place in the table, not for the
 * application. The table works as a cache: when it is full the name that was
 * not used for the longest time makes room. A message for a forgotten name
 * costs one more REGISTER, nothing else. */
struct sn_client_topic {
    uint32_t used; /* larger: more recently; 0: the place is free */
    uint16_t tid;  /* 0: not registered */
    uint16_t len;
};

/* ---- gateways --------------------------------------------------------------- */

/* One gateway. A place in the table, not for the application. */
struct sn_client_gateway {
    uint64_t gone_ms; /* forgotten then, SN_NEVER if it does not advertise */
    bool used;
    bool has_id; /* heard of by ADVERTISE or GWINFO */
    uint8_t id;
    uint8_t address_len;
    uint8_t address[SN_CLIENT_ADDRESS_MAX];
};

/* ---- events ----------------------------------------------------------------- */

enum sn_client_event_type {
    SN_EVENT_SEND,         /* .send: hand the frame to the radio */
    SN_EVENT_CONNECTED,    /* active: requests are possible */
    SN_EVENT_REFUSED,      /* .refused: CONNACK with a code other than 0 */
    SN_EVENT_LOST,         /* .lost: the connection, or the attempt at one, has failed */
    SN_EVENT_DISCONNECTED, /* as the application wished */
    SN_EVENT_ASLEEP,       /* .asleep: nothing to do before sn_client_deadline() */
    SN_EVENT_MESSAGE,      /* .message: a message from the gateway, once at QoS 2 */
    SN_EVENT_PUBLISHED,    /* .done */
    SN_EVENT_SUBSCRIBED,   /* .done */
    SN_EVENT_UNSUBSCRIBED, /* .done */
    SN_EVENT_WILL_CHANGED, /* .done */
    SN_EVENT_CONGESTED,    /* .congested: the gateway asks for patience */
    SN_EVENT_DROPPED,      /* .dropped: a QoS 0 or -1 message was refused after all */
    SN_EVENT_GATEWAY,      /* .gateway: one was found, or has fallen silent */
    SN_EVENT_DISCARDED,    /* .discarded: a received frame was of no use; for counters */
};

enum sn_client_result {
    SN_RESULT_ACCEPTED,  /* acknowledged; at QoS 0: sent */
    SN_RESULT_REJECTED,  /* the gateway said no, .code has its reason */
    SN_RESULT_UNKNOWN,   /* the connection went away first: it may have arrived, or not */
    SN_RESULT_CANCELLED, /* by sn_client_cancel(), sn_client_disconnect() */
};

enum sn_client_loss {
    SN_LOSS_NO_ANSWER, /* N_retry repeats remained without answer, 6.13 */
    SN_LOSS_LEFT,      /* the gateway sent DISCONNECT on its own account, 6.12 */
};

struct sn_client_event {
    enum sn_client_event_type type;
    union {
        struct {
            struct sn_bytes frame; /* valid during the callback */
            bool broadcast;        /* to everybody within radius; else to the address */
            uint8_t radius;        /* hops, 0: no limit (5.3.9) */
            struct sn_bytes to;    /* the gateway; empty when the table has no places */
        } send;
        struct {
            uint8_t code;
            uint64_t again_ms; /* next attempt, SN_NEVER: none of its own */
        } refused;
        struct {
            enum sn_client_loss why;
            enum sn_type waiting_for; /* what remained without answer: SN_CONNECT, ... */
            uint64_t again_ms;        /* next attempt, SN_NEVER: none of its own */
        } lost;
        struct {
            bool answered;     /* false: the gateway did not answer PINGREQ this time */
            uint64_t until_ms; /* when the client wakes itself */
        } asleep;
        struct {
            struct sn_topic_ref topic; /* a name whenever there is one */
            int8_t qos;
            bool retain;
            struct sn_bytes data; /* valid during the callback */
        } message;
        struct {
            enum sn_client_result result;
            uint8_t code; /* with REJECTED: enum sn_return_code, or a reserved value */
            int8_t qos;   /* SUBSCRIBED: granted; PUBLISHED: as asked for */
            uint16_t mid; /* PUBLISHED: the message id, 0 at QoS 0 */
        } done;
        struct {
            enum sn_type what; /* SN_REGISTER, SN_PUBLISH, SN_SUBSCRIBE, ... */
            uint64_t until_ms; /* the request goes out again then by itself */
        } congested;
        struct {
            uint16_t tid; /* as it was sent */
            uint8_t code;
        } dropped;
        struct {
            bool found; /* false: forgotten, N_ADV of its ADVERTISE did not come */
            uint8_t id;
            struct sn_bytes address;
        } gateway;
        struct {
            enum sn_fault fault; /* SN_OK: a correct message that does not fit in here */
            uint8_t type;        /* the message type if fault is SN_OK */
        } discarded;
    };
};

/* Called for every event. From SN_EVENT_SEND and SN_EVENT_DISCARDED call nothing
 * of this module; from the others anything but sn_client_init(),
 * sn_client_frame() and sn_client_time(). A QoS 1 or 2 message is acknowledged
 * when the callback has returned. */
typedef void sn_client_emit_fn(void *ctx, const struct sn_client_event *e);

/* ---- configuration ---------------------------------------------------------- */

/* The Will: what the gateway publishes if the client is lost. */
struct sn_client_will {
    struct sn_bytes topic;
    struct sn_bytes message;
    int8_t qos;
    bool retain;
};

/* Begin with sn_client_defaults(). The client keeps a pointer, and pointers to
 * all memory in here; everything must outlive it. Timers may be changed between
 * calls, for instance when the radio changes its rate. */
struct sn_client_config {
    struct sn_bytes client_id; /* 1 to SN_CLIENT_ID_MAX octets, unique in the network */
    uint16_t keepalive_s;      /* 0: the gateway does not supervise us, and we do not it */
    bool clean;                /* forget subscriptions and will at CONNECT, 6.3 */
    struct sn_bytes node;      /* not empty: frames travel in forwarder encapsulation, 5.5 */

    uint32_t retry_ms;         /* T_retry */
    uint32_t retry_max_ms;     /* the interval doubles up to this; retry_ms: it is fixed */
    uint8_t retries;           /* N_retry */
    uint32_t congestion_ms;    /* T_WAIT after "rejected: congestion" */
    uint32_t reconnect_ms;     /* first pause after a loss, doubled up to the next line, */
    uint32_t reconnect_max_ms; /* shortened at random by up to a half; 0: do not reconnect */
    uint32_t search_ms;        /* T_SEARCHGW */
    uint32_t search_max_ms;    /* the interval between SEARCHGW doubles up to this */
    uint8_t search_radius;     /* hops, 0: no limit */
    uint32_t gwinfo_ms;        /* T_GWINFO */
    uint8_t advertise_missed;  /* N_ADV */

    struct sn_client_topic *topics; /* table of topics_max places */
    uint16_t topics_max;            /* 0: only predefined and short topics */
    uint16_t name_size;             /* longest topic name */
    uint8_t *names;                 /* topics_max * name_size octets */

    /* Gateways in reach. Without places there is one gateway, the wire's other
     * end, and addresses are not looked at. With places and no gateway known,
     * sn_client_connect() looks for one. */
    struct sn_client_gateway *gateways;
    uint8_t gateways_max;

    /* What must be sent again: the data of the open PUBLISH, the filter of the
     * open SUBSCRIBE. A longer one is refused with SN_ANSWER_TOO_LARGE. */
    uint8_t *kept;
    size_t kept_size;

    /* Where frames are put together, used only during calls: clients may share
     * it. Its size is the link's frame limit, at least SN_CLIENT_FRAME_MIN. */
    uint8_t *frame;
    size_t frame_size;

    sn_client_emit_fn *emit;
    void *ctx;
};

/* The specification's values (7.2), keep-alive 60 s, clean session, reconnecting
 * after 1 s up to 5 min. Memory, client id and callback are still to be set. */
static inline struct sn_client_config sn_client_defaults(void)
{
    return (struct sn_client_config){
        .keepalive_s = 60,
        .clean = true,
        .retry_ms = 10000,
        .retry_max_ms = 60000,
        .retries = 4,
        .congestion_ms = 6 * 60 * 1000,
        .reconnect_ms = 1000,
        .reconnect_max_ms = 5 * 60 * 1000,
        .search_ms = 5000,
        .search_max_ms = 5 * 60 * 1000,
        .gwinfo_ms = 5000,
        .advertise_missed = 3,
    };
}

/* ---- the client ------------------------------------------------------------- */

enum sn_client_state {
    SN_CLIENT_IDLE,       /* not connected, and not going to be */
    SN_CLIENT_SEARCHING,  /* no gateway known: SEARCHGW; connects to the first that answers */
    SN_CLIENT_CONNECTING, /* CONNECT is out, CONNACK to come */
    SN_CLIENT_ACTIVE,
    SN_CLIENT_CLOSING, /* DISCONNECT is out */
    SN_CLIENT_DROWSY,  /* DISCONNECT with a duration is out */
    SN_CLIENT_ASLEEP,
    SN_CLIENT_AWAKE, /* PINGREQ with our id is out, PINGRESP to come */
    SN_CLIENT_PAUSE, /* the connection is gone, the next attempt to come */
};

enum sn_client_answer {
    SN_ANSWER_STARTED,       /* its event will come, or has come during the call */
    SN_ANSWER_DONE,          /* finished, no event follows: QoS 0 with a known id, QoS -1 */
    SN_ANSWER_BUSY,          /* another request is open, or the state forbids it for now */
    SN_ANSWER_NOT_CONNECTED, /* connect first */
    SN_ANSWER_BAD_TOPIC,     /* not a topic name or filter, or not with this QoS (6.8) */
    SN_ANSWER_BAD_QOS,
    SN_ANSWER_TOO_LARGE, /* does not fit into cfg.frame, cfg.kept or cfg.name_size */
};

/* The fields are the module's own; read them through the functions below. */
struct sn_client {
    const struct sn_client_config *cfg;
    struct sn_client_will will;

    struct sn_retry retry; /* CONNECT, WILLTOPIC, WILLMSG, DISCONNECT, PINGREQ */
    uint64_t at_ms;        /* end of ASLEEP and PAUSE */
    uint64_t sent_ms;      /* keep-alive: what we sent last, */
    uint64_t heard_ms;     /* and what the gateway sent last */
    uint64_t hold_ms;      /* congestion: no request before this time */
    uint64_t search_at_ms; /* next SEARCHGW */
    uint64_t gwinfo_at_ms; /* our answer to somebody's SEARCHGW */
    uint32_t search_wait_ms;
    uint32_t reconnect_wait_ms;
    uint32_t random;
    uint32_t uses; /* counts uses of topics, see struct sn_client_topic */

    struct {
        struct sn_retry retry;
        uint8_t what;       /* enum sn_type of the request; 0: none is open */
        uint8_t step;       /* enum sn_type of the message to be answered; 0: not chosen yet */
        uint8_t topic_kind; /* enum sn_topic_kind */
        int8_t qos;
        bool retain;
        bool parked; /* waits for the connection, or for the end of congestion */
        bool sent;   /* went out before under this mid: the next copy has DUP */
        bool cured;  /* registered again after PUBACK "invalid topic id", 6.6 */
        uint16_t mid;
        uint16_t tid;  /* PREDEFINED, SHORT */
        uint16_t slot; /* NORMAL, PUBLISH: place of the name */
        uint16_t len;  /* octets in cfg.kept */
    } open;

    uint16_t qos2[SN_CLIENT_QOS2_MAX]; /* received and delivered, PUBREL to come; 0: free */
    uint16_t qos2_ended;               /* the last one whose PUBREL came; 0: none */
    uint16_t next_mid;
    uint16_t sleep_s;
    uint8_t state;     /* enum sn_client_state */
    uint8_t sent_type; /* enum sn_type of what we sent last */
    uint8_t dialogue;  /* enum sn_type last sent while CONNECTING */
    uint8_t gateway;   /* place of the current one */
    uint8_t ids_of;    /* place of the gateway that our topic ids are from */
    uint8_t goodbyes;  /* DISCONNECT sent whose answers have not come yet */
    uint8_t gwinfo_radius;
    bool pinging;       /* ACTIVE: PINGREQ is out */
    bool resting;       /* the session was put to sleep: return with CleanSession 0 */
    bool clean_sent;    /* CleanSession of the last CONNECT */
    bool will_sent;     /* Will of the last CONNECT */
    uint8_t will_state; /* what the gateway is to be told about the will */
};

/* Makes *c valid and idle. The seed decides all random delays and the first
 * message id; two devices, and two starts of one device, should differ. */
void sn_client_init(struct sn_client *c, const struct sn_client_config *cfg, uint64_t seed);

/* Adds a gateway that is known beforehand; the first one is tried first. BUSY
 * if the table is full, TOO_LARGE for the address, DONE otherwise. */
enum sn_client_answer sn_client_add_gateway(struct sn_client *c, struct sn_bytes address);

/* Connects, returns from sleep (keeping the subscriptions, 6.14), or ends a
 * pause early. Then CONNECTED, REFUSED or LOST. */
enum sn_client_answer sn_client_connect(struct sn_client *c, uint64_t now_ms);

/* Ends the connection in any state. Open requests are cancelled. Then
 * DISCONNECTED, whether the gateway answers or not. */
enum sn_client_answer sn_client_disconnect(struct sn_client *c, uint64_t now_ms);

/* Goes to sleep: the gateway keeps messages and hears from us at least every
 * duration_s (1 to 65535). Then ASLEEP. The client wakes itself in time by
 * PINGREQ, emits what the gateway has kept, and emits ASLEEP again. Possible
 * while ACTIVE, and while ASLEEP to change the duration. BUSY while a request is
 * on the air; one that waits for the end of congestion goes on after the next
 * sn_client_connect(). */
enum sn_client_answer sn_client_sleep(struct sn_client *c, uint64_t now_ms, uint16_t duration_s);

/* ASLEEP: fetches what the gateway has kept, now. ACTIVE: PINGREQ, to see
 * whether the gateway is there. */
enum sn_client_answer sn_client_ping(struct sn_client *c, uint64_t now_ms);

/* Publishes. QoS 1 and 2: PUBLISHED says how it ended. QoS 0: STARTED and
 * PUBLISHED if the name must be registered first, else DONE. QoS -1 (predefined
 * and short topics only): sent in any state but AWAKE, DONE. The data is copied.
 *
 * An open PUBLISH outlives a loss of the connection if the client reconnects:
 * it goes on with the same message id, so that QoS 2 stays exactly once, unless
 * cfg.clean makes the gateway forget it; then it ends with UNKNOWN. */
enum sn_client_answer sn_client_publish(struct sn_client *c, uint64_t now_ms,
                                        struct sn_topic_ref topic, int8_t qos, bool retain,
                                        struct sn_bytes data);

/* Then SUBSCRIBED with the granted QoS. */
enum sn_client_answer sn_client_subscribe(struct sn_client *c, uint64_t now_ms,
                                          struct sn_topic_ref topic, int8_t qos);

/* Then UNSUBSCRIBED; there is no way for the gateway to refuse. */
enum sn_client_answer sn_client_unsubscribe(struct sn_client *c, uint64_t now_ms,
                                            struct sn_topic_ref topic);

/* Sets the will; NULL or an empty topic deletes it (6.3, 6.4). What it points to
 * must outlive its use. While ACTIVE the gateway is told at once (STARTED, then
 * WILL_CHANGED), otherwise with the next CONNECT (DONE). A gateway that cannot
 * change wills rejects it; the next CONNECT brings it all the same. */
enum sn_client_answer sn_client_set_will(struct sn_client *c, uint64_t now_ms,
                                         const struct sn_client_will *will);

/* Gives the open request up; its event comes with CANCELLED during the call.
 * Fine when there is none. */
void sn_client_cancel(struct sn_client *c);

/* One received frame. from is the sender's address, empty if the radio has
 * none. Whatever the frame holds, nothing worse than SN_EVENT_DISCARDED comes
 * of it. */
void sn_client_frame(struct sn_client *c, uint64_t now_ms, struct sn_bytes from,
                     struct sn_bytes frame);

/* Does what is due. To be called when sn_client_deadline() is reached; calling
 * it more often does no harm. */
void sn_client_time(struct sn_client *c, uint64_t now_ms);

/* When sn_client_time() must be called at the latest; SN_NEVER: no need. Ask
 * again after every other call. */
uint64_t sn_client_deadline(const struct sn_client *c);

/* Optional, for slow links: the frame handed out last has left the antenna only
 * now; if it is a request, the wait for its answer counts from here. */
void sn_client_sent(struct sn_client *c, uint64_t now_ms);

enum sn_client_state sn_client_state(const struct sn_client *c);

/* Whether a request is open, so that the next one would be refused. */
bool sn_client_is_busy(const struct sn_client *c);

/* "busy", "not-connected", ...; for messages to people. */
const char *sn_client_answer_name(enum sn_client_answer answer);

#endif
