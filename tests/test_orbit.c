#include "sim/orbit.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct sim_orbit orbit_of(const char *const *settings)
{
    struct sim_profile p;
    struct sim_orbit o;
    char error[SIM_PROFILE_ERROR_MAX];
    sim_profile_init(&p, "test");
    for (; *settings != NULL; settings += 2)
        if (!sim_profile_set(&p, settings[0], settings[1], error, sizeof error))
            fail_msg("%s", error);
    sim_orbit_init(&o, &p);
    return o;
}

#define ORBIT(...) orbit_of((const char *const[]){__VA_ARGS__, NULL})

static void sines_are_exact_to_their_last_bits(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 100000; i++) {
        const uint64_t angle = (uint64_t)i * 184467440737096u;
        const double exact =
            sin((double)angle / 18446744073709551616.0 * 2 * 3.14159265358979323846);
        const double off = sim_sine(angle) / 1073741824.0 - exact;
        if (off > 4e-9 || off < -4e-9)
            fail_msg("%u: off by %g", i, off);
    }
    assert_int_equal(sim_sine(0), 0);
    assert_int_equal(sim_sine((uint64_t)1 << 63), 0);
}

/* SGP4 (python3-sgp4 2.15, gravity of WGS 84), started with the same mean elements on 1 January
 * 2026 at 0 h with the earth turned to the same node, saw the satellite from the same place
 * at these times. */
static void contacts_are_those_of_sgp4_to_two_seconds(void **state)
{
    static const double expected[][2] = {
        {659.1, 907.5},       {42065.7, 42536.3},   {47808.5, 48124.3},   {81032.6, 81503.3},
        {86840.4, 87116.3},   {128264.2, 128731.2}, {133999.6, 134331.7}, {167232.1, 167699.4},
        {173023.6, 173323.3}, {214462.9, 214925.6}, {220191.2, 220538.4}, {253431.9, 253895.2},
    };
    const struct sim_orbit o = ORBIT("orbit_altitude", "550", "orbit_inclination", "97.6",
                                     "station_latitude", "50", "station_longitude", "8");
    uint64_t now_us = 0;
    (void)state;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        const struct sim_span pass = sim_orbit_next(&o, now_us);
        const double begin_off = (double)pass.low / 1e6 - expected[i][0];
        const double end_off = (double)pass.high / 1e6 - expected[i][1];
        if (fabs(begin_off) > 2 || fabs(end_off) > 2)
            fail_msg("contact %zu: off by %.1f and %.1f s", i, begin_off, end_off);
        now_us = pass.high;
    }
}

static void a_geostationary_satellite_is_always_there_or_never(void **state)
{
    /* 35786 km is the altitude of one day against the stars. */
    struct sim_orbit o = ORBIT("orbit_altitude", "35786", "orbit_inclination", "0", "orbit_node",
                               "10", "station_latitude", "50", "station_longitude", "8");
    (void)state;
    assert_true(sim_orbit_is_visible(&o, 0));
    const struct sim_span contact = sim_orbit_next(&o, 0);
    assert_int_equal(contact.low, 0);
    assert_true(contact.high > 30 * 86400 * SIM_S);
    o = ORBIT("orbit_altitude", "35786", "orbit_inclination", "0", "orbit_node", "190",
              "station_latitude", "50", "station_longitude", "8");
    assert_true(sim_orbit_next(&o, 0).low == SIM_NEVER);
}

static void a_low_orbit_along_the_equator_is_never_seen_from_the_pole(void **state)
{
    const struct sim_orbit o =
        ORBIT("orbit_altitude", "550", "orbit_inclination", "0", "station_latitude", "89");
    (void)state;
    assert_true(sim_orbit_next(&o, 0).low == SIM_NEVER);
}

static void a_contact_that_has_begun_begins_now(void **state)
{
    const struct sim_orbit o =
        ORBIT("orbit_altitude", "550", "station_latitude", "50", "station_longitude", "8");
    (void)state;
    const struct sim_span first = sim_orbit_next(&o, 0);
    const struct sim_span same = sim_orbit_next(&o, first.low + 60 * SIM_S);
    assert_int_equal(same.low, first.low + 60 * SIM_S);
    assert_int_equal(same.high, first.high);
    assert_true(sim_orbit_is_visible(&o, first.low / 1000));
    assert_false(sim_orbit_is_visible(&o, first.low / 1000 - 1));
    assert_false(sim_orbit_is_visible(&o, first.high / 1000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sines_are_exact_to_their_last_bits),
        cmocka_unit_test(contacts_are_those_of_sgp4_to_two_seconds),
        cmocka_unit_test(a_geostationary_satellite_is_always_there_or_never),
        cmocka_unit_test(a_low_orbit_along_the_equator_is_never_seen_from_the_pole),
        cmocka_unit_test(a_contact_that_has_begun_begins_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
