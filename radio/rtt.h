/* How long to wait for an answer: the retransmission timeout of one peer.
 *
 * RFC 6298 with integers: a smoothed round trip and its variation, started with
 * the value of the link's profile instead of one second, clamped to the
 * profile's limits. Twelve octets for each peer; the limits belong to the link.
 *
 * A round trip is measured from left_ms of the pacer (the last bit has left) to
 * the answer. Karn's rule is the caller's duty: after a repetition nobody knows
 * which copy was answered, so such a measurement goes to radio_rtt_weak_sample(),
 * which lets a link that has become slower be noticed at all.
 */
#ifndef RADIO_RTT_H
#define RADIO_RTT_H

#include <stdint.h>

/* Milliseconds; 0 < min_ms <= start_ms <= max_ms. */
struct radio_rtt_limits {
    uint32_t start_ms; /* while nothing has been measured */
    uint32_t min_ms;
    uint32_t max_ms;
};

struct radio_rtt {
    uint32_t rto_ms; /* how long to wait before the first repetition */

    /* Private from here on. */
    uint32_t srtt_8; /* smoothed round trip, in eighths of a millisecond; 0: not measured yet */
    uint32_t var_4;  /* its variation, in quarters of a millisecond */
};

#define RADIO_RTT_SAMPLE_MAX_MS (1u << 28) /* three days; longer ones count as this */

/* The smoothed round trip; 0 while nothing has been measured. */
static inline uint32_t radio_rtt_smoothed_ms(const struct radio_rtt *r)
{
    return (r->srtt_8 + 7) / 8;
}

void radio_rtt_init(struct radio_rtt *r, const struct radio_rtt_limits *limits);

/* A message that was sent once was answered after rtt_ms. */
void radio_rtt_sample(struct radio_rtt *r, const struct radio_rtt_limits *limits, uint32_t rtt_ms);

/* A message that was repeated was answered; rtt_ms counts from its first copy,
 * which may be too long by some repetitions and by an outage. Moves rto_ms by a
 * quarter of the way, at most to twice its value, and leaves the estimate alone;
 * the next sample decides again. */
void radio_rtt_weak_sample(struct radio_rtt *r, const struct radio_rtt_limits *limits,
                           uint32_t rtt_ms);

/* Nothing has been measured for long, by the caller's judgement: moves rto_ms
 * half of the way back to the profile's value. */
void radio_rtt_age(struct radio_rtt *r, const struct radio_rtt_limits *limits);

/* The wait after one more repetition: three times as long below 1 s, twice up to
 * 3 s, half as long again above; never more than max_ms. Short waits must give
 * way fast, long ones would cost minutes. Add your own jitter. */
uint32_t radio_rtt_backoff(uint32_t wait_ms, uint32_t max_ms);

#endif
