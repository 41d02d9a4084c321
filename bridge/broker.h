/* The MQTT side: connections to a broker, without saying by which library.
 *
 * The core decides when to connect, what to publish and in which order; this
 * module carries it out and reports what happened. It owns its threads, which
 * touch nothing but its mailboxes.
 *
 * Publishing: the core hands messages in the order of their seq and never more
 * than the window of BROKER_UP at a time. DELIVERED comes once for each, when
 * the broker has taken it (PUBACK, PUBCOMP; for QoS 0 when it was written).
 * After BROKER_DOWN everything not DELIVERED is undecided; after the next
 * BROKER_UP the core hands it over again in order. A QoS 2 message that the
 * library still has in flight from before is recognised by its seq and not
 * sent a second time; DELIVERED comes when its handshake ends. What the broker
 * cannot take at the moment (its quota is exceeded, it is busy) is undecided,
 * never refused: the connection is ended and BROKER_DOWN says why. With CONNECT
 * `careful` only what the broker has answered with PUBREC is recognised: the rest
 * is not repeated before it is handed over again. QoS 0 is at
 * most once: what the library has taken when the connection is lost counts as
 * DELIVERED. DISCONNECT is carried out without an event; what comes late of the
 * connection that it ended has another `attempt` than the next one.
 *
 * What the broker says about its keep-alive (MQTT 5) is obeyed: the connection that
 * hears it first is made anew before BROKER_UP.
 *
 * Sessions. CONNECT with `transient` and MQTT 5 begins a session that outlives the
 * loss of its connection and ends with a DISCONNECT that says `forget`; MQTT 3.1.1
 * has no such thing, there it ends with the connection. DISCONNECT `with_will` is
 * reason code 4 in MQTT 5; in 3.1.1 the socket is shut without a DISCONNECT.
 *
 * Exactly once over a crash. With a store, and a broker that keeps the session,
 * a QoS 2 message that was in flight when the process was killed or the power
 * failed is neither lost nor doubled. Towards the broker each message is a row of
 * the store and goes through four states there, each on disk before the packet
 * that makes it true goes out; F is its flight, with the packet id:
 *
 *   row ──▶ row, F sent ──PUBLISH──▶ PUBREC ──▶ row, F released ──PUBREL──▶ PUBCOMP ──▶ no row, no F
 *
 * A crash leaves one of them:
 *   row            no PUBLISH has gone out; it is published for the first time.
 *   row, F sent    the broker has it by this packet id, or never got it; it has
 *                  seen no PUBREL, so it still knows the id if it does. The
 *                  PUBLISH repeated with this id cannot make a second message.
 *   row, F released   the broker has it. Only the PUBREL is repeated: whether
 *                  the id is known or not, no message comes of that.
 *   nothing        PUBCOMP was here; it is over.
 * Row and F leave in one transaction. If they left one after the other, a crash
 * in between would leave a row without F, hence a second message; or F alone.
 *
 * From the broker it is the same the other way round: the packet id of a message
 * is stored in one transaction with what the message was made into, so a PUBLISH
 * that is repeated because our PUBREC was lost is known; and it is removed, on
 * disk, before PUBCOMP lets the broker use it for another message.
 *
 * When the broker has lost the session (session_present is false), nobody knows
 * what became of a message in flight. It is published anew: rather twice than
 * never. The same holds when the url, the client id or the protocol is another
 * one than before, and, at worst, when the process is killed in the moment in
 * which a new session is made. Without a store all this is memory, and a message
 * in flight at the end of the process is published once more.
 *
 * Addresses. An attempt to connect is over when one of the addresses of the
 * broker's name has answered, or none: then BROKER_DOWN has the reason of each.
 *
 * Receiving: at QoS 1 and 2 MESSAGE carries a token other than 0, and the
 * broker hears no acknowledgement before broker_accept(token). Until then the
 * connection, and every other one, receives nothing more: accept soon. At
 * QoS 0 the token is 0. If too many wait unread, QoS 0 messages are dropped
 * and counted.
 *
 * A packet larger than max_packet is of use to nobody. With MQTT 5 the broker is
 * told so and drops it. With 3.1.1 the connection is cut while it comes in, which is
 * counted and told with BROKER_DOWN; if that happens twice within two minutes,
 * the session is given up, for the broker would send it again each time. That needs
 * to know the socket: a connection that is made at the same time as another may
 * have to read the packet.
 */
