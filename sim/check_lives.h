/* Who is alive: when the bridge has last heard each device, and what it says of it.
 * Private to check.c, whose head says what is claimed.
 *
 * A device is in touch from a CONNECT that the bridge has accepted until it leaves, is
 * told to, moves to another address, or is not heard for as long as it has promised. Frames that arrive while
 * the bridge does not run are not heard, and that time does not count as silence.
 */
#ifndef SIM_CHECK_LIVES_H
#define SIM_CHECK_LIVES_H

#include "sim/check_claims.h"
#include "sim/names.h"
#include "sim/trace.h"

struct sim_life {
    uint64_t heard_us;
    uint64_t promise_us; /* it is heard within this time; 0: it has not said */
    uint64_t give_up_us; /* the least time in which all repeats are used up on its link */
    uint64_t keepalive_us;
    uint32_t leaving; /* so many DISCONNECTs are not answered */
    bool connecting;  /* a CONNECT is not answered */
    bool in_touch;
};

/* Zeroed, nobody is there. */
struct sim_lives {
    const struct bridge_config *config;
    struct sim_names names;
    struct sim_life *lives;
    uint32_t size;
    uint64_t off_us; /* when it ended to run */
    bool off;        /* the bridge does not run */
};

void sim_lives_close(struct sim_lives *lives);

void sim_lives_hear(struct sim_lives *lives, const struct sim_record *record,
                    struct sim_claims *claims);

#endif
