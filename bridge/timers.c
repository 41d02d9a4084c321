#include "bridge/timers.h"

#include <assert.h>
#include <string.h>

size_t timers_size(uint32_t count)
{
    return ((size_t)count + 1) * sizeof(struct timer *);
}

void timers_init(struct timers *t, void *memory, uint32_t count)
{
    *t = (struct timers){.heap = memory, .size = count};
}

static void place(struct timers *t, uint32_t at, struct timer *timer)
{
    t->heap[at] = timer;
    timer->at = at;
}

static void sift_up(struct timers *t, uint32_t at)
{
    struct timer *timer = t->heap[at];
    while (at > 1 && t->heap[at / 2]->heap_ms > timer->heap_ms) {
        place(t, at, t->heap[at / 2]);
        at /= 2;
    }
    place(t, at, timer);
}

static void sift_down(struct timers *t, uint32_t at)
{
    struct timer *timer = t->heap[at];
    for (;;) {
        uint32_t child = 2 * at;
        if (child > t->count)
            break;
        if (child < t->count && t->heap[child + 1]->heap_ms < t->heap[child]->heap_ms)
            child++;
        if (t->heap[child]->heap_ms >= timer->heap_ms)
            break;
        place(t, at, t->heap[child]);
        at = child;
    }
    place(t, at, timer);
}

void timers_remove(struct timers *t, struct timer *timer)
{
    const uint32_t at = timer->at;
    if (at == 0)
        return;
    timer->at = 0;
    struct timer *last = t->heap[t->count--];
    if (last == timer)
        return;
    place(t, at, last);
    sift_up(t, at);
    sift_down(t, last->at);
}

void timers_set(struct timers *t, struct timer *timer, uint64_t due_ms)
{
    timer->due_ms = due_ms;
    if (due_ms == TIMER_NEVER) {
        timers_remove(t, timer);
        return;
    }
    if (timer->at == 0) {
        assert(t->count < t->size);
        timer->heap_ms = due_ms;
        place(t, ++t->count, timer);
        sift_up(t, t->count);
    } else if (due_ms < timer->heap_ms) {
        timer->heap_ms = due_ms;
        sift_up(t, timer->at);
    }
}

struct timer *timers_due(struct timers *t, uint64_t now_ms)
{
    while (t->count > 0 && t->heap[1]->heap_ms <= now_ms) {
        struct timer *timer = t->heap[1];
        if (timer->due_ms <= now_ms) {
            timers_remove(t, timer);
            timer->due_ms = TIMER_NEVER;
            return timer;
        }
        timer->heap_ms = timer->due_ms;
        sift_down(t, 1);
    }
    return NULL;
}

uint64_t timers_next(const struct timers *t)
{
    return t->count > 0 ? t->heap[1]->heap_ms : TIMER_NEVER;
}

void timers_check(const struct timers *t)
{
    for (uint32_t i = 1; i <= t->count; i++) {
        assert(t->heap[i]->at == i && t->heap[i]->heap_ms <= t->heap[i]->due_ms);
        assert(i == 1 || t->heap[i / 2]->heap_ms <= t->heap[i]->heap_ms);
    }
}
