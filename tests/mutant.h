/* A bridge with a planted fault: a filter (sim/gateway.h) between the core and
 * the models around it. What comes out is what a core with this fault would do. */
#ifndef TESTS_MUTANT_H
#define TESTS_MUTANT_H

#include "sim/gateway.h"

enum mutation {
    MUTATION_NONE,
    MUTATION_EARLY_ACKNOWLEDGEMENT, /* takes for durable what was only handed to the disk */
    MUTATION_EARLY_ACCEPTANCE,      /* the broker hears at once that its message is safe */
    MUTATION_FORGOTTEN_MESSAGE,     /* some messages never reach the disk */
    MUTATION_DOUBLE_PUBLISH,        /* some messages are handed to the broker twice */
    MUTATION_DOUBLE_DELIVERY,       /* some messages go to a device as two */
    MUTATION_WRONG_ORDER,           /* some messages overtake the one before */
    MUTATION_LEAKED_SLOT,           /* some messages stay on the disk for ever */
    MUTATION_LOST_WAKEUP,           /* some answers of the broker are not noticed */
    MUTATION_UNTOLD_ID,             /* some SUBACKs, and the topic ids in them, are never sent */
    MUTATION_WRONG_TOPIC,           /* some messages are published under another topic */
    MUTATION_DEAF_TO_REFUSAL,       /* what the disk refused counts as stored */
    MUTATION_MEMBER,                /* some filters are subscribed as a share of a group */
    MUTATION_SWALLOWED_READING,     /* some messages are acknowledged, and that is all */
    MUTATION_FALSELY_FULL,          /* a queue counts as full that is not */
    MUTATION_HARD_OF_HEARING,       /* some readings are answered by DISCONNECT */
    MUTATION_FALSE_WILL,            /* wills are published of those who live */
    MUTATION_HASTE,                 /* some messages expire at once */
    MUTATION_COUNT,
};

struct mutant {
    struct sim_filter filter; /* for the gateway */
    enum mutation mutation;
    uint64_t count;       /* of what the mutation looks at */
    uint64_t last_ticket; /* handed to the disk */
    uint64_t told_ticket; /* the core believes that it is durable */
    bool busy;
    struct bridge_action held; /* WRONG_ORDER */
    bool holds;
    uint8_t octets[4096];
};

void mutant_init(struct mutant *m, enum mutation mutation);

#endif
