/* Names as small numbers: 0, 1, 2, ... in the order of first sight.
 *
 * For listeners of the trace, which hear of links and devices by name and keep
 * something for each. The names are borrowed for ever, as in trace.h.
 */
#ifndef SIM_NAMES_H
#define SIM_NAMES_H

#include <stdint.h>

struct sim_names {
    const char **name; /* by number */
    uint32_t count;
    uint32_t *slot; /* open addressing: number + 1, 0 is free */
    uint32_t slots; /* a power of two, more than twice count; 0 before the first name */
};

/* The number of a name, a new one if need be. Zeroed names are empty. */
uint32_t sim_names_number(struct sim_names *n, const char *name);

/* The same, but a name that was never seen has no number and gets none. */
#define SIM_NAMES_NONE UINT32_MAX
uint32_t sim_names_find(const struct sim_names *n, const char *name);

void sim_names_close(struct sim_names *n);

#endif
