/* What the commands of snsim share: each is a function of its own file,
 * main_NAME.c, and a line in main.c's table. */
#ifndef SIM_MAIN_H
#define SIM_MAIN_H

#include <stdint.h>

#define SIM_EXIT_USAGE 2 /* wrong usage, or a file that says something wrong */

/* argv[0] is the command's name behind "snsim ", for messages. The result is the
 * program's exit code. */
typedef int sim_main_fn(int argc, char **argv);

int sim_link_main(int argc, char **argv);
int sim_profiles_main(int argc, char **argv);
int sim_run_main(int argc, char **argv);
int sim_soak_main(int argc, char **argv);

struct argp_state;

/* The number behind an option; ends the program with a usage error when it is none. */
uint64_t sim_main_number(const char *text, struct argp_state *state);

#endif
