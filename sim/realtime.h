/* A link in real time, between programs that know nothing of it.
 *
 * The world and the channel are those of virtual time; the monotonic clock drives them. The
 * devices' end is a UDP port or a pty, the gateway's end a UDP server or another pty.
 * Each UDP client is a device of the link, with a socket of its own towards the server, so that
 * the server tells them apart. A pty has one program at it, and frames on it have a framing,
 * so that what the channel does, it does to whole frames; what comes down by a pty is for every
 * device.
 *
 * Not for the core: it has a clock, sockets and signals.
 */
#ifndef SIM_REALTIME_H
#define SIM_REALTIME_H

#include "radio/framing.h"
#include "sim/profile.h"

#define SIM_REALTIME_CLIENTS_MAX 500 /* UDP clients; what further ones send is not taken */

struct sim_realtime_options {
    const struct sim_profile *profile;
    uint64_t seed;
    bool trace;                 /* what happens to each frame, on stderr */
    const char *capture;        /* a file for all frames, in pcapng; or NULL */
    const char *udp;            /* devices: "host:port" to listen on; or NULL and */
    const char *pty;            /* a name for the pty, made as a symbolic link */
    const char *to;             /* gateway: "host:port"; or NULL and */
    const char *to_pty;         /* a name as above */
    enum radio_framing framing; /* on ptys */
};

/* Runs until SIGINT or SIGTERM, then says on stderr what became of the frames and how late
 * timers were. The program's exit code. */
int sim_realtime_run(const struct sim_realtime_options *o);

#endif
