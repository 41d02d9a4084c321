/* Classes of messages: which one a topic belongs to.
 *
 * A class says what becomes of messages when not all of them can go at once:
 * who goes first, what waits how long, what is dropped when a bound is reached.
 * The first class of the configuration with a filter that matches the topic is
 * the message's; what no class matches belongs to class 0.
 *
 * Pure: nothing is kept here. The core remembers the answer with the name.
 */
#ifndef BRIDGE_CLASSES_H
#define BRIDGE_CLASSES_H

#include "bridge/bridge.h"

/* Takes the next filter from a list whose entries are separated by commas or
 * spaces. False: there is none left. *at moves on; *filter points into the list. */
bool classes_next_filter(const char **at, struct sn_bytes *filter);

/* The number of a topic's class. */
uint8_t classes_match(const struct bridge_config *c, struct sn_bytes topic);

/* The settings of a class. A number that the configuration does not have (any
 * more) stands for class 0. */
const struct bridge_class_config *classes_at(const struct bridge_config *c, uint8_t number);

/* When a message that came at now_ms ends to be of use: after the class's time,
 * or after expiry_s if that is sooner, or after age_s, the bound of its queue.
 * 0 means no limit, for each of them and as the answer. */
uint64_t classes_expires_ms(const struct bridge_class_config *class, uint64_t now_ms,
                            uint32_t expiry_s, uint32_t age_s);

#endif
