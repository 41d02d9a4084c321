/* When messages came that are on the disk, by the time that has passed and not by any
 * clock: what expires is held against it. Private to check.c, whose head says what is
 * claimed.
 */
#ifndef SIM_CHECK_EXPIRY_H
#define SIM_CHECK_EXPIRY_H

#include "sim/check_claims.h"
#include "sim/trace.h"

struct sim_expiry_row {
    uint64_t seq;
    uint64_t at_us;
    uint64_t span_ms; /* for which it is of use; 0: for ever */
};

/* Zeroed, nothing has come. */
struct sim_expiry {
    struct sim_expiry_row *rows; /* ascending seq */
    size_t count;
    size_t size;
    bool expires; /* the last thing said was that a message does; what is it? */
};

void sim_expiry_close(struct sim_expiry *e);

void sim_expiry_hear(struct sim_expiry *e, const struct sim_record *record,
                     struct sim_claims *claims);

#endif
