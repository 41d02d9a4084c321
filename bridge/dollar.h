/* Topics that begin with "$": whether sensors may use them.
 *
 * They are the broker's own (MQTT 5, 4.7.2), and what they mean differs from broker to
 * broker. Some are no topics at all: "$share/group/filter" makes the subscriber a
 * member of somebody's group, which takes messages away from the others, and they come
 * by their own names, which match no filter of ours. "$CONTROL/#" changes the broker
 * itself, with our rights and not the sensor's. So sensors may use what the
 * configuration names, by its first level, and nothing else: dollar_topics, a list of
 * words as in classes.h. What begins otherwise is allowed here.
 *
 * Pure: nothing is kept here.
 */
#ifndef BRIDGE_DOLLAR_H
#define BRIDGE_DOLLAR_H

#include "bridge/bridge.h"

/* Both arguments have passed the check of topic.h. */
bool dollar_may_subscribe(const struct bridge_config *c, struct sn_bytes filter);
/* "$SYS" is the broker's to publish, whatever the configuration says. */
bool dollar_may_publish(const struct bridge_config *c, struct sn_bytes name);

/* Whether the configuration may name this word: it begins with "$", is one level, and no
 * broker that we know takes it for the beginning of something else than a topic. */
bool dollar_may_name(struct sn_bytes word);

#endif
