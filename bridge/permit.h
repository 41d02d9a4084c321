/* Topics: which of them sensors may use.
 *
 * A topic is refused to the sensor where the broker would do worse: take it for
 * something else (dollar.h), or close the connection that all sensors share. mosquitto
 * does that to topics of more than 200 levels, others earlier; and each level of a
 * filter costs memory here. So there is a bound, max_topic_levels.
 *
 * Pure: nothing is kept here.
 */
#ifndef BRIDGE_PERMIT_H
#define BRIDGE_PERMIT_H

#include "bridge/bridge.h"

/* Each is NULL, or why not, in a few words. The text has passed the check of topic.h. */
const char *permit_subscribe(const struct bridge_config *c, struct sn_bytes filter);
const char *permit_publish(const struct bridge_config *c, struct sn_bytes name);

/* Whether it has no more than max_topic_levels. */
bool permit_levels(const struct bridge_config *c, struct sn_bytes text);

#endif
