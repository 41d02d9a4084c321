#include "mqttsn/retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void nothing_is_due_before_the_wait_is_over(void **state)
{
    struct sn_retry r;
    (void)state;

    sn_retry_start(&r, 1000, 10000, 10000, 3);
    assert_int_equal(r.due_ms, 11000);
    assert_int_equal(sn_retry_check(&r, 10999), SN_RETRY_WAIT);
    assert_int_equal(sn_retry_check(&r, 11000), SN_RETRY_REPEAT);
    assert_int_equal(sn_retry_check(&r, 11000), SN_RETRY_WAIT);
}

/* 6.13: N_retry repeats, each with its own wait, and the last wait counts, too. */
static void the_peer_is_lost_after_the_last_repeat_has_had_its_wait(void **state)
{
    struct sn_retry r;
    (void)state;

    sn_retry_start(&r, 0, 10000, 10000, 2);
    assert_int_equal(sn_retry_check(&r, 10000), SN_RETRY_REPEAT);
    assert_int_equal(sn_retry_check(&r, 20000), SN_RETRY_REPEAT);
    assert_int_equal(sn_retry_check(&r, 29999), SN_RETRY_WAIT);
    assert_int_equal(sn_retry_check(&r, 30000), SN_RETRY_LOST);
    assert_int_equal(r.due_ms, SN_NEVER);
    assert_int_equal(sn_retry_check(&r, SN_NEVER), SN_RETRY_WAIT);
}

static void the_wait_doubles_up_to_its_limit(void **state)
{
    struct sn_retry r;
    (void)state;

    sn_retry_start(&r, 0, 1000, 5000, 9);
    const uint64_t due[] = {1000, 3000, 7000, 12000, 17000};
    for (size_t i = 0; i < sizeof due / sizeof *due; i++) {
        assert_int_equal(r.due_ms, due[i]);
        assert_int_equal(sn_retry_check(&r, due[i]), SN_RETRY_REPEAT);
    }
}

static void the_longest_possible_wait_does_not_overflow(void **state)
{
    struct sn_retry r;
    (void)state;

    sn_retry_start(&r, 0, UINT32_MAX - 1, UINT32_MAX, 2);
    assert_int_equal(sn_retry_check(&r, UINT32_MAX), SN_RETRY_REPEAT);
    assert_int_equal(r.wait_ms, UINT32_MAX);
    assert_int_equal(r.due_ms, 2 * (uint64_t)UINT32_MAX);
}

static void a_limit_below_the_wait_means_a_fixed_wait(void **state)
{
    struct sn_retry r;
    (void)state;

    sn_retry_start(&r, 0, 1000, 0, 2);
    assert_int_equal(sn_retry_check(&r, 1000), SN_RETRY_REPEAT);
    assert_int_equal(r.due_ms, 2000);
}

/* The radio was off for an hour: one repeat is due, not three hundred. */
static void a_late_check_repeats_once(void **state)
{
    struct sn_retry r;
    (void)state;

    sn_retry_start(&r, 0, 10000, 10000, 5);
    assert_int_equal(sn_retry_check(&r, 3600000), SN_RETRY_REPEAT);
    assert_int_equal(sn_retry_check(&r, 3600001), SN_RETRY_WAIT);
    assert_int_equal(r.due_ms, 3610000);
    assert_int_equal(r.left, 4);
}

static void the_wait_counts_from_when_the_last_bit_has_left(void **state)
{
    struct sn_retry r;
    (void)state;

    sn_retry_start(&r, 0, 10000, 10000, 1);
    sn_retry_sent(&r, 7000);
    assert_int_equal(sn_retry_check(&r, 16999), SN_RETRY_WAIT);
    assert_int_equal(sn_retry_check(&r, 17000), SN_RETRY_REPEAT);
}

static void a_stopped_timer_is_never_due_and_sending_does_not_wake_it(void **state)
{
    struct sn_retry r;
    (void)state;

    sn_retry_start(&r, 0, 10000, 10000, 1);
    sn_retry_stop(&r);
    sn_retry_sent(&r, 5000);
    assert_int_equal(r.due_ms, SN_NEVER);
    assert_int_equal(sn_retry_check(&r, 1u << 30), SN_RETRY_WAIT);
}

static void without_repeats_the_first_wait_is_the_last(void **state)
{
    struct sn_retry r;
    (void)state;

    sn_retry_start(&r, 0, 10000, 10000, 0);
    assert_int_equal(sn_retry_check(&r, 10000), SN_RETRY_LOST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_due_before_the_wait_is_over),
        cmocka_unit_test(the_peer_is_lost_after_the_last_repeat_has_had_its_wait),
        cmocka_unit_test(the_wait_doubles_up_to_its_limit),
        cmocka_unit_test(the_longest_possible_wait_does_not_overflow),
        cmocka_unit_test(a_limit_below_the_wait_means_a_fixed_wait),
        cmocka_unit_test(a_late_check_repeats_once),
        cmocka_unit_test(the_wait_counts_from_when_the_last_bit_has_left),
        cmocka_unit_test(a_stopped_timer_is_never_due_and_sending_does_not_wake_it),
        cmocka_unit_test(without_repeats_the_first_wait_is_the_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
