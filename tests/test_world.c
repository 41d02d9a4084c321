#include "sim/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct diary {
    struct sim_world *w;
    char text[256];
    struct sim_timer timer;
};

static void write_down(void *ctx, uint64_t arg)
{
    struct diary *d = ctx;
    const size_t len = strlen(d->text);
    snprintf(d->text + len, sizeof d->text - len, "%llu:%c ", (unsigned long long)sim_now(d->w),
             (char)arg);
}

static int open_diary(void **state)
{
    struct diary *d = calloc(1, sizeof *d);
    d->w = sim_world_open();
    d->timer = (struct sim_timer){.fn = write_down, .ctx = d, .arg = 't'};
    *state = d;
    return 0;
}

static int close_diary(void **state)
{
    struct diary *d = *state;
    sim_world_close(d->w);
    free(d);
    return 0;
}

static void events_happen_in_the_order_of_time(void **state)
{
    struct diary *d = *state;
    sim_at(d->w, 30, write_down, d, 'c');
    sim_at(d->w, 10, write_down, d, 'a');
    sim_at(d->w, 20, write_down, d, 'b');
    sim_world_run_until(d->w, 100);
    assert_string_equal(d->text, "10:a 20:b 30:c ");
    assert_int_equal(sim_now(d->w), 100);
    assert_int_equal(sim_world_events(d->w), 3);
}

static void events_at_one_time_happen_in_the_order_of_their_arrangement(void **state)
{
    struct diary *d = *state;
    for (char c = 'a'; c <= 'j'; c++)
        sim_at(d->w, 5, write_down, d, (uint64_t)c);
    sim_world_run_until(d->w, 5);
    assert_string_equal(d->text, "5:a 5:b 5:c 5:d 5:e 5:f 5:g 5:h 5:i 5:j ");
}

static void what_is_due_in_the_past_happens_now(void **state)
{
    struct diary *d = *state;
    sim_world_run_until(d->w, 50);
    sim_at(d->w, 10, write_down, d, 'a');
    assert_int_equal(sim_world_next(d->w), 50);
    sim_world_run_until(d->w, 50);
    assert_string_equal(d->text, "50:a ");
}

static void a_run_stops_where_it_is_told_to(void **state)
{
    struct diary *d = *state;
    sim_at(d->w, 10, write_down, d, 'a');
    sim_at(d->w, 11, write_down, d, 'b');
    sim_world_run_until(d->w, 10);
    assert_string_equal(d->text, "10:a ");
    assert_int_equal(sim_world_next(d->w), 11);
}

static void a_timer_can_be_moved_and_taken_back(void **state)
{
    struct diary *d = *state;
    sim_timer_set(d->w, &d->timer, 10);
    sim_timer_set(d->w, &d->timer, 20);
    sim_world_run_until(d->w, 30);
    assert_string_equal(d->text, "20:t ");
    sim_timer_set(d->w, &d->timer, 40);
    sim_timer_stop(d->w, &d->timer);
    sim_timer_stop(d->w, &d->timer);
    assert_int_equal(sim_world_next(d->w), SIM_NEVER);
    sim_timer_set(d->w, &d->timer, 50);
    sim_timer_set(d->w, &d->timer, SIM_NEVER);
    sim_world_run_until(d->w, 60);
    assert_string_equal(d->text, "20:t ");
}

static void again(void *ctx, uint64_t arg)
{
    struct diary *d = ctx;
    write_down(d, arg);
    if (arg > 'a')
        sim_at(d->w, sim_now(d->w) + 1, again, d, arg - 1);
}

static void an_event_can_arrange_another(void **state)
{
    struct diary *d = *state;
    sim_at(d->w, 1, again, d, 'd');
    sim_world_run_until(d->w, 10);
    assert_string_equal(d->text, "1:d 2:c 3:b 4:a ");
}

/* Thousands of timers set, moved and stopped in a pattern: each happens at its last time. */
static uint64_t happened[3000];
static struct sim_world *crowd_world;

static void happens(void *ctx, uint64_t arg)
{
    (void)ctx;
    happened[arg] = sim_now(crowd_world);
}

static void a_crowd_of_timers_keeps_its_order(void **state)
{
    static struct sim_timer timers[3000];
    struct sim_world *w = crowd_world = sim_world_open();
    uint64_t expected[3000];
    (void)state;
    for (uint64_t i = 0; i < 3000; i++) {
        timers[i] = (struct sim_timer){.fn = happens, .arg = i};
        sim_timer_set(w, &timers[i], 1 + i * 7919 % 3001);
    }
    for (uint64_t i = 0; i < 3000; i++) {
        expected[i] = 1 + i * 7919 % 3001;
        if (i % 3 == 1) {
            expected[i] = 1 + i * 104729 % 5003;
            sim_timer_set(w, &timers[i], expected[i]);
        } else if (i % 3 == 2) {
            expected[i] = 0;
            sim_timer_stop(w, &timers[i]);
        }
    }
    sim_world_run_until(w, 6000);
    assert_memory_equal(happened, expected, sizeof expected);
    assert_int_equal(sim_world_events(w), 2000);
    sim_world_close(w);
}

static void closing_a_world_makes_its_timers_idle(void **state)
{
    struct sim_timer t = {.fn = happens};
    struct sim_world *w = sim_world_open();
    (void)state;
    sim_timer_set(w, &t, 10);
    sim_at(w, 10, happens, NULL, 0);
    sim_world_close(w);
    assert_int_equal(t.at, 0);
}

#define DIARY(test) cmocka_unit_test_setup_teardown(test, open_diary, close_diary)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DIARY(events_happen_in_the_order_of_time),
        DIARY(events_at_one_time_happen_in_the_order_of_their_arrangement),
        DIARY(what_is_due_in_the_past_happens_now),
        DIARY(a_run_stops_where_it_is_told_to),
        DIARY(a_timer_can_be_moved_and_taken_back),
        DIARY(an_event_can_arrange_another),
        cmocka_unit_test(a_crowd_of_timers_keeps_its_order),
        cmocka_unit_test(closing_a_world_makes_its_timers_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
