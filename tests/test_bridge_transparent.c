#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/bridge_rig.h"

/* Clients "a" and "b" have a broker connection of their own, others share one. */
static const struct bridge_mode modes[] = {
    {.pattern = "a", .transparent = true},
    {.pattern = "b*", .transparent = true},
};

static int begin(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    o.config.modes = modes;
    o.config.mode_count = sizeof(modes) / sizeof(modes[0]);
    *state = rig_new(&o);
    play(*state, "broker up\n"
                 "    * BROKER_UP\n");
    return 0;
}

static int broker_acks(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    o.config.modes = modes;
    o.config.mode_count = sizeof(modes) / sizeof(modes[0]);
    o.config.ack_stored = false;
    *state = rig_new(&o);
    return 0;
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

static int let_go_after_a_minute(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    o.config.modes = modes;
    o.config.mode_count = sizeof(modes) / sizeof(modes[0]);
    o.config.outage_disconnect_s = 60;
    o.config.reconnect_min_ms = o.config.reconnect_max_ms = 86400000;
    *state = rig_new(&o);
    play(*state, "broker up\n"
                 "    * BROKER_UP\n");
    return 0;
}

/* */
static void a_sensor_whose_own_connection_is_up_is_not_let_go_in_an_outage(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT client_id='a'\n"
            "    connect via 1 'a'\n"
            "    save session 1\n"
            "stored\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "b2 > CONNECT client_id='b2'\n"
            "    connect via 2 'b2'\n"
            "    save session 2\n"
            "stored\n"
            "broker 2 up\n"
            "    * CONNECTION_UP b2\n"
            "    * CLIENT_CONNECTED b2\n"
            "    b2 < CONNACK code=accepted\n"
            "broker 2 down\n"
            "    * CONNECTION_LOST b2: gone\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 60000\n"
            "    +60000\n"
            "    * CLIENT_LET_GO b2\n"
            "    b2 < DISCONNECT\n"
            "    save session 2\n");
}

/* SN12-4.1-1, SN12-4.1-2, SN12-5.3.1-2 */
static void a_sensor_gets_a_connection_of_its_own_under_its_client_id(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT clean=1 keepalive_s=60 client_id='a'\n"
            "    connect via 1 'a' clean transient\n"
            "    save session 1\n"
            "stored\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > PUBLISH qos=1 short='AB' mid=1 data='x'\n"
            "    store 2 via 1 qos=1 AB 'x' lazy\n"
            "    publish 2 via 1 qos=1 AB 'x'\n"
            "delivered 2\n"
            "    forget 2 via 1 lazy\n"
            "    a < PUBACK tid=16706 mid=1 code=accepted\n"
            "b2 > CONNECT keepalive_s=60 client_id='b2'\n"
            "    connect via 2 'b2'\n"
            "    save session 2\n"
            "stored\n"
            "broker 2 up\n"
            "    * CONNECTION_UP b2\n"
            "    * CLIENT_CONNECTED b2\n"
            "    b2 < CONNACK code=accepted\n"
            "c > CONNECT keepalive_s=60 client_id='c'\n"
            "    save session 3\n"
            "stored\n"
            "    * CLIENT_CONNECTED c\n"
            "    c < CONNACK code=accepted\n"
            "c > PUBLISH qos=1 short='AB' mid=1 data='x'\n"
            "    store 6 qos=1 AB 'x' lazy\n"
            "    publish 6 qos=1 AB 'x'\n"
            "delivered 6\n"
            "    forget 6 lazy\n"
            "    c < PUBACK tid=16706 mid=1 code=accepted\n");
}

/* SN12-4.1-3, A-29: with ack = broker the acknowledgement is the broker's. */
static void acknowledgements_can_be_end_to_end(void **state)
{
    struct rig *r = *state;
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > CONNECT keepalive_s=60 client_id='a'\n"
            "    connect via 1 'a'\n"
            "    save session 1\n"
            "stored\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > PUBLISH qos=1 short='AB' mid=1 data='x'\n"
            "    store 2 via 1 qos=1 AB 'x' lazy\n"
            "    publish 2 via 1 qos=1 AB 'x'\n"
            "stored\n"
            "wait 1000\n"
            "delivered 2\n"
            "    forget 2 via 1 lazy\n"
            "    a < PUBACK tid=16706 mid=1 code=accepted\n"
            "a > PUBLISH qos=2 short='AB' mid=2 data='y'\n"
            "    store 4 via 1 qos=2 AB 'y'\n"
            "stored\n"
            "    publish 4 via 1 qos=2 AB 'y'\n"
            "wait 1000\n"
            "delivered 4\n"
            "    mark 4 via 1 delivered\n"
            "    a < PUBREC mid=2\n");
}

