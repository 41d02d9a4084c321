/* Lines for the operator, on stderr: one fact each, with its time and weight.
 *
 * The same fact over and over (a device that sends nonsense all day) is cut to
 * LOG_PER_SECOND lines a second; how many more there were is said, and every one
 * is counted in the status.
 */
#ifndef BRIDGE_LOG_H
#define BRIDGE_LOG_H

#include "bridge/bridge.h"

#define LOG_PER_SECOND 20

/* Lines below this level are left out. Before it is called: info. */
void log_level(enum bridge_note_level level);
bool log_wants(enum bridge_note_level level);

void log_line(enum bridge_note_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A note of the core. */
void log_note(const struct bridge_action *note, const struct bridge_config *config);

#endif
