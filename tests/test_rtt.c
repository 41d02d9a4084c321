#include "radio/profile.h"
#include "radio/rtt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct radio_rtt_limits limits = {.start_ms = 5000, .min_ms = 500, .max_ms = 60000};

static struct radio_rtt fresh(void)
{
    struct radio_rtt r;
    radio_rtt_init(&r, &limits);
    return r;
}

static void a_peer_takes_twelve_octets(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct radio_rtt), 12);
}

static void before_any_measurement_the_profile_decides(void **state)
{
    (void)state;
    assert_int_equal(fresh().rto_ms, 5000);
}

/* RFC 6298, 2.2: SRTT = R, RTTVAR = R/2, RTO = SRTT + 4 RTTVAR. */
static void the_first_sample_gives_three_times_itself(void **state)
{
    struct radio_rtt r = fresh();
    (void)state;

    radio_rtt_sample(&r, &limits, 800);
    assert_int_equal(r.rto_ms, 2400);
}

/* RFC 6298, 2.3, worked out by hand: 800, then 1600. RTTVAR = 3/4 400 + 1/4 800 =
 * 500, SRTT = 7/8 800 + 1/8 1600 = 900. */
static void the_second_sample_moves_by_an_eighth_and_a_quarter(void **state)
{
    struct radio_rtt r = fresh();
    (void)state;

    radio_rtt_sample(&r, &limits, 800);
    radio_rtt_sample(&r, &limits, 1600);
    assert_int_equal(r.rto_ms, 900 + 4 * 500);
    radio_rtt_sample(&r, &limits, 100); /* RTTVAR = 375 + 200 = 575, SRTT = 787.5 + 12.5 = 800 */
    assert_int_equal(r.rto_ms, 800 + 4 * 575);
}

/* The same estimator in floating point, thousands of samples. */
static void integers_follow_real_numbers_closely(void **state)
{
    struct radio_rtt r = fresh();
    double srtt = 0;
    double var = 0;
    uint32_t rng = 3;
    (void)state;

    for (int i = 0; i < 5000; i++) {
        rng = rng * 1664525u + 1013904223u;
        const uint32_t ms = 700 + (rng >> 20) + (i > 2500 ? 3000 : 0);
        radio_rtt_sample(&r, &limits, ms);
        if (i == 0) {
            srtt = ms;
            var = ms / 2.0;
        } else {
            var = 0.75 * var + 0.25 * (srtt > ms ? srtt - ms : ms - srtt);
            srtt = 0.875 * srtt + 0.125 * ms;
        }
        const double rto = srtt + 4 * var;
        assert_true(rto - r.rto_ms < 8 && r.rto_ms - rto < 8);
    }
}

static void a_steady_link_comes_close_to_its_round_trip(void **state)
{
    struct radio_rtt r = fresh();
    (void)state;

    for (int i = 0; i < 100; i++) {
        radio_rtt_sample(&r, &limits, 2000);
    }
    assert_in_range(r.rto_ms, 2000, 2010);
}

static void the_limits_hold_for_any_sample(void **state)
{
    const uint32_t samples[] = {0, 1, UINT32_MAX, 0, UINT32_MAX, UINT32_MAX, 3};
    struct radio_rtt r = fresh();
    (void)state;

    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
            radio_rtt_sample(&r, &limits, samples[i]);
            assert_in_range(r.rto_ms, limits.min_ms, limits.max_ms);
            radio_rtt_weak_sample(&r, &limits, samples[i]);
            assert_in_range(r.rto_ms, limits.min_ms, limits.max_ms);
        }
    }
    for (int i = 0; i < 300; i++) {
        radio_rtt_sample(&r, &limits, 0);
    }
    assert_int_equal(r.rto_ms, limits.min_ms);
}

/* The link became four times slower: every message is repeated before its
 * answer comes, so without weak samples nothing would ever be measured. */
static void weak_samples_let_the_timeout_catch_up_with_a_slower_link(void **state)
{
    struct radio_rtt r = fresh();
    (void)state;

    for (int i = 0; i < 50; i++) {
        radio_rtt_sample(&r, &limits, 1000);
    }
    assert_in_range(r.rto_ms, 1000, 1010);
    int repeated = 0;
    while (r.rto_ms < 4000 && repeated < 100) {
        radio_rtt_weak_sample(&r, &limits, 4000);
        repeated++;
    }
    assert_in_range(repeated, 2, 5);
    radio_rtt_sample(&r, &limits, 4000);
    assert_true(r.rto_ms >= 4000);
}

static void one_weak_sample_counts_for_a_quarter(void **state)
{
    struct radio_rtt r = fresh();
    (void)state;

    radio_rtt_weak_sample(&r, &limits, 1000); /* 3/4 5000 + 1/4 1500 */
    assert_int_equal(r.rto_ms, 4125);
}

static void an_outage_does_not_drive_the_timeout_to_its_limit(void **state)
{
    struct radio_rtt r = fresh();
    (void)state;

    for (int i = 0; i < 50; i++) {
        radio_rtt_sample(&r, &limits, 1000);
    }
    const uint32_t before = r.rto_ms;
    radio_rtt_weak_sample(&r, &limits, 600000);
    assert_int_equal(r.rto_ms, 2 * before);
    radio_rtt_sample(&r, &limits, 1000);
    assert_in_range(r.rto_ms, before - 5, before + 5);
}

