#include "sim/recent.h"

#include "sim/world.h"

#include <stdlib.h>

#define SLOTS 524288u /* a power of two, more than twice SIM_RECENT_MAX */

static struct sim_recent_thing *place(struct sim_recent_thing *things, uint64_t key)
{
    uint32_t at = (uint32_t)key & (SLOTS - 1);
    while (things[at].is_there && things[at].key != key)
        at = (at + 1) & (SLOTS - 1);
    return &things[at];
}

void sim_recent_open(struct sim_recent *r)
{
    r->count = 0;
    for (size_t i = 0; i < 2; i++)
        r->generation[i] = sim_memory(SLOTS * sizeof r->generation[i][0]);
}

void sim_recent_close(struct sim_recent *r)
{
    free(r->generation[0]);
    free(r->generation[1]);
}

struct sim_recent_thing *sim_recent_put(struct sim_recent *r, uint64_t key, uint64_t at_us)
{
    if (r->count == SIM_RECENT_MAX) {
        struct sim_recent_thing *older = r->generation[1];
        r->generation[1] = r->generation[0];
        memset(older, 0, SLOTS * sizeof older[0]);
        r->generation[0] = older;
        r->count = 0;
    }
    struct sim_recent_thing *thing = place(r->generation[0], key);
    *thing = (struct sim_recent_thing){.key = key, .at_us = at_us, .is_there = true};
    r->count++;
    return thing;
}

struct sim_recent_thing *sim_recent_find(const struct sim_recent *r, uint64_t key)
{
    for (size_t i = 0; i < 2; i++) {
        struct sim_recent_thing *thing = place(r->generation[i], key);
        if (thing->is_there)
            return thing;
    }
    return NULL;
}

/* FNV-1a with a last mix, because only the low bits choose the place. */
uint64_t sim_recent_key(uint64_t seed, struct sn_bytes octets)
{
    uint64_t key = seed ^ UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < octets.len; i++)
        key = (key ^ octets.data[i]) * UINT64_C(0x100000001B3);
    key ^= octets.len;
    key = (key ^ key >> 32) * UINT64_C(0xD6E8FEB86659FD93);
    return key ^ key >> 32;
}