/* SN12-7.1-1: the bridge's own connection, under its own client id, is theirs. */
static void qos_minus_one_has_the_shared_connection(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=60 client_id='a'\n"
            "    connect via 1 'a'\n"
            "    save session 1\n"
            "stored\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "x > PUBLISH qos=-1 predefined=1 data='x'\n"
            "    publish 2 qos=0 pre/one 'x'\n");
}

static void connack_waits_for_the_broker_but_not_for_long(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=60 client_id='a'\n"
            "    connect via 1 'a'\n"
            "    save session 1\n"
            "stored\n"
            "a > CONNECT keepalive_s=60 client_id='a'\n"
            "wait 5000\n"
            "    +3000\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n");
}

/* Custody: a broker that is away is no reason to refuse anybody. */
static void a_broker_that_is_away_is_no_refusal(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=60 client_id='a'\n"
            "    connect via 1 'a'\n"
            "    save session 1\n"
            "stored\n"
            "broker 1 down\n"
            "    * CONNECTION_FAILED a: gone\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > PUBLISH qos=2 short='AB' mid=1 data='x'\n"
            "    store 2 via 1 qos=2 AB 'x'\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "b > CONNECT keepalive_s=60 client_id='b'\n"
            "    connect via 2 'b'\n"
            "    save session 2\n"
            "broker 2 down code 136\n"
            "    * CONNECTION_FAILED b: refused\n"
            "stored\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n"
            "wait 2000\n"
            "    +534\n"
            "    connect via 2 'b'\n"
            "    +816\n"
            "    connect via 1 'a'\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "    publish 2 via 1 qos=2 AB 'x'\n");
}

static void a_refusal_by_the_broker_reaches_the_sensor(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT clean=1 keepalive_s=60 client_id='a'\n"
            "    connect via 1 'a' clean transient\n"
            "    save session 1\n"
            "stored\n"
            "broker 1 down code 134\n"
            "    * CONNECTION_REFUSED a: refused\n"
            "    * CLIENT_REFUSED a: by the broker\n"
            "    a < CONNACK code=not-supported\n"
            "    erase all of 1\n"
            "b > CONNECT keepalive_s=60 client_id='b'\n"
            "    connect via 2 'b'\n"
            "    save session 2\n"
            "broker 2 down code 135\n"
            "    * CONNECTION_REFUSED b: refused\n"
            "    * CLIENT_REFUSED b: by the broker\n"
            "    b < CONNACK code=not-supported\n"
            "    save session 2\n"
            "stored\n"
            "b > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    b < DISCONNECT\n"
            "wait 200000\n");
}

/* What was accepted from it is kept, and sent when the broker has changed its mind. */
static void a_late_refusal_ends_the_sensors_connection_and_keeps_its_messages(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT clean=1 keepalive_s=60 client_id='a'\n"
            "    connect via 1 'a' clean transient\n"
            "    save session 1\n"
            "stored\n"
            "wait 3000\n"
            "    +3000\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > PUBLISH qos=1 short='AB' mid=1 data='x'\n"
            "    store 2 via 1 qos=1 AB 'x'\n"
            "stored\n"
            "    a < PUBACK tid=16706 mid=1 code=accepted\n"
            "broker 1 down code 134\n"
            "    * CONNECTION_REFUSED a: refused\n"
            "    * CLIENT_REFUSED a: by the broker\n"
            "    a < DISCONNECT\n"
            "    erase all of 1\n"
            "    save session 1\n"
            "stored\n"
            "wait 60000\n"
            "    +47151\n"
            "    connect via 1 'a' clean transient\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "    publish 2 via 1 qos=1 AB 'x'\n"
            "    save account lazy\n"
            "delivered 2\n"
            "    forget 2 via 1 lazy\n"
            "wait 0\n"
            "    +0\n"
            "    disconnect via 1 forget\n"
            "    erase all of 1\n");
}

