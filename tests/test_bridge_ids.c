#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/bridge_rig.h"

/* A client "a" that has subscribed to "#", and may have two topic ids. */
static int begin(void **state)
{
    struct rig_options o;
    rig_defaults(&o);
    o.config.max_topics = 2;
    *state = rig_new(&o);
    play(*state, "broker up\n"
                 "    * BROKER_UP\n"
                 "a > CONNECT client_id='a'\n"
                 "    save session 1\n"
                 "stored\n"
                 "    * CLIENT_CONNECTED a\n"
                 "    a < CONNACK code=accepted\n"
                 "a > SUBSCRIBE qos=1 mid=1 name='#'\n"
                 "    subscribe 1 qos=1 # retained\n"
                 "subscribed 1 1\n"
                 "    save filter 1 1 qos=1 #\n"
                 "stored\n"
                 "    a < SUBACK qos=1 tid=0 mid=1 code=accepted\n");
    return 0;
}

static int end(void **state)
{
    rig_free(*state);
    return 0;
}

/* The broker was told that each of them is ours. */
static void messages_do_not_run_out_of_ids(void **state)
{
    struct rig *r = *state;
    play(r, "message qos=0 t/1 'x'\n"
            "    save topic 1 1 t/1\n"
            "message qos=0 t/2 'x'\n"
            "message qos=0 t/1 'y'\n"
            "message qos=0 t/3 'x'\n"
            "message qos=0 t/2 'y'\n"
            "stored\n"
            "    a < REGISTER tid=1 mid=1 name='t/1'\n"
            "a > REGACK tid=1 mid=1\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='x'\n"
            "    save topic 1 2 t/2\n"
            "stored\n"
            "    a < REGISTER tid=2 mid=2 name='t/2'\n"
            "a > REGACK tid=2 mid=2\n"
            "    a < PUBLISH qos=0 tid=2 mid=0 data='x'\n"
            "    a < PUBLISH qos=0 tid=1 mid=0 data='y'\n"
            "    * TOPIC_REPLACED a: t/2\n"
            "    erase topic 1 2\n"
            "    save topic 1 3 t/3\n"
            "stored\n"
            "    a < REGISTER tid=3 mid=3 name='t/3'\n"
            "a > REGACK tid=3 mid=3\n"
            "    a < PUBLISH qos=0 tid=3 mid=0 data='x'\n"
            "    * TOPIC_REPLACED a: t/1\n"
            "    erase topic 1 1\n"
            "    save topic 1 4 t/2\n"
            "stored\n"
            "    a < REGISTER tid=4 mid=4 name='t/2'\n"
            "a > REGACK tid=4 mid=4\n"
            "    a < PUBLISH qos=0 tid=4 mid=0 data='y'\n");
}

/* What the device publishes by is of more use to it; an id that is gone is told to be invalid,
 * and never means something else. */
static void ids_that_the_device_asked_for_stay_longest(void **state)
{
    struct rig *r = *state;
    play(r, "a > REGISTER mid=2 name='up/1'\n"
            "    save topic 1 1 up/1\n"
            "stored\n"
            "    a < REGACK tid=1 mid=2 code=accepted\n"
            "message qos=0 t/1 'x'\n"
            "    save topic 1 2 t/1\n"
            "stored\n"
            "    a < REGISTER tid=2 mid=1 name='t/1'\n"
            "a > REGACK tid=2 mid=1\n"
            "    a < PUBLISH qos=0 tid=2 mid=0 data='x'\n"
            "message qos=0 t/2 'x'\n"
            "    * TOPIC_REPLACED a: t/1\n"
            "    erase topic 1 2\n"
            "    save topic 1 3 t/2\n"
            "stored\n"
            "    a < REGISTER tid=3 mid=2 name='t/2'\n"
            "a > REGACK tid=3 mid=2\n"
            "    a < PUBLISH qos=0 tid=3 mid=0 data='x'\n"
            "a > REGISTER mid=3 name='up/2'\n"
            "    * TOPIC_REPLACED a: t/2\n"
            "    erase topic 1 3\n"
            "    save topic 1 4 up/2\n"
            "stored\n"
            "    a < REGACK tid=4 mid=3 code=accepted\n"
            "a > PUBLISH qos=0 tid=1 mid=0 data='still'\n"
            "    publish 11 qos=0 up/1 'still'\n"
            "delivered 11\n"
            "a > REGISTER mid=4 name='up/3'\n"
            "    * TOPIC_REPLACED a: up/2\n"
            "    erase topic 1 4\n"
            "    save topic 1 5 up/3\n"
            "stored\n"
            "    a < REGACK tid=5 mid=4 code=accepted\n"
            "a > PUBLISH qos=1 tid=4 mid=5 data='gone'\n"
            "    * TOPIC_UNKNOWN a\n"
            "    a < PUBACK tid=4 mid=5 code=invalid-topic-id\n");
}

