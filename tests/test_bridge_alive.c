/* Who is alive: clients that are slow, late or deaf, and whose will must not go out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "bridge/core.h"
#include "tests/bridge_rig.h"

/* A client "a" with a will and a keep-alive of ten minutes that has subscribed to "t/1". */
static void connect_with_will(struct rig *r, const char *connect)
{
    play(r, "broker up\n"
            "    * BROKER_UP\n");
    play(r, connect);
    play(r, "a > WILLTOPIC topic='w/a'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='gone'\n"
            "    save will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > SUBSCRIBE qos=2 mid=1 name='t/1'\n"
            "    save topic 1 1 t/1\n"
            "    subscribe 1 qos=2 t/1 retained\n"
            "subscribed 1 2\n"
            "    save filter 1 1 qos=2 t/1\n"
            "stored\n"
            "    a < SUBACK qos=2 tid=1 mid=1 code=accepted\n");
}

static int begin(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    *state = rig_new(&o);
    connect_with_will(*state, "a > CONNECT will=1 keepalive_s=600 client_id='a'\n"
                              "    a < WILLTOPICREQ\n");
    return 0;
}

static int begin_clean(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    *state = rig_new(&o);
    connect_with_will(*state, "a > CONNECT will=1 clean=1 keepalive_s=600 client_id='a'\n"
                              "    a < WILLTOPICREQ\n");
    return 0;
}

static void change_late(struct rig_options *o)
{
    o->links[0].retry_ms = 40000;
    o->links[0].retry_max_ms = 60000;
    o->links[1].bits_per_s = 1000;
    o->links[1].bits_per_octet = 8;
    o->links[1].frame_max = 125;
    o->links[1].duty_per_mille = 10;
}