static void one_that_is_refused_does_not_block_others(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=600 client_id='a'\n"
            "    connect via 1 'a'\n"
            "    save session 1\n"
            "broker 1 down\n"
            "    * CONNECTION_FAILED a: gone\n"
            "b > CONNECT keepalive_s=600 client_id='b'\n"
            "    connect via 2 'b'\n"
            "    save session 2\n"
            "broker 2 up\n"
            "    * CONNECTION_UP b\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n"
            "a > PUBLISH qos=1 short='AB' mid=1 data='1'\n"
            "    store 3 via 1 qos=1 AB '1'\n"
            "b > PUBLISH qos=1 short='AB' mid=1 data='2'\n"
            "    store 4 via 2 qos=1 AB '2' lazy\n"
            "    publish 4 via 2 qos=1 AB '2'\n"
            "delivered 4\n"
            "    forget 4 via 2 lazy\n"
            "    b < PUBACK tid=16706 mid=1 code=accepted\n"
            "stored\n"
            "    a < PUBACK tid=16706 mid=1 code=accepted\n");
}

static void subscriptions_are_the_sensors_own(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=600 client_id='a'\n"
            "    connect via 1 'a'\n"
            "    save session 1\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "b > CONNECT keepalive_s=600 client_id='b'\n"
            "    connect via 2 'b'\n"
            "    save session 2\n"
            "broker 2 up\n"
            "    * CONNECTION_UP b\n"
            "c > CONNECT keepalive_s=600 client_id='c'\n"
            "    save session 3\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n"
            "    * CLIENT_CONNECTED c\n"
            "    c < CONNACK code=accepted\n"
            "a > SUBSCRIBE qos=1 mid=1 name='AB'\n"
            "    save topic 1 1 AB\n"
            "    subscribe 1 via 1 qos=1 AB retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 AB\n"
            "b > SUBSCRIBE qos=0 mid=1 name='AB'\n"
            "    save topic 2 1 AB\n"
            "    subscribe 2 via 2 qos=0 AB retained\n"
            "subscribed 2 0\n"
            "    save filter 2 1 qos=0 AB\n"
            "c > SUBSCRIBE qos=0 mid=1 name='AB'\n"
            "    save topic 3 1 AB\n"
            "    subscribe 3 qos=0 AB retained\n"
            "subscribed 3 0\n"
            "    save filter 3 1 qos=0 AB\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=1 mid=1 code=accepted\n"
            "    b < SUBACK qos=0 tid=1 mid=1 code=accepted\n"
            "    c < SUBACK qos=0 tid=1 mid=1 code=accepted\n"
            "message via 1 token 1 qos=1 AB 'for a'\n"
            "    store 10 for 1 qos=1 AB 'for a'\n"
            "    a < PUBLISH qos=1 tid=1 mid=11 data='for a'\n"
            "stored\n"
            "    accept 1\n"
            "message via 2 qos=0 AB 'for b'\n"
            "    b < PUBLISH qos=0 tid=1 mid=0 data='for b'\n"
            "message qos=0 AB 'for c'\n"
            "    c < PUBLISH qos=0 tid=1 mid=0 data='for c'\n"
            "message via 2 qos=0 CD 'for nobody'\n"
            "    * DOWN_NO_SUBSCRIBER: CD\n"
            "message via 9 token 2 qos=1 AB 'late'\n"
            "    * DOWN_NO_SUBSCRIBER: AB\n"
            "    accept 2\n"
            "a > UNSUBSCRIBE mid=2 name='AB'\n"
            "    erase filter 1 1\n"
            "    unsubscribe 4 via 1 AB\n"
            "unsubscribed 4\n"
            "stored\n"
            "    a < UNSUBACK mid=2\n"
            "message via 2 qos=0 AB 'for b'\n"
            "    b < PUBLISH qos=0 tid=1 mid=0 data='for b'\n");
}

