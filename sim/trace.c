#include "sim/trace.h"

#include "sim/world.h"

#include <stdlib.h>

struct listener {
    sim_listener_fn *fn;
    void *ctx;
};

struct sim_trace {
    struct listener *listeners;
    size_t count;
    uint64_t frames;
};

struct sim_trace *sim_trace_open(void)
{
    return sim_memory(sizeof(struct sim_trace));
}

void sim_trace_close(struct sim_trace *t)
{
    free(t->listeners);
    free(t);
}

void sim_trace_listen(struct sim_trace *t, sim_listener_fn *fn, void *ctx)
{
    t->listeners = sim_more_memory(t->listeners, (t->count + 1) * sizeof *t->listeners);
    t->listeners[t->count++] = (struct listener){.fn = fn, .ctx = ctx};
}

void sim_trace_say(struct sim_trace *t, const struct sim_record *record)
{
    for (size_t i = 0; i < t->count; i++)
        t->listeners[i].fn(t->listeners[i].ctx, record);
}

uint64_t sim_trace_next_frame(struct sim_trace *t)
{
    return ++t->frames;
}
