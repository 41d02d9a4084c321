/* Parameters of a scenario: figures that the command line may change.
 *
 * A scenario names one with its default, each in a line of its own,
 *
 *     set sensors 40
 *     fleet s $sensors on radio publishes plant/{n} qos 1 every 1m
 *
 * and from there on $sensors stands for its value, up to the end of the file;
 * ${sensors}x is the same before letters, $$ is one dollar sign. A value is the
 * rest of the line, so it may be several words, or none. Comments are left as
 * they are. The command line's --set sensors=60 wins over the default.
 */
#ifndef SIM_PARAMETERS_H
#define SIM_PARAMETERS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define SIM_PARAMETERS_MAX      16
#define SIM_PARAMETER_NAME_MAX  31
#define SIM_PARAMETER_VALUE_MAX 127

struct sim_parameter {
    char name[SIM_PARAMETER_NAME_MAX + 1];
    char value[SIM_PARAMETER_VALUE_MAX + 1];
};

/* Zeroed it is empty. A plain value: it may be copied. */
struct sim_parameters {
    struct sim_parameter list[SIM_PARAMETERS_MAX];
    uint32_t count;
};

/* Adds, or replaces, what "NAME=VALUE" says; false after a line to errors. */
bool sim_parameters_set(struct sim_parameters *p, const char *assignment, FILE *errors);

/* The scenario's text with every parameter replaced by its value, line by line as
 * before, so that messages about it name the right line; given back with free().
 * NULL after lines "NAME:LINE: ..." to errors: an unknown parameter, or one in p
 * that the scenario does not have. */
char *sim_parameters_apply(const struct sim_parameters *p, const char *name, const char *text,
                           FILE *errors);

#endif
