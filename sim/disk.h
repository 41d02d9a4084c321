/* A model of the disk, under the contract of bridge/store.h.
 *
 * It takes the store actions of a bridge, in turns that sim_disk_flush() ends,
 * and answers with STORED, STORE_FAILED and FETCHED after the time that commits
 * take. Turns that wait while a commit runs become one batch. Lazy operations
 * wait as the contract says.
 *
 * When the bridge dies, what the contract allows is decided by chance: the disk
 * then holds the effect of some whole number of turns, at least of all that was
 * reported. Nobody can tell torn, lost and reordered writes apart behind a
 * journal: they end in one of these states, and each of them is tried.
 */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "sim/image.h"
#include "sim/random.h"
#include "sim/trace.h"
#include "sim/world.h"

struct sim_disk_options {
    uint64_t commit_min_us; /* how long a commit takes */
    uint64_t commit_max_us;
    uint64_t lazy_us; /* how long a lazy operation may wait */
    uint64_t room;    /* for so many messages; beyond it the disk is full. 0: no limit */
};

enum sim_disk_state {
    SIM_DISK_WORKS,
    SIM_DISK_FULL,   /* messages are refused, anything else fits into the reserve */
    SIM_DISK_PATCHY, /* those of some turns are, by chance, and those of others are written */
    SIM_DISK_FAILS,  /* nothing can be written */
};

struct sim_disk;

/* An event for the bridge; what it points to is borrowed for the call. */
typedef void sim_disk_event_fn(void *ctx, const struct bridge_event *event);

/* Everything must outlive the disk. */
struct sim_disk *sim_disk_open(struct sim_world *w, struct sim_trace *trace, uint64_t seed,
                               const struct sim_disk_options *options, sim_disk_event_fn *fn,
                               void *ctx);
void sim_disk_close(struct sim_disk *d);

void sim_disk_put(struct sim_disk *d, const struct bridge_action *action);
void sim_disk_flush(struct sim_disk *d);

/* A message of QoS 2 from the broker has been taken: its number is kept with what
 * was stored in this turn (store.h, flights), and left out when that is refused.
 * Of the last SIM_DISK_FLIGHTS it can be told whether they are durable. */
#define SIM_DISK_FLIGHTS 4096
void sim_disk_put_flight(struct sim_disk *d, uint64_t number);
bool sim_disk_has_flight(const struct sim_disk *d, uint64_t number);

void sim_disk_set(struct sim_disk *d, enum sim_disk_state state);
void sim_disk_slow(struct sim_disk *d, uint64_t extra_us); /* 0: as usual again */

/* Operations handed over since the beginning, FETCH not counted. */
uint64_t sim_disk_operations(const struct sim_disk *d);

/* The bridge is gone. What was handed over and not reported is there or not, by
 * chance and in whole turns. whole: all of it is there, as after a clean stop. */
void sim_disk_cut(struct sim_disk *d, bool whole);

/* For a new bridge: everything in the order of store_replay(). Returns the first
 * unused ticket. */
uint64_t sim_disk_replay(struct sim_disk *d, sim_replay_fn *fn, void *ctx);

bool sim_disk_is_idle(const struct sim_disk *d); /* everything is durable */
const struct sim_image *sim_disk_image(const struct sim_disk *d);

#endif