/* There is none to take while the disk or the device has not heard of them: it is waited for. */
static void a_message_waits_for_an_id(void **state)
{
    struct rig *r = *state;
    play(r, "a > REGISTER mid=2 name='up/1'\n"
            "    save topic 1 1 up/1\n"
            "a > REGISTER mid=3 name='up/2'\n"
            "    save topic 1 2 up/2\n"
            "message token 1 qos=1 t/1 'x'\n"
            "    store 5 for 1 qos=1 t/1 'x'\n"
            "    * TOPIC_LIMIT a: t/1\n"
            "a > REGISTER mid=4 name='up/3'\n"
            "    * TOPIC_LIMIT a: up/3\n"
            "    a < REGACK tid=0 mid=4 code=congestion\n"
            "stored\n"
            "    a < REGACK tid=1 mid=2 code=accepted\n"
            "    a < REGACK tid=2 mid=3 code=accepted\n"
            "    accept 1\n"
            "wait 1000\n"
            "    +1000\n"
            "    * TOPIC_REPLACED a: up/1\n"
            "    erase topic 1 1\n"
            "    save topic 1 3 t/1\n"
            "stored\n"
            "    a < REGISTER tid=3 mid=1 name='t/1'\n"
            "a > REGACK tid=3 mid=1\n"
            "    a < PUBLISH qos=1 tid=3 mid=6 data='x'\n"
            "a > REGISTER mid=5 name='up/3'\n"
            "    * TOPIC_REPLACED a: up/2\n"
            "    erase topic 1 2\n"
            "    save topic 1 4 up/3\n"
            "a > PUBACK tid=3 mid=6\n"
            "    forget 5 for 1 lazy\n");
}

/* Not even by a restart: the device may still publish by what it was given. */
static void an_id_that_was_given_up_is_not_given_again_soon(void **state)
{
    struct rig *r = *state;
    play(r, "a > REGISTER mid=2 name='up/1'\n"
            "    save topic 1 1 up/1\n"
            "stored\n"
            "    a < REGACK tid=1 mid=2 code=accepted\n"
            "a > REGISTER mid=3 name='up/2'\n"
            "    save topic 1 2 up/2\n"
            "stored\n"
            "    a < REGACK tid=2 mid=3 code=accepted\n"
            "a > REGISTER mid=4 name='up/3'\n"
            "    * TOPIC_REPLACED a: up/1\n"
            "    erase topic 1 1\n"
            "    save topic 1 3 up/3\n"
            "stored\n"
            "    a < REGACK tid=3 mid=4 code=accepted\n"
            "crash\n"
            "    * RESTORED\n"
            "    connect broker\n"
            "a > REGISTER mid=5 name='up/4'\n"
            "    * TOPIC_REPLACED a: up/2\n"
            "    erase topic 1 2\n"
            "    save topic 1 4 up/4\n"
            "stored\n"
            "    a < REGACK tid=4 mid=5 code=accepted\n"
            "a > PUBLISH qos=1 tid=1 mid=6 data='x'\n"
            "    * TOPIC_UNKNOWN a\n"
            "    a < PUBACK tid=1 mid=6 code=invalid-topic-id\n");
}

/* Told that its id is invalid, the device would send it as another message. */
static void a_repeat_of_what_is_open_outlives_its_id(void **state)
{
    struct rig *r = *state;
    play(r, "a > REGISTER mid=2 name='up/1'\n"
            "    save topic 1 1 up/1\n"
            "stored\n"
            "    a < REGACK tid=1 mid=2 code=accepted\n"
            "a > PUBLISH qos=2 tid=1 mid=3 data='x'\n"
            "    store 4 qos=2 up/1 'x'\n"
            "stored\n"
            "    a < PUBREC mid=3\n"
            "    publish 4 qos=2 up/1 'x'\n"
            "a > REGISTER mid=4 name='up/2'\n"
            "    save topic 1 2 up/2\n"
            "a > REGISTER mid=5 name='up/3'\n"
            "    * TOPIC_REPLACED a: up/1\n"
            "    erase topic 1 1\n"
            "    save topic 1 3 up/3\n"
            "stored\n"
            "    a < REGACK tid=2 mid=4 code=accepted\n"
            "    a < REGACK tid=3 mid=5 code=accepted\n"
            "a > PUBLISH dup=1 qos=2 tid=1 mid=3 data='x'\n"
            "    * UP_REPEATED a\n"
            "    a < PUBREC mid=3\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_do_not_run_out_of_ids),
        TEST(ids_that_the_device_asked_for_stay_longest),
        TEST(a_message_waits_for_an_id),
        TEST(an_id_that_was_given_up_is_not_given_again_soon),
        TEST(a_repeat_of_what_is_open_outlives_its_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
