/* The charts of a report, as scripts for gnuplot.
 *
 * Each function writes one whole script, data included; what gnuplot answers is
 * one SVG picture. Text and axes are black and grid lines gray, which the page
 * replaces by its own colours; the others are seen well on light and on dark.
 * Names from scenarios are quoted so that none can be a command.
 */
#ifndef SIM_PLOT_H
#define SIM_PLOT_H

#include "sim/measure.h"

#include <stdio.h>

#define SIM_PLOT_LINKS_MAX 8 /* the first ones are shown */

/* Links over time, one strip each, over what waits. */
void sim_plot_timeline(const struct sim_measure *m, FILE *script);

/* For each direction and QoS: how much was delivered within which time. */
void sim_plot_delays(const struct sim_measure *m, FILE *script);

/* For each link and direction: what its air was used for. */
void sim_plot_air(const struct sim_measure *m, FILE *script);

/* How many messages went out once, twice, ... */
void sim_plot_copies(const struct sim_measure *m, FILE *script);

/* The first frames of the first device, as they cross. */
void sim_plot_ladder(const struct sim_measure *m, FILE *script);

#endif
