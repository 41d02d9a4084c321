/* Which topic id means which topic, to each device: from the frames between it and
 * the bridge. Private to check.c, whose head says what is claimed.
 *
 * An id has been told when the bridge has sent it in SUBACK or REGACK, or has
 * received the REGACK to its REGISTER. After a restart the bridge does not know
 * whether that came, and may try: the device says so if it does not know the id. A
 * CONNECT keeps all that, unless it begins a clean session, which makes all of them
 * void when it is accepted; of QoS 0 some may still wait for the air then. Nothing is
 * claimed of a device of which a frame was damaged and went on: ids may have changed on
 * the way.
 */
#ifndef SIM_CHECK_IDS_H
#define SIM_CHECK_IDS_H

#include "sim/check_claims.h"
#include "sim/names.h"
#include "sim/trace.h"

#define SIM_IDS_OPEN 8 /* requests of a device that are not answered, the last ones */

struct sim_id {
    uint16_t tid;
    uint16_t mid;     /* of the bridge's REGISTER */
    uint64_t offered; /* hash of the name that it says; 0: none */
    uint64_t told;    /* and of the name that the device knows; 0: none */
    bool was_told;    /* it was, before the last clean CONNECT */
};

struct sim_ids_device {
    struct sim_id *ids;
    uint32_t count;
    struct {
        uint16_t mid;
        uint64_t name; /* 0: it has none that could get an id */
    } open[SIM_IDS_OPEN];
    uint32_t open_next;
    bool clean;     /* the last CONNECT */
    bool damaged;   /* nothing is claimed */
    bool restarted; /* the bridge has been, since a clean session began */
};

/* Zeroed, nobody knows anything. */
struct sim_ids {
    struct sim_names names;
    struct sim_ids_device *devices;
    uint32_t size;
};

void sim_ids_close(struct sim_ids *ids);

void sim_ids_hear(struct sim_ids *ids, const struct sim_record *record, struct sim_claims *claims);

#endif
