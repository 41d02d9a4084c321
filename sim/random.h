/* Chance that can be repeated: one seed, a stream of its own for every part.
 *
 * Each part of a simulation draws from a stream that follows from the seed and
 * the part's name, so that one more device, or one more draw in a channel, does
 * not disturb what happens elsewhere. Integers only: the same on every machine.
 */
#ifndef SIM_RANDOM_H
#define SIM_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct sim_random {
    uint64_t state[4];
};

/* Chances are in parts per thousand million, so that bit errors fit. */
#define SIM_ALWAYS 1000000000u

void sim_random_init(struct sim_random *r, uint64_t seed, const char *name);

uint64_t sim_random_next(struct sim_random *r);
uint64_t sim_random_below(struct sim_random *r, uint64_t below); /* below > 0 */
/* From low to high, both included. */
uint64_t sim_random_between(struct sim_random *r, uint64_t low, uint64_t high);
bool sim_random_chance(struct sim_random *r, uint32_t ppb);

/* A waiting time with this mean, at least 1: exponentially distributed, cut at
 * 20 times the mean. */
uint64_t sim_random_wait(struct sim_random *r, uint64_t mean);

#endif
