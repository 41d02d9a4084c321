#include "sim/histogram.h"

#define PART_BITS 5 /* a doubling has 2^5 buckets */
#define PARTS     (1u << PART_BITS)

static uint32_t bucket_of(uint64_t us)
{
    uint32_t shift = 0;
    while (us >> shift >= 2 * PARTS)
        shift++;
    return shift * PARTS + (uint32_t)(us >> shift);
}

uint64_t sim_histogram_bound(uint32_t bucket)
{
    const uint32_t shift = bucket < 2 * PARTS ? 0 : bucket / PARTS - 1;
    return ((uint64_t)(bucket - shift * PARTS + 1) << shift) - 1;
}

void sim_histogram_add(struct sim_histogram *h, uint64_t us)
{
    if (us > SIM_HISTOGRAM_MAX_US)
        us = SIM_HISTOGRAM_MAX_US;
    h->bucket[bucket_of(us)]++;
    h->count++;
    h->sum_us += us;
    if (us > h->max_us)
        h->max_us = us;
}

uint64_t sim_histogram_percentile(const struct sim_histogram *h, uint32_t per_mille)
{
    uint64_t seen = 0;
    for (uint32_t i = 0; i < SIM_HISTOGRAM_BUCKETS; i++) {
        seen += h->bucket[i];
        /* Not divided, so that nothing is rounded. */
        if (seen > 0 && seen * 1000 >= h->count * per_mille) {
            const uint64_t bound = sim_histogram_bound(i);
            return bound < h->max_us ? bound : h->max_us;
        }
    }
    return 0;
}

uint64_t sim_histogram_mean(const struct sim_histogram *h)
{
    return h->count == 0 ? 0 : h->sum_us / h->count;
}