static void disconnect_ends_the_connection_without_the_will(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 clean=1 keepalive_s=60 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC qos=1 retain=1 topic='w/a'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='gone'\n"
            "    save will 1\n"
            "    connect via 1 'a' clean transient will qos=1 retain w/a 'gone'\n"
            "    save session 1\n"
            "stored\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    disconnect via 1 forget\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "    erase all of 1\n");
}

/* SN12-6.2-3, SN12-6.11-2: CONNECT goes to the broker when the will is complete. */
static void a_lost_sensors_will_is_published_by_the_broker(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 clean=1 keepalive_s=60 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC qos=1 retain=1 topic='w/a'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='gone'\n"
            "    save will 1\n"
            "    connect via 1 'a' clean transient will qos=1 retain w/a 'gone'\n"
            "    save session 1\n"
            "stored\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "wait 100000\n"
            "    +66000\n"
            "    * CLIENT_LOST a: active\n"
            "    * WILL_LEFT a: w/a\n"
            "    disconnect via 1 forget with will\n"
            "    erase all of 1\n"
            "stored\n");
}

/* Its messages come first, and all of them under its name. */
static void a_lost_sensors_messages_go_before_its_will(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 clean=1 keepalive_s=60 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC qos=1 topic='w/a'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='gone'\n"
            "    save will 1\n"
            "    connect via 1 'a' clean transient will qos=1 w/a 'gone'\n"
            "    save session 1\n"
            "stored\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > PUBLISH qos=1 short='AB' mid=1 data='x'\n"
            "    store 3 via 1 qos=1 AB 'x' lazy\n"
            "    publish 3 via 1 qos=1 AB 'x'\n"
            "stored\n"
            "    a < PUBACK tid=16706 mid=1 code=accepted\n"
            "wait 100000\n"
            "    +66000\n"
            "    * CLIENT_LOST a: active\n"
            "    * WILL_LEFT a: w/a\n"
            "    erase all of 1\n"
            "    save session 1\n"
            "    save account lazy\n"
            "stored\n"
            "delivered 3\n"
            "    forget 3 via 1 lazy\n"
            "wait 0\n"
            "    +0\n"
            "    disconnect via 1 forget with will\n"
            "    erase all of 1\n"
            "stored\n");
}

static void a_will_that_the_broker_cannot_know_of_is_a_message(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 keepalive_s=60 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC qos=1 topic='w/a'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='gone'\n"
            "    save will 1\n"
            "    connect via 1 'a' will qos=1 w/a 'gone'\n"
            "    save session 1\n"
            "broker 1 down\n"
            "    * CONNECTION_FAILED a: gone\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "wait 91000\n"
            "    +816\n"
            "    connect via 1 'a' will qos=1 w/a 'gone'\n"
            "    +66000\n"
            "    * CLIENT_LOST a: active\n"
            "    * WILL_FIRED a: w/a\n"
            "    store 3 via 1 qos=1 w/a 'gone'\n"
            "    save session 1 lazy\n"
            "    save account lazy\n"
            "stored\n"
            "wait 40000\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "    publish 3 via 1 qos=1 w/a 'gone'\n"
            "delivered 3\n"
            "    forget 3 via 1 lazy\n"
            "    save account lazy\n"
            "wait 0\n"
            "    +0\n"
            "    disconnect via 1\n");
}

static void an_updated_will_renews_the_connection_when_nothing_is_in_flight(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 keepalive_s=600 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC qos=1 topic='w/a'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='gone'\n"
            "    save will 1\n"
            "    connect via 1 'a' will qos=1 w/a 'gone'\n"
            "    save session 1\n"
            "stored\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > PUBLISH qos=1 short='AB' mid=1 data='1'\n"
            "    store 3 via 1 qos=1 AB '1' lazy\n"
            "    publish 3 via 1 qos=1 AB '1'\n"
            "a > WILLMSGUPD message='lost'\n"
            "    save will 1\n"
            "a > PUBLISH qos=1 short='AB' mid=2 data='2'\n"
            "    store 5 via 1 qos=1 AB '2' lazy\n"
            "delivered 3\n"
            "    forget 3 via 1 lazy\n"
            "    a < PUBACK tid=16706 mid=1 code=accepted\n"
            "stored\n"
            "    a < WILLMSGRESP code=accepted\n"
            "    a < PUBACK tid=16706 mid=2 code=accepted\n"
            "wait 0\n"
            "    +0\n"
            "    disconnect via 1\n"
            "    connect via 1 'a' will qos=1 w/a 'lost'\n"
            "broker 1 up session\n"
            "    * CONNECTION_UP a\n"
            "    publish 5 via 1 qos=1 AB '2'\n"
            "delivered 5\n"
            "    forget 5 via 1 lazy\n"
            "a > WILLTOPICUPD empty=1\n"
            "    erase will 1\n"
            "stored\n"
            "    a < WILLTOPICRESP code=accepted\n"
            "wait 0\n"
            "    +0\n"
            "    disconnect via 1\n"
            "    connect via 1 'a'\n"
            "broker 1 up session\n"
            "    * CONNECTION_UP a\n");
}

