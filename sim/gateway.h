/* A gateway: the daemon's own core, driven in virtual time.
 *
 * What bridge/loop.c is for the daemon this is for the simulation: it feeds
 * bridge_step() with frames, time and what the disk and the broker report, and
 * carries out what the core says against a model of each. All that happens at
 * one moment is one turn of the loop.
 *
 * The wall clock begins at a fixed date (SIM_START_MS) and may be stepped. The
 * bridge's own time goes on as bridge/timeline.h says, from a mark that was written
 * at its start, at its end, and when the clock was stepped while it ran. As if the
 * machine were started anew each time: the clocks at both ends are all that is known.
 */
#ifndef SIM_GATEWAY_H
#define SIM_GATEWAY_H

#include "sim/broker.h"
#include "sim/channel.h"
#include "sim/disk.h"

#define SIM_START_MS UINT64_C(1767225600000) /* 2026-01-01 00:00:00 UTC */

struct sim_gateway;

/* Stands between the core and its driver, to try what a broken one would do.
 * Either answers false when that event or action shall not get through. An
 * action may be changed on its way. */
struct sim_filter {
    bool (*event)(struct sim_filter *f, struct sim_gateway *g, const struct bridge_event *event);
    bool (*action)(struct sim_filter *f, struct sim_gateway *g, struct bridge_action *action);
};

struct sim_gateway_options {
    const struct bridge_config *config; /* its seed is replaced */
    struct sim_disk_options disk;
    struct sim_broker_options broker;
    size_t memory;             /* octets beyond the least that the bridge needs; 0: what is usual */
    uint32_t check_every;      /* steps between two bridge_check(); 0: none */
    struct sim_filter *filter; /* NULL: none */
};

/* Everything must outlive the gateway. It is off. */
struct sim_gateway *sim_gateway_open(struct sim_world *w, struct sim_trace *trace, uint64_t seed,
                                     const struct sim_gateway_options *options);
void sim_gateway_close(struct sim_gateway *g);

/* The channel of link number `link`, in the order of the configuration. */
void sim_gateway_set_link(struct sim_gateway *g, uint16_t link, struct sim_channel *c);

/* The device that the channel calls peer; name is borrowed for ever. */
void sim_gateway_name_peer(struct sim_gateway *g, uint16_t link, uint32_t peer, const char *name);

/* A frame has come out of a channel. */
void sim_gateway_frame(struct sim_gateway *g, uint16_t link, uint32_t peer, const uint8_t *frame,
                       size_t len);

/* Starts with what the disk holds; fine when it runs already. */
void sim_gateway_start(struct sim_gateway *g);

/* kill -9, or the power is cut: now, or when the disk is handed its operation of
 * that number. down_us later it starts again; SIM_NEVER: it does not. */
void sim_gateway_kill(struct sim_gateway *g, uint64_t down_us);
void sim_gateway_kill_at(struct sim_gateway *g, uint64_t operation, uint64_t down_us);

/* A clean stop: SIGTERM, and up to a second for what is undecided. */
void sim_gateway_stop(struct sim_gateway *g, uint64_t down_us);

/* The wall clock is set forward or back. */
void sim_gateway_step_clock(struct sim_gateway *g, int64_t ms);

/* Feeds an event as if it had happened; for filters. */
void sim_gateway_feed(struct sim_gateway *g, const struct bridge_event *event);
/* Carries an action out as if the core had said it; for filters. */
void sim_gateway_do(struct sim_gateway *g, const struct bridge_action *action);

struct bridge *sim_gateway_bridge(const struct sim_gateway *g); /* NULL: it does not run */
struct sim_disk *sim_gateway_disk(const struct sim_gateway *g);
struct sim_broker *sim_gateway_broker(const struct sim_gateway *g);
uint64_t sim_gateway_steps(const struct sim_gateway *g);

#endif
