/* A serial line that sends back what is sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/bridge_rig.h"

static int begin(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    o.links[0].may_echo = true;
    o.config.gateway_id = 1;
    *state = rig_new(&o);
    return 0;
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

static void subscribe(struct rig *r)
{
    play(r, "broker up\n"
            "    * BROKER_UP\n"
            "a > CONNECT keepalive_s=60 client_id='a'\n"
            "    save session 1\n"
            "stored\n"
            "    * CLIENT_CONNECTED a\n"
            "    a < CONNACK code=accepted\n"
            "a > SUBSCRIBE qos=1 mid=1 predefined=1\n"
            "    subscribe 1 qos=1 pre/one retained\n"
            "subscribed 1 1\n"
            "    save filter 1 1 qos=1 pre/one\n"
            "stored\n"
            "    a < SUBACK qos=1 tid=1 mid=1 code=accepted\n");
}

/* Else the message would go to the broker as the sensor's, and to the sensor again. */
static void a_message_to_a_sensor_that_comes_back_is_none_of_the_sensor(void **state)
{
    struct rig *r = *state;
    subscribe(r);
    play(r, "message qos=0 pre/one 'on'\n"
            "    a < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "a > PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "    * FRAME_ECHO: PUBLISH\n"
            "message token 1 qos=1 pre/one 'off'\n"
            "    store 4 for 1 qos=1 pre/one 'off'\n"
            "    a < PUBLISH qos=1 predefined=1 mid=5 data='off'\n"
            "stored\n"
            "    accept 1\n"
            "a > PUBLISH qos=1 predefined=1 mid=5 data='off'\n"
            "    * FRAME_ECHO: PUBLISH\n"
            "a > PUBACK tid=1 mid=5\n"
            "    forget 4 for 1 lazy\n");
}

/* What says that we have no such client would be answered for ever. */
static void our_disconnect_is_not_answered(void **state)
{
    struct rig *r = *state;
    play(r, "b > REGISTER tid=0 mid=1 name='t'\n"
            "    * FRAME_UNKNOWN_SENDER: REGISTER\n"
            "    b < DISCONNECT\n"
            "b > DISCONNECT\n"
            "    * FRAME_ECHO: DISCONNECT\n");
}

/* It may be damaged where it was sent, or late: its type says enough. */
static void what_only_a_gateway_sends_is_told_to_the_operator_once(void **state)
{
    struct rig *r = *state;
    subscribe(r);
    play(r, "a > hex 030500\n"
            "    * FRAME_ECHO: CONNACK\n"
            "    * LINK_ECHOES\n"
            "a > hex 0813200001000100\n"
            "    * FRAME_ECHO: SUBACK\n"
            "fwd > hex 05fe006e3104150009\n"
            "    * FRAME_ECHO: UNSUBACK\n"
            "a > hex 030201\n"
            "    * FRAME_ECHO: GWINFO\n"
            "a > hex 050001000a\n"
            "    * FRAME_ECHO: ADVERTISE\n");
}

/* Behind a forwarder the whole encapsulation comes back. */
static void an_encapsulated_frame_that_comes_back_is_dropped(void **state)
{
    struct rig *r = *state;
    play(r, "fwd/n1 > PINGREQ client_id='nobody'\n"
            "    * FRAME_UNKNOWN_SENDER nobody: PINGREQ\n"
            "    fwd/n1 < DISCONNECT\n"
            "fwd/n1 > DISCONNECT\n"
            "    * FRAME_ECHO: DISCONNECT\n");
}

/* The same octets may be the sensor's own: of each frame one is taken for its echo. */
static void a_frame_of_ours_is_forgiven_once(void **state)
{
    struct rig *r = *state;
    subscribe(r);
    play(r, "message qos=0 pre/one 'on'\n"
            "    a < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "a > PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "    * FRAME_ECHO: PUBLISH\n"
            "a > PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "    publish 4 qos=0 pre/one 'on'\n");
}

/* Nor is it held up for long. */
static void an_echo_comes_soon_or_not_at_all(void **state)
{
    struct rig *r = *state;
    subscribe(r);
    play(r, "message qos=0 pre/one 'on'\n"
            "    a < PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "wait 1000\n"
            "a > PUBLISH qos=0 predefined=1 mid=0 data='on'\n"
            "    publish 4 qos=0 pre/one 'on'\n");
}

/* On a network nothing comes back, and nobody pays for what does not happen. */
static void other_links_do_not_echo(void **state)
{
    struct rig *r = *state;
    play(r, "b@1 > REGISTER tid=0 mid=1 name='t'\n"
            "    * FRAME_UNKNOWN_SENDER: REGISTER\n"
            "    b@1 < DISCONNECT\n"
            "b@1 > DISCONNECT\n"
            "    * FRAME_UNKNOWN_SENDER: DISCONNECT\n"
            "    b@1 < DISCONNECT\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(a_message_to_a_sensor_that_comes_back_is_none_of_the_sensor),
        TEST(our_disconnect_is_not_answered),
        TEST(what_only_a_gateway_sends_is_told_to_the_operator_once),
        TEST(an_encapsulated_frame_that_comes_back_is_dropped),
        TEST(a_frame_of_ours_is_forgiven_once),
        TEST(an_echo_comes_soon_or_not_at_all),
        TEST(other_links_do_not_echo),
    };
    return cmocka_run_group_tests_name("bridge_echo", tests, NULL, NULL);
}