static void a_clean_connect_begins_a_new_session_at_the_broker(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=600 client_id='a'\n"
            "    connect via 1 'a'\n"
            "    save session 1\n"
            "stored\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > SUBSCRIBE qos=1 mid=1 name='AB'\n"
            "    save topic 1 1 AB\n"
            "    subscribe 1 via 1 qos=1 AB retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 AB\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=1 mid=1 code=accepted\n"
            "a > CONNECT keepalive_s=600 client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > CONNECT clean=1 keepalive_s=600 client_id='a'\n"
            "    unsubscribe 2 via 1 AB\n"
            "    erase all of 1\n"
            "    save session 1\n"
            "stored\n"
            "wait 0\n"
            "    +0\n"
            "    disconnect via 1\n"
            "    connect via 1 'a' clean transient\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "broker 1 down\n"
            "    * CONNECTION_LOST a: gone\n"
            "wait 1000\n"
            "    +816\n"
            "    connect via 1 'a' transient\n"
            "broker 1 up session\n"
            "    * CONNECTION_UP a\n");
}

/* A clean session at the broker would forget its half of a QoS 2 message, and take the
 * repeat for a new one. */
static void a_clean_session_waits_for_what_is_undecided_in_the_last(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=600 client_id='a'\n"
            "    connect via 1 'a'\n"
            "    save session 1\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > PUBLISH qos=2 short='AB' mid=1 data='1'\n"
            "    store 2 via 1 qos=2 AB '1'\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "    publish 2 via 1 qos=2 AB '1'\n"
            "broker 1 down\n"
            "    * CONNECTION_LOST a: gone\n"
            "a > PUBREL mid=1\n"
            "    mark 2 via 1 released\n"
            "a > PUBLISH qos=2 short='AB' mid=2 data='2'\n"
            "    store 4 via 1 qos=2 AB '2'\n"
            "stored\n"
            "    a < PUBCOMP mid=1\n"
            "    a < PUBREC mid=2\n"
            "a > CONNECT clean=1 keepalive_s=600 client_id='a'\n"
            "    mark 4 via 1 released\n"
            "    erase all of 1\n"
            "    connect via 1 'a'\n"
            "    save session 1\n"
            "stored\n"
            "broker 1 up session\n"
            "    * CONNECTION_UP a\n"
            "    publish 2 via 1 qos=2 AB '1'\n"
            "wait 0\n"
            "delivered 2\n"
            "    forget 2 via 1\n"
            "wait 0\n"
            "    +0\n"
            "    disconnect via 1\n"
            "    connect via 1 'a' clean transient\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "    publish 4 via 1 qos=2 AB '2'\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "delivered 4\n"
            "    forget 4 via 1\n");
}

/* What was handed over before a restart is not known any more: all of it may be. */
static void a_clean_session_waits_for_what_is_from_before_a_restart(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=600 client_id='a'\n"
            "    connect via 1 'a'\n"
            "    save session 1\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > PUBLISH qos=2 short='AB' mid=1 data='1'\n"
            "    store 2 via 1 qos=2 AB '1'\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "    publish 2 via 1 qos=2 AB '1'\n"
            "kill\n"
            "    connect via 1 'a'\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > CONNECT clean=1 keepalive_s=600 client_id='a'\n"
            "    mark 2 via 1 released\n"
            "    erase all of 1\n"
            "    save session 1\n"
            "stored\n"
            "broker 1 up session\n"
            "    * CONNECTION_UP a\n"
            "    fetch via 1 from 2\n"
            "fetched\n"
            "    publish 2 via 1 qos=2 AB '1'\n"
            "wait 0\n"
            "delivered 2\n"
            "    forget 2 via 1\n"
            "wait 0\n"
            "    +0\n"
            "    disconnect via 1\n"
            "    connect via 1 'a' clean transient\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n");
}

