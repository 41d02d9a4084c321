/* The bridge's own time, which goes on over restarts whatever the wall clock does.
 *
 * Ages and deadlines are kept on the disk, and a wall clock cannot be trusted with
 * them: a board without one begins in 1970 until NTP comes, a clock may be set back,
 * or be wrong by years. So the bridge has a time of its own, in milliseconds since
 * 1970 like the wall clock's at its very first start. While it runs, the monotonic
 * clock moves it. At the next start it goes on from a mark on the disk, by the time
 * that has really passed as far as that can be told:
 *
 *   the machine has run on     by its own clock since it was started
 *   both wall clocks were set  by the difference, unless it is negative or more
 *                              than TIMELINE_GAP_MAX_MS
 *   else                       not at all: nothing expires because of a jump
 *
 * What the wall clock says is only for people: timeline_is_set() says whether it
 * can be shown to them. */
#ifndef BRIDGE_TIMELINE_H
#define BRIDGE_TIMELINE_H

#include <stdbool.h>
#include <stdint.h>

#define TIMELINE_SET_MS     UINT64_C(1735689600000) /* 2025-01-01: the clock is set from here on */
#define TIMELINE_GAP_MAX_MS UINT64_C(31622400000)   /* 366 days: no bridge is off for longer */

/* One moment by all clocks. */
struct timeline_mark {
    uint64_t own_ms; /* 0: there is no mark */
    uint64_t wall_ms;
    uint64_t boot_ms; /* since the machine was started, with the time it slept */
    uint64_t boot;    /* a name for this start of the machine; 0: not known */
};

bool timeline_is_set(uint64_t wall_ms);

/* The bridge's own time at now, whose own_ms is not looked at. */
uint64_t timeline_resume(const struct timeline_mark *last, const struct timeline_mark *now);

#endif
