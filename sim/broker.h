/* A model of an MQTT broker with the client library before it, as bridge/broker.h
 * describes the two.
 *
 * Messages from the bridge arrive in their order after the delay of the way, are
 * given to whoever has subscribed, and are answered after the delay of the way
 * back. When a connection is lost, what was under way is lost or has arrived, and
 * nobody says which. A session keeps its subscriptions, and messages of QoS 1
 * and 2 while its client is away, unless the broker is made to forget.
 *
 * What the client library knows of QoS 2 handshakes outlives the bridge's process
 * as bridge/broker.h says: towards the broker, as long as the message is on the
 * disk; from the broker, when what it was made into was durable (has_flight).
 *
 * Every message that the broker has taken is said as SIM_BROKER_HAS; one that it hangs
 * up on stands in SIM_BROKER_DOWN.
 */
#ifndef SIM_BROKER_H
#define SIM_BROKER_H

#include "sim/random.h"
#include "sim/trace.h"
#include "sim/world.h"

#define SIM_BROKER_QUEUE_MAX 100000 /* messages kept for one session; more are dropped */

/* Of a message that answers several subscriptions of one client. */
enum sim_broker_overlaps {
    SIM_OVERLAPS_NAMED, /* a copy for each that has an identifier, one for all others */
    SIM_OVERLAPS_EACH,  /* a copy for each */
    SIM_OVERLAPS_ONE,   /* one copy for all */
};

struct sim_broker_options {
    uint64_t delay_min_us; /* one way */
    uint64_t delay_max_us;
    uint16_t window; /* QoS 1 and 2 messages that may be undecided */
    uint8_t max_qos;
    bool reorders; /* completions come in any order */
    /* What it answers by hanging up, and does not announce; 0 and false: nothing. */
    uint32_t max_levels; /* more of a topic or a filter */
    uint32_t max_packet; /* more octets of topic and payload */
    bool no_retain;      /* messages to be retained */
    bool plain;          /* MQTT 3.1.1: no identifiers, retained messages with every SUBSCRIBE */
    enum sim_broker_overlaps overlaps;
    /* Whether a message of QoS 2 that was handed out by this token has become
     * durable; asked after the bridge's process has ended. NULL: none has. */
    bool (*has_flight)(void *ctx, uint64_t token);
};

struct sim_broker;

/* An event for the bridge; what it points to is borrowed for the call. */
typedef void sim_broker_event_fn(void *ctx, const struct bridge_event *event);

/* Everything must outlive the broker. */
struct sim_broker *sim_broker_open(struct sim_world *w, struct sim_trace *trace, uint64_t seed,
                                   const struct sim_broker_options *options,
                                   sim_broker_event_fn *fn, void *ctx);
void sim_broker_close(struct sim_broker *b);

void sim_broker_put(struct sim_broker *b, const struct bridge_action *action);

/* Somebody else publishes. Nothing happens while the broker is down; returns
 * whether it has taken the message. */
bool sim_broker_publish(struct sim_broker *b, const struct sim_message *message);

/* ---- faults ---- */

void sim_broker_set_up(struct sim_broker *b, bool up);
void sim_broker_drop(struct sim_broker *b);              /* all connections are lost */
void sim_broker_slow(struct sim_broker *b, uint64_t us); /* longer ways; 0: as usual again */
void sim_broker_refuse(struct sim_broker *b, bool on);   /* no new connections */
void sim_broker_forget(struct sim_broker *b);            /* sessions and what they wait for */

/* Messages whose topic matches are refused for good (code 0x87); NULL: none.
 * Borrowed. */
void sim_broker_reject(struct sim_broker *b, const char *filter);

/* The bridge's process is gone, and its connections with it. */
void sim_broker_end_client(struct sim_broker *b);

bool sim_broker_is_idle(const struct sim_broker *b); /* nothing is under way or waits */
bool sim_broker_is_up(const struct sim_broker *b);

#endif
