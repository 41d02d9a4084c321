/* A link with its trouble: frames go in at one end and come out at the other,
 * late, changed, more than once, or not at all.
 *
 * A link has a gateway's end and any number of devices at the other. What
 * happens to a frame is decided by a chain of nodes, one concept each (queue,
 * medium with its rate and turn-around, delay, loss, ...), built from a profile
 * (profiles.conf) with the overrides of a scenario. Both directions may share a
 * medium (half duplex) or have one of their own.
 *
 * The channel knows no MQTT-SN: frames are octets. It uses the world for its
 * timers, so it works in virtual time as well as in real time.
 */
#ifndef SIM_CHANNEL_H
#define SIM_CHANNEL_H

#include "sim/random.h"
#include "sim/trace.h"
#include "sim/world.h"

struct sim_profile; /* profile.h */
struct sim_channel;

/* A frame has arrived. peer is the number given by sim_channel_attach(): the
 * sender when it goes up, the receiver when it goes down. Borrowed octets. */
typedef void sim_arrive_fn(void *ctx, enum sim_direction direction, uint32_t peer,
                           const uint8_t *frame, size_t len);

/* Everything must outlive the channel. Every frame that is sent, and every copy
 * that is made of it, ends as SIM_FRAME_ARRIVED or SIM_FRAME_LOST in the trace,
 * unless the channel is closed before. */
struct sim_channel *sim_channel_open(struct sim_world *w, struct sim_trace *trace, uint64_t seed,
                                     const char *name, const struct sim_profile *profile,
                                     sim_arrive_fn *arrive, void *ctx);
void sim_channel_close(struct sim_channel *c);

/* One more device on the link; name is borrowed for ever. Returns its number,
 * from 1. */
uint32_t sim_channel_attach(struct sim_channel *c, const char *name);

/* Hands a frame to the link, now; a copy is kept. It never arrives within this
 * call. Downwards peer 0 stands for every device: on a shared line one frame
 * on the air, which reaches all or none. */
void sim_channel_send(struct sim_channel *c, enum sim_direction direction, uint32_t peer,
                      const uint8_t *frame, size_t len);

/* A planned fault: down, and up again, whatever its contacts say. What was on
 * its way is lost. */
void sim_channel_break(struct sim_channel *c, bool broken);

/* Whether frames can pass now (contact, session, not broken), for one device at
 * least. */
bool sim_channel_is_up(const struct sim_channel *c);

#endif
