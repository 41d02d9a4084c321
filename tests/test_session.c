#include "mqttsn/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* SN12-7.2-5, A-45: exactly a minute belongs to the longer ones. */
static void tolerance_is_half_below_a_minute_and_a_tenth_from_there(void **state)
{
    (void)state;
    assert_int_equal(sn_session_tolerance_ms(1, 0), 1500);
    assert_int_equal(sn_session_tolerance_ms(40, 0), 60000);
    assert_int_equal(sn_session_tolerance_ms(59, 0), 88500);
    assert_int_equal(sn_session_tolerance_ms(60, 0), 66000);
    assert_int_equal(sn_session_tolerance_ms(100, 0), 110000);
    assert_int_equal(sn_session_tolerance_ms(0xFFFF, 0), 72088500);
}

/* */
static void one_percentage_may_hold_for_all_durations(void **state)
{
    (void)state;
    assert_int_equal(sn_session_tolerance_ms(10, 25), 12500);
    assert_int_equal(sn_session_tolerance_ms(100, 25), 125000);
    assert_int_equal(sn_session_tolerance_ms(0xFFFF, 1000), 720885000);
    struct sn_session s = {0};
    sn_session_connect(&s, 1000, 10);
    assert_int_equal(sn_session_deadline(&s, 25, 0), 13500);
    sn_session_sleep(&s, 1000, 100);
    assert_int_equal(sn_session_deadline(&s, 25, 0), 126000);
}

/* SN12-6.11-2, SN12-6.11-3 */
static void an_active_client_is_supervised_from_its_last_message_on(void **state)
{
    (void)state;
    struct sn_session s = {0};
    sn_session_connect(&s, 1000, 40);
    assert_int_equal(s.state, SN_ACTIVE);
    assert_true(sn_session_is_connected(&s));
    assert_int_equal(sn_session_deadline(&s, 0, 0), 61000);
    sn_session_hear(&s, 5000);
    assert_int_equal(sn_session_deadline(&s, 0, 0), 65000);
    sn_session_lose(&s);
    assert_false(sn_session_is_connected(&s));
    assert_true(sn_session_deadline(&s, 0, 0) == SN_NEVER);
}

/* */
static void keep_alive_0_means_no_supervision(void **state)
{
    (void)state;
    struct sn_session s = {0};
    sn_session_connect(&s, 1000, 0);
    assert_true(sn_session_deadline(&s, 0, 0) == SN_NEVER);
}

/* Figure 4; SN12-6.14-4, SN12-6.14-5, SN12-6.14-6, SN12-6.14-10, A-32 */
static void sleep_has_its_own_duration_and_starts_anew_with_every_rest(void **state)
{
    (void)state;
    struct sn_session s = {0};
    sn_session_connect(&s, 0, 2);
    sn_session_sleep(&s, 1000, 100);
    assert_int_equal(sn_session_deadline(&s, 0, 0), 111000);
    sn_session_wake(&s, 50000);
    assert_int_equal(s.state, SN_AWAKE);
    assert_true(sn_session_is_connected(&s));
    assert_true(sn_session_deadline(&s, 0, 0) == SN_NEVER);
    sn_session_rest(&s, 60000);
    assert_int_equal(s.state, SN_ASLEEP);
    assert_int_equal(sn_session_deadline(&s, 0, 0), 170000);
    sn_session_sleep(&s, 70000, 10);
    assert_int_equal(sn_session_deadline(&s, 0, 0), 85000);
    sn_session_wake(&s, 71000);
    sn_session_sleep(&s, 72000, 20);
    assert_int_equal(sn_session_deadline(&s, 0, 0), 102000);
    sn_session_connect(&s, 73000, 2);
    assert_int_equal(sn_session_deadline(&s, 0, 0), 76000);
}

/* SN12-6.14-16 */
static void a_disconnected_client_is_not_supervised(void **state)
{
    (void)state;
    struct sn_session s = {0};
    assert_int_equal(s.state, SN_DISCONNECTED);
    sn_session_connect(&s, 0, 60);
    sn_session_disconnect(&s);
    assert_false(sn_session_is_connected(&s));
    assert_true(sn_session_deadline(&s, 0, 0) == SN_NEVER);
}

/* A frame may be late that was sent in time. */
static void lateness_is_tolerated_where_it_is_more_than_the_tolerance(void **state)
{
    (void)state;
    struct sn_session s = {0};
    sn_session_connect(&s, 0, 60);
    assert_int_equal(sn_session_deadline(&s, 0, 6000), 66000);
    assert_int_equal(sn_session_deadline(&s, 0, 6001), 66001);
    assert_int_equal(sn_session_deadline(&s, 100, 6001), 120000);
    sn_session_sleep(&s, 1000, 10);
    assert_int_equal(sn_session_deadline(&s, 0, 100000), 111000);
}

static void a_lost_client_returns_to_where_it_was(void **state)
{
    (void)state;
    struct sn_session s = {0};
    sn_session_connect(&s, 0, 60);
    sn_session_lose(&s);
    sn_session_return(&s, 100000);
    assert_int_equal(s.state, SN_ACTIVE);
    assert_int_equal(sn_session_deadline(&s, 0, 0), 166000);
    sn_session_sleep(&s, 101000, 100);
    sn_session_lose(&s);
    sn_session_return(&s, 300000);
    assert_int_equal(s.state, SN_ASLEEP);
    assert_int_equal(sn_session_deadline(&s, 0, 0), 410000);
}

static void every_state_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(sn_state_name(SN_DISCONNECTED), "disconnected");
    assert_string_equal(sn_state_name(SN_ACTIVE), "active");
    assert_string_equal(sn_state_name(SN_ASLEEP), "asleep");
    assert_string_equal(sn_state_name(SN_AWAKE), "awake");
    assert_string_equal(sn_state_name(SN_LOST), "lost");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tolerance_is_half_below_a_minute_and_a_tenth_from_there),
        cmocka_unit_test(one_percentage_may_hold_for_all_durations),
        cmocka_unit_test(an_active_client_is_supervised_from_its_last_message_on),
        cmocka_unit_test(keep_alive_0_means_no_supervision),
        cmocka_unit_test(sleep_has_its_own_duration_and_starts_anew_with_every_rest),
        cmocka_unit_test(a_disconnected_client_is_not_supervised),
        cmocka_unit_test(lateness_is_tolerated_where_it_is_more_than_the_tolerance),
        cmocka_unit_test(a_lost_client_returns_to_where_it_was),
        cmocka_unit_test(every_state_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
