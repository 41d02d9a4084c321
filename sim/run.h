/* One run of a scenario: builds everything, lets it happen, checks it.
 *
 * The same scenario and seed give the same run, octet for octet. Time is virtual;
 * a run takes as long as its events take to compute.
 *
 * After `stop` applications are quiet, faults are lifted and devices that are off
 * come back; the run goes on until everything is at rest: outboxes are empty,
 * nothing waits in the bridge, at the broker or for the disk. If that takes
 * longer than the bound, the checker's claim of liveness is violated. The bound
 * follows from the links: how long there may be no contact, how long retries may
 * take to notice that there is, and how long the air needs for what waits.
 */
#ifndef SIM_RUN_H
#define SIM_RUN_H

#include "sim/check.h"
#include "sim/gateway.h"
#include "sim/scenario.h"

struct sim_run;

struct sim_run_options {
    const struct sim_scenario *scenario;
    uint64_t seed;
    uint64_t kill_at;          /* the power is cut at this operation of the disk; 0: it is not */
    uint32_t check_every;      /* steps between two bridge_check(); 0: at starts only */
    struct sim_filter *filter; /* see gateway.h; NULL: none */
};

struct sim_result {
    uint64_t end_us;
    uint64_t settled_us; /* of these, after the stop */
    uint64_t bound_us;   /* and how long that might have taken */
    uint64_t devices;
    uint64_t events;     /* of the world */
    uint64_t steps;      /* of the bridge */
    uint64_t operations; /* of the disk */
    uint64_t violations;
    struct sim_check_figures check;
    struct sim_device_figures sum; /* of all devices */
    struct bridge_status status;   /* at the end; zeroed when the bridge does not run */
};

/* The scenario must outlive the run. */
struct sim_run *sim_run_open(const struct sim_run_options *o);
void sim_run_close(struct sim_run *r);

/* For more listeners; before sim_run_go(). */
struct sim_trace *sim_run_trace(struct sim_run *r);

void sim_run_go(struct sim_run *r, struct sim_result *out);

/* Of the violations, the text of one; NULL when there are no more with a text. */
const char *sim_run_violation(const struct sim_run *r, size_t i);

#endif
