/* The checker: what must hold in every run, whatever the scenario.
 *
 * It hears the trace and knows nothing of scenarios. It asks for messages that
 * can be told apart: those of devices ("NAME:N") and of commands likewise, as
 * device.h makes them; others it leaves alone. What it claims:
 *
 *  custody     A sensor hears PUBACK (accepted) or PUBREC only when its message
 *              is durable or at the broker. The broker hears that of a message to
 *              sensors only when every copy is durable or with its sensor.
 *  arrival     At rest every acknowledged message has arrived: that of a device
 *              at the broker, that of the broker at each device which was
 *              subscribed when the bridge accepted it and has kept its session.
 *              As many may be missing as the account says were dropped or expired.
 *  once        No QoS 2 message arrives twice: at the broker, or at a device that
 *              has not lost its memory in between.
 *  order       Messages of one device, topic and QoS (1 or 2) reach the broker in
 *              the order in which they were published; first copies count. The
 *              same from one sender at the broker to one device. QoS 0 comes as
 *              the link lets it.
 *  account     accepted = delivered + expired + dropped + queued, both ways. At
 *              rest, queued is what the disk holds for somebody; what is counted as
 *              being there is there.
 *  bounds      No more messages undecided at the broker than its window; none
 *              handed over twice while undecided, nor out of order; no frame
 *              longer than the link takes; queues and memory within their limits,
 *              and none called full that is not; QoS 2 is published only when it is
 *              durable; the bridge takes no share of a group's messages.
 *  restart     Sends no frame.
 *  ids         A device gets a message by a topic id that it has been told only.
 *  topic       Every message arrives under the topic it was published under.
 *  alive       Nobody is told to disconnect who was never silent for longer than it
 *              has promised, and no will is published of one that was heard within
 *              the time in which all repeats can be used up.
 *  expiry      What expires is old enough by the time that has passed, whatever the
 *              clock on the wall says.
 *  liveness    After the last fault everything comes to rest within the bound
 *              that run.h computes from the links (told by sim_check_rest()).
 *
 * The broker's rejection, congestion told to a sensor, what a class drops because it keeps
 * the oldest, and messages that a device
 * gave up are nobody's promise. A session that the broker forgets takes QoS 2 of
 * messages under way with it; that is the broker's loss and not claimed. Nor is
 * it claimed that a QoS 2 message comes once of which the link has made a copy:
 * one without DUP that arrives after PUBCOMP looks like the next message of a
 * device that uses its message id again.
 */
#ifndef SIM_CHECK_H
#define SIM_CHECK_H

#include "sim/check_claims.h"
#include "sim/image.h"
#include "sim/trace.h"

struct sim_check;

struct sim_check *sim_check_open(const struct bridge_config *config);
void sim_check_close(struct sim_check *c);

/* Somebody who sends commands at the broker; devices are known by what they do.
 * name is borrowed for ever. */
void sim_check_sender(struct sim_check *c, const char *name);

/* A sim_listener_fn: ctx is the struct sim_check. */
void sim_check_hear(void *ctx, const struct sim_record *record);

/* The bridge as it is now, at any time between steps. */
void sim_check_bridge(struct sim_check *c, uint64_t at_us, const struct bridge *bridge);

/* The end of a run that has settled, or of which the time was up: late says what
 * has not come to rest. disk is what the disk holds. */
void sim_check_rest(struct sim_check *c, uint64_t at_us, const struct bridge *bridge,
                    const struct sim_image *disk, const char *late);

/* Violations so far, and the text of one, of the first: "  301.655 custody: ...". */
uint64_t sim_check_violations(const struct sim_check *c);
const char *sim_check_text(const struct sim_check *c, size_t i);

struct sim_check_figures {
    uint64_t accepted; /* messages acknowledged to devices, QoS 1 and 2 */
    uint64_t arrived;  /* of all messages of devices, once each */
    uint64_t again;    /* further copies */
    uint64_t owed;     /* messages accepted from the broker, for each device */
    uint64_t got;      /* and those that came */
    uint64_t got_again;
};
void sim_check_figures(const struct sim_check *c, struct sim_check_figures *out);

#endif