static int begin_late(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    change_late(&o);
    *state = rig_new(&o);
    return 0;
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

/* SN12-6.13-1: CONNECT is about something else than what is open, and its dialogue may take
 * longer than all repeats of that. */
static void connect_with_will_ends_the_open_delivery(void **state)
{
    struct rig *r = *state;
    play(r, "message token 1 qos=1 t/1 '1'\n"
            "    store 5 for 1 qos=1 t/1 '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=6 data='1'\n"
            "stored\n"
            "    accept 1\n"
            "wait 9000\n"
            "a > CONNECT will=1 keepalive_s=600 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "wait 30000\n"
            "    +10000\n"
            "    a < WILLTOPICREQ\n"
            "    +20000\n"
            "    a < WILLTOPICREQ\n"
            "    +30000\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC topic='w/a'\n"
            "    a < WILLMSGREQ\n"
            "wait 30000\n"
            "    +10000\n"
            "    a < WILLMSGREQ\n"
            "    +20000\n"
            "    a < WILLMSGREQ\n"
            "    +30000\n"
            "    a < WILLMSGREQ\n"
            "    save account lazy\n"
            "a > WILLMSG message='gone'\n"
            "    save will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=6 data='1'\n");
}

static void a_clean_connect_with_will_ends_the_open_delivery_for_good(void **state)
{
    struct rig *r = *state;
    play(r, "message token 1 qos=2 t/1 '1'\n"
            "    store 5 for 1 qos=2 t/1 '1'\n"
            "stored\n"
            "    accept 1\n"
            "    a < PUBLISH qos=2 tid=1 mid=6 data='1'\n"
            "a > CONNECT will=1 clean=1 keepalive_s=600 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "wait 30000\n"
            "    +10000\n"
            "    a < WILLTOPICREQ\n"
            "    +20000\n"
            "    a < WILLTOPICREQ\n"
            "    +30000\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC topic='w/a'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='gone'\n"
            "    unsubscribe 2 t/1\n"
            "    erase all of 1\n"
            "    save will 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "wait 100000\n");
}

/* The client answers nothing more: what was before goes on, and it has been heard meanwhile. */
static void an_abandoned_connect_leaves_the_client_as_it_was(void **state)
{
    struct rig *r = *state;
    play(r, "message token 1 qos=2 t/1 '1'\n"
            "    store 5 for 1 qos=2 t/1 '1'\n"
            "stored\n"
            "    accept 1\n"
            "    a < PUBLISH qos=2 tid=1 mid=6 data='1'\n"
            "a > PUBREC mid=6\n"
            "    mark 5 for 1 released\n"
            "stored\n"
            "    a < PUBREL mid=6\n"
            "a > PUBCOMP mid=6\n"
            "    forget 5 for 1\n"
            "wait 659000\n"
            "message token 2 qos=2 t/1 '2'\n"
            "    store 8 for 1 qos=2 t/1 '2'\n"
            "    save account lazy\n"
            "stored\n"
            "    accept 2\n"
            "    a < PUBLISH qos=2 tid=1 mid=9 data='2'\n"
            "a > CONNECT will=1 keepalive_s=600 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "wait 20000\n"
            "    +10000\n"
            "    a < WILLTOPICREQ\n"
            "    +20000\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC topic='w/a'\n"
            "    a < WILLMSGREQ\n"
            "wait 39999\n"
            "    +10000\n"
            "    a < WILLMSGREQ\n"
            "    +20000\n"
            "    a < WILLMSGREQ\n"
            "    +30000\n"
            "    a < WILLMSGREQ\n"
            "wait 1\n"
            "    +1\n"
            "    * WILL_ABANDONED a\n"
            "    a < PUBLISH dup=1 qos=2 tid=1 mid=9 data='2'\n"
            "a > PUBREC mid=9\n"
            "    save session 1 lazy\n"
            "    mark 8 for 1 released\n"
            "stored\n"
            "    a < PUBREL mid=9\n"
            "a > PUBCOMP mid=9\n"
            "    forget 8 for 1\n"
            "    save account lazy\n");
}

/* The device hears nothing of us, and sends its readings. What was given up goes out again
 * behind the answer to whatever it sends, and a late answer is one, too. */
static void a_deaf_client_is_not_lost(void **state)
{
    struct rig *r = *state;
    play(r, "message token 1 qos=1 t/1 '1'\n"
            "    store 5 for 1 qos=1 t/1 '1'\n"
            "    a < PUBLISH qos=1 tid=1 mid=6 data='1'\n"
            "stored\n"
            "    accept 1\n"
            "message token 2 qos=1 t/1 '2'\n"
            "    store 6 for 1 qos=1 t/1 '2'\n"
            "stored\n"
            "    accept 2\n"
            "wait 300000\n"
            "    +10000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=6 data='1'\n"
            "    +20000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=6 data='1'\n"
            "    +30000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=6 data='1'\n"
            "    +40000\n"
            "    * CLIENT_NO_ANSWER a: active\n"
            "a > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    save session 1 lazy\n"
            "    store 8 qos=1 pre/one 'x' lazy\n"
            "    publish 8 qos=1 pre/one 'x'\n"
            "    save account lazy\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=6 data='1'\n"
            "wait 300000\n"
            "    +10000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=6 data='1'\n"
            "    +20000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=6 data='1'\n"
            "    +30000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBLISH dup=1 qos=1 tid=1 mid=6 data='1'\n"
            "    +40000\n"
            "    * CLIENT_NO_ANSWER a: active\n"
            "a > PUBACK tid=1 mid=6\n"
            "    save session 1 lazy\n"
            "    forget 5 for 1 lazy\n"
            "    a < PUBLISH qos=1 tid=1 mid=7 data='2'\n"
            "    save account lazy\n"
            "a > PUBACK tid=1 mid=7\n"
            "    forget 6 for 1 lazy\n"
            "message token 3 qos=2 t/1 '3'\n"
            "    store 14 for 1 qos=2 t/1 '3'\n"
            "stored\n"
            "    accept 3\n"
            "    a < PUBLISH qos=2 tid=1 mid=15 data='3'\n"
            "a > PUBREC mid=15\n"
            "    mark 14 for 1 released\n"
            "stored\n"
            "    a < PUBREL mid=15\n"
            "wait 100000\n"
            "    +10000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBREL mid=15\n"
            "    +20000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBREL mid=15\n"
            "    +30000\n"
            "    * DOWN_REPEATED a\n"
            "    a < PUBREL mid=15\n"
            "    +40000\n"
            "    * CLIENT_NO_ANSWER a: active\n"
            "a > PINGREQ\n"
            "    a < PINGRESP\n"
            "    save session 1 lazy\n"
            "    a < PUBREL mid=15\n"
            "    save account lazy\n"
            "a > PUBCOMP mid=15\n"
            "    forget 14 for 1\n");
}

/* One without supervision may be deaf for ever. */
static void who_is_not_supervised_is_not_lost_by_silence(void **state)
{
    struct rig *r = *state;
    play(r, "b > CONNECT client_id='b'\n"
            "    save session 2\n"
            "stored\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n"
            "b > SUBSCRIBE qos=1 mid=1 short='AB'\n"
            "    subscribe 2 qos=1 AB retained\n"
            "subscribed 2 1\n"
            "    save filter 2 1 qos=1 AB\n"
            "stored\n"
            "    b < SUBACK qos=1 tid=0 mid=1 code=accepted\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 7 for 2 qos=1 AB '1'\n"
            "    b < PUBLISH qos=1 short='AB' mid=8 data='1'\n"
            "stored\n"
            "    accept 1\n"
            "wait 500000\n"
            "    +10000\n"
            "    * DOWN_REPEATED b\n"
            "    b < PUBLISH dup=1 qos=1 short='AB' mid=8 data='1'\n"
            "    +20000\n"
            "    * DOWN_REPEATED b\n"
            "    b < PUBLISH dup=1 qos=1 short='AB' mid=8 data='1'\n"
            "    +30000\n"
            "    * DOWN_REPEATED b\n"
            "    b < PUBLISH dup=1 qos=1 short='AB' mid=8 data='1'\n"
            "    +40000\n"
            "    * CLIENT_NO_ANSWER b: active\n"
            "b > REGISTER mid=2 name='t/2'\n"
            "    save topic 2 1 t/2\n"
            "    b < PUBLISH dup=1 qos=1 short='AB' mid=8 data='1'\n"
            "    save account lazy\n"
            "stored\n"
            "    b < REGACK tid=1 mid=2 code=accepted\n"
            "b > PUBACK tid=16706 mid=8\n"
            "    forget 7 for 2 lazy\n");
}

/* 6.14: what a client sends that was lost is taken, and it is not lost any more. */
static void a_lost_client_that_sends_is_taken_back(void **state)
{
    struct rig *r = *state;
    play(r, "wait 660000\n"
            "    +660000\n"
            "    * CLIENT_LOST a: active\n"
            "    * WILL_FIRED a: w/a\n"
            "    publish 5 qos=0 w/a 'gone'\n"
            "    save session 1 lazy\n"
            "    save account lazy\n"
            "stored\n"
            "message token 1 qos=1 t/1 '1'\n"
            "    store 8 for 1 qos=1 t/1 '1'\n"
            "stored\n"
            "    accept 1\n"
            "a > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    * CLIENT_RETURNED a\n"
            "    save session 1 lazy\n"
            "    store 10 qos=1 pre/one 'x' lazy\n"
            "    publish 10 qos=1 pre/one 'x'\n"
            "    a < PUBLISH qos=1 tid=1 mid=9 data='1'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "a > PUBACK tid=1 mid=9\n"
            "    forget 8 for 1 lazy\n"
            "wait 660000\n"
            "    +660000\n"
            "    * CLIENT_LOST a: active\n"
            "    * WILL_FIRED a: w/a\n"
            "    publish 12 qos=0 w/a 'gone'\n"
            "    save session 1 lazy\n"
            "    save account lazy\n"
            "a > PINGREQ\n"
            "    * CLIENT_RETURNED a\n"
            "    save session 1 lazy\n"
            "    a < PINGRESP\n"
            "wait 660000\n"
            "    +660000\n"
            "    * CLIENT_LOST a: active\n"
            "    * WILL_FIRED a: w/a\n"
            "    publish 16 qos=0 w/a 'gone'\n"
            "    save session 1 lazy\n"
            "    save account lazy\n"
            "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_RETURNED a\n"
            "    save session 1 lazy\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n");
}

/* The same while it sleeps; a reading does not wake it. */
static void a_sleeper_that_wakes_late_is_served(void **state)
{
    struct rig *r = *state;
    play(r, "a > DISCONNECT duration_s=100\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 t/1 '1'\n"
            "    store 6 for 1 qos=1 t/1 '1'\n"
            "stored\n"
            "    accept 1\n"
            "wait 110000\n"
            "    +110000\n"
            "    * CLIENT_LOST a: asleep\n"
            "    * WILL_FIRED a: w/a\n"
            "    publish 7 qos=0 w/a 'gone'\n"
            "    save session 1 lazy\n"
            "    save account lazy\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_RETURNED a\n"
            "    save session 1 lazy\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 tid=1 mid=7 data='1'\n"
            "a > PUBACK tid=1 mid=7\n"
            "    forget 6 for 1 lazy\n"
            "    a < PINGRESP\n"
            "message token 2 qos=1 t/1 '2'\n"
            "    store 12 for 1 qos=1 t/1 '2'\n"
            "stored\n"
            "    accept 2\n"
            "wait 110000\n"
            "    +110000\n"
            "    * CLIENT_LOST a: asleep\n"
            "    * WILL_FIRED a: w/a\n"
            "    publish 13 qos=0 w/a 'gone'\n"
            "    save session 1 lazy\n"
            "    save account lazy\n"
            "kill\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "    subscribe 1 qos=2 t/1\n"
            "a > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    * CLIENT_RETURNED a\n"
            "    save session 1 lazy\n"
            "    store 17 qos=1 pre/one 'x' lazy\n"
            "    publish 17 qos=1 pre/one 'x'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "a2 > PINGREQ client_id='a'\n"
            "    * CLIENT_MOVED a\n"
            "    save session 1 lazy\n"
            "    * CLIENT_AWAKE a\n"
            "    fetch for 1 from 12\n");
}

/* A clean session ends with its loss, and who said DISCONNECT has to connect (6.12). */
static void who_has_no_session_any_more_has_to_connect(void **state)
{
    struct rig *r = *state;
    play(r, "wait 660000\n"
            "    +660000\n"
            "    * CLIENT_LOST a: active\n"
            "    * WILL_FIRED a: w/a\n"
            "    publish 5 qos=0 w/a 'gone'\n"
            "    unsubscribe 2 t/1\n"
            "    erase all of 1\n"
            "    save account lazy\n"
            "a > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    * FRAME_UNKNOWN_SENDER: PUBLISH\n"
            "    a < DISCONNECT\n"
            "b > CONNECT client_id='b'\n"
            "    save session 2\n"
            "stored\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n"
            "b > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED b\n"
            "    save session 2\n"
            "stored\n"
            "    b < DISCONNECT\n"
            "b > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    * FRAME_UNKNOWN_SENDER: PUBLISH\n"
            "    b < DISCONNECT\n");
}

/* Half of T_retry is the longest exchange; a frame of one second needs a hundred of them at
 * one percent. */
static void a_link_on_which_frames_are_late_has_more_patience(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=60 client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "wait 79999\n"
            "wait 1\n"
            "    +1\n"
            "    * CLIENT_LOST a: active\n"
            "    save session 1 lazy\n"
            "b@1 > CONNECT keepalive_s=60 client_id='b'\n"
            "    save session 2\n"
            "stored\n"
            "    * CLIENT_CONNECTED b\n"
            "    b@1 < CONNACK code=accepted\n"
            "wait 164999\n"
            "wait 1\n"
            "    +1\n"
            "    * CLIENT_LOST b: active\n"
            "    save session 2 lazy\n");
}

#define WITH(name, setup) cmocka_unit_test_setup_teardown(name, setup, end)

/* The disk writes again after longer than the keep-alive; whoever asked all the time is there. */
static void who_asks_while_the_disk_is_waited_for_is_alive(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=20 client_id='a'\n"
            "    save session 1\n"
            "wait 20000\n"
            "a > CONNECT keepalive_s=20 client_id='a'\n"
            "wait 20000\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "wait 5000\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(who_asks_while_the_disk_is_waited_for_is_alive, begin_late),
        WITH(connect_with_will_ends_the_open_delivery, begin),
        WITH(connect_with_will_ends_the_open_delivery, begin_clean),
        WITH(a_clean_connect_with_will_ends_the_open_delivery_for_good, begin),
        WITH(a_clean_connect_with_will_ends_the_open_delivery_for_good, begin_clean),
        WITH(an_abandoned_connect_leaves_the_client_as_it_was, begin),
        WITH(an_abandoned_connect_leaves_the_client_as_it_was, begin_clean),
        WITH(a_deaf_client_is_not_lost, begin),
        WITH(a_deaf_client_is_not_lost, begin_clean),
        WITH(who_is_not_supervised_is_not_lost_by_silence, begin),
        WITH(a_lost_client_that_sends_is_taken_back, begin),
        WITH(a_sleeper_that_wakes_late_is_served, begin),
        WITH(who_has_no_session_any_more_has_to_connect, begin_clean),
        WITH(a_link_on_which_frames_are_late_has_more_patience, begin_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
