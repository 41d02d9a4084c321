#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/timeline.h"

#define DAY UINT64_C(86400000)
#define SET (TIMELINE_SET_MS + 500 * DAY)

static uint64_t resume(struct timeline_mark last, struct timeline_mark now)
{
    return timeline_resume(&last, &now);
}

static void the_first_start_is_by_the_wall_clock(void **state)
{
    (void)state;
    assert_int_equal(resume((struct timeline_mark){0}, (struct timeline_mark){.wall_ms = SET}),
                     SET);
}

static void a_wall_clock_that_was_set_tells_how_long_the_bridge_was_off(void **state)
{
    (void)state;
    assert_int_equal(
        resume((struct timeline_mark){.own_ms = 5000, .wall_ms = SET, .boot_ms = 9, .boot = 1},
               (struct timeline_mark){.wall_ms = SET + 3 * DAY, .boot_ms = 1, .boot = 2}),
        5000 + 3 * DAY);
}

static void ntp_and_steps_do_not_make_anything_older(void **state)
{
    const struct timeline_mark no_clock = {.own_ms = 5000, .wall_ms = 4000};
    const struct timeline_mark set = {.own_ms = SET, .wall_ms = SET};
    (void)state;
    assert_int_equal(resume(no_clock, (struct timeline_mark){.wall_ms = SET}), 5000);
    assert_int_equal(resume(no_clock, (struct timeline_mark){.wall_ms = 4100}), 5000);
    assert_int_equal(resume(set, (struct timeline_mark){.wall_ms = 4000}), SET);
    assert_int_equal(resume(set, (struct timeline_mark){.wall_ms = SET - DAY}), SET);
    assert_int_equal(resume(set, (struct timeline_mark){.wall_ms = SET + 3650 * DAY}), SET);
}

static void while_the_machine_runs_its_own_clock_counts(void **state)
{
    const struct timeline_mark last = {
        .own_ms = 5000, .wall_ms = 4000, .boot_ms = 70000, .boot = 7};
    (void)state;
    assert_int_equal(
        resume(last, (struct timeline_mark){.wall_ms = SET, .boot_ms = 72000, .boot = 7}), 7000);
    assert_int_equal(
        resume(last, (struct timeline_mark){.wall_ms = 0, .boot_ms = 72000, .boot = 7}), 7000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_start_is_by_the_wall_clock),
        cmocka_unit_test(a_wall_clock_that_was_set_tells_how_long_the_bridge_was_off),
        cmocka_unit_test(ntp_and_steps_do_not_make_anything_older),
        cmocka_unit_test(while_the_machine_runs_its_own_clock_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
