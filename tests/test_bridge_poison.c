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
    o->config.max_topic_levels = 3;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(topics_of_too_many_levels_are_refused_to_the_sensor, begin,
                                        end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
