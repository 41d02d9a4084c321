/* What a run was like, in figures: for the summary, the report and the sweep.
 *
 * A listener of the trace. Its size depends on the number of links and devices,
 * not on how long the run is or how many messages it carries: durations go into
 * histograms (histogram.h says how exact percentiles are), the course of things
 * into SIM_SLICES slices of time, whose width doubles as the run goes on, and
 * lists keep their first entries and count the others.
 *
 * A message is known by its topic and payload. So scenarios with measured delays
 * give each message a payload of its own (the devices of device.h do); of two
 * equal ones the second counts as a copy. When more than SIM_RECENT_MAX messages
 * have been published since, a delivery can no longer be matched; it counts as
 * unmatched and has no delay.
 *
 * Times are microseconds from the start of the run, delays too.
 */
#ifndef SIM_MEASURE_H
#define SIM_MEASURE_H

#include "sim/histogram.h"
#include "sim/names.h"
#include "sim/recent.h"
#include "sim/trace.h"

#define SIM_SLICES       480
#define SIM_WIDTH_MIN_US UINT64_C(250000) /* of a slice, at the start of a run */
#define SIM_COPIES_MAX   16
#define SIM_LADDER_MAX   24
#define SIM_EVENTS_MAX   60
#define SIM_LOSSES_MAX   16 /* reasons */
#define SIM_WORD_MAX     24

/* What the air is used for. */
enum sim_air {
    SIM_AIR_PAYLOAD,   /* what applications sent */
    SIM_AIR_HEADER,    /* the rest of a PUBLISH */
    SIM_AIR_ACK,       /* PUBACK, PUBREC, PUBREL, PUBCOMP */
    SIM_AIR_SESSION,   /* CONNECT, REGISTER, SUBSCRIBE, wills, sleep, discovery; answers, too */
    SIM_AIR_KEEPALIVE, /* PINGREQ, PINGRESP */
    SIM_AIR_REPEAT,    /* whole messages sent again: DUP, or the same request before any answer */
    SIM_AIR_FRAMING,   /* what the link adds to each frame */
    SIM_AIR_COUNT,
};
const char *sim_air_name(enum sim_air kind);

/* Messages of one direction and QoS. */
struct sim_flow {
    uint64_t published;         /* by an application, or by the broker */
    uint64_t accepted;          /* acknowledged to the device; QoS 0: sent */
    uint64_t given_up;          /* not acknowledged, and no longer tried */
    uint64_t delivered;         /* to the broker, or to the application of a device; first copies */
    uint64_t again;             /* further copies */
    uint64_t unmatched;         /* copies, first or further */
    struct sim_histogram delay; /* from published to delivered */
    struct sim_histogram accept_delay; /* from published to accepted */
};

struct sim_link_slice {
    uint64_t down_us;
    uint64_t busy_us; /* a frame was on the air */
    uint32_t lost;    /* frames */
};

struct sim_link_figures {
    uint64_t air_bits[2][SIM_AIR_COUNT]; /* by direction */
    uint64_t busy_us[2];
    uint64_t frames[2]; /* that were on the air */
    uint64_t arrived[2];
    uint64_t down_us;
    uint64_t cost; /* hundredths of a unit */
    char unit[SIM_WORD_MAX];
    struct sim_link_slice slice[SIM_SLICES];
    bool is_down; /* inside: since */
    uint64_t since_us;
};

/* The most that waited at any time within a slice. */
struct sim_depth {
    uint64_t devices;    /* QoS 1 and 2: published, neither accepted nor given up */
    uint64_t to_broker;  /* stored in the bridge */
    uint64_t to_devices; /* stored in the bridge */
    uint64_t delivered;  /* within the slice, in both directions */
};

struct sim_loss {
    char why[SIM_WORD_MAX];
    uint64_t frames[2];
};

struct sim_rung {
    uint64_t frame;
    uint64_t sent_us;
    uint64_t end_us; /* 0: still on its way */
    enum sim_direction direction;
    char lost[SIM_WORD_MAX]; /* why; empty: it was not */
    char text[64];           /* as sn_print() writes it, cut */
};

struct sim_happening {
    uint64_t at_us;
    char text[72];
};

struct sim_tally;

struct sim_measure {
    uint64_t end_us;                        /* of what was heard, or as told by sim_measure_end() */
    struct sim_flow flow[2][3];             /* by direction and QoS; -1 counts as 0 */
    uint64_t copies[2][SIM_COPIES_MAX + 1]; /* QoS 1 and 2: how many messages went out so often */
    struct sim_names links;
    struct sim_link_figures **link; /* by number */
    struct sim_names devices;
    struct sim_loss loss[SIM_LOSSES_MAX];
    uint32_t losses;
    uint64_t width_us; /* of a slice */
    uint32_t slices;   /* in use */
    struct sim_depth depth[SIM_SLICES];
    struct sim_rung ladder[SIM_LADDER_MAX]; /* of the first device that is heard of */
    uint32_t rungs;
    struct sim_happening happening[SIM_EVENTS_MAX]; /* faults, outages, restarts */
    uint64_t happenings; /* including those for which there was no room */
    uint64_t records;

    struct sim_tally *tally; /* what is needed meanwhile: measure.c */
};

struct sim_measure *sim_measure_open(void);
void sim_measure_close(struct sim_measure *m);

/* A sim_listener_fn: ctx is the struct sim_measure. */
void sim_measure_hear(void *ctx, const struct sim_record *record);

/* The run is over, at this time: what lasts is counted up to here. Once, before
 * anything is read. */
void sim_measure_end(struct sim_measure *m, uint64_t at_us);

/* ---- sums ----------------------------------------------------------------- */

/* All QoS of a direction in one; given back with free(). */
struct sim_flow *sim_measure_flow(const struct sim_measure *m, enum sim_direction direction);

/* How often a message of this direction went out, on the mean, in hundredths. */
uint64_t sim_measure_copies(const struct sim_measure *m, enum sim_direction direction);

uint64_t sim_measure_air_bits(const struct sim_measure *m, enum sim_air kind);

#endif
