/* Scenarios made up by chance: links, devices, limits and faults in any
 * combination, so that a soak meets what nobody thought of.
 *
 * The same seed gives the same scenario on every machine. It is an ordinary one,
 * which can be written to a file, read, cut down and run by itself.
 */
#ifndef SIM_COMPOSE_H
#define SIM_COMPOSE_H

#include <stdint.h>
#include <stdio.h>

void sim_compose(uint64_t seed, FILE *out);

#endif
