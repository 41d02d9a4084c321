/* When a satellite can be seen from a station.
 *
 * The orbit is a circle; the earth turns below it, and its flattening turns the plane of the
 * orbit and changes the time of circulation (the secular terms of J2). The station stands on
 * the ellipsoid of WGS 84. SGP4, given such an orbit, finds the same contacts over three days to
 * within 2 s. That says how often and how long a satellite can be seen; where a real one, which
 * meets air and the moon, is next week it does not say.
 *
 * Constants are worked out once, by the basic operations of floating point, which IEEE 754
 * fixes to the last bit; what follows is integers, so that every machine finds the
 * same contacts.
 */
#ifndef SIM_ORBIT_H
#define SIM_ORBIT_H

#include "sim/profile.h"

struct sim_orbit {
    /* Angles are parts of a turn in 2^-64, and turn over by themselves. */
    uint64_t phase;        /* from the ascending node, at the start */
    uint64_t phase_per_ms; /* added in each millisecond */
    uint64_t node;         /* longitude of the ascending node, on the turning earth */
    uint64_t node_per_ms;
    int64_t radius_m;
    int32_t sin_inclination; /* in 2^-30, as all that follow */
    int32_t cos_inclination;
    int64_t station_m[3]; /* from the earth's centre; x to longitude 0, z to the north pole */
    int32_t up[3];        /* the station's vertical */
    int32_t sin_elevation;
};

/* From the orbit_ and station_ keys of a profile, with an altitude above 0. */
void sim_orbit_init(struct sim_orbit *o, const struct sim_profile *p);

/* The sine of its elevation above the station's horizon at a time, in 2^-30. */
int32_t sim_orbit_height(const struct sim_orbit *o, uint64_t ms);

/* Whether it is above the station's least elevation. */
bool sim_orbit_is_visible(const struct sim_orbit *o, uint64_t ms);

/* The first contact that ends after now_us, in whole milliseconds; both SIM_NEVER when there
 * is none within 30 days. One that has begun begins now; those of less than 10 s may
 * be left out. */
struct sim_span sim_orbit_next(const struct sim_orbit *o, uint64_t now_us);

/* The sine of a part of a turn in 2^-64, in 2^-30; exact to 2^-28. */
int32_t sim_sine(uint64_t angle);

#endif