static void a_sleeper_keeps_its_connection(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=600 client_id='a'\n"
            "    connect via 1 'a'\n"
            "    save session 1\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > SUBSCRIBE qos=1 mid=1 name='AB'\n"
            "    save topic 1 1 AB\n"
            "    subscribe 1 via 1 qos=1 AB retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 AB\n"
            "a > DISCONNECT duration_s=1000\n"
            "    * CLIENT_ASLEEP a\n"
            "    save session 1\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=1 mid=1 code=accepted\n"
            "    a < DISCONNECT\n"
            "wait 500000\n"
            "message via 1 token 1 qos=1 AB 'x'\n"
            "    store 5 for 1 qos=1 AB 'x'\n"
            "    save account lazy\n"
            "stored\n"
            "    accept 1\n"
            "a > PINGREQ client_id='a'\n"
            "    * CLIENT_AWAKE a\n"
            "    a < PUBLISH qos=1 tid=1 mid=6 data='x'\n"
            "a > PUBACK tid=1 mid=6\n"
            "    save session 1 lazy\n"
            "    forget 5 for 1 lazy\n"
            "    a < PINGRESP\n");
}

static void sensors_are_connected_again_after_a_restart(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 clean=1 keepalive_s=600 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "a > WILLTOPIC qos=1 topic='w/a'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='gone'\n"
            "    save will 1\n"
            "    connect via 1 'a' clean transient will qos=1 w/a 'gone'\n"
            "    save session 1\n"
            "b > CONNECT keepalive_s=600 client_id='b'\n"
            "    connect via 2 'b'\n"
            "    save session 2\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "broker 2 up\n"
            "    * CONNECTION_UP b\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n"
            "b > SUBSCRIBE qos=1 mid=1 name='AB'\n"
            "    save topic 2 1 AB\n"
            "    subscribe 1 via 2 qos=1 AB retained\n"
            "subscribed 1 1\n"
            "    save filter 2 1 qos=1 AB\n"
            "b > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED b\n"
            "    disconnect via 2\n"
            "    save session 2\n"
            "stored\n"
            "    b < SUBACK qos=1 tid=1 mid=1 code=accepted\n"
            "    b < DISCONNECT\n"
            "kill\n"
            "    connect via 1 'a' transient will qos=1 w/a 'gone'\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker 1 up session\n"
            "    * CONNECTION_UP a\n"
            "a > PUBLISH qos=0 short='AB' data='x'\n"
            "    publish 7 via 1 qos=0 AB 'x'\n"
            "b > CONNECT keepalive_s=600 client_id='b'\n"
            "    connect via 2 'b'\n"
            "    save session 2\n"
            "stored\n"
            "broker 2 up session\n"
            "    * CONNECTION_UP b\n"
            "    subscribe 1 via 2 qos=1 AB\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n");
}

/* A clean session that has ended stays until the broker has its messages. */
static void what_a_sensor_left_behind_is_sent_after_a_restart(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT clean=1 keepalive_s=600 client_id='a'\n"
            "    connect via 1 'a' clean transient\n"
            "    save session 1\n"
            "broker 1 down\n"
            "    * CONNECTION_FAILED a: gone\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > PUBLISH qos=2 short='AB' mid=1 data='1'\n"
            "    store 2 via 1 qos=2 AB '1'\n"
            "stored\n"
            "    a < PUBREC mid=1\n"
            "a > PUBREL mid=1\n"
            "    mark 2 via 1 released\n"
            "stored\n"
            "    a < PUBCOMP mid=1\n"
            "a > PUBLISH qos=2 short='AB' mid=2 data='2'\n"
            "    store 4 via 1 qos=2 AB '2'\n"
            "stored\n"
            "    a < PUBREC mid=2\n"
            "a > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "    mark 4 via 1 released\n"
            "    erase all of 1\n"
            "    save session 1\n"
            "stored\n"
            "crash\n"
            "    connect via 1 'a' transient\n"
            "    erase all of 1\n"
            "    save session 1\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "    fetch via 1 from 2\n"
            "fetched\n"
            "    publish 2 via 1 qos=2 AB '1'\n"
            "    publish 4 via 1 qos=2 AB '2'\n"
            "delivered 2\n"
            "    forget 2 via 1\n"
            "delivered 4\n"
            "    forget 4 via 1\n"
            "wait 0\n"
            "    +0\n"
            "    disconnect via 1 forget\n"
            "    erase all of 1\n"
            "stored\n");
    assert_int_equal(rig_rows(r), 0);
}

