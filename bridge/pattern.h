/* Patterns for client ids: "*" stands for any octets, none included, "?" for one
 * octet, everything else for itself. There is no escape: whoever needs a "*" or
 * "?" that stands for itself writes "?". */
#ifndef BRIDGE_PATTERN_H
#define BRIDGE_PATTERN_H

#include "mqttsn/bytes.h"

bool pattern_matches(struct sn_bytes pattern, struct sn_bytes text);

#endif
