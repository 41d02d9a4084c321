#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/bridge_rig.h"

/* Client "b" has a broker connection of its own. */
static const struct bridge_mode modes[] = {{.pattern = "b", .transparent = true}};

static const struct bridge_predefined predefined[] = {
    {NULL, 1, "$share/g/t"}, {NULL, 2, "$CONTROL/x"}, {NULL, 3, "$SYS/uptime"}};

static void options(struct rig_options *o)
{
    rig_defaults(o);
    o->config.predefined = predefined;
    o->config.predefined_count = sizeof(predefined) / sizeof(predefined[0]);
    o->config.modes = modes;
    o->config.mode_count = sizeof(modes) / sizeof(modes[0]);
}

static int begin(void **state)
{
    struct rig_options o;
    options(&o);
    *state = rig_new(&o);
    play(*state, "broker up\n"
                 "    * BROKER_UP\n"
                 "a > CONNECT client_id='a'\n"
                 "    save session 1\n"
                 "stored\n"
                 "    * CLIENT_CONNECTED a\n"
                 "    a < CONNACK code=accepted\n"
                 "b > CONNECT client_id='b'\n"
                 "    connect via 2 'b'\n"
                 "    save session 2\n"
                 "stored\n"
                 "broker 2 up\n"
                 "    * CONNECTION_UP b\n"
                 "    * CLIENT_CONNECTED b\n"
                 "    b < CONNACK code=accepted\n");
    return 0;
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

/* It would take messages from the group's other members that match no filter of ours. */
static void nobody_becomes_a_member_of_a_group(void **state)
{
    struct rig *r = *state;
    play(r, "a > SUBSCRIBE qos=1 mid=1 name='$share/g/t/#'\n"
            "    * SUBSCRIPTION_REFUSED a: not in dollar_topics\n"
            "    a < SUBACK qos=0 tid=0 mid=1 code=not-supported\n"
            "a > SUBSCRIBE qos=1 mid=2 name='$queue/t'\n"
            "    * SUBSCRIPTION_REFUSED a: not in dollar_topics\n"
            "    a < SUBACK qos=0 tid=0 mid=2 code=not-supported\n"
            "a > SUBSCRIBE qos=1 mid=3 predefined=1\n"
            "    * SUBSCRIPTION_REFUSED a: not in dollar_topics\n"
            "    a < SUBACK qos=0 tid=0 mid=3 code=not-supported\n"
            "a > SUBSCRIBE qos=1 mid=4 short='$q'\n"
            "    * SUBSCRIPTION_REFUSED a: not in dollar_topics\n"
            "    a < SUBACK qos=0 tid=0 mid=4 code=not-supported\n"
            "b > SUBSCRIBE qos=1 mid=1 name='$share/g/t'\n"
            "    * SUBSCRIPTION_REFUSED b: not in dollar_topics\n"
            "    b < SUBACK qos=0 tid=0 mid=1 code=not-supported\n"
            "a > SUBSCRIBE qos=1 mid=5 name='$SYS/#'\n"
            "    subscribe 1 qos=1 $SYS/# retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 $SYS/#\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=5 code=accepted\n");
}

/* Also by ids that a subscription or the configuration has given. */
static void nobody_publishes_to_what_is_the_brokers(void **state)
{
    struct rig *r = *state;
    play(r, "a > REGISTER mid=1 name='$CONTROL/dynamic-security/v1'\n"
            "    * TOPIC_REFUSED a: not in dollar_topics\n"
            "    a < REGACK tid=0 mid=1 code=not-supported\n"
            "a > PUBLISH qos=1 predefined=2 mid=2 data='x'\n"
            "    * TOPIC_REFUSED a: $CONTROL/x\n"
            "    a < PUBACK tid=2 mid=2 code=not-supported\n"
            "a > PUBLISH qos=2 short='$q' mid=3 data='x'\n"
            "    * TOPIC_REFUSED a: $q\n"
            "    a < PUBACK tid=9329 mid=3 code=not-supported\n"
            "c > PUBLISH qos=-1 predefined=2 mid=0 data='x'\n"
            "    * TOPIC_REFUSED: $CONTROL/x\n"
            "a > SUBSCRIBE qos=0 mid=4 name='$SYS/x'\n"
            "    save topic 1 1 $SYS/x\n"
            "    subscribe 1 qos=0 $SYS/x retained\n"
            "subscribed 1 0\n"
            "    save filter 1 1 qos=0 $SYS/x\n"
            "stored\n"
            "    a < SUBACK qos=0 tid=1 mid=4 code=accepted\n"
            "a > PUBLISH qos=1 tid=1 mid=5 data='x'\n"
            "    * TOPIC_REFUSED a: $SYS/x\n"
            "    a < PUBACK tid=1 mid=5 code=not-supported\n"
            "b > PUBLISH qos=1 predefined=3 mid=2 data='x'\n"
            "    * TOPIC_REFUSED b: $SYS/uptime\n"
            "    b < PUBACK tid=3 mid=2 code=not-supported\n");
}

static void a_will_is_a_publish(void **state)
{
    struct rig *r = *state;
    play(r, "c > CONNECT will=1 client_id='c'\n"
            "    c < WILLTOPICREQ\n"
            "c > WILLTOPIC qos=1 topic='$CONTROL/x'\n"
            "    * CLIENT_REFUSED c: will\n"
            "    c < CONNACK code=not-supported\n"
            "a > WILLTOPICUPD qos=1 topic='$SYS/x'\n"
            "    * TOPIC_REFUSED a: will\n"
            "    a < WILLTOPICRESP code=not-supported\n");
}

/* A store may hold what was granted under another configuration: the broker's session still
 * has it. */
static void a_restart_ends_what_is_not_allowed_any_more(void **state)
{
    struct rig *r = *state;
    struct rig_options o;
    options(&o);
    o.config.dollar_topics = "$share";
    assert_true(rig_reload(r, &o));
    play(r, "a > SUBSCRIBE qos=1 mid=1 name='$share/g/t'\n"
            "    save topic 1 1 $share/g/t\n"
            "    subscribe 1 qos=1 $share/g/t retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 $share/g/t\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=1 mid=1 code=accepted\n");
    options(&o);
    assert_true(rig_reload(r, &o));
    play(r, "kill\n"
            "    * SUBSCRIPTION_REFUSED a: $share/g/t\n"
            "    erase filter 1 1\n"
            "    connect via 2 'b'\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "    unsubscribe 1 $share/g/t\n"
            "unsubscribed 1\n"
            "stored\n"
            "kill\n"
            "    connect via 2 'b'\n"
            "    * RESTORED\n"
            "    connect broker\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nobody_becomes_a_member_of_a_group),
        TEST(nobody_publishes_to_what_is_the_brokers),
        TEST(a_will_is_a_publish),
        TEST(a_restart_ends_what_is_not_allowed_any_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
