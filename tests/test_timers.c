#include "bridge/timers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT 200

struct fixture {
    struct timers timers;
    void *memory;
    struct timer timer[COUNT];
};

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->memory = calloc(1, timers_size(COUNT));
    timers_init(&f->timers, f->memory, COUNT);
    for (int i = 0; i < COUNT; i++)
        f->timer[i].due_ms = TIMER_NEVER;
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    timers_check(&f->timers);
    free(f->memory);
    free(f);
    return 0;
}

static void nothing_set_is_never_due(void **state)
{
    struct fixture *f = *state;
    assert_true(timers_next(&f->timers) == TIMER_NEVER);
    assert_null(timers_due(&f->timers, UINT64_MAX));
}

static void a_timer_is_due_once_and_then_stopped(void **state)
{
    struct fixture *f = *state;
    timers_set(&f->timers, &f->timer[0], 100);
    assert_null(timers_due(&f->timers, 99));
    assert_ptr_equal(timers_due(&f->timers, 100), &f->timer[0]);
    assert_true(f->timer[0].due_ms == TIMER_NEVER);
    assert_null(timers_due(&f->timers, 1000));
}

/* The heap keeps the old place; next() may be early and is never late. */
static void a_deadline_moves_both_ways(void **state)
{
    struct fixture *f = *state;
    timers_set(&f->timers, &f->timer[0], 100);
    timers_set(&f->timers, &f->timer[0], 300);
    assert_true(timers_next(&f->timers) <= 300);
    assert_null(timers_due(&f->timers, 299));
    timers_set(&f->timers, &f->timer[0], 200);
    assert_true(timers_next(&f->timers) <= 200);
    assert_ptr_equal(timers_due(&f->timers, 200), &f->timer[0]);
}

static void a_stopped_timer_is_not_due(void **state)
{
    struct fixture *f = *state;
    timers_set(&f->timers, &f->timer[0], 100);
    timers_set(&f->timers, &f->timer[1], 200);
    timers_set(&f->timers, &f->timer[0], TIMER_NEVER);
    timers_remove(&f->timers, &f->timer[1]);
    timers_remove(&f->timers, &f->timer[1]);
    assert_true(timers_next(&f->timers) == TIMER_NEVER);
}

static void many_come_in_the_order_of_their_deadlines(void **state)
{
    struct fixture *f = *state;
    uint32_t random = 1;
    for (int round = 0; round < 2000; round++) {
        random = random * 1664525u + 1013904223u;
        struct timer *t = &f->timer[random >> 8 & 127];
        const uint64_t due = random >> 16 & 1023;
        if (due < 100)
            timers_remove(&f->timers, t), t->due_ms = TIMER_NEVER;
        else
            timers_set(&f->timers, t, due);
        timers_check(&f->timers);
    }
    int expected = 0;
    for (int i = 0; i < COUNT; i++)
        expected += f->timer[i].due_ms != TIMER_NEVER;
    int found = 0;
    for (uint64_t now = 0; now < 1024; now++) {
        for (int i = 0; i < COUNT; i++)
            assert_true(f->timer[i].due_ms >= now);
        while (timers_due(&f->timers, now) != NULL)
            found++;
    }
    assert_int_equal(found, expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_set_is_never_due, begin, end),
        cmocka_unit_test_setup_teardown(a_timer_is_due_once_and_then_stopped, begin, end),
        cmocka_unit_test_setup_teardown(a_deadline_moves_both_ways, begin, end),
        cmocka_unit_test_setup_teardown(a_stopped_timer_is_not_due, begin, end),
        cmocka_unit_test_setup_teardown(many_come_in_the_order_of_their_deadlines, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
