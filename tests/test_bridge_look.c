#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/bridge_rig.h"

/* Link 1 is a radio that we may use for a tenth of the time. */
static int begin(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    o.links[1].bits_per_s = 1200;
    o.links[1].duty_per_mille = 100;
    o.config.max_live = 2;
    *state = rig_new(&o);
    return 0;
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

static void round_trips_are_of_those_measured_on_the_link(void **state)
{
    struct rig *r = *state;
    struct bridge_link_figures f[2];
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > CONNECT clean=1 keepalive_s=0 client_id='a'\n"
            "    save session 1\n"
            "b > CONNECT clean=1 keepalive_s=0 client_id='b'\n"
            "    save session 2\n"
            "c@1 > CONNECT clean=1 keepalive_s=0 client_id='c'\n"
            "    save session 3\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n"
            "    * CLIENT_CONNECTED c\n"
            "    c@1 < CONNACK code=accepted\n"
            "a > SUBSCRIBE qos=1 mid=1 short='AB'\n"
            "    subscribe 1 qos=1 AB retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 AB\n"
            "b > SUBSCRIBE qos=1 mid=1 short='AB'\n"
            "    subscribe 2 qos=1 AB retained\n"
            "subscribed 2 1\n"
            "    save filter 2 1 qos=1 AB\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=1 code=accepted\n"
            "    b < SUBACK qos=1 tid=0 mid=1 code=accepted\n"
            "wait 5000\n");
    bridge_get_links(rig_bridge(r), f);
    assert_int_equal(f[0].clients, 2);
    assert_int_equal(f[0].connected, 2);
    assert_int_equal(f[0].measured, 0);
    assert_int_equal(f[1].clients, 1);
    play(r, "message token 1 qos=1 AB '1'\n"
            "    store 6 for 1 qos=1 AB '1'\n"
            "    store 7 for 2 qos=1 AB '1'\n"
            "    a < PUBLISH qos=1 short='AB' mid=7 data='1'\n"
            "    b < PUBLISH qos=1 short='AB' mid=8 data='1'\n"
            "stored\n"
            "    accept 1\n"
            "wait 100\n"
            "a > PUBACK tid=1 mid=7 code=accepted\n"
            "    forget 6 for 1 lazy\n"
            "wait 200\n"
            "b > PUBACK tid=1 mid=8 code=accepted\n"
            "    forget 7 for 2 lazy\n"
            "a > DISCONNECT duration_s=60\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n");
    bridge_get_links(rig_bridge(r), f);
    assert_int_equal(f[0].connected, 2); /* one of them asleep */
    assert_int_equal(f[0].measured, 2);
    assert_int_equal(f[0].round_trip_min_ms, 100);
    assert_int_equal(f[0].round_trip_mean_ms, 200);
    assert_int_equal(f[0].round_trip_max_ms, 300);
    assert_int_equal(f[1].measured, 0);
}

/* CONNACK has 3 octets: 20 ms at 1200 bit/s. A tenth of an hour are six minutes. */
static void air_time_is_counted_where_the_rate_is_known(void **state)
{
    struct rig *r = *state;
    struct bridge_link_figures f[2];
    play(r, "c@1 > CONNECT clean=1 keepalive_s=0 client_id='c'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED c\n"
            "    c@1 < CONNACK code=accepted\n");
    bridge_get_links(rig_bridge(r), f);
    assert_false(f[0].paced);
    assert_int_equal(f[0].air_used_ms, 0);
    assert_true(f[1].paced);
    assert_int_equal(f[1].air_used_ms, 20);
    assert_int_equal(f[1].air_budget_ms, 360000);
    assert_int_equal(f[1].air_queued, 0);
}

struct seen {
    struct bridge_waiting items[4];
    size_t count;
};

static void keep(void *ctx, const struct bridge_waiting *w)
{
    struct seen *seen = ctx;
    assert_true(seen->count < 4);
    seen->items[seen->count++] = *w;
}

static void what_waits_has_a_count_a_size_and_an_age(void **state)
{
    struct rig *r = *state;
    struct seen seen = {0};
    play(r, "a > CONNECT clean=1 keepalive_s=0 client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > SUBSCRIBE qos=1 mid=1 short='AB'\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    subscribe 1 qos=1 AB retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 AB\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=1 code=accepted\n"
            "a > DISCONNECT duration_s=600\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 AB '12'\n"
            "    store 4 for 1 qos=1 AB '12'\n"
            "stored\n"
            "    accept 1\n"
            "wait 1000\n"
            "message token 2 qos=1 AB '345'\n"
            "    store 5 for 1 qos=1 AB '345'\n"
            "stored\n"
            "    accept 2\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "c > CONNECT keepalive_s=0 client_id='c'\n"
            "    save session 2\n"
            "stored\n"
            "    * CLIENT_CONNECTED c\n"
            "    c < CONNACK code=accepted\n"
            "c > PUBLISH qos=1 short='CD' mid=1 data='1234'\n"
            "    store 7 qos=1 CD '1234'\n"
            "stored\n"
            "    c < PUBACK tid=17220 mid=1 code=accepted\n"
            "c > PUBLISH qos=1 short='CD' mid=2 data='12345'\n"
            "    store 8 qos=1 CD '12345'\n"
            "stored\n"
            "    c < PUBACK tid=17220 mid=2 code=accepted\n"
            "c > PUBLISH qos=1 short='CD' mid=3 data='123456'\n"
            "    store 9 qos=1 CD '123456'\n"
            "stored\n"
            "    c < PUBACK tid=17220 mid=3 code=accepted\n"
            "wait 500\n");
    bridge_each_waiting(rig_bridge(r), keep, &seen);
    assert_int_equal(seen.count, 2);
    const struct bridge_waiting *up = &seen.items[0];
    assert_true(up->up);
    assert_int_equal(up->client.len, 0);
    assert_int_equal(up->count, 3);
    assert_int_equal(up->in_memory, 2); /* max_live */
    assert_int_equal(up->bytes, 9);
    assert_int_equal(up->oldest_ms, rig_now(r) - 500);
    const struct bridge_waiting *down = &seen.items[1];
    assert_false(down->up);
    assert_memory_equal(down->client.data, "a", 1);
    assert_int_equal(down->count, 2);
    assert_int_equal(down->bytes, 5);
    assert_int_equal(down->oldest_ms, rig_now(r) - 1500);
    assert_int_equal(down->undecided, 0);

    /* After a restart it is all there, but nobody has looked at it yet. */
    play(r, "kill\n"
            "    * RESTORED\n"
            "    connect broker\n");
    seen.count = 0;
    bridge_each_waiting(rig_bridge(r), keep, &seen);
    assert_int_equal(seen.count, 2);
    assert_int_equal(up->count, 3);
    assert_int_equal(up->in_memory, 0);
    assert_int_equal(up->oldest_ms, 0);
    assert_int_equal(down->count, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define LOOK(test) cmocka_unit_test_setup_teardown(test, begin, end)
        LOOK(round_trips_are_of_those_measured_on_the_link),
        LOOK(air_time_is_counted_where_the_rate_is_known),
        LOOK(what_waits_has_a_count_a_size_and_an_age),
#undef LOOK
    };
    return cmocka_run_group_tests_name("look", tests, NULL, NULL);
}
