#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "bridge/core.h"
#include "tests/bridge_rig.h"

/* "AB" is urgent and of use for a minute, "CD" may wait; everything else is as ever. */
static const struct bridge_class_config classes[] = {
    {.name = "default", .priority = BRIDGE_PRIORITY_STANDARD},
    {.name = "alarm", .topics = "AB", .priority = 0, .expire_s = 60},
    {.name = "bulk", .topics = "CD", .priority = 7},
};

static int begin_with(void **state, void (*change)(struct rig_options *o))
{
    struct rig_options o;
    rig_defaults(&o);
    o.config.classes = classes;
    o.config.class_count = 3;
    if (change != NULL)
        change(&o);
    *state = rig_new(&o);
    return 0;
}

static int begin(void **state)
{
    return begin_with(state, NULL);
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

static void connect_a(struct rig *r)
{
    play(r, "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n");
}

/* The rest of its time goes along; what is over is dropped before it costs anything. */
static void messages_expire_on_their_way_to_the_broker(void **state)
{
    struct rig *r = *state;
    connect_a(r);
    play(r, "a > PUBLISH qos=1 short='AB' mid=1 data='1'\n"
            "    store 2 qos=1 AB '1'\n"
            "stored\n"
            "    a < PUBACK tid=16706 mid=1 code=accepted\n"
            "wait 30500\n"
            "a > PUBLISH qos=2 short='AB' mid=2 data='2'\n"
            "    store 3 qos=2 AB '2'\n"
            "a > PUBLISH qos=1 short='XY' mid=3 data='3'\n"
            "    store 4 qos=1 XY '3'\n"
            "stored\n"
            "    a < PUBREC mid=2\n"
            "    a < PUBACK tid=22617 mid=3 code=accepted\n"
            "wait 29500\n"
            "broker up\n"
            "    * BROKER_UP\n"
            "    * UP_EXPIRED a: AB\n"
            "    forget 2 lazy\n"
            "    publish 3 qos=2 AB '2' expiry 31\n"
            "    publish 4 qos=1 XY '3'\n"
            "    save account lazy\n");
}

/* The broker's limit and the class's: the shorter one counts. */
static void messages_to_sensors_expire_by_class_and_by_the_brokers_word(void **state)
{
    struct rig *r = *state;
    connect_a(r);
    play(r, "a > SUBSCRIBE qos=1 short='AB' mid=1\n"
            "    save filter 1 1 qos=1 AB\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=0 mid=1 code=accepted\n"
            "a > DISCONNECT\n"
            "    * CLIENT_DISCONNECTED a\n"
            "    save session 1\n"
            "stored\n"
            "    a < DISCONNECT\n"
            "message token 1 qos=1 AB '1'\n"
            "    store 4 for 1 qos=1 AB '1'\n"
            "message token 2 qos=1 expiry 600 AB '2'\n"
            "    store 5 for 1 qos=1 AB '2'\n"
            "stored\n"
            "    accept 1\n"
            "    accept 2\n"
            "wait 30000\n"
            "message token 3 qos=1 expiry 20 AB '3'\n"
            "    store 6 for 1 qos=1 AB '3'\n"
            "message token 4 qos=1 AB '4'\n"
            "    store 7 for 1 qos=1 AB '4'\n"
            "stored\n"
            "    accept 3\n"
            "    accept 4\n"
            "wait 30000\n"
            "a > CONNECT client_id='a'\n"
            "    save session 1\n"
            "    save account lazy\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "    * DOWN_EXPIRED a: AB\n"
            "    forget 4 for 1 lazy\n"
            "    * DOWN_EXPIRED a: AB\n"
            "    forget 5 for 1 lazy\n"
            "    * DOWN_EXPIRED a: AB\n"
            "    forget 6 for 1 lazy\n"
            "    a < PUBLISH qos=1 short='AB' mid=8 data='4'\n");
}

#define WITH(test, setup) cmocka_unit_test_setup_teardown(test, setup, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(messages_expire_on_their_way_to_the_broker, begin),
        WITH(messages_to_sensors_expire_by_class_and_by_the_brokers_word, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
