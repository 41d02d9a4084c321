#include "sim/random.h"

#include <assert.h>

#define WAIT_MAX 20u /* times the mean */

/* Of xoshiro256** 1.0 and splitmix64 by Blackman and Vigna (public domain,
 * prng.di.unimi.it), which recommend the one for seeding the other. */
static uint64_t splitmix(uint64_t *x)
{
    uint64_t z = *x += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

/* FNV-1a, 64 bits. */
static uint64_t hash(const char *text)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *text != '\0'; text++)
        h = (h ^ (uint8_t)*text) * 0x100000001b3u;
    return h;
}

void sim_random_init(struct sim_random *r, uint64_t seed, const char *name)
{
    uint64_t x = seed;
    x = splitmix(&x) ^ hash(name);
    for (int i = 0; i < 4; i++)
        r->state[i] = splitmix(&x);
}

uint64_t sim_random_next(struct sim_random *r)
{
    uint64_t *s = r->state;
    const uint64_t result = rotate(s[1] * 5, 7) * 9;
    const uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

/* What does not fit a whole number of times is drawn again, so that nothing is favoured. */
uint64_t sim_random_below(struct sim_random *r, uint64_t below)
{
    assert(below > 0);
    const uint64_t unfair = (UINT64_MAX - below + 1) % below; /* 2^64 modulo below */
    uint64_t x;
    do
        x = sim_random_next(r);
    while (x < unfair);
    return x % below;
}

uint64_t sim_random_between(struct sim_random *r, uint64_t low, uint64_t high)
{
    assert(low <= high && high - low < UINT64_MAX);
    return low + sim_random_below(r, high - low + 1);
}

bool sim_random_chance(struct sim_random *r, uint32_t ppb)
{
    if (ppb == 0 || ppb >= SIM_ALWAYS)
        return ppb != 0;
    return sim_random_below(r, SIM_ALWAYS) < ppb;
}

/* The logarithm to base 2 of x > 0, in 2^-31: squaring the mantissa doubles its
 * logarithm, and each doubling brings one binary digit before the point. */
static uint64_t log2_of(uint64_t x)
{
    unsigned whole = 63;
    for (; x >> 63 == 0; x <<= 1)
        whole--;
    uint64_t mantissa = x >> 32; /* from 1 to below 2, in 2^-31 */
    uint64_t digits = 0;
    for (int i = 0; i < 31; i++) {
        mantissa = mantissa * mantissa >> 31;
        const unsigned digit = mantissa >> 32 & 1;
        mantissa >>= digit;
        digits = digits << 1 | digit;
    }
    return (uint64_t)whole << 31 | digits;
}

uint64_t sim_random_wait(struct sim_random *r, uint64_t mean)
{
    /* -ln(u / 2^64) = (64 - log2(u)) * ln(2), with ln(2) in 2^-31. */
    const uint64_t ln2 = 1488522236;
    const uint64_t doublings = ((uint64_t)64 << 31) - log2_of(sim_random_next(r) | 1);
    uint64_t times = (doublings >> 31) * ln2 + ((doublings & 0x7fffffff) * ln2 >> 31);
    if (times > (uint64_t)WAIT_MAX << 31)
        times = (uint64_t)WAIT_MAX << 31;
    const uint64_t whole = mean * (times >> 31);
    const uint64_t part =
        (mean >> 31) * (times & 0x7fffffff) + ((mean & 0x7fffffff) * (times & 0x7fffffff) >> 31);
    return whole + part > 0 ? whole + part : 1;
}
