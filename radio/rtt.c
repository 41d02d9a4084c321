#include "radio/rtt.h"

#include <assert.h>

static uint32_t clamp(uint64_t ms, const struct radio_rtt_limits *limits)
{
    if (ms < limits->min_ms) {
        return limits->min_ms;
    }
    return ms > limits->max_ms ? limits->max_ms : (uint32_t)ms;
}

/* 0 marks an estimate without measurements, so nothing is faster than 1 ms. */
static uint32_t usable(uint32_t rtt_ms)
{
    if (rtt_ms == 0) {
        return 1;
    }
    return rtt_ms > RADIO_RTT_SAMPLE_MAX_MS ? RADIO_RTT_SAMPLE_MAX_MS : rtt_ms;
}

void radio_rtt_init(struct radio_rtt *r, const struct radio_rtt_limits *limits)
{
    assert(limits->min_ms > 0 && limits->min_ms <= limits->start_ms &&
           limits->start_ms <= limits->max_ms);
    *r = (struct radio_rtt){.rto_ms = limits->start_ms};
}

void radio_rtt_sample(struct radio_rtt *r, const struct radio_rtt_limits *limits, uint32_t rtt_ms)
{
    const uint32_t sample_ms = usable(rtt_ms);
    if (r->srtt_8 == 0) { /* RFC 6298, 2.2 */
        r->srtt_8 = sample_ms * 8;
        r->var_4 = sample_ms * 2;
    } else { /* RFC 6298, 2.3: the variation first, with the old round trip */
        const uint32_t sample_8 = sample_ms * 8;
        const uint32_t away_8 = sample_8 > r->srtt_8 ? sample_8 - r->srtt_8 : r->srtt_8 - sample_8;
        r->var_4 = r->var_4 - r->var_4 / 4 + away_8 / 8;
        r->srtt_8 = r->srtt_8 - r->srtt_8 / 8 + sample_ms;
    }
    /* var_4 is four times the variation already. The clock has milliseconds. */
    r->rto_ms = clamp((uint64_t)r->srtt_8 / 8 + (r->var_4 == 0 ? 1 : r->var_4), limits);
}

/* As in CoCoA: such a round trip alone would give a timeout of one and a half
 * times itself, and that counts for a quarter. It may contain an outage of any
 * length, so that one of them never more than doubles the timeout. */
void radio_rtt_weak_sample(struct radio_rtt *r, const struct radio_rtt_limits *limits,
                           uint32_t rtt_ms)
{
    const uint64_t sample_ms = usable(rtt_ms);
    const uint64_t weak_ms = sample_ms + sample_ms / 2;
    const uint64_t rto_ms = (3 * (uint64_t)r->rto_ms + weak_ms) / 4;
    const uint64_t most_ms = 2 * (uint64_t)r->rto_ms;
    r->rto_ms = clamp(rto_ms < most_ms ? rto_ms : most_ms, limits);
}

void radio_rtt_age(struct radio_rtt *r, const struct radio_rtt_limits *limits)
{
    r->rto_ms = clamp(((uint64_t)r->rto_ms + limits->start_ms) / 2, limits);
}

uint32_t radio_rtt_backoff(uint32_t wait_ms, uint32_t max_ms)
{
    uint64_t next_ms = wait_ms;
    if (wait_ms < 1000) {
        next_ms *= 3;
    } else if (wait_ms <= 3000) {
        next_ms *= 2;
    } else {
        next_ms += wait_ms / 2;
    }
    return next_ms > max_ms ? max_ms : (uint32_t)next_ms;
}
