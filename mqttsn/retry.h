/* When a message that nobody has acknowledged goes out again.
 *
 * MQTT-SN 1.2, 6.13: who expects an answer and gets none sends the same message
 * again after T_retry, at most N_retry times, and then takes the peer for gone.
 * This module only counts and says when; the caller keeps the message, sends it
 * and sets DUP where the message has one.
 *
 * The specification's interval is fixed. Here it doubles with every repeat up
 * to a limit, because a fixed one chokes a slow link: when the queue in front of
 * the antenna is longer than T_retry, every repeat makes the next one likelier.
 * A limit equal to the first interval gives the specification's behaviour.
 *
 * Times are milliseconds on the caller's monotonic clock. A struct sn_retry
 * owns nothing and may be copied. sn_retry_stop() makes one valid and idle.
 */
#ifndef SN_RETRY_H
#define SN_RETRY_H

#include <stdint.h>

#define SN_NEVER UINT64_MAX /* a deadline that does not come */

struct sn_retry {
    uint64_t due_ms;  /* when to ask sn_retry_check(); SN_NEVER while idle */
    uint32_t wait_ms; /* the interval that is running */
    uint32_t max_ms;  /* the interval does not grow beyond this */
    uint8_t left;     /* repeats still allowed */
};

enum sn_retry_verdict {
    SN_RETRY_WAIT,   /* nothing is due, or the timer is idle */
    SN_RETRY_REPEAT, /* send the same message again */
    SN_RETRY_LOST,   /* the repeats are used up and the last wait is over; idle again */
};

/* The message went out at now_ms for the first time: replaces whatever ran
 * before. The waits are wait_ms, 2 * wait_ms, 4 * wait_ms, ... up to max_ms; a
 * max_ms below wait_ms counts as wait_ms. wait_ms must not be 0. With 0 repeats
 * the first verdict is SN_RETRY_LOST. */
void sn_retry_start(struct sn_retry *r, uint64_t now_ms, uint32_t wait_ms, uint32_t max_ms,
                    uint8_t repeats);

/* What was handed to the link earlier has left only now: the running interval
 * counts from here. Nothing happens while idle. */
void sn_retry_sent(struct sn_retry *r, uint64_t now_ms);

/* The answer came, or the message is no longer wanted. */
void sn_retry_stop(struct sn_retry *r);

/* What to do at now_ms. Each SN_RETRY_REPEAT takes one repeat and starts the
 * next, longer interval at now_ms, so that a caller who comes late sends one
 * copy and not all it has missed. */
enum sn_retry_verdict sn_retry_check(struct sn_retry *r, uint64_t now_ms);

#endif
