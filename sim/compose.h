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

/* As the text of a file. */
void sim_compose(uint64_t seed, FILE *out);

/* The same as sim_scenario_read() wants it, its parameters replaced; given back with
 * free(). */
char *sim_compose_text(uint64_t seed);

#endif
