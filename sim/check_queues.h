/* How many messages wait for each sensor, by what the bridge has told the disk: what a
 * bridge says of a queue that is full is held against it. Private to check.c, whose
 * head says what is claimed.
 */
#ifndef SIM_CHECK_QUEUES_H
#define SIM_CHECK_QUEUES_H

#include "sim/check_claims.h"
#include "sim/trace.h"

struct sim_queue_held {
    uint32_t session;
    uint64_t count;
};

struct sim_queue_row {
    uint64_t ticket;
    uint32_t session;
};

/* Zeroed, nothing waits. */
struct sim_queues {
    struct sim_queue_held *held;
    size_t held_count;
    struct sim_queue_row *pending; /* handed to the disk, which has not said anything */
    size_t pending_count;
    size_t pending_size;
    bool in_memory; /* QoS 0 waits with the others, and is not known here */
};

void sim_queues_close(struct sim_queues *q);

void sim_queues_hear(struct sim_queues *q, const struct sim_record *record,
                     const struct bridge_config *config, struct sim_claims *claims);

#endif
