#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/bridge_rig.h"

static struct rig_options options;

static int begin(void **state)
{
    rig_defaults(&options);
    *state = rig_new(&options);
    return 0;
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

static void connect(struct rig *r)
{
    play(r, "a > CONNECT clean=1 keepalive_s=0 client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n");
}

/* */
static void connect_while_the_broker_is_away_may_be_for_some_or_for_nobody(void **state)
{
    struct rig *r = *state;
    connect(r);
    options.config.connect_offline = BRIDGE_OFFLINE_KNOWN;
    assert_true(rig_reload(r, &options));
    play(r, "b > CONNECT client_id='b'\n"
            "    * CLIENT_REFUSED b: broker away\n"
            "    b < CONNACK code=congestion\n"
            "b > SEARCHGW\n"
            "    b < GWINFO gw_id=7\n"
            "a > CONNECT clean=1 keepalive_s=10 client_id='a'\n"
            "    erase all of 1\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n");
    options.config.connect_offline = BRIDGE_OFFLINE_NONE;
    assert_true(rig_reload(r, &options));
    play(r, "a > CONNECT clean=1 client_id='a'\n"
            "    * CLIENT_REFUSED a: broker away\n"
            "    a < CONNACK code=congestion\n"
            "b > SEARCHGW\n"
            "a > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    store 4 qos=1 pre/one 'x'\n"
            "stored\n"
            "    a < PUBACK tid=1 mid=1 code=accepted\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    publish 4 qos=1 pre/one 'x'\n"
            "b > SEARCHGW\n"
            "    b < GWINFO gw_id=7\n"
            "b > CONNECT client_id='b'\n"
            "    save session 2\n"
            "stored\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n");
}

/* */
static void active_clients_may_be_let_go_when_the_broker_is_away_for_long(void **state)
{
    struct rig *r = *state;
    play(r, "broker up\n"
            "    * BROKER_UP\n");
    connect(r);
    play(r, "b > CONNECT will=1 client_id='b'\n"
            "    b < WILLTOPICREQ\n"
            "b > WILLTOPIC qos=0 topic='w'\n"
            "    b < WILLMSGREQ\n"
            "b > WILLMSG msg='gone'\n"
            "    save will 2\n"
            "    save session 2\n"
            "stored\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n"
            "c > CONNECT client_id='c'\n"
            "    save session 3\n"
            "stored\n"
            "    * CLIENT_CONNECTED c\n"
            "    c < CONNACK code=accepted\n"
            "c > DISCONNECT duration_s=1000\n"
            "    * CLIENT_ASLEEP c\n"
            "    save session 3\n"
            "stored\n"
            "    c < DISCONNECT\n"
            "wait 100000\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 100\n");
    options.config.reconnect_min_ms = options.config.reconnect_max_ms = 86400000;
    options.config.outage_disconnect_s = 60;
    assert_true(rig_reload(r, &options));
    play(r, "wait 59899\n"
            "    +0\n"
            "    connect broker\n"
            "wait 1\n"
            "    +1\n"
            "    * CLIENT_LET_GO a\n"
            "    a < DISCONNECT\n"
            "    erase all of 1\n"
            "    * CLIENT_LET_GO b\n"
            "    b < DISCONNECT\n"
            "    save session 2\n"
            "stored\n"
            "b > PINGREQ\n"
            "    * FRAME_UNKNOWN_SENDER: PINGREQ\n"
            "    b < DISCONNECT\n"
            "b > CONNECT client_id='b'\n"
            "    save session 2\n"
            "stored\n"
            "    * CLIENT_CONNECTED b\n"
            "    b < CONNACK code=accepted\n"
            "wait 100000\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 60000\n"
            "    +60000\n"
            "    * CLIENT_LET_GO b\n"
            "    b < DISCONNECT\n"
            "    save session 2\n");
}

/* */
static void another_tolerance_holds_for_the_silence_that_has_begun(void **state)
{
    struct rig *r = *state;
    play(r, "a > CONNECT keepalive_s=100 client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n");
    options.config.tolerance_percent = 50;
    assert_true(rig_reload(r, &options));
    play(r, "wait 149999\n");
    options.config.tolerance_percent = 5;
    assert_true(rig_reload(r, &options));
    play(r, "wait 0\n"
            "    +0\n"
            "    * CLIENT_LOST a: active\n"
            "    save session 1 lazy\n");
}

static void switches_of_a_link_take_effect_at_once(void **state)
{
    struct rig *r = *state;
    options.links[0].qos_minus_one = false;
    options.links[0].forwarders = false;
    assert_true(rig_reload(r, &options));
    play(r, "b > PUBLISH qos=-1 predefined=1 mid=0 data='x'\n"
            "    * QOS_MINUS_ONE_REFUSED\n"
            "f/n > PINGREQ\n"
            "    * FORWARDER_REFUSED\n");
}

/* What is subscribed stays, and no more is accepted. */
static void a_lower_limit_takes_nothing_away(void **state)
{
    struct rig *r = *state;
    connect(r);
    play(r, "broker down\n"
            "    * BROKER_UNREACHABLE: gone\n"
            "a > SUBSCRIBE qos=1 mid=1 short='AB'\n"
            "    save filter 1 1 qos=1 AB\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=1 code=accepted\n"
            "a > SUBSCRIBE qos=1 mid=2 short='CD'\n"
            "    save filter 1 2 qos=1 CD\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=2 code=accepted\n");
    options.config.max_subscriptions = 1;
    assert_true(rig_reload(r, &options));
    play(r, "a > SUBSCRIBE qos=1 mid=3 short='EF'\n"
            "    * SUBSCRIPTION_LIMIT a: EF\n"
            "    * SUBSCRIPTION_REFUSED a: limit\n"
            "    a < SUBACK qos=0 tid=0 mid=3 code=congestion\n");
    struct bridge_status s;
    rig_status(r, &s);
    assert_int_equal(s.subscriptions, 2);
}

static void predefined_ids_are_others(void **state)
{
    static const struct bridge_predefined others[] = {
        {.client = NULL, .tid = 2, .topic = "new/two"},
        {.client = NULL, .tid = 3, .topic = "new/three"},
    };
    struct rig *r = *state;
    connect(r);
    options.config.predefined = others;
    options.config.predefined_count = 2;
    assert_true(rig_reload(r, &options));
    play(r, "a > PUBLISH qos=1 predefined=1 mid=1 data='x'\n"
            "    * TOPIC_UNKNOWN a\n"
            "    a < PUBACK tid=1 mid=1 code=invalid-topic-id\n"
            "a > PUBLISH qos=1 predefined=2 mid=2 data='x'\n"
            "    store 2 qos=1 new/two 'x'\n"
            "a > PUBLISH qos=1 predefined=3 mid=3 data='x'\n"
            "    store 3 qos=1 new/three 'x'\n");
}

/* The id under which it went out means nothing any more. */
static void a_message_under_way_gets_another_id(void **state)
{
    struct rig *r = *state;
    connect(r);
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > SUBSCRIBE qos=1 mid=1 name='pre/#'\n"
            "    subscribe 1 qos=1 pre/# retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 pre/#\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=1 code=accepted\n"
            "message token 1 qos=1 pre/one 'x'\n"
            "    store 3 for 1 qos=1 pre/one 'x'\n"
            "    a < PUBLISH qos=1 predefined=1 mid=4 data='x'\n");
    options.config.predefined_count = 0;
    assert_true(rig_reload(r, &options));
    play(r, "    save topic 1 1 pre/one\n"
            "stored\n"
            "    accept 1\n"
            "    a < REGISTER tid=1 mid=1 name='pre/one'\n");
}

