#include "sim/words.h"

#include "sim/world.h"

#include <inttypes.h>
#include <stdio.h>

#define MINUTE (60 * SIM_S)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

/* The larger unit, and of the smaller one what remains, unless that is nothing. */
static void two_units(char out[SIM_WORDS_SIZE], uint64_t us, uint64_t large, const char *large_name,
                      uint64_t small, const char *small_name)
{
    const uint64_t rest = us % large / small;
    if (rest == 0)
        snprintf(out, SIM_WORDS_SIZE, "%" PRIu64 " %s", us / large, large_name);
    else
        snprintf(out, SIM_WORDS_SIZE, "%" PRIu64 " %s %" PRIu64 " %s", us / large, large_name, rest,
                 small_name);
}

const char *sim_say_duration(char out[SIM_WORDS_SIZE], uint64_t us)
{
    if (us == 0)
        snprintf(out, SIM_WORDS_SIZE, "0 s");
    else if (us < SIM_MS)
        snprintf(out, SIM_WORDS_SIZE, "%" PRIu64 " us", us);
    else if (us < SIM_S)
        snprintf(out, SIM_WORDS_SIZE, "%" PRIu64 " ms", us / SIM_MS);
    else if (us < MINUTE && us % SIM_S < 10 * SIM_MS)
        snprintf(out, SIM_WORDS_SIZE, "%" PRIu64 " s", us / SIM_S);
    else if (us < MINUTE)
        snprintf(out, SIM_WORDS_SIZE, "%" PRIu64 ".%02" PRIu64 " s", us / SIM_S,
                 us % SIM_S / (10 * SIM_MS));
    else if (us < HOUR)
        two_units(out, us, MINUTE, "min", SIM_S, "s");
    else if (us < 2 * DAY)
        two_units(out, us, HOUR, "h", MINUTE, "min");
    else
        two_units(out, us, DAY, "d", HOUR, "h");
    return out;
}

const char *sim_say_count(char out[SIM_WORDS_SIZE], uint64_t n)
{
    char digits[SIM_WORDS_SIZE];
    const int len = snprintf(digits, sizeof digits, "%" PRIu64, n);
    char *at = out;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            *at++ = ',';
        *at++ = digits[i];
    }
    *at = '\0';
    return out;
}

const char *sim_say_share(char out[SIM_WORDS_SIZE], uint64_t part, uint64_t whole)
{
    if (whole == 0 || part == 0) {
        snprintf(out, SIM_WORDS_SIZE, "0 %%");
    } else if (part >= whole) {
        snprintf(out, SIM_WORDS_SIZE, "100 %%");
    } else {
        uint64_t share = (part * 10000 + whole / 2) / whole;
        share = share < 1 ? 1 : share > 9999 ? 9999 : share;
        snprintf(out, SIM_WORDS_SIZE, "%" PRIu64 ".%02" PRIu64 " %%", share / 100, share % 100);
    }
    return out;
}

const char *sim_say_octets(char out[SIM_WORDS_SIZE], uint64_t octets)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB"};
    if (octets < 1000) {
        snprintf(out, SIM_WORDS_SIZE, "%" PRIu64 " B", octets);
        return out;
    }
    unsigned unit = 0;
    while (octets >= 1000000 && unit < 3) {
        octets /= 1000;
        unit++;
    }
    snprintf(out, SIM_WORDS_SIZE, "%" PRIu64 ".%" PRIu64 " %s", octets / 1000, octets % 1000 / 100,
             units[unit]);
    return out;
}

const char *sim_say_hundredths(char out[SIM_WORDS_SIZE], uint64_t n)
{
    snprintf(out, SIM_WORDS_SIZE, "%" PRIu64 ".%02" PRIu64, n / 100, n % 100);
    return out;
}