static void a_silent_peer_ages_towards_the_profile(void **state)
{
    struct radio_rtt r = fresh();
    (void)state;

    for (int i = 0; i < 100; i++) {
        radio_rtt_sample(&r, &limits, 1000);
    }
    const uint32_t before = r.rto_ms;
    radio_rtt_age(&r, &limits);
    assert_int_equal(r.rto_ms, (before + 5000) / 2);
    for (int i = 0; i < 20; i++) {
        radio_rtt_age(&r, &limits);
    }
    assert_in_range(r.rto_ms, 4990, 5000);
}

static void waits_grow_fast_when_short_and_slowly_when_long(void **state)
{
    (void)state;
    assert_int_equal(radio_rtt_backoff(500, 60000), 1500);
    assert_int_equal(radio_rtt_backoff(999, 60000), 2997);
    assert_int_equal(radio_rtt_backoff(1000, 60000), 2000);
    assert_int_equal(radio_rtt_backoff(3000, 60000), 6000);
    assert_int_equal(radio_rtt_backoff(3001, 60000), 4501);
    assert_int_equal(radio_rtt_backoff(50000, 60000), 60000);
    assert_int_equal(radio_rtt_backoff(UINT32_MAX, UINT32_MAX), UINT32_MAX);
}

/* ---- profiles -------------------------------------------------------------- */

static void profiles_are_found_by_name_and_all_are_sound(void **state)
{
    (void)state;
    assert_null(radio_profile_find(""));
    assert_null(radio_profile_find("lan"));
    assert_null(radio_profile_find("lan-udp2"));
    assert_true(radio_profile_count() > 10);
    for (size_t i = 0; i < radio_profile_count(); i++) {
        const struct radio_profile *const p = radio_profile_at(i);
        assert_ptr_equal(radio_profile_find(p->name), p);
        assert_true(p->text[0] != '\0' && p->bits_per_octet >= 8 && p->frame_max >= 40);
        assert_in_range(p->retries, 3, 5); /* MQTT-SN 1.2, 7.2 */
        const struct radio_rtt_limits l = radio_profile_rtt_limits(p);
        assert_true(l.start_ms >= 1000 && l.min_ms <= l.start_ms && l.start_ms <= l.max_ms);
        struct radio_rtt r;
        radio_rtt_init(&r, &l);

        /* Every profile makes a pacer that takes its longest frame. */
        struct radio_pacer_options o = radio_profile_pacer(p);
        o.slots = 2;
        void *const memory = malloc(radio_pacer_size(&o));
        uint8_t *const frame = calloc(1, p->frame_max);
        struct radio_pacer pacer;
        radio_pacer_init(&pacer, &o, memory);
        assert_int_equal(radio_pacer_put(&pacer, 0, RADIO_PACER_ACK, 0, &(struct radio_address){0},
                                         frame, p->frame_max),
                         RADIO_PACER_QUEUED);
        free(frame);
        free(memory);
    }
}

static void the_defaults_exist(void **state)
{
    (void)state;
    const struct radio_profile *const udp = radio_profile_find(RADIO_PROFILE_UDP);
    const struct radio_profile *const serial = radio_profile_find(RADIO_PROFILE_SERIAL);
    assert_non_null(udp);
    assert_non_null(serial);
    assert_int_equal(radio_profile_retry_ms(udp), 2000);
    assert_int_equal(radio_profile_pacer(udp).bits_per_s, 0);
    assert_int_equal(radio_profile_pacer(serial).bits_per_s, 9600);
    assert_int_equal(serial->bits_per_octet, 10);
}

/* serial-radio-1200, by hand: 128 octets and 40 bits take 1100 ms, 7 octets 92 ms;
 * twice (2 x 20 + 1100 + 92 + 2 x 150). */
static void the_first_timeout_follows_from_the_figures(void **state)
{
    (void)state;
    const struct radio_profile *const p = radio_profile_find("serial-radio-1200");
    assert_non_null(p);
    assert_int_equal(radio_profile_air_ms(p, p->down_bits_per_s, 128), 1100);
    assert_int_equal(radio_profile_air_ms(p, p->down_bits_per_s, 7), 92);
    assert_int_equal(radio_profile_retry_ms(p), 2 * (40 + 1100 + 92 + 300));
    assert_int_equal(radio_profile_retry_ms(radio_profile_find("serial-9600")), 1000);
    assert_in_range(radio_profile_retry_ms(radio_profile_find("iridium-sbd")), 180000, 300000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_peer_takes_twelve_octets),
        cmocka_unit_test(before_any_measurement_the_profile_decides),
        cmocka_unit_test(the_first_sample_gives_three_times_itself),
        cmocka_unit_test(the_second_sample_moves_by_an_eighth_and_a_quarter),
        cmocka_unit_test(integers_follow_real_numbers_closely),
        cmocka_unit_test(a_steady_link_comes_close_to_its_round_trip),
        cmocka_unit_test(the_limits_hold_for_any_sample),
        cmocka_unit_test(weak_samples_let_the_timeout_catch_up_with_a_slower_link),
        cmocka_unit_test(one_weak_sample_counts_for_a_quarter),
        cmocka_unit_test(an_outage_does_not_drive_the_timeout_to_its_limit),
        cmocka_unit_test(a_silent_peer_ages_towards_the_profile),
        cmocka_unit_test(waits_grow_fast_when_short_and_slowly_when_long),
        cmocka_unit_test(profiles_are_found_by_name_and_all_are_sound),
        cmocka_unit_test(the_defaults_exist),
        cmocka_unit_test(the_first_timeout_follows_from_the_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
