/* Whose message it is, how far it has come: what the checker remembers.
 *
 * A party is a device or a sender at the broker. Each numbers its messages from
 * 1; the payload "NAME:N..." tells which one it is. Every party has an octet of
 * flags for each message that it sent, and for each sender whose messages it got
 * another. Private to check.c.
 */
#ifndef SIM_CHECK_FLOWS_H
#define SIM_CHECK_FLOWS_H

#include "sim/names.h"
#include "sim/trace.h"

#define SIM_FLOW_TOPICS  16 /* of one sender, whose order is watched; further ones are not */
#define SIM_FLOW_OPEN    16 /* QoS 1 and 2 messages of a device, the last ones on the air */
#define SIM_FLOW_FILTERS 8

enum sim_sent {
    SIM_SENT_QOS = 3, /* two bits */
    SIM_SENT_ACCEPTED = 4,
    SIM_SENT_ARRIVED = 8,
    SIM_SENT_DURABLE = 16,
    SIM_SENT_FREE = 32,      /* nobody promises that it arrives */
    SIM_SENT_UNDER_WAY = 64, /* handed to the broker, undecided */
    SIM_SENT_AGAIN = 128,    /* nobody promises that it arrives once only */
};

enum sim_got {
    SIM_GOT = 1,
    SIM_GOT_ONCE = 2, /* at QoS 2, and it has not lost its memory since */
    SIM_GOT_OWED = 4,
    SIM_GOT_COPIED = 8, /* the link made a copy of it: nothing is claimed of once */
};

struct sim_flags {
    uint8_t *flags; /* by number of the message */
    uint64_t size;
    uint64_t end; /* one more than the highest that is set */
};

/* The order in which messages of one topic and QoS arrive. */
struct sim_order {
    uint64_t topic; /* hash with the QoS */
    uint64_t last;
};

struct sim_inbox {
    uint32_t sender;
    struct sim_flags got;
    struct sim_order order[SIM_FLOW_TOPICS];
};

struct sim_party {
    uint64_t alike_accepted; /* of messages that are all the same: at QoS 1 and 2 */
    uint64_t alike_arrived;
    struct sim_flags sent;
    uint32_t *topics; /* hashes, by number; 0: not known */
    uint64_t topics_size;
    struct sim_order order[SIM_FLOW_TOPICS];
    struct {
        uint16_t mid;
        uint64_t number;
    } open[SIM_FLOW_OPEN];
    uint32_t open_next;
    struct sim_inbox *inboxes;
    uint32_t inbox_count;
    char *filters[SIM_FLOW_FILTERS];
    uint8_t filter_qos[SIM_FLOW_FILTERS];
    uint32_t filter_count;
    bool gone;  /* it has left */
    bool clean; /* its session ends with its connection */
};

struct sim_flows {
    struct sim_names names;
    struct sim_party *parties; /* by number of the name */
    uint32_t size;
};

void sim_flows_close(struct sim_flows *f);

/* name is borrowed for ever. */
struct sim_party *sim_flows_party(struct sim_flows *f, const char *name);

/* Whose message this is; false when it is nobody's that is known. */
bool sim_flows_read(struct sim_flows *f, struct sn_bytes payload, uint32_t *party,
                    uint64_t *number);

/* Whose message it is, of those that are all alike; NULL: it is none of them. */
struct sim_party *sim_flows_alike(struct sim_flows *f, struct sn_bytes payload);

/* Its message `number` is made, under this topic, if it is not known already. */
void sim_party_makes(struct sim_party *p, uint64_t number, struct sn_bytes topic);

/* Whether it comes under the topic that it was made with, as far as that is known. */
bool sim_party_made(const struct sim_party *p, uint64_t number, struct sn_bytes topic);

uint8_t *sim_flags_at(struct sim_flags *f, uint64_t number);

/* A new one if need be; good until the next call for this party. */
struct sim_inbox *sim_party_inbox(struct sim_party *p, uint32_t sender);

/* Message `number` of this topic has come for the first time: false when a later
 * one was there before. */
bool sim_order_holds(struct sim_order *order, struct sn_bytes topic, uint8_t qos, uint64_t number);

#endif
