/* Charts by gnuplot, an outside program that is run when a report is written. */
#ifndef SIM_CHART_GNUPLOT_H
#define SIM_CHART_GNUPLOT_H

#include <stddef.h>
#include <stdio.h>

/* Runs gnuplot over a script and writes what it prints to out. 0, or -errno:
 * -ENOENT when gnuplot is not installed, -EIO when it fails; it has then said why
 * on stderr. */
int sim_chart(const char *script, size_t len, FILE *out);

#endif