static void the_limit_of_connections_is_congestion(void **state)
{
    struct rig *r = *state;
    play(r, "b1 > CONNECT keepalive_s=600 client_id='b1'\n"
            "    connect via 1 'b1'\n"
            "    save session 1\n"
            "b2 > CONNECT keepalive_s=600 client_id='b2'\n"
            "    connect via 2 'b2'\n"
            "    save session 2\n"
            "b3 > CONNECT keepalive_s=600 client_id='b3'\n"
            "    connect via 3 'b3'\n"
            "    save session 3\n"
            "broker 1 up\n"
            "    * CONNECTION_UP b1\n"
            "stored\n"
            "    * CLIENT_CONNECTED b1\n"
            "    b1 < CONNACK code=accepted\n"
            "b4 > CONNECT keepalive_s=600 client_id='b4'\n"
            "    * CONNECTION_LIMIT b4\n"
            "    * CLIENT_REFUSED b4: limit\n"
            "    b4 < CONNACK code=congestion\n"
            "c > CONNECT keepalive_s=600 client_id='c'\n"
            "    save session 4\n"
            "stored\n"
            "    * CLIENT_CONNECTED c\n"
            "    c < CONNACK code=accepted\n"
            "b1 > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED b1\n"
            "    disconnect via 1\n"
            "    save session 1\n"
            "stored\n"
            "    b1 < DISCONNECT\n"
            "b4 > CONNECT keepalive_s=600 client_id='b4'\n"
            "    connect via 5 'b4'\n"
            "    save session 5\n"
            "stored\n");
}

/* Checked again at the end of the dialogue. */
static void the_last_connection_may_go_while_a_will_is_asked_for(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT will=1 keepalive_s=600 client_id='a'\n"
            "    a < WILLTOPICREQ\n"
            "b1 > CONNECT keepalive_s=600 client_id='b1'\n"
            "    connect via 2 'b1'\n"
            "    save session 2\n"
            "b2 > CONNECT keepalive_s=600 client_id='b2'\n"
            "    connect via 3 'b2'\n"
            "    save session 3\n"
            "b3 > CONNECT keepalive_s=600 client_id='b3'\n"
            "    connect via 4 'b3'\n"
            "    save session 4\n"
            "a > WILLTOPIC qos=1 topic='w/a'\n"
            "    a < WILLMSGREQ\n"
            "a > WILLMSG message='gone'\n"
            "    * CONNECTION_LIMIT a\n"
            "    * CLIENT_REFUSED a: will\n"
            "    a < CONNACK code=congestion\n");
}

/* Cut before, the broker would send the message again, and a QoS 2 one would be there twice. */
static void a_connection_is_renewed_when_the_disk_has_what_came_by_it(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=600 client_id='a'\n"
            "    connect via 1 'a'\n"
            "    save session 1\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > SUBSCRIBE qos=2 mid=1 name='AB'\n"
            "    save topic 1 1 AB\n"
            "    subscribe 1 via 1 qos=2 AB retained\n"
            "subscribed 1 2\n"
            "    save filter 1 1 qos=2 AB\n"
            "stored\n"
            "    a < SUBACK qos=2 tid=1 mid=1 code=accepted\n"
            "message via 1 token 1 qos=2 AB 'x'\n"
            "    store 4 for 1 qos=2 AB 'x'\n"
            "a > WILLTOPICUPD qos=1 topic='w/a'\n"
            "    save will 1\n"
            "stored 4\n"
            "    accept 1\n"
            "    a < PUBLISH qos=2 tid=1 mid=5 data='x'\n"
            "wait 0\n"
            "    +0\n"
            "    disconnect via 1\n"
            "    connect via 1 'a' will qos=1 w/a ''\n");
}

