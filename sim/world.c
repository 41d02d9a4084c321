#include "sim/world.h"

#include <assert.h>
#include <stdlib.h>

#define FIRST 1 /* the heap's root; a place of 0 means idle */

/* An event that nobody owns: taken from the spare ones, and back there before it happens. */
struct once {
    struct sim_timer timer;
    struct once *next;
};

struct sim_world {
    uint64_t now_us;
    uint64_t order; /* of the last event that was arranged */
    uint64_t events;
    struct sim_timer **heap; /* from FIRST; the earliest event is at the root */
    uint32_t count;
    uint32_t room;
    struct once *spare;
};

void *sim_memory(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL)
        abort();
    return memory;
}

void *sim_more_memory(void *memory, size_t size)
{
    memory = realloc(memory, size);
    if (memory == NULL)
        abort();
    return memory;
}

struct sim_world *sim_world_open(void)
{
    return sim_memory(sizeof(struct sim_world));
}

void sim_world_stop(struct sim_world *w)
{
    for (uint32_t at = FIRST; at < FIRST + w->count; at++) {
        struct sim_timer *t = w->heap[at];
        t->at = 0;
        if (t->is_once)
            free(t);
    }
    w->count = 0;
}

void sim_world_close(struct sim_world *w)
{
    sim_world_stop(w);
    while (w->spare != NULL) {
        struct once *o = w->spare;
        w->spare = o->next;
        free(o);
    }
    free(w->heap);
    free(w);
}

uint64_t sim_now(const struct sim_world *w)
{
    return w->now_us;
}

uint64_t sim_world_events(const struct sim_world *w)
{
    return w->events;
}

/* ---- the heap -------------------------------------------------------------- */

static bool is_earlier(const struct sim_timer *a, const struct sim_timer *b)
{
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->order < b->order;
}

static void put(struct sim_world *w, uint32_t at, struct sim_timer *t)
{
    w->heap[at] = t;
    t->at = at;
}

static void rise(struct sim_world *w, struct sim_timer *t)
{
    uint32_t at = t->at;
    for (; at > FIRST && is_earlier(t, w->heap[at / 2]); at /= 2)
        put(w, at, w->heap[at / 2]);
    put(w, at, t);
}

static void sink(struct sim_world *w, struct sim_timer *t)
{
    uint32_t at = t->at;
    for (;;) {
        uint32_t child = 2 * at;
        if (child > w->count)
            break;
        if (child < w->count && is_earlier(w->heap[child + 1], w->heap[child]))
            child++;
        if (!is_earlier(w->heap[child], t))
            break;
        put(w, at, w->heap[child]);
        at = child;
    }
    put(w, at, t);
}

static void take_out(struct sim_world *w, struct sim_timer *t)
{
    const uint32_t at = t->at;
    struct sim_timer *last = w->heap[w->count--];
    t->at = 0;
    if (last == t)
        return;
    put(w, at, last);
    rise(w, last);
    sink(w, last);
}

static void put_in(struct sim_world *w, struct sim_timer *t, uint64_t due_us)
{
    if (w->count + FIRST + 1 > w->room) {
        w->room = w->room == 0 ? 64 : 2 * w->room;
        w->heap = sim_more_memory(w->heap, w->room * sizeof *w->heap);
    }
    t->due_us = due_us < w->now_us ? w->now_us : due_us;
    t->order = ++w->order;
    w->count++;
    put(w, w->count, t);
    rise(w, t);
}

/* ---- arranging --------------------------------------------------------------- */

void sim_at(struct sim_world *w, uint64_t due_us, sim_event_fn *fn, void *ctx, uint64_t arg)
{
    if (due_us == SIM_NEVER)
        return;
    struct once *o = w->spare;
    if (o != NULL)
        w->spare = o->next;
    else
        o = sim_memory(sizeof *o);
    o->timer = (struct sim_timer){.fn = fn, .ctx = ctx, .arg = arg, .is_once = true};
    put_in(w, &o->timer, due_us);
}

void sim_timer_set(struct sim_world *w, struct sim_timer *t, uint64_t due_us)
{
    assert(t->fn != NULL && !t->is_once);
    sim_timer_stop(w, t);
    if (due_us != SIM_NEVER)
        put_in(w, t, due_us);
}

void sim_timer_stop(struct sim_world *w, struct sim_timer *t)
{
    if (t->at != 0)
        take_out(w, t);
}

/* ---- running ------------------------------------------------------------------ */

uint64_t sim_world_next(const struct sim_world *w)
{
    return w->count == 0 ? SIM_NEVER : w->heap[FIRST]->due_us;
}

/* What happens may arrange, move and take back anything, so the event leaves the heap first. */
static void happen(struct sim_world *w, struct sim_timer *t)
{
    sim_event_fn *fn = t->fn;
    void *ctx = t->ctx;
    const uint64_t arg = t->arg;
    w->now_us = t->due_us;
    w->events++;
    take_out(w, t);
    if (t->is_once) {
        struct once *o = (struct once *)(void *)t;
        o->next = w->spare;
        w->spare = o;
    }
    fn(ctx, arg);
}

void sim_world_run_until(struct sim_world *w, uint64_t end_us)
{
    while (w->count > 0 && w->heap[FIRST]->due_us <= end_us)
        happen(w, w->heap[FIRST]);
    if (w->now_us < end_us)
        w->now_us = end_us;
}
