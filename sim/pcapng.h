/* Every frame of a simulation as a capture that Wireshark opens.
 *
 * The form is pcapng (draft-ietf-opsawg-pcapng), most significant octet first:
 * one interface per link, named like it; times are virtual, in microseconds from
 * the start, so the capture begins in 1970. MQTT-SN has no link type of its own,
 * so each frame stands in a UDP datagram between made-up addresses: the gateway
 * is 10.L.255.254 port SIM_PCAPNG_PORT, the Nth device of the run 10.L.x.y with
 * x * 256 + y = N, where L is the number of the link; name resolution blocks give
 * these addresses the names of the scenario. Nothing else of the datagram means
 * anything.
 *
 *     tshark -r run.pcapng -d udp.port==1883,mqttsn
 *
 * A frame is written when it arrives, with the octets that arrive; one that is
 * lost when that happens, with the comment "lost: " and why. What was sent but
 * was still on its way at the end of the run is not in the capture.
 */
#ifndef SIM_PCAPNG_H
#define SIM_PCAPNG_H

#include "sim/trace.h"

#include <stdio.h>

#define SIM_PCAPNG_PORT 1883 /* of the gateway */

struct sim_pcapng;

/* Writes the head. The file stays the caller's, who asks ferror() at the end. */
struct sim_pcapng *sim_pcapng_open(FILE *out);

/* A sim_listener_fn: ctx is the struct sim_pcapng. */
void sim_pcapng_hear(void *ctx, const struct sim_record *record);

void sim_pcapng_close(struct sim_pcapng *p);

#endif
