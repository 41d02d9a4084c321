/* A run as one page of HTML for people: what was asked, what came of it, charts.
 *
 * The page needs nothing else: styles and pictures stand in it. It begins with
 * sentences for somebody who has never seen the tool, and ends with the scenario
 * and the command that repeats the run. The pictures are drawn by a function of
 * the caller's (chart_gnuplot.h), since to run a program is not for the core.
 */
#ifndef SIM_REPORT_H
#define SIM_REPORT_H

#include "sim/measure.h"

#include <stdio.h>

/* Writes the picture of a script to out; 0 or -errno. */
typedef int sim_chart_fn(const char *script, size_t len, FILE *out);

/* Texts are borrowed; any of the pointers may be NULL, then that part is left out. */
struct sim_report {
    const char *title;
    const char *about;   /* what the scenario says it shows */
    const char *command; /* that repeats the run */
    const char *scenario;
    const char *verdict; /* of the checker, a sentence; NULL: it found no fault */
    uint64_t seed;
    const struct sim_measure *measure;  /* ended; never NULL */
    const struct bridge_status *status; /* of the bridge at the end */
};

/* 0, or what the chart function answered; the page is then not whole. Whether
 * out could be written is up to the caller to ask. */
int sim_report_write(const struct sim_report *r, sim_chart_fn *chart, FILE *out);

/* The first sentences of the page as plain text, one to a line. */
void sim_report_summary(const struct sim_report *r, FILE *out);

#endif
