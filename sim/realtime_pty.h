/* A pseudo-terminal that looks like a serial device to other programs. */
#ifndef SIM_REALTIME_PTY_H
#define SIM_REALTIME_PTY_H

#include "radio/framing.h"
#include "radio/link.h"

/* Makes a pty, raw, with a symbolic link of this name to it, and runs a link on our side of it.
 * Programs may come and go at the other side. A link of that name that is there already is
 * replaced, anything else is not. *keep is a descriptor to be closed after the radio link. 0
 * or -errno. */
int sim_pty_open(const char *name, enum radio_framing framing, size_t frame_max,
                 struct radio_link **out, int *keep);

#endif
