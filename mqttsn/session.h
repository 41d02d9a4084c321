/* The state of one client as the gateway sees it, and how long its silence is
 * tolerated.
 *
 * MQTT-SN 1.2, 6.14, figure 4 and its text. This module knows states and times
 * and nothing else: no address, no message, no topic. Each function is one
 * event of the diagram and must be called only in the states it names.
 *
 * Times are milliseconds on the caller's clock.
 */
#ifndef SN_SESSION_H
#define SN_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "mqttsn/retry.h" /* SN_NEVER */

enum sn_state {
    SN_DISCONNECTED, /* not supervised (SN12-6.14-16) */
    SN_ACTIVE,       /* supervised with the keep-alive duration */
    SN_ASLEEP,       /* supervised with the sleep duration; nothing is sent to it */
    SN_AWAKE,        /* not supervised: it waits for PINGRESP */
    SN_LOST,         /* was active or asleep and stayed silent too long */
};

struct sn_session {
    uint8_t state;        /* enum sn_state */
    uint16_t keepalive_s; /* 0: no supervision while active */
    uint16_t sleep_s;
    uint64_t heard_ms; /* the last sign of life */
};

/* Any state, CONNECT completed. */
void sn_session_connect(struct sn_session *s, uint64_t now_ms, uint16_t keepalive_s);

/* Active, asleep or awake, DISCONNECT with Duration: asleep, with a new sleep
 * duration. */
void sn_session_sleep(struct sn_session *s, uint64_t now_ms, uint16_t sleep_s);

/* Asleep, PINGREQ: awake. */
void sn_session_wake(struct sn_session *s, uint64_t now_ms);

/* Awake, PINGRESP sent (or given up): asleep again, the same duration anew. */
void sn_session_rest(struct sn_session *s, uint64_t now_ms);

/* Any state, DISCONNECT without Duration. */
void sn_session_disconnect(struct sn_session *s);

/* Active, asleep or awake, the deadline passed. */
void sn_session_lose(struct sn_session *s);

/* Lost, but heard again: asleep if it was, else active, with the same duration anew. */
void sn_session_return(struct sn_session *s, uint64_t now_ms);

/* A well-formed message of the client arrived, whatever it was. */
void sn_session_hear(struct sn_session *s, uint64_t now_ms);

/* When the client counts as lost unless heard before; SN_NEVER if not at all. The
 * percentage is the one of sn_session_tolerance_ms(); late_ms is what a frame that was
 * sent in time may be late, which is tolerated at least. */
uint64_t sn_session_deadline(const struct sn_session *s, uint16_t percent, uint64_t late_ms);

/* Active, asleep or awake: the gateway keeps a connection for it. */
bool sn_session_is_connected(const struct sn_session *s);

/* How long silence is tolerated for a duration of seconds: so many percent more;
 * with 0, 10 % more from one minute on and 50 % more below (7.2, A-45). */
uint64_t sn_session_tolerance_ms(uint16_t seconds, uint16_t percent);

/* "active", ... */
const char *sn_state_name(enum sn_state state);

#endif
