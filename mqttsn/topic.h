/* Topic names and topic filters: what is allowed, and what matches.
 *
 * MQTT-SN 1.2, 5.3.12 takes both from MQTT: UTF-8 without U+0000, at least one
 * octet, "+" and "#" only in filters and only as a whole level, "#" only last.
 * Control characters and non-characters are refused as well: a broker may close
 * the connection over them that all clients share (MQTT 3.1.1, 1.5.3).
 * A filter that begins with a wildcard does not match a name that begins with
 * "$" (4.7.2).
 */
#ifndef SN_TOPIC_H
#define SN_TOPIC_H

#include "mqttsn/packet.h"

/* SN_OK, EMPTY_TOPIC, BAD_UTF8, NUL_IN_TOPIC or WILDCARD_IN_NAME. */
enum sn_fault sn_topic_check_name(struct sn_bytes name);

/* SN_OK, EMPTY_TOPIC, BAD_UTF8, NUL_IN_TOPIC or BAD_FILTER. */
enum sn_fault sn_topic_check_filter(struct sn_bytes filter);

/* Both arguments must have passed their check. */
bool sn_topic_has_wildcard(struct sn_bytes filter);
bool sn_topic_matches(struct sn_bytes filter, struct sn_bytes name);

/* Takes the next level off *rest, without its slash. Returns false when there
 * is none left. "a//b" has three levels, the second one empty. Begin with
 * *more = true. */
bool sn_topic_next_level(struct sn_bytes *rest, bool *more, struct sn_bytes *level);

/* SN_OK, BAD_UTF8 or NUL_IN_TOPIC; also for client ids (5.3.1). */
enum sn_fault sn_utf8_check(struct sn_bytes text);

#endif
