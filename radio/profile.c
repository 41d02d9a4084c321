#include "radio/profile.h"

#include <assert.h>
#include <string.h>

#define ACK_LEN          7 /* PUBACK, REGACK */
#define RETRY_MIN_MS     1000u
#define RTO_MIN_MS       500u
#define RTO_MAX_FLOOR_MS 60000u

#define PROFILE(name_, up, down, delay, jitter, frame, turn, overhead, bits, duty, paced_, retry,  \
                retries_, guess, text_)                                                            \
    {                                                                                              \
        .name = name_,                                                                             \
        .up_bits_per_s = up,                                                                       \
        .down_bits_per_s = down,                                                                   \
        .delay_ms = delay,                                                                         \
        .jitter_ms = jitter,                                                                       \
        .frame_max = frame,                                                                        \
        .turn_ms = turn,                                                                           \
        .overhead_bits = overhead,                                                                 \
        .bits_per_octet = bits,                                                                    \
        .duty_per_mille = duty,                                                                    \
        .paced = paced_,                                                                           \
        .retry_ms = retry,                                                                         \
        .retries = retries_,                                                                       \
        .is_guess = guess,                                                                         \
        .text = text_,                                                                             \
    },

static const struct radio_profile profiles[] = {
#include "radio/profiles.def"
};

#undef PROFILE

size_t radio_profile_count(void)
{
    return sizeof(profiles) / sizeof(profiles[0]);
}

const struct radio_profile *radio_profile_at(size_t index)
{
    assert(index < radio_profile_count());
    return &profiles[index];
}

const struct radio_profile *radio_profile_find(const char *name)
{
    const size_t size = strlen(name) + 1;
    for (size_t i = 0; i < radio_profile_count(); i++) {
        if (strlen(profiles[i].name) + 1 == size && memcmp(profiles[i].name, name, size) == 0) {
            return &profiles[i];
        }
    }
    return NULL;
}

uint32_t radio_profile_air_ms(const struct radio_profile *p, uint32_t bits_per_s, size_t len)
{
    if (bits_per_s == 0) {
        return 0;
    }
    const uint64_t bits = p->overhead_bits + (uint64_t)len * p->bits_per_octet;
    return (uint32_t)((bits * 1000 + bits_per_s - 1) / bits_per_s);
}

uint32_t radio_profile_retry_ms(const struct radio_profile *p)
{
    if (p->retry_ms != 0) {
        return p->retry_ms;
    }
    const uint32_t slower =
        p->up_bits_per_s < p->down_bits_per_s ? p->up_bits_per_s : p->down_bits_per_s;
    const uint32_t exchange_ms = 2 * p->delay_ms + p->jitter_ms + 2 * p->turn_ms +
                                 radio_profile_air_ms(p, slower, p->frame_max) +
                                 radio_profile_air_ms(p, slower, ACK_LEN);
    const uint32_t retry_ms = 2 * exchange_ms;
    return retry_ms < RETRY_MIN_MS ? RETRY_MIN_MS : retry_ms;
}

struct radio_rtt_limits radio_profile_rtt_limits(const struct radio_profile *p)
{
    const uint32_t start_ms = radio_profile_retry_ms(p);
    const uint32_t quarter_ms = start_ms / 4;
    const uint32_t eightfold_ms = start_ms * 8;
    return (struct radio_rtt_limits){
        .start_ms = start_ms,
        .min_ms = quarter_ms < RTO_MIN_MS ? RTO_MIN_MS : quarter_ms,
        .max_ms = eightfold_ms < RTO_MAX_FLOOR_MS ? RTO_MAX_FLOOR_MS : eightfold_ms,
    };
}

struct radio_pacer_options radio_profile_pacer(const struct radio_profile *p)
{
    return (struct radio_pacer_options){
        .bits_per_s = p->paced ? p->down_bits_per_s : 0,
        .overhead_bits = p->overhead_bits,
        .bits_per_octet = p->bits_per_octet,
        .duty_per_mille = p->duty_per_mille,
        .frame_max = p->frame_max,
    };
}