static void without_memory_nothing_changes(void **state)
{
    enum { MANY = 65534 };
    static struct bridge_predefined many[MANY];
    static char names[MANY][40];
    struct rig *r = *state;
    for (uint16_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof(names[i]), "a/topic/of/a/certain/length/%u", i);
        many[i] = (struct bridge_predefined){.tid = (uint16_t)(i + 1), .topic = names[i]};
    }
    options.config.predefined = many;
    options.config.predefined_count = MANY;
    options.links[0].qos_minus_one = false;
    assert_false(rig_reload(r, &options));
    bridge_check(rig_bridge(r));
    play(r, "b > PUBLISH qos=-1 predefined=1 mid=0 data='x'\n");
}

/* Who has mended the configuration does not want to wait for the back-off. */
static void the_broker_is_tried_at_once(void **state)
{
    struct rig *r = *state;
    play(r, "broker down\n"
            "    * BROKER_UNREACHABLE: gone\n");
    assert_true(rig_reload(r, &options));
    play(r, "wait 1\n"
            "    +0\n"
            "    connect broker\n");
}

static void advertising_begins_and_ends(void **state)
{
    struct rig *r = *state;
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "wait 10000\n");
    options.links[0].advertise_s = 10;
    assert_true(rig_reload(r, &options));
    play(r, "wait 10000\n"
            "    +355\n"
            "    (all) < ADVERTISE gw_id=7 duration_s=10\n");
    options.links[0].advertise_s = 0;
    assert_true(rig_reload(r, &options));
    play(r, "wait 100000\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define RELOAD(test) cmocka_unit_test_setup_teardown(test, begin, end)
        RELOAD(connect_while_the_broker_is_away_may_be_for_some_or_for_nobody),
        RELOAD(active_clients_may_be_let_go_when_the_broker_is_away_for_long),
        RELOAD(another_tolerance_holds_for_the_silence_that_has_begun),
        RELOAD(switches_of_a_link_take_effect_at_once),
        RELOAD(a_lower_limit_takes_nothing_away),
        RELOAD(predefined_ids_are_others),
        RELOAD(a_message_under_way_gets_another_id),
        RELOAD(without_memory_nothing_changes),
        RELOAD(the_broker_is_tried_at_once),
        RELOAD(advertising_begins_and_ends),
#undef RELOAD
    };
    return cmocka_run_group_tests_name("reload", tests, NULL, NULL);
}