static void copies_that_cannot_be_stored_come_again_by_the_same_connection(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=600 client_id='a'\n"
            "    connect via 1 'a'\n"
            "    save session 1\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > SUBSCRIBE qos=1 mid=1 name='AB'\n"
            "    save topic 1 1 AB\n"
            "    subscribe 1 via 1 qos=1 AB retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 AB\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=1 mid=1 code=accepted\n"
            "message via 1 token 1 qos=1 AB 'x'\n"
            "    store 4 for 1 qos=1 AB 'x'\n"
            "    a < PUBLISH qos=1 tid=1 mid=5 data='x'\n"
            "store failed\n"
            "    * STORE_FAILED\n"
            "    * BROKER_CUT a\n"
            "    disconnect via 1\n"
            "wait 1000\n"
            "    +816\n"
            "    connect via 1 'a'\n"
            "broker 1 up session\n"
            "    * CONNECTION_UP a\n"
            "message via 1 token 2 qos=1 AB 'x'\n"
            "    store 5 for 1 qos=1 AB 'x'\n"
            "    a < PUBLISH qos=1 tid=1 mid=6 data='x'\n"
            "stored\n"
            "    accept 2\n");
}

/* What is said of a connection that was ended meanwhile is of no concern. */
static void late_news_of_an_earlier_attempt_are_void(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=600 client_id='a'\n"
            "    connect via 1 'a'\n"
            "    save session 1\n"
            "broker 1 up\n"
            "    * CONNECTION_UP a\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n");
    rig_step(r, &(struct bridge_event){.type = BRIDGE_ON_BROKER_DOWN,
                                       .down = {.conn = 1, .attempt = 1}});
    rig_step(r, &(struct bridge_event){.type = BRIDGE_ON_BROKER_DOWN,
                                       .down = {.conn = 7, .attempt = 1}});
    play(r, "a > PUBLISH qos=0 short='AB' data='x'\n"
            "    publish 2 via 1 qos=0 AB 'x'\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_sensor_whose_own_connection_is_up_is_not_let_go_in_an_outage, let_go_after_a_minute,
            end),
        TEST(a_sensor_gets_a_connection_of_its_own_under_its_client_id),
        TEST(connack_waits_for_the_broker_but_not_for_long),
        TEST(qos_minus_one_has_the_shared_connection),
        cmocka_unit_test_setup_teardown(acknowledgements_can_be_end_to_end, broker_acks, end),
        TEST(a_broker_that_is_away_is_no_refusal),
        TEST(a_refusal_by_the_broker_reaches_the_sensor),
        TEST(a_late_refusal_ends_the_sensors_connection_and_keeps_its_messages),
        TEST(one_that_is_refused_does_not_block_others),
        TEST(subscriptions_are_the_sensors_own),
        TEST(disconnect_ends_the_connection_without_the_will),
        TEST(a_lost_sensors_will_is_published_by_the_broker),
        TEST(a_lost_sensors_messages_go_before_its_will),
        TEST(a_will_that_the_broker_cannot_know_of_is_a_message),
        TEST(an_updated_will_renews_the_connection_when_nothing_is_in_flight),
        TEST(a_clean_connect_begins_a_new_session_at_the_broker),
        TEST(a_clean_session_waits_for_what_is_undecided_in_the_last),
        TEST(a_clean_session_waits_for_what_is_from_before_a_restart),
        TEST(a_sleeper_keeps_its_connection),
        TEST(sensors_are_connected_again_after_a_restart),
        TEST(what_a_sensor_left_behind_is_sent_after_a_restart),
        TEST(the_limit_of_connections_is_congestion),
        TEST(the_last_connection_may_go_while_a_will_is_asked_for),
        TEST(a_connection_is_renewed_when_the_disk_has_what_came_by_it),
        TEST(copies_that_cannot_be_stored_come_again_by_the_same_connection),
        TEST(late_news_of_an_earlier_attempt_are_void),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
