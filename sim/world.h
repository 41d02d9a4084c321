/* The world: one clock, one list of what will happen.
 *
 * Time is virtual, in microseconds, and moves only from one event to the next.
 * Events at the same time happen in the order in which they were arranged. No
 * wall time, no threads, no chance: the same calls give the same run.
 *
 * The same world can be driven in real time: sim_world_next() says when the
 * next event is due, sim_world_run_until() makes everything up to a time
 * happen.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_NEVER UINT64_MAX
#define SIM_MS    UINT64_C(1000)
#define SIM_S     UINT64_C(1000000)

struct sim_world;

typedef void sim_event_fn(void *ctx, uint64_t arg);

/* An event that can be moved or taken back; lives in its owner and must stay
 * where it is while arranged. Zeroed, it is idle. */
struct sim_timer {
    sim_event_fn *fn;
    void *ctx;
    uint64_t arg;
    uint64_t due_us;
    uint64_t order;
    uint32_t at;  /* place in the heap, 0: idle */
    bool is_once; /* sim_at()'s own */
};

/* Zeroed memory, given back with free(). A simulation has no use for a run that
 * goes on without memory: where there is none the program ends. */
void *sim_memory(size_t size);
void *sim_more_memory(void *memory, size_t size); /* realloc(); what is new is not zeroed */

struct sim_world *sim_world_open(void);

/* Nothing that is arranged will happen: timers become idle. Who owns some that may still
 * be set calls it before giving them back. */
void sim_world_stop(struct sim_world *w);
void sim_world_close(struct sim_world *w); /* stops it, too */

uint64_t sim_now(const struct sim_world *w);

/* Once at due_us, which is not in the past (a past time counts as now, SIM_NEVER
 * does not happen). */
void sim_at(struct sim_world *w, uint64_t due_us, sim_event_fn *fn, void *ctx, uint64_t arg);

/* Arranges, or moves, the owner's timer; fn, ctx and arg are set by the owner.
 * SIM_NEVER stops it. When it happens it is idle again, and may be set anew. */
void sim_timer_set(struct sim_world *w, struct sim_timer *t, uint64_t due_us);
void sim_timer_stop(struct sim_world *w, struct sim_timer *t);

/* When the next event is due; SIM_NEVER when nothing is arranged. */
uint64_t sim_world_next(const struct sim_world *w);

/* Makes everything due up to end_us happen, then sets the clock to end_us. */
void sim_world_run_until(struct sim_world *w, uint64_t end_us);

/* How many events have happened. */
uint64_t sim_world_events(const struct sim_world *w);

#endif
