/* A sweep: one scenario for every combination of values, one line of CSV for each.
 *
 * The first columns are the parameters (parameters.h) in the order of the
 * command line, the last one varying fastest; then come the seed and the figures
 * of the run (measure.h), named with their unit. Percentiles are those of
 * histogram.h.
 */
#ifndef SIM_SWEEP_H
#define SIM_SWEEP_H

#include "sim/measure.h"
#include "sim/parameters.h"

#define SIM_SWEEP_AXES   4
#define SIM_SWEEP_VALUES 64

struct sim_sweep_axis {
    char name[SIM_PARAMETER_NAME_MAX + 1];
    char value[SIM_SWEEP_VALUES][SIM_PARAMETER_VALUE_MAX + 1];
    uint32_t count;
};

/* Zeroed it has no axis, and one combination. */
struct sim_sweep {
    struct sim_sweep_axis axis[SIM_SWEEP_AXES];
    uint32_t count;
};

/* Adds the axis "NAME=VALUE,VALUE,..."; false after a line to errors. */
bool sim_sweep_add(struct sim_sweep *s, const char *axis, FILE *errors);

uint32_t sim_sweep_runs(const struct sim_sweep *s);

/* Sets what run number `run` has for values, from 0. */
void sim_sweep_choose(const struct sim_sweep *s, uint32_t run, struct sim_parameters *p);

void sim_sweep_write_head(const struct sim_sweep *s, FILE *csv);

/* faults: how many the checker found. */
void sim_sweep_write_row(const struct sim_sweep *s, uint32_t run, uint64_t seed,
                         const struct sim_measure *m, uint64_t faults, FILE *csv);

#endif
