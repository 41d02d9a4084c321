#include "sim/quantity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void assert_time(const char *text, uint64_t expected)
{
    uint64_t us = 0;
    if (!sim_time_read(text, &us) || us != expected)
        fail_msg("%s: %llu", text, (unsigned long long)us);
}

static void times_are_read_in_their_units(void **state)
{
    (void)state;
    assert_time("0", 0);
    assert_time("7us", 7);
    assert_time("150ms", 150000);
    assert_time("1.5s", 1500000);
    assert_time("10min", 600 * SIM_S);
    assert_time("10m", 600 * SIM_S);
    assert_time("4.8h", 17280 * SIM_S);
    assert_time("1d", 86400 * SIM_S);
    assert_time("3650d", UINT64_C(3650) * 86400 * SIM_S);
    assert_time("1h40min", 6000 * SIM_S);
    assert_time("0.000001s", 1);
}

static void what_is_no_time_is_refused(void **state)
{
    static const char *const bad[] = {"",      "5",    "s",     "-1s",
                                      "1x",    "1s ",  "1 s",   "1.2.3s",
                                      "1e99s", "1mss", "1hmin", "99999999999999999999s"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t us = 42;
        if (sim_time_read(bad[i], &us))
            fail_msg("\"%s\" was read", bad[i]);
        assert_int_equal(us, 42);
    }
}

static void a_span_is_a_time_or_two(void **state)
{
    struct sim_span span;
    (void)state;
    assert_string_equal(sim_read_span("400ms..2s, next", &span), ", next");
    assert_int_equal(span.low, 400000);
    assert_int_equal(span.high, 2000000);
    assert_string_equal(sim_read_span("3s", &span), "");
    assert_int_equal(span.low, span.high);
    assert_string_equal(sim_read_span("0..5s", &span), "");
    assert_int_equal(span.low, 0);
    assert_null(sim_read_span("2s..1s", &span));
    assert_null(sim_read_span("2s..", &span));
}

static void chances_are_read_as_percent_share_or_power(void **state)
{
    uint64_t ppb;
    (void)state;
    assert_string_equal(sim_read_chance("2%", &ppb), "");
    assert_int_equal(ppb, 20000000);
    assert_string_equal(sim_read_chance("2 %", &ppb), "");
    assert_int_equal(ppb, 20000000);
    assert_string_equal(sim_read_chance("0.02", &ppb), "");
    assert_int_equal(ppb, 20000000);
    assert_string_equal(sim_read_chance("1e-6", &ppb), "");
    assert_int_equal(ppb, 1000);
    assert_string_equal(sim_read_chance("0.0000001%", &ppb), "");
    assert_int_equal(ppb, 1);
    assert_string_equal(sim_read_chance("100% x", &ppb), " x");
    assert_int_equal(ppb, SIM_ALWAYS);
    assert_null(sim_read_chance("101%", &ppb));
    assert_null(sim_read_chance("1.5", &ppb));
    assert_null(sim_read_chance("%", &ppb));
}

static void rates_are_read_as_bits_per_second(void **state)
{
    uint64_t rate;
    (void)state;
    assert_string_equal(sim_read_rate("9600", &rate), "");
    assert_int_equal(rate, 9600);
    assert_string_equal(sim_read_rate("28.8k", &rate), "");
    assert_int_equal(rate, 28800);
    assert_string_equal(sim_read_rate("64kbit", &rate), "");
    assert_int_equal(rate, 64000);
    assert_string_equal(sim_read_rate("1.5Mbit/s", &rate), "");
    assert_int_equal(rate, 1500000);
    assert_string_equal(sim_read_rate("none", &rate), "");
    assert_int_equal(rate, 0);
    assert_null(sim_read_rate("fast", &rate));
}

static void what_is_printed_is_read_back_the_same(void **state)
{
    static const uint64_t numbers[] = {1,          999,         1000,        1500,     20000,
                                       99999,      100000,      150000,      1234567,  2699800000,
                                       6000000000, 17280000000, 86400000000, 999999999};
    char text[64];
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        const uint64_t n = numbers[i];
        uint64_t back = 0;
        assert_true(sim_time_read(sim_time_print(n, text, sizeof text), &back));
        assert_int_equal(back, n);
        assert_non_null(sim_read_rate(sim_rate_print(n, text, sizeof text), &back));
        assert_int_equal(back, n);
        if (n <= SIM_ALWAYS) {
            assert_non_null(
                sim_read_chance(sim_chance_print((uint32_t)n, text, sizeof text), &back));
            assert_int_equal(back, n);
        }
    }
    assert_string_equal(sim_time_print(17280 * SIM_S, text, sizeof text), "4.8h");
    assert_string_equal(sim_time_print(150000, text, sizeof text), "150ms");
    assert_string_equal(sim_rate_print(64000, text, sizeof text), "64k");
    assert_string_equal(sim_chance_print(1000, text, sizeof text), "1e-6");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_read_in_their_units),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(a_span_is_a_time_or_two),
        cmocka_unit_test(chances_are_read_as_percent_share_or_power),
        cmocka_unit_test(rates_are_read_as_bits_per_second),
        cmocka_unit_test(what_is_printed_is_read_back_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
