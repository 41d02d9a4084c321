/* What happened, for whoever wants to know: transcript, checker, report, capture.
 *
 * Every part of a simulation says what it does as one struct sim_record; any
 * number of listeners hear them in the order of time. What a record points to
 * is borrowed for the call.
 */
#ifndef SIM_TRACE_H
#define SIM_TRACE_H

#include "bridge/bridge.h"
#include "mqttsn/packet.h"

enum sim_record_type {
    /* frames, on a link */
    SIM_FRAME_SENT,    /* handed to the channel */
    SIM_FRAME_STARTED, /* its first bit is on the air; until_us: its last one will be */
    SIM_FRAME_ARRIVED, /* whole, at the other end */
    SIM_FRAME_LOST,    /* why says how: loss, fade, low, bit-errors, collision, queue, too-long,
                          link-down, no-call, one-way, no-listener, copy (another one was first) */
    SIM_FRAME_DAMAGED, /* goes on with other octets */
    SIM_FRAME_COPIED,  /* there is one more of it: sent + copied = arrived + lost + under way */
    /* links */
    SIM_LINK_UP,
    SIM_LINK_DOWN, /* why */
    SIM_LINK_COST, /* number: hundredths of the unit that are added, why: the unit */
    /* the bridge */
    SIM_BRIDGE_EVENT,  /* event: is about to be fed */
    SIM_BRIDGE_ACTION, /* action */
    SIM_BRIDGE_STARTED,
    SIM_BRIDGE_KILLED,
    SIM_STORED, /* number: the ticket up to which all is durable */
    SIM_STORE_FAILED,
    /* the broker */
    SIM_BROKER_UP,
    SIM_BROKER_DOWN,
    SIM_BROKER_HAS,   /* the broker has taken a message: message */
    SIM_BROKER_SENDS, /* the broker has a message for subscribers behind the bridge: message */
    /* devices: text says what in words, message where there is one */
    SIM_DEVICE,
    SIM_DEVICE_PUBLISHES, /* its application has a message to be sent: message */
    SIM_DEVICE_GIVES_UP,  /* it stops trying to send a message, which was not acknowledged */
    SIM_DEVICE_ACCEPTED,  /* its QoS 1 or 2 message was acknowledged, a QoS 0 one was sent */
    SIM_DEVICE_GOT,       /* a message was delivered to the application */
    /* anything else worth a line */
    SIM_FAULT, /* a planned fault happens: text */
    SIM_NOTE,
};

enum sim_direction {
    SIM_UP,   /* from a device to the gateway */
    SIM_DOWN, /* from the gateway to a device */
};

struct sim_message {
    struct sn_bytes topic;
    struct sn_bytes payload;
    uint8_t qos;
    bool retain;
    uint64_t seq; /* the bridge's, where known */
};

struct sim_record {
    enum sim_record_type type;
    uint64_t at_us;
    enum sim_direction direction;
    const char *link;   /* name, NULL: none */
    const char *device; /* name, NULL: none */
    const char *why;    /* a word */
    const char *text;
    uint64_t frame; /* a number that stays with a frame through its records; 0: none */
    uint64_t until_us;
    uint64_t number;
    uint32_t air_bits;     /* with framing and overhead */
    struct sn_bytes bytes; /* the frame */
    const struct bridge_event *event;
    const struct bridge_action *action;
    const struct sim_message *message;
};

typedef void sim_listener_fn(void *ctx, const struct sim_record *record);

struct sim_trace;

struct sim_trace *sim_trace_open(void);
void sim_trace_close(struct sim_trace *t);
void sim_trace_listen(struct sim_trace *t, sim_listener_fn *fn, void *ctx);
void sim_trace_say(struct sim_trace *t, const struct sim_record *record);
uint64_t sim_trace_next_frame(struct sim_trace *t); /* a number for a new frame */

#endif
