/* A message that several filters match, from a broker that names none (MQTT 3.1.1). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/bridge_rig.h"

static int begin(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    o.config.overlaps = BRIDGE_OVERLAPS_AUTO;
    *state = rig_new(&o);
    rig_broker_up(*state, false, 10, 2);
    rig_skip(*state);
    return 0;
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

/* Sensor "a" has "pre/#" with QoS 2, and "b" has the topic of predefined id 1. */
static void subscribe(struct rig *r)
{
    play(r, "a > CONNECT keepalive_s=60 client_id='a'\n"
            "    save session 1\n"
            "b > CONNECT keepalive_s=60 client_id='b'\n"
            "    save session 2\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n"
            "a > SUBSCRIBE qos=2 mid=1 name='pre/#'\n"
            "    subscribe 1 qos=2 pre/# retained\n"
            "b > SUBSCRIBE qos=0 mid=1 predefined=1\n"
            "    subscribe 2 qos=0 pre/one retained\n"
            "subscribed 1 2\n"
            "    save filter 1 1 qos=2 pre/#\n"
            "subscribed 2 0\n"
            "    save filter 2 1 qos=0 pre/one\n"
            "stored\n"
            "    a < SUBACK qos=2 tid=0 mid=1 code=accepted\n"
            "    b < SUBACK qos=0 tid=1 mid=1 code=accepted\n");
}

/* Both filters match, and each copy would be for both sensors. */
static void of_the_copies_for_each_filter_each_sensor_has_one(void **state)
{
    struct rig *r = *state;
    subscribe(r);
    play(r, "message qos=0 pre/one 'on'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "    a < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "message qos=0 pre/one 'on'\n"
            "    * DOWN_COPY: pre/one\n");
}

/* Two copies are one message, four are two. */
static void equal_messages_are_as_many_as_were_published(void **state)
{
    struct rig *r = *state;
    subscribe(r);
    play(r, "message qos=0 pre/one 'on'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "    a < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "message qos=0 pre/one 'on'\n"
            "    * DOWN_COPY: pre/one\n"
            "message qos=0 pre/one 'on'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "message qos=0 pre/one 'on'\n"
            "    a < PUBLISH qos=0 predefined=1 mid=0 data='on'\n");
}

/* The first lone one says so; from then on equal messages are what they are. */
static void a_broker_that_sends_one_copy_is_known_by_that(void **state)
{
    struct rig *r = *state;
    subscribe(r);
    play(r, "message qos=0 pre/one 'on'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "    a < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "wait 1000\n"
            "message qos=0 pre/one 'off'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='off'\n"
            "    a < PUBLISH qos=0 predefined=1 mid=0 data='off'\n"
            "message qos=0 pre/one 'off'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='off'\n"
            "    a < PUBLISH qos=0 predefined=1 mid=0 data='off'\n");
}

/* Copies come together: another message behind a single one says that there are none. */
static void another_message_behind_it_says_the_same_at_once(void **state)
{
    struct rig *r = *state;
    subscribe(r);
    play(r, "message qos=0 pre/one 'on'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "    a < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "message qos=0 pre/one 'off'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='off'\n"
            "    a < PUBLISH qos=0 predefined=1 mid=0 data='off'\n"
            "message qos=0 pre/one 'off'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='off'\n"
            "    a < PUBLISH qos=0 predefined=1 mid=0 data='off'\n");
}

/* Whoever has a better filter waits for the copy that comes for it. */
static void each_sensor_has_the_copy_that_is_good_enough_for_it(void **state)
{
    struct rig *r = *state;
    subscribe(r);
    play(r, "message qos=0 pre/one 'first'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='first'\n"
            "    a < PUBLISH qos=0 predefined=1 mid=0 data='first'\n"
            "message qos=0 pre/one 'first'\n"
            "    * DOWN_COPY: pre/one\n"
            "message qos=0 pre/one 'on'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "message token 1 qos=2 pre/one 'on'\n"
            "    store 8 for 1 qos=2 pre/one 'on'\n"
            "stored\n"
            "    accept 1\n"
            "    a < PUBLISH qos=2 predefined=1 mid=9 data='on'\n");
}

