/* When was this seen first? A memory for the latest things, of bounded size.
 *
 * Things are known by a 64-bit hash. Two generations of SIM_RECENT_MAX things
 * each are kept: when the younger one is full, the older one is forgotten and
 * they change places, so at least the last SIM_RECENT_MAX things are known.
 */
#ifndef SIM_RECENT_H
#define SIM_RECENT_H

#include "mqttsn/bytes.h"

#define SIM_RECENT_MAX 200000u

struct sim_recent_thing {
    uint64_t key;
    uint64_t at_us; /* when it was put */
    uint32_t uses;  /* free for the caller; 0 when put */
    bool is_there;
};

struct sim_recent {
    struct sim_recent_thing *generation[2]; /* open addressing; 0 is the younger one */
    uint32_t count;                         /* things in the younger one */
};

void sim_recent_open(struct sim_recent *r);
void sim_recent_close(struct sim_recent *r);

/* Something that was not found. The answer is good until the next call. */
struct sim_recent_thing *sim_recent_put(struct sim_recent *r, uint64_t key, uint64_t at_us);

/* NULL when it was never put, or is forgotten. Good until the next put. */
struct sim_recent_thing *sim_recent_find(const struct sim_recent *r, uint64_t key);

/* A key of octets; pass a key as seed to combine several. */
uint64_t sim_recent_key(uint64_t seed, struct sn_bytes octets);

#endif
