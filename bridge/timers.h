/* Deadlines of many things, the earliest first: a binary heap of pointers.
 *
 * Each thing has one struct timer inside. Moving a deadline later is free: the
 * heap keeps the old place and timers_due() finds out when that comes up.
 */
#ifndef BRIDGE_TIMERS_H
#define BRIDGE_TIMERS_H

#include <stddef.h>
#include <stdint.h>

#define TIMER_NEVER UINT64_MAX

struct timer {
    uint64_t due_ms;  /* what the owner wants; TIMER_NEVER: nothing */
    uint64_t heap_ms; /* where the heap has it; never later than due_ms while in the heap */
    uint32_t at;      /* place in the heap, from 1; 0: not in the heap */
    uint8_t kind;     /* the owner's: what the timer is a part of */
};

struct timers {
    struct timer **heap; /* from 1 */
    uint32_t count;
    uint32_t size;
};

size_t timers_size(uint32_t count);
void timers_init(struct timers *t, void *memory, uint32_t count);

/* Sets, moves or (TIMER_NEVER) stops a deadline. */
void timers_set(struct timers *t, struct timer *timer, uint64_t due_ms);

/* Takes the timer out of the heap; its owner is going away. */
void timers_remove(struct timers *t, struct timer *timer);

/* One timer that is due at now_ms, stopped by this call; NULL when none is. */
struct timer *timers_due(struct timers *t, uint64_t now_ms);

/* Asserts that the heap is in order and every timer knows its place. */
void timers_check(const struct timers *t);

/* No deadline comes before this. */
uint64_t timers_next(const struct timers *t);

#endif
