/* The daemon's loop: waits for links, broker, store, signals and time, feeds
 * the core, and carries out what it says.
 *
 * One thread. Signals arrive as a descriptor and must be blocked before
 * anything that makes threads is opened.
 */
#ifndef BRIDGE_LOOP_H
#define BRIDGE_LOOP_H

#include "bridge/config.h"

/* path is where the configuration was read from, and is on SIGHUP. Runs until SIGTERM or SIGINT. Returns the exit code: 0, or 1 after one line
 * on stderr when something could not be opened. */
int loop_run(const char *path, const struct config *config);

#endif