/* What is not acknowledged comes in the next connection. */
static void copies_after_a_lost_connection_are_still_copies(void **state)
{
    struct rig *r = *state;
    subscribe(r);
    play(r, "message qos=0 pre/one 'on'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "    a < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 5000\n"
            "    +816\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "message qos=0 pre/one 'on'\n"
            "    * DOWN_COPY: pre/one\n");
}

static void without_its_session_the_broker_owes_no_copies(void **state)
{
    struct rig *r = *state;
    subscribe(r);
    play(r, "message qos=0 pre/one 'on'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "    a < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 5000\n"
            "    +816\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    subscribe 3 qos=0 pre/one\n"
            "    subscribe 4 qos=2 pre/#\n"
            "message qos=0 pre/one 'on'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "    a < PUBLISH qos=0 predefined=1 mid=0 data='on'\n");
}

/* One copy was too much for the disk: the broker sends it again, and it is no copy of itself. */
static void what_the_disk_refused_is_no_copy_when_it_comes_again(void **state)
{
    struct rig *r = *state;
    subscribe(r);
    play(r, "message token 1 qos=2 pre/one 'on'\n"
            "    save overlap 0\n"
            "    store 7 for 1 qos=2 pre/one 'on'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "store failed\n"
            "    * STORE_FAILED\n"
            "    erase overlap 0\n"
            "    * BROKER_CUT\n"
            "    disconnect broker\n"
            "wait 5000\n"
            "    +816\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "message token 2 qos=2 pre/one 'on'\n"
            "    save overlap 0\n"
            "    store 11 for 1 qos=2 pre/one 'on'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "stored\n"
            "    accept 2\n"
            "    a < PUBLISH qos=2 predefined=1 mid=12 data='on'\n");
}

/* The first copy is on the disk, and so is that there is another one. */
static void copies_after_a_crash_are_still_copies(void **state)
{
    struct rig *r = *state;
    subscribe(r);
    play(r, "message token 1 qos=2 pre/one 'on'\n"
            "    save overlap 0\n"
            "    store 7 for 1 qos=2 pre/one 'on'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "stored\n"
            "    accept 1\n"
            "    a < PUBLISH qos=2 predefined=1 mid=8 data='on'\n"
            "crash\n"
            "    fetch for 1 from 7\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "    subscribe 1 qos=2 pre/#\n"
            "    subscribe 2 qos=0 pre/one\n"
            "message token 1 qos=2 pre/one 'on'\n"
            "    erase overlap 0\n"
            "    * DOWN_COPY: pre/one\n"
            "    accept 1\n");
}

/* The operator knows. */
static void the_configuration_may_say_that_there_is_one_copy(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    o.config.overlaps = BRIDGE_OVERLAPS_ONE;
    struct rig *r = rig_new(&o);
    (void)state;
    rig_broker_up(r, false, 10, 2);
    rig_skip(r);
    subscribe(r);
    play(r, "message qos=0 pre/one 'on'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "    a < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "message qos=0 pre/one 'on'\n"
            "    b < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "    a < PUBLISH qos=0 predefined=1 mid=0 data='on'\n");
    rig_free(r);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(of_the_copies_for_each_filter_each_sensor_has_one),
        TEST(equal_messages_are_as_many_as_were_published),
        TEST(a_broker_that_sends_one_copy_is_known_by_that),
        TEST(another_message_behind_it_says_the_same_at_once),
        TEST(each_sensor_has_the_copy_that_is_good_enough_for_it),
        TEST(copies_after_a_lost_connection_are_still_copies),
        TEST(without_its_session_the_broker_owes_no_copies),
        TEST(what_the_disk_refused_is_no_copy_when_it_comes_again),
        TEST(copies_after_a_crash_are_still_copies),
        cmocka_unit_test(the_configuration_may_say_that_there_is_one_copy),
    };
    return cmocka_run_group_tests_name("bridge_overlaps", tests, NULL, NULL);
}
