/* How often which duration: counts in buckets whose width grows with the value.
 *
 * Durations are microseconds. Up to 63 each value has a bucket of its own; from
 * there every doubling is cut into 32 buckets, so a percentile is too long by at
 * most 1/32 (3.1 %) and never too short. Longer than SIM_HISTOGRAM_MAX_US counts
 * as that. The size does not depend on how much is counted.
 */
#ifndef SIM_HISTOGRAM_H
#define SIM_HISTOGRAM_H

#include <stdint.h>

#define SIM_HISTOGRAM_MAX_US  ((UINT64_C(1) << 44) - 1) /* 203 days */
#define SIM_HISTOGRAM_BUCKETS (40 * 32)

struct sim_histogram {
    uint64_t count;
    uint64_t sum_us;
    uint64_t max_us;
    uint64_t bucket[SIM_HISTOGRAM_BUCKETS];
};

void sim_histogram_add(struct sim_histogram *h, uint64_t us);

/* The longest duration that falls into a bucket. */
uint64_t sim_histogram_bound(uint32_t bucket);

/* The duration within which this share of all lies (500: the median); 0 when
 * nothing was counted. */
uint64_t sim_histogram_percentile(const struct sim_histogram *h, uint32_t per_mille);

/* 0 when nothing was counted. */
uint64_t sim_histogram_mean(const struct sim_histogram *h);

#endif