#ifndef BRIDGE_BROKER_H
#define BRIDGE_BROKER_H

#include "bridge/bridge.h"

struct broker;
struct store;

/* How a sensor's own connection logs in: the first pattern (pattern.h) that its
 * client id matches decides; none: like connection 0. */
struct broker_login {
    const char *pattern;
    const char *username;
    const char *password;
};

/* Which messages tell link, time of receipt and signal. */
enum broker_user_properties {
    BROKER_PROPERTIES_NO,
    BROKER_PROPERTIES_LATE, /* those that waited: the others come when they were received */
    BROKER_PROPERTIES_ALWAYS,
};

struct broker_options {
    const char *url;       /* tcp:// ssl:// ws:// wss:// host[:port], or [address%zone] */
    const char *client_id; /* of connection 0 */
    const char *username;  /* NULL: none */
    const char *password;  /* NULL: none */
    const char *ca_file;   /* NULL: the system's */
    const char *cert_file; /* NULL: none */
    const char *key_file;  /* NULL: in cert_file */
    bool verify;           /* check the server's certificate and name */
    struct store *store;   /* for exactly once over a crash; NULL: without */
    uint16_t keepalive_s;
    uint16_t connect_timeout_s;
    uint32_t max_packet;     /* octets of one packet that is of use; 0: any */
    uint16_t max_inflight;   /* upper bound of the window reported with BROKER_UP */
    uint8_t protocol;        /* 5, falls back to 4 (3.1.1) when the broker refuses 5; or 4 */
    uint8_t user_properties; /* enum broker_user_properties, MQTT 5 */
    const struct bridge_link_config *links; /* their names, for that */
    uint32_t session_expiry_s;              /* how long the broker keeps our sessions, MQTT 5 */
    const struct broker_login *logins;      /* must outlive the broker */
    size_t login_count;
};

/* Starts the threads, connects nothing. Returns 0, or -1 with one line for the
 * operator in why. Signals must be blocked by the caller before. */
int broker_open(const struct broker_options *o, struct broker **out, char *why, size_t why_size);

/* From the next attempt to connect on: username, password, ca_file, cert_file, key_file,
 * verify, connect_timeout_s, session_expiry_s; nothing else is looked at. */
void broker_configure(struct broker *b, const struct broker_options *o);

/* Lets what was published go out, at most wait_ms; disconnects; ends. A message
 * that has not been accepted is not acknowledged: its connection is cut, and the
 * broker sends it again next time. So, to end cleanly while messages come in,
 * go on taking events until everything is DELIVERED, and close then. */
void broker_close(struct broker *b, uint32_t wait_ms);

/* Takes a copy of one broker action of the core: CONNECT, DISCONNECT, PUBLISH,
 * SUBSCRIBE, UNSUBSCRIBE, ACCEPT. */
void broker_put(struct broker *b, const struct bridge_action *action);

/* End of a turn of the loop, after store_flush(): wakes the thread if there is
 * something to do. */
void broker_flush(struct broker *b);

/* A descriptor that is readable while events wait; and the next one, false
 * when there is none. Events: BROKER_UP, BROKER_DOWN, DELIVERED, SUBSCRIBED,
 * UNSUBSCRIBED, MESSAGE. What an event points to is valid until the next call. */
int broker_fd(const struct broker *b);
bool broker_next_event(struct broker *b, struct bridge_event *event);

struct broker_figures {
    uint64_t published;  /* handed to the library */
    uint64_t received;   /* from the broker */
    uint64_t dropped;    /* QoS 0 from the broker, mailbox full */
    uint64_t oversized;  /* packets from the broker that were too large to be read */
    uint64_t connects;   /* attempts */
    uint64_t stalls;     /* messages that waited more than 5 s for ACCEPT */
    uint64_t waiting_ms; /* how long one waits for ACCEPT now; 0: none does */
    uint8_t protocol;    /* 5 or 4: spoken last, or to be tried next */
};
void broker_figures(struct broker *b, struct broker_figures *out);

#endif
