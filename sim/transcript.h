/* A run as text, one line for each thing that happened.
 *
 *   [  301.212] d1     > PUBLISH qos=1 tid=1 mid=6 data="d1:5"
 *   [  301.640] bridge   store 6 qos=1 plant/1/temp "d1:5"
 *   [  301.655] bridge   stored 6
 *   [  301.655] d1     < PUBACK tid=1 mid=6 code=accepted
 *
 * Seconds; whose line it is; ">" a frame that the device sends, "<" one that is
 * sent to it; what. In parentheses stands what becomes of a frame on its way. The same scenario and seed give the same octets on every
 * machine.
 */
#ifndef SIM_TRANSCRIPT_H
#define SIM_TRANSCRIPT_H

#include "sim/trace.h"

#include <stdio.h>

/* A sim_listener_fn: ctx is the FILE to write to. */
void sim_transcript_hear(void *ctx, const struct sim_record *record);

#endif
