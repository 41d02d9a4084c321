#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/bridge_rig.h"

/* Client "b" has a broker connection of its own. */
static const struct bridge_mode modes[] = {{.pattern = "b", .transparent = true}};

static const struct bridge_predefined predefined[] = {{NULL, 1, "a/b/c/d"}, {NULL, 2, "p"}};

static void options(struct rig_options *o)
{
    rig_defaults(o);
    o->config.predefined = predefined;
    o->config.predefined_count = sizeof(predefined) / sizeof(predefined[0]);
    o->config.modes = modes;
    o->config.mode_count = sizeof(modes) / sizeof(modes[0]);
    o->config.reconnect_max_ms = 8000;
    o->config.max_topic_levels = 3;
}

static void connect_both(struct rig *r)
{
    play(r, "broker up\n"
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
}

static int begin(void **state)
{
    struct rig_options o;
    options(&o);
    *state = rig_new(&o);
    connect_both(*state);
    return 0;
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

/* ---- levels -------------------------------------------------------------------- */

static void topics_of_too_many_levels_are_refused_to_the_sensor(void **state)
{
    struct rig *r = *state;
    play(r, "a > SUBSCRIBE qos=1 mid=1 name='a/+/c/#'\n"
            "    * SUBSCRIPTION_REFUSED a: more than max_topic_levels\n"
            "    a < SUBACK qos=0 tid=0 mid=1 code=not-supported\n"
            "b > SUBSCRIBE qos=1 mid=1 predefined=1\n"
            "    * SUBSCRIPTION_REFUSED b: more than max_topic_levels\n"
            "    b < SUBACK qos=0 tid=0 mid=1 code=not-supported\n"
            "a > REGISTER mid=2 name='///'\n"
            "    * TOPIC_REFUSED a: more than max_topic_levels\n"
            "    a < REGACK tid=0 mid=2 code=not-supported\n"
            "a > PUBLISH qos=1 predefined=1 mid=3 data='x'\n"
            "    * TOPIC_REFUSED a: a/b/c/d\n"
            "    a < PUBACK tid=1 mid=3 code=not-supported\n"
            "a > WILLTOPICUPD qos=1 topic='a/b/c/d'\n"
            "    * TOPIC_REFUSED a: will\n"
            "    a < WILLTOPICRESP code=not-supported\n"
            "c > CONNECT client_id='c' will\n"
            "    c < WILLTOPICREQ\n"
            "c > WILLTOPIC qos=1 topic='a/b/c/d'\n"
            "    * CLIENT_REFUSED c: will\n"
            "    c < CONNACK code=not-supported\n"
            "a > SUBSCRIBE qos=1 mid=4 name='a/+/#'\n"
            "    subscribe 1 qos=1 a/+/# retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 a/+/#\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=4 code=accepted\n");
}

/* ---- what the broker hangs up on -------------------------------------------------- */

/* Three messages are under way whenever the connection is lost, then one at a time. The
 * second is lost alone three times; then the third and a later one go, and show that it is
 * not the broker, twice. */
static void a_message_that_the_broker_hangs_up_on_is_set_aside(void **state)
{
    struct rig *r = *state;
    play(r, "a > PUBLISH qos=1 predefined=2 mid=1 data='x'\n"
            "    store 3 qos=1 p 'x' lazy\n"
            "    publish 3 qos=1 p 'x'\n"
            "a > PUBLISH qos=1 predefined=2 mid=2 data='bad'\n"
            "    store 4 qos=1 p 'bad' lazy\n"
            "    publish 4 qos=1 p 'bad'\n"
            "a > PUBLISH qos=1 predefined=2 mid=3 data='y'\n"
            "    store 5 qos=1 p 'y' lazy\n"
            "    publish 5 qos=1 p 'y'\n"
            "stored\n"
            "    a < PUBACK tid=2 mid=1 code=accepted\n"
            "    a < PUBACK tid=2 mid=2 code=accepted\n"
            "    a < PUBACK tid=2 mid=3 code=accepted\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 1000\n"
            "    +816\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "    publish 3 qos=1 p 'x'\n"
            "    publish 4 qos=1 p 'bad'\n"
            "    publish 5 qos=1 p 'y'\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 2000\n"
            "    +1920\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "    publish 3 qos=1 p 'x'\n"
            "    publish 4 qos=1 p 'bad'\n"
            "    publish 5 qos=1 p 'y'\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "    * BROKER_SUSPECTS\n"
            "wait 4000\n"
            "    +3492\n"
            "    connect broker careful\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "    publish 3 qos=1 p 'x'\n"
            "delivered 3\n"
            "    forget 3 lazy\n"
            "    publish 4 qos=1 p 'bad'\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 8000\n"
            "    +824\n"
            "    connect broker careful\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "wait 2000\n"
            "    +1000\n"
            "    publish 4 qos=1 p 'bad'\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 8000\n"
            "    +1324\n"
            "    connect broker careful\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "wait 2000\n"
            "    +1000\n"
            "    publish 4 qos=1 p 'bad'\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 8000\n"
            "    +2545\n"
            "    connect broker careful\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "    publish 5 qos=1 p 'y'\n"
            "delivered 5\n"
            "    forget 5 lazy\n"
            "wait 2000\n"
            "    +1000\n"
            "    publish 4 qos=1 p 'bad'\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 8000\n"
            "    +956\n"
            "    connect broker careful\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "wait 2000\n"
            "a > PUBLISH qos=1 predefined=2 mid=4 data='z'\n"
            "    store 8 qos=1 p 'z' lazy\n"
            "    publish 8 qos=1 p 'z'\n"
            "stored\n"
            "    a < PUBACK tid=2 mid=4 code=accepted\n"
            "delivered 8\n"
            "    forget 8 lazy\n"
            "wait 2000\n"
            "    +1000\n"
            "    publish 4 qos=1 p 'bad'\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "    * UP_SET_ASIDE a: p\n"
            "    forget 4 lazy\n"
            "wait 8000\n"
            "    +612\n"
            "    connect broker careful\n"
            "broker up session\n"
            "    * BROKER_UP\n");
}

/* It holds up nobody, so it is sent again and again, and a broker that has recovered takes it. */
static void a_message_is_not_blamed_unless_another_is_taken(void **state)
{
    struct rig *r = *state;
    play(r, "a > PUBLISH qos=1 predefined=2 mid=1 data='x'\n"
            "    store 3 qos=1 p 'x' lazy\n"
            "    publish 3 qos=1 p 'x'\n"
            "stored\n"
            "    a < PUBACK tid=2 mid=1 code=accepted\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 1000\n"
            "    +816\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "    publish 3 qos=1 p 'x'\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 2000\n"
            "    +1920\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "    publish 3 qos=1 p 'x'\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "    * BROKER_SUSPECTS\n"
            "wait 4000\n"
            "    +3492\n"
            "    connect broker careful\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "    publish 3 qos=1 p 'x'\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 8000\n"
            "    +6586\n"
            "    connect broker careful\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "wait 1000\n"
            "    +1000\n"
            "    publish 3 qos=1 p 'x'\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 8000\n"
            "    +5056\n"
            "    connect broker careful\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "wait 1000\n"
            "    +1000\n"
            "    publish 3 qos=1 p 'x'\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 8000\n"
            "    +4468\n"
            "    connect broker careful\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "wait 50000\n"
            "    +30000\n"
            "    publish 3 qos=1 p 'x'\n"
            "    save account lazy\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 8000\n"
            "    +956\n"
            "    connect broker careful\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "wait 20000\n"
            "a > SUBSCRIBE qos=1 mid=2 name='t'\n"
            "    save topic 1 1 t\n"
            "    subscribe 1 qos=1 t retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 t\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=1 mid=2 code=accepted\n"
            "wait 30000\n"
            "    +30000\n"
            "    publish 3 qos=1 p 'x'\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 2000\n"
            "    +612\n"
            "    connect broker careful\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "wait 30000\n"
            "    +30000\n"
            "    publish 3 qos=1 p 'x'\n"
            "delivered 3\n"
            "    forget 3 lazy\n"
            "    save account lazy\n");
}

static void a_filter_that_the_broker_hangs_up_on_is_set_aside(void **state)
{
    struct rig *r = *state;
    play(r, "a > SUBSCRIBE qos=1 mid=1 name='bad/#'\n"
            "    subscribe 1 qos=1 bad/# retained\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "    save filter 1 1 qos=1 bad/#\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=1 code=accepted\n"
            "wait 1000\n"
            "    +816\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    subscribe 2 qos=1 bad/# retained\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 2000\n"
            "    +1920\n"
            "    connect broker\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    subscribe 3 qos=1 bad/#\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "    * BROKER_SUSPECTS\n"
            "wait 4000\n"
            "    +3492\n"
            "    connect broker careful\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    subscribe 4 qos=1 bad/#\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 8000\n"
            "    +6586\n"
            "    connect broker careful\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "wait 1000\n"
            "    +1000\n"
            "    subscribe 5 qos=1 bad/#\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 8000\n"
            "    +5056\n"
            "    connect broker careful\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "wait 1000\n"
            "    +1000\n"
            "    subscribe 6 qos=1 bad/#\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 8000\n"
            "    +4468\n"
            "    connect broker careful\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=1 predefined=2 mid=4 data='z'\n"
            "    store 4 qos=1 p 'z' lazy\n"
            "    publish 4 qos=1 p 'z'\n"
            "stored\n"
            "    a < PUBACK tid=2 mid=4 code=accepted\n"
            "delivered 4\n"
            "    forget 4 lazy\n"
            "wait 1000\n"
            "    +1000\n"
            "    subscribe 7 qos=1 bad/#\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "wait 8000\n"
            "    +956\n"
            "    connect broker careful\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "a > PUBLISH qos=1 predefined=2 mid=5 data='z'\n"
            "    store 6 qos=1 p 'z' lazy\n"
            "    publish 6 qos=1 p 'z'\n"
            "stored\n"
            "    a < PUBACK tid=2 mid=5 code=accepted\n"
            "delivered 6\n"
            "    forget 6 lazy\n"
            "wait 1000\n"
            "    +1000\n"
            "    subscribe 8 qos=1 bad/#\n"
            "broker down\n"
            "    * BROKER_LOST: gone\n"
            "    * FILTER_SET_ASIDE a: bad/#\n"
            "    erase filter 1 1\n"
            "wait 8000\n"
            "    +612\n"
            "    connect broker careful\n"
            "broker up\n"
            "    * BROKER_UP\n");
}

/* A sensor's own connection; QoS 2, and the sensor waits for the broker's word. */
static void a_sensor_with_its_own_connection_is_told(void **state)
{
    struct rig *r = *state;
    play(r, "b > PUBLISH qos=2 predefined=2 mid=1 data='bad'\n"
            "    store 3 via 2 qos=2 p 'bad'\n"
            "stored\n"
            "    b < PUBREC mid=1\n"
            "    publish 3 via 2 qos=2 p 'bad'\n"
            "broker 2 down\n"
            "    * CONNECTION_LOST b: gone\n"
            "wait 1000\n"
            "    +816\n"
            "    connect via 2 'b'\n"
            "broker 2 up session\n"
            "    * CONNECTION_UP b\n"
            "    publish 3 via 2 qos=2 p 'bad'\n"
            "broker 2 down\n"
            "    * CONNECTION_LOST b: gone\n"
            "wait 2000\n"
            "    +1920\n"
            "    connect via 2 'b'\n"
            "broker 2 up session\n"
            "    * CONNECTION_UP b\n"
            "    publish 3 via 2 qos=2 p 'bad'\n"
            "broker 2 down\n"
            "    * CONNECTION_LOST b: gone\n"
            "    * BROKER_SUSPECTS b\n"
            "wait 4000\n"
            "    +3492\n"
            "    connect via 2 'b' careful\n"
            "broker 2 up session\n"
            "    * CONNECTION_UP b\n"
            "    publish 3 via 2 qos=2 p 'bad'\n"
            "broker 2 down\n"
            "    * CONNECTION_LOST b: gone\n"
            "wait 8000\n"
            "    +6586\n"
            "    connect via 2 'b' careful\n"
            "broker 2 up session\n"
            "    * CONNECTION_UP b\n"
            "wait 1000\n"
            "    +1000\n"
            "    publish 3 via 2 qos=2 p 'bad'\n"
            "broker 2 down\n"
            "    * CONNECTION_LOST b: gone\n"
            "wait 8000\n"
            "    +5056\n"
            "    connect via 2 'b' careful\n"
            "broker 2 up session\n"
            "    * CONNECTION_UP b\n"
            "wait 1000\n"
            "    +1000\n"
            "    publish 3 via 2 qos=2 p 'bad'\n"
            "broker 2 down\n"
            "    * CONNECTION_LOST b: gone\n"
            "wait 8000\n"
            "    +4468\n"
            "    connect via 2 'b' careful\n"
            "broker 2 up session\n"
            "    * CONNECTION_UP b\n"
            "b > PUBLISH qos=1 predefined=2 mid=2 data='good'\n"
            "    store 4 via 2 qos=1 p 'good' lazy\n"
            "    publish 4 via 2 qos=1 p 'good'\n"
            "stored\n"
            "    b < PUBACK tid=2 mid=2 code=accepted\n"
            "delivered 4\n"
            "    forget 4 via 2 lazy\n"
            "wait 1000\n"
            "    +1000\n"
            "    publish 3 via 2 qos=2 p 'bad'\n"
            "broker 2 down\n"
            "    * CONNECTION_LOST b: gone\n"
            "wait 8000\n"
            "    +956\n"
            "    connect via 2 'b' careful\n"
            "broker 2 up session\n"
            "    * CONNECTION_UP b\n"
            "b > PUBLISH qos=1 predefined=2 mid=3 data='good'\n"
            "    store 6 via 2 qos=1 p 'good' lazy\n"
            "    publish 6 via 2 qos=1 p 'good'\n"
            "stored\n"
            "    b < PUBACK tid=2 mid=3 code=accepted\n"
            "delivered 6\n"
            "    forget 6 via 2 lazy\n"
            "wait 1000\n"
            "    +1000\n"
            "    publish 3 via 2 qos=2 p 'bad'\n"
            "broker 2 down\n"
            "    * CONNECTION_LOST b: gone\n"
            "    * UP_SET_ASIDE b: p\n"
            "    mark 3 via 2 delivered\n"
            "wait 8000\n"
            "    +612\n"
            "    connect via 2 'b' careful\n"
            "broker 2 up session\n"
            "    * CONNECTION_UP b\n");
}

/* ---- a broker that is silent ------------------------------------------------------- */

static int begin_impatient(void **state)
{
    struct rig_options o;
    options(&o);
    o.config.answer_timeout_s = 20;
    *state = rig_new(&o);
    connect_both(*state);
    return 0;
}

/* As long as anything comes it is there. */
static void a_broker_that_is_silent_is_taken_for_away(void **state)
{
    struct rig *r = *state;
    play(r, "wait 100000\n"
            "a > PUBLISH qos=1 predefined=2 mid=1 data='x'\n"
            "    store 3 qos=1 p 'x' lazy\n"
            "    publish 3 qos=1 p 'x'\n"
            "    save account lazy\n"
            "stored\n"
            "    a < PUBACK tid=2 mid=1 code=accepted\n"
            "wait 15000\n"
            "a > SUBSCRIBE qos=1 mid=2 name='t'\n"
            "    save topic 1 1 t\n"
            "    subscribe 1 qos=1 t retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 t\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=1 mid=2 code=accepted\n"
            "wait 15000\n"
            "message token 1 qos=0 t 'm'\n"
            "    accept 1\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='m'\n"
            "wait 15000\n"
            "a > PUBLISH qos=1 predefined=2 mid=3 data='y'\n"
            "    store 8 qos=1 p 'y' lazy\n"
            "    publish 8 qos=1 p 'y'\n"
            "stored\n"
            "    a < PUBACK tid=2 mid=3 code=accepted\n"
            "wait 7000\n"
            "    +5000\n"
            "    * BROKER_SILENT: no answer for 20 s, 2 wait\n"
            "    disconnect broker\n"
            "    +5816\n"
            "    connect broker\n"
            "broker up session\n"
            "    * BROKER_UP\n"
            "    publish 3 qos=1 p 'x'\n"
            "    publish 8 qos=1 p 'y'\n"
            "delivered 3\n"
            "    forget 3 lazy\n"
            "delivered 8\n"
            "    forget 8 lazy\n"
            "wait 100000\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(topics_of_too_many_levels_are_refused_to_the_sensor, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_message_that_the_broker_hangs_up_on_is_set_aside, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_message_is_not_blamed_unless_another_is_taken, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_filter_that_the_broker_hangs_up_on_is_set_aside, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_broker_that_is_silent_is_taken_for_away, begin_impatient,
                                        end),
        cmocka_unit_test_setup_teardown(a_sensor_with_its_own_connection_is_told, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
